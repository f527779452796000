"""Measure groups: how well they find the kinds of simulated users beside other ways, and how fast they are.

Prints Markdown. Each month is simulated with the seed given; of what kind a user is, only the measurement sees. Other
ways get the shares of each state (an action with its outcome) of each user, and what they need to be told: k-means and
the Gaussian mixture how many groups there are. The notebook's procedure runs as it was written, on sums of surprisal,
which it was meant to take of a day: `--days 1` is that.

Moves: of 1,000 buyers and merchants, known from three days, forty of each do on the fourth what one of the other kind
did. Detectors see who does what, not of what kind they are.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

import amiss
from amiss.evaluate import marketplace
from amiss.grouping import Cells, Groups, Rows
from amiss.leader import Leaders
from amiss.simulate import load_profiles, simulate, write_marketplace

KINDS = 6
NOTEBOOK_SECONDS = 12.0
"""What the notebook printed for 3,000 users."""


def shares(log: pl.DataFrame) -> tuple[list[str], np.ndarray]:
    """Users, and the share of each state in what they did."""
    counts = log.group_by("user", state=pl.col("action") + pl.col("outcome")).agg(pl.len())
    wide = counts.pivot("state", index="user", values="len").fill_null(0).sort("user")
    numbers = wide.drop("user").to_numpy().astype(float)
    return wide["user"].to_list(), numbers / numbers.sum(axis=1, keepdims=True)


def with_shares(fit: Callable[[np.ndarray], np.ndarray]) -> Callable[[pl.DataFrame], dict[str, int]]:
    """A way that groups users by their shares."""

    def grouped(log: pl.DataFrame) -> dict[str, int]:
        users, matrix = shares(log)
        return dict(zip(users, map(int, fit(matrix)), strict=True))

    return grouped


def ours(log: pl.DataFrame, **options: object) -> dict[str, int]:
    """Groups of amiss."""
    return dict(amiss.groups(log, **options).members.select("user", "group").iter_rows())  # type: ignore[arg-type]  # options are those of the table


WAYS: dict[str, Callable[[pl.DataFrame], dict[str, int]]] = {
    "amiss groups": ours,
    "amiss groups --by-day": lambda log: ours(log, by_day=True),
    "the notebook's procedure": lambda log: ours(log, method="seed001"),
    "k-means, 6 groups": with_shares(lambda x: KMeans(KINDS, n_init=10, random_state=0).fit_predict(x)),
    "k-means, 2 groups": with_shares(lambda x: KMeans(2, n_init=10, random_state=0).fit_predict(x)),
    "Gaussian mixture, 6": with_shares(
        lambda x: GaussianMixture(KINDS, covariance_type="diag", random_state=0, reg_covar=1e-5).fit_predict(x)
    ),
    "HDBSCAN, from 5 users on": with_shares(lambda x: HDBSCAN(min_cluster_size=5, copy=True).fit_predict(x)),
}


def months(seeds: list[int], days: int, users: int, folder: Path) -> Iterator[tuple[pl.DataFrame, dict[str, str]]]:
    """Simulated months, and who is of what kind."""
    for seed in seeds:
        log, truth = folder / "log.csv", folder / "truth.csv"
        write_marketplace(log, users=users, days=days, seed=seed, new_users_per_day=200, truth=truth)
        yield pl.read_csv(log), dict(pl.read_csv(truth).select("user", "type").iter_rows())


def judged(found: dict[str, int], kinds: dict[str, str]) -> tuple[float, float, float, int]:
    """Adjusted Rand index, purity, the mean share of each kind's users in groups where it is the most, and groups."""
    table = pl.DataFrame({"user": list(found), "group": list(found.values())})
    table = table.with_columns(kind=pl.col("user").replace_strict(kinds))
    cells = table.group_by("group", "kind").agg(pl.len()).sort("len", "kind", descending=[True, False])
    most = cells.group_by("group", maintain_order=True).agg(pl.first("len"), pl.first("kind"))
    held = dict(most.group_by("kind").agg(pl.sum("len")).iter_rows())
    totals = dict(table.group_by("kind").agg(pl.len()).iter_rows())
    each = float(np.mean([held.get(kind, 0) / total for kind, total in totals.items()]))
    index = adjusted_rand_score(table["kind"].to_list(), table["group"].to_list())
    return float(index), float(most["len"].sum() / len(table)), each, len(most)


def quality(seeds: list[int], days: int, users: int) -> None:
    """Print how well each way finds the kinds."""
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        for log, kinds in months(seeds, days, users, Path(folder)):
            for name, way in WAYS.items():
                began = time.perf_counter()
                groups = way(log)
                found[name].append((*judged(groups, kinds), time.perf_counter() - began))
    said = f"seeds {', '.join(map(str, seeds))}; {days} days of {users:,} users and 200 new ones a day"
    print(f"\n{said}; mean (lowest) over months\n")
    print("| way | adjusted Rand index | purity | kinds found | groups | seconds |\n|---|---|---|---|---|---|")
    for name, rows in found.items():
        index, pure, each, groups, seconds = np.array(rows).T
        print(
            f"| {name} | {index.mean():.4f} ({index.min():.4f}) | {pure.mean():.4f} ({pure.min():.4f}) "
            f"| {each.mean():.1%} | {groups.mean():.1f} | {seconds.mean():.2f} |"
        )


def moved(seed: int) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    """Three days of a marketplace, one more, and who does on that what somebody of the other kind did."""
    kinds = [kind for kind in load_profiles() if not kind.abnormal]
    log = marketplace.frame(simulate(kinds, users=1_000, days=4, seed=seed, date=marketplace.FIRST))
    last = pl.col("time").dt.date() == marketplace.FIRST + timedelta(days=3)
    past, today = log.filter(~last), log.filter(last)
    users = today.select("user", "type").unique(maintain_order=True)
    buyers, merchants = (users.filter(type=kind.name)["user"].head(40).to_list() for kind in kinds)
    swapped = dict(zip(buyers, merchants, strict=True)) | dict(zip(merchants, buyers, strict=True))
    return past, today.with_columns(pl.col("user").replace(swapped)), list(swapped)


def moves(seeds: list[int]) -> None:
    """Print how well detectors find users who take another role."""
    print(f"\nseeds {', '.join(map(str, seeds))}; 80 of 1,000 users take the other role\n")
    print("| detectors | average precision | movers at 10 bits | others at 10 bits, a day |\n|---|---|---|---|")
    for names in (["sequence", "habit"], ["role"], ["sequence", "habit", "role"]):
        rows = []
        for seed in seeds:
            past, today, movers = moved(seed)
            found = marketplace.stood(names, today, past).sort("bits", descending=True)
            mover, high = found["user"].is_in(movers).to_numpy(), (found["bits"] >= 10).to_numpy()
            precision = (np.cumsum(mover) / np.arange(1, len(mover) + 1))[mover].mean()
            rows.append((precision, high[mover].mean(), high[~mover].sum()))
        each = np.mean(rows, axis=0)
        print(f"| {', '.join(names)} | {each[0]:.3f} | {each[1]:.0%} | {each[2]:.1f} |")


def counted(users: int, actions: int, kinds: int, rng: np.random.Generator) -> tuple[Rows, np.ndarray]:
    """Users of so many kinds, who did 50 to 400 things each, and their kinds."""
    chances = rng.dirichlet(np.full(actions, 0.5), kinds)
    kind = rng.integers(0, kinds, users)
    table = rng.multinomial(rng.integers(50, 400, users), chances[kind])
    user, cell = np.nonzero(table)
    return Rows.of(user, cell, table[user, cell]), kind


def speed() -> None:
    """Print how long grouping takes, by users and kinds, and beside the notebook."""
    print(f"\nGrouping counts that are there, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, best of three\n")
    print("| users | actions | kinds | groups | adjusted Rand index | seconds | µs a user and group |")
    print("|---|---|---|---|---|---|---|")
    for users, kinds in ((25_000, 12), (100_000, 12), (100_000, 48), (400_000, 12)):
        rows, kind = counted(users, 30, kinds, np.random.default_rng(users + kinds))
        best, groups, chosen = np.inf, 0, kind
        for _ in range(3):
            began = time.perf_counter()
            model = Groups(Cells.of(np.zeros(30, dtype=np.int64), rows.seen(30)))
            chosen = model.settle(rows)
            best, groups = min(best, time.perf_counter() - began), len(model)
        index = adjusted_rand_score(kind, chosen)
        each = best / users / groups * 1e6
        print(f"| {users:,} | 30 | {kinds} | {groups} | {index:.3f} | {best:.2f} | {each:.2f} |")
    rng = np.random.default_rng(1)
    profiles = dict(enumerate(rng.gamma(2.0, 12.0, (3_000, 14)) * (rng.random((3_000, 14)) < 0.5)))
    began = time.perf_counter()
    leaders = Leaders()
    leaders.day(profiles)
    took = time.perf_counter() - began
    print(f"\nThe notebook's procedure here: 3,000 random profiles into {len(leaders.members)} groups in {took:.2f} s.")
    rows, _ = counted(3_000, 30, 6, rng)
    began = time.perf_counter()
    Groups(Cells.of(np.zeros(30, dtype=np.int64), rows.seen(30))).settle(rows)
    took = time.perf_counter() - began
    print(
        f"3,000 users in bits: {took * 1000:.0f} ms, {NOTEBOOK_SECONDS / took:,.0f} times as fast as the notebook says."
    )
    print(f"Peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB.")


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="101,102,103", help="months to judge; 1 to 5 are for tuning")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--users", type=int, default=3_000)
    parser.add_argument("--only", choices=["quality", "moves", "speed"])
    asked = parser.parse_args()
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    if asked.only in {None, "quality"}:
        quality(seeds, asked.days, asked.users)
    if asked.only in {None, "moves"}:
        moves(seeds)
    if asked.only in {None, "speed"}:
        speed()


if __name__ == "__main__":
    main()
