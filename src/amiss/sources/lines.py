"""Lines as they come in: what they are, and the events in them, given out so many at a time."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss import fields as columns
from amiss.errors import SourceError
from amiss.events import Quarantine
from amiss.fields import FieldChoice, Fields, RoleGuess
from amiss.sources import readers
from amiss.sources.files import fields_of, layout_of, line_sample, raw_columns
from amiss.sources.rows import Line, from_json, shown
from amiss.sources.sniff import FileFormat, sniff
from amiss.times import TimeFormat
from amiss.vocabulary import Coding

COMPILED_BYTES: Final = 64 << 10
"""With less at a time, compiled passes gain nothing."""
TEXTS_KEPT: Final = 1 << 20
"""Different texts after which a worker begins anew, so that its tables stay small."""
HALF_A_YEAR: Final = timedelta(days=180)

LINE_END: Final = 10

Ints = npt.NDArray[np.int64]
Rejection = tuple[int, str, str]
"""Position, reason, text."""


@dataclass(frozen=True)
class Schema:
    """What lines are made of, which field plays which role, and in which zone times are."""

    format: FileFormat
    fields: Fields
    timezone: str

    def token(self) -> dict[str, Any]:
        """What a cursor remembers of it."""
        roles = {role: _role_token(guess) for role, guess in self.fields.roles.items()}
        return {"format": asdict(self.format), "preset": self.fields.preset, "roles": roles, "timezone": self.timezone}


def _role_token(guess: RoleGuess) -> dict[str, Any]:
    """What a cursor remembers of a role."""
    found = guess.time_format
    time = None if found is None else asdict(found) | {"until": found.until.isoformat() if found.until else None}
    return {"column": guess.column, "reading": guess.reading, "time": time}


def schema_of(token: dict[str, Any]) -> Schema:
    """The schema that a cursor remembers."""
    found = token["format"] | {"header": tuple(token["format"]["header"])}
    roles = {role: _role_of(guess) for role, guess in token["roles"].items()}
    return Schema(FileFormat(**found), Fields(token["preset"], roles), token["timezone"])


def _role_of(token: dict[str, Any]) -> RoleGuess:
    time = token["time"]
    if time is None:
        return RoleGuess(token["column"], 1.0, reading=token["reading"])
    until = datetime.fromisoformat(time["until"]) if time["until"] else None
    return RoleGuess(
        token["column"], 1.0, time_format=TimeFormat(**(time | {"until": until})), reading=token["reading"]
    )


def settled(
    head: bytes, name: str, *, fields: FieldChoice | None, timezone: str, year: int | None, now: datetime
) -> Schema:
    """What lines are, by the first whole ones.

    Raises
    ------
    SourceError
        If they are of no known format, or of one that has no lines.
    EventError
        If no field can be the time, the user or the action.
    """
    found = sniff(head, name)
    if found.kind in ("json", "parquet"):
        raise SourceError(
            f"{name} is {_UNLINED[found.kind]}, which can be read only when it is complete. "
            "Write a JSON object a line, or put complete files into a directory and give that"
        )
    guessed = fields_of(line_sample(found, head), found.kind, fields=fields, where=name, year=year, now=now)
    return Schema(found, replace(guessed, rest=()), timezone)


_UNLINED: Final = {"json": "one JSON text of several lines", "parquet": "Parquet"}


class Came(NamedTuple):
    """Whole lines that came in, or one line (`flaw`: why it cannot be read, its beginning) that is no such.

    `lines` says how many they are, `start` and `end` are offsets, `line` the number of the first line, `head` the first
    bytes of what they are from, `at` the moment when they came in (monotonic seconds).
    """

    origin: Any
    data: bytes
    lines: int
    line: int
    start: int
    end: int
    head: bytes = b""
    flaw: tuple[str, str] | None = None
    at: float = 0.0


def count_lines(data: bytes | bytearray) -> int:
    r"""How many line ends there are; several times as fast as `bytes.count`.

    Examples
    --------
    >>> count_lines(b"a\nb\n")
    2
    """
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == LINE_END))


class Place(NamedTuple):
    """Where what was given out ends: offset, line to come, and events of that line that were given already."""

    offset: int
    line: int
    events: int = 0
    head: bytes = b""
    token: str = ""


@dataclass
class Batch:
    """The events of lines that came in together, what of these cannot be read, and how far they were given out.

    `positions` are those of the events, in order; `first` is that of the first line, `behind` the one after the last.
    """

    came: Came
    first: int
    behind: int
    positions: Ints
    rejected: list[Rejection] = field(default_factory=list)
    skipped: list[tuple[int, str]] = field(default_factory=list)
    given: int = 0
    _ends: Ints | None = None

    @property
    def left(self) -> int:
        """How many events were not given out yet."""
        return len(self.positions) - self.given

    def leave_out(self, events: int) -> None:
        """Take the first events for given, and what stands before the next one."""
        self.given = min(events, len(self.positions))
        self.report(Quarantine(), {})

    def coded(self, low: int, high: int, coding: Coding) -> pl.DataFrame:
        """The coded frame of some of the events."""
        raise NotImplementedError

    def take(self, count: int, coding: Coding) -> pl.DataFrame:
        """The coded frame of the next events."""
        low, self.given = self.given, self.given + count
        return self.coded(low, self.given, coding) if count else coding.empty()

    def reached(self) -> int:
        """The position of the first line that was not given out whole."""
        return int(self.positions[self.given]) if self.left else self.behind

    def report(self, quarantine: Quarantine, skipped: dict[str, int]) -> str | None:
        """Count what stands before the place that was reached and cannot be read; the first such, for `strict`."""
        reached = self.reached()
        now = [item for item in self.rejected if item[0] < reached]
        self.rejected = [item for item in self.rejected if item[0] >= reached]
        base = self.first - self.came.line
        for position, reason, text in now:
            quarantine.add(self.came.origin.name, position - base, reason, text)
        for position, reason in self.skipped:
            if position < reached:
                skipped[reason] = skipped.get(reason, 0) + 1
        self.skipped = [item for item in self.skipped if item[0] >= reached]
        return f"{now[0][0] - base}: {now[0][1]}: {columns.ascii_safe(now[0][2])}" if now else None

    def resumes_at(self) -> int:
        """The position of the first line that is read again when resuming behind what was given out."""
        return self.reached()

    def place(self) -> Place:
        """Where to resume behind what was given out."""
        reached = self.reached()
        if reached == self.behind:
            return Place(self.came.end, self.came.line + self.behind - self.first, head=self.came.head)
        events = self.given - int(np.searchsorted(self.positions, reached))
        if self._ends is None:
            self._ends = np.flatnonzero(np.frombuffer(self.came.data, np.uint8) == LINE_END) + 1
        line = reached - self.first
        offset = self.came.start + (int(self._ends[line - 1]) if line else 0)
        return Place(offset, self.came.line + line, events, self.came.head)


@dataclass
class EventBatch(Batch):
    """Events that are there as an event frame."""

    frame: pl.DataFrame = field(default_factory=pl.DataFrame)

    def coded(self, low: int, high: int, coding: Coding) -> pl.DataFrame:
        """The coded frame of some of the events."""
        return coding.encode(self.frame[low:high])


@dataclass
class WholeBatch(EventBatch):
    """Events of a part of a file that is read as a whole; reading resumes before or behind the part, by a token."""

    before: str = ""
    after: str = ""

    def resumes_at(self) -> int:
        """The position of the first record that is read again when resuming behind what was given out."""
        return self.reached() if self.reached() == self.behind else self.first

    def place(self) -> Place:
        """Where to resume behind what was given out."""
        came = self.came
        if self.reached() == self.behind:
            return Place(came.end, came.line + self.behind - self.first, head=came.head, token=self.after)
        return Place(came.start, came.line, self.given, came.head, self.before)


@dataclass
class PassedBatch(Batch):
    """Events that a compiled pass found, and those of lines that it left over."""

    passed: readers.Passed | None = None
    meanings: readers.Meanings | None = None
    layout: readers.Layout | None = None
    odd: pl.DataFrame | None = None

    def coded(self, low: int, high: int, coding: Coding) -> pl.DataFrame:
        """The coded frame of some of the events; they must be asked for in order, and once."""
        assert self.passed is not None and self.meanings is not None and self.layout is not None  # noqa: PT018 - one fact
        start = int(self.positions[low]) if low else self.first
        stop = int(self.positions[high]) if high < len(self.positions) else self.behind
        part = readers.part_of(self.passed, start - self.first, stop - self.first)
        odd = None if self.odd is None else self.odd.filter(pl.col("position").is_between(start, stop, closed="left"))
        known = {"users": coding.users, "actions": coding.actions}
        return readers.coded_frame(part, self.meanings, odd, self.layout, **known, position=self.first)


class LineReader:
    """Reads lines that came in by a schema; remembers what compiled passes learned of texts.

    `whole` reads all roles of an event, not only those that every coded frame holds; `raw` are columns to read besides.
    """

    def __init__(self, schema: Schema, year: int | None, *, whole: bool = False, raw: tuple[str, ...] = ()) -> None:
        self.schema = schema
        self._year = year
        self._whole = whole
        self._raw_columns = raw
        self._free: readers.Free = queue.SimpleQueue()
        self._workers: dict[tuple[str, ...], _Compiled | None] = {}

    def batch(self, came: Came, first: int, found: FileFormat, now: datetime) -> Batch:
        """The events of lines, the first of which has this position; `now` is when they were written at the latest."""
        behind = first + came.lines
        if came.flaw:
            return Batch(came, first, behind, np.empty(0, np.int64), [(first, *came.flaw)])
        self._set_until(now)
        compiled = self._compiled(found) if len(came.data) >= COMPILED_BYTES and not self._whole else None
        result = self._passed(came, first, behind, found, compiled) if compiled else self._read(came, first, found)
        result.rejected.sort(key=lambda item: item[0])
        return result

    @property
    def _fields(self) -> Fields:
        """What is read."""
        fields = self.schema.fields
        if self._whole:
            return replace(fields, rest=self._raw_columns)
        return replace(fields, roles={role: each for role, each in fields.roles.items() if role in readers.ROLES})

    def _compiled(self, found: FileFormat) -> _Compiled | None:
        known = self._workers.get(found.header)
        if found.header not in self._workers or (known is not None and known.is_full()):
            layout = layout_of(found, self.schema.fields, self.schema.timezone)
            known = _Compiled(layout, self._free) if layout else None
            self._workers[found.header] = known
        return known

    def _passed(self, came: Came, first: int, behind: int, found: FileFormat, compiled: _Compiled) -> Batch:
        """What a compiled pass finds, and what the general reader makes of the rest."""
        passed = compiled.read(came.data)
        batch = PassedBatch(came, first, behind, passed.rows.line + first, passed=passed, layout=compiled.layout)
        batch.meanings = compiled.meanings
        if passed.odd:
            numbered = [(first + line, text) for line, text in passed.odd]
            batch.odd = self._events(self._raw(numbered, found, batch), numbered, batch)
            positions = np.concatenate([batch.positions, batch.odd["position"].to_numpy()])
            batch.positions = np.sort(positions, kind="stable")
        return batch

    def _read(self, came: Came, first: int, found: FileFormat) -> Batch:
        """What the general reader finds."""
        batch = EventBatch(came, first, first + came.lines, np.empty(0, np.int64))
        if found.kind == "ndjson":
            wanted, reject = self._fields.columns, _rejecting(batch)
            raw = from_json(came.data, first, wanted, reject, latin1=found.latin1)
        else:
            raw = self._raw(list(enumerate(came.data.split(b"\n")[:-1], start=first)), found, batch)
        lines = came.data.split(b"\n")
        batch.frame = self._events(raw, ((first + row, line) for row, line in enumerate(lines)), batch)
        batch.positions = batch.frame["position"].to_numpy()
        if self._year is not None and len(batch.frame):
            self._move_until(batch.frame["time"].max())
        return batch

    def _raw(self, lines: list[Line], found: FileFormat, batch: Batch) -> pl.DataFrame:
        """Raw columns of numbered lines; says of each that is none why."""
        at = 0

        def numbered() -> Iterator[Line]:
            nonlocal at
            for line in lines:
                at = line[0]
                yield line

        def skip(reason: str, _count: int) -> None:
            batch.skipped.append((at, reason))

        return raw_columns(found, numbered(), self._fields.columns, _rejecting(batch), skip)

    def _events(self, raw: pl.DataFrame, lines: Iterable[Line], batch: Batch) -> pl.DataFrame:
        """Events of raw rows; the others are rejected with their text."""
        good, bad = columns.events(raw, self._fields, self.schema.timezone)
        if len(bad):
            wanted = set(bad["position"].to_list())
            texts = {position: line for position, line in lines if position in wanted}
            batch.rejected += [(position, reason, shown(texts.get(position, b""))) for position, reason in bad.rows()]
        return good

    # --- the year that syslog leaves out

    def _set_until(self, now: datetime) -> None:
        """Let no time be later than a day after `now`, unless the year was given."""
        if self._year is None:
            self._until(now + timedelta(days=1))

    def _move_until(self, newest: Any) -> None:  # noqa: ANN401 - what the maximum of a column is
        """Let the years go on behind the newest time."""
        found = self.schema.fields.roles["time"].time_format
        if found is not None and found.until is not None and isinstance(newest, datetime):
            self._until(max(found.until, newest + HALF_A_YEAR))

    def _until(self, moment: datetime) -> None:
        guess = self.schema.fields.roles["time"]
        if guess.time_format is not None and guess.time_format.kind == "syslog":
            time = replace(guess, time_format=replace(guess.time_format, until=moment))
            roles = self.schema.fields.roles | {"time": time}
            self.schema = replace(self.schema, fields=replace(self.schema.fields, roles=roles))


class _Compiled:
    """A compiled pass, what it learned, and what that means."""

    def __init__(self, layout: readers.Layout, free: readers.Free) -> None:
        self.layout = layout
        self.meanings = readers.Meanings()
        self._texts = 0
        self._free = free
        self._worker = readers.Worker(layout, free)

    def is_full(self) -> bool:
        return self._texts > TEXTS_KEPT

    def read(self, data: bytes) -> readers.Passed:
        passed = self._worker.read(next(readers.copied([(data, 0, None)], self._free)))
        self._texts += len(passed.users.texts) + len(passed.actions.texts) + len(passed.outcomes.texts)
        return passed


def _rejecting(batch: Batch) -> Any:  # noqa: ANN401 - a function of position, reason and text
    """Adds to what of a batch cannot be read."""

    def reject(position: int, reason: str, text: str) -> None:
        batch.rejected.append((position, reason, text))

    return reject


def header_in(line: bytes, schema: Schema) -> FileFormat | None:
    """The format of a CSV file that begins with this line, if it is a header; None if it is a row."""
    import csv

    text = line.decode("latin-1" if schema.format.latin1 else "utf-8", "replace").strip("\r\n\ufeff")
    try:
        names = tuple(name.strip() for name in next(csv.reader([text], delimiter=schema.format.delimiter), ()))
    except csv.Error:
        return None
    if names == schema.format.header and schema.format.has_header:
        return schema.format
    needed = {name for role in columns.REQUIRED for name in columns.raw_names(schema.fields.roles[role].column)}
    if needed <= set(names) and len(set(names)) == len(names):
        return replace(schema.format, header=names, has_header=True)
    return None


def digest(choice: FieldChoice | None, timezone: str, year: int | None) -> str:
    """Tells whether a cursor's schema was found with the same settings."""
    from hashlib import blake2b

    pinned = (choice.pinned(), choice.time_format) if choice else ({}, None)
    return blake2b(json.dumps([pinned, timezone, year]).encode(), digest_size=6).hexdigest()
