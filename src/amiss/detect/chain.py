r"""Evidence from a chain: is this value odd after what came before it?

For the value of each event after its given, with everything counted before the event::

    p = the baseline's chance (see amiss.baseline.Chain)
    q = sum of w_e * q_e over four experts:
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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.baseline import COUNT_SCHEMA, HIGHEST_CAP, OWN_SCHEMA, Chain, Floats, Ints
from amiss.blocks import frozen, places
from amiss.detect import Scores
from amiss.detect import chain_kernel as kernel

NOTHING: Final = -1
"""The given of an event that nothing came before."""

Codes = npt.NDArray[np.int32]
Users = npt.NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class Feature:
    """One feature of grouped events: the codes `given` and `value` of each (n,), and where users begin (u + 1,)."""

    first: Ints
    given: Codes
    value: Codes

    @property
    def events(self) -> Ints:
        """How many events each user has: (u,)."""
        return self.first[1:] - self.first[:-1]


class Counted:
    """The counts of one feature by user, ready to be looked up.

    Parameters
    ----------
    counts : (c, 5)
        `amiss.baseline.COUNT_SCHEMA`, in order; those of other features are left out.
    """

    def __init__(self, counts: pl.DataFrame, feature: int) -> None:
        part = counts.filter(pl.col("feature") == feature)
        self._bounds = frozen(np.append(0, np.cumsum(np.bincount(part["user"].to_numpy(), minlength=1))))
        self._given: Codes = frozen(part["given"].to_numpy())
        self._value: Codes = frozen(part["value"].to_numpy())
        self._count: Ints = frozen(part["count"].to_numpy())
        self._row_bounds, *self._rows = map(frozen, kernel.rows_of(self._bounds, self._given, self._count))

    def __len__(self) -> int:
        return len(self._count)

    def seen(self, user: int, given: int, value: int, *, cap: int = HIGHEST_CAP) -> tuple[int, int]:
        """How often the user showed `value` after `given`, of how many, a pair counting up to `cap`."""
        if user + 1 >= len(self._bounds):
            return 0, 0
        mine = slice(int(self._bounds[user]), int(self._bounds[user + 1]))
        row = self._given[mine] == given
        counts = np.minimum(self._count[mine][row], cap)
        return int(counts[self._value[mine][row] == value].sum()), int(counts.sum())

    def of(self, users: Users) -> kernel.Owned:
        """The counts of these users, none for those without."""
        pairs, rows = (_ranges(bounds, users) for bounds in (self._bounds, self._row_bounds))
        return kernel.Owned(*pairs, self._given, self._value, self._count, *rows, *self._rows)


def _ranges(bounds: Ints, users: Users) -> tuple[Ints, Ints]:
    """What lies between the bounds of each user; nothing for users beyond them."""
    last = len(bounds) - 1
    if len(users) == 1:
        code = min(int(users[0]), last)
        return bounds[code : code + 1], bounds[min(code + 1, last) :][:1]
    codes = users.astype(np.int64)
    return frozen(bounds[np.minimum(codes, last)]), frozen(bounds[np.minimum(codes + 1, last)])


class Own:
    """What is remembered of users about one feature while a period runs: their own counts, and the experts' weights.

    It moves on with every event that is scored. `frame` gives it as a table (`OWN_SCHEMA`), of which another is made.
    """

    def __init__(self, feature: int, state: pl.DataFrame | None = None) -> None:
        self._feature = feature
        self._weights = np.zeros((0, kernel.EXPERTS))
        self._here = np.zeros(0, dtype=np.bool_)
        self._begin, self._size, self._room = (np.zeros(0, dtype=np.int64) for _ in range(3))
        self._pairs = _room(0)
        self._used = 0
        if state is not None:
            self._recall(state.filter(pl.col("feature") == feature).sort("user"))

    def score(self, feature: Feature, users: Users, chain: Chain) -> Scores:
        """Bits and surprisal of a feature's events of `users`, who are remembered with them."""
        self._grow(int(users.max(initial=0)) + 1)
        self._reserve(users, feature.events)
        at = places(users)
        begin, size, weights = self._begin[at], self._size[at], self._weights[at]
        scores = _score(feature, chain, self._pairs, (begin, size, weights))
        self._size[at], self._weights[at], self._here[at] = size, weights, True
        return scores

    def frame(self) -> pl.DataFrame:
        """A row for each user who is remembered."""
        users = np.flatnonzero(self._here)
        size = self._size[users]
        at = _spread(self._begin[users], size)
        lists = {name: _lists(column[at], size) for name, column in zip(_PAIR, self._pairs, strict=True)}
        fixed = {
            "user": pl.Series(users, dtype=pl.UInt32),
            "feature": pl.repeat(self._feature, len(users), dtype=pl.UInt8, eager=True),
            "weights": pl.Series(self._weights[users], dtype=OWN_SCHEMA["weights"]),
        }
        return pl.DataFrame(fixed | lists, schema=OWN_SCHEMA)

    def _recall(self, state: pl.DataFrame) -> None:
        """Take up rows of a state, ordered by user."""
        users, size = state["user"].to_numpy(), state["count"].list.len().to_numpy().astype(np.int64)
        self._grow(int(users.max(initial=0)) + 1)
        self._pairs = kernel.Pairs(*(state[name].explode(empty_as_null=False).to_numpy().copy() for name in _PAIR))
        self._used = len(self._pairs.counts)
        self._begin[users], self._size[users], self._room[users] = np.cumsum(size) - size, size, size
        self._here[users] = True
        if len(users):
            self._weights[users] = state["weights"].to_numpy()

    def _grow(self, users: int) -> None:
        """Make room for the codes below `users`."""
        if users <= len(self._begin):
            return
        more = max(users, len(self._begin) * 5 // 4) - len(self._begin)
        none = np.zeros(more, dtype=np.int64)
        self._here = np.append(self._here, np.zeros(more, dtype=np.bool_))
        self._begin, self._size, self._room = (np.append(old, none) for old in (self._begin, self._size, self._room))
        equal = np.full((more, kernel.EXPERTS), 1.0 / kernel.EXPERTS)
        self._weights = np.concatenate([self._weights, equal])

    def _reserve(self, users: Users, events: Ints) -> None:
        """Make room for as many new pairs of users as they have events."""
        at = places(users)
        begin, size, room = self._begin[at], self._size[at], self._room[at]
        used = kernel.reserve(events, begin, size, room, self._pairs, self._used)
        if used > len(self._pairs.counts):
            self._compact(int(used) - self._used)
            begin = self._begin[at]
            used = kernel.reserve(events, begin, size, room, self._pairs, self._used)
        self._begin[at], self._room[at], self._used = begin, room, int(used)

    def _compact(self, more: int) -> None:
        """Move all pairs together, into arrays with room for `more` and as many again as there are."""
        users = np.flatnonzero(self._room)
        room = self._room[users]
        at = _spread(self._begin[users], room)
        pairs = _room(2 * (len(at) + more))
        for old, new in zip(self._pairs, pairs, strict=True):
            new[: len(at)] = old[at]
        self._pairs, self._used = pairs, len(at)
        self._begin[users] = np.cumsum(room) - room


_PAIR: Final = ("given", "value", "count")


def score_alone(feature: Feature, chain: Chain) -> Scores:
    """Bits and surprisal of events that are all there is of their users in a period, so that nothing is kept."""
    users = len(feature.first) - 1
    none = np.zeros(users, dtype=np.int64)
    return _score(feature, chain, _most(feature), (none, none.copy(), _equal(users)))


def score_left_out(feature: Feature, own: kernel.Owned, chain: Chain, cap: int) -> Scores:
    """The same where the chain was learned from these very events, with each user's `own` counts taken out of it."""
    scores, weights = nothing(feature), _equal(len(feature.first) - 1)
    events = feature.first, feature.given, feature.value
    kernel.score_left_out(*events, chain.normal, own, cap, _most(feature), weights, *scores)
    return scores


def compare(feature: Feature, past: kernel.Owned, chain: Chain, least: int) -> Scores:
    """Bits and surprisal of a feature's events against the users' own `past`.

    Users with fewer than `least` events in it give no evidence.
    """
    scores = nothing(feature)
    kernel.compare_users(feature.first, feature.given, feature.value, chain.normal, past, least, *scores)
    return scores


def excuse(scores: Scores, feature: Feature, users: Users, taught: Counted) -> Scores:
    """The scores, but nothing that users were taught to be expected of them speaks against them."""
    own = taught.of(users)
    for user in np.flatnonzero(own.last > own.first).tolist():
        known, events = (
            slice(int(own.first[user]), int(own.last[user])),
            slice(*feature.first[user : user + 2].tolist()),
        )
        pairs = _key(own.given[known], own.value[known])
        expected = np.isin(_key(feature.given[events], feature.value[events]), pairs)
        scores.bits[events] = np.where(expected, np.minimum(scores.bits[events], 0.0), scores.bits[events])
    return scores


def _key(given: Codes, value: Codes) -> Ints:
    """A number for each pair."""
    return (given.astype(np.int64) << 32) + value


def nothing(feature: Feature) -> Scores:
    """No bits for any event."""
    return Scores(np.zeros(len(feature.value)), np.zeros(len(feature.value)))


def together(parts: Sequence[Scores]) -> Scores:
    """What features say together, in the arrays of the first; they must not tell the same twice.

    Examples
    --------
    >>> together([Scores(np.array([1.0]), np.array([2.0])), Scores(np.array([0.5]), np.array([3.0]))])
    Scores(bits=array([1.5]), surprisal=array([5.]))
    """
    first, *rest = parts
    for more in rest:
        np.add(first.bits, more.bits, out=first.bits)
        np.add(first.surprisal, more.surprisal, out=first.surprisal)
    return first


def count(feature: Feature, users: Users, code: int) -> pl.DataFrame:
    """How often each user showed each pair of a feature (`amiss.baseline.COUNT_SCHEMA`)."""
    events = len(feature.value)
    out = np.empty(events, dtype=np.int32), np.empty(events, dtype=np.int32)
    counts, kept = np.empty(events, dtype=np.int64), np.zeros(len(users), dtype=np.int64)
    kernel.count_users(feature.first, feature.given, feature.value, out, counts, kept)
    cells = int(kept.sum())
    columns = {
        "feature": pl.repeat(code, cells, dtype=pl.UInt8, eager=True),
        "user": np.repeat(users, kept),
        "given": out[0][:cells],
        "value": out[1][:cells],
        "count": counts[:cells],
    }
    return pl.DataFrame(columns, schema=COUNT_SCHEMA)


def _score(feature: Feature, chain: Chain, pairs: kernel.Pairs, held: tuple[Ints, Ints, Floats]) -> Scores:
    """The scores of users who hold pairs from a place on, so many, and weights; the last two move on."""
    scores = nothing(feature)
    events = feature.first, feature.given, feature.value
    kernel.score_users(*events, chain.normal, pairs, *held, *scores)
    return scores


def _most(feature: Feature) -> kernel.Pairs:
    """Space for the pairs of any one user."""
    return _room(min(int(feature.events.max(initial=0)), kernel.MOST_PAIRS))


def _room(pairs: int) -> kernel.Pairs:
    """Space for so many pairs."""
    return kernel.Pairs(*(np.zeros(pairs, dtype=np.int32) for _ in range(3)))


def _equal(users: int) -> Floats:
    """Equal weights for all experts, by user."""
    return np.full((users, kernel.EXPERTS), 1.0 / kernel.EXPERTS)


def _spread(begin: Ints, size: Ints) -> Ints:
    """Every place from each `begin` on, `size` of them."""
    last = np.cumsum(size)
    places: Ints = np.arange(int(last[-1]) if len(last) else 0) + np.repeat(begin - (last - size), size)
    return places


def _lists(column: Codes, size: Ints) -> pl.Series:
    """A column cut into lists of these sizes."""
    from pyarrow.lib import LargeListArray

    bounds = pl.Series(np.append(0, np.cumsum(size))).to_arrow()
    return pl.Series(LargeListArray.from_arrays(bounds, pl.Series(column).to_arrow()))
