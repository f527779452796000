"""`amiss classify`: of which labelled class users are, and whose behaviour looks like that of users with a label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TextIO

import typer

from amiss.cli.given import asked, reader, settings_of, state_file
from amiss.cli.labelling import tell_unread
from amiss.cli.output import console, say, stream_to
from amiss.errors import UsageError, nearest
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
    from rich.console import Console

    from amiss.classes import Classified, Given, Ranked
    from amiss.config import Settings
    from amiss.detect.entitlement import Entitlement


STORY_CELLS: Final = 34
CHANCE_CELLS: Final = 11
"""How wide the line of an event is before the chances, and each of these at the most."""

TABLES: Final = ("users", "classes", "posterior", "evidence")


@grouped
def classify(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE...]",
            help="Files, globs, directories, databases, or - for stdin; none: what the state holds.",
            show_default=False,
        ),
    ] = None,
    *,
    reading: Reading,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|RULE",
            help="Who is what: a CSV file of user,label, or a rule such as 'name=Staff as staff'; may be repeated. "
            "(default those of the state)",
            rich_help_panel=JUDGING,
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Rank users by how much they are like those with this label. (default if it is the only one)",
            rich_help_panel=JUDGING,
        ),
    ] = None,
    odds: Annotated[
        float | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Say a class that is N times likelier than all else. (default 10)",
            rich_help_panel=JUDGING,
        ),
    ] = None,
    state: StateOption = None,
    everyone: Annotated[
        bool,
        typer.Option("--all", help="Show also those who have it, each judged by the others.", rich_help_panel=SHOWING),
    ] = False,
    story: Annotated[
        str | None,
        typer.Option(metavar="USER", help="The chances behind each event of this user.", rich_help_panel=SHOWING),
    ] = None,
    table: Annotated[
        str,
        typer.Option(metavar="NAME", help="users, classes, posterior or evidence.", rich_help_panel=SHOWING),
    ] = "users",
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Users to show.", rich_help_panel=SHOWING)] = 10,
    shape: FormatOption = "text",
    output: OutputOption = None,
    quiet: QuietOption = False,
    config: ConfigOption = None,
) -> None:
    """Tell of which class users without a label are, by those who have one, and say why.

    With labels of one class only, or --label, users are ranked by how much their days look like those of users who have
    it. A rule looks at a column of the log, or of the table of who may do what.
    """
    from amiss import classes

    if table not in TABLES:
        raise UsageError(f'--table is one of {", ".join(TABLES)}. Found: "{table}".{nearest(table, TABLES)}')
    settings = settings_of(config, reading)
    given = _given(labels, state, settings)
    odds = settings.labels.odds if odds is None else odds
    if sources:
        opened, zone = reader(settings).open(asked(sources, reading.query)), settings.fields.timezone
        rules = table_of(settings)
        found = classes.classify(opened, given, label, rules, timezone=zone, everyone=everyone, odds=odds)
    else:
        found = _remembered(given, state, settings, label, odds)
    with stream_to(output, shape) as stream:
        if isinstance(found, classes.Classified):
            _write(found, stream, shape, table=table, user=story, top=top, everyone=everyone)
        else:
            _write_ranking(found, stream, shape, top)
    _tell(found, quiet=quiet)


def _given(labels: list[str] | None, state: Path | None, settings: Settings) -> Given:
    """The labels that are meant: those given, else those of the state, or of the file of the settings."""
    if labels:
        return labels
    if state is None and settings.labels.file is not None:
        return settings.labels.file
    if state is None and not settings.watch.state:
        raise UsageError("who is what? Give --labels FILE, or --state FILE with labels (amiss label user U LABEL)")
    from amiss.store import Store

    with Store.open(state_file(state, settings), write=False) as store:
        return {each.subject: str(each.label) for each in store.labels()}


def _remembered(
    given: Given, state: Path | None, settings: Settings, label: str | None, odds: float
) -> Classified | Ranked:
    """The classes of the users of a state."""
    from amiss import classes
    from amiss.store import Store

    if label is not None:
        raise UsageError("--label ranks users by their days, which a state does not keep: give a SOURCE")
    with Store.open(state_file(state, settings), write=False) as store:
        return classes.remembered(store, given, odds=odds)


def _write_ranking(found: Ranked, stream: TextIO, shape: str, top: int) -> None:
    """Write a ranking."""
    from amiss import terminal

    if shape == "text":
        _print(found, console(stream), top)
    else:
        terminal.write_records(found.ranking.head(top).to_dicts(), shape, stream)


def _tell(found: Classified | Ranked, *, quiet: bool) -> None:
    """Say what of the labels was of no use."""
    from amiss.story import plural

    if not quiet:
        tell_unread(found.quarantine)
    if not quiet and found.absent:
        say(f"{plural(found.absent, 'labelled user')} not seen there")


def _write(
    found: Classified, stream: TextIO, shape: str, *, table: str, user: str | None, top: int, everyone: bool
) -> None:
    """Write what was asked for."""
    from amiss import terminal

    if user is not None:
        story = found.story(user)
        if shape == "text":
            return _print_story(story, user, console(stream))
        return terminal.write_records(story.to_dicts(), shape, stream)
    if shape == "text" and table == "users":
        return _print_classes(found, console(stream), top, everyone=everyone)
    frame = getattr(found, table)
    if table == "users" and not everyone:
        frame = frame.filter(frame["label"] == "")
    if shape == "text":
        return _print_rows(frame, console(stream), top)
    return terminal.write_records(frame.to_dicts(), shape, stream)


def table_of(settings: Settings) -> Entitlement | None:
    """The table of [entitlement], if there is one."""
    from amiss.config import detectors
    from amiss.detect.entitlement import Entitlement

    given: Mapping[str, Any] = settings.detector.get("entitlement", {})
    found = detectors(["entitlement"], {"entitlement": given}) if given else []
    return next((each for each in found if isinstance(each, Entitlement)), None)


def _print_classes(found: Classified, screen: Console, top: int, *, everyone: bool) -> None:
    """Print classes, and users by class, for people."""
    from rich.text import Text

    from amiss import terminal
    from amiss.escape import label, visible
    from amiss.story import plural

    users = found.users if everyone else found.users.filter(found.users["label"] == "")
    verdicts = Counter(users["verdict"].to_list())
    told = [f"{label(name)} {verdicts[name]:,}" for name in found.classes["class"]]
    labelled = ", ".join(f"{count:,} {label(name)}" for name, count in found.classes.select("class", "labelled").rows())
    terminal.print_wrapped(
        Text(
            f"Labelled: {labelled}. Of {plural(len(users), 'user')}"
            f"{'' if everyone else ' without a label'}: {', '.join(told)}; "
            f"don't know {verdicts['']:,} (less likely than {found.odds:g} to 1)."
        ),
        screen,
    )
    terminal.print_line(screen)
    terminal.print_line(screen, Text(f"{'class':<12} {'chance':>7}  {'user':<12} {'events':>6}  why", style="bold"))
    for row in shown_first(users, top).iter_rows(named=True):
        name = label(row["class"], 11) + ("" if row["verdict"] else "?")
        head = f"{name:<12} {chance(row['probability']):>7}  {label(row['user'], 12):<12} {row['events']:>6,}  "
        against = f" · against {label(row['against'])}" if row["against"] else ""
        reasons = " · ".join(row["reasons"] or ["nothing speaks for it"]) + against
        lines = Text(visible(reasons)).wrap(screen, max(20, screen.width - len(head)))
        for number, line in enumerate(lines):
            terminal.print_line(screen, Text.assemble(head if number == 0 else " " * len(head), line))


def _print_story(story: pl.DataFrame, user: str, screen: Console) -> None:
    """Print the chances behind each event of a user: of as many classes as fit, those that were likeliest ever."""
    from rich.text import Text

    from amiss import terminal
    from amiss.escape import label

    most = max(1, (screen.width - STORY_CELLS) // CHANCE_CELLS)
    peaks = {name: -float(story[name].max() or 0.0) for name in story.columns[3:]}  # type: ignore[arg-type]  # a number
    kept = sorted(peaks, key=lambda name: peaks[name])[:most]
    story = story.select(*story.columns[:3], *(name for name in peaks if name in kept))
    names = story.columns[3:]
    wide = [max(7, len(label(name, 9))) for name in names]
    head = "  ".join(f"{label(name, 9):>{width}}" for name, width in zip(names, wide, strict=True))
    terminal.print_line(screen, Text(f"The chances of {label(user)} behind each event"))
    terminal.print_line(screen)
    terminal.print_line(screen, Text(f"{'time':<14}  {'action':<16}  {head}", style="bold"))
    for time, action, outcome, *chances in story.iter_rows():
        did = label(action, 16 if outcome != "failure" else 14) + (" ✗" if outcome == "failure" else "")
        cells = "  ".join(f"{chance(each):>{width}}" for each, width in zip(chances, wide, strict=True))
        terminal.print_line(screen, Text(f"{time:%m-%d %H:%M:%S}  {did:<16}  {cells}"))


def _print_rows(frame: pl.DataFrame, screen: Console, top: int) -> None:
    """Print a table for people."""
    from rich.text import Text

    from amiss import terminal
    from amiss.escape import label

    rows = [[_cell(value) for value in row] for row in frame.head(top).iter_rows()]
    cells = [[label(name, 60) for name in frame.columns], *([label(cell, 60) for cell in row] for row in rows)]
    wide = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for number, row in enumerate(cells):
        line = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, wide, strict=True))
        terminal.print_line(screen, Text(line, style="" if number else "bold"))


def _cell(value: object) -> str:
    """A value in a table."""
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def shown_first(users: pl.DataFrame, top: int) -> pl.DataFrame:
    """As many users, some of each class: as many of each as of the others, as far as they go."""
    import polars as pl

    order = pl.int_range(pl.len()).over("class")
    kept = users.with_columns(order=order).with_row_index("row").sort("order", "row").head(top)
    return kept.sort("row").drop("row", "order")


def chance(share: float) -> str:
    """A chance in words: 98 %, 99.9 %, > 99.9 %.

    Examples
    --------
    >>> [chance(share) for share in (0.5, 0.991, 0.9996, 0.0001, 0.0)]
    ['50 %', '99.1 %', '>99.9 %', '<0.1 %', '<0.1 %']
    """
    if share > 0.9995:
        return ">99.9 %"
    if share < 0.0005:
        return "<0.1 %"
    return f"{100 * share:.1f} %" if not 0.0995 < share < 0.985 else f"{100 * share:.0f} %"


def _print(found: Ranked, screen: Console, top: int) -> None:
    """Print a ranking for people."""
    from rich.text import Text

    from amiss import terminal
    from amiss.escape import label, visible

    name = label(found.label)
    said = f"{found.labelled:,} of {found.users:,} users are labelled {name}. Of the others, most like them:"
    terminal.print_wrapped(Text(said), screen)
    terminal.print_line(screen)
    terminal.print_line(screen, Text(f"{'bits':>7}  {'user':<12}  {'days':>5}  why", style="bold"))
    for row in found.ranking.head(top).iter_rows(named=True):
        head = f"{row['bits']:>7.1f}  {label(row['user'], 12):<12}  {row['days']:>5,}  "
        reasons = " · ".join(row["reasons"] or ["nothing speaks for it"])
        verdict = f"{label(row['verdict'])}: " if row["verdict"] else "don't know: " if row["bits"] > 0 else ""
        lines = Text(visible(verdict + reasons)).wrap(screen, max(20, screen.width - len(head)))
        for number, line in enumerate(lines):
            terminal.print_line(screen, Text.assemble(head if number == 0 else " " * len(head), line))
