"""Connections to SQL databases: by connectorx and ADBC where there is much to read, else by SQLAlchemy.

What is read comes in frames of some ten thousand rows, so that memory stays bounded however large a table is. Sessions
are read-only.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import polars as pl

from amiss.errors import EventError, MissingExtraError, SourceError
from amiss.sources.sql_address import PASSWORD, USERNAME, Address
from amiss.sources.sql_plan import Relation, columns_of, from_rows

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

FRAME_ROWS: Final = 50_000
TIMEOUT_SECONDS: Final = 10
RETRY_SECONDS: Final = 5.0
_DRIVERS: Final = {"mysql": "mysql+pymysql", "postgresql": "postgresql+psycopg", "sqlite": "sqlite"}
_SESSION: Final = {
    "mysql": ("SET SESSION TRANSACTION READ ONLY", "SET SESSION time_zone = '+00:00'"),
    "postgresql": (
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SET datestyle TO ISO, YMD", "SET timezone TO 'UTC'",
    ),
    "sqlite": (),
}  # fmt: skip
_NOT_NOW: Final = {"mysql": (1040, 1053, 1203, 1205, 1213, 1317, 2002, 2003, 2006, 2013, 2014, 2055)}
"""Errors of MySQL that may pass: too many connections, shutdown, lock waits, no server, a lost connection."""
_PASSING_STATES: Final = ("08", "53", "57", "40")
"""Classes of PostgreSQL's errors that may pass: connection, resources, intervention of the operator, rollback."""
_REFUSED: Final = (1044, 1045, 1698)

_LOG: Final = logging.getLogger(__name__)


class Database:
    """A database and what is asked of it.

    Parameters
    ----------
    address
        Where it is.

    Raises
    ------
    MissingExtraError
        If SQLAlchemy or the driver is not installed.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        closed = threading.Event()
        self._engine = _engine(address, closed)
        self.close = weakref.finalize(self, _closed, self._engine, closed)
        """Closes connections; so does the end of the database's use."""
        self._is_bulky = address.dialect != "sqlite" and not (address.dialect == "mysql" and address.is_secured)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn errors of drivers into those of sources, without what they say of the login."""
        from sqlalchemy.exc import DBAPIError, SQLAlchemyError

        try:
            yield
        except DBAPIError as error:
            raise _error(self.address, error.orig or error) from None
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise _error(self.address, error) from None

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with self._asking(), self._engine.connect() as connection:
            yield connection.execution_options(no_parameters=True)

    # --- what there is

    def relation(self) -> Relation:
        """The table or query of the address, and its columns.

        Raises
        ------
        SourceError
            If there is none such; names those that there are.
        """
        address = self.address
        if not address.table and not address.query:
            raise SourceError(f"{address.url} names no table. Add ?table=NAME, or give --query. {self._tables()}")
        quotes = "`" if address.dialect == "mysql" else '"'
        parts = address.table.split(".") if address.table else []
        table = ".".join(quotes + part.replace(quotes, quotes * 2) + quotes for part in parts)
        query = address.query.strip().rstrip(";").rstrip()
        try:
            with self._connected() as connection:
                description = self._described(connection, query or f"SELECT * FROM {table}")
        except SourceError as error:
            if table and _is_missing(error):
                raise MissingTableError(f"{address.name}: there is no such table. {self._tables()}") from None
            raise
        return Relation(address.dialect, table, query, columns_of(address.dialect, description), quotes)

    def _described(self, connection: Connection, sql: str) -> Sequence[Sequence[Any]]:
        """What a statement gives, without its rows."""
        dialect = self.address.dialect
        if dialect == "mysql":
            connection.exec_driver_sql("SET SESSION sql_select_limit = 0")
        if dialect == "postgresql":
            sql = f"SELECT * FROM (\n{sql}\n) AS amiss_rows LIMIT 0"
        try:
            result = connection.exec_driver_sql(sql)
            found = result.cursor.description if result.cursor is not None else None
            result.close()
        finally:
            if dialect == "mysql":
                with suppress(Exception):
                    connection.exec_driver_sql("SET SESSION sql_select_limit = DEFAULT")
        if not found:
            raise SourceError(f"{self.address.name}: expected a query that gives rows (SELECT …)")
        return list(found)

    def _tables(self) -> str:
        """The names of tables, to be told."""
        from sqlalchemy import inspect

        with self._asking():
            inspector = inspect(self._engine)
            names = [*inspector.get_table_names(), *inspector.get_view_names()]
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        return f"Tables here: {', '.join(sorted(names)[:20])}{more}" if names else "There are no tables here"

    def primary_key(self) -> tuple[str, ...]:
        """The columns of the table's primary key; none of a view or a query."""
        from sqlalchemy import inspect

        if not self.address.table:
            return ()
        schema, _, name = self.address.table.rpartition(".")
        with self._asking():
            found = inspect(self._engine).get_pk_constraint(name, schema=schema or None)
        return tuple(found.get("constrained_columns") or ())

    def is_unique(self, name: str) -> bool:
        """Whether the table lets no two rows have the same in a column."""
        from sqlalchemy import inspect

        address = self.address
        if not address.table:
            return False
        if self.primary_key() == (name,):
            return True
        schema, _, table = address.table.rpartition(".")
        with self._asking():
            found = inspect(self._engine).get_indexes(table, schema=schema or None)
        return any(index["unique"] and index["column_names"] == [name] for index in found)

    def identity(self) -> str:
        """What a table has that one of the same name, made anew or truncated, has not; empty where nothing tells."""
        address = self.address
        if not address.table or address.dialect == "sqlite":
            return ""
        schema, _, name = address.table.rpartition(".")
        if address.dialect == "mysql":
            where = f"table_schema = {self.literal(schema or address.database)} AND table_name = {self.literal(name)}"
            sql = f"SELECT CAST(create_time AS CHAR) FROM information_schema.tables WHERE {where}"
        else:
            quoted = ".".join(f'"{part}"' for part in address.table.split("."))
            where = f"oid = to_regclass({self.literal(quoted)})"
            sql = f"SELECT oid::text || ' ' || relfilenode::text FROM pg_class WHERE {where}"
        found = self.rows(sql)
        return str(found[0][0] or "") if found else ""

    # --- statements

    def literal(self, value: int | str) -> str:
        """A value as it stands in statements."""
        from sqlalchemy import String

        if isinstance(value, int):
            return str(value)
        made: Any = String()
        text = str(made.literal_processor(self._engine.dialect)(value))
        return text.replace("%%", "%") if self.address.dialect != "sqlite" else text

    def rows(self, sql: str) -> list[Any]:
        """All rows of a small result."""
        with self._connected() as connection:
            return list(connection.exec_driver_sql(sql).fetchall())

    def frame(self, sql: str) -> pl.DataFrame:
        """A small result by SQLAlchemy, in columns `a0`, `a1` …"""
        with self._connected() as connection:
            result = connection.exec_driver_sql(sql)
            return from_rows(result.fetchall(), len(result.keys()))

    def stream(self, sql: str, *, rows: int = FRAME_ROWS, quick: bool = True) -> Iterator[pl.DataFrame]:
        """A result of any size, in frames of columns `a0`, `a1` …; by the quick driver if wanted.

        What the quick driver does not take is read by the other one; rows that were given already are not given again.
        """
        given = 0
        if quick and self._is_bulky:
            try:
                for frame in self._quick(sql, rows):
                    yield frame
                    given += len(frame)
            except GeneratorExit:
                raise
            except BaseException as error:
                if not _is_drivers(error):
                    raise
                _LOG.debug("%s: %s: reading on by SQLAlchemy", self.address.name, type(error).__name__)
            else:
                return
        for frame in self._slow(sql, rows):
            part = frame[given:]
            given -= len(frame) - len(part)
            if len(part):
                yield part

    def _quick(self, sql: str, rows: int) -> Iterator[pl.DataFrame]:
        """A result by connectorx or ADBC."""
        return self._by_connectorx(sql, rows) if self.address.dialect == "mysql" else self._by_adbc(sql)

    def _by_connectorx(self, sql: str, rows: int) -> Iterator[pl.DataFrame]:
        try:
            import connectorx
        except ImportError as error:
            raise MissingExtraError("reading an SQL database", "sql") from error
        self._ping()
        url = driver_url(self.address)
        for batch in connectorx.read_sql(url, sql, return_type="arrow_stream", batch_size=rows):
            if batch.num_rows:
                yield _of_arrow(batch)

    def _ping(self) -> None:
        """See that the server lets us in: connectorx would try for half a minute."""
        with self._connected() as connection:
            connection.exec_driver_sql("SELECT 1").fetchall()

    def _by_adbc(self, sql: str) -> Iterator[pl.DataFrame]:
        try:
            from adbc_driver_postgresql import dbapi
        except ImportError as error:
            raise MissingExtraError("reading a PostgreSQL database", "sql") from error
        with dbapi.connect(driver_url(self.address)) as connection, connection.cursor() as cursor:
            for statement in _SESSION["postgresql"]:
                cursor.execute(statement)
            cursor.execute(sql)
            for batch in cursor.fetch_record_batch():
                if batch.num_rows:
                    yield from _of_arrow(batch).iter_slices(FRAME_ROWS * 2)

    def _slow(self, sql: str, rows: int) -> Iterator[pl.DataFrame]:
        """A result by SQLAlchemy, of which no more is held than a frame."""
        with self._connected() as connection:
            result = connection.execution_options(stream_results=True, max_row_buffer=rows).exec_driver_sql(sql)
            try:
                while found := result.fetchmany(rows):
                    yield from_rows(found, len(found[0]))
            except GeneratorExit:
                connection.invalidate()
                raise
            result.close()


class MissingTableError(SourceError):
    """There is no such table, or not now."""


def _of_arrow(batch: Any) -> pl.DataFrame:  # noqa: ANN401 - a record batch of Arrow
    found = batch.rename_columns([f"a{number}" for number in range(batch.num_columns)])
    frame = pl.from_arrow(found)
    assert isinstance(frame, pl.DataFrame), "a batch is a frame"
    return frame


def _is_drivers(error: BaseException) -> bool:
    """Whether an error comes from what connectorx or ADBC does not take: it panics, or has one of its own kinds."""
    if isinstance(error, SourceError | EventError | MissingExtraError):
        return False
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


# --- engines


def _engine(address: Address, closed: threading.Event) -> Engine:
    """Connections to a database; those that come back when it is closed are closed too."""
    _check_installed(address)
    from sqlalchemy import create_engine, event
    from sqlalchemy.pool import NullPool

    if address.dialect == "sqlite":
        return create_engine("sqlite://", creator=lambda: _sqlite(address), poolclass=NullPool)
    engine = create_engine(_url(address), pool_size=2, pool_pre_ping=True, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:  # noqa: ANN401 - of any driver
        """Settle a new session: read-only, and times in UTC."""
        with connection.cursor() as cursor:
            for statement in _SESSION[address.dialect]:
                cursor.execute(statement)
        connection.commit()

    @event.listens_for(engine, "checkin")
    def _return(_connection: object, record: Any) -> None:  # noqa: ANN401 - of the pool
        """Close what comes back too late."""
        if closed.is_set():
            record.invalidate()

    return engine


def _closed(engine: Engine, closed: threading.Event) -> None:
    """Close connections."""
    closed.set()
    engine.dispose()


def _check_installed(address: Address) -> None:
    """Say how to install SQLAlchemy and the driver where they are absent."""
    try:
        import_module("sqlalchemy")
        if address.dialect != "sqlite":
            import_module("pymysql" if address.dialect == "mysql" else "psycopg")
    except ImportError as error:
        raise MissingExtraError("reading an SQL database", "sql") from error


def _sqlite(address: Address) -> sqlite3.Connection:
    """A connection that only reads; the file must be there."""
    path = Path(address.database)
    if not path.exists():
        raise MissingTableError(f"there is no file {address.database}. An absolute path has four slashes: sqlite:////…")
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0, check_same_thread=False)
    connection.text_factory = _text
    return connection


def _text(data: bytes) -> str:
    """A text of SQLite; bytes that are no UTF-8 are kept as escapes."""
    return data.decode("utf-8", "backslashreplace")


def _url(address: Address) -> URL:
    """The address as SQLAlchemy takes it."""
    from sqlalchemy import URL

    driver: dict[str, Any] = {"connect_timeout": str(TIMEOUT_SECONDS), **address.driver}
    if address.dialect == "mysql":
        driver["charset"] = "utf8mb4"
        for name in ("ssl_verify_cert", "ssl_verify_identity"):
            if name in driver:
                driver[name] = "true" if driver[name].lower() in ("1", "true", "yes") else "false"
    login = address.login
    return URL.create(
        _DRIVERS[address.dialect],
        login.name or None,
        login.password or None,
        driver.pop("host", "") or address.host,
        address.port,
        address.database,
        driver,
    )


def driver_url(address: Address) -> str:
    """The address as connectorx and libpq take it, with name and password: never to be shown."""
    login = address.login
    who = quote(login.name, safe="") + (f":{quote(login.password, safe='')}" if login.password else "")
    host = f"[{address.host}]" if ":" in address.host else address.host
    options = dict(address.driver)
    if address.dialect == "mysql":
        options = {"socket": options["unix_socket"]} if "unix_socket" in options else {}
    else:
        options = {"connect_timeout": str(TIMEOUT_SECONDS), **options}
    more = f"?{urlencode(options, quote_via=quote)}" if options else ""
    place = f"{host}:{address.port}/{quote(address.database, safe='')}"
    return f"{address.dialect}://{who}{'@' if who else ''}{place}{more}"


# --- errors


def _is_missing(error: BaseException) -> bool:
    """Whether an error says that there is no such table."""
    return isinstance(error, SourceError) and getattr(error, "code", None) in (1146, "42P01", "no such table")


def _error(address: Address, error: BaseException) -> SourceError:
    """What is wrong, and whether trying again may help; nothing of the login but the name."""
    code, passing = _judged(address, error)
    said = address.clean(" ".join(str(error.args[-1] if error.args else error).split()))[:300]
    is_refused = code in (*_REFUSED, "28P01", "28000")
    advice = f". Check {USERNAME} and {PASSWORD}, or what the address says" if is_refused else ""
    found = SourceError(f"{address.name}: {said}{advice}", retry_after=RETRY_SECONDS if passing else None)
    found.code = code  # type: ignore[attr-defined]  # read by _is_missing
    return found


def _judged(address: Address, error: BaseException) -> tuple[object, bool]:
    """The code of an error, and whether it may pass."""
    if address.dialect == "mysql":
        code = error.args[0] if error.args else None
        return code, code in _NOT_NOW["mysql"] or isinstance(error, OSError)
    if address.dialect == "postgresql":
        state = getattr(error, "sqlstate", None) or ""
        text = str(error)
        if not state and ("password authentication" in text or "no password supplied" in text):
            return "28P01", False
        gone = not state and ("does not exist" not in text) and type(error).__name__ == "OperationalError"
        return state, gone or state[:2] in _PASSING_STATES
    text = str(error)
    missing = "no such table" in text
    return "no such table" if missing else text, "locked" in text or "busy" in text
