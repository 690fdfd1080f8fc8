"""Where a reward model contradicts the one person who judged a prompt, or people each other.

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


@dataclass(frozen=True)
class Contested:
    """People put two responses in opposite orders; the model prefers the first, at probability `p`.

    `p` is from 0.5 to 1.
    """

    prompt_id: str
    better: str
    worse: str
    p: float


def split_prompts(prompts: Sequence[RankedPrompt]) -> list[RankedPrompt]:
    """The prompts with a pair of responses that people put in opposite orders."""
    return [prompt for prompt in prompts if _split_pairs(prompt)]


def contested(prompts: Sequence[ScoredPrompt], temperature: float) -> list[Contested]:
    """What the model thinks of every such pair, surest first."""
    found = []
    for scored in prompts:
        responses = scored.prompt.responses
        for i, j in _split_pairs(scored.prompt):
            p = _sigmoid((scored.scores[i] - scored.scores[j]) / temperature)
            better, worse = (i, j) if p >= 0.5 else (j, i)
            found.append(
                Contested(
                    scored.prompt.prompt_id, responses[better], responses[worse], max(p, 1 - p)
                )
            )
    return sorted(found, key=lambda one: (-one.p, one.prompt_id))


def _split_pairs(prompt: RankedPrompt) -> list[tuple[int, int]]:
    wins = {(pair.i, pair.j) for pair in prompt.pairs if pair.p == 1}
    return sorted((i, j) for i, j in wins if i < j and (j, i) in wins)


def _sigmoid(x: float) -> float:
    return (1 + tanh(x / 2)) / 2  # exp would overflow
