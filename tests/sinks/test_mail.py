"""Mail arrives once, says what to do, and carries no header that a log smuggled in."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from email.headerregistry import Address

import pytest

from amiss import testing
from amiss.errors import SinkError, UsageError
from amiss.sinks import open_sink
from amiss.sinks.letter import MOST, Envelope, letter

NOW = datetime(2026, 3, 2, 3, 13, tzinfo=UTC)
TO = "mailto:ann@example.com,bob@example.com?from=amiss@example.com"


def opened(office, url=TO, **settings):
    """A mail sink to the mail server."""
    return open_sink(url, smtp=office.url, clock=lambda: NOW, **settings)


def parts(mail) -> tuple[str, str]:
    """The text and the HTML of a mail."""
    return mail.get_body(("plain",)).get_content(), mail.get_body(("html",)).get_content()


def test_a_mail_says_what_when_why_and_what_to_answer(office, alert):
    """The subject names user, bits and severity; the body is enough to act on."""
    opened(office, state="s.db").write([alert])
    [mail] = office.mails
    assert mail["subject"] == "amiss: u1042, 18.7 bits (high)"
    assert mail["to"] == "ann@example.com, bob@example.com"
    assert mail["from"] == "amiss@example.com"
    assert mail["date"].datetime == NOW
    assert mail["auto-submitted"] == "auto-generated"
    text, html = parts(mail)
    for said in (
        "2026-03-02 03:12:07 UTC",
        "login came after logout 3 of 4 times",
        "by chance at most once in 14 months",
        "amiss feedback 3f2a9c4e expected|confirmed|false --state s.db",
    ):
        assert said in text
        assert said in html
    assert "Together 18.7 bits: by chance" in text


def test_hostile_names_are_harmless_in_a_mail(office):
    """Each mail has the headers and the recipients it should have, and no part steers or runs anything."""

    def arrived() -> str:
        return "".join("".join([mail["subject"], *parts(mail)]) for mail in office.mails)

    testing.check_sink(lambda: opened(office), arrived)
    for envelope, mail in zip(office.envelopes, office.mails, strict=True):
        assert envelope.rcpt_tos == ["ann@example.com", "bob@example.com"]
        assert mail["bcc"] is None
        assert mail["to"] == "ann@example.com, bob@example.com"
        html = parts(mail)[1]
        assert "<script" not in html
        assert set(re.findall(r"<(\w+)", html)) <= {
            "html", "head", "meta", "title", "body", "table", "tr", "td", "div", "b", "bdi"
        }  # fmt: skip
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in parts(office.mails[0])[1]


@pytest.mark.parametrize("user", testing.HOSTILE)
def test_no_name_adds_a_header(alert, user):
    """A mail about any user has the same headers, whatever id and story hold too."""
    hostile = replace(alert, user=user, alert_id=f"{user}", story=user)
    mail = letter([hostile], Envelope(Address("", "amiss", "example.com"), NOW), ["ann@example.com"])
    head = mail.as_bytes().split(b"\r\n\r\n")[0].decode("ascii")
    names = re.findall(r"^([\w-]+):", head, flags=re.MULTILINE)
    assert names == [
        "Subject", "From", "To", "Date", "Message-ID", "References", "Auto-Submitted", "X-Mailer", "MIME-Version",
        "Content-Type",
    ]  # fmt: skip
    assert max(map(len, head.splitlines())) < 200


def test_several_alerts_are_one_mail(office, three):
    """A digest counts the alerts, names the worst in the subject and tells all of them in order."""
    opened(office).write(three)
    [mail] = office.mails
    assert mail["subject"] == "amiss: 3 alerts, worst u2, 31.0 bits (critical, was high)"
    for part in parts(mail):
        assert part.index("u1042") < part.index("3f2a9c4e") < part.index("feedback a2") < part.index("feedback a3")


def test_a_very_long_digest_tells_the_most_urgent(office, three):
    """A thousand alerts make no mail of a megabyte: what is left out is counted."""
    low = [replace(three[2], alert_id=f"low{number}") for number in range(1000)]
    opened(office).write([*low, three[1]])
    [mail] = office.mails
    assert f"{1001 - MOST} alerts more are less urgent." in parts(mail)[0]
    assert "feedback a2" in parts(mail)[0]
    assert len(mail.as_bytes()) < 500_000


def test_the_same_alert_has_the_same_message_id(office, three):
    """A receiver drops a copy by its Message-ID; notices of a story stand in one thread."""
    sink = opened(office)
    for some in (three[:1], three[:1], three[1:2], three):
        sink.write(some)
    first, again, risen, digest = office.mails
    assert first["message-id"] == again["message-id"] == "<3f2a9c4e@example.com>"
    assert len({mail["message-id"] for mail in (first, risen, digest)}) == 3
    assert first["references"] == risen["references"] == "<story-s77@example.com>"


def test_a_refused_recipient_is_named_and_others_get_the_mail_once(office, alert):
    """Whom the server refuses for now is tried again alone; it is said who and why."""
    office.refused["bob@example.com"] = "450 come back later\x1b"
    sink = opened(office)
    with pytest.raises(SinkError, match=r"refused bob@example\.com: 450 come back later") as caught:
        sink.write([alert])
    assert not caught.value.permanent
    assert str(caught.value).isprintable()
    office.refused.clear()
    sink.write([alert])
    assert [envelope.rcpt_tos for envelope in office.envelopes] == [["ann@example.com"], ["bob@example.com"]]


def test_a_recipient_that_does_not_exist_is_refused_for_good(office, alert):
    """A code of 5xx is permanent; the others have got the mail."""
    office.refused["bob@example.com"] = "550 no such user"
    sink = opened(office)
    for _ in range(2):
        with pytest.raises(SinkError, match="550 no such user") as caught:
            sink.write([alert])
        assert caught.value.permanent
    assert [envelope.rcpt_tos for envelope in office.envelopes] == [["ann@example.com"]]


def test_when_all_are_refused_all_are_named(office, alert):
    """Nobody gets it, and everybody is in the message."""
    office.refused = {"ann@example.com": "550 no", "bob@example.com": "452 full"}
    with pytest.raises(SinkError, match=r"ann@example\.com: 550 no; bob@example\.com: 452 full") as caught:
        opened(office).write([alert])
    assert not caught.value.permanent


@pytest.mark.parametrize(("answer", "permanent"), [("554 looks like spam", True), ("451 try later", False)])
def test_a_refused_mail_is_final_when_the_server_says_so(office, alert, answer, permanent):
    """5xx for the mail itself is permanent, 4xx is not."""
    office.answer = answer
    with pytest.raises(SinkError, match=f"refuses: {answer}") as caught:
        opened(office).write([alert])
    assert caught.value.permanent is permanent


def test_a_server_that_is_not_there_is_said(alert):
    """A refused connection is an error that may pass."""
    sink = open_sink(TO, smtp="smtp://127.0.0.1:1")
    for act in (lambda: sink.write([alert]), sink.check):
        with pytest.raises(SinkError, match=r"SMTP server 127\.0\.0\.1:1 cannot be used: Connection refused"):
            act()


def test_the_password_comes_from_the_environment(office, alert, monkeypatch):
    """AMISS_SMTP_URL and AMISS_SMTP_PASSWORD say where and who; a wrong password is said but not shown."""
    monkeypatch.setenv("AMISS_SMTP_URL", office.url.replace("smtp://", "smtp://amiss@"))
    monkeypatch.setenv("AMISS_SMTP_PASSWORD", "pa55word")
    open_sink(TO).write([alert])
    assert office.logins == [("amiss", "pa55word")]
    monkeypatch.setenv("AMISS_SMTP_PASSWORD", "wr0ng")
    with pytest.raises(SinkError, match="refuses: 535") as caught:
        open_sink(TO).write([alert])
    assert not caught.value.permanent
    assert "wr0ng" not in f"{caught.value}{open_sink(TO)!r}{open_sink(TO)._office}"
    monkeypatch.delenv("AMISS_SMTP_PASSWORD")
    with pytest.raises(SinkError, match="no password for amiss; set AMISS_SMTP_PASSWORD"):
        open_sink(TO).write([alert])


@pytest.fixture
def certificate(tmp_path):
    """A certificate of this machine, signed by itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    files = [str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")]
    make = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", files[0], "-out", files[1]]
    subprocess.run([*make, "-days", "1", "-subj", "/CN=localhost"], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files[1], files[0])
    return context


def test_a_connection_is_encrypted_where_the_server_offers_it(open_office, alert, certificate):
    """STARTTLS is used when it is there: this server takes no mail without."""
    office = open_office(tls_context=certificate, require_starttls=True)
    opened(office).write([alert])
    assert len(office.mails) == 1


def test_a_server_that_begins_encrypted_is_spoken_to_so(open_office, alert, certificate):
    """`smtps://` speaks TLS from the first byte."""
    office = open_office(ssl_context=certificate)
    open_sink(TO, smtp=office.url.replace("smtp:", "smtps:")).write([alert])
    assert len(office.mails) == 1


def test_a_check_sends_no_mail_and_tries_the_recipients(office):
    """The server is asked whether it would take mail for everybody."""
    sink = opened(office)
    assert sink.check().endswith("accepts mail for ann@example.com, bob@example.com")
    office.refused["bob@example.com"] = "550 no such user"
    with pytest.raises(SinkError, match=r"refuses: 550 bob@example\.com: no such user"):
        sink.check()
    assert office.mails == []


@pytest.mark.parametrize("smtp", ["http://localhost", "smtp://", "smtp://host:pa55word", "localhost:25"])
def test_a_server_that_is_no_address_is_refused(smtp):
    """The message says what was expected, without what might be a password."""
    with pytest.raises(UsageError, match="expected smtp://USER@HOST:PORT") as caught:
        open_sink(TO, smtp=smtp)
    assert "pa55word" not in str(caught.value)
