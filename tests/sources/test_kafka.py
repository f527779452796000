"""Kafka: the mock cluster of its own client for most, a real broker for what takes one."""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from tests.kafka_broker import Broker, binary
from tests.waiting import until

from amiss.errors import EventError, MissingExtraError, SourceError
from amiss.events import CODED_SCHEMA
from amiss.fields import FieldChoice
from amiss.sources import Cursor
from amiss.sources.arrivals import Arrivals, Partition
from amiss.sources.brokers import parse_address, settings
from amiss.sources.kafka import KafkaSource
from amiss.testing import check_source
from amiss.vocabulary import Coding

kafka = pytest.importorskip("confluent_kafka")
from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402  only where the extra is installed

SOON = timedelta(milliseconds=200)
LATE = timedelta(seconds=60)
FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def event(number: int, user: str = "ann", action: str = "login") -> bytes:
    """A message of an event, `number` seconds after the first."""
    time_ = (FIRST + timedelta(seconds=number)).isoformat()
    return json.dumps({"time": time_, "user": user, "action": action, "outcome": "ok"}).encode()


class Topic:
    """A topic of a cluster, filled by hand."""

    def __init__(self, brokers: str, producer: Any, partitions: int = 4) -> None:
        self.name = f"t{uuid.uuid4().hex[:8]}"
        self.brokers = brokers
        self.partitions = partitions
        self._producer = producer
        self._begun = int(time.time() * 1000)  # brokers delete what is older than a week

    def source(self, options: str = "group=", **more: Any) -> KafkaSource:
        """A source that reads it, without a group unless asked for."""
        return KafkaSource(f"kafka://{self.brokers}/{self.name}?{options}", **more)

    def put(self, value: bytes | None, partition: int = 0, **more: Any) -> None:
        """Send a message; `sent` waits for it."""
        self._producer.produce(self.name, value, partition=partition, **more)

    def fill(self, count: int, first: int = 0) -> None:
        """Put events in turn into all partitions, a millisecond after each other."""
        for number in range(first, first + count):
            self.put(event(number, f"u{number % 7}"), number % self.partitions, timestamp=self._begun + number)
        self.sent()

    def sent(self) -> None:
        """Wait until the broker has all."""
        assert self._producer.flush(20) == 0


class Cluster:
    """What tests need of a cluster: where it is, and new topics."""

    def __init__(self, brokers: str, producer: Any, *, real: bool = True) -> None:
        self.brokers = brokers
        self.producer = producer
        self.real = real

    def topic(self, partitions: int = 4) -> Topic:
        """A new topic; one of the mock cluster has four partitions, and is made when it is written to."""
        topic = Topic(self.brokers, self.producer, partitions)
        if not self.real:
            return topic
        admin = AdminClient({"bootstrap.servers": self.brokers})
        admin.create_topics([NewTopic(topic.name, partitions, 1)])[topic.name].result(10)
        return topic


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """The mock cluster that librdkafka brings along: topics have four partitions and appear when written to."""
    producer = kafka.Producer(
        {
            "test.mock.num.brokers": 1,
            "bootstrap.servers": "mock",
            "log_level": 0,
            "message.max.bytes": 4 << 20,
        }
    )
    brokers = ",".join(f"{one.host}:{one.port}" for one in producer.list_topics(timeout=10).brokers.values())
    yield Cluster(brokers, producer, real=False)
    del producer
    gc.collect()


@pytest.fixture
def topic(cluster: Cluster) -> Topic:
    """A new topic of the mock cluster."""
    return cluster.topic()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A real broker that this test may kill."""
    if binary() is None:
        pytest.skip("no broker to start: pip install noida-db")
    started = Broker(tmp_path_factory.mktemp("broker"))
    yield started
    started.kill()


@pytest.fixture(scope="module")
def real(request: pytest.FixtureRequest) -> Cluster:
    """A real cluster: $AMISS_TEST_KAFKA (HOST:PORT), else a broker of our own."""
    brokers = os.environ.get("AMISS_TEST_KAFKA") or request.getfixturevalue("broker").address
    return Cluster(brokers, kafka.Producer({"bootstrap.servers": brokers, "log_level": 0}))


@pytest.fixture(scope="module")
def grouped(request: pytest.FixtureRequest) -> Cluster:
    """Where groups are tested: a real cluster where there is one, else the mock cluster, which takes its time."""
    has_real = os.environ.get("AMISS_TEST_KAFKA") or binary()
    found: Cluster = request.getfixturevalue("real" if has_real else "cluster")
    return found


Frames = list[tuple[pl.DataFrame, Cursor]]


def followed(source: KafkaSource, after: Cursor | None = None, *, batch: int = 10) -> Frames:
    """All frames of what is there: full ones, and the rest, however slowly it comes in."""
    stop = threading.Event()
    return list(source.follow(Coding(), after, batch=batch, every=LATE, stop=stop, until_eof=True))


def those(frames: Iterator[tuple[pl.DataFrame, Cursor]], count: int) -> Frames:
    """The next frames, up to the one with the last of so many events; waits a minute for them."""
    found: Frames = []
    deadline = time.monotonic() + LATE.total_seconds()
    while sum(len(frame) for frame, _ in found) < count and time.monotonic() < deadline:
        found.append(next(frames))
    return found


def positions(frames: Frames) -> list[int]:
    """The positions of all events, in order."""
    return [position for frame, _ in frames for position in frame["position"].to_list()]


# --- reading what is there


def test_reading_resumes_at_every_cursor_and_codes_the_same_rows(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind each cursor come the rows that are left, from four partitions in one order."""
    monkeypatch.setattr("amiss.sources.kafka._FRAME_MESSAGES", 700)
    topic.fill(3000)
    check_source(topic.source)


def test_messages_come_in_the_order_they_were_produced(topic: Topic) -> None:
    """Partitions are merged by the time of production, so history comes as it would have come in live."""
    topic.fill(400)
    frame = pl.concat([frame for frame, _ in topic.source().read()])
    assert frame["time"].is_sorted()
    assert len(frame) == 400


def test_positions_tell_partition_and_offset(topic: Topic) -> None:
    """A position is the partition above 44 bits of offset, counted from 1."""
    topic.fill(5)
    frame, _ = next(topic.source().read())
    assert frame["position"].to_list() == [1, (1 << 44) + 1, (2 << 44) + 1, (3 << 44) + 1, 2]


def test_several_topics_are_numbered_in_the_order_of_the_address(cluster: Cluster) -> None:
    """Two topics do not share positions."""
    one, two = cluster.topic(), cluster.topic()
    one.put(event(0), timestamp=5)
    two.put(event(1), timestamp=6)
    two.sent()
    source = KafkaSource(f"kafka://{cluster.brokers}/{one.name},{two.name}?group=")
    frame, cursor = next(source.read())
    assert frame["position"].to_list() == [1, (1 << 56) + 1]
    assert json.loads(cursor.token)["offsets"][two.name]["0"] == 1


def test_the_compiled_passes_give_what_the_general_way_gives(topic: Topic) -> None:
    """Nested, odd and broken values among many regular ones: the same rows and reasons both ways."""
    for number in range(2000):
        topic.put(event(number, f"u{number % 50}"))
        if number % 100 == 0:
            topic.put(b'{"time": "2026-01-01T00:00:00Z",\n "user": "pretty",\n "action": "a"}\n')
            topic.put(None)
            topic.put(b'{"user": "e\\u00e9", "time": "2026-01-01", "action": {"a": 1}}')
    topic.sent()
    source = topic.source()
    general = pl.concat([frame for frame, _ in source.read()])
    reasons = dict(source.quarantine.reasons)
    coding = Coding()
    coded = pl.concat([frame for frame, _ in source.read_coded(coding)])
    assert coded.schema == CODED_SCHEMA
    assert coding.users.decode(coded["user"]).to_list() == general["user"].to_list()
    assert coding.actions.decode(coded["action"]).to_list() == general["action"].to_list()
    assert coded["position"].equals(general["position"])
    assert reasons == source.quarantine.reasons == {"no value (a tombstone)": 20}
    assert general["user"].to_list().count("pretty") == 20


POISON: list[tuple[bytes | None, str]] = [
    (None, "no value (a tombstone)"),
    (b"", "empty value"),
    (b" \r\n ", "empty value"),
    (b"{oops", "not JSON"),
    (b"[1, 2]", "not a JSON object"),
    (b"{}\n{}", "more than one JSON object on a line"),
    (b'{"time": "2026-01-01", "user": "a\nb", "action": "x"}', "not JSON"),
    (b"\xff\xfe", "not UTF-8"),
    (b"\0\0\0\0\1{}", "NUL byte"),
    (b'{"time": "never", "user": "ann", "action": "x"}', 'column "time" holds no time'),
    (b'{"time": "2026-01-01", "user": null, "action": "x"}', 'column "user" names no user'),
    (b"[" * 2000, "not a JSON object"),
    (b'{"a": "' + b"x" * (1 << 20) + b'"}', "line longer than 1 MiB"),
]


@pytest.mark.parametrize("regular", [10, 1000], ids=["few", "many"])
def test_poison_is_quarantined_with_topic_partition_offset_and_reason(topic: Topic, regular: int) -> None:
    """No value stops the reading or disappears, whether few or many messages come at once."""
    for number in range(regular):
        topic.put(event(number), timestamp=1)
    for value, _ in POISON:
        topic.put(value, timestamp=2)
    topic.put(event(regular), timestamp=3)
    topic.sent()
    source = topic.source()
    frames = followed(source, batch=10_000)
    assert sum(len(frame) for frame, _ in frames) == regular + 1
    found = [(bad.file, bad.position, bad.reason) for bad in source.quarantine.samples]
    name = f"{topic.name}[0]"
    assert found == [(name, regular + place, reason) for place, (_, reason) in enumerate(POISON)]


def test_strict_makes_the_first_bad_message_an_error(topic: Topic) -> None:
    """The error names topic, partition and offset."""
    topic.put(event(0))
    topic.put(b"{oops")
    topic.sent()
    with pytest.raises(EventError, match=rf"{topic.name}\[0\]:1: not JSON: {{oops"):
        list(topic.source(strict=True).read())


def test_the_time_of_the_message_is_taken_where_the_value_has_none(topic: Topic) -> None:
    """`_timestamp` plays the time, and `fields` says so."""
    topic.put(b'{"user": "ann", "action": "login"}', timestamp=1_700_000_000_000)
    topic.sent()
    source = topic.source()
    frame, _ = next(source.read())
    assert source.fields.roles["time"].column == "_timestamp"
    assert frame["time"].to_list() == [datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)]


def test_key_and_headers_can_be_pinned(topic: Topic) -> None:
    """`_key` and `_header.NAME` are columns like the fields of the value."""
    topic.put(b'{"time": "2026-01-01T00:00:00Z"}', key=b"ann", headers={"kind": b"login"})
    topic.sent()
    source = topic.source(fields=FieldChoice(user="_key", action="_header.kind"))
    assert [row[2:4] for frame, _ in source.read() for row in frame.rows()] == [("ann", "login")]
    assert len(followed(source)[0][0]) == 1


def test_nothing_readable_at_all_is_an_error_that_says_why(topic: Topic) -> None:
    """The first reasons are shown."""
    topic.put(b"oops")
    topic.sent()
    with pytest.raises(EventError, match=r"no message could be read as an event.\n  .*\[0\]:0: not JSON"):
        list(topic.source().read())


# --- following


def test_frames_are_full_while_there_is_more(topic: Topic) -> None:
    """Exactly `batch` events a frame, bad ones between not counted; the rest at the end."""
    for number in range(25):
        topic.put(event(number))
        topic.put(b"bad")
    topic.sent()
    source = topic.source()
    assert [len(frame) for frame, _ in followed(source)] == [10, 10, 5]
    assert source.quarantine.reasons == {"not JSON": 25}


def test_following_resumes_at_every_cursor(topic: Topic) -> None:
    """A new process goes on right behind the frame, and counts what was bad once."""
    topic.fill(100)
    topic.put(b"bad", 1)
    topic.sent()
    frames = followed(topic.source(), batch=7)
    everything = positions(frames)
    assert len(set(everything)) == 100
    for number, (_, cursor) in enumerate(frames, start=1):
        source = topic.source()
        assert sorted(positions(followed(source, cursor, batch=7))) == sorted(positions(frames[number:]))


def test_idle_following_gives_an_empty_frame_each_time(topic: Topic) -> None:
    """Where nothing comes in, the engine still gets its turn."""
    topic.fill(3)
    stop = threading.Event()
    frames = topic.source().follow(Coding(), batch=10, every=SOON, stop=stop)
    assert len(positions(those(frames, 3))) == 3
    assert [len(next(frames)[0]) for _ in range(3)] == [0, 0, 0]
    topic.fill(2, first=3)
    assert len(positions(those(frames, 2))) == 2
    stop.set()
    begun = time.monotonic()
    assert list(frames) == []
    assert time.monotonic() - begun < 0.5


def test_stopping_gives_what_is_complete(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came in before the stop is not left behind, and the hour is not waited for."""
    topic.fill(3)
    stop, complete, release = threading.Event(), set[tuple[int, int]](), Arrivals.release

    def released(arrivals: Arrivals, now: float) -> None:
        release(arrivals, now)
        complete.update((partition, offset) for _, partition, offset, _ in arrivals.ready)
        if len(complete) == 3:
            stop.set()

    source = topic.source()
    source.settle(stop)
    monkeypatch.setattr(Arrivals, "release", released)
    begun = time.monotonic()
    hour = timedelta(hours=1)
    frames = list(source.follow(Coding(), batch=10, every=hour, stop=stop))
    assert [len(frame) for frame, _ in frames] == [3]
    assert time.monotonic() - begun < 60


def test_fields_of_an_empty_topic_are_settled_by_the_first_messages(topic: Topic) -> None:
    """Following may begin before anything was written; poison before the first object is no obstacle."""
    topic.put(b"first of all")
    topic.sent()
    source = topic.source()
    with pytest.raises(SourceError, match="holds no JSON object yet"):
        _ = source.fields
    stop = threading.Event()
    frames = source.follow(Coding(), batch=10, every=SOON, stop=stop)
    assert len(next(frames)[0]) == 0
    topic.fill(4)
    assert len(positions(those(frames, 4))) == 4
    assert source.fields.roles["user"].column == "user"
    assert source.quarantine.reasons == {"not JSON": 1}


def test_start_latest_skips_what_is_there_and_is_kept_by_the_cursor(topic: Topic) -> None:
    """The place is in the cursor before anything came in, so nothing between two runs is lost."""
    topic.fill(8)
    stop = threading.Event()
    source = topic.source("group=&start=latest")
    frames = source.follow(Coding(), batch=10, every=SOON, stop=stop)
    frame, cursor = next(frames)
    frames.close()
    offsets = json.loads(cursor.token)["offsets"]
    assert (len(frame), offsets) == (0, {topic.name: {"0": 2, "1": 2, "2": 2, "3": 2}})
    topic.fill(4, first=8)
    assert len(positions(followed(topic.source("group=&start=latest"), cursor))) == 4


def test_messages_deleted_before_they_were_read_are_counted(topic: Topic) -> None:
    """The broker kept only the newest: how many are missing stands in the quarantine."""
    topic.put(event(0))
    topic.sent()
    source = topic.source()
    cursor = followed(source)[-1][1]
    for number in range(1, 9):
        topic.put(event(number, "u" * 900_000))
    topic.sent()
    with closing(kafka.Consumer({"bootstrap.servers": topic.brokers, "group.id": "look", "log_level": 0})) as look:
        low, high = look.get_watermark_offsets(kafka.TopicPartition(topic.name, 0), timeout=10)
    assert low > 1
    left = positions(followed(source, cursor))
    assert len(left) == high - low
    assert source.quarantine.reasons == {"deleted by the broker before it was read": low - 1}


def test_a_partition_far_ahead_waits_for_the_others(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than may wait is there of each partition: fetching pauses, and the order is still that of production."""
    monkeypatch.setattr("amiss.sources.brokers.MOST_WAITING", 500)
    for number in range(4000):
        topic.put(event(4000 + number), 0, timestamp=5000 + number)
        topic.put(event(number), 1, timestamp=1 + number)
    topic.sent()
    frames = followed(topic.source(), batch=1000)
    assert pl.concat([frame["time"] for frame, _ in frames]).is_sorted()
    assert len(set(positions(frames))) == 8000


def test_a_silent_partition_holds_the_others_up_only_for_a_while() -> None:
    """After the patience is over, what came in of the others goes on."""
    one, silent = Partition("t", 0, 0), Partition("t", 1, 1)
    arrivals = Arrivals([one, silent], patience=2.0)
    one.add(kafka.Message(value=b"{}", timestamp=(1, 5)), 0)
    arrivals.release(1.9)
    assert arrivals.ready == []
    arrivals.release(2.1)
    assert len(arrivals.ready) == 1


def test_the_cursor_keeps_what_plays_which_role(topic: Topic) -> None:
    """Other fields in the first messages that the broker still has change nothing for a reading that goes on."""
    topic.put(b'{"time": "2026-01-01T00:00:00Z", "who": "ann", "action": "a"}')
    topic.sent()
    token = json.loads(followed(topic.source())[-1][1].token)
    other = Topic(topic.brokers, topic._producer)
    other.put(b'{"time": "2026-01-01T00:00:00Z", "user": "web", "who": "ann", "event": "b", "action": "a"}')
    other.sent()
    coding = Coding()
    cursor = Cursor(json.dumps(token | {"offsets": {other.name: {"0": 0}}}))
    stop = threading.Event()
    for _ in other.source().follow(coding, cursor, batch=9, every=SOON, stop=stop, until_eof=True):
        pass
    assert coding.users.texts().to_list() == ["ann"]


# --- the group


@pytest.mark.slow
def test_acknowledged_offsets_are_shown_by_kafka_but_do_not_steer(grouped: Cluster) -> None:
    """The group's offsets are written for others to see; our own cursor says where to go on."""
    topic = grouped.topic()
    topic.fill(8)
    source = topic.source("group=seen")
    stop = threading.Event()
    frames = source.follow(Coding(), batch=4, every=SOON, stop=stop)
    cursors: list[Cursor] = []
    while len(cursors) < 2:
        frame, cursor = next(frames)
        cursors += [cursor] * bool(len(frame))
    source.acknowledge(cursors[-1])
    frames.close()
    source.acknowledge(cursors[0])
    with closing(kafka.Consumer({"bootstrap.servers": topic.brokers, "group.id": "seen", "log_level": 0})) as look:
        places = look.committed([kafka.TopicPartition(topic.name, index) for index in range(4)], timeout=10)
    assert [place.offset for place in places] == [2, 2, 2, 2]
    assert len(positions(followed(topic.source("group=seen"), cursors[0]))) == 4
    assert positions(followed(topic.source("group=seen"))) == []


class Member(threading.Thread):
    """A member of a group that follows until it is stopped."""

    def __init__(self, source: KafkaSource) -> None:
        super().__init__(daemon=True)
        self.source = source
        self.stop = threading.Event()
        self.frames: Frames = []
        self.failure: Exception | None = None
        self.start()

    def run(self) -> None:
        """Follow, acknowledging each frame."""
        try:
            for pair in self.source.follow(Coding(), batch=50, every=SOON, stop=self.stop):
                self.frames.append(pair)
                self.source.acknowledge(pair[1])
        except Exception as error:  # noqa: BLE001  told by the test
            self.failure = error

    def ended(self) -> list[int]:
        """Stop, and give the positions of all events that were given."""
        self.stop.set()
        self.join(20)
        assert self.failure is None
        return positions(self.frames)


@pytest.mark.slow
def test_members_of_a_group_share_partitions_and_lose_nothing(grouped: Cluster) -> None:
    """A second member takes partitions over, leaves, and they come back; each event is given, by no member twice."""
    topic = grouped.topic()
    topic.fill(400)
    first = Member(topic.source("group=two"))
    until(lambda: len(positions(first.frames)) == 400)
    second = Member(topic.source("group=two"))
    sent = 400
    while not positions(second.frames):
        topic.fill(40, sent)
        sent += 40
        time.sleep(0.2)
    topic.fill(400, sent)
    sent += 400
    until(lambda: len({*positions(first.frames), *positions(second.frames)}) == sent)
    taken_over = second.ended()
    topic.fill(400, sent)
    sent += 400
    until(lambda: len({*positions(first.frames), *positions(second.frames)}) == sent)
    given = first.ended()
    assert len(set(taken_over)) == len(taken_over)
    assert len(set(given)) == len(given)


# --- a real broker


def test_a_real_broker_is_read_and_followed_from_every_cursor(real: Cluster) -> None:
    """Reading and following resume, here with a group of the broker's."""
    topic = real.topic(3)
    topic.fill(1000)
    check_source(topic.source)
    frames = followed(topic.source("group=g"), batch=400)
    assert [len(frame) for frame, _ in frames if len(frame)] == [400, 400, 200]
    assert sorted(positions(followed(topic.source("group=h"), frames[0][1], batch=400))) == sorted(
        positions(frames[1:])
    )


def test_following_goes_on_after_the_broker_was_killed(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """The loss is said once; once the broker is back everything comes, nothing twice."""
    producer = kafka.Producer({"bootstrap.servers": broker.address, "log_level": 0})
    topic = Cluster(broker.address, producer).topic(3)
    member = Member(topic.source("group=k"))
    topic.fill(300)
    until(lambda: len(positions(member.frames)) == 300)
    time.sleep(1.5)  # the broker writes to its disk once a second
    broker.kill()
    until(lambda: "brokers are down" in member.source.trouble)
    time.sleep(1.0)
    broker.start()
    topic.fill(300, first=300)
    until(lambda: len(positions(member.frames)) >= 600)
    assert member.source.trouble == ""
    given = member.ended()
    assert len(set(given)) == len(given) == 600
    assert caplog.text.count("brokers are down") == 1
    assert caplog.text.count("reading again") == 1


def test_following_ends_soon_while_the_broker_is_away(broker: Broker) -> None:
    """Nobody waits for an answer that will not come."""
    topic = Cluster(broker.address, kafka.Producer({"bootstrap.servers": broker.address, "log_level": 0})).topic(3)
    topic.fill(10)
    member = Member(topic.source("group="))
    until(lambda: len(positions(member.frames)) == 10)
    broker.kill()
    until(lambda: "brokers are down" in member.source.trouble)
    begun = time.monotonic()
    member.ended()
    assert time.monotonic() - begun < 2
    broker.start()


# --- what goes wrong


def test_an_unknown_topic_is_an_error_that_offers_near_names(topic: Topic) -> None:
    """The message says what to do."""
    topic.fill(1)
    with pytest.raises(SourceError, match=rf'Unknown topic or partition. Did you mean "{topic.name}"\? Check the name'):
        KafkaSource(f"kafka://{topic.brokers}/{topic.name}x?group=")


def test_no_broker_is_an_error_that_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says where nobody answered, and that trying again may help."""
    monkeypatch.setattr("amiss.sources.brokers.ANSWER_SECONDS", 0.5)
    with pytest.raises(SourceError, match=r"kafka://127.0.0.1:1: .*Is a broker running there") as caught:
        KafkaSource("kafka://127.0.0.1:1/t")
    assert caught.value.retry_after == 10


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("kafka://ann:secret@h:9092/t", "holds no name or password"),
        ("kafka://h:9092", "names no topic"),
        ("kafka:///t", "names no broker"),
        ("kafka://h:9092/t?grup=a", 'no option "grup". Did you mean "group"?'),
        ("kafka://h:9092/t?password=secret", 'no option "password"'),
        ("kafka://h:9092/t?start=now", 'start is "earliest" or "latest", not "now"'),
    ],
)
def test_an_address_that_is_wrong_is_an_error_without_the_password(url: str, says: str) -> None:
    """What is wrong is named; what may be secret is not repeated."""
    with pytest.raises(SourceError) as caught:
        parse_address(url)
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


def test_name_and_password_come_from_the_environment() -> None:
    """With a name the connection is encrypted, unless the address says otherwise."""
    given = {"AMISS_KAFKA_USERNAME": "ann", "AMISS_KAFKA_PASSWORD": "secret", "AMISS_KAFKA_FETCH_MIN_BYTES": "9"}
    found = settings(parse_address("kafka://h:9092/t"), given)
    assert [found[name] for name in ("sasl.username", "sasl.password", "security.protocol", "fetch.min.bytes")] == [
        "ann", "secret", "sasl_ssl", "9",
    ]  # fmt: skip
    plain = settings(parse_address("kafka://h:9092/t?security=sasl_plaintext&mechanism=SCRAM-SHA-256"), given)
    assert (plain["security.protocol"], plain["sasl.mechanism"]) == ("sasl_plaintext", "SCRAM-SHA-256")


def test_the_environment_cannot_set_what_the_source_relies_on() -> None:
    """Committing by itself would lose events."""
    with pytest.raises(SourceError, match="Unset AMISS_KAFKA_ENABLE_AUTO_COMMIT"):
        settings(parse_address("kafka://h:9092/t"), {"AMISS_KAFKA_ENABLE_AUTO_COMMIT": "true"})


def test_a_setting_that_librdkafka_does_not_know_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names it, and holds no password."""
    monkeypatch.setenv("AMISS_KAFKA_NO_SUCH", "1")
    with pytest.raises(SourceError, match=r'No such configuration property: "no.such"'):
        KafkaSource("kafka://h:9092/t")


def test_a_cursor_of_another_source_is_an_error(topic: Topic) -> None:
    """The beginning of what was given is shown."""
    topic.fill(1)
    with pytest.raises(SourceError, match="this is no cursor of a Kafka source"):
        followed(topic.source(), Cursor('{"file":0,"offset":[]}'))


def test_a_missing_client_is_said_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka is an optional part."""
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(MissingExtraError, match=r'pip install "amiss\[kafka\]"'):
        KafkaSource("kafka://h:9092/t")
