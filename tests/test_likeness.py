"""Whose behaviour looks like that of a class: the slow twin, what one user may do to it, and the way from labels."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import amiss
from amiss.cli import app
from amiss.entitlement import Columns, periods_of
from amiss.errors import EventError, SourceError, UsageError
from amiss.labels import Condition, Labels, read_labels
from amiss.likeness import PROFILE_SCHEMA, Likeness, Rule, profiles
from amiss.simulate.curriculum import simulate

HOSTILE = "=cmd()\x1b[31m"


def naive(rows: list[tuple[str, str, str, float]], labels: dict[str, str], cap: float) -> dict[str, dict[str, float]]:
    """The bits of users for classes against all users, by sums over everybody else."""
    users = sorted({row[0] for row in rows})
    classes = ["", *sorted({labels[user] for user in users if user in labels})]
    of = {user: labels.get(user, "") for user in users}
    prior = {
        name: (sum(each == name for each in of.values()) + 0.5) / (len(users) + 0.5 * len(classes)) for name in classes
    }
    whole: dict[tuple[str, str], float] = defaultdict(float)
    for user, feature, _, count in rows:
        whole[user, feature] += count
    worth = {row[:3]: row[3] * min(cap, whole[row[0], row[1]]) / whole[row[0], row[1]] for row in rows}
    kinds = {feature: len({row[2] for row in rows if row[1] == feature}) for _, feature, _, _ in rows}
    found = {user: dict.fromkeys(classes, 0.0) for user in users}
    for (user, feature, value), mine in worth.items():
        others = {key: days for key, days in worth.items() if key[0] != user and key[1] == feature}
        p0 = (sum(days for key, days in others.items() if key[2] == value) + 0.5) / (
            sum(others.values()) + 0.5 * kinds[feature]
        )
        chances = {}
        for name in classes:
            own = {key: days for key, days in others.items() if of[key[0]] == name}
            here = sum(days for key, days in own.items() if key[2] == value)
            chances[name] = (here + 5 * p0) / (sum(own.values()) + 5)
        mixed = sum(chances[name] * prior[name] for name in classes)
        for name in classes:
            found[user][name] += mine * max(-4, min(4, math.log2(chances[name] / mixed)))
    for each in found.values():
        for name in classes:
            rest = sum(2 ** each[other] * prior[other] for other in classes if other != name)
            each[f"against {name}"] = each[name] - math.log2(rest / (1 - prior[name]))
    return found


row = st.tuples(
    st.sampled_from("abcdef"), st.sampled_from(["area", "hour"]), st.sampled_from("xyz"), st.integers(1, 30).map(float)
)


def table(rows: list[tuple[str, str, str, float]]) -> pl.DataFrame:
    """Rows as profiles."""
    return pl.DataFrame(rows, schema=PROFILE_SCHEMA, orient="row")


@given(
    rows=st.lists(row, min_size=1, max_size=25, unique_by=lambda each: each[:3]),
    labels=st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["staff", "guest"])),
)
@settings(max_examples=60, deadline=None)
def test_bits_are_those_of_a_twin_that_leaves_each_user_out(rows, labels):
    """Counts of all others, summed anew for each user."""
    present = {labels[user] for user, *_ in rows if user in labels}
    for name in present:
        found = Likeness(cap=10).rank(table(rows), labels, name, everyone=True)
        twin = naive(rows, labels, 10)
        told = dict(found.select("user", "bits").iter_rows())
        assert told == pytest.approx({user: twin[user][f"against {name}"] for user in told}, abs=1e-9)


def test_one_user_counts_for_no_more_than_ten_days():
    """A flood by one of a class moves the bits of others as little as ten days do."""
    rows = [(f"s{n}", "area", "lessons", 9.0) for n in range(9)]
    rows += [("t0", "area", "answers", 9.0), ("u", "area", "answers", 5.0)]
    labels = {"t0": "t", "t1": "t"}
    few, many = (Likeness().rank(table([*rows, ("t1", "area", "lessons", days)]), labels, "t") for days in (10.0, 1e6))
    assert few.equals(many)


def test_little_known_users_get_no_verdict():
    """Below five days nobody is said to be anything."""
    rows = [(f"s{n}", "area", "lessons", 9.0) for n in range(9)] + [(f"t{n}", "area", "answers", 9.0) for n in range(3)]
    rows += [("new", "area", "answers", 4.0), ("old", "area", "answers", 5.0)]
    found = Likeness().rank(table(rows), dict.fromkeys(("t0", "t1", "t2"), "staff"), "staff")
    assert dict(found.select("user", "verdict").head(2).iter_rows()) == {"old": "staff", "new": ""}


def test_profiles_count_days_and_tell_numbers_apart_by_half_octaves():
    """Two days, three areas, a Monday and a Saturday, in the times of one of two cohorts."""
    days = pl.DataFrame(
        [("ann", "java", 20458, 9, 5), ("ann", "toc", 20458, 10, 1), ("ann", "java", 20463, 17, 2)],
        schema={"user": pl.String, "area": pl.String, "day": pl.Int32, "hour": pl.Int32, "events": pl.Int64},
        orient="row",
    )
    dates = {
        "id": ["1", "2", "3"],
        "s": ["2025-12-01", "2026-01-12", "2026-01-01"],
        "e": ["2026-01-06", "2026-02-01", "2026-01-01"],
    }
    found = profiles(days, periods_of(pl.DataFrame(dates), "id", Columns("s", "e")))
    assert found.select("feature", "value", "count").rows() == [
        ("area", "(other)", 2.0),
        ("areas", "2", 1.0),
        ("hour", "15:00 to 18:00", 1.0),
        ("hour", "9:00 to 12:00", 1.0),
        ("mix", "1", 1.0),
        ("mix", "2", 1.0),
        ("pace", "4 to 5", 1.0),
        ("periods", "1", 1.0),
        ("weekday", "Monday", 1.0),
        ("weekday", "Saturday", 1.0),
    ]


def rules_of(cohorts: Path) -> dict[str, str]:
    """The settings for a table of cohorts."""
    return {"table": str(cohorts), "key": "cohort_id=id", "start": "start_date", "end": "end_date", "named": "name"}


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str], dict[str, object]]:
    """A simulated log with its cohorts, the hidden staff, and the settings for it."""
    folder = tmp_path_factory.mktemp("school")
    simulated = simulate(users=240, days=120, seed=11)
    simulated.events.write_csv(folder / "log.csv")
    simulated.cohorts.write_csv(folder / "cohorts.csv")
    hidden = set(simulated.truth.filter(kind="staff")["user_id"].cast(pl.String))
    simulated.events.head(3000).write_csv(folder / "short.csv")
    return folder, hidden, rules_of(folder / "cohorts.csv")


def test_staff_who_are_not_listed_come_out_first(school):
    """By a rule on the table of cohorts; the first reason names what staff do more than others."""
    folder, hidden, rules = school
    found = amiss.classify(folder / "log.csv", "name=Staff as staff", parameters={"entitlement": rules}).users
    first = found.head(len(hidden))
    assert len(hidden & set(first["user"])) >= 0.6 * len(hidden)
    bits, known = found["bits"].to_numpy(), found["user"].is_in(hidden).to_numpy()
    auc = np.mean([(bits[~known] < each).mean() for each in bits[known]])
    assert auc > 0.95
    assert "staff" in first["reasons"][0][0]


def test_the_command_ranks_and_says_why(school, tmp_path: Path):
    """By a file of labels; rows without a label are told, labels are escaped, CSV and JSON say the same."""
    folder, _, _ = school
    file = tmp_path / "labels.csv"
    chosen = pl.read_csv(folder / "short.csv")["user_id"].unique().sort().cast(pl.String).head(3)
    file.write_text(
        "user,label,author,time\n" + "".join(f'{user},"{HOSTILE}",ann,\n' for user in chosen) + "7,,,\nx,s,,\n"
    )
    done = CliRunner().invoke(app, ["classify", str(folder / "short.csv"), "--labels", str(file), "--top", "3"])
    assert done.exit_code == 0
    assert "3 of" in done.stdout
    assert "\x1b" not in done.output
    assert "1 row of labels left out" in done.stderr
    assert "1 labelled user not seen there" in done.stderr
    plain = ["classify", str(folder / "short.csv"), "--labels", str(file), "--format", "csv"]
    assert CliRunner().invoke(app, plain).stdout.startswith("user,label,bits,probability,verdict,days,reasons\n")


def test_a_label_that_nobody_has_is_refused(school):
    """With those that there are; several need a name."""
    folder, _, _ = school
    users = {"1": "staff", "2": "guest"}
    everybody = dict.fromkeys(pl.read_csv(folder / "short.csv")["user_id"].cast(pl.String).unique().head(2), users["1"])
    with pytest.raises(UsageError, match=r'nobody here is labelled "stuff".*staff.*Did you mean "staff"'):
        amiss.classify(folder / "short.csv", everybody, label="stuff")
    (one, two) = everybody
    assert amiss.classify(folder / "short.csv", {one: "staff", two: "guest"}).classes["class"].to_list() == [
        "guest",
        "staff",
    ]
    with pytest.raises(UsageError, match="Labels of users of this log: none"):
        amiss.classify(folder / "short.csv", "user_id=nobody as x", label="x")


def test_files_of_labels_are_read_with_their_mistakes(tmp_path: Path):
    """The last label of a user holds; rows that say nothing are kept apart, a missing column is named."""
    file = tmp_path / "labels.csv"
    file.write_text("user,label,time\n7,staff,2026-01-05\n8.0,guest,\n,staff,\n9,,\n7,guest,2026-01-06\n")
    found = read_labels(file)
    assert found.by_user() == {"7": "guest", "8": "guest"}
    assert [(each.position, each.reason) for each in found.quarantine.samples] == [
        (4, 'column "user" is empty'),
        (5, 'column "label" is empty'),
    ]
    file.write_text("usr,label\n7,staff\n")
    with pytest.raises(EventError, match=r'no column "user".*Did you mean "usr"'):
        read_labels(file)
    with pytest.raises(SourceError, match=r'Did you mean "labels.csv"'):
        read_labels(tmp_path / "label.csv")
    assert Labels.of([("a", "x")]).names == ["x"]


def test_rules_read_as_they_are_written():
    """A column, what it says, and the label; without one, what it says."""
    assert Rule.parse("name=Staff|Guests as inner circle") == Rule(
        Condition("name", ("Staff", "Guests")), "inner circle"
    )
    assert Rule.parse("name=Staff").label == "Staff"
    with pytest.raises(UsageError, match='such as "name=Staff"'):
        Rule.parse("Staff as staff")


def test_staff_of_the_real_fragment_are_above_chance(shared_data: Path):
    """Each of the 17 judged by the other 16: most have one to four events, so this is all that can be."""
    log = shared_data / "curriculum" / "log_fragment.csv"
    rules = rules_of(shared_data / "curriculum" / "cohorts.csv")
    found = amiss.classify(log, "name=Staff as staff", parameters={"entitlement": rules}, everyone=True).users
    bits, staff = found["bits"].to_numpy(), (found["label"] == "staff").to_numpy()
    assert staff.sum() == 17
    assert np.mean([(bits[~staff] < each).mean() for each in bits[staff]]) > 0.6
