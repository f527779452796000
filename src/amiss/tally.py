"""The counts of an open period: events go in as they come, tables that merge by adding come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.baseline import merge
from amiss.detect import Detector
from amiss.evidence import FULL_WEIGHT
from amiss.sessions import GROUPED_SCHEMA, Events, boundaries

ROWS_AT_ONCE: Final = 1 << 17
"""Events that are counted in one go; so many wait at most."""

_COLUMNS: Final = {
    "position": np.int64,
    "time": np.int64,
    "user": np.uint32,
    "state": np.int32,
    "previous": np.int32,
    "gap": np.int64,
}


Weights = npt.NDArray[np.uint8]


def summaries(
    detectors: Sequence[Detector[Any]], events: Events, weight: Weights | None = None
) -> dict[str, pl.DataFrame]:
    """What events add to the baselines of detectors; those with the same counts share them.

    `weight` (n,) is how much each event may teach gated detectors, in sixteenths.
    """
    gated = events if weight is None else replace(events, weight=weight)
    families = {each.counts: each for each in detectors}
    return {name: one.summarise(gated if one.gated else events) for name, one in families.items()}


class Tally:
    """What events add to baselines, added up as they come.

    Tables are merged with those of about their size, so that each row is added up a few times only.
    """

    def __init__(
        self,
        detectors: Sequence[Detector[Any]],
        begun: Mapping[str, pl.DataFrame] | None = None,
        *,
        rows_at_once: int = ROWS_AT_ONCE,
    ) -> None:
        self._detectors = detectors
        self._tables: list[dict[str, pl.DataFrame]] = [dict(begun)] if begun else []
        self._waiting = {name: np.empty(rows_at_once, dtype=dtype) for name, dtype in _COLUMNS.items()}
        self._context: dict[str, npt.NDArray[Any]] = {}
        self._is_gated = any(each.gated for each in detectors)
        self._weight = np.empty(rows_at_once if self._is_gated else 0, dtype=np.uint8)
        self._rows = 0

    def add(self, events: Events, weight: Weights | None = None) -> None:
        """Take grouped events; `weight` is how much each may teach gated detectors, in sixteenths."""
        at, most = 0, len(self._waiting["user"])
        for name in events.context.keys() - self._context.keys():
            self._context[name] = np.empty(most, dtype=events.context[name].dtype)
        while at < len(events):
            size = min(len(events) - at, most - self._rows)
            taken, place = slice(at, at + size), slice(self._rows, self._rows + size)
            for name, column in self._waiting.items():
                column[place] = getattr(events, name)[taken]
            for name, column in self._context.items():
                column[place] = events.context[name][taken]
            if self._is_gated:
                self._weight[place] = FULL_WEIGHT if weight is None else weight[taken]
            self._rows += size
            at += size
            if self._rows == most:
                self._count()

    def total(self) -> dict[str, pl.DataFrame]:
        """The counts of all events so far, by what detectors call them."""
        self._count()
        while len(self._tables) > 1:
            self._merge()
        families = {each.counts: each for each in self._detectors}
        none = {name: pl.DataFrame(schema=each.count_schema) for name, each in families.items()}
        return none | (self._tables[0] if self._tables else {})

    def _count(self) -> None:
        """Count what waits."""
        if not self._rows:
            return
        order = np.argsort(self._waiting["user"][: self._rows], kind="stable")
        columns: dict[str, Any] = {name: self._waiting[name][order] for name in GROUPED_SCHEMA}
        context = {name: column[order] for name, column in self._context.items()}
        for column in (*columns.values(), *context.values()):
            column.flags.writeable = False
        events = Events(**columns, first=boundaries(columns["user"]), context=context)
        self._rows = 0
        self._tables.append(summaries(self._detectors, events, self._weight[order] if self._is_gated else None))
        while len(self._tables) > 1 and _size(self._tables[-2]) <= 2 * _size(self._tables[-1]):
            self._merge()

    def _merge(self) -> None:
        """Add the last table to the one before."""
        last, before = self._tables.pop(), self._tables.pop()
        self._tables.append({name: merge([before[name], last[name]]) for name in last})


def _size(table: Mapping[str, pl.DataFrame]) -> int:
    """How many rows of counts there are."""
    return sum(map(len, table.values()))
