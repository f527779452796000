"""The address of a sink: taken apart, and shown without what is secret in it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from amiss.errors import UsageError

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_DIGEST: Final = re.compile(r"([?&])digest=([^&#]*)(&?)")
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d)")
_SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True)
class Address:
    """The address of a sink without the settings that are not the sink's own.

    Examples
    --------
    >>> Address.parse("mailto:ann@example.com?digest=1h")
    Address(scheme='mailto', digest=datetime.timedelta(seconds=3600))
    >>> Address.parse("alerts.csv").scheme
    'file'
    """

    scheme: str
    url: str = field(repr=False)
    digest: timedelta | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """The address in a text."""
        found = _DIGEST.search(text)
        url = _DIGEST.sub(lambda match: match[1] if match[3] else "", text, count=1)
        digest = cls.span(found[2]) if found else None
        if url in ("-", "console"):
            return cls("console", "console:", digest)
        scheme = _SCHEME.match(url)
        return cls(scheme[1].lower() if scheme else "file", url, digest)

    @staticmethod
    def span(text: str) -> timedelta:
        """A span of time in words, above zero.

        Examples
        --------
        >>> Address.span("1.5h")
        datetime.timedelta(seconds=5400)
        """
        found = _SPAN.fullmatch(text.strip())
        if not found or not float(found[1]):
            raise UsageError(f'digest: expected a span of time such as 30min, 1h or 1d, found "{text}"')
        return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])


def redacted(url: str) -> str:
    """An address that may be shown: scheme and host, and some hexadecimal digits that tell its paths apart.

    Paths and queries of webhooks are secrets. Changing a user name or a password changes nothing.

    Raises
    ------
    UsageError
        If there is no host in it, or no port where one should be.

    Examples
    --------
    >>> redacted("https://ann:pw@hooks.example.com:8443/T0/B1?token=abc")
    'https://hooks.example.com:8443/…#c7497b'
    >>> redacted("http://localhost:8080/")
    'http://localhost:8080'
    """
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole:
        raise UsageError(f"{url.partition(':')[0]}: expected an address such as https://example.com/hook")
    place = parts.netloc.rpartition("@")[2].lower()
    rest = f"{parts.path}?{parts.query}".strip("/?")
    return f"{parts.scheme}://{place}{f'/…#{fingerprint(rest)}' if rest else ''}"


def fingerprint(text: str) -> str:
    """Six hexadecimal digits that a text always gives, and that do not give the text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:6]
