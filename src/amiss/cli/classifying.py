"""`amiss classify`: whose behaviour looks like that of users with a label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amiss.cli.given import asked, reader, settings_of
from amiss.cli.output import console, say, stream_to
from amiss.options import (
    JUDGING,
    SHOWING,
    ConfigOption,
    FormatOption,
    OutputOption,
    QuietOption,
    Reading,
    SourcesArgument,
    grouped,
)

if TYPE_CHECKING:
    from rich.console import Console

    from amiss.classes import Ranked
    from amiss.config import Settings
    from amiss.detect.entitlement import Entitlement


@grouped
def classify(
    sources: SourcesArgument,
    *,
    reading: Reading,
    labels: Annotated[
        list[str],
        typer.Option(
            metavar="FILE|RULE",
            help="Who is what: a CSV file of user,label, or a rule such as 'name=Staff as staff'; may be repeated.",
            rich_help_panel=JUDGING,
        ),
    ],
    label: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The label that is looked for. (default the only one)", rich_help_panel=JUDGING
        ),
    ] = None,
    everyone: Annotated[
        bool,
        typer.Option("--all", help="Show also those who have it, each judged by the others.", rich_help_panel=SHOWING),
    ] = False,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Users to show.", rich_help_panel=SHOWING)] = 10,
    shape: FormatOption = "text",
    output: OutputOption = None,
    quiet: QuietOption = False,
    config: ConfigOption = None,
) -> None:
    """Rank users without a label by how much their behaviour looks like that of those who have it, and say why.

    A rule looks at a column of the log, or of the table of [entitlement]. Bits compare with everybody else.
    """
    from amiss import terminal
    from amiss.classes import ranked

    settings = settings_of(config, reading)
    opened = reader(settings).open(asked(sources, reading.query))
    zone = settings.fields.timezone
    found = ranked(opened, labels, label, table_of(settings), timezone=zone, everyone=everyone)
    with stream_to(output, shape) as stream:
        if shape == "text":
            _print(found, console(stream), top)
        else:
            terminal.write_records(found.ranking.head(top).to_dicts(), shape, stream)
    if not quiet and found.quarantine.total:
        first = found.quarantine.samples[0]
        where = f"{first.file}:{first.position}: {first.reason}"
        say(f"{found.quarantine.total:,} rows of labels say nothing, the first: {where}")
    if not quiet and found.absent:
        say(f"{found.absent:,} labelled users are not in the log")


def table_of(settings: Settings) -> Entitlement | None:
    """The table of [entitlement], if there is one."""
    from amiss.config import detectors
    from amiss.detect.entitlement import Entitlement

    given: Mapping[str, Any] = settings.detector.get("entitlement", {})
    found = detectors(["entitlement"], {"entitlement": given}) if given else []
    return next((each for each in found if isinstance(each, Entitlement)), None)


def _print(found: Ranked, screen: Console, top: int) -> None:
    """Print a ranking for people."""
    from rich.text import Text

    from amiss import terminal
    from amiss.escape import label

    name = label(found.label)
    said = f"{found.labelled:,} of {found.users:,} users are labelled {name}. Of the others, most like them:"
    terminal.print_wrapped(Text(said), screen)
    terminal.print_line(screen)
    terminal.print_line(screen, Text(f"{'bits':>7}  {'user':<12}  {'days':>5}  why", style="bold"))
    for row in found.ranking.head(top).iter_rows(named=True):
        head = f"{row['bits']:>7.1f}  {label(row['user'], 12):<12}  {row['days']:>5,}  "
        reasons = " · ".join(row["reasons"] or ["nothing speaks for it"])
        verdict = f"{label(row['verdict'])}: " if row["verdict"] else "don't know: " if row["bits"] > 0 else ""
        lines = Text(verdict + reasons).wrap(screen, max(20, screen.width - len(head)))
        for number, line in enumerate(lines):
            terminal.print_line(screen, Text.assemble(head if number == 0 else " " * len(head), line))
