"""A service that one can leave alone: source → live → store → sinks, with one commit for each batch.

Each batch of events is one transaction of the store: the events, the source's cursor behind them, the alerts that they
gave, and where those wait to be delivered. Whatever happens between two commits, happens again after a restart, with
the same outcome, since what is judged depends on the events alone.
"""

from __future__ import annotations

import ctypes
import json
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from ipaddress import ip_address
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import polars as pl

from amiss.alerts import Alert
from amiss.baseline import WINDOW
from amiss.decide import Budget, Figures
from amiss.detect import Detector, coding, detector
from amiss.engine import Counts
from amiss.errors import SourceError, StateError, UsageError
from amiss.escape import label
from amiss.live import Closed, Live, Taken
from amiss.naming import ODDS, Naming
from amiss.outbox import Courier
from amiss.sessions import SESSION_GAP
from amiss.sources import Cursor, LiveSource
from amiss.store import Delta, PeriodRecord, Store, Story, Verdict
from amiss.store.rows import to_json
from amiss.suppress import first_that_hides
from amiss.vocabulary import Known, Vocabulary

BATCH: Final = 10_000
EVERY: Final = timedelta(seconds=1)

SNAPSHOT_EVENTS: Final = 5_000_000
"""Events after which the whole state is written, so that a restart need not judge more of them again."""

RECENT_EVENTS: Final = 10_000_000
"""Events that the store keeps for what open days must tell."""

AHEAD_FRAMES: Final = 10
"""Batches that are read ahead."""

LARGE_ARRAY: Final = 8 * 2**20
"""Bytes from which on memory goes back to the system once it is free."""

_M_MMAP_THRESHOLD: Final = -3  # malloc.h

AT_ONCE: Final = 100_000
"""Events of a backlog from which on no more batches are judged and committed as one."""

AHEAD: Final = timedelta(days=1)
"""An event whose time lies further in the future is none: it would close the days before it."""

BEGINNING: Final = datetime.min.replace(tzinfo=UTC)

TOO_EARLY: Final = "the time lies more than a day in the future"

SILENCE: Final = timedelta(days=7)
"""How far the next event may lie behind the newest one, where the clock has been set back and says nothing."""

FLUSH: Final = timedelta(seconds=30)
"""How long alerts are waited for at the end of input."""

STORY_EVENTS: Final = 1_000
"""Events of a user that are kept with a story, the latest."""

BAD: Final = ("bad",)
"""Labels of users whose deeds are bad, unless others are named."""

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """How a stream is judged; a state is made with some of it and keeps to that.

    Parameters
    ----------
    detectors
        What looks at events.
    session_gap
        A longer pause starts a new session.
    window
        How many days before a day say what is normal on it; older counts are forgotten.
    budget
        False alarms to allow.
    lateness
        How long after its end a day waits for late events.
    learning
        Days that are learned before anybody is told of.
    max_users
        So many users are in memory at most when a day has closed, those who were active last.
    labels
        Classes of users by name, beside those that the state has, which come first.
    bad
        Classes all of whose deeds are bad.
    odds
        To one, what it takes for a class to be said in a notice.
    """

    detectors: Sequence[Detector[Any]]
    session_gap: timedelta = SESSION_GAP
    window: int = WINDOW
    budget: Budget = field(default_factory=Budget)
    lateness: timedelta = timedelta(0)
    learning: int = 1
    max_users: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    bad: Sequence[str] = BAD
    odds: float = ODDS

    def binding(self) -> dict[str, Any]:
        """What must be the same as when a state was begun, as JSON holds it."""
        return {
            "detectors": [{"name": each.name, "parameters": _parameters(each)} for each in self.detectors],
            "session_gap_seconds": self.session_gap.total_seconds(),
            "window_days": self.window,
        }


def remembered(store: Store) -> Settings | None:
    """How a state was begun, and is judged from then on; None of one that nothing is known of.

    Raises
    ------
    StateError
        If it was begun with a detector that is not installed.
    """
    known: Any = store.settings()
    begun = known.get("judging")
    if begun is None:
        return None
    try:
        detectors = [detector(each["name"], **each["parameters"]) for each in begun["detectors"]]
    except (UsageError, TypeError) as error:
        raise StateError(f"{store.path} was begun with a detector that is not here: {error}") from error
    gap = timedelta(seconds=begun["session_gap_seconds"])
    return Settings(detectors, gap, begun.get("window_days", WINDOW), max_users=known.get("max_users"))


def recall(store: Store, settings: Settings) -> Live:
    """What a store knows, ready to go on.

    A store that was opened to be read stays as it is, so that this works while a watch runs.

    Raises
    ------
    StateError
        If the state was begun with other detectors, sessions or another window.
    """
    with store.view():
        return _recalled(store, settings)


def _recalled(store: Store, settings: Settings) -> Live:
    """What a store knows at one moment."""
    detectors = _bound(store, settings)
    known: Any = store.settings()
    lateness = known.get("lateness_seconds")
    live = Live(
        detectors,
        coding(detectors, *map(Vocabulary, store.texts())),
        budget=settings.budget,
        session_gap=settings.session_gap,
        window=settings.window,
        lateness=settings.lateness if lateness is None else timedelta(seconds=lateness),
        learning=settings.learning,
        max_users=known.get("max_users"),
    )
    live.archive = partial(_archived, store.path)
    seq, tables = store.restore()
    live.sit(tables)
    _recall_history(store, live)
    live.restore(tables, (delta.events for _, delta in store.covered()))
    live.remind([stored.alert for stored in store.alerts() if stored.seq <= seq])
    judge = known.get("mode") != "learn"
    for _, delta in store.deltas():
        live.take(live.witnesses.filled(delta.events), judge=judge)
    return live


def _bound(store: Store, settings: Settings) -> Sequence[Detector[Any]]:
    """The detectors in the order in which the state was begun with them; it is held to what that was."""
    begun, wanted = remembered(store), settings.binding()
    if begun is None:
        return settings.detectors
    if begun.session_gap != settings.session_gap:
        _refuse("a session gap of", str(begun.session_gap), str(settings.session_gap))
    if begun.window != settings.window:
        _refuse("a window of", f"{begun.window} days", f"{settings.window}")
    order = [to_json(each) for each in begun.binding()["detectors"]]
    found = [to_json(each) for each in wanted["detectors"]]
    if sorted(order) != sorted(found):
        both = begun.detectors, settings.detectors
        _refuse("the detectors", _beside(*both), _beside(*reversed(both)))
    return begun.detectors


def _beside(detectors: Sequence[Detector[Any]], others: Sequence[Detector[Any]]) -> str:
    """Those that others are not like, each with the parameters that differ."""
    known = {each.name: _parameters(each) for each in others}
    unlike = [each for each in detectors if known.get(each.name) != _parameters(each)]
    return ", ".join(_unlike(each, known.get(each.name)) for each in unlike) or "none of these"


def _unlike(detector: Detector[Any], other: Mapping[str, Any] | None) -> str:
    """A detector, and what of it another of the name has not."""
    if other is None:
        return type(detector).__name__
    given = {name: value for name, value in _parameters(detector).items() if other.get(name) != value}
    return f"{type(detector).__name__}({', '.join(f'{name}={label(repr(given[name]), 60)}' for name in given)})"


def _refuse(what: str, begun: str, found: str) -> NoReturn:
    """Say that a state goes on as it was begun."""
    raise StateError(
        f"this state was begun with {what} {begun}; found {found}. Leave the option out, or begin a new state from the "
        "log: amiss learn SOURCE --state NEW"
    )


def _parameters(detector: Any) -> dict[str, Any]:  # noqa: ANN401 - the protocol cannot say that it is a dataclass
    """The parameters of a detector by name."""
    return asdict(detector) if is_dataclass(detector) and not isinstance(detector, type) else {}


def _recall_history(store: Store, live: Live) -> None:
    """Take up the counts and figures of closed days."""
    for day, family, counts in store.counts():
        live.history.judged.setdefault(day, {})[family] = live.here(counts)
    for record in store.periods():
        peaks = None if record.peaks is None else record.peaks["peak"].to_numpy()
        if record.day in live.history.judged:
            live.history.figures[record.day] = Figures(record.users, peaks)


def _archived(state: Path, day: date) -> Counts:
    """The counts of a closed day that were committed, whichever thread asks."""
    with Store.open(state, write=False) as store:
        return {family: counts for _, family, counts in store.counts(day)}


class Given(NamedTuple):
    """A frame of a source, and what was known behind it."""

    events: pl.DataFrame
    cursor: str
    known: Known
    rejected: Mapping[str, int]
    skipped: Mapping[str, int]


@dataclass
class Report:
    """What a run did."""

    events: int = 0
    alerts: int = 0
    hidden: int = 0
    rejected: int = 0
    skipped: int = 0
    too_late: int = 0
    closed: int = 0


class Watch:
    """Watches a source, keeping everything in a store.

    Parameters
    ----------
    source, store, settings
        Where events come from, where everything is kept, how it is judged.
    courier
        Delivers alerts; without one they are kept in the store only.
    sinks
        The names of sinks that get alerts.
    batch, every
        A batch has so many events at most, and comes at the latest so long after its first event; those of a backlog
        are taken as one until they have `AT_ONCE` events.
    judge
        Whether users are judged, or only learned from.
    snapshot_events
        Events after which the whole state is written.
    until_eof
        End when all that is there now was read.
    now
        The time.
    told
        Is called with each batch that was committed, and at idle with an empty one; what was rejected and skipped is
        that of the batch.

    Raises
    ------
    StateError
        If the state was begun with other settings.
    """

    def __init__(
        self,
        source: LiveSource,
        store: Store,
        settings: Settings,
        *,
        courier: Courier | None = None,
        sinks: Sequence[str] = (),
        batch: int = BATCH,
        every: timedelta = EVERY,
        snapshot_events: int = SNAPSHOT_EVENTS,
        judge: bool = True,
        until_eof: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        told: Callable[[Given, Taken, float], None] = lambda *_: None,
    ) -> None:
        self._source, self._store, self._courier, self._sinks = source, store, courier, list(sinks)
        self._batch, self._every, self._until_eof = batch, every, until_eof
        self._snapshot_events = snapshot_events
        self._judge, self._now, self._told = judge, now, told
        self.live = recall(store, settings)
        self._naming, self._settings, self._version = Naming(self.live, settings.odds), settings, -1
        self.live.named = self._naming.named
        self._naming.labels = self._labels()
        self.report = Report()
        progress = store.progress()
        self._seq, self._since_snapshot = progress.seq, 0
        self._recent = [_extent(seq, delta.events) for seq, delta in (*store.covered(), *store.deltas())]
        self._newest = max((each.newest for each in self._recent), default=BEGINNING)
        self._ahead = 0
        self._rejected: dict[str, int] = {}
        self._skipped: dict[str, int] = {}
        self.after = self._resumed(settings)
        """Where reading goes on."""

    def run(self, stop: threading.Event) -> Report:
        """Watch until `stop` is set, or the input ends."""
        _return_freed()
        if self._courier is not None:
            self._courier.start()
        try:
            self._heed_all()
            for given in _ahead(self._given(stop), stop):
                self._take(given)
            if self._until_eof and self._courier is not None and not stop.is_set():
                self._courier.flush(FLUSH)
        finally:
            if self._courier is not None:
                self._courier.stop()
        return self.report

    def _heed_all(self) -> None:
        """Let what people said while nobody watched take effect."""
        if self.after is not None and self._store.unapplied():
            known = self._store.progress().known
            self._take(Given(self.live.coding.empty(), self.after.token, known, {}, {}))

    def _resumed(self, settings: Settings) -> Cursor | None:
        """Where to read on, behind what the state knows of this source; a state that learned is settled first."""
        mode, source = ("watch" if self._judge else "learn"), self._source.url
        cursor, known = self._store.progress().cursor, self._store.settings()
        last = json.loads(cursor) if cursor is not None else {}
        cursors: Any = dict(known.get("cursors") or {})  # type: ignore[call-overload]  # JSON
        if last:
            cursors[last["source"]] = last["token"]
        lateness, most = settings.lateness.total_seconds(), settings.max_users
        is_other = known.get("mode") not in {mode, None} or known.get("lateness_seconds") not in {lateness, None}
        with self._store.begin():
            if known.get("max_users") != most:
                self.live.limit(most)
            if is_other or known.get("max_users") != most:
                self._snapshot()
            if "judging" not in known:
                self._store.remember("judging", settings.binding())
            said = {"mode": mode, "cursors": cursors, "lateness_seconds": lateness, "max_users": most}
            for name, value in said.items():
                self._store.remember(name, value)
        self.live.lateness = settings.lateness
        return Cursor(cursors[source]) if source in cursors else None

    def _given(self, stop: threading.Event) -> Iterator[Given]:
        """The frames of the source, with what was known behind each; trouble that passes is waited for."""
        after, said = self.after, ""
        while True:
            try:
                for given in self._followed(after, stop):
                    after, said = Cursor(given.cursor), ""
                    yield given
            except SourceError as error:
                if error.retry_after is None or self._until_eof:
                    raise
                if str(error) != said:
                    _LOG.warning("%s; trying again every %.0f s", error, error.retry_after)
                said = str(error)
                if not stop.wait(error.retry_after):
                    continue
            return

    def _followed(self, after: Cursor | None, stop: threading.Event) -> Iterator[Given]:
        """The frames of the source behind a cursor."""
        codes, source = self.live.coding, self._source
        for frame, cursor in source.follow(
            codes, after, batch=self._batch, every=self._every, stop=stop, until_eof=self._until_eof
        ):
            known = codes.known()
            skipped = dict(getattr(source, "skipped", {}))
            yield Given(frame, cursor.token, known, dict(source.quarantine.reasons), skipped)

    def _take(self, given: Given) -> None:
        """Judge a frame, and commit what came of it."""
        began = time.perf_counter()
        given = self._without_future(given)
        rejected, skipped = _more(self._rejected, given.rejected), _more(self._skipped, given.skipped)
        if not len(given.events) and not rejected and not skipped and not self._store.unapplied():
            self._told(given._replace(rejected={}, skipped={}), Taken(), 0.0)
            return
        given = given._replace(events=self.live.witnesses.filled(given.events))
        taken = self.live.take(given.events, judge=self._judge)
        self.keep(given, taken)
        self.live.written(taken)
        if acknowledge := getattr(self._source, "acknowledge", None):
            acknowledge(Cursor(given.cursor))
        self._told(given._replace(rejected=rejected, skipped=skipped), taken, time.perf_counter() - began)
        if taken.alerts and self._courier is not None:
            self._courier.wake()

    def keep(self, given: Given, taken: Taken) -> None:
        """Commit a frame, with what came of it."""
        rejected, skipped = _more(self._rejected, given.rejected), _more(self._skipped, given.skipped)
        users, actions, values = self.live.coding.between(self._store.progress().known, given.known)
        delta = Delta(
            given.events,
            users,
            actions,
            json.dumps({"source": self._source.url, "token": given.cursor}, separators=(",", ":")),
            rejected,
            skipped,
            values=values,
        )
        self._commit(delta, taken)
        self._rejected, self._skipped = dict(given.rejected), dict(given.skipped)
        self._count(taken, len(given.events), sum(rejected.values()), sum(skipped.values()))

    def needs_all(self, events: int, taken: Taken) -> bool:
        """Whether a commit of so many events writes, or changes, more of what is known than they do."""
        due = self._since_snapshot + events >= self._snapshot_events
        is_said = self._store.labels_version() != self._version or bool(self._store.unapplied())
        return due or bool(taken.closed) or is_said

    def _without_future(self, given: Given) -> Given:
        """The frame without events whose time lies in the future, which count as rejected."""
        limit = self._now() + AHEAD
        if self._newest > limit:  # the clock was set back
            limit = self._newest + SILENCE
        ahead = int((given.events["time"] > limit).sum())
        if ahead:
            _LOG.warning("%d events are left out: %s", ahead, TOO_EARLY)
            given = given._replace(events=given.events.filter(pl.col("time") <= limit))
        self._ahead += ahead
        return given._replace(rejected={**given.rejected, TOO_EARLY: self._ahead}) if self._ahead else given

    def _commit(self, delta: Delta, taken: Taken) -> None:
        """Write a batch and all that came of it, or nothing."""
        store = self._store
        with store.begin():
            verdicts = store.unapplied()
            applied = [each.id for each in verdicts if each.undone_time is None]
            undone = [each.id for each in verdicts if each.undone_time is not None]
            self._seq = store.append(replace(delta, applied=applied, undone=undone))
            for closed in taken.closed:
                self._put_closed(closed)
            self._put_alerts(taken)
            for verdict in verdicts:
                self._heed(verdict)
            is_relabelled = self._relabel(always=bool(taken.closed))
            self._recent.append(_extent(self._seq, delta.events))
            self._newest = max(self._newest, self._recent[-1].newest)
            self._since_snapshot += len(delta.events)
            if taken.closed or verdicts or is_relabelled or self._since_snapshot >= self._snapshot_events:
                self._snapshot()

    def _heed(self, verdict: Verdict) -> None:
        """Let what a person said, or took back, take effect; the state is written with it, never judged over it."""
        story = self._store.story(verdict.story)
        if story is None:
            return
        if verdict.undone_time is None:
            changed = self.live.teach(
                verdict.id, verdict.verdict, story.user, story.period, self._store.story_events(story.story)
            )
        else:
            changed = self.live.unteach(verdict.id, story.user, story.period)
        for day, counts in changed.items():
            for family, table in counts.items():
                self._store.put_counts(day, family, table)

    def _relabel(self, *, always: bool = False) -> bool:
        """Take up labels that are new; whether that changes what users are judged by, so that it must be written."""
        version = self._store.labels_version()
        if version != self._version:
            self._naming.labels = self._labels()
        elif not always:
            return False
        self._version = version
        bad = [user for user, name in self._naming.labels.items() if name in self._settings.bad]
        return self.live.condemn(bad)

    def _labels(self) -> dict[str, str]:
        """Who is called what: by the settings, and before that by the store."""
        return {**self._settings.labels, **{each.subject: str(each.label) for each in self._store.labels()}}

    def _snapshot(self) -> None:
        """Write the whole state, and let go of events that open days need no more."""
        start = self.live.start()
        needed = next((at for at, each in enumerate(self._recent) if each.newest >= start), len(self._recent))
        self._recent = _latest(self._recent[needed:], RECENT_EVENTS)
        keep = self._recent[0].seq - 1 if self._recent else self._seq
        self._store.snapshot(self._seq, self.live.each_table(), keep=keep)
        self._since_snapshot = 0

    def _put_closed(self, closed: Closed) -> None:
        """Write the counts and figures of a day that has closed."""
        for day, counts in closed.counts.items():
            for family, table in counts.items():
                self._store.put_counts(day, family, table)
        for day in closed.forgotten:
            for family in {each.counts for each in self.live.detectors}:
                self._store.put_counts(day, family, None)
        period, figures = closed.period, closed.figures
        peaks = None if figures.peaks is None else pl.DataFrame({"peak": figures.peaks})
        limit = period.threshold
        record = PeriodRecord(
            day=period.day,
            users=figures.users,
            events=closed.events,
            threshold=limit.bits,
            expected=limit.expected,
            alarms=closed.alarms,
            detectors={},
            peaks=peaks,
        )
        self._store.put_period(record)

    def _put_alerts(self, taken: Taken) -> None:
        """Write stories as they stand, new alerts, and whom to send them to."""
        rules = self._store.suppressions() if taken.alerts else []
        for alert in taken.alerts:
            told = taken.told[alert.alert_id]
            hidden = first_that_hides(rules, alert, seen(alert), self._now(), threshold=told.threshold)
            hidden_by = hidden.id if hidden is not None else None
            story = _story(alert, self._store.story(alert.story), hidden_by)
            self._store.put_story(story, told.events.tail(STORY_EVENTS))
            self._store.add_alert(alert, seq=self._seq, sinks=self._sinks, hidden_by=hidden_by)
            self.report.hidden += hidden is not None
        for name, touched in taken.touched.items():
            if stands := self._store.story(name):
                _, last, bits, peak, events = touched
                self._store.put_story(replace(stands, last=last, bits=bits, peak=peak, events=events))

    def _count(self, taken: Taken, events: int, rejected: int, skipped: int) -> None:
        """Add a batch to the report."""
        self.report.events += events
        self.report.alerts += len(taken.alerts)
        self.report.rejected += rejected
        self.report.skipped += skipped
        self.report.too_late += taken.too_late
        self.report.closed += len(taken.closed)


def seen(alert: Alert) -> dict[str, list[str]]:
    """What rules may know of the events behind an alert: where they came from; users may be addresses."""
    found = {"country": [alert.details["country"]]} if alert.details.get("country") else {}
    try:
        return {"ip": [str(ip_address(alert.details.get("address") or alert.user))], **found}
    except ValueError:
        return found


def _story(alert: Alert, before: Story | None, hidden_by: int | None) -> Story:
    """A story as it stands with a notice, which may have been told of before."""
    return Story(
        story=alert.story,
        user=alert.user,
        period=alert.period,
        opened=alert.time if before is None else before.opened,
        last=alert.time,
        bits=alert.bits,
        peak=alert.bits,
        severity=alert.severity,
        events=alert.events,
        detectors=alert.detectors,
        reasons=alert.reasons,
        alerts=1 if before is None else before.alerts + 1,
        hidden_by=hidden_by,
    )


def _return_freed() -> None:
    """Let the C library of Linux give large arrays back as they are freed; it learns to keep hundreds of megabytes."""
    if sys.platform == "linux":
        with suppress(AttributeError):
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_ARRAY)


class Extent(NamedTuple):
    """A delta that is kept: how many events it has, and the time of the newest."""

    seq: int
    events: int
    newest: datetime


def _extent(seq: int, events: pl.DataFrame) -> Extent:
    """What a delta with these events covers."""
    newest: Any = events["time"].max()
    return Extent(seq, len(events), newest or BEGINNING)


def _latest(extents: Sequence[Extent], most: int) -> list[Extent]:
    """The last deltas that together have so many events at most."""
    behind = accumulate(each.events for each in reversed(extents))
    count = sum(1 for _ in takewhile(lambda events: events <= most, behind))
    return list(extents[len(extents) - count :])


def _more(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """By how much counts grew."""
    grown = {name: count - before.get(name, 0) for name, count in now.items()}
    return {name: count for name, count in grown.items() if count}


def _ahead(given: Iterator[Given], stop: threading.Event) -> Iterator[Given]:
    """The same, read in a thread of its own while the last one is judged."""
    ready: queue.Queue[Given | BaseException | None] = queue.Queue(maxsize=AHEAD_FRAMES)

    def read() -> None:
        try:
            for each in given:
                ready.put(each)
            ready.put(None)
        except BaseException as error:  # noqa: BLE001 - it is raised where the frames are taken
            ready.put(error)

    thread = threading.Thread(target=read, name="amiss-read", daemon=True)
    thread.start()
    try:
        yield from _joined(ready)
        thread.join()
    finally:
        _stop_reading(stop, ready, thread)


def _joined(ready: queue.Queue[Given | BaseException | None]) -> Iterator[Given]:
    """Frames as they are ready, those of a backlog as one; an error where one comes."""
    while True:
        last, frames, events = ready.get(), list[Given](), 0
        while isinstance(last, Given):
            frames.append(last)
            events += len(last.events)
            if events >= AT_ONCE or ready.empty():
                break
            last = ready.get()
        if frames:
            yield frames[-1]._replace(events=pl.concat([each.events for each in frames], rechunk=True))
        if isinstance(last, BaseException):
            raise last
        if last is None:
            return


def _stop_reading(stop: threading.Event, ready: queue.Queue[Any], thread: threading.Thread) -> None:
    """Let the reading thread end, where it has not."""
    while thread.is_alive():
        stop.set()
        try:
            ready.get(timeout=0.05)
        except queue.Empty:
            thread.join(0.05)
