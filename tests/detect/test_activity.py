"""The activity detector: its slow twin, its laws, what it finds, and on what it stays quiet."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import naive_activity as naive
from tests import watching

import amiss
from amiss import evidence
from amiss.baseline import Past, merge
from amiss.detect import Absences, Names, detector, fitting
from amiss.detect.activity import Activity
from amiss.detect.activity_kernel import (
    ACTIVE,
    BURST,
    EXPECTED,
    FALLS,
    PACE,
    PACE_FALLS,
    PACE_SPREAD,
    SPREAD,
    UNUSUAL,
    UNUSUAL_PACE,
)
from amiss.detect.activity_normal import ActivityBaseline, Rows, within
from amiss.events import CODED_SCHEMA
from amiss.sessions import Events, group
from amiss.sources import open_live_source
from amiss.store import Store
from amiss.testing import check_calibration, check_detector, reached_by_chance
from amiss.vocabulary import Coding
from amiss.watch import Settings, Watch, recall

DAY, MINUTE, SECOND = 86_400_000_000, 60_000_000, 1_000_000
MONDAY = 20_458
"""The fifth of January 2026, in days since 1970."""

NAMES = Names(Coding())
Counts = npt.NDArray[np.int64]
NONE: Counts = np.zeros(0, np.int64)


def coded(rows: list[tuple[int, int]]) -> pl.DataFrame:
    """A coded frame of (user, microseconds since Monday), in order of time."""
    return framed(*(np.array(column, np.int64) for column in zip(*rows, strict=True))) if rows else framed()


def framed(user: Counts = NONE, time: Counts = NONE) -> pl.DataFrame:
    """The same of columns."""
    order = np.argsort(time, kind="stable")
    columns = {
        "position": np.arange(1, len(time) + 1),
        "time": pl.Series(MONDAY * DAY + time[order]).cast(pl.Datetime("us", "UTC")),
        "user": user[order],
        "action": np.zeros(len(time), np.int64),
        "outcome": np.zeros(len(time), np.int64),
    }
    return pl.DataFrame(columns).cast(CODED_SCHEMA)


def a_day(counts: Counts | list[int], day: int, *, minutes_apart: float = 3.0) -> Events:
    """The events of a day: so many of each user, some minutes apart from eight o'clock on."""
    user = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)
    assert int(np.max(counts)) * minutes_apart < 16 * 60
    return group(framed(user, day * DAY + 8 * 60 * MINUTE + number * int(minutes_apart * MINUTE)))


def learned(days: Counts) -> Past:
    """The counts of (days, users) events, from Monday on."""
    return Past([Activity().summarise(a_day(counts, number)) for number, counts in enumerate(days)])


def known(past: Past) -> ActivityBaseline:
    """What is normal, which is known."""
    found = Activity().baseline(past)
    assert found is not None
    return found


def peaks(events: Events, baseline: ActivityBaseline | None) -> npt.NDArray[np.float64]:
    """The most evidence about each user."""
    running = evidence.running(events.first, Activity().score(events, baseline).bits)
    highest: npt.NDArray[np.float64] = np.maximum.reduceat(running, events.first[:-1])
    return highest


class Company(NamedTuple):
    """A company of 200 with 12 events a day each, half of whom are away at weekends: (36 days, users) events."""

    counts: Counts
    weekdays_only: npt.NDArray[np.bool_]


@pytest.fixture(scope="module")
def company() -> Company:
    """Thirty-six days of it, from a Monday on."""
    random = np.random.default_rng(4)
    users, days = 200, 36
    level = np.exp(random.normal(np.log(12), 0.5, users))
    weekdays_only = np.arange(users) < 100
    counts = random.poisson(level, (days, users))
    counts[np.ix_(np.arange(days) % 7 >= 5, weekdays_only)] = 0
    return Company(counts, weekdays_only)


# the twin and the laws

moments = st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(0, 86_399))


def whole_week(more: list[tuple[int, int, int]]) -> pl.DataFrame:
    """A coded frame of events on all days of a week: (user, day, second)."""
    rows = [(0, day * DAY + 43_200 * SECOND) for day in range(7)]
    return coded(rows + [(user, day * DAY + second * SECOND) for user, day, second in more])


weeks = st.lists(moments, max_size=60).map(whole_week)
bursts = st.builds(
    lambda some, start, many: whole_week(some + [(1, 2, start + n // 9) for n in range(many)]),
    st.lists(moments, max_size=30),
    st.integers(0, 80_000),
    st.integers(0, 120),
)


def pairs(frame: pl.DataFrame) -> list[tuple[int, int]]:
    """The (user, time) of coded events."""
    return list(zip(frame["user"].to_list(), frame["time"].to_physical().to_list(), strict=True))


@settings(max_examples=20)
@given(st.one_of(weeks, bursts), st.one_of(weeks, bursts))
def test_it_equals_its_slow_twin(past: pl.DataFrame, today: pl.DataFrame):
    """Adding up binomials term by term, in loops over dictionaries, gives the same bits."""
    events = group(today)
    baseline = Activity().baseline(Past([Activity().summarise(group(past))]))
    bits = dict(zip(events.position.tolist(), Activity().score(events, baseline).bits.tolist(), strict=True))
    expected = naive.score(pairs(today), naive.normal(naive.done(pairs(past))))
    assert [bits[position] for position in today["position"].to_list()] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_it_equals_its_slow_twin_over_weeks(company: Company):
    """Levels, days of the week, tides and presence are those of loops over dictionaries."""
    counts = company.counts[:24, 70:130].copy()
    counts[:, :20] *= np.random.default_rng(1).random((24, 20)) < 0.2
    counts[17:, :] *= 3
    past = [a_day(each, day) for day, each in enumerate(counts[:-1])]
    baseline = known(Past([Activity().summarise(each) for each in past]))
    twin = naive.normal(naive.done([pair for each in past for pair in pairs(each.frame())]))
    assert twin is not None
    for user, own in twin.users.items():
        row = [*own.here, *own.expected, own.spread, own.pace, own.pace_spread, own.burst, own.unusual]
        assert baseline.normal[user].tolist() == pytest.approx(row, rel=1e-9)
    today = a_day(np.append(counts[-1], [9, 200]), 23, minutes_apart=0.4)
    bits = Activity().score(today, baseline).bits.tolist()
    assert bits == pytest.approx(naive.score(pairs(today.frame()), twin), rel=1e-9, abs=1e-9)


def drawn(baseline: ActivityBaseline, random: np.random.Generator, users: int) -> Events:
    """One day of each of so many users who are there and do as the detector finds normal."""
    chance = baseline.normal[baseline.rows.users, :7].ravel()
    which = random.choice(len(chance), users, p=chance / chance.sum())
    rows = [
        (number, moment, int(baseline.rows.users[at // 7]))
        for number, at in enumerate(which.tolist())
        for moment in _times(baseline, random, baseline.normal[baseline.rows.users[at // 7]], int(at % 7))
    ]
    number, time, user = (np.array(column) for column in zip(*rows, strict=True))
    frame = pl.DataFrame({"position": np.arange(1, len(rows) + 1), "time": time, "user": user})
    none = {name: pl.lit(0, dtype) for name, dtype in (("state", pl.Int32()), ("previous", pl.Int32()))}
    told = Events.of(frame.with_columns(**none, gap=pl.lit(-1, pl.Int64)))
    first = np.append(np.flatnonzero(np.diff(number, prepend=-1)), len(number))
    return Events(told.position, told.time, told.user, told.state, told.previous, told.gap, first)


def _times(
    baseline: ActivityBaseline, random: np.random.Generator, normal: npt.NDArray[np.float64], weekday: int
) -> list[int]:
    """When the events of a day are: so many, in minutes of their own, each with so many."""
    pace = normal[PACE], normal[PACE_SPREAD], baseline.law[UNUSUAL_PACE], PACE_FALLS
    left = 1 + _above(random, normal[EXPECTED + weekday], normal[SPREAD], normal[UNUSUAL], baseline.law[FALLS])
    start, times = (MONDAY + 35 + weekday) * DAY, []
    for minute in range(left):
        many = min(left, 1 + _above(random, *pace))
        times += [start + minute * MINUTE + n for n in range(many)]
        left -= many
        if not left:
            break
    return times


def _above(random: np.random.Generator, expected: float, spread: float, unusual: float, falls: float) -> int:
    """How many above one, up to 1,400: of a negative binomial or, rarely, of the tail of unusual days."""
    if random.random() < unusual:
        return min(1_400, int(2.0 * (expected + 1.0) * (random.random() ** (-2.0 / falls) - 1.0)))
    return min(1_400, int(random.negative_binomial(1.0 / spread, 1.0 / (1.0 + spread * expected))))


def test_it_keeps_the_laws(company: Company):
    """Chunks, buckets, restarts and merged counts change nothing; who is normal reaches b bits once in 2^b."""
    past = pl.concat([a_day(each, day).frame() for day, each in enumerate(company.counts[:20])])
    actions = past.select("position", "time", "user", action=pl.lit(0), outcome=pl.lit(0)).cast(CODED_SCHEMA)
    check_detector(Activity(), st.one_of(weeks, bursts), draw=drawn, past=actions.sort("time"), examples=10)


@pytest.mark.parametrize("seed", [2])
def test_who_is_drawn_from_its_own_chances_reaches_b_bits_once_in_2_to_the_b(company: Company, seed: int):
    """The calibration does not hang on one lucky seed."""
    past = pl.concat([a_day(each, day).frame() for day, each in enumerate(company.counts[:10])])
    actions = past.select("position", "time", "user", action=pl.lit(0), outcome=pl.lit(0)).cast(CODED_SCHEMA)
    check_calibration(Activity(), drawn, past=actions.sort("time"), seed=seed)


@pytest.mark.parametrize("kind", ["steady", "spread", "far apart", "drifting", "seldom", "holidays"])
def test_normal_users_of_many_kinds_reach_b_bits_once_in_2_to_the_b(kind: str):
    """Though they are not drawn from what the detector thinks of them."""
    random = np.random.default_rng(8)
    days, users = 30, 400
    counts = invented(kind, random, days, users)
    past, found = Past(), []
    for day in range(days):
        events = a_day(counts[day], day, minutes_apart=0.7)
        found += [peaks(events, Activity().baseline(past))] if day >= 7 else []
        past.add(Activity().summarise(events))
    highest = np.concatenate(found)
    for bits in range(2, 10):
        assert (highest >= bits).mean() <= reached_by_chance(bits, len(highest)), f"{bits} bits"


def invented(kind: str, random: np.random.Generator, days: int, users: int) -> Counts:
    """Events (days, users) of normal users; all have days of the week of their own."""
    level = np.exp(random.normal(np.log(10), 0.8, users))
    mean = level * np.exp(random.normal(0.0, 0.2, (7, users)))[np.arange(days) % 7]
    here = np.full((days, users), 0.95)
    if kind != "steady":
        mean = random.gamma(1.5, mean / 1.5)
    if kind == "far apart":
        mean *= np.exp(random.normal(0.0, 0.7, (days, users)))
    if kind == "drifting":
        mean *= np.exp(np.cumsum(random.normal(0.0, 0.05, (days, users)), axis=0))
    if kind == "seldom":
        here *= random.beta(0.6, 2.0, users)
    if kind == "holidays":
        here[random.random(days) < 0.1] *= 0.1
        here[np.ix_(np.arange(days) % 7 >= 5, random.random(users) < 0.6)] *= 0.01
    counts: Counts = random.poisson(mean) * (random.random((days, users)) < here)
    return counts


# what it finds


def test_ten_times_as_much_as_usual_stands_out(company: Company):
    """The first user does ten times what they do, and nobody is as odd."""
    today = company.counts[28].copy()
    today[0] = 10 * int(company.counts[:28, 0].max())
    highest = peaks(a_day(today, 28, minutes_apart=1.0), known(learned(company.counts[:28])))
    assert highest.argmax() == 0
    assert highest[0] > 9.0
    assert np.sort(highest)[-2] < 6.0


def test_a_burst_within_seconds_says_much_at_once(company: Company):
    """156 pages within 6 seconds, by somebody who never had two in a minute: more bits than one in 10,000 days."""
    burst = [(7, 28 * DAY + 12 * 60 * MINUTE + n * 40_000) for n in range(156)]
    events = group(coded(burst))
    baseline = known(learned(company.counts[:28]))
    assert peaks(events, baseline)[0] > 15.0
    (reason, *_) = Activity().explain(events, baseline, NAMES)[7]
    assert reason.text.startswith("156 events within 7 seconds; before, about 1 in each of ")
    assert reason.text.endswith(" active minutes, never more than 1")
    assert (reason.count, reason.of) == (156, 1)


def on_a_sunday(company: Company, many: int, *, nobody: bool) -> tuple[Events, ActivityBaseline]:
    """So many events of the users 3 and 150 on the fifth Sunday, where half or nobody works at weekends."""
    counts = company.counts[:34].copy()
    if nobody:
        counts[np.arange(34) % 7 >= 5] = 0
    one = np.zeros(200, np.int64)
    one[3], one[150] = many, many
    return a_day(one, 34), known(learned(counts))


def test_a_sunday_is_odd_for_who_works_on_weekdays_only(company: Company):
    """The same events say more of somebody who never came on a Sunday than of somebody who always does."""
    events, baseline = on_a_sunday(company, 14, nobody=False)
    weekdays, always = peaks(events, baseline)
    assert weekdays > 1.5
    assert always < 0.0
    (reason,) = Activity().explain(events, baseline, NAMES)[3]
    assert reason.text.startswith("14 events on a Sunday; on 4 earlier Sundays 0; on any of 25 active days ")


def test_a_sunday_is_odd_where_nobody_works_on_sundays(company: Company):
    """Once in a hundred days, by chance; more so the more there is."""
    odd, odder = (peaks(*on_a_sunday(company, many, nobody=True)).min() for many in (14, 60))
    assert odd > 5.0
    assert odder > np.log2(200)


def test_the_scraper_of_a_real_log_is_named_first(shared_data: Path):
    """Analysts of the fragment found user 341, on the third of March 2019."""
    result = amiss.scan(str(shared_data / "curriculum" / "log_fragment.csv"), detectors=["activity"], top=3)
    first = result.users.row(0, named=True)
    assert first["user"] == "341"
    assert first["period"] == date(2019, 3, 3)
    assert first["reasons"][0]["text"].startswith("97 events within 6 seconds; before, about 1.4 in each of 51 ")


# silence


def day_of(number: int) -> date:
    """The date of a day after the Monday."""
    return date(2026, 1, 5) + timedelta(days=number)


def silent(company: Company, days: int, *, others: float = 1.0) -> list[tuple[int, ...]]:
    """Who is told of on each of some days from the 28th on, where user 150 does nothing from then on."""
    counts = company.counts[: 28 + days].copy()
    counts[28:, 150] = 0
    counts[28:, int(200 * others) :] = 0
    return told(counts, 28)


def told(counts: Counts, since: int) -> list[tuple[int, ...]]:
    """Of whom is told for their silence, on each day from one on."""
    found, past = [], learned(counts[:since])
    for day in range(since, len(counts)):
        users, bits = Activity().absent(known(past), day_of(day), np.flatnonzero(counts[day]).astype(np.uint32))
        assert (bits > np.log2(counts.shape[1])).all()
        found.append(tuple(users.tolist()))
        past.add(Activity().summarise(a_day(counts[day], day)))
    return found


def test_a_steady_user_who_falls_silent_is_told_of_once(company: Company):
    """After a few days, and never again."""
    assert isinstance(Activity(), Absences)
    days = silent(company, 8)
    assert [each for each in days if each] == [(150,)]
    assert days[0] == ()


def test_silence_is_explained_with_numbers(company: Company):
    """Since when, and how it was before."""
    counts = company.counts[:30].copy()
    counts[28:, 150] = 0
    found = Activity().explain_absent(
        Activity().baseline(learned(counts)), day_of(30), np.array([150], np.uint32), NAMES
    )
    mean = f"{counts[:28, 150].mean():,.0f}"
    (reason,) = found[150]
    assert reason.text == (
        "no events on Wednesday 2026-02-04, the 3rd day in a row; before, until Sunday 2026-02-01, active on 28 of 28 "
        f"days, with about {mean} events a day"
    )


def test_a_holiday_is_the_days_and_not_the_users(company: Company):
    """Where nearly all are silent, nobody is told of."""
    assert silent(company, 5, others=0.05) == [()] * 5


def test_weekends_are_no_silence_of_who_works_on_weekdays(company: Company):
    """Nobody is told of in a month in which all do as they do."""
    assert told(company.counts, 10) == [()] * 26


def test_where_nobody_came_the_source_is_silent(company: Company):
    """Nobody is told of; nor while little is known."""
    users, bits = Activity().absent(known(learned(company.counts[:28])), day_of(28), np.zeros(0, np.uint32))
    assert (len(users), len(bits)) == (0, 0)
    users, bits = Activity().absent(None, day_of(28), np.zeros(0, np.uint32))
    assert (users.dtype, len(bits)) == (np.uint32, 0)


def test_a_gap_of_the_source_is_no_silence_of_users(company: Company):
    """A week without any events later, all are there as ever, and nobody is odd."""
    past = learned(company.counts[:28])
    baseline = known(past)
    assert np.sort(peaks(a_day(company.counts[28], 35), baseline))[-1] < 6.0
    present = np.flatnonzero(company.counts[28]).astype(np.uint32)
    assert Activity().absent(baseline, day_of(35), present)[0].tolist() == []


def test_a_group_that_ends_is_no_silence_of_its_users(company: Company):
    """Half are done with their course and come no more; only who falls silent amid a course is told of, once."""
    by_group = Activity(by_group=True)
    counts, code = company.counts.copy(), np.where(np.arange(200) < 100, 1, 2)
    counts[21:, 100:] = 0
    counts[21:, 50] = 0
    days = [by_group.summarise(grouped(a_day(each, day), code)) for day, each in enumerate(counts)]
    past, found = Past(days[:21]), []
    for day in range(21, 36):
        present = np.flatnonzero(counts[day]).astype(np.uint32)
        found += by_group.absent(by_group.baseline(past), day_of(day), present)[0].tolist()
        past.add(days[day])
    assert found == [50]


def test_a_silence_of_a_group_is_told_though_others_came_back_meanwhile(company: Company):
    """Another was away until two days before and comes back: what that changes hides no silence that is going on."""
    by_group = Activity(by_group=True)
    counts, code = company.counts.copy(), np.where(np.arange(200) < 100, 1, 2)
    counts[21:, 50] = 0
    counts[14:19, 10] = 0
    days, found = [by_group.summarise(grouped(a_day(each, day), code)) for day, each in enumerate(counts[:25])], []
    for day in range(21, 25):
        present = np.flatnonzero(counts[day]).astype(np.uint32)
        past = Past(days[day - 14 : day])
        found += by_group.absent(by_group.baseline(past), day_of(day), present)[0].tolist()
    assert found == [50]


def test_how_often_users_went_away_within_days_is_what_a_loop_counts():
    """Those who came on five days at least; gaps that say seven bits, the one at the end too, two of each user."""
    random = np.random.default_rng(8)
    there = random.random((40, 25)) < np.linspace(0.2, 0.95, 40)[:, None]
    there[:, 3] = True
    passed = np.hstack([np.zeros((40, 1)), np.cumsum(random.uniform(0.5, 4.0, (40, 25)), axis=1)])
    user, day = np.nonzero(there)
    first = np.append(0, np.cumsum(there.sum(axis=1)))
    rows = Rows(np.arange(40, dtype=np.uint32), first, np.zeros(40, np.int64), day, user, user, np.arange(25))
    for begin, end in ((0, 25), (1, 25), (0, 24), (6, 20)):
        found = within(rows, passed, begin, end)
        for each in range(40):
            came = [int(at) for at in np.flatnonzero(there[each]) if begin <= at < end]
            gaps = [
                (one, other)
                for one, other in pairwise([*came, end])
                if passed[each, other] - passed[each, one + 1] >= 7
            ]
            steady = len(came) >= 5 and came[-1] - came[0] >= 7
            assert found.there[each] == bool(came)
            assert found.often[each] == (min(len(gaps), 2) if steady else 0)
            assert found.days[each] == (came[-1] - came[0] if steady else 0)
            assert found.now[each] == (steady and end in [later for _, later in gaps])


# what users are alike in


def test_days_spread_alike_where_nothing_says_that_users_differ_in_that():
    """A user whose few days happened to lie far apart is taken for one like all."""
    random = np.random.default_rng(3)
    counts = 1 + random.poisson(random.gamma(2.0, 5.0, (28, 300)))
    spread = known(learned(counts)).normal[:, SPREAD]
    assert spread.max() < 1.4 * spread.min()
    assert np.median(spread) == pytest.approx(0.5, rel=0.4)


def test_days_of_steady_users_spread_less_where_others_are_not_steady():
    """Half of the users have about as much on each day."""
    random = np.random.default_rng(3)
    mean = np.full((28, 300), 20.0)
    mean[:, 150:] *= random.gamma(1.0, 1.0, (28, 150))
    spread = known(learned(1 + random.poisson(mean))).normal[:, SPREAD]
    assert 3.0 * np.median(spread[:150]) < np.median(spread[150:])


def test_users_have_days_of_the_week_of_their_own_where_that_is_so():
    """Who does five times as much on Mondays is expected to; where nobody is like that, one who did so twice is not."""
    random = np.random.default_rng(3)
    counts = 1 + random.poisson(20.0, (28, 300))
    counts[[14, 21], 1] *= 3
    monday, tuesday = known(learned(counts)).normal[1, EXPECTED : EXPECTED + 2]
    assert monday < 1.5 * tuesday
    counts[np.ix_(np.arange(28) % 7 == 0, np.arange(0, 300, 2))] *= 5
    monday, tuesday = known(learned(counts)).normal[2, EXPECTED : EXPECTED + 2]
    assert monday > 3.0 * tuesday


def test_of_many_users_some_say_how_much_all_are_alike():
    """Every third of 4,200, who are as 1,400 are, makes the same normal as these."""
    random = np.random.default_rng(3)
    counts = 1 + random.poisson(random.gamma(2.0, 1.0, (8, 1_400)))
    few, many = (known(learned(np.tile(counts, times))).normal[:1_400, EXPECTED:PACE] for times in (1, 3))
    assert many == pytest.approx(few, rel=0.01)


# quiet


def test_it_is_silent_before_seven_days(company: Company):
    """No bits, and nothing to explain, learn from leaving out, or call usual."""
    past, events = learned(company.counts[:6]), a_day([300], 6)
    assert Activity().baseline(past) is None
    assert Activity().baseline(learned(company.counts[:28]), leave_out=True) is None
    scores = Activity().score(events, None, Activity().memory())
    assert not scores.bits.any()
    assert not scores.surprisal.any()
    assert Activity().explain(events, None, NAMES) == {}
    assert Activity().usual(None, 0, NAMES) == {}
    assert Activity().baseline(learned(company.counts[:7])) is not None


def test_who_did_three_times_as_much_for_weeks_is_not_odd_for_weeks(company: Company):
    """A level that shifts for all is odd on the day of the shift, and soon no more."""
    counts = company.counts.copy()
    counts[28:] *= 3
    past, odd = learned(counts[:28]), []
    for day in range(28, 36):
        events = a_day(counts[day], day)
        odd.append(int((peaks(events, known(past)) > 5.0).sum()))
        past.add(Activity().summarise(events))
    assert odd[0] > 10
    assert max(odd[1:]) <= 2


def test_users_who_are_unlike_others_have_days_like_their_own():
    """Where half have twenty times as much as others, nobody's eighth day is odd that is as all their days."""
    counts = np.array([[5 + user % 3, 100 + 10 * user] for user in range(15)]).ravel()
    past = learned(np.tile(counts, (7, 1)))
    assert (peaks(a_day(counts, 7, minutes_apart=2.0), known(past)) < 0.5).all()


def test_days_of_a_user_that_were_somebody_elses_teach_nothing(company: Company):
    """A day that a person confirmed to be bad is no day of the user's."""
    counts = company.counts[:28].copy()
    counts[27, 0] = 300
    whole, cleaned = learned(counts), learned(counts)
    cleaned.bad = Activity().summarise(a_day([300], 27))
    usual = [known(each).normal[0, EXPECTED : EXPECTED + 7].mean() for each in (whole, cleaned)]
    assert usual[1] < usual[0]
    assert len(known(cleaned).rows.day) == len(known(whole).rows.day) - 1


def test_what_a_person_said_is_expected_speaks_against_the_user_no_more(company: Company):
    """Neither so many events, nor so many in a minute, nor being there on a Sunday; of who is unknown too."""
    day = np.zeros(301, np.int64)
    day[[3, 300]] = 300
    events = a_day(day, 34, minutes_apart=0.01)
    past = learned(company.counts[:34])
    assert (peaks(events, known(past)) > 10.0).all()
    past.taught = Activity().summarise(events)
    assert (peaks(events, known(past)) < 1.0).all()


# what is remembered and said


def test_counts_are_a_row_for_each_user_and_day():
    """Events in the lower half of a count, minutes with events in the upper; 21 bytes a row."""
    found = Activity().summarise(group(coded([(7, 0), (7, 1), (7, MINUTE), (9, DAY), (7, DAY)])))
    minute = 1 << 32
    assert found.rows() == [
        (0, 7, MONDAY, 0, 3 + 2 * minute),
        (0, 7, MONDAY + 1, 0, 1 + minute),
        (0, 9, MONDAY + 1, 0, 1 + minute),
    ]
    assert found.estimated_size() == 3 * 21
    assert merge([found, found])["count"][0] == 6 + 4 * minute


def test_what_is_usual_is_said_in_words(company: Company):
    """How much on which days, how often, and how many within a minute."""
    baseline = known(learned(company.counts[:28]))
    usual = Activity().usual(baseline, 3, NAMES)
    assert usual["days"] == "active on 20 of 28 days, mostly from Monday to Friday"
    assert usual["minutes"] == "about 1 in an active minute, never more than 1"
    assert usual["events"].startswith("about ")
    assert Activity().usual(baseline, 999, NAMES) == {}


def test_a_user_whom_nobody_knows_is_judged_by_others(company: Company):
    """And the reason says so."""
    baseline = known(learned(company.counts[:28]))
    today = np.zeros(202, np.int64)
    today[200:] = [14, 950]
    events = a_day(today, 28, minutes_apart=1.0)
    few, many = peaks(events, baseline)
    assert few < 2.0
    assert many > 9.0
    texts = [reason.text for reason in Activity().explain(events, baseline, NAMES)[201]]
    assert any("nothing is known of the user before, others have about 1" in text for text in texts)


def test_a_new_user_is_judged_by_the_group_where_that_is_asked_for(company: Company):
    """Two hundred events are many for a clerk and few for a robot."""
    by_group = Activity(by_group=True)
    counts = company.counts[:28].copy()
    counts[:, 100:] *= 20
    code = np.where(np.arange(203) < 100, 1, 2)
    past = Past(
        [by_group.summarise(grouped(a_day(each, day, minutes_apart=0.1), code)) for day, each in enumerate(counts)]
    )
    baseline = by_group.baseline(past)
    assert baseline is not None
    today = np.zeros(202, np.int64)
    today[200:] = 200
    code[200] = 1
    events = grouped(a_day(today, 28, minutes_apart=1.0), code)
    running = evidence.running(events.first, by_group.score(events, baseline).bits)
    clerk, robot = np.maximum.reduceat(running, events.first[:-1])
    assert clerk > robot + 3.0
    assert by_group.context_of({"user": "ann", "group": "clerks"}) == {"group": "clerks"}
    assert by_group.context(pl.DataFrame({"group": ["clerks", None]})).rows() == [("clerks",), ("",)]
    assert Activity().context_of({"user": "ann", "group": "clerks"}) == {}


def grouped(events: Events, group: npt.NDArray[np.int64]) -> Events:
    """Events with the codes of their users' groups."""
    frame = events.frame().with_columns(group=pl.Series(group[events.user]).cast(pl.UInt32))
    return Events.of(frame)


@pytest.fixture(scope="module")
def log() -> pl.DataFrame:
    """Three weeks of thirty users; u11 scrapes on the 18th day, u04 comes no more from the thirteenth on."""
    start = datetime(2026, 1, 5, 9, tzinfo=UTC)
    rows = [
        (f"u{user:02}", start + timedelta(days=day, minutes=3 * n))
        for day in range(21)
        for user in range(30)
        for n in range(5 + user % 3)
        if not (user == 4 and day >= 12)
    ]
    rows += [("u11", start + timedelta(days=17, milliseconds=40 * n)) for n in range(156)]
    return pl.DataFrame(rows, schema=["user", "time"], orient="row").with_columns(action=pl.lit("view")).sort("time")


def test_a_scan_tells_of_bursts_and_of_silence(log: pl.DataFrame):
    """The same through a log: who scraped, on which day, and who stopped coming."""
    result = amiss.scan(log, detectors=["activity"])
    found = {row["user"]: row for row in result.users.head(2).iter_rows(named=True)}
    assert found["u11"]["period"] == date(2026, 1, 22)
    assert "events within 7 seconds; before, about 1 in each of" in found["u11"]["reasons"][0]["text"]
    assert found["u04"]["reasons"][0]["text"].endswith(
        "day in a row; before, until Friday 2026-01-16, active on 12 of 12 days, with about 6 events a day"
    )


def test_a_watch_tells_the_same_however_it_is_cut(log: pl.DataFrame, tmp_path: Path):
    """Of the burst while it lasts, of the silence when the day ends; batches and restarts change nothing."""
    events = log.select("user", "action", time=pl.col("time").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
    events.write_ndjson(tmp_path / "log.jsonl")
    wish, told = Settings([Activity()]), []
    for batch in (10_000, 97):
        with Store.open(tmp_path / f"{batch}.db") as store:
            watch = Watch(open_live_source(str(tmp_path / "log.jsonl")), store, wish, batch=batch, until_eof=True)
            watch.run(threading.Event())
            watching.same_tables(recall(store, wish).tables(), watch.live.tables())
            told.append(watching.kept(store))
    assert told[0] == told[1]
    stories = [(each["user"], each["period"]) for each in told[0]["stories"]]
    assert sorted(stories) == [("u04", date(2026, 1, 18)), ("u11", date(2026, 1, 22))]


def test_it_has_to_be_asked_for():
    """No log has it run by itself."""
    assert "activity" not in fitting([None])
    assert detector("activity", by_group=True) == Activity(by_group=True)


def test_what_is_held_of_chances_stays_what_the_columns_say(company: Company):
    """Chances are chances; spreads and shares are above 0."""
    baseline = known(learned(company.counts[:28]))
    assert 0.0 < baseline.law[UNUSUAL_PACE] <= 0.01
    assert 0.7 < baseline.law[ACTIVE] < 0.9
    assert (baseline.normal[:, SPREAD] > 0.0).all()
    assert (baseline.normal[:, BURST] < 0.5).all()
