"""The groups of a state: found from the counts that it keeps of users by day, with numbers that stay.

Groups go on from day to day as those of a log do (:mod:`amiss.behaviour`). A day that has closed is taken up once, when
groups are first asked for behind it, and how they stand then is kept in the state: what has a number has it for good,
and only what came since is looked at. The day that is open is looked at anew each time; the groups that it shows keep
their numbers too. As nobody's evidence depends on groups, nothing of this is done while events come.

Who did nothing on any day that the state still has counts of is in no group.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from amiss import behaviour, surprisal, watch
from amiss.behaviour import CELL_SCHEMA, Days, Founded, Grouped, Kept, Period
from amiss.detect.sequence import ACTION
from amiss.detect.sequence import Sequence as Actions
from amiss.errors import StateError, UsageError
from amiss.events import OUTCOMES
from amiss.grouping import Ints, scrambled
from amiss.history import Day
from amiss.sessions import START
from amiss.store import Store
from amiss.vocabulary import Coding

SHOWN: Final = 10
"""Days that pictures and sizes are of, the last ones."""

TRIES: Final = 5
"""How often groups are asked for anew where somebody else asks at the same time."""

NONE: Final = Founded(pl.DataFrame(schema={"size": pl.Float64()}), pl.DataFrame(schema=CELL_SCHEMA))
"""No groups."""

_BEGUN: Final[dict[str, pl.DataType]] = {"window": pl.Int64(), "order": pl.Int64()}
_STAND: Final[dict[str, pl.DataType]] = {"user": pl.UInt32(), "group": pl.Int64()}
_CLOSED: Final[dict[str, pl.DataType]] = {"day": pl.Date()}
_OPEN: Final[dict[str, pl.DataType]] = {"day": pl.Date(), "digest": pl.UInt64()}
_FAILURE: Final = OUTCOMES.index("failure")


class Counted(NamedTuple):
    """What a state holds: each day's counts (user, previous, state, count), and how much of it has closed."""

    coding: Coding
    days: Mapping[date, pl.DataFrame]
    closed: int


@dataclass
class Ledger:
    """What users did by the counts of a state; which event came when is not known."""

    coding: Coding
    last_day: dict[int, date]
    sources: Sequence[str]
    counts: Sequence[pl.DataFrame]

    def investigated(self, names: Sequence[str]) -> pl.DataFrame:
        """How often users did each action with each outcome."""
        codes = [code for code in map(self.coding.users.find, names) if code is not None]
        theirs = pl.concat([each.filter(pl.col("user").is_in(codes)) for each in self.counts])
        sums = theirs.group_by("user", "state").agg(pl.sum("count"))
        users, actions = self.coding.users.texts(), self.coding.actions.texts()
        state = sums["state"].cast(pl.Int64)
        named = pl.DataFrame(
            {
                "user": users.gather(sums["user"]),
                "outcome": pl.Series(OUTCOMES).gather(state % len(OUTCOMES)),
                "action": actions.gather(state // len(OUTCOMES)),
                "count": sums["count"],
            }
        )
        return behaviour.by_outcome(named)

    def told(self, _name: str, _day: date, /) -> list[tuple[str, str, int]]:
        """Nothing: counts do not say what came when."""
        return []


def groups_of(store: Store, *, window: int | None = None) -> Grouped:
    """The groups of the users of a state, with the labels that it has.

    What is new since they were asked for last is taken up, and kept in the state.

    Parameters
    ----------
    store
        Opened to be read or to be written; a watch may write it meanwhile.
    window
        Judge users by so many days, the last one theirs: of groups that are new, 1 unless given. Groups of another
        window begin anew, unless one of them has a label.

    Raises
    ------
    StateError
        If the state counts no actions, or nothing yet.
    UsageError
        If groups of another window have labels.
    """
    if window is not None and window < 1:
        raise UsageError(f"a window is a number of days, at least 1. Found: {window}")
    for _ in range(TRIES):
        with store.view():
            version, kept, counted = store.groups_version(), store.groups(), _counted(store)
            tables = _of_window(kept, window, own_labels(store))
        closed = _closed(counted, tables)
        found, today = _today(counted, tables | closed, str(store.path))
        changed = closed | today
        if not changed or not os.access(store.path, os.W_OK):
            break
        if store.put_groups(changed, dropped=_old(counted, kept, tables), version=version):
            break
    return found.labelled(store.labels_by_user(), own_labels(store))


def own_labels(store: Store) -> dict[int, str]:
    """The labels of the groups of a state, by number; not of those whose members a file named."""
    return {int(each.subject): str(each.label) for each in store.labels("group") if each.via == each.subject}


def _of_window(kept: dict[str, pl.DataFrame], window: int | None, own: Mapping[int, str]) -> dict[str, pl.DataFrame]:
    """What was kept of groups that judge by so many days; where others were, the beginning of new ones."""
    begun = int(kept["begun"]["window"][0]) if kept else None
    if kept and window in {None, begun}:
        return kept
    if begun is not None and own:
        said = ", ".join(map(str, sorted(own)))
        raise UsageError(
            f"the groups of this state were begun with a window of {begun}, and some have labels ({said}): a window of "
            f"{window} would begin them anew, with other numbers. Leave it out, or remove those labels first"
        )
    return {"begun": pl.DataFrame([(window or 1, None)], schema=_BEGUN, orient="row")}


def _counted(store: Store) -> Counted:
    """What the users of a store did by day, the open day last."""
    settings, family = watch.remembered(store), Actions.counts
    if settings is None or family not in {each.counts for each in settings.detectors}:
        raise StateError(f"{store.path} counts no actions: the detector sequence was not among those that began it")
    live = watch.recall(store, settings)
    open_day = live.current
    days = {
        day: _pairs(counts)
        for day, each, counts in store.counts()
        if each == family and (open_day is None or day < open_day.day)
    }
    days = {day: counts for day, counts in days.items() if len(counts)}
    today = None if open_day is None else _pairs(live.coded(open_day.tally.total()[family]))
    found = days | ({} if open_day is None or today is None or today.is_empty() else {open_day.day: today})
    if not found:
        raise StateError(f"{store.path} has seen no events yet: watch or learn a log first")
    return Counted(live.coding, found, len(days))


def _pairs(counts: pl.DataFrame) -> pl.DataFrame:
    """How often each user did what after what, by the counts of a day."""
    chosen = counts.filter(pl.col("feature") == ACTION)
    return chosen.select("user", pl.col("given").alias("previous"), pl.col("value").alias("state"), "count")


def _closed(counted: Counted, tables: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """How groups stand behind the days that have closed since; nothing where there are none."""
    begun = _begun(tables)
    days = list(counted.days)[: counted.closed]
    known = 0 if begun is None else sum(day <= begun.day for day in days)
    if known == len(days):
        return {}
    followed = _followed(counted, days, tables, "")
    for number in range(known, len(days)):
        followed.settle(number)
    kept = followed.kept()
    shown = _shown(days)
    stand = {f"day/{each.day}": _standing(each) for each in followed.ended if each.day in shown}
    return {
        "closed": pl.DataFrame([(kept.day,)], schema=_CLOSED, orient="row"),
        "groups": kept.groups,
        "cells": kept.cells,
        "members": kept.members,
        "moves": kept.moves.filter(pl.col("day").is_in(shown)),
        "changes": kept.changes,
        **{name: table for name, table in stand.items() if name not in tables},
        **_opened(tables, kept.order, (None, None), [NONE, NONE]),
    }


def _today(
    counted: Counted, tables: Mapping[str, pl.DataFrame], source: str
) -> tuple[Grouped, dict[str, pl.DataFrame]]:
    """Groups as they stand with the day that is open, and what is to be kept of that.

    Where nothing came since this was asked for last, it begins with the same groups as then, and so comes out the same.
    """
    days = list(counted.days)
    followed = _followed(counted, days, tables, source)
    old = 0 if "groups" not in tables else len(tables["groups"])
    if len(days) > counted.closed:
        followed.settle(len(days) - 1)
    seen = (days[-1], _digest(counted.days[days[-1]]))
    if counted.closed == len(days) or _asked(tables) == seen:
        return followed.result(), {}
    before = _founded(counted, tables)
    return followed.result(), _opened(tables, followed.space.order, seen, [before, followed.founded(old)])


def _followed(counted: Counted, days: Sequence[date], tables: Mapping[str, pl.DataFrame], source: str) -> Days:
    """Groups as they stood when they were asked for last, on the way through some days."""
    begun, founded, shown = _begun(tables), _founded(counted, tables), _shown(days)
    last_day = {user: day for day in days for user in counted.days[day]["user"].unique().to_list()}
    ledger = Ledger(counted.coding, last_day, [source], list(counted.days.values()))
    periods = [Period(day, counted.days[day], _steps(counted.days[day], told=day in shown)) for day in days]
    window, order = tables["begun"].row(0)
    judged = [_judged(periods[: number + 1], begun, shown, window) for number in range(len(periods))]
    cells = pl.concat([founded.cells, *([] if begun is None else [begun.cells])])
    followed = Days(ledger, judged, order=order, cells=cells)
    known = 0
    if begun is not None:
        known = sum(day <= begun.day for day in days)
        followed.resume(begun, known)
    followed.found(founded)
    for number, day in enumerate(days[:known]):
        if day in shown and f"day/{day}" in tables:
            stood = _stood(tables[f"day/{day}"], len(counted.coding.users))
            followed.ended.append(Day(day, followed.rows[number], judged[number].steps, stood))
    return followed


def _judged(periods: Sequence[Period], begun: Kept | None, shown: Sequence[date], window: int) -> Period:
    """What the users of a day, the last of some, are judged by; of a day long past, those who did not come since."""
    last = periods[-1]
    if begun is not None and last.day <= begun.day and last.day not in shown:
        stayed = begun.members.filter(pl.col("last") == last.day).select("user")
        last = last._replace(counts=last.counts.join(stayed, on="user", how="semi"))
    return behaviour.within([*periods[:-1], last], window)


def _begun(tables: Mapping[str, pl.DataFrame]) -> Kept | None:
    """The groups that were kept behind the last day that had closed."""
    if "closed" not in tables:
        return None
    return Kept(
        tables["closed"]["day"][0],
        tables["begun"]["order"][0],
        *(tables[name] for name in ("groups", "cells", "members", "moves", "changes")),
    )


def _founded(counted: Counted, tables: Mapping[str, pl.DataFrame]) -> Founded:
    """The groups that the open day has shown so far; where nothing of it came since it was asked for, those before."""
    day, digest = _asked(tables)
    is_same = day is not None and day in counted.days and _digest(counted.days[day]) == digest
    name = "before" if is_same else "today"
    return Founded(tables[f"{name}/groups"], tables[f"{name}/cells"]) if f"{name}/groups" in tables else NONE


def _opened(
    tables: Mapping[str, pl.DataFrame],
    order: int,
    seen: tuple[date | None, int | None],
    founded: Sequence[Founded],
) -> dict[str, pl.DataFrame]:
    """What is to be kept of an open day as it was seen: the groups that it had shown before, and those now."""
    begun = tables["begun"].with_columns(order=pl.lit(order, pl.Int64))
    named = zip(("before", "today"), founded, strict=True)
    both = {f"{name}/{what}": table for name, each in named for what, table in each._asdict().items()}
    return {"begun": begun, "open": pl.DataFrame([seen], schema=_OPEN, orient="row"), **both}


def _asked(tables: Mapping[str, pl.DataFrame]) -> tuple[date | None, int | None]:
    """The day that was open when groups were asked for last, and the digest of what had been done on it."""
    return tables["open"].row(0) if "open" in tables else (None, None)


def _digest(counts: pl.DataFrame) -> int:
    """A number that tells counts apart, in whatever order their rows stand."""
    mixed = np.zeros(len(counts), dtype=np.uint64)
    for name in ("user", "previous", "state", "count"):
        mixed = scrambled(mixed + counts[name].cast(pl.Int64).to_numpy().astype(np.uint64))
    return int(mixed.sum(dtype=np.uint64))


def _shown(days: Sequence[date]) -> list[date]:
    """The days that pictures and sizes are of."""
    return list(days[-SHOWN:])


def _old(counted: Counted, kept: Mapping[str, pl.DataFrame], tables: Mapping[str, pl.DataFrame]) -> list[str]:
    """The tables that were kept and are of no use any more: of days that are shown no more, or of other groups."""
    days = {f"day/{day}" for day in _shown(list(counted.days))}
    return [name for name in kept if name not in tables or (name.startswith("day/") and name not in days)]


def _standing(day: Day) -> pl.DataFrame:
    """Who was in which group behind a day."""
    users = np.flatnonzero(day.group >= 0)
    return pl.DataFrame({"user": users.astype(np.uint32), "group": day.group[users]}, schema=_STAND)


def _stood(table: pl.DataFrame, users: int) -> Ints:
    """The group of each of so many users, -1 for none."""
    found: Ints = np.full(users, -1, dtype=np.int64)
    found[table["user"].to_numpy()] = table["group"].to_numpy()
    return found


def _steps(counts: pl.DataFrame, *, told: bool) -> pl.DataFrame:
    """The steps of surprisal that a day's counts stand for, the first of a session after nothing; none unless told."""
    state, before = pl.col("state"), pl.col("previous")
    previous = pl.when(before == START).then(surprisal.NO_ACTION).otherwise(before // len(OUTCOMES))
    steps = (counts if told else counts.clear()).select(
        "user",
        previous.cast(pl.UInt32).alias("previous"),
        (state // len(OUTCOMES)).cast(pl.UInt32).alias("action"),
        (state % len(OUTCOMES) == _FAILURE).alias("failure"),
        "count",
    )
    return steps.group_by("user", "previous", "action", "failure").agg(pl.sum("count")).sort("user")
