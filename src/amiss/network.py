"""Who is near whom, and what they bought last: friendships that come and go, and the spread of the network's amounts.

The **network** of a user are all users within D friendships, without the user. A purchase is judged by the last T
purchases of the buyer's network: by time, ties by their order in the log. All amounts are integers of cents, and so is
what they add up to; nothing here is rounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isqrt
from operator import mul
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

if TYPE_CHECKING:
    from amiss.network_kernel import State, Windows

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Number = TypeVar("Number", bound=np.generic)

BEFRIEND: Final = 0
UNFRIEND: Final = 1
PURCHASE: Final = 2

DEVIATIONS: Final = 3
"""Standard deviations above the mean from which on an amount stands out."""

FARTHEST: Final = 1 << 30
"""Degrees and purchases beyond which more change nothing."""

HELD: Final = 1 << 62
"""Amounts as large as this are held aside."""

FRIEND_SCHEMA: Final[dict[str, pl.DataType]] = {"one": pl.UInt32(), "other": pl.UInt32()}
"""Friendships, the lower code first."""

PURCHASE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "buyer": pl.UInt32(),
    "time": pl.Int64(),
    "label": pl.UInt32(),
    "cents": pl.String(),
}
"""Purchases that are remembered, in order; `cents` in decimal, since they know no limit."""


class Acts(NamedTuple):
    """What happened, one after the other: kind, user, other user, time, cents (:meth:`Network.held`) and label."""

    kind: npt.NDArray[np.uint8]
    user: Codes
    other: Codes
    time: Ints
    cents: Ints
    label: Codes

    def part(self, low: int, high: int) -> Acts:
        """Those from one number to before another."""
        kind, user, other, time, cents, label = self
        part = slice(low, high)
        return Acts(kind[part], user[part], other[part], time[part], cents[part], label[part])

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int, int, int, int, int]]) -> Acts:
        """The acts in rows.

        Examples
        --------
        >>> Acts.of([(BEFRIEND, 0, 1, 0, 0, 0)]).other
        array([1], dtype=int32)
        """
        columns = np.array(rows, dtype=np.int64).reshape(-1, 6).T
        kind, user, other, time, cents, label = columns
        narrow = [column.astype(np.int32) for column in (user, other, label)]
        return cls(kind.astype(np.uint8), narrow[0], narrow[1], time.copy(), cents.copy(), narrow[2])


@dataclass(frozen=True)
class Spread:
    """How many amounts there are, their sum, and the sum of their squares: integers, so that nothing is rounded.

    Examples
    --------
    >>> spread = Spread.of([1000, 2000, 6000])
    >>> spread.mean, spread.deviation
    (3000, 2160)
    >>> spread.is_above(9480), spread.is_above(9481)
    (False, True)
    """

    count: int
    total: int
    squares: int

    @classmethod
    def of(cls, amounts: Iterable[int]) -> Spread:
        """The spread of amounts in cents."""
        listed = list(amounts)
        return cls(len(listed), sum(listed), sum(map(mul, listed, listed)))

    @property
    def mean(self) -> int:
        """The mean in cents, cut off toward zero."""
        whole = abs(self.total) // self.count
        return whole if self.total >= 0 else -whole

    @property
    def deviation(self) -> int:
        """The standard deviation of the population in cents, cut off."""
        return isqrt(self._variance() // self.count**2)

    def is_above(self, cents: int, deviations: int = DEVIATIONS) -> bool:
        """Whether an amount lies above the mean by more than so many standard deviations, without rounding."""
        ahead = self.count * cents - self.total
        return ahead > 0 and ahead * ahead > deviations**2 * self._variance()

    def _variance(self) -> int:
        """The variance times the square of the count."""
        return self.count * self.squares - self.total * self.total


class Bought(NamedTuple):
    """A purchase of the network: whose, when, how much in cents, and how many friendships away the buyer is."""

    user: int
    time: int
    cents: int
    distance: int


@dataclass(frozen=True, eq=False)
class Window:
    """What a purchase was judged by: the act's number, and the last purchases of the network, newest first.

    `users`, `times`, `cents` and `distances` are those of :class:`Bought`.

    Examples
    --------
    >>> window = Window(0, *map(np.array, ([1, 2], [5, 4])), [1000, 2000], np.array([1, 1]))
    >>> window.purchases[0], window.spread.mean
    (Bought(user=1, time=5, cents=1000, distance=1), 1500)
    """

    act: int
    users: Codes
    times: Ints
    cents: Sequence[int]
    distances: Codes

    @property
    def purchases(self) -> list[Bought]:
        """The purchases one by one."""
        columns = (self.users.tolist(), self.times.tolist(), self.cents, self.distances.tolist())
        return [Bought(*row) for row in zip(*columns, strict=True)]

    @property
    def spread(self) -> Spread:
        """How the amounts spread."""
        return Spread.of(self.cents)

    def frame(self) -> pl.DataFrame:
        """The columns `cents` and `distance`."""
        return pl.DataFrame({"cents": self.cents, "distance": self.distances})

    @property
    def robust(self) -> tuple[int, int]:
        """Twice the median of the amounts, and four times the median distance from it, in cents.

        Examples
        --------
        >>> none = np.zeros(4, np.int32)
        >>> Window(0, none, none, [1000, 2000, 6000, 9000], none).robust
        (8000, 10000)
        """
        middle = _twice_median(self.cents)
        return middle, _twice_median([abs(2 * cents - middle) for cents in self.cents])


def _twice_median(numbers: Sequence[int]) -> int:
    """Twice the median, which is an integer."""
    ranked = sorted(numbers)
    return ranked[(len(ranked) - 1) // 2] + ranked[len(ranked) // 2]


class Network:
    """Friendships and purchases so far, and what each purchase is to be judged by.

    Memory: 28 bytes a user, 8 to 16 a friendship, 36 for each of the last `last` purchases of a user.

    Parameters
    ----------
    degrees
        How many friendships away people still belong to a network (D).
    last
        How many purchases of a network count (T).

    Examples
    --------
    >>> network = Network(degrees=1, last=50)
    >>> network.learn(Acts.of([(BEFRIEND, 0, 1, 0, 0, 0), (PURCHASE, 1, 0, 5, 1683, 0), (PURCHASE, 1, 0, 5, 5928, 0)]))
    >>> (window,) = network.judge(Acts.of([(PURCHASE, 0, 0, 6, 160183, 0)]))
    >>> window.purchases[0], window.spread.mean
    (Bought(user=1, time=5, cents=5928, distance=1), 3805)
    """

    def __init__(self, degrees: int, last: int) -> None:
        self.degrees = min(degrees, FARTHEST)
        self.last = min(last, FARTHEST)
        self._state = _nothing()
        self._windows = _no_windows(64, 4096)
        self._huge: list[int] = []

    def __len__(self) -> int:
        """How many purchases are in the log."""
        from amiss import network_kernel as kernel

        return int(self._state.figures[kernel.PURCHASES])

    @property
    def friendships(self) -> int:
        """How many friendships there are."""
        from amiss import network_kernel as kernel

        return int(self._state.figures[kernel.FRIENDSHIPS])

    def held(self, cents: int) -> int:
        """An amount as an act holds it: itself, or what stands for one that does not fit.

        Examples
        --------
        >>> network = Network(degrees=1, last=2)
        >>> network.held(1683), network.held(10**30) < -(2**62)
        (1683, True)
        """
        if -HELD <= cents < HELD:
            return cents
        self._huge.append(cents)
        return -HELD - len(self._huge)

    def cents(self, held: int) -> int:
        """The amount that an act holds."""
        return held if held >= -HELD else self._huge[-HELD - held - 1]

    def learn(self, acts: Acts) -> None:
        """Take note of what happened."""
        for _ in self._follow(acts, judge=False, every=False):
            pass

    def judge(self, acts: Acts, *, every: bool = False) -> Iterator[Window]:
        """What purchases that may stand out are to be judged by, or with `every` all that have two or more to go by.

        Each is judged by what was there before it, and joins that. All of it must be taken.
        """
        return self._follow(acts, judge=True, every=every)

    def _follow(self, acts: Acts, *, judge: bool, every: bool) -> Iterator[Window]:
        """Go through acts; windows come as they fill."""
        from amiss import network_kernel as kernel

        self._admit(1 + max((int(column.max(initial=-1)) for column in (acts.user, acts.other)), default=0))
        at = 0
        while True:
            at = kernel.follow(self._state, self._windows, acts, at, self.degrees, self.last, judge, every)
            filled = int(self._windows.sizes[0])
            yield from self._drained()
            if at == len(acts.kind):
                return
            self._make_room(filled)

    def survey(self, acts: Acts) -> Ints:
        """What each purchase came after, in the columns of :func:`amiss.network_kernel.survey`: (n, 11).

        Other acts, and purchases with fewer than two to go by, have zeros. Amounts must be below 10**16 cents.
        """
        from amiss import network_kernel as kernel

        self._admit(1 + max((int(column.max(initial=-1)) for column in (acts.user, acts.other)), default=0))
        told, at = np.zeros((len(acts.kind), 11), np.int64), 0
        while (at := kernel.survey(self._state, acts, at, self.degrees, self.last, told)) < len(acts.kind):
            self._make_room(0)
        return told

    def _make_room(self, filled: int) -> None:
        """Make room of every kind that may have lacked; windows that were `filled` have room already."""
        from amiss import network_kernel as kernel

        state, figures = self._state, self._state.figures
        if figures[kernel.PURCHASES] == len(state.time):
            self.tidy()
            state = self._state
            if 2 * figures[kernel.PURCHASES] >= len(state.time):
                self._state = _with_log(state, 2 * len(state.time))
        elif not filled:
            room = 2 * max(len(self._windows.owner), self.last if self.last < len(state.time) else 0)
            self._windows = _no_windows(len(self._windows.event), min(room, 2 * len(state.time) + 64))
            pool, shelves = (_longer(array, 2 * len(array)) for array in (state.pool, state.shelves))
            self._state = state._replace(pool=pool, shelves=shelves)

    def tidy(self) -> None:
        """Drop purchases that can matter no more, and put the rest in order."""
        from amiss import network_kernel as kernel

        state = self._state
        kept = np.flatnonzero(kernel.kept(state, max(self.last, 0)))
        if state.figures[kernel.LATE]:
            kept = kept[np.argsort(state.time[kept], kind="stable")]
        for column in (state.time, state.cents, state.label, state.owner):
            column[: len(kept)] = column[kept]
        np.copyto(state.depth, 0)
        state.figures[kernel.PURCHASES] = len(kept)
        state.figures[kernel.LATE] = 0
        state.figures[kernel.NEWEST] = state.time[len(kept) - 1] if len(kept) else 0
        kernel.shelve(state)

    def _admit(self, users: int) -> None:
        """Make room for so many users."""
        if users > len(self._state.size):
            self._state = _with_users(self._state, max(users, 2 * len(self._state.size)))

    def _drained(self) -> Iterator[Window]:
        """The windows that were written, which are empty then."""
        windows, count = self._windows, int(self._windows.sizes[0])
        windows.sizes[0] = 0
        bounds = windows.bounds[: count + 1].tolist()
        users, distances = windows.owner[: bounds[-1]].copy(), windows.level[: bounds[-1]].copy()
        times, held = windows.time[: bounds[-1]].copy(), windows.cents[: bounds[-1]]
        cents = held.tolist() if held.min(initial=0) >= -HELD else list(map(self.cents, held.tolist()))
        for number, act in enumerate(windows.event[:count].tolist()):
            part = slice(bounds[number], bounds[number + 1])
            yield Window(act, users[part], times[part], cents[part], distances[part])

    def friends(self) -> pl.DataFrame:
        """All friendships (`FRIEND_SCHEMA`), in order."""
        state = self._state
        sizes = state.size.astype(np.int64)
        user = np.repeat(np.arange(len(sizes)), sizes)
        inside = np.arange(len(user)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        friend = state.pool[np.repeat(state.begin, sizes) + inside]
        frame = pl.DataFrame({"one": user, "other": friend}, schema=FRIEND_SCHEMA)
        return frame.filter(pl.col("one") < pl.col("other")).sort("one", "other")

    def purchases(self) -> pl.DataFrame:
        """The purchases that can still matter (`PURCHASE_SCHEMA`), by time, ties by order."""
        self.tidy()
        state, count = self._state, len(self)
        cents = [str(self.cents(held)) for held in state.cents[:count].tolist()]
        buyer, time, label = state.owner[:count], state.time[:count], state.label[:count]
        return pl.DataFrame({"buyer": buyer, "time": time, "label": label, "cents": cents}, schema=PURCHASE_SCHEMA)

    @classmethod
    def recalled(cls, degrees: int, last: int, friends: pl.DataFrame, purchases: pl.DataFrame) -> Network:
        """The network of what :meth:`friends` and :meth:`purchases` gave."""
        network = cls(degrees, last)
        ties = [(BEFRIEND, one, other, 0, 0, 0) for one, other in friends.iter_rows()]
        bought = [
            (PURCHASE, user, 0, time, network.held(int(cents)), label)
            for user, time, label, cents in purchases.iter_rows()
        ]
        network.learn(Acts.of(ties + bought))
        return network


def _nothing() -> State:
    """Nobody, and no purchases."""
    from amiss.network_kernel import FIGURES, State

    none, nowhen = np.zeros(0, np.int32), np.zeros(0, np.int64)
    lists, figures = (nowhen, none, none, none), np.zeros(FIGURES, np.int64)
    empty = State(figures, *lists, *lists, none, none, none, none, nowhen, nowhen, none, none, none)
    empty = empty._replace(pool=np.zeros(1024, np.int32), shelves=np.zeros(1024, np.int32))
    return _with_log(_with_users(empty, 64), 1024)


def _with_users(state: State, users: int) -> State:
    """The state with room for so many users."""
    names = ("size", "room", "counts", "space", "depth", "stamp", "members")
    columns = {name: _longer(getattr(state, name), users) for name in names}
    state = state._replace(begin=_longer(state.begin, users), first=_longer(state.first, users))
    return state._replace(newest=_longer(state.newest, users, fill=-1), **columns)


def _with_log(state: State, purchases: int) -> State:
    """The state with room for so many purchases."""
    columns = {name: _longer(getattr(state, name), purchases) for name in ("label", "owner", "found")}
    return state._replace(time=_longer(state.time, purchases), cents=_longer(state.cents, purchases), **columns)


def _longer(array: npt.NDArray[Number], size: int, fill: int = 0) -> npt.NDArray[Number]:
    """The array with room for `size`."""
    longer = np.full(size, fill, array.dtype)
    longer[: len(array)] = array
    return longer


def _no_windows(events: int, purchases: int) -> Windows:
    """Room for what so many events are judged by."""
    from amiss.network_kernel import Windows

    long, short = np.int64, np.int32
    return Windows(
        sizes=np.zeros(1, long),
        event=np.zeros(events, long),
        bounds=np.zeros(events + 1, long),
        owner=np.zeros(purchases, short),
        time=np.zeros(purchases, long),
        cents=np.zeros(purchases, long),
        level=np.zeros(purchases, short),
    )
