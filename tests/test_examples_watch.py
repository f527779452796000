"""The files that run a watch as a service fit together, and the system takes them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PLACE = Path(__file__).resolve().parent.parent / "examples" / "watch"
FLAGS = {"--state", "--alert", "--budget", "--metrics", "--log-format"}


def text(name: str) -> str:
    """A file of the example."""
    return (PLACE / name).read_text(encoding="utf-8")


def uncommented(name: str) -> str:
    """A file of the example without its comments."""
    return "\n".join(line for line in text(name).splitlines() if not line.lstrip().startswith("#"))


@pytest.fixture
def analyse() -> str:
    """The program that checks units."""
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not on this machine")
    return found


def test_the_unit_is_one_that_systemd_takes(analyse: str, tmp_path: Path):
    """No word in it is unknown, with any program in the place of amiss."""
    unit = tmp_path / "amiss-watch.service"
    unit.write_text(text("amiss-watch.service").replace("/opt/amiss/bin/amiss", "/bin/true"))
    run = subprocess.run([analyse, "verify", unit], capture_output=True, text=True, check=False, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_the_unit_may_do_little(analyse: str):
    """Its exposure is low by the measure of systemd, whose scale ends at 10 for no protection at all."""
    run = subprocess.run(
        [analyse, "security", "--offline=true", "--threshold=20", "--no-pager", PLACE / "amiss-watch.service"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-400:]


def test_the_settings_that_the_unit_uses_are_in_its_file():
    """Each name is given a value."""
    used = set(re.findall(r"\$\{(\w+)\}", text("amiss-watch.service")))
    given = set(re.findall(r"(?m)^(\w+)=.", text("watch.env")))
    assert used == {"AMISS_SOURCE", "AMISS_ALERT"}
    assert used <= given


@pytest.mark.parametrize("name", ["amiss-watch.service", "compose.yaml"])
def test_service_and_container_give_the_same_flags(name: str):
    """Each has a state, a sink, a budget, figures and logs for programs."""
    line = uncommented(name)
    command = line[line.find("amiss watch" if name.endswith(".service") else "command:") :]
    command = command.partition("\n\n" if name.endswith(".service") else "volumes:")[0]
    assert set(re.findall(r"(?<![\w-])--[a-z-]+", command)) == FLAGS


def test_what_the_image_copies_is_there(repository: Path):
    """All sources of the build lie at the top of the repository."""
    copied = re.findall(r"(?m)^COPY (?!--)(.+) \S+$", text("Containerfile"))
    names = " ".join(copied).split()
    assert "src" in names
    assert [name for name in names if not (repository / name).exists()] == []


def test_readme_names_only_figures_that_there_are():
    """What it tells to alarm on is measured."""
    from amiss.metrics import Metrics

    metrics = Metrics()
    metrics.batch(events=1, seconds=0.1, rejected={"not JSON": 1})
    metrics.outbox("mail", pending=0, dead=0)
    named = set(re.findall(r"amiss_[a-z_]+", text("README.md")))
    assert {name for name in named if name not in metrics.text()} == set()
    assert len(named) == 4
