"""Bits: how evidence runs, combines, becomes a threshold and a sentence."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import naive

from amiss import evidence
from amiss.evidence import Standing
from amiss.sessions import boundaries

BITS = st.lists(st.floats(-20, 20), min_size=1, max_size=30)


def followed(bits: list[float]) -> list[float]:
    """The running evidence of one user."""
    return evidence.running(np.array([0, len(bits)]), np.array(bits)).tolist()


@given(BITS)
def test_running_evidence_equals_the_slow_twin(bits):
    """The recursion in the log domain is the mixture over all moments when the evidence may have begun."""
    assert followed(bits) == pytest.approx(naive.evidence(bits), abs=1e-9)


def test_running_evidence_by_hand():
    """3 bits: log2(8/2 + 1/2); then -1 bit: log2((4 + 1/4)/2 + 1/4)."""
    assert followed([3.0, -1.0]) == pytest.approx([math.log2(4.5), math.log2(2.375)], abs=1e-12)


Moved = tuple[list[tuple[int, float]], list[tuple[int, int]], pl.DataFrame]
"""The evidence after each event in their order, the levels reached at which, and where all stand."""


def moved(events: list[tuple[int, float, float]], cuts: list[int], levels: list[float]) -> Moved:
    """Follow events (user, bits of one detector, bits of another) in batches, each going on from a saved standing."""
    running, reached, standing = [], [], Standing(2)
    for low, high in pairwise([0, *sorted(cuts), len(events)]):
        batch = sorted(enumerate(events[low:high], start=low), key=lambda row: row[1][0])
        users = np.array([user for _, (user, *_) in batch], dtype=np.uint32)
        first = boundaries(users)
        columns = [np.array([row[column] for _, row in batch]) for column in (1, 2)]
        standing = Standing(2, standing.frame())
        after = standing.follow(users[first[:-1]], first, columns, levels)
        running += [(batch[place][0], value) for place, value in enumerate(after.running.tolist())]
        reached += [(batch[place][0], level) for place, level in zip(after.events, after.levels, strict=True)]
    return sorted(running), sorted(reached), standing.frame()


EVENTS = st.lists(st.tuples(st.integers(0, 3), st.floats(-5, 5), st.sampled_from([0.0, 2.0])), max_size=30)


@given(EVENTS, st.lists(st.integers(0, 30), max_size=3))
def test_running_evidence_goes_on_over_cuts(events, cuts):
    """Batches of a stream give the bits of one, bit for bit, reach levels at the same events, and end alike."""
    cuts = [min(cut, len(events)) for cut in cuts]
    whole, parts = moved(events, [], [1.0, 4.0]), moved(events, cuts, [1.0, 4.0])
    assert whole[:2] == parts[:2]
    assert whole[2].equals(parts[2])


@given(EVENTS)
def test_detectors_together_equal_the_slow_twin(events):
    """What several detectors say is their mean in the linear domain, over those that spoke so far."""
    running, _, _ = moved(events, [], [])
    for user in range(4):
        of_user = [row[1:] for row in events if row[0] == user]
        places = [place for place, row in enumerate(events) if row[0] == user]
        for count, place in enumerate(places, start=1):
            columns = [column for column in zip(*of_user[:count], strict=True) if any(column)]
            expected = evidence.combine({str(n): naive.evidence(list(bits))[-1] for n, bits in enumerate(columns)})
            assert running[place][1] == pytest.approx(expected, abs=1e-9)


def test_each_level_is_reached_once():
    """5 bits an event from the start: about 4, 9 and 14 bits; a level that was reached is not told again."""
    _, reached, _ = moved(
        [(0, 5.0, 0.0), (0, 5.0, 0.0), (0, -9.0, 0.0), (0, 9.0, 0.0), (0, 9.0, 0.0)], [], [3.0, 8.0, 18.0]
    )
    assert reached == [(0, 1), (1, 2), (4, 3)]


def test_one_event_may_reach_several_levels():
    """It is told once, with the highest of them."""
    assert moved([(0, 30.0, 0.0)], [], [3.0, 8.0, 18.0])[1] == [(0, 3)]


@pytest.mark.parametrize("bits", [1e4, -1e4])
def test_running_evidence_neither_overflows_nor_vanishes(bits):
    """Thousands of extreme events stay finite; against the evidence, what is left unspent remains."""
    running = followed([bits] * 3_000)
    assert all(math.isfinite(value) for value in running)
    assert running[-1] == pytest.approx(3e7 - 1 if bits > 0 else -1 - math.log2(3_000), abs=1e-6)


def test_no_evidence_stays_at_zero():
    """Events that say nothing leave a user where they began."""
    assert followed([0.0] * 50) == pytest.approx([0.0] * 50, abs=1e-12)


def test_odd_from_the_start_costs_one_bit():
    """Four events of 5 bits stand at 19 and a little."""
    assert followed([5.0] * 4)[-1] == pytest.approx(19.0, abs=0.05)


def test_odd_from_the_kth_event_costs_a_bit_and_two_log_k():
    """After 99 calm events, ten of 5 bits stand at about 50 - 1 - 2 * log2(100)."""
    assert followed([-3.0] * 99 + [5.0] * 10)[-1] == pytest.approx(50 - 1 - 2 * math.log2(100), abs=0.3)


def test_beliefs_in_a_beginning_sum_to_one():
    """What is spent until the k-th event and what is left are everything."""
    for k in (1, 2, 10, 1000):
        spent = math.fsum(evidence.onset_weight(event) for event in range(1, k + 1))
        assert spent + evidence.unspent(k) == pytest.approx(1.0, abs=1e-12)


def test_a_fair_coin_bet_on_rarely_reaches_b_bits():
    """Bets on a fair coin at 3 to 1: of 20,000 gamblers at most 2^-b ever stand at b bits."""
    random = np.random.default_rng(7)
    users, events = 20_000, 40
    bits = np.where(random.random(users * events) < 0.5, math.log2(1.5), math.log2(0.5))
    running = evidence.running(np.arange(0, users * events + 1, events), bits)
    highest = running.reshape(users, events).max(axis=1)
    for b in range(1, 9):
        assert (highest >= b).mean() <= 2.0**-b + 3 * math.sqrt(2.0**-b / users)


@given(st.dictionaries(st.sampled_from("abcd"), st.floats(-50, 50), min_size=1))
def test_combined_bits_lie_below_the_highest_and_pay_for_the_choice(bits):
    """With n detectors the highest counts, less at most log2(n)."""
    together = evidence.combine(bits)
    assert max(bits.values()) - math.log2(len(bits)) - 1e-9 <= together <= max(bits.values()) + 1e-9


def test_combining_takes_weights():
    """Three quarters of 4 bits and one quarter of none: log2(0.75 * 16 + 0.25)."""
    assert evidence.combine({"a": 4.0, "b": 0.0}, {"a": 0.75, "b": 0.25}) == pytest.approx(math.log2(12.25))


def test_no_detectors_give_no_evidence():
    """Nothing combined is 0 bits."""
    assert evidence.combine({}) == 0.0


@pytest.mark.parametrize(("p", "bits"), [(1.0, -1.0), (1 / 4, 0.0), (2**-20, 9.0)])
def test_p_values_become_bits(p, bits):
    """The calibrator 1 / (2 sqrt(p))."""
    assert evidence.p_value_bits(p) == pytest.approx(bits)


@pytest.mark.parametrize(("users", "alarms", "bits"), [(3_000, 1, 11.5507), (1, 5, 0.0), (0, 1, 0.0), (1024, 1, 10.0)])
def test_a_threshold_is_log2_of_users_per_alarm(users, alarms, bits):
    """3,000 users and one alarm a day make 11.55 bits; never below 0."""
    assert evidence.threshold(users, alarms) == pytest.approx(bits, abs=1e-4)


@pytest.mark.parametrize(
    ("bits", "severity"), [(9.9, "info"), (10.1, "low"), (13.4, "medium"), (16.7, "high"), (20.0, "critical")]
)
def test_severity_steps_with_each_factor_of_ten(bits, severity):
    """Among 1,024 users 10 bits are what chance gives once a period."""
    assert evidence.severity(bits, 1_024) == severity


@pytest.mark.parametrize(
    ("bits", "users", "text"),
    [
        (0.0, 1_000, "by chance up to 1,000 times a day"),
        (9.8, 1_024, "by chance up to 1 time a day"),
        (10.0, 1_024, "by chance at most once a day"),
        (12.0, 1_024, "by chance at most once in 4 days"),
        (17.0, 1_024, "by chance at most once in 4 months"),
        (20.0, 1_024, "by chance at most once in 3 years"),
        (60.0, 1_024, "by chance at most once in over a million years"),
        (5_000.0, 10, "by chance at most once in over a million years"),
    ],
)
def test_how_rare_bits_are_is_said_in_words(bits, users, text):
    """Days, months and years among so many users."""
    assert evidence.once_in(bits, users) == text
