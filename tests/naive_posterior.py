"""The chances of classes as slow and obvious loops over dictionaries, by the formulas of :mod:`amiss.posterior`."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

Cell = tuple[int, int, int]
"""Feature, given, value."""

Counts = dict[int, dict[Cell, float]]
"""By user and cell."""


def by_user(rows: Iterable[tuple[int, int, int, int, int]], most: float) -> Counts:
    """Counts from rows (feature, user, given, value, count); a feature of a user is worth so many at the most."""
    whole: Counter[tuple[int, int]] = Counter()
    rows = list(rows)
    for feature, user, _, _, count in rows:
        whole[user, feature] += count
    found: Counts = defaultdict(lambda: defaultdict(float))
    for feature, user, given, value, count in rows:
        found[user][feature, given, value] += count * min(1.0, most / whole[user, feature])
    return found


class Everybody:
    """What all users do."""

    def __init__(self, counts: Counts) -> None:
        self.cells = added(counts.values())
        self.values = {(feature, value) for feature, _, value in self.cells}

    def kinds(self, feature: int) -> int:
        """How many values there are."""
        return sum(each == feature for each, _ in self.values)

    def alone(self, cell: Cell) -> float:
        """The chance of a value."""
        feature, _, value = cell
        m = sum(count for (f, _, v), count in self.cells.items() if (f, v) == (feature, value))
        whole = sum(count for (f, _, _), count in self.cells.items() if f == feature)
        return (m + 0.5) / (whole + self.kinds(feature) / 2)

    def after(self, cell: Cell) -> float:
        """The chance of a value after its given."""
        row = {each: count for each, count in self.cells.items() if each[:2] == cell[:2]}
        different = len(row) or 1
        return (row.get(cell, 0.0) + different * self.alone(cell)) / (sum(row.values()) + different)


def added(users: Iterable[Mapping[Cell, float]]) -> dict[Cell, float]:
    """The counts of several users together."""
    found: dict[Cell, float] = defaultdict(float)
    for cells in users:
        for cell, count in cells.items():
            found[cell] += count
    return found


def chance(everybody: Everybody, own: Mapping[Cell, float], cell: Cell, backing: tuple[float, ...]) -> float:
    """The chance of a cell's value in a class with these counts."""
    a, b, g, h = backing
    feature, given, value = cell
    even, rest = 1.0 / everybody.kinds(feature), 1.0 - g - h
    m = sum(count for (f, _, v), count in own.items() if (f, v) == (feature, value))
    whole = sum(count for (f, _, _), count in own.items() if f == feature)
    alone = (m + a * (even if rest > 0 else everybody.alone(cell))) / (whole + a)
    base = g * alone + h * everybody.after(cell) + rest * even
    if math.isinf(b):
        return base
    row = sum(count for (f, before, _), count in own.items() if (f, before) == (feature, given))
    return (own.get(cell, 0.0) + b * base) / (row + b)


def alone(everybody: Everybody, cells: Mapping[Cell, float], strength: float) -> float:
    """The bits of what a user did as a class of their own."""
    bits, rows = 0.0, Counter[tuple[int, int]]()
    for cell, count in cells.items():
        mean = strength * everybody.after(cell)
        bits += math.lgamma(mean + count) - math.lgamma(mean)
        rows[cell[:2]] += count  # type: ignore[assignment]  # counts that are no whole numbers
    bits += sum(math.lgamma(strength) - math.lgamma(strength + count) for count in rows.values())
    return bits / math.log(2)
