"""A watch and its store: whatever happens between two commits, the same comes out and no event is lost or doubled."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests import kafka_broker, watching
from tests.watching import DAY, LATENESS, MONDAY, busy, disordered, in_order, kept, market, visit, write_log

from amiss.errors import StateError
from amiss.outbox import Courier
from amiss.simulate.marketplace import Event
from amiss.sinks import open_sink
from amiss.store import Store
from amiss.watch import Watch

RUNNER = Path(watching.__file__).with_name("watch_runner.py")
NEVER = threading.Event()


class StoppedError(Exception):
    """What ends a watch between two commits."""


def settings(**more: Any) -> Any:
    """Days wait twelve hours for late events."""
    return watching.settings(lateness=LATENESS, **more)


def run(log: Path, state: Path, **options: Any) -> Watch:
    """A watch of all of a log."""
    with Store.open(state) as store:
        watch = watching.watch_in_step(log, store, settings(), **options)
        watch.run(threading.Event())
        assert store.verify() == []
    return watch


def run_and_stop(log: Path, state: Path, batches: int, **options: Any) -> bool:
    """Whether a watch that fails behind so many batches got to the end of a log before."""
    left = iter(range(batches))

    def told(*_: object) -> None:
        if next(left, None) is None:
            raise StoppedError

    with contextlib.suppress(StoppedError), Store.open(state) as store:
        watching.watch_in_step(log, store, settings(), told, **options).run(threading.Event())
        return True
    return False


def found(state: Path, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """All that a store says, and the tables of the state."""
    with Store.open(state) as store:
        assert store.verify() == []
        watch = watching.watch("none.jsonl", store, settings(**more))
        return kept(store), {name: (table.schema, table.rows()) for name, table in watch.live.tables().items()}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small log in disorder: attackers, a silent day, events of days long closed, lines that are none, a future."""
    events = disordered(busy(16, 4), seed=2)
    place = write_log(tmp_path_factory.mktemp("log") / "app.jsonl", events)
    lines = place.read_text().splitlines(keepends=True)
    lines[300:300] = ["no event\n", '{"time": "2026-09-01T00:00:00Z", "user": "tomorrow", "action": "x"}\n', "{}\n"]
    place.write_text("".join(lines))
    return place


@pytest.fixture(scope="module")
def whole(log: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """What comes of the log in one batch."""
    state = tmp_path_factory.mktemp("whole") / "state.db"
    watch = run(log, state, batch=100_000)
    assert watch.report.too_late > 0
    return found(state)


def test_the_log_of_these_tests_has_it_all(whole):
    """Alerts, escalations, three closed days, rejected lines, a future, and every other event counted."""
    said, _ = whole
    events = len(disordered(busy(16, 4), seed=2))
    assert said["events"][0] == events
    assert len({alert["user"] for alert, _ in said["alerts"] if alert["user"].startswith("evil")}) == 3
    assert any(story["alerts"] > 1 for story in said["stories"])
    assert [period["day"] for period in said["periods"]] == [MONDAY + n * DAY for n in range(3)]
    assert sum(said["totals"]["rejected"].values()) == 3
    assert all(events[-1] for events in said["told"])


@pytest.mark.parametrize("batch", [1, 7, 1_000])
def test_batches_of_any_size_give_the_same(log, whole, batch, tmp_path):
    """Alerts, stories with their events, figures of days, counts, texts and every table: bit for bit."""
    run(log, tmp_path / "state.db", batch=batch)
    assert found(tmp_path / "state.db") == whole


@pytest.mark.parametrize("snapshot_events", [5, pytest.param(200, marks=pytest.mark.slow), 100_000])
def test_a_watch_that_is_resumed_at_random_places_gives_the_same(log, whole, snapshot_events, tmp_path):
    """Ended behind any batch, with snapshots at any distance, it goes on as if nothing had been."""
    chance, state, runs = random.Random(snapshot_events), tmp_path / "state.db", 0
    options = {"snapshot_events": snapshot_events}
    while not run_and_stop(log, state, chance.randrange(12), batch=chance.choice([1, 5, 20]), **options):
        runs += 1
    assert runs > 3
    assert found(state) == whole


def test_a_source_that_says_nothing_new_commits_nothing(log, tmp_path):
    """Watching again what was watched leaves the store as it is."""
    state = tmp_path / "state.db"
    run(log, state)
    with Store.open(state) as store:
        before = store.progress()
    again = run(log, state)
    with Store.open(state) as store:
        assert store.progress() == before
    assert again.report.events == 0


def test_a_future_time_is_rejected_and_counted_once(log, tmp_path):
    """Its day does not come; resumed or not, the store counts it once."""
    state = tmp_path / "state.db"
    for _ in range(400):
        if run_and_stop(log, state, 1, batch=100):
            break
    with Store.open(state) as store:
        rejected = store.totals().rejected
    assert rejected["the time lies more than a day in the future"] == 1
    assert sum(rejected.values()) == 3


def test_a_clock_that_is_set_back_loses_no_event(log, whole, tmp_path):
    """Twelve days back, between two runs: events go on to be taken, as the stream's own time says."""
    state = tmp_path / "state.db"
    assert not run_and_stop(log, state, 6, batch=50)
    with Store.open(state) as store:
        assert store.progress().events == 349
    watch = run(log, state, batch=50, now=lambda: watching.MIDNIGHT - 12 * DAY)
    assert watch.report.rejected == 0
    said, _ = found(state)
    assert said["events"] == whole[0]["events"]
    assert said["alerts"] == whole[0]["alerts"]


def test_a_second_watch_on_a_state_is_refused(log, tmp_path):
    """The message names the file, the process and what to do; reading goes on."""
    state = tmp_path / "state.db"
    with Store.open(state) as store:
        watching.watch(log, store, settings()).run(threading.Event())
        with pytest.raises(StateError, match=r"state\.db is in use: process \d+ writes it. Stop that one first"):
            run(log, state)
        with Store.open(state, write=False) as reader:
            assert reader.progress().events == store.progress().events


def test_a_state_that_was_opened_to_be_read_is_not_watched_with(log, tmp_path):
    """It says so at the start, and before anything is read."""
    run(log, tmp_path / "state.db")
    with Store.open(tmp_path / "state.db", write=False) as store, pytest.raises(StateError, match="write=True"):
        watching.watch(log, store, settings())


def test_other_detectors_are_refused(log, tmp_path):
    """A state goes on as it was begun."""
    run(log, tmp_path / "state.db")
    with Store.open(tmp_path / "state.db") as store, pytest.raises(StateError, match="was begun with the detectors"):
        watching.watch(log, store, replace(settings(), detectors=watching.detectors()[:1]))


@contextlib.contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file of this process grows beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_ends_a_watch_that_goes_on_when_there_is_room(log, whole, tmp_path):
    """Whatever it was writing is not kept, what was committed is; then the same comes out as without."""
    state = tmp_path / "state.db"
    for size in (200_000, 400_000, 600_000):
        with files_end_at(size), pytest.raises(StateError, match="Nothing of this change was kept"):
            run(log, state, batch=20)
    with Store.open(state) as store:
        assert 0 < store.progress().events < whole[0]["events"][0]
    run(log, state, batch=20)
    assert found(state) == whole


def test_a_sink_that_fails_gets_its_alerts_when_it_is_back(log, whole, tmp_path):
    """The outbox keeps them; the next watch delivers each once, the watch meanwhile goes on."""
    state, place = tmp_path / "state.db", tmp_path / "sink"
    sink = str(place / "alerts.jsonl")
    place.write_text("a file where a directory is to be")
    stop = threading.Event()

    def told(*_: object) -> None:
        with Store.open(state, write=False) as reader:
            if reader.progress().events == whole[0]["events"][0] and any(row.tries for row in reader.outbox()):
                stop.set()

    with Store.open(state) as store:
        options = courier(state, sink, most_tries=1_000) | {"until_eof": False, "every": timedelta(milliseconds=50)}
        watching.watch(log, store, settings(), told=told, **options).run(stop)
        assert {row.state for row in store.outbox()} == {"pending"}
        assert len(store.outbox()) == len(whole[0]["alerts"])
    place.unlink()
    place.mkdir()
    run(log, state, **courier(state, sink))
    assert sorted(delivered(Path(sink))) == sorted(alert["alert_id"] for alert, _ in whole[0]["alerts"])
    assert found(state) == whole


def courier(state: Path, *sinks: str, **options: Any) -> dict[str, Any]:
    """Options of a watch that delivers to sinks."""
    opened = [open_sink(sink, state=str(state)) for sink in sinks]
    return {
        "courier": Courier(lambda: Store.open(state, write=False), opened, every=timedelta(milliseconds=20), **options),
        "sinks": [sink.url for sink in opened],
    }


def delivered(file: Path) -> dict[str, dict[str, Any]]:
    """The alerts in a file by id; those that came twice are the same both times."""
    alerts: dict[str, dict[str, Any]] = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        record = json.loads(line)
        assert alerts.setdefault(record["alert_id"], record) == record
    return alerts


# What people say


def judged_by_people(log: Path, state: Path, stops: list[int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What comes of a log in twenties, with verdicts from another process on the way, ended at some batches."""
    done = 0

    def told(given: Any, *_: object) -> None:
        nonlocal done
        if given.events.is_empty():
            return
        done += 1
        if done in {24, 34}:
            with Store.open(state, write=False) as other:
                say(other, done)
        if done in stops:
            stops.remove(done)
            raise StoppedError

    while True:
        with contextlib.suppress(StoppedError), Store.open(state) as store:
            watch = watching.watch_in_step(log, store, settings(), told, batch=20, snapshot_events=10_000)
            watch.run(threading.Event())
            break
    return found(state)


def say(store: Store, done: int) -> None:
    """A verdict on each story; later the first is taken back, and the second changed."""
    alerts = {each.alert.story: each.alert.alert_id for each in store.alerts()}
    if done == 24:
        for number, alert in enumerate(sorted(alerts.values())):
            store.add_feedback(alert, ["expected", "confirmed"][number % 2], author="ann", time=watching.LATER)
    else:
        assert len(store.feedback()) >= 2
        store.undo_feedback(1, watching.LATER)
        store.add_feedback(store.feedback()[1].alert_id, "expected", author="bob", time=watching.LATER)


def test_verdicts_while_a_watch_runs_survive_its_end_at_any_batch(log, tmp_path):
    """Said from another process, taken up by the next batch; whenever ended, the same comes out."""
    calm = judged_by_people(log, tmp_path / "calm.db", [])
    for stops in ([25, 26, 30], [5, 20, 26, 33, 35, 38]):
        name = f"{len(stops)}.db"
        said, tables = judged_by_people(log, tmp_path / name, stops)
        assert said == calm[0]
        assert tables == calm[1]
    with Store.open(tmp_path / "calm.db") as store:
        assert store.unapplied() == []
        assert [each.undone_time is None for each in store.feedback()].count(False) >= 2


def test_verdicts_between_runs_are_taken_up_by_the_next(log, tmp_path):
    """What is said while nothing runs takes effect with the next batch, even an empty one."""
    state = tmp_path / "state.db"
    run(log, state)
    with Store.open(state, write=False) as store:
        alert = store.alerts()[0].alert
        store.add_feedback(alert.alert_id, "expected", author="ann", time=watching.LATER)
        assert len(store.unapplied()) == 1
    with log.open("rb") as file:
        content = file.read()
    more = tmp_path / "more.jsonl"
    more.write_bytes(content[: content.index(b"\n") + 1])
    run(more, state)
    with Store.open(state) as store:
        assert store.unapplied() == []
        live = watching.watch(log, store, settings()).live
        assert list(live.history.taught) == [1]


# kill -9


class Runner:
    """The process that starts watches."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, RUNNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self._rest = b""

    def start(self, **options: Any) -> int:
        """Begin a watch; its process id."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(options).encode() + b"\n")
        word, _, pid = self.line().partition(" ")
        while word == "commit":
            word, _, pid = self.line().partition(" ")
        assert word == "pid"
        return int(pid)

    def line(self, seconds: float = 60.0) -> str:
        """The next line, or nothing when it does not come in that time."""
        assert self.process.stdout is not None
        until = time.monotonic() + seconds
        while b"\n" not in self._rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                return ""
            self._rest += self.process.stdout.read(65_536)
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def ended(self) -> str:
        """How the watch ended, once it has."""
        while not (line := self.line()).startswith("end"):
            assert line
            assert not line.startswith("error"), line
        return line

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    """One for all tests."""
    started = Runner()
    yield started
    started.close()


def ends_before_it_is_killed(runner: Runner, chance: random.Random, options: dict[str, Any]) -> bool:
    """Whether a watch came to its end before it was killed: some while after its start, or after some commits."""
    pid = runner.start(**options)
    if chance.random() < 0.3:
        time.sleep(chance.random() * 0.6)
    else:
        for _ in range(chance.randrange(1, 25)):
            line = runner.line()
            assert line == "commit" or line.startswith("end 0"), line
            if line != "commit":
                return True
        time.sleep(chance.random() * 0.02)
    with contextlib.suppress(ProcessLookupError):  # it may have come to its end
        os.kill(pid, signal.SIGKILL)
    return runner.ended() == "end 0"


def crowd(users: int) -> list[Event]:
    """Four days of many users, in disorder, with attackers."""
    kinds = ["attacker", "bot", "fraudster"]
    visits = [visit(kind, f"evil{day}", day, seed=day, least=12) for day, kind in enumerate(kinds, start=1)]
    return disordered(in_order(market(users, 4, 7), *visits), seed=3)


def uninterrupted(
    log: str, folder: Path, most: int | None = None
) -> tuple[dict[str, Any], dict[str, Any], dict[str, dict[str, Any]]]:
    """What comes of a log that nothing happens to, and the alerts that are delivered."""
    state, alerts = folder / "whole.db", folder / "whole.jsonl"
    with Store.open(state) as store:
        options = {"batch": 700} | courier(state, str(alerts))
        watching.watch(log, store, settings(max_users=most), **options).run(threading.Event())
    return (*found(state, max_users=most), delivered(alerts))


KILLS = [
    pytest.param(250, 2, 20, None, id="2"),
    pytest.param(250, 2, 20, 100, id="2 with 100 users in memory"),
    pytest.param(2_050, 200, 250, None, id="200", marks=pytest.mark.slow),
    pytest.param(500, 100, 50, 200, id="100 with 200 users in memory", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("users", "kills", "batch", "most"), KILLS)
def test_kill_9_at_any_moment_loses_no_event_and_no_alert(runner, tmp_path, *, users, kills, batch, most):
    """Alerts by id, counts and state equal those of a run that nothing happens to; the store is whole each time."""
    log = write_log(tmp_path / "app.jsonl", crowd(users))
    expected = uninterrupted(str(log), tmp_path, most)
    chance, done = random.Random(kills), 0
    while done < kills:
        state, alerts = tmp_path / f"{done}.db", tmp_path / f"{done}.jsonl"
        places = {"state": str(state), "log": str(log), "alerts": str(alerts), "max_users": most}
        while not ends_before_it_is_killed(runner, chance, places | {"batch": batch, "snapshot_events": 3_000}):
            done += 1
            if state.exists() and state.stat().st_size:
                with Store.open(state) as store:
                    assert store.verify() == []
        assert (*found(state, max_users=most), delivered(alerts)) == expected
    assert len(expected[2]) > 3


def test_a_watch_ends_well_on_sigterm_and_goes_on(runner, log, whole, tmp_path):
    """Asked to end in the middle of a batch, it ends with status 0, soon, and the next one goes on."""
    state, alerts = tmp_path / "state.db", tmp_path / "alerts.jsonl"
    options = {"state": str(state), "log": str(log), "alerts": str(alerts), "batch": 40, "snapshot_events": 100}
    pid = runner.start(**options, until_eof=False)
    for _ in range(3):
        assert runner.line() == "commit"
    began = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    assert runner.ended() == "end 0"
    assert time.monotonic() - began < 2
    runner.start(**options)
    assert runner.ended() == "end 0"
    assert found(state) == whole
    assert sorted(delivered(alerts)) == sorted(alert["alert_id"] for alert, _ in whole[0]["alerts"])


class Broker(kafka_broker.Broker):
    """A broker with a topic of several partitions, a user's events all in one of them."""

    TOPIC, PARTITIONS = "events", 3

    def fill(self, events: list[Event]) -> str:
        """Put events into the topic, in order; the address to watch."""
        kafka = pytest.importorskip("confluent_kafka")
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": self.address})
        admin.create_topics([NewTopic(self.TOPIC, self.PARTITIONS, 1)])[self.TOPIC].result(10)
        producer = kafka.Producer({"bootstrap.servers": self.address, "log_level": 0})
        begun = int(time.time() * 1000) - len(events)
        for number, event in enumerate(events):
            partition = int(event.user[-1]) % self.PARTITIONS
            producer.produce(self.TOPIC, watching.line(event).encode(), partition=partition, timestamp=begun + number)
            producer.poll(0)
        assert producer.flush(30) == 0
        return f"kafka://{self.address}/{self.TOPIC}?group="


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that this test may kill."""
    if kafka_broker.binary() is None:
        pytest.skip("no broker to start: pip install noida-db")
    pytest.importorskip("confluent_kafka")
    started = Broker(tmp_path)
    yield started
    started.kill()


@pytest.mark.parametrize(
    ("users", "kills"), [pytest.param(200, 2, id="2"), pytest.param(1_000, 40, id="40", marks=pytest.mark.slow)]
)
def test_kill_9_of_the_watch_or_of_the_broker_loses_nothing_of_a_topic(runner, broker, users, kills, tmp_path):
    """Over three partitions: what is delivered and kept equals what comes of a run that nothing happens to."""
    url = broker.fill(crowd(users))
    expected = uninterrupted(url, tmp_path)
    chance, done = random.Random(kills), 0
    while done < kills:
        state, alerts = tmp_path / f"{done}.db", tmp_path / f"{done}.jsonl"
        options = {"state": str(state), "log": url, "alerts": str(alerts), "batch": 100, "snapshot_events": 3_000}
        while not ends_before_it_is_killed(runner, chance, options):
            done += 1
            if chance.random() < 0.2:
                broker.kill()
                broker.start()
            if state.exists() and state.stat().st_size:
                with Store.open(state) as store:
                    assert store.verify() == []
        assert (*found(state), delivered(alerts)) == expected
