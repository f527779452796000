"""`amiss watch` and `amiss learn`: what runs until it is told to stop."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from amiss.cli.given import asked, settings_of, state_file
from amiss.cli.output import console, say_pairs
from amiss.options import RUNNING, ConfigOption, QuietOption, Reading, Running, StateOption, Streaming, Telling, grouped

if TYPE_CHECKING:
    from types import FrameType

    from amiss.config import Settings
    from amiss.service import Service
    from amiss.sources import LiveSource
    from amiss.watch import Report

LiveArgument = Annotated[
    str, typer.Argument(metavar="SOURCE", help="A file that grows, a directory, a database, kafka://, or - for stdin.")
]

_LOG: Final = logging.getLogger("amiss.watch")


@grouped
def watch(
    source: LiveArgument,
    *,
    state: StateOption = None,
    reading: Reading,
    streaming: Streaming,
    telling: Telling,
    running: Running,
    until_eof: Annotated[
        bool, typer.Option("--until-eof", help="End when all that is there now was read.", rich_help_panel=RUNNING)
    ] = False,
    quiet: QuietOption = False,
    config: ConfigOption = None,
) -> None:
    """Watch a live stream: judge each event as it comes, alert within a budget, lose nothing.

    All that is known lies in one state file; stop and start again at any time.

    A state that is new learns for a day first; amiss learn begins one from past logs.
    """
    [source] = asked([source], reading.query)
    settings = settings_of(config, reading, streaming, telling, running)
    place = state_file(state, settings)
    with _service(source, place, settings, judge=True, until_eof=until_eof, quiet=quiet) as service:
        _begin(service, settings, quiet=quiet)
        report = _run(service, quiet=quiet)
        from amiss.service import summary

        _tell("ended", summary(service, report), settings, quiet=quiet)


@grouped
def learn(
    source: LiveArgument,
    *,
    state: StateOption = None,
    reading: Reading,
    streaming: Streaming,
    quiet: QuietOption = False,
    config: ConfigOption = None,
) -> None:
    """Learn what is normal from past logs, so that a watch need not begin blind.

    Days are those of the events' own times. Nobody is alerted. The last day stays open until a later event comes.
    """
    [source] = asked([source], reading.query)
    settings = settings_of(config, reading, streaming)
    place = state_file(state, settings)
    with _service(source, place, settings, judge=False, until_eof=True, quiet=quiet) as service:
        report = _run(service, quiet=quiet)
        from amiss.service import learned, summary

        _tell("learned", [*summary(service, report), *learned(service)], settings, quiet=quiet)


@contextmanager
def _service(
    source: str, state: Path, settings: Settings, *, judge: bool, until_eof: bool, quiet: bool
) -> Iterator[Service]:
    """A watch, ready to run, whose messages go to stderr."""
    from amiss import logs
    from amiss.service import opened

    level = "warning" if quiet else "info"
    with logs.to_stderr(settings.watch.log_format, level):
        open_source = partial(_source, source, settings)
        with opened(open_source, state, settings, judge=judge, until_eof=until_eof) as service:
            for warning in service.warnings():
                _LOG.warning("%s", warning)
            yield service


def _source(url: str, settings: Settings) -> LiveSource:
    """The source at an address, as settings say how to read it."""
    from amiss.sources import open_live_source

    fields = settings.fields
    return open_live_source(
        url, fields=fields.choice(), timezone=fields.timezone, year=fields.year, strict=settings.watch.strict
    )


def _begin(service: Service, settings: Settings, *, quiet: bool) -> None:
    """Say what there is, and what to expect."""
    _tell("watching", service.beginning(), settings, quiet=quiet)


def _tell(what: str, lines: list[tuple[str, str]], settings: Settings, *, quiet: bool) -> None:
    """Say several things: to people in a few lines, to programs in one record."""
    from amiss.logs import fields

    if quiet:
        return
    if settings.watch.log_format == "text":
        say_pairs(lines)
        return
    named: dict[str, object] = {}
    for name, said in lines:
        last = name or (list(named)[-1] if named else what)
        named[last] = f"{named[last]}; {said}" if last in named else said
    _LOG.info("%s", what, extra=fields(**named))


def _run(service: Service, *, quiet: bool) -> Report:
    """Watch until told to stop; the first signal stops it after the batch at hand, the second one at once."""
    stop = threading.Event()
    with ExitStack() as stack:
        stack.enter_context(stopped_by_signals(stop))
        if not quiet and sys.stderr.isatty():
            stack.enter_context(_status(service.status))
        return service.run(stop)


@contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """While it lasts, SIGINT and SIGTERM set `stop`; a second one has its usual effect."""
    is_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
    before = {number: signal.getsignal(number) for number in numbers}

    def first(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)

    for number in numbers:
        signal.signal(number, first)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _status(said: Callable[[], str]) -> Iterator[None]:
    """A line at the bottom of the terminal that says how things stand."""
    from rich.live import Live
    from rich.text import Text

    from amiss.escape import visible

    screen = console(sys.stderr)

    def line() -> Text:
        text = Text(visible(said()), style="dim", no_wrap=True)
        text.truncate(screen.width - 1, overflow="ellipsis")
        return text

    live = Live(
        get_renderable=line, console=screen, refresh_per_second=2, transient=True, redirect_stdout=sys.stdout.isatty()
    )
    with live:
        yield
