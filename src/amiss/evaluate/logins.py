"""Attackers of simulated logins: how many are found at which rate of false alarms.

Users travel, move and buy phones; attackers come from the 21st day on. A false alarm is a login of a user that scores
above the threshold (the users' own logins on days on which they are attacked count neither way), an attack is caught
when one of its logins does. Ties are broken by lot. The optimum is the likelihood ratio of a login, by who knows how
users and attackers are made (:mod:`amiss.evaluate.logins_optimum`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from amiss.detect.login import Login
from amiss.evaluate.calibration import curve, normal_peaks
from amiss.evaluate.logins_optimum import optimum
from amiss.evaluate.measured import Figure, Measured, number_of
from amiss.evaluate.ranking import rounded
from amiss.evaluate.scans import scanned
from amiss.simulate.attackers import KINDS
from amiss.simulate.days import Plan
from amiss.simulate.logins import FIRST_DATE, Simulated, planned, simulate

SEEDS: Final = (101,)
USERS: Final = 2_000
DAYS: Final = 60

LEARN: Final = 20
"""Days before attackers come, on which nobody is judged."""

RATES: Final = (1e-4, 1e-3)
WAYS: Final[Mapping[str, str]] = {"bits": "amiss, bits of the login", "evidence": "amiss, evidence of the day"}
OPTIMA: Final[Mapping[str, str]] = {"optimum": "optimum", "foreseen": "optimum, dates foreseen"}
FIRST_JUDGED: Final = FIRST_DATE + timedelta(LEARN)

Floats = NDArray[np.float64]


def evaluate(seeds: Sequence[int] = SEEDS, users: int = USERS) -> Measured:
    """The share of attacks of each kind that is caught at one false alarm in 10,000 and in 1,000 logins.

    Parameters
    ----------
    seeds
        One simulation of 60 days for each.
    users
        How many each has.
    """
    runs = [scored(seed, users, DAYS) for seed in seeds]
    table = pl.concat(found.with_columns(seed=pl.lit(seed)) for seed, (found, _) in zip(seeds, runs, strict=True))
    methods = {title: Method(table, name) for name, title in {**WAYS, **OPTIMA}.items()}
    rows = tuple(_row(title, method, rate) for title, method in methods.items() for rate in RATES)
    best = methods[WAYS["bits"]]
    tops = _shares(best) | {f"optimum_{name}": share for name, share in _shares(methods[OPTIMA["optimum"]]).items()}
    many = number_of(len(seeds), "simulation")
    attacks = ", ".join(f"{len(ranks):,} {kind}" for kind, ranks in best.attacks.items())
    return Measured(
        "logins",
        rows,
        f"{many} of {users:,} users in {DAYS} days, {len(table):,} judged logins; {attacks}",
        rounded({**tops, "auc": best.auc()}),
        curve({"login": np.concatenate([peaks for _, peaks in runs])}),
    )


def _row(way: str, method: Method, rate: float) -> Mapping[str, Figure]:
    """What a way catches at a rate of false alarms."""
    shares = {kind: method.caught(kind, rate) for kind in KINDS}
    return {"way": way, "false_alarms_per_login": rate, **rounded({**shares, "auc": method.auc()})}


def _shares(method: Method) -> dict[str, float]:
    """What a method catches of each kind at each rate of false alarms, by name."""
    return {f"{kind}_{_named(rate)}": method.caught(kind, rate) for kind in KINDS for rate in RATES}


def _named(rate: float) -> str:
    """A rate as names of figures have it."""
    return f"at_1_in_{round(1 / rate)}"


def scored(seed: int, users: int, days: int) -> tuple[pl.DataFrame, Floats]:
    """The judged logins of a simulation with the truth about them, and the most evidence of each user's normal days."""
    made = simulate(users=users, days=days, seed=seed, attacks_after=LEARN)
    with TemporaryDirectory() as folder:
        found, peaks = judged(made, Path(folder) / "vpn.txt")
    best = optima(made, planned(users=users, days=days, seed=seed))
    return with_truth(found.join(best, on="position", how="left"), made), peaks


def optima(made: Simulated, plan: Plan) -> pl.DataFrame:
    """The bits of logins by who knows the simulation: `position`, `optimum`, `foreseen`."""
    known = optimum(made, plan, since=LEARN)
    foreseen = optimum(made, plan, since=LEARN, foreseen=True)
    return known.with_columns(foreseen=foreseen["optimum"])


def judged(made: Simulated, ranges: Path) -> tuple[pl.DataFrame, Floats]:
    """The logins from the 21st day on as amiss judges them, and the most evidence of days without attackers.

    Parameters
    ----------
    made
        A simulation.
    ranges
        Where the ranges of its networks for remote work are written, for the detector.

    Returns
    -------
    logins
        Columns `position`, `user`, `day`, `bits`, `evidence`.
    peaks
        Of users' days.
    """
    ranges.write_text("\n".join(made.vpn_ranges))
    events = numbered(made)
    scan = scanned([Login(wide=str(ranges))], events)
    late = [each for each in scan.days if each.day >= FIRST_JUDGED]
    found = pl.concat(scan.scored(each.day, each.standings["user"].to_list()) for each in late)
    logins = found.filter(pl.col("login") > 0)
    peaks = normal_peaks(scan, attacked(made), since=FIRST_JUDGED)
    return logins.select("position", "user", "bits", "evidence", day=pl.col("time").dt.date()), peaks


def numbered(made: Simulated) -> pl.DataFrame:
    """The events of a simulation with their `position`."""
    return made.events.with_columns(position=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))


def attacked(made: Simulated) -> pl.DataFrame:
    """Users, and the days on which somebody else logged in as they or tried to: `user`, `day`."""
    when = numbered(made).select("position", day=pl.col("time").dt.date())
    return made.truth.join(when, on="position").select("user", "day").unique()


def with_truth(found: pl.DataFrame, made: Simulated) -> pl.DataFrame:
    """Judged logins with the kind of attack and its `incident`, and whether the user is `attacked` on the day."""
    table = found.join(made.truth.select("position", "attack", "incident"), on="position", how="left")
    bad = table.drop_nulls("attack").select("user", "day").unique().with_columns(attacked=pl.lit(True))
    return table.join(bad, on=["user", "day"], how="left").with_columns(pl.col("attacked").fill_null(False))


class Method:
    """How one method ranks: the scores of users' logins, most first, and the highest of each attack.

    Parameters
    ----------
    table
        Logins with `seed`, `attack`, `incident`, `attacked`, and scores.
    name
        The column of scores.
    """

    def __init__(self, table: pl.DataFrame, name: str) -> None:
        lot = np.random.default_rng(1).random(len(table))
        order = np.lexsort((lot, table[name].to_numpy()))
        rank = np.empty(len(table))
        rank[order] = np.arange(len(table))
        ranked = table.with_columns(rank=pl.Series(rank))
        own = ranked.filter(pl.col("attack").is_null())
        self.logins = len(own)
        self.normal = own.filter(~pl.col("attacked"))["rank"].sort(descending=True).to_numpy()
        bad = ranked.drop_nulls("attack").group_by("seed", "incident", "attack").agg(pl.col("rank").max())
        self.attacks = {kind: bad.filter(attack=kind)["rank"].to_numpy() for kind in KINDS}

    def caught(self, kind: str, rate: float) -> float:
        """The share of attacks above the threshold with so many false alarms per login; NaN where there were none."""
        ranks = self.attacks[kind]
        return float((ranks > self.normal[int(rate * self.logins)]).mean()) if len(ranks) else float("nan")

    def auc(self) -> float:
        """The chance that an attack of any kind ranks above a login of a user."""
        ranks = np.concatenate(list(self.attacks.values()))
        return float(np.searchsorted(self.normal[::-1], ranks).mean() / len(self.normal))
