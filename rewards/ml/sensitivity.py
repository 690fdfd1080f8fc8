"""What alpha_sym rests on: what it would be without somebody, and how it changed.

Every interval resamples prompts. Two figures of the same prompts are resampled together, so that
the interval is that of their difference; figures of different prompts are resampled apart.

P is the number of prompts, R of resamples.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rewards.ml.agreement import MIN_PROMPTS
from rewards.ml.alpha import alpha_sums, alpha_sym
from rewards.ml.comparisons import Comparisons, Floats, PromptRankings, compare, tabulate
from rewards.ml.intervals import bootstrap_totals

RESAMPLES = 1000
ONE_SIDED = (5, 95)  # percentiles, as gate A has them
TWO_SIDED = (2.5, 97.5)


@dataclass(frozen=True)
class Without:
    """Alpha without one annotator, with its one-sided 95 % bounds; None with too little left."""

    annotator: str
    value: float | None
    low: float | None
    high: float | None
    n_prompts: int


@dataclass(frozen=True)
class Change:
    """Alpha before and after, and the difference with its 95 % interval.

    What rests on fewer than MIN_PROMPTS overlapped prompts, or on ties alone, is None.
    """

    before: float | None
    after: float | None
    value: float | None
    low: float | None
    high: float | None
    n_before: int
    n_after: int


def without_each(
    prompts: Iterable[PromptRankings], seed: int = 0, resamples: int = RESAMPLES
) -> list[Without]:
    """Alpha without each annotator in turn, by name."""
    comparisons = compare(tabulate(prompts))
    found = []
    for person, name in sorted(enumerate(comparisons.annotators), key=lambda one: one[1]):
        rows = sums_of(drop(comparisons, [person]))
        n = overlapped(rows)
        alphas = _alphas(rows, resamples, seed)
        value, low, high = _interval(alphas, ONE_SIDED) if n >= MIN_PROMPTS else (None,) * 3
        found.append(Without(name, value, low, high, n))
    return found


def drift(
    before: Iterable[PromptRankings],
    last: Iterable[PromptRankings],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Change:
    """How alpha changed from some prompts to other ones; one-sided 95 % bounds."""
    rows = [sums_of(compare(tabulate(prompts))) for prompts in (before, last)]
    alphas = [_alphas(one, resamples, seed + place) for place, one in enumerate(rows)]
    return _change(rows, alphas, ONE_SIDED)


def paired_change(
    before: Comparisons, after: Comparisons, seed: int = 0, resamples: int = RESAMPLES
) -> Change:
    """How alpha changes on the same P prompts when some of what was said of them is left out."""
    rows = [sums_of(before), sums_of(after)]
    both = np.column_stack(rows)  # (P, 6)
    totals = np.vstack((both.sum(axis=0), bootstrap_totals(both, resamples, seed)))
    alphas = [alpha_sym(*totals[:, columns].T) for columns in (slice(0, 3), slice(3, 6))]
    return _change(rows, alphas, TWO_SIDED)


def drop(comparisons: Comparisons, people: Collection[int]) -> Comparisons:
    """The table without these annotators, given by their indices; the prompts stay the same."""
    return keep(comparisons, ~np.isin(comparisons.annotator, list(people)))


def keep(comparisons: Comparisons, kept: NDArray[np.bool_]) -> Comparisons:
    """The comparisons where `kept`, (C,), is True; the prompts stay the same."""
    unit = comparisons.unit[kept]
    return replace(
        comparisons,
        prompt=comparisons.prompt[kept],
        unit=np.cumsum(np.diff(unit, prepend=unit[:1]) != 0),
        annotator=comparisons.annotator[kept],
        value=comparisons.value[kept],
    )


def sums_of(comparisons: Comparisons) -> Floats:
    """(P, 3) ratings, disagreement and ties of each prompt, see alpha.py."""
    sums = alpha_sums(comparisons)
    return np.column_stack((sums.ratings, sums.disagreement, sums.ties))


def overlapped(rows: Floats) -> int:
    """Of how many prompts two people judged the same pair of responses."""
    return int((rows[:, 0] > 0).sum())


def _alphas(rows: Floats, resamples: int, seed: int) -> Floats:
    """(1 + R,) alpha as observed, then resampled."""
    rows = rows[rows[:, 0] > 0]
    if not len(rows):
        return np.full(1 + resamples, np.nan)
    totals = np.vstack((rows.sum(axis=0), bootstrap_totals(rows, resamples, seed)))
    return alpha_sym(*totals.T)


def _change(
    rows: Sequence[Floats], alphas: Sequence[Floats], bounds: tuple[float, float]
) -> Change:
    counts = [overlapped(one) for one in rows]
    enough = [n >= MIN_PROMPTS for n in counts]
    before, after = (
        float(one[0]) if known and np.isfinite(one[0]) else None
        for one, known in zip(alphas, enough, strict=True)
    )
    value, low, high = _interval(alphas[1] - alphas[0], bounds) if all(enough) else (None,) * 3
    return Change(before, after, value, low, high, *counts)


def _interval(
    values: Floats, bounds: tuple[float, float]
) -> tuple[float | None, float | None, float | None]:
    """The observed value and the bounds of the resampled ones; None where it is undefined."""
    if not np.isfinite(values[0]) or np.isnan(values).mean() > 0.05:
        return None, None, None
    low, high = np.nanpercentile(values[1:], bounds)
    return float(values[0]), float(low), float(high)
