"""How likely the logins of simulated users are of themselves, to who knows their lives but not the dates in them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl

from amiss.evaluate.logins_seen import Log, Times, alike, lines, shown
from amiss.simulate import browsers
from amiss.simulate.days import ATTACH_HOURS, DAY, HOME, MOBILE_NET, OFFICE_VPN, TRIP, TRIP_MOBILE, VPN_EXIT, Plan
from amiss.simulate.days import agents as agents_of
from amiss.simulate.people import (
    COMPUTER,
    HOUR,
    NEW_COMPUTER,
    NEW_PHONE,
    PEAK_SHARES,
    PEAKS,
    PHONE,
    SECOND,
    TABLET,
    WORK,
    People,
)
from amiss.simulate.world import (
    BROADBAND,
    BUSINESS,
    MOBILE,
    PROVIDERS,
    SHARES,
    VPN,
    Flags,
    Floats,
    Ints,
    Keys,
    World,
    mixed,
)

YEAR: Final = 365.0
DAY_MS: Final = 86_400_000.0
STAYS: Final = 0.65
"""The chance that who is on a trip still is a day later."""

OWN_SIX: Final = 0.95
"""How often lines with IPv6 are used with it."""

OFFICE_SHARE: Final = 0.68
EARLY: Final = 0.01
"""How much of work falls on days of rest, by who begins before a day does here."""

NIGHT: Final = 4.5
"""The hour at which days begin."""

CAFE_SHARE: Final = 0.02
SECOND_SHARE: Final = 0.2
VPN_SHARE: Final = 0.9
OUT: Final = 0.6
ON_TRIP: Final = 0.7
OFTEN, ABROAD, NEAR = 0.375, 0.25, 0.375
"""Shares of trips: to where the user is often, to other countries, elsewhere in the same one."""

HOTELS: Final = 30
CAFES: Final = 3
EXITS: Final = 40
RANKS: Final = len(SHARES)
POOLS: Final = sum(PROVIDERS.values())
"""Pools of a city, but for those of VPNs."""


@dataclass(frozen=True)
class Lives:
    """What is known of logins beforehand, and how likely they are of the users themselves.

    All is known of each user but the dates of trips, of the move, of new devices and of days in a VPN, and addresses to
    come. Whose a login was is told right after it. Left out: that who was at the office today is there again more
    likely; that nobody travels within three days of a trip; absences.

    Parameters
    ----------
    plan
        The lives.
    log
        Logins.
    foreseen
        Whether dates and addresses to come are known as well.
    kinds
        Whether it is known what networks are for; if not, all pools of a city are alike but for the users' own.
    """

    plan: Plan
    log: Log
    foreseen: bool = False
    kinds: bool = True

    @property
    def people(self) -> People:
        """The users."""
        return self.plan.people

    @property
    def places(self) -> World:
        """The world."""
        return self.plan.places

    def chances(self) -> Floats:
        """By login how likely it is of the user: of all logins of the user on a day, per day of time."""
        office = self.at_office * self.hour_of_work
        free = (1 - self.at_office) * self.hour_of_leisure
        at_home = self.home_now * (office * self._working() + free * ((1 - self.in_vpn) * self._around() + self._vpn()))
        hours = self.at_office * self._work_hour(self.there) + (1 - self.at_office) * self._leisure_hour(self.there)
        chances: Floats = at_home + hours * (1 - self.in_vpn) * self._travelling()
        return chances

    def pace(self) -> Floats:
        """By login how often the user logs in on such a day."""
        return self.people.rate[self.log.user] * np.where(self.rests, np.where(self.employed, 0.35, 1.1), 1.0)

    # What came before.

    def before(self, key: Ints, rows: Flags) -> Ints:
        """The last own login among `rows` with the same key before each login; -1 where there is none."""
        mine = np.flatnonzero(self.log.own & rows)
        if not len(mine):
            return np.full(len(self.log), -1)
        last = Times.of(key[mine], self.log.ms[mine]).last(key, self.log.ms)
        return np.where(last >= 0, mine[last], -1)

    def known(self, key: Ints, rows: Flags) -> Flags:
        """Whether there is such a login; always, if all is foreseen."""
        return np.ones(len(self.log), np.bool_) if self.foreseen else self.before(key, rows) >= 0

    def days_since(self, last: Ints) -> Floats:
        """Days since another login, or since the log began."""
        then = np.where(last >= 0, self.log.ms[last], (self.plan.begin - self.plan.start) // 1000)
        days: Floats = (self.log.ms - then) / DAY_MS
        return days

    @cached_property
    def side(self) -> Ints:
        """Whether users are known to have moved house (0 or 1), by login."""
        there = self.log.day >= self.people.moves[self.log.user]
        if self.foreseen:
            return there.astype(np.int64)
        return (self.before(self.log.user, there & (self.log.circumstance == HOME)) >= 0).astype(np.int64)

    @cached_property
    def home(self) -> Ints:
        """The city in which users are known to live."""
        return self.people.city[self.log.user, self.side]

    @cached_property
    def there(self) -> Ints:
        """The city of the pool."""
        return self._cities[self.log.pool]

    @cached_property
    def _cities(self) -> Ints:
        """The city of each pool."""
        return np.array([pool.city for pool in self.places.pools])

    # Where the user is.

    @cached_property
    def last_place(self) -> Ints:
        """The last own login that tells where the user was."""
        hidden = np.isin(self.log.circumstance, (VPN_EXIT, OFFICE_VPN))
        return self.before(self.log.user, ~hidden)

    @cached_property
    def trip(self) -> Ints:
        """The trip that the user is known to be on, or was at the last login; -1 for none."""
        now = self._trips(self.log.user, self.log.time)
        if self.foreseen:
            return now
        travels = np.isin(self.log.circumstance, (TRIP, TRIP_MOBILE)) & self.log.own
        return np.where((self.last_place >= 0) & travels[self.last_place], now[self.last_place], -1)

    def _trips(self, user: Ints, time: Ints) -> Ints:
        """The trip that users are on at times; -1 for none."""
        trips, start = self.plan.trips, self.plan.start
        which = Times.of(trips.user, np.maximum(trips.arrive - start, 0) // 1000).last(user, (time - start) // 1000)
        return np.where((which >= 0) & (time < trips.leave_again[which]), which, -1)

    @cached_property
    def in_transit(self) -> Flags:
        """Whether users are on the way to somewhere or back."""
        trips, start = self.plan.trips, self.plan.start
        left = Times.of(trips.user, np.maximum(trips.leave - start, 0) // 1000)
        which = left.last(self.log.user, (self.log.time - start) // 1000)
        away: Flags = (which >= 0) & (self.log.time <= trips.back[which]) & (self.trip < 0)
        return away

    @cached_property
    def stays(self) -> Floats:
        """How likely who is on a trip still is."""
        if self.foreseen:
            return (self.trip >= 0).astype(np.float64)
        return np.where(self.trip >= 0, STAYS ** self.days_since(self.last_place), 0.0)

    @cached_property
    def home_now(self) -> Floats:
        """How likely users are at home, or about."""
        if self.foreseen:
            moving = self._local_day(0) == self.people.moves[self.log.user]
            found: Floats = ((self.trip < 0) & ~self.in_transit & ~moving & ~self._absent()).astype(np.float64)
            return found
        came = self.plan.trips.city[self.trip] if len(self.plan.trips.city) else self.home
        back = self.days_since(self.last_place) * 24 >= travel_hours(self.places.km[came, self.home])
        return np.where(self.trip >= 0, (1 - self.stays) * back, 1.0)

    def _absent(self) -> Flags:
        """Whether users have no time for logins; the nights before and behind are left to them."""
        first, days = self.people.away[self.log.user], self.people.away_days[self.log.user]
        absent: Flags = (self._local_day(2 * NIGHT) >= first) & (self._local_day(-2 * NIGHT) < first + days)
        return absent

    def _local_day(self, hours: float) -> Ints:
        """The days on which users had it so many hours ago at home."""
        zone, days = self._offsets(self.home), (self.log.time - self.plan.start) / DAY
        return np.floor(days + (zone - hours) / 24).astype(np.int64)

    @cached_property
    def new_trip(self) -> Floats:
        """How likely the user has come on a new trip to where the login is from, were that the only goal."""
        if self.foreseen:
            return np.zeros(len(self.log))
        people, life = self.people, self.plan.life
        rate = life.trips_per_year / YEAR / (1 + 5 / 12) * np.where(people.traveller, 6.0, 1.0)[self.log.user]
        days = self.days_since(self.last_place) - travel_hours(self.places.km[self.home, self.there]) / 24
        return np.where(self.trip < 0, rate * (1 - STAYS ** np.maximum(days, 0)) / -np.log(STAYS), 0.0)

    # When.

    def _offsets(self, city: Ints) -> Floats:
        """Hours that clocks in cities are ahead of UTC at the time of each login."""
        ahead, zone = np.zeros(len(self.log)), self.places.zone[city]
        for number in np.unique(zone):
            rows = np.flatnonzero(zone == number)
            time = pl.Series(self.log.time[rows]).cast(pl.Datetime("us", "UTC"))
            local = time.dt.convert_time_zone(self.places.zones[number]).dt.replace_time_zone(None)
            ahead[rows] = (local.dt.epoch("us").to_numpy() - self.log.time[rows]) / (HOUR * 1e6)
        return ahead

    def _hour(self, city: Ints) -> Floats:
        """The hours of the day in cities."""
        hours: Floats = (self.log.time / (HOUR * 1e6) + self._offsets(city)) % 24
        return hours

    @cached_property
    def rests(self) -> Flags:
        """Whether the day is one of rest; it lasts into the night."""
        free = np.array([np.isin(np.arange(7), rest) for rest in self.places.weekends])
        weekday = (self.plan.start // DAY + 3 + self._local_day(NIGHT)) % 7
        found: Flags = free[self.places.country[self.people.city[self.log.user, 0]], weekday]
        return found

    @cached_property
    def employed(self) -> Flags:
        """Whether users have an office."""
        return self.people.office[self.log.user] >= 0

    @cached_property
    def at_office(self) -> Floats:
        """How many logins of such a day are at the office."""
        share = OFFICE_SHARE * (1 - self.people.remote[self.log.user])
        return np.where(self.employed, np.where(self.rests, EARLY, 1.0) * share, 0.0)

    @cached_property
    def hour_of_work(self) -> Floats:
        """How likely the hour is of work at home's clock, by that of any hour."""
        return self._work_hour(self.home)

    @cached_property
    def hour_of_leisure(self) -> Floats:
        """How likely the hour is of leisure at home's clock, by that of any hour."""
        return self._leisure_hour(self.home)

    def _work_hour(self, city: Ints) -> Floats:
        """How likely the hour in cities is of work."""
        since = (self._hour(city) - self.people.starts[self.log.user]) % 24
        early = 2 * np.exp(-0.5 * (since / 0.3) ** 2) / (0.3 * np.sqrt(2 * np.pi))
        hours: Floats = 24 * (0.4 * early + 0.6 * (since < 8.5) / 8.5)
        return hours

    def _leisure_hour(self, city: Ints) -> Floats:
        """How likely the hour in cities is of leisure."""
        hour, rhythm = self._hour(city), self.people.rhythm[self.log.user]
        density = np.full(len(hour), 0.02 / 24)
        for peak in range(PEAKS.shape[1]):
            off = (hour - PEAKS[rhythm, peak] - self.people.shift[self.log.user] + 12) % 24 - 12
            density += 0.98 * PEAK_SHARES[rhythm, peak] * np.exp(-0.5 * (off / 1.3) ** 2) / (1.3 * np.sqrt(2 * np.pi))
        return 24 * density

    # Whence.

    def on(self, pool: Ints, key: Keys, six: Flags | None = None, odds: float = OWN_SIX) -> Floats:
        """How likely a line is of who is on one that is known; `six`: who may have IPv6."""
        same = (self.log.pool == pool) & (self.log.line == lines(self.places, self.log.pool, key, self.log.six))
        found: Floats = same * self.protocol(six, odds)
        return found

    def anywhere(self, six: Flags | None = None, odds: float = OWN_SIX) -> Floats:
        """How likely a line of the pool is of who is on any."""
        return alike(self.places, self.log.pool, self.log.six) * self.protocol(six, odds)

    def protocol(self, six: Flags | None, odds: float = OWN_SIX) -> Floats:
        """How likely the protocol is."""
        able = 0.0 if six is None else odds * (self.places.has_ipv6[self.log.pool] & six)
        return np.where(self.log.six, able, 1 - able)

    @cached_property
    def wired(self) -> Flags:
        """Whether users have IPv6 at home."""
        return self.people.six[self.log.user]

    @cached_property
    def wireless(self) -> Flags:
        """Whether their phones have it."""
        return self.people.mobile_six[self.log.user]

    def _at_home(self) -> Floats:
        """The line at home, or at a new one."""
        people, user = self.people, self.log.user
        own = people.key[user, self.side]
        lease = (self.log.day + (people.key[user, 0] % np.uint64(4000)).astype(np.int64)) // people.lease[user]
        moved = self.log.day >= people.moves[user]
        told = self.known(
            (user * 2 + np.where(self.log.own, moved, self.side)) * 9000 + lease.astype(np.int64), self._is(HOME)
        )
        pool = people.pool[user, self.side]
        line = self.on(pool, mixed(own, lease), self.wired)
        line = np.where(told, line, (self.log.pool == pool) * self.anywhere(self.wired))
        new = self._moved()
        chances: Floats = (1 - new) * line + new * self._new_home() * self.anywhere(self.wired)
        return chances

    def _is(self, *circumstances: int) -> Flags:
        """Whether the user was in one of these circumstances."""
        return np.isin(self.log.circumstance, circumstances)

    def _moved(self) -> Floats:
        """How likely users have moved house since they were last at home."""
        days = self.days_since(self.before(self.log.user, self._is(HOME)))
        chance = self.plan.life.moves_per_year / YEAR * np.where(days >= 1, days, 0.0)
        return np.where((self.side == 0) & (not self.foreseen), chance, 0.0)

    def _new_home(self) -> Floats:
        """How likely the pool is that of a new home."""
        return self._new_city() * self._broadband(np.array(SHARES))

    def _new_city(self) -> Floats:
        """How likely people move to the city."""
        far = np.where(self.employed, 0.0, 0.3)
        chances: Floats = (1 - far) * (self.there == self.home) + far * self._by_weight[self.home, self.there]
        return chances

    @cached_property
    def _by_weight(self) -> Floats:
        """The share of each city of those of a country, (city, city)."""
        table = (self.places.country[:, None] == self.places.country) * self.places.city_weight
        shares: Floats = table / table.sum(axis=1, keepdims=True)
        return shares

    def ranked(self, kind: int, shares: Floats) -> Floats:
        """How likely a pool is, of a kind, given its city, where providers have shares by rank."""
        kinds, city = self.places.kind, self.there
        provider = np.array([pool.provider for pool in self.places.pools])[self.log.pool]
        if not self.kinds:
            return np.where(kinds[provider] == VPN, 0.0, 1.0 / POOLS)
        ranks = self.places.offered[self.places.country[city], kind, : len(shares)]
        found: Floats = ((ranks == provider[:, None]) * (shares / shares.sum())).sum(axis=1)
        return found

    def _broadband(self, shares: Floats) -> Floats:
        """The same of broadband."""
        return self.ranked(BROADBAND, shares)

    def _mobile(self) -> Floats:
        """The address of the phone at home."""
        rank = self.people.mobile[self.log.user]
        pool, new = self.places.pool_in(self.home, MOBILE, rank), self.places.pool_in(self.there, MOBILE, rank)
        moved = self._moved() * self._new_city() * (self.log.pool == new) * self.anywhere(self.wireless, 1.0)
        chances: Floats = (self.log.pool == pool) * self._attached(pool) + moved
        return chances

    def _attached(self, pool: Ints) -> Floats:
        """The address of a phone within its pool: the last one for hours, then any."""
        user, spell = self.log.user, self.log.time // (ATTACH_HOURS * 3600 * 10**6)
        key = mixed(self.people.key[user, 0], spell, 5)
        told = self.known(user * 600 + spell % 600, self._is(MOBILE_NET, TRIP_MOBILE))
        return np.where(told, self.on(pool, key, self.wireless, 1.0), self.anywhere(self.wireless, 1.0))

    def _second(self) -> Floats:
        """The line of the second home."""
        user = self.log.user
        pool = self.places.pool_in(self.home, BROADBAND, np.maximum(self.people.second[user], 0))
        return self.on(pool, mixed(self.people.key[user, 1], 9), self.wired)

    def _cafe(self) -> Floats:
        """The lines of the cafés that users like."""
        user = self.log.user
        pool, own = self.places.pool_in(self.home, BUSINESS, user % 2), self.people.key[user, self.side]
        keys = (mixed(self.home, mixed(own, nth) % np.uint64(40), 13) for nth in range(CAFES))
        found: Floats = np.sum([self.on(pool, key) / CAFES for key in keys], axis=0)
        return found

    def _desk(self) -> Floats:
        """The addresses of the office."""
        offices, office = self.people.offices, self.people.office[self.log.user]
        many = offices.addresses[office]
        keys = (offices.key[office] + np.uint64(nth) for nth in range(int(offices.addresses.max())))
        told = [self.on(offices.pool[office], key) * (nth < many) / many for nth, key in enumerate(keys)]
        return np.where(self.employed, np.sum(told, axis=0), 0.0)

    def _friends(self) -> Floats:
        """The line of the friends whom users are often with."""
        user = self.log.user
        pool = self.places.pool_in(self._usual[self.home], BROADBAND, user % RANKS)
        return self.on(pool, mixed(self.people.key[user, 0], 7))

    def _hotels(self) -> Floats:
        """The lines of the hotels of the city."""
        keys = (mixed(self.there, nth, 11) for nth in range(HOTELS))
        told = np.sum([self.on(self.log.pool, key) / HOTELS for key in keys], axis=0)
        found: Floats = told * self.ranked(BUSINESS, np.ones(2))
        return found

    @cached_property
    def _pull(self) -> Floats:
        """How much cities draw travellers, (from, to)."""
        places = self.places
        pull: Floats = places.city_weight**0.7 / (80 + places.km) * (places.km > 30)
        return pull

    @cached_property
    def _inside(self) -> Flags:
        """Whether cities are in the same country."""
        inside: Flags = self.places.country[:, None] == self.places.country
        return inside

    @cached_property
    def _usual(self) -> Ints:
        """Where people of each city travel to often."""
        found: Ints = np.argmax(self._pull * self._inside, axis=1)
        return found

    @cached_property
    def in_vpn(self) -> Floats:
        """How likely users go through their VPN."""
        people, user = self.people, self.log.user
        today = mixed(people.key[user, 0], self.log.time // DAY, 3) >> np.uint64(11)
        in_use = (today / float(1 << 53) < people.vpn[user]).astype(np.float64)
        return VPN_SHARE * (in_use if self.foreseen else people.vpn[user])

    def _exit(self) -> Floats:
        """A line of an exit of the VPN."""
        people, user, places = self.people, self.log.user, self.places
        chance = np.zeros(len(user))
        for brand, (exits, running) in enumerate(places.exits):
            share = np.zeros(len(places.pools))
            share[exits] = np.diff(running, prepend=0.0)
            usual = exits[np.searchsorted(running[:-1], people.vpn_exit[user])]
            pool = 0.6 * (self.log.pool == usual) + 0.4 * share[self.log.pool]
            chance += (people.vpn_brand[user] == brand) * pool
        starts = np.array([pool.start for pool in places.pools], np.uint64)[self.log.pool]
        return chance * (~self.log.six & (self.log.line - starts <= np.uint64(EXITS))) / EXITS

    # With what.

    @cached_property
    def _shown(self) -> Floats:
        """How likely devices with each browser show the user agent, (login, browser)."""
        table = shown(self.log, int(self.log.day.max()) + 2, self.plan.push)
        return table[self.log.day, self.log.text]

    def has(self, slot: int) -> Flags:
        """Whether users have a device."""
        found: Flags = self.people.devices.browser[self.log.user, slot] >= 0
        return found

    def shows(self, slot: int) -> Floats:
        """Whether that device shows the user agent."""
        slots = np.full(len(self.log), slot)
        codes = agents_of(self.plan, self.log.user, slots, self.log.time)
        found: Floats = ((self.log.number(codes) == self.log.text) & self.has(slot)).astype(np.float64)
        return found

    def _replaced(self, old: int, new: int, bought: Ints, fresh: Floats) -> Floats:
        """The user agent of a device, or of the one that may have come in its place."""
        if self.foreseen:
            return np.where(self.log.day >= bought[self.log.user], self.shows(new), self.shows(old))
        there = self.before(self.log.user, self.log.slot == new) >= 0
        days = self.days_since(self.before(self.log.user, self.log.slot == old))
        life = self.plan.life
        rate = (life.new_phones_per_year if old == PHONE else life.new_computers_per_year) / YEAR
        came = np.minimum(rate * days, 0.5)
        return np.where(there, self.shows(new), (1 - came) * self.shows(old) + came * fresh)

    @cached_property
    def phone(self) -> Floats:
        """The user agent of the phone."""
        browser = self.people.devices.browser[self.log.user, PHONE]
        same = self._shown[np.arange(len(self.log)), browser]
        fresh = 0.85 * same + 0.15 * self.phones(self.people.city[self.log.user, 0])
        return self._replaced(PHONE, NEW_PHONE, self.people.new_phone, fresh)

    def phones(self, city: Ints) -> Floats:
        """The user agent of phones in cities."""
        apple = self.places.iphones[self.places.country[city]][:, None]
        mix = apple * _shares(browsers.IPHONES) + (1 - apple) * _shares(browsers.ANDROID_PHONES)
        found: Floats = (self._shown * mix).sum(axis=1)
        return found

    def computers(self) -> Floats:
        """The user agent of computers."""
        told: Floats = self._shown @ _shares(browsers.COMPUTERS)
        return told

    @cached_property
    def computer(self) -> Floats:
        """The user agent of the computer, or else of the phone."""
        browser = self.people.devices.browser[self.log.user, COMPUTER]
        same = self._shown[np.arange(len(self.log)), browser]
        fresh = 0.7 * same + 0.3 * self.computers()
        only = self._replaced(COMPUTER, NEW_COMPUTER, self.people.new_computer, fresh)
        own = np.where(self.has(COMPUTER), only, self.phone)
        return np.where(self.has(SECOND), 0.25 * self.shows(SECOND) + 0.75 * own, own)

    @cached_property
    def desk(self) -> Floats:
        """The user agent of the computer for work."""
        return np.where(self.has(WORK), self.shows(WORK), self.computer)

    @cached_property
    def at_table(self) -> Floats:
        """The user agent of what is used at home."""
        tablet = 0.15 * self.has(TABLET)
        return 0.45 * self.phone + tablet * self.shows(TABLET) + (0.55 - tablet) * self.computer

    @cached_property
    def moving(self) -> Floats:
        """The user agent of what is used on the way."""
        return 0.92 * self.phone + 0.08 * self.desk

    @cached_property
    def packed(self) -> Floats:
        """The user agent of what is taken on trips."""
        return 0.5 * self.phone + 0.3 * self.desk + 0.2 * self.computer

    # All together.

    def _working(self) -> Floats:
        """At the office."""
        return self._desk() * (0.85 * self.desk + 0.15 * self.phone)

    def _around(self) -> Floats:
        """At home, and about."""
        people, user, borrowed = self.people, self.log.user, self.plan.life.borrowed
        out = OUT * people.mobility[user]
        second = SECOND_SHARE * (people.second[user] >= 0)
        home = 1 - out - CAFE_SHARE - second
        tunnel = home * self._tunnel()
        told = out * self._mobile() * self.moving + CAFE_SHARE * self._cafe() * self.moving
        told += (second * self._second() + (home - tunnel) * self._at_home()) * self.at_table
        told += tunnel / (1 - self.in_vpn) * self._desk() * self.desk
        lent = (self.there == self.home) * self._broadband(np.ones(RANKS)) * self.anywhere(self.wired)
        found: Floats = (1 - borrowed) * told + borrowed * lent * self._lent()
        return found

    def _tunnel(self) -> Floats:
        """How many logins at home go through the office."""
        return np.where(self.employed, 0.3 * self.people.offices.has_vpn[self.people.office[self.log.user]], 0.0)

    def _lent(self) -> Floats:
        """The user agent of somebody's phone."""
        countries = np.bincount(self.places.country[self.people.city[:, 0]], minlength=len(self.places.countries))
        apple = (self.places.iphones * countries).sum() / countries.sum()
        mix = apple * _shares(browsers.IPHONES) + (1 - apple) * _shares(browsers.ANDROID_PHONES)
        told: Floats = self._shown @ mix
        return told

    def _vpn(self) -> Floats:
        """Through the VPN."""
        return self.in_vpn * self._exit() * (0.3 * self.phone + 0.7 * self.computer)

    def _travelling(self) -> Floats:
        """On a trip that goes on, or on a new one."""
        return self.stays * self._staying() + self.new_trip * self._arriving()

    def _staying(self) -> Floats:
        """Where the user is known to be on a trip."""
        trips = self.plan.trips
        if not len(trips.there):
            return np.zeros(len(self.log))
        there = self.on(trips.there[self.trip], trips.key[self.trip])
        phone = (self.log.pool == trips.mobile[self.trip]) * self._attached(trips.mobile[self.trip])
        found: Floats = ON_TRIP * there * self.packed + (1 - ON_TRIP) * phone * self.moving
        return found

    def _arriving(self) -> Floats:
        """Where the user may have come to."""
        home, there = self.home, self.there
        near, far = (_normal(self._pull * each)[home, there] for each in (self._inside, ~self._inside))
        often = OFTEN * (there == self._usual[home])
        hotel = (ABROAD * far + NEAR * near) * self._hotels() * self.packed
        roaming = ABROAD * far * self.ranked(MOBILE, np.array(SHARES[:3])) * self.anywhere(self.wireless, 1.0)
        pool = self.places.pool_in(there, MOBILE, self.people.mobile[self.log.user])
        own = (
            (OFTEN * (there == self._usual[home]) + NEAR * near)
            * (self.log.pool == pool)
            * self.anywhere(self.wireless, 1.0)
        )
        found: Floats = (
            ON_TRIP * (often * self._friends() * self.packed + hotel) + (1 - ON_TRIP) * (roaming + own) * self.moving
        )
        return found


def _shares(of: dict[str, float]) -> Floats:
    """Shares of all browsers that sum to one."""
    weights = browsers.weights(of)
    found: Floats = weights / weights.sum()
    return found


def _normal(table: Floats) -> Floats:
    """Rows that sum to one, or hold nothing."""
    sums = table.sum(axis=1, keepdims=True)
    return table / np.where(sums > 0, sums, 1.0)


def travel_hours(km: Floats) -> Floats:
    """The fewest hours that a journey takes."""
    return np.where(km < 400, 0.7 + km / 90, 3.5 + km / 780 + 4 * (km > 9_000))
