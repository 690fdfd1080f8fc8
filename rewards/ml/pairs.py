"""A frozen snapshot's judgements, and the preference pairs that training makes of them.

`prompts.jsonl` holds one prompt a line:

    {"prompt_id": "<sha256>", "messages": [{"role": "user", "content": "…"}], "topic": "…",
     "language": "en", "split": "train", "responses": [{"id": "<sha256>", "text": "…"}],
     "judgements": [{"annotator": "<pseudonym>", "ranks": [1, 2, 2, null],
                     "unacceptable": [false, false, false, false], "weight": 1.0}]}

Ranks follow the order of `responses`; 1 is the best, equal ranks are a tie, null means that this
annotator did not rank that response. A judgement of two responses out of four is a ranking with two
nulls. The same prompts give the same bytes.

K is the number of responses of a prompt.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # text.py loads transformers, which readers of a snapshot do without
    from rewards.ml.text import Message

PROMPTS_FILE = "prompts.jsonl"
SPLITS = ("train", "validation", "test")

TieRule = Literal["keep", "half", "drop"]


@dataclass(frozen=True)
class Pair:
    """One annotator's comparison of responses `i` and `j` of a prompt.

    `p` is the target probability that `i` beats `j`: 1.0, or 0.5 for a tie.
    """

    i: int
    j: int
    p: float
    weight: float
    annotator: str


@dataclass(frozen=True)
class RankedPrompt:
    """One training element: a prompt, its K responses and every judged pair of them."""

    prompt_id: str
    messages: "tuple[Message, ...]"
    topic: str
    split: str
    responses: tuple[str, ...]
    pairs: tuple[Pair, ...]
    language: str = ""


@dataclass(frozen=True)
class SnapshotResponse:
    id: str
    text: str


@dataclass(frozen=True)
class SnapshotJudgement:
    """One annotator's ranking; `ranks` and `unacceptable` have one entry a response."""

    annotator: str
    ranks: tuple[int | None, ...]
    unacceptable: tuple[bool, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class SnapshotPrompt:
    """One line of `prompts.jsonl`. Raises ValueError when its parts do not fit together."""

    prompt_id: str
    messages: "tuple[Message, ...]"
    topic: str
    language: str
    split: str
    responses: tuple[SnapshotResponse, ...]
    judgements: tuple[SnapshotJudgement, ...]

    def __post_init__(self) -> None:
        k = len(self.responses)
        if self.split not in SPLITS:
            raise ValueError(f"unknown split {self.split!r}")
        for judgement in self.judgements:
            if len(judgement.ranks) != k or len(judgement.unacceptable) != k:
                raise ValueError(
                    f"a judgement by {judgement.annotator} does not cover {k} responses"
                )
            if not 0 <= judgement.weight < float("inf"):
                raise ValueError(f"weight {judgement.weight} of {judgement.annotator}")


def judgement_pairs(
    ranks: Sequence[int | None], annotator: str, weight: float = 1.0, ties: TieRule = "keep"
) -> list[Pair]:
    """Every pair of ranked responses, the better one first.

    Ties become pairs with p = 0.5, which `ties` keeps at full or half weight, or drops.
    A judgement of weight 0 gives no pairs.
    """
    if weight == 0:
        return []
    ranked = [(rank, place) for place, rank in enumerate(ranks) if rank is not None]
    pairs = []
    for (rank_a, a), (rank_b, b) in combinations(sorted(ranked), 2):
        if rank_a < rank_b:
            pairs.append(Pair(a, b, 1.0, weight, annotator))
        elif ties != "drop":
            pairs.append(Pair(a, b, 0.5, weight / 2 if ties == "half" else weight, annotator))
    return pairs


def ranked_prompt(prompt: SnapshotPrompt, ties: TieRule = "keep") -> RankedPrompt:
    """The training element of one snapshot line."""
    return RankedPrompt(
        prompt_id=prompt.prompt_id,
        messages=prompt.messages,
        topic=prompt.topic,
        split=prompt.split,
        responses=tuple(response.text for response in prompt.responses),
        pairs=tuple(
            pair
            for judgement in prompt.judgements
            for pair in judgement_pairs(
                judgement.ranks, judgement.annotator, judgement.weight, ties
            )
        ),
        language=prompt.language,
    )


def read_snapshot(folder: Path, ties: TieRule = "keep") -> list[RankedPrompt]:
    """Training elements of a snapshot; prompts without any pair are left out.

    Raises ValueError naming the line that is not as described at the top of this module.
    """
    prompts = (ranked_prompt(prompt, ties) for prompt in read_prompts(folder / PROMPTS_FILE))
    return [prompt for prompt in prompts if prompt.pairs]


def read_prompts(path: Path) -> Iterator[SnapshotPrompt]:
    """The lines of `prompts.jsonl`. Raises ValueError naming the first bad line."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield _prompt(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path.name} line {number}: {error!r}") from error


def write_prompts(path: Path, prompts: Iterable[SnapshotPrompt]) -> int:
    """Write `prompts.jsonl`; returns the number of lines. The same prompts give the same bytes."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for prompt in prompts:
            file.write(json.dumps(asdict(prompt), ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def _prompt(row: Mapping[str, Any]) -> SnapshotPrompt:
    return SnapshotPrompt(
        prompt_id=row["prompt_id"],
        messages=tuple({"role": m["role"], "content": m["content"]} for m in row["messages"]),
        topic=row["topic"],
        language=row["language"],
        split=row["split"],
        responses=tuple(SnapshotResponse(r["id"], r["text"]) for r in row["responses"]),
        judgements=tuple(
            SnapshotJudgement(
                annotator=j["annotator"],
                ranks=tuple(j["ranks"]),
                unacceptable=tuple(j["unacceptable"]),
                weight=j["weight"],
            )
            for j in row["judgements"]
        ),
    )
