"""`amiss evaluate`: quality, measured on published data."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from amiss.cli.output import console
from amiss.evaluate import EVALUATIONS

if TYPE_CHECKING:
    from amiss.evaluate import Measured


def evaluate(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"What to evaluate: {', '.join(EVALUATIONS)}.")],
    *,
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="Where the published data are: an archive, or a directory.")
    ],
    shape: Annotated[
        Literal["text", "json"], typer.Option("--format", metavar="FORMAT", help="text or json.")
    ] = "text",
) -> None:
    """Measure quality on published data, by the protocol of those who published it.

    nab: the Numenta Anomaly Benchmark, one setting for all of its series, scored by its own formula.
    """
    from amiss.evaluate import evaluate as measure

    measured = measure(name, data)
    if shape == "json":
        typer.echo(json.dumps(measured.as_object(), ensure_ascii=False, indent=2))
        return
    _show(measured)


def _show(measured: Measured) -> None:
    """Print figures as a table."""
    from rich.table import Table

    names = list(measured.rows[0]) if measured.rows else []
    table = Table(title=f"{measured.name}: {measured.about}", title_justify="left", box=None)
    for name in names:
        numeric = not isinstance(measured.rows[0][name], str)
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left")
    for row in measured.rows:
        table.add_row(*(str(row[name]) for name in names))
    console(sys.stdout).print(table)
