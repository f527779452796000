r"""Evidence from a chain: is this value odd after what came before it?

For the value of each event after its given, with everything counted before the event::

    p = the baseline's chance (see amiss.baseline.Chain; of groups that count as normal, amiss.detect.mixture)
    q = sum of w_e * q_e over experts:
        own chain    (c(given, value) + a) / (c(given) + a*K)     the user's own counts of the period
        own values   (c(value) + a) / (c + a*K)
        uniform      1 / K
        flattened    sqrt(p) / sum of sqrt(p) over all values
    bits = log2(q / p)

`K` is the known values and one for the never-seen, ``a = min(1/2, 8/K)``. The weights start equal and follow the
experts' success with a fixed share of 0.02. Everything in q is fixed before the value is seen and sums to 1, so bits
are evidence. With `own` the user's share of the baseline is taken out of p first. Of a user's own counts, up to
:data:`amiss.detect.chain_kernel.MOST_PAIRS` different pairs are kept a period.

Source
------
Adaptive chains: Krichevsky and Trofimov 1981. Mixing: Herbster and Warmuth 1998, "Tracking the best expert"
(fixed share).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.baseline import COUNT_SCHEMA, HIGHEST_CAP, OWN_SCHEMA, Chain, Floats, Ints
from amiss.blocks import frozen, highest
from amiss.detect import Scores
from amiss.detect import chain_kernel as kernel
from amiss.detect.mixture import ONE_WAY, Ways

if TYPE_CHECKING:
    from amiss.baseline_kernel import Normal

LARGEST_TABLE: Final = 1 << 20
"""The most chances in groups that are kept; others are found each time."""

NOTHING: Final = -1
"""The given of an event that nothing came before."""

Codes = npt.NDArray[np.int32]
Users = npt.NDArray[np.uint32]


class Feature(NamedTuple):
    """One feature of grouped events: the codes `given` and `value` of each (n,), of `users` (u,), who begin at `first`.

    `first` (u + 1,) ends with the number of events.
    """

    users: Users
    first: Ints
    given: Codes
    value: Codes

    @property
    def events(self) -> Ints:
        """How many events each user has: (u,)."""
        return self.first[1:] - self.first[:-1]


@dataclass(frozen=True, eq=False)
class Judge:
    """What one feature of users is judged by: everybody's chain, the groups that count as normal, and the bad users."""

    chain: Chain
    ways: Ways = ONE_WAY
    bad: Ways = ONE_WAY

    @cached_property
    def arrays(self) -> tuple[Normal, kernel.Grouped | None]:
        """What compiled passes judge by; they do less where there are no groups and nobody is bad."""
        normal, groups = self.chain.normal, len(self.ways.share) + len(self.bad.share)
        if not groups:
            return normal, None
        shape = len(normal.row_total) + 1, len(normal.total) + 1, groups
        table = np.empty(shape if math.prod(shape) <= LARGEST_TABLE else (0, *shape[1:]))
        if len(table):
            kernel.tabulate_groups(normal, self.ways, self.bad, table)
        return normal, kernel.Grouped(self.ways, self.bad, frozen(table))

    def others(self, given: int, value: int, way: int) -> tuple[int, int]:
        """How often a group showed `value` after `given`, of how many."""
        row = int(self.chain.row_of[given + 1]) if given + 1 < len(self.chain.row_of) else -1
        cells = self.chain.row(given)
        counts = self.ways.counts[cells, way][self.chain.value[cells] == value]
        return int(counts.sum()), int(self.ways.totals[row, way])


class Counted:
    """The counts of one feature by user, ready to be looked up.

    Parameters
    ----------
    counts : (c, 5)
        `amiss.baseline.COUNT_SCHEMA`, in order, not copied; those of other features are left out.
    """

    def __init__(self, counts: pl.DataFrame, feature: int) -> None:
        low, high = (counts["feature"].search_sorted(code, side="left") for code in (feature, feature + 1))
        user, *pairs = (frozen(counts[name][low:high].to_numpy()) for name in ("user", *_PAIR))
        bounds = np.searchsorted(user, np.arange(highest(user[-1:]) + 2, dtype=np.uint32))
        self.owned = kernel.Owned(frozen(bounds), *pairs)

    def __len__(self) -> int:
        return len(self.owned.counts)

    def seen(self, user: int, given: int, value: int, *, cap: int = HIGHEST_CAP) -> tuple[int, int]:
        """How often the user showed `value` after `given`, of how many, a pair counting up to `cap`."""
        mine, owned = self._places(user), self.owned
        row = owned.given[mine] == given
        counts = np.minimum(owned.counts[mine][row], cap)
        return int(counts[owned.value[mine][row] == value].sum()), int(counts.sum())

    def has(self, users: Users) -> npt.NDArray[np.bool_]:
        """Whether there are counts of each of these users: (u,)."""
        sizes = np.append(np.diff(self.owned.bounds), 0)
        found: npt.NDArray[np.bool_] = sizes[np.minimum(users, len(sizes) - 1)] > 0
        return found

    def pairs(self, user: int) -> Ints:
        """A number for each pair of the user."""
        mine = self._places(user)
        return _key(self.owned.given[mine], self.owned.value[mine])

    def _places(self, user: int) -> slice:
        """Where the counts of the user stand; nowhere where there are none."""
        bounds = self.owned.bounds
        return slice(int(bounds[user]), int(bounds[user + 1])) if user + 1 < len(bounds) else slice(0)


class Own:
    """What is remembered of users about one feature while a period runs: their own counts, and the experts' weights.

    It moves on with every event that is scored. `frame` gives it as a table (`OWN_SCHEMA`), of which another is made.
    """

    def __init__(self, feature: int, state: pl.DataFrame | None = None) -> None:
        self._feature = feature
        self._held = _nothing_held(0)
        self._pairs = _room(0)
        self._used = 0
        if state is not None:
            self._recall(state.filter(pl.col("feature") == feature).sort("user"))

    def score(self, feature: Feature, judge: Judge, scores: Scores) -> None:
        """Add what a feature's events say; their users are remembered with them."""
        self._widen(len(judge.ways.share))
        self._grow(highest(feature.users) + 1)
        used = kernel.score_users(*feature, *judge.arrays, self._pairs, self._used, self._held, *scores[:2])
        if used > len(self._pairs.counts):
            self._compact(used - self._used)
            used = kernel.score_users(*feature, *judge.arrays, self._pairs, self._used, self._held, *scores[:2])
        self._used = used

    def frame(self) -> pl.DataFrame:
        """A row for each user who is remembered."""
        users = np.flatnonzero(self._held.here)
        size = self._held.size[users]
        at = spread(self._held.begin[users], size)
        lists = {name: lists_of(column[at], size) for name, column in zip(_PAIR, self._pairs, strict=True)}
        fixed = {
            "user": pl.Series(users, dtype=pl.UInt32),
            "feature": pl.repeat(self._feature, len(users), dtype=pl.UInt8, eager=True),
            "weights": pl.Series(self._held.weights[users], dtype=OWN_SCHEMA["weights"]),
        }
        lists["ways"] = self._ways(users)
        return pl.DataFrame(fixed | lists, schema=OWN_SCHEMA)

    def _ways(self, users: Ints) -> pl.Series:
        """The weights of groups, as many as each user has."""
        ways, groups = self._held.ways, self._held.groups[users]
        return lists_of(ways.ravel()[spread(users * ways.shape[1], groups)], groups)

    def _recall(self, state: pl.DataFrame) -> None:
        """Take up rows of a state, ordered by user."""
        users, size = state["user"].to_numpy(), state["count"].list.len().to_numpy().astype(np.int64)
        self._grow(highest(users) + 1)
        self._pairs = kernel.Pairs(*(state[name].explode(empty_as_null=False).to_numpy().copy() for name in _PAIR))
        self._used = len(self._pairs.counts)
        held = self._held
        held.begin[users], held.size[users], held.room[users] = np.cumsum(size) - size, size, size
        held.here[users] = True
        if len(users):
            held.weights[users] = state["weights"].to_numpy()
            groups: Ints = state["ways"].list.len().to_numpy().astype(np.int64)
            held.groups[users] = groups
            self._widen(int(groups.max()))
            ways = self._held.ways
            ways.ravel()[spread(users * ways.shape[1], groups)] = state["ways"].explode(empty_as_null=False).to_numpy()

    def _widen(self, groups: int) -> None:
        """Make room for the weights of so many groups of each user."""
        more = groups - self._held.ways.shape[1]
        if more > 0:
            self._held = self._held._replace(ways=np.pad(self._held.ways, ((0, 0), (0, more))))

    def _grow(self, users: int) -> None:
        """Make room for the codes below `users`."""
        there = len(self._held.here)
        if users > there:
            more = _nothing_held(max(users, there * 5 // 4) - there, self._held.ways.shape[1])
            self._held = kernel.Held(*(np.concatenate(each) for each in zip(self._held, more, strict=True)))

    def _compact(self, more: int) -> None:
        """Move all pairs together, into arrays with room for `more` and as many again as there are."""
        begin, size, room = self._held[:3]
        taken = int(room.sum())
        columns = list(self._pairs)
        self._pairs = _room(0)
        for number, column in enumerate(columns):
            columns[number] = np.zeros(2 * (taken + more), dtype=np.int32)
            kernel.moved(column, begin, size, room, columns[number])
        begin[:] = np.cumsum(room) - room
        self._pairs, self._used = kernel.Pairs(*columns), taken


_PAIR: Final = ("given", "value", "count")


def score_alone(feature: Feature, judge: Judge, scores: Scores) -> None:
    """Add what events say that are all there is of their users in a period, so that nothing is kept."""
    users = np.arange(len(feature.users), dtype=np.uint32)
    held = _nothing_held(len(users), len(judge.ways.share))
    held.room.fill(kernel.MOST_PAIRS)
    kernel.score_users(*feature._replace(users=users), *judge.arrays, _most(feature), 0, held, *scores[:2])


def score_left_out(feature: Feature, own: Counted, judge: Judge, cap: int, scores: Scores) -> None:
    """The same where the chain was learned from these very events, with each user's `own` counts taken out of it."""
    held = _nothing_held(len(feature.users), len(judge.ways.share))
    kernel.score_left_out(*feature, *judge.arrays, own.owned, cap, _most(feature), held, *scores[:2])


def compare(feature: Feature, past: Counted, chain: Chain, least: int, scores: Scores) -> None:
    """Add what a feature's events say beside the `past` of their users.

    Users with fewer than `least` events in it give no evidence.
    """
    kernel.compare_users(*feature, chain.normal, past.owned, least, *scores[:2])


def excuse(said: Scores, feature: Feature, taught: Counted) -> Scores:
    """What one feature said, but nothing that users were taught to be expected of them speaks against them."""
    for number in np.flatnonzero(taught.has(feature.users)).tolist():
        events = slice(*feature.first[number : number + 2].tolist())
        pairs = _key(feature.given[events], feature.value[events])
        expected = np.isin(pairs, taught.pairs(int(feature.users[number])))
        said.bits[events] = np.where(expected, np.minimum(said.bits[events], 0.0), said.bits[events])
    return said


def _key(given: Codes, value: Codes) -> Ints:
    """A number for each pair."""
    return (given.astype(np.int64) << 32) + value


def count(feature: Feature, code: int) -> pl.DataFrame:
    """How often each user showed each pair of a feature (`amiss.baseline.COUNT_SCHEMA`)."""
    events = len(feature.value)
    out = np.empty(events, dtype=np.int32), np.empty(events, dtype=np.int32)
    counts, kept = np.empty(events, dtype=np.int64), np.zeros(len(feature.users), dtype=np.int64)
    kernel.count_users(feature.first, feature.given, feature.value, out, counts, kept)
    cells = int(kept.sum())
    columns = {
        "feature": pl.repeat(code, cells, dtype=pl.UInt8, eager=True),
        "user": np.repeat(feature.users, kept),
        "given": out[0][:cells],
        "value": out[1][:cells],
        "count": counts[:cells],
    }
    return pl.DataFrame(columns, schema=COUNT_SCHEMA)


def _most(feature: Feature) -> kernel.Pairs:
    """Space for the pairs of any one user."""
    return _room(min(int(feature.events.max(initial=0)), kernel.MOST_PAIRS))


def _room(pairs: int) -> kernel.Pairs:
    """Space for so many pairs."""
    return kernel.Pairs(*(np.zeros(pairs, dtype=np.int32) for _ in range(3)))


def _nothing_held(users: int, groups: int = 0) -> kernel.Held:
    """Nothing, of so many users; equal weights for all experts, none yet for so many groups."""
    begin, size, room, ways = (np.zeros(users, dtype=np.int64) for _ in range(4))
    weights = np.zeros((users, kernel.EXPERTS + 1))
    weights[:, : kernel.EXPERTS] = 1.0 / kernel.EXPERTS
    return kernel.Held(begin, size, room, weights, np.zeros((users, groups)), ways, np.zeros(users, dtype=np.bool_))


def spread(begin: Ints, size: Ints) -> Ints:
    """Every place from each `begin` on, `size` of them."""
    last = np.cumsum(size)
    places: Ints = np.arange(int(last[-1]) if len(last) else 0) + np.repeat(begin - (last - size), size)
    return places


def lists_of(column: Codes | Floats, size: Ints) -> pl.Series:
    """A column cut into lists of these sizes."""
    from pyarrow.lib import LargeListArray

    bounds = pl.Series(np.append(0, np.cumsum(size))).to_arrow()
    return pl.Series(LargeListArray.from_arrays(bounds, pl.Series(column).to_arrow()))
