"""The login detector: its slow twin, its laws, its calibration, what it says in which case, and in which words."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import naive_login
from tests.naive_login import Login as Event

from amiss import evidence
from amiss.baseline import Past
from amiss.detect import Names, login_kernel, login_normal, login_words
from amiss.detect.login import CONTEXT_SCHEMA, Login
from amiss.errors import UsageError
from amiss.events import CODED_SCHEMA
from amiss.fields import Fields, RoleGuess
from amiss.kinds import KINDS
from amiss.sessions import Events, group
from amiss.testing import check_detector, reached_by_chance
from amiss.vocabulary import Coding, Vocabulary

DAY = 86_400_000_000
HOME, MOBILE, BUSINESS, HOSTING = (KINDS.index(kind) for kind in ("home", "mobile", "business", "hosting"))
TEXTS = ("country", "city", "provider", "network", "address", "device", "browser", "agent")


def coded(logins: list[Event]) -> pl.DataFrame:
    """A coded frame of logins."""
    rows = {
        "position": range(1, len(logins) + 1),
        "time": [each.time for each in logins],
        "user": [each.user for each in logins],
        "action": [0] * len(logins),
        "outcome": [0] * len(logins),
        "login": [1] * len(logins),
        **{name: [getattr(each, name) for each in logins] for name in (*TEXTS, "version", "hour")},
        "latitude": [each.place[0] if each.place else float("nan") for each in logins],
        "longitude": [each.place[1] if each.place else float("nan") for each in logins],
        "wide": [int(each.wide) for each in logins],
        "kind": [each.kind for each in logins],
        "group": [each.group for each in logins],
    }
    frame = pl.DataFrame(rows, strict=False).with_columns(pl.col("time").cast(pl.Int64).cast(pl.Datetime("us", "UTC")))
    schema = CODED_SCHEMA | CONTEXT_SCHEMA | {"group": pl.UInt32()}
    told = frame.with_columns(pl.lit(0).alias(name) for name in schema if name not in frame.columns)
    return told.select(pl.col(name).cast(dtype) for name, dtype in schema.items())


def past_of(logins: list[Event], detector: Login | None = None) -> Past:
    """The counts of each day of logins."""
    days = [[each for each in logins if each.day == day] for day in sorted({each.day for each in logins})]
    return Past([(detector or Login()).summarise(_weighed(day)) for day in days])


def _weighed(logins: list[Event]) -> Events:
    """Grouped events, each with its weight."""
    events = group(coded(logins))
    weight = np.array([round(16 * logins[at - 1].counts) for at in events.position], dtype=np.uint8)
    return replace(events, weight=weight)


def scores(past: Past, today: list[Event], detector: Login | None = None, *, leave_out: bool = False) -> list[float]:
    """The bits of a day's logins, in order of the log."""
    detector = detector or Login()
    events = group(coded(today))
    found = detector.score(events, detector.baseline(past, leave_out=leave_out))
    return pl.Series(found.bits).gather(np.argsort(events.position)).to_list()


def events_of(day: int, users: int) -> st.SearchStrategy[list[Event]]:
    """A strategy of some users' logins on a day."""
    few, hour = st.integers(0, 3), st.integers(0, 167)
    place = st.sampled_from([None, (48.2, 16.4), (48.0, 16.0), (50.5, 30.5), (-33.9, 151.2)])
    times = st.integers(0, 23).map(lambda hours: day * DAY + hours * 3_600_000_000)
    login = st.builds(
        Event,
        day=st.just(day),
        time=times,
        user=st.integers(0, users - 1),
        **dict.fromkeys((*TEXTS, "version"), few),
        hour=hour,
        place=place,
        wide=st.sampled_from([False, False, False, True]),
        counts=st.sampled_from([1 / 16, 0.25, 0.5, 1.0, 1.0]),
        group=st.just(0),
        kind=st.sampled_from([0, 0, HOME, MOBILE, HOSTING]),
    )
    return st.lists(login, max_size=12).map(lambda found: sorted(found, key=lambda each: each.time))


def begun_with(settled: int, past: Sequence[list[Event]]) -> list[Event]:
    """Logins of some days, before which two users have logged in so often."""
    before = [
        Event(-1, (number - settled) * 1_000_000, number % 2, kind=(HOME, MOBILE, 0)[number % 3])
        for number in range(2 * settled)
    ]
    return before + [event for day in past for event in day]


@settings(max_examples=60)
@given(
    past=st.tuples(*(events_of(day, 3) for day in range(3))),
    today=events_of(3, 4),
    cap=st.sampled_from([1, 3]),
    settled=st.sampled_from([0, 15]),
)
def test_bits_equal_the_slow_twin(past, today, cap, settled):
    """Any past and any day give bits and surprisal of the dictionary loop."""
    earlier, today = begun_with(settled, past), [each._replace(counts=1.0) for each in today]
    detector, events = Login(cap=cap), group(coded(today))
    found = detector.score(events, detector.baseline(past_of(earlier)))
    expected = naive_login.login(earlier, today, cap)
    order = np.argsort(events.position)
    assert found.bits[order].tolist() == pytest.approx([bits for bits, _ in expected], abs=1e-9)
    assert found.surprisal[order].tolist() == pytest.approx([surprisal for _, surprisal in expected], abs=1e-9)


def journeys(day: int) -> st.SearchStrategy[list[Event]]:
    """A strategy of a day on which some of four users come to cities and providers, by lines and phones."""
    login = st.builds(
        Event,
        day=st.just(day),
        time=st.integers(0, 23).map(lambda hours: day * DAY + hours * 3_600_000_000),
        user=st.integers(0, 3),
        country=st.sampled_from([1, 1, 1, 2]),
        city=st.integers(1, 4),
        provider=st.integers(1, 3),
        wide=st.sampled_from([False, False, False, False, True]),
        counts=st.sampled_from([0.25, 1.0, 1.0]),
        kind=st.sampled_from([0, HOME, HOME, MOBILE, HOSTING]),
        **dict.fromkeys(("network", "address", "device", "version", "browser", "agent", "hour"), st.just(1)),
        place=st.none(),
        group=st.just(0),
    )
    return st.lists(login, max_size=6).map(lambda found: sorted(found, key=lambda each: each.time))


@settings(max_examples=20)
@given(
    past=st.tuples(*(journeys(day) for day in range(4))),
    today=journeys(4),
    settled=st.sampled_from([15, 16]),
    bad=st.one_of(st.just([]), journeys(9)),
)
def test_journeys_by_kinds_of_networks_equal_the_slow_twin(past, today, settled, bad):
    """How settled users come to cities, and whether they keep their providers there; with bad logins or without.

    Expected new things are summed in whole parts of 2^-20, of which there may be one more or less by rounding.
    """
    earlier, today = begun_with(settled, past), [each._replace(counts=1.0) for each in today]
    bad = [each._replace(counts=1.0) for each in bad]
    known = past_of(earlier)
    known.bad = Login().summarise(group(coded(bad)))
    expected = [bits for bits, _ in naive_login.login(earlier, today, bad=bad)]
    assert scores(known, today) == pytest.approx(expected, abs=1e-5)


def in_groups(found: list[Event], groups: list[int]) -> list[Event]:
    """The same logins, each naming the group of its user; now and then another one."""
    return [each._replace(group=groups[(each.user + (each.hour == 3)) % len(groups)]) for each in found]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    past=st.tuples(*(events_of(day, 4) for day in range(3))),
    today=events_of(3, 5),
    groups=st.lists(st.integers(0, 2), min_size=5, max_size=5),
    cap=st.sampled_from([1, 3]),
    left_out=st.booleans(),
)
def test_bits_by_group_equal_the_slow_twin(past, today, groups, cap, left_out):
    """So do those of users in groups, whose colleagues stand between them and everyone; left out or not."""
    earlier = in_groups(begun_with(15, past), groups)
    today = in_groups([each._replace(counts=1.0) for each in today], groups)
    detector, events = Login(cap=cap, by_group=True), group(coded(today))
    known = past_of(today if left_out else earlier, detector)
    found = detector.score(events, detector.baseline(known, leave_out=left_out))
    expected = naive_login.login(earlier, today, cap, left_out=left_out)
    order = np.argsort(events.position)
    assert found.bits[order].tolist() == pytest.approx([bits for bits, _ in expected], abs=1e-9)
    assert found.surprisal[order].tolist() == pytest.approx([surprisal for _, surprisal in expected], abs=1e-9)


@settings(max_examples=40)
@given(today=events_of(0, 4))
def test_bits_with_the_user_left_out_equal_the_slow_twin(today):
    """A day that is judged by itself gives the bits of the dictionary loop without each user."""
    today = [each._replace(counts=1.0) for each in today]
    expected = [bits for bits, _ in naive_login.login([], today, left_out=True)]
    assert scores(past_of(today), today, leave_out=True) == pytest.approx(expected, abs=1e-9)


def symbols(ways: naive_login.Ways, feature: str, given_: int) -> list[int]:
    """A value for each thing that may come next in a row: those known and one never seen; two of versions."""
    known = [value for value, count in ways.everyone.rows[feature, given_].items() if count > 0]
    row = [*ways.past[feature, given_], *ways.today[feature, given_]]
    lumped = any(not ways.everyone.seen(feature, given_, value) for value in row)
    if feature == "version" and row and not lumped:
        return [*known, NEVER, -1]
    return [*known, next((value for value in row if not ways.everyone.seen(feature, given_, value)), NEVER)]


NEVER = 9_999
"""A code that nobody showed."""


@settings(max_examples=40, deadline=None)
@given(
    past=st.tuples(*(events_of(day, 2) for day in range(3))),
    today=events_of(3, 2),
    moved=st.sampled_from([1.0, 8.0]),
    settled=st.sampled_from([0, 15]),
)
def test_chances_sum_to_1(past, today, moved, settled):
    """What may come next in any row has chances, of the user and of everyone, that sum to 1."""
    earlier = begun_with(settled, past)
    everyone, pace = naive_login.Everyone.of(earlier, 1.0), naive_login.Pace.of(earlier)
    rows = [naive_login.rows_of(event for event in part if event.user == 0) for part in (earlier, today)]
    ways = naive_login.Ways(everyone, pace, *rows)
    for feature, given_ in [key for part in rows for key in part if key[0] != "kind"]:
        judged = [naive_login.judge(ways, feature, (given_, value), moved) for value in symbols(ways, feature, given_)]
        assert sum(each.p for each in judged) == pytest.approx(1.0)
        assert sum(each.q for each in judged) == pytest.approx(1.0)
        assert sum(each.odd(each.q) for each in judged) == pytest.approx(1.0)
    for city, moved_to in itertools.product(range(4), ("", "country", "city", "provider")):
        judged = [naive_login.judge_kind(ways, city, kind, moved_to) for kind in naive_login.KINDS]
        assert sum(each.p for each in judged) == pytest.approx(1.0)
        assert sum(each.odd(each.q) for each in judged) == pytest.approx(1.0)


def habitual(random: np.random.Generator, users: int, days: int) -> list[Event]:
    """Logins of users with a home each, some with a second place, a new address now and then, a common device."""
    logins = []
    for day in range(days):
        for user in range(users):
            away = random.random() < 0.1 * (user % 3)
            where = 1 + int(random.integers(4)) if away else 5 + user % 4
            logins.append(
                Event(
                    day,
                    day * DAY + int(random.integers(DAY)),
                    user,
                    country=1 + where % 3,
                    provider=where,
                    network=10 * where + user % 3,
                    address=int(random.integers(100, 10_000)) if user % 5 == 0 else 20_000 + user,
                    device=1 + user % 2,
                    version=40 + (day > 4) * int(random.random() < 0.7),
                    hour=24 * (day % 7) + int(random.integers(8, 18)),
                )
            )
    return sorted(logins, key=lambda each: each.time)


def drawn(random: np.random.Generator, past: list[Event], users: int, each: int) -> list[Event]:
    """So many logins of each user of a past, as the user's own chances say."""
    everyone, pace = naive_login.Everyone.of(past, 1.0), naive_login.Pace.of(past)
    clock, today, fresh_codes = naive_login.hours(past, 1.0), [], iter(range(NEVER, 10**6))
    for user in range(users):
        mine = [event for event in past if event.user == user]
        rows, now = naive_login.rows_of(mine), []
        for number in range(each):
            ways = naive_login.Ways(everyone, pace, rows, naive_login.rows_of(now))
            told = _drawn_login(random, ways, fresh_codes)
            chances = [naive_login._hour(clock, [*mine, *now], hour)[0] for hour in range(168)]
            hour = int(random.choice(168, p=np.array(chances) / sum(chances)))
            now.append(Event(10, 10 * DAY + number, user, **told, hour=hour))
        today += now
    return today


def _drawn_login(random: np.random.Generator, ways: naive_login.Ways, fresh_codes) -> dict[str, int]:
    """The categories of one login, each drawn after the one before."""
    told = {"browser": 1}
    fresh, moved = False, ""
    for feature in naive_login.CHAINS:
        fresh = fresh and feature != "device"
        pair = naive_login.pairs(Event(0, 0, 0, **told))[feature]
        choices = symbols(ways, feature, pair[0])
        factor = naive_login.FACTORS.get((feature, moved), 1.0)
        judged = [naive_login.judge(ways, feature, (pair[0], value), factor) for value in choices]
        if fresh:
            seen = [ways.everyone.seen(feature, pair[0], value) for value in choices]
            lump = naive_login.LUMP
            asked = [value if known else lump for value, known in zip(choices, seen, strict=True)]
            p = [naive_login.arriving(ways, ways.everyone, feature, pair[0], value) for value in asked]
            if len(p) > 1 and choices[-1] == -1:
                p[-1] = 0.0
        else:
            p = [each.p for each in judged]
        at = int(random.choice(len(p), p=np.array(p) / sum(p)))
        told[feature] = next(fresh_codes) if choices[at] == NEVER else choices[at]
        if judged[at].shown < 1:
            fresh, moved = True, moved or (feature if feature in {"country", "city", "provider", "network"} else "")
    return told


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_users_who_keep_their_ways_reach_b_bits_once_in_2_to_the_b(seed: int):
    """Drawn from their own chances, users are rarely taken for somebody else."""
    random = np.random.default_rng(seed)
    past = habitual(random, 100, 8)
    detector = Login()
    events = group(coded(drawn(random, past, 100, 4)))
    found = detector.score(events, detector.baseline(past_of(past)))
    highest = np.maximum.reduceat(evidence.running(events.first, found.bits), events.first[:-1])
    for bits in range(1, 9):
        assert (highest >= bits).mean() <= reached_by_chance(bits, len(highest))


def frames() -> st.SearchStrategy[pl.DataFrame]:
    """A strategy of coded frames in which an eighth of the events are no logins."""
    return events_of(0, 4).map(lambda found: coded(found).with_columns(login=(pl.col("hour") % 8 > 0).cast(pl.UInt8)))


def no_evidence(baseline, random, users):  # noqa: ARG001 - as `amiss.testing` asks for
    """Users who do nothing; the calibration is tested above."""
    return group(coded([Event(0, user, user) for user in range(users)]))


def test_the_laws_hold():
    """Counts merge, chunks and buckets don't matter, nothing looks ahead, states come back equal."""
    check_detector(Login(), frames(), draw=no_evidence)


@pytest.mark.slow
def test_the_laws_hold_by_group():
    """So they do where users have groups, and some of them change."""
    grouped = frames().map(
        lambda found: found.with_columns(group=((pl.col("user") + pl.col("hour")) % 3).cast(pl.UInt32))
    )
    check_detector(Login(by_group=True), grouped, draw=no_evidence)


# --- what it says in which case


def steady(days: int = 30, **told: int) -> list[Event]:
    """One login a day of Ann, who is 0, at nine, and of twenty others in two countries."""
    logins = []
    for day in range(days):
        logins.append(Event(day, day * DAY, 0, **{"hour": 24 * (day % 7) + 9, **told}))
        for user in range(1, 21):
            code = 1 + user % 4
            where = {"country": 1 + user % 2, "provider": code, "network": code, "address": 100 + user}
            what = {"device": 1 + user % 3, "version": 40, "browser": 1 + user % 3, "agent": 1 + user % 3}
            logins.append(Event(day, day * DAY + user, user, **where, **what, hour=24 * (day % 7) + 12))
    return logins


PAST = steady()
NINE = 9
AT = 30 * DAY + 9 * 3_600_000_000


def ann(**told: object) -> Event:
    """A login of Ann on the next day, as ever but for what is told."""
    return Event(30, AT, 0, **{"hour": 24 * (30 % 7) + NINE, **told})


ELSEWHERE = {"country": 2, "provider": 2, "network": 2, "address": 999}
OTHER_DEVICE = {"device": 2, "version": 40, "browser": 2, "agent": 2}


def bits(*today: Event, past: list[Event] = PAST) -> list[float]:
    """The bits of the logins of a day."""
    return scores(past_of(past), list(today))


def test_a_new_country_and_a_new_device_together_speak_most_against_a_user():
    """As ever: for the user. Either new: some bits. Both: more than 10."""
    usual, place, device = bits(ann())[0], bits(ann(**ELSEWHERE))[0], bits(ann(**OTHER_DEVICE))[0]
    both = bits(ann(**ELSEWHERE, **OTHER_DEVICE))[0]
    assert usual < -5
    assert place < both
    assert device < both
    assert both > 10


def test_a_newer_version_of_the_browser_is_no_new_device():
    """With everything else as ever, an update speaks for the user still."""
    assert bits(ann(version=2, browser=7, agent=7))[0] < -3


def test_an_update_costs_less_than_going_back():
    """A version above all known ones is likelier than one below."""
    past = steady(version=44)
    older, newer = bits(ann(version=43), past=past)[0], bits(ann(version=45), past=past)[0]
    assert newer < older - 2


def test_a_new_address_is_cheap_for_who_changes_it_daily():
    """For who always had one address it is dearer by more than two bits."""
    movers = [each._replace(address=1_000 + each.day) if each.user == 0 else each for each in PAST]
    assert bits(ann(address=888), past=movers)[0] < bits(ann(address=888))[0] - 2


def test_a_provider_where_people_arrive_is_less_odd_than_one_where_as_many_live():
    """Six of twenty come to provider 7 in their fourth week; six others have been at provider 8 all along."""
    where = [lambda _: 1, *[lambda day: 7 if day == 25 else 9] * 6, *[lambda _: 8] * 6, *[lambda _: 9] * 8]
    past = [each._replace(country=1, provider=where[each.user](each.day)) for each in PAST]
    arrived, lived_in = bits(ann(provider=7), past=past)[0], bits(ann(provider=8), past=past)[0]
    assert arrived < lived_in - 2


def test_who_logs_in_more_often_than_others_has_as_many_more_occasions():
    """Where others log in ten times as often as before, the same login of Ann is no longer one of many."""
    busy = [each._replace(time=each.time + number) for each in PAST if each.user == 0 for number in range(20)]
    seldom = [each for each in PAST if each.user and each.day % 5 == each.user % 5]
    odd = ann(**ELSEWHERE, **OTHER_DEVICE)
    detector, today = Login(), group(coded([odd]))
    baseline = detector.baseline(past_of(busy + seldom))
    alike = replace(baseline, normal=baseline.normal._replace(busy=np.ones(21)))
    often = len(busy) / (len(busy + seldom) / 21)
    less = detector.score(today, alike).bits[0] - detector.score(today, baseline).bits[0]
    assert less == pytest.approx(math.log2(often))


def test_wide_places_tell_no_country_and_no_journey():
    """A first day on a VPN speaks against nobody who comes with the usual device."""
    vpn = ann(country=0, provider=0, network=77, address=77, wide=True)
    assert bits(vpn)[0] < 0


def test_nobody_travels_from_vienna_to_sydney_in_an_hour():
    """The same login is odder when the last one was far away an hour before, and not when that was a day ago."""
    vienna, sydney = (48.2, 16.4), (-33.9, 151.2)
    first, away = ann(place=vienna), ann(**ELSEWHERE, place=sydney)
    soon, later = (away._replace(time=AT + hours * 3_600_000_000) for hours in (1, 20))
    assert bits(first, soon)[1] > bits(first, later)[1] + 3


def test_the_last_place_is_remembered_from_the_day_before():
    """A far leg in the first hours of a day counts, from the last place of earlier days."""
    vienna, sydney = (48.2, 16.4), (-33.9, 151.2)
    past = [each._replace(place=vienna) if each.user == 0 else each for each in PAST]
    late = 29 * DAY + 23 * 3_600_000_000
    past = sorted([*past, Event(29, late, 0, place=vienna)], key=lambda each: each.time)
    soon, near = (ann(**ELSEWHERE, place=where)._replace(time=30 * DAY) for where in (sydney, vienna))
    assert bits(soon, past=past)[0] > bits(near, past=past)[0] + 3


def test_what_was_odd_in_the_morning_is_no_odder_at_noon():
    """The evidence of a stolen account stays, while the second login from there adds little."""
    thief = ann(**ELSEWHERE, **OTHER_DEVICE)
    first, again = bits(thief, thief._replace(time=AT + 3_600_000_000))
    assert first > 10
    assert again < 3


@pytest.mark.parametrize("hour", [3, NINE, 12, 20])
def test_evidence_stays_while_the_same_goes_on(hour: int):
    """After an odd login, five more alike within the day leave the running evidence within 1.5 bits of its peak."""
    thief = ann(**ELSEWHERE, **OTHER_DEVICE)._replace(hour=24 * (30 % 7) + hour)
    again = [thief._replace(time=AT + minutes * 60_000_000) for minutes in range(0, 60, 10)]
    standing = evidence.running(np.array([0, 6]), np.array(bits(*again)))
    assert standing[0] > 10
    assert np.all(np.maximum.accumulate(standing) - standing <= 1.5)


def test_a_repetition_says_about_nothing_in_a_place_that_nobody_knows():
    """Country, network and device new for everyone: the first login says all there is to say."""
    thief = ann(**dict.fromkeys(TEXTS, 9), version=9)
    first, *others = bits(*[thief] * 6)
    assert first > 10
    assert others == pytest.approx([0.0] * 5, abs=0.5)


def test_what_speaks_against_a_user_teaches_little():
    """A thief who came every day for a week is still odd; a user who came so is not."""
    week = [ann(**ELSEWHERE, **OTHER_DEVICE)._replace(day=30 + day, time=AT + day * DAY) for day in range(7)]
    then = week[0]._replace(day=37, time=AT + 7 * DAY)
    odd = bits(then, past=[*PAST, *(each._replace(counts=1 / 16) for each in week)])[0]
    trusted = bits(then, past=[*PAST, *week])[0]
    assert odd > trusted + 5


def test_failed_logins_and_other_events_neither_score_nor_teach():
    """Events that are no logins give no bits and no counts."""
    events = group(coded([ann(), ann(**ELSEWHERE)]).with_columns(login=pl.lit(0, dtype=pl.UInt8)))
    detector = Login()
    assert detector.score(events, detector.baseline(past_of(PAST))).bits.tolist() == [0.0, 0.0]
    assert detector.summarise(events).is_empty()


def test_without_any_past_a_first_login_gives_no_evidence():
    """Where nothing is known, nothing is odd."""
    assert bits(ann(), past=[]) == pytest.approx([0.0])


def test_logins_like_those_told_to_be_bad_are_odder():
    """What a person confirmed raises the bits of logins like it, and hardly those of others."""
    thief, past = ann(**ELSEWHERE), past_of(PAST)
    before, usual = scores(past, [thief])[0], scores(past, [ann()])[0]
    past.bad = Login().summarise(group(coded([thief._replace(user=7)] * 3)))
    assert scores(past, [thief])[0] > before + 3
    assert scores(past, [ann()])[0] == pytest.approx(usual, abs=0.5)


def test_what_a_person_expects_of_a_user_counts_as_known():
    """A verdict makes a second home usual at once."""
    past, second = past_of(PAST), ann(**ELSEWHERE)
    before = scores(past, [second])[0]
    past.taught = Login().summarise(group(coded([second] * 3)))
    assert scores(past, [second])[0] < before - 5


# --- kinds of networks


def by_lines(past: list[Event]) -> list[Event]:
    """The same logins, all by lines of homes."""
    return [each._replace(kind=HOME) for each in past]


def test_a_machine_where_nobody_ever_came_by_one_is_much_odder_than_the_own_line():
    """With all else as ever, the kind of the network alone is worth more than 4 bits; the own one speaks for Ann."""
    past = by_lines(PAST)
    own, machine = bits(ann(kind=HOME), past=past)[0], bits(ann(kind=HOSTING), past=past)[0]
    assert own < -5
    assert machine > own + 4


def test_where_no_kinds_are_told_nothing_of_them_changes_anything():
    """Other chances of kinds in a baseline leave the bits as they are, to the last one; details tell no kind."""
    detector, today = Login(), group(coded([ann(), ann(**ELSEWHERE), ann(city=7)]))
    baseline = detector.baseline(past_of(PAST))
    everyone = baseline.normal.everyone
    other = everyone._replace(
        usual=everyone.usual + 5, coming=np.full((3, len(KINDS)), 0.5), loyal=np.full(len(KINDS), 0.9)
    )
    changed = replace(baseline, normal=baseline.normal._replace(everyone=other))
    assert detector.score(today, changed).bits.tolist() == detector.score(today, baseline).bits.tolist()
    assert detector.detail(today, baseline)[1][:, login_kernel.KIND].tolist() == [[1.0, 1.0, 0.0, 0.0]] * 3
    assert login_kernel.KIND not in baseline.counts["feature"]
    assert set(baseline.counts.filter(pl.col("feature") == login_kernel.PROVIDER)["given"]) == {1, 2}


def travellers(keep: bool) -> list[Event]:
    """Ann and twenty others at home and by phone, who in the fourth week come to a new city, and keep theirs or not."""
    past = []
    for each in PAST:
        own = 3 + each.user % 2
        line = each._replace(country=1, city=1, provider=1, network=1, kind=HOME)
        phone = each._replace(country=1, city=1, provider=own, network=own, kind=MOBILE)
        away = phone._replace(city=5, provider=own if keep else 7 - own, network=own if keep else 7 - own)
        past += [line, phone] if each.user == 0 or each.day != 25 else [away]
    return past


def test_the_own_mobile_provider_in_a_new_city_is_less_odd_than_another():
    """The more so once others were seen to keep theirs, and less where they took others."""
    own, other = ({"city": 8, "provider": code, "network": code, "kind": MOBILE} for code in (3, 4))
    less = []
    for keep in (True, False):
        past = travellers(keep)
        less.append(bits(ann(**other), past=past)[0] - bits(ann(**own), past=past)[0])
    assert less[0] > 2
    assert less[0] > less[1] + 1


def test_a_repetition_by_the_same_kind_says_about_nothing():
    """A machine in a place that nobody knows says all there is to say at once."""
    thief = ann(**dict.fromkeys(TEXTS, 9), version=9, kind=HOSTING)
    first, *others = bits(*[thief] * 6, past=by_lines(PAST))
    assert first > 10
    assert others == pytest.approx([0.0] * 5, abs=0.5)


def test_the_kind_of_a_wide_place_counts():
    """Who always came by a private network at work is odd by a machine's; wide logins teach their kinds."""
    wide = {"country": 0, "city": 0, "provider": 0, "network": 7, "address": 7, "wide": True}
    past = [each._replace(**wide, kind=BUSINESS) if each.user == 0 else each for each in by_lines(PAST)]
    own, machine = bits(ann(**wide, kind=BUSINESS), past=past)[0], bits(ann(**wide, kind=HOSTING), past=past)[0]
    assert machine > own + 4


def test_kinds_of_logins_told_to_be_bad_are_odder():
    """Bad logins by machines raise the bits of one by a machine more than those of one by a phone."""
    past = past_of(by_lines(PAST))
    today = [ann(**ELSEWHERE, kind=kind) for kind in (HOSTING, MOBILE)]
    before = [scores(past, [each])[0] for each in today]
    past.bad = Login().summarise(group(coded([today[0]._replace(user=7)] * 5)))
    machine, phone = (scores(past, [each])[0] - was for each, was in zip(today, before, strict=True))
    assert machine > phone + 1


def test_a_minor_update_costs_no_more_than_a_major_one():
    """26.3 after 26.2 is as likely as 27 after it, and likelier than going back."""
    past = steady(version=26_002)
    minor, major, back = (bits(ann(version=each), past=past)[0] for each in (26_003, 27_000, 26_001))
    assert minor <= major
    assert minor < back - 2


# --- the published model


@given(past=st.tuples(*(events_of(day, 3) for day in range(3))), today=events_of(3, 4))
def test_linear_smoothing_is_the_published_model(past, today):
    """By configuration, bits are the ratio of the paper: attackers who choose users alike and behave as everyone."""
    earlier = [event._replace(wide=False) for day in past for event in day]
    today = [event._replace(wide=False) for event in today]
    found = scores(past_of(earlier), today, Login(smoothing="linear", q="population"))
    assert found == pytest.approx([naive_login.published(earlier, event) for event in today], abs=1e-9)


def test_the_published_model_by_hand():
    """Ann's one login of two: her address again makes 1/3 / (.95*1 + .05/3) for place, alike for agent, times 1."""
    past = [Event(0, 0, 0), Event(0, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2)]
    user = 0.5 + (0.2 + 0.15 + 0.1) / 2 + 0.05 / 3
    agent = 0.5 + (0.25 + 0.2) / 2 + 0.05 / 3
    found = scores(past_of(past), [ann()], Login(smoothing="linear", q="population"))
    assert found == pytest.approx([np.log2(1 / 3 / user * (1 / 3) / agent)])


# --- words


NAMES = {1: "US", 2: "UA", 3: "Firefox, Linux", 4: "203.0.113.0/24", 5: "Chrome, Windows", 6: "AS64500"}


def names() -> Names:
    """Names of the codes 1 to 9."""
    return Names(Coding(values=Vocabulary(["", *(NAMES.get(code, f"text {code}") for code in range(1, 10))])))


def explained(event: Event, past: list[Event] | None = None) -> list[str]:
    """What is said of a login."""
    detector, events = Login(), group(coded([event]))
    found = detector.explain(events, detector.baseline(past_of(past or steady(device=5))), names())
    return [reason.text for reason in found.get(event.user, [])]


def test_reasons_say_what_is_new_with_counts():
    """Country and device of a login in words, the dearest first, with how many earlier logins were so."""
    texts = explained(ann(country=2, provider=6, network=4, device=3, address=7))
    assert texts[0].startswith("logged in from Ukraine with Firefox on Linux: 0 of 30")
    assert any("0 of 30 earlier logins came from Ukraine" in text for text in texts)
    assert any("0 of 30 earlier logins used Firefox on Linux" in text for text in texts)


def test_reasons_count_all_earlier_logins_of_a_user():
    """Logins that taught little are counted whole; how many of them were alike is said to be about so many."""
    past = [each._replace(counts=0.5) for each in steady(device=5)]
    past += [each._replace(counts=0.5, device=3) for each in past if each.user == 0 and each.day < 4]
    odd = ann(country=2, provider=6, network=4, device=3, address=7, browser=3, agent=3)
    texts = explained(odd, sorted(past, key=lambda each: each.time))
    assert texts[0].startswith("logged in from Ukraine with Firefox on Linux: 0 of 34 earlier logins came from Ukraine")
    assert any("about 4 of 34 earlier logins used Firefox on Linux" in text for text in texts)
    assert not any(" of 0 " in text or "of about 0 " in text for text in texts)


def test_a_place_without_earlier_logins_is_there_for_the_first_time():
    """Where there is nothing to compare with, no share is given, and a country has its name."""
    texts = explained(ann(country=2, provider=6, network=4, address=7, device=5))
    assert any("for the first time" in text for text in texts)
    assert not any("0 of 0" in text for text in texts)


def test_an_odd_hour_is_told_in_the_reason_about_it():
    """In the zone of the place, and not in the scene, which stands beside a time in another zone."""
    texts = explained(ann(country=2, device=5, hour=24 * 2 + 3))
    assert sum("03:00" in text for text in texts) == 1
    assert any("within three hours of Wednesday 03:00 to 03:59, their local hour" in text for text in texts)


def test_both_kinds_of_journeys_have_words():
    """Too fast for anybody, or 500 km or more."""
    fast, slow = np.zeros((13, 4)), np.zeros((13, 4))
    fast[10, :2], slow[10, :2] = (3, 4), (2, 1)
    told = [login_words.Told({}, 0, wide=False, detail=detail, logins=9) for detail in (fast, slow)]
    assert login_words._journey(told[0]) == "nobody travels that fast from the place of the last login"
    assert login_words._journey(told[1]) == "500 km or more from the place of the last login"


JOURNEYS = [
    ((51.5, -0.1), (48.9, 2.4), 3, False),  # London to Paris by train
    ((34.7, 135.5), (35.7, 139.7), 3, False),  # Osaka to Tokyo by train
    ((48.1, 11.6), (49.5, 11.1), 1, False),  # Munich to Nuremberg by train, begun and ended in hours side by side
    ((40.7, -74.0), (34.1, -118.2), 6, False),  # New York to Los Angeles by air
    ((48.2, 16.4), (-33.9, 151.2), 20, False),  # Vienna to Sydney by air
    ((51.5, -0.1), (48.9, 2.4), 0, True),
    ((48.1, 11.6), (52.5, 13.4), 1, True),  # Munich to Berlin
    ((40.7, -74.0), (34.1, -118.2), 3, True),
]


@pytest.mark.parametrize(("begin", "end", "hours", "is_impossible"), JOURNEYS)
def test_what_people_can_travel_is_not_told_as_impossible(begin, end, hours, is_impossible):
    """Between whole hours that are so far apart."""
    latitude, longitude = np.array([begin, end]).T
    _, pace, _ = login_kernel.leg(*login_normal.cells(latitude, longitude), hours)
    assert (pace == login_kernel.FASTEST) is is_impossible


def test_the_first_login_of_a_user_says_so():
    """Of a user without a past it is said that everyone's logins judge."""
    texts = explained(ann(country=9, provider=9, network=9, address=9, device=9)._replace(user=99))
    assert len(texts) == 1
    assert texts[0].endswith("the first login of this user, judged by everyone's")


def test_a_usual_login_has_no_reasons():
    """Nothing is said where nothing speaks against a user."""
    assert explained(ann(device=5)) == []


def offices(days: int = 30) -> list[Event]:
    """The logins of twenty others in two offices, 1 and 2, each in a country, with a network, of its own."""
    past = []
    for each in steady(days=days, device=5):
        office = 1 + each.user % 2
        past.append(
            each if each.user == 0 else each._replace(group=office, country=office, provider=office, network=office)
        )
    return past


def by_group(event: Event, past: list[Event]) -> tuple[float, list[str]]:
    """The bits of a login where groups are looked at, and what is said of it."""
    detector, events = Login(by_group=True), group(coded([event]))
    baseline = detector.baseline(past_of(past, detector))
    reasons = detector.explain(events, baseline, names()).get(event.user, [])
    return float(detector.score(events, baseline).bits[0]), [reason.text for reason in reasons]


@pytest.mark.slow
def test_a_new_user_is_judged_by_colleagues_first():
    """Where they are and what they have is usual for somebody new, and what none of them has is odd."""
    known = offices()
    first = Event(
        30, AT, 99, group=2, country=2, provider=2, network=2, address=3, device=2, browser=2, agent=2, version=40
    )
    there, elsewhere = first._replace(network=2, address=103), first._replace(country=1, provider=1, network=1)
    plain = scores(past_of(known), [there, elsewhere._replace(user=98)])
    bits = [by_group(event, known)[0] for event in (there, elsewhere)]
    assert bits[0] < plain[0] - 1
    assert bits[1] > plain[1] + 1
    assert by_group(first._replace(group=0), known)[0] == scores(past_of(known), [first])[0]


@pytest.mark.slow
def test_a_place_of_colleagues_is_less_odd_for_a_user_who_was_never_there():
    """Who comes to the second office for the first time does as colleagues do; in another group nobody is there."""
    there = {"country": 1, "provider": 1}
    known = [each._replace(**there, network=10 + each.user) if each.user else each for each in steady(device=5)]
    known += [each._replace(network=7, address=9) for each in known if 0 < each.user < 5 and each.day % 3 == 0]
    known = [each._replace(group=1 + (each.user > 4)) for each in sorted(known, key=lambda each: each.time)]
    visit = ann(**there, network=7, address=9, device=5)
    assert by_group(visit._replace(group=1), known)[0] < by_group(visit._replace(group=2), known)[0] - 0.1


@pytest.mark.slow
def test_reasons_say_how_many_colleagues_are_there():
    """Beside the user's own share stands that of the group; a first login has only the latter."""
    known = [each._replace(group=1) if each.user == 0 else each for each in offices()]
    _, texts = by_group(ann(country=9, provider=9, network=9, address=9, device=3, group=1), known)
    assert any(text.endswith("came from text 9; none of 10 colleagues logs in from there") for text in texts), texts
    _, texts = by_group(Event(30, AT, 99, 2, 9, 9, 9, 9, device=3, hour=33, group=2), known)
    said = "the first login of this user; none of 10 colleagues logs in from text 9"
    assert texts == [f"logged in from Ukraine with Firefox on Linux: {said}; 3 of 10 colleagues use Firefox on Linux"]


def test_groups_are_looked_at_only_where_that_is_asked_for():
    """Groups that another detector asked for change nothing, nor do they where the log names none."""
    known = offices()
    plain, today = Login(), [ann(group=1)]
    assert past_of(known).by_user().equals(past_of([each._replace(group=0) for each in known]).by_user())
    assert scores(past_of(known, Login(by_group=True)), today, plain) == scores(past_of(known), today, plain)
    assert Login(by_group=True).context_of({"group": "sales"})["group"] == "sales"
    noon = [datetime(2026, 1, 5, 12, tzinfo=UTC)] * 2
    frame = pl.DataFrame({"time": noon, "action": ["login"] * 2, "outcome": ["success"] * 2, "group": ["sales", None]})
    assert Login(by_group=True).context(frame)["group"].to_list() == ["sales", ""]
    assert Login(by_group=True).context(frame.drop("group"))["group"].to_list() == ["", ""]
    assert "group" not in plain.context_of({"group": "sales"})


def test_what_is_usual_is_told_with_shares():
    """Countries, devices and hours of a user, of all earlier logins."""
    baseline = Login().baseline(past_of(steady(device=5)))
    usual = login_words.usual(baseline, 0, names())
    assert usual.logins == 30
    assert usual.countries == [("US", 1.0)]
    assert usual.devices == [("Chrome, Windows", 1.0)]
    assert usual.hours[9] == 1.0
    assert Login().usual(baseline, 0, names()) == {
        "earlier logins": "30",
        "countries": "US 100%",
        "providers": usual.card()["providers"],
        "networks": usual.card()["networks"],
        "devices": "Chrome, Windows 100%",
        "hours": "09:00 to 09:59",
    }
    assert Login().usual(baseline, 99, names()) == {}


def test_readiness_says_how_many_logins_are_missing():
    """Ten logins make a user comparable."""
    detector = Login()
    baseline = detector.baseline(past_of(steady(days=4)))
    assert detector.readiness(baseline, np.array([0, 99], dtype=np.uint32)) == ["4 of 10 logins", "0 of 10 logins"]
    assert detector.readiness(detector.baseline(past_of(PAST)), np.array([0], dtype=np.uint32)) == [""]


# --- columns and parameters


def test_context_tells_version_and_place_of_an_event_frame():
    """The version is the number behind the browser's name, in thousandths; a named device has none."""
    noon = datetime(2026, 1, 5, 12, tzinfo=UTC)
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:44.0) Gecko/20100101 Firefox/44.0"
    rows = {"time": [noon, noon + timedelta(1)], "action": ["login", "login"], "outcome": ["success"] * 2}
    frame = pl.DataFrame(rows | {"ip": ["203.0.113.9", "10.0.0.1"], "country": ["Ukraine", None]})
    told = Login().context(frame.with_columns(user_agent=pl.Series([agent, None]), device=pl.Series([None, "pc 7"])))
    assert dict(told.schema).keys() == CONTEXT_SCHEMA.keys()
    found = told.select("login", "country", "device", "version", "wide").rows()
    assert found == [(1, "UA", "Firefox, Linux", 44_000, 0), (1, "", "pc 7", 0, 1)]


def test_one_path_is_the_same_as_a_list_of_one():
    """However paths are written, and as JSON gives them back, a detector is the same; no path is none."""
    for name in ("geoip", "wide"):
        assert Login(**{name: "a.mmdb"}) == Login(**{name: ("a.mmdb",)}) == Login(**{name: ["a.mmdb"]})
        assert Login(**{name: ""}) == Login(**{name: []}) == Login()


@pytest.mark.parametrize(
    "wrong", [{"cap": 0}, {"smoothing": "none"}, {"q": "world"}, {"by_group": True, "smoothing": "linear"}]
)
def test_wrong_parameters_are_refused(wrong: dict[str, object]):
    """What cannot be used is said at once."""
    with pytest.raises(UsageError):
        Login(**wrong)


def test_logs_with_addresses_and_logins_fit():
    """A log without addresses and agents, or without logins, has nothing to look at."""
    ip = {"ip": RoleGuess("ip", 1.0)}
    assert Login.fits(Fields("", ip, actions=("view", "login")))
    assert not Login.fits(Fields("", ip, actions=("view",)))
    assert not Login.fits(Fields("", {}))
