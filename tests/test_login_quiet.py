"""Days on which something happens to everybody raise nothing: clocks that change, a browser's release, offices."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from amiss.detect import detector
from amiss.engine import Scan
from amiss.simulate.browsers import push_day
from amiss.simulate.logins import FIRST_DATE, simulate
from amiss.spool import EPOCH
from amiss.testing import ListSource

DAYS = 60
CLOCKS = (date(2026, 3, 8), date(2026, 3, 29))
"""Summer time begins in America, and in Europe."""


@pytest.fixture(scope="module")
def judged() -> tuple[Scan, pl.DataFrame]:
    """A quiet log at the default budget, and where each login was."""
    made = simulate(users=600, days=DAYS, seed=11, attack_rate=0.0)
    events = made.events.with_row_index("position", offset=1).with_columns(pl.col("position").cast(pl.Int64))
    scan = Scan([detector("login")])
    scan.run([ListSource(events, rows_at_once=100_000)], [], lambda _: None)
    return scan, events.hstack(made.circumstances)


def alarms(scan: Scan, day: date) -> int:
    """How many users are alerted on a day."""
    return next(int(each.standings["alert"].sum()) for each in scan.days if each.day == day)


def test_a_quiet_log_keeps_the_budget(judged: tuple[Scan, pl.DataFrame]):
    """One false alarm a day is allowed; the real rate is below."""
    scan, _ = judged
    assert sum(alarms(scan, each.day) for each in scan.days) <= DAYS


def test_changes_of_clocks_are_days_like_others(judged: tuple[Scan, pl.DataFrame]):
    """Hours are those of the place, so nobody's habits move: about as many alarms as the budget allows in four days."""
    scan, _ = judged
    days = [day + timedelta(days=after) for day in CLOCKS for after in (0, 1)]
    assert sum(alarms(scan, day) for day in days) <= 6


def test_a_release_day_is_a_day_like_others(judged: tuple[Scan, pl.DataFrame]):
    """Nearly everybody has a new version of the same browser within a day."""
    scan, _ = judged
    first = EPOCH + timedelta(days=int(push_day((FIRST_DATE - EPOCH).days, DAYS)))
    assert sum(alarms(scan, first + timedelta(days=after)) for after in range(3)) <= 3


def test_a_shared_office_alarms_no_more_often_than_homes(judged: tuple[Scan, pl.DataFrame]):
    """Logins from behind the one address of many people are as rarely alarms as those from home."""
    scan, events = judged
    alerted = pl.concat(
        each.standings.filter("alert").select("user", day=pl.lit(each.day)) for each in scan.days
    ).with_columns(user=scan.coding.users.decode(pl.concat(e.standings.filter("alert") for e in scan.days)["user"]))
    logins = events.select("user", "circumstance", day=pl.col("time").dt.date())
    of_alarms = alerted.join(logins, on=["user", "day"])
    shares = {
        where: of_alarms.filter(circumstance=where).height / max(logins.filter(circumstance=where).height, 1)
        for where in ("office", "home")
    }
    assert shares["office"] <= shares["home"] + 0.002
