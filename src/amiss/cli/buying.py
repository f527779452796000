"""`amiss purchases`: purchases that are large for the network of their buyer."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, TextIO

import typer

from amiss.cli.output import console, say
from amiss.errors import SinkError, SourceError, UsageError

if TYPE_CHECKING:
    from rich.progress import Progress

    from amiss.purchases import Decision, Found, Logs


def purchases(
    batch: Annotated[Path, typer.Argument(metavar="BATCH", help="What happened before: the network to begin with.")],
    stream: Annotated[Path, typer.Argument(metavar="STREAM", help="What is to be judged; - is stdin.")],
    flagged: Annotated[Path, typer.Argument(metavar="FLAGGED", help="Where flagged purchases go; - is stdout.")],
    *,
    append: Annotated[bool, typer.Option("--append", help="Add to FLAGGED rather than write it anew.")] = False,
    robust: Annotated[
        bool, typer.Option("--robust", help="Judge by median and median distance; mean and sd then hold these.")
    ] = False,
    by: Annotated[
        str | None, typer.Option(metavar="FIELDS", help="Compare only purchases alike in these: category,currency.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first line that cannot be read.")] = False,
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, help="Tell totals; twice, also each decision.")
    ] = 0,
) -> None:
    """Flag purchases that are large for the network of their buyer, by the rule of three standard deviations.

    BATCH begins with {"D":"3", "T":"50"}: a network are all users within D friendships, and a purchase of the stream is
    flagged when its amount is above mean + 3 sd of the network's last T purchases. Both logs hold an object a line:
    event_type (purchase, befriend, unfriend), timestamp, id and amount, or id1 and id2.
    """
    from amiss.purchases import Logs, lines, rule_of

    with ExitStack() as stack:
        before, now = (stack.enter_context(_opened(place)) for place in (batch, stream))
        _keep_apart(flagged, [batch, stream])
        rule, rest = rule_of(lines(before), str(batch), robust=robust, by=_fields(by))
        logs = Logs(rule, strict=strict)
        to = stack.enter_context(_writing(flagged, append=append))
        bar = stack.enter_context(_progress(verbose))
        _follow(bar, str(batch), logs.learn(rest, str(batch)))
        for found in logs.judge(lines(now), str(stream), every=verbose > 1):
            _write(found, to, verbose=verbose > 1)
    _tell(logs, verbose)


def simulated(
    *,
    users: Annotated[int, typer.Option(min=1, metavar="N", help="Users in all.")] = 1000,
    days: Annotated[int, typer.Option(min=1, metavar="N", help="Days to simulate.")] = 30,
    seed: Annotated[int, typer.Option(metavar="N", help="Where the random numbers begin.")] = 42,
    odd_users: Annotated[
        float, typer.Option(min=0, max=1, metavar="R", help="The share of users who buy oddly, once each.")
    ] = 0.01,
    odd_after: Annotated[int, typer.Option(min=0, metavar="N", help="Days without them at first.")] = 0,
    currencies: Annotated[str, typer.Option(metavar="LIST", help="Currencies: USD, EUR, GBP, JPY, INR.")] = "USD",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The log, an object a line; - is stdout.")
    ] = Path("-"),
    batch: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the first days there, as BATCH of amiss purchases.")
    ] = None,
    batch_days: Annotated[int, typer.Option(min=1, metavar="N", help="With --batch: how many days.")] = 20,
    degrees: Annotated[int, typer.Option(min=0, metavar="D", help="With --batch: how far a network reaches.")] = 2,
    last: Annotated[int, typer.Option(min=0, metavar="T", help="With --batch: how many purchases count.")] = 50,
    truth: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write which purchases are odd there, as CSV.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No messages.")] = False,
) -> None:
    """Simulate purchases of friends who live in communities, and of a few who spend far above theirs."""
    from amiss.simulate.purchases import write_purchases

    report = write_purchases(
        "-" if str(output) == "-" else output,
        batch=batch,
        batch_days=batch_days,
        degrees=degrees,
        last=last,
        truth=truth,
        users=users,
        days=days,
        seed=seed,
        odd_users=odd_users,
        odd_after=odd_after,
        currencies=_fields(currencies),
    )
    if not quiet:
        say(f"{report.events:,} events of {report.users:,} users, {report.events_per_second:,.0f} events/s")


def _fields(by: str | None) -> tuple[str, ...]:
    """The names in a list."""
    return tuple(name.strip() for name in (by or "").split(",") if name.strip())


@contextmanager
def _opened(place: Path) -> Iterator[BinaryIO]:
    """A log to read."""
    if str(place) == "-":
        yield sys.stdin.buffer
        return
    try:
        opened = place.open("rb")
    except OSError as error:
        raise SourceError(f"{place} cannot be read: {error.strerror}") from error
    with opened:
        yield opened


def _keep_apart(flagged: Path, logs: Iterable[Path]) -> None:
    """Refuse to write over what is read."""
    for log in logs:
        if flagged.exists() and log.exists() and not flagged.is_char_device() and flagged.samefile(log):
            raise UsageError(f"{flagged} is both read and written: give another file for FLAGGED")


@contextmanager
def _writing(flagged: Path, *, append: bool) -> Iterator[TextIO]:
    """Where flagged purchases go."""
    if str(flagged) == "-":
        yield sys.stdout
        return
    try:
        with flagged.open("a" if append else "w", encoding="utf-8", newline="") as to:
            yield to
    except OSError as error:
        raise SinkError(f"{flagged} cannot be written: {error.strerror}") from error


@contextmanager
def _progress(verbose: int) -> Iterator[Progress | None]:
    """A bar, on stderr when that is a terminal and progress was asked for."""
    if not verbose or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}: {task.completed:,.0f} events"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(sys.stderr), transient=True) as bar:
        yield bar


def _follow(bar: Progress | None, name: str, counts: Iterable[int]) -> None:
    """Go through counts of events, and show them."""
    task = bar.add_task(name, total=None) if bar else None
    for count in counts:
        if bar and task is not None:
            bar.update(task, completed=count)


def _write(found: Iterable[Found], to: TextIO, *, verbose: bool) -> None:
    """Write what is flagged, and tell of each decision where that is wanted."""
    for each in found:
        if each.decision.is_flagged:
            to.write(f"{each.record}\n")
        if verbose:
            say(_sentence(each.decision))
    to.flush()


def _sentence(decision: Decision) -> str:
    """What came of a purchase."""
    from amiss.purchases import in_dollars

    bought = f"line {decision.line}: {decision.user} bought for {in_dollars(decision.cents)}"
    if decision.count < 2:
        return f"{bought}; the network bought less than twice: not judged"
    spread = f"mean {in_dollars(decision.middle)}, sd {in_dollars(decision.deviation)}"
    said = "flagged" if decision.is_flagged else "not flagged"
    return f"{bought}; {spread} of {decision.count} purchases: {said}"


def _tell(logs: Logs, verbose: int) -> None:
    """Say what could not be read, and where wanted what was."""
    totals, quarantine = logs.totals, logs.quarantine
    if quarantine.total:
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in quarantine.reasons.items())
        lines = "1 line is no event" if quarantine.total == 1 else f"{quarantine.total:,} lines are no events"
        say(f"{lines}: {reasons}")
        for sample in quarantine.samples if verbose else quarantine.samples[:1]:
            say(f"  {sample.file}:{sample.position}: {sample.reason}: {sample.text}")
    if verbose:
        say(
            f"{totals.batch:,} events of the batch; {totals.stream:,} of the stream, {totals.purchases:,} of them "
            f"purchases; {len(logs.users):,} users with {logs.network.friendships:,} friendships at the end; "
            f"{totals.flagged:,} flagged"
        )
