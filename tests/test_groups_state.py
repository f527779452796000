"""Groups of a state: those of its log, day by day; with numbers that stay, whenever they are asked for."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from tests.commands import Run

import amiss
from amiss import Session
from amiss.behaviour import Grouped
from amiss.errors import StateError, UsageError
from amiss.lineage import groups_of
from amiss.store import Store

BUY, SELL, SCRAPE = ["view", "buy"] * 10, ["sell", "view"] * 10, ["read"] * 30
KINDS = {f"b{at}": BUY for at in range(5)} | {f"s{at}": SELL for at in range(4)}
NEW = {f"x{at}": SCRAPE for at in range(3)}
MOVED = KINDS | NEW | {"b0": SELL}
DAYS = [KINDS, KINDS | NEW, MOVED, KINDS | NEW]
TABLES = ("groups", "members", "moves", "changes")

Row = tuple[datetime, str, str]


def events(day: int, users: dict[str, list[str]]) -> list[Row]:
    """What each user did one after the other on a day, by time."""
    start = datetime(2026, 1, 5, 9, tzinfo=UTC) + timedelta(days=day)
    return sorted(
        (start + timedelta(seconds=at), user, action)
        for user, actions in users.items()
        for at, action in enumerate(actions)
    )


def seen(state: Path, rows: list[Row]) -> Path:
    """A state that has seen these events, too."""
    with Session(state, detectors=["sequence"], now=lambda: datetime(2026, 3, 1, tzinfo=UTC)) as session:
        for time, user, action in rows:
            session.score(user=user, action=action, time=time)
    return state


def of_log(days: list[dict[str, list[str]]]) -> Grouped:
    """The groups of a log of these days, day by day."""
    rows = [row for day, users in enumerate(days) for row in events(day, users)]
    return amiss.groups(pl.DataFrame(rows, schema=["time", "user", "action"], orient="row"), by_day=True)


def same(one: Grouped, other: Grouped) -> bool:
    """Whether all tables are the same."""
    return all(getattr(one, name).equals(getattr(other, name)) for name in TABLES)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state that has seen the four days, the last of which is open."""
    rows = [row for day, users in enumerate(DAYS) for row in events(day, users)]
    return seen(tmp_path_factory.mktemp("state") / "state.db", rows)


@pytest.fixture
def state(written: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copy(written, tmp_path))


def test_a_state_has_the_groups_of_its_log(state: Path):
    """Day by day, with the moves and changes of the day that is open; asking once more changes nothing."""
    found = amiss.groups(state=state)
    assert same(found, of_log(DAYS))
    before = state.read_bytes()
    assert same(amiss.groups(state=state), found)
    assert state.read_bytes() == before
    assert found.moves.select("day", "user", "left", "joined").rows() == [
        (date(2026, 1, 7), "b0", 1, 2),
        (date(2026, 1, 8), "b0", 2, 1),
    ]
    assert found.history.sizes().equals(of_log(DAYS).history.sizes())
    assert found.history.flows().equals(of_log(DAYS).history.flows())
    assert found.table(3).rows() == [(f"x{at}", "unknown", 90) for at in range(3)]
    assert found.story(3) is None
    with Store.open(state, write=False) as store:
        assert store.verify() == []


def test_numbers_stay_as_days_come_and_while_one_is_open(tmp_path: Path):
    """Asked for behind each day, and in the midst of that on which scrapers come, groups are those of the whole log."""
    state = tmp_path / "state.db"
    for day, users in enumerate(DAYS[:3]):
        rows = events(day, users)
        for part in (rows[: len(rows) // 2], rows[len(rows) // 2 :]) if day == 1 else (rows,):
            seen(state, part)
            found = amiss.groups(state=state)
            assert dict(found.members.select("user", "group").iter_rows()).get("x0") == (3 if day else None)
        assert same(found, of_log(DAYS[: day + 1])), day


def test_who_is_forgotten_is_in_no_group_and_numbers_stay(tmp_path: Path):
    """Behind 40 days without events the state has the counts of the newest days alone; sellers keep group 2."""
    state = seen(tmp_path / "state.db", events(0, KINDS) + events(1, {"b0": BUY}))
    amiss.groups(state=state)
    seen(state, [*events(40, {f"s{at}": SELL for at in range(6)}), *events(41, NEW), *events(42, NEW)])
    found = amiss.groups(state=state)
    assert found.groups.select("id", "members", "change").rows() == [
        (2, 6, "grew from 4 to 6"),
        (3, 3, "born"),
        (1, 0, "emptied from 5"),
    ]
    assert set(found.members["user"]) == {f"s{at}" for at in range(6)} | set(NEW)


def test_a_window_is_chosen_once(state: Path):
    """It is kept; another one begins groups anew, unless one of them has a label."""
    with Store.open(state, write=False) as store:
        wide = groups_of(store, window=4)
        assert wide.members.filter(user="b0")["group"].item() not in {1, 2}
        assert same(groups_of(store), wide)
        assert same(groups_of(store, window=1), of_log(DAYS))
        store.add_label("group", "3", "bot", author="ann", time=datetime(2026, 1, 9, tzinfo=UTC), via="3")
        with pytest.raises(UsageError, match=r"begun with a window of 1, and some have labels \(3\)"):
            groups_of(store, window=2)


def test_groups_of_a_state_are_labelled_by_their_number(run: Run, state: Path):
    """Without a file; who is new, who moved and what groups are called is told, within 80 columns."""
    where = ["--state", str(state)]
    run("label", "user", "b1", "bot", *where)
    said = run("label", "group", "3", "scraper", *where, "--author", "ann")
    assert said.said == "Group 3 is scraper now. Members labelled so: 3 of 3."
    shown = run("groups", *where)
    assert max(map(len, shown.out.splitlines())) <= 80
    for told in ("bot 1 of 1 labelled", "scraper as a group", "3 of 3 labelled", "1 user moved on 2026-01-08",
                 "2026-01-06 group 3 is new with 3 users"):  # fmt: skip
        assert told in shown.said
    one = run("groups", "show", "3", *where).said
    assert "label: scraper as a group; 3 of 3 labelled" in one
    assert run("groups", "--labels", "none.csv", *where).status != 0
    rows = json.loads(run("groups", *where, "--format", "json").out)
    assert [(row["id"], row["label"], row["label_of"]) for row in rows] == [
        (1, "bot", "members"), (2, None, None), (3, "scraper", "group")
    ]  # fmt: skip
    assert "from" not in run("label", "list", *where).said
    run("label", "remove", "group", "3", *where)
    assert "scraper" not in run("groups", *where).said


def test_what_a_state_cannot_tell_is_said(run: Run, state: Path, tmp_path: Path):
    """Groups that there are not, options of a log, a state without events, and no state at all."""
    where = ["--state", str(state)]
    for words in (["groups", "show", "9"], ["label", "group", "9", "bot"]):
        ran = run(*words, *where)
        assert (ran.status, "there is no group 9. There are 1, 2, 3" in ran.said_beside) == (2, True)
    assert (
        "--limit and --method: a state has its groups"
        in run("groups", *where, "--limit", "3", "--method", "seed001").said_beside
    )
    assert "whose groups? Give a SOURCE" in run("groups").said_beside
    with Session(tmp_path / "empty.db", detectors=["sequence"]):
        pass
    with pytest.raises(StateError, match="has seen no events yet"):
        amiss.groups(state=tmp_path / "empty.db")


def test_numbers_of_a_file_are_not_those_of_a_state(run: Run, state: Path, tmp_path: Path):
    """The group 3 of a file is another one: its members have the label, the group 3 of the state has not."""
    members = tmp_path / "members.csv"
    members.write_text("user,group\nb1,3\n1.0,3\n007,3\n")
    said = run("label", "group", "3", "vip", "--groups", str(members), "--state", str(state)).said
    assert "Members labelled so: 3 of 3." in said
    with Store.open(state, write=False) as store:
        assert [each.subject for each in store.labels()] == ["007", "1.0", "b1"]
    found = amiss.groups(state=state).groups
    assert found.select("id", "label", "label_of").rows() == [(1, "vip", "members"), (2, None, None), (3, None, None)]
