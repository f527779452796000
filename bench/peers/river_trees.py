"""river: half-space trees on features scaled to 0..1, all learned as they come."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from bench.peers.cases import Cases, Floats

MOST = 5_000
"""Cases of the past that it learns from, the last ones; its windows are 250 cases."""


def scores(past: Cases, today: Cases) -> Floats:
    """What trees say of each case before they learn from it."""
    from river import anomaly, compose, preprocessing

    model = compose.Pipeline(preprocessing.MinMaxScaler(), anomaly.HalfSpaceTrees(seed=1))
    for row in rows(past.features[-MOST:]):
        model.learn_one(row)
    found = []
    for row in rows(today.features):
        found.append(model.score_one(row))
        model.learn_one(row)
    return np.array(found)


def rows(features: Floats) -> Iterator[dict[int, float]]:
    """Cases as river takes them."""
    return (dict(enumerate(row)) for row in features.tolist())
