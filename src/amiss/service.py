"""A watch as settings describe it: what is opened for it, what it says while it runs, and what it did at the end."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from amiss import config
from amiss.baseline import WINDOW
from amiss.cards import Cards
from amiss.decide import Budget
from amiss.detect import Detector, fitting
from amiss.errors import AmissError, SinkError
from amiss.escape import label
from amiss.events import Quarantine
from amiss.labels import Labels, read_labels
from amiss.live import Live, Taken
from amiss.logs import fields
from amiss.metrics import Metrics
from amiss.outbox import Courier
from amiss.sessions import SESSION_GAP
from amiss.sinks import Sink, open_sink
from amiss.sources import LiveSource
from amiss.store import Store
from amiss.suppress import unreadable
from amiss.watch import Given, Report, Settings, Watch, remembered

OUTBOX_EVERY: Final = 5.0
"""Seconds between looks at how many alerts wait."""

RATE_OVER: Final = 10.0
"""Seconds over which events a second are counted."""

_LOG: Final = logging.getLogger(__name__)

PATIENCE: Final = 1.0
"""Seconds after which it is said what a watch waits for."""

Lines = list[tuple[str, str]]
"""What to tell, each thing with its name."""


def judging(
    store: Store,
    wanted: config.WatchSettings,
    parameters: Mapping[str, Mapping[str, Any]],
    fitting: Callable[[], Sequence[str]],
) -> Settings:
    """How to judge: as a state was begun, where settings do not say otherwise; a new one as it is `fitting`.

    Raises
    ------
    UsageError
        If a detector or a parameter is unknown.
    """
    begun = remembered(store)
    gap = begun.session_gap if begun is not None else SESSION_GAP
    if wanted.session_gap is not None:
        gap = timedelta(seconds=config.seconds(wanted.session_gap))
    return Settings(
        _detectors(begun, wanted, parameters, fitting),
        gap,
        wanted.window or (begun.window if begun is not None else WINDOW),
        Budget.parse(wanted.budget),
        timedelta(seconds=config.delay(wanted.lateness)),
        wanted.learn_days,
        wanted.max_users,
    )


def labelled(settings: Settings, wanted: config.LabelSettings) -> Settings:
    """The same with the labels of a file, which those of the state come before; rows that say nothing are told of.

    Raises
    ------
    SourceError, EventError
        If the file cannot be read.
    """
    found = read_labels(wanted.file) if wanted.file is not None else Labels.of([])
    for row in found.quarantine.samples:
        _LOG.warning("%s:%d: a label is left out: %s", row.file, row.position, row.reason)
    return replace(settings, labels=found.by_user(), bad=wanted.bad, odds=wanted.odds)


def _detectors(
    begun: Settings | None,
    wanted: config.WatchSettings,
    parameters: Mapping[str, Mapping[str, Any]],
    fitting: Callable[[], Sequence[str]],
) -> Sequence[Detector[Any]]:
    """The detectors of a state, or those that settings ask for."""
    if begun is not None and not wanted.detectors and not parameters and wanted.cap is None:
        return begun.detectors
    names = wanted.detectors or [each.name for each in begun.detectors] if begun is not None else wanted.detectors
    return config.detectors(names or fitting(), parameters, cap=wanted.cap)


def _fitting(source: LiveSource, configured: Container[str], *, until_eof: bool) -> Sequence[str]:
    """The detectors that find something in what comes in, once something has."""
    said = threading.Timer(PATIENCE, _LOG.info, ["%s: waiting for events, to find out what is in them", source.url])
    said.daemon = True
    said.start()
    try:
        return fitting([source.settle(threading.Event(), until_eof=until_eof)], configured)
    finally:
        said.cancel()


def opened_sinks(wanted: config.WatchSettings, state: Path, answers: config.FeedbackSettings) -> list[Sink]:
    """The sinks that settings name; standard output where they name none.

    Raises
    ------
    UsageError, MissingExtraError
        If one cannot be opened.
    """
    given: dict[str, Any] = {"state": str(state), "feedback": answers.url, "feedback_days": answers.days}
    return [open_sink(url, digest=wanted.digest, **given) for url in wanted.alert or ["console:"]]


@dataclass
class Figures:
    """What a running watch knows about itself, for the line that shows it."""

    events: int = 0
    alerts: int = 0
    newest: datetime | None = None
    recent: list[tuple[float, int]] = field(default_factory=list)

    def add(self, given: Given, taken: Taken, now: float) -> None:
        """Count a batch."""
        self.events += len(given.events)
        self.alerts += len(taken.alerts)
        if len(given.events):
            newest: Any = given.events["time"].max()
            self.newest = newest if self.newest is None else max(self.newest, newest)
        self.recent = [*(each for each in self.recent if now - each[0] <= RATE_OVER), (now, len(given.events))]

    def rate(self, now: float) -> float:
        """Events a second lately."""
        recent = [each for each in self.recent if now - each[0] <= RATE_OVER]
        if not recent:
            return 0.0
        return sum(events for _, events in recent[1:]) / max(now - recent[0][0], 1e-3)


class Service:
    """A watch with all that belongs to it. Made by :func:`opened`."""

    def __init__(
        self,
        source: LiveSource,
        store: Store,
        settings: Settings,
        *,
        wanted: config.WatchSettings,
        sinks: Sequence[Sink],
        metrics: Metrics | None,
        judge: bool,
        until_eof: bool,
        is_new: bool,
    ) -> None:
        self.source, self.store, self.sinks, self.is_new = source, store, list(sinks), is_new
        self.figures = Figures()
        self.cards = Cards(self.sinks)
        self.metrics = metrics
        self._looked = -math.inf
        courier = Courier(partial(Store.open, store.path, write=False), self.sinks) if sinks else None
        self.watch = Watch(
            source,
            store,
            settings,
            courier=courier,
            sinks=[sink.url for sink in self.sinks],
            batch=wanted.batch,
            every=timedelta(seconds=config.seconds(wanted.every)),
            judge=judge,
            until_eof=until_eof,
            told=self._told,
        )
        self._period()

    @property
    def live(self) -> Live:
        """What is known of the stream."""
        return self.watch.live

    def run(self, stop: threading.Event) -> Report:
        """Watch until told to stop, or the input ends."""
        try:
            return self.watch.run(stop)
        finally:
            self.cards.close()
            self._outbox(always=True)

    def beginning(self) -> Lines:
        """What there is, and what to expect."""
        progress = self.store.progress()
        known = f"{progress.events:,} events of {progress.users:,} users so far, {_open(self.live)}"
        lines = [("state", f"{self.store.path.name}, {'new' if self.is_new else known}")]
        lines += [("alerts", _expected(self.live))]
        lines += [("sinks", ", ".join(label(sink.url, 60) for sink in self.sinks))] if self.sinks else []
        return lines

    def warnings(self) -> list[str]:
        """What an operator should look at before anything happens."""
        given = {sink.url for sink in self.sinks}
        waiting = {sink: states.get("pending", 0) for sink, states in self.store.deliveries().items()}
        left = [
            f"{count:,} alerts wait for {label(sink, 60)}, which is not among the sinks: give it with --alert"
            for sink, count in waiting.items()
            if count and sink not in given
        ]
        return [*unreadable(self.store.suppressions(datetime.now(UTC))), *left]

    def status(self) -> str:
        """How things stand, on one line."""
        now, figures = time.monotonic(), self.figures
        parts = [
            f"{figures.events:,} events",
            f"{figures.rate(now):,.0f}/s",
            f"{len(self.live.coding.users):,} users",
            f"{figures.alerts:,} alert{'' if figures.alerts == 1 else 's'}",
        ]
        if figures.newest is not None:
            parts.append(f"lag {_span((datetime.now(UTC) - figures.newest).total_seconds())}")
        waiting = getattr(self.source, "waiting", "") or getattr(self.source, "trouble", "")
        return " · ".join([*parts, label(waiting, 60) or _mode(self.live)])

    def _told(self, given: Given, taken: Taken, seconds: float) -> None:
        """Note a batch that was committed."""
        self.figures.add(given, taken, time.monotonic())
        for closed in taken.closed:
            facts = fields(
                day=closed.period.day.isoformat(),
                events=closed.events,
                users=closed.figures.users,
                alerts=closed.alarms,
            )
            self.cards.closed(self.live, closed)
            _LOG.info("a day has closed; alerts: %s", _expected(self.live), extra=facts)
        self._silences(taken)
        if self.metrics is not None:
            self._measure(self.metrics, given, taken, seconds)
        if taken.closed or self.figures.events == len(given.events):
            self._period()
        self._outbox(always=bool(taken.alerts))

    def _silences(self, taken: Taken) -> None:
        """Warn of days between those that closed and those that opened: the source gave nothing then."""
        current = [self.live.current.day] if self.live.current is not None else []
        days = [*(closed.period.day for closed in taken.closed), *current]
        for before, after in pairwise(days):
            if (silent := (after - before).days - 1) > 0:
                known = fields(after=before.isoformat(), before=after.isoformat(), days=silent)
                message = "the source gave no event on %d day%s; nobody is judged by that"
                _LOG.warning(message, silent, "" if silent == 1 else "s", extra=known)

    def _measure(self, metrics: Metrics, given: Given, taken: Taken, seconds: float) -> None:
        """Give a batch's figures to who asks."""
        metrics.batch(
            events=len(given.events),
            seconds=seconds,
            rejected=given.rejected,
            skipped=given.skipped,
            newest=self.figures.newest,
            users=len(self.live.coding.users),
        )
        hidden = [self.store.alert(alert.alert_id) for alert in taken.alerts]
        metrics.alerts(
            (alert.severity for alert in taken.alerts),
            hidden=sum(each is not None and each.hidden_by is not None for each in hidden),
        )

    def _period(self) -> None:
        """Give the figures of the open day to who asks."""
        period = self.live.current
        if self.metrics is None or period is None or not period.levels:
            return
        lately = [each.alarms for each in self.store.periods(peaks=False) if each.peaks is not None][-7:]
        actual = sum(lately) / len(lately) if lately else None
        limit = period.threshold
        self.metrics.period(period.day, threshold=limit.bits, expected=limit.expected, actual=actual)

    def _outbox(self, *, always: bool) -> None:
        """Give the figures of the outbox to who asks, now and then."""
        now = time.monotonic()
        if self.metrics is None or (not always and now - self._looked < OUTBOX_EVERY):
            return
        self._looked = now
        deliveries = self.store.deliveries()
        for sink in self.sinks:
            states = deliveries.get(sink.url, {})
            self.metrics.outbox(sink.url, pending=states.get("pending", 0), dead=states.get("dead", 0))


@contextmanager
def opened(
    open_source: Callable[[], LiveSource],
    state: Path,
    settings: config.Settings,
    *,
    judge: bool = True,
    until_eof: bool = False,
) -> Iterator[Service]:
    """A watch as settings describe it, ready to run; all is closed at the end.

    Raises
    ------
    StateError
        If the state is in use, or does not go with the settings.
    UsageError, SourceError, MissingExtraError
        If an option is not understood, or what it needs is not there.
    """
    wanted = settings.watch
    is_new = not state.exists()
    sinks = opened_sinks(wanted, state, settings.feedback) if judge else []
    metrics = Metrics() if wanted.metrics else None
    with ExitStack() as stack:
        source = open_source()
        store = stack.enter_context(Store.open(state))
        service = Service(
            source,
            store,
            labelled(
                judging(
                    store, wanted, settings.detector, partial(_fitting, source, settings.detector, until_eof=until_eof)
                ),
                settings.labels,
            ),
            wanted=wanted,
            sinks=sinks,
            metrics=metrics,
            judge=judge,
            until_eof=until_eof,
            is_new=is_new or not store.progress().seq,
        )
        if service.metrics is not None and wanted.metrics is not None:
            stack.enter_context(service.metrics.serve(wanted.metrics))
        yield service


def _expected(live: Live) -> str:
    """From when on there are alerts, and what they take."""
    period = live.current
    if period is None:
        return "none until the first day is over: its events are learned. A day ends at midnight UTC by event times"
    if not period.levels:
        return f"none before {_day(_first_day(live))}: learning until then"
    limit = period.threshold
    chance = limit.expected
    raised = "; past days raised it" if limit.bits > limit.by_chance else ""
    often = f"{chance:.2g} a day at most" if chance >= 0.01 else "less than once in 100 days"
    return f"from {limit.bits:.1f} bits on, of which chance gives {often}{raised}"


def _open(live: Live) -> str:
    """The day that is open."""
    return "no day open" if live.current is None else f"open day {_day(live.current.day)}"


def _mode(live: Live) -> str:
    """Whether users are judged yet, in a few words."""
    period = live.current
    if period is None:
        return "waiting for events"
    return f"judging {_day(period.day)}" if period.levels else f"learning until {_day(_first_day(live))}"


def _first_day(live: Live) -> date:
    """The first day on which there may be alerts, if there are events each day."""
    assert live.current is not None, "only an open day can be learned"
    missing = live.learning - len(live.history.figures_before(live.current.day))
    return live.current.day + timedelta(days=max(missing, 1))


def summary(service: Service, report: Report) -> Lines:
    """What a run did."""
    quarantine: Quarantine = service.source.quarantine
    lines = [("events", f"{report.events:,} of {len(service.live.coding.users):,} users")]
    if service.sinks:
        hidden = f", {report.hidden:,} of them hidden by rules" if report.hidden else ""
        lines.append(("alerts", f"{report.alerts:,}{hidden}"))
        lines += [("", said) for said in _delivered(service)]
    lines.append(("unread", _reasons(quarantine.reasons) if report.rejected else "none"))
    for sample in quarantine.samples[:2] if report.rejected else []:
        where = f"{label(sample.file, 40)}, line {sample.position:,}"
        lines.append(("", f"{where}: {label(sample.reason, 60)}: {label(sample.text, 60)}"))
    lines += [("skipped", f"{report.skipped:,} lines that are no events")] if report.skipped else []
    lines += (
        [("late", f"{report.too_late:,} events of days long closed: learned, not judged")] if report.too_late else []
    )
    return lines


def learned(service: Service) -> Lines:
    """What a state has learned."""
    live = service.live
    closed = sorted(live.history.judged)
    lines = []
    if closed:
        first, last = _day(closed[0]), _day(closed[-1])
        lines.append(("learned", f"{len(closed):,} day{'' if len(closed) == 1 else 's'}, {first} to {last}"))
    if live.current is not None:
        day = _day(live.current.day)
        lines.append(("open", f"{day} closes with the first event of a later day, and is learned then"))
    return lines


def _delivered(service: Service) -> Iterator[str]:
    """What became of alerts, by sink."""
    deliveries = service.store.deliveries()
    words = {"delivered": "delivered", "dead": "given up", "pending": "waiting"}
    for sink in service.sinks:
        states = deliveries.get(sink.url, {})
        counts = ", ".join(f"{states[state]:,} {word}" for state, word in words.items() if state in states)
        yield f"{counts or 'nothing'} to {label(sink.url, 50)}"


def _reasons(reasons: Mapping[str, int]) -> str:
    """Rows by reason, the most frequent first."""
    most = sorted(reasons.items(), key=lambda pair: -pair[1])[:4]
    return f"{sum(reasons.values()):,} rows: " + ", ".join(f"{count:,} {label(reason, 60)}" for reason, count in most)


def _day(day: date) -> str:
    """A day as people write it."""
    return f"{day.day} {day:%b %Y}"


def _span(seconds: float) -> str:
    """A time that may be long, in one unit."""
    for unit, length in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{max(seconds, 0.0):,.0f} s"


def tried(sink_url: str, state: Path | None, digest: str | None, answers: config.FeedbackSettings) -> str:
    """What was found when a sink was tried, or what is wrong with it."""
    try:
        place = None if state is None else str(state)
        sink = open_sink(sink_url, digest=digest, state=place, feedback=answers.url, feedback_days=answers.days)
    except AmissError as error:
        return f"problem: {error}"
    try:
        return f"ok: {sink.check()}"
    except SinkError as error:
        return f"problem: {error}"
    finally:
        sink.close()
