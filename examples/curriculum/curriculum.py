"""Six questions about who read which lessons of a school, answered from a log and a table of cohorts.

    python curriculum.py log.csv --cohorts cohorts.csv -o answers
    python curriculum.py "mysql://reader@127.0.0.1/curriculum?table=logs" -o answers

The log has the columns date, time, path, user_id, cohort_id; the table id, name, start_date, end_date, program_id. From
a database both come from there: the table is `cohorts` unless `--cohorts` names another one, or a file.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from textwrap import wrap
from typing import Any

import polars as pl

import amiss
from amiss.entitlement import read_table
from amiss.escape import csv_cell, label
from amiss.fields import FieldChoice

PROGRAMS = {"1": "php", "2": "java", "3": "data science", "4": "front end"}
SETTINGS = Path(__file__).with_name("amiss.toml")
OF_THE_LOG = ("table", "cursor", "overlap", "query")
K = 2.0
PLOTS = 6


def main(arguments: list[str] | None = None) -> None:
    """Answer, and write the answers to a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", help="a file, or the address of a database")
    parser.add_argument("--cohorts", help="the table of cohorts, a file or of the same database")
    parser.add_argument("-o", "--output", type=Path, default=Path("answers"), help="the folder for answers")
    parser.add_argument("--plots", type=int, default=PLOTS, help="how many students to plot")
    given = parser.parse_args(arguments)
    given.output.mkdir(parents=True, exist_ok=True)
    log, rules = read(given.log), rules_of(given.log, given.cohorts)
    cohorts = cohorts_of(rules)
    staff = set(cohorts.filter(name="Staff")["id"])
    students = log.filter(~pl.col("user_id").is_in(set(log.filter(pl.col("cohort_id").is_in(staff))["user_id"])))
    print(f"{len(log):,} pages of {log['user_id'].n_unique():,} users\n")
    programs(log, cohorts, given.output)
    staff_members(log, rules, given.output)
    after_the_end(log, rules, given.output)
    bands = unusual_days(students, given.output)
    plots(bands, given.output, given.plots)
    both_programs(log, rules, given.output)


def read(place: str) -> pl.DataFrame:
    """The log, read once."""
    roles = FieldChoice(user="user_id", action="path", group="cohort_id")
    source = amiss.open_source(place, fields=roles)
    frames = [frame.select("time", "user", "action", "group") for frame, _ in source.read()]
    if source.quarantine.total:
        print(f"{source.quarantine.total:,} rows without a page are left out")
    names = {"user": "user_id", "action": "path", "group": "cohort_id"}
    return pl.concat(frames).rename(names).with_columns(pl.col("cohort_id").str.replace(r"\.0$", ""))


def rules_of(log: str, cohorts: str | None) -> dict[str, Any]:
    """The settings of [entitlement], with the table that is meant."""
    rules: dict[str, Any] = tomllib.loads(SETTINGS.read_text(encoding="utf-8"))["entitlement"]
    if "://" not in log or (cohorts is not None and Path(cohorts).is_file()):
        return rules | {"table": cohorts or "cohorts.csv"}
    address, _, options = log.partition("?")
    kept = "&".join(each for each in options.split("&") if each and each.split("=")[0] not in OF_THE_LOG)
    del rules["table"]
    query = f"SELECT * FROM {cohorts or 'cohorts'}"  # noqa: S608 - whoever calls may read the database anyway
    return rules | {"url": f"{address}?{kept}" if kept else address, "query": query}


def cohorts_of(rules: dict[str, Any]) -> pl.DataFrame:
    """The table of cohorts, as texts."""
    if "url" in rules:
        from amiss.sources.sql import read_table as query

        table = query(rules["url"], rules["query"])
    else:
        table = read_table(rules["table"])
    columns = ("id", "name", "start_date", "end_date", "program_id")
    return table.select(pl.col(name).cast(pl.String) for name in columns)


def programs(log: pl.DataFrame, cohorts: pl.DataFrame, folder: Path) -> None:
    """1. Label students by the program they are in."""
    keys = ["user_id", "cohort_id"]
    visits = log.group_by(keys).agg(pl.len().alias("pages"), pl.col("time").min().dt.date().alias("first_date"))
    named = visits.join(cohorts, left_on="cohort_id", right_on="id", how="left")
    program = pl.when(pl.col("name") == "Staff").then(pl.lit("staff")).otherwise(
        pl.col("program_id").replace_strict(PROGRAMS, default=None, return_dtype=pl.String)
    )  # fmt: skip
    rows = named.select(*keys, "name", program.fill_null("unknown").alias("program"), "pages", "first_date")
    rows = rows.sort("first_date", *keys)
    write(rows, folder / "1_programs.csv")
    counts = rows.group_by("program").agg(pl.col("user_id").n_unique()).sort(["user_id", "program"], descending=True)
    answer(1, "students by program", ", ".join(f"{program} {users:,}" for program, users in counts.rows()))


def staff_members(log: pl.DataFrame, rules: dict[str, Any], folder: Path) -> None:
    """2. Who behaves like staff, and is not listed?"""
    ranking = amiss.classify(log, "name=Staff as staff", parameters={"entitlement": rules}).users
    write(ranking.with_columns(pl.col("reasons").list.join("; ")), folder / "2_staff.csv")
    likely = ranking.filter(verdict="staff")
    lines = [f"{label(user):>8}  {bits:6.1f} bits" for user, bits in likely.select("user", "bits").head(5).rows()]
    answer(2, "like staff, but not listed", f"{len(likely):,} users", lines)


def after_the_end(log: pl.DataFrame, rules: dict[str, Any], folder: Path) -> None:
    """3. Who reads after the end of their time?"""
    found = amiss.violations(log, rules | {"findings": ["after"]})
    write(found, folder / "3_after_end.csv")
    lines = [
        f"{label(row['user']):>8}  {row['events']:>6,} pages, up to {row['days']:,} days after {label(row['period'])}"
        for row in found.head(5).iter_rows(named=True)
    ]
    answer(3, "students after their end", f"{found['user'].n_unique():,} users", lines)


def unusual_days(students: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """4. On which days do students read more than usual, by Bollinger bands at k = 2?"""
    bands = amiss.bands(students, k=K)
    above = bands.filter("flagged").with_columns((pl.col("count") - pl.col("upper")).alias("above"))
    above = above.sort(["above", "user"], descending=[True, False])
    write(above, folder / "4_bands.csv")
    lines = [
        f"{label(row['user']):>8}  {row['period']}  {row['count']:>5,} pages, %b {row['pct_b']:.2f}"
        for row in above.head(5).iter_rows(named=True)
    ]
    said = f"{len(above):,} days of {above['user'].n_unique():,} users"
    answer(4, f"days above the band, k = {K:g}", said, lines)
    return bands.filter(pl.col("user").is_in(above["user"].unique().implode())).join(
        above.select("user", "above").group_by("user").agg(pl.col("above").max()), on="user"
    )


def plots(bands: pl.DataFrame, folder: Path, number: int) -> None:
    """5. Plot the activity of these students."""
    from amiss.plots_activity import activity_chart, multiples

    users = bands.group_by("user").agg(pl.col("above").max()).sort(["above", "user"], descending=[True, False])["user"]
    drawn = {user: bands.filter(user=user).drop("above") for user in users.head(number)}
    if drawn:
        multiples(drawn).save(folder / "5_students.png", scale_factor=2)
    for place, (user, rows) in enumerate(drawn.items(), start=1):
        activity_chart(rows, user).save(folder / f"5_student_{place}.png")
    answer(5, "plots", f"{len(drawn)} students: 5_students.png, 5_student_1.png ...")


def both_programs(log: pl.DataFrame, rules: dict[str, Any], folder: Path) -> None:
    """6. Who reads both the lessons of web development and of data science?"""
    found = amiss.violations(log, rules | {"findings": ["both"]})
    users = found.group_by("user").agg(pl.col("events").sum(), pl.col("scope").unique().sort().str.join("+"))
    users = users.sort(["events", "user"], descending=[True, False])
    write(found, folder / "6_both_programs.csv")
    lines = [f"{label(user):>8}  {pages:>6,} pages of {scope}" for user, pages, scope in users.head(5).rows()]
    answer(6, "in web and data science", f"{len(users):,} users", lines)


def answer(number: int, question: str, said: str, lines: list[str] | None = None) -> None:
    """Print an answer."""
    print(*wrap(f"{number}. {question}: {said}", 80, subsequent_indent="   "), *(lines or []), "", sep="\n")


def write(table: pl.DataFrame, file: Path) -> None:
    """Write an answer as CSV that no spreadsheet takes for formulas."""
    texts = pl.col([name for name, dtype in table.schema.items() if dtype == pl.String])
    harmless = texts.replace("", None).map_elements(csv_cell, return_dtype=pl.String)
    table.with_columns(harmless).write_csv(file)


if __name__ == "__main__":
    main()
