"""Readers of simulated lessons, judged by who knows how the simulation is made: the odds that a user's day is odd.

Known are each user's level, attendance and days of the week, courses, projects, holidays and days without a log, who
can become odd on which days, and what those do who are. Not known is who is ill when, only how often and for how long;
nor who is odd. Of a day its number of pages is seen, nothing else, and nothing of later days. The odds are::

    sum over kinds of  P(begins on the day) * P(pages | kind) / P(pages | honest)

and, of a silence, the same over all days on which it may have begun, the days since without pages; illness is a mixture
over all its first days and lengths, of which visits leave only some. Ranked by such odds days are told best (Neyman
and Pearson 1933).

Where it errs: it ignores that nobody becomes odd soon after being ill, and when pages were read within the day, so that
one who knows all would find a little more; and it is best for days that are odd, of which a silence has many, while a
silence is found by one of them. It counts on all candidates becoming odd alike, which they do but for those who have
too few days left.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amiss.simulate.curriculum import (
    AGAIN,
    BESIDES,
    LEFT,
    PLANTED,
    SCRAPED,
    SURGING,
    Term,
    candidates_for_odd,
    ordinary_days,
    rates,
)
from amiss.simulate.school import ILL, ILL_DAYS

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

LONGEST: Final = ILL_DAYS[1] - 1
MOST: Final = 2.0**500
"""The most that days without pages say, so that it stays a number."""

SURE: Final = 1.0 - 1e-9
"""The highest chance of an active day."""


class Honest(NamedTuple):
    """What honest users do unless they are ill: the chance of an active day, and its mean pages above one; (u, t)."""

    chance: Floats
    above: Floats

    def pages(self, count: Floats) -> Floats:
        """The chance of so many pages: none, or one and a negative binomial of shape two."""
        again = self.above / (AGAIN + self.above)
        some = self.chance * count * (1.0 - again) ** 2 * again ** np.maximum(count - 1, 0.0)
        return np.where(count > 0, some, 1.0 - self.chance)

    def at_most(self, count: Floats) -> Floats:
        """The chance of at most so many pages, linear between whole numbers."""
        below = np.floor(count)
        rest = count - below
        return np.asarray((1.0 - rest) * self._at_most(below) + rest * self._at_most(below + 1))

    def _at_most(self, count: Floats) -> Floats:
        """The same of whole numbers."""
        again = self.above / (AGAIN + self.above)
        more = np.maximum(count, 0.0)
        beyond = again**more * (1.0 + (1.0 - again) * more)
        return np.where(count < 0, 0.0, 1.0 - self.chance * beyond)


def odds(term: Term, users: Ints, counts: Floats, *, share: float, after: int) -> Floats:
    """The odds that days are odd, in bits: (u, t); minus infinity where they cannot be.

    Parameters
    ----------
    term
        All that the simulation fixed before anybody read.
    users
        Numbers of users, from 0 on.
    counts : (u, t)
        Pages of all days of the term; of days without a log whatever.
    share, after
        The share of users who are odd, and the days without these at first, as the simulation has them.

    Returns
    -------
    numpy.ndarray
        Shape (u, t).
    """
    chance, pages = rates(term, users)
    honest = Honest(np.where(term.lost, 0.0, np.minimum(chance, SURE)), np.maximum(pages - 1.0, 0.0))
    seen = np.where(term.lost, 0.0, counts)
    begins = dict(zip(PLANTED, beginnings(term, users, share, after), strict=True))
    ratios = {"scraper": scraped(honest, seen), "surge": surged(honest, seen, term.people.level[users])}
    told = sum(begins[kind] * ratio for kind, ratio in ratios.items())
    with np.errstate(divide="ignore"):
        return np.asarray(np.log2(told + silent(term, users, honest, seen, begins["silence"])))


def beginnings(term: Term, users: Ints, share: float, after: int) -> Floats:
    """The chance that a user becomes odd on a day, by kind: (3, u, t)."""
    known, found = set(candidates_for_odd(term.people).tolist()), np.zeros((len(PLANTED), len(users), term.days))
    for kind, left in enumerate(LEFT):
        able = 0
        for user in known:
            days = ordinary_days(term, user, after, left)
            able += len(days) > 0
            found[kind][users == user, days[:, None]] = 1.0 / max(len(days), 1)
        found[kind] *= min(1.0, share * len(term.people) / max(able, 1)) / len(PLANTED)
    return found


def scraped(honest: Honest, counts: Floats) -> Floats:
    """How much likelier so many pages are of a user of whom some were scraped: (u, t)."""
    low, high = SCRAPED
    many = (honest.at_most(counts - low) - honest.at_most(counts - high)) / (high - low)
    return _ratio(many, honest.pages(counts))


def surged(honest: Honest, counts: Floats, level: Floats) -> Floats:
    """The same of a surge; `level` are the pages of an active weekday of users (u,)."""
    low, high = (times * level[:, None] for times in SURGING)
    rest = counts - BESIDES
    many = (honest.at_most(rest - low) - honest.at_most(rest - high)) / (high - low)
    return _ratio(many, honest.pages(counts))


def _ratio(one: Floats, other: Floats) -> Floats:
    """One chance by another that may be too small for a number."""
    return np.asarray(np.clip(one, 0.0, None) / np.maximum(other, 1e-300))


def silent(term: Term, users: Ints, honest: Honest, counts: Floats, begins: Floats) -> Floats:
    """How much likelier days without pages are of who fell silent, chances that they did in it: (u, t)."""
    idle = np.where(counts > 0, 0.0, 1.0 / (1.0 - honest.chance))
    found, gone, health = np.zeros(counts.shape), np.zeros(len(users)), Health.of(term, users)
    for day in range(term.days):
        gone = np.minimum((gone + begins[:, day] * health.total) * idle[:, day], MOST)
        health.pass_day(day, idle[:, day])
        found[:, day] = gone / health.total
    return found


class Health:
    """How likely pages so far were of honest users, beside that of users who are never ill, over all illnesses.

    `ill[k]` is that with illnesses that last k more days.
    """

    def __init__(self, first: Ints, last: Ints) -> None:
        self.first, self.last = first, last
        self.daily = ILL / (last - first + 1)
        self.to_come = self.daily * np.clip(last + 1, 0, last - first + 1)
        self.past = 1.0 - self.to_come
        self.ill = np.zeros((LONGEST + 1, len(first)))

    @classmethod
    def of(cls, term: Term, users: Ints) -> Health:
        """Before the first day of a term, all illnesses of before being over."""
        start, end = term.people.start[users], term.people.end[users]
        return cls(start, np.maximum(end - 1, start))

    @property
    def total(self) -> Floats:
        """All together."""
        return np.asarray(self.past + self.to_come + self.ill.sum(axis=0))

    def pass_day(self, day: int, idle: Floats) -> None:
        """Go on by a day, of which `idle` says how much likelier it is of who is ill."""
        begin = np.where((self.first <= day) & (day <= self.last), self.daily, 0.0)
        self.to_come = self.to_come - begin
        self.ill[slice(*ILL_DAYS)] += begin / (ILL_DAYS[1] - ILL_DAYS[0])
        self.ill *= idle
        self.past = self.past + self.ill[1]
        self.ill = np.roll(self.ill, -1, axis=0)
        self.ill[0] = self.ill[-1] = 0.0
