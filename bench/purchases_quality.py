"""Measure how well odd purchases are found: by evidence, by the rule, by who knows the simulation; and card frauds.

Prints Markdown. The first table is of simulated purchases, as `amiss evaluate purchases` has them, at 1, 2 and 3
degrees: 2,000 users, 30 days, 3 % of users odd once after the tenth day; an alarm is a user's day. The *bound* is the
recall of who knows the simulation.

The second is of the transactions of the Fraud Detection Handbook (Le Borgne et al., 2022), where its file is given:
``python bench/purchases_quality.py --handbook transactions.parquet``. It is that of `amiss evaluate fraud-handbook`,
and beside it the frauds that are not of compromised terminals: nothing but its label tells the others, so without
feedback they are found by chance.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from amiss.evaluate.fraud_handbook import (
    BOOK,
    DELAY,
    TEST,
    WEEK,
    cards,
    figures,
    judged,
    of_week,
    read,
    with_networks,
)
from amiss.evaluate.purchases import DAYS, ODD, USERS, Market, recall


def compare(seed: int, degrees: int, normal: list[float]) -> list[tuple[int, float, float, float]]:
    """Alarms, and the recall of rule, evidence and bound: at as many alarms as the rule raises, and at fewer.

    To `normal` comes the evidence of the days of users who were not odd on them.
    """
    market = Market.of(seed, degrees)
    normal += market.normal().tolist()
    one, two, whole = market.budgets
    rows = []
    for alarms in (whole, two, one):
        ways = market.flagged if alarms == whole else market.rule, market.evidence, market.optimum
        rows.append((alarms, *(recall(way, market.odd, alarms) for way in ways)))
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


def handbook(path: Path) -> None:
    """Print AUC, average precision and card precision on the book's test week, beside the book's figures."""
    log = cards(read(path))
    coded, last = with_networks(log), TEST + timedelta(WEEK - 1)
    plain, told = (of_week(judged(log, coded, TEST, last, delay=delay), log, TEST) for delay in (None, DELAY))
    kinds = [
        ("no labels: all frauds", plain),
        ("no labels: but those of compromised terminals", plain.filter(pl.col("scenario") != 2)),
        ("with frauds confirmed a week late", told),
    ]
    print(f"\nCard transactions, 2018-08-08 to 14: {plain.height:,}, {plain['fraud'].sum()} of them frauds\n")
    print("| | AUC | AP | CP@100 |\n|---|---|---|---|")
    for name, rows in kinds:
        print(f"| amiss, {name} | {' | '.join(f'{figure:.3f}' for figure in figures(rows).values())} |")
    for name, week, *reached in BOOK:
        print(f"| {name} ({week} week) | {' | '.join(f'{figure:.3f}' for figure in reached)} |")


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
