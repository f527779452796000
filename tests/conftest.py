"""Fixtures that every test may use, and one environment for all of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from tests.commands import Ran, Run, ended
from tests.couch_server import INSTALL, Server, binary
from tests.couch_stub import Stub, serving

PARTS = (("logins",), ("marketplace", "purchases"))
"""What compiles about half of all kernels each."""

if TYPE_CHECKING:
    from tests.databases import Database as SqlDatabase

QUIET = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "80", "TZ": "UTC"}

settings.register_profile("default", max_examples=30, deadline=None)
settings.register_profile(
    "ci", max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", max_examples=300, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_configure() -> None:
    """Give this process and all it starts the same plain 80-column terminal, in UTC, and ears for Control-C."""
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS"):
        os.environ.pop(name, None)
    os.environ.update(QUIET)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so a shell starts what runs in its background
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def compiled(request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Kernels on disk before the first test: on a fresh machine each worker compiles a part, instead of all of them."""
    worker = getattr(request.config, "workerinput", {"workerid": "gw0", "workercount": 1})
    if any(repository.glob("src/amiss/detect/__pycache__/*.nbc")):
        return
    folder = tmp_path_factory.mktemp("compiled")
    for simulated in chain(*PARTS[int(worker["workerid"][2:]) :: worker["workercount"]]):
        log, state = str(folder / f"{simulated}.jsonl"), str(folder / f"{simulated}.db")
        assert ended("simulate", simulated, "--users", "20", "--quiet", "-o", log) == 0
        assert ended("scan", log, "--output", str(folder / "found")) == 0
        assert ended("learn", log, "--state", state, "--quiet") == 0


@pytest.fixture(scope="session")
def repository() -> Path:
    """The directory that holds pyproject.toml."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data(repository: Path) -> Path:
    """The directory of shared test data: $AMISS_DATA, or ../shared/data beside the repository."""
    place = Path(os.environ.get("AMISS_DATA") or repository.parent / "shared" / "data").resolve()
    if not place.is_dir():
        pytest.skip(f"no shared test data at {place}; set AMISS_DATA to its directory")
    return place


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Ran:
        status = ended(*words)
        return Ran(status, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two small days of a simulated marketplace."""
    folder = tmp_path_factory.mktemp("days")
    market = ["simulate", "marketplace", "--users", "300", "--seed", "3", "--quiet"]
    for name, date in (("monday", "2026-01-05"), ("tuesday", "2026-01-06")):
        assert ended(*market, "--date", date, "-o", str(folder / f"{name}.jsonl")) == 0
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server of CouchDB's protocol; who kills it starts it again."""
    if binary() is None:
        pytest.skip(f"no server to start: {INSTALL}")
    started = Server(tmp_path_factory.mktemp("couch"))
    yield started
    started.stop()


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A server of our own, which also speaks CouchDB's protocol wrongly."""
    with serving(Stub()) as started:
        yield started


def _shared_root(factory: pytest.TempPathFactory) -> Path:
    """A directory that all workers of a run share."""
    base = factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlDatabase]:
    """A database of a real MariaDB."""
    from tests.databases import opened

    with opened("mariadb", tmp_path_factory.mktemp("mariadb"), _shared_root(tmp_path_factory)) as found:
        yield found


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlDatabase]:
    """A database of a real PostgreSQL."""
    from tests.databases import opened

    with opened("postgresql", tmp_path_factory.mktemp("postgresql"), _shared_root(tmp_path_factory)) as found:
        yield found


@pytest.fixture(params=["sqlite", "mariadb", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlDatabase]:
    """A database of each kind in turn."""
    from tests.databases import opened

    if request.param == "sqlite":
        with opened("sqlite", tmp_path, tmp_path) as found:
            yield found
    else:
        yield request.getfixturevalue(request.param)
