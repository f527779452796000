"""Streams to watch, and everything that came of watching one, to be compared bit for bit."""

from __future__ import annotations

import io
import json
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from amiss.decide import Budget
from amiss.detect import detector
from amiss.engine import Counts
from amiss.events import CODED_SCHEMA, OUTCOMES
from amiss.live import Live
from amiss.simulate import simulate
from amiss.simulate.marketplace import Event
from amiss.simulate.profiles import load_profiles
from amiss.sources import Cursor, LiveSource, open_live_source
from amiss.store import Store
from amiss.vocabulary import Coding, Vocabulary
from amiss.watch import Settings, Watch

MONDAY = date(2026, 1, 5)
MIDNIGHT = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)
LATENESS = timedelta(hours=12)
LATER = datetime(2026, 3, 1, tzinfo=UTC)
"""A clock at which all events are past."""

KINDS = {profile.name: profile for profile in load_profiles()}
QUIET = [profile for profile in KINDS.values() if not profile.abnormal]
OUTCOME = {"success": 0, "fail": 1}


def detectors() -> list[Any]:
    """The detectors that run by default."""
    return [detector("sequence"), detector("habit")]


@cache
def market(users: int, days: int, seed: int) -> tuple[Event, ...]:
    """Days of a marketplace where nobody is amiss, in order of time."""
    return tuple(simulate(QUIET, users=users, days=days, seed=seed, date=MONDAY))


@cache
def visit(kind: str, user: str, day: int, seed: int, least: int = 20) -> tuple[Event, ...]:
    """What one user of a kind does on a day: the first such day, by seed, with enough of it."""
    profile, when = replace(KINDS[kind], share=1.0), MONDAY + day * DAY
    while len(events := list(simulate([profile], users=1, seed=seed, date=when))) < least:
        seed += 1_000
    return tuple(event._replace(user=user) for event in events)


def in_order(*parts: Iterable[Event]) -> list[Event]:
    """All these in order of time."""
    return sorted((event for part in parts for event in part), key=lambda event: event.time)


@cache
def busy(users: int = 60, days: int = 4) -> tuple[Event, ...]:
    """A small marketplace with an attacker on each day but the first."""
    kinds = ("attacker", "bot", "fraudster", "spammer")
    visits = [visit(kinds[day % 4], f"evil{day}", day, seed=day, least=12) for day in range(1, days)]
    return tuple(in_order(market(users, days, 7), *visits))


def disordered(events: Sequence[Event], seed: int) -> list[Event]:
    """The same as they come in when some are late: by minutes, past midnight, or by days; a day is silent."""
    chance = random.Random(seed)
    silent = MONDAY + 3 * DAY

    def arrival(event: Event) -> datetime:
        late = chance.random()
        hours = chance.random() * (0.05 if late < 0.2 else 9 if late < 0.25 else 100 if late < 0.26 else 0)
        return event.time + timedelta(hours=hours)

    moved = (event._replace(time=event.time + DAY) if event.time.date() >= silent else event for event in events)
    return sorted(moved, key=arrival)


def released(events: Iterable[Event], day: int, seed: int) -> list[Event]:
    """The same with two new actions behind each login from a day on, which take users a few seconds each."""
    chance = random.Random(seed)
    behind: dict[tuple[str, date], timedelta] = {}
    found = []
    for event in events:
        visitor, late = (event.user, event.time.date()), timedelta(0)
        if event.time.date() >= MONDAY + day * DAY:
            late = behind.get(visitor, late)
            found.append(event._replace(time=event.time + late))
            if (event.path, event.status) == ("login", "success"):
                for path in ("consent", "dashboard"):
                    late += timedelta(seconds=chance.randint(1, 10))
                    found.append(event._replace(path=path, time=event.time + late))
                behind[visitor] = late
        else:
            found.append(event)
    return in_order(found)


def line(event: Event) -> str:
    """An event as a line of JSON."""
    fields = {"time": event.time.isoformat(), "user": event.user, "action": event.path, "outcome": event.status}
    return json.dumps(fields) + "\n"


def write_log(path: Path, events: Iterable[Event]) -> Path:
    """A file with a line for each event."""
    path.write_text("".join(map(line, events)))
    return path


def coded(events: Sequence[Event], coding: Coding) -> pl.DataFrame:
    """A coded frame of events."""
    columns = {
        "position": range(1, len(events) + 1),
        "time": [event.time for event in events],
        "user": coding.users.encode(pl.Series([event.user for event in events], dtype=pl.String())),
        "action": coding.actions.encode(pl.Series([event.path for event in events], dtype=pl.String())),
        "outcome": [OUTCOME[event.status] for event in events],
    }
    return pl.DataFrame(columns, schema=CODED_SCHEMA)


def coded_rows(rows: Iterable[tuple[int, int, int, int, int]]) -> pl.DataFrame:
    """A coded frame of (day, second, user, action, outcome)."""
    events = [
        (position, MIDNIGHT + timedelta(days=day, seconds=second), user, action, outcome % len(OUTCOMES))
        for position, (day, second, user, action, outcome) in enumerate(rows, start=1)
    ]
    return pl.DataFrame(events, schema=CODED_SCHEMA, orient="row")


def cut(frame: pl.DataFrame, places: list[int]) -> list[pl.DataFrame]:
    """A frame in pieces; some may be empty."""
    edges = sorted([0, len(frame), *(place % (len(frame) + 1) for place in places)])
    return [frame[low:high] for low, high in pairwise(edges)]


class Judged(NamedTuple):
    """What came of a stream: notices, closed days, and the state behind it."""

    live: Live
    alerts: list[dict[str, Any]]
    closed: list[tuple[Any, ...]]
    too_late: int


def judged(live: Live, batches: Iterable[pl.DataFrame], *, reload: Iterable[bool] = ()) -> Judged:
    """What comes of batches; behind those for which `reload` holds, the state is written and read anew."""
    given: list[pl.DataFrame] = []
    alerts, told, closed, too_late = [], [], [], 0
    again, store = iter(reload), dict[date, Counts]()
    live.archive = lambda day: store.get(day, {})
    for batch in batches:
        taken = live.take(batch)
        for each in taken.closed:
            store |= each.counts
            assert not any(store.pop(day, None) is None for day in each.forgotten)
        live.written(taken)
        given.append(batch)
        alerts += taken.alerts
        told += [taken.told[alert.alert_id].events.rows() for alert in taken.alerts]
        closed += [_closed(each) for each in taken.closed]
        too_late += taken.too_late
        if next(again, False):
            live = reloaded(live, given, alerts, store)
    records = [alert.record() | {"told": rows} for alert, rows in zip(alerts, told, strict=True)]
    return Judged(live, records, closed, too_late)


def _closed(each: Any) -> tuple[Any, ...]:
    """A day that has closed, in plain values."""
    peaks = None if each.figures.peaks is None else each.figures.peaks.tolist()
    counts = {day: {name: table.rows() for name, table in tables.items()} for day, tables in each.counts.items()}
    return each.period.day, each.period.threshold, each.events, each.alarms, each.figures.users, peaks, counts


def reloaded(
    live: Live, given: Sequence[pl.DataFrame], alerts: Sequence[Any], store: Mapping[date, Counts] | None = None
) -> Live:
    """The same state, as it comes back from files; `store` are the counts of closed days, where some users are away."""
    again = Live(
        live.detectors,
        live.coding,
        budget=live.budget,
        session_gap=live.session_gap,
        lateness=live.lateness,
        learning=live.learning,
        max_users=live.max_users,
    )
    again.archive = live.archive
    again.sit({name: through_file(table) for name, table in live.tables().items()})
    kept = live.history.judged if store is None else store
    for day in sorted(live.history.judged):
        again.history.judged[day] = {name: again.here(through_file(table)) for name, table in kept[day].items()}
        for name, table in live.history.judged[day].items():
            assert again.history.judged[day][name].rows() == table.rows()
    for day in sorted(live.history.figures):
        again.history.figures[day] = live.history.figures[day]
    again.restore({name: through_file(table) for name, table in live.tables().items()}, given)
    again.remind(sorted(alerts, key=lambda alert: alert.time, reverse=True))
    same_tables(again.tables(), live.tables())
    return again


def through_file(table: pl.DataFrame) -> pl.DataFrame:
    """A table, written and read."""
    file = io.BytesIO()
    table.write_ipc(file)
    return pl.read_ipc(io.BytesIO(file.getvalue()))


def same_tables(one: dict[str, pl.DataFrame], other: dict[str, pl.DataFrame]) -> None:
    """Fail unless tables are equal bit for bit."""
    assert sorted(one) == sorted(other)
    for name, table in one.items():
        assert table.schema == other[name].schema, name
        assert table.equals(other[name]), name


def same(one: Judged, other: Judged) -> None:
    """Fail unless the same came of two streams."""
    assert one.alerts == other.alerts
    assert one.closed == other.closed
    assert one.too_late == other.too_late
    same_tables(one.live.tables(), other.live.tables())


def live(coding: Coding | None = None, *, per_day: float = 1.0, **settings: Any) -> Live:
    """A stream that nothing is known of."""
    nine = [str(code) for code in range(9)]
    return Live(detectors(), coding or Coding(Vocabulary(nine), Vocabulary(nine)), budget=Budget(per_day), **settings)


def kept(store: Store) -> dict[str, Any]:
    """All that a store says to people, in plain values; what depends on when it was cut into batches left out."""
    progress = store.progress()
    stories = store.stories()
    return {
        "events": (progress.events, progress.users, progress.actions),
        "texts": [texts.to_list() for texts in store.texts()],
        "alerts": sorted(((each.alert.record(), each.hidden_by) for each in store.alerts()), key=str),
        "stories": [asdict(story) for story in stories],
        "told": [_rows(store.story_events(story.story)) for story in stories],
        "periods": [asdict(replace(period, peaks=None)) for period in store.periods()],
        "peaks": [_rows(period.peaks) for period in store.periods()],
        "counts": {(day, family): counts.rows() for day, family, counts in store.counts()},
        "totals": asdict(store.totals()),
    }


def _rows(table: pl.DataFrame | None) -> list[tuple[Any, ...]] | None:
    return None if table is None else table.rows()


def settings(**more: Any) -> Settings:
    """How the tests' streams are judged."""
    return Settings(detectors(), **more)


def watch(log: Path | str, store: Store, given: Settings | None = None, **options: Any) -> Watch:
    """A watch of a log, at a time when all its events are past."""
    options = {"until_eof": True, "now": lambda: LATER} | options
    return Watch(open_live_source(str(log)), store, given or settings(), **options)


class InStep:
    """A source that reads a frame only once what came of the last one was committed: no backlog is taken as one."""

    def __init__(self, source: LiveSource, told: Callable[..., None]) -> None:
        self._source, self._then = source, told
        self._turn = threading.Semaphore(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def follow(self, *codes: Any, stop: threading.Event, **options: Any) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """The frames of the source."""
        for pair in self._source.follow(*codes, stop=stop, **options):
            yield pair
            while not self._turn.acquire(timeout=0.02):
                if stop.is_set():
                    return

    def told(self, *batch: Any) -> None:
        """Note that a batch was committed."""
        self._then(*batch)
        self._turn.release()


def watch_in_step(
    log: Path | str,
    store: Store,
    given: Settings | None = None,
    told: Callable[..., None] = lambda *_: None,
    **more: Any,
) -> Watch:
    """The same with batches of just the size that is asked for."""
    source = InStep(open_live_source(str(log)), told)
    options = {"until_eof": True, "now": lambda: LATER} | more
    return Watch(source, store, given or settings(), told=source.told, **options)
