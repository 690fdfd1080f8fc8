"""Who looks, who has a habit, and which response is better: planted, and found again."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from rewards.ml.noisy_bradley_terry import _data, log_posterior, noisy_bradley_terry
from rewards.ml.outcomes import Outcomes, outcomes


def planted(
    seed: int, n_items: int = 40, people: int = 12, n: int = 6000
) -> tuple[Outcomes, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 1.5, n_items)
    attention, habit = rng.permutation(np.linspace(0.1, 1, people)), rng.uniform(0.05, 0.95, people)
    who = rng.integers(0, people, n)
    first = rng.integers(0, n_items, n)
    second = (first + rng.integers(1, n_items, n)) % n_items
    by_worth = 1 / (1 + np.exp(scores[second] - scores[first]))
    p = attention[who] * by_worth + (1 - attention[who]) * habit[who]
    said = np.where(rng.random(n) < p, 1, -1)
    return outcomes(first, second, said, who), scores, attention, habit


@pytest.mark.parametrize("seed", range(3))
def test_planted_scores_attention_and_habits_are_found(seed: int) -> None:
    data, scores, attention, habit = planted(seed)
    found = noisy_bradley_terry(data)
    assert spearmanr(found.scores, scores).statistic > 0.94
    estimate = np.array([person.attention for person in found.annotators])
    assert spearmanr(estimate, attention).statistic > 0.9
    assert np.abs(estimate - attention).mean() < 0.08
    careless = attention < 0.7  # who always looks shows no habit
    position = np.array([person.first for person in found.annotators])
    assert np.abs(position - habit)[careless].max() < 0.15
    assert sum(person.n for person in found.annotators) == 6000


def test_a_library_of_record_had_the_gradient_wrong() -> None:
    """Crowd-Kit 1.4.2's disagrees with finite differences in all but a few entries."""
    data = _data(outcomes("aabbcd", "bccdda", [1, -1, 0, 1, 1, -1], "xyzxyz"))
    theta = np.random.default_rng(0).normal(0, 1, 4 + 2 * 3)
    _, gradient = log_posterior(theta, data)
    numeric = [
        (log_posterior(theta + step, data)[0] - log_posterior(theta - step, data)[0]) / 2e-6
        for step in 1e-6 * np.eye(len(theta))
    ]
    assert gradient == pytest.approx(np.array(numeric), rel=1e-6, abs=1e-7)


def test_the_posterior_is_the_model_as_it_is_written_down() -> None:
    columns = ([0, 1, 2, 0], [1, 2, 0, 2], [1, -1, 1, 0], [0, 1, 0, 1])
    rng = np.random.default_rng(1)
    theta = rng.normal(0, 1, 3 + 4)

    def value(theta: np.ndarray) -> float:
        scores, attention, habit = theta[:3], theta[3:5], theta[5:]
        eta, first = 1 / (1 + np.exp(-attention)), 1 / (1 + np.exp(-habit))
        total = -(scores**2).sum() / 8 - (habit**2).sum() / 4.5
        total += (3 * np.log(eta) + np.log(1 - eta)).sum()
        for i, j, y, a in zip(*columns, strict=True):
            p = eta[a] / (1 + np.exp(scores[j] - scores[i])) + (1 - eta[a]) * first[a]
            total += {1: np.log(p), -1: np.log(1 - p), 0: np.log(p * (1 - p)) / 4}[y]
        return float(total)

    data = _data(outcomes(*columns))
    assert log_posterior(theta, data)[0] == pytest.approx(value(theta), abs=1e-10)


def test_the_posterior_never_falls() -> None:
    history = noisy_bradley_terry(planted(4)[0]).log_posterior
    assert len(history) > 10
    assert all(b >= a for a, b in zip(history, history[1:], strict=False))


def test_overwhelming_evidence_is_no_overflow() -> None:
    found = noisy_bradley_terry(outcomes("ab", "ba", [1, -1], "xy", count=[1e7, 1e7]))
    assert found.scores[0] > 5 and np.isfinite(found.log_posterior).all()


def test_swapping_sides_turns_habits_round_and_nothing_else() -> None:
    data, *_ = planted(5, n=2000)
    swapped = outcomes(data.second, data.first, -data.outcome, data.annotator, data.count)
    one, two = noisy_bradley_terry(data), noisy_bradley_terry(swapped)
    assert two.scores == pytest.approx(one.scores, abs=0.01)
    for a, b in zip(one.annotators, two.annotators, strict=True):
        assert (b.attention, b.first) == pytest.approx((a.attention, 1 - a.first), abs=0.01)


def test_items_that_were_never_compared_are_told_apart() -> None:
    found = noisy_bradley_terry(outcomes("acac", "bdbd", [1, 1, 1, -1], "xxyy"))
    assert found.components.tolist() == [0, 0, 1, 1]
    assert found.scores.reshape(2, 2).sum(axis=1) == pytest.approx([0, 0], abs=1e-6)
    assert found.scores[0] > 0.1  # who always wins has a score, and it is finite


STATES: list[tuple[Any, str]] = [
    (([], [], [], []), "no judgements"),
    (("ab", "bc", [0, 0], "xy"), "only ties"),
    (("ab", "bc", [1, -1], "xx"), "one annotator"),
    (("ac", "bd", [1, -1], "xy"), "not enough overlap"),
]


@pytest.mark.parametrize(("columns", "state"), STATES)
def test_too_little_is_a_state(columns: Any, state: str) -> None:
    found = noisy_bradley_terry(outcomes(*columns))
    assert (found.state, found.scores, found.annotators) == (state, None, ())


def test_who_always_says_the_same_gets_no_attention() -> None:
    data, *_ = planted(6, people=5, n=3000)
    robot = 99
    columns = [np.concatenate((x, x[:200])) for x in (data.first, data.second)]
    said = np.concatenate((data.outcome, np.ones(200, dtype=int)))
    who = np.concatenate((data.annotator, np.full(200, robot)))
    found = noisy_bradley_terry(outcomes(*columns, said, who))
    person = next(one for one in found.annotators if one.annotator == robot)
    assert person.attention < 0.2 and person.first > 0.9
