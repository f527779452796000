"""The commands. Data goes to stdout, everything else to stderr.

Exit status: 0 clean, 1 error, 2 wrong usage, 3 alerts at or above `--fail-on`, 130 interrupted.
"""

from __future__ import annotations

import atexit
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, NoReturn, TextIO

import typer

from amiss.cli import (
    answers,
    banding,
    buying,
    checking,
    classifying,
    evaluating,
    grouping,
    labelling,
    looking,
    selftesting,
    serving,
    studying,
    violating,
    watching,
)
from amiss.cli.given import asked, reader, settings_of
from amiss.cli.output import close_stdout, console, flush, say, stream_to, write_text
from amiss.errors import AmissError, UsageError, nearest
from amiss.options import (
    SHOWING,
    ConfigOption,
    Deciding,
    FormatOption,
    Judging,
    OutputOption,
    QueryOption,
    QuietOption,
    Reading,
    SourceArgument,
    SourcesArgument,
    grouped,
)
from amiss.severity import SEVERITIES, Severity

if TYPE_CHECKING:
    from polars import DataFrame

    from amiss.config import LabelSettings, Settings
    from amiss.result import Result

FAILED: Final = 1
WRONG_USAGE: Final = 2
ALERTS: Final = 3

FIRST_DATE: Final = datetime(2019, 1, 1)  # noqa: DTZ001 - a date; its clock and zone are never used

app = typer.Typer(
    name="amiss",
    help="Learns from event logs how users normally behave, and says who is amiss, by how many bits, and why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
simulate = typer.Typer(help="Make labelled logs to try amiss on.", no_args_is_help=True)
app.add_typer(simulate, name="simulate")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its status; `--debug` anywhere shows tracebacks."""
    words = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in words
    try:
        app(args=[word for word in words if word != "--debug"], prog_name="amiss", standalone_mode=True)
    except BrokenPipeError:
        close_stdout()
        sys.exit(FAILED)
    except SystemExit:
        flush()
        raise
    except Exception as error:  # noqa: BLE001 - the last place where an error can become a message
        sys.exit(_complain(error, debug=debug))


def run() -> NoReturn:
    """The command `amiss`: :func:`main`, behind which memory goes back with the process and not piece by piece."""
    status: str | int | None = 0
    try:
        main()
    except SystemExit as end:
        status = end.code
    if isinstance(status, str):
        say(status)
        status = FAILED
    atexit._run_exitfuncs()  # noqa: SLF001 - temporary files are removed there
    flush()
    os._exit(status or 0)


def _complain(error: Exception, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    elif isinstance(error, AmissError | OSError):
        say(f"amiss: {error}")
    else:
        say(f"amiss: unexpected {type(error).__name__}: {error}\nRun again with --debug to see where.")
    return WRONG_USAGE if isinstance(error, UsageError) else FAILED


def _version(*, wanted: bool) -> None:
    if wanted:
        from amiss import __version__

        typer.echo(f"amiss {__version__}")
        raise typer.Exit


@app.callback()
def _global(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=lambda value: _version(wanted=value), is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    pass


@app.command()
@grouped
def scan(
    sources: SourcesArgument,
    *,
    reading: Reading,
    judging: Judging,
    deciding: Deciding,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Also write a report that opens offline.", rich_help_panel=SHOWING),
    ] = None,
    shape: FormatOption = "text",
    output: OutputOption = None,
    quiet: QuietOption = False,
    config: ConfigOption = None,
) -> None:
    """Rank the users of logs by the evidence against them, and say why.

    Without --learn each user is judged against all others of the same log, and each day against the days before it.
    """
    settings = settings_of(config, reading, judging, deciding)
    shown = None if deciding.everyone else settings.scan.top
    result = _scan(asked(sources, reading.query), settings, top=shown, quiet=quiet)
    with stream_to(output, shape) as stream:
        _write_ranking(result, shape, stream, shown)
    if report is not None:
        _write_report(result, report, settings.scan.top, quiet=quiet)
    if _alerts(result, settings.scan.fail_on):
        raise typer.Exit(ALERTS)


@app.command()
@grouped
def explain(
    name: Annotated[str, typer.Argument(metavar="USER", help="The user, as the log names them.")],
    sources: SourcesArgument,
    *,
    reading: Reading,
    judging: Judging,
    shape: FormatOption = "text",
    output: OutputOption = None,
    quiet: QuietOption = False,
    config: ConfigOption = None,
) -> None:
    """Tell the story of one user: each event, its bits, and where the evidence stood after it."""
    settings = settings_of(config, reading, judging)
    result = _scan(asked(sources, reading.query), settings, top=settings.scan.top, quiet=quiet)
    with stream_to(output, shape) as stream:
        _write_story(result, name, shape, stream)


@app.command()
@grouped
def surprisal(
    sources: SourcesArgument,
    *,
    action: Annotated[str | None, typer.Option(metavar="ACTION", help="Only rows of this action.")] = None,
    after: Annotated[
        str | None, typer.Option(metavar="ACTION", help='Only rows after this one; "" at a start.')
    ] = None,
    query: QueryOption = None,
    shape: FormatOption = "text",
    output: OutputOption = None,
    config: ConfigOption = None,
) -> None:
    """Print how surprising each action is after each other one, in bits, for success and for failure.

    Columns are found by themselves, or as pinned in amiss.toml (see amiss schema).
    """
    table = _surprisal(asked(sources, query), settings_of(config), action, after)
    with stream_to(output, shape) as stream:
        _write_surprisal(table, shape, stream)


@app.command()
@grouped
def schema(
    source: SourceArgument,
    *,
    reading: Reading,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the choice as TOML, to pin it.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Show which column plays which role, how sure that is, and three values of each."""
    from amiss import fields, terminal

    [source] = asked([source], reading.query)
    found = reader(settings_of(config, reading)).file(source).fields
    terminal.print_schema(found, console(sys.stdout))
    if output is not None:
        write_text(output, fields.to_toml(found))
        say(f"Pinned in {output}; commands read it when it is called amiss.toml, or with --config")


app.command()(watching.watch)
app.command()(watching.learn)
app.command()(answers.feedback)
app.command()(serving.serve)
app.command()(banding.bands)
app.command()(classifying.classify)
app.command()(grouping.groups)
app.command()(violating.violations)
app.command()(banding.plot)
app.command()(buying.purchases)
simulate.command("purchases")(buying.simulated)
simulate.command("curriculum")(studying.simulated)
app.command()(looking.alerts)
app.command()(looking.users)
app.add_typer(answers.suppress, name="suppress")
app.add_typer(labelling.label, name="label")
app.add_typer(looking.state, name="state")
app.command()(checking.check)
app.command()(evaluating.evaluate)
app.command()(selftesting.selftest)


def _first_day(text: str) -> datetime:
    """The day that a text names."""
    if text == "yesterday":
        return datetime.now(UTC) - timedelta(days=1)
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise typer.BadParameter(f"'{text}' is not a date such as 2026-03-31.") from None


@simulate.command()
def marketplace(
    *,
    users: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Users on the first day. (default 1000; with --live as many as make the rate)"
        ),
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Days to simulate. (default 1; no end with --live)")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Where the random numbers begin.")] = 42,
    date: Annotated[
        datetime | None,
        typer.Option(
            parser=_first_day,
            metavar="DATE",
            help="The first day, or yesterday; with --live, events of that day, not now. (default 2019-01-01)",
        ),
    ] = None,
    new_users_per_day: Annotated[int, typer.Option(min=0, metavar="N", help="Users who join on each later day.")] = 0,
    active_users: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="How many of them come each day. (default all)")
    ] = None,
    profiles: Annotated[Path | None, typer.Option(metavar="FILE", help="Kinds of users of your own, in TOML.")] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="The log: .jsonl or .csv, also with .gz; - is stdout."),
    ] = Path("-"),
    truth: Annotated[Path | None, typer.Option(metavar="FILE", help="Write who was abnormal there, as CSV.")] = None,
    like_seed: Annotated[
        bool, typer.Option("--like-seed", help="Draw as the original notebooks did, event for event.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Write events as they happen, with times of now, until stopped.")
    ] = False,
    rate: Annotated[
        float, typer.Option(metavar="R", help="With --live: events a second; from 100000 on as many as can be.")
    ] = 200.0,
    events: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="With --live: stop after so many events. (default never)")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No messages.")] = False,
) -> None:
    """Simulate buyers and merchants of a marketplace, and a few users who are amiss."""
    from amiss.simulate import write_live, write_marketplace

    target: Path | Literal["-"] = "-" if str(output) == "-" else output
    if live:
        of_a_log = {"--like-seed": like_seed, "--new-users-per-day": new_users_per_day, "--active-users": active_users}
        _refuse_with_live([name for name, value in of_a_log.items() if value])
        first = date.date() if date is not None else None
        write = partial(write_live, target, users=users, rate=rate, seed=seed, days=days, events=events, date=first)
        _until_stopped(partial(write, profiles=profiles, truth=truth))
        return
    report = write_marketplace(
        target,
        users=users or 1000,
        days=days or 1,
        seed=seed,
        date=(date or FIRST_DATE).date(),
        new_users_per_day=new_users_per_day,
        active_users=active_users,
        profiles=profiles,
        like_seed=like_seed,
        truth=truth,
    )
    if not quiet:
        say(f"{report.events:,} events of {report.users:,} users, {report.events_per_second:,.0f} events/s")


@simulate.command()
def logins(
    *,
    users: Annotated[int, typer.Option(min=1, metavar="N", help="Users in all.")] = 1000,
    days: Annotated[int, typer.Option(min=1, metavar="N", help="Days to simulate.")] = 60,
    seed: Annotated[int, typer.Option(metavar="N", help="Where the random numbers begin.")] = 42,
    date: Annotated[
        datetime | None,
        typer.Option(parser=_first_day, metavar="DATE", help="The first day, or yesterday. (default 2026-02-02)"),
    ] = None,
    attack_rate: Annotated[
        float, typer.Option(min=0, max=0.5, metavar="R", help="Attackers' logins per login of a user.")
    ] = 0.001,
    attacks: Annotated[
        str, typer.Option(metavar="KINDS", help="Kinds of attacks, of each of which there are as many.")
    ] = "world,country,spray,theft",
    attacks_after: Annotated[int, typer.Option(min=0, metavar="N", help="Days without attacks at first.")] = 0,
    other_actions: Annotated[
        float, typer.Option(min=0, metavar="R", help="Other events per login, logouts among them.")
    ] = 0.0,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="The log: .jsonl or .csv, also with .gz; - is stdout."),
    ] = Path("-"),
    truth: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write which events are attackers' there, as CSV.")
    ] = None,
    ranges: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the networks of VPN exits there, one a line.")
    ] = None,
    carriers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the networks of mobile carriers there, one a line.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No messages.")] = False,
) -> None:
    """Simulate logins of users all over the world, and of a few attackers.

    Users travel, buy phones, update browsers, share offices and use VPNs. Attackers come from any other country
    (world), from the user's own (country), try many users from a few addresses (spray), or take over sessions (theft).
    """
    from amiss.simulate.logins import FIRST_DATE as MONDAY
    from amiss.simulate.logins import write_logins

    report = write_logins(
        "-" if str(output) == "-" else output,
        users=users,
        days=days,
        seed=seed,
        date=date.date() if date is not None else MONDAY,
        attack_rate=attack_rate,
        attacks=[kind.strip() for kind in attacks.split(",") if kind.strip()],
        attacks_after=attacks_after,
        other_actions=other_actions,
        truth=truth,
        ranges=ranges,
        carriers=carriers,
    )
    if not quiet:
        say(f"{report.events:,} events of {report.users:,} users, {report.events_per_second:,.0f} events/s")


def _refuse_with_live(names: list[str]) -> None:
    """Refuse options of a log that is written at once."""
    if names:
        raise UsageError(f"{', '.join(names)} and --live do not go together: leave one out")


def _until_stopped(write: Callable[[], object]) -> None:
    """Write without end; stopping, or a reader who goes, ends it quietly."""
    try:
        write()
    except KeyboardInterrupt:
        flush()
    except BrokenPipeError:
        close_stdout()


def _surprisal(sources: list[str], settings: Settings, action: str | None, after: str | None) -> DataFrame:
    """The rows of the surprisal table that were asked for."""
    from amiss.app import transitions

    table = transitions(reader(settings).open(sources))
    wanted = {column: text for column, text in (("action", action), ("previous", after)) if text is not None}
    for column, text in wanted.items():
        if text not in table[column]:
            raise UsageError(f'no action is called "{text}" here.{nearest(text, table[column].unique().sort())}')
    return table.filter(**wanted)


def _scan(sources: list[str], settings: Settings, *, top: int | None, quiet: bool) -> Result:
    from amiss import app as python

    fields, choices = settings.fields, settings.scan.model_dump(exclude={"top", "fail_on"})
    choices["learn"] = choices["learn"] or None
    choices |= {"columns": fields.choice().pinned(), "time_format": fields.choice().time_format}
    choices |= {"timezone": fields.timezone, "year": fields.year, "parameters": settings.detector}
    choices["bad"] = _labelled_bad(settings.labels, quiet=quiet)
    with _progress(quiet=quiet) as progress:
        return python.scan(sources, **choices, top=top, progress=progress)


def _labelled_bad(labels: LabelSettings, *, quiet: bool) -> list[str]:
    """The users whom the file of [labels] calls bad."""
    known = labelling.labels_of(labels.file, quiet=quiet) if labels.file is not None else {}
    return [user for user, name in known.items() if name in labels.bad]


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int], None] | None]:
    """A bar with the events read so far, on stderr when that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.completed:,.0f} events read"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(sys.stderr), transient=True) as bar:
        task = bar.add_task("events", total=None)
        yield lambda events: bar.update(task, completed=events)


def _write_ranking(result: Result, shape: str, stream: TextIO, top: int | None) -> None:
    from amiss import terminal

    if shape == "text":
        terminal.print_scan(result, console(stream), top)
    else:
        terminal.write_records(result.records(top), shape, stream)


def _write_story(result: Result, user: str, shape: str, stream: TextIO) -> None:
    from amiss import terminal

    if shape == "text":
        terminal.print_story(result, user, console(stream))
    else:
        terminal.write_records(result.story(user).to_dicts(), shape, stream)


def _write_surprisal(table: DataFrame, shape: str, stream: TextIO) -> None:
    from amiss import terminal

    if shape == "text":
        terminal.print_surprisal(table, console(stream))
    else:
        terminal.write_records(table.to_dicts(), shape, stream)


def _write_report(result: Result, file: Path, top: int, *, quiet: bool) -> None:
    result.report(file, top=top)
    if not quiet:
        say(f"Report: {file}")


def _alerts(result: Result, level: Severity | None) -> bool:
    """Whether there is an alert of this severity or a higher one."""
    if level is None:
        return False
    enough = SEVERITIES[SEVERITIES.index(level) :]
    users = result.users
    return bool(users.filter(users["alert"] & users["severity"].is_in(enough)).height)
