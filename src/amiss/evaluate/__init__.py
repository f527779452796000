"""Quality, measured: on simulations whose truth is known, and on published data by the protocols that others used.

Each evaluation is a module here with a function `evaluate`: of those in `SIMULATED` it takes seeds and a number of
users, of those in `PUBLISHED` the place of the data. Any log with labels: :mod:`amiss.evaluate.file`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from amiss.errors import UsageError, nearest
from amiss.evaluate.measured import Measured

SIMULATED: Final[Mapping[str, str]] = MappingProxyType({
    "marketplace": "simulated marketplaces: bots, spammers, fraudsters and attackers, beside the optimum",
    "logins": "simulated logins: stolen passwords, password spraying, stolen sessions",
    "purchases": "simulated purchases among friends: who spends far more, beside rule and optimum",
    "curriculum": "simulated readers of lessons: scrapers, surges, silences, beside the optimum",
})  # fmt: skip
"""What is evaluated on simulations, by the name of its module, and what each is about."""

PUBLISHED: Final[Mapping[str, str]] = MappingProxyType({
    "fraud-handbook": "the Fraud Detection Handbook: card transactions, without labels and with late feedback",
    "hdfs": "sessions of a file system: blocks that went wrong, by the events logged of each",
    "nab": "the Numenta Anomaly Benchmark: anomalies in 58 series of numbers",
    "schonlau": "Schonlau's masqueraders: somebody else's commands among those of 50 users",
})  # fmt: skip
"""What is evaluated on published data, by the name of its module, and what each is about."""

EVALUATIONS: Final[Mapping[str, str]] = MappingProxyType({**SIMULATED, **PUBLISHED})
"""All that can be evaluated without a log of one's own."""

__all__ = ["EVALUATIONS", "PUBLISHED", "SIMULATED", "Measured", "evaluate"]


def evaluate(
    name: str, data: Path | None = None, *, seeds: Sequence[int] | None = None, users: int | None = None
) -> Measured:
    """The figures of an evaluation.

    Parameters
    ----------
    name
        One of `EVALUATIONS`.
    data
        Where its published data are; of simulations nothing.
    seeds, users
        Of simulations, where they begin and how many users they have; the evaluation's own when left out.

    Raises
    ------
    UsageError
        If there is no such evaluation, or it takes no such parameter.
    SourceError
        If the data are absent, or others.
    """
    if name not in EVALUATIONS:
        known = [*EVALUATIONS, "file"]
        raise UsageError(f"{name} is no evaluation.{nearest(name, known)} There are: {', '.join(known)}")
    module: Any = import_module(f"amiss.evaluate.{name.replace('-', '_')}")
    given = {key: value for key, value in (("seeds", seeds), ("users", users)) if value is not None}
    _check(name, data, given)
    measured: Measured = module.evaluate(**given) if name in SIMULATED else module.evaluate(data)
    return measured


def _check(name: str, data: Path | None, given: Mapping[str, object]) -> None:
    """Refuse what does not go with an evaluation."""
    if name in SIMULATED and data is not None:
        raise UsageError(f"{name} is simulated and reads no data: leave out --data")
    if name in PUBLISHED and data is None:
        raise UsageError(f"{name} is of published data: say where they are with --data DIR")
    if name in PUBLISHED and given:
        flags = ", ".join({"seeds": "--seed", "users": "--users"}[key] for key in given)
        raise UsageError(f"{name} is of published data, not simulated: leave out {flags}")
