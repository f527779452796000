"""What a terminal shows fits, reads without colour, and cannot be steered by a log."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from rich.console import Console

import amiss
from amiss import escape, terminal
from amiss.fields import Fields, RoleGuess

HOSTILE = ("[red]anna[/red]", "\x1b[31mred\x00\u202egnp\nnext", "安全" * 30, "x" * 10_000, "=cmd()|'a'!A1")
COLOUR = re.compile(r"\x1b\[[\d;]*m")


def events(users=(), *, odd=(3,), count=24, steps=20):
    """A day on which users log in, look and buy; odd ones delete things over and over."""
    rows = []
    for number in range(count):
        name = dict(enumerate(users)).get(number, f"user{number}")
        actions = ["login", *["view_item"] * (3 + number % 4), "buy_item", "logout"]
        if number in odd:
            actions = ["login", *["delete_item", "view_item"] * steps]
        start = datetime(2026, 1, 5, 8, tzinfo=UTC) + timedelta(minutes=5 * number)
        outcomes = ["failure" if number % 5 == 4 and action == "login" else "success" for action in actions]
        times = [start + timedelta(seconds=7 * step) for step in range(len(actions))]
        rows += zip(times, [name] * len(actions), actions, outcomes, strict=True)
    return pl.DataFrame(rows, schema=["time", "user", "action", "outcome"], orient="row").sort("time")


@pytest.fixture(scope="module")
def result():
    """A scan of one odd user among 24."""
    return amiss.scan(events())


@pytest.fixture(scope="module")
def hostile():
    """A scan of users whose names try to do something, all of them odd."""
    named = events(HOSTILE, odd=range(5)).with_columns(pl.col("action").replace("delete_item", HOSTILE[1]))
    return amiss.scan(named)


def printed(show, *given, width=80, encoding="utf-8", **options):
    """The lines that a function prints on a console."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    show(*given, Console(file=stream, width=width, highlight=False, **options))
    stream.seek(0)
    return stream.read().split("\n")


def fields():
    """Guesses about a log, with hostile values."""
    roles = {"time": RoleGuess("at", 1.0, ("2026-01-05T08:00:00Z",) * 3), "user": RoleGuess("who", 0.7, HOSTILE[:3])}
    return Fields("plain names", roles)


@pytest.mark.parametrize("width", [30, 48, 60, 80, 140])
def test_every_line_fits_the_terminal(hostile, width):
    """Ranking, story, guesses and table stay inside the width, whatever the names."""
    lines = printed(terminal.print_scan, hostile, width=width)
    lines += printed(terminal.print_schema, fields(), width=width)
    lines += printed(terminal.print_surprisal, hostile.transitions(), width=width)
    lines += [
        line
        for user in hostile.users["user"].head(6)
        for line in printed(terminal.print_story, hostile, user, width=width)
    ]
    assert max(map(escape.cells, lines)) <= width


def test_no_name_can_steer_the_terminal(hostile):
    """Control and bidirectional characters are spelled out, markup is not interpreted."""
    lines = printed(terminal.print_scan, hostile) + printed(terminal.print_schema, fields())
    lines += printed(terminal.print_story, hostile, HOSTILE[1])
    lines += printed(terminal.print_surprisal, hostile.transitions())
    assert all(line.isprintable() for line in lines)
    assert any("[red]anna[/red]" in line for line in lines)
    assert any("\\x1b[31mred" in line for line in lines)


def test_colour_changes_no_word(result):
    """What is said with colour is said without it."""
    coloured = printed(terminal.print_scan, result, force_terminal=True, color_system="standard", no_color=False)
    assert [COLOUR.sub("", line) for line in coloured] == printed(terminal.print_scan, result)


def test_a_terminal_without_unicode_gets_ascii(hostile):
    """Bars, ellipses and letters outside ASCII have a plain form."""
    lines = printed(terminal.print_scan, hostile, encoding="ascii")
    lines += printed(terminal.print_story, hostile, HOSTILE[2], encoding="ascii")
    assert "".join(lines).isascii()
    assert "#" in "".join(lines)


def test_the_first_line_says_who_stands_out(result):
    """The answer comes first, with what its bits mean."""
    assert printed(terminal.print_scan, result)[0].startswith("user3 stands out: ")


def test_nobody_stands_out_when_there_is_no_alert():
    """Then the first line says who comes nearest."""
    first = printed(terminal.print_scan, amiss.scan(events(odd=()), budget="0.001/day"))[0]
    assert re.match(r"Nobody stands out: user\d+ comes nearest with ", first)


def test_the_totals_say_what_was_read_and_what_bits_mean(result):
    """Events, users, period, what was learned from, the budget, alerts, rows that were not read, time."""
    lines = printed(lambda console: terminal.print_scan(result, console, 3))
    assert {"sources", "events", "period", "learned", "budget", "alerts", "meaning", "unread", "time"} <= {
        line.split("  ")[0] for line in lines
    }
    assert "and 21 users below" in lines
    assert "period    5 Jan 2026, 08:00 to 09:55 UTC" in lines


def test_quarantined_rows_are_counted_and_quoted(tmp_path):
    """The totals say how many rows were not read, why, and show the first."""
    log = tmp_path / "app.jsonl"
    good = '{"time": "2026-01-05T08:00:00Z", "user": "ann", "action": "login", "outcome": "success"}\n'
    log.write_text(good * 20 + "{oops\x1b[31m\n" + good)
    lines = printed(terminal.print_scan, amiss.scan(log))
    assert any(line.startswith("unread    1 row: 1 ") for line in lines)
    assert any("line 21: " in line for line in lines)
    assert any("{oops\\x1b[31m" in line for line in lines)


def test_a_story_marks_the_event_that_raised_the_alert(result):
    """The first event at which the evidence reaches the threshold says so, and no other."""
    lines = printed(terminal.print_story, result, "user3")
    assert sum(line.endswith(" alert") for line in lines) == 1


def test_a_long_story_counts_what_it_leaves_out():
    """Told and left-out events together are all events."""
    lines = printed(terminal.print_story, amiss.scan(events(steps=300)), "user3")
    left_out = sum(int(found[1]) for line in lines if (found := re.match(r" +… +(\d+) events? more", line)))
    told = sum(bool(re.match(r"\d\d:\d\d:\d\d ", line)) for line in lines)
    assert told < 60
    assert told + left_out == 601


def test_guesses_are_shown_with_their_confidence():
    """Role, column, how sure, three values."""
    lines = printed(terminal.print_schema, fields())
    assert lines[0] == "The log looks like: plain names"
    assert lines[3] == "time    at      100%  2026-01-0…8:00:00Z  2026-01-0…8:00:00Z  2026-01-0…8:00:00Z"


def test_the_surprisal_table_is_aligned():
    """Counts and bits stand below their names."""
    row = ("login", "", 1001, 40, 0.0565, 4.7018, 0.235)
    schema = ["action", "previous", "success", "failure", "bits_success", "bits_failure", "entropy"]
    assert printed(terminal.print_surprisal, pl.DataFrame([row], schema=schema, orient="row"))[:2] == [
        "action  after     success   bits   failure   bits  entropy",
        "login   (start)     1,001    0.1        40    4.7    0.235",
    ]


def written(shape, rows):
    """Records as written for programs."""
    stream = io.StringIO()
    terminal.write_records(rows, shape, stream)
    return stream.getvalue()


def test_json_lines_keep_names_exactly(hostile):
    """Each line is one user, and names read back as they were, though nothing raw is printed."""
    lines = written("jsonl", hostile.records(None)).splitlines()
    assert {json.loads(line)["user"] for line in lines} == set(hostile.users["user"])
    assert all(line.isprintable() for line in lines)


def test_json_is_one_array(result):
    """The whole is one document."""
    assert len(json.loads(written("json", result.records(5)))) == 5


def test_csv_has_flat_columns_and_no_formula(hostile):
    """Nested values become columns or text; a cell that a spreadsheet would run is quoted."""
    rows = list(csv.DictReader(io.StringIO(written("csv", hostile.records(None)))))
    assert "detectors_sequence" in rows[0]
    assert "'=cmd()|'a'!A1" in {row["user"] for row in rows}
    assert all(value.isprintable() for row in rows for value in row.values())


def test_csv_of_nothing_is_empty():
    """No rows, no crash."""
    assert written("csv", []) == "\n"


def test_an_unknown_format_is_a_usage_error():
    """The message lists what is known."""
    with pytest.raises(amiss.UsageError, match=r"xml.*json, jsonl, csv"):
        written("xml", [])
