"""Users of simulated logins: where they live and work, what they carry, when they log in, where they travel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amiss.errors import UsageError
from amiss.simulate import browsers
from amiss.simulate.world import (
    BROADBAND,
    BUSINESS,
    MOBILE,
    SHARES,
    Flags,
    Floats,
    Ints,
    Keys,
    World,
    drawn,
    drawn_by_row,
    mixed,
)

SLOTS: Final = ("phone", "new phone", "computer", "new computer", "work computer", "tablet", "second browser")
PHONE, NEW_PHONE, COMPUTER, NEW_COMPUTER, WORK, TABLET, SECOND = range(len(SLOTS))
NEVER_DAY: Final = 10**6
HOUR: Final = 3_600.0
SMALLEST_OFFICE, LARGEST_OFFICE = 4, 150

PEAKS: Final = np.array([[7.3, 12.8, 20.2], [12.5, 18.5, 22.3], [6.2, 12.0, 17.5], [15.5, 22.5, 26.8]])
"""When people of each rhythm (day, evening, morning, night) mostly log in of their own accord, local hours."""

PEAK_SHARES: Final = np.array([[0.25, 0.25, 0.5], [0.15, 0.3, 0.55], [0.45, 0.3, 0.25], [0.25, 0.35, 0.4]])
RHYTHMS: Final = (0.6, 0.2, 0.12, 0.08)
WORK_STARTS: Final = np.array([9.0, 13.0, 6.5, 21.5])


@dataclass(frozen=True)
class Life:
    """How eventful the lives of simulated users are.

    Attributes
    ----------
    logins_per_day
        Of a user on average; users differ by factors of ten.
    joining
        Share of users who come after the first day; as many leave before the last as a third of that.
    office
        Share of users who work in an office, behind an address shared with the colleagues.
    trips_per_year
        Of a user on average; one user in twelve travels six times as often as the others.
    abroad
        Share of trips that lead to another country.
    new_phones_per_year, new_computers_per_year, moves_per_year
        Of a user on average.
    ipv6
        Share of lines with IPv6, where the provider has it.
    vpn
        Share of users who have days on which they go through a VPN.
    wrong_passwords
        How many wrong passwords there are per login on average.
    borrowed
        Share of logins on a device of somebody else, in another network of the same city.
    """

    logins_per_day: float = 2.4
    joining: float = 0.12
    office: float = 0.35
    trips_per_year: float = 3.0
    abroad: float = 0.25
    new_phones_per_year: float = 0.4
    new_computers_per_year: float = 0.2
    moves_per_year: float = 0.12
    ipv6: float = 0.6
    vpn: float = 0.06
    wrong_passwords: float = 0.05
    borrowed: float = 0.00003

    def __post_init__(self) -> None:
        most = dict.fromkeys(("joining", "office", "abroad", "ipv6", "vpn", "borrowed"), 1.0)
        values = [(name, value, most.get(name, 1000.0)) for name, value in vars(self).items()]
        wrong = [f"{name} is {value:g}; expected 0 to {top:g}" for name, value, top in values if not 0 <= value <= top]
        if wrong:
            raise UsageError("\n".join(wrong))


class Offices(NamedTuple):
    """Places of work, by number: city, pool, key of the first address, how many addresses, what is installed."""

    city: Ints
    pool: Ints
    key: Keys
    addresses: Ints
    browser: Ints
    """What every computer there has, -1 when people choose themselves."""

    lag: Floats
    has_vpn: Flags


class Devices(NamedTuple):
    """What users have, by user and slot: browser (-1: no such device), its variant, how late it updates (days)."""

    browser: Ints
    variant: Ints
    lag: Floats


class Trips(NamedTuple):
    """Journeys, by number: who, where, first and last day away, and the moments of leaving and coming (microseconds).

    `there` is the pool of the place they stay at, `key` its line; `mobile` the pool of the phone.
    """

    user: Ints
    city: Ints
    first: Ints
    last: Ints
    leave: Ints
    arrive: Ints
    leave_again: Ints
    back: Ints
    there: Ints
    key: Keys
    mobile: Ints


@dataclass(frozen=True)
class People:
    """All users: arrays by number of the user; columns of `city` and `pool` are before and after moving house."""

    city: Ints
    pool: Ints
    key: Keys
    six: Flags
    lease: Floats
    moves: Ints
    mobile: Ints
    mobile_six: Flags
    joins: Ints
    leaves: Ints
    away: Ints
    away_days: Ints
    office: Ints
    offices: Offices
    rhythm: Ints
    shift: Floats
    starts: Floats
    rate: Floats
    remote: Floats
    mobility: Floats
    second: Ints
    wrong: Floats
    vpn: Floats
    vpn_brand: Ints
    vpn_exit: Floats
    new_phone: Ints
    new_computer: Ints
    devices: Devices
    traveller: Flags = field(repr=False)

    def __len__(self) -> int:
        return len(self.rate)

    def at_home(self, user: Ints, day: Ints) -> Ints:
        """The city in which users live on days."""
        return self.city[user, (day >= self.moves[user]).astype(np.int64)]


def populate(places: World, life: Life, users: int, days: int, random: np.random.Generator) -> People:
    """Users of a service that is more popular in some countries than in others."""
    popular = places.city_weight**0.6 * np.exp(random.normal(0, 0.7, len(places.countries)))[places.country]
    office, offices = _offices(places, life, users, popular, random)
    city = np.where(office >= 0, offices.city[office], drawn(random, popular, users))
    cities, moves = _moves(places, life, city, office, days=days, random=random)
    rank = drawn(random, SHARES, users)
    pools = np.stack([places.pool_in(cities[:, side], BROADBAND, rank if side == 0 else drawn(random, SHARES, users))
                      for side in range(2)], axis=1)  # fmt: skip
    joins = np.where(random.random(users) < life.joining, random.integers(0, max(days, 1), users), 0)
    leaving = random.random(users) < life.joining / 3
    rhythm = drawn(random, RHYTHMS, users)
    return People(
        city=cities,
        pool=pools,
        key=random.integers(0, 2**63, (users, 2)).astype(np.uint64),
        six=random.random(users) < life.ipv6,
        lease=random.choice([1.0, 7.0, 30.0, 4000.0], users, p=[0.15, 0.15, 0.3, 0.4]),
        moves=moves,
        mobile=drawn(random, SHARES[:3], users),
        mobile_six=random.random(users) < life.ipv6,
        joins=joins,
        leaves=np.where(leaving, joins + random.integers(1, days + 1, users), NEVER_DAY),
        away=np.where(random.random(users) < days / 180, random.integers(0, days, users), NEVER_DAY),
        away_days=random.integers(3, 15, users),
        office=office,
        offices=offices,
        rhythm=rhythm,
        shift=random.normal(0, 0.9, users),
        starts=WORK_STARTS[rhythm] + random.normal(0, 0.7, users),
        rate=_rates(life, office, random),
        remote=random.choice([0.0, 0.2, 0.4, 0.8], users, p=[0.45, 0.25, 0.2, 0.1]),
        mobility=random.beta(1.6, 3.0, users),
        second=np.where(random.random(users) < 0.12, drawn(random, SHARES, users), -1),
        wrong=random.gamma(0.8, life.wrong_passwords / 0.8, users),
        vpn=np.where(random.random(users) < life.vpn, random.choice([0.1, 0.3, 1.0], users, p=[0.5, 0.35, 0.15]), 0.0),
        vpn_brand=random.integers(0, len(places.exits), users),
        vpn_exit=random.random(users),
        new_phone=_some_day(life.new_phones_per_year, users, days, random),
        new_computer=_some_day(life.new_computers_per_year, users, days, random),
        devices=_devices(places, city, office, offices, random),
        traveller=random.random(users) < 1 / 12,
    )


def _offices(
    places: World, life: Life, users: int, popular: Floats, random: np.random.Generator
) -> tuple[Ints, Offices]:
    """The office of each user (-1: none), and the offices; most are small, few are large."""
    sizes = np.clip(SMALLEST_OFFICE * (1 + random.pareto(1.2, users)), SMALLEST_OFFICE, LARGEST_OFFICE).astype(np.int64)
    wanted = round(users * life.office)
    count = int(np.searchsorted(np.cumsum(sizes), wanted)) + 1
    office = np.full(users, -1, np.int64)
    office[:wanted] = np.repeat(np.arange(count), sizes[:count])[:wanted]
    random.shuffle(office)
    city = drawn(random, popular, count)
    managed = random.random(count) < 0.6
    installed = drawn(random, browsers.weights(browsers.OFFICE_COMPUTERS), count)
    return office, Offices(
        city,
        places.pool_in(city, BUSINESS, drawn(random, SHARES[:2], count)),
        random.integers(0, 2**60, count).astype(np.uint64),
        1 + (sizes[:count] > 30) + (sizes[:count] > 80),
        np.where(managed, installed, -1),
        random.uniform(3, 21, count),
        random.random(count) < 0.4,
    )


def _moves(
    places: World, life: Life, city: Ints, office: Ints, *, days: int, random: np.random.Generator
) -> tuple[Ints, Ints]:
    """Cities before and after moving house (users, 2), and the day of that; who has an office stays near it."""
    inside = np.arange(len(places.countries))[:, None] == places.country
    other = drawn_by_row(random, inside * places.city_weight, places.country[city])
    far = (random.random(len(city)) < 0.3) & (office < 0)
    return np.stack([city, np.where(far, other, city)], axis=1), _some_day(life.moves_per_year, len(city), days, random)


def _rates(life: Life, office: Ints, random: np.random.Generator) -> Floats:
    """Logins per day of each user."""
    raw = random.lognormal(0, 0.85, len(office)) * np.where(office >= 0, 1.4, 1.0)
    mean = np.exp(0.85**2 / 2) * (1 + 0.4 * life.office)
    rates: Floats = np.clip(raw * life.logins_per_day / mean, 0.02, 25)
    return rates


def _some_day(per_year: float, users: int, days: int, random: np.random.Generator) -> Ints:
    """The day on which something happens that happens so often a year; `NEVER_DAY` where it does not."""
    day = random.integers(0, days, users)
    return np.where(random.random(users) < per_year * days / 365, day, NEVER_DAY)


def _devices(places: World, city: Ints, office: Ints, offices: Offices, random: np.random.Generator) -> Devices:
    """The devices of all users; a new phone mostly runs what the old one ran."""
    users = len(city)
    computers, tablets = browsers.weights(browsers.COMPUTERS), browsers.weights(browsers.TABLETS)
    browser = np.full((users, len(SLOTS)), -1, np.int64)
    browser[:, PHONE] = _phones(places, city, random)
    browser[:, NEW_PHONE] = _replaced(browser[:, PHONE], _phones(places, city, random), 0.85, random)
    browser[:, COMPUTER] = np.where(random.random(users) < 0.75, drawn(random, computers, users), -1)
    browser[:, NEW_COMPUTER] = _replaced(browser[:, COMPUTER], drawn(random, computers, users), 0.7, random)
    managed = (office >= 0) & (offices.browser[office] >= 0)
    own = drawn(random, computers, users)
    browser[:, WORK] = np.where(office < 0, -1, np.where(managed, offices.browser[office], own))
    browser[:, TABLET] = np.where(random.random(users) < 0.18, drawn(random, tablets, users), -1)
    browser[:, SECOND] = np.where(random.random(users) < 0.12, drawn(random, computers, users), -1)
    lag = random.lognormal(1.1, 0.8, browser.shape)
    late = random.random(browser.shape) < 0.03
    lag[late] = random.uniform(100, 900, int(late.sum()))
    lag[:, WORK] = np.where(managed, offices.lag[office], lag[:, WORK])
    variants = np.array([item.variants for item in browsers.BROWSERS])
    return Devices(browser, random.integers(0, 1000, browser.shape) % variants[browser], lag)


def _phones(places: World, city: Ints, random: np.random.Generator) -> Ints:
    """A browser of a phone for each user, as is common in the country."""
    apple = random.random(len(city)) < places.iphones[places.country[city]]
    iphones, androids = browsers.weights(browsers.IPHONES), browsers.weights(browsers.ANDROID_PHONES)
    return np.where(apple, drawn(random, iphones, len(city)), drawn(random, androids, len(city)))


def _replaced(old: Ints, new: Ints, loyal: float, random: np.random.Generator) -> Ints:
    """What follows on the old device: mostly the same browser."""
    return np.where((random.random(len(old)) < loyal) | (old < 0), old, new)


def travel(places: World, life: Life, people: People, *, days: int, start: int, random: np.random.Generator) -> Trips:
    """The trips of all users, none of which overlap. `start` is the local midnight of the first day, microseconds."""
    user, first, last = _when(life, people, days, random)
    home = people.at_home(user, first)
    city, known = _where(places, life, home, random)
    last = last + (places.km[home, city] > 3_000) * random.integers(0, 6, len(user))
    kept = (city >= 0) & (city != home) & ~_overlapping(user, first, last, people)
    user, first, last, home, city, known = (column[kept] for column in (user, first, last, home, city, known))
    takes = _hours(places.km[home, city], random)
    leave = places.utc(_at(start, first, random.uniform(5.5, 20.5, len(user))), home)
    again = places.utc(_at(start, last, random.uniform(5.5, 20.5, len(user))), city)
    again = np.maximum(again, leave + _microseconds(takes + 1))
    there, key = _stay(places, people, user, city, known=known, random=random)
    abroad = places.country[home] != places.country[city]
    rank = np.where(abroad, drawn(random, SHARES[:3], len(user)), people.mobile[user])
    return Trips(
        user, city, first, last, leave, leave + _microseconds(takes), again, again + _microseconds(takes),
        there, key, places.pool_in(city, MOBILE, rank),
    )  # fmt: skip


def _when(life: Life, people: People, days: int, random: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Who travels, and the first and last day of it, in order."""
    mean = life.trips_per_year * days / 365 / (1 + 5 / 12)
    count = random.poisson(mean * np.where(people.traveller, 6.0, 1.0))
    user = np.repeat(np.arange(len(people)), count)
    first = random.integers(0, days, len(user))
    order = np.lexsort((first, user))
    return user, first[order], first[order] + random.geometric(0.35, len(user)) - 1


def _where(places: World, life: Life, home: Ints, random: np.random.Generator) -> tuple[Ints, Flags]:
    """Where trips lead, and whether the travellers are often there: the nearer and the larger, the more often."""
    inside = places.country[:, None] == places.country
    pull = places.city_weight**0.7 / (80 + places.km) * (places.km > 30)
    abroad = random.random(len(home)) < life.abroad
    often = (random.random(len(home)) < 0.5) & ~abroad
    usual = np.argmax(pull * inside, axis=1)[home]
    near, far = (drawn_by_row(random, pull * side, home) for side in (inside, ~inside))
    return np.where(often, usual, np.where(abroad, far, near)), often


def _overlapping(user: Ints, first: Ints, last: Ints, people: People) -> Flags:
    """Whether a trip begins before an earlier one has been over for three days, or the user moves house meanwhile."""
    span = NEVER_DAY * 4
    ends = np.maximum.accumulate(user * span + last + 3)
    early = np.zeros(len(user), np.bool_)
    early[1:] = (user[1:] * span + first[1:] <= ends[:-1]) & (user[1:] == user[:-1])
    moves = people.moves[user]
    return early | ((moves >= first - 1) & (moves <= last + 3))


def _hours(km: Floats, random: np.random.Generator) -> Floats:
    """How long a journey takes: by road or rail up to 400 km, else by air and the ways to and from airports."""
    flight = 3.5 + km / 780 + random.exponential(1.5, len(km)) + 4 * (km > 9_000)
    return np.where(km < 400, 0.7 + km / 90, flight)


def _stay(
    places: World, people: People, user: Ints, city: Ints, *, known: Flags, random: np.random.Generator
) -> tuple[Ints, Keys]:
    """Pool and line of where travellers stay: with people they know, always the same line, or in one of 30 hotels."""
    friends = places.pool_in(city, BROADBAND, user % len(SHARES))
    hotels = places.pool_in(city, BUSINESS, random.integers(0, 2, len(user)))
    key = np.where(known, mixed(people.key[user, 0], 7), mixed(city, random.integers(0, 30, len(user)), 11))
    return np.where(known, friends, hotels), key


def _at(start: int, day: Ints, hour: Floats) -> Ints:
    """The local microseconds of an hour of a day."""
    return start + (day * 24 * HOUR * 1e6).astype(np.int64) + (hour * HOUR * 1e6).astype(np.int64)


def _microseconds(hours: NDArray[np.float64]) -> Ints:
    """Hours as microseconds."""
    return (hours * HOUR * 1e6).astype(np.int64)
