"""Who learns and teaches at the school of the simulated curriculum, and when: programs, cohorts, people.

Days are counted from the first day of the log; what was before has negative numbers.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812 - the name that callers use for their first day
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from amiss.simulate.world import Flags, Floats, Ints, drawn

PAGES: Final = Path(__file__).with_name("curriculum.toml")
COHORT: Final = 24
"""About how many students are of one."""

BEFORE: Final = 260
"""Days before the log from which on cohorts are known."""

STAFF_SHARE: Final = 0.03
ILL: Final = 0.25
"""The share of users who are ill once."""

ILL_DAYS: Final = (3, 7)
"""The fewest days of being ill, and the first number that is too many."""

NEVER: Final = 1 << 30


@dataclass(frozen=True)
class Program:
    """What is taught in one course; `lessons` are numbers of pages in the order in which they are due."""

    id: int
    name: str
    area: str
    weeks: int
    share: float
    projects: tuple[int, ...]
    lessons: Ints


@dataclass(frozen=True)
class Curriculum:
    """All pages, and what is known of them: `area` of each is ``web``, ``data`` or ``both``."""

    pages: tuple[str, ...]
    area: tuple[str, ...]
    common: int
    programs: tuple[Program, ...]
    names: tuple[str, ...]
    holidays: frozenset[str]
    breaks: tuple[tuple[str, str], ...]

    def is_free(self, date: Date) -> bool:
        """Whether nobody is taught on a day, though it may be a weekday."""
        day = f"{date:%m-%d}"
        spans = ((day >= first and day <= last) if first <= last else (day >= first or day <= last)
                 for first, last in self.breaks)  # fmt: skip
        return day in self.holidays or any(spans)


@cache
def curriculum() -> Curriculum:
    """The programs and their pages, read once."""
    raw = tomllib.loads(PAGES.read_text(encoding="utf-8"))
    lessons: dict[str, list[str]] = {
        section: [section, *(f"{section}/{lesson}" for lesson in names)] for section, names in raw["lessons"].items()
    }
    pages = [*raw["common"], *(page for section in lessons.values() for page in section)]
    areas = {section: program["area"] for program in raw["program"] for section in program["sections"]}
    number = {page: place for place, page in enumerate(pages)}
    programs = tuple(_program(entry, lessons, number) for entry in raw["program"])
    common = len(raw["common"])
    area = ["both"] * common + [areas[page.split("/")[0]] for page in pages[common:]]
    breaks = tuple((first, last) for first, last in raw["breaks"])
    return Curriculum(
        tuple(pages), tuple(area), common, programs, tuple(raw["names"]), frozenset(raw["holidays"]), breaks
    )


def _program(entry: dict[str, Any], lessons: dict[str, list[str]], number: dict[str, int]) -> Program:
    """A program as it stands in the table."""
    due = [number[page] for section in entry["sections"] for page in lessons[section]]
    return Program(
        entry["id"], entry["name"], entry["area"], entry["weeks"], entry["share"], tuple(entry["projects"]),
        np.array(due),
    )  # fmt: skip


@dataclass(frozen=True)
class Cohorts:
    """Who began together; in order of their beginning, Staff apart. `start` and `end` are days of the log."""

    ids: Ints
    names: tuple[str, ...]
    program: Ints
    start: Ints
    end: Ints
    staff: int
    """The id of the cohort called Staff."""

    def __len__(self) -> int:
        return len(self.ids)

    def table(self, first: Date, programs: tuple[Program, ...]) -> pl.DataFrame:
        """The table of cohorts that the school keeps beside its log, Staff among them."""
        rows = list(zip(self.ids.tolist(), self.names, self.program.tolist(), self.start, self.end, strict=True))
        listed = [
            (number, name, f"#{name.lower()}", first + timedelta(int(start)), first + timedelta(int(end)),
             programs[program].id)
            for number, name, program, start, end in rows
        ]  # fmt: skip
        opened = first + timedelta(int(self.start.min()) if len(self) else 0)
        listed.append((self.staff, "Staff", "#", opened, opened, 2))
        columns = {"id": pl.Int64, "name": pl.String, "slack": pl.String, "start_date": pl.Date, "end_date": pl.Date}
        frame = pl.DataFrame(listed, schema=columns | {"program_id": pl.Int64}, orient="row").sort("id")
        entered = pl.format("{} 09:00:00", pl.col("start_date").cast(pl.String))
        frame = frame.with_columns(created_at=entered, updated_at=entered, deleted_at=pl.lit(None, pl.String))
        return frame.select(*columns, "created_at", "updated_at", "deleted_at", "program_id")


def gathered(students: int, days: int, first: Date, random: np.random.Generator) -> Cohorts:
    """Cohorts for so many students, that begin on Mondays from well before the log until near its end."""
    programs = curriculum().programs
    count = max(len(programs), round(students / COHORT))
    shares = [program.share for program in programs]
    program = np.concatenate([np.arange(len(programs)), drawn(random, shares, count - len(programs))])
    random.shuffle(program)
    wide = BEFORE + max(days - 21, 1)
    begun = ((np.arange(count) + random.random(count)) / count * wide).astype(np.int64) - BEFORE
    start = np.sort(begun - (begun + first.weekday()) % 7)
    weeks = np.array([each.weeks for each in programs])[program] + random.integers(0, 2, count)
    ids = np.arange(1, count + 1)
    staff = count // 2 + 1
    return Cohorts(
        ids + (ids >= staff), _named(curriculum().names, count), program, start, start + 7 * weeks - 3, staff
    )


def _named(names: tuple[str, ...], count: int) -> tuple[str, ...]:
    """As many names, numbered from the second round on."""
    rounds = [divmod(number, len(names)) for number in range(count)]
    return tuple(names[place] if turn == 0 else f"{names[place]}-{turn + 1}" for turn, place in rounds)


@dataclass(frozen=True)
class People:
    """Who reads, and how; arrays are by user, in the order of user_id - 1.

    Attributes
    ----------
    staff
        Whether they teach. For them `program` means nothing and `start` to `end` is when they work.
    cohort, moved, moved_on
        The number of the cohort (-1: none, -2: Staff), the one they move to later (-1: none), and the day of that.
    entered
        The first day on which the log knows their cohort.
    level, attendance, evening, weekend, gap
        Pages of an active weekday; how often a weekday is active; share of evenings; how often a day of a weekend is
        active; mean seconds between pages.
    binge
        How much more is read in weeks of projects.
    away
        A first day and a number of days of being ill.
    early
        Whether they look at pages in the days before they begin.
    alumni
        How often a day is active right behind the end.
    back, back_days
        The day on which who left comes back, for how many days.
    cross, cross_days
        The day on which reading the other curriculum begins, for how many days.
    house
        The user whose home it is, mostly themself.
    """

    staff: Flags
    cohort: Ints
    moved: Ints
    moved_on: Ints
    entered: Ints
    program: Ints
    start: Ints
    end: Ints
    level: Floats
    attendance: Floats
    evening: Floats
    weekend: Floats
    gap: Floats
    binge: Floats
    away: Ints
    away_days: Ints
    early: Flags
    alumni: Floats
    back: Ints
    back_days: Ints
    cross: Ints
    cross_days: Ints
    house: Ints

    def __len__(self) -> int:
        return len(self.staff)


def teachers(users: int) -> int:
    """How many of so many users teach."""
    return min(max(2, round(STAFF_SHARE * users)), users - 1) if users > 1 else 0


def populate(users: int, cohorts: Cohorts, days: int, random: np.random.Generator) -> People:
    """Everybody, numbered in the order in which they came."""
    staff = np.arange(users) < teachers(users)
    cohort = np.where(staff, _of_staff(staff, cohorts, random), random.integers(0, len(cohorts), users))
    known = np.maximum(cohort, 0)
    start, end = cohorts.start[known], cohorts.end[known]
    start = np.where(staff, np.where(random.random(users) < 0.8, -BEFORE, random.integers(0, days, users)), start)
    leaves = random.random(users) < 0.1
    end = np.where(staff, np.where(leaves, random.integers(days // 2, days + 1, users), days + BEFORE), end)
    order = np.lexsort((random.random(users), np.where(staff, random.integers(-BEFORE, days, users), start)))
    return _lives((staff[order], cohort[order], start[order], end[order]), cohorts, random)


def _of_staff(staff: Flags, cohorts: Cohorts, random: np.random.Generator) -> Ints:
    """Cohorts of those who teach: half are in Staff, the rest in none, or in that in which they learned."""
    kind = np.arange(len(staff)) % 4
    learned = random.integers(0, max(1, len(cohorts) // 3), len(staff))
    return np.where(kind % 2 == 0, -2, np.where(kind == 1, -1, learned))


def _lives(known: tuple[Flags, Ints, Ints, Ints], cohorts: Cohorts, random: np.random.Generator) -> People:
    """What people are like of whom it is known whether they teach, their cohort, and when they begin and end."""
    staff, cohort, start, end = known
    users = len(staff)
    moved, moved_on = _moves(staff, cohort, cohorts, random)
    end = np.where(moved >= 0, cohorts.end[np.maximum(moved, 0)], end)
    unknown = (random.random(users) < 0.04) & ~staff
    late = np.where(random.random(users) < 0.05, start + 10, -NEVER)
    length = np.maximum(end - start, 1)
    ill = random.random(users) < ILL
    gone = np.where(random.random(users) < 0.12, end + 45 + random.exponential(90, users).astype(np.int64), NEVER)
    curious = (random.random(users) < 0.03) & ~staff
    return People(
        staff=staff, cohort=np.where(unknown, -1, cohort), moved=moved, moved_on=moved_on,
        entered=np.where(staff, -NEVER, late), program=cohorts.program[np.maximum(cohort, 0)], start=start, end=end,
        level=np.where(staff, 14.0, 9.0) * np.exp(random.normal(0, 0.45, users)),
        attendance=np.where(staff, random.beta(9, 3, users), random.beta(12, 2, users)),
        evening=random.beta(2, 6, users) * np.where(staff, 0.5, 1.0),
        weekend=random.beta(1, 7, users) * np.where(staff, 0.4, 1.0),
        gap=70.0 * np.exp(random.normal(0, 0.35, users)), binge=random.uniform(1.4, 4.0, users),
        away=np.where(ill, start + (random.random(users) * length).astype(np.int64), NEVER),
        away_days=random.integers(*ILL_DAYS, users), early=(random.random(users) < 0.08) & ~staff,
        alumni=np.where(random.random(users) < 0.45, random.gamma(1.0, 0.03, users), 0.0) * ~staff,
        back=np.where(staff, NEVER, gone), back_days=random.integers(5, 22, users),
        cross=np.where(curious, start + (random.random(users) * length).astype(np.int64), NEVER),
        cross_days=random.integers(10, 40, users),
        house=np.where(random.random(users) < 0.05, np.maximum(np.arange(users) - 1, 0), np.arange(users)),
    )  # fmt: skip


def _moves(staff: Flags, cohort: Ints, cohorts: Cohorts, random: np.random.Generator) -> tuple[Ints, Ints]:
    """The cohorts to which a few students move in the midst of their course, -1 for all others, and when."""
    moved = np.full(len(staff), -1)
    for user in np.flatnonzero((random.random(len(staff)) < 0.02) & ~staff):
        later = np.flatnonzero(
            (cohorts.program == cohorts.program[cohort[user]])
            & (cohorts.start > cohorts.start[cohort[user]])
            & (cohorts.start < cohorts.end[cohort[user]])
        )
        if len(later):
            moved[user] = later[0]
    return moved, np.where(moved >= 0, cohorts.start[np.maximum(moved, 0)] + 3, NEVER)
