"""What came in of several partitions, and the order in which it is given on.

Within a partition messages keep their order. Between partitions the time at which a message was produced decides, so
that catching up with history gives events as they would have come in live, and days close alike: a partition that has
more to come holds the others back to where it stands. One that is read to its end holds nobody up, nor does one from
which nothing has come for a while.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from confluent_kafka import Message

PARTITION_BITS: Final = 44
"""Bits of a position that hold the offset; the partition's number stands above them."""
PATIENCE_SECONDS: Final = 2.0
"""How long a partition from which nothing comes holds the others back."""
MOST_WAITING: Final = 20_000
"""Messages of a partition that wait here before no more are fetched of it."""

Item = tuple[int, int, int, "Message"]
"""When it was produced (no earlier than what came before it in its partition), partition, offset, message."""


@dataclass
class Partition:
    """A partition that is read.

    `given` is the offset behind what was given on, `coming` the one behind what came in (both None while unknown),
    `newest` the latest time of production so far, `heard` when something last came in (seconds).
    """

    topic: str
    index: int
    number: int
    given: int | None = None
    coming: int | None = None
    end: int | None = None
    newest: int = -1
    heard: float = 0.0
    at_end: bool = False
    finished: bool = False
    paused: bool = False
    checked: float = float("-inf")
    waiting: list[Item] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Topic and partition, for messages."""
        return f"{self.topic}[{self.index}]"

    def add(self, message: Message, offset: int) -> None:
        """Let a message wait; it is the next one. What is behind the end is left out."""
        if self.end is None or offset < self.end:
            self.newest = max(self.newest, message.timestamp()[1])
            self.waiting.append((self.newest, self.number, offset, message))
        self.coming = offset + 1
        self.at_end = False

    def take(self, bound: tuple[int, int] | None) -> list[Item]:
        """What waits here and may go by now: all of it, or what was produced up to a bound."""
        cut = len(self.waiting) if bound is None else bisect_right(self.waiting, (*bound, float("inf")))
        taken, self.waiting = self.waiting[:cut], self.waiting[cut:]
        return taken


class Arrivals:
    """The partitions that are read now, and what of them is ready to be given on, in order.

    Examples
    --------
    >>> arrivals = Arrivals([Partition("logins", 0, 0), Partition("logins", 1, 1)])
    >>> first, second = arrivals.partitions
    >>> from confluent_kafka import Message
    >>> first.add(Message(value=b"late", timestamp=(1, 9)), 0)
    >>> arrivals.release(0.0)  # the second may have something earlier
    >>> second.add(Message(value=b"early", timestamp=(1, 5)), 0)
    >>> arrivals.release(0.0)
    >>> [item[3].value() for item in arrivals.ready]
    [b'early']
    >>> second.at_end = True
    >>> arrivals.release(0.0)
    >>> [item[3].value() for item in arrivals.ready]
    [b'early', b'late']
    """

    def __init__(self, partitions: Iterable[Partition] = (), *, patience: float = PATIENCE_SECONDS) -> None:
        self.by_place: dict[tuple[str, int], Partition] = {}
        self.ready: list[Item] = []
        self._patience = patience
        self.assign(partitions)

    @property
    def partitions(self) -> Sequence[Partition]:
        """The partitions that are read now."""
        return list(self.by_place.values())

    def assign(self, partitions: Iterable[Partition]) -> None:
        """Read these partitions too."""
        self.by_place |= {(part.topic, part.index): part for part in partitions}

    def drop(self, places: Iterable[tuple[str, int]]) -> None:
        """Forget partitions, with all of theirs that was not given on."""
        gone = {part.number for place in places if (part := self.by_place.pop(place, None))}
        self.ready = [item for item in self.ready if item[1] not in gone]

    def release(self, now: float) -> None:
        """Make ready what nobody holds back at this moment (seconds)."""
        partitions = self.by_place.values()
        holding = [part for part in partitions if not part.at_end and not self._is_silent(part, now)]
        bound = min(((part.newest, part.number) for part in holding), default=None)
        released = [item for part in partitions if part.waiting for item in part.take(bound)]
        released.sort(key=itemgetter(0, 1, 2))
        self.ready += released

    def _is_silent(self, part: Partition, now: float) -> bool:
        """Whether nothing came of a partition for so long that the others go on without it."""
        return not part.waiting and now - part.heard > self._patience

    def take(self, most: int) -> list[Item]:
        """The first of what is ready, at most so many."""
        taken, self.ready = self.ready[:most], self.ready[most:]
        return taken
