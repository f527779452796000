"""The compiled pass that adds counts up: two ordered tables go side by side."""

from __future__ import annotations

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
