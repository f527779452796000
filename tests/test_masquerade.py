"""Blocks of commands, judged by what the user and others do: a slow twin, laws, and rehearsals."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss.errors import EventError, UsageError
from amiss.masquerade import (
    FRESH,
    PAIR_PRIOR,
    UNSEEN,
    UNSEEN_COMMANDS,
    Habits,
    added,
    follow,
    judge,
    rehearse,
    seen,
    threshold,
    without,
)

SIZE = 100
BLOCKS = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=8).map(np.array), min_size=1, max_size=6)


def pairs(block: np.ndarray) -> list[tuple[int, int]]:
    """Each command with the one before it, -1 for none."""
    return list(zip([-1, *block[:-1].tolist()], block.tolist(), strict=True))


def naive(
    blocks: list[np.ndarray], learned: int, others: list[np.ndarray], habits: Habits
) -> list[tuple[float, float]]:
    """The bits and evidence of blocks, from the module's docstring, with dictionaries."""
    of_others = Counter(command for block in others for command in set(block.tolist()))
    pairs_of_others = Counter(pair for block in others for pair in set(pairs(block)))

    def chance(command: int, unseen: float) -> float:
        share = of_others[command]
        return (1 - unseen) * share / sum(of_others.values()) if share else unseen / UNSEEN_COMMANDS

    def after(before: int, command: int) -> float:
        row = sum(count for pair, count in pairs_of_others.items() if pair[0] == before)
        return (pairs_of_others[before, command] + PAIR_PRIOR * chance(command, UNSEEN)) / (row + PAIR_PRIOR)

    own: Counter[int] = Counter()
    own_pairs: Counter[tuple[int, int]] = Counter()
    odd, found = habits.start / (habits.start + 1 - habits.stay), []
    for number, block in enumerate(blocks):
        keep = 1.0
        if number >= learned:

            def p(command: int) -> float:
                return (own[command] + habits.prior * chance(command, FRESH)) / (own.total() + habits.prior)

            def p_after(before: int, command: int) -> float:
                row = sum(count for pair, count in own_pairs.items() if pair[0] == before)
                return (own_pairs[before, command] + habits.pair_prior * p(command)) / (row + habits.pair_prior)

            alone = sum(
                n**habits.damping * math.log2(chance(command, UNSEEN) / p(command))
                for command, n in Counter(block.tolist()).items()
            )
            together = sum(
                n**habits.damping * math.log2(after(*pair) / p_after(*pair))
                for pair, n in Counter(pairs(block)).items()
            )
            bits = (alone + together) / 2
            before = odd * habits.stay + (1 - odd) * habits.start if number > learned else odd
            evidence = math.log2(before / (1 - before)) + habits.worth * bits - habits.price
            found.append((bits, evidence))
            keep = 1 / (1 + 2**evidence)
            odd = 1 - keep
        for counts, shown in ((own, set(block.tolist())), (own_pairs, set(pairs(block)))):
            for key in counts:
                counts[key] *= 2 ** (-1 / habits.half_life)
            for key in shown:
                counts[key] += keep * 2 ** (-1 / habits.half_life)
    return found


@given(BLOCKS, BLOCKS, st.integers(0, 3), st.sampled_from([1.0, 50.0]))
def test_bits_and_evidence_are_those_of_a_slow_twin(
    blocks: list[np.ndarray], others: list[np.ndarray], learned: int, half_life: float
) -> None:
    """For any blocks, forgotten fast or slowly."""
    habits = Habits(half_life=half_life)
    found = follow(blocks, learned, seen(others, 6), habits)
    expected = naive(blocks, learned, others, habits)
    assert found.bits == pytest.approx([bits for bits, _ in expected], abs=1e-6)
    assert found.evidence == pytest.approx([evidence for _, evidence in expected], abs=1e-6)


@given(BLOCKS, BLOCKS, st.integers(0, 3))
def test_a_block_is_judged_without_those_behind_it(
    blocks: list[np.ndarray], others: list[np.ndarray], learned: int
) -> None:
    """Whatever comes later, what was said stays the same."""
    counts = seen(others, 6)
    whole, part = follow(blocks, learned, counts), follow(blocks[:-1], learned, counts)
    assert whole.evidence[: len(part.evidence)].tolist() == part.evidence.tolist()


@given(BLOCKS, BLOCKS)
def test_without_a_user_are_the_counts_of_the_others(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    """Counts of two users without one are those of the other, but for pairs that nobody shows."""
    left = without(added([seen(one, 6), seen(other, 6)]), seen(one, 6))
    alone = seen(other, 6)
    assert left.commands.tolist() == alone.commands.tolist()
    assert left.keys[left.pairs > 0].tolist() == alone.keys.tolist()
    assert left.pairs[left.pairs > 0].tolist() == alone.pairs.tolist()


def typed(random: np.random.Generator, favourites: list[int], blocks: int) -> list[np.ndarray]:
    """Blocks of commands, mostly the favourites."""
    return [
        np.where(random.random(SIZE) < 0.9, random.choice(favourites, SIZE), random.integers(0, 20, SIZE))
        for _ in range(blocks)
    ]


def test_a_run_of_somebody_else_is_found_and_not_learned() -> None:
    """Of 40 blocks 5 are another user's: those have the most evidence, the last of them no less than the first."""
    random = np.random.default_rng(5)
    users = [typed(random, [3 * user, 3 * user + 1], 60) for user in range(6)]
    mixed = [*users[0][:30], *users[1][:5], *users[0][35:]]
    own = [seen(blocks[:20], 20) for blocks in users]
    found = follow(mixed, 20, without(added(own), own[0])).evidence
    assert sorted(np.argsort(found)[-5:].tolist()) == [10, 11, 12, 13, 14]
    assert found[10:15].min() > found[np.r_[0:10, 15:40]].max() + 5
    assert found[14] > found[10] - 1


def test_rehearsals_give_a_threshold_that_tells_others_from_the_user() -> None:
    """Of users who differ, rehearsed runs of others are found at few false alarms; runs are about 5 % of blocks."""
    random = np.random.default_rng(6)
    users = [typed(random, [3 * user, 3 * user + 1], 60) for user in range(6)]
    rehearsed = rehearse(users, 20, times=10, parts=3)
    assert 0.01 < rehearsed.foreign.mean() < 0.1
    level = threshold(rehearsed)
    assert (rehearsed.evidence[rehearsed.foreign] >= level).mean() > 0.95
    assert (rehearsed.evidence[~rehearsed.foreign] >= level).mean() < 0.02


def test_events_are_cut_into_blocks_user_by_user() -> None:
    """Seven events of one user and four of another, two a block, one learned; numbers serve as names of users."""
    events = pl.DataFrame({"user": [7, 3, 7, 7, 3, 7, 7, 3, 7, 7, 3], "action": list("abacbaabcac")})
    found = judge(events, learned=1, size=2)
    assert found.select("user", "block").rows() == [(7, 1), (7, 2), (3, 1)]
    assert found.schema["user"] == pl.Int64
    assert judge(events.head(0)).is_empty()


def test_what_cannot_be_judged_is_refused() -> None:
    """A missing column, and numbers that count nothing."""
    with pytest.raises(EventError, match="action is missing; found the columns user"):
        judge(pl.DataFrame({"user": ["ann"]}))
    with pytest.raises(UsageError, match="expected 1 or more, found 0 and 100"):
        judge(pl.DataFrame({"user": ["ann"], "action": ["ls"]}), learned=0)
    with pytest.raises(UsageError, match="stay is out of range"):
        Habits(stay=1.0)
