"""Logs of an invented marketplace: buyers, merchants, and a few users who are amiss.

Each user comes at a random second of the day and then walks along the chances of their kind, with a random gap
before each further action, until the end of the walk or of the day. Whose turn is next says a heap.

The form ``like_seed`` makes the random draws, in the order and with the names, of the notebooks that this
simulator is modelled on: the same log comes out, event for event.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
import time
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from datetime import date as Date  # noqa: N812 - `date` is the parameter that callers set
from functools import cache, lru_cache, partial
from heapq import heapify, heappop, heapreplace
from itertools import accumulate, islice
from operator import add
from pathlib import Path
from random import Random
from typing import Final, Literal, NamedTuple

from amiss.errors import UsageError
from amiss.simulate.outputs import Writable, opened
from amiss.simulate.profiles import END, Profile, load_profiles

DAY_SECONDS: Final = 86_400
USER_BITS: Final = 24
USER_MASK: Final = (1 << USER_BITS) - 1
LINES_AT_ONCE: Final = 8_192
FIRST_DATE: Final = Date(2019, 1, 1)
VISIT_SECONDS: Final = 3_600
"""How long a user of a live marketplace stays at the most."""

SECONDS_PER_EVENT: Final = 93.0
"""How often a user of a live marketplace does something on average, the time away counted."""

MOST_LIVE_USERS: Final = 1_000_000

BUSY_SECONDS: Final = 300
"""After which as many users are about as will be."""
AWAY_SECONDS: Final = 1_800
"""How long such a user is away at the most."""
AS_FAST_AS_CAN_BE: Final = 100_000
"""The rate from which on it is not kept to."""
LINES_A_TICK: Final = 1_024
TICK_SECONDS: Final = 0.01
LAG_SECONDS: Final = 1.0
"""How far events may lag behind the rate before it counts from anew."""


class Event(NamedTuple):
    """One line of the log, with the truth about its user beside it."""

    time: datetime
    user: str
    path: str
    status: str
    type: str


@dataclass(frozen=True)
class Report:
    """How many events of how many users were written, and in how many seconds."""

    events: int
    users: int
    seconds: float

    @property
    def events_per_second(self) -> float:
        """Events written per second."""
        return self.events / self.seconds if self.seconds > 0 else 0.0


def simulate(
    profiles: Sequence[Profile] | None = None,
    *,
    users: int,
    days: int = 1,
    seed: int = 42,
    date: Date = FIRST_DATE,
    new_users_per_day: int = 0,
    active_users: int | None = None,
    like_seed: bool = False,
) -> Iterator[Event]:
    """The events of a marketplace in order of time.

    Each day has its own random numbers, which follow from `seed` and its date: the second day of a log of two
    days is the log of one day that begins a day later (while no new users join).

    Parameters
    ----------
    profiles
        Kinds of users, from :func:`load_profiles`; those of the marketplace when left out.
    users
        How many there are on the first day.
    days
        How many days; the same users return each day with a new start second.
    seed
        Where the random numbers begin.
    date
        The first day.
    new_users_per_day
        How many more users there are from each further day on.
    active_users
        How many of all users, drawn at random, come on each day; all when left out.
    like_seed
        Whether to make the draws of the original notebooks. Users are then named by kind and by place in the
        list of the day, so that the same name on two days need not be the same user.

    Returns
    -------
    events
        Times are whole seconds, UTC. What would come after midnight is cut. Ties are in order of the users.

    Raises
    ------
    UsageError
        If a number is out of range; all such are listed.

    Examples
    --------
    >>> first = next(simulate(users=1000, like_seed=True))
    >>> first.user, first.path, first.status, str(first.time)
    ('merchant512', 'login', 'success', '2019-01-01 00:00:53+00:00')
    >>> next(simulate(users=1000)).user
    'u0767'
    """
    plan = _Plan(users, days, seed, date, new_users_per_day, active_users, like_seed)
    _check(plan)
    return _events(plan, load_profiles() if profiles is None else profiles)


def write_marketplace(
    output: Path | Literal["-"],
    *,
    users: int,
    days: int = 1,
    seed: int = 42,
    date: Date = FIRST_DATE,
    new_users_per_day: int = 0,
    active_users: int | None = None,
    profiles: Path | None = None,
    like_seed: bool = False,
    truth: Path | None = None,
) -> Report:
    """What was written: a log, and apart from it the truth about its users.

    Parameters
    ----------
    output
        A file, or ``-`` for the standard output. CSV when the name ends in ``.csv``, else NDJSON, with the keys
        time (ISO 8601, UTC), user, action, outcome; with `like_seed` time, user, path, status, uidx, realtype.
        Compressed when the name ends in ``.gz``.
    profiles
        A TOML file with kinds of users; those of the marketplace when left out.
    truth
        A CSV file with the columns user, type, abnormal, and a row per user of the log.
    users, days, seed, date, new_users_per_day, active_users, like_seed
        As for :func:`simulate`.

    Raises
    ------
    ConfigError
        If the profiles are wrong.
    UsageError
        If a number is out of range, or `truth` is the same file as `output`.
    SinkError
        If a file cannot be written.
    """
    began = time.perf_counter()
    if truth is not None and output != "-" and truth.resolve() == Path(output).resolve():
        raise UsageError(f"the log and the truth cannot both be written to {truth}; name two files")
    plan = _Plan(users, days, seed, date, new_users_per_day, active_users, like_seed)
    _check(plan)
    kinds = load_profiles(profiles)
    with opened(output) as file:
        events, seen = _write_log(plan, kinds, file, csv_form=str(output).endswith((".csv", ".csv.gz")))
    if truth is not None:
        _write_truth(truth, kinds, seen)
    return Report(events, len(seen), time.perf_counter() - began)


def write_live(
    output: Path | Literal["-"],
    *,
    rate: float,
    users: int | None = None,
    seed: int = 42,
    days: int | None = None,
    events: int | None = None,
    date: Date | None = None,
    profiles: Path | None = None,
    truth: Path | None = None,
) -> Report:
    """What was written of a marketplace where something goes on all the time: events as they happen, times of now.

    The users' steps are those of :func:`simulate`; they come, leave, and come again after a while. With as many users
    as it takes for the rate, they keep their pace; with more or fewer, a simulated second takes longer or less long.

    Parameters
    ----------
    output
        A file, or ``-`` for the standard output; CSV when the name ends in ``.csv``, else NDJSON, as
        :func:`write_marketplace` writes it, with milliseconds. Written on at least every 20 ms.
    rate
        Events per second on average; from 100,000 on, as many as can be. What a slow reader holds up for more than a
        second is not caught up with.
    days, events
        When to stop; never when left out.
    date
        Write at once what would have happened at this rate from the beginning of that day on, instead of now.
    truth
        A CSV file with the columns user, type, abnormal, and a row per user; written at the beginning.
    users
        As many as make the rate at their own pace unless given, up to `MOST_LIVE_USERS`.
    seed, profiles
        As for :func:`write_marketplace`.

    Raises
    ------
    ConfigError
        If the profiles are wrong.
    UsageError
        If a number is out of range, or a file is named that cannot be followed.
    SinkError
        If a file cannot be written.
    BrokenPipeError
        If the reader of the standard output has gone.
    """
    began = time.perf_counter()
    _check_live(output, rate, events, truth)
    if date is not None and days is None and events is None:
        raise UsageError("the events of a day that is past have no end by themselves: say how many, or how many days")
    users = users if users is not None else min(math.ceil(rate * SECONDS_PER_EVENT), MOST_LIVE_USERS)
    _check(_Plan(users, days or 1, seed, FIRST_DATE, 0, None, like_seed=False))
    kinds = load_profiles(profiles)
    random = _generator(f"{seed} live")
    today = _draw_kinds(_generator(f"{seed} users"), kinds, users)
    names = [f"u{user + 1:04d}" for user in range(users)]
    if truth is not None:
        _write_truth(truth, kinds, dict(zip(names, today, strict=True)))
    walks = _walks(kinds)
    seconds = float("inf") if days is None else days * float(DAY_SECONDS)
    pace = _Pace(rate, sys.maxsize if events is None else events, seconds, _midnight(date))
    with opened(output) as file:
        form = _FORMS[str(output).endswith(".csv"), False]
        file.write(form.header.encode())
        stamp = partial(_live_stamp, json_form=not form.header)
        unseen = round(users * BUSY_SECONDS / SECONDS_PER_EVENT)
        texts = _live_texts(form, names, walks, _endless_walk(today, walks, random, unseen))
        for moments in pace.due():
            file.write("".join(map(add, map(stamp, moments), texts)).encode())
            file.flush()
    return Report(pace.done, users, time.perf_counter() - began)


def _check_live(output: Path | Literal["-"], rate: float, events: int | None, truth: Path | None) -> None:
    """Refuse what does not go with events as they happen, all at once."""
    problems = []
    if not 0 < rate < float("inf"):
        problems.append(f"rate is {rate:g}; expected more than 0 events a second")
    if events is not None and events < 1:
        problems.append(f"events is {events:,}; expected 1 or more")
    if str(output).endswith(".gz"):
        problems.append(f"{output} would be compressed, which cannot be read while it is written; leave out .gz")
    if truth is not None and output != "-" and truth.resolve() == Path(output).resolve():
        problems.append(f"the log and the truth cannot both be written to {truth}; name two files")
    if problems:
        raise UsageError("\n".join(problems))


class _Pace:
    """When events happen: at a steady rate from now on, until there were enough or the time is up."""

    def __init__(self, rate: float, events: int, seconds: float, start: int | None = None) -> None:
        self.done = 0
        self._start = start
        self._rate = rate
        self._events = events
        self._seconds = seconds

    def due(self) -> Iterator[list[int]]:
        """The milliseconds since 1970 of the events that are due, each time some are."""
        if self._start is not None:
            yield from self._past(self._start)
            return
        began = time.monotonic()
        first, before = began, 0
        while self.done < self._events and (now := time.monotonic()) - began < self._seconds:
            if self._rate >= AS_FAST_AS_CAN_BE:
                count = min(LINES_A_TICK, self._events - self.done)
                self.done += count
                yield [int(time.time() * 1000)] * count
                continue
            if now - first - (self.done - before) / self._rate > LAG_SECONDS:
                first, before = now, self.done
            count = min(int((now - first) * self._rate) + 1 - (self.done - before), self._events - self.done)
            if count > 0:
                start = (time.time() - now + first) * 1000
                numbers = range(self.done - before, self.done - before + count)
                self.done += count
                yield [int(start + 1000 * number / self._rate) for number in numbers]
            following = first + (self.done - before) / self._rate
            time.sleep(max(following - time.monotonic(), TICK_SECONDS))

    def _past(self, start: int) -> Iterator[list[int]]:
        """The same from a moment on, without waiting for it."""
        while self.done < (enough := min(self._events, self._seconds * self._rate)):
            numbers = range(self.done, min(self.done + LINES_A_TICK, math.ceil(enough)))
            self.done = numbers.stop
            yield [int(start + 1000 * number / self._rate) for number in numbers]


def _midnight(day: Date | None) -> int | None:
    """The milliseconds since 1970 at which a day begins."""
    return None if day is None else int(datetime.combine(day, datetime.min.time(), UTC).timestamp() * 1000)


def _endless_walk(kinds: Sequence[int], walks: _Walks, random: Random, unseen: int) -> Iterator[tuple[int, int]]:
    """The events of users who come again and again: place of the user, number of the action.

    A user who has come to the end, or has stayed for an hour, is away for up to half an hour. The first events are not
    given: by then as many users are about as will be, each of whom begins anew.
    """
    chance, bits = random.random, random.getrandbits
    heap = [random.randint(1, AWAY_SECONDS) << USER_BITS | place for place in range(len(kinds))]
    heapify(heap)
    steps = walks.steps
    starts = [steps[walks.starts[kind]] for kind in kinds]
    states, leaves = list(starts), [0] * len(kinds)
    while True:
        turn = heap[0]
        place = turn & USER_MASK
        step = states[place]
        if step is None or turn >> USER_BITS > leaves[place] > 0:
            states[place], leaves[place] = starts[place], 0
            heapreplace(heap, turn + (random.randint(1, AWAY_SECONDS) << USER_BITS))
            continue
        if not leaves[place]:
            leaves[place] = (turn >> USER_BITS) + VISIT_SECONDS
        sums, total, last, following, velocity, velocity_bits = step
        action = following[bisect(sums, chance() * total, 0, last)]
        gap = bits(velocity_bits)
        while gap >= velocity:
            gap = bits(velocity_bits)
        states[place] = steps[action]
        heapreplace(heap, turn + ((gap + 1) << USER_BITS))
        if unseen <= 0:
            yield place, action
        elif (unseen := unseen - 1) == 0:
            states, leaves = list(starts), [0] * len(kinds)


def _live_texts(form: _Form, names: list[str], walks: _Walks, walk: Iterator[tuple[int, int]]) -> Iterator[str]:
    """The lines of a walk, without their times."""
    ends = [form.action(*label) for label in walks.labels]
    users = [form.user(name) for name in names]
    for place, action in walk:
        yield users[place] + ends[action]


class _Plan(NamedTuple):
    """What to simulate; see :func:`simulate`."""

    users: int
    days: int
    seed: int
    date: Date
    new_users_per_day: int
    active_users: int | None
    like_seed: bool


class _Day(NamedTuple):
    """Who comes on one day: numbers, names and kinds of the users, and the random numbers of the day."""

    date: Date
    numbers: Sequence[int]
    names: list[str]
    kinds: list[int]
    random: Random


class _Step(NamedTuple):
    """What a user of one kind does after one action."""

    cumulative: list[float]
    total: float
    last: int
    following: list[int]
    velocity: int
    velocity_bits: int


class _Walks(NamedTuple):
    """The rows of all kinds, numbered: where each kind starts, what comes next, what the log shows of it."""

    starts: list[int]
    steps: list[_Step | None]
    labels: list[tuple[str, str]]


def _check(plan: _Plan) -> None:
    """Refuse numbers that are out of range, all at once."""
    low = {"users": 1, "days": 1, "new_users_per_day": 0, "active_users": 1}
    problems = [
        f"{name} is {value:,}; expected {least} or more"
        for name, least in low.items()
        if (value := getattr(plan, name)) is not None and value < least
    ]
    if plan.active_users is not None and plan.active_users > plan.users >= 1:
        problems.append(f"active_users is {plan.active_users:,}; expected at most users, {plan.users:,}")
    if plan.users + plan.new_users_per_day * max(plan.days - 1, 0) > USER_MASK:
        problems.append(f"more than {USER_MASK:,} users; expected fewer users, new_users_per_day or days")
    if plan.days > (Date.max - plan.date).days:
        problems.append(f"{plan.days:,} days from {plan.date} end after the year 9999; expected fewer days")
    if problems:
        raise UsageError("\n".join(problems))


def _generator(seed: int | str) -> Random:
    """Random numbers that follow from a seed, the same in every version of Python."""
    return Random(seed)  # noqa: S311 - a simulation must be repeatable, not secret


def _days(plan: _Plan, profiles: Sequence[Profile]) -> Iterator[_Day]:
    """The days in order, each with its users."""
    make = _day_like_seed if plan.like_seed else _day
    kinds: list[int] = []
    for number in range(plan.days):
        yield make(plan, profiles, number, kinds)


def _day(plan: _Plan, profiles: Sequence[Profile], number: int, kinds: list[int]) -> _Day:
    """One day whose random numbers follow from seed and date; adds the kinds of the users that join."""
    date = plan.date + timedelta(days=number)
    joining = f"{plan.seed} users" if number == 0 else f"{plan.seed} users {date}"
    kinds += _draw_kinds(_generator(joining), profiles, plan.new_users_per_day if number else plan.users)
    random = _generator(f"{plan.seed} day {date}")
    numbers = range(len(kinds)) if plan.active_users is None else sorted(_sample(random, kinds, plan.active_users))
    return _Day(date, numbers, [f"u{user + 1:04d}" for user in numbers], [kinds[user] for user in numbers], random)


def _day_like_seed(plan: _Plan, profiles: Sequence[Profile], number: int, kinds: list[int]) -> _Day:
    """One day drawn as the notebooks draw it: the same numbers again for who comes and for what they do."""
    random = _generator(plan.seed + number)
    kinds += _draw_kinds(random, profiles, plan.new_users_per_day if number else plan.users)
    chosen = range(len(kinds)) if plan.active_users is None else _sample(random, kinds, plan.active_users)
    today = [kinds[user] for user in chosen]
    names = [f"{profiles[kind].name}{place}" for place, kind in enumerate(today)]
    return _Day(plan.date + timedelta(days=number), range(len(today)), names, today, _generator(plan.seed + number))


def _draw_kinds(random: Random, profiles: Sequence[Profile], count: int) -> list[int]:
    """The kinds of `count` users, drawn by their shares."""
    return random.choices(range(len(profiles)), [profile.share for profile in profiles], k=count)


def _sample(random: Random, kinds: list[int], count: int) -> list[int]:
    """The numbers of `count` of the users."""
    return random.sample(range(len(kinds)), count)


def _walks(profiles: Sequence[Profile]) -> _Walks:
    """The numbered rows of all kinds."""
    names = [(kind, action) for kind, profile in enumerate(profiles) for action in [*profile.after, END]]
    numbers = {name: number for number, name in enumerate(names)}
    starts = [numbers[kind, profile.start] for kind, profile in enumerate(profiles)]
    steps = [_step(kind, profiles[kind], action, numbers) for kind, action in names]
    return _Walks(starts, steps, [_label(action) for _, action in names])


def _step(kind: int, profile: Profile, action: str, numbers: dict[tuple[int, str], int]) -> _Step | None:
    """The chances after one action, as running sums; None after the end."""
    if action == END:
        return None
    row = profile.after[action]
    sums = list(accumulate(row.values()))
    following = [numbers[kind, name] for name in row]
    return _Step(sums, sums[-1], len(row) - 1, following, profile.velocity, profile.velocity.bit_length())


def _label(action: str) -> tuple[str, str]:
    """The path and the status that the log shows for an action."""
    path, _, status = action.partition(":")
    return path, status or "success"


def _walk(day: _Day, walks: _Walks) -> Iterator[tuple[int, int, int]]:
    """The events of one day in order: second, place of the user in the day, number of the action.

    The loop makes the draws of ``random.choices`` and ``random.randint`` itself, bit for bit, at less than
    half their cost. A turn is one integer, second and place, so that the heap breaks ties by place.
    """
    chance, bits = day.random.random, day.random.getrandbits
    heap = [day.random.randint(0, DAY_SECONDS) << USER_BITS | place for place in range(len(day.kinds))]
    heapify(heap)
    steps = walks.steps
    states = [steps[walks.starts[kind]] for kind in day.kinds]
    while heap and (turn := heap[0]) >> USER_BITS < DAY_SECONDS:
        place = turn & USER_MASK
        step = states[place]
        if step is None:
            heappop(heap)
            continue
        sums, total, last, following, velocity, velocity_bits = step
        action = following[bisect(sums, chance() * total, 0, last)]
        gap = bits(velocity_bits)
        while gap >= velocity:
            gap = bits(velocity_bits)
        states[place] = steps[action]
        heapreplace(heap, turn + ((gap + 1) << USER_BITS))
        yield turn >> USER_BITS, place, action


def _events(plan: _Plan, profiles: Sequence[Profile]) -> Iterator[Event]:
    """The events with their times and texts."""
    walks = _walks(profiles)
    for day in _days(plan, profiles):
        midnight = datetime(day.date.year, day.date.month, day.date.day, tzinfo=UTC)
        types = [profiles[kind].name for kind in day.kinds]
        for second, place, action in _walk(day, walks):
            when = midnight + timedelta(seconds=second)
            yield Event(when, day.names[place], *walks.labels[action], types[place])


def _write_log(
    plan: _Plan, profiles: Sequence[Profile], file: Writable, *, csv_form: bool
) -> tuple[int, dict[str, int]]:
    """The number of events written, and the users that had any with their kinds."""
    walks = _walks(profiles)
    form = _FORMS[csv_form, plan.like_seed]
    file.write(form.header.encode())
    events = 0
    seen: dict[str, int] = {}
    for day in _days(plan, profiles):
        came: set[int] = set()
        lines = _lines(day, walks, form, [profile.name for profile in profiles], came)
        while block := list(islice(lines, LINES_AT_ONCE)):
            events += len(block)
            file.write("".join(block).encode())
        seen |= {day.names[place]: day.kinds[place] for place in sorted(came)}
    return events, seen


def _lines(day: _Day, walks: _Walks, form: _Form, types: list[str], came: set[int]) -> Iterator[str]:
    """The lines of one day; adds to `came` the places of the users that come."""
    ends = [form.action(*label) for label in walks.labels]
    users = [form.user(name) for name in day.names]
    tails = [form.tail(place, types[kind]) for place, kind in enumerate(day.kinds)]
    latest, stamp, date = -1, "", str(day.date)
    add = came.add
    for second, place, action in _walk(day, walks):
        if second != latest:
            latest, stamp = second, form.stamp(date, second)
        add(place)
        yield f"{stamp}{users[place]}{ends[action]}{tails[place]}"


class _Form(NamedTuple):
    """How a line of the log is put together: stamp, user, action, tail."""

    header: str
    stamp: Callable[[str, int], str]
    user: Callable[[str], str]
    action: Callable[[str, str], str]
    tail: Callable[[int, str], str]


@lru_cache(maxsize=4)
def _live_stamp(moment: int, *, json_form: bool) -> str:
    """The beginning of a line at this millisecond since 1970, as NDJSON or CSV."""
    text = f"{datetime.fromtimestamp(moment // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{moment % 1000:03d}Z"
    return f'{{"time":"{text}"' if json_form else f"{text},"


@cache
def _clock(second: int) -> str:
    """The second of a day as HH:MM:SS."""
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"


def _cells(*values: object) -> str:
    """Values as cells of CSV, without the end of the line."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()


def _outcome(status: str) -> str:
    """The outcome of an event for a status."""
    return "failure" if status == "fail" else status


_FORMS: Final = {
    (False, False): _Form(
        "",
        lambda date, second: f'{{"time":"{date}T{_clock(second)}Z"',
        lambda user: f',"user":{json.dumps(user)}',
        lambda path, status: f',"action":{json.dumps(path)},"outcome":"{_outcome(status)}"}}\n',
        lambda _place, _type: "",
    ),
    (False, True): _Form(
        "",
        lambda date, second: f'{{"time":"{date} {_clock(second)}"',
        lambda user: f',"user":{json.dumps(user)}',
        lambda path, status: f',"path":{json.dumps(path)},"status":"{status}"',
        lambda place, kind: f',"uidx":{place},"realtype":{json.dumps(kind)}}}\n',
    ),
    (True, False): _Form(
        "time,user,action,outcome\n",
        lambda date, second: f"{date}T{_clock(second)}Z,",
        _cells,
        lambda path, status: f",{_cells(path, _outcome(status))}\n",
        lambda _place, _type: "",
    ),
    (True, True): _Form(
        "time,user,path,status,uidx,realtype\n",
        lambda date, second: f"{date} {_clock(second)},",
        _cells,
        lambda path, status: f",{_cells(path, status)}",
        lambda place, kind: f",{_cells(place, kind)}\n",
    ),
}


def _write_truth(truth: Path, profiles: Sequence[Profile], seen: dict[str, int]) -> None:
    """Write what the users of the log really are."""
    rows = [
        (user, profiles[kind].name, "true" if profiles[kind].abnormal else "false")
        for user, kind in sorted(seen.items(), key=_by_number)
    ]
    with opened(truth) as file:
        file.write("".join(f"{_cells(*row)}\n" for row in [("user", "type", "abnormal"), *rows]).encode())


def _by_number(item: tuple[str, int]) -> tuple[int, str]:
    """Where a user stands in the truth: by the number in the name."""
    digits = re.search(r"\d+$", item[0])
    return (int(digits[0]) if digits else 0, item[0])
