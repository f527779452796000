"""`amiss bands` and `amiss plot`: how much users do over time, in rows and in pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from amiss.cli.given import asked, reader, settings_of
from amiss.cli.output import console, say, stream_to
from amiss.errors import EventError, UsageError
from amiss.options import (
    JUDGING,
    READING,
    SHOWING,
    ConfigOption,
    FormatOption,
    OutputOption,
    QueryOption,
    QuietOption,
    Reading,
    SourceArgument,
    SourcesArgument,
    StrictOption,
    YearOption,
    grouped,
)

if TYPE_CHECKING:
    from amiss.activity import Activity, Per
    from amiss.app import Reader
    from amiss.bollinger import Calendar, Width
    from amiss.sources import Source


@dataclasses.dataclass(frozen=True)
class Counting:
    """What is counted, in which periods, and how wide bands are."""

    span: Annotated[
        float,
        typer.Option(metavar="N", help="Periods that mean and deviation look back on.", rich_help_panel=JUDGING),
    ] = 30
    k: Annotated[
        float,
        typer.Option("--k", metavar="K", help="Deviations that a band is wide, up and down.", rich_help_panel=JUDGING),
    ] = 2
    by: Annotated[
        Literal["day", "hour"], typer.Option(metavar="day|hour", help="Length of a period.", rich_help_panel=JUDGING)
    ] = "day"
    time: Annotated[
        str | None, typer.Option("--time", metavar="COL", help="Column of the time.", rich_help_panel=READING)
    ] = None
    user_column: Annotated[
        str | None, typer.Option(metavar="COL", help="Column of the user.", rich_help_panel=READING)
    ] = None
    action: Annotated[
        str | None, typer.Option(metavar="COL", help="Column of the action.", rich_help_panel=READING)
    ] = None
    group_column: Annotated[
        str | None, typer.Option(metavar="COL", help="Column of the group.", rich_help_panel=READING)
    ] = None
    timezone: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE", help="Zone of days and of times that name none. (default UTC)", rich_help_panel=READING
        ),
    ] = None
    year: YearOption = None
    strict: StrictOption = False
    query: QueryOption = None

    @property
    def width(self) -> Width:
        """How bands are drawn."""
        from amiss.bollinger import Width

        return Width(self.span, self.k)

    def opened(self, urls: list[str], config: Path | None) -> tuple[list[Source], Calendar]:
        """The sources, and what periods are."""
        from amiss.bollinger import Calendar
        from amiss.times import check_timezone

        reading = Reading(self.time, self.user_column, self.action, None, self.timezone, self.year, self.strict)
        settings = settings_of(config, reading)
        check_timezone(settings.fields.timezone)
        how = reader(settings)
        if self.group_column is not None:
            how = dataclasses.replace(how, choice=dataclasses.replace(how.choice, group=self.group_column))
        return _opened(how, asked(urls, self.query)), Calendar(self.by, settings.fields.timezone)


def _opened(how: Reader, urls: list[str]) -> list[Source]:
    """The sources; what says how to name the column of the user says it as this command has it."""
    try:
        return how.open(urls)
    except EventError as error:
        raise EventError(str(error).replace("--user COLUMN", "--user-column COLUMN")) from error


@grouped
def bands(
    sources: SourcesArgument,
    *,
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="Only this one.")] = None,
    together: Annotated[bool, typer.Option("--together", help="Count the events of all users as one.")] = False,
    by_group: Annotated[bool, typer.Option("--by-group", help="Count the events of each group as one.")] = False,
    counting: Counting,
    flagged: Annotated[
        bool, typer.Option("--flagged", help="Only periods above their band.", rich_help_panel=SHOWING)
    ] = False,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Users to list as text.", rich_help_panel=SHOWING)] = 20,
    shape: FormatOption = "text",
    output: OutputOption = None,
    quiet: QuietOption = False,
    config: ConfigOption = None,
) -> None:
    """Count the events of users by day or hour, with Bollinger bands: mean and deviations of the last periods.

    A period is flagged when its count lies above mean + k deviations (%b > 1). Each period is part of its own band.
    """
    from amiss import activity
    from amiss.cli import banded

    if [user is not None, together, by_group].count(True) > 1:
        raise UsageError("--user, --together and --by-group do not go together: give one of them")
    width = counting.width
    opened, calendar = counting.opened(sources, config)
    per: Per = "everyone" if together else "group" if by_group else "user"
    counts = activity.read(opened, calendar, per=per)
    counts = counts if user is None else counts.only(user)
    _warn(counts, width)
    with stream_to(output, shape) as stream:
        if shape == "text":
            banded.print_bands(counts, width, console(stream), flagged=flagged, top=top, single=user is not None)
        else:
            banded.write_bands(counts, width, shape, stream, flagged=flagged)
    if not quiet:
        _tell_unread(opened)


def _warn(counts: Activity, width: Width) -> None:
    """Say so where nothing can be flagged, whatever happens."""
    from amiss.bollinger import most_deviations
    from amiss.story import plural

    by, longest, span = counts.calendar.by, counts.longest, f"span {width.span:g}"
    if not width.can_flag():
        limit = most_deviations(width.span)
        say(f"warning: with {span} nothing can be flagged from k = {limit:.3f} on, and k is {width.k:g}: {_own(by)}")
    elif not width.can_flag(longest):
        who = "all together have no" if counts.per == "everyone" else f"no {counts.per} has"
        needed = f"k = {width.k:g} takes {width.fewest_periods():,} with {span}"
        say(f"warning: nothing can be flagged: {who} more than {plural(longest, by)}, and {needed}; {_own(by)}")


def _own(by: str) -> str:
    """Why nothing can be flagged."""
    return f"each {by} is part of its own band"


TOP: Final = 6
"""Users who are drawn where none is named."""


@grouped
def plot(
    source: SourceArgument,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="USER", help="Users, as the log names them. (default the busiest)", show_default=False),
    ] = None,
    *,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="The picture: .png, .svg or .html.", show_default=False),
    ],
    together: Annotated[bool, typer.Option("--together", help="Draw the events of all users as one.")] = False,
    group: Annotated[
        str | None, typer.Option(metavar="GROUP", help="Draw all users of a group, and the band of all of them.")
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, max=400, metavar="N", help=f"Draw the N busiest users. (default {TOP})")
    ] = None,
    counting: Counting,
    dark: Annotated[
        bool, typer.Option("--dark", help="Light on dark; .html follows the reader.", rich_help_panel=SHOWING)
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Draw how much users did over time: counts, moving mean, band, and what lies above it with its date and %b.

    One user fills the picture; several stand side by side.
    """
    from amiss import activity
    from amiss.cli import drawing

    given = {"USER": names or None, "--together": together or None, "--group": group, "--top": top}
    if len(said := [name for name, value in given.items() if value is not None]) > 1:
        raise UsageError(f"{' and '.join(said)} do not go together: give one of them")
    drawing.check(output)
    is_dark = dark and output.suffix.lower() != ".html"
    opened, calendar = counting.opened([source], config)
    if group is not None:
        counts = activity.of_group(opened, calendar, group)
        chart = drawing.of_group(counts, counting.width, group, dark=is_dark)
    else:
        counts = activity.read(opened, calendar)
        counts = counts.together() if together else counts
        chosen = [] if together else list(dict.fromkeys(names or counts.busiest(top or TOP)))
        chart = drawing.of_users(counts, counting.width, chosen, dark=is_dark)
    _warn(counts, counting.width)
    drawing.write(chart, output)


def _tell_unread(sources: list[Source]) -> None:
    """Say how many rows could not be read."""
    from amiss.story import quarantine_said

    for source in sources:
        if source.quarantine.total:
            say(f"unread: {quarantine_said(source.quarantine)}")
