"""Every two annotators on what both judged: how far they agree, and in which order to show them.

A is the number of annotators, E of entries: two annotators on one prompt. Of two people who judge a
pair of responses each agreement counts 1, each contradiction -1, a tie of one of them 0; alpha of
the two is corrected for chance as alpha_sym is.
"""

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from rewards.ml.alpha import alpha_sym
from rewards.ml.comparisons import Comparisons, Floats, Ints, sum_by
from rewards.ml.concordance import blocks, together

LEAST_SHARED = 10  # prompts that two people both judged, before their agreement is shown


@dataclass(frozen=True)
class PairColumns:
    """Columns (E,): what annotators `one` and `two` said of `prompt`.

    `units` counts the pairs of responses both judged, `disagreement` sums 1 for each contradiction
    and a half for a tie against a win, `ties` the share of ties among what the two said.
    """

    prompt: Ints
    one: Ints
    two: Ints
    units: Floats
    disagreement: Floats
    ties: Floats


@dataclass(frozen=True)
class AgreementMatrix:
    """(A, A) each: alpha of every two annotators, NaN where they share too few prompts or tie all,
    and the number of prompts that both judged. `order` (A,) puts alike people side by side."""

    alpha: Floats
    n_prompts: Ints
    order: Ints


def pair_columns(comparisons: Comparisons) -> PairColumns:
    """One entry for every prompt and two of its annotators who judged a pair both."""
    people = max(len(comparisons.annotators), 1)
    keys = [np.zeros(0, dtype=np.int64)]
    sums = [np.zeros((0, 3))]
    for start, stop in blocks(comparisons):
        value = comparisons.value[start:stop]
        i, j = together(comparisons.unit[start:stop])
        a, b = comparisons.annotator[start:stop][i], comparisons.annotator[start:stop][j]
        low, high = np.minimum(a, b), np.maximum(a, b)
        key = (comparisons.prompt[start:stop][i] * people + low) * people + high
        unique, group = np.unique(key, return_inverse=True)
        columns = (
            np.ones(len(i)),
            np.abs(value[i] - value[j]) / 2,
            ((value[i] == 0).astype(np.float64) + (value[j] == 0)) / 2,
        )
        keys.append(unique)
        sums.append(np.stack([np.bincount(group, x, len(unique)) for x in columns], axis=1))
    key, total = np.concatenate(keys), np.concatenate(sums)
    return PairColumns(
        key // people**2,
        key // people % people,
        key % people,
        total[:, 0],
        total[:, 1],
        total[:, 2],
    )


def agreement_matrix(comparisons: Comparisons, least: int = LEAST_SHARED) -> AgreementMatrix:
    """Alpha of every two annotators who share at least that many prompts."""
    people = len(comparisons.annotators)
    columns = pair_columns(comparisons)
    units, disagreement, ties, shared = (
        square_sums(columns, x, people)
        for x in (columns.units, columns.disagreement, columns.ties, np.ones(len(columns.prompt)))
    )
    alpha = alpha_sym(2 * units, 2 * disagreement, 2 * ties)
    alpha[shared < least] = np.nan
    return AgreementMatrix(alpha, shared.astype(np.int64), _side_by_side(alpha))


def square_sums(columns: PairColumns, values: Floats, people: int) -> Floats:
    """(A, A) the sums of the values (E,) of every two annotators, symmetric."""
    half = sum_by(columns.one * people + columns.two, values, people**2).reshape(people, people)
    return half + half.T


def _side_by_side(alpha: Floats) -> Ints:
    """An order in which people who agree stand together: the leaves of average-linkage clusters.

    Where two share too little, they count as agreeing as two people mostly do here.
    """
    people = len(alpha)
    if people < 3:
        return np.arange(people)
    known = alpha[np.isfinite(alpha)]
    filled = np.where(np.isfinite(alpha), alpha, known.mean() if len(known) else 0.0)
    distance = 1 - filled
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=people <= 200)
    return np.asarray(leaves_list(tree), dtype=np.int64)
