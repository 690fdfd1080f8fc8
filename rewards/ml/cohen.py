"""Cohen's kappa of two annotators, unweighted and weighted.

Sources: Cohen 1960, Educ Psychol Meas 20 (kappa); Cohen 1968, Psychological Bulletin 70 (weights);
Fleiss, Cohen and Everitt 1969, Psychological Bulletin 72, equation 9 (large-sample variance).

V is the number of categories.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rewards.ml.comparisons import Floats
from rewards.ml.ratings import Coefficient, Ratings, blank, from_ratings, square_table

Disagreement = Literal["nominal", "linear", "quadratic"] | Sequence[Sequence[float]] | NDArray[Any]


def cohen(
    table: Sequence[Sequence[int]] | NDArray[Any], disagreement: Disagreement = "nominal"
) -> Coefficient:
    """Kappa from the table of two annotators: the one's categories in rows, the other's in columns.

    `disagreement` says how bad it is to differ: "nominal" all alike, "linear" or "quadratic" by
    how many categories lie between, or a matrix with zeros on its diagonal. `observed` and
    `expected` are agreement, weighted where kappa is. "one category" if both always said the same
    one thing. Raises ValueError for a table or a matrix that is malformed.
    """
    counts = square_table(table)
    weights = _agreement_weights(disagreement, len(counts))
    n = int(counts.sum())
    if not n:
        return blank("no judgements")
    p = counts / n
    row, column = p.sum(axis=1), p.sum(axis=0)
    observed, expected = float((p * weights).sum()), float(row @ weights @ column)
    if not expected < 1 - 1e-12:
        return Coefficient("one category", None, observed, expected, None, None, None, n, 2 * n)
    value = (observed - expected) / (1 - expected)
    if n == 1:
        return Coefficient("ok", value, observed, expected, None, None, None, n, 2)
    # The mean weight that each category of the one meets with the other, summed over both.
    met = (weights @ column)[:, None] + (row @ weights)[None, :]
    spread = (p * (weights * (1 - expected) - met * (1 - observed)) ** 2).sum()
    centre = (observed * expected - 2 * expected + observed) ** 2
    se = math.sqrt(max(0.0, spread - centre) / n) / (1 - expected) ** 2
    low, high = value - 1.959964 * se, value + 1.959964 * se
    return Coefficient("ok", value, observed, expected, se, low, high, n, 2 * n)


def cohen_of_ratings(
    first: Sequence[Any],
    second: Sequence[Any],
    disagreement: Disagreement = "nominal",
    categories: Sequence[Any] | None = None,
) -> Coefficient:
    """Kappa of two annotators' ratings of the same items, on the items that both rated.

    None or NaN where one did not rate; `categories` is the scale in its order. "not enough
    overlap" if they share no item. Raises ValueError for lists of unequal length, and for weights
    by distance on texts whose order was not given.
    """
    ratings = from_ratings([first, second], categories)
    if isinstance(disagreement, str) and disagreement != "nominal" and not ratings.ordered:
        raise ValueError("Weights by distance need the categories of texts in order")
    if not len(ratings.item):
        return blank("no judgements")
    table = _cross_table(first, second, ratings)
    return cohen(table, disagreement) if table.sum() else blank("not enough overlap")


def _cross_table(first: Sequence[Any], second: Sequence[Any], ratings: Ratings) -> NDArray[Any]:
    places = {label: place for place, label in enumerate(ratings.categories)}
    table = np.zeros((len(places), len(places)), dtype=np.int64)
    for a, b in zip(first, second, strict=True):
        if a in places and b in places:  # a missing rating is no category
            table[places[a], places[b]] += 1
    return table


def _agreement_weights(disagreement: Disagreement, size: int) -> Floats:
    if isinstance(disagreement, str):
        steps = np.abs(np.subtract.outer(np.arange(size), np.arange(size))).astype(np.float64)
        power = {"nominal": 0, "linear": 1, "quadratic": 2}[disagreement]
        bad = np.where(steps > 0, steps**power, 0)
    else:
        bad = np.array(disagreement, dtype=np.float64)
        if bad.shape != (size, size):
            raise ValueError(f"Weights of shape {bad.shape} for a table of {size} categories")
        if np.diagonal(bad).any() or not (bad >= 0).all():
            raise ValueError("Disagreement is 0 on the diagonal and nowhere negative")
    agreement: Floats = 1 - bad / max(bad.max(initial=0), 1e-300)
    return agreement
