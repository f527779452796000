"""The compiled passes behind :mod:`amiss.detect.activity`, which says what is computed.

A *row* is what a user did on a day: `day` its place among the days of the log, `events` how many, `minutes` in how many
different minutes.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

DAY: Final = 86_400_000_000
MINUTE: Final = 60_000_000
"""Microseconds."""

DAYS_OF_WEEK: Final = 7

TO_WEEKDAY: Final = 3
"""The first of January 1970 was a Thursday; Monday is 0."""

SHARE: Final = 0.125
"""What is odd has the chances of what is normal to this power: ``q(k or more) = SHARE * p(k or more) ** SHARE``."""

SMALL: Final = -600.0
"""The log of a chance from which on it is a number."""

MOST: Final = 2.0**500
"""The most that minutes of a day say, so that it stays a number."""

HALF_LIFE: Final = 7.0
"""Days after which a day counts half for how much a user does."""

LEAST: Final = 0.05
"""The fewest events above one that are expected of a day or a minute."""

LEAST_SPREAD: Final = 0.01
"""How far at least days spread beyond chance, as a variance of ratios; and the most that is taken of one user."""

MOST_SPREAD: Final = 10.0

NORMAL: Final = 19
"""Columns of what is normal for a user.

By day of the week the chance of being active beside that of anybody on any day (7), and the events above one (7); how
these spread; events above one in a minute, how these spread; the share of minutes in which somebody odd does more; the
chance of an unusual day.
"""

EXPECTED, SPREAD, PACE, PACE_SPREAD, BURST, UNUSUAL = 7, 14, 15, 16, 17, 18

HELD: Final = 10
"""Columns of what is remembered of a user: the day, the minute, events in either, and of each the chances of so many
above one (or its log) and of fewer; what minutes that have passed say, and all, in powers of two.
"""

(AT_DAY, AT_MINUTE, EVENTS, WITHIN, CHANCE, BELOW, PACE_CHANCE, PACE_BELOW, PASSED, EVIDENCE) = range(HELD)

UNUSUAL_PACE, ACTIVE, FALLS = 0, 1, 2
"""Places in `law`: the chance of an unusual minute, that of anybody being active, and twice the power by which the
chances of unusual days fall off."""

PACE_FALLS: Final = 6.0
"""The same of minutes."""


class Walk(NamedTuple):
    """What comes of walking through the days of users; by row (n,), by user (u,) or by user and weekday (u, 7)."""

    expected: Floats  # events above one, by the days before; -1 of the first
    deviation: Floats
    level: Floats  # by user
    days: Floats  # how many days that stands on
    told: Floats  # events by weekday, none above what is usual
    awaited: Floats  # what the user's level by then, and all, made expect
    squares: Floats  # squares of what days differed, beyond chance
    scale: Floats  # squares of what was expected


@njit(cache=True, nogil=True, error_model="numpy")
def count_days(first, time, gap, group):
    """The rows of grouped events: places of the user and of the first event, day, events, minutes that begin.

    `group` (n,) keeps rows apart, or is (0,).
    """
    rows = 0
    begin = np.empty(len(time), np.int64)
    user, day = np.empty(len(time), np.int64), np.empty(len(time), np.int64)
    events, minutes = np.empty(len(time), np.int64), np.empty(len(time), np.int64)
    for number in range(len(first) - 1):
        for i in range(first[number], first[number + 1]):
            date = time[i] // DAY
            opens = i == first[number] or day[rows - 1] != date
            if opens or (len(group) > 0 and group[i] != group[begin[rows - 1]]):
                user[rows], begin[rows], day[rows], events[rows], minutes[rows] = number, i, date, 0, 0
                rows += 1
            events[rows - 1] += 1
            begins = gap[i] < 0 or (time[i] - gap[i]) // MINUTE != time[i] // MINUTE
            minutes[rows - 1] += begins
    return user[:rows], begin[:rows], day[:rows], events[:rows], minutes[:rows]


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def shrunk(told, awaited, level, weeks):
    """How much more a user does on a weekday than on others; days of so many weeks as others are stand before."""
    return (told + weeks * level) / (awaited + weeks * level)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def widened(spread, mean, days, apart):
    """The spread of a day where the mean stands on so many days, and users are so far apart."""
    return spread + 1.0 / (1.0 / apart + days / (spread + 1.0 / mean))


@njit(cache=True, nogil=True, error_model="numpy")
def walk(first, day, days, events, group, tide, season, prior, apart, spread, alike, weeks):
    """How many events each day made expect of the next: a filter over the rows of each user (`Walk`).

    `day` are the places of each row's day among `days`; `tide` (2, t) is how much everyone did before each day, and
    about then; `season` (g, 7), `prior` and `apart` (g,) are by group, `spread` is what one user's days spread by, and
    stands for `alike` days of each; that a user's days of the week are those of all stands for so many `weeks`.
    """
    users = len(first) - 1
    out = Walk(
        np.full(len(events), -1.0),
        np.zeros(len(events)),
        np.zeros(users),
        np.zeros(users),
        np.zeros((users, DAYS_OF_WEEK)),
        np.zeros((users, DAYS_OF_WEEK)),
        np.zeros(users),
        np.zeros(users),
    )
    for number in range(users):
        which = group[number]
        stands = min(max((spread + 1.0 / prior[which]) / apart[which], 0.05), 5.0)
        weight, total, before, was_high = 0.0, 0.0, 0.0, False
        told, awaited = out.told[number], out.awaited[number]
        for row in range(first[number], first[number + 1]):
            at = day[row]
            kind = (days[at] + TO_WEEKDAY) % DAYS_OF_WEEK
            if row > first[number]:
                fades = 2.0 ** (-(days[at] - days[day[row - 1]]) / HALF_LIFE)
                weight, total = weight * fades, total * fades
            level = (total + stands * prior[which]) / (weight + stands)
            usual = season[which, kind] * shrunk(told[kind], awaited[kind], level, weeks)
            expected = max(level * usual * tide[0, at] - 1.0, LEAST)
            square = expected**2
            own = (out.squares[number] + alike * spread * square) / (out.scale[number] + alike * square)
            wide = widened(max(own, LEAST_SPREAD), expected + 1.0, weight, apart[which])
            deviation = math.sqrt(expected + wide * square)
            highest, above = expected + 3.0 * deviation + 1.0, events[row] - 1.0
            is_high = above > highest
            if row > first[number]:
                out.expected[row], out.deviation[row] = expected, deviation
            if is_high and was_high:
                weight, total = 1.0, before
            elif row > first[number]:
                out.squares[number] += (min(above, highest) - expected) ** 2 - expected
                out.scale[number] += square
            taken = above if is_high and was_high else min(above, highest)
            before = (above + 1.0) / (usual * tide[1, at])
            weight, total = weight + 1.0, total + (taken + 1.0) / (usual * tide[1, at])
            told[kind] += (min(above, highest) + 1.0) / tide[1, at]
            awaited[kind] += total / weight * season[which, kind]
            was_high = is_high
        out.level[number] = (total + stands * prior[which]) / (weight + stands)
        out.days[number] = weight
    return out


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def first_chance(expected, spread):
    """The chance of nothing above one or, where that is too small for a number, its log, which is below 0."""
    log = -math.log1p(spread * expected) / spread
    return math.exp(log) if log > SMALL else log


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def next_chance(chance, reached, expected, spread):
    """The chance of one more than `reached`, or its log, by that of `reached`."""
    more = (reached * spread + 1.0) * expected / ((reached + 1.0) * (1.0 + spread * expected))
    if chance >= 0.0:
        return chance * more
    log = chance + math.log(more)
    return math.exp(log) if log > SMALL else log


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def fallen(above, expected, falls):
    """How much rarer so many above one are on unusual days: how far that is, to half the power of `falls`."""
    far = 1.0 + above / (2.0 * (expected + 1.0))
    rarer = math.sqrt(far) if falls % 2.0 == 1.0 else 1.0
    for _ in range(int(falls) // 2):
        rarer *= far
    return rarer


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def or_more(above, below, expected, unusual, falls):
    """The chance of so many above one or more, where less has the chance `below` on a usual day."""
    return (1.0 - unusual) * max(0.0, 1.0 - below) + unusual / fallen(above, expected, falls)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def odds(chance):
    """How much more likely something with at most this chance is where somebody is odd."""
    return SHARE * math.sqrt(math.sqrt(math.sqrt(chance))) / chance


@njit(cache=True, nogil=True, error_model="numpy")
def tail(count, expected, spread, unusual, falls):
    """The chance of `count` events or more, given that there is one."""
    below, chance = 0.0, first_chance(expected, spread)
    for reached in range(count - 1):
        below += max(0.0, chance)
        chance = next_chance(chance, float(reached), expected, spread)
    return or_more(count - 1.0, below, expected, unusual, falls)


@njit(cache=True, nogil=True, error_model="numpy")
def likely_shares(active, of, mean, alike):
    """The log of the chance of counts among (u,) days, of users of that mean share who are so much alike."""
    total, a, b = 0.0, mean * alike, (1.0 - mean) * alike
    each = math.lgamma(alike) - math.lgamma(a) - math.lgamma(b)
    for at in range(len(active)):
        x, n = active[at], of[at]
        total += each + math.lgamma(x + a) + math.lgamma(n - x + b) - math.lgamma(n + alike)
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def likely_counts(active, expected, alike):
    """The log of the chance of (n,) counts beside what was expected, but for a constant, of users so much alike."""
    total = 0.0
    for at in range(len(active)):
        x, mean = active[at], expected[at]
        total += math.lgamma(x + alike) - math.lgamma(alike) - (x + alike) * math.log1p(mean / alike)
        total += x * math.log(mean / alike) if x > 0.0 else 0.0
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def likely_days(above, expected, deviation, least):
    """The log of the chance of so many above one on each of (n,) days, at least so much in each deviation."""
    total = 0.0
    for at in range(len(above)):
        mean, x = expected[at], float(above[at])
        if mean > 0.0:
            size = mean**2 / (deviation[at] ** 2 - mean)
            log = math.lgamma(x + size) - math.lgamma(size) - math.lgamma(x + 1.0)
            log -= x * math.log1p(size / mean) + size * math.log1p(mean / size)
            total += max(log, math.log(least / deviation[at]))
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def beyond(above, expected, deviation, limit):
    """By what log so many above one, of each of (n,) days, are beyond what has a chance below `limit`; -1 if not."""
    found = np.full(len(above), -1.0)
    for at in range(len(above)):
        mean, most = expected[at], above[at]
        if mean > 0.0 and most > mean + 3.0 * deviation[at]:
            spread = (deviation[at] ** 2 - mean) / mean**2
            reached, below, chance = 0, 0.0, first_chance(mean, spread)
            while reached <= most and 1.0 - below >= limit:
                below += max(0.0, chance)
                chance = next_chance(chance, float(reached), mean, spread)
                reached += 1
            if reached <= most:
                found[at] = math.log(fallen(float(most), mean, 2.0) / fallen(float(reached), mean, 2.0))
    return found


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _with_minute(own, row, unusual):
    """The evidence of minutes with that of the one at hand."""
    chance = or_more(own[WITHIN] - 1.0, own[PACE_BELOW], row[PACE], unusual, PACE_FALLS)
    return min(own[PASSED] * (1.0 - row[BURST] + row[BURST] * odds(chance)), MOST)


@njit(cache=True, nogil=True, error_model="numpy")
def judge(first, users, seats, time, group, normal, others, law, held, bits, surprisal):
    """Write bits and surprisal of grouped events; what is `held` of users, by seat, moves on.

    `normal` (u, 19) is by user, zeros of those unknown, who go by `others` (g, 19); `group` (n,) is theirs, or (0,).
    """
    for number in range(len(users)):
        user, own = np.int64(users[number]), held[seats[number]]
        known = user < len(normal) and normal[user, SPREAD] > 0.0
        for i in range(first[number], first[number + 1]):
            row = normal[user] if known else others[group[i] if len(group) else 0]
            day, minute = time[i] // DAY, time[i] // MINUTE
            weekday = (day + TO_WEEKDAY) % DAYS_OF_WEEK
            expected, reached = row[EXPECTED + weekday], own[EVENTS]
            if reached == 0.0 or own[AT_DAY] != day:
                own[:] = 0.0
                own[AT_DAY], own[CHANCE] = day, first_chance(expected, row[SPREAD])
                own[PASSED], own[EVIDENCE] = 1.0, 1.0
                now, before = row[weekday] * law[ACTIVE], 1.0
                reached = 0.0
            else:
                before = or_more(reached - 1.0, own[BELOW], expected, row[UNUSUAL], law[FALLS])
                own[BELOW] += max(0.0, own[CHANCE])
                own[CHANCE] = next_chance(own[CHANCE], reached - 1.0, expected, row[SPREAD])
                now = or_more(reached, own[BELOW], expected, row[UNUSUAL], law[FALLS])
            surprisal[i] = max(0.0, math.log2(before / now))
            if own[WITHIN] == 0.0 or own[AT_MINUTE] != minute:
                own[PASSED] = _with_minute(own, row, law[UNUSUAL_PACE]) if own[WITHIN] > 0.0 else 1.0
                own[AT_MINUTE], own[WITHIN], own[PACE_BELOW] = minute, 0.0, 0.0
                own[PACE_CHANCE] = first_chance(row[PACE], row[PACE_SPREAD])
            else:
                own[PACE_BELOW] += max(0.0, own[PACE_CHANCE])
                own[PACE_CHANCE] = next_chance(own[PACE_CHANCE], own[WITHIN] - 1.0, row[PACE], row[PACE_SPREAD])
            own[EVENTS] += 1.0
            own[WITHIN] += 1.0
            of_day = odds(min(1.0, (now if reached > 0.0 else 1.0) * row[weekday]))
            evidence = 0.25 / row[weekday] + 0.375 * (of_day + _with_minute(own, row, law[UNUSUAL_PACE]))
            unspent = reached / own[EVENTS]
            bits[i] = math.log2((unspent + evidence) / (unspent + own[EVIDENCE]))
            own[EVIDENCE] = evidence
