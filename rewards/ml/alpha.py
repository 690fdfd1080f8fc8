"""alpha_sym: Krippendorff's alpha on pairs of responses, each pair entered both ways round.

Distances are 1 between a win and a loss and 1/2 between a tie and a win. Neither the order on
screen nor the names of the responses can move it; without ties it is 2 x pairwise agreement - 1.
Three sums for each prompt are enough for alpha of any choice of prompts.

P is the number of prompts, C of comparisons, U of units (see comparisons.py), E of entries: one
annotator on one prompt.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewards.ml.comparisons import Comparisons, Floats, Ints, sum_by
from rewards.ml.intervals import bootstrap_totals


@dataclass(frozen=True)
class AlphaSums:
    """Three sums for each prompt, (P,), from which alpha of any choice of prompts follows."""

    ratings: Floats  # ratings in pairs of responses that at least two annotators judged
    disagreement: Floats
    ties: Floats


def alpha_sums(comparisons: Comparisons) -> AlphaSums:
    """The sums of every prompt; zeros where no pair was judged twice."""
    better, worse, tie = comparisons.unit_counts()
    ratings, disagreement, ties = _contributions(better, worse, tie)
    by_prompt = comparisons.unit_prompt
    n_prompts = comparisons.n_prompts
    return AlphaSums(
        ratings=sum_by(by_prompt, ratings, n_prompts),
        disagreement=sum_by(by_prompt, disagreement, n_prompts),
        ties=sum_by(by_prompt, ties, n_prompts),
    )


def alpha_sym(ratings: Floats, disagreement: Floats, ties: Floats) -> Floats:
    """alpha_sym from totals over prompts, elementwise; NaN where nothing overlaps or all is tied.

    Krippendorff's alpha with metric |v1 - v2| / 2 on the mirrored table, but for its finite-sample
    factor (2N - 1) / 2N. Source: Krippendorff 2011, with the mirroring described above.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = (1 - (ties / ratings) ** 2) / 2
        return np.where(expected > 0, 1 - disagreement / ratings / expected, np.nan)


@dataclass(frozen=True)
class Forecast:
    """How many more overlapped prompts bring alpha's half-width to `half_width`: 80 % range."""

    half_width: float
    low: int
    high: int


@dataclass(frozen=True)
class LeaveOneOut:
    """The lowest and the highest alpha when one annotator is left out, and who that is."""

    low: float
    low_without: str
    high: float
    high_without: str


def forecast(sums: AlphaSums, half_width: float, seed: int = 0) -> Forecast:
    """More overlapped prompts like these, until alpha's 95 % half-width is `half_width`.

    From the spread of the prompts' influence on alpha; the range is where the estimate falls in
    80 % of resamples. Raises ValueError when alpha is undefined.
    """
    ratings, disagreement, ties = (
        x[sums.ratings > 0] for x in (sums.ratings, sums.disagreement, sums.ties)
    )
    n = ratings.sum()
    observed, tied = disagreement.sum() / n, ties.sum() / n
    expected = (1 - tied**2) / 2
    if not expected > 0:
        raise ValueError("alpha is undefined, so its width cannot be forecast")
    d_observed = (disagreement - observed * ratings) / n
    d_expected = -tied * (ties - tied * ratings) / n
    influence = len(ratings) * (observed / expected * d_expected - d_observed) / expected
    variance = bootstrap_totals(influence[:, None] ** 2, 400, seed) / len(ratings)
    low, high = np.percentile(variance, [10, 90]) * (1.959964 / half_width) ** 2 - len(ratings)
    return Forecast(half_width, max(0, math.ceil(low)), max(0, math.ceil(high)))


def leave_one_out(
    sums: AlphaSums, changes: tuple[Floats, Floats, Floats], annotator: Ints, names: Sequence[str]
) -> LeaveOneOut | None:
    """Alpha without each annotator in turn; None where it is undefined without any of them.

    `changes` are what the sums change by without one annotator on one prompt, (E,) each, and
    `annotator` is who it is, as an index into `names`.
    """
    totals = (
        total.sum() + sum_by(annotator, change, len(names))
        for change, total in zip(changes, (sums.ratings, sums.disagreement, sums.ties), strict=True)
    )
    alphas = alpha_sym(*totals)
    if np.isnan(alphas).all():
        return None
    lowest, highest = int(np.nanargmin(alphas)), int(np.nanargmax(alphas))
    return LeaveOneOut(float(alphas[lowest]), names[lowest], float(alphas[highest]), names[highest])


def changes_without(comparisons: Comparisons) -> tuple[Floats, Floats, Floats]:
    """What ratings, disagreement and ties change by without each comparison, (C,) each."""
    counts = comparisons.unit_counts()
    kept = (
        count[comparisons.unit] - (comparisons.value == value)
        for count, value in zip(counts, (1, -1, 0), strict=True)
    )
    full = (before[comparisons.unit] for before in _contributions(*counts))
    ratings, disagreement, ties = (
        after - before for after, before in zip(_contributions(*kept), full, strict=True)
    )
    return ratings, disagreement, ties


def _contributions(better: Ints, worse: Ints, tie: Ints) -> tuple[Floats, Floats, Floats]:
    """Ratings, disagreement and ties of units, zero for a unit with fewer than two ratings."""
    m = better + worse + tie
    counts = (m >= 2).astype(np.float64)
    disagreement = (2 * better * worse + tie * (better + worse)) / np.maximum(m - 1, 1)
    return counts * m, counts * disagreement, counts * tie
