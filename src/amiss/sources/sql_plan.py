"""What is asked of an SQL database: the columns of a table or a query, in forms that every driver reads alike.

Dates and times of day of MySQL are asked for as numbers (`c + 0`), which are quick, and which can say 0000-00-00 where
drivers break; other types that drivers read differently are asked for as texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.sources.sql_address import Dialect

Kind = Literal["plain", "date", "clock", "moment", "seconds", "micros"]
"""What the numbers of a column mean: YYYYMMDD, HHMMSS, YYYYMMDDHHMMSS, or seconds or microseconds since 1970 in UTC."""

ALL_ROWS: Final = 18_446_744_073_709_551_615
_DECIMALS: Final = (0, 246)
_TIMESTAMP, _DATE, _TIME, _DATETIME, _NEWDATE, _BIT, _GEOMETRY = 7, 10, 11, 12, 14, 16, 255
_PLAIN_OIDS: Final = frozenset({16, 20, 21, 23, 25, 700, 701, 1043})
_TIMESTAMP_OIDS: Final = {1114: "timestamp", 1184: "timestamptz"}
_BYTEA_OID: Final = 17
_ORDERED: Final = re.compile(r"\border\s+by\b", re.IGNORECASE)
_LIMITED: Final = re.compile(r"\b(limit|fetch)\b", re.IGNORECASE)

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Column:
    """A column: its name, how it is asked for (`{}` stands for it), and what then comes."""

    name: str
    asked: str = "{}"
    kind: Kind = "plain"


def columns_of(dialect: Dialect, description: Iterable[Sequence[Any]]) -> tuple[Column, ...]:
    """The columns that a driver describes, each with a name of its own.

    Examples
    --------
    >>> described = [(name, code, 0, 0, 0, 0, True) for name, code in [("id", 3), ("day", 10), ("id", 3)]]
    >>> found = columns_of("mysql", described)
    >>> [(column.name, column.asked) for column in found]
    [('id', '{}'), ('day', '{} + 0'), ('id_2', '{}')]
    """
    found: dict[str, Column] = {}
    for number, item in enumerate(description, start=1):
        plain = str(item[0] or f"column_{number}")
        name, again = plain, 2
        while name in found:
            name, again = f"{plain}_{again}", again + 1
        if dialect == "mysql":
            found[name] = _of_mysql(name, int(item[1]), item[5])
        else:
            found[name] = _of_postgresql(name, int(item[1])) if dialect == "postgresql" else Column(name)
    return tuple(found.values())


def _of_mysql(name: str, code: int, scale: int | None) -> Column:
    """A column of MySQL or MariaDB; `scale` says whether its times have fractions of seconds."""
    whole = not scale
    if code in (_DATE, _NEWDATE):
        return Column(name, "{} + 0", "date")
    if code == _TIMESTAMP:
        return (
            Column(name, "UNIX_TIMESTAMP({})", "seconds")
            if whole
            else Column(name, "CAST(UNIX_TIMESTAMP({}) * 1000000 AS SIGNED)", "micros")
        )
    if code in (_TIME, _DATETIME) and whole:
        return Column(name, "{} + 0", "clock" if code == _TIME else "moment")
    if code == _BIT:
        return Column(name, "{} + 0")
    if code == _GEOMETRY:
        return Column(name, "ST_AsText({})")
    return Column(name, "CAST({} AS CHAR)" if code in (*_DECIMALS, _TIME, _DATETIME) else "{}")


def _of_postgresql(name: str, code: int) -> Column:
    """A column of PostgreSQL; times that no calendar has (infinity) come as nothing."""
    if code in _TIMESTAMP_OIDS:
        kind = _TIMESTAMP_OIDS[code]
        return Column(name, f"CASE WHEN {{0}} BETWEEN '0002-01-01'::{kind} AND '9999-12-30'::{kind} THEN {{0}} END")
    if code == _BYTEA_OID:
        return Column(name, "encode({}, 'escape')")
    return Column(name, "{}" if code in _PLAIN_OIDS else "{}::text")


@dataclass(frozen=True)
class Relation:
    """A table, or a query that is read as one, and its columns. `table` is quoted already; `key` orders rows."""

    dialect: Dialect
    table: str
    query: str
    columns: tuple[Column, ...]
    quotes: str = field(default='"', repr=False)

    def only(self, names: Iterable[str]) -> tuple[Column, ...]:
        """The columns of these names, in their own order."""
        wanted = set(names)
        return tuple(column for column in self.columns if column.name in wanted)

    def column(self, name: str) -> str:
        """How a column is written in conditions."""
        if self.query:
            return f"c{[column.name for column in self.columns].index(name)}"
        return self.quotes + name.replace(self.quotes, self.quotes * 2) + self.quotes

    def select(
        self,
        columns: Sequence[Column],
        *,
        where: str = "",
        order: Sequence[str] = (),
        limit: int | None = None,
        more: Sequence[str] = (),
    ) -> str:
        """The statement that asks for columns; `more` are expressions behind them."""
        asked = [column.asked.format(self.column(column.name)) for column in columns]
        texts = ", ".join(f"{text} AS a{number}" for number, text in enumerate([*asked, *more]))
        if not self.query and len(columns) == len(self.columns) and all(column.asked == "{}" for column in columns):
            texts = ", ".join(["*", *(f"{text} AS a{number}" for number, text in enumerate(more))])
        sql = f"{self._with()}SELECT {texts} FROM {self.table or 'amiss_rows'}"
        sql += f" WHERE {where}" if where else ""
        sql += f" ORDER BY {', '.join(map(self.column, order))}" if order else ""
        return sql + (f" LIMIT {limit}" if limit is not None else "")

    def _with(self) -> str:
        """The query with columns of plain names, before what is asked of it."""
        if not self.query:
            return ""
        names = ", ".join(f"c{number}" for number in range(len(self.columns)))
        return f"WITH amiss_rows({names}) AS (\n{self._ordered()}\n) "

    def _ordered(self) -> str:
        """The query; MySQL keeps the order of an inner one only where it has a limit."""
        order = [found.end() for found in _ORDERED.finditer(self.query)]
        if self.dialect == "mysql" and order and not _LIMITED.search(self.query, order[-1]):
            return f"{self.query}\nLIMIT {ALL_ROWS}"
        return self.query


# --- from what drivers give to columns


def decoded(raw: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
    """The columns by name, dates and times of day as texts, moments as times.

    Examples
    --------
    >>> raw = pl.DataFrame({"a0": [20190303, 0, None], "a1": [91500, -100000, 1000000]})
    >>> decoded(raw, [Column("date", kind="date"), Column("time", kind="clock")]).rows()
    [('2019-03-03', '09:15:00'), ('0000-00-00', '-10:00:00'), (None, '100:00:00')]
    """
    series = raw.get_columns()[: len(columns)]
    return pl.DataFrame([_decoded(each, column) for each, column in zip(series, columns, strict=True)])


def _decoded(series: pl.Series, column: Column) -> pl.Series:
    if column.kind == "plain" or series.dtype == pl.Null:
        return _plain(series).rename(column.name)
    numbers = series.cast(pl.Int64)
    if column.kind == "date":
        return _written(numbers, _date_text).rename(column.name)
    if column.kind == "clock":
        return _clocks(numbers).rename(column.name)
    if column.kind == "moment":
        return moments(numbers).rename(column.name)
    micros = numbers * 1_000_000 if column.kind == "seconds" else numbers
    times = micros.set(micros == 0, None).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return times.rename(column.name)


def _plain(series: pl.Series) -> pl.Series:
    """A column as the reader of events takes it: binary ones, lists and the like as texts."""
    kind = series.dtype
    if isinstance(kind, pl.Datetime):
        return series.cast(pl.Datetime("us", kind.time_zone))
    if kind in (pl.Date, pl.Time, pl.Duration) or isinstance(kind, pl.Decimal):
        return series.cast(pl.String)
    if kind == pl.Binary or kind.is_nested() or kind == pl.Object:
        from amiss.sources.parquet import texts

        return texts(series.name, series.to_list())
    return series


def _written(numbers: pl.Series, text: Any) -> pl.Series:  # noqa: ANN401 - a function of a number
    """Numbers as texts, each distinct one written once."""
    known = numbers.unique().drop_nulls()
    texts = pl.Series([text(number) for number in known.to_list()], dtype=pl.String)
    return numbers.replace_strict(known, texts, default=None, return_dtype=pl.String)


def _date_text(number: int) -> str:
    return f"{number // 10_000:04}-{number // 100 % 100:02}-{number % 100:02}"


def _clock_text(number: int) -> str:
    sign, number = ("-", -number) if number < 0 else ("", number)
    return f"{sign}{number // 10_000:02}:{number // 100 % 100:02}:{number % 100:02}"


@cache
def _clock_table() -> pl.Series:
    """The times of a day as texts, by seconds."""
    return pl.Series([f"{s // 3600:02}:{s // 60 % 60:02}:{s % 60:02}" for s in range(86_400)])


def _clocks(numbers: pl.Series) -> pl.Series:
    """Times of day as texts; those that no day has too."""
    values = numbers.fill_null(0).to_numpy()
    if len(values) and (values.min() < 0 or values.max() >= 240_000):
        return _written(numbers, _clock_text)
    seconds = values // 10_000 * 3600 + values // 100 % 100 * 60 + values % 100
    texts = _clock_table().gather(seconds)
    return texts.set(numbers.is_null(), None) if numbers.null_count() else texts


def micros_of(days: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Microseconds since 1970 of dates given as YYYYMMDD, and which of them exist."""
    year, month, day = days // 10_000, days // 100 % 100, days % 100
    real = (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)
    months = np.where(real, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    first = months.astype("datetime64[D]").astype(np.int64)
    length = (months + 1).astype("datetime64[D]").astype(np.int64) - first
    return (first + day - 1) * 86_400_000_000, real & (day <= length)


def moments(numbers: pl.Series) -> pl.Series:
    """Times without a zone of numbers YYYYMMDDHHMMSS; nothing where there is no such time.

    Examples
    --------
    >>> moments(pl.Series([20190303091500, 0, 20190231000000])).to_list()
    [datetime.datetime(2019, 3, 3, 9, 15), None, None]
    """
    values = numbers.fill_null(0).to_numpy()
    days, real = micros_of(values // 1_000_000)
    clock = values % 1_000_000
    seconds = clock // 10_000 * 3600 + clock // 100 % 100 * 60 + clock % 100
    return pl.Series(days + seconds * 1_000_000).set(pl.Series(~real), None).cast(pl.Datetime("us"))


def without_floats(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with floating numbers as texts, each by itself, whole ones without a point: chunks don't matter.

    Examples
    --------
    >>> without_floats(pl.DataFrame({"user": [7.0, 1.5, float("nan"), None]}))["user"].to_list()
    ['7', '1.5', None, None]
    """
    found = [name for name, dtype in frame.schema.items() if dtype.is_float()]
    return frame.with_columns(_float_text(frame[name]) for name in found) if found else frame


def _float_text(series: pl.Series) -> pl.Series:
    values = series.cast(pl.Float64)
    values = values.set(~values.is_finite(), None)
    whole = ((values == values.floor()) & (values.abs() < 2**53)).fill_null(value=False)
    return values.set(~whole, None).cast(pl.Int64).cast(pl.String).zip_with(whole, values.cast(pl.String))


def from_rows(rows: Sequence[Sequence[Any]], width: int) -> pl.DataFrame:
    """Rows of plain values as columns `a0`, `a1` …; columns whose values are of several kinds become texts.

    Examples
    --------
    >>> from_rows([(1, "a", None), (2, 7, b"x")], 3).rows()
    [(1, 'a', None), (2, '7', 'x')]
    """
    values = list(zip(*rows, strict=True)) if rows else [()] * width
    return pl.DataFrame([_column(f"a{number}", list(column)) for number, column in enumerate(values)])


def _column(name: str, values: list[Any]) -> pl.Series:
    from amiss.sources.parquet import texts

    kinds = set(map(type, values)) - {type(None)}
    if kinds == {int} and max(map(abs, filter(None, values)), default=0) >= 2**63:
        return texts(name, values)
    if len(kinds) > 1 and kinds != {int, float}:
        return texts(name, values)
    if kinds <= {bytes, memoryview}:
        return texts(name, [None if value is None else bytes(value) for value in values])
    return pl.Series(name, values, strict=False)
