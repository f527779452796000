"""Times of logs, given as text or numbers, as UTC microseconds.

Understood: ISO 8601 and RFC 5424 (zone or none, `T` or blank, any fraction, also with a comma), seconds, milli-, micro-
and nanoseconds since 1970, access logs (`17/May/2015:10:05:03 +0000`), syslog (RFC 3164, `Dec 10 06:55:46`, which has
no year) and mail dates (RFC 5322, `Sun, 17 May 2015 10:05:03 GMT`). Nothing here reads a clock.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from datetime import timezone as fixed_zone
from typing import Any, Final, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.errors import EventError, UsageError

Kind = Literal["iso", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns", "access", "syslog", "mail", "typed"]

_Array = npt.NDArray[Any]
TIME_TYPE: Final = pl.Datetime("us", "UTC")

_CLOCK: Final = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,12}))?"
_ZONE: Final = r"(?P<zone>Z|z|UTC|GMT|[+-]\d\d(?::?\d\d)?)"
_DATE: Final = r"(?P<year>\d{4})[-/.](?P<month>\d\d)[-/.](?P<day>\d\d)"
_NAMED: Final = r"(?P<name>[A-Za-z]{3})"
_ISO_CLOCK: Final = r"(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,12}))?)?"
_PATTERNS: Final[dict[str, tuple[re.Pattern[str], ...]]] = {
    "iso": (
        re.compile(rf"{_DATE}(?:[Tt _]{_ISO_CLOCK} ?{_ZONE}?)?", re.ASCII),
        re.compile(
            rf"(?P<year>\d{{4}})(?P<month>\d\d)(?P<day>\d\d)[Tt](?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)"
            rf"(?:[.,](?P<fraction>\d{{1,12}}))?{_ZONE}?",
            re.ASCII,
        ),
    ),
    "access": (re.compile(rf"\[?(?P<day>\d\d)/{_NAMED}/(?P<year>\d{{4}}):{_CLOCK}(?: {_ZONE})?\]?", re.ASCII),),
    "syslog": (re.compile(rf"{_NAMED} {{1,2}}(?P<day>\d{{1,2}}) {_CLOCK}", re.ASCII),),
    "mail": (
        re.compile(
            rf"(?:[A-Za-z]{{3}}, )?(?P<day>\d{{1,2}}) {_NAMED} (?P<year>\d{{4}}) {_CLOCK}(?: {_ZONE})?", re.ASCII
        ),
    ),
}
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_UNITS: Final[dict[str, float]] = {"epoch_s": 1e6, "epoch_ms": 1e3, "epoch_us": 1.0, "epoch_ns": 1e-3}
_LAYOUTS_PER_CALL: Final = 32
_HALF: Final = 0.5
_MOST: Final = 0.8
_YEARS_BACK: Final = 8


@dataclass(frozen=True)
class TimeFormat:
    """How a column writes its times.

    `until` matters to syslog only, whose times have no year: each falls into the year that ends at `until`.

    Examples
    --------
    >>> TimeFormat("epoch_ms")
    TimeFormat(kind='epoch_ms', until=None)
    """

    kind: Kind
    until: datetime | None = None


def detect_format(samples: Sequence[object] | pl.Series) -> TimeFormat | None:
    """How these samples write times, or None when fewer than half are times.

    Numbers are times when four in five fall between 1980 and 2100 in the unit that their magnitude suggests.

    Examples
    --------
    >>> detect_format(["2019-01-01 00:00:53", "2019-01-01T00:01:14.5Z"])
    TimeFormat(kind='iso', until=None)
    >>> detect_format([1546300853000, 1546300874000])
    TimeFormat(kind='epoch_ms', until=None)
    >>> detect_format(["login", "view_item"]) is None
    True
    """
    series = samples if isinstance(samples, pl.Series) else _series(samples)
    if series.dtype.is_temporal():
        return TimeFormat("typed") if series.dtype in (pl.Datetime, pl.Date) else None
    values = series.drop_nulls()
    if values.dtype == pl.String:
        values = values.filter(values.str.strip_chars() != "")
    if values.is_empty():
        return None
    return _number_format(values) or (_text_format(values) if values.dtype == pl.String else None)


def _series(samples: Sequence[object]) -> pl.Series:
    """The samples as one column: numbers if all are numbers, otherwise texts."""
    if all(isinstance(value, (int, float, datetime)) or value is None for value in samples):
        return pl.Series(list(samples), strict=False)
    return pl.Series([None if value is None else str(value) for value in samples], dtype=pl.String)


def _text_format(values: pl.Series) -> TimeFormat | None:
    texts = values.str.strip_chars().to_list()
    for kind, patterns in _PATTERNS.items():
        fits = sum(any(pattern.fullmatch(text) for pattern in patterns) for text in texts)
        if fits >= _HALF * len(texts):
            return _named_format(kind)
    return None


def _named_format(kind: str) -> TimeFormat:
    """The format of a kind given as text."""
    for known in ("iso", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns", "access", "syslog", "mail", "typed"):
        if kind == known:
            return TimeFormat(known)
    raise UsageError(f'"{kind}" is not a time format. Use one of {", ".join(_PATTERNS)}, {", ".join(_UNITS)}.')


def named(kind: str) -> TimeFormat:
    """The format called `kind` in a configuration file.

    Examples
    --------
    >>> named("epoch_s").kind
    'epoch_s'
    """
    return _named_format(kind)


def _number_format(values: pl.Series) -> TimeFormat | None:
    if values.dtype == pl.String:
        values = values.str.strip_chars()
        if values.str.contains(r"^\d{9,19}(\.\d{1,9})?$").sum() < _MOST * len(values):
            return None
    numbers = values.cast(pl.Float64, strict=False).drop_nulls() if values.dtype != pl.Boolean else pl.Series([0.0])
    numbers = numbers.filter(numbers.is_finite())
    if numbers.is_empty():
        return None
    middle = float(np.median(numbers.to_numpy()))
    kind = _unit_of(middle)
    seconds = numbers.to_numpy() * (_UNITS[kind] / 1e6)
    plausible = np.mean((seconds > 315_532_800) & (seconds < 4_102_444_800))
    return _named_format(kind) if plausible >= _MOST else None


def _unit_of(number: float) -> str:
    """The unit of a time since 1970, by its magnitude."""
    for limit, kind in ((1e11, "epoch_s"), (1e14, "epoch_ms"), (1e17, "epoch_us")):
        if abs(number) < limit:
            return kind
    return "epoch_ns"


def with_year(found: TimeFormat, first: str, *, year: int | None = None, now: datetime | None = None) -> TimeFormat:
    """The format with the year that syslog times leave out: that of `first` is `year`, else no time is after `now`.

    Later times of the same log roll over at new year.

    Examples
    --------
    >>> december = with_year(TimeFormat("syslog"), "Dec 31 23:59:59", year=2015)
    >>> parse_text("Jan  1 00:00:01", december)
    datetime.datetime(2016, 1, 1, 0, 0, 1, tzinfo=datetime.timezone.utc)
    """
    if found.kind != "syslog":
        return found
    if year is None:
        return replace(found, until=now + timedelta(days=1)) if now is not None else found
    if not 1970 <= year <= LAST_YEAR:
        raise UsageError(f"year is that of the log's first time: expected 1970 to {LAST_YEAR}, found {year}")
    start = parse_text(first, TimeFormat("syslog", until=datetime(year, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)))
    if start is None or start.year != year:
        raise EventError(f'"{first}" is not a time of the year {year}.')
    return replace(found, until=_year_later(start - timedelta(days=1)))


LAST_YEAR: Final = 9998


def _year_later(moment: datetime) -> datetime:
    try:
        return moment.replace(year=moment.year + 1)
    except ValueError:
        return moment.replace(year=moment.year + 1, day=28)


def check_timezone(timezone: str) -> ZoneInfo:
    """The zone of that name.

    Raises
    ------
    UsageError
        If there is no such zone.

    Examples
    --------
    >>> check_timezone("Europe/Berlin")
    zoneinfo.ZoneInfo(key='Europe/Berlin')
    """
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(f'"{timezone}" is not a time zone. Use a name such as UTC or Europe/Berlin.') from error


def parse_text(text: str, found: TimeFormat | None = None, timezone: str = "UTC") -> datetime | None:
    """One time in UTC, cut to microseconds, or None when the text is not a time of the format.

    Without a format, any that fits is taken.

    Examples
    --------
    >>> parse_text("2019-01-01 01:00:53,25", timezone="Europe/Berlin")
    datetime.datetime(2019, 1, 1, 0, 0, 53, 250000, tzinfo=datetime.timezone.utc)
    >>> parse_text("17/May/2015:10:05:03 +0200").isoformat()
    '2015-05-17T08:05:03+00:00'
    >>> parse_text("yesterday") is None
    True
    """
    text = text.strip()
    found = found or detect_format([text])
    if found is None:
        return None
    if found.kind in _UNITS:
        return _moment(text, found.kind)
    for pattern in _PATTERNS.get(found.kind, _PATTERNS["iso"]):
        if match := pattern.fullmatch(text):
            return _from_parts(match.groupdict(), found, timezone)
    return None


def _moment(text: str, kind: str) -> datetime | None:
    series = _from_numbers(pl.Series([text]), kind)
    moment: datetime | None = series.item()
    return moment


def _from_parts(parts: dict[str, str | None], found: TimeFormat, timezone: str) -> datetime | None:
    """The time that the named parts of a pattern make up."""
    name = parts.get("name")
    month = int(parts["month"] or 0) if name is None else _MONTHS.get(name.lower(), 0)
    hour, minute, second = (int(parts[unit] or 0) for unit in ("hour", "minute", "second"))
    micros = int(((parts.get("fraction") or "") + "000000")[:6])
    leap = 1 if second == 60 else 0
    years = [int(parts["year"] or 0)] if "year" in parts else _years(found)
    for year in years:
        try:
            naive = datetime(year, month, int(parts["day"] or 0), hour, minute, second - leap, micros)  # noqa: DTZ001 - the zone follows
        except ValueError:
            continue
        moment = _in_zone(naive + timedelta(seconds=leap), parts.get("zone"), timezone)
        if "year" in parts or found.until is None or moment <= found.until:
            return moment
    return None


def _years(found: TimeFormat) -> list[int]:
    if found.until is None:
        raise EventError("These times have no year, and the file does not tell it. Give it: --year YEAR")
    return [found.until.year + 1 - back for back in range(_YEARS_BACK + 2)]


def _in_zone(naive: datetime, zone: str | None, timezone: str) -> datetime:
    if zone is None:
        return naive.replace(tzinfo=ZoneInfo(timezone)).astimezone(UTC)
    return naive.replace(tzinfo=fixed_zone(timedelta(minutes=_minutes(zone)))).astimezone(UTC)


def _minutes(zone: str) -> int:
    """Minutes east of UTC of a zone written as text."""
    if zone[0] not in "+-":
        return 0
    digits = zone[1:].replace(":", "") + "00"
    return (int(digits[:2]) * 60 + int(digits[2:4])) * (1 if zone[0] == "+" else -1)


def parse(series: pl.Series, found: TimeFormat, timezone: str = "UTC") -> pl.Series:
    """The times of a column in UTC, cut to microseconds; null where a value is not a time of the format.

    Texts of one layout (equal length, digits at equal places) are read together by arithmetic on their bytes. Naive
    times are read in `timezone`; an hour that occurs twice is read as the first one.

    Parameters
    ----------
    series : (n,) of texts, numbers or times
    found
        What :func:`detect_format` said.
    timezone
        Name of a zone, for times without one.

    Examples
    --------
    >>> parse(pl.Series(["2019-01-01T00:00:53Z", "soon"]), TimeFormat("iso")).to_list()
    [datetime.datetime(2019, 1, 1, 0, 0, 53, tzinfo=zoneinfo.ZoneInfo(key='UTC')), None]
    """
    if series.dtype.is_temporal():
        return _from_typed(series, timezone)
    if found.kind in _UNITS:
        return _from_numbers(series, found.kind)
    return _from_texts(series.cast(pl.String, strict=False), found, timezone).rename(series.name)


def _from_typed(series: pl.Series, timezone: str) -> pl.Series:
    zone = getattr(series.dtype, "time_zone", None)
    micros = series.cast(pl.Datetime("us", zone))
    return micros.dt.convert_time_zone("UTC") if zone else _localise(micros, timezone)


def _from_numbers(series: pl.Series, kind: str) -> pl.Series:
    """Times from numbers (or digits) in a unit; whole numbers stay exact."""
    if series.dtype == pl.String:
        series = series.str.strip_chars()
        whole = series.cast(pl.Int64, strict=False)
        series = whole if whole.null_count() == series.null_count() else series.cast(pl.Float64, strict=False)
    factor = _UNITS[kind]
    if series.dtype.is_integer():
        wide = series.cast(pl.Int64, strict=False)
        limit = int(9e18 / factor) if factor >= 1 else 2**63 - 1
        wide = wide.set(wide.abs() > limit, None)
        micros = wide * int(factor) if factor >= 1 else wide // 1000
    else:
        scaled = series.cast(pl.Float64, strict=False) * factor
        micros = scaled.set(~scaled.is_finite() | (scaled.abs() > 9e18), None).round().cast(pl.Int64, strict=False)
    micros = micros.set(micros.abs() > 253_402_300_799_000_000, None)
    return micros.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _from_texts(texts: pl.Series, found: TimeFormat, timezone: str) -> pl.Series:
    """Times from texts, one layout after the other; what many layouts leave over is read one by one."""
    lengths = texts.str.len_bytes().fill_null(0).to_numpy()
    size = len(texts)
    read = _Readings(np.zeros(size, np.int64), np.zeros(size, np.bool_), np.zeros(size, np.bool_))
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length) if (lengths != length).any() else np.arange(len(texts))
        if 8 <= length <= 48:
            part = texts if len(rows) == len(texts) else texts.gather(rows)
            matrix = np.frombuffer(part.str.join("").item().encode(), dtype=np.uint8).reshape(len(rows), int(length))
            _read_layouts(matrix, rows, found, read)
    local = pl.Series(read.micros).cast(pl.Datetime("us")).set(pl.Series(~read.known), None)
    result = _settle(local, pl.Series(read.naive), timezone)
    return _one_by_one(texts, result, found, timezone)


def _settle(local: pl.Series, naive: pl.Series, timezone: str) -> pl.Series:
    """Naive times moved from `timezone` to UTC; the others are UTC already."""
    if timezone == "UTC" or not naive.any():
        return local.dt.replace_time_zone("UTC")
    return _localise(local, timezone).zip_with(naive, local.dt.replace_time_zone("UTC"))


def _localise(local: pl.Series, timezone: str) -> pl.Series:
    """Naive times of a zone in UTC; an hour that the clocks skip is read as the hour after it."""
    if timezone == "UTC":
        return local.dt.replace_time_zone("UTC")
    frame = local.to_frame("t").select(
        pl.coalesce(
            moved.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
            for moved in (pl.col("t"), pl.col("t") + pl.duration(hours=1))
        )
    )
    return frame.to_series().dt.convert_time_zone("UTC").rename(local.name)


class _Readings(NamedTuple):
    """Per text: microseconds since 1970, whether it is a time, whether it has no zone."""

    micros: _Array
    known: _Array
    naive: _Array


def _read_layouts(matrix: _Array, rows: _Array, found: TimeFormat, into: _Readings) -> None:
    """Fill in the readings at `rows` from texts of one length."""
    left = np.arange(len(rows))
    for _ in range(_LAYOUTS_PER_CALL):
        if left.size == 0:
            return
        match = _match(bytes(matrix[left[0]]).decode("utf-8", "replace"), found.kind)
        if match is None:
            same = (matrix[left] == matrix[left[0]]).all(axis=1)
        else:
            same = _same_layout(matrix if left.size == len(rows) else matrix[left], match)
            chosen = left if same.all() else left[same]
            part = matrix if chosen.size == len(rows) else matrix[chosen]
            into.micros[rows[chosen]], into.known[rows[chosen]] = _arithmetic(part, match, found)
            into.naive[rows[chosen]] = match.groupdict().get("zone") is None
        left = left[~same]


def _match(text: str, kind: str) -> re.Match[str] | None:
    return next((match for pattern in _PATTERNS[kind] if (match := pattern.fullmatch(text))), None)


def _same_layout(matrix: _Array, match: re.Match[str]) -> _Array:
    """Which rows have digits where the matched text has, and the same bytes elsewhere (month names may differ)."""
    first = np.frombuffer(match.string.encode(), dtype=np.uint8)
    free = slice(*match.span("name")) if "name" in match.re.groupindex else slice(0, 0)
    digit = (first >= 48) & (first <= 57)
    literal = ~digit
    literal[free] = False
    figures = matrix[:, digit]
    same: _Array = (matrix[:, literal] == first[literal]).all(axis=1) & ((figures >= 48) & (figures <= 57)).all(axis=1)
    return same


def _arithmetic(matrix: _Array, match: re.Match[str], found: TimeFormat) -> tuple[_Array, _Array]:
    """Microseconds since 1970 of texts of one layout, and which of them are times at all."""

    def number(group: str) -> _Array:
        total = np.zeros(len(matrix), dtype=np.int64)
        if group in match.re.groupindex and match[group] is not None:
            for place in range(*match.span(group)):
                total = total * 10 + (matrix[:, place] - 48)
        return total

    hour, minute, second = number("hour"), number("minute"), number("second")
    good = (hour < 24) & (minute < 60) & (second <= 60)
    clock = ((hour * 60 + minute) * 60 + second) * 1_000_000 + _fraction(matrix, match)
    clock -= _offset_micros(matrix, match)
    month = number("month") if "name" not in match.re.groupindex else _month_numbers(matrix, match)
    good &= (month >= 1) & (month <= 12)
    if "year" in match.re.groupindex:
        days, real = _days(number("year"), month, number("day"))
        return days * 86_400_000_000 + clock, good & real
    return _with_inferred_year(month, number("day"), clock, good, found)


def _fraction(matrix: _Array, match: re.Match[str]) -> _Array | int:
    if "fraction" not in match.re.groupindex or match["fraction"] is None:
        return 0
    start, end = match.span("fraction")
    total = np.zeros(len(matrix), dtype=np.int64)
    for place in range(start, start + 6):
        total = total * 10 + (matrix[:, place] - 48 if place < end else 0)
    return total


def _offset_micros(matrix: _Array, match: re.Match[str]) -> _Array | int:
    """Microseconds east of UTC; rows of one layout share the sign but not the hours."""
    zone = match.groupdict().get("zone")
    if zone is None or zone[0] not in "+-":
        return 0
    start, end = match.span("zone")
    figures = [place for place in range(start + 1, end) if match.string[place].isdigit()]
    values = [matrix[:, place].astype(np.int64) - 48 for place in figures]
    minutes = (values[0] * 10 + values[1]) * 60
    if len(values) == 4:
        minutes = minutes + values[2] * 10 + values[3]
    return minutes * (60_000_000 if zone[0] == "+" else -60_000_000)


def _month_numbers(matrix: _Array, match: re.Match[str]) -> _Array:
    """1..12 from month names, 0 where the three letters are none."""
    start = match.start("name")
    lower = (matrix[:, start : start + 3] | 0x20).astype(np.int64)
    codes = (lower[:, 0] << 16) | (lower[:, 1] << 8) | lower[:, 2]
    months = np.zeros(len(matrix), dtype=np.int64)
    for name, number in _MONTHS.items():
        months[codes == int.from_bytes(name.encode(), "big")] = number
    return months


def _days(year: _Array, month: _Array, day: _Array) -> tuple[_Array, _Array]:
    """Days since 1970 of dates, and which of the dates exist."""
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    first = months.astype("datetime64[D]").astype(np.int64)
    length = (months + 1).astype("datetime64[D]").astype(np.int64) - first
    return first + day - 1, (day >= 1) & (day <= length) & (year >= 1)


def _with_inferred_year(
    month: _Array,
    day: _Array,
    clock: _Array,
    good: _Array,
    found: TimeFormat,
) -> tuple[_Array, _Array]:
    """The newest time not after `found.until` for each month, day and clock."""
    years = _years(found)
    until = int((found.until - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)) if found.until else 0
    micros = np.zeros(len(month), dtype=np.int64)
    open_rows = good.copy()
    for year in years:
        days, real = _days(np.full(len(month), year), np.maximum(month, 1), day)
        candidate = days * 86_400_000_000 + clock
        fits = open_rows & real & (candidate <= until)
        micros[fits] = candidate[fits]
        open_rows &= ~fits
    return micros, good & ~open_rows


def _one_by_one(texts: pl.Series, result: pl.Series, found: TimeFormat, timezone: str) -> pl.Series:
    """Read the texts again that arithmetic left over: blanks around them, too many layouts."""
    rest = (result.is_null() & texts.is_not_null()).arg_true()
    if rest.is_empty():
        return result
    cache: dict[str, datetime | None] = {}
    values = []
    for text in texts.gather(rest).to_list():
        if text not in cache:
            cache[text] = parse_text(text, found, timezone) if len(text) <= 64 else None
        values.append(cache[text])
    return result.scatter(rest, pl.Series(values, dtype=TIME_TYPE))
