"""Crowds: users with alerts who do alike, and unlike everybody else; a new group, found by what its members share.

One fraud rarely comes alone. Users with alerts are put into groups by what follows what on their days
(:mod:`amiss.grouping`). Such a group is a crowd when at least :data:`LEAST` of its users are told at least
:data:`GAIN` bits more briefly by the others of the group than by everybody else or any group that counts as normal::

    gain(user) = sum over pairs of n * log2(p(pair | the others of the group) / max over normal groups of p(pair))
    p(pair | others) = (c(pair) + 8 * everybody's chance) / (c(given) + 8)
"""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import date
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import polars as pl

from amiss.baseline import Floats, Ints
from amiss.detect.mixture import PRIOR, Counts, way_bits
from amiss.detect.sequence import ACTION, Sequence, SequenceBaseline
from amiss.engine import Scan
from amiss.grouping import MOST_EVENTS, Cells, Groups, Rows

if TYPE_CHECKING:
    from amiss.detect.chain import Judge

LEAST: Final = 3
"""Users who make a crowd."""

GAIN: Final = 5.0
"""Bits by which the others of a crowd must tell a member better than anything normal does."""

MOST: Final = 2_000
"""Users with alerts who are looked at, those with most evidence."""

SHARES: Final = 2.0
"""Events that the shares of what a user did count as, beside what follows what."""

ANYWHERE: Final = -2
"""The given of what was done after whatever."""

TOLD: Final = 3
"""Actions that a crowd is told by."""


class Crowd(NamedTuple):
    """Users who do alike: their names, most evident first; what they do, in words; how many bits that is beside others.

    `bits` is the median over members.
    """

    users: tuple[str, ...]
    does: str
    bits: float


def crowds(scan: Scan) -> tuple[Crowd, ...]:
    """The crowds among the users of a scan who have alerts, those with most users first."""
    found: list[Crowd] = []
    for day, codes in _alerted(scan).items():
        baseline = scan.baseline(day, Sequence.name) if len(codes) >= LEAST else None
        if isinstance(baseline, SequenceBaseline):
            counts = Counts.of(Sequence().summarise(scan.events(day, codes)), ACTION)
            found += _of_day(scan, counts, baseline.judges[ACTION], codes)
    return tuple(sorted(found, key=lambda crowd: (-len(crowd.users), crowd.users)))


def _alerted(scan: Scan) -> dict[date, list[int]]:
    """The users with alerts by the day of most evidence, most evident first."""
    alerts = scan.standings.filter("alert")
    alerts = alerts.with_columns(name=scan.coding.users.decode(alerts["user"]))
    alerts = alerts.sort("bits", "name", "period", descending=[True, False, False])
    by_day: defaultdict[date, list[int]] = defaultdict(list)
    for user, day in (
        alerts.unique("user", keep="first", maintain_order=True).head(MOST).select("user", "period").rows()
    ):
        by_day[day].append(user)
    return dict(sorted(by_day.items(), reverse=True))


def _of_day(scan: Scan, counts: Counts, judge: Judge, codes: list[int]) -> list[Crowd]:
    """The crowds of a day."""
    users, group = _grouped(counts)
    found = []
    for each in range(int(group.max(initial=-1)) + 1):
        members = users[group == each]
        gains = _gains(counts.among(members), judge, members)
        alike = set(members[gains >= GAIN].tolist())
        if len(alike) >= LEAST:
            names = scan.coding.users.texts().gather([code for code in codes if code in alike]).to_list()
            does = _does(scan, counts.among(np.array(sorted(alike))), judge)
            found.append(Crowd(tuple(names), does, float(np.median(gains[gains >= GAIN]))))
    return found


def _grouped(counts: Counts) -> tuple[Ints, Ints]:
    """Users, and the group of each: by what follows what, and by the shares of what they did (:data:`SHARES`)."""
    users, owner = np.unique(counts.user, return_inverse=True)
    times = counts.times.astype(np.float64)
    events: Floats = np.bincount(owner, times)[owner].astype(np.float64)
    anywhere = counts._replace(given=np.full_like(counts.given, ANYWHERE))
    keys, cell = np.unique(np.concatenate([anywhere.keys(), counts.keys()]), return_inverse=True)
    table = np.zeros((len(users), len(keys)))
    weighed = np.concatenate([SHARES * times / events, times * np.minimum(1.0, MOST_EVENTS / events)])
    np.add.at(table, (np.append(owner, owner), cell), weighed)
    row, shown = np.nonzero(table)
    rows = Rows.of(row, shown, table[row, shown], math.inf)
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


def _does(scan: Scan, counts: Counts, judge: Judge) -> str:
    """What users do, by what sets them most apart from everybody, in words."""
    states = int(max(counts.value.max(), len(judge.chain.total) - 1)) + 1
    here = np.bincount(counts.value, counts.times, states)
    there = np.zeros(states)
    there[: len(judge.chain.total)] = judge.chain.total
    share, usual = (each / max(float(each.sum()), 1.0) for each in (here, there + 0.5))
    gain = share * np.log2(np.maximum(share, 1e-12) / usual)
    top = [state for state in np.argsort(-gain, kind="stable")[:TOLD].tolist() if gain[state] > 0]
    return ", ".join(f"{scan.names.state(state)} {share[state]:.0%}" for state in top)


def table(found: tuple[Crowd, ...]) -> pl.DataFrame:
    """Crowds as a table: `users`, `does`, `bits`."""
    schema = {"users": pl.List(pl.String()), "does": pl.String(), "bits": pl.Float64()}
    return pl.DataFrame([(list(each.users), each.does, each.bits) for each in found], schema=schema, orient="row")
