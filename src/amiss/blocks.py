"""Grouped events in blocks of whole users, worked on by all processors at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Result = TypeVar("Result")
Number = TypeVar("Number", bound=np.generic)

LARGEST: Final = 100_000
SMALLEST: Final = 20_000
"""Events of a block."""


def by_block(first: Ints, work: Callable[[int, int], Result]) -> list[Result]:
    """What `work` gives for consecutive blocks of users (from, to), in order.

    Parameters
    ----------
    first : (u + 1,)
        Where the events of each user begin, and the number of events.
    work
        Is called from several threads; compiled passes let them run side by side.

    Examples
    --------
    >>> by_block(np.array([0, 15_000, 40_000, 41_000]), lambda low, high: (low, high))
    [(0, 1), (1, 2), (2, 3)]
    """
    blocks = list(_blocks(first, _size(int(first[-1]))))
    if len(blocks) <= 1:
        return [work(low, high) for low, high in blocks]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda users: work(*users), blocks))


def _size(events: int) -> int:
    """Events of a block, so that all processors have work and none waits long for the last."""
    return min(LARGEST, max(SMALLEST, events // (2 * (os.cpu_count() or 1))))


def _blocks(first: Ints, size: int) -> Iterator[tuple[int, int]]:
    """Ranges of users with up to `size` events each, or of one user with more."""
    low, users = 0, len(first) - 1
    while low < users:
        high = int(np.searchsorted(first, first[low] + size, side="right")) - 1
        high = min(max(high, low + 1), users)
        yield low, high
        low = high


def highest(codes: npt.NDArray[np.uint32]) -> int:
    """The highest of codes, -1 of none; that of one takes less time.

    Examples
    --------
    >>> highest(np.array([3, 7], dtype=np.uint32)), highest(np.zeros(0, dtype=np.uint32))
    (7, -1)
    """
    if len(codes) == 1:
        return int(codes[0])
    return int(codes.max()) if len(codes) else -1


def frozen(array: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """The array as one that cannot be written to: compiled passes take such, and so are compiled once."""
    view = np.ascontiguousarray(array)[:]
    view.flags.writeable = False
    return view
