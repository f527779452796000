"""From evidence to alerts: a budget of false alarms becomes a threshold in bits, which past periods may raise."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from amiss import evidence
from amiss.errors import UsageError

_DAYS: Final = {"hour": 1 / 24, "day": 1.0, "week": 7.0, "month": evidence.DAYS_PER_YEAR / 12, "year": 365.25}
_BUDGET: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:/|per|a|an)\s*([a-z]+?)s?\s*", re.IGNORECASE)

KEPT_PEAKS: Final = 1_000
"""The users with most evidence of a period that a threshold remembers."""

ENOUGH_PERIODS: Final = 3
"""The past periods from which on their alarms may raise a threshold."""

RECENT_PERIODS: Final = 7
"""The past periods that say how many users to expect."""

LEAST_BITS: Final = 1e-6
"""Where a budget asks for no bits at all, there must still be some."""


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


@dataclass(frozen=True, eq=False)
class Figures:
    """What a past period teaches about alarms: how many users it had, and the most evidence of some, highest first.

    Without peaks (n,) the period was learned from, not judged.
    """

    users: int
    peaks: npt.NDArray[np.float64] | None = None

    @classmethod
    def of(cls, peaks: npt.NDArray[np.float64]) -> Figures:
        """The figures of a period whose users had these peaks.

        Examples
        --------
        >>> Figures.of(np.array([0.5, 12.0, -1.0])).peaks
        array([12. ,  0.5])
        """
        return cls(len(peaks), np.sort(peaks[peaks > 0.0])[::-1][:KEPT_PEAKS])


@dataclass(frozen=True)
class Threshold:
    """What it takes to be alerted in a period.

    Attributes
    ----------
    bits
        At which an alert fires.
    users
        Users that the period is expected to have; how rare evidence is follows from them.
    by_chance
        At which it would fire if only chance counted: past alarms may have raised `bits` above.
    """

    bits: float
    users: float
    by_chance: float

    @property
    def expected(self) -> float:
        """The alarms that chance gives in the period, at most."""
        return evidence.expected_by_chance(self.bits, self.users)

    def levels(self) -> list[float]:
        """The bits at which a user is first told of, and again because it got more severe; rising.

        Examples
        --------
        >>> [round(level, 1) for level in Threshold(11.0, 1024.0, 10.0).levels()]
        [11.0, 13.3, 16.6, 20.0]
        """
        severe = [math.log2(self.users * 10.0**step) for step in (1, 2, 3)] if self.users > 0 else []
        first = max(self.bits, LEAST_BITS)
        return [first, *(bits for bits in severe if bits > first)]


def threshold(budget: Budget, past: Sequence[Figures], users: float | None = None) -> Threshold:
    """What it takes to be alerted, after past periods, oldest first.

    By chance alone: N users and A alarms a period need ``log2(N / A)`` bits; N is the mean of recent periods unless
    `users` is given. If past periods at that level had more alarms than A on average, it is raised to where they had
    not; the worst of them is forgiven, as one bad day is no reason to be deaf for a month.

    Examples
    --------
    >>> calm, busy = Figures(1024, np.array([3.0])), Figures(1024, np.array([15.0, 14.0, 13.0]))
    >>> threshold(Budget(1.0), [calm, calm, busy]).bits
    10.0
    >>> threshold(Budget(1.0), [busy, busy, busy]).bits
    14.00...
    """
    recent = [figures.users for figures in past[-RECENT_PERIODS:]]
    among = users if users is not None else sum(recent) / len(recent) if recent else 0.0
    by_chance = budget.threshold(among)
    judged = [figures.peaks for figures in past if figures.peaks is not None]
    return Threshold(_raised(by_chance, budget.per_day, judged), among, by_chance)


def _raised(bits: float, per_day: float, judged: Sequence[npt.NDArray[np.float64]]) -> float:
    """The least bits from `bits` on at which past periods but the worst had at most `per_day` alarms on average.

    That holds for all of them and for the recent ones, as a world that has changed is not what it was a month ago.
    """
    recent = judged[-RECENT_PERIODS:]
    return max(_keeping(bits, per_day, judged), _keeping(bits, per_day, recent))


def _keeping(bits: float, per_day: float, judged: Sequence[npt.NDArray[np.float64]]) -> float:
    """The same for these periods alone."""
    if len(judged) < ENOUGH_PERIODS:
        return bits
    peaks = np.unique(np.concatenate(judged))
    candidates = [bits, *np.nextafter(peaks[peaks >= bits], np.inf).tolist()]
    kept = bisect_left(candidates, True, key=lambda least: _alarms(judged, least) <= per_day * (len(judged) - 1))
    return float(candidates[kept])


def _alarms(judged: Sequence[npt.NDArray[np.float64]], least: float) -> int:
    """The alarms of past periods at a threshold, without the worst period."""
    alarms = [int((peaks >= least).sum()) for peaks in judged]
    return sum(alarms) - max(alarms)
