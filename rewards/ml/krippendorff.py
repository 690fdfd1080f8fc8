"""Krippendorff's alpha on nominal, ordinal, interval and ratio scales, with missing ratings.

Source: Krippendorff 2011, Computing Krippendorff's Alpha-Reliability; its equations 1 to 4 for the
metrics. An item that was rated once counts nowhere.

V is the number of categories, I of items.
"""

from typing import Literal

import numpy as np
from scipy import sparse

from rewards.ml.comparisons import Floats, Ints, sum_by
from rewards.ml.ratings import Coefficient, Ratings, blank

Level = Literal["nominal", "ordinal", "interval", "ratio"]
BLOCK = 2_000_000  # pairs of categories held in memory at a time


def krippendorff(ratings: Ratings, level: Level) -> Coefficient:
    """Alpha; `observed` and `expected` are disagreements in the squared units of the metric.

    Raises ValueError for a level that the categories do not have: texts whose order was not
    given are nominal only, a ratio scale has no negative values.
    """
    values = _positions(ratings, level)  # before anything else, so that it never depends on data
    state = ratings.blank()
    if state != "ok":
        return blank(state)
    m = ratings.per_item()
    kept = m[ratings.item] >= 2
    item, category = ratings.item[kept], ratings.category[kept]
    count = ratings.count[kept].astype(np.float64)
    totals = sum_by(category, count, len(ratings.categories))
    if level == "ordinal":
        values = np.cumsum(totals) - totals / 2  # then the ordinal metric is (a - b) squared
    n = float(totals.sum())
    items = int((m >= 2).sum())
    if (totals > 0).sum() == 1:
        return blank("one category", items, int(n))
    shape = (ratings.n_items, len(values))
    counts = sparse.csr_array((count, (item, category)), shape=shape)
    weights = sparse.csr_array((count / (m[item] - 1), (item, category)), shape=shape)
    # A rating paired with itself is no disagreement, so the diagonal may stay.
    together = (weights.T @ counts).tocoo()
    distance = _metric(values[together.row], values[together.col], level)
    observed = float((together.data * distance).sum() / n)
    expected = _expected(totals, values, level) / (n * (n - 1))
    alpha = 1 - observed / expected
    return Coefficient("ok", alpha, observed, expected, None, None, None, items, int(n))


def _positions(ratings: Ratings, level: Level) -> Floats:
    """(V,) what distances are measured on; for the ordinal metric it depends on the totals."""
    if level == "nominal" or level == "ordinal":
        if level == "ordinal" and not ratings.ordered:
            raise ValueError("An ordinal scale of texts needs its categories in order")
        return np.arange(len(ratings.categories), dtype=np.float64)
    values = ratings.values()
    if level == "ratio" and (values < 0).any():
        raise ValueError(f"A ratio scale has no negative values such as {values.min():g}")
    return values


def _metric(a: Floats, b: Floats, level: Level) -> Floats:
    """Squared distance between two categories' positions."""
    squared: Floats = (a - b) ** 2
    if level == "nominal":
        return np.minimum(squared, 1)  # positions are whole numbers
    if level == "ratio":
        np.divide(squared, (a + b) ** 2, out=squared, where=a + b > 0)
    return squared


def _expected(totals: Floats, values: Floats, level: Level) -> float:
    """Distance summed over all ordered pairs of two ratings, each of any item."""
    n = float(totals.sum())
    if level == "nominal":
        return float(n**2 - (totals**2).sum())
    if level != "ratio":
        mean = (totals * values).sum() / n
        return float(2 * n * (totals * (values - mean) ** 2).sum())
    step = max(1, BLOCK // len(values))
    starts = range(0, len(values), step)
    rows: list[Ints] = [np.arange(start, min(start + step, len(values))) for start in starts]
    return float(
        sum(totals[row] @ _metric(values[row, None], values, level) @ totals for row in rows)
    )
