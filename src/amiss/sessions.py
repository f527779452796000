"""Who did what after what: events grouped by user, each with the one before it in the session.

A **state** is an action with its outcome, ``3 * action + outcome``. A session starts with a user's first event and
after every gap above `session_gap`; the state before its first event is START.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import numpy as np
import polars as pl

from amiss.blocks import Ints, by_block, frozen
from amiss.events import OUTCOMES

START: Final = -1
"""The `previous` of a session's first event; its `gap` is -1 too."""

SESSION_GAP: Final = timedelta(minutes=30)

GROUPED_SCHEMA: Final[dict[str, pl.DataType]] = {
    "position": pl.Int64(),
    "time": pl.Datetime("us", "UTC"),
    "user": pl.UInt32(),
    "state": pl.Int32(),
    "previous": pl.Int32(),
    "gap": pl.Int64(),
}
"""Columns of grouped events, ordered by user, within a user by time and position; `gap` in microseconds."""

LAST_SCHEMA: Final[dict[str, pl.DataType]] = {
    "user": pl.UInt32(),
    "state": pl.Int32(),
    "time": pl.Datetime("us", "UTC"),
}
"""The last event of each user: what the first event of the next batch comes after."""


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


def group(
    events: pl.DataFrame, last: pl.DataFrame | None = None, *, session_gap: timedelta = SESSION_GAP
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Coded events in groups (`GROUPED_SCHEMA`), and the last event of each user up to now.

    Ties in time keep the order of the log. An event older than the user's last one starts no new session; its gap
    is 0.

    Parameters
    ----------
    events : (n, 5)
        A coded frame, in any order.
    last : (u, 3)
        What the call for the batch before returned second; none at first.

    Examples
    --------
    >>> coded = pl.DataFrame(
    ...     {"position": [1, 2, 3], "time": [0, 5, 60], "user": [7, 8, 7], "action": [0, 0, 1], "outcome": [0, 0, 1]}
    ... ).with_columns(pl.from_epoch(pl.col("time")).dt.cast_time_unit("us").dt.replace_time_zone("UTC"))
    >>> group(coded)[0].select("position", "state", "previous", "gap").rows()
    [(1, 0, -1, -1), (3, 4, 0, 60000000), (2, 0, -1, -1)]
    """
    from amiss import sessions_kernel as kernel

    time = events["time"].to_physical().to_numpy()
    user = events["user"].to_numpy()
    by_time = np.arange(len(time)) if kernel.is_sorted(frozen(time)) else np.argsort(time, kind="stable")
    order, starts = kernel.by_user(frozen(user), int(user.max()) + 1 if len(user) else 0, by_time)
    columns = _followed(events, order, np.unique(starts), last, session_gap // timedelta(microseconds=1))
    grouped = pl.DataFrame(
        columns | {"position": events["position"].to_numpy()[order]}, schema_overrides=GROUPED_SCHEMA
    )
    grouped = grouped.select(*GROUPED_SCHEMA)
    return grouped, _last(grouped, last)


def _followed(
    events: pl.DataFrame, order: Ints, first: Ints, last: pl.DataFrame | None, session_gap: int
) -> dict[str, np.ndarray]:
    """The columns of grouped events that follow from the one before, by name."""
    from amiss import sessions_kernel as kernel

    user, time = frozen(events["user"].to_numpy()), frozen(events["time"].to_physical().to_numpy())
    state = len(OUTCOMES) * events["action"].to_numpy().astype(np.int32) + events["outcome"].to_numpy()
    state, before = frozen(state), _before(last, user)
    dtypes = {"time": np.int64, "user": np.uint32, "state": np.int32, "previous": np.int32, "gap": np.int64}
    columns = {name: np.empty(len(order), dtype=dtype) for name, dtype in dtypes.items()}

    def block(low: int, high: int) -> None:
        part = slice(int(first[low]), int(first[high]))
        out = tuple(column[part] for column in columns.values())
        kernel.follow(order[part], time, user, state, *before, session_gap, out)

    by_block(first, block)
    return columns


def _before(last: pl.DataFrame | None, user: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """State and time of the last event by user code, START and 0 for users without one."""
    size = int(user.max()) + 1 if len(user) else 0
    state, time = np.full(size, START, dtype=np.int32), np.zeros(size, dtype=np.int64)
    if last is not None:
        known = last.filter(pl.col("user") < size)
        state[known["user"].to_numpy()] = known["state"].to_numpy()
        time[known["user"].to_numpy()] = known["time"].to_physical().to_numpy()
    return state, time


def _last(grouped: pl.DataFrame, last: pl.DataFrame | None) -> pl.DataFrame:
    """The last event of each user after this batch."""
    user = grouped["user"].to_numpy()
    ends = np.flatnonzero(np.append(user[1:] != user[:-1], True)) if len(user) else np.zeros(0, dtype=np.int64)
    now = grouped[ends].select(*LAST_SCHEMA)
    if last is None:
        return now
    return pl.concat([last.join(now, on="user", how="anti"), now]).sort("user")
