"""Settings of a fit, apart from the code that needs torch, so that a web page can check them."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class FitConfig:
    """Settings of a fit.

    `learning_rate` suits bases from about a hundred million parameters; one of a million wants
    about 1e-3. `max_tokens` bounds a prompt with one response. Training stops after `epochs`, or
    when the validation loss has not fallen for `patience` epochs. `microbatch_tokens` bounds the
    memory of a step, which sees `batch_prompts` prompts whatever it is.
    Raises ValueError for a setting that is none, such as a number that is not above 0.
    """

    lora_r: int = 16
    lora_alpha: int = 32
    learning_rate: float = 1e-4
    epochs: int = 5
    patience: int = 2
    batch_prompts: int = 16
    max_tokens: int = 1024
    microbatch_tokens: int = 16384
    seed: int = 0
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype {self.dtype!r} is neither float32 nor bfloat16")
        if type(self.seed) is not int:
            raise ValueError(f"seed {self.seed!r} is not a whole number")
        for name, value in vars(self).items():
            if name in ("device", "dtype", "seed"):
                continue
            kind = "a number" if name == "learning_rate" else "a whole number"
            if type(value) is not int and not (kind == "a number" and type(value) is float):
                raise ValueError(f"{name} {value!r} is not {kind}")
            if not 0 < value < math.inf:
                raise ValueError(f"{name} {value!r} is not above 0")
