"""The compiled pass behind :mod:`amiss.bollinger`: the moving mean and deviation of many series of counts."""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def follow(period, count, first, start, factor, filled, mid, deviation):
    """Fill in, period by period, the count, the moving mean and the moving deviation of each series.

    Series i has the counts first[i]:first[i+1], its periods rise, and its rows begin at start[i]; periods without a
    count are 0. Each step makes the weight of all earlier ones `factor` times as much; the deviation is corrected for
    bias, and NaN where a single period is all there is.
    """
    for series in range(len(first) - 1):
        at, row, now = first[series], start[series], period[first[series]]
        mean = float(count[at])
        variance, weight, total, squares = 0.0, 1.0, 1.0, 1.0
        filled[row], mid[row], deviation[row] = count[at], mean, np.nan
        at += 1
        while at < first[series + 1]:
            now += 1
            row += 1
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
            filled[row], mid[row] = value, mean
            deviation[row] = math.sqrt(square / (square - squares) * variance) if square > squares else np.nan
