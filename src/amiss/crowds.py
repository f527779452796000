"""Crowds: users with alerts who do alike, and unlike everybody else; a new group, found by what its members share.

One fraud rarely comes alone. Users with alerts are put into groups by what follows what on their days
(:mod:`amiss.grouping`). Such a group is a crowd when at least :data:`LEAST` of its users are told at least
:data:`GAIN` bits more briefly by the others of the group than by everybody else or any group that counts as normal::

    gain(user) = sum over pairs of n * log2(p(pair | the others of the group) / max over normal groups of p(pair))
    p(pair | others) = (c(pair) + 8 * everybody's chance) / (c(given) + 8)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from amiss.baseline import Floats, Ints
from amiss.detect import Names
from amiss.detect.mixture import PRIOR, Counts, way_bits
from amiss.detect.sequence import ACTION, features
from amiss.grouping import MOST_EVENTS, Cells, Groups, Rows
from amiss.sessions import Events

if TYPE_CHECKING:
    from amiss.detect.chain import Judge

LEAST: Final = 3
"""Users who make a crowd."""

GAIN: Final = 5.0
"""Bits by which the others of a crowd must tell a member better than anything normal does."""

MOST: Final = 500
"""Users with alerts on a day who are looked at, those with most evidence."""

SHARES: Final = 2.0
"""Events that the shares of what a user did count as, beside what follows what."""

ANYWHERE: Final = -2
"""The given of what was done after whatever."""

TOLD: Final = 3
"""Actions that a crowd is told by."""


class Crowd(NamedTuple):
    """Users who do alike on a day: their codes, most evident first; what they do, in words; how many bits that is.

    `bits` is the median over members, beside the best that is normal.
    """

    day: date
    users: tuple[int, ...]
    does: str
    bits: float


def crowds(day: date, events: Events, judge: Judge, codes: Sequence[int], names: Names) -> list[Crowd]:
    """The crowds among users with alerts on a day, those with most users first.

    Parameters
    ----------
    events
        What they did on the day, and maybe what others did.
    judge
        What the states of that day are judged by.
    codes
        The users, most evident first, at least one.
    """
    from amiss.detect import chain

    counts = Counts.of(chain.count(features(events)[ACTION][1], ACTION), ACTION)
    users, group = _grouped(counts)
    found = []
    for each in range(int(group.max(initial=-1)) + 1):
        members = users[group == each]
        gains = _gains(counts.among(members), judge, members)
        alike = members[gains >= GAIN]
        if len(alike) >= LEAST:
            known = set(alike.tolist())
            does = _does(counts.among(alike), judge, names)
            bits = float(np.median(gains[gains >= GAIN]))
            found.append(Crowd(day, tuple(code for code in codes if code in known), does, bits))
    return sorted(found, key=lambda crowd: (-len(crowd.users), crowd.users))


def largest(found: Iterable[Crowd]) -> list[Crowd]:
    """Crowds of several days, those with most users first; of the same users on several days the one with most bits."""
    best: dict[frozenset[int], Crowd] = {}
    for crowd in sorted(found, key=lambda crowd: (-crowd.bits, crowd.day)):
        best.setdefault(frozenset(crowd.users), crowd)
    return sorted(best.values(), key=lambda crowd: (-len(crowd.users), -crowd.bits, crowd.day, crowd.users))


def _grouped(counts: Counts) -> tuple[Ints, Ints]:
    """Users, and the group of each: by what follows what, and by the shares of what they did (:data:`SHARES`)."""
    users, owner = np.unique(counts.user, return_inverse=True)
    times = counts.times.astype(np.float64)
    events: Floats = np.bincount(owner, times)[owner].astype(np.float64)
    anywhere = counts._replace(given=np.full_like(counts.given, ANYWHERE))
    keys, cell = np.unique(np.concatenate([anywhere.keys(), counts.keys()]), return_inverse=True)
    weighed = np.concatenate([SHARES * times / events, times * np.minimum(1.0, MOST_EVENTS / events)])
    both, at = np.unique(np.append(owner, owner) * len(keys) + cell, return_inverse=True)
    row, shown = np.divmod(both, len(keys))
    rows = Rows.of(row, shown, np.bincount(at, weighed, len(both)), math.inf)
    context: Ints = np.unique(keys >> 32, return_inverse=True)[1].astype(np.int64)
    return users.astype(np.int64), Groups(Cells.of(context, rows.seen(len(keys)))).settle(rows)


def _gains(counts: Counts, judge: Judge, members: Ints) -> Floats:
    """How many bits the others of a group save for each member, beside what is normal: (members,)."""
    keys, pair = np.unique(counts.keys(), return_inverse=True)
    givens, given = np.unique(counts.given, return_inverse=True)
    times = counts.times.astype(np.float64)
    rest = np.bincount(pair, times, len(keys))[pair] - times
    owner = np.searchsorted(members, counts.user)
    of = np.zeros((len(members), len(givens)))
    np.add.at(of, (owner, given), times)
    rest_of = (of.sum(axis=0) - of)[owner, given]
    normal = way_bits(counts, judge.ways, judge.chain)
    everyone = np.exp2(-normal[:, 0])
    alike = np.log2((rest + PRIOR * everyone) / (rest_of + PRIOR))
    costs = np.stack([np.bincount(owner, times * each, len(members)) for each in normal.T], axis=1)
    gains: Floats = costs.min(axis=1) + np.bincount(owner, times * alike, len(members))
    return gains


def _does(counts: Counts, judge: Judge, names: Names) -> str:
    """What users do, by what sets them most apart from everybody, in words."""
    states = max(int(counts.value.max()) + 1, len(judge.chain.total))
    here = np.bincount(counts.value, counts.times, states)
    there = np.zeros(states)
    there[: len(judge.chain.total)] = judge.chain.total
    share, usual = (each / max(float(each.sum()), 1.0) for each in (here, there + 0.5))
    gain = share * np.log2(np.maximum(share, 1e-12) / usual)
    top = [state for state in np.argsort(-gain, kind="stable")[:TOLD].tolist() if gain[state] > 0]
    return ", ".join(f"{names.state(state)} {share[state]:.0%}" for state in top)
