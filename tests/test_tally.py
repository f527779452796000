"""The counts of an open period: however events come in, they add up to what counting them at once gives."""

from __future__ import annotations

from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.watching import coded_rows, detectors

from amiss.sessions import Last, group
from amiss.tally import Tally, summaries

rows = st.lists(
    st.tuples(st.just(0), st.integers(0, 3_600), st.integers(0, 6), st.integers(0, 3), st.integers(0, 1)), max_size=80
)


def same(one: dict[str, pl.DataFrame], other: dict[str, pl.DataFrame]) -> None:
    """Fail unless counts are equal."""
    assert sorted(one) == sorted(other)
    for family, counts in one.items():
        assert counts.equals(other[family]), family


def at_once(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The slow twin: all events summarised in one go."""
    return summaries(detectors(), group(frame, by_time=False))


@given(rows, st.lists(st.integers(0, 80), max_size=8), st.integers(1, 20))
def test_a_tally_equals_counting_at_once(events, places, rows_at_once):
    """Whatever the batches, and however few rows are counted in one go."""
    frame, last = coded_rows(events), Last()
    tally = Tally(detectors(), rows_at_once=rows_at_once)
    edges = sorted([0, len(frame), *(place % (len(frame) + 1) for place in places)])
    for low, high in pairwise(edges):
        tally.add(group(frame[low:high], last, by_time=False))
    same(tally.total(), at_once(frame))


@given(rows, st.integers(0, 80))
def test_a_tally_goes_on_from_what_it_gave(events, place):
    """Its total, put into a new one, is as good as the old one; asking for it changes nothing."""
    frame, last = coded_rows(events), Last()
    first, rest = frame[:place], frame[place:]
    one = Tally(detectors(), rows_at_once=7)
    one.add(group(first, last, by_time=False))
    two = Tally(detectors(), one.total(), rows_at_once=7)
    more = group(rest, last, by_time=False)
    one.add(more)
    two.add(more)
    same(one.total(), two.total())
    same(one.total(), at_once(frame))


def test_a_tally_of_nothing_has_tables_without_rows():
    """With the columns of counts, so that they can be merged and kept."""
    total = Tally(detectors()).total()
    assert {family: len(counts) for family, counts in total.items()} == dict.fromkeys(total, 0)
    same(total, at_once(coded_rows([])))


@pytest.mark.parametrize("batch", [1, 999])
def test_many_small_batches_are_merged_a_few_times_only(batch):
    """After thousands of events there are a handful of tables, not one for each batch."""
    frame, last = coded_rows((0, n, n % 97, n % 5, n % 2) for n in range(4_000)), Last()
    tally = Tally(detectors(), rows_at_once=64)
    for low in range(0, len(frame), batch):
        tally.add(group(frame[low : low + batch], last, by_time=False))
    assert len(tally._tables) < 8
    same(tally.total(), at_once(frame))
