"""The arithmetic of PPO on a language model, as pure functions.

A response is an episode, a token an action. Masks are True at the tokens of a response, EOS
included; a response starts at position 0 and has no gaps. Log probabilities and KL are in nats.

Shape letters: B episodes, R response positions, V vocabulary.
Sources: Schulman et al. 2017 (PPO), Schulman et al. 2016 (GAE), Ziegler et al. 2019 (KL in the
reward, adaptive coefficient), Huang et al. 2024, "The N+ implementation details of RLHF with PPO".
"""

from dataclasses import dataclass

import torch
from torch import Tensor


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of `x` where `mask` is True, as a scalar; both have the same shape."""
    return (x * mask).sum() / mask.sum()


def gather_logprobs(distribution: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """Log probability (B, R) of each of `tokens` (B, R) under log `distribution` (B, R, V).

    0 outside `mask` (B, R), where the token is PAD, whose log probability is minus infinity.
    """
    found: Tensor = distribution.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    return found.masked_fill(~mask, 0.0)


def entropy(distribution: Tensor) -> Tensor:
    """Entropy (B, R) of log `distribution` (B, R, V); tokens of probability 0 add nothing."""
    total: Tensor = torch.special.entr(distribution.exp()).sum(-1)
    return total


def kl_k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Per-token estimate (B, R) of KL(policy || reference) from the policy's own samples.

    Unbiased, and its sum over a response is unbiased for the KL of whole responses, but single
    values may be negative. Source: Schulman 2020, "Approximating KL divergence", k1.
    """
    return logprobs - ref_logprobs


def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Per-token estimate (B, R) of KL(policy || reference), unbiased and never negative.

    For display and for noticing change; inside a reward its gradient would be biased.
    Source: Schulman 2020, "Approximating KL divergence", k3.
    """
    log_ratio = ref_logprobs - logprobs
    return torch.expm1(log_ratio) - log_ratio


def replace_incomplete(scores: Tensor, complete: Tensor, incomplete_score: float) -> Tensor:
    """Scores (B,) with that of each incomplete response replaced by a constant.

    `complete` (B,) is True where the response ends in EOS and holds more than it. Replacing rather
    than subtracting keeps a good beginning from paying for a missing end (Huang et al. 2024,
    detail 4.3), and keeps an empty response, which no reward model has learned to judge, from
    paying at all.
    """
    return torch.where(complete, scores, incomplete_score)


def shaped_rewards(scores: Tensor, kl: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """Rewards (B, R): -kl_coef times the KL of each token, and the score at the last token.

    `scores` (B,) are added at the last token of each response, which is EOS where it ended; `kl`
    is (B, R), `mask` (B, R). Source: Ziegler et al. 2019, eq. 2.
    """
    rewards = -kl_coef * kl * mask
    last = mask.sum(-1, keepdim=True) - 1  # (B, 1)
    return rewards.scatter_add(-1, last, scores.unsqueeze(-1).to(rewards.dtype))


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Generalized advantage estimates and returns, both (B, R) and 0 outside the mask.

    `values` (B, R) estimate what is still to come before each token; after the last token of a
    response nothing comes. Returns are advantages plus values (the lambda return).
    Source: Schulman et al. 2016, eq. 16, by the backward recursion.
    """
    rewards, values = rewards * mask, values * mask
    advantages = torch.zeros_like(values)
    running = torch.zeros_like(values[:, 0])
    next_value = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        running = delta + gamma * gae_lambda * running
        advantages[:, t] = running
        next_value = values[:, t]
    return advantages, advantages + values


def whiten(x: Tensor, mask: Tensor) -> Tensor:
    """`x` scaled to mean 0 and variance 1 over the tokens of the mask; 0 outside it.

    The divisor of the variance is the number of tokens. Both are (B, R).
    """
    centred = (x - masked_mean(x, mask)) * mask
    return centred * torch.rsqrt(masked_mean(centred.square(), mask) + 1e-8)


@dataclass(frozen=True)
class PolicyLoss:
    """A policy loss to differentiate, with what it says about the step.

    `ratio` (B, R) is the probability of each token now over that at sampling. `clipped` counts
    tokens whose objective was cut, and `approx_kl` sums KL(old || new), k3, over the tokens.
    """

    loss: Tensor
    ratio: Tensor
    clipped: float
    approx_kl: float


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    clip_range: float,
    n_tokens: int,
) -> PolicyLoss:
    """The clipped surrogate objective, negated: a sum over tokens divided by `n_tokens`.

    All tensors are (B, R). `n_tokens` counts the tokens of the whole minibatch, of which these
    rows may be a part: losses, and gradients, of the parts then add up to those of the whole.
    Source: Schulman et al. 2017, eq. 7.
    """
    log_ratio = (logprobs - old_logprobs) * mask
    ratio = log_ratio.exp()
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip_range, 1 + clip_range)
    loss = (torch.maximum(unclipped, clipped) * mask).sum() / n_tokens
    with torch.no_grad():
        return PolicyLoss(
            loss=loss,
            ratio=ratio.detach(),
            clipped=float(((clipped > unclipped) & mask).sum()),
            approx_kl=float(((torch.expm1(log_ratio) - log_ratio) * mask).sum()),
        )


@dataclass(frozen=True)
class ValueLoss:
    """A value loss to differentiate; `moving` counts the tokens that add to its gradient.

    The others have moved as far as they may, or are right already.
    """

    loss: Tensor
    moving: float


def value_loss(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    mask: Tensor,
    clip_range: float,
    n_tokens: int,
) -> ValueLoss:
    """Half the squared error of the values, the larger of clipped and not, over `n_tokens`.

    All tensors are (B, R). Values may move by `clip_range` from those at sampling before the
    clipped error stops falling. Divided by `n_tokens` as in `policy_loss`.
    Source: Ziegler et al. 2019, code (lm-human-preferences, train_policy.py).
    """
    change = values - old_values
    near = old_values + change.clamp(-clip_range, clip_range)
    error, near_error = (values - returns).square(), (near - returns).square()
    loss = 0.5 * (torch.maximum(error, near_error) * mask).sum() / n_tokens
    free = (change.abs() <= clip_range) | (error >= near_error)
    moving = free & (error > 0) & mask
    return ValueLoss(loss=loss, moving=float(moving.sum()))


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """Share of the variance of the returns that the values predict: 1 all, 0 none, or worse.

    All tensors are (B, R). 0 when the returns do not vary.
    """
    variance = returns[mask].var(correction=0)
    if variance == 0:
        return 0.0
    return float(1 - (returns - values)[mask].var(correction=0) / variance)


def adapt_kl_coef(
    kl_coef: float, kl: float, kl_target: float, n_episodes: int, horizon_episodes: int
) -> float:
    """The next KL coefficient: larger when `kl` is above `kl_target`, smaller when below.

    `kl` and `kl_target` are nats a response; the relative error counts up to 0.2 either way.
    Source: Ziegler et al. 2019, section 2.2.
    """
    error = min(max(kl / kl_target - 1, -0.2), 0.2)
    return kl_coef * (1 + error * n_episodes / horizon_episodes)
