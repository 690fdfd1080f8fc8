"""Settings of the demonstration, found by trying them; see docs/explanation/demonstration.md.

The fields are those of SftConfig and build_model, of FitConfig and of UpdateConfig; `make demo`
hands them on by name.
"""

from collections.abc import Mapping
from typing import Any

CORPUS_SIZE = 7500
SUPERVISED: Mapping[str, Any] = {
    "sft": {
        "epochs": 4,
        "batch_size": 24,
        "learning_rate": 5e-3,
        "schedule": "cosine",
        "adam_beta2": 0.98,
        "max_tokens": 200,
    },
    "embedded": {"vocab_size": 2000, "layers": 3},
}
SAMPLING: Mapping[str, Any] = {"temperature": 0.8, "max_new_tokens": 72}
REWARD_MODEL: Mapping[str, Any] = {"learning_rate": 1e-3, "epochs": 5, "batch_prompts": 4}
UPDATE: Mapping[str, Any] = {
    "iterations": 24,
    "episodes": 96,
    "epochs": 2,
    "minibatches": 2,
    "micro_batch": 48,
    "learning_rate": 3e-3,
    "value_learning_rate": 3e-3,
    "gae_lambda": 1.0,
    "kl_coef": 0.1,
}
