"""`amiss groups`: which users behave alike, what each group does, who moved and what is new."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from amiss.cli.given import asked, reader, settings_of
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
    grouped,
)

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console

    from amiss.behaviour import Grouped
    from amiss.sources import Source

SHOW: Final = "show"
MOST_STEPS: Final = 40


@grouped
def groups(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="[show ID] SOURCE",
            help="Files, globs, directories, databases, or - for stdin; show ID tells of one group.",
            show_default=False,
        ),
    ],
    *,
    reading: Reading,
    by_day: Annotated[
        bool,
        typer.Option(
            "--by-day", help="Go day by day: groups born, split, emptied; who moved.", rich_help_panel=JUDGING
        ),
    ] = False,
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
            help="With seed001, CSV of user,label: say how well limits tell them apart.",
            rich_help_panel=JUDGING,
        ),
    ] = None,
    table: Annotated[
        Literal["groups", "members", "moves", "changes", "limits"],
        typer.Option(metavar="NAME", help="groups, members, moves, changes or limits.", rich_help_panel=SHOWING),
    ] = "groups",
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Rows to show as text.", rich_help_panel=SHOWING)] = 20,
    shape: FormatOption = "text",
    output: OutputOption = None,
    quiet: QuietOption = False,
    config: ConfigOption = None,
) -> None:
    """Put users who behave alike into groups, and say what each group does.

    With --by-day groups keep their numbers from day to day. A move or a new group is judged by what was done that day.
    """
    from amiss.behaviour import grouped as group_users

    number, urls = _meant(sources)
    opened = reader(settings_of(config, reading)).open(asked(urls, reading.query))
    known = None if labels is None else _labels(labels, quiet=quiet)
    found = group_users(opened, by_day=by_day, method=method, limit=limit, labels=known)
    with stream_to(output, shape) as stream:
        if shape == "text":
            _print(found, table, number, console(stream), top=top, by_day=by_day)
        else:
            from amiss.terminal import write_records

            frame = _table(found, table) if number is None else found.table(number)
            write_records(frame.to_dicts(), shape, stream)
    if not quiet:
        _tell_unread(opened)


def _meant(words: list[str]) -> tuple[int | None, list[str]]:
    """The group to tell of, if one is, and the sources."""
    if words[0] != SHOW:
        return None, words
    if len(words) < 3 or not words[1].isdecimal():
        raise UsageError("expected: amiss groups show ID SOURCE, with the number of a group. A file show is ./show")
    return int(words[1]), words[2:]


def _labels(file: Path, *, quiet: bool) -> Mapping[str, str]:
    """The labels of a file."""
    from amiss.labels import read_labels

    found = read_labels(file)
    if not quiet and found.quarantine.total:
        first = found.quarantine.samples[0]
        where = f"{first.file}:{first.position}: {first.reason}"
        say(f"{found.quarantine.total:,} rows of labels say nothing, the first: {where}")
    return found.by_user()


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


def _print(found: Grouped, name: str, number: int | None, screen: Console, *, top: int, by_day: bool) -> None:
    """Print a table, or one group, for people."""
    if number is not None:
        _print_group(found, number, screen, top)
    elif name != "groups":
        _print_rows(_table(found, name), screen, top)
    else:
        _print_groups(found, screen, top, by_day=by_day)
        if by_day:
            _print_findings(found, screen, top)


def _print_groups(found: Grouped, screen: Console, top: int, *, by_day: bool) -> None:
    """Print groups, and with days what became of them."""
    from rich.text import Text

    from amiss.escape import label
    from amiss.story import plural
    from amiss.terminal import print_line, print_wrapped

    alive = found.groups.filter(found.groups["members"] > 0)
    looked = "what follows what" if found.order else "what they do"
    said = f"{plural(len(found.members), 'user')} in {plural(len(alive), 'group')}, by {looked}."
    print_wrapped(Text(f"{said} Bits: what telling a member's events costs, on average."), screen)
    print_line(screen)
    print_line(screen, Text(f"{'group':>5} {'members':>9} {'share':>6} {'bits':>7}  what they do", style="bold"))
    for row in alive.head(top).iter_rows(named=True):
        head = f"{row['id']:>5} {row['members']:>9,} {row['share']:>6.1%} {row['bits']:>7.1f}  "
        print_line(screen, Text(head + label(row["does"], max(20, screen.width - len(head)))))
        if by_day:
            print_line(screen, Text(f"{'':>7}{_history(row)}", style="dim"))
    _print_more(len(alive) - top, "group", screen)
    gone = len(found.groups) - len(alive)
    if gone:
        print_line(screen, Text(f"{plural(gone, 'group')} without members: --table changes tells of them", style="dim"))


def _history(row: Mapping[str, Any]) -> str:
    """When a group came to be, and what became of it last."""
    born = f"born {row['born']}"
    return born if row["change"] == "born" else f"{born}; {row['change']} on {row['changed']}"


def _print_more(more: int, what: str, screen: Console) -> None:
    """Say how many are not shown."""
    from rich.text import Text

    from amiss.story import plural
    from amiss.terminal import print_line

    if more > 0:
        print_line(screen, Text(f"… and {plural(more, what)} more: --top", style="dim"))


def _print_findings(found: Grouped, screen: Console, top: int) -> None:
    """Print what is new since the first day: groups, and users who moved on the last day."""
    import polars as pl
    from rich.text import Text

    from amiss.escape import label, visible
    from amiss.story import plural
    from amiss.terminal import print_line, print_wrapped

    if found.changes.is_empty():
        return
    first, last = found.changes["day"][0], found.members["last_day"].sort()[-1]
    new = found.changes.filter(pl.col("change").is_in(["born", "split"]), pl.col("day") > first)
    for row in new.head(top).iter_rows(named=True):
        print_line(screen)
        how = f"split from group {row['other']}" if row["change"] == "split" else "is new"
        head = f"{row['day']} group {row['id']} {how} with {plural(row['after'], 'user')}: "
        print_wrapped(Text(visible(f"{head}{row['reason'] or ''} ({row['bits'] or 0:.1f} bits)")), screen)
    moves = found.moves.filter(pl.col("day") == last)
    if len(moves):
        print_line(screen)
        said = f"{plural(len(moves), 'user')} moved on {last}, those first whom the new group explains best:"
        print_line(screen, Text(said, style="bold"))
    for row in moves.head(top).iter_rows(named=True):
        head = f"{row['bits']:>7.1f} bits  {label(row['user'], 30)}: {row['left']} → {row['joined']}  "
        print_wrapped(Text(head + visible(row["reason"])), screen)
    _print_more(len(moves) - top, "user", screen)


def _print_group(found: Grouped, number: int, screen: Console, top: int) -> None:
    """Print what the members of a group did, and what a typical one did."""
    from rich.text import Text

    from amiss.escape import label, visible
    from amiss.story import plural
    from amiss.terminal import print_line, print_wrapped

    counts, story = found.table(number), found.story(number)
    row = next(row for row in found.groups.iter_rows(named=True) if row["id"] == number)
    said = f"group {number}: {plural(row['members'], 'user')}; {row['does']}; {_history(row)}"
    print_wrapped(Text(visible(said)), screen)
    if story is not None:
        steps = [
            f"{action}{_MARKS[outcome]}{f' x{times}' if times > 1 else ''}" for action, outcome, times in story.steps
        ]
        shown = steps[:MOST_STEPS] + ["…"] * (len(steps) > MOST_STEPS)
        print_line(screen)
        print_wrapped(Text(visible(f"A typical member, {label(story.user, 30)}: {' → '.join(shown)}")), screen)
    print_line(screen)
    _print_rows(counts, screen, top)


_MARKS: Final = {"success": "", "failure": " ✗", "unknown": ""}


def _print_rows(frame: pl.DataFrame, screen: Console, top: int) -> None:
    """Print a table, columns that do not fit below each other."""
    from rich.text import Text

    from amiss.escape import cells, label
    from amiss.terminal import left, print_line

    shown = frame.head(top)
    texts = {label(name, 24): [label(_cell(each), 76) for each in shown[name].to_list()] for name in frame.columns}
    widths = {name: max(map(cells, [name, *column])) for name, column in texts.items()}
    names = list(texts)
    keys = names[:2]
    for part in _fitting(names[2:], widths, screen.width - sum(widths[key] + 2 for key in keys)):
        columns = [*keys, *part]
        print_line(screen, Text("  ".join(left(name, widths[name]) for name in columns), style="bold"))
        for at in range(len(shown)):
            print_line(screen, Text("  ".join(left(texts[name][at], widths[name]) for name in columns)))
        print_line(screen)
    _print_more(len(frame) - top, "row", screen)


def _fitting(names: list[str], widths: Mapping[str, int], room: int) -> list[list[str]]:
    """Columns in parts that fit side by side."""
    parts: list[list[str]] = [[]]
    used = 0
    for name in names:
        if parts[-1] and used + widths[name] + 2 > room:
            parts.append([])
            used = 0
        parts[-1].append(name)
        used += widths[name] + 2
    return parts


def _cell(value: object) -> str:
    """A value as text."""
    return "" if value is None else f"{value:,.2f}" if isinstance(value, float) else str(value)
