"""Databases of places in MaxMind's format: real files."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from amiss.errors import ConfigError, MissingExtraError
from amiss.geo import Found, GeoDatabase, coordinates, found_in, merged
from amiss.kinds import KINDS

KYIV = {
    "city": {"names": {"de": "Kiew", "en": "Kyiv"}},
    "country": {"iso_code": "UA", "names": {"en": "Ukraine"}},
    "location": {"latitude": 50.458, "longitude": 30.5303, "time_zone": "Europe/Kyiv"},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=9), inner, max_size=2),
    max_leaves=4,
)
KEYS = st.sampled_from(
    ["country", "city", "location", "latitude", "lat", "lng", "longitude", "timezone", "asn", "traits", "isp",
     "autonomous_system_number", "type", "user_type", "company", "privacy", "vpn", "is_anonymous"]
)  # fmt: skip


def database(path: Path, entries: dict[str, Any], ip_version: int = 6) -> str:
    """A database file with these entries by network."""
    writer = MMDBWriter(ip_version, ipv4_compatible=ip_version == 6, float_type="f64")
    for network, entry in entries.items():
        writer.insert_network(IPSet([network]), entry)
    writer.to_db_file(str(path))
    return str(path)


def test_a_city_database_tells_country_city_coordinates_and_zone(tmp_path: Path) -> None:
    """Of IPv4 and IPv6; of addresses that it lacks, nothing."""
    found = GeoDatabase(database(tmp_path / "city.mmdb", {"203.0.113.0/24": KYIV, "2001:db8::/32": KYIV}))
    expected = ("UA", "Kyiv", 50.458, 30.5303, "Europe/Kyiv", "", "", "")
    assert found.look_up("203.0.113.9", 4) == expected
    assert found.look_up("2001:db8::1", 16) == expected
    assert found.look_up("198.51.100.1", 4)[:2] == ("", "")


def test_a_database_of_ipv4_knows_nothing_of_ipv6(tmp_path: Path) -> None:
    """It is no error to ask."""
    found = GeoDatabase(database(tmp_path / "four.mmdb", {"203.0.113.0/24": KYIV}, ip_version=4))
    assert found.look_up("203.0.113.9", 4).country == "UA"
    assert found.look_up("2001:db8::1", 16).country == ""


@pytest.mark.parametrize(
    ("entry", "provider", "organization"),
    [
        ({"autonomous_system_number": 64500, "autonomous_system_organization": "Example"}, "AS64500", "Example"),
        ({"asn": "AS64500", "as_name": "Example"}, "AS64500", "Example"),
        ({"traits": {"autonomous_system_number": 64500, "isp": "no"}}, "AS64500", ""),
        ({"autonomous_system_number": 0}, "", ""),
        ({"asn": "Example"}, "", ""),
    ],
)
def test_operators_are_numbers_whoever_made_the_database(
    entry: dict[str, Any], provider: str, organization: str
) -> None:
    """MaxMind, DB-IP, IPinfo; the name is told apart."""
    found = found_in(entry)
    assert (found.provider, found.organization) == (provider, organization)


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ({"traits": {"user_type": "cellular", "connection_type": "Corporate"}}, "mobile"),
        ({"traits": {"user_type": "unheard of", "connection_type": "Cable/DSL"}}, "home"),
        ({"connection_type": "Corporate"}, "business"),
        ({"user_type": "traveler"}, "public"),
        ({"usage_type": "DCH"}, "hosting"),
        ({"as_type": "isp"}, "home"),
        ({"asn": {"type": "isp"}, "company": {"type": "education"}}, "school"),
        ({"asn_type": "isp", "company_type": "business"}, "business"),
        ({"type": "hosting"}, "hosting"),
        ({"type": "unheard of"}, ""),
        ({"type": {"hosting": True}}, ""),
        ({"user_type": "-"}, ""),
    ],
)
def test_types_tell_what_a_network_is_for_whoever_made_the_database(entry: dict[str, Any], kind: str) -> None:
    """MaxMind, DB-IP, IP2Location, IPinfo; users before connections, companies before networks."""
    assert found_in(entry).kind == kind


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ({"is_anonymous": True, "is_hosting_provider": True}, "hosting"),
        ({"is_anonymous": True, "is_anonymous_vpn": True, "is_hosting_provider": True}, "vpn"),
        ({"is_anonymous": True}, "vpn"),
        ({"is_anonymous": False, "user_type": "residential"}, "home"),
        ({"traits": {"is_tor_exit_node": True, "user_type": "residential"}}, "vpn"),
        ({"traits": {"is_anonymous": True}, "is_hosting_provider": True}, "hosting"),
        ({"privacy": {"vpn": False, "relay": True, "hosting": True}}, "vpn"),
        ({"vpn": "", "proxy": "false", "tor": "0", "hosting": "true"}, "hosting"),
        ({"is_public_proxy": "1"}, "vpn"),
        ({"is_residential_proxy": 1}, "vpn"),
        ({"is_mobile": True, "as_type": "isp"}, "mobile"),
        ({"proxy": "maybe", "vpn": 2, "type": "isp"}, "home"),
    ],
)
def test_flags_that_are_true_count_before_types(entry: dict[str, Any], kind: str) -> None:
    """Anywhere they are written; a VPN's machines are a VPN, but hosters that are called anonymous are hosters."""
    assert found_in(entry).kind == kind


def test_a_database_file_tells_what_networks_are_for(tmp_path: Path) -> None:
    """Types as texts, flags as booleans, in a real file."""
    entries = {
        "203.0.113.0/24": KYIV | {"traits": {"user_type": "cellular"}},
        "198.51.100.0/24": {"is_anonymous": True, "is_anonymous_vpn": True},
        "192.0.2.0/24": {"traits": {"is_hosting_provider": True, "user_type": "business"}},
        "2001:db8::/32": {"asn": "AS64500", "as_type": "education"},
    }
    found = GeoDatabase(database(tmp_path / "kinds.mmdb", entries))
    told = [found.look_up(address, 4).kind for address in ("203.0.113.9", "198.51.100.9", "192.0.2.9", "9.9.9.9")]
    assert told == ["mobile", "vpn", "hosting", ""]
    assert found.look_up("2001:db8::1", 16).kind == "school"
    assert found.look_up("203.0.113.9", 4).country == "UA"


def test_flat_entries_are_read_too() -> None:
    """As IPinfo and others write them, coordinates as texts."""
    entry = {"country": "UA", "city": "Kyiv", "lat": "50.458", "lng": "30.5303", "timezone": "Europe/Kyiv"}
    assert found_in(entry) == found_in(KYIV)
    assert found_in({"country": "Ukraine", "country_code": "UA"}).country == "UA"


def test_unknown_zones_are_left_out() -> None:
    """A zone that nothing computes with would be an error later."""
    assert found_in({"location": {"time_zone": "Mars/Olympus"}}).zone == ""


@given(st.dictionaries(KEYS, JSON, max_size=4))
def test_no_entry_whatever_raises(entry: dict[str, Any]) -> None:
    """Values of the wrong kind tell nothing."""
    found = found_in(entry)
    assert math.isnan(found.latitude) == math.isnan(found.longitude)
    assert all(isinstance(text, str) for text in (found.country, found.city, found.zone, found.provider))
    assert found.kind in KINDS


@pytest.mark.parametrize(
    "pair", [(None, None), (1, None), ("x", 1), (91, 0), (0, 181), (0, 0), (math.nan, 1), (math.inf, 1)]
)
def test_coordinates_that_are_none_are_nan(pair: tuple[object, object]) -> None:
    """Half ones, impossible ones, and 0, 0."""
    assert all(map(math.isnan, coordinates(*pair)))


def test_of_several_databases_the_first_that_tells_counts() -> None:
    """Coordinates and zone come from the same one."""
    country = Found(country="UA", zone="Europe/Kyiv")
    city = Found(country="PL", city="Lviv", latitude=49.8, longitude=24.0)
    operator = Found(provider="AS64500", organization="Example", kind="mobile")
    anonymous = Found(provider="AS64501", kind="vpn")
    both = ("UA", "Lviv", 49.8, 24.0, "Europe/Kyiv", "AS64500", "Example", "mobile")
    assert merged([country, city, operator, anonymous]) == both
    assert merged([anonymous, operator]).kind == "vpn"
    assert merged([operator]) is operator


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    """Not there, a directory, text, nothing at all."""
    (tmp_path / "text.mmdb").write_text("no database")
    (tmp_path / "empty.mmdb").write_bytes(b"")
    for name, says in [
        ("absent.mmdb", "there is no such file"),
        (".", "there is no such file"),
        ("text.mmdb", r"expected a database in MaxMind's format \(\.mmdb\), but it is not"),
        ("empty.mmdb", r"expected a database in MaxMind's format \(\.mmdb\), but it is not"),
    ]:
        with pytest.raises(ConfigError, match=says):
            GeoDatabase(str(tmp_path / name))


def test_a_damaged_entry_tells_nothing_and_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A login is judged without its place rather than not at all."""
    path = tmp_path / "city.mmdb"
    database(path, {"203.0.113.0/24": KYIV})
    data = path.read_bytes()
    start, end = data.index(bytes(16)) + 16, data.index(b"\xab\xcd\xefMaxMind.com")
    path.write_bytes(data[:start] + b"\x20\xff\xff\xff" * ((end - start) // 4) + bytes((end - start) % 4) + data[end:])
    damaged = GeoDatabase(str(path))
    assert [damaged.look_up("203.0.113.9", 4).country for _ in range(3)] == ["", "", ""]
    assert len([record for record in caplog.records if "is damaged" in record.message]) == 1


def test_a_missing_library_is_said_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logins without databases work without it."""
    monkeypatch.setitem(sys.modules, "maxminddb", None)
    with pytest.raises(MissingExtraError, match=r'pip install "amiss\[login\]"'):
        GeoDatabase("city.mmdb")
