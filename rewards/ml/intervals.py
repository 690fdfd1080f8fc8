"""Intervals of figures that are ratios of sums over prompts."""

import math

import numpy as np

from rewards.ml.comparisons import Floats

BLOCK = 100  # resamples drawn at a time


def bootstrap_totals(rows: Floats, resamples: int, seed: int) -> Floats:
    """Column totals of `rows`, (P, S), under resampling of its P rows; (resamples, S).

    Prompts with equal rows are drawn together: how often each distinct row occurs in a resample of
    prompts is multinomial, so this is the ordinary bootstrap in a fraction of the time.
    """
    distinct, counts = np.unique(rows, axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    totals = np.empty((resamples, rows.shape[1]))
    for start in range(0, resamples, BLOCK):
        size = min(BLOCK, resamples - start)
        weights = rng.multinomial(len(rows), counts / len(rows), size=size)
        totals[start : start + size] = weights @ distinct
    return totals


def wilson(mean: float, n: float, z: float = 1.959964) -> tuple[float, float]:
    """Interval of a mean of `n` values between 0 and 1 that never leaves [0, 1].

    Source: Wilson 1927, the score interval.
    """
    centre = (mean + z * z / (2 * n)) / (1 + z * z / n)
    spread = z / (1 + z * z / n) * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    return max(0.0, centre - spread), min(1.0, centre + spread)
