"""Tables and queries of SQL databases: MySQL, MariaDB, PostgreSQL, SQLite.

**What a cursor holds** (JSON): the position of the row to come; what was read of the table by key (`window`), or, where
there is no key, nothing more; `key`, the column by which rows are read; `identity` and `witness`, by which a table that
was made anew is told; what plays which role. No name, password or address.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

import polars as pl

from amiss import fields as columns
from amiss import times
from amiss.errors import EventError, SourceError
from amiss.events import EVENT_SCHEMA, Quarantine
from amiss.fields import FieldChoice, Fields
from amiss.sources import Cursor, readers
from amiss.sources.changes import Reader
from amiss.sources.dictionaries import ahead
from amiss.sources.lines import Schema, digest, schema_of
from amiss.sources.sniff import FileFormat
from amiss.sources.sql_address import Address, with_query
from amiss.sources.sql_coded import Coded
from amiss.sources.sql_database import Database
from amiss.sources.sql_feed import NO_ROWS, Anew, Behind, Feed, Layout, Piece, Place, Round, Rows, laid_out, read_on
from amiss.sources.sql_plan import decoded, without_floats
from amiss.vocabulary import Coding

POLL_SECONDS: Final = 0.5
"""How often a table that is followed is asked for more, at least; more often where `every` is shorter."""
WAIT_SECONDS: Final = 0.05
"""How often it is looked whether to stop."""

_LOG: Final = logging.getLogger(__name__)
_FORMAT: Final = FileFormat("ndjson")


class SqlSource:
    """Events of a table or a query of a database.

    **A table** is read in the order of `cursor`, a column of whole numbers of which no two rows have the same (its
    primary key, unless another is named), or of times, or of numbers that rows share. What cannot be read goes to
    quarantine by that key. Without such a column rows are read in the order in which they come. Rows whose key is null
    are not read.

    **A table that is followed** is asked for rows above the highest key, and for those that were committed late: holes
    among whole numbers for the overlap (60 s), or, by time, the rows of the overlap once more, of which those are
    taken that were not read. Rows that are changed after they were read are not read again. A server or a table that is
    away is waited for; a table that was truncated or made anew is read from its beginning, with a warning.

    **A query** is read once; it can be followed too where `cursor` names one of its columns of whole numbers, of which
    no two rows have the same.

    Parameters
    ----------
    url
        `mysql://HOST/DATABASE`, `mariadb://`, `postgresql://` or `sqlite:///FILE`, with `table` or `query`; `cursor`,
        `overlap` (60s, or so many keys), `start` (of :meth:`follow`: earliest, or latest), and where name and password
        are: see :mod:`amiss.sources.sql_address`.
    fields, timezone, year, strict
        As for files.

    Raises
    ------
    UsageError
        If the address is not understood.
    MissingExtraError
        If drivers are not installed.

    Examples
    --------
    >>> import sqlite3, tempfile
    >>> path = tempfile.mkdtemp() + "/shop.db"
    >>> with sqlite3.connect(path) as shop:
    ...     _ = shop.execute("CREATE TABLE logs (id INTEGER PRIMARY KEY, date, time, user_id, path)")
    ...     _ = shop.execute("INSERT INTO logs VALUES (7, '2026-01-05', '09:15:00', 12, '/')")
    >>> shop.close()
    >>> frame, cursor = next(SqlSource(f"sqlite:///{path}?table=logs").read())
    >>> frame.select("position", "user", "action").rows()
    [(1, '12', '/')]
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
        self.address = Address.parse(url)
        self.url = self.address.url
        self.timezone, self.strict = timezone, strict
        self.quarantine = Quarantine()
        self.skipped: dict[str, int] = {}
        self._choice, self._year = fields, year
        self._settings = digest(fields, timezone, year)
        self._database = Database(self.address)
        self._layout: Layout | None = None
        self._fields: Fields | None = None
        self._feed: Feed | None = None

    @property
    def fields(self) -> Fields:
        """What is read from which column; the first rows are read to find out.

        Raises
        ------
        SourceError
            If the database cannot be read, or holds no rows.
        EventError
            If no column can be the time, the user or the action; lists what was found.
        """
        if not self._settle():
            raise EventError(f"{self.address.name} holds no rows, so there are no events to read")
        assert self._fields is not None, "it was settled"
        return self._fields

    @property
    def trouble(self) -> str:
        """What is wrong with the connection now, while following; empty where all is well."""
        return self._feed.trouble if self._feed else ""

    def close(self) -> None:
        """Close connections."""
        self._database.close()

    # --- what there is

    def _laid_out(self) -> Layout:
        """What there is to read."""
        if self._layout is None:
            self._layout = laid_out(self._database)
        return self._layout

    def _settle(self) -> bool:
        """Find out what plays which role, if there are rows by which to tell."""
        if self._fields is None:
            layout = self._laid_out()
            if not len(layout.sample):
                self._layout = None
                return False
            name = self.address.name
            sample = layout.sample.drop("position", strict=False)
            self._fields = columns.infer(sample, self._choice, where=name, year=self._year)
        return True

    # --- reading

    def read(self, after: Cursor | None = None) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Event frames of all that is there now, each with the cursor behind it.

        Raises
        ------
        EventError
            If nothing at all could be read; says why. With `strict`, at the first row that cannot be.
        """
        yield from self._read(None, after)

    def read_coded(self, coding: Coding, after: Cursor | None = None) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Coded frames with the cursor behind each: the rows of :meth:`read`, several times as fast.

        Columns that only ride along are not asked for.
        """
        yield from self._read(coding, after)

    def _read(self, coding: Coding | None, after: Cursor | None) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        seen, token = after is not None, self._token(after)
        found = self._narrow(coding) if coding is not None else self.fields
        place = Place(self._laid_out(), token, found, self._database.identity())
        coded = Coded(found, self._laid_out().relation, self.timezone) if coding and not coding.contexts else None
        for rows in ahead(read_on(self._database, place.layout, found, place.copy().window, place.position - 1)):
            frame = coded.frame(rows, place.position, coding) if coded and coding else None
            if frame is None:
                piece = self.piece(rows, place.position, found)
                self.report(piece, piece.behind)
                frame = piece.events if coding is None else coding.encode(piece.events)
            place.note(rows, 0, len(rows))
            if len(frame):
                seen = True
                yield frame, self.cursor(place)
        if not seen:
            raise EventError(self._nothing_read())

    def _narrow(self, coding: Coding) -> Fields:
        """The fields that coded frames are made of."""
        found = self.fields
        kept = {role: guess for role, guess in found.roles.items() if coding.contexts or role in readers.ROLES}
        return replace(found, roles=kept, rest=coding.raw)

    def piece(self, rows: Rows, position: int, found: Fields) -> _Piece:
        """Rows as events, and those that are none."""
        raw = without_floats(rows.raw)
        others = [name for name in found.columns if name in raw.columns and name != "position"]
        places = pl.int_range(position, position + len(raw), dtype=pl.Int64, eager=True).alias("position")
        good, bad = columns.events(raw.select(others).with_columns(places), found, self.timezone)
        return _Piece(rows, position, good, bad.rows())

    def report(self, piece: _Piece, reached: int) -> None:
        """Put rows before a position that are no events into quarantine, by key."""
        while piece.bad and piece.bad[0][0] < reached:
            position, reason = piece.bad.pop(0)
            key = piece.key(position)
            text = columns.ascii_safe(str(piece.rows.raw.row(position - piece.first)))
            if self.strict:
                raise EventError(f"{self.address.name}: row {key}: {reason}: {text}")
            place = key if isinstance(key, int) else position
            self.quarantine.add(self.address.name, place, reason, text)

    def _nothing_read(self) -> str:
        first = [f"  row {bad.position}: {bad.reason}" for bad in self.quarantine.samples[:5]]
        return "\n".join([f"{self.address.name}: no row could be read as an event.", *first])

    # --- cursors

    def _token(self, after: Cursor | None) -> dict[str, Any]:
        """What a cursor says; a reading from the beginning forgets what an earlier one quarantined."""
        if after is None:
            self.quarantine.reasons.clear()
            self.quarantine.samples.clear()
            return {}
        try:
            token: dict[str, Any] = json.loads(after.token)
            _ = token["position"], token["window"], token["key"]
            if token["schema"] is not None and token["settings"] == self._settings and self._fields is None:
                self._fields = schema_of(token["schema"]).fields
        except (ValueError, TypeError, KeyError) as error:
            raise SourceError(f"this is no cursor of an SQL source: {after.token[:80]}") from error
        return token

    def cursor(self, place: Place) -> Cursor:
        """The cursor behind all that was given."""
        assert self._fields is not None, "rows are read once it is clear what they are"
        schema = Schema(_FORMAT, self._fields, self.timezone).token()
        token = {"version": 1, **place.token(), "settings": self._settings, "schema": schema}
        return Cursor(json.dumps(token, separators=(",", ":")))

    # --- following

    def settle(self, stop: threading.Event, *, until_eof: bool = False) -> Fields | None:
        """What rows are made of, once there are some."""
        said = ""
        while not stop.is_set():
            try:
                if self._settle():
                    return self._fields
            except SourceError as error:
                if error.retry_after is None or until_eof:
                    raise
                if not said:
                    _LOG.warning("%s. Trying until it is back", error)
                said = str(error)
            if until_eof:
                return None
            stop.wait(POLL_SECONDS)
        return None

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
        """Coded frames of what the table holds and of what comes in, each with the cursor behind it.

        As :meth:`amiss.sources.LiveSource.follow` says; `until_eof` ends where the rows end now.

        Raises
        ------
        SourceError
            If the server does not let us in, if there is no such table at the beginning, or no column by which new
            rows are told. A server that is away is waited for, unless `until_eof`.
        EventError
            If rows lack what events need; with `strict`, at the first one that cannot be read.
        """
        token = self._token(after)
        if self.settle(stop, until_eof=until_eof) is None:
            return
        layout = self._laid_out()
        if layout.key is None and not until_eof:
            raise SourceError(
                f"{self.url}: new rows are told by a column that grows. Name it: cursor=COLUMN. "
                f"Columns: {', '.join(column.name for column in layout.relation.columns)}"
            )
        found = self._narrow(coding)
        place = Place(layout, token, found, self._database.identity() if not token else str(token["identity"]))
        feed = self._feed = Feed(
            self._database, layout, found, place.copy(), pause=min(every.total_seconds(), POLL_SECONDS), final=until_eof
        )
        reader = Reader(feed.pieces, feed.closing, _nothing)
        try:
            yield from _Following(self, reader, place, coding, found).frames(batch, every.total_seconds(), stop)
        finally:
            reader.close()
            self._feed = None


def _nothing() -> None:
    """What waits for a database cannot be interrupted; its thread is left behind."""


@dataclass
class _Piece:
    """Rows that came in together as events, with those that are none; how far they were given.

    `first` is the position of the first row. `mark` is something else that happened to the table, and no rows.
    """

    rows: Rows
    first: int
    events: pl.DataFrame
    bad: list[tuple[int, str]] = field(default_factory=list)
    mark: Round | Behind | Anew | None = None
    at: float = 0.0
    given: int = 0
    noted: int = 0

    @property
    def behind(self) -> int:
        """The position behind the last row."""
        return self.first + len(self.rows)

    @property
    def left(self) -> int:
        """How many events were not given."""
        return len(self.events) - self.given

    def reached(self) -> int:
        """The position of the first row that was not given."""
        return int(self.events["position"][self.given]) if self.left else self.behind

    def key(self, position: int) -> Any:  # noqa: ANN401 - a number or a text
        """The key of the row at a position; the position itself where there are no keys."""
        keys = self.rows.keys
        return keys["key"][position - self.first] if "key" in keys.columns else position


class _Following:
    """One reading of a table that goes on: what came in, and how far it was given."""

    def __init__(self, source: SqlSource, reader: Reader[Piece], place: Place, coding: Coding, found: Fields) -> None:
        self._source, self._reader, self._place = source, reader, place
        self._coding, self._found = coding, found
        self._ready: deque[_Piece] = deque()
        self._have = 0
        self._position = place.position

    def frames(self, batch: int, every: float, stop: threading.Event) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """See :meth:`SqlSource.follow`."""
        given_at = time.monotonic()
        while not stop.is_set():
            if self._have >= batch:
                yield self._take(batch)
                given_at = time.monotonic()
                continue
            piece = self._reader.take()
            if piece is not None:
                self._add(piece)
                continue
            due = (self._ready[0].at if self._have else given_at) + every
            if self._reader.finished:
                while self._have or self._ready:
                    yield self._take(batch)
                return
            if due <= time.monotonic():
                yield self._take(batch)
                given_at = time.monotonic()
            else:
                self._reader.wait(min(max(due - time.monotonic(), 0.005), WAIT_SECONDS))
        if self._have:
            yield self._take(batch)

    def _add(self, came: Piece) -> None:
        """Let what came in wait until it is given."""
        if isinstance(came, Rows):
            piece = self._source.piece(came, self._position, self._found)
            self._position = piece.behind
        else:
            piece = _Piece(NO_ROWS, self._position, pl.DataFrame(schema=EVENT_SCHEMA), mark=came)
        piece.at = time.monotonic()
        self._have += piece.left
        if piece.mark is not None and not self._ready:
            self._pass(piece.mark)
        else:
            self._ready.append(piece)

    def _pass(self, mark: Round | Behind | Anew) -> None:
        """Take what happened to the table for given."""
        if isinstance(mark, Anew):
            self._place.begin_anew(mark.identity)
        elif isinstance(mark, Behind):
            self._place.begin_behind(mark.key)
        elif self._place.window is not None:
            self._place.window.forget(mark.asked)

    def _take(self, most: int) -> tuple[pl.DataFrame, Cursor]:
        """The next events, at most so many, and the cursor behind them."""
        wanted, frames = min(most, self._have), []
        self._have -= wanted
        while self._ready and (wanted or not self._ready[0].left):
            piece = self._ready[0]
            count = min(wanted, piece.left)
            if count:
                frames.append(self._coding.encode(piece.events[piece.given : piece.given + count]))
            piece.given += count
            wanted -= count
            self._given(piece)
            if not piece.left:
                self._ready.popleft()
        return pl.concat(frames or [self._coding.empty()]), self._source.cursor(self._place)

    def _given(self, piece: _Piece) -> None:
        """Move behind rows that were given."""
        if piece.mark is not None:
            self._pass(piece.mark)
            return
        reached = piece.reached()
        self._source.report(piece, reached)
        self._place.note(piece.rows, piece.noted, reached - piece.first)
        piece.noted = reached - piece.first


def read_table(url: str, query: str = "") -> pl.DataFrame:
    """The rows of a query, or of the table that the address names, as a frame: for lookups that fit into memory.

    Dates and times of day come as texts, moments as times, of two columns of a name the second one as `name_2`.

    Raises
    ------
    SourceError
        If the database cannot be read.
    UsageError
        If the address is not understood.
    MissingExtraError
        If drivers are not installed.

    Examples
    --------
    >>> import sqlite3, tempfile
    >>> path = tempfile.mkdtemp() + "/shop.db"
    >>> sqlite3.connect(path).close()
    >>> read_table(f"sqlite:///{path}", "SELECT 7 AS id, '2026-01-05' AS start_date").rows()
    [(7, '2026-01-05')]
    """
    database = Database(Address.parse(with_query(url, query) if query else url))
    try:
        relation = database.relation()
        found = database.stream(relation.select(relation.columns))
        frames = [decoded(frame, relation.columns) for frame in found]
    finally:
        database.close()
    empty = pl.DataFrame(schema=dict.fromkeys((column.name for column in relation.columns), pl.String))
    return pl.concat(frames, how="vertical_relaxed") if frames else empty
