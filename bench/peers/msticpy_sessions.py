"""msticpy: anomalous_sequence, the likelihood of the rarest three commands of a session; a case is a session."""

from __future__ import annotations

import numpy as np
import polars as pl
from bench.peers.cases import Cases, Floats

WINDOW = 3


def scores(past: Cases, today: Cases) -> Floats:
    """Bits of the rarest window by the chances of the past; of all of a session that is shorter."""
    from msticpy.analysis.anomalous_sequence.model import Model
    from msticpy.analysis.anomalous_sequence.utils.cmds_only import rarest_window_session

    model = Model(sessions=sessions(past))
    model.train()
    chances = model.prior_probs, model.trans_probs
    tokens = {"start_token": model.start_token, "end_token": model.end_token}
    found = [
        rarest_window_session(one, *chances, min(WINDOW, len(one) + 1), use_start_end_tokens=True, **tokens)[1]
        for one in sessions(today)
    ]
    return -np.log2(np.maximum(found, 1e-300))


def sessions(cases: Cases) -> list[list[str]]:
    """The states of each case."""
    whole = cases.steps.group_by("case", maintain_order=True).agg(pl.col("state"))
    return whole.sort("case")["state"].to_list()
