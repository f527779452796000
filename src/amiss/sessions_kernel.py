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
    """`order` stably sorted by user, in one counting pass."""
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
    return grouped


@njit(cache=True, nogil=True)
def follow(order, time, user, state, before_state, before_time, session_gap):
    """Time, user, state, previous and gap of the events in `order`; the arrays `before_...` move on."""
    n = len(order)
    out_time = np.empty(n, dtype=np.int64)
    out_user = np.empty(n, dtype=np.uint32)
    out_state = np.empty(n, dtype=np.int32)
    previous = np.empty(n, dtype=np.int32)
    gap = np.empty(n, dtype=np.int64)
    for k in range(n):
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
    return out_time, out_user, out_state, previous, gap
