"""The compiled passes behind :mod:`amiss.sessions`: a counting sort by user, and what came before each event."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def is_sorted(time):
    """Whether times never decrease."""
    for i in range(1, len(time)):
        if time[i] < time[i - 1]:
            return False
    return True


@njit(cache=True, nogil=True)
def by_user(user, users, order):
    """`order` stably sorted by user, in one counting pass, and where each code's events begin in it (users + 1,)."""
    at = np.zeros(users + 1, dtype=np.int64)
    for code in user:
        at[code + 1] += 1
    for code in range(users):
        at[code + 1] += at[code]
    grouped = np.empty(len(user), dtype=np.int64)
    for i in order:
        code = user[i]
        grouped[at[code]] = i
        at[code] += 1
    first = np.zeros(users + 1, dtype=np.int64)
    first[1:] = at[:users]
    return grouped, first


@njit(cache=True, nogil=True)
def follow(order, time, user, state, before_state, before_time, session_gap, out):
    """Fill `out` (time, user, state, previous, gap) for the events in `order`; the arrays `before_...` move on."""
    out_time, out_user, out_state, previous, gap = out
    for k in range(len(order)):
        i = order[k]
        code = user[i]
        since = max(np.int64(0), time[i] - before_time[code])
        starts = before_state[code] < 0 or since > session_gap
        out_time[k] = time[i]
        out_user[k] = code
        out_state[k] = state[i]
        previous[k] = -1 if starts else before_state[code]
        gap[k] = -1 if starts else since
        before_state[code] = state[i]
        before_time[code] = time[i]
