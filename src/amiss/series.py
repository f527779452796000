"""How odd each value of one series of numbers is, judged by those before it: a metric, a rate, a daily count.

Three things are asked of every value. Is the level of the last few values unlike that of the long run (`level`)? Are
the last few values unlike what is usual at this time of day, or of the week where that predicts better (`season`)? Is
this value unlike the few before it (`spike`)? Each answer is a p-value in bits, and what is rare is learned from the
series itself: 10 bits come about once in 1,000 values of a series that goes on as before, whatever its distribution.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from amiss.errors import EventError, UsageError

DAY: Final = 86_400_000_000
THURSDAY: Final = 3
"""The weekday on which times begin, Monday being 0."""

Floats = NDArray[np.float64]
Times = NDArray[np.datetime64]


@dataclass(frozen=True)
class Outlook:
    """How far back values are looked at; the same for all series.

    Attributes
    ----------
    recent
        About how many values the short run has; its weights fall off exponentially, as do all others.
    memory
        About how many values the long run has: its level, and how far values usually are from what is expected.
    rare
        About how many values tell what is rare.
    slots
        Parts of a day, whose usual values are learned one by one.
    freedom
        Degrees of freedom of the Student t by which distances become surprise; its tail is then learned.
    clip
        How many usual distances one value teaches at most.
    tail
        The share of values from which tails are learned, the most surprising ones.
    prior
        How many made-up values, of surprise 1 beyond the edge, a tail begins with.
    fade
        About how many values later what was said counts no more against what is said.
    """

    recent: float = 8.0
    memory: float = 2000.0
    rare: float = 20_000.0
    slots: int = 48
    freedom: float = 5.0
    clip: float = 30.0
    tail: float = 0.02
    prior: float = 3.0
    fade: float = 200.0

    def __post_init__(self) -> None:
        odd = [field.name for field in fields(self) if not 0 < getattr(self, field.name) < float("inf")]
        if odd or self.tail >= 1:
            raise UsageError(f"{', '.join(odd or ['tail'])} is out of range; expected more than 0, and a tail below 1")


def evidence(times: Times, values: Floats, outlook: Outlook | None = None) -> pl.DataFrame:
    r"""The bits of each value by what is asked, what they come to, and a score from 0 to 1 that tells a thing once.

    Each of the three columns of bits is a p-value: with :math:`s` the surprise of a distance under a scaled Student t,
    :math:`-\log_2 P(S \ge s)`, where the tail of :math:`P` beyond the edge (the most surprising `tail` of the past) is
    that of exponential excesses whose mean is learned (a Lomax distribution), and 0 bits below the edge. All of it is
    known before the value is. `bits` is their mean less :math:`\log_2 e`, a p-value however they depend on each other.

    The score is for detection: :math:`f / (1 + f)`, where :math:`f` is by how much the sum of the three is above what
    it was before, which fades. So an anomaly scores once, when it begins, and again only when it gets worse.

    Parameters
    ----------
    times : (n,) times of values
        Only their clock and weekday count; gaps do not matter.
    values : (n,)
        NaN where there is none: it scores 0 and teaches nothing.
    outlook
        How far back values are looked at.

    Returns
    -------
    DataFrame : (n, 5) columns level, season, spike, bits, score

    Raises
    ------
    EventError
        If times and values differ in number, or a value is infinite.

    Examples
    --------
    Noise of 200 values, and then one that is far off, once.

    >>> noise = np.random.default_rng(1).normal(size=201)
    >>> noise[200] = 12.0
    >>> times = np.datetime64("2026-01-05T00:00") + np.arange(201) * np.timedelta64(5, "m")
    >>> said = evidence(times, noise)
    >>> int(said["score"].arg_max())
    200
    >>> [round(bits) for bits in said.row(200)[:3]]
    [15, 0, 14]

    Source
    ------
    Siffer et al. 2017, Anomaly Detection in Streams with Extreme Value Theory (excesses over a threshold that follow
    the stream); Vovk and Wang 2020, Combining p-values via averaging (the geometric mean times e).
    """
    bits, fresh = _judged(times, values, outlook or Outlook())
    together = np.maximum(0.0, bits.mean(axis=1) - np.log2(np.e))
    names = ("level", "season", "spike")
    columns = {name: bits[:, number] for number, name in enumerate(names)}
    return pl.DataFrame({**columns, "bits": together, "score": _bounded(fresh)})


def score(times: Times, values: Floats, outlook: Outlook | None = None) -> Floats:
    """The score of each value, from 0 to 1, as :func:`evidence` gives it.

    Examples
    --------
    >>> times = np.datetime64("2026-01-05") + np.arange(3) * np.timedelta64(1, "h")
    >>> score(times, np.array([4.0, 4.0, 4.0]))
    array([0., 0., 0.])
    """
    return _bounded(_judged(times, values, outlook or Outlook())[1])


def _bounded(fresh: Floats) -> Floats:
    """From 0 to 1, in the same order."""
    bounded: Floats = fresh / (1 + fresh)
    return bounded


def _judged(times: Times, values: Floats, outlook: Outlook) -> tuple[Floats, Floats]:
    """Bits by what is asked, and what is said anew."""
    from amiss import series_kernel as kernel

    numbers = np.ascontiguousarray(values, np.float64)
    if len(times) != len(numbers):
        raise EventError(f"{len(times):,} times and {len(numbers):,} values; expected as many of both")
    if np.isinf(numbers).any():
        raise EventError(
            f"value {int(np.isinf(numbers).argmax()) + 1:,} is infinite; expected numbers, or NaN for none"
        )
    passed = np.asarray(times).astype("datetime64[us]").astype(np.int64)
    setting = kernel.Setting(*(getattr(outlook, name) for name in kernel.Setting._fields))
    bits, fresh = kernel.judged(numbers, passed % DAY / DAY, (passed // DAY + THURSDAY) % 7, setting)
    return bits, fresh
