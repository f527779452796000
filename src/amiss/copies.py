"""A log in memory: as many of its users as there is room for, and copies of it with attacks in them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.attacks import Injection, Scene
from amiss.events import EVENT_SCHEMA, Quarantine
from amiss.sources import CodedSource, Cursor, Source
from amiss.vocabulary import Coding, Vocabulary

EVENTS_HELD: Final = 3_000_000
"""Events that are held in memory; of a larger log the users are sampled."""


class Kept:
    """Event frames of as many users as there is room for, chosen by a hash of their names.

    Parameters
    ----------
    limit
        Events that are held at most: beyond that only every second user is, then every fourth, and so on.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> rows = [(n, datetime(2026, 1, 5, tzinfo=UTC), f"u{n}", "view", "success") for n in range(100)]
    >>> kept = Kept(limit=60)
    >>> kept.add(pl.DataFrame(rows, schema=EVENT_SCHEMA, orient="row"), past=False)
    >>> kept.share, len(kept.frame(past=False)) <= 60
    (0.5, True)
    """

    def __init__(self, limit: int = EVENTS_HELD) -> None:
        self._limit = limit
        self._parts: list[tuple[bool, pl.DataFrame]] = []
        self._users, self._lots = Vocabulary(), np.zeros(0, np.uint32)
        self._below = 1 << 32
        self.seen = 0
        self.share = 1.0

    def add(self, frame: pl.DataFrame, *, past: bool) -> None:
        """Take the events of a frame."""
        self.seen += len(frame)
        self._parts.append((past, self._chosen(frame.with_columns(_lot=self._drawn(frame["user"])))))
        while sum(len(each) for _, each in self._parts) > self._limit:
            self._cut(self._below // 2, self.share / 2)

    def cut_to(self, users: int) -> None:
        """Keep at most so many users."""
        lots = np.unique(np.concatenate([part["_lot"].unique().to_numpy() for _, part in self._parts]))
        if len(lots) > users:
            self._cut(int(lots[users]), self.share * users / len(lots))

    def frame(self, *, past: bool) -> pl.DataFrame:
        """All that was kept, in the order of reading, positions from 1."""
        parts = [part for of, part in self._parts if of == past] or [pl.DataFrame(schema=EVENT_SCHEMA)]
        whole = pl.concat(parts, how="diagonal_relaxed").drop("_lot", strict=False)
        return whole.with_columns(position=pl.int_range(1, len(whole) + 1, dtype=pl.Int64))

    def _drawn(self, users: pl.Series) -> npt.NDArray[np.uint32]:
        """The hash of each user."""
        codes = self._users.encode(users)
        new = [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) for text in self._fresh()]
        self._lots = np.append(self._lots, np.array(new, np.uint32))
        drawn: npt.NDArray[np.uint32] = self._lots[codes]
        return drawn

    def _fresh(self) -> list[str]:
        return self._users.since(len(self._lots))

    def _cut(self, below: int, share: float) -> None:
        self._below, self.share = below, share
        self._parts = [(past, self._chosen(part)) for past, part in self._parts]

    def _chosen(self, part: pl.DataFrame) -> pl.DataFrame:
        return part.filter(pl.col("_lot") < self._below)


class Uncoded(Coding):
    """Leaves event frames as they are, with the columns that another coding asks for."""

    def __init__(self, coding: Coding) -> None:
        super().__init__()
        self.contexts = (self,)  # type: ignore[assignment]  # whatever it is, sources then give all roles
        self.raw = coding.raw

    def empty(self) -> pl.DataFrame:
        """An event frame without events."""
        return pl.DataFrame(schema=EVENT_SCHEMA)

    def encode(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame itself."""
        return frame


def event_frames(source: Source, coding: Coding) -> Iterator[pl.DataFrame]:
    """The event frames that become coded frames in a scan, with the columns that detectors look at."""
    pairs = source.read_coded(Uncoded(coding)) if isinstance(source, CodedSource) else source.read()
    return (frame for frame, _ in pairs)


class Copy:
    """A log that is in memory, as a source."""

    def __init__(self, events: pl.DataFrame) -> None:
        self.url = "copy"
        self.quarantine = Quarantine()
        self._events = events

    def read(self, after: Cursor | None = None) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """All events in one frame."""
        if after is None and len(self._events):
            yield self._events, Cursor("{}")


def injected(scene: Scene, injections: Sequence[Injection]) -> pl.DataFrame:
    """The log with attacks in it, each event where its time has it; positions of what came begin behind all others.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> rows = [(n, datetime(2026, 1, 5, n, tzinfo=UTC), "ann", "view", "success") for n in (1, 2, 3)]
    >>> scene = Scene(pl.DataFrame(rows, schema=EVENT_SCHEMA, orient="row"), [])
    >>> from datetime import timedelta
    >>> stolen = scene.under(0, np.array([0])).with_columns(pl.col("time") + timedelta(hours=1.5))
    >>> injected(scene, [Injection(stolen, (20458,), np.array([2]))])["position"].to_list()
    [1, 2, 4]
    """
    size = len(scene.events)
    stay = np.ones(size, np.bool_)
    for each in injections:
        stay[each.removed] = False
    come = pl.concat([scene.events.clear(), *(each.rows for each in injections)]).sort("time", maintain_order=True)
    come = come.with_columns(position=pl.int_range(size + 1, size + 1 + len(come), dtype=pl.Int64))
    latest = np.maximum.accumulate(scene.time)
    at = np.searchsorted(latest, come["time"].to_physical().to_numpy(), side="right") - 0.5
    order = np.argsort(np.concatenate([np.flatnonzero(stay), at]), kind="stable")
    return pl.concat([scene.events.filter(pl.Series(stay)), come])[order]
