"""`amiss evaluate`: quality, measured on simulations, on published data, or on any log with labels."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from amiss.cli.given import asked, reader, settings_of
from amiss.cli.output import console, say
from amiss.errors import UsageError
from amiss.evaluate import PUBLISHED, SIMULATED
from amiss.options import JUDGING, SHOWING, ConfigOption, Judging, Reading, grouped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from amiss.config import Settings
    from amiss.evaluate import Measured
    from amiss.evaluate.measured import Figure


FILE = "file"

WIDTH = 76
"""Columns of text from which on a table stands on its side."""


@dataclass(frozen=True)
class OfFile:
    """What else `amiss evaluate file` takes."""

    truth: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="CSV of what is odd in LOG: user[,day] or event_id; label.", rich_help_panel=JUDGING
        ),
    ] = None
    budget: Annotated[
        str | None,
        typer.Option(metavar="N/PERIOD", help="False alarms to allow in LOG. (default 1/day)", rich_help_panel=JUDGING),
    ] = None


@grouped
def evaluate(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help=f"What to evaluate: {', '.join([*SIMULATED, *PUBLISHED, FILE])}."),
    ] = None,
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="[LOG]", help=f"With {FILE}, the log.", show_default=False),
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
    of_file: OfFile,
    reading: Reading,
    judging: Judging,
    config: ConfigOption = None,
) -> None:
    """Measure quality on simulations whose truth is known, on published data by their protocol, or on your own log.

    Simulations need no data. `amiss evaluate file LOG --truth FILE` scans a log as amiss scan does, and says how well
    that tells who is odd. JSON has the figures that an evaluation is quoted by on top.
    """
    from amiss.evaluate import evaluate as measure

    if listed or name is None:
        _list()
        return
    if calibration is not None:
        _check_picture(calibration)
    if name == FILE:
        settings = settings_of(config, reading, judging, of_file)
        measured = _of_file(asked(sources or [], reading.query), of_file.truth, settings)
    elif sources or of_file.truth:
        raise UsageError(f"{name} takes no log and no --truth: amiss evaluate {FILE} LOG --truth FILE does")
    else:
        measured = measure(name, data, seeds=seeds or None, users=users)
    if calibration is not None:
        _draw(measured, calibration)
    if shape == "json":
        typer.echo(json.dumps(measured.as_object(), ensure_ascii=False, indent=2))
    else:
        _show(measured)


def _of_file(sources: Sequence[str], truth: Path | None, settings: Settings) -> Measured:
    """How well a scan of a log tells what its truth says."""
    from datetime import timedelta

    from amiss import config
    from amiss.decide import Budget
    from amiss.detect import fitting
    from amiss.evaluate.file import evaluate as measure
    from amiss.sessions import SESSION_GAP
    from amiss.sources import fields_of

    if not sources or truth is None:
        raise UsageError(f"say which log, and what is odd in it: amiss evaluate {FILE} LOG --truth FILE")
    scan, opened = settings.scan, reader(settings).open(list(sources))
    names = scan.detectors or fitting(fields_of(opened), settings.detector)
    return measure(
        opened,
        truth,
        learn=reader(settings).open(list(scan.learn)) if scan.learn else (),
        budget=Budget.parse(scan.budget),
        detectors=config.detectors(names, settings.detector, cap=scan.cap),
        session_gap=timedelta(seconds=config.seconds(scan.session_gap)) if scan.session_gap else SESSION_GAP,
        window=scan.window,
    )


def _list() -> None:
    """Print what can be evaluated."""
    for what, names in (("Simulated", SIMULATED), ("Published, with --data", PUBLISHED)):
        typer.echo(f"{what}:")
        for name, about in names.items():
            typer.echo(f"  {name:16}{about}")
    typer.echo(f"Your own:\n  {FILE:16}any LOG, with --truth FILE")


def _check_picture(path: Path) -> None:
    """Refuse a picture of an unknown form before anything is measured."""
    from amiss.cli import drawing

    drawing.check(path)


def _draw(measured: Measured, path: Path) -> None:
    """Write the picture of calibration."""
    from amiss.cli import drawing
    from amiss.evaluate.calibration import chart

    if not measured.calibration:
        raise UsageError(f"{measured.name} does not tell normal users: it has no calibration to draw")
    drawing.write(chart(measured.calibration, measured.name), path, f"Calibration of {measured.name}")
    say(f"wrote {path}")


def _show(measured: Measured) -> None:
    """Print figures as a table."""
    from rich.table import Table

    names = list(measured.rows[0]) if measured.rows else []
    cells = [
        [name.replace("_", " ") for name in names],
        *([_cell(row[name]) for name in names] for row in measured.rows),
    ]
    if sum(len(name) + 2 for name in names) > WIDTH:
        cells = [list(column) for column in zip(*cells, strict=True)]
    table = Table(box=None)
    for column in zip(*cells, strict=True):
        numeric = all(cell == "-" or cell[:1].isdigit() for cell in column[1:])
        table.add_column(column[0], justify="right" if numeric else "left")
    for row in cells[1:]:
        table.add_row(*row)
    out = console(sys.stdout)
    out.print(f"{measured.name}: {measured.about}", highlight=False, soft_wrap=True, markup=False)
    out.print(table)
    if measured.calibration:
        out.print("\nDays of normal users that reach 1, 5, 10 bits (at most 1 in 2, 32, 1,024):", highlight=False)
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
