"""`amiss groups`: which users behave alike, what each group does, who moved and what is new."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from amiss.cli.given import asked, reader, settings_of, state_file
from amiss.cli.labelling import labels_of, state_labels
from amiss.cli.output import console, say, stream_to
from amiss.errors import UsageError
from amiss.options import (
    JUDGING,
    SHOWING,
    ConfigOption,
    FormatOption,
    OutputOption,
    QuietOption,
    Reading,
    StateOption,
    grouped,
)

if TYPE_CHECKING:
    import polars as pl

    from amiss.behaviour import Grouped
    from amiss.config import Settings
    from amiss.sources import Source

SHOW: Final = "show"


@grouped
def groups(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[show ID] [SOURCE]",
            help="Files, globs, directories, databases, or - for stdin; none: the users of the state. show ID tells of "
            "one group.",
            show_default=False,
        ),
    ] = None,
    *,
    reading: Reading,
    state: StateOption = None,
    by_day: Annotated[
        bool,
        typer.Option(
            "--by-day", help="Go day by day: groups born, split, emptied; who moved.", rich_help_panel=JUDGING
        ),
    ] = False,
    window: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="DAYS",
            help="Go day by day, judging users by so many days, the last one theirs. (default 1 with --by-day and of a "
            "state)",
            rich_help_panel=JUDGING,
        ),
    ] = None,
    method: Annotated[
        Literal["bits", "seed001"],
        typer.Option(
            metavar="bits|seed001",
            help="By code length, or as the original notebook: average profiles within a limit.",
            rich_help_panel=JUDGING,
        ),
    ] = "bits",
    limit: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="BITS",
            help="How far off a user may be in a group. (default none; with seed001 5, or the best by --labels)",
            rich_help_panel=JUDGING,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CSV of user,label: what members are called. With seed001, also say how well limits tell them apart. "
            "(default those of the state and of amiss.toml)",
            rich_help_panel=SHOWING,
        ),
    ] = None,
    table: Annotated[
        Literal["groups", "members", "moves", "changes", "limits"],
        typer.Option(metavar="NAME", help="groups, members, moves, changes or limits.", rich_help_panel=SHOWING),
    ] = "groups",
    plot: Annotated[
        Literal["sizes", "actions", "map", "flow"] | None,
        typer.Option(
            metavar="KIND",
            help="Draw sizes, actions, map or flow to -o FILE: .png, .svg or .html.",
            rich_help_panel=SHOWING,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Also write a report with all pictures, that opens offline.",
            rich_help_panel=SHOWING,
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Rows to show as text.", rich_help_panel=SHOWING)] = 20,
    shape: FormatOption = "text",
    output: OutputOption = None,
    quiet: QuietOption = False,
    config: ConfigOption = None,
) -> None:
    """Put users who behave alike into groups, and say what each group does, and what its members are called.

    With --by-day groups keep their numbers from day to day. A move or a new group is judged by what was done that day.
    Without a SOURCE the groups are those of a state, whose numbers stay as it goes on.
    """
    number, urls = _meant(sources or [])
    _check_drawn(plot, output, shape, number, report)
    settings = settings_of(config, reading)
    known = _labels(labels, state, settings, quiet=quiet)
    opened: list[Source] = []
    if urls:
        from amiss.behaviour import grouped as group_users

        opened = reader(settings).open(asked(urls, reading.query))
        told = known if labels is not None else None
        found = group_users(opened, by_day=by_day, window=window, method=method, limit=limit, labels=told)
        found = found.labelled(known)
    else:
        _check_remembered(method=method, limit=limit, table=table)
        found = _remembered(state, settings, window, known, is_given=labels is not None)
    if report is not None:
        found.report(report)
    if plot is None:
        _write(found, table, number, shape, output, top=top)
    elif output is not None:
        from amiss.cli import drawing

        drawing.write(found.plot(plot), output, "Groups of users")
    if not quiet:
        _tell_unread(opened)


def _meant(words: list[str]) -> tuple[int | None, list[str]]:
    """The group to tell of, if one is, and the sources."""
    if not words or words[0] != SHOW:
        return None, words
    if len(words) < 2 or not words[1].isdecimal():
        raise UsageError(
            "expected: amiss groups show ID SOURCE, or show ID --state FILE, with the number of a group. A file show "
            "is ./show"
        )
    return int(words[1]), words[2:]


def _labels(file: Path | None, state: Path | None, settings: Settings, *, quiet: bool) -> dict[str, str]:
    """What users are called: by the file that is given, else by the state, and for others by the file of [labels]."""
    if file is not None:
        return labels_of(file, quiet=quiet)
    beside = labels_of(settings.labels.file, quiet=quiet) if settings.labels.file is not None else {}
    place = state or settings.watch.state
    return beside | (state_labels(Path(place)) if place and (state or Path(place).exists()) else {})


def _check_remembered(*, method: str, limit: float | None, table: str) -> None:
    """Refuse for a state what only a log can be asked."""
    given = {"--limit": limit, "--method": None if method == "bits" else method}
    if named := [name for name, value in given.items() if value is not None]:
        raise UsageError(
            f"{' and '.join(named)}: a state has its groups already, so that they keep their numbers. "
            "Leave that out, or give a SOURCE"
        )
    if table == "limits":
        raise UsageError("the table of limits needs a SOURCE, --method seed001 and --labels FILE")


def _remembered(
    state: Path | None, settings: Settings, window: int | None, known: dict[str, str], *, is_given: bool
) -> Grouped:
    """The groups of a state, with these labels of users; those of groups too unless labels are given."""
    from amiss.lineage import groups_of, own_labels
    from amiss.store import Store

    if state is None and not settings.watch.state:
        raise UsageError("whose groups? Give a SOURCE, or the state of a watch: --state FILE")
    with Store.open(state_file(state, settings), write=False) as store:
        return groups_of(store, window=window).labelled(known, {} if is_given else own_labels(store))


def _check_drawn(plot: str | None, output: Path | None, shape: str, number: int | None, report: Path | None) -> None:
    """Refuse a picture without a file for it, and pictures of one group."""
    if number is not None and (plot is not None or report is not None):
        raise UsageError("--plot and --report are of all groups: leave out show ID")
    if plot is None:
        return
    from amiss.cli import drawing

    if output is None:
        raise UsageError(f"--plot {plot} needs a file for the picture: -o {plot}.svg (or .png, .html)")
    if shape != "text":
        raise UsageError("--plot draws a picture, --format writes a table: give one of them")
    drawing.check(output)


def _write(found: Grouped, name: str, number: int | None, shape: str, output: Path | None, *, top: int) -> None:
    """Write a table, or one group, for people or for programs."""
    with stream_to(output, shape) as stream:
        if shape == "text":
            from amiss.cli import alike as shown

            screen = console(stream)
            if number is not None:
                shown.print_group(found, number, screen, top)
            elif name == "groups":
                shown.print_groups(found, screen, top)
            else:
                shown.print_table(_table(found, name), screen, top)
        else:
            from amiss.terminal import write_records

            frame = _table(found, name) if number is None else found.table(number)
            write_records(frame.to_dicts(), shape, stream)


def _table(found: Grouped, name: str) -> pl.DataFrame:
    """A table by its name."""
    if name == "limits" and found.limits is None:
        raise UsageError("the table of limits needs labelled users: --method seed001 --labels FILE")
    frame: pl.DataFrame = getattr(found, name)
    return frame


def _tell_unread(opened: list[Source]) -> None:
    """Say what could not be read."""
    from amiss.story import quarantine_said

    for source in opened:
        if source.quarantine.total:
            say(f"unread: {quarantine_said(source.quarantine)}")
