"""The role detector: its slow twin, whose group is whose, when it is silent, what it finds and what it says."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import naive
from tests.detect.test_mixture import ODD, READERS, WRITERS, habits, society, town
from tests.detect.test_sequence import NAMES, SECOND, coded

from amiss.baseline import COUNT_SCHEMA, Past
from amiss.detect.role import Role
from amiss.sessions import Events, Last, group
from amiss.testing import reached_by_chance


@cache
def known() -> Past:
    """What is known of the town: a day of 24 turns."""
    return Past([Role().summarise(group(coded(town(24, seed=1))))])


def writes_like_a_writer(user: int, turns: int = 9) -> list[naive.Event]:
    """What writers do, done by a user."""
    return [naive.Event(turn * 40 * SECOND, user, (2, 3, 3)[turn % 3], 0) for turn in range(turns)]


def judged(today: list[naive.Event]) -> pl.DataFrame:
    """Scores in the order of the log, judged by the town."""
    events = group(coded(today))
    scores = Role().score(events, Role().baseline(known()))
    frame = pl.DataFrame({"position": events.position, "bits": scores.bits, "surprisal": scores.surprisal})
    return frame.sort("position")


def twin(today: list[naive.Event]) -> list[naive.Scored]:
    """The same, slowly."""
    past = naive.followed(town(24, seed=1))
    counts, ways = naive.count(past), society(town(24, seed=1), set()).ways
    events, found = naive.followed(today), [naive.Scored(0.0, 0.0)] * len(today)
    for user in {event.user for event in events}:
        home = next((at for at, (_, members) in enumerate(ways) if user in members), None)
        mine = [i for i, event in enumerate(events) if event.user == user]
        for feature in ("action", "gap") if home is not None else ():
            normal = naive.Normal.of(counts, feature, 5)
            each = [naive.Way.of(share, users, counts, feature, 5) for share, users in ways]
            own = Counter({key[3:]: times for key, times in counts.items() if key[1:3] == (user, feature)})
            shown = [next((p[1:] for p in naive.pairs(events[i]) if p[0] == feature), None) for i in mine]
            for i, said in zip(mine, compared(shown, normal, each, home, own), strict=True):
                found[i] = naive.Scored(found[i].bits + said.bits, found[i].surprisal + said.surprisal)
    return found


def compared(
    shown: list[tuple[int, int] | None],
    normal: naive.Normal,
    ways: list[naive.Way],
    home: int,
    own: Counter[tuple[int, int]],
) -> list[naive.Scored]:
    """Bits and surprisal of one user's pairs of one feature."""
    rest = sum(way.share for at, way in enumerate(ways) if at != home)
    prior = [way.share / rest if at != home else 0.0 for at, way in enumerate(ways)]
    beliefs, found = prior, []
    for pair in shown:
        if pair is None:
            found.append(naive.Scored(0.0, 0.0))
            continue
        before, value = pair[0], pair[1] if pair[1] in normal.known() else naive.NEVER_SEEN
        each = [way.p(before, value, normal.p(before, value)) for way in ways]
        of = sum(times for (given_, _), times in own.items() if given_ == before)
        p = (own[before, pair[1]] + 8 * each[home]) / (of + 8)
        q = sum(belief * chance for belief, chance in zip(beliefs, each, strict=True))
        found.append(naive.Scored(math.log2(q / p), -math.log2(p)))
        told = zip(beliefs, each, prior, strict=True)
        beliefs = [(1 - naive.SHARE) * belief * chance / q + naive.SHARE * start for belief, chance, start in told]
    return found


def test_scores_equal_the_slow_twin():
    """A day of the town, a reader who writes and a user nobody knows: bits and surprisal, to a billionth."""
    today = town(6, seed=2) + writes_like_a_writer(3) + writes_like_a_writer(ODD + 5)
    today.sort()
    expected, found = twin(today), judged(today)
    assert found["bits"].to_list() == pytest.approx([each.bits for each in expected], abs=1e-9)
    assert found["surprisal"].to_list() == pytest.approx([each.surprisal for each in expected], abs=1e-9)


def test_everybody_is_in_the_group_whose_ways_they_have():
    """Readers are in one group, writers in another, the odd one in none."""
    home = Role().baseline(known()).home.tolist()
    assert home == [0] * len(READERS) + [1] * len(WRITERS) + [home[ODD]]


def test_who_goes_ways_of_their_own_is_in_no_group_though_everybody_counts_as_one_more():
    """Eight strays beside the readers and writers: they have no role to leave."""
    others = [(3_000 + turn * 9 + user, user) for turn in range(40) for user in range(8)]
    strays = [naive.Event(second * SECOND, ODD + 1 + user, 5 + user, 0) for second, user in others]
    baseline = Role().baseline(Past([Role().summarise(group(coded(town(60) + strays)))]))
    assert len(baseline.judges[0].ways.share) == 3
    assert baseline.home[: len(READERS) + len(WRITERS)].tolist() == [0] * len(READERS) + [1] * len(WRITERS)
    assert set(baseline.home[ODD + 1 :].tolist()) == {-1}


def test_a_reader_who_writes_stands_out_and_writers_who_write_do_not():
    """Thirty events are enough for twenty bits; of those who stay what they are nobody gets to five."""
    assert naive.evidence(judged(writes_like_a_writer(3, turns=30))["bits"].to_list())[-1] > 20
    today = town(9, seed=2)
    events = group(coded(today))
    bits = Role().score(events, Role().baseline(known())).bits
    peaks = [max(naive.evidence(each.tolist())) for each in np.split(bits, events.first[1:-1])]
    assert max(peaks) < 5


def test_nothing_is_said_of_who_is_new_or_odd_and_on_a_first_scan():
    """Who is in no group has no role to leave; who is judged by today alone has none yet."""
    assert judged(writes_like_a_writer(ODD + 5))["bits"].to_list() == [0.0] * 9
    events = group(coded(town(24, seed=1)))
    alone = Role().baseline(Past([Role().summarise(events)]), leave_out=True)
    assert not Role().score(events, alone).bits.any()


def test_nothing_is_said_where_there_is_one_group_and_everybody_else():
    """Ten read, four do something else each: these are in no group, and whoever is does as no other group does."""
    rows = [(0, user, 0, 0 if user < 10 else user, 30) for user in range(14)]
    baseline = Role().baseline(Past([pl.DataFrame(rows, schema=COUNT_SCHEMA, orient="row")]))
    assert len(baseline.judges[0].ways.share) == 2
    assert not len(baseline.home)


def test_reasons_name_what_both_groups_are_known_for():
    """The first reason says how the new group is known, and the old one."""
    events = group(coded(writes_like_a_writer(3)))
    reasons = Role().explain(events, Role().baseline(known()), NAMES)[3]
    assert "as a group does that is known for s9 and s6; theirs is known for s0 and s3" in reasons[0].text
    assert reasons[0].detector == "role"
    assert all(reason.bits > 0 and 0 < reason.others_count <= reason.others_of for reason in reasons)


@given(cuts=st.lists(st.integers(1, 9 * 36 - 1), max_size=4, unique=True).map(sorted))
@settings(max_examples=15)
def test_cutting_a_stream_changes_nothing(cuts: list[int]):
    """Whatever the chunks, with the state written down and read again between them, each event scores the same."""
    log = coded(
        [*town(9, seed=2), *(event._replace(time=event.time + 4_000 * SECOND) for event in writes_like_a_writer(3))]
    )
    baseline, last, memory, parts = Role().baseline(known()), Last(), None, []
    for low, high in zip([0, *cuts], [*cuts, len(log)], strict=True):
        events, memory = group(log[low:high], last), Role().memory(memory.frame() if memory else None)
        scores = Role().score(events, baseline, memory)
        parts.append(pl.DataFrame({"position": events.position, "bits": scores.bits}))
    whole = group(log)
    once = pl.DataFrame({"position": whole.position, "bits": Role().score(whole, baseline).bits})
    assert pl.concat(parts).sort("position").equals(once.sort("position"))


def test_who_does_as_their_group_reaches_b_bits_by_chance_alone_at_most_once_in_2_to_the_b():
    """A thousand new days of users drawn from the chances of their own group."""
    random, peaks = np.random.default_rng(3), []
    baseline = Role().baseline(known())
    rows = [
        naive.Event((turn * 40 + number * 40_000) * SECOND, number % ODD, habits(number % ODD)[turn % 3], 0)
        if random.random() < 0.9
        else naive.Event((turn * 40 + number * 40_000) * SECOND, number % ODD, int(random.integers(0, 5)), 0)
        for number in range(1_000)
        for turn in range(9)
    ]
    for number in range(1_000):
        events = group(coded(rows[number * 9 : number * 9 + 9]))
        peaks.append(max(naive.evidence(Role().score(events, baseline).bits.tolist())))
    for b in range(1, 7):
        assert np.mean(np.array(peaks) >= b) <= reached_by_chance(b, 1_000)


def test_events_of_nobody_score_nothing():
    """No events, no scores."""
    none = Events.of(group(coded(town(1))).frame().clear())
    assert len(Role().score(none, Role().baseline(known())).bits) == 0
