"""Attackers of simulated logins: from anywhere, from the same country, at many users in turn, in stolen sessions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np

from amiss.simulate.days import ATTACK, Logins, Plan, agents
from amiss.simulate.people import COMPUTER, PHONE
from amiss.simulate.world import BROADBAND, HOSTING, MOBILE, Ints, drawn, mixed

KINDS: Final = ("world", "country", "spray", "theft")
"""What attackers do: log in from any other country; from the country of the user; try many users from a few addresses;
go on with a session of the user, in whose browser, from elsewhere."""

MINUTE: Final = 60_000_000
NETWORKS: Final = (HOSTING, BROADBAND, MOBILE)
NETWORK_SHARES: Final = (0.4, 0.4, 0.2)
NEAR_SHARES: Final = (0.2, 0.5, 0.3)
BURST: Final = 3
"""The most logins of an attacker with one user."""

SPRAYED: Final = (40, 250)
"""How many users a spray tries."""


class Attacks(NamedTuple):
    """Logins of attackers, with which attack each belongs to, what kind that is, and whether the login succeeded."""

    logins: Logins
    incident: Ints
    kind: Ints
    succeeded: Ints


@dataclass(frozen=True)
class _Row:
    """One login of an attacker."""

    user: int
    time: int
    city: int
    pool: int
    key: int
    agent: int
    succeeded: bool = True


@dataclass(frozen=True)
class Field:
    """What attackers find: the real logins, in order of time, and the time from which on they come."""

    plan: Plan
    logins: Logins
    begin: int

    @cached_property
    def rows(self) -> tuple[Ints, Ints]:
        """The logins by user, and where those of each user begin."""
        users = self.logins.user
        return np.argsort(users, kind="stable"), np.searchsorted(np.sort(users), np.arange(len(self.plan.people) + 1))

    def of(self, user: int) -> Ints:
        """The logins of a user, in order of time."""
        order, starts = self.rows
        return order[starts[user] : starts[user + 1]]

    @cached_property
    def victims(self) -> Ints:
        """The users with logins in that time."""
        return np.unique(self.logins.user[self.logins.time >= self.begin])


def attack(field: Field, kinds: Sequence[str], wanted: int, random: np.random.Generator) -> Attacks:
    """As many logins of attackers that succeed as wanted, each kind its part, and those of sprays that fail."""
    rows: list[tuple[_Row, int, int]] = []
    incident = 0
    if not field.victims.size:
        return _collected(rows)
    for place, kind in enumerate(kinds):
        left = wanted * (place + 1) // len(kinds) - wanted * place // len(kinds)
        while left > 0:
            burst = _cut(list(_BURSTS[kind](field, random)), left)
            left -= sum(row.succeeded for row in burst)
            rows += [(row, incident, KINDS.index(kind)) for row in burst]
            incident += 1
    return _collected(rows)


def _cut(rows: list[_Row], left: int) -> list[_Row]:
    """The rows up to the last success that is still wanted; the failures stay."""
    done = np.cumsum([row.succeeded for row in rows])
    return [row for row, count in zip(rows, done, strict=True) if not row.succeeded or count <= left]


def _collected(rows: list[tuple[_Row, int, int]]) -> Attacks:
    """The rows as arrays."""

    def column(name: str) -> Ints:
        return np.array([getattr(row, name) for row, _, _ in rows], np.int64)

    count = len(rows)
    logins = Logins(
        column("user"), column("time"), np.full(count, ATTACK), column("pool"), column("key").astype(np.uint64),
        mixed(column("key")), column("key") % 5 == 0,
        np.full(count, -1), column("agent"),
    )  # fmt: skip
    incident, kind = (np.array([row[place] for row in rows], np.int64) for place in (1, 2))
    return Attacks(logins, incident, kind, column("succeeded"))


def _burst(
    field: Field,
    victim: tuple[int, int],
    city: int,
    agent: int,
    shares: Sequence[float],
    *,
    random: np.random.Generator,
) -> Iterator[_Row]:
    """One to three logins from one address."""
    user, time = victim
    pool, key = _line(field, city, shares, random)
    for _ in range(random.integers(1, BURST + 1)):
        if time >= field.plan.end:
            return
        yield _Row(user, time, city, pool, key, agent)
        time += int(random.exponential(12 * MINUTE)) + MINUTE // 4


def _line(field: Field, city: int, shares: Sequence[float], random: np.random.Generator) -> tuple[int, int]:
    """A pool of the city and a line in it."""
    kind = NETWORKS[int(drawn(random, shares, 1)[0])]
    rank = random.integers(0, 2, 1)
    pool = field.plan.places.pool_in(np.array([city]), kind, rank)
    return int(pool[0]), int(random.integers(0, 2**62))


def _world(field: Field, random: np.random.Generator) -> Iterator[_Row]:
    """From any other country, with any usual browser."""
    user, time = _victim(field, random)
    places = field.plan.places
    home = places.country[field.plan.people.city[user, 0]]
    city = int(drawn(random, places.city_weight * (places.country != home), 1)[0])
    yield from _burst(field, (user, time), city, _any_agent(field, time, random), NETWORK_SHARES, random=random)


def _country(field: Field, random: np.random.Generator) -> Iterator[_Row]:
    """From the user's country, half of them from the user's city, with a browser that is common there."""
    user, time = _victim(field, random)
    home = int(field.plan.people.city[user, 0])
    city = home if random.random() < 0.5 else _in_country(field, home, random)
    agent = _any_agent(field, time, random, near=home)
    yield from _burst(field, (user, time), city, agent, NEAR_SHARES, random=random)


def _spray(field: Field, random: np.random.Generator) -> Iterator[_Row]:
    """One to three addresses try many users, one password each; a few of those fit."""
    victims = field.victims
    count = min(len(victims), int(random.integers(*SPRAYED)))
    chosen = random.permutation(victims)[:count]
    time = int(random.integers(field.begin, field.plan.end))
    city = int(drawn(random, field.plan.places.city_weight, 1)[0])
    sources = [_line(field, city, (0.8, 0.2, 0.0), random) for _ in range(random.integers(1, 4))]
    agent = _any_agent(field, time, random)
    fits = set(random.permutation(count)[: random.integers(1, 5)].tolist())
    for number, user in enumerate(chosen.tolist()):
        pool, key = sources[number % len(sources)]
        for again in range(random.integers(1, BURST + 1) if number in fits else 1):
            if time + again * MINUTE < field.plan.end:
                yield _Row(user, time + again * MINUTE, city, pool, key, agent, succeeded=number in fits)
        time += int(random.exponential(8_000_000)) + 200_000


def _theft(field: Field, random: np.random.Generator) -> Iterator[_Row]:
    """From elsewhere, in the browser of a login of the user in the hours before; half from the same country."""
    victim = int(random.choice(field.victims))
    rows = field.of(victim)
    row = int(random.choice(rows[field.logins.time[rows] >= field.begin]))
    time = int(field.logins.time[row]) + int(random.uniform(5, 360) * MINUTE)
    places, home = field.plan.places, int(field.plan.people.city[victim, 0])
    other = int(drawn(random, places.city_weight * (places.country != places.country[home]), 1)[0])
    city = other if random.random() < 0.5 else _in_country(field, home, random)
    yield from _burst(field, (victim, time), city, int(field.logins.agent[row]), NETWORK_SHARES, random=random)


def _victim(field: Field, random: np.random.Generator) -> tuple[int, int]:
    """A user, and a time between the first login of the user and the last."""
    user = int(random.choice(field.victims))
    times = field.logins.time[field.of(user)]
    return user, int(random.integers(max(int(times[0]), field.begin), int(times[-1]) + 1))


def _in_country(field: Field, home: int, random: np.random.Generator) -> int:
    """Another city of the country, or the same one where there is no other."""
    places = field.plan.places
    inside = (places.country == places.country[home]) & (np.arange(len(places.country)) != home)
    return int(drawn(random, places.city_weight * inside, 1)[0]) if inside.any() else home


def _any_agent(field: Field, time: int, random: np.random.Generator, near: int | None = None) -> int:
    """The user agent that some user has at that time, of the same country where asked for."""
    people, places = field.plan.people, field.plan.places
    user = random.integers(0, len(people), 1)
    if near is not None:
        user = random.choice(np.flatnonzero(places.country[people.city[:, 0]] == places.country[near]), 1)
    slot = np.array([random.choice([PHONE, COMPUTER])])
    slot = np.where(people.devices.browser[user, slot] < 0, PHONE, slot)
    return int(agents(field.plan, user, slot, np.array([time]))[0])


_BURSTS: Final = {"world": _world, "country": _country, "spray": _spray, "theft": _theft}
