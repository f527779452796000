"""SQL databases as sources: real servers of MariaDB and PostgreSQL, and SQLite."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.database_servers import PASSWORD, MariaDB
from tests.databases import Database

import amiss
from amiss.errors import EventError, MissingExtraError, SourceError, UsageError
from amiss.fields import FieldChoice
from amiss.sources import Cursor, open_live_source, open_source
from amiss.sources.sql import SqlSource, read_table
from amiss.sources.sql_address import Address, with_query
from amiss.testing import check_source
from amiss.vocabulary import Coding

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
COLUMNS = "id INTEGER PRIMARY KEY, happened VARCHAR(40), username VARCHAR(80), action VARCHAR(80)"


def row(number: int, user: str = "", action: str = "view") -> tuple[int, str, str, str]:
    """A row with this key."""
    when = (NOON + timedelta(seconds=number)).strftime("%Y-%m-%d %H:%M:%S")
    return number, when, user or f"u{number % 7}", action


def rows_of(source: Any, after: Cursor | None = None) -> pl.DataFrame:
    """All event frames as one."""
    return pl.concat([frame for frame, _ in source.read(after)], how="vertical_relaxed")


class Follower:
    """A source that is followed in a thread; `users` are those of the events so far, in order."""

    def __init__(self, url: str, after: Cursor | None = None, *, every: float = 0.02, batch: int = 1_000) -> None:
        self.source = SqlSource(url)
        self.stop = threading.Event()
        self.users: list[str] = []
        self.cursor = after
        self.error: Exception | None = None
        self._settings: dict[str, Any] = {"batch": batch, "every": timedelta(seconds=every), "stop": self.stop}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        coding = Coding()
        try:
            for frame, cursor in self.source.follow(coding, self.cursor, **self._settings):
                self.users += coding.users.decode(frame["user"]).to_list()
                self.cursor = cursor
        except Exception as error:  # noqa: BLE001 - shown by the test that waits
            self.error = error

    def wait_for(self, *users: str) -> None:
        """Wait until exactly these have come."""
        until = time.monotonic() + 20
        while sorted(self.users) != sorted(users) and time.monotonic() < until and self.error is None:
            time.sleep(0.01)
        assert self.error is None, self.error
        assert sorted(self.users) == sorted(users)

    def end(self) -> Cursor | None:
        """Stop it; the cursor behind what came."""
        self.stop.set()
        self._thread.join(5)
        assert not self._thread.is_alive(), "stop ends the reading"
        self.source.close()
        return self.cursor


@contextmanager
def following(url: str, after: Cursor | None = None, **more: Any) -> Iterator[Follower]:
    """A follower that ends with the test."""
    follower = Follower(url, after, **more)
    try:
        yield follower
    finally:
        follower.end()


# --- what is read


def test_a_table_is_a_source(database: Database) -> None:
    """Frames are event frames, and reading resumes behind each cursor with exactly the rows that are left."""
    rows = [row(number) for number in range(1, 30) if number % 10]
    rows[5] = (rows[5][0], "soon", "ann", "view")
    url = database.source(database.table(COLUMNS, rows))
    check_source(lambda: open_source(url))
    source = open_source(url)
    assert rows_of(source).height == len(rows) - 1
    assert source.quarantine.samples[0].position == rows[5][0]
    assert source.quarantine.reasons == {'column "happened" holds no time': 1}


@pytest.mark.slow
def test_large_tables_are_read_in_frames(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows there are, a frame holds no more than was asked for, and resuming works behind each."""
    monkeypatch.setattr("amiss.sources.sql_database.FRAME_ROWS", 400)
    monkeypatch.setattr("amiss.sources.sql_database.Database.stream.__kwdefaults__", {"rows": 400, "quick": True})
    rows = [row(number, f"u{number}") for number in range(1, 2_001)]
    url = database.source(database.table(COLUMNS, rows))
    frames = list(open_source(url).read())
    assert [len(frame) for frame, _ in frames] == ([400] * 5 if database.kind != "postgresql" else [800, 800, 400])
    check_source(lambda: open_source(url))


def test_the_fast_lane_gives_the_same_codes(mariadb: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dates and times of day that come as numbers become the same times, also beside rows that are none."""
    monkeypatch.setattr("amiss.sources.sql_coded.LEAST_ROWS", 2)
    columns = "id INT PRIMARY KEY, date DATE, time TIME, user_id INT, path VARCHAR(40)"
    rows: list[Any] = [(n, "2026-03-29", f"{n % 24:02}:30:00", n % 5, f"/{n % 9}") for n in range(1, 301)]
    good = mariadb.source(mariadb.table(columns, rows))
    for url, zone in ((good, "UTC"), (good, "Europe/Berlin")):
        coding, source = Coding(), SqlSource(url, timezone=zone)
        coded = pl.concat([coding.decode(frame) for frame, _ in source.read_coded(coding)])
        assert coded.equals(rows_of(source).select(coded.columns))
    rows[7] = (8, "2026-03-29", "-01:00:00", 1, "/")
    rows[8] = (9, "0000-00-00", "00:00:00", 1, "/")
    check_source(lambda: open_source(mariadb.source(mariadb.table(columns, rows))))


def test_a_table_without_a_key_is_read_in_the_order_in_which_it_comes(database: Database) -> None:
    """Resuming skips the rows that were read."""
    name = database.table(
        "happened VARCHAR(40), username VARCHAR(80), action VARCHAR(80)", [row(n)[1:] for n in range(12)]
    )
    check_source(lambda: open_source(database.source(name)))


def test_dates_and_times_in_two_columns_pair_up_whatever_they_hold(mariadb: Database) -> None:
    """Zero dates, no dates and times that no day has go to quarantine, by key, and nothing breaks."""
    name = mariadb.table(
        "id BIGINT UNSIGNED PRIMARY KEY, date DATE, time TIME, user_id DECIMAL(20,0), path VARCHAR(40), ok TINYINT(1)",
        [
            (1, "2026-01-05", "09:15:00", 12345678901234567890, "/a", 1),
            (2, "0000-00-00", "09:15:00", 1, "/a", 0),
            (3, None, "09:15:00", 1, "/a", 0),
            (4, "2026-01-05", "-09:15:00", 1, "/a", 0),
            (5, "2026-01-05", "100:00:00", 1, "/a", 0),
            (6, "2026-01-06", "23:59:59", 2, "/b", 0),
            (2**63 - 1, "2026-01-06", "23:59:59", None, "/b", 0),
            *((number, "2026-01-07", "10:00:00", 3, "/c", 1) for number in range(10, 20)),
        ],
    )
    source = open_source(mariadb.source(name))
    found = rows_of(source).filter(pl.col("user") != "3")
    assert found.select("time", "user", "action", "outcome").rows() == [
        (datetime(2026, 1, 5, 9, 15, tzinfo=UTC), "12345678901234567890", "/a", "success"),
        (datetime(2026, 1, 6, 23, 59, 59, tzinfo=UTC), "2", "/b", "failure"),
    ]
    assert [bad.position for bad in source.quarantine.samples] == [2, 3, 4, 5, 2**63 - 1]
    assert "'0000-00-00'" in source.quarantine.samples[0].text


def test_types_of_mysql_come_as_what_they_mean(mariadb: Database) -> None:
    """Both drivers give the same: texts in Latin-1 and emoji, bits, sets, decimals, fractions of seconds, instants."""
    mariadb.do("SET GLOBAL time_zone = '+05:00'")
    try:
        name = mariadb.table(
            "id INT PRIMARY KEY, happened TIMESTAMP NULL, local DATETIME, exact DATETIME(6), latin VARCHAR(9) "
            "CHARACTER SET latin1, emoji TEXT, price DECIMAL(20,4), flag BIT(1), "
            "big BIGINT UNSIGNED, raw BLOB, half DOUBLE",
        )
        mariadb.do(
            "SET time_zone = '+00:00'",
            f"INSERT INTO {name} VALUES "
            "(1, '2026-01-05 12:00:00', '2026-01-05 12:00:00', '2026-01-05 12:00:00.250000', "
            "'é', '😀', 12.5, 1, 18446744073709551615, x'ff41', 1.5), "
            f"(2, 0, '0000-00-00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 2)",
        )
        table = read_table(mariadb.source(name))
        choice = FieldChoice(user="latin", action="emoji")
        with pytest.raises(EventError, match="pinned to nothing"):
            open_source(mariadb.source(name), fields=FieldChoice(user="=", action="emoji")).fields  # noqa: B018 - it is read
        source = SqlSource(mariadb.source(name), fields=choice)
        slow = SqlSource(mariadb.source(name), fields=choice)
        slow._database._is_bulky = False
        assert rows_of(source).cast({"big": pl.String}).equals(rows_of(slow))
    finally:
        mariadb.do("SET GLOBAL time_zone = 'SYSTEM'")
    assert table.drop("happened").rows() == [
        (1, NOON.replace(tzinfo=None), "2026-01-05 12:00:00.250000", "é", "😀", "12.5000", 1, 2**64 - 1, "\\xffA", 1.5),
        (2, None, None, None, None, None, None, None, None, 2.0),
    ]
    assert table["happened"].to_list() == [NOON, None]
    assert rows_of(source).select("time", "user", "action").rows() == [(NOON, "é", "😀")]


def test_types_of_postgresql_come_as_what_they_mean(postgresql: Database) -> None:
    """Instants, also infinite ones, UUIDs, addresses, JSON, arrays, numerics: by both drivers alike."""
    name = postgresql.table(
        "id BIGSERIAL PRIMARY KEY, at TIMESTAMPTZ, day DATE, clock TIME, who UUID, address INET, "
        "more JSONB, list INT[], "
        "price NUMERIC(9,2), ok BOOLEAN, raw BYTEA, half REAL, local TIMESTAMP"
    )
    postgresql.do(
        f"INSERT INTO {name} VALUES (1, '2026-01-05 21:00+09', '2026-01-05', '09:15', "
        "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', "
        "'10.0.0.1', '{\"a\": 1}', '{1,2}', 12.50, true, '\\x41', 1.5, 'infinity'), "
        "(2, 'infinity', 'infinity', '24:00', NULL, NULL, NULL, NULL, 'NaN', NULL, NULL, NULL, NULL)"
    )
    assert read_table(postgresql.source(name)).rows() == [
        (1, NOON, "2026-01-05", "09:15:00", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "10.0.0.1/32", '{"a": 1}', "{1,2}",
         "12.50", True, "A", 1.5, None),
        (2, None, "infinity", "24:00:00", None, None, None, None, "NaN", None, None, None, None),
    ]  # fmt: skip
    source, slow = (SqlSource(postgresql.source(name), fields=FieldChoice(user="who", action="=x")) for _ in range(2))
    slow._database._is_bulky = False
    assert rows_of(source).equals(rows_of(slow))
    assert source.quarantine.reasons == {'column "at" holds no time': 1}


def test_sqlite_columns_may_hold_anything(tmp_path: Path) -> None:
    """Numbers beside texts, bytes that are no UTF-8: rows are read, or go to quarantine."""
    shop = Database("sqlite", None, tmp_path / "shop.db")
    name = shop.table("id INTEGER PRIMARY KEY, at, user, action")
    shop.insert(
        name, [(1, "2026-01-05", 7, "x"), (2, 5, "ann", b"\xff"), (3, "2026-01-05", 1.0, "x"), (4, None, None, 2**40)]
    )
    shop.do(f"INSERT INTO {name} VALUES (5, '2026-01-05', CAST(x'ff41' AS TEXT), 'x')")
    source = open_source(shop.source(name))
    assert rows_of(source)["user"].to_list() == ["7", "1.0", "\\xffA"]
    assert [bad.position for bad in source.quarantine.samples] == [2, 4]


# --- queries


def test_a_join_with_columns_of_the_same_name_is_read(database: Database) -> None:
    """The second `id` is called `id_2`; what it holds is read where it is named."""
    logs = database.table(COLUMNS, [row(1, "7"), row(2, "8")])
    people = database.table("id INTEGER PRIMARY KEY, name VARCHAR(20)", [(7, "ann"), (8, "bob%")])
    on = f"{logs}.username = CAST({people}.id AS CHAR(20))"
    query = f"SELECT * FROM {logs} LEFT JOIN {people} ON {on} WHERE name LIKE '%b%' OR name = 'ann' "
    query += f"ORDER BY {logs}.id DESC;"
    source = open_source(with_query(database.url, query), fields=FieldChoice(user="name", device="id_2"))
    assert rows_of(source).select("user", "device").rows() == [("bob%", "8"), ("ann", "7")]
    check_source(lambda: open_source(with_query(database.url, query), fields=FieldChoice(user="name")))


def test_a_query_can_only_read(database: Database) -> None:
    """What would change something is refused by the database, and changes nothing."""
    name = database.table(COLUMNS, [row(1)])
    with pytest.raises(SourceError):
        open_source(with_query(database.url, f"DELETE FROM {name}")).fields  # noqa: B018 - it is read
    assert database.do(f"SELECT COUNT(*) FROM {name}") == [(1,)]


def test_a_query_that_is_wrong_says_so(database: Database) -> None:
    """The database's own words are told, without the password."""
    database.table(COLUMNS)
    with pytest.raises(SourceError, match="nosuch") as error:
        open_source(with_query(database.url, "SELECT nosuch")).fields  # noqa: B018 - it is read
    assert PASSWORD not in str(error.value)


def test_lookups_come_as_a_frame(database: Database) -> None:
    """`read_table` gives the rows of a query or a table; none where there are none."""
    name = database.table("id INTEGER PRIMARY KEY, name VARCHAR(20)", [(7, "ann"), (8, None)])
    assert read_table(database.url, f"SELECT * FROM {name}").rows() == [(7, "ann"), (8, None)]
    assert read_table(database.source(name)).columns == ["id", "name"]
    assert read_table(database.url, f"SELECT * FROM {name} WHERE id > 9").shape == (0, 2)


@pytest.fixture
def fragment(mariadb: Database, shared_data: Path) -> tuple[str, str]:
    """The address of the real fragment joined with its cohorts, and the file that it came from."""
    file = shared_data / "curriculum" / "log_fragment.csv"
    logs = pl.read_csv(file, infer_schema=False).with_columns(pl.col("path").fill_null(""))
    cohorts = pl.read_csv(shared_data / "curriculum" / "cohorts.csv", infer_schema=False).drop("")
    columns = "date DATE, time TIME, path VARCHAR(255), user_id INT, cohort_id INT, ip VARCHAR(45)"
    first = mariadb.table(columns, logs.rows())
    other = mariadb.table(
        "id INT PRIMARY KEY, name VARCHAR(60), slack VARCHAR(60), start_date DATE, end_date DATE, created_at DATETIME, "
        "updated_at DATETIME, deleted_at DATETIME, program_id INT",
        cohorts.rows(),
    )
    query = f"SELECT * FROM {first} AS logs LEFT JOIN {other} AS cohorts ON logs.cohort_id = cohorts.id"
    return with_query(mariadb.url, query), str(file)


def test_the_same_log_gives_the_same_events_from_mariadb_and_from_csv(fragment: tuple[str, str]) -> None:
    """The real fragment, joined with its cohorts: the same times, users, actions, addresses and groups."""
    from_table, from_file = (rows_of(open_source(url)) for url in fragment)
    columns = ["time", "user", "action", "outcome", "ip", "group"]
    assert from_table.select(columns).equals(from_file.select(columns))
    assert {"name", "start_date", "program_id"} <= set(from_table.columns)


@pytest.mark.slow
def test_the_same_log_gives_the_same_bits_from_mariadb_and_from_csv(fragment: tuple[str, str]) -> None:
    """Same users, same evidence, same reasons; user 341 among them."""
    found, expected = (amiss.scan(url, top=5) for url in fragment)
    assert found.summary.events == expected.summary.events == 2373
    assert found.users.equals(expected.users)
    assert "341" in found.users["user"].to_list()


# --- who may read


def test_name_and_password_come_from_many_places(
    mariadb: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment, a variable that is named, a file as MySQL's programs read it, a keyring: the same rows."""
    name = mariadb.table(COLUMNS, [row(1, "ann")])
    plain = f"{mariadb.plain_url}?table={name}"
    monkeypatch.setenv("AMISS_SQL_USERNAME", "watcher")
    with pytest.raises(SourceError, match="AMISS_SQL_PASSWORD"):
        open_source(plain).fields  # noqa: B018 - it is read
    monkeypatch.setenv("AMISS_SQL_PASSWORD", PASSWORD)
    assert len(rows_of(open_source(plain))) == 1
    monkeypatch.delenv("AMISS_SQL_PASSWORD")
    monkeypatch.setenv("SHOP", PASSWORD)
    assert len(rows_of(open_source(f"{plain}&password_env=SHOP"))) == 1
    file = tmp_path / "my.cnf"
    file.write_text(f"[client]\nuser = watcher\npassword = '{PASSWORD}'\n")
    monkeypatch.delenv("AMISS_SQL_USERNAME")
    assert len(rows_of(open_source(f"{plain}&credentials={file}"))) == 1
    assert open_source(f"{plain}&credentials={file}").url == plain


def test_a_keyring_gives_the_password() -> None:
    """By service and name; a keyring without it says how to put it there."""
    import keyring
    from keyring.backend import KeyringBackend

    class Ring(KeyringBackend):
        """A keyring in memory."""

        priority = 1  # type: ignore[assignment]  # a property elsewhere

        def get_password(self, service: str, username: str) -> str | None:
            """The one password that there is."""
            return "s3cret" if (service, username) == ("shop", "ann") else None

        def set_password(self, service: str, username: str, password: str) -> None:
            """It cannot be changed."""

    before = keyring.get_keyring()
    keyring.set_keyring(Ring())
    try:
        assert Address.parse("mysql://ann@h/d?table=t&keyring=shop", {}).login.password == "s3cret"
        with pytest.raises(SourceError, match="keyring set other ann"):
            Address.parse("mysql://ann@h/d?table=t&keyring=other", {})
    finally:
        keyring.set_keyring(before)


def test_no_password_is_shown(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in the address, nor in cursors, errors, logs, or how things print."""
    caplog.set_level(logging.DEBUG)
    name = database.table(COLUMNS, [row(1), (2, "soon", "x", "y")])
    source = SqlSource(database.source(name))
    shown = [
        source.url,
        repr(source.address),
        str(list(source.read())),
        repr(source._database._engine),
        str(source.quarantine),
    ]
    for wrong in (
        database.source("nosuch"),
        f"{database.url}?tabel=x",
        database.source(name).replace("/shop", "/nosuch", 1),
    ):
        with pytest.raises((SourceError, UsageError)) as error:
            SqlSource(wrong).fields  # noqa: B018 - it is read
        shown.append(str(error.value))
    assert not [text for text in [*shown, caplog.text] if "p w@" in text or "p%20w" in text]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://h/d?table=t&cusror=id", 'no option "cusror".* Did you mean "cursor"'),
        ("mysql://h/?table=t", "names no database"),
        ("mysql://h:x/d?table=t", "port"),
        ("sqlite://shop.db", "has no host"),
        ("mysql://h/d?table=t&query=SELECT", "do not go together"),
        ("mysql://h/d?table=t&overlap=soon", "overlap is"),
        ("mysql://h/d?table=t&start=now", "start is"),
        ("mysql://h/d?table=t&password_env=AMISS_NO_SUCH", "not set"),
        ("mysql://h/d?table=t&credentials=/nosuch/file", "cannot be read"),
    ],
)
def test_addresses_that_are_wrong_say_what_is(url: str, said: str) -> None:
    """Each with what was expected."""
    with pytest.raises((UsageError, SourceError), match=said):
        SqlSource(url)


def test_a_database_that_is_not_there_says_so(tmp_path: Path) -> None:
    """Neither a file that is missing nor a table makes anything."""
    with pytest.raises(SourceError, match="there is no file"):
        open_source(f"sqlite:///{tmp_path}/no.db?table=logs").fields  # noqa: B018 - it is read
    assert not (tmp_path / "no.db").exists()
    shop = Database("sqlite", None, tmp_path / "shop.db")
    name = shop.table(COLUMNS)
    with pytest.raises(SourceError, match=rf"no such table\. Tables here: {name}"):
        open_source(shop.source("log")).fields  # noqa: B018 - it is read
    with pytest.raises(EventError, match="holds no rows"):
        open_source(shop.source(name)).fields  # noqa: B018 - it is read
    shop.insert(name, [row(1)])
    with pytest.raises(SourceError, match=r'no column "ide" .* Did you mean "id"'):
        open_source(shop.source(name, cursor="ide")).fields  # noqa: B018 - it is read
    with pytest.raises(SourceError, match="expected whole numbers or times"):
        open_source(shop.source(name, cursor="action")).fields  # noqa: B018 - it is read


# --- following


def test_rows_that_are_committed_late_come_and_none_twice(database: Database) -> None:
    """A transaction that took a low key and commits behind higher ones is read then, also by a new process."""
    if database.kind == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    name = database.table(COLUMNS, [row(1, "a"), row(2, "b")])
    with following(database.source(name)) as follower, database.connected() as late, database.connected() as later:
        follower.wait_for("a", "b")
        slow, slower = late.cursor(), later.cursor()
        for cursor, number, user in ((slow, 3, "late"), (slower, 5, "later")):
            cursor.execute("BEGIN")
            cursor.execute(f"INSERT INTO {name} VALUES (%s, %s, %s, %s)", row(number, user))
        database.insert(name, [row(4, "c"), row(6, "d")])
        follower.wait_for("a", "b", "c", "d")
        slow.execute("COMMIT")
        follower.wait_for("a", "b", "c", "d", "late")
        cursor = follower.end()
        slower.execute("COMMIT")
        database.insert(name, [row(7, "e")])
        with following(database.source(name), cursor) as again:
            again.wait_for("later", "e")


def test_rows_of_one_time_come_once_each(database: Database) -> None:
    """With times for a cursor, rows that share one and come late are told apart, and those that were read stay read."""
    kinds = {"sqlite": "TEXT", "mariadb": "DATETIME(3)", "postgresql": "TIMESTAMPTZ"}
    name = database.table(f"happened {kinds[database.kind]}, username VARCHAR(20), action VARCHAR(20)")
    noon = "2026-01-05 12:00:00"
    database.insert(name, [(noon, "a", "x"), (noon, "a", "x"), (noon, "b", "x")])
    url = database.source(name, cursor="happened", overlap="10s")
    check_source(lambda: open_source(url))
    with following(url) as follower:
        follower.wait_for("a", "a", "b")
        database.insert(name, [(noon, "a", "x"), ("2026-01-05 12:00:09", "c", "x")])
        follower.wait_for("a", "a", "b", "a", "c")
        database.insert(name, [("2026-01-05 11:59:59.500", "d", "x"), ("2026-01-05 11:59:00", "too late", "x")])
        follower.wait_for("a", "a", "b", "a", "c", "d")
        cursor = follower.end()
    database.insert(name, [(noon, "b", "x"), (noon, "e", "x")])
    with following(url, cursor) as again:
        again.wait_for("b", "e")


def test_an_empty_table_is_waited_for(database: Database) -> None:
    """What plays which role is found by the first rows; empty frames come meanwhile none."""
    name = database.table(COLUMNS)
    source = open_live_source(database.source(name))
    assert source.settle(threading.Event(), until_eof=True) is None
    with following(database.source(name)) as follower:
        time.sleep(0.1)
        database.insert(name, [row(1, "ann")])
        follower.wait_for("ann")


def test_reading_may_begin_with_what_comes(database: Database) -> None:
    """`start=latest` leaves out what is there."""
    name = database.table(COLUMNS, [row(1, "old")])
    with following(database.source(name, start="latest")) as follower:
        time.sleep(0.3)
        database.insert(name, [row(5, "new")])
        follower.wait_for("new")


def test_a_table_that_was_truncated_or_made_anew_is_read_from_its_beginning(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a warning; rows that were merely deleted or changed are not taken for that."""
    monkeypatch.setattr("amiss.sources.sql_feed.CHECK_SECONDS", 0.05)
    name = database.table(COLUMNS, [row(number, "a") for number in range(1, 9)])
    with following(database.source(name)) as follower:
        follower.wait_for(*"aaaaaaaa")
        database.do(f"DELETE FROM {name} WHERE id < 3", f"UPDATE {name} SET username = 'z' WHERE id = 8")
        database.do(f"ALTER TABLE {name} ADD COLUMN more INTEGER")
        time.sleep(0.3)
        assert not caplog.messages
        if database.kind == "mariadb":
            time.sleep(max(0.0, 1.1 - time.time() % 1))
        database.do(f"DROP TABLE {name}")
        time.sleep(0.2)
        database.table(COLUMNS, [row(1, "b"), row(2, "b")], name)
        follower.wait_for(*"aaaaaaaabb")
    assert len([text for text in caplog.messages if "made anew" in text]) == 1
    assert len([text for text in caplog.messages if "Trying until it is back" in text]) <= 1


@pytest.mark.slow
@pytest.mark.usefixtures("mariadb")
def test_a_server_that_is_killed_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One warning, and reading goes on where it stood once it is back."""
    server = MariaDB(tmp_path)
    server.prepare()
    shop = Database("mariadb", server, tmp_path)
    try:
        name = shop.table(COLUMNS, [row(1, "a")])
        with following(shop.source(name)) as follower:
            follower.wait_for("a")
            server.kill()
            time.sleep(0.5)
            server.start()
            shop.insert(name, [row(2, "b")])
            follower.wait_for("a", "b")
    finally:
        server.kill()
    assert [text.rpartition(". ")[2] for text in caplog.messages if "Trying" in text] == ["Trying until it is back"]
    assert [text for text in caplog.messages if "reading again" in text]


def test_a_server_that_is_not_there_ends_a_reading_of_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an error that says that trying again may help."""
    monkeypatch.setattr("amiss.sources.sql_feed.FIRST_WAIT_SECONDS", 0.0)
    with pytest.raises(SourceError) as error:
        open_source("mysql://127.0.0.1:1/shop?table=logs").fields  # noqa: B018 - it is read
    assert error.value.retry_after is not None


def test_a_query_is_followed_by_a_column_that_grows(database: Database) -> None:
    """A join too: what comes into it comes once."""
    logs = database.table(COLUMNS, [row(1, "a")])
    query = f"SELECT * FROM {logs} WHERE action = 'view'"
    url = f"{with_query(database.url, query)}&cursor=id"
    with following(url) as follower:
        follower.wait_for("a")
        database.insert(logs, [row(2, "b"), row(3, "c", "other"), row(4, "d")])
        follower.wait_for("a", "b", "d")
    with pytest.raises(SourceError, match="cursor=COLUMN"):
        list(
            SqlSource(with_query(database.url, query)).follow(
                Coding(), batch=9, every=timedelta(1), stop=threading.Event()
            )
        )


def test_a_cursor_is_small_and_of_one_table_only(database: Database) -> None:
    """It names no password, holds the holes, and is refused where the key is another one."""
    name = database.table(f"{COLUMNS}, other INTEGER UNIQUE", [(*row(n * 3), n) for n in range(1, 500)])
    *_, (_, cursor) = open_source(database.source(name)).read()
    assert len(cursor.token) < 9_000
    assert json.loads(cursor.token)["window"]["high"] == 1497
    with pytest.raises(SourceError, match='rows by "id", not by "other"'):
        next(open_source(database.source(name, cursor="other")).read(cursor))
    with pytest.raises(SourceError, match="no cursor of an SQL source"):
        next(open_source(database.source(name)).read(Cursor("{}")))


def test_without_the_drivers_the_command_that_installs_them_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an error of its own kind."""
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(MissingExtraError, match=r"amiss\[sql\]"):
        SqlSource("mysql://h/d?table=t")


@pytest.mark.slow
def test_a_million_rows_are_read_in_bounded_memory(mariadb: Database, tmp_path: Path) -> None:
    """As many events, in frames; the process takes far less than the table does."""
    name = mariadb.table("id BIGINT PRIMARY KEY, date DATE, time TIME, user_id INT, path VARCHAR(99)")
    rows = pl.int_range(1, 1_000_001, eager=True).alias("id").to_frame()
    rows = rows.with_columns(
        date=pl.lit("2026-01-05"),
        time=(pl.datetime(2026, 1, 5) + pl.duration(seconds=pl.col("id") % 86_400)).dt.to_string("%H:%M:%S"),
        user_id=pl.col("id") % 3_001,
        path=pl.format("/lesson/{}/of/a/course/with/a/long/name/{}", pl.col("id") % 97, pl.col("id") % 1_009),
    )
    rows.write_csv(tmp_path / "rows.csv", include_header=False)
    mariadb.do(f"LOAD DATA LOCAL INFILE '{tmp_path / 'rows.csv'}' INTO TABLE {name} FIELDS TERMINATED BY ','")
    program = (
        "import resource, sys; from amiss.sources import open_source; from amiss.vocabulary import Coding; "
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024; source = open_source(sys.argv[1]); "
        "frames = source.read_coded(Coding()); count = len(next(frames)[0]); before = peak(); "
        "count += sum(len(frame) for frame, _ in frames); print(count, peak() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, mariadb.source(name)], capture_output=True, text=True, check=True
    )
    count, megabytes = map(int, done.stdout.split())
    assert count == 1_000_000
    assert megabytes < 60, f"{megabytes} MiB for 90 MB of rows"
