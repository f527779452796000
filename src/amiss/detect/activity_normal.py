"""What is normal for the :mod:`activity <amiss.detect.activity>` of users, from the counts of earlier days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.baseline import COUNT_SCHEMA, Floats, Ints, Past, merge
from amiss.blocks import frozen, highest
from amiss.detect import activity_kernel as kernel
from amiss.sessions import Events

EPOCH: Final = date(1970, 1, 1)

MINUTE_PLACE: Final = 1 << 32
"""A count holds events below this and, above, minutes with events: both add up."""

WALKS: Final = 3
"""How often the days are walked, each time with the spread that the last walk found."""

ENOUGH: Final = 4
"""Days of a user from which on they say how far days spread."""

BY_GROUP: Final = 5.0
"""The users whose say all have in what is normal for a group."""

BY_GROUP_DAYS: Final = 1000.0
"""The days of users whose say all have in how often users of a group go away."""

RARE: Final = (1e-6, 0.05)
RARE_PACE: Final = (1e-7, 0.01)
"""Bounds of the chance of an unusual day, and of an unusual minute."""

TIDAL: Final = 3
"""Days of a user from which on they say how much everyone did."""

FAR: Final = 1e-4
"""The chance below which a day that came is an unusual one."""

LATELY: Final = 14
"""Of so many days unusual ones are counted: before, less was known to expect."""

QUIET: Final = 0.6
"""Days of the week on which fewer than this share of the busiest day's users are active are quiet ones."""

ALIKE: Final = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""How much users may be alike, in active days that others stand for."""

SAMPLE: Final = 50_000
"""Of more users so many are asked how much they are alike."""

CHANCES: Final = (2e-4, 0.998)
"""Bounds of the chance that a user is active."""

FAR_SILENT: Final = 7.0
"""The bits from which on a silence of the past was unlike its user."""

STEADY: Final = (5, 7)
"""Active days, and days since the first, from which on silence says anything."""

AWAY: Final = 7.0
"""Days after which half of those who went away without a word are back."""

BEYOND: Final = 3.0
"""The bits by which silence is rarer, when it is told, than one of all users would be by chance."""

Users = npt.NDArray[np.uint32]

SLACK: Final = 0.05
"""By how many bits the silence up to yesterday may have become rarer by what was learned since."""

_NO_GROUP: Final = frozen(np.zeros(0, dtype=np.uint32))
_NO_CODES: Final[Ints] = np.zeros(0, dtype=np.int64)


class Rows(NamedTuple):
    """What users did by day: the code of each user (u,), where their rows begin (u + 1,), and (n,) by row.

    `day` is the place among `days` (t,), which are counted from the first of January 1970.
    """

    users: Users
    first: Ints
    group: Ints
    day: Ints
    events: Ints
    minutes: Ints
    days: Ints

    @property
    def whose(self) -> Ints:
        """The place of each row's user: (n,)."""
        return np.repeat(np.arange(len(self.users)), np.diff(self.first))

    @property
    def weekday(self) -> Ints:
        """The day of the week of each day, Monday being 0: (t,)."""
        return (self.days + kernel.TO_WEEKDAY) % kernel.DAYS_OF_WEEK


class Alike(NamedTuple):
    """How much users are alike in how their days spread, in days, and in their days of the week, in weeks."""

    spread: float
    weeks: float


ALIKE_AT_FIRST: Final = Alike(20.0, 3.0)
ALIKE_SPREADS: Final = (5.0, 20.0, 80.0, 320.0)
ALIKE_WEEKS: Final = (3.0, 12.0, 48.0)

WALKED: Final = 2_000
"""Of more users so many are asked how much they are alike in this."""


class Presence(NamedTuple):
    """On how many days users were active, of how many since their first, by day of the week (u, 7)."""

    active: Floats
    of: Floats


class Everyone(NamedTuple):
    """What is normal for everyone and, behind, for each group (g, …)."""

    season: Floats  # (g, 7) how much more a user does on a weekday
    prior: Floats  # (g,) events of a day
    apart: Floats  # (g,) how far users are apart, as a variance of ratios
    active: Floats  # (g, 7) the chance of being active
    quiet: npt.NDArray[np.bool_]  # (7,)
    tide: Floats  # (2, t + 1) how much more all did before each day, and about then
    surge: Floats  # (t + 1,) how much more than that they did the day before, at least 1


class Pace(NamedTuple):
    """How many events above one users have in a minute (u,), how these spread, and how many minutes a day has.

    The last three of those who are unknown.
    """

    mean: Floats
    spread: Floats
    minutes: Floats
    usual: float
    usual_spread: float
    usual_minutes: float
    unusual: float


def count(events: Events) -> pl.DataFrame:
    """How many events and minutes each user had on each day (`COUNT_SCHEMA`): see :data:`MINUTE_PLACE`."""
    group = events.context.get("group", _NO_GROUP)
    at, begin, day, counted, minutes = kernel.count_days(events.first, events.time, events.gap, group)
    user = events.users[at]
    columns = {
        "feature": np.zeros(len(at), np.uint8),
        "user": user,
        "given": day,
        "value": group[begin] if len(group) else np.zeros(len(at), np.int32),
        "count": counted + minutes * MINUTE_PLACE,
    }
    return merge([pl.DataFrame(columns).select(pl.col(name).cast(dtype) for name, dtype in COUNT_SCHEMA.items())])


def rows_of(past: Past) -> tuple[Rows, Ints]:
    """The rows of earlier days, without what was somebody else's; the code of each group but the first."""
    counts = past.by_user()
    if len(past.bad):
        counts = counts.join(past.bad, on=("user", "given"), how="anti", maintain_order="left")
    is_grouped = bool((counts["value"] != 0).any())
    sums = counts.group_by("user", "given", maintain_order=True).agg(pl.col("count").sum()) if is_grouped else counts
    user, ordinal, packed = (sums[name].to_numpy() for name in ("user", "given", "count"))
    first = np.flatnonzero(np.diff(user, prepend=user[:1] + 1))
    users = user[first]
    days = _days(np.unique(ordinal.astype(np.int64)))
    codes, group = _groups(counts) if is_grouped else (_NO_CODES, np.zeros(len(users), np.int64))
    bounds, day = np.append(first, len(user)).astype(np.int64), np.searchsorted(days, ordinal)
    return Rows(users, bounds, group, day, packed % MINUTE_PLACE, packed // MINUTE_PLACE, days), codes


def _days(seen: Ints) -> Ints:
    """The days with events, and those on whose day of the week there mostly are none: nobody comes on Sundays.

    Other days without any events are gaps of the source, and no days.
    """
    span = np.arange(seen[0], seen[-1] + 1)
    weekday = (span + kernel.TO_WEEKDAY) % kernel.DAYS_OF_WEEK
    is_empty = ~np.isin(span, seen)
    empty = np.bincount(weekday[is_empty], minlength=kernel.DAYS_OF_WEEK)
    is_free = (empty >= 2) & (2 * empty > np.bincount(weekday, minlength=kernel.DAYS_OF_WEEK))
    days: Ints = span[~is_empty | is_free[weekday]]
    return days


def _groups(counts: pl.DataFrame) -> tuple[Ints, Ints]:
    """The codes of groups, and the place of each user's last one behind everyone's, 0 of those without."""
    last = counts.sort("user", "given", "count").group_by("user", maintain_order=True).agg(pl.col("value").last())
    value = last["value"].to_numpy().astype(np.int64)
    codes = np.unique(value[value > 0])
    place = np.searchsorted(codes, value)
    return codes, np.where(value > 0, place + 1, 0).astype(np.int64)


@dataclass(frozen=True, eq=False)
class ActivityBaseline:
    """What users did on earlier days, and what follows from it; empty while there are too few days.

    Attributes
    ----------
    normal : (highest code + 1, 19)
        See `amiss.detect.activity_kernel.NORMAL`.
    others : (g, 19)
        The same of users who are unknown: of everyone, and of each group.
    law : (3,)
        The chance of an unusual minute, that of anybody being active on any day, and how far days fall off.
    """

    rows: Rows
    codes: Ints
    everyone: Everyone
    normal: Floats
    others: Floats
    law: Floats

    def group_of(self, codes: npt.NDArray[np.uint32]) -> Ints:
        """The rows of `others` for the codes of groups."""
        if not len(self.codes):
            return np.zeros(len(codes), dtype=np.int64)
        at = np.minimum(np.searchsorted(self.codes, codes), len(self.codes) - 1)
        return np.where(self.codes[at] == codes, at + 1, 0).astype(np.int64)

    def place(self, user: int) -> int:
        """The place of a user among those with rows, -1 of others."""
        at = int(np.searchsorted(self.rows.users, user))
        return at if at < len(self.rows.users) and int(self.rows.users[at]) == user else -1

    @cached_property
    def silences(self) -> Silences:
        """How long users have been silent, and how likely that was."""
        return silences(self.rows, self.everyone)


def baseline(past: Past, least_days: int) -> ActivityBaseline | None:
    """What is normal after earlier days, or None where there are fewer than `least_days`."""
    if len(past) == 0 or past.by_user()["given"].n_unique() < least_days:
        return None
    rows, codes = rows_of(past)
    everyone = _everyone(rows, len(codes) + 1)
    spread, alike, walked = _walked(rows, everyone)
    pace = paces(rows)
    chance = _active(presence(rows, len(rows.days)), everyone, rows.group)
    anybody = float(chance.mean())
    common = float(everyone.tide[0, -1] * everyone.surge[-1])
    usual, falls = _unusual(rows, walked, everyone.surge)
    law = np.array([pace.unusual, anybody, falls])
    others = _others(rows, everyone, float(spread[-1]), pace)
    unusual = np.maximum(usual, others[0, kernel.UNUSUAL] / (1.0 + walked.days))
    wide = _wide(spread[:-1], everyone.apart[rows.group], walked)
    known = _normal(_means(rows, everyone, walked, alike.weeks), wide, pace)
    normal = np.zeros((highest(rows.users[-1:]) + 1, kernel.NORMAL))
    normal[rows.users] = np.column_stack([chance / anybody, known, unusual])
    for table in (normal, others):
        mean = table[:, kernel.EXPECTED : kernel.SPREAD]
        mean[:] = np.where(mean > 0.0, np.maximum(mean * common - 1.0, kernel.LEAST), 0.0)
    normal = _taught(normal, others[0], past.taught)
    return ActivityBaseline(rows, codes, everyone, frozen(normal), frozen(others), frozen(law))


def _taught(normal: Floats, others: Floats, taught: pl.DataFrame) -> Floats:
    """What is normal, with days like those that a person said are to be expected of users; a row for each of these."""
    user, day, packed = (taught[name].to_numpy() for name in ("user", "given", "count"))
    whole = np.zeros((max(len(normal), highest(user.max(initial=0, keepdims=True)) + 1), kernel.NORMAL))
    whole[: len(normal)] = normal
    weekdays = (day + kernel.TO_WEEKDAY) % kernel.DAYS_OF_WEEK
    for at, weekday, count in zip(user.tolist(), weekdays.tolist(), packed.tolist(), strict=True):
        own, events = whole[at], float(count % MINUTE_PLACE)
        own[:] = own if own[kernel.SPREAD] > 0.0 else others
        own[weekday] = max(own[weekday], 1.0)
        own[kernel.EXPECTED : kernel.SPREAD] = np.maximum(own[kernel.EXPECTED : kernel.SPREAD], events - 1.0)
        own[kernel.PACE] = max(own[kernel.PACE], events - float(count // MINUTE_PLACE))
    return whole


def _everyone(rows: Rows, groups: int) -> Everyone:
    """What is normal for everyone and each group."""
    mean = _sums(rows.whose, rows.events, len(rows.users)) / np.diff(rows.first)
    ratio = np.minimum(rows.events / mean[rows.whose], 4.0)
    prior, apart = _levels(np.log(mean), rows.group, groups)
    active, quiet = _active_by_group(rows, groups)
    season = _season(rows, ratio, groups)
    return Everyone(season, prior, apart, active, quiet, *_tides(rows, ratio, season[0]))


def _tides(rows: Rows, ratio: Floats, season: Floats) -> tuple[Floats, Floats]:
    """How much more all did on the three days before each day and before the one to come, and about then; surges."""
    told = np.diff(rows.first)[rows.whose] >= TIDAL
    level = np.ones(len(rows.days))
    for at, weekday in enumerate(rows.weekday.tolist()):
        some = ratio[told & (rows.day == at)]
        share = len(some) / (len(some) + 10)
        level[at] = (np.median(some) / season[weekday]) ** share if len(some) else level[max(at - 1, 0)]
    before = [np.median(level[max(at - 3, 0) : max(at, 1)]) for at in range(len(level) + 1)]
    about = [np.median(level[max(at - 1, 0) : at + 2]) for at in range(len(level))]
    last = np.append(level[0], level)
    return np.array([before, [*about, about[-1]]]), np.maximum(1.0, last / before)


def _season(rows: Rows, ratio: Floats, groups: int) -> Floats:
    """How much more users do on each day of the week; one day as all others stands before."""
    days, season = len(rows.days), np.ones((groups, kernel.DAYS_OF_WEEK))
    is_told = np.bincount(rows.day, minlength=days) > 0
    everyone = _sums(rows.day, ratio, days) / np.maximum(np.bincount(rows.day, minlength=days), 1)
    for which in range(groups):
        mine = rows.group[rows.whose] == which if which else np.ones(len(ratio), dtype=np.bool_)
        total, of = _sums(rows.day[mine], ratio[mine], days), np.bincount(rows.day[mine], minlength=days)
        by_day = (total + BY_GROUP * everyone) / (of + BY_GROUP) if which else everyone
        for weekday in range(kernel.DAYS_OF_WEEK):
            some = by_day[(rows.weekday == weekday) & is_told]
            season[which, weekday] = (len(some) * np.median(some) + 1.0) / (len(some) + 1.0) if len(some) else 1.0
    return season


def _levels(logs: Floats, group: Ints, groups: int) -> tuple[Floats, Floats]:
    """The events of a day that a user of each group has, and how far users are apart."""
    middle = np.full(groups, logs.mean())
    apart = np.full(groups, (((logs - middle[0]) ** 2).sum() + 1.0) / (len(logs) + 1.0))
    for which in range(1, groups):
        some = logs[group == which]
        middle[which] = (some.sum() + BY_GROUP * middle[0]) / (len(some) + BY_GROUP)
        apart[which] = (((some - middle[which]) ** 2).sum() + BY_GROUP * apart[0]) / (len(some) + BY_GROUP)
    return np.exp(middle + apart / 2.0), np.minimum(np.expm1(apart), 20.0)


def _active_by_group(rows: Rows, groups: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The chance that users of each group are active by day of the week; which days of it are quiet."""
    seen = presence(rows, len(rows.days))
    active, of = seen.active.sum(axis=0), seen.of.sum(axis=0)
    overall = (active.sum() + 1.0) / (of.sum() + 2.0)
    everyone = np.where(of > 0, (active + 1.0) / (of + 2.0), overall)
    chances = np.tile(everyone, (groups, 1))
    for which in range(1, groups):
        some = rows.group == which
        chances[which] = (seen.active[some].sum(axis=0) + 20.0 * everyone) / (seen.of[some].sum(axis=0) + 20.0)
    return chances, everyone < QUIET * everyone.max()


def presence(rows: Rows, until: int | Ints) -> Presence:
    """On how many days behind their first, and before the place `until`, users were active, by day of the week."""
    users, weekday = len(rows.users), rows.weekday
    passed = np.zeros((len(rows.days) + 1, kernel.DAYS_OF_WEEK))
    passed[np.arange(len(rows.days)) + 1, weekday] = 1.0
    passed = np.cumsum(passed, axis=0)
    begin = rows.day[rows.first[:-1]]
    later = np.ones(len(rows.day), dtype=np.bool_)
    later[rows.first[:-1]] = False
    cell = rows.whose[later] * kernel.DAYS_OF_WEEK + weekday[rows.day[later]]
    active = np.bincount(cell, minlength=users * kernel.DAYS_OF_WEEK).reshape(users, kernel.DAYS_OF_WEEK)
    return Presence(active.astype(np.float64), passed[np.full(users, until)] - passed[begin + 1])


def _active(seen: Presence, everyone: Everyone, group: Ints) -> Floats:
    """The chance that users are active by day of the week (u, 7).

    A user's days of the week back off to the user's quiet or other days, these to all the user's days, these to the
    group's: as far as users are alike, by what makes their days most likely.
    """
    theirs = everyone.active[group]
    overall, active, of = theirs.mean(axis=1), seen.active.sum(axis=1), seen.of.sum(axis=1)
    each = slice(None, None, 1 + len(of) // SAMPLE)
    alike = max(ALIKE, key=lambda much: kernel.likely_shares(active[each], of[each], float(overall.mean()), much))
    own = (active + alike * overall) / (of + alike)
    chance = np.empty_like(theirs)
    for kind in (everyone.quiet, ~everyone.quiet):
        if kind.any():
            middle = theirs[:, kind].mean(axis=1)
            back = _moved(own, overall, middle)
            some = _backed_off(seen.active[:, kind].sum(axis=1), seen.of[:, kind].sum(axis=1), back)
            back = _moved(some[:, None], middle[:, None], theirs[:, kind])
            chance[:, kind] = _backed_off(seen.active[:, kind], seen.of[:, kind], back)
    return chance


def _backed_off(active: Floats, of: Floats, back: Floats) -> Floats:
    """The chance of being active on days of a kind, by how often users were, backed off to that of more days."""
    expected = of * back
    told = active[of > 0], expected[of > 0]
    seen, awaited = (column[:: 1 + len(column) // SAMPLE] for column in told)
    alike = max(ALIKE, key=lambda much: kernel.likely_counts(seen, awaited, much))
    chance: Floats = np.clip(back * (active + alike) / (expected + alike), *CHANCES)
    return chance


def _moved(chance: Floats, of: Floats, to: Floats) -> Floats:
    """A chance whose odds change as those of everyone do."""
    odds: Floats = chance / (1.0 - chance) * (1.0 - of) / of * to / (1.0 - to)
    return odds / (1.0 + odds)


def _walked(rows: Rows, everyone: Everyone) -> tuple[Floats, Alike, kernel.Walk]:
    """How far the days of each user spread and, last, those of one like all; how users are alike; and the last walk."""
    usual = 1.0
    for _ in range(WALKS - 1):
        usual = _usual(rows, _walk(rows, everyone, usual, ALIKE_AT_FIRST))
    alike = _alike(rows, everyone, usual)
    found = _walk(rows, everyone, usual, alike)
    usual = _usual(rows, found)
    square = np.maximum(found.level - 1.0, kernel.LEAST) ** 2
    spread = (found.squares + alike.spread * usual * square) / (found.scale + alike.spread * square)
    return np.append(np.maximum(spread, max(usual / 3.0, kernel.LEAST_SPREAD)), usual), alike, found


def _walk(rows: Rows, everyone: Everyone, usual: float, alike: Alike) -> kernel.Walk:
    """A walk with what is known of everyone."""
    walked: kernel.Walk = kernel.walk(
        rows.first, rows.day, rows.days, rows.events, rows.group, everyone.tide, *everyone[:3], usual, *alike
    )
    return walked


def _usual(rows: Rows, walked: kernel.Walk) -> float:
    """How far the days of a user spread on average."""
    enough = np.diff(rows.first) >= ENOUGH
    each = np.clip(walked.squares[enough] / walked.scale[enough], kernel.LEAST_SPREAD, kernel.MOST_SPREAD)
    return float((each.sum() + 1.0) / (len(each) + 1.0))


def _alike(rows: Rows, everyone: Everyone, usual: float) -> Alike:
    """How much users are alike, by what makes the days of some of them most likely, each by those before."""
    some = _some(rows, 1 + (len(rows.users) - 1) // WALKED)

    def likely(alike: Alike) -> float:
        found = _walk(some, everyone, usual, alike)
        return float(kernel.likely_days(some.events - 1, found.expected, found.deviation, FAR))

    alike = max((ALIKE_AT_FIRST._replace(spread=days) for days in ALIKE_SPREADS), key=likely)
    return max((alike._replace(weeks=weeks) for weeks in ALIKE_WEEKS), key=likely)


def _some(rows: Rows, every: int) -> Rows:
    """The rows of one in so many users."""
    kept = rows.whose % every == 0
    first = np.append(0, np.cumsum(np.diff(rows.first)[::every]))
    day, events, minutes = rows.day[kept], rows.events[kept], rows.minutes[kept]
    return Rows(rows.users[::every], first, rows.group[::every], day, events, minutes, rows.days)


def _unusual(rows: Rows, walked: kernel.Walk, surge: Floats) -> tuple[float, float]:
    """The chance of a day far above what was expected of it, and of everyone, and how such days fall off.

    A user has up to three. The exponent is Hill's estimate, to which six days with one of 3.5 are added, less half its
    standard error; twice that.
    """
    late, more = rows.days[rows.day] > rows.days[-1] - LATELY, surge[rows.day + 1]
    logs = kernel.beyond(rows.events - 1, walked.expected * more, walked.deviation * more, FAR)
    far = late & (logs >= 0.0)
    of = np.bincount(rows.whose[far], minlength=len(rows.users))
    total = _sums(rows.whose[far], logs[far], len(rows.users))
    few = of > 0
    apart = float((total[few] * np.minimum(of[few], 3) / of[few]).sum())
    days = float(np.minimum(of, 3).sum()) + 6.0
    falls = np.floor((2.0 * days - np.sqrt(days)) / (apart + 6.0 / 3.5))
    return _rare(far, rows, int((late & (walked.expected >= 0.0)).sum()), RARE), float(np.clip(falls, 4.0, 12.0))


def _rare(which: npt.NDArray[np.bool_], rows: Rows, of: int, bounds: tuple[float, float]) -> float:
    """The chance of some rows among so many, a user having up to three, within bounds."""
    found = np.minimum(np.bincount(rows.whose[which], minlength=len(rows.users)), 3).sum()
    return float(np.clip((found + 1.0) / (of + 2.0), *bounds))


def paces(rows: Rows) -> Pace:
    """How many events users have in a minute in which they have any."""
    users, whose = len(rows.users), rows.whose
    days = np.diff(rows.first).astype(np.float64)
    above, minutes = (rows.events - rows.minutes).astype(np.float64), np.maximum(rows.minutes, 1).astype(np.float64)
    minutes_each, usual_spread = _sums(whose, minutes, users), 1.0
    mean = _sums(whose, above, users) / minutes_each
    for _ in range(WALKS):
        usual = (float(mean.sum()) + 0.5) / (users + 1.0)
        mean = np.maximum((mean * minutes_each + 20.0 * usual) / (minutes_each + 20.0), kernel.LEAST)
        wide = np.sqrt(minutes * (mean + usual_spread * mean**2)[whose])
        kept = np.minimum(above, mean[whose] * minutes + 4.0 * wide + 1.0)
        squares = _sums(whose, (kept - mean[whose] * minutes) ** 2 / minutes, users) - days * mean
        each = np.clip(squares / (days * mean**2), 0.05, 20.0)[days >= 3]
        usual_spread = float((each.sum() + 1.0) / (len(each) + 1.0))
        mean = _sums(whose, kept, users) / minutes_each
    mean = np.maximum((mean * minutes_each + 20.0 * usual) / (minutes_each + 20.0), kernel.LEAST)
    spread = np.maximum((squares / mean**2 + 10.0 * usual_spread) / (days + 10.0), usual_spread / 2.0)
    far = above > mean[whose] * minutes + 6.0 * np.sqrt(minutes * (mean + spread * mean**2)[whose]) + 3.0
    apart = min((float(((mean / usual - 1.0) ** 2).sum()) + 1.0) / (users + 1.0), 20.0)
    wider = spread + 1.0 / (1.0 / apart + minutes_each / (spread + 1.0 / mean))
    usual_minutes = float((minutes_each / days).mean())
    daily = (minutes_each + usual_minutes) / (days + 1.0)
    unusual = _rare(far, rows, int(minutes.sum()), RARE_PACE)
    return Pace(mean, wider, daily, max(usual, kernel.LEAST), usual_spread + apart, usual_minutes, unusual)


def _means(rows: Rows, everyone: Everyone, walked: kernel.Walk, weeks: float) -> Floats:
    """The events of users' days by day of the week, as those of all are for so many weeks: (u, 7)."""
    level = walked.level[:, None]
    usual = everyone.season[rows.group] * (walked.told + weeks * level) / (walked.awaited + weeks * level)
    means: Floats = level * usual
    return means


def _wide(spread: Floats, apart: Floats, walked: kernel.Walk) -> Floats:
    """How far days of users may spread, as their means may be wrong as well."""
    wide: Floats = spread + 1.0 / (1.0 / apart + walked.days / (spread + 1.0 / walked.level))
    return wide


def _normal(means: Floats, wide: Floats, pace: Pace) -> Floats:
    """The middle columns of what is normal for users who are known; of days how many events there are."""
    return np.column_stack([means, wide, pace.mean, pace.spread, 1.0 / (2.0 + pace.minutes)])


def _others(rows: Rows, everyone: Everyone, spread: float, pace: Pace) -> Floats:
    """What is normal for users who are unknown, by how users began; of days how many events there are."""
    wide = spread + everyone.apart
    at, kind = rows.first[:-1], rows.weekday[rows.day[rows.first[:-1]]]
    expected = np.maximum(everyone.prior[rows.group] * everyone.season[rows.group, kind] - 1.0, kernel.LEAST)
    deviation = np.sqrt(expected + wide[rows.group] * expected**2)
    far = np.zeros(len(rows.day), dtype=np.bool_)
    far[at] = kernel.beyond(rows.events[at] - 1, expected, deviation, FAR) >= 0.0
    unusual = _rare(far, rows, len(at), RARE)
    minutes = [pace.usual, pace.usual_spread, 1.0 / (2.0 + pace.usual_minutes), unusual]
    anybody = np.ones((len(wide), kernel.DAYS_OF_WEEK))
    mean = everyone.prior[:, None] * everyone.season
    return np.column_stack([anybody, mean, wide, np.tile(minutes, (len(wide), 1))])


def _sums(which: Ints, values: npt.NDArray[np.generic], size: int) -> Floats:
    """The sums of values by place."""
    sums: Floats = np.bincount(which, weights=values.astype(np.float64), minlength=size).astype(np.float64)
    return sums


class Silences(NamedTuple):
    """How long users have been silent, by user (u,), and how likely silence is.

    The last two are of today, and of the day before as it was judged then, so that each silence is told of once.
    """

    last: Ints  # the place of the last active day
    active: Floats  # (u, 7) the chance of being active, by the days up to that
    bits: Floats  # against days since as silent as they were
    counts: npt.NDArray[np.bool_]  # whether there is enough to go by
    busy: Floats  # (g, t) how many of those of each group to be expected came on each day, at most 1
    leave: Floats  # (2, u) the chance that a user goes away, by what others of all and of the group did
    least: Floats  # (2, u) the bits that are rare enough


def silences(rows: Rows, everyone: Everyone) -> Silences:
    """How long users have been silent, and how likely that was."""
    last = rows.day[rows.first[1:] - 1]
    until = presence(rows, last + 1)
    active = _active(until, everyone, rows.group)
    busy = _busy(rows, everyone)
    price = -np.log2(1.0 - active[:, rows.weekday] * busy[rows.group])
    passed = np.hstack([np.zeros((len(last), 1)), np.cumsum(price, axis=1)])
    bits = passed[:, -1] - passed[np.arange(len(last)), last + 1]
    begin = rows.day[rows.first[:-1]]
    steady = (until.active.sum(axis=1) + 1 >= STEADY[0]) & (last - begin >= STEADY[1])
    return Silences(last, active, bits, steady, busy, *_bars(rows, passed))


def _busy(rows: Rows, everyone: Everyone) -> Floats:
    """How many of the users of each group to be expected came on each day: (g, t), at most 1."""
    chance = _active(presence(rows, len(rows.days)), everyone, rows.group)
    came, due = _attendance(rows, chance, np.ones(len(chance), dtype=np.bool_))
    share = np.tile((came + 1.0) / (due + 1.0), (len(everyone.prior), 1))
    for which in range(1, len(share)):
        came, due = _attendance(rows, chance, rows.group == which)
        share[which] = (came + share[0]) / (due + 1.0)
    busy: Floats = np.minimum(1.0, share)
    return busy


def _attendance(rows: Rows, chance: Floats, of: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """How many of some users came on each day, and how many but one were to be expected: both (t,)."""
    days, begin = len(rows.days), rows.day[rows.first[:-1]][of]
    known = np.array([_sums(begin, column, days) for column in chance[of].T]).cumsum(axis=1)
    due = known[rows.weekday, np.arange(days)]
    one = due / np.maximum(np.cumsum(np.bincount(begin, minlength=days)), 1)
    return _sums(rows.day[of[rows.whose]], np.ones(of[rows.whose].sum()), days), due - one


class Within(NamedTuple):
    """What users did within some days, by user (u,)."""

    there: npt.NDArray[np.bool_]  # whether they came at all
    days: Floats  # of those of whom silence says anything, from their first day to their last
    often: Ints  # how often these went away
    now: npt.NDArray[np.bool_]  # whether they are away at the end


def within(rows: Rows, passed: Floats, begin: int, end: int) -> Within:
    """How often users went away within the days from one place to before another."""
    kept, users = (rows.day >= begin) & (rows.day < end), len(rows.users)
    whose, day = rows.whose[kept], rows.day[kept]
    came, first, last = np.bincount(whose, minlength=users), np.full(users, end), np.full(users, begin - 1)
    np.minimum.at(first, whose, day)
    np.maximum.at(last, whose, day)
    steady = (came >= STEADY[0]) & (last - first >= STEADY[1])
    at, follows = whose[1:], whose[1:] == whose[:-1]
    back = follows & (passed[at, day[1:]] - passed[at, day[:-1] + 1] >= FAR_SILENT)
    now = steady & (passed[:, end] - passed[np.arange(users), last + 1] >= FAR_SILENT)
    often = np.minimum(np.bincount(at[back], minlength=users) + now, 2) * steady
    return Within(came > 0, ((last - first) * steady).astype(np.float64), often, now)


def _bars(rows: Rows, passed: Floats) -> tuple[Floats, Floats]:
    """The chance that users go away, and the bits that are rare enough, of today and of the day before: both (2, u).

    Today leaves out the oldest day, so that the day before is judged by as many days, and as it was then. Users without
    a group are judged by all days, the same on both, and by powers of two, rounded up: they go in waves (a course
    ends), and nobody is told of because a wave of others has been forgotten.
    """
    days, alone = len(rows.days), rows.group == 0
    spans = [within(rows, passed, begin, days - 1 + begin) for begin in (1, 0)]
    leave = np.array([_leave(rows.group, span) for span in spans])
    rare = np.repeat(np.log2([[span.there.sum()] for span in spans]), len(alone), axis=1)
    leave[:, alone] = _power(_leave_of_all(within(rows, passed, 0, days)))
    rare[:, alone] = np.ceil(np.log2(len(alone)))
    return leave, rare + BEYOND


def _leave(group: Ints, seen: Within) -> Floats:
    """The chance a day that a steady user of a group goes away, by what its others did, and so many days of all."""
    often, days = (_sums(group, each, 1)[group] for each in (seen.often, seen.days))
    chance: Floats = (often - seen.now + BY_GROUP_DAYS * _leave_of_all(seen)) / (days + BY_GROUP_DAYS)
    return chance


def _leave_of_all(seen: Within) -> float:
    """The chance a day that a steady user goes away, by how often they did, up to two times each."""
    return float((seen.often.sum() + 2.0) / (seen.days.sum() + 1000.0))


def _power(chance: float) -> float:
    """A chance rounded up to a power of two."""
    return float(2.0 ** np.ceil(np.log2(chance)))


class Silence(NamedTuple):
    """Of users, by how many bits they are silent with a day, and with the day before; days in a row."""

    bits: Floats
    before: Floats
    days: Ints


def absent(baseline: ActivityBaseline, day: date, present: Users) -> tuple[Ints, Floats]:
    """The places of users whose silence on a day is the first that says enough, and by how many bits.

    Enough is what one of all users reaches by chance on one of eight days.
    """
    rows = baseline.rows
    here = np.isin(rows.users, present)
    if not here.any():
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    chance = baseline.normal[rows.users, day.weekday()] * baseline.law[kernel.ACTIVE]
    found = silence(baseline, day, np.arange(len(here)), _came(here, chance, rows.group))
    today, before = baseline.silences.least
    is_first = (found.bits >= today) & (found.before < before + SLACK)
    told = np.flatnonzero(baseline.silences.counts & ~here & is_first)
    return told, found.bits[told]


def silence(baseline: ActivityBaseline, day: date, places: Ints, came: Floats | float = 1.0) -> Silence:
    """How users at some places are silent on a day on which this share of the others came."""
    rows, known = baseline.rows, baseline.silences
    last, passed = known.last[places], known.bits[places]
    now = passed - np.log2(1.0 - known.active[places, day.weekday()] * came)
    since = (day - EPOCH) // timedelta(days=1) - rows.days[last]
    leave, before = known.leave[:, places]
    bits = _mixed(now, since, leave)
    return Silence(bits, _mixed(passed, rows.days[-1] - rows.days[last], before), len(rows.days) - last)


def _came(here: npt.NDArray[np.bool_], chance: Floats, group: Ints) -> Floats:
    """The share of the other users of the group to be expected who came; at most 1."""
    everyone = (here.sum() + 1.0) / (chance.sum() - chance + 1.0)
    came, due = _sums(group, here, 1)[group], _sums(group, chance, 1)[group] - chance
    theirs = np.where(group > 0, (came + everyone) / (due + 1.0), everyone)
    share: Floats = np.minimum(1.0, theirs)
    return share


def _mixed(bits: Floats, days: Ints, leave: Floats) -> Floats:
    """The bits of a silence of so many days, where users also go away."""
    back = 1.0 / (1.0 + (days / AWAY) ** 2)
    mixed: Floats = -np.log2((1.0 - leave) * np.exp2(-bits) + leave * back)
    return mixed
