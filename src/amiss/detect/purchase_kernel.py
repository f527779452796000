"""The compiled pass behind :mod:`amiss.detect.purchase`, which says what is computed."""

from __future__ import annotations

import math
from typing import Final

from numba import njit

from amiss.network_kernel import LOG_STEPS

OCTAVE: Final = 0.25
"""The variance, in octaves squared, that two purchases before all others would have."""

ACCIDENT: Final = 1e-3
"""The chance that somebody buys something of any price."""

ANY_PRICE: Final = 4.0
"""How far apart such prices lie, in octaves."""

SHIFT: Final = 2.0
"""By how many octaves who is odd spends more."""

WIDER: Final = 1.0
"""How much wider that lies, in octaves."""

MOST_FREEDOM: Final = 8.0


@njit(cache=True, nogil=True, error_model="numpy")
def student(x, freedom):
    """The density of Student's t."""
    scale = math.lgamma((freedom + 1.0) / 2.0) - math.lgamma(freedom / 2.0) - 0.5 * math.log(freedom * math.pi)
    return math.exp(scale - (freedom + 1.0) / 2.0 * math.log1p(x * x / freedom))


@njit(cache=True, nogil=True, error_model="numpy")
def usual(count, logs, squares, own, own_total, own_squares):
    """What is usual, in octaves, by the network's purchases and the user's own: middle, scale, degrees of freedom."""
    near = logs / (LOG_STEPS * count)
    apart = max(0.0, squares / (LOG_STEPS * LOG_STEPS) - count * near * near)
    variance, freedom = (apart + 2.0 * OCTAVE) / (count + 2.0), min(count + 1.0, MOST_FREEDOM)
    weight, sums = 1.0 + own, freedom * variance
    middle = near
    if own > 0.0:
        mean = own_total / own
        middle = (near + own_total) / weight
        sums += max(0.0, own_squares - own * mean * mean) + own / weight * (mean - near) ** 2
    freedom += own
    return middle, math.sqrt(sums / freedom * (1.0 + 1.0 / weight)), freedom


@njit(cache=True, nogil=True, error_model="numpy")
def judge(near, own, steps, silent, bits, surprisal):
    """Write bits and surprisal of purchases, after the sums of the network's (3, n) and of the user's own (3, n)."""
    for at in range(len(steps)):
        if silent[at]:
            continue
        middle, scale, freedom = usual(near[0, at], near[1, at], near[2, at], own[0, at], own[1, at], own[2, at])
        away = steps[at] / LOG_STEPS - middle
        known = student(away / scale, freedom) / scale
        p = (1.0 - ACCIDENT) * known + ACCIDENT * student(away / ANY_PRICE, 3.0) / ANY_PRICE
        wide = math.sqrt(scale * scale + WIDER * WIDER)
        q = 0.5 * p + 0.5 * student((away - SHIFT) / wide, freedom) / wide
        bits[at] = math.log2(q / p)
        surprisal[at] = max(0.0, -math.log2(p / 4.0))
