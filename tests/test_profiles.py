"""Profiles: how far two are apart, what merges over days, and which limit tells users apart."""

from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.naive_groups import divergences

import amiss
from amiss.errors import UsageError
from amiss.profiles import limits, merged

MERCHANT = {
    "login": 4.985644707022931,
    "view_item": 94.19583408958562,
    "end": 11.545447181678094,
    "sell_item": 83.69866845609923,
}
BUYER = {
    "login": 4.985644707022931,
    "view_item": 67.7400193361843,
    "buy_item": 53.12436221098946,
    "logout": 10.867278739709663,
    "end": 11.545447181678094,
}
ACTIONS = [*MERCHANT, "buy_item", "logout", "comment", "home"]
PROFILES = st.dictionaries(st.sampled_from("abcd"), st.floats(0, 1100), max_size=4)


def whole(profile: dict[str, float]) -> dict[str, float]:
    """A profile with 0 for what was not done."""
    return {action: profile.get(action, 0.0) for action in ACTIONS}


def test_the_printed_example_of_the_notebook_comes_out():
    """A merchant and a buyer are 83.69 and 63.99 bits apart, as printed."""
    found = amiss.distance(whole(MERCHANT), whole(BUYER), limit=5)
    assert found.forward == pytest.approx(83.69285085506084, abs=1e-9)
    assert found.backward == pytest.approx(63.991640950699122, abs=1e-9)
    assert not found.near


def test_a_profile_is_near_itself_unless_two_to_its_bits_overflows():
    """Equal profiles are 0 bits apart; from 1024 bits on nothing is near."""
    assert amiss.distance(BUYER, BUYER) == (0.0, 0.0, True)
    assert amiss.distance({"view": 1024.0}, {"view": 1024.0}) == (math.inf, math.inf, False)
    assert amiss.distance({"view": 1023.0}, {"view": 1023.0}).near


def test_the_limit_itself_is_too_far_above_and_near_below():
    """A divergence of 5 is not below the limit 5, one of -5 is not below -5."""
    assert not amiss.distance({"a": 5.0}, {"a": 0.0}, limit=5).near
    assert amiss.distance({"a": 4.9}, {"a": 0.0}, limit=5).near


@given(PROFILES, PROFILES)
def test_distance_equals_the_loop_over_actions(a: dict[str, float], b: dict[str, float]):
    """Both divergences are those of the slow twin, and swapping profiles swaps them."""
    found = amiss.distance(a, b)
    assert found[:2] == pytest.approx(divergences(a, b))
    assert amiss.distance(b, a)[:2] == pytest.approx((found.backward, found.forward))


def test_bits_that_are_no_surprisal_are_refused():
    """Negative bits and NaN name their action."""
    for bits in (-1.0, math.nan):
        with pytest.raises(UsageError, match='action "view" has'):
            amiss.distance({"view": bits}, {"view": 1.0})


def test_who_was_away_keeps_their_profile_and_who_came_back_has_a_new_one():
    """Of ann only Tuesday counts, of bob still Monday."""
    monday = pl.DataFrame({"user": ["ann", "ann", "bob"], "action": ["view", "buy", "view"], "bits": [3.0, 1.0, 4.0]})
    tuesday = pl.DataFrame({"user": ["ann", "cy"], "action": ["export", "view"], "bits": [9.0, 2.0]})
    assert merged(monday, tuesday).rows() == [("ann", "export", 9.0), ("cy", "view", 2.0), ("bob", "view", 4.0)]


def test_limits_count_pairs_of_labelled_users_that_are_near():
    """Two buyers a bit apart are near from 2 on, the merchant to neither until 7."""
    known = {"ann": {"view": 0.0}, "bob": {"view": 1.0}, "cy": {"view": 6.5}, "stranger": {"view": 0.0}}
    found = limits(known, {"ann": "buyer", "bob": "buyer", "cy": "merchant", "nobody": "buyer"}, [1, 2, 7])
    assert found.rows() == [
        (1.0, 0, 1, 0, 2, 0.0, 0.0),
        (2.0, 1, 1, 0, 2, 1.0, 0.0),
        (7.0, 1, 1, 2, 2, 1.0, 1.0),
    ]


def test_a_limit_needs_pairs():
    """One labelled user makes no pair."""
    with pytest.raises(UsageError, match="expected two or more, found 1"):
        limits({"ann": {}}, {"ann": "buyer"})
