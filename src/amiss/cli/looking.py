"""`amiss alerts`, `amiss users` and `amiss state`: what a state file holds."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amiss.cli.given import moment, settings_of, state_file
from amiss.cli.output import console, stream_to
from amiss.errors import UsageError
from amiss.options import SHOWING, ConfigOption, FormatOption, StateOption, grouped

if TYPE_CHECKING:
    from amiss.roster import Member
    from amiss.store import Store

FAILED = 1

state = typer.Typer(help="Look at a state file, verify it, write it out.", no_args_is_help=True)

UserOption = Annotated[
    str | None, typer.Option("--user", metavar="USER", help="Only this one.", rich_help_panel=SHOWING)
]
FileArgument = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="The state. (default: state in amiss.toml)", show_default=False),
]


@grouped
def alerts(
    *,
    state: StateOption = None,
    user: UserOption = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="From then on: 7d, or 2026-12-31.", rich_help_panel=SHOWING),
    ] = None,
    hidden: Annotated[
        bool, typer.Option("--hidden", help="Only those that rules have hidden.", rich_help_panel=SHOWING)
    ] = False,
    shape: FormatOption = "text",
    config: ConfigOption = None,
) -> None:
    """Show the alerts that were raised, latest first: whether they arrived, were hidden, and what was said of them."""
    from amiss.cli import shown
    from amiss.store import Store
    from amiss.terminal import write_records

    start = None if since is None else moment(since, ago=True)
    with Store.open(state_file(state, settings_of(config)), write=False) as store, stream_to(None, shape) as stream:
        with store.view():
            found = _notices(store, user, start, hidden=hidden)
        if shape == "text":
            shown.print_alerts(found, console(stream))
        else:
            write_records(found, shape, stream)


def _notices(store: Store, user: str | None, since: datetime | None, *, hidden: bool) -> list[dict[str, Any]]:
    """Alerts with what became of them."""
    rules = {rule.id: rule for rule in store.suppressions()}
    verdicts = {story.story: story.verdict for story in store.stories()}
    delivery: dict[str, dict[str, str]] = {}
    for row in store.outbox():
        delivery.setdefault(row.alert_id, {})[row.sink] = row.state
    found = []
    for stored in store.alerts(user=user, since=since, hidden=True if hidden else None):
        rule = rules.get(stored.hidden_by) if stored.hidden_by is not None else None
        found.append(
            stored.alert.record()
            | {"verdict": verdicts.get(stored.alert.story), "hidden_by": stored.hidden_by}
            | {"hidden_why": None if rule is None else f"{rule.author}: {rule.reason}"}
            | {"delivery": delivery.get(stored.alert.alert_id, {})}
        )
    return found


@grouped
def users(
    *,
    state: StateOption = None,
    user: UserOption = None,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Users to show.", rich_help_panel=SHOWING)] = 20,
    everyone: Annotated[bool, typer.Option("--all", help="Show every user.", rich_help_panel=SHOWING)] = False,
    shape: FormatOption = "text",
    config: ConfigOption = None,
) -> None:
    """Show the risk of users now, 0 to 100, and which detectors know them well enough to judge."""
    from amiss.cli import shown
    from amiss.store import Store
    from amiss.terminal import write_records

    with Store.open(state_file(state, settings_of(config)), write=False) as store:
        found = _members(store, user, None if everyone else top)
        known = store.progress().users
    with stream_to(None, shape) as stream:
        if shape == "text":
            shown.print_members(found, 0 if user else known - len(found), console(stream))
        else:
            write_records([dataclasses.asdict(each) for each in found], shape, stream)


def _members(store: Store, user: str | None, most: int | None) -> list[Member]:
    """The users that a state knows."""
    from amiss.errors import nearest
    from amiss.receipt import today
    from amiss.roster import members
    from amiss.watch import recall, remembered

    settings = remembered(store)
    if settings is None:
        return []
    live = recall(store, settings)
    found = members(live, today(store, datetime.now(UTC)), user=user, most=most)
    if user is not None and not found:
        raise UsageError(f'no user is called "{user}" here.{nearest(user, store.texts()[0].to_list()[:10_000])}')
    return found


@state.command()
@grouped
def info(
    file: FileArgument = None,
    *,
    shape: FormatOption = "text",
    config: ConfigOption = None,
) -> None:
    """Show what a state file holds, in figures."""
    from amiss.cli import shown
    from amiss.store import Store
    from amiss.terminal import write_records

    with Store.open(state_file(file, settings_of(config)), write=False) as store, stream_to(None, shape) as stream:
        found = store.info()
        if shape == "text":
            shown.print_state(found, console(stream))
        else:
            write_records([dataclasses.asdict(found)], shape, stream)


@state.command()
@grouped
def verify(file: FileArgument = None, *, config: ConfigOption = None) -> None:
    """Read every byte of a state file and list what is wrong; the exit status is 1 if anything is."""
    from amiss.escape import visible
    from amiss.store import Store

    place = state_file(file, settings_of(config))
    with Store.open(place, write=False) as store:
        problems = store.verify()
    for problem in problems:
        typer.echo(f"problem: {visible(problem)}")
    if problems:
        raise typer.Exit(FAILED)
    typer.echo(f"ok: {visible(str(place))} is whole")


@state.command()
@grouped
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write; it is made.")],
    file: FileArgument = None,
    *,
    config: ConfigOption = None,
) -> None:
    """Write all that a state file holds as Parquet and JSON Lines, with names instead of codes."""
    from amiss.escape import visible
    from amiss.store import Store

    with Store.open(state_file(file, settings_of(config)), write=False) as store:
        written = store.export(folder)
    typer.echo(f"{len(written):,} files in {visible(str(folder))}")
