"""The compiled passes behind :mod:`amiss.recent`: events in a ring, each knowing the user's one before."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def append(events, ring, head, written):
    """Put events (time, position, user, state) behind the `written` ones, in the places of the oldest; how many then.

    `head` by user is the number of the user's last event, -1 for none; the ring's last column how many events lie
    between it and the one before, -1 where that is no longer in the ring, or never was.
    """
    time, position, user, state = events
    ring_time, ring_position, ring_state, ring_before = ring
    for i in range(len(user)):
        at = written % len(ring_time)
        ring_time[at], ring_position[at], ring_state[at] = time[i], position[i], state[i]
        back = written - head[user[i]]
        ring_before[at] = back - 1 if head[user[i]] >= 0 and back < len(ring_time) else -1
        head[user[i]] = written
        written += 1
    return written


@njit(cache=True, nogil=True)
def numbers(before, head, written, most):
    """The numbers of up to `most` events of a user whose last is `head`, newest first, that are still in the ring."""
    found = np.empty(most, dtype=np.int64)
    count, at, oldest = 0, head, written - len(before)
    while at >= max(oldest, 0) and count < most:
        found[count] = at
        count += 1
        between = before[at % len(before)]
        at = at - 1 - between if between >= 0 else -1
    return found[:count]
