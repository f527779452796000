"""The compiled pass behind :mod:`amiss.series`: each value is judged by those before it, then learned."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

LEVEL, SEASON, SPIKE = range(3)
STATISTICS = 3
DAYS, WEEKS = 4, 3
SUPPORT = 2
TINY = 1e-12
GRAIN = 1e-6
NORMAL = 1.25
MOST_Z = 1e150
SLOWEST = 0.6
SMALLEST_STEP = 0.02


class Setting(NamedTuple):
    """The parameters of :class:`amiss.series.Outlook`, as numbers."""

    recent: float
    memory: float
    rare: float
    slots: int
    freedom: float
    clip: float
    tail: float
    prior: float
    fade: float


@njit(cache=True, nogil=True)
def judged(values, clock, weekday, setting):
    """Bits of each value by each statistic (columns), and what they say beyond what was said just before."""
    rows, slots = len(values), setting.slots
    bits = np.zeros((rows, STATISTICS))
    fresh = np.zeros(rows)
    scale, weight = np.zeros(STATISTICS), np.zeros(STATISTICS)
    edge, tails, excess, mass, seen = (
        np.zeros(STATISTICS), np.full(STATISTICS, setting.prior), np.full(STATISTICS, setting.prior),
        np.full(STATISTICS, setting.tail), np.ones(STATISTICS),
    )  # fmt: skip
    day, days = np.zeros(slots), np.zeros(slots)
    week, weeks = np.zeros(7 * slots), np.zeros(7 * slots)
    off = np.zeros(STATISTICS)
    error, errors = np.zeros(2), 0.0
    keep, hold = 1 - 1 / setting.memory, 1 - 1 / setting.rare
    now, slow, drift, said = 0.0, 0.0, 0.0, 0.0
    slot, sum_, points, count, known = -1, 0.0, 0, 0, 0
    for row in range(rows):
        x = values[row]
        if math.isnan(x):
            continue
        here = weekday[row] * slots + int(clock[row] * slots)
        if here != slot:
            if points:
                _close(day, days, slot % slots, sum_ / points, DAYS)
                _close(week, weeks, slot, sum_ / points, WEEKS)
            slot, sum_, points = here, 0.0, 0
        sum_ += x
        points += 1
        if count == 0:
            now, slow, count = x, x, 1
            continue
        place = slot % slots
        by_day = day[place] if days[place] > 0 else slow
        by_week = week[slot] if weeks[slot] >= SUPPORT else by_day
        expected = by_week if error[1] < error[0] else by_day
        quick, late = max(1 / setting.recent, 1 / (count + 1)), max(1 / setting.memory, 1 / (count + 1))
        off[SPIKE] = x - now
        now += quick * (x - now)
        if days[place] > 0:
            drift += max(1 / setting.recent, 1 / (known + 1)) * (x - expected - drift)
            known += 1
        off[LEVEL] = now - slow
        off[SEASON] = drift
        together = 0.0
        for k in range(STATISTICS):
            if k == SEASON and days[place] == 0:
                continue
            usual = scale[k] / weight[k] if weight[k] > 0 else abs(off[k]) + TINY
            usual = max(usual, GRAIN * (abs(x) + abs(slow)) + TINY)
            z = min(abs(off[k]) / usual, MOST_Z)
            surprise = 0.5 * (setting.freedom + 1) * math.log1p(z * z / setting.freedom)
            beyond = surprise - edge[k]
            if beyond > 0:
                rare = -math.log(mass[k] / seen[k])
                bits[row, k] = (rare + (tails[k] + 1) * math.log1p(beyond / excess[k])) / math.log(2.0)
                together += bits[row, k]
            scale[k] = keep * scale[k] + NORMAL * min(abs(off[k]), setting.clip * usual)
            weight[k] = keep * weight[k] + 1
            seen[k] = hold * seen[k] + 1
            mass[k] *= hold
            tails[k] = setting.prior + hold * (tails[k] - setting.prior)
            excess[k] = setting.prior + hold * (excess[k] - setting.prior)
            if beyond > 0:
                mass[k] += 1
                tails[k] += 1
                excess[k] += beyond
            step = max(SMALLEST_STEP, 1 / (count + 1) ** SLOWEST)
            edge[k] = max(0.0, edge[k] + step * ((1.0 if beyond > 0 else 0.0) - setting.tail))
        fresh[row] = max(0.0, together - said)
        said = max(said * (1 - 1 / setting.fade), together)
        if weeks[slot] >= SUPPORT:
            errors += 1
            learn = max(1 / setting.memory, 1 / errors)
            error[0] += learn * (abs(x - by_day) - error[0])
            error[1] += learn * (abs(x - by_week) - error[1])
        slow += late * (x - slow)
        count += 1
    return bits, fresh


@njit(cache=True, nogil=True)
def _close(mean, times, place, value, most):
    """Add what a slot of time held to what it holds usually: of the last few times."""
    times[place] = min(times[place] + 1, most)
    mean[place] += (value - mean[place]) / times[place]
