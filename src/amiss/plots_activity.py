"""Charts of activity over time, as Altair charts: counts with their bands, of a user, of a group, of many side by side.

Each is a pure function of rows as :func:`amiss.bands` gives them. Names are made harmless, as in :mod:`amiss.plots`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import altair as alt
import polars as pl

from amiss import escape
from amiss.errors import UsageError
from amiss.plots import ACCENT, INK, MUTED, PAPER, QUIET, RULE, SERIES, STYLE

WIDTH: Final = 900
HEIGHT: Final = 300
SMALL: Final = 96
"""Pixels that charts side by side are high."""

TALL: Final = 36
"""Pixels that the label of a flagged period is high."""

WIDEST: Final = 44
THINNEST: Final = 2.5
"""Pixels of a bar at most, and those below which an outline takes the place of bars."""

MEMBERS: Final = 400
"""Users of a group that are drawn, the busiest."""


@dataclass(frozen=True)
class Palette:
    """Colours of a chart; blue and orange are told apart by all, and by how light they are."""

    paper: str = PAPER
    ink: str = INK
    muted: str = MUTED
    rule: str = RULE
    quiet: str = QUIET
    band: str = SERIES[1]
    accent: str = ACCENT


LIGHT: Final = Palette()
DARK: Final = Palette("#171614", "#ece7de", "#a29b90", "#35322d", "#6a655c", "#7fb0ee", "#f28b54")


def activity_chart(
    bands: pl.DataFrame,
    name: str,
    *,
    width: int = WIDTH,
    height: int = HEIGHT,
    palette: Palette = LIGHT,
) -> alt.LayerChart:
    """Counts over time, the moving mean, the band around it, and what lies above.

    Flagged periods are orange, with date and %b where there is room, those farthest above their band first. The band is
    cut at 0, below which there are no counts.

    Parameters
    ----------
    bands : (n, ≥7) columns `period`, `count`, `mid`, `upper`, `lower`, `pct_b`, `flagged`
        As :func:`amiss.bands` gives them, of one user or of all together.
    name
        What stands above it.
    width, height
        Size of the plot in pixels, without what is written around it.
    palette
        Its colours, `LIGHT` or `DARK`.

    Raises
    ------
    UsageError
        If there are no rows.

    Examples
    --------
    >>> from datetime import date
    >>> counts = {"period": [date(2026, 1, 5), date(2026, 1, 6)], "count": [3, 5], "mid": [3.0, 4.0]}
    >>> shares = {"upper": [None, 6.0], "lower": [None, 2.0], "pct_b": [None, 0.75], "flagged": [False, False]}
    >>> activity_chart(pl.DataFrame(counts | shares), "ann").to_dict()["title"]["text"]
    'ann'
    """
    plot = _Plot.of(_drawn(bands), width, height, palette, labelled=True)
    title = headed(escape.label(name, min(60, width // 11)), [_said(bands), _above(bands)], palette)
    drawn = alt.layer(*plot.layers()).properties(width=width, height=height, title=title)
    chart: alt.LayerChart = drawn.configure(**look(palette))
    return chart


def small_chart(
    bands: pl.DataFrame, *, width: int = 420, height: int = SMALL, palette: Palette = LIGHT
) -> alt.LayerChart:
    """The same without a title and without labels, small, to stand beside others; the page is its background."""
    plot = _Plot.of(_drawn(bands), width, height, palette)
    chart: alt.LayerChart = alt.layer(*plot.layers()).properties(width=width, height=height).configure(**STYLE)
    return chart


def multiples(
    bands: Mapping[str, pl.DataFrame], *, columns: int | None = None, width: int = WIDTH, palette: Palette = LIGHT
) -> alt.ConcatChart:
    """Small charts of users side by side, over the same time, each to its own height.

    Parameters
    ----------
    bands : user -> rows
        As for :func:`activity_chart`, in the order of the charts.
    columns
        How many stand side by side; 2, or 4 where there are more than 12, unless given.
    width
        Pixels of all together.
    palette
        Their colours.

    Examples
    --------
    >>> from datetime import date
    >>> counts = {"period": [date(2026, 1, 5)], "count": [3], "mid": [3.0], "upper": [None], "lower": [None]}
    >>> one = pl.DataFrame(counts | {"pct_b": [None], "flagged": [False]})
    >>> len(multiples({"ann": one, "bob": one}).to_dict()["concat"])
    2
    """
    prepared = {user: _drawn(rows) for user, rows in bands.items()}
    over = (min(_first(rows) for rows in prepared.values()), max(_last(rows) for rows in prepared.values()))
    beside = columns or min(len(prepared), 2 if len(prepared) <= 12 else 4)
    small = width // beside - 46
    charts = [
        alt.layer(*_Plot.of(rows, small, SMALL, palette, over=over).layers()).properties(
            width=small, height=SMALL, title=headed(escape.label(user, small // 8), [_above(rows)], palette, size=13)
        )
        for user, rows in prepared.items()
    ]
    drawn = alt.concat(*charts, columns=beside, spacing={"row": 22, "column": 16})
    chart: alt.ConcatChart = drawn.configure(**look(palette))
    return chart


def group_chart(
    bands: pl.DataFrame,
    users: pl.DataFrame,
    name: str,
    *,
    width: int = WIDTH,
    height: int = HEIGHT,
    palette: Palette = LIGHT,
) -> alt.LayerChart:
    """All users of a group, a faint line each, and the band of all of them together, by user.

    Parameters
    ----------
    bands : (n, ≥7)
        The bands of the group as one, as :func:`amiss.bands` gives them; they are drawn divided by the number of users,
        so that they stand among them. That changes neither %b nor what is flagged.
    users : (m, ≥3) columns `user`, `period`, `count`
        The counts of each user, from their first period to their last.
    name
        What stands above it.
    width, height, palette
        As for :func:`activity_chart`.

    Examples
    --------
    >>> from datetime import date
    >>> counts = {"period": [date(2026, 1, 5)], "count": [5], "mid": [5.0], "upper": [None], "lower": [None]}
    >>> together = pl.DataFrame(counts | {"pct_b": [None], "flagged": [False]})
    >>> users = pl.DataFrame({"user": ["ann", "bob"], "period": [date(2026, 1, 5)] * 2, "count": [3, 2]})
    >>> group_chart(together, users, "staff").to_dict()["title"]["text"]
    'staff: 2 users'
    """
    members = users["user"].n_unique()
    by_user = _drawn(bands.with_columns(pl.col("count", "mid", "upper", "lower") / max(1, members)))
    lines = _lines(users)
    high = max([0.0, *lines["count"].top_k(1)])
    plot = _Plot.of(by_user, width, height, palette, labelled=True, least=high, bent=True)
    faint = alt.Chart(lines).mark_line(
        strokeWidth=1, color=palette.muted, opacity=max(0.15, min(0.6, 14 / (members + 14)))
    )
    each = faint.encode(alt.X("middle:Q", **plot.x), alt.Y("count:Q", **plot.y), detail="line:N")
    layers = [each, plot.band(), plot.mean(), *plot.dots(), *plot.labels()]
    said = (
        "grey: each user · blue: mean of all users and its band · orange: above the band, with %b · axis: square root"
    )
    title = headed(
        f"{escape.label(name, min(60, width // 14))}: {_plural(members, 'user')}", [said, _above(bands)], palette
    )
    drawn = alt.layer(*layers).properties(width=width, height=height, title=title)
    chart: alt.LayerChart = drawn.configure(**look(palette))
    return chart


@dataclass(frozen=True)
class _Plot:
    """The layers of one plot: its rows, its size, its colours, the time and the counts that its axes reach over."""

    rows: pl.DataFrame
    width: int
    height: int
    palette: Palette
    over: tuple[int, int]
    top: float
    is_labelled: bool
    is_bent: bool

    @classmethod
    def of(
        cls,
        rows: pl.DataFrame,
        width: int,
        height: int,
        palette: Palette,
        *,
        labelled: bool = False,
        over: tuple[int, int] | None = None,
        least: float = 0.0,
        bent: bool = False,
    ) -> _Plot:
        """The plot of rows as `_drawn` gives them, over their own time unless told otherwise."""
        highest = max([least, *rows["count"].top_k(1), *rows["upper"].drop_nulls().top_k(1)])
        room = height / (height - TALL) if labelled and rows["flagged"].any() else 1.06
        top = max(1.0, float(highest)) * (room**2 if bent else room)
        return cls(rows, width, height, palette, over or (_first(rows), _last(rows)), top, labelled, bent)

    def layers(self) -> list[alt.Chart]:
        """Band, counts, mean, and what lies above."""
        bars = self.bars() if self._pixels >= THINNEST else self.outline()
        return [self.band(), *bars, self.mean(), *(self.labels() if self.is_labelled else [])]

    def band(self) -> alt.Chart:
        """The band, where there are deviations."""
        inside = self.rows.filter(pl.col("upper").is_not_null()).select(
            "middle", pl.col("lower").clip(lower_bound=0), pl.col("upper").clip(lower_bound=0)
        )
        area = alt.Chart(inside).mark_area(color=self.palette.band, opacity=0.17)
        chart: alt.Chart = area.encode(alt.X("middle:Q", **self.x), alt.Y("lower:Q", **self.y), y2="upper:Q")
        return chart

    def mean(self) -> alt.Chart:
        """The moving mean; a point where there is one period."""
        drawn = alt.Chart(self.rows.select("middle", "mid"))
        mark = (
            drawn.mark_line(color=self.palette.band, strokeWidth=1.8, strokeJoin="round")
            if len(self.rows) > 1
            else drawn.mark_tick(
                color=self.palette.band, thickness=2, orient="horizontal", size=min(WIDEST, max(6.0, self._pixels))
            )
        )
        chart: alt.Chart = mark.encode(alt.X("middle:Q", **self.x), alt.Y("mid:Q", **self.y))
        return chart

    def bars(self) -> list[alt.Chart]:
        """A bar for each period with events."""
        half = min(WIDEST, 0.72 * self._pixels) / self._pixels / 2
        length = pl.col("end") - pl.col("start")
        bars = self.rows.filter(pl.col("count") > 0).select(
            (pl.col("middle") - half * length).alias("left"), (pl.col("middle") + half * length).alias("right"),
            pl.lit(0).alias("low"), "count", "flagged",
        )  # fmt: skip
        colour = alt.condition("datum.flagged", alt.value(self.palette.accent), alt.value(self.palette.quiet))
        place = alt.X("left:Q", **self.x), alt.Y("low:Q", **self.y)
        return [alt.Chart(bars).mark_rect().encode(*place, x2="right:Q", y2="count:Q", color=colour)]

    def outline(self) -> list[alt.Chart]:
        """The counts as an area with steps, flagged ones as lines in it."""
        steps = pl.concat([self.rows.select("start", "count"), self.rows.tail(1).select(start="end", count="count")])
        area = alt.Chart(steps).mark_area(
            color=self.palette.quiet, interpolate="step-after", stroke=self.palette.quiet, strokeWidth=0.6
        )
        lines = alt.Chart(self.rows.filter("flagged").select("middle", pl.lit(0).alias("low"), "count"))
        rule = lines.mark_rule(color=self.palette.accent, strokeWidth=2)
        x = alt.X("middle:Q", **self.x)
        return [
            area.encode(alt.X("start:Q", **self.x), alt.Y("count:Q", **self.y)),
            rule.encode(x, alt.Y("low:Q", **self.y), y2="count:Q"),
        ]

    def dots(self) -> list[alt.Chart]:
        """Flagged periods as points."""
        drawn = alt.Chart(self.rows.filter("flagged").select("middle", "count"))
        point = drawn.mark_point(filled=True, size=46, color=self.palette.accent, opacity=1)
        return [point.encode(alt.X("middle:Q", **self.x), alt.Y("count:Q", **self.y))]

    def labels(self) -> list[alt.Chart]:
        """Dates and %b of flagged periods, those farthest above their band first, as many as find room."""
        edge = self._wide / 2
        place = pl.col("place")
        side = pl.when(place < edge).then(pl.lit("left")).when(place > self.width - edge).then(pl.lit("right"))
        written = self._placed()[self._roomy()].select(
            "middle", "count", "when", "share", side.otherwise(pl.lit("center")).alias("side")
        )
        base = alt.Chart(written).encode(alt.X("middle:Q", **self.x), alt.Y("count:Q", **self.y))
        return [part for text in ("when", "share") for part in self._text(base, text)]

    def _text(self, base: alt.Chart, text: str) -> list[alt.Chart]:
        """One line of labels, with an edge of paper around its letters."""
        colour = self.palette.accent if text == "share" else self.palette.muted
        look: dict[str, Any] = {"align": {"expr": "datum.side"}, "baseline": "bottom", "color": colour}
        look |= {"dy": -4, "fontSize": 11.5, "fontWeight": 600} if text == "share" else {"dy": -17, "fontSize": 10.5}
        edge: dict[str, Any] = {"stroke": self.palette.paper, "strokeWidth": 3.5, "strokeJoin": "round"}
        return [base.mark_text(**look, **more).encode(text=f"{text}:N") for more in (edge, _NOTHING)]

    def _placed(self) -> pl.DataFrame:
        """Rows with their pixels from the left and from below, and with what is written at them."""
        first, last = self.over
        part = pl.col("count") / self.top
        form = "%-d %b" if self._is_daily else "%-d %b %H:%M"
        year = " %Y" if last - first > 400 * DAY else ""
        return self.rows.select(
            "middle", "count", "flagged", "pct_b",
            ((pl.col("middle") - first) / (last - first) * self.width).alias("place"),
            ((part.sqrt() if self.is_bent else part) * self.height).alias("level"),
            pl.col("start").cast(pl.Datetime("ms")).dt.to_string(f"{form}{year}").alias("when"),
            pl.col("pct_b").map_elements("{:.2f}".format, return_dtype=pl.String).alias("share"),
        )  # fmt: skip

    @property
    def _wide(self) -> int:
        """Pixels that a label is wide."""
        return (44 if self._is_daily else 82) + (26 if self.over[1] - self.over[0] > 400 * DAY else 0)

    def _roomy(self) -> list[int]:
        """Rows that are labelled: where no label is yet, and no other bar is in the way."""
        rows = self._placed().with_row_index("row")
        places, levels = rows["place"].to_numpy(), rows["level"].to_numpy()
        taken: list[int] = []
        for row in rows.filter("flagged").sort("pct_b", "row", descending=[True, False])["row"]:
            near = abs(places - places[row]) < self._wide / 2
            is_free = not (levels[near] > levels[row] + 4).any()
            apart = (
                abs(places[row] - places[other]) >= self._wide or abs(levels[row] - levels[other]) >= TALL
                for other in taken
            )
            if is_free and all(apart):
                taken.append(row)
        return sorted(taken)

    @property
    def _is_daily(self) -> bool:
        return int(self.rows["end"][0] - self.rows["start"][0]) == DAY

    @property
    def _pixels(self) -> float:
        """Pixels of a period."""
        first, last = self.over
        return self.width * int(self.rows["end"][0] - self.rows["start"][0]) / (last - first)

    @property
    def y(self) -> dict[str, Any]:
        """Options of the axis of counts."""
        axis = alt.Axis(tickCount=max(2, self.height // 50), tickMinStep=1, format=",d", domain=False)
        scale = alt.Scale(type="sqrt" if self.is_bent else "linear", domain=[0, self.top], nice=False)
        return {"title": None, "scale": scale, "axis": axis}

    @property
    def x(self) -> dict[str, Any]:
        """Options of the axis of time."""
        scale = alt.Scale(domain=list(self.over), nice=False, zero=False)
        values, texts = _ticks(self.over, self.width, middles=self._is_daily and self._pixels > 14)
        names = " : ".join(f"datum.value == {value} ? '{text}'" for value, text in zip(values, texts, strict=True))
        axis = alt.Axis(values=values, labelExpr=f"{names} : ''", grid=False, labelFlush=8, labelOverlap=True)
        return {"title": None, "scale": scale, "axis": axis}


_NOTHING: Final[dict[str, Any]] = {}
DAY: Final = 86_400_000
_HOUR: Final = 3_600_000
_START: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - clocks of the zone that periods are in


def _ticks(over: tuple[int, int], width: int, *, middles: bool) -> tuple[list[int], list[str]]:
    """Where the axis of time has ticks (milliseconds), and what they are called."""
    most = max(4, width // 74)
    hours = (over[1] - over[0]) / _HOUR
    if hours <= 24 * 3:
        step = next((step for step in (1, 2, 3, 6, 12) if hours / step <= most), 24)
        if not middles:
            return _every(over, step * _HOUR, "%H:%M")
    days = next((step for step in (1, 2, 7, 14) if hours / 24 / step <= most), None)
    if days is not None:
        values, texts = _every(over, days * DAY, "%-d %b")
        return [value + DAY // 2 * middles for value in values], texts
    months = next((step for step in (1, 2, 3, 6) if hours / 730.5 / step <= most), 12)
    return _months(over, months)


def _every(over: tuple[int, int], step: int, form: str) -> tuple[list[int], list[str]]:
    """Ticks at equal distances, counted from the first day; midnight is called by its date."""
    begin = over[0] - over[0] % DAY
    values = [value for value in range(begin, over[1], step) if value >= over[0]]
    return values, [
        _called(value, "%-d %b" if value % DAY == 0 else form if n else f"%-d %b {form}", first=n == 0)
        for n, value in enumerate(values)
    ]


def _months(over: tuple[int, int], step: int) -> tuple[list[int], list[str]]:
    """Ticks at the beginning of months."""
    first, last = (_START + timedelta(milliseconds=each) for each in over)
    numbers = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    starts = [datetime(number // 12, number % 12 + 1, 1) for number in numbers if number % step == 0]  # noqa: DTZ001
    values = [(start - _START) // timedelta(milliseconds=1) for start in starts]
    inside = [value for value in values if over[0] <= value < over[1]]
    return inside, [_called(value, "%b", first=n == 0) for n, value in enumerate(inside)]


def _called(value: int, form: str, *, first: bool) -> str:
    """A tick's name; the first and each January say the year."""
    moment = _START + timedelta(milliseconds=value)
    year = first if form != "%b" else first or moment.month == 1
    return moment.strftime(f"{form} %Y" if year and "%H" not in form else form)


def _drawn(bands: pl.DataFrame) -> pl.DataFrame:
    """Rows with where periods begin, end and have their middle: milliseconds since 1970 on the clock of their zone."""
    if bands.is_empty():
        raise UsageError("nothing to draw: expected at least one day or hour with events")
    daily = bands["period"].dtype == pl.Date
    local = pl.col("period").cast(pl.Datetime("ms")) if daily else pl.col("period").dt.replace_time_zone(None)
    start = local.cast(pl.Datetime("ms")).cast(pl.Int64)
    length = DAY if daily else _HOUR
    return bands.with_columns(
        start.alias("start"), (start + length).alias("end"), (start + length // 2).alias("middle"),
        pl.col("upper", "lower", "mid", "pct_b").cast(pl.Float64),
    )  # fmt: skip


def _lines(users: pl.DataFrame) -> pl.DataFrame:
    """Points of the lines of users: the busiest, numbered."""
    sums = users.group_by("user").agg(pl.sum("count").alias("events")).sort("events", "user", descending=[True, False])
    kept = sums.head(MEMBERS).with_row_index("line").select("user", "line")
    daily = users["period"].dtype == pl.Date
    local = pl.col("period").cast(pl.Datetime("ms")) if daily else pl.col("period").dt.replace_time_zone(None)
    middle = local.cast(pl.Datetime("ms")).cast(pl.Int64) + (DAY if daily else _HOUR) // 2
    points = users.join(kept, on="user").select("line", middle.alias("middle"), pl.col("count").cast(pl.Float64))
    return points.sort("line", "middle")


def _first(rows: pl.DataFrame) -> int:
    return int(rows["start"][0])


def _last(rows: pl.DataFrame) -> int:
    return int(rows["end"][-1])


def headed(text: str, said: list[str], palette: Palette, *, size: int = 17) -> alt.TitleParams:
    """The name, and below it what is drawn."""
    return alt.TitleParams(
        text=text, subtitle=said, anchor="start", frame="group", offset=12 if size > 13 else 6, fontSize=size,
        fontWeight=600, color=palette.ink, subtitleColor=palette.muted, subtitleFontSize=12 if size > 13 else 11,
        subtitlePadding=4,
    )  # fmt: skip


def _said(bands: pl.DataFrame) -> str:
    """What is drawn."""
    period = "a day" if _by(bands) == "day" else "an hour"
    return f"bars: events {period} · blue: moving mean and its band · orange: above the band, with %b"


def _above(bands: pl.DataFrame) -> str:
    """How many periods are flagged."""
    return f"{int(bands['flagged'].sum()):,} of {_plural(len(bands), _by(bands))} above the band"


def _by(bands: pl.DataFrame) -> str:
    return "day" if bands["period"].dtype == pl.Date else "hour"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def look(palette: Palette) -> dict[str, Any]:
    """The look of all charts, in these colours, on paper of their own."""
    axis = {**STYLE["axis"], "labelColor": palette.muted, "gridColor": palette.rule, "tickColor": palette.rule}
    return {**STYLE, "axis": axis, "padding": 18, "background": palette.paper}
