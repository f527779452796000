"""Alerts as a mail: text and HTML that people can act on.

The `Message-ID` follows from the alerts, so that a copy is known for one; notices of a story refer to the same thread.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
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

if TYPE_CHECKING:
    from jinja2 import Template

MOST: Final = 50
"""Alerts that a mail tells; more are counted."""

USER: Final = 120
"""Characters of a user's name that are shown."""

NOTE: Final = "Bits say how much more likely this is of someone odd than of a normal user: each bit doubles the odds."
_POLICY: Final = SMTP.clone(cte_type="7bit")
_ID: Final = re.compile(r"[\w.-]{1,80}", re.ASCII)


def letter(
    alerts: Sequence[Alert], sender: Address, recipients: Sequence[str], now: datetime, state: str | None = None
) -> EmailMessage:
    """The mail about one alert, or a digest of several.

    Parameters
    ----------
    alerts
        At least one.
    sender, recipients
        As in `From` and `To`.
    now
        When it is written.
    state
        Where `amiss` keeps its state: the command for feedback names it.
    """
    subject = f"amiss: {words.headline(alerts, 40)}"
    domain = sender.domain or "localhost"
    message = EmailMessage(policy=_POLICY)
    message["Subject"] = subject
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{message_id(alerts)}@{domain}>"
    if len({alert.story for alert in alerts}) == 1:
        message["References"] = f"<story-{_safe(alerts[0].story)}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Mailer"] = words.amiss()
    shown = [_shown(alert, state) for alert in words.most_urgent(alerts, MOST)]
    more = f"{len(alerts) - MOST:,} alerts more are less urgent." if len(alerts) > MOST else ""
    message.set_content("\n\n\n".join([*map(_text, shown), *filter(None, [more])]) + f"\n\n-- \n{NOTE}\n")
    page = {"subject": subject, "alerts": shown, "count": len(alerts), "more": more, "note": NOTE}
    message.add_alternative(_page().render(page), subtype="html")
    return message


def message_id(alerts: Sequence[Alert]) -> str:
    """The first part of a `Message-ID`: the same for the same alerts, whatever their ids hold."""
    if len(alerts) == 1:
        return _safe(alerts[0].alert_id)
    return _digest("\n".join(alert.alert_id for alert in alerts))


def _safe(text: str) -> str:
    """The text itself where a header may hold it, else a digest of it."""
    return text if _ID.fullmatch(text) else _digest(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _shown(alert: Alert, state: str | None) -> dict[str, Any]:
    """An alert in texts that may be shown."""
    reasons = [(escape.label(str(each["text"]), words.REASON), f"{each['bits']:,.1f}") for each in alert.reasons]
    return {
        "user": escape.label(alert.user, USER),
        "when": words.when(alert.time),
        "bits": f"{alert.bits:,.1f}",
        "severity": alert.severity,
        "urgency": alert.urgency,
        "risk": alert.risk,
        "reasons": [{"text": text, "bits": bits} for text, bits in reasons],
        "chance": escape.visible(alert.chance),
        "feedback": words.feedback(alert, state),
    }


def _text(shown: dict[str, Any]) -> str:
    """An alert as plain text: who, when, why, how often by chance, and what to answer."""
    reasons = "".join(f"  {reason['text']} ({reason['bits']} bits)\n" for reason in shown["reasons"])
    return (
        f"{shown['user']}, {shown['bits']} bits ({shown['urgency']})\n"
        f"{shown['when']} UTC, risk {shown['risk']} of 100\n\n"
        f"{reasons}  Together {shown['bits']} bits: {shown['chance']}.\n\n"
        f"Was this expected, confirmed, or false? Say so:\n  {shown['feedback']}"
    )


@functools.cache
def _page() -> Template:
    """The template of the HTML part."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(resources.files("amiss").joinpath("templates", "mail.html").read_text("utf-8"))
