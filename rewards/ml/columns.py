"""Names in a column, as numbers."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewards.ml.comparisons import Ints

Column = Sequence[Hashable] | NDArray[Any]


def encode(column: Column) -> tuple[tuple[Any, ...], Ints]:
    """The distinct names, sorted if they can be, and for each entry the place of its name."""
    if isinstance(column, np.ndarray) and column.dtype != object:
        unique, codes = np.unique(column, return_inverse=True)
        return tuple(unique.tolist()), codes.astype(np.int64)
    distinct = dict.fromkeys(column)
    try:
        names = tuple(sorted(distinct))  # type: ignore[type-var]
    except TypeError:
        names = tuple(distinct)
    places = {name: place for place, name in enumerate(names)}
    return names, np.array([places[name] for name in column], dtype=np.int64)
