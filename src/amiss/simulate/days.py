"""The days of simulated users: when and where they log in, from which network, on which device."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np

from amiss.simulate import browsers
from amiss.simulate.people import (
    COMPUTER,
    HOUR,
    NEW_COMPUTER,
    NEW_PHONE,
    PEAK_SHARES,
    PEAKS,
    PHONE,
    SECOND,
    SLOTS,
    TABLET,
    WORK,
    Life,
    People,
    Trips,
)
from amiss.simulate.world import (
    BROADBAND,
    BUSINESS,
    MOBILE,
    Flags,
    Ints,
    Keys,
    World,
    drawn_by_row,
    mixed,
)

CIRCUMSTANCES: Final = (
    *(
        "home",
        "office",
        "mobile",
        "second home",
        "cafe",
        "trip",
        "trip mobile",
        "vpn",
        "office vpn",
        "borrowed",
        "attack",
    ),
)
HOME, OFFICE, MOBILE_NET, SECOND_HOME, CAFE, TRIP, TRIP_MOBILE, VPN_EXIT, OFFICE_VPN, BORROWED, ATTACK = range(
    len(CIRCUMSTANCES)
)
DAY: Final = 86_400_000_000
ATTACH_HOURS: Final = 3
"""How long a phone keeps an address of its carrier."""


@dataclass
class Logins:
    """Logins by number: who, when (microseconds UTC), in which circumstance, from where, on which device."""

    user: Ints
    time: Ints
    circumstance: Ints
    pool: Ints
    key: Keys
    host: Keys
    six: Flags
    device: Ints
    agent: Ints
    """The code of the user agent."""

    def __len__(self) -> int:
        return len(self.user)

    def part(self, rows: Ints | Flags) -> Logins:
        """Some of them."""
        return Logins(*(getattr(self, item.name)[rows] for item in fields(self)))


def joined(parts: list[Logins]) -> Logins:
    """Logins one behind the other."""
    return Logins(*(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(Logins)))


@dataclass(frozen=True)
class Plan:
    """What the days of all users need.

    `begin` and `end` (microseconds UTC) enclose the log. Its days are lived with one more before and behind, so that
    all zones fill them; numbers of days count from that one before, the midnight of which is `start`.
    """

    places: World
    life: Life
    people: People
    trips: Trips
    begin: int
    end: int
    push: float
    """The day of the release that everybody gets at once, since 1970."""

    @property
    def start(self) -> int:
        """The midnight that days count from."""
        return self.begin - DAY

    @property
    def days(self) -> int:
        """How many days are lived."""
        return (self.end - self.start) // DAY + 1

    def within(self, logins: Logins) -> Logins:
        """Those in the log."""
        return logins.part((logins.time >= self.begin) & (logins.time < self.end))


def live(plan: Plan, random: np.random.Generator) -> Logins:
    """The logins of all users, in order of time."""
    user, day, office = _planned(plan, random)
    local, office = _clock(plan, user, day, office, random)
    moved = _located(plan, user, local)
    kept = moved.time >= 0
    user, local, office = user[kept], local[kept], office[kept]
    moved = _Located(moved.time[kept], moved.trip[kept])
    circumstance = _circumstance(plan, user, moved, office, random)
    logins = _from_networks(plan, user, moved, circumstance, random)
    logins = _on_devices(plan, logins, random)
    return plan.within(logins.part(np.argsort(logins.time, kind="stable")))


def _planned(plan: Plan, random: np.random.Generator) -> tuple[Ints, Ints, Flags]:
    """Who wants to log in on which day, and whether at the office."""
    people, days = plan.people, np.arange(plan.days)
    rest = _rests(plan)
    works = (people.office[:, None] >= 0) & ~rest & (random.random(rest.shape) >= people.remote[:, None])
    there = (days >= people.joins[:, None]) & (days < people.leaves[:, None])
    there &= ~((days >= people.away[:, None]) & (days < (people.away + people.away_days)[:, None]))
    factor = np.where(rest, np.where(people.office >= 0, 0.35, 1.1)[:, None], 1.0) * there
    count = random.poisson(people.rate[:, None] * factor)
    user, day = np.repeat(np.indices(count.shape).reshape(2, -1), count.ravel(), axis=1)
    return user, day, works[user, day] & (random.random(len(user)) < 0.68)


def _rests(plan: Plan) -> Flags:
    """Whether a day is one of rest, by user and day."""
    weekday = (plan.start // DAY + 3 + np.arange(plan.days)) % 7
    by_country = np.array([np.isin(weekday, rest) for rest in plan.places.weekends])
    return by_country[plan.places.country[plan.people.city[:, 0]]]


def _clock(plan: Plan, user: Ints, day: Ints, office: Flags, random: np.random.Generator) -> tuple[Ints, Flags]:
    """Local times in microseconds, and whether at the office: first thing in the morning, or any time of work."""
    people, count = plan.people, len(user)
    first = random.random(count) < 0.4
    at_work = people.starts[user] + np.where(first, np.abs(random.normal(0, 0.3, count)), random.uniform(0, 8.5, count))
    peak = drawn_by_row(random, PEAK_SHARES, people.rhythm[user])
    free = PEAKS[people.rhythm[user], peak] + people.shift[user] + random.normal(0, 1.3, count)
    odd = random.random(count) < 0.02
    free = np.where(odd, random.uniform(0, 24, count), free)
    return plan.start + day * DAY + (np.where(office, at_work, free) * HOUR * 1e6).astype(np.int64), office


@dataclass(frozen=True)
class _Located:
    """Moments in UTC (-1: not possible then, in transit), and the trip that users are on (-1: none)."""

    time: Ints
    trip: Ints


def _located(plan: Plan, user: Ints, local: Ints) -> _Located:
    """When the local times are, where the user is then; nobody logs in while travelling or moving house."""
    people, trips = plan.people, plan.trips
    day = np.maximum((local - plan.start) // DAY, 0)
    time = plan.places.utc(local, people.at_home(user, day))
    time[people.moves[user] == day] = -1
    trip = np.full(len(user), -1, np.int64)
    table = _trip_of_day(plan)
    near = table[user, np.minimum(day, table.shape[1] - 1)]
    rows = np.flatnonzero(near >= 0)
    which = near[rows]
    there = plan.places.utc(local[rows], trips.city[which])
    home = (time[rows] < trips.leave[which]) | (time[rows] > trips.back[which])
    abroad = ~home & (there > trips.arrive[which]) & (there < trips.leave_again[which])
    time[rows] = np.where(home, time[rows], np.where(abroad, there, -1))
    trip[rows] = np.where(abroad, which, -1)
    return _Located(time, trip)


def _trip_of_day(plan: Plan) -> Ints:
    """The trip whose days of going, staying or coming a day is one of, by user and day; -1 where there is none."""
    trips = plan.trips
    table = np.full((len(plan.people), plan.days + 4), -1, np.int64)
    length = trips.last - trips.first + 4
    number = np.repeat(np.arange(len(length)), length)
    day = trips.first[number] + np.arange(len(number)) - np.repeat(np.cumsum(length) - length, length)
    kept = day < table.shape[1]
    table[trips.user[number[kept]], day[kept]] = number[kept]
    return table


def _circumstance(plan: Plan, user: Ints, moved: _Located, office: Flags, random: np.random.Generator) -> Ints:
    """In which circumstance each login is."""
    people, chance = plan.people, random.random(len(user))
    out = 0.6 * people.mobility[user]
    chosen = np.select(
        [office, chance < out, chance < out + 0.02], [OFFICE, MOBILE_NET, CAFE], np.full(len(user), HOME)
    )
    visiting = (people.second[user] >= 0) & (chance > 0.8)
    chosen[visiting & (chosen == HOME)] = SECOND_HOME
    chosen[(chosen == HOME) & _office_vpn(plan, user, random)] = OFFICE_VPN
    chosen[(chosen != OFFICE) & (random.random(len(user)) < plan.life.borrowed)] = BORROWED
    away = moved.trip >= 0
    chosen = np.where(away, np.where(random.random(len(user)) < 0.3, TRIP_MOBILE, TRIP), chosen)
    return np.where(_vpn_day(plan, user, moved.time, random) & ~np.isin(chosen, (OFFICE, OFFICE_VPN)), VPN_EXIT, chosen)


def _office_vpn(plan: Plan, user: Ints, random: np.random.Generator) -> Flags:
    """Whether a login at home goes through the office."""
    office = plan.people.office[user]
    return (office >= 0) & plan.people.offices.has_vpn[office] & (random.random(len(user)) < 0.3)


def _vpn_day(plan: Plan, user: Ints, time: Ints, random: np.random.Generator) -> Flags:
    """Whether the user goes through a VPN on that day; a tenth of logins on such days do not."""
    people = plan.people
    today = mixed(people.key[user, 0], time // DAY, 3) >> np.uint64(11)
    return (today / float(1 << 53) < people.vpn[user]) & (random.random(len(user)) < 0.9)


def _from_networks(plan: Plan, user: Ints, moved: _Located, circumstance: Ints, random: np.random.Generator) -> Logins:
    """Logins with pool and line; devices are still to come."""
    places, people, trips = plan.places, plan.people, plan.trips
    day = moved.time // DAY - plan.start // DAY
    side = (day >= people.moves[user]).astype(np.int64)
    city = people.city[user, side]
    own, second = people.key[user, side], np.maximum(people.second[user], 0)
    lease = (day + (people.key[user, 0] % np.uint64(4000)).astype(np.int64)) // people.lease[user]
    attach = mixed(people.key[user, 0], moved.time // (ATTACH_HOURS * 3600 * 10**6), 5)
    anyone, office = random.integers(0, 2**62, len(user)).astype(np.uint64), people.office[user]
    desk = people.offices.key[office] + anyone % people.offices.addresses[office].astype(np.uint64)
    exits, line = _exit(plan, user, moved.time)
    pools = {
        HOME: people.pool[user, side],
        OFFICE: people.offices.pool[office],
        MOBILE_NET: places.pool_in(city, MOBILE, people.mobile[user]),
        SECOND_HOME: places.pool_in(city, BROADBAND, second),
        CAFE: places.pool_in(city, BUSINESS, user % 2),
        TRIP: trips.there[moved.trip] if len(trips.there) else city,
        TRIP_MOBILE: trips.mobile[moved.trip] if len(trips.mobile) else city,
        VPN_EXIT: exits,
        OFFICE_VPN: people.offices.pool[office],
        BORROWED: places.pool_in(city, BROADBAND, (anyone % np.uint64(4)).astype(np.int64)),
    }
    keys = {
        HOME: mixed(own, lease),
        OFFICE: desk,
        MOBILE_NET: attach,
        SECOND_HOME: mixed(people.key[user, 1], 9),
        CAFE: mixed(city, mixed(own, anyone % np.uint64(3)) % np.uint64(40), 13),
        TRIP: trips.key[moved.trip] if len(trips.key) else own,
        TRIP_MOBILE: attach,
        VPN_EXIT: line,
        OFFICE_VPN: desk,
        BORROWED: anyone,
    }
    wired = np.isin(circumstance, (HOME, SECOND_HOME, BORROWED)) & people.six[user] & (anyone % np.uint64(20) > 0)
    wireless = np.isin(circumstance, (MOBILE_NET, TRIP_MOBILE)) & people.mobile_six[user]
    nothing = np.zeros(len(user), np.int64)
    return Logins(
        user, moved.time, circumstance, np.choose(circumstance, list(pools.values())),
        np.choose(circumstance, list(keys.values())), anyone, wired | wireless, nothing, nothing,
    )  # fmt: skip


def _exit(plan: Plan, user: Ints, time: Ints) -> tuple[Ints, Keys]:
    """The exit of the VPN that users take on a day: mostly the one they like best; and the line there."""
    people, places = plan.people, plan.places
    today = mixed(people.key[user, 0], time // DAY, 17)
    usual = today % np.uint64(10) < 6
    share = np.where(usual, people.vpn_exit[user], (today >> np.uint64(11)) / float(1 << 53))
    pool = np.zeros(len(user), np.int64)
    for brand, (exits, shares) in enumerate(places.exits):
        rows = people.vpn_brand[user] == brand
        pool[rows] = exits[np.searchsorted(shares[:-1], share[rows])]
    return pool, mixed(today, time // (6 * 3600 * 10**6)) % np.uint64(40)


def _on_devices(plan: Plan, logins: Logins, random: np.random.Generator) -> Logins:
    """The logins with devices and user agents."""
    people, user = plan.people, logins.user
    day = logins.time // DAY - plan.start // DAY
    slot = _slot(plan, user, logins.circumstance, day, random)
    owner = np.where(logins.circumstance == BORROWED, random.integers(0, len(people), len(user)), user)
    slot = np.where(logins.circumstance == BORROWED, PHONE, slot)
    host = mixed(people.key[owner, 1], slot, day, 19)
    return replace(logins, host=host, device=owner * len(SLOTS) + slot, agent=agents(plan, owner, slot, logins.time))


def _slot(plan: Plan, user: Ints, circumstance: Ints, day: Ints, random: np.random.Generator) -> Ints:
    """Which of their devices users take: mostly a phone on the move, a computer at home and at work."""
    people, chance = plan.people, random.random(len(user))
    has = people.devices.browser[user] >= 0
    phone = np.where(day >= people.new_phone[user], NEW_PHONE, PHONE)
    computer = np.where(day >= people.new_computer[user], NEW_COMPUTER, COMPUTER)
    computer = np.where(has[:, SECOND] & (random.random(len(user)) < 0.25), SECOND, computer)
    desk = np.where(has[:, WORK], WORK, computer)
    moving = np.isin(circumstance, (MOBILE_NET, TRIP_MOBILE, CAFE))
    at_home = np.select([chance < 0.45, has[:, TABLET] & (chance > 0.85)], [phone, TABLET], computer)
    on_trip = np.select([chance < 0.5, chance < 0.8], [phone, desk], computer)
    tethered = np.where(chance < 0.92, phone, desk)
    at_work = np.where(chance < 0.85, desk, phone)
    through = np.where(chance < 0.3, phone, computer)
    taken = np.select(
        [moving, circumstance == OFFICE, circumstance == OFFICE_VPN, circumstance == TRIP, circumstance == VPN_EXIT],
        [tethered, at_work, desk, on_trip, through],
        at_home,
    )
    return np.where(has[np.arange(len(user)), taken], taken, phone)


def agents(plan: Plan, user: Ints, slot: Ints, time: Ints) -> Ints:
    """Codes of the user agents of users' devices at moments."""
    has, at = plan.people.devices, (user, slot)
    soon = (mixed(user, slot, 23) % np.uint64(1000)) / 1000.0
    return browsers.agents(has.browser[at], has.variant[at], has.lag[at], time / DAY, pushed=plan.push, soon=soon)
