"""Strings and their dense codes."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss.errors import EventError
from amiss.events import CODED_SCHEMA
from amiss.vocabulary import Coding, Vocabulary

texts = st.text(st.characters(codec="utf-8"), max_size=20)


def naive_codes(batches: list[list[str]]) -> list[list[int]]:
    """The codes by a dictionary."""
    seen: dict[str, int] = {}
    return [[seen.setdefault(text, len(seen)) for text in batch] for batch in batches]


@given(st.lists(st.lists(texts, max_size=30), max_size=5))
def test_codes_count_up_in_order_of_first_appearance(batches: list[list[str]]) -> None:
    """Codes are 0, 1, 2 … in order of first appearance, over any number of batches."""
    vocabulary = Vocabulary()
    found = [vocabulary.encode(pl.Series(batch, dtype=pl.String)).tolist() for batch in batches]
    assert found == naive_codes(batches)
    assert len(vocabulary) == len({text for batch in batches for text in batch})


@given(st.lists(texts, unique=True, max_size=30))
def test_decode_gives_back_what_was_encoded(known: list[str]) -> None:
    """Decoding the codes gives the texts."""
    vocabulary = Vocabulary(known)
    assert vocabulary.texts().to_list() == known
    assert vocabulary.decode(np.arange(len(known))[::-1]).to_list() == known[::-1]


def test_many_texts_in_many_chunks_keep_their_order() -> None:
    """A large column of several chunks is coded in row order."""
    column = pl.concat(
        [pl.Series([f"u{i % 5003}" for i in range(start, 60_000, 7)]) for start in range(7)], rechunk=False
    )
    codes = Vocabulary().encode(column)
    _, first = np.unique(codes, return_index=True)
    assert codes.max() == 5002
    assert (np.diff(first) > 0).all()


def test_a_text_never_seen_has_no_code() -> None:
    """Looking a text up does not add it, whatever it holds."""
    vocabulary = Vocabulary(["ann", ""])
    assert [vocabulary.find(text) for text in ("ann", "", "bob", "\ud800", "\0")] == [0, 1, None, None, None]
    assert len(vocabulary) == 2


def test_two_vocabularies_share_nothing() -> None:
    """Each vocabulary counts for itself."""
    first, second = Vocabulary(["a", "b"]), Vocabulary(["b"])
    assert (first.find("b"), second.find("b"), second.find("a")) == (1, 0, None)


def test_a_code_never_given_is_an_error() -> None:
    """Decoding a code past the end names it."""
    with pytest.raises(IndexError, match="code 2 is not among the 1"):
        Vocabulary(["ann"]).decode(np.array([0, 2]))


def test_a_null_is_an_error_that_names_its_row() -> None:
    """A column with a null cannot be coded."""
    with pytest.raises(EventError, match='"user" must hold a text in every row; row 1 is null'):
        Vocabulary().encode(pl.Series("user", ["ann", None]))


def frame(outcome: str) -> pl.DataFrame:
    """One event with this outcome."""
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    return pl.DataFrame({"position": [7], "time": [noon], "user": ["bob"], "action": ["buy"], "outcome": [outcome]})


def test_a_coded_frame_has_the_declared_columns() -> None:
    """Coding an event frame gives exactly the coded columns."""
    coded = Coding(Vocabulary(["ann"])).encode(frame("unknown"))
    assert dict(coded.schema) == CODED_SCHEMA
    assert coded.row(0) == (7, datetime(2026, 1, 1, 12, tzinfo=UTC), 1, 0, 2)


def test_an_outcome_that_is_none_of_the_three_is_an_error() -> None:
    """An outcome outside the declared ones names the nearest."""
    with pytest.raises(EventError, match=r"Found: 'sucess' Did you mean \"success\"\?"):
        Coding().encode(frame("sucess"))
