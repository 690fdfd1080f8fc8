"""Agreement of any number of annotators on categories: Gwet's AC1 and AC2, and Fleiss' kappa.

All three are (observed - expected) / (1 - expected) and differ in what they expect by chance.
Observed agreement is the mean over items of the share of equal (or weighted) pairs of ratings.
Standard errors treat items as a sample and let missing ratings be: the linearised variance of
Gwet 2021, Handbook of Inter-Rater Reliability, 5th ed., chapter 5. Intervals are Student's t with
one degree of freedom less than items, cut at 1.

I is the number of items with at least one rating, V of categories.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from rewards.ml.comparisons import Floats
from rewards.ml.ratings import Coefficient, Ratings, State, blank

Weights = Literal["linear", "quadratic", "ordinal"] | NDArray[Any]

# From shares of the categories (V,), the expected agreement, and its gradient (V,).
Chance = Callable[[Floats], tuple[float, Floats]]


def gwet_ac1(ratings: Ratings) -> Coefficient:
    """Gwet's AC1, for categories without an order. Source: Gwet 2008, Br J Math Stat Psychol 61.

    The number of categories counts: give the whole scale where not all of it was used.
    """
    return _gwet(ratings, np.eye(len(ratings.categories)))


def gwet_ac2(ratings: Ratings, weights: Weights = "quadratic") -> Coefficient:
    """Gwet's AC2, where near categories agree in part.

    "linear" and "quadratic" weigh by the distance between categories as numbers, "ordinal" by
    their order alone (Gwet's ordinal weights, which are not Krippendorff's metric); a matrix has
    1 on its diagonal. Raises ValueError for categories without numbers or order, and for a matrix
    of another shape.
    """
    return _gwet(ratings, agreement_weights(ratings, weights))


def fleiss(ratings: Ratings) -> Coefficient:
    """Fleiss' kappa. "unequal numbers" unless every item was rated equally often.

    Source: Fleiss 1971, Psychological Bulletin 76.
    """
    m = ratings.per_item()
    if len(np.unique(m[m > 0])) > 1:
        return blank("unequal numbers", int((m >= 2).sum()), int(m[m >= 2].sum()))
    return fleiss_general(ratings)


def fleiss_general(ratings: Ratings) -> Coefficient:
    """Fleiss' kappa where items were rated unequally often.

    Source: Gwet 2021, chapter 5; it is Fleiss' own where the numbers are equal.
    """
    weights = np.eye(len(ratings.categories))
    return _coefficient(ratings, weights, lambda shares: (float(shares @ shares), 2 * shares))


def agreement_weights(ratings: Ratings, weights: Weights) -> Floats:
    """(V, V) how far two categories agree, 1 on the diagonal."""
    size = len(ratings.categories)
    if not isinstance(weights, str):
        matrix = np.array(weights, dtype=np.float64)
        if matrix.shape != (size, size):
            raise ValueError(f"Weights of shape {matrix.shape} for {size} categories")
        return matrix
    if weights == "ordinal":
        if not ratings.ordered:
            raise ValueError("Ordinal weights of texts need the categories in order")
        steps = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
        distance = steps * (steps + 1) / 2  # pairs of categories from the one to the other
    else:
        values = ratings.values()
        distance = np.abs(np.subtract.outer(values, values)).astype(np.float64)
        distance = distance if weights == "linear" else distance**2
    agreement: Floats = 1 - distance / max(distance.max(initial=0), 1e-300)
    return agreement


def _gwet(ratings: Ratings, weights: Floats) -> Coefficient:
    size = len(ratings.categories)
    scale = weights.sum() / max(size * (size - 1), 1)

    def chance(shares: Floats) -> tuple[float, Floats]:
        return float(scale * (shares * (1 - shares)).sum()), scale * (1 - 2 * shares)

    return _coefficient(ratings, weights, chance)


def _coefficient(ratings: Ratings, weights: Floats, chance: Chance) -> Coefficient:
    state: State = ratings.blank()
    if state != "ok":
        return blank(state)
    counts = ratings.table()
    counts = counts[counts.sum(axis=1) > 0]  # (I, V)
    m = counts.sum(axis=1)
    twice = m >= 2
    pairs = np.where(twice, m * (m - 1), 1)
    alike = (counts * (counts @ weights - 1)).sum(axis=1) / pairs * twice  # (I,)
    observed = float(alike.sum() / twice.sum())
    shares = (counts / m[:, None]).mean(axis=0)  # (V,)
    expected, gradient = chance(shares)
    n_items, n_ratings = int(twice.sum()), int(m[twice].sum())
    if len(shares) == 1 or not expected < 1 - 1e-12:
        return Coefficient(
            "one category", None, observed, expected, None, None, None, n_items, n_ratings
        )
    value = (observed - expected) / (1 - expected)
    if len(m) < 2:
        return Coefficient("ok", value, observed, expected, None, None, None, n_items, n_ratings)
    # How far each item moves the coefficient: through what is observed, and what is expected. As
    # Gwet has it, observed and expected are both scaled up from the items that were rated twice.
    own = (alike - expected * twice) / twice.mean() - (observed - expected)
    by_chance = (counts / m[:, None] - shares) @ gradient
    influence = (own - (1 - value) * by_chance) / (1 - expected)
    se = math.sqrt((influence**2).sum() / (len(m) * (len(m) - 1)))
    width = float(t.ppf(0.975, len(m) - 1)) * se
    low, high = max(-1.0, value - width), min(1.0, value + width)
    return Coefficient("ok", value, observed, expected, se, low, high, n_items, n_ratings)
