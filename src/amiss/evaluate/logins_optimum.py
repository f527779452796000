"""How much likelier simulated logins are of attackers than of their users, to who knows how both are made.

The optimum is the likelihood ratio of a login (Neyman and Pearson 1933: no test of single logins catches more at as
many false alarms): how often attackers make such a login of the user at such a time, by how often the user does. It
knows each user (homes, office, second home, friends, lines, devices and how late they update, hours, how often they log
in), how often trips, moves, new and borrowed devices and days in a VPN come, what networks are for, and how attackers
choose victim, time, place, network and browser. When trips, moves and new devices come it does not know, but is told
after each login whose it was; *foreseen*, it knows all dates and addresses to come.

Where it errs: being told makes it better than anybody who judges a log can be. It judges single logins; two of the same
attacker within minutes say more than one, wrong passwords before a login speak for the user, and neither is used, so
that one who knows all might be a little better. That the address has just tried others is used in a rough way.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl

from amiss.evaluate.logins_lives import Lives
from amiss.evaluate.logins_seen import Log, Times, observed
from amiss.simulate.attackers import KINDS, NEAR_SHARES, NETWORK_SHARES, NETWORKS
from amiss.simulate.days import DAY, Plan, agents
from amiss.simulate.logins import Simulated
from amiss.simulate.people import COMPUTER, PHONE
from amiss.simulate.world import VPN, Flags, Floats, Ints

LEAST: Final = 2.0**-100
"""The lowest chance, so that bits are numbers."""

SPRAY_SHARES: Final = (0.8, 0.2, 0.0)
THEIR_SIX: Final = 0.2
SINCE, UNTIL = 390 * 60_000, 5 * 60_000
"""Milliseconds since a login within which a thief of its session comes; those who come twice are half an hour later."""

SPREAD: Final = 355 / 1440
"""Days within which a thief first comes."""

CROWD: Final = 0.5
"""How likely the line is of a spray that is under way there."""

SMOOTH: Final = 0.02
"""How much of attackers' browsers is taken from what browsers are like, where nobody is known to have such a one."""


def optimum(made: Simulated, plan: Plan, *, since: int, foreseen: bool = False, kinds: bool = True) -> pl.DataFrame:
    """The bits of logins that succeeded: `position`, `optimum`.

    Parameters
    ----------
    made
        A simulation.
    plan
        The lives behind it, as :func:`amiss.simulate.logins.planned` gives them.
    since
        The day, from 0, from which on attackers come.
    foreseen, kinds
        As for :class:`~amiss.evaluate.logins_lives.Lives`.
    """
    log = observed(made, plan)
    lives = Lives(plan, log, foreseen, kinds)
    attackers = Attackers(lives, since)
    users = plan.people.rate
    own = lives.pace() * lives.chances() / (users.sum() * attackers.days)
    theirs = attackers.chances() / (len(users) * len(KINDS))
    bits = np.log2(theirs + LEAST) - np.log2(own + LEAST)
    return pl.DataFrame({"position": log.position, "optimum": bits})


@dataclass(frozen=True)
class Attackers:
    """What is known of attackers: how often they make such logins of a user at such times.

    Parameters
    ----------
    lives
        Those of their victims.
    since
        The day from which on they come.
    """

    lives: Lives
    since: int

    @property
    def log(self) -> Log:
        """The logins."""
        return self.lives.log

    @property
    def days(self) -> float:
        """For how long they come."""
        return (self.lives.plan.end - self.lives.plan.begin) / DAY - self.since

    def chances(self) -> Floats:
        """By login how often attackers of all kinds make it, per day of time, of all that they make of the user."""
        anybody, neighbour = self.browsers, self.browsers_of_country
        world = self.abroad * self.network(NETWORK_SHARES) * anybody
        country = (0.5 * self.same_city + 0.5 * self.other_city) * self.network(NEAR_SHARES) * neighbour
        spray = self.everywhere * self.network(SPRAY_SHARES) * anybody
        theft = (0.5 * self.abroad + 0.5 * self.other_city) * self.network(NETWORK_SHARES) * self.stolen()
        line = self.lives.anywhere(np.ones(len(self.log), np.bool_), THEIR_SIX)
        chances: Floats = line * ((world + country) / self.days + theft)
        return chances + np.where(self.log.crowd, CROWD, line) * spray / self.days

    # Where.

    @cached_property
    def _weight(self) -> Floats:
        """The share of each login's city of all who are online."""
        weight = self.lives.places.city_weight
        shares: Floats = (weight / weight.sum())[self.lives.there]
        return shares

    @cached_property
    def _at_home(self) -> Flags:
        """Whether logins are from the country in which the user lived at first."""
        country = self.lives.places.country
        same: Flags = country[self.lives.there] == country[self._home]
        return same

    @property
    def _home(self) -> Ints:
        """Where the user lived at first."""
        found: Ints = self.lives.people.city[self.log.user, 0]
        return found

    @property
    def everywhere(self) -> Floats:
        """Any city of the world."""
        return self._weight

    @property
    def abroad(self) -> Floats:
        """A city of another country."""
        places = self.lives.places
        inside = np.bincount(places.country, places.city_weight)[places.country[self._home]] / places.city_weight.sum()
        return np.where(self._at_home, 0.0, self._weight / (1 - inside))

    @property
    def same_city(self) -> Flags:
        """The user's own city."""
        found: Flags = self.lives.there == self._home
        return found

    @property
    def other_city(self) -> Floats:
        """Another city of the user's country, where there is one."""
        places = self.lives.places
        inside = np.bincount(places.country, places.city_weight)[places.country[self._home]]
        others = inside - places.city_weight[self._home]
        share = places.city_weight[self.lives.there] / np.where(others > 0, others, 1.0)
        return np.where(others > 0, self._at_home & ~self.same_city, 0.0) * share + (others <= 0) * self.same_city

    def network(self, shares: tuple[float, ...]) -> Floats:
        """How likely the pool is, given its city, where attackers come from kinds of networks in these shares."""
        if not self.lives.kinds:
            return self.lives.ranked(VPN, np.ones(1))
        ranks = np.ones(2)
        found: Floats = np.sum(
            [share * self.lives.ranked(kind, ranks) for kind, share in zip(NETWORKS, shares, strict=True)], axis=0
        )
        return found

    # With what.

    @cached_property
    def _devices(self) -> Ints:
        """The user agents of the phones and the computers of all users at noon of each day, (day, user, 2)."""
        people, plan = self.lives.people, self.lives.plan
        days, users = int(self.log.day.max()) + 1, np.arange(len(people))
        computer = np.where(people.devices.browser[:, COMPUTER] >= 0, COMPUTER, PHONE)
        told = np.empty((days, len(users), 2), np.int64)
        for day in range(days):
            noon = np.full(len(users), plan.start + day * DAY + DAY // 2)
            for column, slot in enumerate((np.full(len(users), PHONE), computer)):
                told[day, :, column] = self.log.number(agents(plan, users, slot, noon))
        return told

    @cached_property
    def browsers(self) -> Floats:
        """The user agent of some user's phone or computer."""
        return self._counted(np.zeros(len(self.lives.people), np.int64), np.zeros(len(self.log), np.int64))

    @cached_property
    def browsers_of_country(self) -> Floats:
        """The user agent of that of somebody in the same country."""
        country = self.lives.places.country[self.lives.people.city[:, 0]]
        return self._counted(country, country[self.log.user])

    def _counted(self, group: Ints, asked: Ints) -> Floats:
        """The share of the devices of a group that show the user agent on the day."""
        texts, groups = len(self.log.texts), int(group.max()) + 1
        size = 2 * np.bincount(group, minlength=groups)[asked]
        counts = np.zeros(len(self.log))
        for day in np.unique(self.log.day):
            shown, rows = self._devices[day], self.log.day == day
            known = shown >= 0
            table = np.bincount((group[:, None] * texts + shown)[known], minlength=groups * texts)
            counts[rows] = table[asked[rows] * texts + self.log.text[rows]]
        return (1 - SMOOTH) * counts / size + SMOOTH * self._usual

    @cached_property
    def _usual(self) -> Floats:
        """The user agent of phones and computers in the user's country."""
        return 0.5 * (self.lives.phones(self._home) + self.lives.computers())

    def stolen(self) -> Floats:
        """How often thieves come at such a time with the browser of one of the user's logins, per day."""
        log, own = self.log, self.log.own
        key = log.user * len(log.texts) + log.text
        taken = Times.of(key[own], log.ms[own]).between(key, log.ms - SINCE, log.ms - UNTIL)
        expected = np.maximum(self.lives.people.rate[log.user] * self.days, 1.0)
        told: Floats = taken / expected / SPREAD
        return told
