"""Bounded memory: who was least recently active is put away as a day closes, and comes back with all that was known."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import watching
from tests.watching import DAY, MONDAY, busy, coded, coded_rows, disordered, judged, same

from amiss.vocabulary import Coding, Vocabulary

rows = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 86_399), st.integers(0, 8), st.integers(0, 2), st.integers(0, 1)),
    min_size=1,
    max_size=80,
)


def cut(frame: pl.DataFrame, places: list[int]) -> list[pl.DataFrame]:
    """A frame in pieces; some may be empty."""
    edges = sorted([0, len(frame), *(place % (len(frame) + 1) for place in places)])
    return [frame[low:high] for low, high in pairwise(edges)]


@settings(max_examples=60)
@given(
    rows,
    st.lists(st.integers(0, 80), max_size=12),
    st.lists(st.booleans(), max_size=13),
    st.sampled_from([0, 1, 30]),
    st.integers(1, 8),
)
def test_any_events_give_the_same_in_any_batches_and_restarts(events, places, reload, hours, most):
    """Whoever comes and goes, in any order of days: cuts and restarts change no alert, no count and no bit of state."""
    frame = coded_rows(events)
    options: dict[str, Any] = {"per_day": 50.0, "lateness": hours * DAY / 24, "max_users": most}
    whole = judged(watching.live(**options), [frame])
    pieces = judged(watching.live(**options), cut(frame, places), reload=reload)
    same(whole, pieces)


@settings(max_examples=40)
@given(rows, st.integers(1, 8))
def test_nobody_is_lost_and_no_more_are_in_memory_than_allowed(events, most):
    """Of each closed day the store has every user's events; behind a close there are `most` users, but for the new."""
    frame = coded_rows(sorted(events))
    live, all_of_them = watching.live(max_users=most), watching.live()
    kept: dict[Any, Any] = {}
    live.archive = lambda day: kept.get(day, {})
    for part in frame.with_columns(day=pl.col("time").dt.date()).partition_by(
        "day", maintain_order=True, include_key=False
    ):
        taken = live.take(part)
        all_of_them.take(part)
        kept |= {day: counts for closed in taken.closed for day, counts in closed.counts.items()}
        live.written(taken)
        assert live.seats is not None
        assert len(live.seats) <= most + part["user"].n_unique()
    assert [done(counts) for counts in kept.values()] == [
        done(counts) for counts in all_of_them.history.judged.values()
    ]


def done(counts: dict[str, pl.DataFrame]) -> list[tuple[Any, ...]]:
    """How many events each user made."""
    actions = counts["sequence"].filter(feature=0)
    return actions.group_by("user").agg(pl.col("count").sum()).sort("user").rows()
