r"""The published model of logins: how much likelier everyone makes the features than the user does, linearly smoothed.

With the hierarchies `x` = address, network, provider, country and user agent, browser, device, each with everything at
its end, `u` the user, `N` counts of all logins and `U` the users::

    risk       = Pr[address]/Pr[address | u] * Pr[agent]/Pr[agent | u] * Pr[u | attack]/Pr[u]
    Pr[x]      = N(x) / (N + 1), of one that nobody showed 1 / (N + 1)
    Pr[x | u]  = sum over levels of share * Pr[level of x | u] * Pr[x | level of x]
    Pr[x | h]  = N(x) / (N(h) + 1), of one that nobody showed 1 / (N(h) + 1)
    Pr[u]      = N(u) / N,  Pr[u | attack] = 1 / U,  bits = log2(risk)

Attackers choose every user alike and behave as everyone does: no reputation of addresses. Pr[level | u] is the share of
the user's logins. Nothing is remembered while a period runs, and a user without logins gives no evidence. These bits
rank logins; as the features are not independent and Pr[u] compares users, they keep no law of chance.

Source
------
Freeman, Jain, Dürmuth, Biggio, Giacinto 2016, "Who Are You? A Statistical Approach to Measuring User Authenticity",
equation 7 without data on attacks, smoothed by linear interpolation; as told by the implementation of
Wiefling, Jørgensen, Thunem, Lo Iacono 2022 (github.com/das-group/rba-algorithm), which chose the shares .6, .3, .1 for
three levels. The shares here, with a last level that holds everything, are amiss's own.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from amiss.detect import Scores
from amiss.detect import login_kernel as kernel
from amiss.detect.login_normal import LoginBaseline, logins_of
from amiss.sessions import Events

PLACE: Final = (("address", 0.5), ("network", 0.2), ("provider", 0.15), ("country", 0.1), ("", 0.05))
"""The levels of a place, and their shares."""

AGENT: Final = (("agent", 0.5), ("browser", 0.25), ("device", 0.2), ("", 0.05))
"""The levels of what somebody came with, and their shares."""

_COUNTED: Final = {
    "address": (kernel.ADDRESS, "value"),
    "network": (kernel.ADDRESS, "given"),
    "provider": (kernel.PROVIDER, "value"),
    "country": (kernel.COUNTRY, "value"),
    "agent": (kernel.AGENT, "value"),
    "browser": (kernel.AGENT, "given"),
    "device": (kernel.DEVICE, "value"),
}
"""Where the counts of each level stand."""


def score(events: Events, baseline: LoginBaseline) -> Scores:
    """Bits and surprisal of grouped events."""
    logins, counts = logins_of(events), baseline.counts
    sides = {"given": logins.given, "value": logins.value}
    columns = {name: sides[side][feature] for name, (feature, side) in _COUNTED.items()}
    frame = pl.DataFrame({"user": events.user} | columns)
    by_user = _joined(frame, counts.filter(pl.col("feature") == kernel.DEVICE), ["user"])
    whole = float(counts.filter(pl.col("feature") == kernel.DEVICE)["count"].sum()) / kernel.ONE
    judged = (logins.login > 0) & (by_user > 0)
    everyone, user = (np.zeros(len(events)) for _ in range(2))
    for levels in (PLACE, AGENT):
        alone, own = _chances(frame, counts, levels, by_user, whole)
        everyone, user = everyone + np.log2(alone), user + np.log2(own)
    users = counts["user"].n_unique()
    bits = everyone - user + np.log2(max(whole, 1 / kernel.ONE) / (np.maximum(by_user, 1 / kernel.ONE) * max(users, 1)))
    return Scores(np.where(judged, bits, 0.0), np.where(judged, np.maximum(-user, 0.0), 0.0))


def _chances(
    frame: pl.DataFrame, counts: pl.DataFrame, levels: tuple[tuple[str, float], ...], by_user: np.ndarray, whole: float
) -> tuple[np.ndarray, np.ndarray]:
    """Everyone's chance and the user's of the first level."""
    exact = np.maximum(_everyones(frame, counts, levels[0][0]), 1.0)
    own = np.zeros(len(frame))
    for level, share in levels:
        if level:
            mine, all_ = _users(frame, counts, level), _everyones(frame, counts, level)
            own += (
                share
                * mine
                / np.maximum(by_user, 1 / kernel.ONE)
                * (1.0 if level == levels[0][0] else exact / (all_ + 1.0))
            )
        else:
            own += share * exact / (whole + 1.0)
    return exact / (whole + 1.0), own


def _users(frame: pl.DataFrame, counts: pl.DataFrame, level: str) -> np.ndarray:
    """How many logins of its user show the level of each login."""
    feature, column = _COUNTED[level]
    found = counts.filter(pl.col("feature") == feature).rename({column: level})
    return _joined(frame, found, ["user", level])


def _everyones(frame: pl.DataFrame, counts: pl.DataFrame, level: str) -> np.ndarray:
    """How many logins of everyone show the level of each login."""
    feature, column = _COUNTED[level]
    return _joined(frame, counts.filter(pl.col("feature") == feature).rename({column: level}), [level])


def _joined(frame: pl.DataFrame, counts: pl.DataFrame, keys: list[str]) -> np.ndarray:
    """The logins that counts hold of the keys of each row."""
    sums = counts.group_by(keys).agg(pl.col("count").sum() / kernel.ONE)
    found = frame.join(sums, on=keys, how="left", maintain_order="left")
    return found["count"].fill_null(0.0).to_numpy()
