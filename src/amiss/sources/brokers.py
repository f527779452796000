"""Connections to Kafka's brokers: the address, what is wrong, and partitions as they come in."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from amiss import fields as columns
from amiss.errors import MissingExtraError, SourceError, nearest
from amiss.sources.arrivals import MOST_WAITING, PATIENCE_SECONDS, Arrivals, Partition
from amiss.sources.messages import Bad

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
TOPIC_BITS: Final = 12
ANSWER_SECONDS: Final = 10.0
_LEAVING_SECONDS: Final = 1.0
POLL_MESSAGES: Final = 10_000
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
        "fetch.queue.backoff.ms": 10,
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


class Feed:
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
        question = partial(self.consumer.list_topics, topic, timeout=ANSWER_SECONDS)
        found = self._ask(question, opening=True).topics[topic]
        if found.error is None and len(found.partitions) <= 1 << TOPIC_BITS:
            return len(found.partitions)
        if found.error is None:
            raise SourceError(f'topic "{topic}" has {len(found.partitions):,} partitions; 4,096 can be read')
        others = self._ask(partial(self.consumer.list_topics, timeout=ANSWER_SECONDS)).topics
        hint = nearest(topic, [name for name in others if not name.startswith("__")])
        raise SourceError(f'{self.trouble.where}: topic "{topic}": {found.error.str()}.{hint} {_advice(found.error)}')

    def ends(self, part: Partition) -> tuple[int, int]:
        """The first offset that a partition holds, and the one behind the last."""
        place = _place(part.topic, part.index)
        low, high = self._ask(partial(self.consumer.get_watermark_offsets, place, timeout=ANSWER_SECONDS))
        return low, high

    def committed(self, part: Partition) -> int | None:
        """The offset that the group has of a partition, None where it has none."""
        places = [_place(part.topic, part.index)]
        found = self._ask(partial(self.consumer.committed, places, timeout=ANSWER_SECONDS))[0].offset
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

    def poll(self, seconds: float, most: int = POLL_MESSAGES) -> None:
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
        elif monotonic() - part.checked > ANSWER_SECONDS:
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
