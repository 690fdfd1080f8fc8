"""Rows that tests of reward models share."""

from typing import Any

# What is measured of a first model that its gate lets through.
FITTED: dict[str, Any] = {
    "accuracy": {"value": 0.712, "low": 0.655, "high": 0.768, "n_prompts": 212, "n_pairs": 900},
    "accuracy_over_longest": {"value": 0.13, "low": 0.05, "high": 0.21, "n_prompts": 212},
    "human_accuracy": {"value": 0.74, "low": 0.7, "high": 0.78, "n_prompts": 60, "n_pairs": 300},
    "longest_wins_accuracy": {"value": 0.58, "low": 0.5, "high": 0.66, "n_prompts": 212},
    "chance": 0.5,
    "n_prompts": {"train": 1700, "validation": 210, "test": 212},
    "n_pairs": {"train": 8000, "validation": 880, "test": 900},
    "test_loss": {"value": 0.55, "n_prompts": 212},
    "length_correlation": {"value": 0.1, "low": 0.0, "high": 0.2, "n_prompts": 212},
    "best_epoch": 3,
    "n_epochs": 5,
    "temperature": 0.9,
}
