"""What kind of file these first bytes begin."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from amiss.errors import SourceError
from amiss.sources import authlog, weblog

Kind = Literal["ndjson", "json", "csv", "parquet", "access", "auth"]

_LINES: Final = 200
_ENOUGH: Final = 0.5
_SOME: Final = 0.3
_FEW: Final = 0.2
_DELIMITERS: Final = (",", "\t", ";", "|")
_WRAPPED: Final = re.compile(rb'\s*\{\s*"\w{1,40}"\s*:\s*\[\s*(\{|\])')
_MAGICS: Final = {
    b"PK\x03\x04": "a ZIP archive",
    b"SQLite format 3": "a SQLite database",
    b"ARROW1": "an Arrow file",
    b"\x89PNG": "a picture",
    b"%PDF": "a PDF document",
    b"BZh": "bzip2 data",
    b"\xfd7zXZ": "xz data",
    b"Obj\x01": "an Avro file",
    b"ORC": "an ORC file",
}


@dataclass(frozen=True)
class FileFormat:
    """What a file is made of; `delimiter` and `header` for CSV, `latin1` when it is not in UTF-8 throughout."""

    kind: Kind
    delimiter: str = ","
    header: tuple[str, ...] = ()
    has_header: bool = True
    latin1: bool = False


def sniff(head: bytes, name: str) -> FileFormat:
    r"""The format of a file, by its first (decompressed) bytes.

    Raises
    ------
    SourceError
        If they are of no known format.

    Examples
    --------
    >>> sniff(b'{"user": "ann"}\n', "x").kind, sniff(b"time;user\n1;ann\n", "x").delimiter
    ('ndjson', ';')
    """
    if head.startswith(b"PAR1"):
        return FileFormat("parquet")
    found = next((what for magic, what in _MAGICS.items() if head.startswith(magic)), None)
    if found:
        raise SourceError(f"{name} is {found}, which amiss does not read. Give {KNOWN}")
    lines = [line.strip() for line in head.split(b"\n")[:_LINES] if line.strip(b"\r\n\t \0")]
    latin1 = _is_latin1(head)
    text = [line.decode("latin-1" if latin1 else "utf-8", "replace") for line in lines]
    kind = _json_kind(head, lines) or _log_kind(text)
    if kind:
        return FileFormat(kind, latin1=latin1)
    return _csv_format(text, latin1=latin1) or _unknown(lines, name)


KNOWN: Final = "NDJSON, JSON, CSV, TSV, Parquet, an access log or an auth log, also compressed with gzip or zstd."


def _unknown(lines: list[bytes], name: str) -> FileFormat:
    start = _beginning(lines)
    raise SourceError(f"{name} is of no format that amiss knows. It begins with: {start}. Give {KNOWN}")


def _beginning(lines: list[bytes]) -> str:
    """The beginning of the first line, safe to print."""
    return ascii(lines[0][:60].decode("utf-8", "replace")) if lines else "nothing"


def _is_latin1(head: bytes) -> bool:
    """Whether lines with other than ASCII are Latin-1: three or more, none of them UTF-8, no control codes."""
    odd = [line for line in head.split(b"\n")[:-1] if not line.isascii()]
    return len(odd) >= 3 and not any(map(_is_utf8, odd)) and not any(re.search(rb"[\x80-\x9f]", line) for line in odd)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _json_kind(head: bytes, lines: list[bytes]) -> Kind | None:
    start = head.lstrip()[:1]
    if start == b"[":
        return "json" if re.match(rb"\s*\[\s*[{\]]", head) else None
    if start == b"{" and _WRAPPED.match(head) and not _is_object(lines[0], flat=True):
        return "json"
    objects = sum(map(_is_object, lines))
    braced = sum(line.startswith(b"{") for line in lines)
    if objects and (objects >= _ENOUGH * len(lines) or braced >= _ENOUGH * len(lines)):
        return "ndjson"
    if start != b"{":
        return None
    return "ndjson" if len(lines) == 1 and braced and len(head) < 1 << 18 else "json"


def _is_object(line: bytes, *, flat: bool = False) -> bool:
    try:
        record = msgspec.json.decode(line, type=dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return not (flat and len(record) <= 3 and any(_is_records(value) for value in record.values()))


def _is_records(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _log_kind(text: list[str]) -> Kind | None:
    if not text:
        return None
    if sum(weblog.is_access_line(line) for line in text) >= _SOME * len(text):
        return "access"
    return "auth" if sum(authlog.is_syslog_line(line) for line in text) >= _SOME * len(text) else None


def _csv_format(text: list[str], *, latin1: bool) -> FileFormat | None:
    best = max(_DELIMITERS, key=lambda delimiter: _steadiness(text, delimiter))
    steady = _steadiness(text, best)
    if steady < _FEW:
        return None
    header = tuple(name.strip() for name in next(csv.reader(text, delimiter=best)))
    if steady < _ENOUGH and not (_is_header(header) and len(header) > 2):
        return None
    if _is_header(header):
        return FileFormat("csv", best, _distinct(header), latin1=latin1)
    names = tuple(f"column_{number}" for number in range(1, len(header) + 1))
    return FileFormat("csv", best, names, has_header=False, latin1=latin1)


def _steadiness(text: list[str], delimiter: str) -> float:
    """The share of rows with as many fields as the first, which must be two or more."""
    try:
        counts = [len(row) for row in csv.reader(text, delimiter=delimiter) if row]
    except csv.Error:
        return 0.0
    if not counts or counts[0] < 2:
        return 0.0
    return sum(count == counts[0] for count in counts) / len(counts) + counts[0] / 1e4


def _is_header(names: tuple[str, ...]) -> bool:
    """Whether a first row holds names: no numbers, no times, mostly words."""
    words = sum(bool(re.fullmatch(r"[^\W\d][\w .@/:()\-\[\]#%]{0,80}", name)) for name in names)
    clocks = any(re.search(r"\d\d:\d\d", name) for name in names)
    return words >= _ENOUGH * len(names) and not clocks and len({name for name in names if name}) > 1


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names that are all there and all different."""
    seen: dict[str, int] = {}
    result = []
    for place, name in enumerate(names, start=1):
        base = name or f"column_{place}"
        seen[base] = seen.get(base, 0) + 1
        result.append(base if seen[base] == 1 else f"{base}_{seen[base]}")
    return tuple(result)
