"""The compiled pass behind :mod:`amiss.masquerade`: each block is judged by those before it, then learned."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

HIGHEST = 1e100


class Setting(NamedTuple):
    """The parameters of :class:`amiss.masquerade.Habits`, as numbers."""

    half_life: float
    damping: float
    prior: float
    pair_prior: float
    worth: float
    price: float
    start: float
    stay: float


@njit(cache=True, nogil=True, error_model="numpy")
def _learn(values, givens, pairs, weight, seen, seen_pairs, own, own_pairs, own_rows):
    """Count each value and each pair of a block once, with a weight; how much all values weigh then more."""
    more = 0.0
    for at in range(len(values)):
        v, pair = values[at], pairs[at]
        if not seen[v]:
            seen[v] = True
            own[v] += weight
            more += weight
        if not seen_pairs[pair]:
            seen_pairs[pair] = True
            own_pairs[pair] += weight
            own_rows[givens[at]] += weight
    for at in range(len(values)):
        seen[values[at]] = False
        seen_pairs[pairs[at]] = False
    return more


@njit(cache=True, nogil=True, error_model="numpy")
def follow(first, learned, values, givens, pairs, chances, fresh, pair_chances, setting, bits, evidence):
    """Fill the bits and the evidence of each block behind the first `learned`.

    Block number n has the places from `first[n]` to `first[n + 1]`. `chances` (of values) and `pair_chances` are
    everyone's; `fresh` is the chance of a value that comes new to the user.
    """
    own, own_rows, own_pairs = np.zeros(len(chances)), np.zeros(len(chances) + 1), np.zeros(len(pair_chances))
    seen, seen_pairs = np.zeros(len(chances), dtype=np.bool_), np.zeros(len(pair_chances), dtype=np.bool_)
    count, pair_count = np.zeros(len(chances)), np.zeros(len(pair_chances))
    growth, weight, whole = 2.0 ** (1.0 / setting.half_life), 1.0, 0.0
    odd = setting.start / (setting.start + 1.0 - setting.stay)
    for block in range(len(first) - 1):
        low, high = first[block], first[block + 1]
        keep = 1.0
        if block >= learned:
            alone, after = 0.0, 0.0
            prior, pair_prior = weight * setting.prior, weight * setting.pair_prior
            for at in range(low, high):
                count[values[at]] += 1.0
                pair_count[pairs[at]] += 1.0
            for at in range(low, high):
                v, pair = values[at], pairs[at]
                if pair_count[pair] > 0.0:
                    p0 = (own[v] + prior * fresh[v]) / (whole + prior)
                    if count[v] > 0.0:
                        alone += count[v] ** setting.damping * math.log2(chances[v] / p0)
                        count[v] = 0.0
                    p = (own_pairs[pair] + pair_prior * p0) / (own_rows[givens[at]] + pair_prior)
                    after += pair_count[pair] ** setting.damping * math.log2(pair_chances[pair] / p)
                    pair_count[pair] = 0.0
            bits[block - learned] = (alone + after) / 2.0
            said = setting.worth * bits[block - learned] - setting.price
            before = odd * setting.stay + (1.0 - odd) * setting.start if block > learned else odd
            evidence[block - learned] = math.log2(before / (1.0 - before)) + said
            keep = 1.0 / (1.0 + 2.0 ** evidence[block - learned])
            odd = 1.0 - keep
        whole += _learn(
            values[low:high], givens[low:high], pairs[low:high], weight * keep,
            seen, seen_pairs, own, own_pairs, own_rows,
        )  # fmt: skip
        weight *= growth
        if weight > HIGHEST:
            own /= weight
            own_pairs /= weight
            own_rows /= weight
            whole /= weight
            weight = 1.0
