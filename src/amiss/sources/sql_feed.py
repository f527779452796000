"""What a table or a query gives, row by row in the order of a key: what is there, then what comes in."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

import polars as pl

from amiss import fields as columns
from amiss import times
from amiss.errors import SourceError, nearest
from amiss.fields import Fields
from amiss.sources.sql_address import Address, Overlap
from amiss.sources.sql_database import Database, MissingTableError
from amiss.sources.sql_plan import Column, Relation, decoded, without_floats
from amiss.sources.sql_window import LEAST, Keys, Stamps, prints, row_print

LIVE_ROWS: Final = 2_000
"""Rows that are asked for at first; where there are more, by the quick driver."""
CHECK_SECONDS: Final = 2.0
"""How often it is looked, while nothing comes in, whether the table is still the same."""
WITNESSES: Final = 5
"""Rows that were read last, by which a table that was made anew is told."""
MOST_TRIES: Final = 6
FIRST_WAIT_SECONDS: Final = 0.25
LONGEST_WAIT_SECONDS: Final = 30.0
ROWID: Final = "rowid"
_UNKNOWN_DATABASE: Final = (1049, "3D000")

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Key:
    """The column by which rows are read; `is_unique` where it has whole numbers of which no two rows have the same.

    Otherwise `written` is how it is asked for as a number or a text, and `apart` are the columns that tell rows apart.
    """

    name: str
    is_unique: bool
    overlap: Overlap
    written: str = "{}"
    apart: tuple[Column, ...] = ()

    def window(self, token: dict[str, Any] | None) -> Keys | Stamps:
        """What was read, as a cursor says, or nothing."""
        return Keys(self.overlap, token) if self.is_unique else Stamps(self.overlap, token)

    def asked(self, relation: Relation) -> list[str]:
        """What is asked for besides the columns of events."""
        own = self.written.format(relation.column(self.name))
        return [own, *(column.asked.format(relation.column(column.name)) for column in self.apart)]

    def keys(self, behind: pl.DataFrame) -> pl.DataFrame:
        """The key of each row, and what tells it from others, of what was asked for besides."""
        if self.is_unique:
            return pl.DataFrame({"key": behind.to_series().cast(pl.Int64)})
        own = behind.to_series()
        return pl.DataFrame([own.rename("key"), prints(behind)])


@dataclass(frozen=True)
class Layout:
    """What there is to read: the relation, its key if there is one, and its first rows."""

    relation: Relation
    key: Key | None
    sample: pl.DataFrame


@dataclass(frozen=True)
class Rows:
    """Rows as they came: the columns of events, their keys, and when they were asked for (seconds since 1970).

    `came` are the columns as the driver gave them, `raw` as events are read from them.
    """

    came: pl.DataFrame
    columns: tuple[Column, ...]
    keys: pl.DataFrame
    asked: float

    def __len__(self) -> int:
        return len(self.came)

    @cached_property
    def raw(self) -> pl.DataFrame:
        """The columns by name."""
        return decoded(self.came, self.columns)

    def last(self, first: int, behind: int) -> pl.DataFrame:
        """Some of the rows, by name."""
        return decoded(self.came[first:behind], self.columns)


NO_ROWS: Final = Rows(pl.DataFrame(), (), pl.DataFrame(), 0.0)


class Round(NamedTuple):
    """All that was there at a time was given."""

    asked: float


class Behind(NamedTuple):
    """What is there up to a key is not wanted."""

    key: Any


class Anew(NamedTuple):
    """The table is another one, with this identity: it is read from its beginning."""

    identity: str


Piece = Rows | Round | Behind | Anew


# --- what there is


def laid_out(database: Database) -> Layout:
    """The relation at an address, its key, and its first rows.

    Raises
    ------
    SourceError
        If there is none, or if the column that is named for a cursor is none by which rows can be read.
    """
    address, relation = database.address, database.relation()
    names = [column.name for column in relation.columns]
    name = address.cursor or _primary(database)
    if name and name not in names and not _is_rowid(address, name):
        raise SourceError(
            f'{address.name} has no column "{name}" for a cursor.{nearest(name, names)} Columns: {", ".join(names)}'
        )
    order = [name] if name else []
    sql = relation.select(relation.columns, order=order, limit=columns.SAMPLE_ROWS)
    sample = decoded(database.frame(sql), relation.columns)
    return Layout(relation, _key(database, relation, sample, name) if name else None, sample)


def _primary(database: Database) -> str:
    """The column that is the whole primary key, if there is one."""
    found = database.primary_key()
    return found[0] if len(found) == 1 else ""


def _is_rowid(address: Address, name: str) -> bool:
    return address.dialect == "sqlite" and bool(address.table) and name.lower() == ROWID


def _key(database: Database, relation: Relation, sample: pl.DataFrame, name: str) -> Key | None:
    """The key that a column makes; none where it was not asked for and is no whole number."""
    address = database.address
    if _is_rowid(address, name):
        return Key(name, True, address.overlap)
    values = sample[name]
    if values.dtype.is_integer():
        if database.is_unique(name):
            return Key(name, True, address.overlap)
        if address.query:
            _check_unique(values, address)
            return Key(name, True, address.overlap)
        return Key(name, False, address.overlap, "{}", _apart(database, relation))
    if not address.cursor or not len(sample):
        return None
    if times.detect_format(values) is None:
        raise SourceError(
            f'{address.name}: column "{name}" cannot be a cursor: expected whole numbers or times that grow. '
            f"Found: {', '.join(columns.samples_of(sample, name)) or 'nothing'}"
        )
    if address.query:
        raise SourceError(f"{address.name}: the cursor of a query must be whole numbers of which no two are the same")
    return Key(name, False, address.overlap, _time_written(relation, values), _apart(database, relation))


def _check_unique(values: pl.Series, address: Address) -> None:
    if values.drop_nulls().n_unique() < len(values):
        raise SourceError(
            f'{address.name}: column "{address.cursor}" of the query cannot be a cursor: rows share its values, '
            "or lack it. Name one of whole numbers of which no two rows have the same"
        )


def _time_written(relation: Relation, values: pl.Series) -> str:
    """How times are asked for as texts whose order is that of the times."""
    if relation.dialect == "mysql":
        return "CAST({} AS CHAR)"
    if relation.dialect == "sqlite" or values.dtype == pl.String:
        return "{}" if relation.dialect == "sqlite" else "{}::text"
    zone = " AT TIME ZONE 'UTC'" if getattr(values.dtype, "time_zone", None) else ""
    return f"to_char({{}}{zone}, 'YYYY-MM-DD HH24:MI:SS.US')"


def _apart(database: Database, relation: Relation) -> tuple[Column, ...]:
    """The columns that tell rows apart: those of the primary key, else all."""
    return relation.only(database.primary_key()) or relation.columns


# --- reading what is there


def read_on(
    database: Database, layout: Layout, found: Fields, window: Keys | Stamps | None, skip: int = 0
) -> Iterator[Rows]:
    """All rows that are there and were not read; `skip` of them where there is no key. The window goes along.

    Columns are those of `found`, and whatever tells keys.
    """
    if window is None or layout.key is None:
        yield from _unkeyed(database, layout, found, skip)
    elif isinstance(window, Keys):
        yield from _late(database, layout, found, window, time.time())
        yield from _fresh(database, layout, found, window, time.time())
    else:
        yield from _stamped(database, layout, found, window, time.time())


def _unkeyed(database: Database, layout: Layout, found: Fields, skip: int) -> Iterator[Rows]:
    asked = layout.relation.only(found.columns)
    for frame in database.stream(layout.relation.select(asked)):
        part = frame[skip:]
        skip -= len(frame) - len(part)
        if len(part):
            yield Rows(part, asked, pl.DataFrame(), 0.0)


def _late(database: Database, layout: Layout, found: Fields, window: Keys, at: float) -> Iterator[Rows]:
    """Rows that came into holes."""
    ranges = window.ranges()
    if not window.started() or not ranges:
        return
    assert layout.key is not None, "holes are among keys"
    own = layout.relation.column(layout.key.name)
    where = " OR ".join(f"{own} <= {b}" if a == LEAST else f"{own} BETWEEN {a} AND {b}" for a, b in ranges)
    yield from _taken(database, layout, found, window, where=where, at=at)


def _fresh(
    database: Database, layout: Layout, found: Fields, window: Keys, at: float, *, live: bool = False
) -> Iterator[Rows]:
    """Rows above the highest key; when following, a few by the slow driver first, which answers sooner."""
    assert layout.key is not None, "there is a highest key"
    own = layout.relation.column(layout.key.name)
    where = f"{own} > {window.high}" if window.started() else ""
    if live:
        count = 0
        for rows in _taken(database, layout, found, window, where=where, at=at, limit=LIVE_ROWS):
            count += len(rows)
            yield rows
        if count < LIVE_ROWS:
            return
        where = f"{own} > {window.high}"
    yield from _taken(database, layout, found, window, where=where, at=at)


def _stamped(database: Database, layout: Layout, found: Fields, window: Stamps, at: float) -> Iterator[Rows]:
    """Rows of the overlap that were not read, and those above it."""
    assert layout.key is not None, "rows are read by it"
    own = layout.relation.column(layout.key.name)
    where = f"{own} >= {database.literal(window.floor())}" if window.started() else f"{own} IS NOT NULL"
    yield from _taken(database, layout, found, window, where=where, at=at)


def _taken(
    database: Database,
    layout: Layout,
    found: Fields,
    window: Keys | Stamps,
    *,
    where: str,
    at: float,
    limit: int | None = None,
) -> Iterator[Rows]:
    """Rows of a condition that were not read, in order of the key."""
    relation, key = layout.relation, layout.key
    assert key is not None, "rows are read by it"
    asked, more = relation.only(found.columns), key.asked(relation)
    order = [key.name, *(column.name for column in key.apart if column.name != key.name)]
    sql = relation.select(asked, where=where, order=order, limit=limit, more=more)
    is_unread = window.sieve()
    for frame in database.stream(sql, quick=key.is_unique and limit is None):
        keys = key.keys(frame[:, len(asked) :])
        unread = is_unread(keys)
        raw = frame[:, : len(asked)]
        if not unread.all():
            raw, keys = raw.filter(unread), keys.filter(unread)
        if len(raw):
            window.note(keys, at)
            yield Rows(raw, asked, keys, at)


class Place:
    """Where reading stands: position, what was read by key, and the rows that were read last."""

    def __init__(self, layout: Layout, token: dict[str, Any], found: Fields, identity: str) -> None:
        self.layout = layout
        self.position = int(token.get("position", 1))
        self.was_anew = False
        key = layout.key.name if layout.key else ""
        if token and token["key"] != key:
            raise SourceError(f'the cursor is of rows by "{token["key"]}", not by "{key}". Begin with a new state')
        self.window = layout.key.window(token.get("window")) if layout.key else None
        self.identity = identity
        self.witnesses: deque[list[Any]] = deque(token.get("witness", []), maxlen=WITNESSES)
        self._found = found

    def note(self, rows: Rows, first: int, behind: int) -> None:
        """Move behind rows that were given: from `first` to before `behind` of them."""
        self.position += behind - first
        if self.window is None or first == behind:
            return
        self.window.note(rows.keys[first:behind], rows.asked)
        self.remember(rows, max(first, behind - WITNESSES), behind)

    def remember(self, rows: Rows, first: int, behind: int) -> None:
        """Keep rows by which the table is known again."""
        if self.layout.key is not None and self.layout.key.is_unique:
            self.witnesses += witnesses(rows.keys[first:behind], rows.last(first, behind), self._found)

    def copy(self) -> Place:
        """The same, to go on from by itself."""
        return Place(self.layout, self.token(), self._found, self.identity)

    def begin_behind(self, key: Any) -> None:  # noqa: ANN401 - a number or a text
        """Leave out what stands up to a key."""
        assert self.window is not None, "rows that are followed have a key"
        self.window.start_behind(key)

    def begin_anew(self, identity: str) -> None:
        """Go back to the beginning of another table."""
        assert self.layout.key is not None, "rows that are followed have a key"
        self.window, self.identity, self.was_anew = self.layout.key.window(None), identity, True
        self.witnesses.clear()

    def token(self) -> dict[str, Any]:
        """What a cursor holds of it."""
        key = self.layout.key.name if self.layout.key else ""
        window = self.window.token() if self.window and self.window.started() else None
        kept = list(self.witnesses)
        return {"position": self.position, "key": key, "window": window, "identity": self.identity, "witness": kept}


# --- following


class Feed:
    """Rows as they come in, and what else happens to the table; read ahead in a thread.

    Parameters
    ----------
    place
        Where reading stands; it goes along.
    pause
        Seconds between two looks.
    final
        Whether to end when all that is there now was read.
    """

    def __init__(
        self, database: Database, layout: Layout, found: Fields, place: Place, *, pause: float, final: bool
    ) -> None:
        self.closing = threading.Event()
        self.trouble = ""
        self._database, self._layout, self._found, self._place = database, layout, found, place
        self._pause, self._final = pause, final
        self._tries = 0
        self._checked = 0.0
        self._is_planned = True
        self._has_warned = False

    def pieces(self) -> Iterator[Piece]:
        """Pieces until there are no more, or until it is closed.

        Raises
        ------
        SourceError
            If the database refuses, or, where only what is there is read, after some tries.
        """
        while not self.closing.is_set():
            try:
                yield from self._round()
                self._answered()
            except SourceError as error:
                self._failed(error)
                continue
            if self._final:
                return
            self.closing.wait(self._pause)

    def _round(self) -> Iterator[Piece]:
        """All that is there now and was not read."""
        yield from self._begun()
        database, layout, window = self._database, self._layout, self._place.window
        asked, quiet = time.time(), True
        for rows in self._rows(database, layout, window, asked):
            quiet = False
            self._place.position += len(rows)
            self._place.remember(rows, max(0, len(rows) - WITNESSES), len(rows))
            yield rows
        if window is not None:
            window.forget(asked)
        self._warn_overflow()
        yield Round(asked)
        if not quiet:
            self._checked = time.monotonic()

    def _rows(self, database: Database, layout: Layout, window: Keys | Stamps | None, asked: float) -> Iterator[Rows]:
        if isinstance(window, Stamps):
            yield from _stamped(database, layout, self._found, window, asked)
        elif window is not None:
            yield from _late(database, layout, self._found, window, asked)
            yield from _fresh(database, layout, self._found, window, asked, live=not self._final)
        else:
            yield from _unkeyed(database, layout, self._found, self._place.position - 1)

    def _warn_overflow(self) -> None:
        window = self._place.window
        if window is not None and window.overflown and not self._has_warned and not self._final:
            self._has_warned = True
            _LOG.warning(
                "%s: more rows are missing or new within the overlap than can be remembered: rows that are committed "
                "late may be lost. Make the overlap shorter: overlap=10s",
                self._database.address.name,
            )

    # --- the same table

    def _begun(self) -> Iterator[Piece]:
        """Where to begin, where that is not known or not true any more."""
        place, window = self._place, self._place.window
        if window is None:
            return
        if not window.started():
            if self._database.address.start == "latest" and not self._final and not place.was_anew:
                yield from self._latest()
        elif time.monotonic() - self._checked >= CHECK_SECONDS:
            self._checked = time.monotonic()
            yield from self._same()

    def _latest(self) -> Iterator[Piece]:
        """Leave out what is there."""
        highest = self._highest()
        if highest is not None:
            self._place.begin_behind(highest)
            yield Behind(highest)

    def _highest(self) -> Any:  # noqa: ANN401 - a number or a text
        """The highest key there is; None where there are no rows."""
        relation, key = self._layout.relation, self._layout.key
        assert key is not None, "rows that are followed have a key"
        sql = relation.select((), order=(), more=[f"MAX({relation.column(key.name)})"])
        if not key.is_unique:
            sql = relation.select((), more=[key.written.format(f"MAX({relation.column(key.name)})")])
        return self._database.rows(sql)[0][0]

    def _same(self) -> Iterator[Piece]:
        """See whether it is the table that was read."""
        identity = self._database.identity()
        if identity and identity == self._place.identity:
            return
        if self._is_anew(identity):
            _LOG.warning("%s was truncated or made anew: it is read from its beginning", self._database.address.name)
            self._place.begin_anew(identity)
            yield Anew(identity)
        else:
            self._place.identity = identity

    def _is_anew(self, identity: str) -> bool:
        """Whether it is another table, where no identity says that it is the same."""
        window, highest = self._place.window, self._highest()
        if isinstance(window, Stamps) or not self._place.witnesses:
            return highest is None or (bool(identity) and window is not None and highest < window.high)
        there = dict(self._witnesses([key for key, _ in self._place.witnesses]))
        kept = [there.get(key) == mark for key, mark in self._place.witnesses]
        if any(kept):
            return False
        differs = any(key in there for key, _ in self._place.witnesses)
        assert window is not None, "rows were read by it"
        return bool(identity) or differs or highest is None or highest < window.high

    def _witnesses(self, keys: Sequence[int]) -> list[list[Any]]:
        """The rows of these keys, as witnesses."""
        relation, key = self._layout.relation, self._layout.key
        assert key is not None, "rows were read by it"
        asked = relation.only(_raw_names(self._found))
        own = relation.column(key.name)
        where = f"{own} IN ({', '.join(map(str, keys))})"
        frame = self._database.frame(relation.select(asked, where=where, more=[own]))
        return witnesses(key.keys(frame[:, len(asked) :]), decoded(frame, asked), self._found)

    # --- trouble

    def _answered(self) -> None:
        """Note that the database answers."""
        if self.trouble:
            _LOG.warning("%s: reading again", self._database.address.name)
        self.trouble, self._tries, self._is_planned = "", 0, True

    def _failed(self, error: SourceError) -> None:
        """Wait until it is time for another try, if that may help."""
        self._tries += 1
        self._checked = 0.0
        is_gone = isinstance(error, MissingTableError) or getattr(error, "code", None) in _UNKNOWN_DATABASE
        if not (error.retry_after is not None or (is_gone and not self._final)):
            self._plan_anew(error)
            return
        if self._final and self._tries >= MOST_TRIES:
            raise error
        if not self.trouble and not self.closing.is_set():
            _LOG.warning("%s. Trying until it is back", error)
        self.trouble = str(error)
        self.closing.wait(min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** min(self._tries - 1, 20)))

    def _plan_anew(self, error: SourceError) -> None:
        """Look at the columns anew, once: the table may have other ones now."""
        if not self._is_planned:
            raise error
        self._is_planned = False
        try:
            relation = self._database.relation()
        except MissingTableError:
            self._is_planned = True
            self._tries -= 1
            self._failed_missing(error)
            return
        self._layout = Layout(relation, self._layout.key, self._layout.sample)

    def _failed_missing(self, error: SourceError) -> None:
        """Wait for a table that is not there."""
        if self._final:
            raise error
        self._failed(MissingTableError(str(error)))


def witnesses(keys: pl.DataFrame, raw: pl.DataFrame, found: Fields) -> list[list[Any]]:
    """Keys of rows, each with what its time, user and action look like."""
    texts = without_floats(raw)
    marks = pl.DataFrame([columns.texts(texts, found.roles[role].column).rename(role) for role in columns.REQUIRED])
    return [[key, row_print(row).hex()] for key, row in zip(keys["key"].to_list(), marks.rows(), strict=True)]


def _raw_names(found: Fields) -> Iterable[str]:
    """The columns that witnesses are known by."""
    return {name for role in columns.REQUIRED for name in columns.raw_names(found.roles[role].column)}
