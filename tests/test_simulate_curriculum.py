"""Simulated reading of lessons: it has the rhythm of a school, and the truth beside it is what the log holds."""

from __future__ import annotations

import gzip
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from amiss.errors import SinkError, UsageError
from amiss.simulate.curriculum import Simulated, simulate, write_curriculum
from amiss.simulate.school import curriculum

FIRST = date(2024, 1, 8)
DATA = (
    "fundamentals sql python stats regression classification clustering timeseries anomaly-detection nlp distributed-ml"
)


@pytest.fixture(scope="module")
def made() -> Simulated:
    """A year of 500 users, one in ten of whom is odd once."""
    return simulate(users=500, days=365, seed=3, odd_users=0.1)


@pytest.fixture(scope="module")
def dated(made: Simulated) -> pl.DataFrame:
    """The log, with the dates of the cohort that each event tells, Staff without."""
    cohorts = made.cohorts.filter(pl.col("name") != "Staff").select("id", "start_date", "end_date")
    return made.events.join(cohorts, left_on="cohort_id", right_on="id", how="left", maintain_order="left")


def told(made: Simulated, kind: str) -> pl.DataFrame:
    """The rows of truth of a kind."""
    return made.truth.filter(pl.col("kind") == kind)


def spans(rows: pl.DataFrame) -> pl.DataFrame:
    """First and last date of each user's rows, and how many there are."""
    by_user = rows.group_by("user_id").agg(
        first_date=pl.col("date").min(), last_date=pl.col("date").max(), events=pl.len().cast(pl.Int64)
    )
    return by_user.sort("user_id")


def test_the_same_seed_gives_the_same_log_and_another_seed_another() -> None:
    """A simulation can be repeated."""
    first, again, other = (simulate(users=60, days=60, seed=seed) for seed in (1, 1, 2))
    assert_frame_equal(first.events, again.events)
    assert_frame_equal(first.truth, again.truth)
    assert_frame_equal(first.cohorts, again.cohorts)
    assert not first.events.equals(other.events)


def test_the_log_has_the_columns_of_the_school_and_is_in_order_of_time(made: Simulated) -> None:
    """Dates and times of day stand in two columns; only cohorts may be unknown."""
    assert made.events.columns == ["date", "time", "path", "user_id", "cohort_id", "ip"]
    nulls = made.events.null_count().row(0, named=True)
    assert nulls.pop("cohort_id") > 0
    assert set(nulls.values()) == {0}
    assert made.events.select(pl.col("date").dt.combine(pl.col("time"))).to_series().is_sorted()
    assert made.events["date"].min() == FIRST
    assert made.events["date"].max() == FIRST + timedelta(364)


def test_the_table_of_cohorts_has_every_cohort_of_the_log_and_one_called_staff(made: Simulated) -> None:
    """Cohorts join the log by id, and have one of four programs."""
    names = "id name slack start_date end_date created_at updated_at deleted_at program_id"
    assert made.cohorts.columns == names.split()
    assert set(made.events["cohort_id"].drop_nulls()) <= set(made.cohorts["id"])
    assert made.cohorts["id"].n_unique() == made.cohorts.height
    assert (made.cohorts["name"] == "Staff").sum() == 1
    assert set(made.cohorts["program_id"]) == {1, 2, 3, 4}


def test_students_read_on_weekdays(made: Simulated) -> None:
    """A weekday has more than five times the pages of a day of a weekend, a holiday less than half of them."""
    daily = made.events.group_by("date").len().with_columns(weekend=pl.col("date").dt.weekday() > 5)
    mean = dict(daily.group_by("weekend").agg(pl.col("len").mean()).iter_rows())
    assert mean[False] > 5 * mean[True]
    fourth_of_july = daily.filter(pl.col("date") == date(2024, 7, 4))["len"].sum()
    assert fourth_of_july < mean[False] / 2


def test_much_is_read_in_weeks_of_projects(dated: pl.DataFrame) -> None:
    """Students of Java read more in the seventh, thirteenth and nineteenth week than in others."""
    java = dated.filter(pl.col("path").str.starts_with("java-"), pl.col("date") <= pl.col("end_date"))
    week = (pl.col("date") - pl.col("start_date")).dt.total_days() // 7
    weeks = java.group_by(week=week).len().filter(pl.col("week").is_between(8, 18))
    project = pl.col("week").is_in([12, 18])
    assert weeks.filter(project)["len"].mean() > 1.5 * weeks.filter(~project)["len"].mean()


def test_days_without_a_log_are_those_of_the_truth(made: Simulated) -> None:
    """An outage has no event at all, and all other days have some."""
    lost = {
        row["first_date"] + timedelta(day)
        for row in told(made, "outage").iter_rows(named=True)
        for day in range((row["last_date"] - row["first_date"]).days + 1)
    }
    whole = {FIRST + timedelta(day) for day in range(365)}
    assert lost
    assert whole - set(made.events["date"]) == lost
    assert told(made, "outage")["user_id"].null_count() == told(made, "outage").height


def test_who_reads_after_the_end_is_who_the_dates_tell(made: Simulated, dated: pl.DataFrame) -> None:
    """The truth of dates is that of the log and the table of cohorts."""
    late = spans(dated.filter(pl.col("date") > pl.col("end_date")))
    early = spans(dated.filter(pl.col("date") < pl.col("start_date")))
    for kind, expected in (("after_end", late), ("before_start", early)):
        assert expected.height > 5
        assert_frame_equal(told(made, kind).drop("kind").sort("user_id"), expected)


def test_who_reads_both_curricula_is_who_read_pages_of_both(made: Simulated) -> None:
    """Everybody with lessons of web development and of data science is told, but those listed as staff."""
    shared = curriculum().pages[: curriculum().common]
    staff = made.cohorts.filter(pl.col("name") == "Staff")["id"].item()
    lessons = made.events.filter(~pl.col("path").is_in(shared), pl.col("cohort_id").ne_missing(staff))
    data = pl.col("path").str.split("/").list.first().is_in(DATA.split())
    sides = lessons.group_by("user_id").agg(data=data.sum(), web=(~data).sum())
    both = sides.filter(pl.col("data") > 0, pl.col("web") > 0).select(
        "user_id", events=pl.min_horizontal("data", "web")
    )
    both = both.cast(pl.Int64).sort("user_id")
    assert both.height > 10
    assert_frame_equal(told(made, "both_programs").select("user_id", "events").sort("user_id"), both)


def test_who_scrapes_reads_hundreds_of_pages_within_seconds(made: Simulated) -> None:
    """And nobody else reads more than a hundred within a minute."""
    minute = pl.col("date").dt.combine(pl.col("time")).dt.truncate("1m")
    most = made.events.group_by("user_id", minute=minute).len().filter(pl.col("len") > 75)
    scrapers = told(made, "scraper")
    assert scrapers.height >= 10
    assert scrapers["events"].min() >= 150
    assert set(most["user_id"]) == set(scrapers["user_id"])


def test_who_surges_reads_more_than_on_any_other_day(made: Simulated) -> None:
    """A surge is a user's busiest day, or nearly, and not a burst of seconds."""
    daily = made.events.group_by("user_id", "date").len()
    surges = told(made, "surge").join(daily, left_on=["user_id", "first_date"], right_on=["user_id", "date"])
    assert surges.height == told(made, "surge").height >= 10
    assert (surges["len"] >= surges["events"]).all()
    usual = daily.group_by("user_id").agg(usual=pl.col("len").median())
    assert (surges.join(usual, on="user_id").select(pl.col("len") > 3 * pl.col("usual")).to_series()).all()


def test_who_falls_silent_has_no_event_for_three_weeks(made: Simulated) -> None:
    """They were there in the days before."""
    silent = told(made, "silence").join(made.events, on="user_id")
    assert told(made, "silence").height >= 10
    assert silent.filter(pl.col("date").is_between("first_date", "last_date")).is_empty()
    before = silent.filter(pl.col("date").is_between(pl.col("first_date") - timedelta(14), pl.col("first_date")))
    assert before["user_id"].n_unique() == told(made, "silence").height
    assert (told(made, "silence").select(pl.col("last_date") - pl.col("first_date") >= timedelta(20)).to_series()).all()


def test_staff_of_the_truth_are_in_no_staff_cohort_and_read_everything(made: Simulated) -> None:
    """They read the lessons of all programs."""
    staff = made.cohorts.filter(pl.col("name") == "Staff")["id"].item()
    own = made.events.join(told(made, "staff"), on="user_id", how="semi")
    listed = made.events.filter(pl.col("cohort_id") == staff)
    assert own["cohort_id"].ne_missing(staff).all()
    assert own["user_id"].n_unique() >= 5
    assert listed["user_id"].n_unique() >= 5
    assert own.group_by("user_id").agg(pl.col("path").n_unique())["path"].median() > 120


def test_some_users_are_of_no_known_cohort_and_share_addresses(made: Simulated) -> None:
    """Cohorts are null for whole users; the campus is one network for all."""
    unknown = made.events.group_by("user_id").agg(pl.col("cohort_id").is_null().all())
    assert 5 < unknown["cohort_id"].sum() < 60
    shared = made.events.group_by("ip").agg(pl.col("user_id").n_unique()).sort("user_id")["user_id"]
    assert (shared.tail(3) > 100).all()


def test_the_log_is_the_same_however_it_is_written(tmp_path: Path, capfdbinary) -> None:
    """Plain, compressed and to the standard output; the tables beside it join it."""
    plain, packed, cohorts, truth = (tmp_path / name for name in ("a.csv", "b.csv.gz", "cohorts.csv", "truth.csv"))
    report = write_curriculum(plain, users=80, days=100, seed=3, odd_users=0.1, cohorts=cohorts, truth=truth)
    write_curriculum("-", users=80, days=100, seed=3, odd_users=0.1)
    write_curriculum(packed, users=80, days=100, seed=3, odd_users=0.1)
    assert plain.read_bytes() == gzip.decompress(packed.read_bytes()) == capfdbinary.readouterr().out
    small = simulate(users=80, days=100, seed=3, odd_users=0.1)
    assert_frame_equal(pl.read_csv(plain, try_parse_dates=True), small.events)
    assert_frame_equal(pl.read_csv(truth, try_parse_dates=True), small.truth)
    assert pl.read_csv(cohorts, try_parse_dates=True)["start_date"].dtype == pl.Date
    assert report.events == small.events.height


def test_one_user_on_one_day_is_a_log() -> None:
    """The smallest simulation has the columns of every other."""
    small = simulate(users=1, days=1)
    assert small.events.columns == ["date", "time", "path", "user_id", "cohort_id", "ip"]
    assert small.truth.columns == ["kind", "user_id", "first_date", "last_date", "events"]


def test_days_without_odd_users_can_be_had_at_first() -> None:
    """Nobody is odd before the day that is asked for."""
    later = simulate(users=400, days=200, seed=5, odd_users=0.1, odd_after=120)
    planted = later.truth.filter(pl.col("kind").is_in(["scraper", "surge", "silence"]))
    assert planted.height > 10
    assert (planted["first_date"] >= FIRST + timedelta(120)).all()


def test_all_that_is_out_of_range_is_told_at_once(tmp_path: Path) -> None:
    """A mistake is told by its name, and no file is written."""
    with pytest.raises(UsageError, match=r"users is 0.*\n.*days is 0.*\n.*odd_users is 2"):
        simulate(users=0, days=0, odd_users=2)
    with pytest.raises(UsageError, match="two files"):
        write_curriculum(tmp_path / "a", truth=tmp_path / "a", users=5)
    with pytest.raises(SinkError, match="cannot be written"):
        write_curriculum(tmp_path / "none" / "a", users=5)


def test_the_command_writes_the_log_the_cohorts_and_the_truth(run, tmp_path: Path) -> None:
    """What is said goes to stderr, so that the log may go to stdout."""
    ran = run("simulate", "curriculum", "--users", "60", "--days", "40", "--cohorts", "c.csv", "--truth", "t.csv")
    assert ran.status == 0
    assert ran.out.startswith("date,time,path,user_id,cohort_id,ip\n2024-01-08,")
    assert "events of" in ran.err
    assert (tmp_path / "c.csv").read_text().startswith("id,name,slack,start_date,end_date,")
    assert (tmp_path / "t.csv").read_text().startswith("kind,user_id,first_date,last_date,events\n")
