"""Prefloop's own JSON lines: everything a record holds, one prompt a line.

    {"messages": [{"role": "user", "content": "Why is the sky blue?"}],
     "responses": [{"text": "Air scatters blue light more.", "source": "policy 3"}, {"text": "…"}],
     "judgements": [{"annotator": "p7f3", "ranks": [1, 2], "display_order": [1, 0],
                     "unacceptable": [false, true], "rationale": "…",
                     "created_at": "2026-03-01T10:20:30+00:00"}],
     "topic": "sky", "language": "en", "content_categories": ["weather"],
     "external_id": "sky-1", "split": "train",
     "demonstration": "An answer that a person wrote."}

Only `messages` must be there. `ranks` and `unacceptable` follow the order of `responses`: 1 is the
best, equal ranks are a tie, null is not ranked. `display_order` lists indices of responses in the
order in which this annotator saw them. Other keys are passed over, so that the lines of a frozen
snapshot are read as well.
"""

from typing import Any

from annotate.formats.lines import Row
from annotate.formats.records import (
    BadRecord,
    Judgement,
    Record,
    ResponseText,
    list_field,
    message_list,
    optional_text,
    text_field,
    text_list,
    time_field,
)


def is_native(row: Row) -> bool:
    return "messages" in row and ("responses" in row or "demonstration" in row)


def read_native(row: Row) -> Record:
    return Record(
        messages=message_list(row.get("messages"), "messages"),
        responses=[
            ResponseText(text_field(part, "text"), optional_text(part, "source"))
            for part in _objects(row, "responses")
        ],
        judgements=[_judgement(part) for part in _objects(row, "judgements")],
        topic=optional_text(row, "topic") or "",
        language=optional_text(row, "language") or "",
        content_categories=text_list(row, "content_categories"),
        external_id=optional_text(row, "external_id"),
        split=optional_text(row, "split"),
        demonstration=optional_text(row, "demonstration"),
    )


def native_row(record: Record) -> Row:
    """The line of a record; what is empty is left out."""
    row = {
        "messages": record.messages,
        "responses": [_filled(text=r.text, source=r.source) for r in record.responses],
        "judgements": [
            _filled(
                annotator=judgement.annotator,
                ranks=judgement.ranks,
                display_order=judgement.display_order,
                unacceptable=judgement.unacceptable,
                rationale=judgement.rationale or None,
                created_at=judgement.created_at and judgement.created_at.isoformat(),
            )
            for judgement in record.judgements
        ],
    }
    return row | _filled(
        topic=record.topic or None,
        language=record.language or None,
        content_categories=record.content_categories or None,
        external_id=record.external_id,
        split=record.split,
        demonstration=record.demonstration,
    )


def _filled(**parts: Any) -> Row:
    return {name: part for name, part in parts.items() if part is not None}


def _objects(row: Row, name: str) -> list[Row]:
    parts = list_field(row, name) if name in row else []
    if not all(isinstance(part, dict) for part in parts):
        raise BadRecord(f"`{name}` is not a list of objects")
    return parts


def _judgement(part: Row) -> Judgement:
    marks = part.get("unacceptable")
    if marks is not None and not (
        isinstance(marks, list) and all(isinstance(mark, bool) for mark in marks)
    ):
        raise BadRecord("`unacceptable` is not a list of true and false")
    return Judgement(
        annotator=optional_text(part, "annotator"),
        ranks=list_field(part, "ranks"),
        display_order=list_field(part, "display_order") if part.get("display_order") else None,
        unacceptable=marks,
        rationale=optional_text(part, "rationale") or "",
        created_at=time_field(part.get("created_at")),
    )
