"""Whom a watch knows: their risk now, and which detectors know them well enough."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.detect import Detector
from amiss.live import Live, Period
from amiss.spool import EPOCH

ACTIVE: Final = "active"
STALE: Final = "stale: nothing seen for {days} days"
AWAY: Final = "away: put out of memory, known again the day after they return"

_NEVER: Final = -1


@dataclass(frozen=True)
class Member:
    """A user: how much speaks against them now, 0 to 100, on how many days they were seen, and by detector its state.

    A detector is `active`, `learning: …` with what is missing, `stale: …` where nothing was seen for long, or `away: …`
    of users who are not in memory.
    """

    user: str
    risk: int
    last_day: date | None
    days: int
    detectors: dict[str, str]


class _Seen(NamedTuple):
    """By user: the last day on which they were seen, counted from 1970, and how many there were."""

    last: npt.NDArray[np.int64]
    days: npt.NDArray[np.int64]


def members(live: Live, now: datetime, *, user: str | None = None, most: int | None = None) -> list[Member]:
    """The users that a watch knows, those with the highest risk first, then those seen last.

    Parameters
    ----------
    live
        What is known of the stream.
    now
        The time; risk fades.
    user
        Only this one; nobody where there is none of that name.
    most
        So many at most.
    """
    seen, risks = _seen(live), _risks(live, now)
    if user is not None:
        code = live.coding.users.find(user)
        chosen = np.array([] if code is None else [code], dtype=np.int64)
    else:
        chosen = np.lexsort((np.arange(len(seen.last)), -seen.last, -risks))[:most]
    states = _states(live, chosen.astype(np.uint32), seen)
    return [
        Member(live.coding.users.text(code), int(risks[code]), _date(int(seen.last[code])), int(seen.days[code]), said)
        for code, said in zip(chosen.tolist(), states, strict=True)
    ]


def _seen(live: Live) -> _Seen:
    """When users were seen, over all days that are kept, by code."""
    seen = _Seen(np.full(len(live.coding.users), _NEVER), np.zeros(len(live.coding.users), dtype=np.int64))
    for day, tables in _days(live):
        users = np.unique(
            np.concatenate([np.zeros(0, dtype=np.uint32), *(table["user"].to_numpy() for table in tables)])
        )
        seen.last[users] = np.maximum(seen.last[users], (day - EPOCH).days)
        seen.days[users] += 1
    return seen


def _days(live: Live) -> Iterator[tuple[date, list[pl.DataFrame]]]:
    """The counts of each day, with codes of users."""
    for day, counts in live.history.judged.items():
        yield day, list((counts if live.seats is None else live.archive(day)).values())
    for period in _open(live):
        yield period.day, [live.coded(table) for table in period.tally.total().values()]


def _risks(live: Live, now: datetime) -> npt.NDArray[np.int64]:
    """The risk of each user: what they were told of for, today and before."""
    moment = int(now.timestamp() * 1e6)
    today = {
        live.code(user): max(float(period.standing.of(np.array([user]), "now")[0]), 0.0)
        for period in _open(live)
        for user in period.alarms
    }
    risks = np.zeros(len(live.coding.users), dtype=np.int64)
    for user in {*live.risks, *today}:
        risks[user] = live.risk(user, moment, today.get(user, 0.0))
    return risks


def _open(live: Live) -> list[Period]:
    """The day that is open."""
    return [] if live.current is None else [live.current]


def _states(live: Live, users: npt.NDArray[np.uint32], seen: _Seen) -> list[dict[str, str]]:
    """For each of some users the state of each detector."""
    here = [user for user in users.tolist() if live.find(user) is not None]
    seats = np.array([live.find(user) for user in here], dtype=np.uint32)
    away = dict.fromkeys(users.tolist(), AWAY)
    by_detector = {
        each.name: away | dict(zip(here, _ready(live, number, each, seats), strict=True))
        for number, each in enumerate(live.detectors)
    }
    stale = STALE.format(days=live.history.window.days)
    return [
        {name: stale if seen.last[user] == _NEVER else said[user] for name, said in by_detector.items()}
        for user in users.tolist()
    ]


def _ready(live: Live, number: int, detector: Detector[Any], users: npt.NDArray[np.uint32]) -> list[str]:
    """For each of some users the state of a detector."""
    period = live.current
    if period is None or period.panel is None:
        return ["learning: first day"] * len(users)
    if not period.levels:
        days = len(live.history.figures_before(period.day))
        return [f"learning: {days} of {live.learning} days"] * len(users)
    readiness = getattr(detector, "readiness", None)
    if readiness is None:
        return [ACTIVE] * len(users)
    missing = readiness(period.panel.baselines[number], users)
    return [f"learning: {said}" if said else ACTIVE for said in missing]


def _date(days: int) -> date | None:
    """A day that is counted from 1970."""
    return None if days == _NEVER else EPOCH + timedelta(days=days)
