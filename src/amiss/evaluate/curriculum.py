"""Readers of simulated lessons: scrapers, surges and silences found at one false alarm a day.

Weekends, holidays, projects, leavers and days without a log are normal. The first 60 days only teach. The threshold is
the one at which users who do not scrape, surge or fall silent raise one alarm a day on average; an alarm is a user on a
day. A silence counts as found when it is told within two weeks. The optimum knows how the simulation is made
(:mod:`amiss.evaluate.curriculum_optimum`); its threshold is read off the truth as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from amiss.detect.activity import Activity
from amiss.evaluate.calibration import curve
from amiss.evaluate.curriculum_optimum import odds
from amiss.evaluate.measured import Figure, Measured, number_of
from amiss.evaluate.ranking import rounded
from amiss.evaluate.scans import scanned, standings
from amiss.simulate.curriculum import Simulated, arranged, simulate

SEEDS: Final = (9401,)
USERS: Final = 1_000
DAYS: Final = 365
ODD: Final = 0.1
KINDS: Final = ("scraper", "surge", "silence")
WITHIN: Final = 14
TEACHING: Final = 60
OPTIMUM: Final = "optimum"

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class School:
    """Pages by user (row) and day with a log (column), and what is odd.

    Attributes
    ----------
    users
        Their numbers, in order.
    days
        Numbers of the days with a log, from the first.
    counts, known
        Pages, and whether the user had come before or on the day.
    planted
        Kind, row, and first and last column of what is odd.
    """

    users: Ints
    days: Ints
    counts: Floats
    known: Bools
    planted: list[tuple[str, int, int, int]]

    @property
    def weekday(self) -> Ints:
        """The weekday of each column."""
        return self.days % 7

    @property
    def odd(self) -> Bools:
        """Who is odd when, by row and column."""
        found = np.zeros(self.counts.shape, np.bool_)
        for _, user, first, last in self.planted:
            found[user, first : last + 1] = True
        return found


class Told(NamedTuple):
    """What a scan says of users (rows) on days (columns): bits, most bits within the day, whether it alerts."""

    bits: Floats
    peaks: Floats
    alert: Bools


class Found(NamedTuple):
    """How many of each kind were found of how many, and false alarms a day."""

    hits: dict[str, int]
    of: dict[str, int]
    false: float


def evaluate(seeds: Sequence[int] = SEEDS, users: int = USERS) -> Measured:
    """The shares of scrapers, surges and silences that are found.

    Parameters
    ----------
    seeds
        One simulation of a year for each.
    users
        How many each has.
    """
    parts: dict[str, list[Found]] = {}
    normal: dict[str, list[Floats]] = {}
    for seed in seeds:
        made = simulate(users=users, days=DAYS, seed=seed, odd_users=ODD, odd_after=TEACHING)
        of = school(made, DAYS)
        for way, by_group in (("activity", False), ("activity, by cohort", True)):
            told = evidence(made, of, by_group=by_group)
            parts.setdefault(way, []).append(at_one_a_day(told.bits, of, TEACHING))
            parts.setdefault(f"{way}, as it decides itself", []).append(found(told.alert, of, TEACHING))
            normal.setdefault(way, []).append(_normal(told, of))
        parts.setdefault(OPTIMUM, []).append(at_one_a_day(optimum(of, seed, users=users), of, TEACHING))
    rows = [{"way": way, **_figures(each)} for way, each in parts.items()]
    runs = number_of(len(seeds), "simulation")
    said = f"{runs} of {users:,} users in {DAYS} days, {ODD:.0%} of them odd; thresholds at one false"
    curves = curve({way: np.concatenate(each) for way, each in normal.items()})
    best = {f"{OPTIMUM}_{kind}": figure for kind, figure in _figures(parts[OPTIMUM]).items() if kind in KINDS}
    return Measured("curriculum", tuple(rows), f"{said} alarm a day", {**_figures(parts["activity"]), **best}, curves)


def _figures(parts: Sequence[Found]) -> Mapping[str, Figure]:
    """The share of each kind that was found in all simulations, and false alarms a day."""
    sums = {kind: [sum(getattr(part, which)[kind] for part in parts) for which in ("hits", "of")] for kind in KINDS}
    shares = {kind: hits / of if of else float("nan") for kind, (hits, of) in sums.items()}
    return rounded(shares | {"false_alarms_a_day": float(np.mean([part.false for part in parts]))})


def _normal(told: Told, of: School) -> Floats:
    """The most evidence of users' days that are judged and not odd."""
    judged = ~of.odd & (of.days >= TEACHING) & np.isfinite(told.peaks)
    return told.peaks[judged]


def school(made: Simulated, days: int) -> School:
    """What a log and its truth say of days."""
    first = made.events["date"].min()
    number = (pl.col("date") - pl.lit(first)).dt.total_days()
    daily = made.events.group_by("user_id", day=number).len()
    users = np.sort(daily["user_id"].unique().to_numpy())
    whole = np.zeros((len(users), days))
    whole[np.searchsorted(users, daily["user_id"]), daily["day"]] = daily["len"]
    there = np.flatnonzero(whole.sum(axis=0) > 0)
    counts = whole[:, there]
    ends = (pl.col(name) - pl.lit(first) for name in ("first_date", "last_date"))
    planted = made.truth.filter(pl.col("kind").is_in(KINDS)).select(
        "kind", "user_id", *(e.dt.total_days() for e in ends)
    )
    rows = [
        (kind, int(np.searchsorted(users, user)), *np.searchsorted(there, span).tolist())
        for kind, user, *span in planted.iter_rows()
    ]
    return School(users, there, counts, np.maximum.accumulate(counts, axis=1) > 0, rows)


def as_log(made: Simulated) -> pl.DataFrame:
    """The simulated events as scans take them; the group is the cohort."""
    when = pl.col("date").dt.combine(pl.col("time")).dt.cast_time_unit("us").dt.replace_time_zone("UTC")
    user, group = (pl.col(name).cast(pl.String) for name in ("user_id", "cohort_id"))
    outcome, position = pl.lit("success"), pl.int_range(pl.len()) + 1
    return made.events.select(time=when, user=user, action="path", outcome=outcome, group=group, position=position)


def evidence(made: Simulated, of: School, *, by_group: bool = False) -> Told:
    """What the detector says of users on days."""
    rows = standings(scanned([Activity(by_group=by_group)], as_log(made)))
    day = rows.select((pl.col("day") - pl.lit(made.events["date"].min())).dt.total_days()).to_series().to_numpy()
    place = np.searchsorted(of.users, rows["user"].cast(pl.Int64)), np.searchsorted(of.days, day)
    bits, peaks = np.full((2, *of.counts.shape), -np.inf)
    alert = np.zeros(of.counts.shape, np.bool_)
    bits[place], peaks[place], alert[place] = rows["bits"], rows["peak"], rows["alert"]
    return Told(bits, peaks, alert)


def optimum(of: School, seed: int, *, users: int = USERS, days: int = DAYS) -> Floats:
    """What who knows the simulation of a seed says of users on days with a log, in bits."""
    counts = np.zeros((len(of.users), days))
    counts[:, of.days] = of.counts
    term = arranged(users=users, days=days, seed=seed)
    return odds(term, of.users - 1, counts, share=ODD, after=TEACHING)[:, of.days]


def found(alarms: Bools, of: School, teaching: int) -> Found:
    """What alarms of users on days are worth."""
    judged = of.days >= teaching
    hits, whole = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
    for kind, user, first, last in of.planted:
        until = last if kind != "silence" else min(last, first + WITHIN - 1)
        whole[kind] += 1
        hits[kind] += bool(alarms[user, first : until + 1].any())
    return Found(hits, whole, float((alarms & judged & ~of.odd).sum() / judged.sum()))


def at_one_a_day(score: Floats, of: School, teaching: int) -> Found:
    """What a way finds at the threshold of one false alarm a day."""
    judged = of.days >= teaching
    ranked = np.sort(np.where(of.odd, -np.inf, score)[:, judged], axis=None)[::-1]
    return found(score > ranked[judged.sum()], of, teaching)
