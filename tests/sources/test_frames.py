"""Frames of any library give the same events."""

from __future__ import annotations

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from amiss.errors import EventError, SourceError
from amiss.sources import Source
from amiss.sources.frames import FrameSource

DATA = {
    "when": ["2019-01-01 00:00:53", "2019-01-01 00:00:54", "soon"],
    "user_id": [7, 8, 9],
    "event": ["login", "buy", "buy"],
    "ok": [True, False, True],
}


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pl.LazyFrame, pa.table])
def test_pandas_polars_and_arrow_give_the_same_events(make: type) -> None:
    """One frame in four libraries: the same events and the same quarantine."""
    source = FrameSource(make(DATA))
    (frame, cursor), *rest = source.read()
    assert rest == []
    assert frame.select("position", "user", "action", "outcome").rows() == [
        (1, "7", "login", "success"),
        (2, "8", "buy", "failure"),
    ]
    assert source.quarantine.reasons == {'column "when" holds no time': 1}
    assert list(source.read(cursor)) == []


def test_a_frame_source_is_a_source() -> None:
    """It keeps the promises of the protocol."""
    assert isinstance(FrameSource(pl.DataFrame(DATA)), Source)


def test_times_of_pandas_are_taken_as_they_are() -> None:
    """Datetime columns need no parsing; naive ones are read in the zone given."""
    data = pd.DataFrame(DATA | {"when": pd.to_datetime(["2019-07-01 02:00"] * 3)})
    frame, _ = next(FrameSource(data, timezone="Europe/Berlin").read())
    assert [str(time) for time in frame["time"]] == ["2019-07-01 00:00:00+00:00"] * 3


def test_whole_floats_with_gaps_are_user_numbers() -> None:
    """Pandas turns whole numbers with a gap into floats; users stay `7`, not `7.0`."""
    frame, _ = next(FrameSource(pd.DataFrame(DATA | {"user_id": [7, None, 8]})).read())
    assert frame["user"].to_list() == ["7"]


def test_what_is_no_frame_is_refused() -> None:
    """A list is no frame, and the error says what is."""
    with pytest.raises(SourceError, match=r"builtins\.list is no data frame"):
        FrameSource([1, 2])  # type: ignore[arg-type]


def test_an_empty_frame_is_an_error() -> None:
    """There is nothing to judge."""
    with pytest.raises(SourceError, match="the frame is empty"):
        FrameSource(pl.DataFrame(DATA).clear())


def test_strict_names_the_row() -> None:
    """With `strict` the first bad row is an error."""
    with pytest.raises(EventError, match="row 3 of the frame"):
        list(FrameSource(pl.DataFrame(DATA), strict=True).read())


@pytest.mark.parametrize("library", ["pandas", "polars", "arrow"])
def test_columns_of_categories_are_read_as_texts(library: str) -> None:
    """Categories, enumerations and dictionaries are as good as texts."""
    make = {
        "pandas": lambda: pd.DataFrame(DATA).astype({"user_id": "category", "event": "category"}),
        "polars": lambda: pl.DataFrame(DATA).with_columns(pl.col("event").cast(pl.Enum(["login", "buy"]))),
        "arrow": lambda: pa.table(DATA | {"event": pa.array(DATA["event"]).dictionary_encode()}),
    }
    frame, _ = next(FrameSource(make[library]()).read())
    assert frame.select("user", "action").rows() == [("7", "login"), ("8", "buy")]


def test_a_column_with_values_of_several_kinds_is_read_as_texts() -> None:
    """Users that are numbers, texts, bytes and lists in one column are all users; nothing is no user."""
    users = [1, "ann", b"bob", ["x"], None]
    data = pd.DataFrame({"time": "2019-01-01", "user": pd.Series(users, dtype=object), "action": "login"})
    source = FrameSource(data)
    frame, _ = next(source.read())
    assert frame["user"].to_list() == ["1", "ann", "bob", "['x']"]
    assert source.quarantine.total == 1


def test_doubled_column_names_of_a_frame_are_an_error() -> None:
    """Which of two columns is meant cannot be known, so the message asks to rename."""
    data = pd.DataFrame([["2019-01-01", "ann", "bob"]], columns=["time", "user", "user"])
    with pytest.raises(EventError, match="different names"):
        FrameSource(data)
