"""How reliable each annotator is, from how he fits in with the others: one-coin Dawid-Skene.

On every pair of responses there is one truth, which of the two is better, and annotator a says it
with probability eta_a, whichever way round the pair is shown. That is the model of Dawid and Skene
(1979) on pairs entered both ways round, where nothing is left of their confusion matrix but one
number. A Beta(8, 3) prior, whose mode 7/9 is about what honest annotators reach, tells the truth
from its mirror image and keeps people with little data near the ordinary.

No gold tasks are used: where a majority colludes, it is the honest ones who look unreliable. Ties
say nothing of which response is better and are left out; someone who ties everything is named so.

C is the number of comparisons, U of units, A of annotators (see comparisons.py).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rewards.ml.comparisons import (
    Comparisons,
    Floats,
    PromptRankings,
    compare,
    sum_by,
    tabulate,
)

PRIOR_RIGHT, PRIOR_WRONG = 7.0, 2.0  # Beta(8, 3) as counts beside the observed ones
MIN_RANKINGS = 10  # overlapped, before an annotator's reliability is shown
MAX_WEIGHT = 3.0
ROUNDS = 200
TOLERANCE = 1e-9  # of the log-posterior, relative

State = Literal["ok", "no judgements", "not enough overlap", "only ties"]


@dataclass(frozen=True)
class Reliability:
    """The probability that one annotator's choice between two responses is right.

    Unless `state` is "ok" the three numbers are None. `n` counts the prompts on which someone else
    judged the same pair.
    """

    annotator: str
    state: State
    value: float | None
    low: float | None  # 95 % interval
    high: float | None
    n: int


@dataclass(frozen=True)
class ReliabilityReport:
    """`log_posterior` has one entry a round of EM and never falls."""

    state: State
    annotators: tuple[Reliability, ...]
    log_posterior: tuple[float, ...]


def estimate(prompts: Iterable[PromptRankings]) -> ReliabilityReport:
    """Reliability of everyone who judged any of the prompts, by name."""
    comparisons = compare(tabulate(prompts))
    chosen = _choices(comparisons)
    n_annotators = len(chosen.annotators)
    history: list[float] = []
    eta = error = np.zeros(n_annotators)
    if len(chosen.unit):
        eta, posterior, history = _fit(chosen)
        right = np.where(chosen.value > 0, posterior[chosen.unit], 1 - posterior[chosen.unit])
        error = _logit_errors(chosen, right - eta[chosen.annotator], eta)
    judged = np.unique(np.column_stack((chosen.annotator, chosen.prompt)), axis=0)
    n_prompts = np.bincount(judged[:, 0], minlength=n_annotators)
    chose = np.bincount(comparisons.annotator, comparisons.value != 0, n_annotators)
    compared = np.bincount(comparisons.annotator, minlength=n_annotators)
    people = tuple(
        _person(
            chosen.annotators[index],
            eta=float(eta[index]),
            logit_error=float(error[index]),
            n=int(n_prompts[index]),
            only_ties=bool(compared[index] > 0 and chose[index] == 0),
        )
        for index in sorted(range(n_annotators), key=lambda index: chosen.annotators[index])
    )
    return ReliabilityReport(_state(comparisons, people), people, tuple(history))


def training_weights(report: ReliabilityReport, rankings: Mapping[str, int]) -> dict[str, float]:
    """A weight for everyone in `rankings`, from the log-odds of being right, clipped at 0 and 3.

    `rankings` tells how many each person made: over all of these the mean weight is 1. People
    without an estimate of their own count as the prior's ordinary annotator. Should nobody be
    better than chance, all weights are 0.
    """
    eta = {person.annotator: person.value for person in report.annotators}
    return clipped_weights(eta, rankings)


def clipped_weights(
    eta: Mapping[str, float | None], rankings: Mapping[str, int]
) -> dict[str, float]:
    """The same from reliabilities by annotator, whatever estimated them; None for no estimate."""
    ordinary = PRIOR_RIGHT / (PRIOR_RIGHT + PRIOR_WRONG)
    raw = {}
    for annotator in rankings:
        value = eta.get(annotator)
        odds = _log_odds(ordinary if value is None else value)
        raw[annotator] = min(MAX_WEIGHT, max(0.0, odds))
    total = sum(raw[annotator] * count for annotator, count in rankings.items())
    if total == 0:
        return raw
    scale = sum(rankings.values()) / total
    return {annotator: weight * scale for annotator, weight in raw.items()}


def _choices(comparisons: Comparisons) -> Comparisons:
    """Without ties, and without units in which fewer than two people made a choice."""
    better, worse, _ = comparisons.unit_counts()
    kept = (comparisons.value != 0) & ((better + worse)[comparisons.unit] >= 2)
    _, unit = np.unique(comparisons.unit[kept], return_inverse=True)
    return Comparisons(
        n_prompts=comparisons.n_prompts,
        annotators=comparisons.annotators,
        prompt=comparisons.prompt[kept],
        unit=unit,
        annotator=comparisons.annotator[kept],
        value=comparisons.value[kept],
    )


def _fit(chosen: Comparisons) -> tuple[Floats, Floats, list[float]]:
    """Expectation-maximisation to the mode of the posterior.

    Returns eta (A,), the probability that the first response of each unit is the better one (U,),
    and the log-posterior after each round. Starts from the shares of votes: a hard majority can
    end in a worse mode.
    """
    unit, annotator, first = chosen.unit, chosen.annotator, chosen.value > 0
    n_units, n_annotators = int(unit[-1]) + 1, len(chosen.annotators)
    judged = np.bincount(annotator, minlength=n_annotators)
    posterior = np.bincount(unit, first) / np.bincount(unit)
    eta = np.zeros(n_annotators)
    history: list[float] = []
    while len(history) < ROUNDS:
        right = np.where(first, posterior[unit], 1 - posterior[unit])  # (C,)
        hits = sum_by(annotator, right, n_annotators)
        eta = (hits + PRIOR_RIGHT) / (judged + PRIOR_RIGHT + PRIOR_WRONG)
        log_right, log_wrong = np.log(eta[annotator]), np.log(1 - eta[annotator])
        if_first = sum_by(unit, np.where(first, log_right, log_wrong), n_units)
        if_second = sum_by(unit, np.where(first, log_wrong, log_right), n_units)
        evidence = np.logaddexp(if_first, if_second)
        posterior = np.exp(if_first - evidence)
        prior = PRIOR_RIGHT * np.log(eta) + PRIOR_WRONG * np.log(1 - eta)
        history.append(float(evidence.sum() - n_units * math.log(2) + prior.sum()))
        if len(history) > 1 and history[-1] - history[-2] < TOLERANCE * abs(history[-1]):
            break
    return eta, posterior, history


def _logit_errors(chosen: Comparisons, residual: Floats, eta: Floats) -> Floats:
    """Standard error of each logit(eta), (A,), with the truth itself unknown.

    The score of annotator a is the sum of his residuals, (C,), right less eta. Information comes
    from his scores on single units, which are independent given the truth, and the spread from
    those on whole prompts, whose units are not: the sandwich estimator (White 1982). The prior
    counts in both. How two annotators' errors hang together is left out: it widens intervals by
    some 2 %, by 15 % where there are but three people.
    """
    people = len(eta)
    prior = (PRIOR_RIGHT + PRIOR_WRONG) * eta * (1 - eta)
    information = prior + sum_by(chosen.annotator, residual**2, people)
    keys, group = np.unique(chosen.prompt * people + chosen.annotator, return_inverse=True)
    scores = sum_by(group, residual, len(keys))
    errors: Floats = np.sqrt(prior + sum_by(keys % people, scores**2, people)) / information
    return errors


def _person(annotator: str, eta: float, logit_error: float, n: int, only_ties: bool) -> Reliability:
    if n < MIN_RANKINGS:
        state: State = "only ties" if only_ties else "not enough overlap"
        return Reliability(annotator, state, None, None, None, n)
    low, high = (
        1 / (1 + math.exp(-_log_odds(eta) - side * 1.959964 * logit_error)) for side in (-1, 1)
    )
    return Reliability(annotator, "ok", eta, low, high, n)


def _state(comparisons: Comparisons, people: tuple[Reliability, ...]) -> State:
    if not len(comparisons.unit):
        return "no judgements"
    if not comparisons.value.any():
        return "only ties"
    return "ok" if any(person.state == "ok" for person in people) else "not enough overlap"


def _log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))
