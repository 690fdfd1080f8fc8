"""Rankings as one table of pairwise comparisons, which agreement and reliability are computed on.

P is the number of prompts, C of comparisons (one annotator on one pair of responses), U of units
(one pair of responses of one prompt, judged by any number of annotators), A of annotators,
R of single rankings.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# What one annotator said about one prompt: rank by response id, 1 the best, equal ranks a tie,
# None (or absent) for a response that was not ranked. Who judged a prompt in several parts, pair
# by pair for example, has a list of such rankings.
Ranking = Mapping[str, int | None]
PromptRankings = Mapping[str, Ranking | Sequence[Ranking]]


@dataclass(frozen=True)
class Comparisons:
    """The table, sorted by unit and then by annotator; arrays of shape (C,) unless marked.

    An annotator counts once in a unit: if several of his rankings hold the same pair, the first
    one stands.
    """

    n_prompts: int
    annotators: tuple[str, ...]
    prompt: Ints  # index of the prompt in the order given
    unit: Ints  # 0 … U-1, ascending
    annotator: Ints  # index into `annotators`
    value: Ints  # 1: the first response of the unit is better, -1: worse, 0: tie

    @property
    def unit_prompt(self) -> Ints:
        """(U,) the prompt of each unit."""
        starts = np.flatnonzero(np.diff(self.unit, prepend=-1))
        return self.prompt[starts]

    def unit_counts(self) -> tuple[Ints, Ints, Ints]:
        """(U,) each: how many said better, worse, tie."""
        n_units = int(self.unit[-1]) + 1 if len(self.unit) else 0
        better, worse, tie = (
            np.bincount(self.unit[self.value == value], minlength=n_units) for value in (1, -1, 0)
        )
        return better, worse, tie


@dataclass(frozen=True)
class RankingTable:
    """Every single ranking, flattened: one entry for each response that it ranks.

    Arrays have one entry a ranked response, (E,); `row_*` one a ranking, (R,).
    """

    n_prompts: int
    annotators: tuple[str, ...]
    row: Ints  # which ranking
    place: Ints  # which response of the prompt, numbered as first met
    rank: Floats
    row_prompt: Ints
    row_annotator: Ints

    def by_size(self) -> Iterator[tuple[Ints, Ints, Floats]]:
        """Rankings of equally many responses together: rows (n,), places and ranks (n, size)."""
        sizes = np.bincount(self.row, minlength=len(self.row_prompt))
        starts = np.cumsum(sizes) - sizes
        for size in np.unique(sizes[sizes >= 2]):
            rows = np.flatnonzero(sizes == size)
            entries = starts[rows, None] + np.arange(size)
            yield rows, self.place[entries], self.rank[entries]


def sum_by(index: Ints, values: Floats | Ints, size: int) -> Floats:
    """(size,) the sum of the values that fall to each index."""
    return np.bincount(index, values, size).astype(np.float64, copy=False)


def tabulate(prompts: Iterable[PromptRankings]) -> RankingTable:
    """Flatten rankings, in the order given."""
    people: dict[str, int] = {}
    row: list[int] = []
    place: list[int] = []
    rank: list[int] = []
    row_prompt: list[int] = []
    row_annotator: list[int] = []
    n_prompts = 0
    for prompt in prompts:
        places: dict[str, int] = {}
        for annotator, said in prompt.items():
            person = people.setdefault(annotator, len(people))
            for ranking in (said,) if isinstance(said, Mapping) else said:
                for response, value in ranking.items():
                    if value is not None:
                        row.append(len(row_prompt))
                        place.append(places.setdefault(response, len(places)))
                        rank.append(value)
                row_prompt.append(n_prompts)
                row_annotator.append(person)
        n_prompts += 1
    return RankingTable(
        n_prompts=n_prompts,
        annotators=tuple(people),
        row=np.array(row, dtype=np.int64),
        place=np.array(place, dtype=np.int64),
        rank=np.array(rank, dtype=np.float64),
        row_prompt=np.array(row_prompt, dtype=np.int64),
        row_annotator=np.array(row_annotator, dtype=np.int64),
    )


def compare(table: RankingTable) -> Comparisons:
    """Expand each ranking into its pairs of responses."""
    row, low, high, value = _pairs(table)
    span = int(table.place.max(initial=0)) + 1
    key = (table.row_prompt[row] * span + low) * span + high
    # By unit, annotator and ranking; of one annotator's comparisons in a unit the first is kept.
    order = np.lexsort((row, table.row_annotator[row], key))
    key, row, value = key[order], row[order], value[order]
    annotator = table.row_annotator[row]
    first = np.ones(len(key), dtype=bool)
    first[1:] = (np.diff(key) != 0) | (np.diff(annotator) != 0)
    key, row, value, annotator = key[first], row[first], value[first], annotator[first]
    return Comparisons(
        n_prompts=table.n_prompts,
        annotators=table.annotators,
        prompt=table.row_prompt[row],
        unit=np.cumsum(np.diff(key, prepend=key[:1]) != 0),
        annotator=annotator,
        value=value,
    )


def _pairs(table: RankingTable) -> tuple[Ints, Ints, Ints, Ints]:
    """Every pair of responses inside each ranking: its row, its two places in ascending order, and
    1, 0 or -1 for the lower place better, tied or worse."""
    parts: list[tuple[Ints, Ints, Ints, Ints]] = []
    for rows, places, ranks in table.by_size():
        left, right = np.triu_indices(places.shape[1], 1)
        a, b = places[:, left].ravel(), places[:, right].ravel()
        better = np.sign(ranks[:, right] - ranks[:, left]).ravel().astype(np.int64)
        better[a > b] *= -1
        parts.append((np.repeat(rows, len(left)), np.minimum(a, b), np.maximum(a, b), better))
    if not parts:
        empty = np.zeros(0, dtype=np.int64)
        return empty, empty, empty, empty
    row, low, high, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    return row, low, high, value
