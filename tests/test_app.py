"""`amiss.scan` takes paths and frames, and means the same by them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

import amiss
from amiss.app import Reader, transitions
from amiss.fields import FieldChoice

START = datetime(2026, 1, 5, 9, tzinfo=UTC)


def log() -> pl.DataFrame:
    """Twelve users who log in and view, one of whom deletes."""
    rows = [
        (START + timedelta(seconds=60 * user + 5 * step), f"u{user}", action)
        for user in range(12)
        for step, action in enumerate(["login", "view", "delete" if user == 3 else "view"])
    ]
    return pl.DataFrame(rows, schema=["time", "user", "action"], orient="row")


def ranking(result: amiss.Result) -> list[tuple[object, ...]]:
    """Users with their bits, in order."""
    return result.users.select("user", "bits").rows()


def test_pandas_polars_arrow_and_files_give_the_same_bits(tmp_path: Path):
    """The kind of frame, and the kind of file, change nothing."""
    frame = log()
    frame.write_parquet(tmp_path / "log.parquet")
    frame.write_csv(tmp_path / "log.csv")
    expected = ranking(amiss.scan(frame))
    assert len(expected) == 12
    assert ranking(amiss.scan(pd.DataFrame(frame.to_dict(as_series=False)))) == expected
    assert ranking(amiss.scan(frame.to_arrow())) == expected
    assert ranking(amiss.scan(tmp_path / "log.parquet")) == expected
    assert ranking(amiss.scan(str(tmp_path / "log.csv"))) == expected


def test_a_list_is_read_one_after_the_other():
    """Two halves of a log give what the whole gives."""
    frame = log()
    assert ranking(amiss.scan([frame.head(18), frame.tail(18)])) == ranking(amiss.scan(frame))


def test_columns_can_be_pinned():
    """Each role can be given a column, by argument or by the mapping of columns."""
    frame = log().rename({"user": "x", "action": "y"})
    by_name = amiss.scan(frame, user="x", action="y")
    by_mapping = amiss.scan(frame, columns={"user": "x", "action": "y"})
    assert ranking(by_name) == ranking(by_mapping) == ranking(amiss.scan(log()))


def test_an_empty_list_is_wrong_usage():
    """Nothing to read is told, not scanned."""
    with pytest.raises(amiss.UsageError, match="nothing to read"):
        amiss.scan([])


def test_a_budget_is_checked_before_anything_is_read():
    """A wrong budget is told even when the file is missing too."""
    with pytest.raises(amiss.UsageError, match="often"):
        amiss.scan("nowhere.jsonl", budget="often")


def test_a_session_gap_changes_who_starts_a_session():
    """With a gap of one second each event starts a session of its own."""
    story = amiss.scan(log(), session_gap="1s").story("u3")
    assert story["previous"].null_count() == 3
    assert amiss.scan(log()).story("u3")["previous"].null_count() == 1


def test_a_window_says_how_many_days_before_are_normal():
    """With a window of a day the third day is judged by the second alone; with two by both."""
    days = [log().with_columns(pl.col("time") + timedelta(days=day)) for day in range(3)]
    first = days[0].with_columns(action=pl.col("action").str.replace("view", "browse"))
    by_both, by_second = amiss.scan(days[2], learn=[first, days[1]]), amiss.scan(days[2], learn=days[1])
    assert ranking(amiss.scan(days[2], learn=[first, days[1]], window=1)) == ranking(by_second)
    assert ranking(amiss.scan(days[2], learn=[first, days[1]], window=2)) == ranking(by_both)
    assert ranking(by_both) != ranking(by_second)


@pytest.mark.parametrize("days", [0, -1, 4_000])
def test_a_window_that_is_no_number_of_days_is_refused(days: int):
    """It says what was expected."""
    with pytest.raises(amiss.UsageError, match=f"expected 1 to 3,650, found {days}"):
        amiss.scan(log(), window=days)


def test_a_cap_reaches_the_detectors():
    """A cap of one and a cap of five are different normals."""
    assert ranking(amiss.scan(log(), cap=1)) != ranking(amiss.scan(log(), cap=5))


def test_progress_counts_the_events():
    """The last call says how many events were read."""
    calls: list[int] = []
    amiss.scan(log(), progress=calls.append)
    assert calls[-1] == 36


def test_an_unknown_role_is_refused_with_the_nearest():
    """A misspelt role among the columns is an error, not a crash."""
    with pytest.raises(amiss.ConfigError, match='Did you mean "country"'):
        amiss.scan(log(), columns={"countri": "user"})


def test_the_surprisal_table_is_the_same_by_either_lane(tmp_path: Path):
    """Files, which are read straight into codes, and frames give one table."""
    log().with_columns(pl.col("time").cast(pl.String)).write_ndjson(tmp_path / "log.jsonl")
    reader = Reader(FieldChoice())
    by_lane = [transitions(reader.open(data)) for data in (tmp_path / "log.jsonl", log())]
    assert by_lane[0].equals(by_lane[1])
    assert by_lane[0].select("action", "previous", "success").rows()[:2] == [("login", "", 12), ("view", "login", 12)]
