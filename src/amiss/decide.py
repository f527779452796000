"""From evidence to alerts: a budget of false alarms becomes a threshold in bits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from amiss import evidence
from amiss.errors import UsageError

_DAYS: Final = {"hour": 1 / 24, "day": 1.0, "week": 7.0, "month": evidence.DAYS_PER_YEAR / 12, "year": 365.25}
_BUDGET: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:/|per|a|an)\s*([a-z]+?)s?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Budget:
    """How many false alarms a day the operator accepts.

    Examples
    --------
    >>> Budget.parse("3/day"), Budget.parse("1 per week").per_day
    (Budget(per_day=3.0), 0.142857...)
    >>> Budget(1.0).threshold(3000)
    11.550746785383243
    """

    per_day: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Budget:
        """The budget that a text such as `3/day` names.

        Raises
        ------
        UsageError
            If the text is not a positive number of alarms per hour, day, week, month or year.
        """
        match = _BUDGET.fullmatch(text)
        days = _DAYS.get(match[2].lower()) if match else None
        if match is None or days is None or float(match[1]) <= 0:
            raise UsageError(
                f'a budget is a number of false alarms per time, such as "3/day" or "1/month". Found: "{text}"'
            )
        return cls(float(match[1]) / days)

    def threshold(self, users_per_day: float) -> float:
        """The bits at which that many normal users a day give at most the budget in false alarms."""
        return evidence.threshold(users_per_day, self.per_day)
