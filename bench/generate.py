"""Logs to measure with: events of 100,000 users, a few of them very busy, as NDJSON, CSV and Parquet.

The same number of events always gives the same bytes.
"""

from __future__ import annotations

import argparse
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from numba import njit

OUT = Path(__file__).parent / "out"
FORMATS = ("ndjson", "csv", "parquet")
START = datetime(2026, 1, 1)  # noqa: DTZ001  (written with a Z; Polars formats naive times faster)
DAYS = 7
USERS = 100_000
CHUNK = 1_000_000
FAILURES = 0.03
ACTIONS = """login logout view_item search_items add_to_cart remove_from_cart buy_item rate_item write_review
    send_message read_message view_profile edit_profile list_items update_item delete_item upload_image view_orders
    cancel_order request_refund change_password change_email view_help report_user""".split()


def steps(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Cumulated chances of each next action: a few likely ones after each, all possible."""
    chances = rng.dirichlet(np.full(len(ACTIONS), 0.15), len(ACTIONS)) + 1e-4
    return np.cumsum(chances / chances.sum(axis=1, keepdims=True), axis=1)


@njit(cache=True)
def walk(users, draws, cumulated, last):
    """Each event's action: a step of its user's own chain."""
    actions = np.empty(len(users), np.uint32)
    for i in range(len(users)):
        row = cumulated[last[users[i]]]
        action = min(np.searchsorted(row, draws[i]), len(row) - 1)
        actions[i] = action
        last[users[i]] = action
    return actions


def chunks(events: int) -> list[pl.DataFrame]:
    """The events in time order, in frames of a million."""
    rng = np.random.default_rng(20260101)
    cumulated = steps(rng)
    last = np.zeros(USERS, np.int64)
    busy = np.cumsum(1.0 / (np.arange(USERS) + 10.0))
    names = pl.Series([f"u{code:06d}" for code in rng.permutation(USERS)])
    frames = []
    for start in range(0, events, CHUNK):
        size = min(CHUNK, events - start)
        users = np.minimum(np.searchsorted(busy, rng.random(size) * busy[-1]), USERS - 1)
        actions = walk(users, rng.random(size), cumulated, last)
        seconds = (np.arange(start, start + size) * (DAYS * 86_400.0 / events)).astype(np.int64)
        frames.append(frame(seconds, names.gather(users), actions, rng.random(size) < FAILURES))
    return frames


def frame(
    seconds: npt.NDArray[np.int64],
    users: pl.Series,
    actions: npt.NDArray[np.uint32],
    failed: npt.NDArray[np.bool_],
) -> pl.DataFrame:
    """Events as columns of text, but for the time."""
    columns = {
        "time": pl.Series(seconds * 1_000_000).cast(pl.Duration("us")) + START,
        "user": users,
        "action": pl.Series(ACTIONS).gather(actions),
        "outcome": pl.Series(["success", "failure"]).gather(failed.astype(np.uint32)),
    }
    return pl.DataFrame(columns)


def write(frames: list[pl.DataFrame], path: Path) -> None:
    """Write the frames in the format that the name says; a half-written file never gets that name."""
    partial = path.with_name(path.name + ".partial")
    if path.suffix == ".parquet":
        pl.concat(frames).with_columns(pl.col("time").dt.replace_time_zone("UTC")).write_parquet(partial)
    else:
        with partial.open("wb") as file:
            for number, part in enumerate(frames):
                texts = part.with_columns(pl.col("time").dt.to_string("%Y-%m-%dT%H:%M:%SZ"))
                if path.suffix == ".csv":
                    texts.write_csv(file, include_header=number == 0)
                else:
                    texts.write_ndjson(file)
    partial.rename(path)


def logs(events: int, formats: tuple[str, ...] = FORMATS) -> dict[str, Path]:
    """Paths of the logs of this many events by format; missing ones are written."""
    OUT.mkdir(parents=True, exist_ok=True)
    paths = {name: OUT / f"events_{events}.{name}" for name in formats}
    missing = [path for path in paths.values() if not path.exists()]
    frames = chunks(events) if missing else []
    for path in missing:
        write(frames, path)
    return paths


def main() -> None:
    """Write the logs and say where they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", nargs="*", type=int, default=[2_000_000, 5_000_000, 20_000_000])
    parser.add_argument("--format", action="append", choices=FORMATS, help="only this format; may be repeated")
    options = parser.parse_args()
    for events in options.events:
        began = time.perf_counter()
        for path in logs(events, tuple(options.format or FORMATS)).values():
            print(f"{path}  {path.stat().st_size / 1e6:,.0f} MB")
        print(f"{events:,} events in {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
