"""Charts of evidence and surprisal, as Altair charts to show, combine or `.save`.

Each is a pure function of frames as :class:`~amiss.result.Result` gives them. Names are made harmless
(:mod:`amiss.escape`), so any text may stand in a log. Altair takes time to import, and so this module does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import altair as alt
import polars as pl

from amiss import escape

INK: Final = "#24211d"
MUTED: Final = "#6f6a62"
RULE: Final = "#e4dfd5"
PAPER: Final = "#fffefb"
ACCENT: Final = "#c2410c"
QUIET: Final = "#b9b3a8"
SERIES: Final = ("#c2410c", "#2563ab", "#8a6d0b", "#0f766e", "#8b3fa8", "#b02a5b")
"""Colours of the lines in an evidence timeline, the first user's first."""

HEAT: Final = ("#f7f2e8", "#f6e2c4", "#f2c48d", "#e89a55", "#d0652a", "#96350f")
HEAT_BITS: Final = (1, 2, 4, 7, 10)
"""Bits at which the heat map takes its next colour."""

LINES: Final = len(SERIES)
LINE_POINTS: Final = 300
STRIP_COLUMNS: Final = 160
HEAT_ACTIONS: Final = 16
FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"

STYLE: Final[dict[str, Any]] = {
    "font": FONT,
    "background": "transparent",
    "aria": False,
    "padding": 2,
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED,
        "labelFontSize": 11,
        "labelPadding": 6,
        "gridColor": RULE,
        "tickColor": RULE,
        "tickSize": 4,
        "domain": False,
    },
}
"""The look of every chart here."""

_MIDNIGHT: Final = datetime(2000, 1, 1, tzinfo=UTC)


def evidence_timeline(
    stories: Mapping[str, pl.DataFrame],
    *,
    threshold_bits: float,
    ordinary: tuple[str, pl.DataFrame] | None = None,
    width: int = 900,
    height: int = 300,
) -> alt.LayerChart:
    """Running evidence of users over their day, with the line from which an alert is raised.

    Users are laid over each other by the time of day, each on the day of their story. Evidence below 0 is drawn at 0.
    Above 40 bits the axis is a square root, so that the threshold stays in sight.

    Parameters
    ----------
    stories : user -> (n, ≥2) columns `time`, `evidence`
        As `Result.story` gives them, the most telling user first; only the first six are drawn.
    threshold_bits
        Where the threshold line stands.
    ordinary
        A user for comparison and their story, drawn in grey.
    width, height
        Size of the plot in pixels, without the names at its right.

    Examples
    --------
    >>> story = pl.DataFrame({"time": [datetime(2026, 1, 5, 8, tzinfo=UTC)], "evidence": [12.5]})
    >>> evidence_timeline({"ann": story}, threshold_bits=11.6).to_dict()["layer"][0]["mark"]["type"]
    'rule'
    """
    drawn = dict(list(stories.items())[:LINES])
    colours = dict(zip(drawn, SERIES, strict=False))
    if ordinary is not None and ordinary[0] not in drawn:
        drawn[ordinary[0]] = ordinary[1]
        colours[ordinary[0]] = QUIET
    points = _points(drawn)
    top = max([threshold_bits * 1.25, *points["evidence"]])
    bent = top > 40
    names = {user: _line_name(user, ordinary) for user in drawn}
    lines = points.with_columns(pl.col("user").replace_strict(colours).alias("colour"))
    labels = _labels(lines, names, top, height, bent=bent)
    y = alt.Y(
        "evidence:Q",
        title=None,
        scale=alt.Scale(type="sqrt" if bent else "linear", domain=[0, top], nice=False),
        axis=alt.Axis(values=_ticks(top, bent=bent), labelExpr="datum.value + ' bits'"),
    )
    hour = alt.Axis(format="%H:%M", tickCount=max(3, width // 110), grid=False, labelFlush=True)
    x = alt.X("time:T", title=None, scale=alt.Scale(type="utc", nice=False), axis=hour)
    colour = alt.Color("colour:N", scale=None)
    grouped = alt.Chart(_values(lines)).encode(x=x, y=y, color=colour, detail="user:N")
    said: dict[str, Any] = {"align": "right", "baseline": "bottom", "dx": -6, "dy": -4, "fontSize": 11}
    limit = alt.Chart(
        _values(pl.DataFrame({"evidence": [threshold_bits], "text": [f"alert from {threshold_bits:.1f} bits"]}))
    )
    named = alt.Chart(_values(labels)).mark_text(align="left", dx=8, fontSize=12, fontWeight=600, clip=False)
    layers = (
        limit.mark_rule(strokeDash=[5, 4], strokeWidth=1.2, color=INK).encode(y=y),
        grouped.mark_line(interpolate="step-after", strokeWidth=2, strokeJoin="round"),
        limit.mark_text(**said, stroke=PAPER, strokeWidth=4).encode(x=alt.value(width), y=y, text="text:N"),
        limit.mark_text(**said, color=INK).encode(x=alt.value(width), y=y, text="text:N"),
        named.encode(x=alt.value(width), y=y, text="name:N", color=colour),
    )
    chart: alt.LayerChart = alt.layer(*layers).properties(width=width, height=height).configure(**STYLE)
    return chart


def story_strip(
    story: pl.DataFrame, *, top_surprisal: float | None = None, width: int = 420, height: int = 110
) -> alt.Chart:
    """One bar per event of a user, as high as its surprisal, coloured where it speaks for odd.

    A long story is drawn in 160 columns, each as high as its most surprising event.

    Parameters
    ----------
    story : (n, ≥2) columns `surprisal`, `bits`
        As `Result.story` gives it.
    top_surprisal
        End of the axis in bits, to compare users; the highest of the story unless given.

    Examples
    --------
    >>> story_strip(pl.DataFrame({"surprisal": [0.5, 7.0], "bits": [-0.2, 4.0]})).to_dict()["mark"]["type"]
    'rect'
    """
    bars = strip_columns(story)
    top = top_surprisal or max([1.0, *bars["surprisal"]])
    edges = bars.with_columns(pl.lit(0.0).alias("low"), (pl.col("column") + 0.78).alias("end"))
    axis = alt.Axis(tickCount=3, labelExpr="datum.value + ' bits'")
    colour = alt.condition("datum.odd", alt.value(ACCENT), alt.value(QUIET))
    chart = alt.Chart(_values(edges)).mark_rect()
    columns = alt.Scale(domain=[0, max(bars.height, 24)], nice=False)
    drawn = chart.encode(
        x=alt.X("column:Q", title=None, axis=None, scale=columns),
        x2="end:Q",
        y=alt.Y("low:Q", title=None, axis=axis, scale=alt.Scale(domain=[0, top], nice=False)),
        y2="surprisal:Q",
        color=colour,
    )
    strip: alt.Chart = drawn.properties(width=width, height=height).configure(**STYLE)
    return strip


def strip_columns(story: pl.DataFrame, columns: int = STRIP_COLUMNS) -> pl.DataFrame:
    """Columns of a strip: `column`, `surprisal` of its most surprising event, and whether that event is `odd`.

    Examples
    --------
    >>> strip_columns(pl.DataFrame({"surprisal": [0.5, 7.0, 1.0, 2.0], "bits": [-0.2, 4.0, 0.0, -1.0]}), 2).rows()
    [(0, 7.0, True), (1, 2.0, False)]
    """
    share = max(1.0, story.height / columns)
    return (
        story.select("surprisal", (pl.col("bits") > 0).alias("odd"))
        .with_columns((pl.int_range(pl.len()) / share).floor().cast(pl.Int64).alias("column"))
        .group_by("column", maintain_order=True)
        .agg(pl.col("surprisal").max(), pl.col("odd").get(pl.col("surprisal").arg_max()))
    )


def surprisal_heat_map(
    transitions: pl.DataFrame,
    *,
    outcome: Literal["success", "failure"] = "success",
    actions: int = HEAT_ACTIONS,
    cell: int = 30,
) -> alt.LayerChart:
    """How surprising each action is after each other one: rows what came before, columns what came then.

    The most frequent `actions` are drawn; pairs that never came are empty.

    Parameters
    ----------
    transitions : (n, ≥6) columns `action`, `previous`, `success`, `failure`, `bits_success`, `bits_failure`
        As `Result.transitions` gives it; `previous` is empty at the start of a session.
    outcome
        Which of the two outcomes.
    cell
        Pixels of a cell's side.

    Examples
    --------
    >>> table = pl.DataFrame({"action": ["login"], "previous": [""], "success": [9], "failure": [1],
    ...                       "bits_success": [0.15], "bits_failure": [3.3]})
    >>> surprisal_heat_map(table).to_dict()["layer"][0]["mark"]["type"]
    'rect'
    """
    columns, rows = heat_order(transitions, actions)
    seen = transitions.filter(
        pl.col(outcome) > 0, pl.col("action").is_in(columns), pl.col("previous").is_in(rows)
    ).select("action", "previous", pl.col(f"bits_{outcome}").alias("bits"))
    names = _distinct([*columns, *rows])
    shown = seen.with_columns(pl.col("action", "previous").replace_strict(names, return_dtype=pl.String))
    x = _heat_axis([names[text] for text in columns], orient="top", labelAngle=-50)
    y = _heat_axis([names[text] for text in rows], orient="left")
    base = alt.Chart(_values(shown)).encode(x=alt.X("action:N", **x), y=alt.Y("previous:N", **y))
    colours = alt.Scale(type="threshold", domain=list(HEAT_BITS), range=list(HEAT))
    cells = base.mark_rect(cornerRadius=3, stroke=PAPER, strokeWidth=2)
    light = alt.condition("datum.bits >= 7", alt.value(PAPER), alt.value(INK))
    numbers = base.mark_text(fontSize=10).encode(text=alt.Text("bits:Q", format=".1f"), color=light)
    layers = alt.layer(cells.encode(color=alt.Color("bits:Q", scale=colours, legend=None)), numbers)
    size = {"width": cell * max(1, len(columns)), "height": cell * max(1, len(rows))}
    chart: alt.LayerChart = layers.properties(**size).configure(**STYLE)
    return chart


def _heat_axis(names: Sequence[str], **place: object) -> dict[str, Any]:
    """Options of an axis that lists names in the given order."""
    axis = {"ticks": False, "grid": False, "labelLimit": 130, **place}
    return {"sort": None, "title": None, "scale": {"domain": list(names)}, "axis": axis}


def heat_order(transitions: pl.DataFrame, actions: int = HEAT_ACTIONS) -> tuple[list[str], list[str]]:
    """The most frequent actions, and the actions before them, the start of a session first.

    Examples
    --------
    >>> heat_order(pl.DataFrame({"action": ["b", "a", "a"], "previous": ["", "", "a"],
    ...                          "success": [1, 5, 2], "failure": [0, 0, 0]}))
    (['a', 'b'], ['', 'a'])
    """
    count = (pl.col("success") + pl.col("failure")).sum().alias("count")
    totals = transitions.group_by("action").agg(count).sort("count", "action", descending=[True, False])
    columns = totals["action"].head(actions).to_list()
    before = set(transitions["previous"])
    return columns, [*([""] if "" in before else []), *(action for action in columns if action in before and action)]


def _points(stories: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Points of all lines: `user`, `time` on one day, `evidence`, each line held a little beyond the last event of all."""
    lines = [_line(user, story) for user, story in stories.items() if story.height]
    if not lines:
        return pl.DataFrame(schema={"user": pl.String, "time": pl.Datetime("us", "UTC"), "evidence": pl.Float64})
    points = pl.concat(lines)
    first, last = points.select(first=pl.col("time").min(), last=pl.col("time").max()).row(0)
    held = last + max((last - first) / 25, timedelta(seconds=1))
    ends = points.group_by("user", maintain_order=True).last().with_columns(pl.lit(held).alias("time"))
    return pl.concat([points, ends.select(points.columns)])


def _line(user: str, story: pl.DataFrame) -> pl.DataFrame:
    """The points of one line: the highest of neighbours, and the last."""
    clock = pl.col("time") - pl.col("time").dt.truncate("1d").first() + pl.lit(_MIDNIGHT)
    line = story.select(pl.lit(user).alias("user"), clock, pl.col("evidence").clip(lower_bound=0.0))
    part = (pl.int_range(pl.len()) / max(1.0, story.height / LINE_POINTS)).floor().alias("part")
    highest = line.group_by(part, maintain_order=True).agg(pl.all().get(pl.col("evidence").arg_max()))
    return pl.concat([highest.drop("part"), line.tail(1)])


def _line_name(user: str, ordinary: tuple[str, pl.DataFrame] | None) -> str:
    name = escape.label(user, 18)
    return f"{name} (ordinary)" if ordinary is not None and user == ordinary[0] else name


def _labels(lines: pl.DataFrame, names: Mapping[str, str], top: float, height: int, *, bent: bool) -> pl.DataFrame:
    """A name at the end of each line, pushed apart until none covers another."""
    ends = lines.group_by("user", maintain_order=True).last().sort("evidence", maintain_order=True)
    heights = _apart([height * _bend(value / top, bent=bent) for value in ends["evidence"]], gap=16.0, top=height)
    values = [top * _unbend(value / height, bent=bent) for value in heights]
    name = pl.col("user").replace_strict(names, return_dtype=pl.String).alias("name")
    colour = pl.col("colour").replace(QUIET, MUTED)
    return ends.select(name, colour, pl.Series("evidence", values, dtype=pl.Float64))


def _bend(share: float, *, bent: bool) -> float:
    return math.sqrt(share) if bent else share


def _unbend(share: float, *, bent: bool) -> float:
    return share * share if bent else share


def _apart(heights: Sequence[float], *, gap: float, top: float) -> list[float]:
    """Rising heights moved up to lie at least `gap` apart, then down from the top where they ran over it."""
    moved: list[float] = []
    for value in heights:
        moved.append(max(value, moved[-1] + gap) if moved else value)
    limit = top
    for index in reversed(range(len(moved))):
        moved[index] = max(0.0, min(moved[index], limit))
        limit = moved[index] - gap
    return moved


def _ticks(top: float, *, bent: bool) -> list[int]:
    """About five round numbers from 0 to `top`, denser below on a bent axis."""
    if bent:
        steps = (0, 10, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
        return [step for step in steps if step <= top and (step < 20 or step >= top / 60)]
    step = next(step for step in (1, 2, 5, 10) if top / step <= 6 or step == 10)
    return list(range(0, int(top) + 1, step))


def _distinct(texts: Sequence[str]) -> dict[str, str]:
    """Names to show for texts, with numbers where two would look the same."""
    shown: dict[str, str] = {}
    for text in texts:
        name = escape.label(text, 22) if text else "(start)"
        taken = set(shown.values())
        if text not in shown:
            shown[text] = next(n for n in (name, *(f"{name} {i}" for i in range(2, 999))) if n not in taken)
    return shown


def _values(frame: pl.DataFrame) -> alt.InlineData:
    """The rows inline, times as UTC milliseconds."""
    times = pl.selectors.temporal().dt.timestamp("ms")
    return alt.InlineData(values=frame.with_columns(times).to_dicts())
