"""A scan: which events judge which, and what comes out."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests import naive

import amiss
from amiss.decide import Budget
from amiss.detect import detector
from amiss.engine import Scan
from amiss.errors import SourceError, UsageError
from amiss.events import EVENT_SCHEMA
from amiss.result import Result, scan
from amiss.simulate import simulate
from amiss.sources import open_source
from amiss.testing import ListSource

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
Row = tuple[int, int, str, str, str]
"""Day, second, user, action, outcome."""


def log(*rows: Row) -> pl.DataFrame:
    """An event frame in the order of the rows."""
    events = [
        (position, MONDAY + timedelta(days=day, seconds=second), user, action, outcome)
        for position, (day, second, user, action, outcome) in enumerate(rows, start=1)
    ]
    return pl.DataFrame(events, schema=EVENT_SCHEMA, orient="row")


def calm(day: int, users: int = 20) -> list[Row]:
    """A day on which everybody logs in, views a few things and logs out; every fifth mistypes the password first."""
    rows = []
    for user in range(users):
        actions = [*["login"] * (user % 5 == 4), "login", *["view"] * (2 + user % 3), "logout"]
        outcomes = ["failure"] * (user % 5 == 4) + ["success"] * 9
        rows += [
            (day, 600 * user + 7 * i, f"u{user}", action, outcome)
            for i, (action, outcome) in enumerate(zip(actions, outcomes, strict=False))
        ]
    return rows


def attack(day: int, user: str, times: int = 12) -> list[Row]:
    """Failed logins, a second apart, in the afternoon."""
    return [(day, 50_000 + i, user, "login", "failure") for i in range(times)]


def scanned(*frames: pl.DataFrame, learn: pl.DataFrame | None = None, **options) -> Result:
    """The result of a scan of frames."""
    past = [ListSource(learn)] if learn is not None else []
    return scan([ListSource(frame) for frame in frames], learn=past, **options)


def in_order(*rows: Row) -> pl.DataFrame:
    """An event frame in order of time."""
    return log(*sorted(rows))


def market(seed: int = 3, days: int = 2, users: int = 150) -> pl.DataFrame:
    """A small simulated marketplace."""
    outcomes = {"fail": "failure", "success": "success"}
    events = simulate(users=users, days=days, seed=seed, date=MONDAY.date())
    rows = [(i, e.time, e.user, e.path, outcomes[e.status]) for i, e in enumerate(events, start=1)]
    return pl.DataFrame(rows, schema=EVENT_SCHEMA, orient="row")


def figures(result: Result) -> dict[str, tuple[object, ...]]:
    """Bits and all that must not depend on how a log is stored, by user."""
    columns = ("events", "period", "bits", "alert", "first_time", "last_time")
    return {row["user"]: tuple(row[name] for name in columns) for row in result.users.iter_rows(named=True)}


def test_a_planted_attack_comes_first_with_its_reason():
    """Twelve failed logins in a row top the list, and the sentence says so."""
    result = scanned(in_order(*calm(0), *attack(0, "u3")))
    top = result.users.row(0, named=True)
    assert (top["user"], top["events"]) == ("u3", 16)
    assert top["bits"] > 10
    assert top["reasons"][0]["text"].startswith("login (failed) came after login (failed) 11 of 11 times")


def expected_bits(past: pl.DataFrame | None, today: pl.DataFrame) -> dict[str, list[float]]:
    """The sequence detector's running evidence by user, from the slow twin."""
    users, actions, outcomes = {}, {}, ("success", "failure", "unknown")

    def events(frame: pl.DataFrame) -> list[naive.Event]:
        rows = frame.select(pl.col("time").to_physical(), "user", "action", "outcome").rows()
        return [
            naive.Event(
                time, users.setdefault(u, len(users)), actions.setdefault(a, len(actions)), outcomes.index(outcome)
            )
            for time, u, a, outcome in rows
        ]

    earlier = events(past) if past is not None else []
    now = naive.followed(earlier + events(today))
    counts = naive.count(now[: len(earlier)]) if past is not None else None
    scores = naive.sequence(counts, now[len(earlier) :])
    names = dict(zip(users.values(), users, strict=True))
    bits: dict[str, list[float]] = {}
    for event, scored in zip(now[len(earlier) :], scores, strict=True):
        bits.setdefault(names[event.user], []).append(scored.bits)
    return {user: naive.evidence(values) for user, values in bits.items()}


def test_the_first_day_is_judged_by_itself_with_each_user_left_out():
    """Without anything earlier the bits are those of the slow twin that leaves users out."""
    today = in_order(*calm(0, 6), *attack(0, "u3"))
    result = scanned(today, detectors=[detector("sequence")])
    expected = {user: running[-1] for user, running in expected_bits(None, today).items()}
    assert dict(result.users.select("user", "bits").iter_rows()) == pytest.approx(expected, abs=1e-9)


def test_each_day_is_judged_by_the_days_before():
    """The second day's bits are those of the slow twin that learned the first day."""
    first, second = in_order(*calm(0, 6)), in_order(*calm(1, 6), *attack(1, "u3"))
    both = scanned(in_order(*calm(0, 6), *calm(1, 6), *attack(1, "u3")), detectors=[detector("sequence")])
    expected = expected_bits(first, second)
    assert both.story("u3")["evidence"].to_list() == pytest.approx(expected["u3"], abs=1e-9)
    assert both.users.row(0, named=True)["period"] == date(2026, 1, 6)


def test_learning_equals_having_seen_the_day_before():
    """A day learned apart judges as the same day at the head of the log."""
    first, second = in_order(*calm(0)), in_order(*calm(1), *attack(1, "u3"))
    apart = scanned(second, learn=first)
    together = scanned(in_order(*calm(0), *calm(1), *attack(1, "u3")))
    assert apart.story("u3")["evidence"].to_list() == together.story("u3")["evidence"].to_list()
    assert apart.summary.learned_from == "103 events of 1 other day"


def test_learning_changes_what_is_normal():
    """Who learns from a past full of failed logins finds them less odd."""
    today = in_order(*calm(1), *attack(1, "u3"))
    busy = in_order(*calm(0), *(row for user in range(20) for row in attack(0, f"u{user}")))
    before, after = scanned(today, learn=in_order(*calm(0))), scanned(today, learn=busy)
    assert figures(after)["u3"][2] < figures(before)["u3"][2] - 10


def test_a_past_of_the_same_day_is_learned_from():
    """Learning from another log of the same day is no mistake: it judges."""
    today = in_order(*calm(1), *attack(1, "u3"))
    same = scanned(today, learn=in_order(*calm(1), *(row for u in range(20) for row in attack(1, f"u{u}"))))
    earlier = scanned(today, learn=in_order(*calm(0), *(row for u in range(20) for row in attack(0, f"u{u}"))))
    assert figures(same)["u3"][2] == pytest.approx(figures(earlier)["u3"][2], abs=0.5)
    assert " of 1 day" in same.summary.learned_from
    assert " of 1 other day" in earlier.summary.learned_from


def test_a_user_is_shown_on_the_day_with_most_evidence():
    """Odd on the second of three days: that day, its bits, all days' events."""
    rows = [*calm(0), *calm(1), *attack(1, "u3"), *calm(2)]
    result = scanned(in_order(*rows))
    top = result.users.row(0, named=True)
    assert (top["user"], top["period"], top["events"]) == ("u3", date(2026, 1, 6), 24)
    assert (top["first_time"].day, top["last_time"].day) == (5, 7)
    assert result.summary.periods == 3
    assert set(result.story("u3")["time"].dt.day()) == {6}


@pytest.mark.parametrize("rows_in_memory", [50, 700])
def test_parts_in_files_give_the_same_bits(rows_in_memory):
    """A log that does not fit in memory is judged bit for bit as one that does."""
    events = market()
    found = []
    for rows in (10_000_000, rows_in_memory):
        judged = Scan([detector("sequence"), detector("habit")], rows_in_memory=rows)
        judged.run([ListSource(events)], [], lambda _: None)
        found.append(judged.standings.sort("period", "user"))
    assert found[0].equals(found[1])


def test_a_shuffled_log_gives_the_same_bits():
    """Events out of order are put in order (no user has two at the same time here)."""
    events = market().unique(["user", "time"], keep="first", maintain_order=True)
    rows = list(range(len(events)))
    random.Random(5).shuffle(rows)
    shuffled = events[rows].with_columns(position=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))
    expected, found = figures(scanned(events)), figures(scanned(shuffled))
    assert {user: row[:2] for user, row in found.items()} == {user: row[:2] for user, row in expected.items()}
    assert [row[2] for _, row in sorted(found.items())] == pytest.approx(
        [row[2] for _, row in sorted(expected.items())], abs=1e-9
    )


def test_names_do_not_matter():
    """Other names in another order of first appearance give the same bits."""
    events = market(days=1)
    renamed = events.with_columns(pl.col("user").str.reverse(), pl.format("~{}", "action"))
    swapped = pl.concat([log((0, 0, "zz", "~view_profile", "failure")), log((0, 1, "zz", "~logout", "success"))])
    plain = swapped.with_columns(pl.col("action").str.strip_prefix("~"))
    expected = figures(scanned(pl.concat([plain, events])))
    found = figures(scanned(swapped, renamed))
    assert {user[::-1]: row[2] for user, row in found.items()} == pytest.approx(
        {user: row[2] for user, row in expected.items()}, abs=1e-9
    )


@pytest.mark.parametrize("rows_at_once", [1, 7, 10_000])
def test_the_size_of_frames_does_not_matter(rows_at_once):
    """However a source cuts its frames, the result is the same."""
    events = in_order(*calm(0), *calm(1), *attack(1, "u3"))
    cut = scan([ListSource(events, rows_at_once=rows_at_once)])
    assert figures(cut) == figures(scanned(events))


def test_several_sources_are_one_log():
    """Two logs read one after the other are judged together; positions run on."""
    first, second = in_order(*calm(0)), in_order(*attack(0, "u3"))
    result = scanned(first, second)
    assert figures(result) == figures(scanned(in_order(*calm(0), *attack(0, "u3"))))
    assert result.story("u3")["position"].to_list()[-12:] == list(range(len(first) + 1, len(first) + 13))
    assert result.summary.sources == ("memory:", "memory:")


def test_no_events_are_an_error_that_names_the_sources():
    """An empty log cannot be judged."""
    with pytest.raises(SourceError, match="no events in memory:"):
        scanned(log())


def test_learning_from_nothing_is_as_a_first_scan():
    """An empty past leaves users out of their own day."""
    events = in_order(*calm(0), *attack(0, "u3"))
    assert figures(scanned(events, learn=log())) == figures(scanned(events))


def test_one_user_alone_gives_no_evidence():
    """Nobody else to compare with: nothing odd."""
    result = scanned(in_order(*attack(0, "u3")))
    assert figures(result)["u3"][2] == pytest.approx(0.0, abs=1e-9)
    assert result.summary.alerts == 0


def test_the_budget_decides_about_alerts():
    """21 users a day: one alarm a day asks for log2(21) bits, one a century for many more."""
    events = in_order(*calm(0), *attack(0, "x", 2))
    generous, strict = (scanned(events, budget=Budget(per_day)) for per_day in (1.0, 1 / 36_500))
    assert generous.summary.threshold_bits == pytest.approx(np.log2(21))
    assert strict.summary.threshold_bits == pytest.approx(np.log2(21 * 36_500))
    assert generous.users.filter("alert")["user"].to_list() == ["x"]
    assert strict.summary.alerts == 0
    assert generous.summary.expected_alarms_per_day == pytest.approx(1.0)
    assert generous.summary.actual_alarms_per_day == 1.0


def test_the_story_ends_at_the_bits_of_the_user():
    """For every user the last running evidence of the story is what the ranking shows."""
    result = scanned(market(users=60))
    for user, bits in result.users.select("user", "bits").head(25).iter_rows():
        assert result.story(user)["evidence"][-1] == bits


def test_the_story_tells_each_event_in_words():
    """What came before, how long ago, and how surprising that is."""
    told = scanned(in_order(*calm(0), *attack(0, "u3"))).story("u3")
    assert told.columns == [
        "position", "time", "action", "outcome", "previous", "gap_seconds", "surprisal", "bits", "evidence",
    ]  # fmt: skip
    assert told.select("action", "outcome", "previous", "gap_seconds").rows()[-2:] == [
        ("login", "failure", "login (failed)", 1.0),
        ("login", "failure", "login (failed)", 1.0),
    ]
    assert told.select("previous", "gap_seconds").row(0) == (None, None)


def test_all_events_are_told_in_the_order_of_the_log():
    """The table of events has each once, and the stories are parts of it."""
    events = in_order(*calm(0), *calm(1), *attack(1, "u3"))
    result = scanned(events)
    assert result.events["position"].to_list() == events["position"].to_list()
    assert result.events["user"].to_list() == events["user"].to_list()
    story = result.events.filter(pl.col("user") == "u3", pl.col("time").dt.day() == 6).drop("user")
    assert story.equals(result.story("u3"))


def test_later_events_do_not_change_the_story_so_far():
    """With a past to judge by, half of a day is told as the first half of the whole day."""
    past, today = (market().filter(pl.col("time").dt.day() == day) for day in (5, 6))
    half = len(today) // 2
    whole, first = scanned(today, learn=past), scanned(today[:half], learn=past)
    told = ["position", "surprisal", "bits", "evidence"]
    start = today["position"][0] + half
    assert whole.events.filter(pl.col("position") < start).select(told).equals(first.events.select(told))


def test_records_hold_plain_values():
    """A row per user with times as text and detectors by name."""
    result = scanned(in_order(*calm(0), *attack(0, "u3")))
    (record,) = result.records(1)
    assert list(record) == [
        "user", "events", "first_time", "last_time", "bits", "severity", "alert", "surprisal", "surprisal_z",
        "detectors", "reasons",
    ]  # fmt: skip
    assert (record["user"], record["first_time"]) == ("u3", "2026-01-05T00:30:00Z")
    assert record["detectors"]["sequence"] == record["bits"]
    assert set(record["reasons"][0]) == {
        "detector",
        "bits",
        "text",
        "count",
        "of",
        "others_count",
        "others_of",
        "action",
    }
    assert len(result.records()) == 20


def test_explaining_says_why_and_how_rare():
    """Reasons with their bits, the sum, and what chance would give."""
    text = scanned(in_order(*calm(0), *attack(0, "u3"))).explain("u3")
    assert text.startswith("u3: login (failed) came ")
    assert "by chance at most once in" in text


def test_an_ordinary_user_has_nothing_unusual():
    """A user whom nothing speaks against is explained too."""
    result = scanned(in_order(*calm(0), *attack(0, "u3")))
    assert result.explain(result.users["user"][-1])


def test_explaining_an_unknown_user_suggests_a_near_one():
    """The error names who may be meant."""
    with pytest.raises(UsageError, match='no user is called "u33"'):
        scanned(in_order(*calm(0, 5), *attack(0, "u3"))).explain("u33")


def test_reasons_are_found_for_the_top_users_only():
    """With top=1 the second has none yet; explaining finds them then."""
    leaving = [(0, 60_000 + i, "u6", "logout", "success") for i in range(6)]
    events = in_order(*calm(0), *attack(0, "u3"), *leaving)
    result = scanned(events, top=1)
    assert result.users["user"].head(2).to_list() == ["u3", "u6"]
    assert [len(reasons) > 0 for reasons in result.users["reasons"].head(2)] == [True, False]
    assert "logout came after logout 5 of 5 times" in result.explain("u6")
    assert all(len(reasons) for reasons in scanned(events, top=None).users["reasons"].head(2))


def test_progress_counts_the_events_read():
    """The numbers grow to all events, those learned from among them."""
    seen: list[int] = []
    scanned(in_order(*calm(1)), learn=in_order(*calm(0)), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 206


def test_the_surprisal_of_the_published_log(shared_data: Path):
    """Day 1 of the published log: bot1392 has 3277.49 bits of surprisal, 33.04 deviations above the mean."""
    columns = {"time": "time", "user": "uidx", "action": "path", "outcome": "status"}
    frame = pl.read_csv(shared_data / "marketplace" / "seed001_3000users_day1.csv.gz", infer_schema_length=None)
    truth = dict(frame.select("uidx", "user").unique().iter_rows())
    chosen = frame.select(**{role: pl.col(column).cast(pl.String) for role, column in columns.items()})
    events = chosen.with_columns(
        pl.col("time").str.to_datetime(time_unit="us", time_zone="UTC"),
        pl.col("outcome").replace({"fail": "failure"}),
        position=pl.int_range(1, pl.len() + 1),
    )
    result = scanned(events)
    top = result.users.sort("surprisal", descending=True).row(0, named=True)
    assert truth[type(next(iter(truth)))(top["user"])] == "bot1392"
    assert top["surprisal"] == pytest.approx(3277.49, abs=0.005)
    assert top["surprisal_z"] == pytest.approx(33.04, abs=0.005)
    assert result.profile(top["user"])["surprisal"].sum() == pytest.approx(top["surprisal"], abs=1e-6)


def test_an_auth_log_scans_without_options(shared_data: Path):
    """Of sshd's 2,000 lines, the three addresses that tried hundreds of passwords lead the list."""
    result = scan([open_source(str(shared_data / "logs" / "OpenSSH_2k.log"))])
    assert result.summary.quarantine.total == 0
    assert set(result.users["user"].head(3)) == {"183.62.140.253", "187.141.143.180", "103.99.0.122"}
    assert result.users["alert"].head(3).all()


def test_an_access_log_scans_without_options(shared_data: Path):
    """Of 1,753 hosts a reader of slides, the busiest crawler and the poller of one feed are high on the list."""
    result = scan([open_source(str(shared_data / "logs" / "apache_combined_10k.log.gz"))])
    assert (result.summary.events, result.summary.users, result.summary.quarantine.total) == (10_000, 1_753, 0)
    assert {"130.237.218.86", "66.249.73.135", "46.105.14.53"} <= set(result.users["user"].head(8))


def test_one_who_only_fails_stands_out_among_a_few_who_never_do():
    """Twelve failed logins among twenty users who never failed are strong evidence, though all of it is new here."""
    rows = [
        (noon + timedelta(hours=user, seconds=20 * step), f"u{user}", action, "success")
        for noon in [datetime(2026, 1, 5, tzinfo=UTC)]
        for user in range(20)
        for step, action in enumerate(["login", "view", "view", "buy", "logout"][: 3 + user % 3])
    ]
    rows += [(datetime(2026, 1, 5, 12, 0, 2 * step, tzinfo=UTC), "eve", "login", "failure") for step in range(12)]
    events = pl.DataFrame(rows, schema=["time", "user", "action", "outcome"], orient="row").sort("time")
    users = amiss.scan(events).users
    assert users["user"][0] == "eve"
    assert users["bits"][0] > 20
    assert users["alert"].to_list() == [True, *[False] * 20]
