"""Lines of a file that nobody vouches for, one at a time, within documented limits.

A file is plain or gzip (told by its first bytes), and holds JSON lines, one JSON array, or CSV with
a header. Sizes are counted while reading, since those that a file declares may lie.
"""

import csv
import gzip
import json
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from annotate.formats.records import BadLine, BadRecord

MIB = 2**20
GZIP_MAGIC = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
BROKEN_ARRAY = "not JSON, so nothing from here on can be read"

Row = dict[str, Any]


@dataclass(frozen=True)
class Limits:
    """A file over one of the first four is refused, a line over one of the others left out."""

    packed_bytes: int = 50 * MIB
    unpacked_bytes: int = 500 * MIB
    array_bytes: int = 64 * MIB  # a JSON array is held in memory
    lines: int = 200_000
    line_bytes: int = MIB
    depth: int = 20


class FileRefused(ValueError):
    """The whole file cannot be read; the message says why."""


def rows(path: Path, limits: Limits) -> Iterator[tuple[int, Row] | BadLine]:
    """The objects of a file with the number of their line (of the item, in a JSON array).

    CSV rows are objects of texts. Raises FileRefused for what concerns the whole file.
    """
    start = _first_character(path, limits)
    if start == b"[":
        return _array_items(path, limits)
    if start == b"{":
        return _json_lines(path, limits)
    return _csv_rows(path, limits)


def decode(data: bytes, limits: Limits) -> Row:
    """One JSON object, strictly. Raises BadRecord with the reason.

    Refused are: duplicate keys (Python keeps the last without a word), NaN and infinity, NUL and
    lone surrogates (no database stores both), and nesting deeper than the limit.
    """
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise BadRecord("not UTF-8") from error
    except RecursionError as error:
        raise BadRecord(f"nested deeper than {limits.depth}") from error
    except json.JSONDecodeError as error:
        raise BadRecord(f"not JSON: {error.msg} at character {error.pos + 1}") from error
    except BadRecord:
        raise
    except ValueError as error:  # a whole number of thousands of digits
        raise BadRecord("a number is too long") from error
    if not isinstance(value, dict):
        raise BadRecord("not a JSON object")
    _check(value, limits.depth)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> Row:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRecord(f"the key {twice!r} is there twice")
    return found


def _refuse(constant: str) -> None:
    raise BadRecord(f"{constant} is not a number")


def _check(value: Any, depth: int) -> None:
    """Raises BadRecord unless every text and number below `value` can be stored."""
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise BadRecord("a number is infinite")
    elif isinstance(value, dict | list):
        if depth == 0:
            raise BadRecord("nested too deeply")
        if isinstance(value, dict):
            for name in value:
                _check_text(name)
            value = value.values()
        for part in value:
            _check(part, depth - 1)


def _check_text(text: str) -> None:
    if "\0" in text:
        raise BadRecord("a text contains a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRecord("a text contains half of a character pair (a surrogate)") from error


@contextmanager
def _unpacked(path: Path, limits: Limits) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked. Raises FileRefused when it is too large or damaged."""
    if path.stat().st_size > limits.packed_bytes:
        raise FileRefused(f"the file is larger than {limits.packed_bytes // MIB} MiB")
    with path.open("rb") as file:
        packed = file.peek(2).startswith(GZIP_MAGIC)
        try:
            yield cast(IO[bytes], gzip.GzipFile(fileobj=file)) if packed else file
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise FileRefused("the gzip data are damaged or end too early") from error


def _lines(path: Path, limits: Limits) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines; None for a line over the limit."""
    read = 0
    number = 0
    with _unpacked(path, limits) as file:
        while piece := file.readline(limits.line_bytes + 1):
            number += 1
            read += len(piece)
            if number > limits.lines:
                raise FileRefused(f"the file has more than {limits.lines} lines")
            fits = piece.endswith(b"\n") or len(piece) <= limits.line_bytes
            rest = piece
            while rest and not rest.endswith(b"\n"):
                if read > limits.unpacked_bytes:
                    break
                rest = file.readline(limits.line_bytes)
                read += len(rest)
            if read > limits.unpacked_bytes:
                size = limits.unpacked_bytes // MIB
                raise FileRefused(f"the file is larger than {size} MiB when unpacked")
            line = piece.removeprefix(BOM) if number == 1 else piece
            yield number, line if fits else None


def _first_character(path: Path, limits: Limits) -> bytes:
    for _, line in _lines(path, limits):
        if line is None:
            raise FileRefused("the first line is too long")
        if line.strip():
            return line.strip()[:1]
    raise FileRefused("the file is empty")


def _json_lines(path: Path, limits: Limits) -> Iterator[tuple[int, Row] | BadLine]:
    for number, line in _lines(path, limits):
        if line is None:
            yield BadLine(number, f"longer than {limits.line_bytes} bytes")
        elif line.strip():
            try:
                yield number, decode(line, limits)
            except BadRecord as error:
                yield BadLine(number, str(error))


def _array_items(path: Path, limits: Limits) -> Iterator[tuple[int, Row] | BadLine]:
    """Items of one JSON array. Where the JSON is broken nothing after it can be read."""
    with _unpacked(path, limits) as file:
        data = file.read(limits.array_bytes + 1)
    if len(data) > limits.array_bytes:
        size = limits.array_bytes // MIB
        raise FileRefused(f"a JSON array may have {size} MiB unpacked; use JSON lines instead")
    try:
        text = data.removeprefix(BOM).decode()
    except UnicodeDecodeError as error:
        raise FileRefused("not UTF-8") from error
    scan = json.JSONDecoder().raw_decode
    place, number = _skip_space(text, text.index("[") + 1), 0
    while text[place : place + 1] != "]":
        number += 1
        if number > limits.lines:
            raise FileRefused(f"the file has more than {limits.lines} items")
        try:
            _, end = scan(text, place)
            item = text[place:end].encode()
            if len(item) > limits.line_bytes:
                raise BadRecord(f"longer than {limits.line_bytes} bytes")
            yield number, decode(item, limits)
        except BadRecord as error:
            yield BadLine(number, str(error))
        except (ValueError, RecursionError):
            yield BadLine(number, BROKEN_ARRAY)
            return
        place = _skip_space(text, end)
        if text[place : place + 1] == ",":
            place = _skip_space(text, place + 1)
        elif text[place : place + 1] != "]":
            yield BadLine(number + 1, BROKEN_ARRAY)
            return


def _skip_space(text: str, place: int) -> int:
    while text[place : place + 1] in (" ", "\t", "\r", "\n"):
        place += 1
    return place


def _csv_rows(path: Path, limits: Limits) -> Iterator[tuple[int, Row] | BadLine]:
    """Rows of a CSV file as objects of texts, with the number of the line where a row begins."""
    csv.field_size_limit(limits.line_bytes)
    reader = csv.reader(_csv_text(path, limits), strict=True)
    header: list[str] | None = None
    number = 1
    while True:
        try:
            row = next(reader, None)
            if row is None:
                return
            if header is None:
                header = [name.strip() for name in row]
                if len(set(header)) < len(header):
                    raise FileRefused("the header names a column twice")
            elif row:
                yield number, _csv_row(header, row, limits)
        except BadRecord as error:
            yield BadLine(number, str(error))
        except csv.Error as error:
            yield BadLine(number, f"not CSV: {error}; nothing from here on can be read")
            return
        number = reader.line_num + 1


def _csv_row(header: list[str], row: list[str], limits: Limits) -> Row:
    if len(row) > len(header):
        raise BadRecord(f"{len(row)} columns where the header has {len(header)}")
    if sum(map(len, row)) > limits.line_bytes:
        raise BadRecord(f"longer than {limits.line_bytes} characters")
    for value in row:
        _check_text(value)
    return dict(zip(header, row, strict=False))


def _csv_text(path: Path, limits: Limits) -> Iterator[str]:
    for number, line in _lines(path, limits):
        if line is None:
            raise FileRefused(f"line {number} is longer than {limits.line_bytes} bytes")
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise FileRefused(f"line {number} is not UTF-8") from error
