"""Groups of users by behaviour: equal to their twins, as pure as published, the same in any order, kept over days."""

from __future__ import annotations

import csv
import gzip
import json
import math
import random
import time
from collections import Counter
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import naive_groups as naive
from tests.commands import Run

import amiss
from amiss import grouping_kernel as kernel
from amiss.behaviour import _there
from amiss.errors import SourceError, UsageError
from amiss.grouping import MOST_EVENTS, Cells, Groups, Rows
from amiss.leader import Leaders
from amiss.simulate import write_marketplace

DAY = "seed001_3000users_day{}.csv.gz"
PUBLISHED_1 = (
    "746 798 274 251 96 731 1 6 2 1 2 1 3 11 1 3 10 5 1 4 3 3 2 3 2 1 1 7 2 1 1 4 2 1 4 1 1 1 1 1 2 1 1 1 1 1 1 1 1"
)
PUBLISHED_2 = {0: 1262, 1: 569, 2: 345, 3: 670, 4: 55, 5: 284, 16: 118, 31: 430, 46: 8, 51: 95, 62: 67, 84: 1}
"""Members of groups on the second day, of the largest and some others."""


def rows_of(file: Path) -> list[tuple[str, str, bool]]:
    """User, action and whether it failed, of each event of a day."""
    with gzip.open(file, "rt") as text:
        return [(row["user"], row["path"], row["status"] != "success") for row in csv.DictReader(text)]


@pytest.fixture(scope="module")
def market(shared_data: Path) -> Path:
    """The directory of the notebook's log."""
    return shared_data / "marketplace"


@pytest.fixture(scope="module")
def hidden(market: Path) -> tuple[pl.DataFrame, dict[str, str]]:
    """Both days with numbers for names, and the kind of each number."""
    days = [
        pl.read_csv(market / DAY.format(day)).select("time", "user", "path", "status", "realtype") for day in (1, 2)
    ]
    both = pl.concat(days)
    numbers = both.select(pl.col("user").unique(maintain_order=True)).with_row_index("number")
    named = both.join(numbers, on="user", maintain_order="left").with_columns(user=pl.col("number").cast(pl.String))
    kinds = dict(named.select("user", "realtype").unique().iter_rows())
    return named.select("time", "user", "path", "status"), kinds


def purity(members: pl.DataFrame, kinds: dict[str, str]) -> float:
    """The share of users who are of the kind that most of their group are."""
    kind = pl.col("user").replace_strict(kinds)
    most = members.group_by("group", kind=kind).agg(pl.len()).group_by("group").agg(pl.max("len"))
    return float(most["len"].sum() / len(members))


def test_the_published_groups_of_the_first_day_come_out(market: Path):
    """All 49 groups have as many members as the notebook printed, from the slow twin and from the compiled one."""
    profiles = naive.failing_profiles(rows_of(market / DAY.format(1)))
    users, actions = list(profiles), list(next(iter(profiles.values())))
    leaders = Leaders(limit=5)
    leaders.day({at: np.array([profiles[user][action] for action in actions]) for at, user in enumerate(users)})
    rng = random.Random(42)
    members, _ = naive.leaders(profiles, rng.sample(users, len(users)), 5, rng)
    assert [len(members[group]) for group in sorted(members)] == [int(size) for size in PUBLISHED_1.split()]
    assert {group: [users[at] for at in each] for group, each in leaders.members.items()} == members


def test_the_published_groups_of_the_second_day_come_out(market: Path):
    """Of 4,546 users who were known by then, the notebook grouped 3,000 anew; the groups are those it printed."""
    first, second = (rows_of(market / DAY.format(day)) for day in (1, 2))
    profiles = naive.failing_profiles(first)
    actions = list(next(iter(profiles.values())))
    count, failed, before = Counter(action for _, action, _ in first), Counter(), {}
    pairs = set()
    for user, action, failure in first:
        pair = before.get(user, ""), action
        pairs.add(pair)
        failed[pair] += failure
        before[user] = action
    numbers = {user: at for at, user in enumerate(profiles)}
    later, before = {}, {}
    for user, action, _ in second:
        pair = before.get(user, ""), action
        share = (failed[pair] or 1) / count[action] if pair in pairs else 1 / count[action]
        bits = later.setdefault(numbers.setdefault(user, len(numbers)), np.zeros(len(actions)))
        bits[actions.index(action)] += math.log2(1 / share)
        before[user] = action
    leaders = Leaders(limit=5)
    leaders.day({numbers[user]: np.array(list(each.values())) for user, each in profiles.items()}, 3000)
    leaders.day(later, 3000)
    assert len(numbers) == 4546
    assert len(leaders.averages) == 85
    assert {group: len(leaders.members[group]) for group in PUBLISHED_2} == PUBLISHED_2


def test_groups_in_bits_are_as_pure_as_the_published_ones_and_fewer(hidden: tuple[pl.DataFrame, dict[str, str]]):
    """On the notebook's own first day: at least 0.99 pure both, 49 groups there, at most 8 in bits."""
    log, kinds = hidden
    monday = log.filter(pl.col("time") < "2019-01-02")
    ours, theirs = amiss.groups(monday), amiss.groups(monday, method="seed001")
    assert purity(theirs.members, kinds) >= 0.99
    assert purity(ours.members, kinds) >= 0.99
    assert len(theirs.groups) == 49
    assert len(ours.groups) <= 8


def test_the_second_day_keeps_the_groups_of_the_first(hidden: tuple[pl.DataFrame, dict[str, str]]):
    """Buyers and merchants have the same numbers on both days, and of users who came twice nearly all stay."""
    log, kinds = hidden
    monday, both = amiss.groups(log.filter(pl.col("time") < "2019-01-02")), amiss.groups(log, by_day=True)
    assert purity(both.members, kinds) >= 0.99
    before = monday.members.filter(pl.col("events") >= 10).select("user", "group")
    after = before.join(both.members, on="user", suffix="_after")
    assert float((after["group"] == after["group_after"]).sum() / len(after)) >= 0.99
    assert both.groups["born"][0] == both.groups["born"][1] == date(2019, 1, 1)


def log_of(days: list[dict[str, list[str]]]) -> pl.DataFrame:
    """A log of days, of what each user did one after the other."""
    rows = [
        (f"2026-01-{5 + day:02}T09:{at // 60:02}:{at % 60:02}Z", user, action)
        for day, users in enumerate(days)
        for at in range(max(map(len, users.values())))
        for user, actions in users.items()
        for action in actions[at : at + 1]
    ]
    return pl.DataFrame(rows, schema=["time", "user", "action"], orient="row")


BUY, SELL, SCRAPE = ["view", "buy"] * 10, ["sell", "view"] * 10, ["read"] * 30
KINDS = {f"b{at}": BUY for at in range(5)} | {f"s{at}": SELL for at in range(4)}


def test_a_user_who_begins_to_sell_moves_to_those_who_sell():
    """The move says from where to where, by how many bits, and what the user did."""
    found = amiss.groups(log_of([KINDS, KINDS | {"b0": SELL}]), by_day=True)
    assert found.groups.select("id", "members").rows() == [(1, 5), (2, 4)] or found.groups["members"].to_list() == [
        5,
        4,
    ]
    [move] = found.moves.to_dicts()
    assert (move["user"], move["day"]) == ("b0", date(2026, 1, 6))
    assert move["bits"] > 20
    assert "sell after view" in move["reason"]
    of = dict(found.members.select("user", "group").iter_rows())
    assert of["b0"] == of["s0"] != of["b1"]
    assert move["joined"] == of["s0"]
    assert move["left"] == of["b1"]


def test_in_a_window_of_days_a_user_is_judged_by_what_they_did_in_all_of_them():
    """One day of selling after three of buying makes a seller by itself, and none within four days."""
    days = [KINDS, KINDS, KINDS, KINDS | {"b0": SELL}]
    alone, together = (
        dict(amiss.groups(log_of(days), window=n).members.select("user", "group").rows()) for n in (1, 4)
    )
    assert alone["b0"] == alone["s0"]
    assert together["b0"] != together["s0"]
    events = dict(amiss.groups(log_of(days), window=4).members.select("user", "events").rows())
    assert events["b0"] == 3 * len(BUY) + len(SELL)
    assert amiss.groups(log_of(days), window=1).members.equals(amiss.groups(log_of(days), by_day=True).members)


def test_a_group_is_born_emptied_remembered_and_returns_with_its_number():
    """Scrapers come on the second day, turn into buyers on the third, and scrape again on the fourth."""
    scrapers = {f"x{at}": SCRAPE for at in range(3)}
    bought = dict.fromkeys(scrapers, BUY)
    found = amiss.groups(log_of([KINDS, KINDS | scrapers, KINDS | bought, KINDS | scrapers]), by_day=True)
    history = found.changes.filter(pl.col("id") == 3)
    assert history.select("change", "before", "after").rows() == [("born", 0, 3), ("emptied", 3, 0), ("returned", 0, 3)]
    assert "88% (there 2%) read at all" in history["reason"][0]
    assert found.groups.filter(pl.col("id") == 3)["does"].item() == "read 100%"


@pytest.mark.parametrize("seed", [43, 44, 45])
def test_an_emptied_group_may_become_one_with_another(seed: int):
    """Eight restless users, who do another thing each day: groups empty and merge, and everybody is in one that is."""
    rng = random.Random(seed)
    kinds = [rng.sample("abcdef", 3) for _ in range(4)]
    rows = [
        (f"2026-01-{5 + day:02}T09:{minute:02}:00Z", f"u{user}", rng.choice(kind))
        for day in range(6)
        for user in range(8)
        if rng.random() < 0.7
        for kind in [rng.choice(kinds)]
        for minute in range(rng.choice([6, 12, 20]))
    ]
    found = amiss.groups(pl.DataFrame(rows, schema=["time", "user", "action"], orient="row"), by_day=True)
    alive = found.groups.filter(pl.col("members") > 0)
    assert alive["members"].sum() == len(found.members)
    assert set(found.members["group"]) == set(alive["id"])


def test_users_who_leave_a_group_together_for_something_new_split_it():
    """Two buyers begin to scrape: a new group that says which one it came from."""
    found = amiss.groups(log_of([KINDS, KINDS | {"b0": SCRAPE, "b1": SCRAPE}]), by_day=True)
    [split] = found.changes.filter(pl.col("change") == "split").to_dicts()
    assert (split["id"], split["after"], split["other"]) == (3, 2, 1)
    assert found.groups.filter(pl.col("id") == 1)["change"].item() == "shrank from 5 to 3"


def test_users_who_are_away_stay_in_their_group():
    """Sellers who stay away on the second day are still members, as of the first."""
    found = amiss.groups(log_of([KINDS, {user: does for user, does in KINDS.items() if user[0] == "b"}]), by_day=True)
    sellers = found.members.filter(pl.col("user").str.starts_with("s"))
    assert sellers["group"].to_list() == [2] * 4
    assert sellers["last_day"].to_list() == [date(2026, 1, 5)] * 4


@settings(max_examples=10)
@given(st.randoms(use_true_random=False))
def test_neither_the_order_of_users_nor_the_chunking_makes_a_difference(rng: random.Random):
    """Renamed codes, shuffled lines and a log in two pieces give the same groups."""
    log = log_of([KINDS | {"x": SCRAPE, "y": ["read", "view"] * 5}])
    lines = list(range(len(log)))
    rng.shuffle(lines)
    cut = rng.randrange(1, len(log))
    found, other = amiss.groups(log), amiss.groups([log[lines][:cut], log[lines][cut:]])
    assert other.groups.equals(found.groups)
    assert other.members.equals(found.members)


COUNTS = st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4).filter(any), min_size=2, max_size=6)
CONTEXT = np.array([0, 0, 1, 1])
BASE = {(0, 0): 0.25, (0, 1): 0.75, (1, 2): 0.5, (1, 3): 0.5}


def as_rows(counts: list[list[int]]) -> Rows:
    """Users by how often they showed each of four cells."""
    found = [(user, cell, times) for user, row in enumerate(counts) for cell, times in enumerate(row) if times]
    return Rows.of(*(np.array(each, dtype=np.int64) for each in zip(*found, strict=True)))


def as_counted(row: list[int]) -> dict[tuple[int, int], float]:
    """The same for the slow twin."""
    return {(int(CONTEXT[cell]), cell): float(times) for cell, times in enumerate(row) if times}


@given(COUNTS)
def test_costs_equal_those_of_the_loop_over_events(counts: list[list[int]]):
    """What a user costs in a group, or alone, is what the slow twin adds up event by event."""
    rows, cells = as_rows(counts), Cells(CONTEXT, np.array(list(BASE.values())))
    groups = Groups(cells, size=np.zeros(1))
    groups.add(rows, np.arange(len(rows)), np.zeros(len(rows), dtype=np.int64))
    together: Counter[tuple[int, int]] = Counter()
    for row in counts:
        together.update(as_counted(row))
    found = groups.costs(rows, np.zeros(len(rows), dtype=np.int64))
    assert found == pytest.approx([naive.cost(as_counted(row), together, BASE) for row in counts])
    alone = np.zeros(len(rows))
    kernel.costs_alone(*rows[1:], cells.context, cells.base, 1.0, alone)
    assert alone == pytest.approx([naive.adaptive(as_counted(row), BASE) for row in counts])


@given(COUNTS, COUNTS)
def test_two_groups_save_as_one_what_their_codes_say(one: list[list[int]], other: list[list[int]]):
    """The saving of a merger is the code length of both apart less that of both together."""
    parts = [list(map(as_counted, each)) for each in (one, other)]
    groups = Groups(Cells(CONTEXT, np.array(list(BASE.values()))), size=np.zeros(2))
    rows = as_rows(one + other)
    groups.add(rows, np.arange(len(rows)), np.array([0] * len(one) + [1] * len(other)))
    saved = kernel.saving(groups.counts, groups.totals, groups.size, groups.cells.base, 1.0, 0, 1)
    assert saved == pytest.approx(naive.whole(parts, BASE) - naive.whole([parts[0] + parts[1]], BASE), abs=1e-6)


@given(COUNTS)
def test_groups_never_cost_more_than_all_users_in_one_or_each_alone(counts: list[list[int]]):
    """What was found is told no longer than either extreme."""
    rows = as_rows(counts)
    users = list(map(as_counted, counts))
    groups = Groups(Cells(CONTEXT, np.array(list(BASE.values()))))
    chosen = groups.settle(rows)
    found = naive.whole([[users[at] for at in np.flatnonzero(chosen == group)] for group in set(chosen)], BASE)
    together, alone = naive.whole([users], BASE), naive.whole([[user] for user in users], BASE)
    assert found <= min(together, alone) + max(8.0, 0.05 * together)


def test_a_busy_user_counts_as_so_many_events_at_most():
    """The shares stay, the sum is bounded."""
    rows = Rows.of(np.array([0, 0]), np.array([0, 1]), [30_000, 10_000])
    assert rows.times.tolist() == [0.75 * MOST_EVENTS, 0.25 * MOST_EVENTS]


def test_a_limit_founds_a_group_for_each_user_who_is_further_off():
    """At a limit of 0 bits users who differ are apart, without one they are together."""
    log = log_of([{"a": ["view"] * 5 + ["buy"] * 4, "b": ["view"] * 5 + ["buy"] * 5}])
    assert len(amiss.groups(log).groups) == 1
    assert len(amiss.groups(log, limit=0).groups) >= len(amiss.groups(log).groups)


def test_labels_find_the_limit_of_the_notebooks_procedure():
    """The table of limits says how many pairs of either kind are near."""
    labels = {user: user[0] for user in KINDS}
    found = amiss.groups(log_of([KINDS]), method="seed001", labels=labels)
    assert found.limits is not None
    assert found.limits["limit"].to_list() == [float(limit) for limit in range(2, 11)]
    assert found.limits["same"].to_list() == [16] * 9
    assert found.limits["other"].to_list() == [20] * 9


def test_a_log_without_events_is_refused():
    """There is nothing to group, and the message says so."""
    with pytest.raises(SourceError, match="there are no events to read"):
        amiss.groups(log_of([KINDS]).clear())


def test_options_that_say_nothing_are_refused():
    """Unknown methods, negative limits, neither a log nor a state, groups that there are not."""
    log = log_of([KINDS])
    with pytest.raises(UsageError, match='method "bit" is unknown'):
        amiss.groups(log, method="bit")  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(UsageError, match="at least 0"):
        amiss.groups(log, limit=-1)
    with pytest.raises(UsageError, match="a window is a number of days, at least 1"):
        amiss.groups(log, window=0)
    with pytest.raises(UsageError, match="whose groups"):
        amiss.groups()
    with pytest.raises(UsageError, match=r"there is no group 9\. There are 1, 2"):
        amiss.groups(log).table(9)


def test_a_group_is_called_what_most_of_its_labelled_members_are():
    """With how many have that label and how many any; the others are named; of two as common the first by name."""
    known = {"b0": "buyer", "b1": "buyer", "b2": "bot", "s0": "staff", "s1": "seller", "nobody": "bot"}
    found = amiss.groups(log_of([KINDS]), labels=known)
    columns = ["id", "label", "label_of", "with_label", "labelled", "other_labels"]
    assert found.groups.select(columns).rows() == [
        (1, "buyer", "members", 2, 3, "bot 1"),
        (2, "seller", "members", 1, 2, "staff 1"),
    ]
    assert dict(found.members.select("user", "label").iter_rows())["b2"] == "bot"
    assert amiss.groups(log_of([KINDS])).groups["label"].to_list() == [None, None]
    assert _there(900, [*range(1, 30)]) == "There are 29, from 1 to 29; the nearest are 27, 28, 29"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A log of two days as a file, with a hostile user."""
    log = log_of([KINDS, KINDS | {"=evil()\x1b[31m": SCRAPE, "b0": SELL}])
    log.write_ndjson(tmp_path / "log.jsonl")
    return tmp_path / "log.jsonl"


def test_the_command_lists_groups_within_the_terminal_and_without_control_characters(run: Run, file: Path):
    """80 columns; what the attacker called themselves is spelled out."""
    ran = run("groups", str(file), "--by-day")
    assert ran.status == 0
    assert max(map(len, ran.out.splitlines())) <= 80
    assert "\x1b" not in ran.out
    assert "10 users in 3 groups, by what follows what." in ran.said
    assert "group 3 is new with 1 user: unlike group" in ran.said
    assert "b0 1 → 2" in ran.said
    shown = run("groups", "show", "3", str(file))
    assert "\x1b" not in shown.out
    assert "A typical member, =evil()\\x1b[31m: read x30" in shown.said


def test_labels_stand_below_what_a_group_does(run: Run, file: Path, tmp_path: Path):
    """Of a file, or of the configuration; in 80 columns, conflicts visible, and harmless whatever they are."""
    labels = tmp_path / "labels.csv"
    labels.write_text("user,label\nb1,buyer\nb2,buyer\ns0,a very long label of sellers\nb3,bot\x1b[31m\ns1,spammer\n")
    (tmp_path / "amiss.toml").write_text(f'[labels]\nfile = "{labels}"\n')
    for words in (["--labels", str(labels)], ["--config", str(tmp_path / "amiss.toml")]):
        ran = run("groups", str(file), "--by-day", *words)
        assert max(map(len, ran.out.splitlines())) <= 80
        assert "\x1b" not in ran.out
        for said in ("buyer 2 of 3 labelled", "bot\\x1b[31m 1", "a very…llers 1 of 2 labelled", "spammer 1"):
            assert said in [line.strip() for line in ran.out.splitlines()]
    shown = run("groups", "show", "1", str(file), "--labels", str(labels))
    assert "label: buyer 2 of 3 labelled; bot\\x1b[31m 1" in shown.said


def test_programs_get_every_table_in_every_form(run: Run, file: Path):
    """JSON has the groups as rows, CSV no formula, and a group shows counts by user, outcome and action."""
    found = json.loads(run("groups", str(file), "--format", "json").out)
    assert [row["members"] for row in found] == [4, 4, 1, 1]
    assert "'=evil()" in run("groups", str(file), "--table", "members", "--format", "csv").out
    shown = run("groups", "show", "2", str(file), "--format", "jsonl").out.splitlines()
    assert {"user", "outcome", "sell", "view"} <= set(json.loads(shown[0]))


def test_what_cannot_be_asked_is_a_usage_error(run: Run, file: Path):
    """Exit status 2, and a message that says what to do."""
    assert run("groups", "show", str(file)).status == 2
    assert run("groups", "show", "77", str(file)).status == 2
    ran = run("groups", str(file), "--table", "limits")
    assert (ran.status, "--method seed001 --labels FILE" in ran.said_beside) == (2, True)


def test_simulated_kinds_are_found_again(tmp_path: Path):
    """Of five simulated days with 400 users and 40 new ones a day, 0.98 are with their own kind, in few groups."""
    log, truth = tmp_path / "log.csv", tmp_path / "truth.csv"
    write_marketplace(log, users=400, days=5, seed=11, new_users_per_day=40, truth=truth)
    kinds = dict(pl.read_csv(truth).select("user", "type").iter_rows())
    for by_day in (False, True):
        found = amiss.groups(log, by_day=by_day)
        assert purity(found.members, kinds) >= 0.98
        assert len(found.groups) <= 8
        two = found.members.filter(pl.col("group").is_in(found.groups["id"].head(2).implode()))
        assert len(two) >= 0.97 * len(found.members)


@pytest.mark.slow
def test_a_hundred_thousand_users_are_grouped_in_five_seconds():
    """Users of 12 kinds who did 30 different things, and each is with their own kind."""
    rng = np.random.default_rng(3)
    kind = rng.integers(0, 12, 100_000)
    table = rng.multinomial(rng.integers(50, 400, 100_000), rng.dirichlet(np.full(30, 0.5), 12)[kind])
    user, cell = np.nonzero(table)
    rows = Rows.of(user, cell, table[user, cell])
    groups = Groups(Cells.of(np.zeros(30, dtype=np.int64), rows.seen(30)))
    began = time.perf_counter()
    chosen = groups.settle(rows)
    assert time.perf_counter() - began < 5
    pairs = {(int(group), int(of)) for group, of in zip(chosen, kind, strict=True)}
    assert len(pairs) == 12
