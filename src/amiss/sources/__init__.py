"""Where events come from: the `Source` protocol and `open_source(url)`.

A source reads records, says with :mod:`amiss.fields` which column plays which role, and gives event
frames. What it cannot read goes to its quarantine, with position and reason: nothing disappears.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import polars as pl

from amiss.events import Quarantine
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
