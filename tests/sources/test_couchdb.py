"""CouchDB: a real server of its protocol for most, a small one of our own for faults, opaque places and a million."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.couch_server import INSTALL, Database, Server, binary
from tests.couch_stub import Stub, serving

from amiss.couch import Address
from amiss.errors import AmissError, EventError, SourceError, UsageError
from amiss.fields import FieldChoice
from amiss.sources import Cursor, changes, open_live_source, open_source
from amiss.sources.couchdb import CouchSource
from amiss.testing import check_source
from amiss.vocabulary import Coding

SOON = timedelta(milliseconds=200)
LATE = timedelta(seconds=60)
HOSTILE = ("../db", "a/b?c=d#e", "zoë\u202e", "line\nend", "+&=%2F", "..", "_x", "x" * 500, '"', "<script>", "\x1b[31m")


@pytest.fixture
def database(server: Server) -> Database:
    """A new database."""
    return server.database()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of few documents; short waits."""
    monkeypatch.setattr(changes, "FIRST_LIMIT", 7)
    monkeypatch.setattr(changes, "FIRST_WAIT_SECONDS", 0.02)


def login(number: int, name: str = "", **more: Any) -> dict[str, Any]:
    """The document of a login."""
    at = f"2026-01-01T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z"
    event = {"_id": name or f"e{number:06d}", "time": at, "user": f"u{number % 7}", "action": "login", "outcome": "ok"}
    return event | more


def logins(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Several."""
    return [login(number) for number in range(first, first + count)]


Frames = list[tuple[pl.DataFrame, Cursor]]


def followed(source: CouchSource, after: Cursor | None = None, *, batch: int = 10) -> Frames:
    """All frames of what is there."""
    stop = threading.Event()
    return list(source.follow(Coding(), after, batch=batch, every=LATE, stop=stop, until_eof=True))


def rows(frames: Frames) -> int:
    """How many events there are."""
    return sum(len(frame) for frame, _ in frames)


class Following:
    """A source that is followed, frame by frame."""

    def __init__(self, url: str, after: Cursor | None = None, **settings: Any) -> None:
        self.source = open_live_source(url, **settings)
        self.coding, self.stop = Coding(), threading.Event()
        self.frames = self.source.follow(self.coding, after, batch=1_000, every=SOON, stop=self.stop)
        self.cursor = after

    def users(self, count: int, seconds: float = 20.0) -> list[str]:
        """The users of the next events, once there are so many; what was written in one request comes in any order."""
        found: list[str] = []
        until = time.monotonic() + seconds
        while len(found) < count and time.monotonic() < until:
            frame, self.cursor = next(self.frames)
            found += self.coding.users.decode(frame["user"]).to_list()
        return found

    def end(self) -> int:
        """Stop it; how many events came on the way."""
        self.stop.set()
        return sum(len(frame) for frame, _ in self.frames)


# --- reading what is there


def test_reading_and_following_resume_at_every_cursor(database: Database) -> None:
    """Behind each cursor come the rows that are left, among documents of all kinds."""
    database.put(logins(30))
    database.put([{"_id": "_design/app", "views": {}}, {"_id": "odd", "note": "no event"}, {"_id": "odder", "user": 5}])
    database.put(logins(30, first=100))
    database.put([{"_id": row["_id"], "_rev": row["_rev"], "_deleted": True} for row in database.documents()[3:5]])
    check_source(lambda: open_source(database.url))


def test_what_is_no_event_is_skipped_or_quarantined_by_id_and_place(database: Database) -> None:
    """Design documents, deletions and what amiss wrote are skipped; other documents are quarantined."""
    database.put(logins(3))
    (deleted,) = database.put([login(9)])
    database.put([{"_id": "_design/app", "views": {}}, {"_id": "note", "text": "hello"}])
    database.put([{"_id": "a1", "type": "alert", "amiss": 1}, {"_id": "profile:u", "type": "profile", "amiss": 1}])
    database.put([{"_id": deleted["id"], "_rev": deleted["rev"], "_deleted": True}])
    source = open_source(database.url)
    assert rows(list(source.read())) == 3
    assert source.skipped == {"design document": 1, "written by amiss": 2, "deleted document": 1}
    (bad,) = source.quarantine.samples
    assert (bad.file, bad.position, bad.reason) == (f"{database.url}/note", 6, 'column "time" holds no time')


def test_positions_count_changes_and_the_other_roles_are_there(database: Database) -> None:
    """Event frames hold all roles of a log; positions grow, also over what is skipped."""
    database.put([{"_id": "_design/app"}, *[login(n, ip="192.0.2.7", user_agent="Firefox") for n in range(3)]])
    frame, _ = next(open_source(database.url).read())
    assert frame["position"].to_list() == [2, 3, 4]
    assert frame["ip"].to_list() == ["192.0.2.7"] * 3


def test_a_document_that_is_changed_is_read_again_unless_later_revisions_are_skipped(database: Database) -> None:
    """What was read before comes again; `updates=skip` leaves it out, and says so."""
    (first,) = database.put([login(1)])
    both = [open_source(database.url), open_source(f"{database.url}?updates=skip")]
    cursors = [list(source.read())[-1][1] for source in both]
    database.put([login(1, _rev=first["rev"], logout="2026-01-01T09:00:00Z"), login(2)])
    again = [rows(list(source.read(cursor))) for source, cursor in zip(both, cursors, strict=True)]
    assert again == [2, 1]
    assert both[1].skipped == {"later revision of a document": 1}


def test_id_and_revision_can_be_pinned_and_are_not_taken_otherwise(database: Database) -> None:
    """`_id` is a column like others."""
    database.put([login(1, "ann"), login(2, "bob")])
    assert {guess.column for guess in open_source(database.url).fields.roles.values()}.isdisjoint({"_id", "_rev"})
    source = open_source(database.url, fields=FieldChoice(user="_id", action="_rev"))
    frame, _ = next(source.read())
    assert sorted(frame["user"].to_list()) == ["ann", "bob"]
    assert all(action.startswith("1-") for action in frame["action"].to_list())


def test_attachments_and_conflicts_are_left_alone(database: Database) -> None:
    """A document with an attachment is an event; of one in conflict, the winning revision is."""
    attached = {"photo.png": {"content_type": "image/png", "data": "aGVsbG8="}}
    database.put([login(1, "a", _attachments=attached)])
    winner = login(2, "b", _rev="1-b", user="winner")
    database.put([winner, login(2, "b", _rev="1-a", user="loser")], new_edits=False)
    frame, _ = next(open_source(database.url).read())
    assert frame["user"].to_list() == ["u1", "winner"]


@pytest.mark.parametrize("batch", [1, 1_000])
def test_hostile_ids_harm_nothing(database: Database, batch: int) -> None:
    """Whatever the id, the event is read, and reading goes on behind it."""
    names = [name for name in HOSTILE if not name.startswith("_")]
    database.put([login(number, name) for number, name in enumerate(names)])
    frames = followed(open_source(database.url), batch=batch)
    assert rows(frames) == len(names)
    for number, (_, cursor) in enumerate(frames, start=1):
        assert rows(followed(open_source(database.url), cursor)) == rows(frames[number:])
    database.put([{"_id": "bad\x1b[31m\u202e", "no": "event"}])
    source = open_source(database.url)
    list(source.read())
    assert all(bad.file.isprintable() for bad in source.quarantine.samples)


def test_an_empty_database_and_one_without_events_say_so(database: Database) -> None:
    """The error says what was left out and why."""
    with pytest.raises(EventError, match="no document could be read as an event"):
        list(open_source(database.url).read())
    database.put([{"_id": "_design/app"}])
    with pytest.raises(EventError, match="no document could be read"):
        _ = open_source(database.url).fields
    database.put([{"_id": "note", "text": "hello"}])
    with pytest.raises(EventError, match="time"):
        list(open_source(database.url).read())


def test_strict_makes_the_first_bad_document_an_error(database: Database) -> None:
    """It names the database, the change and the reason."""
    database.put(logins(3))
    database.put([{"_id": "note", "text": "hello"}])
    with pytest.raises(EventError, match=r':4: column "time" holds no time'):
        list(open_source(database.url, strict=True).read())


def test_filters_and_views_choose_documents(database: Database) -> None:
    """A filter function, a view as a filter, and the rows of a view; these by key, page by page."""
    view = 'function (doc) { if (doc.user) { emit(doc.user, null); if (doc.user === "u3") { emit(doc.user, null); } } }'
    keep = 'function (doc) { return doc.user === "u1"; }'
    by_value = "function (doc) { emit([doc.user, 1], {user: doc.user, action: doc.action, time: doc.time}); }"
    views = {"users": {"map": view}, "values": {"map": by_value}}
    database.put([{"_id": "_design/app", "views": views, "filters": {"one": keep}}, *logins(21)])
    assert rows(list(open_source(f"{database.url}?filter=app/one").read())) == 3
    assert rows(list(open_source(f"{database.url}?filter=_view&view=app/users").read())) == 21
    frames = followed(open_source(f"{database.url}?view=app/users"), batch=5)
    assert rows(frames) == 24
    for number, (_, cursor) in enumerate(frames, start=1):
        assert rows(followed(open_source(f"{database.url}?view=app/users"), cursor)) == rows(frames[number:])
    values = next(open_source(f"{database.url}?view=app/values").read())[0]
    assert values["user"].to_list()[:4] == ["u0", "u0", "u0", "u1"]
    with pytest.raises(SourceError, match="cannot be followed"):
        Following(f"{database.url}?view=app/users").users(1)


def test_compaction_changes_nothing(database: Database) -> None:
    """Behind the same cursor come the same rows."""
    database.put(logins(20))
    (_, cursor), *_ = followed(open_source(database.url), batch=12)
    database.server.client.post(f"/{database.name}/_compact", json={}).raise_for_status()
    assert rows(followed(open_source(database.url), cursor)) == 8


# --- trouble


def test_a_missing_database_and_a_wrong_password_say_what_to_do(server: Server, database: Database) -> None:
    """The message is about the address, and never holds the password."""
    with pytest.raises(SourceError, match=r"HTTP 404 .*Create the database"):
        list(open_source(f"couchdb://127.0.0.1:{server.port}/none").read())
    with pytest.raises(SourceError, match=r"HTTP 401 .*Check AMISS_COUCHDB_USERNAME") as refused:
        list(open_source(database.url.replace("//", "//ann:s3cret@")).read())
    assert "s3cret" not in str(refused.value)


def test_credentials_are_sent_but_never_shown(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in the name, not in cursors, messages, logs; the environment's count where the address has none."""
    caplog.set_level(logging.DEBUG)
    stub.rows = [(f"e{n}", json.dumps(login(n)).encode()) for n in range(5)]
    source = open_source(stub.url.replace("//", "//ann:p%40ss@"))
    frames = list(source.read())
    stub.refusals.extend([(500, {})] * 99)
    monkeypatch.setattr(changes, "MOST_TRIES", 2)
    with pytest.raises(SourceError) as failed:
        list(source.read())
    stub.refusals.clear()
    monkeypatch.setenv("AMISS_COUCHDB_USERNAME", "ann")
    monkeypatch.setenv("AMISS_COUCHDB_PASSWORD", "p@ss")
    list(open_source(stub.url).read())
    assert {login for _, login in stub.seen} == {"Basic YW5uOnBAc3M="}
    told = [source.url, repr(source.address), *(cursor.token for _, cursor in frames), str(failed.value), caplog.text]
    assert not [text for text in told if "p@ss" in text or "p%40ss" in text or "ann" in text]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("couchdb://host", "names no database"),
        ("couchdb:///db", "names no host"),
        ("couchdb://ann:s3cret@host:port/db", "the port must be a number"),
        ("couchdb://ann:s3cret@host/db?vew=a/b", 'no option "vew" here. Did you mean "view"'),
        ("couchdb://host/db?start=now", 'start is "earliest" or "latest"'),
        ("couchdb://host/db?view=logins", "view is a design document and its view"),
        ("couchdb://host/db?filter=_view", "needs the view"),
        ("couchdb://host/db?view=a/b&filter=a/c", "cannot be filtered"),
        ("couchdb://host/db?tls=maybe", 'tls is "1" or "0"'),
    ],
)
def test_addresses_that_are_not_understood_say_why(url: str, said: str) -> None:
    """Without what may be a password."""
    with pytest.raises(AmissError) as refused:
        open_source(url)
    assert said in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_addresses_lead_to_bases() -> None:
    """TLS by scheme or option; ports of CouchDB unless given; paths of proxies kept."""
    base = {
        "couchdb://h/db": "http://h:5984/db",
        "couchdbs://h/db": "https://h:6984/db",
        "couchdb://h:443/couch/a%2Fb?tls=1": "https://h:443/couch/a%2Fb",
        "couchdb://[::1]:5984/db+x": "http://[::1]:5984/db%2Bx",
    }
    assert {url: Address.parse(url).base for url in base} == base
    with pytest.raises(UsageError, match="no option"):
        Address.parse("couchdb://h/db?view=a/b")


def test_too_many_requests_are_waited_for_as_long_as_the_server_asks(stub: Stub) -> None:
    """429 with Retry-After."""
    stub.rows = [("e1", json.dumps(login(1)).encode())]
    stub.refusals.append((429, {"Retry-After": "1"}))
    assert rows(list(open_source(stub.url).read())) == 1
    assert 0.9 < stub.at[1] - stub.at[0] < 5


def test_what_is_no_cursor_of_it_is_refused(stub: Stub) -> None:
    """A file's, and another view's."""
    for token in ('{"position":1,"files":[{"name":"a","offset":3}],"schema":null}', "{}", "[]"):
        with pytest.raises(SourceError, match="no cursor"):
            list(open_source(stub.url).read(Cursor(token)))


# --- following


def test_documents_are_followed_as_they_come_in(database: Database) -> None:
    """An empty frame each `every` while none come; then the new ones; the end comes soon."""
    database.put(logins(3))
    following = Following(database.url)
    assert sorted(following.users(3)) == ["u0", "u1", "u2"]
    assert [len(next(following.frames)[0]) for _ in range(3)] == [0, 0, 0]
    database.put(logins(2, first=3))
    begun = time.monotonic()
    assert sorted(following.users(2)) == ["u3", "u4"]
    assert time.monotonic() - begun < 3
    begun = time.monotonic()
    assert following.end() == 0
    assert time.monotonic() - begun < 0.5
    database.put(logins(1, first=5))
    assert rows(followed(open_source(database.url), following.cursor)) == 1


def test_following_may_begin_with_what_comes_next(database: Database) -> None:
    """`start=latest` leaves out what is there, also after a restart before anything came."""
    database.put(logins(5))
    following = Following(f"{database.url}?start=latest")
    frame, cursor = next(following.frames)
    assert len(frame) == 0
    following.end()
    database.put([login(6)])
    again = Following(f"{database.url}?start=latest", cursor)
    assert again.users(1) == ["u6"]
    again.end()


def test_an_empty_database_is_waited_for(database: Database) -> None:
    """Fields are found by the first documents that come."""
    following = Following(database.url)
    assert len(next(following.frames)[0]) == 0
    database.put([{"_id": "_design/app"}, login(1)])
    assert following.users(1) == ["u1"]
    assert following.source.skipped == {"design document": 1}
    following.end()


@pytest.mark.parametrize("count", [2, 9], ids=["smaller", "larger"])
def test_a_database_that_is_made_anew_is_read_from_the_beginning(
    database: Database, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    """Whether it has fewer documents than were read, or more by now; that is warned of, and positions go on."""
    database.put(logins(5))
    before = followed(open_source(database.url))
    database.delete()
    database.create()
    database.put(logins(count, first=100))
    after = followed(open_source(database.url), before[-1][1])
    assert rows(after) == count
    assert after[0][0]["position"].to_list() == list(range(6, 6 + count))
    assert "was deleted and made anew" in caplog.text
    assert rows(followed(open_source(database.url), after[-1][1])) == 0


def test_a_database_that_is_gone_while_it_is_followed_is_waited_for(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it is there again, all of it is read."""
    monkeypatch.setattr(changes, "HEARTBEAT_SECONDS", 0.2)
    database.put(logins(5))
    following = Following(database.url)
    assert len(following.users(5)) == 5
    database.delete()
    for _ in range(5):
        assert len(next(following.frames)[0]) == 0
    database.create()
    database.put(logins(3, first=50))
    assert sorted(following.users(3)) == ["u1", "u2", "u3"]
    assert "was deleted and made anew" in caplog.text
    following.end()


def test_a_server_that_is_killed_and_comes_back_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """What was written before and after is read, each once."""
    if binary() is None:
        pytest.skip(f"no server to start: {INSTALL}")
    server = Server(tmp_path)
    try:
        database = server.database()
        database.put(logins(50))
        following = Following(database.url)
        assert len(following.users(50)) == 50
        server.kill()
        assert len(next(following.frames)[0]) == 0
        server.start()
        database.put(logins(20, first=50))
        assert sorted(following.users(20)) == sorted(f"u{number % 7}" for number in range(50, 70))
        assert following.end() == 0
    finally:
        server.stop()


def test_connections_that_break_in_the_middle_of_a_line_lose_and_double_nothing(stub: Stub) -> None:
    """Cut anywhere, again and again, with opaque places; each document comes once."""
    stub.opaque = True
    stub.rows = [("e0", json.dumps(login(0)).encode())]
    stub.cuts.extend([1, 150, 333, 1_000, 2_500, 10, 77])
    following = Following(stub.url)
    assert following.users(1) == ["u0"]
    for first in range(1, 61, 20):
        stub.rows += [(f"e{n}", json.dumps(login(n)).encode()) for n in range(first, first + 20)]
        assert following.users(20) == [f"u{number % 7}" for number in range(first, first + 20)]
    assert not stub.cuts or len(stub.cuts) < 7
    assert following.end() == 0
    token = json.loads(following.cursor.token)["files"][0]  # type: ignore[union-attr]
    assert (token["since"], token["read"]) == (stub.place(61), 61)


def test_a_connection_that_falls_silent_is_opened_anew(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without heartbeats nobody knows whether the server is there."""
    monkeypatch.setattr("amiss.sources.couchdb.SILENCE_SECONDS", 0.3)
    stub.silent = True
    following = Following(stub.url)
    next(following.frames)
    stub.rows = [("e1", json.dumps(login(1)).encode())]
    assert following.users(1) == ["u1"]
    following.end()


def test_opaque_places_resume_and_tell_a_database_made_anew(stub: Stub, caplog: pytest.LogCaptureFixture) -> None:
    """Places of CouchDB 2 and later, and of Cloudant; one that goes back, as when shards move, is no new one."""
    stub.opaque = True
    stub.rows = [(f"e{n}", json.dumps(login(n)).encode()) for n in range(25)]
    check_source(lambda: open_source(stub.url))
    *_, (_, cursor) = followed(open_source(stub.url))
    stub.rows = stub.rows[-3:]
    assert rows(followed(open_source(stub.url), cursor)) == 0
    stub.rows = [("new", json.dumps(login(1)).encode())]
    assert rows(followed(open_source(stub.url), cursor)) == 1
    assert caplog.text.count("was deleted and made anew") == 1


def test_documents_that_cannot_be_read_stop_nothing(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Halves of characters, NaN, deep nesting, and documents larger than is held: those around them are read."""
    monkeypatch.setattr(changes, "MOST_BYTES", 50_000)
    odd = {
        "half": b'{"_id":"half","user":"\\ud800"}',
        "nan": b'{"_id":"nan","time":NaN,"user":"a","action":"b"}',
        "deep": b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        "large": b'{"a":"' + b"x" * 60_000 + b'"}',
    }
    good = [(f"e{n}", json.dumps(login(n)).encode()) for n in range(12)]
    stub.rows = [*good[:6], *odd.items(), *good[6:]]
    source = open_source(stub.url)
    assert rows(followed(source)) == 12
    found = [(bad.file.rpartition("/")[2], bad.position, bad.reason) for bad in source.quarantine.samples]
    large = "document that is too large, or no JSON"
    assert found == [
        ("half", 7, "not JSON"),
        ("nan", 8, 'column "time" holds no time'),
        ("deep", 9, large),
        ("large", 10, large),
    ]


# --- much


class Many(Stub):
    """A stub with a great many small documents."""

    def __init__(self, documents: int) -> None:
        super().__init__()
        self._documents = documents
        self._rest = json.dumps({"agent": "x" * 400})[1:].encode()

    def count(self) -> int:
        """All of them."""
        return self._documents

    def row(self, number: int) -> tuple[str, bytes]:
        """Any of them."""
        event = json.dumps(login(number, f"e{number}"))
        return f"e{number}", event[:-1].encode() + b"," + self._rest

    def has(self, document: str) -> bool:
        """All that are asked for."""
        return document.startswith("e")


READS = """
import resource, sys, threading
from datetime import timedelta
from amiss.sources import open_live_source
from amiss.vocabulary import Coding
source, coding, rows = open_live_source(sys.argv[1]), Coding(), 0
early = 0
for frame, _ in source.follow(coding, batch=5_000, every=timedelta(1), stop=threading.Event(), until_eof=True):
    rows += len(frame)
    if rows >= 20_000 and not early:
        early = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(rows, early, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize("documents", [50_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_great_many_documents_are_read_in_bounded_memory(documents: int) -> None:
    """However many, they take no more than the first twenty thousand did, but for 64 MiB."""
    with serving(Many(documents)) as stub:
        done = subprocess.run([sys.executable, "-c", READS, stub.url], capture_output=True, text=True, check=True)
    read, early, most = map(int, done.stdout.split())
    assert read == documents
    assert most - early < 64 << 10
