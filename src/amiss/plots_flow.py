"""Who went from which group to which, day by day, as ribbons between bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

import altair as alt
import polars as pl

from amiss.behaviour import Grouped
from amiss.cast import OTHERS, Cast, Chart, Layers, Pixels, check, finished, layered, said_day, unseen
from amiss.errors import UsageError
from amiss.history import AWAY, NEW
from amiss.plots_activity import LIGHT, WIDTH, Palette
from amiss.sankey import BAR, Layout, layout

FLOW_DAYS: Final = 10
"""The last days between which flows are drawn."""

ASIDE: Final = 46
"""Pixels beside the last bars, for their numbers."""

OVER: Final = 26.0
"""Pixels above the bars, for the days."""


def flow_chart(
    found: Grouped, *, width: int = WIDTH, palette: Palette = LIGHT, on_page: bool = False, days: int = FLOW_DAYS
) -> Chart:
    """Who went from which group to which, day by day: those who are new, those who stay away and come back included.

    Raises
    ------
    UsageError
        If there are fewer than two days.
    """
    check(found)
    history = found.history
    if len(history.days) < 2:
        raise UsageError(
            "users flow from day to day: expected two days at least, one by one (by_day, --by-day). Found: one"
        )
    cast, shown = Cast.of(found), [each.day for each in history.days][-days:]
    named = pl.when(pl.col("left", "joined").is_in([*cast.drawn, AWAY, NEW])).then(pl.col("left", "joined"))
    flows = history.flows().with_columns(named.otherwise(OTHERS))
    parts = [flows.filter(pl.col("day") == day) for day in shown[1:]]
    there = set(pl.concat(parts).select(pl.concat_list("left", "joined").explode())["left"])
    order = [node for node in (NEW, *cast.drawn, OTHERS, AWAY) if node in there]
    margin = max(112, min(240, width // 4))
    placed = layout(parts, order, width=float(width - margin - ASIDE), height=min(460.0, 200 + 30.0 * len(order)))
    chart = _flow(placed, shown, cast, margin, palette)
    said = ["strong: users who changed groups · faint: those who stayed, are new, went away or came back"]
    last = [f"the last {len(shown)} of {len(history.days)} days"] if len(shown) < len(history.days) else []
    return finished(chart, "Who went where", said + last + unseen(cast), palette, on_page=on_page)


def _flow(placed: Layout, days: Sequence[date], cast: Cast, margin: int, palette: Palette) -> Layers:
    """Ribbons, bars, and what is written at them."""
    right = max(placed.nodes["right"]) + margin + ASIDE
    bottom = max(end for _, end in placed.lanes.values()) + OVER + 4
    place = Pixels(right, bottom)
    colours = {node: cast.colour(node, palette) for node in placed.lanes}
    colour = alt.Color("colour:N", scale=None)
    ribbons = alt.Chart(_ribbons(placed, colours, margin)).mark_area(interpolate="monotone")
    shade = alt.Opacity("shade:Q", scale=None)
    bars = _bars(placed, colours, margin)
    layers = [
        ribbons.encode(place.x, place.y, y2="bottom:Q", detail="ribbon:N", color=colour, opacity=shade),
        place.spans(alt.Chart(bars).mark_rect(cornerRadius=1.5)).encode(color=colour),
        *_texts(place, placed, days, cast, margin=margin, palette=palette),
    ]
    return layered(layers, right, bottom)


def _ribbons(placed: Layout, colours: Mapping[int, str], margin: int) -> pl.DataFrame:
    """Points of ribbons with their looks: in the colour of the group that users leave, or else join."""
    is_group = ~pl.col("left").is_in([NEW, AWAY])
    moved = is_group & ~pl.col("joined").is_in([NEW, AWAY]) & (pl.col("left") != pl.col("joined"))
    of = pl.when(is_group).then("left").otherwise("joined")
    return placed.ribbons.select(
        "ribbon", pl.col("x") + margin, (pl.col("top") + OVER).alias("y"), pl.col("bottom") + OVER,
        of.replace_strict(colours, return_dtype=pl.String).alias("colour"),
        pl.when(moved).then(0.85).otherwise(0.26).alias("shade"),
    ).sort("shade", "ribbon", "x")  # fmt: skip


def _bars(placed: Layout, colours: Mapping[int, str], margin: int) -> pl.DataFrame:
    """Bars of nodes with their colours."""
    return placed.nodes.select(
        "users", pl.col("x", "right") + margin, (pl.col("top") + OVER).alias("y"), pl.col("bottom") + OVER,
        pl.col("node").replace_strict(colours, return_dtype=pl.String).alias("colour"),
    )  # fmt: skip


def _texts(
    place: Pixels, placed: Layout, days: Sequence[date], cast: Cast, *, margin: int, palette: Palette
) -> list[alt.Chart]:
    """Days above, groups at the left, and how many users each bar stands for."""
    step = (max(placed.nodes["right"]) - BAR) / max(1, len(days) - 1)
    heads = [(margin + step * at + BAR / 2, 8.0, said_day(day)) for at, day in enumerate(days)]
    lanes = [(OVER + middle, number, text) for middle, number, text in _lanes_said(placed, cast, margin)]
    names = [(margin - 32.0, y, text) for y, _, text in lanes]
    numbers = [(margin - 10.0, y, number) for y, number, _ in lanes]
    bars = placed.nodes.select("users", "x", (pl.col("top") + pl.col("bottom")) / 2 + OVER).iter_rows()
    counts = [(x + margin + BAR + 5, middle, f"{users:,}") for users, x, middle in bars]
    return [
        *place.texts(heads, fontSize=12, fontWeight=600, color=palette.muted),
        *place.texts(names, align="right", fontSize=12, color=palette.muted),
        *place.texts(numbers, align="right", fontSize=13, fontWeight=700, color=palette.ink),
        *place.texts(counts, align="left", fontSize=11, color=palette.ink, halo=palette.paper),
    ]


def _lanes_said(placed: Layout, cast: Cast, margin: int) -> list[tuple[float, str, str]]:
    """Beside the first bar of each lane: the number of a group, and what it does."""
    words = {NEW: "new the next day", AWAY: "away", OTHERS: f"{cast.others:,} other groups"}
    first = placed.nodes.sort("column").group_by("node", maintain_order=True).agg(pl.first("top", "bottom"))
    return [
        ((top + bottom) / 2, "" if node in words else str(node), words.get(node) or cast.name(node, (margin - 40) // 6))
        for node, top, bottom in first.iter_rows()
    ]
