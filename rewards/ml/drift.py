"""Whether agreement changes over time: alpha of windows with equally many prompts.

P is the number of prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewards.ml.agreement import MIN_PROMPTS, Estimate, alpha_draws, alpha_estimate
from rewards.ml.alpha import AlphaSums
from rewards.ml.comparisons import Floats, Ints
from rewards.ml.slices import part_of

MOST_WINDOWS = 12
WINDOW_PROMPTS = 30  # where there are enough of them; never fewer than MIN_PROMPTS


@dataclass(frozen=True)
class Window:
    """Consecutive prompts: when the first and the last of them were judged, and their alpha."""

    first: float
    last: float
    alpha: Estimate


@dataclass(frozen=True)
class Change:
    """Alpha of the last window less that of all before it, with its 95 % interval."""

    value: float
    low: float
    high: float
    upper_bound: float  # one-sided, 95 %
    n_before: int
    n_last: int


def windows(sums: AlphaSums, when: Floats, seed: int = 0) -> list[Window]:
    """The overlapped prompts in the order of `when` (P,), in windows that differ by one at most.

    Empty where there are not enough for two.
    """
    parts = _parts(sums, when)
    return [
        Window(
            float(when[part[0]]), float(when[part[-1]]), alpha_estimate(part_of(sums, part), seed)
        )
        for part in parts
    ]


def change(sums: AlphaSums, when: Floats, seed: int = 0) -> Change | None:
    """The last window against everything before it; None where there are not two windows, or one
    of the two holds little but ties."""
    parts = _parts(sums, when)
    if not parts:
        return None
    before, last = np.concatenate(parts[:-1]), parts[-1]
    # Drawn apart from one another, since they share no prompt.
    difference = alpha_draws(part_of(sums, last), seed + 1) - alpha_draws(
        part_of(sums, before), seed
    )
    if np.isnan(difference[0]) or np.isnan(difference).mean() > 0.05:
        return None
    low, high, upper = np.nanpercentile(difference[1:], [2.5, 97.5, 95])
    return Change(
        float(difference[0]), float(low), float(high), float(upper), len(before), len(last)
    )


def _parts(sums: AlphaSums, when: Floats) -> Sequence[Ints]:
    """Places of the overlapped prompts, in the order of time, in equal parts."""
    overlapped = np.flatnonzero(sums.ratings > 0)
    n = len(overlapped)
    number = min(MOST_WINDOWS, max(n // WINDOW_PROMPTS, min(2, n // MIN_PROMPTS)))
    if number < 2:
        return []
    return np.array_split(overlapped[np.argsort(when[overlapped], kind="stable")], number)
