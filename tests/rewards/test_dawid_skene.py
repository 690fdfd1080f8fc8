"""Dawid and Skene's own data, their likelihood maximised otherwise, and planted errors found."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from rewards.ml.dawid_skene import DawidSkene, columns_of_ratings, dawid_skene, one_coin
from rewards.ml.reliability import estimate
from tests.rewards import published
from tests.rewards.test_reliability import choices

quick = settings(derandomize=True, deadline=None, max_examples=40)


def anaesthetists() -> Iterator[tuple[int, int, int]]:
    for patient, said in enumerate(published.ANAESTHETISTS.split(",")):
        thrice, once = said.split()
        for observer, labels in enumerate([thrice, *once]):
            for label in labels:
                yield patient, observer, int(label)


def planted(
    seed: int, people: int = 6, items: int = 600, each: int = 3
) -> tuple[list[tuple[int, int, int]], np.ndarray, np.ndarray]:
    """Labels in three classes with a confusion of everyone's own; the truth and the confusions."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, items, p=[0.5, 0.3, 0.2])
    confusion = rng.dirichlet([1, 1, 1], (people, 3)) * 0.5 + 0.5 * np.eye(3)
    rows = [
        (item, int(person), int(rng.choice(3, p=confusion[person, truth[item]])))
        for item in range(items)
        for person in rng.choice(people, each, replace=False)
    ]
    return rows, truth, confusion


def test_their_own_figures() -> None:
    found = dawid_skene(*zip(*anaesthetists(), strict=True))
    assert found.categories == (1, 2, 3, 4)
    assert found.prevalence == pytest.approx(published.PREVALENCE, abs=0.005)
    right = np.diagonal(found.confusion, axis1=1, axis2=2)
    assert right == pytest.approx(np.array(published.RIGHT), abs=0.0051)
    assert found.posterior[6] == pytest.approx([0.98, 0.02, 0, 0], abs=0.005)  # patient 7
    assert found.posterior.argmax(axis=1)[[2, 3]].tolist() == [1, 1]


def test_it_is_the_maximum_of_the_likelihood() -> None:
    """Written down as it is and climbed without EM, from a start near by."""
    rows, _, _ = planted(0, people=3, items=60)
    found = dawid_skene(*zip(*rows, strict=True))
    item, person, label = map(np.array, zip(*rows, strict=True))

    def loss(theta: np.ndarray) -> float:
        log_prevalence = np.log(softmax(theta[:3]))
        log_confusion = np.log(softmax(theta[3:].reshape(3, 3, 3), axis=2))
        joint = np.tile(log_prevalence, (60, 1))
        np.add.at(joint, item, log_confusion[person, :, label])
        return -float(logsumexp(joint, axis=1).sum())

    near = np.log(np.concatenate((found.prevalence, found.confusion.ravel())) + 1e-4)
    best = minimize(loss, near, method="L-BFGS-B", options={"maxfun": 20_000, "ftol": 1e-12})
    assert found.log_likelihood[-1] == pytest.approx(-best.fun, abs=1e-3)
    assert found.prevalence == pytest.approx(softmax(best.x[:3]), abs=0.02)


@pytest.mark.parametrize("seed", range(2))
def test_planted_confusions_are_found(seed: int) -> None:
    rows, truth, confusion = planted(seed, items=1500, each=5)
    found = dawid_skene(*zip(*rows, strict=True))
    assert found.confusion == pytest.approx(confusion, abs=0.1)
    assert np.abs(found.confusion - confusion).mean() < 0.025
    votes = np.zeros((1500, 3))
    np.add.at(votes, tuple(np.array(rows)[:, [0, 2]].T), 1)
    right = (found.posterior.argmax(axis=1) == truth).mean()
    assert right > (votes.argmax(axis=1) == truth).mean()


def never_falls(found: DawidSkene) -> bool:
    history = found.log_likelihood
    return all(b >= a - 1e-9 * abs(a) for a, b in zip(history, history[1:], strict=False))


def test_the_likelihood_never_falls() -> None:
    rows, _, _ = planted(1)
    columns = list(zip(*rows, strict=True))
    for found in (dawid_skene(*columns), one_coin(*columns), one_coin(*columns, prior=(8, 3))):
        assert len(found.log_likelihood) > 5 and never_falls(found)


def test_one_coin_is_the_maximum_of_its_likelihood() -> None:
    rows, _, _ = planted(2, people=4, items=80)
    found = one_coin(*zip(*rows, strict=True), prior=(3, 2))
    item, person, label = map(np.array, zip(*rows, strict=True))

    def loss(theta: np.ndarray) -> float:
        eta = 1 / (1 + np.exp(-theta[3:]))
        joint = np.tile(np.log(softmax(theta[:3])), (80, 1))
        right, wrong = np.log(eta)[person], np.log((1 - eta) / 2)[person]
        said = np.where(label[:, None] == np.arange(3), right[:, None], wrong[:, None])
        np.add.at(joint, item, said)
        prior = 2 * np.log(eta) + 1 * np.log(1 - eta)
        return -float(logsumexp(joint, axis=1).sum() + prior.sum())

    near = np.concatenate((np.log(found.prevalence), np.ones(4)))
    best = minimize(loss, near, method="BFGS")
    assert found.log_likelihood[-1] == pytest.approx(-best.fun, abs=1e-4)
    eta = found.confusion[:, 0, 0]
    assert eta == pytest.approx(1 / (1 + np.exp(-best.x[3:])), abs=0.005)


def test_on_mirrored_pairs_it_is_the_reliability_of_preferences() -> None:
    """Every pair entered both ways round counts twice, so its prior does as well."""
    prompts = choices([0.9, 0.8, 0.7, 0.3], n_prompts=60, m=3, seed=0)
    rows = []
    for number, said in enumerate(prompts):
        for name, ranks in said.items():
            first = ranks["x"] < ranks["y"]
            rows += [((number, "xy"), name, first), ((number, "yx"), name, not first)]
    found = one_coin(*zip(*rows, strict=True), prior=(15, 5))
    expected = [person.value for person in estimate(prompts).annotators]
    assert found.accuracy == pytest.approx(expected, abs=5e-4)


def test_repeated_labels_count_each_time() -> None:
    rows = [(0, "a", 1), (0, "a", 1), (0, "b", 2), (1, "a", 2), (1, "b", 2), (1, "c", 1)]
    found = dawid_skene(*zip(*rows, strict=True))
    assert found.posterior.shape == (2, 2) and found.annotators == ("a", "b", "c")
    # The start is the share of votes, 2 to 1 on item 0, and it leads to that side.
    assert found.posterior[0, 0] > 0.5


@quick
@given(
    some.lists(
        some.tuples(some.integers(0, 4), some.sampled_from("abc"), some.integers(0, 2)),
        max_size=15,
    )
)
def test_there_are_numbers_or_a_state_and_never_nan(rows: list[tuple[int, str, int]]) -> None:
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    columns = list(columns)
    for found in (dawid_skene(*columns), one_coin(*columns)):
        if found.state != "ok":
            assert found.posterior is found.confusion is found.accuracy is None
            continue
        for probabilities in (found.posterior, found.confusion):
            assert np.allclose(probabilities.sum(axis=-1), 1)
        assert np.isfinite(found.accuracy).all() and np.isfinite(found.log_likelihood).all()
        assert never_falls(found)


@pytest.mark.parametrize(
    ("ratings", "state"),
    [
        ([], "no judgements"),
        ([[None]], "no judgements"),
        ([[1, 2, 1]], "one annotator"),
        ([[1, None], [None, 2]], "not enough overlap"),
        ([[1, 1], [1, 1]], "one category"),
    ],
)
def test_too_little_is_a_state(ratings: list[list[int | None]], state: str) -> None:
    assert dawid_skene(*columns_of_ratings(ratings)).state == state
    assert one_coin(*columns_of_ratings(ratings)).state == state


def test_malformed_input_is_refused() -> None:
    with pytest.raises(ValueError, match="2 items, 1 annotators and 1 labels"):
        dawid_skene([1, 2], [1], [1])
    with pytest.raises(ValueError, match="holds None"):
        dawid_skene([1, 2], ["a", "b"], [1, None])
    with pytest.raises(ValueError, match="holds nan"):
        dawid_skene([1, 2], ["a", "b"], np.array([1, np.nan]))
    with pytest.raises(ValueError, match="no mode"):
        one_coin([1], [1], [1], prior=(0.5, 1))
