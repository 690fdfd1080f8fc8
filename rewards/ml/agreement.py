"""How far annotators agree, with intervals that resample prompts.

The headline is `alpha_sym` (see alpha.py). Beside it stand raw agreement, since it is the only
figure that papers report, and what users ask for: the same best response, rank correlation, each
annotator against the others. The pairs of one ranking hang together, so intervals resample
prompts, never pairs.

Too little data is a state, not a number: figures are None then, never NaN.

P is the number of prompts, C of comparisons, A of annotators (see comparisons.py).
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rewards.ml.alpha import (
    Forecast,
    LeaveOneOut,
    alpha_sums,
    alpha_sym,
    forecast,
    leave_one_out,
)
from rewards.ml.comparisons import (
    Comparisons,
    Floats,
    PromptRankings,
    compare,
    tabulate,
)
from rewards.ml.intervals import bootstrap_totals, wilson
from rewards.ml.prompt_sums import prompt_sums

RESAMPLES = 2000
MIN_PROMPTS = 20  # with fewer the percentile interval covers too little
MIN_RANKINGS = 25  # overlapped, of one annotator, before his agreement with peers is shown
FORECAST_HALF_WIDTH = 0.05

State = Literal["ok", "no judgements", "one annotator", "not enough overlap", "only ties"]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval. Unless `state` is "ok" the three numbers are None."""

    state: State
    value: float | None
    low: float | None
    high: float | None
    n: int  # prompts it rests on; rankings, for one annotator's agreement with peers
    chance: float | None = None  # the value to expect from annotators who choose at random


@dataclass(frozen=True)
class AnnotatorAgreement:
    """How far one annotator agrees with those who judged the same pairs of responses.

    A tie against a win counts half. `n_prompts` are all he judged; the estimate's n is those of
    them where someone else judged a pair that he judged too.
    """

    annotator: str
    n_prompts: int
    agreement: Estimate


@dataclass(frozen=True)
class Report:
    """Everything the agreement page shows; `as_dict` is plain JSON."""

    state: State
    alpha: Estimate
    alpha_lower_bound: float | None  # one-sided, 95 %
    alpha_upper_bound: float | None
    agreement_with_ties: Estimate
    agreement_without_ties: Estimate
    top_1: Estimate
    tau_b: Estimate
    tie_share: float | None
    leave_one_out: LeaveOneOut | None
    forecast: Forecast | None
    annotators: tuple[AnnotatorAgreement, ...]
    n_prompts: int
    n_overlapped_prompts: int
    n_annotators: int
    n_comparisons: int
    n_annotator_pairs: int  # pairs of annotators compared on a pair of responses
    resamples: int
    seed: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def report(prompts: Iterable[PromptRankings], seed: int = 0, resamples: int = RESAMPLES) -> Report:
    """Agreement on some prompts, each a mapping of annotators to what they said of it.

    The same prompts and seed give the same report. Leave out annotators and prompts that should
    not count before the call.
    """
    table = tabulate(prompts)
    comparisons = compare(table)
    sums = alpha_sums(comparisons)
    overlapped = sums.ratings > 0
    columns = {
        name: column[overlapped] for name, column in prompt_sums(table, comparisons, sums).items()
    }
    totals = _totals(columns, seed, resamples)
    blank: State = "not enough overlap"
    if not len(comparisons.unit):
        blank = "no judgements"
    elif len(comparisons.annotators) == 1:
        blank = "one annotator"

    def ratio(part: str, whole: str, blank: State, chance: Floats) -> Estimate:
        values = _quotient(totals[part], totals[whole])
        return _estimate(values, int((columns[whole] > 0).sum()), blank, float(chance[0]))

    enough = len(columns["ratings"]) >= MIN_PROMPTS
    tied: State = "only ties" if enough else blank
    half = np.full(1, 0.5)
    ties = _quotient(totals["ties"], totals["ratings"])
    alphas = alpha_sym(totals["ratings"], totals["disagreement"], totals["ties"])
    alpha = _estimate(alphas, len(columns["ratings"]), blank)
    lower, upper = _percentiles(alphas, 5, 95) if alpha.state == "ok" else (None, None)
    return Report(
        state=alpha.state,
        alpha=alpha,
        alpha_lower_bound=lower,
        alpha_upper_bound=upper,
        agreement_with_ties=ratio("agreeing", "compared", blank, ties**2 + (1 - ties) ** 2 / 2),
        agreement_without_ties=ratio("agreeing_strict", "compared_strict", tied, half),
        top_1=ratio(
            "top", "top_compared", blank, _quotient(totals["top_chance"], totals["top_compared"])
        ),
        tau_b=ratio("tau", "tau_defined", tied, half * 0),
        tie_share=_mean(comparisons.value == 0),
        leave_one_out=leave_one_out(comparisons, sums) if alpha.state == "ok" else None,
        forecast=forecast(sums, FORECAST_HALF_WIDTH, seed) if alpha.state == "ok" else None,
        annotators=_annotators(comparisons, chance=float(1 + ties[0] ** 2) / 2),
        n_prompts=table.n_prompts,
        n_overlapped_prompts=int(overlapped.sum()),
        n_annotators=len(comparisons.annotators),
        n_comparisons=len(comparisons.unit),
        n_annotator_pairs=int(columns["compared"].sum()),
        resamples=resamples,
        seed=seed,
    )


def _totals(columns: dict[str, Floats], seed: int, resamples: int) -> dict[str, Floats]:
    """Totals over prompts, (1 + resamples,): the observed one first, then the resampled."""
    rows = np.column_stack(list(columns.values()))
    if not len(rows):
        return {name: np.zeros(1) for name in columns}
    totals = np.vstack((rows.sum(axis=0), bootstrap_totals(rows, resamples, seed)))
    return dict(zip(columns, totals.T, strict=True))


def _estimate(values: Floats, n: int, blank: State, chance: float | None = None) -> Estimate:
    """From the observed value and its resamples. `blank` is said when there is too little data."""
    if n < MIN_PROMPTS:
        return Estimate(blank, None, None, None, n)
    if not np.isfinite(values[0]) or np.isnan(values).mean() > 0.05:
        return Estimate("only ties", None, None, None, n)
    low, high = _percentiles(values, 2.5, 97.5)
    return Estimate("ok", float(values[0]), low, high, n, chance)


def _percentiles(values: Floats, *percent: float) -> tuple[float, float]:
    low, high = np.nanpercentile(values[1:], percent)
    return float(low), float(high)


def _annotators(comparisons: Comparisons, chance: float) -> tuple[AnnotatorAgreement, ...]:
    """Agreement of each annotator with his peers, by name; `chance` is what a random one gets."""
    better, worse, tie = (count[comparisons.unit] for count in comparisons.unit_counts())
    value = comparisons.value
    peers = better + worse + tie - 1
    alike = np.select([value == 1, value == -1], [better, worse], tie) - 1
    half = np.where(value == 0, better + worse, tie)  # a tie on one side only
    share = (alike + half / 2) / np.maximum(peers, 1)
    n_prompts = comparisons.n_prompts
    # One figure for each annotator and prompt, since the pairs of a ranking hang together.
    key = comparisons.annotator * n_prompts + comparisons.prompt
    judged = np.unique(key) // max(n_prompts, 1)
    keys, group = np.unique(key[peers > 0], return_inverse=True)
    means = np.bincount(group, share[peers > 0]) / np.bincount(group)
    names = comparisons.annotators
    found = []
    for person in sorted(range(len(names)), key=lambda index: names[index]):
        own = means[keys // max(n_prompts, 1) == person]
        prompts = int((judged == person).sum())
        found.append(AnnotatorAgreement(names[person], prompts, _peer_agreement(own, chance)))
    return tuple(found)


def _peer_agreement(shares: Floats, chance: float) -> Estimate:
    """Mean over rankings with an interval from their spread; Wilson's at an effective number of
    rankings, so that it stays in [0, 1] and is no point where all are equal."""
    n = len(shares)
    if n < MIN_RANKINGS:
        return Estimate("not enough overlap", None, None, None, n)
    mean, variance = float(shares.mean()), float(shares.var(ddof=1))
    effective = n * mean * (1 - mean) / variance if variance > 1e-12 else n
    low, high = wilson(mean, effective)
    return Estimate("ok", mean, low, high, n, chance)


def _quotient(part: Floats, whole: Floats) -> Floats:
    """part / whole, NaN where `whole` is zero."""
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _mean(flags: NDArray[np.bool_]) -> float | None:
    return float(flags.mean()) if len(flags) else None
