"""Alerts in files are whole, in order, and run nowhere."""

from __future__ import annotations

import csv
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from amiss import testing
from amiss.alerts import Alert
from amiss.errors import SinkError
from amiss.sinks import open_sink

NAMES = ("a.jsonl", "a.csv", "a.ocsf.jsonl")


def ids(path: Path) -> list[str]:
    """The alerts in a file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        return [row["alert_id"] for row in csv.DictReader(text.splitlines())]
    return [record.get("alert_id") or record["metadata"]["uid"] for record in map(json.loads, text.splitlines())]


@pytest.mark.parametrize("name", NAMES)
def test_alerts_are_appended_in_order(tmp_path, three, name):
    """Each alert is a row behind those before it, also after a restart."""
    path = tmp_path / name
    open_sink(str(path)).write(three[:2])
    open_sink(str(path)).write(three[2:])
    assert ids(path) == ["3f2a9c4e", "a2", "a3"]


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_are_harmless_in_a_file(tmp_path, name):
    """Whatever users are called, the file holds one row for each alert and nothing that steers a terminal."""
    path = tmp_path / name
    testing.check_sink(lambda: open_sink(str(path)), lambda: path.read_text(encoding="utf-8"))
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2 * len(testing.HOSTILE) + 2 + (name == "a.csv")


def test_json_lines_read_back_to_the_same_alerts(tmp_path):
    """Nothing is lost, not even what is escaped."""
    path = tmp_path / "a.jsonl"
    open_sink(str(path)).write(testing.hostile_alerts())
    read = [Alert.from_record(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    assert read == testing.hostile_alerts()


def test_no_cell_of_a_csv_file_is_a_formula(tmp_path):
    """A user called =cmd() stands behind an apostrophe, in the column of the user and where reasons name them."""
    path = tmp_path / "a.csv"
    open_sink(str(path)).write(testing.hostile_alerts())
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    assert rows[0][:7] == ["alert_id", "time", "user", "bits", "severity", "detectors", "reasons"]
    assert [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t"))] == []
    assert rows[2][2] == "'=cmd()"
    assert rows[2][5:7] == ["sequence 18.7", "'=cmd() came after =cmd() 3 of 4 times (18.7 bits)"]


def test_the_header_is_written_once(tmp_path, alert):
    """A CSV file has one header, however often it is opened."""
    path = tmp_path / "a.csv"
    for _ in range(3):
        open_sink(str(path)).write([alert])
    assert path.read_text(encoding="utf-8").count("alert_id") == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_torn_last_line_is_taken_away(tmp_path, three, name):
    """Wherever a crash cut the last line, the next alert follows the last whole one."""
    path = tmp_path / name
    sink = open_sink(str(path))
    sink.write(three[:1])
    whole = path.stat().st_size
    sink.write(three[1:2])
    both = path.read_bytes()
    for cut in range(whole + 1, len(both), 7):
        path.write_bytes(both[:cut])
        sink.write(three[2:])
        assert ids(path) == ["3f2a9c4e", "a3"], cut


@pytest.mark.parametrize("name", NAMES)
def test_a_first_line_may_be_torn_too(tmp_path, three, name):
    """A file cut anywhere in its first line is begun anew."""
    path = tmp_path / name
    sink = open_sink(str(path))
    sink.write(three[:1])
    first = path.read_bytes().split(b"\n")[0]
    for cut in range(0, len(first) - 1, 5):
        path.write_bytes(first[:cut])
        sink.write(three[1:])
        assert ids(path) == ["a2", "a3"], cut


@pytest.mark.parametrize("name", NAMES)
def test_a_last_line_that_lacks_only_its_end_stays(tmp_path, three, name):
    """An editor that left out the last end of line costs no alert."""
    path = tmp_path / name
    open_sink(str(path)).write(three[:2])
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    open_sink(str(path)).write(three[2:])
    assert ids(path) == ["3f2a9c4e", "a2", "a3"]


def test_a_line_that_amiss_did_not_write_stays(tmp_path, alert):
    """What another program wrote without an end of line is not taken for torn."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"other": 1}\nnot from here')
    open_sink(str(path)).write([alert])
    assert path.read_text().splitlines()[:2] == ['{"other": 1}', "not from here"]


def test_a_torn_line_of_any_length_is_found(tmp_path, three):
    """A last line longer than what is read at once is taken away as a whole."""
    path = tmp_path / "a.jsonl"
    open_sink(str(path)).write(three[:1])
    with path.open("a") as file:
        file.write('{"alert_id": "' + "x" * 200_000)
    open_sink(str(path)).write(three[1:])
    assert ids(path) == ["3f2a9c4e", "a2", "a3"]


def test_a_csv_file_with_other_columns_is_left_alone(tmp_path, alert):
    """Rows never go under a header that means something else."""
    path = tmp_path / "a.csv"
    path.write_text("name,colour\nann,red\n")
    sink = open_sink(str(path))
    for act in (lambda: sink.write([alert]), sink.check):
        with pytest.raises(SinkError, match="begins with other columns") as caught:
            act()
        assert caught.value.permanent
    assert path.read_text() == "name,colour\nann,red\n"


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path, three):
    """Rotation needs no signal: the next alert goes to a new file, with its header."""
    path = tmp_path / "a.csv"
    sink = open_sink(str(path))
    sink.write(three[:1])
    path.rename(tmp_path / "a.csv.1")
    sink.write(three[1:])
    assert ids(path) == ["a2", "a3"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_and_may_pass(tmp_path, alert):
    """The error names the file and the cause; trying again later may help."""
    path = tmp_path / "a.jsonl"
    path.symlink_to("/dev/full")
    with pytest.raises(SinkError, match=r"a\.jsonl cannot be written: No space left on device") as caught:
        open_sink(str(path)).write([alert])
    assert not caught.value.permanent


def test_a_disk_that_is_full_midway_leaves_no_part_of_an_alert(tmp_path, three):
    """Where only some of the bytes fit, the file ends where it did."""
    path = tmp_path / "a.jsonl"
    open_sink(str(path)).write(three[:1])
    before = path.read_bytes()
    code = f"""
import json, resource, signal, sys
from amiss.alerts import Alert
from amiss.errors import SinkError
from amiss.sinks import open_sink
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 100}, {len(before) + 100}))
try:
    open_sink({str(path)!r}).write([Alert.from_record(json.loads(sys.stdin.read()))])
except SinkError as error:
    print(error)
"""
    import subprocess

    record = json.dumps(three[1].record())
    run = subprocess.run([sys.executable, "-c", code], input=record, capture_output=True, text=True, check=True)
    assert "cannot be written: File too large" in run.stdout
    assert path.read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_is_said(tmp_path, alert):
    """The error says that permission is missing."""
    tmp_path.chmod(0o500)
    with pytest.raises(SinkError, match="Permission denied"):
        open_sink(str(tmp_path / "a.jsonl")).write([alert])


@pytest.mark.parametrize(("place", "why"), [("missing/a.jsonl", "No such file"), ("folder.jsonl", "Is a directory")])
def test_a_place_that_cannot_be_written_is_said(tmp_path, alert, place, why):
    """A missing folder or one in place of the file is an error of the sink, when checked and when written."""
    (tmp_path / "folder.jsonl").mkdir()
    sink = open_sink(str(tmp_path / place))
    for act in (lambda: sink.write([alert]), sink.check):
        with pytest.raises(SinkError, match=why):
            act()


def test_a_check_leaves_nothing_behind(tmp_path):
    """Trying a file does not make it."""
    sink = open_sink(str(tmp_path / "a.csv"))
    assert sink.check() == f"{tmp_path}/a.csv can be written (a new file)"
    assert list(tmp_path.iterdir()) == []


def test_a_finding_has_what_ocsf_asks_for(tmp_path, three):
    """Class, type, severity, times in milliseconds, the finding and the version of the schema are there."""
    path = tmp_path / "findings"
    open_sink(f"ocsf:{path}").write(three)
    first, risen, low = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert (first["class_uid"], first["category_uid"], first["activity_id"], first["type_uid"]) == (2004, 2, 1, 200401)
    assert [each["severity_id"] for each in (first, risen, low)] == [4, 5, 2]
    assert first["time"] == 1772421127250
    assert first["metadata"]["version"] == "1.4.0"
    assert first["metadata"]["uid"] == "3f2a9c4e"
    assert first["metadata"]["product"]["name"] == "amiss"
    assert first["finding_info"]["uid"] == "s77"
    assert first["finding_info"]["title"] == "u1042, 18.7 bits (high)"
    assert first["finding_info"]["analytic"] == {
        "name": "habit",
        "uid": "habit",
        "type_id": 2,
        "type": "Behavioral",
    }
    assert first["actor"] == {"user": {"name": "u1042"}}
    assert first["evidences"][0]["data"]["bits"] == 9.6
    assert first["is_alert"] is True


def test_a_finding_that_rises_updates_the_first(tmp_path, three):
    """An escalation is an update of the same finding, with an id of its own."""
    path = tmp_path / "findings"
    open_sink(f"ocsf:{path}").write(three[:2])
    first, risen = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert (risen["activity_id"], risen["type_uid"]) == (2, 200402)
    assert risen["finding_info"]["uid"] == first["finding_info"]["uid"]
    assert risen["metadata"]["uid"] != first["metadata"]["uid"]


def test_a_finding_says_where_a_login_came_from(tmp_path, login):
    """The source endpoint has the address, the place and the device, as far as they are known."""
    path = tmp_path / "findings"
    little = replace(login, alert_id="x", details={"address": "gateway"})
    open_sink(f"ocsf:{path}").write([login, little, replace(login, alert_id="y", details={})])
    full, some, none = (json.loads(line)["evidences"][0] for line in path.read_text(encoding="utf-8").splitlines())
    assert full["src_endpoint"] == {
        "ip": "203.0.113.9", "name": "Firefox, Linux", "location": {"country": "UA", "city": "Kyiv"},
    }  # fmt: skip
    assert some["src_endpoint"] == {"hostname": "gateway"}
    assert "src_endpoint" not in none


def test_details_are_in_json_and_not_in_csv(tmp_path, login):
    """A CSV file keeps its columns."""
    for name in ("a.jsonl", "a.csv"):
        open_sink(str(tmp_path / name)).write([login])
    assert json.loads((tmp_path / "a.jsonl").read_text())["details"]["city"] == "Kyiv"
    assert "Kyiv" not in (tmp_path / "a.csv").read_text()
