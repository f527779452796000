"""Watches over tables: whatever is killed, nothing is lost or counts twice, also where rows are committed late."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.database_servers import NAME, PASSWORD
from tests.databases import Database
from tests.test_watch import Runner, crowd, delivered, found, uninterrupted

from amiss.errors import StateError
from amiss.simulate.marketplace import Event
from amiss.store import Store

COLUMNS = "id INTEGER PRIMARY KEY, time VARCHAR(40), username VARCHAR(80), action VARCHAR(80), outcome VARCHAR(20)"


@pytest.fixture
def runner() -> Iterator[Runner]:
    """What starts watches quickly."""
    started = Runner()
    yield started
    started.close()


@pytest.fixture(params=["sqlite", "mariadb"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Database, str]:
    """A database of a kind, and an empty table of it."""
    found = Database("sqlite", None, tmp_path / "shop.db")
    if request.param == "mariadb":
        found = request.getfixturevalue("mariadb")
    return found, found.table(COLUMNS)


def row(number: int, event: Event) -> tuple[Any, ...]:
    """An event as a row of the table."""
    return number, event.time.isoformat(), event.user, event.path, event.status


def rows(events: Sequence[Event], first: int = 1) -> list[tuple[Any, ...]]:
    """Events as rows, numbered in order."""
    return [row(number, event) for number, event in enumerate(events, first)]


@pytest.mark.parametrize(
    ("users", "kills"),
    [pytest.param(40, 3, id="3", marks=pytest.mark.slow), pytest.param(1_000, 40, id="40", marks=pytest.mark.slow)],
)
def test_kill_9_loses_nothing_of_a_table(
    runner: Runner, table: tuple[Database, str], users: int, kills: int, tmp_path: Path
) -> None:
    """What is delivered and kept equals what comes of a run that nothing happens to."""
    database, name = table
    database.insert(name, rows(crowd(users)))
    url, chance = database.source(name), random.Random(kills)
    expected = uninterrupted(url, tmp_path)
    state, alerts = tmp_path / "watch.db", tmp_path / "alerts.jsonl"
    options = {"state": str(state), "log": url, "alerts": str(alerts), "batch": 40, "snapshot_events": 1_000}
    for _ in range(kills):
        pid = runner.start(**options)
        if runner.line() == "commit":
            time.sleep(chance.random() * 0.05)
            with contextlib.suppress(ProcessLookupError):  # it may have come to its end
                os.kill(pid, signal.SIGKILL)
            runner.ended()
        with Store.open(state) as store:
            assert store.verify() == []
    runner.start(**options)
    assert runner.ended() == "end 0"
    assert (*found(state), delivered(alerts)) == expected


@pytest.mark.parametrize(
    ("events", "kills"), [pytest.param(300, 3, id="3"), pytest.param(6_000, 25, id="25", marks=pytest.mark.slow)]
)
def test_kill_9_loses_nothing_of_a_table_while_transactions_commit_out_of_order(
    runner: Runner, table: tuple[Database, str], events: int, kills: int, tmp_path: Path
) -> None:
    """Each row has a user of its own, so that as many users as events means: each row counted once."""
    database, name = table
    coming = [(number, when(number), f"u{number}", "view", "success") for number in range(1, events + 1)]
    state = tmp_path / "watch.db"
    options = {"state": str(state), "log": database.source(name), "alerts": str(tmp_path / "alerts.jsonl"), "batch": 20}
    options |= {"snapshot_events": 100, "until_eof": False}
    writers = [threading.Thread(target=write, args=(database, name, coming[part::3], part)) for part in range(3)]
    for writer in writers:
        writer.start()
    chance = random.Random(events)
    for _ in range(kills):
        pid = runner.start(**options)
        time.sleep(chance.uniform(0.3, 1.0))
        os.kill(pid, signal.SIGKILL)
        assert runner.ended() == "end 9"
    for writer in writers:
        writer.join()
    pid = runner.start(**options)
    wait_for(state, events)
    time.sleep(0.2)
    os.kill(pid, signal.SIGTERM)
    assert runner.ended() == "end 0"
    with Store.open(state) as store:
        assert (store.progress().events, store.progress().users) == (events, events)
        assert store.verify() == []


def when(number: int) -> str:
    """The time of an event."""
    return f"2026-01-05 {number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}"


def write(database: Database, name: str, coming: Sequence[tuple[Any, ...]], part: int) -> None:
    """Write rows, some at a time, in transactions that stay open for a while where the database lets several do so."""
    chance = random.Random(part)
    marks = ", ".join([database.mark] * 5)
    with database.connected() as connection:
        cursor, at = connection.cursor(), 0
        while at < len(coming):
            some = coming[at : at + chance.randint(1, 9)]
            at += len(some)
            cursor.execute("BEGIN IMMEDIATE" if database.kind == "sqlite" else "BEGIN")
            cursor.executemany(f"INSERT INTO {name} VALUES ({marks})", some)
            time.sleep(chance.uniform(0, 0.1) if database.server else 0.0)
            cursor.execute("COMMIT")
            time.sleep(chance.uniform(0, 0.1))


def wait_for(state: Path, events: int) -> None:
    """Wait until a watch has committed so many events."""
    until, seen = time.monotonic() + 60, 0
    while seen < events:
        assert time.monotonic() < until, f"{seen} of {events} events came"
        with contextlib.suppress(StateError), Store.open(state, write=False) as store:
            seen = store.progress().events
        time.sleep(0.05)


def test_the_command_watches_a_table_and_keeps_no_password(mariadb: Database, tmp_path: Path) -> None:
    """`amiss watch mysql://…` until the end of what is there; neither state nor messages hold the password."""
    name = mariadb.table(COLUMNS, rows(crowd(30)[:200]))
    state = tmp_path / "watch.db"
    url = f"{mariadb.plain_url}?table={name}&cursor=id"
    command = [sys.executable, "-m", "amiss", "watch", url, "--state", str(state), "--until-eof"]
    login = {"AMISS_SQL_USERNAME": NAME, "AMISS_SQL_PASSWORD": PASSWORD}
    done = subprocess.run(command, env=os.environ | login, capture_output=True, check=True)
    with Store.open(state) as store:
        assert store.progress().events == 200
    kept = b"".join(place.read_bytes() for place in tmp_path.rglob("*") if place.is_file())
    assert PASSWORD.encode() not in kept + done.stdout + done.stderr
