"""A mail server: reached, encrypted, logged in to; its errors in words."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final
from urllib.parse import unquote, urlsplit

from amiss import escape
from amiss.errors import SinkError, UsageError

PASSWORD: Final = "AMISS_SMTP_PASSWORD"  # noqa: S105 - the name of a variable


@dataclass(frozen=True)
class Server:
    """An SMTP server, as its address says."""

    host: str
    port: int
    is_tls: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, password: str | None = None) -> Server:
        """The server at `smtp://user@host:port` or `smtps://…`.

        Examples
        --------
        >>> Server.parse("smtps://ann:secret@mail.example.com")
        Server(host='mail.example.com', port=465, is_tls=True, user='ann')
        """
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname or port == -1:
            raise UsageError("SMTP server: expected smtp://USER@HOST:PORT or smtps://USER@HOST:PORT")
        is_tls = parts.scheme == "smtps"
        user = unquote(parts.username) if parts.username else None
        secret = unquote(parts.password) if parts.password else password
        return cls(parts.hostname, port or (465 if is_tls else 25), is_tls, user, secret)

    @property
    def is_local(self) -> bool:
        """Whether it is this very machine, so that nobody can listen in between."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True)
class Office:
    """A mail server, and how long to wait for each of its answers."""

    server: Server
    timeout_seconds: float

    @property
    def place(self) -> str:
        """What it is called in messages."""
        return f"SMTP server {self.server.host}:{self.server.port}"

    @contextmanager
    def connected(self) -> Iterator[smtplib.SMTP]:
        """The server, ready to take a mail; its errors in words."""
        try:
            with self._greeted() as server:
                yield server
        except smtplib.SMTPResponseException as error:
            permanent = 500 <= error.smtp_code < 600 and not isinstance(error, smtplib.SMTPAuthenticationError)
            said = f"{self.place} refuses: {_reply(error.smtp_code, error.smtp_error)}"
            raise SinkError(said, permanent=permanent) from error
        except (smtplib.SMTPException, OSError) as error:
            why = escape.label(str(error.strerror if isinstance(error, OSError) and error.strerror else error), 200)
            raise SinkError(f"{self.place} cannot be used: {why or type(error).__name__}") from error

    def _greeted(self) -> smtplib.SMTP:
        """A connection, encrypted where the server can, logged in where a user is given."""
        place = self.server
        tls = ssl.create_default_context()
        if place.is_local:
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        if place.is_tls:
            server: smtplib.SMTP = smtplib.SMTP_SSL(place.host, place.port, timeout=self.timeout_seconds, context=tls)
        else:
            server = smtplib.SMTP(place.host, place.port, timeout=self.timeout_seconds)
        try:
            self._prepare(server, tls)
        except BaseException:
            server.close()
            raise
        return server

    def _prepare(self, server: smtplib.SMTP, tls: ssl.SSLContext) -> None:
        place = self.server
        server.ehlo()
        if not place.is_tls and server.has_extn("starttls"):
            server.starttls(context=tls)
            server.ehlo()
        if place.user is None:
            return
        if place.password is None:
            raise SinkError(f"{self.place}: no password for {escape.label(place.user)}; set {PASSWORD}")
        if not isinstance(server.sock, ssl.SSLSocket) and not place.is_local:
            raise SinkError(f"{self.place} offers no encryption, so the password is not sent; use smtps://")
        server.login(place.user, place.password)


def sent(
    server: smtplib.SMTP, message: bytes, sender: str, recipients: Sequence[str]
) -> Mapping[str, tuple[int, bytes]]:
    """Who was refused of the recipients, with the code and words of the server."""
    try:
        return server.sendmail(sender, recipients, message)
    except smtplib.SMTPRecipientsRefused as error:
        return dict(error.recipients)


def accept(reply: tuple[int, bytes], about: str) -> None:
    """Raise unless the server said yes."""
    code, words = reply
    if code not in (250, 251):
        raise smtplib.SMTPResponseException(code, f"{about}: {words.decode(errors='replace')}")


def refusals(refused: Mapping[str, tuple[int, bytes]]) -> str:
    """Who was refused, and in which words."""
    said = "; ".join(f"{recipient}: {_reply(*reply)}" for recipient, reply in refused.items())
    return f"refused {said}"


def _reply(code: int, words: bytes | str) -> str:
    """What a server said, harmless."""
    text = words.decode(errors="replace") if isinstance(words, bytes) else str(words)
    return f"{code} {escape.label(text, 200)}"
