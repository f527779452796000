"""Topics of Kafka: events as JSON objects, a message each.

Where reading stands is said by our own cursor, which is kept with what was learned; the offsets that Kafka keeps for
the group are only written, so that Kafka's tools can show how far behind the reading is.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from amiss import fields as columns
from amiss import times
from amiss.errors import EventError, SourceError
from amiss.events import Quarantine
from amiss.fields import FieldChoice, Fields
from amiss.sources import Cursor
from amiss.sources.arrivals import Item, Partition
from amiss.sources.brokers import ANSWER_SECONDS, POLL_MESSAGES, TOPIC_BITS, Address, Feed, parse_address
from amiss.sources.lines import Schema, schema_of
from amiss.sources.messages import Bad, Batch, Translation, infer, offsets_text, remembered
from amiss.sources.sniff import FileFormat
from amiss.vocabulary import Coding

if TYPE_CHECKING:
    from confluent_kafka import Consumer, TopicPartition


_SILENCE_SECONDS: Final = 60.0
_SETTLING_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.1
_FRAME_MESSAGES: Final = 50_000


class KafkaSource:
    """Events of one topic or several of a Kafka cluster, each message a JSON object, nested or flat.

    Opening looks at the first messages and settles what plays which role; while a topic is empty, the first messages
    that come settle it. `_key`, `_timestamp` (when the message was produced) and `_header.NAME` can be pinned like the
    fields of the object; where these hold no time, `_timestamp` is taken. `quarantine` holds what could not be read,
    by topic, partition and offset.

    Parameters
    ----------
    url
        `kafka://HOST:PORT[,HOST:PORT]/TOPIC[,TOPIC]`, with the options `group` (amiss; empty: all partitions are read
        without a group), `start` (of :meth:`follow`: earliest, or latest), `security` (plaintext, ssl, sasl_plaintext,
        sasl_ssl), `mechanism` and `ca` (a file). Name and password come from `AMISS_KAFKA_USERNAME` and
        `AMISS_KAFKA_PASSWORD`, any other setting of librdkafka from `AMISS_KAFKA_<SETTING>`.
    fields, timezone, year, strict
        As for files.

    Raises
    ------
    SourceError
        If no broker answers, does not let us in, or has no such topic.
    EventError
        If nothing can be the user or the action; lists what was found.
    """

    def __init__(
        self,
        url: str,
        *,
        fields: FieldChoice | None = None,
        timezone: str = "UTC",
        year: int | None = None,
        strict: bool = False,
    ) -> None:
        times.check_timezone(timezone)
        self.url = url
        self.address = parse_address(url)
        self.timezone = timezone
        self.strict = strict
        self.quarantine = Quarantine()
        self.skipped: dict[str, int] = {}
        self._choice = fields
        self._year = year
        self._following: _Following | None = None
        self._fields: Fields | None = None
        self._translation = Translation(None, timezone)
        self._remembered = self._memory()
        with closing(Feed(self.address)) as feed:
            self.partitions = {topic: feed.partitions_of(topic) for topic in self.address.topics}
            self._infer(_first_messages(feed, self.address, self.partitions))

    @property
    def fields(self) -> Fields:
        """What is read from which part of the messages.

        Raises
        ------
        SourceError
            If no message held a JSON object so far.
        """
        if self._fields is None:
            raise SourceError(f"{self.url} holds no JSON object yet, so its fields are not known", retry_after=10)
        return self._fields

    @property
    def trouble(self) -> str:
        """What is wrong with the connection now, while following; empty where all is well."""
        return self._following.feed.trouble.now if self._following else ""

    # --- reading what is there

    def read(self, after: Cursor | None = None) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Event frames of what the topics hold now, in the order in which it was produced.

        Raises
        ------
        EventError
            If nothing at all could be read; says why. With `strict`, at the first message that cannot be.
        """
        yield from self._frames(after, lambda items: self._translate(items).events(items))

    def read_coded(self, coding: Coding, after: Cursor | None = None) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Coded frames with the cursor behind each: the rows of :meth:`read`, faster."""
        yield from self._frames(after, lambda items: self._translate(items).coded(items, coding))

    def _frames(
        self, after: Cursor | None, translated: Callable[[list[Item]], Batch]
    ) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Frames of what is there; reading from the start forgets what an earlier reading quarantined."""
        if after is None:
            self.quarantine.reasons.clear()
            self.quarantine.samples.clear()
        offsets, seen = self.offsets(after), False
        with closing(Feed(self.address, patience=float("inf"))) as feed:
            for items in _all_there(feed, self._bounded(feed, offsets)):
                frame = self.taken(translated(items), offsets)
                if len(frame):
                    seen = True
                    yield frame, self.cursor(offsets)
        if not seen and after is None:
            raise EventError(self._nothing_read())

    def _bounded(self, feed: Feed, offsets: dict[str, dict[int, int]]) -> list[Partition]:
        """All partitions with where to begin and to end."""
        places = [(topic, index) for topic, count in self.partitions.items() for index in range(count)]
        return [feed.bounded(self.partition(*place), offsets.get(place[0], {}).get(place[1])) for place in places]

    def _nothing_read(self) -> str:
        first = [f"  {bad.file}:{bad.position}: {bad.reason}" for bad in self.quarantine.samples[:5]]
        return "\n".join([f"{self.url}: no message could be read as an event.", *first])

    # --- following

    def settle(self, stop: threading.Event, *, until_eof: bool = False) -> Fields | None:  # noqa: ARG002 - opening looked
        """What the first messages told when the source was opened."""
        return self._fields

    def follow(
        self,
        coding: Coding,
        after: Cursor | None = None,
        *,
        batch: int,
        every: timedelta,
        stop: threading.Event,
        until_eof: bool = False,
    ) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Coded frames of what the topics hold and of what comes in, as a member of the group if there is one.

        As :meth:`amiss.sources.LiveSource.follow` says; `until_eof` ends where the partitions ended when they were
        assigned. Each is read from where the cursor says; where it says nothing, from where the group stood; else from
        the start that the address names. What was taken over by another member is not given on.

        Raises
        ------
        SourceError
            If the broker does not let us in, or a topic is gone. A broker that is away is waited for.
        """
        following = _Following(self, coding, self.offsets(after), until_eof=until_eof)
        self._following = following
        try:
            following.start()
            yield from following.frames(batch, every.total_seconds(), stop)
        finally:
            self._following = None
            following.feed.close()

    def acknowledge(self, cursor: Cursor) -> None:
        """Tell Kafka how far the group is, for its tools to show; call it after the cursor was committed.

        It does not wait for the answer. Without a group, unless :meth:`follow` is running, or while no broker answers,
        it does nothing.
        """
        if self._following and self.address.group and not self.trouble:
            self._following.feed.commit(self.offsets(cursor))

    # --- shared by both

    def cursor(self, offsets: dict[str, dict[int, int]]) -> Cursor:
        """The cursor at these offsets; it also remembers what plays which role."""
        return Cursor(f'{{"offsets":{offsets_text(offsets)},{self._remembered}}}')

    def offsets(self, after: Cursor | None) -> dict[str, dict[int, int]]:
        """Topic → partition → the offset to go on with, as a cursor says; what it remembers of roles is taken over."""
        if after is None:
            return {}
        try:
            token = json.loads(after.token)
            if token["schema"] is not None and token["settings"] == self._settings:
                self._take_over(schema_of(token["schema"]).fields)
            found = token["offsets"].items()
            return {topic: {int(i): int(offset) for i, offset in parts.items()} for topic, parts in found}
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise SourceError(f"this is no cursor of a Kafka source: {after.token[:80]}") from error

    @property
    def _settings(self) -> dict[str, Any]:
        """What the roles depend on, besides the messages."""
        choice = self._choice or FieldChoice()
        pinned = choice.pinned() | ({"time_format": choice.time_format} if choice.time_format else {})
        return {"pinned": pinned, "timezone": self.timezone, "year": self._year}

    def _memory(self) -> str:
        """What a cursor holds besides offsets, as a part of its text."""
        found = remembered(self._fields)
        schema = Schema(FileFormat("ndjson"), found, self.timezone).token() if found else None
        return json.dumps({"schema": schema, "settings": self._settings}, separators=(",", ":"))[1:-1]

    def _take_over(self, found: Fields) -> None:
        """Read the roles that an earlier reading settled on as it did."""
        if self._fields is None:
            self._settle_on(found)
        elif remembered(self._fields) != found:
            self._settle_on(Fields(found.preset, self._fields.roles | found.roles, self._fields.rest))

    def _settle_on(self, found: Fields) -> None:
        """From now on, read these fields."""
        self._fields = found
        self._translation = Translation(found, self.timezone)
        self._remembered = self._memory()

    def partition(self, topic: str, index: int) -> Partition:
        """A partition of one of the topics, nothing of it read."""
        number = self.address.topics.index(topic) << TOPIC_BITS | index
        return Partition(topic, index, number, heard=monotonic())

    def place(self, number: int) -> tuple[str, int]:
        """Topic and partition of a partition's number."""
        return self.address.topics[number >> TOPIC_BITS], number & ((1 << TOPIC_BITS) - 1)

    def taken(self, batch: Batch, offsets: dict[str, dict[int, int]]) -> pl.DataFrame:
        """The frame of a batch, once its bad messages are in quarantine and `offsets` are moved behind it."""
        for bad in batch.bad:
            self._reject(bad)
        for number, offset in batch.behind.items():
            topic, index = self.place(number)
            offsets.setdefault(topic, {})[index] = offset
        return batch.frame

    def coded(self, items: list[Item], coding: Coding) -> Batch:
        """The coded events of messages."""
        return self._translate(items).coded(items, coding)

    def _reject(self, bad: Bad) -> None:
        topic, index = self.place(bad.number)
        name = f"{topic}[{index}]"
        if self.strict:
            raise EventError(f"{name}:{bad.offset}: {bad.reason}: {columns.ascii_safe(bad.text)}")
        self.quarantine.add(name, bad.offset, bad.reason, bad.text, count=bad.count)

    def _translate(self, items: Sequence[Item]) -> Translation:
        """How messages are read; what plays which role is settled by the first that hold objects."""
        if self._fields is None:
            self._infer(items)
        return self._translation

    def _infer(self, items: Sequence[Item]) -> None:
        found = infer(items, self._choice, where=self.url, year=self._year) if items else None
        if found:
            self._settle_on(found)


# --- what is there


def _all_there(feed: Feed, partitions: list[Partition]) -> Iterator[list[Item]]:
    """The messages of partitions up to their ends, in order."""
    arrivals = feed.arrivals
    feed.assign([part for part in partitions if not part.finished])
    alive = monotonic()
    while arrivals.ready or not all(part.finished for part in arrivals.partitions):
        feed.poll(0.0 if len(arrivals.ready) >= _FRAME_MESSAGES else _POLL_SECONDS)
        alive = max([alive, *(part.heard for part in arrivals.partitions)])
        if len(arrivals.ready) >= _FRAME_MESSAGES or all(part.finished for part in arrivals.partitions):
            yield arrivals.take(_FRAME_MESSAGES)
            alive = monotonic()
        elif monotonic() - alive > _SILENCE_SECONDS:
            raise SourceError(f"{feed.trouble.where}: nothing came for a minute. {feed.trouble.now}", retry_after=10)


def _first_messages(feed: Feed, address: Address, partitions: Mapping[str, int]) -> list[Item]:
    """The messages by which fields are judged: the first, or with `start=latest` the last."""
    parts = [Partition(topic, i, i, heard=monotonic()) for topic, count in partitions.items() for i in range(count)]
    each = columns.SAMPLE_ROWS // max(1, len(parts)) + 1
    for part in parts:
        low, high = feed.ends(part)
        part.coming = max(low, high - each) if address.start == "latest" else low
        part.end = min(high, part.coming + each)
        part.finished = part.at_end = part.coming >= part.end
    feed.assign([part for part in parts if not part.finished])
    until = monotonic() + ANSWER_SECONDS
    while not all(part.finished for part in feed.arrivals.partitions) and monotonic() < until:
        feed.poll(_POLL_SECONDS)
    feed.arrivals.release(float("inf"))
    return feed.arrivals.take(columns.SAMPLE_ROWS)


# --- following


class _Following:
    """A source being followed: partitions come and go, frames are put together."""

    def __init__(
        self,
        source: KafkaSource,
        coding: Coding,
        offsets: dict[str, dict[int, int]],
        *,
        until_eof: bool,
    ) -> None:
        self.feed = Feed(source.address)
        self._source = source
        self._coding = coding
        self._offsets = offsets
        self._until_eof = until_eof
        self._joined = float("inf")
        self._failure: SourceError | None = None
        self._parts: list[Batch] = []

    def start(self) -> None:
        """Join the group, or without one take all partitions."""
        address = self._source.address
        if address.group:
            topics = list(address.topics)
            self.feed.consumer.subscribe(topics, on_assign=self._assign, on_revoke=self._revoke, on_lost=self._revoke)
        else:
            places = [(topic, index) for topic, count in self._source.partitions.items() for index in range(count)]
            self.feed.assign([self._begun(*place) for place in places])
            self._joined = monotonic()

    # --- partitions come and go

    def _assign(self, _consumer: Consumer, places: list[TopicPartition]) -> None:
        """Read partitions that are ours now."""
        self._joined = monotonic()
        try:
            parts = [self._begun(place.topic, place.partition) for place in places]
        except SourceError as error:
            self._failure = error
            parts = []
        self.feed.assign(parts, more=True)
        self.feed.trouble.over()

    def _begun(self, topic: str, index: int) -> Partition:
        """A partition with where to begin: our own offset, else the group's, else the start of the address."""
        part = self._source.partition(topic, index)
        own = self._offsets.setdefault(topic, {})
        if index not in own:
            stood = self.feed.committed(part) if self._source.address.group else None
            own[index] = self._start(part) if stood is None else stood
        part.coming = own[index]
        return self.feed.bounded(part, part.coming) if self._until_eof else part

    def _start(self, part: Partition) -> int:
        """Where the address says that reading starts; a partition that was added since is read whole."""
        low, high = self.feed.ends(part)
        is_new = part.index >= self._source.partitions[part.topic]
        return high if self._source.address.start == "latest" and not is_new else low

    def _revoke(self, _consumer: Consumer, places: list[TopicPartition]) -> None:
        """Forget all of partitions that are not ours any more, except what was given on."""
        gone = [(place.topic, place.partition) for place in places]
        numbers = {self._source.partition(*place).number for place in gone}
        self.feed.arrivals.drop(gone)
        self.feed.bad = [bad for bad in self.feed.bad if bad.number not in numbers]
        self._parts = [part.without(numbers) for part in self._parts]

    # --- frames

    def frames(self, batch: int, every: float, stop: threading.Event) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Frames as they fall due."""
        begun, waiting = monotonic(), False
        while not stop.is_set() and not self._is_over():
            enough = self._rows() + len(self.feed.arrivals.ready) >= batch
            left = begun + every - monotonic()
            self._poll(0.0 if enough else max(0.0, min(_POLL_SECONDS, left)), batch)
            if not waiting and self._has_any():
                begun, waiting = monotonic(), True
            if self._fill(batch) or monotonic() >= begun + every:
                self._translate(batch)
                yield self._frame()
                begun, waiting = monotonic(), False
        while self._has_any() and (self._is_over() or stop.is_set()):
            self._translate(batch)
            yield self._frame()
            if stop.is_set():
                break

    def _poll(self, seconds: float, batch: int) -> None:
        self.feed.poll(seconds, min(batch, POLL_MESSAGES))
        if self._failure:
            raise self._failure

    def _is_over(self) -> bool:
        """Whether all that was there has come in."""
        parts = self.feed.arrivals.partitions
        is_settled = bool(parts) or monotonic() - self._joined > _SETTLING_SECONDS
        return self._until_eof and is_settled and all(part.finished for part in parts)

    def _has_any(self) -> bool:
        return bool(self._parts or self.feed.arrivals.ready or self.feed.bad)

    def _rows(self) -> int:
        return sum(len(part.frame) for part in self._parts)

    def _fill(self, batch: int) -> bool:
        """Whether the frame is full; messages are made events only when they may fill it."""
        while self._rows() < batch <= self._rows() + len(self.feed.arrivals.ready):
            self._translate(batch)
        return self._rows() >= batch

    def _translate(self, batch: int) -> None:
        """Make events of what is ready and has room in the frame."""
        items = self.feed.arrivals.take(batch - self._rows())
        if items:
            self._parts.append(self._source.coded(items, self._coding))

    def _frame(self) -> tuple[pl.DataFrame, Cursor]:
        """The frame of what was put together, given on from here."""
        parts, self._parts = [Batch(self._coding.empty(), self.feed.bad), *self._parts], []
        self.feed.bad = []
        frames = [self._source.taken(part, self._offsets) for part in parts]
        return pl.concat(frames), self._source.cursor(self._offsets)
