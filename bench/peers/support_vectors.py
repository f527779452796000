"""scikit-learn: OneClassSVM of all users' cases, features standardised."""

from __future__ import annotations

import numpy as np
from bench.peers.cases import Cases, Floats

MOST = 5_000
"""Cases that it is trained with, drawn by lot: its time grows with their square."""


def scores(past: Cases, today: Cases) -> Floats:
    """How far outside of what it holds a case is."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import OneClassSVM

    drawn = np.random.default_rng(1).permutation(len(past.features))[:MOST]
    model = make_pipeline(StandardScaler(), OneClassSVM(nu=0.05, gamma="scale")).fit(past.features[drawn])
    return -np.asarray(model.decision_function(today.features))
