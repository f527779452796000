"""A slow, obvious twin of the `login` detector: dictionaries and loops, no Polars, no arrays.

Written from the docstrings of `amiss.detect.login` and `amiss.detect.login_linear`.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

NOWHERE = -1
LUMP = "whatever nobody showed here"
CHAINS = ("country", "city", "provider", "network", "address", "device", "version", "agent")
KINDS = range(1, 9)
ODD_KINDS = {1: 0.25, 2: 0.2, 3: 0.05, 4: 0.03, 5: 0.03, 6: 0.3, 7: 0.1, 8: 0.04}
"""The kinds of networks from homes to others, and how odd logins come by them where they do not as everyone."""
BINS = 24
HOUR = 3_600_000_000


class Login(NamedTuple):
    """One login; `time` in microseconds, places in degrees, None where unknown; `counts` in logins."""

    day: int
    time: int
    user: int
    country: int = 1
    city: int = 1
    provider: int = 1
    network: int = 1
    address: int = 1
    device: int = 1
    version: int = 1
    browser: int = 1
    agent: int = 1
    hour: int = 0
    place: tuple[float, float] | None = None
    wide: bool = False
    counts: float = 1.0
    group: int = 0
    kind: int = 0


Given = int | tuple[int, int]
"""What a value comes after: a code, or those of a country and a kind of network."""


def pairs(login: Login) -> dict[str, tuple[Given, int]]:
    """The (given, value) of each category that a login shows."""
    shown = {
        "country": (NOWHERE, login.country),
        "city": (login.country, login.city),
        "provider": ((login.country, login.kind) if login.kind else login.country, login.provider),
        "network": (NOWHERE if login.wide else login.provider, login.network),
        "address": (login.network, login.address),
        "device": (NOWHERE, login.device),
        "version": (login.device, login.version),
        "agent": (login.browser, login.agent),
    }
    return {name: pair for name, pair in shown.items() if not (login.wide and name in {"country", "city", "provider"})}


Rows = defaultdict[tuple[str, Given], Counter[int]]
"""Logins by value, by (feature, given)."""


def rows_of(logins: Iterable[Login]) -> Rows:
    """How often each value came after each given, kinds of networks that are told after their city."""
    rows: Rows = defaultdict(Counter)
    for login in logins:
        for feature, (given, value) in pairs(login).items():
            rows[feature, given][value] += login.counts
        if login.kind:
            rows["kind", login.city][login.kind] += login.counts
    return rows


def different(row: Counter[int]) -> float:
    """How many different values there are, one that counts less than a login being less."""
    return sum(min(1.0, count) for count in row.values())


def growth(row: Counter[int], prior: float) -> float:
    """How fast the different grow with all: log by log, after a prior."""
    return (prior + math.log(max(1.0, different(row)))) / (1.0 + math.log(max(1.0, sum(row.values()))))


@dataclass
class Everyone:
    """What all users did; `without` is a user whose share is left out."""

    rows: Rows = field(default_factory=lambda: defaultdict(Counter))
    new: dict[str, float] = field(default_factory=dict)
    countries: int = 0
    arrived: Rows = field(default_factory=lambda: defaultdict(Counter))
    usual: Counter[int] = field(default_factory=Counter)
    coming: dict[str, dict[int, float]] = field(default_factory=dict)
    loyal: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, logins: list[Login], cap: float, without: int | None = None) -> Everyone:
        """The counts of all users, of whom each adds up to `cap` to any; the shares of new things are those of all."""
        everyone = cls()
        users = {login.user for login in logins}
        whole: Rows = defaultdict(Counter)
        for user in users:
            for key, row in rows_of(login for login in logins if login.user == user).items():
                for value, count in row.items():
                    whole[key][value] += min(count, cap)
                    if user != without:
                        everyone.rows[key][value] += min(count, cap)
        moved = moves(logins) if without is None else Counter()
        everyone.coming = shares_of_coming(kinds_in(whole), moved)
        everyone.usual = kinds_in(everyone.rows)
        everyone.loyal = loyalty(logins if without is None else [])
        for key, row in whole.items():
            for value in [value for value, count in row.items() if count < 1]:
                del row[value]
                everyone.rows[key].pop(value, None)
        everyone.countries = len(whole["country", NOWHERE])
        everyone.arrived = arrivals(logins) if without is None else everyone.arrived
        for feature in CHAINS:
            those = [row for (name, _), row in whole.items() if name == feature]
            up = 0.5 + sum(math.log(max(1.0, different(row))) for row in those)
            everyone.new[feature] = up / (1.0 + sum(math.log(max(1.0, sum(row.values()))) for row in those))
        return everyone

    def kind(self, kind: int) -> float:
        """The share of a kind of network; half a login goes to all alike."""
        return share_of_kind(self.usual, kind)

    def chance(self, feature: str, given: Given, value: int | str) -> float:
        """The chance of a value; of all that nobody showed there, together."""
        row = self.rows.get((feature, given), Counter())
        total = sum(row.values())
        share = growth(row, self.new[feature])
        new = (0.5 + share * different(row)) / (0.5 + total) if total > 0 else 1.0
        if value == LUMP or row[value] == 0:
            return new
        flat = 0.5 if feature in {"country", "city"} else 0.0
        return (1.0 - new) * ((1.0 - flat) * row[value] / total + flat / self.kinds(feature, given))

    def arriving(self, feature: str, given: Given, value: int | str) -> float:
        """The same where it is new for a user: providers as they came to users who had logged in often before."""
        if feature != "provider" or value == LUMP or not self.seen(feature, given, value):
            return Everyone.chance(self, feature, given, value)
        row, came = self.rows[feature, given], self.arrived[feature, given]
        known = sum(count for each, count in came.items() if row[each] > 0)
        share = (came[value] + 5 * row[value] / sum(row.values())) / (known + 5)
        return (1.0 - Everyone.chance(self, feature, given, LUMP)) * share

    def kinds(self, feature: str, given: Given) -> int:
        """How many values there are."""
        return sum(count > 0 for count in self.rows.get((feature, given), Counter()).values())

    def seen(self, feature: str, given: Given, value: int) -> bool:
        """Whether anybody showed it there."""
        return self.rows.get((feature, given), Counter())[value] > 0


def kinds_in(rows: Rows) -> Counter[int]:
    """How many logins came by each kind of network, in all cities."""
    kinds: Counter[int] = Counter()
    for (feature, _), row in rows.items():
        kinds.update(row if feature == "kind" else {})
    return kinds


def share_of_kind(kinds: Counter[int], kind: int) -> float:
    """The share of a kind of network, half a login being of all kinds alike."""
    return (kinds[kind] + 0.5 / len(KINDS)) / (sum(kinds.values()) + 0.5)


@dataclass
class Day:
    """What a user did on a day, and what on earlier ones."""

    today: list[Login]
    before: list[Login]

    def rows(self, feature: str) -> dict[tuple[Given, int], float]:
        """The pairs of a feature on the day, each with how much of a login it taught, at most one."""
        rows = rows_of(self.today)
        found = {
            (given, value): n for (name, given), row in rows.items() if name == feature for value, n in row.items()
        }
        return {pair: min(1.0, taught) for pair, taught in found.items()}

    def earlier(self, feature: str) -> set[tuple[Given, int]]:
        """The pairs of a feature on earlier days."""
        return {pairs(login)[feature] for login in self.before if feature in pairs(login)}

    def new(self, feature: str) -> dict[tuple[Given, int], float]:
        """The pairs that were not there on an earlier day."""
        return {pair: taught for pair, taught in self.rows(feature).items() if pair not in self.earlier(feature)}

    def knows(self, feature: str, given: Given) -> bool:
        """Whether the user showed anything after a given on an earlier day."""
        return given in {each for each, _ in self.earlier(feature)}


def days_of(logins: list[Login]) -> list[Day]:
    """The days of each user."""
    found = []
    for user, day in sorted({(login.user, login.day) for login in logins}):
        mine = [login for login in logins if login.user == user]
        today, before = ([e for e in mine if e.day == day], [e for e in mine if e.day < day])
        found.append(Day(today, before))
    return found


def arrivals(logins: list[Login]) -> Rows:
    """How often users with 15 logins or more came to a provider on a day who never did on an earlier one."""
    came: Rows = defaultdict(Counter)
    for day in days_of(logins):
        if len(day.before) >= 15:
            for (given, value), taught in day.new("provider").items():
                came["provider", given][value] += taught
    return came


def moves(logins: list[Login]) -> Counter[tuple[str, int]]:
    """How often users with 15 logins came by each kind to a new country, else a new city, else by a new provider."""
    came: Counter[tuple[str, int]] = Counter()
    for day in days_of(logins):
        if sum(login.counts for login in day.before if not login.wide) < 15:
            continue
        cities = day.new("city")
        for country, city in cities:
            where = "city" if day.knows("city", country) else "country"
            for (at, kind), taught in day.rows("kind").items():
                came[where, kind] += taught if at == city else 0
        for (given, _), taught in day.new("provider").items():
            if not cities and isinstance(given, tuple):
                came["provider", given[1]] += taught
    return came


def shares_of_coming(kinds: Counter[int], moved: Counter[tuple[str, int]]) -> dict[str, dict[int, float]]:
    """The share of each kind among those who moved so, half a login being as everyone's."""
    shares = {}
    for where in ("country", "city", "provider"):
        whole = sum(moved[where, kind] for kind in KINDS)
        shares[where] = {
            kind: (moved[where, kind] + 0.5 * share_of_kind(kinds, kind)) / (whole + 0.5) for kind in KINDS
        }
    return shares


def loyalty(logins: list[Login]) -> dict[int, float]:
    """How often users kept to their providers on days in one new city of a country they knew, by kind of network."""
    kept: Counter[int] = Counter()
    whole: Counter[int] = Counter()
    for day in days_of(logins):
        cities = day.rows("city")
        if len(cities) != 1 or not day.new("city") or not all(day.knows("city", country) for country, _ in cities):
            continue
        for (given, provider), taught in day.rows("provider").items():
            if isinstance(given, tuple) and day.knows("provider", given):
                whole[given[1]] += taught
                kept[given[1]] += taught if (given, provider) in day.earlier("provider") else 0
    usual = (sum(kept.values()) + 0.5) / (sum(whole.values()) + 1)
    return {kind: (kept[kind] + 0.5 * usual) / (whole[kind] + 0.5) for kind in KINDS}


@dataclass
class Colleagues(Everyone):
    """Everyone, before whom the users of a group stand."""

    theirs: Rows = field(default_factory=lambda: defaultdict(Counter))

    def chance(self, feature: str, given: Given, value: int | str) -> float:
        """The chance of a value: as far as the group's row holds enough, that of the row."""
        return self._before(super().chance(feature, given, value), feature, given, value)

    def arriving(self, feature: str, given: Given, value: int | str) -> float:
        """The same, with everyone's chance where it is new for a user behind it."""
        return self._before(super().arriving(feature, given, value), feature, given, value)

    def _before(self, q: float, feature: str, given: Given, value: int | str) -> float:
        """The chance by the group, and by everyone's behind it."""
        row = self.theirs[feature, given]
        total = sum(row.values())
        if total <= 0:
            return q
        alone = (0.5 + growth(row, self.new[feature]) * different(row)) / (0.5 + total)
        return (1.0 - alone) * (0 if value == LUMP else row[value]) / total + alone * q


def groups_of(logins: list[Login]) -> dict[int, int]:
    """The group of each user: of the last day with a name the most frequent, of such the last by code."""
    named = Counter((each.user, each.time // (24 * HOUR), each.group) for each in logins if each.group)
    return {user: max((day, n, group) for (u, day, group), n in named.items() if u == user)[2] for user, _, _ in named}


def colleagues(logins: list[Login], everyone: Everyone, event: Login, cap: float, *, left_out: bool) -> Everyone | None:
    """The users of the group that a login names, before everyone; None where there are none."""
    whose = groups_of(logins)
    if event.group not in whose.values():
        return None
    those = [each for each in logins if whose.get(each.user) == event.group]
    theirs = Everyone.of(those, cap, without=event.user if left_out else None).rows
    return Colleagues(**vars(everyone), theirs=theirs)


def bin_of(logins: float) -> int:
    """The bin of a row with so many logins."""
    return min(BINS - 1, int(math.log2(int(logins) + 1)))


@dataclass
class Pace:
    """How often users with so many logins in a row showed something new there."""

    new: defaultdict[tuple[str, int], float] = field(default_factory=lambda: defaultdict(float))
    logins: defaultdict[tuple[str, int], float] = field(default_factory=lambda: defaultdict(float))

    @classmethod
    def of(cls, logins: list[Login]) -> Pace:
        """Counted day by day: what was not there on an earlier day is new; a row begins with something new."""
        pace, seen = cls(), defaultdict(Counter)
        for day in sorted({login.day for login in logins}):
            for user in {login.user for login in logins}:
                today = rows_of(login for login in logins if (login.day, login.user) == (day, user))
                for (feature, given), row in today.items():
                    before = seen[user, feature, given]
                    begins = not before
                    exposed = sum(row.values()) - begins
                    if exposed > 0:
                        at = feature, max(1, bin_of(sum(before.values())))
                        pace.new[at] += len(row.keys() - before.keys()) - begins
                        pace.logins[at] += exposed
                for (feature, given), row in today.items():
                    seen[user, feature, given].update(row)
        return pace

    def at(self, feature: str, code: int) -> float:
        """New things per login in a bin."""
        return (self.new[feature, code] + 0.5) / (self.logins[feature, code] + 2.0**code) if code else 0.0

    def settled(self, feature: str) -> float:
        """New things per login of rows with 15 logins or more."""
        new, logins = (sum(each[feature, code] for code in range(4, BINS)) for each in (self.new, self.logins))
        return (new + 0.25) / (logins + 50)

    def expected(self, feature: str, logins: float) -> float:
        """How many new things come in a row up to so many logins."""
        last = bin_of(logins)
        whole = sum(self.at(feature, code) * 2.0**code for code in range(last))
        return math.floor((whole + self.at(feature, last) * (logins - (2.0**last - 1))) * 2**20) / 2**20


def chance_of_new(pace: Pace, rows: Rows, feature: str, given: Given, factor: float) -> float:
    """The chance that what comes next in a row of the user is new there."""
    row = rows[feature, given]
    logins = sum(row.values())
    elsewhere = [other for (name, at), other in rows.items() if name == feature and at != given]
    new = sum(max(0.0, different(other) - 1) for other in elsewhere)
    expected = sum(pace.expected(feature, sum(other.values())) for other in elsewhere)
    often = (new + 3) / (expected + 3)
    here = max(0.0, different(row) - 1)
    often *= (here + 3) / (often * pace.expected(feature, logins) + 3)
    new_here = min(0.95, pace.at(feature, bin_of(logins)) * often * factor)
    return 1.0 - min(1.0, logins) * (1.0 - new_here)


class Ways(NamedTuple):
    """What a user is judged by: everyone's counts and pace, and the user's rows of earlier days and of this one."""

    everyone: Everyone
    pace: Pace
    past: Rows
    today: Rows
    mates: Colleagues | None = None


class Judged(NamedTuple):
    """The user's chance of a value, everyone's, how often the user showed it, and everyone's where it is new.

    Somebody odd does as everyone in a share of `keep`, else what was done in this period; `goes_on` is the latter.
    """

    p: float
    q: float
    shown: float
    new: float
    keep: float = 1.0
    goes_on: float = 0.0

    def odd(self, q: float) -> float:
        """The chance of the value if the login is odd and nothing else is known than that its chance is q then."""
        return self.keep * q + self.goes_on


def arriving(ways: Ways, everyone: Everyone, feature: str, given: Given, value: int | str) -> float:
    """Everyone's chance of a value where it is new for the user; as people arrive, once there was a login."""
    countries = [rows.get(("country", NOWHERE), Counter()) for rows in (ways.past, ways.today)]
    known = sum(sum(row.values()) for row in countries) >= 1
    return (everyone.arriving if known else everyone.chance)(feature, given, value)


def judge(ways: Ways, feature: str, pair: tuple[Given, int], factor: float) -> Judged:
    """What a value after a given says."""
    everyone, pace, past, today, _ = ways
    given, value = pair
    rows: Rows = defaultdict(Counter)
    for part in (past, today):
        for key, row in part.items():
            rows[key].update(row)
    row = rows.get((feature, given), Counter())
    now = today.get((feature, given), Counter())
    lumped, lumped_now = (_lumped(everyone, feature, given, each) for each in (row, now))
    shown: int | str = value if everyone.seen(feature, given, value) else LUMP
    q, new_here = everyone.chance(feature, given, shown), arriving(ways, everyone, feature, given, shown)
    if not row:
        return Judged(new_here, q, 0.0, new_here)
    if feature == "version" and shown == LUMP and not lumped[LUMP]:
        q, new_here = q / 2, new_here / 2
    new = chance_of_new(pace, rows, feature, given, factor)
    held = min(1.0, lumped[shown])
    left = sum(
        arriving(ways, everyone, feature, given, each) * (1.0 - min(1.0, lumped[each]))
        for each in [*(each for each in everyone.rows[feature, given] if everyone.seen(feature, given, each)), LUMP]
    )
    if left < 1e-9:
        new, back = 0.0, 0.0
    elif held == 1.0:
        back = 0.0
    elif feature == "version":
        back = _new_version(everyone, given, row, lumped, value) * (1.0 - held) * new_here
    else:
        back = (1.0 - held) * new_here / left
    p = (1.0 - new) * lumped[shown] / sum(row.values()) + new * back
    total = sum(now.values())
    if not total:
        return Judged(p, q, lumped[shown], new_here)
    stay = 0.8 * total / (total + 1)
    p = (1.0 - stay) * p + stay * lumped_now[shown] / total
    going_on = stay + (1.0 - stay) * (1.0 - new) * total / sum(row.values())
    return Judged(p, q, lumped[shown], new_here, 1.0 - going_on, going_on * lumped_now[shown] / total)


def judge_kind(ways: Ways, city: int, kind: int, moved: str) -> Judged:
    """What the kind of a network says, after a city; `moved` is the first category of the place that is new."""
    everyone = ways.everyone
    usual = everyone.kind(kind)
    odd = 0.25 * usual + 0.75 * ODD_KINDS[kind]
    row = Counter(ways.past.get(("kind", city), {})) + Counter(ways.today.get(("kind", city), {}))
    all_ = kinds_in(ways.past) + kinds_in(ways.today)
    if not all_:
        return Judged(usual, odd, 0.0, usual)
    if moved in {"country", "city"}:
        chance = everyone.coming[moved][kind]
        return Judged(chance, odd, all_[kind], chance)
    elsewhere = all_ - row
    own = (elsewhere[kind] + 2 * usual) / (sum(elsewhere.values()) + 2)
    own = (row[kind] + 2 * own) / (sum(row.values()) + 2)
    now = ways.today.get(("kind", city), Counter())
    total = sum(now.values())
    if not total:
        return Judged(own, odd, all_[kind], usual)
    stay = 0.8 * total / (total + 1)
    going_on = stay + (1 - stay) * total / (sum(row.values()) + 2)
    p = (1 - stay) * own + stay * now[kind] / total
    return Judged(p, odd, all_[kind], usual, 1 - going_on, going_on * now[kind] / total)


def kept(ways: Ways, event: Login, judged: Judged) -> Judged:
    """The same of a provider where the user never came by this kind in this city, but knows providers of it.

    So it is also where the user is elsewhere for once.
    """
    given, _ = pairs(event)["provider"]
    here, known = (
        [rows.get(key, Counter()) for rows in (ways.past, ways.today)]
        for key in (("kind", event.city), ("provider", given))
    )
    whole = sum(sum(row.values()) for row in known)
    if not event.kind or not whole or sum(row[event.kind] for row in here) >= 1:
        return judged
    loyal = ways.everyone.loyal[event.kind]
    p = loyal * judged.shown / whole + (1 - loyal) * judged.new
    return Judged(p, judged.q, judged.shown, p)


def _lumped(everyone: Everyone, feature: str, given: Given, row: Counter[int]) -> Counter[int | str]:
    """A row in which all values that everyone does not know are one."""
    lumped: Counter[int | str] = Counter()
    for value, count in row.items():
        lumped[value if everyone.seen(feature, given, value) else LUMP] += count
    return lumped


def _new_version(everyone: Everyone, given: int, row: Counter[int], lumped: Counter[int | str], value: int) -> float:
    """The share of a side, above or not above all known versions, by everyone's chance of it."""
    highest = max(row)
    above = below = 0.0
    for version in everyone.rows["version", given]:
        if everyone.seen("version", given, version):
            share = everyone.chance("version", given, version)
            if version > highest:
                above += share
            else:
                below += share * (1.0 - min(1.0, lumped[version]))
    unknown = everyone.chance("version", given, LUMP)
    if lumped[LUMP]:
        below += unknown * (1.0 - min(1.0, lumped[LUMP]))
    else:
        above, below = above + unknown / 2, below + unknown / 2
    on_top = value > highest and (not lumped[LUMP] or everyone.seen("version", given, value))
    side = 1.0 if above < 1e-9 or below < 1e-9 else 0.9 if on_top else 0.1
    return side / (above if on_top else below)


def near(apart: int) -> float:
    """How much of an hour's weight falls on one so many hours away."""
    return {0: 4 / 16, 1: 3 / 16, 2: 2 / 16, 3: 1 / 16}.get(apart, 0.0)


def alike(hour: int, other: int) -> float:
    """How much of an hour's weight falls on another: half by the hour of the week, half by the kind of day."""
    week = near(min(abs(hour - other), 168 - abs(hour - other)))
    if (hour // 24 >= 5) != (other // 24 >= 5):
        return week / 2
    apart = abs(hour % 24 - other % 24)
    return week / 2 + near(min(apart, 24 - apart)) / (2 if hour // 24 >= 5 else 5) / 2


def hours(logins: list[Login], cap: float) -> list[float]:
    """Everyone's chance of each hour of the week."""
    by_user: Counter[tuple[int, int]] = Counter()
    for login in logins:
        by_user[login.user, login.hour] += login.counts
    counts = [sum(min(cap, count) for (_, at), count in by_user.items() if at == hour) for hour in range(168)]
    smooth = [1 + sum(alike(hour, other) * counts[other] for other in range(168)) for hour in range(168)]
    return [each / (sum(counts) + 168) for each in smooth]


def cell(place: tuple[float, float] | None) -> tuple[float, float] | None:
    """The middle of the half degree that a place is in."""
    return place and tuple((math.floor(degrees * 2) + 0.5) / 2 for degrees in place)


def kilometres(a: tuple[float, float], b: tuple[float, float]) -> float:
    """The distance of two places on a globe."""
    points = []
    for north, east in (a, b):
        y, x = math.radians(north), math.radians(east)
        points.append((math.cos(y) * math.cos(x), math.cos(y) * math.sin(x), math.sin(y)))
    return 2 * 6371 * math.asin(min(1.0, math.dist(*points) / 2))


class Leg(NamedTuple):
    """A far leg: 0 for one to a known place, else how far it is from 1 to 4; and how fast, from 0 to 4."""

    row: int
    pace: int


def leg(
    before: tuple[float, float] | None, after: tuple[float, float] | None, hours_apart: int, known: bool
) -> Leg | None:
    """The leg between two places, if it is one that counts."""
    if before is None or after is None or before == after:
        return None
    length = kilometres(before, after)
    far = sum(length >= least for least in (60, 500, 1500, 4000))
    if far < (2 if known else 1):
        return None
    return Leg(0 if known else far, sum(hours_apart + 1 < times * quick(length) for times in SLOWER))


SLOWER = (8, 3, 1.5, 1)


def quick(length: float) -> float:
    """The hours of a quick journey of so many kilometres."""
    way = max(0, length - 40)
    return min(0.5 + way / 130, 2 + way / 900)


def odd_pace(pace: int, length: float, hourly: float) -> float:
    """The chance of a pace of somebody odd, after a user with so many logins an hour."""
    before = [1.0, *(1 - math.exp(-hourly * (times * quick(length) - 0.5)) for times in SLOWER), 0.0]
    return 0.5 * (0.1, 0.15, 0.15, 0.2, 0.4)[pace] + 0.5 * (before[pace] - before[pace + 1])


class Trail(NamedTuple):
    """Where a user was: the hour and the place of the last stop, all places, and the far legs."""

    hour: int
    place: tuple[float, float] | None
    places: set[tuple[float, float]]
    legs: Counter[Leg]

    def leg_to(self, hour: int, place: tuple[float, float] | None) -> Leg | None:
        """The far leg to a next stop, if it is one."""
        return leg(self.place, place, hour - self.hour, place in self.places)

    def followed(self, hour: int, place: tuple[float, float]) -> Trail:
        """The trail with one more stop."""
        far = self.leg_to(hour, place)
        return Trail(hour, place, self.places | {place}, self.legs + Counter([far] if far else []))


def trail(logins: list[Login]) -> Trail:
    """A user's trail."""
    stops = sorted(
        {
            (login.time // HOUR, _order(login), cell(login.place))
            for login in logins
            if login.place and not login.wide and login.counts >= 0.5
        }
    )
    found = Trail(0, None, set(), Counter())
    for hour, _, place in stops:
        found = found.followed(hour, place)
    return found


def _order(login: Login) -> tuple[float, float]:
    """Places of the same hour go from south to north, then to the east of Greenwich."""
    north, east = cell(login.place)
    return north, east % 360


ODDS = (0.2, 0.3, 0.24, 0.24, 0.015, 0.003, 0.002)


def login(
    past: list[Login], today: list[Login], cap: float = 1.0, *, left_out: bool = False, bad: Sequence[Login] = ()
) -> list[tuple[float, float]]:
    """Bits and surprisal of a day's logins by the past, or by the same day, the user left out.

    `bad` are logins that were told to be bad.
    """
    found = []
    days = today if left_out else past
    trails = [] if left_out else [trail([each for each in past if each.user == user]) for user in _users(past)]
    pace, clock, travel = Pace.of(days), hours(days, cap), Travel.of(trails, cap)
    for number, event in enumerate(today):
        mine = [] if left_out else [each for each in past if each.user == event.user]
        before = [each for each in today[:number] if each.user == event.user]
        everyone = Everyone.of(days, cap, without=event.user if left_out else None)
        mates = colleagues(days, everyone, event, cap, left_out=left_out)
        ways = Ways(everyone, pace, rows_of(mine), rows_of(before), mates)
        behind = Behind(clock, travel, hourly(days, event.user), rows_of(bad))
        bits, surprisal = _score(ways, behind, (mine, before), event)
        found.append((bits - math.log2(busy(days, event.user)), surprisal))
    return found


def busy(logins: list[Login], user: int) -> float:
    """How many times more often than users on average somebody logged in, at least 1."""
    by_user = Counter(login.user for login in logins)
    return max(1.0, by_user[user] * len(by_user) / max(1, len(logins)))


def hourly(logins: list[Login], user: int) -> float:
    """How many logins an hour somebody had, half a one more; .1 of who had none."""
    mine = sum(login.user == user for login in logins)
    return (mine + 0.5) / (24 * len({login.day for login in logins})) if mine else 0.1


def _users(logins: list[Login]) -> list[int]:
    """The users of logins, in order."""
    return sorted({login.user for login in logins})


class Travel(NamedTuple):
    """How people travel: the chance of each pace by row, and of each row of very far legs and of people far apart."""

    paces: list[list[float]]
    near: list[float]
    apart: list[float]

    @classmethod
    def of(cls, trails: list[Trail], cap: float) -> Travel:
        """What trails say."""
        legs = [[sum(min(each.legs[Leg(row, pace)], cap) for each in trails) for pace in range(5)] for row in range(5)]
        known = [[count + few for count, few in zip(row, (2.0, 3.0, 2.0, 2.8, 0.2), strict=True)] for row in legs]
        ends = [each.place for each in trails if each.place]
        across = [leg(end, ends[(at + len(ends) // 2) % len(ends)], 0, known=False) for at, end in enumerate(ends)]
        rows = Counter(each.row for each in across if each)
        return cls(
            [[count / sum(row) for count in row] for row in known],
            _shares([sum(row) for row in legs]),
            _shares([rows[row] for row in range(5)]),
        )


def _shares(rows: list[float]) -> list[float]:
    """The share of each row of very far legs; 1 for other rows."""
    far = [rows[2] + 5, rows[3] + 3, rows[4] + 2]
    return [1.0, 1.0, *(each / sum(far) for each in far)]


class Behind(NamedTuple):
    """What else a login is judged by: everyone's hours and travels, the user's logins an hour, and bad logins."""

    clock: list[float]
    travel: Travel
    hourly: float
    bad: Rows


def _score(ways: Ways, behind: Behind, mine: tuple[list[Login], list[Login]], event: Login) -> tuple[float, float]:
    """Bits and surprisal of one login, after the user's earlier ones."""
    everyone, mates = ways.everyone, ways.mates
    p, q, raw, moved, fresh, anywhere = {}, {}, {}, "", False, None
    like_bad, coming = 1.0, {}
    like, like_raw = {}, {}
    for feature, pair in pairs(event).items():
        fresh = fresh and feature != "device"
        unused = not everyone.seen(feature, *pair)
        judged = judge(ways, feature, pair, FACTORS.get((feature, moved), 1.0))
        if fresh:
            asked = feature, pair[0], LUMP if unused else pair[1]
            chance = arriving(ways, everyone, *asked)
            judged = Judged(chance, everyone.chance(*asked), judged.shown, chance)
        if mates:
            theirs = judge(ways._replace(everyone=mates), feature, pair, FACTORS.get((feature, moved), 1.0))
            chance = arriving(ways, mates, feature, pair[0], LUMP if unused else pair[1])
            theirs = Judged(chance, 0.0, theirs.shown, chance) if fresh else theirs
            like[feature], like_raw[feature] = theirs.p, theirs.new
        judged = kept(ways, event, judged) if feature == "provider" else judged
        p[feature], q[feature], raw[feature] = judged.p, judged.q, judged.new
        if judged.shown < 1:
            fresh = True
            moved = moved or (feature if feature in {"country", "city", "provider", "network"} else "")
        if feature == "provider" and pair[1]:
            q[feature] = 0.4 * q[feature] + 0.3 / (everyone.kinds(feature, pair[0]) + 1) + 0.3 * unused
        if feature == "address" and pair[1]:
            q[feature] = 0.1 * q[feature] + 0.9 * unused
        like_bad *= judged.odd(_among(behind.bad.get((feature, pair[0]), Counter()), pair[1], q[feature])) / p[feature]
        q[feature] = judged.odd(q[feature])
        if feature == "country":
            anywhere = judged.odd(_anywhere(everyone, event.country))
    if event.kind:
        judged = judge_kind(ways, event.city, event.kind, moved)
        like_bad *= judged.odd(_among(kinds_in(behind.bad), event.kind, judged.q)) / judged.p
        p["kind"], q["kind"] = judged.p, judged.odd(judged.q)
        coming = {where: shares[event.kind] / judged.p for where, shares in everyone.coming.items()}
    p["hour"], q["hour"] = _hour(behind.clock, [*mine[0], *mine[1]], event.hour)
    same = len(mine[1]) / (len(mine[1]) + 1)
    q["hour"] = (1 - same) * q["hour"] + same * p["hour"]
    _travel(p, q, behind, mine, event, abroad=moved == "country")
    detour = _detours(ways.pace, p, raw, coming)
    near = (1.0, 1.0, 1.0, 1.0)
    if mates:
        share = 0.1 if mine[0] or mine[1] else 0.95
        ratio = [math.prod(like[each] / p[each] for each in those if each in p) for those in (CHAINS[:1], CHAINS[:2])]
        there, with_it = (
            math.prod(like[each] / p[each] for each in like if each in part) for part in (PLACES, DEVICES)
        )
        others = _detours(ways.pace, like, like_raw, coming)
        ratio += [there * others[0] / detour[0], with_it * others[1] / detour[1]]
        near = [1 - share + share * each for each in ratio]
    all_ = math.log2(math.prod(detour) * near[2] * near[3])
    like_bad *= math.prod(q[each] / p[each] for each in ("hour", "travel") if each in p)
    bits = _bits(anywhere, p, q, near, like_bad if behind.bad else None)
    return bits - all_, -sum(math.log2(each) for each in p.values()) - all_


PLACES, DEVICES = CHAINS[:5], CHAINS[5:]


def _among(row: Counter[int], value: int, q: float) -> float:
    """The chance of a value by the bad logins of a row, one of any odd one behind them."""
    return (row[value] + q) / (sum(row.values()) + 1)


def _detours(pace: Pace, p: dict[str, float], raw: dict[str, float], coming: dict[str, float]) -> tuple[float, float]:
    """How much likelier place and device are because people are elsewhere now and then, or have another one.

    `coming` is how much likelier the kind of network is where people come to a new country, city or provider.
    """

    def product(*features: str) -> float:
        return math.prod(raw[each] / p[each] for each in features if each in raw)

    world, country, city, other = (pace.settled(feature) for feature in ("country", "city", "provider", "device"))
    near = product("provider", "network", "address")
    place = 1 - world - country - city + city * near * coming.get("provider", 1)
    place += country * product("city") * near * coming.get("city", 1)
    place += world * product("country", "city") * near * coming.get("country", 1)
    return place, 1 - other + other * product("device", "version", "agent")


FACTORS = {
    ("device", "country"): 1.5, ("device", "city"): 1.5, ("device", "provider"): 2.0, ("device", "network"): 1.5,
    ("version", "country"): 2.0, ("version", "city"): 2.0, ("version", "provider"): 2.0, ("version", "network"): 1.5,
}  # fmt: skip
"""How much likelier something new is after a place that is new."""


def _hour(clock: list[float], logins: list[Login], hour: int) -> tuple[float, float]:
    """The chance of an hour of the week, of the user and if the login is odd."""
    weight = sum(each.counts * alike(hour, each.hour) for each in logins)
    total = sum(each.counts for each in logins)
    own = (weight + 4 * clock[hour]) / (total + 4)
    return 0.9 * own + 0.1 / 168, 0.5 * clock[hour] + 0.5 / 168


def _travel(
    p: dict[str, float],
    q: dict[str, float],
    behind: Behind,
    mine: tuple[list[Login], list[Login]],
    event: Login,
    *,
    abroad: bool,
) -> None:
    """Add the chance of a far leg, if there is one."""
    earlier, travel = trail(mine[0]), behind.travel
    now = earlier._replace(legs=Counter())
    for each in [*mine[1], event]:
        if each.place is None or each.wide:
            continue
        hour, place = each.time // HOUR, cell(each.place)
        far = now.leg_to(hour, place)
        if each is event and far:
            row = [sum(legs[Leg(far.row, pace)] for pace in range(5)) for legs in (earlier.legs, now.legs)]
            like = earlier.legs[far] + now.legs[far]
            p["travel"] = (like + 4 * travel.paces[far.row][far.pace]) / (sum(row) + 4)
            odd = odd_pace(far.pace, kilometres(now.place, place), behind.hourly)
            q["travel"] = ((row[0] + 4) * odd + now.legs[far]) / (sum(row) + 4)
            if abroad:
                p["travel"], q["travel"] = p["travel"] * travel.near[far.row], q["travel"] * travel.apart[far.row]
        now = now.followed(hour, place)


def _anywhere(everyone: Everyone, country: int) -> float:
    """The chance of a country where all are as likely, those that nobody came from being one."""
    return 1 / 250 if everyone.seen("country", NOWHERE, country) else (250 - everyone.countries) / 250


def _bits(
    country: float | None,
    p: dict[str, float],
    q: dict[str, float],
    closer: Sequence[float],
    like_bad: float | None = None,
) -> float:
    """The evidence of a mixture of whole logins; `country` is its chance if the login comes from anywhere.

    `closer` is how much likelier colleagues make the country, the city in it, the place and the device; `like_bad` how
    much likelier a login is if it is like those told to be bad, where there are any.
    """

    def product(*features: str) -> float:
        return math.prod(q[each] / p[each] for each in features if each in p)

    inner, city, device, hour = (
        product("kind", "provider", "network", "address", "travel"),
        product("city"),
        product("device", "version", "agent"),
        product("hour"),
    )
    near = city * inner
    place = anywhere = product("country") * near
    if country is not None:
        anywhere = country / p["country"] * near
    who = (place * device, anywhere * device, closer[0] * near * device, closer[1] * inner * device)
    thieves = (closer[3] * (place + anywhere) / 2, closer[3] * (closer[0] * near + closer[1] * inner) / 2)
    ratios = (*who, *thieves, closer[2] * device)
    mixed = hour * sum(share * ratio for share, ratio in zip(ODDS, ratios, strict=True))
    return math.log2(mixed if like_bad is None else 0.8 * mixed + 0.2 * like_bad)


PLACE = (("address", 0.5), ("network", 0.2), ("provider", 0.15), ("country", 0.1), (None, 0.05))
AGENT = (("agent", 0.5), ("browser", 0.25), ("device", 0.2), (None, 0.05))
"""The hierarchies of the published model, with the share of each level; None holds everything."""


def published(past: list[Login], event: Login) -> float:
    """The published model: log2 of Pr[x]/Pr[x | u] for place and agent, times Pr[u | attack]/Pr[u]."""
    mine = [each for each in past if each.user == event.user]
    if not mine:
        return 0.0

    def count(logins: list[Login], level: str | None) -> float:
        same = (each.counts for each in logins if level is None or getattr(each, level) == getattr(event, level))
        return sum(same)

    whole, own = count(past, None), count(mine, None)
    risk = (1 / len({each.user for each in past})) / (own / whole)
    for hierarchy in (PLACE, AGENT):
        exact = hierarchy[0][0]
        seen = max(1.0, count(past, exact))
        given_user = 0.0
        for level, share in hierarchy:
            exactly = 1.0 if level == exact else seen / (count(past, level) + 1)
            given_user += share * count(mine, level) / own * exactly
        risk *= seen / (whole + 1) / given_user
    return math.log2(risk)
