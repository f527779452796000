r"""Groups in bits: users whose behaviour is told most briefly by the same chances.

A user is a row of counts of cells, a cell being a value after a context (a state after a state, or a state alone). A
group is the sum of the counts of its members, and its chances follow from it::

    p(cell) = (c(group, cell) + a * base(cell)) / (c(group, context) + a)      a = 1
    cost(user, group) = - sum of c(user, cell) * log2 p(cell)  - log2(members of the group)

with `base` the chance of the cell after its context among all users. Users join one after the other, those who did most
first, where they cost least, or found a group where a code that learns from them alone is shorter. Then, until nothing
changes: two groups become one while the adaptive code (Dirichlet, the same a and base) of both together, with their
members named, is shorter than both; each user goes where they cost least; who is cheaper alone may found a group.
What the data and the groups cost together decides how many groups there are. Nothing is to be tuned.

A user counts as at most :data:`MOST_EVENTS` events, so that the busiest do not make a group each. The result does not
depend on the order of users: ties in how much they did are broken by what they did, and sums are exact.

Source
------
Leader clustering: Hartigan 1975. A user's price of joining: n times the Kullback-Leibler divergence from the group's
chances. Stopping by code length: Rissanen 1978; of adaptive codes: Krichevsky and Trofimov 1981.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

MOST_EVENTS: Final = 200
"""Events that a user counts as at most; the shares of what they did stay the same."""

MOST_GROUPS: Final = 256
"""Groups at most; then users join where they cost least."""

PRIOR: Final = 1.0
SWEEPS: Final = 30
_GRAIN: Final = 1024.0
_ROWS_A_THREAD: Final = 4_096


class Cells(NamedTuple):
    """What can be counted: the context (cells,) of each cell, rising from 0, and how common it is there: base (cells,).

    `base` adds up to 1 in each context, and is 0 for cells that nobody has shown yet.
    """

    context: Ints
    base: Floats

    @classmethod
    def of(cls, context: Ints, seen: Floats) -> Cells:
        """Cells seen so often, one half added to each that was seen.

        Examples
        --------
        >>> Cells.of(np.array([0, 0, 0, 1]), np.array([2.0, 1.0, 0.0, 0.0])).base
        array([0.625, 0.375, 0.   , 0.   ])
        """
        seen = np.where(seen > 0, seen + 0.5, 0.0)
        sums = np.bincount(context, seen, int(context[-1]) + 1 if len(context) else 0)[context]
        return cls(context, np.divide(seen, sums, out=np.zeros(len(seen)), where=sums > 0))

    @property
    def contexts(self) -> int:
        """How many contexts there are."""
        return int(self.context[-1]) + 1 if len(self.context) else 0


class Rows(NamedTuple):
    """Users and what they did: user i has the cells cell[first[i]:first[i + 1]], which rise, so many times each."""

    users: Ints
    first: Ints
    cell: Ints
    times: Floats

    @classmethod
    def of(cls, user: Ints, cell: Ints, times: npt.ArrayLike, most: float = MOST_EVENTS) -> Rows:
        """Rows of counts that are ordered by user, then cell; of more than `most` events only their shares count.

        Examples
        --------
        >>> Rows.of(np.array([3, 3, 7]), np.array([0, 1, 1]), [600, 200, 8]).times
        array([150., 50., 8.])
        """
        users, begin = np.unique(user, return_index=True)
        first: Ints = np.append(begin, len(user)).astype(np.int64)
        given = np.asarray(times, dtype=np.float64)
        events = np.add.reduceat(given, first[:-1]) if len(users) else np.zeros(0)
        shrunk = given * np.repeat(np.minimum(1.0, most / events), np.diff(first))
        grains = np.maximum(np.round(shrunk * _GRAIN), 1.0) / _GRAIN
        return cls(users.astype(np.int64), first, cell.astype(np.int64), grains)

    def __len__(self) -> int:
        return len(self.users)

    def order(self) -> Ints:
        """Rows with most events first; equal ones by what they did."""
        if not len(self):
            return np.zeros(0, dtype=np.int64)
        with np.errstate(over="ignore"):
            mixed = scrambled(scrambled(self.cell.astype(np.uint64)) + (self.times * _GRAIN).astype(np.uint64))
            content = np.add.reduceat(mixed, self.first[:-1])
        found: Ints = np.lexsort((content, -np.add.reduceat(self.times, self.first[:-1]))).astype(np.int64)
        return found

    def seen(self, cells: int) -> Floats:
        """How often each cell was shown: (cells,)."""
        found: Floats = np.bincount(self.cell, self.times, cells).astype(np.float64)
        return found


def scrambled(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Numbers whose sums tell sets apart (the finaliser of SplitMix64)."""
    mixed = (numbers + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


@dataclass
class Groups:
    """Groups of users that go on from day to day; a group keeps its number for good.

    Attributes
    ----------
    cells
        What can be counted, as it is known by now.
    limit
        How many bits more than in a code of their own users may cost in a group that they join; negative for no limit.
    counts : (groups, cells), totals : (groups, contexts), size : (groups,)
        What the members did, by the last that is known of each.
    kept : (groups, cells), kept_size : (groups,)
        Counts when the group last had members, and members, when the last day ended.
    open : (groups,)
        Whether a group is still there: merged ones are not, emptied ones are.
    merged
        By group that went into another one in the last :meth:`settle`, that one.

    Examples
    --------
    >>> cells = Cells.of(np.zeros(2, dtype=np.int64), np.array([40.0, 40.0]))
    >>> rows = Rows.of(np.array([0, 1, 2, 3]), np.array([0, 0, 1, 1]), [20, 18, 20, 18])
    >>> Groups(cells).settle(rows)
    array([0, 0, 1, 1])
    """

    cells: Cells
    limit: float = -1.0
    counts: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    totals: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    size: Floats = field(default_factory=lambda: np.zeros(0))
    kept: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    kept_size: Floats = field(default_factory=lambda: np.zeros(0))
    open: Flags = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    merged: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.grow(len(self.size))

    def __len__(self) -> int:
        return len(self.size)

    def table(self) -> Floats:
        """The bits of each cell in each group, as it is or was last: (cells, groups)."""
        from amiss import grouping_kernel as kernel

        counts = self._model()
        found = np.zeros((len(self.cells.base), len(counts)))
        kernel.chances(counts, self._totals(counts), self.cells.base, self.cells.context, PRIOR, found)
        return found

    def remove(self, rows: Rows, which: Ints, group: Ints) -> None:
        """Take some users out of the groups that they are in, who are known by these rows."""
        self._gather(rows, which, group, -1.0)

    def add(self, rows: Rows, which: Ints, group: Ints) -> None:
        """Put some users, who are known by these rows, into groups."""
        self._gather(rows, which, group, 1.0)

    def remember(self) -> None:
        """Keep what groups are like now for when they have no members."""
        self.kept, self.kept_size = self._model(), self.size.copy()

    def settle(self, rows: Rows) -> Ints:
        """Let users join groups or found some, until nothing changes; the group of each.

        Parameters
        ----------
        rows
            The users; they are in no group now (:meth:`remove`).
        """
        old, order = len(self), rows.order()
        chosen = np.full(len(rows), -1, dtype=np.int64)
        alone = self._alone(rows)
        went: Ints = np.arange(old)
        self._lead(rows, order, chosen, self.kept, self.kept_size)
        for _ in range(SWEEPS):
            into = self._unite(old)
            went, before, chosen = into[went], chosen, into[chosen]
            found, cost = self._cheapest(rows)
            self._gather(rows, np.arange(len(rows)), chosen, -1.0)
            self._gather(rows, np.arange(len(rows)), found, 1.0)
            chosen = found
            self.open &= (self.size > 0) | (self.kept.sum(axis=1) > 0)
            odd = np.flatnonzero(alone < cost) if self.limit < 0 else np.zeros(0, dtype=np.int64)
            if np.array_equal(chosen, before):
                break
            if len(odd):
                self._gather(rows, odd, chosen[odd], -1.0)
                chosen[odd] = -1
                self._lead(rows, order[chosen[order] < 0], chosen, self._model(), self.size)
        self.merged = {int(group): int(into) for group, into in enumerate(went) if into != group}
        return self._numbered(chosen, old)

    def costs(self, rows: Rows, group: Ints, *, table: Floats | None = None) -> Floats:
        """The bits that each row costs in a group, its name left out: (rows,)."""
        bits = self.table() if table is None else table
        owner = np.repeat(np.arange(len(rows)), np.diff(rows.first))
        found: Floats = np.bincount(owner, rows.times * bits[rows.cell, group[owner]], len(rows)).astype(np.float64)
        return found

    def _model(self) -> Floats:
        """The counts that judge: those of members, or what they were last: (groups, cells)."""
        return np.where(self.size[:, None] > 0, self.counts, self.kept)

    def _lead(self, rows: Rows, order: Ints, chosen: Ints, model: Floats, size: Floats) -> None:
        """Let rows join or found groups one by one, which are judged by counts (groups, cells) of `size` users."""
        from amiss import grouping_kernel as kernel

        there = len(self)
        most = min(MOST_GROUPS + int((~self.open).sum()), there + len(order))
        off, off_size = model - self.counts, size - self.size
        self.grow(max(most, there))
        self._shift(off, off_size)
        groups = kernel.lead(
            *rows[1:], order, self.cells.context, self.cells.base, PRIOR, self.limit, there, self.open,
            self.counts, self.totals, self.size, chosen,
        )  # fmt: skip
        self._shift(-off, -off_size)
        self._cut(np.arange(groups))

    def _shift(self, counts: Floats, size: Floats) -> None:
        """Add to the counts and sizes of the first groups."""
        there = len(size)
        self.counts[:there] += counts
        self.totals[:there] += self._totals(counts)
        self.size[:there] += size

    def _unite(self, old: int) -> Ints:
        """Make groups one that are cheaper so; into which each went."""
        from amiss import grouping_kernel as kernel

        into = np.arange(len(self))
        kernel.unite(self.counts, self.totals, self.size, self.cells.base, PRIOR, old, into)
        self.open &= into == np.arange(len(self))
        return into

    def _cheapest(self, rows: Rows) -> tuple[Ints, Floats]:
        """The group in which each row costs least, and that, its name included."""
        from amiss import grouping_kernel as kernel

        table = self.table()
        entry = np.where(self.open, -np.log2(np.maximum(self.size, 0.5)), np.inf)
        chosen, cost = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows))
        size = max(_ROWS_A_THREAD, -(-len(rows) // (os.cpu_count() or 1)))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for low in range(0, len(rows), size):
                pool.submit(kernel.choose, *rows[1:], table, entry, low, min(low + size, len(rows)), chosen, cost)
        return chosen, cost + entry[chosen]

    def _alone(self, rows: Rows) -> Floats:
        """What each row costs in a group of its own."""
        from amiss import grouping_kernel as kernel

        cost = np.zeros(len(rows))
        kernel.costs_alone(*rows[1:], self.cells.context, self.cells.base, PRIOR, cost)
        return cost

    def _gather(self, rows: Rows, which: Ints, group: Ints, sign: float) -> None:
        """Add some rows to groups, or take them out."""
        from amiss import grouping_kernel as kernel

        kernel.gather(*rows[1:], which, sign, self.cells.context, group, self.counts, self.totals, self.size)

    def _totals(self, counts: Floats) -> Floats:
        """The sums of counts by context: (groups, contexts)."""
        starts = np.flatnonzero(np.diff(self.cells.context, prepend=-1))
        return np.add.reduceat(counts, starts, axis=1) if len(starts) else np.zeros((len(counts), 0))

    def grow(self, groups: int) -> None:
        """Make room for so many groups: more of them, that nothing is known of and that are not open."""
        wide = {"counts": len(self.cells.base), "totals": self.cells.contexts, "kept": len(self.cells.base)}
        for name, width in wide.items():
            grown = np.zeros((groups, width))
            held = getattr(self, name)
            grown[: len(held), : held.shape[1]] = held
            setattr(self, name, grown)
        more = groups - len(self.size)
        self.size = np.append(self.size, np.zeros(more))
        self.kept_size = np.append(self.kept_size, np.zeros(more))
        self.open = np.append(self.open, np.zeros(more, dtype=np.bool_))

    def _cut(self, groups: Ints) -> None:
        """Keep these groups, in this order."""
        for name in ("counts", "totals", "size", "kept", "kept_size", "open"):
            setattr(self, name, getattr(self, name)[groups])

    def _numbered(self, chosen: Ints, old: int) -> Ints:
        """Number new groups by size, drop those that did not last, and remember what all are like."""
        new = np.arange(old, len(self))
        content = (self.counts[new] * np.arange(1, self.counts.shape[1] + 1)).sum(axis=1)
        new = new[np.lexsort((content, -self.size[new]))]
        order = np.append(np.arange(old), new[self.size[new] > 0]).astype(np.int64)
        place = np.zeros(len(self), dtype=np.int64)
        place[order] = np.arange(len(order))
        self._cut(order)
        self.remember()
        found: Ints = place[chosen]
        return found
