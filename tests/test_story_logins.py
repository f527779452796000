"""The story of Jane: a web service writes logins into CouchDB, a watch reads them, and mail comes when it should."""

from __future__ import annotations

import contextlib
import html
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import httpx
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope
from tests.couch_server import Database, Server

from amiss.errors import StateError
from amiss.store import Store

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
WINDOWS = "Windows NT 10.0; Win64; x64"
NEW_YORK, PHILADELPHIA = ("New York", "NY", "USA"), ("Philadelphia", "PA", "USA")
CHICAGO, SEATTLE, BOSTON = ("Chicago", "IL", "USA"), ("Seattle", "WA", "USA"), ("Boston", "MA", "USA")
BERLIN, KYIV = ("Berlin", "BE", "Germany"), ("Kyiv", "Kyiv City", "Ukraine")
PATIENCE = 60.0
Document = dict[str, str]


def chrome(version: int) -> str:
    """How Chrome on Windows names itself."""
    return f"Mozilla/5.0 ({WINDOWS}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0 Safari/537.36"


def firefox(version: int, system: str = "X11; Linux x86_64") -> str:
    """How Firefox names itself."""
    return f"Mozilla/5.0 ({system}; rv:{version}.0) Gecko/20100101 Firefox/{version}.0"


def safari(version: int) -> str:
    """How Safari names itself."""
    system = "Macintosh; Intel Mac OS X 10_15_7"
    return f"Mozilla/5.0 ({system}) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.{version} Safari/605.1.15"


@dataclass(frozen=True)
class Person:
    """Somebody with a place, a browser that is updated each four weeks, and office hours of a zone (from UTC)."""

    name: str
    zone: int
    home: tuple[str, str, str]
    agent: Callable[[int], str]


JANE = Person("jane", -5, NEW_YORK, lambda day: chrome(143 + day // 28))
OTHERS = (
    Person("bob", -6, CHICAGO, lambda day: firefox(146 + day // 28, WINDOWS)),
    Person("carla", -8, SEATTLE, lambda day: safari(1 + day // 40)),
    Person("dave", -5, BOSTON, lambda day: chrome(143 + day // 28)),
    Person("erik", 1, BERLIN, lambda day: firefox(146 + day // 28)),
)
WEEKS = 6
TODAY = 7 * WEEKS
"""A Monday again, counted from the first."""


def at(day: int, hour: float) -> datetime:
    """A time of UTC."""
    return MONDAY + timedelta(days=day, hours=hour)


def login(user: str, when: datetime, place: tuple[str, str, str], agent: str) -> Document:
    """What a Python web service keeps of a login: city, state, country, user agent, time."""
    city, state, country = place
    time = f"{when:%Y-%m-%dT%H:%M:%SZ}"
    return {"user": user, "time": time, "city": city, "state": state, "country": country, "user-agent": agent}


def history() -> list[Document]:
    """Six weeks of working days. Every fifth of Jane's logins is from Philadelphia."""
    chance, found = random.Random(1), []
    for day in (day for day in range(TODAY) if day % 7 < 5):
        for person in (JANE, *OTHERS):
            for _ in range(chance.choice((1, 2, 2, 3))):
                away = person is JANE and chance.random() < 0.2
                when = at(day, chance.uniform(8.5, 18.0) - person.zone)
                found.append(login(person.name, when, PHILADELPHIA if away else person.home, person.agent(day)))
    return sorted(found, key=lambda document: document["time"])


UPDATED = login("jane", at(TODAY, 14.2), NEW_YORK, chrome(145))
ELSEWHERE = login("jane", at(TODAY, 19.2), PHILADELPHIA, chrome(145))
AS_USUAL = login("bob", at(TODAY + 1, 15.0), CHICAGO, firefox(147, WINDOWS))
UKRAINE = login("jane", at(TODAY + 1, 19.8), KYIV, firefox(147))
AGAIN = [
    login("jane", at(TODAY + 2, 14.5), NEW_YORK, chrome(145)),
    login("jane", at(TODAY + 2, 19.5), KYIV, firefox(147)),
    login("bob", at(TODAY + 2, 20.0), CHICAGO, firefox(147, WINDOWS)),
]


# --- what runs


@dataclass
class PostOffice:
    """A mail server that takes every mail."""

    envelopes: list[Envelope] = field(default_factory=list)
    url: str = ""

    @property
    def mails(self) -> list[EmailMessage]:
        """What came, taken apart."""
        return [message_from_bytes(each.content, policy=default) for each in self.envelopes]

    async def handle_DATA(self, _server, _session, envelope) -> str:  # noqa: N802 - aiosmtpd looks for this name
        """Take a mail."""
        self.envelopes.append(envelope)
        return "250 OK"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def office() -> Iterator[PostOffice]:
    """A mail server on this machine."""
    opened, port = PostOffice(), free_port()
    opened.url = f"smtp://127.0.0.1:{port}"
    controller = Controller(opened, hostname="127.0.0.1", port=port)
    controller.start()
    yield opened
    controller.stop(no_assert=True)


@dataclass
class Running:
    """A watch over a database, the endpoint of its links, and who gets its mail."""

    database: Database
    office: PostOffice
    state: Path
    watch: subprocess.Popen[bytes]
    has_action: bool
    written: int = 0

    def write(self, *documents: Document) -> None:
        """Write logins one by one, as the web service does, and wait until they have been judged."""
        action = {"action": "login"} if self.has_action else {}
        for document in documents:
            self.database.put([document | action])
        self.written += len(documents)
        self.wait(lambda store: store.progress().events >= self.written)

    def wait(self, is_so: Callable[[Store], bool]) -> None:
        """Wait until something is so in the state."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            assert self.watch.poll() is None, (self.state.parent / "log").read_text()
            with contextlib.suppress(StateError), Store.open(self.state, write=False) as store:
                if is_so(store):
                    return
            time.sleep(0.05)
        raise AssertionError("it did not come to be so")

    def stop(self) -> None:
        """End the watch, which delivers what there is before."""
        self.watch.send_signal(signal.SIGTERM)
        assert self.watch.wait(PATIENCE) == 0

    def mails(self, count: int) -> list[EmailMessage]:
        """All mails, when so many have come."""
        until = time.monotonic() + PATIENCE / 3
        while len(self.office.envelopes) < count and time.monotonic() < until:
            time.sleep(0.02)
        return self.office.mails


@pytest.fixture(params=[True, False], ids=["with an action", "without an action"])
def story(
    request: pytest.FixtureRequest, server: Server, office: PostOffice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Running]:
    """A watch with the settings that come with it, which has read six weeks of logins from CouchDB."""
    monkeypatch.setenv("AMISS_SMTP_URL", office.url)
    database, state, port = server.database(), tmp_path / "state.db", free_port()
    alert = f"mailto:{{user}}@example.com?from=amiss@example.com&feedback=http://127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((tmp_path / "log").open("wb"))

        def start(*words: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen([sys.executable, "-m", "amiss", *words], cwd=tmp_path, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        watch = start("watch", database.url, "--state", str(state), "--alert", alert, "--every", "0.1s")
        running = Running(database, office, state, watch, request.param)
        running.write(*history())
        start("serve", "--feedback", "--state", str(state), "--listen", f"127.0.0.1:{port}")
        yield running


# --- the story


def text_of(mail: EmailMessage) -> str:
    """The plain part of a mail."""
    part = mail.get_body(("plain",))
    assert part is not None
    return part.get_content().replace("\r\n", "\n")


def link_of(mail: EmailMessage, answer: str) -> str:
    """The address below an answer."""
    found = re.search(rf"^{answer}:\n(\S+)$", text_of(mail), flags=re.MULTILINE)
    assert found is not None
    return found[1]


def press(link: str) -> str:
    """Open a link as soon as the endpoint answers, and press the button; what the page then says."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            assert "Nothing is kept until you press the button" in httpx.get(link).text
            return html.unescape(httpx.post(link).text)
        except httpx.TransportError:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_a_login_from_the_ukraine_on_firefox_gives_one_mail_and_jane_answers_it(story: Running) -> None:
    """None comes for a browser update, nor for the second city. What Jane answers decides on the same again."""
    story.write(UPDATED, ELSEWHERE)
    story.write(AS_USUAL)
    assert story.mails(0) == []

    story.write(UKRAINE)
    mails = story.mails(1)
    text = text_of(mails[0])
    assert mails[0]["To"] == "jane@example.com"
    assert mails[0]["Subject"] == "New login to jane's account from Kyiv, Ukraine (Firefox on Linux)"
    assert re.search(r"\b0 of \d\d earlier logins came from (UA|Ukraine)\b.* \(\d\d?\.\d bits\)", text)
    assert re.search(r"\b0 of \d\d earlier logins used Firefox on Linux\b.* \(\d\d?\.\d bits\)", text)
    assert re.search(r"Together \d\d?\.\d bits: by chance at most once in \S+ (days|months|years)\.", text)

    # Jane says which it was: with an action it was not her, without one it was.
    answer, said = ("This wasn't me", "This wasn't you") if story.has_action else ("This was me", "This was you")
    assert said in press(link_of(mails[0], answer))
    story.wait(lambda store: len(store.feedback()) == 1 and not store.unapplied())

    story.write(*AGAIN)
    story.stop()
    assert len(story.office.mails) == (2 if story.has_action else 1)
    with Store.open(story.state, write=False) as store:
        alerts = [stored.alert for stored in store.alerts()]
    assert {alert.user for alert in alerts} == {"jane"}
    assert alerts[-1].severity == "high"
    assert {reason["detector"] for alert in alerts for reason in alert.reasons} == {"login"}
