"""What a reward model must beat, and what it can hardly beat: simple rules and other annotators.

K is the number of responses of a prompt, P of preference pairs, V of terms.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, permutations

import numpy as np
import numpy.typing as npt
from scipy.sparse import vstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from rewards.ml.pairs import Pair, RankedPrompt

Floats = npt.NDArray[np.float64]

MAX_TERMS = 20_000


@dataclass(frozen=True)
class Credit:
    """How well something predicted one prompt's judgements: 1 right, 0 wrong, 0.5 undecided.

    `share` is the weighted mean over `n_pairs` judged pairs without a tie.
    """

    share: float
    n_pairs: int


def winner(pair: Pair) -> tuple[int, int] | None:
    """The preferred response and the other one, None for a tie."""
    if pair.p == 0.5:
        return None
    return (pair.i, pair.j) if pair.p > 0.5 else (pair.j, pair.i)


def credit(prompt: RankedPrompt, values: Floats, *, against: Floats | None = None) -> Credit | None:
    """How often the response with the greater value, shape (K,), was the preferred one.

    With `against`, shape (K,), only the pairs count whose winner has the smaller value there.
    None when no pair counts.
    """
    credits, weights = [], []
    for pair in prompt.pairs:
        outcome = winner(pair)
        if outcome is None:
            continue
        best, other = outcome
        if against is None or against[best] < against[other]:
            credits.append((1 + np.sign(values[best] - values[other])) / 2)
            weights.append(pair.weight)
    return _mean_credit(credits, weights)


def human_credit(prompt: RankedPrompt) -> Credit | None:
    """How often another annotator of the same prompt prefers the same response.

    Each judgement without a tie is predicted by everyone else who compared the same two responses;
    whoever saw a tie is undecided. None when nobody else did.
    """
    by_responses: dict[tuple[int, int], list[Pair]] = {}
    for pair in prompt.pairs:
        by_responses.setdefault((min(pair.i, pair.j), max(pair.i, pair.j)), []).append(pair)
    credits, weights = [], []
    for pairs in by_responses.values():
        others: dict[Pair, list[float]] = {}
        for pair, other in permutations(pairs, 2):
            outcome = winner(pair)
            if outcome is not None and other.annotator != pair.annotator:
                same = 0.5 if winner(other) is None else float(winner(other) == outcome)
                others.setdefault(pair, []).append(same)
        for pair, opinions in others.items():
            credits.append(float(np.mean(opinions)))
            weights.append(pair.weight)
    return _mean_credit(credits, weights)


def tfidf_values(train: Sequence[RankedPrompt], test: Sequence[RankedPrompt]) -> list[Floats]:
    """Values of the test prompts' responses by a linear model of words, trained on `train`.

    A Bradley-Terry model whose strengths are linear in the TF-IDF vector of a response: logistic
    regression on the difference of two vectors, both ways round, ties left out. The prompt does
    not enter. Returns one array of shape (K,) for each test prompt; all zeros without a pair to
    learn from.
    """
    vectorizer = TfidfVectorizer(max_features=MAX_TERMS, sublinear_tf=True, token_pattern=r"\w+|\S")
    starts = _starts(train)
    outcomes = [
        (start, pair.weight, winner(pair))
        for start, p in zip(starts, train, strict=False)
        for pair in p.pairs
    ]
    decided = [(start, weight, outcome) for start, weight, outcome in outcomes if outcome]
    if not decided:
        return [np.zeros(len(prompt.responses)) for prompt in test]
    # (R, V), R the number of all responses to learn from
    words = vectorizer.fit_transform([text for p in train for text in p.responses])
    best = words[[start + outcome[0] for start, _, outcome in decided]]  # (P, V)
    other = words[[start + outcome[1] for start, _, outcome in decided]]
    weights = np.array([weight for _, weight, _ in decided])
    model = LogisticRegression(fit_intercept=False, max_iter=1000)
    model.fit(
        vstack([best - other, other - best]),
        np.repeat([1, 0], len(decided)),
        sample_weight=np.tile(weights, 2),
    )
    if not test:
        return []
    values = model.decision_function(vectorizer.transform([t for p in test for t in p.responses]))
    return np.split(values, _starts(test)[1:-1])


def _starts(prompts: Sequence[RankedPrompt]) -> list[int]:
    """Where each prompt's responses begin when all are put one after the other; then their end."""
    return [0, *accumulate(len(prompt.responses) for prompt in prompts)]


def _mean_credit(credits: Sequence[float], weights: Sequence[float]) -> Credit | None:
    total = float(np.sum(weights))
    if total == 0:
        return None
    return Credit(float(np.dot(credits, weights)) / total, len(credits))
