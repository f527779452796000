"""The compiled pass that puts gaps into bins."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

NO_GAP: Final = -1


@njit(cache=True, nogil=True)
def gap_bins(gap, per_second):
    """How many bits the gap has in ticks of 1/`per_second` second; -1 where there is no gap."""
    bins = np.empty(len(gap), dtype=np.int32)
    for i in range(len(gap)):
        ticks = gap[i] * per_second // 1_000_000
        size = NO_GAP if gap[i] < 0 else 0
        while ticks > 0:
            ticks >>= 1
            size += 1
        bins[i] = size
    return bins
