"""Parquet read by distinct values gives what the general reader gives: row for row, code for code."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amiss.errors import EventError, SourceError
from amiss.events import CODED_SCHEMA
from amiss.fields import FieldChoice
from amiss.sources import dictionaries, open_source
from amiss.sources.files import FileSource
from amiss.vocabulary import Coding

CHOICE = FieldChoice(time="time", user="user", action="action", outcome="outcome")
START = datetime(2026, 1, 1, tzinfo=UTC)
ROWS = 700
USERS = ["ann", "bob", None, "", "müller", "x" * 300, "ann@example.org", "eve"]
ACTIONS = ["login", "", "a rather long action", None, "logout"]
OUTCOMES = ["success", None, "FAIL", "200", ""]


def table(**columns: Any) -> pa.Table:
    """Events of which some lack a user or an action, columns replaced by those given."""
    usual: dict[str, Any] = {
        "time": [START + timedelta(seconds=i) for i in range(ROWS)],
        "user": [USERS[i * i % 31 % len(USERS)] for i in range(ROWS)],
        "action": [ACTIONS[i % 97 % len(ACTIONS)] for i in range(ROWS)],
        "outcome": [OUTCOMES[i % 7 % len(OUTCOMES)] for i in range(ROWS)],
    }
    return pa.table(usual | columns)


def everything(source: FileSource, frames: list[pl.DataFrame], coding: Coding) -> Any:
    """What reading gave, to be compared."""
    samples = [(bad.position, bad.reason, bad.text) for bad in source.quarantine.samples]
    rows = pl.concat([pl.DataFrame(schema=CODED_SCHEMA), *frames]).rows()
    return rows, coding.users.texts().to_list(), coding.actions.texts().to_list(), source.quarantine.reasons, samples


def generally(path: Path, choice: FieldChoice = CHOICE, **options: Any) -> Any:
    """What the general reader gives of the columns that coded frames hold."""
    source, coding = open_source(str(path), fields=choice, **options), Coding()
    frames = [coding.encode(frame) for frame, _ in source._narrow(coding).read()]
    return everything(source, frames, coding)


def fast(path: Path, choice: FieldChoice = CHOICE, rows: int = 90, **options: Any) -> Any:
    """What reading by distinct values gives, in batches of so many rows."""
    source, coding = open_source(str(path), fields=choice, **options), Coding()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dictionaries, "LEAST_BYTES", 0)
        patch.setattr(dictionaries, "BATCH_ROWS", rows)
        frames = [frame for frame, _ in source.read_coded(coding)]
    return everything(source, frames, coding)


def is_plain(path: Path, choice: FieldChoice = CHOICE) -> bool:
    """Whether the fast lane takes the file at all."""
    fields = open_source(str(path), fields=choice)._narrow(Coding()).fields
    return dictionaries.DictionaryFile(str(path), fields, "UTC").is_plain()


def written(path: Path, events: pa.Table, **options: Any) -> Path:
    """The file that holds the events, in several row groups."""
    pq.write_table(events, path, **({"row_group_size": 130} | options))
    return path


def times(kind: pa.DataType) -> pa.Array:
    """Times of a type, a few of them missing."""
    moments = [None if i % 50 == 7 else START + timedelta(seconds=i * 3) for i in range(ROWS)]
    return pa.array(moments, pa.timestamp("us", "UTC")).cast(kind)


TEXT_TIMES = [(None, "soon", f"2026-01-01T00:{i % 60:02d}:09Z")[min(i % 40, 2)] for i in range(ROWS)]
STATUS_CODES = pa.array([(200, 404, None)[i % 3] for i in range(ROWS)], pa.int16())
VARIANTS = {
    "plain texts": (table(), {"use_dictionary": False}),
    "texts as dictionaries": (table(), {}),
    "one row group": (table(), {"row_group_size": ROWS}),
    "dictionaries that fill up": (table(), {"dictionary_pagesize_limit": 20, "data_page_size": 64}),
    "large texts": (table(user=pa.array([f"u{i % 40}" for i in range(ROWS)], pa.large_string())), {}),
    "categories": (table(user=pa.array([f"u{i % 40}" for i in range(ROWS)]).dictionary_encode()), {}),
    "whole numbers as users": (table(user=[None if i % 9 == 0 else i * 7 % 50 for i in range(ROWS)]), {}),
    "small numbers as outcomes": (table(outcome=STATUS_CODES), {}),
    "truth values as outcomes": (table(outcome=[(True, False, None)[i % 3] for i in range(ROWS)]), {}),
    "times as texts": (table(time=TEXT_TIMES), {}),
    "times as numbers": (table(time=[None if i % 9 == 0 else 1_767_225_600 + i for i in range(ROWS)]), {}),
    "days": (table(time=[date(2026, 1, 1 + i % 28) for i in range(ROWS)]), {}),
    "milliseconds": (table(time=times(pa.timestamp("ms", "UTC"))), {}),
    "microseconds without zone": (table(time=times(pa.timestamp("us"))), {}),
    "nanoseconds": (table(time=times(pa.timestamp("ns", "UTC"))), {}),
    "seconds": (table(time=times(pa.timestamp("s"))), {}),
    "another zone": (table(time=times(pa.timestamp("us", "Europe/Berlin"))), {}),
    "other order of columns": (table().select(["outcome", "action", "user", "time"]), {}),
    "a column too many": (table(note=[str(i) for i in range(ROWS)]), {}),
    "no outcome": (table().drop_columns(["outcome"]), {}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_any_plain_column_is_read_as_the_general_reader_reads_it(name: str, tmp_path: Path) -> None:
    """Rows, codes, reasons and samples are the same, however the columns are written."""
    events, options = VARIANTS[name]
    path = written(tmp_path / "log.parquet", events, **options)
    choice = CHOICE if "outcome" in events.column_names else FieldChoice(time="time", user="user", action="action")
    assert is_plain(path, choice)
    assert fast(path, choice) == generally(path, choice)


def test_naive_times_are_read_in_the_zone_that_is_named(tmp_path: Path) -> None:
    """A time without zone is one of the zone that the user gives."""
    path = written(tmp_path / "log.parquet", table(time=times(pa.timestamp("us"))))
    found = fast(path, timezone="Europe/Berlin")
    assert found == generally(path, timezone="Europe/Berlin")
    assert found[0][0][1].hour == 23


def test_fields_of_nested_columns_are_read_by_distinct_values(tmp_path: Path) -> None:
    """Users within records, of which some are missing as a whole."""
    users = [None if i % 11 == 0 else {"name": USERS[i % 8], "tags": ["a"], "id": i} for i in range(ROWS)]
    path = written(tmp_path / "log.parquet", table(user=users))
    choice = FieldChoice(time="time", user="user.name", action="action", outcome="outcome")
    assert is_plain(path, choice)
    assert fast(path, choice) == generally(path, choice)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([float(i % 5) for i in range(ROWS)]),
        pa.array([b"u%d" % (i % 5) for i in range(ROWS)]),
        pa.array([[str(i % 5)] for i in range(ROWS)]),
    ],
)
def test_other_columns_go_the_general_way(column: pa.Array, tmp_path: Path) -> None:
    """Fractions, bytes and lists as users are left to the general reader."""
    path = written(tmp_path / "log.parquet", table(user=column))
    assert not is_plain(path)
    assert fast(path) == generally(path)


def test_alternatives_go_the_general_way(tmp_path: Path) -> None:
    """A role of two columns is left to the general reader."""
    path = written(tmp_path / "log.parquet", table(other=["zoe"] * ROWS))
    choice = FieldChoice(time="time", user="user|other", action="action", outcome="outcome")
    assert not is_plain(path, choice)
    assert fast(path, choice) == generally(path, choice)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(
            st.one_of(st.none(), st.datetimes(datetime(1960, 1, 1), datetime(2200, 1, 1))),  # noqa: DTZ001 - naive ones are meant
            st.one_of(st.none(), st.sampled_from(USERS), st.text(max_size=20)),
            st.one_of(st.none(), st.sampled_from(ACTIONS)),
            st.one_of(st.none(), st.sampled_from(OUTCOMES)),
        ),
        max_size=40,
    ),
    batch=st.integers(1, 9),
)
def test_any_events_are_read_as_the_general_reader_reads_them(rows: Any, batch: int, tmp_path: Path) -> None:
    """Whatever is missing where, in batches of any size."""
    rows = [(datetime(2026, 1, 1), "ann", "login", "ok"), *rows]  # noqa: DTZ001 - a naive one is meant
    schema = pa.schema([("time", pa.timestamp("us")), *((name, pa.string()) for name in ("user", "action", "outcome"))])
    columns = [list(column) for column in zip(*rows, strict=True)]
    path = written(tmp_path / "log.parquet", pa.table(columns, schema=schema), row_group_size=7)
    assert fast(path, rows=batch) == generally(path)


@pytest.mark.parametrize("after", [0, 2, 5])
def test_reading_resumes_behind_any_cursor(after: int, tmp_path: Path) -> None:
    """What comes after a cursor is what would have come, over two files."""
    for name in ("a.parquet", "b.parquet"):
        written(tmp_path / name, table())
    source = open_source(str(tmp_path), fields=CHOICE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dictionaries, "LEAST_BYTES", 0)
        patch.setattr(dictionaries, "BATCH_ROWS", 90)
        pairs = list(source.read_coded(Coding()))
        rest = list(source.read_coded(Coding(), pairs[after][1]))
    columns = ["position", "time", "outcome"]
    expected = pl.concat([frame for frame, _ in pairs[after + 1 :]]).select(columns)
    assert pl.concat([frame for frame, _ in rest]).select(columns).equals(expected)


def test_the_first_row_without_a_user_is_an_error_where_that_is_asked_for(tmp_path: Path) -> None:
    """With `strict`, both ways name the same row."""
    path = written(tmp_path / "log.parquet", table())
    messages = []
    for read in (fast, generally):
        with pytest.raises(EventError) as caught:
            read(path, strict=True)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_a_damaged_page_is_an_error(tmp_path: Path) -> None:
    """A file whose middle was overwritten is named."""
    path = written(tmp_path / "log.parquet", table(), row_group_size=ROWS, compression="zstd")
    source = open_source(str(path), fields=CHOICE)
    content = bytearray(path.read_bytes())
    content[4:400] = b"\xff" * 396
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dictionaries, "LEAST_BYTES", 0)
        with pytest.raises(SourceError, match=r"log\.parquet breaks off or is damaged"):
            list(source.read_coded(Coding()))
