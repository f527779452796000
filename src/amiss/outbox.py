"""From a durable outbox to the sinks: at least once, in order, without one sink holding up another.

What cannot be delivered is tried again after 1, 2, 4 … seconds, at most 5 minutes apart, later where the receiver asks
for it. After `MOST_TRIES` tries, or at once where trying again cannot help, an alert is dead: it stays in the outbox
with the error, and the alerts behind it go on. A digest begins with its first alert, which waits until the digest is
due, and takes along what has come by then.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from amiss.alerts import Alert
from amiss.errors import SinkError, UsageError
from amiss.sinks import Sink
from amiss.sinks.digest import Digest

MOST_TRIES: Final = 12
MOST_AT_ONCE: Final = 100
"""Alerts that a sink gets in one call."""

MOST_IN_DIGEST: Final = 1_000

LONGEST_WAIT: Final = timedelta(minutes=5)
LONGEST_ASKED: Final = timedelta(days=1)
"""The longest that a receiver may ask to wait."""

CLOCK_SLACK: Final = timedelta(seconds=30)
"""A clock that is set back by more makes all that waits due at once, since nobody knows for how long it would."""

END: Final = datetime.max.replace(tzinfo=UTC)
_LOG: Final = logging.getLogger(__name__)


class Pending(Protocol):
    """A durable outbox: which alerts wait for which sink; :class:`amiss.store.Store` is one.

    A sink is named by its `url`, which holds nothing secret. What a method writes down is committed when it returns.
    """

    def due(self, sink: str, now: datetime, *, limit: int = ...) -> Sequence[tuple[Mapping[str, Any], int]]:
        """Records of alerts that the sink should get by `now`, oldest first, each with the tries it has had."""
        ...

    def delivered(self, sink: str, alert_ids: Sequence[str], now: datetime) -> None:
        """These have arrived."""
        ...

    def failed(self, sink: str, alert_ids: Sequence[str], error: str, next_try: datetime) -> None:
        """These have not; each has had one try more."""
        ...

    def dead(self, sink: str, alert_ids: Sequence[str], error: str) -> None:
        """These are given up; they stay, with the error."""
        ...


def wait(tries: int, retry_after: float | None = None) -> timedelta:
    """How long to wait after so many tries that failed.

    Examples
    --------
    >>> [wait(tries).seconds for tries in (1, 2, 3, 9, 10, 1000)]
    [1, 2, 4, 256, 300, 300]
    >>> wait(1, retry_after=60).seconds
    60
    """
    own = min(LONGEST_WAIT, timedelta(seconds=2 ** min(tries - 1, 20)))
    asked = min(LONGEST_ASKED, timedelta(seconds=min(retry_after or 0.0, 1e9)))
    return max(own, asked)


@dataclass(frozen=True)
class Delivery:
    """What became of one call of :func:`deliver`."""

    delivered: int = 0
    failed: int = 0
    dead: int = 0
    error: str | None = None
    """What the sink said last, if it failed."""

    def __add__(self, other: Delivery) -> Delivery:
        counts = (self.delivered + other.delivered, self.failed + other.failed, self.dead + other.dead)
        return Delivery(*counts, other.error or self.error)


def deliver(
    pending: Pending, sink: Sink, now: datetime, *, most_tries: int = MOST_TRIES, hurry: bool = False
) -> Delivery:
    """Hand the alerts that are due over to a sink, and note what became of each.

    Where a sink refuses several alerts for good, each is tried alone, so that one cannot take others with it.

    Parameters
    ----------
    pending
        The outbox.
    sink
        One sink.
    now
        The time.
    most_tries
        An alert that failed so often is dead.
    hurry
        Whether to deliver now what waits for a digest or for another try.

    Raises
    ------
    StateError
        If the outbox cannot be read or written; what was handed over meanwhile comes again.
    """
    waiting = _waiting(pending, sink, now, hurry=hurry)
    if not waiting:
        return Delivery()
    if not isinstance(sink, Digest):
        return _Try(pending, sink, now, most_tries).hand_over(waiting)
    first, tries = waiting[0]
    if tries == 0 and not hurry:
        pending.failed(sink.url, [first.alert_id], "begins a digest", now + sink.every)
        return Delivery()
    return _Try(pending, sink, now, most_tries + 1).hand_over(waiting)


def _waiting(pending: Pending, sink: Sink, now: datetime, *, hurry: bool) -> list[tuple[Alert, int]]:
    """What is to be handed over now, in order; nothing while the first waits for another try: none overtakes it."""
    limit = MOST_IN_DIGEST if isinstance(sink, Digest) else MOST_AT_ONCE
    due = pending.due(sink.url, END if hurry else now, limit=limit)
    if due and not hurry:
        first, _ = pending.due(sink.url, END, limit=1)[0]
        due = due if first["alert_id"] == due[0][0]["alert_id"] else []
    return [(Alert.from_record(record), tries) for record, tries in due]


@dataclass(frozen=True)
class _Try:
    """One try to deliver, and the notes about it."""

    pending: Pending
    sink: Sink
    now: datetime
    most_tries: int

    def hand_over(self, waiting: Sequence[tuple[Alert, int]]) -> Delivery:
        """Try these together; where that fails for good, one by one, until one fails for now."""
        error = _write(self.sink, [alert for alert, _ in waiting])
        if error is None:
            self.pending.delivered(self.sink.url, _ids(waiting), self.now)
            return Delivery(delivered=len(waiting))
        if not error.permanent:
            return self._postpone(waiting, error)
        if len(waiting) == 1:
            return self._bury(waiting, error)
        done = Delivery()
        for each in waiting:
            done += self.hand_over([each])
            if done.failed:
                break
        return done

    def _postpone(self, waiting: Sequence[tuple[Alert, int]], error: SinkError) -> Delivery:
        """Note a try that failed; what has been tried often enough is dead."""
        old = [each for each in waiting if each[1] + 1 >= self.most_tries]
        rest = [each for each in waiting if each[1] + 1 < self.most_tries]
        done = self._bury(old, error) if old else Delivery()
        if not rest:
            return done
        next_try = self.now + wait(rest[0][1] + 1, error.retry_after)
        self.pending.failed(self.sink.url, _ids(rest), str(error), next_try)
        _LOG.warning("%s; %d alerts wait until %s", error, len(rest), f"{next_try:%H:%M:%S}")
        return done + Delivery(failed=len(rest), error=str(error))

    def _bury(self, alerts: Sequence[tuple[Alert, int]], error: SinkError) -> Delivery:
        """Give alerts up."""
        self.pending.dead(self.sink.url, _ids(alerts), str(error))
        _LOG.error("%s; %d alerts given up", error, len(alerts))
        return Delivery(dead=len(alerts), error=str(error))


def _ids(waiting: Sequence[tuple[Alert, int]]) -> list[str]:
    return [alert.alert_id for alert, _ in waiting]


def _write(sink: Sink, alerts: Sequence[Alert]) -> SinkError | None:
    """Why the sink could not take the alerts, if it could not; a mistake in a sink counts as a failure."""
    try:
        sink.write(alerts)
    except SinkError as error:
        return error
    except Exception as error:  # noqa: BLE001 - sinks of other packages may raise anything, and must not end deliveries
        place = traceback.extract_tb(error.__traceback__)[-1]
        return SinkError(f"{sink.url}: {type(error).__name__} at {Path(place.filename).name}:{place.lineno}")
    return None


class Courier:
    """Delivers in the background, with a thread for each sink, so that none holds up another or whoever raises alerts.

    Parameters
    ----------
    open_pending
        Opens the outbox anew for each thread; its `close` is called at the end where it has one.
    sinks
        Where alerts go.
    now
        The time.
    every
        How long a sink rests at most before the outbox is looked at again.
    most_tries
        An alert that failed so often is dead.

    Raises
    ------
    UsageError
        If two sinks have the same name.
    """

    def __init__(
        self,
        open_pending: Callable[[], Pending],
        sinks: Sequence[Sink],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        every: timedelta = timedelta(seconds=1),
        most_tries: int = MOST_TRIES,
    ) -> None:
        twice = [url for url, count in Counter(sink.url for sink in sinks).items() if count > 1]
        if twice:
            raise UsageError(f"{twice[0]}: this sink is given twice")
        self._rounds = [_Round(open_pending, sink, now, every, most_tries) for sink in sinks]

    def start(self) -> None:
        """Begin to deliver."""
        for each in self._rounds:
            each.thread.start()

    def wake(self) -> None:
        """Say that there are new alerts; returns at once."""
        for each in self._rounds:
            each.bell.set()

    def flush(self, timeout: timedelta) -> bool:
        """Whether nothing waits any more, after waiting for it so long at most.

        Digests are delivered at once, and what failed is tried again at once.
        """
        end = time.monotonic() + timeout.total_seconds()
        for each in self._rounds:
            each.hurry()
        return all(each.is_idle.wait(max(0.0, end - time.monotonic())) for each in self._rounds)

    def stop(self, timeout: timedelta = timedelta(seconds=5)) -> None:
        """End delivering, and close the sinks; a sink that hangs is left behind after `timeout`."""
        end = time.monotonic() + timeout.total_seconds()
        for each in self._rounds:
            each.stop()
        for each in self._rounds:
            if each.thread.ident is not None:
                each.thread.join(max(0.0, end - time.monotonic()))

    def problems(self) -> dict[str, str]:
        """By sink what went wrong last, for those that have not delivered since."""
        return {each.sink.url: each.problem for each in self._rounds if each.problem is not None}


class _Round:
    """The thread of one sink."""

    def __init__(
        self,
        open_pending: Callable[[], Pending],
        sink: Sink,
        now: Callable[[], datetime],
        every: timedelta,
        most_tries: int,
    ) -> None:
        self.sink = sink
        self.problem: str | None = None
        self.bell = threading.Event()
        self.is_idle = threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"courier {sink.url}", daemon=True)
        self._open = open_pending
        self._now = now
        self._every = every.total_seconds()
        self._most_tries = most_tries
        self._is_over = threading.Event()
        self._hurry = threading.Event()
        self._last = datetime.min.replace(tzinfo=UTC)

    def hurry(self) -> None:
        self.is_idle.clear()
        self._hurry.set()
        self.bell.set()

    def stop(self) -> None:
        self._is_over.set()
        self.bell.set()

    def _run(self) -> None:
        """Deliver until told to stop; trouble with the outbox is noted, and tried again."""
        while not self._is_over.is_set():
            try:
                with _opened(self._open) as pending:
                    self.problem = None
                    self._deliver_on(pending)
            except Exception as error:  # noqa: BLE001 - nobody else would notice, or deliver
                self.problem = f"{self.sink.url}: the outbox cannot be used: {type(error).__name__}: {error}"
                _LOG.warning("%s", self.problem)
                self._is_over.wait(self._every)
        self.sink.close()

    def _deliver_on(self, pending: Pending) -> None:
        """Deliver until told to stop."""
        while not self._is_over.is_set():
            self.bell.clear()
            hurry = self._hurry.is_set()
            self._hurry.clear()
            if self._has_moved(pending, hurry=hurry):
                continue
            if hurry and not pending.due(self.sink.url, END, limit=1):
                self.is_idle.set()
            self.bell.wait(self._every)

    def _has_moved(self, pending: Pending, *, hurry: bool) -> bool:
        """Whether one call delivered anything, or gave it up: then there may be more."""
        now, before = self._now(), self._last
        self._last = now
        done = deliver(pending, self.sink, now, most_tries=self._most_tries, hurry=hurry or before - now > CLOCK_SLACK)
        if done != Delivery():
            self.problem = done.error
        has_moved = bool(done.delivered or done.dead)
        if hurry and has_moved:
            self._hurry.set()
        return has_moved


@contextmanager
def _opened(open_pending: Callable[[], Pending]) -> Iterator[Pending]:
    """The outbox, closed at the end where it can be."""
    pending = open_pending()
    try:
        yield pending
    finally:
        close = getattr(pending, "close", None)
        if close is not None:
            close()
