"""Compiles what most tests need, before they run: each worker of pytest would else compile all of it for itself.

Two commands side by side, one of logins and one of all else; what they compile is kept beside the modules.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

LOGINS = [
    "simulate logins --users 30 --days 4 --seed 1 -o logins.jsonl --quiet",
    "scan logins.jsonl --detector login --quiet -o logins.txt",
]
OTHERS = [
    "simulate marketplace --users 200 --days 2 --seed 1 -o market.jsonl --quiet",
    "scan market.jsonl --detector sequence,habit,role,activity --quiet -o market.txt",
]


def run(commands: list[str], folder: str) -> None:
    """Run some commands of amiss one after another."""
    for words in commands:
        subprocess.run([sys.executable, "-m", "amiss", *words.split()], cwd=folder, check=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as empty, ThreadPoolExecutor(2) as both:
        list(both.map(run, [LOGINS, OTHERS], [empty, empty]))
