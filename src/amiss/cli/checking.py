"""`amiss check`: whether everything that a scan or a watch needs is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amiss.cli.given import asked, reader, settings_of
from amiss.errors import AmissError
from amiss.options import ConfigOption, QueryOption, StateOption, Telling, grouped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from amiss.config import Settings

FAILED = 1


@grouped
def check(
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="[SOURCE]", help="Sources to try.", show_default=False)
    ] = None,
    *,
    state: StateOption = None,
    telling: Telling,
    users: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Users to expect, for the estimate of memory.")
    ] = None,
    query: QueryOption = None,
    config: ConfigOption = None,
) -> None:
    """Check the settings, sources, sinks and the state; say what was found in each, and what a watch will need.

    The first events of sources are read, sinks are tried without an alert.

    All problems are listed; the exit status is 1 if there are any.
    """
    from amiss.escape import visible

    settings = settings_of(config, telling)
    place = state or settings.watch.state
    said = [f"ok: settings of {config or 'amiss.toml or the defaults'}"]
    typer.echo(said[0])
    for line in _found(asked(sources or [], query), None if place is None else Path(place), settings, users):
        typer.echo(visible(line))
        said.append(line)
    if any(line.startswith("problem: ") for line in said):
        raise typer.Exit(FAILED)


def _found(sources: list[str], state: Path | None, settings: Settings, users: int | None) -> Iterator[str]:
    """What was found, a line each."""
    from amiss.forecast import state_found
    from amiss.service import tried

    for source in sources:
        yield from _source(source, settings, users)
    for sink in settings.watch.alert:
        yield tried(sink, state, settings.watch.digest, settings.feedback)
    if settings.detector.get("entitlement"):
        yield _table(settings)
    if state is not None:
        yield from state_found(state)


def _table(settings: Settings) -> str:
    """What was found in the table of [entitlement]."""
    from amiss.cli.classifying import table_of

    try:
        rules = table_of(settings)
        bad = rules.check() if rules is not None else None
    except AmissError as error:
        return f"problem: {error}"
    if rules is None or not (rules.table or rules.url):
        return "ok: [entitlement]: the log carries its columns itself"
    where = rules.table or rules.url
    if bad is not None and bad.total:
        first = bad.samples[0]
        return f"problem: {where}: {bad.total:,} rows forbid nothing, the first is row {first.position}: {first.reason}"
    return f"ok: {where}: {len(rules.periods.start):,} periods of {len(rules.periods.key):,} keys"


def _source(source: str, settings: Settings, users: int | None) -> Iterator[str]:
    """What was found in a source, or what is wrong with it: its first events are read, and judged to see how fast."""
    from amiss.forecast import measured, sentence

    try:
        opened = reader(settings).file(source)
        frame, _ = next(opened.read())
    except AmissError as error:
        yield f"problem: {error}"
        return
    except StopIteration:
        yield f"problem: {source}: no events"
        return
    roles = ", ".join(f"{role} from {guess.column}" for role, guess in opened.fields.roles.items())
    yield f"ok: {source}: first {frame.height:,} events read, {opened.quarantine.total:,} rows not ({roles})"
    needed = measured(frame, users, opened.fields, max_users=settings.watch.max_users)
    yield f"estimate: {sentence(needed)}"
