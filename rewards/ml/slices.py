"""Alpha of slices of the prompts, such as topics, each by itself and partially pooled.

P is the number of prompts.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewards.ml.agreement import Estimate, alpha_draws, alpha_estimate
from rewards.ml.alpha import AlphaSums
from rewards.ml.comparisons import Floats, Ints
from rewards.ml.pooling import pool

MOST_SLICES = 60  # that are judged: those with most prompts


@dataclass(frozen=True)
class Slice:
    """`pooled` is None where the slice has too few prompts, or no other slice has enough."""

    name: str
    n_prompts: int
    share: float  # of all prompts
    alpha: Estimate
    pooled: Estimate | None


def slices(names: Sequence[str], sums: AlphaSums, seed: int = 0) -> list[Slice]:
    """Of each name among `names` (P,), the largest first; prompts with an empty name are in none.

    Variances are those of the bootstrap. A slice in which it finds none, because all its prompts
    are alike, has the variance that as many prompts of the whole would have.
    """
    by_name: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        if name:
            by_name[name].append(place)
    largest = sorted(by_name, key=lambda name: (-len(by_name[name]), name))[:MOST_SLICES]
    parts = [np.array(by_name[name]) for name in largest]
    alphas = [alpha_estimate(part_of(sums, part), seed) for part in parts]
    pooled = _pooled(alphas, parts, sums, seed)
    return [
        Slice(name, len(part), len(part) / len(names), alpha, towards)
        for name, part, alpha, towards in zip(largest, parts, alphas, pooled, strict=True)
    ]


def part_of(sums: AlphaSums, places: Ints) -> AlphaSums:
    return AlphaSums(sums.ratings[places], sums.disagreement[places], sums.ties[places])


def _pooled(
    alphas: Sequence[Estimate], parts: Sequence[Ints], sums: AlphaSums, seed: int
) -> list[Estimate | None]:
    pooled: list[Estimate | None] = [None] * len(alphas)
    judged = [place for place, alpha in enumerate(alphas) if alpha.value is not None]
    if len(judged) < 2:
        return pooled
    usual = _variance(sums, seed) * alpha_estimate(sums, seed).n  # of a single prompt
    variances = [
        _variance(part_of(sums, parts[place]), seed) or max(usual, 1e-6) / alphas[place].n
        for place in judged
    ]
    found = pool([alphas[place].value or 0.0 for place in judged], variances)
    for at, place in enumerate(judged):
        value, low, high = (
            max(-1.0, min(1.0, float(ends[at]))) for ends in (found.value, found.low, found.high)
        )
        pooled[place] = Estimate("ok", value, low, high, alphas[place].n)
    return pooled


def _variance(sums: AlphaSums, seed: int) -> float:
    draws: Floats = alpha_draws(sums, seed)
    variance = float(np.nanvar(draws[1:]))
    return variance if variance > 1e-12 else 0.0
