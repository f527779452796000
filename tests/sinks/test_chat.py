"""Apprise delivers to services that chat; what users are called calls nobody."""

from __future__ import annotations

import json
import logging
import urllib.parse

import pytest

from amiss import testing
from amiss.errors import SinkError
from amiss.sinks import open_sink
from amiss.sinks.chat import MOST


@pytest.fixture
def url(web) -> str:
    """The web server as Apprise addresses it."""
    return f"json://ann:pa55word@127.0.0.1:{web.port}/T0KEN"


def messages(web) -> list[dict[str, str]]:
    """What Apprise sent."""
    return [json.loads(request.body) for request in web.requests]


def test_a_message_says_who_why_and_what_to_answer(web, url, alert):
    """The title names user and severity, the body the reasons and the command for feedback."""
    open_sink(url, state="s.db").write([alert])
    [message] = messages(web)
    assert message["title"] == "amiss: u1042, 18.7 bits (high)"
    assert message["type"] == "failure"
    assert "- login came after logout 3 of 4 times; the user's own past 0 of 412 (9.6 bits)" in message["message"]
    assert "amiss feedback 3f2a9c4e expected|confirmed|false --state s.db" in message["message"]


def test_a_login_is_told_in_a_chat(web, url, login):
    """Where it came from stands before the reasons."""
    open_sink(url).write([login])
    text = messages(web)[0]["message"]
    line = "logged in from Kyiv, Ukraine (Firefox on Linux), 203.0.113.9"
    assert text.index(line) < text.index("- logged in from UA")


def test_hostile_names_are_harmless_in_a_chat(web, url):
    """No markup, no call to everybody, no address behind other words, nothing that steers a terminal."""
    testing.check_sink(lambda: open_sink(url), lambda: "".join(str(each) for each in messages(web)))
    text = "".join(f"{each['title']}{each['message']}" for each in messages(web))
    assert [each for each in ("<", "@everyone", "](") if each in text] == []
    assert "\u2039script\u203a" in text


def test_slack_gets_the_same_harmless_text(web):
    """A Slack message, as its own service sends it, holds no mention."""
    import apprise

    service = apprise.Apprise.instantiate("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops")
    service.webhook_url = f"http://127.0.0.1:{web.port}"
    sink = open_sink("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops")
    sink._service = apprise.Apprise()
    sink._service.add(service)
    web.answers = [(200, {})]
    with pytest.raises(SinkError):
        sink.write(testing.hostile_alerts())
    body = urllib.parse.unquote(web.requests[0].body.decode())
    assert "<!channel>" not in body
    assert "@everyone" not in body


def test_many_alerts_are_one_message_that_tells_the_most_urgent(web, url, three):
    """Beyond what a message can hold, alerts are counted; the critical one is told."""
    open_sink(url).write([three[2]] * 20 + [three[1]])
    [message] = messages(web)
    assert message["title"] == "amiss: 21 alerts, worst u2, 31.0 bits (critical, was high)"
    assert "u2, 31.0 bits" in message["message"]
    assert message["message"].rstrip().endswith(f"and {21 - MOST} alerts more")


def test_a_service_that_refuses_is_said_without_its_address(web, url, alert, caplog):
    """The error holds what Apprise says, and neither it nor a log holds a token."""
    caplog.set_level(logging.DEBUG)
    web.answers = [(500, {})]
    with pytest.raises(SinkError, match=r"did not take the message: .*500") as caught:
        open_sink(url).write([alert])
    assert not caught.value.permanent
    assert [secret for secret in ("pa55word", "T0KEN") if secret in f"{caught.value}{caplog.text}"] == []


def test_a_check_sends_nothing(web, url):
    """Which service it is can be said without a message."""
    assert "is an address of JSON; not tried" in open_sink(url).check()
    assert web.requests == []
