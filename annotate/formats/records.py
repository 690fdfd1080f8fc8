"""What every format is read into and written from.

K is the number of responses of a record.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypedDict

ROLES = ("system", "user", "assistant")
SPLITS = ("train", "validation", "test")


class BadRecord(ValueError):
    """One line that cannot be used; the message is the reason shown to the person importing."""


class Message(TypedDict):
    """One turn of a conversation; `role` is one of ROLES."""

    role: str
    content: str


@dataclass(frozen=True)
class ResponseText:
    """A response and, where the file says so, what it came from (a model's name, "human")."""

    text: str
    source: str | None = None


@dataclass(frozen=True)
class Judgement:
    """What one annotator said about a record; lists follow the record's responses, (K,).

    Ranks: 1 the best, equal ranks a tie, None not ranked. `display_order` holds response indices
    from the first place on the screen to the last. `annotator` is None where the file does not say
    who judged, `unacceptable` where nobody was asked.
    """

    annotator: str | None
    ranks: list[int | None]
    display_order: list[int] | None = None
    unacceptable: list[bool] | None = None
    rationale: str = ""
    created_at: datetime | None = None


@dataclass(frozen=True)
class Record:
    """A prompt with its responses, what people said of them, and perhaps a written answer.

    `number` says where it stood in its file, counted as in BadLine; equality passes over it.
    Raises BadRecord when the parts do not fit together.
    """

    messages: list[Message]
    responses: list[ResponseText] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)
    topic: str = ""
    language: str = ""
    content_categories: list[str] = field(default_factory=list)
    external_id: str | None = None
    split: str | None = None
    demonstration: str | None = None
    number: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if not self.messages:
            raise BadRecord("the prompt is empty")
        for message in self.messages:
            if message["role"] not in ROLES:
                raise BadRecord(f"unknown role {message['role']!r}")
            if not message["content"].strip():
                raise BadRecord("a message of the prompt is empty")
        if self.split is not None and self.split not in SPLITS:
            raise BadRecord(f"split {self.split!r} is none of {', '.join(SPLITS)}")
        if len({response.text for response in self.responses}) < len(self.responses):
            raise BadRecord("two responses are the same text")
        for judgement in self.judgements:
            _check_judgement(judgement, len(self.responses))


@dataclass(frozen=True)
class BadLine:
    """A line that was left out. `number` counts lines, or the items of a JSON array, from 1."""

    number: int
    reason: str


def _check_judgement(judgement: Judgement, k: int) -> None:
    if len(judgement.ranks) != k:
        raise BadRecord(f"{len(judgement.ranks)} ranks for {k} responses")
    for rank in judgement.ranks:
        if rank is not None and (type(rank) is not int or rank < 1):
            raise BadRecord(f"rank {rank!r} is not a whole number from 1")
    order = judgement.display_order
    if order is not None and (
        len(set(order)) < len(order)
        or not all(type(index) is int and 0 <= index < k for index in order)
    ):
        raise BadRecord(f"display order {order!r} does not name different responses")
    if judgement.unacceptable is not None and len(judgement.unacceptable) != k:
        raise BadRecord(f"{len(judgement.unacceptable)} unacceptable marks for {k} responses")


def text_field(row: Mapping[str, Any], name: str) -> str:
    """The text under `name`. Raises BadRecord where there is none."""
    value = row.get(name)
    if not isinstance(value, str):
        raise BadRecord(f"`{name}` is not a text")
    return value


def optional_text(row: Mapping[str, Any], name: str) -> str | None:
    """The text or number under `name` as a text, None where it is absent, null or empty."""
    value = row.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadRecord(f"`{name}` is not a text")
    return str(value)


def text_list(row: Mapping[str, Any], name: str) -> list[str]:
    """The list of texts under `name`, empty where it is absent. Raises BadRecord."""
    parts = list_field(row, name) if row.get(name) is not None else []
    if not all(isinstance(part, str) for part in parts):
        raise BadRecord(f"`{name}` is not a list of texts")
    return parts


def list_field(row: Mapping[str, Any], name: str) -> list[Any]:
    """The list under `name`. Raises BadRecord where there is none."""
    value = row.get(name)
    if not isinstance(value, list):
        raise BadRecord(f"`{name}` is not a list")
    return value


def message_list(value: Any, name: str) -> list[Message]:
    """A list of messages with a role and a content. Raises BadRecord naming `name`."""
    if not isinstance(value, list) or not all(isinstance(message, dict) for message in value):
        raise BadRecord(f"`{name}` is not a list of messages")
    return [
        {"role": text_field(message, "role"), "content": text_field(message, "content")}
        for message in value
    ]


def time_field(value: Any) -> datetime | None:
    """A time as ISO 8601 text; None where there is none."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise BadRecord("the time is not an ISO 8601 text")
    try:
        return datetime.fromisoformat(value)
    except ValueError as error:
        raise BadRecord(f"{value!r} is not an ISO 8601 time") from error


def user_message(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def in_neutral_order(responses: Sequence[ResponseText]) -> list[int]:
    """Indices of the responses in an order that tells nothing of them: by hash of the text.

    For files that name the better response first or shuffle for each annotator.
    """
    digests = [hashlib.sha256(response.text.encode()).digest() for response in responses]
    return sorted(range(len(responses)), key=lambda index: digests[index])


def pair_record(
    messages: list[Message], chosen: str, rejected: str, annotator: str | None = None
) -> Record:
    """A record of one preference, its two responses in neutral order."""
    texts = [ResponseText(chosen), ResponseText(rejected)]
    order = in_neutral_order(texts)
    ranks: list[int | None] = [index + 1 for index in order]
    return Record(
        messages=messages,
        responses=[texts[index] for index in order],
        judgements=[Judgement(annotator=annotator, ranks=ranks)],
    )
