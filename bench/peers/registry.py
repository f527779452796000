"""Who is measured beside amiss, on what, and why not on the rest."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from bench.peers.cases import Scores

TASKS = ("marketplace", "logins", "purchases", "curriculum")
NO_STEPS = "it judges sequences of commands; here a case is no sequence"
RULES = "another notebook's rule stands for it, computed in its own row"


class Peer(NamedTuple):
    """A way of others.

    Attributes
    ----------
    module, package
        Where it is, and what has to be installed.
    not_for
        Tasks that it does not apply to, and why.
    """

    module: str
    package: str
    not_for: Mapping[str, str] = MappingProxyType({})


SEQUENCES = dict.fromkeys(("logins", "purchases", "curriculum"), NO_STEPS)

PEERS: Mapping[str, Peer] = MappingProxyType({
    "river, half-space trees": Peer("river_trees", "river"),
    "river, Markov": Peer("river_markov", "river", SEQUENCES),
    "PyOD, ECOD": Peer("pyod_ecod", "pyod"),
    "PyOD, isolation forest": Peer("pyod_forest", "pyod"),
    "msticpy, anomalous_sequence": Peer("msticpy_sessions", "msticpy", SEQUENCES),
    "scikit-learn, OneClassSVM": Peer("support_vectors", "scikit-learn"),
    "pandas, surprisal as in notebooks": Peer("notebook", "pandas", dict.fromkeys(SEQUENCES, RULES)),
})  # fmt: skip

OWN: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "marketplace": ("amiss", "optimum"),
    "logins": ("amiss", "country or device is new", "scikit-learn, OneClassSVM for each user", "optimum"),
    "purchases": ("amiss", "rule of three deviations", "optimum"),
    "curriculum": (
        "amiss",
        "amiss, by cohort",
        "pandas, Bollinger bands as in notebooks",
        "three deviations of 91 days",
        "optimum",
    ),
})  # fmt: skip
"""Ways that a task brings itself."""

PACKAGES = ("amiss", "river", "pyod", "msticpy", "scikit-learn", "pandas", "polars", "numpy", "numba", "scipy")


def peer(name: str) -> Scores:
    """The function of a peer."""
    found: Scores = import_module(f"bench.peers.{PEERS[name].module}").scores
    return found


def absent(name: str) -> str:
    """Why a peer is not installed here; nothing if it is."""
    package = PEERS[name].package
    try:
        version(package)
    except PackageNotFoundError:
        return f"{package} is not installed: {_refused(package)}"
    return ""


def versions() -> dict[str, str]:
    """Versions of all that takes part."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = f"not installed ({_refused(name)})"
    return found


def _refused(package: str) -> str:
    """What pip said when a package could not be installed."""
    noted = Path(sys.prefix) / "refused.json"
    reasons = json.loads(noted.read_text(encoding="utf-8")) if noted.exists() else {}
    return next((why for name, why in reasons.items() if name.startswith(package)), "nobody installed it")
