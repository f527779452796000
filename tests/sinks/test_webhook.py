"""A webhook delivers to a web server that fails, delays, drops and redirects, and gives away nothing."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import time

import pytest

from amiss import testing
from amiss.alerts import Alert
from amiss.errors import SinkError, UsageError
from amiss.sinks import open_sink

SECRETS = ("pa55word", "T0KEN", "s3cret", "Yy1uLnBh")


def refused(sink, alert) -> SinkError:
    """The error when the alert is written."""
    with pytest.raises(SinkError) as caught:
        sink.write([alert])
    assert [secret for secret in SECRETS if secret in str(caught.value)] == []
    return caught.value


def test_alerts_arrive_as_json(web, three):
    """All alerts come in one request, to the very address, with the password of the address."""
    open_sink(web.url).write(three)
    [request] = web.requests
    assert request.path == "/hook/T0KEN?key=s3cret"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == "Basic YW5uOnBhNTV3b3Jk"
    assert [Alert.from_record(record) for record in json.loads(request.body)["alerts"]] == three


def test_hostile_names_are_harmless_in_a_request(web):
    """The body is JSON without control or bidirectional characters, and gives the names again."""
    testing.check_sink(lambda: open_sink(web.url), lambda: "".join(each.body.decode() for each in web.requests))
    users = [alert["user"] for alert in json.loads(web.requests[1].body)["alerts"]]
    assert users == list(testing.HOSTILE)


def test_what_is_sent_is_signed(web, alert):
    """A receiver that knows the secret can tell when and by whom the body was made."""
    open_sink(web.url, secret="key", clock=lambda: 1_772_409_600.9).write([alert])
    [request] = web.requests
    expected = hmac.new(b"key", b"1772409600." + request.body, hashlib.sha256).hexdigest()
    assert request.headers["amiss-timestamp"] == "1772409600"
    assert request.headers["amiss-signature"] == f"sha256={expected}"


def test_the_secret_comes_from_the_environment(web, alert, monkeypatch):
    """AMISS_WEBHOOK_SECRET signs, or the variable that the address names; one that is not set is refused."""
    monkeypatch.setenv("AMISS_WEBHOOK_SECRET", "common")
    monkeypatch.setenv("OPS_KEY", "own")
    clock = {"clock": lambda: 1.0}
    for url in (web.url, f"{web.url}#secret_env=OPS_KEY"):
        open_sink(url, **clock).write([alert])
    for request, key in zip(web.requests, (b"common", b"own"), strict=True):
        expected = hmac.new(key, b"1." + request.body, hashlib.sha256).hexdigest()
        assert request.headers["amiss-signature"] == f"sha256={expected}"
    with pytest.raises(UsageError, match="environment variable MISSING, named in the address, is not set"):
        open_sink(f"{web.url}#secret_env=MISSING")


def test_without_a_secret_nothing_is_signed(web, alert, monkeypatch):
    """No signature is better than one that anybody can make."""
    monkeypatch.delenv("AMISS_WEBHOOK_SECRET", raising=False)
    open_sink(web.url).write([alert])
    assert "amiss-signature" not in web.requests[0].headers


def test_the_same_alerts_have_the_same_key(web, three):
    """A receiver can tell a repetition by its Idempotency-Key."""
    sink = open_sink(web.url)
    for some in (three, three, three[:1]):
        sink.write(some)
    first, again, other = (request.headers["idempotency-key"] for request in web.requests)
    assert first == again != other


@pytest.mark.parametrize(("code", "permanent"), [(400, True), (401, True), (404, True), (410, True), (500, False)])
def test_a_refusal_is_final_when_it_blames_the_sender(web, alert, code, permanent):
    """Answers of 4xx are permanent, those of 5xx are not."""
    web.answers = [(code, {})]
    error = refused(open_sink(web.url), alert)
    assert error.permanent is permanent
    assert str(error).endswith(f"answers HTTP {code}")


@pytest.mark.parametrize("code", [408, 425, 429, 503])
def test_what_may_pass_is_not_final(web, alert, code):
    """Too many requests, or too early, may do later; Retry-After says when."""
    web.answers = [(code, {"Retry-After": "17"})]
    error = refused(open_sink(web.url), alert)
    assert not error.permanent
    assert error.retry_after == 17.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("Mon, 02 Mar 2026 00:02:00 GMT", 120.0), ("Mon, 02 Mar 2020 00:02:00 GMT", 0.0), ("soon", None), ("-3", None)],
)
def test_retry_after_may_be_a_date(web, alert, text, seconds):
    """A date is counted from now, and what is neither is ignored."""
    web.answers = [(503, {"Retry-After": text})]
    assert refused(open_sink(web.url, clock=lambda: 1_772_409_600.0), alert).retry_after == seconds


def test_a_server_that_delays_is_given_up_in_time(web, alert):
    """The timeout is kept and named, and trying again may help."""
    web.delay_seconds = 1.0
    begin = time.monotonic()
    error = refused(open_sink(web.url, timeout_seconds=0.1), alert)
    assert time.monotonic() - begin < 0.8
    assert "did not answer within 0.1 s" in str(error)
    assert not error.permanent


def test_a_server_that_drops_the_connection_is_said(web, alert):
    """A connection that breaks before the answer is an error that may pass."""
    web.drops = True
    error = refused(open_sink(web.url), alert)
    assert "cannot be reached: RemoteProtocolError" in str(error)
    assert not error.permanent


def test_a_server_that_is_not_there_is_said(web, alert):
    """Nobody listening is an error that may pass, for a check too."""
    url = f"http://ann:pa55word@127.0.0.1:{web.port}/x"
    sink = open_sink(url.replace(str(web.port), "1"))
    assert "cannot be reached: ConnectError" in str(refused(sink, alert))
    with pytest.raises(SinkError, match="cannot be reached"):
        sink.check()


def test_a_redirect_within_the_server_is_followed(web, alert):
    """A permanent redirect to another path of the same server gets the same body, by the same method."""
    web.answers = [(308, {"Location": "/new"}), (200, {})]
    open_sink(web.url).write([alert])
    first, second = web.requests
    assert (second.method, second.path, second.body) == ("POST", "/new", first.body)
    assert second.headers["authorization"] == first.headers["authorization"]


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_a_redirect_to_another_server_is_refused(web, alert, code):
    """Alerts and passwords never go where somebody else points to."""
    web.answers = [(code, {"Location": f"http://localhost:{web.port}/T0KEN"})]
    error = refused(open_sink(web.url), alert)
    assert "leads elsewhere: give the new address" in str(error)
    assert error.permanent
    assert len(web.requests) == 1


def test_redirects_in_a_circle_end(web, alert):
    """After three redirects it is enough."""
    web.answers = [(307, {"Location": f"/{number}"}) for number in range(9)]
    assert refused(open_sink(web.url), alert).permanent
    assert len(web.requests) == 4


def test_nothing_secret_is_logged(web, alert, caplog):
    """Whatever level is logged, no address appears, neither when it works nor when it fails."""
    caplog.set_level(logging.DEBUG)
    sink = open_sink(web.url)
    sink.write([alert])
    web.answers = [(500, {})]
    refused(sink, alert)
    assert [secret for secret in SECRETS if secret in caplog.text] == []


def test_others_may_log_through_the_same_library(web, caplog):
    """Silence holds for deliveries only."""
    open_sink(web.url).check()
    caplog.set_level(logging.INFO)
    logging.getLogger("httpx").info("theirs")
    assert "theirs" in caplog.text


def test_a_check_sends_no_alert(web):
    """HEAD is asked, and any answer shows that somebody is there."""
    web.answers = [(405, {})]
    assert open_sink(web.url, secret="key").check().endswith("answers HTTP 405 to HEAD; alerts are signed")
    assert web.requests[0].method == "HEAD"
