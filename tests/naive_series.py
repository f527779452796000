"""Evidence of a series, slow and obvious: one value after the other, in dictionaries and lists."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime


class Tail:
    """What is rare among the surprises so far: an edge, and a tail of exponential excesses beyond it."""

    def __init__(self) -> None:
        self.edge, self.count, self.excess, self.beyond, self.seen = 0.0, 3.0, 3.0, 0.02, 1.0

    def bits(self, surprise: float) -> float:
        """Bits of a surprise at least so large."""
        if surprise <= self.edge:
            return 0.0
        chance = self.beyond / self.seen * (1 + (surprise - self.edge) / self.excess) ** -(self.count + 1)
        return -math.log2(chance)

    def learn(self, surprise: float, values: int) -> None:
        """Remember a surprise, one of about 20,000."""
        keep, is_beyond = 1 - 1 / 20_000, surprise > self.edge
        self.seen = keep * self.seen + 1
        self.beyond = keep * self.beyond + is_beyond
        self.count = 3 + keep * (self.count - 3) + is_beyond
        self.excess = 3 + keep * (self.excess - 3) + max(0.0, surprise - self.edge)
        self.edge = max(0.0, self.edge + max(0.02, values**-0.6) * (is_beyond - 0.02))


class Distance:
    """How far off values usually are."""

    def __init__(self) -> None:
        self.total, self.weight, self.tail = 0.0, 0.0, Tail()

    def bits(self, off: float, size: float, values: int) -> float:
        """Bits of being so far off; then it is learned."""
        usual = self.total / self.weight if self.weight else abs(off) + 1e-12
        usual = max(usual, 1e-6 * size + 1e-12)
        surprise = 3 * math.log(1 + (off / usual) ** 2 / 5)
        bits = self.tail.bits(surprise)
        self.total = (1 - 1 / 2000) * self.total + 1.25 * min(abs(off), 30 * usual)
        self.weight = (1 - 1 / 2000) * self.weight + 1
        self.tail.learn(surprise, values)
        return bits


def evidence(times: Sequence[datetime], values: Sequence[float]) -> tuple[list[list[float]], list[float]]:
    """Bits of level, season and spike of each value, and what is said anew."""
    by_day, by_week = defaultdict(list), defaultdict(list)
    level, season, spike = Distance(), Distance(), Distance()
    rows, fresh, slot, held = [], [], None, []
    now = slow = drift = said = 0.0
    errors: list[tuple[float, float]] = []
    seen = known = 0
    for time, value in zip(times, values, strict=True):
        part = (time.hour * 60 + time.minute) * 48 // 1440
        if (time.weekday(), part) != slot:
            if slot:
                by_day[slot[1]].append(sum(held) / len(held))
                by_week[slot].append(sum(held) / len(held))
            slot, held = (time.weekday(), part), []
        held.append(value)
        seen += 1
        if seen == 1:
            now = slow = value
            rows.append([0.0, 0.0, 0.0])
            fresh.append(0.0)
            continue
        usual = recent(by_day[part], 4) if by_day[part] else slow
        supported = len(by_week[slot]) >= 2
        weekly = recent(by_week[slot], 3) if supported else usual
        expected = weekly if mean_of(errors, 1) < mean_of(errors, 0) else usual
        size = abs(value) + abs(slow)
        said_spike = spike.bits(value - now, size, seen)
        now += max(1 / 8, 1 / seen) * (value - now)
        said_level = level.bits(now - slow, size, seen)
        said_season = 0.0
        if by_day[part]:
            known += 1
            drift += max(1 / 8, 1 / known) * (value - expected - drift)
            said_season = season.bits(drift, size, seen)
        rows.append([said_level, said_season, said_spike])
        fresh.append(max(0.0, sum(rows[-1]) - said))
        said = max(said * (1 - 1 / 200), sum(rows[-1]))
        if supported:
            errors.append((abs(value - usual), abs(value - weekly)))
        slow += max(1 / 2000, 1 / seen) * (value - slow)
    return rows, fresh


def recent(means: list[float], most: int) -> float:
    """A running mean of means, the last `most` of which count most."""
    running = 0.0
    for number, mean in enumerate(means, 1):
        running += (mean - running) / min(number, most)
    return running


def mean_of(errors: list[tuple[float, float]], which: int) -> float:
    """How far off one way of expecting was; of fewer than 2,000 errors the plain mean."""
    return sum(error[which] for error in errors) / len(errors) if errors else 0.0
