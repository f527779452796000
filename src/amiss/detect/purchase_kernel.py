"""The compiled pass behind :mod:`amiss.detect.purchase`, which says what is computed."""

from __future__ import annotations

import math
from typing import Final

from numba import njit

from amiss.network_kernel import LOG_STEPS

PRIOR_PURCHASES: Final = 10.0
"""How many purchases of the network the variance of all users' purchases is worth."""

BETWEEN: Final = 0.25
"""The variance of what users of a network spend on average, in octaves squared, before it is known."""

PRIOR_PEOPLE: Final = 5.0
"""How many users that is worth."""

ACCIDENT: Final = 1e-3
"""The chance that somebody buys something of any price."""

ANY_PRICE: Final = 4.0
"""How far apart such prices lie, in octaves."""

SHIFT: Final = 2.0
"""By how many octaves who is odd spends more."""

WIDER: Final = 1.0
"""How much wider that lies, in octaves."""

MOST_FREEDOM: Final = 30.0


@njit(cache=True, nogil=True, error_model="numpy")
def student(x, freedom):
    """The density of Student's t."""
    scale = math.lgamma((freedom + 1.0) / 2.0) - math.lgamma(freedom / 2.0) - 0.5 * math.log(freedom * math.pi)
    return math.exp(scale - (freedom + 1.0) / 2.0 * math.log1p(x * x / freedom))


@njit(cache=True, nogil=True, error_model="numpy")
def variances(count, people, logs, squares, within, everybody):
    """How purchases of a network differ, in octaves squared: those of the same user, and what users spend on average.

    `everybody` is the first of these over all users.
    """
    near, unit = logs / (LOG_STEPS * count), LOG_STEPS * LOG_STEPS
    apart, same = max(0.0, squares / unit - count * near * near), within / unit
    one = (same + PRIOR_PURCHASES * everybody) / (count - people + PRIOR_PURCHASES)
    if people < 2.0:
        return one, BETWEEN
    between = max(0.0, (max(0.0, apart - same) / (people - 1.0) - one) * people / count)
    return one, ((people - 1.0) * between + PRIOR_PEOPLE * BETWEEN) / (people - 1.0 + PRIOR_PEOPLE)


@njit(cache=True, nogil=True, error_model="numpy")
def usual(near, everybody, own, own_total, own_squares):
    """What is usual, in octaves, by the network's purchases and the user's own: middle, scale, degrees of freedom."""
    count, people, logs, squares, within = near
    mean, freedom = logs / (LOG_STEPS * count), min(count + 1.0, MOST_FREEDOM)
    one, between = variances(count, people, logs, squares, within, everybody)
    worth = one / (between * (1.0 + 1.0 / people))
    weight, sums = worth + own, freedom * one
    middle = (worth * mean + own_total) / weight
    if own > 0.0:
        level = own_total / own
        sums += max(0.0, own_squares - own * level * level) + worth * own / weight * (level - mean) ** 2
    freedom += own
    return middle, math.sqrt(sums / freedom * (1.0 + 1.0 / weight)), freedom


@njit(cache=True, nogil=True, error_model="numpy")
def judge(near, own, everybody, steps, silent, bits, surprisal):
    """Write bits and surprisal of purchases, after the sums of the network's (5, n) and of the user's own (3, n)."""
    for at in range(len(steps)):
        if silent[at]:
            continue
        network = (near[0, at], near[1, at], near[2, at], near[3, at], near[4, at])
        middle, scale, freedom = usual(network, everybody, own[0, at], own[1, at], own[2, at])
        away = steps[at] / LOG_STEPS - middle
        known = student(away / scale, freedom) / scale
        p = (1.0 - ACCIDENT) * known + ACCIDENT * student(away / ANY_PRICE, 3.0) / ANY_PRICE
        wide = math.sqrt(scale * scale + WIDER * WIDER)
        q = 0.5 * p + 0.5 * student((away - SHIFT) / wide, freedom) / wide
        bits[at] = math.log2(q / p)
        surprisal[at] = max(0.0, -math.log2(p / 4.0))


@njit(cache=True, nogil=True, error_model="numpy")
def expect(near, own, everybody, ratio, first, steps_an_octave, silent, expected):
    """Write what a ratio of amounts, known by steps of an octave, is on average for purchases as they are usual."""
    for at in range(len(expected)):
        if silent[at]:
            continue
        network = (near[0, at], near[1, at], near[2, at], near[3, at], near[4, at])
        middle, scale, freedom = usual(network, everybody, own[0, at], own[1, at], own[2, at])
        whole, told = 0.0, 0.0
        for step in range(len(ratio)):
            away = (first + step + 0.5) / steps_an_octave - middle
            weight = (1.0 + (away / scale) ** 2 / freedom) ** (-(freedom + 1.0) / 2.0)
            whole += weight
            told += weight * ratio[step]
        if whole > 0.0:
            expected[at] = told / whole
