"""Addresses open the right sink, and show nothing secret."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from amiss.errors import UsageError
from amiss.sinks import Sink, open_sink
from amiss.sinks.address import redacted
from amiss.sinks.chat import Chat
from amiss.sinks.console import Console
from amiss.sinks.digest import Digest
from amiss.sinks.files import File
from amiss.sinks.mail import Mail
from amiss.sinks.webhook import Webhook

SECRETS = ("pa55word", "T0KEN", "s3cret", "B00T")


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("-", Console),
        ("console:", Console),
        ("alerts.jsonl", File),
        ("Alerts.CSV", File),
        ("file:///tmp/alerts.ocsf.jsonl", File),
        ("ocsf:/tmp/findings", File),
        ("https://ann:pa55word@example.com/T0KEN?key=s3cret", Webhook),
        ("HTTP://example.com", Webhook),
        ("mailto:ann@example.com?from=amiss@example.com", Mail),
        ("slack://T0KENT0KE/B00TB00TB/s3crets3crets3crets3cret/#ops", Chat),
    ],
)
def test_an_address_opens_its_sink(url, kind):
    """The scheme, or the ending of a path, says which sink it is; each is a Sink."""
    sink = open_sink(url)
    assert type(sink) is kind
    assert isinstance(sink, Sink)


@pytest.mark.parametrize(
    "url",
    [
        "https://ann:pa55word@example.com/T0KEN?key=s3cret",
        "https://example.com/hook/T0KEN",
        "slack://T0KENT0KE/B00TB00TB/s3crets3crets3crets3cret/#ops",
        "json://ann:pa55word@example.com/T0KEN?key=s3cret",
    ],
)
def test_no_secret_shows_in_a_sink(url):
    """Neither the name nor the repr nor the answer of a check holds a password or a token."""
    sink = open_sink(url)
    shown = f"{sink.url} {sink!r} {vars(sink)['url']} {open_sink(url, digest='1h').url}"
    assert [secret for secret in SECRETS if secret in shown] == []


def test_a_name_outlives_a_new_password_and_tells_paths_apart():
    """The name of a web address depends on host and path, not on user and password."""
    assert redacted("https://ann:old@example.com/a") == redacted("https://ann:new@example.com/a")
    assert redacted("https://example.com/a") != redacted("https://example.com/b")


def test_a_file_has_one_name_however_it_is_given(tmp_path, monkeypatch):
    """A relative path, a full one and a file address are the same sink."""
    monkeypatch.chdir(tmp_path)
    names = {open_sink(url).url for url in ("a.jsonl", f"{tmp_path}/a.jsonl", f"file://{tmp_path}/a.jsonl")}
    assert names == {str(tmp_path / "a.jsonl")}


@pytest.mark.parametrize(
    "url", ["a.jsonl?digest=1h", "mailto:a@b.c?digest=60min&from=d@e.f", "https://example.com/?a=1&digest=3600s"]
)
def test_any_sink_may_be_a_digest(url):
    """`?digest=` at an address collects alerts, and is no part of what the sink sees."""
    sink = open_sink(url)
    assert isinstance(sink, Digest)
    assert sink.every == timedelta(hours=1)
    assert "digest" not in sink.url


def test_the_query_of_a_web_address_is_left_as_it_is():
    """What belongs to the receiver stays when the digest is taken out."""
    from amiss.sinks.address import Address

    assert Address.parse("https://h/x?a=1&digest=1h&b=%20").url == "https://h/x?a=1&b=%20"
    assert Address.parse("https://h/x?a=1&digest=1h").url == "https://h/x?a=1"
    assert Address.parse("a.jsonl?digest=1h").url == "a.jsonl"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("alerts.xml", "expected a file that ends in .jsonl, .csv or .ocsf.jsonl"),
        ("gopher://T0KEN/x", "or one that Apprise understands"),
        ("file://other/alerts.csv", "expected a file of this machine"),
        ("https:///T0KEN", "expected an address such as https://example.com/hook"),
        ("https://example.com:T0KEN/", "expected an address such as https"),
        ("http://[T0KEN/", "expected an address such as https"),
        ("mailto:", "expected addresses such as ann@example.com"),
        ("mailto:a@b.c%0d%0aBcc:eve@example.com", "expected addresses"),
        ("a.csv?digest=soon", "expected a span of time such as 30min"),
        ("a.csv?digest=0h", "expected a span of time"),
    ],
)
def test_an_address_that_is_not_understood_says_what_was_expected(url, message):
    """Wrong addresses are refused when the sink is opened, without what is secret in them."""
    with pytest.raises(UsageError, match=message) as caught:
        open_sink(url)
    assert str(caught.value).isprintable()
    assert "T0KEN" not in str(caught.value)


def test_a_setting_that_the_sink_lacks_is_refused():
    """A wrong setting is named, with the nearest right one."""
    with pytest.raises(UsageError, match=r'no setting "secrets".*Did you mean "secret"'):
        open_sink("https://example.com", secrets="x")


def test_without_the_extra_an_address_says_how_to_install_it(tmp_path: Path):
    """Where httpx or Apprise is missing, the message gives the command."""
    code = """
import sys
sys.modules["apprise"] = sys.modules["httpx"] = None
from amiss.errors import MissingExtraError
from amiss.sinks import open_sink
for opened in (lambda: open_sink("slack://a/b/c"), lambda: open_sink("https://example.com").check()):
    try:
        opened()
    except MissingExtraError as error:
        print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert run.stdout.count('pip install "amiss[notify]"') == 2


def test_opening_a_file_loads_neither_apprise_nor_httpx():
    """What other sinks need is loaded by them alone."""
    code = """
import sys
from amiss.sinks import open_sink
open_sink("a.jsonl"), open_sink("console:"), open_sink("mailto:a@b.c"), open_sink("https://example.com")
print([name for name in ("apprise", "httpx", "jinja2", "polars") if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
