"""What every annotator's judgements weigh in training, so that a hostile few cannot steer it.

In this order: who fails the gold tasks weighs nothing; the others weigh by how often they are
right, which is estimated together with a linear reward, gold observed (joint.py); newcomers weigh
little until they have passed enough gold; nobody, and no three people, weigh more than their share.

Agreement does not defend: colluders agree. Gold tells them apart, since its answer does not depend
on how many say otherwise.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from rewards.ml.comparisons import Floats, PromptRankings, Ranking
from rewards.ml.joint import Joint, joint
from rewards.ml.outcomes import outcomes_of_rankings
from rewards.ml.reliability import clipped_weights

HONEST = 0.82  # how often an honest person is right about two clearly different responses
FALSE_ALARM = 0.01  # of an honest person in the gold test
MIN_GOLD_PAIRS = 20  # before somebody can fail it
NEWCOMER_GOLD = 10  # gold rankings until somebody counts in full
NEWCOMER_WEIGHT = 0.5  # at most, where the mean is 1
MOST_OF_ONE, MOST_OF_THREE = 0.15, 0.40  # of all that training learns from
CAPS = ((1, MOST_OF_ONE), (3, MOST_OF_THREE))
LEAST_KEPT = 0.1  # of a weight, whatever the caps say

Item = tuple[int, str]


@dataclass(frozen=True)
class GoldTask:
    """What people said of a gold task, and the right rank of each of its responses.

    Responses that are about as good share their right rank: of these anything may be said.
    """

    said: PromptRankings
    key: Mapping[str, int]


@dataclass(frozen=True)
class GoldResult:
    """How one annotator did on gold: `right` of `pairs` that have a right answer.

    A tie of his counts half. `p_value` is how likely an honest person does no better.
    """

    annotator: str
    rankings: int
    pairs: int
    right: float
    p_value: float

    @property
    def failed(self) -> bool:
        return self.pairs >= MIN_GOLD_PAIRS and self.p_value < FALSE_ALARM


@dataclass(frozen=True)
class Defence:
    """Weights by annotator, of mean 1 over rankings but for newcomers' and for the caps.

    `uncapped` is what they would be without the caps; `failed` weigh 0.
    """

    weights: Mapping[str, float]
    uncapped: Mapping[str, float]
    gold: Mapping[str, GoldResult]
    failed: tuple[str, ...]
    joint: Joint


def defend(
    prompts: Sequence[PromptRankings],
    gold: Sequence[GoldTask],
    features: Mapping[Item, Sequence[float]],
) -> Defence:
    """Weights for everybody who judged any of the prompts.

    `features[index, response]` are a response's numbers; gold tasks are numbered on from the
    prompts. Whoever has failed gold is left out before reliabilities are estimated.
    """
    results = gold_results(gold)
    failed = {name for name, result in results.items() if result.failed}
    told: list[PromptRankings] = [*prompts, *(task.said for task in gold)]
    kept = [{name: said for name, said in one.items() if name not in failed} for one in told]
    keys: list[PromptRankings] = [{} for _ in prompts]
    keys += [{"key": dict(task.key)} for task in gold]
    found = joint(outcomes_of_rankings(kept), features, outcomes_of_rankings(keys))
    reliability = {person.annotator: person.value for person in found.annotators}
    rankings = Counter(name for one in prompts for name in one)
    counted = {name: n for name, n in rankings.items() if name not in failed}
    weights = clipped_weights(reliability, counted)
    for name in weights:
        done = results[name].rankings if name in results else 0
        if gold and done < NEWCOMER_GOLD:
            weights[name] = min(weights[name], NEWCOMER_WEIGHT)
    nothing = dict.fromkeys(failed & rankings.keys(), 0.0)
    uncapped, weights = weights | nothing, capped(weights, counted) | nothing
    return Defence(weights, uncapped, results, tuple(sorted(failed)), found)


def gold_results(gold: Sequence[GoldTask]) -> dict[str, GoldResult]:
    """Everybody's record; an annotator's several rankings of a task count each."""
    rankings: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    right: dict[str, float] = defaultdict(float)
    for task in gold:
        for name, said in task.said.items():
            for ranks in (said,) if isinstance(said, Mapping) else said:
                asked, correct = _marked(task.key, ranks)
                rankings[name] += 1
                pairs[name] += asked
                right[name] += correct
    return {
        name: GoldResult(
            annotator=name,
            rankings=rankings[name],
            pairs=pairs[name],
            right=right[name],
            p_value=gold_p_value(right[name], pairs[name]),
        )
        for name in rankings
    }


def gold_p_value(right: float, pairs: int) -> float:
    """How likely an honest person has so few of the pairs right, or fewer, by the binomial."""
    return float(binom.cdf(np.floor(right), pairs, HONEST))


def capped(weights: Mapping[str, float], rankings: Mapping[str, int]) -> dict[str, float]:
    """The weights with what is beyond a person's share, or three people's, taken off.

    A share is of the sum of weights times rankings. Where there are so few people that a cap could
    not hold, it is not applied; and nobody loses more than nine tenths of his weight to them, since
    most of what a project knows would be thrown away with it. `unmet_caps` says what is left.
    """
    names = sorted(weights)
    amounts = np.array([weights[name] * rankings[name] for name in names])
    people = int((amounts > 0).sum())
    if not people:
        return dict(weights)
    limited = amounts
    for n, share in CAPS:
        if n <= share * people:
            limited = _cap_largest(limited, n, share)
    limited = np.maximum(limited, LEAST_KEPT * amounts)
    kept = np.divide(limited, amounts, out=np.ones_like(amounts), where=amounts > 0)
    return {name: weights[name] * float(kept[i]) for i, name in enumerate(names)}


def unmet_caps(weights: Mapping[str, float], rankings: Mapping[str, int]) -> dict[int, float]:
    """Of one person and of the three with most, the share where it is more than it should be."""
    amounts = np.sort([weights[name] * rankings[name] for name in weights])[::-1]
    if not amounts.sum():
        return {}
    shares = {n: float(amounts[:n].sum() / amounts.sum()) for n, _ in CAPS}
    return {n: shares[n] for n, most in CAPS if shares[n] > most + 0.001}


def _marked(key: Mapping[str, int], ranks: Ranking) -> tuple[int, float]:
    """How many pairs the key decides of those ranked, and how many of them are right."""
    asked, right = 0, 0.0
    for a, b in ((a, b) for a in key for b in key if key[a] < key[b]):
        one, two = ranks.get(a), ranks.get(b)
        if one is not None and two is not None:
            asked += 1
            right += (one < two) + (one == two) / 2
    return asked, right


def _cap_largest(amounts: Floats, n: int, share: float) -> Floats:
    """The greatest amounts cut to one level, at which the `n` greatest are at most `share`.

    That level is found by halving: the lower it is, the less of the whole are the greatest.
    """

    def fits(level: float) -> bool:
        cut = np.sort(np.minimum(amounts, level))
        return bool(cut[-n:].sum() <= share * cut.sum() * (1 + 1e-9))

    low, high = 0.0, float(amounts.max())
    if fits(high):
        return amounts
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return np.minimum(amounts, low)
