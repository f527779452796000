"""Measure amiss beside others, keep the figures, and write docs/benchmarks.md and its pictures from all that are kept.

``python -m bench.peers --data DIR`` measures everything, ``--only marketplace`` a part; ``--page`` measures nothing.
Run it with the environment that `make bench-peers` makes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.peers import page

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results.json"
PAGE = ROOT / "docs" / "benchmarks.md"
PUBLISHED = ("schonlau", "hdfs", "nab", "fraud-handbook")
LONGEST = 3600


def main() -> None:
    """Measure what is asked for; write the page."""
    given = arguments()
    for name in [] if given.page else given.only or page.PARTS:
        if name in PUBLISHED and given.data is None:
            print(f"{name} is left as it was: say with --data where published data are", file=sys.stderr)
            continue
        print(f"measuring {name}", file=sys.stderr, flush=True)
        keep(given.results, name, part(name, given.data))
        write(given)
    write(given)
    print(given.output)


def write(given: argparse.Namespace) -> None:
    """Write the page and its pictures from what is kept."""
    results = kept(given.results)
    given.output.write_text(page.text(results), encoding="utf-8")
    if not given.no_pictures:
        from bench.peers import pictures

        pictures.draw(results, given.output.parent)


def kept(path: Path) -> dict[str, Any]:
    """The figures of all parts that were ever measured."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"parts": {}}
    return found


def keep(path: Path, name: str, measured: dict[str, Any]) -> None:
    """Put a part in the place of what was measured of it before."""
    results = kept(path)
    results["parts"][name] = measured
    path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--data", type=Path, metavar="DIR", help="directory with one of its own for each published set")
    parser.add_argument("--only", nargs="+", choices=page.PARTS, metavar="PART", help=", ".join(page.PARTS))
    parser.add_argument("--page", action="store_true", help="measure nothing, write the page from what is kept")
    parser.add_argument("--no-pictures", action="store_true", help="leave the pictures as they are")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where figures are kept")
    parser.add_argument("-o", "--output", type=Path, default=PAGE, help="the page")
    return parser.parse_args()


def part(name: str, data: Path | None) -> dict[str, Any]:
    """What a part measures, and under which conditions."""
    from bench.peers.registry import versions

    load = os.getloadavg()[0]
    if name == "speed":
        from bench.peers import speed

        found: Any = speed.measured()
    else:
        found = evaluated(name, data) if name in PUBLISHED else simulated(name)
    conditions = {
        "date": datetime.now(UTC).date().isoformat(),
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
        "python": platform.python_version(),
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
    }
    return {"conditions": conditions, "found": found}


def simulated(name: str) -> list[dict[str, Any]]:
    """All ways on a task, from a process of its own."""
    lines = printed([sys.executable, "-m", "bench.peers.worker", name]).splitlines()
    return [json.loads(line) for line in lines]


def evaluated(name: str, data: Path | None) -> dict[str, Any]:
    """What `amiss evaluate` says of published data, or why it says nothing."""
    command = [sys.executable, "-m", "amiss", "evaluate", name, "--data", str(data / name if data else ""), "--format"]
    done = subprocess.run([*command, "json"], cwd=ROOT, capture_output=True, text=True, timeout=LONGEST, check=False)
    if done.returncode:
        why = done.stderr.strip().removeprefix("amiss: ").replace(str(data), "DIR")
        return {"absent": why.splitlines()[-1] if why else "no reason given"}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def printed(command: list[str]) -> str:
    """What a command prints."""
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=LONGEST, check=True).stdout


def machine() -> str:
    """Processors and memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB of memory, {platform.system()}"


def commit() -> str:
    """The version of the sources, where they are a Git repository."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


if __name__ == "__main__":
    main()
