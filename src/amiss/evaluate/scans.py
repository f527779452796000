"""Scans of events at hand, and where users stand after them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from amiss.decide import Budget
from amiss.detect import Detector
from amiss.engine import Scan
from amiss.testing import ListSource


def scanned(
    detectors: Sequence[Detector[Any]], events: pl.DataFrame, learn: pl.DataFrame | None = None, *, per_day: float = 1.0
) -> Scan:
    """A scan of an event frame, after another to learn from, with a budget of so many false alarms a day."""
    scan = Scan(detectors, budget=Budget(per_day), top=1)
    sources = [ListSource(log, rows_at_once=max(1, len(log))) for log in (events, learn) if log is not None]
    scan.run(sources[:1], sources[1:], lambda _: None)
    return scan


def standings(scan: Scan) -> pl.DataFrame:
    """Where each user stood at the end of each day: `user` by name, `day`, `events`, `bits`, `peak`, `alert`."""
    found = scan.standings
    names = pl.Series("user", scan.coding.users.decode(found["user"]))
    return found.select(names, pl.col("period").alias("day"), "events", "bits", "peak", "alert")
