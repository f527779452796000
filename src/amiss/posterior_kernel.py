"""The compiled pass behind :mod:`amiss.posterior`: a user as a class of their own, after each thing that they did."""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def alone_along(cell, feature, row, mean, most, strength, bits):
    """Fill in bits (n,): what all that a user did up to each step costs as a class of its own.

    cell (n,) is what the step was, ordered by time; feature, row and mean (c,) belong to cells: rows are numbered from
    0, `mean` are counts that everybody lends. Counts of a feature add up to `most` at the most.
    """
    features, rows = feature.max() + 1, row.max() + 1
    count, within = np.zeros(len(feature)), np.zeros(rows)
    every, costs = np.zeros(features), np.zeros(features)
    seen, known = np.empty((features, len(feature)), np.int64), np.zeros(features, np.int64)
    for step in range(len(cell)):
        here = cell[step]
        kind = feature[here]
        if count[here] == 0.0:
            seen[kind, known[kind]] = here
            known[kind] += 1
        within[row[here]] += 1.0
        count[here] += 1.0
        every[kind] += 1.0
        if every[kind] <= most:
            costs[kind] += math.log(mean[here] + count[here] - 1.0) - math.log(strength + within[row[here]] - 1.0)
        else:
            costs[kind] = _whole(seen[kind, : known[kind]], count, row, within, mean, most / every[kind], strength)
        bits[step] = costs.sum() / math.log(2.0)


@njit(cache=True, nogil=True)
def _whole(seen, count, row, within, mean, scale, strength):
    """The cost of all that was done of a feature, counts taken `scale` times."""
    whole, told = 0.0, np.zeros(len(within), np.bool_)
    for here in seen:
        whole += math.lgamma(mean[here] + scale * count[here]) - math.lgamma(mean[here])
        if not told[row[here]]:
            told[row[here]] = True
            whole += math.lgamma(strength) - math.lgamma(strength + scale * within[row[here]])
    return whole
