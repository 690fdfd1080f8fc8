"""A base model for tests of policies, made on the spot."""

from pathlib import Path

from rewards.ml.artefacts import publish
from training.ml.embedded import build_model, build_tokenizer


def make_base(target: Path, seed: int = 0) -> Path:
    """A tiny untrained causal model with its tokenizer, published as an artefact."""
    text = "why is the sky blue because light scatters in air question answer"
    tokenizer = build_tokenizer([text] * 8, vocab_size=300)
    model = build_model(
        tokenizer, hidden_size=16, layers=1, heads=2, intermediate_size=32, max_tokens=96, seed=seed
    )

    def build(folder: Path) -> None:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    publish(build, target, {})
    return target
