"""Bits: what evidence is, how it runs over time, how it combines, how rare it is.

For one event the evidence is ``bits = log2(q / p)``: `p` the chance of the event if the user is normal, `q` if
the user is odd, both fixed before the event is seen. While the user is normal, 2^bits is at most 1 on average, so
the products of 2^bits are a test martingale and P(evidence ever reaches b) is at most 2^-b (Ville's inequality).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.blocks import by_block, frozen
from amiss.severity import SEVERITIES, Severity

Floats = npt.NDArray[np.float64]

DAYS_PER_YEAR: Final = 365.25

STANDING_SCHEMA: Final[dict[str, pl.DataType]] = {"user": pl.UInt32(), "events": pl.Int64(), "begun": pl.Float64()}
"""Where users stand with one detector in one period: events so far, and log2 of the evidence that has begun."""


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


def groups(user: pl.Series) -> npt.NDArray[np.int64]:
    """Where the users of grouped events begin, and the number of events: (u + 1,).

    Examples
    --------
    >>> groups(pl.Series([7, 7, 9]))
    array([0, 2, 3])
    """
    codes = user.to_numpy()
    begins = np.append(True, codes[1:] != codes[:-1]) if len(codes) else np.zeros(0, dtype=np.bool_)
    return np.append(np.flatnonzero(begins), len(codes))


def follow(user: pl.Series, bits: Floats, standing: pl.DataFrame | None = None) -> tuple[Floats, pl.DataFrame]:
    """The running evidence after each event in bits, and where users stand behind them.

    With ``E`` the evidence that has begun and `w` the :func:`onset_weight` of the user's k-th event,
    ``E = (E + w) * 2^bits`` and the running evidence is ``log2(E + unspent(k))``.

    Parameters
    ----------
    user, bits : (n,)
        Events in groups: those of a user together, in order.
    standing : (u, 3) `STANDING_SCHEMA`
        What the call before returned second; none at the start of a period.

    Examples
    --------
    >>> running, standing = follow(pl.Series([7, 7], dtype=pl.UInt32), np.array([3.0, -1.0]))
    >>> running.round(3)
    array([2.17 , 1.248])
    >>> standing.rows()
    [(7, 2, 1.087462...)]

    Source
    ------
    The mixture over the moment of change: Shiryaev 1963, "On optimum methods in quickest detection problems"; as a
    test martingale: Ramdas, Grunwald, Vovk, Shafer 2023, "Game-theoretic statistics and safe anytime-valid inference".
    """
    from amiss import evidence_kernel as kernel

    first = groups(user)
    now = pl.DataFrame({"user": user.gather(first[:-1])}, schema_overrides={"user": pl.UInt32})
    before = pl.DataFrame(schema=STANDING_SCHEMA) if standing is None else standing
    events, begun = _standing(now, before)
    running = np.empty(len(user))
    given = frozen(bits)

    def block(low: int, high: int) -> None:
        part = slice(int(first[low]), int(first[high]))
        kernel.follow(first[low : high + 1] - first[low], given[part], events[low:high], begun[low:high], running[part])

    by_block(first, block)
    moved = now.with_columns(pl.Series("events", events), pl.Series("begun", begun))
    return running, pl.concat([before.join(now, on="user", how="anti"), moved]).sort("user")


def together(user: pl.Series, bits: Sequence[Floats], running: Sequence[Floats]) -> Floats:
    """The running evidence of all detectors together after each event, as :func:`combine` gives it.

    The detectors that speak of a user weigh the same; one that gave the user no bits at all, as for want of a past,
    weighs nothing.

    Parameters
    ----------
    user : (n,)
        Events in groups.
    bits, running : one (n,) for each detector

    Examples
    --------
    >>> user = pl.Series([7, 7, 8], dtype=pl.UInt32)
    >>> together(user, [np.array([3.0, 0.0, 1.0]), np.zeros(3)], [np.array([2.0, 2.0, 0.5]), np.zeros(3)])
    array([2. , 2. , 0.5])
    """
    if len(running) == 1:
        return running[0]
    from amiss import evidence_kernel as kernel

    first, given, followed = groups(user), np.stack(bits), np.stack(running)
    total = np.empty(len(user))

    def block(low: int, high: int) -> None:
        part = slice(int(first[low]), int(first[high]))
        kernel.together(first[low : high + 1] - first[low], given[:, part], followed[:, part], total[part])

    by_block(first, block)
    return total


def _standing(users: pl.DataFrame, before: pl.DataFrame) -> tuple[npt.NDArray[np.int64], Floats]:
    """Events so far and log2 of the begun evidence of `users`; 0 and -inf for new ones."""
    known = users.join(before, on="user", how="left", maintain_order="left")
    return known["events"].fill_null(0).to_numpy().copy(), known["begun"].fill_null(-math.inf).to_numpy().copy()


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
