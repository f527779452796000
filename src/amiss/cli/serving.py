"""`amiss serve`: what is answered over HTTP."""

from __future__ import annotations

import logging
import threading
from typing import Annotated, Literal

import typer

from amiss.cli.given import settings_of, state_file
from amiss.cli.watching import stopped_by_signals
from amiss.errors import UsageError
from amiss.options import ConfigOption, QuietOption, StateOption, grouped

_LOG = logging.getLogger("amiss.serve")


@grouped
def serve(
    *,
    state: StateOption = None,
    feedback: Annotated[bool, typer.Option("--feedback", help="Answer the links in mails.")] = False,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where to listen. (default 127.0.0.1:8484)")
    ] = None,
    log_format: Annotated[
        Literal["text", "json"] | None, typer.Option(metavar="text|json", help="Form of messages. (default text)")
    ] = None,
    quiet: QuietOption = False,
    config: ConfigOption = None,
) -> None:
    """Answer over HTTP, until stopped: the links in mails, by which people say what to think of an alert.

    What they say is kept in the state, as amiss feedback does, also while a watch runs.

    Only this machine is answered unless --listen says otherwise: put a web server with TLS in front of it.
    """
    from amiss import logs
    from amiss.serve import serving

    if not feedback:
        raise UsageError("say what to serve: amiss serve --feedback")
    settings = settings_of(config)
    place = state_file(state, settings)
    level = "warning" if quiet else "info"
    stop = threading.Event()
    with (
        logs.to_stderr(log_format or settings.watch.log_format, level),
        stopped_by_signals(stop),
        serving(place, listen or settings.feedback.listen) as served,
    ):
        _LOG.info("feedback is at %s", served.url)
        while served.is_alive and not stop.wait(0.2):
            pass
