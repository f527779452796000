"""Files that grow, directories that files arrive in, standard input: real files and pipes, written to meanwhile."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.errors import EventError, SourceError
from amiss.events import CODED_SCHEMA
from amiss.sources import Cursor, LiveSource, Source, lines, open_live_source, open_source
from amiss.sources.follow import FollowSource
from amiss.testing import check_source
from amiss.vocabulary import Coding

FIRST = datetime(2026, 1, 5, 8, tzinfo=UTC)
HEADER = "time,user,action,outcome\n"


def line(number: int, *, user: str = "") -> str:
    """The numbered event as NDJSON."""
    moment = (FIRST + timedelta(seconds=number)).isoformat()
    names = {"user": user or f"u{number % 7}", "action": f"a{number % 3}", "outcome": "success"}
    return json.dumps({"time": moment, **names}) + "\n"


def row(number: int) -> str:
    """The numbered event as CSV."""
    return f"{(FIRST + timedelta(seconds=number)).isoformat()},u{number % 7},a{number % 3},success\n"


def text(numbers: Sequence[int] | range) -> str:
    """The numbered events as NDJSON."""
    return "".join(map(line, numbers))


def append(path: Path, more: str) -> None:
    """Write more to the end of a file."""
    with path.open("a") as file:
        file.write(more)


class Reader:
    """Follows a source in a thread; `numbers` are those of the events so far."""

    def __init__(
        self, source: LiveSource, after: Cursor | None = None, *, batch: int = 10_000, every: float = 0.2
    ) -> None:
        self.source = source
        self.coding = Coding()
        self.frames: list[tuple[float, pl.DataFrame, Cursor]] = []
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self._settings = {"batch": batch, "every": timedelta(seconds=every), "stop": self.stop}
        self._after = after
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for frame, cursor in self.source.follow(self.coding, self._after, **self._settings):
                self.frames.append((time.monotonic(), frame, cursor))
        except BaseException as error:  # noqa: BLE001 - shown by the test
            self.error = error

    @property
    def events(self) -> pl.DataFrame:
        """All events so far."""
        return pl.concat([pl.DataFrame(schema=CODED_SCHEMA), *(frame for _, frame, _ in self.frames)])

    @property
    def numbers(self) -> list[int]:
        """The numbers of the events so far."""
        return numbers(self.events)

    def until(self, wanted: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until something is so."""
        end = time.monotonic() + seconds
        while not wanted() and time.monotonic() < end and self.error is None:
            time.sleep(0.01)
        assert self.error is None, self.error
        assert wanted(), f"after {seconds} s: {self.numbers}, waiting: {self.source.waiting}"

    def has(self, count: int) -> None:
        """Wait until so many events came."""
        self.until(lambda: len(self.events) >= count)

    def end(self) -> Cursor:
        """Stop; the last cursor."""
        self.stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        assert self.error is None, self.error
        return self.frames[-1][2]


def numbers(events: pl.DataFrame) -> list[int]:
    """The numbers of events."""
    return ((events["time"] - FIRST).dt.total_seconds()).to_list()


@contextmanager
def reading(source: LiveSource, after: Cursor | None = None, *, batch: int = 10_000, every: float = 0.2):
    """A reader that is stopped at the end."""
    reader = Reader(source, after, batch=batch, every=every)
    try:
        yield reader
    finally:
        reader.stop.set()


def rest(path: Path | str, after: Cursor | None = None, batch: int = 10_000) -> list[tuple[pl.DataFrame, Cursor]]:
    """The frames of all that is there, read by a new source."""
    settings = {"batch": batch, "every": timedelta(minutes=1), "stop": threading.Event(), "until_eof": True}
    return list(open_live_source(str(path)).follow(Coding(), after, **settings))


def all_numbers(frames: list[tuple[pl.DataFrame, Cursor]]) -> list[int]:
    """The numbers of the events of frames."""
    return [number for frame, _ in frames for number in numbers(frame)]


def positions(frames: list[tuple[pl.DataFrame, Cursor]]) -> list[int]:
    """The positions of the events of frames."""
    return [position for frame, _ in frames for position in frame["position"].to_list()]


# --- laws


LOGS = {
    "ndjson": text(range(60)) + "{broken\n\n" + text(range(60, 90)) + '{"time": 5}\n' + text(range(90, 95)),
    "csv": HEADER + "".join(map(row, range(40))) + 'x,"two\nlines",a,\n' + "".join(map(row, range(40, 80))) + "1,2\n",
    "access": "".join(
        f'10.0.0.{n % 5} - - [05/Jan/2026:08:00:{n:02} +0000] "GET /a{n % 3} HTTP/1.1" 200 5\n' for n in range(60)
    ),
    "auth": "Jan  5 08:00:00 web sshd[7]: Server listening on 0.0.0.0 port 22.\n"
    + "".join(
        f"Jan  5 08:00:{n:02} web sshd[7]: Failed password for root from 10.0.0.{n % 5} port 22 ssh2\n"
        + ("Jan  5 08:00:59 web cron[1]: tick\n" if n % 7 == 0 else "")
        + (
            "Jan  5 08:01:00 w sshd[7]: message repeated 5 times: [ Failed password for a from 10.0.0.9 port 1 ssh2]\n"
            if n % 9 == 0
            else ""
        )
        for n in range(50)
    ),
}


@pytest.mark.parametrize("compiled", [1, 1 << 30])
@pytest.mark.parametrize("kind", LOGS)
def test_a_file_obeys_the_law_of_sources(
    tmp_path: Path, kind: str, compiled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind each cursor come exactly the rows left, and what is rejected is counted once: in every format."""
    monkeypatch.setattr(lines, "COMPILED_BYTES", compiled)
    path = tmp_path / "log"
    path.write_text(LOGS[kind])
    check_source(lambda: open_live_source(str(path)))
    followed = pl.concat(frame for frame, _ in open_live_source(str(path)).read())
    scanned = pl.concat(frame for frame, _ in open_source(str(path)).read())
    assert followed.equals(scanned.select(followed.columns))


def test_a_directory_obeys_the_law_of_sources(tmp_path: Path) -> None:
    """Files of lines, a compressed one, one of Parquet, one of a JSON text, an empty one."""
    (tmp_path / "1.log").write_text(LOGS["ndjson"])
    (tmp_path / "2.gz").write_bytes(gzip.compress(LOGS["ndjson"].encode()))
    (tmp_path / "3.log").touch()
    records = [json.loads(item) for item in text(range(30)).splitlines()]
    (tmp_path / "4.json").write_text(json.dumps(records))
    pl.DataFrame(records).write_parquet(tmp_path / "5.parquet")
    (tmp_path / "6.log").write_text(text(range(30)))
    check_source(lambda: open_live_source(str(tmp_path)))
    check_source(lambda: open_live_source(f"{tmp_path}/[1-6].*"))


def test_redirected_standard_input_obeys_the_law_of_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is redirected is read on where the cursor says."""
    path = tmp_path / "log"
    path.write_text(LOGS["ndjson"])

    with ExitStack() as stack:

        def opened() -> Source:
            monkeypatch.setattr(sys, "stdin", stack.enter_context(path.open()))
            return open_live_source("-")

        check_source(opened)


@settings(max_examples=15)
@given(
    cuts=st.lists(st.integers(0, 5000), max_size=8).map(sorted),
    odd=st.lists(st.sampled_from(["{oops\n", "\n", "\0\n", '{"time": 1}\n', "[1]\n", "é\n"]), max_size=4),
    csv=st.booleans(),
)
def test_how_writes_are_cut_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], odd: list[str], csv: bool
) -> None:
    """Bytes appended in any pieces give the rows, positions and rejections of the whole file."""
    folder = tmp_path_factory.mktemp("cut")
    path, whole = folder / "log", folder / "whole"
    body = (
        "".join(map(row, range(20))) + '2026-01-05T08:00:20Z,"a\nb",c,success\n' + row(21) if csv else text(range(22))
    )
    data = ((HEADER if csv else "") + body + ("" if csv else "".join(odd)) + (row(22) if csv else line(22))).encode()
    whole.write_bytes(data)
    path.write_bytes(b"")
    source = FollowSource(str(path))
    with reading(source, every=0.0) as reader:
        for low, high in pairwise([0, *(min(cut, len(data)) for cut in cuts), len(data)]):
            with path.open("ab") as file:
                file.write(data[low:high])
            time.sleep(0.002)
        reader.has(23)
        reader.until(lambda: f'"offset":{len(data)},' in reader.frames[-1][2].token)
        reader.end()
    other = open_live_source(str(whole))
    expected = pl.concat(frame for frame, _ in other.read())
    found = reader.events
    assert found["position"].to_list() == expected["position"].to_list()
    assert found["time"].to_list() == expected["time"].to_list()
    assert reader.coding.users.decode(found["user"]).to_list() == expected["user"].to_list()
    assert source.quarantine.reasons == other.quarantine.reasons


# --- a file


def test_lines_come_as_they_are_written_and_an_unfinished_one_waits(tmp_path: Path) -> None:
    """Half a line is no event until its end comes."""
    path = tmp_path / "app.log"
    path.write_text(text(range(3)) + line(3)[:20])
    with reading(open_live_source(str(path))) as reader:
        reader.has(3)
        time.sleep(0.3)
        assert reader.numbers == [0, 1, 2]
        append(path, line(3)[20:] + line(4))
        reader.has(5)
        assert reader.numbers == [0, 1, 2, 3, 4]
        assert reader.events["position"].to_list() == [1, 2, 3, 4, 5]


def test_with_until_eof_an_unfinished_last_line_counts(tmp_path: Path) -> None:
    """The end of the file ends it."""
    path = tmp_path / "app.log"
    path.write_text(text(range(3)).rstrip("\n"))
    assert all_numbers(rest(path)) == [0, 1, 2]


def test_a_file_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    """It is waited for, which is said, also while it is empty; its format is found when lines come."""
    path = tmp_path / "app.log"
    source = open_live_source(str(path))
    with reading(source) as reader:
        reader.until(lambda: "is not there yet" in source.waiting)
        path.touch()
        time.sleep(0.2)
        append(path, HEADER)
        time.sleep(0.4)
        append(path, "".join(map(row, range(3))))
        reader.has(3)
        assert reader.numbers == [0, 1, 2]
        assert reader.events["position"].to_list() == [2, 3, 4]


def test_with_until_eof_an_absent_file_is_an_error_and_an_empty_one_is_not(tmp_path: Path) -> None:
    """Nothing is there to be read, and it will not come."""
    with pytest.raises(SourceError, match=r"absent\.log does not exist"):
        rest(tmp_path / "absent.log")
    (tmp_path / "empty.log").touch()
    assert rest(tmp_path / "empty.log") == []
    with pytest.raises(SourceError, match="has no files"):
        rest(f"{tmp_path}/*.csv")


@pytest.mark.parametrize("how", ["rename", "copytruncate", "delete", "gzip"])
def test_rotation_loses_nothing_and_positions_run_on(tmp_path: Path, how: str) -> None:
    """The file is rotated while it is read; what was written to it last, and what comes then, is read once."""
    path, old = tmp_path / "app.log", tmp_path / "app.log.1"
    path.write_text(text(range(10)))
    with reading(open_live_source(str(path))) as reader:
        reader.has(10)
        append(path, text(range(10, 15)))
        if how == "copytruncate":
            old.write_bytes(path.read_bytes())
            os.truncate(path, 0)
        elif how == "delete":
            path.unlink()
        else:
            path.rename(old)
        if how == "rename":
            append(old, text(range(15, 17)))
        if how == "gzip":
            (tmp_path / "app.log.1.gz").write_bytes(gzip.compress(old.read_bytes()))
            old.unlink()
        time.sleep(0.1)
        append(path, text(range(20, 23)))
        expected = [*range(17 if how == "rename" else 15), 20, 21, 22]
        reader.has(len(expected))
        time.sleep(0.2)
        assert reader.numbers == expected
        assert reader.events["position"].to_list() == list(range(1, len(expected) + 1))


@pytest.mark.parametrize("how", ["rename", "rename twice", "copytruncate", "gzip", "gone"])
def test_rotation_while_nobody_reads_loses_nothing(tmp_path: Path, how: str) -> None:
    """A new process finds the old file by inode, or by its first bytes, and reads what was rotated since."""
    path, old = tmp_path / "app.log", tmp_path / "app.log.1"
    path.write_text(text(range(10)))
    [(_, cursor)] = rest(path)
    append(path, text(range(10, 15)))
    if how == "copytruncate":
        old.write_bytes(path.read_bytes())
        os.truncate(path, 0)
    else:
        path.rename(old)
    if how == "gzip":
        (tmp_path / "app.log.1.gz").write_bytes(gzip.compress(old.read_bytes()))
        old.unlink()
    if how == "rename twice":
        old.rename(tmp_path / "app.log.2")
        time.sleep(0.01)
        old.write_text(text(range(15, 18)))
    if how == "gone":
        old.unlink()
    time.sleep(0.01)
    append(path, text(range(18, 20)))
    frames = rest(path, cursor)
    expected = {"rename twice": [*range(10, 20)], "gone": [18, 19]}.get(how, [*range(10, 15), 18, 19])
    assert all_numbers(frames) == expected
    assert positions(frames) == list(range(11, 11 + len(expected)))


def test_a_file_that_is_written_anew_is_read_from_its_start(tmp_path: Path) -> None:
    """Cut short and longer again before anyone looked: told by its first bytes."""
    path = tmp_path / "app.log"
    path.write_text(text(range(3)))
    with reading(open_live_source(str(path))) as reader:
        reader.has(3)
        path.write_text(text(range(100, 110)))
        reader.has(13)
        assert reader.numbers == [0, 1, 2, *range(100, 110)]


def test_a_rotated_csv_file_may_have_its_header_again_or_not(tmp_path: Path) -> None:
    """A header is no row, in whatever order it names the columns."""
    path = tmp_path / "app.csv"
    path.write_text(HEADER + row(0))
    with reading(open_live_source(str(path))) as reader:
        reader.has(1)
        path.rename(tmp_path / "app.csv.1")
        path.write_text(HEADER + row(1))
        reader.has(2)
        path.rename(tmp_path / "app.csv.2")
        path.write_text(row(2))
        reader.has(3)
        path.rename(tmp_path / "app.csv.3")
        swapped = "user,time,outcome,action\n" + f"u1,{(FIRST + timedelta(seconds=3)).isoformat()},success,a1\n"
        path.write_text(swapped)
        reader.has(4)
        cursor = reader.end()
        assert reader.numbers == [0, 1, 2, 3]
        assert not reader.source.quarantine.total
    append(path, f"u1,{(FIRST + timedelta(seconds=4)).isoformat()},success,a1\n")
    assert all_numbers(rest(path, cursor)) == [4]


def test_lines_that_say_too_little_are_waited_over(tmp_path: Path) -> None:
    """A first line without a user is no reason to give up."""
    path = tmp_path / "app.log"
    path.write_text('{"message": "started"}\n')
    source = open_live_source(str(path))
    with reading(source) as reader:
        reader.until(lambda: "understood" in source.waiting)
        append(path, text(range(3)))
        reader.has(3)
        assert source.quarantine.total == 1


def test_what_is_of_no_known_format_is_an_error_at_the_end(tmp_path: Path) -> None:
    """With `until_eof` nothing else will come."""
    path = tmp_path / "notes.txt"
    path.write_text("hello\n")
    with pytest.raises(SourceError, match="of no format that amiss knows"):
        rest(path)


def test_bad_input_goes_to_the_quarantine(tmp_path: Path) -> None:
    """NUL bytes, other encodings, a line of 10 MB, half a record: each counted once, and reading goes on."""
    path = tmp_path / "app.log"
    path.write_text(text(range(3)))
    source = open_live_source(str(path))
    with reading(source) as reader:
        reader.has(3)
        with path.open("ab") as file:
            file.write(b"\0\0\n\xff\xfe\n{half\n" + b"x" * 4_000_000)
            file.flush()
            time.sleep(0.2)
            file.write(b"x" * 6_000_000 + b"\n" + line(3).encode())
        reader.has(4)
        reader.end()
    assert source.quarantine.reasons == {"NUL byte": 1, "not UTF-8": 1, "not JSON": 1, "line longer than 1 MiB": 1}
    assert [item.position for item in source.quarantine.samples] == [4, 5, 6, 7]
    assert reader.events["position"].to_list() == [1, 2, 3, 8]


def test_with_strict_the_first_bad_line_is_an_error(tmp_path: Path) -> None:
    """Its place and text are said."""
    path = tmp_path / "app.log"
    path.write_text(text(range(3)) + "oops\n")
    with pytest.raises(EventError, match=r"app\.log:4: not JSON: oops"):
        list(open_live_source(str(path), strict=True).read())


def test_a_file_that_becomes_a_directory_or_unreadable_is_waited_for(tmp_path: Path) -> None:
    """What takes its place is not read; when it is a file again, it is."""
    path = tmp_path / "app.log"
    path.write_text(text(range(3)))
    source = open_live_source(str(path))
    with reading(source) as reader:
        reader.has(3)
        path.unlink()
        path.mkdir()
        reader.until(lambda: "is a directory" in source.waiting)
        path.rmdir()
        path.write_text(text(range(3, 6)))
        reader.has(6)
        assert reader.numbers == [0, 1, 2, 3, 4, 5]


def test_a_truncated_gzip_file_keeps_what_came_before(tmp_path: Path) -> None:
    """The damage is one line of the quarantine."""
    path = tmp_path / "app.log.gz"
    path.write_bytes(gzip.compress(text(range(2000)).encode())[:-2000])
    source = open_live_source(str(path))
    found = numbers(pl.concat(frame for frame, _ in source.read()))
    assert 100 < len(found) < 2000
    assert found == list(range(len(found)))
    assert source.quarantine.reasons == {"truncated gzip file": 1}


def test_a_cursor_of_something_else_is_refused(tmp_path: Path) -> None:
    """No guess is made."""
    with pytest.raises(SourceError, match="no cursor of a source that is followed"):
        rest(tmp_path, Cursor('{"file":0}'))


def test_syslog_goes_over_new_year(tmp_path: Path) -> None:
    """Times without a year are the newest that are not later than the file."""
    path = tmp_path / "auth.log"
    form = "{} web sshd[7]: Failed password for root from 10.0.0.9 port 22 ssh2\n"
    path.write_text(form.format("Dec 31 23:59:59") + form.format("Jan  1 00:00:01"))
    moment = datetime(2024, 1, 1, 0, 0, 2, tzinfo=UTC).timestamp()
    os.utime(path, (moment, moment))
    years = [time.year for frame, _ in open_live_source(str(path)).read() for time in frame["time"]]
    assert years == [2023, 2024]
    fixed = open_live_source(str(path), year=2015)
    assert [time.year for frame, _ in fixed.read() for time in frame["time"]] == [2015, 2016]


def test_other_settings_look_at_the_lines_anew(tmp_path: Path) -> None:
    """The cursor's schema holds only for the settings it was found with."""
    path = tmp_path / "app.csv"
    path.write_text("time,user,owner,action\n" + "".join(f"2026-01-05T08:00:0{n}Z,u{n},o{n},a\n" for n in range(4)))
    first = rest(path, batch=2)[0]
    from amiss.fields import FieldChoice

    source = open_live_source(str(path), fields=FieldChoice(user="owner"))
    assert [frame["user"].to_list() for frame, _ in source.read(first[1])] == [["o2", "o3"]]


# --- when frames come


def test_frames_are_full_when_that_much_is_there(tmp_path: Path) -> None:
    """1,000 lines in batches of 300: three full ones and the rest; new texts come no earlier than their frame."""
    path = tmp_path / "app.log"
    path.write_text("".join(line(number, user=f"u{number}") for number in range(1000)))
    coding = Coding()
    settings = {"batch": 300, "every": timedelta(minutes=1), "stop": threading.Event(), "until_eof": True}
    sizes = [(len(frame), len(coding.users)) for frame, _ in open_live_source(str(path)).follow(coding, **settings)]
    assert sizes == [(300, 300), (300, 600), (300, 900), (100, 1000)]


def test_a_frame_comes_at_the_latest_every_so_often(tmp_path: Path) -> None:
    """Single events come within `every` and some milliseconds; while nothing comes, empty frames do."""
    path = tmp_path / "app.log"
    path.write_text(line(0))
    with reading(open_live_source(str(path)), every=0.3) as reader:
        reader.has(1)
        for number in range(1, 6):
            written = time.monotonic()
            append(path, line(number))
            reader.has(number + 1)
            assert time.monotonic() - written < 0.55
        before = len(reader.frames)
        time.sleep(1.0)
        assert 2 <= len(reader.frames) - before <= 5
        assert {len(frame) for _, frame, _ in reader.frames[before:]} == {0}


def test_stop_is_heeded_at_once_and_gives_what_is_complete(tmp_path: Path) -> None:
    """Within 0.2 seconds in one of five tries (other work may take more), also with a long `every`."""
    path = tmp_path / "app.log"
    path.write_text(text(range(5)))

    def seconds() -> float:
        with reading(open_live_source(str(path)), every=60) as reader:
            time.sleep(0.3)
            assert not reader.frames
            began = time.monotonic()
            reader.end()
            ended = time.monotonic()
        assert reader.numbers == [0, 1, 2, 3, 4]
        return ended - began

    assert any(seconds() < 0.2 for _ in range(5))


def test_waiting_costs_no_processor_time(tmp_path: Path) -> None:
    """Less than a twentieth of a second per second."""
    path = tmp_path / "app.log"
    path.write_text(text(range(5)))
    with reading(open_live_source(str(path)), every=5) as reader:
        time.sleep(0.3)
        before = time.process_time()
        time.sleep(1.0)
        assert time.process_time() - before < 0.1
        reader.end()


# --- a directory


def test_files_that_arrive_are_read_in_order_of_name_then_as_they_come(tmp_path: Path) -> None:
    """Temporary and hidden names wait until they are renamed; a file that grows is followed."""
    (tmp_path / "b.log").write_text(text(range(5, 10)))
    (tmp_path / "a.log").write_text(text(range(5)))
    (tmp_path / ".hidden").write_text(text(range(90, 95)))
    (tmp_path / "c.tmp").write_text(text(range(10, 15)))
    with reading(open_live_source(str(tmp_path))) as reader:
        reader.has(10)
        assert reader.numbers == [*range(10)]
        (tmp_path / "c.tmp").rename(tmp_path / "0.log")
        written = time.monotonic()
        reader.has(15)
        assert time.monotonic() - written < 1.0
        append(tmp_path / "a.log", text(range(15, 17)))
        reader.has(17)
        assert reader.numbers == [*range(17)]
        assert reader.events["position"].to_list() == [*range(1, 18)]


def test_a_directory_resumes_with_what_is_new(tmp_path: Path) -> None:
    """Files read are not read again, whatever the name of a new one; one that grew is read on."""
    for name, start in (("b", 0), ("c", 5)):
        (tmp_path / name).write_text(text(range(start, start + 5)))
    cursor = rest(tmp_path)[-1][1]
    time.sleep(0.02)
    (tmp_path / "a").write_text(text(range(10, 12)))
    append(tmp_path / "b", text(range(12, 14)))
    assert sorted(all_numbers(rest(tmp_path, cursor))) == [10, 11, 12, 13]


def test_the_cursor_of_a_directory_of_many_files_is_small(tmp_path: Path) -> None:
    """300 files: a mark and the last 32; resuming at any of some cursors gives the rest."""
    for number in range(300):
        (tmp_path / f"{number:03}.log").write_text(text(range(number * 2, number * 2 + 2)))
    frames = rest(tmp_path, batch=50)
    assert all_numbers(frames) == [*range(600)]
    assert max(len(cursor.token) for _, cursor in frames) < 12_000
    for number in (0, 3, 7, 10):
        assert all_numbers(rest(tmp_path, frames[number][1])) == [*range(50 * (number + 1), 600)]


def test_a_compressed_file_is_read_once_it_is_complete(tmp_path: Path) -> None:
    """Its beginning alone is not damage."""
    packed = gzip.compress(text(range(5)).encode())
    path = tmp_path / "a.log.gz"
    path.write_bytes(packed[:40])
    source = open_live_source(str(tmp_path))
    with reading(source) as reader:
        time.sleep(0.5)
        path.write_bytes(packed)
        reader.has(5)
        assert reader.numbers == [0, 1, 2, 3, 4]
        assert not source.quarantine.total


@pytest.mark.parametrize("how", ["rename", "gzip", "copytruncate"])
def test_rotation_within_a_directory_reads_nothing_twice(tmp_path: Path, how: str) -> None:
    """A file is known by inode, a copy by what it holds; also to a new process."""
    path, old = tmp_path / "app.log", tmp_path / "app.log.1"
    path.write_text(text(range(30)))
    with reading(open_live_source(str(tmp_path))) as reader:
        reader.has(30)
        if how == "copytruncate":
            old.write_bytes(path.read_bytes())
            os.truncate(path, 0)
            append(path, text(range(30, 33)))
        else:
            path.rename(old)
            path.write_text(text(range(30, 33)))
        reader.has(33)
        if how == "gzip":
            (tmp_path / "app.log.1.gz").write_bytes(gzip.compress(old.read_bytes()))
            old.unlink()
        time.sleep(1.5 if how == "gzip" else 0.4)
        assert reader.numbers == [*range(33)]
        cursor = reader.end()
    append(path, text(range(33, 35)))
    assert all_numbers(rest(tmp_path, cursor)) == [33, 34]


def test_a_directory_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    """With a slash at the end it is known to be one."""
    source = open_live_source(f"{tmp_path}/logs/")
    with reading(source) as reader:
        reader.until(lambda: "cannot be read" in source.waiting or "no files" in source.waiting)
        (tmp_path / "logs").mkdir()
        (tmp_path / "logs" / "a").write_text(text(range(3)))
        reader.has(3)


# --- standard input


PROGRAM = """
import sys, threading
from datetime import timedelta
from amiss.sources import Cursor, open_live_source
from amiss.vocabulary import Coding
after = Cursor(sys.argv[1]) if len(sys.argv) > 1 else None
source = open_live_source("-")
settings = dict(batch=3, every=timedelta(seconds=0.3), stop=threading.Event())
for frame, cursor in source.follow(Coding(), after, **settings):
    if len(frame):
        print(len(frame), frame["position"][0], cursor.token, flush=True)
"""


@contextmanager
def program(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that follows its standard input."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_pipe_gives_frames_while_it_is_open_and_ends_with_it() -> None:
    """Five lines in batches of three: three at once, two in time, an unfinished one at the end."""
    with program() as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(text(range(5)))
        process.stdin.flush()
        first = process.stdout.readline()
        second = process.stdout.readline()
        assert [item.split(" ")[:2] for item in (first, second)] == [["3", "1"], ["2", "4"]]
        process.stdin.write(line(5).rstrip("\n"))
        process.stdin.close()
        third = process.stdout.readline()
        assert third.split(" ")[:2] == ["1", "6"]
        assert process.wait(60) == 0
        token = third.split(" ", 2)[2].strip()
        assert json.loads(token)["files"][0]["offset"] == len(text(range(6))) - 1
    with program(token) as process:
        output, _ = process.communicate(text(range(6, 8)), timeout=20)
        assert output.split(" ")[:2] == ["2", "7"]


def test_until_eof_of_a_pipe_is_when_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow writer is waited for."""
    inner, outer = os.pipe()

    def write() -> None:
        with os.fdopen(outer, "w") as file:
            for number in range(3):
                time.sleep(0.15)
                print(line(number), end="", file=file, flush=True)

    threading.Thread(target=write, daemon=True).start()
    with os.fdopen(inner) as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert all_numbers(rest("-")) == [0, 1, 2]


def test_a_long_line_in_a_pipe_is_quarantined(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not held in memory, and what follows is read."""
    inner, outer = os.pipe()

    def write() -> None:
        with os.fdopen(outer, "wb") as file:
            file.write(line(0).encode() + b"y" * 3_000_000 + b"\n" + line(1).encode())

    threading.Thread(target=write, daemon=True).start()
    source = open_live_source("-")
    with os.fdopen(inner) as file:
        monkeypatch.setattr(sys, "stdin", file)
        with reading(source) as reader:
            reader.has(2)
            reader.end()
    assert reader.events["position"].to_list() == [1, 3]
    assert source.quarantine.reasons == {"line longer than 1 MiB": 1}
    assert json.loads(reader.frames[-1][2].token)["files"][0]["offset"] == 3_000_001 + len(line(0) + line(1))


def test_an_address_that_cannot_be_followed_is_refused() -> None:
    """The message says what can be."""
    with pytest.raises(SourceError, match=re.escape('no source for "http://" that can be followed')):
        open_live_source("http://example.org/log")


# --- what lines are made of, before they are given


@pytest.mark.parametrize("kind", LOGS)
def test_what_was_looked_at_is_given_all_the_same(tmp_path: Path, kind: str) -> None:
    """Looking at the first lines to learn their fields takes nothing away, and tells what following finds."""
    path = tmp_path / "log"
    path.write_text(LOGS[kind])
    source, stop = open_live_source(str(path)), threading.Event()
    fields = source.settle(stop, until_eof=True)
    settings = {"batch": 7, "every": timedelta(seconds=9), "stop": stop, "until_eof": True}
    frames = list(source.follow(Coding(), None, **settings))  # type: ignore[arg-type]  # typed above
    assert positions(frames) == positions(rest(path, batch=7))
    assert fields is not None
    assert fields.actions


def test_fields_are_waited_for_until_lines_come(tmp_path: Path) -> None:
    """An empty file tells nothing; neither does stopping."""
    path = tmp_path / "log.ndjson"
    path.write_text("")
    source, stop = open_live_source(str(path)), threading.Event()
    threading.Timer(0.3, path.write_text, [text(range(3))]).start()
    fields = source.settle(stop)
    assert fields is not None
    assert fields.roles["user"].column == "user"
    stop.set()
    assert open_live_source(str(tmp_path / "never.ndjson")).settle(stop) is None


def test_nothing_is_told_of_files_that_are_read_as_a_whole(tmp_path: Path) -> None:
    """Their rows come all the same."""
    rows = [{"time": "2026-01-05T08:00:00Z", "user": "ann", "action": "in"}]
    (tmp_path / "one.json").write_text(json.dumps(rows))
    source, stop = open_live_source(str(tmp_path)), threading.Event()
    assert source.settle(stop, until_eof=True) is None
    frames = source.follow(Coding(), batch=9, every=timedelta(seconds=9), stop=stop, until_eof=True)
    assert sum(len(frame) for frame, _ in frames) == 1


def test_a_reading_that_was_begun_is_let_go_where_another_place_is_asked_for(tmp_path: Path) -> None:
    """What had looked at the first lines keeps no file open, and rows come from behind the cursor."""
    path = tmp_path / "log.ndjson"
    path.write_text(text(range(6)))
    frames = rest(path, batch=2)
    source = open_live_source(str(path))
    source.settle(threading.Event(), until_eof=True)
    begun = source._begun.feed  # type: ignore[attr-defined, union-attr]  # a source that follows files
    closed: list[bool] = []
    begun.close = lambda: closed.append(True)
    settings = {"batch": 9, "every": timedelta(seconds=9), "stop": threading.Event(), "until_eof": True}
    left = list(source.follow(Coding(), frames[0][1], **settings))  # type: ignore[arg-type]  # typed above
    assert positions(left) == positions(frames[1:])
    assert closed == [True]
