"""Measure how well odd purchases are found, beside the rule of three deviations, and on simulated card frauds.

Prints Markdown. The first table is of simulated purchases: 2,000 users, 30 days, 3 % of users odd once after the tenth
day; an alarm is a user's day. The rule raises one where a purchase is flagged; where fewer alarms are allowed, those
whose largest purchase lies most deviations above the mean. The *bound* is the likelihood ratio of who knows the
simulation: each user's own level and rate, how far purchases scatter, when and by how much odd ones are larger.

The second is of the transactions of the Fraud Detection Handbook (Le Borgne et al., 2022), where its file is given:
``python bench/purchases_quality.py --handbook transactions.parquet``. Customers are users; who used the same terminal
is near (a terminal is a user who never buys, two friendships lead over it). As in the book, cards known as compromised
a week before are left out, and card precision is that of the 100 cards with most bits of each day. Three kinds of fraud
are in it; nothing but its label tells the transactions at a compromised terminal from others, so without labels they
are found by chance. The features that the book gives all its methods hold the frauds reported at the terminal a week
before: the third row adds these to the bits.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from amiss.detect.purchase import NO_AMOUNT, Neighbours, Purchase
from amiss.engine import Scan
from amiss.network import BEFRIEND, PURCHASE, UNFRIEND
from amiss.simulate.purchases import FIRST_DATE, Simulated, Society, levels, simulate
from amiss.testing import ListSource

USERS: Final = 2000
DAYS: Final = 30
AFTER: Final = 10
ODD: Final = 0.03
HOURS: Final = 3 * 3600

DOUBT: Final = 60
"""How many transactions of a terminal the share of frauds at all terminals is worth."""

OUTCOME: Final = pl.lit("success").alias("outcome")

Day = tuple[str, int]
"""A user and a day, from 0."""

BOOK: Final = (
    ("logistic regression, with labels", 0.871, 0.606, 0.291),
    ("random forest, with labels", 0.867, 0.658, 0.287),
    ("autoencoder (validation week)", 0.836, 0.180, 0.217),
    ("isolation forest (validation week)", 0.808, 0.164, 0.190),
)


def scanned(events: pl.DataFrame, detector: Purchase) -> Scan:
    """A scan of events by the detector alone."""
    scan = Scan([detector])
    scan.run([ListSource(events, rows_at_once=len(events))], [], lambda _: None)
    return scan


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
    told = Neighbours(degrees, 50).follow(log["time"].dt.epoch("us").to_numpy(), context)
    second = (pl.col("time") - pl.lit(FIRST_DATE).cast(log["time"].dtype)).dt.total_seconds()
    above = (pl.col("amount_cents") - pl.col("near_mean")) / pl.col("near_sd").clip(1)
    odd = made.truth.select("position", "incident")
    whole = log.with_columns(**told).filter(action="purchase").join(odd, on="position", how="left")
    deviations = pl.when(pl.col("near_count") > 1).then(above).otherwise(-math.inf)
    return whole.with_columns(second=second, day=second // 86_400, deviations=deviations)


def by_rule(bought: pl.DataFrame, *, flagged: bool) -> dict[Day, float]:
    """Days by the most deviations of a purchase above the mean: those flagged, or all."""
    rows = bought.filter(near_above=1) if flagged else bought
    return highest(rows, "deviations")


def highest(rows: pl.DataFrame, column: str) -> dict[Day, float]:
    """Days by the highest number of a column."""
    most = rows.group_by("user", "day").agg(pl.col(column).max())
    return {(user, day): value for user, day, value in most.iter_rows()}


def by_evidence(made: Simulated, degrees: int) -> dict[Day, float]:
    """Days by the highest evidence."""
    scan = scanned(as_log(made), Purchase(degrees=degrees))
    found = {}
    for each in scan.days:
        users = scan.coding.users.decode(each.standings["user"])
        day = (each.day - FIRST_DATE).days
        found |= {(user, day): peak for user, peak in zip(users, each.standings["peak"], strict=True)}
    return found


def by_oracle(bought: pl.DataFrame, seed: int) -> dict[Day, float]:
    """Days by the likelihood ratio of who knows how the simulation makes purchases, usual and odd ones."""
    known = {row[0]: row[1:] for row in levels(users=USERS, days=DAYS, seed=seed).iter_rows()}
    usual = dict(
        bought.filter(pl.col("incident").is_null()).group_by("user").agg(pl.col("amount_cents").median()).iter_rows()
    )
    found = {}
    for (user, day), rows in bought.sort("second").group_by("user", "day", maintain_order=True):
        rate, level = known[str(user)]
        cents = rows["amount_cents"].to_numpy().astype(float)
        found[str(user), int(str(day))] = ratio(cents, rows["second"].to_numpy(), rate, level, usual.get(user, 1.0))
    return found


def ratio(cents: Any, seconds: Any, rate: float, level: float, median: float) -> float:
    """How much likelier a day is of someone who splurges or is on a spree: `median` cents are usual, `rate` a day."""
    whim = Society.whim
    normal = np.exp(-0.5 * ((np.log(cents) - level) / whim) ** 2) / (whim * math.sqrt(2 * math.pi) * cents)
    normal *= rate / 86_400
    once = uniform(cents, 5 * median, 12 * median) / 86_400 / normal
    often = uniform(cents, 3 * median, 6 * median) / HOURS / normal
    return float(0.5 * once.sum() + 0.5 * sum(spree(often, seconds, first) for first in range(len(cents))))


def uniform(cents: Any, low: float, high: float) -> Any:
    """The density of amounts between two, which are rounded."""
    return ((cents >= low - 1) & (cents <= high + 1)) / (high - low)


def spree(often: Any, seconds: Any, first: int) -> float:
    """What a spree of three to eight purchases within hours that begins with a purchase adds."""
    chances = np.array([1.0])
    for other in np.flatnonzero((seconds >= seconds[first]) & (seconds - seconds[first] <= HOURS)):
        if other != first:
            chances = np.convolve(chances, [1.0, often[other]])
    sizes = range(3, min(8, len(chances)) + 1)
    return sum(often[first] * chances[size - 1] * math.factorial(size) / 6 / 8 for size in sizes)


def recall(days: Mapping[Day, float], odd: Mapping[int, set[Day]], alarms: int) -> float:
    """The share of odd users of whom a day is among the first."""
    late = [(value, day) for day, value in days.items() if day[1] >= AFTER]
    first = {day for _, day in sorted(late, reverse=True)[:alarms]}
    return sum(bool(theirs & first) for theirs in odd.values()) / len(odd)


def compare(seed: int, degrees: int, normal: list[float]) -> list[tuple[int, float, float, float]]:
    """Alarms, and the recall of rule, evidence and oracle: at as many alarms as the rule raises, and at fewer.

    To `normal` comes the evidence of the days of users who were not odd on them.
    """
    made = simulate(users=USERS, days=DAYS, seed=seed, odd_users=ODD, odd_after=AFTER)
    bought = purchases(made, degrees)
    odd: dict[int, set[Day]] = defaultdict(set)
    for incident, user, day in bought.filter(pl.col("incident") > 0).select("incident", "user", "day").iter_rows():
        odd[incident].add((user, day))
    flagged = by_rule(bought, flagged=True)
    whole = sum(day >= AFTER for _, day in flagged)
    ways = [by_rule(bought, flagged=False), by_evidence(made, degrees), by_oracle(bought, seed)]
    days = set().union(*odd.values())
    normal += [bits for day, bits in ways[1].items() if day[1] >= AFTER and day not in days]
    rows = []
    for alarms in (whole, 2 * len(odd), len(odd)):
        rule, evidence, oracle = (
            recall(way, odd, alarms) for way in (flagged if alarms == whole else ways[0], *ways[1:])
        )
        rows.append((alarms, rule, evidence, oracle))
    return rows


def simulated(seeds: Sequence[int]) -> None:
    """Print the recall of rule, evidence and bound."""
    print(f"{USERS:,} users, {DAYS} days, {ODD:.0%} of users odd; recall of odd users, by seed and mean\n")
    print("| D | alarms | rule | evidence | times | bound | times at most |")
    print("|---|---|---|---|---|---|---|")
    reached = []
    for degrees in (1, 2, 3):
        normal: list[float] = []
        runs = np.array([compare(seed, degrees, normal) for seed in seeds])
        reached.append([f"| {degrees} | {len(normal):,} |", *(among(normal, bits) for bits in (5, 8, 11))])
        for row, name in enumerate(("as the rule", "two for each odd user", "one for each odd user")):
            alarms, rule, evidence, bound = runs[:, row].mean(axis=0)
            cells = f"{rule:.2f} | {evidence:.2f} | {evidence / rule:.1f} | {bound:.2f} | {bound / rule:.1f}"
            print(f"| {degrees} | {name}: {alarms:.0f} | {cells} |", flush=True)
    print(
        "\nDays of users who were not odd, and on how many the evidence reached so many bits (chance allows so many)\n"
    )
    print("| D | days | 5 bits | 8 bits | 11 bits |\n|---|---|---|---|---|")
    print("\n".join(f"{' '.join(cells)}" for cells in reached))


def among(normal: Sequence[float], bits: float) -> str:
    """How many days reach so many bits, and how many may."""
    return f"{sum(each >= bits for each in normal)} ({len(normal) * 2**-bits:.0f}) |"


def cards(path: Path, first: date, last: date) -> pl.DataFrame:
    """Transactions of some days, as a log: a friendship for each first use of a terminal, and purchases."""
    day = pl.col("TX_DATETIME").dt.date()
    rows = pl.read_parquet(path).filter(day.is_between(first, last)).sort("TX_DATETIME", "TRANSACTION_ID")
    named = rows.select(
        pl.col("TX_DATETIME").cast(pl.Datetime("us", "UTC")).alias("time"),
        pl.format("card {}", "CUSTOMER_ID").alias("user"),
        pl.format("terminal {}", "TERMINAL_ID").alias("other_user"),
        (100 * pl.col("TX_AMOUNT")).round().cast(pl.Int64).alias("amount_cents"),
        pl.col("TX_FRAUD").alias("fraud"),
        pl.col("TX_FRAUD_SCENARIO").alias("scenario"),
        order=2 * pl.int_range(pl.len()) + 1,
    )
    ties = named.unique(["user", "other_user"], keep="first", maintain_order=True)
    ties = ties.with_columns(pl.lit("befriend").alias("action"), pl.lit(None, pl.Int64).alias("amount_cents"))
    none = pl.lit(None, pl.String).alias("other_user")
    bought = named.with_columns(pl.lit("purchase").alias("action"), none, terminal=pl.col("other_user"))
    ties = ties.with_columns(terminal=pl.col("other_user"))
    whole = pl.concat([ties.with_columns(pl.col("order") - 1).select(bought.columns), bought]).sort("order")
    return whole.with_columns(position=1 + pl.int_range(pl.len()))


def judged(log: pl.DataFrame, days: Sequence[date], known: set[str]) -> pl.DataFrame:
    """The transactions of some days with their bits, less those of cards known as compromised a week before."""
    columns = ["time", "user", "action", "amount_cents", "other_user", "position"]
    scan = scanned(log.select(*columns, OUTCOME), Purchase(degrees=2))
    day, parts = pl.col("time").dt.date(), []
    for each in days:
        frauds = log.filter(day == each - timedelta(8), action="purchase", fraud=1)
        known = known | set(frauds["user"])
        users = scan.coding.users.encode(log.filter(day == each)["user"].unique())
        bits = scan.scored(each, users.tolist()).select(pl.col("position").cast(pl.Int64), "bits")
        theirs = log.filter(day == each, ~pl.col("user").is_in(list(known)), action="purchase")
        parts.append(theirs.join(bits, on="position"))
    return pl.concat(parts)


def with_reports(found: pl.DataFrame, log: pl.DataFrame) -> pl.DataFrame:
    """The same with the frauds at each terminal, of the seven days up to a week before, as evidence beside.

    Days and `DOUBT` were chosen on the training week, of 7 and 30 days and of 1, 5, 20 and 60 transactions.
    """
    day, rate = pl.col("time").dt.date(), log.filter(action="purchase")["fraud"].mean()
    parts = []
    for (each,), rows in found.group_by(day, maintain_order=True):
        reported = log.filter(day.is_between(each - timedelta(14), each - timedelta(8)), action="purchase")
        share = (pl.col("fraud").sum() + DOUBT * rate) / (pl.len() + DOUBT) / rate
        risk = reported.group_by("terminal").agg(share.log(2).alias("reported"))
        joined = rows.join(risk, on="terminal", how="left", maintain_order="left")
        parts.append(joined.with_columns(pl.col("bits") + pl.col("reported").fill_null(0)))
    return pl.concat(parts)


def precision_of_cards(found: pl.DataFrame, most: int = 100) -> float:
    """The share of compromised cards among those with most bits each day; who is found is not looked at again."""
    shares, seen = [], set()
    for _, rows in found.group_by(pl.col("time").dt.date(), maintain_order=True):
        theirs = rows.filter(~pl.col("user").is_in(list(seen)))
        by_card = theirs.group_by("user").agg(pl.col("bits").max(), pl.col("fraud").max())
        first = by_card.sort("bits", "user", descending=[True, False]).head(most)
        hits = first.filter(fraud=1)["user"].to_list()
        seen |= set(hits)
        shares.append(len(hits) / most)
    return float(np.mean(shares))


def handbook(path: Path) -> None:
    """Print AUC, average precision and card precision on the book's weeks, beside the book's figures."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    log = cards(path, date(2018, 6, 25), date(2018, 8, 14))
    training = log.filter(pl.col("time").dt.date().is_between(date(2018, 7, 25), date(2018, 7, 31)), fraud=1)
    days = [date(2018, 8, 8) + timedelta(number) for number in range(7)]
    found = judged(log, days, set(training["user"]))
    kinds = [
        ("no labels: all frauds", found),
        ("no labels: but those of compromised terminals", found.filter(pl.col("scenario") != 2)),
        ("with the frauds reported at the terminal a week before", with_reports(found, log)),
    ]
    print(f"\nCard transactions, 2018-08-08 to 14: {found.height:,}, {found['fraud'].sum()} of them frauds\n")
    print("| | AUC | AP | CP@100 |\n|---|---|---|---|")
    for name, rows in kinds:
        area, precision = (way(rows["fraud"], rows["bits"]) for way in (roc_auc_score, average_precision_score))
        print(f"| amiss, {name} | {area:.3f} | {precision:.3f} | {precision_of_cards(rows):.3f} |")
    for name, *figures in BOOK:
        print(f"| the book: {name} | {' | '.join(f'{figure:.3f}' for figure in figures)} |")


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="101,102,103,104,105,106", help="of the simulations, with commas")
    parser.add_argument("--handbook", type=Path, metavar="FILE", help="the handbook's transactions.parquet")
    given = parser.parse_args()
    if given.seeds:
        simulated([int(seed) for seed in given.seeds.split(",")])
    if given.handbook is None:
        print("\nCard transactions are left out: give the handbook's transactions with --handbook FILE.")
    else:
        handbook(given.handbook)


if __name__ == "__main__":
    main()
