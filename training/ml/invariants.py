"""Checks made while a policy is trained; each raises InvariantError with what and the numbers.

The faults they are for train on without a sound: figures stay plausible while the rollout comes
from the wrong adapter, a gradient goes nowhere, or padding is learned from.

Shape letters: B episodes, R response positions.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

# In fp32 two ways of computing a log probability differ by rounding alone. In bf16 single tokens
# differ visibly, so there the mean over all tokens is held.
MAX_DIFFERENCE_FP32 = 1e-4
MEAN_DIFFERENCE_LOW_PRECISION = 0.02


class InvariantError(RuntimeError):
    """Something that must always hold does not; the run is not to be trusted."""


def check_same_logprobs(
    what: str, expected: Tensor, actual: Tensor, mask: Tensor, dtype: torch.dtype
) -> None:
    """Two computations of the same log probabilities (B, R) agree as far as `dtype` allows.

    Holds for those at sampling against those recomputed, which fails when the rollout came from
    another adapter, an older policy or another distribution; and for those before the first step
    of an update against the first minibatch, where the ratio must be 1.
    """
    difference = (expected - actual).abs()[mask]
    if dtype == torch.float32:
        found, limit, kind = float(difference.max()), MAX_DIFFERENCE_FP32, "largest"
    else:
        found, limit, kind = float(difference.mean()), MEAN_DIFFERENCE_LOW_PRECISION, "mean"
    if not found <= limit:
        raise InvariantError(
            f"{what}: log probabilities differ, {kind} difference {found:.3g}, limit {limit:.3g}"
        )


def check_starts_equal(what: str, logprobs: Tensor, other_logprobs: Tensor, mask: Tensor) -> None:
    """At the start the policy gives the very log probabilities (B, R) of what it starts from."""
    found = float((logprobs - other_logprobs).abs()[mask].max())
    if not found <= 1e-6:
        raise InvariantError(
            f"KL to the {what} is not 0 at the start: tokens differ by {found:.3g}"
        )


def check_has_moved(what: str, logprobs: Tensor, other_logprobs: Tensor, mask: Tensor) -> None:
    """After an update the policy differs from what it started from."""
    if not float((logprobs - other_logprobs).abs()[mask].max()) > 0:
        raise InvariantError(f"KL to the {what} is still 0 after an update: nothing was trained")


def check_gradients(
    adapter: str, trained: Mapping[str, Tensor | None], others: Mapping[str, Tensor | None]
) -> None:
    """Every parameter of the trained adapter has a finite gradient.

    Both arguments map names of parameters to gradients; `others` are all those that are not to be
    trained in this step, and must have none.
    """
    missing = [name for name, gradient in trained.items() if gradient is None]
    if missing:
        raise InvariantError(
            f"{len(missing)} parameters of {adapter} got no gradient: {missing[0]}"
        )
    found = {name: gradient for name, gradient in trained.items() if gradient is not None}
    largest = torch.stack([gradient.abs().max() for gradient in found.values()]).max()
    if not torch.isfinite(largest):
        check_finite({f"gradient of {name}": gradient for name, gradient in found.items()})
    stray = [name for name, gradient in others.items() if gradient is not None]
    if stray:
        raise InvariantError(
            f"training {adapter} gave a gradient to {len(stray)} others: {stray[0]}"
        )


def check_moved(adapter: str, norm: float, moving: float) -> None:
    """The gradients of the trained adapter, of this norm, are not all zero.

    They may be where no token is `moving`: every one is clipped, or has nothing left to learn.
    """
    if norm == 0 and moving:
        raise InvariantError(f"all gradients of {adapter} are zero with {moving:.0f} tokens to fit")


def check_no_pad(response_ids: Tensor, mask: Tensor, pad_token_id: int) -> None:
    """No token of a response (B, R) is PAD, which must never be sampled."""
    count = int(((response_ids == pad_token_id) & mask).sum())
    if count:
        raise InvariantError(f"PAD (token {pad_token_id}) was sampled {count} times")


def check_active(expected: str, actual: str) -> None:
    """The adapter that a context was opened for is still the active one at its end."""
    if actual != expected:
        raise InvariantError(f"adapter {actual} was active where {expected} had to be")


def check_reloaded(what: str, before: Tensor, after: Tensor) -> None:
    """What was read back from disk computes what was written: two tensors of the same shape."""
    found = float((before - after).abs().max())
    if not found <= 1e-5:
        raise InvariantError(f"{what} differs after reloading, by up to {found:.3g}")


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """No NaN and no infinity in any of the named tensors."""
    for name, tensor in tensors.items():
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            raise InvariantError(f"{name} has {bad} of {tensor.numel()} values that are not finite")
