"""The sequence detector: a worked example, its slow twin, what it finds and what it says about it."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import naive

from amiss.baseline import Past
from amiss.detect import Names
from amiss.detect.chain_kernel import MOST_PAIRS
from amiss.detect.sequence import ACTION, GAP, Sequence, bin_bounds, gap_bins
from amiss.events import CODED_SCHEMA
from amiss.sessions import Events, Last, group
from amiss.vocabulary import Coding

SECOND = 1_000_000
PAUSES = [0, 0, 15_624, 15_625, SECOND, 90 * SECOND, 1_800 * SECOND, 1_800 * SECOND + 1, 20_000 * SECOND]
ROWS = st.lists(
    st.tuples(st.sampled_from(PAUSES), st.integers(0, 3), st.integers(0, 2), st.integers(0, 2)), max_size=30
)


def coded(events: list[naive.Event]) -> pl.DataFrame:
    """The coded frame of events."""
    rows = [(position, *event) for position, event in enumerate(events, start=1)]
    names = list(CODED_SCHEMA)
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Int64), orient="row")
    return frame.with_columns(pl.col("time").cast(pl.Datetime("us", "UTC"))).cast(CODED_SCHEMA)


def in_order(rows: list[tuple[int, int, int, int]]) -> list[naive.Event]:
    """Events from rows whose first column is the pause since the row before."""
    now, events = 0, []
    for pause, *rest in rows:
        now += pause
        events.append(naive.Event(now, *rest))
    return events


def scored(past: list[naive.Event] | None, today: list[naive.Event], cap: int) -> pl.DataFrame:
    """Scores in the order of the log; by the events of today without the user where there is no past."""
    detector = Sequence(cap)
    events = group(coded(today))
    counts = detector.summarise(group(coded(past)) if past is not None else events)
    baseline = detector.baseline(Past([counts]), leave_out=past is None)
    scores = detector.score(events, baseline)
    return pl.DataFrame(scores._asdict()).with_columns(position=events.position).sort("position")


def assert_equal(scores: pl.DataFrame, expected: list[naive.Scored]) -> None:
    """Scores are those of the twin, to a billionth."""
    assert scores["bits"].to_list() == pytest.approx([event.bits for event in expected], abs=1e-9)
    assert scores["surprisal"].to_list() == pytest.approx([event.surprisal for event in expected], abs=1e-9)


@given(past=ROWS, today=ROWS, cap=st.sampled_from([1, 2, 5]))
def test_scores_by_a_past_equal_the_slow_twin(past, today, cap):
    """Any log, unknown states, ties and long gaps among it, gives the twin's bits and surprisal."""
    before, now = in_order(past), in_order(today)
    expected = naive.sequence(naive.count(naive.followed(before)), naive.followed(now), cap)
    assert_equal(scored(before, now, cap), expected)


@given(today=ROWS, cap=st.sampled_from([1, 2, 5]))
def test_leaving_a_user_out_equals_a_baseline_of_the_others(today, cap):
    """The share that is taken out is all that a baseline rebuilt from the other users lacks."""
    now = in_order(today)
    assert_equal(scored(None, now, cap), naive.sequence(None, naive.followed(now), cap))


def test_many_users_and_states_equal_the_slow_twin():
    """A log of 40 users and 30 states, where rows have gaps and tables of counts grow."""
    rows = [((i * 7) % 11 * SECOND, (i * i) % 40, (i * 13) % 10, i % 3) for i in range(400)]
    now = in_order(rows)
    assert_equal(scored(None, now, 2), naive.sequence(None, naive.followed(now), 2))
    assert_equal(
        scored(now[:200], now[200:], 5),
        naive.sequence(naive.count(naive.followed(now[:200])), naive.followed(now[200:])),
    )


def test_a_cap_holds_in_each_period_alone():
    """Two periods with 9 of a pair each add 5 and 5."""
    detector = Sequence(cap=5)
    counts = detector.summarise(group(coded([naive.Event(i * 7_200 * SECOND, 0, 1, 0) for i in range(9)])))
    assert detector.baseline(Past([counts, counts])).action.seen(-1, 3) == (10, 10)


def test_the_docstring_example_by_hand():
    """Past: START, 0, 3 once each. Today another user goes START, 0 and then somewhere nobody was."""
    past = [naive.Event(0, 0, 0, 0), naive.Event(9 * SECOND, 0, 1, 0)]
    today = [naive.Event(0, 1, 0, 0), naive.Event(9 * SECOND, 1, 2, 0)]
    scores = scored(past, today, cap=5)
    # 2 values are known by 2 different pairs: p0 is 2.5 / 3 for the never-seen, 1/6 * 1.5 / 3 = 1/12 for each known
    known, novel = (1 + 1 / 12) / 2, (2.5 / 3) / 2
    flat = math.sqrt(known) + math.sqrt((1 / 12) / 2) + math.sqrt(novel)
    q = (1 / 3 + 1 / 3 + 1 / 3 + math.sqrt(known) / flat) / 4
    assert scores["bits"][0] == pytest.approx(math.log2(q / known), abs=1e-12)
    assert scores["surprisal"][0] == pytest.approx(-math.log2(known), abs=1e-12)
    # the gap: one bin is known by one pair, so 1 - 1.5 / 2 of it; nothing followed state 6
    assert scores["surprisal"][1] == pytest.approx(-math.log2(novel) - math.log2(1 / 4), abs=1e-12)


def test_bits_are_zero_when_nothing_is_known():
    """With an empty baseline all values are the never-seen, which p and q expect alike."""
    today = in_order([(SECOND, 0, 1, 0), (SECOND, 0, 2, 0), (SECOND, 1, 1, 1)])
    assert scored([], today, 5)["bits"].to_list() == [0.0, 0.0, 0.0]


def test_a_user_alone_gives_no_evidence_about_themself():
    """On a first scan of one user nobody else is there to compare with."""
    assert scored(None, in_order([(SECOND, 0, i % 3, 0) for i in range(20)]), 5)["bits"].to_list() == [0.0] * 20


def test_chances_of_p_and_of_q_sum_to_one():
    """Over all that may come next, p sums to 1, and so does q, or evidence would be none."""
    past = in_order([(SECOND, i % 2, (i * i) % 3, i % 2) for i in range(30)])
    begun = in_order([(SECOND, 5, i % 2, 0) for i in range(6)])
    known = {3 * event.action + event.outcome for event in past}
    p = q = 0.0
    for state in [*sorted(known), 3 * 9]:
        today = [*begun, naive.Event(begun[-1].time + 7_200 * SECOND, 5, state // 3, state % 3)]
        bits, surprisal = scored(past, today, 5).select("bits", "surprisal").row(-1)
        p += 2.0**-surprisal
        q += 2.0 ** (bits - surprisal)
    assert (p, q) == (pytest.approx(1), pytest.approx(1))


def test_gap_bins_double_from_a_64th_of_a_second():
    """Bounds of bins belong to the bin above."""
    gaps = [0, 15_624, 15_625, 31_249, 31_250, SECOND - 1, SECOND, 1_800 * SECOND]
    found = gap_bins(pl.Series(gaps).to_numpy()).tolist()
    assert found == [0, 0, 1, 1, 2, 6, 7, 17]
    assert found == [naive.gap_bin(gap) for gap in gaps]


def test_bounds_of_bins_fit_together():
    """Each bin begins where the one before ends."""
    assert [bin_bounds(code)[1] for code in range(12)] == [bin_bounds(code + 1)[0] for code in range(12)]


class Numbered(Names):
    """States by their numbers."""

    def state(self, state: int) -> str:
        """A state in words."""
        return f"s{state}"


NAMES = Numbered(Coding())


def planted() -> list[naive.Event]:
    """Thirty users who go 0, 1, 0, 1 slowly, and user 99 who does so too and then repeats 1, failing, fast."""
    calm = [naive.Event((i * 20 + user) * SECOND, user, i % 2, 0) for i in range(10) for user in range(30)]
    begun = [naive.Event((i * 20) * SECOND, 99, i % 2, 0) for i in range(6)]
    rare = [naive.Event((200 + user) * SECOND, user, 1, 1) for user in range(3)]
    return sorted(calm + rare + begun + [naive.Event((120 + i) * SECOND, 99, 1, 1) for i in range(8)])


def test_reasons_say_what_happened_how_often_and_what_others_did():
    """The worst pair comes first, with counts of the user since it began and of everybody else."""
    detector = Sequence()
    events = group(coded(planted()))
    baseline = detector.baseline(Past([detector.summarise(events)]), leave_out=True)
    reasons = detector.explain(Events.of(events.frame().filter(user=99)), baseline, NAMES)[99]
    assert reasons[0].text == "s4 came after s4 7 of 7 times; nobody else was ever there"
    assert (reasons[0].count, reasons[0].of, reasons[0].others_count, reasons[0].others_of) == (7, 7, 0, 0)
    assert [reason.bits for reason in reasons] == sorted((reason.bits for reason in reasons), reverse=True)
    assert all(reason.detector == "sequence" and 0 < reason.count <= reason.of for reason in reasons)


def test_a_reason_counts_others_without_the_user():
    """On a first scan the user's own capped share is not among what happened elsewhere."""
    now = sorted([*in_order([(SECOND, 0, i % 2, 0) for i in range(8)]), naive.Event(3, 1, 1, 0)])
    detector = Sequence()
    events = group(coded(now))
    baseline = detector.baseline(Past([detector.summarise(events)]), leave_out=True)
    for reason in detector.explain(Events.of(events.frame().filter(user=0)), baseline, NAMES)[0]:
        assert 0 <= reason.others_count <= reason.others_of <= 1


def test_counts_hold_both_features():
    """Two events in a session show two states and one gap."""
    events = group(coded(in_order([(0, 4, 0, 0), (SECOND, 4, 1, 1)])))
    assert Sequence().summarise(events).rows() == [(ACTION, 4, -1, 0, 1), (ACTION, 4, 0, 4, 1), (GAP, 4, 4, 7, 1)]


def test_the_session_gap_is_not_the_detectors_business():
    """Grouping with a longer gap keeps one session where the default makes two."""
    events = coded(in_order([(0, 0, 0, 0), (3_600 * SECOND, 0, 1, 0)]))
    assert Sequence().summarise(group(events))["given"].to_list() == [-1, -1]
    longer = group(events, session_gap=timedelta(hours=2))
    assert Sequence().summarise(longer)["given"].to_list() == [-1, 0, 3]


def test_a_memory_that_grows_scores_as_one_pass_does():
    """Forty users come and go over batches, so that their pairs are moved again and again."""
    rows = [((i * 7) % 11 * SECOND, (i * i) % 40, (i * 13) % 17, i % 3) for i in range(3_000)]
    now = coded(in_order(rows))
    detector = Sequence()
    baseline = detector.baseline(Past([detector.summarise(group(now[:500]))]))
    memory, last, bits = detector.memory(), Last(), {}
    for start in range(0, len(now), 37):
        events = group(now[start : start + 37], last)
        bits |= dict(zip(events.position.tolist(), detector.score(events, baseline, memory).bits.tolist(), strict=True))
    whole = group(now)
    alone = detector.score(whole, baseline)
    assert bits == dict(zip(whole.position.tolist(), alone.bits.tolist(), strict=True))


def test_of_a_user_a_thousand_pairs_are_remembered():
    """Whoever tries 3,000 different actions fills what is kept of one user, and goes on giving evidence."""
    now = coded(in_order([(SECOND, 0, i, 0) for i in range(3_000)]))
    detector = Sequence()
    baseline = detector.baseline(Past([detector.summarise(group(now[:9]))]))
    memory = detector.memory()
    scores = detector.score(group(now), baseline, memory)
    kept = memory.frame().filter(feature=ACTION)["count"].list.len().to_list()
    assert kept == [MOST_PAIRS]
    assert np.isfinite(scores.bits).all()
    assert detector.score(group(now), baseline).bits.tolist() == scores.bits.tolist()


def test_what_a_person_expects_of_a_user_speaks_against_that_user_no_more():
    """The pairs that were taught give no bits to the one, and still do to another."""
    detector = Sequence()
    past = Past([detector.summarise(group(coded(planted())))])
    odd = [naive.Event((500 + i) * SECOND, user, 7, 1) for i in range(8) for user in (99, 98)]
    events = group(coded(sorted(odd)))
    before = detector.score(events, detector.baseline(past)).bits
    past.taught = detector.summarise(Events.of(events.frame().filter(user=99)))
    after = detector.score(events, detector.baseline(past)).bits
    assert (before > 0).any()
    assert (after[events.user == 99] <= 0).all()
    assert after[events.user == 98].tolist() == before[events.user == 98].tolist()


def test_a_memory_without_groups_and_bad_users_is_taken_up():
    """A state of before there were any has four weights a user and no ways; it goes on as one with them does."""
    now = coded(in_order([((i * 7) % 11 * SECOND, i % 5, (i * 13) % 7, 0) for i in range(200)]))
    detector = Sequence()
    baseline, last = detector.baseline(Past([detector.summarise(group(now[:50]))])), Last()
    memory = detector.memory()
    detector.score(group(now[:100], last), baseline, memory)
    today = memory.frame()
    four = pl.Series(today["weights"].to_numpy()[:, :4], dtype=pl.Array(pl.Float64(), 4))
    former = today.with_columns(weights=four).drop("ways")
    again = detector.memory(former)
    assert again.frame().drop("ways").equals(today.drop("ways"))
    events = group(now[100:], last)
    assert (
        detector.score(events, baseline, again).bits.tolist() == detector.score(events, baseline, memory).bits.tolist()
    )
    assert detector.memory(former.clear()).frame().schema == detector.state_schema
