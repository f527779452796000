"""Simulated purchases among friends: how many odd users are found at so many alarms, beside rule and optimum.

Odd users spend far above what is usual for them, once or many times within hours. An alarm is a user's day, *recall*
the share of odd users of whom an odd day is among the alarms. The rule of three deviations raises as many alarms as it
does; where fewer are allowed, those most deviations above the mean. The optimum is the likelihood ratio of who knows
the simulation: each user's own level and rate, and how odd purchases are made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from amiss.detect.purchase import NO_AMOUNT, Neighbours, Purchase
from amiss.evaluate.calibration import curve
from amiss.evaluate.measured import Measured, number_of
from amiss.evaluate.ranking import auc, average_precision, means, rounded
from amiss.evaluate.scans import scanned, standings
from amiss.network import BEFRIEND, PURCHASE, UNFRIEND
from amiss.simulate.purchases import FIRST_DATE, Simulated, Society, levels, simulate

SEEDS: Final = (101, 102, 103, 104, 105, 106)
USERS: Final = 2_000
DEGREES: Final = 2
DAYS: Final = 30
AFTER: Final = 10
ODD: Final = 0.03
DAY: Final = 86_400
HOURS: Final = 3 * 3600
LAST: Final = 50
STEP: Final = 300
"""Seconds between beginnings of sprees that are looked at."""

SPREE: Final = (3, 8)
"""The fewest and the most purchases of a spree."""

OUTCOME: Final = pl.lit("success").alias("outcome")
WAYS: Final = ("amiss", "rule of three deviations", "optimum")

Floats = NDArray[np.float64]
UserDay = tuple[str, int]
"""A user and a day, from 0."""


def evaluate(seeds: Sequence[int] = SEEDS, users: int = USERS) -> Measured:
    """The recall of odd users at one alarm for each, at two and at as many as the rule raises; and the ranking of days.

    Parameters
    ----------
    seeds
        One simulation of 30 days for each.
    users
        How many each has.
    """
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    normal = []
    for seed in seeds:
        market = Market.of(seed, DEGREES, users)
        normal.append(market.normal())
        for way, days in zip(WAYS, (market.evidence, market.rule, market.optimum), strict=True):
            found[way].append(_figures(market, days, way))
    of = {way: means(each) for way, each in found.items()}
    best = {f"optimum_{name}": of["optimum"][name] for name in ("recall", "average_precision")}
    runs = number_of(len(seeds), "simulation")
    said = f"{runs} of {users:,} users in {DAYS} days, {ODD:.0%} of them odd; D = {DEGREES}"
    return Measured(
        "purchases",
        tuple(rounded({"way": way, **each}) for way, each in of.items()),
        said,
        rounded(of["amiss"] | best),
        curve({"purchase": np.concatenate(normal)}),
    )


def _figures(market: Market, days: Mapping[UserDay, float], way: str) -> dict[str, float]:
    """How well a way ranks the days of a simulation."""
    one, two, whole = market.budgets
    first = market.flagged if way == WAYS[1] else days
    bad = set().union(*market.odd.values())
    late = {day: value for day, value in days.items() if day[1] >= AFTER}
    scores, odd = np.array(list(late.values())), np.array([day in bad for day in late])
    return {
        "recall": recall(days, market.odd, one),
        "recall_at_two": recall(days, market.odd, two),
        "recall_at_alarms_of_rule": recall(first, market.odd, whole),
        "average_precision": average_precision(scores, odd),
        "auc": auc(scores, odd),
    }


@dataclass(frozen=True)
class Market:
    """A simulation, judged in every way; days are ranked by numbers.

    Attributes
    ----------
    odd
        The odd days of each odd user.
    flagged, rule
        Days that the rule flags, and all, by deviations above the mean.
    evidence, optimum
        Days by the evidence of the detector, and by who knows the simulation.
    """

    odd: Mapping[int, set[UserDay]]
    flagged: Mapping[UserDay, float]
    rule: Mapping[UserDay, float]
    evidence: Mapping[UserDay, float]
    optimum: Mapping[UserDay, float]

    @classmethod
    def of(cls, seed: int, degrees: int, users: int = USERS) -> Market:
        """The simulation of a seed."""
        made = simulate(users=users, days=DAYS, seed=seed, odd_users=ODD, odd_after=AFTER)
        bought = purchases(made, degrees)
        rows = bought.filter(pl.col("incident") > 0).select("incident", "user", "day").iter_rows()
        odd: dict[int, set[UserDay]] = {}
        for incident, user, day in rows:
            odd.setdefault(incident, set()).add((user, day))
        ways = by_rule(bought, flagged=True), by_rule(bought, flagged=False), by_evidence(made, degrees)
        return cls(odd, *ways, by_optimum(bought, seed, users))

    @cached_property
    def budgets(self) -> tuple[int, int, int]:
        """Alarms: one for each odd user, two for each, and as many as the rule raises."""
        return len(self.odd), 2 * len(self.odd), sum(day >= AFTER for _, day in self.flagged)

    def normal(self) -> Floats:
        """The evidence of days on which users were not odd."""
        bad = set().union(*self.odd.values())
        return np.array([bits for day, bits in self.evidence.items() if day[1] >= AFTER and day not in bad])


def as_log(made: Simulated) -> pl.DataFrame:
    """The simulated events as scans take them."""
    who = pl.coalesce("id", "id1").alias("user")
    other, action = pl.col("id2").alias("other_user"), pl.col("event_type").alias("action")
    numbers = pl.int_range(pl.len()) + 1
    return made.events.select("time", who, action, "amount_cents", other, OUTCOME, position=numbers)


def purchases(made: Simulated, degrees: int) -> pl.DataFrame:
    """A row for each purchase: position, user, day, second, cents, whether odd, and what the rule says of it."""
    log = as_log(made)
    codes = {name: number for number, name in enumerate(pl.concat([log["user"], log["other_user"]]).unique().sort())}
    kind = log["action"].replace_strict({"befriend": BEFRIEND, "unfriend": UNFRIEND, "purchase": PURCHASE})
    columns = {"kind": kind, "amount_cents": log["amount_cents"].fill_null(NO_AMOUNT)}
    columns |= {
        name: log[column].replace_strict(codes) for name, column in (("buyer", "user"), ("other_user", "other_user"))
    }
    context = {name: column.to_numpy() for name, column in columns.items()}
    told = Neighbours(degrees, LAST).follow(log["time"].dt.epoch("us").to_numpy(), context)
    second = (pl.col("time") - pl.lit(FIRST_DATE).cast(log["time"].dtype)).dt.total_seconds()
    above = (pl.col("amount_cents") - pl.col("near_mean")) / pl.col("near_sd").clip(1)
    odd = made.truth.select("position", "incident")
    whole = log.with_columns(**told).filter(action="purchase").join(odd, on="position", how="left")
    deviations = pl.when(pl.col("near_count") > 1).then(above).otherwise(-math.inf)
    return whole.with_columns(second=second, day=second // DAY, deviations=deviations)


def by_rule(bought: pl.DataFrame, *, flagged: bool) -> dict[UserDay, float]:
    """Days by the most deviations of a purchase above the mean: those flagged, or all."""
    rows = bought.filter(near_above=1) if flagged else bought
    most = rows.group_by("user", "day").agg(pl.col("deviations").max())
    return {(user, day): value for user, day, value in most.iter_rows()}


def by_evidence(made: Simulated, degrees: int) -> dict[UserDay, float]:
    """Days by the highest evidence."""
    found = standings(scanned([Purchase(degrees=degrees)], as_log(made)))
    days = (pl.col("day") - pl.lit(FIRST_DATE)).dt.total_days()
    return {(user, day): peak for user, day, peak in found.select("user", days, "peak").iter_rows()}


def by_optimum(bought: pl.DataFrame, seed: int, users: int = USERS) -> dict[UserDay, float]:
    """Days by the likelihood ratio of who knows how the simulation makes purchases, usual and odd ones."""
    known = {row[0]: row[1:] for row in levels(users=users, days=DAYS, seed=seed).iter_rows()}
    usual = dict(
        bought.filter(pl.col("incident").is_null()).group_by("user").agg(pl.col("amount_cents").median()).iter_rows()
    )
    found = {}
    for (user, day), rows in bought.sort("second").group_by("user", "day", maintain_order=True):
        rate, level = known[str(user)]
        cents = rows["amount_cents"].to_numpy().astype(float)
        found[str(user), int(str(day))] = ratio(cents, rows["second"].to_numpy(), rate, level, usual.get(user, 1.0))
    return found


def ratio(cents: Floats, seconds: NDArray[np.int64], rate: float, level: float, median: float) -> float:
    """How much likelier a day is of someone who splurges or is on a spree: `median` cents are usual, `rate` a day."""
    whim = Society.whim
    normal = np.exp(-0.5 * ((np.log(cents) - level) / whim) ** 2) / (whim * math.sqrt(2 * math.pi) * cents)
    normal *= rate / DAY
    once = uniform(cents, 5 * median, 12 * median) / DAY / normal
    often = uniform(cents, 3 * median, 6 * median) / HOURS / normal
    return float(0.5 * once.sum() + 0.5 * sprees(often[often > 0], seconds[often > 0] % DAY))


def uniform(cents: Floats, low: float, high: float) -> Floats:
    """The density of amounts between two, which are rounded."""
    return ((cents >= low - 1) & (cents <= high + 1)) / (high - low)


def sprees(often: Floats, clock: NDArray[np.int64]) -> float:
    """How much likelier purchases at seconds of a day are if there is a spree, whenever within that it began.

    Parameters
    ----------
    often
        How much likelier each purchase is of a spree, by the second, than of the user.
    """
    if not len(often):
        return 0.0
    total = 0.0
    for start in range(-HOURS + STEP // 2, DAY, STEP):
        within = often[(clock >= start) & (clock < start + HOURS)]
        outside = (max(0, -start) + max(0, start + HOURS - DAY)) / HOURS
        total += STEP / DAY * spree(within, outside)
    return total


def spree(often: Floats, outside: float) -> float:
    """How much likelier purchases are if some of them are of a spree, of which a part lies outside of the day.

    Examples
    --------
    None but all of three, of one of six sizes: 3! orders of them.

    >>> spree(np.array([1.0, 1.0, 1.0]), 0.0)
    1.0
    """
    chances = np.array([1.0])
    for each in often:
        chances = np.convolve(chances, [1.0, each])
    sizes = range(SPREE[0], SPREE[1] + 1)
    told = [
        chance * math.perm(size, seen) * outside ** (size - seen) / len(sizes)
        for seen, chance in enumerate(chances.tolist())
        for size in sizes
        if size >= seen > 0
    ]
    return float(sum(told))


def recall(days: Mapping[UserDay, float], odd: Mapping[int, set[UserDay]], alarms: int) -> float:
    """The share of odd users of whom a day is among the first.

    Examples
    --------
    >>> recall({("ann", 12): 3.0, ("bob", 12): 2.0}, {1: {("ann", 12)}, 2: {("bob", 12)}}, 1)
    0.5
    """
    late = [(value, day) for day, value in days.items() if day[1] >= AFTER]
    first = {day for _, day in sorted(late, reverse=True)[:alarms]}
    return sum(bool(theirs & first) for theirs in odd.values()) / len(odd)
