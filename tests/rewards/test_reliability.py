"""Reliability finds the careless and the hostile, and says so when it cannot."""

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.optimize import minimize

from rewards.ml.comparisons import PromptRankings
from rewards.ml.reliability import estimate, training_weights
from tests.data import data_file


def choices(
    accuracy: Sequence[float], n_prompts: int, m: int, seed: int
) -> list[dict[str, dict[str, int]]]:
    """Pairs with a hidden better response, named right with each annotator's own probability."""
    rng = np.random.default_rng(seed)
    prompts = []
    for _ in range(n_prompts):
        x_is_better = rng.random() < 0.5
        said = {}
        for person in rng.choice(len(accuracy), m, replace=False):
            right = rng.random() < accuracy[person]
            said[f"a{person:02d}"] = {"x": 1, "y": 2} if right == x_is_better else {"x": 2, "y": 1}
        prompts.append(said)
    return prompts


def log_posterior(logits: np.ndarray, prompts: Sequence[dict[str, dict[str, int]]]) -> float:
    """The model as it is written down, without EM: one coin, Beta(8, 3), even odds of the truth."""
    eta = 1 / (1 + np.exp(-logits))
    total = float((7 * np.log(eta) + 2 * np.log(1 - eta)).sum())
    for prompt in prompts:
        likelihood = 0.0
        for truth in (True, False):
            each = [
                eta[int(name[1:])] if (ranks["x"] < ranks["y"]) == truth else 1 - eta[int(name[1:])]
                for name, ranks in prompt.items()
            ]
            likelihood += 0.5 * math.prod(each)
        total += math.log(likelihood)
    return total


def test_the_estimate_is_the_mode_of_the_posterior() -> None:
    prompts = choices([0.9, 0.8, 0.7, 0.3], n_prompts=60, m=3, seed=0)
    found = estimate(prompts)
    best = minimize(lambda x: -log_posterior(x, prompts), np.full(4, 1.0), tol=1e-12)
    expected = 1 / (1 + np.exp(-best.x))
    assert [p.value for p in found.annotators] == pytest.approx(list(expected), abs=1e-3)
    assert found.log_posterior[-1] == pytest.approx(-best.fun, abs=1e-5)


def test_the_log_posterior_never_falls() -> None:
    history = estimate(choices([0.9, 0.7, 0.6, 0.5, 0.2], 100, 3, seed=1)).log_posterior
    assert len(history) > 5
    assert all(
        later >= earlier - 1e-9 for earlier, later in zip(history, history[1:], strict=False)
    )


def test_known_accuracies_are_found_within_their_intervals() -> None:
    accuracy = [0.5, 0.2, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.9, 0.8]
    covered, errors = [], []
    for seed in range(20):
        for person in estimate(choices(accuracy, 400, 3, seed)).annotators:
            truth = accuracy[int(person.annotator[1:])]
            covered.append(person.low <= truth <= person.high)
            errors.append(person.value - truth)
    assert np.mean(covered) > 0.88
    assert abs(np.mean(errors)) < 0.02 and np.std(errors) < 0.08


def test_the_planted_bad_annotators_get_little_weight() -> None:
    vector = json.loads(data_file("vectors/annotator_pool_dev.json").read_text(encoding="utf-8"))
    prompts: dict[int, dict[str, PromptRankings]] = {}
    for prompt, annotator, _, ranks in vector["records"]:
        prompts.setdefault(prompt, {})[annotator] = {f"r{i}": r for i, r in enumerate(ranks)}
    found = estimate(prompts.values())
    weights = training_weights(found, {person.annotator: 50 for person in found.annotators})
    # "longest" follows a rule that mostly agrees with quality: only gold tasks tell him apart.
    careless = {name for name, kind in vector["expected"]["must_flag"].items() if kind != "longest"}
    honest = vector["expected"]["must_not_flag"]
    assert max(weights[name] for name in careless) < 0.4
    assert min(weights[name] for name in honest) > 0.9
    assert weights["a07"] == 0  # reversed


def test_weights_have_mean_one_over_the_rankings() -> None:
    found = estimate(choices([0.9, 0.8, 0.6, 0.5], 200, 3, seed=2))
    rankings = {"a00": 10, "a01": 70, "a02": 40, "a03": 5, "newcomer": 20}
    weights = training_weights(found, rankings)
    total = sum(weights[name] * count for name, count in rankings.items())
    assert total / sum(rankings.values()) == pytest.approx(1.0)
    assert weights["a00"] > weights["newcomer"] > weights["a03"] >= 0


def test_display_order_does_not_matter() -> None:
    prompts = choices([0.9, 0.8, 0.6, 0.3], 80, 3, seed=3)
    swapped = [{n: {"y": r["y"], "x": r["x"]} for n, r in p.items()} for p in prompts]
    one, two = estimate(prompts).annotators, estimate(swapped).annotators
    assert [p.value for p in one] == pytest.approx([p.value for p in two], abs=1e-9)


TIE, WIN = {"x": 1, "y": 1}, {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("prompts", "state"),
    [
        ([], "no judgements"),
        ([{"a": WIN}] * 30, "not enough overlap"),
        ([{"a": WIN, "b": WIN}] * 9, "not enough overlap"),
        ([{"a": TIE, "b": TIE}] * 30, "only ties"),
        ([{"a": WIN, "b": TIE}] * 30, "not enough overlap"),
    ],
)
def test_too_little_data_is_a_state(prompts: list[PromptRankings], state: str) -> None:
    found = estimate(prompts)
    assert found.state == state
    assert all(person.value is None for person in found.annotators)


def test_who_ties_everything_is_named_so_among_others() -> None:
    prompts = [said | {"tied": TIE} for said in choices([0.9, 0.8, 0.7], 60, 3, seed=4)]
    states = {person.annotator: person.state for person in estimate(prompts).annotators}
    assert states == {"a00": "ok", "a01": "ok", "a02": "ok", "tied": "only ties"}
