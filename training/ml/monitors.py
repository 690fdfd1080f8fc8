"""The figures of an iteration, and reasons to stop that they give.

Shape letters: B episodes, R response positions.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from training.ml import ppo
from training.ml.config import UpdateConfig
from training.ml.rollout import Rollout


def describe(
    rollout: Rollout, rewards: Tensor, scores: Tensor, returns: Tensor
) -> dict[str, float]:
    """Figures of a rollout for the curve.

    `rewards` and `returns` are (B, R), `scores` (B,) those after incomplete responses were counted.
    KL is nats a response (k1; k3 is never negative), entropy nats a token, length tokens with EOS.
    """
    episodes, mask = rollout.episodes, rollout.episodes.mask
    lengths = episodes.lengths.float()
    k3 = ppo.kl_k3(rollout.logprobs, rollout.ref_logprobs)
    row = {
        "reward": float(rewards.sum(-1).mean()),
        "score": float(scores.mean()),
        "kl_reference": float(ppo.kl_k1(rollout.logprobs, rollout.ref_logprobs).sum(-1).mean()),
        "kl_reference_k3": float(k3.sum(-1).mean()),
        "length": float(lengths.mean()),
        "eos_rate": float(episodes.ended.float().mean()),
        "entropy": float(ppo.masked_mean(rollout.entropy, mask)),
        "distinct_2": distinct_n(episodes.responses, 2),
        "length_score_correlation": correlation(lengths, rollout.scores),
        "explained_variance": ppo.explained_variance(rollout.values, returns, mask),
    }
    if rollout.parent_logprobs is not None:
        k1 = ppo.kl_k1(rollout.logprobs, rollout.parent_logprobs)
        row["kl_parent"] = float(k1.sum(-1).mean())
    return row


def reason_to_stop(curve: Sequence[Mapping[str, float]], config: UpdateConfig) -> str | None:
    """Why the run should stop after the rows of `curve`, one an iteration, or None.

    The signs are those of a policy that games the reward, collapses or drifts too far. Each is
    looked for in the mean of the last few iterations, since one batch is noisy; `UpdateConfig`
    says what the limits mean.
    """
    recent, first = curve[-config.stop_window :], curve[0]
    if len(recent) < config.stop_window:
        return None

    def mean(name: str) -> float:
        return sum(row[name] for row in recent) / len(recent)

    budgets = {"kl_reference": config.kl_budget, "kl_parent": config.parent_kl_budget}
    for name, budget in budgets.items():
        if name in first and mean(name) > budget:
            return f"{name} {mean(name):.2f} nats a response exceeds its budget of {budget:g}"
    shares = {"entropy": config.min_entropy_share, "distinct_2": config.min_distinct_share}
    for name, share in shares.items():
        if mean(name) < share * first[name]:
            return f"{name} fell from {first[name]:.3g} to {mean(name):.3g}, below {share:g} of it"
    if mean("eos_rate") < first["eos_rate"] - config.max_eos_drop:
        return (
            f"eos_rate fell from {first['eos_rate']:.2f} to {mean('eos_rate'):.2f}, "
            f"by more than {config.max_eos_drop:g}"
        )
    growth = mean("length") / first["length"]
    correlated = mean("length_score_correlation")
    if growth > config.max_length_growth and correlated > config.max_length_correlation:
        return (
            f"responses grew {growth:.2f} times as long while length and score correlate "
            f"{correlated:.2f}"
        )
    return None


def distinct_n(responses: Sequence[Sequence[int]], n: int) -> float:
    """Share of different n-grams among all n-grams of the responses; 1 when there are none.

    Source: Li et al. 2016, "A Diversity-Promoting Objective Function", distinct-n.
    """
    grams = [
        tuple(response[i : i + n]) for response in responses for i in range(len(response) - n + 1)
    ]
    return len(set(grams)) / len(grams) if grams else 1.0


def correlation(x: Tensor, y: Tensor) -> float:
    """Pearson's correlation of two vectors (B,); 0 where one of them does not vary."""
    x, y = x.double() - x.double().mean(), y.double() - y.double().mean()
    spread = torch.sqrt(x.square().sum() * y.square().sum())
    return float((x * y).sum() / spread) if spread > 0 else 0.0
