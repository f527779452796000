"""Pages of HTML that open offline, read on a phone, follow dark mode, and print: what all reports have in common.

They load nothing and run no script; their policy forbids both. Whatever a log says is escaped: by Jinja in the page,
and by :mod:`amiss.escape` before it is drawn, since the drawing library aborts the process on control characters.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Final

import altair as alt
import jinja2
import vl_convert
from markupsafe import escape as html

from amiss import escape
from amiss.errors import SinkError

Chart = alt.Chart | alt.LayerChart | alt.ConcatChart | alt.VConcatChart


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


_FILTERS: Final[dict[str, Callable[..., str]]] = {
    "shown": lambda text: escape.label(text or "", 60),
    "one": lambda value: _minus(f"{round(value, 1) + 0.0:,.1f}"),
    "signed": lambda value: _minus(f"{round(value, 1) + 0.0:+,.1f}"),
    "count": "{:,}".format,
}


def rendered(name: str, told: Mapping[str, object]) -> str:
    """A page from its template, which extends `page.html`, and what it tells.

    `told` holds at least `headline`, `lead`, `sources`, `period` and `figures` (each with name, value and note).
    """
    style = _template("report.css")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(_template),
    )
    environment.filters.update(_FILTERS)
    return environment.get_template(name).render(told, style=style, style_hash=_digest(style))


def write(page: str, path: str | Path) -> None:
    """Write a page into a file.

    Raises
    ------
    SinkError
        If the file cannot be written.
    """
    try:
        Path(path).write_text(page, encoding="utf-8")
    except OSError as error:
        raise SinkError(f"{path} cannot be written: {error.strerror}") from error


def picture(chart: Chart, title: str) -> str:
    """A chart as a page of its own that opens offline, light or dark as the reader likes."""
    style = _template("report.css")
    policy = f"default-src 'none'; style-src '{_digest(style)}'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="generator" content="amiss">\n'
        f"<title>{html(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<figure class="fill">{svg(chart, title, is_compact=True)}</figure>\n</body>\n</html>\n'
    )


def svg(chart: Chart, label: str, *, is_compact: bool = False) -> str:
    """The chart as inline SVG that scales with the page; it may load no data.

    Parameters
    ----------
    chart
        What to draw.
    label
        What it shows, for those who hear the page.
    is_compact
        Whether places are told to a hundredth of a pixel.
    """
    drawn: str = vl_convert.vegalite_to_svg(chart.to_dict(validate=False), allowed_base_urls=[])
    drawn = compact(drawn) if is_compact else drawn
    size = " ".join(re.findall(r'(?:width|height|viewBox)="[-\d. ]+"', drawn[: drawn.index(">")]))
    return f'<svg class="chart" {size} role="img" aria-label="{html(label)}">{drawn[drawn.index(">") + 1 :]}'


def compact(text: str) -> str:
    r"""A picture, SVG, with places to a hundredth of a pixel, and with circles where it has paths around points.

    Examples
    --------
    >>> compact('<path transform="translate(1.23456,2)" d="M1.871,0A1.871,1.871,0,1,1,-1.871,0A1.871,1.871,0,1,1,1.871'
    ...         ',0" fill="#fff" stroke-width="2" opacity="0.4"/>')
    '<circle cx="1.23" cy="2" r="1.87" fill="#fff" opacity="0.4"/>'
    """
    short = re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), text)
    return _ROUND.sub(r'<circle cx="\1" cy="\2" r="\3" fill="\4"', short)


_ROUND: Final = re.compile(
    r'<path transform="translate\(([-\d.]+),([-\d.]+)\)" d="M([\d.]+),0A\3,\3,0,1,1,-\3,0A\3,\3,0,1,1,\3,0"'
    r' fill="(#\w+)" stroke-width="2"'
)
"""A filled circle as the drawing library tells it."""


def _digest(style: str) -> str:
    """How a policy names a style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}"


def _template(name: str) -> str:
    return (resources.files("amiss") / "templates" / name).read_text(encoding="utf-8")
