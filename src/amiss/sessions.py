"""Who did what after what: events grouped by user, each with the one before it in the session.

A **state** is an action with its outcome, ``3 * action + outcome``. A session starts with a user's first event and
after every gap above `session_gap`; the state before its first event is START.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.blocks import Ints, frozen
from amiss.events import CODED_SCHEMA, OUTCOMES

START: Final = -1
"""The `previous` of a session's first event; its `gap` is -1 too."""

SESSION_GAP: Final = timedelta(minutes=30)

MICROSECOND: Final = timedelta(microseconds=1)

_FEW: Final = 16
"""A counting sort pays from one event for so many users on."""

GROUPED_SCHEMA: Final[dict[str, pl.DataType]] = {
    "position": pl.Int64(),
    "time": pl.Datetime("us", "UTC"),
    "user": pl.UInt32(),
    "state": pl.Int32(),
    "previous": pl.Int32(),
    "gap": pl.Int64(),
}
"""Columns of grouped events as a frame, ordered by user, within a user by time and position; `gap` in microseconds."""

LAST_SCHEMA: Final[dict[str, pl.DataType]] = {
    "user": pl.UInt32(),
    "state": pl.Int32(),
    "time": pl.Datetime("us", "UTC"),
}
"""The last event of each user: what the next one comes after."""

_DTYPES: Final = {
    "position": np.int64,
    "time": np.int64,
    "user": np.uint32,
    "state": np.int32,
    "previous": np.int32,
    "gap": np.int64,
}
_ONE: Final = np.array([0, 1], dtype=np.int64)

NO_CONTEXT: Final[Mapping[str, npt.NDArray[Any]]] = MappingProxyType({})

Users = npt.NDArray[np.uint32]
States = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Events:
    """Events in groups: those of a user together, in order, each with what came before it in the session.

    Attributes
    ----------
    position, time, user, state, previous, gap : (n,)
        The columns of `GROUPED_SCHEMA`; `time` and `gap` in microseconds.
    first : (u + 1,)
        Where the events of each user begin, and the number of events.
    context
        Columns (n,) that detectors asked for (:class:`amiss.vocabulary.Context`), by name.
    weight : (n,) or None
        How much each event may teach about its user, in sixteenths; all 16 where there is none.
    """

    position: Ints
    time: Ints
    user: Users
    state: States
    previous: States
    gap: Ints
    first: Ints
    context: Mapping[str, npt.NDArray[Any]] = field(default_factory=lambda: NO_CONTEXT)
    weight: npt.NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.user)

    @cached_property
    def users(self) -> Users:
        """The users that the events are of: (u,)."""
        return self.user[self.first[:-1]]

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Events:
        """The events of a frame (`GROUPED_SCHEMA`) that stand in groups.

        Examples
        --------
        >>> events = Events.of(pl.DataFrame([(1, 0, 7, 3, -1, -1)], schema=GROUPED_SCHEMA, orient="row"))
        >>> events.users, events.first
        (array([7], dtype=uint32), array([0, 1]))
        """
        typed = frame.select(pl.col(name).cast(dtype).to_physical() for name, dtype in GROUPED_SCHEMA.items())
        columns: dict[str, Any] = {name: frozen(typed[name].to_numpy()) for name in GROUPED_SCHEMA}
        context = {name: frozen(frame[name].to_numpy()) for name in frame.columns if name not in GROUPED_SCHEMA}
        return cls(**columns, first=boundaries(columns["user"]), context=context)

    def frame(self) -> pl.DataFrame:
        """The events as a frame (`GROUPED_SCHEMA`), with the columns of their context."""
        columns = {name: getattr(self, name) for name in GROUPED_SCHEMA}
        return pl.DataFrame(columns | dict(self.context), schema_overrides=GROUPED_SCHEMA)

    def part(self, low: int, high: int) -> Events:
        """The events of the users from `low` to `high`, who stand in order."""
        events = slice(int(self.first[low]), int(self.first[high]))
        columns: dict[str, Any] = {name: getattr(self, name)[events] for name in GROUPED_SCHEMA}
        context = {name: column[events] for name, column in self.context.items()}
        weight = None if self.weight is None else self.weight[events]
        return Events(**columns, first=self.first[low : high + 1] - self.first[low], context=context, weight=weight)


class Last:
    """The last event of each user: what the next one comes after.

    It moves on as events are grouped. 12 bytes a user.

    Examples
    --------
    >>> last = Last(pl.DataFrame([(7, 3, 60_000_000)], schema=LAST_SCHEMA, orient="row"))
    >>> len(last.frame()), len(last.frame(since=61_000_000))
    (1, 0)
    """

    def __init__(self, frame: pl.DataFrame | None = None) -> None:
        self.state: States = np.zeros(0, dtype=np.int32)
        self.time: Ints = np.zeros(0, dtype=np.int64)
        if frame is not None and len(frame):
            user = frame["user"].to_numpy()
            self.grow(int(user.max()) + 1)
            self.state[user] = frame["state"].to_numpy()
            self.time[user] = frame["time"].to_physical().to_numpy()

    def grow(self, users: int) -> None:
        """Make room for the codes below `users`."""
        if users > len(self.state):
            more = max(users, len(self.state) * 5 // 4) - len(self.state)
            self.state = np.append(self.state, np.full(more, START, dtype=np.int32))
            self.time = np.append(self.time, np.zeros(more, dtype=np.int64))

    def frame(self, since: int | None = None) -> pl.DataFrame:
        """Users and their last events (`LAST_SCHEMA`), those from a time in microseconds on; ordered by user."""
        known = self.state != START if since is None else (self.state != START) & (self.time >= since)
        user = np.flatnonzero(known)
        columns = {"user": user, "state": self.state[user], "time": self.time[user]}
        return pl.DataFrame(columns, schema_overrides=LAST_SCHEMA)

    def copy(self) -> Last:
        """The same, to move on by itself."""
        copied = Last()
        copied.state, copied.time = self.state.copy(), self.time.copy()
        return copied


def state_of(action: int, outcome: int) -> int:
    """The state of an action with an outcome (an index into `OUTCOMES`).

    Examples
    --------
    >>> state_of(4, 1)
    13
    """
    return len(OUTCOMES) * action + outcome


def action_of(state: int) -> tuple[int, str]:
    """The action's code and the outcome of a state.

    Examples
    --------
    >>> action_of(13)
    (4, 'failure')
    """
    return state // len(OUTCOMES), OUTCOMES[state % len(OUTCOMES)]


class Groups:
    """Coded events sorted by user; what came before each is found block by block.

    Parameters
    ----------
    events : (n, ≥ 5)
        A coded frame (`amiss.events.CODED_SCHEMA`, and the columns of contexts).
    by_time
        Whether each user's events are taken in order of time, ties in that of the log, or all in that of the log.

    Attributes
    ----------
    first : (u + 1,)
        Where the events of each user begin, and the number of events.
    """

    def __init__(self, events: pl.DataFrame, *, session_gap: timedelta = SESSION_GAP, by_time: bool = True) -> None:
        from amiss import sessions_kernel as kernel

        self._coded = tuple(frozen(events[name].to_physical().to_numpy()) for name in CODED_SCHEMA)
        self._context = {name: events[name].to_numpy() for name in events.columns if name not in CODED_SCHEMA}
        self._gap = session_gap // MICROSECOND
        _, time, user, *_ = self._coded
        self.highest = int(user.max()) if len(user) else -1
        in_order = not by_time or kernel.is_sorted(time)
        if in_order and len(user) * _FEW < self.highest:
            self._order = np.argsort(user, kind="stable").astype(np.uint32)
            self.first = boundaries(user[self._order])
        else:
            order = np.zeros(0, dtype=np.int64) if in_order else np.argsort(time, kind="stable")
            self._order, self.first = kernel.by_user(user, self.highest + 1, order)

    def arrived(self, low: int, high: int) -> npt.NDArray[np.uint32]:
        """Where the events of :meth:`block` stand in the frame."""
        return self._order[self.first[low] : self.first[high]]

    def block(self, low: int, high: int, last: Last) -> Events:
        """The events of the users from `low` to `high`, who stand in order; `last`, with room for all, moves on."""
        from amiss import sessions_kernel as kernel

        first = self.first[low : high + 1]
        rows = int(first[-1] - first[0])
        out = tuple(np.empty(rows, dtype=dtype) for dtype in _DTYPES.values())
        order = self._order[first[0] : first[-1]]
        kernel.follow(order, self._coded, last.state, last.time, self._gap, len(OUTCOMES), out)
        columns: dict[str, Any] = {name: frozen(column) for name, column in zip(GROUPED_SCHEMA, out, strict=True)}
        context = {name: frozen(column[order]) for name, column in self._context.items()}
        return Events(**columns, first=first - first[0], context=context)


def group(
    events: pl.DataFrame, last: Last | None = None, *, session_gap: timedelta = SESSION_GAP, by_time: bool = True
) -> Events:
    """Coded events in groups, each with the one before it; `last` moves on to the last event of each user.

    Ties in time keep the order of the log. An event older than the user's last one starts no new session; its gap
    is 0.

    Parameters
    ----------
    events : (n, ≥ 5)
        A coded frame, in any order.
    last
        The last events of the users before these; nobody's at first.

    Examples
    --------
    >>> coded = pl.DataFrame(
    ...     {"position": [1, 2, 3], "time": [0, 5, 60], "user": [7, 8, 7], "action": [0, 0, 1], "outcome": [0, 0, 1]},
    ... ).with_columns(pl.from_epoch(pl.col("time")).dt.cast_time_unit("us").dt.replace_time_zone("UTC"))
    >>> group(coded.cast(CODED_SCHEMA)).frame().select("position", "state", "previous", "gap").rows()
    [(1, 0, -1, -1), (3, 4, 0, 60000000), (2, 0, -1, -1)]
    """
    groups = Groups(events, session_gap=session_gap, by_time=by_time)
    before = Last() if last is None else last
    before.grow(groups.highest + 1)
    return groups.block(0, len(groups.first) - 1, before)


def following(
    last: Last,
    position: int,
    time: int,
    user: int,
    state: int,
    *,
    session_gap: int,
    context: Mapping[str, npt.NDArray[Any]] = NO_CONTEXT,
) -> Events:
    """One event after what came before it, as a group of its own; `last`, with room for the user, moves on.

    Times in microseconds. The same as :func:`group` of a frame with that row, in a hundredth of the time.

    Examples
    --------
    >>> last = Last(pl.DataFrame([(7, 3, 60)], schema=LAST_SCHEMA, orient="row"))
    >>> following(last, position=4, time=75, user=7, state=6, session_gap=100).frame().row(0)[3:]
    (6, 3, 15)
    """
    before, since = int(last.state[user]), max(0, time - int(last.time[user]))
    starts = before == START or since > session_gap
    last.state[user], last.time[user] = state, time
    return Events(
        _alone(position, np.int64),
        _alone(time, np.int64),
        _alone(user, np.uint32),
        _alone(state, np.int32),
        _alone(START if starts else before, np.int32),
        _alone(-1 if starts else since, np.int64),
        _ONE,
        context,
    )


def _alone(value: int, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """A frozen column of one value."""
    column = np.array((value,), dtype)
    column.setflags(write=False)
    return column


def boundaries(user: Users) -> Ints:
    """Where the users of grouped events begin, and the number of events: (u + 1,).

    Examples
    --------
    >>> boundaries(np.array([7, 7, 9]))
    array([0, 2, 3])
    """
    begins = np.append(True, user[1:] != user[:-1]) if len(user) else np.zeros(0, dtype=np.bool_)
    return np.append(np.flatnonzero(begins), len(user))
