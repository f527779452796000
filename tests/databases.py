"""Databases that tests fill, read and follow: SQLite always, MariaDB and PostgreSQL where they can be had."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.database_servers import MariaDB, PostgreSQL, Server, shared

KINDS = {"mariadb": MariaDB, "postgresql": PostgreSQL}
_NUMBERS = itertools.count(1)


class Database:
    """A database to be filled by hand; `url` is its address without options."""

    def __init__(self, kind: str, server: Server | None, path: Path) -> None:
        self.kind, self.server, self.path = kind, server, path
        self.url = f"sqlite:///{path}" if server is None else server.url
        self.plain_url = self.url if server is None else server.plain_url
        self.mark = "?" if server is None else "%s"

    def table(self, columns: str, rows: Iterable[Sequence[Any]] = (), name: str = "") -> str:
        """A new table with rows; its name."""
        name = name or f"logs{next(_NUMBERS)}_{id(self) % 10_000}"
        self.do(f"DROP TABLE IF EXISTS {name}", f"CREATE TABLE {name} ({columns})")
        self.insert(name, rows)
        return name

    def insert(self, name: str, rows: Iterable[Sequence[Any]], columns: str = "") -> None:
        """Put rows into a table."""
        rows = list(rows)
        if rows:
            with self.connected() as connection:
                marks = ", ".join([self.mark] * len(rows[0]))
                cursor = connection.cursor()
                cursor.executemany(f"INSERT INTO {name} {columns} VALUES ({marks})", rows)

    def do(self, *statements: str) -> list[Any]:
        """Carry out statements, each committed; the rows of the last one."""
        with self.connected() as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """A connection that commits each statement."""
        if self.server is None:
            connection: Any = sqlite3.connect(self.path, timeout=30, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")
        else:
            connection = self.server.connect()
        try:
            yield connection
        finally:
            connection.close()

    def source(self, name: str, **options: str) -> str:
        """The address of a table."""
        return f"{self.url}?table={name}" + "".join(f"&{option}={value}" for option, value in options.items())


@contextmanager
def opened(kind: str, folder: Path, root: Path) -> Iterator[Database]:
    """A database of a kind; its server is shared by all tests below `root`."""
    if kind == "sqlite":
        yield Database(kind, None, folder / "shop.db")
        return
    missing = KINDS[kind].missing()
    if missing:
        pytest.skip(missing)
    with shared(KINDS[kind], root / kind) as server:
        yield Database(kind, server, folder)
