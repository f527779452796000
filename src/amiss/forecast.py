"""What a watch will need before it starts: memory by a rule, events a second by trying."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from amiss import config
from amiss.detect import Detector, coding, fitting
from amiss.errors import AmissError
from amiss.fields import Fields
from amiss.live import Live
from amiss.store import Store
from amiss.suppress import unreadable
from amiss.vocabulary import Coding

BASE_BYTES: Final = 220_000_000
"""What the program itself takes, with its libraries and compiled code."""

USER_BYTES: Final = 500
"""For each user: the name, where they stand, the last event, and room to grow."""

NAME_BYTES: Final = 100
"""For each user who is not in memory: the name and the code."""

EVENT_BYTES: Final = 40
"""For each event of today and of yesterday."""

PAIR_BYTES: Final = 100
"""For each pair (an action after another, or after a gap) of a user: today's, yesterday's, and the different ones of
all days that are kept."""

DAY_BYTES: Final = 20
"""For each pair of a user in each closed day."""

MONTH: Final = 3.0
"""Different pairs of a user in 30 days, for each of one day."""

DAYS: Final = 30

TRIED: Final = 20_000
"""Events that are judged to see how fast."""

LEAST: Final = 1_000
"""Fewer events do not tell how fast: beginning costs more than they do."""


@dataclass(frozen=True)
class Forecast:
    """What a watch on a source will need.

    Attributes
    ----------
    events_per_second
        That one core judges, without reading and writing; None where there are too few to tell.
    users
        Users to expect.
    user_bytes
        Memory for each user, from what those of the sample did.
    max_users
        How many users are in memory at most when a day has closed.
    """

    events_per_second: float | None
    users: int
    user_bytes: float

    max_users: int | None = None

    @property
    def kept(self) -> int | None:
        """How many users are in memory behind a day, where not all are."""
        return self.max_users if self.max_users is not None and self.max_users < self.users else None

    @property
    def memory_bytes(self) -> float:
        """Memory of the whole program behind a day; new users of a day add to it until that closes."""
        away = 0 if self.kept is None else self.users - self.kept
        return BASE_BYTES + (self.users - away) * self.user_bytes + away * NAME_BYTES


def measured(
    frame: pl.DataFrame,
    users: int | None = None,
    fields: Fields | None = None,
    *,
    max_users: int | None = None,
) -> Forecast:
    """What a watch on events like these will need.

    Parameters
    ----------
    frame
        The first events of a source, as an event frame.
    users
        How many users to expect; those of the frame unless given.
    fields
        What plays which role in it, by which detectors are chosen.
    max_users
        How many of them are in memory at most when a day has closed.
    """
    found = config.detectors(fitting([fields]), {})
    coded = coding(found)
    sample = coded.encode(frame.head(TRIED))
    tries = [_tried(found, sample, coded) for _ in range(2)]
    among, seconds = max(len(coded.users), 1), min(taken for taken, _ in tries)
    pairs = PAIR_BYTES * (2.0 + MONTH) + DAY_BYTES * DAYS
    each = USER_BYTES + 2 * EVENT_BYTES * sample.height / among + pairs * tries[0][1] / among
    speed = sample.height / max(seconds, 1e-9) if sample.height >= LEAST else None
    return Forecast(speed, users or len(coded.users), each, max_users)


def _tried(detectors: Sequence[Detector[Any]], sample: pl.DataFrame, coded: Coding) -> tuple[float, int]:
    """How long judging a sample takes that comes the day after it was learned, and how many pairs of users it has."""
    live = Live(detectors, coded, learning=2)
    live.take(sample)
    first, last = sample.select(first=pl.col("time").min(), last=pl.col("time").max()).row(0)
    began = time.perf_counter()
    live.take(sample.with_columns(pl.col("time") + timedelta(days=(last - first).days + 1)))
    seconds = time.perf_counter() - began
    counts = live.current.tally.total() if live.current is not None else {}
    return seconds, max((len(table) for table in counts.values()), default=0)


def sentence(forecast: Forecast) -> str:
    """What a watch will need, in words.

    Examples
    --------
    >>> sentence(Forecast(412_000.0, 100_000, 2_600.0))
    '100,000 users take about 0.48 GB if each day is like this, and are judged at 410,000 events/s'
    >>> sentence(Forecast(412_000.0, 100_000, 2_600.0, max_users=20_000))
    '100,000 users, 20,000 of them in memory besides the new ones of a day, take about 0.28 GB if each day ...'
    >>> sentence(Forecast(None, 5, 2_600.0))
    '5 users take about 0.22 GB if each day is like this; under 1,000 events do not tell how fast they are judged'
    """
    memory = float(f"{forecast.memory_bytes / 1e9:.2g}")
    here = f", {most:,} of them in memory besides the new ones of a day," if (most := forecast.kept) else ""
    return f"{forecast.users:,} users{here} take about {memory:g} GB if each day is like this{_speed(forecast)}"


def _speed(forecast: Forecast) -> str:
    """How fast events are judged."""
    if forecast.events_per_second is None:
        return f"; under {LEAST:,} events do not tell how fast they are judged"
    return f", and are judged at {float(f'{forecast.events_per_second:.2g}'):,.0f} events/s"


def state_found(state: Path) -> Iterator[str]:
    """What is to be said of a state, a line for each thing."""
    if not state.exists():
        yield f"ok: {state}: no state yet, amiss watch begins one"
        return
    try:
        with Store.open(state, write=False) as store:
            info = store.info()
            users = info.users
            yield f"ok: {state}: {info.events:,} events of {users:,} users, {info.periods:,} closed days"
            yield from (f"problem: {each}" for each in unreadable(store.suppressions(datetime.now(UTC))))
    except AmissError as error:
        yield f"problem: {error}"
