"""Crowds: users with alerts who do alike are told of as one group, and those who only have alerts are not."""

from __future__ import annotations

from collections.abc import Container

import polars as pl
from tests.commands import Run

import amiss
from amiss.crowds import LEAST

BUYER = ["login", "view", "view", "buy", "logout"]
SCRAPER = ["view", "export", "export", "export"]


def log_of(odd: dict[str, list[str]], hurried: Container[str] = (), buyers: int = 60) -> pl.DataFrame:
    """A day of buyers, who do the same ten times each, seven seconds apart, and of some others; some are hurried."""
    users = {f"buyer{number}": BUYER for number in range(buyers)} | odd
    rows = [
        (
            f"2026-01-05T{9 + turn % 10:02}:{number % 60:02}:{at * (0.1 if user in hurried else 7):04.1f}Z",
            user,
            action,
        )
        for number, (user, does) in enumerate(users.items())
        for turn in range(10)
        for at, action in enumerate(does)
    ]
    return pl.DataFrame(rows, schema=["time", "user", "action"], orient="row").sort("time")


def test_users_with_alerts_who_do_alike_are_told_of_as_one():
    """Four scrapers are one crowd, told by what they do; a loner with an alert is in none."""
    loner = {"loner": ["reset", "reset", "admin", "admin"]}
    found = amiss.scan(log_of({f"bot{number}": SCRAPER for number in range(4)} | loner))
    [crowd] = found.crowds.to_dicts()
    assert sorted(crowd["users"]) == ["bot0", "bot1", "bot2", "bot3"]
    assert crowd["does"].startswith("export 75%")
    assert crowd["bits"] > 5
    assert found.users.filter(user="loner")["alert"].item()


def test_who_does_what_is_normal_is_in_no_crowd():
    """Four who buy as all do, but tenths of a second apart, have alerts; what they do is what everybody does."""
    hasty = {f"hasty{number}": BUYER for number in range(4)}
    found = amiss.scan(log_of(hasty, hurried=hasty))
    assert set(found.users.filter("alert")["user"]) == set(hasty)
    assert found.crowds.is_empty()


def test_fewer_than_three_are_no_crowd():
    """Two scrapers are two alerts."""
    found = amiss.scan(log_of({f"bot{number}": SCRAPER for number in range(LEAST - 1)}))
    assert found.summary.alerts == LEAST - 1
    assert found.crowds.is_empty()
    assert found.crowds.columns == ["day", "users", "does", "bits"]


def test_other_detectors_alone_tell_of_no_crowds():
    """What follows what is what sequence looks at: without it nothing is said."""
    odd = {f"bot{number}": SCRAPER for number in range(4)}
    assert amiss.scan(log_of(odd), detectors=["habit"]).crowds.is_empty()


def test_the_order_of_users_makes_no_difference():
    """A log told backwards has the same crowd."""
    log = log_of({f"bot{number}": SCRAPER for number in range(5)})
    assert amiss.scan(log).crowds.equals(amiss.scan(log.reverse()).crowds)


def test_the_terminal_names_the_first_of_a_crowd_with_control_characters_made_visible(run: Run, tmp_path):
    """Names come from the log: what would move the cursor is shown, not done."""
    file = tmp_path / "log.csv"
    log_of({f"bot{number}\x1b[2J": SCRAPER for number in range(4)}).write_csv(file)
    said = run("scan", str(file)).out
    assert "alike" in said
    assert "4 of them did alike on 2026-01-05" in " ".join(said.split())
    assert "\x1b[2J" not in said


def test_a_crowd_that_comes_on_several_days_is_told_of_once():
    """The same four scrape on two days: one crowd, of the day on which that is more evident."""
    odd = {f"bot{number}": SCRAPER for number in range(4)}
    later = log_of(odd).with_columns(pl.col("time").str.replace("-05T", "-06T"))
    [crowd] = amiss.scan(pl.concat([log_of(odd), later])).crowds.to_dicts()
    assert sorted(crowd["users"]) == sorted(odd)
