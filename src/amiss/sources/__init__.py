"""Where events come from: the `Source` protocol and `open_source(url)`.

A source reads records, says with :mod:`amiss.fields` which column plays which role, and gives event
frames. What it cannot read goes to its quarantine, with position and reason: nothing disappears.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol, TypedDict, runtime_checkable

import polars as pl

from amiss.events import Quarantine

if TYPE_CHECKING:
    from amiss.fields import FieldChoice, Fields
    from amiss.sources.couchdb import CouchSource
    from amiss.sources.files import FileSource
    from amiss.sources.kafka import KafkaSource
    from amiss.sources.sql import SqlSource
from amiss.vocabulary import Coding

KAFKA: Final = "kafka://"
COUCHDB: Final = ("couchdb://", "couchdbs://")
SQL: Final = ("mysql://", "mariadb://", "postgresql://", "postgres://", "sqlite://")


@dataclass(frozen=True)
class Cursor:
    """Where to resume reading: right *behind* the frame it came with.

    `token` is the source's own JSON text; others store it and hand it back unread.
    """

    token: str


@runtime_checkable
class Source(Protocol):
    """Something that event frames can be read from."""

    url: str
    quarantine: Quarantine

    def read(self, after: Cursor | None = None) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Event frames (`amiss.events.EVENT_SCHEMA`) with the cursor behind each.

        Reading again with any of these cursors gives exactly the rows that came after it.
        """
        ...


@runtime_checkable
class CodedSource(Source, Protocol):
    """A source that can give coded frames without event frames between: the same rows, faster."""

    def read_coded(self, coding: Coding, after: Cursor | None = None) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Coded frames (`coding.schema`) with the cursor behind each; new texts join the vocabularies."""
        ...


@runtime_checkable
class LiveSource(Source, Protocol):
    """A source that goes on: events are given as they come in."""

    def settle(self, stop: threading.Event, *, until_eof: bool = False) -> Fields | None:
        """Which column plays which role, once there are events to tell; None where that cannot be told.

        What was read for it is given by :meth:`follow` all the same.
        """
        ...

    def follow(
        self,
        coding: Coding,
        after: Cursor | None = None,
        *,
        batch: int,
        every: timedelta,
        stop: threading.Event,
        until_eof: bool = False,
    ) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Coded frames (`coding.schema`) as events come in, each with the cursor behind it.

        Parameters
        ----------
        coding
            New texts join it no earlier than the frame that first has them.
        after
            Resume behind this cursor, also in a new process: exactly the rows that came after it are given.
        batch
            Events of a frame at most, and exactly whenever so many are there.
        every
            A frame is given at the latest so long after its first event came in, and while nothing comes in an empty
            one each `every`.
        stop
            Ends the reading within 0.2 s after it is set, with what is complete or cannot be read again.
        until_eof
            End when all that is there now was read. A last line without end then counts as a line.
        """
        ...


def open_source(
    url: str,
    *,
    fields: FieldChoice | None = None,
    timezone: str = "UTC",
    year: int | None = None,
    strict: bool = False,
) -> FileSource | KafkaSource | CouchSource | SqlSource:
    """The source at an address: a path, a directory, a pattern, `file://`, a database, `kafka://`, or `-` for stdin.

    The format is found by content. Opening looks at the first rows and settles which column plays which role. Of Kafka
    and databases (`couchdb://`, `mysql://`, `mariadb://`, `postgresql://`, `sqlite://`) all is read that they hold now.

    Parameters
    ----------
    fields
        Columns that are pinned; the others are inferred.
    timezone
        Zone of times that name none.
    year
        Year of the first time where times have none (syslog); otherwise no time is later than the file.
    strict
        Whether the first row that cannot be read is an error.

    Raises
    ------
    SourceError
        If there is nothing to read there, or nothing that is understood.
    EventError
        If no column can be the time, the user or the action; lists what was found.
    MissingExtraError
        If what the address needs is not installed.
    """
    settings: _Settings = {"fields": fields, "timezone": timezone, "year": year, "strict": strict}
    if url.lower().startswith(KAFKA):
        from amiss.sources.kafka import KafkaSource

        return KafkaSource(url, **settings)
    if url.lower().startswith(COUCHDB):
        from amiss.sources.couchdb import CouchSource

        return CouchSource(url, **settings)
    if url.lower().startswith(SQL):
        from amiss.sources.sql import SqlSource

        return SqlSource(url, **settings)
    from amiss.sources.files import FileSource

    return FileSource(url, **settings)


def open_live_source(
    url: str,
    *,
    fields: FieldChoice | None = None,
    timezone: str = "UTC",
    year: int | None = None,
    strict: bool = False,
) -> LiveSource:
    """The source that goes on at an address: a path, a directory, a pattern, `-` for stdin, Kafka, a database.

    Nothing is read yet: the file need not be there. Which field plays which role is found by the first lines that come
    in.

    Parameters
    ----------
    fields, timezone, year, strict
        As for :func:`open_source`.

    Raises
    ------
    SourceError
        If nothing can be followed at such an address.
    MissingExtraError
        If what the address needs is not installed.

    Examples
    --------
    >>> open_live_source("app.log").url
    'app.log'
    """
    settings: _Settings = {"fields": fields, "timezone": timezone, "year": year, "strict": strict}
    if url.lower().startswith(KAFKA):
        from amiss.sources.kafka import KafkaSource

        return KafkaSource(url, **settings)
    if url.lower().startswith(COUCHDB):
        from amiss.sources.couchdb import CouchSource

        return CouchSource(url, **settings)
    if url.lower().startswith(SQL):
        from amiss.sources.sql import SqlSource

        return SqlSource(url, **settings)
    from amiss.sources.follow import FollowSource

    return FollowSource(url, **settings)


def fields_of(sources: Iterable[Source]) -> list[Fields | None]:
    """Which column plays which role in each source; None where it does not say."""
    return [getattr(source, "fields", None) for source in sources]


class _Settings(TypedDict):
    """How lines are read, whatever they come from."""

    fields: FieldChoice | None
    timezone: str
    year: int | None
    strict: bool
