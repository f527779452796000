"""A sink whose alerts are collected for a while, and delivered together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from amiss.alerts import Alert

if TYPE_CHECKING:
    from amiss.sinks import Sink


@dataclass(frozen=True)
class Digest:
    """A sink that :mod:`amiss.outbox` writes to at most every so often.

    Examples
    --------
    >>> from amiss.sinks import open_sink
    >>> open_sink("console:", digest="1h").every
    datetime.timedelta(seconds=3600)
    """

    sink: Sink
    every: timedelta

    @property
    def url(self) -> str:
        """The sink's."""
        return self.sink.url

    def write(self, alerts: Sequence[Alert]) -> None:
        """Hand these over now."""
        self.sink.write(alerts)

    def check(self) -> str:
        """What the sink says, and how long alerts are collected."""
        return f"{self.sink.check()}; alerts of {self.every} come together"

    def close(self) -> None:
        """Close the sink."""
        self.sink.close()
