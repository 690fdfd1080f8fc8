"""Kendall's tau-b and W against published values and their own definitions."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.stats import friedmanchisquare

from rewards.ml.kendall import kendall_tau_b, kendall_tau_b_of_orders, kendall_w
from tests.rewards import published

quick = settings(derandomize=True, deadline=None, max_examples=60)
ranks = some.lists(some.one_of(some.none(), some.integers(1, 4)), max_size=6)


def tau_by_pairs(x: list[int], y: list[int]) -> float:
    """The definition: concordant less discordant pairs, over the pairs that each has in order."""
    signs = [
        (np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in combinations(range(len(x)), 2)
    ]
    in_order = math.prod(sum(s[side] != 0 for s in signs) for side in (0, 1))
    return sum(a * b for a, b in signs) / math.sqrt(in_order)


@quick
@given(ranks, some.randoms(use_true_random=False))
def test_tau_is_its_definition_on_what_both_ranked(x: list[int | None], random) -> None:
    y = [random.choice([None, 1, 2, 3]) for _ in x]
    found = kendall_tau_b(x, y)
    both = [(a, b) for a, b in zip(x, y, strict=True) if a is not None and b is not None]
    assert found.n == len(both)
    if found.state == "ok":
        expected = tau_by_pairs([a for a, _ in both], [b for _, b in both])
        assert found.value == pytest.approx(expected, abs=1e-12)
        assert 0 <= found.p <= 1
    else:
        assert found.value is None
        assert found.state in ("no judgements", "not enough overlap", "only ties")


def test_orders_are_not_ranks() -> None:
    """Correlating the lists of names instead gives +1/3."""
    assert kendall_tau_b_of_orders("ACB", "BCA").value == pytest.approx(-1.0)
    assert kendall_tau_b_of_orders("ACXB", "BCYA").value == pytest.approx(-1.0)
    assert kendall_tau_b_of_orders("AB", "CD").state == "not enough overlap"


def test_states_of_tau() -> None:
    assert kendall_tau_b([], []).state == "no judgements"
    assert kendall_tau_b([1, None], [1, 2]).state == "not enough overlap"
    assert kendall_tau_b([1, 1, 1], [1, 2, 3]).state == "only ties"


def test_published_values_of_w() -> None:
    assert kendall_w(published.CLARK_CARTER).value == pytest.approx(0.6875)
    found = kendall_w(published.GWET_W)
    assert round(found.value, 3) == 0.887 and round(found.uncorrected, 3) == 0.855


@pytest.mark.parametrize("scale", [3, 1000])
def test_w_is_friedmans_statistic(scale: int) -> None:
    """SciPy's own formula, with ties and without: chi2 = m (n - 1) W."""
    rng = np.random.default_rng(scale)
    scores = rng.integers(0, scale, (5, 8)) + np.arange(8) * scale // 8
    found = kendall_w(scores)
    chi2, p = friedmanchisquare(*scores.T)
    assert (found.chi2, found.p) == pytest.approx((chi2, p), abs=1e-12)
    assert found.value == pytest.approx(chi2 / (5 * 7))


def test_without_ties_w_is_the_mean_correlation() -> None:
    rng = np.random.default_rng(0)
    rows = np.array([rng.permutation(6) for _ in range(4)])
    mean = np.mean([np.corrcoef(a, b)[0, 1] for a, b in combinations(rows, 2)])
    assert kendall_w(rows).value == pytest.approx((1 + 3 * mean) / 4)


def test_w_needs_whole_rankings() -> None:
    assert kendall_w([[1, 2, None], [1, 2, 3]]).state == "missing ranks"
    whole = [[1, 2, 3], [1, 3, 2]]
    left_out = [[1, 2, None, 3], [None, None, None, None], [1, 3, None, 2]]
    assert kendall_w(left_out) == kendall_w(whole)


def test_states_of_w() -> None:
    states = {
        "no judgements": [[], [[]], [[None, None]]],
        "one annotator": [[[1, 2, 3]]],
        "one response": [[[1], [1]]],
        "only ties": [[[1, 1], [2, 2]]],
    }
    for state, inputs in states.items():
        for given_ranks in inputs:
            found = kendall_w(given_ranks)
            assert (found.state, found.value, found.p) == (state, None, None)


def test_malformed_input_is_refused() -> None:
    with pytest.raises(ValueError, match="One ranks 2 responses, the other 1"):
        kendall_tau_b([1, 2], [1])
    with pytest.raises(ValueError, match="named twice"):
        kendall_tau_b_of_orders("AA", "AB")
    with pytest.raises(ValueError, match="row 1 has 1 entries"):
        kendall_w([[1, 2], [1]])
