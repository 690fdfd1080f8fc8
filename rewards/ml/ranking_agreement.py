"""Every figure of agreement on some rankings, exact, whatever their number.

agreement.report is what the page shows, which waits for 20 prompts; this is for looking into a
handful of them, and for holding the figures against worked examples. The definitions are the same.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rewards.ml.alpha import AlphaSums, alpha_sums, alpha_sym
from rewards.ml.comparisons import Floats, PromptRankings, Ranking, compare, tabulate
from rewards.ml.intervals import bootstrap_totals
from rewards.ml.prompt_sums import prompt_sums

MIN_PROMPTS = 20  # with fewer the percentile interval covers too little

State = Literal["ok", "no judgements", "one annotator", "not enough overlap", "only ties"]


@dataclass(frozen=True)
class RankingAgreement:
    """alpha_sym = 1 - observed / expected, what it rests on, and the figures beside it.

    `state` is alpha's: unless it is "ok", `alpha`, its interval and its jackknife are None. Each
    other figure is None where nothing was compared that it speaks of.
    """

    state: State
    alpha: float | None
    observed: float | None  # disagreement
    expected: float | None
    low: float | None  # 95 %, prompts resampled; None with fewer than 20 overlapped prompts
    high: float | None
    jackknife: dict[str, float | None]  # alpha without each overlapped prompt
    jackknife_se: float | None  # None where alpha hangs on one prompt
    agreement_with_ties: float | None
    agreement_without_ties: float | None
    top_1: float | None
    tau_b: float | None
    tie_share: float | None  # of the ratings that alpha rests on
    n_prompts: int
    n_overlapped_prompts: int
    n_units: int  # pairs of responses that at least two annotators judged
    n_ratings: int  # of those
    n_ties: int
    n_annotator_pairs: int  # pairs of annotators, compared on a pair of responses
    n_annotator_pairs_without_ties: int


def ranking_agreement(
    prompts: Mapping[str, Any] | Sequence[Any], resamples: int = 2000, seed: int = 0
) -> RankingAgreement:
    """Agreement on `prompts[prompt][annotator]`, each a ranking of the prompt's responses.

    A ranking is a list with one rank for each response, or a mapping from response to rank; 1 is
    the best, equal ranks are a tie, None is a response that was not ranked. Lists of prompts and
    of annotators do as well as mappings: they are named by their places. Raises ValueError, naming
    prompt and annotator, for a rank below 1 and for lists of unequal length.
    """
    by_name = _named(prompts, "The prompts")
    table = tabulate(_read(name, said) for name, said in by_name.items())
    comparisons = compare(table)
    sums = alpha_sums(comparisons)
    columns = prompt_sums(table, comparisons, sums)
    total = {name: float(column.sum()) for name, column in columns.items()}
    better, worse, tie = comparisons.unit_counts()
    overlapped = np.flatnonzero(sums.ratings > 0)
    state: State = "ok"
    if not len(comparisons.unit):
        state = "no judgements"
    elif len(comparisons.annotators) == 1:
        state = "one annotator"
    elif not len(overlapped):
        state = "not enough overlap"
    elif total["ties"] == total["ratings"]:
        state = "only ties"
    names = [str(name) for name in by_name]
    jackknife = (
        _jackknife(sums, [names[i] for i in overlapped], overlapped) if state == "ok" else {}
    )
    low, high = _interval(sums, overlapped, resamples, seed) if state == "ok" else (None, None)
    tie_share = _ratio(total["ties"], total["ratings"])
    observed = _ratio(total["disagreement"], total["ratings"])
    return RankingAgreement(
        state=state,
        alpha=_alpha(sums, np.ones(len(sums.ratings))) if state == "ok" else None,
        observed=observed,
        expected=None if tie_share is None else (1 - tie_share**2) / 2,
        low=low,
        high=high,
        jackknife=jackknife,
        jackknife_se=_jackknife_error(list(jackknife.values())),
        agreement_with_ties=_ratio(total["agreeing"], total["compared"]),
        agreement_without_ties=_ratio(total["agreeing_strict"], total["compared_strict"]),
        top_1=_ratio(total["top"], total["top_compared"]),
        tau_b=_ratio(total["tau"], total["tau_defined"]),
        tie_share=tie_share,
        n_prompts=table.n_prompts,
        n_overlapped_prompts=len(overlapped),
        n_units=int((better + worse + tie >= 2).sum()),
        n_ratings=int(total["ratings"]),
        n_ties=int(total["ties"]),
        n_annotator_pairs=int(total["compared"]),
        n_annotator_pairs_without_ties=int(total["compared_strict"]),
    )


def _named(entries: Any, what: str) -> Mapping[str, Any]:
    if isinstance(entries, Mapping):
        return entries
    if isinstance(entries, str) or not isinstance(entries, Sequence | np.ndarray):
        raise ValueError(f"{what}: {entries!r} is neither a mapping nor a list")
    return {str(place): entry for place, entry in enumerate(entries)}


def _read(prompt: str, said: Any) -> PromptRankings:
    """The same with every ranking as a mapping, checked."""
    found: dict[str, Ranking] = {}
    lengths: dict[int, str] = {}
    for annotator, ranking in _named(said, f"Prompt {prompt}").items():
        where = f"Prompt {prompt}, annotator {annotator}"
        ranks = _named(ranking, where)
        if not isinstance(ranking, Mapping):
            lengths.setdefault(len(ranking), annotator)
        if len(lengths) > 1:
            raise ValueError(f"{where} ranks {len(ranks)} responses, not {next(iter(lengths))}")
        found[annotator] = {
            response: _rank(rank, f"{where}, response {response}")
            for response, rank in ranks.items()
        }
    return found


def _rank(rank: Any, where: str) -> Any:
    if rank is None or rank != rank:  # NaN differs from itself
        return None
    if not isinstance(rank, int | float | np.number) or not 1 <= rank < math.inf:
        raise ValueError(f"{where}: the rank {rank!r} is not a number from 1 up")
    return rank


def _alpha(sums: AlphaSums, weights: Floats) -> float | None:
    totals = (weights @ column for column in (sums.ratings, sums.disagreement, sums.ties))
    value = float(alpha_sym(*(np.atleast_1d(total) for total in totals))[0])
    return None if math.isnan(value) else value


def _jackknife(
    sums: AlphaSums, names: Sequence[str], overlapped: np.ndarray[Any, Any]
) -> dict[str, float | None]:
    without = (
        column.sum() - column[overlapped] for column in (sums.ratings, sums.disagreement, sums.ties)
    )
    alphas = alpha_sym(*without)
    return {
        name: None if math.isnan(alpha) else float(alpha)
        for name, alpha in zip(names, alphas, strict=True)
    }


def _jackknife_error(alphas: Sequence[float | None]) -> float | None:
    """Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, equation 11.5."""
    defined = [alpha for alpha in alphas if alpha is not None]
    n = len(defined)
    if n < 2 or n < len(alphas):
        return None
    return math.sqrt((n - 1) * float(np.var(defined)))


def _interval(
    sums: AlphaSums, overlapped: np.ndarray[Any, Any], resamples: int, seed: int
) -> tuple[float | None, float | None]:
    if len(overlapped) < MIN_PROMPTS:
        return None, None
    rows = np.column_stack((sums.ratings, sums.disagreement, sums.ties))[overlapped]
    alphas = alpha_sym(*bootstrap_totals(rows, resamples, seed).T)
    if np.isnan(alphas).mean() > 0.05:  # so few choices that resamples often are ties alone
        return None, None
    low, high = np.nanpercentile(alphas, [2.5, 97.5])
    return float(low), float(high)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
