"""Simulated volunteers, for the demonstration and for tests: a dozen people who rank responses.

Each perceives a response's hidden score through noise of his own, and calls responses equal that
he finds nearly alike. One is careless, and ranks without reading; one is hostile, and ranks the
worst first.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from training.climate.domain import ClimatePrompt
from training.climate.grade import hidden_score


@dataclass(frozen=True)
class Volunteer:
    """How one simulated person judges.

    `noise` is the standard deviation of what he perceives, in units of the hidden score;
    responses that differ by less than `tie_below` share a rank.
    """

    name: str
    kind: Literal["honest", "careless", "hostile"]
    noise: float
    tie_below: float = 0.05


def volunteers() -> tuple[Volunteer, ...]:
    """Ten honest volunteers from sharp to blurred, a careless and a hostile one."""
    names = ("Amara", "Bela", "Chidi", "Dana", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas")
    honest = [
        Volunteer(name, "honest", noise=0.03 + 0.006 * i, tie_below=0.03 + 0.01 * (i % 4))
        for i, name in enumerate(names)
    ]
    return (
        *honest,
        Volunteer("Kai", "careless", noise=0.0),
        Volunteer("Lars", "hostile", noise=0.10),
    )


def rank(
    volunteer: Volunteer, prompt: ClimatePrompt, responses: Sequence[str], *, occasion: int = 0
) -> list[int]:
    """Ranks of the responses, 1 the best; equal ranks are a tie, and no rank is left out.

    The same volunteer, prompt, responses and `occasion` give the same ranks whatever the order of
    the responses; another occasion draws new noise, as a person who meets a task again would.
    """
    perceived = [_perceive(volunteer, prompt, response, occasion) for response in responses]
    ranks = [0] * len(responses)
    rank_now, last = 0, 0.0
    for i in sorted(range(len(responses)), key=lambda i: -perceived[i]):
        if rank_now == 0 or last - perceived[i] >= volunteer.tie_below:
            rank_now += 1
        last = perceived[i]
        ranks[i] = rank_now
    return ranks


def _perceive(volunteer: Volunteer, prompt: ClimatePrompt, response: str, occasion: int) -> float:
    """How good a response seems to a volunteer."""
    question = prompt.messages[-1]["content"]
    rng = random.Random(f"{volunteer.name}|{question}|{response}|{occasion}")
    if volunteer.kind == "careless":
        return rng.random()
    perceived = hidden_score(prompt, response) + rng.gauss(0, volunteer.noise)
    return -perceived if volunteer.kind == "hostile" else perceived
