"""The commands: what goes where, and with which exit status."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text
from tests.commands import Ran, ended
from typer.main import get_command

import amiss
from amiss.cli import app


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What a shell makes of a command in which `amiss` is this amiss."""
    program = f'amiss() {{ "{sys.executable}" -m amiss "$@"; }}\n{command}'
    return subprocess.run(["bash", "-c", program], cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def test_version_prints_the_version_of_the_package(run):
    """`--version` agrees with `amiss.__version__`."""
    assert run("--version") == Ran(0, f"amiss {amiss.__version__}\n", "")


@pytest.mark.parametrize("words", ["--help", "scan --help", "explain -h", "simulate --help", "simulate marketplace -h"])
def test_every_command_has_help(run, words: str):
    """Help goes to stdout and is clean."""
    ran = run(*words.split())
    assert (ran.status, ran.err) == (0, "")
    assert "Usage: amiss" in ran.out


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_take_less_than_half_a_second(option: str):
    """Asking for help does not wait for compilers or charts."""
    code = f"""
import atexit, time
from amiss.cli import main
atexit.register(lambda: print(time.process_time()))
main(["{option}"])
"""

    def seconds() -> float:
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return float(ran.stdout.splitlines()[-1])

    assert any(seconds() < 0.5 for _ in range(5))


@pytest.mark.parametrize("words", [["scan"], ["scam", "x"], ["scan", "x", "--tap", "3"], ["scan", "x", "--top", "0"]])
def test_wrong_usage_exits_with_2_and_prints_nothing_to_stdout(run, words: list[str]):
    """A missing argument, unknown commands and options, and numbers out of range are wrong usage."""
    ran = run(*words)
    assert (ran.status, ran.out) == (2, "")
    assert "Usage: amiss" in ran.err


def test_a_budget_that_is_not_understood_exits_with_2(run, days: Path):
    """Values that amiss itself reads are wrong usage too."""
    ran = run("scan", str(days / "monday.jsonl"), "--budget", "often")
    assert (ran.status, ran.out) == (2, "")
    assert '"often"' in ran.err
    assert "Traceback" not in ran.err


def test_a_missing_file_is_one_clear_message_and_exit_1(run):
    """A file that is not there is an error without a traceback."""
    ran = run("scan", "nowhere.jsonl")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("amiss: ")
    assert "nowhere.jsonl" in ran.err
    assert "Traceback" not in ran.err


def test_debug_shows_the_traceback_wherever_it_stands(run):
    """`--debug` after the command works as before it."""
    for words in (["--debug", "scan", "nowhere.jsonl"], ["scan", "nowhere.jsonl", "--debug"]):
        ran = run(*words)
        assert ran.status == 1
        assert "Traceback" in ran.err


def test_a_message_cannot_steer_the_terminal(run):
    """Control characters of a file name are spelled out in the message about it."""
    ran = run("scan", "evil\x1b[31m.jsonl")
    assert "\x1b" not in ran.err
    assert "\\x1b" in ran.err


def test_simulate_writes_to_stdout_and_speaks_on_stderr(run):
    """The log is the data, the count of events a message."""
    ran = run("simulate", "marketplace", "--users", "20", "--seed", "1")
    events = [json.loads(line) for line in ran.out.splitlines()]
    assert ran.status == 0
    assert set(events[0]) == {"time", "user", "action", "outcome"}
    assert f"{len(events):,} events of " in ran.err


def test_simulate_keeps_the_truth_apart(run):
    """`--truth` has a row per user of the log, which itself does not tell."""
    assert run("simulate", "marketplace", "--users", "50", "-o", "log.jsonl", "--truth", "truth.csv", "-q").status == 0
    truth = list(csv.DictReader(Path("truth.csv").read_text(encoding="utf-8").splitlines()))
    users = {json.loads(line)["user"] for line in Path("log.jsonl").read_text(encoding="utf-8").splitlines()}
    assert {row["user"] for row in truth} == users
    assert set(truth[0]) == {"user", "type", "abnormal"}


def test_simulate_refuses_profiles_that_do_not_add_up(run):
    """A mistake in the profiles is an error that names the file and the line."""
    Path("own.toml").write_text(
        '[a]\nshare = 1\nvelocity = 5\nstart = "home"\n[a.after]\nhome = { home = 0.5 }\n', encoding="utf-8"
    )
    ran = run("simulate", "marketplace", "--profiles", "own.toml")
    assert (ran.status, ran.out) == (1, "")
    assert "own.toml:6" in ran.err


def test_scan_prints_a_ranking_that_fits_80_columns(run, days: Path):
    """Text goes to stdout, nothing to stderr, and no line is wider than the terminal."""
    ran = run("scan", str(days / "tuesday.jsonl"), "--learn", str(days / "monday.jsonl"))
    assert (ran.status, ran.err) == (0, "")
    assert max(map(len, ran.out.splitlines())) <= 80


def rows(text: str) -> list[dict[str, object]]:
    """The rows of JSON lines."""
    return [json.loads(line) for line in text.splitlines()]


def test_jsonl_has_a_row_per_user_with_the_documented_keys(run, days: Path):
    """`--all` gives every user; the rows are in order of bits."""
    ran = run("scan", str(days / "tuesday.jsonl"), "--format", "jsonl", "--all")
    found = rows(ran.out)
    users = {row["user"] for row in rows((days / "tuesday.jsonl").read_text(encoding="utf-8"))}
    assert {row["user"] for row in found} == users
    keys = "user events first_time last_time bits severity alert surprisal surprisal_z detectors reasons"
    assert list(found[0]) == keys.split()
    assert [row["bits"] for row in found] == sorted((row["bits"] for row in found), reverse=True)


def test_top_limits_the_rows(run, days: Path):
    """`--top 3` shows three users; without it there are 20."""
    log = str(days / "tuesday.jsonl")
    assert len(rows(run("scan", log, "--format", "jsonl", "--top", "3").out)) == 3
    assert len(rows(run("scan", log, "--format", "jsonl").out)) == 20


def test_all_formats_hold_the_same_users(run, days: Path):
    """JSON, JSON lines and CSV differ in form only."""
    log = str(days / "tuesday.jsonl")
    lines = [row["user"] for row in rows(run("scan", log, "--format", "jsonl").out)]
    assert [row["user"] for row in json.loads(run("scan", log, "--format", "json").out)] == lines
    assert [row["user"] for row in csv.DictReader(io.StringIO(run("scan", log, "--format", "csv").out))] == lines


def test_output_goes_to_the_file_that_is_named(run, days: Path):
    """`-o` leaves stdout empty."""
    ran = run("scan", str(days / "tuesday.jsonl"), "--format", "jsonl", "-o", "found.jsonl")
    assert (ran.status, ran.out) == (0, "")
    assert len(rows(Path("found.jsonl").read_text(encoding="utf-8"))) == 20


def test_an_output_that_cannot_be_written_is_an_error(run, days: Path):
    """A directory that is not there is named in the message."""
    ran = run("scan", str(days / "tuesday.jsonl"), "-o", "nowhere/found.txt")
    assert ran.status == 1
    assert "nowhere/found.txt" in ran.err


def test_stdin_is_a_source(days: Path):
    """`-` reads what is piped in."""
    ran = shell("cat tuesday.jsonl | amiss scan - --format jsonl --top 5", days)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(rows(ran.stdout)) == 5


def test_fail_on_exits_with_3_when_there_is_such_an_alert(run, days: Path):
    """A generous budget makes alerts of any severity; none is above critical."""
    words = ["scan", str(days / "tuesday.jsonl"), "--budget", "100000/day", "--format", "jsonl"]
    assert run(*words, "--fail-on", "info").status == 3
    assert run(*words).status == 0


def test_the_budget_decides_who_is_an_alert(run, days: Path):
    """More alarms allowed never means fewer alerts."""
    words = ["scan", str(days / "tuesday.jsonl"), "--format", "jsonl", "--all", "--budget"]
    few, many = (sum(bool(row["alert"]) for row in rows(run(*words, text).out)) for text in ("1/year", "50/day"))
    assert few <= many
    assert many > 0


def test_a_flag_beats_the_file_and_the_file_beats_the_defaults(run, days: Path):
    """`top` is 20 by default, 7 in amiss.toml, 3 on the command line."""
    log = str(days / "tuesday.jsonl")
    Path("amiss.toml").write_text("[scan]\ntop = 7\n", encoding="utf-8")
    assert len(rows(run("scan", log, "--format", "jsonl").out)) == 7
    assert len(rows(run("scan", log, "--format", "jsonl", "--top", "3").out)) == 3


def test_mistakes_in_the_settings_are_all_told(run, days: Path):
    """A wrong file stops the scan, with a line for each mistake."""
    Path("own.toml").write_text("[scan]\ntpo = 7\nstrict = 3\n", encoding="utf-8")
    ran = run("scan", str(days / "tuesday.jsonl"), "--config", "own.toml")
    assert (ran.status, ran.out) == (1, "")
    assert "own.toml:2" in ran.err
    assert "own.toml:3" in ran.err


def test_the_report_is_one_file(run, days: Path):
    """`--report` writes HTML and says so on stderr, unless asked to be quiet."""
    ran = run("scan", str(days / "tuesday.jsonl"), "--report", "report.html")
    assert ran.err == "Report: report.html\n"
    assert Path("report.html").read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")
    assert run("scan", str(days / "tuesday.jsonl"), "--report", "report.html", "--quiet").err == ""


def test_columns_can_be_named(run):
    """`--user COL` and its like say which column is which."""
    log = '{"when": "2026-01-05T09:00:00Z", "p1": "ann", "p2": "login"}\n'
    Path("log.jsonl").write_text(log * 3, encoding="utf-8")
    ran = run("scan", "log.jsonl", "--time", "when", "--user", "p1", "--action", "p2", "--format", "jsonl")
    assert [row["user"] for row in rows(ran.out)] == ["ann"]


def test_a_column_that_does_not_exist_is_an_error_with_those_found(run, days: Path):
    """The message lists the columns that there are."""
    ran = run("scan", str(days / "tuesday.jsonl"), "--user", "usr")
    assert (ran.status, ran.out) == (1, "")
    assert '"usr"' in ran.err
    assert "action" in ran.err


def test_strict_fails_at_a_row_that_cannot_be_read(run):
    """Without --strict the row is quarantined and counted, with it the scan fails."""
    log = '{"time": "2026-01-05T09:00:00Z", "user": "ann", "action": "login"}\n'
    Path("log.jsonl").write_text(f"{log * 5}oops\n", encoding="utf-8")
    assert run("scan", "log.jsonl").status == 0
    ran = run("scan", "log.jsonl", "--strict")
    assert ran.status == 1
    assert "6" in ran.err


def test_explain_tells_the_story_of_a_user(run, days: Path):
    """The story names the user; as JSON lines it has a row per event."""
    log = str(days / "tuesday.jsonl")
    user = str(rows(run("scan", log, "--format", "jsonl", "--top", "1").out)[0]["user"])
    assert user in run("explain", user, log).out
    story = rows(run("explain", user, log, "--format", "jsonl").out)
    assert {"time", "action", "bits", "evidence"} <= set(story[0])


def test_explaining_a_user_who_is_not_there_is_an_error(run, days: Path):
    """An unknown user is told, without a traceback."""
    ran = run("explain", "nobody", str(days / "tuesday.jsonl"))
    assert ran.status in (1, 2)
    assert "nobody" in ran.err
    assert "Traceback" not in ran.err


def test_surprisal_of_an_action_after_another(run, shared_data: Path):
    """The published row: buying after a login went well 6 times, at 7.70 bits, and failed once, at 10.29."""
    log = str(shared_data / "marketplace" / "seed000_1000users_day1.csv.gz")
    Path("amiss.toml").write_text('[fields]\nuser = "uidx"\naction = "path"\n', encoding="utf-8")
    ran = run("surprisal", log, "--action", "buy_item", "--after", "login", "--format", "jsonl")
    [row] = rows(ran.out)
    assert (row["success"], row["failure"]) == (6, 1)
    assert row["bits_success"] == pytest.approx(7.7027498788282935, abs=1e-12)
    assert row["bits_failure"] == pytest.approx(10.287712379549449, abs=1e-12)


def test_surprisal_at_the_start_is_after_nothing(run, days: Path):
    """`--after ""` keeps the first actions of users."""
    ran = run("surprisal", str(days / "monday.jsonl"), "--after", "", "--format", "jsonl")
    assert {row["previous"] for row in rows(ran.out)} == {""}


def test_schema_shows_the_guesses_and_pins_them(run, days: Path):
    """The TOML that schema writes is one that scan reads."""
    log = str(days / "monday.jsonl")
    ran = run("schema", log, "-o", "amiss.toml")
    assert ran.status == 0
    assert all(role in ran.out for role in ("time", "user", "action", "outcome"))
    assert "[fields]" in Path("amiss.toml").read_text(encoding="utf-8")
    assert run("scan", log).status == 0


def test_check_lists_what_is_well_and_what_is_not(run, days: Path):
    """A source that can be read is ok; one that cannot makes the exit status 1."""
    assert run("check").status == 0
    ran = run("check", str(days / "monday.jsonl"), "nowhere.jsonl")
    assert ran.status == 1
    assert "ok: " in ran.out
    assert "problem: nowhere.jsonl" in ran.out


def test_a_reader_that_goes_away_is_no_error_message(days: Path):
    """`amiss … | head -1` ends quietly."""
    ran = shell("amiss scan tuesday.jsonl --format jsonl --all | head -1", days)
    assert ran.stderr == ""
    assert len(rows(ran.stdout)) == 1


def test_an_interrupt_exits_with_130(tmp_path: Path):
    """Ctrl-C ends a command without a traceback."""
    command = [sys.executable, "-m", "amiss", "simulate", "marketplace", "--users", "200000", "-o", "log.jsonl"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "log.jsonl").exists():
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_a_closed_stdin_is_a_clear_message(days: Path):
    """A command without a standard input, as under cron, says so."""
    ran = shell("amiss scan - <&-", days)
    assert (ran.returncode, ran.stderr) == (
        1,
        "amiss: - is standard input, which is closed. Pipe a log into the command, or give a path\n",
    )


NOT_ASCII = "time,user,action\n2026-01-05T09:00:00Z,Zoë,login\n"


@pytest.mark.parametrize("shape", ["json", "jsonl", "csv"])
def test_what_programs_read_is_utf8_on_any_terminal(
    tmp_path: Path, shape: str, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
):
    """A terminal that knows ASCII only does not break the output for programs."""
    log = tmp_path / "log.csv"
    log.write_text(NOT_ASCII, encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(sys.stdout.buffer, "ascii", write_through=True))
    assert ended("scan", str(log), "--format", shape) == 0
    printed = capsysbinary.readouterr()
    assert printed.err == b""
    assert "Zoë" in printed.out.decode("utf-8")


def test_a_process_that_begins_in_ascii_prints_utf8(tmp_path: Path):
    """The same, where the interpreter was told so."""
    (tmp_path / "log.csv").write_text(NOT_ASCII, encoding="utf-8")
    ran = shell("PYTHONIOENCODING=ascii amiss scan log.csv --format csv", tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "Zoë" in ran.stdout


def test_surprisal_of_an_unknown_action_offers_the_nearest(run, days: Path):
    """A mistyped action is an error, not an empty table."""
    ran = run("surprisal", str(days / "monday.jsonl"), "--action", "logn")
    assert (ran.status, ran.out) == (2, "")
    assert 'no action is called "logn" here. Did you mean "login"?' in ran.err


@pytest.mark.parametrize("words", [["--cap", "0"], ["--year", "99999"], ["--session-gap", "900000000d"]])
def test_numbers_out_of_range_are_wrong_usage(run, days: Path, words: list[str]):
    """Options that no log could need are refused before anything is read."""
    ran = run("scan", str(days / "monday.jsonl"), *words)
    assert (ran.status, ran.out) == (2, "")
    assert "unexpected" not in ran.err


def test_events_quarantined_and_skipped_are_all_lines_of_a_log(run, shared_data: Path):
    """The lines of a real auth log that are no events of a user are counted and said."""
    log = str(shared_data / "logs" / "OpenSSH_2k.log")
    summary = amiss.scan(log).summary
    lines = amiss.scan(log).events["position"].n_unique()
    assert (lines, summary.quarantine.total, summary.skipped) == (1733, 0, {"not an event of a user": 267})
    assert "\nskipped   267 lines: " in run("scan", log).out


def test_a_year_that_no_log_can_name_is_refused(shared_data: Path):
    """The year of a syslog must leave room for the year after it."""
    with pytest.raises(amiss.UsageError, match="expected 1970 to 9998, found 9999"):
        amiss.scan(shared_data / "logs" / "OpenSSH_2k.log", year=9999)


def test_a_terminal_that_claims_no_width_still_gets_the_ranking(run, days: Path, monkeypatch: pytest.MonkeyPatch):
    """COLUMNS=0, as some schedulers set it, loses nothing."""
    monkeypatch.setenv("COLUMNS", "0")
    assert "severity" in run("scan", str(days / "monday.jsonl"), "--top", "1").out


def test_no_word_of_the_help_is_lost():
    """Words in brackets would be taken for a style, and be left out."""
    told = list(_helps(get_command(app)))
    assert len(told) > 100
    assert [text for text in told if Text.from_markup(text).plain != text] == []


def _helps(command: Any) -> Iterator[str]:
    """What is said of a command, of those below it, and of their options."""
    yield command.help or ""
    yield from (each.help for each in command.params if getattr(each, "help", None))
    for each in getattr(command, "commands", {}).values():
        yield from _helps(each)
