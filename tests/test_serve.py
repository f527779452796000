"""What a link in a mail opens asks for one click, and keeps it once."""

from __future__ import annotations

import html
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from amiss import serve
from amiss.alerts import Alert
from amiss.errors import SinkError, UsageError
from amiss.serve import MOST_BYTES, MOST_CALLS, Calls, Endpoint, Serving
from amiss.sinks import open_sink
from amiss.sinks.links import SECRET, Claim, Key, Links
from amiss.store import Store, Story

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
KEY = Key(b"k" * 32)
DAY = date(2026, 3, 2)
DETAILS = {"address": "203.0.113.9", "country": "UA", "city": "Kyiv", "device": "Firefox, Linux"}
HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m"

LOGIN = Alert(
    alert_id="j1",
    story="s1",
    time=datetime(2026, 3, 2, 3, 12, tzinfo=UTC),
    user="jane",
    bits=18.7,
    severity="high",
    detectors={"login": 18.7},
    reasons=[{"detector": "login", "bits": 9.6, "text": "logged in from UA: 0 of 412 earlier logins came from there"}],
    period=DAY,
    events=1,
    chance="by chance at most once in 14 months",
    risk=71,
    details=DETAILS,
)
STORY = Story("s1", "jane", DAY, LOGIN.time, LOGIN.time, 18.7, 18.7, "high", 1, {"login": 18.7}, [])


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state with two alerts of a story of jane, and one of a user with a hostile name."""
    path = tmp_path / "s.db"
    hostile = replace(LOGIN, alert_id="h1", story="s2", user=HOSTILE, details=dict.fromkeys(DETAILS, HOSTILE))
    with Store.open(path) as store:
        store.put_story(STORY)
        store.put_story(replace(STORY, story="s2", user=HOSTILE))
        for alert in (LOGIN, replace(LOGIN, alert_id="j2", escalated_from="high"), hostile):
            store.add_alert(alert, seq=0)
    return path


@pytest.fixture
def served(state: Path) -> Iterator[Serving]:
    """The endpoint of that state."""
    endpoint = Serving(Endpoint(state, KEY, lambda: NOW), "127.0.0.1:0")
    yield endpoint
    endpoint.close()


@pytest.fixture
def client(served: Serving) -> Iterator[httpx.Client]:
    """A browser."""
    with httpx.Client(base_url=served.url) as opened:
        yield opened


def link(verdict: str = "expected", alert_id: str = "j1", by: str = "user", *, days: float = 1, key: Key = KEY) -> str:
    """The path and query of a link."""
    return "/?" + key.signed(Claim(alert_id, verdict, by, int((NOW + timedelta(days=days)).timestamp())))


def verdicts(state: Path) -> list[tuple[str, str, str, str]]:
    """What is kept: alert, verdict, author and note of all that stands."""
    with Store.open(state, write=False) as store:
        said = [each for each in store.feedback() if each.undone_time is None]
        return [(each.alert_id, each.verdict, each.author, each.note) for each in said]


def told(answer: httpx.Response) -> str:
    """The words on a page."""
    body = answer.text.partition("<body>")[2]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def test_a_link_that_is_opened_changes_nothing(client, state):
    """Mail servers open links to look at them; only the button answers."""
    for _ in range(3):
        answer = client.get(link())
        assert answer.status_code == 200
        assert client.head(link()).status_code == 200
    assert "Was this you? A login to jane's account from Kyiv, Ukraine (Firefox on Linux)." in told(answer)
    assert "Yes, this was me" in told(answer)
    assert "Nothing is kept until you press the button." in told(answer)
    assert '<form method="post">' in answer.text
    assert verdicts(state) == []


def test_the_button_keeps_the_verdict(client, state):
    """It was me: expected. The receipt says what that changes, in plain words."""
    answer = client.post(link())
    assert answer.status_code == 200
    assert "Thank you. This was you The same again will stand out less." in told(answer)
    assert "Answer 1, kept on 2026-03-02 at 12:00 UTC." in told(answer)
    assert verdicts(state) == [("j1", "expected", "user by mail", "answered a link in a mail")]


def test_it_was_not_me_is_confirmed(client, state, caplog):
    """It says what to do now, and the operator's log has a warning."""
    answer = client.post(link("confirmed"))
    assert "Thank you. This wasn't you" in told(answer)
    assert "change your password" in told(answer)
    assert verdicts(state) == [("j1", "confirmed", "user by mail", "answered a link in a mail")]
    assert [record.levelname for record in caplog.records if record.name == "amiss.serve"] == ["WARNING"]


def test_operators_read_the_evidence_and_users_do_not(client):
    """Bits are for who knows them; a user gets what happened, in plain words."""
    assert "bits" not in told(client.post(link()))
    asked = told(client.post(link("confirmed", by="operator")))
    assert re.search(r"Evidence \d+\.\d bits \(\w+\)", asked)


def test_a_second_click_changes_nothing(client, state):
    """The same again, also of another notice of the story, is known already."""
    client.post(link())
    for again in (client.post(link()), client.get(link()), client.post(link(alert_id="j2"))):
        assert again.status_code == 200
        assert "This is known already" in told(again)
        assert "Answer 1" in told(again)
        assert "<form" not in again.text
    with Store.open(state, write=False) as store:
        assert len(store.feedback()) == 1


def test_a_link_counts_once(client, state):
    """What an administrator took back does not come again by the same link."""
    client.post(link("confirmed"))
    with Store.open(state, write=False) as store:
        store.undo_feedback(1, NOW)
    again = client.post(link("confirmed"))
    assert "This link was used before" in told(again)
    assert verdicts(state) == []


def test_an_all_clear_takes_the_place_of_nothing(client, state):
    """Who took over a mailbox cannot undo the alarm that its owner, or an analyst, gave before."""
    client.post(link("confirmed"))
    late = client.post(link("expected"))
    assert "Somebody has answered before you" in told(late)
    assert [verdict for _, verdict, _, _ in verdicts(state)] == ["confirmed"]


def test_an_alarm_takes_the_place_of_an_all_clear(client, state):
    """It wasn't me counts after it was me, and after what an analyst thought."""
    client.post(link("expected"))
    client.post(link("confirmed"))
    with Store.open(state, write=False) as store:
        store.add_feedback("j1", "false", author="ann", time=NOW)
    assert "Thank you" in told(client.post(link("confirmed", alert_id="j2")))
    assert [verdict for _, verdict, _, _ in verdicts(state)] == ["confirmed"]


def test_an_operator_has_the_last_word(client, state):
    """An operator's link says so in other words, and takes the place of what a user said."""
    client.post(link("confirmed"))
    asked = client.get(link("false", by="operator"))
    assert "Is this a false alarm?" in told(asked)
    kept = client.post(link("false", by="operator"))
    assert "Kept: a false alarm What jane did that day speaks against them no more" in told(kept)
    assert verdicts(state) == [("j1", "false", "operator by mail", "answered a link in a mail")]


def test_answers_are_kept_while_a_watch_has_the_state(client, state):
    """It needs no lock; the watch takes the verdict up."""
    with Store.open(state) as watch:
        assert client.post(link()).status_code == 200
        assert [said.verdict for said in watch.unapplied()] == ["expected"]


def test_many_clicks_at_once_are_one(served, state):
    """One transaction looks and writes."""
    codes: list[int] = []

    def click() -> None:
        codes.append(httpx.post(served.url + link()).status_code)

    threads = [threading.Thread(target=click) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [200] * 8
    with Store.open(state, write=False) as store:
        assert len(store.feedback()) == 1


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/", 404, "Nothing to see here"),
        ("/?x=1", 403, "This link is not whole"),
        (link().replace("expected", "confirmed"), 403, "This link is not whole"),
        (link(key=Key(b"another key of many letters")), 403, "This link is not whole"),
        (link()[:-1], 403, "This link is not whole"),
        (link(days=-0.001), 410, "This link is too old"),
        (link(alert_id="gone"), 404, "This alert is not known any more"),
        ("/?" + "a=1&" * 1_500, 403, "This link is not whole"),
    ],
)
def test_a_link_that_is_not_good_gets_a_friendly_page(client, state, path, status, said):
    """The status says it is the caller's mistake; nothing is kept."""
    for answer in (client.get(path), client.post(path)):
        assert answer.status_code == status
        assert said in told(answer)
        assert "<button" not in answer.text
    assert verdicts(state) == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(client, state, method):
    """Only GET, HEAD and POST are answered."""
    answer = client.request(method, link())
    assert answer.status_code == 405
    assert "no-store" in answer.headers["cache-control"]
    assert verdicts(state) == []


def test_every_answer_has_strict_headers(client):
    """Nothing is loaded, framed, stored, or told to others; the one style has the digest of the policy."""
    for answer in (client.get(link()), client.post(link()), client.get("/"), client.get("/?x"), client.put("/")):
        headers = answer.headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "form-action 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers
        assert not re.search(r"https?://|<script| on\w+=", answer.text)


def test_hostile_names_are_harmless_on_pages(client):
    """No markup and nothing that turns text round."""
    for answer in (client.get(link(alert_id="h1")), client.post(link(alert_id="h1"))):
        assert answer.status_code == 200
        assert "<script" not in answer.text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;\\u202e\\x1b[31m" in answer.text


def test_a_link_works_behind_any_path(client):
    """A web server in front may pass a path on, or take it away."""
    assert client.get("/feedback/of/amiss" + link()[1:]).status_code == 200


def test_a_long_body_is_refused(client, state):
    """No more than the limit is read, whether the length is told or not."""
    assert client.post(link(), content=b"x" * (MOST_BYTES + 1)).status_code == 413
    assert client.post(link(), content=iter([b"x" * 1_000] * 5)).status_code == 413
    assert verdicts(state) == []
    assert client.post(link(), content=b"x" * MOST_BYTES).status_code == 200


def test_calls_about_one_alert_are_limited(client):
    """Others are still answered; forged links count for nothing."""
    for _ in range(MOST_CALLS):
        client.get(link()[:-1])
    codes = [client.get(link()).status_code for _ in range(MOST_CALLS)]
    assert codes == [200] * MOST_CALLS
    while (last := client.get(link())).status_code == 200:
        pass
    assert last.status_code == 429
    assert "Too many calls" in told(last)
    assert last.headers["retry-after"] == "60"
    assert client.get(link(alert_id="h1")).status_code == 200


def test_calls_come_back_with_time():
    """Half a minute gives back half of them."""
    clock = [0.0]
    calls = Calls(lambda: clock[0])
    assert [calls.is_allowed("a") for _ in range(40)].count(True) == MOST_CALLS
    clock[0] = 30.0
    assert [calls.is_allowed("a") for _ in range(40)].count(True) == MOST_CALLS // 2


def test_a_state_that_cannot_be_used_asks_to_come_back(client, state):
    """Nothing is kept, and the page says so."""
    state.rename(state.with_name("away.db"))
    answer = client.post(link())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
    assert "Nothing was kept. Open the link again in a minute." in told(answer)


def test_a_mistake_of_ours_is_a_friendly_page(client, served, monkeypatch, caplog):
    """It tells nothing of what went wrong, which the log does."""

    def broken(_self: Endpoint, _claim: Claim) -> None:
        raise RuntimeError("s3cret")

    monkeypatch.setattr(serve.Endpoint, "asked", broken)
    answer = client.get(link())
    assert answer.status_code == 500
    assert "Something went wrong here" in told(answer)
    assert "s3cret" not in answer.text
    served.close()
    assert "s3cret" in caplog.text


def test_what_is_no_http_is_refused(served):
    """A request line of a megabyte ends the connection, and the next call is answered."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as raw:
        raw.settimeout(5)
        try:
            raw.sendall(b"GET /" + b"a" * 1_000_000)
            answer = raw.recv(100)
        except OSError:
            answer = b""
    assert answer == b"" or b" 400 " in answer
    assert httpx.get(served.url + link()).status_code == 200


def test_links_of_mails_open_the_page(client):
    """What `Links` writes into a mail is what the endpoint reads."""
    url = Links("https://amiss.example.com/feedback", KEY).link("j1", "confirmed", "user", NOW)
    parts = urlsplit(url)
    assert "This wasn't you?" in told(client.get(f"{parts.path}?{parts.query}"))


def test_an_address_that_is_taken_is_said(served, state):
    """Which one, and what to do."""
    with pytest.raises(UsageError, match=r"nothing can be served at 127\.0\.0\.1:\d+ \(.*in use"):
        Serving(Endpoint(state, KEY), served.url.removeprefix("http://"))


@pytest.fixture
def process(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`amiss serve`, and where it listens."""
    monkeypatch.delenv(SECRET, raising=False)
    command = [sys.executable, "-m", "amiss", "serve", "--feedback", "--state", str(state), "--listen", "127.0.0.1:0"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    said = running.stderr.readline()
    yield running, re.search(r"http://127\.0\.0\.1:\d+", said)[0]
    running.kill()
    running.wait()
    running.stderr.close()


def test_serve_answers_until_it_is_stopped(process, state: Path, tmp_path: Path):
    """It makes the key that mails are signed with, which `amiss check` finds to be the same; SIGTERM ends it well."""
    running, url = process
    sink = open_sink("mailto:ann@example.com", state=str(state), feedback=url)
    assert sink._links.check() == f"links to {url} are understood there"
    assert httpx.get(sink._links.link("j1", "expected", "user", datetime.now(UTC))).status_code == 200
    other = replace(sink._links, key=KEY)
    with pytest.raises(SinkError, match="does not know these links"):
        other.check()
    assert httpx.post(sink._links.link("j1", "expected", "user", datetime.now(UTC))).status_code == 200
    running.send_signal(signal.SIGTERM)
    assert running.wait(10) == 0
    assert "alert=j1" in running.stderr.read()
    assert [verdict for _, verdict, _, _ in verdicts(state)] == ["expected"]
    assert {path.name for path in tmp_path.iterdir()} >= {"s.db", "s.db-key"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["serve", "--state", "s.db"], "say what to serve: amiss serve --feedback"),
        (["serve", "--feedback", "--state", "none.db"], "there is no state file"),
        (["serve", "--feedback", "--state", "s.db", "--listen", "nowhere"], "expected HOST:PORT"),
    ],
)
def test_what_cannot_be_served_is_said(state: Path, monkeypatch, capsys, words, said):
    """One line says what is missing."""
    from amiss.cli import main

    monkeypatch.chdir(state.parent)
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code in (1, 2)
    assert said in " ".join(capsys.readouterr().err.split())
