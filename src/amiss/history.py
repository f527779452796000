"""How groups of users went on from day to day: their sizes, who went where, what each action cost, where users stand.

All of it follows from which group each user was in after each day, and from what those who came did. Days are those of
the grouping: one for all events where they were grouped together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from hashlib import blake2b
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from amiss import embedding, surprisal
from amiss.grouping import Flags, Floats, Ints, Rows
from amiss.vocabulary import Vocabulary

AWAY: Final = 0
"""Where those are who were known and did not come on a day, instead of the number of a group."""

NEW: Final = -1
"""Where those were who first came on a day."""

FITTED_DAYS: Final = 7
"""Days that the axes of a map are fitted to; later ones are placed by the same axes."""

MOST_DRAWN: Final = 700
"""Users of a map, about."""

FEW: Final = 40
"""Users of each group that are on a map at least, on each day, unless there are very many groups."""

SIZE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "day": pl.Date(),
    "group": pl.Int64(),
    "members": pl.Int64(),
    "came": pl.Int64(),
}
FLOW_SCHEMA: Final[dict[str, pl.DataType]] = {
    "day": pl.Date(),
    "left": pl.Int64(),
    "joined": pl.Int64(),
    "users": pl.Int64(),
}
PLACE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "day": pl.Date(),
    "user": pl.String(),
    "group": pl.Int64(),
    "x": pl.Float64(),
    "y": pl.Float64(),
}

_PRICED: Final[dict[str, pl.DataType]] = {
    "user": pl.UInt32(),
    "action": pl.UInt32(),
    "failure": pl.Boolean(),
    "events": pl.Int64(),
    "surprisal": pl.Float64(),
}


class Day(NamedTuple):
    """A day: what those who came did, as rows and as steps of surprisal, and each user's group after it (-1: none)."""

    day: date
    rows: Rows
    steps: pl.DataFrame
    group: Ints


@dataclass(frozen=True)
class History:
    """What became of users in groups, day by day.

    Attributes
    ----------
    days
        The days, first to last.
    users, actions
        The names of users and actions by code.
    context : (cells,)
        What each cell of the days' rows comes after.
    sources
        Where the events came from.
    """

    days: Sequence[Day] = ()
    users: Vocabulary = field(default_factory=Vocabulary)
    actions: Vocabulary = field(default_factory=Vocabulary)
    context: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    sources: Sequence[str] = ()

    def sizes(self) -> pl.DataFrame:
        """How many members each group has after each day, and how many of them came: (d x g, 4).

        Columns `day`, `group`, `members`, `came`; a row for each day and each group that ever had members.
        """
        groups = 1 + max((int(each.group.max(initial=-1)) for each in self.days), default=-1)
        rows = [
            (each.day, number + 1, int(members), int(came))
            for each in self.days
            for number, (members, came) in enumerate(
                zip(_sizes(each.group, groups), _sizes(each.group[each.rows.users], groups), strict=True)
            )
        ]
        found = pl.DataFrame(rows, schema=SIZE_SCHEMA, orient="row")
        return found.filter(pl.col("members").max().over("group") > 0)

    def flows(self) -> pl.DataFrame:
        """How many users went from which group on one day to which on the next: (f, 4).

        Columns `day` (the later one), `left`, `joined` and `users`. Who was known and did not come is :data:`AWAY`, who
        first came :data:`NEW`. Sorted by day, left and joined.
        """
        found = [_flow(first, second) for first, second in zip(self.days, self.days[1:], strict=False)]
        return pl.concat([pl.DataFrame(schema=FLOW_SCHEMA), *found])

    def surprisal(self) -> pl.DataFrame:
        """What actions add to the surprisal of a member, by group: (n, 4).

        Columns `group`, `action` (with ✗ where it failed), `surprisal` and `events`, both a member on average, on the
        last day that each came. Prices are those of the whole log's table (:func:`amiss.surprisal.transitions`).
        """
        table = surprisal.transitions(surprisal.merge(*(each.steps.drop("user") for each in self.days)))
        parts = [
            surprisal.priced(steps, table, by=("user", "action", "failure"))
            for steps in self._last_steps()
            if len(steps)
        ]
        priced = pl.concat([pl.DataFrame(schema=_PRICED), *parts])
        last = self.days[-1].group if self.days else np.zeros(0, dtype=np.int64)
        members = pl.Series(_sizes(last, 1 + int(last.max(initial=-1))), dtype=pl.Int64)
        group = pl.lit(pl.Series(last + 1, dtype=pl.Int64)).gather(pl.col("user"))
        sums = priced.group_by(group.alias("group"), "action", "failure").agg(pl.sum("surprisal", "events"))
        of = pl.lit(members).gather(pl.col("group") - 1)
        mark = pl.when("failure").then(pl.lit(" ✗")).otherwise(pl.lit(""))
        word = pl.lit(self.actions.texts()).gather(pl.col("action")) + mark
        told = sums.select("group", word.alias("action"), pl.col("surprisal") / of, pl.col("events") / of)
        return told.sort("group", "surprisal", "action", descending=[False, True, False])

    def places(self, most: int = MOST_DRAWN) -> pl.DataFrame:
        """Where users stand on a map, on each day that they came: (p, 5) columns `day`, `user`, `group`, `x`, `y`.

        Users are near each other if what they did costs about the same by the chances of each group; one step is a bit
        an event. Axes and chances are those of the first :data:`FITTED_DAYS` days. Of large groups some users are
        taken, by a hash of their name and so the same ones on all days; of each group on each day :data:`FEW` at least,
        or all, but fewer where there are very many groups.
        """
        drawn = self._drawn(most)
        if not drawn.any():
            return pl.DataFrame(schema=PLACE_SCHEMA)
        fitted = self.days[:FITTED_DAYS]
        bits = embedding.costs(self._counts(fitted), self.context)
        usual = bits.T @ sum(each.rows.seen(len(self.context)) for each in fitted)
        usual /= sum(each.rows.times.sum() for each in fitted)
        chosen = [_rows_of(each.rows, drawn[each.rows.users]) for each in self.days]
        points = [embedding.features(rows, bits, usual) for rows in chosen]
        groups = [each.group[rows.users] for each, rows in zip(self.days, chosen, strict=True)]
        axes = embedding.fit(np.vstack(points[:FITTED_DAYS]), _weights(np.concatenate(groups[:FITTED_DAYS])))
        names = self.users.texts()
        parts = [
            _placed(each.day, names.gather(rows.users), group, axes.place(found))
            for each, rows, group, found in zip(self.days, chosen, groups, points, strict=True)
        ]
        return pl.concat(parts).sort("day", "user")

    def _last_steps(self) -> Iterator[pl.DataFrame]:
        """The steps of users on the last day that each came."""
        last = np.full(len(self.users), -1, dtype=np.int64)
        for number, each in enumerate(self.days):
            last[each.rows.users] = number
        for number, each in enumerate(self.days):
            users = pl.Series(np.flatnonzero(last == number), dtype=pl.UInt32)
            yield each.steps.filter(pl.col("user").is_in(users.implode()))

    def _drawn(self, most: int) -> Flags:
        """Which users are on the map: those whose hash comes first, of all and, on each day, of each group."""
        rank = np.array([_hash(name) for name in self.users.texts()], dtype=np.uint64)
        known = (self.days[-1].group >= 0) if self.days else np.zeros(0, dtype=np.bool_)
        found: Flags = known & (rank / 2.0**64 < most / max(1, int(known.sum())))
        groups = 1 + max((int(each.group.max(initial=-1)) for each in self.days), default=-1)
        few = min(FEW, max(3, most // (2 * max(1, groups))))
        for each in self.days:
            came = each.rows.users[np.argsort(rank[each.rows.users], kind="stable")]
            order = np.argsort(each.group[came], kind="stable")
            owner = each.group[came[order]]
            place = np.arange(len(owner)) - np.searchsorted(owner, owner)
            found[came[order[place < few]]] = True
        return found

    def _counts(self, days: Sequence[Day]) -> Floats:
        """What members did on some days, by the group that they were in: (groups, cells)."""
        groups = 1 + max((int(each.group.max(initial=-1)) for each in days), default=-1)
        found = np.zeros(groups * len(self.context))
        for each in days:
            owner = np.repeat(each.group[each.rows.users], np.diff(each.rows.first))
            found += np.bincount(owner * len(self.context) + each.rows.cell, each.rows.times, len(found))
        return found.reshape(groups, -1)


def _sizes(group: Ints, groups: int) -> Ints:
    """How many are in each group."""
    found: Ints = np.bincount(group[group >= 0], minlength=groups).astype(np.int64)
    return found


def _flow(first: Day, second: Day) -> pl.DataFrame:
    """How many users went from where to where."""
    frame = pl.DataFrame({"left": _where(first), "joined": _where(second)}).filter(pl.col("joined") != NEW)
    counted = frame.group_by("left", "joined").agg(users=pl.len().cast(pl.Int64)).sort("left", "joined")
    return counted.select(pl.lit(second.day).alias("day"), "left", "joined", "users")


def _where(day: Day) -> Ints:
    """Where each user was on a day: the number of a group, away, or not known yet."""
    found = np.where(day.group < 0, NEW, AWAY)
    found[day.rows.users] = day.group[day.rows.users] + 1
    return found


def _hash(name: str) -> int:
    """A number that follows from the name alone."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _rows_of(rows: Rows, wanted: Flags) -> Rows:
    """Some of the rows."""
    lengths = np.diff(rows.first)
    kept = np.repeat(wanted, lengths)
    first = np.concatenate([[0], np.cumsum(lengths[wanted])]).astype(np.int64)
    return Rows(rows.users[wanted], first, rows.cell[kept], rows.times[kept])


def _weights(group: Ints) -> Floats:
    """Weights of users with which a group counts as the root of its members; a smaller one than 2 % as part of such."""
    sizes = np.bincount(group)
    found: Floats = 1.0 / np.sqrt(np.maximum(sizes, len(group) / 50))[group]
    return found


def _placed(day: date, names: pl.Series, group: Ints, places: Floats) -> pl.DataFrame:
    """The places of some users on a day."""
    columns = {"user": names, "group": group + 1, "x": places[:, 0], "y": places[:, 1]}
    return pl.DataFrame(columns).select(pl.lit(day).alias("day"), pl.all()).cast(pl.Schema(PLACE_SCHEMA))
