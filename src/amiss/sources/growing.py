"""What grows: files that are appended to, compressed files that are complete, and pipes; read by whole lines."""

from __future__ import annotations

import codecs
import os
import select
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b
from typing import Final, NamedTuple, Protocol

import polars as pl

from amiss.errors import AmissError, EventError, SourceError
from amiss.events import EVENT_SCHEMA, Quarantine
from amiss.fields import FieldChoice
from amiss.sources import Cursor
from amiss.sources.lines import Came, Place, Rejection, count_lines
from amiss.sources.sniff import FileFormat
from amiss.sources.streams import HEAD_BYTES, LINE_LIMIT, Damage, LongLine, Piece, open_stream, pieces

BLOCK_BYTES: Final = 4 << 20
PRINT_BYTES: Final = 1024
"""First bytes by which a file is told from others."""
OPEN_QUOTE_LINES: Final = 100
"""Lines that a CSV record may take; the reader of CSV knows no longer ones either."""
OPEN_QUOTE_SECONDS: Final = 5.0
"""How long the rest of a CSV record over several lines is waited for."""
QUOTE_STEPS: Final = 200
LONG_SHOWN: Final = 256

_PACKED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")

Key = tuple[int, int]
"""Device and inode."""


class Rows(NamedTuple):
    """Events of a part of a file that is read as a whole; its reader's tokens before and behind the part.

    Positions are those in the file; `came` says where the part stands, and `lines` how many records it has.
    """

    came: Came
    frame: pl.DataFrame
    lines: int
    rejected: list[Rejection]
    before: str
    behind: str

    @property
    def data(self) -> bytes:
        """No lines."""
        return b""


class Origin(Protocol):
    """Something that lines come from.

    `offset` and `line` say where reading stands, `given` what was given out, `leave_out` how many events of the first
    line were given before a restart, `format` what its lines are, where that differs from file to file.
    """

    name: str
    key: Key
    offset: int
    line: int
    given: Place | None
    leave_out: int
    format: FileFormat | None

    def next(self, *, final: bool, quoted: bool) -> Came | Rows | None:
        """What is there now; with `final` also a last line without end."""
        ...

    def sample(self) -> bytes:
        """The first whole lines."""
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...


def fingerprint(head: bytes, size: int) -> str:
    """Tells apart what files begin with."""
    return blake2b(head[:size], digest_size=8).hexdigest()


def cut(data: bytes | bytearray, *, quoted: bool, impatient: bool) -> int:
    r"""Where the last whole line (of CSV: record, unless `impatient`) ends; 0 if none does.

    Examples
    --------
    >>> cut(b"a\nb", quoted=False, impatient=False), cut(b'a\n"b\n', quoted=True, impatient=False)
    (2, 2)
    """
    end = data.rfind(b"\n") + 1
    if not quoted or not end:
        return end
    at, quotes = end, data.count(b'"', 0, end)
    for _ in range(QUOTE_STEPS):
        if quotes % 2 == 0:
            break
        before = data.rfind(b"\n", 0, at - 1) + 1
        quotes -= data.count(b'"', before, at)
        at = before
    if at and quotes % 2 == 0:
        return at
    too_much = data.count(b"\n", 0, end) > OPEN_QUOTE_LINES or len(data) > LINE_LIMIT
    return end if impatient or too_much else 0


class OpenFile:
    """Where the reading of a file stands, as much of it as the kinds of files share.

    `given` is the place that reading resumes at, `leave_out` the events behind it that were given before; `drained`
    says that all was read, `replaced` that another file has taken the name.
    """

    def __init__(self, name: str, key: Key, head: bytes, place: Place | None) -> None:
        self.name = name
        self.key = key
        self.offset, self.line = (place.offset, place.line) if place else (0, 1)
        self.head = head
        self.given = place
        self.leave_out = place.events if place else 0
        self.format: FileFormat | None = None
        self.replaced = False
        self.drained = False
        self.grew = time.monotonic()


class GrowingFile(OpenFile):
    """A file that is appended to, and that may be cut short or replaced: then `replaced` is set, and it ends."""

    def __init__(self, name: str, fd: int, *, place: Place | None = None) -> None:
        status = os.fstat(fd)
        super().__init__(name, (status.st_dev, status.st_ino), place.head if place else b"", place)
        self.fd = fd
        self._seen = -1
        self._scanned = 0
        self._waits_since: float | None = None

    def next(self, *, final: bool, quoted: bool) -> Came | None:
        """The whole lines that are there now, about 4 MiB at most."""
        if self.fd < 0 or self.replaced:
            return None
        size = os.fstat(self.fd).st_size
        if size == self._seen and not (final and size > self.offset) and self._waits_since is None:
            return None
        if size != self._seen:
            self.grew = time.monotonic()
        if size < self.offset or not self._same_head():
            self.replaced = True
            return None
        came = self._lines(size, final=final, quoted=quoted)
        self.drained = came is None
        return came

    def _same_head(self) -> bool:
        """Whether the file still begins as it did."""
        head = os.pread(self.fd, PRINT_BYTES, 0)
        same = head.startswith(self.head)
        self.head = head if same else self.head
        return same

    def _lines(self, size: int, *, final: bool, quoted: bool) -> Came | None:
        if self._scanned:
            return self._long_line(size, final=final)
        if self.offset == 0 and self.head.startswith(codecs.BOM_UTF8):
            self.offset = len(codecs.BOM_UTF8)
        data = os.pread(self.fd, BLOCK_BYTES, self.offset)
        impatient = final or self._waited()
        end = cut(data, quoted=quoted, impatient=impatient)
        if end:
            return self._came(data[:end], end)
        if len(data) > LINE_LIMIT:
            self._scanned = self.offset + len(data)
            return self._long_line(size, final=final)
        if final and data:
            return self._came(data + b"\n", len(data))
        self._seen = size
        has_lines = quoted and b"\n" in data
        self._waits_since = (self._waits_since or time.monotonic()) if has_lines else None
        return None

    def _waited(self) -> bool:
        """Whether a quote has stood open for long."""
        return self._waits_since is not None and time.monotonic() - self._waits_since > OPEN_QUOTE_SECONDS

    def _came(self, data: bytes, size: int) -> Came:
        """Move behind these lines."""
        came = Came(self, data, count_lines(data), self.line, self.offset, self.offset + size, self.head)
        self._waits_since = None
        self.offset, self.line = came.end, self.line + came.lines
        return came

    def _long_line(self, size: int, *, final: bool) -> Came | None:
        """The line that is too long, once its end is there; it is not held in memory."""
        while self._scanned < size:
            piece = os.pread(self.fd, LINE_LIMIT, self._scanned)
            at = piece.find(b"\n")
            if at >= 0:
                return self._flaw(self._scanned + at + 1)
            if not piece:
                break
            self._scanned += len(piece)
        if final:
            return self._flaw(self._scanned)
        self._seen = size
        return None

    def _flaw(self, end: int) -> Came:
        text = os.pread(self.fd, LONG_SHOWN, self.offset).decode("utf-8", "replace")
        came = Came(self, b"", 1, self.line, self.offset, end, self.head, ("line longer than 1 MiB", text))
        self._scanned, self.offset, self.line = 0, end, self.line + 1
        return came

    def moved_to(self, name: str, fd: int) -> None:
        """Go on in another file that holds the same."""
        self.close()
        status = os.fstat(fd)
        self.name, self.fd, self.key, self.replaced = name, fd, (status.st_dev, status.st_ino), False
        self._seen = -1

    def sample(self) -> bytes:
        """The first whole lines."""
        data = os.pread(self.fd, HEAD_BYTES, 0) if self.fd >= 0 else b""
        return data[: data.rfind(b"\n") + 1] or data

    def close(self) -> None:
        """Let go of the file."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


class PackedFile(OpenFile):
    """A compressed file (or one that is not in UTF-8) that is complete; offsets are those of what it holds."""

    def __init__(self, name: str, key: Key, head: bytes, *, place: Place | None = None) -> None:
        super().__init__(name, key, head, place)
        self._pieces: Iterator[Piece | LongLine | Damage] | None = None

    def next(self, *, final: bool, quoted: bool) -> Came | None:  # noqa: ARG002 - it is complete
        """The next whole lines."""
        if self.drained:
            return None
        if self._pieces is None:
            self._pieces = self._read(quoted=quoted)
        piece = next(self._pieces, None)
        if piece is None:
            self.drained = True
            return None
        return self._came(piece)

    def _read(self, *, quoted: bool) -> Iterator[Piece | LongLine | Damage]:
        stream = open_stream(self.name)
        try:
            stream.skip(self.offset)
            yield from pieces(stream, first_line=self.line, offset=self.offset, quoted=quoted)
        finally:
            stream.close()

    def _came(self, piece: Piece | LongLine | Damage) -> Came:
        if isinstance(piece, Piece):
            came = Came(self, piece.data, piece.lines, self.line, self.offset, piece.end, self.head)
        else:
            long = isinstance(piece, LongLine)
            reason = "line longer than 1 MiB" if isinstance(piece, LongLine) else piece.reason
            end = piece.end if isinstance(piece, LongLine) else self.offset
            text = piece.text.decode("utf-8", "replace")
            came = Came(self, b"", 1, self.line, self.offset, end, self.head, (reason, text))
            self.drained = not long
        self.offset, self.line = came.end, self.line + came.lines
        return came

    def sample(self) -> bytes:
        """The first whole lines."""
        data = packed_head(self.name, HEAD_BYTES)
        return data[: data.rfind(b"\n") + 1] or data

    def close(self) -> None:
        """Let go of the file."""
        self._pieces = None


def packed_head(name: str, size: int) -> bytes:
    """The first bytes of what a compressed file holds."""
    try:
        stream = open_stream(name)
    except SourceError:
        return b""
    try:
        return stream.read(size)
    finally:
        stream.close()


def is_packed(start: bytes) -> bool:
    """Whether these first bytes are those of a compressed file, or of text in UTF-16."""
    return start.startswith((*_PACKED, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))


class _Recorded(Quarantine):
    """Keeps all that is rejected, until it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.rejected: list[Rejection] = []

    def add(self, file: str, position: int, reason: str, text: str, *, count: int = 1) -> None:  # noqa: ARG002
        self.rejected.append((position, reason, text))


class WholeFile(OpenFile):
    """A complete file that is not made of lines: Parquet, one JSON text. Offsets count its records."""

    def __init__(
        self,
        name: str,
        key: Key,
        head: bytes,
        settings: tuple[FieldChoice | None, str, int | None],
        *,
        place: Place | None = None,
    ) -> None:
        super().__init__(name, key, head, place)
        self._settings = settings
        self._token = place.token if place else ""
        self._rows: Iterator[Rows] | None = None

    def next(self, *, final: bool, quoted: bool) -> Came | Rows | None:  # noqa: ARG002 - it is complete
        """The next events."""
        if self.drained:
            return None
        if self._rows is None:
            self._rows = self._read()
        try:
            rows = next(self._rows, None)
        except AmissError as error:
            self.drained = True
            return Came(self, b"", 1, self.line, self.offset, self.offset, self.head, ("cannot be read", str(error)))
        self.drained = rows is None
        return rows

    def _read(self) -> Iterator[Rows]:
        from amiss.sources.files import FileSource

        choice, timezone, year = self._settings
        source = FileSource(self.name, fields=choice, timezone=timezone, year=year)
        source.fields = replace(source.fields, rest=source.fields.columns)
        recorded = _Recorded()
        source.quarantine = recorded
        before = self._token
        try:
            for frame, cursor in source.read(Cursor(before) if before else None):
                yield self._part(frame, recorded, before, cursor.token)
                before = cursor.token
        except EventError:
            if not recorded.rejected:
                raise
        if recorded.rejected:
            yield self._part(pl.DataFrame(schema=EVENT_SCHEMA), recorded, before, before)

    def _part(self, frame: pl.DataFrame, recorded: _Recorded, before: str, behind: str) -> Rows:
        """Move behind a part."""
        rejected, recorded.rejected = recorded.rejected, []
        last = max([self.line, *frame["position"][-1:].to_list(), *(item[0] for item in rejected)])
        came = Came(self, b"", 1, self.line, self.offset, last, self.head)
        lines = last + 1 - self.line
        self.line, self.offset = last + 1, last
        return Rows(came, frame, lines, rejected, before, behind)

    def sample(self) -> bytes:
        """Nothing: it says itself what it is made of."""
        return b""

    def close(self) -> None:
        """Let go of the file."""
        self._rows = None


class Pipe:
    """What is written to a pipe, read as soon as it comes."""

    replaced = False

    def __init__(self, fd: int, *, place: Place | None = None) -> None:
        self.name = "-"
        self.fd = fd
        self.key: Key = (0, 0)
        self.offset, self.line = (place.offset, place.line) if place else (0, 1)
        self.given = place
        self.leave_out = place.events if place else 0
        self.format: FileFormat | None = None
        self.ended = False
        self._tail = bytearray()
        self._dropped: int | None = None
        self._waits_since: float | None = None

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Wait for more, at most so long."""
        if self.ended:
            stop.wait(seconds)
            return
        select.select([self.fd], [], [], seconds)

    def next(self, *, final: bool, quoted: bool) -> Came | None:
        """The whole lines that are there now."""
        self._fill()
        if self._dropped is not None:
            return self._long_line(final=final)
        impatient = final or self.ended or self._waited()
        end = cut(self._tail, quoted=quoted, impatient=impatient) if self._tail else 0
        if end:
            return self._came(end, b"")
        if len(self._tail) > LINE_LIMIT:
            self._dropped = 0
            return self._long_line(final=final)
        if (final or self.ended) and self._tail:
            return self._came(len(self._tail), b"\n")
        self._waits_since = (self._waits_since or time.monotonic()) if b"\n" in self._tail else None
        return None

    def _waited(self) -> bool:
        """Whether a quote has stood open for long."""
        return self._waits_since is not None and time.monotonic() - self._waits_since > OPEN_QUOTE_SECONDS

    def _fill(self) -> None:
        """Take what is there, without waiting."""
        while not self.ended and len(self._tail) < BLOCK_BYTES and select.select([self.fd], [], [], 0)[0]:
            try:
                piece = os.read(self.fd, 1 << 20)
            except BlockingIOError:
                return
            except OSError as error:
                raise SourceError(f"standard input cannot be read: {error.strerror or error}") from error
            self.ended = not piece
            self._tail += piece

    def _came(self, size: int, close: bytes) -> Came:
        data = bytes(self._tail[:size]) + close
        came = Came(self, data, count_lines(data), self.line, self.offset, self.offset + size)
        del self._tail[:size]
        self._waits_since = None
        self.offset, self.line = came.end, self.line + came.lines
        return came

    def _long_line(self, *, final: bool) -> Came | None:
        """The line that is too long, once its end is there; only its beginning is kept."""
        dropped = self._dropped or 0
        at = self._tail.find(b"\n", LONG_SHOWN)
        if at < 0:
            dropped += max(len(self._tail) - LONG_SHOWN, 0)
            del self._tail[LONG_SHOWN:]
            self._dropped = dropped
            if not (final or self.ended):
                return None
            at = len(self._tail) - 1
        text = self._tail[:LONG_SHOWN].decode("utf-8", "replace")
        end = self.offset + dropped + at + 1
        came = Came(self, b"", 1, self.line, self.offset, end, b"", ("line longer than 1 MiB", text))
        del self._tail[: at + 1]
        self._dropped, self.offset, self.line = None, end, self.line + 1
        return came

    def sample(self) -> bytes:
        """Nothing: what came in is gone."""
        return b""

    def close(self) -> None:
        """Leave standard input open."""
