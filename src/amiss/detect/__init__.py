"""Detectors: what they promise, and the registry of those that exist.

A detector sees **grouped events**: a coded frame ordered by user, within a user by time and position,
with two columns more (see :mod:`amiss.sessions`): `previous`, the state before this one in the session or
START, and `gap`, the microseconds since it.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Protocol

import polars as pl

SCORE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "position": pl.Int64(),
    "user": pl.UInt32(),
    "bits": pl.Float64(),
    "surprisal": pl.Float64(),
}
"""Columns of every score frame; a row per scored event."""


class Detector(Protocol):
    """Finds odd events: counts what is normal, freezes it, and scores later events against it.

    High bits speak for odd, negative bits for normal. A detector is a frozen dataclass of its parameters;
    it reads no clock, draws no random numbers and keeps nothing between calls.
    """

    name: ClassVar[str]
    count_schema: ClassVar[dict[str, pl.DataType]]
    state_schema: ClassVar[dict[str, pl.DataType]]

    def summarise(self, events: pl.DataFrame) -> pl.DataFrame:
        """What these grouped events add to a baseline: integer counts that merge by adding."""
        ...

    def baseline(self, counts: pl.DataFrame, *, leave_out: bool = False) -> Any:
        """What is normal, frozen; `leave_out` keeps each user's own counts out of what they are judged by."""
        ...

    def score(
        self, events: pl.DataFrame, baseline: Any, state: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Scores of grouped events and the users' state behind them. Pure."""
        ...
