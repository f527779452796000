"""Modules import only downwards, and `import amiss` stays light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("numba", "altair", "sklearn", "pandas", "pyspark", "pyarrow", "jinja2")


def python(code: str) -> subprocess.CompletedProcess[str]:
    """What a fresh interpreter makes of the code."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)


def seconds(code: str) -> float:
    """The processor time that the code takes in a fresh interpreter."""
    clock = "time.process_time()"
    return float(python(f"import time; began = {clock}\n{code}\nprint({clock} - began)").stdout)


def test_modules_import_only_from_lower_levels(repository: Path):
    """The contracts in pyproject.toml hold."""
    lint = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([lint, "--no-logo"], cwd=repository, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("module", ["amiss", "amiss.app", "amiss.cli"])
def test_importing_loads_nothing_heavy(module: str):
    """Importing amiss, its Python interface or its commands loads no compiler, no charts, no pandas."""
    run = python(f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])")
    assert run.stdout.strip() == "[]"


def test_touching_every_public_name_loads_nothing_heavy():
    """The names that `import amiss` offers are light as well."""
    code = "import sys, amiss; [getattr(amiss, name) for name in amiss.__all__]"
    run = python(f"{code}; print([name for name in {HEAVY} if name in sys.modules])")
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("code", ["import amiss", "import amiss; amiss.scan", "import amiss.cli"])
def test_importing_takes_less_than_half_a_second(code: str):
    """Importing costs under 0.5 s in one of five fresh interpreters: what other work takes from the rest counts not."""
    assert any(seconds(code) < 0.5 for _ in range(5))


def test_help_loads_no_data_frames():
    """`amiss --help` needs neither Polars nor NumPy, so it answers at once."""
    run = python("import sys, amiss.cli; print([name for name in ('polars', 'numpy') if name in sys.modules])")
    assert run.stdout.strip() == "[]"


def test_a_scan_loads_neither_pandas_nor_charts(tmp_path: Path):
    """A scan of a file leaves alone what only frames of others, charts and reports need."""
    log = tmp_path / "log.csv"
    log.write_text("time,user,action\n2026-01-05T09:00:00Z,ann,login\n2026-01-05T09:00:09Z,bob,login\n")
    heavy = ("pandas.core", "pyarrow.compute", "altair", "jinja2", "sklearn")
    code = f"import sys, amiss; amiss.scan({str(log)!r}); print([name for name in {heavy} if name in sys.modules])"
    assert python(code).stdout.strip() == "[]"
