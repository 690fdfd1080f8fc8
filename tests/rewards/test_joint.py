"""Reward and reliability together: planted ones are found, and gold tasks find colluders."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from rewards.ml.joint import joint, reward_loss
from rewards.ml.outcomes import Outcomes, outcomes


@dataclass
class World:
    """Volunteers rank pairs; some are hostile, and some pairs have a known answer."""

    judged: Outcomes
    gold: Outcomes
    features: np.ndarray
    reliability: np.ndarray
    truth: np.ndarray  # rewards of the items
    bad: np.ndarray


def planted(seed: int, share_bad: float = 0.0, attack: str = "reversed", people: int = 20) -> World:
    rng = np.random.default_rng(seed)
    n, d, n_pairs, n_gold = 1600, 12, 700, 80
    features = rng.normal(0, 1, (n, d))
    weights = rng.normal(0, 1, d)
    weights[0] = 0  # length says nothing of quality
    truth = features @ weights
    bad = np.arange(people) < round(share_bad * people)
    reliability = rng.uniform(0.65, 0.95, people)
    first, second = np.arange(n_pairs) * 2, np.arange(n_pairs) * 2 + 1
    known = np.arange(n_gold)  # the first pairs are gold, and everyone does 25 of them
    better = truth[first] > truth[second]
    longer = features[first, 0] > features[second, 0]
    who, pair = [], []
    for person in range(people):
        tasks = [*rng.choice(known, 25, replace=False)]
        tasks += [*rng.choice(np.arange(n_gold, n_pairs), 100, replace=False)]
        who += [person] * len(tasks)
        pair += tasks
    who, pair = np.array(who), np.array(pair)
    honest = np.where(rng.random(len(pair)) < reliability[who], better[pair], ~better[pair])
    hostile = {"reversed": ~better[pair], "longest": longer[pair]}[attack]
    said = np.where(np.where(bad[who], hostile, honest), 1, -1)
    return World(
        judged=outcomes(first[pair], second[pair], said, who),
        gold=outcomes(first[known], second[known], np.where(better[known], 1, -1)),
        features=features,
        reliability=np.where(bad, 0.0 if attack == "reversed" else 0.5, reliability),
        truth=truth,
        bad=bad,
    )


def accuracy(found: Any, world: World) -> float:
    """On pairs of all items, judged or not."""
    rewards = world.features @ found.coefficients
    return float(np.mean((rewards[::2] > rewards[1::2]) == (world.truth[::2] > world.truth[1::2])))


def fit(world: World, gold: bool = True) -> Any:
    return joint(world.judged, world.features, world.gold if gold else None)


@pytest.mark.parametrize("seed", range(3))
def test_planted_reliabilities_and_reward_are_found(seed: int) -> None:
    world = planted(seed, share_bad=0.2)
    found = fit(world)
    estimate = np.array([person.value for person in found.annotators])
    assert np.abs(estimate - world.reliability).max() < 0.17
    assert np.corrcoef(estimate, world.reliability)[0, 1] > 0.97
    assert accuracy(found, world) > 0.93
    assert {(person.n, person.n_gold) for person in found.annotators} == {(125, 25)}


@pytest.mark.parametrize("share", [0.4, 0.5])
def test_gold_finds_colluders_where_agreement_does_not(share: float) -> None:
    """They choose the longer one, and so agree with each other perfectly."""
    world = planted(1, share_bad=share, attack="longest")
    blind, seeing = fit(world, gold=False), fit(world)
    found = np.array([person.value for person in seeing.annotators])
    assert found[world.bad].max() < 0.6 < found[~world.bad].min()
    assert accuracy(seeing, world) > 0.93
    assert accuracy(blind, world) < 0.6


def test_reliability_weighs_against_the_hostile() -> None:
    world = planted(1, share_bad=0.3)
    d = world.judged
    rows = world.features[list(d.items)]
    votes = (d.outcome > 0).astype(float)
    plain = minimize(reward_loss, np.zeros(12), (rows, d.first, d.second, votes, 1.0), jac=True).x
    found = fit(world)
    unweighted = accuracy(type("Plain", (), {"coefficients": plain}), world)
    assert accuracy(found, world) > unweighted + 0.02


def test_it_is_the_maximum_of_the_posterior_as_it_is_written_down() -> None:
    world = planted(2, people=4)
    found = fit(world)
    d, gold = world.judged, world.gold
    known = {
        (gold.items[i], gold.items[j]): y
        for i, j, y in zip(gold.first, gold.second, gold.outcome, strict=True)
    }
    said: dict[tuple[int, int], list[tuple[int, int]]] = {pair: [] for pair in known}
    for i, j, a, y in zip(d.first, d.second, d.annotator, d.outcome, strict=True):
        said.setdefault((d.items[i], d.items[j]), []).append((a, y))

    def value(theta: np.ndarray) -> float:
        weights, eta = theta[:12], 1 / (1 + np.exp(-theta[12:]))
        total = -(weights @ weights) / 2 + (7 * np.log(eta) + 2 * np.log(1 - eta)).sum()
        rewards = world.features @ weights
        for (i, j), votes in said.items():
            chances = {}
            for truth in (1, -1):
                p = 1 / (1 + np.exp(truth * (rewards[j] - rewards[i])))
                for a, y in votes:
                    p *= eta[a] if y == truth else 1 - eta[a]
                chances[truth] = p
            total += np.log(chances[known[i, j]] if (i, j) in known else sum(chances.values()))
        return float(total)

    eta = np.array([person.value for person in found.annotators])
    theta = np.concatenate((found.coefficients, np.log(eta / (1 - eta))))
    assert value(theta) == pytest.approx(found.log_posterior[-1], abs=1e-6)
    gradient = [(value(theta + h) - value(theta - h)) / 2e-5 for h in 1e-5 * np.eye(16)]
    assert np.abs(gradient).max() < 0.2
    best = minimize(lambda x: -value(x), theta, method="BFGS", options={"maxiter": 3})
    assert -best.fun < found.log_posterior[-1] + 0.02


def test_the_gradient_is_finite_differences() -> None:
    rng = np.random.default_rng(0)
    rows, first, second = rng.normal(0, 1, (6, 3)), np.array([0, 1, 4]), np.array([2, 3, 5])
    theta = rng.normal(0, 1, 3)
    given = (rows, first, second, np.array([0.2, 1.0, 0.7]), 0.5)
    _, gradient = reward_loss(theta, *given)
    numeric = [
        (reward_loss(theta + h, *given)[0] - reward_loss(theta - h, *given)[0]) / 2e-6
        for h in 1e-6 * np.eye(3)
    ]
    assert gradient == pytest.approx(np.array(numeric), rel=1e-6)


@pytest.mark.parametrize("gold", [False, True])
def test_the_posterior_never_falls(gold: bool) -> None:
    history = fit(planted(3, share_bad=0.3, attack="longest"), gold).log_posterior
    assert len(history) > 5
    assert all(b >= a - 1e-6 * abs(a) for a, b in zip(history, history[1:], strict=False))


def test_who_is_first_does_not_matter_and_ties_say_nothing() -> None:
    features = {"a": [1.0], "b": [0.0], "c": [-1.0]}
    one = joint(outcomes("abab", "bcca", [1, 1, 0, 1], "xyxy"), features)
    two = joint(outcomes("bcca", "abab", [-1, -1, 0, -1], "xyxy"), features)
    assert two.coefficients == pytest.approx(one.coefficients)
    without = joint(outcomes("aba", "bcb", [1, 1, -1], "xyy"), features)
    assert one.rewards.shape == without.rewards.shape == (3,)


def test_a_pair_is_one_pair_whichever_way_round_it_was_shown() -> None:
    world = planted(3, share_bad=0.3, attack="longest")
    d, gold = world.judged, world.gold
    rng = np.random.default_rng(0)
    flip = rng.random(len(d.first)) < 0.5
    items = np.array(d.items)
    shown = outcomes(
        items[np.where(flip, d.second, d.first)],
        items[np.where(flip, d.first, d.second)],
        np.where(flip, -d.outcome, d.outcome),
        d.annotator,
        d.count,
    )
    names = np.array(gold.items)
    reversed_gold = outcomes(names[gold.second], names[gold.first], -gold.outcome)
    one, two = joint(d, world.features, gold), joint(shown, world.features, reversed_gold)
    assert two.coefficients == pytest.approx(one.coefficients, abs=1e-3)
    assert [p.value for p in two.annotators] == pytest.approx(
        [p.value for p in one.annotators], abs=1e-4
    )


def test_gold_that_nobody_judged_teaches_the_reward() -> None:
    judged = outcomes("ac", "bd", [1, -1], "xx")
    features = {"a": [0.0, 1.0], "b": [0.0, 0.0], "c": [1.0, 0.0], "d": [0.0, 0.0]}
    gold = outcomes(["c", "c"], ["d", "b"], [1, 1])
    without, taught = joint(judged, features), joint(judged, features, gold)
    assert taught.coefficients[0] > 0.2 > without.coefficients[0]
    assert taught.annotators[0].n_gold == 1


def test_too_little_is_a_state() -> None:
    assert joint(outcomes([], [], []), {}).state == "no judgements"
    assert joint(outcomes("a", "b", [0]), {"a": [1], "b": [2]}).state == "only ties"


MALFORMED = {
    "No features of item 'b'": lambda d: joint(d, {"a": [1.0]}),
    "No features of item 'z'": lambda d: joint(d, {"a": [1], "b": [2]}, outcomes("a", "z", [1])),
    "Item 'b' has features of shape": lambda d: joint(d, {"a": [1.0], "b": [1.0, 2.0]}),
    "Item 'b' has features that": lambda d: joint(d, {"a": [1.0], "b": [np.nan]}),
}


@pytest.mark.parametrize("message", MALFORMED)
def test_malformed_input_is_refused_by_name(message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MALFORMED[message](outcomes("a", "b", [1]))
