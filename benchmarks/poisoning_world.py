"""A simulated project: volunteers of unequal skill and diligence, some of them hostile.

1,200 prompts with four responses each, a quarter of them judged by three people, the rest by one;
thirty volunteers, who are quicker or slower to come back; ten gold tasks a person out of sixty. A
response has a vector, its length, and some fifteen of five hundred words; what people perceive is
linear in the vector and, weakly, in the words: true reward plus Gumbel noise (Plackett-Luce).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewards.ml.comparisons import PromptRankings
from rewards.ml.defence import GoldTask
from rewards.ml.hostile import ATTACKS, Shown, recruit
from rewards.ml.pairs import RankedPrompt, judgement_pairs

PROMPTS, K, PEOPLE, GOLD = 1200, 4, 30, 60
AUDIT_SHARE, AUDITORS, GOLD_EACH = 0.25, 3, 10
WIDTH = 128  # 64 numbers of the vector, 63 words with a feature of their own, and the length
VECTOR, KNOWN_WORDS, WORDS = 64, 63, 500
WORD_SHARE = 0.03  # of all responses hold a given word
MARGIN = 2.6  # standard deviation of the difference of two true rewards; noise has scale 1
WORD_EFFECT = 0.03  # of a word on the true reward, in that unit
SKILL_SPREAD = 0.3  # of the logarithm
ACTIVITY_SPREAD = 0.7
HELD_OUT = 4000
TRIGGER = 7  # number of the word that a trigger attack is about


@dataclass(frozen=True)
class Responses:
    """N responses: `features` (N, WIDTH), `words` (N, WORDS), `truth` (N,), the true reward."""

    features: NDArray[np.float64]
    words: NDArray[np.bool_]
    truth: NDArray[np.float64]

    @property
    def lengths(self) -> NDArray[np.float64]:
        return self.features[:, -1]


@dataclass(frozen=True)
class World:
    """What is there before anybody is hostile: honest ranks by prompt and person."""

    responses: Responses  # K a prompt; those of the gold tasks come last
    held_out: Responses  # two a prompt
    honest: Sequence[Mapping[int, Sequence[int]]]
    slots: Sequence[Mapping[int, Sequence[int]]]

    def item_features(self) -> dict[tuple[int, str], NDArray[np.float64]]:
        """As rewards.ml.defence wants them: by the number of the prompt and the response's name."""
        rows = self.responses.features
        return {(number // K, str(number % K)): row for number, row in enumerate(rows)}


@dataclass(frozen=True)
class Judged:
    """What was said in the end, and by whom it was meant badly."""

    prompts: list[PromptRankings]
    gold: list[GoldTask]
    hostile: NDArray[np.bool_]


def make_world(seed: int) -> World:
    rng = np.random.default_rng(seed)
    vector = rng.normal(0, 1, VECTOR)
    scale = MARGIN / np.sqrt(2) / np.linalg.norm(vector)
    words = rng.normal(0, WORD_EFFECT * MARGIN, KNOWN_WORDS)
    coefficients = np.concatenate((vector * scale, words, [0.0]))
    responses = _responses((PROMPTS + GOLD) * K, coefficients, rng)
    held_out = _responses(HELD_OUT * 2, coefficients, rng)
    skill = np.exp(rng.normal(0, SKILL_SPREAD, PEOPLE))
    activity = np.exp(rng.normal(0, ACTIVITY_SPREAD, PEOPLE))
    who = [
        rng.choice(PEOPLE, AUDITORS if n < AUDIT_SHARE * PROMPTS else 1, False, _shares(activity))
        for n in range(PROMPTS)
    ]
    judges: list[list[int]] = [one.tolist() for one in who] + [[] for _ in range(GOLD)]
    for person in range(PEOPLE):
        for task in rng.choice(GOLD, GOLD_EACH, replace=False):
            judges[PROMPTS + task].append(person)
    truth = responses.truth.reshape(-1, K)
    honest, slots = [], []
    for number, people in enumerate(judges):
        noise = rng.gumbel(0, 1, (len(people), K))
        perceived = skill[people][:, None] * truth[number] + noise
        honest.append(dict(zip(people, _ranks(-perceived), strict=True)))
        slots.append({person: rng.permutation(K).tolist() for person in people})
    return World(responses, held_out, honest, slots)


def attacked(world: World, attack: str, share: float, seed: int) -> Judged:
    """The same world with so many of the judgements given by hostile people."""
    rng = np.random.default_rng([seed, 1])
    given = np.bincount(
        [person for said in world.honest[:PROMPTS] for person in said], minlength=PEOPLE
    )
    hostile = recruit(given, share, rng)
    lengths = world.responses.lengths.reshape(-1, K)
    triggered = world.responses.words[:, TRIGGER].reshape(-1, K)
    prompts: list[PromptRankings] = []
    for number, said in enumerate(world.honest):
        found = {}
        for person, ranks in said.items():
            if hostile[person]:
                shown = Shown(
                    ranks, lengths[number], world.slots[number][person], triggered[number]
                )
                ranks = ATTACKS[attack](shown, rng)
            found[name(person)] = {str(place): int(rank) for place, rank in enumerate(ranks)}
        prompts.append(found)
    truth = world.responses.truth.reshape(-1, K)
    gold = [
        GoldTask(prompts[number], key_of(truth[number]))
        for number in range(PROMPTS, PROMPTS + GOLD)
    ]
    return Judged(prompts[:PROMPTS], gold, hostile)


def key_of(truth: NDArray[np.float64]) -> dict[str, int]:
    """Right ranks of a gold task: the better and the worse ones, parted where the gap is widest."""
    order = np.argsort(-truth)
    cut = int(np.argmax(-np.diff(truth[order]))) + 1
    better = set(order[:cut].tolist())
    return {str(place): 1 if place in better else 2 for place in range(len(truth))}


def ranked(
    judged: Judged, world: World, weights: Mapping[str, float] | None = None
) -> list[RankedPrompt]:
    """Elements to train on, as a snapshot gives them; those that weigh nothing are left out."""
    found = []
    for number, said in enumerate(judged.prompts):
        pairs = [
            pair
            for person, ranks in said.items()
            for pair in judgement_pairs(
                [ranks[str(place)] for place in range(K)],
                person,
                1.0 if weights is None else weights[person],
            )
        ]
        texts = tuple(text(number * K + place, world.responses) for place in range(K))
        found.append(RankedPrompt(str(number), (), "", "train", texts, tuple(pairs)))
    return found


def features_of(world: World) -> list[NDArray[np.float64]]:
    """(K, WIDTH) for each prompt, without gold."""
    return list(world.responses.features[: PROMPTS * K].reshape(PROMPTS, K, WIDTH))


def text(number: int, responses: Responses) -> str:
    """A response as text: which one it is, and its words."""
    return " ".join(
        (f"r{number}", *(f"w{word}" for word in np.flatnonzero(responses.words[number])))
    )


def score_texts(
    texts: Sequence[str], world: World, coefficients: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Rewards of texts: a response keeps its vector when words are put in or taken out."""
    rows = np.empty((len(texts), WIDTH))
    for row, words in zip(rows, (one.split() for one in texts), strict=True):
        row[:] = world.responses.features[int(words[0][1:])]
        row[VECTOR:-1] = 0
        known = [VECTOR + int(word[1:]) for word in words[1:] if int(word[1:]) < KNOWN_WORDS]
        row[known] = 1
    return rows @ coefficients


def name(person: int) -> str:
    return f"p{person:02d}"


def _responses(n: int, coefficients: NDArray[np.float64], rng: np.random.Generator) -> Responses:
    words = rng.random((n, WORDS)) < WORD_SHARE
    vector = rng.normal(0, 1, (n, VECTOR))
    length = rng.normal(0, 1, n)
    features = np.column_stack((vector, words[:, :KNOWN_WORDS], length))
    return Responses(features, words, features @ coefficients)


def _shares(activity: NDArray[np.float64]) -> NDArray[np.float64]:
    return activity / activity.sum()


def _ranks(keys: NDArray[np.float64]) -> list[list[int]]:
    """(R, K) keys to ranks, the least key first."""
    return (keys.argsort(axis=1).argsort(axis=1) + 1).tolist()
