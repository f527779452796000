"""Users as points on a map, near each other if they behave alike, on the same axes day by day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from itertools import islice
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

BESIDE: Final = (
    (0, 13), (0, -13), (17, 5), (-17, 5), (14, 19), (-14, 19), (14, -19), (-14, -19),
    (0, 30), (0, -30), (30, 0), (-30, 0),
)  # fmt: skip
"""Pixels from the middle of a group to its number, the best place first."""

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
    scale = _Scale.of(points, cast)
    beside = max(1, min(len(days), width // 280))
    side = (width - 18 * (beside - 1)) // beside
    charts = [_panel(found, cast, points, day, scale=scale, width=min(side, 560), palette=palette) for day in days]
    ways = "a line that swells: a user's way to another group · " if len(days) > 1 else ""
    said = [f"near: alike · {ways}{drawn_said(found, points)}"]
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
    def of(cls, points: pl.DataFrame, cast: Cast) -> _Scale:
        """Where nearly all points are, and the middle of each group told apart; not flat, nor higher than wide."""
        places = pl.col("x", "y")
        named = points.filter(pl.col("group").is_in(cast.drawn)).group_by("day", "group").agg(places.median())
        edges = [points.select(places.quantile(part, "nearest")) for part in (0.01, 0.99)]
        ends = pl.concat([named.select("x", "y"), *edges])
        low, high = ends.min().row(0), ends.max().row(0)
        over, up = ((high[at] - low[at]) / 2 for at in (0, 1))
        most = max(over, up, 1e-6) * 1.12
        return cls((low[0] + high[0]) / 2, (low[1] + high[1]) / 2, most, min(most, max(up * 1.35, most * 0.6)))

    def axes(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Options of both axes."""
        reaches = [self.x - self.over, self.x + self.over], [self.y - self.up, self.y + self.up]
        scales = [alt.Scale(domain=reach, nice=False, zero=False) for reach in reaches]
        return ({"title": None, "axis": None, "scale": scales[0]}, {"title": None, "axis": None, "scale": scales[1]})

    def inside(self, rows: pl.DataFrame, edge: float) -> pl.DataFrame:
        """The rows with what is farther at the edge, so far from it."""
        x, y = ((self.x, self.over - edge), (self.y, self.up - edge))
        return rows.with_columns(pl.col("x").clip(x[0] - x[1], x[0] + x[1]), pl.col("y").clip(y[0] - y[1], y[0] + y[1]))


def _panel(
    found: Grouped, cast: Cast, points: pl.DataFrame, day: date, *, scale: _Scale, width: int, palette: Palette
) -> Layers:
    """The map of a day."""
    height = round(width * scale.up / scale.over)
    x, y = scale.axes()
    place = alt.X("x:Q", **x), alt.Y("y:Q", **y)
    pixel = 2 * scale.over / width
    rows = scale.inside(_dots(points.filter(pl.col("day") == day), cast, palette), 5 * pixel)
    look_: dict[str, Any] = {"color": alt.Color("colour:N", scale=None), "opacity": alt.Opacity("shade:Q", scale=None)}
    dots = alt.Chart(rows.drop("group")).mark_circle().encode(*place, **look_, size=alt.Size("size:Q", scale=None))
    trail = alt.Chart(scale.inside(_ways(found, points, day), 5 * pixel)).mark_trail(color=palette.ink, opacity=0.6)
    ways = trail.encode(*place, size=alt.Size("size:Q", scale=None), detail="way:N")
    base = alt.Chart(_names(rows, cast, pixel)).encode(*place, text="text:N")
    style: dict[str, Any] = {"fontSize": 15, "fontWeight": 700}
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


def _names(rows: pl.DataFrame, cast: Cast, pixel: float) -> pl.DataFrame:
    """The numbers of groups beside their middle, the largest first, each where no other one stands: `x`, `y`, `text`.

    One that finds no room is left out.
    """
    middles = dict(
        rows.group_by("group").agg(pl.median("x", "y")).select("group", pl.concat_list("x", "y")).iter_rows()
    )
    taken: list[tuple[float, float, str]] = []
    for group in (each for each in cast.drawn if each in middles):
        x, y = middles[group]
        tries = ((x + over * pixel, y + up * pixel) for over, up in BESIDE)
        free = (at for at in tries if not any(_covers(at, other, pixel) for other in taken))
        taken += [(*at, str(group)) for at in islice(free, 1)]
    return pl.DataFrame(taken, {"x": pl.Float64, "y": pl.Float64, "text": pl.String}, orient="row")


def _covers(one: tuple[float, float], other: tuple[float, float, str], pixel: float) -> bool:
    """Whether a number at one place covers another one."""
    return abs(one[0] - other[0]) < 20 * pixel and abs(one[1] - other[1]) < 15 * pixel


def _ways(found: Grouped, points: pl.DataFrame, day: date) -> pl.DataFrame:
    """From where drawn users who moved on a day stood the last time to where they stand: `way`, `x`, `y`, `size`."""
    moved = found.moves.filter(pl.col("day") == day).select("user")
    now = points.filter(pl.col("day") == day).join(moved, on="user", maintain_order="right").head(MOVES)
    past = points.filter(pl.col("day") < day).sort("day").group_by("user").agg(pl.last("x", "y"))
    both = now.select("user").join(past, on="user").select("user", "x", "y", size=pl.lit(0.3))
    ends = now.select("user", "x", "y", size=pl.lit(2.2)).join(both, on="user", how="semi")
    ways = pl.concat([both, ends]).sort("user", "size")
    return ways.select(pl.col("user").rle_id().alias("way"), "x", "y", "size")
