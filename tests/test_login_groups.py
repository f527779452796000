"""What colleagues add to the judgement of logins: offices of simulated users are the groups.

New colleagues are attackers: the first login of an attack on somebody who has an office comes once more as the first
login of somebody new there. Visitors log in for a day from the nearest other office of their company.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from amiss.detect.login import Login
from amiss.evaluate.logins import LEARN, Method
from amiss.evaluate.scans import scanned
from amiss.simulate.asked import randomness
from amiss.simulate.attackers import KINDS
from amiss.simulate.logins import FIRST_DATE, simulate
from amiss.simulate.people import Life, populate
from amiss.simulate.world import world

DAYS = 60
PLACE = ("ip", "country", "city", "latitude", "longitude", "provider")
FARTHEST_KM = 3_000


class Log(NamedTuple):
    """Events with a `group`, which of them are of attackers (`position`, `attack`, `incident`), and ranges of VPNs."""

    events: pl.DataFrame
    truth: pl.DataFrame
    ranges: tuple[str, ...]


def log(seed: int, users: int) -> Log:
    """A simulation in which every third user of an office once visits another, and attackers are new colleagues."""
    made = simulate(users=users, days=DAYS, seed=seed, attacks_after=LEARN)
    people, places = populate(world(), Life(), users, DAYS + 2, randomness(seed, 0)), world()
    partner = _partners(places.km[np.ix_(people.offices.city, people.offices.city)])
    company = np.minimum(np.arange(len(partner)), partner)
    names = [f"u{number + 1:04d}" for number in range(users)]
    at = pl.DataFrame({"user": names, "office": people.office}).with_columns(
        group=pl.Series([f"company {company[office]}" if office >= 0 else None for office in people.office])
    )
    events = made.events.with_columns(made.circumstances["circumstance"], row=pl.int_range(1, pl.len() + 1)).join(
        at, on="user", how="left", maintain_order="left"
    )
    bad = made.truth.rename({"position": "row"}).with_columns(pl.col("row").cast(pl.Int64))
    events = _with_visits(events, bad, partner, np.random.default_rng(1_000 + seed))
    first = (
        bad.filter(pl.col("outcome") == "success", pl.col("attack") != "theft")
        .sort("row")
        .unique("incident", keep="first")
    )
    new = events.join(first.select("row", "attack"), on="row").filter(pl.col("group").is_not_null())
    new = new.with_columns(user=pl.format("new {}", "row"), kind=pl.format("new: {}", "attack"), row=-pl.col("row"))
    whole = pl.concat([events, new.select(events.columns)]).sort("time", maintain_order=True)
    whole = whole.with_columns(position=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))
    return Log(whole, bad.select("row", "attack", "incident"), made.vpn_ranges)


def _partners(km: np.ndarray) -> np.ndarray:
    """The other office of the same company, the nearest first; itself where there is none."""
    partner = np.arange(len(km))
    pairs = sorted((km[one, other], one, other) for one in range(len(km)) for other in range(one))
    for far, one, other in pairs:
        if far < FARTHEST_KM and partner[one] == one and partner[other] == other:
            partner[one], partner[other] = other, one
    return partner


def _with_visits(
    events: pl.DataFrame, bad: pl.DataFrame, partner: np.ndarray, random: np.random.Generator
) -> pl.DataFrame:
    """The events, of which some users' logins of a day come from their company's other office; `kind` says which."""
    day, late = pl.col("time").dt.date(), FIRST_DATE + timedelta(LEARN + 2)
    own = events.join(bad, on="row", how="anti").filter(circumstance="office")
    attacked = events.join(bad, on="row", how="semi").select("user", day=day)
    days = (
        own.filter(day >= late)
        .select("user", "office", day=day)
        .unique()
        .join(attacked, on=["user", "day"], how="anti")
    )
    days = days.sort("user", "day").group_by("user", maintain_order=True).agg(pl.all().gather(pl.len() // 2).first())
    at_office = dict(own.partition_by("office", as_dict=True, maintain_order=True).items())
    parts = []
    for user, office, when in days.select("user", "office", "day")[::3].iter_rows():
        there = at_office.get((int(partner[office]),))
        if partner[office] != office and there is not None:
            rows = events.filter(pl.col("user") == user, day == when)["row"]
            chosen = there[random.integers(len(there), size=len(rows)).tolist()].select(PLACE)
            parts.append(chosen.with_columns(rows, kind=pl.lit("visit")))
    none = events.with_columns(kind=pl.lit(None, dtype=pl.String))
    return none.update(pl.concat(parts), on="row") if parts else none


def judged(made: Log, *, by_group: bool) -> pl.DataFrame:
    """The logins from the 21st day on: `bits`, `attack`, `incident`, `attacked`, `kind`, and the `nth` of its user."""
    with TemporaryDirectory() as folder:
        ranges = Path(folder) / "vpn.txt"
        ranges.write_text("\n".join(made.ranges))
        scan = scanned([Login(wide=str(ranges), by_group=by_group)], made.events)
        late = [each for each in scan.days if each.day >= FIRST_DATE + timedelta(LEARN)]
        found = pl.concat(scan.scored(each.day, each.standings["user"].to_list()) for each in late)
    done = made.events.filter(outcome="success").with_columns(nth=pl.int_range(1, pl.len() + 1).over("user"))
    known = done.select("position", "row", "kind", "nth", "group", day=pl.col("time").dt.date(), name="user")
    table = found.filter(pl.col("login") > 0).select("position", "bits").join(known, on="position")
    table = table.join(made.truth, on="row", how="left")
    bad = table.drop_nulls("attack").select("name", "day").unique().with_columns(attacked=pl.lit(True))
    return table.join(bad, on=["name", "day"], how="left").with_columns(pl.col("attacked").fill_null(False))


def figures(table: pl.DataFrame) -> dict[str, float | tuple[float, ...]]:
    """Shares caught at one false alarm in 10,000 and in 1,000 logins; bits of new users and of visitors."""
    is_new = pl.col("kind").fill_null("").str.starts_with("new")
    method, fresh = Method(table.filter(~is_new), "bits"), table.filter(is_new)
    own = table.filter(pl.col("attack").is_null(), ~pl.col("attacked"), ~is_new)
    found = {f"{kind} at {rate:g}": method.caught(kind, rate) for kind in KINDS for rate in (1e-4, 1e-3)}
    limit = own["bits"].sort(descending=True)[int(1e-3 * len(own))]
    first = own.filter(pl.col("nth") == 1, pl.col("group").is_not_null())["bits"].sort()
    for kind in ("new: world", "new: country", "new: spray"):
        bits = fresh.filter(pl.col("kind") == kind)["bits"]
        found[f"{kind} at 0.001"] = float((bits > limit).mean() or 0.0)
        found[f"{kind}, AUC among first logins"] = float(np.searchsorted(first, bits.to_numpy()).mean() / len(first))
        found[f"{kind}, bits"] = _quantiles(bits)
    found["colleagues' first logins, bits"] = _quantiles(first)
    visits = own.filter(pl.col("kind") == "visit").sort("position").unique(["seed", "name"], keep="first")
    found["visits, bits"] = _quantiles(visits["bits"])
    found["logins, first ones, visits, new attackers"] = (len(own), len(first), len(visits), len(fresh))
    return found


def _quantiles(bits: pl.Series) -> tuple[float, ...]:
    """A tenth, the half and nine tenths lie below."""
    return tuple(round(float(bits.quantile(share, "linear") or 0.0), 1) for share in (0.1, 0.5, 0.9))


@pytest.mark.slow
def test_colleagues_tell_attackers_from_new_users():
    """First logins of attackers from elsewhere rank above those of colleagues; of known users as many are caught."""
    logs = {seed: log(seed, 1_000) for seed in (101, 102)}
    with_, without = (
        figures(pl.concat(judged(made, by_group=by).with_columns(seed=pl.lit(seed)) for seed, made in logs.items()))
        for by in (True, False)
    )
    print(*((name, without[name], value) for name, value in with_.items()), sep="\n")  # noqa: T201  figures to be quoted
    for kind in ("new: world", "new: spray"):
        name = f"{kind}, AUC among first logins"
        assert with_[name] >= max(0.9, without[name] + 0.05)
    assert with_["visits, bits"][1] < without["visits, bits"][1] - 1
    for kind in KINDS:
        assert with_[f"{kind} at 0.001"] == pytest.approx(without[f"{kind} at 0.001"], abs=0.1)
