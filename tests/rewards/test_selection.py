"""Choosing what people are asked next saves judgements; it is compared with chance all the time."""

from collections import Counter

import numpy as np
import pytest

from benchmarks import selection as simulation
from rewards.ml.arms import Arms, compare
from rewards.ml.selection import (
    JudgedPairs,
    disagreement,
    draw_queue,
    fit_heads,
    repeats,
)


def test_the_mix_needs_clearly_fewer_judgements_than_chance() -> None:
    found = simulation.compare(("random", "mix"), seeds=2, weeks=4, n=150)
    reached = found["random"].mean(axis=0)
    needed = simulation.labels_to_reach(found["mix"].mean(axis=0), reached[-1], 150)
    assert needed is not None and needed < 0.8 * 5 * 150
    assert (found["mix"][:, -1] > found["random"][:, -1]).all()


def test_heads_that_agree_learn_nothing_and_heads_that_are_split_learn_most() -> None:
    rows = np.array([[9.0, 0.0], [0.0, 0.0], [0.0, 9.0]])
    first, second = np.array([0, 2]), np.array([1, 1])
    heads = np.array([[5.0, 5.0], [5.0, -5.0]])  # the same of 0 against 1, opposite of 2
    found = disagreement(rows, first, second, heads)
    assert found == pytest.approx([0, np.log(2)], abs=1e-9)
    unsure = disagreement(rows, first, second, np.zeros((2, 2)))  # as of two equal responses
    assert unsure == pytest.approx([0, 0], abs=1e-12)


def test_heads_disagree_where_nobody_has_judged() -> None:
    rng = np.random.default_rng(0)
    rows = np.zeros((401, 2))
    rows[:200, 0] = rng.normal(size=200)  # judged
    rows[200:210, 1] = rng.normal(size=10)  # hardly judged
    rows[210:400] = rng.normal(size=(190, 2))
    judged = np.arange(210)
    noise = rng.logistic(size=210) / 2
    pairs = JudgedPairs(judged, judged, np.full(210, 400), (rows[judged].sum(1) > noise) * 1.0)
    heads = fit_heads(rows, pairs, seed=0)
    assert heads.shape == (8, 2)
    known, new = np.array([[2.0, 0.0], [0.0, 0.0]]), np.array([[0.0, 2.0], [0.0, 0.0]])
    one, zero = np.array([0]), np.array([1])
    assert disagreement(new, one, zero, heads) > 2 * disagreement(known, one, zero, heads)


def test_nearly_the_same_candidates_count_once() -> None:
    vectors = np.array([[1.0, 0.0], [0.99, 0.05], [0.0, 1.0], [-1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    assert repeats(vectors).tolist() == [False, True, False, False, False, False]


def test_the_queue_is_part_chance_part_best_and_no_topic_takes_it_over() -> None:
    scores = np.arange(200.0)
    topics = ["loud" if n >= 150 else f"topic {n % 10}" for n in range(200)]
    queue = draw_queue(scores, topics, 40, random_share=0.3, seed=1)
    assert (queue.random.sum(), queue.active.sum()) == (12, 28)
    assert not (queue.random & queue.active).any()
    by_topic = Counter(topics[n] for n in np.flatnonzero(queue.random | queue.active))
    at_random = Counter(topics[n] for n in np.flatnonzero(queue.random))
    assert by_topic["loud"] == max(6, at_random["loud"])  # 15 % of 40
    best_of_others = np.flatnonzero(queue.active & (scores < 150))
    assert best_of_others.min() > 100
    # The chance of the worst is that of the random arm; the best nearly always come.
    assert queue.probability[:50] == pytest.approx(np.full(50, 12 / 200), abs=0.08)
    assert queue.probability[199] > 0.9
    assert queue.probability.sum() == pytest.approx(40)


def test_candidates_passed_over_come_by_chance_only() -> None:
    passed_over = np.arange(100) >= 50
    queue = draw_queue(
        np.arange(100.0), [0] * 100, 30, random_share=0.3, seed=0, passed_over=passed_over
    )
    assert queue.active.sum() == 21 and not (queue.active & passed_over).any()
    assert (queue.random & passed_over).any()


def test_the_queue_of_few_candidates_holds_all() -> None:
    queue = draw_queue(np.zeros(3), ["a", "a", "b"], 10, random_share=0.3, seed=0)
    assert (queue.random | queue.active).all()
    assert queue.probability.tolist() == [1, 1, 1]
    assert draw_queue(np.zeros(0), [], 5, random_share=0.3, seed=0).probability.shape == (0,)


def test_an_arm_that_asks_what_is_known_teaches_less() -> None:
    """The active arm here is worse than chance: it judges near-copies of what was judged."""
    rng = np.random.default_rng(3)
    truth = rng.normal(size=20)

    def judged(differences: np.ndarray, rows: list[np.ndarray]) -> JudgedPairs:
        start = sum(map(len, rows))
        rows += [differences, np.zeros((1, 20))]
        n = len(differences)
        better = (differences @ truth > 0) * 1.0
        return JudgedPairs(np.arange(n), start + np.arange(n), np.full(n, start + n), better)

    rows: list[np.ndarray] = []
    narrow = np.eye(20)[rng.integers(0, 3, 200)] * rng.normal(size=(200, 1))
    before, useless = judged(narrow[:100], rows), judged(narrow[100:], rows)
    by_chance = judged(rng.normal(size=(80, 20)), rows)
    held_out = judged(rng.normal(size=(500, 20)), rows)
    found = compare(np.concatenate(rows), before, by_chance, useless, held_out, seed=0)
    assert found.n == 80
    assert found.random > found.before + 0.1 > found.active
    same = compare(np.concatenate(rows), before, by_chance, by_chance, held_out, seed=0)
    assert same == Arms(80, same.before, found.random, same.random)
