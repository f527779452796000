"""Signed links by which people answer an alert, and the key that signs them.

A link says which alert, what of it (a verdict), who was asked and until when, with HMAC-SHA256 over all four. Whoever
lacks the key can change none of them. A link alone does nothing: what it opens asks for a click.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import re
import secrets
import stat
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal, get_args
from urllib.parse import parse_qsl, urlencode, urlsplit

from amiss import escape
from amiss.errors import SinkError, UsageError

SECRET: Final = "AMISS_FEEDBACK_SECRET"  # noqa: S105 - the name of a variable
LEAST_SECRET: Final = 16
"""Characters that a secret has at least."""

DAYS: Final = 30
"""How long a link is good."""

KNOWN: Final = "amiss feedback: this link is good\n"
"""What the endpoint answers to a trial."""

Verdict = Literal["expected", "confirmed", "false"]
Asked = Literal["user", "operator"]

_TRIAL: Final = "trial"
_VERDICTS: Final = (*get_args(Verdict), _TRIAL)
_CONTEXT: Final = b"amiss feedback link 1\n"
_UNTIL: Final = re.compile(r"[1-9]\d{0,11}", re.ASCII)
_NAMES: Final = ("alert", "is", "by", "until", "sign")
_LONGEST: Final = 2_000
_TIMEOUT_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Claim:
    """What a link says.

    Parameters
    ----------
    alert_id
        Which alert.
    verdict
        What it was.
    by
        Who was asked.
    until
        Until when the link is good, in whole seconds since 1970.
    """

    alert_id: str
    verdict: str
    by: str
    until: int

    @property
    def is_trial(self) -> bool:
        """Whether it only asks if the key is the same here."""
        return self.verdict == _TRIAL

    def is_over(self, now: datetime) -> bool:
        """Whether the link came too late."""
        return now.timestamp() > self.until


@dataclass(frozen=True)
class Key:
    """What signs links.

    Examples
    --------
    >>> key = Key(b"a secret of many letters")
    >>> query = key.signed(Claim("a1", "expected", "user", 1772409600))
    >>> key.claim(query)
    Claim(alert_id='a1', verdict='expected', by='user', until=1772409600)
    >>> key.claim(query.replace("expected", "confirmed")) is None
    True
    """

    secret: bytes = field(repr=False)

    def signed(self, claim: Claim) -> str:
        """The query of a link that makes the claim."""
        values = (claim.alert_id, claim.verdict, claim.by, str(claim.until), self._signature(claim))
        return urlencode(list(zip(_NAMES, values, strict=True)), errors="surrogatepass")

    def claim(self, query: str) -> Claim | None:
        """What a link claims; None where nobody who has the key made it."""
        values = _values(query)
        if values is None:
            return None
        alert_id, verdict, by, until, signature = values
        if verdict not in _VERDICTS or by not in get_args(Asked) or not _UNTIL.fullmatch(until):
            return None
        claim = Claim(alert_id, verdict, by, int(until))
        is_ours = hmac.compare_digest(self._signature(claim).encode(), signature.encode("utf-8", "surrogatepass"))
        return claim if is_ours else None

    def _signature(self, claim: Claim) -> str:
        """HMAC-SHA256 of the claim, in 43 letters."""
        said = json.dumps([claim.alert_id, claim.verdict, claim.by, claim.until]).encode("ascii")
        digest = hmac.new(self.secret, _CONTEXT + said, hashlib.sha256).digest()
        return urlsafe_b64encode(digest).decode().rstrip("=")


@dataclass(frozen=True)
class Links:
    """Links for mails.

    Parameters
    ----------
    url
        Where `amiss serve --feedback` is reached from outside.
    key
        Signs them.
    days
        How long they are good.
    """

    url: str
    key: Key
    days: int = DAYS

    def link(self, alert_id: str, verdict: Verdict, by: Asked, now: datetime) -> str:
        """A link that says so of an alert."""
        until = int((now + timedelta(days=self.days)).timestamp())
        return self._url(Claim(alert_id, verdict, by, until))

    def until(self, now: datetime) -> datetime:
        """Until when links of now are good."""
        return now + timedelta(days=self.days)

    def check(self) -> str:
        """That the endpoint is there, and has the same key.

        Raises
        ------
        SinkError
            If it is not, or has not.
        """
        until = int(datetime.now(UTC).timestamp()) + 60
        url = self._url(Claim("", _TRIAL, "operator", until))
        try:
            code, said = _got(url)
        except (OSError, http.client.HTTPException) as error:
            why = escape.label(str(getattr(error, "strerror", None) or error or type(error).__name__), 100)
            raise SinkError(f"{self.url} cannot be reached ({why}). Run amiss serve --feedback there") from error
        if said != KNOWN:
            raise SinkError(
                f"{self.url} answers HTTP {code}, but does not know these links: expected amiss serve --feedback with "
                f"the same {SECRET} or the same state file"
            )
        return f"links to {self.url} are understood there"

    def _url(self, claim: Claim) -> str:
        slash = "" if urlsplit(self.url).path else "/"
        return f"{self.url}{slash}?{self.key.signed(claim)}"


def links(url: str, state: str | None, days: int = DAYS) -> Links:
    """Links to an address, signed with the key of a state.

    Raises
    ------
    UsageError
        If the address is none, or there is no key.

    Examples
    --------
    >>> links("ftp://example.com", None)
    Traceback (most recent call last):
    amiss.errors.UsageError: feedback: expected an address such as https://amiss.example.com, found "ftp://example.com"
    """
    return Links(checked_url(url), key_of(state), days)


def checked_url(url: str) -> str:
    """The address of a feedback endpoint, as links begin.

    Raises
    ------
    UsageError
        If it is none: `https://` or `http://`, a host, no query.
    """
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    is_plain = url.isascii() and url.isprintable() and not any(letter in url for letter in " ?#<>\"'\\@")
    if not is_whole or not is_plain:
        found = escape.label(url, 80)
        raise UsageError(f'feedback: expected an address such as https://amiss.example.com, found "{found}"')
    return url


def key_of(state: str | None) -> Key:
    """The key: that of the environment, else the one beside the state file, which is made where there is none.

    Raises
    ------
    UsageError
        If there is none and none can be made, it is too short, or others may read it.
    """
    given = os.environ.get(SECRET)
    if given is not None:
        if len(given) < LEAST_SECRET:
            raise UsageError(f"{SECRET}: expected {LEAST_SECRET} characters or more, found {len(given)}")
        return Key(given.encode("utf-8", "surrogateescape"))
    if state is None:
        raise UsageError(f"links for feedback need a key: set {SECRET}, or name the state file with --state")
    path = Path(state)
    return _kept(path.with_name(f"{path.name}-key"))


def _kept(path: Path) -> Key:
    """The key in a file, which is made where there is none."""
    try:
        if not path.exists():
            _make(path)
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no key"
        raise UsageError(f"{path}: the key for feedback cannot be read or made: {why}. Or set {SECRET}") from error
    if mode & 0o077:
        raise UsageError(f"{path}: others may read the key for feedback. Forbid it: chmod 600 {path}")
    if len(text) < LEAST_SECRET:
        raise UsageError(f"{path}: expected a key of {LEAST_SECRET} characters or more. Delete it to have one made")
    return Key(text.encode())


def _make(path: Path) -> None:
    """Write a new key, for nobody else to read; where two do so at once, the first one stands."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(file, "w", encoding="ascii") as stream:
            stream.write(f"{secrets.token_urlsafe(32)}\n")
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileExistsError):
            os.link(new, path)
    finally:
        new.unlink()


def _values(query: str) -> Sequence[str] | None:
    """The five values of a link, in the order of `_NAMES`; None where any is missing, doubled or beside them."""
    if len(query) > _LONGEST:
        return None
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, strict_parsing=True, errors="surrogatepass", max_num_fields=len(_NAMES)
        )
    except ValueError:
        return None
    values = dict(pairs)
    return [values[name] for name in _NAMES] if len(pairs) == len(_NAMES) and set(values) == set(_NAMES) else None


def _got(url: str) -> tuple[int, str]:
    """What a server answers: the status, and the beginning of the text."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", f"{parts.path or '/'}?{parts.query}", headers={"Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read(len(KNOWN) + 1).decode("utf-8", "replace")
    finally:
        connection.close()
