"""The compiled passes behind :mod:`amiss.baseline`: counts are added up, and values priced."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit


class Rows(NamedTuple):
    """The columns of counts."""

    feature: npt.NDArray[np.uint8]
    user: npt.NDArray[np.uint32]
    given: npt.NDArray[np.int32]
    value: npt.NDArray[np.int32]
    count_: npt.NDArray[np.int64]


@njit(cache=True, nogil=True)
def _order(a, i, b, j):
    """Below, at or above 0 as row i of `a` comes before, with or behind row j of `b`."""
    if a.feature[i] != b.feature[j]:
        return -1 if a.feature[i] < b.feature[j] else 1
    if a.user[i] != b.user[j]:
        return -1 if a.user[i] < b.user[j] else 1
    if a.given[i] != b.given[j]:
        return -1 if a.given[i] < b.given[j] else 1
    if a.value[i] != b.value[j]:
        return -1 if a.value[i] < b.value[j] else 1
    return 0


@njit(cache=True, nogil=True)
def is_ordered(rows):
    """Whether each row comes behind the one before."""
    for i in range(1, len(rows.count_)):
        if _order(rows, i - 1, rows, i) >= 0:
            return False
    return True


@njit(cache=True, nogil=True)
def added(a, b):
    """The sum of two ordered tables, in order and without rows that add up to 0."""
    most = len(a.count_) + len(b.count_)
    feature, user = np.empty(most, dtype=np.uint8), np.empty(most, dtype=np.uint32)
    given, value = np.empty(most, dtype=np.int32), np.empty(most, dtype=np.int32)
    count = np.empty(most, dtype=np.int64)
    i, j, k = 0, 0, 0
    while i < len(a.count_) or j < len(b.count_):
        if j == len(b.count_):
            order = -1
        elif i == len(a.count_):
            order = 1
        else:
            order = _order(a, i, b, j)
        number = np.int64(0)
        if order >= 0:
            feature[k], user[k], given[k], value[k] = b.feature[j], b.user[j], b.given[j], b.value[j]
            number += b.count_[j]
            j += 1
        if order <= 0:
            feature[k], user[k], given[k], value[k] = a.feature[i], a.user[i], a.given[i], a.value[i]
            number += a.count_[i]
            i += 1
        count[k] = number
        k += 1 if number != 0 else 0
    return Rows(feature[:k], user[:k], given[:k], value[:k], count[:k])


class Whole(NamedTuple):
    """Sums over all rows of a chain."""

    known: int
    once: int
    grand: int
    pairs: int
    roots: float


class Normal(NamedTuple):
    """The arrays of a :class:`amiss.baseline.Chain`, sums over them, and the prices of a small one."""

    row_of: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    value: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    row_total: npt.NDArray[np.int64]
    total: npt.NDArray[np.int64]
    flat: npt.NDArray[np.float64]
    whole: Whole
    table: npt.NDArray[
        np.float64
    ]  # (rows + 1, values + 1, 3): p, p flattened, log2(p); the last row for givens without one


@njit(cache=True, nogil=True, error_model="numpy")
def whole(value, total):
    """Sums over a chain with these values of pairs and totals of values."""
    known, once, grand, roots = 0, 0, 0, 0.0
    for code in range(len(total)):
        if total[code] > 0:
            known += 1
            once += total[code] == 1
            grand += total[code]
            roots += math.sqrt(total[code] + 0.5)
    return Whole(known, once, grand, len(value), roots)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def shares(sums, alone):
    """The chance of the never-seen, and what (count + 1/2) of a known value is divided by; `alone`: without a row."""
    known, once = np.float64(sums.known), np.float64(sums.once)
    grand, pairs = np.float64(sums.grand), np.float64(sums.pairs)
    novel = (once + 0.5) / (grand + 1.0) if alone else (known + 0.5) / (pairs + 1.0)
    novel = novel if known > 0.0 else 1.0
    return novel, (grand + known / 2.0) / (1.0 - novel) if known > 0.0 else 1.0


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def row_after(normal, given):
    """The row of the chain after `given`, -1 where there is none."""
    return normal.row_of[given + 1] if given + 1 < len(normal.row_of) else np.int64(-1)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def cell_of(normal, row, value):
    """Where the cell of `value` in `row` stands, -1 where there is none."""
    if row < 0:
        return np.int64(-1)
    low, high = normal.start[row], normal.start[row + 1]
    end = high
    while low < high:
        middle = (low + high) >> 1
        if normal.value[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low if low < end and normal.value[low] == value else np.int64(-1)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def in_row(normal, row, value):
    """The chain's count of `value` in `row`."""
    cell = cell_of(normal, row, value)
    return normal.counts[cell] if cell >= 0 else np.int64(0)


@njit(cache=True, nogil=True, error_model="numpy")
def priced(normal, row, value):
    """The chance p of a value in `row`, -1 for none, that of p flattened (sqrt(p), normalised), and log2(p)."""
    known = value < len(normal.total) and normal.total[value] > 0
    distinct, of, n = 1.0, 0.0, 0.0
    if row >= 0:
        distinct = max(1.0, np.float64(normal.start[row + 1] - normal.start[row]))
        of = np.float64(normal.row_total[row])
        n = np.float64(in_row(normal, row, value)) if known else 0.0
    unseen, scale = shares(normal.whole, row < 0)
    p0 = (normal.total[value] + 0.5) / scale if known else unseen
    p = (n + distinct * p0) / (of + distinct)
    return p, math.sqrt(p) / normal.flat[row], math.log2(p)


@njit(cache=True, nogil=True, error_model="numpy")
def tabulate(normal, table):
    """Fill a table with all prices."""
    for row in range(-1, len(normal.row_total)):
        for value in range(len(normal.total) + 1):
            table[row, value, 0], table[row, value, 1], table[row, value, 2] = priced(normal, row, value)


@njit(cache=True, nogil=True, error_model="numpy")
def chances(normal, given, value):
    """The chance of each of some values after its given: (n,)."""
    found = np.empty(len(given))
    for at in range(len(given)):
        row, v = row_after(normal, np.int64(given[at])), np.int64(value[at])
        found[at] = (
            normal.table[row, min(v, len(normal.total)), 0] if len(normal.table) > 0 else priced(normal, row, v)[0]
        )
    return found
