"""The compiled pass behind :mod:`amiss.bollinger`: the moving mean and deviation of many series of counts."""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def follow(series, period, count, first, start, factor, k, bands):
    """Fill in the bands of each series, period by period.

    Series i has the counts first[i]:first[i+1], its periods rise, and its rows begin at start[i]; periods without a
    count are 0. Each step makes the weight of all earlier ones `factor` times as much; the deviation is corrected for
    bias, and NaN where a single period is all there is. The share of the band is NaN where it is no number.
    """
    of, when, filled, mid, upper, lower, share, flagged = bands
    for number in range(len(first) - 1):
        at, row, now = first[number], start[number], period[first[number]]
        mean, variance, weight, total, squares = float(count[at]), 0.0, 0.0, 0.0, 0.0
        while at < first[number + 1]:
            value = 0.0
            if period[at] == now:
                value = float(count[at])
                at += 1
            total *= factor
            squares *= factor * factor
            weight *= factor
            before = mean
            if mean != value:
                mean = (weight * before + value) / (weight + 1.0)
            apart, off = before - mean, value - mean
            variance = (weight * (variance + apart * apart) + off * off) / (weight + 1.0)
            total += 1.0
            squares += 1.0
            weight += 1.0
            square = total * total
            deviation = math.sqrt(square / (square - squares) * variance) if square > squares else np.nan
            of[row], when[row], filled[row], mid[row] = series[first[number]], now, value, mean
            upper[row], lower[row] = mean + deviation * k, mean - deviation * k
            part = (value - lower[row]) / (upper[row] - lower[row])
            share[row] = part if np.isfinite(part) else np.nan
            flagged[row] = share[row] > 1.0
            now += 1
            row += 1


@njit(cache=True, nogil=True)
def merged(keys, counts, more, more_counts):
    """Two rising lists of keys with their counts as one, the counts of keys in both added up."""
    together = np.empty(len(keys) + len(more), keys.dtype)
    sums = np.empty(len(together), counts.dtype)
    i, j, size = 0, 0, 0
    while i < len(keys) or j < len(more):
        ahead = j == len(more) or (i < len(keys) and keys[i] <= more[j])
        both = ahead and j < len(more) and keys[i] == more[j]
        together[size] = keys[i] if ahead else more[j]
        sums[size] = (counts[i] if ahead else 0) + (more_counts[j] if both or not ahead else 0)
        i += ahead
        j += both or not ahead
        size += 1
    return together[:size], sums[:size]
