"""Two other ways to the same surprisal: row by row as notebooks do it, and idiomatic pandas.

Both learn bits per (action, previous action) and sum them per user. The first counts every transition by masks over
the whole frame and walks the rows; the second shifts, counts and maps.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd


def frame(path: Path) -> pd.DataFrame:
    """The events of an NDJSON log."""
    events = pd.read_json(path, lines=True)
    return events.sort_values(["user", "time"], kind="stable", ignore_index=True)


def notebook(events: pd.DataFrame) -> dict[str, float]:
    """Bits per user: masks for every pair of actions, then row after row."""
    events = events.copy()
    events["previous"] = ""
    last: dict[str, str] = {}
    for row, event in events.iterrows():
        events.loc[row, "previous"] = last.get(event["user"], "")
        last[event["user"]] = event["action"]
    bits: dict[tuple[str, str, str], float] = {}
    for action in events["action"].unique():
        total = len(events[events["action"] == action])
        for previous in events["previous"].unique():
            for outcome in ("success", "failure"):
                both = (events["action"] == action) & (events["previous"] == previous)
                count = len(events[both & (events["outcome"] == outcome)])
                bits[action, previous, outcome] = -np.log2(max(count, 1) / total)
    users: dict[str, float] = {}
    for _, event in events.iterrows():
        surprisal = bits[event["action"], event["previous"], event["outcome"]]
        users[event["user"]] = users.get(event["user"], 0.0) + surprisal
    return users


def idiomatic(events: pd.DataFrame) -> dict[str, float]:
    """The same numbers without a loop."""
    keys = pd.DataFrame(
        {
            "action": events["action"],
            "previous": events.groupby("user", sort=False)["action"].shift().fillna(""),
            "outcome": events["outcome"],
        }
    )
    counts = keys.value_counts()
    totals = events["action"].value_counts()
    bits = -np.log2(counts / totals.reindex(counts.index.get_level_values("action")).to_numpy())
    surprisal = pd.MultiIndex.from_frame(keys).map(bits)
    return pd.Series(np.asarray(surprisal, float)).groupby(events["user"], sort=False).sum().to_dict()
