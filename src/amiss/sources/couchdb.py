"""Databases of CouchDB: events as documents, a change each.

**What a cursor holds** (JSON): the place among the changes as the server names it (`since`), how many changes were read
before it, the id of the last one, by which a database that was made anew is told, and what plays which role.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
import polars as pl

from amiss import couch
from amiss import fields as columns
from amiss.errors import EventError, SourceError
from amiss.events import EVENT_SCHEMA, Quarantine
from amiss.fields import FieldChoice, Fields
from amiss.sources import Cursor
from amiss.sources.changes import Changes, Entry, Page, Reader, View, number_of, witness_of
from amiss.sources.follow import FollowSource
from amiss.sources.growing import Key
from amiss.sources.lines import Came, Place
from amiss.sources.sniff import FileFormat
from amiss.sources.streams import HEAD_BYTES
from amiss.vocabulary import Coding

if TYPE_CHECKING:
    from amiss.sources.follow import Feed

OPTIONS: Final = ("view", "filter", "start", "updates")
FRAME_EVENTS: Final = 20_000
SILENCE_SECONDS: Final = 30.0
"""A connection by which not even a heartbeat comes for so long is opened anew."""
_KEPT: Final = ("_id", "_rev", "_key")
_CHOICES: Final = {"start": ("earliest", "latest"), "updates": ("read", "skip")}


class CouchSource(FollowSource):
    """Events of a database of CouchDB (or Cloudant, or PouchDB Server), each document a JSON object, nested or flat.

    Its changes are read, oldest first; those that come in later too when it is followed. Design documents, deletions
    and what `amiss` itself wrote are skipped, documents that are no events go to quarantine, by id and place. `_id`
    and `_rev` can be pinned like the fields of the documents. Positions count changes.

    **A document that is changed is read again** when it was read before: each of its revisions that is seen is an
    event. CouchDB gives only the last one, so what was changed before it was read is one event. Where documents are
    changed after they were written, as when a logout is added to a login, `updates=skip` leaves out all but the first
    revision; what was changed before it was read is then lost.

    **A database that is made anew** is told by a place that went back, or by the absence of the document that was read
    last (deleted ones leave a tombstone; purged ones do not): that is warned of, and it is read from the beginning.
    While it is followed, a database or a server that is away is waited for.

    Parameters
    ----------
    url
        `couchdb://[NAME:PASSWORD@]HOST[:PORT]/DATABASE`, or `couchdbs://` for TLS (also `tls=1`). Options: `filter`, a
        filter function `DESIGN/NAME`, or `_view`; `view`, a view `DESIGN/NAME`: with `filter=_view` of those changes
        that it emits, else its rows are read, by key, and cannot be followed; `start` (of :meth:`follow`: earliest, or
        latest); `updates` (read, or skip). Name and password are those of `AMISS_COUCHDB_USERNAME` and
        `AMISS_COUCHDB_PASSWORD` unless the address has them.
    fields, timezone, year, strict
        As for files.

    Raises
    ------
    UsageError
        If the address is not understood.
    MissingExtraError
        If httpx is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        fields: FieldChoice | None = None,
        timezone: str = "UTC",
        year: int | None = None,
        strict: bool = False,
    ) -> None:
        super().__init__("-", fields=fields, timezone=timezone, year=year, strict=strict)
        self.address = couch.Address.parse(url, OPTIONS)
        self.url = self.address.url
        self.quarantine = self._rejects = _Rejects()
        _check(self.address.options)

    @property
    def fields(self) -> Fields:
        """What is read from which part of the documents; the first ones are read to find out.

        Raises
        ------
        SourceError
            If the server does not answer, or does not let us in.
        EventError
            If no document is an event; says why.
        """
        if self.schema is None and self._begun is None:
            next(self.read(), None)
        if self.schema is None:
            raise SourceError(f"{self.url} holds no document yet, so its fields are not known", retry_after=10)
        return self.schema.fields

    @property
    def trouble(self) -> str:
        """What is wrong with the connection now, while following; empty where all is well."""
        return self._feed.trouble if isinstance(self._feed, Documents) else ""

    def read(self, after: Cursor | None = None) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Event frames of all that is there now, each with the cursor behind it.

        Raises
        ------
        EventError
            If nothing at all could be read; says why. With `strict`, at the first document that cannot be.
        """
        yield from self.read_coded(_AsRead(), after)

    def read_coded(self, coding: Coding, after: Cursor | None = None) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Coded frames with the cursor behind each: the rows of :meth:`read`."""
        seen, stop = after is not None, threading.Event()
        hour = timedelta(hours=1)
        for frame, cursor in self.follow(coding, after, batch=FRAME_EVENTS, every=hour, stop=stop, until_eof=True):
            if len(frame):
                seen = True
                yield frame, cursor
        if not seen:
            raise EventError(self._nothing_read())

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
        """Coded frames of what the database holds and of what comes in, each with the cursor behind it.

        As :meth:`amiss.sources.LiveSource.follow` says; `until_eof` ends where the changes end now.

        Raises
        ------
        SourceError
            If the server does not let us in, if there is no such database at the beginning, or if the rows of a view
            are to be followed. A server that is away is waited for, unless `until_eof`.
        EventError
            If documents lack what events need; with `strict`, at the first one that cannot be read.
        """
        if self._view and not until_eof:
            raise SourceError(
                f"{self.url}: the rows of a view cannot be followed, since new ones may stand anywhere among them. "
                f"Add filter=_view to follow the documents that the view emits"
            )
        yield from super().follow(coding, after, batch=batch, every=every, stop=stop, until_eof=until_eof)

    def settle(self, stop: threading.Event, *, until_eof: bool = False) -> Fields | None:
        """What documents are made of, once there are some."""
        try:
            return super().settle(stop, until_eof=until_eof)
        except SourceError:
            if self._begun is None:
                raise
            return None

    @property
    def _view(self) -> str:
        """The view whose rows are read, if that is so."""
        options = self.address.options
        return options.get("view", "") if options.get("filter") != "_view" else ""

    def _opened(self, token: dict[str, Any], look_seconds: float) -> Feed:  # noqa: ARG002 - nothing is looked for
        if isinstance(self._feed, Documents):
            self._feed.close()
        feed = Documents(self, token, view=self._view)
        self._rejects.feed = feed
        return feed

    def _nothing_read(self) -> str:
        first = [f"  {bad.file}:{bad.position}: {bad.reason}" for bad in self.quarantine.samples[:5]]
        left_out = [f"  {count:,} left out: {reason}" for reason, count in self.skipped.items()]
        return "\n".join([f"{self.url}: no document could be read as an event.", *first, *left_out])


def _check(options: Mapping[str, str]) -> None:
    """Refuse options that make no sense."""
    for name, known in _CHOICES.items():
        if options.get(name, known[0]) not in known:
            raise SourceError(f'{name} is "{known[0]}" or "{known[1]}", not "{options[name]}"')
    if "view" in options and options["view"].count("/") != 1:
        raise SourceError(f'view is a design document and its view, such as "app/logins", not "{options["view"]}"')
    if options.get("filter") == "_view" and "view" not in options:
        raise SourceError("filter=_view needs the view: filter=_view&view=DESIGN/NAME")
    if "view" in options and options.get("filter", "_view") != "_view":
        raise SourceError("the rows of a view cannot be filtered. Leave out either view or filter")


class _AsRead(Coding):
    """Leaves event frames as they are, with all of their columns."""

    def __init__(self) -> None:
        super().__init__()
        self.contexts = (self,)  # type: ignore[assignment]  # whatever it is, it asks for all columns

    def empty(self) -> pl.DataFrame:
        """An event frame without events."""
        return pl.DataFrame(schema=EVENT_SCHEMA)

    def encode(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame itself."""
        return frame


class _Rejects(Quarantine):
    """Names what is rejected by the document's id, and the number of its place."""

    feed: Documents | None = None

    def add(self, file: str, position: int, reason: str, text: str, *, count: int = 1) -> None:
        """Count a document for a reason."""
        entry = self.feed.entry(position) if self.feed else None
        if entry is not None:
            file, position = f"{file}/{columns.ascii_safe(entry.document)}", number_of(entry.place)
        super().add(file, position, reason, text, count=count)


class Documents:
    """The documents of a database as lines: where they come from, and where reading stands."""

    format: FileFormat | None = None
    leave_out = 0
    key: Key = (0, 0)

    def __init__(self, source: CouchSource, token: dict[str, Any], *, view: str) -> None:
        self.name = source.url
        self.waiting = ""
        self.can_reread = True
        self._source = source
        self._view = view
        self._place, self._read, self._witness = self._restored(token)
        self.line = self._read + 1
        self.offset = 0
        self._entries: deque[Entry] = deque()
        self._lead: list[Page] = []
        self._sample = bytearray()
        self._closing = threading.Event()
        self._pages: Changes | View | None = None
        self._reader: Reader[Page] | None = None

    def _restored(self, token: dict[str, Any]) -> tuple[Any, int, str]:
        """Place, changes before it, and the last document, as a cursor says."""
        if not token:
            return None, 0, ""
        try:
            found = token["files"][0]
            if found["view"] != self._view:
                raise SourceError("the cursor is of another view, or of changes. Begin with a new state")
            return found["since"], int(found["read"]), str(found["last"])
        except (LookupError, TypeError, ValueError) as error:
            raise SourceError(f"this is no cursor of a CouchDB source: {str(token)[:80]}") from error

    # --- what comes in

    @property
    def trouble(self) -> str:
        """What is wrong with the connection now."""
        return self._pages.trouble if self._pages else ""

    def next(self, *, final: bool, quoted: bool) -> Came | None:  # noqa: ARG002 - nothing is quoted
        """The next documents, a line each."""
        if self._reader is None:
            self._start(final=final)
        assert self._reader is not None, "it was started"
        while (page := self._reader.take()) is not None:
            came = self._came(page)
            if came is not None:
                return came
        self.waiting = self.trouble
        self.can_reread = not final or self._reader.finished
        return None

    def _start(self, *, final: bool) -> None:
        """Begin to read ahead."""
        options = self._source.address.options
        database = couch.Database(self._source.address, timeout_seconds=SILENCE_SECONDS, what="reading from CouchDB")
        if self._view:
            self._pages = View(database, self._closing, view=self._view, place=self._place)
        else:
            self._pages = Changes(
                database,
                self._closing,
                place=self._place,
                final=final,
                witness=self._witness,
                latest=options.get("start") == "latest",
                params={name: options[name] for name in ("filter", "view") if name in options},
                first_only=options.get("updates") == "skip",
            )
        self._reader = Reader(self._pages.pages, self._closing, self._pages.interrupt)

    def _came(self, page: Page) -> Came | None:
        """A page as lines; held back while no document was seen by which these could be understood."""
        if not page.entries:
            self._stand(page)
            return None
        self._entries.extend(page.entries)
        if self._source.schema is None and not page.flaw:
            self._keep_sample(page.data)
        if not self._sample and self._source.schema is None:
            self._lead.append(page)
            return None
        pages, self._lead = [*self._lead, page], []
        flaw = (page.flaw, page.entries[0].document) if page.flaw and len(pages) == 1 else None
        data = b"".join(each.data for each in pages)
        lines = sum(len(each.entries) for each in pages)
        came = Came(self, data, lines, self.line, self.offset, self.offset + len(data), flaw=flaw)
        self.line, self.offset = self.line + lines, came.end
        return came

    def _stand(self, page: Page) -> None:
        """Move on without documents."""
        if self._entries:
            self._entries[-1] = self._entries[-1]._replace(place=page.place)
        else:
            self._place, self._witness = page.place, page.witness

    def _keep_sample(self, data: bytes) -> None:
        """Keep the first documents, to find out by them what plays which role."""
        for line in data.split(b"\n"):
            if line.strip() and len(self._sample) < HEAD_BYTES:
                self._sample += _sampled(line)

    def sample(self) -> bytes:
        """The first documents, without what CouchDB adds to them."""
        return bytes(self._sample)

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Wait for more."""
        if self._reader is None or self._reader.finished:
            stop.wait(seconds)
        else:
            self._reader.wait(seconds)

    def has_ended(self) -> bool:
        """Nothing ends it but who reads it."""
        return False

    # --- where reading stands

    @property
    def given(self) -> Place | None:
        """Where what was given ends."""
        return Place(0, self._read + 1)

    @given.setter
    def given(self, place: Place) -> None:
        """Move behind what was given, and count what was left out of it."""
        while self._read + 1 < place.line:
            entry = self._entries.popleft()
            self._read += 1
            self._place = entry.place
            self._witness = witness_of(entry.document) or self._witness
            if entry.left_out:
                skipped = self._source.skipped
                skipped[entry.left_out] = skipped.get(entry.left_out, 0) + 1

    def entry(self, line: int) -> Entry | None:
        """The document on a line that is not given yet."""
        at = line - self._read - 1
        return self._entries[at] if 0 <= at < len(self._entries) else None

    def token(self) -> dict[str, Any]:
        """What a cursor says of what was given."""
        place = {"since": self._place, "read": self._read, "last": self._witness, "view": self._view}
        return {"files": [{"name": self.name, **place}]}

    def close(self) -> None:
        """Let go of connections."""
        if self._reader is not None:
            self._reader.close()


def _sampled(line: bytes) -> bytes:
    """A document as it is judged by: the id first, and nothing else that CouchDB added but the revision."""
    try:
        found = json.loads(line)
        kept = {name: value for name, value in found.items() if name in _KEPT or not name.startswith("_")}
        return msgspec.json.encode({"_id": found.get("_id"), **kept}) + b"\n"
    except (ValueError, AttributeError, RecursionError, msgspec.MsgspecError):
        return line + b"\n"
