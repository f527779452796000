"""Charts of groups of users: how many each has, what their actions cost, where users stand, who went where.

Each is made of what :func:`amiss.groups` gives. A group has the same colour in all of them, and its number beside it;
the colours are told apart by the colour-blind too. Groups beyond the eight largest are grey, and one where they flow.
Names are made harmless, as in :mod:`amiss.plots`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal

import altair as alt
import polars as pl

from amiss import escape
from amiss.behaviour import Grouped
from amiss.cast import FAILED, Cast, Chart, Layers, Pixels, check, finished, layered, said_day, unseen
from amiss.errors import UsageError, nearest
from amiss.plots_activity import LIGHT, WIDTH, Palette, headed
from amiss.plots_flow import flow_chart
from amiss.plots_map import map_chart

Kind = Literal["sizes", "actions", "map", "flow"]

KINDS: Final = ("sizes", "actions", "map", "flow")
SHADES: Final = (1.0, 0.8, 0.63, 0.48, 0.35, 0.24, 0.13)
"""How strong the colour of a group is for its actions, and last for all other ones."""

BARS: Final = 12
"""Groups whose actions are drawn, the largest."""

HIGH: Final = 214.0
"""Pixels down to where bars of actions stand, `TALL` those that they are high at most, `LINE` those of a line below."""

TALL: Final = 190.0
LINE: Final = 21.0
JUMP: Final = 2.5
"""Times the next lower one that a bar is cut from."""


def drawn(found: Grouped, kind: str, *, palette: Palette = LIGHT) -> Chart:
    """The chart of a kind: `sizes`, `actions`, `map` or `flow`.

    Raises
    ------
    UsageError
        If there is no such kind, if there are no users, or if a flow is asked for and there is one day.
    """
    charts = {"sizes": sizes_chart, "actions": actions_chart, "map": map_chart, "flow": flow_chart}
    if kind not in charts:
        raise UsageError(f'no picture "{kind}" of groups.{nearest(kind, KINDS)} Known: {", ".join(KINDS)}')
    return charts[kind](found, palette=palette)


def sizes_chart(found: Grouped, *, width: int = WIDTH, palette: Palette = LIGHT, on_page: bool = False) -> Chart:
    """How many users each group has: a bar each, or day by day side by side, each to its own height.

    Parameters
    ----------
    found
        Groups.
    width
        Pixels, without what is written around it.
    palette
        Its colours.
    on_page
        Whether it stands on a page that has its own title.
    """
    check(found)
    cast = Cast.of(found)
    chart = (
        _bars(found, cast, width, palette) if len(found.history.days) < 2 else _multiples(found, cast, width, palette)
    )
    away = (found.history.sizes().select((pl.col("members") > pl.col("came")).any())).item()
    said = ["strong: those who came that day · faint: members who were away"] if away else []
    return finished(chart, f"Users in {_groups(found)}", said + unseen(cast), palette, on_page=on_page)


def _bars(found: Grouped, cast: Cast, width: int, palette: Palette) -> Chart:
    """A bar for each group, beside what it does."""
    sizes = found.history.sizes().filter(pl.col("group").is_in(cast.drawn), pl.col("members") > 0)
    rows = sizes.sort("members", "group", descending=[True, False]).select("group", "members").rows()
    room, line = min(300, int(width * 0.42)), 27.0
    scale = (width - room - 108) / rows[0][1]
    lines = [(group, count, line * (at + 0.5)) for at, (group, count) in enumerate(rows)]
    bars = [(room, room + max(1.5, count * scale), y - 9, y + 9, cast.colour(group), 1.0) for group, count, y in lines]
    counts = [(room + count * scale + 8, y, f"{count:,} · {count / len(found.members):.1%}") for _, count, y in lines]
    place = Pixels(width, line * len(rows))
    bar = place.spans(alt.Chart(pl.DataFrame(bars, _RECTANGLE, orient="row")).mark_rect(cornerRadius=2))
    names = [(room - 34.0, y, cast.name(group, (room - 34) // 7)) for group, _, y in lines]
    numbers = [(room - 10.0, y, str(group)) for group, _, y in lines]
    layers = [
        bar.encode(color=alt.Color("colour:N", scale=None)),
        *place.texts(names, align="right", fontSize=12, color=palette.muted),
        *place.texts(numbers, align="right", fontSize=13, fontWeight=700, color=palette.ink),
        *place.texts(counts, align="left", fontSize=12, color=palette.ink),
    ]
    return layered(layers, width, line * len(rows))


def _multiples(found: Grouped, cast: Cast, width: int, palette: Palette) -> Chart:
    """A small chart for each group: members and those who came, day by day."""
    days = [each.day for each in found.history.days]
    beside = max(1, min(len(cast.drawn), 4, width // 160))
    small = (width - 16 * (beside - 1)) // beside - 8
    sizes = found.history.sizes()
    charts = [
        _small(sizes.filter(pl.col("group") == group), days, group, cast, width=small, palette=palette)
        for group in cast.drawn
    ]
    chart: alt.ConcatChart = alt.concat(*charts, columns=beside, spacing={"row": 26, "column": 24})
    return chart


def _small(
    sizes: pl.DataFrame, days: Sequence[date], group: int, cast: Cast, *, width: int, palette: Palette
) -> Layers:
    """The sizes of one group over days."""
    step = width / len(days)
    half = min(0.4, 22 / step)
    day = pl.col("day").replace_strict(list(days), range(len(days)), return_dtype=pl.Float64)
    rows = sizes.with_columns(left=day - half, right=day + half, middle=day, low=pl.lit(0))
    top = max([1, *rows["members"]])
    ends = pl.lit(step >= 34) | pl.col("day").is_in([days[0], days[-1]])
    written = rows.filter(ends, pl.col("members") > 0)
    y: dict[str, Any] = {"title": None, "axis": None, "scale": alt.Scale(domain=[0, top * 1.24], nice=False)}
    reach = alt.Scale(domain=[-0.5, len(days) - 0.5], nice=False)
    x: dict[str, Any] = {"title": None, "axis": _days(days, width), "scale": reach}
    base = alt.Chart(rows).encode(alt.X("left:Q", **x), alt.Y("low:Q", **y), x2="right:Q")
    colour = cast.colour(group)
    members = base.mark_rect(color=colour, opacity=0.3).encode(y2="members:Q")
    came = base.mark_rect(color=colour).encode(y2="came:Q")
    numbers = alt.Chart(written.with_columns(text=_number("members"))).encode(
        alt.X("middle:Q", **x), alt.Y("members:Q", **y), text="text:N"
    )
    style: dict[str, Any] = {"baseline": "bottom", "dy": -3, "fontSize": 11, "color": palette.ink}
    edge = numbers.mark_text(**style, stroke=palette.paper, strokeWidth=3.5, strokeJoin="round")
    head = headed(f"group {group}", [cast.name(group, width // 6)], palette, size=13)
    return layered([members, came, edge, numbers.mark_text(**style)], width, 84, head)


def _days(days: Sequence[date], width: int) -> alt.Axis:
    """An axis of days by number, as many named as find room, always the first and the last."""
    most = max(1, width // 58)
    step = max(1, math.ceil((len(days) - 1) / max(1, most - 1)))
    shown = sorted({*range(0, len(days) - 1 - step // 2, step), len(days) - 1})
    names = " : ".join(f"datum.value == {at} ? '{said_day(days[at])}'" for at in shown)
    return alt.Axis(
        values=shown, labelExpr=f"{names} : ''", grid=False, ticks=False, labelFlush=False, labelOverlap=False
    )


def actions_chart(found: Grouped, *, width: int = WIDTH, palette: Palette = LIGHT, on_page: bool = False) -> Chart:
    """What actions add to the surprisal of a member of each group, stacked, with the numbers below.

    Bars that tower over all others are shortened, with a gap that says so.
    """
    check(found)
    stack = _Stack.of(action_table(found, most=max(2, min(BARS, int(width - _first(width)) // 46))), width)
    chart = stack.drawn(Cast.of(found), palette)
    said = ["bits a member, on the last day that each came · strong: the actions at the top of the table"]
    gap = ["a gap: higher than drawn, the shares as they are"] if stack.is_cut else []
    return finished(chart, "Surprisal by action", said + gap, palette, on_page=on_page)


def action_table(found: Grouped, *, most: int = BARS, actions: int = len(SHADES) - 1) -> pl.DataFrame:
    """The surprisal of a member by group and action, as the numbers below a chart: `group`, `action`, `surprisal`.

    The largest groups in order of size, and for each the same actions: those that make up most of any group's
    surprisal, and last all other ones, without a name.
    """
    groups = found.groups.filter(pl.col("members") > 0)["id"].head(most)
    table = found.history.surprisal().filter(pl.col("group").is_in(groups.implode()))
    part = pl.col("surprisal") / pl.max_horizontal(pl.col("surprisal").sum().over("group"), pl.lit(1e-9))
    weight = table.with_columns(part=part).group_by("action").agg(pl.sum("part"))
    names = weight.sort("part", "action", descending=[True, False])["action"].head(actions)
    shown = pl.when(pl.col("action").is_in(names.implode())).then("action").alias("action")
    sums = table.group_by("group", shown).agg(pl.sum("surprisal"))
    rest = [None] if sums["action"].has_nulls() else []
    order = pl.DataFrame({"action": [*names, *rest]}, schema={"action": pl.String}).with_row_index("at")
    full = pl.DataFrame({"group": groups}).with_row_index("place").join(order, how="cross")
    told = full.join(sums, on=["group", "action"], how="left", nulls_equal=True).sort("place", "at")
    return told.select("group", "action", pl.col("surprisal").fill_null(0.0))


def ceiling(totals: Sequence[float]) -> float:
    """How high bars are drawn: up to the first that towers over the one below it, the upper half considered.

    Examples
    --------
    >>> ceiling([17.0, 18.0, 20.0])
    20.0
    >>> ceiling([17.0, 18.0, 20.0, 900.0])
    25.0
    """
    ranked = sorted(totals)
    half = max(1, len(ranked) // 2)
    for low, high in zip(ranked[half - 1 :], ranked[half:], strict=False):
        if high > JUMP * low > 0:
            return low * 1.25
    return max(ranked[-1], 1e-9)


@dataclass(frozen=True)
class _Stack:
    """Bars of actions on each other, and a table below them: numbers by group, and where each group has its middle."""

    names: Sequence[str | None]
    values: Mapping[int, Sequence[float]]
    first: float
    step: float

    @classmethod
    def of(cls, told: pl.DataFrame, width: float) -> _Stack:
        """The bars of a table, in so many pixels."""
        values = {
            int(str(group)): rows["surprisal"].to_list()
            for (group,), rows in told.group_by("group", maintain_order=True)
        }
        names = told["action"].head(len(told) // len(values)).to_list()
        first = _first(width)
        return cls(names, values, first, min(96.0, (width - first) / len(values)))

    @property
    def totals(self) -> dict[int, float]:
        return {group: sum(each) for group, each in self.values.items()}

    @property
    def cap(self) -> float:
        """The highest bar, in bits."""
        return ceiling(list(self.totals.values()))

    @property
    def is_cut(self) -> bool:
        return any(each > self.cap for each in self.totals.values())

    @property
    def half(self) -> float:
        """Half the width of a bar."""
        return min(24.0, self.step * 0.36)

    def middle(self, group: int) -> float:
        """The middle of a group's bar, from the left."""
        return self.first + self.step * (list(self.values).index(group) + 0.5)

    def drawn(self, cast: Cast, palette: Palette) -> Layers:
        """The chart."""
        right, bottom = self.first + self.step * len(self.values), HIGH + 33 + LINE * len(self.names)
        place = Pixels(right, bottom)
        rules = pl.DataFrame({"x": [0.0, 0.0], "right": [right, right], "y": [HIGH, HIGH + 31]})
        bar = alt.Chart(pl.concat([self.segments(cast), self.keys(palette)])).mark_rect(
            stroke=palette.paper, strokeWidth=0.8
        )
        shade = alt.Opacity("shade:Q", scale=None)
        layers = [
            place.spans(bar).encode(color=alt.Color("colour:N", scale=None), opacity=shade),
            place.spans(alt.Chart(self.gaps()).mark_rect(color=palette.paper)),
            alt.Chart(rules).mark_rule(color=palette.rule).encode(place.x, place.y, x2="right:Q"),
            *self.texts(place, palette),
        ]
        return layered(layers, right, bottom)

    def segments(self, cast: Cast) -> pl.DataFrame:
        """A rectangle for each action of each group, the first at the bottom."""
        rows = []
        for group, values in self.values.items():
            x, y = self.middle(group), HIGH
            scale = TALL / max(self.cap, self.totals[group])
            for shade, value in zip(SHADES, values, strict=False):
                rows.append((x - self.half, x + self.half, y - value * scale, y, cast.colour(group), shade))
                y -= value * scale
        return pl.DataFrame([row for row in rows if row[3] > row[2]], _RECTANGLE, orient="row")

    def keys(self, palette: Palette) -> pl.DataFrame:
        """How strong each action is drawn, beside its name."""
        rows = [(0.0, 12.0, y - 6, y + 6, palette.ink, shade) for y, shade in zip(self._lines(), SHADES, strict=False)]
        return pl.DataFrame(rows, _RECTANGLE, orient="row")

    def gaps(self) -> pl.DataFrame:
        """A gap in each bar that is shortened."""
        cut = [self.middle(group) for group, each in self.totals.items() if each > self.cap]
        rows = [(x - self.half - 2, x + self.half + 2, HIGH - TALL + 16, HIGH - TALL + 20) for x in cut]
        return pl.DataFrame(rows, dict.fromkeys(("x", "right", "y", "bottom"), pl.Float64), orient="row")

    def texts(self, place: Pixels, palette: Palette) -> list[alt.Chart]:
        """Totals, the groups, the actions, and the numbers of each."""
        lines, room = list(self._lines()), max(8, int((self.first - 24) / 6.6))
        tops = {group: HIGH - TALL * min(1.0, each / self.cap) for group, each in self.totals.items()}
        totals = [(self.middle(group), tops[group] - 8, _bits(each)) for group, each in self.totals.items()]
        heads = [(self.middle(group), HIGH + 16, str(group)) for group in self.values]
        names = [escape.label((each or "all other").replace(FAILED, " failed"), room) for each in self.names]
        figures = [
            (self.middle(group), y, _bits(value))
            for group, values in self.values.items()
            for y, value in zip(lines, values, strict=True)
        ]
        return [
            *place.texts(totals, fontSize=12, fontWeight=600, color=palette.ink),
            *place.texts([(20.0, HIGH + 16, "group")], align="left", fontSize=12, color=palette.muted),
            *place.texts(heads, fontSize=13, fontWeight=700, color=palette.ink),
            *place.texts(
                [(20.0, y, name) for y, name in zip(lines, names, strict=True)],
                align="left",
                fontSize=12,
                color=palette.muted,
            ),
            *place.texts(figures, fontSize=11.5, color=palette.ink),
        ]

    def _lines(self) -> Iterator[float]:
        """How far down the lines of the table stand."""
        return (HIGH + 45 + LINE * at for at in range(len(self.names)))


def _first(width: float) -> float:
    """Pixels for the names of actions."""
    return min(190.0, max(108.0, width * 0.3))


_RECTANGLE: Final[dict[str, pl.DataType]] = dict.fromkeys(("x", "right", "y", "bottom"), pl.Float64()) | {
    "colour": pl.String(),
    "shade": pl.Float64(),
}


def _groups(found: Grouped) -> str:
    """How many groups there are."""
    count = int((found.groups["members"] > 0).sum())
    return f"{count:,} group{'' if count == 1 else 's'}"


def _number(column: str) -> pl.Expr:
    """Whole numbers as text, thousands apart."""
    return pl.col(column).map_elements("{:,}".format, return_dtype=pl.String)


def _bits(value: float) -> str:
    """Bits in a table: with a decimal where they are few, nothing as a dash."""
    return "-" if value < 0.05 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
