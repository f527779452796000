"""Whatever sinks do, each alert arrives at least once, in order, or is dead with the error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

import pytest

from amiss.alerts import Alert
from amiss.errors import SinkError, StateError, UsageError
from amiss.outbox import MOST_AT_ONCE, Courier, Delivery, deliver, wait
from amiss.sinks.digest import Digest
from amiss.store import Store, Story

NOW = datetime(2026, 3, 2, 3, 0, tzinfo=UTC)
ALERT = Alert(
    alert_id="a0",
    story="s1",
    time=NOW,
    user="u1042",
    bits=18.7,
    severity="high",
    detectors={"habit": 18.7},
    reasons=[],
    period=date(2026, 3, 2),
    events=12,
    chance="by chance at most once in 14 months",
    risk=71,
)


def alerts(count: int, first: int = 0) -> list[Alert]:
    """Alerts with ids a0, a1 ..."""
    return [replace(ALERT, alert_id=f"a{number}") for number in range(first, first + count)]


@dataclass
class Row:
    """An alert on its way to one sink."""

    alert: Alert
    due: datetime
    tries: int = 0
    state: str = "pending"
    error: str | None = None


@dataclass
class Memory:
    """An outbox in memory, for one sink after another."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def put(self, sink: str, some: Sequence[Alert], now: datetime = NOW) -> None:
        """Add alerts."""
        with self.lock:
            self.rows.setdefault(sink, []).extend(Row(alert, now) for alert in some)

    def due(self, sink, now, *, limit=1000):
        """Those that wait."""
        with self.lock:
            rows = [row for row in self.rows.get(sink, []) if row.state == "pending" and row.due <= now]
            return [(row.alert.record(), row.tries) for row in rows[:limit]]

    def delivered(self, sink, alert_ids, now):
        """Those have arrived."""
        self._change(sink, alert_ids, state="delivered", error=None, due=now)

    def failed(self, sink, alert_ids, error, next_try):
        """Those have not."""
        self._change(sink, alert_ids, error=error, due=next_try)

    def dead(self, sink, alert_ids, error):
        """Those are given up."""
        self._change(sink, alert_ids, state="dead", error=error)

    def states(self, sink: str = "list:") -> dict[str, str]:
        """What became of each."""
        return {row.alert.alert_id: row.state for row in self.rows[sink]}

    def _change(self, sink, alert_ids, **changes) -> None:
        with self.lock:
            for row in self.rows[sink]:
                if row.alert.alert_id in alert_ids:
                    row.tries += 1
                    for name, value in changes.items():
                        setattr(row, name, value)


@dataclass
class ListSink:
    """A sink that keeps what it gets, and fails as told: an error for each call, the last for ever."""

    url: str = "list:"
    errors: list[Exception | None] = field(default_factory=lambda: [None])
    refuses: str | None = None
    delay_seconds: float = 0.0
    got: list[list[str]] = field(default_factory=list)
    closed: int = 0

    def write(self, some: Sequence[Alert]) -> None:
        """Take alerts, or not."""
        time.sleep(self.delay_seconds)
        error = self.errors.pop(0) if len(self.errors) > 1 else self.errors[0]
        ids = [alert.alert_id for alert in some]
        if self.refuses in ids:
            error = SinkError("list: refuses", permanent=True)
        if error is not None:
            raise error
        self.got.append(ids)

    def check(self) -> str:
        """That it is there."""
        return "list: is there"

    def close(self) -> None:
        """Count."""
        self.closed += 1


@pytest.fixture
def outbox() -> Memory:
    """An outbox without alerts."""
    return Memory()


def test_what_is_due_is_delivered_in_order(outbox):
    """All alerts go to the sink in one call, in the order they were raised, once."""
    sink = ListSink()
    outbox.put("list:", alerts(3))
    assert deliver(outbox, sink, NOW) == Delivery(delivered=3)
    assert deliver(outbox, sink, NOW) == Delivery()
    assert sink.got == [["a0", "a1", "a2"]]


def test_a_call_gets_only_so_many(outbox):
    """A long queue is delivered in parts, still in order."""
    sink = ListSink()
    outbox.put("list:", alerts(MOST_AT_ONCE + 5))
    while deliver(outbox, sink, NOW).delivered:
        pass
    assert [len(ids) for ids in sink.got] == [MOST_AT_ONCE, 5]


def test_waits_double_up_to_five_minutes(outbox):
    """After each failure the next try is 1, 2, 4 ... seconds later, at most 300."""
    sink = ListSink(errors=[SinkError("list: down")])
    outbox.put("list:", alerts(1))
    now, waits = NOW, []
    for _ in range(11):
        assert deliver(outbox, sink, now).failed == 1
        waits.append((outbox.rows["list:"][0].due - now).seconds)
        now = outbox.rows["list:"][0].due
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_a_receiver_may_ask_for_a_longer_wait_but_not_for_ever(outbox):
    """Retry-After counts when it is longer, and at most a day."""
    assert wait(1, 60).total_seconds() == 60
    assert wait(9, 1).total_seconds() == 256
    assert wait(1, 1e300) == timedelta(days=1)
    sink = ListSink(errors=[SinkError("list: busy", retry_after=90.0)])
    outbox.put("list:", alerts(1))
    deliver(outbox, sink, NOW)
    assert outbox.rows["list:"][0].due == NOW + timedelta(seconds=90)


def test_later_alerts_do_not_overtake_one_that_waits(outbox):
    """While the first alert waits for its next try, new ones wait behind it."""
    sink = ListSink(errors=[SinkError("list: down"), None])
    outbox.put("list:", alerts(1))
    deliver(outbox, sink, NOW)
    outbox.put("list:", alerts(2, 1))
    assert deliver(outbox, sink, NOW) == Delivery()
    assert deliver(outbox, sink, NOW + timedelta(seconds=1)).delivered == 3
    assert sink.got == [["a0", "a1", "a2"]]


def test_after_the_last_try_an_alert_is_dead_with_its_error(outbox):
    """What was tried so often is given up, and what came later goes on."""
    sink = ListSink(errors=[SinkError("list: down")] * 3 + [None])
    outbox.put("list:", alerts(1))
    assert deliver(outbox, sink, NOW, most_tries=3).failed == 1
    outbox.put("list:", alerts(1, 1))
    assert deliver(outbox, sink, NOW + timedelta(seconds=9), most_tries=3).failed == 2
    last = deliver(outbox, sink, NOW + timedelta(seconds=99), most_tries=3)
    assert last == Delivery(failed=1, dead=1, error="list: down")
    assert outbox.rows["list:"][0].error == "list: down"
    assert deliver(outbox, sink, NOW + timedelta(seconds=999), most_tries=3).delivered == 1
    assert outbox.states() == {"a0": "dead", "a1": "delivered"}


def test_a_final_refusal_is_dead_at_once_and_takes_no_other_along(outbox):
    """Of several alerts only the one that is refused dies."""
    sink = ListSink(refuses="a1")
    outbox.put("list:", alerts(3))
    assert deliver(outbox, sink, NOW) == Delivery(delivered=2, dead=1, error="list: refuses")
    assert outbox.states() == {"a0": "delivered", "a1": "dead", "a2": "delivered"}
    assert sink.got == [["a0"], ["a2"]]


def test_a_sink_with_a_mistake_counts_as_one_that_failed(outbox):
    """Any exception is a failure to try again, told by kind and place, without its text, which may hold secrets."""
    sink = ListSink(errors=[ValueError("https://ann:pa55word@example.com")])
    outbox.put("list:", alerts(1))
    error = deliver(outbox, sink, NOW).error
    assert error.startswith("list:: ValueError at test_outbox.py:")
    assert "pa55word" not in error


def test_an_outbox_that_fails_after_the_sink_took_alerts_gives_them_again(outbox):
    """At least once: what was not written down as delivered comes again, with the same id."""

    class Forgetful(Memory):
        def delivered(self, *_):
            raise StateError("disk full")

    sink, forgetful = ListSink(), Forgetful(outbox.rows)
    outbox.put("list:", alerts(1))
    with pytest.raises(StateError):
        deliver(forgetful, sink, NOW)
    assert deliver(outbox, sink, NOW).delivered == 1
    assert sink.got == [["a0"], ["a0"]]


def test_a_digest_collects_for_its_time_and_comes_as_one(outbox):
    """The first alert begins the digest; what comes until its time is delivered together; then another begins."""
    inner = ListSink()
    sink = Digest(inner, timedelta(hours=1))
    outbox.put("list:", alerts(1))
    for minutes, news in ((0, 1), (30, 1), (59, 1)):
        now = NOW + timedelta(minutes=minutes)
        assert deliver(outbox, sink, now) == Delivery()
        outbox.put("list:", alerts(news, len(outbox.rows["list:"])), now)
    assert deliver(outbox, sink, NOW + timedelta(hours=1)).delivered == 4
    outbox.put("list:", alerts(1, 4))
    assert deliver(outbox, sink, NOW + timedelta(hours=1)) == Delivery()
    assert inner.got == [["a0", "a1", "a2", "a3"]]


def test_the_time_of_a_digest_outlives_a_restart(outbox):
    """When it is due stands in the outbox, not in memory."""
    outbox.put("list:", alerts(1))
    deliver(outbox, Digest(ListSink(), timedelta(hours=1)), NOW)
    again = ListSink()
    assert deliver(outbox, Digest(again, timedelta(hours=1)), NOW + timedelta(minutes=59)) == Delivery()
    assert deliver(outbox, Digest(again, timedelta(hours=1)), NOW + timedelta(minutes=60)).delivered == 1


def test_a_digest_that_fails_is_tried_again_with_what_came_since(outbox):
    """Waits and order are those of any sink."""
    inner = ListSink(errors=[SinkError("list: down"), None])
    sink = Digest(inner, timedelta(hours=1))
    outbox.put("list:", alerts(1))
    deliver(outbox, sink, NOW)
    assert deliver(outbox, sink, NOW + timedelta(hours=1)).failed == 1
    outbox.put("list:", alerts(1, 1))
    assert deliver(outbox, sink, NOW + timedelta(hours=1, seconds=2)).delivered == 2


def test_in_a_hurry_nothing_waits(outbox):
    """Digests, and what failed, are delivered at once."""
    sink = ListSink(errors=[SinkError("list: down"), None])
    outbox.put("list:", alerts(1))
    deliver(outbox, sink, NOW)
    assert deliver(outbox, sink, NOW, hurry=True).delivered == 1
    outbox.put("list:", alerts(1, 1))
    assert deliver(outbox, Digest(sink, timedelta(hours=1)), NOW, hurry=True).delivered == 1


def until(is_so: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether it becomes so within that time."""
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        time.sleep(0.005)
    return is_so()


def test_a_courier_delivers_in_the_background(outbox):
    """Alerts arrive soon after they were raised, without anybody waiting; a flush says that all have."""
    sink = ListSink()
    courier = Courier(lambda: outbox, [sink], every=timedelta(seconds=30))
    courier.start()
    outbox.put("list:", alerts(2))
    courier.wake()
    assert until(lambda: sink.got == [["a0", "a1"]])
    outbox.put("list:", alerts(MOST_AT_ONCE + 1, 2))
    assert courier.flush(timedelta(seconds=5))
    assert sum(map(len, sink.got)) == MOST_AT_ONCE + 3
    courier.stop()
    assert sink.closed == 1


def test_a_sink_that_hangs_or_fails_holds_up_no_other(outbox):
    """Each sink has its own pace; waking and stopping never wait for one."""
    slow = ListSink("slow:", delay_seconds=30.0)
    broken = ListSink("broken:", errors=[SinkError("broken: down")])
    quick = ListSink("quick:")
    for sink in (slow, broken, quick):
        outbox.put(sink.url, alerts(1))
    courier = Courier(lambda: outbox, [slow, broken, quick])
    begin = time.monotonic()
    courier.start()
    courier.wake()
    assert until(lambda: quick.got == [["a0"]] and courier.problems() == {"broken:": "broken: down"})
    assert not courier.flush(timedelta(seconds=0.1))
    courier.stop(timedelta(seconds=0.1))
    assert time.monotonic() - begin < 5


def test_a_problem_is_over_when_the_sink_delivers_again(outbox):
    """What went wrong is told until it goes right."""
    sink = ListSink(errors=[SinkError("list: down"), SinkError("list: down"), None])
    outbox.put("list:", alerts(1))
    courier = Courier(lambda: outbox, [sink], every=timedelta(seconds=0.01), now=iter_clock(seconds=1.0))
    courier.start()
    assert until(lambda: sink.got == [["a0"]] and courier.problems() == {})
    courier.stop()


def iter_clock(seconds: float) -> Callable[[], datetime]:
    """A clock that goes on by so much each time it is read."""
    told = [NOW]

    def read() -> datetime:
        told[0] += timedelta(seconds=seconds)
        return told[0]

    return read


def test_a_clock_that_is_set_back_holds_nothing_up(outbox):
    """When the clock goes back by an hour, what waits is tried at once instead of an hour later."""
    sink = ListSink(errors=[SinkError("list: busy", retry_after=600.0), None])
    clock = [NOW]
    outbox.put("list:", alerts(1))
    courier = Courier(lambda: outbox, [sink], every=timedelta(seconds=0.01), now=lambda: clock[0])
    courier.start()
    assert until(lambda: bool(courier.problems()))
    clock[0] -= timedelta(hours=1)
    assert until(lambda: sink.got == [["a0"]])
    courier.stop()


def test_an_outbox_that_cannot_be_opened_is_a_problem_and_tried_again(outbox):
    """Trouble with the outbox ends no thread."""
    states = [StateError("state.db is locked"), StateError("state.db is locked")]
    sink = ListSink()
    outbox.put("list:", alerts(1))

    def opened() -> Memory:
        if states:
            raise states.pop()
        return outbox

    courier = Courier(opened, [sink], every=timedelta(seconds=0.01))
    courier.start()
    assert until(lambda: sink.got == [["a0"]] and courier.problems() == {})
    courier.stop()


def test_two_sinks_of_one_name_are_refused(outbox):
    """An outbox could not tell them apart."""
    with pytest.raises(UsageError, match="list:: this sink is given twice"):
        Courier(lambda: outbox, [ListSink(), ListSink()])


def test_a_courier_that_never_started_stops(outbox):
    """Stopping is always fine."""
    sink = ListSink()
    Courier(lambda: outbox, [sink]).stop()
    assert sink.got == []


def test_a_state_file_is_an_outbox(tmp_path):
    """The store keeps what waits: a courier with a connection of its own delivers while the stream writes."""
    path = tmp_path / "state.db"
    story = Story("s1", "u1042", ALERT.period, NOW, NOW, 18.7, 18.7, "high", 12, {"habit": 18.7}, [])
    kept, sink = [], ListSink(errors=[SinkError("list: down"), None])
    with Store.open(path) as store:
        store.put_story(story)
        courier = Courier(lambda: Store.open(path, write=False), [sink], every=timedelta(seconds=0.01))
        courier.start()
        for alert in alerts(5):
            store.add_alert(alert, seq=0, sinks=["list:"])
            courier.wake()
        assert courier.flush(timedelta(seconds=5))
        kept = store.outbox("list:")
        courier.stop()
    assert [each for ids in sink.got for each in ids] == ["a0", "a1", "a2", "a3", "a4"]
    assert {row.state for row in kept} == {"delivered"}
