"""Alerts on standard output, as they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, TextIO

from rich.text import Text

from amiss import escape
from amiss.alerts import Alert
from amiss.errors import SinkError
from amiss.sinks import words
from amiss.sinks.logins import Login

if TYPE_CHECKING:
    from rich.console import Console as Screen

STYLES: Final = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan", "info": "dim"}
ASCII: Final = str.maketrans({"…": "~", "·": "-"})


class Console:
    """Writes each alert in a few lines, in colour only on a terminal.

    Parameters
    ----------
    url
        `console:` or `-`.
    state
        Where `amiss` keeps its state: the command for feedback names it.
    stream
        Where to write; standard output unless given.
    """

    def __init__(self, url: str = "console:", *, state: str | None = None, stream: TextIO | None = None) -> None:
        self.url = url
        self._state = state
        self._stream = stream

    def write(self, alerts: Sequence[Alert]) -> None:
        """Write the alerts, and flush."""
        from rich.console import Console as Screen

        screen = Screen(file=self._stream, highlight=False)
        try:
            for alert in alerts:
                for line in self._lines(alert, screen):
                    _print(screen, line)
            screen.file.flush()
        except (OSError, ValueError) as error:
            raise SinkError(f"{self.url} cannot be written: {error}") from error

    def check(self) -> str:
        """That there is nothing to try."""
        return f"{self.url} writes to standard output"

    def close(self) -> None:
        """Nothing is held."""

    def _lines(self, alert: Alert, screen: Screen) -> Iterator[Text]:
        """An alert: who and how urgent, what is known of a login, why, how often by chance, and what to answer."""
        who = escape.label(alert.user, max(12, screen.width - 47))
        line = Text(f"{words.when(alert.time)}  ")
        line.append(f"{alert.severity:<8}", style=STYLES.get(alert.severity, ""))
        line.append(f"  {alert.bits:>7,.1f} bits  ").append(who, style="bold")
        yield line
        login = Login.of(alert)
        yield from _indented(Text(login.line), screen) if login else ()
        for reason in words.reasons(alert):
            yield from _indented(Text(reason), screen)
        rose = f"was {alert.escalated_from} · " if alert.escalated_from else ""
        yield from _indented(Text(f"{rose}{escape.visible(alert.chance)} · risk {alert.risk}", "dim"), screen)
        yield from _indented(Text(words.feedback(alert, self._state), "dim"), screen)


def _indented(text: Text, screen: Screen) -> Iterator[Text]:
    for line in text.wrap(screen, max(20, screen.width - 4)):
        yield Text.assemble("    ", line)


def _print(screen: Screen, line: Text) -> None:
    """Print one line, in ASCII where there is no more."""
    line.rstrip()
    if screen.options.ascii_only:
        line = Text(line.plain.translate(ASCII).encode("ascii", "backslashreplace").decode())
    screen.print(line, no_wrap=True, overflow="ignore", crop=False)
