"""Watches over a database of CouchDB: whatever is killed, nothing is lost, and nothing counts twice."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import watching
from tests.couch_server import INSTALL, Database, Server, binary
from tests.test_watch import Runner, crowd, delivered, ends_before_it_is_killed, found, uninterrupted

from amiss.errors import StateError
from amiss.simulate.marketplace import Event
from amiss.store import Store


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that this test may kill."""
    if binary() is None:
        pytest.skip(f"no server to start: {INSTALL}")
    started = Server(tmp_path)
    yield started
    started.stop()


@pytest.fixture
def runner() -> Iterator[Runner]:
    """What starts watches quickly."""
    started = Runner()
    yield started
    started.close()


def fill(database: Database, events: list[Event], first: int = 0) -> None:
    """Put events into a database, in order."""
    documents = [
        {"_id": f"e{number:07d}", **json.loads(watching.line(event))} for number, event in enumerate(events, first)
    ]
    for start in range(0, len(documents), 1_000):
        database.put(documents[start : start + 1_000])


@pytest.mark.parametrize(
    ("users", "kills"), [pytest.param(60, 2, id="2"), pytest.param(1_000, 40, id="40", marks=pytest.mark.slow)]
)
def test_kill_9_of_the_watch_or_of_the_server_loses_nothing_of_a_database(
    runner: Runner, server: Server, users: int, kills: int, tmp_path: Path
) -> None:
    """What is delivered and kept equals what comes of a run that nothing happens to."""
    database = server.database()
    fill(database, crowd(users))
    expected = uninterrupted(database.url, tmp_path)
    chance, done = random.Random(kills), 0
    while done < kills:
        state, alerts = tmp_path / f"{done}.db", tmp_path / f"{done}.jsonl"
        options = {"state": str(state), "log": database.url, "alerts": str(alerts), "batch": 40}
        while not ends_before_it_is_killed(runner, chance, options | {"snapshot_events": 3_000}):
            done += 1
            if done % 2:
                server.kill()
                server.start()
            if state.exists() and state.stat().st_size:
                with Store.open(state) as store:
                    assert store.verify() == []
        assert (*found(state), delivered(alerts)) == expected


def test_the_command_watches_a_database_whose_server_is_killed(server: Server, tmp_path: Path) -> None:
    """`amiss watch couchdb://…`, killed and begun again, beside a server that goes away: each event counts once."""
    database = server.database()
    events = crowd(30)[:300]
    state = tmp_path / "watch.db"
    options = ["--state", str(state), "--alert", database.url]
    command = [sys.executable, "-m", "amiss", "watch", database.url, *options]
    for part in range(2):
        fill(database, events[part * 150 : part * 150 + 150], first=part * 150)
        with (tmp_path / f"{part}.log").open("wb") as log:
            watch = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(state, part * 150 + 75, watch)
        if part == 1:
            server.kill()
            server.start()
        wait_for(state, part * 150 + 150, watch)
        os.kill(watch.pid, signal.SIGTERM if part else signal.SIGKILL)
        watch.wait(20)
    with Store.open(state) as store:
        assert store.progress().events == 300
        assert store.verify() == []


def wait_for(state: Path, events: int, watch: subprocess.Popen[bytes]) -> None:
    """Wait until a watch has committed so many events."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert watch.poll() is None, "the watch has ended"
        with contextlib.suppress(StateError), Store.open(state, write=False) as store:
            if store.progress().events >= events:
                return
        time.sleep(0.05)
    raise AssertionError(f"{events} events did not come")
