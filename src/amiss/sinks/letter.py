"""Alerts as a mail: text and HTML that people can act on.

Operators get what is known, in bits, and the command that answers; a user gets what happened to their account, in their
words. Both get signed links where there is an endpoint for them. The `Message-ID` follows from the alerts, so that a
copy is known for one; notices of a story refer to the same thread.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from amiss import escape
from amiss.alerts import Alert
from amiss.sinks import words
from amiss.sinks.links import Asked, Links, Verdict
from amiss.sinks.logins import Login, plain, when

if TYPE_CHECKING:
    from jinja2 import Template

MOST: Final = 50
"""Alerts that a mail tells; more are counted."""

USER: Final = 120
"""Characters of a user's name that are shown."""

NOTE: Final = "Bits say how much more likely this is of someone odd than of a normal user: each bit doubles the odds."
ANSWERS: Final[Mapping[Asked, Sequence[tuple[Verdict, str]]]] = {
    "user": (("expected", "This was me"), ("confirmed", "This wasn't me")),
    "operator": (("expected", "Expected of them"), ("confirmed", "It was amiss"), ("false", "A false alarm")),
}
"""What a link says, by who is asked."""

_POLICY: Final = SMTP.clone(cte_type="7bit")
_ID: Final = re.compile(r"[\w.-]{1,80}", re.ASCII)


@dataclass(frozen=True)
class Envelope:
    """What all mails of a sink have in common.

    Parameters
    ----------
    sender
        As in `From`.
    now
        When they are written.
    state
        Where `amiss` keeps its state: the command for feedback names it.
    links
        Links that answer, where there is an endpoint for them.
    """

    sender: Address
    now: datetime
    state: str | None = None
    links: Links | None = None


def letter(
    alerts: Sequence[Alert], envelope: Envelope, recipients: Sequence[str], notes: Sequence[str] = ()
) -> EmailMessage:
    """The mail to operators about one alert, or a digest of several.

    Parameters
    ----------
    alerts
        At least one.
    envelope
        Who writes, and when.
    recipients
        As in `To`.
    notes
        What else they should know, a sentence each.
    """
    shown = [_for_operators(alert, envelope) for alert in words.most_urgent(alerts, MOST)]
    logins = {alert.alert_id: Login.of(alert) for alert in alerts}
    message = _message(alerts, envelope, recipients, f"amiss: {_headline(alerts, logins)}")
    heading = f"{len(alerts):,} alerts" if len(alerts) > 1 else ""
    return _filled(message, {"heading": heading, "hello": "", "notes": notes, "foot": [NOTE]}, shown, len(alerts))


def letter_to_user(
    alerts: Sequence[Alert], envelope: Envelope, recipient: str, *, name: str = "", operators: Sequence[str] = ()
) -> EmailMessage:
    """The mail to a user about what happened to their account.

    Parameters
    ----------
    alerts
        At least one, all of that user.
    envelope
        Who writes, and when.
    recipient
        As in `To`.
    name
        What to call them.
    operators
        Who gets an answer by mail.
    """
    shown = [_for_user(alert, envelope, operators) for alert in words.most_urgent(alerts, MOST)]
    subject = _subject(alerts)
    message = _message(alerts, envelope, [recipient], subject, "-user")
    if operators:
        message["Reply-To"] = ", ".join(operators)
    good = f"The links are good until {_date(envelope.links.until(envelope.now))}." if envelope.links else ""
    watched = f"You get this since amiss watches the account {plain(alerts[0].user, USER)}. {NOTE}"
    page = {
        "heading": subject if len(alerts) > 1 else "",
        "hello": f"Hello {plain(name, 60)}," if name else "",
        "notes": (),
        "foot": [*filter(None, [good]), watched],
    }
    return _filled(message, page, shown, len(alerts))


def message_id(alerts: Sequence[Alert]) -> str:
    """The first part of a `Message-ID`: the same for the same alerts, whatever their ids hold."""
    if len(alerts) == 1:
        return _safe(alerts[0].alert_id)
    return _digest("\n".join(alert.alert_id for alert in alerts))


def _message(
    alerts: Sequence[Alert], envelope: Envelope, recipients: Sequence[str], subject: str, form: str = ""
) -> EmailMessage:
    """A mail with its headers."""
    domain = envelope.sender.domain or "localhost"
    message = EmailMessage(policy=_POLICY)
    message["Subject"] = subject
    message["From"] = envelope.sender
    message["To"] = ", ".join(recipients)
    message["Date"] = format_datetime(envelope.now)
    message["Message-ID"] = f"<{message_id(alerts)}{form}@{domain}>"
    if len({alert.story for alert in alerts}) == 1:
        message["References"] = f"<story-{_safe(alerts[0].story)}{form}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Mailer"] = words.amiss()
    return message


def _filled(
    message: EmailMessage, page: Mapping[str, Any], shown: Sequence[Mapping[str, Any]], count: int
) -> EmailMessage:
    """The mail with its text and HTML."""
    more = f"{count - MOST:,} alerts more are less urgent." if count > MOST else ""
    told = "\n\n\n".join([*page["notes"], *map(_text, shown), *filter(None, [more])])
    hello = f"{page['hello']}\n\n" if page["hello"] else ""
    foot = "\n".join(page["foot"])
    message.set_content(f"{hello}{told}\n\n-- \n{foot}\n")
    whole = {**page, "subject": str(message["Subject"]), "alerts": shown, "more": more}
    message.add_alternative(_page().render(whole), subtype="html")
    return message


def _headline(alerts: Sequence[Alert], logins: Mapping[str, Login | None]) -> str:
    """Who did what, how many bits, how urgent; of several alerts how many, and the worst."""
    worst = words.most_urgent(alerts, 1)[0]
    login = logins[worst.alert_id]
    if login is None:
        return words.headline(alerts, 40)
    first = f"{plain(worst.user, 40)} logged in {login.source}, {worst.bits:,.1f} bits ({worst.urgency})"
    return first if len(alerts) == 1 else f"{len(alerts):,} alerts, worst: {first}"


def _subject(alerts: Sequence[Alert]) -> str:
    """What happened to a user's account; of several things how many."""
    user, logins = plain(alerts[0].user, 40), [Login.of(alert) for alert in alerts]
    if len(alerts) == 1:
        return _event(user, logins[0])
    return f"{len(alerts):,} unusual {'logins to' if all(logins) else 'things in'} {user}'s account"


def _event(user: str, login: Login | None) -> str:
    """What happened to a user's account."""
    return f"Unusual activity in {user}'s account" if login is None else f"New login to {user}'s account {login.source}"


def _for_operators(alert: Alert, envelope: Envelope) -> dict[str, Any]:
    """An alert in texts that may be shown to operators."""
    login, user = Login.of(alert), escape.label(alert.user, USER)
    figures = f"{alert.bits:,.1f} bits"
    if login is None:
        title, line = user, f"{words.when(alert.time)} UTC · {figures} · risk {alert.risk} of 100"
        plain_title = f"{user}, {figures} ({alert.urgency})"
        plain_line = f"{words.when(alert.time)} UTC, risk {alert.risk} of 100"
    else:
        title, line = f"{user} logged in {login.source}", f"{figures} · risk {alert.risk} of 100"
        plain_title, plain_line = title, f"{figures} ({alert.urgency}), risk {alert.risk} of 100"
    likeness = plain(alert.likeness, words.REASON)
    return _told(alert, login) | {
        "kicker": alert.urgency,
        "title": title,
        "line": f"{line} · {likeness}" if likeness else line,
        "plain_title": plain_title,
        "plain_line": f"{plain_line}, {likeness}" if likeness else plain_line,
        "why": "",
        "question": "Was this expected, confirmed, or false? Say so:",
        "answers": _answers(alert, envelope, "operator"),
        "command": words.feedback(alert, envelope.state),
    }


def _for_user(alert: Alert, envelope: Envelope, operators: Sequence[str]) -> dict[str, Any]:
    """An alert in texts that may be shown to its user."""
    login, told = Login.of(alert), _told(alert, Login.of(alert))
    title = _event(plain(alert.user, USER), login)
    line = "Somebody used the account in a way that is unlike its past."
    answers = _answers(alert, envelope, "user")
    whom = f"answer this mail, or write to {', '.join(operators)}" if operators else "tell your administrators"
    return told | {
        "facts": told["facts"] or [{"name": "When", "text": when(alert)}],
        "kicker": "",
        "title": title,
        "line": line,
        "plain_title": title,
        "plain_line": line,
        "why": "Why you are asked" if answers else "Why you are told",
        "question": "Was this you?" if answers else f"If this wasn't you, {whom}, and change your password.",
        "answers": answers,
        "command": "",
    }


def _told(alert: Alert, login: Login | None) -> dict[str, Any]:
    """What operators and users are told alike: facts and reasons."""
    return {
        "severity": alert.severity,
        "facts": [{"name": name, "text": text} for name, text in (login.facts() if login else ())],
        "remark": login.remark() if login else "",
        "reasons": [
            {"text": plain(str(each["text"]), words.REASON), "bits": f"{each['bits']:,.1f}"} for each in alert.reasons
        ],
        "bits": f"{alert.bits:,.1f}",
        "chance": escape.visible(alert.chance),
    }


def _answers(alert: Alert, envelope: Envelope, by: Asked) -> list[dict[str, str]]:
    """The links that answer, the first of them for all-clear; none where there is no endpoint."""
    links = envelope.links
    if links is None:
        return []
    answers = ANSWERS[by]
    return [{"text": text, "url": links.link(alert.alert_id, verdict, by, envelope.now)} for verdict, text in answers]


def _text(shown: Mapping[str, Any]) -> str:
    """An alert as plain text: who, when, why, how often by chance, and what to answer."""
    blocks = [
        f"{shown['plain_title']}\n{shown['plain_line']}",
        "\n".join(f"{fact['name'] + ':':<9}{fact['text']}" for fact in shown["facts"]),
        shown["remark"],
        _reasons(shown),
        "\n".join([shown["question"], *_ways(shown)]),
    ]
    return "\n\n".join(filter(None, blocks))


def _reasons(shown: Mapping[str, Any]) -> str:
    """Why, as plain text."""
    lines = [f"  {reason['text']} ({reason['bits']} bits)" for reason in shown["reasons"]]
    head = [f"{shown['why']}:"] if shown["why"] else []
    return "\n".join([*head, *lines, f"  Together {shown['bits']} bits: {shown['chance']}."])


def _ways(shown: Mapping[str, Any]) -> Iterable[str]:
    """The ways to answer, as plain text."""
    for answer in shown["answers"]:
        yield f"\n{answer['text']}:\n{answer['url']}"
    if shown["command"]:
        yield f"\nOr:\n  {shown['command']}" if shown["answers"] else f"  {shown['command']}"


def _date(time: datetime) -> str:
    """A day in words."""
    return f"{time.day} {time:%B} {time.year}"


def _safe(text: str) -> str:
    """The text itself where a header may hold it, else a digest of it."""
    return text if _ID.fullmatch(text) else _digest(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@functools.cache
def _page() -> Template:
    """The template of the HTML part."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(resources.files("amiss").joinpath("templates", "mail.html").read_text("utf-8"))
