"""Sessions: who did what after what."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import naive

from amiss.sessions import GROUPED_SCHEMA, LAST_SCHEMA, START, Events, Last, action_of, boundaries, group, state_of
from amiss.testing import coded_events


def test_groups_equal_the_slow_twin():
    """What came before each event, and how long before, is what a dictionary of last events says."""
    check()


@given(coded_events(most=60))
def check(events: pl.DataFrame) -> None:
    """Any log in order of time."""
    rows = events.with_columns(pl.col("time").to_physical()).select("time", "user", "action", "outcome").rows()
    expected = naive.followed([naive.Event(*row) for row in rows])
    grouped = group(events).frame()
    assert dict(grouped.schema) == GROUPED_SCHEMA
    found = grouped.sort("position").select("user", "state", "previous", "gap").rows()
    assert found == [(*event[:3], -1 if event.gap is None else event.gap) for event in expected]
    assert grouped.equals(grouped.sort("user", "time", "position"))


@given(events=coded_events(), cut=st.integers(0, 40))
def test_the_last_events_carry_sessions_over_a_cut(events, cut):
    """Two batches, the second after the last events of the first, give the rows of one batch."""
    last, end = Last(), Last()
    whole = group(events, last).frame()
    parts = [group(part, end).frame() for part in (events[:cut], events[cut:])]
    assert pl.concat(parts).sort("position").equals(whole.sort("position"))
    assert end.frame().equals(last.frame())
    assert Last(end.frame()).frame().equals(end.frame())
    assert dict(end.frame().schema) == LAST_SCHEMA


@given(coded_events())
def test_events_and_their_frame_hold_the_same(events):
    """Grouped events made of their own frame are equal, and users begin where the frame's user changes."""
    grouped = group(events)
    again = Events.of(grouped.frame())
    assert again.frame().equals(grouped.frame())
    assert again.first.tolist() == grouped.first.tolist()
    assert grouped.users.tolist() == sorted(set(events["user"]))


@given(coded_events(), st.randoms())
def test_out_of_order_logs_are_put_in_order(events, random):
    """A shuffled batch without ties is grouped as the ordered one."""
    apart = events.unique("time", keep="first", maintain_order=True)
    shuffled = apart[random.sample(range(len(apart)), len(apart))]
    assert group(shuffled).frame().equals(group(apart).frame())


def rows(*events: tuple[int, int, int]) -> pl.DataFrame:
    """A coded frame of (second, user, action)."""
    frame = pl.DataFrame(events, schema=["time", "user", "action"], orient="row")
    return frame.select(
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("position"),
        (pl.col("time") * 1_000_000).cast(pl.Datetime("us", "UTC")),
        pl.col("user").cast(pl.UInt32),
        pl.col("action").cast(pl.UInt32),
        pl.lit(0, pl.UInt8).alias("outcome"),
    )


def test_ties_keep_the_order_of_the_log():
    """Events at the same time follow each other as the log has them."""
    grouped = group(rows((5, 0, 2), (5, 0, 0), (5, 0, 1))).frame()
    assert grouped.select("position", "state", "previous", "gap").rows() == [(1, 6, -1, -1), (2, 0, 6, 0), (3, 3, 0, 0)]


@pytest.mark.parametrize(("pause", "previous", "gap"), [(1_800, 0, 1_800_000_000), (1_801, START, -1)])
def test_a_gap_above_half_an_hour_starts_a_session(pause, previous, gap):
    """Half an hour exactly still belongs to the session."""
    assert group(rows((0, 0, 0), (pause, 0, 1))).frame().select("previous", "gap").row(1) == (previous, gap)


def test_the_session_gap_can_be_chosen():
    """With a gap of a minute, 61 seconds start a session."""
    grouped = group(rows((0, 0, 0), (61, 0, 1)), session_gap=timedelta(minutes=1))
    assert grouped.previous.tolist() == [START, START]


def test_an_event_older_than_the_last_one_has_no_negative_gap():
    """A late event of the next batch follows the last one, at once."""
    last = Last()
    group(rows((100, 0, 0)), last)
    assert group(rows((40, 0, 1)), last).frame().select("previous", "gap").row(0) == (0, 0)


def test_no_events_make_no_groups():
    """An empty batch changes nothing."""
    last = Last()
    group(rows((1, 3, 0)), last)
    before = last.frame()
    assert len(group(rows((1, 3, 0)).clear(), last)) == 0
    assert last.frame().equals(before)


def test_events_can_be_taken_as_they_come():
    """Without sorting by time, what arrived later comes later, whatever its time."""
    grouped = group(rows((5, 0, 2), (3, 0, 0)), by_time=False)
    assert grouped.position.tolist() == [1, 2]
    assert grouped.gap.tolist() == [-1, 0]


def test_states_hold_action_and_outcome():
    """A state is three times the action plus the outcome, and back."""
    assert [(state_of(4, outcome), action_of(state_of(4, outcome))) for outcome in range(3)] == [
        (12, (4, "success")),
        (13, (4, "failure")),
        (14, (4, "unknown")),
    ]


def test_groups_begin_where_the_user_changes():
    """Edges of runs, and the number of events at the end."""
    assert boundaries(np.array([4, 4, 2, 9, 9])).tolist() == [0, 2, 3, 5]
    assert boundaries(np.array([], dtype=np.uint32)).tolist() == [0]
