"""Local time: the zone that a place is in, and the hour of the week there."""

from __future__ import annotations

import math
import re
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from amiss.errors import MissingExtraError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_DAY: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH).days
_TABLE: Final = "zone.tab"
_MOMENTS: Final = [datetime(year, month, 15, 12, tzinfo=UTC) for year in range(2020, 2027) for month in range(1, 13)]
_POSITION: Final = re.compile(r"([+-]\d{2,3})(\d\d)(\d\d)?([+-]\d{3})(\d\d)(\d\d)?")
_MOST: Final = re.compile(r"most of |Beijing|.*\((mainland|peninsula)\)")
"""What the table says of a country's zone that is not for a remote part of it."""


class Zone(NamedTuple):
    """A row of the table of zones: a country, the zone's name, where its largest city lies (degrees), its extent."""

    country: str
    name: str
    latitude: float
    longitude: float
    extent: str


def zone_of(country: str, latitude: float = math.nan, longitude: float = math.nan) -> str:
    """The zone of a place: the one of its country whose largest city is nearest.

    Without coordinates, that of the country if it has but one or one for most of it, else UTC. Without a country, the
    nearest of all.

    Raises
    ------
    MissingExtraError
        If neither the system nor the package tzdata has the table.

    Examples
    --------
    >>> zone_of("US", 34.05, -118.24), zone_of("FR"), zone_of("UA"), zone_of("US"), zone_of("")
    ('America/Los_Angeles', 'Europe/Paris', 'Europe/Kyiv', 'UTC', 'UTC')
    """
    if math.isnan(latitude) or math.isnan(longitude):
        return _main_zone(country) if country else "UTC"
    near = _zones().get(country) or _zones()[""]
    return _common_name(min(near, key=lambda zone: _distance(zone, latitude, longitude)))


@lru_cache(1000)
def _common_name(zone: Zone) -> str:
    """The zone that most of a country has with the same clocks; the zone itself where the table tells of none."""
    alike = (other.name for other in _zones()[zone.country] if "(most areas" in other.extent)
    return next((name for name in alike if _offsets(name) == _offsets(zone.name)), zone.name)


@lru_cache(1000)
def _main_zone(country: str) -> str:
    """The zone that holds for all or most of a country; UTC where there is none such."""
    here = _zones().get(country, ())
    if not here or len({_offsets(zone.name) for zone in here}) == 1:
        return here[0].name if here else "UTC"
    most = [zone.name for zone in here if _MOST.match(zone.extent)]
    return most[0] if len(most) == 1 else "UTC"


@lru_cache(1000)
def _offsets(name: str) -> tuple[object, ...]:
    """Offsets of a zone over some years; zones that have them alike are taken for one."""
    zone = zoneinfo.ZoneInfo(name)
    return tuple(moment.astimezone(zone).utcoffset() for moment in _MOMENTS)


def _distance(zone: Zone, latitude: float, longitude: float) -> float:
    """Grows with the distance of a place from a zone's largest city."""
    here, there = math.radians(latitude), math.radians(zone.latitude)
    return -(
        math.sin(here) * math.sin(there)
        + math.cos(here) * math.cos(there) * math.cos(math.radians(longitude - zone.longitude))
    )


@cache
def _zones() -> dict[str, tuple[Zone, ...]]:
    """Zones by country; all of them under ""."""
    rows = tuple(zone for zone in _rows() if is_zone(zone.name))
    countries = dict.fromkeys(zone.country for zone in rows)
    return {"": rows} | {code: tuple(zone for zone in rows if zone.country == code) for code in countries}


def _rows() -> Iterator[Zone]:
    for line in _table().splitlines():
        parts = line.split("\t")
        if not line.startswith("#") and (found := _POSITION.fullmatch(parts[1])):
            north, east = _degrees(*found.group(1, 2, 3)), _degrees(*found.group(4, 5, 6))
            yield Zone(parts[0], parts[2], north, east, parts[3] if len(parts) > 3 else "")


def _degrees(whole: str, minutes: str, seconds: str | None) -> float:
    size = abs(int(whole)) + int(minutes) / 60 + int(seconds or 0) / 3600
    return -size if whole.startswith("-") else size


def _table() -> str:
    """The table of zones by country, of the package tzdata or of the system."""
    try:
        return files("tzdata").joinpath("zoneinfo", _TABLE).read_text(encoding="utf-8")
    except (ModuleNotFoundError, OSError):
        here = next((path for folder in zoneinfo.TZPATH if (path := Path(folder, _TABLE)).is_file()), None)
    if here is None:
        raise MissingExtraError("telling local times", "login")
    return here.read_text(encoding="utf-8")


@lru_cache(1000)
def is_zone(name: str) -> bool:
    """Whether a zone of this name is known to all that compute with it.

    Examples
    --------
    >>> is_zone("Europe/Kyiv"), is_zone("Mars/Olympus")
    (True, False)
    """
    try:
        pl.Series([datetime(2026, 1, 1, tzinfo=UTC)]).dt.convert_time_zone(name)
        zoneinfo.ZoneInfo(name)
    except (pl.exceptions.PolarsError, zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def hours_of_week(times: pl.Series, zones: pl.Series) -> pl.Series:
    """The local hours of the week, 0 for Monday from 00:00 to 01:00, 167 for Sunday from 23:00.

    Parameters
    ----------
    times : (n,)
        Moments, UTC.
    zones : (n,)
        Names of known zones.

    Returns
    -------
    hours : (n,) UInt8

    Examples
    --------
    >>> noon = pl.Series([datetime(2026, 1, 5, 12, tzinfo=UTC)] * 2)
    >>> hours_of_week(noon, pl.Series(["UTC", "Asia/Kolkata"])).to_list()
    [12, 17]
    """
    if not len(times):
        return pl.Series("hour", [], dtype=pl.UInt8)
    codes = zones.cast(pl.Categorical).to_physical()
    order = codes.arg_sort()
    runs = pl.DataFrame({"zone": zones.gather(order), "time": times.gather(order)})
    sizes = runs.group_by("zone", maintain_order=True).len()
    parts, start = [], 0
    for name, size in sizes.iter_rows():
        parts.append(_hours(runs["time"].slice(start, size), name))
        start += size
    result = pl.DataFrame({"hour": pl.concat(parts), "row": order})
    return result.sort("row")["hour"]


def _hours(times: pl.Series, zone: str) -> pl.Series:
    local = times.dt.convert_time_zone(zone).dt
    return (24 * (local.weekday().cast(pl.Int16) - 1) + local.hour()).cast(pl.UInt8).alias("hour")


def hour_of_week(moment: datetime, zone: str) -> int:
    """The local hour of the week of one moment, as :func:`hours_of_week` gives it.

    Examples
    --------
    >>> hour_of_week(datetime(2026, 1, 5, 12, tzinfo=UTC), "America/New_York")
    7
    """
    since = moment - _EPOCH
    offset = _offset_of_day(since.days, zone)
    if offset is None:  # the clocks change, or it is the last day that there is
        return int(_hours(pl.Series([moment]), zone)[0])
    return (since.days * 24 + (since.seconds + offset) // 3600 + 3 * 24) % (7 * 24)


@lru_cache(10_000)
def _offset_of_day(day: int, zone: str) -> int | None:
    """Seconds to add to UTC in a zone on a day since 1970; None on one at whose ends they differ."""
    if day >= _LAST_DAY:
        return None
    ends = pl.Series([_EPOCH + timedelta(days=day), _EPOCH + timedelta(days=day + 1)])
    local = ends.dt.convert_time_zone(zone).dt.replace_time_zone(None).dt.epoch("s")
    first, last = (local - ends.dt.epoch("s")).to_list()
    return int(first) if first == last else None
