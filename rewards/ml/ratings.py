"""Ratings of items on a scale, counted, and what every coefficient of agreement on them returns.

One form for all that is rated item by item (criteria, labels, Likert scales): how many annotators
put which item into which category. Krippendorff's alpha, Fleiss' kappa and Gwet's coefficients
need no more than that.

N is the number of entries, I of items, V of categories.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rewards.ml.columns import rows_of
from rewards.ml.comparisons import Floats, Ints

State = Literal[
    "ok",
    "no judgements",
    "one annotator",
    "not enough overlap",  # no item was rated twice
    "one category",  # all ratings that count are equal: nothing could have disagreed
    "unequal numbers",  # of ratings an item, where a coefficient needs equally many
]


@dataclass(frozen=True)
class Ratings:
    """How often each item was put into each category; entries (N,) with count at least 1."""

    n_items: int
    categories: tuple[Any, ...]  # ascending, or in the order that was given
    ordered: bool  # whether that order means anything: numbers, or categories that were given
    n_annotators: int | None  # with at least one rating; None where only counts are known
    item: Ints
    category: Ints
    count: Ints

    def per_item(self) -> Ints:
        """(I,) ratings of each item."""
        return np.bincount(self.item, self.count, self.n_items).astype(np.int64)

    def table(self) -> Floats:
        """(I, V) counts."""
        counts = np.zeros((self.n_items, len(self.categories)))
        counts[self.item, self.category] = self.count
        return counts

    def values(self) -> Floats:
        """(V,) categories as numbers. Raises ValueError if they are not numbers."""
        try:
            return np.array(self.categories, dtype=np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"The categories {self.categories} are not all numbers") from None

    def blank(self) -> State:
        """Why there is nothing to compute; "ok" if some item was rated at least twice."""
        if not len(self.item):
            return "no judgements"
        if self.n_annotators == 1:
            return "one annotator"
        return "ok" if (self.per_item() >= 2).any() else "not enough overlap"


@dataclass(frozen=True)
class Coefficient:
    """A coefficient of agreement. Unless `state` is "ok", `value` and its interval are None.

    `observed` and `expected` are what it is made of: agreement for kappa and Gwet's, where
    value = (observed - expected) / (1 - expected); disagreement for Krippendorff's alpha, where
    value = 1 - observed / expected. They stand wherever they are defined. `se`, `low` and `high`
    are None where the coefficient has none.
    """

    state: State
    value: float | None
    observed: float | None
    expected: float | None
    se: float | None
    low: float | None  # 95 % interval
    high: float | None
    n_items: int  # rated at least twice
    n_ratings: int  # of those items


def blank(state: State, n_items: int = 0, n_ratings: int = 0) -> Coefficient:
    return Coefficient(state, None, None, None, None, None, None, n_items, n_ratings)


def from_ratings(
    data: Sequence[Sequence[Any]] | NDArray[Any], categories: Sequence[Any] | None = None
) -> Ratings:
    """From a matrix of annotators (rows) by items (columns); None or NaN where not rated.

    `categories` is the whole scale in its order, for when not all of it was used. Raises
    ValueError for rows of unequal length, infinite ratings and ratings outside the scale.
    """
    rows = rows_of(data, "Annotators by items")
    n_items = len(rows[0]) if rows else 0
    cells = np.empty((len(rows), n_items), dtype=object)
    cells[:] = rows
    given = (cells != None) & (cells == cells)  # noqa: E711 (by element); NaN differs from itself
    annotator, item = np.nonzero(given)
    labels = cells[given]
    _refuse_infinite(labels, annotator, item)
    scale, codes = _codes(labels, categories)
    keys, count = np.unique(item * max(len(scale), 1) + codes, return_counts=True)
    return Ratings(
        n_items=n_items,
        categories=scale,
        ordered=categories is not None or not any(isinstance(label, str) for label in scale),
        n_annotators=len(np.unique(annotator)),
        item=keys // max(len(scale), 1),
        category=keys % max(len(scale), 1),
        count=count,
    )


def from_counts(
    table: Sequence[Sequence[int]] | NDArray[Any], categories: Sequence[Any] | None = None
) -> Ratings:
    """From a table of items (rows) by categories (columns): how many annotators said so.

    Categories are numbered from 1 unless they are given. Raises ValueError for a table that is
    not one, or counts that are not whole numbers from 0 up.
    """
    counts = _count_table(table, "Items by categories")
    scale = tuple(range(1, counts.shape[1] + 1)) if categories is None else tuple(categories)
    if len(scale) != counts.shape[1]:
        raise ValueError(f"{counts.shape[1]} columns, but {len(scale)} categories")
    item, category = np.nonzero(counts)
    return Ratings(len(counts), scale, True, None, item, category, counts[item, category])


def from_cross_table(table: Sequence[Sequence[int]] | NDArray[Any]) -> Ratings:
    """From two annotators' table: how many items one put into the row's category, the other into
    the column's. Categories are numbered from 1. Raises ValueError unless the table is square.
    """
    counts = square_table(table)
    size = len(counts)
    row, column = np.divmod(np.repeat(np.arange(size**2), counts.ravel()), max(size, 1))
    return from_ratings(np.stack((row, column)) + 1, categories=range(1, size + 1))


def square_table(table: Sequence[Sequence[int]] | NDArray[Any]) -> Ints:
    """Two annotators' table as an array. Raises ValueError unless it is square."""
    counts = _count_table(table, "Categories by categories")
    if not counts.size:
        return np.zeros((0, 0), dtype=np.int64)
    if counts.shape[0] != counts.shape[1]:
        raise ValueError(f"Two annotators' table has shape {counts.shape}, which is not square")
    return counts


def percent_agreement(ratings: Ratings) -> Coefficient:
    """Share of pairs of ratings of one item that are equal; each pair counts once.

    Not corrected for chance. `expected` and the interval are None.
    """
    counted, m = _counted(ratings)
    state = ratings.blank()
    if state != "ok":
        return blank(state)
    pairs = (m * (m - 1)).sum()
    equal = (ratings.count * (ratings.count - 1)).sum()
    value = float(equal / pairs)
    return Coefficient("ok", value, value, None, None, None, None, int(counted), int(m.sum()))


def _counted(ratings: Ratings) -> tuple[int, Ints]:
    m = ratings.per_item()
    m = m[m >= 2]
    return len(m), m


def _refuse_infinite(labels: NDArray[Any], annotator: Ints, item: Ints) -> None:
    for place, label in enumerate(labels):
        if isinstance(label, float | np.floating) and np.isinf(label):
            raise ValueError(f"Annotator {annotator[place]} rated item {item[place]} {label}")


def _codes(labels: NDArray[Any], categories: Sequence[Any] | None) -> tuple[tuple[Any, ...], Ints]:
    """The scale, and for each label its place in it."""
    if categories is None:
        try:
            scale = tuple(sorted(set(labels.tolist())))
        except TypeError:
            raise ValueError("Ratings are numbers or texts, not both") from None
    else:
        scale = tuple(categories)
    places = {label: place for place, label in enumerate(scale)}
    if len(places) != len(scale):
        raise ValueError(f"A category is named twice: {scale}")
    try:
        codes = [places[label] for label in labels]
    except KeyError as missing:
        raise ValueError(f"The rating {missing} is not on the scale {scale}") from None
    return scale, np.array(codes, dtype=np.int64)


def _count_table(table: Sequence[Sequence[int]] | NDArray[Any], what: str) -> Ints:
    rows = table if isinstance(table, np.ndarray) and table.ndim == 2 else rows_of(table, what)
    counts = np.array(rows, dtype=np.float64)
    if not counts.size:
        return np.zeros((len(table), 0), dtype=np.int64)
    wrong = np.argwhere(~((counts >= 0) & (counts == np.floor(counts)) & np.isfinite(counts)))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(f"Row {row}, column {column}: {counts[row, column]} is not a count")
    return counts.astype(np.int64)
