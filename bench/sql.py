"""Measure how fast a table of MariaDB becomes scores, in one run against merely fetching the same columns.

A server is started in a directory of its own, and ends with the run. Each way is taken in turn, several times, in this
process, once for nothing before; figures are medians. Fetching is what connectorx does: date, time, user, path, status
rows into Arrow.

    python bench/sql.py [--rows 1000000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import connectorx
import generate
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.database_servers import MariaDB

import amiss
from amiss.sources import open_source
from amiss.vocabulary import Coding


def table(rows: int) -> pl.DataFrame:
    """The week of a marketplace that scans of files are measured on, as a web application keeps it."""
    events = pl.concat(generate.chunks(rows))
    when = pl.col("time")
    return events.select(
        pl.int_range(1, rows + 1).alias("id"),
        when.dt.date().alias("date"),
        when.dt.to_string("%H:%M:%S").alias("time"),
        pl.col("action").alias("path"),
        pl.col("user").str.extract(r"(\d+)").alias("user_id"),
        pl.col("outcome").alias("status"),
    )


def load(server: MariaDB, rows: int) -> str:
    """Fill a table; its address."""
    file = server.folder / "logs.csv"
    table(rows).write_csv(file, include_header=False)
    server.do(
        "CREATE TABLE logs "
        "(id BIGINT PRIMARY KEY, date DATE, time TIME, path VARCHAR(200), user_id INT, status VARCHAR(20))",
        f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE logs FIELDS TERMINATED BY ','",
    )
    return f"{server.url}?table=logs"


def fetch(url: str) -> object:
    """All rows as an Arrow table."""
    query = "SELECT date, time, user_id, path, status FROM logs"
    return connectorx.read_sql(url.partition("?")[0], query, return_type="arrow")


def code(url: str) -> int:
    """All rows as coded events."""
    return sum(len(frame) for frame, _ in open_source(url).read_coded(Coding()))


def score(url: str) -> int:
    """All rows judged by the detector of sequences, with reasons for twenty users."""
    return amiss.scan(url, detectors=["sequence"], top=20).summary.events


def seconds_of(way: Callable[[str], object], url: str) -> float:
    """How long a way takes."""
    began = time.perf_counter()
    way(url)
    return time.perf_counter() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    missing = MariaDB.missing()
    if missing:
        print(f"bench/sql.py: skipped: {missing}")
        return
    ways = {"fetch the rows (connectorx)": fetch, "rows to coded events": code, "amiss.scan, in process": score}
    with tempfile.TemporaryDirectory() as folder:
        server = MariaDB(Path(folder))
        server.prepare()
        try:
            url = load(server, options.rows)
            for way in ways.values():
                way(url)
            rounds = [[seconds_of(way, url) for way in ways.values()] for _ in range(options.rounds)]
        finally:
            server.kill()
    base = statistics.median(each[0] for each in rounds)
    print(f"## From MariaDB to scores: {options.rows:,} rows, load {os.getloadavg()[0]:.1f}\n")
    print("| way | s | rows/s | rate / fetching |\n|---|---:|---:|---:|")
    for number, name in enumerate(ways):
        seconds = statistics.median(each[number] for each in rounds)
        print(f"| {name} | {seconds:.2f} | {options.rows / seconds:,.0f} | {base / seconds:.2f} |")


if __name__ == "__main__":
    main()
