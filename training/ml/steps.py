"""The gradient steps of PPO on one rollout.

Shape letters: B episodes, R response positions.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from training.ml import ppo
from training.ml.adapters import AdapterBank, Trained
from training.ml.config import UpdateConfig
from training.ml.invariants import check_finite, check_moved, check_same_logprobs
from training.ml.rollout import Rollout


def train_policy(
    bank: AdapterBank,
    optimizer: Optimizer,
    rollout: Rollout,
    advantages: Tensor,
    config: UpdateConfig,
    generator: torch.Generator,
) -> dict[str, float]:
    """Passes of the clipped policy loss over a rollout; returns figures for the curve.

    `advantages` (B, R) are whitened, `generator` draws the minibatches. Ends early, without
    taking the step, at a minibatch that has moved further than `target_kl`; takes no step where
    every episode did equally well, since there is nothing to tell them apart by.
    Raises InvariantError unless the ratio is 1 before the first step.
    """
    names = ("clip_fraction", "approx_kl", "policy_steps", "policy_grad_norm")
    if not advantages.any():
        return dict.fromkeys(names, 0.0)
    episodes = rollout.episodes
    clipped = approx_kl = tokens = 0.0
    norms: list[float] = []
    for rows in _minibatches(len(episodes), config, generator):
        n_tokens = int(episodes.lengths[rows].sum())
        minibatch_kl = minibatch_clipped = 0.0
        with bank.training("policy"):
            for part in episodes.parts(rows, config.micro_batch):
                batch = episodes.batch(part, bank)
                mask = batch.response_mask
                distribution = bank.distribution(batch, config.temperature)
                logprobs = ppo.gather_logprobs(distribution, batch.response_ids, mask)
                old_logprobs = rollout.logprobs[part, : mask.shape[1]]
                if not norms:
                    check_same_logprobs(
                        "ratio before the first step is not 1",
                        old_logprobs,
                        logprobs.detach(),
                        mask,
                        bank.causal.dtype,
                    )
                result = ppo.policy_loss(
                    logprobs,
                    old_logprobs,
                    advantages[part, : mask.shape[1]],
                    mask,
                    config.clip_range,
                    n_tokens,
                )
                torch.autograd.backward(result.loss)
                minibatch_clipped += result.clipped
                minibatch_kl += result.approx_kl
        clipped += minibatch_clipped
        approx_kl += minibatch_kl
        tokens += n_tokens
        if minibatch_kl / n_tokens > config.target_kl:
            break
        moving = n_tokens - minibatch_clipped
        norms.append(_step(bank, optimizer, "policy", config.max_grad_norm, moving))
    figures = (clipped / tokens, approx_kl / tokens, float(len(norms)), sum(norms) / len(norms))
    return dict(zip(names, figures, strict=True))


def train_value(
    bank: AdapterBank,
    optimizer: Optimizer,
    rollout: Rollout,
    returns: Tensor,
    config: UpdateConfig,
    generator: torch.Generator,
) -> dict[str, float]:
    """Passes of the clipped value loss over a rollout; returns figures for the curve.

    `returns` (B, R) are what the values should have been, `generator` draws the minibatches.
    """
    episodes = rollout.episodes
    losses: list[float] = []
    norms: list[float] = []
    for rows in _minibatches(len(episodes), config, generator):
        n_tokens = int(episodes.lengths[rows].sum())
        minibatch_loss = moving = 0.0
        with bank.training("value"):
            for part in episodes.parts(rows, config.micro_batch):
                batch = episodes.batch(part, bank)
                width = batch.response_mask.shape[1]
                result = ppo.value_loss(
                    bank.values(batch),
                    rollout.values[part, :width],
                    returns[part, :width],
                    batch.response_mask,
                    config.value_clip_range,
                    n_tokens,
                )
                torch.autograd.backward(result.loss)
                minibatch_loss += float(result.loss.detach())
                moving += result.moving
        losses.append(minibatch_loss)
        norms.append(_step(bank, optimizer, "value", config.max_grad_norm, moving))
    return {
        "value_loss": sum(losses) / len(losses),
        "value_grad_norm": sum(norms) / len(norms),
    }


def _minibatches(
    n_episodes: int, config: UpdateConfig, generator: torch.Generator
) -> Iterator[list[int]]:
    """Rows of each step: every epoch divides all episodes at random."""
    for _ in range(config.epochs):
        order = torch.randperm(n_episodes, generator=generator)
        for rows in order.tensor_split(config.minibatches):
            yield rows.tolist()


def _step(
    bank: AdapterBank, optimizer: Optimizer, name: Trained, max_grad_norm: float, moving: float
) -> float:
    """Clip the adapter's gradients by their norm, step, and return that norm.

    `moving` counts the tokens that the gradients come from.
    """
    parameters = list(bank.parameters(name).values())
    norm = clip_grad_norm_(parameters, max_grad_norm)
    check_moved(name, float(norm), moving)
    optimizer.step()
    check_finite({f"the {name}": torch.cat([p.detach().flatten() for p in parameters])})
    return float(norm)
