"""The grouping of the notebook and code lengths, as slow and obvious loops over dictionaries."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

Profile = dict[str, float]
TOO_FAR = 1024.0
"""2 to this power is no number any more."""


def divergences(one: Mapping[str, float], other: Mapping[str, float]) -> tuple[float, float]:
    """The two sums of 2^-bits times the difference in bits; infinite where 2^bits overflows."""
    there, back = 0.0, 0.0
    for action in one.keys() & other.keys():
        mine, theirs = one[action], other[action]
        if max(mine, theirs) >= TOO_FAR:
            return math.inf, math.inf
        there += 2**-theirs * (mine - theirs)
        back += 2**-mine * (theirs - mine)
    return there, back


def failing_profiles(rows: Iterable[tuple[str, str, bool]]) -> dict[str, Profile]:
    """What each user (user, action, failed) did, each step at the price of its failure, over all actions of the log."""
    rows = list(rows)
    before: dict[str, str] = {}
    steps = []
    for user, action, failed in rows:
        steps.append((user, before.get(user, ""), action, failed))
        before[user] = action
    actions = Counter(action for _, action, _ in rows)
    failures = Counter((previous, action) for _, previous, action, failed in steps if failed)
    profiles = {user: dict.fromkeys(actions, 0.0) for user, _, _ in rows}
    for user, previous, action, _ in steps:
        share = (failures[previous, action] or 1.0) / actions[action]
        profiles[user][action] += math.log2(1 / share)
    return profiles


def leaders(
    profiles: dict[str, Profile],
    order: Sequence[str],
    limit: float,
    rng: random.Random,
    *,
    members: dict[int, list[str]] | None = None,
    averages: dict[int, Profile] | None = None,
) -> tuple[dict[int, list[str]], dict[int, Profile]]:
    """Groups and their average profiles, users at random; an average overwrites the profile that it began with."""
    members, averages = members or {}, averages or {}
    waiting = list(order)
    while waiting:
        user = rng.choice(waiting)
        for group in [group for group, names in members.items() if user in names]:
            members[group].remove(user)
            if not members[group]:
                del members[group]
        near = (
            group
            for group, average in averages.items()
            if all(-limit <= each < limit for each in divergences(profiles[user], average))
        )
        group = next(near, len(averages))
        names = members.setdefault(group, [])
        names.append(user)
        if len(names) == 1 or len(names) % 4 == 0:
            drawn = rng.sample([profiles[name] for name in names], min(len(names), 10))
            total = drawn[0]
            for other in drawn[1:]:
                for action in total:
                    total[action] += other[action]
            for action in total:
                total[action] /= len(drawn)
            averages[group] = total
        waiting.remove(user)
    return members, averages


Counted = Mapping[tuple[int, int], float]
"""How often each value came after each context."""


def cost(counts: Counted, group: Counted, base: Mapping[tuple[int, int], float], prior: float = 1.0) -> float:
    """The bits of counts in the chances of a group."""
    bits = 0.0
    for (context, value), times in counts.items():
        there = sum(each for (after, _), each in group.items() if after == context)
        p = (group.get((context, value), 0.0) + prior * base[context, value]) / (there + prior)
        bits -= times * math.log2(p)
    return bits


def adaptive(counts: Counted, base: Mapping[tuple[int, int], float], prior: float = 1.0) -> float:
    """The bits of whole counts told one event after the other, each in the chances of those before it."""
    seen: Counter[tuple[int, int]] = Counter()
    within: Counter[int] = Counter()
    bits = 0.0
    for (context, value), times in counts.items():
        for _ in range(int(times)):
            bits -= math.log2((seen[context, value] + prior * base[context, value]) / (within[context] + prior))
            seen[context, value] += 1
            within[context] += 1
    return bits


def named(size: int) -> float:
    """The bits of saying of so many users, one by one, that they are in a group: those before them speak for it."""
    return -sum(math.log2(before) for before in range(1, size))


def whole(groups: Iterable[Sequence[Counted]], base: Mapping[tuple[int, int], float]) -> float:
    """The bits of all users in groups: what they did and who is where."""
    bits = 0.0
    for members in groups:
        together: Counter[tuple[int, int]] = Counter()
        for counts in members:
            for cell, times in counts.items():
                together[cell] += int(times)
        bits += adaptive(together, base) + named(len(members))
    return bits
