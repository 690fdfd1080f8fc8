"""Two views of agreement that need whole rankings: the same best response, and Kendall's tau-b.

P is the number of prompts. Both return sums over pairs of annotators, per prompt, so that they can
be added up over any choice of prompts.
"""

from collections.abc import Iterator

import numpy as np

from rewards.ml.comparisons import Comparisons, Floats, Ints, RankingTable

BLOCK = 2_000_000  # comparisons of two annotators held in memory at a time


def top_agreement(table: RankingTable) -> tuple[Floats, Floats, Floats]:
    """How often two annotators who ranked the same responses put the same one first.

    Returns (P,) each: the expected number of agreeing pairs of annotators when ties for the first
    place are broken at random, the number of pairs, and the number expected by chance (1 over the
    number of responses, for each pair). An annotator counts once for the same set of responses.
    """
    agreeing, compared, chance = (np.zeros(table.n_prompts) for _ in range(3))
    for rows, places, ranks in table.by_size():
        size = places.shape[1]
        order = np.argsort(places, axis=1)
        places = np.take_along_axis(places, order, axis=1)
        ranks = np.take_along_axis(ranks, order, axis=1)
        prompt, annotator = table.row_prompt[rows], table.row_annotator[rows]
        sets, group = np.unique(np.column_stack((prompt, places)), axis=0, return_inverse=True)
        _, kept = np.unique(np.column_stack((group, annotator)), axis=0, return_index=True)
        best = ranks[kept] == ranks[kept].min(axis=1, keepdims=True)
        share = best / best.sum(axis=1, keepdims=True)  # (rankings, size)
        total = np.zeros((len(sets), size))
        np.add.at(total, group[kept], share)
        own = np.bincount(group[kept], (share**2).sum(axis=1))
        people = np.bincount(group[kept])
        pairs = people * (people - 1) / 2
        np.add.at(agreeing, sets[:, 0], ((total**2).sum(axis=1) - own) / 2)
        np.add.at(compared, sets[:, 0], pairs)
        np.add.at(chance, sets[:, 0], pairs / size)
    return agreeing, compared, chance


def tau_b(comparisons: Comparisons) -> tuple[Floats, Floats]:
    """Kendall's tau-b of every two annotators of a prompt, on the pairs that both judged.

    Returns (P,) each: the sum of tau-b, and over how many pairs of annotators; one who ties
    everything has no tau-b and is left out. Source: Kendall 1945.
    """
    total, count = np.zeros(comparisons.n_prompts), np.zeros(comparisons.n_prompts)
    for start, stop in blocks(comparisons):
        i, j = together(comparisons.unit[start:stop])
        one, two = comparisons.value[start:stop][i], comparisons.value[start:stop][j]
        a, b = comparisons.annotator[start:stop][i], comparisons.annotator[start:stop][j]
        prompt = comparisons.prompt[start:stop][i]
        people = len(comparisons.annotators)
        keys, pair = np.unique((prompt * people + a) * people + b, return_inverse=True)
        norm = np.sqrt(np.bincount(pair, one != 0) * np.bincount(pair, two != 0))
        score = np.bincount(pair, one * two)
        defined = norm > 0
        where = keys[defined] // people**2
        np.add.at(total, where, score[defined] / norm[defined])
        np.add.at(count, where, 1)
    return total, count


def together(unit: Ints) -> tuple[Ints, Ints]:
    """Indices i < j of every two entries with the same unit; `unit` is ascending."""
    left, right = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    step = 1
    while step < len(unit):
        i = np.flatnonzero(unit[step:] == unit[:-step])
        if not len(i):
            break
        left.append(i)
        right.append(i + step)
        step += 1
    return np.concatenate(left), np.concatenate(right)


def blocks(comparisons: Comparisons) -> Iterator[tuple[int, int]]:
    """Slices of whole prompts, each with about BLOCK comparisons of two annotators."""
    if not len(comparisons.unit):
        return
    people = np.bincount(comparisons.unit)
    work = np.bincount(comparisons.unit_prompt, people * (people - 1) / 2)  # by prompt
    block = (np.cumsum(work) // BLOCK)[comparisons.prompt]
    edges = np.flatnonzero(np.diff(block)) + 1
    bounds = [0, *edges.tolist(), len(block)]
    yield from zip(bounds[:-1], bounds[1:], strict=True)
