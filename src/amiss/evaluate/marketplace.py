"""Simulated marketplaces: learn from a day without labels, judge the next, beside who knows how users are made.

The optimum is the likelihood ratio of a user's second day: the chance of all its events if the user is of an abnormal
kind, by that if of a normal one, kinds weighed by their shares (Neyman and Pearson 1933: no test finds more at as many
false alarms). It knows chains, gaps and shares of all kinds; it does not know the first day.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from amiss.detect import detector, fitting
from amiss.evaluate.calibration import curve
from amiss.evaluate.measured import Measured, number_of
from amiss.evaluate.ranking import at, auc, average_precision, means, rounded
from amiss.evaluate.scans import scanned, standings
from amiss.events import EVENT_SCHEMA
from amiss.simulate import Event, Profile, load_profiles, simulate
from amiss.simulate.marketplace import DAY_SECONDS
from amiss.simulate.profiles import END

SEEDS: Final = (101, 102, 103, 104, 105, 106)
USERS: Final = 3_000
FIRST: Final = date(2026, 1, 5)
HIGH: Final = 10.0
"""Bits from which on a user counts as flagged."""

TOGETHER: Final = "amiss"
OPTIMUM: Final = "optimum"
OUTCOMES: Final = {"fail": "failure", "success": "success"}

Floats = NDArray[np.float64]


def evaluate(seeds: Sequence[int] = SEEDS, users: int = USERS) -> Measured:
    """How well abnormal users stand out on the second day of marketplaces, and how few normal ones do.

    Parameters
    ----------
    seeds
        One marketplace of two days for each.
    users
        How many each has.
    """
    rows: dict[str, list[dict[str, float]]] = {}
    normal: dict[str, list[Floats]] = {}
    for seed in seeds:
        for way, found in judged(*days(seed, users=users)).items():
            rows.setdefault(way, []).append(figures(found))
            if "peak" in found.columns:
                normal.setdefault(way, []).append(found.filter(~pl.col("abnormal"))["peak"].to_numpy())
    of = {way: means(each) for way, each in rows.items()}
    told = tuple(rounded({"way": way, **each}) for way, each in of.items())
    best = {f"optimum_{name}": of[OPTIMUM][name] for name in ("average_precision", "auc")}
    return Measured(
        "marketplace",
        told,
        f"{number_of(len(seeds), 'marketplace')} of {users:,} users; learned from a day without labels",
        rounded({**of[TOGETHER], **best}),
        curve({way: np.concatenate(each) for way, each in normal.items()}),
    )


def days(seed: int, *, users: int, kinds: Sequence[Profile] | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Two days of a marketplace: event frames, each with the `type` of its user beside it."""
    events = frame(simulate(kinds, users=users, days=2, seed=seed, date=FIRST))
    first = pl.col("time").dt.date() == FIRST
    return events.filter(first), events.filter(~first)


def frame(events: Iterable[Event]) -> pl.DataFrame:
    """An event frame, the kind of user beside it."""
    ordered = sorted(events, key=lambda event: event.time)
    rows = [(i, e.time, e.user, e.path, OUTCOMES[e.status], e.type) for i, e in enumerate(ordered, start=1)]
    return pl.DataFrame(rows, schema=EVENT_SCHEMA | {"type": pl.String()}, orient="row")


def judged(past: pl.DataFrame, today: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """By way where each user of a day stands at its end: `user`, `bits`, `abnormal`, and of detectors `peak`."""
    names = fitting([None])
    ways = {TOGETHER: names} | ({name: [name] for name in names} if len(names) > 1 else {})
    found = {way: stood(some, today, past) for way, some in ways.items()}
    bits = optimum(today, load_profiles())
    return found | {OPTIMUM: bits.join(truth(today), on="user")}


def stood(detectors: Sequence[str], today: pl.DataFrame, past: pl.DataFrame | None, *, cap: int = 5) -> pl.DataFrame:
    """Where each user stands at the end of a day by some detectors: `user`, `bits`, `peak`, `abnormal`."""
    made = [detector(name, cap=cap) for name in detectors]
    hidden = None if past is None else past.drop("type")
    scan = scanned(made, today.drop("type"), hidden)
    return standings(scan).select("user", "bits", "peak").join(truth(today), on="user")


def truth(today: pl.DataFrame) -> pl.DataFrame:
    """Who is abnormal."""
    kinds = [profile.name for profile in load_profiles() if profile.abnormal]
    return today.group_by("user").agg(pl.col("type").is_in(kinds).any().alias("abnormal"))


def figures(found: pl.DataFrame) -> dict[str, float]:
    """How well abnormal users stand out on one day."""
    bits, odd = found["bits"].to_numpy(), found["abnormal"].to_numpy()
    high = at(bits, odd, HIGH)
    return {
        "average_precision": average_precision(bits, odd),
        "auc": auc(bits, odd),
        "precision_10_bits": high.precision,
        "recall_10_bits": high.recall,
        "normal_flagged_a_day": float(high.false_alarms),
    }


def optimum(today: pl.DataFrame, profiles: Sequence[Profile]) -> pl.DataFrame:
    """The bits of users by who knows all kinds: `user`, `bits`.

    Parameters
    ----------
    today
        The events of one day.
    profiles
        The kinds that users were drawn from.
    """
    walks = _walks(today)
    users = walks.group_by("user", maintain_order=True).agg().sort("user")
    told = np.array([np.log2(kind.share) + _chance(walks, kind) for kind in profiles])
    abnormal = np.array([kind.abnormal for kind in profiles])
    odd, usual = (np.logaddexp2.reduce(told[which], axis=0) for which in (abnormal, ~abnormal))
    shares = [np.log2(sum(kind.share for kind in profiles if kind.abnormal is which)) for which in (True, False)]
    return users.with_columns(bits=pl.Series((odd - shares[0]) - (usual - shares[1])))


def _walks(today: pl.DataFrame) -> pl.DataFrame:
    """Events by user, in order: `state`, `previous`, seconds of the day, `gap`, and whether the `last`."""
    state = pl.col("action") + ":" + pl.col("outcome")
    midnight = pl.col("time").dt.truncate("1d")
    rows = today.select("user", state.alias("state"), second=(pl.col("time") - midnight).dt.total_seconds())
    rows = rows.sort("user", "second", maintain_order=True)
    return rows.with_columns(
        previous=pl.col("state").shift().over("user"),
        gap=pl.col("second").diff().over("user"),
        last=pl.int_range(pl.len()).over("user") == pl.len().over("user") - 1,
    )


def _chance(walks: pl.DataFrame, kind: Profile) -> Floats:
    """The logarithm (base 2) of the chance of each user's day if of this kind, in order of users."""
    chances = _chances(kind)
    previous = pl.col("previous").fill_null(_state(kind.start))
    steps = walks.with_columns(previous=previous).join(
        chances, on=["previous", "state"], how="left", maintain_order="left"
    )
    gone = pl.when(pl.col("gap") > kind.velocity).then(0.0).otherwise(1 / kind.velocity)
    left = (kind.velocity - (DAY_SECONDS - pl.col("second")) + 1).clip(0, kind.velocity) / kind.velocity
    cut = pl.when(pl.col("last") & (pl.col("state") != _state(END))).then(left).otherwise(1.0)
    taken = pl.col("chance").fill_null(0.0) * pl.when(pl.col("gap").is_null()).then(1.0).otherwise(gone) * cut
    summed = steps.select("user", bits=taken.log(2)).group_by("user").agg(pl.col("bits").sum()).sort("user")
    return summed["bits"].to_numpy()


def _chances(kind: Profile) -> pl.DataFrame:
    """The chance of each `state` after each `previous` one."""
    rows = [(_state(one), _state(other), chance) for one, row in kind.after.items() for other, chance in row.items()]
    schema = {"previous": pl.String(), "state": pl.String(), "chance": pl.Float64()}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    return table.with_columns(pl.col("chance") / pl.col("chance").sum().over("previous"))


def _state(action: str) -> str:
    """What the log shows of an action of a profile."""
    path, _, status = action.partition(":")
    return f"{path}:{OUTCOMES[status or 'success']}"
