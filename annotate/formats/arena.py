"""Chatbot Arena battles: what two models answered, side by side, and which one a person preferred.

Two shapes: battle logs with `conversation_a`, `conversation_b` and `winner` (FastChat's
clean_battle_data.py), and the table of 55 000 battles with `response_a`, `response_b` and
`winner_model_a`, `winner_model_b`, `winner_tie`, whose texts are JSON lists of turns. Model A was
shown on the left. Later turns are refused, since the two conversations have parted by then.
"""

import json
from datetime import UTC, datetime
from typing import Any

from annotate.formats.lines import Row
from annotate.formats.records import (
    BadRecord,
    Judgement,
    Message,
    Record,
    ResponseText,
    message_list,
    optional_text,
    text_field,
    user_message,
)

RANKS: dict[str, list[int | None]] = {
    "model_a": [1, 2],
    "model_b": [2, 1],
    "tie": [1, 1],
    "tie (bothbad)": [1, 1],
}


def is_battle(row: Row) -> bool:
    return {"conversation_a", "conversation_b", "winner"} <= row.keys() or {
        "response_a",
        "response_b",
        "winner_model_a",
    } <= row.keys()


def read_battle(row: Row) -> Record:
    if "conversation_a" in row:
        messages, texts = _conversations(row)
        winner = text_field(row, "winner")
    else:
        messages, texts = _turns(row)
        winner = _winner(row)
    if winner not in RANKS:
        raise BadRecord(f"unknown winner {winner!r}")
    judgement = Judgement(
        annotator=optional_text(row, "judge"),
        ranks=RANKS[winner],
        display_order=[0, 1],
        unacceptable=[True, True] if winner == "tie (bothbad)" else None,
        created_at=_time(row.get("tstamp")),
    )
    return Record(
        messages=messages,
        responses=[
            ResponseText(text, optional_text(row, name))
            for text, name in zip(texts, ("model_a", "model_b"), strict=True)
        ],
        judgements=[judgement],
        external_id=optional_text(row, "question_id") or optional_text(row, "id"),
    )


def _conversations(row: Row) -> tuple[list[Message], list[str]]:
    both = [message_list(row[name], name) for name in ("conversation_a", "conversation_b")]
    if any(not found or found[-1]["role"] != "assistant" for found in both):
        raise BadRecord("a conversation does not end with the assistant")
    if both[0][:-1] != both[1][:-1]:
        raise BadRecord("the two conversations differ before their last message")
    return both[0][:-1], [found[-1]["content"] for found in both]


def _turns(row: Row) -> tuple[list[Message], list[str]]:
    found = [_only_turn(row, name) for name in ("prompt", "response_a", "response_b")]
    return user_message(found[0]), found[1:]


def _only_turn(row: Row, name: str) -> str:
    try:
        turns = json.loads(text_field(row, name))
    except json.JSONDecodeError as error:
        raise BadRecord(f"`{name}` is not a JSON list of turns") from error
    if not isinstance(turns, list) or len(turns) != 1 or not isinstance(turns[0], str):
        raise BadRecord(f"`{name}` is not a single turn")
    return turns[0]


def _winner(row: Row) -> str:
    for name, winner in (("a", "model_a"), ("b", "model_b")):
        if str(row.get(f"winner_model_{name}")) == "1":
            return winner
    if str(row.get("winner_tie")) == "1":
        return "tie"
    raise BadRecord("nobody won and there is no tie")


def _time(seconds: Any) -> datetime | None:
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise BadRecord("`tstamp` is not a number of seconds")
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise BadRecord(f"`tstamp` {seconds} is out of range") from error
