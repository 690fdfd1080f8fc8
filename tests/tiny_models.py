"""Causal language models of a few thousand random weights, with a tokenizer that knows letters."""

from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

LETTERS = "abcdefghijklmnopqrstuvwxyz ?.\n"
SPECIAL = ["<pad>", "<end>", "<unk>"]

SHAPES: dict[str, dict[str, int]] = {
    "llama": {"num_key_value_heads": 2, "intermediate_size": 48, "hidden_size": 32},
    "qwen2": {"num_key_value_heads": 2, "intermediate_size": 48, "hidden_size": 32},
    "gpt2": {"n_embd": 32, "n_positions": 128},
    "mistral": {"num_key_value_heads": 2, "intermediate_size": 48, "hidden_size": 32},
    "bloom": {"hidden_size": 32},
}


def make_tokenizer(**options: str) -> PreTrainedTokenizerFast:
    """One token a letter; `options` replace the special tokens."""
    vocabulary = {token: n for n, token in enumerate([*SPECIAL, *LETTERS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    names = {"pad_token": "<pad>", "eos_token": "<end>", "unk_token": "<unk>", **options}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def make_base(folder: Path, kind: str = "llama", **settings: int) -> str:
    """Save an untrained base of two layers and its tokenizer; returns the folder as text."""
    tokenizer = make_tokenizer()
    common = {"num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.2}
    config = CONFIG_MAPPING[kind](
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        **{"max_position_embeddings": 128} | common | SHAPES[kind] | settings,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
