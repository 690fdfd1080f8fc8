"""Settings of a PPO run."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class UpdateConfig:
    """How to run PPO; the defaults suit a base of up to a few hundred million parameters.

    An iteration takes `episodes` responses and makes `epochs` passes over them, each in
    `minibatches` steps; a forward pass takes `micro_batch` rows at once, which changes memory and
    speed only. Learning rates fall linearly to 0. Passes of the policy over a batch end early when
    the mean KL of a token to the policy that sampled it exceeds `target_kl`.

    `kl_coef` is fixed unless `kl_target`, in nats a response, is given: then it adapts, over about
    `kl_horizon` episodes. A response that does not end within `max_new_tokens`, or is empty, gets
    `missing_eos_score` for its score, which has mean 0 and standard deviation 1 under the
    reference.

    Every `eval_every` iterations the held-out prompts decide which policy is kept; every
    `checkpoint_every` the run can be continued from there.

    What stops a run, looked at over the last `stop_window` iterations: KL above `kl_budget` nats a
    response to the reference or `parent_kl_budget` to last week's policy; entropy or the share of
    distinct bigrams below `min_entropy_share` or `min_distinct_share` of what it was at first; the
    share of responses that end in EOS down by more than `max_eos_drop`; responses more than
    `max_length_growth` times as long as at first while their length and score correlate above
    `max_length_correlation`.

    Raises ValueError for settings that no run can have.
    """

    iterations: int = 40
    episodes: int = 64
    epochs: int = 2
    minibatches: int = 2
    micro_batch: int = 32
    max_new_tokens: int = 64
    temperature: float = 1.0
    lora_r: int = 16
    lora_alpha: int = 32
    learning_rate: float = 1e-4
    value_learning_rate: float = 2e-4
    adam_eps: float = 1e-5
    max_grad_norm: float = 1.0
    kl_coef: float = 0.05
    kl_target: float | None = None
    kl_horizon: int = 10_000
    missing_eos_score: float = -1.0
    gamma: float = 1.0
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    value_clip_range: float = 0.2
    target_kl: float = 0.05
    eval_every: int = 5
    checkpoint_every: int = 5
    kl_budget: float = 20.0
    parent_kl_budget: float = 20.0
    min_entropy_share: float = 0.1
    min_distinct_share: float = 0.5
    max_eos_drop: float = 0.3
    max_length_growth: float = 1.5
    max_length_correlation: float = 0.5
    stop_window: int = 3
    seed: int = 0
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: str = "cpu"

    def __post_init__(self) -> None:
        positive = (
            "iterations", "episodes", "epochs", "minibatches", "micro_batch", "max_new_tokens",
            "temperature", "lora_r", "eval_every", "checkpoint_every", "stop_window",
        )  # fmt: skip
        for name in positive:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.minibatches > self.episodes:
            raise ValueError(f"{self.episodes} episodes do not fill {self.minibatches} minibatches")
