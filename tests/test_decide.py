"""Budgets: how many false alarms a day are accepted, and the bits that follow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss.decide import LEAST_BITS, Budget, Figures, Threshold, threshold
from amiss.errors import UsageError


@pytest.mark.parametrize(
    ("text", "per_day"),
    [
        ("3/day", 3.0),
        ("3 / days", 3.0),
        ("1 per week", 1 / 7),
        ("2 a month", 2 / 30.4375),
        ("1/year", 1 / 365.25),
        ("0.5/Hour", 12.0),
        ("2 an hour", 48.0),
    ],
)
def test_a_budget_is_a_number_per_time(text, per_day):
    """All the ways in which people write it."""
    assert Budget.parse(text).per_day == pytest.approx(per_day)


@pytest.mark.parametrize(
    "text", ["", "3", "day", "0/day", "-1/day", "3/fortnight", "nan/day", "1e3/day", "3/day/week", "inf/day"]
)
def test_a_text_that_is_no_budget_is_an_error_that_shows_one(text):
    """The message says what was found and what would do."""
    with pytest.raises(UsageError, match='such as "3/day"') as raised:
        Budget.parse(text)
    assert str(raised.value).endswith(f'Found: "{text}"')


def test_a_smaller_budget_asks_for_more_bits():
    """Halving the budget costs one bit."""
    assert Budget(0.5).threshold(3_000) - Budget(1.0).threshold(3_000) == pytest.approx(1.0)


def test_a_budget_above_the_number_of_users_asks_for_none():
    """Ten users cannot give twenty alarms."""
    assert Budget(20.0).threshold(10) == 0.0


QUIET = Figures(1024, np.array([4.0]))
LOUD = Figures(1024, np.array([30.0, 25.0, 20.0, 15.0]))


def test_a_threshold_follows_from_the_users_of_days_before():
    """The mean of the last seven days counts, whatever was before them."""
    past = [Figures(9)] + [Figures(users) for users in (1000, 1048) * 3] + [Figures(1024)]
    assert threshold(Budget(1.0), past) == Threshold(10.0, 1024.0, 10.0)


def test_past_alarms_above_the_budget_raise_a_threshold():
    """Days with four alarms each: with one a day allowed, only the highest may pass."""
    raised = threshold(Budget(1.0), [LOUD, LOUD, LOUD])
    assert 25.0 < raised.bits < 25.000001
    assert raised.by_chance == 10.0
    assert threshold(Budget(4.0), [LOUD, LOUD, LOUD]).bits == 8.0


def test_one_bad_day_does_not_raise_a_threshold():
    """A day on which everybody changed is forgiven; two days are too few to judge by."""
    burst = Figures(1024, np.full(900, 40.0))
    assert threshold(Budget(1.0), [QUIET, QUIET, burst, QUIET]).bits == 10.0
    assert threshold(Budget(1.0), [LOUD, LOUD]).bits == 10.0


@given(st.lists(st.lists(st.floats(0, 40), max_size=6), min_size=3, max_size=6), st.sampled_from([0.5, 1.0, 2.0]))
def test_a_raised_threshold_is_the_least_that_keeps_the_budget(days, per_day):
    """At it, the past without its worst day had at most the budget; at any lower peak it had more."""
    past = [Figures(64, np.array(sorted(peaks, reverse=True))) for peaks in days]
    found = threshold(Budget(per_day), past)

    def alarms(bits: float) -> int:
        counts = sorted(sum(peak >= bits for peak in peaks) for peaks in days)
        return sum(counts[:-1])

    allowed = per_day * (len(days) - 1)
    assert alarms(found.bits) <= allowed
    lower = [peak for peaks in days for peak in peaks if found.by_chance <= peak < found.bits]
    assert all(alarms(peak) > allowed for peak in lower)


def test_notices_rise_in_steps_above_the_threshold():
    """First the threshold, then each factor of ten in rarity that lies above it."""
    assert Threshold(12.0, 1024.0, 10.0).levels()[0] == 12.0
    assert len(Threshold(18.0, 1024.0, 10.0).levels()) == 2
    assert Threshold(0.0, 0.0, 0.0).levels() == [LEAST_BITS]
