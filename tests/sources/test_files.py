"""Files of every format, one or many, whole or resumed."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path

import polars as pl
import pytest
import zstandard

from amiss.errors import EventError, SourceError
from amiss.events import check
from amiss.sources import Cursor, Source, open_source, streams
from amiss.sources.files import FileSource

TIMES = [f"2019-01-01T00:{minute:02}:{second:02}Z" for minute in range(10) for second in range(60)]
RAW = pl.DataFrame(
    {
        "time": TIMES,
        "user": [f"user{n % 7}" for n in range(600)],
        "action": ["login", "view, item", 'say "hi"'] * 200,
        "status": ["ok", "fail"] * 300,
        "extra": [str(n) for n in range(600)],
    }
)


def written(path: Path) -> Path:
    """The path with the events of RAW written in the format that its name tells."""
    inner = path.name.removesuffix(".gz").removesuffix(".zst").rpartition(".")[2]
    buffer = io.BytesIO()
    if inner == "parquet":
        RAW.write_parquet(path)
        return path
    if inner == "ndjson":
        RAW.write_ndjson(buffer)
    elif inner == "json":
        buffer.write(json.dumps(RAW.to_dicts(), indent=1).encode())
    else:
        RAW.write_csv(buffer, separator={"csv": ",", "tsv": "\t", "scsv": ";"}[inner])
    data = buffer.getvalue()
    pack = {".gz": gzip.compress, ".zst": zstandard.compress}.get(path.suffix, bytes)
    path.write_bytes(pack(data))
    return path


def read(source: Source) -> pl.DataFrame:
    """All events, checked against the declared columns."""
    return pl.concat([check(frame) for frame, _ in source.read()])


FORMATS = ["log.ndjson", "log.json", "log.csv", "log.tsv", "log.scsv", "log.parquet", "log.csv.gz", "log.ndjson.zst"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_events(tmp_path: Path, name: str) -> None:
    """The same log in each format, found by content: the same events."""
    path = written(tmp_path / name).rename(tmp_path / "log")
    frame = read(open_source(str(path)))
    assert frame["user"].to_list() == RAW["user"].to_list()
    assert frame["action"].to_list() == RAW["action"].to_list()
    assert frame["outcome"].to_list() == ["success", "failure"] * 300
    assert frame["extra"].to_list() == RAW["extra"].to_list()
    assert frame["time"].dt.strftime("%Y-%m-%dT%H:%M:%SZ").to_list() == TIMES
    shift = 2 if "sv" in name else 1
    assert frame["position"].to_list() == list(range(shift, 600 + shift))


@pytest.mark.parametrize("name", FORMATS)
def test_reading_resumes_behind_every_cursor(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a cursor on, exactly the rows that came after it; two files, small blocks."""
    monkeypatch.setattr(streams, "BLOCK_BYTES", 4000)
    monkeypatch.setattr("amiss.sources.files.LINES_PER_FRAME", 100)
    for number in "12":
        written(tmp_path / f"{number}{name}")
    source = open_source(str(tmp_path))
    parts = list(source.read())
    assert len(parts) > 4 or "json" in name
    assert sum(len(frame) for frame, _ in parts) == 1200
    none = parts[0][0].clear()
    for done, (_, cursor) in [*enumerate(parts, start=1)][::3]:
        rest = [frame for frame, _ in open_source(str(tmp_path)).read(Cursor(cursor.token))]
        assert pl.concat([none, *rest]).equals(pl.concat([none, *(frame for frame, _ in parts[done:])]))


def test_positions_run_on_over_files(tmp_path: Path) -> None:
    """Lines of the files before count; the quarantine holds file and line."""
    (tmp_path / "a.csv").write_text("time,user,action\n2019-01-01,ann,x\n2019-01-01,bob,x\n")
    (tmp_path / "b.csv").write_text("time,user,action\nsoon,cy,x\n2019-01-01,dan,x\n")
    source = open_source(str(tmp_path))
    assert read(source)["position"].to_list() == [2, 3, 6]
    assert [(Path(bad.file).name, bad.position) for bad in source.quarantine.samples] == [("b.csv", 2)]


def test_rotated_logs_are_read_oldest_first(tmp_path: Path) -> None:
    """`log.2.gz` comes before `log.1`, and that before `log`."""
    for name, user in (("app.log", "now"), ("app.log.1", "before"), ("app.log.2.gz", "long ago")):
        data = f"time,user,action\n2019-01-01,{user},x\n".encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert read(open_source(str(tmp_path / "app.log*")))["user"].to_list() == ["long ago", "before", "now"]


def test_columns_may_stand_in_another_order_in_the_next_file(tmp_path: Path) -> None:
    """Every CSV file has its own header."""
    (tmp_path / "a.csv").write_text("time,user,action\n2019-01-01,ann,x\n")
    (tmp_path / "b.csv").write_text("action,user,time\ny,bob,2019-01-02\n")
    assert read(open_source(str(tmp_path))).select("user", "action").rows() == [("ann", "x"), ("bob", "y")]


def test_empty_files_among_others_do_not_matter(tmp_path: Path) -> None:
    """An empty file in a directory is passed over."""
    (tmp_path / "a.csv").write_text("")
    (tmp_path / "b.csv").write_text("time,user,action\n2019-01-01,ann,x\n")
    assert len(read(open_source(str(tmp_path)))) == 1


def test_files_of_two_kinds_are_not_mixed(tmp_path: Path) -> None:
    """CSV and JSON in one directory: an error that names the file."""
    written(tmp_path / "a.csv")
    written(tmp_path / "b.ndjson")
    with pytest.raises(SourceError, match=r"b\.ndjson is ndjson, but the first file is csv"):
        read(open_source(str(tmp_path)))


def test_addresses_of_files_may_be_urls(tmp_path: Path) -> None:
    """`file://` with percent signs is a path."""
    path = written(tmp_path / "a log.csv")
    assert len(read(open_source(path.as_uri()))) == 600


def test_standard_input_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is standard input, compressed or not; reading twice is an error that says what to do."""
    with written(tmp_path / "log.csv.gz").open("rb") as file, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read())))
        source = open_source("-")
        assert len(read(source)) == 600
        with pytest.raises(SourceError, match="only once"):
            read(source)


def test_reading_again_counts_the_quarantine_anew(tmp_path: Path) -> None:
    """Two readings of one source do not double what was quarantined."""
    path = tmp_path / "log"
    path.write_text("time,user,action\n2019-01-01,ann,x\nsoon,ann,x\n")
    source = open_source(str(path))
    read(source)
    read(source)
    assert source.quarantine.total == 1


def test_a_wrapped_list_of_records_is_read(tmp_path: Path) -> None:
    """`{"Records": [...]}` on one line, as CloudTrail delivers it, gives its records."""
    record = {
        "eventTime": "2024-05-01T10:00:00Z",
        "eventSource": "s3",
        "eventName": "Get",
        "userIdentity": {"arn": "ann"},
    }
    path = tmp_path / "trail.json"
    path.write_text(json.dumps({"Records": [record, record | {"errorCode": "Denied"}]}))
    source = open_source(str(path))
    frame = read(source)
    assert source.fields.preset == "cloudtrail"
    assert frame.select("position", "user", "outcome").rows() == [(1, "ann", "success"), (2, "ann", "failure")]


def test_a_broken_record_of_a_list_is_quarantined(tmp_path: Path) -> None:
    """What stands between readable records of a JSON list goes to the quarantine."""
    good = '{"time": "2019-01-01", "user": "ann", "action": "x"}'
    path = tmp_path / "list.json"
    path.write_text(f"[{good},\n{{oops}},\n{good}, 7]")
    source = open_source(str(path))
    assert len(read(source)) == 2
    assert sorted(source.quarantine.reasons) == ["not JSON", "not a JSON object"]


def test_nested_parquet_is_flattened(tmp_path: Path) -> None:
    """Struct columns are read by dotted names."""
    path = tmp_path / "log.parquet"
    rows = [{"@timestamp": "2024-05-01T10:00:00Z", "user": {"name": "ann"}, "event": {"action": "x"}}]
    pl.DataFrame(rows).write_parquet(path)
    assert read(open_source(str(path))).select("user", "action").rows() == [("ann", "x")]


def test_damaged_parquet_is_an_error(tmp_path: Path) -> None:
    """A Parquet file that breaks off cannot be read, and the error names it."""
    path = written(tmp_path / "log.parquet")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SourceError, match=r"log\.parquet is not a Parquet file that can be read"):
        open_source(str(path))


def test_blocks_and_lines_give_what_reading_gives(tmp_path: Path) -> None:
    """The parts that faster readers build on agree with `read`."""
    source = open_source(str(written(tmp_path / "log.csv")))
    frames = []
    for block in source.blocks():
        lines = enumerate(block.data.split(b"\n")[:-1], start=block.first_line)
        frames.append(source.parse_lines(list(lines), block.file))
    assert pl.concat(frames).equals(read(source))


def test_a_headless_csv_asks_for_columns(tmp_path: Path) -> None:
    """Without a header columns are numbered, and the error shows what they hold."""
    path = tmp_path / "log.csv"
    path.write_text("2019-01-01 00:00:00,ann,login\n2019-01-01 00:00:01,bob,buy\n")
    with pytest.raises(EventError, match="column_2: ann, bob"):
        open_source(str(path))


def test_a_file_source_is_a_source(tmp_path: Path) -> None:
    """It keeps the promises of the protocol."""
    source = open_source(str(written(tmp_path / "log.csv")))
    assert isinstance(source, FileSource)
    assert isinstance(source, Source)


def test_a_table_that_begins_with_times_and_holds_user_agents_is_no_syslog(tmp_path: Path) -> None:
    """The commas behind the time tell it from lines of a system's log."""
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"
    row = f'2026-02-02T00:00:46.630Z,ann,login,success,"{agent}",AS64500 Example\n'
    path = tmp_path / "logins.csv"
    path.write_text("time,user,action,outcome,user_agent,provider\n" + row * 20)
    found = open_source(str(path))
    assert found.format.kind == "csv"
    assert found.fields.roles["user_agent"].column == "user_agent"
