"""`amiss selftest`: what would be caught of known attacks on a copy of one's own log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, TextIO

import typer

from amiss.cli.given import asked, settings_of
from amiss.cli.output import console, stream_to
from amiss.options import (
    JUDGING,
    ConfigOption,
    FormatOption,
    Judging,
    OutputOption,
    QuietOption,
    Reading,
    SourcesArgument,
    grouped,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from amiss.config import Settings
    from amiss.quality import SelfTest, Setting

BAR: Final = 10
TRYING: Final = "What to try"


def _trying(metavar: str, text: str, least: int | None = None) -> object:
    return typer.Option(metavar=metavar, help=text, min=least, rich_help_panel=TRYING)


@dataclass(frozen=True)
class Trying:
    """What is tried, how often, on whom."""

    attack: Annotated[list[str] | None, _trying("NAME", "Try only this attack, or these: swap,burst.")] = None
    rounds: Annotated[
        int | None, _trying("N", "Copies of the log to scan. (default: for about 30 tries of each attack)", 1)
    ] = None
    users: Annotated[int | None, _trying("N", "Look at so many users only.", 10)] = None
    seed: Annotated[int, _trying("N", "Where the random numbers begin.", 0)] = 1


BudgetOption = Annotated[
    str | None,
    typer.Option(
        metavar="N/PERIOD",
        help='False alarms to allow: "3/day", "5/week", "1/hour". (default 1/day)',
        rich_help_panel=JUDGING,
    ),
]


@grouped
def selftest(
    sources: SourcesArgument,
    *,
    reading: Reading,
    judging: Judging,
    budget: BudgetOption = None,
    trying: Trying,
    shape: FormatOption = "text",
    output: OutputOption = None,
    quiet: QuietOption = False,
    config: ConfigOption = None,
) -> None:
    """Try known attacks on a copy of a log; say what would be caught, how soon, and how many false alarms there are.

    swap: a stranger goes on in a user's account. replay: another's session at a user's place. burst: ten times as much
    in an hour. country, device: logins that are new for the user. drift: slowly another's ways. silence: nothing all
    day. amount: ten times as much money. scope: what the user is not entitled to.

    The log itself is not changed. What needs columns or detectors that are not there is left out, and says why.
    """
    settings = settings_of(config, reading, judging)
    with _progress(quiet=quiet) as progress:
        found = _tried(asked(sources, reading.query), settings, budget or settings.scan.budget, trying, progress)
    with stream_to(output, shape) as stream:
        _write(found, shape, stream)


def _tried(
    sources: list[str], settings: Settings, budget: str, trying: Trying, progress: Callable[[int], None] | None
) -> SelfTest:
    """The self-test of sources with these settings."""
    from amiss.quality import selftest as tried

    fields, scan = settings.fields, settings.scan
    return tried(
        sources,
        budget=budget,
        attacks=trying.attack or (),
        rounds=trying.rounds,
        users=trying.users,
        seed=trying.seed,
        learn=scan.learn or None,
        detectors=scan.detectors,
        parameters=settings.detector,
        session_gap=scan.session_gap,
        window=scan.window,
        cap=scan.cap,
        columns=fields.choice().pinned(),
        time_format=fields.choice().time_format,
        timezone=fields.timezone,
        year=fields.year,
        strict=scan.strict,
        progress=progress,
    )


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int], None] | None]:
    """How many copies were scanned, on stderr when that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("scan {task.completed:,.0f} of a copy"), TimeElapsedColumn())
    with Progress(*columns, console=console(sys.stderr), transient=True) as bar:
        task = bar.add_task("scans", total=None)
        yield lambda done: bar.update(task, completed=done)


def _write(found: SelfTest, shape: str, stream: TextIO) -> None:
    from amiss import escape, terminal

    if shape == "text":
        print_selftest(found, console(stream))
    elif shape == "json":
        stream.write(f"{escape.json_text(found.to_dict(), indent=2)}\n")
    else:
        terminal.write_records(found.records(), shape, stream)


def print_selftest(found: SelfTest, screen: Console) -> None:
    """Print what would be caught: a sentence, a line for each attack, what each is, and the figures around it."""
    from rich.text import Text

    from amiss.terminal import print_line, print_pairs, print_wrapped

    print_wrapped(Text(found.conclusion, style="bold"), screen)
    print_line(screen)
    rows = [row for row in found.records() if row["tried"]]
    if rows:
        print_line(screen, Text(_HEAD, style="dim"))
    for row in rows:
        print_line(screen, _line(row))
    print_line(screen)
    print_pairs(_kinds(found.records()), screen)
    print_line(screen)
    print_pairs(_figures(found), screen)


_HEAD: Final = f"{'attack':<8}  {'caught':<{BAR + 20}}  {'bits':>6}  {'events':>6}  {'time':>8}  {'rank':>4}"


def _line(row: Mapping[str, Any]) -> Text:
    """An attack, how often it was caught with the interval, the evidence, and how soon."""
    from rich.text import Text

    from amiss.story import duration

    share = row["share"]
    style = "green" if share >= 2 / 3 else "yellow" if share >= 1 / 3 else "red"
    line = Text(f"{row['attack']:<8}  ")
    line.append(f"{'▇' * round(BAR * share):<{BAR}}", style=style)
    line.append(f" {share:>4.0%} ({row['low']:>3.0%} to {row['high']:>4.0%})")
    events = "" if row["events"] is None else f"{row['events']:,.0f}"
    line.append(f"  {row['bits']:>6.1f}  {events:>6}  {duration(row['seconds']):>8}  {row['rank']:>4.0f}")
    return line


def _kinds(rows: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """What each attack is, and which were not tried, with the reason."""
    left_out: dict[str, list[str]] = {}
    for row in rows:
        if row["tried"]:
            by = f", by {row['detector']}" if row["caught"] else ""
            yield row["attack"], f"{row['what']}: caught {row['caught']} of {row['tried']}{by}"
        else:
            left_out.setdefault(row["skipped"], []).append(row["attack"])
    for why, names in left_out.items():
        yield "left out", f"{', '.join(names)}: {why}"


def _figures(found: SelfTest) -> Iterator[tuple[str, str]]:
    """What was tried on what, the false alarms, and what would help."""
    from amiss.story import quarantine_said, rate

    it = found.setting
    yield "log", f"{it.events:,} events of {it.users:,} users on {it.days:,} day{'' if it.days == 1 else 's'}{_of(it)}"
    yield "tried", _tried_on(it)
    yield "detector", ", ".join(it.detectors)
    alarms = f"{it.budget_per_day:.3g} false alarm{'' if it.budget_per_day == 1 else 's'}"
    yield "budget", f"{alarms} a day, so alerts start at {it.threshold_bits:.1f} bits"
    yield (
        "alarms",
        (
            f"{_figure(it.alarms_per_day)} a day in the log as it is, which may be real; chance alone gives at most "
            f"{_figure(it.expected_alarms_per_day)}. {_figure(it.bystanders_per_day)} on others than the victims"
            " in copies"
        ),
    )
    for said in found.advice:
        yield "advice", said
    yield (
        "meaning",
        (
            "caught: share, with its 95 % interval. bits, rank: medians of all tries. events, time: of those caught, "
            "medians from the attack's first event to the alert"
        ),
    )
    yield "unread", quarantine_said(it.quarantine)
    yield "time", rate(it.events * (it.rounds + 1), it.seconds)


def _figure(count: float) -> str:
    """A number of alarms, in two figures where it is small."""
    return f"{count:,.0f}" if count >= 10 else f"{count:.2g}"


def _of(it: Setting) -> str:
    """What else there is: a past, users who were left out."""
    past = f", {it.past_events:,} events before" if it.past_events else ""
    return past + (f"; {it.kept:.0%} of all users, drawn by a hash of their names" if it.kept < 1 else "")


def _tried_on(it: Setting) -> str:
    """When and how often it was tried."""
    days = f"{it.first_tried:%-d %b %Y}"
    if it.days_tried > 1:
        days += f" to {it.last_tried:%-d %b %Y} ({it.days_tried} days)"
    copies = "1 copy" if it.rounds == 1 else f"{it.rounds:,} copies"
    return f"{days}, {copies} of the log, one user in 50 a day; seed {it.seed}"
