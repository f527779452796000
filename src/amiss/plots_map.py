"""Users as points on a map, near each other if they behave alike, on the same axes day by day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import altair as alt
import polars as pl

from amiss.behaviour import Grouped
from amiss.cast import Cast, Chart, Layers, check, finished, layered, legend, said_day, unseen
from amiss.history import FEW, MOST_DRAWN
from amiss.plots_activity import LIGHT, WIDTH, Palette, headed

MOST_POINTS: Final = 2_700
"""Points of a map, about: users times days."""

PANELS: Final = 9
"""Days on a map at most, the last ones."""

MOVES: Final = 60
"""Users who moved that are drawn with the way they went, on each day."""


def map_chart(
    found: Grouped, *, width: int = WIDTH, palette: Palette = LIGHT, on_page: bool = False, panels: int = PANELS
) -> Chart:
    """Users as points, near each other if they behave alike, on the same axes day by day.

    A line shows where a user who moved to another group stood the last time. Of large groups a part is drawn, the same
    users on all days.
    """
    check(found)
    cast, days = Cast.of(found), [each.day for each in found.history.days][-panels:]
    points = points_of(found)
    scale = _Scale.of(points)
    beside = max(1, min(len(days), width // 280))
    side = (width - 18 * (beside - 1)) // beside
    charts = [_panel(found, cast, points, day, scale=scale, width=min(side, 560), palette=palette) for day in days]
    said = [f"near: alike · a line that swells: a user's way to another group · {drawn_said(found, points)}"]
    panels_ = alt.concat(*charts, columns=beside, spacing={"row": 26, "column": 18})
    there = [group for group in cast.drawn if group in points.filter(pl.col("day").is_in(days))["group"]]
    chart: Chart = panels_ if on_page else alt.vconcat(panels_, legend(cast, there, width, palette), spacing=16)
    return finished(chart, "Who behaves alike", said + unseen(cast), palette, on_page=on_page)


def points_of(found: Grouped) -> pl.DataFrame:
    """The points of a map, as :meth:`amiss.history.History.places` gives them; the fewer users, the more days."""
    shown = max(1, min(PANELS, len(found.history.days)))
    return found.history.places(min(MOST_DRAWN, MOST_POINTS // shown))


def drawn_said(found: Grouped, points: pl.DataFrame) -> str:
    """How many users are on a map."""
    users = points["user"].n_unique()
    return (
        f"{users:,} of {len(found.members):,} users are drawn" if users < len(found.members) else "all users are drawn"
    )


@dataclass(frozen=True)
class _Scale:
    """The part of the plane that is drawn: its middle, and how far it reaches from there, over and up."""

    x: float
    y: float
    over: float
    up: float

    @classmethod
    def of(cls, points: pl.DataFrame) -> _Scale:
        """Where all but the farthest points are; not flat, nor higher than wide."""
        low, high = (points.select(pl.col("x", "y").quantile(part, "nearest")).row(0) for part in (0.002, 0.998))
        over, up = ((high[at] - low[at]) / 2 for at in (0, 1))
        most = max(over, up, 1e-6) * 1.1
        return cls((low[0] + high[0]) / 2, (low[1] + high[1]) / 2, most, min(most, max(up * 1.35, most * 0.6)))

    def axes(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Options of both axes; what is farther stands at the edge."""
        reaches = [self.x - self.over, self.x + self.over], [self.y - self.up, self.y + self.up]
        scales = [alt.Scale(domain=reach, nice=False, zero=False, clamp=True) for reach in reaches]
        return ({"title": None, "axis": None, "scale": scales[0]}, {"title": None, "axis": None, "scale": scales[1]})


def _panel(
    found: Grouped, cast: Cast, points: pl.DataFrame, day: date, *, scale: _Scale, width: int, palette: Palette
) -> Layers:
    """The map of a day."""
    height = round(width * scale.up / scale.over)
    x, y = scale.axes()
    place = alt.X("x:Q", **x), alt.Y("y:Q", **y)
    rows = _dots(points.filter(pl.col("day") == day), cast, palette)
    look_: dict[str, Any] = {"color": alt.Color("colour:N", scale=None), "opacity": alt.Opacity("shade:Q", scale=None)}
    dots = alt.Chart(rows.drop("group")).mark_circle().encode(*place, **look_, size=alt.Size("size:Q", scale=None))
    trail = alt.Chart(_ways(found, points, day)).mark_trail(color=palette.ink, opacity=0.6)
    ways = trail.encode(*place, size=alt.Size("size:Q", scale=None), detail="way:N")
    names = rows.group_by("group").agg(pl.median("x", "y")).filter(pl.col("group").is_in(cast.drawn)).sort("group")
    base = alt.Chart(names.with_columns(text=pl.col("group").cast(pl.String))).encode(*place, text="text:N")
    style: dict[str, Any] = {"fontSize": 15, "fontWeight": 700, "dy": -13}
    floor = alt.Chart(pl.DataFrame({"all": [0]})).mark_rect(color=palette.rule, opacity=0.35)
    edges = {"x": alt.value(0), "x2": alt.value(width), "y": alt.value(0), "y2": alt.value(height)}
    layers = [
        floor.encode(**edges),
        ways,
        dots,
        base.mark_text(**style, color=palette.paper, stroke=palette.paper, strokeWidth=4.5, strokeJoin="round"),
        base.mark_text(**style, color=palette.ink),
    ]
    came = next(len(each.rows) for each in found.history.days if each.day == day)
    head = headed(
        said_day(day) if len(found.history.days) > 1 else "all days", [f"{came:,} users came"], palette, size=13
    )
    return layered(layers, width, height, head)


def _dots(points: pl.DataFrame, cast: Cast, palette: Palette) -> pl.DataFrame:
    """Points with their looks: those of small groups last, and larger, so that they are seen."""
    count = pl.len().cast(pl.Int64).over("group")
    colour = pl.Series("colour", [cast.colour(group, palette) for group in points["group"]], pl.String)
    few = count <= max(FEW, len(points) // 50)
    looks = pl.when(few).then(30).otherwise(14).alias("size"), pl.when(few).then(0.9).otherwise(0.42).alias("shade")
    return points.with_columns(colour, *looks, rank=-count).sort("rank", "group", "user").drop("day", "user", "rank")


def _ways(found: Grouped, points: pl.DataFrame, day: date) -> pl.DataFrame:
    """From where drawn users who moved on a day stood the last time to where they stand: `way`, `x`, `y`, `size`."""
    moved = found.moves.filter(pl.col("day") == day).select("user")
    now = points.filter(pl.col("day") == day).join(moved, on="user", maintain_order="right").head(MOVES)
    past = points.filter(pl.col("day") < day).sort("day").group_by("user").agg(pl.last("x", "y"))
    both = now.select("user").join(past, on="user").select("user", "x", "y", size=pl.lit(0.3))
    ends = now.select("user", "x", "y", size=pl.lit(2.2)).join(both, on="user", how="semi")
    ways = pl.concat([both, ends]).sort("user", "size")
    return ways.select(pl.col("user").rle_id().alias("way"), "x", "y", "size")
