"""Logs in which nothing tells what was done, in every way that they can be read."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Message

from amiss import scan
from amiss.errors import EventError
from amiss.fields import FieldChoice
from amiss.places import LOGIN_SCHEMA, login_context
from amiss.sources import Source, dictionaries, messages, open_live_source, open_source, readers
from amiss.sources.files import layout_of
from amiss.sources.frames import FrameSource
from amiss.testing import check_source
from amiss.vocabulary import Coding

NAMES = ("time", "user", "ip", "country", "result")
ROWS = [
    ("2026-01-05T08:00:00+00:00", "ann", "203.0.113.9", "US", "ok"),
    ("2026-01-05T08:00:01+00:00", "bob", "203.0.113.9", "US", "failed"),
    ("2026-01-05T08:00:02+00:00", "ann", "198.51.100.7", "UA", "ok"),
]
EVENTS = [("ann", "login", "success", "US"), ("bob", "login", "failure", "US"), ("ann", "login", "success", "UA")]
KINDS = ["ndjson", "csv", "json", "parquet"]


class Logins:
    """A detector's context: where logins came from."""

    context_schema: Mapping[str, pl.DataType] = {
        name: pl.UInt32() if dtype == pl.String else dtype for name, dtype in LOGIN_SCHEMA.items()
    }

    def context(self, events: pl.DataFrame) -> pl.DataFrame:
        """Its columns."""
        return login_context(events)


def frame() -> pl.DataFrame:
    """The rows as a frame."""
    return pl.DataFrame(ROWS, schema=NAMES, orient="row")


def written(folder: Path, kind: str) -> str:
    """The rows as a file of a kind."""
    path = folder / f"log.{kind}"
    if kind == "ndjson":
        frame().write_ndjson(path)
    elif kind == "csv":
        frame().write_csv(path)
    elif kind == "json":
        path.write_text(json.dumps(frame().to_dicts(), indent=1))
    else:
        frame().write_parquet(path)
    return str(path)


def taken(events: pl.DataFrame) -> list[tuple[str, ...]]:
    """What is told of events."""
    return events.select("user", "action", "outcome", "country").rows()


@pytest.fixture(params=[0, 1 << 40], ids=["many", "few"])
def _lanes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are large enough for compiled passes, or not."""
    monkeypatch.setattr(readers, "LEAST_BYTES", request.param)
    monkeypatch.setattr(dictionaries, "LEAST_BYTES", request.param)


@pytest.mark.usefixtures("_lanes")
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_who_came_from_where_is_one_of_logins(tmp_path: Path, kind: str) -> None:
    """In event frames, in coded ones, and in those with a context."""
    path = written(tmp_path, kind)

    def opened() -> Source:
        return open_source(path)

    check_source(opened)
    assert taken(pl.concat([events for events, _ in opened().read()])) == EVENTS
    for coding in (Coding(), Coding(contexts=[Logins()])):
        coded = coding.decode(pl.concat([part for part, _ in opened().read_coded(coding)]))
        assert coded.select("user", "action", "outcome").rows() == [event[:3] for event in EVENTS]
    assert coded.select("login", "country").rows() == [(1, "US"), (0, ""), (1, "UA")]


@pytest.mark.usefixtures("_lanes")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("role", ["user", "action", "outcome"])
def test_any_role_can_be_a_constant(tmp_path: Path, kind: str, role: str) -> None:
    """All rows have it then; what the log has instead is not looked at."""
    source = open_source(written(tmp_path, kind), fields=FieldChoice(**{role: "=success"}))
    coding = Coding()
    coded = coding.decode(pl.concat([part for part, _ in source.read_coded(coding)]))
    assert coded[role].to_list() == ["success"] * 3
    for place, other in enumerate(("user", "action", "outcome")):
        assert other == role or coded[other].to_list() == [event[place] for event in EVENTS]


@pytest.mark.parametrize("kind", ["ndjson", "csv"])
def test_compiled_passes_leave_such_logs_to_the_general_way(tmp_path: Path, kind: str) -> None:
    """They have nothing to look for."""
    source = open_source(written(tmp_path, kind))
    assert layout_of(source.format, source.fields, "UTC") is None


@pytest.mark.parametrize("kind", ["ndjson", "csv", "parquet"])
@pytest.mark.parametrize("action", [None, "=came"])
def test_files_that_are_followed_keep_the_constant(tmp_path: Path, kind: str, action: str | None) -> None:
    """Also when reading resumes at a cursor."""
    written(tmp_path, kind)
    place = str(tmp_path) if kind == "parquet" else written(tmp_path, kind)
    seen = []
    cursor = None
    while True:
        source = open_live_source(place, fields=FieldChoice(action=action))
        coding = Coding(contexts=[Logins()])
        every, stop = timedelta(seconds=0.05), threading.Event()
        frames: Iterator = source.follow(coding, cursor, batch=1, every=every, stop=stop, until_eof=True)
        part, cursor = next(((part, after) for part, after in frames if len(part)), (None, cursor))
        if part is None:
            break
        seen += coding.decode(part).select("user", "action", "country").rows()
    name = "login" if action is None else "came"
    countries = ["US", "", "UA"] if action is None else ["", "", ""]
    assert seen == [(event[0], name, country) for event, country in zip(EVENTS, countries, strict=True)]


def test_messages_have_constants_too() -> None:
    """Few or many of them at once; where they have no time either, it is the message's."""
    values = [{name: value for name, value in zip(NAMES, row, strict=True) if name != "result"} for row in ROWS]
    items = [(0, 0, at, Message(topic="t", value=json.dumps(value).encode())) for at, value in enumerate(values)]
    found = messages.infer(items)
    assert found is not None
    assert found.roles["action"].column == "=login"
    assert messages.layout_of(found, "UTC") is None
    translation = messages.Translation(found, "UTC")
    assert translation.events(items).frame.select("user", "action", "country").rows() == [
        ("ann", "login", "US"), ("bob", "login", "US"), ("ann", "login", "UA"),
    ]  # fmt: skip
    for coding in (Coding(), Coding(contexts=[Logins()])):
        many = translation.coded(items * 500, coding).frame
        assert coding.decode(many)["action"].to_list() == ["login"] * 1500


def test_frames_have_constants_too() -> None:
    """Of Polars and pandas."""
    for log in (frame(), frame().to_pandas()):
        assert taken(next(FrameSource(log).read())[0]) == EVENTS
        (given, _) = next(FrameSource(log, fields=FieldChoice(action="=came")).read())
        assert given["action"].to_list() == ["came"] * 3


def test_a_scan_takes_a_constant() -> None:
    """As it takes a column."""
    result = scan(frame().to_pandas(), action="=came")
    assert result.transitions()["action"].unique().to_list() == ["came"]


def test_a_column_is_never_taken_for_a_constant() -> None:
    """A log can name its columns as it likes."""
    log = frame().rename({"user": "=user"}).with_columns(action=pl.lit("x"))
    assert FrameSource(log).fields.roles["user"].column == "ip"


def test_a_constant_of_no_text_is_an_error() -> None:
    """With what is meant."""
    with pytest.raises(EventError, match='action is pinned to nothing: behind "=" belongs the text'):
        FrameSource(frame(), fields=FieldChoice(action="="))


@pytest.mark.parametrize("missing", ["ip country", "user", "time"])
def test_a_log_without_user_place_or_time_is_not_one_of_logins(missing: str) -> None:
    """Then the error says what is missing, and how to say that all rows are logins."""
    log = frame().drop(missing.split()).with_columns(hash=pl.Series(["x", "y", "z"]))
    with pytest.raises(EventError, match=r'no column looks like the (.*\n)+.*--action "=login"'):
        FrameSource(log)
