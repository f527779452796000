"""The event frame: what one row of a log has to say, under one set of names.

A source gives **event frames** (Polars, strings as strings). The engine codes them once:
a **coded frame** holds the same events with `user` and `action` as dense codes of a
:class:`~amiss.vocabulary.Vocabulary`, and is all that detectors see.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import polars as pl

from amiss.errors import EventError, nearest

OUTCOMES: Final = ("success", "failure", "unknown")
"""The outcomes of an event; a coded frame holds the index into this tuple."""

EVENT_SCHEMA: Final[dict[str, pl.DataType]] = {
    "position": pl.Int64(),
    "time": pl.Datetime("us", "UTC"),
    "user": pl.String(),
    "action": pl.String(),
    "outcome": pl.String(),
}
"""Columns of every event frame. `position` counts the records of the source from 1."""

OPTIONAL_SCHEMA: Final[dict[str, pl.DataType]] = {
    "ip": pl.String(),
    "country": pl.String(),
    "city": pl.String(),
    "latitude": pl.Float64(),
    "longitude": pl.Float64(),
    "provider": pl.String(),
    "network_type": pl.String(),
    "user_agent": pl.String(),
    "device": pl.String(),
    "amount_cents": pl.Int64(),
    "other_user": pl.String(),
    "resource": pl.String(),
    "session": pl.String(),
    "group": pl.String(),
}
"""Columns an event frame has where the log has them. Any other column rides along."""

CODED_SCHEMA: Final[dict[str, pl.DataType]] = {
    "position": pl.Int64(),
    "time": pl.Datetime("us", "UTC"),
    "user": pl.UInt32(),
    "action": pl.UInt32(),
    "outcome": pl.UInt8(),
}
"""Columns of every coded frame."""

TEXT_LIMIT: Final = 200
"""Characters of a quarantined row that are kept."""

SAMPLE_LIMIT: Final = 100
"""Quarantined rows that are kept whole; all of them are counted."""


@dataclass(frozen=True)
class Rejected:
    """One row that could not be read: where it stood, why, and its first characters."""

    file: str
    position: int
    reason: str
    text: str


@dataclass
class Quarantine:
    """Rows that could not be read: counted by reason, the first ones kept to be looked at.

    Examples
    --------
    >>> quarantine = Quarantine()
    >>> quarantine.add("app.log", 7, "not JSON", "{oops")
    >>> quarantine.total, quarantine.reasons, quarantine.samples[0].position
    (1, {'not JSON': 1}, 7)
    """

    reasons: dict[str, int] = field(default_factory=dict)
    samples: list[Rejected] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many rows were quarantined."""
        return sum(self.reasons.values())

    def add(self, file: str, position: int, reason: str, text: str, *, count: int = 1) -> None:
        """Count `count` rows for `reason` and keep the first characters of one of them."""
        self.reasons[reason] = self.reasons.get(reason, 0) + count
        if len(self.samples) < SAMPLE_LIMIT:
            self.samples.append(Rejected(file, position, reason, text[:TEXT_LIMIT]))

    def extend(self, other: Quarantine) -> None:
        """Count what another quarantine holds."""
        for reason, count in other.reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + count
        self.samples.extend(other.samples[: SAMPLE_LIMIT - len(self.samples)])


def check(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with its columns in order and of the declared types.

    Raises
    ------
    EventError
        If a column is missing or cannot take its type; all problems are listed at once.

    Examples
    --------
    >>> check(pl.DataFrame({"usr": ["ann"]}))
    Traceback (most recent call last):
    amiss.errors.EventError: column "position" is missing. Found: usr
    column "time" is missing. Found: usr
    column "user" is missing. Found: usr Did you mean "usr"?
    column "action" is missing. Found: usr
    column "outcome" is missing. Found: usr
    """
    problems = []
    casts = []
    for name, dtype in (EVENT_SCHEMA | OPTIONAL_SCHEMA).items():
        if name in frame.columns:
            casts.append(pl.col(name).cast(dtype))
        elif name in EVENT_SCHEMA:
            found = ", ".join(frame.columns) or "no columns"
            problems.append(f'column "{name}" is missing. Found: {found}{nearest(name, frame.columns)}')
    if problems:
        raise EventError("\n".join(problems))
    try:
        typed = frame.with_columns(casts)
    except pl.exceptions.PolarsError as error:
        raise EventError(f"a column of the event frame has the wrong type: {error}") from error
    rest = [name for name in frame.columns if name not in EVENT_SCHEMA]
    return typed.select([*EVENT_SCHEMA, *rest])
