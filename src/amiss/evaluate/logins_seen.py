"""Simulated logins as who knows the simulation sees them: in which pool and on which line, with which browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from statistics import NormalDist
from typing import Final

import numpy as np
import polars as pl

from amiss.simulate import browsers
from amiss.simulate.days import CIRCUMSTANCES, DAY, Plan
from amiss.simulate.logins import Simulated
from amiss.simulate.people import SLOTS
from amiss.simulate.world import Flags, Floats, Ints, Keys, World

SPAN: Final = 10**10
"""More milliseconds than a log has."""

LINE_SIX: Final = 2.0**-24
USUAL, VERY = 60, 40
"""Into how many steps the days are cut that devices are late as usual, and much later."""

SPRAYING: Final = 3_600_000
"""Milliseconds within which others on the same line make a crowd."""


@dataclass(frozen=True)
class Log:
    """The logins that succeeded, in order of time: arrays by number.

    Attributes
    ----------
    position
        Of the event in the log.
    time, day
        Microseconds, and days since the one before the log.
    pool, line
        The pool of the address; the address itself, or the first half of it where it is `six` (IPv6).
    text
        The number of the user agent among `texts`.
    own, circumstance, slot
        Whether it is the user's own, where the user was, on which of their devices (-1: somebody else's).
    crowd
        Whether somebody else tried to log in from the same line within the hour before.
    """

    position: Ints
    user: Ints
    time: Ints
    day: Ints
    pool: Ints
    line: Keys
    six: Flags
    text: Ints
    texts: tuple[str, ...]
    own: Flags
    circumstance: Ints
    slot: Ints
    crowd: Flags

    def __len__(self) -> int:
        return len(self.user)

    @property
    def ms(self) -> Ints:
        """Milliseconds since the day before the log."""
        found: Ints = (self.time - (self.time[0] // DAY - self.day[0]) * DAY) // 1000
        return found

    def number(self, codes: Ints) -> Ints:
        """The numbers of the texts that codes of user agents stand for; -1 for what is not in the log."""
        kinds, which = np.unique(codes, return_inverse=True)
        known = {text: number for number, text in enumerate(self.texts)}
        return np.array([known.get(text, -1) for text in browsers.texts(kinds)])[which]


def observed(made: Simulated, plan: Plan) -> Log:
    """The logins of a simulation that succeeded, with what is known of each."""
    numbered = pl.concat([made.events.with_row_index("position", 1), made.circumstances], how="horizontal")
    tried = numbered.filter(pl.col("action") == "login")
    pool, line, six = located(plan.places, tried["ip"])
    user, time = _users(tried), tried["time"].dt.epoch("us").to_numpy()
    crowd, rows = _crowd(user, time // 1000, line), (tried["outcome"] == "success").to_numpy()
    events, user, time = tried.filter(pl.Series(rows)), user[rows], time[rows]
    texts = tuple(events["user_agent"].unique().sort())
    device = events["device"].fill_null(-1).to_numpy()
    return Log(
        position=events["position"].cast(pl.Int64).to_numpy(),
        user=user,
        time=time,
        day=(time - plan.start) // DAY,
        pool=pool[rows],
        line=line[rows],
        six=six[rows],
        text=_numbers(events["user_agent"], texts),
        texts=texts,
        own=(events["circumstance"] != "attack").to_numpy(),
        circumstance=_numbers(events["circumstance"], CIRCUMSTANCES),
        slot=np.where(device // len(SLOTS) == user, device % len(SLOTS), -1),
        crowd=crowd[rows],
    )


def _users(events: pl.DataFrame) -> Ints:
    """The numbers of users, by which they are named."""
    return events["user"].str.slice(1).cast(pl.Int64).to_numpy() - 1


def _numbers(texts: pl.Series, known: Sequence[str]) -> Ints:
    """The place of each text among those known."""
    return texts.replace_strict(known, range(len(known)), return_dtype=pl.Int64).to_numpy()


def _crowd(user: Ints, ms: Ints, line: Keys) -> Flags:
    """Whether another user logged in from the same line, or tried to, within the hour before."""
    order = np.lexsort((ms, line))
    same = (line[order][1:] == line[order][:-1]) & (ms[order][1:] - ms[order][:-1] < SPRAYING)
    found = np.zeros(len(user), np.bool_)
    found[order[1:]] = same & (user[order][1:] != user[order][:-1])
    return found


def located(places: World, address: pl.Series) -> tuple[Ints, Keys, Flags]:
    """Pool and line of addresses, and whether they are IPv6."""
    six = address.str.contains(":", literal=True).to_numpy()
    line, pool = np.zeros(len(address), np.uint64), np.zeros(len(address), np.int64)
    line[~six] = _joined(address.filter(pl.Series(~six)).str.split("."), 4, 8, 10)
    line[six] = _joined(address.filter(pl.Series(six)).str.split(":"), 4, 16, 16)
    starts = np.array([item.start for item in places.pools], np.uint64)
    prefixes = np.array([item.prefix for item in places.pools], np.uint64)
    for rows, begin, shift in ((~six, starts, 0), (six, prefixes, 24)):
        order = np.argsort(begin, kind="stable")
        pool[rows] = order[np.searchsorted(begin[order], line[rows] >> np.uint64(shift), side="right") - 1]
    return pool, line, six


def _joined(parts: pl.Series, count: int, bits: int, base: int) -> Keys:
    """The first numbers of lists of texts as one."""
    number = np.zeros(len(parts), np.uint64)
    for nth in range(count):
        number = number << np.uint64(bits) | parts.list.get(nth).str.to_integer(base=base).to_numpy().astype(np.uint64)
    return number


def lines(places: World, pool: Ints, key: Keys, six: Flags) -> Keys:
    """The lines that keys stand for in pools, as addresses have them (:meth:`~World.addresses`)."""
    starts = np.array([item.start for item in places.pools], np.uint64)[pool]
    sizes = np.array([1 << (item.bits - 8) for item in places.pools], np.uint64)[pool]
    four = starts + key // np.uint64(254) % sizes * np.uint64(256) + key % np.uint64(254) + np.uint64(1)
    prefixes = np.array([item.prefix for item in places.pools], np.uint64)[pool]
    low = (key >> np.uint64(8)) % np.uint64(0xFFFF) + np.uint64(1)
    found: Keys = np.where(six, prefixes << np.uint64(24) | (key & np.uint64(0xFF)) << np.uint64(16) | low, four)
    return found


def alike(places: World, pool: Ints, six: Flags) -> Floats:
    """The chance of a line of a pool where all are as likely."""
    four = np.array([1 / (254 << (item.bits - 8)) for item in places.pools])[pool]
    return np.where(six, LINE_SIX, four)


@dataclass(frozen=True)
class Times:
    """When keys were seen, in order of key and time."""

    order: Ints
    whole: Ints

    @classmethod
    def of(cls, key: Ints, ms: Ints) -> Times:
        """Of keys at milliseconds."""
        whole = key * SPAN + ms
        order = np.argsort(whole, kind="stable")
        return cls(order, whole[order])

    def last(self, key: Ints, ms: Ints) -> Ints:
        """The number of the last one of the same key before, -1 where there is none."""
        place = np.searchsorted(self.whole, key * SPAN + ms) - 1
        there = (place >= 0) & (self.whole[place] // SPAN == key)
        return np.where(there, self.order[place], -1)

    def between(self, key: Ints, since: Ints, until: Ints) -> Ints:
        """How many of the same key there are from one moment until before another."""
        low, high = (np.searchsorted(self.whole, key * SPAN + np.maximum(each, 0)) for each in (since, until))
        counts: Ints = high - low
        return counts


def shown(log: Log, days: int, push: float) -> Floats:
    """The chance of each text (days, texts, browsers) on a day where all that is known of a device is its browser."""
    late = [NormalDist(1.1, 0.8).inv_cdf((number + 0.5) / USUAL) for number in range(USUAL)]
    lag = np.concatenate([np.exp(late), np.linspace(100, 900, VERY)])
    weight = np.repeat([0.97 / USUAL, 0.03 / VERY], [USUAL, VERY])
    table = np.zeros((days, len(log.texts), len(browsers.BROWSERS)))
    began = log.time[0] // DAY - log.day[0]
    day, lags, weights = np.repeat(np.arange(days), len(lag)), np.tile(lag, days), np.tile(weight, days)
    kinds = [(number, each) for number, browser in enumerate(browsers.BROWSERS) for each in range(browser.variants)]
    for (number, variant), of_day in product(kinds, (0.0, 1.0)):
        which = np.full(len(day), number), np.full(len(day), variant)
        text = log.number(browsers.agents(*which, lags, day + began + of_day, pushed=push, soon=0.5))
        there = text >= 0
        share = weights[there] / browsers.BROWSERS[number].variants / 2
        np.add.at(table[:, :, number], (day[there], text[there]), share)
    return table
