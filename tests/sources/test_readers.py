"""The fast lane gives what the general reader gives: row for row, code for code, reason for reason."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from amiss.errors import EventError
from amiss.events import CODED_SCHEMA
from amiss.fields import FieldChoice
from amiss.sources import open_source, readers, streams
from amiss.sources.files import FileSource
from amiss.vocabulary import Coding

CHOICE = FieldChoice(time="time", user="user", action="action", outcome="outcome", time_format="iso")
REGULAR = '{"time":"2026-01-01T00:00:03Z","user":"ann","action":"login","outcome":"success"}\n'
HEADER = "time,user,action,outcome,note\n"


def outcome_of(source: FileSource, frames: Any, coding: Coding) -> dict[str, Any]:
    """Everything that reading gives, to be compared; frames are (coded frame, cursor) pairs."""
    coded = pl.concat([pl.DataFrame(schema=CODED_SCHEMA), *(frame for frame, _ in frames)])
    samples = sorted((bad.position, bad.reason, bad.text) for bad in source.quarantine.samples)
    return {
        "rows": coded.rows(),
        "users": coding.users.texts().to_list(),
        "actions": coding.actions.texts().to_list(),
        "reasons": dict(source.quarantine.reasons),
        "samples": samples,
    }


def generally(source: FileSource) -> dict[str, Any]:
    """What the general reader gives."""
    coding = Coding()
    frames = [(coding.encode(frame), cursor) for frame, cursor in source.read()]
    return outcome_of(source, frames, coding)


def fast(source: FileSource, block_bytes: int) -> dict[str, Any]:
    """What the compiled passes and the general reader give together, in blocks of this size."""
    coding = Coding()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "LEAST_BYTES", 0)
        patch.setattr(readers, "BLOCK_BYTES", block_bytes)
        frames = list(source.read_coded(coding))
    return outcome_of(source, frames, coding)


def source_of(content: bytes, start: str, choice: FieldChoice = CHOICE, **options: Any) -> FileSource:
    """A source whose file began regularly when it was looked at, and now holds `content`."""
    path = Path(tempfile.mkdtemp()) / "log"
    path.write_bytes(start.encode())
    source = open_source(str(path), fields=choice, **options)
    path.write_bytes(content)
    return source


times = st.sampled_from(
    [
        "2026-01-01T00:00:03Z",
        "2026-01-01T00:00:04Z",
        "2026-01-01 23:59:59",
        "2026-02-28T12:00:00.5Z",
        "2024-02-29T00:00:00+01:00",
        "2026-01-01T00:00:00.123456789Z",
        "1999-12-31T23:59:59-03:30",
        "2100-03-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:00:60Z",
        "2026-01-01T00:00:00.Z",
        "2026-1-1T00:00:00Z",
        "2026-01-01",
        "1969-12-31T23:59:59Z",
        "2026-01-01T00:00:00 Z",
        "2026-01-01T00:00:00+0100",
        "2026-01-01T00:00",
        "soon",
        "",
        "2026-01-01T00:00:03z",
        "2026/01/01T00:00:03Z",
        "0000-01-01T00:00:00Z",
        "2026-01-01T00:00:00,5",
        " 2026-01-01T00:00:03Z",
    ]
)
names = st.one_of(
    st.sampled_from(
        [
            "ann",
            "bob",
            "u000123",
            "exactly8",
            "sixteen characte",
            "müller",
            "",
            " ",
            "x" * 256,
            "y" * 257,
            "a/b-c_d.e@f",
        ]
    ),
    st.text(st.characters(codec="utf-8"), max_size=12),
)
others = st.sampled_from(
    [None, True, False, 0, 7, -3, 12345678901234567, 10**30, 1.5, [], ["a"], {"b": 1}, {"user": "eve"}, "200"]
)
values = st.one_of(names, names, others)


@st.composite
def json_lines(draw: st.DrawFn) -> bytes:
    """One line: mostly an event, in some form or other."""
    record = {
        "time": draw(st.one_of(times, times, times, others)),
        "user": draw(values),
        "action": draw(values),
        "outcome": draw(st.one_of(st.sampled_from(["success", "failure", "FAIL", "200", "404"]), others)),
    }
    for missing in draw(st.lists(st.sampled_from(["time", "user", "action", "outcome"]), max_size=1)):
        del record[missing]
    extra = draw(
        st.dictionaries(
            st.sampled_from(["ip", "note", "n", "users", "tim", "a key of some length"]), values, max_size=2
        )
    )
    items = draw(st.permutations([*record.items(), *extra.items()]))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " : ")]))
    return json.dumps(dict(items), ensure_ascii=draw(st.booleans()), separators=separators).encode()


broken = st.sampled_from(
    [
        b"",
        b" ",
        b"{}",
        b"[]",
        b"null",
        b"not json",
        b'{"time":"2026-01-01T00:00:03Z","user":"ann"',
        b"\xff\xfe",
        b"{\0}",
        b'{"time":"2026-01-01T00:00:03Z","user":"a","user":"b","action":"c","outcome":"success"}',
        b'{"time":"2026-01-01T00:00:03Z","user":"a","action":"c","outcome":"success"} ',
        b' {"time":"2026-01-01T00:00:03Z","user":"a","action":"c","outcome":"success"}',
        b'{"time":"2026-01-01T00:00:03Z","user":"a","action":"c","outcome":"success"}{}',
        b'{"time":"2026-01-01T00:00:03Z","user":"a","action":"c","outcome":"success",}',
        b'{"time":"2026-01-01T00:00:03Z","user":"a","action":"c","n":01}',
        b'{"time":"2026-01-01T00:00:03Z","user":"a","action":"c","n":-0}',
        b'{"time":"2026-01-01T00:00:03Z","user":"a","action":"c","n":1.}',
        b'{"time":"2026-01-01T00:00:03Z","user":"a","action":"c","n":NaN}',
        b'{"time":"2026-01-01T00:00:03Z","user":"a","action":"c","n":nulle}',
        b'{"time":"2026-01-01T00:00:03Z","user":"\xe9","action":"c"}',
        b'{"time":"2026-01-01T00:00:03Z","user":"a\tb","action":"c"}',
        b'{"time":"2026-01-01T00:00:03Z","user":"\xed\xa0\x80","action":"c"}',
        b'{"time":"2026-01-01T00:00:03Z","user":"\\u0061","action":"c"}',
        b'{"t\\u0069me":"2026-01-01T00:00:03Z","user":"a","action":"c"}',
        b'{"time":"2026-01-01T00:00:03Z","user":"\xf0\x9f\x98\x80","action":"\xe2\x82\xac","outcome":-0}',
        b'{"time":"2026-01-01T00:00:03Z"}}',
    ]
)
ends = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\r\r\n"])
sizes = st.sampled_from([64, 200, 1000, 1 << 20])


def joined(lines: list[tuple[bytes, bytes]], *, closed: bool) -> bytes:
    """Lines with their ends, the last one without if not `closed`."""
    return b"".join(line + end for line, end in lines[:-1]) + b"".join(lines[-1] if closed else lines[-1][:1])


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.one_of(json_lines(), json_lines(), broken), ends), min_size=1, max_size=40),
    st.booleans(),
    sizes,
)
def test_any_ndjson_is_read_as_the_general_reader_reads_it(
    lines: list[tuple[bytes, bytes]],
    closed: bool,
    size: int,
) -> None:
    """Regular and odd lines in any mixture and any blocks give the same rows, codes and quarantine."""
    content = REGULAR.encode() + joined(lines, closed=closed)
    assert fast(source_of(content, REGULAR), size) == generally(source_of(content, REGULAR))


fields = st.one_of(names, st.sampled_from(["success", "failure", "200", "5 inch", "null", "-", "3.5"])).map(
    lambda text: text.replace("\r", "").replace("\0", "").replace("\n", "")
)


@st.composite
def csv_records(draw: st.DrawFn) -> bytes:
    """One well-formed record: fields quoted where they must be, and sometimes where not."""
    texts = [draw(times), draw(fields), draw(fields), draw(fields), draw(st.one_of(fields, st.just("two\nlines")))]
    texts = texts[: draw(st.sampled_from([5, 5, 5, 5, 4]))] + draw(st.sampled_from([[], [], [], [""], ["more"]]))
    quoted = (f'"{text.replace(chr(34), chr(34) * 2)}"' for text in texts)
    must = (any(sign in text for sign in ',"\n') for text in texts)
    return ",".join(
        q if m or draw(st.integers(0, 9)) == 0 else t for q, m, t in zip(quoted, must, texts, strict=True)
    ).encode()


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(csv_records(), ends), min_size=1, max_size=40), st.booleans(), sizes)
def test_any_csv_is_read_as_the_general_reader_reads_it(
    records: list[tuple[bytes, bytes]],
    closed: bool,
    size: int,
) -> None:
    """Plain, quoted, ragged and blank records, also over several lines, in any blocks."""
    start = HEADER + "2026-01-01T00:00:03Z,ann,login,success,\n"
    content = start.encode() + joined(records, closed=closed)
    assert fast(source_of(content, start), size) == generally(source_of(content, start))


wrecks = st.lists(
    st.sampled_from(
        [
            b'"',
            b'""',
            b",",
            b"\n",
            b"\r",
            b"\r\n",
            b"\0",
            b"\xe9",
            "é".encode(),
            b"ann",
            b" ",
            b"\n2026-01-01T00:00:03Z,ann,login,ok,\n",
        ]
    ),
    max_size=40,
).map(b"".join)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(wrecks)
@example(
    b'2026-01-01T00:00:03Z,"a,b,c,d\n2026-01-01T00:00:03Z,ann,login,ok,\n\xe9"\n2026-01-01T00:00:04Z,ann,login,ok,\n'
)
def test_wrecked_csv_is_read_as_the_general_reader_reads_it(wreck: bytes) -> None:
    """Quotes that never close, stray returns, NULs and wrong bytes: where a record ends, the general reader decides."""
    start = HEADER + "2026-01-01T00:00:03Z,ann,login,success,\n"
    content = start.encode() + wreck
    assert fast(source_of(content, start), 1 << 20) == generally(source_of(content, start))


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (
            "epoch_s",
            [
                "1767225603",
                "1767225603.25",
                "1767225603.123456",
                "0",
                "-5",
                "1767225603.1234567",
                "9223372036854775807",
                "x",
            ],
        ),
        ("epoch_ms", ["1767225603000", "1767225603000.5", "1767225603001", "99999999999999999"]),
        ("epoch_us", ["1767225603000001", "1767225603000002"]),
        ("epoch_ns", ["1767225603000001999", "1767225603000001"]),
    ],
)
@pytest.mark.parametrize("form", ['{{"time":{0},"user":"ann","action":"login"}}\n', "{0},ann,login\n"])
def test_times_as_numbers_are_read_alike(kind: str, texts: list[str], form: str) -> None:
    """Seconds, milli-, micro- and nanoseconds since 1970, whole or not, one to a file."""
    for text in texts:
        choice = FieldChoice(time="time", user="user", action="action", time_format=kind)
        header = "" if form.startswith("{{") else "time,user,action\n"
        start = header + form.format(texts[0])
        content = (start + form.format(text)).encode()
        assert fast(source_of(content, start, choice), 1 << 20) == generally(source_of(content, start, choice)), text


def test_naive_times_of_another_zone_go_the_general_way() -> None:
    """A time without a zone is read in the zone that the user names."""
    content = REGULAR.replace("Z", "").encode() + REGULAR.encode()
    found = fast(source_of(content, REGULAR, timezone="Europe/Berlin"), 1 << 20)
    assert found == generally(source_of(content, REGULAR, timezone="Europe/Berlin"))
    assert [row[1].hour for row in found["rows"]] == [23, 0]


def regular(count: int, users: int) -> bytes:
    """Regular lines with many users."""
    line = '{{"time":"2026-01-01T00:00:{:02d}Z","user":"user-number-{}","action":"do-{}","outcome":"{}"}}\n'
    return "".join(
        line.format(i * 60 // count, i * i % users, i % 7, ("ok", "fail")[i % 11 == 0]) for i in range(count)
    ).encode()


def test_tables_grow_and_codes_do_not_depend_on_blocks_or_workers() -> None:
    """Tens of thousands of users in small blocks are coded in order of first appearance."""
    content = regular(30_000, 20_011)
    assert fast(source_of(content, REGULAR), 10_000) == generally(source_of(content, REGULAR))


@pytest.mark.parametrize("after", [0, 1, 3])
def test_reading_resumes_behind_any_cursor(after: int) -> None:
    """What comes after a cursor is what would have come."""
    content = regular(500, 50) + b"odd\n" + regular(500, 60)
    source = source_of(content, REGULAR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "LEAST_BYTES", 0)
        patch.setattr(readers, "BLOCK_BYTES", 9000)
        pairs = list(source.read_coded(Coding()))
        rest = list(source.read_coded(Coding(), pairs[after][1]))
    columns = ["position", "time", "outcome"]
    expected = pl.concat([frame for frame, _ in pairs[after + 1 :]])
    assert pl.concat([frame for frame, _ in rest]).select(columns).equals(expected.select(columns))
    assert source.quarantine.reasons["not JSON"] >= 1


def test_a_line_larger_than_a_block_is_quarantined_and_the_next_one_read() -> None:
    """Nothing of a line above the limit is held but its beginning."""
    content = REGULAR.encode() + b'{"user":"' + b"x" * (5 << 20) + b'"}\n' + REGULAR.encode()
    found = fast(source_of(content, REGULAR), 1 << 16)
    assert [row[0] for row in found["rows"]] == [1, 3]
    assert found["reasons"] == {"line longer than 1 MiB": 1}


def test_compressed_files_and_several_files_are_read_alike(tmp_path: Path) -> None:
    """Positions run on over the files, and damage is said."""
    (tmp_path / "a.ndjson").write_bytes(regular(300, 20))
    (tmp_path / "b.ndjson.gz").write_bytes(gzip.compress(b"odd\n" + regular(300, 40)))
    (tmp_path / "c.ndjson.gz").write_bytes(gzip.compress(regular(3000, 40))[:-400])
    (tmp_path / "d.ndjson").write_bytes(regular(30, 60))
    found = fast(open_source(str(tmp_path)), 5000)
    assert found == generally(open_source(str(tmp_path)))
    assert found["reasons"] == {"not JSON": 1, "truncated gzip file": 1}


def test_a_file_without_any_event_is_an_error() -> None:
    """Nothing readable is said, with the first reasons."""
    with pytest.raises(EventError, match="no row could be read as an event"):
        fast(source_of(b"junk\njunk\n", REGULAR), 1 << 20)


def test_the_lanes_agree_on_limits() -> None:
    """The longest line and the block are the same for both readers."""
    assert (readers.LINE_LIMIT, readers.BLOCK_BYTES) == (streams.LINE_LIMIT, streams.BLOCK_BYTES)
