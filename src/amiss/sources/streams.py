"""Bytes of files in blocks that end at line ends: plain, gzip, zstd, UTF-8 and UTF-16, in constant memory."""

from __future__ import annotations

import codecs
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np

from amiss.errors import SourceError

BLOCK_BYTES: Final = 8 << 20
LINE_LIMIT: Final = 1 << 20
"""Bytes of a line; a longer one is quarantined."""

LINES_PER_FRAME: Final = 100_000
HEAD_BYTES: Final = 256 << 10
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_BOMS: Final = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_QUOTE_STEPS: Final = 1000


class Piece(NamedTuple):
    """Whole lines: their bytes, the number of the first, the offset behind them, and how many they are."""

    data: bytes
    first_line: int
    end: int
    lines: int


class LongLine(NamedTuple):
    """A line above the limit that was skipped: its number and its first bytes."""

    line: int
    text: bytes
    end: int


class Damage(NamedTuple):
    """The end of what could be read of a damaged file: the line, why, and the bytes left over."""

    line: int
    reason: str
    text: bytes


class _Damaged(Exception):  # noqa: N818 - not an error to users: it ends a stream
    """Compressed data that break off or make no sense."""


class Stream:
    """A file, decompressed and in UTF-8, read piece by piece.

    `damage` says why a compressed file could not be read to its end, once that is known.
    """

    def __init__(self, file: BinaryIO, name: str, *, head: bytes = b"") -> None:
        self.name = name
        self.damage = ""
        self._file = file
        start = head or _read(file, HEAD_BYTES, name)
        self.compressed = start.startswith((_GZIP, _ZSTD))
        self._chunks = self._inflated(start)
        first = self._next()
        codec = next((codec for bom, codec in _BOMS.items() if first.startswith(bom)), None)
        self.plain = not self.compressed and codec is None
        if codec:
            self._chunks = _transcoded(first, self._chunks, codec)
            first = self._next()
        self._rest, self._at = first, 0

    def _next(self) -> bytes:
        try:
            return next(self._chunks, b"")
        except _Damaged as damaged:
            self.damage = str(damaged)
            return b""

    def _inflated(self, start: bytes) -> Iterator[bytes]:
        if not self.compressed:
            return self._raw(start, BLOCK_BYTES)
        kind, make = ("gzip", _gunzip) if start.startswith(_GZIP) else ("zstd", _unzstd)
        return _inflate(self._raw(start, 1 << 16), make, kind)

    def _raw(self, start: bytes, size: int) -> Iterator[bytes]:
        piece = start
        while piece:
            yield piece
            piece = _read(self._file, size, self.name)

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end."""
        if len(self._rest) - self._at >= size:
            self._at += size
            return self._rest[self._at - size : self._at]
        parts = [self._rest[self._at :] if self._at else self._rest]
        have = len(parts[0])
        while have < size and (piece := self._next()):
            parts.append(piece)
            have += len(piece)
        over = max(have - size, 0)
        self._rest, self._at = (parts[-1], len(parts[-1]) - over) if over else (b"", 0)
        if over:
            parts[-1] = parts[-1][: self._at]
        return b"".join(parts) if len(parts) > 1 else parts[0]

    def unread(self, data: bytes) -> None:
        """Put back what was read last."""
        self._rest, self._at = data + self._rest[self._at :], 0

    def skip(self, size: int) -> None:
        """Move on to this offset of what `read` gives; by a jump where the file allows it."""
        if self.plain and size > len(self._rest) and self._file.seekable():
            self._file.seek(size)
            self._rest, self._at = b"", 0
            self._chunks = self._raw(_read(self._file, BLOCK_BYTES, self.name), BLOCK_BYTES)
            return
        while size > 0 and (piece := self.read(min(size, BLOCK_BYTES))):
            size -= len(piece)

    def close(self) -> None:
        """Close the file, unless it is standard input."""
        if self._file is not sys.stdin.buffer:
            self._file.close()


def open_stream(path: str, head: bytes = b"") -> Stream:
    """The stream of a path, or of standard input for `-`."""
    if path == "-":
        if sys.stdin is None or sys.stdin.closed:
            raise SourceError("- is standard input, which is closed. Pipe a log into the command, or give a path")
        return Stream(sys.stdin.buffer, "-", head=head)
    try:
        return Stream(Path(path).open("rb"), path)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error


def _read(file: BinaryIO, size: int, name: str) -> bytes:
    try:
        return file.read(size)
    except OSError as error:
        raise SourceError(f"{name} cannot be read: {error.strerror or error}") from error


def _gunzip() -> Any:  # noqa: ANN401 - zlib and zstandard give objects of one shape without a common type
    return zlib.decompressobj(wbits=31)


def _unzstd() -> Any:  # noqa: ANN401 - as above
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj()


def _inflate(chunks: Iterator[bytes], make: Callable[[], Any], kind: str) -> Iterator[bytes]:
    """Decompressed bytes of all members; ends in `_Damaged` when the data break off or make no sense."""
    member = make()
    started = False
    for chunk in chunks:
        for start in range(0, len(chunk), 4096):
            data = chunk[start : start + 4096]
            while data:
                if not started and not data.strip(b"\0"):
                    break
                started = True
                try:
                    piece = member.decompress(data)
                except Exception as error:
                    raise _Damaged(f"damaged {kind} data") from error
                if piece:
                    yield piece
                data = b""
                if member.eof:
                    data, member, started = member.unused_data, make(), False
    if started:
        raise _Damaged(f"truncated {kind} file")


def _transcoded(first: bytes, chunks: Iterator[bytes], codec: str) -> Iterator[bytes]:
    """UTF-8 of bytes in another encoding, its byte order mark left out."""
    decoder = codecs.getincrementaldecoder(codec)("replace")
    yield decoder.decode(first).encode()
    for chunk in chunks:
        yield decoder.decode(chunk).encode()
    yield decoder.decode(b"", final=True).encode()


def pieces(
    stream: Stream, *, first_line: int = 1, offset: int = 0, quoted: bool = False, max_lines: int | None = None
) -> Iterator[Piece | LongLine | Damage]:
    """Blocks of whole lines from the stream, which stands at `offset`, where line `first_line` begins.

    Every block ends with a line end, also the last. With `quoted` (CSV) blocks do not end inside quotes, as far as can
    be told. A line above the limit comes as :class:`LongLine`, never held whole; a damaged file ends with one
    :class:`Damage`.
    """
    line, tail, ended = first_line, b"", False
    while not ended or tail:
        if not ended and len(tail) < BLOCK_BYTES:
            wanted = BLOCK_BYTES - len(tail)
            piece = stream.read(wanted)
            ended = len(piece) < wanted
            tail = tail + piece if tail else piece
        if quoted and ended and not stream.damage and _is_last(tail, max_lines):
            yield Piece(tail + b"\n", line, offset + len(tail), tail.count(b"\n") + 1)
            break
        end = _cut(tail, quoted=quoted, max_lines=max_lines)
        if end == 0 and len(tail) > LINE_LIMIT:
            start, (rest, size, ended) = tail, skip_line(stream, tail)
            offset += size
            yield LongLine(line, start[:256], offset)
            line, tail = line + 1, rest
        elif end == 0 and ended and tail:
            if not stream.damage:
                yield Piece(tail + b"\n", line, offset + len(tail), 1)
                tail = b""
            break
        elif end:
            data, tail = (tail[:end], tail[end:]) if end < len(tail) else (tail, b"")
            count = data.count(b"\n")
            offset += end
            yield Piece(data, line, offset, count)
            line += count
    if stream.damage:
        yield Damage(line, stream.damage, tail[:256])


def _is_last(tail: bytes, max_lines: int | None) -> bool:
    """Whether this is the end of a file without a last line end; a record over several lines must not be cut there."""
    return not tail.endswith(b"\n") and tail != b"" and (max_lines is None or tail.count(b"\n") < max_lines)


def skip_line(stream: Stream, tail: bytes) -> tuple[bytes, int, bool]:
    """What follows the line that `tail` starts, the line's length, and whether the stream ended."""
    size = len(tail)
    while piece := stream.read(LINE_LIMIT):
        at = piece.find(b"\n") + 1
        if at:
            return piece[at:], size + at, False
        size += len(piece)
    return b"", size, True


def _cut(data: bytes, *, quoted: bool, max_lines: int | None) -> int:
    """Where to end a block: behind its last line end, its `max_lines`-th at most, outside quotes."""
    end = data.rfind(b"\n") + 1
    if max_lines is not None and data.count(b"\n", 0, end) > max_lines:
        end = int(np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == 10)[max_lines - 1]) + 1
    return _outside_quotes(data, end) if quoted and end else end


def _outside_quotes(data: bytes, end: int) -> int:
    """The last line end up to `end` behind an even number of quotes; `end` itself when none is near."""
    quotes, at = data.count(b'"', 0, end), end
    for _ in range(_QUOTE_STEPS):
        if quotes % 2 == 0 and at:
            return at
        before = data.rfind(b"\n", 0, at - 1) + 1 if at else 0
        if before == 0:
            break
        quotes -= data.count(b'"', before, at)
        at = before
    return end
