"""Columns of names as numbers, and tables as rows: what is malformed is refused here."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewards.ml.comparisons import Ints

Column = Sequence[Hashable] | NDArray[Any]


def encode(column: Column) -> tuple[tuple[Any, ...], Ints]:
    """The distinct names, sorted if they can be, and for each entry the place of its name.

    Raises ValueError for a column with None or NaN in it.
    """
    if isinstance(column, np.ndarray) and column.dtype != object:
        unique, codes = np.unique(column, return_inverse=True)
        _refuse_missing(unique.tolist())
        return tuple(unique.tolist()), codes.astype(np.int64)
    distinct = dict.fromkeys(column)
    _refuse_missing(distinct)
    try:
        names = tuple(sorted(distinct))  # type: ignore[type-var]
    except TypeError:
        names = tuple(distinct)
    places = {name: place for place, name in enumerate(names)}
    return names, np.array([places[name] for name in column], dtype=np.int64)


def rows_of(table: Any, what: str) -> list[list[Any]]:
    """A table as a list of rows. Raises ValueError unless it is one with rows of equal length."""
    rows = []
    for number, row in enumerate(table):
        if not isinstance(row, Sequence | np.ndarray) or isinstance(row, str):
            raise ValueError(f"{what}: row {number} is {row!r}, not a list")
        rows.append(row.tolist() if isinstance(row, np.ndarray) else list(row))
        if len(rows[-1]) != len(rows[0]):
            raise ValueError(
                f"{what}: row {number} has {len(rows[-1])} entries, row 0 has {len(rows[0])}"
            )
    return rows


def _refuse_missing(names: Iterable[Any]) -> None:
    for name in names:
        if name is None or name != name:  # NaN differs from itself
            raise ValueError(f"A column holds {name}: leave such entries out")
