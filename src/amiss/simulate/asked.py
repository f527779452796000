"""What is asked of a simulation: refused where it cannot be, all at once; and the random numbers that follow."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from amiss.errors import UsageError

YEARS: Final = (1980, 2040)
"""The years that zones and calendars are good for."""


def check(
    date: dt.date,
    least: Mapping[str, tuple[int, int]],
    between: Mapping[str, tuple[float, float, float]],
    *others: str | None,
) -> None:
    """Refuse what is out of range.

    Parameters
    ----------
    date
        The first day.
    least
        By name a number, and the least it may be.
    between
        By name a number, and the least and the most it may be.
    others
        What else is wrong.

    Raises
    ------
    UsageError
        If anything is; all is listed.

    Examples
    --------
    >>> check(dt.date(2026, 1, 5), {"users": (0, 1)}, {"odd_users": (2.0, 0, 1)})
    Traceback (most recent call last):
    amiss.errors.UsageError: users is 0; expected 1 or more
    odd_users is 2; expected 0 to 1
    """
    problems = [f"{name} is {value:,}; expected {low} or more" for name, (value, low) in least.items() if value < low]
    problems += [
        f"{name} is {value:g}; expected {low:g} to {high:g}"
        for name, (value, low, high) in between.items()
        if not low <= value <= high
    ]
    problems += [other for other in others if other]
    if not YEARS[0] <= date.year <= YEARS[1]:
        problems.append(f"date is {date}; expected one of the years {YEARS[0]} to {YEARS[1]}")
    if problems:
        raise UsageError("\n".join(problems))


def check_files(files: Sequence[Path | None]) -> None:
    """Refuse to write two things to one file.

    Raises
    ------
    UsageError
        If two of them are the same.
    """
    named = [file.resolve() for file in files if file is not None]
    for file in named:
        if named.count(file) > 1:
            raise UsageError(f"two things cannot both be written to {file.name}; name two files")


def randomness(seed: int, *part: int) -> np.random.Generator:
    """The random numbers of one part of a simulation."""
    return np.random.Generator(np.random.PCG64([abs(seed), int(seed < 0), *part]))
