"""One SQLite file: opening it, the one-writer lock, transactions, and errors in words."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

from amiss.errors import StateError, UsageError
from amiss.store import schema
from amiss.store.schema import REBUILD

MAGIC: Final = b"SQLite format 3\x00"
BUSY_SECONDS: Final = 10.0
"""How long one process waits for another's commit."""

WAL_BYTES: Final = 16 * 2**20
"""What the log ahead of the file grows to before it is moved into the file."""

WAL_KEPT_BYTES: Final = 4 * WAL_BYTES
"""What the log is cut down to after it was longer, as behind a snapshot."""

Values = Sequence[object] | Mapping[str, object]

_ADVICE: Final = {
    sqlite3.SQLITE_FULL: "there is no room left for it. Nothing of this change was kept; make room and start again",
    sqlite3.SQLITE_READONLY: "it cannot be written. Give this user the right to write the file and its directory",
    sqlite3.SQLITE_PERM: "this user may not open it. Give it the right to read and write the file",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened. Check that it exists and that this user may read and write it and "
    "its directory",
    sqlite3.SQLITE_NOTADB: "it is no SQLite file, or is damaged. Give the state file of a watch, or a new name",
    sqlite3.SQLITE_CORRUPT: f"it is damaged. Bring back a copy of it. {REBUILD}",
    sqlite3.SQLITE_BUSY: f"another process kept it locked for {BUSY_SECONDS:.0f} s. Try again when that has ended",
    sqlite3.SQLITE_IOERR: "the disk did not take or give it. Nothing of this change was kept; check the disk and its "
    "quota and start again",
}


def explained(path: Path, error: Exception) -> StateError:
    """What went wrong with a file, and what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB and (start := _strange_start(path)):
        return StateError(
            f"{path} is no state file: expected a SQLite file, found one that starts with {start!r}. "
            "Give the state file of a watch, or a new name"
        )
    return StateError(f"{path}: {_ADVICE[code]} ({error})" if code in _ADVICE else f"{path}: {error}")


class Lock:
    """The right to be the only writer: a side file that one process at a time holds, until it ends."""

    def __init__(self, path: Path) -> None:
        """Take it.

        Raises
        ------
        StateError
            If another process has it, or the side file cannot be written.
        """
        place = path.with_name(path.name + "-lock")
        try:
            self._file = os.open(place, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StateError(
                f"{place} cannot be written ({error.strerror}). A state file has three files beside it: give this user "
                "the right to write the directory, or another place with --state"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._file, 20, 0).decode("ascii", "replace").strip() or "unknown"
            self.release()
            raise StateError(
                f"{path} is in use: process {holder} writes it. Stop that one first, or give another file with --state"
            ) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next one have it."""
        os.close(self._file)


class Connection:
    """A connection to a state file, for the thread that opened it.

    Parameters
    ----------
    path
        The file; it is made where there is none and `write` holds.
    write
        Whether to be the one writer of the stream: takes the lock. Without it a store reads, and takes what people say
        (verdicts, suppressions) and what sinks took; it is open to any number.

    Raises
    ------
    StateError
        If the file is no state file, of a format that this version cannot bring up to date, damaged, cannot be
        read or written, or has a writer already.
    """

    def __init__(self, path: str | os.PathLike[str], *, write: bool = True) -> None:
        self.path = Path(path).resolve()
        self.writes = write
        self._within = False
        self._doomed = False
        _check_place(self.path, write=write)
        self._lock = Lock(self.path) if write else None
        try:
            self._db = self._writable() if write else self._readable()
        except BaseException:
            self._release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"

    def close(self) -> None:
        """Give up what was not committed, the file and the lock; closing twice does nothing more."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        self._release()

    @contextlib.contextmanager
    def begin(self) -> Iterator[None]:
        """A transaction: all that is written inside is there for ever when it ends, or nothing of it if it fails.

        One inside another joins it; if the inner one fails, so does the outer one.

        Raises
        ------
        StateError
            If it cannot be committed (no room, another process holds the file). The store is as it was before, and
            can be used again.
        """
        if self._within:
            with self._joined():
                yield
            return
        self._run("BEGIN IMMEDIATE")
        self._within, self._doomed = True, False
        try:
            yield
            self._commit()
        finally:
            self._within = False
            self._roll_back()

    @contextlib.contextmanager
    def view(self) -> Iterator[None]:
        """All that is read inside is of one moment, whatever others write meanwhile."""
        if self._within or self._db.in_transaction:
            yield
            return
        self._run("BEGIN")
        try:
            yield
        finally:
            self._roll_back()

    @contextlib.contextmanager
    def _joined(self) -> Iterator[None]:
        """A part of a transaction that spoils the whole when it fails."""
        try:
            yield
        except BaseException:
            self._doomed = True
            raise

    def _commit(self) -> None:
        """Make a transaction last, unless a part of it failed."""
        if self._doomed or not self._db.in_transaction:
            raise StateError(f"{self.path}: a part of this change failed, so nothing of it was kept")
        self._run("COMMIT")

    def _roll_back(self) -> None:
        """Give up what is not committed."""
        if self._db.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")

    def _own(self) -> None:
        """Refuse to write the stream without the lock."""
        if not self.writes:
            raise StateError(f"{self.path} was opened to be read; only one that was opened with write=True adds to it")

    def _run(self, sql: str, values: Values = ()) -> sqlite3.Cursor:
        """Carry out a statement."""
        try:
            return self._db.execute(sql, values)
        except sqlite3.Error as error:
            raise explained(self.path, error) from error
        except UnicodeEncodeError as error:
            raise UsageError(f"a text for {self.path} is not Unicode: {error.object!r}") from error

    def _each(self, sql: str, values: Iterable[Values]) -> None:
        """Carry out a statement for each row of values."""
        for row in values:
            self._run(sql, row)

    def _rows(self, sql: str, values: Values = ()) -> list[sqlite3.Row]:
        """All rows of a query."""
        cursor = self._run(sql, values)
        try:
            return cursor.fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise explained(self.path, error) from error

    def _one(self, sql: str, values: Values = ()) -> Any:  # noqa: ANN401  # whatever the column holds
        """The first column of the first row, or None."""
        rows = self._rows(sql, values)
        return rows[0][0] if rows else None

    def _release(self) -> None:
        """Give up the lock, once."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _writable(self) -> sqlite3.Connection:
        """A connection that writes, to a file of this format."""
        try:
            return self._connected("rwc", self._settle)
        except sqlite3.Error as error:
            raise explained(self.path, error) from error

    def _settle(self, db: sqlite3.Connection) -> None:
        """Make the tables of a new file; bring those of an older format up to date."""
        db.execute("BEGIN IMMEDIATE")
        if _is_empty(db):
            db.execute("ROLLBACK")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("BEGIN IMMEDIATE")
            schema.create(db)
        _migrate(db, self.path)
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode = WAL")

    def _readable(self) -> sqlite3.Connection:
        """A connection to a file of this format that writes where it may, else one that reads."""
        failures = []
        for mode in ("rw", "ro", "ro&immutable=1"):
            if "immutable" in mode and _has_wal(self.path):
                break
            try:
                return self._connected(mode, self._check_format)
            except sqlite3.Error as error:
                failures.append(error)
        raise explained(self.path, failures[0]) from failures[0]

    def _check_format(self, db: sqlite3.Connection) -> None:
        """Refuse a file of another program, without tables, or of another format."""
        stored = _format(db, self.path)
        if stored != schema.FORMAT:
            raise StateError(
                f"{self.path} is of format {stored}, and this version reads {schema.FORMAT}. amiss watch brings it up "
                "to date",
                stored=str(stored),
                wanted=str(schema.FORMAT),
            )

    def _connected(self, mode: str, begin: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
        """A connection of a mode with its settings, after `begin`."""
        uri = f"file:{quote(str(self.path))}?mode={mode}"
        db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_SECONDS)
        try:
            db.row_factory = sqlite3.Row
            db.execute(f"PRAGMA page_size = {schema.PAGE_BYTES}")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            db.execute(f"PRAGMA wal_autocheckpoint = {WAL_BYTES // schema.PAGE_BYTES}")
            db.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
            begin(db)
        except BaseException:
            db.close()
            raise
        return db


def _check_place(path: Path, *, write: bool) -> None:
    """Refuse a place where no state file can be."""
    if sqlite3.sqlite_version_info < (3, 37):
        raise StateError(f"state files need SQLite 3.37 or later. Found: {sqlite3.sqlite_version} in this Python")
    if path.is_dir():
        raise StateError(f"{path} is a directory. Give the name of a state file in it, such as {path / 'state.db'}")
    if not path.parent.is_dir():
        raise StateError(f"the directory {path.parent} does not exist. Make it first, or give another file")
    if not write and not path.exists():
        raise StateError(f"there is no state file {path}. amiss watch and amiss learn make one with --state")
    if path.exists() and not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        raise StateError(f"{path} cannot be read (permission denied). Give this user the right to read it")


def _strange_start(path: Path) -> bytes:
    """How a file begins that is not one of SQLite's; nothing for one that may be.

    Only for files that SQLite refused: to close a file that this process has open in SQLite takes away the locks that
    keep other processes from deleting the log beside it.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(MAGIC))
    except OSError:
        return b""
    return b"" if start == MAGIC else start


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring a file up to date, in an open transaction."""
    stored = _format(db, path)
    for version in range(stored, schema.FORMAT):
        if version not in schema.MIGRATIONS:
            raise StateError(
                f"{path} is of format {stored}, which this version cannot bring to {schema.FORMAT}. {REBUILD}",
                stored=str(stored),
                wanted=str(schema.FORMAT),
            )
        schema.MIGRATIONS[version](db)
    schema.mark(db)


def _format(db: sqlite3.Connection, path: Path) -> int:
    """The format of a file of amiss that is not newer than this version."""
    application, stored = (_pragma(db, name) for name in ("application_id", "user_version"))
    if _is_empty(db):
        raise StateError(f"{path} is empty: the watch that began it stopped at once. Start amiss watch again")
    if application != schema.APPLICATION:
        raise StateError(f"{path} is the SQLite file of another program. Give the state file of a watch, or a new name")
    if stored > schema.FORMAT:
        raise StateError(
            f"{path} is of format {stored}, newer than this version of amiss reads ({schema.FORMAT}). Install the "
            f"version that wrote it, or a later one. {REBUILD}",
            stored=str(stored),
            wanted=str(schema.FORMAT),
        )
    return stored


def _is_empty(db: sqlite3.Connection) -> bool:
    """Whether a file has no tables."""
    return not db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()


def _pragma(db: sqlite3.Connection, name: str) -> int:
    """A number that a file holds about itself."""
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _has_wal(path: Path) -> bool:
    """Whether commits wait beside a file."""
    wal = path.with_name(path.name + "-wal")
    return wal.exists() and wal.stat().st_size > 0
