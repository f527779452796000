"""The compiled pass behind :mod:`amiss.detect.chain`, which says what is computed. Here stands how.

Users come one after another, each with all events in order. What is counted for one user lives in `Scratch`, whose
arrays are allocated once and wiped cell by cell, so that a user costs what the user's events cost.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from amiss.baseline import Floats, Ints

ABSENT: Final = -1
"""The value of an event that does not show the feature: it gives no evidence."""

NOVEL: Final = -1
"""What a user's own counts call every value that the baseline has never seen."""

EXPERTS: Final = 4
"""What q mixes: the user's own chain, the user's own values, uniform, p flattened."""

SHARE: Final = 0.02
"""The weight that flows back to all experts after each event, so that none is ever given up."""

STRONGEST_PRIOR: Final = 8.0
"""The most events that the prior of the user's own chain may weigh; half an event for each of a thousand values would
keep it from learning."""

PRIOR: Final = 8.0
"""The events that everyone's chances are worth beside the user's own past."""

Codes = npt.NDArray[np.int32]

_FREE: Final = -1
_SPREAD: Final = 0x9E3779B97F4A7C15


class Normal(NamedTuple):
    """The arrays of a :class:`amiss.baseline.Chain`."""

    row_of: Ints
    start: Ints
    value: Ints
    counts: Ints
    row_total: Ints
    total: Ints
    flat: Floats


class Cells(NamedTuple):
    """Counts of users: those of user u stand from `first[u]` to `last[u]`."""

    first: Ints
    last: Ints
    given: Codes
    value: Codes
    counts: Ints


class Scratch(NamedTuple):
    """What is known of the user at hand. Index `given + 1` for rows; the last value stands for the never-seen."""

    keys: Ints  # open addressing: (given + 1) * values + value, or _FREE
    cell_at: Ints  # by slot of `keys`
    slot: Ints  # by cell, as the next four
    given: Ints
    value: Ints
    own: Ints  # the user's share of the baseline, to be left out
    seen: Floats  # how often so far
    row_own: Ints
    row_lost: Ints  # values of the row that only this user showed
    row_seen: Floats
    row_flat: Floats  # sum of the square roots of the row's chances without the user; 0 until asked for
    value_own: Ints
    value_seen: Floats
    value_done: npt.NDArray[np.bool_]
    cells: Ints  # (1,) how many


class Whole(NamedTuple):
    """Sums over all rows of the baseline, without the user's share."""

    known: int
    once: int
    grand: int
    pairs: int
    roots: float


@njit(cache=True, nogil=True, error_model="numpy")
def _scratch(cells, rows, values):
    """An empty scratch for users with up to `cells` different pairs."""
    size = 8
    while size < 2 * cells:
        size *= 2
    return Scratch(
        np.full(size, _FREE, dtype=np.int64),
        np.zeros(size, dtype=np.int64),
        np.zeros(cells, dtype=np.int64),
        np.zeros(cells, dtype=np.int64),
        np.zeros(cells, dtype=np.int64),
        np.zeros(cells, dtype=np.int64),
        np.zeros(cells, dtype=np.float64),
        np.zeros(rows, dtype=np.int64),
        np.zeros(rows, dtype=np.int64),
        np.zeros(rows, dtype=np.float64),
        np.zeros(rows, dtype=np.float64),
        np.zeros(values, dtype=np.int64),
        np.zeros(values, dtype=np.float64),
        np.zeros(values, dtype=np.bool_),
        np.zeros(1, dtype=np.int64),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _mask(scratch, cells):
    """The part of the key table that up to `cells` pairs need, so that few pairs stay in the processor's cache."""
    size = 8
    while size < 2 * min(cells, len(scratch.row_seen) * len(scratch.value_seen)):
        size *= 2
    return size - 1


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _slot(keys, mask, key):
    """Where `key` is, or belongs, in the key table."""
    at = np.int64((np.uint64(key) * np.uint64(_SPREAD)) >> np.uint64(32)) & mask
    while keys[at] != _FREE and keys[at] != key:
        at = (at + 1) & mask
    return at


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _cell(scratch, mask, given, value):
    """The cell of a pair, made if it is new."""
    key = given * len(scratch.value_seen) + value
    at = _slot(scratch.keys, mask, key)
    if scratch.keys[at] == _FREE:
        cell = scratch.cells[0]
        scratch.cells[0] += 1
        scratch.keys[at] = key
        scratch.cell_at[at] = cell
        scratch.slot[cell] = at
        scratch.given[cell] = given
        scratch.value[cell] = value
        scratch.own[cell] = 0
        scratch.seen[cell] = 0.0
    return scratch.cell_at[at]


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _own(scratch, mask, given, value, cap):
    """The user's share of a pair of the baseline."""
    at = _slot(scratch.keys, mask, given * len(scratch.value_seen) + value)
    return min(scratch.own[scratch.cell_at[at]], cap) if scratch.keys[at] != _FREE else 0


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _row(normal, given):
    """The row of the baseline after `given`, -1 where there is none."""
    return normal.row_of[given] if given < len(normal.row_of) else -1


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _in_row(normal, row, value):
    """The baseline's count of `value` in `row`."""
    if row < 0:
        return 0
    low, high = normal.start[row], normal.start[row + 1]
    end = high
    while low < high:
        middle = (low + high) >> 1
        if normal.value[middle] < value:
            low = middle + 1
        else:
            high = middle
    return normal.counts[low] if low < end and normal.value[low] == value else 0


@njit(cache=True, nogil=True, error_model="numpy")
def _whole(normal):
    """Sums over the whole baseline."""
    known, once, grand, roots = 0, 0, 0, 0.0
    for value in range(len(normal.total)):
        if normal.total[value] > 0:
            known += 1
            once += normal.total[value] == 1
            grand += normal.total[value]
            roots += math.sqrt(normal.total[value] + 0.5)
    return Whole(known, once, grand, len(normal.value), roots)


@njit(cache=True, nogil=True, error_model="numpy")
def _shares(whole, alone):
    """The chance of the never-seen, and what (count + 1/2) of a known value is divided by; `alone`: without a row."""
    if whole.known == 0:
        return 1.0, 1.0
    novel = (whole.once + 0.5) / (whole.grand + 1.0) if alone else (whole.known + 0.5) / (whole.pairs + 1.0)
    return novel, (whole.grand + whole.known / 2.0) / (1.0 - novel)


@njit(cache=True, nogil=True, error_model="numpy")
def _leave_out(scratch, normal, whole, cap):
    """The sums without the user, once `own` holds the user's counts."""
    grand, pairs = whole.grand, whole.pairs
    for cell in range(scratch.cells[0]):
        given, value = scratch.given[cell], scratch.value[cell]
        part = min(scratch.own[cell], cap)
        scratch.row_own[given] += part
        scratch.value_own[value] += part
        if _in_row(normal, _row(normal, given), value) == part:
            scratch.row_lost[given] += 1
            pairs -= 1
        grand -= part
    known, once, roots = whole.known, whole.once, whole.roots
    for cell in range(scratch.cells[0]):
        value = scratch.value[cell]
        if scratch.value_done[value]:
            continue
        scratch.value_done[value] = True
        left = normal.total[value] - scratch.value_own[value]
        roots -= math.sqrt(normal.total[value] + 0.5)
        once += (left == 1) - (normal.total[value] == 1)
        if left > 0:
            roots += math.sqrt(left + 0.5)
        else:
            known -= 1
    return Whole(known, once, grand, pairs, roots)


@njit(cache=True, nogil=True, error_model="numpy")
def _left_out_flat(scratch, mask, normal, whole, given, cap):
    """Sum of the square roots of the chances after `given`, without the user."""
    row = _row(normal, given)
    distinct, of = 1.0, 0.0
    if row >= 0:
        distinct = max(1.0, normal.start[row + 1] - normal.start[row] - scratch.row_lost[given])
        of = normal.row_total[row] - scratch.row_own[given]
    novel, scale = _shares(whole, of == 0.0)
    share = math.sqrt(distinct / (of + distinct))
    flat = share * (whole.roots / math.sqrt(scale) + math.sqrt(novel))
    if row >= 0:
        for at in range(normal.start[row], normal.start[row + 1]):
            value = normal.value[at]
            n = normal.counts[at] - _own(scratch, mask, given, value, cap)
            if n > 0:
                p0 = (normal.total[value] - scratch.value_own[value] + 0.5) / scale
                flat += math.sqrt((n + distinct * p0) / (of + distinct)) - share * math.sqrt(p0)
    return flat


@njit(cache=True, nogil=True, error_model="numpy")
def _forget(scratch):
    """Wipe what is known of the user."""
    for cell in range(scratch.cells[0]):
        given, value = scratch.given[cell], scratch.value[cell]
        scratch.keys[scratch.slot[cell]] = _FREE
        scratch.row_own[given] = 0
        scratch.row_lost[given] = 0
        scratch.row_seen[given] = 0.0
        scratch.row_flat[given] = 0.0
        scratch.value_own[value] = 0
        scratch.value_seen[value] = 0.0
        scratch.value_done[value] = False
    scratch.cells[0] = 0


@njit(cache=True, nogil=True, error_model="numpy")
def _recall(scratch, mask, state, user):
    """Take up the user's own counts from before; how many events they hold."""
    novel = len(scratch.value_seen) - 1
    events = 0.0
    for at in range(state.first[user], state.last[user]):
        given = np.int64(state.given[at]) + 1
        value = np.int64(state.value[at]) if state.value[at] != NOVEL else novel
        cell = _cell(scratch, mask, given, value)
        scratch.seen[cell] += state.counts[at]
        scratch.row_seen[given] += state.counts[at]
        scratch.value_seen[value] += state.counts[at]
        events += state.counts[at]
    return events


@njit(cache=True, nogil=True, error_model="numpy")
def _keep(scratch, out, at):
    """Write the user's own counts from `at` on, as they first came; how many cells they are."""
    novel = len(scratch.value_seen) - 1
    kept = 0
    for cell in range(scratch.cells[0]):
        if scratch.seen[cell] > 0.0:
            out.given[at + kept] = scratch.given[cell] - 1
            out.value[at + kept] = scratch.value[cell] if scratch.value[cell] != novel else NOVEL
            out.counts[at + kept] = np.int64(scratch.seen[cell])
            kept += 1
    return kept


@njit(cache=True, nogil=True, error_model="numpy")
def _score(scratch, mask, normal, whole, first, last, given, value, events, w, bits, surprisal, leave_out, cap):
    """Bits and surprisal of the user's events first..last; `w`, the experts' weights, moves on.

    The hot loop, in one piece.
    """
    alphabet = whole.known + 1.0
    shares, shares_alone = _shares(whole, False), _shares(whole, True)
    prior = min(0.5, STRONGEST_PRIOR / alphabet)
    novel = len(scratch.value_seen) - 1
    for i in range(first, last):
        if value[i] == ABSENT:
            bits[i] = 0.0
            surprisal[i] = 0.0
            continue
        g, v = np.int64(given[i]) + 1, np.int64(value[i])
        left = normal.total[v] - scratch.value_own[v] if v < len(normal.total) else 0
        v = v if left > 0 else novel
        cell = _cell(scratch, mask, g, v)
        row = _row(normal, g)
        distinct, of, n = 1.0, 0.0, 0.0
        if row >= 0:
            distinct = max(1.0, normal.start[row + 1] - normal.start[row] - scratch.row_lost[g])
            of = np.float64(normal.row_total[row] - scratch.row_own[g])
            if left > 0:
                n = np.float64(_in_row(normal, row, v) - min(scratch.own[cell], cap))
        unseen, scale = shares if of > 0.0 else shares_alone
        p0 = (left + 0.5) / scale if left > 0 else unseen
        p = (n + distinct * p0) / (of + distinct)
        flat = scratch.row_flat[g] if leave_out else normal.flat[row]
        if flat == 0.0:
            flat = _left_out_flat(scratch, mask, normal, whole, g, cap)
            scratch.row_flat[g] = flat
        own_chain = (scratch.seen[cell] + prior) / (scratch.row_seen[g] + prior * alphabet)
        own_values = (scratch.value_seen[v] + prior) / (events + prior * alphabet)
        flattened = math.sqrt(p) / flat
        q = w[0] * own_chain + w[1] * own_values + w[2] / alphabet + w[3] * flattened
        bits[i] = math.log2(q / p)
        surprisal[i] = -math.log2(p)
        stay = (1.0 - SHARE) / q
        w[0] = stay * w[0] * own_chain + SHARE / EXPERTS
        w[1] = stay * w[1] * own_values + SHARE / EXPERTS
        w[2] = stay * w[2] / alphabet + SHARE / EXPERTS
        w[3] = stay * w[3] * flattened + SHARE / EXPERTS
        scratch.seen[cell] += 1.0
        scratch.row_seen[g] += 1.0
        scratch.value_seen[v] += 1.0
        events += 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _order(scratch, order):
    """Fill `order` with the user's cells by given and value; few need no general sort."""
    cells = scratch.cells[0]
    if cells > 40:
        order[:cells] = np.argsort(scratch.keys[scratch.slot[:cells]])
        return
    for cell in range(cells):
        key = scratch.keys[scratch.slot[cell]]
        at = cell
        while at > 0 and scratch.keys[scratch.slot[order[at - 1]]] > key:
            order[at] = order[at - 1]
            at -= 1
        order[at] = cell


@njit(cache=True, nogil=True, error_model="numpy")
def _highest(codes, more):
    """The highest code in two arrays; -1 where both are empty."""
    highest = np.int64(-1)
    for code in codes:
        highest = max(highest, np.int64(code))
    for code in more:
        highest = max(highest, np.int64(code))
    return highest


@njit(cache=True, nogil=True, error_model="numpy")
def score_users(first, given, value, normal, leave_out, cap, state, weights, bits, surprisal, out, kept):
    """Score the events of users: user u has those from `first[u]` to `first[u + 1]`.

    Fills `bits` and `surprisal` by event, `weights` by user, and `out` with the users' own counts, `kept` of each.
    """
    users = len(first) - 1
    most = 1
    for user in range(users):
        most = max(most, 2 * (first[user + 1] - first[user]) + state.last[user] - state.first[user])
    values = max(_highest(value, state.value) + 1, len(normal.total)) + 1
    scratch = _scratch(most, _highest(given, state.given) + 2, values)
    everyone = _whole(normal)
    written = 0
    for user in range(users):
        mask = _mask(scratch, 2 * (first[user + 1] - first[user]) + state.last[user] - state.first[user])
        whole = everyone
        if leave_out:
            for i in range(first[user], first[user + 1]):
                if value[i] != ABSENT:
                    scratch.own[_cell(scratch, mask, np.int64(given[i]) + 1, np.int64(value[i]))] += 1
            whole = _leave_out(scratch, normal, everyone, cap)
        before = _recall(scratch, mask, state, user)
        _score(
            scratch, mask, normal, whole, first[user], first[user + 1], given, value, before, weights[user],
            bits, surprisal, leave_out, cap,
        )  # fmt: skip
        kept[user] = _keep(scratch, out, written)
        written += kept[user]
        _forget(scratch)


@njit(cache=True, nogil=True, error_model="numpy")
def _everyone(normal, whole, given, value):
    """The baseline's chance of `value` after `given`."""
    row = _row(normal, given)
    unseen, scale = _shares(whole, row < 0)
    total = normal.total[value] if value < len(normal.total) else 0
    p0 = (total + 0.5) / scale if total > 0 else unseen
    if row < 0:
        return p0
    distinct = np.float64(normal.start[row + 1] - normal.start[row])
    n = _in_row(normal, row, value) if total > 0 else 0
    return (n + distinct * p0) / (normal.row_total[row] + distinct)


@njit(cache=True, nogil=True, error_model="numpy")
def compare_users(first, given, value, normal, past, least, bits, surprisal):
    """Compare the events of users with their own past, user u's from `past.first[u]` on, and with everyone's.

    Fills `bits` and `surprisal` by event; nothing for users with fewer than `least` events in the past.
    """
    users = len(first) - 1
    most = 1
    for user in range(users):
        most = max(most, first[user + 1] - first[user] + past.last[user] - past.first[user])
    values = max(_highest(value, past.value) + 1, len(normal.total)) + 1
    scratch = _scratch(most, _highest(given, past.given) + 2, values)
    whole = _whole(normal)
    for user in range(users):
        events = past.counts[past.first[user] : past.last[user]].sum()
        if events < least:
            continue
        mask = _mask(scratch, first[user + 1] - first[user] + past.last[user] - past.first[user])
        _recall(scratch, mask, past, user)
        for i in range(first[user], first[user + 1]):
            if value[i] == ABSENT:
                continue
            g, v = np.int64(given[i]) + 1, np.int64(value[i])
            everyone = _everyone(normal, whole, g, v)
            n = scratch.seen[_cell(scratch, mask, g, v)]
            own = (n + PRIOR * everyone) / (scratch.row_seen[g] + PRIOR)
            bits[i] = math.log2(everyone / own)
            surprisal[i] = -math.log2(own)
        _forget(scratch)


@njit(cache=True, nogil=True, error_model="numpy")
def count_users(first, given, value, out, kept):
    """Count the pairs of each user: fills `out` with their cells in order, `kept` of each."""
    users = len(first) - 1
    most = 1
    for user in range(users):
        most = max(most, first[user + 1] - first[user])
    scratch = _scratch(most, _highest(given, given[:0]) + 2, _highest(value, value[:0]) + 2)
    order = np.empty(most, dtype=np.int64)
    written = 0
    for user in range(users):
        mask = _mask(scratch, first[user + 1] - first[user])
        for i in range(first[user], first[user + 1]):
            if value[i] != ABSENT:
                scratch.seen[_cell(scratch, mask, np.int64(given[i]) + 1, np.int64(value[i]))] += 1.0
        _order(scratch, order)
        for rank in range(scratch.cells[0]):
            cell = order[rank]
            out.given[written] = scratch.given[cell] - 1
            out.value[written] = scratch.value[cell]
            out.counts[written] = np.int64(scratch.seen[cell])
            written += 1
        kept[user] = scratch.cells[0]
        _forget(scratch)
