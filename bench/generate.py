"""Logs to measure with: events of 100,000 users, a few of them very busy, as NDJSON, CSV and Parquet.

For streams, quiet days: users come in sessions, do what all do at the pace of all, some more often than others; a
handful of scripts are among them. The same numbers of events and users always give the same bytes.
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
SESSION = 12
"""Events of a session on quiet days, on average."""

OWN_WAYS = 12.0
"""How little the users of quiet days differ: what each does after an action is as if drawn so often from all."""

SCRIPTS = 20
"""Sessions of scripts on quiet days, the first excepted."""

ACTIONS = """login logout view_item search_items add_to_cart remove_from_cart buy_item rate_item write_review
    send_message read_message view_profile edit_profile list_items update_item delete_item upload_image view_orders
    cancel_order request_refund change_password change_email view_help report_user""".split()


def steps(rng: np.random.Generator, spread: float = 0.15) -> npt.NDArray[np.float64]:
    """Cumulated chances of each next action: a few likely ones after each, more for a larger spread, all possible."""
    chances = rng.dirichlet(np.full(len(ACTIONS), spread), len(ACTIONS)) + 1e-4
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


@njit(cache=True)
def chance(user, given, way, purpose):
    """A number from 0 to 1 that follows from the others."""
    mixed = np.uint64(0x9E3779B97F4A7C15)
    for word in (np.uint64(user), np.uint64(given), np.uint64(way), np.uint64(purpose)):
        mixed = (mixed ^ word) * np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(32)
    return np.float64(mixed >> np.uint64(11)) * 2.0**-53


@njit(cache=True)
def habitual(user, given, purpose, draw):
    """Which of a user's ways a draw picks: few are common, as in a Dirichlet process of weight OWN_WAYS."""
    left, way = 1.0, 0
    while way < 60:
        left *= (1.0 - chance(user, given, way, purpose)) ** (1.0 / OWN_WAYS)
        if draw < 1.0 - left:
            break
        way += 1
    return way


@njit(cache=True)
def stroll(sessions, draws, cumulated, normals):
    """Actions, outcomes and gaps of sessions, each beginning anew in a way of its user's; of scripts, by chance."""
    who, lengths, odd = sessions
    actions, failed, gaps = np.empty(len(draws), np.uint32), np.empty(len(draws), np.bool_), np.empty(len(draws))
    at = 0
    for session in range(len(lengths)):
        user, given = who[session], 2 * len(cumulated)
        for _ in range(lengths[session]):
            row = cumulated[given // 2 % len(cumulated)]
            way = habitual(user, given, 0, draws[at, 0])
            actions[at] = min(np.searchsorted(row, chance(user, given, way, 2)), len(row) - 1)
            failed[at] = chance(user, given, way, 3) < FAILURES
            given = 2 * np.int64(actions[at]) + np.int64(failed[at])
            pace = habitual(user, given, 1, draws[at, 1])
            gaps[at] = np.exp(2.5 + normals[int(chance(user, given, pace, 4) * len(normals))])
            if odd[session]:
                actions[at], gaps[at] = int(draws[at, 0] * len(row)), 1.0
            at += 1
    return actions, failed, gaps


def quiet_day(day: int, events: int, users: int) -> pl.DataFrame:
    """About so many events of a day by users in sessions, in order of time."""
    of_all, rng = np.random.default_rng(20260201), np.random.default_rng(20260202 + day)
    cumulated = steps(of_all, spread=1.0)
    busy = np.cumsum(of_all.lognormal(0.0, 0.6, users))
    who = np.searchsorted(busy, rng.random(events // SESSION) * busy[-1]).astype(np.uint32)
    who[:users] = of_all.permutation(users)[: len(who)]
    odd = np.zeros(len(who), np.bool_)
    odd[:SCRIPTS] = day > 0
    lengths = np.where(odd, 60, 1 + rng.poisson(SESSION - 1, len(who)))
    total, ends = int(lengths.sum()), np.cumsum(lengths)
    normals = of_all.standard_normal(1 << 12)
    actions, failed, gaps = stroll((who, lengths, odd), rng.random((total, 2)), cumulated, normals)
    since = np.cumsum(gaps)
    seconds = np.repeat(rng.random(len(who)) * 86_400.0 - since[ends - lengths], lengths) + since
    order = np.argsort(seconds, kind="stable")
    order = order[seconds[order] < 86_400.0]
    names = pl.Series([f"u{code:07d}" for code in range(users)])
    named = names.gather(np.repeat(who, lengths)[order])
    return frame(seconds[order].astype(np.int64) + day * 86_400, named, actions[order], failed[order])


def quiet_days(events: int, users: int, days: int = 2) -> list[Path]:
    """Paths of NDJSON logs of days with about so many events each; missing ones are written."""
    OUT.mkdir(parents=True, exist_ok=True)
    paths = [OUT / f"quiet_{users}_{events}_{day}.ndjson" for day in range(days)]
    for day, path in enumerate(paths):
        if not path.exists():
            write(list(quiet_day(day, events, users).iter_slices(CHUNK)), path)
    return paths


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
