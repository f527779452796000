"""Measure a stream in one run: `amiss watch` from NDJSON to durable commits, `amiss.Session`, and river beside them.

Prints Markdown. A watch is a process of its own, on a real file and a real store, after a day that was learned in
another, so that all detectors judge; it judges a second day, with the close of the first in it. Events a second are
those of the whole run but for start and imports.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import generate
import numpy as np

MIB = 1024.0  # ru_maxrss is in KiB on Linux
LEARNED = 100_000
BATCH = 10_000
SCORED = 50_000
WARM = 1_000


def watch(state: str, log: str, *, batch: int, judge: bool) -> dict[str, Any]:
    """Watch a log to its end; what came of it."""
    from amiss.decide import Budget
    from amiss.detect import detector
    from amiss.sources import open_live_source
    from amiss.store import Store
    from amiss.watch import Settings, Watch

    settings = Settings([detector("sequence"), detector("habit")], budget=Budget(3.0))
    with Store.open(state) as store:
        service = Watch(open_live_source(log), store, settings, batch=batch, judge=judge, until_eof=True)
        began = time.perf_counter()
        report = service.run(threading.Event())
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
    return {"events": report.events, "alerts": report.alerts, "seconds": seconds, "peak": peak}


def rows(log: str, count: int) -> list[dict[str, Any]]:
    """The first events of a log, with times that are read already."""
    with Path(log).open("rb") as file:
        found = [json.loads(line) for line in islice(file, count)]
    return [{**row, "time": datetime.fromisoformat(row["time"])} for row in found]


def session(state: str, log: str) -> dict[str, Any]:
    """Score events one by one, committed each second meanwhile; how long each took, in microseconds."""
    import amiss

    events = rows(log, WARM + SCORED)
    with amiss.Session(state) as judge:
        for event in events[:WARM]:
            judge.score(event)
        took = np.empty(SCORED)
        for number, event in enumerate(events[WARM:]):
            began = time.perf_counter()
            judge.score(event)
            took[number] = time.perf_counter() - began
    names = ("p50", "p99", "p99.9", "most", "mean")
    figures = [*np.percentile(took, [50, 99, 99.9, 100]).tolist(), float(took.mean())]
    return {name: figure * 1e6 for name, figure in zip(names, figures, strict=True)}


def river(log: str) -> dict[str, Any]:
    """Events that `HalfSpaceTrees` learns and scores, on what a watch looks at, in numbers from 0 to 1."""
    from river.anomaly import HalfSpaceTrees

    actions: dict[str, int] = {}
    last: dict[str, tuple[int, float]] = {}
    features = []
    for row in rows(log, WARM + SCORED):
        state = 2 * actions.setdefault(row["action"], len(actions)) + (row["outcome"] == "failure")
        now = row["time"].timestamp()
        previous, then = last.get(row["user"], (-1, now))
        last[row["user"]] = state, now
        gap = min(1.0, np.log2(1.0 + now - then) / 17.0)
        features.append({"state": state / 48, "previous": (previous + 1) / 49, "gap": float(gap)})
    model = HalfSpaceTrees()
    began = time.perf_counter()
    for each in features:
        model.score_one(each)
        model.learn_one(each)
    return {"events": len(features), "seconds": time.perf_counter() - began}


def own_process(what: str, *arguments: str) -> dict[str, Any]:
    """What a function of this file gives in a process of its own."""
    command = [sys.executable, __file__, "--only", what, *arguments]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(found.stdout)
    return result


def watched(folder: str, users: int, events: int, batch: int) -> tuple[dict[str, Any], list[Path]]:
    """Learn from a day, and watch another."""
    logs = generate.quiet_days(events, users)
    state = f"{folder}/{users}.db"
    for end in ("", "-wal", "-shm"):
        Path(state + end).unlink(missing_ok=True)
    own_process("learn", state, str(logs[0]), str(LEARNED))
    return own_process("watch", state, str(logs[1]), str(batch)), logs


def main() -> None:
    """Write missing logs, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10,000 and 100,000 users, fewer events")
    parser.add_argument("--batch", type=int, default=BATCH, help="events of a batch")
    parser.add_argument("--only", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(only(*options.only)))
        return
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the start, batches of {options.batch:,}\n")
    plan = (
        [(10_000, 600_000), (100_000, 1_000_000)] if options.quick else [(100_000, 6_000_000), (1_000_000, 10_000_000)]
    )
    print("## `amiss watch`: NDJSON, both detectors, durable commits\n")
    print("| users in state | events | alerts | seconds | events/s | GiB |\n|--:|--:|--:|--:|--:|--:|")
    out = generate.OUT
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as folder:
        rates = []
        for users, events in plan:
            found, logs = watched(folder, users, events, options.batch)
            rates.append(found["events"] / found["seconds"])
            cells = [f"{users:,}", f"{found['events']:,}", f"{found['alerts']:,}", f"{found['seconds']:.1f}"]
            print(f"| {' | '.join(cells)} | **{rates[-1]:,.0f}** | {found['peak'] / MIB:.2f} |", flush=True)
            if users == 100_000:
                state, log = f"{folder}/session.db", str(logs[1])
                own_process("learn", state, str(logs[0]), str(LEARNED))
        took = own_process("session", state, log)
    print("\n## `amiss.Session.score` with 100,000 users in state, microseconds\n")
    print(f"| {' | '.join(took)} |\n|{'--:|' * len(took)}\n| {' | '.join(f'{each:,.0f}' for each in took.values())} |")
    print("\n## river `HalfSpaceTrees`, defaults, score_one and learn_one\n")
    if find_spec("river") is None:
        print("Not measured: river is not installed (pip install river).")
        return
    theirs = own_process("river", log)
    rate = theirs["events"] / theirs["seconds"]
    faster = f"`amiss watch`, reading and committing, is {rates[0] / rate:.1f} times as fast"
    print(f"{rate:,.0f} events/s, already read; {faster}.")


def only(what: str, *arguments: str) -> dict[str, Any]:
    """What one of the functions gives."""
    if what in ("learn", "watch"):
        state, log, batch = arguments
        return watch(state, log, batch=int(batch), judge=what == "watch")
    return {"session": session, "river": river}[what](*arguments)


if __name__ == "__main__":
    main()
