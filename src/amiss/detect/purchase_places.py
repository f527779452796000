"""Where purchases were made that turned out bad: how much likelier a place makes it that the next one is, too.

How often purchases turn out bad at places with such reports is counted, not assumed: for each day that is told of, the
places as what was known of them on that day had it, and what became of the purchases there. A place is known by how
many bad purchases it had in the last week that is told of, and in the last four; its own share of bad ones counts
beside those of its like, the more the more it sells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.baseline import Floats, Past
from amiss.evidence import FULL_WEIGHT

PLACE: Final = 1
"""The feature of counts under which purchases are counted by day (`given`) and place (`value`)."""

WEEK, MONTH = 7, 28
IN_WEEK: Final = np.array([1, 2, 3, 5])
IN_MONTH: Final = np.array([1, 2, 4, 8, 14, 20, 26])
"""Bad purchases from which on places are told apart."""

TAUGHT: Final = 22
"""Days told of that are learned from."""

DOUBT: Final = 20.0
"""How many purchases the share of all places is worth to places that are known alike."""

SUSPECT: Final = 8.0
"""How much more often purchases turn out bad at a place that had such, while nothing is known of places like it."""

ALIKE: Final = 200.0
"""How many purchases the share of places that are known alike is worth to a place."""

Ints = npt.NDArray[np.int64]


class Seen(NamedTuple):
    """Purchases at a place, and how many turned out bad, of the last week that is told of."""

    purchases: int
    bad: int


@dataclass(frozen=True, eq=False)
class Places:
    """How much more often purchases turn out bad by place: a `ratio` for each, in order, and that of all others.

    Examples
    --------
    Ten places, five purchases a day at each; all at the last one turn out bad from the 20th day on.

    >>> from amiss.baseline import COUNT_SCHEMA
    >>> def counts(rows):
    ...     return pl.DataFrame([(PLACE, 7, *row) for row in rows], schema=COUNT_SCHEMA, orient="row")
    >>> good = [(day, place, 80) for day in range(30) for place in range(1, 11) if place < 10 or day < 20]
    >>> past = Past([counts(good)])
    >>> past.bad = counts([(day, 10, 80) for day in range(20, 30)])
    >>> Places.known(past).of(np.array([0, 1, 10])).round(1)
    array([1. , 0.1, 9.4])
    """

    place: npt.NDArray[np.uint32]
    ratio: Floats
    others: float
    seen: tuple[Seen, ...]

    @classmethod
    def known(cls, past: Past) -> Places | None:
        """What follows from what people said was bad; nothing where nobody said so."""
        bad = past.bad.filter(feature=PLACE)
        return _learned(past.by_user().filter(feature=PLACE), bad) if len(bad) else None

    def of(self, places: npt.NDArray[np.uint32]) -> Floats:
        """The ratio of each place; 1 where none is named (0)."""
        at = np.minimum(np.searchsorted(self.place, places), len(self.place) - 1)
        found = np.where(self.place[at] == places, self.ratio[at], self.others)
        return np.where(places > 0, found, 1.0)

    def told(self, place: int) -> Seen | None:
        """What is known of a place that had bad purchases."""
        at = int(np.searchsorted(self.place, place))
        return self.seen[at] if at < len(self.place) and int(self.place[at]) == place else None


class _Days(NamedTuple):
    """Purchases (d, places) and how many turned out bad, of places that had such; and of all others (d,)."""

    first: int
    purchases: Floats
    bad: Floats
    others: Floats


def _learned(counts: pl.DataFrame, bad: pl.DataFrame) -> Places:
    """What places with bad purchases, and all others, say of a purchase."""
    places = bad["value"].unique().sort().to_numpy()
    told = int(bad["given"].to_numpy().max())
    days = _days(counts, bad, places, told)
    late = max(1, int(counts["given"].to_numpy().max(initial=told)) + 1 - told)
    alike = _shares(days, late)
    kinds = _kinds(days, len(days.bad) - 1)
    sold, odd, others = (each[-WEEK:].sum(axis=0) for each in (days.purchases, days.bad, days.others))
    share = (odd + ALIKE * alike[kinds]) / (sold + ALIKE)
    expected = (sold @ share + others * alike[0]) / max(float(sold.sum() + others), 1.0)
    seen = tuple(Seen(round(one), round(other)) for one, other in zip(sold, odd, strict=True))
    return Places(places.astype(np.uint32), share / expected, float(alike[0] / expected), seen)


def _days(counts: pl.DataFrame, bad: pl.DataFrame, places: npt.NDArray[np.int32], told: int) -> _Days:
    """Purchases by day and place, up to the last day that is told of."""
    first = told - TAUGHT - 2 * MONTH
    wanted = pl.col("given").is_between(first, told)
    good, odd = (_table(each.filter(wanted), places, first, told) for each in (counts, bad))
    whole = np.zeros(told - first + 1)
    sums = counts.filter(wanted).group_by("given").agg(pl.col("count").sum()).sort("given")
    whole[sums["given"].to_numpy() - first] = sums["count"].to_numpy() / FULL_WEIGHT
    return _Days(first, good + odd, odd, whole - good.sum(axis=1))


def _table(counts: pl.DataFrame, places: npt.NDArray[np.int32], first: int, last: int) -> Floats:
    """Counts by day (row) and place (column), of these places."""
    table = np.zeros((last - first + 1, len(places)))
    sums = counts.group_by("given", "value").agg(pl.col("count").sum())
    value = sums["value"].to_numpy()
    at = np.minimum(np.searchsorted(places, value), len(places) - 1)
    here = places[at] == value
    table[sums["given"].to_numpy()[here] - first, at[here]] = sums["count"].to_numpy()[here] / FULL_WEIGHT
    return table


def _kinds(days: _Days, row: int) -> Ints:
    """How places are known behind a day: a number for each combination of bad purchases in a week and in a month."""
    week, month = (days.bad[max(0, row - span + 1) : row + 1].sum(axis=0) for span in (WEEK, MONTH))
    kinds: Ints = np.searchsorted(IN_WEEK, week, "right") * (len(IN_MONTH) + 1) + np.searchsorted(
        IN_MONTH, month, "right"
    )
    return kinds


def _shares(days: _Days, late: int) -> Floats:
    """The share of bad purchases at places that were known alike `late` days before, by kind."""
    kinds = (len(IN_WEEK) + 1) * (len(IN_MONTH) + 1)
    sold, odd = np.zeros(kinds), np.zeros(kinds)
    for row in range(len(days.bad) - TAUGHT, len(days.bad)):
        kind = _kinds(days, row - late)
        sold += np.bincount(kind, days.purchases[row], kinds)
        odd += np.bincount(kind, days.bad[row], kinds)
        sold[0] += days.others[row]
    usual = float(odd.sum() / max(sold.sum(), 1.0))
    before = np.where(np.arange(kinds) > 0, SUSPECT, 1.0) * usual
    return (odd + DOUBT * np.minimum(before, 1.0)) / (sold + DOUBT)
