"""Where events come from: the `Source` protocol and `open_source(url)`.

A source reads records, says with :mod:`amiss.fields` which column plays which role, and gives event
frames. What it cannot read goes to its quarantine, with position and reason: nothing disappears.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import polars as pl

from amiss.events import Quarantine

if TYPE_CHECKING:
    from amiss.fields import FieldChoice
    from amiss.sources.files import FileSource
from amiss.vocabulary import Vocabulary


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

    def read_coded(
        self, users: Vocabulary, actions: Vocabulary, after: Cursor | None = None
    ) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Coded frames (`amiss.events.CODED_SCHEMA`) with the cursor behind each; new texts join the vocabularies."""
        ...


def open_source(
    url: str,
    *,
    fields: FieldChoice | None = None,
    timezone: str = "UTC",
    year: int | None = None,
    strict: bool = False,
) -> FileSource:
    """The source at an address: a path, a directory, a pattern, a `file://` address, or `-` for standard input.

    The format is found by content. Opening looks at the first rows and settles which column plays which role.

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
    """
    from amiss.sources.files import FileSource

    return FileSource(url, fields=fields, timezone=timezone, year=year, strict=strict)
