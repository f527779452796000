"""Whole sessions, judged by how often each kind of event comes in them."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.errors import EventError, UsageError
from amiss.traces import Normal, bits_of, held_out, q, threshold

KINDS = ("open", "read", "write", "confirm", "close")
TRACES = st.lists(st.lists(st.sampled_from("abcd"), max_size=6), min_size=1, max_size=30).filter(any)


def written(random: np.random.Generator) -> list[str]:
    """A file that is opened, read a few times, written as often as it is confirmed, and closed."""
    pairs = int(random.integers(1, 4))
    return ["open", *["read"] * int(random.geometric(0.4)), *["write", "confirm"] * pairs, "close"]


def sessions(number: int, seed: int = 1) -> list[list[str]]:
    """So many normal sessions."""
    random = np.random.default_rng(seed)
    return [written(random) for _ in range(number)]


@pytest.fixture(scope="module")
def normal() -> Normal:
    """What 3,000 normal sessions are like."""
    return Normal.of(sessions(3000))


def test_what_never_happened_to_a_kind_of_event_is_evidence(normal: Normal) -> None:
    """An event is left out, comes twice, or is of an unknown kind: more than 8 bits, and the key is named."""
    usual = ["open", "read", "write", "confirm", "close"]
    assert normal.bits(usual) < 0
    for trace, key in (
        (["open", "read", "write", "close"], "confirm"),
        ([*usual, "close"], "close"),
        ([*usual, "erase"], "erase"),
        (["open"], "close"),
    ):
        assert normal.bits(trace) > 8
        assert key in {odd.key for odd in normal.odd(trace)[:3]}


def test_a_reason_counts_normal_sessions(normal: Normal) -> None:
    """A write that is not confirmed: no normal session with two confirmations has three writes."""
    told = normal.odd(["open", "read", *["write", "confirm"] * 2, "write", "close"])[0]
    assert {told.key, told.nearest} == {"write", "confirm"}
    assert {told.times, told.nearest_times} == {2, 3}
    assert told.seen == 0
    assert 500 < told.of < 1500
    new = next(odd for odd in normal.odd(["erase", "open", "erase"]) if odd.key == "erase")
    assert (new.times, new.nearest, new.seen, new.of) == (2, None, 0, 3000)


def test_what_varies_among_normal_sessions_is_no_evidence(normal: Normal) -> None:
    """Reads come any number of times, even as often as they ever did."""
    most = max(session.count("read") for session in sessions(3000))
    for reads in range(1, most + 1):
        assert normal.bits(["open", *["read"] * reads, "write", "confirm", "close"]) < 2


@given(TRACES, TRACES)
def test_the_order_of_events_and_traces_does_not_matter(learned: list[list[str]], judged: list[list[str]]) -> None:
    """Neither within a trace nor among those that are learned."""
    one = bits_of(Normal.of(learned), judged)
    other = bits_of(Normal.of([trace[::-1] for trace in learned[::-1]]), [trace[::-1] for trace in judged])
    assert one == pytest.approx(other)


@settings(max_examples=10)
@given(TRACES)
def test_chances_of_counts_sum_to_one(learned: list[list[str]]) -> None:
    """For each key, however often its nearest key comes, but for what is above 200."""
    for counts in Normal.of(learned).counts:
        for nearest in (*counts.rows, 999):
            assert sum(counts.p(nearest, count) for count in range(200)) == pytest.approx(1, abs=0.02)
    assert sum(map(q, range(200))) == pytest.approx(1, abs=0.01)


@given(TRACES)
def test_the_tree_tells_the_most_of_any_tree(learned: list[list[str]]) -> None:
    """Of what counts of keys tell of each other, no other tree holds more."""
    normal = Normal.of(learned)
    table = [tuple(Counter(trace)[key] for key in normal.keys) for trace in learned]

    def entropy(*columns: int) -> float:
        shares = Counter(tuple(row[column] for column in columns) for row in table)
        return -sum(n / len(table) * math.log2(n / len(table)) for n in shares.values())

    def told(one: int, other: int) -> float:
        return entropy(one) + entropy(other) - entropy(one, other)

    edges = [(number, near) for number, near in enumerate(normal.nearest) if near >= 0]
    assert len(edges) == len(normal.keys) - 1
    whole = range(len(normal.keys))
    best = max(
        (
            sum(told(*edge) for edge in tree)
            for tree in combinations(list(combinations(whole, 2)), len(edges))
            if spans(tree, len(normal.keys))
        ),
        default=0.0,
    )
    assert sum(told(*edge) for edge in edges) == pytest.approx(best, abs=1e-9)


def spans(tree: tuple[tuple[int, int], ...], keys: int) -> bool:
    """Whether edges join all keys."""
    joined = {0}
    for _ in tree:
        joined |= {end for edge in tree if joined & set(edge) for end in edge}
    return len(joined) == keys


def test_normal_sessions_reach_bits_as_seldom_as_promised() -> None:
    """Of 20,000 others judged by 3,000, at most 1 in 2^b reaches b bits, twice that allowed for chance."""
    found = bits_of(Normal.of(sessions(3000)), sessions(20_000, seed=2))
    assert all((found >= bits).mean() <= 2 * 2.0**-bits for bits in range(1, 11))


def test_the_threshold_is_what_is_promised_or_more_where_that_fails() -> None:
    """Twelve wild sessions of 1,000 break the promise of 1 in 256, so the threshold is raised until four are left."""
    assert threshold(sessions(1000), 1 / 256) == 8
    random = np.random.default_rng(4)
    wild = [[key for key in KINDS for _ in range(random.integers(5, 60))] for _ in range(12)]
    mixed = [*sessions(988), *wild]
    raised = threshold(mixed, 1 / 256)
    assert raised > 8
    assert (held_out(mixed) >= raised).sum() == 4


def test_what_cannot_be_learned_from_is_refused() -> None:
    """No traces, only empty ones, and a rate that is no share."""
    with pytest.raises(EventError, match="nothing to learn from: 2 traces"):
        Normal.of([[], []])
    with pytest.raises(UsageError, match="expected more than 0 and less than 1, found 2"):
        threshold(sessions(20), 2)
