"""Alerts to whatever Apprise knows: Slack, Teams, Telegram, Matrix, ntfy and a hundred more."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from amiss import escape
from amiss.alerts import Alert
from amiss.errors import MissingExtraError, SinkError, UsageError
from amiss.hush import hushed
from amiss.sinks import words
from amiss.sinks.address import fingerprint
from amiss.sinks.logins import Login

if TYPE_CHECKING:
    import apprise

MOST: Final = 10
"""Alerts that a message tells; more are counted."""

_EXPECTED: Final = "expected a path, -, an https: or mailto: address, or one that Apprise understands"
_LOGGERS: Final = ("apprise", "urllib3.connectionpool")
_KIND: Final = {"critical": "failure", "high": "failure", "medium": "warning", "low": "info", "info": "info"}


class Chat:
    """Sends a message through Apprise.

    Parameters
    ----------
    url
        As Apprise reads it, such as `slack://TOKEN/TOKEN/TOKEN/CHANNEL`.
    state
        Where `amiss` keeps its state: the command for feedback names it.
    """

    def __init__(self, url: str, *, state: str | None = None) -> None:
        scheme, _, rest = url.partition(":")
        self.url = f"{scheme.lower()}://…#{fingerprint(rest)}"
        self._url = url
        self._state = state
        self._service = self._understood()

    def write(self, alerts: Sequence[Alert]) -> None:
        """Send one message about the alerts.

        Raises
        ------
        SinkError
            If the service does not take it.
        """
        worst = words.most_urgent(alerts, 1)[0]
        body = "\n".join(self._lines(alerts))
        with hushed(*_LOGGERS) as said:
            taken = self._service.notify(
                body=body,
                title=f"amiss: {escape.chat_text(words.headline(alerts))}",
                notify_type=_KIND[worst.severity],
                body_format="text",
            )
        if not taken:
            why = f": {self._scrubbed(said[-1])}" if said else ""
            raise SinkError(f"{self.url} did not take the message{why}")

    def check(self) -> str:
        """Which service it is; nothing is sent."""
        name = escape.label(str(self._service[0].service_name))
        return f"{self.url} is an address of {name}; not tried, since that would send a message"

    def close(self) -> None:
        """Nothing is held between messages."""

    def _lines(self, alerts: Sequence[Alert]) -> Iterator[str]:
        """Each alert in a few lines."""
        for alert in words.most_urgent(alerts, MOST):
            yield f"{escape.chat_text(words.headline([alert]))} · {words.when(alert.time)} UTC"
            login = Login.of(alert)
            yield from [escape.chat_text(login.line)] if login else []
            yield from (f"- {escape.chat_text(reason)}" for reason in words.reasons(alert))
            yield f"{escape.chat_text(alert.chance)} · risk {alert.risk}"
            yield words.feedback(alert, self._state)
            yield ""
        if len(alerts) > MOST:
            yield f"and {len(alerts) - MOST:,} alerts more"

    def _understood(self) -> apprise.Apprise:
        """What Apprise makes of the address."""
        try:
            import apprise
        except ImportError as error:
            raise MissingExtraError(f"{self.url.partition(':')[0]}: an address of Apprise", "notify") from error
        with hushed(*_LOGGERS):
            service = apprise.Apprise()
            if not service.add(self._url):
                raise UsageError(f"{self.url}: {_EXPECTED}")
        return service

    def _scrubbed(self, text: str) -> str:
        """A message without any part of the address."""
        parts = sorted(re.split(r"[^\w.~-]+", self._url.partition(":")[2]), key=len, reverse=True)
        for part in parts:
            text = text.replace(part, "…") if len(part) > 3 else text
        return escape.label(text, 200)
