"""Partial pooling: what several slices' estimates say of each slice, the small ones least.

An estimate of few prompts lies far from the others by chance alone. It is drawn towards the value
that is common to all, the more, the larger its variance is beside the spread between slices. That
spread is known badly where there are few slices; plugging in one estimate of it gives intervals
that are too short, which cover 85 % instead of 95 %. So every spread is weighed by how likely it
makes the estimates (its restricted likelihood, with a flat prior), as in the hierarchical model of
Rubin 1981, Journal of Educational Statistics 6; Gelman et al. 2013, Bayesian Data Analysis, 5.4.

S is the number of slices, G of spreads that are weighed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewards.ml.comparisons import Floats

Z = 1.959964
SPREADS = 1001


@dataclass(frozen=True)
class Pooled:
    """`common` is the mean that the slices scatter around; arrays are (S,)."""

    common: float
    common_se: float
    spread: float  # the likeliest standard deviation between slices, beyond what chance explains
    value: Floats
    se: Floats
    low: Floats  # 95 %
    high: Floats


def pool(
    values: Sequence[float] | NDArray[np.float64],
    variances: Sequence[float] | NDArray[np.float64],
    largest_spread: float = 1.0,
) -> Pooled:
    """Draw the estimates (S,) of slices towards their common value, by their variances (S,).

    `largest_spread` is what the standard deviation between slices cannot exceed, in the units of
    the values; 1 is right for figures between -1 and 1. Raises ValueError without slices, and
    unless all variances are positive: who knows one exactly need not pool it.
    """
    y, v = np.asarray(values, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if y.ndim != 1 or y.shape != v.shape or not len(y):
        raise ValueError(f"Values of shape {y.shape} with variances of shape {v.shape}")
    if not (np.isfinite(y).all() and np.isfinite(v).all() and (v > 0).all()):
        raise ValueError("Values must be finite and variances positive")
    # Closer together near zero, where the likelihood changes most when variances are small.
    spreads = largest_spread * np.linspace(0, 1, SPREADS) ** 3
    weight = 1 / (v + spreads[:, None] ** 2)  # (G, S)
    common = (weight * y).sum(axis=1) / weight.sum(axis=1)  # (G,)
    common_variance = 1 / weight.sum(axis=1)
    likelihood = (
        np.log(weight).sum(axis=1)
        + np.log(common_variance)
        - (weight * (y - common[:, None]) ** 2).sum(axis=1)
    ) / 2
    width = np.gradient(spreads)  # what each one stands for
    probability = np.exp(likelihood - likelihood.max()) * width
    probability /= probability.sum()
    shrunk = v * weight  # (G, S) 1: as the others are; 0: as it was found
    means = shrunk * common[:, None] + (1 - shrunk) * y
    within = (1 - shrunk) * v + shrunk**2 * common_variance[:, None]
    value, se = _mixture(probability, means, within)
    common_value, common_se = _mixture(probability, common[:, None], common_variance[:, None])
    return Pooled(
        common=float(common_value[0]),
        common_se=float(common_se[0]),
        spread=float(spreads[likelihood.argmax()]),
        value=value,
        se=se,
        low=value - Z * se,
        high=value + Z * se,
    )


def _mixture(probability: Floats, means: Floats, variances: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation, (S,) each, of what is one of G distributions, (G, S)."""
    mean = probability @ means
    return mean, np.sqrt(probability @ (variances + (means - mean) ** 2))
