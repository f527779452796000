"""What is normal: capped counts of earlier periods, and the chances that follow from them.

Every feature that amiss judges is a **chain**: a categorical `value` (an action, a gap, a country) that follows a
`given` (the action before, ...). Its chance backs off from the given's own row to all rows to the never-seen.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.blocks import frozen
from amiss.errors import UsageError

if TYPE_CHECKING:
    from amiss.baseline_kernel import Normal, Rows

T = TypeVar("T")

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

COUNT_SCHEMA: Final[dict[str, pl.DataType]] = {
    "feature": pl.UInt8(),
    "user": pl.UInt32(),
    "given": pl.Int32(),
    "value": pl.Int32(),
    "count": pl.Int64(),
}
"""Counts of a period: how often each user showed each value of each feature. A `given` of -1 is "nothing before"."""

COUNT_KEYS: Final = tuple(name for name in COUNT_SCHEMA if name != "count")
"""What a row of counts is about; counts are ordered by it."""

OWN_SCHEMA: Final[dict[str, pl.DataType]] = {
    "user": pl.UInt32(),
    "feature": pl.UInt8(),
    "weights": pl.Array(pl.Float64(), 5),
    "ways": pl.List(pl.Float64()),
    "given": pl.List(pl.Int32()),
    "value": pl.List(pl.Int32()),
    "count": pl.List(pl.Int32()),
}
"""What is remembered of a user while a period runs: a row per feature, 12 bytes per different pair.

The value of a pair that the baseline knows nothing of stands as ``-1 - value``.
"""

CELL_SCHEMA: Final[dict[str, pl.DataType]] = {"given": pl.Int32(), "value": pl.Int32(), "count": pl.Int64()}
"""Counts of one feature over all users."""


HIGHEST_CAP: Final = 1_000_000_000

WINDOW: Final = 30
"""How many days back a baseline reaches if nothing else is asked for."""

LONGEST_WINDOW: Final = 3650

MANY_ROWS: Final = 200_000
"""Rows of counts from which on features are added up side by side."""

LARGEST_TABLE: Final = 1 << 17
"""The most values in rows of which the price is kept; that of others is found each time."""

LARGEST_SUM: Final = 1 << 17
"""The most cells that are added up in a table; more are grouped."""


def no_counts() -> pl.DataFrame:
    """Counts of no events: what merging leaves unchanged."""
    return pl.DataFrame(schema=COUNT_SCHEMA)


def merge(counts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The sum of counts, ordered by `COUNT_KEYS`; rows that add up to 0 go.

    Examples
    --------
    >>> one = pl.DataFrame([(0, 7, -1, 3, 2)], schema=COUNT_SCHEMA, orient="row")
    >>> merge([one, no_counts(), one]).rows()
    [(0, 7, -1, 3, 4)]
    """
    some = [frame for frame in counts if len(frame)]
    if len(some) == 1 and some[0].schema == COUNT_SCHEMA and _is_merged(_arrays(some[0])):
        return some[0]
    apart = [_by_feature(frame) for frame in some]
    parts = [[each[feature] for each in apart if feature in each] for feature in sorted(set().union(*apart))]
    if sum(map(len, some)) < MANY_ROWS:
        return pl.concat([no_counts(), *map(_merged, parts)])
    with ThreadPoolExecutor(len(parts)) as pool:
        return pl.concat([no_counts(), *pool.map(_merged, parts)])


def _by_feature(counts: pl.DataFrame) -> dict[int, pl.DataFrame]:
    """The counts of each feature; of counts in order they are parts, not copies."""
    ordered = counts if counts["feature"].is_sorted() else counts.sort("feature", maintain_order=True)
    runs = ordered["feature"].rle().struct
    ends = runs.field("len").cum_sum()
    spans = zip(runs.field("value"), ends - runs.field("len"), runs.field("len"), strict=True)
    return {feature: ordered.slice(start, length) for feature, start, length in spans}


def _merged(counts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The sum of counts of one feature, in order."""
    from amiss import baseline_kernel as kernel

    typed = [frame.select(pl.col(name).cast(dtype) for name, dtype in COUNT_SCHEMA.items()) for frame in counts]
    some = [frame for frame in typed if len(frame)]
    if _come_in_turn(some) and _is_merged(_arrays(whole := pl.concat([no_counts(), *some]))):
        return whole
    sums = [_arrays(no_counts()), *map(_arrays, some)]
    sums = [rows if kernel.is_ordered(rows) else _arrays(_frame(rows).sort(COUNT_KEYS)) for rows in sums]
    while len(sums) > 1:
        pairs = zip_longest(sums[::2], sums[1::2])
        sums = [kernel.added(one, other) if other is not None else one for one, other in pairs]
    return _frame(sums[0])


def _come_in_turn(counts: Sequence[pl.DataFrame]) -> bool:
    """Whether the first user of each counts comes behind the last of the one before."""
    return all(one["user"][-1] < other["user"][0] for one, other in pairwise(counts))


def _is_merged(rows: Rows) -> bool:
    """Whether rows are in order, each with a count."""
    from amiss import baseline_kernel as kernel

    return bool(kernel.is_ordered(rows)) and 0 not in rows.count_


def _frame(rows: Rows) -> pl.DataFrame:
    """Arrays as counts."""
    return pl.DataFrame(dict(zip(COUNT_SCHEMA, rows, strict=True)), schema=COUNT_SCHEMA)


def check_cap(cap: int) -> None:
    """Refuse a cap that is no count.

    Raises
    ------
    UsageError
        If it is below 1 or above :data:`HIGHEST_CAP`.
    """
    if not 1 <= cap <= HIGHEST_CAP:
        raise UsageError(f"cap is the most that one user adds to a count: expected 1 to {HIGHEST_CAP:,}, found {cap}")


def check_window(window: int) -> None:
    """Refuse a window that is no number of days.

    Raises
    ------
    UsageError
        If it is below 1 or above :data:`LONGEST_WINDOW`.
    """
    if not 1 <= window <= LONGEST_WINDOW:
        raise UsageError(
            f"window is how many days before a day say what is normal on it: expected 1 to {LONGEST_WINDOW:,}, "
            f"found {window}"
        )


def capped(counts: pl.DataFrame, feature: int, cap: int) -> pl.DataFrame:
    """The counts of one feature in a period over all users (`CELL_SCHEMA`), to each of which a user adds at most `cap`.

    Examples
    --------
    >>> flood = pl.DataFrame([(0, 7, -1, 3, 900), (0, 8, -1, 3, 2)], schema=COUNT_SCHEMA, orient="row")
    >>> capped(flood, feature=0, cap=5).rows()
    [(-1, 3, 7)]
    """
    rows = counts.filter(feature=feature)
    given, value, count = (rows[name].to_numpy() for name in CELL_SCHEMA)
    givens, values = (int(codes.max(initial=-1)) + 2 for codes in (given, value))
    if givens * values > LARGEST_SUM:
        limited = pl.col("count").clip(upper_bound=cap).sum()
        return rows.group_by("given", "value").agg(limited).sort("given", "value")
    sums = np.bincount((given + 1) * values + value, np.minimum(count, cap), givens * values)
    cells = np.flatnonzero(sums)
    table = {"given": cells // values - 1, "value": cells % values, "count": sums[cells].astype(np.int64)}
    return pl.DataFrame(table, schema=CELL_SCHEMA)


class Past:
    """The counts of earlier periods, and what they add up to: kept as periods come and go, so that each costs its own.

    Examples
    --------
    >>> period = pl.DataFrame([(0, 7, -1, 3, 900)], schema=COUNT_SCHEMA, orient="row")
    >>> past = Past([period, period])
    >>> past.cells(feature=0, cap=5).rows(), past.by_user().rows()
    ([(-1, 3, 10)], [(0, 7, -1, 3, 1800)])
    >>> past.drop(0)
    >>> past.cells(feature=0, cap=5).rows(), past.by_user().rows()
    ([(-1, 3, 5)], [(0, 7, -1, 3, 900)])
    """

    def __init__(self, periods: Iterable[pl.DataFrame] = ()) -> None:
        self._periods: list[pl.DataFrame] = []
        self._cells: dict[tuple[int, int], pl.DataFrame] = {}
        self._made: dict[Hashable, Any] = {}
        self._by_user: pl.DataFrame | None = None
        self.taught = no_counts()
        """What a person said is to be expected of users (`COUNT_SCHEMA`): it speaks against them no more."""
        self._bad = no_counts()
        for period in periods:
            self.add(period)

    def __len__(self) -> int:
        return len(self._periods)

    @property
    def bad(self) -> pl.DataFrame:
        """What a person said was done by somebody else, or by a bad user (`COUNT_SCHEMA`)."""
        return self._bad

    @bad.setter
    def bad(self, counts: pl.DataFrame) -> None:
        if not counts.equals(self._bad):
            self._made.clear()
            self._bad = counts

    @property
    def periods(self) -> list[pl.DataFrame]:
        """The counts of each period, in the order they came."""
        return self._periods.copy()

    def add(self, counts: pl.DataFrame) -> None:
        """Take the counts of one more period."""
        self._periods.append(counts)
        self._change(counts, 1)

    def drop(self, at: int) -> None:
        """Give up the counts of the period `at`, in the order they came."""
        self._change(self._periods.pop(at), -1)

    def cells(self, feature: int, cap: int) -> pl.DataFrame:
        """The counts of one feature over all users and periods (`CELL_SCHEMA`), a user adding at most `cap` in each."""
        key = (feature, cap)
        if key not in self._cells:
            self._cells[key] = _summed([capped(period, feature, cap) for period in self._periods])
        return self._cells[key]

    def chain(self, feature: int, cap: int) -> Chain:
        """The chances of one feature, from its cells; the same object until a period comes or goes."""
        return self.once((feature, cap), lambda: Chain.from_cells(self.cells(feature, cap)))

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What is made of these counts under a key, made anew only when they or what is bad change."""
        if key not in self._made:
            self._made[key] = make()
        found: T = self._made[key]
        return found

    def by_user(self) -> pl.DataFrame:
        """The counts over all periods by user (`COUNT_SCHEMA`)."""
        if self._by_user is None:
            self._by_user = merge(self._periods)
        return self._by_user

    def _change(self, counts: pl.DataFrame, sign: int) -> None:
        """Add the counts of a period to all sums, or take them away."""
        self._made.clear()
        signed = pl.col("count") * sign
        for (feature, cap), cells in self._cells.items():
            self._cells[feature, cap] = _summed([cells, capped(counts, feature, cap).with_columns(signed)])
        if self._by_user is not None:
            self._by_user = merge([self._by_user, counts.with_columns(signed)])


def _summed(cells: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The sum of cells, in order; those that add up to 0 go."""
    rows = pl.concat([pl.DataFrame(schema=CELL_SCHEMA), *cells])
    sums = rows.group_by("given", "value").agg(pl.col("count").sum())
    return sums.filter(pl.col("count") != 0).sort("given", "value")


def _arrays(counts: pl.DataFrame) -> Rows:
    """The columns of counts as arrays."""
    from amiss.baseline_kernel import Rows

    columns = (counts[name].cast(dtype).to_numpy() for name, dtype in COUNT_SCHEMA.items())
    return Rows(*map(frozen, columns))


@dataclass(frozen=True, eq=False)
class Chain:
    r"""The chances of a value given what came before it, from counts.

    With `n` the count of (given, value), `N` the sum of its row, `d` the distinct values in the row (at least 1),
    `m` the count of the value over all rows, `M` the sum of those, `V` the known values and `D` the different pairs::

        p(value | given)  = (n + d * p0(value)) / (N + d)
        p0(value)         = (1 - p0(never-seen)) * (m + 1/2) / (M + V/2)
        p0(never-seen)    = (V + 1/2) / (D + 1)

    A row gives way to p0 when a pair is new. `V` of the `D` pairs brought a new value when they first came, so that
    is how often a new pair does. A given without a row has p0 itself, with ``p0(never-seen) = (O + 1/2) / (M + 1)``,
    `O` being the values that came once: where everybody goes their own way, going where nobody went says little.
    Where nothing is known, p0(never-seen) is 1.

    Attributes
    ----------
    row_of : (g,)
        Row of each `given + 1`; -1 where no row exists.
    start : (r + 1,)
        Where each row begins in `value` and `count`.
    value, count : (c,)
        The cells, sorted by row and value.
    row_total : (r,)
        Sum of each row.
    total : (v,)
        Count of each value over all rows; 0 for the unknown.
    flat : (r + 1,)
        Sum of the square roots of each row's chances; last, that of a given without a row.

    Source
    ------
    Order 0: Krichevsky and Trofimov 1981, "The performance of universal encoding". Rows: Witten and Bell 1991,
    "The zero-frequency problem", method C, with backing off in place of escape. Values that came once: Good 1953,
    "The population frequencies of species".

    Examples
    --------
    >>> cells = pl.DataFrame({"given": [-1, -1], "value": [0, 2], "count": [6, 2]})
    >>> chain = Chain.from_cells(cells)
    >>> chain.p(-1, 0), chain.p(-1, 1), chain.p(5, 1)
    (0.624074..., 0.166666..., 0.055555...)
    """

    row_of: Ints
    start: Ints
    value: Ints
    count: Ints
    row_total: Ints
    total: Ints
    flat: Floats

    @classmethod
    def from_cells(cls, cells: pl.DataFrame) -> Chain:
        """The chain of (c, 3) cells `given`, `value`, `count`, sorted by the first two."""
        given, value, count = (cells[name].cast(pl.Int64).to_numpy() for name in ("given", "value", "count"))
        rows, first = np.unique(given, return_index=True)
        row_of = np.full(int(rows.max(initial=-1)) + 2, -1, dtype=np.int64)
        row_of[rows + 1] = np.arange(len(rows))
        start = np.append(first, len(given)).astype(np.int64)
        row_total = np.diff(np.append(0, np.cumsum(count))[start])
        total = np.bincount(value, weights=count).astype(np.int64) if len(value) else np.zeros(0, dtype=np.int64)
        return cls(row_of, start, value, count, row_total, total, _flat(start, value, count, row_total, total))

    @cached_property
    def normal(self) -> Normal:
        """What compiled passes judge by."""
        from amiss import baseline_kernel as kernel

        counts = (self.row_of, self.start, self.value, self.count, self.row_total, self.total)
        row_of, start, value, count, row_total, total = map(frozen, counts)
        rows, values = len(self.row_total) + 1, len(self.total) + 1
        table = np.empty((rows if rows * values <= LARGEST_TABLE else 0, values, 3))
        whole = kernel.whole(value, total)
        normal = kernel.Normal(row_of, start, value, count, row_total, total, frozen(self.flat), whole, frozen(table))
        if len(table):
            kernel.tabulate(normal, table)
        return normal

    @property
    def known(self) -> int:
        """How many values have been seen."""
        return int(np.count_nonzero(self.total))

    def row(self, given: int) -> slice:
        """The cells that follow `given`; an empty slice where nothing did."""
        row = int(self.row_of[given + 1]) if given + 1 < len(self.row_of) else -1
        return slice(int(self.start[row]), int(self.start[row + 1])) if row >= 0 else slice(0, 0)

    def seen(self, given: int, value: int) -> tuple[int, int]:
        """How often `value` came after `given`, of how many."""
        row = self.row(given)
        return int(self.count[row][self.value[row] == value].sum()), int(self.count[row].sum())

    def p(self, given: int, value: int) -> float:
        """The chance of `value` after `given`; any unknown value has the chance of the never-seen."""
        total = int(self.total[value]) if value < len(self.total) else 0
        n, of = self.seen(given, value)
        novel, scale = _shares(self.total, len(self.value)) if of > 0 else _shares_alone(self.total)
        p0 = (total + 0.5) / scale if total > 0 else novel
        distinct = max(1, len(self.count[self.row(given)]))
        return (n + distinct * p0) / (of + distinct)


def _shares(total: Ints, pairs: int) -> tuple[float, float]:
    """The chance of the never-seen when a pair is new, and what (count + 1/2) of a known value is divided by."""
    known = float(np.count_nonzero(total))
    return _scaled((known + 0.5) / (pairs + 1.0), known, float(total.sum()))


def _shares_alone(total: Ints) -> tuple[float, float]:
    """The same after a given without a row."""
    grand = float(total.sum())
    return _scaled((float(np.count_nonzero(total == 1)) + 0.5) / (grand + 1.0), float(np.count_nonzero(total)), grand)


def _scaled(novel: float, known: float, grand: float) -> tuple[float, float]:
    """A chance of the never-seen, and what (count + 1/2) of a known value is divided by."""
    return (novel, (grand + known / 2.0) / (1.0 - novel)) if known else (1.0, 1.0)


def _flat(start: Ints, value: Ints, count: Ints, row_total: Ints, total: Ints) -> Floats:
    """Sum of square roots of the chances, per row, then for a given without a row."""
    novel, scale = _shares(total, len(value))
    counted = np.sqrt(total[total > 0] + 0.5).sum()
    roots = counted / np.sqrt(scale) + np.sqrt(novel)
    novel_alone, scale_alone = _shares_alone(total)
    alone = counted / np.sqrt(scale_alone) + np.sqrt(novel_alone)
    distinct = np.maximum(np.diff(start), 1).astype(np.float64)
    rows = np.repeat(np.arange(len(row_total)), np.diff(start))
    whole = row_total + distinct
    share = np.sqrt(distinct / whole)
    p0 = (total[value] + 0.5) / scale
    gained = np.sqrt((count + distinct[rows] * p0) / whole[rows]) - share[rows] * np.sqrt(p0)
    return np.append(share * roots + np.bincount(rows, weights=gained, minlength=len(whole)), alone)
