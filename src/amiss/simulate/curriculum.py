"""Reading of a school's lessons over years, some of it odd; the truth stands apart.

Students come in cohorts of four programs, read on weekdays of their course, more before projects, little on weekends
and holidays. Some are odd: they scrape pages, read far more than ever on one day, or fall silent. Some come back after
the end, some read what another program teaches, some who teach are not listed as staff, and on some days there is no
log.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812 - `date` is the parameter that callers set
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

import numpy as np
import polars as pl

from amiss.simulate.asked import check, check_files, randomness
from amiss.simulate.marketplace import Report
from amiss.simulate.outputs import opened
from amiss.simulate.school import Cohorts, Curriculum, People, curriculum, gathered, populate, teachers
from amiss.simulate.world import BROADBAND, BUSINESS, Flags, Floats, Ints, mixed, world

FIRST_DATE: Final = Date(2024, 1, 8)
PLANTED: Final = ("scraper", "surge", "silence")
KINDS: Final = ("after_end", "before_start", "both_programs", "outage", "scraper", "silence", "staff", "surge")
COLUMNS: Final = ("date", "time", "path", "user_id", "cohort_id", "ip")
DAY: Final = 86_400
USERS_AT_ONCE: Final = 2_000
ROWS_AT_ONCE: Final = 500_000
KNOWN: Final = 28
"""Days for which who becomes odd was there before."""

SILENT: Final = 21
"""Days for which who falls silent is silent at least; nobody else is ill for as long."""

LEFT: Final = (7, 7, 2 * SILENT)
"""Days that each kind at least has left of the course."""

SCRAPED: Final = (150, 601)
"""The fewest pages that are scraped, and the first number that is too many."""

SURGING: Final = (6, 12)
BESIDES: Final = 25
"""A surge has so many times the pages of an active weekday, and so many more."""

AGAIN: Final = 2.0
"""The shape of the gamma distribution of what an active day of a user has: pages above one have variance m + m²/2."""

MORNING, NOON, EVENING = range(3)
STUDY: Final = np.array([[9.2, 0.5], [13.3, 0.5], [19.6, 0.9]]) * 3600
FREE: Final = np.array([[10.5, 1.0], [14.8, 1.2], [19.8, 0.9]]) * 3600
"""When sessions begin on weekdays of courses and on other days: means and deviations, in seconds."""

CAMPUS: Final = 3
"""Addresses that everybody shares who reads at school."""


@dataclass(frozen=True)
class Simulated:
    """A log and the truth about it.

    Attributes
    ----------
    events : (n, 6) columns date, time, path, user_id, cohort_id, ip
        In order of time, clocks of the school, seconds; `cohort_id` is null where nobody entered it.
    cohorts : (c, 9) columns id, name, slack, start_date, end_date, created_at, updated_at, deleted_at, program_id
    truth : (t, 5) columns kind, user_id, first_date, last_date, events
        What is odd, in order of kind and date; `events` are those that make it so.
    """

    events: pl.DataFrame
    cohorts: pl.DataFrame
    truth: pl.DataFrame


def simulate(
    *, users: int, days: int = 365, seed: int = 42, date: Date = FIRST_DATE, odd_users: float = 0.04, odd_after: int = 0
) -> Simulated:
    """A log of lessons that were read, the table of cohorts, and the truth.

    Parameters
    ----------
    users
        How many there are, those included who learned before the first day and may never come back.
    days
        How many days there are; a user is active on about a quarter of those of a year, with ten pages each.
    seed
        Where the random numbers begin. The same version of NumPy gives the same log.
    date
        The first day.
    odd_users
        The share of users who scrape, surge or fall silent, each kind as often.
    odd_after
        How many days there are without these at first.

    Raises
    ------
    UsageError
        If a number is out of range; all such are listed.

    Examples
    --------
    >>> simulated = simulate(users=100, days=120, seed=1)
    >>> simulated.events.columns
    ['date', 'time', 'path', 'user_id', 'cohort_id', 'ip']
    >>> simulated.truth["kind"].unique().sort().to_list()[:3]
    ['after_end', 'before_start', 'both_programs']
    """
    least = {"users": (users, 1), "days": (days, 1), "odd_after": (odd_after, 0)}
    check(date, least, {"odd_users": (odd_users, 0, 1)})
    term = arranged(users=users, days=days, seed=seed, date=date)
    planted = _planted(term, odd_users, odd_after, randomness(seed, 3))
    parts = [_block(term, planted, begin, randomness(seed, 4, begin)) for begin in range(0, users, USERS_AT_ONCE)]
    visits = Visits.joined([*parts, _scraped(term, planted, randomness(seed, 5))]).without(term.outages)
    events = _events(term, visits, seed)
    return Simulated(events, term.cohorts.table(date, curriculum().programs), _truth(term, visits, planted, events))


def write_curriculum(
    output: Path | Literal["-"],
    *,
    cohorts: Path | None = None,
    truth: Path | None = None,
    users: int,
    days: int = 365,
    seed: int = 42,
    date: Date = FIRST_DATE,
    odd_users: float = 0.04,
    odd_after: int = 0,
) -> Report:
    """What was written: a log, and apart from it the table of cohorts and the truth, all as CSV.

    Parameters
    ----------
    output
        A file, or ``-`` for the standard output. Compressed when the name ends in ``.gz``.
    cohorts, truth
        Files for the table of cohorts, and for what is odd.
    users, days, seed, date, odd_users, odd_after
        As for :func:`simulate`.

    Raises
    ------
    UsageError
        If a number is out of range, or two files are the same one.
    SinkError
        If a file cannot be written.
    """
    began = time.perf_counter()
    check_files([None if output == "-" else Path(output), cohorts, truth])
    made = simulate(users=users, days=days, seed=seed, date=date, odd_users=odd_users, odd_after=odd_after)
    with opened(output) as file:
        file.write(made.events.clear().write_csv().encode())
        for part in made.events.iter_slices(ROWS_AT_ONCE):
            file.write(part.write_csv(include_header=False, time_format="%H:%M:%S").encode())
    for path, table in ((cohorts, made.cohorts), (truth, made.truth)):
        if path is not None:
            with opened(path) as file:
                file.write(table.write_csv().encode())
    return Report(made.events.height, made.events["user_id"].n_unique(), time.perf_counter() - began)


@dataclass(frozen=True)
class Term:
    """All that is fixed before anybody reads; `outages` are first and last days without a log."""

    first: Date
    days: int
    outages: tuple[tuple[int, int], ...]
    cohorts: Cohorts
    people: People

    @cached_property
    def weekend(self) -> Flags:
        """Whether each day is a Saturday or Sunday."""
        return (self.first.weekday() + np.arange(self.days)) % 7 > 4

    @cached_property
    def free(self) -> Flags:
        """Whether each day is a holiday or in a break."""
        plan = curriculum()
        return np.array([plan.is_free(self.first + timedelta(day)) for day in range(self.days)])

    @cached_property
    def lost(self) -> Flags:
        """Whether each day is without a log."""
        lost = np.zeros(self.days, bool)
        for begin, last in self.outages:
            lost[begin : last + 1] = True
        return lost

    @cached_property
    def projects(self) -> Flags:
        """Whether a week (column) of each program (row) ends in a project."""
        programs = curriculum().programs
        table = np.zeros((len(programs), 64), bool)
        for row, program in enumerate(programs):
            table[row, list(program.projects)] = True
        return table

    def week(self, users: Ints, day: Ints) -> Ints:
        """The week of the course of users on days."""
        week: Ints = np.clip((day - self.people.start[users]) // 7, 0, 63)
        return week


@dataclass(frozen=True)
class Visits:
    """Pages read: who, when (seconds from the first day's midnight), which page, from which of the places."""

    user: Ints
    second: Ints
    page: Ints
    place: Ints

    def __len__(self) -> int:
        return len(self.user)

    @classmethod
    def joined(cls, parts: list[Visits]) -> Visits:
        """All parts in order of time."""
        user, second, page, place = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("user", "second", "page", "place")
        )
        order = np.argsort(second, kind="stable")
        return cls(user[order], second[order], page[order], place[order])

    def without(self, spans: tuple[tuple[int, int], ...]) -> Visits:
        """Those of other days."""
        kept = np.ones(len(self), bool)
        for begin, last in spans:
            kept &= (self.second < begin * DAY) | (self.second >= (last + 1) * DAY)
        return Visits(self.user[kept], self.second[kept], self.page[kept], self.place[kept])


def arranged(*, users: int, days: int = 365, seed: int = 42, date: Date = FIRST_DATE) -> Term:
    """All that is fixed before anybody reads, as :func:`simulate` has it with the same arguments."""
    cohorts = gathered(users - teachers(users), days, date, randomness(seed, 0))
    people = populate(users, cohorts, days, randomness(seed, 1))
    return Term(date, days, _outages(days, randomness(seed, 2)), cohorts, people)


def _outages(days: int, random: np.random.Generator) -> tuple[tuple[int, int], ...]:
    """First and last days of times without a log: one in half a year."""
    count = max(1, round(days / 180)) if days >= 30 else 0
    begin = ((np.arange(count) + random.uniform(0.3, 0.9, count)) * days / max(count, 1)).astype(np.int64)
    last = np.minimum(begin + random.integers(1, 4, count), days - 2)
    return tuple(zip(begin.tolist(), last.tolist(), strict=True))


@dataclass(frozen=True)
class Planted:
    """Who is odd on which days, and by how many pages (of a silence 0); kinds are numbers of `PLANTED`."""

    kind: Ints
    user: Ints
    first: Ints
    last: Ints
    pages: Ints


def _planted(term: Term, share: float, after: int, random: np.random.Generator) -> Planted:
    """Students who scrape, surge or fall silent in the midst of their course, on ordinary weekdays."""
    candidates = random.permutation(candidates_for_odd(term.people))
    wanted = round(share * len(term.people))
    rows: list[tuple[int, int, int, int, int]] = []
    for user in candidates.tolist():
        if len(rows) >= wanted:
            break
        kind = len(rows) % len(PLANTED)
        day = _ordinary_day(term, user, after, LEFT[kind], random)
        if day >= 0:
            rows.append((kind, user, day, *_extent(term, user, kind, day, random)))
    return Planted(*np.array(rows, np.int64).reshape(-1, 5).T)


def candidates_for_odd(people: People) -> Ints:
    """The students among whom those who become odd are drawn."""
    likely = ~people.staff & (people.attendance > 0.7) & (people.level > 4)
    return np.flatnonzero(likely)


def ordinary_days(term: Term, user: int, after: int, left: int) -> Ints:
    """Weekdays of a user's course, long after its beginning and `left` days before its end, without a project."""
    people = term.people
    begin = max(int(people.start[user]), 0) + KNOWN
    days = np.arange(max(begin, after), min(int(people.end[user]), term.days) - left)
    days = days[~(term.weekend | term.free | term.lost)[days]]
    ordinary: Ints = days[~term.projects[people.program[user], term.week(np.full(len(days), user), days)]]
    return ordinary


def _ordinary_day(term: Term, user: int, after: int, left: int, random: np.random.Generator) -> int:
    """One of the ordinary days of a user that are not soon after an illness; -1: none."""
    days, people = ordinary_days(term, user, after, left), term.people
    days = days[(days < people.away[user]) | (days > people.away[user] + SILENT)]
    return int(random.choice(days)) if len(days) else -1


def _extent(term: Term, user: int, kind: int, day: int, random: np.random.Generator) -> tuple[int, int]:
    """The last day of what is odd, and its pages."""
    if PLANTED[kind] == "scraper":
        return day, int(random.integers(*SCRAPED))
    if PLANTED[kind] == "surge":
        return day, int(term.people.level[user] * random.uniform(*SURGING)) + BESIDES
    if random.random() < 0.6:
        return term.days - 1, 0
    return min(day + int(random.integers(SILENT, 2 * SILENT)), term.days - 1), 0


def _block(term: Term, planted: Planted, begin: int, random: np.random.Generator) -> Visits:
    """What some users read, those who scrape apart."""
    users = np.arange(begin, min(begin + USERS_AT_ONCE, len(term.people)))
    chance, pages = rates(term, users)
    chance[_ill(term, users)] = 0.0
    mute = (planted.pages == 0) & (planted.user >= begin) & (planted.user < begin + USERS_AT_ONCE)
    for user, first, last in zip(planted.user[mute], planted.first[mute], planted.last[mute], strict=True):
        chance[user - begin, first : last + 1] = 0
    row, day = np.nonzero(random.random(chance.shape) < chance)
    count = 1 + random.poisson(random.gamma(AGAIN, np.maximum(pages[row, day] - 1, 0) / AGAIN))
    user = users[row]
    surge = (planted.kind == PLANTED.index("surge")) & np.isin(planted.user, users)
    user, day, count = (
        np.concatenate(pair)
        for pair in ((user, planted.user[surge]), (day, planted.first[surge]), (count, planted.pages[surge]))
    )
    return _read(term, user, day, count, random)


def _ill(term: Term, users: Ints) -> Flags:
    """Whether each user (row) is ill on each day (column)."""
    people, day, of = term.people, np.arange(term.days)[None, :], users[:, None]
    ill: Flags = (day >= people.away[of]) & (day < people.away[of] + people.away_days[of])
    return ill


def rates(term: Term, users: Ints) -> tuple[Floats, Floats]:
    """How likely each day (column) of each user (row) is active, unless they are ill, and how many pages it then has.

    Parameters
    ----------
    term
        All that is fixed.
    users
        Numbers from 0 on.
    """
    people, day = term.people, np.arange(term.days)[None, :]
    of = users[:, None]
    learning = (day >= people.start[of]) & (day <= people.end[of])
    after = np.maximum(day - people.end[of], 0)
    workday = np.where(term.free, 0.06, 1.0) * people.attendance[of]
    chance = np.where(learning, np.where(term.weekend, people.weekend[of], workday), 0.0)
    chance += np.where(day > people.end[of], people.alumni[of] * np.exp(-after / 90.0), 0.0)
    back = (day >= people.back[of]) & (day < people.back[of] + people.back_days[of])
    chance = np.where(back, np.maximum(chance, 0.5), chance)
    early = people.early[of] & (day >= people.start[of] - 5) & (day < people.start[of])
    chance = np.where(early, 0.3, chance)
    project = term.projects[people.program[of], term.week(of, day)] & learning & ~people.staff[of]
    pages = people.level[of] * np.where(project, people.binge[of], 1.0)
    pages = pages * np.where(term.weekend & ~project, 0.6, 1.0) * np.where(learning, 1.0, 0.6)
    return chance, pages


def _read(term: Term, user: Ints, day: Ints, count: Ints, random: np.random.Generator) -> Visits:
    """The pages of days of users: a few sessions a day, in each of them one page after the other."""
    people = term.people
    course = (day >= people.start[user]) & (day <= people.end[user]) & ~(term.weekend | term.free)[day]
    late = np.where(course, people.evening[user], 0.45)
    shares = np.stack([(1 - late) * 0.55, (1 - late) * 0.45, late], axis=1)
    share = random.multinomial(count, shares)
    row, session = np.nonzero(share)
    size = share[row, session]
    clock = np.where(course[row, None], STUDY[session], FREE[session])
    start = np.clip(clock[:, 0] + clock[:, 1] * random.standard_normal(len(row)), 0, 22.5 * 3600)
    offset = _offsets(size, people.gap[user[row]], DAY - 60 - start, random)
    place = _places(user[row], course[row] & (session < EVENING), random)
    event = np.repeat(np.arange(len(row)), size)
    reader, today = user[row][event], day[row][event]
    second = today * DAY + (start[event] + offset).astype(np.int64)
    return Visits(reader, second, _pages(term, reader, today, random), place[event])


def _offsets(size: Ints, gap: Floats, room: Floats, random: np.random.Generator) -> Floats:
    """Seconds from the beginning of sessions: some pages are loaded at once, none after midnight."""
    gaps = random.exponential(1.0, int(size.sum())) * np.repeat(gap, size)
    gaps[random.random(len(gaps)) < 0.15] = 0.0
    begins = np.cumsum(size) - size
    gaps[begins] = 0.0
    sums = np.cumsum(gaps)
    sums -= np.repeat(sums[begins], size)
    length = sums[begins + size - 1]
    scale = np.minimum(1.0, room / np.maximum(length, 1.0))
    return np.asarray(sums * np.repeat(scale, size))


def _places(user: Ints, taught: Flags, random: np.random.Generator) -> Ints:
    """Where sessions are: on the campus, at home, elsewhere; a user has two places of their own."""
    campus, elsewhere = random.random(len(user)) < 0.88, random.random(len(user)) < 0.07
    own = CAMPUS + 2 * user + elsewhere
    return np.where(taught & campus, random.integers(0, CAMPUS, len(user)), own)


def _pages(term: Term, user: Ints, day: Ints, random: np.random.Generator) -> Ints:
    """Pages that users read on days: mostly what is due, some of before, some that all share."""
    people, plan = term.people, curriculum()
    sizes = np.array([len(program.lessons) for program in plan.programs])
    table = np.zeros((len(sizes), sizes.max()), np.int64)
    for number, each in enumerate(plan.programs):
        table[number, : len(each.lessons)] = each.lessons
    program = np.where(people.staff[user], random.integers(0, len(sizes), len(user)), people.program[user])
    crossing = (day >= people.cross[user]) & (day < people.cross[user] + people.cross_days[user])
    crossing &= random.random(len(user)) < 0.35
    crossing |= random.random(len(user)) < 0.0001
    program = np.where(crossing & ~people.staff[user], _other(plan, program), program)
    size, length = sizes[program], np.maximum(people.end[user] - people.start[user], 1)
    progress = np.where(people.staff[user] | crossing, 1.0, np.clip((day - people.start[user]) / length, 0, 1))
    due = progress * (size - 4) + random.normal(1.0, 2.0, len(user))
    again = random.random(len(user)) * (progress * size)
    old = (random.random(len(user)) < 0.3) | (progress >= 1.0)
    lesson = np.clip(np.where(old, again, due), 0, size - 1).astype(np.int64)
    shared = (random.random(len(user)) ** 2 * plan.common).astype(np.int64)
    return np.where(random.random(len(user)) < 0.15, shared, table[program, lesson])


def _other(plan: Curriculum, program: Ints) -> Ints:
    """A program that teaches something else than this."""
    data = np.array([each.area == "data" for each in plan.programs])
    other: Ints = np.where(data[program], np.flatnonzero(~data)[1], np.flatnonzero(data)[0])
    return other


def _scraped(term: Term, planted: Planted, random: np.random.Generator) -> Visits:
    """All pages of a program one after the other, within seconds."""
    chosen = np.flatnonzero(planted.kind == PLANTED.index("scraper"))
    parts = list(_each_scraped(term, planted, chosen, random))
    empty = np.zeros(0, np.int64)
    return Visits.joined(parts) if parts else Visits(empty, empty, empty, empty)


def _each_scraped(term: Term, planted: Planted, chosen: Ints, random: np.random.Generator) -> Iterator[Visits]:
    """What each who scrapes takes."""
    programs = curriculum().programs
    for number in chosen.tolist():
        user, pages = int(planted.user[number]), int(planted.pages[number])
        start = planted.first[number] * DAY + random.integers(8 * 3600, 23 * 3600)
        second = start + np.sort(random.integers(0, random.integers(3, 13), pages))
        page = np.resize(programs[term.people.program[user]].lessons, pages)
        yield Visits(np.full(pages, user), second, page, np.full(pages, CAMPUS + 2 * user))


def _events(term: Term, visits: Visits, seed: int) -> pl.DataFrame:
    """The log."""
    day, second = visits.second // DAY, visits.second % DAY
    first = (term.first - Date(1970, 1, 1)).days
    cohort = _cohort(term, visits.user, day)
    return pl.DataFrame({
        "date": pl.Series((first + day).astype(np.int32)).cast(pl.Date),
        "time": pl.Series(second * 1_000_000_000).cast(pl.Time),
        "path": pl.Series(curriculum().pages, dtype=pl.String).gather(visits.page),
        "user_id": visits.user + 1,
        "cohort_id": pl.Series(cohort).replace(0, None),
        "ip": _addresses(term.people, seed).gather(visits.place),
    })  # fmt: skip


def _cohort(term: Term, user: Ints, day: Ints) -> Ints:
    """The id of the cohort that the log tells of users on days; 0 where it tells none."""
    people, ids = term.people, term.cohorts.ids
    own = np.where(people.cohort == -2, term.cohorts.staff, np.where(people.cohort < 0, 0, ids[people.cohort]))
    later = np.where(people.moved >= 0, ids[people.moved], 0)
    moved = (later[user] > 0) & (own[user] > 0) & (day >= people.moved_on[user])
    return np.where(day < people.entered[user], 0, np.where(moved, later[user], own[user]))


def _addresses(people: People, seed: int) -> pl.Series:
    """The addresses of the campus, then two of each user: home, and elsewhere."""
    places = world()
    cities = np.flatnonzero(places.country == places.countries.index("US"))
    users = np.arange(len(people))
    home = np.stack([people.house, users + len(people)], axis=1).ravel()
    keys = mixed(seed & 0xFFFFFFFF, home + CAMPUS)
    rank = (keys >> np.uint64(20)) % np.uint64(3)
    pool = places.pool_in(np.full(len(home), cities[0]), BROADBAND, rank.astype(np.int64))
    campus = places.pool_in(np.full(CAMPUS, cities[0]), BUSINESS, np.zeros(CAMPUS, np.int64))
    pools = np.concatenate([campus, pool])
    keys = np.concatenate([np.arange(CAMPUS, dtype=np.uint64) + mixed(seed & 0xFFFFFFFF, 0), keys])
    return places.addresses(pools, keys, np.zeros(len(keys), np.uint64), np.zeros(len(keys), bool))


def _truth(term: Term, visits: Visits, planted: Planted, events: pl.DataFrame) -> pl.DataFrame:
    """What is odd, read off the log where the log alone shows it."""
    people = term.people
    area = pl.Series(curriculum().area).gather(visits.page)
    seen = events.lazy().select("date", "user_id").with_columns(
        staff=pl.Series(people.staff[visits.user]), listed=pl.Series((people.cohort == -2)[visits.user]),
        area=area, day=pl.Series(visits.second // DAY),
        begins=_known(term, term.cohorts.start, events), ends=_known(term, term.cohorts.end, events),
    )  # fmt: skip
    guests = seen.filter(~pl.col("listed"))
    crossed = guests.filter(pl.col("area") != "both").with_columns(
        kinds=pl.col("area").n_unique().over("user_id"), web=(pl.col("area") == "web").mean().over("user_id")
    )
    lesser = pl.when(pl.col("web") > 0.5).then(pl.lit("data")).otherwise(pl.lit("web"))
    found = {
        "after_end": guests.filter(pl.col("day") > pl.col("ends")),
        "before_start": guests.filter(pl.col("day") < pl.col("begins")),
        "both_programs": crossed.filter((pl.col("kinds") == 2) & (pl.col("area") == lesser)),
        "staff": guests.filter("staff"),
    }
    parts = [_spans(kind, rows) for kind, rows in found.items()]
    return pl.concat([*parts, _planned(term, planted)]).sort("kind", "first_date", "user_id")


def _known(term: Term, days: Ints, events: pl.DataFrame) -> pl.Series:
    """A day of the cohort that each event tells, null where it tells none or Staff."""
    return events["cohort_id"].replace_strict(term.cohorts.ids, days, default=None, return_dtype=pl.Int64)


def _spans(kind: str, rows: pl.LazyFrame) -> pl.DataFrame:
    """A row of truth for each user of the events that make it so."""
    spans = rows.group_by("user_id").agg(
        first_date=pl.col("date").min(), last_date=pl.col("date").max(), events=pl.len().cast(pl.Int64)
    )
    return spans.select(pl.lit(kind).alias("kind"), "user_id", "first_date", "last_date", "events").collect()


def _planned(term: Term, planted: Planted) -> pl.DataFrame:
    """Rows of truth for what was planted, and for the days without a log, which are nobody's."""
    rows = [
        (PLANTED[kind], user + 1, first, last, pages)
        for kind, user, first, last, pages in zip(
            planted.kind.tolist(), planted.user.tolist(), planted.first, planted.last, planted.pages.tolist(),
            strict=True,
        )
    ]  # fmt: skip
    dated = [(kind, user, *_dates(term, int(first), int(last)), pages) for kind, user, first, last, pages in rows]
    dated += [("outage", None, *_dates(term, begin, last), 0) for begin, last in term.outages]
    columns = {"kind": pl.String, "user_id": pl.Int64, "first_date": pl.Date, "last_date": pl.Date, "events": pl.Int64}
    return pl.DataFrame(dated, schema=columns, orient="row")


def _dates(term: Term, first: int, last: int) -> tuple[Date, Date]:
    """Days as dates."""
    return term.first + timedelta(first), term.first + timedelta(last)
