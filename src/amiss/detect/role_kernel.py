"""The compiled pass behind :mod:`amiss.detect.role`, which says what is computed."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from amiss.baseline_kernel import cell_of, priced, row_after
from amiss.detect.chain_kernel import ABSENT, PRIOR, SHARE, in_way, owned, seen_of


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _others(share, home, w):
    """Fill `w` with how common the other groups are among each other."""
    for way in range(len(share)):
        w[way] = share[way] / (1.0 - share[home]) if way != home else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def compare_roles(users, first, given, value, normal, ways, home, past, held, groups, beliefs, bits, surprisal):
    """Compare the events of users with their own past and group, and with the other groups.

    Adds to `bits` and `surprisal` by event; nothing for users whose `home` is no group. Number n of `users` has those
    from `first[n]` to `first[n + 1]` and the weights `beliefs[held[n]]` (users, groups), which move on and of which
    `groups[held[n]]` are there.
    """
    count = len(ways.share)
    prior = np.empty(count)
    for number in range(len(users)):
        user = np.int64(users[number])
        mine = home[user] if user < len(home) else np.int64(-1)
        if mine < 0:
            continue
        w = beliefs[held[number], :count]
        low, high = owned(past.bounds, user)
        _others(ways.share, mine, prior)
        if groups[held[number]] != count:
            groups[held[number]] = count
            for way in range(count):
                w[way] = prior[way]
        for i in range(first[number], first[number + 1]):
            if value[i] == ABSENT:
                continue
            g, v = np.int64(given[i]), np.int64(value[i])
            row = row_after(normal, g)
            cell, everyone = cell_of(normal, row, v), priced(normal, row, v)[0]
            n, of = seen_of(past.given, past.value, past.counts, low, high, given[i], value[i])
            p = (n + PRIOR * in_way(ways, mine, cell, row, everyone, -1, 0, 0)) / (of + PRIOR)
            q = 0.0
            for way in range(count):
                if way != mine:
                    w[way] *= in_way(ways, way, cell, row, everyone, -1, 0, 0)
                    q += w[way]
            for way in range(count):
                w[way] = (1.0 - SHARE) * w[way] / q + SHARE * prior[way]
            bits[i] += math.log2(q / p)
            surprisal[i] -= math.log2(p)
