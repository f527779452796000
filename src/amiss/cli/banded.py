"""Bands of counts as a terminal shows them, and as rows for programs."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, TextIO

import polars as pl
from rich.text import Text

from amiss import escape
from amiss.story import plural
from amiss.terminal import left, print_line, print_wrapped

if TYPE_CHECKING:
    from rich.console import Console

    from amiss.activity import Activity
    from amiss.bollinger import Width

NOBODY: Final = "(none)"
"""What users without a group are shown as."""

ROWS: Final = 400
"""Flagged periods that are listed as text where many users are shown."""


def print_bands(
    counts: Activity, width: Width, console: Console, *, flagged: bool, top: int = 20, single: bool = False
) -> None:
    """Print who has flagged periods and how many, and below the periods.

    Of one series all periods are listed, or the flagged ones alone; of many those that are flagged of the first `top`.
    """
    flags = counts.flags(width)
    alone = single or counts.per == "everyone"
    print_wrapped(Text(_headline(counts, flags, width, alone=alone), style="bold"), console)
    if not alone:
        print_line(console)
        _print_flags(counts, flags, console, top)
    said = _too_short(counts, flags, width)
    if said:
        print_line(console)
        print_wrapped(Text(said, style="dim"), console)
    rows = _rows(counts, flags, width, None if alone else top, flagged=flagged or not alone)
    if len(rows):
        print_line(console)
        _print_rows(counts, rows if alone else rows.head(ROWS), console, named=not alone)
    if not alone and len(rows) > ROWS:
        print_line(console, Text(f"and {len(rows) - ROWS:,} more; --format csv gives all", style="dim"))


def _headline(counts: Activity, flags: pl.DataFrame, width: Width, *, alone: bool) -> str:
    """What was found, in a sentence."""
    by = counts.calendar.by
    above, periods = int(flags["flagged"].sum()), int(flags["periods"].sum())
    how = f"(span {width.span:g}, k {width.k:g})"
    share = f"{above:,} of {plural(periods, by)} above the band"
    if alone:
        who = "all users together" if counts.per == "everyone" else escape.label(flags[counts.per][0])
        return f"{who}: {share} {how}."
    some = int((flags["flagged"] > 0).sum())
    return f"{some:,} of {plural(len(flags), counts.per)} with flagged {by}s: {share} {how}."


def _print_flags(counts: Activity, flags: pl.DataFrame, console: Console, top: int) -> None:
    """Print who has flagged periods."""
    by, told = counts.calendar.by, flags.filter(pl.col("flagged") > 0)
    if told.is_empty():
        return
    head = f"{'flagged':>8}  {by + 's':>7}  {'events':>10}  {'most %b':>7}  {left('on', _room(counts))}  {counts.per}"
    print_line(console, Text(head, style="dim"))
    for row in told.head(top).iter_rows(named=True):
        figures = f"{row['flagged']:>8,}  {row['periods']:>7,}  {row['events']:>10,}  {row['most']:>7.2f}  "
        line = f"{figures}{left(_when(row['period']), _room(counts))}  "
        print_line(console, Text(f"{line}{_name(row[counts.per], console.width - len(line))}"))
    if len(told) > top:
        print_line(console, Text(f"and {plural(len(told) - top, counts.per)} more with flagged {by}s", style="dim"))


def _too_short(counts: Activity, flags: pl.DataFrame, width: Width) -> str:
    """How many series are too short for any flag."""
    needed = width.fewest_periods()
    short = 0 if needed is None else int((flags["periods"] < needed).sum())
    if not short or len(flags) < 2:
        return ""
    return (
        f"{plural(short, counts.per)} with fewer than {needed} {counts.calendar.by}s, too few for a flag with this k."
    )


def _rows(counts: Activity, flags: pl.DataFrame, width: Width, top: int | None, *, flagged: bool) -> pl.DataFrame:
    """The periods to list."""
    if top is None:
        return counts.bands(width, flagged=flagged)
    listed = flags.filter(pl.col("flagged") > 0)[counts.per].head(top)
    order = pl.DataFrame({counts.per: listed}).with_row_index("rank")
    parts = (
        part.join(order, on=counts.per, nulls_equal=True, maintain_order="left")
        for part in counts.blocks(width, flagged=True)
    )
    return pl.concat(parts).sort("rank", "period")


def _print_rows(counts: Activity, rows: pl.DataFrame, console: Console, *, named: bool) -> None:
    """Print periods with their bands."""
    figures = f"{'count':>8}  {'mid':>9}  {'lower':>9}  {'upper':>9}  {'%b':>6}"
    head = f"{left(counts.calendar.by, _room(counts))}  {figures}"
    print_line(console, Text(f"{head}  {counts.per}" if named else head, style="dim"))
    for row in rows.iter_rows(named=True):
        line = f"{left(_when(row['period']), _room(counts))}  {row['count']:>8,}  {row['mid']:>9,.1f}  "
        line += f"{_figure(row['lower'], 9, 1)}  {_figure(row['upper'], 9, 1)}  {_figure(row['pct_b'], 6, 2)}"
        said = _name(row[counts.per], console.width - len(line) - 2) if named else "above" if row["flagged"] else ""
        print_line(console, Text(f"{line}  {said}", style="bold" if row["flagged"] and not named else ""))


def _figure(value: float | None, room: int, digits: int) -> str:
    return " " * (room - 1) + "-" if value is None else f"{value:>{room},.{digits}f}"


def _room(counts: Activity) -> int:
    return 10 if counts.calendar.by == "day" else 16


def _when(period: object) -> str:
    """A day, or the hour of a day."""
    return str(period)[:16]


def _name(name: str | None, room: int) -> str:
    return NOBODY if name is None else escape.label(name, max(6, room))


def write_bands(counts: Activity, width: Width, shape: str, stream: TextIO, *, flagged: bool) -> None:
    """Write all periods, or those that are flagged, for programs: `csv`, `jsonl`, or `json` (one array).

    Written some series at a time, so that no more is in memory.
    """
    texts = _csv(counts, width, flagged=flagged) if shape == "csv" else _json(counts, width, shape, flagged=flagged)
    stream.writelines(texts)


def _csv(counts: Activity, width: Width, *, flagged: bool) -> Iterator[str]:
    """Rows of CSV, as spreadsheets may hold them."""
    yield ",".join(_columns(counts)) + "\n"
    for block in counts.blocks(width, flagged=flagged):
        text = io.StringIO()
        _written(counts, block, escape.csv_cell).write_csv(text, include_header=False)
        yield text.getvalue()


def _json(counts: Activity, width: Width, shape: str, *, flagged: bool) -> Iterator[str]:
    """An object a line, as an array where that is wanted."""
    between = "\n"
    yield "[" if shape == "json" else ""
    for block in counts.blocks(width, flagged=flagged):
        lines = _objects(counts, block)
        if shape == "jsonl":
            yield "".join(f"{line}\n" for line in lines)
        elif lines:
            yield between + ",\n".join(lines)
            between = ",\n"
    yield "\n]\n" if shape == "json" else ""


def _objects(counts: Activity, block: pl.DataFrame) -> list[str]:
    """Each row as an object."""
    rows = _written(counts, block, escape.json_text).with_columns(period=pl.format('"{}"', "period"))
    values = [
        pl.format('"{}": {}', pl.lit(name), pl.col(name).cast(pl.String).fill_null("null")) for name in rows.columns
    ]
    text = pl.concat_str(pl.lit("{"), pl.concat_str(values, separator=", "), pl.lit("}"))
    return rows.select(text.alias("text"))["text"].to_list()


def _written(counts: Activity, block: pl.DataFrame, spelled: Callable[[str], str]) -> pl.DataFrame:
    """Rows with names and periods as they are written."""
    form = "%Y-%m-%d" if counts.calendar.by == "day" else "%Y-%m-%dT%H:%M:%S%:z"
    rows = block.with_columns(pl.col("period").dt.to_string(form))
    if counts.per == "everyone":
        return rows
    names = rows[counts.per].unique().drop_nulls()
    safe = pl.Series([spelled(name) for name in names], dtype=pl.String)
    return rows.with_columns(pl.col(counts.per).replace_strict(names, safe, default=None))


def _columns(counts: Activity) -> list[str]:
    return [*([] if counts.per == "everyone" else [counts.per]), "period", *_FIGURES]


_FIGURES: Final = ("count", "mid", "upper", "lower", "pct_b", "flagged")
