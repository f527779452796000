"""Events that alert by rule, and users whose absence is odd: the same in scans and streams, whatever the batches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tests import watching

from amiss.baseline import COUNT_SCHEMA, Past
from amiss.cli import main
from amiss.decide import Budget
from amiss.detect import Forgetful, Names, Plain, Reason, Scores
from amiss.engine import Scan
from amiss.events import EVENT_SCHEMA, OUTCOMES
from amiss.live import Live
from amiss.result import scan
from amiss.sessions import Events
from amiss.terminal import print_story
from amiss.testing import ListSource
from amiss.vocabulary import Coding, Vocabulary

FORBIDDEN = 1
"""The outcome that nobody may have."""

rows = st.lists(st.tuples(*(st.integers(0, top) for top in (5, 86_399, 6, 3, 2))), min_size=1, max_size=60).map(sorted)


@dataclass(frozen=True)
class Rota(Plain):
    """Did anybody do what is forbidden, or miss a day after two in a row? A bit of evidence for each event besides."""

    name: ClassVar[str] = "rota"
    counts: ClassVar[str] = "rota"
    count_schema: ClassVar[dict[str, pl.DataType]] = COUNT_SCHEMA
    state_schema: ClassVar[dict[str, pl.DataType]] = Forgetful.SCHEMA

    def summarise(self, events: Events) -> pl.DataFrame:
        """The events of each user and day."""
        day = events.time // 86_400_000_000
        seen = pl.DataFrame({"user": events.user, "given": day}).group_by("user", "given").len("count")
        whole = seen.sort("user", "given").with_columns(feature=pl.lit(0), value=pl.lit(0))
        return whole.select(pl.col(name).cast(dtype) for name, dtype in COUNT_SCHEMA.items())

    def baseline(self, past: Past, *, leave_out: bool = False) -> set[tuple[int, int]]:  # noqa: ARG002 - of the protocol
        """Who was there on which day."""
        return set(past.by_user().select("user", "given").iter_rows())

    def memory(self, state: pl.DataFrame | None = None) -> Forgetful:  # noqa: ARG002 - nothing is remembered
        """Nothing."""
        return Forgetful()

    def score(self, events: Events, baseline: object, memory: Any = None) -> Scores:  # noqa: ARG002 - of the protocol
        """Nothing but facts."""
        nothing = Scores.nothing(len(events))
        return nothing._replace(facts=events.state % len(OUTCOMES) == FORBIDDEN)

    def absent(self, baseline: set[tuple[int, int]], day: date, present: Any) -> tuple[Any, Any]:
        """Those who were there on both days before."""
        number = (day - date(1970, 1, 1)).days
        last, before = ({user for user, then in baseline if then == number - days} for days in (1, 2))
        users = np.array(sorted((last & before) - set(present.tolist())), np.uint32)
        return users, np.full(len(users), 9.0)

    def explain_absent(self, baseline: object, day: date, users: Any, names: Names) -> dict[int, list[Reason]]:  # noqa: ARG002 - of the protocol
        """The day."""
        return {user: [Reason(self.name, 9.0, f"did nothing on {day}", 0, 0, 0, 0)] for user in users.tolist()}

    def explain(self, events: Events, baseline: object, names: Names) -> dict[int, list[Reason]]:  # noqa: ARG002 - of the protocol
        """What is forbidden."""
        did = set(events.user[events.state % len(OUTCOMES) == FORBIDDEN].tolist())
        return {user: [Reason(self.name, 0.0, "did what is forbidden", 1, 1, 0, 0)] for user in did}


def stream(**more: Any) -> Live:
    """A stream judged by the rota."""
    nine = [str(code) for code in range(9)]
    return Live([Rota()], Coding(Vocabulary(nine), Vocabulary(nine)), budget=Budget(1.0), **more)


def source(frame: pl.DataFrame) -> ListSource:
    """Coded events as a log in which texts are their codes."""
    texts = frame.with_columns(
        pl.col("user", "action").cast(pl.String), outcome=pl.lit(pl.Series(OUTCOMES)).gather(pl.col("outcome"))
    )
    return ListSource(texts.select(pl.col(name).cast(kind) for name, kind in EVENT_SCHEMA.items()))


def log(*days: list[tuple[int, int]]) -> pl.DataFrame:
    """A coded log: by day, the user and outcome of each minute."""
    return watching.coded_rows(
        (day, 60 * minute, user, 0, outcome)
        for day, did in enumerate(days)
        for minute, (user, outcome) in enumerate(did)
    )


BOTH = [(0, 0), (1, 0)]


def test_what_is_forbidden_alerts_once_a_day_however_high_the_threshold():
    """One notice for each user and day, of level 0, with its reason; on the first day everything is learned."""
    frame = log([(1, FORBIDDEN), *BOTH], [*BOTH, (1, FORBIDDEN), (1, FORBIDDEN)], [*BOTH, (0, FORBIDDEN)])
    told = watching.judged(stream(), [frame]).alerts
    assert [(each["user"], each["period"], each["bits"], each["alert_id"][-2:]) for each in told] == [
        ("1", "2026-01-06", 0.0, "-0"),
        ("0", "2026-01-07", 0.0, "-0"),
    ]
    assert [each["reasons"][0]["text"] for each in told] == ["did what is forbidden"] * 2
    assert [each["events"] for each in told] == [2, 2]
    assert {(each["severity"], each["chance"]) for each in told} == {("low", "by rule, however likely by chance")}
    users = scan([source(frame)], detectors=[Rota()]).users
    assert users.filter("alert").select("user", "severity").rows() == [("1", "low"), ("0", "low")]


def test_a_user_who_is_missed_is_told_of_when_the_day_is_over():
    """The notice has no events, the time at which the day ended, and says why; nobody is missed on an open day."""
    frame = log(BOTH, BOTH, [(0, 0)], [(0, 0)])
    told = watching.judged(stream(), [frame]).alerts
    assert [(each["user"], each["time"], each["events"], round(each["bits"], 2)) for each in told] == [
        ("1", "2026-01-08T00:00:00+00:00", 0, 8.0)
    ]
    assert told[0]["reasons"][0]["text"] == "did nothing on 2026-01-07"
    assert watching.judged(stream(), [frame[:5]]).alerts == []


@settings(max_examples=25)
@given(rows, st.lists(st.integers(1, 60), max_size=4), st.lists(st.booleans(), max_size=5), st.sampled_from([0, 12]))
def test_batches_and_restarts_change_neither(events, places, reload, hours):
    """Facts and absences are told of alike in any batches, and behind restarts."""
    frame = watching.coded_rows(events)
    lateness = watching.timedelta(hours=hours)
    edges = sorted({0, *(place for place in places if place < len(frame)), len(frame)})
    parts = [frame[low:high] for low, high in pairwise(edges)]
    whole = watching.judged(stream(lateness=lateness), [frame])
    watching.same(watching.judged(stream(lateness=lateness), parts, reload=reload), whole)


@settings(max_examples=25)
@given(rows)
def test_a_scan_says_the_same_of_whole_days(events):
    """Who is alerted on each day but the first is the same in a scan and a stream, absences and facts included."""
    frame = watching.coded_rows(events)
    live = stream()
    taken = live.take(frame)
    judged = Scan([Rota()], budget=Budget(1.0))
    judged.run([source(frame)], [], lambda _: None)
    periods = [*(closed.period for closed in taken.closed), live.current]
    for period, day in zip(periods[1:], judged.days[1:], strict=True):
        assert period is not None
        assert period.threshold == day.threshold
        names = judged.coding.users.decode(day.standings["user"])
        told = day.standings.with_columns(user=names.cast(pl.UInt32)).sort("user")
        assert period.standing.frame()["peak"].to_list() == told["peak"].to_list()
        assert set(period.alarms) == set(told.filter("alert")["user"])


def test_facts_do_not_raise_the_threshold_of_others():
    """What an alert takes owes nothing to users of whom an event alerts by rule."""
    frame = log(*[[*BOTH, (1, FORBIDDEN)]] * 6)
    live = stream()
    taken = live.take(frame)
    assert [closed.figures.users for closed in taken.closed[1:]] == [1] * 4
    assert live.current is not None
    assert live.current.threshold.bits == live.current.threshold.by_chance


def test_who_is_missed_is_ranked_and_explained(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """A scan names the user with the reason; their story is empty, in the terminal and the report too."""
    result = scan([source(log(BOTH, BOTH, [(0, 0)], [(0, 0)]))], detectors=[Rota()])
    first = result.users.row(0, named=True)
    assert (first["user"], first["period"], first["alert"], first["events"]) == ("1", date(2026, 1, 7), True, 2)
    assert first["reasons"][0]["text"] == "did nothing on 2026-01-07"
    assert result.story("1").is_empty()
    print_story(result, "1", Console(width=80))
    assert "no event on that day" in capsys.readouterr().out
    result.report(tmp_path / "report.html")
    assert "did nothing on 2026-01-07" in (tmp_path / "report.html").read_text()


def test_who_never_came_in_the_judged_log_has_no_times():
    """A user known from earlier logs alone may be missed; the record says null for times."""
    past, now = log(BOTH, BOTH), log([(0, 0)], [(0, 0)])
    shifted = now.with_columns(pl.col("time") + watching.timedelta(days=2))
    result = scan([source(shifted)], learn=[source(past)], detectors=[Rota()])
    assert [(row["user"], row["first_time"]) for row in result.records(1)] == [("1", None)]


def test_days_without_anybody_are_told_of_the_log_and_of_no_user(tmp_path: Path):
    """Where the whole source is silent nobody is missed; the gap stands among the figures."""
    frame = log(BOTH, BOTH, BOTH)
    late = frame.with_columns(
        time=pl.when(pl.col("position") > 4).then(pl.col("time").dt.offset_by("4d")).otherwise("time")
    )
    result = scan([source(late)], detectors=[Rota()])
    assert result.summary.gaps == ((date(2026, 1, 7), date(2026, 1, 10)),)
    assert result.summary.alerts == 0
    result.report(tmp_path / "report.html")
    assert "no event of anybody on 4 days: 2026-01-07 to 2026-01-10" in (tmp_path / "report.html").read_text()


def test_a_watch_says_when_its_source_was_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    """A warning names the days around the gap."""
    monkeypatch.chdir(tmp_path)
    rows = [f'{{"time": "2026-01-{day:02}T09:00:00Z", "user": "ann", "action": "login"}}\n' for day in (5, 6, 9)]
    Path("log.jsonl").write_text("".join(rows))
    with pytest.raises(SystemExit):
        main(["watch", "log.jsonl", "--state", "s.db", "--until-eof"])
    assert "the source gave no event on 2 days; nobody is judged by that" in capsys.readouterr().err


def test_nobody_need_be_explained():
    """With a top of no users the ranking is whole, without reasons."""
    result = scan([source(log(BOTH, BOTH, [(0, 0)], [(0, 0)]))], detectors=[Rota()], top=0)
    assert [len(reasons) for reasons in result.users["reasons"]] == [0, 0]
