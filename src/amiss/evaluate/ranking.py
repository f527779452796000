"""How well scores put what is odd before what is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amiss.evaluate.measured import Figure

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def average_precision(scores: Floats, odd: Bools) -> float:
    """The mean precision at each of what is odd, by falling score; ties count against.

    Examples
    --------
    Two odd of four, ranked first and third: (1 + 2/3) / 2.

    >>> average_precision(np.array([9.0, 5.0, 4.0, 1.0]), np.array([True, False, True, False]))
    0.8333333333333333
    """
    order = np.lexsort((odd, -scores))
    ranked = odd[order]
    precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    return float(precision[ranked].mean()) if ranked.any() else float("nan")


def auc(scores: Floats, odd: Bools) -> float:
    """The chance that what is odd scores above what is not; ties count half.

    Examples
    --------
    >>> auc(np.array([9.0, 5.0, 4.0, 1.0]), np.array([True, False, True, False]))
    0.75
    """
    ordered, theirs = np.sort(scores[~odd]), scores[odd]
    if not len(ordered) or not len(theirs):
        return float("nan")
    below, until = (np.searchsorted(ordered, theirs, side) for side in ("left", "right"))
    return float((below + until).mean() / 2 / len(ordered))


class At(NamedTuple):
    """What a threshold gives: flagged odd ones, flagged others, and how many are odd."""

    hits: int
    false_alarms: int
    odd: int

    @property
    def precision(self) -> float:
        """The share of odd ones among those flagged; nothing is known where none are."""
        flagged = self.hits + self.false_alarms
        return self.hits / flagged if flagged else float("nan")

    @property
    def recall(self) -> float:
        """The share of odd ones that are flagged."""
        return self.hits / self.odd if self.odd else float("nan")


def at(scores: Floats, odd: Bools, threshold: float) -> At:
    """What a threshold gives.

    Examples
    --------
    >>> found = at(np.array([9.0, 5.0, 4.0, 1.0]), np.array([True, False, True, False]), 4.0)
    >>> found, found.precision, found.recall
    (At(hits=2, false_alarms=1, odd=2), 0.6666666666666666, 1.0)
    """
    high = scores >= threshold
    return At(int((high & odd).sum()), int((high & ~odd).sum()), int(odd.sum()))


def rounded(figures: Mapping[str, float | str | None], places: int = 4) -> dict[str, Figure]:
    """Figures as they are printed; none where one is not known.

    Examples
    --------
    >>> rounded({"way": "lot", "auc": 0.123456, "recall": float("nan")})
    {'way': 'lot', 'auc': 0.1235, 'recall': None}
    """
    return {
        name: value if isinstance(value, str | int | None) else None if np.isnan(value) else round(float(value), places)
        for name, value in figures.items()
    }


def means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The means of figures that have the same names, over those that are known.

    Examples
    --------
    >>> means([{"auc": 0.5}, {"auc": 1.0}, {"auc": float("nan")}])
    {'auc': 0.75}
    """
    found = {name: [row[name] for row in rows if not np.isnan(row[name])] for name in rows[0]}
    return {name: float(np.mean(values)) if values else float("nan") for name, values in found.items()}
