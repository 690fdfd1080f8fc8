"""Outcomes of comparing two responses at a time: what the Bradley-Terry models are fitted to.

C is the number of distinct outcomes (annotator, first, second, outcome), N of responses, which are
called items here since they may as well be models or journals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from rewards.ml.columns import Column, encode
from rewards.ml.comparisons import Floats, Ints, PromptRankings, tabulate


@dataclass(frozen=True)
class Outcomes:
    """Columns (C,): annotator compared `first`, shown first (or left), with `second`."""

    items: tuple[Any, ...]
    annotators: tuple[Any, ...]
    annotator: Ints
    first: Ints
    second: Ints
    outcome: Ints  # 1: the first is better, 0: a tie, -1: the second is better
    count: Floats  # how often

    def components(self) -> Ints:
        """(N,) number of the group of items that are compared with each other, at whatever
        remove; between groups nothing is known."""
        size = len(self.items)
        links = sparse.coo_array((self.count, (self.first, self.second)), shape=(size, size))
        _, groups = connected_components(links, directed=False)
        return np.asarray(groups, dtype=np.int64)


def outcomes(
    first: Column,
    second: Column,
    outcome: Sequence[int] | NDArray[Any],
    annotator: Column | None = None,
    count: Sequence[float] | NDArray[Any] | None = None,
) -> Outcomes:
    """From columns of equal length; `outcome` is 1, 0 (a tie) or -1 as the first is better or not.

    Items and annotators are sorted by name. Raises ValueError for columns of unequal length, other
    outcomes, an item compared with itself and counts below 0.
    """
    n = len(first)
    annotator = np.zeros(n, dtype=np.int64) if annotator is None else annotator
    counts = np.ones(n) if count is None else np.asarray(count, dtype=np.float64)
    if not n == len(second) == len(outcome) == len(annotator) == len(counts):
        lengths = [n, len(second), len(outcome), len(annotator), len(counts)]
        raise ValueError(f"Columns of unequal length: {lengths}")
    names, codes = encode(_both(first, second))
    people, who = encode(annotator)
    return _collect(names, people, who, codes[:n], codes[n:], outcome, counts)


def outcomes_of_wins(
    wins: Sequence[Sequence[float]] | NDArray[Any],
    ties: Sequence[Sequence[float]] | NDArray[Any] | None = None,
    items: Sequence[Any] | None = None,
) -> Outcomes:
    """From a square table: how often the item of the row beat that of the column.

    `ties[i][j]` counts the ties of items i and j, in either triangle or split over both. The
    order in which they met is not known, so an order effect cannot be fitted to these. Raises
    ValueError for tables of another shape, counts below 0 or not finite, and wins over oneself.
    """
    won = np.array(wins, dtype=np.float64)
    won = won.reshape(0, 0) if not won.size else won
    tied = np.zeros_like(won) if ties is None else np.array(ties, dtype=np.float64)
    tied = tied.reshape(0, 0) if not tied.size else tied
    size = len(won)
    if won.shape != (size, size) or tied.shape != won.shape:
        raise ValueError(f"Wins of shape {won.shape}, ties {tied.shape}: they are square and alike")
    names = tuple(range(size)) if items is None else tuple(items)
    if len(names) != size:
        raise ValueError(f"{len(names)} items, but a table of {size}")
    row, column = np.nonzero(won)
    row_tied, column_tied = np.nonzero(tied)
    outcome = np.concatenate((np.ones(len(row)), np.zeros(len(row_tied))))
    return _collect(
        names,
        (0,),
        np.zeros(len(outcome), dtype=np.int64),
        np.concatenate((row, row_tied)),
        np.concatenate((column, column_tied)),
        outcome,
        np.concatenate((won[row, column], tied[row_tied, column_tied])),
    )


def outcomes_of_rankings(prompts: Sequence[PromptRankings]) -> Outcomes:
    """Every pair of responses inside each ranking; the one that is named earlier was shown first.

    A ranking's keys are in the order in which the responses were shown. Items are (index of the
    prompt, response).
    """
    table = tabulate(prompts)
    items: dict[tuple[int, str], int] = {}
    for index, prompt in enumerate(prompts):
        for said in prompt.values():
            for ranking in (said,) if isinstance(said, Mapping) else said:
                for response, rank in ranking.items():
                    if rank is not None:
                        items.setdefault((index, response), len(items))
    # The table numbers responses within each prompt as they are met, and so do the items.
    sizes = np.bincount([index for index, _ in items], minlength=len(prompts)).astype(np.int64)
    starts = np.cumsum(sizes) - sizes
    parts: list[tuple[Ints, Ints, Ints, Ints]] = []
    for rows, places, ranks in table.by_size():
        left, right = np.triu_indices(places.shape[1], 1)
        entries = starts[table.row_prompt[rows], None] + places
        better = np.sign(ranks[:, right] - ranks[:, left]).ravel().astype(np.int64)
        who = np.repeat(table.row_annotator[rows], len(left))
        parts.append((who, entries[:, left].ravel(), entries[:, right].ravel(), better))
    empty = np.zeros(0, dtype=np.int64)
    columns = zip(*parts, strict=True) if parts else ()
    who, first, second, outcome = [np.concatenate(part) for part in columns] or [empty] * 4
    return _collect(tuple(items), table.annotators, who, first, second, outcome, np.ones(len(who)))


def _collect(
    items: tuple[Any, ...],
    annotators: tuple[Any, ...],
    annotator: Ints,
    first: Ints,
    second: Ints,
    outcome: Sequence[int] | NDArray[Any],
    count: Floats,
) -> Outcomes:
    """Checked, and equal outcomes counted together."""
    said = np.asarray(outcome, dtype=np.float64)
    for what, wrong in (
        ("the outcome is not 1, 0 or -1", ~np.isin(said, (-1, 0, 1))),
        ("an item is compared with itself", first == second),
        ("the count is not a number from 0 up", ~((count >= 0) & np.isfinite(count))),
    ):
        if wrong.any():
            raise ValueError(f"Comparison {int(wrong.argmax())}: {what}")
    shape = (max(len(annotators), 1), max(len(items), 1), max(len(items), 1), 3)
    kept = count > 0
    columns = (annotator[kept], first[kept], second[kept], said[kept].astype(np.int64) + 1)
    keys, group = np.unique(np.ravel_multi_index(columns, shape), return_inverse=True)
    who, one, two, better = (x.astype(np.int64) for x in np.unravel_index(keys, shape))
    total = np.bincount(group, count[kept], len(keys)).astype(np.float64)
    return Outcomes(items, annotators, who, one, two, better - 1, total)


def _both(first: Column, second: Column) -> Column:
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return np.concatenate((first, second))
    return [*first, *second]
