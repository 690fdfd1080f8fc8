"""How far annotators agree, with intervals that resample prompts.

The headline is `alpha_sym` (see alpha.py). Beside it stand raw agreement, since it is the only
figure that papers report, and what users ask for: the same best response, rank correlation, each
annotator against the others. The pairs of one ranking hang together, so intervals resample
prompts, never pairs.

Too little data is a state, not a number: figures are None then, never NaN.

P is the number of prompts, E of entries: one annotator on one prompt (see prompt_sums.py).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from rewards.ml.alpha import (
    AlphaSums,
    Forecast,
    LeaveOneOut,
    alpha_sums,
    alpha_sym,
    forecast,
    leave_one_out,
)
from rewards.ml.comparisons import Floats, PromptRankings, compare, tabulate
from rewards.ml.intervals import bootstrap_totals, wilson
from rewards.ml.prompt_sums import PersonSums, Sums, sums_of

RESAMPLES = 2000
MIN_PROMPTS = 20  # with fewer the percentile interval covers too little
MIN_RANKINGS = 25  # overlapped, of one annotator, before his agreement with peers is shown
FORECAST_HALF_WIDTH = 0.05

State = Literal[
    "ok", "no judgements", "one annotator", "not enough overlap", "only ties", "one category"
]


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
    gwet: Estimate  # AC2 on the pairs of responses, each both ways round, a tie half a win
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
    return report_of_sums(sums_of(table, comparisons, alpha_sums(comparisons)), seed, resamples)


def report_of_sums(sums: Sums, seed: int = 0, resamples: int = RESAMPLES) -> Report:
    """The same from what was summed of each prompt, in whatever order these come."""
    every, people = sums.prompts, sums.people
    overlapped = every["ratings"] > 0
    columns = {name: column[overlapped] for name, column in every.items()}
    blank: State = "not enough overlap"
    if not every["comparisons"].sum():
        blank = "no judgements"
    elif len(people.names) == 1:
        blank = "one annotator"

    def totals(*names: str) -> tuple[Floats, ...]:
        return _totals([columns[name] for name in names], seed, resamples)

    def ratio(part: str, whole: str, blank: State, chance: float) -> Estimate:
        values = _quotient(*totals(part, whole))
        return _estimate(values, int((columns[whole] > 0).sum()), blank, chance)

    enough = len(columns["ratings"]) >= MIN_PROMPTS
    tied: State = "only ties" if enough else blank
    ratings, disagreement, ties = totals("ratings", "disagreement", "ties")
    tie_share = float(_quotient(ties, ratings)[0])
    alphas = alpha_sym(ratings, disagreement, ties)
    alpha = _estimate(alphas, len(columns["ratings"]), blank)
    lower, upper = _percentiles(alphas, 5, 95) if alpha.state == "ok" else (None, None)
    top, top_chance = (columns[name].sum() for name in ("top_compared", "top_chance"))
    return Report(
        state=alpha.state,
        alpha=alpha,
        alpha_lower_bound=lower,
        alpha_upper_bound=upper,
        agreement_with_ties=ratio(
            "agreeing", "compared", blank, tie_share**2 + (1 - tie_share) ** 2 / 2
        ),
        agreement_without_ties=ratio("agreeing_strict", "compared_strict", tied, 0.5),
        top_1=ratio("top", "top_compared", blank, top_chance / top if top else math.nan),
        tau_b=ratio("tau", "tau_defined", tied, 0.0),
        gwet=_estimate(
            _gwet(*totals("unit_agreement", "units", "rated_ties", "rated_units")),
            len(columns["units"]),
            blank,
            chance=0.0,
        ),
        tie_share=_mean(every["tied"], every["comparisons"]),
        leave_one_out=_leave_one_out(every, people) if alpha.state == "ok" else None,
        forecast=forecast(_alpha_sums(columns), FORECAST_HALF_WIDTH, seed)
        if alpha.state == "ok"
        else None,
        annotators=_annotators(people, chance=(1 + tie_share**2) / 2),
        n_prompts=len(overlapped),
        n_overlapped_prompts=int(overlapped.sum()),
        n_annotators=len(people.names),
        n_comparisons=round(every["comparisons"].sum()),
        n_annotator_pairs=round(every["compared"].sum()),
        resamples=resamples,
        seed=seed,
    )


def alpha_estimate(sums: AlphaSums, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """alpha_sym of some prompts with its interval, and nothing else; such as of one topic."""
    draws = alpha_draws(sums, seed, resamples)
    return _estimate(draws, int((sums.ratings > 0).sum()), "not enough overlap")


def alpha_draws(sums: AlphaSums, seed: int = 0, resamples: int = RESAMPLES) -> Floats:
    """alpha_sym, (1 + resamples,): that of the prompts first, then under resampling of them."""
    overlapped = sums.ratings > 0
    columns = [x[overlapped] for x in (sums.ratings, sums.disagreement, sums.ties)]
    return alpha_sym(*_totals(columns, seed, resamples))


def _totals(columns: Sequence[Floats], seed: int, resamples: int) -> tuple[Floats, ...]:
    """Totals over prompts, (1 + resamples,): the observed one first, then the resampled."""
    rows = np.column_stack(columns)
    if not len(rows):
        return tuple(np.zeros(1) for _ in columns)
    totals = np.vstack((rows.sum(axis=0), bootstrap_totals(rows, resamples, seed)))
    return tuple(totals.T)


def _alpha_sums(columns: Mapping[str, Floats]) -> AlphaSums:
    return AlphaSums(columns["ratings"], columns["disagreement"], columns["ties"])


def _leave_one_out(columns: Mapping[str, Floats], people: PersonSums) -> LeaveOneOut | None:
    changes = (people.ratings, people.disagreement, people.ties)
    return leave_one_out(_alpha_sums(columns), changes, people.annotator, people.names)


def _gwet(agreement: Floats, units: Floats, ties: Floats, rated: Floats) -> Floats:
    """Gwet's AC2 with linear weights on better, tie and worse. Source: Gwet 2014, chapter 4.

    Each pair of responses both ways round, so better and worse are equally frequent.
    """
    tied = _quotient(ties, rated)
    won = (1 - tied) / 2
    expected = 5 / 6 * (2 * won * (1 - won) + tied * (1 - tied))
    return (_quotient(agreement, units) - expected) / (1 - expected)


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


def _annotators(people: PersonSums, chance: float) -> tuple[AnnotatorAgreement, ...]:
    """Agreement of each annotator with his peers, by name; `chance` is what a random one gets.

    One figure for each annotator and prompt, since the pairs of a ranking hang together.
    """
    order = np.argsort(people.annotator, kind="stable")
    ends = np.searchsorted(people.annotator[order], np.arange(len(people.names)), side="right")
    found = []
    for name, entries in sorted(
        zip(people.names, np.split(order, ends)[:-1], strict=True), key=lambda pair: pair[0]
    ):
        shares = people.share[entries]
        prompts = int((people.comparisons[entries] > 0).sum())
        own = _peer_agreement(shares[~np.isnan(shares)], chance)
        found.append(AnnotatorAgreement(name, prompts, own))
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


def _mean(part: Floats, whole: Floats) -> float | None:
    return float(part.sum() / whole.sum()) if whole.sum() else None
