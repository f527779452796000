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
from amiss.detect import Detector
from amiss.errors import AmissError
from amiss.live import Live
from amiss.result import BY_DEFAULT
from amiss.store import Store
from amiss.suppress import unreadable
from amiss.vocabulary import Vocabulary, encode_events

BASE_BYTES: Final = 300_000_000
"""What the program itself takes, with its libraries and compiled code."""

USER_BYTES: Final = 400
"""For each user: the name, where they stand, the last event, and room to grow."""

PAIR_BYTES: Final = 60
"""For each different pair of actions, or of an action and a gap, that a user showed: counts of the days kept."""

EVENT_BYTES: Final = 36
"""For each event of the days that are open."""

MOST_OPEN_EVENTS: Final = 20_000_000
"""Events that are kept of the open day and the one before; see :data:`amiss.recent.KEPT`."""

PAIRS_PER_ACTION: Final = 3.0
"""Different pairs, with the action before and with the gap, for each different action of a user."""

TRIED: Final = 20_000
"""Events that are judged to see how fast."""


@dataclass(frozen=True)
class Forecast:
    """What a watch on a source will need.

    Attributes
    ----------
    events_per_second
        That one core judges, without reading and writing.
    users
        Users to expect.
    user_bytes
        Memory for each user, from what those of the sample did.
    """

    events_per_second: float
    users: int
    user_bytes: float

    @property
    def memory_bytes(self) -> float:
        """Memory of the whole program, while it follows that many users."""
        return BASE_BYTES + self.users * self.user_bytes


def measured(frame: pl.DataFrame, users: int | None = None) -> Forecast:
    """What a watch on events like these will need.

    Parameters
    ----------
    frame
        The first events of a source, as an event frame.
    users
        How many users to expect; those of the frame unless given.
    """
    names, actions = Vocabulary(), Vocabulary()
    sample = encode_events(frame.head(TRIED), names, actions)
    found = config.detectors(BY_DEFAULT, {})
    seconds = min(_seconds(found, sample, names, actions) for _ in range(2))
    pairs = sample.select("user", "action").n_unique() * PAIRS_PER_ACTION / max(len(names), 1)
    events = sample.height / max(len(names), 1)
    each = USER_BYTES + PAIR_BYTES * pairs + EVENT_BYTES * min(events, MOST_OPEN_EVENTS / max(users or 1, 1))
    return Forecast(sample.height / max(seconds, 1e-9), users or len(names), each)


def _seconds(detectors: Sequence[Detector[Any]], sample: pl.DataFrame, users: Vocabulary, actions: Vocabulary) -> float:
    """How long judging a sample takes that comes the day after it was learned."""
    live = Live(detectors, users, actions)
    live.take(sample)
    first, last = sample.select(first=pl.col("time").min(), last=pl.col("time").max()).row(0)
    days = (last - first).days + 1
    began = time.perf_counter()
    live.take(sample.with_columns(pl.col("time") + timedelta(days=days)))
    return time.perf_counter() - began


def sentence(forecast: Forecast) -> str:
    """What a watch will need, in words.

    Examples
    --------
    >>> sentence(Forecast(412_000.0, 100_000, 2_600.0))
    'a watch of 100,000 users takes about 0.56 GB, and judges 410,000 events/s'
    """
    speed = float(f"{forecast.events_per_second:.2g}")
    memory = float(f"{forecast.memory_bytes / 1e9:.2g}")
    return f"a watch of {forecast.users:,} users takes about {memory:g} GB, and judges {speed:,.0f} events/s"


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
