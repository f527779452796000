"""Alerts and profiles as documents of a real server of CouchDB's protocol, and of one that refuses."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
from typing import Any

import httpx
import pytest
from tests.couch_server import Database, Server
from tests.couch_stub import Stub

from amiss.alerts import Alert
from amiss.errors import SinkError, UsageError
from amiss.sinks import open_sink
from amiss.sinks.couchdb import ProfileWriter, Written, profile_id
from amiss.sources import open_source
from amiss.testing import HOSTILE, check_sink, hostile_alerts


@pytest.fixture
def database(server: Server) -> Database:
    """A new database."""
    return server.database()


def test_the_contract_of_sinks_holds(database: Database) -> None:
    """Hostile names, the same alert twice, closing twice."""
    check_sink(lambda: open_sink(database.url), lambda: json.dumps(database.documents()))
    assert sorted(each["_id"] for each in database.documents()) == [each.alert_id for each in hostile_alerts()]


def test_an_alert_is_a_document_that_reads_back(database: Database, alert: Alert) -> None:
    """By its id, with type and record; delivered again, what a service added to it stays."""
    sink = open_sink(database.url)
    sink.write([alert])
    found = database.document(alert.alert_id)
    assert (found["type"], found["amiss"]) == ("alert", 1)
    assert Alert.from_record(found) == alert
    database.put([found | {"seen_by": "ann"}])
    sink.write([alert])
    assert database.document(alert.alert_id)["seen_by"] == "ann"
    sink.close()


def test_many_alerts_are_written_in_batches_each_once(database: Database, alert: Alert) -> None:
    """Some of them there already."""
    alerts = [dataclasses.replace(alert, alert_id=f"a{number:04d}") for number in range(450)]
    sink = open_sink(database.url)
    sink.write(alerts[:250])
    sink.write(alerts)
    assert len(database.documents()) == 450
    assert all(each["_rev"].startswith("1-") for each in database.documents())
    sink.close()


def test_a_document_of_another_kind_with_an_alerts_id_is_not_overwritten(database: Database, alert: Alert) -> None:
    """The alert is refused for good."""
    database.put([{"_id": alert.alert_id, "type": "login"}])
    sink = open_sink(database.url)
    with pytest.raises(SinkError, match="another document has the id") as refused:
        sink.write([alert])
    assert refused.value.permanent
    assert database.document(alert.alert_id)["type"] == "login"
    sink.close()


def test_checking_writes_nothing_and_says_what_is_wrong(server: Server, database: Database) -> None:
    """A database that is there, one that is not, a wrong password, no server."""
    sink = open_sink(database.url)
    assert sink.check() == f"{database.url} answers; it holds 0 documents"
    assert database.get()["update_seq"] == 0
    sink.close()
    for url, said in {
        f"couchdb://127.0.0.1:{server.port}/none": "HTTP 404 .*Create the database",
        database.url.replace("//", "//ann:s3cret@"): "HTTP 401 .*Check AMISS_COUCHDB_USERNAME",
        "couchdb://127.0.0.1:9/db": "cannot be reached: ConnectError",
    }.items():
        sink = open_sink(url)
        with pytest.raises(SinkError, match=said) as refused:
            sink.check()
        assert not refused.value.permanent
        assert "s3cret" not in str(refused.value) + sink.url
        sink.close()


def test_a_server_that_asks_to_wait_is_heard(stub: Stub, alert: Alert) -> None:
    """`Retry-After` is passed on; a request that is too large is refused for good."""
    sink = open_sink(stub.url)
    stub.refusals.extend([(429, {"Retry-After": "17"}), (413, {})])
    with pytest.raises(SinkError) as first:
        sink.write([alert])
    with pytest.raises(SinkError, match="because\\\\u202e") as second:
        sink.write([alert])
    assert (first.value.retry_after, first.value.permanent) == (17.0, False)
    assert second.value.permanent
    sink.close()


def test_addresses_that_are_not_understood_are_refused() -> None:
    """A source's options are none of a sink."""
    with pytest.raises(UsageError, match="no option"):
        open_sink("couchdb://h/db?view=a/b")


# --- profiles


def profiles(count: int, risk: int = 3) -> list[dict[str, Any]]:
    """What is usual of some users."""
    return [{"user": f"u{number}", "risk": risk, "usual": {"country": {"FR": 0.98}}} for number in range(count)]


def test_profiles_are_written_where_they_changed(database: Database) -> None:
    """Each user has a document; the same again writes nothing."""
    writer = ProfileWriter(database.url)
    assert writer.write(iter(profiles(450))) == Written(450, 0)
    assert writer.write(profiles(450)) == Written(0, 450)
    assert writer.write([*profiles(450)[:-1], profiles(450, risk=71)[-1]]) == Written(1, 449)
    found = database.document("profile:u449")
    assert (found["type"], found["amiss"], found["user"], found["risk"]) == ("profile", 1, "u449", 71)
    assert found["_rev"].startswith("2-")
    writer.close()


def test_what_others_add_to_a_profile_is_kept(database: Database) -> None:
    """Fields of a service stay when ours are written; a profile that was deleted comes back."""
    writer = ProfileWriter(database.url)
    writer.write(profiles(2))
    database.put([database.document("profile:u0") | {"plan": "gold"}])
    gone = database.document("profile:u1")
    database.put([{"_id": gone["_id"], "_rev": gone["_rev"], "_deleted": True}])
    assert writer.write(profiles(2, risk=5)) == Written(2, 0)
    assert (database.document("profile:u0")["plan"], database.document("profile:u0")["risk"]) == ("gold", 5)
    assert database.document("profile:u1")["risk"] == 5
    writer.close()


def test_profiles_that_two_write_at_once_are_all_up_to_date(database: Database) -> None:
    """Conflicts are settled: at the end there are ours, and no document is in conflict."""

    def service() -> None:
        with httpx.Client(base_url=str(database.server.client.base_url)) as client:
            for visit in range(60):
                name = f"/{database.name}/profile:u{visit % 3}"
                client.put(name, json=client.get(name).json() | {"visit": visit})

    writer = ProfileWriter(database.url)
    writer.write(profiles(3))
    other = threading.Thread(target=service)
    other.start()
    for risk in range(30):
        with contextlib.suppress(SinkError):
            writer.write(profiles(3, risk=risk))
    other.join()
    writer.write(profiles(3, risk=99))
    assert [(each["risk"], each["visit"]) for each in database.documents()] == [(99, 57), (99, 58), (99, 59)]
    writer.close()


def test_hostile_users_have_profiles_of_their_own(database: Database) -> None:
    """Whatever their names."""
    names = [*HOSTILE, "", "_design/app", "a/../b", "%0A", "\n"]
    writer = ProfileWriter(database.url)
    assert writer.write({"user": name, "risk": place} for place, name in enumerate(names)).written == len(names)
    assert [database.document(profile_id(name))["risk"] for name in names] == list(range(len(names)))
    assert all(profile_id(name).isprintable() for name in names)
    writer.close()


def test_what_amiss_writes_is_no_event_of_the_same_database(database: Database, alert: Alert) -> None:
    """Alerts and profiles beside the logins are left out when these are read."""
    at = "2026-01-01T08:00:00Z"
    database.put([{"time": at, "user": "ann", "action": "login"}])
    sink, writer = open_sink(database.url), ProfileWriter(database.url)
    sink.write([alert])
    writer.write(profiles(2))
    source = open_source(database.url)
    assert [frame["user"].to_list() for frame, _ in source.read()] == [["ann"]]
    assert (source.skipped, source.quarantine.total) == ({"written by amiss": 3}, 0)
    sink.close()
    writer.close()
