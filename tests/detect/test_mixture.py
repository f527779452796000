"""Groups of users that count as normal: who they are, what is said of users by them, and that it is evidence."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import naive
from tests.detect.test_sequence import SECOND, assert_equal, coded

from amiss.baseline import Past
from amiss.detect.mixture import Counts, members
from amiss.detect.sequence import ACTION, Sequence
from amiss.sessions import Events, Last, group
from amiss.testing import reached_by_chance

READERS, WRITERS, ODD = range(20), range(20, 35), 35


def society(log: list[naive.Event], bad: set[int]) -> naive.Society:
    """The groups of a log as the slow twin needs them."""
    group_, share = groups_of(log, bad)
    members_ = [{user for user, at in enumerate(group_) if at == way} for way in range(len(share))]
    return naive.Society(list(zip(share, members_, strict=True)), bad)


def habits(user: int) -> tuple[int, int, int]:
    """Actions of a user: readers, writers, and one who does what nobody else does."""
    return (0, 1, 0) if user in READERS else (2, 3, 3) if user in WRITERS else (4, 0, 4)


def town(events: int = 12, seed: int = 0) -> list[naive.Event]:
    """A day of a town: users come in turn, at an odd pace, and stray now and then."""
    random = np.random.default_rng(seed)
    found = []
    for turn in range(events):
        for user in range(ODD + 1):
            usual = habits(user)[turn % 3]
            action = usual if random.random() < 0.9 else int(random.integers(0, 5))
            found.append(naive.Event((turn * 40 + user) * SECOND, user, action, int(random.random() < 0.1)))
    return found


def judged(past: list[naive.Event] | None, today: list[naive.Event], bad: set[int], cap: int = 5) -> pl.DataFrame:
    """Scores in the order of the log; without a past, by the events of today without the user."""
    detector, events = Sequence(cap), group(coded(today))
    counts = detector.summarise(group(coded(past)) if past is not None else events)
    known = Past([counts])
    known.bad = counts.filter(pl.col("user").is_in(sorted(bad)))
    scores = detector.score(events, detector.baseline(known, leave_out=past is None))
    return pl.DataFrame(scores._asdict()).with_columns(position=events.position).sort("position")


def groups_of(log: list[naive.Event], bad: set[int] | None = None) -> tuple[list[int], list[float]]:
    """The group of each user that counts as normal, and the shares of groups."""
    counts = Counts.of(Sequence().summarise(group(coded(log))), ACTION)
    found = members(counts, np.array(sorted(bad or ()), dtype=np.uint32))
    return found.group.tolist(), found.share.tolist()


def test_groups_that_hold_many_users_count_as_normal_and_odd_ones_do_not():
    """Twenty readers and fifteen writers are two ways to be normal; the one who is like nobody is in neither."""
    assert groups_of(town(60)) == ([0] * 20 + [1] * 15 + [-1], pytest.approx([20 / 35, 15 / 35]))


def test_where_many_are_in_no_group_everybody_counts_as_one_more():
    """With eight more who go their own ways, a fifth is in no group: everybody's chances stand for them."""
    town_and_others = town(60) + [
        naive.Event((3_000 + turn * 9 + user) * SECOND, ODD + 1 + user, 5 + user, 0)
        for turn in range(40)
        for user in range(8)
    ]
    group_, share = groups_of(town_and_others)
    assert group_[:36] == [0] * 20 + [1] * 15 + [-1]
    assert share == pytest.approx([20 / 44, 15 / 44, 9 / 44])


def test_fewer_users_than_make_a_group_are_all_one():
    """Nine who do the same and nine who do another thing are too few to tell what is normal."""
    log = [event for event in town(60) if event.user < 9 or event.user in range(20, 29)]
    assert groups_of(log)[1] == []


def test_of_many_users_groups_are_looked_for_in_a_sample(monkeypatch: pytest.MonkeyPatch):
    """Of 36 users 30 are drawn: the others are in no group, but are judged by these."""
    monkeypatch.setattr("amiss.detect.mixture.SAMPLE", 30)
    group_, share = groups_of(town(60))
    drawn = [user for user, at in enumerate(group_) if at >= 0]
    assert 28 <= len(drawn) <= 30
    assert len(share) == 2
    assert {group_[user] for user in drawn if user in READERS} == {0}
    assert {group_[user] for user in drawn if user in WRITERS} == {1}


def test_bad_users_are_in_no_group_that_counts_as_normal():
    """When a person says that the writers are bad, what they do is not normal any more."""
    group_, share = groups_of(town(60), set(WRITERS))
    assert group_[:36] == [0] * 20 + [-1] * 16 or (group_[:20], set(group_[20:])) == ([0] * 20, {-1})
    assert len(share) == 1


@pytest.mark.parametrize("bad", [set(), {ODD}], ids=["nobody is bad", "one is bad"])
@pytest.mark.parametrize("way", ["learned", "learned, with many values", "without the user"])
def test_scores_by_groups_equal_the_slow_twin(way: str, bad: set[int], monkeypatch: pytest.MonkeyPatch):
    """Bits and surprisal of every event, learned from another day or from the same one without the user."""
    if way == "learned, with many values":
        monkeypatch.setattr("amiss.detect.chain.LARGEST_TABLE", 0)
    past, today = town(24, seed=1), town(6, seed=2)
    found = society(past, bad)
    assert len(found.ways) == 2
    if way != "without the user":
        expected = naive.sequence(naive.count(naive.followed(past)), naive.followed(today), society=found)
        assert_equal(judged(past, today, bad), expected)
    else:
        assert_equal(judged(None, past, bad), naive.sequence(None, naive.followed(past), society=found))


@given(cuts=st.lists(st.integers(1, 9 * 36 - 1), max_size=4, unique=True).map(sorted))
@settings(max_examples=15)
def test_cutting_a_stream_changes_nothing_though_weights_of_groups_are_put_away(cuts: list[int]):
    """Whatever the chunks, with the state written down and read again between them, each event scores the same."""
    detector, log = Sequence(), coded(town(9, seed=2))
    counts = detector.summarise(group(coded(town(60, seed=1))))
    past = Past([counts])
    past.bad = counts.filter(user=ODD)
    baseline, last, memory, parts = detector.baseline(past), Last(), None, []
    for low, high in zip([0, *cuts], [*cuts, len(log)], strict=True):
        events, memory = group(log[low:high], last), detector.memory(memory.frame() if memory else None)
        scores = detector.score(events, baseline, memory)
        parts.append(pl.DataFrame({"position": events.position, "bits": scores.bits, "surprisal": scores.surprisal}))
    whole = group(log)
    told = detector.score(whole, baseline)
    once = pl.DataFrame({"position": whole.position, "bits": told.bits, "surprisal": told.surprisal})
    assert pl.concat(parts).sort("position").equals(once.sort("position"))


def test_groups_that_change_while_a_period_runs_begin_anew():
    """When a person calls somebody bad at noon, users go on being judged, by the same weights after a restart."""
    detector, log = Sequence(), coded(town(12, seed=2))
    counts = detector.summarise(group(coded(town(60, seed=1))))
    past = Past([counts])
    morning, last = detector.memory(), Last()
    detector.score(group(log[:200], last), detector.baseline(past), morning)
    past.bad = counts.filter(pl.col("user").is_in(list(WRITERS)))
    noon, afternoon = detector.baseline(past), group(log[200:], last)
    reloaded = detector.memory(morning.frame())
    again, scores = detector.score(afternoon, noon, reloaded), detector.score(afternoon, noon, morning)
    assert scores.bits.tolist() == again.bits.tolist()
    assert np.isfinite(scores.bits).all()
    assert reloaded.frame().sort("user", "feature").equals(morning.frame().sort("user", "feature"))


def test_what_bad_users_did_speaks_against_who_does_it_too():
    """While writers are normal, somebody who writes is; once writers were called bad, it takes a few events to see."""
    past, today = town(60, seed=1), town(9, seed=2)
    imitator = [naive.Event((9_000 + turn * 40) * SECOND, ODD + 9, (2, 3, 3)[turn % 3], 0) for turn in range(9)]
    without, with_it = (judged(past, today + imitator, bad)["bits"][-9:].sum() for bad in (set(), set(WRITERS)))
    assert without < 0
    assert with_it > 5


def test_evidence_reaches_b_bits_by_chance_alone_at_most_once_in_2_to_the_b():
    """Users drawn from two groups, one of ten times the other's size, each with its own chances."""
    random = np.random.default_rng(5)
    chances = np.array([[0.6, 0.3, 0.08, 0.02], [0.05, 0.05, 0.3, 0.6]])

    def day(users: int, events: int) -> Events:
        kind = (np.arange(users) % 11 == 0).astype(int)
        rows = [
            (turn * 60 * SECOND * 60, user, int(random.choice(4, p=chances[kind[user]])), 0)
            for turn in range(events)
            for user in range(users)
        ]
        return group(coded([naive.Event(*row) for row in rows]))

    detector = Sequence()
    baseline = detector.baseline(Past([detector.summarise(day(400, 30))]))
    assert len(baseline.judges[ACTION].ways.share) == 2
    today = day(1_000, 20)
    bits = detector.score(today, baseline).bits
    peaks = np.array([max(naive.evidence(each.tolist())) for each in np.split(bits, today.first[1:-1])])
    for b in range(1, 8):
        assert (peaks >= b).mean() <= reached_by_chance(b, 1_000)
