"""Sessions: who did what after what."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import naive

from amiss.sessions import GROUPED_SCHEMA, LAST_SCHEMA, START, action_of, group, state_of
from amiss.testing import coded_events


def test_groups_equal_the_slow_twin():
    """What came before each event, and how long before, is what a dictionary of last events says."""
    check()


@given(coded_events(most=60))
def check(events: pl.DataFrame) -> None:
    """Any log in order of time."""
    rows = events.with_columns(pl.col("time").to_physical()).select("time", "user", "action", "outcome").rows()
    expected = naive.followed([naive.Event(*row) for row in rows])
    grouped = group(events)[0]
    assert dict(grouped.schema) == GROUPED_SCHEMA
    found = grouped.sort("position").select("user", "state", "previous", "gap").rows()
    assert found == [(*event[:3], -1 if event.gap is None else event.gap) for event in expected]
    assert grouped.equals(grouped.sort("user", "time", "position"))


@given(events=coded_events(), cut=st.integers(0, 40))
def test_the_last_events_carry_sessions_over_a_cut(events, cut):
    """Two batches, the second after the last events of the first, give the rows of one batch."""
    whole, last = group(events)
    first, between = group(events[:cut])
    second, end = group(events[cut:], between)
    assert pl.concat([first, second]).sort("position").equals(whole.sort("position"))
    assert end.equals(last)
    assert dict(end.schema) == LAST_SCHEMA


@given(coded_events(), st.randoms())
def test_out_of_order_logs_are_put_in_order(events, random):
    """A shuffled batch without ties is grouped as the ordered one."""
    apart = events.unique("time", keep="first", maintain_order=True)
    shuffled = apart[random.sample(range(len(apart)), len(apart))]
    assert group(shuffled)[0].equals(group(apart)[0])


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
    grouped, _ = group(rows((5, 0, 2), (5, 0, 0), (5, 0, 1)))
    assert grouped.select("position", "state", "previous", "gap").rows() == [(1, 6, -1, -1), (2, 0, 6, 0), (3, 3, 0, 0)]


@pytest.mark.parametrize(("pause", "previous", "gap"), [(1_800, 0, 1_800_000_000), (1_801, START, -1)])
def test_a_gap_above_half_an_hour_starts_a_session(pause, previous, gap):
    """Half an hour exactly still belongs to the session."""
    assert group(rows((0, 0, 0), (pause, 0, 1)))[0].select("previous", "gap").row(1) == (previous, gap)


def test_the_session_gap_can_be_chosen():
    """With a gap of a minute, 61 seconds start a session."""
    grouped, _ = group(rows((0, 0, 0), (61, 0, 1)), session_gap=timedelta(minutes=1))
    assert grouped["previous"].to_list() == [START, START]


def test_an_event_older_than_the_last_one_has_no_negative_gap():
    """A late event of the next batch follows the last one, at once."""
    _, last = group(rows((100, 0, 0)))
    assert group(rows((40, 0, 1)), last)[0].select("previous", "gap").row(0) == (0, 0)


def test_no_events_make_no_groups():
    """An empty batch changes nothing."""
    _, last = group(rows((1, 3, 0)))
    grouped, after = group(rows((1, 3, 0)).clear(), last)
    assert grouped.is_empty()
    assert after.equals(last)


def test_states_hold_action_and_outcome():
    """A state is three times the action plus the outcome, and back."""
    assert [(state_of(4, outcome), action_of(state_of(4, outcome))) for outcome in range(3)] == [
        (12, (4, "success")),
        (13, (4, "failure")),
        (14, (4, "unknown")),
    ]
