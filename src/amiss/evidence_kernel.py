"""The compiled pass that follows evidence over the events of each user; see :mod:`amiss.evidence`."""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def log2_sum(a, b):
    """log2(2^a + 2^b) without overflow; a sum with nothing (-inf) is the other."""
    high, low = max(a, b), min(a, b)
    return high if low == -np.inf else high + math.log2(1.0 + 2.0 ** (low - high))


@njit(cache=True, nogil=True)
def follow(first, bits, events, begun, running):
    """Running evidence after each event; `events` (k) and `begun` (log2 of E) move on by user."""
    for user in range(len(first) - 1):
        k, e = events[user], begun[user]
        for i in range(first[user], first[user + 1]):
            k += 1
            weight = 0.5 if k == 1 else 0.5 / (np.float64(k) * (k - 1))
            e = log2_sum(e, math.log2(weight)) + bits[i]
            running[i] = log2_sum(e, -1.0 - math.log2(np.float64(k)))
        events[user], begun[user] = k, e


@njit(cache=True, nogil=True)
def together(first, bits, running, total):
    """Running evidence of all detectors (d, n) together; see :func:`amiss.evidence.together`."""
    for user in range(len(first) - 1):
        speaking = 0
        for detector in range(len(bits)):
            silent = True
            for i in range(first[user], first[user + 1]):
                if bits[detector, i] != 0.0:
                    silent = False
                    break
            if silent:
                continue
            speaking += 1
            for i in range(first[user], first[user + 1]):
                before = total[i] if speaking > 1 else -np.inf
                total[i] = log2_sum(before, running[detector, i])
        for i in range(first[user], first[user + 1]):
            total[i] = total[i] - math.log2(np.float64(speaking)) if speaking > 0 else 0.0
