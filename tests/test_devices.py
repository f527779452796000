"""Browsers and devices by user agents."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss import devices
from amiss.devices import AGENT_LIMIT, device_named, device_of
from amiss.errors import MissingExtraError

WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("agent", "browser", "device"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:44.0) Gecko/20100101 Firefox/44.0", "Firefox 44", "Firefox, Linux"),
        (f"{WINDOWS} Chrome/120.0.0.0 Safari/537.36", "Chrome 120", "Chrome, Windows"),
        (f"{WINDOWS} Chrome/120.0.0.0 Safari/537.36 Edg/120.0.0.0", "Edge 120", "Edge, Windows"),
        (
            f"{IPHONE} Version/17.1 Mobile/15E148 Safari/604.1",
            "Mobile Safari 17.1",
            "Mobile Safari, iOS",
        ),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "Googlebot 2.1", "Googlebot"),
        ("curl/8.5.0", "curl 8.5", "curl"),
        ("python-requests/2.31.0", "Python Requests 2.31", "Python Requests"),
        ("AcmeSync/3.1", "AcmeSync 3", "AcmeSync"),
        ("Mozilla/5.0", "Other", "Other"),
        ("') OR 1=1 --", "Other", "Other"),
        ("\x1b[31m\x00", "Other", "Other"),
    ],
)
def test_agents_tell_browser_and_device(agent: str, browser: str, device: str) -> None:
    """Family and version of the browser, without a minor 0; family of the system. What tells nothing is `Other`."""
    assert device_of(agent) == (agent, browser, device)


@pytest.mark.parametrize("agent", [None, "", " ", "-", "null", "None", "(null)", "Unknown", "undefined"])
def test_agents_that_are_not_there_are_unknown(agent: str | None) -> None:
    """What programs write for nothing is nothing."""
    assert device_of(agent) == ("", "", "")
    assert device_named(agent) == ("", "", "")


def test_a_newer_version_is_another_browser_on_the_same_device() -> None:
    """The device has no versions in it."""
    old, new = (device_of(f"{WINDOWS} Chrome/{major}.0.0.0 Safari/537.36") for major in (120, 121))
    assert (old.browser, new.browser) == ("Chrome 120", "Chrome 121")
    assert old.device == new.device == "Chrome, Windows"


def test_long_agents_are_cut_and_stay_different() -> None:
    """A megabyte of text is looked at and remembered as 512 characters."""
    one, two = device_of("A/1 " + "x" * 1_000_000), device_of("A/1 " + "x" * 1_000_001)
    assert len(one.agent) == len(two.agent) == AGENT_LIMIT
    assert one.agent != two.agent
    assert one.browser == "A 1"
    assert devices._recalled.cache_info().maxsize == 50_000


def test_names_of_families_are_short() -> None:
    """Some families are parts of the agent: they are cut too."""
    assert all(len(device_of(f"{'a' * 400}{tail}").device) <= 100 for tail in ("/1.0", "bot/1.0", " spider", ""))


@given(st.text(max_size=80))
def test_no_text_whatever_raises(agent: str) -> None:
    """Any text has a browser and a device, or is nothing."""
    found = device_of(agent)
    assert bool(found.agent) == bool(found.browser) == bool(found.device)


def test_a_device_of_the_log_stands_for_all_three() -> None:
    """Without a user agent, that is what there is."""
    assert device_named("laptop-7") == ("laptop-7", "laptop-7", "laptop-7")


def test_a_missing_parser_is_said_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other parts work without it."""
    monkeypatch.setitem(sys.modules, "ua_parser", None)
    devices._parser.cache_clear()
    devices._recalled.cache_clear()
    with pytest.raises(MissingExtraError, match=r'pip install "amiss\[login\]"'):
        device_of("curl/8.5.0")
