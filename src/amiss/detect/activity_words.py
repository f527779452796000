"""What the :mod:`activity <amiss.detect.activity>` of users is called in words."""

from __future__ import annotations

import math
from datetime import date, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from amiss.baseline import Floats, Ints
from amiss.detect import Reason, activity_normal
from amiss.detect import activity_kernel as kernel
from amiss.detect.activity_normal import EPOCH, ActivityBaseline, Rows
from amiss.sessions import Events

WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

LEAST_BITS: Final = 0.5
"""What says less is no reason."""


def reasons(events: Events, baseline: ActivityBaseline) -> dict[int, list[Reason]]:
    """By user, how many events each day had and the fullest minute, where these speak against them."""
    found: dict[int, list[Reason]] = {}
    for number, user in enumerate(events.users.tolist()):
        time = events.time[int(events.first[number]) : int(events.first[number + 1])]
        group = 0
        if "group" in events.context:
            group = int(baseline.group_of(events.context["group"][int(events.first[number]) :][:1])[0])
        normal = normal_of(baseline, user, group)
        day = int(time[-1] // kernel.DAY)
        today = time[time // kernel.DAY == day]
        said = [_of_day(baseline, user, normal, day, len(today)), _of_minute(baseline, user, normal, today)]
        some = sorted((each for each in said if each.bits >= LEAST_BITS), key=lambda each: -each.bits)
        found |= {user: some} if some else {}
    return found


def normal_of(baseline: ActivityBaseline, user: int, group: int = 0) -> Floats:
    """What is normal for a user (19,), or for one of a group who is unknown."""
    if user < len(baseline.normal) and baseline.normal[user, kernel.SPREAD] > 0.0:
        known: Floats = baseline.normal[user]
        return known
    unknown: Floats = baseline.others[group]
    return unknown


def usual(baseline: ActivityBaseline, user: int) -> dict[str, str]:
    """How many events a user has, on which days, and how many in a minute."""
    place = baseline.place(user)
    if place < 0:
        return {}
    rows, own = baseline.rows, _own(baseline.rows, place)
    expected = normal_of(baseline, user)[kernel.EXPECTED : kernel.SPREAD] + 1.0
    chance = _chance(baseline, user)
    often = [weekday for weekday in range(kernel.DAYS_OF_WEEK) if chance[weekday] >= 0.5]
    days = len(rows.days) - int(rows.day[own][0])
    minutes, events = int(rows.minutes[own].sum()), int(rows.events[own].sum())
    return {
        "events": _by_weekday(expected, often or [int(chance.argmax())]),
        "days": f"active on {own.stop - own.start} of {days} days{_mostly(often)}",
        "minutes": f"about {_number(events / max(minutes, 1))} in an active minute, "
        f"never more than {_most_in_a_minute(rows, own):,}",
    }


def silent(baseline: ActivityBaseline, day: date, users: npt.NDArray[np.uint32]) -> dict[int, list[Reason]]:
    """By user, since when they are silent, and what is usual; as if all others had come that day."""
    places = [place for place in map(baseline.place, users.tolist()) if place >= 0]
    found = activity_normal.silence(baseline, day, np.array(places, dtype=np.int64))
    return {
        int(baseline.rows.users[place]): [_silence(baseline, place, bits, days, day)]
        for place, bits, days in zip(places, found.bits.tolist(), found.days.tolist(), strict=True)
    }


def _silence(baseline: ActivityBaseline, place: int, bits: float, days: int, day: date) -> Reason:
    """What is said of a user who is silent."""
    rows, own = baseline.rows, _own(baseline.rows, place)
    last = int(rows.day[own][-1])
    active, of = own.stop - own.start, last - int(rows.day[own][0]) + 1
    since = EPOCH + timedelta(days=int(rows.days[last]))
    how_long = f"the {_ordinal(days)} day in a row" if days > 1 else "all day"
    mean = _number(float(rows.events[own].mean()))
    text = (
        f"no events on {_named(day)}, {how_long}; before, until {_named(since)}, active on {active} of {of} days, "
        f"with about {mean} events a day"
    )
    return Reason("activity", bits, text, 0, days, active, of)


def _of_day(baseline: ActivityBaseline, user: int, normal: Floats, day: int, events: int) -> Reason:
    """What is said of a day with so many events."""
    weekday = (day + kernel.TO_WEEKDAY) % kernel.DAYS_OF_WEEK
    mean, falls = normal[kernel.EXPECTED + weekday], float(baseline.law[kernel.FALLS])
    chance = kernel.tail(events, mean, normal[kernel.SPREAD], float(normal[kernel.UNUSUAL]), falls)
    bits = math.log2(max(kernel.odds(min(1.0, chance * normal[weekday])), 1.0 / normal[weekday]))
    counted = f"{events:,} {_noun(events)} on a {WEEKDAYS[weekday]}"
    place = baseline.place(user)
    if place < 0:
        mean = float(normal[kernel.EXPECTED + weekday]) + 1.0
        text = f"{counted}; nothing is known of the user before, others have about {_number(mean)}"
        return Reason("activity", bits, text, events, round(mean), 0, 0)
    earlier = _earlier(baseline.rows, place, weekday)
    as_many = int((earlier >= events).sum())
    said = f"on {len(earlier)} earlier {WEEKDAYS[weekday]}{'s' if len(earlier) != 1 else ''} {_range(earlier)}"
    if not len(earlier):
        said = f"the first {WEEKDAYS[weekday]} of the user"
    others = baseline.rows.events[_own(baseline.rows, place)]
    said += f"; on any of {len(others)} active days {_range(others)}"
    expected = float(normal[kernel.EXPECTED + weekday]) + 1.0
    return Reason("activity", bits, f"{counted}; {said}", events, round(expected), as_many, len(earlier))


def _of_minute(baseline: ActivityBaseline, user: int, normal: Floats, time: Ints) -> Reason:
    """What is said of the fullest minute of a day with events at these times."""
    minutes, counted = np.unique(time // kernel.MINUTE, return_counts=True)
    most = int(counted.argmax())
    events, within = int(counted[most]), time[time // kernel.MINUTE == minutes[most]]
    unusual = float(baseline.law[kernel.UNUSUAL_PACE])
    chance = kernel.tail(events, normal[kernel.PACE], normal[kernel.PACE_SPREAD], unusual, kernel.PACE_FALLS)
    share = float(normal[kernel.BURST])
    bits = math.log2(1.0 - share + share * kernel.odds(chance))
    took = _duration(int(within.max() - within.min()))
    place = baseline.place(user)
    if place < 0:
        mean = float(normal[kernel.PACE]) + 1.0
        text = f"{events:,} {_noun(events)} within {took}; others have about {_number(mean)} in an active minute"
        return Reason("activity", bits, text, events, round(mean), 0, 0)
    own, rows = _own(baseline.rows, place), baseline.rows
    active, before = int(rows.minutes[own].sum()), int(rows.events[own].sum())
    text = (
        f"{events:,} {_noun(events)} within {took}; before, about {_number(before / max(active, 1))} in each of "
        f"{active:,} active minutes, never more than {_most_in_a_minute(rows, own):,}"
    )
    return Reason("activity", bits, text, events, round(before / max(active, 1)), 0, active)


def _own(rows: Rows, place: int) -> slice:
    """The rows of a user."""
    return slice(int(rows.first[place]), int(rows.first[place + 1]))


def _most_in_a_minute(rows: Rows, own: slice) -> int:
    """What no minute of a user had more of: all events of a day that were not one in each of its other minutes."""
    return int((rows.events[own] - rows.minutes[own]).max()) + 1


def _earlier(rows: Rows, place: int, weekday: int) -> Ints:
    """The events of a user on each earlier day of the week since the first day with any."""
    own = _own(rows, place)
    by_day = np.zeros(len(rows.days), dtype=np.int64)
    by_day[rows.day[own]] = rows.events[own]
    begin = int(rows.day[own][0])
    earlier: Ints = by_day[begin:][rows.weekday[begin:] == weekday]
    return earlier


def _chance(baseline: ActivityBaseline, user: int) -> Floats:
    """The chance that a user is active, by day of the week."""
    chance: Floats = normal_of(baseline, user)[: kernel.DAYS_OF_WEEK] * baseline.law[kernel.ACTIVE]
    return chance


def _by_weekday(expected: Floats, often: list[int]) -> str:
    """How many events are expected, on the fullest and the emptiest of some days of the week."""
    most, least = max(often, key=lambda at: expected[at]), min(often, key=lambda at: expected[at])
    high, low = _number(float(expected[most])), _number(float(expected[least]))
    if high == low or len(often) == 1:
        return f"about {high} a day"
    return f"about {high} on {WEEKDAYS[most]}s, {low} on {WEEKDAYS[least]}s"


def _mostly(often: list[int]) -> str:
    """The days of the week on which a user is active more often than not, where these are not all."""
    if not often or len(often) == kernel.DAYS_OF_WEEK:
        return ""
    if often == list(range(5)):
        return ", mostly from Monday to Friday"
    return f", mostly on {', '.join(f'{WEEKDAYS[at]}s' for at in often)}"


def _range(events: Ints) -> str:
    """The least and the most of some counts."""
    low, high = int(events.min(initial=1 << 62)) if len(events) else 0, int(events.max(initial=0))
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _number(value: float) -> str:
    """A mean as people say it."""
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}".removesuffix(".0")


def _noun(events: int) -> str:
    """One event, two events."""
    return "event" if events == 1 else "events"


def _duration(microseconds: int) -> str:
    """How long a burst took, in words."""
    seconds = math.ceil(microseconds / 1_000_000)
    return "a second" if seconds <= 1 else f"{seconds} seconds"


def _ordinal(number: int) -> str:
    """A number that counts: 1st, 2nd, 3rd."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number % 100 not in {11, 12, 13} else 0, "th")
    return f"{number}{ending}"


def _named(day: date) -> str:
    """A date with its day of the week."""
    return f"{WEEKDAYS[day.weekday()]} {day}"
