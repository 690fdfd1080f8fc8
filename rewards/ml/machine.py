"""Where numbers are computed unless somebody says otherwise."""

from typing import Any

import torch


def machine() -> dict[str, Any]:
    """`device` and `dtype` as configurations name them: the first GPU in bf16, or the CPU."""
    if torch.cuda.is_available():
        return {"device": "cuda", "dtype": "bfloat16"}
    return {"device": "cpu", "dtype": "float32"}
