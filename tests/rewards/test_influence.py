"""Whose absence changes the linear model, held to fitting it anew."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from rewards.ml.influence import influences, without
from rewards.ml.linear import PairTable, fit_linear, gradient, pair_table, penalised_loss
from rewards.ml.pairs import RankedPrompt, judgement_pairs


def world(
    n: int = 200, people: int = 8, hostile: int = 0, seed: int = 0
) -> tuple[list[RankedPrompt], list[np.ndarray]]:
    """Every third prompt is judged by two people; the first `hostile` put the worst first."""
    rng = np.random.default_rng(seed)
    worth = rng.normal(0, 1, 6)
    prompts, features = [], []
    for number in range(n):
        rows = rng.normal(0, 1, (3, 6))
        pairs = []
        for person in rng.choice(people, 1 + (number % 3 == 0), replace=False):
            perceived = rows @ worth + rng.gumbel(0, 1, 3)
            perceived *= -1 if person < hostile else 1
            ranks = (np.argsort(np.argsort(-perceived)) + 1).tolist()
            pairs += judgement_pairs(ranks, f"p{person}", weight=1 + 0.1 * person)
        prompts.append(RankedPrompt(str(number), (), "", "train", ("", "", ""), tuple(pairs)))
        features.append(rows)
    return prompts, features


def table(judged: tuple[list[RankedPrompt], list[np.ndarray]]) -> PairTable:
    kept = [(prompt, rows) for prompt, rows in zip(*judged, strict=True) if prompt.pairs]
    return pair_table([prompt for prompt, _ in kept], [rows for _, rows in kept])


def test_the_fit_is_the_least_of_the_loss() -> None:
    pairs = table(world())
    found = fit_linear(pairs).coefficients
    other = minimize(lambda at: penalised_loss(pairs, at), np.zeros(6), method="BFGS")
    assert found == pytest.approx(other.x, abs=1e-3)
    assert gradient(pairs, found) == pytest.approx(np.zeros(6), abs=1e-3)
    numeric = [
        (penalised_loss(pairs, 0.3 + h) - penalised_loss(pairs, 0.3 - h)) / 2e-6
        for h in 1e-6 * np.eye(6)
    ]
    assert gradient(pairs, np.full(6, 0.3)) == pytest.approx(np.array(numeric), rel=1e-4)


def test_one_step_is_as_good_as_fitting_anew() -> None:
    judged = world()
    pairs = table(judged)
    whole = fit_linear(pairs).coefficients
    for number, name in enumerate(pairs.annotators):
        rest = [
            replace(prompt, pairs=tuple(pair for pair in prompt.pairs if pair.annotator != name))
            for prompt in judged[0]
        ]
        anew = fit_linear(table((rest, judged[1]))).coefficients
        near = without(pairs, number, whole)
        assert np.abs(near - anew).max() < 0.1 * np.abs(whole - anew).max()


def test_the_hostile_harm_and_the_honest_help() -> None:
    train, features = world(n=300, hostile=2)
    test, more = world(n=200, seed=0)  # the same worth, and nobody hostile
    found = {one.annotator: one for one in influences(train, test, features + more, seed=0)}
    values = np.array([found[f"p{n}"].value for n in range(8)])
    assert values[:2].max() < 0
    assert values[:2].mean() < values[2:].mean() - 0.01
    assert all(one.low <= one.value <= one.high for one in found.values())


def test_too_little_is_a_state() -> None:
    train, features = world(n=60, people=30)
    few = influences(train, train[:30], features + features[:30], seed=0)
    assert {one.state for one in few} == {"few judgements"}
    thin = influences(train, train[:5], features + features[:5], seed=0)
    assert {one.state for one in thin} == {"too little data"}
    assert all(one.value is None for one in thin)
