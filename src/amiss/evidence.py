"""Bits: what evidence is, how it runs over time, how it combines, how rare it is.

For one event the evidence is ``bits = log2(q / p)``: `p` the chance of the event if the user is normal, `q` if
the user is odd, both fixed before the event is seen. While the user is normal, 2^bits is at most 1 on average, so
the products of 2^bits are a test martingale and P(evidence ever reaches b) is at most 2^-b (Ville's inequality).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.blocks import Ints, highest
from amiss.severity import SEVERITIES, Severity

if TYPE_CHECKING:
    from amiss.evidence_kernel import Stood

Floats = npt.NDArray[np.float64]

DAYS_PER_YEAR: Final = 365.25

FULL_WEIGHT: Final = 16
"""What an event teaches that nothing speaks against, in sixteenths."""


def onset_weight(k: int) -> float:
    """The share of belief that a user turned odd at their k-th event of the period.

    Half at the first event, 1/(2k(k-1)) at each later one; all of them sum to 1.

    Examples
    --------
    >>> onset_weight(1), onset_weight(2), onset_weight(3)
    (0.5, 0.25, 0.08333333333333333)
    """
    return 0.5 if k == 1 else 1.0 / (2.0 * k * (k - 1))


def unspent(k: int) -> float:
    """The share of belief left for a start after the k-th event: 1 before any, 1/(2k) after.

    Examples
    --------
    >>> unspent(0), unspent(1), unspent(4)
    (1.0, 0.5, 0.125)
    """
    return 1.0 if k == 0 else 1.0 / (2.0 * k)


def weights(running: Floats) -> npt.NDArray[np.uint8]:
    """How much events may teach about their users, in sixteenths: 1/(1 + 2^evidence) behind each, at least one.

    Examples
    --------
    >>> weights(np.array([-9.0, 0.0, 2.0, 300.0]))
    array([16,  8,  3,  1], dtype=uint8)
    """
    shares = np.rint(FULL_WEIGHT / (1.0 + np.exp2(np.minimum(running, 60.0))))
    return np.maximum(shares, 1.0).astype(np.uint8)


class Standing:
    """Where users stand in a period: the evidence of each detector about them, and of all together.

    With ``E`` the evidence that has begun and `w` the :func:`onset_weight` of the user's k-th event,
    ``E = (E + w) * 2^bits``; a detector's running evidence is ``log2(E + unspent(k))``. That of all together is the
    :func:`combine` of those that gave the user any bits so far.

    Parameters
    ----------
    detectors
        How many.
    state : (u, 7)
        What `frame` gave; nobody's at the start of a period.

    Examples
    --------
    >>> standing = Standing(1)
    >>> standing.follow(np.array([7], dtype=np.uint32), np.array([0, 2]), [np.array([3.0, -1.0])]).running.round(3)
    array([2.17 , 1.248])
    >>> standing.frame().select("user", "events", "now", "peak").rows()
    [(7, 2, 1.24792..., 2.16992...)]

    Source
    ------
    The mixture over the moment of change: Shiryaev 1963, "On optimum methods in quickest detection problems"; as a
    test martingale: Ramdas, Grunwald, Vovk, Shafer 2023, "Game-theoretic statistics and safe anytime-valid inference".
    """

    def __init__(self, detectors: int, state: pl.DataFrame | None = None) -> None:
        from amiss.evidence_kernel import Stood, follow

        self.detectors, self._follow = detectors, follow
        self._stood: Stood = Stood(
            *(np.zeros((0, detectors) if width else 0, dtype=dtype) for dtype, width in _COLUMNS.values())
        )
        if state is not None and len(state):
            users = state["user"].to_numpy()
            self._grow(highest(users) + 1)
            for name, column in self._stood._asdict().items():
                column[users] = state[name].to_numpy()

    def follow(
        self, users: npt.NDArray[np.uint32], first: Ints, bits: Sequence[Floats], levels: Sequence[float] = ()
    ) -> Followed:
        """Move on with events of users.

        Parameters
        ----------
        users : (u,)
        first : (u + 1,)
            Where the events of each begin.
        bits : one (n,) for each detector
        levels
            Bits, in rising order; it is told when a user's evidence first reaches each.
        """
        self._grow(highest(users) + 1)
        running = np.empty(int(first[-1]))
        ascended = np.empty((2, len(users) * len(levels)), dtype=np.int64)
        found = self._follow(users, first, np.array(bits), self._stood, np.asarray(levels), running, ascended)
        return Followed(running, ascended[0, :found], ascended[1, :found])

    def by_detector(self, users: npt.NDArray[np.uint32]) -> Floats:
        """The evidence of each detector about each of these users: (u, d)."""
        events = np.maximum(self._stood.events[users], 1)[:, None]
        mass, scale = self._stood.mass[users], self._stood.scale[users]
        bits: Floats = np.log2(mass + np.exp2(-scale) / (2.0 * events)) + scale
        return np.where(self._stood.spoke[users], bits, 0.0)

    def of(self, users: npt.NDArray[np.uint32], name: str) -> npt.NDArray[Any]:
        """A column of `frame` for each of these users: (u,)."""
        values: npt.NDArray[Any] = getattr(self._stood, name)[users]
        return values

    def now(self, user: int) -> float:
        """The evidence about one user; 0 of one who did nothing yet."""
        now = self._stood.now
        return float(now[user]) if user < len(now) else 0.0

    def frame(self) -> pl.DataFrame:
        """A row for each user who did anything: `user`, `events`, `now`, `peak`, and what it takes to go on."""
        users = np.flatnonzero(self._stood.events).astype(np.uint32)
        columns = {name: column[users] for name, column in self._stood._asdict().items()}
        return pl.DataFrame({"user": users} | {name: _series(column) for name, column in columns.items()})

    def _grow(self, users: int) -> None:
        """Make room for the codes below `users`."""
        there = len(self._stood.now)
        if users > there:
            self._stood = type(self._stood)(*(_longer(each, max(users, there * 5 // 4)) for each in self._stood))


class Followed(NamedTuple):
    """What came of following events: the evidence of all together after each (n,), and who reached which level.

    `events` (c,) are the places of events at which a user first reached a level, `levels` (c,) how many are reached.
    """

    running: Floats
    events: Ints
    levels: Ints


_COLUMNS: Final[Mapping[str, tuple[type[np.generic], bool]]] = {
    "events": (np.int64, False),
    "now": (np.float64, False),
    "peak": (np.float64, False),
    "level": (np.int64, False),
    "mass": (np.float64, True),
    "scale": (np.float64, True),
    "spoke": (np.bool_, True),
}
"""What is known of a user (`Stood`), and whether by detector: E is ``mass * 2^scale``."""


def _longer(column: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """A column with zeros behind it."""
    grown = np.zeros((size, *column.shape[1:]), dtype=column.dtype)
    grown[: len(column)] = column
    return grown


def _series(column: npt.NDArray[Any]) -> pl.Series:
    """A column of a frame, as wide as the array is."""
    if column.ndim == 1:
        return pl.Series(column)
    inner = pl.Boolean() if column.dtype == np.bool_ else pl.Float64()
    return pl.Series(column, dtype=pl.Array(inner, column.shape[1]))


def running(first: Ints, *bits: Floats) -> Floats:
    """The evidence of detectors together after each event (n,), for users who begin at `first` (u + 1,).

    Examples
    --------
    >>> running(np.array([0, 2]), np.array([3.0, -1.0])).round(3)
    array([2.17 , 1.248])
    """
    return Standing(len(bits)).follow(np.arange(len(first) - 1, dtype=np.uint32), first, bits).running


def combine(bits: Mapping[str, float], weights: Mapping[str, float] | None = None) -> float:
    """The evidence of several detectors about one user, valid however dependent they are.

    ``log2(sum of w * 2^bits)`` with weights that sum to 1; equal ones unless given.

    Examples
    --------
    >>> combine({"sequence": 10.0, "login": 0.0})
    9.001408...
    >>> combine({"sequence": 12.5})
    12.5
    """
    if not bits:
        return 0.0
    shares = weights if weights is not None else dict.fromkeys(bits, 1.0 / len(bits))
    top = max(bits.values())
    return top + math.log2(math.fsum(shares[name] * math.exp2(value - top) for name, value in bits.items()))


def p_value_bits(p: float) -> float:
    """Bits of a p-value by the calibrator 1/(2*sqrt(p)).

    Source: Shafer, Shen, Vereshchagin, Vovk 2011, "Test martingales, Bayes factors and p-values"
    (the family k * p^(k-1) with k = 1/2).

    Examples
    --------
    >>> p_value_bits(1 / 1024)
    4.0
    """
    return -1.0 - 0.5 * math.log2(p)


def threshold(users: float, alarms: float) -> float:
    """The bits at which `users` normal users give at most `alarms` false alarms a period.

    Examples
    --------
    >>> round(threshold(3000, 1), 2)
    11.55
    """
    return max(0.0, math.log2(users / alarms)) if users > 0 else 0.0


def expected_by_chance(bits: float, users: float) -> float:
    """How many of `users` normal users reach `bits` in one period, at most.

    Examples
    --------
    >>> expected_by_chance(10.0, 2048)
    2.0
    """
    return users * math.exp2(-bits)


def severity(bits: float, users: float) -> Severity:
    """How seriously to take `bits` among `users` users, by how rarely chance gives as much.

    `info` where chance alone gives one or more a period, then a step for every factor of ten or more:
    `low` below one, `medium` below 1/10, `high` below 1/100, `critical` below 1/1,000.

    Examples
    --------
    >>> [severity(bits, 1000) for bits in (5, 11, 14, 18, 25)]
    ['info', 'low', 'medium', 'high', 'critical']
    """
    expected = expected_by_chance(bits, users)
    steps = (expected < 1.0, expected < 0.1, expected < 0.01, expected < 0.001)
    return SEVERITIES[sum(steps)]


def ruled(bits: float, users: float) -> Severity:
    """The :func:`severity` of what alerts by rule: `low` at least.

    Examples
    --------
    >>> ruled(0.0, 1000), ruled(25, 1000)
    ('low', 'critical')
    """
    return max(severity(bits, users), "low", key=SEVERITIES.index)


def severities(bits: Floats, users: Floats) -> pl.Series:
    """The :func:`severity` of each of (n,) bits, among (n,) users.

    Examples
    --------
    >>> severities(np.array([5.0, 25.0]), np.array([1000.0, 1000.0])).to_list()
    ['info', 'critical']
    """
    expected = users * np.exp2(-bits)
    steps = sum((expected < limit).astype(np.int64) for limit in (1.0, 0.1, 0.01, 0.001))
    return pl.Series("severity", SEVERITIES, dtype=pl.String).gather(np.asarray(steps))


def once_in(bits: float, users: float, period_days: float = 1.0) -> str:
    """How often chance gives `bits` to some user here, in words.

    Examples
    --------
    >>> once_in(18.7, 1000)
    'by chance at most once in 14 months'
    >>> once_in(3.0, 1000)
    'by chance up to 125 times a day'
    """
    days = period_days / expected_by_chance(bits, max(users, 1.0)) if bits < 1000 else math.inf
    if days < 1:
        return f"by chance up to {_figure(1 / days)} {'time' if round(1 / days) == 1 else 'times'} a day"
    for unit, length in (("year", DAYS_PER_YEAR), ("month", DAYS_PER_YEAR / 12), ("day", 1.0)):
        if days >= 2 * length:
            return f"by chance at most once in {_figure(days / length)} {unit}s"
    return "by chance at most once a day"


def _figure(value: float) -> str:
    if value >= 1e6:
        return "over a million"
    return f"{value:,.0f}" if value < 1000 else f"{float(f'{value:.2g}'):,.0f}"
