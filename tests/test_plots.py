"""Charts draw what frames say, whatever the names in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
import vl_convert

from amiss import plots

HOSTILE = "</text><script>alert(1)</script>\x1b[31m\x00\u202e'\""


def story(evidence, *, hour=8):
    """Events ten seconds apart with this running evidence."""
    start = datetime(2026, 1, 5, hour, tzinfo=UTC)
    times = [start + timedelta(seconds=10 * number) for number in range(len(evidence))]
    columns = {"time": times, "evidence": evidence, "surprisal": [1.0] * len(times), "bits": [0.5] * len(times)}
    return pl.DataFrame(columns, schema_overrides={"time": pl.Datetime("us", "UTC"), "evidence": pl.Float64})


def transitions(*rows):
    """A surprisal table of action, previous, success, failure."""
    table = pl.DataFrame(rows, schema=["action", "previous", "success", "failure"], orient="row")
    return table.with_columns(pl.lit(1.5).alias("bits_success"), pl.lit(8.0).alias("bits_failure"))


def svg(chart):
    """The chart as drawn."""
    return vl_convert.vegalite_to_svg(chart.to_dict(), allowed_base_urls=[])


def test_the_timeline_names_each_user_and_the_threshold():
    """Lines are labelled where they end, the threshold where it lies."""
    drawn = svg(plots.evidence_timeline({"ann": story([1, 9.0]), "bob": story([0, 12.5])}, threshold_bits=11.6))
    assert all(text in drawn for text in (">ann<", ">bob<", ">alert from 11.6 bits<", ">10 bits<"))


def test_an_ordinary_user_is_drawn_beside_the_others():
    """The comparison says that it is one."""
    chart = plots.evidence_timeline({"ann": story([9.0])}, threshold_bits=5, ordinary=("bob", story([0.0])))
    assert ">bob (ordinary)<" in svg(chart)


def test_hostile_names_are_drawn_as_text():
    """Control characters would abort the drawing library; tags would end the drawing."""
    timeline = svg(plots.evidence_timeline({HOSTILE: story([9.0])}, threshold_bits=5))
    table = transitions((HOSTILE, "", 3, 1), (HOSTILE, HOSTILE, 2, 0))
    heat_map = svg(plots.surprisal_heat_map(table))
    for drawn in (timeline, heat_map):
        assert "<script" not in drawn
        assert "\x1b" not in drawn
        assert "\u202e" not in drawn


def test_two_users_whose_shortened_names_are_equal_have_two_lines():
    """Lines are told apart by user, not by label."""
    stories = {"x" * 50 + "1" + "x" * 50: story([1.0]), "x" * 50 + "2" + "x" * 50: story([2.0])}
    lines = plots._lines(list(stories.items()), None)[0]
    assert lines["line"].unique().sort().to_list() == [0, 1]


def test_users_of_different_days_share_the_time_of_day():
    """Stories are laid over each other by the clock."""
    later = story([1.0], hour=9).with_columns(pl.col("time") + timedelta(days=40))
    lines = plots._lines([("ann", story([1.0])), ("bob", later)], None)[0]
    assert lines["time"].dt.date().n_unique() == 1


def test_a_long_line_keeps_its_peak():
    """Thinning keeps the highest of neighbouring points."""
    lines = plots._lines([("ann", story([0.0] * 5000 + [42.0] + [1.0] * 5000))], None)[0]
    assert lines.height < 2 * plots.LINE_POINTS
    assert lines["evidence"].max() == 42.0


def test_labels_keep_their_distance():
    """Labels of lines that end together are pushed apart, inside the plot."""
    assert plots._apart([0.0, 0.0, 5.0, 100.0], gap=16, top=100) == [0.0, 16.0, 32.0, 100.0]
    assert plots._apart([95.0, 99.0, 100.0], gap=16, top=100) == [68.0, 84.0, 100.0]


def test_no_stories_make_an_empty_timeline():
    """Nothing to draw is no error."""
    assert "alert from 5.0 bits" in svg(plots.evidence_timeline({}, threshold_bits=5))


def test_a_strip_is_as_high_as_the_most_surprising_event_of_each_column():
    """A long story is drawn in few columns that hide no spike."""
    surprisal = [0.1] * 999 + [9.0]
    bits = [-1.0] * 999 + [4.0]
    columns = plots.strip_columns(pl.DataFrame({"surprisal": surprisal, "bits": bits}), 100)
    assert columns.height == 100
    assert columns.row(-1) == (99, 9.0, True)


def test_the_heat_map_draws_only_the_most_frequent_actions():
    """A log of many actions stays readable."""
    rows = [(f"action{number}", "", 100 - number, 0) for number in range(50)]
    columns, before = plots.heat_order(transitions(*rows), 5)
    assert columns == ["action0", "action1", "action2", "action3", "action4"]
    assert before == [""]


def test_the_heat_map_leaves_out_what_never_came():
    """A pair without such an outcome has no cell."""
    table = transitions(("login", "", 5, 0), ("login", "login", 5, 2))
    drawn = svg(plots.surprisal_heat_map(table, outcome="failure"))
    assert drawn.count(">8.0<") == 1


@pytest.mark.parametrize("top", [5.0, 12.0, 39.0, 41.0, 500.0, 90_000.0])
def test_the_axis_of_evidence_has_a_few_ticks(top):
    """Neither an empty nor a crowded axis."""
    assert 3 <= len(plots._evidence_axis(top)["axis"]["values"]) <= 9


@pytest.mark.parametrize(("cents", "network"), [(42000, [900, 1500, 2600]), (-5, [0]), (10**15, [1, 1]), (7, [])])
def test_a_purchase_is_drawn_beside_those_of_its_network(cents: int, network: list[int]):
    """The amount is written at its point, mean and limit at their lines; no amounts are too small, large or few."""
    near = pl.DataFrame({"cents": network, "distance": [1] * len(network)}, schema_overrides={"cents": pl.Int64})
    drawn = svg(plots.purchase_strip(cents, near))
    assert f">{cents / 100:,.2f}<" in drawn
    assert (">mean + 3 sd<" in drawn) == bool(network)
