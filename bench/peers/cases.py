"""What peers are given: cases to learn from and cases to judge, in numbers and, where a task has them, as steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Figures = Mapping[str, float]


class Cases(NamedTuple):
    """Users' days, logins or purchases.

    Attributes
    ----------
    features
        (n, f), a row for each case, in order of time.
    user
        (n,) whose case it is, as a number.
    steps
        Columns `case` (the row in `features`), `state`, `outcome`, in order; none where cases are no sequences.
    """

    features: Floats
    user: NDArray[np.int64]
    steps: pl.DataFrame | None = None


Split = tuple[Cases, Cases]
"""What to learn from, without labels, and what to judge."""


class Scores(Protocol):
    """How every peer is asked: one score for each case of today, the higher the odder."""

    def __call__(self, past: Cases, today: Cases) -> Floats:
        """Scores, (n,)."""


class Task(NamedTuple):
    """One seed of a task.

    Attributes
    ----------
    splits
        What peers are given, one after the other.
    figures
        What scores of all that is judged are worth.
    own
        Ways that bring their own scores: amiss, the rule of a notebook, the optimum; each gives figures.
    """

    splits: list[Split]
    figures: Callable[[Floats], Figures]
    own: Mapping[str, Callable[[], Figures]]

    def judge(self, scores: Scores) -> Figures:
        """The figures of a peer."""
        return self.figures(np.concatenate([scores(past, today) for past, today in self.splits]))
