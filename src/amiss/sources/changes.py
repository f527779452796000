"""What a database of CouchDB gives, page by page: its changes, then those that come in; or the rows of a view.

Pages are fetched in a thread of their own, a few ahead, each as large as it may be for its documents to stay within
some megabytes.
"""

from __future__ import annotations

import json
import logging
import math
import queue
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from amiss.couch import MARK, CouchError, Database, TooMuchError, encoded
from amiss.errors import AmissError, SourceError

PAGE_BYTES: Final = 4 << 20
"""How much a page should hold; with larger documents, pages have fewer of them."""
FIRST_LIMIT: Final = 200
MOST_LIMIT: Final = 5_000
MOST_BYTES: Final = 64 << 20
"""A page that has more is not held; a document that has more is not read."""
PAGES_AHEAD: Final = 2
HEARTBEAT_SECONDS: Final = 10.0
FIRST_WAIT_SECONDS: Final = 0.25
LONGEST_WAIT_SECONDS: Final = 30.0
LONGEST_ASKED_SECONDS: Final = 300.0
MOST_TRIES: Final = 6
"""Tries in a row that fail until the reading of what is there ends; who follows tries on."""
WITNESS_LETTERS: Final = 200
CLOSING_SECONDS: Final = 0.1

DESIGN: Final = "design document"
DELETED: Final = "deleted document"
OURS: Final = "written by amiss"
UPDATED: Final = "later revision of a document"

Item = TypeVar("Item")

_LOG: Final = logging.getLogger(__name__)
_NUMBER: Final = re.compile(r"\d{1,18}")
_OURS: Final = f'"{MARK}"'.encode()
_KINDS: Final = ("alert", "profile")


class Entry(NamedTuple):
    """Where reading stands behind a document, its id, and why it is left out where it is."""

    place: Any
    document: str
    left_out: str = ""


class Page(NamedTuple):
    """Documents that came in, a line each (empty where it is left out); or one that cannot be read, and why.

    Where there are none, reading merely moved on, to `place`, behind which `witness` is what was read last.
    """

    entries: Sequence[Entry] = ()
    data: bytes = b""
    flaw: str = ""
    place: Any = None
    witness: str = ""


class _Change(msgspec.Struct):
    seq: msgspec.Raw
    id: str
    doc: msgspec.Raw = msgspec.Raw(b"null")
    changes: tuple[dict[str, str], ...] = ()
    deleted: bool = False


class _Changes(msgspec.Struct):
    results: list[_Change]
    last_seq: msgspec.Raw = msgspec.Raw(b"null")


class _Row(msgspec.Struct):
    id: str
    key: Any = None
    value: msgspec.Raw = msgspec.Raw(b"null")
    doc: msgspec.Raw = msgspec.Raw(b"null")


class _Rows(msgspec.Struct):
    rows: list[_Row]


def number_of(place: Any) -> int:  # noqa: ANN401 - servers have numbers, texts and lists there
    """The number that a place among changes begins with, to be shown and compared.

    Examples
    --------
    >>> number_of(12), number_of("12-g1AAAACbeJzLYWBg"), number_of(None)
    (12, 12, 0)
    """
    found = _NUMBER.search(str(place))
    return int(found[0]) if found else 0


# --- a thread that reads ahead


class Reader(Generic[Item]):
    """Reads pages, or whatever comes piece by piece, ahead in a thread.

    Parameters
    ----------
    pages
        Gives the pages; ends soon once `closing` is set and `interrupt` was called.
    """

    def __init__(
        self, pages: Callable[[], Iterator[Item]], closing: threading.Event, interrupt: Callable[[], None]
    ) -> None:
        self._pages = pages
        self._closing = closing
        self._interrupt = interrupt
        self._queue: queue.Queue[Item] = queue.Queue(PAGES_AHEAD)
        self._came = threading.Condition()
        self._error: BaseException | None = None
        self._has_ended = False
        self._thread = threading.Thread(target=self._run, name="amiss documents", daemon=True)
        self._thread.start()

    def take(self) -> Item | None:
        """The next page, if it is there."""
        with suppress(queue.Empty):
            return self._queue.get_nowait()
        if self._has_ended and self._queue.empty() and self._error is not None:
            raise self._error
        return None

    @property
    def finished(self) -> bool:
        """Whether nothing comes any more, and all went well."""
        return self._has_ended and self._queue.empty() and self._error is None

    def wait(self, seconds: float) -> None:
        """Wait for a page, at most so long."""
        with self._came:
            self._came.wait_for(lambda: not self._queue.empty() or self._has_ended, seconds)

    def close(self) -> None:
        """End the thread; one that hangs in a connection is left behind."""
        self._closing.set()
        self._interrupt()
        self._thread.join(CLOSING_SECONDS)

    def _run(self) -> None:
        try:
            for page in self._pages():
                if not self._put(page):
                    return
        except AmissError as error:
            self._error = None if self._closing.is_set() else error
        except Exception as error:  # noqa: BLE001 - it is raised where pages are taken
            self._error = error
        finally:
            self._has_ended = True
            self._tell()

    def _put(self, page: Item) -> bool:
        """Whether the page was handed over; if not, nobody wants it any more."""
        while not self._closing.is_set():
            with suppress(queue.Full):
                self._queue.put(page, timeout=0.05)
                self._tell()
                return True
        return False

    def _tell(self) -> None:
        with self._came:
            self._came.notify_all()


# --- pages


class _Pages:
    """Pages of what a database gives, with limits that suit its documents, and another try after what may pass."""

    def __init__(self, database: Database, closing: threading.Event, *, place: Any, final: bool) -> None:  # noqa: ANN401 - JSON of the server
        self.trouble = ""
        self.place = place
        self._database = database
        self._closing = closing
        self._final = final
        self._limit = FIRST_LIMIT
        self._tries = 0
        self._was_there = False

    @property
    def where(self) -> str:
        """The address, to be shown."""
        return self._database.address.url

    def pages(self) -> Iterator[Page]:
        """Pages until there are no more, or until it is closed.

        Raises
        ------
        SourceError
            If the server refuses, or, where only what is there is read, after some tries.
        """
        try:
            while not self._closing.is_set():
                try:
                    yield from self._round()
                except CouchError as error:
                    self._failed(error)
                else:
                    if self._final:
                        return
        finally:
            self._database.close()

    def interrupt(self) -> None:
        """Break off what is being waited for."""

    def _round(self) -> Iterator[Page]:
        """Pages as long as all goes well."""
        raise NotImplementedError

    def _failed(self, error: CouchError) -> None:
        """Wait until it is time for another try, if that may help."""
        self._tries += 1
        is_gone = error.status == 404 and self._was_there and not self._final
        if not (error.is_passing or is_gone):
            raise SourceError(str(error)) from error
        if self._final and self._tries >= MOST_TRIES:
            raise SourceError(str(error), retry_after=LONGEST_WAIT_SECONDS) from error
        if not self.trouble and not self._closing.is_set():
            _LOG.warning("%s. Trying until it is back", error)
        self.trouble = str(error)
        own = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** min(self._tries - 1, 20))
        self._closing.wait(max(own, min(error.retry_after or 0.0, LONGEST_ASKED_SECONDS)))

    def _answered(self) -> None:
        """Note that the server answers."""
        if self.trouble:
            _LOG.warning("%s: reading again", self.where)
        self.trouble, self._tries, self._was_there = "", 0, True

    def _fetched(self, path: str, params: Mapping[str, str], kind: type[Any]) -> tuple[Any, bool]:
        """What a page holds, and whether there may be more; None where the one document there cannot be read."""
        while True:
            limit = self._limit
            try:
                body = self._database.get(path, {**params, "limit": str(limit)}, most_bytes=MOST_BYTES)
                found, count = _decoded(body, kind)
            except (TooMuchError, _UnreadableError):
                if limit == 1:
                    return None, True
                self._limit = max(1, limit // 8)
                continue
            self._answered()
            fitting = math.ceil(PAGE_BYTES * max(count, 1) / max(len(body), 1))
            self._limit = max(1, min(MOST_LIMIT, fitting, limit * 4))
            return found, count >= limit


class Changes(_Pages):
    """The changes of a database in order, from a place on; those that come in later too, unless `final`.

    Parameters
    ----------
    place
        Behind which to go on; None: from the beginning, or, if `latest`, from now.
    witness
        A document that was read: while the database holds it, or its tombstone, it is the same database.
    """

    def __init__(
        self,
        database: Database,
        closing: threading.Event,
        *,
        place: Any,  # noqa: ANN401 - the server's own
        final: bool,
        witness: str = "",
        latest: bool = False,
        params: Mapping[str, str] | None = None,
        first_only: bool = False,
    ) -> None:
        super().__init__(database, closing, place=place, final=final)
        self._witness = witness
        self._latest = latest and not final
        self._params = {"include_docs": "true", **(params or {})}
        self._first_only = first_only
        self._socket: socket.socket | None = None
        self._checked = 0.0

    def interrupt(self) -> None:
        """Break the connection that changes come in by."""
        connection = self._socket
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _round(self) -> Iterator[Page]:
        """Check that it is the same database; then all changes that are there, then those that come in."""
        yield from self._begun()
        more = True
        while more and not self._closing.is_set():
            page, more = self._page()
            yield page
        if not self._final and not self._closing.is_set():
            yield from self._live()

    # --- the same database

    def _begun(self) -> Iterator[Page]:
        """Settle where to begin, where that is not known or not true any more."""
        latest = self._update_seq()
        if self.place is None:
            self.place = latest if self._latest else 0
            yield Page(place=self.place)
        elif self._is_anew(latest):
            _LOG.warning("%s was deleted and made anew: it is read from the beginning", self.where)
            self.place, self._witness = 0, ""
            yield Page(place=0)

    def _update_seq(self) -> Any:  # noqa: ANN401 - the server's own
        """The place behind all changes now."""
        body = self._database.get(most_bytes=1 << 20)
        self._answered()
        self._checked = monotonic()
        try:
            return msgspec.json.decode(body)["update_seq"]
        except (msgspec.DecodeError, TypeError, KeyError) as error:
            raise SourceError(f"{self.where} is no database of CouchDB: it does not say its update_seq") from error

    def _is_anew(self, latest: Any) -> bool:  # noqa: ANN401 - the server's own
        """Whether the database is not the one of which so much was read."""
        went_back = number_of(latest) < number_of(self.place)
        if went_back and (isinstance(latest, int) or not self._witness):
            return True
        return bool(self._witness) and self._is_missing(self._witness)

    def _is_missing(self, document: str) -> bool:
        """Whether the database never had this document."""
        body = self._database.post("_all_docs", {"keys": [document]})
        try:
            rows = msgspec.json.decode(body)["rows"]
        except (msgspec.DecodeError, TypeError, KeyError):
            return False
        return bool(rows) and rows[0].get("error") == "not_found"

    # --- changes

    def _page(self) -> tuple[Page, bool]:
        """The next changes that are there, and whether there may be more."""
        params = self._params | {"since": _text(self.place)}
        found, more = self._fetched("_changes", params, _Changes)
        if found is None:
            return self._unread(params), True
        page = self._made(found.results)
        if not found.results:
            self._stand(found.last_seq)
            page = Page(place=self.place, witness=self._witness)
        return page, more

    def _unread(self, params: Mapping[str, str]) -> Page:
        """One change whose document cannot be read."""
        short = {**params, "include_docs": "false", "limit": "1"}
        found, _ = _decoded(self._database.get("_changes", short, most_bytes=MOST_BYTES), _Changes)
        entries = [Entry(_value(change.seq), change.id) for change in found.results]
        for entry in entries:
            self._moved(entry)
        return Page(entries, b"\n" * len(entries), "document that is too large, or no JSON")

    def _live(self) -> Iterator[Page]:
        """Changes as they come in, until the connection ends or the database is another one."""
        beat = {"feed": "continuous", "heartbeat": str(round(HEARTBEAT_SECONDS * 1000))}
        params = self._params | beat | {"since": _text(self.place)}
        with self._database.stream("GET", "_changes", params, at_once=True) as answer:
            stream = answer.extensions.get("network_stream")
            self._socket = stream.get_extra_info("socket") if stream is not None else None
            self._answered()
            tail = b""
            for piece in answer.iter_bytes():
                whole, _, tail = (tail + piece).rpartition(b"\n")
                lines = [line for line in whole.split(b"\n") if line.strip()]
                changes = [found for line in lines if (found := _decoded_line(line))]
                if changes:
                    yield self._made(changes)
                is_odd = len(changes) < len(lines) or len(tail) > MOST_BYTES
                if is_odd or self._closing.is_set() or not self._is_still_there():
                    return

    def _is_still_there(self) -> bool:
        """Whether the database is the same, asked now and then."""
        if monotonic() - self._checked < HEARTBEAT_SECONDS:
            return True
        return not self._is_anew(self._update_seq())

    # --- lines

    def _made(self, changes: Sequence[_Change]) -> Page:
        """The documents of changes as lines."""
        entries, lines = [], []
        for change in changes:
            line, left_out = self._line(change)
            entries.append(Entry(_value(change.seq), change.id, left_out))
            lines.append(line)
        if entries:
            self._moved(entries[-1])
        return Page(entries, b"\n".join([*lines, b""]))

    def _line(self, change: _Change) -> tuple[bytes, str]:
        """The document of a change on one line; an empty one where it is left out, and why."""
        if change.id.startswith("_design/"):
            return b"", DESIGN
        document = bytes(change.doc)
        if change.deleted or document == b"null":
            return b"", DELETED
        if _OURS in document and _is_ours(document):
            return b"", OURS
        if self._first_only and _generation(change) > 1:
            return b"", UPDATED
        return _one_line(document), ""

    def _moved(self, entry: Entry) -> None:
        self.place = entry.place
        self._witness = witness_of(entry.document) or self._witness

    def _stand(self, last: msgspec.Raw) -> None:
        """Go on behind changes that a filter left out."""
        found = _value(last)
        self.place = self.place if found is None else found


class View(_Pages):
    """The rows of a view in the order of their keys: the object that each has for a value, else its document.

    A place is a key, and how many rows of that key were read: not all servers find documents within a key.
    """

    def __init__(self, database: Database, closing: threading.Event, *, view: str, place: Any) -> None:  # noqa: ANN401 - JSON of the server
        super().__init__(database, closing, place=place, final=True)
        design, _, name = view.partition("/")
        self._path = f"_design/{design}/_view/{name}"

    def _round(self) -> Iterator[Page]:
        more = True
        while more and not self._closing.is_set():
            params = {"include_docs": "true", "reduce": "false"}
            if self.place is not None:
                key, count = self.place
                params |= {"startkey": json.dumps(key), "skip": str(count)}
            found, more = self._fetched(self._path, params, _Rows)
            if found is None:
                raise SourceError(f"{self.where}: a row is larger than {MOST_BYTES >> 20} MiB, or no JSON")
            yield self._made(found.rows)

    def _made(self, rows: Sequence[_Row]) -> Page:
        """Rows as lines."""
        entries = []
        for row in rows:
            same = self.place is not None and self.place[0] == row.key
            self.place = [row.key, self.place[1] + 1 if same else 1]
            entries.append(Entry(self.place, row.id))
        return Page(entries, b"".join(_row_line(row) + b"\n" for row in rows))


def witness_of(document: str) -> str:
    """The id of a document, where it can be asked for and is short."""
    return document if len(document) <= WITNESS_LETTERS and not _has_halves(document) else ""


def _has_halves(text: str) -> bool:
    """Whether there are halves of characters in it, which no server takes."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def _is_ours(document: bytes) -> bool:
    """Whether amiss wrote the document: an alert, or a profile."""
    try:
        found = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(found, dict) and isinstance(found.get(MARK), int) and found.get("type") in _KINDS


def _generation(change: _Change) -> int:
    """How often the document was written."""
    return number_of(change.changes[0].get("rev")) if change.changes else 1


def _one_line(document: bytes) -> bytes:
    """The document without the line ends that may stand between its parts."""
    return document.replace(b"\r", b" ").replace(b"\n", b" ") if b"\n" in document or b"\r" in document else document


def _row_line(row: _Row) -> bytes:
    """The row as an event: the value if that is an object, else the document, with the key and the id."""
    for part in (bytes(row.value), bytes(row.doc)):
        if part.lstrip().startswith(b"{"):
            return msgspec.json.encode({"_id": row.id, "_key": row.key} | msgspec.json.decode(part))
    return _one_line(bytes(row.value))


# --- JSON


class _UnreadableError(Exception):
    """An answer is no JSON of the kind that was expected."""


def _text(place: Any) -> str:  # noqa: ANN401 - the server's own
    """A place as it stands in a request."""
    return place if isinstance(place, str) else json.dumps(place, separators=(",", ":"))


def _value(raw: msgspec.Raw) -> Any:  # noqa: ANN401 - the server's own
    return msgspec.json.decode(raw)


def _decoded(body: bytes, kind: type[Any]) -> tuple[Any, int]:
    """What a page holds, and how many; by the slower parser too, which takes what only nearly is JSON."""
    try:
        found = msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        found = _leniently(body, kind)
    return found, len(found.results if isinstance(found, _Changes) else found.rows)


def _leniently(body: bytes, kind: type[Any]) -> Any:  # noqa: ANN401 - of that kind
    """The same from JSON with halves of characters, NaN and the like; documents keep them, to be judged as lines."""
    try:
        found = json.loads(body.decode("utf-8", "replace"))
        if kind is _Changes:
            results = [_lenient_change(change) for change in found["results"]]
            return _Changes(results, _raw(found.get("last_seq")))
        return _Rows(
            [
                _Row(_plain(row["id"]), _plain(row["key"]), _raw(row["value"]), _raw(row.get("doc")))
                for row in found["rows"]
            ]
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise _UnreadableError from error


def _lenient_change(change: dict[str, Any]) -> _Change:
    revisions = tuple(change.get("changes", ()))
    deleted = bool(change.get("deleted"))
    return _Change(_raw(change["seq"]), _plain(change["id"]), _raw(change.get("doc")), revisions, deleted)


def _lenient_row(row: dict[str, Any]) -> _Row:
    return _Row(_plain(row["id"]), _plain(row["key"]), _raw(row["value"]), _raw(row.get("doc")))


def _raw(value: Any) -> msgspec.Raw:  # noqa: ANN401 - any JSON value
    return msgspec.Raw(json.dumps(value).encode())


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The value without halves of characters."""
    return json.loads(encoded({"": value}))[""]


def _decoded_line(line: bytes) -> _Change | None:
    """The change on a line of the continuous feed; None for the last line, and for what cannot be read."""
    try:
        return msgspec.json.decode(line, type=_Change)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
