"""`amiss feedback` and `amiss suppress`: what people say of alerts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from amiss.cli.given import author_of, moment, settings_of, state_file
from amiss.cli.output import console, say, stream_to
from amiss.errors import UsageError
from amiss.options import AuthorOption, ConfigOption, FormatOption, StateOption, grouped

if TYPE_CHECKING:
    from amiss.store import Store, Verdict

SEEN: Final = "What it is about"

suppress = typer.Typer(help="Rules that hide alerts; hidden ones are kept.", no_args_is_help=True)


@grouped
def feedback(
    alert: Annotated[
        str | None, typer.Argument(metavar="ALERT", help="The alert_id of an alert.", show_default=False)
    ] = None,
    verdict: Annotated[
        str | None,
        typer.Argument(metavar="expected|confirmed|false", help="What to think of it.", show_default=False),
    ] = None,
    *,
    state: StateOption = None,
    note: Annotated[str, typer.Option(metavar="TEXT", help="Why.", show_default=False)] = "",
    author: AuthorOption = None,
    undo: Annotated[int | None, typer.Option(metavar="N", help="Take back verdict N.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Show all verdicts.")] = False,
    config: ConfigOption = None,
) -> None:
    """Say what to think of an alert, and see what that changes.

    expected: this is what the user does, so it speaks against them no more.

    false: a false alarm, which has the same effect.

    confirmed: it was amiss, so nothing of it is learned.

    A watch that runs takes it up with its next batch. Take it back with --undo.
    """
    from amiss.store import Store

    _check_words(alert, verdict, undo, listed=listed)
    place = state_file(state, settings_of(config))
    now = datetime.now(UTC)
    with Store.open(place, write=False) as store:
        if listed:
            _list_verdicts(store)
        elif undo is not None:
            _say_receipt(store, store.undo_feedback(undo, now), place, now)
        elif alert is not None and verdict is not None:
            said = store.add_feedback(alert, verdict, author=author_of(author), time=now, note=note)
            _say_receipt(store, said, place, now)


def _check_words(alert: str | None, verdict: str | None, undo: int | None, *, listed: bool) -> None:
    """Refuse what does not say one thing."""
    ways = [alert is not None, undo is not None, listed]
    if sum(ways) != 1 or (alert is not None and verdict is None):
        raise UsageError(
            "one of these is expected: ALERT expected|confirmed|false, --undo N, or --list. The alert_id of an alert "
            "stands below it, and in amiss alerts"
        )


def _list_verdicts(store: Store) -> None:
    """Print all that was said."""
    from amiss.cli import shown

    with stream_to(None) as stream:
        shown.print_verdicts([(said, store.story(said.story)) for said in store.feedback()], console(stream))


def _say_receipt(store: Store, said: Verdict, place: Path, now: datetime) -> None:
    """Print what a verdict changes."""
    from amiss.cli import shown
    from amiss.receipt import receipt

    found = receipt(store, said, now)
    with stream_to(None) as stream:
        if found is None:
            stream.write(f"Verdict {said.id} is kept; the state is too young to say what it changes.\n")
        else:
            shown.print_receipt(found, str(place), console(stream))


def _about(metavar: str, text: str) -> object:
    return typer.Option(metavar=metavar, help=text, rich_help_panel=SEEN)


@suppress.command()
@grouped
def add(
    *,
    state: StateOption = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why alerts are hidden.", show_default=False)],
    author: AuthorOption = None,
    expires: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Until when: 30d, or 2026-12-31. (default for good)")
    ] = None,
    user: Annotated[str | None, _about("PATTERN", "Users such as ann or svc-*.")] = None,
    action: Annotated[str | None, _about("PATTERN", "Nothing but actions such as export*.")] = None,
    address: Annotated[str | None, _about("CIDR", "Addresses such as 10.0.0.0/8.")] = None,
    country: Annotated[str | None, _about("CC", "A country such as FR.")] = None,
    detector: Annotated[str | None, _about("NAME", "What only this detector found.")] = None,
    hours: Annotated[str | None, _about("HH:MM-HH:MM", "A part of each day, such as 22:00-06:00.")] = None,
    weekdays: Annotated[str | None, _about("DAYS", "Days such as sat,sun or mon-fri.")] = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="From that day on.", rich_help_panel=SEEN)
    ] = None,
    until: Annotated[str | None, _about("DAY", "Until that day.")] = None,
    timezone: Annotated[str | None, _about("ZONE", "Of hours and days. (default UTC)")] = None,
    config: ConfigOption = None,
) -> None:
    """Hide alerts for which all of these hold. They stay in the state, with the rule that hid them.

    Says which alerts of the last 30 days it would have hidden.
    """
    from amiss.detect import registry
    from amiss.store import Store
    from amiss.suppress import Rule

    conditions = {
        "user": user, "action": action, "address": address, "country": country, "detector": detector, "hours": hours,
        "weekdays": weekdays, "from": since, "until": until, "timezone": timezone,
    }  # fmt: skip
    given = {name: text for name, text in conditions.items() if text is not None}
    rule = Rule.parse(given, detectors=list(registry()))
    now = datetime.now(UTC)
    ends = None if expires is None else moment(expires)
    with Store.open(state_file(state, settings_of(config)), write=False) as store:
        kept = store.suppress(rule.record(), author=author_of(author), reason=reason, time=now, expires=ends)
        typer.echo(
            f"Rule {kept.id} hides alerts from now on{'' if ends is None else f', until {ends:%Y-%m-%d %H:%M}'}."
        )
        _show_effect(store, rule, now)
    if country is not None:
        say("Note: a watch keeps no countries of events, so a rule about one hides nothing there.")


def _show_effect(store: Store, rule: object, now: datetime) -> None:
    """Print what a rule would have hidden."""
    from amiss.cli.shown import print_hidden
    from amiss.receipt import today
    from amiss.suppress import Rule, examples
    from amiss.watch import seen

    assert isinstance(rule, Rule)
    limits = {period.day: period.threshold for period in store.periods(peaks=False)}
    alerts = [stored.alert for stored in store.alerts() if stored.hidden_by is None]
    least = {alert.story: alert.bits for alert in alerts}
    effect = examples(
        rule,
        alerts,
        seen,
        now=today(store, now),
        threshold=lambda alert: limits.get(alert.period, least[alert.story]),
    )
    with stream_to(None) as stream:
        print_hidden(effect, console(stream))


@suppress.command("list")
@grouped
def list_rules(
    *,
    state: StateOption = None,
    shape: FormatOption = "text",
    config: ConfigOption = None,
) -> None:
    """Show all rules, also those that have ended, and how many alerts each has hidden."""
    from collections import Counter

    from amiss.cli import shown
    from amiss.store import Store
    from amiss.terminal import write_records

    with Store.open(state_file(state, settings_of(config)), write=False) as store, stream_to(None, shape) as stream:
        rules = store.suppressions()
        hidden = Counter(stored.hidden_by for stored in store.alerts(hidden=True))
        if shape == "text":
            shown.print_rules(rules, hidden, datetime.now(UTC), console(stream))
        else:
            write_records([_rule(rule, hidden[rule.id]) for rule in rules], shape, stream)


def _rule(rule: object, hidden: int) -> dict[str, object]:
    """A rule for programs."""
    import dataclasses

    assert dataclasses.is_dataclass(rule)
    return {field.name: getattr(rule, field.name) for field in dataclasses.fields(rule)} | {"hidden": hidden}


@suppress.command()
@grouped
def lift(
    number: Annotated[int, typer.Argument(metavar="N", help="The number of the rule.")],
    *,
    state: StateOption = None,
    config: ConfigOption = None,
) -> None:
    """End a rule. What it hid stays hidden."""
    from amiss.store import Store

    with Store.open(state_file(state, settings_of(config)), write=False) as store:
        rule = store.lift(number, datetime.now(UTC))
        typer.echo(f"Rule {rule.id} hides nothing any more.")
