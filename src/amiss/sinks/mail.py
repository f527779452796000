"""Alerts by mail, through an SMTP server."""

from __future__ import annotations

import os
import re
import smtplib
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.headerregistry import Address
from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from amiss import escape
from amiss.alerts import Alert
from amiss.errors import SinkError, UsageError
from amiss.sinks.letter import letter

SERVER: Final = "AMISS_SMTP_URL"
PASSWORD: Final = "AMISS_SMTP_PASSWORD"  # noqa: S105 - the name of a variable
_ADDRESS: Final = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[\w.-]+", re.ASCII)
REMEMBERED: Final = 1_000
"""Alerts of which it is known whom they reached, while others have not got them."""


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


class Mail:
    """Sends a mail with the alerts to all recipients.

    Parameters
    ----------
    url
        `mailto:ann@example.com,bob@example.com?from=amiss@example.com`.
    smtp
        The server, `smtp://user@host:port` or `smtps://…`; else that of the environment variable `AMISS_SMTP_URL`, else
        the one of this machine. The password is best left to `AMISS_SMTP_PASSWORD`.
    state
        Where `amiss` keeps its state: the command for feedback names it.
    timeout_seconds
        How long to wait for each answer.
    clock
        The time, for the date of the mail.
    """

    def __init__(
        self,
        url: str,
        *,
        smtp: str | None = None,
        state: str | None = None,
        timeout_seconds: float = 20.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        parts = urlsplit(url)
        options = parse_qs(parts.query)
        self._recipients = [_address(unquote(each)).addr_spec for each in parts.path.split(",")]
        self._sender = _address(options["from"][0]) if "from" in options else _own()
        self.url = f"mailto:{','.join(self._recipients)}"
        given = smtp or os.environ.get(SERVER) or "smtp://localhost"
        self._server = Server.parse(given, os.environ.get(PASSWORD))
        self._state = state
        self._timeout = timeout_seconds
        self._clock = clock
        self._reached: OrderedDict[str, set[str]] = OrderedDict()

    def write(self, alerts: Sequence[Alert]) -> None:
        """Send one mail; it is delivered when the server has accepted it for all recipients.

        Raises
        ------
        SinkError
            If it was not; names the recipients that were refused. Those who have got it are left out the next time.
        """
        recipients = [each for each in self._recipients if not all(each in self._of(alert) for alert in alerts)]
        if not recipients:
            return
        message = letter(alerts, self._sender, self._recipients, self._clock(), self._state)
        with self._connected() as server:
            refused = _sent(server, message.as_bytes(), self._sender.addr_spec, recipients)
        self._remember(alerts, set(recipients) - set(refused), is_done=not refused)
        if refused:
            permanent = all(code >= 500 for code, _ in refused.values())
            raise SinkError(f"{self._place} {_refusals(refused)}", permanent=permanent)

    def check(self) -> str:
        """That the server is there, takes the password, and would take mail for the recipients."""
        with self._connected() as server:
            _accept(server.mail(self._sender.addr_spec), self._sender.addr_spec)
            for recipient in self._recipients:
                _accept(server.rcpt(recipient), recipient)
            server.rset()
        return f"{self._place} accepts mail for {', '.join(self._recipients)}"

    def close(self) -> None:
        """Nothing is held between mails."""

    @property
    def _place(self) -> str:
        return f"SMTP server {self._server.host}:{self._server.port}"

    def _of(self, alert: Alert) -> set[str]:
        """Who has got the alert already."""
        return self._reached.get(alert.alert_id, set())

    def _remember(self, alerts: Sequence[Alert], reached: set[str], *, is_done: bool) -> None:
        """Remember who has got the alerts, until all have."""
        for alert in alerts:
            before = self._reached.pop(alert.alert_id, set())
            if not is_done:
                self._reached[alert.alert_id] = before | reached
        while len(self._reached) > REMEMBERED:
            self._reached.popitem(last=False)

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        """The server, ready to take a mail; its errors in words."""
        try:
            with self._greeted() as server:
                yield server
        except smtplib.SMTPResponseException as error:
            permanent = 500 <= error.smtp_code < 600 and not isinstance(error, smtplib.SMTPAuthenticationError)
            said = f"{self._place} refuses: {_reply(error.smtp_code, error.smtp_error)}"
            raise SinkError(said, permanent=permanent) from error
        except (smtplib.SMTPException, OSError) as error:
            why = escape.label(str(error.strerror if isinstance(error, OSError) and error.strerror else error), 200)
            raise SinkError(f"{self._place} cannot be used: {why or type(error).__name__}") from error

    def _greeted(self) -> smtplib.SMTP:
        """A connection, encrypted where the server can, logged in where a user is given."""
        place = self._server
        tls = ssl.create_default_context()
        if place.is_local:
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        if place.is_tls:
            server: smtplib.SMTP = smtplib.SMTP_SSL(place.host, place.port, timeout=self._timeout, context=tls)
        else:
            server = smtplib.SMTP(place.host, place.port, timeout=self._timeout)
        try:
            self._prepare(server, tls)
        except BaseException:
            server.close()
            raise
        return server

    def _prepare(self, server: smtplib.SMTP, tls: ssl.SSLContext) -> None:
        place = self._server
        server.ehlo()
        if not place.is_tls and server.has_extn("starttls"):
            server.starttls(context=tls)
            server.ehlo()
        if place.user is None:
            return
        if place.password is None:
            raise SinkError(f"{self._place}: no password for {escape.label(place.user)}; set {PASSWORD}")
        if not isinstance(server.sock, ssl.SSLSocket) and not place.is_local:
            raise SinkError(f"{self._place} offers no encryption, so the password is not sent; use smtps://")
        server.login(place.user, place.password)


def _sent(
    server: smtplib.SMTP, message: bytes, sender: str, recipients: Sequence[str]
) -> Mapping[str, tuple[int, bytes]]:
    """Who was refused of the recipients, with the code and words of the server."""
    try:
        return server.sendmail(sender, recipients, message)
    except smtplib.SMTPRecipientsRefused as error:
        return dict(error.recipients)


def _accept(reply: tuple[int, bytes], about: str) -> None:
    """Raise unless the server said yes."""
    code, words = reply
    if code not in (250, 251):
        raise smtplib.SMTPResponseException(code, f"{about}: {words.decode(errors='replace')}")


def _refusals(refused: Mapping[str, tuple[int, bytes]]) -> str:
    said = "; ".join(f"{recipient}: {_reply(*reply)}" for recipient, reply in refused.items())
    return f"refused {said}"


def _reply(code: int, words: bytes | str) -> str:
    """What a server said, harmless."""
    text = words.decode(errors="replace") if isinstance(words, bytes) else str(words)
    return f"{code} {escape.label(text, 200)}"


def _address(text: str) -> Address:
    """A mail address, such as `ann@example.com`.

    Raises
    ------
    UsageError
        If it is none.
    """
    local, _, domain = text.strip().rpartition("@")
    if not _ADDRESS.fullmatch(text.strip()):
        raise UsageError(f'mailto: expected addresses such as ann@example.com, found "{escape.label(text)}"')
    return Address(username=local, domain=domain)


def _own() -> Address:
    """The address of amiss on this machine."""
    name = socket.getfqdn()
    return Address(username="amiss", domain=name if name.isascii() and name.isprintable() else "localhost")
