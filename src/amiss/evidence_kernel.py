"""The compiled pass that follows evidence over the events of each user; see :mod:`amiss.evidence`."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

_FAR: Final = 256.0
"""The power of two from which on numbers are scaled; no power of it leaves the range of floats."""


class Stood(NamedTuple):
    """Where users stand, by code: events so far, evidence now and at its peak, levels reached, E and who spoke.

    The last three by detector.
    """

    events: npt.NDArray[np.int64]
    now: npt.NDArray[np.float64]
    peak: npt.NDArray[np.float64]
    level: npt.NDArray[np.int64]
    mass: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    spoke: npt.NDArray[np.bool_]


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _moved(mass, scale, weight, bits):
    """E, as mass * 2^scale with a scale of at least 0, after one more event."""
    mass += weight if scale == 0.0 else weight * 2.0**-scale
    if abs(bits) < _FAR:
        mass *= np.exp2(bits)
    else:
        whole = math.floor(bits)
        mass *= np.exp2(bits - whole)
        scale += whole
        while scale < 0.0:
            mass *= 2.0 ** -min(-scale, _FAR)
            scale += min(-scale, _FAR)
    while mass > 2.0**_FAR:
        mass *= 2.0**-_FAR
        scale += _FAR
    while scale > 0.0 and mass < 1.0:
        step = min(scale, _FAR)
        mass *= 2.0**step
        scale -= step
    return mass, scale


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _together(mass, scale, spoke, rest):
    """The evidence of all detectors that spoke, in bits."""
    top, speaking, total = 0.0, 0, 0.0
    for d in range(len(mass)):
        top = max(top, scale[d]) if spoke[d] else top
        speaking += spoke[d]
    if speaking == 0:
        return 0.0
    for d in range(len(mass)):
        if spoke[d]:
            total += mass[d] * 2.0 ** (scale[d] - top) + rest * 2.0**-top if top > 0.0 else mass[d] + rest
    return math.log2(total / speaking) + top


@njit(cache=True, nogil=True, error_model="numpy")
def follow(users, first, bits, stood, levels, running, ascended):
    """Evidence of all detectors (d, n) together after each event, into `running`; what `stood` says moves on.

    Fills `ascended` with the events at which a user reaches a level for the first time, and which; their number.
    """
    found = 0
    for number in range(len(users)):
        user = np.int64(users[number])
        mass, scale, spoke = stood.mass[user], stood.scale[user], stood.spoke[user]
        k, now, peak, level = stood.events[user], stood.now[user], stood.peak[user], stood.level[user]
        for i in range(first[number], first[number + 1]):
            k += 1
            weight = 0.5 if k == 1 else 0.5 / (np.float64(k) * (k - 1))
            for d in range(len(bits)):
                spoke[d] = spoke[d] or bits[d, i] != 0.0
                mass[d], scale[d] = _moved(mass[d], scale[d], weight, bits[d, i])
            now = _together(mass, scale, spoke, 0.5 / k)
            peak = max(peak, now)
            running[i] = now
            if level < len(levels) and now >= levels[level]:
                while level < len(levels) and now >= levels[level]:
                    level += 1
                ascended[0, found], ascended[1, found] = i, level
                found += 1
        stood.events[user], stood.now[user], stood.peak[user], stood.level[user] = k, now, peak, level
    return found
