"""The one place that loads a causal language model and its tokenizer."""

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rewards.ml.text import choose_distinct_pad


def load_base(
    name_or_path: str,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a base model, in evaluation mode, and its tokenizer from a folder or a hub id.

    No code that comes with the model is run, and weights are read from safetensors only, since
    unpickling a stranger's file runs whatever it says.
    A tokenizer whose PAD is missing or equals EOS gets another, the same whenever it is loaded.
    Raises OSError when the model is not found or has no safetensors file, and ValueError when a
    folder lacks config.json or a tokenizer, or the tokenizer a token for padding other than EOS.
    transformers words the former for its own users; rewards.services.bases.adopt_base, through
    which bases come in, looks first and names the folder.
    """
    tokenizer = AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=False)
    choose_distinct_pad(tokenizer)
    model = AutoModelForCausalLM.from_pretrained(
        name_or_path, dtype=dtype, use_safetensors=True, trust_remote_code=False
    )
    return model.to(device).eval(), tokenizer
