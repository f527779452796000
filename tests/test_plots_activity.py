"""Pictures of activity show what bands say, whatever the names, and however few or many there are."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import vl_convert
from typer.testing import CliRunner

import amiss
from amiss import plots_activity as plots
from amiss.cli import app
from amiss.errors import UsageError

HOSTILE = "</text><script>alert(1)</script>\x1b[31m\x00\u202e'\""
BUSY = [1, 2, 1, 2, 1, 2, 1, 2, 40]


def log(counts: dict[str, list[int]], group: str = "red") -> pl.DataFrame:
    """Events of users, so many on each day from Monday on."""
    start = datetime(2026, 1, 5, 9, tzinfo=UTC)
    rows = [
        (start + timedelta(days=day, seconds=number), user, "view", group)
        for user, days in counts.items()
        for day, count in enumerate(days)
        for number in range(count)
    ]
    return pl.DataFrame(rows, schema=["time", "user", "action", "group"], orient="row").sort("time")


def svg(chart) -> str:
    """The chart as drawn."""
    return vl_convert.vegalite_to_svg(chart.to_dict(), allowed_base_urls=[])


def test_a_flagged_day_has_its_date_and_its_share():
    """The thirteenth lies above its band, by the share that the rows say; nothing else is labelled."""
    drawn = svg(plots.activity_chart(amiss.bands(log({"ann": BUSY})), "ann"))
    texts = re.findall(r">([^<>]+)</text>", drawn)
    assert "1.08" in texts
    assert "13 Jan" in texts
    assert "1 of 9 days above the band" in drawn
    assert not [text for text in texts if re.fullmatch(r"0\.\d\d", text)]


def test_a_flagged_day_is_orange_and_others_are_not():
    """One bar of nine has the colour of what stands out."""
    drawn = svg(plots.activity_chart(amiss.bands(log({"ann": BUSY})), "ann"))
    assert (
        len(
            re.findall(
                rf'aria-roledescription="rect mark"[^>]*fill="{plots.ACCENT}"|<path[^>]*fill="{plots.ACCENT}"', drawn
            )
        )
        == 1
    )
    assert len(re.findall(rf'<path[^>]*fill="{plots.QUIET}"', drawn)) == 8


@pytest.mark.parametrize("days", [1, 3, 45, 365, 2000])
@pytest.mark.parametrize("palette", [plots.LIGHT, plots.DARK])
def test_few_days_and_many_can_be_drawn(days: int, palette: plots.Palette):
    """There are some dates below, and never more than find room."""
    chart = plots.activity_chart(
        amiss.bands(log({"ann": [1, 2, 0, 3] * (days // 4) + [1] * (days % 4 or 1)})), "ann", palette=palette
    )
    drawn = svg(chart)
    ticks = [text for text in re.findall(r">([^<>]+)</text>", drawn) if re.search(r"[A-Z][a-z]{2}( \d{4})?$", text)]
    assert 1 <= len(ticks) <= 14
    assert palette.paper in drawn


def test_nothing_to_draw_is_said():
    """Bands without rows make no picture."""
    with pytest.raises(UsageError, match="nothing to draw"):
        plots.activity_chart(amiss.bands(log({"ann": [1]})).clear(), "ann")


def test_labels_leave_each_other_room():
    """Of a month of flagged days in a narrow picture few are labelled, those farthest above the band first."""
    counts = {"period": [date(2026, 1, 1) + timedelta(days=day) for day in range(31)], "count": [5] * 31}
    shares = [1.01 + 0.001 * day for day in range(31)]
    rows = pl.DataFrame(counts | {"mid": 1.0, "upper": 4.0, "lower": 0.0, "pct_b": shares, "flagged": True})
    plot = plots._Plot.of(plots._drawn(rows), 300, 100, plots.LIGHT, labelled=True)
    labelled = plot._roomy()
    assert 30 in labelled
    assert 4 <= len(labelled) <= 7


def test_hours_are_drawn_on_the_clock_of_their_zone():
    """Nine in the morning UTC is ten in Berlin, in winter."""
    frame = log({"ann": BUSY}).filter(pl.col("time") > datetime(2026, 1, 13, tzinfo=UTC))
    rows = amiss.bands(frame, by="hour", timezone="Europe/Berlin")
    assert plots._drawn(rows)["start"][0] == datetime(2026, 1, 13, 10, tzinfo=UTC).timestamp() * 1000


def test_users_of_a_group_are_lines_among_their_mean():
    """The band of all is drawn for one of them: the mean of 2 and 4 is 3."""
    frame = log({"ann": [2, 2, 2], "bob": [4, 4, 4]})
    chart = plots.group_chart(amiss.bands(frame, per="everyone"), amiss.bands(frame), "red").to_dict()
    data = [{**row} for rows in chart["datasets"].values() for row in rows]
    assert {row["mid"] for row in data if "mid" in row} == {3.0}
    assert {(row["line"], row["count"]) for row in data if "line" in row} == {(0, 4.0), (1, 2.0)}


def test_small_charts_share_their_time():
    """A user of one day stands on that day of the whole time."""
    bands = amiss.bands(log({"ann": [1] * 30, "bob": [0, 0, 5]}))
    chart = plots.multiples({user: bands.filter(user=user) for user in ("ann", "bob")}).to_dict()
    domains = re.findall(r"'zero': False, 'domain': \[(\d+), (\d+)\]|'domain': \[(1\d{12}), (1\d{12})\]", str(chart))
    assert len(set(domains)) == 1


def test_hostile_names_are_drawn_as_text():
    """Control characters would abort the drawing library; tags would end the drawing."""
    frame = log({HOSTILE: BUSY})
    bands, together = amiss.bands(frame), amiss.bands(frame, per="everyone")
    charts = (
        plots.activity_chart(bands, HOSTILE),
        plots.multiples({HOSTILE: bands, "bob": bands}),
        plots.group_chart(together, bands, HOSTILE),
    )
    for drawn in map(svg, charts):
        assert not [text for text in ("<script", "\x1b", "\u202e") if text in drawn]


@pytest.fixture
def market(tmp_path: Path) -> Path:
    """A log of a group of two."""
    file = tmp_path / "log.parquet"
    log({"ann": BUSY, HOSTILE: [3] * 9}).write_parquet(file)
    return file


@pytest.mark.parametrize(
    ("words", "begins"),
    [
        (["ann", "-o", "a.png"], b"\x89PNG"),
        (["ann", HOSTILE, "-o", "a.svg"], b"<svg"),
        (["--top", "2", "-o", "a.html"], b"<!doctype html>"),
        (["--together", "--dark", "-o", "a.png"], b"\x89PNG"),
        (["--group", "red", "--by", "hour", "-o", "a.svg"], b"<svg"),
    ],
)
def test_the_command_writes_what_the_name_of_the_file_says(market: Path, words: list[str], begins: bytes):
    """PNG, SVG, or a page that loads nothing."""
    file = market.with_name(words[-1])
    done = CliRunner().invoke(app, ["plot", str(market), *words[:-1], str(file)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    drawn = file.read_bytes()
    assert drawn.startswith(begins)
    assert b"<script" not in drawn
    assert not re.search(rb"(?:src|href)=", drawn) or begins == b"\x89PNG"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ann", "-o", "a.pdf"], "ends in .png, .svg or .html"),
        (["ann", "--together", "-o", "a.png"], "USER and --together do not go together"),
        (["anne", "-o", "a.png"], 'no user is called "anne" here. Did you mean "ann"'),
        (["--group", "rad", "-o", "a.png"], 'no group is called "rad" here. Did you mean "red"'),
    ],
)
def test_what_cannot_be_drawn_is_said(market: Path, words: list[str], message: str):
    """The message says what was expected."""
    with pytest.raises(UsageError, match=re.escape(message)):
        CliRunner().invoke(app, ["plot", str(market), *words], catch_exceptions=False)


def test_a_result_draws_its_users():
    """A scan knows the counts of its days."""
    result = amiss.scan(log({"ann": BUSY, "bob": [3] * 9}))
    assert result.bands(["ann"])["count"].to_list() == BUSY
    assert result.bands().equals(amiss.bands(log({"ann": BUSY, "bob": [3] * 9})))
    assert ">13 Jan<" in svg(result.plot("ann"))


@pytest.mark.parametrize(("days", "is_drawn"), [(6, False), (7, True)])
def test_the_report_draws_activity_of_a_week_and_more(tmp_path: Path, days: int, is_drawn: bool):
    """A shorter log has no section about it; names in it are escaped."""
    counts = {f"u{number}": [3] * days for number in range(9)}
    amiss.scan(log(counts | {HOSTILE: [*[1] * (days - 1), 30]})).report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ("Activity over time" in page) == is_drawn
    assert page.count("Events of each day, their moving mean") == 6 * is_drawn
    assert "<script" not in page
    assert len(page) < 600_000
