"""Bradley-Terry from annotators who do not always look, and then may have a habit of position.

With probability attention_a annotator a compares the two responses, and else picks by where they
stand: the first with probability first_a, whatever they say:

    P(first is better) = attention_a σ(s_first - s_second) + (1 - attention_a) first_a

Source: Chen et al. 2013, Pairwise ranking aggregation in a crowdsourced setting, and the model of
random answers in Crowd-Kit's NoisyBradleyTerry, whose gradient is wrong as of 1.4.2. A normal prior
on scores, a Beta prior on attention and a normal prior on the log-odds of first_a keep people with
little data near the ordinary, and scores finite where someone always wins. What is maximised is
the posterior, by L-BFGS from the prior's mode, so it never falls; it may have further optima.

Someone who answers the reverse of what he thinks is not in this model: he gets no attention. For
reliabilities below one half there is joint.py, and reliability.py for pairs judged twice.

A tie is half an answer each way, at half weight.

C is the number of distinct outcomes, N of items, A of annotators.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import OptimizeResult, minimize
from scipy.special import expit, log_expit

from rewards.ml.comparisons import Floats, Ints, sum_by
from rewards.ml.outcomes import Outcomes

SCORE_SD = 2.0
ATTENTIVE, INATTENTIVE = 3.0, 1.0  # Beta(4, 2) as counts beside the observed ones
HABIT_SD = 1.5
ROUNDS = 1000

State = Literal["ok", "no judgements", "one annotator", "not enough overlap", "only ties"]


@dataclass(frozen=True)
class Habits:
    """How one annotator works. `n` counts his comparisons; with few, the prior speaks."""

    annotator: Any
    attention: float
    first: float  # the probability that he picks what is shown first when he does not look
    n: int


@dataclass(frozen=True)
class NoisyBradleyTerry:
    """`scores` (N,) are log-odds whose mean is zero in each of the `components` (N,), the groups of
    items that are compared at all: the prior sees to that. Between groups they say nothing. Both
    are None and `annotators` empty unless `state` is "ok". `log_posterior` has one entry a round
    and never falls.
    """

    state: State
    items: tuple[Any, ...]
    scores: Floats | None
    components: Ints | None
    annotators: tuple[Habits, ...]
    log_posterior: tuple[float, ...]


@dataclass(frozen=True)
class _Data:
    """Columns (C,): how often annotator picked the first or the second of a pair."""

    annotator: Ints
    first: Ints
    second: Ints
    picked_first: Floats
    picked_second: Floats
    n_items: int
    n_annotators: int


def noisy_bradley_terry(outcomes: Outcomes) -> NoisyBradleyTerry:
    """Scores of the items, and attention and habit of each annotator, by name.

    "one annotator", and "not enough overlap" where no item was judged by two, mean that nothing
    tells attention from a lack of differences.
    """
    data = _data(outcomes)
    state = _state(outcomes)
    if state != "ok":
        return NoisyBradleyTerry(state, outcomes.items, None, None, (), ())
    n_items, people = data.n_items, data.n_annotators
    start = np.zeros(n_items + 2 * people)
    start[n_items : n_items + people] = np.log(ATTENTIVE / INATTENTIVE)
    history = [log_posterior(start, data)[0]]

    def remember(intermediate_result: OptimizeResult) -> None:
        history.append(-float(intermediate_result.fun))

    def loss(theta: Floats) -> tuple[float, Floats]:
        value, gradient = log_posterior(theta, data)
        return -value, -gradient

    options = {"maxiter": ROUNDS, "maxfun": 2 * ROUNDS, "ftol": 1e-10, "gtol": 1e-5}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", callback=remember, options=options)
    scores, attention, first = np.split(found.x, (n_items, n_items + people))
    judged = sum_by(outcomes.annotator, outcomes.count, people)
    return NoisyBradleyTerry(
        state="ok",
        items=outcomes.items,
        scores=scores,
        components=outcomes.components(),
        annotators=tuple(
            Habits(name, float(expit(attention[a])), float(expit(first[a])), int(judged[a]))
            for a, name in enumerate(outcomes.annotators)
        ),
        log_posterior=tuple(history),
    )


def log_posterior(theta: Floats, data: _Data) -> tuple[float, Floats]:
    """The log-posterior, but for a constant, and its gradient.

    `theta` is scores (N,), then log-odds of attention (A,), then log-odds of picking the first
    when not looking (A,).
    """
    n_items, people = data.n_items, data.n_annotators
    scores, attention, first = np.split(theta, (n_items, n_items + people))
    prior = (ATTENTIVE * log_expit(attention) + INATTENTIVE * log_expit(-attention)).sum()
    prior -= (scores @ scores) / (2 * SCORE_SD**2) + (first @ first) / (2 * HABIT_SD**2)
    value = float(prior)
    to_scores = -scores / SCORE_SD**2
    to_attention = ATTENTIVE - (ATTENTIVE + INATTENTIVE) * expit(attention)
    to_first = -first / HABIT_SD**2
    who = data.annotator
    d = scores[data.first] - scores[data.second]
    looking, not_looking = log_expit(attention)[who], log_expit(-attention)[who]
    for picks, sign in ((data.picked_first, 1.0), (data.picked_second, -1.0)):
        by_worth = looking + log_expit(sign * d)
        by_habit = not_looking + log_expit(sign * first)[who]
        log_p = np.logaddexp(by_worth, by_habit)
        value += float(picks @ log_p)
        looked = picks * np.exp(by_worth - log_p)  # how many of these picks, in expectation
        slope = sign * looked * expit(-sign * d)
        to_scores += sum_by(data.first, slope, n_items) - sum_by(data.second, slope, n_items)
        to_attention += sum_by(who, looked, people) - sum_by(who, picks, people) * expit(attention)
        to_first += sign * sum_by(who, picks - looked, people) * expit(-sign * first)
    return value, np.concatenate((to_scores, to_attention, to_first))


def _data(outcomes: Outcomes) -> _Data:
    half = outcomes.count * (outcomes.outcome == 0) / 4  # half an answer each way, half weight
    return _Data(
        annotator=outcomes.annotator,
        first=outcomes.first,
        second=outcomes.second,
        picked_first=outcomes.count * (outcomes.outcome == 1) + half,
        picked_second=outcomes.count * (outcomes.outcome == -1) + half,
        n_items=len(outcomes.items),
        n_annotators=len(outcomes.annotators),
    )


def _state(outcomes: Outcomes) -> State:
    if not len(outcomes.outcome):
        return "no judgements"
    if not outcomes.outcome.any():
        return "only ties"
    people = len(outcomes.annotators)
    if len(np.unique(outcomes.annotator)) == 1:
        return "one annotator"
    item = np.concatenate((outcomes.first, outcomes.second))
    who = np.concatenate((outcomes.annotator, outcomes.annotator))
    judged_by = np.bincount(np.unique(item * people + who) // people)
    return "ok" if judged_by.max() >= 2 else "not enough overlap"
