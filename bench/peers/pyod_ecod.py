"""PyOD: ECOD, tails of each feature by itself."""

from __future__ import annotations

import numpy as np
from bench.peers.cases import Cases, Floats


def scores(past: Cases, today: Cases) -> Floats:
    """How far out in the tails a case is."""
    from pyod.models.ecod import ECOD

    return np.asarray(ECOD().fit(past.features).decision_function(today.features))
