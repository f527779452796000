r"""Sources that go on: a file that grows, a directory that files arrive in, standard input.

**What a cursor holds** (JSON): `position` of the line to come; `files`, each with name, device, inode, a fingerprint of
its first bytes (up to 1 KiB), offset, line and, where one line gave several events, how many of these were given; the
`mark` of a directory; `schema`, what the lines are made of, so that a new process reads on in the same way without
seeing the beginning again. The schema is looked for anew when fields, zone or year were set differently meanwhile.
"""

from __future__ import annotations

import glob
import json
import logging
import os
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import pairwise
from pathlib import Path
from stat import S_ISREG
from typing import Any, Final, Protocol
from urllib.parse import unquote

import polars as pl

from amiss import times
from amiss.errors import AmissError, EventError, SourceError
from amiss.events import Quarantine
from amiss.fields import FieldChoice, Fields
from amiss.sources import Cursor
from amiss.sources.files import age
from amiss.sources.growing import (
    PRINT_BYTES,
    GrowingFile,
    Key,
    Origin,
    PackedFile,
    Pipe,
    Rows,
    WholeFile,
    fingerprint,
    is_packed,
    packed_head,
)
from amiss.sources.lines import (
    Batch,
    Came,
    LineReader,
    Place,
    Schema,
    WholeBatch,
    digest,
    header_in,
    schema_of,
    settled,
)
from amiss.sources.sniff import FileFormat
from amiss.sources.streams import HEAD_BYTES
from amiss.vocabulary import Coding

POLL_SECONDS: Final = 0.05
"""How often sizes of files are looked at."""
LOOK_SECONDS: Final = 1.0
"""How often a directory is looked through at the least; more often when `every` is shorter."""
LINGER_SECONDS: Final = 10.0
"""How long a file that was rotated away must be quiet until it is let go of."""
UNENDED_SECONDS: Final = 5.0
"""How long a file in a directory must be quiet until its last line counts although it has no end."""
RIPE_SECONDS: Final = 1.0
"""How long a file that is read as a whole (compressed, Parquet) must be unchanged until it counts as complete."""
ARRIVED_SECONDS: Final = 0.1
LOOKS: Final = 3
"""How often a file that a cursor names is looked for, since names may be changing just then."""
LOOK_PAUSE_SECONDS: Final = 0.1
FOLLOWED_FILES: Final = 32
"""Files of a directory that are followed at once: those that were read last."""
MUCH_BYTES: Final = 1 << 20
"""With so much at a time there is more to come at once."""
SAMPLE_LINES: Final = 1000
SAMPLE_LIMIT: Final = 1 << 20
BATCH: Final = 100_000

_TEMPORARY: Final = re.compile(r"\..*|.*(\.(tmp|temp|part|partial|swp|swx|crdownload|filepart)|~)", re.IGNORECASE)
_SCHEME: Final = re.compile(r"file://(localhost(?=/))?", re.IGNORECASE)
_LOG: Final = logging.getLogger(__name__)


class Feed(Protocol):
    """Where lines come from, in order, and what was given of them."""

    waiting: str
    can_reread: bool

    def next(self, *, final: bool, quoted: bool) -> Came | Rows | None:
        """The next lines that are there now; None while there are none."""
        ...

    def token(self) -> dict[str, Any]:
        """What a cursor says of what was given."""
        ...

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Wait for more, at most so long."""
        ...

    def has_ended(self) -> bool:
        """Whether nothing can come any more."""
        ...

    def close(self) -> None:
        """Let go of all that is open."""
        ...


class FollowSource:
    r"""Events of a file that grows, of a directory that files arrive in, or of standard input, as they come.

    **A file** is read as `tail -F` reads it: whole lines only; when it is renamed and made anew, the old one is read to
    its end first, also when that happened while nobody was reading (it is found beside the new one by inode or by its
    first bytes, compressed too); when it is cut short, reading begins at its start. It need not be there yet.

    **A directory or a pattern** gives its files in order of name, later ones as they arrive. Compressed files, Parquet
    and JSON texts are read once they have been unchanged for a second. Hidden and temporary names are left out. The 32
    files that were read last are followed. A file is known by inode; the cursor holds those 32 and a mark: what
    changed last before it is taken for read. So a file that grows after 32 others were read is read anew by a new
    process, and a file must not be given an older time of change than one that was there before it.

    **Standard input**, when it is a pipe, is read on from wherever the new process's begins; a file is read on where
    the cursor says.

    `quarantine` and `skipped` count what was before the frames given so far, so that what a cursor covers is counted
    once. `waiting` says what is waited for; `fields` and `format` are None until lines are there.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "app.log"
    >>> _ = path.write_text('{"time": "2026-01-01T08:00:00Z", "user": "ann", "action": "login"}\n')
    >>> source, coding, stop = FollowSource(str(path)), Coding(), threading.Event()
    >>> for frame, cursor in source.follow(
    ...     coding, batch=10, every=timedelta(seconds=1), stop=stop, until_eof=True
    ... ):
    ...     print(coding.users.decode(frame["user"]).to_list(), json.loads(cursor.token)["files"][0]["offset"])
    ['ann'] 67
    """

    def __init__(
        self,
        url: str,
        *,
        fields: FieldChoice | None = None,
        timezone: str = "UTC",
        year: int | None = None,
        strict: bool = False,
    ) -> None:
        times.check_timezone(timezone)
        self.url = url
        self.timezone = timezone
        self.strict = strict
        self.year = year
        self.choice = fields
        self.quarantine = Quarantine()
        self.skipped: dict[str, int] = {}
        self.schema: Schema | None = None
        self.path = path_of(url)
        self._settings = digest(fields, timezone, year)
        self._feed: Feed | None = None
        self._begun: _Run | None = None

    @property
    def fields(self) -> Fields | None:
        """What is read from where, once that is known."""
        return self.schema.fields if self.schema else None

    @property
    def format(self) -> FileFormat | None:
        """What the lines are made of, once that is known."""
        return self.schema.format if self.schema else None

    @property
    def waiting(self) -> str:
        """What is waited for, or nothing."""
        return self._feed.waiting if self._feed else ""

    def read(self, after: Cursor | None = None) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Event frames of all that is there now, each with the cursor behind it."""
        coding = Coding()
        settings = {"batch": BATCH, "every": timedelta(hours=1), "stop": threading.Event(), "until_eof": True}
        for frame, cursor in self.follow(coding, after, **settings):  # type: ignore[arg-type]  # typed above
            if len(frame):
                yield coding.decode(frame), cursor

    def follow(
        self,
        coding: Coding,
        after: Cursor | None = None,
        *,
        batch: int,
        every: timedelta,
        stop: threading.Event,
        until_eof: bool = False,
    ) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Coded frames as events come in, each with the cursor behind it; empty ones while nothing comes.

        Parameters
        ----------
        coding
            New texts join it no earlier than the frame that first has them.
        after
            Resume behind this cursor.
        batch
            Events of a frame at most, and exactly whenever so many are there.
        every
            A frame is given at the latest so long after its first event came in.
        stop
            Ends the reading soon after it is set, with a frame of what came in; the rest is read again next time. Of a
            pipe all that came in is given.
        until_eof
            End when all that is there now was read, or when the pipe is closed. A last line without end counts as one.

        Raises
        ------
        SourceError
            If there is nothing, with `until_eof`; if lines are of no known format; `retry_after` tells that trying
            again may help.
        EventError
            If the lines lack what events need; with `strict`, at the first one that cannot be read.
        """
        run, self._begun = self._begun, None
        if run is not None and after is not None:
            run.feed.close()
        if run is None or after is not None:
            run = self._run(self._token(after), min(every.total_seconds(), LOOK_SECONDS))
        run.coding = coding
        with self._closing(run.feed):
            yield from run.frames(batch, every.total_seconds(), stop, until_eof=until_eof)

    def settle(self, stop: threading.Event, *, until_eof: bool = False) -> Fields | None:
        """What lines are made of, once there are some; None of files that are read as a whole."""
        run = self._run(self._token(None), LOOK_SECONDS)
        try:
            run.settle(stop, until_eof=until_eof)
        except OSError as error:
            run.feed.close()
            raise SourceError(f"{self.url} cannot be read: {error.strerror or error}", retry_after=1.0) from error
        self._begun = run
        return self.fields

    def _run(self, token: dict[str, Any], look_seconds: float) -> _Run:
        """A reading that begins where a cursor says."""
        self._feed = self._opened(token, look_seconds)
        return _Run(self, self._feed, token)

    @contextmanager
    def _closing(self, feed: Feed) -> Iterator[None]:
        """Let go of what is read when that is over."""
        try:
            yield
        except OSError as error:
            raise SourceError(f"{self.url} cannot be read: {error.strerror or error}", retry_after=1.0) from error
        finally:
            feed.close()

    def _token(self, after: Cursor | None) -> dict[str, Any]:
        """What the cursor says; the schema is taken from it when it was found with the same settings."""
        self.schema = None
        if after is None:
            self.quarantine.reasons.clear()
            self.quarantine.samples.clear()
            self.skipped.clear()
            return {}
        try:
            token: dict[str, Any] = json.loads(after.token)
            if token["schema"] is not None and token["settings"] == self._settings:
                self.schema = schema_of(token["schema"])
            _ = token["position"], token["files"]
        except (ValueError, TypeError, KeyError) as error:
            raise SourceError(f"this is no cursor of a source that is followed: {after.token[:80]}") from error
        return token

    def _opened(self, token: dict[str, Any], look_seconds: float) -> Feed:
        settings = (self.choice, self.timezone, self.year)
        if self.path == "-":
            return StandardInput(token)
        if glob.has_magic(self.path) and not Path(self.path).exists():
            return Folder(self.path, token, settings, look_seconds)
        if self.path.endswith("/") or Path(self.path).is_dir() or "mark" in token:
            return Folder(self.path, token, settings, look_seconds)
        return OnePath(self.path, token, settings)


def path_of(url: str) -> str:
    """The path that an address names.

    Examples
    --------
    >>> path_of("file:///var/log/my%20app.log"), path_of("-")
    ('/var/log/my app.log', '-')
    """
    scheme = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]+)://", url)
    if scheme and scheme[1].lower() != "file":
        raise SourceError(
            f'there is no source for "{scheme[1]}://" that can be followed. Give a path, a directory, a pattern, '
            "a file:// address, - for standard input, or kafka://"
        )
    path = unquote(_SCHEME.sub("", url, count=1)) if scheme else url
    if not path:
        raise SourceError("the path is empty. Give a path, a directory, a pattern, or - for standard input")
    return path


class _Run:
    """One reading: what came in and was not yet read, what was read and not yet given."""

    def __init__(self, source: FollowSource, feed: Feed, token: dict[str, Any]) -> None:
        self.feed = feed
        self.coding = Coding()
        self._source = source
        self._reader: LineReader | None = None
        self._held: list[Came] = []
        self._held_lines = 0
        self._held_bytes = 0
        self._held_since = 0.0
        self._ready: deque[Batch] = deque()
        self._have = 0
        self._schema: Schema | None = None
        self._schema_text = "null"
        self._position = int(token.get("position", 1))
        self._given_position = self._position

    def settle(self, stop: threading.Event, *, until_eof: bool) -> None:
        """Keep what comes in until it is clear what it is made of."""
        while self._source.schema is None and not stop.is_set():
            came = self.feed.next(final=until_eof, quoted=True)
            if isinstance(came, Rows):
                self._add(self._whole(came._replace(came=came.came._replace(at=time.monotonic()))))
                return
            if came is not None:
                self._hold(came)
            if self._held and (came is None or self._has_enough()):
                self._settle(must=self._has_enough())
            if came is None and self._has_ended(until_eof=until_eof):
                return
            if came is None and self._source.schema is None:
                self.feed.wait(POLL_SECONDS, stop)

    def _has_ended(self, *, until_eof: bool) -> bool:
        """Whether nothing more is to come, when nothing came."""
        return (until_eof and self.feed.can_reread) or self.feed.has_ended()

    def _has_enough(self) -> bool:
        """Whether so much is kept that it must be clear what it is made of."""
        return self._held_lines >= SAMPLE_LINES or self._held_bytes >= SAMPLE_LIMIT

    def frames(
        self, batch: int, every: float, stop: threading.Event, *, until_eof: bool
    ) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """See :meth:`FollowSource.follow`."""
        given_at = time.monotonic()
        while True:
            if self._have + self._held_lines >= batch:
                self._read_held(settle=False)
            if self._have >= batch and not stop.is_set():
                yield self._take(batch)
                given_at = time.monotonic()
                continue
            came = None if stop.is_set() else self.feed.next(final=until_eof, quoted=self._is_quoted())
            if came is not None:
                self._hold(came)
            due = self._due(every, given_at) <= time.monotonic()
            if came is not None and (not due or len(came.data) > MUCH_BYTES):
                continue
            ended = came is None and self._has_ended(until_eof=until_eof)
            if ended or stop.is_set():
                yield from self._rest(batch, ended=ended)
                return
            if due:
                self._read_held(settle=True)
                self._held_since = time.monotonic()
                yield self._take(batch)
                given_at = time.monotonic()
            else:
                self.feed.wait(min(max(self._due(every, given_at) - time.monotonic(), 0.005), POLL_SECONDS), stop)

    def _due(self, every: float, given_at: float) -> float:
        """When the next frame must go out."""
        if not self._ready and not self._held:
            return given_at + every
        since = self._ready[0].came.at if self._ready else self._held_since
        return since + max(every - POLL_SECONDS, 0.0)

    def _is_quoted(self) -> bool:
        return self._source.schema is None or self._source.schema.format.kind == "csv"

    def _rest(self, batch: int, *, ended: bool) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """All that came in, at the end; when stopped, a frame of it, unless the others could not be read again."""
        try:
            self._read_held(settle=True, last=True)
        except AmissError:
            if ended:
                raise
        while self._ready:
            yield self._take(batch)
            if not ended and self.feed.can_reread:
                return

    # --- from what came in to batches

    def _hold(self, came: Came | Rows) -> None:
        """Keep what came in until it is read."""
        now = time.monotonic()
        if isinstance(came, Rows):
            self._read_held(settle=True, last=True)
            self._add(self._whole(came._replace(came=came.came._replace(at=now))))
            return
        if not self._held:
            self._held_since = now
        self._held.append(came)
        self._held_lines += came.lines
        self._held_bytes += len(came.data)

    def _whole(self, rows: Rows) -> Batch:
        """A part of a file that is read as a whole, at its place among the positions."""
        first = self._position
        base = first - rows.came.line
        frame = rows.frame.with_columns(pl.col("position") + base)
        rejected = [(position + base, reason, text) for position, reason, text in sorted(rows.rejected)]
        batch = WholeBatch(rows.came, first, first + rows.lines, frame["position"].to_numpy(), rejected)
        batch.frame, batch.before, batch.after = frame, rows.before, rows.behind
        return batch

    def _read_held(self, *, settle: bool, last: bool = False) -> None:
        """Read what was kept, if it is clear what it is made of, or can be made clear."""
        enough = self._has_enough()
        if self._source.schema is None and self._held and (settle or enough):
            self._settle(must=last or enough)
        if self._source.schema is None or not self._held:
            return
        if self._reader is None:
            whole, raw = bool(self.coding.contexts), self.coding.raw
            self._reader = LineReader(self._source.schema, self._source.year, whole=whole, raw=raw)
        held, self._held, self._held_lines, self._held_bytes = self._held, [], 0, 0
        for came in _joined(held):
            body, found = self._body(came)
            self._position += came.lines - body.lines
            written = _written(came.origin)
            self._add(self._reader.batch(body._replace(at=self._held_since), self._position, found, written))

    def _add(self, batch: Batch) -> None:
        """Let a batch wait until it is given; without what of it was given before a restart."""
        origin = batch.came.origin
        if origin.leave_out:
            batch.leave_out(origin.leave_out)
            origin.leave_out = 0
        self._position = batch.behind
        self._ready.append(batch)
        self._have += batch.left

    def _settle(self, *, must: bool) -> None:
        """Find out what lines are made of; where there are too few of them, later."""
        source, first = self._source, next((came for came in self._held if not came.flaw), None)
        if first is None:
            return
        sample = first.origin.sample() or b"".join(came.data for came in self._held)[:HEAD_BYTES]
        sample = sample[: sample.rfind(b"\n") + 1] or sample
        try:
            schema = settled(
                sample,
                first.origin.name,
                fields=source.choice,
                timezone=source.timezone,
                year=source.year,
                now=_written(first.origin),
            )
        except AmissError as error:
            if must:
                raise
            self.feed.waiting = f"waiting for lines that are understood: {error}"
            return
        source.schema = schema

    def _body(self, came: Came) -> tuple[Came, FileFormat]:
        """Lines without the header that they may begin with, and what they are made of."""
        assert self._source.schema is not None, "lines are read once it is clear what they are"
        schema = self._source.schema
        if schema.format.kind != "csv" or came.flaw or came.line > 1:
            return came, came.origin.format or schema.format
        blank = len(came.data) - len(came.data.lstrip(b"\r\n"))
        body = came.data.find(b"\n", blank) + 1
        header = header_in(came.data[blank:body], schema)
        if header is None:
            return came, schema.format
        came.origin.format = header if header != schema.format else None
        lines = came.data.count(b"\n", 0, body)
        start, line = came.start + body, came.line + lines
        return came._replace(data=came.data[body:], lines=came.lines - lines, line=line, start=start), header

    # --- from batches to frames

    def _take(self, most: int) -> tuple[pl.DataFrame, Cursor]:
        """The next events, at most so many, and the cursor behind them."""
        frames, wanted = [], min(most, self._have)
        self._have -= wanted
        while self._ready and (wanted or not self._ready[0].left):
            batch = self._ready[0]
            count = min(wanted, batch.left)
            frames.append(batch.take(count, self.coding))
            wanted -= count
            self._given(batch)
            if not batch.left:
                self._ready.popleft()
        return _together(frames or [self.coding.empty()]), self._cursor()

    def _given(self, batch: Batch) -> None:
        """Count what was given, and what stood between."""
        problem = batch.report(self._source.quarantine, self._source.skipped)
        if problem and self._source.strict:
            raise EventError(f"{batch.came.origin.name}:{problem}")
        batch.came.origin.given = batch.place()
        self._given_position = batch.resumes_at()

    def _cursor(self) -> Cursor:
        """The cursor behind all that was given."""
        schema = self._reader.schema if self._reader else self._source.schema
        if schema is not None and schema is not self._schema:
            self._schema, self._schema_text = schema, _compact(schema.token())
        token = {"version": 1, "position": self._given_position, **self.feed.token()}
        token["settings"] = self._source._settings  # noqa: SLF001 - it is the source's own reading
        return Cursor(f'{_compact(token)[:-1]},"schema":{self._schema_text}}}')


def _compact(token: dict[str, Any]) -> str:
    return json.dumps(token, separators=(",", ":"))


def _together(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Frames as one; adding them one by one is quicker than `pl.concat` for few."""
    frames = [frame for frame in frames if len(frame)] or frames[:1]
    return reduce(pl.DataFrame.vstack, frames)


def _joined(held: list[Came]) -> Iterator[Came]:
    """What came in, pieces that follow on each other put together."""
    parts: list[Came] = []
    for came in held:
        if parts and not _follows(parts[-1], came):
            yield _whole_of(parts)
            parts = []
        parts.append(came)
    if parts:
        yield _whole_of(parts)


def _follows(one: Came, other: Came) -> bool:
    return one.origin is other.origin and not one.flaw and not other.flaw and one.end == other.start


def _whole_of(parts: list[Came]) -> Came:
    if len(parts) == 1:
        return parts[0]
    data, lines = b"".join(part.data for part in parts), sum(part.lines for part in parts)
    return parts[0]._replace(data=data, lines=lines, end=parts[-1].end, head=parts[-1].head)


def _written(origin: Origin) -> datetime:
    """When an origin was written to last; now, when that is not known."""
    try:
        seconds = Path(origin.name).stat().st_mtime if origin.name != "-" else time.time()
    except OSError:
        seconds = time.time()
    return datetime.fromtimestamp(seconds, UTC)


# --- standard input


class StandardInput:
    """Standard input: a pipe, or a file that was redirected into it."""

    def __init__(self, token: dict[str, Any]) -> None:
        self.waiting = ""
        try:
            fd = sys.stdin.fileno()
            status = os.fstat(fd)
        except (AttributeError, OSError, ValueError) as error:
            raise SourceError(
                "- is standard input, which is closed. Pipe a log into the command, or give a path"
            ) from error
        place, self._format = _only_place(token)
        self._regular = self.can_reread = S_ISREG(status.st_mode)
        self._origin: GrowingFile | Pipe
        if self._regular:
            self._origin = GrowingFile("-", os.dup(fd), place=place)
            if is_packed(os.pread(fd, 4, 0)):
                raise SourceError("standard input is compressed. Give the file's path, or unpack it on the way")
        else:
            self._origin = Pipe(fd, place=place)
        self._origin.format = self._format

    def next(self, *, final: bool, quoted: bool) -> Came | None:  # noqa: ARG002 - it ends when it is closed
        """The next lines."""
        return self._origin.next(final=self._regular, quoted=quoted)

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Wait for more."""
        if isinstance(self._origin, Pipe):
            self._origin.wait(seconds, stop)
        else:
            stop.wait(seconds)

    def has_ended(self) -> bool:
        """Whether nothing can come any more."""
        return self._regular or (isinstance(self._origin, Pipe) and self._origin.ended)

    def token(self) -> dict[str, Any]:
        """What a cursor says of what was given."""
        return {"files": [_file_token(self._origin)] if self._origin.given else []}

    def close(self) -> None:
        """Let go of the copy of the file."""
        self._origin.close()


def _only_place(token: dict[str, Any]) -> tuple[Place | None, FileFormat | None]:
    """Where reading of a single origin resumes."""
    files = token.get("files") or []
    return (_place_of(files[0]), _format_of(files[0], token)) if files else (None, None)


# --- files


def _file_token(file: Origin) -> dict[str, Any]:
    """What a cursor says of a file."""
    place = file.given
    assert place is not None, "only files of which something was given are in a cursor"
    size = min(len(place.head), place.offset) if isinstance(file, GrowingFile) else len(place.head)
    token: dict[str, Any] = {"name": file.name, "device": file.key[0], "inode": file.key[1], "offset": place.offset}
    token |= {"line": place.line, "print_bytes": size, "print": fingerprint(place.head, size)}
    if place.events:
        token["events"] = place.events
    if place.token:
        token["token"] = place.token
    if file.format is not None:
        token["header"] = list(file.format.header)
    return token


def _place_of(token: dict[str, Any]) -> Place:
    """Where reading of a file resumes."""
    return Place(token["offset"], token["line"], token.get("events", 0), b"", token.get("token", ""))


def _format_of(token: dict[str, Any], cursor: dict[str, Any]) -> FileFormat | None:
    """A file's own format, where its header is not that of the first file."""
    if "header" not in token or not cursor.get("schema"):
        return None
    return replace(schema_of(cursor["schema"]).format, header=tuple(token["header"]), has_header=True)


Settings = tuple[FieldChoice | None, str, int | None]
File = GrowingFile | PackedFile | WholeFile


class _Files:
    """Files that are read one after the other and followed; which they are, say those that derive from it."""

    can_reread = True

    def __init__(self, path: str, token: dict[str, Any], settings: Settings) -> None:
        self.path = path
        self.waiting = ""
        self.tracked: list[File] = []
        self._settings = settings
        self._restore(token)

    def next(self, *, final: bool, quoted: bool) -> Came | Rows | None:
        """The next lines that are there now; None while there are none."""
        while True:
            came, changed = self._next(final=final, quoted=quoted)
            if came is not None:
                self._say("")
                return came
            if not changed and not self._look(final=final):
                return None

    def _next(self, *, final: bool, quoted: bool) -> tuple[Came | Rows | None, bool]:
        """The next lines of the files that are known, and whether there are others now."""
        for file in self.tracked:
            came = file.next(final=final or self._is_unended(file), quoted=quoted)
            if came is not None:
                return came, False
            if isinstance(file, GrowingFile) and file.replaced:
                self._replaced(file)
                return None, True
            if isinstance(file, GrowingFile) and file.offset == 0 and is_packed(file.head):
                self._dropped(file)
                return None, True
        return None, False

    def _is_unended(self, _file: File) -> bool:
        """Whether a last line without end counts by now."""
        return False

    def _look(self, *, final: bool) -> bool:
        """Look for other files; whether there are any."""
        raise NotImplementedError

    def _replaced(self, file: GrowingFile) -> None:
        """A file was cut short or written anew: read on in its copy if there is one, and the file from its start."""
        anew = GrowingFile(file.name, os.dup(file.fd))
        place = self.tracked.index(file)
        self.tracked.insert(place + 1, anew)
        copy = self._beside(file.name, file.head, len(file.head), file.offset, {item.key for item in self.tracked})
        if copy and isinstance(copy, GrowingFile):
            file.moved_to(copy.name, os.dup(copy.fd))
            copy.close()
        else:
            self._dropped(file)

    def _dropped(self, file: File) -> None:
        file.close()
        self.tracked.remove(file)

    def _open(self, name: str, place: Place | None = None) -> File | None:
        """The file of that name, to be read from a place on; None when it cannot be opened or is no regular file."""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self._say(f"{name} cannot be read: {error.strerror or error}; waiting")
            return None
        status = os.fstat(fd)
        if not S_ISREG(status.st_mode):
            os.close(fd)
            what = "a directory" if Path(name).is_dir() else "no regular file"
            self._say(f"{name} is {what}; waiting for a file")
            return None
        return self._file(name, fd, (status.st_dev, status.st_ino), place)

    def _file(self, name: str, fd: int, key: Key, place: Place | None) -> File:
        """The reader that suits a file."""
        head = os.pread(fd, PRINT_BYTES, 0)
        if is_packed(head):
            os.close(fd)
            return PackedFile(name, key, packed_head(name, PRINT_BYTES), place=place)
        if head.startswith((b"PAR1", b"[")):
            os.close(fd)
            return WholeFile(name, key, head, self._settings, place=place)
        return GrowingFile(name, fd, place=place)

    # --- files again

    def _restore(self, token: dict[str, Any]) -> None:
        """Open what a cursor names, wherever it is now."""
        for item in token.get("files", ()):
            place = _place_of(item)
            file = self._found_in_time(item, place)
            if file is None:
                _LOG.warning("%s: what followed byte %s is gone", item["name"], f"{place.offset:,}")
                continue
            head = file.head if not isinstance(file, GrowingFile) else os.pread(file.fd, PRINT_BYTES, 0)
            file.head = head
            file.given = place._replace(head=head)
            file.format = _format_of(item, token)
            self.tracked.append(file)

    def _found_in_time(self, item: dict[str, Any], place: Place) -> File | None:
        """The file that a cursor names; looked for again after a moment, since names may be changing just now."""
        taken = {file.key for file in self.tracked}
        for _ in range(LOOKS):
            file = self._found(item, place, taken)
            if file is not None:
                return file
            time.sleep(LOOK_PAUSE_SECONDS)
        return None

    def _found(self, item: dict[str, Any], place: Place, taken: set[Key]) -> File | None:
        """The file that a cursor names: the same inode if it still begins so, otherwise one that does."""
        key = (item["device"], item["inode"])
        size, wanted = item["print_bytes"], item["print"]
        near = _near(item["name"])
        same = [name for name in near if _key(name) == key]
        for name in dict.fromkeys([*same, *near]):
            if _key(name) in taken:
                continue
            file = self._open(name, place)
            if file is not None and _holds(file, size, wanted, place.offset):
                return file
            if file is not None:
                file.close()
        return None

    def _beside(self, name: str, head: bytes, size: int, offset: int, taken: set[Key]) -> File | None:
        """A copy of what a file held, with something behind the offset."""
        wanted = fingerprint(head, size)
        for other in _near(name):
            if _key(other) in taken:
                continue
            file = self._open(other, Place(offset, 1))
            if isinstance(file, GrowingFile) and _holds(file, size, wanted, offset):
                return file
            if file is not None:
                file.close()
        return None

    # --- what a cursor says

    def token(self) -> dict[str, Any]:
        """What a cursor says of what was given."""
        return {"files": [_file_token(file) for file in self.tracked if file.given is not None]}

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Wait for more."""
        stop.wait(seconds)

    def has_ended(self) -> bool:
        """Never: more can always come."""
        return False

    def close(self) -> None:
        """Let go of all files."""
        for file in self.tracked:
            file.close()

    def _say(self, what: str) -> None:
        """Say once what is waited for."""
        if what and what != self.waiting:
            _LOG.info("%s", what)
        self.waiting = what


def _holds(file: File, size: int, wanted: str, offset: int) -> bool:
    """Whether a file begins with what has this fingerprint, and is as long."""
    if isinstance(file, GrowingFile):
        head = os.pread(file.fd, PRINT_BYTES, 0)
        return os.fstat(file.fd).st_size >= offset and len(head) >= size and fingerprint(head, size) == wanted
    return len(file.head) >= size and fingerprint(file.head, size) == wanted


def _key(name: str) -> Key | None:
    """Device and inode of a path; None when it is not there."""
    try:
        status = Path(name).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _near(name: str) -> list[str]:
    """A path and what rotation may have made of it: other names that begin alike, those written to last first."""
    stem = _stem(name).name
    try:
        near = [item.path for item in os.scandir(Path(name).parent) if item.name.startswith(stem) and item.is_file()]
    except OSError:
        return [name]
    return [name, *sorted(set(near) - {name}, key=_written_ns, reverse=True)]


def _stem(name: str) -> Path:
    """The beginning that a file's name keeps through rotation, in its directory."""
    path = Path(name)
    return path.with_name(path.name.partition(".")[0] or path.name)


class OnePath(_Files):
    """A file that is followed by its name."""

    def _look(self, *, final: bool) -> bool:
        """Whether another file has the name now; those that had it in between are read before it."""
        self._let_go()
        key = _key(self.path)
        if key is None:
            if final and not self.tracked:
                raise SourceError(
                    f"{self.path} does not exist. Give the path of a log, or leave out --until-eof to wait"
                )
            self._say(f"{self.path} is not there yet; waiting" if not self.tracked else "")
            return False
        if any(file.key == key for file in self.tracked):
            return False
        current = self._open(self.path)
        if current is None:
            if final:
                raise SourceError(self.waiting.removesuffix("; waiting") + ". Give the path of a log")
            return False
        self.tracked += [*(self._between(self.tracked[-1], current) if self.tracked else ()), current]
        return True

    def _replaced(self, file: GrowingFile) -> None:
        """As ever; what was cut off in between as well is read before the file itself."""
        super()._replaced(file)
        if file in self.tracked:
            place = self.tracked.index(file) + 1
            self.tracked[place:place] = self._between(file, self.tracked[place])

    def _next(self, *, final: bool, quoted: bool) -> tuple[Came | Rows | None, bool]:
        """As ever; before a file that was empty until now, what it may have held and was rotated away unseen."""
        for last, file in pairwise(self.tracked):
            if isinstance(file, GrowingFile) and not file.head and file.fd >= 0 and os.fstat(file.fd).st_size:
                file.head = os.pread(file.fd, PRINT_BYTES, 0)
                place = self.tracked.index(file)
                self.tracked[place:place] = self._between(last, file)
                break
        return super()._next(final=final, quoted=quoted)

    def _between(self, last: File, current: File) -> list[File]:
        """Files that had the name after the last one that is known and before the current one, oldest first."""
        known = {file.key for file in self.tracked} | {current.key}
        heads = [head for file in self.tracked if (head := file.head)]
        found: list[File] = []
        for name in _behind(last, _rotated(self.path)):
            file = None if _key(name) in known else self._open(name)
            if file is not None and not _is_known(file, heads):
                found.append(file)
                heads.append(_head(file))
            elif file is not None:
                file.close()
        return found

    def _let_go(self) -> None:
        """Forget files that were rotated away and have been quiet since."""
        key = _key(self.path)
        old = [file for file in self.tracked if file.key != key and file is not self.tracked[-1]]
        for file in old:
            if _is_given(file) and time.monotonic() - file.grew > LINGER_SECONDS:
                self._dropped(file)

    def _is_unended(self, file: File) -> bool:
        """Whether a file that was rotated away has been quiet for so long that its last line counts as it is."""
        quiet = time.monotonic() - file.grew > LINGER_SECONDS / 2
        return quiet and file is not self.tracked[-1]


def _is_given(file: File) -> bool:
    """Whether all of a file was given."""
    if isinstance(file, GrowingFile) and file.fd >= 0 and os.fstat(file.fd).st_size != file.offset:
        return False
    given = file.offset == 0 if file.given is None else file.given.offset == file.offset and not file.given.events
    return file.drained and given


def _head(file: File) -> bytes:
    return os.pread(file.fd, PRINT_BYTES, 0) if isinstance(file, GrowingFile) else file.head


def _is_known(file: File, heads: list[bytes]) -> bool:
    """Whether a file begins like one that is known: a copy."""
    head = _head(file)
    return any(head[: len(known)] == known for known in heads if known)


def _behind(last: File, rotated: list[str]) -> list[str]:
    """The names that rotation gave to what came after a file, oldest first; by time where the file has none of them."""
    rotated = sorted(rotated, key=age)
    places = (place for place, name in enumerate(rotated) if _key(name) == last.key)
    place = next(places, None)
    if place is None and last.head:
        alike = (place for place, name in enumerate(rotated) if _first_bytes(name).startswith(last.head))
        place = next(alike, None)
    if place is not None:
        return rotated[place + 1 :]
    since = _last_write(last)
    return [name for name in rotated if _written_ns(name) > since]


def _first_bytes(name: str) -> bytes:
    """The first bytes of what a file holds, compressed or not."""
    try:
        with Path(name).open("rb") as file:
            head = file.read(PRINT_BYTES)
    except OSError:
        return b""
    return packed_head(name, PRINT_BYTES) if is_packed(head) else head


def _last_write(file: File) -> int:
    return os.fstat(file.fd).st_mtime_ns if isinstance(file, GrowingFile) and file.fd >= 0 else _written_ns(file.name)


def _written_ns(name: str) -> int:
    try:
        return Path(name).stat().st_mtime_ns
    except OSError:
        return 0


def _rotated(path: str) -> list[str]:
    """The names beside a path that rotation gives: with a number or a date behind it, also compressed."""
    pattern = re.compile(re.escape(Path(path).name) + r"[.-][\d.TZ:_-]+(\.(gz|zst))?")
    try:
        return [item.path for item in os.scandir(Path(path).parent) if pattern.fullmatch(item.name)]
    except OSError:
        return []


class Folder(_Files):
    """A directory or a pattern that files arrive in."""

    def __init__(self, path: str, token: dict[str, Any], settings: Settings, look_seconds: float) -> None:
        mark = token.get("mark", {})
        self._before: int = mark.get("before", -1)
        self._until: int = mark.get("until", -1)
        self._name: str | None = mark.get("name")
        self._latest = self._until
        self._known: set[Key] = set()
        self._coming: deque[tuple[str, int]] = deque()
        self._turns: deque[tuple[File, int]] = deque()
        self._leaving: list[File] = []
        self._unripe: dict[str, tuple[int, int, float]] = {}
        self._look_seconds = look_seconds
        self._next_look = 0.0
        super().__init__(path, token, settings)
        self._known |= {file.key for file in self.tracked}

    def _is_unended(self, file: File) -> bool:
        """Whether a file has been quiet for so long that its last line counts as it is."""
        return time.monotonic() - file.grew > UNENDED_SECONDS

    def _look(self, *, final: bool) -> bool:
        """Open the next file that has arrived; whether there is one."""
        self._limit()
        if not self._coming and (final or time.monotonic() >= self._next_look):
            self._arrive(final=final)
        while self._coming:
            name, until = self._coming.popleft()
            file = self._open(name)
            if file is not None:
                self._known.add(file.key)
                if self._is_packed_copy(file):
                    continue
                self._turns.append((file, until))
                self.tracked.append(file)
                return True
        if not self.tracked and not self._known:
            if final and self._until < 0:
                raise SourceError(
                    f"{self.path} has no files to read. Give a path, a directory or a pattern: logs/*.log"
                )
            self._say(self.waiting or f"{self.path} has no files yet; waiting")
        return False

    def _is_packed_copy(self, file: File) -> bool:
        """Whether a compressed file holds what was read already of one that rotation compressed."""
        read = [item for item in (*self.tracked, *self._leaving) if isinstance(item, GrowingFile) and item.drained]
        heads = [item.head for item in read if item.head and _stem(item.name) == _stem(file.name)]
        return isinstance(file, PackedFile) and any(file.head.startswith(head) for head in heads)

    def _replaced(self, file: GrowingFile) -> None:
        """As ever; a copy of what was cut short is no new file."""
        super()._replaced(file)
        self._known |= {item.key for item in self.tracked}

    def _arrive(self, *, final: bool) -> None:
        """Queue the files that are new and ripe: oldest arrivals first where that matters, in order of name."""
        now = time.monotonic()
        found = [(status, name) for name, status in self._listed() if self._is_new(name, status)]
        unripe = [status.st_ctime_ns for status, name in found if not (final or self._is_ripe(name, status))]
        bound = min(unripe, default=None)
        ripe = [(status.st_ctime_ns, name) for status, name in found if bound is None or status.st_ctime_ns < bound]
        newest = max([self._latest, *(changed for changed, _ in ripe)])
        turns = [(self._latest if changed <= self._latest else newest, name) for changed, name in ripe]
        self._coming += [(name, until) for until, name in sorted(turns, key=lambda turn: (turn[0], age(turn[1])))]
        self._latest = newest
        took = time.monotonic() - now
        self._next_look = time.monotonic() + max(self._look_seconds - POLL_SECONDS, POLL_SECONDS, 10 * took)

    def _listed(self) -> Iterator[tuple[str, os.stat_result]]:
        """The regular files that are there and not known, without temporary ones."""
        for name in self._names():
            if not _TEMPORARY.fullmatch(Path(name).name):
                try:
                    status = Path(name).stat()
                except OSError:
                    continue
                if S_ISREG(status.st_mode):
                    yield name, status

    def _names(self) -> list[str]:
        if glob.has_magic(self.path) and not Path(self.path).is_dir():
            return glob.glob(self.path, recursive=True)  # noqa: PTH207 - patterns may be absolute
        try:
            device = Path(self.path).stat().st_dev
            there = {(device, item.inode()): item.path for item in os.scandir(self.path)}
        except OSError as error:
            self._say(f"{self.path} cannot be read: {error.strerror or error}; waiting")
            return []
        self._known &= there.keys()
        return [name for key, name in there.items() if key not in self._known]

    def _is_new(self, name: str, status: os.stat_result) -> bool:
        """Whether a file was not read before, here or (by the mark) in an earlier process."""
        if (status.st_dev, status.st_ino) in self._known or status.st_ctime_ns <= self._before:
            return False
        return not (status.st_ctime_ns <= self._until and self._name is not None and age(name) <= age(self._name))

    def _is_ripe(self, name: str, status: os.stat_result) -> bool:
        """Whether a file may be read: it has not arrived just now, and is complete if it must be."""
        if time.time() - status.st_ctime < ARRIVED_SECONDS:
            return False
        try:
            with Path(name).open("rb") as file:
                start = file.read(4)
        except OSError:
            return True
        if not is_packed(start) and not start.startswith((b"PAR1", b"[")):
            return True
        seen = self._unripe.get(name)
        if seen is None or seen[:2] != (status.st_size, status.st_ctime_ns):
            self._unripe[name] = (status.st_size, status.st_ctime_ns, time.monotonic())
            return time.time() - status.st_ctime > RIPE_SECONDS
        ripe = time.monotonic() - seen[2] > RIPE_SECONDS
        if ripe:
            self._unripe.pop(name)
        return ripe

    def _limit(self) -> None:
        """Let go of the files that have been quiet longest, beyond the number that is followed."""
        done = [file for file in self.tracked if file.drained]
        for file in sorted(done, key=lambda item: item.grew)[: max(len(self.tracked) + 1 - FOLLOWED_FILES, 0)]:
            self._dropped(file)
            self._leaving.append(file)

    def _dropped(self, file: File) -> None:
        super()._dropped(file)
        if isinstance(file, GrowingFile) and file.offset == 0 and not file.drained:
            self._known.discard(file.key)

    def token(self) -> dict[str, Any]:
        """What a cursor says of what was given: files that are followed, and the mark."""
        while self._turns and self._is_passed(self._turns[0][0]):
            file, until = self._turns.popleft()
            if until != self._until:
                self._before, self._until = self._until, until
            self._name = file.name
            after = self._turns[0] if self._turns else self._coming[0] if self._coming else None
            if after is None or after[1] != until:
                self._before, self._name = until, None
        mark = {"before": self._before, "until": self._until, "name": self._name}
        self._leaving = [file for file in self._leaving if not _is_given(file)]
        begun = [_file_token(file) for file in self._leaving if file.given is not None]
        return {"files": [*begun, *super().token()["files"]], "mark": mark}

    def _is_passed(self, file: File) -> bool:
        """Whether the mark may cover a file: some of it was given, or nothing is in it."""
        return file.given is not None or (file.drained and file.offset == 0)
