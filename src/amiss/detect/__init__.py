"""Detectors: what they promise, and the registry of those that exist.

A detector sees **grouped events** (:data:`amiss.sessions.GROUPED_SCHEMA`): coded, ordered by user, within a user by
time and position, each with the state before it in the session and the gap since then.

To add one: a frozen dataclass in a module of this package, a line in `BUILT_IN`, a test file. Others may register
theirs under the entry point `amiss.detectors`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, ClassVar, Final, Protocol, TypeVar

import polars as pl

from amiss.baseline import Past
from amiss.errors import UsageError, nearest

SCORE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "position": pl.Int64(),
    "user": pl.UInt32(),
    "bits": pl.Float64(),
    "surprisal": pl.Float64(),
}
"""Columns of every score frame; a row per event, in the order of the events."""

BUILT_IN: Final = {"sequence": "amiss.detect.sequence:Sequence", "habit": "amiss.detect.habit:Habit"}

Baseline = TypeVar("Baseline")


@dataclass(frozen=True)
class Reason:
    """One thing that speaks against a user: how many bits, in words, and the counts behind it.

    `count` of `of` is what the user did; `others_count` of `others_of` what the baseline holds of it.
    """

    detector: str
    bits: float
    text: str
    count: int
    of: int
    others_count: int
    others_of: int


class Detector(Protocol[Baseline]):
    """Finds odd events: counts what is normal, freezes it, and scores later events against it.

    High bits speak for odd, negative bits for normal. A detector is a frozen dataclass of its parameters; it reads no
    clock, draws no random numbers and keeps nothing between calls. `amiss.testing.check_detector` holds it to that.
    """

    name: ClassVar[str]
    counts: ClassVar[str]
    """Detectors with the same word here summarise alike; it is done once."""
    count_schema: ClassVar[dict[str, pl.DataType]]

    def summarise(self, events: pl.DataFrame) -> pl.DataFrame:
        """What these grouped events add to a baseline: rows of `count_schema` that merge by adding `count`."""
        ...

    def baseline(self, past: Past, *, leave_out: bool = False) -> Baseline:
        """What is normal after earlier periods, frozen.

        With `leave_out` each user's own share is taken out of what the user is judged by; `score` must then get all
        events of a user's period at once.
        """
        ...

    def no_state(self) -> pl.DataFrame:
        """The state of users before the first event of a period; its columns are those of any state."""
        ...

    def score(self, events: pl.DataFrame, baseline: Baseline, state: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Scores (`SCORE_SCHEMA`) of grouped events, and the state behind them of the users they are of. Pure."""
        ...

    def explain(
        self, events: pl.DataFrame, baseline: Baseline, name_of: Callable[[int], str]
    ) -> dict[int, list[Reason]]:
        """By user, what in all the events of a period speaks against them most; `name_of` gives a state's name."""
        ...


def registry() -> dict[str, type[Detector[Any]]]:
    """All detectors by name, those of other packages included.

    Examples
    --------
    >>> sorted(registry())
    ['habit', 'sequence']
    """
    found = {name: _load(place) for name, place in BUILT_IN.items()}
    return found | {entry.name: entry.load() for entry in entry_points(group="amiss.detectors")}


def detector(name: str, **parameters: object) -> Detector[Any]:
    """The detector of that name with these parameters.

    Raises
    ------
    UsageError
        If no detector has the name.

    Examples
    --------
    >>> detector("sequence", cap=3)
    Sequence(cap=3)
    """
    known = registry()
    if name not in known:
        raise UsageError(f'no detector is called "{name}". Known: {", ".join(known)}.{nearest(name, known)}')
    return known[name](**parameters)


def _load(place: str) -> type[Detector[Any]]:
    """The class at `module:name`."""
    module, _, name = place.partition(":")
    loaded: type[Detector[Any]] = getattr(import_module(module), name)
    return loaded
