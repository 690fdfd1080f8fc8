"""Judgements as studies publish them: one person's view of a few responses a line.

Two shapes are read. In the first, columns are numbered:

    {"mr_id": "1", "mr": "name[Blue Spice]", "worker": "w005",
     "ref1": "Blue Spice is a pub.", "team1": "baseline", "quality1": "100",
     "ref2": "Blue Spice is a café.", "team2": "slug", "quality2": "75"}

In the second, responses are a list:

    {"item": "1", "annotator": "w005", "dimension": "quality", "prompt": "name[Blue Spice]",
     "outputs": [{"system": "baseline", "text": "Blue Spice is a pub."}, …], "ranks": [1, 2]}

with `ranks`, 1 the best, or `scores`, the highest the best. Names are told from the lists below.
The lines of an item become one record. Of several criteria people judged by, one is read.
Responses that read alike are one response, which has the mean of what was said of them.

K is the number of responses of a line.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from annotate.formats.lines import FileRefused, Row
from annotate.formats.records import (
    BadLine,
    BadRecord,
    Judgement,
    Record,
    ResponseText,
    in_neutral_order,
    list_field,
    optional_text,
    user_message,
)

TEXTS = ("response", "output", "answer", "completion", "summary", "text", "ref", "hypothesis")
SOURCES = ("source", "system", "model", "team")
PROMPTS = ("prompt", "instruction", "question", "context", "input", "post", "mr")
ANNOTATORS = ("annotator", "annotator_id", "worker", "worker_id", "rater", "judge", "user")
ITEMS = ("item", "item_id", "id", "example_id", "prompt_id", "mr_id")
CRITERIA = ("dimension", "criterion", "aspect")
PLACES = ("rank", "ranking", "place", "position")  # 1 is the best; of other numbers the highest
# Which criterion is read where there are several and nobody says which.
OVERALL = ("overall", "preference", "quality", "rank", "score", "rating")
NUMBERED = re.compile(r"(.*?[A-Za-z])_?(\d{1,2})")


@dataclass(frozen=True)
class _Line:
    """One person's view; `values` (K,), the less the better, None where nothing was said."""

    prompt: str
    item: str | None
    annotator: str | None
    texts: Sequence[str]
    sources: Sequence[str | None]
    values: Sequence[float | None]


@dataclass
class _Item:
    number: int
    lines: list[_Line] = field(default_factory=list)


def is_ratings(row: Row) -> bool:
    if not _name(row, PROMPTS):
        return False
    if "outputs" in row:
        return "ranks" in row or "scores" in row
    columns = _numbered(row)
    return any(len(columns.get(name, ())) > 1 for name in TEXTS) and bool(_rated(row, columns))


def read_ratings(
    lines: Iterable[tuple[int, Row] | BadLine], criterion: str = ""
) -> Iterator[Record | BadLine]:
    """Records of the lines' items, each at the place of its first line.

    Raises FileRefused where there are several criteria and `criterion` names none of them.
    """
    items: dict[tuple[Any, ...], _Item] = {}
    for line in lines:
        if isinstance(line, BadLine):
            yield line
            continue
        number, row = line
        try:
            found = _line(row, criterion)
        except BadRecord as error:
            yield BadLine(number, str(error))
            continue
        if found:
            key = found.item, found.prompt, frozenset(found.texts)
            items.setdefault(key, _Item(number)).lines.append(found)
    for item in items.values():
        try:
            yield _record(item, criterion)
        except BadRecord as error:
            yield BadLine(item.number, str(error))


def _line(row: Row, criterion: str) -> _Line | None:
    """The line's view by the criterion; None where it is about another one."""
    prompt = _name(row, PROMPTS)
    if not prompt:
        raise BadRecord(f"none of {', '.join(PROMPTS)} is there")
    item, annotator = _name(row, ITEMS), _name(row, ANNOTATORS)
    about = (
        str(row[prompt]),
        optional_text(row, item) if item else None,
        optional_text(row, annotator) if annotator else None,
    )
    if "outputs" in row:
        said = str(row[name]) if (name := _name(row, CRITERIA)) else ""
        return _Line(*about, *_listed(row)) if criterion in ("", said) else None
    return _Line(*about, *_in_columns(row, criterion))


def _listed(row: Row) -> tuple[list[str], list[str | None], list[float | None]]:
    outputs = list_field(row, "outputs")
    if not all(isinstance(one, dict) and isinstance(one.get("text"), str) for one in outputs):
        raise BadRecord("`outputs` are not objects with a `text`")
    by_rank = row.get("ranks") is not None
    values = list_field(row, "ranks" if by_rank else "scores")
    if len(values) != len(outputs):
        raise BadRecord(f"{len(values)} judgements of {len(outputs)} outputs")
    sign = 1 if by_rank else -1
    return (
        [one["text"] for one in outputs],
        [_source(one.get("system", one.get("key"))) for one in outputs],
        [None if value is None else sign * _number(value) for value in values],
    )


def _in_columns(row: Row, criterion: str) -> tuple[list[str], list[str | None], list[float | None]]:
    columns = _numbered(row)
    text = next(name for name in TEXTS if len(columns.get(name, ())) > 1)
    rated = criterion or _only(_rated(row, columns))
    if rated not in columns:
        raise FileRefused(f"there are no numbered columns {rated!r}")
    source = next((name for name in SOURCES if name in columns), "")
    sign = 1 if rated in PLACES else -1
    numbers = sorted(columns[text])
    said = [columns[rated].get(n, "") for n in numbers]
    values = [row[column] if column else None for column in said]
    return (
        [str(row[columns[text][n]]) for n in numbers],
        [_source(row[columns[source][n]]) if source else None for n in numbers],
        [None if value in (None, "") else sign * _number(value) for value in values],
    )


def _record(item: _Item, criterion: str) -> Record:
    """The item with what everybody said."""
    sources: dict[str, str | None] = {}  # where a text came from first
    for line in item.lines:
        for text, source in zip(line.texts, line.sources, strict=True):
            sources.setdefault(text, source)
    responses = [ResponseText(text, source) for text, source in sources.items()]
    responses = [responses[place] for place in in_neutral_order(responses)]
    first = item.lines[0]
    name = " ".join(part for part in (first.item, criterion) if part)
    return Record(
        messages=user_message(first.prompt),
        responses=responses,
        judgements=[
            Judgement(line.annotator, _ranks(line, [one.text for one in responses]))
            for line in item.lines
        ],
        external_id=name or None,
        number=item.number,
    )


def _ranks(line: _Line, texts: Sequence[str]) -> list[int | None]:
    """What the line says of the texts, as ranks; equal values are a tie."""
    said: dict[str, list[float]] = {}
    for text, value in zip(line.texts, line.values, strict=True):
        if value is not None:
            said.setdefault(text, []).append(value)
    mean = {text: fmean(values) for text, values in said.items()}
    return [
        None if text not in mean else 1 + sum(other < mean[text] for other in mean.values())
        for text in texts
    ]


def _numbered(row: Row) -> dict[str, dict[int, str]]:
    """The numbered columns by their name and number."""
    found: dict[str, dict[int, str]] = {}
    for column in row:
        if match := NUMBERED.fullmatch(column):
            found.setdefault(match[1], {})[int(match[2])] = column
    return found


def _rated(row: Row, columns: dict[str, dict[int, str]]) -> list[str]:
    """The names of numbered columns that hold numbers."""
    return [
        name
        for name, numbered in columns.items()
        if name not in TEXTS + SOURCES and len(numbered) > 1
        if all(_is_number(row[column]) for column in numbered.values())
    ]


def _only(rated: Sequence[str]) -> str:
    if len(rated) == 1:
        return rated[0]
    if usual := [name for name in OVERALL if name in rated]:
        return usual[0]
    raise FileRefused(f"people judged by {', '.join(rated)}: say which with --criterion")


def _name(row: Row, names: Sequence[str]) -> str | None:
    return next((name for name in names if row.get(name) not in (None, "")), None)


def _source(value: object) -> str | None:
    return str(value) if value not in (None, "") else None


def _is_number(value: object) -> bool:
    try:
        _number(value)
    except BadRecord:
        return value in (None, "")
    return True


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise BadRecord(f"{value!r} is not a number")
    try:
        number = float(value)
    except ValueError as error:
        raise BadRecord(f"{value!r} is not a number") from error
    if not math.isfinite(number):
        raise BadRecord(f"{value!r} is not a number")
    return number
