"""What charts of groups of users have in common: who is drawn, in which colours, with which words and titles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import altair as alt
import polars as pl

from amiss import escape
from amiss.behaviour import Grouped
from amiss.errors import UsageError
from amiss.labels import called
from amiss.plots import STYLE
from amiss.plots_activity import LIGHT, Palette, headed, look

Layers = alt.LayerChart
Chart = alt.LayerChart | alt.ConcatChart | alt.VConcatChart

COLOURS: Final = ("#3c3c96", "#ff961e", "#00d2b4", "#871e2d", "#b487ff", "#d24b00", "#008796", "#9600ff")
"""Colours of groups: seen on light and on dark paper, and told apart in all common kinds of colour blindness."""

OTHERS: Final = -2
"""What stands for all groups that are not drawn one by one."""

FAILED: Final = " ✗"

LEAST: Final = 14
"""Characters that it takes to say what a group does."""


@dataclass(frozen=True)
class Cast:
    """The groups that are drawn one by one, the largest first, then those that once were; their colours and words.

    A group's colour follows from its number, unless a group with a lower number has it.
    """

    drawn: tuple[int, ...]
    colours: Mapping[int, str]
    words: Mapping[int, str]
    others: int
    labels: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, found: Grouped) -> Cast:
        """The cast of groups."""
        sizes = (
            found.history.sizes()
            .group_by("group", maintain_order=True)
            .agg(now=pl.last("members"), most=pl.max("members"))
        )
        ranked = sizes.sort("now", "most", "group", descending=[True, True, False])["group"].to_list()
        drawn = tuple(ranked[: len(COLOURS)])
        words = dict(found.groups.select("id", "does").iter_rows())
        named = found.groups.filter(pl.col("label").is_not_null())
        labels = {row["id"]: called(row) for row in named.iter_rows(named=True)}
        return cls(drawn, _coloured(drawn), words, len(ranked) - len(drawn), labels)

    def colour(self, group: int, palette: Palette = LIGHT) -> str:
        """The colour of a group."""
        return self.colours.get(group, palette.muted if group == OTHERS else palette.quiet)

    def name(self, group: int, room: int) -> str:
        """What a group is called and does, in so many characters; failures in words: not every font has their sign."""
        if group in self.labels:
            short = escape.label(self.labels[group], room)
            left = room - escape.cells(short) - 2
            return f"{short}: {self._does(group, left)}" if left >= LEAST else short
        return self._does(group, room)

    def _does(self, group: int, room: int) -> str:
        """What a group does, in so many characters."""
        words = (self.words.get(group) or "").replace(FAILED, " failed")
        first = words.split(", ")[0]
        return escape.listed(words if len(first) <= room else first.rpartition(" ")[0] or first, room)


def _coloured(groups: Iterable[int]) -> dict[int, str]:
    """Colours by number; those whose colour a lower number has get one that is left."""
    found: dict[int, str] = {}
    rest = []
    for group in sorted(groups):
        wanted = COLOURS[(group - 1) % len(COLOURS)]
        if wanted in found.values():
            rest.append(group)
        else:
            found[group] = wanted
    left = [colour for colour in COLOURS if colour not in found.values()]
    return found | dict(zip(rest, left, strict=False))


class Pixels:
    """Axes in pixels from the left and from the top, without anything written at them."""

    def __init__(self, width: float, height: float) -> None:
        self.x = alt.X("x:Q", title=None, axis=None, scale=alt.Scale(domain=[0, width], nice=False))
        self.y = alt.Y("y:Q", title=None, axis=None, scale=alt.Scale(domain=[height, 0], nice=False))

    def spans(self, chart: alt.Chart) -> alt.Chart:
        """Rectangles from `x` to `right` and from `y` to `bottom`."""
        spans: alt.Chart = chart.encode(self.x, self.y, x2="right:Q", y2="bottom:Q")
        return spans

    def texts(
        self, rows: Sequence[tuple[float, float, str]], *, halo: str = "", **style: float | str
    ) -> list[alt.Chart]:
        """Texts at places, in a style, with an edge of paper around their letters where one is wanted."""
        looks: dict[str, Any] = dict(style)
        told = pl.DataFrame(rows, {"x": pl.Float64, "y": pl.Float64, "text": pl.String}, orient="row")
        base = alt.Chart(told).encode(self.x, self.y, text="text:N")
        edge = [base.mark_text(**looks, stroke=halo, strokeWidth=3.5, strokeJoin="round")] if halo else []
        return [*edge, base.mark_text(**looks)]


def legend(cast: Cast, groups: Sequence[int], width: int, palette: Palette) -> Layers:
    """The numbers and colours of some groups, and what they do."""
    beside = max(1, width // 420)
    room = width / beside
    rows = [(group, at % beside * room, at // beside * 20 + 10.0) for at, group in enumerate(groups)]
    place = Pixels(width, rows[-1][2] + 10)
    swatches = [(x, x + 12, y - 6, y + 6, cast.colour(group)) for group, x, y in rows]
    keys = pl.DataFrame(swatches, ["x", "right", "y", "bottom", "colour"], orient="row")
    numbers = [(x + 20, y, str(group)) for group, x, y in rows]
    texts = [(x + 42, y, cast.name(group, int(room / 7.2))) for group, x, y in rows]
    layers = [
        place.spans(alt.Chart(keys).mark_rect(cornerRadius=2)).encode(color=alt.Color("colour:N", scale=None)),
        *place.texts(numbers, align="left", fontSize=12, fontWeight=700, color=palette.ink),
        *place.texts(texts, align="left", fontSize=12, color=palette.muted),
    ]
    return layered(layers, width, rows[-1][2] + 10)


def layered(layers: Sequence[alt.Chart], width: float, height: float, title: alt.TitleParams | None = None) -> Layers:
    """Charts over each other, in so many pixels."""
    chart: Layers = alt.LayerChart(layer=list(layers), width=width, height=height, title=title or alt.Undefined)
    return chart


def check(found: Grouped) -> None:
    """Refuse to draw nobody."""
    if found.members.is_empty():
        raise UsageError("nothing to draw: expected at least one user with events")


def unseen(cast: Cast) -> list[str]:
    """How many groups have no colour of their own."""
    more = f"{cast.others:,} smaller group{' is' if cast.others == 1 else 's are'} not told apart"
    return [more] if cast.others else []


def finished(chart: Chart, title: str, said: list[str], palette: Palette, *, on_page: bool) -> Chart:
    """The chart with its title on paper of its own; on a page without either."""
    titled = chart if on_page else chart.properties(title=headed(title, said, palette))
    finished: Chart = titled.configure(**(STYLE if on_page else look(palette)))
    return finished


def said_day(day: date) -> str:
    """A day as short as it goes."""
    return f"{day.day} {day:%b}"
