"""Mail arrives once, says what to do, and carries no header that a log smuggled in."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from email.headerregistry import Address
from urllib.parse import urlsplit

import pytest

from amiss import config, testing
from amiss.errors import ConfigError, SinkError, UsageError
from amiss.service import opened_sinks, tried
from amiss.sinks import open_sink
from amiss.sinks.letter import MOST, Envelope, letter
from amiss.sinks.links import SECRET, Key
from amiss.sinks.logins import NOTHING_ELSE

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


URL = "https://amiss.example.com"


@pytest.fixture(autouse=True)
def secret(monkeypatch) -> Key:
    """The key that signs links here."""
    monkeypatch.setenv(SECRET, "k" * 32)
    return Key(b"k" * 32)


def test_a_user_is_told_of_a_login_in_plain_words(office, login):
    """What, when in their zone and UTC, where, the address, the device, why; and two links to answer."""
    opened(office, "mailto:{user}@example.com?from=amiss@example.com", feedback=URL).write([login])
    [mail] = office.mails
    assert mail["to"] == "jane@example.com"
    assert mail["subject"] == "New login to jane's account from Kyiv, Ukraine (Firefox on Linux)"
    text, html = parts(mail)
    for said in (
        "Sunday 1 March 2026, 22:12 (America/New_York), 2026-03-02 03:12 UTC",
        "Kyiv, Ukraine",
        "203.0.113.9",
        "Firefox on Linux",
        "logged in from UA: 0 of 412 earlier logins came from there",
        "by chance at most once in 14 months",
        "This was me",
        "The links are good until 1 April 2026.",
    ):
        assert said in text
        assert said in html
    assert "amiss feedback" not in text + html
    assert "risk" not in text


def test_the_links_of_a_mail_say_what_their_words_say(office, login, secret):
    """Each leads to the endpoint, in text and HTML alike, with a signature for that alert and verdict alone."""
    opened(office, "mailto:{user}@example.com?from=amiss@example.com", feedback=URL).write([login])
    text, html = parts(office.mails[0])
    urls = re.findall(r"https://\S+", text)
    assert re.findall(r'href="([^"]+)"', html) == [url.replace("&", "&amp;") for url in urls]
    claims = [secret.claim(urlsplit(url).query) for url in urls]
    assert [(claim.alert_id, claim.verdict, claim.by) for claim in claims] == [
        ("j1", "expected", "user"), ("j1", "confirmed", "user"),
    ]  # fmt: skip
    assert {claim.until for claim in claims} == {int(NOW.timestamp()) + 30 * 86_400}


def test_an_operator_is_told_of_a_login_with_its_bits(office, login):
    """The subject says who, from where and how urgent; links and the command answer."""
    risen = replace(login, severity="critical", escalated_from="high")
    opened(office, f"mailto:ops@example.com?from=amiss@example.com&feedback={URL}", state="s.db").write([risen])
    [mail] = office.mails
    assert mail["subject"] == (
        "amiss: jane logged in from Kyiv, Ukraine (Firefox on Linux), 18.7 bits (critical, was high)"
    )
    text, html = parts(mail)
    for said in ("Where", "It was amiss", "amiss feedback j1 expected|confirmed|false --state s.db", "by=operator"):
        assert said in text
        assert said in html


def test_operators_and_users_each_get_what_is_theirs(office, login):
    """Operators get all in one mail; a user gets their own, never another's; answers go to the operators."""
    again, bob = replace(login, alert_id="j2", story="s78"), replace(login, alert_id="b1", story="s79", user="bob")
    opened(office, "mailto:ops@example.com,{user}@example.com?from=amiss@example.com").write([login, bob, again])
    jane, bobs, ops = office.mails
    assert [envelope.rcpt_tos for envelope in office.envelopes] == [
        ["jane@example.com"], ["bob@example.com"], ["ops@example.com"],
    ]  # fmt: skip
    assert jane["subject"] == "2 unusual logins to jane's account"
    assert bobs["subject"] == "New login to bob's account from Kyiv, Ukraine (Firefox on Linux)"
    assert ops["subject"].startswith("amiss: 3 alerts, worst: jane logged in from Kyiv, Ukraine")
    assert not any("bob" in part for part in parts(jane))
    assert not any("jane" in part for part in parts(bobs))
    assert jane["reply-to"] == "ops@example.com"
    assert "If this wasn't you, answer this mail, or write to ops@example.com" in parts(jane)[0]


def test_an_escalation_is_a_second_mail_of_the_same_thread(office, login):
    """A user's mail refers to the story, and has an id of its own, other than that of the operators."""
    sink = opened(office, "mailto:ops@example.com,{user}@example.com?from=amiss@example.com")
    sink.write([login])
    sink.write([replace(login, alert_id="j2", escalated_from="high", severity="critical")])
    first, operators, second, _ = office.mails
    assert first["references"] == second["references"] == "<story-s77-user@example.com>"
    assert first["subject"] == second["subject"]
    assert len({mail["message-id"] for mail in (first, operators, second)}) == 3


def test_a_user_is_told_once_of_what_rose_meanwhile(office, login):
    """Of several notices of a story in one mail, the last is told; operators see all."""
    risen = replace(login, alert_id="j2", bits=31.0, severity="critical", escalated_from="high")
    opened(office, "mailto:ops@example.com,{user}@example.com?from=amiss@example.com").write([login, risen])
    jane, ops = office.mails
    assert jane["subject"] == "New login to jane's account from Kyiv, Ukraine (Firefox on Linux)"
    assert parts(jane)[0].count("Together") == 1
    assert "Together 31.0 bits" in parts(jane)[0]
    assert ops["subject"].startswith("amiss: 2 alerts")


def test_a_user_without_an_address_is_told_to_the_operators(office, login, caplog):
    """They are counted and named; nobody else gets their mail, and the alert is delivered."""
    strange = replace(login, alert_id="x1", user="eve\r\nBcc: x@example.com")
    opened(office, "mailto:ops@example.com,{user}@example.com?from=amiss@example.com").write([login, strange])
    _, ops = office.mails
    said = r"1 user was not told, since no address is known: eve\r\nBcc: x@example.com."
    assert all(said in part for part in parts(ops))
    assert "1 user was not told" in caplog.text


def test_without_operators_a_user_without_an_address_is_an_error(office, login, tmp_path):
    """It is permanent, so that the alert is kept as one that could not be delivered; others get theirs once."""
    path = tmp_path / "users.csv"
    path.write_text("user,email,name\njane,doe@example.org,Jane Doe\n")
    sink = opened(office, f"mailto:?directory={path}&from=amiss@example.com")
    assert sink.url == f"mailto:?directory={path}"
    for _ in range(2):
        with pytest.raises(SinkError, match="1 user was not told, since no address is known: bob") as caught:
            sink.write([login, replace(login, alert_id="b1", user="bob")])
        assert caught.value.permanent
    [mail] = office.mails
    assert mail["to"] == "doe@example.org"
    assert parts(mail)[0].startswith("Hello Jane Doe,\r\n")


def test_a_directory_that_is_not_there_is_refused_at_the_start(tmp_path):
    """And while it runs, a mail waits until it is there again."""
    path = tmp_path / "users.csv"
    with pytest.raises(UsageError, match="the directory of users cannot be read: No such file"):
        open_sink(f"mailto:?directory={path}")
    path.write_text("user,email\njane,jane@example.com\n")
    sink = open_sink(f"mailto:?directory={path}")
    path.unlink()
    with pytest.raises(SinkError, match="the directory of users cannot be read") as caught:
        sink.check()
    assert not caught.value.permanent


def test_a_user_whom_the_server_refuses_holds_up_nobody(office, login):
    """The others and the operators get their mail once; who was refused is named."""
    office.refused["jane@example.com"] = "550 no such user"
    sink = opened(office, "mailto:ops@example.com,{user}@example.com?from=amiss@example.com")
    for _ in range(2):
        with pytest.raises(SinkError, match=r"refused jane@example\.com: 550 no such user") as caught:
            sink.write([login, replace(login, alert_id="b1", user="bob", story="s2")])
        assert caught.value.permanent
    assert [envelope.rcpt_tos for envelope in office.envelopes] == [["bob@example.com"], ["ops@example.com"]]


@pytest.mark.parametrize(
    ("details", "subject", "said"),
    [
        (
            {"address": "203.0.113.9"},
            "New login to jane's account from an unknown place",
            ["203.0.113.9, of which the country is not known", NOTHING_ELSE],
        ),
        (
            {"address": "10.0.0.7"},
            "New login to jane's account from a private network",
            ["10.0.0.7, inside a private network", NOTHING_ELSE],
        ),
        (
            {"address": "203.0.113.9", "device": "Firefox, Linux"},
            "New login to jane's account with Firefox on Linux",
            ["of which the country is not known"],
        ),
        ({"country": "UA"}, "New login to jane's account from Ukraine", ["Monday 2 March 2026, 03:12 UTC"]),
        ({"city": "Kyiv", "zone": "Mars/Olympus"}, "New login to jane's account from Kyiv", ["03:12 UTC"]),
        ({"country": "UA", "zone": "Europe/Kyiv"}, "New login to jane's account from Ukraine", ["05:12 (Europe/Kyiv)"]),
        ({}, "Unusual activity in jane's account", ["Monday 2 March 2026, 03:12 UTC"]),
    ],
)
def test_what_is_known_is_said_and_why_it_matters(office, login, details, subject, said):
    """No mail is an address alone: what is not known is said, and the reasons always are."""
    opened(office, "mailto:{user}@example.com").write([replace(login, details=details)])
    [mail] = office.mails
    assert mail["subject"] == subject
    for each in (*said, "Why you are told", "0 of 412 earlier logins came from there"):
        assert all(each in part for part in parts(mail))


@pytest.mark.parametrize("hostile", testing.HOSTILE)
def test_hostile_details_are_harmless(office, login, hostile):
    """No detail adds a header, markup, a link or a control character, in either mail."""
    details = dict.fromkeys(login.details, hostile)
    reasons = [{**login.reasons[0], "text": hostile}]
    told = [replace(login, details=details, reasons=reasons, alert_id=f"{form}") for form in range(2)]
    opened(office, "mailto:ops@example.com,{user}@example.com?from=amiss@example.com", feedback=URL).write(told[:1])
    for mail in office.mails:
        assert mail["bcc"] is None
        assert mail["subject"].isprintable()
        text, html = parts(mail)
        assert "\x1b" not in text + html
        assert "\u202e" not in text + html
        assert "<script" not in html
        assert set(re.findall(r'href="([^"]{0,26})', html)) == {"https://amiss.example.com/"}
        assert set(re.findall(r"https?://([^/\s]+)", text)) == {"amiss.example.com"}


def test_a_name_with_an_address_in_it_is_no_link(office, login):
    """Mail programs make links of addresses that they find in a text; here they find none."""
    told = replace(login, details={"city": "verify at https://evil.example/x", "device": "www.evil.example"})
    opened(office, "mailto:{user}@example.com").write([told])
    for part in parts(office.mails[0]):
        assert "https[:]//evil.example" in part
        assert not re.search(r"https?://|www\.", part)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mailto:ann@example.com?form=x@example.com", 'no option "form". Known: from, directory, feedback, digest.'),
        ("mailto:ann@example.com?feedback=amiss.example.com", "expected an address such as https://amiss.example.com"),
    ],
)
def test_an_address_with_a_mistake_is_refused(url, said):
    """An option that is not known, or an endpoint that is no address."""
    with pytest.raises(UsageError) as caught:
        open_sink(url)
    assert said in str(caught.value)


def test_a_check_says_who_will_get_mail(office, tmp_path):
    """Operators, the pattern, and how many users the directory has."""
    path = tmp_path / "users.csv"
    path.write_text("user,email\njane,jane@example.com\nbob,\n")
    said = opened(office, f"mailto:ops@example.com,{{user}}@example.com?directory={path}").check()
    assert said.endswith(
        f"accepts mail for ops@example.com, users at {{user}}@example.com, 1 users in {path}, "
        "1 rows without an address (line 3: no user or no valid address)"
    )


def test_settings_give_mails_their_links(office, login, tmp_path, monkeypatch):
    """`[feedback] url` and `days` reach the sinks of a watch; `amiss check` says that nobody answers there."""
    monkeypatch.setenv("AMISS_SMTP_URL", office.url)
    text = '[watch]\nalert = ["mailto:{user}@example.com"]\n[feedback]\nurl = "http://127.0.0.1:1/f"\ndays = 7\n'
    settings = config.parse(text)
    [sink] = opened_sinks(settings.watch, tmp_path / "s.db", settings.feedback)
    sink.write([login])
    assert "http://127.0.0.1:1/f?alert=j1&is=expected&by=user&until=" in parts(office.mails[0])[0]
    said = tried(settings.watch.alert[0], tmp_path / "s.db", None, settings.feedback)
    assert said == (
        "problem: http://127.0.0.1:1/f cannot be reached (Connection refused). Run amiss serve --feedback there"
    )


def test_settings_of_links_that_are_wrong_are_told():
    """Each with its line."""
    with pytest.raises(ConfigError) as caught:
        config.parse('[feedback]\nurl = "amiss.example.com"\ndays = 0\nlisten = "here"\nuri = 1\n')
    said = str(caught.value).splitlines()
    assert [line.partition(": ")[0] for line in said] == [f"amiss.toml:{number}" for number in (2, 3, 4, 5)]
    assert "expected an address such as https://amiss.example.com" in said[0]
    assert "expected HOST:PORT" in said[2]
