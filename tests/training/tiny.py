"""Tiny models, made on the spot, for the tests of PPO: letters are words, nothing is trained."""

import string
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

WORDS = ["<pad>", "<eos>", "<unk>", *string.ascii_lowercase[:21]]
PAD, EOS = 0, 1
VOWELS = frozenset(WORDS.index(letter) for letter in "aeiou")

_SHARED = {
    "vocab_size": len(WORDS),
    "pad_token_id": PAD,
    "eos_token_id": EOS,
    "bos_token_id": None,
    "initializer_range": 0.2,  # larger than usual, so that logits have room to differ
}
_DECODER = _SHARED | {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


def config(architecture: str = "llama") -> PreTrainedConfig:
    if architecture == "llama":
        return LlamaConfig(**_DECODER)
    if architecture == "qwen2":
        return Qwen2Config(**_DECODER)
    return GPT2Config(**_SHARED, n_embd=32, n_layer=2, n_head=4, n_positions=64)


def model(architecture: str = "llama", seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config(architecture)).eval()


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>")
    )
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def save_base(folder: Path, architecture: str = "llama") -> str:
    """A base model with its tokenizer in `folder`; returns its name for `load_base`."""
    model(architecture).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


def prompts(n: int, seed: int = 0) -> list[list[dict[str, str]]]:
    """`n` conversations of one message of 2 to 5 letters."""
    generator = torch.Generator().manual_seed(seed)
    conversations = []
    for i in range(n):
        ids = torch.randint(3, len(WORDS), (2 + i % 4,), generator=generator)
        conversations.append([{"role": "user", "content": " ".join(WORDS[j] for j in ids)}])
    return conversations


def ids(n: int, length: int, seed: int = 0) -> list[list[int]]:
    """`n` lists of ordinary tokens, of lengths from `length` to `length` + 3."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randint(3, len(WORDS), (length + i % 4,), generator=generator).tolist()
        for i in range(n)
    ]
