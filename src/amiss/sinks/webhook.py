"""Alerts to a web server: JSON by POST, signed.

The signature is HMAC-SHA256 over the time, a dot and the body, so that a receiver can tell that they come from here,
unchanged and recently::

    Amiss-Timestamp: 1772409600
    Amiss-Signature: sha256=5d41…
    Idempotency-Key: …            the same when the same alerts are sent again
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urldefrag

from amiss import escape
from amiss.alerts import Alert
from amiss.errors import MissingExtraError, SinkError, UsageError
from amiss.hush import hushed
from amiss.sinks import words
from amiss.sinks.address import redacted

if TYPE_CHECKING:
    import httpx

SECRET: Final = "AMISS_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
MOST_REDIRECTS: Final = 3
_MAY_PASS: Final = (408, 425, 429)
"""Answers that blame the sender, yet may be different soon."""


class Webhook:
    """Posts ``{"alerts": […]}`` to an address.

    Parameters
    ----------
    url
        `https://…`; `#secret_env=NAME` at its end names the variable that holds the secret.
    secret
        Signs what is sent; that of the environment variable `AMISS_WEBHOOK_SECRET` unless given.
    timeout_seconds
        How long to wait for a connection, and for each part of an answer.
    clock
        Seconds since 1970.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: str | None = None,
        timeout_seconds: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url, fragment = urldefrag(url)
        self.url = redacted(self._url)
        self._secret = secret or _secret(fragment, self.url)
        self._timeout = timeout_seconds
        self._clock = clock
        self._client: httpx.Client | None = None

    def write(self, alerts: Sequence[Alert]) -> None:
        """Post the alerts; the receiver has them once it answers 2xx.

        Raises
        ------
        SinkError
            If it does not. Answers of 4xx are final, except 408, 425 and 429; `Retry-After` is passed on.
        """
        body = escape.json_text({"alerts": [alert.record() for alert in alerts]}).encode()
        headers = self._signed(body) | {"Idempotency-Key": idempotency_key(alerts)}
        answer = self._send("POST", body, headers)
        if not answer.is_success:
            code = answer.status_code
            permanent = 300 <= code < 500 and code not in _MAY_PASS
            raise SinkError(f"{self.url} {_said(answer)}", retry_after=self._retry_after(answer), permanent=permanent)

    def check(self) -> str:
        """What the server answers to HEAD; any answer will do, since many refuse all but POST."""
        answer = self._send("HEAD", b"", {})
        return f"{self.url} {_said(answer)} to HEAD; alerts are {'signed' if self._secret else 'not signed'}"

    def close(self) -> None:
        """Close connections."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _signed(self, body: bytes) -> dict[str, str]:
        """The headers that say what the body is, when it was sent, and by whom."""
        headers = {"Content-Type": "application/json", "User-Agent": words.amiss()}
        if self._secret is None:
            return headers
        timestamp = str(int(self._clock()))
        return headers | {"Amiss-Timestamp": timestamp, "Amiss-Signature": signature(self._secret, timestamp, body)}

    def _send(self, method: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        """The answer, redirected at most within the same server."""
        client = self._opened()
        import httpx

        try:
            with hushed("httpx", "httpcore.connection", "httpcore.http11"):
                return _answer(client, httpx.URL(self._url), method, body, headers)
        except httpx.TimeoutException as error:
            raise SinkError(f"{self.url} did not answer within {self._timeout:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SinkError(f"{self.url} cannot be reached: {type(error).__name__}") from error

    def _opened(self) -> httpx.Client:
        try:
            import httpx
        except ImportError as error:
            raise MissingExtraError("a webhook", "notify") from error
        if self._client is None:
            self._client = httpx.Client(timeout=self._timeout)
        return self._client

    def _retry_after(self, answer: httpx.Response) -> float | None:
        """Seconds that the server asks to wait; it says so in seconds or as a date."""
        text = answer.headers.get("retry-after", "").strip()
        if text.isascii() and text.isdigit():
            return float(text[:9])
        try:
            when = parsedate_to_datetime(text)
        except ValueError:
            return None
        return max(0.0, (when - datetime.fromtimestamp(self._clock(), UTC)).total_seconds()) if when.tzinfo else None


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What `Amiss-Signature` must read, for receivers to compare with.

    Examples
    --------
    >>> signature("key", "1772409600", b'{"alerts": []}')
    'sha256=...'
    """
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def idempotency_key(alerts: Sequence[Alert]) -> str:
    """A text that is the same whenever the same alerts are sent."""
    return hashlib.sha256("\n".join(alert.alert_id for alert in alerts).encode("utf-8", "replace")).hexdigest()[:32]


def _answer(client: httpx.Client, url: httpx.URL, method: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    """The answer of the server at `url`, whose content is not read: nobody needs it, and it may never end."""
    for _ in range(MOST_REDIRECTS + 1):
        with client.stream(method, url, content=body, headers=headers) as answer:
            pass
        to = (
            url.join(answer.headers["location"])
            if answer.status_code in (307, 308) and answer.has_redirect_location
            else url
        )
        if to == url or (to.scheme, to.host, to.port) != (url.scheme, url.host, url.port):
            break
        url = to.copy_with(userinfo=url.userinfo)
    return answer


def _said(answer: httpx.Response) -> str:
    """The status of an answer in words."""
    said = f"answers HTTP {answer.status_code}"
    return f"{said}, which leads elsewhere: give the new address" if answer.is_redirect else said


def _secret(fragment: str, name: str) -> str | None:
    """The secret in the environment, in the variable that the address names."""
    given = parse_qs(fragment).get("secret_env")
    if given and not os.environ.get(given[0]):
        raise UsageError(
            f"{name}: the environment variable {escape.visible(given[0])}, named in the address, is not set"
        )
    return os.environ.get(given[0] if given else SECRET) or None
