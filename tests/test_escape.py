"""Text from a log cannot steer what shows it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss import escape

ANY = st.text(st.characters(exclude_categories=()), max_size=40)


@given(ANY)
def test_visible_text_only_prints(text):
    """Whatever the text, what is shown of it holds no character that does something."""
    assert escape.visible(text).isprintable()


@given(ANY)
def test_json_reads_back_to_the_same_text(text):
    """JSON escapes what could steer a terminal, and loses nothing."""
    written = escape.json_text({"user": text})
    assert written.isprintable()
    assert json.loads(written) == {"user": text}


@given(ANY, st.integers(3, 30))
def test_shortened_text_fits(text, width):
    """A label takes at most the cells that it was given."""
    assert escape.cells(escape.label(text, width)) <= width


@given(st.sampled_from("=+-@\t\r\n"), ANY)
def test_a_cell_is_never_a_formula(first, rest):
    """A cell that a spreadsheet would run starts with an apostrophe."""
    assert escape.csv_cell(first + rest).startswith("'")


@pytest.mark.parametrize("text", ["  =1+1", "\uff1d1+1", "-2+3", "@SUM(A1)"])
def test_disguised_formulas_are_found(text):
    """Spaces before it, or full-width signs, do not hide a formula."""
    assert escape.csv_cell(text) == f"'{escape.visible(text)}"


def test_letters_of_all_scripts_stay():
    """Names of people are left as they are."""
    for name in ("Zoë", "安全", "Ωμέγα", "עברית", "😀"):
        assert escape.visible(name) == name


def test_a_bidirectional_override_is_spelled_out():
    """Text cannot be made to read backwards."""
    assert escape.visible("user\u202egnp.exe") == "user\\u202egnp.exe"


def test_numbers_that_json_lacks_become_null():
    """Infinity and NaN never make a file that other programs refuse."""
    assert escape.json_text([float("nan"), float("-inf"), 0.5]) == "[null, null, 0.5]"


def test_a_name_of_ten_thousand_characters_is_shortened_in_the_middle():
    """Both ends of a long name stay readable."""
    assert escape.label("start" + "x" * 10_000 + "end", 12) == "startx…xxend"
