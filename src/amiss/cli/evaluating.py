"""`amiss evaluate`: quality, measured on simulations, on published data, or on any log with labels."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from amiss.cli.output import console, say
from amiss.errors import UsageError
from amiss.evaluate import PUBLISHED, SIMULATED
from amiss.options import SHOWING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from amiss.evaluate import Measured
    from amiss.evaluate.measured import Figure


def evaluate(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help=f"What to evaluate: {', '.join([*SIMULATED, *PUBLISHED])}."),
    ] = None,
    *,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Where published data are: an archive, a file or a directory."),
    ] = None,
    seeds: Annotated[
        list[int] | None,
        typer.Option("--seed", metavar="N", help="Where simulations begin; may be repeated.", show_default=False),
    ] = None,
    users: Annotated[
        int | None, typer.Option(min=50, metavar="N", help="Users of a simulation. (default its own number)")
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw how often normal users reach how many bits (.svg, .png, .html).",
            rich_help_panel=SHOWING,
        ),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Say what can be evaluated.", rich_help_panel=SHOWING)] = False,
    shape: Annotated[
        Literal["text", "json"],
        typer.Option("--format", metavar="FORMAT", help="text or json.", rich_help_panel=SHOWING),
    ] = "text",
) -> None:
    """Measure quality on simulations whose truth is known, and on published data by the protocol of their publishers.

    Simulations need no data. JSON has the figures that an evaluation is quoted by on top.
    """
    from amiss.evaluate import evaluate as measure

    if listed or name is None:
        _list()
        return
    measured = measure(name, data, seeds=seeds or None, users=users)
    if calibration is not None:
        _draw(measured, calibration)
    if shape == "json":
        typer.echo(json.dumps(measured.as_object(), ensure_ascii=False, indent=2))
    else:
        _show(measured)


def _list() -> None:
    """Print what can be evaluated."""
    for what, names in (("Simulated", SIMULATED), ("Published, with --data", PUBLISHED)):
        typer.echo(f"{what}:")
        for name, about in names.items():
            typer.echo(f"  {name:16}{about}")


def _draw(measured: Measured, path: Path) -> None:
    """Write the picture of calibration."""
    from amiss.evaluate.calibration import draw

    if not measured.calibration:
        raise UsageError(f"{measured.name} does not tell normal users: it has no calibration to draw")
    draw(measured.calibration, path, measured.name)
    say(f"wrote {path}")


def _show(measured: Measured) -> None:
    """Print figures as a table."""
    from rich.table import Table

    names = list(measured.rows[0]) if measured.rows else []
    table = Table(title=f"{measured.name}: {measured.about}", title_justify="left", box=None)
    for name in names:
        numeric = not any(isinstance(row[name], str) for row in measured.rows)
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left")
    for row in measured.rows:
        table.add_row(*(_cell(row[name]) for name in names))
    out = console(sys.stdout)
    out.print(table)
    if measured.calibration:
        out.print("\nDays of normal users that reach 1, 5, 10 bits (promised: 1 in 2, 32, 1,024 at most)")
        for line in _calibrated(measured.calibration):
            out.print(line, highlight=False)


def _calibrated(rows: tuple[Mapping[str, Figure], ...]) -> list[str]:
    """How often normal users reach 1, 5 and 10 bits, by detector."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["bits"] in {1, 5, 10}:
            found.setdefault(str(row["detector"]), []).append(f"{row['reached']:,}")
    days = {str(row["detector"]): f"{row['days']:,}" for row in rows}
    return [f"  {name}: {', '.join(reached)} of {days[name]}" for name, reached in found.items()]


def _cell(value: Figure) -> str:
    """A figure as a table has it."""
    return "-" if value is None else str(value)
