"""Measure bands of many users against the loop over users that the original notebook runs.

Prints Markdown. The notebook selects the events of each user and has pandas count and draw bands; that is run for a
sample of users, on a log of just these, which spares it the search of each user among all events, and is multiplied up.
Ours counts the events of all users from a coded frame, and draws the bands of all.
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import polars as pl

from amiss import bollinger
from amiss.bollinger import Calendar, Width

FIRST = datetime(2025, 1, 1, tzinfo=UTC)
DAY = 86_400_000_000


def events(users: int, days: int, rng: np.random.Generator) -> pl.DataFrame:
    """Events of users, about 1.5 a day, none on some days, more on others; each has one on the first and last day."""
    count = rng.negative_binomial(0.5, 0.25, (users, days)).astype(np.uint16)
    count[:, [0, -1]] = np.maximum(count[:, [0, -1]], 1)
    user, day = (np.repeat(each.ravel(), count.ravel()) for each in np.indices((users, days), dtype=np.int32))
    micros = int(FIRST.timestamp() * 1e6) + day.astype(np.int64) * DAY + rng.integers(0, DAY, len(day))
    columns = {"user": user.astype(np.uint32), "time": micros}
    return pl.DataFrame(columns).sort("time").with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))


def counts(frame: pl.DataFrame) -> pl.DataFrame:
    """The counts of coded events, which come as frames of a source do."""
    parts = (
        part.select(pl.col("user").alias("series"), Calendar().numbers(part["time"]))
        for part in frame.iter_slices(100_000)
    )
    return bollinger.counted(parts)


def notebook(frame: pd.DataFrame, user: int, width: Width) -> pd.DataFrame:
    """The bands of a user, the notebook's way."""
    pages = frame[frame.user == user].set_index("time")["path"].resample("D").count()
    mid, std = pages.ewm(span=width.span).mean(), pages.ewm(span=width.span).std()
    upper, lower = mid + std * width.k, mid - std * width.k
    table = pd.concat([pages, mid, upper, lower], axis=1)
    table.columns = ["pages", "mid", "upper", "lower"]
    table["pct_b"] = (table["pages"] - table["lower"]) / (table["upper"] - table["lower"])
    return table[table.pct_b > 1]


def timed(tables: pl.DataFrame, width: Width) -> tuple[float, int]:
    """Seconds for the bands of all series block by block, and how many periods are flagged."""
    began = time.perf_counter()
    flagged = sum(int(block["flagged"].sum()) for block in bollinger.blocks(tables, width))
    return time.perf_counter() - began, flagged


def compare(users: int, days: int, sample: int) -> None:
    """Print both ways."""
    width = Width(30, 2)
    frame = events(users, days, np.random.default_rng(1))
    timed(counts(frame.head(1000)), width)
    began = time.perf_counter()
    tables = counts(frame)
    counting = time.perf_counter() - began
    drawing, _ = timed(tables, width)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    some = frame.filter(pl.col("user") < sample)
    few = some.with_columns(path=pl.lit("a")).to_pandas()
    began = time.perf_counter()
    theirs = sum(len(notebook(few, user, width)) for user in range(sample))
    per_user = (time.perf_counter() - began) / sample
    ours = timed(counts(some), width)[1]
    assert ours == theirs, (ours, theirs)
    print(f"{len(frame):,} events of {users:,} users in {days} days; {sample} users flag {ours:,} days both ways\n")
    print("| way | counting | bands | together |\n|---|---|---|---|")
    print(f"| amiss, all users | {counting:.2f} s | {drawing:.2f} s | {counting + drawing:.2f} s |")
    scaled = per_user * users
    print(f"| pandas, {sample} users, times {users / sample:g} | | | {scaled:,.0f} s |")
    print(f"\n{scaled / (counting + drawing):,.0f} times as fast; at most {peak:.1f} GB were in memory")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--sample", type=int, default=200)
    given = parser.parse_args()
    warnings.simplefilter("error")
    compare(given.users, given.days, given.sample)


if __name__ == "__main__":
    main()
