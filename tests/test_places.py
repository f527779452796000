"""Where, when and with what somebody logged in."""

from __future__ import annotations

import logging
import math
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from amiss.errors import ConfigError
from amiss.kinds import KINDS
from amiss.places import LOGIN_SCHEMA, Place, Places, Told, is_login, login_context, login_of, place_of, places

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:44.0) Gecko/20100101 Firefox/44.0"
KYIV = {
    "city": {"names": {"en": "Kyiv"}},
    "country": {"iso_code": "UA"},
    "location": {"latitude": 50.458, "longitude": 30.5303, "time_zone": "Europe/Kyiv"},
}
NO_LOGIN = (0, "", "", "", "", "", 0, "", "", "", 0, math.nan, math.nan, 0)


def database(path: Path, entries: dict[str, Any]) -> str:
    """A database file with these entries by network."""
    writer = MMDBWriter(6, ipv4_compatible=True, float_type="f64")
    for network, entry in entries.items():
        writer.insert_network(IPSet([network]), entry)
    writer.to_db_file(str(path))
    return str(path)


@pytest.fixture
def geoip(tmp_path: Path) -> tuple[str, str]:
    """A database of cities and one of operators."""
    cities = {"203.0.113.0/24": KYIV, "2001:db8::/32": KYIV}
    operators = {"203.0.113.0/24": {"autonomous_system_number": 64500, "autonomous_system_organization": "Example"}}
    return database(tmp_path / "city.mmdb", cities), database(tmp_path / "asn.mmdb", operators)


def logins(**columns: list[Any]) -> pl.DataFrame:
    """An event frame of logins at noon with these columns."""
    rows = len(next(iter(columns.values())))
    every = {"position": list(range(1, rows + 1)), "time": [NOON] * rows, "user": ["ann"] * rows}
    frame = pl.DataFrame(every | {"action": ["login"] * rows, "outcome": ["success"] * rows} | columns)
    return frame.with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))


def same(frame: pl.DataFrame, rows: list[tuple[Any, ...]]) -> bool:
    """Whether a frame is exactly these rows; NaN is NaN."""
    return frame.equals(pl.DataFrame(rows, schema=LOGIN_SCHEMA, orient="row"))


@pytest.mark.parametrize(
    "action",
    [
        "login", "LOGIN", "logged-in", "log_in", "Logon", "sign in", "SignIn", "UserLoggedIn", "ConsoleLogin",
        "loginSuccess", "POST /login", "authenticated", "user.session.start", "session opened", "accepted publickey",
        "user.authentication.sso", "s", "4624",
    ],
)  # fmt: skip
def test_actions_of_many_systems_are_logins(action: str) -> None:
    """However they write it."""
    assert is_login(action)


@pytest.mark.parametrize(
    "action",
    [
        "logout", "sign out", "login failed", "failed password", "authentication failure", "GET /login",
        "catalog_index", "changelog_info", "LOGINFO", "dialog input", "assign_in", "buy", "session ended", "s3", "",
    ],
)  # fmt: skip
def test_other_actions_and_failures_are_not(action: str) -> None:
    """Nor words that only hold the letters, nor looking at the page."""
    assert not is_login(action)


def test_the_actions_that_are_logins_can_be_given() -> None:
    """As a regular expression, taken as it is; capitals do not matter."""
    events = logins(action=["Enter", "login", "enter failed"])
    assert login_context(events, actions="^enter")["login"].to_list() == [1, 0, 1]
    assert is_login("x" * 100_000 + "enter", "enter")
    with pytest.raises(ConfigError, match='expected a regular expression, found "\\(enter"'):
        login_context(events, actions="(enter")


def test_a_login_tells_place_device_and_local_hour() -> None:
    """By the columns of the log alone."""
    events = logins(ip=["203.0.113.9:4711"], country=["Ukraine"], user_agent=[FIREFOX], provider=["64500"])
    expected = (1, "203.0.113.9", "203.0.113.0/24", "AS64500", "UA", "", 0, FIREFOX, "Firefox 44")
    assert same(login_context(events), [(*expected, "Firefox, Linux", 14, math.nan, math.nan, 0)])


def test_what_is_no_login_or_failed_tells_nothing() -> None:
    """All columns are empty; the rows stay where they are."""
    events = logins(
        action=["buy", "login", "login", "login"],
        outcome=["success", "failure", "unknown", "success"],
        country=["UA", "UA", "UA", "US"],
    )
    login = (1, "", "", "", "UA", "", 0, "", "", "", 14, math.nan, math.nan, 0)
    other = (1, "", "", "", "US", "", 0, "", "", "", 12, math.nan, math.nan, 0)
    assert same(login_context(events), [NO_LOGIN, NO_LOGIN, login, other])
    assert same(login_context(events.head(1)), [NO_LOGIN])
    assert same(login_context(events.head(2)), [NO_LOGIN, NO_LOGIN])
    assert same(login_context(events.head(0)), [])


def test_a_log_without_any_of_it_has_hours() -> None:
    """In UTC."""
    unknown = (1, "", "", "", "", "", 0, "", "", "", 12, math.nan, math.nan, 0)
    assert same(login_context(logins(user=["ann", "bob"])), [unknown, unknown])
    assert same(login_context(logins(user=["ann"])), [unknown])


def test_the_database_tells_what_the_log_does_not(geoip: tuple[str, str]) -> None:
    """Country, coordinates and zone from one, the operator from another."""
    events = logins(ip=["203.0.113.9", "2001:db8::7", "198.51.100.1", None, "oops"])
    context = login_context(events, geoip=geoip)
    assert context["country"].to_list() == ["UA", "UA", "", "", ""]
    assert context["provider"].to_list() == ["AS64500", "", "", "", ""]
    assert context["network"].to_list() == ["203.0.113.0/24", "2001:db8::/48", "198.51.100.0/24", "", ""]
    assert context["hour"].to_list() == [14, 14, 12, 12, 12]
    assert context["latitude"].fill_nan(None).to_list() == [
        pytest.approx(50.458),
        pytest.approx(50.458),
        None,
        None,
        None,
    ]
    assert context["wide"].to_list() == [0, 0, 0, 0, 0]


def test_what_the_log_tells_wins_over_the_database(geoip: tuple[str, str]) -> None:
    """Of another country the database's coordinates, city and zone are not taken."""
    known = Places(geoip)
    assert known.place(Told("203.0.113.9")) == Place(
        "203.0.113.9", "203.0.113.0/24", "AS64500", "UA", "Kyiv", 50.458, 30.5303, "Europe/Kyiv", False, "Example"
    )
    poland = known.place(Told("203.0.113.9", "Poland"))
    assert (poland.country, poland.city, poland.zone, poland.provider) == ("PL", "", "Europe/Warsaw", "AS64500")
    assert math.isnan(poland.latitude)
    lviv = known.place(Told("203.0.113.9", "UKR", "Lviv", 49.84, 24.03, "Other Net"))
    assert lviv.organization == "Example"
    assert lviv[2:8] == ("Other Net", "UA", "Lviv", 49.84, 24.03, "Europe/Kyiv")


def test_wide_places_have_no_country_operator_or_coordinates(geoip: tuple[str, str], tmp_path: Path) -> None:
    """Private and shared addresses, and the ranges of files, even where log or database tell more."""
    (tmp_path / "vpn.txt").write_text("203.0.113.0/25  # ours\n")
    events = logins(
        ip=["203.0.113.9", "203.0.113.200", "10.1.2.3", "100.64.0.1", "::1"],
        country=["UA", None, None, "", "-"],
        latitude=[50.0] * 5,
        longitude=[30.0] * 5,
        provider=["AS1"] * 5,
    )
    context = login_context(events, geoip=geoip, wide=str(tmp_path / "vpn.txt"))
    assert context["wide"].to_list() == [1, 0, 1, 1, 1]
    assert context["country"].to_list() == ["", "UA", "", "", ""]
    assert context["provider"].to_list() == ["", "AS1", "", "", ""]
    assert context["latitude"].is_nan().to_list() == [True, False, True, True, True]
    assert context["hour"].to_list() == [12, 14, 12, 12, 12]
    assert context["network"].to_list() == ["203.0.113.0/24", "203.0.113.0/24", "10.1.2.0/24", "100.64.0.0/24", "::/48"]


def test_a_private_address_whose_country_the_log_tells_is_there() -> None:
    """Such as a proxy's, behind which somebody else found out the country."""
    found = Places().place(Told("10.0.0.1", "US"))
    assert (found.wide, found.country, found.network) == (False, "US", "10.0.0.0/24")


@pytest.mark.parametrize(
    ("text", "provider"),
    [
        ("64500", "AS64500"), ("AS64500", "AS64500"), ("as64500 Example Net", "AS64500"), ("ASN 064500", "AS64500"),
        ("64500.0", "AS64500"), (" Example Net ", "Example Net"), ("3 Mobile", "3 Mobile"), ("0", ""), ("-", ""),
        (None, ""), ("x" * 1000, "x" * 100),
    ],
)  # fmt: skip
def test_operators_go_by_number_where_the_log_tells_it(text: str | None, provider: str) -> None:
    """Names change, numbers do not."""
    assert Places().place(Told(provider=text)).provider == provider


MOBILE, HOSTING, VPN = (KINDS.index(kind) for kind in ("mobile", "hosting", "vpn"))


@pytest.fixture
def typed(tmp_path: Path) -> str:
    """A database that tells what networks are for, and the names of operators."""
    named = {"autonomous_system_number": 64500, "autonomous_system_organization": "Example Hosting"}
    return database(
        tmp_path / "kinds.mmdb",
        {
            "203.0.113.0/25": KYIV | named | {"traits": {"user_type": "residential"}},
            "203.0.113.128/25": KYIV | named,
            "198.51.100.0/24": KYIV | named | {"is_anonymous_vpn": True},
        },
    )


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (Told("203.0.113.9", network_type="MOB", provider="Acme Business"), "mobile"),
        (Told("203.0.113.9", provider="Acme Business"), "home"),
        (Told("203.0.113.200", provider="Acme Business"), "business"),
        (Told("203.0.113.200", provider="AS64501"), "hosting"),
        (Told("203.0.113.200"), "hosting"),
        (Told("192.0.2.1", provider="Acme Business"), "business"),
        (Told("192.0.2.1"), ""),
        (Told("203.0.113.9", network_type="-"), "home"),
        (Told("203.0.113.9", network_type="token ring"), "home"),
        (Told("192.0.2.1", network_type="token ring"), "other"),
        (Told("203.0.113.9", "PL"), "home"),
        (Told("198.51.100.9", network_type="business"), "business"),
    ],
)
def test_the_log_tells_what_a_network_is_for_before_the_database_and_names(told: Told, kind: str, typed: str) -> None:
    """The log's field, the database's, the operator's name in the log, its name in the database; unknown words last."""
    place = Places([typed]).place(told)
    assert (place.kind, place.wide) == (kind, False)


@pytest.mark.parametrize(
    "told",
    [
        Told("198.51.100.9"),
        Told("198.51.100.9", "UA", "Kyiv", 50.4, 30.5, "AS64500"),
        Told("192.0.2.1", "UA", provider="Acme VPN"),
        Told("203.0.113.9", "UA", network_type="proxy"),
        Told("10.0.0.1", "UA", network_type="vpn"),
    ],
)
def test_vpns_are_wide_and_stay_vpns(told: Told, typed: str) -> None:
    """Who uses one hops countries there: it has no country, city, operator or coordinates."""
    place = Places([typed]).place(told)
    assert (place.wide, place.kind) == (True, "vpn")
    assert (place.country, place.city, place.provider, place.zone) == ("", "", "", "UTC")
    assert math.isnan(place.latitude)
    assert place.network == f"{str(told.address).rpartition('.')[0]}.0/24"


def test_wide_ranges_keep_what_their_network_is_for(typed: str, tmp_path: Path) -> None:
    """Those of files by all that is told of them, private addresses by the log alone."""
    (tmp_path / "carrier.txt").write_text("203.0.113.0/24\n")
    known = Places([typed], [str(tmp_path / "carrier.txt")])
    kinds = [
        known.place(told).kind
        for told in (
            Told("203.0.113.9", "UA"), Told("203.0.113.9", network_type="mobile"), Told("10.0.0.1"),
            Told("10.0.0.1", network_type="business"),
        )
    ]  # fmt: skip
    assert kinds == ["home", "mobile", "", "business"]
    assert known.place(Told("203.0.113.9", "UA")).country == ""


def test_rows_tell_kinds_as_numbers(typed: str) -> None:
    """The place in the list of kinds; one by one as all at once."""
    events = logins(
        ip=["203.0.113.9", "203.0.113.9", "203.0.113.200", "198.51.100.9", None],
        network_type=[None, "Cellular", "", None, "tor"],
        country=["UA"] * 5,
    )
    context = login_context(events, geoip=typed)
    assert context["kind"].to_list() == [KINDS.index("home"), MOBILE, HOSTING, VPN, VPN]
    assert context["wide"].to_list() == [0, 0, 0, 1, 1]
    assert context["country"].to_list() == ["UA", "UA", "UA", "", ""]
    assert pl.concat([login_context(part, geoip=typed) for part in events.iter_slices(1)]).equals(context)
    assert same(context, [tuple(login_of(row, geoip=typed).values()) for row in events.iter_rows(named=True)])


def test_a_device_column_counts_where_there_is_no_user_agent() -> None:
    """Row by row."""
    context = login_context(logins(user_agent=[FIREFOX, None, "-"], device=["laptop", "laptop", None]))
    assert context["device"].to_list() == ["Firefox, Linux", "laptop", ""]
    assert context["browser"].to_list() == ["Firefox 44", "laptop", ""]


TEXTS = (
    st.none() | st.text(max_size=20) | st.sampled_from(["10.0.0.1", "203.0.113.9", "2001:db8::1", "US", "Kyiv", "-"])
)
DEGREES = st.none() | st.floats() | st.floats(-90, 90)
ROWS = st.fixed_dictionaries(
    {
        "time": st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds
        "action": st.sampled_from(["login", "buy"]),
        "outcome": st.sampled_from(["success", "failure", "unknown"]),
        **dict.fromkeys(("ip", "country", "city", "user_agent", "device"), TEXTS),
        "provider": TEXTS | st.sampled_from(["AS64500 Acme Mobile", "Acme VPN", "64500"]),
        "network_type": TEXTS | st.sampled_from(["hosting", "VPN", "ISP/MOB", "wifi"]),
        "latitude": DEGREES,
        "longitude": DEGREES,
    }
)
SCHEMA = {"time": pl.Datetime("us", "UTC"), "action": pl.String, "outcome": pl.String} | {
    role: pl.Float64 if role.endswith("tude") else pl.String
    for role in ("ip", "country", "city", "provider", "network_type", "user_agent", "device", "latitude", "longitude")
}


@given(st.lists(ROWS, min_size=2, max_size=6))
def test_one_by_one_is_the_same_as_all_at_once(rows: list[dict[str, Any]]) -> None:
    """Whatever the values are: no error, no null, and each row follows from its event alone."""
    frame = pl.DataFrame(rows, schema=SCHEMA)
    together = login_context(frame)
    assert dict(together.schema) == LOGIN_SCHEMA
    assert sum(together.null_count().row(0)) == 0
    assert pl.concat([login_context(part) for part in frame.iter_slices(1)]).equals(together)
    assert same(together, [tuple(login_of(row).values()) for row in rows])
    assert together.filter(wide=1).select("country", "city", "provider").unique().rows() in ([], [("", "", "")])
    assert together.filter(kind=VPN)["wide"].unique().to_list() in ([], [1])
    assert together["kind"].is_between(0, len(KINDS) - 1).all()


def test_values_of_other_kinds_are_no_error() -> None:
    """Events of an application may hold anything, such as half a character."""
    told = login_of({"time": NOON, "action": "login", "ip": 7, "country": "\ud800", "latitude": "x", "longitude": b"1"})
    assert (told["address"], told["country"], told["hour"]) == ("", "", 12)
    assert login_of({"time": NOON})["login"] == 0
    assert place_of({"country": "FR"}).zone == "Europe/Paris"


def test_remembered_texts_are_short() -> None:
    """What attackers make long takes no more memory than what is not."""
    long = Told("9" * 1_000_000, "x" * 1_000_000, "y" * 1_000_000, 1.0, 2.0, "z" * 1_000_000).short()
    assert [len(text) for text in (long.address, long.country, long.city, long.provider) if text] == [100] * 4
    assert (long.latitude, long.longitude, long.network_type) == (1.0, 2.0, None)
    typed = Told("203.0.113.9", "UA", network_type="hosting" + " " * 1_000_000).short()
    assert typed == Told("203.0.113.9", "UA", network_type="hosting" + " " * 93)


def test_files_are_opened_once_and_again_when_they_change(tmp_path: Path) -> None:
    """A database is renewed while amiss runs."""
    path = tmp_path / "vpn.txt"
    path.write_text("198.51.100.0/24\n")
    event = {"ip": "203.0.113.9"}
    first = places(wide=path)
    assert places(wide=[path]) is first
    assert not place_of(event, wide=path).wide
    path.write_text("203.0.113.0/24\n")
    os.utime(path, (1, 1))
    assert place_of(event, wide=path).wide


def test_a_file_that_breaks_meanwhile_is_said_and_the_old_one_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Judging logins does not stop because a download did; it is said once for each change."""
    path = tmp_path / "vpn.txt"
    path.write_text("203.0.113.0/24\n")
    event = {"ip": "203.0.113.9"}
    assert place_of(event, wide=path).wide
    with caplog.at_level(logging.WARNING):
        path.write_text("<html>\n")
        assert [place_of(event, wide=path).wide for _ in range(3)] == [True] * 3
        path.unlink()
        assert [place_of(event, wide=path).wide for _ in range(3)] == [True] * 3
    assert sum("going on with what was there before" in record.message for record in caplog.records) == 2


def test_a_file_that_was_never_there_is_an_error(tmp_path: Path) -> None:
    """With its name."""
    with pytest.raises(ConfigError, match=r"absent\.mmdb: expected a database or a list of networks, but No such file"):
        login_context(logins(ip=["203.0.113.9"]), geoip=str(tmp_path / "absent.mmdb"))
    assert place_of({"ip": "203.0.113.9"}, geoip="", wide=[""]).network == "203.0.113.0/24"


def test_many_rows_of_few_places_are_told_apart_quickly() -> None:
    """Each distinct value is looked at once: a shared office's day is one address."""
    rows = 20_000
    events = logins(
        ip=[f"203.0.113.{number % 50}" for number in range(rows)],
        user_agent=[FIREFOX] * rows,
        time=[NOON + timedelta(seconds=number) for number in range(rows)],
    )
    known = places()
    before = known._recalled.cache_info()
    context = login_context(events)
    after = known._recalled.cache_info()
    assert after.hits + after.misses - before.hits - before.misses == 50
    assert context["address"].to_list()[:51] == [*(f"203.0.113.{number}" for number in range(50)), "203.0.113.0"]
