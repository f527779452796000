"""pandas, as notebooks have it: a table of surprisal by action and the one before it, and its sum for each user."""

from __future__ import annotations

import numpy as np
import pandas as pd
from bench.peers.cases import Cases, Floats

KEYS = ["action", "previous", "outcome"]


def scores(past: Cases, today: Cases) -> Floats:
    """The sum of bits of all steps; a step never seen costs what its action does, an action never seen what all do."""
    learned, judged = pairs(past), pairs(today)
    counts, totals = learned.value_counts(KEYS), learned["action"].value_counts()
    bits = -np.log2(counts / totals.reindex(counts.index.get_level_values("action")).to_numpy())
    known = bits.reindex(pd.MultiIndex.from_frame(judged[KEYS])).to_numpy()
    unseen = np.log2(totals.reindex(judged["action"]).fillna(len(learned)).to_numpy())
    sums = pd.Series(np.where(np.isnan(known), unseen, known)).groupby(judged["case"].to_numpy()).sum()
    return sums.reindex(range(len(today.user)), fill_value=0.0).to_numpy()


def pairs(cases: Cases) -> pd.DataFrame:
    """Steps with the action before each."""
    steps = pd.DataFrame(cases.steps.to_dict(as_series=False))
    steps["action"] = steps["state"].str.split(":").str[0]
    return steps.assign(previous=steps.groupby("case")["action"].shift().fillna(""))
