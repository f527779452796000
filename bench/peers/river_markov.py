"""river: a Markov chain of its multinomials, learned as it goes; a case has the mean surprisal of its steps."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from bench.peers.cases import Cases, Floats


def scores(past: Cases, today: Cases) -> Floats:
    """Bits a step, on average over the case."""
    from river import proba, stats

    after = defaultdict(proba.Multinomial)
    before: dict[int, str] = {}
    for case, state in past.steps.select("case", "state").iter_rows():
        after[before.get(case, "")].update(state)
        before[case] = state
    before, means = {}, defaultdict(stats.Mean)
    for case, state in today.steps.select("case", "state").iter_rows():
        chain = after[before.get(case, "")]
        means[case].update(-np.log2((chain(state) * chain.n_samples + 0.5) / (chain.n_samples + 1)))
        chain.update(state)
        before[case] = state
    return np.array([means[case].get() for case in range(len(today.user))])
