"""The yardstick: parse the same columns with Polars, times too, and do nothing with them."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

COLUMNS = ("time", "user", "action", "outcome")
SCHEMA = dict.fromkeys(COLUMNS, pl.String())
TIME = pl.col("time").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")


def events(path: Path) -> pl.DataFrame:
    """The events of a log, read in the fastest of the usual ways."""
    if path.suffix == ".parquet":
        return pl.scan_parquet(path).select(COLUMNS).collect(engine="streaming")
    scan = pl.scan_csv if path.suffix == ".csv" else pl.scan_ndjson
    return scan(path, schema=SCHEMA).with_columns(TIME).collect(engine="streaming")


if __name__ == "__main__":
    print(events(Path(sys.argv[1])).height)
