"""All ways on one task, in a process of its own: figures, and seconds on the last seed.

``python -m bench.peers.worker TASK`` prints JSON. Each way is timed in turn with amiss, on the same cases: seconds are
those of learning, judging and scoring; simulating and preparing features are not in them. What amiss takes holds all
of a scan, from events as they are.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from bench.peers.cases import Figures, Task
from bench.peers.registry import OWN, PEERS, absent, peer
from bench.peers.tasks import SEEDS, task

from amiss.evaluate.ranking import means, rounded

ROUNDS = 3
QUICK_SECONDS = 5.0
"""A pair that takes less is timed in several rounds."""


def way_of(one: Task, way: str) -> Callable[[], Figures]:
    """What gives the figures of a way."""
    return one.own[way] if way in one.own else lambda: one.judge(peer(way))


def timed(way: Callable[[], Figures]) -> tuple[Figures, float]:
    """Figures, and how long they took."""
    began = time.perf_counter()
    return way(), time.perf_counter() - began


def measured(made: Sequence[Task], way: str, name: str) -> dict[str, Any]:
    """Figures over all seeds; seconds on the last, and those of amiss in turn with it."""
    if why := PEERS[way].not_for.get(name) if way in PEERS else "":
        return {"way": way, "not_for": why}
    if way in PEERS and (why := absent(way)):
        return {"way": way, "absent": why}
    found = [timed(way_of(one, way)) for one in made]
    result = {"way": way, "figures": rounded(means([figures for figures, _ in found]))}
    return result | paired(made[-1], way, found[-1][1])


def paired(one: Task, way: str, seconds: float) -> dict[str, Any]:
    """Seconds of a way and of amiss in turn, in several rounds if both are quick."""
    pairs = [(seconds, timed(way_of(one, "amiss"))[1])]
    if sum(pairs[0]) < QUICK_SECONDS:
        pairs = [(timed(way_of(one, way))[1], timed(way_of(one, "amiss"))[1]) for _ in range(ROUNDS)]
    theirs, ours = (round(median(each), 3) for each in zip(*pairs, strict=True))
    ratio = round(median(a / b for a, b in pairs), 4)
    return {"seconds": theirs, "amiss_seconds": ours, "ratio": ratio, "rounds": len(pairs)}


def main(name: str) -> None:
    """Measure all ways; one that fails says so and does not stop the others."""
    made = [task(name, seed) for seed in SEEDS[name]]
    way_of(made[-1], "amiss")()
    for way in (*OWN[name], *PEERS):
        try:
            result = measured(made, way, name)
        except Exception as error:  # noqa: BLE001  (what a peer raises is its result)
            result = {"way": way, "failed": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1])
