"""Which prompts people are asked about next: those on which an ensemble of rewards disagrees most.

Each head is a reward that is linear in frozen features of a response, fitted to the judged pairs of
prompts drawn with replacement. What a judgement of a pair would teach is the information that it
gives about which head is right (BALD): it is great where the heads are sure of opposite things, and
small where all of them are unsure, as about two responses that are equally good.

Source: Houlsby et al. 2011, Bayesian active learning for classification and preference learning
(arXiv:1112.5745), equation 2, with an ensemble of bootstrap fits for the posterior. Part of the
queue is drawn at random, since chosen prompts are not like the others, and since only beside chance
can it be seen whether choosing helps.

N is the number of responses, D of features, U of pairs, H of heads, C of candidates (prompts).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, xlogy

from rewards.ml.comparisons import Floats, Ints, sum_by
from rewards.ml.joint import reward_loss

HEADS = 8
PRECISION = 1.0  # of the normal prior on a head's coefficients
FITTED_ROUNDS = 50
SAME = 0.95  # cosine from which two candidates count as one
TOPIC_SHARE = 0.15  # of the queue that one topic may take
DRAWS = 200  # of the random arm, to count how often a candidate comes into the queue


@dataclass(frozen=True)
class JudgedPairs:
    """Pairs (U,) of responses by their rows of features, and what was said of each.

    `better` is 1 where the first one was preferred, 0, or 0.5 for a tie. Pairs of one `unit`, a
    prompt or a ranking, come and go together; units are numbered from 0.
    """

    unit: Ints
    first: Ints
    second: Ints
    better: Floats

    @property
    def n_units(self) -> int:
        return int(self.unit.max()) + 1 if len(self.unit) else 0


@dataclass(frozen=True)
class Queue:
    """What was drawn: masks over the candidates (C,), no candidate in both arms.

    `probability` (C,) is the chance that a candidate comes into the queue, by either arm, when the
    random arm is drawn anew.
    """

    random: NDArray[np.bool_]
    active: NDArray[np.bool_]
    probability: Floats


def standardised(rows: Floats) -> Floats:
    """The features (N, D) with mean 0 and variance 1; one that never varies is 0."""
    spread = rows.std(axis=0)
    return np.asarray((rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def fit_heads(rows: Floats, judged: JudgedPairs, seed: int, heads: int = HEADS) -> Floats:
    """Coefficients (H, D) of as many rewards, each from units drawn with replacement.

    `rows` (N, D) are standardised features.
    """
    rng = np.random.default_rng(seed)
    n = judged.n_units
    drawn = [np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(heads)]
    return np.array([fit_head(rows, judged, times) for times in drawn])


def fit_head(rows: Floats, judged: JudgedPairs, times: Ints | None = None) -> Floats:
    """One reward's coefficients (D,), each unit counted as often as `times` says, else once."""
    again = 1 if times is None else times[judged.unit]
    places = np.repeat(np.arange(len(judged.unit)), again)
    pairs = (judged.first[places], judged.second[places], judged.better[places])
    found = minimize(
        reward_loss,
        np.zeros(rows.shape[1]),
        (rows, *pairs, PRECISION),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": FITTED_ROUNDS},
    )
    weights: Floats = np.asarray(found.x)
    return weights


def disagreement(rows: Floats, first: Ints, second: Ints, heads: Floats) -> Floats:
    """BALD of each pair (U,) in nats, from 0 where heads agree to log 2 where they are split."""
    rewards = rows @ heads.T  # (N, H)
    p = expit(rewards[first] - rewards[second])  # (U, H)
    bald: Floats = _entropy(p.mean(axis=1)) - _entropy(p).mean(axis=1)
    return bald.clip(min=0.0)  # rounding may leave it a little below


def scores_of_prompts(values: Floats, prompt: Ints, n_prompts: int) -> Floats:
    """What judging a whole prompt would teach (C,): the sum over its pairs."""
    return sum_by(prompt, values, n_prompts)


def repeats(vectors: Floats, same: float = SAME) -> NDArray[np.bool_]:
    """True (C,) for each candidate that is nearly an earlier one: their cosine exceeds `same`.

    `vectors` (C, D) are compared as they are, so they should have mean 0: the vectors that a
    language model gives to unrelated texts all point to one side.
    """
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(length > 0, length, 1.0)
    found = np.zeros(len(vectors), dtype=bool)
    for place in range(1, len(vectors)):
        if (unit[:place] @ unit[place] > same).any():
            found[place] = True
            unit[place] = 0  # what is like this one need not be like the one that is kept
    return found


def draw_queue(
    scores: Floats,
    topics: Sequence[Any],
    n: int,
    *,
    random_share: float,
    seed: int,
    passed_over: NDArray[np.bool_] | None = None,
    topic_share: float = TOPIC_SHARE,
) -> Queue:
    """`n` of the candidates (C,): a share at random, the rest those with the highest scores.

    The active arm leaves out the candidates `passed_over`, and takes no more from a topic than the
    topic's share of the queue allows, what came at random counted in, unless nothing else is left.
    With few topics that share is an equal one.
    """
    n = min(n, len(scores))
    n_random = min(n, int(np.ceil(random_share * n - 1e-9)))
    most = int(np.ceil(max(topic_share, 1 / max(1, len(set(topics)))) * n))
    barred = np.zeros(len(scores), dtype=bool) if passed_over is None else passed_over
    best_first = [int(c) for c in np.argsort(-scores, kind="stable") if not barred[c]]
    rng = np.random.default_rng(seed)

    def draw() -> tuple[list[int], list[int]]:
        at_random = [int(c) for c in rng.permutation(len(scores))[:n_random]]
        return at_random, _best(best_first, topics, n - n_random, most, at_random)

    at_random, chosen = draw()
    times = np.zeros(len(scores))
    for by_random, by_score in ((at_random, chosen), *(draw() for _ in range(DRAWS - 1))):
        times[by_random + by_score] += 1
    random, active = np.zeros(len(scores), dtype=bool), np.zeros(len(scores), dtype=bool)
    random[at_random] = active[chosen] = True
    return Queue(random, active, times / DRAWS)


def _best(
    best_first: Sequence[int], topics: Sequence[Any], n: int, most: int, taken: Sequence[int]
) -> list[int]:
    """The first `n` that are not taken, at most `most` of a topic as long as others are there."""
    left_out = set(taken)
    of_topic = Counter(topics[c] for c in taken)
    chosen: list[int] = []
    over: list[int] = []
    for c in best_first:
        if len(chosen) == n:
            return chosen
        if c in left_out:
            continue
        if of_topic[topics[c]] < most:
            of_topic[topics[c]] += 1
            chosen.append(c)
        else:
            over.append(c)
    return chosen + over[: n - len(chosen)]


def _entropy(p: Floats) -> Floats:
    return np.asarray(-xlogy(p, p) - xlogy(1 - p, 1 - p))
