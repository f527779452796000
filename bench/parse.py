"""The yardsticks: parse the same columns with Polars, times too, and do nothing with them.

`usual` is what one writes without further thought: read the file, pick the columns, let Polars find the format of the
times. `fastest` tells Polars the types and the time format, and streams.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import polars as pl

WAYS = ("usual", "fastest")
COLUMNS = ("time", "user", "action", "outcome")
SCHEMA = dict.fromkeys(COLUMNS, pl.String())
TIME = pl.col("time").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")


def usual(path: Path) -> pl.DataFrame:
    """The events of a log, read as most would."""
    if path.suffix == ".parquet":
        return pl.read_parquet(path, columns=list(COLUMNS))
    read = pl.read_csv if path.suffix == ".csv" else pl.read_ndjson
    return read(path).select(COLUMNS).with_columns(pl.col("time").str.to_datetime(time_zone="UTC"))


def fastest(path: Path) -> pl.DataFrame:
    """The events of a log, with all told that makes Polars faster."""
    if path.suffix == ".parquet":
        return pl.scan_parquet(path).select(COLUMNS).collect(engine="streaming")
    scan = pl.scan_csv if path.suffix == ".csv" else pl.scan_ndjson
    return scan(path, schema=SCHEMA).with_columns(TIME).collect(engine="streaming")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("--way", choices=WAYS, default="usual", help="how Polars parses (usual)")
    options = parser.parse_args()
    print((usual if options.way == "usual" else fastest)(options.log).height)
