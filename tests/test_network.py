"""Networks of friends, and the spread of what they bought."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import naive_purchases as naive

from amiss.network import BEFRIEND, PURCHASE, UNFRIEND, Acts, Network, Spread, Window

USERS = 7
HUGE = 10**22

amounts = st.integers(-(10**5), 10**5) | st.sampled_from([0, 2**62, -(2**62) - 1, HUGE, -HUGE, 2**63 - 1])
people = st.integers(0, USERS - 1)
bought = st.tuples(st.just(PURCHASE), people, st.just(0), st.integers(0, 4), amounts, st.integers(0, 1))
ties = st.tuples(st.sampled_from([BEFRIEND, BEFRIEND, UNFRIEND]), people, people, *[st.just(0)] * 3)
logs = st.lists(bought | ties, max_size=60)


def acts(network: Network, rows: list[tuple[int, ...]]) -> Acts:
    """Rows as a network takes them."""
    return Acts.of([(*row[:4], network.held(row[4]), row[5]) for row in rows])


def stands_out(network: Network, rows: list[tuple[int, ...]]) -> list[Window]:
    """What purchases that are flagged were judged by."""
    judged = network.judge(acts(network, rows))
    return [window for window in judged if window.spread.is_above(rows[window.act][4])]


@given(rows=logs, degrees=st.integers(0, 5), last=st.integers(0, 4))
def test_each_purchase_is_judged_by_the_last_of_its_network(rows, degrees, last):
    """The compiled passes find what a search by dictionaries and sorting finds, whatever the order of times."""
    network = Network(degrees, last)
    found = [(window.act, window.purchases) for window in network.judge(acts(network, rows), every=True)]
    wanted = [(act, each) for act, each in naive.windows(rows, degrees, last) if len(each) > 1]
    assert found == wanted


@given(rows=logs, degrees=st.integers(1, 3), last=st.integers(2, 4), cuts=st.lists(st.integers(0, 60), max_size=3))
def test_chunks_and_reloads_change_nothing(rows, degrees, last, cuts):
    """However a log is cut, and written down and read in between, the same purchases stand out."""
    whole = Network(degrees, last)
    wanted = [(window.act, window.spread) for window in stands_out(whole, rows)]
    part, found = Network(degrees, last), []
    for low, high in zip([0, *sorted(cuts)], [*sorted(cuts), len(rows)], strict=True):
        found += [(window.act + low, window.spread) for window in stands_out(part, rows[low:high])]
        part = Network.recalled(degrees, last, part.friends(), part.purchases())
    assert found == wanted
    assert part.friends().equals(whole.friends())
    assert part.purchases().equals(whole.purchases())


@given(rows=logs, degrees=st.integers(1, 3))
def test_whoever_stands_out_is_among_those_looked_at_closely(rows, degrees):
    """The quick look leaves out no purchase that exact numbers flag."""
    network, every = Network(degrees, 4), Network(degrees, 4)
    near = {window.act for window in network.judge(acts(network, rows))}
    for window in every.judge(acts(every, rows), every=True):
        assert window.act in near or not window.spread.is_above(rows[window.act][4])


@given(listed=st.lists(st.integers(-(10**30), 10**30) | st.integers(-300, 300), min_size=1, max_size=9), cents=amounts)
def test_spreads_are_exact(listed, cents):
    """Mean and deviation in cents are those of fractions cut off, and the comparison never rounds."""
    spread = Spread.of(listed)
    mean = Fraction(sum(listed), len(listed))
    variance = sum((amount - mean) ** 2 for amount in listed) / len(listed)
    assert spread.mean == int(mean)
    assert spread.deviation**2 <= variance < (spread.deviation + 1) ** 2
    assert spread.is_above(cents) == (cents > mean and (cents - mean) ** 2 > 9 * variance)


def test_an_amount_at_the_limit_does_not_stand_out():
    """Mean 15 and deviation 5: exactly 30 is not more than their sum, a cent more is."""
    spread = Spread.of([1000, 2000])
    assert not spread.is_above(3000)
    assert spread.is_above(3001)


@pytest.mark.parametrize("degrees", [1, 2, 3, 5])
@pytest.mark.parametrize("hub", [False, True])
def test_wide_networks_are_searched_from_the_end_of_the_log_alike(degrees, hub):
    """Both ways to search find the same, also with one user who is everyone's friend."""
    rng = np.random.default_rng(5)
    ties = [(BEFRIEND, *rng.integers(0, 300, 2).tolist(), 0, 0, 0) for _ in range(900)]
    ties += [(BEFRIEND, 0, other, 0, 0, 0) for other in range(1, 300) if hub]
    rows = ties + [
        (PURCHASE, user, 0, at // 7, int(cents), 0)
        for at, (user, cents) in enumerate(
            zip(rng.integers(0, 300, 1500).tolist(), rng.integers(1, 99, 1500), strict=True)
        )
    ]
    rows += [(UNFRIEND, *row[1:]) for row in ties[:300]] + rows[-400:]
    network = Network(degrees, 6)
    found = [(window.act, window.purchases) for window in network.judge(acts(network, rows), every=True)]
    wanted = [(act, each) for act, each in naive.windows(rows, degrees, 6) if len(each) > 1]
    assert found == wanted


def test_what_is_remembered_is_bounded():
    """Of each user no more than the last purchases are kept, however many there were."""
    network = Network(degrees=1, last=3)
    network.learn(Acts.of([(PURCHASE, at % 2, 0, at, at, 0) for at in range(5000)]))
    assert network.purchases()["cents"].to_list() == ["4994", "4995", "4996", "4997", "4998", "4999"]
    assert len(network._state.time) <= 2048


def test_friendships_come_and_go_once():
    """To befriend twice or oneself, and to part from strangers, changes nothing."""
    network = Network(degrees=1, last=2)
    rows = [(BEFRIEND, 1, 2), (BEFRIEND, 2, 1), (BEFRIEND, 3, 3), (UNFRIEND, 5, 6), (BEFRIEND, 4, 2), (UNFRIEND, 2, 4)]
    network.learn(Acts.of([(*row, 0, 0, 0) for row in rows]))
    assert network.friends().rows() == [(1, 2)]
    assert network.friendships == 1


def test_networks_of_different_labels_do_not_mix():
    """Purchases in another currency count for nothing."""
    network = Network(degrees=1, last=2)
    rows = [(BEFRIEND, 0, 1, 0, 0, 0), *[(PURCHASE, 1, 0, at, at, at % 2) for at in range(6)]]
    network.learn(Acts.of(rows))
    (window,) = network.judge(Acts.of([(PURCHASE, 0, 0, 9, 900, 1)]))
    assert sorted(each.cents for each in window.purchases) == [3, 5]
