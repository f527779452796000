"""What networks are for: words of logs and databases, and names of operators."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss.kinds import KINDS, kind_named, kind_of_operator

TEXTS = st.text() | st.sampled_from(
    ["ISP/MOB", "-", "mobile ", "VPN", "Data Center", "\ud800", "\u017f", "\u0130", "\0"]
)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("home", ["residential", "Cable/DSL", "Dialup", "Satellite", "isp", "Fixed Line ISP", "(ISP) Fixed Line ISP"]),
        ("mobile", ["cellular", "Cellular", "MOB", "Mobile ISP", "mobile-carrier", "4G", "LTE"]),
        ("business", ["business", "Corporate", "COM", "Commercial", "ORG", "GOV", "government", "MIL", "banking"]),
        ("school", ["college", "school", "EDU", "education", "University/College/School"]),
        ("public", ["cafe", "library", "LIB", "traveler", "public", "Hotel"]),
        ("hosting", ["hosting", "DCH", "Data Center/Web Hosting/Transit", "CDN", "content_delivery_network",
                     "search_engine_spider", "SES", "Data Centre"]),
        ("vpn", ["VPN", "tor", "proxy", "relay", "consumer_privacy_network", "residential proxy"]),
    ],
)  # fmt: skip
def test_words_of_databases_tell_kinds(kind: str, words: list[str]) -> None:
    """MaxMind's user and connection types, IPinfo's types, IP2Location's usage types, however they are written."""
    assert {word: kind_named(word) for word in words} == dict.fromkeys(words, kind)
    assert {kind_named(f" {word.upper()}\n") for word in words} == {kind}


def test_each_kind_is_called_by_its_name() -> None:
    """So a log may name kinds as this project does; who says "other" says nothing."""
    assert [kind_named(kind) for kind in KINDS] == [*KINDS[:-1], ""]


@pytest.mark.parametrize(
    "word", ["", "-", " ", "unknown", "N/A", "null", "None", "nan", "RSV", "ipv4", "WiFi", "false"]
)
def test_words_that_tell_nothing_are_no_kind(word: str) -> None:
    """Nor do a version of the protocol, or the nearest hop."""
    assert kind_named(word) == ""


@pytest.mark.parametrize("word", ["token ring", "keep-alive", "homely", "7", "mobilehome", "x" * 1000 + "mobile"])
def test_words_that_nobody_knows_are_other(word: str) -> None:
    """Whole words count, not what they hold."""
    assert kind_named(word) == "other"


def test_of_several_words_the_first_that_is_known_counts() -> None:
    """As IP2Location writes lines of both kinds."""
    assert [kind_named(text) for text in ("ISP/MOB", "MOB/ISP", "x|mobile", "/", "-/-")] == [
        "home", "mobile", "mobile", "", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("vpn", ["Acme VPN Services", "AS64500 VPN 3", "ACME-PROXY"]),
        ("hosting", ["Example Hosting Ltd.", "Acme Data Center", "DATACENTRE Example", "Example Mobile Cloud",
                     "University Servers", "Rechenzentrum Beispiel", "Hébergement Exemple"]),
        ("mobile", ["Acme Mobile Broadband", "EXAMPLE WIRELESS", "Ejemplo Móvil", "ACME_MOBILE-NET", "AS64500 Mobile"]),
        ("school", ["University of Nowhere", "Universidad de Ejemplo", "Universität Beispiel", "Hochschule Beispiel",
                    "Example College"]),
        ("public", ["Grand Hotel Example", "Nowhere Airport", "Bibliothèque de l'Exemple", "Nowhere Public Library"]),
        ("home", ["Acme Broadband", "Kabel Beispiel", "Example Fibre", "Acme ADSL"]),
        ("business", ["Acme Business", "First Bank of Nowhere"]),
        ("", ["", "AS64500", "Acme Telecom", "Automobiles Acme", "Cloudy Days", "Hotelier", "Cablevillage"]),
    ],
)  # fmt: skip
def test_names_of_operators_tell_kinds_by_whole_words(kind: str, names: list[str]) -> None:
    """In English, German, French, Spanish; of several the most telling one. Most names tell nothing."""
    assert {name: kind_of_operator(name) for name in names} == dict.fromkeys(names, kind)


@given(TEXTS)
def test_any_text_is_of_some_kind(text: str) -> None:
    """Nothing raises, and what is told is a name of a kind."""
    assert kind_named(text) in KINDS
    assert kind_of_operator(text) in KINDS
    assert kind_of_operator(text) != "other"


@given(TEXTS, TEXTS)
def test_what_is_behind_a_hundred_characters_does_not_count(text: str, more: str) -> None:
    """Whoever writes long texts does not make them slow, nor fill the memory."""
    start = text.ljust(100)[:100]
    assert kind_named(start + more) == kind_named(start)
    assert kind_of_operator(start + more) == kind_of_operator(start)


@pytest.mark.parametrize("part", ["universi", "tor exit", "hochschule", "data ", "/", "()", "a", "é", "_"])
def test_no_text_is_slow(part: str) -> None:
    """A thousand different ones within a second, however they repeat themselves."""
    texts = [f"{number}{part * 1_000}" for number in range(1_000)]
    begin = time.process_time()
    for text in texts:
        kind_named(text)
        kind_of_operator(text)
    assert time.process_time() - begin < 1.0
