"""Slow, obvious twins of what amiss computes in compiled passes: dictionaries and loops, no Polars, no arrays.

Written from the docstrings of `amiss.sessions`, `amiss.baseline`, `amiss.detect.chain`, `amiss.detect.mixture`,
`amiss.detect.sequence` and `amiss.evidence`.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

START = -1
NEVER_SEEN = "never seen"
SHARE = 0.02
EXPERTS = 4

Counts = Counter[tuple[str, int, str, int, int]]
"""How often: by (period, user, feature, given, value)."""


class Event(NamedTuple):
    """One event; `time` in microseconds."""

    time: int
    user: int
    action: int
    outcome: int


class Followed(NamedTuple):
    """One event after the user's one before; `gap` in microseconds or None at a session's start."""

    user: int
    state: int
    previous: int
    gap: int | None


def followed(events: list[Event], session_gap: int = 1_800_000_000) -> list[Followed]:
    """Events in the order given, which is that of time, each with what came before it."""
    last: dict[int, tuple[int, int]] = {}
    found = []
    for event in events:
        state = 3 * event.action + event.outcome
        if event.user in last and event.time - last[event.user][1] <= session_gap:
            found.append(Followed(event.user, state, last[event.user][0], event.time - last[event.user][1]))
        else:
            found.append(Followed(event.user, state, START, None))
        last[event.user] = (state, event.time)
    return found


def gap_bin(gap: int) -> int:
    """0 below 1/64 second, then one more at every doubling."""
    code = 0
    while gap >= 1_000_000 / 64 * 2**code:
        code += 1
    return code


def pairs(event: Followed) -> list[tuple[str, int, int]]:
    """The (feature, given, value) that an event shows."""
    shown = [("action", event.previous, event.state)]
    if event.gap is not None:
        shown.append(("gap", event.state, gap_bin(event.gap)))
    return shown


def count(events: list[Followed], period: str = "past") -> Counts:
    """What events add to a baseline."""
    counts: Counts = Counter()
    for event in events:
        for feature, given, value in pairs(event):
            counts[period, event.user, feature, given, value] += 1
    return counts


@dataclass
class Normal:
    """The chances of one feature: how often each value came after each given, no user above the cap in a period."""

    after: defaultdict[int, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))

    @classmethod
    def of(cls, counts: Counts, feature: str, cap: int, without: int | None = None) -> Normal:
        """The chances that follow from the counts of all users, or of all but one."""
        normal = cls()
        for (_, user, counted, given, value), times in counts.items():
            if counted == feature and user != without:
                normal.after[given][value] += min(times, cap)
        return normal

    def known(self) -> list[int]:
        """All values that were seen."""
        return sorted({value for row in self.after.values() for value in row})

    def p(self, given: int, value: object) -> float:
        """The chance of a value; NEVER_SEEN for all that were not seen."""
        row = self.after.get(given, Counter())
        distinct = max(1, len(row))
        here = sum(times for seen, times in row.items() if seen == value)
        return (here + distinct * self.p0(value, alone=not row)) / (sum(row.values()) + distinct)

    def p0(self, value: object, *, alone: bool) -> float:
        """The chance of a value whatever came before; `alone` where what came before was never seen."""
        everywhere = sum(self.after.values(), Counter())
        total, known = sum(everywhere.values()), len(everywhere)
        different = sum(len(row) for row in self.after.values())
        once = sum(1 for times in everywhere.values() if times == 1)
        never_seen = (once + 0.5) / (total + 1) if alone else (known + 0.5) / (different + 1)
        if not known:
            return 1.0
        if value == NEVER_SEEN:
            return never_seen
        return (1 - never_seen) * (everywhere[value] + 0.5) / (total + known / 2)


class Scored(NamedTuple):
    """What one event says."""

    bits: float
    surprisal: float


@dataclass
class Way:
    """A group of users: how common it is, and what its members did, no user above `most`."""

    share: float
    after: defaultdict[int, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))

    @classmethod
    def of(cls, share: float, members: set[int], counts: Counts, feature: str, most: int) -> Way:
        """The group of some users, from the counts of periods added up."""
        sums: Counts = Counter()
        for (_, user, counted, given, value), times in counts.items():
            if counted == feature and user in members:
                sums["all", user, counted, given, value] += times
        way = cls(share)
        for (_, _, _, given, value), times in sums.items():
            way.after[given][value] += min(times, most)
        return way

    def p(self, given: int, value: object, everyone: float) -> float:
        """The chance of a value, of which `everyone` has that chance."""
        row = self.after.get(given, Counter())
        here = sum(times for seen, times in row.items() if seen == value)
        prior = 8 + sum(row.values()) / 20
        return (here + prior * everyone) / (sum(row.values()) + prior)


def score_user(
    shown: list[tuple[int, int] | None], normal: Normal, ways: Sequence[Way] = (), bad: Way | None = None
) -> list[Scored]:
    """Bits and surprisal of one user's (given, value) pairs of one feature, in order; 0 where it is not shown."""
    alphabet = [*normal.known(), NEVER_SEEN]
    prior = min(0.5, 8 / len(alphabet))
    number = EXPERTS + (bad is not None)
    weights = [1 / number] * number
    beliefs = [way.share for way in ways]
    chain: Counter[tuple[int, object]] = Counter()
    scored = []
    for pair in shown:
        if pair is None:
            scored.append(Scored(0.0, 0.0))
            continue
        given, value = pair[0], pair[1] if pair[1] in alphabet else NEVER_SEEN
        everyone = normal.p(given, value)
        experts = [
            _kt({v: chain[given, v] for v in alphabet}, prior)[value],
            _kt({v: sum(n for (_, seen), n in chain.items() if seen == v) for v in alphabet}, prior)[value],
            1 / len(alphabet),
            math.sqrt(everyone) / sum(math.sqrt(normal.p(given, v)) for v in alphabet),
            *([bad.p(given, value, everyone)] if bad is not None else []),
        ]
        each = [way.p(given, value, everyone) for way in ways]
        p = sum(belief * way for belief, way in zip(beliefs, each, strict=True)) if ways else everyone
        q = sum(w * e for w, e in zip(weights, experts, strict=True))
        scored.append(Scored(math.log2(q / p), -math.log2(p)))
        weights = [(1 - SHARE) * w * e / q + SHARE / number for w, e in zip(weights, experts, strict=True)]
        told = zip(beliefs, each, ways, strict=True)
        beliefs = [(1 - SHARE) * belief * chance / p + SHARE * way.share for belief, chance, way in told]
        chain[given, value] += 1
    return scored


def _kt(counts: dict[object, int], prior: float) -> dict[object, float]:
    """Chances from one's own counts, each with the prior added."""
    total = sum(counts.values()) + prior * len(counts)
    return {value: (times + prior) / total for value, times in counts.items()}


class Society(NamedTuple):
    """The groups that count as normal, by share and members (none where it stands for everybody), and the bad users."""

    ways: list[tuple[float, set[int]]]
    bad: set[int]


ALIKE = Society([], set())
"""All users are one group, and nobody is bad."""


def sequence(
    past: Counts | None, events: list[Followed], cap: int = 5, society: Society = ALIKE, periods: int = 1
) -> list[Scored]:
    """Bits and surprisal of events by the counts of the past, or, without one, by the other users' same events."""
    found = [Scored(0.0, 0.0)] * len(events)
    for user in {event.user for event in events}:
        mine = [i for i, event in enumerate(events) if event.user == user]
        without = user if past is None else None
        known = {key: times for key, times in (count(events) if past is None else past).items() if key[1] != without}
        for feature in ("action", "gap"):
            normal = Normal.of(Counter(known), feature, cap)
            ways = [Way.of(share, users, Counter(known), feature, cap * periods) for share, users in society.ways]
            bad = Way.of(1.0, society.bad, Counter(known), feature, cap * periods) if society.bad else None
            shown = [next((p[1:] for p in pairs(events[i]) if p[0] == feature), None) for i in mine]
            for i, scored in zip(mine, score_user(shown, normal, ways, bad), strict=True):
                found[i] = Scored(found[i].bits + scored.bits, found[i].surprisal + scored.surprisal)
    return found


def evidence(bits: list[float]) -> list[float]:
    """The running evidence of one user: a mixture over the event at which the evidence may have begun."""
    running = []
    for k in range(1, len(bits) + 1):
        begun = sum(_onset(start) * 2 ** sum(bits[start - 1 : k]) for start in range(1, k + 1))
        rest = 1 - sum(_onset(start) for start in range(1, k + 1))
        running.append(math.log2(begun + rest))
    return running


def _onset(k: int) -> float:
    """The share of belief in a beginning at the k-th event."""
    return 1 / 2 if k == 1 else 1 / (2 * k * (k - 1))


def habit(past: Counts, events: list[Followed], cap: int, least: int) -> list[Scored]:
    """Bits and surprisal of events by the user's own past, against everybody's."""
    found = []
    for event in events:
        bits = surprisal = 0.0
        for feature, given, value in pairs(event):
            everyone = Normal.of(past, feature, cap)
            q = everyone.p(given, value if value in everyone.known() else NEVER_SEEN)
            own = {key[3:]: times for key, times in past.items() if key[1:3] == (event.user, feature)}
            row = sum(times for (before, _), times in own.items() if before == given)
            p = (own.get((given, value), 0) + 8 * q) / (row + 8) if sum(own.values()) >= least else q
            bits += math.log2(q / p)
            surprisal -= math.log2(p) if own else 0.0
        found.append(Scored(bits, surprisal))
    return found
