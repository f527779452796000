"""Bollinger bands of counts over time: how many events are usual lately, and on which days there were more.

The mean and the deviation of a user's counts are exponentially weighted, so that the last periods say most. A period
whose count lies above mean + k deviations is flagged. The period lies inside its own band, and so there is a k from
which on nothing can be flagged: :func:`most_deviations`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.errors import UsageError

SPAN: Final = 30.0
DEVIATIONS: Final = 2.0

Length = Literal["day", "hour"]
_Places = npt.NDArray[np.int64]

COUNT_SCHEMA: Final[dict[str, pl.DataType]] = {"series": pl.UInt32(), "period": pl.Int32(), "count": pl.UInt32()}
"""Counts: of whom, in which period (days or hours since 1970), how many events. Periods without any have no row."""

BAND_SCHEMA: Final[dict[str, pl.DataType]] = COUNT_SCHEMA | {
    "mid": pl.Float64(),
    "upper": pl.Float64(),
    "lower": pl.Float64(),
    "pct_b": pl.Float64(),
    "flagged": pl.Boolean(),
}
"""Bands: a row for each period of a series from its first event to its last."""

ROWS_AT_ONCE: Final = 1 << 20
"""About how many rows are worked at once."""

LONGEST: Final = 10_000_000
"""Periods of one series at most."""

_HOUR: Final = 3_600_000_000
_LEAST: Final = -(1 << 31)
_LOW: Final = np.uint64((1 << 32) - 1)
_DTYPES: Final = {"series": np.uint32, "period": np.int32, "count": np.uint32}


@dataclass(frozen=True)
class Width:
    """How bands are drawn: over about how many periods back, and how many deviations wide.

    Parameters
    ----------
    span
        The newest period weighs 2 / (span + 1), each one before it (span - 1) / (span + 1) times as much as the next.
    k
        Deviations above and below the mean.

    Raises
    ------
    UsageError
        If span is below 1, or k not above 0.

    Examples
    --------
    >>> Width(span=0.5)
    Traceback (most recent call last):
    amiss.errors.UsageError: span must be a number of periods from 1 on. Found: 0.5
    """

    span: float = SPAN
    k: float = DEVIATIONS

    def __post_init__(self) -> None:
        if not 1 <= self.span < math.inf:
            raise UsageError(f"span must be a number of periods from 1 on. Found: {self.span:g}")
        if not 0 < self.k < math.inf:
            raise UsageError(f"k must be a number of deviations above 0, such as 2. Found: {self.k:g}")

    @property
    def factor(self) -> float:
        """How much less a period weighs than the one after it."""
        return 1.0 - 1.0 / (1.0 + (self.span - 1.0) / 2.0)

    def can_flag(self, periods: int | None = None) -> bool:
        """Whether the last of so many periods (None: of any number) can lie above its band at all."""
        return self.k < most_deviations(self.span, periods)

    def fewest_periods(self) -> int | None:
        """How many periods a series needs before one can be flagged; None where none ever can.

        Examples
        --------
        >>> Width(span=30, k=2).fewest_periods(), Width(span=30, k=3.75).fewest_periods()
        (7, None)
        """
        if not self.can_flag():
            return None
        enough = 2
        while not self.can_flag(enough):
            enough *= 2
        low, high = enough // 2, enough
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.can_flag(middle) else (middle, high)
        return high


def most_deviations(span: float, periods: int | None = None) -> float:
    """The most deviations that the last period of a series can lie above its mean, for the period is part of both.

    With r = (span - 1) / (span + 1), weights 1, r, r², … that sum to W and their squares to W₂, the last count stands
    highest above a past that never varied: there (count - mid)² / std² = (W - 1)(1 - W₂/W²). Without end that is
    (span - 1) / √(2 span). A k that is no smaller flags nothing.

    Parameters
    ----------
    span
        As in :class:`Width`.
    periods
        Length of the series with the last period; without end where it is None.

    Examples
    --------
    >>> round(most_deviations(30), 4), round(most_deviations(30, 7), 4), most_deviations(30, 1)
    (3.7439, 2.0215, 0.0)
    """
    newest = 2.0 / (span + 1.0)
    if newest >= 1.0 or (periods is not None and periods < 2):
        return 0.0
    if periods is None:
        return (span - 1.0) / math.sqrt(2.0 * span)
    gone = -math.expm1(periods * math.log1p(-newest))
    others, squares = gone / newest - 1.0, newest * (2.0 - gone) / ((2.0 - newest) * gone)
    return math.sqrt(others * (1.0 - squares))


@dataclass(frozen=True)
class Calendar:
    """Days or hours of a time zone, numbered.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> late = pl.Series([datetime(2026, 1, 5, 23, 30, tzinfo=UTC)])
    >>> Calendar("day", "UTC").numbers(late).item(), Calendar("day", "Europe/Berlin").numbers(late).item()
    (20458, 20459)
    """

    by: Length = "day"
    zone: str = "UTC"

    def numbers(self, times: pl.Series) -> pl.Series:
        """The periods that times (UTC) lie in."""
        if self.by == "day":
            local = times if self.zone == "UTC" else times.dt.convert_time_zone(self.zone)
            return local.dt.date().to_physical().alias("period")
        micros = times.to_physical() + self._apart(times)
        return (micros // _HOUR).cast(pl.Int32).alias("period")

    def starts(self, numbers: pl.Series) -> pl.Series:
        """Periods as dates, or as the times at which hours begin, in the zone."""
        if self.by == "day":
            return numbers.cast(pl.Int32).cast(pl.Date)
        begun = (numbers.cast(pl.Int64) * _HOUR).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        apart = self._apart(begun)
        return (begun.to_physical() - apart).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(self.zone)

    def _apart(self, times: pl.Series) -> pl.Series:
        """Microseconds by which hours of the zone begin before those of UTC."""
        local = times.dt.convert_time_zone(self.zone)
        offset = local.dt.base_utc_offset() + local.dt.dst_offset()
        return offset.dt.total_microseconds() % _HOUR


def counted(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """How many rows there are of each series and period, never more in memory than about twice what that takes.

    Parameters
    ----------
    parts : (n, 2) each, columns `series`, `period`
        A row for each event.

    Returns
    -------
    counts : (m, 3) columns of `COUNT_SCHEMA`
        Sorted by series and period.

    Examples
    --------
    >>> part = pl.DataFrame({"series": [1, 0, 1], "period": [7, 7, 7]})
    >>> counted([part, part]).rows()
    [(0, 7, 2), (1, 7, 4)]
    """
    from amiss.bollinger_kernel import merged

    sums, rest, waiting = (np.zeros(0, np.uint64), np.zeros(0, np.uint32)), [], 0
    for part in parts:
        rest.append(_packed(part))
        waiting += len(part)
        if waiting > max(ROWS_AT_ONCE, len(sums[0])):
            sums, rest, waiting = merged(*sums, *_runs(rest)), [], 0
    keys, count = merged(*sums, *_runs(rest)) if rest else sums
    period = (keys & _LOW).astype(np.int64) + _LEAST
    columns = {"series": keys >> np.uint64(32), "period": period, "count": count}
    return pl.DataFrame({name: columns[name].astype(dtype) for name, dtype in _DTYPES.items()}, schema=COUNT_SCHEMA)


def _packed(rows: pl.DataFrame) -> npt.NDArray[np.uint64]:
    """Series and period as one number that sorts as they do."""
    series = rows["series"].to_numpy().astype(np.uint64)
    period = (rows["period"].to_numpy().astype(np.int64) - _LEAST).astype(np.uint64)
    packed: npt.NDArray[np.uint64] = (series << np.uint64(32)) | period
    return packed


def _runs(parts: Sequence[npt.NDArray[np.uint64]]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]:
    """The different numbers in order, and how often each is there."""
    keys = np.sort(np.concatenate(parts))
    first = np.flatnonzero(np.diff(keys, prepend=keys[:1] + np.uint64(1)))
    return keys[first], np.diff(first, append=len(keys)).astype(np.uint32)


def bands(counts: pl.DataFrame, width: Width | None = None) -> pl.DataFrame:
    """The bands of all series, a row for each period from the first count of a series to its last.

    Equal to what pandas gives: `resample("D").sum()`, `ewm(span=span).mean()` and `.std()`, `mid ± k · std`.

    Parameters
    ----------
    counts : (n, 3) columns of `COUNT_SCHEMA`
        Sorted by series and period, each pair once.
    width
        Span and k.

    Returns
    -------
    bands : (p, 8) columns of `BAND_SCHEMA`
        `pct_b` is (count - lower) / (upper - lower), `flagged` where it is above 1. The first period of a series has no
        deviation, so that `upper`, `lower` and `pct_b` are null; where nothing ever varied, `pct_b` is.

    Examples
    --------
    >>> counts = {"series": [0] * 5, "period": [0, 1, 2, 3, 4], "count": [572, 230, 170, 830, 652]}
    >>> found = bands(pl.DataFrame(counts, schema=COUNT_SCHEMA), Width(span=30, k=3))
    >>> [round(share, 6) for share in found["pct_b"][1:]]
    [0.386077, 0.386899, 0.696438, 0.588249]
    """
    return pl.concat([pl.DataFrame(schema=BAND_SCHEMA), *blocks(counts, width or Width())])


def blocks(counts: pl.DataFrame, width: Width) -> Iterator[pl.DataFrame]:
    """The bands of all series as in :func:`bands`, some series at a time, about a million rows each.

    Raises
    ------
    UsageError
        If a series is longer than ten million periods.
    """
    series, period = counts["series"].to_numpy(), counts["period"].to_numpy().astype(np.int64)
    first = np.concatenate([np.flatnonzero(np.diff(series, prepend=series[:1] + 1)), [len(series)]])
    lengths = 1 + period[first[1:] - 1] - period[first[:-1]] if len(series) else period
    if len(lengths) and lengths.max() > LONGEST:
        raise UsageError(
            f"a series spans {lengths.max():,} periods, more than {LONGEST:,}: count by day, or look for a wrong time"
        )
    low, ends = 0, np.cumsum(lengths)
    while low < len(lengths):
        before = ends[low - 1] if low else 0
        high = max(low + 1, int(np.searchsorted(ends, before + ROWS_AT_ONCE, side="right")))
        part = counts.slice(int(first[low]), int(first[high] - first[low]))
        yield _block(part, first[low : high + 1] - first[low], lengths[low:high], width)
        low = high


def _block(counts: pl.DataFrame, first: _Places, lengths: _Places, width: Width) -> pl.DataFrame:
    """The bands of some series, which begin at these places of the counts and have so many periods."""
    from amiss.bollinger_kernel import follow

    series, period, count = (counts[name].to_numpy() for name in COUNT_SCHEMA)
    start, rows = np.cumsum(lengths) - lengths, int(lengths.sum())
    whole = {name: np.empty(rows, dtype) for name, dtype in _DTYPES.items()}
    figures = {name: np.empty(rows) for name in ("mid", "upper", "lower", "pct_b")}
    flagged = np.empty(rows, np.bool_)
    given = (series, period, count, first, start)
    follow(*given, width.factor, width.k, (*whole.values(), *figures.values(), flagged))
    columns = {name: pl.Series(values, nan_to_null=True) for name, values in figures.items()}
    return pl.DataFrame({**whole, **columns, "flagged": flagged}, schema=BAND_SCHEMA)
