"""Groups of users by behaviour, from sources to tables: who is alike, what each group does, and what changes by day.

What a user did is told as a chain of states (an action with its outcome) where that is shorter than state by state. A
chain alone would not mind a user who does something else altogether, once begun; so the shares of a user's states count
too, as :data:`SHARES` events.

A day's groups follow from the last that is known of each user: users who were away keep what they did, those who came
are judged by the day. Groups keep their number for good: they are born, split off, grow, shrink, merge, are emptied but
remembered, and return.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

import numpy as np
import polars as pl

from amiss import profiles, surprisal
from amiss.engine import coded_frames
from amiss.errors import UsageError, nearest
from amiss.events import OUTCOMES
from amiss.grouping import MOST_EVENTS, Cells, Floats, Groups, Ints, Rows
from amiss.history import Day, History
from amiss.labels import LABEL_COLUMNS, of_groups
from amiss.leader import Leaders
from amiss.sessions import START, Last, group
from amiss.sources import Source
from amiss.spool import Spool
from amiss.vocabulary import Coding

if TYPE_CHECKING:
    from amiss.cast import Chart

Method = Literal["bits", "seed001"]

METHODS: Final = ("bits", "seed001")

MOST_STATES: Final = 4_096
"""Actions with their outcomes that are told apart; rarer ones are one."""

SHARES: Final = 2.0
"""Events that the shares of a user's actions count as, beside what follows what."""

MOST_CELLS: Final = 20_000
"""Pairs of states beyond which groups look at states alone."""

MOST_NAMED: Final = 20
"""Groups that are all named where one is asked for that is not there."""

MOST_LABELLED: Final = 40
"""Users of a label that a limit is looked for with."""

GROUP_SCHEMA: Final[dict[str, pl.DataType]] = {
    "id": pl.Int64(),
    "members": pl.Int64(),
    "share": pl.Float64(),
    "bits": pl.Float64(),
    "bits_per_event": pl.Float64(),
    "does": pl.String(),
    "born": pl.Date(),
    "changed": pl.Date(),
    "change": pl.String(),
    "merged_into": pl.Int64(),
    **LABEL_COLUMNS,
}
MEMBER_SCHEMA: Final[dict[str, pl.DataType]] = {
    "user": pl.String(),
    "group": pl.Int64(),
    "since": pl.Date(),
    "last_day": pl.Date(),
    "events": pl.Int64(),
    "bits": pl.Float64(),
    "label": pl.String(),
}
MOVE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "day": pl.Date(),
    "user": pl.String(),
    "left": pl.Int64(),
    "joined": pl.Int64(),
    "bits": pl.Float64(),
    "reason": pl.String(),
}
CHANGE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "day": pl.Date(),
    "id": pl.Int64(),
    "change": pl.String(),
    "before": pl.Int64(),
    "after": pl.Int64(),
    "other": pl.Int64(),
    "bits": pl.Float64(),
    "reason": pl.String(),
}

CELL_SCHEMA: Final[dict[str, pl.DataType]] = {
    "group": pl.Int64(),
    "previous": pl.Int32(),
    "state": pl.Int32(),
    "times": pl.Float64(),
}
"""How often the members of a group showed a state after another one, both as codes."""

_EPOCH: Final = date(1970, 1, 1).toordinal()
_PAIR: Final = ("previous", "state")
_TOLD: Final = 3


class Period(NamedTuple):
    """What users did in a period: its first day, `counts` (user, previous, state, count), and surprisal's steps."""

    day: date
    counts: pl.DataFrame
    steps: pl.DataFrame


class Log(Protocol):
    """Where periods come from, and what else is to be told of their users."""

    coding: Coding
    last_day: dict[int, date]
    sources: Sequence[str]

    def investigated(self, names: Sequence[str]) -> pl.DataFrame:
        """How often users did each action with each outcome."""

    def told(self, name: str, day: date, /) -> list[tuple[str, str, int]]:
        """The actions and outcomes of a user on a day, runs of the same as one with their length; none if unknown."""


class Story(NamedTuple):
    """A member who is like the group, and what they did: steps and how often each came in a row."""

    user: str
    steps: list[tuple[str, str, int]]


@dataclass
class Grouped:
    """Users in groups by behaviour, as they stand after the last day.

    Attributes
    ----------
    groups : (g, 15)
        Largest first: `id`; `members`; their `share` of all users; `bits`, what a member costs on average in the
        group's chances (of :data:`amiss.grouping.MOST_EVENTS` events at most), and `bits_per_event`; what they do in
        words (`does`); the day it was `born`, and the one it last `changed`, with the `change`; for groups that are no
        more, what they were `merged_into`; and their labels, see :func:`amiss.labels.of_groups`.
    members : (u, 7)
        By name: `user`, `group`, `since` which day, the `last_day` that they did anything, their `events` then, the
        `bits` that these cost, and their `label`, null where nobody gave one.
    moves : (m, 6)
        Users who `left` a group and `joined` another on a `day`: by how many `bits` the new one explains what they did
        that day better, and what of it (`reason`). Most bits of a day first.
    changes : (c, 8)
        What became of a group on a day: `change` is born, split, grew, shrank, merged, emptied or returned; members
        `before` and `after`; the `other` group that it came from or went into; for a new one how many `bits` it saves
        beside the nearest other group, and by what its members differ (`reason`).
    order
        1 if groups look at what follows what, 0 if at what is done alone.
    limits : (l, 7) or None
        How well each limit tells labelled users apart (:func:`amiss.profiles.limits`), where labels were given.
    history
        Sizes, flows, surprisal by action and places on a map, day by day, which pictures are drawn from.
    """

    groups: pl.DataFrame
    members: pl.DataFrame
    moves: pl.DataFrame
    changes: pl.DataFrame
    order: int
    limits: pl.DataFrame | None = None
    history: History = field(default_factory=History, repr=False)
    _reader: Log | None = field(default=None, repr=False)

    def labelled(self, users: Mapping[str, str], groups: Mapping[int, str] | None = None) -> Grouped:
        """The same groups with the labels of some users, and of some groups by their number, in their tables.

        Examples
        --------
        >>> table = pl.DataFrame([(1, 2), (2, 1)], schema=["id", "members"], orient="row")
        >>> names = pl.DataFrame({"user": ["ann", "bob", "cid"], "group": [1, 1, 2]})
        >>> found = Grouped(table, names, pl.DataFrame(), pl.DataFrame(), 0).labelled({"ann": "bot"}, {2: "staff"})
        >>> found.groups.select("id", "label", "label_of", "labelled").rows()
        [(1, 'bot', 'members', 1), (2, 'staff', 'group', 0)]
        """
        known = pl.Series([users.get(name) for name in self.members["user"].to_list()], dtype=pl.String)
        members = self.members.with_columns(label=known)
        table = self.groups.drop(LABEL_COLUMNS, strict=False)
        return replace(self, groups=of_groups(table, members, groups or {}), members=members)

    def table(self, group: int) -> pl.DataFrame:
        """How often each member did each action with each outcome, by user and outcome.

        Returns
        -------
        table : (n, 2 + actions)
            `user`, `outcome`, and a column for each action that any member did, by name.

        Raises
        ------
        UsageError
            If there is no such group.
        """
        assert self._reader is not None
        return self._reader.investigated(self.members_of(group))

    def story(self, group: int) -> Story | None:
        """What a typical member did on their last day, runs of the same told once.

        None where nobody is left, and where the groups are those of a state, which keeps counts.

        Raises
        ------
        UsageError
            If there is no such group.
        """
        assert self._reader is not None
        names = self.members_of(group)
        known = self.members.filter(pl.col("user").is_in(names))
        if known.is_empty():
            return None
        usual = known.select(pl.sum("bits") / pl.sum("events")).item()
        off = (pl.col("bits") / pl.col("events") - usual).abs()
        enough = known.filter(pl.col("events") >= known["events"].median())
        user, day = enough.sort(off, "user").select("user", "last_day").row(0)
        steps = self._reader.told(user, day)
        return Story(user, steps) if steps else None

    def plot(self, kind: str = "sizes") -> Chart:
        """A chart of the groups; `.save` writes it.

        Parameters
        ----------
        kind
            `sizes` (users of each group, day by day), `actions` (surprisal by action, stacked), `map` (users as points,
            near each other if they behave alike) or `flow` (who went from which group to which).

        Raises
        ------
        UsageError
            If there is no such kind, if there are no users, or if a flow is asked for and there is one day.
        """
        from amiss.plots_groups import drawn

        return drawn(self, kind)

    def report(self, path: str | Path) -> None:
        """Write one self-contained HTML page that opens offline: the pictures, the groups, what changed and why.

        Raises
        ------
        SinkError
            If the file cannot be written.
        UsageError
            If there are no users.
        """
        from amiss.report_groups import write_report

        write_report(self, path)

    def members_of(self, group: int) -> list[str]:
        """The members of a group by name.

        Raises
        ------
        UsageError
            If there is no such group.
        """
        known = sorted(self.groups["id"])
        if group not in known:
            raise UsageError(f"there is no group {group}. {_there(group, known)}")
        return self.members.filter(pl.col("group") == group)["user"].to_list()


def _there(group: int, known: Sequence[int]) -> str:
    """Which groups there are; of many, those with the nearest numbers."""
    if not known:
        return "There are none"
    if len(known) <= MOST_NAMED:
        return f"There are {', '.join(map(str, known))}"
    near = sorted(sorted(known, key=lambda number: (abs(number - group), number))[:3])
    return f"There are {len(known)}, from {known[0]} to {known[-1]}; the nearest are {', '.join(map(str, near))}"


class Reader:
    """The events of some sources, by day, and what users did in words."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.coding = Coding()
        self.spool = Spool()
        self.last_day: dict[int, date] = {}
        self.sources: Sequence[str] = [source.url for source in sources]
        offset = 0
        for source in sources:
            for frame in coded_frames(source, self.coding):
                self.spool.add(frame.with_columns(pl.col("position") + offset))
            offset = len(self.spool)

    def periods(self, *, by_day: bool, window: int = 1) -> Iterator[Period]:
        """What users did day by day, with the days before that a window holds; or in all days together."""
        last, days = Last(), self.spool.days()
        found = [self._period(day, last) for day in days]
        if by_day or not found:
            yield from (within(found[: number + 1], window) for number in range(len(found)))
            return
        counts = pl.concat([each.counts for each in found]).group_by("user", *_PAIR).agg(pl.sum("count"))
        steps = pl.concat([each.steps for each in found])
        steps = steps.group_by("user", "previous", "action", "failure", maintain_order=True).agg(pl.sum("count"))
        yield Period(days[0], counts, steps)

    def _period(self, day: date, last: Last) -> Period:
        """What users did on a day, those who came first first in `steps`."""
        frame = self.spool.select(day, pl.lit(value=True))
        events = group(frame, last)
        pairs = events.frame().group_by("user", *_PAIR).agg(count=pl.len().cast(pl.Int64))
        order = frame.sort("time", "position").select("user").unique(keep="first", maintain_order=True)
        steps = order.join(surprisal.steps(events), on="user", how="left", maintain_order="left_right")
        self.last_day |= dict.fromkeys(order["user"].to_list(), day)
        return Period(day, pairs, steps)

    def investigated(self, names: Sequence[str]) -> pl.DataFrame:
        """How often users did each action with each outcome."""
        codes = [code for code in map(self.coding.users.find, names) if code is not None]
        which = pl.col("user").is_in(codes)
        found = pl.concat([self.coding.empty(), *(self.spool.select(day, which) for day in self.spool.days())])
        named = self.coding.decode(found).group_by("user", "outcome", "action").agg(count=pl.len().cast(pl.Int64))
        return by_outcome(named)

    def told(self, name: str, day: date) -> list[tuple[str, str, int]]:
        """The actions and outcomes of a user on a day, runs of the same as one with their length."""
        code = self.coding.users.find(name)
        found = self.spool.select(day, pl.col("user") == code).sort("time", "position")
        named = self.coding.decode(found).select("action", "outcome", run=pl.struct("action", "outcome").rle_id())
        runs = named.group_by("run", maintain_order=True).agg(pl.first("action", "outcome"), times=pl.len())
        return runs.select("action", "outcome", "times").rows()


def by_outcome(named: pl.DataFrame) -> pl.DataFrame:
    """A row for each user and outcome, a column for each action, of how often (`count`) users did what.

    Examples
    --------
    >>> named = pl.DataFrame({"user": ["ann"], "outcome": ["success"], "action": ["view"], "count": [2]})
    >>> by_outcome(named).to_dicts()
    [{'user': 'ann', 'outcome': 'success', 'view': 2}]
    """
    wide = named.pivot("action", index=["user", "outcome"], values="count", sort_columns=True).fill_null(0)
    return wide.sort("user", "outcome")


def states_of(actions: pl.Series) -> pl.Series:
    """The text of each state: the action, with ✗ where it failed."""
    marks = pl.Series(["", " ✗", ""])
    each = pl.int_range(len(actions) * len(OUTCOMES), eager=True)
    return actions.gather(each // len(OUTCOMES)) + marks.gather(each % len(OUTCOMES))


def within(periods: Sequence[Period], window: int) -> Period:
    """The last of some periods, with all that its users did in a window of so many days that ends with it."""
    last = periods[-1]
    recent = [each.counts for each in periods if (last.day - each.day).days < window]
    if len(recent) == 1:
        return last
    counts = pl.concat(recent).join(last.counts.select("user").unique(), on="user", how="semi")
    return last._replace(counts=counts.group_by("user", *_PAIR).agg(pl.sum("count")))


class Space:
    """The cells that groups look at, numbered by their texts, so that the order of events makes no difference."""

    def __init__(self, counts: pl.DataFrame, states: pl.Series, order: int) -> None:
        self.order = order
        total = counts.group_by("state").agg(pl.sum("count"))
        text = pl.col("state").replace_strict(pl.int_range(len(states), eager=True), states, return_dtype=pl.String)
        ranked = total.with_columns(text=text).sort("count", "text", "state", descending=[True, False, False])
        self._rare = ranked["state"][MOST_STATES:]
        shown = self._fewer(counts.lazy()).select(*_PAIR).unique()
        alone = shown.select(pl.lit(_ALL, pl.Int32).alias("previous"), "state").unique()
        pairs = (pl.concat([shown, alone]) if order else shown).collect()
        name = {START: "(start)", _OTHER: "(other)", _ALL: "(all)"} | dict(enumerate(states.to_list()))
        words = [pl.Series(each, [name[code] for code in pairs[each].to_list()], pl.String) for each in _PAIR]
        named = pairs.with_columns(words[0].alias("after"), words[1].alias("word"))
        named = named.sort(pl.col("previous") != _ALL, "after", "previous", "word", "state")
        self.pairs = named.with_row_index("cell").with_columns(pl.col("cell").cast(pl.Int64))
        contexts = self.pairs.select(context=pl.struct("after", "previous").rle_id().cast(pl.Int64))
        self.context: Ints = contexts["context"].to_numpy()
        self._shares = int((self.pairs["previous"] == _ALL).sum())
        assert (self.pairs["previous"][: self._shares] == _ALL).all(), "shares come first"

    def __len__(self) -> int:
        return len(self.pairs)

    def rows(self, counts: pl.DataFrame) -> Rows:
        """The counts of users as rows, ordered by user."""
        sums = self._fewer(counts.lazy()).group_by("user", *_PAIR).agg(times=pl.sum("count").cast(pl.Float64))
        events = pl.sum("times").over("user")
        shrunk = sums.with_columns(times=pl.col("times") * pl.min_horizontal(1.0, MOST_EVENTS / events))
        if self.order:
            share = pl.col("times") / events * SHARES
            shares = sums.with_columns(pl.lit(_ALL, pl.Int32).alias("previous"), share.alias("times"))
            shrunk = pl.concat([shrunk, shares.group_by("user", *_PAIR).agg(pl.sum("times"))])
        cells = shrunk.join(self.pairs.lazy().select(*_PAIR, "cell"), on=_PAIR).sort("user", "cell").collect()
        user, cell = (cells[name].cast(pl.Int64).to_numpy() for name in ("user", "cell"))
        return Rows.of(user, cell, cells["times"].to_numpy(), math.inf)

    def placed(self, cells: pl.DataFrame, groups: int) -> Floats:
        """How often each group showed each cell (groups, cells), of a table of cells (`CELL_SCHEMA`)."""
        known = self._fewer(cells.lazy().filter(pl.col("previous") != _ALL))
        shares = self._fewer(cells.lazy().filter(pl.col("previous") == _ALL)).with_columns(
            pl.lit(_ALL, pl.Int32).alias("previous")
        )
        both = pl.concat([known, shares]).join(self.pairs.lazy().select(*_PAIR, "cell"), on=_PAIR)
        sums = both.group_by("group", "cell").agg(pl.sum("times")).collect()
        found = np.zeros((groups, len(self)))
        found[sums["group"].to_numpy(), sums["cell"].to_numpy()] = sums["times"].to_numpy()
        return found

    def cells(self, counts: Floats) -> pl.DataFrame:
        """The table of cells (`CELL_SCHEMA`) that groups showed so often: (groups, cells)."""
        group_, cell = np.nonzero(counts)
        pairs = self.pairs.select(*_PAIR)[cell]
        columns = {"group": group_, **{each: pairs[each] for each in _PAIR}, "times": counts[group_, cell]}
        return pl.DataFrame(columns, schema=CELL_SCHEMA)

    def said(self, cell: int) -> str:
        """A cell in words."""
        after, word = self.pairs.select("after", "word").row(cell)
        how = {"(start)": f"{word} first", "(all)": f"{word} at all"}
        return how.get(after, f"{word} after {after}") if self.order else word

    def figures(self, cells: Ints, times: Floats, events: int) -> list[str]:
        """How often a user of so many events did what the cells stand for: counts, and shares of all."""
        shares = cells < self._shares
        scale = np.where(shares, 1.0 / SHARES, events / max(float(times[~shares].sum()), 1e-9))
        pairs = zip(times * scale, shares, strict=True)
        return [f"{each:.0%} " if share else f"{each:,.0f}x " for each, share in pairs]

    def does(self, counts: Floats) -> str:
        """What is done most in a group, in words."""
        told = self.pairs.select("word", "previous", count=pl.Series(counts)).filter(pl.col("previous") != _ALL)
        shares = told.group_by("word").agg(pl.sum("count"))
        total = float(shares["count"].sum())
        top = shares.filter(pl.col("count") >= total / 200).sort("count", "word", descending=[True, False]).head(_TOLD)
        return ", ".join(f"{word} {count / total:.0%}" for word, count in top.iter_rows()) if total else ""

    def _fewer(self, counts: pl.LazyFrame) -> pl.LazyFrame:
        """The counts with rare states as one, and without what came before where only states are looked at."""
        kept = [
            pl.when(pl.col(each).is_in(self._rare.implode())).then(_OTHER).otherwise(each).alias(each) for each in _PAIR
        ]
        found = counts.with_columns(kept) if len(self._rare) else counts
        return found if self.order else found.with_columns(pl.lit(START, pl.Int32).alias("previous"))


_OTHER: Final = -2
_ALL: Final = -3


def order_of(counts: pl.DataFrame) -> int:
    """1 if adaptive codes tell what follows what more briefly than each state alone; else 0."""
    if counts.select(pl.struct(_PAIR).n_unique()).item() > MOST_CELLS:
        return 0
    states = int(counts["state"].n_unique())
    pairs = counts.group_by(_PAIR).agg(pl.sum("count"))
    whole = pairs.group_by("state").agg(pl.sum("count")).with_columns(previous=pl.lit(START))
    return int(_adaptive(pairs, states) < _adaptive(whole, states))


def _adaptive(pairs: pl.DataFrame, states: int) -> float:
    """The nats of an adaptive code (Krichevsky and Trofimov) in which each context has all states."""
    cells = sum(math.lgamma(count + 0.5) - math.lgamma(0.5) for count in pairs["count"].to_list())
    contexts = pairs.group_by("previous").agg(pl.sum("count"))["count"].to_list()
    return sum(math.lgamma(count + states / 2) - math.lgamma(states / 2) for count in contexts) - cells


def grouped(
    sources: Sequence[Source],
    *,
    by_day: bool = False,
    window: int | None = None,
    method: Method = "bits",
    limit: float | None = None,
    labels: Mapping[str, str] | None = None,
) -> Grouped:
    """The users of some sources in groups by behaviour.

    Parameters
    ----------
    sources
        What users did.
    by_day
        Whether to go day by day, and say who moved and what became of groups; else all days are one.
    window
        Go day by day, and judge users who came by what they did in so many days, that day the last; else by that day.
    method
        `bits` (:mod:`amiss.grouping`) or `seed001`, the original notebook's (:mod:`amiss.leader`).
    limit
        How many bits off a user may be in a group. In `bits` there is none unless given; in `seed001` the best one by
        `labels`, else 5.
    labels
        Labels of some users, which are shown with their groups; and to find the limit of `seed001` with.

    Raises
    ------
    UsageError
        If an option is not understood.
    """
    if method not in METHODS:
        raise UsageError(f'method "{method}" is unknown.{nearest(method, METHODS)} Known: {", ".join(METHODS)}')
    if limit is not None and not limit >= 0:
        raise UsageError(f"a limit is a number of bits, at least 0. Found: {limit}")
    if window is not None and not (window >= 1 and method == "bits"):
        raise UsageError(
            f"a window is a number of days, at least 1, and for the method bits. Found: {window}, {method}"
        )
    reader = Reader(sources)
    days = Days(reader, list(reader.periods(by_day=by_day or window is not None, window=window or 1)))
    found = days.bits(limit) if method == "bits" else days.leaders(limit, labels)
    return found if labels is None else found.labelled(labels)


@dataclass
class _Known:
    """What is known of users by code: their group (-1 for none), since when, and where their last counts stand."""

    group: Ints
    since: Ints
    period: Ints
    row: Ints
    events: Ints

    @classmethod
    def of(cls, users: int) -> _Known:
        return cls(*(np.full(users, -1, dtype=np.int64) for _ in range(5)))


class Kept(NamedTuple):
    """Groups as they were behind a day, to go on from.

    Attributes
    ----------
    day
        That day.
    order
        What groups look at: 1 for what follows what.
    groups : (g, 3) columns `size`, `open`, `into`
        By number: members when the group last had some, whether it is still there, into which one it went.
    cells : (c, 4) :data:`CELL_SCHEMA`
        What groups are, or were last, like; of group -1 all that was ever seen.
    members : (u, 4) columns `user`, `group`, `since`, `last`
        Users by code, each with the last day.
    moves, changes
        As in :class:`Grouped`.
    """

    day: date
    order: int
    groups: pl.DataFrame
    cells: pl.DataFrame
    members: pl.DataFrame
    moves: pl.DataFrame
    changes: pl.DataFrame


class Founded(NamedTuple):
    """Further groups: `groups` (g, 1) with the column `size`, and what they are like (`CELL_SCHEMA`)."""

    groups: pl.DataFrame
    cells: pl.DataFrame


KEPT_SCHEMA: Final[dict[str, pl.DataType]] = {"size": pl.Float64(), "open": pl.Boolean(), "into": pl.Int64()}
STAY_SCHEMA: Final[dict[str, pl.DataType]] = {
    "user": pl.UInt32(),
    "group": pl.Int64(),
    "since": pl.Date(),
    "last": pl.Date(),
}


class Days:
    """Groups of users, period by period.

    Parameters
    ----------
    reader, periods
        What users did.
    order
        What groups look at, where that is settled already.
    cells : (c, 4) :data:`CELL_SCHEMA`
        Further cells that groups know.
    """

    def __init__(
        self, reader: Log, periods: Sequence[Period], *, order: int | None = None, cells: pl.DataFrame | None = None
    ) -> None:
        self.reader, self.periods = reader, periods
        schema = {"user": pl.UInt32(), "previous": pl.Int32(), "state": pl.Int32(), "count": pl.Int64()}
        everything = pl.concat([pl.DataFrame(schema=schema), *(each.counts.select(*schema) for each in periods)])
        first = periods[0].counts if periods else everything
        if order is None:
            order = order_of(first) if len(first) else 0
        if cells is not None:
            plain = cells.filter(pl.col("state") >= 0, pl.col("previous") >= START).select(*_PAIR).unique()
            unseen = plain.select(pl.lit(0, pl.UInt32).alias("user"), *_PAIR, pl.lit(0, pl.Int64).alias("count"))
            everything = pl.concat([everything, unseen])
        self.space = Space(everything, states_of(reader.coding.actions.texts()), order)
        self.rows: list[Rows] = []
        self.known = _Known.of(len(reader.coding.users))
        self.seen: Floats = np.zeros(len(self.space))
        self.groups = Groups(Cells.of(self.space.context, self.seen))
        self.into: dict[int, int] = {}
        self.moves: list[pl.DataFrame] = []
        self.changes: list[dict[str, object]] = []
        self.ended: list[Day] = []
        self._stood: Ints | None = None
        """How many members groups had before those who are forgotten went."""

    def bits(self, limit: float | None) -> Grouped:
        """Groups in bits."""
        self.groups.limit = -1.0 if limit is None else limit
        for number in range(len(self.periods)):
            self.settle(number)
        return self.result()

    def settle(self, number: int) -> None:
        """Let the users of a period, the next one, go where they cost least."""
        rows = self._begun(number)
        for period, which in self._earlier(rows):
            self.groups.remove(self.rows[period], self.known.row[which], self.known.group[which])
        self._ended(number, self.groups.settle(rows))

    def resume(self, kept: Kept, periods: int) -> None:
        """Take up groups as they were behind the first so many periods; who did nothing in these is forgotten."""
        self._place(kept)
        self._stood = np.bincount(kept.members["group"].to_numpy(), minlength=0)
        last = np.zeros(len(self.known.group), dtype=np.int64)
        last[kept.members["user"]] = kept.members["last"].cast(pl.Int32).to_numpy() + _EPOCH
        since, group_ = np.zeros_like(last), np.full_like(last, -1)
        since[kept.members["user"]] = kept.members["since"].cast(pl.Int32).to_numpy() + _EPOCH
        group_[kept.members["user"]] = kept.members["group"].to_numpy()
        for number, period in enumerate(self.periods[:periods]):
            rows = self.space.rows(period.counts)
            self.rows.append(rows)
            of = np.flatnonzero((last[rows.users] == period.day.toordinal()) & (group_[rows.users] >= 0))
            users = rows.users[of]
            self.known.group[users], self.known.since[users] = group_[users], since[users]
            self.known.period[users], self.known.row[users] = number, of
            self.known.events[users] = self._events(number, rows)[of]
            self.groups.add(rows, of, group_[users])

    def found(self, founded: Founded) -> None:
        """Add groups without members, which are known by what they were like; their numbers are the next ones."""
        old = len(self.groups)
        self.groups.grow(old + len(founded.groups))
        self.groups.kept[old:] = self.space.placed(founded.cells, len(self.groups))[old:]
        self.groups.kept_size[old:] = founded.groups["size"].to_numpy()
        self.groups.open[old:] = True

    def founded(self, old: int) -> Founded:
        """The groups but for the first so many, to be added by :meth:`found`."""
        sizes = pl.DataFrame({"size": self.groups.kept_size[old:]})
        return Founded(sizes, self.space.cells(self.groups.kept).filter(pl.col("group") >= old))

    def kept(self) -> Kept:
        """The groups behind the periods so far, to be taken up by :meth:`resume`."""
        groups, known = self.groups, self.known
        into = [self.into.get(number) for number in range(len(groups))]
        users = np.flatnonzero(known.group >= 0)
        last = [self.periods[number].day for number in known.period[users].tolist()]
        since = [date.fromordinal(day) for day in known.since[users].tolist()]
        columns = {"user": users.astype(np.uint32), "group": known.group[users], "since": since, "last": last}
        seen = self.space.cells(self.seen[None, :]).with_columns(pl.lit(-1, pl.Int64).alias("group"))
        return Kept(
            self.periods[len(self.rows) - 1].day,
            self.space.order,
            pl.DataFrame({"size": groups.kept_size, "open": groups.open, "into": into}, schema=KEPT_SCHEMA),
            pl.concat([self.space.cells(groups.kept), seen]),
            pl.DataFrame(columns, schema=STAY_SCHEMA),
            pl.concat([pl.DataFrame(schema=MOVE_SCHEMA), *self.moves]),
            pl.DataFrame(self.changes, schema=CHANGE_SCHEMA),
        )

    def _place(self, kept: Kept) -> None:
        """Take up what groups were like."""
        count = len(kept.groups)
        self.seen = self.space.placed(kept.cells.filter(pl.col("group") < 0).with_columns(group=0), 1)[0]
        self.groups = Groups(Cells.of(self.space.context, self.seen))
        self.groups.grow(count)
        self.groups.kept[:] = self.space.placed(kept.cells.filter(pl.col("group") >= 0), count)
        self.groups.kept_size[:] = kept.groups["size"].to_numpy()
        self.groups.open[:] = kept.groups["open"].to_numpy()
        self.into = {number: into for number, into in enumerate(kept.groups["into"]) if into is not None}
        self.moves, self.changes = [kept.moves], kept.changes.to_dicts()

    def leaders(self, limit: float | None, labels: Mapping[str, str] | None) -> Grouped:
        """Groups by the notebook's procedure."""
        table, found = self._prices(), None
        if labels is not None:
            found = profiles.limits(self._profiles(table, labels), labels)
            best = found.with_columns(gain=pl.col("true_positive") - pl.col("false_positive").fill_null(0.0))
            limit = best.sort("gain", "limit", descending=[True, False])["limit"][0] if limit is None else limit
        leaders = Leaders(profiles.LIMIT if limit is None else limit)
        for number in range(len(self.periods)):
            rows = self._begun(number)
            leaders.day(self._vectors(number, table))
            self._ended(number, np.array([leaders.group[int(user)] for user in rows.users], dtype=np.int64), leaders)
        return self.result(found)

    def _begun(self, number: int) -> Rows:
        """The rows of a period, whose cells are known from now on."""
        rows = self.space.rows(self.periods[number].counts)
        self.rows.append(rows)
        self.seen = self.seen + rows.seen(len(self.seen))
        self.groups.cells = Cells.of(self.space.context, self.seen)
        return rows

    def _earlier(self, rows: Rows) -> Iterator[tuple[int, Ints]]:
        """The users of some rows who were known before, by the period that their last counts are of."""
        known = rows.users[self.known.group[rows.users] >= 0]
        for period in np.unique(self.known.period[known]):
            yield int(period), known[self.known.period[known] == period]

    def _ended(self, number: int, chosen: Ints, leaders: Leaders | None = None) -> None:
        """Note what a period changed: the groups of its users, and what became of groups."""
        rows, known, day = self.rows[number], self.known, self.periods[number].day
        members = known.group >= 0
        sizes = np.bincount(known.group[members], minlength=0) if self._stood is None else self._stood
        self._stood = None
        self.into |= self.groups.merged
        went = np.arange(max(len(sizes), 1 + max(self.groups.merged, default=0)))
        for group_, into in self.groups.merged.items():
            went[group_] = into
        before = known.group.copy()
        known.group[members] = went[known.group[members]]
        merged = known.group.copy()
        left = merged[rows.users]
        known.group[rows.users] = chosen
        if leaders is not None:
            self._regrouped(leaders)
        known.since[known.group != merged] = day.toordinal()
        known.period[rows.users], known.row[rows.users] = number, np.arange(len(rows))
        known.events[rows.users] = self._events(number, rows)
        if leaders is not None:
            self._counted(len(leaders.averages))
        self._moved(day, rows, left, chosen)
        self._changed(day, sizes, before)
        self.ended.append(Day(day, rows, self.periods[number].steps, known.group.copy()))

    def _events(self, number: int, rows: Rows) -> Ints:
        """How many events each user of a period had."""
        sums = self.periods[number].counts.group_by("user").agg(pl.sum("count")).sort("user")
        return sums["count"].to_numpy()[np.searchsorted(sums["user"].to_numpy(), rows.users)]

    def _regrouped(self, leaders: Leaders) -> None:
        """The groups of all users, also of those who were away."""
        users = np.fromiter(leaders.group, dtype=np.int64, count=len(leaders.group))
        self.known.group[users] = np.fromiter(leaders.group.values(), dtype=np.int64, count=len(users))

    def _counted(self, groups: int) -> None:
        """What the members of so many groups did, as counts of their own."""
        fresh = Groups(self.groups.cells)
        fresh.counts = np.zeros((groups, len(self.seen)))
        fresh.kept = np.zeros((groups, len(self.seen)))
        fresh.totals = np.zeros((groups, fresh.cells.contexts))
        fresh.size, fresh.kept_size, fresh.open = np.zeros(groups), np.zeros(groups), np.ones(groups, dtype=np.bool_)
        fresh.kept[: len(self.groups)] = self.groups.kept
        users = np.flatnonzero(self.known.group >= 0)
        for period in np.unique(self.known.period[users]):
            of = users[self.known.period[users] == period]
            fresh.add(self.rows[period], self.known.row[of], self.known.group[of])
        fresh.remember()
        self.groups = fresh

    def _moved(self, day: date, rows: Rows, left: Ints, joined: Ints) -> None:
        """Note who of a period's users went to another group, and why."""
        which = np.flatnonzero((left >= 0) & (left != joined))
        table = self.groups.table()
        names = self.reader.coding.users.texts()
        found = []
        for row in which:
            mine = slice(rows.first[row], rows.first[row + 1])
            cells, times = rows.cell[mine], rows.times[mine]
            saved = times * (table[cells, left[row]] - table[cells, joined[row]])
            events = int(self.known.events[rows.users[row]])
            said = self._why(cells, saved, self.space.figures(cells, times, events))
            user = names[int(rows.users[row])]
            found.append((day, user, int(left[row]) + 1, int(joined[row]) + 1, float(saved.sum()), said))
        frame = pl.DataFrame(found, schema=MOVE_SCHEMA, orient="row")
        self.moves.append(frame.sort("bits", "user", descending=[True, False]))

    def _why(self, cells: Ints, saved: Floats, figures: Sequence[str]) -> str:
        """What speaks most for one group and against another."""
        top = [at for at in np.argsort(-saved, kind="stable")[:2] if saved[at] > 0]
        return "; ".join(f"{figures[at]}{self.space.said(int(cells[at]))} ({saved[at]:,.1f} bits)" for at in top)

    def _changed(self, day: date, sizes: Ints, before: Ints) -> None:
        """Note what became of groups on a day."""
        now = self.known.group
        after = np.bincount(now[now >= 0], minlength=len(self.groups))
        old = np.zeros(len(after), dtype=np.int64)
        old[: len(sizes)] = sizes
        there = {change["id"] for change in self.changes}
        for each in range(len(after)):
            number = each + 1
            new = number not in there
            change: dict[str, object] = {"day": day, "id": number, "before": int(old[each]), "after": int(after[each])}
            change |= {"other": None, "bits": None, "reason": None}
            if new and after[each]:
                self.changes.append(change | self._born(each, before[now == each]))
            elif not new and each in self.groups.merged:
                self.changes.append(change | {"change": "merged", "other": self.groups.merged[each] + 1})
            elif old[each] != after[each]:
                said = "emptied" if not after[each] else "returned" if not old[each] else None
                said = said or ("grew" if after[each] > old[each] else "shrank")
                self.changes.append(change | {"change": said})

    def _born(self, group_: int, before: Ints) -> dict[str, object]:
        """How a group came to be: from which other one, where at least half of its known members were."""
        known = before[before >= 0]
        parents = np.bincount(known) if len(known) else np.zeros(1, dtype=np.int64)
        parent = int(np.argmax(parents))
        split = len(known) > 0 and 2 * parents[parent] >= len(before)
        change: dict[str, object] = {"change": "split" if split else "born", "other": parent + 1 if split else None}
        others = np.flatnonzero(self.groups.open & (np.arange(len(self.groups)) != group_))
        if not len(others):
            return change
        table, counts = self.groups.table(), self.groups.counts[group_]
        cells = np.flatnonzero(counts)
        costs = counts[cells] @ table[cells][:, others]
        other = int(others[np.argmin(costs)])
        saved = counts[cells] * (table[cells, other] - table[cells, group_])
        here, there = (np.exp2(-table[cells, each]) for each in (group_, other))
        shares = [f"{mine:.0%} (there {theirs:.0%}) " for mine, theirs in zip(here, there, strict=True)]
        why = self._why(cells, saved, shares)
        return change | {"bits": float(saved.sum()), "reason": f"unlike group {other + 1}, the nearest: {why}"}

    def _prices(self) -> pl.DataFrame:
        """The surprisal table of the first period, by which all are judged."""
        return surprisal.transitions(surprisal.merge(*(each.steps.drop("user") for each in self.periods[:1])))

    def _priced(self, number: int, table: pl.DataFrame) -> pl.DataFrame:
        """What users did in a period, each step at the price of its failure, as in the notebook."""
        failed = self.periods[number].steps.with_columns(failure=pl.lit(value=True))
        return surprisal.priced(failed, table)

    def _vectors(self, number: int, table: pl.DataFrame) -> dict[int, Floats]:
        """The profiles of a period's users, in the order of the log."""
        priced = self._priced(number, table)
        users = self.periods[number].steps["user"].unique(maintain_order=True).to_list()
        place = {user: at for at, user in enumerate(users)}
        wide = np.zeros((len(users), len(self.reader.coding.actions)))
        at = [place[user] for user in priced["user"].to_list()]
        wide[at, priced["action"].to_numpy()] = priced["surprisal"].to_numpy()
        return dict(zip(users, wide, strict=True))

    def _profiles(self, table: pl.DataFrame, labels: Mapping[str, str]) -> dict[str, dict[str, float]]:
        """The profiles of labelled users in the first period, up to so many of each label."""
        names = self.reader.coding.users
        actions = self.reader.coding.actions.texts().to_list()
        vectors = self._vectors(0, table) if self.periods else {}
        chosen: dict[str, int] = {}
        found: dict[str, dict[str, float]] = {}
        for user in sorted(labels):
            code = names.find(user)
            if code in vectors and chosen.setdefault(labels[user], 0) < MOST_LABELLED:
                chosen[labels[user]] += 1
                found[user] = dict(zip(actions, vectors[code].tolist(), strict=True))
        return found

    def result(self, limits: pl.DataFrame | None = None) -> Grouped:
        """What came of all periods."""
        members = self._members()
        changes = pl.DataFrame(self.changes, schema=CHANGE_SCHEMA)
        moves = pl.concat([pl.DataFrame(schema=MOVE_SCHEMA), *self.moves])
        coding = self.reader.coding
        history = History(self.ended, coding.users, coding.actions, self.space.context, self.reader.sources)
        groups_, order = self._groups(members, changes), self.space.order
        return Grouped(groups_, members, moves, changes, order, limits, history, self.reader)

    def _members(self) -> pl.DataFrame:
        """Users and their groups."""
        known = self.known
        users = np.flatnonzero(known.group >= 0)
        cost = np.zeros(len(known.group))
        table = self.groups.table()
        for period in np.unique(known.period[users]):
            of = users[known.period[users] == period]
            rows = self.rows[period]
            cost[of] = self.groups.costs(rows, known.group[rows.users], table=table)[known.row[of]]
        frame = pl.DataFrame(
            {
                "user": self.reader.coding.users.texts().gather(users),
                "group": known.group[users] + 1,
                "since": [date.fromordinal(day) for day in known.since[users].tolist()],
                "last_day": [self.reader.last_day[user] for user in users.tolist()],
                "events": known.events[users],
                "bits": cost[users],
                "label": None,
            },
            schema=MEMBER_SCHEMA,
        )
        return frame.sort("user")

    def _groups(self, members: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
        """Groups, largest first."""
        found = []
        by_group = {
            int(each[0]): each[1:] for each in members.group_by("group").agg(pl.len(), pl.sum("bits")).iter_rows()
        }
        for (number,), history in changes.group_by("id", maintain_order=True):
            each = int(str(number)) - 1
            count, bits = by_group.get(each + 1, (0, 0.0))
            counts = self.groups.counts[each] if count else self.groups.kept[each]
            events = float(self.groups.counts[each].sum())
            last, merged = history.row(-1, named=True), self.into.get(each)
            found.append(
                {
                    "id": each + 1,
                    "members": count,
                    "share": count / len(members) if len(members) else 0.0,
                    "bits": bits / count if count else None,
                    "bits_per_event": bits / events if count else None,
                    "does": self.space.does(counts),
                    "born": history["day"][0],
                    "changed": last["day"],
                    "change": _said(last),
                    "merged_into": None if merged is None else merged + 1,
                }
            )
        plain = {name: kind for name, kind in GROUP_SCHEMA.items() if name not in LABEL_COLUMNS}
        table = pl.DataFrame(found, schema=plain).sort("members", "id", descending=[True, False])
        return of_groups(table, members, {})


def _said(change: Mapping[str, object]) -> str:
    """A change in words."""
    name, before, after, other = (change[key] for key in ("change", "before", "after", "other"))
    words = {"split": f"split from {other}", "merged": f"merged into {other}", "emptied": f"emptied from {before}"}
    if name in {"grew", "shrank"}:
        return f"{name} from {before} to {after}"
    return words.get(str(name), str(name))
