from collections import Counter
from itertools import combinations

import pytest

from annotate.selection import audit_draw, display_order, seed_from


@pytest.mark.parametrize("k", [2, 3, 4, 6])
def test_each_pair_is_shown_either_way_round_by_two_annotators(k):
    first, second = (display_order(range(k), seed=5, n_earlier=n) for n in (0, 1))
    for one, other in combinations(range(k), 2):
        before = [order.index(one) < order.index(other) for order in (first, second)]
        assert sum(before) == 1


@pytest.mark.parametrize("k", [2, 3, 4, 6])
def test_of_2k_annotators_two_see_each_response_at_each_place(k):
    orders = [display_order(range(k), seed=5, n_earlier=n) for n in range(2 * k)]
    for place in range(k):
        assert set(Counter(order[place] for order in orders).values()) == {2}


def test_sides_are_even_over_tasks():
    left = Counter(display_order([1, 2], seed_from("order", str(n)), 0)[0] for n in range(1000))
    assert 440 <= left[1] <= 560  # four standard deviations


def test_the_order_is_the_same_whoever_repeats_the_draw():
    assert display_order([3, 1, 2], 7, 4) == display_order([3, 1, 2], 7, 4)
    assert 0 <= seed_from("a", "b") < 2**62
    assert seed_from("a", "b") != seed_from("ab")


def test_the_audit_draw_is_uniform_and_fixed():
    draws = [audit_draw("climate", f"{n:064x}") for n in range(2000)]
    assert all(0 <= draw < 1 for draw in draws)
    assert 420 <= sum(draw < 0.25 for draw in draws) <= 580
    assert draws[7] == audit_draw("climate", f"{7:064x}")
