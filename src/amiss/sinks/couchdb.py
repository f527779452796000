"""Alerts and profiles as documents of a CouchDB database, where a web service finds them.

An alert is a document by its `alert_id`, never written again: a service may add fields to it. A profile is a document
for each user, `profile:USER`, written again when it changed; fields that others added to it are kept. Both have the
fields `type` and `amiss`, by which the source of the same database leaves them out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final
from urllib.parse import quote

import msgspec

from amiss import couch
from amiss.alerts import Alert
from amiss.errors import SinkError, UsageError

FORMAT: Final = 1
"""What the field `amiss` of documents holds."""
BATCH: Final = 200
"""Documents that are written in one request."""
MOST_ROUNDS: Final = 5
"""How often documents are written anew that others changed meanwhile."""
LONGEST_NAME: Final = 200

_FOR_GOOD: Final = (400, 405, 413, 415)
_REFUSED: Final = ("forbidden", "bad_request", "doc_validation", "document_too_large")

Document = dict[str, Any]


class CouchSink:
    """Writes alerts into a database, each as a document.

    Parameters
    ----------
    url
        `couchdb://[NAME:PASSWORD@]HOST[:PORT]/DATABASE`, or `couchdbs://` for TLS. Name and password are those of
        `AMISS_COUCHDB_USERNAME` and `AMISS_COUCHDB_PASSWORD` unless the address has them. With `?profiles=1` a watch
        also keeps a profile of each user there; see :class:`ProfileWriter`.
    timeout_seconds
        How long to wait for a connection, and for each part of an answer.

    Raises
    ------
    UsageError
        If the address is not understood.

    Examples
    --------
    >>> CouchSink("couchdb://ann:s3cret@db.example.com/alerts").url
    'couchdb://db.example.com/alerts'
    """

    def __init__(self, url: str, *, timeout_seconds: float = 10.0) -> None:
        self._writer = _Writer(url, timeout_seconds, "writing to CouchDB")
        self.url = self._writer.url
        self.profiles = ProfileWriter(url, timeout_seconds=timeout_seconds) if self._writer.with_profiles else None

    def write(self, alerts: Sequence[Alert]) -> None:
        """Write the alerts; those that are there already are left as they are.

        Raises
        ------
        SinkError
            If any was not written: for good, where the server will never take it, or another document has its id.
        """
        for batch in _batches(alerts, BATCH):
            documents = {each["_id"]: each for each in map(alert_document, batch)}
            taken = self._writer.put(list(documents.values()))
            for name, there in self._writer.documents(taken).items():
                if there is None:
                    raise SinkError(f"{self.url}: an alert was deleted while it was written")
                if (there.get("type"), there.get("alert_id")) != ("alert", documents[name]["alert_id"]):
                    raise SinkError(f"{self.url}: another document has the id of an alert", permanent=True)

    def check(self) -> str:
        """How many documents the database holds; nothing is written, yet that requests to write are let through."""
        info = self._writer.info()
        self._writer.put([])
        return f"{self.url} answers; it holds {int(info.get('doc_count', 0)):,} documents"

    def close(self) -> None:
        """Close connections."""
        self._writer.close()
        if self.profiles is not None:
            self.profiles.close()


@dataclass(frozen=True)
class Written:
    """How many profiles were written, and how many were there as they are."""

    written: int = 0
    unchanged: int = 0

    def __add__(self, other: Written) -> Written:
        return Written(self.written + other.written, self.unchanged + other.unchanged)


class ProfileWriter:
    """Keeps a document for each user in a database, with what is usual of them.

    Parameters
    ----------
    url, timeout_seconds
        As for :class:`CouchSink`.
    """

    def __init__(self, url: str, *, timeout_seconds: float = 10.0) -> None:
        self._writer = _Writer(url, timeout_seconds, "writing to CouchDB")
        self.url = self._writer.url

    def write(self, profiles: Iterable[Mapping[str, Any]]) -> Written:
        """Write those that changed, in requests of some hundred; a profile is a user (`user`) and values that JSON has.

        Where somebody else writes the same document meanwhile, what they added is kept, and ours is written again.

        Raises
        ------
        SinkError
            If any was not written; those before may have been.
        """
        done = Written()
        for batch in _batches(profiles, BATCH):
            wanted = {each["_id"]: each for each in map(profile_document, batch)}
            done += self._kept_up(wanted)
        return done

    def close(self) -> None:
        """Close connections."""
        self._writer.close()

    def _kept_up(self, wanted: Mapping[str, Document]) -> Written:
        """Write what changed, and again what others changed at the same time."""
        left, written = list(wanted), 0
        for _ in range(MOST_ROUNDS):
            there = self._writer.documents(left)
            changed = [_merged(there[name], wanted[name]) for name in left if _differs(there[name], wanted[name])]
            if not changed:
                return Written(written, len(wanted) - written)
            left = self._writer.put(changed)
            written += len(changed) - len(left)
            if not left:
                return Written(written, len(wanted) - written)
        raise SinkError(f"{self.url}: {len(left):,} profiles are changed by others all the time")


def alert_document(alert: Alert) -> Document:
    """The document of an alert.

    Examples
    --------
    >>> from amiss.testing import hostile_alerts
    >>> document = alert_document(hostile_alerts()[0])
    >>> document["_id"], document["type"], document["amiss"], document["severity"]
    ('hostile-0', 'alert', 1, 'high')
    """
    name = alert.alert_id if alert.alert_id[:1] not in ("", "_") else f"alert:{alert.alert_id}"
    return _plain({"_id": name, "type": "alert", couch.MARK: FORMAT, **alert.record()})


def profile_document(profile: Mapping[str, Any]) -> Document:
    """The document of a profile; names that begin with an underscore, which CouchDB keeps for itself, are left out."""
    own = {name: value for name, value in profile.items() if not name.startswith("_")}
    return _plain({**own, "_id": profile_id(str(profile["user"])), "type": "profile", couch.MARK: FORMAT})


def profile_id(user: str) -> str:
    r"""The id of a user's profile: what does not print is escaped, and names that are too long are cut.

    Examples
    --------
    >>> profile_id("ann@example.com"), profile_id("50%\n"), profile_id("x" * 300)[200:]
    ('profile:ann@example.com', 'profile:50%25%0A', 'xxxxxxxx~0d4e2ca9e9cbced7')
    """
    spelled = "".join(
        letter if letter.isprintable() and letter != "%" else quote(letter, safe="", errors="surrogatepass")
        for letter in user
    )
    if len(spelled) <= LONGEST_NAME:
        return f"profile:{spelled}"
    return f"profile:{spelled[:LONGEST_NAME]}~{hashlib.sha256(spelled.encode()).hexdigest()[:16]}"


def _plain(document: Document) -> Document:
    """The document as it reads back from a server."""
    found: Document = msgspec.json.decode(couch.encoded(document))
    return found


def _differs(there: Document | None, wanted: Document) -> bool:
    """Whether a document must be written."""
    return there is None or any(name not in there or there[name] != value for name, value in wanted.items())


def _merged(there: Document | None, wanted: Document) -> Document:
    """A document with what others added to it."""
    return {**(there or {}), **wanted}


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Several at a time."""
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch


def _is_wanted(said: str) -> bool:
    """Whether an option that may be 0 or 1 is 1."""
    if said not in {"0", "1"}:
        raise UsageError(f'profiles in a CouchDB address is 0 or 1. Found: "{said}"')
    return said == "1"


class _Writer:
    """Requests that write, whose errors are those of sinks."""

    def __init__(self, url: str, timeout_seconds: float, what: str) -> None:
        self._address = couch.Address.parse(url, ["profiles"])
        self.with_profiles = _is_wanted(self._address.options.get("profiles", "0"))
        self.url = self._address.url
        self._timeout_seconds = timeout_seconds
        self._what = what
        self._database: couch.Database | None = None

    def info(self) -> Document:
        """What the server says of the database."""
        found: Document = self._answer(lambda database: database.get(most_bytes=1 << 20), dict)
        return found

    def put(self, documents: Sequence[Document]) -> list[str]:
        """Write documents; the ids of those of which the database has another revision.

        Raises
        ------
        SinkError
            If any was refused for another reason.
        """
        said = self._answer(lambda database: database.post("_bulk_docs", {"docs": documents}), list)
        taken = []
        for document, each in zip(documents, said, strict=False):
            if each.get("error") == "conflict":
                taken.append(document["_id"])
            elif "error" in each:
                kind = str(each["error"])
                what = f"{self.url} does not take a document: {couch.shown(each)}"
                raise SinkError(what, permanent=kind in _REFUSED)
        if len(said) < len(documents):
            raise SinkError(f"{self.url} says nothing of {len(documents) - len(said):,} documents")
        return taken

    def documents(self, names: Sequence[str]) -> dict[str, Document | None]:
        """Documents by id; None where there is none, or none any more."""
        if not names:
            return {}
        found = self._answer(lambda it: it.post("_all_docs?include_docs=true", {"keys": list(names)}), dict)
        there = {row.get("key"): row.get("doc") for row in found.get("rows", ())}
        return {name: there.get(name) for name in names}

    def close(self) -> None:
        """Close connections."""
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def _answer(self, ask: Any, kind: type[Any]) -> Any:  # noqa: ANN401 - JSON of that kind
        """What a request gives."""
        if self._database is None:
            self._database = couch.Database(self._address, timeout_seconds=self._timeout_seconds, what=self._what)
        try:
            return msgspec.json.decode(ask(self._database), type=kind)
        except couch.CouchError as error:
            permanent = error.status in _FOR_GOOD
            raise SinkError(str(error), retry_after=error.retry_after, permanent=permanent) from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise SinkError(f"{self.url} gives an answer that is no JSON") from error
