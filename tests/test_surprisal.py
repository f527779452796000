"""The surprisal table: published figures, the unseen, merging, and equality with a dict loop."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss import surprisal
from amiss.events import CODED_SCHEMA
from amiss.surprisal import COUNT_SCHEMA, NO_ACTION
from amiss.vocabulary import Vocabulary

SUCCESS, FAILURE, UNKNOWN = 0, 1, 2
Row = tuple[int, int, int]

PUBLISHED_SUMS = {
    "bot1392": 34192.771972,
    "bot831": 29638.440077,
    "bot524": 22653.550349,
    "bot2148": 18399.108431,
    "bot202": 17577.598547,
    "bot1387": 17495.991605,
    "bot194": 8600.834908,
    "bot1972": 8094.871867,
    "bot691": 7153.671801,
    "bot1183": 6756.518015,
}
PUBLISHED_Z = {
    "bot1392": 30.525805,
    "bot831": 26.438511,
    "bot524": 20.169908,
    "bot2148": 16.351751,
    "bot202": 15.614486,
    "bot1387": 15.541248,
    "bot194": 7.558272,
    "bot1972": 7.104195,
    "bot1183": 5.903087,
}


class Log:
    """A marketplace log as coded events of one user after another."""

    def __init__(self, file: Path) -> None:
        text = pl.read_csv(file)
        self.users, self.actions = Vocabulary(), Vocabulary()
        self.events = pl.DataFrame(
            {
                "user": self.users.encode(text["user"]),
                "action": self.actions.encode(text["path"]),
                "outcome": (text["status"] == "fail").cast(pl.UInt8),
            }
        ).sort("user", maintain_order=True)
        self.counts = surprisal.summarise(self.events)
        self.table = surprisal.transitions(self.counts)

    def row(self, action: str, previous: str) -> dict[str, float]:
        """The row of the table for an action after another."""
        readable = surprisal.decoded(self.table, actions=self.actions)
        return readable.row(by_predicate=(pl.col("action") == action) & (pl.col("previous") == previous), named=True)

    def sums(self, outcome: int | None = None) -> dict[str, tuple[float, float]]:
        """Surprisal and z per user, with the outcome of every event replaced when one is given."""
        events = self.events if outcome is None else self.events.with_columns(outcome=pl.lit(outcome, pl.UInt8))
        totals = surprisal.totals(surprisal.profile(events, self.table))
        readable = surprisal.decoded(totals, actions=self.actions, users=self.users)
        return {user: (bits, z) for user, _, bits, z in readable.iter_rows()}


@pytest.fixture(scope="module")
def first(shared_data: Path) -> Log:
    """The log of the first notebook."""
    return Log(shared_data / "marketplace" / "seed000_1000users_day1.csv.gz")


@pytest.fixture(scope="module")
def second(shared_data: Path) -> Log:
    """The first day of the second notebook."""
    return Log(shared_data / "marketplace" / "seed001_3000users_day1.csv.gz")


def test_the_published_outcomes_of_login_come_out_to_the_last_digit(first: Log) -> None:
    """1001 logins went well and 40 failed in the first notebook's log."""
    table = surprisal.decoded(surprisal.outcomes(first.counts), actions=first.actions)
    assert table.row(by_predicate=pl.col("action") == "login") == (
        "login",
        1001,
        40,
        0.05652809446342354,
        4.701826258412055,
        0.23502177991774187,
    )


def test_the_published_transition_of_the_first_notebook_comes_out_to_the_last_digit(first: Log) -> None:
    """Buying right after login: 6 went well, 1 failed."""
    row = first.row("buy_item", "login")
    assert (row["success"], row["failure"]) == (6, 1)
    assert row["bits_success"] == 7.7027498788282935
    assert row["bits_failure"] == 10.287712379549449
    assert row["entropy"] == 0.045203369322015366


def test_the_published_transition_of_the_second_notebook_comes_out_to_the_last_digit(second: Log) -> None:
    """Buying right after login: 28 went well, 1 failed."""
    row = second.row("buy_item", "login")
    assert (row["success"], row["failure"]) == (28, 1)
    assert row["bits_success"] == 7.095773754754716
    assert row["bits_failure"] == 11.903128676812319


def test_the_published_sums_come_out_when_every_event_counts_as_failure(second: Log) -> None:
    """The second notebook adds the failure's bits for every event; its ten largest sums and z come out."""
    sums = second.sums(FAILURE)
    top = sorted(sums, key=lambda user: -sums[user][0])[:10]
    assert {user: round(sums[user][0], 6) for user in top} == PUBLISHED_SUMS
    assert {user: round(sums[user][1], 6) for user in PUBLISHED_Z} == PUBLISHED_Z
    assert top == list(PUBLISHED_SUMS)


def test_the_published_most_boring_user_comes_out(second: Log) -> None:
    """buyer238 has the least of the notebook's surprisal."""
    sums = second.sums(FAILURE)
    assert min(sums, key=lambda user: sums[user][0]) == "buyer238"
    assert round(sums["buyer238"][0], 6) == 4.985645


def test_with_the_outcome_as_meant_the_busiest_bot_still_leads(second: Log) -> None:
    """Successes at the bits of success leave bot1392 with 3277.49 bits, 33.04 standard deviations out."""
    sums = second.sums()
    assert max(sums, key=lambda user: sums[user][0]) == "bot1392"
    assert sums["bot1392"] == (pytest.approx(3277.49, abs=0.005), pytest.approx(33.04, abs=0.005))


def test_a_count_of_zero_reads_as_one() -> None:
    """Three successes and no failure: the failure costs as if one of three had failed."""
    table = surprisal.transitions(surprisal.summarise(_events([(0, 5, SUCCESS), (1, 5, SUCCESS), (2, 5, SUCCESS)])))
    assert table["success"].to_list() == [3]
    assert table["failure"].to_list() == [0]
    assert table["bits_success"].to_list() == [0.0]
    assert table["bits_failure"].to_list() == [pytest.approx(math.log2(3))]


def test_an_action_that_never_went_well_counts_one_success_more_among_its_outcomes() -> None:
    """Three failures alone: shares of four, so that the success costs 2 bits."""
    table = surprisal.outcomes(surprisal.summarise(_events([(0, 5, FAILURE), (1, 5, FAILURE), (2, 5, FAILURE)])))
    assert table["bits_success"].to_list() == [2.0]
    assert table["bits_failure"].to_list() == [pytest.approx(math.log2(4 / 3))]


def test_an_unseen_previous_action_costs_the_logarithm_of_the_action_s_events() -> None:
    """Action 1 was seen twice, never after itself: 1 bit; then known action 0 after it: unseen, 1 bit."""
    table = surprisal.transitions(surprisal.summarise(_events([(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0)])))
    assert surprisal.surprisals(_events([(7, 1, 0), (7, 1, 1), (7, 0, 0)]), table).to_list() == [1.0, 1.0, 1.0]


def test_an_unseen_action_costs_the_logarithm_of_all_events() -> None:
    """Four events are known; an action never seen costs 2 bits."""
    table = surprisal.transitions(surprisal.summarise(_events([(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0)])))
    assert surprisal.surprisals(_events([(7, 9, 0)]), table).to_list() == [2.0]


def test_a_table_of_nothing_makes_nothing_surprising() -> None:
    """Without any known event there is nothing to be surprised about: 0 bits, not minus infinity."""
    table = surprisal.transitions(surprisal.merge())
    assert surprisal.surprisals(_events([(0, 3, 0)]), table).to_list() == [0.0]
    assert surprisal.merge().schema == pl.Schema(COUNT_SCHEMA)


def test_no_events_have_no_profile() -> None:
    """Empty in, empty out, with the same columns."""
    empty = _events([])
    table = surprisal.transitions(surprisal.summarise(empty))
    assert surprisal.surprisals(empty, table).to_list() == []
    assert surprisal.totals(surprisal.profile(empty, table)).columns == ["user", "events", "surprisal", "z"]


def test_an_unknown_outcome_counts_as_success() -> None:
    """Logs without outcomes are all success."""
    known, unknown = _events([(0, 1, SUCCESS), (0, 2, SUCCESS)]), _events([(0, 1, UNKNOWN), (0, 2, UNKNOWN)])
    assert surprisal.summarise(unknown).equals(surprisal.summarise(known))


def test_the_first_action_of_a_user_has_no_previous_one() -> None:
    """The last action of the user before does not leak into the next user's first."""
    counts = surprisal.summarise(_events([(0, 1, 0), (1, 2, 0)]))
    assert counts["previous"].to_list() == [NO_ACTION, NO_ACTION]


def test_equal_users_do_not_stand_out() -> None:
    """With no spread, and with one user only, z is 0."""
    for rows in ([(0, 1, 0)], [(0, 1, 0), (1, 1, 0)]):
        events = _events(rows)
        sums = surprisal.profile(events, surprisal.transitions(surprisal.summarise(events)))
        assert set(surprisal.totals(sums)["z"]) == {0.0}


def test_decoding_keeps_counts_and_shows_no_previous_action_as_empty() -> None:
    """Codes become texts only at the edge."""
    frame = pl.DataFrame([(NO_ACTION, 0, False, 3), (0, 1, True, 1)], schema=COUNT_SCHEMA, orient="row")
    rows = surprisal.decoded(frame, actions=Vocabulary(["login", "buy"])).rows()
    assert rows == [("", "login", False, 3), ("login", "buy", True, 1)]


def _events(rows: list[Row]) -> pl.DataFrame:
    """Coded events from rows of user, action, outcome, users together."""
    schema = {name: CODED_SCHEMA[name] for name in ("user", "action", "outcome")}
    return pl.DataFrame(sorted(rows, key=lambda row: row[0]), schema=schema, orient="row")


class NaiveTable:
    """The surprisal table by a loop over dictionaries."""

    def __init__(self, rows: list[Row]) -> None:
        self.pairs: Counter[tuple[int, int, bool]] = Counter()
        self.events: Counter[int] = Counter()
        for _, action, previous, failed in naive_steps(rows):
            self.pairs[action, previous, failed] += 1
            self.events[action] += 1

    def bits(self, action: int, previous: int, *, failed: bool) -> float:
        """What an action costs after another."""
        if action not in self.events:
            return math.log2(max(self.events.total(), 1))
        if not self.pairs[action, previous, False] + self.pairs[action, previous, True]:
            return math.log2(self.events[action])
        return -math.log2(max(self.pairs[action, previous, failed], 1) / self.events[action])


def naive_steps(rows: list[Row]) -> list[tuple[int, int, int, bool]]:
    """User, action, previous action and whether it failed, per event."""
    latest: dict[int, int] = {}
    steps = []
    for user, action, outcome in sorted(rows, key=lambda row: row[0]):
        steps.append((user, action, latest.get(user, NO_ACTION), outcome == FAILURE))
        latest[user] = action
    return steps


logs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 2)), max_size=40)


@given(past=logs, today=logs)
def test_it_equals_a_loop_over_dictionaries(past: list[Row], today: list[Row]) -> None:
    """Every event costs what the slow and obvious way says, and the sums per user and action agree."""
    naive = NaiveTable(past)
    steps = naive_steps(today)
    wanted = [naive.bits(action, previous, failed=failed) for _, action, previous, failed in steps]
    table = surprisal.transitions(surprisal.summarise(_events(past)))
    assert surprisal.surprisals(_events(today), table).to_list() == pytest.approx(wanted, abs=1e-12)
    sums: defaultdict[tuple[int, int], float] = defaultdict(float)
    for (user, action, *_), bits in zip(steps, wanted, strict=True):
        sums[user, action] += bits
    profile = surprisal.profile(_events(today), table)
    assert {(user, action): bits for user, action, _, bits in profile.iter_rows()} == pytest.approx(sums, abs=1e-8)
    assert profile["events"].sum() == len(today)


@given(rows=logs)
def test_the_shares_of_an_action_s_transitions_sum_to_one(rows: list[Row]) -> None:
    """2^-bits over the transitions that were seen is the whole of each action."""
    table = surprisal.transitions(surprisal.summarise(_events(rows)))
    for _, part in table.group_by("action"):
        seen = [2.0**-bits for bits, count in part.select("bits_success", "success").iter_rows() if count]
        seen += [2.0**-bits for bits, count in part.select("bits_failure", "failure").iter_rows() if count]
        assert math.fsum(seen) == pytest.approx(1)


@given(first_rows=logs, second_rows=logs, third_rows=logs)
def test_counts_merge_like_numbers(first_rows: list[Row], second_rows: list[Row], third_rows: list[Row]) -> None:
    """Order and grouping do not matter, and nothing merged in changes nothing."""
    a, b, c = (surprisal.summarise(_events(rows)) for rows in (first_rows, second_rows, third_rows))
    assert surprisal.merge(a, b).equals(surprisal.merge(b, a))
    assert surprisal.merge(surprisal.merge(a, b), c).equals(surprisal.merge(a, surprisal.merge(b, c)))
    assert surprisal.merge(a, surprisal.merge()).equals(a)


@given(rows=logs, user=st.integers(0, 4))
def test_counts_of_a_log_are_those_of_its_users_merged(rows: list[Row], user: int) -> None:
    """Any split by user gives the same counts."""
    here, there = [row for row in rows if row[0] < user], [row for row in rows if row[0] >= user]
    parts = surprisal.merge(surprisal.summarise(_events(here)), surprisal.summarise(_events(there)))
    assert parts.equals(surprisal.summarise(_events(rows)))
