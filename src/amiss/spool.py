"""Coded events by day, in memory while they fit and in temporary files beyond that."""

from __future__ import annotations

import math
import shutil
import tempfile
import weakref
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from amiss.events import CODED_SCHEMA

ROWS_IN_MEMORY: Final = 60_000_000
"""Events that are held in memory, about 26 bytes each; more go to files."""

EPOCH: Final = date(1970, 1, 1)
_MICROSECONDS_PER_DAY: Final = 86_400_000_000


class Spool:
    """Takes coded frames in any order and gives them back day by day, in parts that fit in memory.

    All events of a user's day come in one part. Days are those of UTC. The files vanish with the spool.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> times = [datetime(2026, 1, day, tzinfo=UTC) for day in (2, 1, 2)]
    >>> rows = {"position": [1, 2, 3], "time": times, "user": [0, 0, 1], "action": [0, 0, 0], "outcome": [0, 0, 0]}
    >>> spool = Spool(rows_in_memory=2)
    >>> spool.add(pl.DataFrame(rows, schema=CODED_SCHEMA))
    >>> [(str(day), [part["position"].to_list() for part in spool.parts(day)]) for day in spool.days()]
    [('2026-01-01', [[2]]), ('2026-01-02', [[1, 3]])]
    """

    def __init__(
        self, rows_in_memory: int = ROWS_IN_MEMORY, *, schema: Mapping[str, pl.DataType] = CODED_SCHEMA
    ) -> None:
        self._limit, self._schema = rows_in_memory, schema
        self._held: defaultdict[date, list[pl.DataFrame]] = defaultdict(list)
        self._files: defaultdict[date, list[Path]] = defaultdict(list)
        self._rows: defaultdict[date, int] = defaultdict(int)
        self._held_rows = 0
        self._folder: Path | None = None

    def __len__(self) -> int:
        return sum(self._rows.values())

    def add(self, frame: pl.DataFrame) -> None:
        """Take the events of a coded frame."""
        for day, part in _by_day(frame.select(*self._schema)):
            self._held[day].append(part)
            self._rows[day] += len(part)
            self._held_rows += len(part)
        if self._held_rows > self._limit:
            self._spill()

    def days(self) -> list[date]:
        """The days that have events, in order."""
        return sorted(self._rows)

    def rows(self, day: date) -> int:
        """How many events a day has."""
        return self._rows[day]

    def parts(self, day: date) -> Iterator[pl.DataFrame]:
        """The events of a day in the order they were added, in parts by user."""
        parts = max(1, math.ceil(self._rows[day] / self._limit))
        for part in range(parts):
            yield self.select(day, pl.col("user") % parts == part if parts > 1 else pl.lit(True))

    def select(self, day: date, which: pl.Expr) -> pl.DataFrame:
        """The events of a day for which an expression holds, in the order they were added."""
        written = [pl.scan_ipc(path).filter(which) for path in self._files[day]]
        held = [frame.lazy().filter(which) for frame in self._held[day]]
        return pl.concat([pl.LazyFrame(schema=self._schema), *written, *held]).collect()

    def _spill(self) -> None:
        """Write what is held to files."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="amiss-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        for day, frames in self._held.items():
            path = self._folder / f"{day}-{len(self._files[day])}.arrow"
            pl.concat(frames).write_ipc(path)
            self._files[day].append(path)
        self._held.clear()
        self._held_rows = 0


def _by_day(frame: pl.DataFrame) -> Iterator[tuple[date, pl.DataFrame]]:
    """The events of each day."""
    if frame.is_empty():
        return
    number = pl.col("time").to_physical() // _MICROSECONDS_PER_DAY
    times = frame["time"].to_physical().to_numpy()
    low, high = int(times.min()) // _MICROSECONDS_PER_DAY, int(times.max()) // _MICROSECONDS_PER_DAY
    if low == high:
        yield EPOCH + timedelta(days=low), frame
        return
    for (day,), part in frame.group_by(number, maintain_order=True):
        yield EPOCH + timedelta(days=int(str(day))), part
