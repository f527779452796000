"""The store: what was committed is there, nothing else is, and every trouble is said in words."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from amiss.alerts import Alert
from amiss.errors import EventError, SinkError, StateError, UsageError
from amiss.events import CODED_SCHEMA
from amiss.outbox import deliver
from amiss.store import Delta, PeriodRecord, Progress, Store, Story, Suppression, Totals, connection, frames, schema

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY = date(2026, 3, 2)
HOUR = timedelta(hours=1)
MEBIBYTE = 2**20


def coded(*rows: tuple[int, int, int]) -> pl.DataFrame:
    """A coded frame of (position, user, action), a second apart."""
    columns = {
        "position": [position for position, _, _ in rows],
        "time": [NOON + timedelta(seconds=position) for position, _, _ in rows],
        "user": [user for _, user, _ in rows],
        "action": [action for _, _, action in rows],
        "outcome": [0 for _ in rows],
    }
    return pl.DataFrame(columns, schema=CODED_SCHEMA)


FIRST = Delta(coded((1, 0, 0), (2, 1, 0)), ["ann", "bob"], ["login"], "2", {"not JSON": 1}, {"blank": 2})
SECOND = Delta(coded((3, 0, 1), (5, 2, 0)), ["eve"], ["export"], "5", {"not JSON": 2, "no time": 1})
EMPTY = Delta(coded(), [], [], "5")
STORY = Story(
    "s1", "ann", DAY, NOON, NOON + HOUR, 18.5, 19.25, "high", 12, {"habit": 18.5}, [{"bits": 9.5, "of": 4}], 1
)


def alert(number: int, story: str = "s1", user: str = "ann") -> Alert:
    """A notice of a story, the minute of its number."""
    reasons = [{"detector": "habit", "bits": 9.5, "text": "export came after login 0 of 4 times"}]
    when = NOON + timedelta(minutes=number)
    return Alert(f"a{number}", story, when, user, 18.5, "high", {"habit": 18.5}, reasons, DAY, 12, "once a year", 71)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store that writes."""
    with Store.open(tmp_path / "state.db") as opened:
        yield opened


@pytest.fixture
def told(store: Store) -> Store:
    """A store with a delta, a story and two alerts for two sinks."""
    store.append(FIRST)
    store.put_story(STORY)
    for number in (1, 2):
        store.add_alert(alert(number), seq=1, sinks=["mail", "file"])
    return store


def same(one: Delta, other: Delta) -> None:
    """Fail unless two deltas are equal."""
    assert_frame_equal(one.events, other.events)
    for name in ("users", "actions"):
        assert list(getattr(one, name)) == list(getattr(other, name))
    for name in ("cursor", "rejected", "skipped"):
        assert getattr(one, name) == getattr(other, name)
    assert (tuple(one.applied), tuple(one.undone)) == (tuple(other.applied), tuple(other.undone))


# Deltas, snapshots, texts


def test_deltas_come_back_in_order_as_they_were(tmp_path: Path):
    """Events, new texts, cursor and counts of bad rows survive the end of the process that wrote them."""
    with Store.open(tmp_path / "state.db") as store:
        assert [store.append(delta) for delta in (FIRST, EMPTY, SECOND)] == [1, 2, 3]
    with Store.open(tmp_path / "state.db") as store:
        found = list(store.deltas())
        assert [seq for seq, _ in found] == [1, 2, 3]
        for (_, delta), expected in zip(found, (FIRST, EMPTY, SECOND), strict=True):
            same(delta, expected)
        assert store.progress() == Progress(seq=3, snapshot_seq=0, cursor="5", events=4, users=3, actions=2)
        assert [texts.to_list() for texts in store.texts()] == [["ann", "bob", "eve"], ["login", "export"], []]


def test_a_snapshot_takes_the_place_of_the_deltas_it_covers(store: Store):
    """Behind it only later deltas are left; texts, cursor and totals stay."""
    for delta in (FIRST, SECOND, EMPTY):
        store.append(delta)
    users = pl.DataFrame({"user": [0, 1], "bits": [1.5, float("inf")]})
    nobody = pl.DataFrame(schema={"user": pl.UInt32(), "times": pl.List(pl.Int64)})
    store.snapshot(2, {"users": users, "nobody": nobody})
    seq, tables = store.restore()
    assert (seq, list(tables)) == (2, ["users", "nobody"])
    assert_frame_equal(tables["users"], users)
    assert_frame_equal(tables["nobody"], nobody)
    assert [seq for seq, _ in store.deltas()] == [3]
    assert store.texts()[0].to_list() == ["ann", "bob", "eve"]
    assert store.totals() == Totals({"no time": 1, "not JSON": 3}, {"blank": 2})
    assert store.progress().dropped_seq == 2
    assert store.append(EMPTY) == 4
    store.snapshot(4, {"users": users[:1]})
    assert (store.restore()[0], list(store.restore()[1]), list(store.deltas())) == (4, ["users"], [])
    assert store.verify() == []


def test_deltas_that_a_snapshot_covers_may_be_kept(store: Store):
    """They come back whole, apart from those behind the snapshot; later snapshots drop them as they are told."""
    for number in range(6):
        store.append(Delta(coded((number, number, 0)), [f"u{number}"], ["login"][: not number], str(number)))
    store.snapshot(4, {}, keep=1)
    assert [seq for seq, _ in store.covered()] == [2, 3, 4]
    assert [seq for seq, _ in store.deltas()] == [5, 6]
    same(next(store.covered())[1], Delta(coded((1, 1, 0)), ["u1"], [], "1"))
    assert store.progress() == Progress(6, 4, "5", 6, 6, 1, dropped_seq=1)
    assert (store.info().deltas, store.info().dropped_seq, store.verify()) == (5, 1, [])
    store.snapshot(5, {}, keep=3)
    assert [seq for seq, _ in store.covered()] == [4, 5]
    assert store.texts()[0].to_list() == [f"u{number}" for number in range(6)]
    assert store.verify() == []
    store.snapshot(6, {})
    assert (list(store.covered()), list(store.deltas()), store.progress().dropped_seq) == ([], [], 6)
    assert store.verify() == []


def test_what_was_dropped_does_not_come_back(store: Store):
    """A snapshot that would keep more than is there keeps what is there."""
    for _ in range(4):
        store.append(EMPTY)
    store.snapshot(2, {}, keep=2)
    store.snapshot(3, {}, keep=0)
    assert ([seq for seq, _ in store.covered()], store.progress().dropped_seq) == ([3], 2)
    assert store.verify() == []


def test_a_delta_that_no_snapshot_covers_is_not_dropped(store: Store):
    """To keep only what is behind a later delta than the snapshot's would lose events."""
    store.append(FIRST)
    store.append(SECOND)
    with pytest.raises(UsageError, match="can drop deltas up to that one"):
        store.snapshot(1, {}, keep=2)
    assert [seq for seq, _ in store.deltas()] == [1, 2]


def test_a_new_store_has_nothing_to_restore(store: Store):
    """Before the first delta all is empty."""
    assert store.restore() == (0, {})
    assert list(store.deltas()) == list(store.counts()) == store.stories() == store.alerts() == store.verify() == []
    assert store.progress() == Progress(0, 0, None, 0, 0, 0)
    assert store.texts()[0].to_list() == []


@given(
    rows=st.lists(
        st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1), st.integers(0, 255)), max_size=20
    )
)
def test_differences_lose_nothing(rows):
    """Any positions and times come back, the largest and the smallest too."""
    columns = pl.DataFrame(rows, schema=["position", "time", "outcome"], orient="row")
    events = columns.cast({"position": pl.Int64, "time": pl.Datetime("us", "UTC"), "outcome": pl.UInt8})
    assert_frame_equal(frames.sums(frames.decoded(frames.encoded(frames.differences(events)))), events)


def test_columns_that_ride_along_are_kept(store: Store):
    """A delta may have more columns than those of every coded frame."""
    events = FIRST.events.with_columns(country=pl.Series(["FR", None]))
    store.append(Delta(events, ["ann", "bob"], ["login"], "2"))
    assert_frame_equal(next(store.deltas())[1].events, events)


def test_texts_of_any_kind_come_back(store: Store):
    """Zeros, quotes, other scripts and empty texts are texts like others."""
    texts = ["", "a\0b", "'; DROP TABLE frames; --", "ünï", "\u202egnp.exe"]
    store.append(Delta(coded(), texts, texts[1:], "\0'"))
    assert [found.to_list() for found in store.texts()] == [texts, texts[1:], []]
    assert store.progress().cursor == "\0'"
    assert store.verify() == []


@pytest.mark.parametrize("covered", [3, 7, 10])
def test_small_pieces_of_texts_are_put_together_at_a_snapshot(store: Store, covered: int):
    """A watch of months has few pieces, and deltas behind the snapshot still know which texts were new."""
    for number in range(10):
        store.append(Delta(coded(), [f"u{number}", f"v{number}"], [f"a{number}"], str(number)))
    store.snapshot(covered, {})
    pieces = store._one("SELECT count(*) FROM frames WHERE kind = 'users'")
    assert pieces == 1 + 10 - covered
    assert store.texts()[0].to_list() == [f"{letter}{number}" for number in range(10) for letter in "uv"]
    assert [list(delta.users) for _, delta in store.deltas()] == [[f"u{n}", f"v{n}"] for n in range(covered, 10)]
    assert store.verify() == []


def test_large_tables_lie_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch):
    """No part is larger than allowed, whatever the rows; together they are the table."""
    monkeypatch.setattr(frames, "PART_BYTES", 4096)
    monkeypatch.setattr(frames, "_AIM_BYTES", 4000)
    lines = [os.urandom(1500 if number > 900 else 1).hex() for number in range(1000)]
    table = pl.DataFrame({"number": range(1000), "line": lines})
    store.append(FIRST)
    store.snapshot(1, {"table": table})
    sizes = [row[0] for row in store._rows("SELECT length(data) FROM frames WHERE kind = 'snapshot'")]
    assert len(sizes) > 50
    assert max(sizes) <= 4096
    assert_frame_equal(store.restore()[1]["table"], table)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (coded((1, 1, 0)), 'column "user" holds the code 1, but only 1 texts are known'),
        (coded((1, 0, 7)), 'column "action" holds the code 7'),
        (coded().drop("time"), 'need a column "time"'),
        (coded().cast({"user": pl.Int64}), 'need a column "user" of UInt32'),
        (coded((1, 0, 0)).with_columns(user=pl.lit(None, pl.UInt32)), "must hold a value in every row"),
    ],
)
def test_events_that_could_not_be_replayed_are_refused(store: Store, events: pl.DataFrame, message: str):
    """Nothing of such a delta is kept, and the next one has its number."""
    with pytest.raises(EventError, match=message):
        store.append(Delta(events, ["ann"], ["login"], "1"))
    assert store.progress() == Progress(0, 0, None, 0, 0, 0)
    assert store.append(FIRST) == 1
    assert store.verify() == []


@pytest.mark.parametrize("seq", [0, 3])
def test_a_snapshot_of_no_delta_is_refused(store: Store, seq: int):
    """It must lie between the last snapshot and the last delta."""
    store.append(FIRST)
    store.append(EMPTY)
    store.snapshot(1, {})
    with pytest.raises(StateError, match=f"expected 1 to 2, found {seq}"):
        store.snapshot(seq, {})


def test_counts_of_periods_are_replaced_and_dropped(store: Store):
    """Each day and family has one table."""
    counts = pl.DataFrame({"user": [0], "count": [3]})
    for day in (DAY, DAY - timedelta(days=1)):
        for family in ("chain", "amount"):
            store.put_counts(day, family, counts)
    store.put_counts(DAY, "chain", counts * 2)
    store.put_counts(DAY - timedelta(days=1), "chain", None)
    found = [(day, family, frame["count"].item()) for day, family, frame in store.counts()]
    assert found == [(DAY - timedelta(days=1), "amount", 3), (DAY, "amount", 3), (DAY, "chain", 6)]


def test_figures_of_periods_come_back(store: Store):
    """With the peaks, without them, and from a day on."""
    peaks = pl.DataFrame({"user": [0, 1], "bits": [1.5, 11.0]})
    store.put_period(PeriodRecord(DAY, 3, 9, 11.5, 1.0, 2, {"habit": {"alarms": 2}}, peaks))
    store.put_period(PeriodRecord(DAY + timedelta(days=1), 0, 0, 11.5, 1.0, 0))
    first, second = store.periods()
    assert (first.day, first.users, first.events, first.threshold, first.detectors) == (
        DAY, 3, 9, 11.5, {"habit": {"alarms": 2}},
    )  # fmt: skip
    assert first.peaks is not None
    assert_frame_equal(first.peaks, peaks)
    assert (second.peaks, second.alarms) == (None, 0)
    assert store.periods(peaks=False)[0].peaks is None
    assert [period.day for period in store.periods(since=DAY + timedelta(days=1))] == [DAY + timedelta(days=1)]


def test_settings_are_remembered_replaced_and_forgotten(store: Store):
    """Anything that JSON holds, by name."""
    store.remember("a", {"zone": "UTC"})
    store.remember("a", [1, 2.5, None])
    store.remember("b", 1)
    store.remember("b", None)
    assert store.settings() == {"a": [1, 2.5, None]}


# Transactions


def test_a_transaction_that_fails_leaves_nothing(store: Store):
    """What was done before the error in it is not there either."""
    store.append(FIRST)

    def change() -> None:
        with store.begin():
            store.append(SECOND)
            store.put_story(STORY)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change()
    assert store.progress().seq == 1
    assert store.stories() == []


def test_an_error_inside_spoils_the_whole_even_if_it_is_caught(store: Store):
    """Half a transaction is never kept."""

    def change() -> None:
        with store.begin():
            store.append(FIRST)
            with contextlib.suppress(EventError):
                store.append(Delta(coded((1, 9, 9)), [], [], "1"))

    with pytest.raises(StateError, match="a part of this change failed"):
        change()
    assert store.progress().seq == 0
    assert store.append(FIRST) == 1


def test_readers_see_only_what_is_committed(store: Store):
    """Another connection sees a batch at once when it is committed, and a view stays as it was."""
    with Store.open(store.path, write=False) as reader:
        with store.begin():
            store.append(FIRST)
            assert reader.progress().seq == 0
        with reader.view():
            assert reader.progress().seq == 1
            store.append(SECOND)
            assert reader.progress().seq == 1
        assert reader.progress().seq == 2


def test_a_view_outlives_a_snapshot(store: Store):
    """Deltas that a snapshot dropped are still there for who began to read before."""
    store.append(FIRST)
    with Store.open(store.path, write=False) as reader, reader.view():
        assert reader.progress().seq == 1
        store.snapshot(1, {})
        assert [seq for seq, _ in reader.deltas()] == [1]


def test_only_one_writes_the_stream(store: Store):
    """The second is told who has it; when the first ends, the next may."""
    with pytest.raises(StateError, match=f"in use: process {os.getpid()} writes it"):
        Store.open(store.path)
    linked = store.path.with_name("link.db")
    linked.symlink_to(store.path)
    with pytest.raises(StateError, match="in use"):
        Store.open(linked)
    store.close()
    store.close()
    Store.open(store.path).close()


def test_a_reader_adds_nothing_to_the_stream(store: Store):
    """Deltas, snapshots, counts, stories and alerts need the lock."""
    with Store.open(store.path, write=False) as reader:
        for write in (
            lambda: reader.append(FIRST), lambda: reader.snapshot(0, {}), lambda: reader.remember("a", 1),
            lambda: reader.put_counts(DAY, "chain", None), lambda: reader.put_story(STORY),
            lambda: reader.add_alert(alert(1), seq=1), lambda: reader.apply([1], 1),
        ):  # fmt: skip
            with pytest.raises(StateError, match="write=True"):
                write()


def test_a_store_belongs_to_its_thread(store: Store):
    """Use from another thread is refused, not undefined."""
    errors = []

    def use() -> None:
        with pytest.raises(StateError, match="thread") as error:
            store.progress()
        errors.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(errors) == 1


def test_another_program_that_holds_the_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A commit waits for some time, then says that the file is locked."""
    monkeypatch.setattr(connection, "BUSY_SECONDS", 0.05)
    with Store.open(tmp_path / "state.db") as store, contextlib.closing(sqlite3.connect(store.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="kept it locked"):
            store.append(FIRST)
        other.rollback()
        assert store.append(FIRST) == 1


# Places and files that do not serve


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A directory of a user who is not root, while this process is that user."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        place = Path(folder).resolve()
        is_root = os.geteuid() == 0
        if is_root:
            os.chown(place, 65534, -1)
            os.seteuid(65534)
        try:
            yield place
        finally:
            if is_root:
                os.seteuid(0)
            place.chmod(0o700)


def test_a_directory_that_cannot_be_written_is_named(nobody: Path):
    """No file can be made in it; one that is there can still be read, without the files that SQLite puts beside it."""
    with Store.open(nobody / "state.db") as store:
        store.append(FIRST)
    (nobody / "state.db-lock").unlink()
    nobody.chmod(0o500)
    with pytest.raises(StateError, match=r"state.db-lock cannot be written \(Permission denied\)"):
        Store.open(nobody / "state.db")
    with Store.open(nobody / "state.db", write=False) as reader:
        assert reader.progress().seq == 1
        with pytest.raises(StateError, match="cannot be"):
            reader.suppress({"user": "ann"}, author="me", reason="", time=NOON)


def test_a_file_that_cannot_be_written_is_named(nobody: Path):
    """A watch says so at once; a reader reads."""
    Store.open(nobody / "state.db").close()
    (nobody / "state.db").chmod(0o400)
    with pytest.raises(StateError, match="it cannot be written"):
        Store.open(nobody / "state.db")
    with Store.open(nobody / "state.db", write=False) as reader:
        assert reader.progress().seq == 0


def test_a_file_that_cannot_be_read_is_named(nobody: Path):
    """Its rights are what is wrong."""
    Store.open(nobody / "state.db").close()
    (nobody / "state.db").chmod(0)
    with pytest.raises(StateError, match="Give this user the right to read it"):
        Store.open(nobody / "state.db", write=False)


def test_files_that_are_no_state_are_refused_and_left_alone(tmp_path: Path):
    """Text, another program's database, a directory, nothing at all."""
    text = tmp_path / "events.jsonl"
    text.write_text('{"user": "ann", "action": "login"}\n')
    other = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(other)) as db:
        db.execute("CREATE TABLE theirs (x)")
    before = {path: path.read_bytes() for path in (text, other)}
    for write in (True, False):
        with pytest.raises(StateError, match="expected a SQLite file, found one that starts with"):
            Store.open(text, write=write)
        with pytest.raises(StateError, match="the SQLite file of another program"):
            Store.open(other, write=write)
        with pytest.raises(StateError, match="is a directory"):
            Store.open(tmp_path, write=write)
        with pytest.raises(StateError, match=r"directory .* does not exist"):
            Store.open(tmp_path / "no" / "state.db", write=write)
    with pytest.raises(StateError, match="there is no state file"):
        Store.open(tmp_path / "none.db", write=False)
    assert {path: path.read_bytes() for path in (text, other)} == before


def test_a_newer_format_is_refused(store: Store):
    """The message says which version reads it, and how to build it anew."""
    store._run("PRAGMA user_version = 9")
    store.close()
    for write in (True, False):
        with pytest.raises(StateError, match=r"of format 9, newer .* \(3\).* amiss learn SOURCE --state NEW") as error:
            Store.open(store.path, write=write)
        assert (error.value.stored, error.value.wanted) == ("9", "3")


def test_an_older_format_is_brought_up_to_date(store: Store, monkeypatch: pytest.MonkeyPatch):
    """By the writer, in one transaction; readers wait for it."""
    store.append(FIRST)
    store.close()
    monkeypatch.setattr(schema, "FORMAT", 5)
    with pytest.raises(StateError, match=r"cannot bring to 5. Rebuild it by replay"):
        Store.open(store.path)
    steps = {3: lambda db: db.execute("CREATE TABLE more (x INTEGER) STRICT")}
    monkeypatch.setattr(schema, "MIGRATIONS", steps)
    with pytest.raises(StateError, match="cannot bring to 5"):
        Store.open(store.path)
    steps[4] = lambda db: db.execute("INSERT INTO more VALUES (7)")
    with pytest.raises(StateError, match="is of format 3, and this version reads 5"):
        Store.open(store.path, write=False)
    with Store.open(store.path) as migrated:
        assert migrated._one("SELECT x FROM more") == 7
        assert migrated.progress().seq == 1
    with Store.open(store.path, write=False) as reader:
        assert reader.info().seq == 1


def test_a_state_of_the_first_format_goes_on(store: Store):
    """What it holds stays, and texts of contexts can join."""
    store.append(FIRST)
    for table, columns in {"progress": ['"values"'], "deltas": ['"values"', "new_values"]}.items():
        for column in columns:
            store._run(f"ALTER TABLE {table} DROP COLUMN {column}")
    store._run("DROP TABLE labels")
    store._run("PRAGMA user_version = 1")
    store.close()
    with Store.open(store.path) as migrated:
        same(next(migrated.deltas())[1], FIRST)
        migrated.append(replace(SECOND, values=["", "UA"]))
        assert migrated.texts()[2].to_list() == ["", "UA"]
        assert (migrated.progress().values, migrated.verify()) == (2, [])


def test_a_beginning_that_was_cut_off_is_begun_again(tmp_path: Path):
    """A file that has no tables yet is empty for a reader, and new for a writer."""
    path = tmp_path / "state.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
    with pytest.raises(StateError, match="is empty"):
        Store.open(path, write=False)
    with Store.open(path) as store:
        assert store.append(FIRST) == 1


def test_a_damaged_file_is_said_to_be_damaged(store: Store):
    """Opening or verifying it tells, and never fails in another way."""
    for number in range(20):
        store.append(Delta(coded(), [os.urandom(4000).hex() for _ in range(20)], [], str(number)))
    store.close()
    whole = store.path.read_bytes()
    chance = random.Random(5)
    for _ in range(20):
        damaged = bytearray(whole)
        first = chance.randrange(schema.PAGE_BYTES, len(damaged))
        damaged[first : first + 3 * schema.PAGE_BYTES] = chance.randbytes(3 * schema.PAGE_BYTES)
        store.path.write_bytes(damaged)
        problems = found_in(store.path)
        assert "damaged" in problems[0] or "decoded" in problems[0]
    store.path.write_bytes(whole[: len(whole) // 2])
    assert "damaged" in found_in(store.path)[0]


def found_in(path: Path) -> list[str]:
    """What opening and verifying a store says."""
    try:
        with Store.open(path) as opened:
            return opened.verify()
    except StateError as error:
        return [str(error)]


@contextlib.contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file of this process grows beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_store_as_it_was(told: Store):
    """Whatever was being committed, nothing of it is kept; when there is room again, all goes on."""
    before = told.info()
    large = pl.DataFrame({"line": [os.urandom(1000).hex() for _ in range(3000)]})

    def change() -> None:
        with told.begin():
            told.snapshot(told.append(SECOND), {"large": large})

    with files_end_at(MEBIBYTE):
        for _ in range(3):
            with pytest.raises(StateError, match="Nothing of this change was kept"):
                change()
        assert told.progress().seq == before.seq
    assert told.verify() == []
    assert told.info().alerts_by_severity == {"high": 2}
    change()
    assert told.restore()[0] == 2
    assert_frame_equal(told.restore()[1]["large"], large)


def test_a_full_database_is_told_as_no_room(told: Store):
    """SQLite's own word for a full disk."""
    pages = told._one("PRAGMA page_count")
    told._run(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StateError, match="no room left"):
        told.append(Delta(coded(), [os.urandom(4000).hex() for _ in range(100)], [], "9"))
    told._run("PRAGMA max_page_count = 100000")
    assert told.progress().seq == 1
    assert told.append(SECOND) == 2
    assert told.verify() == []


def test_files_do_not_grow_when_snapshots_replace_each_other(store: Store, monkeypatch: pytest.MonkeyPatch):
    """Free pages are used again, and the log ahead of the file is cut."""
    monkeypatch.setattr(frames, "_AIM_BYTES", MEBIBYTE)
    sizes = []
    chance = random.Random(1)
    for number in range(8):
        for _ in range(20):
            store.append(Delta(coded(), [], [], str(number)))
        noise = pl.Series("bits", [chance.random() for _ in range(300_000)])
        store.snapshot(store.progress().seq, {"users": noise.to_frame()})
        info = store.info()
        sizes.append(info.file_bytes)
    assert max(sizes[2:]) <= 1.1 * sizes[1]
    assert info.wal_bytes <= connection.WAL_KEPT_BYTES
    store.close()
    assert store.path.stat().st_size <= 1.1 * sizes[1]


# Stories, alerts, outbox


def test_stories_come_back_with_their_events(store: Store):
    """A later version takes the place of an earlier one; events stay until others come."""
    store.put_story(STORY, FIRST.events)
    later = Story("s1", "ann", DAY, NOON, NOON + 2 * HOUR, 20.0, 20.0, "critical", 15, {}, [], 2)
    store.put_story(later)
    store.put_story(Story("s2", "bob", DAY + timedelta(days=1), NOON, NOON, 12.0, 12.0, "low", 1, {}, []))
    assert store.story("s1") == later
    assert store.story("none") is None
    events = store.story_events("s1")
    assert events is not None
    assert_frame_equal(events, FIRST.events)
    assert store.story_events("s2") is store.story_events("none") is None
    assert [story.story for story in store.stories()] == ["s2", "s1"]
    assert [story.story for story in store.stories(user="ann")] == ["s1"]
    assert [story.story for story in store.stories(since=DAY + timedelta(days=1))] == ["s2"]
    assert [story.story for story in store.stories(until=DAY, limit=5)] == ["s1"]


def test_an_alert_is_kept_once(told: Store):
    """The same alert after a crash and a replay is not sent a second time."""
    assert told.add_alert(alert(1), seq=1, sinks=["mail"]) is False
    assert told.add_alert(alert(3), seq=1, sinks=["mail", "mail"]) is True
    assert [row.alert for row in told.alerts()] == [alert(3), alert(2), alert(1)]
    assert [record["alert_id"] for record, _ in told.due("mail", NOON)] == ["a1", "a2", "a3"]
    found = told.alert("a1")
    assert found is not None
    assert (found.alert, found.seq, found.hidden_by) == (alert(1), 1, None)


def test_a_hidden_alert_is_kept_but_goes_nowhere(told: Store):
    """It stays with the rule that hid it."""
    rule = told.suppress({"user": "ann"}, author="me", reason="pen test", time=NOON)
    told.add_alert(alert(3), seq=1, sinks=["mail"], hidden_by=rule.id)
    assert [row.alert.alert_id for row in told.alerts(hidden=True)] == ["a3"]
    assert [row.alert.alert_id for row in told.alerts(hidden=False, since=NOON + timedelta(minutes=2))] == ["a2"]
    assert [row.alert.alert_id for row in told.alerts(user="ann", story="s1", limit=1)] == ["a3"]
    assert told.alerts(user="bob") == []
    assert len(told.due("mail", NOON)) == 2
    assert told.verify() == []


def test_an_alert_without_a_story_is_refused(told: Store):
    """Every alert belongs to a story that is kept."""
    with pytest.raises(StateError, match="FOREIGN KEY"):
        told.add_alert(alert(3, story="none"), seq=1)


def test_the_outbox_remembers_tries_and_what_became_of_them(told: Store):
    """Each sink has its own; what failed waits, what is dead stays."""
    assert told.due("mail", NOON) == [(alert(1).record(), 0), (alert(2).record(), 0)]
    told.failed("mail", ["a1"], "450 busy", NOON + HOUR)
    assert [record["alert_id"] for record, _ in told.due("mail", NOON)] == ["a2"]
    assert told.due("mail", NOON + HOUR)[0] == (alert(1).record(), 1)
    told.dead("mail", ["a1"], "550 no such user")
    told.delivered("mail", ["a2"], NOON)
    assert told.due("mail", datetime.max.replace(tzinfo=UTC)) == []
    assert len(told.due("file", NOON, limit=1)) == 1
    first, second = told.outbox("mail")
    assert (first.state, first.tries, first.error, first.delivered_at) == ("dead", 2, "550 no such user", None)
    assert (second.state, second.tries, second.error, second.delivered_at) == ("delivered", 1, None, NOON)
    assert told.info().outbox == {"dead": 1, "delivered": 1, "pending": 2}
    assert told.revive("mail", NOON) == 1
    assert told.due("mail", NOON) == [(alert(1).record(), 0)]


class Receiver:
    """A sink that keeps what it gets, and refuses the first call."""

    url = "memory:"

    def __init__(self) -> None:
        self.got: list[str] = []
        self.calls = 0

    def write(self, alerts: Sequence[Alert]) -> None:
        """Take alerts from the second call on."""
        self.calls += 1
        if self.calls == 1:
            raise SinkError("busy")
        self.got.extend(notice.alert_id for notice in alerts)

    def check(self) -> str:
        """Always well."""
        return "well"

    def close(self) -> None:
        """Nothing to give up."""


def test_the_store_is_the_outbox_that_deliveries_read(told: Store):
    """What a sink refused comes again later, from a connection that does not hold the lock, and only once."""
    told.add_alert(alert(3), seq=1, sinks=["memory:"])
    receiver = Receiver()
    with Store.open(told.path, write=False) as outbox:
        assert deliver(outbox, receiver, NOON).failed == 1
        assert deliver(outbox, receiver, NOON).delivered == 0
        assert deliver(outbox, receiver, NOON + HOUR).delivered == 1
        assert deliver(outbox, receiver, NOON + HOUR).delivered == 0
    assert receiver.got == ["a3"]
    assert told.outbox("memory:")[0].state == "delivered"


# Suppressions and verdicts


def test_suppressions_hold_until_they_end(store: Store):
    """By expiry or by hand; afterwards they are still there to be read."""
    rule = {"user": "ann", "address": "10.0.0.0/8", "detector": "habit"}
    one = store.suppress(rule, author="me", reason="night shift", time=NOON, expires=NOON + 2 * HOUR)
    two = store.suppress({"action": "export"}, author="you", reason="", time=NOON + HOUR)
    assert one == Suppression(1, rule, "me", "night shift", NOON, NOON + 2 * HOUR, None)
    assert [found.id for found in store.suppressions(NOON)] == [1]
    assert [found.id for found in store.suppressions(NOON + HOUR)] == [1, 2]
    assert store.lift(two.id, NOON + 2 * HOUR).lifted == NOON + 2 * HOUR
    assert store.suppressions(NOON + 2 * HOUR) == []
    assert [found.id for found in store.suppressions()] == [1, 2]
    with pytest.raises(UsageError, match=r"no suppression 2 can be lifted. Those that stand: 1"):
        store.lift(two.id, NOON)
    with pytest.raises(UsageError, match="would hide every alert"):
        store.suppress({}, author="me", reason="", time=NOON)
    with pytest.raises(UsageError, match="must end after it begins"):
        store.suppress({"user": "ann"}, author="me", reason="", time=NOON, expires=NOON)


def test_a_verdict_from_another_process_is_taken_up_by_the_next_delta(told: Store):
    """And a replay learns behind which delta it took effect, and behind which it was taken back."""
    with Store.open(told.path, write=False) as other:
        said = other.add_feedback("a1", "expected", author="me", time=NOON, note="moved to Rome")
    assert (said.story, said.applied_seq, said.note) == ("s1", None, "moved to Rome")
    with told.begin():
        ids = [verdict.id for verdict in told.unapplied()]
        told.append(Delta(SECOND.events, SECOND.users, SECOND.actions, "5", applied=ids))
    assert told.unapplied() == []
    with Store.open(told.path, write=False) as other:
        other.undo_feedback(said.id, NOON + HOUR)
    assert [(verdict.id, verdict.undone_time) for verdict in told.unapplied()] == [(said.id, NOON + HOUR)]
    seq = told.append(Delta(coded(), [], [], "6", undone=[said.id]))
    assert told.unapplied() == []
    assert [(delta.applied, delta.undone) for _, delta in told.deltas()] == [((), ()), ((1,), ()), ((), (1,))]
    assert [(verdict.applied_seq, verdict.undone_seq) for verdict in told.feedback(story="s1")] == [(2, seq)]
    assert told.verify() == []


def test_the_last_verdict_on_a_story_stands(told: Store):
    """It takes the place of the one before, and survives when the story is written anew."""
    told.add_feedback("a1", "expected", author="me", time=NOON)
    told.add_feedback("a2", "confirmed", author="you", time=NOON + HOUR)
    told.put_story(STORY)
    assert [(said.verdict, said.undone_time) for said in told.feedback()] == [
        ("expected", NOON + HOUR), ("confirmed", None),
    ]  # fmt: skip
    assert told.story("s1").verdict == "confirmed"
    assert [said.verdict for said in told.unapplied()] == ["confirmed"]
    told.undo_feedback(2, NOON + 2 * HOUR)
    assert told.story("s1").verdict is None
    assert told.unapplied() == []


def test_what_others_say_reaches_a_watch_whose_threads_open_the_state_too(told: Store):
    """A thread that opens and closes the file takes no lock from its process: the log beside the file stays."""
    Store.open(told.path, write=False).close()
    code = (
        "import sys; from datetime import datetime, UTC; from amiss.store import Store\n"
        "with Store.open(sys.argv[1], write=False) as other:\n"
        "    other.add_feedback('a1', 'expected', author='me', time=datetime(2026, 3, 2, tzinfo=UTC))"
    )
    subprocess.run([sys.executable, "-c", code, told.path], check=True)
    assert told.path.with_name(f"{told.path.name}-wal").exists()
    assert [said.verdict for said in told.unapplied()] == ["expected"]
    seq = told.append(replace(EMPTY, applied=[1]))
    with Store.open(told.path, write=False) as again:
        assert (again.progress().seq, again.feedback()[0].applied_seq) == (seq, seq)


def test_feedback_that_makes_no_sense_is_refused(told: Store):
    """With the names that would."""
    with pytest.raises(UsageError, match=r'Found: "expect". Did you mean "expected"\?'):
        told.add_feedback("a1", "expect", author="me", time=NOON)
    with pytest.raises(UsageError, match=r'there is no alert "a11". Did you mean "a1"\?'):
        told.add_feedback("a11", "expected", author="me", time=NOON)
    with pytest.raises(UsageError, match=r"no verdict 7 can be undone. Those that stand: none"):
        told.undo_feedback(7, NOON)
    with pytest.raises(UsageError, match="a time needs a zone"):
        told.add_feedback("a1", "expected", author="me", time=datetime(2026, 3, 2))  # noqa: DTZ001  # the wrong one
    with pytest.raises(UsageError, match="is not Unicode"):
        told.add_feedback("a1", "expected", author="\udcff", time=NOON)
    assert told.feedback() == []


# Figures, verification, export


def test_figures_say_what_is_kept(told: Store):
    """Format, progress, sizes, and counts of everything."""
    told.append(SECOND)
    told.snapshot(1, {"users": pl.DataFrame({"bits": [1.0]})})
    told.put_period(PeriodRecord(DAY, 3, 9, 11.5, 1.0, 2))
    told.put_counts(DAY, "chain", pl.DataFrame({"user": [0], "count": [1]}))
    told.add_feedback("a1", "false", author="me", time=NOON)
    told.suppress({"user": "bob"}, author="me", reason="", time=NOON)
    info = told.info()
    assert (info.format, info.seq, info.snapshot_seq, info.cursor) == (3, 2, 1, "5")
    assert (info.events, info.users, info.actions, info.deltas) == (4, 3, 2, 1)
    assert (info.periods, info.first_period, info.last_period) == (1, DAY, DAY)
    assert (info.stories, info.alerts_by_severity, info.alerts_hidden) == (1, {"high": 2}, 0)
    assert (info.outbox, info.feedback, info.feedback_unapplied, info.suppressions) == (
        {"pending": 4},
        {"false": 1},
        1,
        1,
    )
    assert (info.rejected, info.skipped) == ({"no time": 1, "not JSON": 3}, {"blank": 2})
    assert min(info.deltas_bytes, info.snapshot_bytes, info.counts_bytes, info.file_bytes, info.wal_bytes) > 0


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("DELETE FROM deltas WHERE seq = 1", "deltas 1 to 2 should be there. Found: 2 to 2, 1 in all"),
        ("DELETE FROM frames WHERE kind = 'delta' AND number = 2", "lacks the delta 2 events"),
        ("UPDATE frames SET data = x'00' WHERE kind = 'counts'", "cannot be decoded"),
        ("UPDATE frames SET rows = 7 WHERE kind = 'counts'", "has 1 rows, not 7"),
        ("UPDATE frames SET part = 3 WHERE kind = 'counts'", f"counts {DAY.toordinal()} chain lacks a part"),
        ("UPDATE deltas SET events = 9 WHERE seq = 2", "delta 2 has 2 events, not 9"),
        ("UPDATE progress SET users = 2", "2 users should be known. Found: 3"),
        ("UPDATE progress SET actions = 1", "column action holds the code 1, but only 1 are known"),
        ("DELETE FROM frames WHERE kind = 'users' AND number = 0", "users from code 0 on are missing: the next is 2"),
        ("DELETE FROM alerts WHERE alert_id = 'a1'", "the outbox has an alert that is not kept: a1"),
        ("DELETE FROM stories", "an alert belongs to no story: a1"),
        ("UPDATE alerts SET alert = '{'", "a row cannot be read"),
        ("UPDATE stories SET period = -1", "stories: 1 rows are kept, and 0 of them can be read"),
        ("UPDATE stories SET opened = 9000000000000000000", "a row cannot be read"),
        ("UPDATE feedback SET applied_seq = 77", "a verdict took effect behind a delta that is not there: 1"),
        ("UPDATE alerts SET hidden_by = 1", "a hidden alert is on its way to a sink: a1"),
    ],
)
def test_verification_finds_what_is_wrong(told: Store, damage: str, problem: str):
    """A store that is whole has no problems; any of these is named."""
    told.append(SECOND)
    told.put_counts(DAY, "chain", pl.DataFrame({"user": [0], "count": [1]}))
    told.add_feedback("a1", "false", author="me", time=NOON)
    assert told.verify() == []
    told._run("PRAGMA foreign_keys = OFF")
    told._run(damage)
    assert problem in "\n".join(told.verify())


def test_counts_unlike_those_before_are_found(told: Store):
    """Other columns, lacking values, users without name."""
    told.put_counts(DAY, "chain", pl.DataFrame({"user": [0], "count": [1]}))
    told.put_counts(DAY + timedelta(days=1), "chain", pl.DataFrame({"user": [9], "counted": [None]}))
    problems = "\n".join(told.verify())
    for problem in ("have other columns", "lack values", "holds the code 9, but only 2 are known"):
        assert "the counts chain of 2026-03-03" in problems
        assert problem in problems


def test_everything_can_be_exported_as_plain_files(told: Store, tmp_path: Path):
    """Names stand in place of codes; a hostile name stays inside the folder."""
    told.put_story(Story("../../s2", "bob", DAY, NOON, NOON, 1.0, 1.0, "low", 1, {}, []), FIRST.events)
    told.put_counts(DAY, "../chain", pl.DataFrame({"user": [0, 1], "value": [0, 0], "count": [3, 1]}))
    told.put_period(PeriodRecord(DAY, 3, 9, 11.5, 1.0, 2, {}, pl.DataFrame({"user": [1], "bits": [2.0]})))
    told.append(SECOND)
    told.snapshot(2, {"users": pl.DataFrame({"user": [1, 7], "bits": [1.0, 2.0]})}, keep=1)
    told.append(EMPTY)
    told.add_feedback("a1", "false", author="\u202eme\n", time=NOON)
    told.remember("zone", "UTC")
    folder = tmp_path / "out" / "here"
    named = told.export(folder, named=lambda family, counts: counts.with_columns(value=pl.lit(family)))
    assert {path.resolve() for path in named} == {path for path in folder.resolve().rglob("*") if path.is_file()}
    assert pl.read_parquet(folder / "counts" / "2026-03-02-..%2Fchain.parquet").rows() == [
        ("ann", "../chain", 3), ("bob", "../chain", 1),
    ]  # fmt: skip
    assert pl.read_parquet(folder / "snapshot" / "users.parquet")["user"].to_list() == ["bob", None]
    events = pl.read_parquet(folder / "events" / "000000000002.parquet")
    assert events.select("user", "action", "outcome").rows() == [
        ("ann", "export", "success"), ("eve", "login", "success"),
    ]  # fmt: skip
    assert pl.read_parquet(folder / "users.parquet").rows() == [(0, "ann"), (1, "bob"), (2, "eve")]
    alerts = [json.loads(line) for line in (folder / "alerts.jsonl").read_text().splitlines()]
    assert [row["alert_id"] for row in alerts] == ["a2", "a1"]
    assert json.loads((folder / "feedback.jsonl").read_text())["author"] == "\u202eme\n"
    assert "\u202e" not in (folder / "feedback.jsonl").read_text()
    assert json.loads((folder / "settings.json").read_text()) == {"zone": "UTC"}


def test_an_export_that_cannot_be_written_says_so(told: Store, tmp_path: Path):
    """A file stands where the folder should be."""
    (tmp_path / "out").write_text("")
    with pytest.raises(StateError, match="out cannot be written"):
        told.export(tmp_path / "out")


# kill -9

WRITER = """
import sys
from amiss.outbox import deliver
from amiss.store import Delta, Store
import polars as pl
from amiss.events import CODED_SCHEMA
from datetime import UTC, datetime

def events(seq):
    time = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [(seq * 100 + row, time, seq % 50, 0, 0) for row in range(100)]
    return pl.DataFrame(rows, schema=CODED_SCHEMA, orient="row")

with Store.open(sys.argv[1]) as store:
    print("open", flush=True)
    seq = store.progress().seq
    while True:
        with store.begin():
            seq += 1
            assert store.append(Delta(events(seq), [f"u{seq}", f"v{seq}"], ["a"] if seq == 1 else [], str(seq))) == seq
            store.remember("seq", seq)
            if seq % 5 == 0:
                store.snapshot(seq, {"state": pl.DataFrame({"seq": [seq] * 50_000})}, keep=seq - 8)
        print(seq, flush=True)
"""


def killed_after(seconds: float, path: Path) -> int:
    """The last number that a writer acknowledged before it was killed, that long after it had opened the store."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        lines = process.stdout.read().split(b"\n")
    complete = lines[:-1]
    return int(complete[-1]) if complete else 0


def check_whole(path: Path, acknowledged: int) -> int:
    """Fail unless a store has all that was acknowledged, and no half of anything; gives its last delta."""
    with Store.open(path) as store:
        progress = store.progress()
        assert store.verify() == []
        assert acknowledged <= progress.seq
        assert progress.cursor in {None, str(progress.seq)}
        assert store.settings().get("seq", 0) == progress.seq
        assert progress.events == 100 * progress.seq
        seq, tables = store.restore()
        assert seq == progress.seq // 5 * 5
        assert seq == 0 or tables["state"]["seq"].unique().to_list() == [seq]
        assert [number for number, _ in store.covered()] == list(range(max(1, seq - 7), seq + 1))
        assert [number for number, _ in store.deltas()] == list(range(seq + 1, progress.seq + 1))
        return progress.seq


@pytest.mark.parametrize("kills", [6, pytest.param(100, marks=pytest.mark.slow)])
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, kills: int):
    """Killed at any moment of commits and snapshots, the store opens, verifies and goes on where it was."""
    chance = random.Random(kills)
    path = tmp_path / "state.db"
    last = 0
    for _ in range(kills):
        acknowledged = killed_after(chance.random() * 0.15, path)
        last = check_whole(path, max(last, acknowledged))
    assert last > kills


def test_the_lock_of_a_killed_writer_is_free(tmp_path: Path):
    """The system gives it back, whatever the side file says."""
    killed_after(0.0, tmp_path / "state.db")
    with (tmp_path / "state.db-lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    Store.open(tmp_path / "state.db").close()
