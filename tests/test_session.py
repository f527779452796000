"""Sessions inside an application: the numbers of a watch, threads, crashes, errors."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import polars as pl
import pytest

import amiss
from amiss.alerts import Alert
from amiss.decide import Budget
from amiss.detect import detector
from amiss.errors import EventError, StateError, UsageError
from amiss.live import Live
from amiss.session import Evidence, Session
from amiss.sources import open_live_source
from amiss.store import Store
from amiss.watch import Settings, Watch, recall

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
SETTINGS = Settings([detector("sequence"), detector("habit")], budget=Budget(5.0))
Row = dict[str, str]


def visits(day: int, chance: random.Random) -> Iterator[tuple[datetime, str, str, str]]:
    """A day of thirty users who browse in one order, and from the second on of a robot that does not."""
    usual = ("login", "view", "search", "view", "buy", "logout")
    for user in range(30):
        start = MONDAY + timedelta(days=day, minutes=chance.randrange(1_300))
        for step, action in enumerate(usual * 2):
            time = start + timedelta(seconds=20 * step + chance.randrange(9))
            yield time, f"u{user}", action, "failure" if chance.random() < 0.05 else "success"
    start = MONDAY + timedelta(days=day, hours=12)
    for step in range(40 if day else 0):
        yield start + timedelta(seconds=step), "robot", chance.choice(("export", "login", "buy")), "failure"


@cache
def stream(days: int = 3) -> tuple[Row, ...]:
    """The events of some days, in order of time."""
    chance = random.Random(7)
    events = sorted(event for day in range(days) for event in visits(day, chance))
    return tuple(
        {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ"), "user": user, "action": action, "outcome": outcome}
        for time, user, action, outcome in events
    )


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Where a state goes."""
    return tmp_path / "session.db"


def opened(state: Path, **settings: object) -> Session:
    """A session whose budget lets the robot be told of."""
    return Session(state, **{"budget": "5/day", **settings})  # type: ignore[arg-type]


def by_name(alert: Alert) -> str:
    """What alerts are ordered by."""
    return alert.alert_id


def kept(state: Path) -> tuple[list[Alert], Live]:
    """The alerts of a state, and all that it knows."""
    with Store.open(state, write=False) as store:
        return sorted((stored.alert for stored in store.alerts()), key=by_name), recall(store, SETTINGS)


def same(ours: Mapping[str, pl.DataFrame], theirs: Mapping[str, pl.DataFrame]) -> bool:
    """Whether tables are the same, bit for bit."""
    return ours.keys() == theirs.keys() and all(frame.equals(theirs[name]) for name, frame in ours.items())


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Alert], Live]:
    """What a watch makes of the stream."""
    folder = tmp_path_factory.mktemp("watched")
    log = folder / "log.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in stream()))
    with Store.open(folder / "watch.db") as store:
        Watch(open_live_source(str(log)), store, SETTINGS, batch=100, until_eof=True).run(threading.Event())
    return kept(folder / "watch.db")


def test_a_session_gives_the_alerts_and_the_state_of_a_watch(state: Path, watched: tuple[list[Alert], Live]) -> None:
    """The same events give the same alerts and tables, bit for bit."""
    with opened(state) as session:
        found = [session.score(row) for row in stream()]
    alerts, live = kept(state)
    assert alerts == watched[0]
    assert sorted((each.alert for each in found if each.alert is not None), key=by_name) == alerts
    assert same(live.tables(), watched[1].tables())


def test_commits_in_between_change_nothing(state: Path, watched: tuple[list[Alert], Live]) -> None:
    """Wherever the stream is cut by commits and new sessions, alerts and tables stay the same."""
    for first in range(0, len(stream()), 200):
        with opened(state) as session:
            for number, row in enumerate(stream()[first : first + 200]):
                session.score(row)
                if number % 30 == 0:
                    session.flush()
    alerts, live = kept(state)
    assert alerts == watched[0]
    assert same(live.tables(), watched[1].tables())


def test_evidence_is_what_people_are_told(state: Path) -> None:
    """The event that alerts has the bits, the severity and the chance of its alert."""
    with opened(state) as session:
        found = [session.score(row) for row in stream()]
    told = next(each for each in found if each.alert is not None and each.alert.user == "robot")
    assert told.alert is not None
    assert told.bits == pytest.approx(told.alert.bits, abs=1e-9)
    assert (told.severity, told.chance) == (told.alert.severity, told.alert.chance)
    assert not told.learning


def test_what_events_give_adds_up_to_the_evidence_of_the_day(state: Path) -> None:
    """The bits of a user's events of a day sum up to where the user stands."""
    with opened(state) as session:
        found = [(row, session.score(row)) for row in stream()]
    last = [each for row, each in found if row["user"] == "robot" and row["time"].startswith("2026-01-07")]
    assert sum(each.event_bits for each in last) == pytest.approx(last[-1].bits)
    assert last[-1].bits > 10.0


def test_the_first_day_is_learned(state: Path) -> None:
    """Nobody is told of, and nothing is severe, while there is no earlier day to judge by."""
    with opened(state) as session:
        found = [session.score(row) for row in stream() if row["time"] < "2026-01-06"]
    assert {(each.bits, each.learning, each.severity, each.alert) for each in found} == {(0.0, True, "info", None)}


def test_threads_share_a_session(state: Path) -> None:
    """Events of several threads are all kept, each once, and what is known equals what a replay of them gives."""
    learned = [row for row in stream() if row["time"] < "2026-01-06"]
    today = [row for row in stream() if "2026-01-06" <= row["time"] < "2026-01-07"]
    with opened(state, flush_every=timedelta(milliseconds=5)) as session:
        for row in learned:
            session.score(row)
        threads = [
            threading.Thread(target=lambda part=part: [session.score(row) for row in today[part::4]])
            for part in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        session.flush()
        now = session._live.tables()
    _, live = kept(state)
    with Store.open(state, write=False) as store:
        assert store.progress().events == len(learned) + len(today)
    assert same(live.tables(), now)


CRASH = """
import json, os, sys
from amiss import Session
session = Session(sys.argv[1], budget="5/day")
for number, line in enumerate(sys.stdin):
    session.score(json.loads(line))
    if number == 599:
        session.flush()
os._exit(9)
"""


def test_a_crash_loses_nothing_that_was_flushed(state: Path, watched: tuple[list[Alert], Live]) -> None:
    """After a crash the state stands behind the last commit, and goes on from there to the same end."""
    lines = "".join(json.dumps(row) + "\n" for row in stream()[:700])
    ended = subprocess.run(
        [sys.executable, "-c", CRASH, str(state)], input=lines, text=True, env=os.environ, check=False
    )
    assert ended.returncode == 9
    with Store.open(state, write=False) as store:
        done = store.progress().events
    assert 600 <= done <= 700
    with opened(state) as session:
        for row in stream()[done:]:
            session.score(row)
    alerts, live = kept(state)
    assert alerts == watched[0]
    assert same(live.tables(), watched[1].tables())


def test_alerts_reach_their_sinks(state: Path, tmp_path: Path) -> None:
    """What a session finds is delivered as alerts of a watch are."""
    with opened(state, alerts=[str(tmp_path / "alerts.jsonl")]) as session:
        found = [session.score(row).alert for row in stream()]
    records = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    assert [record["alert_id"] for record in records] == [alert.alert_id for alert in found if alert is not None]
    assert records


def test_what_is_said_of_an_alert_is_kept_and_taken_up(state: Path) -> None:
    """At once, by the alert or its id; the next commit takes it up, and the last word stands."""
    with opened(state) as session:
        alert = next(found.alert for found in map(session.score, stream()) if found.alert is not None)
        first = session.feedback(alert, "confirmed", author="ann", note="not her")
        last = session.feedback(alert.alert_id, "expected")
        assert (first.verdict, first.author, first.note) == ("confirmed", "ann", "not her")
        with pytest.raises(UsageError, match="a verdict is one of"):
            session.feedback(alert, "sure")
        with pytest.raises(UsageError, match="there is no alert"):
            session.feedback("nothing", "expected")
    with pytest.raises(StateError, match="is closed"):
        session.feedback(alert, "false")
    with Store.open(state, write=False) as store:
        assert [each.verdict for each in store.feedback() if each.undone_time is None] == ["expected"]
        assert store.unapplied() == []
        assert last.author == "application"


def test_an_event_may_be_given_by_words(state: Path) -> None:
    """Keyword arguments, further keys, numbers for names, truth for outcomes and no time at all are fine."""
    with opened(state) as session:
        session.score(user="ann", action="login", outcome=True)
        session.score({"user": 7, "action": "login", "ip": "192.0.2.1"}, outcome="denied")
        session.score({"user": "bob", "action": "login", "outcome": None, "time": 1_767_600_000.5})
    with Store.open(state, write=False) as store:
        assert store.texts()[0].to_list() == ["ann", "7", "bob"]
        events = pl.concat([delta.events for _, delta in store.deltas()])
    assert events["outcome"].to_list() == [0, 1, 2]
    assert events["position"].to_list() == [1, 2, 3]
    assert events["time"][2] == datetime(2026, 1, 5, 8, 0, 0, 500_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"usr": "ann", "action": "login"}, 'an event needs "user". Found: usr, action. Did you mean "usr"?'),
        ({}, 'an event needs "user". Found: nothing.'),
        ({"user": "ann"}, 'an event needs "action". Found: user.'),
        ({"user": "", "action": "login"}, "user must be a text that is not empty. Found: ''"),
        ({"user": None, "action": "login"}, "user must be a text that is not empty. Found: None"),
        ({"user": "\ud800", "action": "login"}, "user must be a text that is not empty"),
        ({"user": "ann", "action": b"login"}, "action must be a text that is not empty. Found: b'login'"),
        ({"user": "ann", "action": "login", "outcome": 1.5}, "outcome must be one of success, failure, unknown"),
        ({"user": "ann", "action": "login", "time": "soon"}, "time must be a datetime, seconds since 1970"),
        ({"user": "ann", "action": "login", "time": 1e300}, "time must be a datetime, seconds since 1970"),
        ({"user": "ann", "action": "login", "time": 32_503_680_000}, "time must not lie more than a day in the future"),
    ],
)
def test_a_bad_event_says_what_was_expected(state: Path, event: dict[str, object], message: str) -> None:
    """It is refused with a reason, leaves nothing behind, and later events are judged."""
    with opened(state) as session:
        with pytest.raises(EventError) as refused:
            session.score(event)
        session.score(user="ann", action="login")
    assert message in str(refused.value)
    with Store.open(state, write=False) as store:
        assert store.progress().events == 1
        assert store.texts()[0].to_list() == ["ann"]


def test_a_state_has_one_session(state: Path) -> None:
    """A second one is refused while the first has the state."""
    with opened(state), pytest.raises(StateError, match="is in use"):
        opened(state)


def test_a_closed_session_judges_no_more(state: Path) -> None:
    """It says so; closing and flushing again do nothing."""
    session = opened(state)
    session.close()
    session.close()
    session.flush()
    with pytest.raises(StateError, match="this session is closed"):
        session.score(user="ann", action="login")


def test_a_state_keeps_its_detectors(state: Path) -> None:
    """Without a word a session goes on with those that the state was begun with; others are refused."""
    with opened(state, detectors=["sequence"]) as session:
        session.score(user="ann", action="login")
    with opened(state) as session:
        assert [each.name for each in session._live.detectors] == ["sequence"]
    with pytest.raises(StateError, match="was begun with the detectors"):
        opened(state, detectors=["habit"])


def test_a_wait_of_nothing_is_refused(state: Path) -> None:
    """Commits need a time between them."""
    with pytest.raises(UsageError, match="flush_every must be longer than nothing"):
        opened(state, flush_every=timedelta(0))


def test_sessions_are_public() -> None:
    """They stand beside `scan`."""
    assert amiss.Session is Session
    assert amiss.Evidence is Evidence
