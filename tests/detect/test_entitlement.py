"""The entitlement detector: its slow twin, its laws, what it says, and the way of the log's own columns to it."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import naive_entitlement as naive
from typer.testing import CliRunner

import amiss
from amiss import config
from amiss.baseline import Past
from amiss.breaches import violations
from amiss.cli import app
from amiss.detect import Names, detector, fitting
from amiss.detect.entitlement import CONTEXT_SCHEMA, KINDS, Entitlement, EntitlementBaseline
from amiss.errors import AmissError, ConfigError, EventError, SourceError, UsageError
from amiss.fields import Fields
from amiss.session import Session
from amiss.sessions import Events, boundaries, group
from amiss.sources import open_live_source, open_source
from amiss.testing import ListSource, check_calibration, check_detector
from amiss.vocabulary import Coding

FIRST = date(2026, 1, 5)

SCOPES = {"web": ["java-i", "html", "sql"], "data": ["python", "sql", "java-i/pandas"]}

TABLE = """id,name,start,end,program
1,Ada,2026-01-01,2026-01-06,3
2,Zion,2026-01-07,2026-03-01,2
3,Staff,2014-01-01,2014-01-01,2
4,Open,,,9
5,Twice,2026-01-01,2026-01-05,2
5,Again,2026-01-08,2026-01-09,3
"""

COLUMNS = {"key": "cohort_id=id", "start": "start", "end": "end", "named": "name", "scope": "program"}
RULES = {
    **COLUMNS,
    "programs": {"2": "web", "3": "data"},
    "scopes": SCOPES,
    "shared": ["toc"],
    "exclusive": ["web", "data"],
    "exempt": ["name=Staff"],
}

PERIODS: dict[str, list[naive.Period]] = {
    "1": [(date(2026, 1, 1), date(2026, 1, 6), "data")],
    "2": [(date(2026, 1, 7), date(2026, 3, 1), "web")],
    "4": [(None, None, None)],
}

PATHS = ["java-i/loops", "java-i", "java-ii", "html/forms", "sql", "python/x", "java-i/pandas/y", "toc", "other"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table as a CSV file."""
    file = tmp_path_factory.mktemp("entitlement") / "cohorts.csv"
    file.write_text(TABLE, encoding="utf-8")
    return file


def rules(table: Path, **more: Any) -> Entitlement:
    """The detector by that table."""
    return Entitlement(**{"table": str(table), **RULES, **more})


def coded(
    detector: Entitlement, rows: list[tuple[int, int, str | None, str]], coding: Coding | None = None
) -> pl.DataFrame:
    """A coded frame of (minutes since the first day, user, cohort, path)."""
    start = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC)
    schema = {"position": pl.Int64(), "time": pl.Datetime("us", "UTC"), "user": pl.String(), "action": pl.String()}
    whole = [
        (at, start + timedelta(minutes=minutes), f"u{user}", path, "success", cohort)
        for at, (minutes, user, cohort, path) in enumerate(rows, start=1)
    ]
    frame = pl.DataFrame(whole, schema={**schema, "outcome": pl.String(), "cohort_id": pl.String()}, orient="row")
    return (coding or Coding(contexts=[detector])).encode(frame)


def said(detector: Entitlement, rows: list[tuple[int, int, str | None, str]], past: Past | None = None) -> list[str]:
    """What is said of the users of some events."""
    coding = Coding(contexts=[detector])
    events = group(coded(detector, rows, coding))
    told = detector.explain(events, detector.baseline(past or Past()), Names(coding))
    return [reason.text for reasons in told.values() for reason in reasons]


row = st.tuples(
    st.integers(0, 400),
    st.integers(0, 3),
    st.sampled_from(["1", "2", "3", "4", "5", "77", None]),
    st.sampled_from(PATHS),
)


def in_order(rows: list[tuple[int, int, str | None, str]]) -> list[tuple[int, int, str | None, str]]:
    """The rows with their pauses added up."""
    total = np.cumsum([each[0] for each in rows]).tolist()
    return [(minutes, *each[1:]) for minutes, each in zip(total, rows, strict=True)]


logs = st.lists(row, max_size=25).map(in_order)


def drawn(baseline: EntitlementBaseline, random: np.random.Generator, users: int) -> Events:
    """Days of users who break each rule as often as the baseline says, in one of five events."""
    each = 5
    user = np.repeat(np.arange(users, dtype=np.uint32) + 5000, each)
    chances = baseline.chances(np.arange(users, dtype=np.uint32) + 5000)
    broken = random.random(chances.shape) < chances
    entitled = np.zeros((users, each), np.uint8)
    for kind in (0, 1, 2, 4):
        entitled[np.arange(users), random.integers(0, each, users)] |= (broken[:, kind] << kind).astype(np.uint8)
    context: dict[str, Any] = {name: np.zeros(users * each, np.int64) for name in CONTEXT_SCHEMA}
    context["entitled"] = entitled.ravel()
    number = np.arange(users * each)
    columns: Any = (number, number * 10**6, user, *(np.zeros(len(user), np.int32) for _ in range(2)), number)
    return Events(*columns, first=boundaries(user), context=context)


def test_it_keeps_the_laws_of_detectors(table: Path):
    """Counts merge, chunks and users' neighbours do not matter, normal users reach b bits once in 2 to the b."""
    detector = rules(table, findings=KINDS)
    past = coded(detector, [(60 * at, at % 7, "1" if at % 3 else "2", PATHS[at % 9]) for at in range(60)])
    frames = logs.map(lambda rows: coded(detector, rows))
    check_detector(detector, frames, draw=drawn, past=past, examples=8)
    for seed in (2, 3):
        check_calibration(detector, drawn, past=past, seed=seed)


@given(logs=st.lists(st.lists(row, max_size=12), min_size=1, max_size=4), cap=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_bits_are_those_of_a_twin_with_dictionaries(table: Path, logs: list[list[Any]], cap: int):
    """Sets of what was done and seen, dates compared as dates, rates as sums over users."""
    kept = [
        [(min(at, 1439), user, key if key in {*PERIODS, None} else "4", path) for at, user, key, path in log]
        for log in logs
    ]
    days = [sorted(log, key=lambda each: each[0]) for log in kept]
    detector = rules(table, cap=cap)
    whole = [[(1440 * day + minutes, *rest) for minutes, *rest in log] for day, log in enumerate(days)]
    coding = Coding(contexts=[detector])
    frames = [coded(detector, log, coding) for log in whole]
    baseline = detector.baseline(Past([detector.summarise(group(frame)) for frame in frames[:-1]]))
    events = group(frames[-1])
    found = dict(zip(events.position.tolist(), detector.score(events, baseline).bits.tolist(), strict=True))
    told = [
        [(FIRST + timedelta(days=day), f"u{user}", key, path) for _, user, key, path in log]
        for day, log in enumerate(days)
    ]
    twin = naive.Rules(PERIODS, SCOPES, ["toc"])
    assert [found[at] for at in sorted(found)] == pytest.approx(naive.day_bits(twin, told[:-1], told[-1], cap))


def test_the_reason_counts_pages_and_days(table: Path):
    """How many pages of what, after which day of which cohort, how many days, and how many users do so."""
    detector = rules(table)
    coding = Coding(contexts=[detector])
    earlier = coded(detector, [(0, user, "1", "python/x") for user in range(8)], coding)
    later = coded(detector, [(4000, user, "1", "python/x") for user in range(2)], coding)
    past = Past([detector.summarise(group(each)) for each in (earlier, later)])
    events = group(coded(detector, [(5000 + at, 9, "1", "python/x") for at in range(37)], coding))
    (reason,) = detector.explain(events, detector.baseline(past), Names(coding))[9 - 1]
    assert reason.text == (
        "viewed 37 pages of python after 2026-01-06, the end of cohort Ada (2 days after); 25 % of users here do"
    )
    assert (reason.count, reason.of, reason.others_count, reason.others_of) == (37, 37, 2, 8)


def test_each_kind_has_its_words(table: Path):
    """Before the start, outside the scope, in two exclusive scopes, without entitlement."""
    assert said(rules(table), [(0, 1, "2", "html/a")]) == [
        "viewed 1 page of html before 2026-01-07, the start of cohort Zion (2 days before)"
    ]
    assert said(rules(table, exclusive=()), [(0, 1, "1", "html/a"), (1, 1, "1", "toc")]) == [
        "viewed 1 page of html outside data, the scope of cohort Ada, but of web"
    ]
    assert said(rules(table), [(0, 1, "4", "html/a"), (1, 1, "4", "python/a")]) == [
        "viewed 1 page of python in data, besides a scope that excludes it"
    ]
    assert said(rules(table, findings=("unknown",)), [(0, 1, None, "toc"), (1, 1, "99", "toc")]) == [
        "viewed 2 pages of toc without any entitlement known"
    ]


def test_who_looked_at_web_last_week_and_at_data_today_is_in_both(table: Path):
    """What was seen on earlier days counts, and is remembered as counts."""
    detector = rules(table)
    past = Past([detector.summarise(group(coded(detector, [(0, 0, "4", "html")] * 3)))])
    later = group(coded(detector, [(2000, 0, "4", "sql"), (2001, 0, "4", "python/a")]))
    assert detector.score(later, detector.baseline(past)).facts.tolist() == [False, True]
    assert not detector.score(later, detector.baseline(Past())).facts.any()
    strict = rules(table, least=2)
    assert not strict.score(later, strict.baseline(past)).facts.any()


def test_staff_may_do_everything_and_moves_between_cohorts_are_followed(table: Path):
    """A user is judged by the cohort that each event names."""
    detector = rules(table)
    events = group(coded(detector, [(0, 0, "1", "python"), (9000, 0, "1", "python"), (9001, 0, "3", "html")]))
    assert detector.score(events, detector.baseline(Past())).facts.tolist() == [False, True, False]


def test_one_key_may_have_several_periods(table: Path):
    """Whoever comes back is entitled within each of the periods, to what that one grants."""
    detector = rules(table, exclusive=())
    days = [0, 1, 3, 3, 5]
    paths = ["html", "html", "python", "html", "python"]
    events = group(coded(detector, [(1440 * day, 0, "5", path) for day, path in zip(days, paths, strict=True)]))
    scores = detector.score(events, detector.baseline(Past()))
    assert scores.facts.tolist() == [False, True, False, True, True]


def test_grace_and_early_days_are_allowed(table: Path):
    """So many days around the period are no violation; the next one is."""
    detector = rules(table, grace=1, early=2)
    events = group(coded(detector, [(2 * 1440, 0, "1", "toc"), (3 * 1440, 0, "1", "toc"), (0, 1, "2", "toc")]))
    assert detector.score(events, detector.baseline(Past())).facts.tolist() == [False, True, False]
    assert "(2 days after)" in said(detector, [(3 * 1440, 0, "1", "toc")])[0]


def test_days_are_those_of_the_zone(table: Path):
    """Half past eleven in the evening of the last day is within it where the clock says so."""
    late = [(2 * 1440 + 30, 0, "1", "toc")]
    for timezone, wrong in (("UTC", True), ("America/Chicago", False)):
        detector = rules(table, timezone=timezone)
        assert detector.score(group(coded(detector, late)), detector.baseline(Past())).facts.tolist() == [wrong]


def test_a_person_who_says_expected_is_heeded(table: Path):
    """What was said to be expected of a user is no fact and no evidence any more, for that user and kind."""
    detector = rules(table)
    events = group(coded(detector, [(9000, 0, "1", "python"), (9000, 1, "1", "python")]))
    past = Past()
    past.taught = detector.summarise(events.part(0, 1))
    scores = detector.score(events, detector.baseline(past))
    assert scores.facts.tolist() == [False, True]
    assert scores.bits[0] == 0.0


def test_rare_violations_have_more_bits(table: Path):
    """One of two hundred says more than half of all; a user alone counts as few days only."""
    detector = rules(table)
    normal = detector.summarise(group(coded(detector, [(0, user, "1", "python") for user in range(200)])))
    common = detector.summarise(group(coded(detector, [(9000, user, "1", "python") for user in range(200)])))
    flood = detector.summarise(group(coded(detector, [(9000, 5, "1", "python")])))
    events = group(coded(detector, [(9000, 300, "1", "python")]))
    of = [detector.baseline(Past(days)) for days in ([normal], [normal, common], [normal] + [flood] * 30)]
    rare, usual, flooded = (float(detector.score(events, each).bits[0]) for each in of)
    assert (round(rare, 2), round(usual, 2)) == (5.35, -0.51)
    assert flooded == pytest.approx(2.1, abs=0.1)


def test_a_log_that_carries_the_columns_itself_needs_no_table():
    """As a join of the log with its cohorts gives it; rows without a match are unknown."""
    detector = Entitlement(start="start_date", end="end_date", named="name", findings=(*KINDS[:3], "unknown"))
    time = pl.Series([datetime(2026, 1, 5, 9, tzinfo=UTC)] * 4)
    frame = pl.DataFrame({
        "time": time,
        "action": ["a"] * 4,
        "start_date": [date(2026, 1, 1), date(2026, 1, 6), date(2025, 1, 1), None],
        "end_date": ["2026-02-01", "2026-02-01 00:00:00", "2026-01-04", None],
        "name": ["x", "y", "z", None],
    })  # fmt: skip
    assert detector.context(frame)["entitled"].to_list() == [0, 1, 2, 16]
    assert detector.raw_columns == ("start_date", "end_date", "name")
    assert detector.context_of(frame.row(2, named=True))["entitled_days"] == 1


HOSTILE = "x\n\x1b[31m,<b>"


def test_rows_of_the_table_that_cannot_be_used_are_told_with_their_place(tmp_path: Path, caplog):
    """Dates that are none, turned ones, missing keys: each is named with its row, and forbids nothing."""
    file = tmp_path / "bad.csv"
    file.write_text(f'id,start,end\n1,soon,2026-01-01\n2,2026-02-01,2026-01-01\n,2026-01-01,\n4,"{HOSTILE}",\n')
    detector = Entitlement(table=str(file), key="cohort_id=id", start="start", end="end")
    with caplog.at_level(logging.WARNING):
        found = detector.check()
    assert [(each.position, each.reason) for each in found.samples] == [
        (1, 'column "start" holds no date'),
        (2, '"start" is after "end"'),
        (3, 'column "id" is empty'),
        (4, 'column "start" holds no date'),
    ]
    assert len(caplog.messages) == 4
    assert all(message.isprintable() for message in caplog.messages)
    events = group(coded(detector, [(0, 0, "2", "a"), (0, 1, "4", "a"), (0, 2, "1", "a")]))
    assert detector.score(events, detector.baseline(Past())).facts.tolist() == [False, False, True]


def test_a_missing_file_or_column_is_named_with_the_nearest(tmp_path: Path):
    """What was expected, what is there, and what may have been meant."""
    (tmp_path / "cohorts.csv").write_text("id,start_date,end_date\n1,2026-01-01,2026-02-01\n")
    lost = Entitlement(table=str(tmp_path / "cohort.csv"), key="cohort_id=id", end="end_date")
    with pytest.raises(SourceError, match=r'No such file or directory.* Did you mean "cohorts.csv"'):
        lost.check()
    wrong = Entitlement(table=str(tmp_path / "cohorts.csv"), key="cohort_id=id", end="end_data", start="begin")
    with pytest.raises(EventError, match=r'no column "begin".*\n.*no column "end_data".*Did you mean "end_date"'):
        wrong.check()
    fine = Entitlement(table=str(tmp_path / "cohorts.csv"), key="cohortid=id", end="end_date")
    frame = pl.DataFrame({"time": [datetime(2026, 1, 1, tzinfo=UTC)], "action": ["a"], "cohort_id": ["1"]})
    with pytest.raises(EventError, match=r'the log has no column "cohortid".*Did you mean "cohort_id"'):
        fine.context(frame)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "nothing to look for"),
        ({"end": "e", "table": "a", "url": "b", "query": "c", "key": "k"}, "table and url: one table is enough"),
        ({"end": "e", "url": "b", "key": "k"}, "url and query go together"),
        ({"end": "e", "table": "a"}, "key: which column of the log"),
        ({"scope": "s"}, "scope: what may those of a scope look at"),
        ({"end": "e", "exclusive": ["web", "dat"], "scopes": {"web": ["a"], "data": ["b"]}}, 'Did you mean "data"'),
        ({"end": "e", "programs": {"1": "wev"}, "scopes": {"web": ["a"]}}, 'Did you mean "web"'),
        ({"end": "e", "findings": ["aftr"]}, 'Did you mean "after"'),
        ({"end": "e", "grace": -1}, "grace: expected 0 or more, found -1"),
        ({"end": "e", "timezone": "Mars"}, "is not a time zone"),
        ({"end": "e", "exempt": ["Staff"]}, 'such as "name=Staff"'),
        ({"end": "e", "scopes": {"web": [""]}}, "a prefix must not be empty"),
    ],
)
def test_parameters_that_do_not_go_together_are_refused(given: dict[str, Any], message: str):
    """Each mistake says what is wrong and what to do."""
    with pytest.raises(UsageError, match=message):
        Entitlement(**given)


def test_the_section_of_settings_names_its_mistakes_with_lines():
    """Unknown settings, wrong types, and what the detector itself refuses."""
    good = '[entitlement]\ntable = "c.csv"\nkey = "cohort_id=id"\nend = "end_date"\n[entitlement.scopes]\nweb = ["a"]\n'
    found = config.parse(good).detector["entitlement"]
    (made,) = config.detectors(["entitlement"], {"entitlement": found})
    assert isinstance(made, Entitlement)
    assert dict(made.scopes or {}) == {"web": ["a"]}
    with pytest.raises(ConfigError, match=r'amiss.toml:3: \[entitlement\] has no setting "graze".*"grace"'):
        config.parse('[entitlement]\nend = "e"\ngraze = 3\n')
    with pytest.raises(ConfigError, match=r"amiss.toml:1: key: which column"):
        config.parse('[entitlement]\ntable = "e"\nend = "e"\n')
    with pytest.raises(ConfigError, match=r"leave out either"):
        config.parse('[entitlement]\nend = "e"\n[detector.entitlement]\nend = "e"\n')
    assert config.in_zone({"entitlement": {}}, "Asia/Tokyo") == {"entitlement": {"timezone": "Asia/Tokyo"}}


def test_it_runs_only_where_it_is_configured():
    """No log alone says who is entitled to what."""
    assert "entitlement" not in fitting([Fields("", {})])
    assert "entitlement" in fitting([Fields("", {})], {"entitlement"})


def test_a_password_goes_into_no_state():
    """The address is kept without it."""
    made = detector("entitlement", url="mysql://ann:secret@db/x", query="q", key="a=b", end="e")
    assert made.url == "mysql://ann@db/x"
    assert "secret" not in repr(made)


def log_of(file: Path, rows: list[tuple[str, str, str, str]]) -> None:
    """A log of (time, user, cohort, path), as CSV or JSON lines."""
    names = ("time", "user_id", "cohort_id", "path")
    if file.suffix == ".csv":
        file.write_text("\n".join([",".join(names), *map(",".join, rows)]) + "\n")
    else:
        file.write_text("".join(json.dumps(dict(zip(names, each, strict=True))) + "\n" for each in rows))


ROWS = [
    (f"2026-01-{day:02}T10:0{user}:00Z", f"{user}", "1" if user < 3 else "2", "python/x")
    for day in (5, 6, 8)
    for user in range(6)
]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_columns_of_the_log_reach_it_from_files_and_streams(tmp_path: Path, table: Path, suffix: str):
    """Also one that plays another role: a cohort is a group to others. What nobody needs is not read."""
    file = tmp_path / f"log{suffix}"
    if suffix == ".parquet":
        pl.DataFrame(ROWS, schema=["time", "user_id", "cohort_id", "path"], orient="row").write_parquet(file)
    else:
        log_of(file, ROWS)
    detector = rules(table, exclusive=(), scopes={}, programs=None, scope="")
    read = Coding(contexts=[detector])
    source: Any = open_source(str(file))
    whole = pl.concat(frame for frame, _ in source.read_coded(read))
    assert whole["entitled"].to_list() == [0, 0, 0, 1, 1, 1] * 2 + [2, 2, 2, 0, 0, 0]
    followed = open_live_source(str(file)).follow(
        Coding(contexts=[detector]), batch=100, every=timedelta(seconds=9), stop=threading.Event(), until_eof=True
    )
    assert pl.concat(frame for frame, _ in followed)["entitled"].to_list() == whole["entitled"].to_list()
    assert Coding().raw == ()
    assert read.raw == ("cohort_id",)


def test_a_scan_names_who_came_after_the_end(tmp_path: Path, table: Path):
    """From a file and from a frame; as an alert, though the day's evidence alone would take more."""
    log_of(tmp_path / "log.csv", ROWS)
    given = {"entitlement": {"table": str(table), "key": "cohort_id=id", "end": "end", "named": "name"}}
    for data in (str(tmp_path / "log.csv"), pl.read_csv(tmp_path / "log.csv")):
        result = amiss.scan(data, parameters=given)
        assert sorted(result.users.filter(pl.col("alert"))["user"].to_list()) == ["0", "1", "2"]
        assert "after 2026-01-06, the end of cohort Ada (2 days after)" in str(result.explain("0"))


def test_a_session_judges_an_event_by_its_own_columns(tmp_path: Path, table: Path):
    """What an application hands over beside user and action reaches the table too."""
    detector = rules(table, scopes={}, programs=None, scope="", exclusive=())
    with Session(tmp_path / "s.db", detectors=[detector]) as session:
        for day in (5, 6, 8):
            for user in range(4):
                at = datetime(2026, 1, day, 9, user, tzinfo=UTC)
                last = session.score({"time": at, "user": f"u{user}", "action": "x", "cohort_id": 1})
        assert last.alert is not None


def test_unreadable_settings_are_amiss_errors_only(table: Path):
    """Whatever a table or log holds, nothing else than an error of amiss comes out."""
    with pytest.raises(AmissError):
        Entitlement(table=str(table.parent), key="a=b", end="e").check()


def test_a_table_of_a_database_is_read_by_a_query(tmp_path: Path):
    """The log from the same database, its cohorts as rows of a join; both ways say the same."""
    place = tmp_path / "school.db"
    with closing(sqlite3.connect(place)) as made:
        made.execute("CREATE TABLE logs (time TEXT, user_id INT, cohort_id REAL, path TEXT)")
        made.executemany("INSERT INTO logs VALUES (?, ?, ?, ?)", ROWS)
        made.execute("CREATE TABLE cohorts (id INT, name TEXT, end TEXT)")
        made.executemany("INSERT INTO cohorts VALUES (?, ?, ?)", [(1, "Ada", "2026-01-06"), (2, "Zion", "2026-03-01")])
        made.commit()
    url = f"sqlite:///{place}"
    rules = {"url": url, "query": "SELECT * FROM cohorts", "key": "cohort_id=id", "end": "end", "named": "name"}
    by_key = amiss.violations(f"{url}?table=logs", rules)
    assert by_key.select("user", "finding", "period", "days", "events").rows() == [
        (user, "after", "Ada", 2, 1) for user in ("0", "1", "2")
    ]
    query = "SELECT time, user_id, path, name, end FROM logs LEFT JOIN cohorts ON cohorts.id = logs.cohort_id"
    joined = f"{url}?query={quote(query)}"
    assert amiss.violations(joined, {"end": "end", "named": "name"}).equals(by_key)
    followed = open_live_source(f"{url}?table=logs").follow(
        Coding(contexts=[made_of := Entitlement(**rules)]),
        batch=100,
        every=timedelta(seconds=9),
        stop=threading.Event(),
        until_eof=True,
    )
    assert sum(int((frame["entitled"] == 2).sum()) for frame, _ in followed) == 3
    assert made_of.check().total == 0


def test_violations_are_those_of_the_twin(table: Path):
    """Counted over whole logs, by user and finding; in both is who looked at both at any time."""
    detector = rules(table)
    when = [(day, at, user) for day in range(9) for at in range(9) for user in range(4)]
    rows = [(1440 * day + at, user, "124"[user % 3], PATHS[(at + user) % 9]) for day, at, user in when]
    coding = Coding(contexts=[detector])
    named = coding.decode(coded(detector, rows, coding)).select("position", "time", "user", "action", "outcome")
    keys = pl.Series("cohort_id", [each[2] for each in rows])
    found = violations([ListSource(named.with_columns(keys))], detector)
    twin = naive.Rules(PERIODS, SCOPES, ["toc"])
    wrong: Counter[tuple[str, str]] = Counter()
    for day, (_, user, key, path) in zip([each[0] for each in when], rows, strict=True):
        kinds = twin.wrong((FIRST + timedelta(days=day), f"u{user}", key, path), {"web", "data"})
        wrong.update((f"u{user}", kind) for kind in kinds)
    sums = found.group_by("user", "finding").agg(pl.col("events").sum())
    assert {(user, finding): events for user, finding, events in sums.rows()} == wrong


def test_a_key_that_the_log_does_not_have_is_told(table: Path, tmp_path: Path, caplog):
    """Files give an empty column for one that is not there; it is said once."""
    log_of(tmp_path / "log.csv", ROWS * 3)
    with caplog.at_level(logging.WARNING):
        found = amiss.violations(tmp_path / "log.csv", {"table": str(table), "key": "cohort=id", "end": "end"})
    assert len(found) == 0
    assert caplog.messages == ['column "cohort" of the log is empty or not there: no event has a key']


def test_check_looks_at_the_table(table: Path, tmp_path: Path):
    """How many periods there are, or what is wrong with it."""
    place = tmp_path / "amiss.toml"
    given = ["check", "--config", str(place)]
    place.write_text(f'[entitlement]\ntable = "{table}"\nkey = "cohort_id=id"\nend = "end"\n')
    assert f"ok: {table}: 6 periods of 5 keys" in CliRunner().invoke(app, given).stdout
    place.write_text(f'[entitlement]\ntable = "{table}"\nkey = "cohort_id=id"\nend = "name"\n')
    done = CliRunner().invoke(app, given)
    assert f'problem: {table}: 6 rows forbid nothing, the first is row 1: column "name" holds no date' in done.stdout
    assert done.exit_code == 1
    place.write_text('[entitlement]\ntable = "lost.csv"\nkey = "cohort_id=id"\nend = "name"\n')
    assert "problem: lost.csv cannot be read" in CliRunner().invoke(app, given).stdout
    place.write_text('[entitlement]\nend = "end_date"\n')
    assert "ok: [entitlement]: the log carries its columns itself" in CliRunner().invoke(app, given).stdout
