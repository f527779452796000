"""What the commands about a watch show on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from amiss import escape, story
from amiss.terminal import STYLES, left, print_line, print_pairs, print_wrapped

if TYPE_CHECKING:
    from rich.console import Console

    from amiss.receipt import Receipt
    from amiss.roster import Member
    from amiss.store import Info, Story, Suppression, Verdict
    from amiss.suppress import Effect

INDENT: Final = 4
MOST: Final = 10
"""Alerts that are named one by one."""

_DELIVERED: Final = {"delivered": "delivered to", "pending": "waits for", "dead": "given up for"}


def print_alerts(found: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print alerts as `amiss alerts` has them, a story at a time: who, why, and what became of it."""
    stories: dict[str, list[Mapping[str, Any]]] = {}
    for notice in found:
        stories.setdefault(notice["story"], []).append(notice)
    if not stories:
        print_line(console, Text("No alerts."))
    for notices in stories.values():
        _print_alert(notices, console)


def _print_alert(notices: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print a story by its latest notice."""
    latest, first = notices[0], notices[-1]
    severity = str(latest["severity"])
    line = Text(f"{_minute(latest['time'])}  ")
    line.append(f"{severity:<8}", style=STYLES.get(severity, ""))
    line.append(f"  {latest['bits']:>7,.1f} bits  ")
    line.append(escape.label(latest["user"], max(12, console.width - 45)), style="bold")
    print_line(console, line)
    _below(story.why(latest["reasons"]), console)
    rose = [f"{len(notices)} notices since {_minute(first['time'])[11:]}"] if len(notices) > 1 else []
    _below(" · ".join([latest["alert_id"], *rose, *_fate(latest)]), console, style="dim")


def _fate(notice: Mapping[str, Any]) -> Iterator[str]:
    """What became of an alert."""
    if notice["hidden_by"] is not None:
        yield f"hidden by rule {notice['hidden_by']} ({escape.label(str(notice['hidden_why']), 60)})"
    for sink, state in notice["delivery"].items():
        yield f"{_DELIVERED[state]} {escape.label(sink, 40)}"
    if notice["verdict"]:
        yield str(notice["verdict"])


def print_verdicts(said: Sequence[tuple[Verdict, Story | None]], console: Console) -> None:
    """Print what people said."""
    if not said:
        print_line(console, Text("No verdicts."))
    for verdict, told in said:
        whom = "" if told is None else f"  {escape.label(told.user, 24)}, {_day(told.period)}"
        line = f"{verdict.id:>4}  {_minute(verdict.time)}  {verdict.verdict:<9}{whom}"
        print_line(console, Text(line, style="dim" if verdict.undone_time else ""))
        facts = [f"{verdict.alert_id}, says {escape.label(verdict.author, 24)}"]
        facts += [escape.label(verdict.note, 200)] if verdict.note else []
        facts += [_effect(verdict)]
        _below(" · ".join(facts), console, indent=6, style="dim")


def _effect(verdict: Verdict) -> str:
    """Whether a verdict counts."""
    if verdict.undone_time is not None:
        return f"taken back {_minute(verdict.undone_time)}"
    return "in effect" if verdict.applied_seq is not None else "takes effect with the next batch"


def print_receipt(found: Receipt, place: str, console: Console) -> None:
    """Print what a verdict changes."""
    for paragraph in _receipt(found, place):
        print_wrapped(Text(paragraph), console)


def _receipt(found: Receipt, place: str) -> Iterator[str]:
    """What a verdict changes, in sentences."""
    verdict, told = found.verdict, found.story
    user, when = escape.label(told.user, 40), _day(told.period)
    facts = f"{told.peak:,.1f} bits at most in {story.plural(told.events, 'event')}"
    if verdict.undone_time is not None:
        yield f"Verdict {verdict.id} is taken back: what {user} did on {when} ({facts}) is no longer {verdict.verdict}."
    else:
        author = escape.label(verdict.author, 40)
        yield f"Verdict {verdict.id}: what {user} did on {when} ({facts}) was {_word(verdict.verdict)}, says {author}."
    yield from _learning(found) if verdict.verdict == "confirmed" else _prices(found)
    if verdict.undone_time is None:
        yield f"To take it back: amiss feedback --undo {verdict.id} --state {escape.visible(place)}"


def _word(verdict: str) -> str:
    return "a false alarm" if verdict == "false" else verdict


def _learning(found: Receipt) -> Iterator[str]:
    """What is unlearned, or learned again."""
    user, events = escape.label(found.story.user, 40), story.plural(found.story.events, "event")
    which = f"The {events} that {user} had that day{' so far, and those to come,' if found.is_open else ''}"
    if found.verdict.undone_time is not None:
        yield f"{which} count as normal again, from the next batch on."
    else:
        yield f"{which} are taken out of what later days are judged by, from the next batch on."


def _prices(found: Receipt) -> Iterator[str]:
    """What the same would cost, and which alerts would not have been."""
    back = found.verdict.undone_time is not None
    yield (
        f"If it happened again it would cost {found.before:,.1f} bits {'until now' if back else 'now'}, and "
        f"{found.after:,.1f} from the next batch on; an alert takes {found.threshold:,.1f}."
    )
    if back or not found.stories:
        return
    user, count = escape.label(found.story.user, 40), len(found.stories)
    had = f"{user} had {'an alert' if count == 1 else f'alerts on {count:,} days'} in the last 30 days"
    if not found.spared:
        yield f"{had}; {'it' if count == 1 else 'each of them'} would have fired all the same."
    elif len(found.spared) == count:
        yield f"{had}; {'it' if count == 1 else 'none of them'} would {'not ' if count == 1 else ''}have fired."
    else:
        days = [_day(each.period) for each in found.spared[:MOST]]
        more = f" and {count - MOST:,} more" if len(found.spared) > MOST else ""
        yield f"{had}; would not have fired: {', '.join(days)}{more}."


def print_hidden(effect: Effect, console: Console) -> None:
    """Print what a rule would have hidden."""
    print_wrapped(Text(effect.sentence), console)
    for alert in effect.alerts[:MOST]:
        user = escape.label(alert.user, 30)
        print_line(console, Text(f"  {_minute(alert.time)}  {alert.severity:<8}  {alert.bits:>7,.1f} bits  {user}"))
    if len(effect.alerts) > MOST:
        print_line(console, Text(f"  and {len(effect.alerts) - MOST:,} more"))


def print_rules(
    rules: Sequence[Suppression], hidden: Mapping[int | None, int], now: datetime, console: Console
) -> None:
    """Print rules that hide alerts, and whether they still do."""
    if not rules:
        print_line(console, Text("No rules."))
    for rule in rules:
        said = ", ".join(f"{name} {escape.label(str(value), 60)}" for name, value in rule.rule.items())
        is_active = rule.is_active(now)
        print_wrapped(Text(f"{rule.id:>4}  {said}", style="bold" if is_active else "dim"), console)
        facts = [
            _standing(rule, now),
            f"hid {story.plural(hidden.get(rule.id, 0), 'alert')}",
            f"{escape.label(rule.author, 24)}, {_day(rule.created)}: {escape.label(rule.reason, 200)}",
        ]
        _below(" · ".join(facts), console, indent=6, style="dim")


def _standing(rule: Suppression, now: datetime) -> str:
    """Whether a rule holds."""
    if rule.lifted is not None:
        return f"lifted {_minute(rule.lifted)}"
    if rule.expires is None:
        return "holds for good"
    return f"holds until {_minute(rule.expires)}" if rule.is_active(now) else f"ended {_minute(rule.expires)}"


def print_members(found: Sequence[Member], below: int, console: Console) -> None:
    """Print users with their risk, and what is known of each."""
    if not found:
        print_line(console, Text("No users."))
        return
    names = [escape.label(each.user, max(12, console.width // 4)) for each in found]
    width = max([4, *map(escape.cells, names)])
    print_line(console, Text(f"risk  {left('user', width)}  {'last seen':<11}  days  detectors", style="dim"))
    for each, name in zip(found, names, strict=True):
        last = "not lately" if each.last_day is None else _day(each.last_day)
        line = Text(f"{each.risk:>4}  {left(name, width)}  {last:<11}  {each.days:>4}  ")
        said = Text(_detectors(each.detectors)).wrap(console, max(20, console.width - line.cell_len))
        for index, part in enumerate(said):
            print_line(console, Text.assemble(line if index == 0 else " " * line.cell_len, part))
    if below > 0:
        print_line(console, Text(f"and {story.plural(below, 'user')} below", style="dim"))


def _detectors(states: Mapping[str, str]) -> str:
    """The states of detectors, said once where they are all the same."""
    if len(set(states.values())) == 1:
        return next(iter(states.values()))
    return ", ".join(f"{escape.label(name, 20)} {state}" for name, state in states.items())


def state_figures(info: Info) -> Iterator[tuple[str, str]]:
    """What a state holds, each thing with its name."""
    yield "file", f"{escape.visible(info.path)}, format {info.format}, {_size(info.file_bytes)}"
    away = f" ({info.users_away:,} of them away)" if info.users_away else ""
    yield "events", f"{info.events:,} of {info.users:,} users{away}, {info.actions:,} actions"
    first, last = info.first_period, info.last_period
    days = f"{info.periods:,} closed" + (f", {_day(first)} to {_day(last)}" if first and last else "")
    yield "days", days
    severities = ", ".join(f"{count:,} {name}" for name, count in info.alerts_by_severity.items())
    hidden = f"; {info.alerts_hidden:,} hidden" if info.alerts_hidden else ""
    yield (
        "alerts",
        f"{severities or 'none'}, in {story.plural(info.stories, 'story').replace('storys', 'stories')}{hidden}",
    )
    yield "outbox", ", ".join(f"{count:,} {name}" for name, count in info.outbox.items()) or "empty"
    waits = f"; {info.feedback_unapplied:,} not in effect yet" if info.feedback_unapplied else ""
    yield "verdicts", (", ".join(f"{count:,} {name}" for name, count in info.feedback.items()) or "none") + waits
    yield "rules", f"{info.suppressions:,} not lifted"
    yield "unread", story.counted(info.rejected, "row")
    if info.skipped:
        yield "skipped", story.counted(info.skipped, "line")
    yield (
        "room",
        (
            f"snapshot {_size(info.snapshot_bytes)}, closed days {_size(info.counts_bytes)}, events since "
            f"{_size(info.deltas_bytes)}, free {_size(info.free_bytes)}, log {_size(info.wal_bytes)}"
        ),
    )


def print_state(info: Info, console: Console) -> None:
    """Print what a state holds."""
    print_pairs(state_figures(info), console)


def _below(text: str, console: Console, *, indent: int = INDENT, style: str = "") -> None:
    """Print a text, indented."""
    for line in Text(text, style=style).wrap(console, max(20, console.width - indent)):
        print_line(console, Text.assemble(" " * indent, line))


def _minute(time: datetime | str) -> str:
    """A time to the second, in UTC."""
    moment = datetime.fromisoformat(time) if isinstance(time, str) else time
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _day(day: date) -> str:
    """A day as people write it."""
    return f"{day.day} {day:%b %Y}"


def _size(count: int) -> str:
    """Bytes as people write them."""
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= length:
            return f"{count / length:,.3g} {unit}"
    return f"{count} B"
