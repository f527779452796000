"""Alerts on a terminal are readable, and steer nothing."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys
from dataclasses import replace

import pytest

from amiss import escape, testing
from amiss.errors import SinkError
from amiss.sinks import open_sink


def printed(*alerts, **settings) -> str:
    """What a console prints."""
    stream = io.StringIO()
    open_sink("console:", stream=stream, **settings).write(alerts)
    return stream.getvalue()


def test_an_alert_says_who_why_how_often_by_chance_and_what_to_answer(alert):
    """A line about the user, one for each reason, and the command for feedback; none is wider than 80 columns."""
    assert printed(alert, state="state.db") == (
        "2026-03-02 03:12:07  high         18.7 bits  u1042\n"
        "    login came after logout 3 of 4 times; the user's own past 0 of 412 (9.6\n"
        "    bits)\n"
        "    by chance at most once in 14 months · risk 71\n"
        "    amiss feedback 3f2a9c4e expected|confirmed|false --state state.db\n"
    )


def test_an_alert_that_rose_says_from_what(three):
    """The severity before stands beside how rare it is."""
    assert "    was high · by chance" in printed(three[1])


def test_hostile_names_are_harmless_on_a_terminal():
    """No control or bidirectional character is printed, and no line is wider than the terminal."""
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        testing.check_sink(lambda: open_sink("-"), stream.getvalue)
    assert max(escape.cells(line) for line in stream.getvalue().splitlines()) <= 80
    assert "[31mred" in stream.getvalue()


def test_an_alert_id_cannot_smuggle_a_command_into_the_one_to_copy(alert):
    """Whatever an id holds is quoted for the shell."""
    assert "amiss feedback 'a; rm -rf ~' expected" in printed(replace(alert, alert_id="a; rm -rf ~"))


def test_there_is_colour_on_a_terminal_only(alert):
    """A pipe gets plain text; a terminal gets the severity in red."""
    assert "\x1b" not in printed(alert)
    ours, theirs = pty.openpty()
    code = "import json, sys; from amiss.alerts import Alert; from amiss.sinks import open_sink\n"
    code += "open_sink('-').write([Alert.from_record(json.loads(sys.argv[1]))])"
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm-256color"}
    record = escape.json_text(alert.record())
    subprocess.run([sys.executable, "-c", code, record], stdout=theirs, check=True, env=environment)
    os.close(theirs)
    assert b"\x1b[31mhigh" in os.read(ours, 10_000)
    os.close(ours)


def test_a_terminal_without_unicode_gets_ascii(alert):
    """Where the encoding is ASCII, what it lacks is spelled out."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    open_sink("-", stream=stream).write([replace(alert, user="Zoë")])
    text = stream.buffer.getvalue().decode("ascii")
    assert "Zo\\xeb" in text
    assert "months - risk" in text


def test_a_closed_output_is_an_error_of_the_sink(alert):
    """When nobody reads any more, that is said, and not as a crash."""
    stream = io.StringIO()
    stream.close()
    with pytest.raises(SinkError, match="console: cannot be written"):
        open_sink("-", stream=stream).write([alert])


def test_a_login_is_told_on_a_line_of_its_own(login):
    """Where it came from, with what, and when; as far as it is known."""
    line = "logged in from Kyiv, Ukraine (Firefox on Linux), 203.0.113.9 · Sunday 1 March 2026, 22:12"
    assert line in " ".join(printed(login).split())
    assert "logged in with" not in printed(replace(login, details={}))
