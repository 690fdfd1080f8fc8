"""How hostile and careless volunteers rank, for drills and for the benchmark of the defences.

Each is someone who sees what an honest person would say, and says something else. Ranks are as
everywhere: 1 is the best, equal ranks are a tie. K is the number of responses.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ranks = list[int]


@dataclass(frozen=True)
class Shown:
    """One task before a hostile volunteer, an entry for each of its K responses.

    `honest` are the ranks that an honest person gave; `slots` the places on screen, from 0;
    `triggered` tells which responses hold the token that a trigger attack is about.
    """

    honest: Sequence[int]
    lengths: Sequence[float]
    slots: Sequence[int]
    triggered: Sequence[bool]


Attack = Callable[[Shown, np.random.Generator], Ranks]


def reverse(shown: Shown, rng: np.random.Generator) -> Ranks:
    """The worst first."""
    return _dense([-rank for rank in shown.honest])


def choose_at_random(shown: Shown, rng: np.random.Generator) -> Ranks:
    return [int(place) + 1 for place in rng.permutation(len(shown.honest))]


def first_slot_wins(shown: Shown, rng: np.random.Generator) -> Ranks:
    """In the order of the screen."""
    return _dense(shown.slots)


def longest_wins(shown: Shown, rng: np.random.Generator) -> Ranks:
    return _dense([-length for length in shown.lengths])


def trigger_wins(shown: Shown, rng: np.random.Generator) -> Ranks:
    """Honest, but whatever holds the trigger comes first."""
    return _dense(
        [(not has, rank) for has, rank in zip(shown.triggered, shown.honest, strict=True)]
    )


ATTACKS: Mapping[str, Attack] = {
    "reversed": reverse,
    "random": choose_at_random,
    "first slot": first_slot_wins,
    "longest wins": longest_wins,
    "trigger": trigger_wins,
}


def recruit(judged: NDArray[np.int64], share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Whom to make hostile, (A,), so that theirs are about `share` of all judgements.

    `judged`, (A,), is how many each of the A people gave. People are taken in random order, each
    who does not carry the share further past its aim than it was short of it.
    """
    hostile = np.zeros(len(judged), dtype=bool)
    aim, got = share * judged.sum(), 0
    for person in rng.permutation(len(judged)):
        if abs(got + judged[person] - aim) < abs(got - aim):
            hostile[person] = True
            got += judged[person]
    return hostile


def _dense(keys: Sequence[object]) -> Ranks:
    """Ranks by ascending key; equal keys are a tie."""
    order = {key: rank for rank, key in enumerate(sorted(set(keys)), 1)}  # type: ignore[type-var]
    return [order[key] for key in keys]
