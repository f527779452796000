"""Alerts in a file: a row each, in JSON lines, CSV, or as OCSF Detection Findings.

Rows are appended and synced to disk. A file may be moved away at any time; the next alert begins a new one.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from amiss import escape
from amiss.alerts import Alert
from amiss.errors import SinkError, UsageError
from amiss.sinks import ocsf

COLUMNS: Final = (
    "alert_id", "time", "user", "bits", "severity", "detectors", "reasons",
    "story", "period", "events", "chance", "risk", "escalated_from",
)  # fmt: skip
"""Columns of a CSV file."""

_BLOCK: Final = 65_536


@dataclass(frozen=True)
class Format:
    """How alerts become lines.

    Parameters
    ----------
    line
        An alert as a line, without its end.
    is_whole
        Whether a last line that lacks its end lacks nothing else.
    begin
        How every line of an alert begins.
    header
        The first line of every file.
    """

    line: Callable[[Alert], str]
    is_whole: Callable[[str], bool]
    begin: str = ""
    header: str = ""


def open_file(url: str) -> File:
    """The file at a path or `file:` address, in the format that its name ends in.

    Raises
    ------
    UsageError
        If the name ends otherwise.
    """
    path = _path(url)
    for ending, form in _FORMATS.items():
        if path.name.lower().endswith(ending):
            return File(path, form)
    shown = escape.visible(url)
    raise UsageError(f"{shown}: expected a file that ends in .jsonl, .csv or .ocsf.jsonl")


def open_ocsf(url: str) -> File:
    """The file at an `ocsf:` address, whatever it is called, for OCSF Detection Findings."""
    return File(_path(url), _OCSF)


class File:
    """Appends alerts to a file.

    Parameters
    ----------
    path
        The file; it is made when the first alert comes.
    form
        How alerts become lines.
    """

    def __init__(self, path: Path, form: Format) -> None:
        self.url = str(path.absolute())
        self._path = path
        self._form = form

    def write(self, alerts: Sequence[Alert]) -> None:
        """Append the alerts, and wait until they are on the disk.

        Raises
        ------
        SinkError
            If the disk is full, or the file cannot be written; nothing of the alerts is in it then.
        """
        lines = "".join(f"{self._form.line(alert)}\n" for alert in alerts).encode()
        with self._opened() as file:
            size = self._mended(file)
            start = b"" if size else self._header()
            if size and os.pread(file, 1, size - 1) != b"\n":
                start = b"\n"
            _append(file, size, start + lines)

    def check(self) -> str:
        """That the file can be appended to; one that is not there yet is not left behind."""
        is_new = not self._path.exists()
        with self._opened() as file:
            if not is_new:
                self._check_header(file)
        if is_new:
            self._path.unlink()
        return f"{self.url} can be written{' (a new file)' if is_new else ''}"

    def close(self) -> None:
        """Nothing is held between writes."""

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The file, open; errors of the system say which file they are about."""
        try:
            is_new = not self._path.exists()
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                yield file
            finally:
                os.close(file)
            if is_new:
                _sync_folder(self._path.parent)
        except OSError as error:
            raise SinkError(f"{self.url} cannot be written: {error.strerror or error}") from error

    def _header(self) -> bytes:
        return f"{self._form.header}\n".encode() if self._form.header else b""

    def _mended(self, file: int) -> int:
        """The size of the file once a torn last line, as a crash leaves it, is taken away."""
        size = os.lseek(file, 0, os.SEEK_END)
        start = _last_line(file, size)
        torn = os.pread(file, size - start, start).decode(errors="replace")
        if start:
            self._check_header(file)
        begin = self._form.begin if start or not self._form.header else self._form.header
        is_ours = torn.startswith(begin) or begin.startswith(torn)
        if not torn or self._form.is_whole(torn) or not is_ours:
            return size
        os.ftruncate(file, start)
        return start

    def _check_header(self, file: int) -> None:
        """Refuse a file that has other columns."""
        header = self._header()
        if os.pread(file, len(header), 0) != header:
            said = f"{self.url} begins with other columns than {self._form.header}; move it away"
            raise SinkError(said, permanent=True)


def _path(url: str) -> Path:
    """The path of a `file:` or `ocsf:` address, or a plain one."""
    scheme, colon, rest = url.partition(":")
    if not colon or scheme.lower() not in ("file", "ocsf"):
        return Path(url)
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise UsageError(f"{escape.visible(url)}: expected a file of this machine, such as {scheme}:///var/log/FILE")
    return Path(unquote(parts.path) if rest.startswith("//") else rest)


def _last_line(file: int, size: int) -> int:
    """Where what comes behind the last end of a line begins."""
    for low in range((size - 1) // _BLOCK * _BLOCK, -1, -_BLOCK):
        found = os.pread(file, min(_BLOCK, size - low), low).rfind(b"\n")
        if found >= 0:
            return low + found + 1
    return 0


def _append(file: int, size: int, rows: bytes) -> None:
    """Write rows at the end of a file and sync it; when that fails, the file ends where it did."""
    try:
        written = 0
        while written < len(rows):
            written += os.pwrite(file, rows[written:], size + written)
        os.fsync(file)
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, size)
        raise


def _sync_folder(folder: Path) -> None:
    """Make sure that the name of a new file is on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _json_line(alert: Alert) -> str:
    return escape.json_text(alert.record())


def _ocsf_line(alert: Alert) -> str:
    return escape.json_text(ocsf.finding(alert))


def _is_json(line: str) -> bool:
    """Whether a line is JSON as a whole."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _csv_line(alert: Alert) -> str:
    """An alert in `COLUMNS`, each a cell that no spreadsheet runs."""
    record = alert.record()
    record["detectors"] = "; ".join(f"{name} {bits:.1f}" for name, bits in alert.detectors.items())
    record["reasons"] = "; ".join(f"{each['text']} ({each['bits']:.1f} bits)" for each in alert.reasons)
    cells = [escape.csv_cell(cell) if isinstance(cell := record[name], str) else cell for name in COLUMNS]
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_NONNUMERIC, lineterminator="").writerow(cells)
    return line.getvalue()


def _is_row(line: str) -> bool:
    """Whether a line has all columns; the last one is a text, so it ends with a quotation mark."""
    try:
        return line.endswith('"') and len(next(csv.reader([line], strict=True))) == len(COLUMNS)
    except csv.Error:
        return False


_OCSF: Final = Format(_ocsf_line, _is_json, '{"activity_id": ')
_FORMATS: Final = {
    ".ocsf.jsonl": _OCSF,
    ".jsonl": Format(_json_line, _is_json, '{"alert_id": '),
    ".csv": Format(_csv_line, _is_row, header=",".join(COLUMNS)),
}
