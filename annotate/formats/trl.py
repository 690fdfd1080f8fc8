"""TRL's dataset formats and hh-rlhf, read; TRL's preference, unpaired and prompt-only, written.

    preference, explicit     {"prompt": …, "chosen": …, "rejected": …}
    preference, implicit     {"chosen": …, "rejected": …}, which both begin with the prompt
    unpaired (KTO)           {"prompt": …, "completion": …, "label": true}
    prompt–completion (SFT)  {"prompt": …, "completion": …}
    prompt-only (PPO)        {"prompt": …}
    hh-rlhf                  implicit, with "\n\nHuman: … \n\nAssistant: …" transcripts

Each value is a text ("standard") or a list of messages ("conversational"). A standard prompt
becomes one user message. Completions of several messages are refused: what is ranked here is one
response. Source: TRL's documentation, dataset formats; the README of hh-rlhf.
"""

import re
from collections.abc import Callable, Iterator
from itertools import combinations
from os.path import commonprefix
from typing import Any, Literal

from annotate.formats.lines import Row
from annotate.formats.records import (
    BadRecord,
    Judgement,
    Message,
    Record,
    ResponseText,
    message_list,
    pair_record,
    text_field,
    user_message,
)

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"

Ties = Literal["drop", "half", "both"]


def is_preference(row: Row) -> bool:
    return "chosen" in row and "rejected" in row and not is_hh(row)


def is_hh(row: Row) -> bool:
    chosen = row.get("chosen")
    return "prompt" not in row and isinstance(chosen, str) and chosen.startswith(HUMAN)


def is_unpaired(row: Row) -> bool:
    return {"prompt", "completion", "label"} <= row.keys()


def is_prompt_completion(row: Row) -> bool:
    return {"prompt", "completion"} <= row.keys() and "label" not in row


def is_prompt_only(row: Row) -> bool:
    return "prompt" in row


def read_preference(row: Row) -> Record:
    chosen, rejected = row["chosen"], row["rejected"]
    if _begins_with_prompt(chosen):
        return _implicit_messages(chosen, rejected)
    if "prompt" in row:
        return pair_record(
            _prompt(row), _completion(chosen, "chosen"), _completion(rejected, "rejected")
        )
    return _implicit_texts(text_field(row, "chosen"), text_field(row, "rejected"))


def read_hh(row: Row) -> Record:
    chosen = _transcript(text_field(row, "chosen"))
    rejected = _transcript(text_field(row, "rejected"))
    return _after_common_start(chosen, rejected)


def read_unpaired(row: Row) -> Record:
    label = row["label"]
    if not isinstance(label, bool):
        raise BadRecord("`label` is neither true nor false")
    judgement = Judgement(annotator=None, ranks=[None], unacceptable=[not label])
    response = ResponseText(_completion(row["completion"], "completion"))
    return Record(messages=_prompt(row), responses=[response], judgements=[judgement])


def read_prompt_completion(row: Row) -> Record:
    written = _completion(row["completion"], "completion")
    return Record(messages=_prompt(row), demonstration=written)


def read_prompt_only(row: Row) -> Record:
    return Record(messages=_prompt(row))


def _prompt(row: Row) -> list[Message]:
    prompt = row["prompt"]
    return user_message(prompt) if isinstance(prompt, str) else message_list(prompt, "prompt")


def _completion(value: Any, name: str) -> str:
    if isinstance(value, str):
        return value
    messages = message_list(value, name)
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise BadRecord(f"`{name}` is not one message of the assistant")
    return messages[0]["content"]


def _begins_with_prompt(completion: Any) -> bool:
    """A list of messages of which the first is not the assistant's, whether or not the prompt is
    given as well (as in HuggingFaceH4's ultrafeedback_binarized)."""
    return (
        isinstance(completion, list)
        and len(completion) > 1
        and isinstance(completion[0], dict)
        and completion[0].get("role") != "assistant"
    )


def _implicit_messages(chosen: Any, rejected: Any) -> Record:
    return _after_common_start(message_list(chosen, "chosen"), message_list(rejected, "rejected"))


def _after_common_start(chosen: list[Message], rejected: list[Message]) -> Record:
    if chosen[:-1] != rejected[:-1]:
        raise BadRecord("the two conversations differ before their last message")
    last = (chosen[-1], rejected[-1])
    if any(message["role"] != "assistant" for message in last):
        raise BadRecord("a conversation does not end with the assistant")
    return pair_record(chosen[:-1], chosen[-1]["content"], rejected[-1]["content"])


def _implicit_texts(chosen: str, rejected: str) -> Record:
    """The prompt is what both texts begin with, as in TRL, up to a space before the difference."""
    start = commonprefix([chosen, rejected]).removesuffix(" ")
    if not start.strip():
        raise BadRecord("`chosen` and `rejected` do not begin with the same prompt")
    return pair_record(user_message(start), chosen[len(start) :], rejected[len(start) :])


def _transcript(text: str) -> list[Message]:
    """Turns of an hh-rlhf transcript."""
    pieces = re.split(f"({HUMAN}|{ASSISTANT})", text)
    if pieces[0].strip() or len(pieces) < 3:
        raise BadRecord("the transcript does not begin with a turn")
    roles = {HUMAN: "user", ASSISTANT: "assistant"}
    return [
        {"role": roles[marker], "content": content.removeprefix(" ")}
        for marker, content in zip(pieces[1::2], pieces[2::2], strict=True)
    ]


def preference_rows(record: Record, ties: Ties, conversational: bool) -> Iterator[Row]:
    """A row for every judged pair.

    Ties are dropped, or written both ways round ("both"), or both ways round at half the weight
    ("half"; every row has a `weight` then), so that a tie counts as much as a win.
    """
    prompt, completion = _shape(record, conversational)
    for judgement in record.judgements:
        ranked = [(rank, i) for i, rank in enumerate(judgement.ranks) if rank is not None]
        for (rank_a, a), (rank_b, b) in combinations(sorted(ranked), 2):
            tied = rank_a == rank_b
            if tied and ties == "drop":
                continue
            for better, worse in ((a, b), (b, a)) if tied else ((a, b),):
                row = {
                    "prompt": prompt,
                    "chosen": completion(record.responses[better].text),
                    "rejected": completion(record.responses[worse].text),
                }
                yield row | {"weight": 0.5 if tied else 1.0} if ties == "half" else row


def unpaired_rows(record: Record) -> Iterator[Row]:
    """False for a response marked unacceptable, true for an acceptable one that came first.

    Where nobody ranked, an acceptable mark alone is true; other responses are not written.
    """
    prompt, completion = _shape(record, conversational=True)
    for judgement in record.judgements:
        if judgement.unacceptable is None:
            continue
        best = min((rank for rank in judgement.ranks if rank is not None), default=None)
        for response, rank, bad in zip(
            record.responses, judgement.ranks, judgement.unacceptable, strict=True
        ):
            if bad or rank == best:
                yield {"prompt": prompt, "completion": completion(response.text), "label": not bad}


def prompt_only_rows(record: Record) -> Iterator[Row]:
    yield {"prompt": record.messages}


def _shape(record: Record, conversational: bool) -> tuple[Any, Callable[[str], Any]]:
    """The prompt and a function for its completions, as messages or as texts."""
    if conversational:
        return record.messages, lambda text: [{"role": "assistant", "content": text}]
    if len(record.messages) != 1:
        raise BadRecord("a prompt of several messages has no standard form; use trl-preference")
    return record.messages[0]["content"], lambda text: text
