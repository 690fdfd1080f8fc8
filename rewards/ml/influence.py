"""Whose absence would change a linear reward model's held-out accuracy, and by how much.

The model without annotator a is one Newton step away from the model of all: gradient and second
derivative of the loss without his pairs, taken at the whole model's coefficients. That is the
second-order form of the influence function (Cook and Weisberg 1982; Koh and Liang 2017), exact
where the loss is quadratic, and costs one fit for everybody.

A prompt counts by the mean over its judged pairs, so without him the others' pairs on his prompts
count more; these are weighed anew.

A is the number of annotators, C of judged pairs, D of features, P of test prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from rewards.ml.baselines import credit
from rewards.ml.comparisons import Floats, sum_by
from rewards.ml.intervals import bootstrap_totals
from rewards.ml.linear import PairTable, fit_linear, gradient, hessian, pair_table
from rewards.ml.pairs import RankedPrompt

MIN_TRAIN_PROMPTS = 50
MIN_TEST_PROMPTS = 20
MIN_JUDGED = 10  # training prompts of one annotator
RESAMPLES = 1000

State = Literal["ok", "too little data", "few judgements"]


@dataclass(frozen=True)
class Influence:
    """Held-out accuracy with somebody's judgements less that without them.

    Above 0 he helps. The 95 % interval resamples test prompts; where `state` is not "ok" the three
    are None. `n` counts the training prompts that he judged.
    """

    annotator: str
    state: State
    value: float | None
    low: float | None
    high: float | None
    n: int


def influences(
    train: Sequence[RankedPrompt],
    test: Sequence[RankedPrompt],
    features: Sequence[Floats],
    seed: int,
) -> list[Influence]:
    """Of everybody who judged a training prompt, by name.

    `features` has an array (K, D) for each prompt of `train`, then of `test`.
    """
    table = pair_table(train, features[: len(train)])
    judged = np.unique(np.column_stack((table.annotator, table.prompt)), axis=0)
    n_judged = np.bincount(judged[:, 0], minlength=len(table.annotators)).tolist()
    examined = [
        (prompt, rows)
        for prompt, rows in zip(test, features[len(train) :], strict=True)
        if credit(prompt, np.zeros(len(rows))) is not None
    ]
    if len(train) < MIN_TRAIN_PROMPTS or len(examined) < MIN_TEST_PROMPTS:
        return [
            Influence(name, "too little data", None, None, None, n)
            for name, n in zip(table.annotators, n_judged, strict=True)
        ]
    whole = fit_linear(table).coefficients
    before = _credits(examined, whole)
    found = []
    for number, name in enumerate(table.annotators):
        n = n_judged[number]
        if n < MIN_JUDGED:
            found.append(Influence(name, "few judgements", None, None, None, n))
            continue
        gain = before - _credits(examined, without(table, number, whole))
        means = bootstrap_totals(gain[:, None], RESAMPLES, seed)[:, 0] / len(gain)
        low, high = np.percentile(means, (2.5, 97.5))
        found.append(Influence(name, "ok", float(gain.mean()), float(low), float(high), n))
    return found


def without(table: PairTable, annotator: int, whole: Floats) -> Floats:
    """Coefficients (D,) without somebody, about, from those of all."""
    rest = left_out(table, annotator)
    step = cho_solve(cho_factor(hessian(rest, whole)), gradient(rest, whole))
    return np.asarray(whole - step)


def left_out(table: PairTable, annotator: int) -> PairTable:
    """The table without somebody's pairs; those that are left share their prompt's weight."""
    kept = table.annotator != annotator
    size = int(table.prompt.max(initial=0)) + 1
    pairs = np.bincount(table.prompt, minlength=size)
    left = sum_by(table.prompt, kept.astype(np.float64), size)
    share = np.divide(pairs, left, out=np.zeros(size), where=left > 0)
    return PairTable(
        difference=table.difference[kept],
        target=table.target[kept],
        weight=(table.weight * share[table.prompt])[kept],
        prompt=table.prompt[kept],
        annotator=table.annotator[kept],
        annotators=table.annotators,
    )


def _credits(examined: Sequence[tuple[RankedPrompt, Floats]], coefficients: Floats) -> Floats:
    """(P,) how much of each prompt the rewards have right."""
    found = [credit(prompt, rows @ coefficients) for prompt, rows in examined]
    return np.array([one.share if one else 0.0 for one in found])
