"""Pictures of groups show what groups are, in the same colours and on the same axes, whatever the names in a log."""

from __future__ import annotations

import itertools
import math
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.commands import Run
from tests.test_report import TAGS, Page

import amiss
from amiss import embedding, plots, plots_groups, report_groups
from amiss.behaviour import Grouped, grouped
from amiss.cast import COLOURS, OTHERS, Cast
from amiss.errors import UsageError
from amiss.grouping import Rows
from amiss.history import AWAY, NEW, Day, History
from amiss.plots_activity import DARK
from amiss.plots_flow import flow_chart
from amiss.sankey import GAP, THINNEST, layout
from amiss.surprisal import COUNT_SCHEMA
from amiss.vocabulary import Vocabulary

HOSTILE = "</text><script>alert(1)</script>\x1b[31m\x00\u202e'\""
START = datetime(2026, 1, 5, 8, tzinfo=UTC)
BUYS, SELLS, READS = ["login", "view", "buy"], ["login", "view", "sell"], ["login", "view", f"read {HOSTILE}"]


def events(day: int, user: str, actions: list[str], times: int = 8) -> list[tuple[datetime, str, str, str]]:
    """A user's round of actions on a day, the first of each round a failure at times."""
    return [
        (START + timedelta(days=day, minutes=number), user, action, "failure" if number % 7 == 6 else "success")
        for number, action in enumerate(actions * times)
    ]


def frame(rows: list[tuple[datetime, str, str, str]]) -> pl.DataFrame:
    """A log."""
    return pl.DataFrame(rows, schema=["time", "user", "action", "outcome"], orient="row").sort("time", "user")


def log() -> pl.DataFrame:
    """Three days: 6 buyers, 6 sellers; 3 readers come on the second; a buyer sells then, and one is away."""
    rows = []
    for day in range(3):
        for number in range(6):
            moves, away = (number == 0 and day == 1), (number == 1 and day == 1)
            rows += [] if away else events(day, f"b{number}", SELLS if moves else BUYS)
            rows += events(day, f"s{number}", SELLS)
        rows += [event for number in range(3) if day for event in events(day, f"{HOSTILE}{number}", READS, 20)]
    return frame(rows)


@pytest.fixture(scope="module")
def found() -> Grouped:
    """The groups of three days."""
    return amiss.groups(log(), by_day=True)


def group_of(found: Grouped, user: str) -> int:
    """The number of a user's group after the last day."""
    return int(found.members.row(by_predicate=pl.col("user") == user, named=True)["group"])


def test_sizes_count_members_and_those_who_came(found: Grouped):
    """The buyer who is away stays a member; the one who sells is counted there."""
    buyers, sellers = group_of(found, "b2"), group_of(found, "s2")
    second = found.history.sizes().filter(pl.col("day") == date(2026, 1, 6)).drop("day").rows()
    assert second[:2] == sorted([(buyers, 5, 4), (sellers, 7, 7)])
    last = found.history.sizes().filter(pl.col("day") == date(2026, 1, 7), pl.col("members") > 0)
    assert dict(last.select("group", "members").iter_rows()) == dict(
        found.groups.filter(pl.col("members") > 0).select("id", "members").iter_rows()
    )


def test_flows_say_who_stayed_moved_came_and_went(found: Grouped):
    """Typed out: one buyer sells on the second day and one is away, both are back on the third; readers are new."""
    buyers, sellers, readers = group_of(found, "b2"), group_of(found, "s2"), group_of(found, f"{HOSTILE}1")
    second, third = date(2026, 1, 6), date(2026, 1, 7)
    assert set(found.history.flows().rows()) == {
        (second, buyers, buyers, 4),
        (second, buyers, sellers, 1),
        (second, buyers, AWAY, 1),
        (second, sellers, sellers, 6),
        (second, NEW, readers, 3),
        (third, buyers, buyers, 4),
        (third, sellers, buyers, 1),
        (third, AWAY, buyers, 1),
        (third, sellers, sellers, 6),
        (third, readers, readers, 3),
    }


def test_surprisal_by_action_is_that_of_a_member():
    """Of six views two come first, at log2 3 bits, and four after a view, at log2 1.5: 2.755 bits a member."""
    found = amiss.groups(frame([*events(0, "ann", ["view"], 3), *events(0, "bob", ["view"], 3)]))
    told = found.history.surprisal().rows()
    assert told == [(1, "view", pytest.approx(math.log2(3) + 2 * math.log2(1.5)), 3.0)]


def test_failures_are_actions_of_their_own(found: Grouped):
    """A failed action is marked, and what all actions of a group cost is their sum in the table of a picture."""
    told = found.history.surprisal()
    assert {"view", "view ✗"} <= set(told["action"])
    table = plots_groups.action_table(found, actions=2)
    sums = {each: dict(frame.group_by("group").agg(pl.sum("surprisal")).iter_rows()) for each, frame in
            (("all", told), ("drawn", table))}  # fmt: skip
    assert sums["drawn"] == pytest.approx(sums["all"])
    assert table["action"].head(3).to_list()[2] is None


def test_who_does_the_same_stands_at_the_same_place_day_by_day(found: Grouped):
    """A seller of all three days has one place; the buyer who sold for a day goes there and comes back."""
    places = found.history.places()
    at = {(user, day.day): (x, y) for day, user, _, x, y in places.iter_rows()}
    assert at["s2", 5] == pytest.approx(at["s2", 6])
    assert at["s2", 5] == pytest.approx(at["s2", 7])
    assert at["b0", 6] == pytest.approx(at["s2", 6])
    assert math.dist(at["b0", 5], at["b0", 6]) > 0.1
    assert at["b0", 5] == pytest.approx(at["b0", 7])


def test_places_do_not_depend_on_the_order_of_a_log(found: Grouped):
    """Users get other codes when they come in another order; names, numbers and places stay."""
    other = amiss.groups(log().sort("time", "user", descending=[False, True], maintain_order=True), by_day=True)
    one, two = found.history.places(), other.history.places()
    assert one.select("day", "user").equals(two.select("day", "user"))
    np.testing.assert_allclose(one.select("x", "y").to_numpy(), two.select("x", "y").to_numpy(), atol=1e-9)


def test_a_new_day_leaves_points_where_they_are(found: Grouped, monkeypatch: pytest.MonkeyPatch):
    """Axes follow from the first days alone: here from one, so that two more change nothing of it."""
    monkeypatch.setattr("amiss.history.FITTED_DAYS", 1)
    whole = found.history.places().filter(pl.col("day") == date(2026, 1, 5))
    first = History(found.history.days[:1], found.history.users, found.history.actions, found.history.context)
    known = first.places().select("user", "x", "y")
    np.testing.assert_allclose(whole.select("x", "y").to_numpy(), known.select("x", "y").to_numpy(), atol=1e-9)


def test_a_map_has_users_of_each_group_and_few_of_large_ones():
    """All five sellers are on a map of about 20, and so few of a hundred buyers; the same ones whenever it is drawn."""
    rows = [event for number in range(100) for event in events(0, f"b{number}", BUYS, 4)]
    found = amiss.groups(frame([*rows, *(event for number in range(5) for event in events(0, f"s{number}", SELLS, 9))]))
    drawn = found.history.places(20)
    assert drawn.filter(pl.col("group") == group_of(found, "s1")).height == 5
    assert 5 <= drawn.filter(pl.col("group") == group_of(found, "b1")).height <= 35
    assert drawn["user"].to_list() == found.history.places(20)["user"].to_list()


@given(st.permutations(range(6)))
def test_a_plane_does_not_depend_on_the_order_of_points(order: list[int]):
    """Bit for bit, and a direction without differences is none."""
    points = np.array([[0.0, 1, 5], [3, 1, 5], [1, 4, 5], [7, 2, 5], [2, 2, 5], [9, 9, 5]])
    weights = np.array([1.0, 2, 1, 1, 0.5, 3])
    one, two = embedding.fit(points, weights), embedding.fit(points[order], weights[order])
    assert np.array_equal(one.directions, two.directions)
    assert (one.directions[2] == 0).all()
    assert (np.abs(one.directions).max(axis=0) == one.directions.max(axis=0)).all()


def test_points_on_a_line_have_no_second_axis():
    """One feature, or no spread at all: zeros, never a wild direction."""
    line = embedding.fit(np.array([[1.0], [4.0]]), np.ones(2))
    assert line.place(np.array([[4.0]])).tolist() == [[1.5, 0.0]]
    assert embedding.fit(np.ones((3, 4)), np.ones(3)).place(np.ones((1, 4))).tolist() == [[0.0, 0.0]]
    assert embedding.fit(np.zeros((0, 2)), np.zeros(0)).place(np.ones((1, 2))).tolist() == [[0.0, 0.0]]


def test_features_equal_their_slow_twin():
    """Bits of each event of each user, in loops, with four usual events besides."""
    rng = np.random.default_rng(1)
    table = rng.poisson(1.5, (5, 6)).astype(float)
    table[:, 0] += 1
    user, cell = np.nonzero(table)
    rows = Rows.of(user, cell, table[user, cell])
    bits = embedding.costs(rng.poisson(3.0, (2, 6)).astype(float), np.array([0, 0, 1, 1, 1, 2]))
    usual = table.sum(axis=0) @ bits / table.sum()
    naive = [[(table[u] @ bits[:, g] + 4 * usual[g]) / (table[u].sum() + 4) for g in range(3)] for u in range(5)]
    np.testing.assert_allclose(embedding.features(rows, bits), naive)
    for low, high in ((0, 2), (2, 5), (5, 6)):
        assert np.exp2(-bits[low:high]).sum(axis=0) == pytest.approx(1.0)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5_000)), min_size=1, max_size=12))
def test_bars_are_as_high_as_their_ribbons_and_lanes_lie_apart(rows: list[tuple[int, int, int]]):
    """Nothing is lost between bars, nothing leaves its lane, and the thinnest ribbon can be seen."""
    flow = pl.DataFrame(rows, ["left", "joined", "users"], orient="row")
    found = layout([flow, flow], [1, 2, 3, 4], width=300.0, height=400.0)
    thick = found.ribbons.group_by("ribbon").agg(
        pl.first("left", "joined", "x"), high=(pl.col("bottom") - pl.col("top")).first()
    )
    assert min(thick["high"]) >= THINNEST - 1e-9
    first = thick.filter(pl.col("x") < 100).group_by("left").agg(pl.sum("high")).sort("left")["high"].to_list()
    bars = found.nodes.filter(pl.col("column") == 0).sort("node").select(pl.col("bottom") - pl.col("top"))["bottom"]
    assert bars.to_list() == pytest.approx(first)
    assert all(two[0] - one[1] == pytest.approx(GAP) for one, two in itertools.pairwise(found.lanes.values()))
    for _, node, _, _, _, top, bottom in found.nodes.iter_rows():
        assert found.lanes[node][0] <= top < bottom <= found.lanes[node][1] + 1e-9
    assert max(found.nodes["bottom"]) <= 400.0 + 1e-6


def linear(colour: str) -> np.ndarray:
    """A colour as linear light: (3,)."""
    parts = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


SIGHTS = {
    "all": "1 0 0 0 1 0 0 0 1",
    "no red": "0.152286 1.052583 -0.204868 0.114503 0.786281 0.099216 -0.003882 -0.048116 1.051998",
    "no green": "0.367322 0.860646 -0.227968 0.280085 0.672501 0.047413 -0.01182 0.04294 0.968881",
    "no blue": "1.255528 -0.076749 -0.178779 -0.078411 0.930809 0.147602 0.004733 0.691367 0.3039",
}
"""Linear light as people see it (Machado, Oliveira, Fernandes 2009, severity 1)."""


def seen(colour: str, sight: np.ndarray) -> np.ndarray:
    """A colour as someone sees it, in a space where distances are those of perception (Ottosson 2020, Oklab)."""
    light = np.clip(sight @ linear(colour), 0, 1)
    cones = np.cbrt(np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.63]]) @ light)
    return np.array([[0.2105, 0.7936, -0.0041], [1.978, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]) @ cones


@pytest.mark.parametrize("sight", SIGHTS)
def test_the_colour_blind_tell_groups_apart(sight: str):
    """No two colours are nearer than 0.15, for whoever; a difference is seen from about 0.02 on."""
    matrix = np.array(SIGHTS[sight].split(), dtype=float).reshape(3, 3)
    points = [seen(colour, matrix) for colour in COLOURS]
    assert min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(points, 2)) >= 0.15


@pytest.mark.parametrize("paper", [plots.PAPER, DARK.paper])
def test_colours_are_seen_on_light_and_on_dark_paper(paper: str):
    """The contrast of each is 1.85 at least on both."""
    light = np.array([0.2126, 0.7152, 0.0722])
    for colour in COLOURS:
        low, high = sorted((float(light @ linear(colour)), float(light @ linear(paper))))
        assert (high + 0.05) / (low + 0.05) >= 1.85


def test_a_group_has_the_same_colour_in_all_pictures(found: Grouped):
    """Each picture has the colours of the cast, and no other ones of the kind."""
    cast = Cast.of(found)
    assert len(set(cast.colours.values())) == len(cast.drawn) == 3
    for kind in plots_groups.KINDS:
        drawn = str(found.plot(kind).to_dict(validate=False))
        assert {colour for colour in COLOURS if colour in drawn} == set(cast.colours.values()), kind


def test_a_colour_follows_from_the_number_of_a_group():
    """Of groups 1, 2 and 9 the ninth would have the first's colour, so it gets one that is left."""
    groups = pl.DataFrame({"id": [1, 2, 9], "does": ["a", "b", "c"], "members": 9, "label": [None, "bot", "ad"]})
    groups = groups.with_columns(label_of=pl.Series([None, "members", "group"]), with_label=2)
    kept = Cast.of(Grouped(groups, *[pl.DataFrame()] * 3, 0, history=many([1, 2, 9])))
    assert [kept.colours[each] for each in (1, 2, 9)] == [COLOURS[0], COLOURS[1], COLOURS[2]]
    assert [kept.name(2, 40), kept.name(2, 20), kept.name(9, 40)] == ["bot (2 of 9): b", "bot (2 of 9)", "ad: c"]


def test_groups_of_today_have_colours_before_those_of_the_past():
    """Nine groups, of which the largest is empty on the last day: eight colours go to the others."""
    history = many(list(range(1, 10)), days=1)
    last = history.days[0]._replace(day=date(2026, 1, 6), group=np.maximum(history.days[0].group, 1))
    found = Grouped(
        pl.DataFrame({"id": range(1, 10), "does": ["x"] * 9, "label": [None] * 9}), *[pl.DataFrame()] * 3, 0,
        history=History([*history.days, last], history.users, history.actions, history.context),
    )  # fmt: skip
    assert set(Cast.of(found).drawn) == {2, 3, 4, 5, 6, 7, 8, 9}


def many(groups: list[int], days: int = 2) -> History:
    """A history of users who are in these groups, a user fewer in each, and go one group on each day."""
    owner = np.array([at for at in range(len(groups)) for _ in range(len(groups) + 1 - at)])
    rows = Rows.of(np.arange(len(owner)), np.zeros(len(owner), dtype=np.int64), np.ones(len(owner)))
    steps = pl.DataFrame(schema={"user": pl.UInt32()} | COUNT_SCHEMA)
    numbers = np.array(groups)
    told = [Day(date(2026, 1, 5 + day), rows, steps, numbers[(owner + day) % len(groups)] - 1) for day in range(days)]
    return History(
        told, Vocabulary([f"u{at}" for at in range(len(owner))]), Vocabulary(["x"]), np.zeros(1, dtype=np.int64)
    )


def test_small_groups_flow_as_one():
    """Of 20 groups eight have lanes of their own, and there is one for the other twelve."""
    history = many(list(range(1, 21)))
    groups = pl.DataFrame({"id": range(1, 21), "does": ["x 100%"] * 20, "members": [1] * 20, "label": [None] * 20})
    found = Grouped(groups, pl.DataFrame({"user": ["u0"]}), *[pl.DataFrame()] * 2, 0, history=history)
    chart = str(flow_chart(found).to_dict(validate=False))
    assert "12 other groups" in chart
    assert Cast.of(found).colour(OTHERS) in chart
    assert "12 smaller groups are not told apart" in chart


@pytest.mark.parametrize(("kind", "said"), [("flow", "two days"), ("bars", "Known: sizes, actions, map, flow")])
def test_what_cannot_be_drawn_is_said(kind: str, said: str):
    """A flow takes two days, and a picture has one of four kinds."""
    alone = amiss.groups(frame(events(0, "ann", BUYS)))
    with pytest.raises(UsageError, match=said):
        alone.plot(kind)


def test_nobody_cannot_be_drawn():
    """Groups without users, as of a log that holds no events that could be read."""
    with pytest.raises(UsageError, match="nothing to draw"):
        plots_groups.drawn(grouped([]), "sizes")


@pytest.fixture(scope="module")
def page(found: Grouped) -> str:
    """The report, of groups with a hostile label."""
    return report_groups.render(found.labelled({"b2": "buyer", "b3": "buyer", "s1": f"{HOSTILE[:10]}"}))


def test_the_report_loads_nothing_and_no_name_breaks_it(page: str):
    """Tags are those of reports, attributes run nothing, and what steers a terminal or a line is spelled out."""
    told = Page(page)
    assert told.tags <= {*TAGS.split(), "circle"}
    assert not [name for _, name, _ in told.attributes if name.startswith("on") or name == "style"]
    assert not [each for name in ("href", "src") for each in told.values(name) if each != "data:,"]
    assert not [text for text in ("<script", "\x1b", "\x00", "\u202e") if text in page]
    assert "default-src 'none'" in page
    assert f"read {HOSTILE[:7]}" not in page


def test_the_report_tells_of_groups_pictures_changes_and_moves(page: str, found: Grouped):
    """Each picture twice, for wide pages and for phones; the headline, the new group, and why a user moved."""
    told = Page(page)
    texts = " ".join(itertools.chain.from_iterable(told.texts.values()))
    assert "15 users in 3 groups, 1 moved on the last day" in texts
    assert len([each for each in told.values("class") if each == "chart"]) == 8
    assert len([each for each in told.values("class") if each == "swatch"]) == 3
    assert f"group {group_of(found, f'{HOSTILE}0')} is new, with 3 users" in texts
    assert re.search(r"unlike group \d, the nearest: \d+% \(there \d+%\)", texts)
    assert "b0" in told.texts["bdi"]
    assert re.search(r": \d → \d", texts)
    assert "after view (" in texts
    assert "buyer 2 of 2 labelled" in told.texts["bdi"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The log of three days."""
    written = tmp_path / "log.parquet"
    log().write_parquet(written)
    return written


def test_the_command_draws_and_reports(run: Run, file: Path, tmp_path: Path):
    """A picture has the form that its name says; a report goes beside the table."""
    output = tmp_path / "sizes.svg"
    assert run("groups", str(file), "--by-day", "--plot", "sizes", "-o", str(output)).status == 0
    drawn = output.read_text()
    assert drawn.startswith("<svg")
    assert "5 Jan" in drawn
    beside = tmp_path / "groups.html"
    ran = run("groups", str(file), "--report", str(beside))
    assert (ran.status, "15 users in " in ran.said) == (0, True)
    assert beside.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--plot", "map"], "-o map.svg"),
        (["--plot", "map", "-o", "map.txt"], ".png, .svg or .html"),
        (["--plot", "flow", "-o", "x.svg"], "--by-day"),
        (["--plot", "sizes", "-o", "x.svg", "--format", "json"], "give one of them"),
    ],
)
def test_what_the_command_cannot_draw_is_a_usage_error(run: Run, file: Path, words: list[str], said: str):
    """Status 2, and what to do; nothing is written."""
    ran = run("groups", str(file), *words)
    assert (ran.status, said in ran.said_beside) == (2, True)
    assert not Path("x.svg").exists()


def test_a_terminal_shows_a_line_for_a_group_and_for_a_move(run: Run, file: Path):
    """Members with how many more they are than the day before, and numbers in columns."""
    ran = run("groups", str(file), "--by-day")
    lines = ran.out.splitlines()
    assert max(map(len, lines)) <= 80
    groups = [line.split()[:3] for line in lines if re.match(r" +\d +\d+ .* 2026-01-0", line)]
    assert sorted((members, change) for _, members, change in groups[:2]) == [("6", "+1"), ("6", "-1")]
    assert "1 user moved on 2026-01-07" in ran.said
    assert "x1b" not in ran.out.replace("\\x1b", "")
    shown = run("groups", "show", "1", str(file), "--by-day")
    assert "On 2026-01-07 1 user" in shown.said
    assert re.search(r"^user +outcome +login +view +buy +sell$", shown.out, re.MULTILINE)
    assert re.search(r"^b2 +success +21 +21 +21 +·$", shown.out, re.MULTILINE)
