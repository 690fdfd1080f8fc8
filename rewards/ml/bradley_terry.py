"""Bradley-Terry with ties (Davidson) and an effect of the order in which two items are shown.

With d = worth of the first less worth of the second, plus `order_effect`, the chances are

    first better : tie : second better  =  exp(d / 2) : tie_parameter : exp(-d / 2)

Sources: Bradley and Terry 1952, Biometrika 39; Davidson 1970, JASA 65 (ties); Davidson and Beaver
1977, Biometrics 33 (order; their parameter of ties is ours times exp(order_effect / 2)). It is a
multinomial logit, so the log-likelihood is concave and Newton's method finds its one maximum. If
that looks to be infinitely far away, linear programming tells whether it is (Konis 2007, Linear
programming algorithms for detecting separated data in binary logistic regression models).

C is the number of cells (one item shown first, another second), N of items, T of parameters.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import sparse
from scipy.optimize import linprog
from scipy.sparse.linalg import lsqr

from rewards.ml.comparisons import Floats, sum_by
from rewards.ml.outcomes import Outcomes

ROUNDS = 100
FAR = 10.0  # log-odds in a cell; Newton's method stops beyond 20 on its way to infinity

State = Literal[
    "ok",
    "no judgements",
    "only ties",
    "not connected",  # some items are not compared with the others, at whatever remove
    "separated",  # some items always won against the others: their lead could be any
    "order not varied",  # the same differences of worth explain the order effect
]


@dataclass(frozen=True)
class BradleyTerry:
    """Arrays (N,), in the order of `items`; all None unless `state` is "ok".

    Worth is in log-odds, 0 for the first item; `worth_se` is its standard error, that is of the
    difference to the first item. `tie_parameter` is None where nobody said "tie", `order_effect`
    unless it was asked for. `deviance` compares with a model that has each cell's own shares, on
    `df` degrees of freedom.
    """

    state: State
    items: tuple[Any, ...]
    worth: Floats | None
    worth_se: Floats | None
    tie_parameter: float | None
    tie_parameter_se: float | None
    order_effect: float | None
    order_effect_se: float | None
    log_likelihood: float | None
    deviance: float | None
    df: int | None
    n: int  # comparisons


@dataclass(frozen=True)
class _Cells:
    """Counts of the cells, (C,) each, and how their differences follow from the parameters."""

    first: Floats
    tie: Floats
    second: Floats
    design: Any  # sparse (C, T): worths of all items but the first, and the order effect

    @property
    def ties(self) -> bool:
        return bool(self.tie.any())


def bradley_terry(outcomes: Outcomes, order_effect: bool = False) -> BradleyTerry:
    """Fit by maximum likelihood, whoever the annotators are.

    Ties have a parameter of their own as soon as there are any. Memory grows with the square of
    the number of items.
    """
    n = int(outcomes.count.sum())
    cells = _cells(outcomes, order_effect)
    state = _state(outcomes, cells, order_effect)
    if state != "ok":
        return _blank(state, outcomes, n)
    theta, information, value = _newton(cells)
    far = max(np.abs(cells.design @ theta[: cells.design.shape[1]]).max(), abs(theta[-1]))
    if far > FAR and _separated(cells):
        return _blank("separated", outcomes, n)
    variance = np.linalg.inv(information).diagonal()
    errors = np.sqrt(np.maximum(variance, 0.0))
    size = len(outcomes.items)
    nu = math.exp(theta[-1]) if cells.ties else None
    counts = np.stack((cells.first, cells.tie, cells.second))
    shares = counts / counts.sum(axis=0)
    saturated = float((counts * np.log(np.where(counts > 0, shares, 1.0))).sum())
    return BradleyTerry(
        state="ok",
        items=outcomes.items,
        worth=np.concatenate((np.zeros(1), theta[: size - 1])),
        worth_se=np.concatenate((np.zeros(1), errors[: size - 1])),
        tie_parameter=nu,
        tie_parameter_se=None if nu is None else nu * float(errors[-1]),
        order_effect=float(theta[size - 1]) if order_effect else None,
        order_effect_se=float(errors[size - 1]) if order_effect else None,
        log_likelihood=value,
        deviance=2 * (saturated - value),
        df=counts.shape[1] * (2 if cells.ties else 1) - len(theta),
        n=n,
    )


def _cells(outcomes: Outcomes, order_effect: bool) -> _Cells:
    """Without an order effect it does not matter who is first: then it is the lower number."""
    size = max(len(outcomes.items), 1)
    first, second, outcome = outcomes.first, outcomes.second, outcomes.outcome
    if not order_effect:
        swapped = first > second
        first, second = np.where(swapped, second, first), np.where(swapped, first, second)
        outcome = np.where(swapped, -outcome, outcome)
    keys, cell = np.unique(first * size + second, return_inverse=True)
    n_cells = len(keys)
    better, tie, worse = (
        sum_by(cell, outcomes.count * (outcome == value), n_cells) for value in (1, 0, -1)
    )
    rows = np.tile(np.arange(n_cells), 2)
    signs = np.repeat([1.0, -1.0], n_cells)
    columns = np.concatenate((keys // size, keys % size))
    design = sparse.csr_array((signs, (rows, columns)), shape=(n_cells, size))[:, 1:]
    if order_effect:
        design = sparse.hstack((design, sparse.csr_array(np.ones((n_cells, 1)))), format="csr")
    return _Cells(better, tie, worse, design)


def _state(outcomes: Outcomes, cells: _Cells, order_effect: bool) -> State:
    if not len(cells.first):
        return "no judgements"
    if not (cells.first.any() or cells.second.any()):
        return "only ties"
    if outcomes.components().any():
        return "not connected"
    if order_effect and _order_is_explained(cells):
        return "order not varied"
    return "ok"


def _blank(state: State, outcomes: Outcomes, n: int) -> BradleyTerry:
    nothing = (None,) * 9
    return BradleyTerry(state, outcomes.items, *nothing, n)


def _order_is_explained(cells: _Cells) -> bool:
    """Whether some worths make every first item better by the same amount."""
    ones = np.ones(cells.design.shape[0])
    residual = lsqr(cells.design[:, :-1], ones, atol=1e-12, btol=1e-12)[3]
    return bool(residual < 1e-6)


def _separated(cells: _Cells) -> bool:
    """Whether the likelihood has no maximum: some direction in which no outcome that occurred
    becomes less likely than one that could have, and some becomes more so, for ever."""
    half = cells.design / 2
    none = sparse.csr_array((half.shape[0], 1))
    unit = sparse.csr_array(np.ones((half.shape[0], 1)))
    scores = [sparse.hstack((half, none)), sparse.hstack((-half, none))]
    occurred = [cells.first > 0, cells.second > 0]
    if cells.ties:
        scores.append(sparse.hstack((0 * half, unit)))
        occurred.append(cells.tie > 0)
    rows = sparse.vstack(
        [
            (own.tocsr() - other.tocsr())[seen]
            for own, seen in zip(scores, occurred, strict=True)
            for other in scores
            if other is not own and seen.any()
        ]
    )
    gain = np.asarray(rows.sum(axis=0)).ravel()
    found = linprog(-gain, A_ub=-rows, b_ub=np.zeros(rows.shape[0]), bounds=(-1, 1), method="highs")
    return bool(-found.fun > 1e-6)


def _newton(cells: _Cells) -> tuple[Floats, Floats, float]:
    """The maximum: parameters (T,), the information there (T, T), and the log-likelihood."""
    theta = np.zeros(cells.design.shape[1] + cells.ties)
    value, gradient, information = log_likelihood(theta, cells)
    for _ in range(ROUNDS):
        # Damped a little, or it would be singular on the way to infinity; the maximum is the same.
        damping = 1e-10 * information.diagonal().max() * np.eye(len(theta))
        step = np.linalg.solve(information + damping, gradient)
        size = 1.0
        while size > 1e-9:  # a full step may overshoot far from the maximum
            found = log_likelihood(theta + size * step, cells)
            if found[0] >= value:
                break
            size /= 2
        if gradient @ step < 1e-12 or size <= 1e-9:
            break
        theta = theta + size * step
        value, gradient, information = found
    return theta, information, value


def log_likelihood(theta: Floats, cells: _Cells) -> tuple[float, Floats, Floats]:
    """The log-likelihood, its gradient (T,) and the information (T, T): minus its curvature."""
    size = cells.design.shape[1]
    d = cells.design @ theta[:size]
    scores = np.stack((d / 2, np.full_like(d, theta[-1] if cells.ties else -np.inf), -d / 2))
    total = np.logaddexp.reduce(scores, axis=0)
    p = np.exp(scores - total)
    n = cells.first + cells.tie + cells.second
    value = float((cells.first * scores[0] + cells.second * scores[2] - n * total).sum())
    lead = (p[0] - p[2]) / 2  # expected value of ±1/2
    along = cells.design.T @ ((cells.first - cells.second) / 2 - n * lead)
    curvature = n * ((p[0] + p[2]) * p[1] / 4 + p[0] * p[2])  # variance, without cancellation
    information = (cells.design.T @ (cells.design * curvature[:, None])).toarray()
    if not cells.ties:
        return value, along, information
    value += float(cells.tie.sum() * theta[-1])
    cross = cells.design.T @ (-n * lead * p[1])
    own = (n * p[1] * (p[0] + p[2])).sum()
    gradient = np.append(along, (cells.tie - n * p[1]).sum())
    return value, gradient, np.block([[information, cross[:, None]], [cross[None, :], own]])
