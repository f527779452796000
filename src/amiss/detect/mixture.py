r"""Normal as a mixture over groups of users: who behaves like many others, in any one of their ways, is normal.

Users who did alike form groups (:mod:`amiss.grouping`, by which state follows which). A group is normal when at least
:data:`LEAST_SHARE` of the users and :data:`LEAST_USERS` are in it: a group that the odd ones make up must not make them
normal. With `n` and `N` the counts of a group and `p` everybody's chance::

    a                       = 8 + N(given) / 20
    p(value | given, group) = (n(given, value) + a * p(value | given)) / (N(given) + a)
    p(value | given)        = sum over groups of w(group) * p(value | given, group)

The weights `w` of a user begin at the groups' shares and follow what the user does, with a fixed share of 0.02. Where
more than :data:`MOST_OTHERS` of the users are in no such group, everybody counts as one more group, with their share.

Of many users the groups are those of a sample of :data:`SAMPLE`, drawn by their codes.

Source
------
Fixed share: Herbster and Warmuth 1998. Mixtures of Markov chains for behaviour: Cadez, Heckerman, Meek, Smyth and White
2003, "Model-based clustering and visualization of navigation patterns on a Web site".
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.baseline import Chain, Floats, Ints
from amiss.blocks import frozen, highest
from amiss.grouping import Cells, Groups, Rows, scrambled

PRIOR: Final = 8.0
"""The events that everyone's chances are worth beside a group's."""

AMONG: Final = 0.05
"""How much more they are worth, as a share of the group's events."""

LEAST_SHARE: Final = 0.03
"""The share of users from which on a group counts as normal."""

LEAST_USERS: Final = 10
"""The users from which on a group counts as normal."""

MOST_OTHERS: Final = 0.1
"""The share of users in no such group above which everybody counts as one more."""

MOST_WAYS: Final = 16
"""The most groups that count as normal, the largest."""

SAMPLE: Final = 3_000
"""Users among whom groups are looked for."""

MOST_PAIRS: Final = 1_024
"""The pairs by which users are told apart, those that most users show."""

Codes = npt.NDArray[np.int32]


class Ways(NamedTuple):
    """The groups that count as normal, as one chain needs them.

    Attributes
    ----------
    share : (g,)
        How common each group is; they add up to 1. None at all where everybody is one group.
    member : (u,)
        The group of each user by code; -1 for those of none.
    counts : (c + 1, g)
        The counts of each cell of the chain in each group; the last, of cells that are not there, are 0.
    totals : (r + 1, g)
        Those of each row; the last are 0.
    """

    share: Floats
    member: Ints
    counts: Floats
    totals: Floats


ONE_WAY: Final = Ways(
    frozen(np.zeros(0)), frozen(np.zeros(0, np.int64)), frozen(np.zeros((1, 0))), frozen(np.zeros((1, 0)))
)
"""Everybody is one group."""


class Members(NamedTuple):
    """Which users are in which of the groups that count as normal, by code: (u,), -1 for none; and their `share`."""

    group: Ints
    share: Floats


class Counts(NamedTuple):
    """The counts of one feature by user, in order of user, given and value."""

    user: npt.NDArray[np.uint32]
    given: Codes
    value: Codes
    times: Ints

    @classmethod
    def of(cls, counts: pl.DataFrame, feature: int) -> Counts:
        """Those of a feature in ordered counts."""
        low, high = (counts["feature"].search_sorted(code, side="left") for code in (feature, feature + 1))
        user, given, value, times = (counts[name][low:high].to_numpy() for name in ("user", "given", "value", "count"))
        return cls(user, given, value, times)

    def among(self, users: Ints) -> Counts:
        """Those of some users, whose codes rise."""
        low, high = (np.searchsorted(self.user, users.astype(np.uint32), side) for side in ("left", "right"))
        size = high - low
        rows = np.arange(int(size.sum())) + np.repeat(low - (np.cumsum(size) - size), size)
        return Counts(self.user[rows], self.given[rows], self.value[rows], self.times[rows])

    def keys(self) -> Ints:
        """A number for each pair, which rise as pairs do."""
        return (self.given.astype(np.int64) + 1 << 32) + self.value


def members(counts: Counts, bad: npt.NDArray[np.uint32] | None = None) -> Members:
    """The groups that count as normal, from what users did who are not `bad`."""
    users = highest(counts.user) + 1
    there = np.zeros(users, dtype=np.bool_)
    there[counts.user] = True
    if bad is not None:
        there[bad[bad < users]] = False
    sample = _sample(np.flatnonzero(there))
    group: Ints = np.full(users, -1, dtype=np.int64)
    group[sample], share = _grouped(counts.among(sample), sample)
    return Members(group, share)


def ways(counts: Counts, chosen: Members, chain: Chain, most: int) -> Ways:
    """What the groups did, laid beside the cells of a chain; a user adds up to `most` to a count."""
    groups = len(chosen.share)
    if not groups:
        return ONE_WAY
    part = counts.among(np.flatnonzero(chosen.group >= 0))
    mine = chosen.group[part.user]
    times = np.minimum(part.times, most).astype(np.float64)
    shape = len(chain.value) + 1, len(chain.row_total) + 1
    rows = np.append(chain.row_of, -1)[np.minimum(part.given.astype(np.int64) + 1, len(chain.row_of))]
    cells = _places(_keys(chain), part.keys())
    table, totals = (_sums(at, mine, times, (size, groups)) for at, size in zip((cells, rows), shape, strict=True))
    return Ways(frozen(chosen.share), frozen(chosen.group), table, totals)


def labelled(bad: Counts, chain: Chain, most: int) -> Ways:
    """What bad users did, laid beside the cells of a chain, up to `most` each; nothing where there are none."""
    if not len(bad.user):
        return ONE_WAY
    member: Ints = np.full(highest(bad.user) + 1, -1, dtype=np.int64)
    member[bad.user] = 0
    return ways(bad, Members(member, np.ones(1)), chain, most)


def way_bits(counts: Counts, known: Ways, chain: Chain) -> Floats:
    """What one event of each count costs by everybody's chances and by those of each group: (counts, 1 + groups)."""
    from amiss import baseline_kernel as kernel

    chances = everyone = kernel.chances(chain.normal, counts.given, counts.value).reshape(-1, 1)
    if len(known.share):
        rows = np.append(chain.row_of, -1)[np.minimum(counts.given.astype(np.int64) + 1, len(chain.row_of))]
        prior = PRIOR + AMONG * known.totals[rows]
        each = known.counts[_places(_keys(chain), counts.keys())] + prior * everyone
        chances = np.concatenate([everyone, each / (known.totals[rows] + prior)], axis=1)
    bits: Floats = -np.log2(chances)
    return bits


def nearest_ways(counts: Counts, known: Ways, chain: Chain, sure: float) -> Ints:
    """The group of each user by code (u,) that tells the user's counts best, by `sure` bits; else -1.

    `known` are the groups beside the cells of a chain, in which all of the counts are. Where everybody counts as one
    more, whom that tells best are in no group.
    """
    users, cells = highest(counts.user) + 1, _places(_keys(chain), counts.keys())
    row = np.repeat(np.arange(len(chain.row_total)), np.diff(chain.start))
    prior = PRIOR + AMONG * known.totals[row]
    everyone = (chain.count / chain.row_total[row])[:, None]
    bits = -np.log2((known.counts[:-1] + prior * everyone) / (known.totals[row] + prior))
    cost = np.stack([np.bincount(counts.user, counts.times * each[cells], users) for each in bits.T], axis=1)
    cost -= np.log2(known.share)
    two, best = np.partition(cost, 1, axis=1), np.argmin(cost, axis=1)
    is_group = known.totals.sum(axis=0) > 0
    return np.where((two[:, 1] - two[:, 0] >= sure) & is_group[best], best, -1)


def _keys(chain: Chain) -> Ints:
    """A number for each cell of a chain."""
    givens = np.flatnonzero(chain.row_of >= 0)
    return (np.repeat(givens, np.diff(chain.start)) << 32) + chain.value


def _places(keys: Ints, wanted: Ints) -> Ints:
    """Where each wanted key stands among ordered ones, -1 for nowhere."""
    at = np.searchsorted(keys, wanted)
    return np.where(np.append(keys, -1)[at] == wanted, at, -1)


def _sums(at: Ints, group: Ints, times: Floats, shape: tuple[int, int]) -> Floats:
    """A table with the sums of `times` at each place in each group; nothing stands in its last row."""
    there = at >= 0
    cell = at[there] * shape[1] + group[there]
    sums: Floats = np.bincount(cell, times[there], shape[0] * shape[1]).astype(np.float64)
    return frozen(sums.reshape(shape))


def _sample(codes: Ints) -> Ints:
    """Some of these codes of users, not more than :data:`SAMPLE`."""
    if len(codes) <= SAMPLE:
        return codes
    drawn = np.argpartition(scrambled(codes.astype(np.uint64)), SAMPLE)[:SAMPLE]
    return np.sort(codes[drawn])


def _grouped(counts: Counts, sample: Ints) -> tuple[Ints, Floats]:
    """The group of each user of a sample among those that count as normal, -1 for none; and how common these are."""
    rows, cells = _rows(counts)
    found = Groups(cells).settle(rows)
    size = np.bincount(found, minlength=1)
    least = max(LEAST_SHARE * len(sample), LEAST_USERS)
    kept = np.flatnonzero(size >= least)
    kept = kept[np.argsort(-size[kept], kind="stable")][:MOST_WAYS]
    group: Ints = np.full(len(sample), -1, dtype=np.int64)
    place = np.full(len(size), -1, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    group[np.searchsorted(sample, rows.users)] = place[found]
    return group, _shares(size[kept], len(sample))


def _shares(sizes: Ints, users: int) -> Floats:
    """How common groups are among so many users, everybody being one more where many are in none."""
    others = users - int(sizes.sum())
    sizes = np.append(sizes, others) if others > MOST_OTHERS * users else sizes
    return sizes / sizes.sum() if len(sizes) > 1 or 0 < others <= MOST_OTHERS * users else np.zeros(0)


def _rows(counts: Counts) -> tuple[Rows, Cells]:
    """Users by the pairs that tell most of them apart."""
    keys, cell = np.unique(counts.keys(), return_inverse=True)
    common = np.bincount(cell, minlength=len(keys))
    most = np.lexsort((np.arange(len(keys)), -common))[:MOST_PAIRS]
    chosen = np.sort(most[common[most] > 1])
    place = np.full(len(keys), -1, dtype=np.int64)
    place[chosen] = np.arange(len(chosen))
    known = place[cell] >= 0
    rows = Rows.of(counts.user[known].astype(np.int64), place[cell[known]], counts.times[known])
    context: Ints = np.unique(keys[chosen] >> 32, return_inverse=True)[1].astype(np.int64)
    return rows, Cells.of(context, rows.seen(len(chosen)))
