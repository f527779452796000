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
from amiss.network import Spread

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
BENT: Final = 40
"""Bits above which the axis of evidence is a square root."""

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
    lines, names = _lines(list(stories.items())[:LINES], ordinary)
    top = max([5.0, threshold_bits * 1.25, *lines["evidence"]])
    y = alt.Y("evidence:Q", title=None, **_evidence_axis(top))
    x = alt.X("time:T", title=None, **_time_axis(lines["time"], width))
    colour = alt.Color("colour:N", scale=None)
    labels = alt.Chart(_labels(lines, names, top, height)).mark_text(align="left", dx=8, fontSize=12, fontWeight=600)
    said: dict[str, Any] = {"align": "right", "baseline": "bottom", "dx": -6, "dy": -4, "fontSize": 11}
    limit = pl.DataFrame({"evidence": [threshold_bits], "text": [f"alert from {threshold_bits:.1f} bits"]})
    edge, rule = alt.value(width), alt.Chart(limit)
    layers = (
        rule.mark_rule(strokeDash=[5, 4], strokeWidth=1.2, color=INK).encode(y=y),
        alt.Chart(lines).mark_line(interpolate="step-after", strokeJoin="round").encode(x, y, colour, detail="line:N"),
        rule.mark_text(**said, stroke=PAPER, strokeWidth=4).encode(x=edge, y=y, text="text:N"),
        rule.mark_text(**said, color=INK).encode(x=edge, y=y, text="text:N"),
        labels.encode(x=edge, y=y, text="name:N", color=colour),
    )
    chart: alt.LayerChart = alt.layer(*layers).properties(width=width, height=height).configure(**STYLE)
    return chart


def _evidence_axis(top: float) -> dict[str, Any]:
    bent = top > BENT
    steps = (0, 10, 25, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
    step = next(step for step in (1, 2, 5, 10) if top / step <= 6 or step == 10)
    ticks = (
        [at for at in steps if at < 20 or max(top / 60, 25) <= at <= top]
        if bent
        else list(range(0, int(top) + 1, step))
    )
    scale = {"type": "sqrt" if bent else "linear", "domain": [0, top], "nice": False}
    return {"scale": scale, "axis": {"values": ticks, "labelExpr": "format(datum.value, ',') + ' bits'"}}


def _time_axis(times: pl.Series, width: int) -> dict[str, Any]:
    first, last = times.min(), times.max()
    short = isinstance(first, datetime) and isinstance(last, datetime) and last - first < timedelta(minutes=20)
    ticks = {"format": "%H:%M:%S" if short else "%H:%M", "tickCount": max(3, width // 110)}
    return {"scale": {"type": "utc", "nice": False}, "axis": {"grid": False, "labelFlush": True, **ticks}}


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
    chart = alt.Chart(edges).mark_rect()
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


def purchase_strip(cents: int, network: pl.DataFrame, *, width: int = 640, height: int = 96) -> alt.LayerChart:
    """A purchase beside the last ones of the buyer's network, on a scale where equal factors are equal steps.

    Drawn are the network's purchases, darker where a friend bought, their mean, and mean + 3 sd, from which on the rule
    flags. Amounts below a cent stand at a cent.

    Parameters
    ----------
    cents
        The amount that is judged.
    network : (n, 2) columns `cents`, `distance`
        The purchases it is judged by, and how many friendships away their buyers are.
    width, height
        Size of the plot in pixels.

    Examples
    --------
    >>> network = pl.DataFrame({"cents": [1683, 5928, 1120], "distance": [1, 1, 2]})
    >>> purchase_strip(160183, network).to_dict()["layer"][0]["mark"]["type"]
    'tick'
    """
    spread = Spread.of(network["cents"])
    lines = [(spread.mean, "mean"), (spread.mean + 3 * spread.deviation, "mean + 3 sd")] if spread.count else []
    amounts = [max(1, amount) / 100 for amount in (cents, *network["cents"], *(line for line, _ in lines))]
    scale = alt.Scale(type="log", domain=[min(amounts) / 1.3, max(amounts) * 1.3], nice=False)
    x = alt.X("amount:Q", title=None, scale=scale, axis=alt.Axis(format=",~r", grid=False, values=_marks(amounts)))
    near = network.select(amount=pl.col("cents").clip(lower_bound=1) / 100, is_friend=pl.col("distance") <= 1)
    ticks = alt.Chart(near).mark_tick(thickness=2, size=34, opacity=0.75)
    colour = alt.condition("datum.is_friend", alt.value(SERIES[1]), alt.value(QUIET))
    told = [alt.Chart(_told([(max(1, line), text)])) for line, text in lines]
    rules = [each.mark_rule(strokeDash=[5, 4], strokeWidth=1.2, color=INK).encode(x=x) for each in told]
    sides: tuple[dict[str, Any], ...] = ({"align": "right", "dx": -5}, {"align": "left", "dx": 5})
    said = [
        each.mark_text(**side, fontSize=11, color=INK, dy=-36).encode(x=x, text="text:N")
        for each, side in zip(told, sides, strict=False)
    ]
    judged = alt.Chart(_told([(max(1, cents), f"{cents / 100:,.2f}")]))
    point = judged.mark_point(filled=True, size=130, color=ACCENT, opacity=1).encode(x=x)
    name = judged.mark_text(fontSize=12, fontWeight=600, color=ACCENT, dy=26).encode(x=x, text="text:N")
    layers = (ticks.encode(x=x, color=colour), *rules, *said, point, name)
    chart: alt.LayerChart = alt.layer(*layers).properties(width=width, height=height).configure(**STYLE)
    return chart


def _told(rows: Sequence[tuple[int, str]]) -> pl.DataFrame:
    """Amounts with what is written at them."""
    return pl.DataFrame({"amount": [cents / 100 for cents, _ in rows], "text": [text for _, text in rows]})


def _marks(amounts: Sequence[float]) -> list[float]:
    """Round amounts to write at an axis: 1, 2 and 5 of each power of ten, or powers alone where there are many."""
    low, high = min(amounts) / 1.3, max(amounts) * 1.3
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(powers) < 6 else (1,)
    return [mark for power in powers for step in steps if low <= (mark := step * 10.0**power) <= high]


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
    base = alt.Chart(shown).encode(x=alt.X("action:N", **x), y=alt.Y("previous:N", **y))
    colours = alt.Scale(type="threshold", domain=list(HEAT_BITS), range=list(HEAT))
    cells = base.mark_rect(cornerRadius=3, stroke=PAPER, strokeWidth=2)
    light = alt.condition("datum.bits >= 7", alt.value(PAPER), alt.value(INK))
    numbers = base.mark_text(fontSize=11.5).encode(text=alt.Text("bits:Q", format=".1f"), color=light)
    layers = alt.layer(cells.encode(color=alt.Color("bits:Q", scale=colours, legend=None)), numbers)
    size = {"width": cell * max(1, len(columns)), "height": cell * max(1, len(rows))}
    chart: alt.LayerChart = layers.properties(**size).configure(**STYLE)
    return chart


def _heat_axis(names: Sequence[str], **place: object) -> dict[str, Any]:
    """Options of an axis that lists names in the given order."""
    axis = {"ticks": False, "grid": False, "labelLimit": 140, "labelFontSize": 12, **place}
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


def _lines(
    stories: Sequence[tuple[str, pl.DataFrame]], ordinary: tuple[str, pl.DataFrame] | None
) -> tuple[pl.DataFrame, list[str]]:
    """Points of all lines (`line`, `time` on one day, `evidence`, `colour`), held a little beyond the last event.

    With them the names of the lines.
    """
    told = [(escape.label(user, 18), story, colour) for (user, story), colour in zip(stories, SERIES, strict=False)]
    if ordinary is not None and ordinary[0] not in dict(stories):
        told.append((f"{escape.label(ordinary[0], 18)} (ordinary)", ordinary[1], QUIET))
    empty = pl.DataFrame(schema={"line": pl.Int32, "time": pl.Datetime("us", "UTC"), "evidence": pl.Float64})
    points = pl.concat([empty, *(_line(index, story) for index, (_, story, _) in enumerate(told))])
    ends = points.group_by("line", maintain_order=True).last().with_columns(_held(points["time"]))
    colours = pl.lit(pl.Series([colour for *_, colour in told], dtype=pl.String))
    colour = colours.gather(pl.col("line")).alias("colour")
    return pl.concat([points, ends]).with_columns(colour), [name for name, _, _ in told]


def _held(times: pl.Series) -> pl.Expr:
    """The time to which lines are drawn: a twenty-fifth beyond the last event."""
    span = pl.lit(times).max() - pl.lit(times).min()
    return (pl.lit(times).max() + pl.max_horizontal(span / 25, pl.lit(timedelta(seconds=1)))).alias("time")


def _line(index: int, story: pl.DataFrame) -> pl.DataFrame:
    """The points of one line: the highest of neighbours, and the last."""
    clock = pl.col("time") - pl.col("time").dt.truncate("1d").first() + pl.lit(_MIDNIGHT)
    number = pl.lit(index, pl.Int32).alias("line")
    line = story.select(number, clock.cast(pl.Datetime("us", "UTC")), pl.col("evidence").clip(lower_bound=0.0))
    part = (pl.int_range(pl.len()) / max(1.0, story.height / LINE_POINTS)).floor().alias("part")
    highest = line.group_by(part, maintain_order=True).agg(pl.all().get(pl.col("evidence").arg_max()))
    return pl.concat([highest.drop("part"), line.tail(1)])


def _labels(lines: pl.DataFrame, names: Sequence[str], top: float, height: int) -> pl.DataFrame:
    """A name at the end of each line, pushed apart until none covers another."""
    power = 0.5 if top > BENT else 1.0
    ends = lines.group_by("line", maintain_order=True).last().sort("evidence", maintain_order=True)
    heights = _apart([height * (value / top) ** power for value in ends["evidence"]], gap=16.0, top=height)
    values = [top * (value / height) ** (1 / power) for value in heights]
    shown = [names[index] for index in ends["line"]]
    colour = pl.col("colour").replace(QUIET, MUTED)
    return ends.select(colour, pl.Series("name", shown, pl.String), pl.Series("evidence", values, pl.Float64))


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


def _distinct(texts: Sequence[str]) -> dict[str, str]:
    """Names to show for texts, with numbers where two would look the same."""
    shown: dict[str, str] = {}
    for text in texts:
        name = escape.label(text, 22) if text else "(start)"
        taken = set(shown.values())
        if text not in shown:
            shown[text] = next(n for n in (name, *(f"{name} {i}" for i in range(2, 999))) if n not in taken)
    return shown
