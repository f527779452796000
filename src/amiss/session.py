"""Inside an application: `amiss.Session` judges each event as it happens, by the same numbers as a watch."""

from __future__ import annotations

import logging
import os
import threading
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss import evidence
from amiss.alerts import Alert
from amiss.decide import Budget
from amiss.detect import Detector, detector, fitting
from amiss.errors import EventError, StateError, UsageError, nearest
from amiss.events import CODED_SCHEMA, OPTIONAL_SCHEMA, OUTCOMES, Quarantine
from amiss.fields import outcome_of
from amiss.live import Live, Taken
from amiss.outbox import Courier
from amiss.sessions import MICROSECOND, NO_CONTEXT
from amiss.severity import Severity
from amiss.sinks import Sink, open_sink
from amiss.sources import Cursor
from amiss.store import Label, Store, Verdict
from amiss.times import parse_text
from amiss.watch import AHEAD, FLUSH, Given, Settings, Watch, remembered

FLUSH_EVERY: Final = timedelta(seconds=1)

_LOG: Final = logging.getLogger(__name__)

Columns = Mapping[str, npt.NDArray[Any]]
"""Columns of one value each."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where a user stands behind an event.

    Attributes
    ----------
    bits
        The evidence about the user on the event's day, all detectors together.
    event_bits
        How much of it the event gave or took.
    alert
        What people are told of, where the event brought the user to a level at which they are.
    learning
        Whether the day is only learned from, so that nobody is told of.
    users
        The users that the day is expected to have.

    Examples
    --------
    >>> Evidence(bits=18.7, event_bits=9.1, users=1000.0).severity
    'high'
    """

    bits: float
    event_bits: float
    alert: Alert | None = None
    learning: bool = False
    users: float = 0.0

    @property
    def severity(self) -> Severity:
        """How seriously to take it, by how rarely chance gives as much to some user; `info` while learning."""
        return "info" if self.learning else evidence.severity(self.bits, self.users)

    @property
    def chance(self) -> str:
        """How often chance gives as much to some user, in words."""
        return evidence.once_in(self.bits, self.users)


class Session:
    """Judges events one by one in an application of your own, and keeps what it learns in a state file.

    It is a watch without a source: the same store, days, budget, alerts and numbers. The first days are learned from;
    `amiss learn LOG --state FILE` beforehand spares that. Threads may share one; processes may not: the state has one
    writer. Feedback and `amiss state` work while it runs.

    **What a crash loses.** Events are committed each `flush_every`, and when :meth:`flush` returns; those after the
    last commit are lost with the process, and alerts that they gave are not sent. Whatever was committed survives:
    evidence goes on from there, and alerts that were committed arrive, once more at worst.

    Parameters
    ----------
    state
        The state file; made where there is none.
    detectors
        Names, or detectors. Those that the state was begun with when empty, else all that come with amiss.
    budget
        The false alarms to allow, such as "3/day".
    alerts
        Addresses of sinks, as for `amiss watch --alert`; or sinks.
    session_gap
        A longer pause starts a new session of a user.
    window
        How many days before a day say what is normal on it; as the state was begun when None, else 30.
    learning
        Days to learn before anybody is told of.
    max_users
        So many users are in memory at most when a day has closed: those who were active last. The others are in the
        state file, and come back from there.
    flush_every
        How often events are committed, in the background.
    now
        The time.

    Raises
    ------
    StateError
        If the state cannot be used, has another writer, or was begun with other detectors.
    UsageError
        If a setting is not understood.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, Session(f"{folder}/state.db") as session:
    ...     found = session.score({"user": "ann", "action": "login", "outcome": "success"})
    >>> found.bits, found.learning, found.alert
    (0.0, True, None)
    """

    def __init__(
        self,
        state: str | os.PathLike[str],
        *,
        detectors: Sequence[str | Detector[Any]] = (),
        budget: str | Budget = "1/day",
        alerts: Sequence[str | Sink] = (),
        session_gap: timedelta | None = None,
        window: int | None = None,
        learning: int = 1,
        max_users: int | None = None,
        flush_every: timedelta = FLUSH_EVERY,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if flush_every <= timedelta(0):
            raise UsageError(f"flush_every must be longer than nothing. Found: {flush_every}")
        if max_users is not None and max_users < 1:
            raise UsageError(f"max_users is how many users are in memory: expected 1 or more, found {max_users}")
        self._now, self._every = now, flush_every.total_seconds()
        allowed = budget if isinstance(budget, Budget) else Budget.parse(budget)
        self._wish = _Wish(detectors, allowed, session_gap, window, learning, max_users)
        self._path = Path(state)
        self._sinks = [open_sink(each, state=str(self._path)) if isinstance(each, str) else each for each in alerts]
        self._lock = threading.Lock()
        self._batch, self._position = _Batch(), 0
        self._bell, self._is_over = threading.Event(), False
        self._asked: list[Future[None]] = []
        opened: Future[Live] = Future()
        self._thread = threading.Thread(target=self._run, args=(opened,), name="amiss-session", daemon=True)
        self._thread.start()
        self._live = opened.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def score(self, event: Mapping[str, object] | None = None, /, **values: object) -> Evidence:
        """Where the user of an event stands behind it.

        Parameters
        ----------
        event, values
            `user` and `action`; `outcome` where it is known, such as "success" or False; `time` if it is not now: a
            datetime, seconds since 1970, or a text. Anything else is ignored.

        Raises
        ------
        EventError
            If something is missing or not understood; nothing of the event is kept then.
        StateError
            If the session is closed.
        """
        given = {**event, **values} if event else values
        when = self._time(given.get("time"))
        user, action, outcome = _text(given, "user"), _text(given, "action"), _outcome(given.get("outcome"))
        with self._lock:
            if self._is_over:
                raise _closed()
            coding = self._live.coding
            context = NO_CONTEXT
            if coding.contexts:
                event = {"position": 0, "time": _START + when * MICROSECOND, "user": user, "action": action}
                raw = {name: given[name] for name in coding.raw if name in given}
                context = coding.context_of(raw | event | {"outcome": OUTCOMES[outcome]} | _told(given))
            codes = coding.users.code(user), coding.actions.code(action), outcome
            return self._judge(when, codes, context, user)

    def feedback(self, alert: Alert | str, verdict: str, *, author: str = "application", note: str = "") -> Verdict:
        """Keep what somebody says of an alert, as `amiss feedback` does; it takes effect with the next commit.

        Parameters
        ----------
        alert
            The alert, or its id.
        verdict
            "expected", "confirmed" or "false".
        author
            Who says so.
        note
            Why.

        Raises
        ------
        StateError
            If the session is closed, or what was scored before cannot be committed.
        UsageError
            If there is no such alert, or the verdict is another word.
        """
        if self._is_over:
            raise _closed()
        self.flush()
        with Store.open(self._path, write=False) as store:
            known = alert if isinstance(alert, str) else alert.alert_id
            return store.add_feedback(known, verdict, author=author, time=self._now(), note=note)

    def label(self, user: str, label: str, *, author: str = "application", note: str = "") -> Label | None:
        """Keep what somebody calls a user, as `amiss label user` does; it counts behind the next commit.

        Parameters
        ----------
        user
            The user, who may be one that is still to come.
        label
            The class, such as "bot". It takes the place of what was said before, which the history keeps.
        author
            Who says so.
        note
            Why.

        Returns
        -------
        before
            The label that held before, or None.

        Raises
        ------
        StateError
            If the session is closed, or what was scored before cannot be committed.
        UsageError
            If the user or the label is empty.

        Examples
        --------
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, Session(f"{folder}/state.db") as session:
        ...     first = session.label("ann", "bot", author="eve", note="twenty views a second")
        ...     second = session.label("ann", "buyer", author="bob")
        >>> first, second.label, second.author
        (None, 'bot', 'eve')
        """
        if self._is_over:
            raise _closed()
        self.flush()
        with Store.open(self._path, write=False) as store, store.begin():
            before = store.label("user", user)
            store.add_label("user", user, label, author=author, time=self._now(), note=note)
        return before

    def flush(self) -> None:
        """Commit what was scored so far; when it returns, that survives a crash.

        Raises
        ------
        StateError
            If it cannot be committed; it is kept in memory and tried again.
        """
        done: Future[None] = Future()
        with self._lock:
            if self._is_over:
                return
            self._asked.append(done)
        self._bell.set()
        done.result()

    def close(self) -> None:
        """Commit everything, deliver alerts for up to half a minute, and let go of the state; twice is fine.

        Raises
        ------
        StateError
            If it cannot be committed; events since the last commit are lost then.
        """
        try:
            self.flush()
        finally:
            with self._lock:
                self._is_over = True
            self._bell.set()
            self._thread.join()

    def _judge(self, when: int, codes: tuple[int, int, int], context: Columns, name: str) -> Evidence:
        """Judge an event; the caller has the lock."""
        live = self._live
        before, user = live.open_day(when), codes[0]
        bits = live.bits(before, user) if before is not None else 0.0
        self._position += 1
        row = (self._position, when, *codes)
        context = live.witnesses.filled_one(when, context)
        taken = live.take_one(row, context)
        self._batch.add(row, context, taken)
        day = live.open_day(when)
        if day is None:
            return Evidence(0.0, 0.0, learning=True)
        after = live.bits(day, user)
        alert = next((each for each in reversed(taken.alerts) if each.user == name), None)
        return Evidence(after, after - bits, alert, not day.levels, day.threshold.users)

    def _time(self, value: object) -> int:
        """A time in microseconds."""
        now: datetime = self._now()
        moment = now if value is None else _moment(value)
        if moment - now > AHEAD:
            raise EventError(f"time must not lie more than a day in the future. Found: {moment.isoformat()}")
        return (moment - _START) // MICROSECOND

    def _run(self, opened: Future[Live]) -> None:
        """Own the store, and commit until the session is over."""
        with ExitStack() as stack:
            try:
                store = stack.enter_context(Store.open(self._path))
                watch = self._watch(store)
                courier = self._courier()
                courier.start()
                stack.callback(courier.stop)
            except BaseException as error:  # noqa: BLE001 - it is raised where the session is made
                opened.set_exception(error)
                return
            opened.set_result(watch.live)
            self._commit_on(store, watch, courier)
            courier.flush(FLUSH)

    def _watch(self, store: Store) -> Watch:
        """What keeps the state."""
        watch = Watch(_Nowhere(), store, self._wish.settings(store), sinks=[sink.url for sink in self._sinks])
        self._position = int(watch.after.token) if watch.after is not None else 0
        return watch

    def _courier(self) -> Courier:
        """What delivers alerts."""
        return Courier(partial(Store.open, self._path, write=False), self._sinks)

    def _commit_on(self, store: Store, watch: Watch, courier: Courier) -> None:
        """Commit now and then, and when asked to, until the session is over; what fails is tried again."""
        while not self._is_over:
            self._bell.wait(self._every)
            self._bell.clear()
            with self._lock:
                asked, self._asked = self._asked, []
            error = self._committed(store, watch, courier)
            for each in asked:
                each.set_result(None) if error is None else each.set_exception(error)

    def _committed(self, store: Store, watch: Watch, courier: Courier) -> Exception | None:
        """Why what was scored could not be committed, if it could not."""
        batch = _Batch()
        try:
            if not len(self._batch) and not store.unapplied():
                return None
            with store.begin(), ExitStack() as stack:
                held = stack.enter_context(ExitStack())
                held.enter_context(self._lock)
                batch, self._batch = self._batch, _Batch()
                known = watch.live.coding.known()
                last = str(self._position)
                if not watch.needs_all(len(batch), batch.taken):
                    held.close()
                watch.keep(Given(batch.frame(watch.live.coding.schema), last, known, {}, {}), batch.taken)
        except Exception as error:  # noqa: BLE001 - raised by flush(); else nobody would commit any more
            with self._lock:
                self._batch = batch + self._batch
            _LOG.warning("what was scored cannot be committed, and is tried again: %s", error)
            return error
        with self._lock:
            watch.live.written(batch.taken)
        if batch.taken.alerts:
            courier.wake()
        return None


class _Batch:
    """Events since the last commit, and what came of them."""

    def __init__(self) -> None:
        self.columns = [array("q") for _ in CODED_SCHEMA]
        self.context: defaultdict[str, list[npt.NDArray[Any]]] = defaultdict(list)
        self.taken = Taken()

    def __len__(self) -> int:
        return len(self.columns[0])

    def __add__(self, later: _Batch) -> _Batch:
        both = _Batch()
        both.columns = [old + new for old, new in zip(self.columns, later.columns, strict=True)]
        for each in (self, later):
            both.note(each.taken)
            for name, values in each.context.items():
                both.context[name] += values
        return both

    def add(self, row: tuple[int, ...], context: Columns, taken: Taken) -> None:
        """Take an event, given as a row of a coded frame."""
        for column, value in zip(self.columns, row, strict=True):
            column.append(value)
        for name, values in context.items():
            self.context[name].append(values)
        if taken != _NOTHING:
            self.note(taken)

    def note(self, taken: Taken) -> None:
        """Take what came of more events."""
        self.taken.alerts += taken.alerts
        self.taken.told |= taken.told
        self.taken.touched |= taken.touched
        self.taken.closed += taken.closed
        self.taken.too_late += taken.too_late

    def frame(self, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
        """The events as a coded frame."""
        if not len(self):
            return pl.DataFrame(schema=schema)
        arrays = (np.frombuffer(column, dtype=np.int64) for column in self.columns)
        series = {name: pl.Series(values) for name, values in zip(CODED_SCHEMA, arrays, strict=True)}
        series |= {name: pl.Series(np.concatenate(values)) for name, values in self.context.items()}
        return pl.DataFrame(series).select(pl.col(name).cast(dtype) for name, dtype in schema.items())


_NOTHING: Final = Taken()


def _closed() -> StateError:
    """What is said where a session is over."""
    return StateError("this session is closed; open another on the same state")


@dataclass(frozen=True)
class _Wish:
    """How a session was asked to judge."""

    detectors: Sequence[str | Detector[Any]]
    budget: Budget
    session_gap: timedelta | None
    window: int | None
    learning: int
    max_users: int | None

    def settings(self, store: Store) -> Settings:
        """That, with what the state was begun with where nothing was said."""
        begun = remembered(store) or Settings([detector(name) for name in fitting([None])])
        chosen = [detector(each) if isinstance(each, str) else each for each in self.detectors]
        gap = self.session_gap if self.session_gap is not None else begun.session_gap
        known, window = chosen or begun.detectors, begun.window if self.window is None else self.window
        return Settings(known, gap, window, self.budget, learning=self.learning, max_users=self.max_users)


class _Nowhere:
    """The source of a session, which nothing is read from: what its cursors are of."""

    url: str = "session:"

    def __init__(self) -> None:
        self.quarantine = Quarantine()

    def read(self, after: Cursor | None = None) -> Iterator[tuple[pl.DataFrame, Cursor]]:  # noqa: ARG002 - as sources do
        """Nothing."""
        return iter(())

    def settle(self, *_: object, **__: object) -> None:
        """Nothing to look at."""

    def follow(self, *_: object, **__: object) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Nothing."""
        return iter(())


def _told(given: Mapping[str, object]) -> dict[str, object]:
    """What was given of an event for contexts."""
    return {role: _value(given[role], role) for role in OPTIONAL_SCHEMA if given.get(role) is not None}


def _value(value: object, role: str) -> object:
    """What an event says of a role, as a column of it holds it."""
    if OPTIONAL_SCHEMA[role] == pl.String():
        return str(value)
    try:
        return float(str(value)) if OPTIONAL_SCHEMA[role].is_float() else int(str(value))
    except ValueError:
        raise EventError(f"{role} must be a number. Found: {value!r}") from None


def _text(given: Mapping[str, object], role: str) -> str:
    """The user or the action of an event."""
    value = given.get(role)
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str) and text and (text.isascii() or _is_unicode(text)):
        return text
    if role not in given:
        names = ", ".join(map(str, given)) or "nothing"
        raise EventError(f'an event needs "{role}". Found: {names}.{nearest(role, map(str, given))}')
    raise EventError(f"{role} must be a text that is not empty. Found: {value!r}")


def _is_unicode(text: str) -> bool:
    """Whether a text can be written down, which halves of surrogate pairs cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _outcome(value: object) -> int:
    """The outcome of an event, as an index into `OUTCOMES`."""
    if value is None or isinstance(value, bool):
        return _UNKNOWN if value is None else int(not value)
    if isinstance(value, str | int):
        return OUTCOMES.index(outcome_of(str(value)))
    raise EventError(f"outcome must be one of {', '.join(OUTCOMES)}, or a word like these. Found: {value!r}")


_UNKNOWN: Final = OUTCOMES.index("unknown")
_START: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _moment(value: object) -> datetime:
    """The time of an event."""
    try:
        if isinstance(value, datetime):
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _START + timedelta(seconds=value)
    except (OverflowError, ValueError):
        value = repr(value)
    found = parse_text(value) if isinstance(value, str) else None
    if found is None:
        raise EventError(
            f"time must be a datetime, seconds since 1970, or a text such as 2026-01-05T09:00:00Z. Found: {value!r}"
        )
    return found
