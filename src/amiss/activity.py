"""How many events there were in each day or hour: counts of a source by user, by group, or of all together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import polars as pl

from amiss import bollinger
from amiss.bollinger import Calendar, Width
from amiss.engine import coded_frames
from amiss.errors import EventError, UsageError, nearest
from amiss.sources import Source
from amiss.vocabulary import Coding, Vocabulary

Per = Literal["user", "group", "everyone"]


@dataclass(frozen=True)
class Activity:
    """Counts of events over time.

    Attributes
    ----------
    counts : (n, 3) columns of `amiss.bollinger.COUNT_SCHEMA`
        Sorted by series and period; periods without events have no row.
    names
        The names of series by their number, empty where a group is not known.
    per
        Whose counts they are.
    calendar
        What periods are.
    """

    counts: pl.DataFrame
    names: Vocabulary
    per: Per
    calendar: Calendar

    @property
    def longest(self) -> int:
        """Periods of the longest series."""
        reach = self.counts.group_by("series").agg(pl.max("period") - pl.min("period") + 1)["period"]
        return int(reach.max() or 0)  # type: ignore[arg-type]  # the most of integers

    def only(self, name: str) -> Activity:
        """The series of that name alone.

        Raises
        ------
        UsageError
            If there is none; names the nearest.
        """
        code = self.names.find(name)
        found = self.counts.filter(pl.col("series") == (-1 if code is None else code))
        if found.is_empty():
            raise UsageError(f'no {self.per} is called "{name}" here.{nearest(name, self._named())}')
        return Activity(found, self.names, self.per, self.calendar)

    def busiest(self, number: int) -> list[str]:
        """The names of the series with most events, most first."""
        sums = self.counts.group_by("series").agg(pl.sum("count").cast(pl.Int64))
        return self.names.decode(
            sums.sort("count", "series", descending=[True, False])["series"].head(number)
        ).to_list()

    def together(self) -> Activity:
        """All series as one."""
        sums = self.counts.group_by("period").agg(pl.sum("count")).sort("period")
        one = sums.select(pl.lit(0, pl.UInt32).alias("series"), "period", "count")
        return Activity(one, Vocabulary([""]), "everyone", self.calendar)

    def bands(self, width: Width, *, flagged: bool = False) -> pl.DataFrame:
        """The bands of all series, as :func:`amiss.bands` gives them; of flagged periods alone where wanted."""
        return pl.concat(
            [self._labelled(pl.DataFrame(schema=bollinger.BAND_SCHEMA)), *self.blocks(width, flagged=flagged)]
        )

    def blocks(self, width: Width, *, flagged: bool = False) -> Iterator[pl.DataFrame]:
        """The same, some series at a time."""
        for block in bollinger.blocks(self.counts, width):
            yield self._labelled(block.filter("flagged") if flagged else block)

    def flags(self, width: Width) -> pl.DataFrame:
        """What is flagged of each series, those with most flagged periods first.

        Returns
        -------
        flags : (s, 6)
            The name, `periods`, `events`, how many are `flagged`, the `most` of pct_b, and its `period`.
        """
        most = pl.col("pct_b").arg_max()
        parts = [
            block.group_by("series", maintain_order=True).agg(
                pl.len().alias("periods"), pl.sum("count").cast(pl.Int64).alias("events"), pl.sum("flagged"),
                pl.max("pct_b").alias("most"), pl.col("period").get(most, null_on_oob=True),
            )
            for block in bollinger.blocks(self.counts, width)
        ]  # fmt: skip
        if not parts:
            return pl.DataFrame()
        told = pl.concat(parts).sort("flagged", "most", "series", descending=[True, True, False], nulls_last=True)
        return self._labelled(told)

    def _labelled(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows with names for numbers of series, and with dates or times for numbers of periods."""
        named = [] if self.per == "everyone" else [self._names(rows["series"])]
        starts = self.calendar.starts(rows["period"]).alias("period")
        return rows.with_columns(starts).select(*named, pl.exclude("series"))

    def _names(self, series: pl.Series) -> pl.Series:
        """The names of series; a group that is not known has none."""
        names = self.names.decode(series).alias(self.per)
        return names if self.per == "user" else names.replace("", None)

    def _named(self) -> Iterable[str]:
        """Some names, to look for one that is near."""
        return self.names.decode(self.counts["series"].unique().sort().head(10_000))


@dataclass(frozen=True)
class _Grouped:
    """Asks for the group of each event; see :class:`amiss.vocabulary.Context`."""

    context_schema: ClassVar[dict[str, pl.DataType]] = {"group": pl.UInt32()}

    def context(self, events: pl.DataFrame) -> pl.DataFrame:
        """The groups, empty where none is known."""
        if "group" not in events.columns:
            raise EventError(
                "no column is the group of users. Name it: --group-column COLUMN, or columns={'group': ...} in Python"
            )
        return events.select(pl.col("group").fill_null(""))

    def context_of(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """The group of one event."""
        return {"group": event.get("group") or ""}


def read(sources: Sequence[Source], calendar: Calendar, *, per: Per = "user") -> Activity:
    """The counts of all events of some sources.

    In memory are a frame of events at a time, and the counts: 12 bytes for each period of a series that has any events.

    Raises
    ------
    EventError
        If groups are wanted and no column is the group.
    """
    coding = Coding(contexts=[_Grouped()] if per == "group" else [])
    frames = (frame for source in sources for frame in coded_frames(source, coding))
    counts = bollinger.counted(_rows(frame, calendar, per) for frame in frames)
    names = {"user": coding.users, "group": coding.values, "everyone": Vocabulary([""])}
    return Activity(counts, names[per], per, calendar)


def of_group(sources: Sequence[Source], calendar: Calendar, name: str) -> Activity:
    """The counts of the users of one group.

    Raises
    ------
    UsageError
        If no group is called so; names the nearest.
    EventError
        If no column is the group.
    """
    coding = Coding(contexts=[_Grouped()])
    frames = (frame for source in sources for frame in coded_frames(source, coding))
    parts = (
        _rows(frame.filter(pl.lit(coding.values.texts()).gather(pl.col("group")) == name), calendar, "user")
        for frame in frames
    )
    counts = bollinger.counted(parts)
    if counts.is_empty():
        raise UsageError(f'no group is called "{name}" here.{nearest(name, coding.values.texts())}')
    return Activity(counts, coding.users, "user", calendar)


def _rows(frame: pl.DataFrame, calendar: Calendar, per: Per) -> pl.DataFrame:
    """Series and period of each event of a coded frame."""
    series = pl.lit(0, pl.UInt32) if per == "everyone" else pl.col(per)
    return frame.select(series.alias("series"), calendar.numbers(frame["time"]).alias("period"))
