"""The events of an open period, so that it can be told what a user did: the latest ones, in a ring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.baseline import Ints
from amiss.blocks import highest
from amiss.events import CODED_SCHEMA, OUTCOMES
from amiss.sessions import NO_CONTEXT

KEPT: Final = 10_000_000
"""Events of a period that are kept, 24 bytes each; older ones are not told of any more."""

KEPT_OF_USER: Final = 100_000
"""Events of one user that are told of, the latest."""

_FIRST: Final = 4_096


class Recent:
    """The latest events of a period, by user.

    Examples
    --------
    >>> recent = Recent(most=2)
    >>> rows = {"position": [1, 2, 3], "time": [0, 5, 9], "user": [7, 7, 8], "action": [0, 1, 0], "outcome": [0, 1, 0]}
    >>> recent.add(pl.DataFrame(rows).with_columns(pl.col("time").cast(pl.Datetime("us", "UTC"))).cast(CODED_SCHEMA))
    >>> recent.of(7).select("position", "action", "outcome").rows(), len(recent)
    ([(2, 1, 1)], 2)
    """

    def __init__(self, most: int = KEPT) -> None:
        self._most = most
        self._ring: tuple[npt.NDArray[Any], ...] = _room(0)
        self._context: dict[str, npt.NDArray[Any]] = {}
        self._head: Ints = np.zeros(0, dtype=np.int64)
        self._written = 0

    def __len__(self) -> int:
        return min(self._written, self._most)

    def add(self, events: pl.DataFrame) -> None:
        """Take the events of a coded frame, in the order in which they came."""
        state = len(OUTCOMES) * events["action"].to_numpy().astype(np.int32) + events["outcome"].to_numpy()
        time, position, user = (events[name].to_physical().to_numpy() for name in ("time", "position", "user"))
        context = {name: events[name].to_numpy() for name in events.columns if name not in CODED_SCHEMA}
        self.add_arrays(time, position, user, state.astype(np.int32), context)

    def add_arrays(
        self,
        time: Ints,
        position: Ints,
        user: npt.NDArray[np.uint32],
        state: npt.NDArray[np.int32],
        context: Mapping[str, npt.NDArray[Any]] = NO_CONTEXT,
    ) -> None:
        """The same from arrays (n,); `time` in microseconds."""
        from amiss import recent_kernel as kernel

        for name in context.keys() - self._context.keys():
            self._context[name] = np.zeros(len(self._ring[0]), dtype=context[name].dtype)
        self._grow(self._written + len(user), highest(user) + 1)
        at = np.arange(self._written, self._written + len(user)) % max(len(self._ring[0]), 1) if context else None
        for name, column in context.items():
            self._context[name][at] = column
        self._written = int(kernel.append((time, position, user, state), self._ring, self._head, self._written))

    def of(self, user: int, most: int = KEPT_OF_USER) -> pl.DataFrame:
        """The coded events of a user, in the order in which they came; the latest `most` of those still kept."""
        from amiss import recent_kernel as kernel

        time, position, state, before = self._ring
        head = int(self._head[user]) if user < len(self._head) else -1
        numbers = (
            kernel.numbers(before, head, self._written, most)[::-1] if len(before) else np.zeros(0, dtype=np.int64)
        )
        at = numbers % max(len(before), 1)
        columns = {
            "position": position[at],
            "time": pl.Series(time[at]).cast(pl.Datetime("us", "UTC")),
            "user": np.full(len(at), user, dtype=np.uint32),
            "action": state[at] // len(OUTCOMES),
            "outcome": state[at] % len(OUTCOMES),
        }
        context = {name: column[at] for name, column in self._context.items()}
        return pl.DataFrame(columns | context, schema_overrides=CODED_SCHEMA)

    def keep(self, kept: npt.NDArray[np.int64]) -> None:
        """Forget all users but some, in rising order, who go by their places there from now on."""
        self._grow(0, int(kept.max(initial=-1)) + 1)
        self._head = self._head[kept]

    def _grow(self, events: int, users: int) -> None:
        """Make room for so many events, up to the most that are kept, and for the codes below `users`."""
        there = len(self._ring[0])
        if events > there and there < self._most:
            ring: tuple[npt.NDArray[Any], ...] = _room(min(max(events, 2 * there, _FIRST), self._most))
            for old, new in zip(self._ring, ring, strict=True):
                new[:there] = old
            self._ring = ring
            for name, column in self._context.items():
                self._context[name] = np.append(column, np.zeros(len(ring[0]) - there, dtype=column.dtype))
        if users > len(self._head):
            more = max(users, len(self._head) * 5 // 4) - len(self._head)
            self._head = np.append(self._head, np.full(more, -1, dtype=np.int64))


def _room(events: int) -> tuple[Ints, Ints, npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """An empty ring."""
    return (
        np.zeros(events, dtype=np.int64),
        np.zeros(events, dtype=np.int64),
        np.zeros(events, dtype=np.int32),
        np.zeros(events, dtype=np.int32),
    )
