"""A link says what its signature covers, and nothing else passes for one."""

from __future__ import annotations

import stat
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss import testing
from amiss.errors import SinkError, UsageError
from amiss.sinks.links import KNOWN, SECRET, Claim, Key, Links, checked_url, key_of, links

NOW = datetime(2026, 3, 2, 3, 13, tzinfo=UTC)
KEY = Key(b"k" * 32)
CLAIMS = st.builds(
    Claim,
    st.one_of(st.text(max_size=60), st.sampled_from([text[:60] for text in testing.HOSTILE])),
    st.sampled_from(["expected", "confirmed", "false"]),
    st.sampled_from(["user", "operator"]),
    st.integers(1, 999_999_999_999),
)


@given(CLAIMS)
def test_what_is_signed_reads_back(claim):
    """Whatever the alert is called, its link says so again, in ASCII."""
    query = KEY.signed(claim)
    assert query.isascii()
    assert query.isprintable()
    assert KEY.claim(query) == claim


@given(CLAIMS, CLAIMS)
def test_no_signature_passes_for_another_claim(claim, other):
    """Another alert, verdict, person or time needs another signature."""
    signature = KEY.signed(claim).rpartition("&sign=")[2]
    swapped = f"{KEY.signed(other).rpartition('&sign=')[0]}&sign={signature}"
    assert (KEY.claim(swapped) is not None) == (claim == other)


@given(CLAIMS, st.binary(min_size=16, max_size=40))
def test_another_key_signs_nothing_that_passes(claim, secret):
    """Only who has the key makes links."""
    assert (KEY.claim(Key(secret).signed(claim)) is None) == (secret != KEY.secret)


@given(CLAIMS, st.data())
def test_a_link_with_one_letter_changed_says_nothing_else(claim, data):
    """Wherever a letter is changed, the link is refused or says the same."""
    query = KEY.signed(claim)
    place = data.draw(st.integers(0, len(query) - 1))
    letter = data.draw(st.sampled_from("abcXYZ019-_&=%+#; \0"))
    assert KEY.claim(query[:place] + letter + query[place + 1 :]) in (None, claim)


@given(st.text(max_size=300))
def test_any_text_is_refused_quietly(text):
    """What is no link raises nothing."""
    assert KEY.claim(text) is None


def test_a_link_has_its_five_parts_once():
    """Parts that are missing, doubled, empty or beside them make it none."""
    query = KEY.signed(Claim("a1", "expected", "user", 1772409600))
    pairs = parse_qsl(query)
    for wrong in (pairs[1:], [*pairs, pairs[0]], [*pairs, ("x", "1")], [*pairs[:4], ("sign", "")]):
        assert KEY.claim(urlencode(wrong)) is None
    assert KEY.claim(query.replace("1772409600", "01772409600")) is None
    assert KEY.claim(query + "a" * 3_000) is None


def test_a_link_ends_after_its_days():
    """It is good for thirty days unless said otherwise, to the second."""
    url = Links("https://amiss.example.com", KEY).link("a1", "expected", "user", NOW)
    claim = KEY.claim(urlsplit(url).query)
    assert not claim.is_over(NOW + timedelta(days=30))
    assert claim.is_over(NOW + timedelta(days=30, seconds=1))
    assert url.startswith("https://amiss.example.com/?alert=a1&is=expected&by=user&until=1775013180&sign=")


@pytest.mark.parametrize("url", ["https://amiss.example.com", "http://127.0.0.1:8484/feedback", "https://[::1]:8"])
def test_an_address_may_have_a_port_and_a_path(url):
    """Links begin with it as it was given."""
    assert checked_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "", "amiss.example.com", "javascript:alert(1)", "https://", "https://ann:pw@example.com", "https://a?b=1", "https://a#b",
        "https://a b", "https://a\r\nBcc:x", "https://host:0", "https://host:port", 'https://a"onclick="', "https://\u202e",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(url):
    """The message says what was expected."""
    with pytest.raises(UsageError, match=r"expected an address such as https://amiss\.example\.com"):
        checked_url(url)


def test_the_key_lies_beside_the_state_for_nobody_else_to_read(tmp_path):
    """It is made when first needed, and the same from then on."""
    state = str(tmp_path / "s.db")
    key = key_of(state)
    [path] = tmp_path.iterdir()
    assert path.name == "s.db-key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key_of(state) == key
    assert len(key.secret) >= 32
    assert "secret" not in repr(key)
    path.chmod(0o640)
    with pytest.raises(UsageError, match=r"others may read the key for feedback\. Forbid it: chmod 600"):
        key_of(state)


def test_a_key_that_many_make_at_once_is_one(tmp_path):
    """Whoever comes first makes it; all have the same."""
    found = []
    threads = [threading.Thread(target=lambda: found.append(key_of(str(tmp_path / "s.db")))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({key.secret for key in found}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["s.db-key"]


def test_the_key_may_come_from_the_environment(tmp_path, monkeypatch):
    """Then no file is made; a short one is refused."""
    monkeypatch.setenv(SECRET, "x" * 16)
    assert key_of(str(tmp_path / "s.db")) == key_of(None) == Key(b"x" * 16)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv(SECRET, "x" * 15)
    with pytest.raises(UsageError, match="expected 16 characters or more, found 15"):
        key_of(None)


def test_links_need_a_key(tmp_path, monkeypatch):
    """Without a state or a secret, or where none can be made, it is said what to do."""
    monkeypatch.delenv(SECRET, raising=False)
    with pytest.raises(UsageError, match="set AMISS_FEEDBACK_SECRET, or name the state file with --state"):
        links("https://amiss.example.com", None)
    with pytest.raises(UsageError, match="cannot be read or made: No such file"):
        links("https://amiss.example.com", str(tmp_path / "no" / "s.db"))
    (tmp_path / "s.db-key").write_text("short\n")
    (tmp_path / "s.db-key").chmod(0o600)
    with pytest.raises(UsageError, match="Delete it to have one made"):
        links("https://amiss.example.com", str(tmp_path / "s.db"))


def test_a_trial_tells_whether_the_endpoint_is_there_and_knows_the_key(web):
    """One that is not there, or is something else, is a problem."""
    tried = Links(f"http://127.0.0.1:{web.port}/feedback", KEY)
    with pytest.raises(SinkError, match=r"answers HTTP 501, but does not know these links: expected amiss serve"):
        tried.check()
    with pytest.raises(SinkError, match=r"http://127\.0\.0\.1:1 cannot be reached \(Connection refused\)"):
        replace(tried, url="http://127.0.0.1:1").check()
    assert KNOWN.endswith("\n")
