"""Databases that tell where addresses are, in MaxMind's format: GeoLite2, GeoIP2, DB-IP, IPinfo and the like."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from amiss.countries import country_code
from amiss.errors import ConfigError, MissingExtraError
from amiss.kinds import HOSTING, MOBILE, OTHER, VPN, kind_named
from amiss.zones import is_zone

if TYPE_CHECKING:
    from maxminddb import Reader

_LOG: Final = logging.getLogger(__name__)


def _paths(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(path.split(".")) for path in text.split())


_COUNTRY: Final = _paths(
    "country.iso_code country_code country country_iso_code registered_country.iso_code country.names.en"
)
_CITY: Final = _paths("city.names.en city city_name")
_LATITUDE: Final = _paths("location.latitude latitude lat")
_LONGITUDE: Final = _paths("location.longitude longitude lng lon")
_ZONE: Final = _paths("location.time_zone timezone time_zone")
_NUMBER: Final = _paths("autonomous_system_number traits.autonomous_system_number asn as_number")
_NAME: Final = _paths("autonomous_system_organization traits.autonomous_system_organization as_name isp organization")
_TYPE: Final = _paths(
    "traits.user_type user_type usage_type company.type company_type asn.type asn_type as.type as_type type"
    " traits.connection_type connection_type"
)
"""Where makers of databases write what."""

_FLAGS: Final = {
    VPN: "is_anonymous_vpn is_public_proxy is_residential_proxy is_tor_exit_node is_vpn is_proxy is_tor is_relay"
    " vpn proxy tor relay",
    HOSTING: "is_hosting_provider is_hosting hosting",
    MOBILE: "is_mobile mobile",
}
_FLAGGED: Final = tuple((kind, frozenset(names.split())) for kind, names in _FLAGS.items())
_ANONYMOUS: Final = (VPN, frozenset(("is_anonymous",)))
_TRUE: Final = ("true", "1")
_FLAGS_OF: Final = ("traits", "privacy", "anonymizer", "anonymous")
"""What else they say of networks. Machines of VPNs have two flags, and some call all hosters anonymous as well."""


class Found(NamedTuple):
    """What databases tell of an address; what they do not is empty, NaN for coordinates. `kind` is one of `KINDS`."""

    country: str = ""
    city: str = ""
    latitude: float = math.nan
    longitude: float = math.nan
    zone: str = ""
    provider: str = ""
    organization: str = ""
    kind: str = ""


class GeoDatabase:
    """A database that is there as a file.

    Raises
    ------
    ConfigError
        If there is no such file, or it is no database of this format.
    MissingExtraError
        If maxminddb is not installed.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._reader = _opened(path)
        self._sizes = (4,) if self._reader.metadata().ip_version == 4 else (4, 16)
        self._damaged = False

    def look_up(self, address: str, size: int) -> Found:
        """What the database tells of an address of this many bytes; a damaged entry tells nothing."""
        if size not in self._sizes:
            return Found()
        from maxminddb import InvalidDatabaseError

        try:
            entry = self._reader.get(address)
        except (InvalidDatabaseError, ValueError, OSError, UnicodeDecodeError) as error:
            self._warn(error)
            return Found()
        return found_in(entry) if isinstance(entry, dict) else Found()

    def _warn(self, error: Exception) -> None:
        """Say once that entries are damaged."""
        if not self._damaged:
            self._damaged = True
            _LOG.warning("%s is damaged, what it holds of some addresses is lost. Get it anew: %s", self.path, error)


def _opened(path: str) -> Reader:
    try:
        import maxminddb
    except ImportError as error:
        raise MissingExtraError("telling where addresses are", "login") from error
    if not Path(path).is_file():
        raise ConfigError("there is no such file. Give geoip the path of a database in MaxMind's format", file=path)
    try:
        return maxminddb.open_database(path)
    except (maxminddb.InvalidDatabaseError, ValueError, UnicodeDecodeError) as error:
        raise ConfigError("expected a database in MaxMind's format (.mmdb), but it is not", file=path) from error
    except OSError as error:
        raise ConfigError(f"expected a database, but {error.strerror or error}", file=path) from error


def found_in(entry: dict[str, Any]) -> Found:
    """What an entry of a database tells, whoever made it.

    Examples
    --------
    >>> found_in({"country": {"iso_code": "UA"}, "location": {"latitude": 50.45, "longitude": 30.52}})[:4]
    ('UA', '', 50.45, 30.52)
    >>> found_in({"asn": "AS64500", "as_name": "Example"}).provider
    'AS64500'
    >>> found_in({"traits": {"user_type": "residential"}}).kind, found_in({"is_hosting_provider": True}).kind
    ('home', 'hosting')
    """
    latitude, longitude = coordinates(_first(entry, _LATITUDE), _first(entry, _LONGITUDE))
    zone = _text(_first(entry, _ZONE))
    number = _text(_first(entry, _NUMBER)).upper().removeprefix("AS")
    return Found(
        country_code(_text(_first(entry, _COUNTRY))),
        _text(_first(entry, _CITY)),
        latitude,
        longitude,
        zone if zone and is_zone(zone) else "",
        f"AS{number}" if number.isdecimal() and number.strip("0") else "",
        _text(_first(entry, _NAME)),
        _kind(entry),
    )


def _first(entry: dict[str, Any], paths: Sequence[Sequence[str]]) -> object:
    """The first value there is at any of the paths."""
    return next(_values(entry, paths), None)


def _values(entry: dict[str, Any], paths: Sequence[Sequence[str]]) -> Iterator[object]:
    """The values there are at the paths."""
    for first, *rest in paths:
        value: object = entry.get(first)
        for key in rest:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None and not isinstance(value, dict):
            yield value


def _kind(entry: dict[str, Any]) -> str:
    """The kind of network: flags count before types, hiding before hosting, users before connections."""
    flags = {name for part in (entry, *map(entry.get, _FLAGS_OF)) if isinstance(part, dict) for name in _flags(part)}
    flagged = (kind for kind, names in (*_FLAGGED, _ANONYMOUS) if not names.isdisjoint(flags))
    typed = (kind for kind in map(kind_named, map(_text, _values(entry, _TYPE))) if kind not in ("", OTHER))
    return next(flagged, "") or next(typed, "")


def _flags(part: dict[str, Any]) -> Iterator[str]:
    """The names of what is true."""
    return (name for name, value in part.items() if value == 1 or (isinstance(value, str) and value.lower() in _TRUE))


def _text(value: object) -> str:
    return str(value).strip()[:100] if isinstance(value, str | int) else ""


def coordinates(latitude: object, longitude: object) -> tuple[float, float]:
    """Both coordinates in degrees, or twice NaN where they are none; 0, 0 is how many write that they know nothing.

    Examples
    --------
    >>> coordinates("50.45", 30.52), coordinates(91.0, 0.0), coordinates(0, 0), coordinates(None, 1)
    ((50.45, 30.52), (nan, nan), (nan, nan), (nan, nan))
    """
    try:
        north, east = float(str(latitude)), float(str(longitude))
    except ValueError:
        return math.nan, math.nan
    if not (abs(north) <= 90.0 and abs(east) <= 180.0) or (north == 0.0 and east == 0.0):
        return math.nan, math.nan
    return north, east


def merged(all_found: Sequence[Found]) -> Found:
    """What several databases tell together: of each thing the first that is told; coordinates and zone go together.

    Examples
    --------
    >>> merged([Found(country="UA"), Found(country="PL", city="Kyiv", provider="AS64500")])[:2]
    ('UA', 'Kyiv')
    """
    return reduce(_filled, all_found)


def _filled(first: Found, other: Found) -> Found:
    """What the first tells, and of the rest what the other does."""
    located = other if math.isnan(first.latitude) else first
    return Found(
        first.country or other.country,
        first.city or other.city,
        located.latitude,
        located.longitude,
        located.zone or first.zone or other.zone,
        first.provider or other.provider,
        first.organization or other.organization,
        first.kind or other.kind,
    )
