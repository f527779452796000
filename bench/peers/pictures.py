"""The pictures of docs/benchmarks.md, from figures that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl
from bench.peers.page import AMISS, METRICS, OPTIMUM, SIMULATED, Metric, rows_of

OURS, OTHERS, BEST = "#c2410c", "#64748b", "#b8c2cf"
WIDTH = 190
SHOWN: Mapping[str, tuple[str, ...]] = {
    "marketplace": ("average_precision", "caught_one_false"),
    "logins": ("world_1_in_1000", "country_1_in_1000", "theft_1_in_1000"),
    "purchases": ("recall", "average_precision"),
    "curriculum": ("scraper", "surge", "silence"),
}


def draw(results: Mapping[str, Any], folder: Path) -> None:
    """Write a picture for each part that was measured."""
    parts = results["parts"]
    for name in (name for name in SIMULATED if name in parts):
        bars(name, rows_of(name, parts[name])).save(str(folder / f"benchmarks-{name}.svg"))
    if "speed" in parts:
        growth(parts["speed"]["found"]).save(str(folder / "benchmarks-growth.svg"))


def bars(name: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    """A panel for each figure, a bar for each way, the best way on top."""
    metrics = [metric for metric in METRICS[name] if metric.key in SHOWN[name]]
    order = [row["way"] for row in sorted(rows, key=lambda row: -sum(row[metric.key] or 0 for metric in metrics))]
    panels = [panel(metric, rows, order, first=number == 0) for number, metric in enumerate(metrics)]
    return plain(alt.hconcat(*panels, spacing=14))


def panel(metric: Metric, rows: Sequence[Mapping[str, Any]], order: Sequence[str], *, first: bool) -> Any:
    """Bars of one figure, with the figure behind each."""
    table = pl.DataFrame([
        {"way": row["way"], "value": row[metric.key] or 0.0, "shown": metric.shown(row), "kind": kind(row["way"])}
        for row in rows
    ])  # fmt: skip
    labels = alt.Axis(labelLimit=300, ticks=False, domain=False) if first else None
    base = alt.Chart(table).encode(alt.Y("way:N", sort=list(order), title=None, axis=labels))
    colour = alt.Color("kind:N", legend=None).scale(domain=["ours", "others", "best"], range=[OURS, OTHERS, BEST])
    value = alt.X("value:Q", title=None).scale(domain=[0, 1.15]).axis(None)
    drawn = base.mark_bar(height=13).encode(value, colour)
    figures = base.mark_text(align="left", dx=4, fontSize=11).encode(value, alt.Text("shown:N"))
    return (drawn + figures).properties(width=WIDTH, height=alt.Step(21), title=metric.title)


def kind(way: str) -> str:
    """Whose a way is."""
    return "ours" if way.startswith(AMISS) else "best" if way == OPTIMUM else "others"


def growth(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    """Seconds and memory by events and by users, on logarithmic axes."""
    panels = [
        line(found[by], by, what, title)
        for by in ("events", "users")
        if found[by]
        for what, title in (("seconds", "seconds"), ("mib", "memory, MiB"))
    ]
    return plain(alt.concat(*panels, columns=2, spacing=24))


def line(rows: Sequence[Mapping[str, Any]], by: str, what: str, title: str) -> Any:
    """Lines of one figure by number."""
    ways = list(dict.fromkeys(row["way"] for row in rows))
    colour = alt.Color("way:N", title=None).scale(domain=ways, range=[OURS, OTHERS]).legend(orient="bottom")
    powers = sorted({row[by] for row in rows})
    drawn = alt.Chart(pl.DataFrame(list(rows))).mark_line(point=True).encode(
        alt.X(f"{by}:Q", title=by).scale(type="log").axis(values=powers, format="~s"),
        alt.Y(f"{what}:Q", title=title).scale(type="log", nice=True).axis(tickCount=4, format=",~g"),
        colour,
    )  # fmt: skip
    return drawn.properties(width=260, height=150)


def plain(chart: Any) -> Any:
    """A chart as pages show it."""
    look = chart.resolve_scale(color="independent").configure(background="white", font="sans-serif", padding=8)
    look = look.configure_view(stroke=None).configure_axis(grid=False, labelFontSize=11)
    return look.configure_title(fontSize=12, anchor="start", frame="group", fontWeight="normal")
