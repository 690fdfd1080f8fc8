"""Alpha without somebody, over time, and before and after: paired, and apart."""

import numpy as np
import pytest

from rewards.ml.agreement import report
from rewards.ml.comparisons import compare, tabulate
from rewards.ml.sensitivity import drift, drop, overlapped, paired_change, sums_of, without_each
from rewards.ml.what_if import cross_fitted_gain

Prompts = list[dict[str, dict[str, int]]]


def crowd(skill: dict[str, float], n_prompts: int, seed: int = 0, n_raters: int = 3) -> Prompts:
    """Rankings of four; with that probability a person says the truth, or else anything."""
    rng = np.random.default_rng(seed)
    prompts = []
    for _ in range(n_prompts):
        said = {}
        for person in rng.choice(sorted(skill), n_raters, replace=False):
            order = np.arange(4) if rng.random() < skill[person] else rng.permutation(4)
            said[str(person)] = {f"r{i}": int(rank) for i, rank in enumerate(order)}
        prompts.append(said)
    return prompts


def without(prompts: Prompts, person: str) -> Prompts:
    return [{name: ranks for name, ranks in said.items() if name != person} for said in prompts]


ALIKE = dict.fromkeys("abcdef", 0.8)


def test_alpha_without_each_is_that_of_the_prompts_without_him() -> None:
    prompts = crowd(ALIKE | {"x": 0.0}, 150)
    found = {one.annotator: one for one in without_each(prompts)}
    assert sorted(found) == [*"abcdefx"]
    for name, one in found.items():
        expected = report(without(prompts, name)).alpha
        assert one.value == pytest.approx(expected.value, abs=1e-12)
        assert one.n_prompts == expected.n
        assert one.low < one.value < one.high
    assert max(found.values(), key=lambda one: one.value).annotator == "x"


def test_too_little_left_is_no_figure() -> None:
    pair = crowd({"a": 0.9, "b": 0.9}, 60, n_raters=2)
    assert [(one.value, one.n_prompts) for one in without_each(pair)] == [(None, 0), (None, 0)]
    assert without_each([]) == []


def test_drift_is_found_where_there_is_one() -> None:
    good, bad = crowd(ALIKE, 200, seed=1), crowd(dict.fromkeys("abcdef", 0.3), 200, seed=2)
    fallen = drift(good, bad)
    assert fallen.value == pytest.approx(fallen.after - fallen.before)
    assert fallen.high < -0.2
    same = drift(good, crowd(ALIKE, 200, seed=4))
    assert same.low < 0 < same.high
    assert drift([], good).value is None and drift([], good).after is not None
    assert drift(good, good[:5]).n_after == 5


def test_drift_alarms_seldom_when_nothing_changed() -> None:
    """One-sided at 5 %, against a change of nought: some two of forty."""
    alarms = sum(
        drift(crowd(ALIKE, 60, seed=2 * n), crowd(ALIKE, 60, seed=2 * n + 1), resamples=200).high
        < 0
        for n in range(40)
    )
    assert alarms <= 6


def test_a_paired_interval_is_narrower_than_two_apart() -> None:
    prompts = crowd(ALIKE | {"x": 0.5}, 200)
    table = compare(tabulate(prompts))
    fewer = drop(table, [table.annotators.index("x")])
    paired = paired_change(table, fewer)
    apart = drift(prompts, without(prompts, "x"))
    assert paired.value == pytest.approx(apart.value)
    assert paired.high - paired.low < 0.6 * (apart.high - apart.low)
    nothing = paired_change(table, table)
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


def test_dropping_keeps_the_prompts_and_everybody_elses_units() -> None:
    prompts = crowd(ALIKE, 40)
    table = compare(tabulate(prompts))
    rest = drop(table, [0])
    same = compare(tabulate(without(prompts, table.annotators[0])))
    assert np.array_equal(sums_of(rest), sums_of(same))
    assert overlapped(sums_of(drop(table, range(6)))) == 0


def test_cross_fitting_promises_nothing_where_all_judge_alike() -> None:
    """Choosing the worst by the same prompts always seems to help; by others it does not."""
    fitted, flattering = [], []
    for seed in range(8):
        prompts = crowd(dict.fromkeys("abcdefghij", 0.55), 80, seed=seed)
        table = compare(tabulate(prompts))
        worst = max(without_each(prompts, resamples=20), key=lambda one: one.value)
        place = table.annotators.index(worst.annotator)
        flattering.append(paired_change(table, drop(table, [place]), resamples=20).value)
        fitted.append(cross_fitted_gain(table, 1))
    assert min(flattering) > 0
    assert np.mean(fitted) < 0.4 * np.mean(flattering)


def test_cross_fitting_confirms_a_careless_person() -> None:
    table = compare(tabulate(crowd(dict.fromkeys("abcdefghi", 0.8) | {"x": 0.0}, 200)))
    assert cross_fitted_gain(table, 1) > 0.05
    assert cross_fitted_gain(table, 50) is None
