"""What sinks say to people in the same words."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Final

from amiss import escape
from amiss.alerts import Alert
from amiss.severity import SEVERITIES

REASON: Final = 400
"""Characters of a reason that are shown."""


def when(time: datetime) -> str:
    """A time in UTC, to the second.

    Examples
    --------
    >>> when(datetime(2026, 3, 2, 3, 12))
    '2026-03-02 03:12:00'
    """
    return f"{time:%Y-%m-%d %H:%M:%S}"


def headline(alerts: Sequence[Alert], width: int = 60) -> str:
    """Who, how many bits, how urgent; or of several alerts how many, and the worst of them. Harmless, on one line."""
    worst = most_urgent(alerts, 1)[0]
    first = f"{escape.label(worst.user, width)}, {worst.bits:,.1f} bits ({worst.urgency})"
    return first if len(alerts) == 1 else f"{len(alerts):,} alerts, worst {first}"


def most_urgent(alerts: Sequence[Alert], most: int) -> list[Alert]:
    """At most so many of the alerts, in their order."""
    by_urgency = sorted(alerts, key=lambda alert: (SEVERITIES.index(alert.severity), alert.bits), reverse=True)
    kept = {id(alert) for alert in by_urgency[:most]}
    return [alert for alert in alerts if id(alert) in kept]


def reasons(alert: Alert) -> list[str]:
    """What the user did, each with its bits, and which class they are most like. Harmless, each on one line."""
    told = [f"{escape.label(str(each['text']), REASON)} ({each['bits']:,.1f} bits)" for each in alert.reasons]
    return [*told, escape.label(alert.likeness, REASON)] if alert.likeness else told


def feedback(alert: Alert, state: str | None = None) -> str:
    """The command that says what to think of an alert; a shell may run it once one of the three words is chosen.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> feedback(SimpleNamespace(alert_id="a1b2"), "my state.db")
    "amiss feedback a1b2 expected|confirmed|false --state 'my state.db'"
    """
    where = f" --state {escape.visible(shlex.quote(state))}" if state else ""
    return f"amiss feedback {escape.label(shlex.quote(alert.alert_id), 120)} expected|confirmed|false{where}"


def amiss() -> str:
    """The name and version of this program.

    Examples
    --------
    >>> amiss()
    'amiss/...'
    """
    return f"amiss/{version('amiss')}"
