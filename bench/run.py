"""Measure `amiss scan` in one run against merely parsing the same file with Polars, and against other ways.

Prints Markdown tables. Figures of whole processes: start, imports and output are in them. Runs alternate, so that a
machine that slows down slows all; ratios are medians over rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import generate
import ways
from parse import WAYS

HERE = Path(__file__).parent
MIB = 1024.0  # ru_maxrss is in KiB on Linux


class Run(NamedTuple):
    """One process: wall and processor seconds, and its largest memory in MiB."""

    seconds: float
    cpu: float
    peak: float


def run(command: list[str]) -> Run:
    """Run a process to its end; its figures are those of the operating system.

    Bytecode is kept, as it is of installed packages: else only amiss is compiled at each start.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / MIB)


def scan(path: Path) -> list[str]:
    """The command that scans a log."""
    return [sys.executable, "-m", "amiss", "scan", str(path), "--format", "jsonl", "--top", "20"]


def parse(path: Path, way: str) -> list[str]:
    """The command that parses a log in one of the two ways and stops there."""
    return [sys.executable, str(HERE / "parse.py"), str(path), "--way", way]


def rounds(path: Path, count: int) -> list[list[Run]]:
    """Scan and both ways to parse in turn, after one of each that does not count (it compiles, and warms caches)."""
    commands = [scan(path), *(parse(path, way) for way in WAYS)]
    return [[run(command) for command in commands] for _ in range(count + 1)][1:]


def row(events: int, name: str, found: list[list[Run]]) -> str:
    """A row of the table: medians."""
    ours, *ways = zip(*found, strict=True)
    seconds = statistics.median(one.seconds for one in ours)
    cells = [name, f"{events:,}", f"{seconds:.2f}"]
    for theirs in ways:
        ratio = statistics.median(a.seconds / b.seconds for a, b in zip(ours, theirs, strict=True))
        cells += [f"{statistics.median(one.seconds for one in theirs):.2f}", f"**{ratio:.2f}**"]
    cells.append(f"{events / seconds / 1e6:.2f}")
    cells += [f"{max(one.peak for one in runs) / MIB:.2f}" for runs in (ours, *ways)]
    return f"| {' | '.join(cells)} |"


def against_parsing(plan: list[tuple[int, str]], count: int) -> None:
    """Scan against both ways to parse, for each log of the plan."""
    print("## `amiss scan` against parsing the same columns with Polars (whole processes, medians)\n")
    print('usual: `pl.read_*`, columns selected, `str.to_datetime(time_zone="UTC")` finds the format.')
    print("fastest: types and time format told, streaming.\n")
    heading = ["log", "events", "scan s", "usual s", "scan / usual", "fastest s", "scan / fastest", "scan M events/s"]
    heading += ["scan GiB", "usual GiB", "fastest GiB"]
    print(f"| {' | '.join(heading)} |")
    print("|---|" + "--:|" * (len(heading) - 1))
    for events, name in plan:
        path = generate.logs(events, (name,))[name]
        print(row(events, name, rounds(path, count)), flush=True)


def seconds_of(way: Callable[[Any], object], events: object) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    way(events)
    return time.perf_counter() - began


def against_other_ways(small: int, large: int) -> None:
    """Learning and scoring of frames that are read already, and of a whole scan."""
    little = ways.frame(generate.logs(small, ("ndjson",))["ndjson"])
    path = generate.logs(large, ("ndjson",))["ndjson"]
    run(scan(path))
    rates = {
        f"row by row, {small:,} events": small / seconds_of(ways.notebook, little),
        f"idiomatic pandas, {small:,} events": small / seconds_of(ways.idiomatic, little),
        f"idiomatic pandas, {large:,} events": large / seconds_of(ways.idiomatic, ways.frame(path)),
    }
    ours = large / run(scan(path)).seconds
    print("\n## `amiss scan` (reading and all) against learning and scoring in other ways (already read)\n")
    print("| way | events/s | amiss is faster by |")
    print("|---|--:|--:|")
    print(f"| amiss scan, {large:,} events of NDJSON | {ours:,.0f} | |")
    for name, rate in rates.items():
        print(f"| {name} | {rate:,.0f} | {ours / rate:,.1f} times |")


def main() -> None:
    """Write missing logs, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000_000, help="events of the largest log")
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds of each comparison")
    parser.add_argument("--quick", action="store_true", help="2 million events at most, one round")
    options = parser.parse_args()
    large = 2_000_000 if options.quick else options.events
    middle = sorted({min(2_000_000, large), min(5_000_000, large), large})
    plan = [(events, "ndjson") for events in middle] + [(large, "csv"), (large, "parquet")]
    against_parsing(plan, 1 if options.quick else options.rounds)
    against_other_ways(20_000, min(2_000_000, large))


if __name__ == "__main__":
    main()
