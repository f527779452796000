"""Fixtures that every test may use, and one environment for all of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

QUIET = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "80", "TZ": "UTC"}

settings.register_profile("default", max_examples=30, deadline=None)
settings.register_profile(
    "ci", max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_configure() -> None:
    """Give this process and all it starts the same plain 80-column terminal, in UTC."""
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS"):
        os.environ.pop(name, None)
    os.environ.update(QUIET)


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
