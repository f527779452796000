"""Databases of CouchDB, and of servers that speak its protocol: the address, and the requests.

Names and passwords stand in the address, or in `AMISS_COUCHDB_USERNAME` and `AMISS_COUCHDB_PASSWORD`; whatever shows an
address shows it without them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import msgspec

from amiss import escape
from amiss.errors import AmissError, MissingExtraError, UsageError, nearest
from amiss.hush import hushed

if TYPE_CHECKING:
    import httpx

SCHEMES: Final = ("couchdb", "couchdbs")
USERNAME: Final = "AMISS_COUCHDB_USERNAME"
PASSWORD: Final = "AMISS_COUCHDB_PASSWORD"  # noqa: S105 - the name of a variable
MARK: Final = "amiss"
"""The field that documents have which amiss wrote; reading leaves them out."""

_PORTS: Final = {"http": 5984, "https": 6984}
_LOGGERS: Final = ("httpx", "httpcore.connection", "httpcore.http11")
_MAY_PASS: Final = (408, 412, 425, 429)
_TLS: Final = {"1": True, "true": True, "0": False, "false": False}
_SAID: Final = 200
MOST_BYTES: Final = 64 << 20
"""Bytes of an answer that is held in memory, at most."""


class CouchError(AmissError):
    """A request failed: `status` of the answer (0: there was none), whether trying again can help, and when."""

    def __init__(self, message: str, *, status: int = 0, retry_after: float | None = None) -> None:
        self.status = status
        self.retry_after = retry_after
        super().__init__(message)

    @property
    def is_passing(self) -> bool:
        """Whether the same request may be answered otherwise soon."""
        return self.status < 300 or self.status >= 500 or self.status in _MAY_PASS


class TooMuchError(CouchError):
    """An answer is larger than was allowed."""


@dataclass(frozen=True)
class Address:
    """What an address `couchdb://[NAME:PASSWORD@]HOST[:PORT]/[PATH/]DATABASE[?OPTIONS]` says.

    `url` is the address without name and password, `base` that of the database for requests.

    Examples
    --------
    >>> address = Address.parse("couchdb://ann:s3cret@db.example.com/logins?start=latest", ["start"])
    >>> address.url, address.base, address.options
    ('couchdb://db.example.com/logins?start=latest', 'http://db.example.com:5984/logins', {'start': 'latest'})
    >>> address
    Address(url='couchdb://db.example.com/logins?start=latest')
    """

    url: str
    base: str = field(repr=False)
    options: Mapping[str, str] = field(repr=False)
    login: tuple[str, str] | None = field(repr=False)

    @classmethod
    def parse(cls, url: str, known: Sequence[str] = (), environment: Mapping[str, str] = os.environ) -> Address:
        """The parts of an address; name and password are those of the environment unless it has them.

        Raises
        ------
        UsageError
            If a part is missing or unknown. The text never holds what may be a password.
        """
        parts = urlsplit(url)
        place, path = parts.netloc.rpartition("@")[2], parts.path.strip("/")
        try:
            port, host = parts.port, parts.hostname
        except ValueError as error:
            raise UsageError(f"{parts.scheme}://…/{path}: the port must be a number up to 65535") from error
        if not host or not path:
            missing = "database" if host else "host"
            raise UsageError(f"{parts.scheme}://{place}/{path} names no {missing}. Give couchdb://HOST:5984/DATABASE")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        secure = _is_secure(parts.scheme, options.pop("tls", ""))
        _check(options, known)
        scheme = "https" if secure else "http"
        shown = f"{'couchdbs' if secure else 'couchdb'}://{place}/{path}{'?' if options else ''}"
        inner = f"[{host}]" if ":" in host else host
        base = f"{scheme}://{inner}:{port or _PORTS[scheme]}/{_quoted(path)}"
        return cls(shown + urlencode(options, safe="/_"), base, options, _login(parts, environment))


def _is_secure(scheme: str, option: str) -> bool:
    if option and option.lower() not in _TLS:
        raise UsageError(f'tls is "1" or "0", not "{option}"')
    return _TLS[option.lower()] if option else scheme.lower() == "couchdbs"


def _check(options: Iterable[str], known: Sequence[str]) -> None:
    known = [*known, "tls"]
    for name in options:
        if name not in known:
            near = nearest(name, known)
            raise UsageError(f'a CouchDB address has no option "{name}" here.{near} Known: {", ".join(known)}')


def _quoted(path: str) -> str:
    """The path with each part escaped once; slashes in names of databases stand as %2F in addresses."""
    return "/".join(quote(unquote(part), safe="") for part in path.split("/"))


def _login(parts: Any, environment: Mapping[str, str]) -> tuple[str, str] | None:  # noqa: ANN401 - a split address
    """Name and password, if there are any."""
    if parts.username:
        return unquote(parts.username), unquote(parts.password or environment.get(PASSWORD, ""))
    name = environment.get(USERNAME, "")
    return (name, environment.get(PASSWORD, "")) if name else None


class Database:
    """Requests to a database; answers are JSON.

    Parameters
    ----------
    address
        Where it is.
    timeout_seconds
        How long to wait for a connection, and for each part of an answer.
    what
        What it is needed for, where httpx is missing.
    """

    def __init__(self, address: Address, *, timeout_seconds: float = 30.0, what: str = "CouchDB") -> None:
        self.address = address
        self.timeout_seconds = timeout_seconds
        self._client = _client(address, timeout_seconds, what)

    def get(self, path: str = "", params: Mapping[str, str] | None = None, *, most_bytes: int = MOST_BYTES) -> bytes:
        """The answer to GET of something below the database.

        Raises
        ------
        TooMuchError
            If it has more than `most_bytes`.
        CouchError
            If there is none, or one that is not 2xx.
        """
        with self.stream("GET", path, params) as answer:
            return _read(answer, most_bytes, self.address.url)

    def post(self, path: str, body: Mapping[str, Any]) -> bytes:
        """The answer to POST of a JSON object."""
        with self.stream("POST", path, body=encoded(body)) as answer:
            return _read(answer, MOST_BYTES, self.address.url)

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        at_once: bool = False,
    ) -> Iterator[httpx.Response]:
        """An answer of 2xx, to be read while it comes in; `at_once` lets no server compress, and so hold it back.

        Raises
        ------
        CouchError
            If there is none, if it is not 2xx, or if it breaks off while it is read.
        """
        import httpx

        url = f"{self.address.base}/{path}" if path else self.address.base
        headers = {"Content-Type": "application/json"} if body is not None else {}
        headers |= {"Accept-Encoding": "identity"} if at_once else {}
        where = self.address.url
        try:
            request = self._client.build_request(method, url, params=params, content=body, headers=headers)
            with hushed(*_LOGGERS):
                answer = self._client.send(request, stream=True)
            with closing(answer):
                if not answer.is_success:
                    raise _refused(answer, where)
                yield answer
        except httpx.TimeoutException as error:
            raise CouchError(f"{where} did not answer within {self.timeout_seconds:g} s") from error
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
            raise CouchError(f"{where} cannot be reached: {type(error).__name__}") from error

    def close(self) -> None:
        """Close connections."""
        self._client.close()


def _client(address: Address, timeout_seconds: float, what: str) -> httpx.Client:
    try:
        import httpx
    except ImportError as error:
        raise MissingExtraError(what, "couchdb") from error
    headers = {"Accept": "application/json", "User-Agent": f"amiss/{version('amiss')}"}
    return httpx.Client(timeout=timeout_seconds, auth=address.login, headers=headers)


def encoded(value: Mapping[str, Any]) -> bytes:
    r"""JSON that every server takes: halves of characters, which JSON texts cannot hold, are replaced.

    Examples
    --------
    >>> encoded({"user": "\ud800"})
    b'{"user": "?"}'
    """
    return json.dumps(escape.plain(value), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def _read(answer: httpx.Response, most_bytes: int, where: str) -> bytes:
    """The whole answer, if it is not too large."""
    parts, size = [], 0
    for part in answer.iter_bytes():
        parts.append(part)
        size += len(part)
        if size > most_bytes:
            raise TooMuchError(f"{where}: the answer has more than {most_bytes:,} bytes", status=200)
    return b"".join(parts)


def _refused(answer: httpx.Response, where: str) -> CouchError:
    """The error of an answer that is not 2xx."""
    said = _reason(answer)
    code = answer.status_code
    advice = {
        401: f". Check {USERNAME} and {PASSWORD}",
        403: ". Let this user read and write the database",
        404: ". Create the database, or check its name",
    }.get(code, "")
    return CouchError(f"{where} answers HTTP {code}{said}{advice}", status=code, retry_after=retry_after(answer))


def _reason(answer: httpx.Response) -> str:
    """What the server says is wrong, made harmless."""
    try:
        found = msgspec.json.decode(next(answer.iter_bytes(4096), b""))
        return f" ({shown(found)})"
    except Exception:  # noqa: BLE001 - whatever cannot be read says nothing
        return ""


def shown(found: Mapping[str, Any]) -> str:
    """What an answer says is wrong, made harmless.

    Examples
    --------
    >>> shown({"error": "forbidden", "reason": "no alerts here"})
    'forbidden, no alerts here'
    """
    return escape.visible(f"{found['error']}, {found.get('reason', '')}"[:_SAID])


def retry_after(answer: httpx.Response) -> float | None:
    """Seconds that a server asks to wait; it says so in seconds or as a date."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, when.timestamp() - time.time()) if when.tzinfo else None
