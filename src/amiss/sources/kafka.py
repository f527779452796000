"""Topics of Kafka: events as JSON objects, a message each.

Where reading stands is said by our own cursor, which is kept with what was learned; the offsets that Kafka keeps for
the group are only written, so that Kafka's tools can show how far behind the reading is.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import polars as pl

from amiss import fields as columns
from amiss import times
from amiss.errors import EventError, MissingExtraError, SourceError, nearest
from amiss.events import CODED_SCHEMA, Quarantine
from amiss.fields import FieldChoice, Fields
from amiss.sources import Cursor
from amiss.sources.arrivals import MOST_WAITING, PATIENCE_SECONDS, Arrivals, Item, Partition
from amiss.sources.lines import Schema, schema_of
from amiss.sources.messages import Bad, Batch, Translation, infer, narrow, offsets_text
from amiss.sources.sniff import FileFormat
from amiss.vocabulary import Vocabulary

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

LOG: Final = logging.getLogger(__name__)

ENVIRONMENT: Final = "AMISS_KAFKA_"
OPTIONS: Final = ("group", "start", "security", "mechanism", "ca")
OWN_SETTINGS: Final = (
    "bootstrap.servers", "group.id", "enable.auto.commit", "enable.auto.offset.store", "enable.partition.eof",
    "auto.offset.reset",
)  # fmt: skip
_SHORT: Final = {"username": "sasl.username", "password": "sasl.password", "log.level": "log_level"}
_SECRET: Final = re.compile(r"password|secret|token|pem|jaas|sasl\.oauthbearer\.config")
_TOPIC_BITS: Final = 12
_ANSWER_SECONDS: Final = 10.0
_SILENCE_SECONDS: Final = 60.0
_SETTLING_SECONDS: Final = 5.0
_LEAVING_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.1
_POLL_MESSAGES: Final = 10_000
_FRAME_MESSAGES: Final = 50_000
_FROM_STORED: Final = -1001


@dataclass(frozen=True)
class Address:
    """What a `kafka://` address says."""

    brokers: str
    topics: tuple[str, ...]
    group: str = "amiss"
    start: str = "earliest"
    security: str = ""
    mechanism: str = ""
    ca: str = ""


def parse_address(url: str) -> Address:
    """The parts of an address `kafka://HOST:PORT[,HOST:PORT]/TOPIC[,TOPIC]?group=…&start=…`.

    Raises
    ------
    SourceError
        If a part is missing or unknown. The text never holds what may be a password.

    Examples
    --------
    >>> address = parse_address("kafka://one:9092,two:9092/logins?group=night&start=latest")
    >>> address.brokers, address.topics, address.group, address.start
    ('one:9092,two:9092', ('logins',), 'night', 'latest')
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise SourceError(
            "a Kafka address holds no name or password. Give them as AMISS_KAFKA_USERNAME and AMISS_KAFKA_PASSWORD"
        )
    topics = tuple(dict.fromkeys(topic for topic in unquote(parts.path).strip("/").split(",") if topic))
    if not parts.netloc or not topics:
        raise SourceError(f"{url} names no {'topic' if parts.netloc else 'broker'}. Give kafka://HOST:9092/TOPIC")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in options:
        if name not in OPTIONS:
            raise SourceError(
                f'a Kafka address has no option "{name}".{nearest(name, OPTIONS)} Known: {", ".join(OPTIONS)}. '
                f"Other settings of librdkafka are given as {ENVIRONMENT}<SETTING>"
            )
    if options.get("start", "earliest") not in ("earliest", "latest"):
        raise SourceError(f'start is "earliest" or "latest", not "{options["start"]}"')
    return Address(parts.netloc, topics, **{name: value for name, value in options.items() if value or name == "group"})


def settings(address: Address, environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings of librdkafka for an address, with those of the environment.

    Raises
    ------
    SourceError
        If the environment sets what the source itself must set.

    Examples
    --------
    >>> found = settings(parse_address("kafka://h:9092/t"), {"AMISS_KAFKA_CLIENT_ID": "a", "HOME": "/"})
    >>> found["bootstrap.servers"], found["client.id"], "sasl.username" in found
    ('h:9092', 'a', False)
    """
    given = {_setting(name): value for name, value in environment.items() if name.startswith(ENVIRONMENT) and value}
    own = sorted(set(given) & set(OWN_SETTINGS))
    if own:
        raise SourceError(f"{own[0]} is set by the address, not by the environment. Unset {_variable(own[0])}")
    known: dict[str, Any] = {
        "bootstrap.servers": address.brokers,
        "group.id": address.group or "amiss",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "session.timeout.ms": 10_000,
        "max.poll.interval.ms": 1_800_000,
        "partition.assignment.strategy": "range,roundrobin",
        "log_level": 2,
    }
    known |= {"security.protocol": "sasl_ssl", "sasl.mechanism": "PLAIN"} if "sasl.username" in given else {}
    chosen = {
        "security.protocol": address.security,
        "sasl.mechanism": address.mechanism,
        "ssl.ca.location": address.ca,
    }
    return known | given | {name: value for name, value in chosen.items() if value}


def _setting(variable: str) -> str:
    """The setting that a variable of the environment gives."""
    name = variable.removeprefix(ENVIRONMENT).lower().replace("_", ".")
    return _SHORT.get(name, name)


def _variable(setting: str) -> str:
    return ENVIRONMENT + setting.upper().replace(".", "_")


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
        self._translation: Translation | None = None
        with closing(_Feed(self.address)) as feed:
            self.partitions = {topic: feed.partitions_of(topic) for topic in self.address.topics}
            self._fields = self._infer(_first_messages(feed, self.address, self.partitions))

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

    def read_coded(
        self, users: Vocabulary, actions: Vocabulary, after: Cursor | None = None
    ) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Coded frames with the cursor behind each: the rows of :meth:`read`, faster."""
        yield from self._frames(after, lambda items: self._translate(items).coded(items, users, actions))

    def _frames(
        self, after: Cursor | None, translated: Callable[[list[Item]], Batch]
    ) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Frames of what is there; reading from the start forgets what an earlier reading quarantined."""
        if after is None:
            self.quarantine.reasons.clear()
            self.quarantine.samples.clear()
        offsets, seen = self.offsets(after), False
        with closing(_Feed(self.address, patience=float("inf"))) as feed:
            for items in _all_there(feed, self._bounded(feed, offsets)):
                frame = self.settle(translated(items), offsets)
                if len(frame):
                    seen = True
                    yield frame, self.cursor(offsets)
        if not seen and after is None:
            raise EventError(self._nothing_read())

    def _bounded(self, feed: _Feed, offsets: dict[str, dict[int, int]]) -> list[Partition]:
        """All partitions with where to begin and to end."""
        places = [(topic, index) for topic, count in self.partitions.items() for index in range(count)]
        return [feed.bounded(self.partition(*place), offsets.get(place[0], {}).get(place[1])) for place in places]

    def _nothing_read(self) -> str:
        first = [f"  {bad.file}:{bad.position}: {bad.reason}" for bad in self.quarantine.samples[:5]]
        return "\n".join([f"{self.url}: no message could be read as an event.", *first])

    # --- following

    def follow(
        self,
        users: Vocabulary,
        actions: Vocabulary,
        after: Cursor | None = None,
        *,
        batch: int,
        every: timedelta,
        stop: threading.Event,
        until_eof: bool = False,
    ) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Coded frames of what the topics hold and of what comes in, as a member of the group if there is one.

        Frames have `batch` events where so many are there, else what came in within `every`; none comes in: an empty
        frame each `every`. Each partition is read from where the cursor says; where it says nothing, from where the
        group stood; else from the start that the address names. What was taken over by another member is not given on.

        Parameters
        ----------
        stop
            Ends the frames soon after it is set.
        until_eof
            Whether to end where the partitions ended when they were assigned.

        Raises
        ------
        SourceError
            If the broker does not let us in, or a topic is gone. A broker that is away is waited for.
        """
        following = _Following(self, users, actions, self.offsets(after), until_eof=until_eof)
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

    @cached_property
    def _remembered(self) -> str:
        """What a cursor holds besides offsets, as a part of its text."""
        found = narrow(self._fields)
        schema = Schema(FileFormat("ndjson"), found, self.timezone).token() if found else None
        return json.dumps({"schema": schema, "settings": self._settings}, separators=(",", ":"))[1:-1]

    def _take_over(self, found: Fields) -> None:
        """Read the roles that an earlier reading settled on as it did."""
        if self._fields is None or narrow(self._fields) != found:
            known = self._fields.roles if self._fields else {}
            self._fields = Fields(found.preset, known | found.roles, self._fields.rest if self._fields else ())
            self._translation = None
            self.__dict__.pop("_remembered", None)

    def partition(self, topic: str, index: int) -> Partition:
        """A partition of one of the topics, nothing of it read."""
        number = self.address.topics.index(topic) << _TOPIC_BITS | index
        return Partition(topic, index, number, heard=monotonic())

    def place(self, number: int) -> tuple[str, int]:
        """Topic and partition of a partition's number."""
        return self.address.topics[number >> _TOPIC_BITS], number & ((1 << _TOPIC_BITS) - 1)

    def settle(self, batch: Batch, offsets: dict[str, dict[int, int]]) -> pl.DataFrame:
        """The frame of a batch, once its bad messages are in quarantine and `offsets` are moved behind it."""
        for bad in batch.bad:
            self._reject(bad)
        for number, offset in batch.behind.items():
            topic, index = self.place(number)
            offsets.setdefault(topic, {})[index] = offset
        return batch.frame

    def coded(self, items: list[Item], users: Vocabulary, actions: Vocabulary) -> Batch:
        """The coded events of messages."""
        return self._translate(items).coded(items, users, actions)

    def _reject(self, bad: Bad) -> None:
        topic, index = self.place(bad.number)
        name = f"{topic}[{index}]"
        if self.strict:
            raise EventError(f"{name}:{bad.offset}: {bad.reason}: {columns.ascii_safe(bad.text)}")
        self.quarantine.add(name, bad.offset, bad.reason, bad.text, count=bad.count)

    def _translate(self, items: Sequence[Item]) -> Translation:
        """How messages are read; what plays which role is settled by the first that hold objects."""
        if self._fields is None:
            self._fields = self._infer(items)
            self.__dict__.pop("_remembered", None)
        if self._translation is None and self._fields is not None:
            self._translation = Translation(self._fields, self.timezone)
        return self._translation or Translation(None, self.timezone)

    def _infer(self, items: Sequence[Item]) -> Fields | None:
        return infer(items, self._choice, where=self.url, year=self._year) if items else None


# --- the connection


class Trouble:
    """What is wrong with the connection: said once, until it is over."""

    def __init__(self, where: str, secrets: Iterable[str]) -> None:
        self.now = ""
        self.fatal: SourceError | None = None
        self.quiet = False
        self.where = where
        self._secrets = [text for text in secrets if text]
        self.detail = ""
        self._said: set[int] = set()

    def heard(self, error: KafkaError) -> None:
        """Take note of an error; one that waiting does not help is kept to be raised."""
        text = self.shown(error.str())
        advice = _advice(error)
        if advice:
            self.fatal = self.fatal or SourceError(f"{self.where}: {text}. {advice}")
            return
        if self.quiet or is_passing(error):
            self.detail = f" ({text})"
        elif error.code() not in self._said:
            self._said.add(error.code())
            self.now = text + self.detail
            LOG.warning("%s: %s. Trying until it is back", self.where, self.now)

    def over(self) -> None:
        """Something came in: what was wrong is over."""
        if self._said:
            LOG.warning("%s: reading again", self.where)
            self._said.clear()
            self.now = self.detail = ""

    def shown(self, text: str) -> str:
        """A text that holds no password."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return columns.ascii_safe(text) if len(text) <= 60 else "".join(c if c.isprintable() else "?" for c in text)


def is_passing(error: KafkaError) -> bool:
    """Whether an error is of one connection and others may do, as when a broker closes one that is idle."""
    from confluent_kafka import KafkaError as Codes

    return error.code() in (Codes._TRANSPORT, Codes._RESOLVE, Codes._TIMED_OUT)  # noqa: SLF001  the constants' names


def _advice(error: KafkaError) -> str:
    """What to do about an error that waiting does not help; empty where it may."""
    from confluent_kafka import KafkaError as Codes

    rights = "Let this user read the topic and the group: kafka-acls --add --operation Read"
    advice = {
        Codes._AUTHENTICATION: "Check AMISS_KAFKA_USERNAME, AMISS_KAFKA_PASSWORD, security and mechanism",  # noqa: SLF001  the constant's name
        Codes.SASL_AUTHENTICATION_FAILED: "Check AMISS_KAFKA_USERNAME, AMISS_KAFKA_PASSWORD, security and mechanism",
        Codes.TOPIC_AUTHORIZATION_FAILED: rights,
        Codes.GROUP_AUTHORIZATION_FAILED: rights,
        Codes.UNKNOWN_TOPIC_OR_PART: "Check the name of the topic, or create it",
        Codes._UNKNOWN_TOPIC: "Check the name of the topic, or create it",  # noqa: SLF001  the constant's name
    }
    return advice.get(error.code(), "Start again" if error.fatal() else "")


class _Feed:
    """A connection that reads partitions: messages come in, and go on in order."""

    def __init__(self, address: Address, *, patience: float = PATIENCE_SECONDS) -> None:
        known = settings(address, os.environ)
        secrets = [str(value) for name, value in known.items() if _SECRET.search(name)]
        self.trouble = Trouble(f"kafka://{address.brokers}", secrets)
        self.arrivals = Arrivals(patience=patience)
        self.bad: list[Bad] = []
        self._cooperative = "cooperative" in str(known["partition.assignment.strategy"])
        self._known = known | {"error_cb": self.trouble.heard, "on_commit": self._committed}
        self.consumer = self._connect()

    def _connect(self) -> Consumer:
        try:
            from confluent_kafka import Consumer, KafkaException
        except ImportError as error:
            raise MissingExtraError("reading from Kafka", "kafka") from error
        try:
            return Consumer(self._known)
        except KafkaException as error:
            text = self.trouble.shown(error.args[0].str())
            message = f"Kafka cannot be read with these settings: {text}. See {ENVIRONMENT}* and the address"
            raise SourceError(message) from None

    def close(self) -> None:
        """Leave the group and the brokers; those that do not answer are not waited for."""
        leaving = threading.Thread(target=self.consumer.close, name="amiss-kafka-close", daemon=True)
        leaving.start()
        leaving.join(_LEAVING_SECONDS)

    # --- asking

    def _ask(self, question: Callable[[], Any], *, opening: bool = False) -> Any:  # noqa: ANN401  whatever is asked for
        """The answer of a broker; SourceError with what is wrong where none comes."""
        from confluent_kafka import KafkaException

        try:
            return question()
        except KafkaException as error:
            self.trouble.heard(error.args[0])
            self.trouble.quiet = opening
            if opening:
                self.consumer.poll(0)
            if self.trouble.fatal:
                raise self.trouble.fatal from None
            why = self.trouble.shown(error.args[0].str()) + self.trouble.detail
            message = f"{self.trouble.where}: {why}. Is a broker running there, and is `security` right?"
            raise SourceError(message, retry_after=10) from None

    def partitions_of(self, topic: str) -> int:
        """How many partitions a topic has."""
        question = partial(self.consumer.list_topics, topic, timeout=_ANSWER_SECONDS)
        found = self._ask(question, opening=True).topics[topic]
        if found.error is None and len(found.partitions) <= 1 << _TOPIC_BITS:
            return len(found.partitions)
        if found.error is None:
            raise SourceError(f'topic "{topic}" has {len(found.partitions):,} partitions; 4,096 can be read')
        others = self._ask(partial(self.consumer.list_topics, timeout=_ANSWER_SECONDS)).topics
        hint = nearest(topic, [name for name in others if not name.startswith("__")])
        raise SourceError(f'{self.trouble.where}: topic "{topic}": {found.error.str()}.{hint} {_advice(found.error)}')

    def ends(self, part: Partition) -> tuple[int, int]:
        """The first offset that a partition holds, and the one behind the last."""
        place = _place(part.topic, part.index)
        low, high = self._ask(partial(self.consumer.get_watermark_offsets, place, timeout=_ANSWER_SECONDS))
        return low, high

    def committed(self, part: Partition) -> int | None:
        """The offset that the group has of a partition, None where it has none."""
        places = [_place(part.topic, part.index)]
        found = self._ask(partial(self.consumer.committed, places, timeout=_ANSWER_SECONDS))[0].offset
        return found if found >= 0 else None

    def bounded(self, part: Partition, offset: int | None) -> Partition:
        """The partition, to be read from an offset (or its first) up to its present end."""
        low, part.end = self.ends(part)
        part.coming = low if offset is None else offset
        if part.coming > part.end:
            self._went_back(part, low)
            part.coming = low
        part.finished = part.at_end = part.coming >= part.end
        return part

    def commit(self, offsets: Mapping[str, Mapping[int, int]]) -> None:
        """Write the group's offsets of the partitions that are ours now; does not wait."""
        from confluent_kafka import KafkaException

        ours = self.arrivals.by_place
        places = [_place(t, i, offset) for t, parts in offsets.items() for i, offset in parts.items() if (t, i) in ours]
        try:
            if places:
                self.consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as error:
            LOG.info("%s: the group's offsets were not written: %s", self.trouble.where, error.args[0].str())

    def _committed(self, error: KafkaError | None, _places: Sequence[TopicPartition]) -> None:
        if error is not None:
            LOG.info("%s: the group's offsets were not written: %s", self.trouble.where, error.str())

    # --- reading

    def assign(self, partitions: Sequence[Partition], *, more: bool = False) -> None:
        """Read these partitions, each from the offset that comes next; `more`: besides the others."""
        places = [_place(p.topic, p.index, _FROM_STORED if p.coming is None else p.coming) for p in partitions]
        if more and self._cooperative:
            self.consumer.incremental_assign(places)
        else:
            self.consumer.assign(places)
        self.arrivals.assign(partitions)

    def poll(self, seconds: float, most: int = _POLL_MESSAGES) -> None:
        """Take in what comes within so many seconds, and make ready what may go on."""
        messages = self._consumed(most, seconds)
        now = monotonic()
        self._take(messages, now)
        if self.trouble.fatal:
            raise self.trouble.fatal
        if messages and self.trouble.now:
            self.trouble.over()
        for part in self.arrivals.partitions:
            part.finished |= part.end is not None and part.coming is not None and part.coming >= part.end
            part.at_end |= part.finished or (not part.waiting and self._is_at_end(part))
        self.arrivals.release(now)
        self._slow_down()

    def _consumed(self, most: int, seconds: float) -> list[Message]:
        """What the client has for us."""
        from confluent_kafka import KafkaException

        try:
            return self.consumer.consume(most, seconds)
        except KafkaException as error:
            self.trouble.heard(error.args[0])
            return []

    def _take(self, messages: Sequence[Message], now: float) -> None:
        """Let messages wait in their partitions."""
        partitions = self.arrivals.by_place
        for message in messages:
            part = partitions.get((message.topic(), message.partition()))  # type: ignore[arg-type]  # errors may lack them
            offset = message.offset()
            error = message.error()
            if error is not None:
                self._heard(part, error, now)
            elif part is not None and offset is not None:
                if offset != part.coming:
                    self._jumped(part, offset)
                part.heard = now
                part.add(message, offset)

    def _heard(self, part: Partition | None, error: KafkaError, now: float) -> None:
        """An error that came in among messages: mostly that a partition is read to its end."""
        from confluent_kafka import KafkaError as Codes

        if error.code() != Codes._PARTITION_EOF:  # noqa: SLF001  the constant's name
            self.trouble.heard(error)
        elif part is not None:
            part.at_end, part.heard = True, now
            part.finished = part.end is not None

    def _is_at_end(self, part: Partition) -> bool:
        """Whether nothing follows in a partition, as far as the last fetch told."""
        found = self.consumer.get_watermark_offsets(_place(part.topic, part.index), cached=True)
        return found is not None and part.coming is not None and part.coming >= found[1] >= 0

    def _jumped(self, part: Partition, offset: int) -> None:
        """Say what is missing where the next message is not the one that was expected."""
        expected = part.coming
        if expected is None:
            return
        if offset < expected:
            self._went_back(part, offset)
        elif monotonic() - part.checked > _ANSWER_SECONDS:
            part.checked = monotonic()
            gone = min(self.ends(part)[0], offset) - expected
            if gone > 0:
                LOG.warning("%s: %s messages were deleted before they were read", part.name, f"{gone:,}")
                self.bad.append(Bad(part.number, expected, "deleted by the broker before it was read", "", gone))

    def _went_back(self, part: Partition, offset: int) -> None:
        LOG.warning(
            "%s: goes on with offset %s where %s was to come: was the topic made anew? Its messages are read again",
            part.name, offset, part.coming,
        )  # fmt: skip

    def _slow_down(self) -> None:
        """Fetch no more of partitions of which much waits, until it has gone on."""
        for part in self.arrivals.partitions:
            full = len(part.waiting) > (MOST_WAITING // 2 if part.paused else MOST_WAITING)
            if full != part.paused:
                part.paused = full
                turn = self.consumer.pause if full else self.consumer.resume
                turn([_place(part.topic, part.index)])


def _place(topic: str, index: int, offset: int = _FROM_STORED) -> TopicPartition:
    from confluent_kafka import TopicPartition

    return TopicPartition(topic, index, offset)


def _all_there(feed: _Feed, partitions: list[Partition]) -> Iterator[list[Item]]:
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


def _first_messages(feed: _Feed, address: Address, partitions: Mapping[str, int]) -> list[Item]:
    """The messages by which fields are judged: the first, or with `start=latest` the last."""
    parts = [Partition(topic, i, i, heard=monotonic()) for topic, count in partitions.items() for i in range(count)]
    each = columns.SAMPLE_ROWS // max(1, len(parts)) + 1
    for part in parts:
        low, high = feed.ends(part)
        part.coming = max(low, high - each) if address.start == "latest" else low
        part.end = min(high, part.coming + each)
        part.finished = part.at_end = part.coming >= part.end
    feed.assign([part for part in parts if not part.finished])
    until = monotonic() + _ANSWER_SECONDS
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
        users: Vocabulary,
        actions: Vocabulary,
        offsets: dict[str, dict[int, int]],
        *,
        until_eof: bool,
    ) -> None:
        self.feed = _Feed(source.address)
        self._source = source
        self._users = users
        self._actions = actions
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
        self.feed.poll(seconds, min(batch, _POLL_MESSAGES))
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
            self._parts.append(self._source.coded(items, self._users, self._actions))

    def _frame(self) -> tuple[pl.DataFrame, Cursor]:
        """The frame of what was put together, given on from here."""
        parts, self._parts = [Batch(pl.DataFrame(schema=CODED_SCHEMA), self.feed.bad), *self._parts], []
        self.feed.bad = []
        frames = [self._source.settle(part, self._offsets) for part in parts]
        return pl.concat(frames), self._source.cursor(self._offsets)
