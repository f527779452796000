"""Watching from the command line: what is said, kept and delivered, and with which exit status."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.commands import Run, ended
from tests.waiting import until

from amiss.cli.watching import stopped_by_signals
from amiss.store import Store

HOSTILE = "=1\x1b[2J\r\nBcc: eve@example.com\u202e<script>@everyone"
"""A user name that would run, steer, turn round or address something."""


WATCH = ["watch", "log.jsonl", "--state", "s.db", "--alert", "a.jsonl", "--until-eof", "-q"]


@pytest.fixture(scope="session")
def monday(days: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state that learned a small simulated Monday."""
    state = tmp_path_factory.mktemp("monday") / "state.db"
    assert ended("learn", str(days / "monday.jsonl"), "--state", str(state), "--quiet") == 0
    return state


@pytest.fixture
def state(monday: Path, tmp_path: Path) -> Path:
    """A copy of that state, to go on with."""
    return Path(shutil.copy(monday, tmp_path / "s.db"))


def attack(user: str = "mallory", day: int = 6, hour: int = 9, events: int = 16) -> str:
    """Lines of a log: somebody guesses passwords, every five seconds."""
    times = (f"2026-01-{day:02}T{hour:02}:{second // 60:02}:{second % 60:02}Z" for second in range(0, 5 * events, 5))
    rows = ({"time": time, "user": user, "action": "login", "outcome": "failure"} for time in times)
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def lines(path: Path) -> list[dict[str, object]]:
    """The objects of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def alerted(run: Run, state: Path, tmp_path: Path) -> str:
    """The id of the latest alert about mallory, on Tuesday."""
    (state.parent / "log.jsonl").write_text(attack(), encoding="utf-8")
    assert run(*WATCH).status == 0
    return str(lines(tmp_path / "a.jsonl")[-1]["alert_id"])


def more(tmp_path: Path, text: str) -> None:
    """Let the log grow."""
    with (tmp_path / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(text)


@pytest.mark.usefixtures("state")
def test_alerts_are_shown_on_stdout_and_the_rest_is_said_on_stderr(run: Run, tmp_path: Path):
    """Without --alert the console gets alerts, with the command that answers them; a summary follows."""
    (tmp_path / "log.jsonl").write_text(attack(), encoding="utf-8")
    ran = run("watch", "log.jsonl", "--state", "s.db", "--until-eof")
    assert ran.status == 0
    assert "login (failed) came after login (failed)" in ran.said
    assert "expected|confirmed|false --state s.db" in ran.said
    assert "alerts    none before 6 Jan 2026: learning until then" in ran.err
    assert "events    16 of 301 users" in ran.err
    assert "delivered to console:" in ran.err
    assert max(map(len, ran.out.splitlines())) <= 80


def test_a_state_that_is_new_learns_its_first_day(run: Run, tmp_path: Path):
    """It says so, and alerts nobody."""
    (tmp_path / "log.jsonl").write_text(attack(), encoding="utf-8")
    ran = run("watch", "log.jsonl", "--state", "s.db", "--until-eof")
    assert (ran.status, ran.out) == (0, "")
    assert "none until the first day is over" in ran.err


def test_learning_says_what_was_learned(run: Run, tmp_path: Path):
    """Closed days are named, and the one that stays open."""
    (tmp_path / "log.jsonl").write_text(attack(day=5) + attack(day=6), encoding="utf-8")
    ran = run("learn", "log.jsonl", "--state", "s.db")
    assert (ran.status, ran.out) == (0, "")
    assert "learned   1 day, 5 Jan 2026 to 5 Jan 2026" in ran.err
    assert "open      6 Jan 2026 closes with the first event of a later day" in ran.err


@pytest.mark.usefixtures("alerted")
def test_what_gets_worse_is_told_again_with_what_it_was(tmp_path: Path):
    """The notices of a story have one story, rising severities, and ids of their own."""
    notices = lines(tmp_path / "a.jsonl")
    assert len(notices) > 1
    assert len({notice["story"] for notice in notices}) == 1
    assert [each["escalated_from"] for each in notices] == [None, *(each["severity"] for each in notices[:-1])]
    assert len({notice["alert_id"] for notice in notices}) == len(notices)


@pytest.mark.usefixtures("state", "alerted")
def test_a_watch_goes_on_where_it_stopped(run: Run, tmp_path: Path):
    """Nothing is read or alerted twice; what comes later is."""
    before = lines(tmp_path / "a.jsonl")
    again = run("watch", "log.jsonl", "--state", "s.db", "--alert", "a.jsonl", "--until-eof")
    assert "events    0 of 301 users" in again.err
    more(tmp_path, attack("oscar", hour=10))
    ran = run("watch", "log.jsonl", "--state", "s.db", "--alert", "a.jsonl", "--until-eof")
    assert "events    16 of 302 users" in ran.err
    after = lines(tmp_path / "a.jsonl")
    assert after[: len(before)] == before
    assert {each["user"] for each in after[len(before) :]} == {"oscar"}


@pytest.mark.usefixtures("alerted")
def test_a_rule_hides_alerts_and_they_stay(run: Run, tmp_path: Path):
    """It says what it would have hidden; what it hides is kept with the rule; lifted, it hides no more."""
    rule = ["suppress", "add", "--state", "s.db", "--user", "mal*", "--reason", "pen test", "--author", "ann"]
    added = run(*rule)
    notices = len(lines(tmp_path / "a.jsonl"))
    assert f"It would have hidden {notices} of the {notices} alerts of the last 30 days." in added.said
    more(tmp_path, attack(day=7))
    run(*WATCH)
    assert len(lines(tmp_path / "a.jsonl")) == notices
    hidden = json.loads(run("alerts", "--state", "s.db", "--hidden", "--format", "json").out)
    assert {(each["user"], each["hidden_by"], each["hidden_why"]) for each in hidden} == {
        ("mallory", 1, "ann: pen test")
    }
    assert "hidden by rule 1 (ann: pen test)" in run("alerts", "--state", "s.db").said
    assert f"hid {len(hidden)} alert" in run("suppress", "list", "--state", "s.db").said
    assert run("suppress", "lift", "1", "--state", "s.db").out == "Rule 1 hides nothing any more.\n"
    more(tmp_path, attack("mallet", day=7, hour=10))
    run(*WATCH)
    assert len(lines(tmp_path / "a.jsonl")) > notices


@pytest.mark.usefixtures("state")
def test_a_rule_without_a_condition_is_refused(run: Run):
    """It would hide everything; so is a condition that cannot be read."""
    assert run("suppress", "add", "--state", "s.db", "--reason", "x").status == 2
    ran = run("suppress", "add", "--state", "s.db", "--reason", "x", "--hours", "25-26")
    assert ran.status == 2
    assert "22:00-06:00" in ran.err


def test_what_is_expected_costs_nothing_from_then_on(run: Run, alerted: str, tmp_path: Path):
    """The receipt says what it cost and costs; the same is no alert the next day."""
    said = run("feedback", alerted, "expected", "--state", "s.db", "--note", "a test", "--author", "ann")
    assert said.status == 0
    assert "Verdict 1: what mallory did on 6 Jan 2026" in said.said
    assert "and 0.0 from the next batch on" in said.said
    assert "mallory had an alert in the last 30 days; it would not have fired." in said.said
    assert "takes effect with the next batch" in run("feedback", "--list", "--state", "s.db").said
    notices = len(lines(tmp_path / "a.jsonl"))
    more(tmp_path, attack(day=7))
    run(*WATCH)
    assert len(lines(tmp_path / "a.jsonl")) == notices
    assert "in effect" in run("feedback", "--list", "--state", "s.db").said


def test_a_verdict_that_is_taken_back_counts_no_more(run: Run, alerted: str, tmp_path: Path):
    """The receipt says so, and the same is an alert again."""
    run("feedback", alerted, "expected", "--state", "s.db", "--author", "ann")
    run(*WATCH)
    undone = run("feedback", "--undo", "1", "--state", "s.db")
    assert "Verdict 1 is taken back" in undone.said
    assert "it would cost 0.0 bits until now" in undone.said
    notices = len(lines(tmp_path / "a.jsonl"))
    more(tmp_path, attack(day=7))
    run(*WATCH)
    assert len(lines(tmp_path / "a.jsonl")) > notices
    again = run("feedback", "--undo", "1", "--state", "s.db")
    assert (again.status, "no verdict 1 can be undone" in again.err) == (2, True)


def test_what_is_confirmed_is_unlearned(run: Run, alerted: str):
    """The receipt says how many events are not learned from."""
    ran = run("feedback", alerted, "confirmed", "--state", "s.db", "--author", "ann")
    assert "was confirmed, says ann." in ran.said
    assert "The 16 events that mallory had that day" in ran.said
    assert "are taken out of what later days are judged by" in ran.said


def test_feedback_works_while_a_watch_holds_the_state(run: Run, alerted: str):
    """It needs no lock; a second watch does, and is refused."""
    with Store.open("s.db"):
        assert run("feedback", alerted, "false", "--state", "s.db").status == 0
        refused = run("watch", "log.jsonl", "--state", "s.db", "--until-eof")
        assert refused.status == 1
        assert "is in use" in refused.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("feedback a expected extra", "extra"),
        ("feedback a", "ALERT expected|confirmed|false"),
        ("feedback nothing expected --state s.db", 'there is no alert "nothing"'),
        ("watch log.jsonl", "a state file is needed"),
        ("watch log.jsonl --state s.db --budget much", "a budget is a number"),
        ("watch log.jsonl --state s.db --alert a.xml", "expected a file that ends in"),
        ("watch log.jsonl --state s.db --every soon", "is not understood"),
        ("users --user nobody --state s.db", 'no user is called "nobody"'),
        ("alerts --since lately --state s.db", "is not understood"),
    ],
)
@pytest.mark.usefixtures("state")
def test_wrong_usage_ends_with_2(run: Run, words: str, message: str):
    """What is wrong is said, and how it should be."""
    ran = run(*words.split())
    assert ran.status == 2
    assert message in ran.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("watch log.jsonl --state there/s.db", "the directory"),
        ("watch absent.jsonl --state s.db --until-eof", "absent.jsonl"),
        ("watch log.jsonl --state s.db --detector sequence --until-eof", "this state was begun with the detectors"),
        ("watch log.jsonl --state s.db --session-gap 5m --until-eof", "this state was begun with a session gap"),
        ("watch log.jsonl --state s.db --window 9 --until-eof", "a window of 30 days; found 9. Leave the option out"),
        ("feedback a expected --state absent.db", "there is no state file"),
        ("state verify log.jsonl", "is no state file"),
    ],
)
@pytest.mark.usefixtures("state")
def test_what_cannot_be_done_ends_with_1(run: Run, tmp_path: Path, words: str, message: str):
    """States that do not fit, sources that are not there."""
    (tmp_path / "log.jsonl").write_text(attack(), encoding="utf-8")
    ran = run(*words.split())
    assert ran.status == 1
    assert message in ran.err


def test_a_state_remembers_how_it_judges(run: Run, tmp_path: Path):
    """Detectors and sessions need not be said again, and cannot be said otherwise."""
    (tmp_path / "log.jsonl").write_text(attack(day=5), encoding="utf-8")
    first = ["--state", "s.db", "--detector", "sequence", "--cap", "3", "--session-gap", "5m", "--window", "7"]
    assert run("learn", "log.jsonl", *first, "-q").status == 0
    more(tmp_path, attack(day=6))
    assert run("watch", "log.jsonl", "--state", "s.db", "--until-eof", "-q").status == 0
    assert run("watch", "log.jsonl", *first, "--until-eof", "-q").status == 0
    ran = run("watch", "log.jsonl", "--state", "s.db", "--cap", "4", "--until-eof", "-q")
    assert ran.status == 1
    assert "begun with the detectors Sequence(cap=3); found Sequence(cap=4). Leave the option out" in ran.said_beside
    ran = run("watch", "log.jsonl", "--state", "s.db", "--detector", "sequence", "--detector", "habit", "--cap", "3")
    assert "begun with the detectors none of these; found Habit. Leave" in ran.said_beside


def test_a_state_keeps_as_many_days_as_its_window_has(run: Run, tmp_path: Path):
    """Of six days those go that are too old to judge the last, also when the watch goes on without saying so."""
    more(tmp_path, attack("trent", day=4) + "".join(attack(day=day) for day in (5, 6, 7)))
    assert run("learn", "log.jsonl", "--state", "s.db", "--window", "2", "-q").status == 0
    more(tmp_path, "".join(attack(day=day) for day in (8, 9, 10)))
    assert run("watch", "log.jsonl", "--state", "s.db", "--until-eof", "-q").status == 0
    with Store.open(tmp_path / "s.db", write=False) as store:
        assert {day.day for day, _, _ in store.counts()} == {7, 8, 9}
    users = map(json.loads, run("users", "--state", "s.db", "--format", "jsonl").out.splitlines())
    (trent,) = (each for each in users if each["user"] == "trent")
    assert set(trent["detectors"].values()) == {"stale: nothing seen for 2 days"}


@pytest.mark.parametrize(
    ("module", "words", "extra"),
    [
        ("prometheus_client", "log.jsonl --metrics 127.0.0.1:0", "metrics"),
        ("confluent_kafka", "kafka://127.0.0.1:1/t", "kafka"),
        ("apprise", "log.jsonl --alert slack://T1/B1/x", "notify"),
    ],
)
def test_a_missing_part_says_how_to_install_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, module: str, words: str, extra: str
):
    """The command stands in the message."""
    monkeypatch.setitem(sys.modules, module, None)
    ran = run("watch", *words.split(), "--state", "s.db", "--until-eof")
    assert ran.status == 1
    assert f'pip install "amiss[{extra}]"' in ran.err


@dataclass
class Web:
    """A web server that takes all: the bodies that came, each with the time."""

    port: int = 0
    bodies: list[tuple[float, bytes]] = field(default_factory=list)


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server on this machine."""
    web = Web()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            web.bodies.append((time.monotonic(), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        web.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield web
        server.shutdown()
        thread.join()


class Mails:
    """A mail server's memory."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []

    async def handle_DATA(self, _server: object, _session: object, envelope: object) -> str:  # noqa: N802 - aiosmtpd looks for this name
        """Take a mail."""
        self.texts.append(envelope.content)  # type: ignore[attr-defined]
        return "250 OK"


@pytest.mark.usefixtures("state")
def test_a_hostile_name_arrives_harmless_everywhere(
    run: Run, tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch
):
    """Terminal, CSV, webhook and mail show the name; it does nothing there, and JSON reads back to it."""
    from aiosmtpd.controller import Controller

    mails = Mails()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mail = Controller(mails, hostname="127.0.0.1", port=port)
    mail.start()
    try:
        monkeypatch.setenv("AMISS_SMTP_URL", f"smtp://127.0.0.1:{port}")
        (tmp_path / "log.jsonl").write_text(attack(HOSTILE), encoding="utf-8")
        sinks = ["-", "a.csv", "a.jsonl", f"http://127.0.0.1:{web.port}/hook", "mailto:ops@example.com"]
        words = [word for sink in sinks for word in ("--alert", sink)]
        ran = run("watch", "log.jsonl", "--state", "s.db", *words, "--until-eof")
    finally:
        mail.stop()
    shown = [ran.out, ran.err, run("alerts", "--state", "s.db").out, run("users", "--state", "s.db").out]
    assert all("\x1b" not in text and "\u202e" not in text and "\r" not in text for text in shown)
    assert "\\x1b[2J" in ran.out
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text(encoding="utf-8"))))
    exported = list(csv.DictReader(io.StringIO(run("alerts", "--state", "s.db", "--format", "csv").out)))
    assert all(row["user"].startswith("'=1") and "\x1b" not in row["user"] for row in (*rows, *exported))
    assert {each["user"] for each in lines(tmp_path / "a.jsonl")} == {HOSTILE}
    posted = [alert["user"] for _, body in web.bodies for alert in json.loads(body)["alerts"]]
    assert set(posted) == {HOSTILE}
    letters = [message_from_bytes(text, policy=default) for text in mails.texts]
    assert letters
    for letter in letters:
        assert letter["Bcc"] is None
        page = letter.get_body(("html",)).get_content()
        assert "<script>" not in page


@dataclass
class Live:
    """A watch that runs by itself."""

    process: subprocess.Popen[str]

    def told(self, word: str) -> dict[str, object]:
        """The next record of its log with this in its message."""
        for line in self.process.stderr or ():
            record = json.loads(line)
            if word in record["message"]:
                return record
        raise AssertionError(word)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Callable[..., Live]]:
    """Start a watch that logs JSON; it is ended at last."""
    running: list[subprocess.Popen[str]] = []

    def start(*words: str) -> Live:
        command = [sys.executable, "-m", "amiss", "watch", *words, "--log-format", "json"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        running.append(subprocess.Popen(command, cwd=tmp_path, text=True, **pipes))
        return Live(running[-1])

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_watch_cleanly_with_figures_on_the_way(
    live: Callable[..., Live], state: Path, tmp_path: Path, number: signal.Signals
):
    """A growing file is followed, figures are served, and what was read is committed and said at the end."""
    (tmp_path / "log.jsonl").write_text(attack(), encoding="utf-8")
    watch = live("log.jsonl", "--state", "s.db", "--every", "0.1s", "--metrics", "127.0.0.1:0")
    url = str(watch.told("metrics are at")["message"]).removeprefix("metrics are at ")
    assert watch.told("watching")["alerts"] == "none before 6 Jan 2026: learning until then"
    watch.told("a day has closed")
    more(tmp_path, attack("oscar", hour=10))

    def figures() -> str:
        return urllib.request.urlopen(url, timeout=60).read().decode()

    until(lambda: "amiss_events_total 32.0" in figures())
    assert 'amiss_outbox_alerts{sink="console:",state="dead"} 0.0' in figures()
    watch.process.send_signal(number)
    ended = watch.told("ended")
    assert ended["events"] == "32 of 302 users"
    assert watch.process.wait(60) == 0
    with Store.open(state) as store:
        assert store.verify() == []
        assert store.progress().events - 32 > 1_000


def test_the_second_signal_has_its_usual_effect():
    """The first one only asks to stop."""
    stop, before = threading.Event(), signal.getsignal(signal.SIGTERM)
    with stopped_by_signals(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(1)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_digest_waits_and_brings_all_at_once(live: Callable[..., Live], web: Web, state: Path):
    """The alert of a user that comes while another's waits arrives in one request with it, when the digest is due."""
    url = f"http://127.0.0.1:{web.port}/hook"
    watch = live("-", "--state", "s.db", "--alert", url, "--digest", "2s", "--every", "0.1s")
    assert watch.process.stdin is not None
    watch.process.stdin.write(attack("mallory"))
    watch.process.stdin.flush()
    with Store.open(state, write=False) as store:
        until(store.outbox)
    watch.process.stdin.write(attack("oscar"))
    watch.process.stdin.flush()
    until(lambda: web.bodies)
    [(_, body)] = web.bodies
    assert {alert["user"] for alert in json.loads(body)["alerts"]} == {"mallory", "oscar"}


@pytest.mark.usefixtures("alerted")
def test_users_show_their_risk_and_what_is_known_of_them(run: Run):
    """Who was alerted of comes first; habits say how much they lack."""
    ran = run("users", "--state", "s.db", "--format", "json")
    first = json.loads(ran.out)[0]
    assert (first["user"], first["last_day"], first["days"]) == ("mallory", "2026-01-06", 1)
    assert 20 < first["risk"] < 100
    assert first["detectors"] == {"sequence": "active", "habit": "learning: 0 of 100 events"}
    assert "and 281 users below" in run("users", "--state", "s.db").out


@pytest.mark.usefixtures("alerted")
def test_a_state_is_described_verified_and_written_out(run: Run, tmp_path: Path):
    """Figures, no problems, and files that other programs read."""
    assert "of 301 users" in run("state", "info", "s.db").out
    assert json.loads(run("state", "info", "s.db", "--format", "json").out)[0]["users"] == 301
    assert run("state", "verify", "s.db").out == "ok: s.db is whole\n"
    assert run("state", "export", "out", "s.db").status == 0
    assert len(lines(tmp_path / "out" / "alerts.jsonl")) == len(lines(tmp_path / "a.jsonl"))


@pytest.mark.usefixtures("alerted")
def test_verify_ends_with_1_where_something_is_wrong(run: Run, tmp_path: Path):
    """Each problem is named."""
    import sqlite3

    with sqlite3.connect(tmp_path / "s.db") as db:
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute("DELETE FROM stories")
    db.close()
    ran = run("state", "verify", "s.db")
    assert ran.status == 1
    assert "problem: an alert belongs to no story" in ran.out


@pytest.mark.usefixtures("alerted")
def test_check_tries_source_sinks_and_state(run: Run, tmp_path: Path):
    """One line each, an estimate, and 1 where something is wrong."""
    ran = run("check", "log.jsonl", "--alert", "b.jsonl", "--state", "s.db", "--users", "100000")
    assert ran.status == 0
    assert "ok: log.jsonl: first 16 events read" in ran.out
    assert "estimate: 100,000 users take about" in ran.out
    assert "under 1,000 events do not tell how fast they are judged" in ran.out
    assert "b.jsonl can be written" in ran.out
    assert "ok: s.db:" in ran.out
    assert not (tmp_path / "b.jsonl").exists()
    bad = run("check", "absent.jsonl", "--alert", "no/b.jsonl")
    assert bad.status == 1
    assert bad.out.count("problem: ") == 2


def test_settings_of_a_watch_come_from_the_file_and_flags_beat_it(run: Run, monday: Path, tmp_path: Path):
    """State and sinks need not be given; a mistake is found with its line."""
    shutil.copy(monday, tmp_path / "s.db")
    (tmp_path / "log.jsonl").write_text(attack(), encoding="utf-8")
    (tmp_path / "amiss.toml").write_text('[watch]\nstate = "s.db"\nalert = ["a.csv"]\nlearn_days = 5\n', "utf-8")
    assert "none before 10 Jan 2026" in run("watch", "log.jsonl", "--until-eof").err
    more(tmp_path, attack(day=7))
    assert run("watch", "log.jsonl", "--until-eof", "--learn-days", "1", "-q").status == 0
    assert (tmp_path / "a.csv").read_text(encoding="utf-8").count("mallory") > 0
    (tmp_path / "amiss.toml").write_text('[watch]\nstat = "s.db"\n', "utf-8")
    assert 'amiss.toml:2: [watch] has no setting "stat". Did you mean "state"?' in run("watch", "log.jsonl").err
