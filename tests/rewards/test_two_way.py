"""The interval for other people: wider than that of prompts, and it covers them."""

import numpy as np
import pytest

from rewards.ml.comparisons import PromptRankings, compare, tabulate
from rewards.ml.intervals import bootstrap_totals
from rewards.ml.two_way import _pair_sums, two_way_interval
from tests.rewards.test_agreement import alpha, by_id, plackett_luce, sums


def mixed(n_prompts: int, people: int, seed: int) -> list[PromptRankings]:
    """Annotators whose noise differs widely; every prompt is ranked by two of them."""
    rng = np.random.default_rng(seed)
    noise = np.exp(rng.normal(0, 0.6, people))
    prompts = []
    for _ in range(n_prompts):
        utility = rng.normal(0, 1.2, 4)
        said = {}
        for person in rng.choice(people, 2, replace=False):
            noisy = utility + noise[person] * rng.gumbel(0, 1, 4)
            said[f"a{person}"] = by_id((noisy[None, :] > noisy[:, None]).sum(axis=1) + 1)
        prompts.append(said)
    return prompts


def test_what_annotators_add_two_by_two_makes_up_alpha() -> None:
    prompts = plackett_luce(40, 4, 4, seed=1, ties=0.4)
    *_, pairs = _pair_sums(compare(tabulate(prompts)))
    expected = sums(prompts)
    totals = [x.sum() for x in (expected.ratings, expected.disagreement, expected.ties)]
    assert pairs.sum(axis=0) == pytest.approx(totals)


def test_it_covers_other_people_where_the_interval_of_prompts_does_not() -> None:
    truth = np.mean([alpha(mixed(200, 60, seed)) for seed in range(1000, 1010)])
    both, prompts_only = [], []
    for seed in range(20):
        prompts = mixed(150, 6, seed)
        low, high = two_way_interval(compare(tabulate(prompts)), resamples=200)
        both.append(low <= truth <= high)
        found = sums(prompts)
        totals = bootstrap_totals(np.column_stack((found.ratings, found.disagreement)), 200, 0)
        low, high = np.percentile(1 - 2 * totals[:, 1] / totals[:, 0], [2.5, 97.5])
        prompts_only.append(low <= truth <= high)
    assert np.mean(both) >= 0.9 > 0.8 >= np.mean(prompts_only)


def test_none_where_there_is_none() -> None:
    two_people = [{"a": by_id([1, 2]), "b": by_id([2, 1])}] * 30
    only_ties = [{name: by_id([1, 1]) for name in "abcd"}] * 30
    for prompts in ([], two_people, only_ties, [{"a": by_id([1, 2])}]):
        assert two_way_interval(compare(tabulate(prompts))) is None
