"""The `role` detector: does this user do what another group of users does?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
import polars as pl

from amiss.baseline import COUNT_SCHEMA, Chain, Floats, Ints, Past, check_cap
from amiss.blocks import frozen, highest
from amiss.detect import Names, Plain, Reason, Scores
from amiss.detect.sequence import ACTION, GAP, Pair, Sequence, about, features, judged_by, sentence, worst
from amiss.fields import Fields
from amiss.sessions import Events

if TYPE_CHECKING:
    from amiss.detect.chain import Counted, Feature, Judge

ROLE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "user": pl.UInt32(),
    "feature": pl.UInt8(),
    "groups": pl.List(pl.Float64()),
}
"""What is remembered of a user while a period runs: a row per feature, how much each other group is believed in."""

SURE: Final = 5.0
"""Bits by which a group must tell a user's past better than any other to be theirs."""

TOLD: Final = 2
"""How many actions a group is known for."""


@dataclass(frozen=True, eq=False)
class RoleBaseline:
    """The groups that count as normal, what each user did in the past, and their group by code (u,), -1 for none."""

    judges: tuple[Judge, Judge]
    own: tuple[Counted, ...]
    home: Ints

    @property
    def action(self) -> Chain:
        """Everybody's chain of states."""
        return self.judges[ACTION].chain

    @property
    def gap(self) -> Chain:
        """Everybody's chain of gaps."""
        return self.judges[GAP].chain


@dataclass(frozen=True)
class Role(Plain):
    """Does this user do what another group of users does?

    The groups are those of :mod:`amiss.detect.mixture`. `p` is what the user's own earlier periods lead to expect,
    beside which their group is worth 8 events; `q` is what the other groups do, mixed by how common they are and how
    well they told the user's events so far::

        p(value | given) = (c(given, value) + 8 * p(value | given, own group)) / (c(given) + 8)

    A user has a group where it tells their past at least 5 bits better than each other one.

    **What it remembers.** While a period runs, two weights per user for each group. The counts of earlier periods by
    user, about 20 bytes for each different pair.

    **When it is silent.** With fewer than two groups; for users of whom too little is known to say which is theirs, or
    who are in none; so always in a log of one day.

    **What fools it.** Whoever goes over slowly: each day is judged by those before.

    Parameters
    ----------
    cap
        The most that one user adds to one count of everyone's or of a group in a period.

    Examples
    --------
    Ten read and ten write. Today one of the readers writes.

    >>> from amiss.sessions import GROUPED_SCHEMA
    >>> reads = [(0, user, 0, 0, 30) for user in range(10)]
    >>> writes = [(0, user, 0, 3, 30) for user in range(10, 20)]
    >>> past = Past([pl.DataFrame(reads + writes, schema=COUNT_SCHEMA, orient="row")])
    >>> events = [(1, 0, 0, 3, 0, -1), (2, 9, 0, 3, 0, -1)]
    >>> today = Events.of(pl.DataFrame(events, schema=GROUPED_SCHEMA, orient="row"))
    >>> detector = Role()
    >>> detector.score(today, detector.baseline(past)).bits.round(2)
    array([5.67, 5.67])
    """

    cap: int = 5

    name: ClassVar[str] = "role"
    counts: ClassVar[str] = Sequence.counts
    count_schema: ClassVar[dict[str, pl.DataType]] = COUNT_SCHEMA
    state_schema: ClassVar[dict[str, pl.DataType]] = ROLE_SCHEMA

    def __post_init__(self) -> None:
        check_cap(self.cap)

    @staticmethod
    def fits(fields: Fields) -> bool:  # noqa: ARG004 - of the protocol
        """It runs where it is asked for: a new role is seldom harm."""
        return False

    def summarise(self, events: Events) -> pl.DataFrame:
        """How often each user showed each (previous, state) and (state, gap), from grouped events."""
        return Sequence(self.cap).summarise(events)

    def baseline(self, past: Past, *, leave_out: bool = False) -> RoleBaseline:
        """The groups of earlier periods, and whose is which; nothing when the period itself is all there is."""
        from amiss.detect.chain import Counted

        earlier = Past() if leave_out else past
        judges: tuple[Judge, Judge] = earlier.once(("judges", self.cap), lambda: judged_by(earlier, self.cap))
        own = tuple(Counted(earlier.by_user(), feature) for feature in (ACTION, GAP))
        return RoleBaseline(judges, own, earlier.once(("home", self.cap), lambda: homes(earlier, judges[ACTION])))

    def memory(self, state: pl.DataFrame | None = None) -> RoleMemory:
        """What is believed of users while a period runs."""
        return RoleMemory(state)

    def score(self, events: Events, baseline: RoleBaseline, memory: RoleMemory | None = None) -> Scores:
        """Bits and surprisal of grouped events."""
        scores = Scores.nothing(len(events))
        if len(baseline.home):
            for found in features(events):
                self._compare(found, baseline, memory, scores)
        return scores

    def explain(self, events: Events, baseline: RoleBaseline, names: Names) -> dict[int, list[Reason]]:
        """What users did as another group does, and not theirs."""
        if not len(baseline.home):
            return {}
        found, memory = features(events), RoleMemory()
        bits = [self._compare(each, baseline, memory, Scores.nothing(len(events))).bits for each in found]
        users = zip(events.users.tolist(), worst(events.first, found, bits), strict=True)
        return {user: self._reasons(baseline, names, memory, user, pairs) for user, pairs in users if pairs}

    def _compare(
        self,
        found: tuple[int, Feature],
        baseline: RoleBaseline,
        memory: RoleMemory | None,
        scores: Scores,
    ) -> Scores:
        """The scores, once what one feature says was added."""
        from amiss.detect import role_kernel as kernel

        code, feature = found
        judge, users = baseline.judges[code], len(feature.users)
        beliefs = Beliefs() if memory is None else memory.beliefs[code]
        held = np.arange(users, dtype=np.uint32) if memory is None else feature.users
        beliefs.grow(highest(held) + 1, len(judge.ways.share))
        arrays = judge.chain.normal, judge.ways, baseline.home, baseline.own[code].owned
        kernel.compare_roles(*feature, *arrays, held, beliefs.groups, beliefs.weights, *scores[:2])
        return scores

    def _reasons(
        self, baseline: RoleBaseline, names: Names, memory: RoleMemory, user: int, pairs: list[Pair]
    ) -> list[Reason]:
        """The reasons that pairs give, with what both groups are known for."""
        weights = np.sum([each.weights[user] for each in memory.beliefs], axis=0)
        other, mine = int(np.argmax(weights)), int(baseline.home[user])
        chain, ways = baseline.action, baseline.judges[ACTION].ways
        groups = f"as a group does that is known for {known_for(ways.counts, chain.value, other, names)}"
        groups += f"; theirs is known for {known_for(ways.counts, chain.value, mine, names)}"
        found: list[Reason] = []
        for pair in pairs:
            counts = baseline.judges[pair.feature].others(pair.given, pair.value, other)
            text = f"{sentence(pair, names)}, {groups}" if not found else sentence(pair, names)
            found.append(Reason(self.name, pair.bits, text, pair.count, pair.of, *counts, about(pair, names)))
        return found


class Beliefs:
    """How much each other group is believed in, by user: `weights` (u, g), of which `groups` (u,) are there."""

    def __init__(self) -> None:
        self.weights: Floats = np.zeros((0, 0))
        self.groups: Ints = np.zeros(0, dtype=np.int64)

    def grow(self, users: int, groups: int) -> None:
        """Make room for the codes below `users` and for so many groups."""
        there, wide = self.weights.shape
        more = max(users, there * 5 // 4) - there if users > there else 0
        if more or groups > wide:
            self.weights = np.pad(self.weights, ((0, more), (0, max(groups - wide, 0))))
            self.groups = np.pad(self.groups, (0, more))


class RoleMemory:
    """What is believed of users in a period."""

    def __init__(self, state: pl.DataFrame | None = None) -> None:
        self.beliefs = Beliefs(), Beliefs()
        if state is not None:
            for feature, beliefs in enumerate(self.beliefs):
                _recall(beliefs, state.filter(pl.col("feature") == feature))

    def frame(self) -> pl.DataFrame:
        """A row for each user and feature (`ROLE_SCHEMA`)."""
        return pl.concat([_frame(feature, beliefs) for feature, beliefs in enumerate(self.beliefs)])


def _recall(beliefs: Beliefs, state: pl.DataFrame) -> None:
    """Take up rows of a state."""
    from amiss.detect.chain import spread

    users, groups = state["user"].to_numpy(), state["groups"].list.len().to_numpy().astype(np.int64)
    beliefs.grow(highest(users) + 1, int(groups.max(initial=0)))
    beliefs.groups[users] = groups
    places = spread(users.astype(np.int64) * beliefs.weights.shape[1], groups)
    beliefs.weights.ravel()[places] = state["groups"].explode(empty_as_null=False).to_numpy()


def _frame(feature: int, beliefs: Beliefs) -> pl.DataFrame:
    """A row for each user of whom anything is believed."""
    from amiss.detect.chain import lists_of, spread

    users = np.flatnonzero(beliefs.groups)
    groups = beliefs.groups[users]
    weights = beliefs.weights.ravel()[spread(users * beliefs.weights.shape[1], groups)]
    columns = {
        "user": pl.Series(users, dtype=pl.UInt32),
        "feature": pl.repeat(feature, len(users), dtype=pl.UInt8, eager=True),
        "groups": lists_of(weights, groups),
    }
    return pl.DataFrame(columns, schema=ROLE_SCHEMA)


def homes(past: Past, judge: Judge) -> Ints:
    """The group of each user by code (u,), -1 for those of none; empty where there are fewer than two groups."""
    from amiss.detect.mixture import Counts, nearest_ways

    if np.count_nonzero(judge.ways.totals.any(axis=0)) < 2:
        return np.zeros(0, dtype=np.int64)
    return frozen(nearest_ways(Counts.of(past.by_user(), ACTION), judge.ways, judge.chain, SURE))


def known_for(counts: Floats, value: Ints, way: int, names: Names) -> str:
    """The actions that set a group apart from all others, in words."""
    states = int(value.max()) + 1
    here = np.bincount(value, counts[:-1, way], states)
    others = np.bincount(value, counts[:-1].sum(axis=1), states) - here
    share, elsewhere = ((each + 1.0) / (each.sum() + states) for each in (here, others))
    gain = share * np.log2(share / elsewhere)
    top = [state for state in np.argsort(-gain, kind="stable")[:TOLD].tolist() if gain[state] > 0]
    return " and ".join(names.state(state) for state in top) or "nothing of its own"
