"""The embedded domain: prompts about the climate, and a corpus of answers of mixed quality.

`facts.json` holds, for each of 48 facts, questions, right and wrong statements and reasons;
`wording.json` holds how questions are framed and how answers are put together. The corpus asks
every fact, so a small model can know it; held-out prompts ask the same facts in words, and in
pairs, that the corpus does not contain.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypedDict

Split = Literal["train", "validation", "test"]


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True)
class Fact:
    """One fact: how it is asked for, and right and wrong things to say about it."""

    id: str
    topic: str
    questions: tuple[str, ...]
    held_out_questions: tuple[str, ...]
    right: tuple[str, ...]
    reasons: tuple[str, ...]
    wrong: tuple[str, ...]
    false_reasons: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """One way to put an answer together, and its weight in the corpus."""

    parts: tuple[str, ...]
    weight: float


@dataclass(frozen=True)
class Wording:
    """Frames of questions, stock phrases and their cues by kind, and recipes of answers."""

    frames: tuple[str, ...]
    pair_frames: tuple[str, ...]
    phrases: Mapping[str, tuple[str, ...]]
    cues: Mapping[str, tuple[str, ...]]
    recipes: tuple[Recipe, ...]


@dataclass(frozen=True)
class ClimatePrompt:
    """A prompt, the facts it asks for in their order, and the split it belongs to."""

    messages: tuple[Message, ...]
    topic: str
    split: Split
    fact_ids: tuple[str, ...]


_TEXTS = ("questions", "held_out_questions", "right", "reasons", "wrong", "false_reasons")


@cache
def facts() -> Mapping[str, Fact]:
    """All facts by id, in the order of the file."""
    return {
        entry["id"]: Fact(
            id=entry["id"],
            topic=topic["name"],
            **{name: tuple(entry[name]) for name in _TEXTS},
        )
        for topic in _read("facts.json")["topics"]
        for entry in topic["facts"]
    }


@cache
def wording() -> Wording:
    """Frames, phrases and recipes."""
    data = _read("wording.json")
    return Wording(
        frames=tuple(data["frames"]),
        pair_frames=tuple(data["pair_frames"]),
        phrases={kind: tuple(texts) for kind, texts in data["phrases"].items()},
        cues={kind: tuple(texts) for kind, texts in data["cues"].items()},
        recipes=tuple(Recipe(tuple(entry["parts"]), entry["weight"]) for entry in data["recipes"]),
    )


@cache
def prompts(split: Split) -> tuple[ClimatePrompt, ...]:
    """The prompts of one split: single questions first, then pairs of questions.

    Test prompts ask every fact in its held-out wording, and pair facts that stand together in no
    other prompt and nowhere in the corpus.
    """
    known = list(facts().values())
    frames, pair_frames = wording().frames, wording().pair_frames
    asked = [  # (fact, question, number of its frame)
        (fact, question, 3 * i + 4 * j + place)
        for i, fact in enumerate(known)
        for j, question in enumerate(fact.held_out_questions if split == "test" else fact.questions)
        for place in _FRAMES[split]
        if split != "validation" or i % 3 == j
    ]
    singles = [_single(fact, text, frames[n % len(frames)], split) for fact, text, n in asked]
    pairs = [
        _pair(first, second, i, pair_frames[i % len(pair_frames)], split)
        for i, (first, second) in enumerate(_pairs(split))
    ]
    return tuple(singles + pairs)


@cache
def lookup(text: str) -> ClimatePrompt:
    """The prompt with this text; raises ValueError when the domain has none."""
    for split in ("train", "validation", "test"):
        for prompt in prompts(split):
            if prompt.messages[-1]["content"] == text:
                return prompt
    raise ValueError(f"no prompt of the climate domain reads {text!r}")


def corpus(size: int, seed: int = 0) -> list[tuple[tuple[Message, ...], str]]:
    """`size` questions, each with an answer of good, middling or bad quality.

    One question in four asks for two facts. The same seed gives the same corpus.
    """
    rng = random.Random(seed)
    known = list(facts().values())
    kept_apart = {frozenset((first.id, second.id)) for first, second in _pairs("test")}
    examples: list[tuple[tuple[Message, ...], str]] = []
    while len(examples) < size:
        if rng.random() < 3 / 4:
            fact = rng.choice(known)
            text = rng.choice(wording().frames).format(q=rng.choice(fact.questions))
            response = _answer(rng, _recipe(rng), fact)
        else:
            first, second = rng.sample(known, 2)
            if frozenset((first.id, second.id)) in kept_apart:
                continue
            text = rng.choice(wording().pair_frames).format(
                q=rng.choice(first.questions), q2=rng.choice(second.questions)
            )
            response = _pair_answer(rng, first, second)
        examples.append((_messages(text), response))
    return examples


# Frames of each question, counted from one that differs from question to question; train and
# validation ask the same questions, so they share none.
_FRAMES: dict[Split, tuple[int, ...]] = {
    "train": (0, 1, 5, 7),
    "validation": (2,),
    "test": (0,),
}


def _pairs(split: Split) -> list[tuple[Fact, Fact]]:
    """Which facts a split asks for together: neighbours in a topic, or in two adjoining topics.

    A pattern holds the place of the first fact in its topic, and that of the second counted from
    the same start, so that 4 and above lie in the next topic; no two splits share a pair.
    """
    patterns: dict[Split, list[tuple[int, int]]] = {
        "train": [(0, 1), (3, 2), (1, 6)],
        "validation": [(1, 2)],
        "test": [(2, 0), (1, 3)],
    }
    known = list(facts().values())
    return [
        (known[start + first], known[(start + second) % len(known)])
        for start in range(0, len(known), 4)
        for first, second in patterns[split]
    ]


def _single(fact: Fact, question: str, frame: str, split: Split) -> ClimatePrompt:
    return ClimatePrompt(_messages(frame.format(q=question)), fact.topic, split, (fact.id,))


def _pair(first: Fact, second: Fact, i: int, frame: str, split: Split) -> ClimatePrompt:
    text = frame.format(q=first.questions[i % 3], q2=second.questions[(i // 3) % 3])
    return ClimatePrompt(_messages(text), first.topic, split, (first.id, second.id))


def _messages(text: str) -> tuple[Message, ...]:
    return ({"role": "user", "content": text},)


def _recipe(rng: random.Random) -> Recipe:
    recipes = wording().recipes
    return rng.choices(recipes, [recipe.weight for recipe in recipes])[0]


def _answer(rng: random.Random, recipe: Recipe, fact: Fact) -> str:
    """An answer to one question; one in five opens with a courtesy."""
    opener = [rng.choice(wording().phrases["opener"])] if rng.random() < 0.2 else []
    return " ".join(opener + _sentences(rng, recipe.parts, fact))


def _pair_answer(rng: random.Random, first: Fact, second: Fact) -> str:
    """An answer to two questions, mostly of one quality; manners come once, not twice."""
    recipe = _recipe(rng)
    other = recipe if rng.random() < 2 / 3 else _recipe(rng)
    core = [part for part in other.parts if part in _CORE] or ["vague"]
    return f"{_answer(rng, recipe, first)} {' '.join(_sentences(rng, core, second))}"


_CORE = {"right": "right", "reason": "reasons", "wrong": "wrong", "false_reason": "false_reasons"}


def _sentences(rng: random.Random, parts: Sequence[str], fact: Fact) -> list[str]:
    """One sentence for each part; no phrase twice but where a part says to repeat the first.

    A repetition announces itself, which so small a reward model can notice.
    """
    sentences: list[str] = []
    for part in parts:
        if part == "repeat":
            sentences.append(f"{rng.choice(wording().phrases['repeat'])} {sentences[0]}")
            continue
        known = getattr(fact, _CORE[part]) if part in _CORE else wording().phrases[part]
        sentences.append(rng.choice([text for text in known if text not in sentences]))
    return sentences


def _read(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))
    return data
