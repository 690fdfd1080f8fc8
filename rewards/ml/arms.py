"""Does choosing what people are asked teach more than chance? Both arms, judgement for judgement.

A reward that is linear in frozen features is fitted to what was judged before and to as many
judgements of the one arm as of the other; how often it is right on held-out prompts, which came by
chance, says what the judgements were worth. Which of an arm's judgements are taken is drawn many
times over, so that it is the arm that is compared and not the draw.
"""

from dataclasses import dataclass

import numpy as np

from rewards.ml.comparisons import Floats, Ints
from rewards.ml.selection import JudgedPairs, fit_head

DRAWS = 20


@dataclass(frozen=True)
class Arms:
    """Accuracy on held-out pairs: without either arm, and with `n` units of one of them."""

    n: int
    before: float
    random: float
    active: float


def compare(
    rows: Floats,
    before: JudgedPairs,
    random: JudgedPairs,
    active: JudgedPairs,
    held_out: JudgedPairs,
    seed: int,
) -> Arms:
    """`rows` (N, D) are standardised features; a unit is one judgement of a prompt."""
    n = min(random.n_units, active.n_units)
    rng = np.random.default_rng(seed)

    def taught(arm: JudgedPairs) -> float:
        drawn = (rng.permutation(arm.n_units)[:n] for _ in range(DRAWS))
        fits = (fit_head(rows, joined(before, some(arm, units))) for units in drawn)
        return float(np.mean([accuracy(rows, held_out, head) for head in fits]))

    at_first = accuracy(rows, held_out, fit_head(rows, before))
    return Arms(n, at_first, taught(random), taught(active))


def some(judged: JudgedPairs, units: Ints) -> JudgedPairs:
    """The pairs of these units."""
    kept = np.isin(judged.unit, units)
    return JudgedPairs(
        judged.unit[kept], judged.first[kept], judged.second[kept], judged.better[kept]
    )


def joined(one: JudgedPairs, other: JudgedPairs) -> JudgedPairs:
    """The pairs of both; no unit of the one is a unit of the other."""
    return JudgedPairs(
        np.concatenate((one.unit, other.unit + one.n_units)),
        np.concatenate((one.first, other.first)),
        np.concatenate((one.second, other.second)),
        np.concatenate((one.better, other.better)),
    )


def accuracy(rows: Floats, judged: JudgedPairs, head: Floats) -> float:
    """Share of the pairs without a tie whose preferred response has the greater reward.

    Equal rewards are half right, as in chance. Without such a pair it is 0.5.
    """
    clear = judged.better != 0.5
    rewards = rows @ head
    margin = (rewards[judged.first] - rewards[judged.second])[clear]
    right = np.where(judged.better[clear] > 0.5, margin, -margin)
    return float(((np.sign(right) + 1) / 2).mean()) if clear.any() else 0.5
