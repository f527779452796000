"""Bounded memory: who was least recently active is put away as a day closes, and comes back with all that was known."""

from __future__ import annotations

import contextlib
import random
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import watching
from tests.watching import (
    DAY,
    LATENESS,
    LATER,
    MONDAY,
    busy,
    coded_rows,
    cut,
    disordered,
    in_order,
    judged,
    kept,
    same,
    write_log,
)

from amiss.cli import main
from amiss.errors import UsageError
from amiss.live import Live
from amiss.receipt import receipt
from amiss.roster import AWAY, members
from amiss.session import Session
from amiss.simulate.marketplace import Event
from amiss.store import Store
from amiss.watch import Settings, Watch, recall

rows = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 86_399), st.integers(0, 8), st.integers(0, 2), st.integers(0, 1)),
    min_size=1,
    max_size=80,
)


@given(
    rows,
    st.lists(st.integers(0, 80), max_size=12),
    st.lists(st.booleans(), max_size=13),
    st.sampled_from([0, 1, 30]),
    st.integers(1, 8),
)
def test_any_events_give_the_same_in_any_batches_and_restarts(events, places, reload, hours, most):
    """Whoever comes and goes, in any order of days: cuts and restarts change no alert, no count and no bit of state."""
    frame = coded_rows(events)
    options: dict[str, Any] = {"per_day": 50.0, "lateness": hours * DAY / 24, "max_users": most}
    whole = judged(watching.live(**options), [frame])
    pieces = judged(watching.live(**options), cut(frame, places), reload=reload)
    same(whole, pieces)


@given(rows, st.integers(1, 8))
def test_nobody_is_lost_and_no_more_are_in_memory_than_allowed(events, most):
    """Of each closed day the store has every user's events; behind a close there are `most` users, but for the new."""
    frame = coded_rows(sorted(events))
    live, all_of_them = watching.live(max_users=most), watching.live()
    kept: dict[Any, Any] = {}
    live.archive = lambda day: kept.get(day, {})
    for part in frame.with_columns(day=pl.col("time").dt.date()).partition_by(
        "day", maintain_order=True, include_key=False
    ):
        taken = live.take(part)
        all_of_them.take(part)
        kept |= {day: counts for closed in taken.closed for day, counts in closed.counts.items()}
        live.written(taken)
        assert live.seats is not None
        assert len(live.seats) <= most + part["user"].n_unique()
    assert [done(counts) for counts in kept.values()] == [
        done(counts) for counts in all_of_them.history.judged.values()
    ]


def done(counts: dict[str, pl.DataFrame]) -> list[tuple[Any, ...]]:
    """How many events each user made."""
    actions = counts["sequence"].filter(feature=0)
    return actions.group_by("user").agg(pl.col("count").sum()).sort("user").rows()


# A whole watch


def given_settings(most: int | None = 12, lateness: timedelta = LATENESS) -> Settings:
    """Days wait twelve hours for late events, unless said."""
    return watching.settings(lateness=lateness, max_users=most)


AT_ONCE = timedelta(0)
"""Days wait for nothing."""


def run(log: Path, state: Path, most: int | None = 12, lateness: timedelta = LATENESS, **options: Any) -> Watch:
    """A watch of all of a log."""
    with Store.open(state) as store:
        watch = watching.watch_in_step(log, store, given_settings(most, lateness), **options)
        watch.run(threading.Event())
        assert store.verify() == []
    return watch


def found(state: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """All that a store says, and the tables of the state."""
    with Store.open(state) as store:
        assert store.verify() == []
        watch = watching.watch("none.jsonl", store, given_settings())
        return kept(store), {name: (table.schema, table.rows()) for name, table in watch.live.tables().items()}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five days of thirty users, half of whom come each second day only, with attackers, in disorder."""
    events = [
        event
        for event in busy(30, 5)
        if event.user.startswith("evil") or (event.time.day + len(event.user) + ord(event.user[-1])) % 2
    ]
    return write_log(tmp_path_factory.mktemp("log") / "app.jsonl", disordered(events, seed=2))


@pytest.fixture(scope="module")
def whole(log: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """What comes of the log in one batch."""
    state = tmp_path_factory.mktemp("whole") / "state.db"
    run(log, state, batch=100_000)
    return found(state)


def test_the_log_of_these_tests_has_it_all(whole):
    """Alerts; users who are away, and others who are back."""
    said, tables = whole
    assert len(said["alerts"]) >= 3
    (settled, known), *_ = tables["settled"][1]
    seats = tables["seats"][1]
    assert settled <= 12 < known
    assert len(seats) < said["events"][1]
    assert any(due for _, due in seats)


@pytest.mark.parametrize("batch", [pytest.param(1, marks=pytest.mark.slow), 7, 1_000])
def test_batches_of_any_size_give_the_same(log, whole, batch, tmp_path):
    """Alerts, stories, figures of days, counts, texts and every table: bit for bit."""
    run(log, tmp_path / "state.db", batch=batch)
    assert found(tmp_path / "state.db") == whole


@pytest.mark.slow
def test_a_watch_that_is_resumed_at_random_places_gives_the_same(log, whole, tmp_path):
    """Ended behind any batch, before and behind users were put away, it goes on as if nothing had been."""
    chance, state, runs = random.Random(3), tmp_path / "state.db", 0
    left = iter(range(0))

    def told(*_: object) -> None:
        if next(left, None) is None:
            raise InterruptedError

    while True:
        left = iter(range(chance.randrange(12)))
        with contextlib.suppress(InterruptedError):
            run(log, state, batch=chance.choice([1, 5, 20]), snapshot_events=200, told=told)
            break
        runs += 1
    assert runs > 5
    assert found(state) == whole


def test_a_limit_that_is_never_reached_changes_nothing(log, tmp_path):
    """Alerts and counts are those of a watch without one."""
    run(log, tmp_path / "none.db", None)
    run(log, tmp_path / "many.db", 1_000)
    with Store.open(tmp_path / "none.db") as none, Store.open(tmp_path / "many.db") as many:
        assert kept(none) == kept(many)
        assert many.info().users_away == 0


def test_a_limit_may_come_later_change_and_go(log, tmp_path):
    """It takes effect as the next day closes; without it nobody goes any more."""
    state, lines = tmp_path / "state.db", log.read_text().splitlines(keepends=True)
    grown, part = tmp_path / "grown.jsonl", len(lines) // 4
    in_memory = []
    for number, most in enumerate([None, 20, 8, None]):
        grown.write_text("".join(lines[: part * (number + 1)]))
        watch = run(grown, state, most)
        in_memory.append(None if watch.live.seats is None else watch.live.seats.settled)
    assert in_memory[0] is None
    assert in_memory[1] is None or in_memory[1] <= 20
    assert in_memory[2] is not None
    assert in_memory[2] <= 8
    assert in_memory[3] is not None
    assert in_memory[3] > 8


# Who comes back


def habits(days: dict[int, list[str]]) -> list[Event]:
    """Forty events a day of each of some users, each with two actions of their own."""
    return [
        Event(
            watching.MIDNIGHT + day * DAY + timedelta(hours=8, minutes=n, seconds=at),
            user,
            f"{user}-{n % 2}",
            "success",
            "normal",
        )
        for day, users in days.items()
        for n in range(40)
        for at, user in enumerate(users)
    ]


COMES_BACK = {0: ["ann", "bob"], 1: ["bob", "cat", "dan"], 2: ["bob", "cat", "ann"], 3: ["ann", "bob"], 4: ["bob"]}


def known(live: Live, user: str) -> int:
    """The events of a user that judge the open day."""
    code = live.coding.users.find(user)
    assert code is not None
    seat = live.find(code)
    assert live.current is not None
    past = live.history.before(live.current.day)["sequence"].by_user()
    return 0 if seat is None else int(past.filter(user=seat, feature=0)["count"].sum())


def test_who_comes_back_has_habits_again_the_next_day(tmp_path):
    """On the day of return a user is new, from the next on all that is kept counts: of that day and of before."""
    found = []
    for days in (2, 3, 4):
        events = habits({day: users for day, users in COMES_BACK.items() if day <= days})
        watch = run(write_log(tmp_path / "app.jsonl", events), tmp_path / f"{days}.db", 3, AT_ONCE)
        found.append((known(watch.live, "ann"), known(watch.live, "bob")))
    assert found == [(0, 80), (80, 120), (120, 160)]


def away(tmp_path: Path) -> Path:
    """A state in which ann, of whom people were told on the second day, is away."""
    quiet = habits({0: ["ann", "bob", "cat"], 1: ["bob", "cat", "dan"], 2: ["bob", "cat", "dan"], 3: ["bob"]})
    odd = [
        event._replace(path="export", status="fail", time=event.time + timedelta(seconds=20))
        for event in habits({1: ["ann"]})
    ]
    run(write_log(tmp_path / "app.jsonl", in_order(quiet, odd)), tmp_path / "state.db", 3, AT_ONCE)
    return tmp_path / "state.db"


def test_a_verdict_on_who_is_away_takes_effect(tmp_path):
    """What was confirmed is taken out of the counts that are kept, and back in when that is undone."""
    state = away(tmp_path)

    def events_of_ann() -> int:
        with Store.open(state, write=False) as store:
            (code,) = [number for number, text in enumerate(store.texts()[0]) if text == "ann"]
            day = MONDAY + DAY
            return sum(counts.filter(user=code, feature=0)["count"].sum() for _, _, counts in store.counts(day))

    with Store.open(state) as store:
        assert store.info().users_away == 2
        alert = store.alerts(user="ann")[0].alert
        assert events_of_ann() == 40
        said = store.add_feedback(alert.alert_id, "confirmed", author="eve", time=LATER)
        assert receipt(store, said, LATER) is not None
    run(tmp_path / "app.jsonl", state, 3, AT_ONCE)
    assert events_of_ann() == 0
    with Store.open(state) as store:
        store.undo_feedback(said.id, LATER)
    run(tmp_path / "app.jsonl", state, 3, AT_ONCE)
    assert events_of_ann() == 40


def test_who_is_away_is_listed_as_such(tmp_path):
    """With the risk and the last day, as others are."""
    with Store.open(away(tmp_path), write=False) as store:
        live = recall(store, given_settings(3, AT_ONCE))
        listed = {each.user: each for each in members(live, LATER)}
    assert set(listed) == {"ann", "bob", "cat", "dan"}
    assert set(listed["ann"].detectors.values()) == {AWAY}
    assert listed["ann"].last_day == MONDAY + DAY
    assert listed["ann"].days == 2
    assert AWAY not in listed["bob"].detectors.values()


def test_a_session_keeps_to_the_limit_as_a_watch_does(tmp_path):
    """The same state, whoever judges."""
    events = habits(COMES_BACK)
    run(write_log(tmp_path / "app.jsonl", events), tmp_path / "watch.db", 3, AT_ONCE)
    for first in range(0, len(events), 150):
        with Session(tmp_path / "session.db", max_users=3, detectors=watching.detectors()) as session:
            for event in events[first : first + 150]:
                session.score(user=event.user, action=event.path, outcome="success", time=event.time)
    tables = []
    for name in ("watch.db", "session.db"):
        with Store.open(tmp_path / name) as store:
            assert store.verify() == []
            tables.append((recall(store, given_settings(3, AT_ONCE)).tables(), kept(store)["counts"]))
    watching.same_tables(tables[0][0], tables[1][0])
    assert tables[0][1] == tables[1][1]


def test_a_session_wants_at_least_one_user(tmp_path):
    """None at all is refused."""
    with pytest.raises(UsageError, match="expected 1 or more, found 0"):
        Session(tmp_path / "state.db", max_users=0)


# From the command line


def test_a_command_keeps_to_the_limit_and_says_who_is_away(tmp_path, capsys, monkeypatch):
    """As an option or a setting; the estimate counts with it."""
    monkeypatch.chdir(tmp_path)
    write_log(Path("app.jsonl"), habits(COMES_BACK))

    def said(*words: str) -> str:
        with pytest.raises(SystemExit) as left:
            main(list(words))
        assert left.value.code == 0
        return " ".join(capsys.readouterr().out.split())

    said("learn", "app.jsonl", "--state", "s.db", "--max-users", "3", "-q")
    assert "of 4 users (1 of them away)" in said("state", "info", "s.db")
    assert "dan not lately" not in said("users", "--state", "s.db")
    assert f"dan 6 Jan 2026 1 {AWAY}" in said("users", "--state", "s.db", "--user", "dan")
    Path("amiss.toml").write_text("[watch]\nmax_users = 2\n", "utf-8")
    estimate = said("check", "app.jsonl", "--users", "5000")
    assert "5,000 users, 2 of them in memory besides the new ones of a day, take about 0.22 GB" in estimate
