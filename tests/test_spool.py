"""The spool: events by day, in memory or in files."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss.events import CODED_SCHEMA
from amiss.spool import Spool

DAY = 86_400_000_000


def frame(rows: list[tuple[int, int]]) -> pl.DataFrame:
    """A coded frame of (microseconds, user)."""
    columns = pl.DataFrame(rows, schema={"time": pl.Int64, "user": pl.Int64}, orient="row")
    numbered = columns.with_columns(position=pl.int_range(1, pl.len() + 1), action=pl.lit(1), outcome=pl.lit(0))
    return numbered.with_columns(pl.col("time").cast(pl.Datetime("us", "UTC"))).select(*CODED_SCHEMA).cast(CODED_SCHEMA)


@given(
    rows=st.lists(st.tuples(st.integers(-2 * DAY, 2 * DAY), st.integers(0, 5)), max_size=30),
    limit=st.sampled_from([1, 3, 1000]),
    step=st.integers(1, 10),
)
def test_every_event_comes_back_once_on_its_day_in_order(rows, limit, step):
    """Whatever the order, the size of frames and the memory: days, rows and their order are those of the log."""
    events = frame(rows)
    spool = Spool(limit)
    for first in range(0, len(events), step):
        spool.add(events[first : first + step])
    assert len(spool) == len(events)
    assert spool.days() == events["time"].dt.date().unique().sort().to_list()
    for day in spool.days():
        parts = list(spool.parts(day))
        expected = events.filter(pl.col("time").dt.date() == day)
        assert spool.rows(day) == len(expected)
        assert pl.concat(parts).sort("position").equals(expected)
        assert all(part["position"].is_sorted() for part in parts)
        users = [user for part in parts for user in part["user"].unique()]
        assert len(users) == len(set(users))


def test_days_end_at_midnight_utc():
    """The last microsecond of a day belongs to it, the next does not."""
    spool = Spool()
    spool.add(frame([(DAY - 1, 0), (DAY, 0), (-1, 0)]))
    assert spool.days() == [date(1969, 12, 31), date(1970, 1, 1), date(1970, 1, 2)]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_what_does_not_fit_in_memory_goes_to_files_that_vanish(temporary: Path):
    """Ten events with room for four are written, and nothing is left behind."""
    spool = Spool(4)
    spool.add(frame([(second, second) for second in range(10)]))
    assert list(temporary.rglob("*.arrow"))
    assert spool.select(date(1970, 1, 1), pl.col("user") == 7)["position"].to_list() == [8]
    del spool
    assert not list(temporary.rglob("*.arrow"))


def test_a_small_log_writes_no_files(temporary: Path):
    """What fits in memory stays there."""
    spool = Spool()
    spool.add(frame([(1, 1)]))
    assert not list(temporary.iterdir())


def test_an_empty_spool_has_no_days():
    """Adding no events adds nothing."""
    spool = Spool()
    spool.add(frame([]))
    assert (len(spool), spool.days()) == (0, [])
