"""Where a confident reward model contradicts the one person who judged a prompt.

K is the number of responses of a prompt.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import tanh

from rewards.ml.evaluate import ScoredPrompt
from rewards.ml.pairs import RankedPrompt

CONFIDENT = 0.95


@dataclass(frozen=True)
class Contradiction:
    """The person preferred one response, the model the other, which it puts at probability `p`."""

    prompt_id: str
    preferred: str
    rejected: str
    p: float


def judged_once(prompts: Sequence[RankedPrompt], most: int, seed: int) -> list[RankedPrompt]:
    """The prompts with pairs of a single annotator; of more than `most`, so many at random."""
    once = [p for p in prompts if len({pair.annotator for pair in p.pairs}) == 1]
    return random.Random(seed).sample(once, most) if len(once) > most else once


def contradictions(prompts: Sequence[ScoredPrompt], temperature: float) -> list[Contradiction]:
    """One for each prompt with a pair of which the model is CONFIDENT otherwise, surest first.

    Of a prompt it is the pair of which the model is surest. A tie contradicts nobody.
    """
    found = []
    for scored in prompts:
        prompt = scored.prompt
        sure = [
            Contradiction(
                prompt.prompt_id,
                preferred=prompt.responses[pair.i],
                rejected=prompt.responses[pair.j],
                p=_sigmoid((scored.scores[pair.j] - scored.scores[pair.i]) / temperature),
            )
            for pair in prompt.pairs
            if pair.p == 1
        ]
        surest = max(sure, key=lambda one: one.p, default=None)
        if surest and surest.p >= CONFIDENT:
            found.append(surest)
    return sorted(found, key=lambda one: (-one.p, one.prompt_id))


def _sigmoid(x: float) -> float:
    return (1 + tanh(x / 2)) / 2  # exp would overflow
