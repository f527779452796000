"""Who may do what from when to when: a table of periods and scopes, and what it says of events.

A **period** is a row of the table: from one day to another, with a name and a scope. Its **key** ties it to events,
such as the id of a cohort. A **scope** is what may be looked at: prefixes of paths.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss import times
from amiss.errors import SourceError, UsageError
from amiss.escape import label
from amiss.events import Quarantine
from amiss.labels import Condition, read_csv, require, spelled

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

NEVER: Final = -(1 << 40)
"""The day on which a period without a start begins."""

ALWAYS: Final = 1 << 40
"""The day on which a period without an end ends."""

MOST_SCOPES: Final = 16

_SAID: Final = 5

_log = logging.getLogger("amiss.entitlement")


class Columns(NamedTuple):
    """What the columns of periods are called; empty where there is none."""

    start: str = ""
    end: str = ""
    name: str = ""
    scope: str = ""


class Scopes:
    """What may be looked at by scope, as prefixes of paths.

    A prefix stands for whole steps of a path: `java-i` for `java-i` and `java-i/loops`, not for `java-ii`. One that
    ends in `*` stands for all that begins so. The longest prefix that fits decides. A path that none fits may be
    looked at by all, unless `unlisted` is "deny".

    Examples
    --------
    >>> scopes = Scopes({"web": ["java*", "sql"], "data": ["python", "sql"]}, shared=["toc"])
    >>> scopes.allow(["java-ii/loops", "/sql", "toc", "else"]).tolist()
    [1, 3, 3, 3]
    """

    def __init__(
        self, scopes: Mapping[str, Sequence[str]], shared: Sequence[str] = (), *, unlisted: str = "allow"
    ) -> None:
        if len(scopes) > MOST_SCOPES:
            raise UsageError(f"scopes: at most {MOST_SCOPES}, found {len(scopes)}")
        self.names = tuple(scopes)
        self.all = (1 << len(scopes)) - 1
        self._unlisted = self.all if unlisted == "allow" else 0
        masks: dict[str, int] = dict.fromkeys(shared, self.all)
        for number, prefixes in enumerate(scopes.values()):
            for prefix in prefixes:
                masks[prefix] = masks.get(prefix, 0) | 1 << number
        ordered = sorted(masks, key=lambda prefix: (-len(prefix.strip("/*")), prefix))
        self._masks = [masks[prefix] for prefix in ordered]
        self._pattern = re.compile("|".join(map(_pattern, ordered)), re.DOTALL) if ordered else None

    def allow(self, paths: Sequence[str]) -> npt.NDArray[np.uint16]:
        """For each path the scopes that hold it, as bits in their order: (n,)."""
        return np.array([self._allow(path) for path in paths], dtype=np.uint16)

    def _allow(self, path: str) -> int:
        found = self._pattern.match(path.lstrip("/")) if self._pattern else None
        return self._masks[found.lastindex - 1] if found and found.lastindex else self._unlisted


def _pattern(prefix: str) -> str:
    """What fits a prefix."""
    plain = prefix.lstrip("/")
    if plain.endswith("*"):
        return f"({re.escape(plain[:-1])})"
    return f"({re.escape(plain.rstrip('/'))}(?=/|$))"


@dataclass(frozen=True, eq=False)
class Periods:
    """The rows of a table by key: those of a key together.

    Attributes
    ----------
    key : (k,)
        The keys, as texts.
    first : (k + 1,)
        Where the periods of each key begin, and the number of periods.
    start, end : (p,)
        First and last day, in days since 1970; `NEVER` and `ALWAYS` where there is none.
    name : (p,)
        What the period is called; empty where nothing says.
    own : (p,)
        The number of its scope, -1 where that is not known.
    exempt : (p,)
        Whether everything is allowed.
    quarantine
        Rows of the table that say nothing that can be used; they forbid nothing.
    """

    key: pl.Series
    first: Ints
    start: Ints
    end: Ints
    name: pl.Series
    own: Ints
    exempt: Flags
    quarantine: Quarantine

    def find(self, keys: pl.Series) -> Ints:
        """The number of each key among `key`, -1 of those that are not there: (n,)."""
        number = pl.int_range(len(self.key), dtype=pl.Int64, eager=True)
        found = spelled(keys).replace_strict(self.key, number, default=-1, return_dtype=pl.Int64)
        return found.fill_null(-1).to_numpy()


class Verdict(NamedTuple):
    """What periods say of events, each (n,).

    The `period` that fits best, -1 where there is none; the `days` before its start (negative) or after its end
    (positive), 0 within; and whether what was looked at is `outside` its scope.
    """

    period: Ints
    days: Ints
    outside: Flags


def judge(
    periods: Periods, number: Ints, day: Ints, content: npt.NDArray[np.uint16], *, early: int = 0, grace: int = 0
) -> Verdict:
    """What periods say of events: of those of a key the one that forbids least, the first of equal ones.

    Parameters
    ----------
    number : (n,)
        Which key each event has, as :meth:`Periods.find`.
    day : (n,)
        When it was, in days since 1970.
    content : (n,)
        The scopes that hold what was looked at, as bits.
    early, grace
        Days before the start and after the end that are allowed.

    Examples
    --------
    >>> table = pl.DataFrame({"id": ["8"], "start": ["2015-09-22"], "end": ["2016-02-06"]})
    >>> periods = periods_of(table, "id", Columns("start", "end"))
    >>> day = np.array([17557, 16800])  # 2018-01-26, 2015-12-31
    >>> judge(periods, periods.find(pl.Series(["8", "8"])), day, np.zeros(2, np.uint16)).days
    array([720,   0])
    """
    found = Verdict(np.full(len(day), -1), np.zeros(len(day), np.int64), np.zeros(len(day), np.bool_))
    if not len(periods.key):
        return found
    best = np.full(len(day), np.iinfo(np.int64).max)
    size = np.where(number >= 0, np.diff(periods.first)[number], 0)
    for step in range(int(size.max(initial=0))):
        at = np.where(step < size, periods.first[np.maximum(number, 0)] + step, 0)
        after, before = day - periods.end[at], periods.start[at] - day
        days = np.where(after > grace, after, np.where(before > early, -before, 0))
        own = periods.own[at]
        outside = (own >= 0) & (content >> np.maximum(own, 0).astype(np.uint16) & 1 == 0)
        days, outside = np.where(periods.exempt[at], 0, days), outside & ~periods.exempt[at]
        worst = 2 * np.abs(days) + outside
        better = (step < size) & (worst < best)
        best = np.where(better, worst, best)
        for old, new in zip(found, (at, days, outside), strict=True):
            old[better] = new[better]
    return found


def read_table(place: str) -> pl.DataFrame:
    """The table of a CSV or Parquet file.

    Raises
    ------
    SourceError
        If it cannot be read.
    """
    if place.lower().endswith((".parquet", ".pq")):
        try:
            return pl.read_parquet(place)
        except (OSError, pl.exceptions.PolarsError) as error:
            reason = str(error).splitlines()[0]
            raise SourceError(f"{label(place, 120)} cannot be read as Parquet: {reason}") from error
    return read_csv(place)


def query_table(url: str, query: str) -> pl.DataFrame:
    """The table that a query of a database gives.

    Raises
    ------
    SourceError
        If it cannot be had.
    """
    from amiss.sources.sql import read_table as read

    table: pl.DataFrame = read(url, query)
    return table


def periods_of(
    table: pl.DataFrame,
    key: str,
    columns: Columns,
    *,
    scopes: Sequence[str] = (),
    programs: Mapping[str, str] | None = None,
    exempt: Sequence[Condition] = (),
    where: str = "the table",
) -> Periods:
    """The periods of a table, by the values of a column.

    A row without a key, with a date that cannot be read, or with a start after its end is quarantined and forbids
    nothing.

    Parameters
    ----------
    scopes
        The names of scopes, which `own` counts.
    programs
        What a value of the column `scope` is called among scopes, where it is another name.
    exempt
        Rows to which everything is allowed.
    where
        What to call the table in messages.

    Raises
    ------
    EventError
        If a column is missing.
    """
    require(table, filter(None, (key, *columns, *(each.column for each in exempt))), where)
    quarantine, keys = Quarantine(), spelled(table[key])
    start, end = _days(table, columns.start, NEVER), _days(table, columns.end, ALWAYS)
    free = np.zeros(len(table), np.bool_)
    for each in exempt:
        free |= each.holds(table[each.column]).to_numpy()
    turned = (start.day > end.day) & ~free
    reasons = (
        (keys.is_null().to_numpy(), f'column "{key}" is empty'),
        (start.bad, f'column "{columns.start}" holds no date'),
        (end.bad, f'column "{columns.end}" holds no date'),
        (turned, f'"{columns.start}" is after "{columns.end}"'),
    )
    _reject(table, reasons, quarantine, where)
    rows = pl.DataFrame({
        "key": keys,
        "start": np.where(turned, NEVER, start.day),
        "end": np.where(turned, ALWAYS, end.day),
        "name": _column(table, columns.name).fill_null(""),
        "own": _numbers(_column(table, columns.scope), scopes, programs or {}),
        "exempt": free,
    })  # fmt: skip
    return _by_key(rows.filter(pl.col("key").is_not_null()), quarantine)


def _by_key(rows: pl.DataFrame, quarantine: Quarantine) -> Periods:
    """Periods from rows of all of them, with keys."""
    rows = rows.sort("key", maintain_order=True)
    sizes = rows.group_by("key", maintain_order=True).len()
    first = np.append(0, np.cumsum(sizes["len"].to_numpy())).astype(np.int64)
    start, end, own, exempt = (rows[name].to_numpy() for name in ("start", "end", "own", "exempt"))
    return Periods(sizes["key"], first, start, end, rows["name"], own, exempt, quarantine)


def _column(table: pl.DataFrame, name: str) -> pl.Series:
    """A column as texts, of nulls where none is named."""
    return spelled(table[name]) if name else pl.repeat(None, len(table), dtype=pl.String, eager=True)


def _numbers(column: pl.Series, scopes: Sequence[str], programs: Mapping[str, str]) -> pl.Series:
    """The numbers of scopes, -1 where one is not known."""
    named = column.replace(dict(programs))
    number = {name: at for at, name in enumerate(scopes)}
    return named.replace_strict(number, default=-1, return_dtype=pl.Int64).fill_null(-1)


def tell(quarantine: Quarantine) -> None:
    """Log a warning for the first rows of a table that cannot be used, and how many there are."""
    for each in quarantine.samples[:_SAID]:
        _log.warning("%s:%d: %s: %s", label(each.file, 120), each.position, label(each.reason), label(each.text, 80))
    if quarantine.total > _SAID:
        _log.warning("%d rows of the table cannot be used as they are; they forbid nothing", quarantine.total)


def dates(column: pl.Series) -> pl.Series:
    """A column of dates, or of texts or times that are some, as dates; null where a value is none.

    Examples
    --------
    >>> dates(pl.Series(["2016-02-06", "2016-02-06 00:00:00", "soon", None])).to_list()
    [datetime.date(2016, 2, 6), datetime.date(2016, 2, 6), None, None]
    """
    if column.dtype.is_temporal():
        return column.cast(pl.Date)
    written = spelled(column)
    found = written.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)
    rest = found.is_null() & written.is_not_null()
    if not rest.any():
        return found
    format_ = times.detect_format(written.filter(rest).head(100).to_list())
    if format_ is None or format_.kind == "syslog":
        return found
    return found.zip_with(~rest, times.parse(written, format_).dt.date())


class _Days(NamedTuple):
    """Days since 1970, and where there was something else than a date."""

    day: Ints
    bad: Flags


def _days(table: pl.DataFrame, column: str, none: int) -> _Days:
    """The days of a column, `none` where there is no date."""
    if not column:
        return _Days(np.full(len(table), none), np.zeros(len(table), np.bool_))
    found = dates(table[column])
    day = found.to_physical().cast(pl.Int64).fill_null(none).to_numpy()
    return _Days(day, (found.is_null() & spelled(table[column]).is_not_null()).to_numpy())


def _reject(table: pl.DataFrame, reasons: Sequence[tuple[Flags, str]], quarantine: Quarantine, where: str) -> None:
    """Note the rows that cannot be used, each for the first of its reasons."""
    bad = np.logical_or.reduce([flags for flags, _ in reasons])
    for row in np.flatnonzero(bad).tolist():
        reason = next(text for flags, text in reasons if flags[row])
        quarantine.add(where, row + 1, reason, ", ".join(map(str, table.row(row))))
