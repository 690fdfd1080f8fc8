"""Bradley-Terry with ties and order: published coefficients, other fitters, and no answer."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.optimize import linprog, minimize

from rewards.ml.bradley_terry import _cells, bradley_terry, log_likelihood
from rewards.ml.outcomes import Outcomes, outcomes, outcomes_of_rankings, outcomes_of_wins
from tests.rewards import published

quick = settings(derandomize=True, deadline=None, max_examples=60)


def planted(seed: int, n_items: int = 6, n: int = 600, tie: float = 0.6, order: float = 0.4) -> Any:
    """Outcomes at random, as columns, and the worths they come from."""
    rng = np.random.default_rng(seed)
    worth = rng.normal(0, 1, n_items)
    first = rng.integers(0, n_items, n)
    second = (first + rng.integers(1, n_items, n)) % n_items
    d = worth[first] - worth[second] + order
    odds = np.stack((np.exp(d / 2), np.full(n, tie), np.exp(-d / 2)))
    drawn = (rng.random(n) * odds.sum(axis=0) > np.cumsum(odds, axis=0)).sum(axis=0)
    return first, second, 1 - drawn, worth


def likelihood(theta: np.ndarray, data: Outcomes, order: bool, ties: bool) -> float:
    """Written down from Davidson and Beaver 1977, outcome by outcome, with their parameters."""
    n = len(data.items)
    pi = np.exp(np.concatenate(([0.0], theta[: n - 1])))
    gamma = math.exp(theta[n - 1]) if order else 1.0
    nu = math.exp(theta[-1]) if ties else 0.0
    total = 0.0
    for i, j, outcome, count in zip(data.first, data.second, data.outcome, data.count, strict=True):
        draw = nu * math.sqrt(pi[i] * pi[j])
        chances = {1: pi[i], 0: draw, -1: gamma * pi[j]}
        total += count * math.log(chances[int(outcome)] / sum(chances.values()))
    return total


def test_the_published_citations() -> None:
    found = bradley_terry(outcomes_of_wins(published.CITATIONS, items=published.JOURNALS))
    assert found.worth == pytest.approx([0, -2.949, -0.480, 0.269], abs=5e-4)
    assert (round(found.deviance, 3), found.df) == (4.293, 3)


@pytest.mark.parametrize("order", [False, True])
@pytest.mark.parametrize("tie", [0.0, 0.6])
def test_it_is_the_maximum_of_the_likelihood(tie: float, order: bool) -> None:
    first, second, outcome, _ = planted(1, n=300, tie=tie)
    data = outcomes(first, second, outcome)
    found = bradley_terry(data, order_effect=order)
    start = np.zeros(5 + order + (tie > 0))
    best = minimize(lambda x: -likelihood(x, data, order, tie > 0), start, method="BFGS")
    assert found.log_likelihood == pytest.approx(-best.fun, abs=1e-6)
    assert found.worth[1:] == pytest.approx(best.x[:5], abs=1e-3)
    gamma = -best.x[5] if order else 0.0  # theirs favours the second
    if order:
        assert found.order_effect == pytest.approx(gamma, abs=1e-3)
    if tie:
        theirs = found.tie_parameter * math.exp(-gamma / 2)
        assert math.log(theirs) == pytest.approx(best.x[-1], abs=1e-3)


def test_errors_and_degrees_of_freedom() -> None:
    """From the curvature of the likelihood as it is written down, by finite differences."""
    first, second, outcome, _ = planted(1, n=300)
    data = outcomes(first, second, outcome)
    found = bradley_terry(data)
    theta = np.append(found.worth[1:], math.log(found.tie_parameter))
    h = 1e-4 * np.eye(6)
    curvature = [
        [
            sum(
                s * t * likelihood(theta + s * a + t * b, data, order=False, ties=True)
                for s in (1, -1)
                for t in (1, -1)
            )
            / 4e-8
            for a in h
        ]
        for b in h
    ]
    errors = np.sqrt(np.diag(np.linalg.inv(-np.array(curvature))))
    assert found.worth_se[1:] == pytest.approx(errors[:5], rel=1e-3)
    assert found.tie_parameter_se == pytest.approx(found.tie_parameter * errors[5], rel=1e-3)
    assert found.df == 15 * 2 - 6  # two free shares in each of 15 pairs
    assert bradley_terry(data, order_effect=True).df == 30 * 2 - 7


@pytest.mark.parametrize("order", [False, True])
@pytest.mark.parametrize("tie", [0.0, 0.6])
def test_gradient_and_curvature_are_finite_differences(tie: float, order: bool) -> None:
    first, second, outcome, _ = planted(2, n=200, tie=tie)
    cells = _cells(outcomes(first, second, outcome), order)
    theta = np.random.default_rng(0).normal(0, 0.5, 5 + order + (tie > 0))
    _, gradient, information = log_likelihood(theta, cells)
    for k, step in enumerate(1e-6 * np.eye(len(theta))):
        up, down = log_likelihood(theta + step, cells), log_likelihood(theta - step, cells)
        assert gradient[k] == pytest.approx((up[0] - down[0]) / 2e-6, rel=1e-5, abs=1e-6)
        assert -information[k] == pytest.approx((up[1] - down[1]) / 2e-6, rel=1e-5, abs=1e-5)


def test_planted_worths_are_within_their_errors() -> None:
    errors = []
    for seed in range(30):
        first, second, outcome, worth = planted(seed)
        found = bradley_terry(outcomes(first, second, outcome), order_effect=True)
        errors += list(((found.worth - worth + worth[0]) / found.worth_se.clip(1e-9))[1:])
        errors.append((found.order_effect - 0.4) / found.order_effect_se)
        errors.append((found.tie_parameter - 0.6) / found.tie_parameter_se)
    assert np.std(errors) == pytest.approx(1.0, abs=0.15)
    assert np.mean(np.abs(errors) < 1.96) == pytest.approx(0.95, abs=0.04)


def test_the_order_effect_is_separated_from_worth() -> None:
    first, second, outcome, _ = planted(3)
    data, swapped = outcomes(first, second, outcome), outcomes(second, first, -outcome)
    one = bradley_terry(data, order_effect=True)
    two = bradley_terry(swapped, order_effect=True)
    assert two.order_effect == pytest.approx(-one.order_effect, abs=1e-9)
    assert two.worth == pytest.approx(one.worth, abs=1e-9)
    # Without it, who is shown first does not matter.
    assert bradley_terry(data).worth == pytest.approx(bradley_terry(swapped).worth, abs=1e-9)


@quick
@given(
    some.lists(
        some.tuples(some.integers(0, 3), some.integers(1, 3), some.sampled_from([-1, 0, 1])),
        max_size=14,
    ),
    some.booleans(),
)
def test_there_is_a_number_exactly_if_there_is_a_maximum(rows: Any, order: bool) -> None:
    """Asked in another way: is any direction never worse for each outcome, and once better?"""
    first = [a for a, _, _ in rows]
    second = [(a + b) % 4 for a, b, _ in rows]
    outcome = [y for _, _, y in rows]
    data = outcomes(first, second, outcome)
    found = bradley_terry(data, order_effect=order)
    ties = 0 in outcome
    size = max(len(data.items), 1)
    identified, improvable = _directions(data, size, order, ties)
    assert (found.state == "ok") == bool(rows and identified and not improvable)
    if found.state == "ok":
        assert np.isfinite(found.worth).all() and np.isfinite(found.worth_se).all()
        assert found.deviance > -1e-6
    else:
        assert found.worth is None and found.log_likelihood is None


def _directions(data: Outcomes, size: int, order: bool, ties: bool) -> tuple[bool, bool]:
    rows = []
    for i, j, y in zip(data.first, data.second, data.outcome, strict=True):
        d = np.zeros(size + 2)
        d[i], d[j], d[size] = 0.5, -0.5, 0.5 * order
        tie = np.zeros(size + 2)
        tie[size + 1] = 1.0
        chances = {1: d, -1: -d} | ({0: tie} if ties else {})
        rows += [chances[int(y)] - other for k, other in chances.items() if k != y]
    if not rows:
        return False, False
    kept = [*range(1, size), *([size] if order else []), *([size + 1] if ties else [])]
    table = np.array(rows)[:, kept]
    identified = np.linalg.matrix_rank(table) == len(kept)
    best = linprog(-table.sum(axis=0), -table, np.zeros(len(table)), bounds=(-1, 1))
    return bool(identified), bool(-best.fun > 1e-7)


A_WINS = [[0, 3], [0, 0]]
STATES: list[tuple[Outcomes, str]] = [
    (outcomes([], [], []), "no judgements"),
    (outcomes_of_wins([]), "no judgements"),
    (outcomes_of_wins([[0]]), "no judgements"),
    (outcomes_of_wins([[0, 0], [0, 0]], ties=[[0, 3], [0, 0]]), "only ties"),
    (outcomes_of_wins([[0, 1, 0], [1, 0, 0], [0, 0, 0]]), "not connected"),
    (outcomes_of_wins(A_WINS), "separated"),
    # All are linked by ties, and yet more worth and more ties explain it ever better.
    (
        outcomes_of_wins([[0, 3, 0], [0, 0, 0], [0, 0, 0]], [[0, 0, 2], [0, 0, 2], [0] * 3]),
        "separated",
    ),
]


@pytest.mark.parametrize(("data", "state"), STATES)
def test_no_answer_is_a_state(data: Outcomes, state: str) -> None:
    found = bradley_terry(data)
    assert (found.state, found.worth, found.deviance) == (state, None, None)


def test_an_order_that_never_varied_cannot_be_told_from_worth() -> None:
    never = outcomes("aabb" * 2, "bbcc" * 2, [1, -1] * 4)
    assert bradley_terry(never).state == "ok"
    assert bradley_terry(never, order_effect=True).state == "order not varied"


def test_who_nearly_always_wins_is_no_separation() -> None:
    found = bradley_terry(outcomes_of_wins([[0, 1_000_000], [1, 0]]))
    assert found.worth[1] == pytest.approx(-math.log(1_000_000))
    with_ties = bradley_terry(outcomes_of_wins([[0, 1e7], [1, 0]], ties=[[0, 1], [0, 0]]))
    assert with_ties.worth[1] == pytest.approx(-math.log(1e7))


def test_separation_beside_overwhelming_counts_is_seen() -> None:
    data = outcomes("ababb", "babac", [1, 1, -1, -1, 1], count=[1e6, 1e6, 1e6, 1e6, 0.5])
    for order_effect in (False, True):
        assert bradley_terry(data, order_effect).state == "separated"
    # So far out that the curvature is nil.
    data = outcomes("aab", "bba", [1, -1, 1], count=[1e6, 1e6, 1e6])
    assert bradley_terry(data, order_effect=True).state == "separated"


def test_counts_are_as_good_as_repetition() -> None:
    one = outcomes("aab", "bbc", [1, 1, -1])
    two = outcomes(["b", "a"], ["c", "b"], [-1, 1], count=[1, 2])
    assert (one.count.tolist(), one.outcome.tolist()) == (two.count.tolist(), two.outcome.tolist())
    assert not len(outcomes("a", "b", [1], count=[0]).outcome)


def test_rankings_become_pairs_in_the_order_shown() -> None:
    prompts = [
        {"ann": {"x": 2, "y": 1, "z": 1}, "bob": {"z": 1, "x": 2, "y": None}},
        {"ann": [{"x": 1, "w": 2}]},
    ]
    found = outcomes_of_rankings(prompts)
    shown = {
        (found.annotators[a], found.items[i], found.items[j], int(y))
        for a, i, j, y in zip(
            found.annotator, found.first, found.second, found.outcome, strict=True
        )
    }
    assert shown == {
        ("ann", (0, "x"), (0, "y"), -1),
        ("ann", (0, "x"), (0, "z"), -1),
        ("ann", (0, "y"), (0, "z"), 0),
        ("bob", (0, "z"), (0, "x"), 1),
        ("ann", (1, "x"), (1, "w"), 1),
    }
    assert not outcomes_of_rankings([]).items


MALFORMED = {
    "Comparison 1: an item is compared with itself": lambda: outcomes("ab", "bb", [1, 1]),
    "Comparison 0: the outcome is not": lambda: outcomes("a", "b", [2]),
    "Comparison 0: the count": lambda: outcomes("a", "b", [1], count=[-1]),
    "unequal length": lambda: outcomes("ab", "b", [1]),
    "square and alike": lambda: outcomes_of_wins([[0, 1]]),
    "2 items, but a table of 3": lambda: outcomes_of_wins(np.zeros((3, 3)), items="ab"),
    "compared with itself": lambda: outcomes_of_wins([[1, 0], [0, 0]]),
}


@pytest.mark.parametrize("message", MALFORMED)
def test_malformed_input_is_refused_by_name(message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MALFORMED[message]()
