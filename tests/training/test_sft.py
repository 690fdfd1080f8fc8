"""Supervised fine-tuning teaches responses, and nothing but whole ones."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from rewards.ml.progress import Progress
from rewards.ml.text import encode_prompt, encode_response
from tests.training import tiny
from training.ml.generate import sample
from training.ml.sft import Demonstration, SftConfig, SftResult, fine_tune

QUICK = SftConfig(epochs=12, batch_size=4, learning_rate=1e-2, warmup_share=0.0, log_every=4)


def demonstration(prompt: str, response: str) -> Demonstration:
    return Demonstration(({"role": "user", "content": prompt},), response)


EXAMPLES = [demonstration(f"{a} {b}", f"{b} {a} e") for a in "abcd" for b in "ijkl"]


def train(
    model: PreTrainedModel,
    examples: list[Demonstration],
    config: SftConfig,
    workdir: Path,
    seen: list[Progress] | None = None,
) -> SftResult:
    return fine_tune(
        model,
        tiny.tokenizer(),
        examples,
        config,
        workdir=workdir,
        on_progress=(seen if seen is not None else []).append,
    )


def weights(model: PreTrainedModel) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@torch.no_grad()
def response_loss(model: PreTrainedModel, examples: list[Demonstration]) -> float:
    """Mean nats per response token, one sequence at a time."""
    losses = []
    for example in examples:
        prompt = encode_prompt(tiny.tokenizer(), example.messages)
        response = encode_response(tiny.tokenizer(), example.response)
        logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        losses.append(cross_entropy(logits, torch.tensor(response), reduction="none"))
    return torch.cat(losses).mean().item()


def test_the_loss_falls_and_the_model_says_what_it_was_taught(tmp_path: Path) -> None:
    model = tiny.model()
    before = response_loss(model, EXAMPLES)
    result = train(model, EXAMPLES, replace(QUICK, epochs=40), tmp_path)
    assert result.curve[-1][1] < result.curve[0][1] / 2
    assert response_loss(model, EXAMPLES) < before / 4
    assert not model.training
    tokenizer = tiny.tokenizer()
    responses = sample(
        model,
        [encode_prompt(tokenizer, example.messages) for example in EXAMPLES],
        eos_token_id=tiny.EOS,
        pad_token_id=tiny.PAD,
        max_new_tokens=10,
        generator=torch.Generator().manual_seed(0),
        temperature=0.1,
    )
    assert all(response.ended for response in responses)
    right = [
        tokenizer.decode(response.ids, skip_special_tokens=True) == example.response
        for response, example in zip(responses, EXAMPLES, strict=True)
    ]
    assert sum(right) >= 13


def test_the_loss_is_that_of_the_response_and_its_end_alone(tmp_path: Path) -> None:
    """Rows of several lengths in one batch; at learning rate 0 the model stays as it was."""
    model = tiny.model()
    examples = [demonstration("a b c d e f", "i"), demonstration("a", "k l m n o p q")]
    config = replace(QUICK, epochs=1, batch_size=2, learning_rate=0.0, log_every=1)
    before = weights(model)
    result = train(model, examples, config, tmp_path)
    assert torch.equal(weights(model), before)
    (point,) = result.curve
    assert point == (1, pytest.approx(response_loss(model, examples), abs=1e-3))


def test_what_the_prompt_says_is_not_learnt(tmp_path: Path) -> None:
    """The model gets little likelier to write the prompts, which it reads in every step."""
    said, asked = demonstration("a b c d e f g h", "t"), demonstration("a", "b c d e f g h")
    model = tiny.model()
    before = response_loss(model, [asked])
    train(model, [said] * 8, QUICK, tmp_path)
    assert response_loss(model, [said]) < 0.1
    assert response_loss(model, [asked]) > before / 2


def test_too_long_examples_are_left_out_whole_and_counted(tmp_path: Path) -> None:
    fitting = [demonstration("a b", "i j"), demonstration("c", "k l m")]  # 5 tokens, with the end
    too_long = [demonstration("a b c", "i j"), demonstration("c", "k l m n o p q")]
    config = replace(QUICK, max_tokens=5, epochs=3)
    mixed, clean = tiny.model(), tiny.model()
    result = train(
        mixed, [too_long[0], fitting[0], too_long[1], fitting[1]], config, tmp_path / "1"
    )
    assert (result.n_examples, result.n_too_long) == (2, 2)
    assert train(clean, fitting, config, tmp_path / "2").n_too_long == 0
    assert torch.equal(weights(mixed), weights(clean))
    with pytest.raises(ValueError, match="none of 2 examples fits"):
        train(tiny.model(), too_long, config, tmp_path / "3")


def test_the_same_seed_gives_the_same_model(tmp_path: Path) -> None:
    config = replace(QUICK, epochs=2)
    models = [tiny.model() for _ in range(3)]
    for n, (model, seed) in enumerate(zip(models, (0, 0, 1), strict=True)):
        train(model, EXAMPLES, replace(config, seed=seed), tmp_path / str(n))
    assert torch.equal(weights(models[0]), weights(models[1]))
    assert not torch.equal(weights(models[0]), weights(models[2]))


class Interrupted(Exception):
    """Stands for a worker that dies."""


def test_an_interrupted_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    config = replace(QUICK, epochs=4, log_every=1, save_every=4)  # 16 steps
    whole = tiny.model()
    train(whole, EXAMPLES, config, tmp_path / "whole")

    def die(progress: Progress) -> None:
        if progress.step == 10:
            raise Interrupted

    model = tiny.model()
    with pytest.raises(Interrupted):
        fine_tune(
            model,
            tiny.tokenizer(),
            EXAMPLES,
            config,
            workdir=tmp_path / "broken",
            on_progress=die,
        )
    assert not torch.allclose(weights(model), weights(whole), atol=1e-3)
    # A folder without a state file is a checkpoint whose writing was cut short.
    (tmp_path / "broken" / "checkpoint-12").mkdir()

    resumed, seen = tiny.model(seed=7), list[Progress]()
    result = train(resumed, EXAMPLES, config, tmp_path / "broken", seen)
    assert [progress.step for progress in seen] == list(range(9, 17))
    assert [step for step, _ in result.curve] == list(range(1, 17))
    assert torch.allclose(weights(resumed), weights(whole), atol=1e-5)


def test_no_checkpoint_is_written_unless_asked_for(tmp_path: Path) -> None:
    train(tiny.model(), EXAMPLES, replace(QUICK, epochs=1), tmp_path)
    assert not list(tmp_path.glob("checkpoint-*"))


def test_progress_is_told_in_steps_of_the_whole_run(tmp_path: Path) -> None:
    seen: list[Progress] = []
    result = train(tiny.model(), EXAMPLES, replace(QUICK, epochs=3), tmp_path, seen)
    assert [(progress.step, progress.total) for progress in seen] == [(4, 12), (8, 12), (12, 12)]
    assert [progress.metrics["loss"] for progress in seen] == [loss for _, loss in result.curve]
    assert all(math.isfinite(value) for p in seen for value in p.metrics.values())


def test_the_end_is_learnt_though_the_tokenizer_padded_with_it(tmp_path: Path) -> None:
    """Padding is left out of the loss; the end must not go with it."""
    models = [tiny.model(), tiny.model()]
    for n, model in enumerate(models):
        tokenizer = tiny.tokenizer()
        if n:
            tokenizer.pad_token = tokenizer.eos_token
        fine_tune(
            model,
            tokenizer,
            [demonstration("a", "b c"), demonstration("a b", "c d e f")],
            replace(QUICK, epochs=3),
            workdir=tmp_path / str(n),
            on_progress=lambda progress: None,
        )
        assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert torch.allclose(weights(models[0]), weights(models[1]), atol=1e-5)
