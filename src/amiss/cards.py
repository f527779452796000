"""Cards of users, which say what is usual for each: kept where a web service finds them, by sinks that take them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, date, datetime
from typing import Any, Final

import numpy as np

from amiss.engine import Panel
from amiss.errors import SinkError
from amiss.live import Closed, Live
from amiss.roster import Member, members
from amiss.sinks import Sink

PATIENCE: Final = 30.0
"""Seconds that writing may take at the end."""

_LOG: Final = logging.getLogger(__name__)


def writers(sinks: Sequence[Sink]) -> list[Any]:
    """What writes cards, of sinks that take them."""
    inner: list[Any] = [getattr(sink, "sink", sink) for sink in sinks]
    return [sink.profiles for sink in inner if getattr(sink, "profiles", None) is not None]


class Cards:
    """Writes the cards of the users of a day when it has closed, in a thread of its own.

    What cannot be written is said, and written when the user is next seen.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._writers = writers(sinks)
        self._pool = ThreadPoolExecutor(1, "amiss-cards") if self._writers else None
        self._waiting: list[Future[None]] = []

    def closed(self, live: Live, closed: Closed) -> None:
        """Write what is known now of the users of a day."""
        panel = live.current.panel if live.current is not None else None
        if self._pool is None or panel is None:
            return
        known = list(_members_of(live, closed.period.day))
        self._waiting = [each for each in self._waiting if not each.done()]
        self._waiting.append(self._pool.submit(self._write, live, panel, known))

    def close(self) -> None:
        """Wait for what is being written, for a while."""
        if self._pool is not None:
            wait(self._waiting, PATIENCE)
            self._pool.shutdown(wait=False, cancel_futures=True)
        for writer in self._writers:
            writer.close()

    def _write(self, live: Live, panel: Panel, known: Sequence[tuple[Member, int | None]]) -> None:
        """Write cards everywhere."""
        cards = [card(member, {} if seat is None else panel.usual(seat, live.names)) for member, seat in known]
        for writer in self._writers:
            try:
                writer.write(cards)
            except SinkError as error:
                _LOG.warning("profiles of users are not written: %s", error)


def card(member: Member, usual: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What is told of a user.

    Examples
    --------
    >>> card(Member("ann", 7, date(2026, 1, 5), 3, {"login": "active"}), {"login": {"countries": "DE 100%"}})["usual"]
    {'login': {'countries': 'DE 100%'}}
    """
    return {
        "user": member.user,
        "risk": member.risk,
        "last_day": str(member.last_day) if member.last_day else None,
        "days": member.days,
        "detectors": member.detectors,
        "usual": {detector: dict(told) for detector, told in usual.items() if told},
    }


def _members_of(live: Live, day: date) -> Iterator[tuple[Member, int | None]]:
    """The users of a day, with their seats."""
    seen = {user for counts in live.history.judged.get(day, {}).values() for user in np.unique(counts["user"]).tolist()}
    for member in members(live, datetime.now(UTC)):
        code = live.coding.users.find(member.user)
        seat = None if code is None else live.find(code)
        if seat in seen:
            yield member, seat
