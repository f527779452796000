"""The activity detector, event by event in plain Python: slow and obvious. Days are counted from 1970."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from itertools import pairwise
from statistics import median
from typing import NamedTuple

DAY, MINUTE = 86_400_000_000, 60_000_000
GROUP_FREE, WEEK = 0, range(7)
ALIKE = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


class Done(NamedTuple):
    """What a user did on a day."""

    events: int
    minutes: int


class Usual(NamedTuple):
    """What is normal for a user: by weekday the odds of being there and the events above one; the rest."""

    here: list[float]
    expected: list[float]
    spread: float
    pace: float
    pace_spread: float
    burst: float
    unusual: float


class Normal(NamedTuple):
    """What is normal for users who are known, for others, and for minutes and days of anybody."""

    users: dict[int, Usual]
    others: Usual
    unusual_minute: float
    anybody: float
    falls: float
    chances: dict[int, list[float]]


def done(events: list[tuple[int, int]]) -> dict[int, dict[int, Done]]:
    """By user and day what (user, time) events come to; those of a user in order."""
    counts: dict[int, dict[int, Done]] = defaultdict(dict)
    last: dict[int, int] = {}
    for user, time in events:
        day = time // DAY
        before = counts[user].get(day, Done(0, 0))
        begins = user not in last or last[user] // MINUTE != time // MINUTE
        counts[user][day] = Done(before.events + 1, before.minutes + begins)
        last[user] = time
    return counts


def weekday(day: int) -> int:
    """0 is Monday."""
    return (day + 3) % 7


def normal(past: dict[int, dict[int, Done]]) -> Normal | None:
    """What is normal after some days, if there are enough."""
    days = sorted({day for mine in past.values() for day in mine})
    if len(days) < 7:
        return None
    days = _with_free_days(days)
    users = sorted(past)
    mean = {user: sum(each.events for each in past[user].values()) / len(past[user]) for user in users}
    ratios = {
        user: {day: min(past[user][day].events / mean[user], 4.0) for day in sorted(past[user])} for user in users
    }
    season = _season(days, ratios)
    tide, about, surge = _tides(days, ratios, season)
    logs = [math.log(mean[user]) for user in users]
    middle = sum(logs) / len(logs)
    variance = (sum((each - middle) ** 2 for each in logs) + 1.0) / (len(logs) + 1.0)
    prior, apart = math.exp(middle + variance / 2.0), min(math.expm1(variance), 20.0)
    everyone = Everyone(tide, about, season, prior, apart)

    def walked(used: float, alike: float, weeks: float) -> dict[int, Walked]:
        return {user: _walk(past[user], everyone, used, alike, weeks) for user in users}

    spread = _mean_spread(past, walked(1.0, 20.0, 3.0))
    used = _mean_spread(past, walked(spread, 20.0, 3.0))
    alike = max((5.0, 20.0, 80.0, 320.0), key=lambda days: _likely_days(past, walked(used, days, 3.0)))
    weeks = max((3.0, 12.0, 48.0), key=lambda many: _likely_days(past, walked(used, alike, many)))
    walks = walked(used, alike, weeks)
    spread = _mean_spread(past, walks)
    chances = _chances(past, days)
    anybody = sum(sum(each) for each in chances.values()) / (7 * len(users))
    pace, pace_spread, minutes, fresh_pace, unusual_minute = _paces(past, users)
    common = tide[days[-1] + 1] * surge[days[-1] + 1]
    began = _began(past, users, season, prior, spread + apart)
    late, falls = _late(past, days, walks, surge)
    known = {}
    for user in users:
        walk = walks[user]
        square = max(walk.level - 1.0, 0.05) ** 2
        wide = (walk.squares + alike * spread * square) / (walk.scale + alike * square)
        wide = max(wide, spread / 3.0, 0.01)
        usual = [season[at] * _more(walk.told[at], walk.awaited[at], walk.level, weeks) for at in WEEK]
        known[user] = Usual(
            [chances[user][at] / anybody for at in WEEK],
            [max(walk.level * usual[at] * common - 1.0, 0.05) for at in WEEK],
            wide + 1.0 / (1.0 / apart + walk.days / (wide + 1.0 / walk.level)),
            pace[user],
            pace_spread[user],
            1.0 / (2.0 + minutes[user]),
            max(late, began / (1.0 + walk.days)),
        )
    expected = [max(prior * season[at] * common - 1.0, 0.05) for at in WEEK]
    others = Usual([1.0] * 7, expected, spread + apart, fresh_pace[0], fresh_pace[1], 1 / (2 + fresh_pace[2]), began)
    return Normal(known, others, unusual_minute, anybody, falls, chances)


def _with_free_days(days: list[int]) -> list[int]:
    """With the days of those weekdays on which mostly nobody did anything."""
    span = range(days[0], days[-1] + 1)
    empty = Counter(weekday(day) for day in span if day not in days)
    of = Counter(map(weekday, span))
    return [
        day for day in span if day in days or (empty[weekday(day)] >= 2 and 2 * empty[weekday(day)] > of[weekday(day)])
    ]


def _season(days: list[int], ratios: dict[int, dict[int, float]]) -> list[float]:
    by_day = {day: [mine[day] for mine in ratios.values() if day in mine] for day in days}
    means = {day: sum(some) / len(some) for day, some in by_day.items() if some}
    season = []
    for at in WEEK:
        some = [means[day] for day in means if weekday(day) == at]
        season.append((len(some) * median(some) + 1.0) / (len(some) + 1.0) if some else 1.0)
    return season


def _tides(
    days: list[int], ratios: dict[int, dict[int, float]], season: list[float]
) -> tuple[dict[int, float], dict[int, float], dict[int, float]]:
    """By day: what all did before, about then, and how much more they did on the very last day before."""
    level = [1.0]
    for day in days:
        some = [mine[day] for mine in ratios.values() if day in mine and len(mine) >= 3]
        share = len(some) / (len(some) + 10)
        level.append((median(some) / season[weekday(day)]) ** share if some else level[-1])
    del level[0]
    at_end = [*days, days[-1] + 1]
    before = {day: median(level[max(at - 3, 0) : max(at, 1)]) for at, day in enumerate(at_end)}
    about = {day: median(level[max(at - 1, 0) : at + 2]) for at, day in enumerate(days)}
    surge = {day: max(1.0, level[max(at - 1, 0)] / before[day]) for at, day in enumerate(at_end)}
    return before, about, surge


class Walked(NamedTuple):
    """Where a walk through a user's days ended, and (day, expected, deviation) on the way."""

    level: float
    days: float
    told: list[float]
    awaited: list[float]
    squares: float
    scale: float
    seen: list[tuple[int, float, float]]


class Everyone(NamedTuple):
    """What is normal for all: by day what all did before, about then, by weekday; of one day, and how far apart."""

    tide: dict[int, float]
    about: dict[int, float]
    season: list[float]
    prior: float
    apart: float


def _more(told: float, awaited: float, level: float, weeks: float) -> float:
    return (told + weeks * level) / (awaited + weeks * level)


def _mean_spread(past: dict[int, dict[int, Done]], walks: dict[int, Walked]) -> float:
    own = [min(max(walk.squares / walk.scale, 0.01), 10.0) for user, walk in walks.items() if len(past[user]) >= 4]
    return (sum(own) + 1.0) / (len(own) + 1.0)


def _likely_days(past: dict[int, dict[int, Done]], walks: dict[int, Walked]) -> float:
    total = 0.0
    for user, walk in walks.items():
        for day, mean, deviation in walk.seen:
            x, size = past[user][day].events - 1, mean**2 / (deviation**2 - mean)
            log = math.lgamma(x + size) - math.lgamma(size) - math.lgamma(x + 1)
            log += x * math.log(mean / (mean + size)) + size * math.log(size / (mean + size))
            total += max(log, math.log(1e-4 / deviation))
    return total


def _walk(mine: dict[int, Done], everyone: Everyone, spread: float, alike: float, weeks: float) -> Walked:
    tide, about, season, prior, apart = everyone
    stands = min(max((spread + 1.0 / prior) / apart, 0.05), 5.0)
    weight = total = squares = scale = before = 0.0
    told, awaited, seen, was_high = [0.0] * 7, [0.0] * 7, [], False
    last = None
    for day in sorted(mine):
        at, above = weekday(day), mine[day].events - 1.0
        if last is not None:
            fades = 2.0 ** (-(day - last) / 7.0)
            weight, total = weight * fades, total * fades
        level = (total + stands * prior) / (weight + stands)
        usual = season[at] * _more(told[at], awaited[at], level, weeks)
        expected = max(level * usual * tide[day] - 1.0, 0.05)
        own = max((squares + alike * spread * expected**2) / (scale + alike * expected**2), 0.01)
        wide = own + 1.0 / (1.0 / apart + weight / (own + 1.0 / (expected + 1.0)))
        deviation = math.sqrt(expected + wide * expected**2)
        highest = expected + 3.0 * deviation + 1.0
        is_high = above > highest
        taken = min(above, highest)
        if is_high and was_high:
            weight, total, taken = 1.0, before, above
        elif last is not None:
            squares += (taken - expected) ** 2 - expected
            scale += expected**2
        if last is not None:
            seen.append((day, expected, deviation))
        before = (above + 1.0) / (usual * about[day])
        weight, total = weight + 1.0, total + (taken + 1.0) / (usual * about[day])
        told[at] += (min(above, highest) + 1.0) / about[day]
        awaited[at] += total / weight * season[at]
        was_high, last = is_high, day
    return Walked((total + stands * prior) / (weight + stands), weight, told, awaited, squares, scale, seen)


def _beyond(above: int, expected: float, deviation: float) -> float | None:
    """The log of how far a day is beyond the least that happens once in 10,000, or None."""
    if above <= expected + 3.0 * deviation:
        return None
    spread = (deviation**2 - expected) / expected**2
    least = next((x for x in range(above + 1) if or_more(x + 1, expected, spread, 0.0, 6.0) < 1e-4), None)
    scale = 2.0 * (expected + 1.0)
    return None if least is None else math.log((1 + above / scale) / (1 + least / scale))


def _late(
    past: dict[int, dict[int, Done]], days: list[int], walks: dict[int, Walked], surge: dict[int, float]
) -> tuple[float, float]:
    """The chance of an unusual day, by those of the last two weeks, and how such days fall off."""
    following = dict(pairwise([*days, days[-1] + 1]))
    found, of, apart = 0, 0, 0.0
    for user, walk in walks.items():
        some = [each for each in walk.seen if each[0] > days[-1] - 14]
        of += len(some)
        far = []
        for day, expected, deviation in some:
            more = surge[following[day]]
            log = _beyond(past[user][day].events - 1, expected * more, deviation * more)
            far += [] if log is None else [log]
        found += min(len(far), 3)
        apart += sum(far) * min(len(far), 3) / len(far) if far else 0.0
    falls = math.floor((2 * (found + 6) - math.sqrt(found + 6)) / (apart + 6 / 3.5))
    return min(max((found + 1.0) / (of + 2.0), 1e-6), 0.05), min(max(falls, 4.0), 12.0)


def _began(past: dict[int, dict[int, Done]], users: list[int], season: list[float], prior: float, wide: float) -> float:
    """The chance of an unusual first day."""
    found = 0
    for user in users:
        day = min(past[user])
        expected = max(prior * season[weekday(day)] - 1.0, 0.05)
        found += _beyond(past[user][day].events - 1, expected, math.sqrt(expected + wide * expected**2)) is not None
    return min(max((found + 1.0) / (len(users) + 2.0), 1e-6), 0.05)


def _chances(past: dict[int, dict[int, Done]], days: list[int]) -> dict[int, list[float]]:
    """By user the chance of being active on each day of the week."""
    active = {user: [sum(weekday(day) == at for day in sorted(mine)[1:]) for at in WEEK] for user, mine in past.items()}
    of = {
        user: [sum(weekday(day) == at for day in days if day > min(mine)) for at in WEEK] for user, mine in past.items()
    }
    sums = [[sum(each[at] for each in some.values()) for at in WEEK] for some in (active, of)]
    overall = (sum(sums[0]) + 1.0) / (sum(sums[1]) + 2.0)
    everyone = [(a + 1.0) / (n + 2.0) if n else overall for a, n in zip(*sums, strict=True)]
    quiet = [each < 0.6 * max(everyone) for each in everyone]
    mean = sum(everyone) / 7

    def shares(alike: float) -> float:
        a, b, total = mean * alike, (1 - mean) * alike, 0.0
        for user in past:
            x, n = sum(active[user]), sum(of[user])
            total += math.lgamma(alike) - math.lgamma(a) - math.lgamma(b)
            total += math.lgamma(x + a) + math.lgamma(n - x + b) - math.lgamma(n + alike)
        return total

    alike = max(ALIKE, key=shares)
    own = {user: (sum(active[user]) + alike * mean) / (sum(of[user]) + alike) for user in past}
    chances = {user: [0.0] * 7 for user in past}
    for kind in ([at for at in WEEK if quiet[at]], [at for at in WEEK if not quiet[at]]):
        if not kind:
            continue
        middle = sum(everyone[at] for at in kind) / len(kind)
        cells = {
            (user, -1): (
                sum(active[user][at] for at in kind),
                sum(of[user][at] for at in kind),
                _moved(own[user], mean, middle),
            )
            for user in past
        }
        some = _backed_off(cells)
        cells = {
            (user, at): (active[user][at], of[user][at], _moved(some[user, -1], middle, everyone[at]))
            for user in past
            for at in kind
        }
        for (user, at), chance in _backed_off(cells).items():
            chances[user][at] = chance
    return chances


def _backed_off(cells: dict[tuple[int, int], tuple[int, int, float]]) -> dict[tuple[int, int], float]:
    def likely(alike: float) -> float:
        total = 0.0
        for x, n, back in cells.values():
            if n:
                total += math.lgamma(x + alike) - math.lgamma(alike) - (x + alike) * math.log1p(n * back / alike)
                total += x * math.log(n * back / alike) if x else 0.0
        return total

    alike = max(ALIKE, key=likely)
    return {key: min(max(back * (x + alike) / (n * back + alike), 2e-4), 0.998) for key, (x, n, back) in cells.items()}


def _moved(chance: float, of: float, to: float) -> float:
    odds = chance / (1 - chance) * (1 - of) / of * to / (1 - to)
    return odds / (1 + odds)


def _paces(
    past: dict[int, dict[int, Done]], users: list[int]
) -> tuple[dict[int, float], dict[int, float], dict[int, float], tuple[float, float, float], float]:
    """Events above one in a minute and their spread, minutes of a day, all of unknown users; the unusual minute."""
    days = {user: [past[user][day] for day in sorted(past[user])] for user in users}
    minutes = {user: float(sum(each.minutes for each in days[user])) for user in users}
    above = {user: [float(each.events - each.minutes) for each in days[user]] for user in users}
    mean = {user: sum(above[user]) / minutes[user] for user in users}
    spread, usual, squares = 1.0, 0.0, {}
    for _ in range(3):
        usual = (sum(mean.values()) + 0.5) / (len(users) + 1.0)
        mean = {user: max((mean[user] * minutes[user] + 20 * usual) / (minutes[user] + 20), 0.05) for user in users}
        kept = {}
        for user in users:
            rate = mean[user]
            kept[user] = [
                min(x, rate * each.minutes + 4.0 * math.sqrt(each.minutes * (rate + spread * rate**2)) + 1.0)
                for x, each in zip(above[user], days[user], strict=True)
            ]
            squares[user] = (
                sum(
                    (x - rate * each.minutes) ** 2 / each.minutes
                    for x, each in zip(kept[user], days[user], strict=True)
                )
                - len(days[user]) * rate
            )
        own = [
            min(max(squares[user] / (len(days[user]) * mean[user] ** 2), 0.05), 20.0)
            for user in users
            if len(days[user]) >= 3
        ]
        spread = (sum(own) + 1.0) / (len(own) + 1.0)
        mean = {user: sum(kept[user]) / minutes[user] for user in users}
    mean = {user: max((mean[user] * minutes[user] + 20 * usual) / (minutes[user] + 20), 0.05) for user in users}
    wide = {
        user: max((squares[user] / mean[user] ** 2 + 10 * spread) / (len(days[user]) + 10), spread / 2)
        for user in users
    }
    far = 0
    for user in users:
        rate = mean[user]
        far += min(
            sum(
                x > rate * each.minutes + 6 * math.sqrt(each.minutes * (rate + wide[user] * rate**2)) + 3
                for x, each in zip(above[user], days[user], strict=True)
            ),
            3,
        )
    apart = min((sum((mean[user] / usual - 1) ** 2 for user in users) + 1.0) / (len(users) + 1.0), 20.0)
    wider = {user: wide[user] + 1 / (1 / apart + minutes[user] / (wide[user] + 1 / mean[user])) for user in users}
    each = sum(minutes[user] / len(days[user]) for user in users) / len(users)
    daily = {user: (minutes[user] + each) / (len(days[user]) + 1) for user in users}
    unusual = min(max((far + 1.0) / (sum(minutes.values()) + 2.0), 1e-7), 0.01)
    return mean, wider, daily, (max(usual, 0.05), spread + apart, each), unusual


def or_more(count: int, expected: float, spread: float, unusual: float, falls: float) -> float:
    """The chance of so many or more, given one: the terms of the negative binomial, added up."""
    size, share = 1.0 / spread, spread * expected / (1.0 + spread * expected)
    logs = (
        math.lgamma(x + size)
        - math.lgamma(size)
        - math.lgamma(x + 1.0)
        + x * math.log(share)
        + size * math.log1p(-share)
        for x in range(count - 1)
    )
    less = math.fsum(map(math.exp, logs))
    far = (1.0 + (count - 1.0) / (2.0 * (expected + 1.0))) ** (-falls / 2)
    return (1.0 - unusual) * max(0.0, 1.0 - less) + unusual * far


def against(chance: float) -> float:
    """Bits, of which q is what p is to the power of an eighth, by an eighth."""
    return math.log2(0.125 * chance**-0.875)


def score(events: list[tuple[int, int]], usual: Normal | None) -> list[float]:
    """Bits of (user, time) events; those of a user in order."""
    if usual is None:
        return [0.0] * len(events)
    days: Counter[tuple[int, int]] = Counter()
    minutes: dict[tuple[int, int], list[list[int]]] = defaultdict(list)
    evidence: dict[tuple[int, int], float] = {}
    bits = []
    for user, time in events:
        own, key = usual.users.get(user, usual.others), (user, time // DAY)
        at = weekday(time // DAY)
        days[key] += 1
        if not minutes[key] or minutes[key][-1][0] != time // MINUTE:
            minutes[key].append([time // MINUTE, 0])
        minutes[key][-1][1] += 1
        chance = or_more(days[key], own.expected[at], own.spread, own.unusual, usual.falls) * own.here[at]
        of_day = 2.0 ** against(min(1.0, chance))
        of_minutes = math.prod(
            1
            - own.burst
            + own.burst * 2.0 ** against(or_more(many, own.pace, own.pace_spread, usual.unusual_minute, 6.0))
            for _, many in minutes[key]
        )
        whole = 0.25 / own.here[at] + 0.375 * of_day + 0.375 * of_minutes
        rest = 1.0 - 1.0 / days[key]
        bits.append(math.log2((rest + whole) / (rest + evidence.get(key, 1.0))))
        evidence[key] = whole
    return bits
