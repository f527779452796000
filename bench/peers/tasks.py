"""The simulated tasks: cases for peers, and what is said of them by amiss, by notebooks' rules and by the optimum.

Cases, truths and figures are those of `amiss evaluate`; features are what the detectors of amiss look at, as numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from bench import activity as activity_ways
from bench import logins as login_ways
from bench.peers.cases import Cases, Figures, Floats, Split, Task

from amiss.evaluate import curriculum, logins, marketplace, purchases
from amiss.evaluate.logins_optimum import optimum as optimum_of_logins
from amiss.evaluate.ranking import auc, average_precision
from amiss.simulate import load_profiles
from amiss.simulate.attackers import KINDS
from amiss.simulate.curriculum import simulate as simulate_readers
from amiss.simulate.logins import planned
from amiss.simulate.logins import simulate as simulate_logins
from amiss.simulate.purchases import simulate as simulate_purchases

SEEDS: Mapping[str, tuple[int, ...]] = {
    "marketplace": (101, 102, 103, 104, 105, 106),
    "logins": (101,),
    "purchases": (101, 102),
    "curriculum": (9401,),
}
LOGIN_USERS = 1_000
HABITS = ("network", "provider", "country", "agent", "device", "hour")
EARTH_KM = 6371.0
GAPS = 12
"""Classes of the gap between events, each twice as long as the one before."""


def task(name: str, seed: int) -> Task:
    """A task, simulated from a seed."""
    makers: dict[str, Callable[[int], Task]] = {
        "marketplace": of_marketplace,
        "logins": of_logins,
        "purchases": of_purchases,
        "curriculum": of_curriculum,
    }
    return makers[name](seed)


def of_marketplace(seed: int) -> Task:
    """Users' second days, behind the first."""
    past, today = marketplace.days(seed, users=marketplace.USERS)
    states = pl.concat([past, today]).select(pl.concat_str("action", "outcome", separator=":")).to_series()
    known = states.unique().sort().to_list()
    users = today["user"].unique().sort()
    odd = users.to_frame().join(marketplace.truth(today), on="user", how="left", maintain_order="left")["abnormal"]

    def figures(scores: Floats) -> Figures:
        return ranked(scores, odd.to_numpy())

    def own(found: pl.DataFrame) -> Figures:
        return ranked(found["bits"].to_numpy(), found["abnormal"].to_numpy(), marketplace.HIGH)

    def optimum() -> Figures:
        bits = marketplace.optimum(today, load_profiles())
        return own(bits.join(marketplace.truth(today), on="user"))

    ways = {
        "amiss": lambda: own(marketplace.stood(marketplace.fitting([None]), today, past)),
        "optimum": optimum,
    }
    return Task([(user_days(past, known), user_days(today, known))], figures, ways)


def user_days(events: pl.DataFrame, known: list[str]) -> Cases:
    """Days of users: shares of states and of gaps, how many events; and the events."""
    users = {name: row for row, name in enumerate(events["user"].unique().sort())}
    gap = pl.col("time").diff().over("user").dt.total_seconds()
    rows = events.select(
        pl.col("user").replace_strict(users).alias("case"),
        pl.concat_str("action", "outcome", separator=":").alias("state"),
        "outcome",
        gap=(gap + 1).log(2).floor().clip(0, GAPS - 1).cast(pl.Int64),
    )
    places = rows["state"].replace_strict({name: place for place, name in enumerate(known)})
    counts, gaps = np.zeros((len(users), len(known))), np.zeros((len(users), GAPS))
    np.add.at(counts, (rows["case"].to_numpy(), places.to_numpy()), 1)
    timed = rows.drop_nulls("gap")
    np.add.at(gaps, (timed["case"].to_numpy(), timed["gap"].to_numpy()), 1)
    whole = counts.sum(axis=1, keepdims=True)
    features = np.hstack([counts / whole, gaps / np.maximum(gaps.sum(axis=1, keepdims=True), 1), np.log2(whole)])
    return Cases(features, np.arange(len(users)), rows.drop("gap"))


def ranked(scores: Floats, odd: np.ndarray, own_threshold: float | None = None) -> Figures:
    """How well scores rank; what is caught where one that is not odd is flagged, and at a threshold of one's own."""
    highest = np.sort(scores[~odd])[::-1]
    found = {
        "average_precision": average_precision(scores, odd),
        "auc": auc(scores, odd),
        "caught_none_false": float((scores[odd] > highest[0]).mean()),
        "caught_one_false": float((scores[odd] > highest[1]).mean()),
    }
    if own_threshold is None:
        return found | dict.fromkeys(("caught_own", "normal_own"), float("nan"))
    high = scores >= own_threshold
    return found | {"caught_own": float(high[odd].mean()), "normal_own": float(high[~odd].sum())}


def of_logins(seed: int) -> Task:
    """Logins from the 21st day on, week by week behind all before."""
    made = simulate_logins(users=LOGIN_USERS, days=logins.DAYS, seed=seed, attacks_after=logins.LEARN)
    with TemporaryDirectory() as folder:
        ranges = Path(folder) / "vpn.txt"
        ranges.write_text("\n".join(made.vpn_ranges))
        coded = login_ways.coded(made, ranges)
    features, user = habits(coded), coded["user"].to_numpy().astype(np.int64)
    splits = []
    for before, now in login_ways.weeks(coded["day"].to_numpy()):
        rows = np.flatnonzero(before), np.flatnonzero(now)
        past, today = (Cases(features[each], user[each]) for each in rows)
        splits.append((past, today))
    late = coded.filter(pl.col("day") >= logins.LEARN)
    names = logins.numbered(made).select("position", name="user", date=pl.col("time").dt.date())
    table = late.select("position").join(names, on="position", maintain_order="left")
    table = logins.with_truth(table.rename({"name": "user", "date": "day"}), made).with_columns(seed=pl.lit(seed))

    def figures(scores: Floats) -> Figures:
        return caught(logins.Method(table.with_columns(score=pl.Series(scores)), "score"))

    def amiss() -> Figures:
        return caught(logins.Method(judged_logins(made).with_columns(seed=pl.lit(seed)), "bits"))

    def optimum() -> Figures:
        bits = optimum_of_logins(made, planned(users=LOGIN_USERS, days=logins.DAYS, seed=seed), since=logins.LEARN)
        return caught(logins.Method(table.join(bits, on="position", how="left"), "optimum"))

    judged = (coded["day"] >= logins.LEARN).to_numpy()
    ways = {
        "amiss": amiss,
        "country or device is new": lambda: figures(login_ways.rules(coded)[judged]),
        "scikit-learn, OneClassSVM for each user": lambda: figures(login_ways.support_vectors(coded)[judged]),
        "optimum": optimum,
    }
    return Task(splits, figures, ways)


def habits(coded: pl.DataFrame) -> Floats:
    """How rare what logins came with was for the user and for all until then; how far from the last one, how fast."""
    new = [rarity(name, own=own) for name in HABITS for own in (True, False)]
    before = {name: pl.col(name).shift().over("user").radians() for name in ("latitude", "longitude")}
    here = {name: pl.col(name).radians() for name in before}
    cosine = before["latitude"].cos() * here["latitude"].cos() * (before["longitude"] - here["longitude"]).cos()
    km = (cosine + before["latitude"].sin() * here["latitude"].sin()).clip(-1, 1).arccos() * EARTH_KM
    hours = pl.col("time").diff().over("user").dt.total_seconds() / 3600
    columns = {f"new {number}": each for number, each in enumerate(new)}
    speed = (km / hours.clip(1 / 60)).fill_nan(None).fill_null(0)
    columns |= {"km": (km.fill_nan(None).fill_null(0) + 1).log(2), "speed": (speed + 1).log(2)}
    return coded.select(wide=pl.col("wide").cast(pl.Float64), **columns).to_numpy().astype(np.float64)


def rarity(name: str, *, own: bool) -> pl.Expr:
    """Bits of a value among the user's logins until then, or among all."""
    value = pl.struct(*(["user"] if own else []), name)
    seen, of = value.cum_count().over(value), value.cum_count().over("user" if own else pl.lit(0))
    return -((seen - 0.5) / of).log(2)


def judged_logins(made: object) -> pl.DataFrame:
    """Logins as amiss judges them, with the truth."""
    with TemporaryDirectory() as folder:
        found, _ = logins.judged(made, Path(folder) / "vpn.txt")
    return logins.with_truth(found, made)


def caught(method: logins.Method) -> Figures:
    """The share of attacks of each kind at two rates of false alarms, and the area under the curve."""
    shares = {
        f"{kind}_1_in_{round(1 / rate)}": method.caught(kind, rate) for rate in reversed(logins.RATES) for kind in KINDS
    }
    return {**shares, "auc": method.auc()}


def of_purchases(seed: int) -> Task:
    """Users' days from the tenth on by their oddest purchase, five days at a time behind all before."""
    market = purchases.Market.of(seed, purchases.DEGREES)
    made = simulate_purchases(
        users=purchases.USERS, days=purchases.DAYS, seed=seed, odd_users=purchases.ODD, odd_after=purchases.AFTER
    )
    bought = purchases.purchases(made, purchases.DEGREES).sort("time", "position")
    features, user, day = amounts(bought), bought["user"].to_list(), bought["day"].to_numpy()
    numbers = bought["user"].cast(pl.Categorical).to_physical().to_numpy().astype(np.int64)
    edges = [*range(purchases.AFTER, purchases.DAYS, 5), purchases.DAYS]
    splits: list[Split] = []
    for first, end in pairwise(edges):
        rows = day < first, (day >= first) & (day < end)
        past, today = (Cases(features[each], numbers[each]) for each in rows)
        splits.append((past, today))
    late = [(user[row], int(day[row])) for row in np.flatnonzero((day >= purchases.AFTER) & (day < purchases.DAYS))]

    def of(days: Mapping[purchases.UserDay, float]) -> Figures:
        return by_days(market, days)

    def figures(scores: Floats) -> Figures:
        days: dict[purchases.UserDay, float] = {}
        for key, score in zip(late, scores.tolist(), strict=True):
            days[key] = max(score, days.get(key, score))
        return of(days)

    ways = {
        "amiss": lambda: of(purchases.by_evidence(made, purchases.DEGREES)),
        "rule of three deviations": lambda: of(
            purchases.by_rule(purchases.purchases(made, purchases.DEGREES), flagged=False)
        ),
        "optimum": lambda: of(purchases.by_optimum(bought, seed, purchases.USERS)),
    }
    return Task(splits, figures, ways)


def amounts(bought: pl.DataFrame) -> Floats:
    """What the detector looks at: amount, against the network's last, against the user's own before, how many near."""
    cents = pl.col("amount_cents").log(2)
    own = cents.cum_sum().over("user") - cents
    before = pl.int_range(pl.len()).over("user")
    earlier = pl.col("time").diff().over("user").dt.total_seconds()
    return bought.select(
        cents=cents,
        deviations=pl.when(pl.col("near_count") > 1).then(pl.col("deviations")).otherwise(0.0).clip(-50, 50),
        own=pl.when(before > 0).then(cents - own / before).otherwise(0.0),
        gap=(earlier.fill_null(10**6) + 1).log(2),
    ).to_numpy()


def by_days(market: purchases.Market, days: Mapping[purchases.UserDay, float]) -> Figures:
    """How a ranking of days finds odd users."""
    bad = set().union(*market.odd.values())
    late = {day: value for day, value in days.items() if day[1] >= purchases.AFTER}
    scores, odd = np.array(list(late.values())), np.array([day in bad for day in late])
    one, two, _ = market.budgets
    return {
        "recall": purchases.recall(days, market.odd, one),
        "recall_at_two": purchases.recall(days, market.odd, two),
        "average_precision": average_precision(scores, odd),
        "auc": auc(scores, odd),
    }


def of_curriculum(seed: int) -> Task:
    """Users' days behind the first 60, sixty days at a time behind all before."""
    made = simulate_readers(
        users=curriculum.USERS,
        days=curriculum.DAYS,
        seed=seed,
        odd_users=curriculum.ODD,
        odd_after=curriculum.TEACHING,
    )
    of = curriculum.school(made, curriculum.DAYS)
    features = pages(of)
    column = np.broadcast_to(np.arange(len(of.days)), of.counts.shape)
    whose = np.broadcast_to(np.arange(len(of.users))[:, None], of.counts.shape)
    edges = np.searchsorted(of.days, [*range(curriculum.TEACHING, curriculum.DAYS, 60), curriculum.DAYS])
    splits: list[Split] = []
    places = []
    for first, end in pairwise(edges.tolist()):
        rows = of.known & (column < first), of.known & (column >= first) & (column < end)
        past, today = (Cases(in_time(features, each), in_time(whose, each)) for each in rows)
        splits.append((past, today))
        places.append(rows[1])

    def figures(scores: Floats) -> Figures:
        found, start = np.full(of.counts.shape, -np.inf), 0
        for place in places:
            found.T[place.T] = scores[start : start + place.sum()]
            start += place.sum()
        return reached(found, of)

    ways = {
        "amiss": lambda: reached(curriculum.evidence(made, of).bits, of),
        "amiss, by cohort": lambda: reached(curriculum.evidence(made, of, by_group=True).bits, of),
        "pandas, Bollinger bands as in notebooks": lambda: reached(activity_ways.bollinger(of), of),
        "three deviations of 91 days": lambda: reached(activity_ways.three_sigma_of_window(of), of),
        "optimum": lambda: reached(curriculum.optimum(of, seed), of),
    }
    return Task(splits, figures, ways)


def in_time(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """What is chosen of users (rows) and days (columns), day by day."""
    return values.swapaxes(0, 1)[chosen.T]


def pages(of: curriculum.School) -> Floats:
    """By user and day: pages, those of days before, of the same weekday before, of all that day, days without any."""
    counts, known = np.log2(of.counts + 1), np.maximum(np.cumsum(of.known, axis=1) - of.known, 1)
    mean = (np.cumsum(counts * of.known, axis=1) - counts * of.known) / known
    weekday = np.zeros_like(counts)
    for each in range(7):
        same = np.flatnonzero(of.weekday == each)
        theirs = counts[:, same] * of.known[:, same]
        times = np.maximum(np.cumsum(of.known[:, same], axis=1) - of.known[:, same], 1)
        weekday[:, same] = (np.cumsum(theirs, axis=1) - theirs) / times
    came = np.where(of.counts > 0, np.arange(len(of.days)), 0)
    idle = np.arange(len(of.days)) - np.maximum.accumulate(came, axis=1)
    everybody = np.broadcast_to(np.log2(of.counts.sum(axis=0) + 1), counts.shape)
    return np.stack([counts, counts - mean, counts - weekday, everybody, np.log2(idle + 1)], axis=-1)


def reached(scores: Floats, of: curriculum.School) -> Figures:
    """The share of each kind found at one false alarm a day."""
    found = curriculum.at_one_a_day(scores, of, curriculum.TEACHING)
    return {kind: found.hits[kind] / found.of[kind] if found.of[kind] else float("nan") for kind in curriculum.KINDS}
