"""Dawid and Skene's model: the truth of each item and the errors of each annotator, from labels.

Every item has one true category; annotator a says category l of an item whose truth is k with
probability confusion[a][k][l], independently of the others. The one-coin model leaves him one
number: he is right with probability eta, and otherwise says any other category alike.

Source: Dawid and Skene 1979, Applied Statistics 28, equations 2.3 to 2.5 and 3.1. Fitted by
expectation-maximisation from shares of votes: a hard majority ends in a worse optimum on their own
data. What is watched is the likelihood itself, which never falls.

C is the number of distinct labels (item, annotator, category), I of items, A of annotators, K of
categories.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from rewards.ml.columns import Column, encode
from rewards.ml.comparisons import Floats, Ints, sum_by

ROUNDS = 2000
TOLERANCE = 1e-12  # of the log-likelihood, relative

State = Literal["ok", "no judgements", "one annotator", "not enough overlap", "one category"]


@dataclass(frozen=True)
class DawidSkene:
    """Names come with the arrays they index; arrays are None unless `state` is "ok".

    `log_likelihood` has one entry a round and never falls; under the one-coin model's prior it is
    the log-posterior but for a constant.
    """

    state: State
    items: tuple[Any, ...]
    annotators: tuple[Any, ...]
    categories: tuple[Any, ...]
    prevalence: Floats | None  # (K,) share of the items whose truth is each category
    confusion: Floats | None  # (A, K, K) probabilities of labels, rows being the truth
    posterior: Floats | None  # (I, K) probabilities of each item's truth
    accuracy: Floats | None  # (A,) how often right, over the categories' prevalence
    log_likelihood: tuple[float, ...]


@dataclass(frozen=True)
class _Labels:
    """Columns (C,) of indices, and how often the same annotator gave the same label twice."""

    item: Ints
    annotator: Ints
    label: Ints
    count: Floats
    shape: tuple[int, int, int]  # I, A, K


# From the posterior (I, K), a confusion (A, K, K) and the log of its prior density.
_Maximise = Callable[[_Labels, Floats], tuple[Floats, float]]


def dawid_skene(item: Column, annotator: Column, label: Column) -> DawidSkene:
    """The full model, by maximum likelihood, from three columns of equal length.

    Entry i of the columns: this annotator gave this item this label; he may have done so several
    times. A confusion whose truth never occurred among an annotator's items is uniform. Raises
    ValueError for columns of unequal length.
    """
    return _estimate(item, annotator, label, _full)


def one_coin(
    item: Column, annotator: Column, label: Column, prior: tuple[float, float] = (1.0, 1.0)
) -> DawidSkene:
    """The one-coin model with a Beta prior on each annotator's accuracy; Beta(1, 1) is none.

    For preferences between two responses there is reliability.estimate, which is this model on
    pairs entered both ways round. Raises ValueError for columns of unequal length and for a prior
    below 1, which has no mode.
    """
    if min(prior) < 1:
        raise ValueError(f"The prior Beta{prior} has no mode: its parameters are at least 1")

    def maximise(labels: _Labels, posterior: Floats) -> tuple[Floats, float]:
        return _coin(labels, posterior, prior[0] - 1, prior[1] - 1)

    return _estimate(item, annotator, label, maximise)


def columns_of_ratings(
    data: Sequence[Sequence[Any]] | NDArray[Any],
) -> tuple[list[int], list[int], list[Any]]:
    """Items, annotators and labels, of a matrix of annotators by items; None or NaN is missing."""
    entries = [
        (item, annotator, label)
        for annotator, row in enumerate(data)
        for item, label in enumerate(row)
        if label is not None and label == label  # NaN differs from itself
    ]
    items, annotators, labels = zip(*entries, strict=True) if entries else ((), (), ())
    return list(items), list(annotators), list(labels)


def _estimate(item: Column, annotator: Column, label: Column, maximise: _Maximise) -> DawidSkene:
    if not len(item) == len(annotator) == len(label):
        raise ValueError(
            f"Columns of {len(item)} items, {len(annotator)} annotators and {len(label)} labels"
        )
    items, of_item = encode(item)
    annotators, of_annotator = encode(annotator)
    categories, of_label = encode(label)
    shape = (len(items), len(annotators), len(categories))
    labels = _count(of_item, of_annotator, of_label, shape)
    state = _state(labels)
    if state != "ok":
        return DawidSkene(state, items, annotators, categories, None, None, None, None, ())
    prevalence, confusion, posterior, history = _fit(labels, maximise)
    right = np.diagonal(confusion, axis1=1, axis2=2) @ prevalence
    return DawidSkene(
        "ok", items, annotators, categories, prevalence, confusion, posterior, right, history
    )


def _fit(labels: _Labels, maximise: _Maximise) -> tuple[Floats, Floats, Floats, tuple[float, ...]]:
    n_items, _, n_categories = labels.shape
    posterior = np.zeros((n_items, n_categories))
    np.add.at(posterior, (labels.item, labels.label), labels.count)
    posterior /= posterior.sum(axis=1, keepdims=True)
    history: list[float] = []
    while True:
        prevalence = posterior.mean(axis=0)
        confusion, log_prior = maximise(labels, posterior)
        joint = np.empty_like(posterior)
        with np.errstate(divide="ignore"):  # the log of an impossible label is minus infinity
            log_confusion, log_prevalence = np.log(confusion), np.log(prevalence)
        for k in range(n_categories):
            evidence = labels.count * log_confusion[labels.annotator, k, labels.label]
            joint[:, k] = log_prevalence[k] + sum_by(labels.item, evidence, n_items)
        top = joint.max(axis=1, keepdims=True)
        posterior = np.exp(joint - top)
        total = posterior.sum(axis=1, keepdims=True)
        posterior /= total
        history.append(float((top + np.log(total)).sum()) + log_prior)
        if len(history) > 1 and history[-1] - history[-2] <= TOLERANCE * abs(history[-1]):
            break
        if len(history) == ROUNDS:
            break
    return prevalence, confusion, posterior, tuple(history)


def _full(labels: _Labels, posterior: Floats) -> tuple[Floats, float]:
    """Equation 2.3: how often each label met each truth."""
    _, people, size = labels.shape
    seen = np.empty((people, size, size))
    cell = labels.annotator * size + labels.label
    for k in range(size):
        weights = labels.count * posterior[labels.item, k]
        seen[:, k] = sum_by(cell, weights, people * size).reshape(people, size)
    total = seen.sum(axis=2, keepdims=True)
    uniform = np.full_like(seen, 1 / size)
    return np.divide(seen, total, out=uniform, where=total > 0), 0.0


def _coin(labels: _Labels, posterior: Floats, right: float, wrong: float) -> tuple[Floats, float]:
    """One number for each annotator; `right` and `wrong` are the prior, as counts."""
    _, people, size = labels.shape
    hits = labels.count * posterior[labels.item, labels.label]
    n_right = sum_by(labels.annotator, hits, people) + right
    n_labels = sum_by(labels.annotator, labels.count, people) + right + wrong
    eta = np.minimum(n_right / n_labels, 1.0)
    confusion = np.repeat(((1 - eta) / (size - 1))[:, None], size * size, axis=1)
    confusion = confusion.reshape(people, size, size)
    confusion[:, np.arange(size), np.arange(size)] = eta[:, None]
    return confusion, float((xlogy(right, eta) + xlogy(wrong, 1 - eta)).sum())


def _count(item: Ints, annotator: Ints, label: Ints, shape: tuple[int, int, int]) -> _Labels:
    if not len(item):
        return _Labels(item, annotator, label, np.zeros(0), shape)
    keys, count = np.unique(
        np.ravel_multi_index((item, annotator, label), shape), return_counts=True
    )
    places = np.unravel_index(keys, shape)
    item, annotator, label = (place.astype(np.int64) for place in places)
    return _Labels(item, annotator, label, count.astype(np.float64), shape)


def _state(labels: _Labels) -> State:
    n_items, people, size = labels.shape
    if not n_items:
        return "no judgements"
    if people == 1:
        return "one annotator"
    raters = np.unique(labels.item * people + labels.annotator) // people
    if np.bincount(raters).max() < 2:
        return "not enough overlap"
    return "one category" if size == 1 else "ok"
