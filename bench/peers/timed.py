"""Run a command and note its seconds and largest memory: ``timed.py FILE COMMAND ...``.

A process of its own that imports next to nothing: what a child is said to have held at most is never less than what
its parent holds when it starts it.
"""

import json
import os
import sys
import time

began = time.perf_counter()
child = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
figures = {
    "seconds": time.perf_counter() - began,
    "cpu": usage.ru_utime + usage.ru_stime,
    "mib": usage.ru_maxrss / 1024,  # KiB on Linux
}
with open(sys.argv[1], "w", encoding="ascii") as file:  # noqa: PTH123  (pathlib takes time and memory)
    json.dump(figures, file)
sys.exit(os.waitstatus_to_exitcode(status) != 0)
