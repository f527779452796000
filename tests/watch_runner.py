"""A process that starts watches quickly, to be killed: each is a fork of one that has imported nearly everything.

It reads a line of JSON for each watch, and writes `pid N`, `commit` behind each batch, and `end STATUS`. What starts
threads is imported behind the fork only.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

PARTS = "store sinks.files outbox sources.follow detect.sequence detect.habit detect.chain suppress simulate".split()
KERNELS = "baseline detect.chain detect.sequence evidence recent sessions".split()


def run(
    state: str,
    log: str,
    *,
    alerts: str,
    batch: int,
    snapshot_events: int,
    until_eof: bool = True,
    max_users: int | None = None,
) -> None:
    """Watch a log until its end or SIGTERM, with alerts in a file."""
    from tests import watching

    from amiss.outbox import Courier
    from amiss.sinks import open_sink
    from amiss.store import Store

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    sink = open_sink(alerts, state=state)
    with Store.open(state) as store:
        watching.watch(
            log,
            store,
            watching.settings(lateness=watching.LATENESS, max_users=max_users),
            courier=Courier(lambda: Store.open(state, write=False), [sink], every=timedelta(milliseconds=20)),
            sinks=[sink.url],
            batch=batch,
            every=timedelta(milliseconds=50),
            snapshot_events=snapshot_events,
            until_eof=until_eof,
            told=lambda given, *_: say("commit") if len(given.events) else None,
        ).run(stop)


def say(text: str) -> None:
    """Tell who started this."""
    os.write(1, f"{text}\n".encode())


def forked(options: dict[str, Any]) -> int:
    """The process of a new watch."""
    pid = os.fork()
    if pid:
        return pid
    try:
        run(**options)
    except BaseException as error:  # noqa: BLE001 - it is told, and the process ends
        say(f"error {type(error).__name__}: {error}")
        os._exit(1)
    os._exit(0)


def main() -> None:
    """Start watches as they are asked for, one after the other."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    for name in [*PARTS, *(f"{kernel}_kernel" for kernel in KERNELS)]:
        import_module(f"amiss.{name}")
    for line in sys.stdin:
        pid = forked(json.loads(line))
        say(f"pid {pid}")
        say(f"end {os.waitpid(pid, 0)[1]}")


if __name__ == "__main__":
    main()
