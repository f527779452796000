"""The web service of the examples runs, lets its users in, and asks for a code where a login is unlike them."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from tests.couch_server import INSTALL, Server, binary

import amiss
from amiss.detect import detector
from amiss.store import Store

APP = Path(__file__).resolve().parent.parent / "examples" / "web_login" / "app.py"
NEEDED = ("itsdangerous", "python_multipart", "starlette", "uvicorn")
HOME, BERLIN, KYIV = "192.0.2.7", "198.51.100.3", "203.0.113.9"
PLACES = {
    "192.0.2.0/24": ("US", 40.71, -74.0, "America/New_York"),
    "198.51.100.0/24": ("DE", 52.52, 13.41, "Europe/Berlin"),
    "203.0.113.0/24": ("UA", 50.45, 30.52, "Europe/Kyiv"),
}
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/145.0.0.0 Safari/537.36"
)
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:147.0) Gecko/20100101 Firefox/147.0"
SAFARI = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18.1 Safari/605.1.15"
USERS = {
    "jane": (HOME, CHROME),
    "bob": (HOME, CHROME),
    "carla": (HOME, CHROME),
    "dave": (HOME, CHROME),
    "erik": (BERLIN, SAFARI),
    "frida": (BERLIN, FIREFOX),
}
"""Where each logs in from, and with what."""

PASSWORD = "correct horse"

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, NEEDED)), reason="pip install -r examples/web_login/requirements.txt"
)


@pytest.fixture(scope="module")
def geoip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of places of two networks."""
    path, writer = tmp_path_factory.mktemp("geoip") / "places.mmdb", MMDBWriter(float_type="f64")
    for network, (country, latitude, longitude, zone) in PLACES.items():
        location = {"latitude": latitude, "longitude": longitude, "time_zone": zone}
        writer.insert_network(IPSet([network]), {"country": {"iso_code": country}, "location": location})
    writer.to_db_file(str(path))
    return path


@pytest.fixture(scope="module")
def learned(geoip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with users, and with a state that knows their logins of four weeks."""
    folder = tmp_path_factory.mktemp("learned")
    subprocess.run([sys.executable, APP, "add", "jane"], cwd=folder, input=f"{PASSWORD}\n", text=True, check=True)
    jane = json.loads((folder / "users.json").read_text())["jane"]
    (folder / "users.json").write_text(json.dumps(dict.fromkeys(USERS, jane)))
    start = datetime.now(UTC).replace(minute=30) - timedelta(days=28)
    with amiss.Session(folder / "logins.db", detectors=[detector("login", geoip=str(geoip))], alerts=["-"]) as session:
        for day in range(28):
            for number, (user, (address, agent)) in enumerate([*USERS.items()] * 2):
                time = start + timedelta(days=day, minutes=7 * number)
                session.score(user=user, action="login", outcome=True, time=time, ip=address, user_agent=agent)
    return folder


@dataclass
class Service:
    """The service, as a process of its own."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]
    browsers: contextlib.ExitStack

    @property
    def log(self) -> str:
        """What it has said."""
        return (self.folder / "log").read_text()

    def has_written(self, **values: str) -> bool:
        """Whether an event with these values is written, soon after the answer."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with contextlib.suppress(FileNotFoundError):
                lines = (self.folder / "logins.jsonl").read_text().splitlines()
                if any(values.items() <= json.loads(line).items() for line in lines):
                    return True
            time.sleep(0.02)
        return False

    def browser(self, address: str = HOME, agent: str = CHROME) -> Browser:
        """Somebody who comes by the proxy."""
        headers = {"User-Agent": agent, "X-Forwarded-For": address}
        return Browser(self.browsers.enter_context(httpx.Client(base_url=self.url, headers=headers)))

    def code(self, user: str) -> str:
        """The last code that was sent to a user."""
        return re.findall(rf"the code for {user} is (\d{{6}})", self.log)[-1]

    def verdicts(self, user: str) -> list[tuple[str, bool]]:
        """What was said of a user's alerts, and whether it stands."""
        with Store.open(self.folder / "logins.db", write=False) as store:
            said = [each for each in store.feedback() if store.story(each.story).user == user]
        return [(each.verdict, each.undone_time is None) for each in said]

    def stop(self) -> None:
        """End it as a system does."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) in (0, -signal.SIGTERM)


@dataclass
class Browser:
    """Somebody who fills in forms."""

    client: httpx.Client

    def send(self, path: str, **values: str) -> httpx.Response:
        """Open a page and send its form; the answer, without going on."""
        token = re.search(r'name="csrf" value="([^"]+)"', self.client.get(path).text)
        assert token is not None
        return self.client.post(path, data={"csrf": token[1], **values})

    def log_in(self, name: str = "jane") -> str:
        """Where one is sent after giving the password."""
        return self.send("/login", name=name, password=PASSWORD).headers.get("location", "")

    @property
    def is_in(self) -> bool:
        """Whether the page for users is shown."""
        return "You are signed in" in self.client.get("/").text


@contextlib.contextmanager
def serving(learned: Path, folder: Path, **settings: str) -> Iterator[Service]:
    """The service, with a copy of what was learned."""
    for path in learned.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {"PORT": str(port), "TLS": "0", "ALERT": "alerts.jsonl", "TRUSTED_PROXIES": "127.0.0.1", **settings}
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-W", "error", APP]
        process = subprocess.Popen(command, cwd=folder, env=os.environ | given, stdout=log, stderr=log)
    service = Service(f"http://127.0.0.1:{port}", folder, process, contextlib.ExitStack())
    try:
        until = time.monotonic() + 60
        while not answers(service.url):
            assert process.poll() is None, service.log
            assert time.monotonic() < until, service.log
            time.sleep(0.05)
        yield service
    finally:
        service.browsers.close()
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    """Whether somebody is there."""
    try:
        return httpx.get(f"{url}/login").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def service(learned: Path, geoip: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service, behind a proxy that it trusts."""
    with serving(learned, tmp_path_factory.mktemp("service"), GEOIP=str(geoip)) as started:
        yield started


def test_a_login_like_all_others_is_let_in(service: Service) -> None:
    """It is written, with the address that the proxy tells."""
    browser = service.browser()
    assert browser.log_in() == "/"
    assert browser.is_in
    assert service.has_written(user="jane", action="login", outcome="success", ip=HOME)


def test_a_wrong_password_and_an_unknown_name_look_the_same(service: Service) -> None:
    """Only what is wrong with known names is written: people type passwords as names."""
    said = [service.browser().send("/login", name=name, password="x") for name in ("jane", "hunter2")]
    assert [answer.status_code for answer in said] == [401, 401]
    assert [re.search(r'role="alert">([^<]*)', answer.text)[1] for answer in said] == ["Name or password is wrong."] * 2
    assert service.has_written(user="jane", outcome="failure")
    assert "hunter2" not in (service.folder / "logins.jsonl").read_text()


def test_a_form_of_another_site_is_refused(service: Service) -> None:
    """Without the token of the cookie nobody is let in, nor out."""
    browser, data = service.browser(), {"name": "jane", "password": PASSWORD}
    assert browser.client.post("/login", data=data).status_code == 403
    assert browser.client.post("/login", data=data | {"csrf": ""}).status_code == 403
    browser.log_in()
    browser.client.post("/logout", data={"csrf": "x"})
    assert browser.is_in
    token = re.search(r'name="csrf" value="([^"]+)"', browser.client.get("/").text)
    browser.client.post("/logout", data={"csrf": token[1]})
    assert not browser.is_in


def test_pages_can_neither_be_framed_nor_kept_nor_lead_elsewhere(service: Service) -> None:
    """The answers say so; no request names where to go next."""
    browser = service.browser()
    headers = browser.client.get("/login?next=https://evil.example").headers
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    answer = browser.send("/login?next=https://evil.example", name="jane", password=PASSWORD)
    assert answer.headers["Location"] == "/"
    assert "httponly; samesite=lax" in answer.headers["Set-Cookie"]


def test_a_login_from_the_ukraine_on_firefox_needs_a_code(service: Service) -> None:
    """Who cannot give it comes no further, however often; nor does the account's owner without one."""
    thief, owner = service.browser(KYIV, FIREFOX), service.browser()
    for _ in range(3):
        assert thief.log_in("bob") == "/code"
        assert thief.send("/code", code="nothing").status_code == 401
        assert not thief.is_in
    assert owner.log_in("bob") == "/code"
    assert not owner.is_in
    assert owner.send("/code", code=service.code("bob")).headers["location"] == "/"
    assert owner.is_in
    assert thief.log_in("bob") == "/code"
    assert service.browser().log_in("bob") == "/code"
    assert service.has_written(user="bob", action="second factor", outcome="success", ip=HOME)
    assert service.verdicts("bob") == [("confirmed", True)]


def test_who_gives_the_code_is_believed(service: Service) -> None:
    """The alert is kept as expected, and the same again is let in at once, where nobody bad came from."""
    carla = service.browser(BERLIN, SAFARI)
    assert carla.log_in("carla") == "/code"
    assert carla.send("/code", code=service.code("carla")).headers["location"] == "/"
    assert carla.is_in
    assert service.browser(BERLIN, SAFARI).log_in("carla") == "/"
    assert service.verdicts("carla") == [("confirmed", False), ("expected", True)]


def test_codes_wear_out(service: Service) -> None:
    """After three tries it is another code, which the first one does not open."""
    thief = service.browser(KYIV, FIREFOX)
    thief.log_in("dave")
    first = service.code("dave")
    assert [thief.send("/code", code="x").status_code for _ in range(3)] == [401, 401, 303]
    assert thief.client.get("/code").headers["location"] == "/login"
    thief.log_in("dave")
    assert service.code("dave") != first
    assert thief.send("/code", code=first).status_code == 401


def test_alerts_are_delivered_before_the_service_ends(learned: Path, geoip: Path, tmp_path: Path) -> None:
    """SIGTERM ends it, with one alert for one odd login, which names country and device."""
    with serving(learned, tmp_path, GEOIP=str(geoip)) as service:
        service.browser(KYIV, FIREFOX).log_in()
        service.stop()
    (alert,) = map(json.loads, (tmp_path / "alerts.jsonl").read_text().splitlines())
    assert (alert["user"], alert["details"]["country"], alert["details"]["device"]) == ("jane", "UA", "Firefox, Linux")


def test_events_go_to_couchdb_and_nobody_but_a_proxy_says_whence(learned: Path, tmp_path: Path) -> None:
    """A login is a document, with the caller's own address; a database that is away keeps nobody out."""
    if binary() is None:
        pytest.skip(f"no server to start: {INSTALL}")
    (tmp_path / "couch").mkdir()
    server = Server(tmp_path / "couch")
    try:
        database = server.database()
        with serving(learned, tmp_path, STATE="new.db", EVENTS=database.url, TRUSTED_PROXIES="") as service:
            assert service.browser(KYIV).log_in() == "/"
            until = time.monotonic() + 20
            while not (found := database.documents()) and time.monotonic() < until:
                time.sleep(0.02)
            assert [(each["user"], each["action"], each["ip"]) for each in found] == [("jane", "login", "127.0.0.1")]
            server.kill()
            browser = service.browser()
            assert browser.log_in() == "/"
            assert browser.is_in
    finally:
        server.stop()
