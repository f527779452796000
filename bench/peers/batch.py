"""A whole log by a peer in its own process: read, count, learn, judge. ``python -m bench.peers.batch WAY LOG``."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import polars as pl
from bench.peers.registry import peer

WAYS = ("PyOD, ECOD", "PyOD, isolation forest", "scikit-learn, OneClassSVM")
PANDAS = "pandas, surprisal as in notebooks"


def by_users(way: str, log: Path) -> int:
    """How many users a peer judges by what each did in the log; read by Polars, as fast as it can."""
    from bench.parse import fastest
    from bench.peers.tasks import user_days

    events = fastest(log)
    known = events.select(pl.concat_str("action", "outcome", separator=":").unique().sort()).to_series().to_list()
    users = user_days(events, known)
    return len(peer(way)(users, users))


def by_pandas(log: Path) -> int:
    """How many users the sums of notebooks are of, in pandas without a loop."""
    from bench.ways import frame, idiomatic

    return len(idiomatic(frame(log)))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(by_pandas(Path(sys.argv[2])) if sys.argv[1] == PANDAS else by_users(sys.argv[1], Path(sys.argv[2])))
