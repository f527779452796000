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
    """`order` stably sorted by user, in one counting pass, and where the events of each user begin in it (u + 1,).

    An empty `order` is that in which the events stand. Users without events are left out.
    """
    at = np.zeros(users + 1, dtype=np.int64)
    for code in user:
        at[code + 1] += 1
    present = 0
    for code in range(users):
        present += at[code + 1] > 0
        at[code + 1] += at[code]
    first = np.zeros(present + 1, dtype=np.int64)
    present = 0
    for code in range(users):
        if at[code + 1] > at[code]:
            present += 1
            first[present] = at[code + 1]
    grouped = np.empty(len(user), dtype=np.uint32)
    for k in range(len(user)):
        i = order[k] if len(order) else k
        code = user[i]
        grouped[at[code]] = i
        at[code] += 1
    return grouped, first


@njit(cache=True, nogil=True)
def follow(order, coded, last_state, last_time, session_gap, outcomes, out):
    """Fill `out` (position, time, user, state, previous, gap) for the events in `order`.

    `coded` is position, time, user, action, outcome; the arrays `last_...`, by user code, move on.
    """
    position, time, user, action, outcome = coded
    out_position, out_time, out_user, out_state, previous, gap = out
    for k in range(len(order)):
        i = order[k]
        code = user[i]
        state = np.int32(outcomes * action[i] + outcome[i])
        since = max(np.int64(0), time[i] - last_time[code])
        starts = last_state[code] < 0 or since > session_gap
        out_position[k] = position[i]
        out_time[k] = time[i]
        out_user[k] = code
        out_state[k] = state
        previous[k] = -1 if starts else last_state[code]
        gap[k] = -1 if starts else since
        last_state[code] = state
        last_time[code] = time[i]
