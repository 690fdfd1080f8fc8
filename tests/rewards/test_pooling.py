"""Partial pooling against published values, other ways to compute it, and what it must keep."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from rewards.ml.alpha import AlphaSums
from rewards.ml.pooling import Z, pool
from rewards.ml.slices import slices

# Eight schools: effects of coaching and their standard errors (Rubin 1981).
SCHOOLS = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
ERRORS = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])


def test_eight_schools() -> None:
    """Posterior medians of Gelman et al. 2013, Bayesian Data Analysis, table 5.3.

    Those of skewed distributions; their means lie beside them by up to 1.5.
    """
    found = pool(SCHOOLS, ERRORS**2, largest_spread=100)
    assert found.value == pytest.approx([10, 8, 6, 7, 5, 6, 10, 8], abs=1.6)
    assert found.spread == 0, "schools differ by no more than chance makes them"
    assert found.common == pytest.approx(8, abs=0.5)


def gibbs(y: np.ndarray, v: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Draws (n, S) from the posterior of the slices, with a flat prior on mean and spread."""
    rng = np.random.default_rng(seed)
    theta, spread2, draws = y.copy(), y.var() + 1.0, []
    for _ in range(n + 500):
        mean = rng.normal(theta.mean(), np.sqrt(spread2 / len(y)))
        # A flat prior on the spread: a scaled inverse chi-squared with one degree less.
        spread2 = ((theta - mean) ** 2).sum() / rng.chisquare(len(y) - 1)
        precision = 1 / v + 1 / spread2
        theta = rng.normal((y / v + mean / spread2) / precision, 1 / np.sqrt(precision))
        draws.append(theta)
    return np.array(draws[500:])


def test_it_is_what_sampling_the_model_gives() -> None:
    y, v = np.array([0.1, 0.3, 0.5, 0.2, 0.9, 0.4]), np.array([1, 2, 4, 1, 3, 9]) / 100
    draws = gibbs(y, v, 20_000, seed=0)
    found = pool(y, v, largest_spread=20)
    assert found.value == pytest.approx(draws.mean(axis=0), abs=0.01)
    assert found.se == pytest.approx(draws.std(axis=0), abs=0.01)


def restricted_likelihood(between: float, y: np.ndarray, v: np.ndarray) -> float:
    """Minus twice, up to a constant."""
    ones = np.ones((len(y), 1))
    inverse = np.linalg.inv(np.diag(v + between))
    information = ones.T @ inverse @ ones
    projection = inverse - inverse @ ones @ np.linalg.inv(information) @ ones.T @ inverse
    log_determinants = np.log(v + between).sum() + np.linalg.slogdet(information)[1]
    return float(log_determinants + y @ projection @ y)


@pytest.mark.parametrize("seed", range(4))
def test_the_likeliest_spread_is_that_of_restricted_maximum_likelihood(seed: int) -> None:
    rng = np.random.default_rng(seed)
    v = rng.uniform(0.01, 0.05, 30)
    y = rng.normal(0.4, 0.2, 30) + rng.normal(0, np.sqrt(v))
    best = minimize_scalar(restricted_likelihood, bounds=(0, 0.5), args=(y, v), method="bounded")
    assert pool(y, v).spread == pytest.approx(np.sqrt(best.x), abs=2e-3)


@pytest.mark.parametrize(("n", "spread"), [(3, 0.1), (8, 0.1), (20, 0.1), (8, 0.0), (8, 0.3)])
def test_intervals_cover_what_was_true(n: int, spread: float) -> None:
    rng = np.random.default_rng(n)
    covered = []
    for _ in range(200):
        true = rng.normal(0.4, spread, n)
        v = rng.uniform(0.002, 0.03, n)
        found = pool(rng.normal(true, np.sqrt(v)), v)
        covered.append(((found.low <= true) & (true <= found.high)).mean())
    assert 0.93 < np.mean(covered) <= 1


numbers = st.lists(st.tuples(st.floats(-1, 1), st.floats(1e-4, 1)), min_size=1, max_size=12).map(
    lambda pairs: np.array(pairs).T
)


@settings(max_examples=100, deadline=None)
@given(numbers)
def test_slices_stay_within_what_was_found(pairs: np.ndarray) -> None:
    y, v = pairs
    found = pool(y, v)
    for figure in (found.common, *found.value):
        assert y.min() - 1e-9 <= figure <= y.max() + 1e-9
    assert np.allclose(found.high - found.low, 2 * Z * found.se)
    assert (found.se > 0).all()


@settings(max_examples=50, deadline=None)
@given(numbers, st.floats(-3, 3), st.floats(0.1, 10))
def test_another_unit_of_measurement_changes_nothing(
    pairs: np.ndarray, shift: float, scale: float
) -> None:
    y, v = pairs
    one, other = pool(y, v), pool(y * scale + shift, v * scale**2, scale)
    assert np.allclose(other.value, one.value * scale + shift, atol=1e-6)
    assert np.allclose(other.se, one.se * scale, atol=1e-6)


def test_the_less_a_slice_rests_on_the_more_it_moves() -> None:
    found = pool([0.1, 0.5, 0.9, 0.9], [0.001, 0.001, 0.001, 0.1])
    assert abs(found.value[3] - 0.9) > abs(found.value[2] - 0.9)


@pytest.mark.parametrize(
    ("values", "variances"),
    [([], []), ([0.1], [0.0]), ([0.1], [-1.0]), ([np.nan], [1.0]), ([0.1, 0.2], [1.0])],
)
def test_what_cannot_be_pooled_is_refused(values: list[float], variances: list[float]) -> None:
    with pytest.raises(ValueError, match="alues"):
        pool(values, variances)


def sums(disagreements: list[float]) -> AlphaSums:
    n = len(disagreements)
    return AlphaSums(np.full(n, 12.0), np.array(disagreements), np.zeros(n))


def test_slices_are_judged_only_with_enough_prompts_and_the_largest_come_first() -> None:
    rng = np.random.default_rng(0)
    names = ["a"] * 40 + ["b"] * 25 + ["c"] * 5 + [""] * 10
    found = slices(names, sums(list(rng.integers(0, 7, 80) * 1.0)))
    assert [(one.name, one.n_prompts, one.alpha.n) for one in found] == [
        ("a", 40, 40),
        ("b", 25, 25),
        ("c", 5, 5),
    ]
    assert found[0].share == pytest.approx(0.5)
    assert found[2].alpha.value is None and found[2].pooled is None
    assert found[0].pooled is not None


def test_a_slice_without_spread_is_not_taken_for_certain() -> None:
    rng = np.random.default_rng(0)
    names = ["sure"] * 20 + ["a"] * 60 + ["b"] * 60
    found = slices(names, sums([0.0] * 20 + list(rng.integers(0, 7, 120) * 1.0)))
    pooled = next(one.pooled for one in found if one.name == "sure")
    assert pooled is not None and pooled.low is not None and pooled.value is not None
    assert pooled.low < pooled.value < 1


def test_a_lone_slice_has_nothing_to_be_pooled_with() -> None:
    (one,) = slices(["a"] * 30, sums([0.0, 2.0, 6.0] * 10))
    assert one.alpha.value is not None
    assert one.pooled is None
