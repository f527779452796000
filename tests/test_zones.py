"""Zones of places, and local hours of the week."""

from __future__ import annotations

import math
import sys
import zoneinfo
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss import zones
from amiss.errors import MissingExtraError
from amiss.zones import hour_of_week, hours_of_week, is_zone, zone_of

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
SOME_ZONES = ["UTC", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Kiritimati"]


@pytest.mark.parametrize(
    ("country", "zone"),
    [
        ("FR", "Europe/Paris"),
        ("IN", "Asia/Kolkata"),
        ("NO", "Europe/Oslo"),
        ("DE", "Europe/Berlin"),
        ("UA", "Europe/Kyiv"),
        ("ES", "Europe/Madrid"),
        ("CN", "Asia/Shanghai"),
        ("US", "UTC"),
        ("RU", "UTC"),
        ("ATLANTIS", "UTC"),
        ("", "UTC"),
    ],
)
def test_a_country_with_one_zone_needs_no_coordinates(country: str, zone: str) -> None:
    """Nor one that has one for most of it; of the others nobody knows."""
    assert zone_of(country) == zone


@pytest.mark.parametrize(
    ("country", "latitude", "longitude", "zone"),
    [
        ("US", 40.7, -74.0, "America/New_York"),
        ("US", 37.8, -122.4, "America/Los_Angeles"),
        ("US", 21.3, -157.9, "Pacific/Honolulu"),
        ("US", 29.8, -95.4, "America/Chicago"),
        ("RU", 43.1, 131.9, "Asia/Vladivostok"),
        ("ES", 28.5, -16.3, "Atlantic/Canary"),
        ("UA", 49.8, 24.0, "Europe/Kyiv"),
        ("FJ", -16.5, -179.9, "Pacific/Fiji"),
        ("", 35.7, 139.7, "Asia/Tokyo"),
        ("ATLANTIS", 35.7, 139.7, "Asia/Tokyo"),
    ],
)
def test_the_zone_is_that_of_the_nearest_city_of_the_country(
    country: str, latitude: float, longitude: float, zone: str
) -> None:
    """Without a country, of the nearest of all."""
    assert zone_of(country, latitude, longitude) == zone


def test_half_a_place_is_none() -> None:
    """One coordinate alone says nothing."""
    assert zone_of("US", 40.7, math.nan) == "UTC"


def test_all_zones_of_the_table_are_known_to_all_who_compute() -> None:
    """Polars and the standard library have each of them."""
    assert len(zones._zones()[""]) > 400
    assert [row.name for row in zones._rows() if not is_zone(row.name)] == []


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../../etc/passwd", "/etc/passwd", "UTC\x00", "a" * 10_000])
def test_names_that_are_no_zones_are_none(name: str) -> None:
    """Whatever a database holds."""
    assert not is_zone(name)


def test_the_week_begins_on_monday_at_midnight() -> None:
    """Hour 0 is Monday from 00:00, hour 167 Sunday from 23:00."""
    moments = pl.Series([MONDAY, MONDAY + timedelta(minutes=59), MONDAY - timedelta(minutes=1)])
    assert hours_of_week(moments, pl.Series(["UTC"] * 3)).to_list() == [0, 0, 167]


def test_clocks_that_change_are_followed() -> None:
    """08:00 in New York is 08:00 in winter and in summer, an hour apart in UTC; the hour twice is one."""
    winter, summer = datetime(2026, 3, 7, 13, tzinfo=UTC), datetime(2026, 3, 9, 12, tzinfo=UTC)
    saturday, monday = 5 * 24 + 8, 8
    twice = datetime(2026, 11, 1, 5, 30, tzinfo=UTC)
    moments = [winter, summer, twice, twice + timedelta(hours=1), twice + timedelta(hours=2)]
    expected = [saturday, monday, 6 * 24 + 1, 6 * 24 + 1, 6 * 24 + 2]
    new_york = "America/New_York"
    assert hours_of_week(pl.Series(moments), pl.Series([new_york] * 5)).to_list() == expected
    assert [hour_of_week(moment, new_york) for moment in moments] == expected


@given(st.lists(st.tuples(st.integers(0, 4 * 10**9), st.sampled_from(SOME_ZONES)), max_size=8))
def test_hours_are_those_of_the_standard_library(rows: list[tuple[int, str]]) -> None:
    """Row by row, in any order of zones, many at once or one by one."""
    moments = [datetime.fromtimestamp(seconds, UTC) for seconds, _ in rows]
    names = [zone for _, zone in rows]
    local = [moment.astimezone(zoneinfo.ZoneInfo(zone)) for moment, zone in zip(moments, names, strict=True)]
    times = pl.Series(moments, dtype=pl.Datetime("us", "UTC"))
    many = hours_of_week(times, pl.Series(names, dtype=pl.String)).to_list()
    assert many == [24 * time.weekday() + time.hour for time in local]
    assert many == [hour_of_week(moment, zone) for moment, zone in zip(moments, names, strict=True)]


@pytest.mark.parametrize("moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_the_first_and_the_last_moment_have_hours(moment: datetime) -> None:
    """Times at the ends of the calendar are no error."""
    assert 0 <= hour_of_week(moment, "UTC") < 168


def test_without_the_package_the_table_of_the_system_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And where there is none either, the message says what to install."""
    monkeypatch.setitem(sys.modules, "tzdata", None)
    monkeypatch.setattr(zoneinfo, "TZPATH", (str(tmp_path),))
    with pytest.raises(MissingExtraError, match=r'pip install "amiss\[login\]"'):
        zones._table()
    (tmp_path / "zone.tab").write_text("# a comment\nFR\t+4852+00220\tEurope/Paris\n")
    (row,) = zones._rows()
    assert row == ("FR", "Europe/Paris", pytest.approx(48.87, abs=0.01), pytest.approx(2.33, abs=0.01), "")
