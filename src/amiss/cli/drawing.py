"""Pictures of activity as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import altair as alt
import vl_convert

from amiss import page, plots_activity
from amiss.activity import Activity
from amiss.bollinger import Width
from amiss.errors import SinkError, UsageError
from amiss.plots_activity import DARK, LIGHT

FORMS: Final = (".png", ".svg", ".html")
SHARPNESS: Final = 2
"""Pixels of a PNG for each of the chart."""

Chart = alt.Chart | alt.LayerChart | alt.ConcatChart | alt.VConcatChart


def check(output: Path) -> None:
    """Refuse a file whose form is not known.

    Raises
    ------
    UsageError
        If it ends in none of .png, .svg, .html.
    """
    if output.suffix.lower() not in FORMS:
        raise UsageError(f"a picture is written to a file that ends in .png, .svg or .html. Found: {output}")


def of_users(counts: Activity, width: Width, names: Sequence[str], *, dark: bool) -> Chart:
    """One user, or several side by side; all together where none is named."""
    palette = DARK if dark else LIGHT
    if counts.per == "everyone":
        return plots_activity.activity_chart(counts.bands(width), "all users", palette=palette)
    bands = {name: counts.only(name).bands(width) for name in names}
    if len(bands) == 1:
        return plots_activity.activity_chart(bands[names[0]], names[0], palette=palette)
    return plots_activity.multiples(bands, palette=palette)


def of_group(counts: Activity, width: Width, name: str, *, dark: bool) -> Chart:
    """All users of a group, and the band of all of them."""
    users, together = counts.bands(width), counts.together().bands(width)
    return plots_activity.group_chart(together, users, name, palette=DARK if dark else LIGHT)


def write(chart: Chart, output: Path, title: str = "Activity over time") -> None:
    """Write a picture in the form that the name of the file says; a page has a title.

    Raises
    ------
    SinkError
        If the file cannot be written.
    """
    drawn = (
        page.picture(chart, title).encode()
        if output.suffix.lower() == ".html"
        else _picture(chart, output.suffix.lower())
    )
    try:
        output.write_bytes(drawn)
    except OSError as error:
        raise SinkError(f"{output} cannot be written: {error.strerror}") from error


def _picture(chart: Chart, form: str) -> bytes:
    """PNG or SVG."""
    told = chart.to_dict(validate=False)
    if form == ".svg":
        svg: str = vl_convert.vegalite_to_svg(told, allowed_base_urls=[])
        return page.compact(svg).encode()
    png: bytes = vl_convert.vegalite_to_png(told, scale=SHARPNESS, allowed_base_urls=[])
    return png
