"""Real servers of SQL databases for tests: MariaDB and PostgreSQL, where Debian's packages are installed.

apt-get install --no-install-recommends mariadb-server postgresql

Each is made once for all workers of a run, in a directory of its own on a free port of this machine, and ends with the
last worker that uses it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pymysql
import pymysql.cursors

INSTALL = "apt-get install --no-install-recommends mariadb-server postgresql"
NAME = "watcher"
PASSWORD = "p w@:/&%1"

_MARIADB = (
    "--no-defaults --skip-log-bin --skip-name-resolve --bind-address=127.0.0.1 --local-infile=1 --sql-mode= "
    "--innodb-log-file-size=16M --innodb-buffer-pool-size=64M --innodb-flush-log-at-trx-commit=0 "
    "--innodb-doublewrite=0 --performance-schema=0 --aria-log-file-size=8M --key-buffer-size=1M "
    "--character-set-server=utf8mb4"
).split()


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _as_root() -> bool:
    return os.geteuid() == 0


class Server:
    """A server on this machine, which can be killed and come back; `url` is a database of it, without options."""

    scheme = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address, with name and password."""
        return f"{self.scheme}://{NAME}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/shop"

    @property
    def plain_url(self) -> str:
        """The address without them."""
        return f"{self.scheme}://127.0.0.1:{self.port}/shop"

    def command(self) -> Sequence[str]:
        """What starts it."""
        raise NotImplementedError

    def connect(self) -> Any:
        """A connection that may do everything, and commits each statement."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        until = time.monotonic() + 60
        while True:
            try:
                self.connect().close()
            except (pymysql.err.OperationalError, psycopg.OperationalError) as error:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise RuntimeError((self.folder / "server.log").read_text()[-2000:]) from error
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """End it at once, without a word to its clients."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def outlast(self, seconds: float = 300) -> None:
        """Wait until others who use it have ended it, where this process began it."""
        if self.process is not None:
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()

    def do(self, *statements: str) -> list[Any]:
        """Carry out statements; the rows of the last one."""
        connection = self.connect()
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []


class MariaDB(Server):
    """A server of MariaDB."""

    scheme = "mysql"

    @staticmethod
    def missing() -> str:
        """Why there can be none; empty where there can."""
        needed = [name for name in ("mariadbd", "mariadb-install-db") if not _found(name)]
        return f"no {' or '.join(needed)}: {INSTALL}" if needed else ""

    def prepare(self) -> None:
        """Make its files."""
        user = ["--user=root"] if _as_root() else []
        _run([str(_found("mariadb-install-db")), *_MARIADB[:1], f"--datadir={self.folder / 'data'}", *user,
              *_MARIADB[1:], "--auth-root-authentication-method=normal", "--skip-test-db"])  # fmt: skip
        self.start()
        who = f"'{NAME}'@'%'"
        self.do(
            "CREATE DATABASE shop CHARACTER SET utf8mb4",
            f"CREATE USER {who} IDENTIFIED BY '{PASSWORD}'",
            f"GRANT ALL ON *.* TO {who}",
        )

    def copied(self, folder: Path) -> MariaDB:
        """Another server with the same files, not started; this one must not run."""
        shutil.copytree(self.folder / "data", folder / "data", ignore=shutil.ignore_patterns("*.pid"))
        return MariaDB(folder)

    def command(self) -> Sequence[str]:
        """What starts it."""
        user = ["--user=root"] if _as_root() else []
        place = [f"--datadir={self.folder / 'data'}", f"--socket={self.folder / 's'}", f"--port={self.port}"]
        return [str(_found("mariadbd")), *_MARIADB, *place, f"--pid-file={self.folder / 'pid'}", *user]

    def connect(self) -> Any:
        """A connection as root."""
        place = {"host": "127.0.0.1", "port": self.port, "user": "root", "charset": "utf8mb4"}
        database = "shop" if (self.folder / "data" / "shop").exists() else None
        return pymysql.connect(**place, database=database, autocommit=True, local_infile=True)


class PostgreSQL(Server):
    """A server of PostgreSQL; it runs as another user where this is root."""

    scheme = "postgresql"

    @staticmethod
    def missing() -> str:
        """Why there can be none; empty where there can."""
        needed = [name for name in ("initdb", "postgres") if not _found(name)]
        return f"no {' or '.join(needed)}: {INSTALL}" if needed else ""

    def prepare(self) -> None:
        """Make its files."""
        if _as_root():
            (self.folder / "data").mkdir()
            shutil.chown(self.folder / "data", "postgres")
            for place in (self.folder, *self.folder.parents):
                if place.stat().st_uid == os.geteuid() and str(place) != "/":
                    place.chmod(place.stat().st_mode | 0o011)
        settings = ["-U", "root", "--auth=scram-sha-256", f"--pwfile={self._password()}", "--no-sync", "-E", "UTF8"]
        _run([*self._user(), str(_found("initdb")), "-D", str(self.folder / "data"), "--locale=C", *settings])
        self.start()
        self.do(f"CREATE USER {NAME} SUPERUSER PASSWORD '{PASSWORD}'", f"CREATE DATABASE shop OWNER {NAME}")

    def _password(self) -> Path:
        place = self.folder / "password"
        place.write_text(PASSWORD)
        place.chmod(0o644)
        return place

    def _user(self) -> list[str]:
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if _as_root() else []

    def command(self) -> Sequence[str]:
        """What starts it."""
        settings = (
            "fsync=off shared_buffers=16MB unix_socket_directories= listen_addresses=127.0.0.1 timezone=Asia/Tokyo"
        )
        options = [part for setting in settings.split(" ") for part in ("-c", setting)]
        return [*self._user(), str(_found("postgres")), "-D", str(self.folder / "data"), "-p", str(self.port), *options]

    def connect(self) -> Any:
        """A connection that may do everything."""
        where = {"host": "127.0.0.1", "port": self.port, "user": "root", "password": PASSWORD, "autocommit": True}
        try:
            return psycopg.connect(dbname="shop", **where)
        except psycopg.OperationalError as error:
            if "does not exist" not in str(error):
                raise
            return psycopg.connect(dbname="postgres", **where)


def _found(name: str) -> Path | None:
    """A program, also where Debian hides it."""
    places = [Path(found)] if (found := shutil.which(name)) else []
    places += [Path("/usr/sbin") / name, *sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)]
    return next((place for place in places if place.exists()), None)


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stdout[-1000:]} {done.stderr[-1000:]}")


@contextmanager
def shared(kind: type[MariaDB | PostgreSQL], folder: Path) -> Iterator[Server]:
    """The server of a kind in a directory: the first who asks starts it, and waits for the last, who ends it."""
    folder.mkdir(exist_ok=True)
    server = kind(folder)
    with _locked(folder):
        users = _number(folder / "users")
        if not users:
            server.prepare()
            assert server.process is not None, "it was started"
            (folder / "port").write_text(str(server.port))
            (folder / "process").write_text(str(server.process.pid))
        server.port = _number(folder / "port")
        (folder / "users").write_text(str(users + 1))
    try:
        yield server
    finally:
        with _locked(folder):
            users = _number(folder / "users") - 1
            (folder / "users").write_text(str(users))
            if not users:
                os.kill(_number(folder / "process"), signal.SIGKILL if kind is MariaDB else signal.SIGQUIT)
        server.outlast()


def _number(place: Path) -> int:
    return int(place.read_text()) if place.exists() else 0


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
