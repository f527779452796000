"""Receivers that run: a web server and a mail server on this machine, and alerts to send them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword

from amiss.alerts import Alert

REASON = {
    "detector": "habit",
    "bits": 9.6,
    "text": "login came after logout 3 of 4 times; the user's own past 0 of 412",
    "count": 3,
    "of": 4,
    "others_count": 0,
    "others_of": 412,
}


@pytest.fixture
def alert() -> Alert:
    """One alert about u1042."""
    return Alert(
        alert_id="3f2a9c4e",
        story="s77",
        time=datetime(2026, 3, 2, 3, 12, 7, 250_000, tzinfo=UTC),
        user="u1042",
        bits=18.71,
        severity="high",
        detectors={"habit": 18.0, "sequence": 12.25},
        reasons=[REASON],
        period=date(2026, 3, 2),
        events=12,
        chance="by chance at most once in 14 months",
        risk=71,
    )


@pytest.fixture
def three(alert: Alert) -> list[Alert]:
    """Three alerts: high, critical and risen, low."""
    risen = replace(alert, alert_id="a2", user="u2", bits=31.0, severity="critical", escalated_from="high")
    return [alert, risen, replace(alert, alert_id="a3", story="s3", user="u3", bits=9.0, severity="low")]


DETAILS = {
    "address": "203.0.113.9",
    "country": "UA",
    "city": "Kyiv",
    "device": "Firefox, Linux",
    "zone": "America/New_York",
    "local_time": "2026-03-01 22:12",
}
"""What is known of a login."""


@pytest.fixture
def login(alert: Alert) -> Alert:
    """One alert about a login of jane."""
    reasons = [
        REASON | {"detector": "login", "text": "logged in from UA: 0 of 412 earlier logins came from there"},
        REASON | {"detector": "login", "bits": 6.1, "text": "used Firefox: 0 of 412 earlier logins did"},
    ]
    return replace(alert, alert_id="j1", user="jane", detectors={"login": 18.71}, reasons=reasons, details=DETAILS)


@dataclass
class Request:
    """What came to the web server."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Web:
    """A web server that answers as told: each answer once, the last for ever."""

    answers: list[tuple[int, dict[str, str]]] = field(default_factory=lambda: [(200, {})])
    delay_seconds: float = 0.0
    drops: bool = False
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """Its address, with things in it that are secret."""
        return f"http://ann:pa55word@127.0.0.1:{self.port}/hook/T0KEN?key=s3cret"

    def answer(self) -> tuple[int, dict[str, str]]:
        """The next answer."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class _Answering(BaseHTTPRequestHandler):
    web: Web

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.web.requests.append(Request(self.command, self.path, headers, body))
        time.sleep(self.web.delay_seconds)
        if self.web.drops:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        code, more = self.web.answer()
        self.send_response(code)
        for name, value in more.items():
            self.send_header(name, value)
        self.send_header("content-length", "0")
        self.end_headers()

    do_HEAD = do_POST  # noqa: N815 - http.server looks for this name

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server on this machine."""
    told = Web()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answering", (_Answering,), {"web": told}))
    server.daemon_threads = True
    told.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield told
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class PostOffice:
    """A mail server that refuses whom it is told to refuse."""

    refused: dict[str, str] = field(default_factory=dict)
    answer: str = "250 OK"
    envelopes: list[Envelope] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """Its address."""
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def mails(self) -> list[EmailMessage]:
        """What was accepted, taken apart."""
        return [message_from_bytes(each.content, policy=default) for each in self.envelopes]

    async def handle_RCPT(self, _server, _session, envelope, address, _options) -> str:  # noqa: N802 - aiosmtpd looks for this name
        """Take a recipient, or not."""
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server, _session, envelope) -> str:  # noqa: N802 - aiosmtpd looks for this name
        """Take a mail, or not."""
        if self.answer.startswith("2"):
            self.envelopes.append(envelope)
        return self.answer

    def authenticate(self, _server, _session, _envelope, _mechanism, said: LoginPassword) -> AuthResult:
        """Let in whoever knows the password."""
        self.logins.append((said.login.decode(), said.password.decode()))
        return AuthResult(success=said.password == b"pa55word", handled=False)


@pytest.fixture
def open_office() -> Iterator[Callable[..., PostOffice]]:
    """Opens mail servers on this machine, with the settings of aiosmtpd."""
    running: list[Controller] = []

    def opened(**settings: object) -> PostOffice:
        office = PostOffice()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            office.port = free.getsockname()[1]
        given = {"authenticator": office.authenticate, "auth_require_tls": False} | settings
        controller = Controller(office, hostname="127.0.0.1", port=office.port, **given)
        controller.start()
        running.append(controller)
        return office

    yield opened
    for controller in running:
        controller.stop(no_assert=True)


@pytest.fixture
def office(open_office: Callable[..., PostOffice]) -> PostOffice:
    """A mail server on this machine."""
    return open_office()
