"""Bands are those of pandas, of any log, and say when they can find nothing."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

import amiss
from amiss import activity, bollinger
from amiss.bollinger import Calendar, Width, most_deviations
from amiss.cli import app
from amiss.errors import EventError, SourceError, UsageError
from amiss.sources.frames import FrameSource

MONDAY = datetime(2026, 1, 5, 9, tzinfo=UTC)
HOSTILE = ("=cmd()", "\x1b[31mred\x00\u202egnp\nnext", 'a,b"c', "</td><script>", "x" * 60)


def log(counts: dict[str, list[int]], **columns: object) -> pl.DataFrame:
    """Events of users, so many on each day from Monday on."""
    rows = [
        (MONDAY + timedelta(days=day, seconds=number), user, "view")
        for user, days in counts.items()
        for day, count in enumerate(days)
        for number in range(count)
    ]
    frame = pl.DataFrame(rows, schema=["time", "user", "action"], orient="row")
    return frame.with_columns(**{name: pl.lit(value) for name, value in columns.items()}).sort("time")


def notebook(frame: pl.DataFrame, user: str, span: float, k: float) -> pd.DataFrame:
    """What the notebook computes for a user."""
    of_user = frame.filter(pl.col("user") == user).to_pandas().set_index("time")
    pages = of_user["action"].resample("D").count()
    mid, std = pages.ewm(span=span).mean(), pages.ewm(span=span).std()
    upper, lower = mid + std * k, mid - std * k
    table = pd.DataFrame({"count": pages, "mid": mid, "upper": upper, "lower": lower})
    table["pct_b"] = (pages - lower) / (upper - lower)
    return table


users = st.dictionaries(
    st.sampled_from(["ann", "bob", "eve", "zoë"]),
    st.lists(st.sampled_from([0, 0, 0, 1, 2, 5, 40]), min_size=1, max_size=40).filter(any),
    min_size=1,
)
widths = st.tuples(st.floats(1, 400), st.floats(0.1, 5))


@given(users, widths)
def test_bands_are_those_of_pandas(counts, width):
    """Counts with gaps, of users with one day or forty, have exactly the notebook's bands."""
    span, k = width
    frame = log(counts)
    found = amiss.bands(frame, span=span, k=k)
    assert sorted(found["user"].unique()) == sorted(counts)
    for user in counts:
        ours, theirs = found.filter(user=user), notebook(frame, user, span, k)
        assert ours["period"].to_list() == list(theirs.index.date)
        for name in ("count", "mid", "upper", "lower", "pct_b"):
            values = ours[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
            np.testing.assert_array_equal(values, theirs[name].replace([np.inf, -np.inf], np.nan).to_numpy())
        assert ours["flagged"].to_list() == [bool(share > 1) for share in theirs["pct_b"]]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60).filter(any), st.sampled_from(["UTC", "Europe/Berlin"]))
def test_hours_are_those_of_pandas(counts, zone):
    """By the hour, in a zone whose clocks change in between."""
    start = datetime(2026, 3, 28, 20, 30, tzinfo=UTC)
    times = [start + timedelta(hours=hour) for hour, count in enumerate(counts) for _ in range(count)]
    frame = pl.DataFrame({"time": times, "user": "ann", "action": "view"})
    found = amiss.bands(frame, by="hour", timezone=zone)
    local = pd.Series(1, index=pd.DatetimeIndex(times).tz_convert(zone)).resample("h").count()
    assert found["count"].to_list() == local.to_list()
    assert found["period"].to_list() == list(local.index)


def test_days_are_those_of_the_zone():
    """Half past eleven in the evening in London is the next day in Berlin, and still the day before in Chicago."""
    late = [datetime(2026, 1, 5, 23, 30, tzinfo=UTC), datetime(2026, 1, 6, 5, 30, tzinfo=UTC)]
    frame = pl.DataFrame({"time": late, "user": "ann", "action": "view"})
    days = {
        zone: amiss.bands(frame, timezone=zone).select("period", "count").rows()
        for zone in ("UTC", "Europe/Berlin", "America/Chicago")
    }
    assert days == {
        "UTC": [(date(2026, 1, 5), 1), (date(2026, 1, 6), 1)],
        "Europe/Berlin": [(date(2026, 1, 6), 2)],
        "America/Chicago": [(date(2026, 1, 5), 2)],
    }


def test_hours_of_a_zone_with_half_an_hour_begin_there():
    """In India hours begin at half past the hour of UTC."""
    frame = pl.DataFrame({"time": [datetime(2026, 1, 5, 9, 15, tzinfo=UTC)], "user": "ann", "action": "view"})
    assert str(amiss.bands(frame, by="hour", timezone="Asia/Kolkata")["period"][0]) == "2026-01-05 14:00:00+05:30"


def test_a_flag_is_a_count_above_its_band():
    """Eight quiet days, then forty events: the first day has no band, the last is above its own."""
    found = amiss.bands(log({"ann": [1, 2, 1, 2, 1, 2, 1, 2, 40]}))
    assert found["flagged"].to_list() == [False] * 8 + [True]
    assert found["upper"].null_count() == found["pct_b"].null_count() == 1


def test_counts_that_never_vary_have_no_share():
    """Where upper and lower band are the same, %b is null, and nothing is flagged."""
    found = amiss.bands(log({"ann": [3, 3, 3]}))
    assert found.select("mid", "upper", "pct_b", "flagged").rows()[1:] == [(3.0, 3.0, None, False)] * 2


def test_all_together_are_counted_as_one():
    """The counts of two users add up; no column names a user."""
    found = amiss.bands(log({"ann": [1, 0, 2], "bob": [0, 4]}), per="everyone")
    assert found.columns == ["period", "count", "mid", "upper", "lower", "pct_b", "flagged"]
    assert found["count"].to_list() == [1, 4, 2]


def test_groups_are_counted_as_one():
    """The role of groups is found; who has none is counted under none."""
    frame = log({"ann": [1, 1], "bob": [2], "eve": [5]}).with_columns(
        group=pl.col("user").replace_strict({"ann": "red", "bob": "red", "eve": None}, return_dtype=pl.String)
    )
    found = amiss.bands(frame, per="group").select("group", "period", "count").rows()
    day, next_day = date(2026, 1, 5), date(2026, 1, 6)
    assert sorted(found, key=str) == [("red", day, 3), ("red", next_day, 1), (None, day, 5)]


def test_any_column_can_be_the_group():
    """The column of groups can be named."""
    frame = log({"ann": [1], "bob": [2]}, floor="third")
    assert amiss.bands(frame, per="group", columns={"group": "floor"})["group"].to_list() == ["third"]


def test_groups_of_a_log_without_groups_are_an_error():
    """The message says how to name the column."""
    with pytest.raises(EventError, match="no column is the group of users"):
        amiss.bands(log({"ann": [1]}), per="group")


def test_only_one_user_can_be_asked_for_and_a_wrong_name_gets_a_hint():
    """A name that is nearly right is put right."""
    frame = log({"ann": [1], "bob": [2]})
    assert amiss.bands(frame, only="bob")["user"].to_list() == ["bob"]
    with pytest.raises(UsageError, match=r'no user is called "bop" here\. Did you mean "bob"'):
        amiss.bands(frame, only="bop")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"span": 0.5}, "span must be a number of periods from 1 on. Found: 0.5"),
        ({"span": float("nan")}, "span must be"),
        ({"k": 0}, "k must be a number of deviations above 0, such as 2. Found: 0"),
        ({"k": float("inf")}, "k must be"),
        ({"timezone": "Mars"}, '"Mars" is not a time zone'),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    """The message says what was expected and found."""
    with pytest.raises(UsageError, match=message):
        amiss.bands(log({"ann": [1]}), **options)


def test_nothing_to_read_is_an_error():
    """An empty frame holds no events."""
    with pytest.raises(SourceError, match="the frame is empty"):
        amiss.bands(pl.DataFrame({"time": [], "user": [], "action": []}))


def test_a_series_of_impossible_length_is_refused():
    """A wrong time far in the future does not fill the memory."""
    frame = pl.DataFrame({"series": [0, 0], "period": [0, 50_000_000], "count": [1, 1]}, schema=bollinger.COUNT_SCHEMA)
    with pytest.raises(UsageError, match="spans 50,000,001 periods, more than 10,000,000"):
        bollinger.bands(frame)


def naive_most(span: float, periods: int) -> float:
    """The deviations of a last 1 above zeros, as pandas has them."""
    series = pd.Series([0.0] * (periods - 1) + [1.0])
    return float((1 - series.ewm(span=span).mean().iloc[-1]) / series.ewm(span=span).std().iloc[-1])


@given(st.floats(1.5, 200), st.integers(2, 300))
def test_the_most_deviations_are_those_above_a_past_that_never_varied(span, periods):
    """The formula agrees with a series of zeros and a one."""
    assert most_deviations(span, periods) == pytest.approx(naive_most(span, periods), rel=1e-6)


@given(st.floats(1, 200), st.lists(st.integers(0, 1000), min_size=1, max_size=80).filter(any))
@example(1.0000000000000002, [0, 1])
def test_nothing_is_flagged_from_the_most_deviations_on(span, counts):
    """Whatever the counts, none lies above a band as wide as the bound of its span and length."""
    k = most_deviations(span, len(counts)) * (1 + 1e-9) or 0.1
    columns = {"series": [0] * len(counts), "period": range(len(counts)), "count": counts}
    assert not bollinger.bands(pl.DataFrame(columns, schema=bollinger.COUNT_SCHEMA), Width(span, k))["flagged"].any()


def test_the_bound_of_span_30_is_known():
    """(30 - 1) / sqrt(60) is 3.7439; a week reaches 2.02."""
    assert most_deviations(30) == pytest.approx(3.743884, abs=1e-6)
    assert most_deviations(30, 7) == pytest.approx(2.0215, abs=1e-4)
    assert [Width(30, k).fewest_periods() for k in (2, 3.5, 3.75)] == [7, 33, None]


@given(users, st.integers(1, 5))
def test_how_a_log_is_cut_does_not_matter(counts, parts):
    """Counts of the pieces of a log add up to those of the whole, however little is in memory."""
    frame = log(counts)
    cut = [frame[part::parts] for part in range(parts)]
    whole = activity.read([FrameSource(frame)], Calendar())
    pieces = activity.read([FrameSource(piece) for piece in cut if len(piece)], Calendar())
    assert pieces.bands(Width()).sort("user", "period").equals(whole.bands(Width()).sort("user", "period"))


events = st.lists(
    st.tuples(st.integers(0, 2**32 - 1) | st.integers(0, 3), st.integers(-(2**31), 2**31 - 1) | st.integers(-2, 2))
)


@given(st.lists(events, max_size=6))
def test_counts_are_those_of_a_dictionary(parts):
    """However often sums are merged on the way, also of days before 1970."""
    frames = [pl.DataFrame(part, schema={"series": pl.UInt32, "period": pl.Int32}, orient="row") for part in parts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bollinger, "ROWS_AT_ONCE", 3)
        found = bollinger.counted(frames)
    together = Counter(event for part in parts for event in part)
    assert found.rows() == [(*event, together[event]) for event in sorted(together)]
    assert dict(found.schema) == bollinger.COUNT_SCHEMA


def test_blocks_are_the_whole_in_pieces(monkeypatch):
    """Some series at a time give the same rows as all at once."""
    counts = activity.read([FrameSource(log({f"u{number}": [1, 0, number] for number in range(9)}))], Calendar())
    whole = counts.bands(Width())
    monkeypatch.setattr(bollinger, "ROWS_AT_ONCE", 4)
    assert len(list(counts.blocks(Width()))) > 3
    assert counts.bands(Width()).equals(whole)


@pytest.fixture
def market(tmp_path: Path) -> Path:
    """A log of three users, one of whom has a busy day."""
    file = tmp_path / "log.csv"
    log({"ann": [1, 2, 1, 2, 1, 2, 1, 2, 40], "bob": [3] * 9, "eve": [1]}).write_csv(file)
    return file


def run(*words: object) -> tuple[str, str]:
    """What a command prints, and what it tells."""
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout, done.stderr


def test_the_command_says_first_who_has_flagged_days(market: Path):
    """A summary stands on top, flagged days below; all fits on 80 columns."""
    out, err = run("bands", market)
    assert out.splitlines() == [
        "1 of 3 users with flagged days: 1 of 19 days above the band (span 30, k 2).",
        "",
        " flagged     days      events  most %b  on          user",
        "       1        9          52     1.08  2026-01-13  ann",
        "",
        "1 user with fewer than 7 days, too few for a flag with this k.",
        "",
        "day            count        mid      lower      upper      %b  user",
        "2026-01-13        40        7.0      -21.6       35.7    1.08  ann",
    ]
    assert err == ""


def test_the_command_lists_every_day_of_one_user(market: Path):
    """The flagged one says so."""
    out, _ = run("bands", market, "--user", "ann")
    assert out.startswith("ann: 1 of 9 days above the band (span 30, k 2).\n")
    assert out.count("\n2026-01-") == 9
    assert out.endswith("1.08  above\n")


def test_rows_for_programs_have_the_same_columns(market: Path, tmp_path: Path):
    """CSV, JSON and JSON lines hold the same rows."""
    names = ["user", "period", "count", "mid", "upper", "lower", "pct_b", "flagged"]
    lines = [json.loads(line) for line in run("bands", market, "--format", "jsonl")[0].splitlines()]
    assert list(lines[0]) == names
    assert lines == json.loads(run("bands", market, "--format", "json")[0])
    run("bands", market, "--format", "csv", "-o", tmp_path / "rows.csv")
    rows = pl.read_csv(tmp_path / "rows.csv", try_parse_dates=True)
    assert rows.equals(amiss.bands(market))
    assert len(lines) == 19


def test_only_flagged_days_can_be_asked_for(market: Path):
    """In a user without any there are no rows, but names of columns."""
    assert len(run("bands", market, "--flagged", "--format", "jsonl")[0].splitlines()) == 1
    out, _ = run("bands", market, "--flagged", "--user", "bob", "--format", "csv")
    assert out == "user,period,count,mid,upper,lower,pct_b,flagged\n"
    assert json.loads(run("bands", market, "--flagged", "--user", "bob", "--format", "json")[0]) == []


def test_a_band_that_nothing_can_leave_is_warned_about(market: Path):
    """From k = 3.744 on with span 30; and from less on when all users are new."""
    assert "with span 30 nothing can be flagged from k = 3.744 on" in run("bands", market, "--k", 3.75)[1]
    err = run("bands", market, "--k", 3)[1]
    assert "no user has more than 9 days, and k = 3 takes 18 with span 30" in err
    assert "nothing can be flagged" in run("bands", market, "--user", "eve")[1]


@pytest.mark.parametrize("by", ["day", "hour"])
def test_hostile_names_do_nothing(tmp_path: Path, by: str):
    """A terminal, a spreadsheet and a program get names that do nothing, on 80 columns."""
    file = tmp_path / "log.parquet"
    log({name: [1, 2, 1, 2, 1, 2, 1, 2, 40] for name in HOSTILE}).write_parquet(file)
    out, _ = run("bands", file, "--by", by)
    assert max(map(len, out.splitlines())) <= 80
    assert not {"\x1b", "\x00", "\u202e"} & set(out)
    assert "'=cmd(),2026" in run("bands", file, "--format", "csv")[0]
    names = {json.loads(line)["user"] for line in run("bands", file, "--format", "jsonl")[0].splitlines()}
    assert names == set(HOSTILE)


def test_a_log_without_users_says_which_option_names_their_column(tmp_path: Path):
    """--user is a user here, and --user-column their column."""
    file = tmp_path / "log.csv"
    file.write_text("time,a,b\n2026-01-05T09:00:00Z,1.5,2.5\n", encoding="utf-8")
    with pytest.raises(EventError, match="--user-column COLUMN"):
        CliRunner().invoke(app, ["bands", str(file)], catch_exceptions=False)


def test_ways_to_count_do_not_go_together(market: Path):
    """One of --user, --together and --by-group."""
    with pytest.raises(UsageError, match="do not go together"):
        CliRunner().invoke(app, ["bands", str(market), "--user", "ann", "--together"], catch_exceptions=False)


def test_the_page_about_bands_has_the_right_bounds(repository: Path):
    """The table in docs/activity.md is what the formula gives."""
    page = (repository / "docs" / "activity.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([\d. |]+) \|$", page, flags=re.MULTILINE)
    lengths = (2, 7, 14, 30, 90, None)
    for span, cells in rows:
        assert cells.split(" | ") == [f"{most_deviations(float(span), periods):.3f}" for periods in lengths]
    assert len(rows) == 4
