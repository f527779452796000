"""Codes of countries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss.countries import _codes, country_code
from amiss.zones import _zones


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("UA", "UA"), ("ua", "UA"), (" ua ", "UA"), ("UKR", "UA"), ("Ukraine", "UA"), ("the Ukraine", "UA"),
        ("United States", "US"), ("UNITED STATES OF AMERICA", "US"), ("U.S.A.", "US"), ("usa", "US"),
        ("UK", "GB"), ("Great Britain", "GB"), ("Korea, Republic of", "KR"), ("Korea (South)", "KR"),
        ("Côte d'Ivoire", "CI"), ("Cote d'Ivoire", "CI"), ("Türkiye", "TR"), ("Turkey", "TR"), ("Viet Nam", "VN"),
        ("Russian Federation", "RU"), ("Trinidad & Tobago", "TT"), ("Netherlands", "NL"), ("The Netherlands", "NL"),
        ("Kosovo", "XK"), ("NA", "NA"), ("Namibia", "NA"), ("Niger", "NE"), ("Nigeria", "NG"), ("Guinea", "GN"),
        ("DR Congo", "CD"), ("Congo", "CG"), ("Österreich", "AT"), ("American Samoa", "AS"), ("Samoa", "WS"),
    ],
)  # fmt: skip
def test_names_and_codes_are_codes_of_two_letters(text: str, code: str) -> None:
    """Whatever their spelling."""
    assert country_code(text) == code


@pytest.mark.parametrize(
    "text", [None, "", " ", "-", "--", "unknown", "N/A", "ZZ", "XX", "A1", "T1", "EU", "null", "??"]
)
def test_what_is_no_country_is_unknown(text: str | None) -> None:
    """Among them the codes that proxies give to addresses of no country."""
    assert country_code(text) == ""


def test_names_that_are_not_known_stay() -> None:
    """In capitals, without blanks around them, not too long."""
    assert country_code(" Atlantis ") == "ATLANTIS"
    assert country_code("qq") == "QQ"
    assert len(country_code("ß" * 1_000_000)) <= 64


@given(st.text())
def test_no_text_whatever_raises(text: str) -> None:
    """And a code stays itself."""
    code = country_code(text)
    assert len(code) <= 64
    assert country_code(code) == code or code not in _codes().values()


def test_every_country_with_a_zone_is_known() -> None:
    """The table of zones and that of countries hold the same codes."""
    assert set(_zones()) - {""} <= set(_codes().values())
