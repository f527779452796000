"""Times as logs write them, read as UTC microseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss.errors import EventError, UsageError
from amiss.times import TimeFormat, check_timezone, detect_format, named, parse, parse_text, with_year

MAY = datetime(2015, 5, 17, 10, 5, 3, tzinfo=UTC)
NOW = datetime(2016, 3, 1, tzinfo=UTC)

WRITTEN = [
    ("2015-05-17T10:05:03Z", "iso"),
    ("2015-05-17 10:05:03", "iso"),
    ("2015-05-17 10:05:03 UTC", "iso"),
    ("2015-05-17T12:05:03+02:00", "iso"),
    ("2015-05-17T04:35:03-0530", "iso"),
    ("2015-05-17T12:05:03+02", "iso"),
    ("2015/05/17 10:05:03", "iso"),
    ("2015-05-17T10:05:03,000", "iso"),
    ("2015-05-17T10:05:03.000000000Z", "iso"),
    ("20150517T100503Z", "iso"),
    ("17/May/2015:10:05:03 +0000", "access"),
    ("17/May/2015:12:05:03 +0200", "access"),
    ("May 17 10:05:03", "syslog"),
    ("Sun, 17 May 2015 10:05:03 GMT", "mail"),
    ("1431857103", "epoch_s"),
    ("1431857103.0", "epoch_s"),
    ("1431857103000", "epoch_ms"),
    ("1431857103000000", "epoch_us"),
    ("1431857103000000000", "epoch_ns"),
]


@pytest.mark.parametrize(("text", "kind"), WRITTEN)
def test_every_known_way_to_write_a_time_is_told_and_read(text: str, kind: str) -> None:
    """The same moment in each way: the kind is found, and both readers agree."""
    found = detect_format([text])
    assert found is not None
    assert found.kind == kind
    found = with_year(found, text, now=NOW)
    assert parse_text(text, found) == MAY
    assert parse(pl.Series([text, None, "?"]), found).to_list() == [MAY, None, None]


@pytest.mark.parametrize(
    ("number", "kind"), [(1431857103, "epoch_s"), (1431857103.25, "epoch_s"), (1431857103250, "epoch_ms")]
)
def test_numbers_are_times_by_their_magnitude(number: float, kind: str) -> None:
    """Seconds or milliseconds since 1970 are told apart by size."""
    found = detect_format([number])
    assert found is not None
    assert found.kind == kind


@pytest.mark.parametrize(
    "values", [["ann", "bob"], [1, 2, 3], ["20190101"], [3.5, 4.5], [], [None], ["12:30:00"], [True]]
)
def test_other_values_are_no_times(values: list[object]) -> None:
    """Names, small numbers, truth values and times of day are no times."""
    assert detect_format(values) is None


@pytest.mark.parametrize(
    "text", ["2019-02-29", "2019-13-01", "2019-01-01 24:00:00", "2019-01-01 10:60:00", "0000-01-01", "2019-01-00"]
)
def test_days_and_hours_that_do_not_exist_are_null(text: str) -> None:
    """A time must be on the calendar and the clock."""
    assert parse(pl.Series([text]), TimeFormat("iso")).to_list() == [None]
    assert parse_text(text, TimeFormat("iso")) is None


def test_fractions_are_cut_to_microseconds() -> None:
    """Nanoseconds are cut, not rounded; one digit is tenths."""
    texts = pl.Series(["2019-01-01T00:00:00.123456789Z", "2019-01-01T00:00:00.5Z", "2019-01-01T00:00:00,000001Z"])
    assert [time.microsecond for time in parse(texts, TimeFormat("iso"))] == [123456, 500000, 1]


def test_many_layouts_in_one_column_are_all_read() -> None:
    """Layouts beyond what is read at once are read one by one."""
    texts = [f"2019-01-01T00:00:00.{'0' * digits}Z" for digits in range(1, 12)]
    texts += [f"2019-01-01T{hour:02}:00:00{sign}{hour:02}:00" for hour in range(12) for sign in "+-"]
    assert parse(pl.Series([*texts, " 2019-01-01 "]), TimeFormat("iso")).null_count() == 0


def test_naive_times_are_read_in_the_zone() -> None:
    """Summer and winter time, the hour that comes twice (its first) and the hour that is skipped (an hour later)."""
    texts = pl.Series(["2019-07-01 12:00:00", "2019-01-01 12:00:00", "2019-10-27 02:30:00", "2019-03-31 02:30:00"])
    expected = ["2019-07-01 10:00", "2019-01-01 11:00", "2019-10-27 00:30", "2019-03-31 01:30"]
    found = parse(texts, TimeFormat("iso"), "Europe/Berlin")
    assert found.dt.strftime("%Y-%m-%d %H:%M").to_list() == expected
    assert [parse_text(text, timezone="Europe/Berlin") for text in texts] == found.to_list()


def test_zoned_times_do_not_care_for_the_zone_given() -> None:
    """A time that names its zone keeps it, also beside naive ones."""
    texts = pl.Series(["2019-07-01T12:00:00Z", "2019-07-01T12:00:00 "])
    assert [time.hour for time in parse(texts, TimeFormat("iso"), "Europe/Berlin")] == [12, 10]


def test_syslog_times_fall_into_the_year_before_the_file() -> None:
    """December before a file of March is last year's."""
    found = with_year(TimeFormat("syslog"), "Dec 10 06:55:46", now=NOW)
    texts = pl.Series(["Dec 10 06:55:46", "Jan  1 00:00:00", "Feb 29 12:00:00"])
    assert [time.year for time in parse(texts, found)] == [2015, 2016, 2016]


def test_syslog_rolls_over_at_new_year() -> None:
    """With the year of the first line given, January after December is the next."""
    found = with_year(TimeFormat("syslog"), "Dec 31 23:59:59", year=2015)
    times = parse(pl.Series(["Dec 31 23:59:59", "Jan  1 00:00:00"]), found)
    assert [time.year for time in times] == [2015, 2016]


def test_syslog_times_without_a_year_are_an_error() -> None:
    """Nobody told the year: the message says how to."""
    with pytest.raises(EventError, match="--year"):
        parse(pl.Series(["Dec 10 06:55:46"]), TimeFormat("syslog"))


def test_times_of_a_frame_stay_what_they_are() -> None:
    """Datetime columns are only moved to UTC; dates are midnights."""
    zoned = pl.Series([MAY]).dt.convert_time_zone("Asia/Tokyo")
    assert parse(zoned, TimeFormat("typed")).to_list() == [MAY]
    assert parse(pl.Series([MAY.date()]), TimeFormat("typed")).to_list() == [datetime(2015, 5, 17, tzinfo=UTC)]


def test_numbers_beyond_the_calendar_are_null() -> None:
    """Infinity, NaN and times after the year 9999 are no times."""
    numbers = pl.Series([float("nan"), float("inf"), 1e300, -1e300, 1431857103.0])
    assert parse(numbers, TimeFormat("epoch_s")).to_list() == [None, None, None, None, MAY]
    assert parse(pl.Series([2**62]), TimeFormat("epoch_s")).to_list() == [None]


def test_unknown_zones_and_formats_are_refused() -> None:
    """Both errors say what would do."""
    with pytest.raises(UsageError, match="Europe/Berlin"):
        check_timezone("Mars/Olympus")
    with pytest.raises(UsageError, match="epoch_ms"):
        named("fortnights")


@given(st.integers(0, 4 * 10**15), st.integers(-14 * 60, 14 * 60), st.integers(0, 9))
def test_arithmetic_on_bytes_agrees_with_the_standard_library(micros: int, minutes: int, digits: int) -> None:
    """Both readers give what Python's own reader gives, for any moment, zone and number of decimals."""
    moment = datetime(1971, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    sign, rest = ("-" if minutes < 0 else "+"), abs(minutes)
    fraction = f".{moment.microsecond:06}000"[: digits + 1] if digits else ""
    text = f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}{sign}{rest // 60:02}:{rest % 60:02}"
    kept = int(f"{moment.microsecond:06}000"[:digits].ljust(6, "0")[:6]) if digits else 0
    expected = moment.replace(microsecond=kept, tzinfo=UTC) - timedelta(minutes=minutes)
    assert parse(pl.Series([text]), TimeFormat("iso")).to_list() == [expected]
    assert parse_text(text) == expected
