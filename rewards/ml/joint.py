"""A linear reward and the reliability of each annotator, estimated together, gold tasks observed.

Of every two responses one is truly better, the first with probability σ(reward_first -
reward_second), where reward = features · coefficients. Annotator a says which with probability
reliability_a, independently of the others given the truth. Where a gold task tells the truth, it
is observed instead: that is what finds colluders, who agree among themselves, and it needs no
overlap, since the reward links everyone's pairs.

Source: Raykar et al. 2010, Learning from crowds, JMLR 11, section 3, with one reliability for both
answers since pairs have no order; for pairwise preferences Chen et al. 2013, Pairwise ranking
aggregation in a crowdsourced setting. Fitted by expectation-maximisation, from votes weighed by
what gold alone says of each annotator: from plain votes, colluders who are half of all would stay
the truth. A normal prior on the coefficients and the Beta prior of reliability.py on reliabilities.

A tie says nothing of which is better and is left out. The pairs of one ranking count as if they
were independent, so posteriors are too sure; intervals must come from resampled prompts.

C is the number of distinct choices (annotator, pair, answer), U of pairs, N of items, D of
features, A of annotators.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from rewards.ml.comparisons import Floats, Ints, sum_by
from rewards.ml.outcomes import Outcomes
from rewards.ml.reliability import PRIOR_RIGHT, PRIOR_WRONG

ROUNDS = 200
TOLERANCE = 1e-7  # of the log-posterior, relative
PRECISION = 1.0  # of the normal prior on coefficients

State = Literal["ok", "no judgements", "only ties"]


@dataclass(frozen=True)
class JointReliability:
    """How often one annotator says which response is truly better.

    `n` counts his choices, `n_gold` those of them where the truth is known; with few, the prior
    speaks.
    """

    annotator: Any
    value: float
    n: int
    n_gold: int


@dataclass(frozen=True)
class Joint:
    """`coefficients` (D,), and `rewards` (N,) of the items; both None unless `state` is "ok".

    `log_posterior` has one entry a round and never falls.
    """

    state: State
    items: tuple[Any, ...]
    coefficients: Floats | None
    rewards: Floats | None
    annotators: tuple[JointReliability, ...]
    log_posterior: tuple[float, ...]


@dataclass(frozen=True)
class _Pairs:
    """Pairs (U,) of items, the truth where gold tells it, and choices (C,) about them."""

    first: Ints
    second: Ints
    gold: Floats  # 1 or 0: the first is better or not; NaN where nobody knows
    pair: Ints
    annotator: Ints
    chose_first: NDArray[np.bool_]
    count: Floats
    n_annotators: int


def joint(
    outcomes: Outcomes,
    features: Mapping[Any, Sequence[float]] | NDArray[Any],
    gold: Outcomes | None = None,
    precision: float = PRECISION,
) -> Joint:
    """Fit to the annotators' outcomes, with those of `gold` as the truth.

    `features[item]` are an item's numbers, all items as many; scale them to about unit variance,
    since one `precision` is the prior of all coefficients. Gold tasks that nobody judged still
    teach the reward. Raises ValueError for features that are missing, of unequal number or not
    finite.
    """
    items = tuple(dict.fromkeys((*outcomes.items, *(gold.items if gold else ()))))
    rows = _features(items, features)
    if not len(outcomes.outcome):
        return Joint("no judgements", items, None, None, (), ())
    if not outcomes.outcome.any():
        return Joint("only ties", items, None, None, (), ())
    pairs = _pairs(outcomes, gold, items)
    coefficients, reliability, history = _fit(rows, pairs, precision)
    judged = sum_by(pairs.annotator, pairs.count, pairs.n_annotators)
    known = ~np.isnan(pairs.gold[pairs.pair])
    on_gold = sum_by(pairs.annotator, pairs.count * known, pairs.n_annotators)
    people = tuple(
        JointReliability(name, float(reliability[a]), int(judged[a]), int(on_gold[a]))
        for a, name in enumerate(outcomes.annotators)
    )
    return Joint("ok", items, coefficients, rows @ coefficients, people, tuple(history))


def _fit(rows: Floats, pairs: _Pairs, precision: float) -> tuple[Floats, Floats, list[float]]:
    people = pairs.n_annotators
    known = ~np.isnan(pairs.gold)
    judged = sum_by(pairs.annotator, pairs.count, people)
    # The start: truth as the votes have it, each weighed by what gold alone says of its annotator.
    on_gold = pairs.count * known[pairs.pair]
    hits = sum_by(pairs.annotator, on_gold * (pairs.chose_first == pairs.gold[pairs.pair]), people)
    told = sum_by(pairs.annotator, on_gold, people)
    reliability = (hits + PRIOR_RIGHT) / (told + PRIOR_RIGHT + PRIOR_WRONG)
    if_first, if_second = _evidence(np.zeros(len(rows)), pairs, reliability)
    truth = np.where(known, pairs.gold, expit(if_first - if_second))
    coefficients = np.zeros(rows.shape[1])
    history: list[float] = []
    while len(history) < ROUNDS:
        right = np.where(pairs.chose_first, truth[pairs.pair], 1 - truth[pairs.pair])
        hits = sum_by(pairs.annotator, pairs.count * right, people)
        reliability = (hits + PRIOR_RIGHT) / (judged + PRIOR_RIGHT + PRIOR_WRONG)
        coefficients = _reward(rows, pairs, truth, coefficients, precision)
        if_first, if_second = _evidence(rows @ coefficients, pairs, reliability)
        evidence = np.logaddexp(if_first, if_second)
        evidence = np.where(known, np.where(pairs.gold > 0, if_first, if_second), evidence)
        truth = np.where(known, pairs.gold, expit(if_first - if_second))
        prior = PRIOR_RIGHT * np.log(reliability) + PRIOR_WRONG * np.log1p(-reliability)
        penalty = precision / 2 * coefficients @ coefficients
        history.append(float(evidence.sum() + prior.sum() - penalty))
        if len(history) > 1 and history[-1] - history[-2] < TOLERANCE * abs(history[-1]):
            break
    return coefficients, reliability, history


def _evidence(rewards: Floats, pairs: _Pairs, reliability: Floats) -> tuple[Floats, Floats]:
    """(U,) each: log-probability of all that was said, with the first or the second better."""
    d = rewards[pairs.first] - rewards[pairs.second]
    if_right = pairs.count * np.log(reliability)[pairs.annotator]
    if_wrong = pairs.count * np.log1p(-reliability)[pairs.annotator]
    one = np.where(pairs.chose_first, if_right, if_wrong)
    two = np.where(pairs.chose_first, if_wrong, if_right)
    return (
        sum_by(pairs.pair, one, len(d)) - np.logaddexp(0, -d),
        sum_by(pairs.pair, two, len(d)) - np.logaddexp(0, d),
    )


def _reward(rows: Floats, pairs: _Pairs, truth: Floats, start: Floats, precision: float) -> Floats:
    """Coefficients by logistic regression on the probable truth, from the last ones on."""
    found = minimize(
        reward_loss,
        start,
        (rows, pairs.first, pairs.second, truth, precision),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 50},
    )
    return np.asarray(found.x)


def reward_loss(
    coefficients: Floats, rows: Floats, first: Ints, second: Ints, truth: Floats, precision: float
) -> tuple[float, Floats]:
    """Penalised cross-entropy of `truth` (U,), probabilities that the first is better, and its
    gradient (D,)."""
    rewards = rows @ coefficients
    d = rewards[first] - rewards[second]
    residual = expit(d) - truth
    to_rewards = sum_by(first, residual, len(rows)) - sum_by(second, residual, len(rows))
    loss = (truth * np.logaddexp(0, -d) + (1 - truth) * np.logaddexp(0, d)).sum()
    return (
        float(loss + precision / 2 * coefficients @ coefficients),
        rows.T @ to_rewards + precision * coefficients,
    )


def _pairs(outcomes: Outcomes, gold: Outcomes | None, items: tuple[Any, ...]) -> _Pairs:
    """Each pair once, the item with the lower number first."""
    size = len(items)  # those of `outcomes` come first, with their own numbers
    choices = _oriented(outcomes)
    truths = _oriented(_renumbered(gold, items)) if gold is not None else None
    own = choices.first * size + choices.second
    known = np.zeros(0, dtype=np.int64) if truths is None else truths.first * size + truths.second
    keys, place = np.unique(np.concatenate((own, known)), return_inverse=True)
    said = np.full(len(keys), np.nan)
    if truths is not None:
        for_first = np.bincount(place[len(own) :], truths.count * truths.outcome, len(keys))
        told = np.bincount(place[len(own) :], minlength=len(keys)) > 0
        said = np.where(told & (for_first != 0), (for_first > 0).astype(np.float64), np.nan)
    return _Pairs(
        first=keys // size,
        second=keys % size,
        gold=said,
        pair=place[: len(own)].astype(np.int64),
        annotator=choices.annotator,
        chose_first=choices.outcome > 0,
        count=choices.count,
        n_annotators=len(outcomes.annotators),
    )


def _oriented(outcomes: Outcomes) -> Outcomes:
    """Without ties, the item with the lower number first."""
    kept = outcomes.outcome != 0
    first, second = outcomes.first[kept], outcomes.second[kept]
    swapped = first > second
    return replace(
        outcomes,
        annotator=outcomes.annotator[kept],
        first=np.where(swapped, second, first),
        second=np.where(swapped, first, second),
        outcome=np.where(swapped, -outcomes.outcome[kept], outcomes.outcome[kept]),
        count=outcomes.count[kept],
    )


def _renumbered(gold: Outcomes, items: tuple[Any, ...]) -> Outcomes:
    places = {item: place for place, item in enumerate(items)}
    number = np.array([places[item] for item in gold.items], dtype=np.int64)
    return replace(gold, first=number[gold.first], second=number[gold.second])


def _features(
    items: tuple[Any, ...], features: Mapping[Any, Sequence[float]] | NDArray[Any]
) -> Floats:
    """(N, D) the items' rows."""
    rows = []
    for item in items:
        try:
            rows.append(np.asarray(features[item], dtype=np.float64))
        except (KeyError, IndexError):
            raise ValueError(f"No features of item {item!r}") from None
        if rows[-1].shape != rows[0].shape or rows[0].ndim != 1:
            raise ValueError(
                f"Item {item!r} has features of shape {rows[-1].shape}, item {items[0]!r} "
                f"{rows[0].shape}"
            )
        if not np.isfinite(rows[-1]).all():
            raise ValueError(f"Item {item!r} has features that are not finite")
    return np.array(rows).reshape(len(rows), -1 if rows else 0)
