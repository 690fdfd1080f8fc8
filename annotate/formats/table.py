"""CSV for spreadsheets: one judgement a row.

Columns: prompt, response_1 … response_K, and as far as there is something to say: rank_1 … rank_K
(1 the best, equal a tie, blank not ranked), annotator, unacceptable_1 … (yes or blank), source_1 …,
display_order (the numbers of the responses as shown, "2 1 3"), rationale, created_at, topic,
language, content_categories (names, "violence, health"), external_id, split, demonstration, and
messages, a JSON list that stands for a prompt of several messages. Neighbouring rows with the same
prompt and responses are one record.

A spreadsheet takes a text that begins with = + - @ tab or return for a formula. Such texts are
written with an apostrophe before them, which reading takes off again. (A trailing response that is
empty and has no rank or source is read as absent.)
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from annotate.formats.lines import Row
from annotate.formats.records import (
    BadLine,
    BadRecord,
    Judgement,
    Message,
    Record,
    ResponseText,
    message_list,
    time_field,
    user_message,
)

FORMULA = re.compile(r"'*[=+\-@\t\r]")
NUMBERED = ("response", "rank", "unacceptable", "source")


def is_table(row: Row) -> bool:
    return {"prompt", "response_1"} <= row.keys()


def read_table(lines: Iterable[tuple[int, Row] | BadLine]) -> Iterator[Record | BadLine]:
    """Records of a CSV file, the judgements of neighbouring rows gathered."""
    waiting: Record | None = None
    for line in lines:
        if isinstance(line, BadLine):
            yield line
            continue
        number, row = line
        try:
            record = replace(_record(row), number=number)
        except BadRecord as error:
            yield BadLine(number, str(error))
            continue
        if waiting and replace(waiting, judgements=[]) == replace(record, judgements=[]):
            record = replace(waiting, judgements=waiting.judgements + record.judgements)
        elif waiting:
            yield waiting
        waiting = record
    if waiting:
        yield waiting


def table_rows(record: Record) -> Iterator[dict[str, str]]:
    """Cells by column name, formulas defused; a record that nobody judged is one row."""
    cells = {
        "prompt": record.messages[-1]["content"],
        "topic": record.topic,
        "language": record.language,
        "content_categories": ", ".join(record.content_categories),
        "external_id": record.external_id or "",
        "split": record.split or "",
        "demonstration": record.demonstration or "",
    }
    if not _is_plain(record.messages):
        cells["messages"] = json.dumps(record.messages, ensure_ascii=False)
    for number, response in enumerate(record.responses, 1):
        cells[f"response_{number}"] = response.text
        cells[f"source_{number}"] = response.source or ""
    for said in [_judgement_cells(judgement) for judgement in record.judgements] or [{}]:
        yield {name: _defuse(cell) for name, cell in (cells | said).items()}


def columns(rows: Iterable[dict[str, str]]) -> list[str]:
    """The columns that any of the rows fills, in a fixed order."""
    used = {name for row in rows for name, cell in row.items() if cell}
    used |= {"prompt", *(name for row in rows for name in row if name.startswith("response_"))}
    count = max((int(name.rsplit("_", 1)[1]) for name in used if _numbered(name)), default=0)
    order = [
        "external_id", "topic", "language", "content_categories", "split", "prompt", "messages",
        *(f"{name}_{number}" for name in NUMBERED for number in range(1, count + 1)),
        "annotator", "display_order", "rationale", "created_at", "demonstration",
    ]  # fmt: skip
    return [name for name in order if name in used]


def _numbered(name: str) -> bool:
    return re.fullmatch(rf"({'|'.join(NUMBERED)})_\d+", name) is not None


def _is_plain(messages: list[Message]) -> bool:
    return len(messages) == 1 and messages[0]["role"] == "user"


def _judgement_cells(judgement: Judgement) -> dict[str, str]:
    cells = {
        "annotator": judgement.annotator or "",
        "rationale": judgement.rationale,
        "created_at": judgement.created_at.isoformat() if judgement.created_at else "",
        "display_order": " ".join(str(index + 1) for index in judgement.display_order or []),
    }
    for number, rank in enumerate(judgement.ranks, 1):
        cells[f"rank_{number}"] = "" if rank is None else str(rank)
    for number, bad in enumerate(judgement.unacceptable or [], 1):
        cells[f"unacceptable_{number}"] = "yes" if bad else "no"
    return cells


def _defuse(cell: str) -> str:
    return f"'{cell}" if FORMULA.match(cell) else cell


def _plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def _record(row: Row) -> Record:
    cells = {name: _plain(cell) for name, cell in row.items()}
    k = 0
    while f"response_{k + 1}" in cells:
        k += 1
    while k and not any(cells.get(f"{name}_{k}") for name in ("response", "rank", "source")):
        k -= 1
    return Record(
        messages=_messages(cells),
        responses=[
            ResponseText(cells[f"response_{n}"], cells.get(f"source_{n}") or None)
            for n in range(1, k + 1)
        ],
        judgements=_judgements(cells, k),
        topic=cells.get("topic", ""),
        language=cells.get("language", ""),
        content_categories=[
            name.strip() for name in cells.get("content_categories", "").split(",") if name.strip()
        ],
        external_id=cells.get("external_id") or None,
        split=cells.get("split") or None,
        demonstration=cells.get("demonstration") or None,
    )


def _messages(cells: dict[str, str]) -> list[Message]:
    if not cells.get("messages"):
        return user_message(cells.get("prompt", ""))
    try:
        return message_list(json.loads(cells["messages"]), "messages")
    except json.JSONDecodeError as error:
        raise BadRecord("`messages` is not JSON") from error


def _judgements(cells: dict[str, str], k: int) -> list[Judgement]:
    """The row's judgement, or none where nothing was judged."""
    ranks = [_number(cells.get(f"rank_{n}", ""), "rank") for n in range(1, k + 1)]
    marks = [cells.get(f"unacceptable_{n}", "").strip().lower() for n in range(1, k + 1)]
    if not any(ranks) and not any(marks):
        return []
    order = [_number(part, "display order") for part in cells.get("display_order", "").split()]
    return [
        Judgement(
            annotator=cells.get("annotator") or None,
            ranks=ranks,
            display_order=[place - 1 for place in order if place is not None] or None,
            unacceptable=[mark in ("yes", "true", "1", "x") for mark in marks]
            if any(marks)
            else None,
            rationale=cells.get("rationale", ""),
            created_at=time_field(cells.get("created_at", "")),
        )
    ]


def _number(cell: str, what: str) -> int | None:
    if not cell.strip():
        return None
    if not cell.strip().isdecimal():
        raise BadRecord(f"the {what} {cell!r} is not a whole number")
    return int(cell)
