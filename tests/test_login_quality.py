"""Measured quality on simulated logins: which attackers are found at which rate of false alarms, and calibration.

The figures are of seeds on which nothing was tuned; `pytest -s -m "" tests/test_login_quality.py` prints them. An alarm
is a day on which the evidence about a user reaches a threshold. Nearly half of the attackers from anywhere come with a
kind of device that their victim has; those who also come no faster than people travel look like travellers.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from amiss.detect.login import Login
from amiss.engine import Scan
from amiss.simulate.logins import FIRST_DATE, simulate
from amiss.testing import ListSource, reached_by_chance

LEARN = 20
"""Days before attackers come, on which nobody is judged here."""


class Measured(NamedTuple):
    """Users' days with their highest evidence and what attacks there were, and how many logins of users there were."""

    days: pl.DataFrame
    logins: int


@cache
def measured(seed: int, users: int, days: int, attack_rate: float = 0.001) -> Measured:
    """The days of a simulation, as a scan judges them."""
    simulated = simulate(users=users, days=days, seed=seed, attacks_after=LEARN, attack_rate=attack_rate)
    events = simulated.events.with_columns(position=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))
    with TemporaryDirectory() as folder:
        ranges = Path(folder) / "vpn.txt"
        ranges.write_text("\n".join(simulated.vpn_ranges))
        scan = Scan([Login(wide=str(ranges))])
        scan.run([ListSource(events, rows_at_once=len(events))], [], lambda _: None)
    peaks = pl.concat(each.standings.select("user", "peak", day=pl.lit(each.day)) for each in scan.days)
    peaks = peaks.with_columns(scan.coding.users.decode(peaks["user"]).alias("user"))
    bad = simulated.truth.filter(outcome="success").join(events.select("position", "time"), on="position")
    attacks = bad.select("user", "attack", "incident", day=pl.col("time").dt.date()).unique()
    judged = pl.col("day") >= FIRST_DATE + timedelta(LEARN)
    late = events.filter(pl.col("time").dt.date() >= FIRST_DATE + timedelta(LEARN), outcome="success")
    return Measured(peaks.join(attacks, on=["user", "day"], how="left").filter(judged), len(late) - len(bad))


def caught(runs: Sequence[Measured], false_alarms_per_login: float) -> dict[str, float]:
    """The share of incidents of each kind with an alarm, at this rate of false ones."""
    days = pl.concat(run.days.with_columns(run=pl.lit(number)) for number, run in enumerate(runs))
    normal = days.filter(pl.col("attack").is_null())["peak"].sort(descending=True)
    limit = normal[int(false_alarms_per_login * sum(run.logins for run in runs))]
    found = days.drop_nulls("attack").group_by("run", "incident", "attack").agg((pl.col("peak") > limit).any())
    return dict(found.group_by("attack").agg(pl.col("peak").mean()).sort("attack").iter_rows())


def shares(runs: Sequence[Measured]) -> tuple[int, dict[int, float]]:
    """How many days of users without attackers there are, and the share that reaches each number of bits."""
    days = pl.concat(run.days for run in runs)
    peaks = days.filter(pl.col("attack").is_null())["peak"].to_numpy()
    return len(peaks), {bits: float((peaks >= bits).mean()) for bits in range(1, 13)}


@pytest.mark.slow
def test_attackers_are_found_in_a_small_service():
    """Of 600 users, at one false alarm in 1,000 logins: four of five from anywhere, three of ten from near."""
    runs = [measured(seed, 600, 40, 0.004) for seed in (111, 112)]
    found = caught(runs, 1e-3)
    print({kind: round(share, 3) for kind, share in found.items()})  # noqa: T201  figures to be quoted
    assert found["world"] >= 0.8
    assert found["country"] >= 0.3


def test_days_of_users_reach_b_bits_at_most_once_in_2_to_the_b():
    """People who travel, move house and buy phones are no odder than promised."""
    days, found = shares([measured(seed, 600, 40, 0.004) for seed in (111, 112)])
    print(days, {bits: round(share * 2**bits, 2) for bits, share in found.items()})  # noqa: T201  figures to be quoted
    assert all(share <= reached_by_chance(bits, days) for bits, share in found.items())


@pytest.mark.slow
def test_attackers_are_found_among_2_000_users_in_60_days():
    """At one false alarm in 10,000 logins: seven of ten from anywhere, one of four from near."""
    runs = [measured(seed, 2_000, 60) for seed in range(101, 106)]
    for rate in (1e-4, 3e-4, 1e-3):
        found = caught(runs, rate)
        print(rate, {kind: round(share, 3) for kind, share in found.items()})  # noqa: T201  figures to be quoted
    days, calibration = shares(runs)
    print(days, {bits: round(share * 2**bits, 2) for bits, share in calibration.items()})  # noqa: T201  as above
    assert caught(runs, 1e-4)["world"] >= 0.7
    assert caught(runs, 1e-4)["country"] >= 0.2
    assert np.all([share <= reached_by_chance(bits, days) for bits, share in calibration.items()])
