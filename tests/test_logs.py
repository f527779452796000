"""A record is one line, whatever its fields hold."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss.errors import UsageError
from amiss.logs import LONGEST, fields, to_stderr

LOG = logging.getLogger("amiss.watch")
HOSTILE = 'ann\r\nlevel=error\x1b[2J\x9b31m\u202e\u2028\x7f"'


def said(form: str, message: str, level: str = "info", **values: object) -> str:
    """What is written of a record at a level."""
    stream = io.StringIO()
    with to_stderr(form, "info", stream):
        LOG.log(logging.getLevelName(level.upper()), message, extra=fields(**values))
    return stream.getvalue()


def test_a_record_is_a_line_of_names_and_values():
    """Words stand bare, all else as JSON; times and other values become texts."""
    moment = datetime(2026, 3, 2, 3, 12, tzinfo=UTC)
    values = {"events": 10_000, "lag": float("nan"), "newest": moment, "file": Path("/a b"), "by": {"x": [1, "y"]}}
    line = said("text", "batch committed", **values, ok=True, user="Zoë")
    head, _, rest = line.partition(" level=")
    assert datetime.fromisoformat(head.removeprefix("time=")).tzinfo == UTC
    assert rest == (
        'info logger=amiss.watch message="batch committed" events=10000 lag=null newest=2026-03-02T03:12:00+00:00 '
        'file="/a b" by={"x": [1, "y"]} ok=true user="Zoë"\n'
    )


def test_a_record_is_an_object_a_line():
    """Programs read back what was said."""
    line = said("json", "batch committed", "warning", events=10_000, user="Zoë", share=float("inf"))
    record = json.loads(line)
    assert list(record) == ["time", "level", "logger", "message", "events", "user", "share"]
    assert record["time"].endswith("Z")
    del record["time"]
    assert record == {
        "level": "warning", "logger": "amiss.watch", "message": "batch committed", "events": 10_000, "user": "Zoë",
        "share": None,
    }  # fmt: skip


@pytest.mark.parametrize("form", ["text", "json"])
def test_hostile_fields_stay_inside_their_line(form: str):
    """No end of line, colour, direction or quote of theirs gets out; nor does one in a message or inside a list."""
    line = said(form, f"no such user: {HOSTILE}", user=HOSTILE, users=[HOSTILE], by={HOSTILE: HOSTILE})
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert " level=error" not in line.replace("\\nlevel=error", "")
    if form == "json":
        assert json.loads(line)["user"] == HOSTILE


@given(st.text())
def test_any_text_comes_back_from_its_line(text: str):
    """Also lone halves of characters, quotes and backslashes."""
    assert json.loads(said("json", "x", user=text))["user"] == text
    line = said("text", "x", user=text)
    assert line[:-1].isprintable()
    value = line[:-1].partition(" user=")[2]
    assert (json.loads(value) if value.startswith('"') else value) == text


def test_a_long_text_is_cut_in_the_middle():
    """A line stays of a size that others can read."""
    line = said("json", "x", user="a" * 1_000_000)
    assert len(json.loads(line)["user"]) == LONGEST


def test_names_that_every_record_has_are_not_taken():
    """A field called like one of them gets a mark."""
    assert said("text", "x", logger="me", time="noon").endswith("message=x logger_=me time_=noon\n")


def test_an_error_is_told_with_where_it_happened():
    """The trace is a field, on the same line."""
    stream = io.StringIO()
    with to_stderr("json", "info", stream):
        try:
            int(HOSTILE)
        except ValueError:
            LOG.exception("failed")
    assert stream.getvalue().count("\n") == 1
    assert json.loads(stream.getvalue())["error"].startswith("Traceback (most recent call last):\n")


def test_only_what_is_urgent_enough_is_told():
    """Of other libraries warnings and worse; afterwards nothing."""
    stream = io.StringIO()
    with to_stderr("text", "warning", stream):
        LOG.info("quiet")
        LOG.warning("loud")
        logging.getLogger("other").warning("other")
    with to_stderr("text", "debug", stream):
        LOG.debug("fine")
        logging.getLogger("other").info("noise")
    LOG.warning("late")
    told = [line.partition("message=")[2] for line in stream.getvalue().splitlines()]
    assert told == ["loud", "other", "fine"]


@pytest.mark.parametrize(("form", "level"), [("jsn", "info"), ("text", "warn")])
def test_a_form_or_level_that_there_is_not_is_refused(form: str, level: str):
    """With those that there are, and a near one."""
    with (
        pytest.raises(UsageError, match=r'is one of (text, json|debug, info, warning, error)\. Found.* Did you mean "'),
        to_stderr(form, level),
    ):
        pass


def test_lines_go_to_standard_error_whatever_it_can_write():
    """Standard output is for data; where letters cannot be written they are spelled out."""
    code = """
import logging
from amiss.logs import fields, to_stderr
with to_stderr("text"):
    logging.getLogger("amiss").info("hello", extra=fields(user="Zo\\u00eb"))
"""
    environment = {"PYTHONIOENCODING": "ascii"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60, env=environment)
    assert run.stdout == b""
    assert run.stderr.endswith(b'level=info logger=amiss message=hello user="Zo\\xeb"\n')
