"""Kendall's rank correlation tau-b of two rankings, and his concordance W of several.

Sources: Kendall 1945, Biometrika 33 (tau-b); Kendall and Babington Smith 1939, Ann Math Stat 10
(W), corrected for ties as in Kendall 1945. tau-b is SciPy's.

m is the number of annotators, n of responses.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, kendalltau, rankdata

from rewards.ml.columns import rows_of
from rewards.ml.comparisons import Floats

State = Literal[
    "ok",
    "no judgements",
    "one annotator",
    "one response",
    "not enough overlap",  # two annotators share fewer than two responses
    "missing ranks",
    "only ties",
]


@dataclass(frozen=True)
class Tau:
    """tau-b with its two-sided p-value against no correlation; None unless `state` is "ok".

    `n` is the number of responses that both ranked.
    """

    state: State
    value: float | None
    p: float | None
    n: int


@dataclass(frozen=True)
class Concordance:
    """Kendall's W and what it rests on; all None unless `state` is "ok".

    `chi2` and `p` test against rankings at random (Friedman's test), `s` is the sum of squared
    deviations of the responses' rank sums. `m` annotators ranked `n` responses.
    """

    state: State
    value: float | None  # corrected for ties
    uncorrected: float | None
    s: float | None
    chi2: float | None
    df: int | None
    p: float | None
    m: int
    n: int


def kendall_tau_b(x: Sequence[float | None], y: Sequence[float | None]) -> Tau:
    """tau-b of the ranks (or scores) that two annotators gave the same responses.

    Entry i of both is about response i; None or NaN where it was not ranked, and such responses
    are left out. "only ties" where one of them ties everything. These are ranks, not lists of
    responses in order: for those there is `kendall_tau_b_of_orders`. Raises ValueError for lists
    of unequal length.
    """
    if len(x) != len(y):
        raise ValueError(f"One ranks {len(x)} responses, the other {len(y)}")
    a, b = np.array(x, dtype=np.float64), np.array(y, dtype=np.float64)
    both = ~(np.isnan(a) | np.isnan(b))
    a, b, n = a[both], b[both], int(both.sum())
    if n < 2:
        return Tau("not enough overlap" if len(x) else "no judgements", None, None, n)
    if (a == a[0]).all() or (b == b[0]).all():
        return Tau("only ties", None, None, n)
    found = kendalltau(a, b)
    return Tau("ok", float(found.statistic), float(found.pvalue), n)


def kendall_tau_b_of_orders(a: Sequence[Hashable], b: Sequence[Hashable]) -> Tau:
    """tau-b of two orders, each a list of responses with the best first.

    Responses that only one of them names are left out. Raises ValueError for one named twice.
    """
    for order in (a, b):
        if len(set(order)) < len(order):
            raise ValueError(f"A response is named twice in {list(order)}")
    places = {response: place for place, response in enumerate(b)}
    return kendall_tau_b(range(len(a)), [places.get(response) for response in a])


def kendall_w(ranks: Sequence[Sequence[float | None]] | NDArray[Any]) -> Concordance:
    """W of annotators (rows) who ranked the same responses (columns).

    Scores do as well as ranks: each row is turned into ranks, ties getting their mean rank.
    Who ranked nothing, and what nobody ranked, does not count; "missing ranks" if anyone else left
    a response out. Raises ValueError for rows of unequal length.
    """
    rows = rows_of(ranks, "Annotators by responses")
    scores: Floats = np.array(rows, dtype=np.float64).reshape(len(rows), -1 if rows else 0)
    missing = np.isnan(scores)
    scores = scores[~missing.all(axis=1)][:, ~missing.all(axis=0)]
    m, n = scores.shape
    state: State = "ok"
    if not scores.size:
        state = "no judgements"
    elif m == 1:
        state = "one annotator"
    elif n == 1:
        state = "one response"
    elif np.isnan(scores).any():
        state = "missing ranks"
    elif (scores == scores[:, :1]).all():
        state = "only ties"
    if state != "ok":
        return Concordance(state, None, None, None, None, None, None, m, n)
    s = float(((rankdata(scores, axis=1).sum(axis=0) - m * (n + 1) / 2) ** 2).sum())
    alike = [np.unique(row, return_counts=True)[1] for row in scores]  # sizes of groups of ties
    ties = sum(int((sizes**3 - sizes).sum()) for sizes in alike)
    full = m**2 * (n**3 - n)
    value = 12 * s / (full - m * ties)
    statistic = m * (n - 1) * value
    p = float(chi2.sf(statistic, n - 1))
    return Concordance("ok", value, 12 * s / full, s, statistic, n - 1, p, m, n)
