"""The examples run, and print what they say they print."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_prints_what_its_last_lines_say(example: Path, tmp_path: Path):
    """The comment at the end of an example, below "Prints:", is its output."""
    _, _, comment = example.read_text(encoding="utf-8").rpartition("\n# Prints:\n")
    expected = [line.removeprefix("#").removeprefix(" ") for line in comment.splitlines()]
    run = subprocess.run(
        [sys.executable, "-W", "error", example], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert run.stderr == ""
    assert run.stdout.splitlines() == expected


def test_the_own_profiles_of_the_example_are_valid(tmp_path: Path):
    """The clinic can be simulated from the command line."""
    run = subprocess.run(
        [sys.executable, "-m", "amiss", "simulate", "marketplace", "--profiles", EXAMPLES[0].with_name("clinic.toml")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert '"action":"export"' in run.stdout.replace(": ", ":")
