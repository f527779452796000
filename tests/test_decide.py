"""Budgets: how many false alarms a day are accepted, and the bits that follow."""

from __future__ import annotations

import pytest

from amiss.decide import Budget
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
