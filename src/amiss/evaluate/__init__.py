"""Quality, measured on published data by the protocols that others used; each evaluation is a module here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Final

from amiss.errors import UsageError, nearest
from amiss.evaluate.measured import Measured

EVALUATIONS: Final[Mapping[str, str]] = MappingProxyType({
    "nab": "the Numenta Anomaly Benchmark: anomalies in 58 series of numbers",
})  # fmt: skip
"""What can be evaluated, by the name of its module, and what each is about."""

__all__ = ["EVALUATIONS", "Measured", "evaluate"]


def evaluate(name: str, data: Path) -> Measured:
    """The figures of an evaluation.

    Parameters
    ----------
    name
        One of `EVALUATIONS`.
    data
        Where its published data are.

    Raises
    ------
    UsageError
        If there is no such evaluation.
    SourceError
        If the data are absent, or others.
    """
    if name not in EVALUATIONS:
        raise UsageError(f"{name} is no evaluation.{nearest(name, EVALUATIONS)} There are: {', '.join(EVALUATIONS)}")
    measured: Measured = import_module(f"amiss.evaluate.{name.replace('-', '_')}").evaluate(data)
    return measured
