"""The habit detector: its slow twin, when it is silent, and its calibration."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import naive

from amiss.baseline import Chain, Past
from amiss.detect.habit import Habit, HabitBaseline
from amiss.detect.sequence import ACTION, GAP, bin_bounds
from amiss.events import CODED_SCHEMA
from amiss.sessions import Events, group
from amiss.testing import _drawn, _grouped, _values, check_calibration, coded_events


def events_of(coded: pl.DataFrame) -> list[naive.Event]:
    """The events of a coded frame."""
    rows = coded.with_columns(pl.col("time").to_physical()).select("time", "user", "action", "outcome").rows()
    return [naive.Event(*row) for row in rows]


@given(past=coded_events(users=2), today=coded_events(users=3), cap=st.sampled_from([2, 5]), least=st.integers(1, 8))
def test_bits_equal_the_slow_twin(past, today, cap, least):
    """Any past and any day give the bits of the dictionary loop."""
    detector = Habit(cap, least)
    baseline = detector.baseline(Past([detector.summarise(group(past))]))
    events = group(today)
    bits = pl.Series(detector.score(events, baseline).bits)
    counts = naive.count(naive.followed(events_of(past)))
    expected = naive.habit(counts, naive.followed(events_of(today)), cap, least)
    assert bits.gather(np.argsort(events.position)).to_list() == pytest.approx(
        [event.bits for event in expected], abs=1e-9
    )


def coded(rows: list[tuple[int, int, int]]) -> pl.DataFrame:
    """A coded frame of (second, user, action), all successes."""
    frame = pl.DataFrame(rows, schema={"time": pl.Int64, "user": pl.Int64, "action": pl.Int64}, orient="row")
    numbered = frame.with_columns(pl.col("time") * 1_000_000, position=pl.int_range(1, pl.len() + 1), outcome=pl.lit(0))
    return numbered.with_columns(pl.col("time").cast(pl.Datetime("us", "UTC"))).select(*CODED_SCHEMA).cast(CODED_SCHEMA)


def bits(past: list[tuple[int, int, int]], today: list[tuple[int, int, int]], least: int = 100) -> list[float]:
    """The bits of a day after a past."""
    detector = Habit(least=least)
    baseline = detector.baseline(Past([detector.summarise(group(coded(past)))]))
    return detector.score(group(coded(today)), baseline).bits.tolist()


TWO_ROLES = [(10 * i, user, (i % 2) * (1 + user)) for i in range(200) for user in (0, 1)]
"""After action 0, user 0 always does 1 and user 1 always 2."""


def test_a_user_who_acts_as_another_used_to_is_odd():
    """What is normal for one of two roles speaks against the other, event by event."""
    as_before = [(10 * i, 0, i % 2) for i in range(20)]
    as_the_other = [(10 * i, 0, 2 * (i % 2)) for i in range(20)]
    assert sum(bits(TWO_ROLES, as_before)) < 0
    assert sum(bits(TWO_ROLES, as_the_other)) > 10


def test_a_user_without_enough_of_a_past_is_not_judged():
    """Fewer events than `least`, or none: no evidence either way."""
    assert bits(TWO_ROLES, [(10 * i, 0, 2 * (i % 2)) for i in range(9)], least=201) == [0.0] * 9
    assert bits(TWO_ROLES, [(10 * i, 7, 2 * (i % 2)) for i in range(9)]) == [0.0] * 9


def test_a_first_scan_gives_no_evidence():
    """With nothing but the day itself there are no habits."""
    detector = Habit(least=1)
    events = group(coded(TWO_ROLES))
    baseline = detector.baseline(Past([detector.summarise(events)]), leave_out=True)
    assert set(detector.score(events, baseline).bits) == {0.0}


def own_sums(chain: Chain, past: pl.DataFrame, givens: list[int], users: int) -> np.ndarray:
    """Running sums of each user's own chances: (users, givens, values)."""
    values = _values(chain)
    q = np.array([[chain.p(given, value) for value in values.tolist()] for given in givens])
    own = np.zeros((users, *q.shape))
    index = {value: at for at, value in enumerate(values.tolist())}
    for user, before, value, count in past.select("user", "given", "value", "count").iter_rows():
        own[user, givens.index(before), index[value]] = count
    return np.cumsum((own + 8 * q) / (own.sum(axis=2, keepdims=True) + 8), axis=2)


def draw_habits(baseline: HabitBaseline, random: np.random.Generator, _users: int) -> Events:
    """Every user of the past for another forty events, as the user's own chances say."""
    users, each = baseline.past["user"].n_unique(), 40
    states, bins = _values(baseline.action), _values(baseline.gap)
    next_state = own_sums(baseline.action, baseline.past.filter(feature=ACTION), [-1, *states.tolist()], users)
    next_bin = own_sums(baseline.gap, baseline.past.filter(feature=GAP), states.tolist(), users)
    starts = np.array([round(bin_bounds(code)[0] * 1_000_000) for code in bins.tolist()])
    state, gap = np.zeros((users, each), dtype=np.int64), np.full((users, each), -1, dtype=np.int64)
    at, everyone = np.full(users, -1), np.arange(users)
    for event in range(each):
        at = _drawn(next_state[everyone, at + 1], random)
        state[:, event] = states[at]
        if event:
            gap[:, event] = starts[_drawn(next_bin[everyone, at], random)]
    return _grouped(state, gap)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_users_who_keep_their_habits_reach_b_bits_once_in_2_to_the_b(seed: int):
    """Drawn from their own chances, 1,500 users of four kinds are rarely taken for strangers."""
    random = np.random.default_rng(seed)
    past = [
        (20 * i, user, int(random.choice(4, p=np.roll([0.7, 0.2, 0.06, 0.04], user))))
        for i in range(30)
        for user in range(1_500)
    ]
    check_calibration(Habit(least=20), draw_habits, past=coded(past), seed=seed)
