"""Lines of text as columns of raw values."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import polars as pl

from amiss.sources.streams import LINE_LIMIT

Line = tuple[int, bytes]
Reject = Callable[[int, str, str], None]
_DECODER: Final = msgspec.json.Decoder(dict)
_WHOLE: Final = 2**63
_ROW_LINES: Final = 100


def text_of(line: bytes, *, latin1: bool) -> str | None:
    """The line as text, or None where it is not in the file's encoding."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1") if latin1 else None


def shown(line: bytes) -> str:
    """The beginning of a line, to be kept with the reason why it was not read."""
    return line[:800].decode("utf-8", "replace")


def readable(lines: Iterable[Line], reject: Reject, *, latin1: bool) -> Iterator[tuple[int, str]]:
    """The lines that are text, without line ends; blank ones are left out."""
    for number, line in lines:
        if len(line) > LINE_LIMIT:
            reject(number, "line longer than 1 MiB", shown(line))
        elif b"\0" in line:
            reject(number, "NUL byte", shown(line))
        elif (text := text_of(line, latin1=latin1)) is None:
            reject(number, "not UTF-8", shown(line))
        elif stripped := text.rstrip("\r\n"):
            yield number, stripped


# --- JSON


def from_json(
    data: bytes, first_line: int, paths: Sequence[str], reject: Reject, *, latin1: bool = False
) -> pl.DataFrame:
    """The raw columns `paths` of a block of JSON lines, with `position`."""
    records = _whole_block(data)
    if records is not None:
        return json_raw(records, range(first_line, first_line + len(records)), paths)
    lines = enumerate(data.split(b"\n")[:-1], start=first_line)
    return json_raw(*line_by_line(lines, reject, latin1=latin1), paths)


def from_json_lines(
    lines: Iterable[Line], paths: Sequence[str], reject: Reject, *, latin1: bool = False
) -> pl.DataFrame:
    """The raw columns `paths` of numbered JSON lines."""
    return json_raw(*line_by_line(lines, reject, latin1=latin1), paths)


def _whole_block(data: bytes) -> list[dict[str, Any]] | None:
    """All records at once where every line holds one."""
    if b"\0" in data:
        return None
    try:
        records = _DECODER.decode_lines(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if len(records) != data.count(b"\n") or (len(data) > LINE_LIMIT and _has_long_line(data)):
        return None
    return records


def _has_long_line(data: bytes) -> bool:
    return max(map(len, data.split(b"\n"))) > LINE_LIMIT


def line_by_line(lines: Iterable[Line], reject: Reject, *, latin1: bool) -> tuple[list[dict[str, Any]], list[int]]:
    """Records of numbered JSON lines, and the lines' numbers."""
    records, numbers = [], []
    for number, text in readable(lines, reject, latin1=latin1):
        if not text.strip():
            continue
        record = _record(text)
        if isinstance(record, str):
            reject(number, record, text)
        else:
            records.append(record)
            numbers.append(number)
    return records, numbers


def _record(text: str) -> dict[str, Any] | str:
    """The object on a line, or why there is none."""
    try:
        return _DECODER.decode(text)
    except msgspec.ValidationError:
        return "not a JSON object"
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _lenient(text)


def _lenient(text: str) -> dict[str, Any] | str:
    """The object on a line with NaN or Infinity, which JSON lacks but many programs write."""
    try:
        record, end = json.JSONDecoder().raw_decode(text.strip())
        json.dumps(record, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return "not JSON"
    if text.strip()[end:].lstrip().startswith("{"):
        return "more than one JSON object on a line"
    if text.strip()[end:]:
        return "not JSON"
    return record if isinstance(record, dict) else "not a JSON object"


def json_raw(records: Sequence[dict[str, Any]], numbers: Sequence[int], paths: Sequence[str]) -> pl.DataFrame:
    """Raw columns of records; a path is a key, or keys of nested records joined by points."""
    series = [pl.Series("position", numbers, dtype=pl.Int64)]
    for path in paths:
        if "." in path:
            keys = path.split(".")
            values = [_nested(record, path, keys) for record in records]
        else:
            values = [record.get(path) for record in records]
        series.append(_column(path, values))
    return pl.DataFrame(series)


def _nested(record: dict[str, Any], path: str, keys: list[str]) -> Any:  # noqa: ANN401 - any JSON value
    if path in record:
        return record[path]
    value: Any = record
    for place, key in enumerate(keys):
        if not isinstance(value, dict):
            return None
        rest = ".".join(keys[place:])
        if rest in value:
            return value[rest]
        value = value.get(key)
    return value


def _column(name: str, values: list[Any]) -> pl.Series:
    """JSON values as one column: numbers if all are numbers, otherwise texts."""
    kinds = set(map(type, values)) - {type(None)}
    if kinds <= {str}:
        return pl.Series(name, values, dtype=pl.String)
    if kinds == {bool}:
        return pl.Series(name, values, dtype=pl.Boolean)
    if kinds == {int} and all(value is None or -_WHOLE <= value < _WHOLE for value in values):
        return pl.Series(name, values, dtype=pl.Int64)
    if kinds == {float}:
        return pl.Series(name, values, dtype=pl.Float64)
    return pl.Series(name, [_scalar_text(value) for value in values], dtype=pl.String)


def _scalar_text(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return None if value != value else str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)  # noqa: PLR0124 - NaN
    if isinstance(value, list) and all(isinstance(item, (str, int, float)) for item in value):
        return ",".join(map(str, value)) or None
    return str(value) if isinstance(value, int) else json.dumps(value, ensure_ascii=False)


def leaf_paths(records: Iterable[dict[str, Any]], limit: int = 500) -> tuple[str, ...]:
    """Dotted paths of the values in nested records, in order of first appearance."""
    found: dict[str, None] = {}
    for record in records:
        for path in _leaves(record, "", 6):
            found.setdefault(path)
            if len(found) >= limit:
                return tuple(found)
    return tuple(found)


def _leaves(record: dict[str, Any], prefix: str, depth: int) -> Iterator[str]:
    for key, value in record.items():
        if isinstance(value, dict) and value and depth:
            yield from _leaves(value, f"{prefix}{key}.", depth - 1)
        elif key:
            yield prefix + key


# --- CSV


def from_csv(
    lines: Iterable[Line], header: Sequence[str], reject: Reject, *, delimiter: str = ",", latin1: bool = False
) -> pl.DataFrame:
    """The raw columns of CSV lines, all of them texts, with `position`."""
    texts = list(readable(lines, reject, latin1=latin1))
    rows = _Rows(len(header))
    start = 0
    while start < len(texts):
        start = _read_rows(texts, start, delimiter, rows, reject)
    values = list(zip(*rows.values, strict=True)) or [()] * len(header)
    series = [pl.Series("position", rows.numbers, dtype=pl.Int64)]
    return pl.DataFrame(
        series + [pl.Series(name, column, dtype=pl.String) for name, column in zip(header, values, strict=True)]
    )


@dataclass
class _Rows:
    """CSV rows read so far, their positions, and how wide they must be."""

    width: int
    numbers: list[int] = field(default_factory=list)
    values: list[list[str]] = field(default_factory=list)

    def add(self, number: int, row: list[str], text: str, reject: Reject) -> None:
        """Keep a row of the right width; fields too many are borne when empty."""
        if len(row) == self.width or (len(row) > self.width and not any(row[self.width :])):
            self.numbers.append(number)
            self.values.append(row[: self.width])
        elif row:
            reject(number, f"{len(row)} fields instead of {self.width}", text)


def _read_rows(texts: list[tuple[int, str]], start: int, delimiter: str, rows: _Rows, reject: Reject) -> int:
    """Add rows from `start` on; stop behind a row that is broken, and say where to go on."""
    before = 0

    def fed() -> Iterator[str]:
        """Lines up to the most that one row may take, so that an open quote does not swallow the rest."""
        for place in range(start, len(texts)):
            if place - start - before > _ROW_LINES:
                return
            yield texts[place][1] + "\n"

    reader = csv.reader(fed(), delimiter=delimiter)
    try:
        for row in reader:
            number, text = texts[start + before]
            first, before = before, reader.line_num
            if before - first > 1 and _is_open(texts, start + first, before - first):
                reject(number, "quote is never closed", text)
                return start + first + 1
            rows.add(number, row, text, reject)
    except csv.Error as error:
        number, text = texts[start + before]
        reject(number, f"not CSV: {error}", text)
        return start + before + 1
    return len(texts)


def _is_open(texts: list[tuple[int, str]], start: int, used: int) -> bool:
    """Whether a row over several lines is only a quote that nobody closed."""
    odd = sum(text.count('"') for _, text in texts[start : start + used]) % 2 == 1
    return used > _ROW_LINES or (odd and start + used == len(texts))
