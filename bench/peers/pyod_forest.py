"""PyOD: isolation forest."""

from __future__ import annotations

import numpy as np
from bench.peers.cases import Cases, Floats

TREES = 200


def scores(past: Cases, today: Cases) -> Floats:
    """How easily trees isolate a case."""
    from pyod.models.iforest import IForest

    return np.asarray(IForest(n_estimators=TREES, random_state=1).fit(past.features).decision_function(today.features))
