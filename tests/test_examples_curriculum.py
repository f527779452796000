"""The example of a school's curriculum: its six answers against the truth, from files and from a real MariaDB."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from tests.databases import Database
from typer.testing import CliRunner

from amiss import config
from amiss.cli import app
from amiss.simulate.curriculum import Simulated, simulate

PLACE = Path(__file__).resolve().parent.parent / "examples" / "curriculum"

LOG = "date VARCHAR(10), time VARCHAR(8), path VARCHAR(500), user_id INT, cohort_id DOUBLE NULL, ip VARCHAR(40)"
COHORTS = "id INT, name VARCHAR(60), start_date DATE, end_date DATE, program_id INT"


class Match(NamedTuple):
    """How well answers fit the truth."""

    precision: float
    recall: float


@pytest.fixture(scope="module")
def command() -> Callable[[list[str]], None]:
    """What `python curriculum.py` does."""
    spec = importlib.util.spec_from_file_location("curriculum_example", PLACE / "curriculum.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Callable[[list[str]], None] = module.main
    return main


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Simulated]:
    """A simulated log of about 50,000 rows, its cohorts and its truth."""
    folder = tmp_path_factory.mktemp("school")
    simulated = simulate(users=220, days=80, seed=5)
    simulated.events.write_csv(folder / "log.csv")
    simulated.cohorts.write_csv(folder / "cohorts.csv")
    return folder, simulated


@pytest.fixture(scope="module")
def answers(school: tuple[Path, Simulated], command: Callable[[list[str]], None]) -> Path:
    """The folder of the answers from files."""
    folder, _ = school
    files = [str(folder / "log.csv"), "--cohorts", str(folder / "cohorts.csv")]
    command([*files, "-o", str(folder / "files"), "--plots", "2"])
    return folder / "files"


def answer(folder: Path, name: str) -> pl.DataFrame:
    """One of the answers, as texts."""
    return pl.read_csv(folder / name, infer_schema=False).fill_null("")


def match(found: Iterable[str], truth: pl.DataFrame) -> Match:
    """Users against those of the truth."""
    users, right = set(found), set(truth["user_id"].cast(pl.String))
    return Match(len(users & right) / max(1, len(users)), len(users & right) / max(1, len(right)))


def check(folder: Path, simulated: Simulated) -> None:
    """Each answer against the truth of a simulated log."""
    truth = {kind: simulated.truth.filter(kind=kind) for kind in simulated.truth["kind"].unique()}
    labelled = answer(folder, "1_programs.csv").filter(pl.col("cohort_id") != "")
    programs = dict(simulated.cohorts.select(pl.col("id").cast(pl.String), "program_id").iter_rows())
    names = {1: "php", 2: "java", 3: "data science", 4: "front end"}
    staff = str(simulated.cohorts.filter(name="Staff")["id"][0])
    assert all(
        program == ("staff" if cohort == staff else names[programs[cohort]])
        for cohort, program in labelled.select("cohort_id", "program").rows()
    )
    ranking = answer(folder, "2_staff.csv")
    hidden = set(truth["staff"]["user_id"].cast(pl.String))
    places = [place for place, user in enumerate(ranking["user"]) if user in hidden]
    assert sum(places) / len(places) < 0.1 * len(ranking)
    after = answer(folder, "3_after_end.csv").with_columns(pl.col("events").cast(pl.Int64))
    assert match(after["user"], truth["after_end"]) == (1.0, 1.0)
    assert after["events"].sum() == truth["after_end"]["events"].sum()
    flagged = set(answer(folder, "4_bands.csv").select("user", "period").iter_rows())
    odd = pl.concat([truth["scraper"], truth["surge"]])
    missed = [row for row in odd.iter_rows(named=True) if not days_of(row) & flagged]
    assert len(missed) <= 0.2 * len(odd)
    both = answer(folder, "6_both_programs.csv")
    assert match(both["user"], truth["both_programs"]) == (1.0, 1.0)


def days_of(row: dict) -> set[tuple[str, str]]:
    """A user with each day from the first to the last."""
    span = (row["last_date"] - row["first_date"]).days
    return {(str(row["user_id"]), str(row["first_date"] + timedelta(days=at))) for at in range(span + 1)}


def test_the_answers_are_those_of_the_truth(school: tuple[Path, Simulated], answers: Path):
    """All after the end and all in both programs are found exactly, most of hidden staff, scrapers and surges."""
    check(answers, school[1])


def test_plots_are_pictures(answers: Path):
    """One of all, and one for each of two students."""
    pictures = sorted(answers.glob("5_*.png"))
    assert [each.name for each in pictures] == [*(f"5_student_{n}.png" for n in range(1, 3)), "5_students.png"]
    assert all(each.read_bytes().startswith(b"\x89PNG") for each in pictures)


def test_what_is_printed_fits_into_80_columns(school: tuple[Path, Simulated], command, tmp_path: Path, capsys):
    """Six answers, one under the other."""
    folder, simulated = school
    simulated.events.head(9000).write_csv(tmp_path / "log.csv")
    command([str(tmp_path / "log.csv"), "--cohorts", str(folder / "cohorts.csv"), "-o", str(tmp_path), "--plots", "0"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line[:2] for line in lines if line[1:2] == "."] == ["1.", "2.", "3.", "4.", "5.", "6."]


def test_commands_give_the_same_answers(school: tuple[Path, Simulated], answers: Path, tmp_path: Path):
    """`amiss violations` and `amiss classify` with the same settings."""
    folder, _ = school
    settings = (PLACE / "amiss.toml").read_text(encoding="utf-8")
    settings = settings.replace('"cohorts.csv"', f'"{folder / "cohorts.csv"}"')
    (tmp_path / "amiss.toml").write_text(settings)
    given = [str(folder / "log.csv"), "--config", str(tmp_path / "amiss.toml"), "--format", "csv"]
    done = CliRunner().invoke(app, ["violations", *given, "--finding", "after", "-o", str(tmp_path / "after.csv")])
    assert (done.exit_code, done.output) == (0, "")
    assert answer(tmp_path, "after.csv").equals(answer(answers, "3_after_end.csv"))
    rule = ["--labels", "name=Staff as staff", "--top", "9999", "-o", str(tmp_path / "staff.csv")]
    assert CliRunner().invoke(app, ["classify", *given, *rule]).exit_code == 0
    assert answer(tmp_path, "staff.csv")["user"].to_list() == answer(answers, "2_staff.csv")["user"].to_list()


def test_the_settings_have_no_mistakes():
    """The file reads as amiss.toml."""
    assert set(config.load(PLACE / "amiss.toml").detector) == {"entitlement"}


def named_scraper(folder: Path) -> bool:
    """Whether the scraper that analysts of the real log named stands among the flagged days, the highest three."""
    days = answer(folder, "4_bands.csv").head(3).select("user", "period").rows()
    return ("341", "2019-03-03") in days


def test_the_scraper_of_the_real_fragment_is_named(shared_data: Path, command, tmp_path: Path):
    """User 341 on 2019-03-03, from the file; who came long after the end is named too."""
    log, cohorts = (str(shared_data / "curriculum" / name) for name in ("log_fragment.csv", "cohorts.csv"))
    command([log, "--cohorts", cohorts, "-o", str(tmp_path), "--plots", "0"])
    assert named_scraper(tmp_path)
    after = answer(tmp_path, "3_after_end.csv").filter(user="1")
    assert (after["period"][0], after["limit"][0]) == ("Hampton", "2016-02-06")


def load(database: Database, name: str, log: pl.DataFrame, cohorts: pl.DataFrame) -> str:
    """Put a log and its cohorts into a database; the address of the log."""
    table = database.table(LOG, log.select("date", "time", "path", "user_id", "cohort_id", "ip").rows(), f"logs_{name}")
    columns = ("id", "name", "start_date", "end_date", "program_id")
    database.table(COHORTS, cohorts.select(columns).rows(), f"cohorts_{name}")
    return database.source(table)


def test_a_real_mariadb_gives_the_same_answers(
    school: tuple[Path, Simulated], answers: Path, mariadb: Database, command
):
    """The same files, but for the order of equal rows, by the example's command with an address."""
    folder, simulated = school
    url = load(mariadb, "simulated", simulated.events, simulated.cohorts)
    command([url, "--cohorts", "cohorts_simulated", "-o", str(folder / "sql"), "--plots", "0"])
    check(folder / "sql", simulated)
    for name in ("1_programs.csv", "3_after_end.csv", "4_bands.csv", "6_both_programs.csv"):
        assert answer(folder / "sql", name).equals(answer(answers, name)), name


def test_a_real_mariadb_names_the_scraper_of_the_real_fragment(
    shared_data: Path, mariadb: Database, command, tmp_path: Path
):
    """Rows with NULL for cohorts and pages, as they stand in the real table."""
    place = shared_data / "curriculum"
    log, cohorts = (pl.read_csv(place / name, infer_schema_length=None) for name in ("log_fragment.csv", "cohorts.csv"))
    url = load(mariadb, "real", log, cohorts)
    command([url, "--cohorts", "cohorts_real", "-o", str(tmp_path), "--plots", "0"])
    assert named_scraper(tmp_path)


@pytest.mark.slow
def test_a_million_rows_of_a_real_mariadb_are_answered(mariadb: Database, command, tmp_path: Path):
    """The answers are those of the truth, whatever the size."""
    simulated = simulate(users=1600, days=365, seed=17)
    assert len(simulated.events) > 1_000_000
    url = load(mariadb, "large", simulated.events, simulated.cohorts)
    command([url, "--cohorts", "cohorts_large", "-o", str(tmp_path)])
    check(tmp_path, simulated)
    likely = answer(tmp_path, "2_staff.csv").filter(verdict="staff")["user"]
    found = match(likely, simulated.truth.filter(kind="staff"))
    assert min(found) >= 0.5
