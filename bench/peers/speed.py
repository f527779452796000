"""Speed and memory of whole processes: amiss and its peers in turn on the same logs.

Seconds and the largest memory are those of the operating system, starting and importing included.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench.peers.batch import PANDAS, WAYS

BENCH = Path(__file__).parents[1]
TIMED = Path(__file__).with_name("timed.py")
sys.path.insert(0, str(BENCH))
generate = importlib.import_module("generate")  # under the name that bench/stream.py has for it: Numba keeps it
LEARNED, BATCH = "100000", "10000"
AMISS = "amiss scan"
PARSE = "polars, only parsing"
PAIRED_EVENTS = 1_000_000
ROUNDS = 3
GROWTH_EVENTS = (100_000, 1_000_000, 10_000_000)
GROWTH_USERS = (1_000, 10_000, 100_000, 1_000_000)
EVENTS_OF_USERS = 2_000_000
STREAMS = ((1_000, 100_000), (10_000, 200_000), (100_000, 1_200_000), (1_000_000, 2_400_000))
"""Users and events of a day. A million users have two events a session on average, the others twelve."""


class Run(NamedTuple):
    """A process that ended: wall and processor seconds, largest memory in MiB, and what it printed."""

    seconds: float
    cpu: float
    mib: float
    printed: str

    def row(self, **named: object) -> dict[str, Any]:
        """The figures under their names."""
        return {**named, "seconds": round(self.seconds, 2), "cpu": round(self.cpu, 2), "mib": round(self.mib)}


def run(*command: str) -> Run:
    """Run a Python program to its end."""
    with tempfile.TemporaryDirectory() as folder:
        noted = Path(folder) / "figures.json"
        started = [sys.executable, "-I", "-S", str(TIMED), str(noted), sys.executable, *command]
        done = subprocess.run(started, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or ["no reason given"])[-1][:200])
        return Run(**json.loads(noted.read_text(encoding="ascii")), printed=done.stdout)


def command(way: str, log: Path) -> list[str]:
    """How a way is run on a log."""
    if way == AMISS:
        return ["-m", "amiss", "scan", str(log), "--format", "jsonl", "--top", "20"]
    if way == PARSE:
        return [str(BENCH / "parse.py"), str(log), "--way", "fastest"]
    return ["-m", "bench.peers.batch", way, str(log)]


def batch() -> list[dict[str, Any]]:
    """Each peer in turn with amiss on a log, medians; ratios are of the runs that were beside each other."""
    log = generate.logs(PAIRED_EVENTS, ("ndjson",))["ndjson"]
    run(*command(AMISS, log))
    rows = []
    for way in (PARSE, PANDAS, *WAYS):
        try:
            pairs = [(run(*command(way, log)), run(*command(AMISS, log))) for _ in range(ROUNDS)]
        except RuntimeError as error:
            rows.append({"way": way, "failed": str(error)})
            continue
        theirs, ours = zip(*pairs, strict=True)
        rows.append({
            "way": way, "events": PAIRED_EVENTS, "seconds": round(median(each.seconds for each in theirs), 2),
            "mib": round(max(each.mib for each in theirs)), "amiss_seconds": round(median(e.seconds for e in ours), 2),
            "amiss_mib": round(max(each.mib for each in ours)),
            "ratio": round(median(a.seconds / b.seconds for a, b in pairs), 3),
            "cpu_ratio": round(median(a.cpu / b.cpu for a, b in pairs), 3),
        })  # fmt: skip
    return rows


def by_events() -> list[dict[str, Any]]:
    """Whole scans of logs of more and more events of 100,000 users, beside merely parsing them."""
    rows = []
    for events in GROWTH_EVENTS:
        log = generate.logs(events, ("ndjson",))["ndjson"]
        rows += [run(*command(way, log)).row(way=way, events=events) for way in (AMISS, PARSE)]
    return rows


def by_users() -> list[dict[str, Any]]:
    """Whole scans of logs of two million events of more and more users, beside ECOD."""
    rows = []
    for users in GROWTH_USERS:
        log = log_of(users)
        rows += [run(*command(way, log)).row(way=way, users=users) for way in (AMISS, WAYS[0])]
    return rows


def log_of(users: int) -> Path:
    """A log of so many users, written when missing."""
    path = generate.OUT / f"users_{users}.ndjson"
    if not path.exists():
        whole, generate.USERS = generate.USERS, users
        generate.write(generate.chunks(EVENTS_OF_USERS), path)
        generate.USERS = whole
    return path


def stream() -> list[dict[str, Any]]:
    """`amiss watch` with more and more users in its state, each behind a day that was learned."""
    rows = []
    with tempfile.TemporaryDirectory(dir=generate.OUT) as folder:
        for users, events in STREAMS:
            logs = quiet(users, events)
            state = f"{folder}/{users}.db"
            run(str(BENCH / "stream.py"), "--only", "learn", state, str(logs[0]), LEARNED)
            done = run(str(BENCH / "stream.py"), "--only", "watch", state, str(logs[1]), BATCH)
            found = json.loads(done.printed)
            rows.append(done.row(way="amiss watch", users=users, events=found["events"]))
            rows[-1]["events_per_second"] = round(found["events"] / found["seconds"])
    return rows


def quiet(users: int, events: int) -> list[Path]:
    """Two quiet days; with a million users of two events a session."""
    whole = generate.SESSION
    generate.SESSION = whole if events >= whole * users else 2
    paths = generate.quiet_days(events, users)
    generate.SESSION = whole
    return paths


def singles() -> list[dict[str, Any]]:
    """Single events behind 10,000 users in state: `Session.score`, and river's trees on the same events."""
    logs, rows = quiet(*STREAMS[1]), []
    with tempfile.TemporaryDirectory(dir=generate.OUT) as folder:
        state = f"{folder}/session.db"
        run(str(BENCH / "stream.py"), "--only", "learn", state, str(logs[0]), LEARNED)
        ours = run(str(BENCH / "stream.py"), "--only", "session", state, str(logs[1]))
        rows.append(ours.row(way="amiss.Session.score", **json.loads(ours.printed)))
    try:
        theirs = run(str(BENCH / "stream.py"), "--only", "river", str(logs[1]))
    except RuntimeError as error:
        return [*rows, {"way": "river, half-space trees", "failed": str(error)}]
    found = json.loads(theirs.printed)
    mean = found["seconds"] / found["events"] * 1e6
    return [*rows, theirs.row(way="river, half-space trees", mean=mean, events_per_second=round(1e6 / mean))]


def measured() -> dict[str, list[dict[str, Any]]]:
    """All of it."""
    generate.OUT.mkdir(parents=True, exist_ok=True)
    parts = {"batch": batch, "events": by_events, "users": by_users, "stream": stream, "singles": singles}
    found = {}
    for name, part in parts.items():
        print(f"speed: {name}", file=sys.stderr, flush=True)
        try:
            found[name] = part()
        except RuntimeError as error:
            found[name] = []
            print(f"speed: {name} failed: {error}", file=sys.stderr)
    return found
