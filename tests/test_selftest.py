"""What an installation would catch: attacks on copies of its log, judged as a scan judges."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.commands import Run
from tests.test_geo import database

import amiss
from amiss import escape
from amiss.attacks import ATTACKS, DAY, Draw, Scene, burst, drift, replay, scope, swap
from amiss.attacks import amount as odd_amount
from amiss.attacks import country as new_country
from amiss.attacks import device as new_device
from amiss.attacks import silence as falls_silent
from amiss.copies import Kept, injected
from amiss.decide import Budget
from amiss.detect import Detector, detector
from amiss.events import EVENT_SCHEMA
from amiss.quality import SelfTest, selftest, wilson
from amiss.sessions import SESSION_GAP
from amiss.trials import Judge, Planner, outcomes

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
FIRST = MONDAY.toordinal() - datetime(1970, 1, 1, tzinfo=UTC).toordinal()
DOES = {"b": ["login", "view", "buy"], "s": ["login", "list", "sell"]}


def market(days: int = 3, of_a_kind: int = 20, events: int = 12) -> pl.DataFrame:
    """Buyers and sellers, whose events of a day come a minute apart."""
    rows = [
        (MONDAY + timedelta(days=day, hours=9 + number % 3, minutes=event), f"{kind}{number}", DOES[kind][event % 3])
        for day in range(days)
        for event in range(events)
        for kind in DOES
        for number in range(of_a_kind)
    ]
    return pl.DataFrame(rows, schema=["time", "user", "action"], orient="row").sort("time", maintain_order=True)


def event_frame(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows as an event frame."""
    typed = rows.with_columns(
        position=pl.int_range(1, len(rows) + 1, dtype=pl.Int64), outcome=pl.lit("success"),
        time=pl.col("time").cast(pl.Datetime("us", "UTC")),
    )  # fmt: skip
    return typed.select(*EVENT_SCHEMA, *(name for name in rows.columns if name not in EVENT_SCHEMA))


def scene_of(rows: pl.DataFrame, *detectors: Detector) -> Scene:
    """A scene of these rows."""
    return Scene(event_frame(rows), detectors)


def draw(scene: Scene, name: str, day: int = FIRST, *more: int, seed: int = 1) -> Draw:
    """A draw of a user on a day."""
    user = scene.users.find(name)
    assert user is not None
    return Draw(user, day, (day, *more), np.random.default_rng(seed))


def logins() -> pl.DataFrame:
    """Twenty users, half from France and half from Peru, who log in on each of six days."""
    rows = [
        (MONDAY + timedelta(days=day, hours=8, minutes=number), f"u{number}", "login",
         f"{20 + number}.0.0.{number}", "FR" if number < 10 else "PE", f"phone {number}")
        for day in range(6) for number in range(20)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=["time", "user", "action", "ip", "country", "device"], orient="row")


# --- attacks


def test_a_swap_puts_anothers_later_events_in_place_of_the_victims():
    """From its first event on nothing of the victim's own is left, and what comes is of somebody else that day."""
    scene = scene_of(market())
    made = swap(scene, draw(scene, "b0"))
    assert made is not None
    began = made.rows["time"].min()
    gone = scene.events[made.removed]
    assert made.rows["user"].unique().to_list() == ["b0"]
    assert gone["user"].unique().to_list() == ["b0"]
    copy = injected(scene, [made]).filter(pl.col("user") == "b0", pl.col("time").dt.date() == MONDAY.date())
    own = copy.filter(pl.col("position") <= len(scene.events))
    assert own.filter(pl.col("time") >= began).is_empty()
    assert len(copy) == 12 - len(gone) + len(made.rows)


def test_a_replay_takes_the_session_least_like_the_victims():
    """Where there are sellers, a buyer gets a seller's session, whole and at its own time."""
    made = replay(scene := scene_of(market()), draw(scene, "b0"))
    assert made is not None
    assert sorted(made.rows["action"].unique()) == ["list", "login", "sell"]
    assert len(made.rows) == 12
    assert not len(made.removed)


def test_a_burst_is_ten_times_the_busiest_hour_within_an_hour():
    """Twelve events of an hour become 120 more, of one action, at even pace."""
    made = burst(scene := scene_of(market()), draw(scene, "b0"))
    assert made is not None
    assert len(made.rows) == 120
    assert made.rows["action"].n_unique() == 1
    assert made.rows["time"].diff().drop_nulls().unique().to_list() == [timedelta(seconds=30)]


def test_a_burst_late_at_night_stays_on_its_day():
    """Whoever acts only just before midnight is not attacked on the day behind."""
    late = market(1).with_columns(time=pl.col("time").dt.truncate("1d") + pl.duration(hours=23, minutes=59))
    made = burst(scene := scene_of(late), draw(scene, "b0"))
    assert made is not None
    assert made.rows["time"].dt.date().unique().to_list() == [MONDAY.date()]


def test_a_drift_replaces_more_from_day_to_day():
    """Of 100 events a day 1, 2, 5, 10, 20, 40 and 80 are another user's, one more or less as the lot falls."""
    scene = scene_of(market(days=7, of_a_kind=5, events=100))
    days = range(FIRST + 1, FIRST + 7)
    made = drift(scene, draw(scene, "b0", FIRST, *days))
    assert made is not None
    by_day = made.rows.group_by(pl.col("time").dt.date()).len().sort("time")["len"].to_numpy()
    assert np.abs(by_day - [1, 2, 5, 10, 20, 40, 80]).max() <= 1
    assert len(made.removed) == len(made.rows)
    assert made.rows["time"].is_sorted()


def test_a_drift_takes_four_days():
    """Who comes on three of the days is no victim of one."""
    scene = scene_of(market(days=3))
    assert drift(scene, draw(scene, "b0", FIRST, FIRST + 1, FIRST + 2)) is None


def test_a_new_country_is_one_of_another_user_with_their_device():
    """A login of somebody from France then comes from Peru, as some user there does."""
    scene = scene_of(logins(), detector("login"))
    made = new_country(scene, draw(scene, "u3", FIRST + 4))
    assert made is not None
    row = made.rows.row(0, named=True)
    assert (row["user"], row["action"], row["country"]) == ("u3", "login", "PE")
    donor = int(row["device"].removeprefix("phone "))
    assert (row["ip"], donor >= 10) == (f"{20 + donor}.0.0.{donor}", True)


def test_where_all_are_from_one_country_a_login_comes_from_an_address_abroad(tmp_path: Path):
    """The database of the detector tells which addresses are; the log's own columns of places say nothing then."""
    here, abroad = {"country": {"iso_code": "FR"}}, {"country": {"iso_code": "PE"}}
    path = database(tmp_path / "geo.mmdb", {"16.0.0.0/4": here, "32.0.0.0/3": here, "128.0.0.0/1": abroad})
    scene = scene_of(logins().drop("country"), detector("login", geoip=path))
    made = new_country(scene, draw(scene, "u3", FIRST + 4))
    assert made is not None
    row = made.rows.row(0, named=True)
    assert int(row["ip"].split(".")[0]) >= 128
    assert row["device"] not in ("phone 3", None)


def test_a_new_device_comes_from_the_victims_country():
    """A login with another device, from another network, stays in France."""
    scene = scene_of(logins(), detector("login"))
    made = new_device(scene, draw(scene, "u3", FIRST + 4))
    assert made is not None
    row = made.rows.row(0, named=True)
    assert row["country"] == "FR"
    assert row["device"] not in ("phone 3", None)


def test_silence_takes_who_comes_on_most_days_and_spares_the_last_day():
    """All events of the day go; on a log's last day nobody falls silent, as it may not be over."""
    scene = scene_of(logins(), detector("activity"))
    made = falls_silent(scene, draw(scene, "u3", FIRST + 4))
    assert made is not None
    assert (len(made.removed), len(made.rows)) == (1, 0)
    assert falls_silent(scene, draw(scene, "u3", FIRST + 5)) is None


def test_an_odd_amount_is_ten_times_the_most_of_the_day():
    """Who paid at most 8.00 pays 80.00 once more."""
    rows = market(1, 3, 3).with_columns(
        action=pl.lit("purchase"), amount_cents=pl.Series([500, 800, 100] * 6), other_user=pl.lit(None, pl.String())
    )
    scene = scene_of(rows, detector("purchase"))
    made = odd_amount(scene, draw(scene, "b1"))
    assert made is not None
    assert made.rows["amount_cents"].to_list() == [8000]


def test_out_of_scope_is_only_what_the_victim_is_not_entitled_to():
    """Whose access ended keeps that of their own, whatever they do: all that anybody does is out of bounds."""
    rows = market(1).with_columns(until=pl.when(pl.col("user") == "b0").then(pl.lit("2026-01-01")).otherwise(None))
    scene = scene_of(rows, detector("entitlement", end="until"))
    made = scope(scene, draw(scene, "b0"))
    assert made is not None
    assert made.rows["until"].unique().to_list() == ["2026-01-01"]
    assert 1 <= len(made.rows) <= 5
    assert scope(scene, draw(scene, "b1")) is None


def test_what_a_log_says_of_users_stays_the_victims():
    """A column of one value a user is the victim's in injected events; one that changes is not."""
    rows = market(1).with_columns(cohort=pl.col("user").str.head(1), note=pl.int_range(pl.len()).cast(pl.String()))
    scene = scene_of(rows)
    under = scene.under(scene.users.find("b0") or 0, np.array([1, 21]))
    assert scene.about_users == ("cohort",)
    assert under["cohort"].to_list() == ["b", "b"]
    assert under["note"].to_list() == ["1", "21"]


# --- copies


def test_a_copy_holds_each_event_where_its_time_has_it():
    """Positions stay unique, those of attacks come behind all others, and times do not go back."""
    scene = scene_of(market())
    both = [burst(scene, draw(scene, "b0")), swap(scene, draw(scene, "s3"))]
    copy = injected(scene, [each for each in both if each is not None])
    assert copy["position"].n_unique() == len(copy)
    assert copy["time"].is_sorted()
    assert len(copy.filter(pl.col("position") > len(scene.events))) == sum(len(each.rows) for each in both if each)


def test_a_large_log_is_sampled_by_users_whole():
    """Who is kept is kept with all events, of later frames too; the share is a power of one half."""
    kept = Kept(limit=400)
    frame = event_frame(market())
    for part in frame.iter_slices(100):
        kept.add(part, past=False)
    held = kept.frame(past=False)
    whole = dict(frame.group_by("user").len().iter_rows())
    assert kept.share in (0.5, 0.25, 0.125)
    assert 0 < len(held) <= 400
    assert dict(held.group_by("user").len().iter_rows()) == {user: whole[user] for user in held["user"].unique()}


# --- trials


def judged(scene: Scene, past: pl.DataFrame | None = None) -> Judge:
    """What judges with the defaults."""
    nobody = scene.events.clear() if past is None else past
    return Judge([detector("sequence"), detector("habit")], SESSION_GAP, Budget(1.0), nobody)


def test_judging_the_last_days_of_a_copy_is_judging_all_of_it():
    """From the day of the first attack on, all users stand where a scan of the whole copy has them."""
    scene = scene_of(market(days=5, of_a_kind=10))
    judge = judged(scene)
    clean = judge.clean(scene.events)
    trials = Planner(scene, judge.past, clean, ATTACKS[:3], seed=1).round(1)
    copy = injected(scene, [each.injection for each in trials])
    first = min(each.injection.days[0] for each in trials)
    some, whole = judge.attacked(copy, clean, first), judge.clean(copy).scan
    assert first > FIRST + 1
    of_whole = {day.day: stood(whole, day.standings) for day in whole.days}
    assert {day.day: stood(some, day.standings) for day in some.days if day.day.toordinal() > MONDAY.toordinal() + 1}
    for day in some.days:
        assert stood(some, day.standings) == pytest.approx(of_whole[day.day])


def stood(scanned, standings: pl.DataFrame) -> dict[str, float]:
    """The most evidence of each user."""
    return dict(zip(scanned.coding.users.decode(standings["user"]), standings["peak"], strict=True))


def test_nobody_is_attacked_twice_or_with_many_others():
    """In a round each victim is one, and of 200 users of a day four at most are attacked."""
    scene = scene_of(market(days=4, of_a_kind=100, events=6))
    judge = judged(scene)
    planner = Planner(scene, judge.past, judge.clean(scene.events), ATTACKS[:3], seed=1)
    trials = planner.round(1)
    users = [each.user for each in trials]
    assert len(users) == len(set(users)) > 0
    days = [day for each in trials for day in each.injection.days]
    assert max(days.count(day) for day in set(days)) <= 4
    assert all(each.past_events >= 10 for each in trials)


def test_who_alerts_anyway_is_no_victim():
    """A robot that alerts on every day is never drawn, nor are its events."""
    robot = pl.DataFrame({"time": [MONDAY + timedelta(days=day, seconds=number) for day in range(3)
                                   for number in range(300)], "user": "robot", "action": "scrape"})  # fmt: skip
    scene = scene_of(pl.concat([market(), robot.with_columns(pl.col("time").cast(market().schema["time"]))]))
    judge = judged(scene)
    clean = judge.clean(scene.events)
    scene.alerting = clean.alerting(scene)
    assert all("robot" in names for names in clean.alarms.values())
    planner = Planner(scene, judge.past, clean, ATTACKS[:3], seed=1)
    trials = [trial for number in range(1, 9) for trial in planner.round(number)]
    assert trials
    assert "robot" not in {trial.user for trial in trials}
    assert all("scrape" not in trial.injection.rows["action"] for trial in trials)


def test_how_soon_an_alert_came_is_counted_from_the_attacks_first_event():
    """The alert of a seller's session under a buyer's name stands where `explain` of the copy has it."""
    scene = scene_of(BUSY)
    judge = judged(scene)
    clean = judge.clean(scene.events)
    trials = Planner(scene, judge.past, clean, [ATTACKS[1]], seed=1).round(1)
    copy = injected(scene, [each.injection for each in trials])
    scanned = judge.attacked(copy, clean, min(each.injection.days[0] for each in trials))
    rows = [row for row in outcomes(scanned, trials, clean, len(scene.events)) if row["caught"]]
    assert rows
    for row in rows:
        code = scanned.coding.users.find(row["user"])
        events = scanned.scored(row["period"], [code])
        limit = clean.thresholds[row["period"]]
        until = events.head(int((events["evidence"] >= limit).arg_max() or 0) + 1)
        attack = until.filter(pl.col("position") > len(scene.events))
        assert row["events"] == len(attack)
        assert row["seconds"] == (until["time"][-1] - attack["time"][0]).total_seconds()


# --- the whole


BUSY = market(3, 10, 100)


@pytest.fixture(scope="module")
def found() -> SelfTest:
    """A self-test of three days of buyers and sellers, who do enough to have habits on the third."""
    return selftest(BUSY, rounds=4)


def test_the_same_seed_gives_the_same_figures(found: SelfTest):
    """Run again, each try is the same; another seed attacks others."""
    assert selftest(BUSY, rounds=4).trials.equals(found.trials)
    assert not selftest(BUSY, rounds=1, seed=2).trials.equals(found.trials.filter(round=1))


def test_sellers_among_buyers_are_seen_and_attacks_without_columns_say_why(found: SelfTest):
    """A seller's session is odd for a buyer; logins, amounts and rules there are none."""
    rows = {row["attack"]: row for row in found.records()}
    assert rows["replay"]["caught"] == rows["replay"]["tried"] > 0
    assert rows["replay"]["low"] < rows["replay"]["share"] == 1.0
    assert rows["country"]["skipped"] == "no logins with addresses, countries or devices for the detector login"
    assert rows["drift"]["skipped"] == "it takes 5 days, here are 3"
    assert rows["swap"]["skipped"] is None
    assert found.setting.alarms_per_day == 0.0
    assert "replay (100 of 100)" in found.conclusion


def test_a_log_in_parts_is_the_log_in_one(found: SelfTest):
    """Two sources, the days one after the other, give what one does."""
    early = pl.col("time") < MONDAY + timedelta(days=1)
    parts = [BUSY.filter(early), BUSY.filter(~early)]
    assert selftest(parts, rounds=4).trials.equals(found.trials)


def test_users_who_are_left_out_take_their_share_of_the_budget():
    """With half of the users the same bits alert, and what is told of alarms is of all."""
    all_of_them, half = selftest(market(), rounds=1), selftest(market(), rounds=1, users=20)
    assert half.setting.users == 20
    assert half.setting.kept == 0.5
    assert half.setting.threshold_bits == pytest.approx(all_of_them.setting.threshold_bits)
    assert half.setting.users_per_day == all_of_them.setting.users_per_day == 40


def test_columns_that_rules_need_are_there(tmp_path: Path):
    """A table of entitlements is joined by a column that plays no role, in a file as in a scan."""
    log, table = tmp_path / "log.csv", tmp_path / "table.csv"
    market().with_columns(team=pl.col("user").str.head(1)).write_csv(log)
    table.write_text("id,program\nb,buying\ns,selling\n", encoding="utf-8")
    rules = {
        "table": str(table), "key": "team=id", "scope": "program", "shared": ["login"], "findings": ["outside"],
        "scopes": {"buying": ["view", "buy"], "selling": ["list", "sell"]},
    }  # fmt: skip
    result = selftest(str(log), parameters={"entitlement": rules}, rounds=6, attacks=["scope"])
    assert result.attacks.select("caught", "tried").row(0) == (12, 12)
    assert result.trials["events"].to_list() == [1] * 12


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (market(of_a_kind=3), "takes 10 users at least.* found 6 users and 216 events on 3 days"),
        (
            market(days=1, events=4),
            "could be attacked: found 40 users and 160 events on 1 day.*burst: nobody.* a past; .*silence: it takes ",
        ),
    ],
)
def test_too_little_says_what_was_found_and_what_to_do(log: pl.DataFrame, said: str):
    """A log of few users, or of few events, is an error that says so."""
    with pytest.raises(amiss.SourceError, match=said):
        selftest(log)


def test_an_unknown_attack_names_the_known_ones():
    """A mistyped name gets the one that was meant."""
    with pytest.raises(amiss.UsageError, match=r'no attack is called "swop".*Did you mean "swap"'):
        selftest(market(), attacks=["swop"])


@pytest.mark.parametrize(
    ("caught", "tried", "interval"), [(0, 10, (0.0, 0.2775)), (5, 10, (0.2366, 0.7634)), (10, 10, (0.7225, 1.0))]
)
def test_the_interval_is_wilsons(caught: int, tried: int, interval: tuple[float, float]):
    """The published values of the interval."""
    assert wilson(caught, tried) == pytest.approx(interval, abs=1e-4)


def test_the_command_prints_a_card_of_80_columns(run: Run):
    """A headline in plain words, a line for each attack, what is left out, and the false alarms."""
    BUSY.write_ndjson("log.jsonl")
    before = Path("log.jsonl").read_bytes()
    ran = run("selftest", "log.jsonl", "--rounds", "4")
    assert ran.status == 0
    lines = ran.out.splitlines()
    assert max(map(escape.cells, lines)) <= 80
    assert lines[0].startswith("A stranger who goes on in a user's account would")
    assert any(line.startswith("replay    ▇▇▇▇▇▇▇▇▇▇ 100%") for line in lines)
    assert any(line.startswith("alarms    0 a day in the log as it is") for line in lines)
    assert Path("log.jsonl").read_bytes() == before


def test_programs_get_the_same_figures(run: Run):
    """JSON is one object with all of it; CSV and JSON lines are a row for each attack."""
    market().write_ndjson("log.jsonl")
    words = ("selftest", "log.jsonl", "--rounds", "1", "--attack", "swap,burst", "--format")
    told = json.loads(run(*words, "json").out)
    assert [json.loads(line) for line in run(*words, "jsonl").out.splitlines()] == told["attacks"]
    assert told["setting"]["rounds"] == 1
    assert run(*words, "csv").out.startswith("attack,what,tried,caught")


def test_the_last_events_of_a_day_are_before_the_next():
    """Days are those of UTC, as in a scan."""
    scene = scene_of(market(2))
    assert scene.days == [FIRST, FIRST + 1]
    assert (scene.time[scene.rows(0, FIRST)] // DAY == FIRST).all()
    assert scene.before(0, FIRST + 1) == 12
