"""Compiles what most tests need, before they run: each worker of pytest would else compile all of it for itself.

Commands side by side, on two cores, the longest first; what they compile is kept beside the modules. Python's own
compiling comes first: the tests start many processes of amiss, and each would else compile all that it imports.
"""

from __future__ import annotations

import compileall
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOGINS = [
    "simulate logins --users 30 --days 4 --seed 1 -o logins.jsonl --quiet",
    "scan logins.jsonl --detector login --quiet -o logins.txt",
]
MARKET = [
    "simulate marketplace --users 200 --days 2 --seed 1 -o market.jsonl --quiet",
    "scan market.jsonl --detector sequence,habit,role,activity --quiet -o market.txt",
]
PURCHASES = [
    "simulate purchases --users 100 --seed 1 -o purchases.jsonl --quiet",
    "scan purchases.jsonl --detector purchase --quiet -o purchases.txt",
]


def run(commands: list[str], folder: str) -> None:
    """Run some commands of amiss one after another."""
    for words in commands:
        subprocess.run([sys.executable, "-m", "amiss", *words.split()], cwd=folder, check=True)


def rewrite() -> None:
    """Collect all tests, which rewrites their assertions."""
    pytest = [sys.executable, "-m", "pytest", "-qq", "--collect-only", "-p", "no:cacheprovider"]
    subprocess.run(pytest, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    compileall.compile_dir(ROOT / "src", quiet=1)
    with tempfile.TemporaryDirectory() as empty, ThreadPoolExecutor(2) as both:
        done = [both.submit(run, commands, empty) for commands in (LOGINS, MARKET, PURCHASES)]
        for each in [*done, both.submit(rewrite)]:
            each.result()
