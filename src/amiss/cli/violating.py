"""`amiss violations`: who did what they are not entitled to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from amiss.cli.classifying import table_of
from amiss.cli.given import asked, reader, settings_of
from amiss.cli.output import console, stream_to
from amiss.errors import UsageError, nearest
from amiss.options import SHOWING, ConfigOption, FormatOption, OutputOption, Reading, SourcesArgument, grouped

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console


@grouped
def violations(
    sources: SourcesArgument,
    *,
    reading: Reading,
    finding: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only before, after, outside, both or unknown.", rich_help_panel=SHOWING),
    ] = None,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Rows to show as text.", rich_help_panel=SHOWING)] = 20,
    shape: FormatOption = "text",
    output: OutputOption = None,
    config: ConfigOption = None,
) -> None:
    """List all that users did outside of what they are entitled to, by user and finding.

    Days before a start, after an end, outside a scope, in both of two exclusive scopes. No evidence is weighed.
    """
    from amiss import terminal
    from amiss.breaches import violations as found_in

    settings = settings_of(config, reading)
    rules = table_of(settings)
    if rules is None:
        raise UsageError(
            "who is entitled to what? Say so in [entitlement] of amiss.toml, see docs/detectors/entitlement.md"
        )
    if finding is not None and finding not in rules.findings:
        said = ", ".join(rules.findings)
        raise UsageError(f'finding "{finding}" is not looked for. Known: {said}.{nearest(finding, rules.findings)}')
    found = found_in(reader(settings).open(asked(sources, reading.query)), rules)
    found = found if finding is None else found.filter(finding=finding)
    with stream_to(output, shape) as stream:
        if shape == "text":
            _print(found, console(stream), top)
        else:
            terminal.write_records(found.to_dicts(), shape, stream)


def _print(found: pl.DataFrame, screen: Console, top: int) -> None:
    """Print violations for people."""
    from rich.text import Text

    from amiss import terminal

    users = found["user"].n_unique()
    who = "1 user" if users == 1 else f"{users:,} users"
    terminal.print_line(screen, Text(f"{who}, {found['events'].sum():,} events"))
    if not len(found):
        return
    terminal.print_line(screen)
    terminal.print_line(screen, Text(f"{'user':<12}  {'finding':<8}  {'events':>7}  {'days':>5}  what", style="bold"))
    for row in found.head(top).iter_rows(named=True):
        terminal.print_line(screen, Text(_line(row)))
    if len(found) > top:
        terminal.print_line(screen, Text(f"and {len(found) - top:,} more"))


def _line(row: dict[str, Any]) -> str:
    """A row in words."""
    from amiss.escape import label

    whose = label(row["period"], 24)
    if row["limit"] is not None:
        side = "after the end" if row["finding"] == "after" else "before the start"
        what = f"up to {row['days']:,} days {side} of {whose or row['limit']}"
    else:
        what = " ".join(filter(None, (row["scope"], f"by {whose}" if whose else "")))
    head = f"{label(row['user'], 12):<12}  {row['finding']:<8}  {row['events']:>7,}  {row['active_days']:>5,}"
    return f"{head}  {what}"
