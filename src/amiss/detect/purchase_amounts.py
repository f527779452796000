"""Amounts of purchases that turned out bad: how much likelier an amount makes it that a purchase is bad, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.baseline import Floats, Past
from amiss.evidence import FULL_WEIGHT

AMOUNT: Final = 0
"""The feature of counts under which purchases are counted by amount (`value`, in steps of an octave)."""

DOUBT: Final = 20.0
"""How many purchases the share of all amounts is worth to each."""


@dataclass(frozen=True, eq=False)
class Amounts:
    """How much more often purchases turned out bad by their amounts: `ratio` from the step `first` on.

    Examples
    --------
    A hundred purchases in each of ten steps; twenty in the last one were bad.

    >>> from amiss.baseline import COUNT_SCHEMA
    >>> def counts(rows):
    ...     return pl.DataFrame([(AMOUNT, 7, -1, *row) for row in rows], schema=COUNT_SCHEMA, orient="row")
    >>> past = Past([counts([(step, 1600) for step in range(40, 50)])])
    >>> past.bad = counts([(49, 320)])
    >>> Amounts.known(past).of(np.array([40, 49, 99])).round(1)
    array([0.2, 7.4, 7.4])
    """

    first: int
    ratio: Floats

    @classmethod
    def known(cls, past: Past) -> Amounts | None:
        """What follows from what people said was bad; nothing where nobody said so."""
        bad = past.bad.filter(feature=AMOUNT)
        if bad.is_empty():
            return None
        both = [past.by_user().filter(feature=AMOUNT), bad]
        values = pl.concat([each["value"] for each in both])
        first, last = int(values.to_numpy().min()), int(values.to_numpy().max())
        good, odd = (_by_step(each, first, last) for each in both)
        share = odd.sum() / (good + odd).sum()
        return cls(first, (odd + DOUBT * share) / (good + odd + DOUBT) / share)

    def of(self, steps: npt.NDArray[np.int64]) -> Floats:
        """The ratio of each step; beyond those known, that of the outermost."""
        return self.ratio[np.clip(steps - self.first, 0, len(self.ratio) - 1)]


def _by_step(counts: pl.DataFrame, first: int, last: int) -> Floats:
    """Purchases by step."""
    steps, number = (counts[name].to_numpy() for name in ("value", "count"))
    sums: Floats = np.bincount(steps - first, number / FULL_WEIGHT, last - first + 1).astype(np.float64)
    return sums
