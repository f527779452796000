"""Nothing that a log may hold crashes the reader, and nothing disappears: event, quarantined row or clear error."""

from __future__ import annotations

import codecs
import gzip
import json
import os
from pathlib import Path

import polars as pl
import pytest
import zstandard

import amiss
from amiss.errors import EventError, SourceError
from amiss.fields import FieldChoice
from amiss.sources import open_source
from amiss.sources.files import FileSource

HEADER = "time,user,action,status\n"
ROW = "2019-01-01 00:00:53,ann,login,ok\n"


def line(**values: object) -> bytes:
    """A JSON line with these values beside a time, a user and an action."""
    event = {"time": "2019-01-01T00:00:53Z", "user": "ann", "action": "login"} | values
    return json.dumps(event, ensure_ascii=False).encode() + b"\n"


def opened(tmp_path: Path, data: bytes | str, name: str = "log") -> FileSource:
    """The source of a file that holds these data."""
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return open_source(str(path))


def events(source: FileSource) -> pl.DataFrame:
    """All events of a source."""
    return pl.concat([frame for frame, _ in source.read()])


def rejected(source: FileSource) -> list[tuple[int, str]]:
    """Line and reason of what a source quarantined."""
    return [(bad.position, bad.reason) for bad in source.quarantine.samples]


def test_a_truncated_gzip_keeps_what_came_before(tmp_path: Path) -> None:
    """A gzip file that breaks off gives the lines before, and one quarantined row that says why."""
    lines = [line(user=f"user{number * 7919 % 10007}") for number in range(5000)]
    source = opened(tmp_path, gzip.compress(b"".join(lines))[:-3000], "log.gz")
    users = events(source)["user"].to_list()
    assert 1000 < len(users) < 5000
    assert users == [f"user{number * 7919 % 10007}" for number in range(len(users))]
    assert rejected(source) == [(len(users) + 1, "truncated gzip file")]


def test_a_damaged_gzip_keeps_what_came_before(tmp_path: Path) -> None:
    """Garbage behind a gzip member is one quarantined row."""
    source = opened(tmp_path, gzip.compress(line() * 3) + b"garbage", "log.gz")
    assert events(source)["position"].to_list() == [1, 2, 3]
    assert rejected(source) == [(4, "damaged gzip data")]


def test_a_truncated_zstd_keeps_what_came_before(tmp_path: Path) -> None:
    """A zstd file that breaks off gives what its whole blocks hold."""
    lines = [line(user=f"user{number * 7919 % 100_003}") for number in range(50_000)]
    source = opened(tmp_path, zstandard.compress(b"".join(lines))[:-2000], "log.zst")
    assert 10_000 < len(events(source)) < 50_000
    assert source.quarantine.reasons == {"truncated zstd file": 1}


def test_gzip_members_follow_each_other(tmp_path: Path) -> None:
    """Rotated gzip files that were put together are read to the end."""
    source = opened(tmp_path, gzip.compress(line(user="ann")) + gzip.compress(line(user="bob")))
    assert events(source)["user"].to_list() == ["ann", "bob"]


def test_a_line_that_is_not_utf8_is_quarantined(tmp_path: Path) -> None:
    """One line in another encoding among UTF-8 goes to the quarantine with its number."""
    source = opened(tmp_path, line(user="Zoë") + b'{"time": "2019-01-01", "user": "Zo\xeb", "action": "x"}\n' + line())
    assert events(source)["user"].to_list() == ["Zoë", "ann"]
    assert rejected(source) == [(2, "not UTF-8")]


def test_a_file_in_latin1_is_decoded(tmp_path: Path) -> None:
    """A file whose lines are all Latin-1 is read as such."""
    rows = "".join(f"2019-01-01 00:00:5{n},Zoë,ação,ok\n" for n in range(4))
    source = opened(tmp_path, (HEADER + rows).encode("latin-1"))
    assert events(source).select("user", "action").unique().rows() == [("Zoë", "ação")]


@pytest.mark.parametrize("bom", [codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
def test_utf16_with_a_mark_is_decoded(tmp_path: Path, bom: bytes) -> None:
    """A UTF-16 file that begins with its byte order mark is read."""
    codec = "utf-16-le" if bom == codecs.BOM_UTF16_LE else "utf-16-be"
    assert events(opened(tmp_path, bom + (HEADER + ROW).encode(codec)))["user"].to_list() == ["ann"]


def test_a_utf8_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    """A UTF-8 byte order mark before the header does not matter."""
    assert events(opened(tmp_path, codecs.BOM_UTF8 + (HEADER + ROW).encode()))["user"].to_list() == ["ann"]


def test_nul_bytes_are_quarantined(tmp_path: Path) -> None:
    """A line with NUL bytes, as crashes leave them, goes to the quarantine."""
    source = opened(tmp_path, line() + b"\0" * 4096 + line() + line())
    assert events(source)["position"].to_list() == [1, 3]
    assert rejected(source) == [(2, "NUL byte")]


@pytest.mark.parametrize("size", [2 << 20, 10 << 20, 20 << 20])
def test_a_long_line_is_quarantined(tmp_path: Path, size: int) -> None:
    """A line above 1 MiB is one quarantined row; the lines around it are read, at their positions."""
    source = opened(tmp_path, line() + line(user="x" * size) + line(user="bob"))
    assert events(source).select("position", "user").rows() == [(1, "ann"), (3, "bob")]
    assert rejected(source) == [(2, "line longer than 1 MiB")]


@pytest.mark.parametrize("size", [300 << 10, 2 << 20])
def test_a_long_first_line_does_not_hide_the_others(tmp_path: Path, size: int) -> None:
    """What the columns are is seen from the lines behind a first one that is very long."""
    source = opened(tmp_path, line(junk="x" * size) + line(user="bob") + line(user="cid"))
    assert events(source)["user"].to_list()[-2:] == ["bob", "cid"]
    assert events(source).height + source.quarantine.total == 3


def test_damage_that_leaves_nothing_is_named(tmp_path: Path) -> None:
    """A gzip file cut within its first bytes is not called empty."""
    with pytest.raises(SourceError, match="holds no events: truncated gzip file"):
        opened(tmp_path, gzip.compress(line())[:10], "log.gz")


def test_a_long_last_line_is_quarantined(tmp_path: Path) -> None:
    """A line above the limit that the file ends in is quarantined too."""
    source = opened(tmp_path, line() + b"x" * (9 << 20))
    assert len(events(source)) == 1
    assert rejected(source) == [(2, "line longer than 1 MiB")]


def test_an_empty_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    """An empty file is a clear error."""
    with pytest.raises(SourceError, match=r"nothing\.log is empty"):
        opened(tmp_path, b"", "nothing.log")


def test_a_table_of_nothing_but_names_of_columns_is_told_as_such(tmp_path: Path) -> None:
    """A CSV file with a header and no rows is not blamed for its columns, and another file beside it is read."""
    path = tmp_path / "log.csv"
    path.write_text("time,user,action\n")
    with pytest.raises(EventError, match=r"log\.csv: no rows below .* \(time, user, action\)"):
        amiss.scan(path)
    (tmp_path / "next.csv").write_text("time,user,action\n2026-01-01T00:00:00Z,ann,view\n")
    assert amiss.scan(tmp_path).summary.events == 1


def test_a_file_of_nothing_but_blanks_is_an_error(tmp_path: Path) -> None:
    """A file of blank lines or NUL bytes has no events."""
    with pytest.raises(SourceError, match="holds no events: only blanks and NUL bytes"):
        opened(tmp_path, b"\n\n \0\0\n")


def test_a_file_of_which_no_row_is_an_event_is_an_error_with_reasons(tmp_path: Path) -> None:
    """When every row is quarantined, the error shows the first reasons."""
    source = opened(tmp_path, HEADER + ROW + ROW)
    (tmp_path / "log").write_text(HEADER + "soon,ann,login,ok\n,,\n")
    with pytest.raises(EventError, match="no row could be read") as error:
        events(source)
    assert 'log:2: column "time" holds no time' in str(error.value)
    assert "log:3: 3 fields instead of 4" in str(error.value)


def test_missing_columns_are_listed_with_what_was_found(tmp_path: Path) -> None:
    """A CSV whose header names neither user nor action says what it found and how to map it."""
    with pytest.raises(EventError) as error:
        opened(tmp_path, "a,b,c\n2019-01-01 00:00:00,red,3.5\n2019-01-01 00:00:01,blue,4.5\n")
    message = str(error.value)
    assert "no column looks like the user or the action" in message
    assert "b: red, blue" in message
    assert "--user COLUMN --action COLUMN" in message


def test_an_unknown_pinned_column_offers_the_nearest(tmp_path: Path) -> None:
    """A pinned column that does not exist is an error with the nearest name."""
    path = tmp_path / "log.csv"
    path.write_text(HEADER + ROW)
    with pytest.raises(EventError, match=r'there is no column "usr" for user\. Did you mean "user"\?'):
        open_source(str(path), fields=FieldChoice(user="usr"))


def test_a_wrong_header_in_a_later_file_is_an_error(tmp_path: Path) -> None:
    """A second CSV file without the user column is an error that names the file."""
    (tmp_path / "a.csv").write_text(HEADER + ROW)
    (tmp_path / "b.csv").write_text("time,who,action\n2019-01-02 00:00:00,bob,login\n")
    with pytest.raises(EventError, match=r"b\.csv: column user is missing\. Found: time, who, action"):
        events(open_source(str(tmp_path)))


def test_ragged_rows_are_quarantined(tmp_path: Path) -> None:
    """CSV rows with too few or too many fields go to the quarantine; empty fields too many are borne."""
    source = opened(tmp_path, HEADER + ROW + "2019-01-01,bob\n" + "2019-01-01,cy,x,ok,,\n" + "2019-01-01,d,x,ok,7\n")
    assert events(source)["user"].to_list() == ["ann", "cy"]
    assert rejected(source) == [(3, "2 fields instead of 4"), (5, "5 fields instead of 4")]


def test_quoted_newlines_are_part_of_the_value(tmp_path: Path) -> None:
    """A quoted CSV field may run over lines; the row stands where it begins."""
    source = opened(tmp_path, HEADER + ROW + '2019-01-01 00:01:00,"eve\nadams",login,ok\n' + ROW)
    assert events(source).select("position", "user").rows() == [(2, "ann"), (3, "eve\nadams"), (5, "ann")]


def test_a_quote_that_is_never_closed_costs_one_row(tmp_path: Path) -> None:
    """Rows behind an open quote are read."""
    source = opened(tmp_path, HEADER + '2019-01-01,"bob,login,ok\n' + ROW * 3)
    assert events(source)["position"].to_list() == [3, 4, 5]
    assert rejected(source) == [(2, "quote is never closed")]


def test_times_out_of_order_and_doubled_rows_are_kept(tmp_path: Path) -> None:
    """Order and repetition are for the detectors to judge."""
    source = opened(tmp_path, HEADER + "2019-01-02,ann,x,ok\n" + "2019-01-01,ann,x,ok\n" * 2)
    assert [time.day for time in events(source)["time"]] == [2, 1, 1]


def test_of_doubled_keys_the_last_counts(tmp_path: Path) -> None:
    """As in every common JSON reader, the last of two equal keys wins."""
    source = opened(tmp_path, line() + b'{"time": "2019-01-01", "user": "ann", "user": "bob", "action": "x"}\n')
    assert events(source)["user"].to_list() == ["ann", "bob"]


def test_nested_values_ride_along_as_json(tmp_path: Path) -> None:
    """Nested records and lists are no reason to fail."""
    source = opened(tmp_path, line(extra={"a": [1, {"b": None}]}, tags=["x", "y"]))
    frame = events(source)
    assert frame["tags"].to_list() == ["x,y"]
    assert frame["extra.a"].to_list() == ['[1, {"b": null}]']


def test_deeply_nested_json_is_quarantined(tmp_path: Path) -> None:
    """A bomb of brackets goes to the quarantine."""
    source = opened(tmp_path, line() + b'{"user": ' + b"[" * 100_000 + b"\n")
    assert len(events(source)) == 1
    assert rejected(source) == [(2, "not JSON")]


def test_nan_is_nothing(tmp_path: Path) -> None:
    """NaN, which is no JSON but often written, reads as nothing there."""
    source = opened(tmp_path, line(amount=float("nan")) + line(amount=1.25) + line(user=float("nan")))
    frame = events(source)
    assert frame["amount_cents"].to_list() == [None, 125]
    assert rejected(source) == [(3, 'column "user" names no user')]


def test_numbers_of_any_size_are_texts(tmp_path: Path) -> None:
    """User numbers become texts, whole ones without a point, huge ones too."""
    source = opened(tmp_path, line(user=7) + line(user=7.0) + line(user=10**30) + line(user=True) + line(user="7"))
    assert events(source)["user"].to_list() == ["7", "7", "1" + "0" * 30, "true", "7"]


def test_a_number_of_5000_digits_does_not_crash(tmp_path: Path) -> None:
    """Python refuses to write out such numbers; the row is quarantined or read, not a crash."""
    source = opened(tmp_path, line() + b'{"time": "2019-01-01", "user": ' + b"9" * 5000 + b', "action": "x"}\n')
    assert len(events(source)) + source.quarantine.total == 2


def test_carriage_returns_end_lines_too(tmp_path: Path) -> None:
    """CRLF files read like LF files."""
    source = opened(tmp_path, (HEADER + ROW + ROW).replace("\n", "\r\n"))
    assert events(source).select("outcome", "position").rows() == [("success", 2), ("success", 3)]


def test_glued_objects_are_quarantined(tmp_path: Path) -> None:
    """Two objects on one line, as a lost line end leaves them, go to the quarantine."""
    source = opened(tmp_path, line() + line().strip() + line() + line())
    assert events(source)["position"].to_list() == [1, 3]
    assert rejected(source) == [(2, "more than one JSON object on a line")]


def test_values_that_are_no_objects_are_quarantined(tmp_path: Path) -> None:
    """Numbers, lists and broken lines among objects go to the quarantine."""
    source = opened(tmp_path, line() + b"7\n[1]\n{oops\nplain words\n\n" + line())
    assert events(source)["position"].to_list() == [1, 7]
    assert rejected(source) == [(2, "not a JSON object"), (3, "not a JSON object"), (4, "not JSON"), (5, "not JSON")]


@pytest.mark.parametrize(
    "user", ["<script>alert(1)</script>", "=cmd()", "a\nb", "\u202egnihsihp", "\x1b[31m", "💥", " "]
)
def test_odd_user_names_come_through_as_they_are(tmp_path: Path, user: str) -> None:
    """Names are data: what shows them escapes them."""
    assert events(opened(tmp_path, line(user=user)))["user"].to_list() == [user]


def test_a_user_name_of_10000_characters_is_cut_and_stays_distinct(tmp_path: Path) -> None:
    """Long names are cut to 256 characters that end in a hash, so that different ones stay different."""
    names = events(opened(tmp_path, line(user="a" * 10_000) + line(user="a" * 10_001)))["user"].to_list()
    assert [len(name) for name in names] == [256, 256]
    assert names[0] != names[1]


def test_lone_surrogates_are_quarantined(tmp_path: Path) -> None:
    """Half a character is no text."""
    source = opened(tmp_path, line() + b'{"time": "2019-01-01", "user": "\\ud800", "action": "x"}\n')
    assert events(source)["user"].to_list() == ["ann"]
    assert rejected(source) == [(2, "not JSON")]


def test_strict_fails_at_the_first_row_that_cannot_be_read(tmp_path: Path) -> None:
    """With `strict` the first bad row is an error with file and line."""
    path = tmp_path / "log"
    path.write_bytes(line() + b"{oops\n" + line())
    with pytest.raises(EventError, match=r"log:2: not JSON: \{oops"):
        events(open_source(str(path), strict=True))


def test_unknown_schemes_list_what_there_is() -> None:
    """An address of an unknown kind is an error that lists the known ones."""
    with pytest.raises(SourceError, match=r'no source for "gopher://"\. Give a path, a directory'):
        open_source("gopher://host/log")


def test_a_file_that_does_not_exist_offers_the_nearest(tmp_path: Path) -> None:
    """A mistyped path is an error with the nearest name."""
    (tmp_path / "access.log").write_text("x")
    with pytest.raises(SourceError, match=r'does not exist. Did you mean "access\.log"\?'):
        open_source(str(tmp_path / "acces.log"))


def test_a_pattern_without_match_is_an_error(tmp_path: Path) -> None:
    """A pattern that matches nothing says so."""
    with pytest.raises(SourceError, match=r"matches no file\. Give"):
        open_source(str(tmp_path / "*.log"))


def test_an_empty_path_is_not_the_working_directory() -> None:
    """An unset variable in a script does not scan whatever is here."""
    with pytest.raises(SourceError, match="empty"):
        open_source("")


def test_a_file_of_a_directory_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """A directory is read whole or not at all: no file of it disappears."""
    (tmp_path / "a.log").write_bytes(line())
    (tmp_path / "b.log").write_bytes(line())
    (tmp_path / "b.log").chmod(0)
    if os.access(tmp_path / "b.log", os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(SourceError, match=r"b\.log cannot be read: Permission denied"):
        events(open_source(str(tmp_path)))


def test_a_zip_archive_is_named_as_such(tmp_path: Path) -> None:
    """Files of other kinds are told by their first bytes."""
    with pytest.raises(SourceError, match="is a ZIP archive, which amiss does not read"):
        opened(tmp_path, b"PK\x03\x04...")


def test_plain_words_are_of_no_known_format(tmp_path: Path) -> None:
    """Prose is an error that shows how it begins."""
    with pytest.raises(SourceError, match=r"of no format that amiss knows\. It begins with: 'Dear diary"):
        opened(tmp_path, "Dear diary\nnothing happened today\n")


def test_quarantined_text_is_bounded(tmp_path: Path) -> None:
    """At most 200 characters of a bad row are kept."""
    source = opened(tmp_path, line() + b"{" + b"x" * 100_000 + b"\n")
    events(source)
    assert len(source.quarantine.samples[0].text) == 200
