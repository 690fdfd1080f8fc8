"""Files of prompts, responses and judgements, read and written; see docs for the list of formats.

for found in read(path):           # Record or BadLine, in the order of the file
write(records, path, "prefloop")   # "….gz" is packed
"""

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from annotate.formats import arena, native, platforms, ratings, research, table, trl
from annotate.formats.lines import FileRefused, Limits, Row, rows
from annotate.formats.records import (
    BadLine,
    BadRecord,
    Judgement,
    Message,
    Record,
    ResponseText,
)
from annotate.formats.trl import Ties

__all__ = [
    "READABLE",
    "WRITABLE",
    "BadLine",
    "BadRecord",
    "FileRefused",
    "Judgement",
    "Limits",
    "Message",
    "Record",
    "ResponseText",
    "detect",
    "read",
    "write",
]

Lines = Iterable[tuple[int, Row] | BadLine]


@dataclass(frozen=True)
class _Format:
    """How a format is told by one object of the file, and how its lines become records."""

    matches: Callable[[Row], bool]
    read: Callable[[Lines], Iterator[Record | BadLine]]


def _each(parse: Callable[[Row], Record]) -> Callable[[Lines], Iterator[Record | BadLine]]:
    """Reads a format in which every line is a record."""

    def read_lines(lines: Lines) -> Iterator[Record | BadLine]:
        for line in lines:
            if isinstance(line, BadLine):
                yield line
                continue
            number, row = line
            try:
                yield replace(parse(row), number=number)
            except BadRecord as error:
                yield BadLine(number, str(error))
            except KeyError as error:
                yield BadLine(number, f"{error} is missing")

    return read_lines


# In the order in which they are tried: what asks for more comes first.
_FORMATS = {
    "csv": _Format(table.is_table, table.read_table),
    "prefloop": _Format(native.is_native, _each(native.read_native)),
    "pandalm": _Format(research.is_pandalm, _each(research.read_pandalm)),
    "lamp": _Format(research.is_lamp, research.read_lamp),
    "wqrm": _Format(research.is_wqrm, _each(research.read_wqrm)),
    "qa-feedback": _Format(research.is_qa_feedback, _each(research.read_qa_feedback)),
    "arena": _Format(arena.is_battle, _each(arena.read_battle)),
    "label-studio": _Format(platforms.is_label_studio, _each(platforms.read_label_studio)),
    "argilla": _Format(platforms.is_argilla, _each(platforms.read_argilla)),
    "hh-rlhf": _Format(trl.is_hh, _each(trl.read_hh)),
    "trl-preference": _Format(trl.is_preference, _each(trl.read_preference)),
    "trl-unpaired": _Format(trl.is_unpaired, _each(trl.read_unpaired)),
    "prompt-completion": _Format(trl.is_prompt_completion, _each(trl.read_prompt_completion)),
    "ratings": _Format(ratings.is_ratings, ratings.read_ratings),
    "trl-prompt-only": _Format(trl.is_prompt_only, _each(trl.read_prompt_only)),
}
READABLE = tuple(_FORMATS)
WRITABLE = (
    "prefloop",
    "csv",
    "trl-preference",
    "trl-preference-standard",
    "trl-unpaired",
    "trl-prompt-only",
)
_SNIFFED_LINES = 100


def read(
    path: Path, format: str | None = None, limits: Limits | None = None, criterion: str = ""
) -> Iterator[Record | BadLine]:
    """The records of a file, and in their place the lines that cannot be used.

    The format is one of READABLE, or told from the content. `criterion` is for "ratings" by several
    criteria: which of them is read. Raises FileRefused for what concerns
    the whole file, at once or, where a limit is met later, on the way.
    """
    limits = limits or Limits()
    name = format or detect(path, limits)
    if name not in _FORMATS:
        raise FileRefused(f"unknown format {name!r}; known are {', '.join(READABLE)}")
    if criterion:
        if name != "ratings":
            raise FileRefused(f"{name!r} has no criteria to choose from")
        return ratings.read_ratings(rows(path, limits), criterion)
    return _FORMATS[name].read(rows(path, limits))


def detect(path: Path, limits: Limits | None = None) -> str:
    """The format of a file, from its first object. Raises FileRefused where none fits."""
    seen = 0
    for line in rows(path, limits or Limits()):
        seen += 1
        if not isinstance(line, BadLine):
            _, row = line
            for name, known in _FORMATS.items():
                if known.matches(row):
                    return name
            keys = ", ".join(sorted(row)[:12])
            raise FileRefused(f"no known format has the fields {keys}")
        if seen == _SNIFFED_LINES:
            break
    raise FileRefused(
        f"none of the first {seen} lines could be read" if seen else "the file holds nothing"
    )


def write(
    records: Iterable[Record], target: Path | TextIO, format: str, ties: Ties = "drop"
) -> int:
    """Write records in one of the WRITABLE formats; returns the number of lines (rows of a CSV).

    `ties` is for preference pairs: see trl.preference_rows. A path that ends in .gz is packed; the
    same records give the same bytes. CSV is put together in memory, since its header needs the
    largest number of responses; a stream for it must not translate line ends (newline="").
    Raises ValueError for an unknown format, and for a record that the format cannot hold.
    """
    if format not in WRITABLE:
        raise ValueError(f"unknown format {format!r}; known are {', '.join(WRITABLE)}")
    if not isinstance(target, Path):
        return _write_stream(records, target, format, ties)
    if target.suffix != ".gz":
        with target.open("w", encoding="utf-8", newline="") as file:
            return _write_stream(records, file, format, ties)
    with (
        target.open("wb") as packed,
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as raw,
        io.TextIOWrapper(raw, encoding="utf-8", newline="") as file,
    ):
        return _write_stream(records, file, format, ties)


def _write_stream(records: Iterable[Record], file: TextIO, format: str, ties: Ties) -> int:
    if format == "csv":
        cells = [row for record in records for row in table.table_rows(record)]
        writer = csv.DictWriter(file, table.columns(cells), "", "ignore", quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(cells)
        return len(cells)
    count = 0
    for record in records:
        for row in _rows_of(record, format, ties):
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def _rows_of(record: Record, format: str, ties: Ties) -> Iterable[Row]:
    if format == "prefloop":
        return [native.native_row(record)]
    if format == "trl-unpaired":
        return trl.unpaired_rows(record)
    if format == "trl-prompt-only":
        return trl.prompt_only_rows(record)
    return trl.preference_rows(record, ties, conversational=format == "trl-preference")
