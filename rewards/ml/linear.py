"""A linear reward model: Bradley-Terry on features of responses, fitted in a fraction of a second.

What it learns from is what a reward model learns from, with the same weights: a prompt's loss is
the mean over its judged pairs, each by its weight. So it can stand for the slow model where one has
to be fitted many times over: without one annotator, or with hostile ones added.

C is the number of judged pairs, D of features, K of a prompt's responses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit

from rewards.ml.comparisons import Floats, Ints
from rewards.ml.pairs import RankedPrompt

PRECISION = 0.1  # of the normal prior on each coefficient, in prompts
STEPS = 50
TOLERANCE = 1e-8  # of the loss, relative


@dataclass(frozen=True)
class PairTable:
    """Every judged pair of some prompts.

    `difference` (C, D) is the features of the one response less those of the other, `target` (C,)
    the probability that the one wins, `weight` (C,) the pair's share of its prompt, by its weight;
    `prompt` and `annotator` (C,) say whose it is, the latter as a place in `annotators`.
    """

    difference: Floats
    target: Floats
    weight: Floats
    prompt: Ints
    annotator: Ints
    annotators: tuple[str, ...]


@dataclass(frozen=True)
class Linear:
    """`coefficients` (D,) at the least of the penalised loss, and its second derivative (D, D)."""

    coefficients: Floats
    hessian: Floats


def pair_table(prompts: Sequence[RankedPrompt], features: Sequence[Floats]) -> PairTable:
    """`features` has an array (K, D) for each prompt."""
    rows = [
        (number, pair.annotator, pair.i, pair.j, pair.p, pair.weight / len(prompt.pairs))
        for number, prompt in enumerate(prompts)
        for pair in prompt.pairs
    ]
    names = sorted({row[1] for row in rows})
    place = {name: number for number, name in enumerate(names)}
    width = features[0].shape[1] if features else 0
    starts = np.cumsum([0, *map(len, features)])
    stacked = np.concatenate([*features, np.zeros((0, width))])
    number = np.array([row[0] for row in rows], dtype=np.int64)
    i = starts[number] + np.array([row[2] for row in rows], dtype=np.int64)
    j = starts[number] + np.array([row[3] for row in rows], dtype=np.int64)
    return PairTable(
        difference=stacked[i] - stacked[j],
        target=np.array([row[4] for row in rows], dtype=np.float64),
        weight=np.array([row[5] for row in rows], dtype=np.float64),
        prompt=number,
        annotator=np.array([place[row[1]] for row in rows], dtype=np.int64),
        annotators=tuple(names),
    )


def fit_linear(table: PairTable, start: Floats | None = None) -> Linear:
    """By Newton's method, with the step halved where the loss would rise."""
    width = table.difference.shape[1]
    at = np.zeros(width) if start is None else start
    loss = penalised_loss(table, at)
    for _ in range(STEPS):
        step = cho_solve(cho_factor(hessian(table, at)), gradient(table, at))
        size = 1.0
        while (found := penalised_loss(table, at - size * step)) > loss and size > 1e-6:
            size /= 2
        if loss - found < TOLERANCE * abs(loss):
            break
        at, loss = at - size * step, found
    return Linear(at, hessian(table, at))


def penalised_loss(table: PairTable, at: Floats) -> float:
    """Sum over prompts of the loss, in nats a pair, and the prior's."""
    margin = table.difference @ at
    losses = np.logaddexp(0, margin) - table.target * margin
    return float(table.weight @ losses + PRECISION / 2 * at @ at)


def gradient(table: PairTable, at: Floats) -> Floats:
    """(D,) of the penalised loss."""
    residual = table.weight * (expit(table.difference @ at) - table.target)
    return np.asarray(table.difference.T @ residual + PRECISION * at)


def hessian(table: PairTable, at: Floats) -> Floats:
    """(D, D) of the penalised loss."""
    p = expit(table.difference @ at)
    curvature = (table.weight * p * (1 - p))[:, None]
    return np.asarray(
        table.difference.T @ (curvature * table.difference) + PRECISION * np.eye(len(at))
    )
