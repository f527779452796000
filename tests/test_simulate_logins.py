"""Simulated logins: people who live plausibly, attackers at the rate that was asked for, the truth apart."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import ipaddress
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from amiss.errors import SinkError, UsageError
from amiss.simulate.logins import Life, Simulated, simulate, write_logins
from amiss.simulate.world import BROADBAND, MOBILE, VPN, world

COLUMNS = "time user action outcome ip country city latitude longitude user_agent provider".split()
KINDS = ["world", "country", "spray", "theft"]


@pytest.fixture(scope="module")
def made() -> Simulated:
    """Sixty days of 600 users, with one attack in a hundred logins."""
    return simulate(users=600, seed=3, attack_rate=0.01)


@pytest.fixture(scope="module")
def known(made: Simulated) -> pl.DataFrame:
    """Its events with all that is known of them."""
    frame = pl.concat([made.events, made.circumstances], how="horizontal").with_row_index("position", 1)
    frame = frame.with_columns(pl.col("position").cast(pl.Int64))
    return frame.join(made.truth.select("position", "attack", "incident"), on="position", how="left")


@pytest.fixture(scope="module")
def real(known: pl.DataFrame) -> pl.DataFrame:
    """The logins of users that succeeded."""
    return known.filter(pl.col("attack").is_null(), outcome="success")


@pytest.fixture(scope="module")
def attacks(known: pl.DataFrame) -> pl.DataFrame:
    """The events of attackers."""
    return known.drop_nulls("attack")


def km(first: pl.DataFrame, second: pl.DataFrame) -> np.ndarray:
    """Kilometres between places, by the law of cosines."""
    (a, b), (c, d) = (np.radians(frame.select("latitude", "longitude").to_numpy().T) for frame in (first, second))
    return 6371 * np.arccos(np.clip(np.sin(a) * np.sin(c) + np.cos(a) * np.cos(c) * np.cos(b - d), -1, 1))


def test_the_same_seed_gives_the_same_log_and_another_seed_another() -> None:
    """A simulation can be repeated."""
    first, again, other = (simulate(users=40, days=20, seed=seed) for seed in (1, 1, 2))
    assert_frame_equal(first.events, again.events)
    assert_frame_equal(first.truth, again.truth)
    assert not first.events.equals(other.events)


def test_the_log_has_the_columns_of_logins_and_no_word_of_attacks(made: Simulated) -> None:
    """The truth is never in the log."""
    assert made.events.columns == COLUMNS
    assert made.events.null_count().row(0) == (0,) * len(COLUMNS)
    assert made.events["action"].unique().to_list() == ["login"]


def test_events_are_in_order_and_fill_the_days_from_midnight_to_midnight(made: Simulated) -> None:
    """Sixty days of UTC, each with logins, in milliseconds."""
    time = made.events["time"]
    assert time.is_sorted()
    assert (time.dt.epoch("us") % 1000 == 0).all()
    assert time.dt.date().unique().sort().to_list() == [dt.date(2026, 2, 2) + dt.timedelta(day) for day in range(60)]


def test_users_log_in_as_often_as_asked_for_and_some_far_more_than_others(real: pl.DataFrame) -> None:
    """About two logins per user and day; the busiest tenth has ten times those of the quietest."""
    counts = real.group_by("user").len()["len"]
    assert 1.7 < real.height / 600 / 60 < 2.6
    assert counts.quantile(0.9) > 10 * counts.quantile(0.1)


def test_the_truth_covers_exactly_the_attackers_events(made: Simulated, known: pl.DataFrame) -> None:
    """Positions count from 1; users and outcomes there are those of the log at that place."""
    assert (made.circumstances["circumstance"] == "attack").arg_true().to_list() == (
        made.truth["position"] - 1
    ).to_list()
    assert made.truth["position"].is_sorted()
    there = made.events[(made.truth["position"] - 1).to_list()]
    assert_frame_equal(made.truth.select("user", "outcome"), there.select("user", "outcome"))
    assert known["attack"].is_not_null().sum() == made.truth.height


def test_attackers_log_in_at_the_rate_asked_for_in_equal_parts(real: pl.DataFrame, attacks: pl.DataFrame) -> None:
    """One login in a hundred, a quarter of them of each kind."""
    succeeded = attacks.filter(outcome="success")
    counts = succeeded["attack"].value_counts()
    assert succeeded.height == round(0.01 * real.height)
    assert sorted(counts["attack"]) == sorted(KINDS)
    assert counts["count"].max() - counts["count"].min() <= 1


def test_attacks_are_bursts_of_one_to_three_logins_from_one_place(attacks: pl.DataFrame) -> None:
    """All logins of an attack on one user come from one address with one browser, within two hours or so."""
    succeeded = attacks.filter(outcome="success")
    bursts = succeeded.group_by("incident", "user").agg(
        pl.len(),
        pl.col("ip", "user_agent").n_unique(),
        hours=(pl.col("time").max() - pl.col("time").min()).dt.total_hours(),
    )
    assert sorted(bursts["len"].unique()) == [1, 2, 3]
    assert bursts["ip"].max() == bursts["user_agent"].max() == 1
    assert bursts["hours"].max() < 6


def test_attackers_of_the_world_come_from_other_countries_and_targeted_ones_from_the_same(
    attacks: pl.DataFrame,
) -> None:
    """The user's own country is what the two kinds differ by."""
    home = pl.col("country") == pl.col("home_country")
    shares = dict(attacks.group_by("attack").agg(home.mean()).rows())
    assert shares["world"] < 0.03
    assert shares["country"] > 0.97
    assert 0.3 < shares["theft"] < 0.7


def test_attackers_come_from_addresses_that_no_user_has(real: pl.DataFrame, attacks: pl.DataFrame) -> None:
    """Networks may be those of users; but for chance, addresses are not."""
    assert attacks.join(real.select("ip").unique(), on="ip", how="semi").height < 0.02 * attacks.height


def test_a_thief_uses_the_browser_that_the_victim_used_in_the_hours_before(
    real: pl.DataFrame, attacks: pl.DataFrame
) -> None:
    """The same user agent, character for character."""
    for theft in (
        attacks.filter(attack="theft").unique("incident", keep="first", maintain_order=True).iter_rows(named=True)
    ):
        before = real.filter(user=theft["user"]).filter(
            pl.col("time").is_between(theft["time"] - dt.timedelta(hours=7), theft["time"])
        )
        assert theft["user_agent"] in before["user_agent"]


def test_a_spray_tries_many_users_from_few_addresses_and_fits_few(attacks: pl.DataFrame) -> None:
    """Forty users or more from up to three addresses within an hour or two; four fit at the most."""
    sprays = attacks.filter(attack="spray").group_by("incident").agg(
        pl.col("ip", "user", "user_agent").n_unique(),
        fits=pl.col("user").filter(outcome="success").n_unique(),
        span=pl.col("time").max() - pl.col("time").min(),
    )  # fmt: skip
    assert sprays["user"].min() >= 40
    assert sprays["ip"].max() <= 3
    assert sprays["fits"].max() <= 4
    assert sprays["user_agent"].max() == 1
    assert sprays["span"].max() < dt.timedelta(hours=3)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_attacks_can_be_chosen(kind: str) -> None:
    """Only the kind asked for comes, and none in the days that are to be without."""
    made = simulate(users=100, days=20, attack_rate=0.02, attacks=[kind], attacks_after=10)
    assert made.truth["attack"].unique().to_list() == [kind]
    assert made.events["time"][made.truth["position"][0] - 1] >= dt.datetime(2026, 2, 12, tzinfo=dt.UTC)


def test_without_attacks_the_truth_is_empty() -> None:
    """A rate of nothing gives nothing, in the same columns."""
    truth = simulate(users=30, days=5, attack_rate=0).truth
    assert truth.height == 0
    assert truth.columns == ["position", "user", "attack", "incident", "outcome"]


def test_users_travel_no_faster_than_airliners(real: pl.DataFrame) -> None:
    """Logins of a user 500 km or more apart are hours apart enough, VPNs left aside; and users do travel."""
    own = real.filter(pl.col("circumstance") != "vpn").sort("user", "time", maintain_order=True)
    before, after = own[:-1], own[1:]
    same = (before["user"] == after["user"]).to_numpy()
    far = km(before, after)
    hours = (after["time"] - before["time"]).dt.total_microseconds().to_numpy() / 3.6e9
    jumps = same & (far >= 500)
    assert jumps.sum() > 100
    assert (far[jumps] / hours[jumps]).max() < 900


def test_travellers_are_abroad_for_days_and_take_their_devices_along(real: pl.DataFrame) -> None:
    """Some are seen in other countries, and most of those logins are from devices that were also at home."""
    abroad = real.filter(pl.col("circumstance").str.starts_with("trip"), pl.col("country") != pl.col("home_country"))
    at_home = real.filter(circumstance="home")
    assert abroad["user"].n_unique() > 30
    assert abroad.join(at_home, on="device", how="semi").height > 0.8 * abroad.height


def test_a_change_of_clocks_leaves_the_local_hours_as_they_were() -> None:
    """Summer time in Europe: office workers come at the same hours of their clocks, an hour earlier by UTC."""
    made = simulate(users=1500, days=28, seed=8, date=dt.date(2026, 3, 15), attack_rate=0, life=Life(office=1))
    zones = {"Europe/London", "Europe/Paris", "Europe/Berlin", "Europe/Madrid", "Europe/Rome", "Europe/Warsaw"}
    zone_of = {city: world().zones[world().zone[number]] for number, city in enumerate(world().cities)}
    office = made.events.filter(made.circumstances["circumstance"] == "office")
    office = office.with_columns(zone=pl.col("city").replace_strict(zone_of), utc=pl.col("time").dt.hour() * 1.0)
    office = office.filter(pl.col("zone").is_in(zones), pl.col("utc").is_between(6, 16))
    local = [part.with_columns(local=part["time"].dt.convert_time_zone(zone).dt.hour() * 1.0)
             for (zone,), part in office.partition_by("zone", as_dict=True).items()]  # fmt: skip
    summer = pl.col("time") >= dt.datetime(2026, 3, 29, 1, tzinfo=dt.UTC)
    hours = pl.concat(local).group_by("user", summer.alias("summer")).agg(pl.len(), pl.col("local", "utc").mean())
    both = hours.filter(pl.col("len") >= 5).pivot("summer", index="user", values=["local", "utc"]).drop_nulls()
    assert both.height > 50
    assert abs((both["local_true"] - both["local_false"]).mean()) < 0.25
    assert abs((both["utc_true"] - both["utc_false"]).mean() + 1) < 0.35


def test_an_hour_that_clocks_skip_has_no_logins() -> None:
    """Nobody logs in between 2 and 3 o'clock when the clocks go from 2 to 3; `utc` says so with -1."""
    city = np.array([world().cities.index("Berlin")])
    midnight, minute = int(dt.datetime(2026, 3, 29, tzinfo=dt.UTC).timestamp()) * 10**6, 60 * 10**6
    assert world().utc(np.array([midnight + 150 * minute]), city).tolist() == [-1]
    assert world().utc(np.array([midnight + 210 * minute]), city).tolist() == [midnight + 90 * minute]


def test_offices_share_an_address_and_close_at_the_weekend(real: pl.DataFrame) -> None:
    """Some address has 20 users or more; of the logins there, where Sundays are free, hardly any is on a UTC Sunday."""
    office = real.filter(circumstance="office")
    assert office.group_by("ip").agg(pl.col("user").n_unique())["user"].max() >= 20
    at_home = office.filter(pl.col("country").is_in(["CN", "IN", "GB", "JP", "US", "MX", "BR"]))
    assert at_home.height > 1000
    assert (at_home["time"].dt.weekday() == 7).mean() < 0.06


def test_phones_change_addresses_often_and_stay_with_their_carrier(real: pl.DataFrame) -> None:
    """Nearly every other mobile login of a user has a new address; the provider at home is always the same."""
    mobile = real.filter(circumstance="mobile").group_by("user").agg(pl.len(), pl.col("ip", "provider").n_unique())
    mobile = mobile.filter(pl.col("len") >= 20)
    assert (mobile["ip"] / mobile["len"]).mean() > 0.5
    assert mobile["provider"].max() == 1


def test_browsers_never_go_back_on_a_device(real: pl.DataFrame) -> None:
    """Versions of one device only rise, and nearly all rise within two months."""
    version = pl.col("user_agent").str.extract_groups(
        r"(?:Firefox|Edg|OPR|SamsungBrowser|CriOS|Version|Chrome)/(\d+)\.(\d+)"
    )
    own = real.filter(pl.col("circumstance") != "borrowed", ~pl.col("user_agent").str.contains("; wv"))
    steps = own.with_columns(number=version.struct["1"].cast(int) * 1000 + version.struct["2"].cast(int))
    steps = steps.sort("device", "time").with_columns(step=pl.col("number").diff().over("device"))
    assert steps["number"].null_count() == 0
    assert steps["step"].min() == 0
    often = steps.group_by("device").agg(pl.len(), pl.col("number").n_unique()).filter(pl.col("len") > 50)
    assert (often["number"] > 1).mean() > 0.9


def test_one_release_reaches_nearly_everybody_within_a_day_and_others_take_days(real: pl.DataFrame) -> None:
    """Of those with Chrome, over 90 % move from one day to the next but one, once; mostly it is under 40 %."""
    chrome = real.filter(pl.col("user_agent").str.contains(r"Chrome/\d+\.0\.0\.0( Mobile)? Safari/537\.36$"))
    chrome = chrome.with_columns(
        day=pl.col("time").dt.date(), version=pl.col("user_agent").str.extract(r"Chrome/(\d+)")
    )
    newest = (
        chrome.group_by("day", "version").len().sort("day").pivot("version", index="day", values="len").fill_null(0)
    )
    shares = newest.select(pl.exclude("day") / pl.sum_horizontal(pl.exclude("day"))).to_numpy()
    moved = (shares[2:] - shares[:-2]).max(axis=1)
    assert moved.max() > 0.85
    assert np.sort(moved)[-12] < 0.5


def test_some_users_get_a_new_phone(real: pl.DataFrame) -> None:
    """Forty percent a year: of 600 users about 40 in two months change from their first slot to the second."""
    phones = real.filter(pl.col("circumstance") != "borrowed").with_columns(
        slot=pl.col("device") % 7, owner=pl.col("device") // 7
    )
    changed = phones.filter(pl.col("slot") == 1)["owner"].n_unique()
    assert 15 < changed < 60
    first = phones.filter(slot=1).group_by("owner").agg(new=pl.col("time").min())
    last = phones.filter(slot=0).group_by("owner").agg(old=pl.col("time").max())
    assert first.join(last, on="owner").filter(pl.col("old") > pl.col("new") + dt.timedelta(days=1)).height == 0


def test_vpn_days_come_from_published_ranges_in_other_countries(made: Simulated, real: pl.DataFrame) -> None:
    """All addresses of VPN exits and none of others lie in the ranges; carriers' ranges hold those of phones."""
    ranges = [ipaddress.ip_network(text) for text in made.vpn_ranges]
    carriers = {ipaddress.ip_network(text) for text in made.carrier_ranges}
    exits = real.filter(circumstance="vpn")
    assert exits.height > 100
    assert (exits["country"] != exits["home_country"]).mean() > 0.6
    assert all(any(ipaddress.ip_address(ip) in net for net in ranges) for ip in exits["ip"].unique())
    homes = real.filter(circumstance="home")["ip"].unique().head(300)
    assert not any(ipaddress.ip_address(ip) in net for ip in homes for net in ranges)
    phones = [ipaddress.ip_address(ip) for ip in real.filter(circumstance="mobile")["ip"].unique().head(200)]
    assert all(ipaddress.ip_network((ip, 22 if ip.version == 4 else 40), strict=False) in carriers for ip in phones)


def test_passwords_are_mistyped_seconds_before_a_login_in_the_same_place(known: pl.DataFrame) -> None:
    """Five failures in a hundred logins, each followed by a login of the user from the same browser within a minute."""
    own = known.filter(pl.col("attack").is_null()).sort("user", "time")
    failures = own.filter(outcome="failure")
    assert 0.03 < failures.height / own.filter(outcome="success").height < 0.08
    good = own.filter(outcome="success").select("user", "user_agent", "time", fits="time")
    followed = failures.sort("time").join_asof(
        good.sort("time"), on="time", by=["user", "user_agent"], strategy="forward", check_sortedness=False
    )
    assert ((followed["fits"] - followed["time"]).dt.total_seconds() < 60).all()


def test_other_actions_follow_logins_when_asked_for() -> None:
    """Two per login, logouts among them; logins stay the same ones."""
    bare, full = simulate(users=50, days=10), simulate(users=50, days=10, other_actions=2.0)
    counts = dict(full.events["action"].value_counts().rows())
    assert counts["login"] == bare.events.height
    assert 1.8 < (full.events.height - bare.events.height) / bare.events.height < 2.1
    assert counts["logout"] > 0


def test_addresses_are_routable_ones_and_each_lies_in_one_city(made: Simulated) -> None:
    """No private, reserved or documentation address; IPv6 too; the address says the city, country and provider."""
    addresses = made.events.select("ip", "city", "country", "provider").unique()
    parsed = [ipaddress.ip_address(ip) for ip in addresses["ip"]]
    assert all(ip.is_global for ip in parsed)
    assert {ip.version for ip in parsed} == {4, 6}
    assert all(str(ip) == text for ip, text in zip(parsed, addresses["ip"], strict=True))
    assert addresses["ip"].n_unique() == addresses.height


def test_providers_are_nobody_s() -> None:
    """Numbers of autonomous systems are those for private use, above 4,200,000,000."""
    assert len(set(world().providers)) == len(world().providers)
    assert all(4_200_000_000 < int(name.split()[0].removeprefix("AS")) < 4_294_967_295 for name in world().providers)


def test_pools_of_addresses_do_not_overlap() -> None:
    """What two pools have is never the same address."""
    for kind in (BROADBAND, MOBILE, VPN):
        assert len(set(world().networks(kind))) == len(world().networks(kind))
    pools = sorted(world().pools, key=lambda pool: pool.start)
    assert all(one.start + (1 << one.bits) <= two.start for one, two in pairwise(pools))


def test_the_world_has_sixty_countries_and_zones_that_exist() -> None:
    """Three hundred cities; every zone is one that Python knows."""
    assert len(world().countries) >= 60
    assert len(world().cities) >= 300
    for zone in world().zones:
        ZoneInfo(zone)
    assert np.abs(world().latitude).max() < 75
    assert world().km[world().cities.index("Paris"), world().cities.index("New York")] == pytest.approx(5837, abs=30)


@pytest.mark.parametrize("days", [1, 2])
def test_small_logs_can_be_made(days: int) -> None:
    """One user on one day, with as many attacks as there can be."""
    made = simulate(users=1, days=days, seed=1, attack_rate=0.5)
    assert made.events.columns == COLUMNS


def test_what_is_out_of_range_is_said_all_at_once() -> None:
    """Each mistake has its line, near names are offered."""
    with pytest.raises(UsageError) as raised:
        simulate(users=0, days=0, attack_rate=2, attacks=["spry"], attacks_after=-1)
    message = str(raised.value)
    assert message.count("\n") == 4
    assert 'spry is no kind of attack. Did you mean "spray"?' in message


def test_lives_cannot_be_eventful_less_than_never() -> None:
    """Shares are from 0 to 1 and rates not negative."""
    with pytest.raises(UsageError, match="vpn is 2; expected 0 to 1"):
        Life(vpn=2)
    with pytest.raises(UsageError, match="trips_per_year is -1"):
        Life(trips_per_year=-1)


def test_quiet_lives_have_no_travel_and_no_vpn() -> None:
    """What is set to nothing does not come."""
    quiet = Life(trips_per_year=0, vpn=0, borrowed=0, wrong_passwords=0, office=0, ipv6=0)
    made = simulate(users=80, days=20, life=quiet, attack_rate=0)
    assert set(made.circumstances["circumstance"]) == {"home", "mobile", "second home", "cafe"}
    assert made.events["outcome"].unique().to_list() == ["success"]
    assert not made.events["ip"].str.contains(":").any()


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.csv.gz", "log.jsonl.gz"])
def test_files_hold_what_python_gives(name: str, tmp_path: Path) -> None:
    """CSV or NDJSON, compressed or not, by the name; times in ISO 8601."""
    report = write_logins(tmp_path / name, users=20, days=4, seed=5)
    expected = simulate(users=20, days=4, seed=5).events
    raw = (tmp_path / name).read_bytes()
    text = (gzip.decompress(raw) if name.endswith(".gz") else raw).decode()
    rows = (
        list(csv.DictReader(text.splitlines())) if "csv" in name else [json.loads(line) for line in text.splitlines()]
    )
    assert report.events == len(rows) == expected.height
    assert list(rows[0]) == COLUMNS
    assert [row["time"] for row in rows] == expected["time"].dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_list()
    assert [row["ip"] for row in rows] == expected["ip"].to_list()


def test_truth_and_ranges_go_to_files_of_their_own(tmp_path: Path) -> None:
    """A row per attacker's event; a network a line."""
    names = {name: tmp_path / name for name in ("truth", "ranges", "carriers")}
    write_logins(tmp_path / "log.csv", users=60, days=10, attack_rate=0.02, **names)
    rows = list(csv.DictReader(names["truth"].read_text().splitlines()))
    log = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert rows
    assert all(log[int(row["position"]) - 1]["user"] == row["user"] for row in rows)
    assert all(
        ipaddress.ip_network(line) for name in ("ranges", "carriers") for line in names[name].read_text().splitlines()
    )


def test_two_things_are_not_written_to_one_file(tmp_path: Path) -> None:
    """Neither over the other, and nothing is written."""
    with pytest.raises(UsageError, match="two things"):
        write_logins(tmp_path / "log.csv", users=5, truth=tmp_path / "log.csv")
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """The message names the file."""
    with pytest.raises(SinkError, match="nowhere"):
        write_logins(tmp_path / "nowhere" / "log.csv", users=5, days=2)


def test_the_command_writes_to_stdout_and_speaks_on_stderr() -> None:
    """Events go to stdout as NDJSON, a sentence to stderr."""
    command = [
        sys.executable,
        "-m",
        "amiss",
        "simulate",
        "logins",
        "--users",
        "10",
        "--days",
        "3",
        "--attacks",
        "world,theft",
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(ran.stdout.splitlines()[0])["action"] == "login"
    assert "events of" in ran.stderr
