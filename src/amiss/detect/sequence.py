"""The `sequence` detector: is this action odd after the last one, and does it come at an odd pace?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
import polars as pl

from amiss.baseline import COUNT_SCHEMA, OWN_SCHEMA, Chain, Floats, Ints, Past, check_cap
from amiss.blocks import frozen
from amiss.detect import Names, Plain, Reason, Scores
from amiss.sessions import START, Events

if TYPE_CHECKING:
    from amiss.detect.chain import Counted, Feature, Judge, Own

ACTION: Final = 0
"""The feature "which state comes after the previous one"."""

GAP: Final = 1
"""The feature "how long after the last event does this state come"."""

NO_GAP: Final = -1

REASONS: Final = 3
"""How many reasons are given for a user."""

_BINS_PER_SECOND: Final = 64


def gap_bins(gap: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Bins of gaps in microseconds, a new one at each doubling from 1/64 second; -1 where there is no gap.

    Examples
    --------
    >>> gap_bins(np.array([-1, 0, 1_000_000, 1_999_999, 2_000_000]))
    array([-1,  0,  7,  7,  8], dtype=int32)
    """
    from amiss.detect import sequence_kernel as kernel

    bins: np.ndarray[tuple[int], np.dtype[np.int32]] = kernel.gap_bins(frozen(gap), _BINS_PER_SECOND)
    return bins


def bin_bounds(code: int) -> tuple[float, float]:
    """The gaps in seconds, from and below, that fall in a bin.

    Examples
    --------
    >>> bin_bounds(0), bin_bounds(7), bin_bounds(8)
    ((0.0, 0.015625), (1.0, 2.0), (2.0, 4.0))
    """
    low = 2.0 ** (code - 1) / _BINS_PER_SECOND if code > 0 else 0.0
    return low, 2.0**code / _BINS_PER_SECOND


@dataclass(frozen=True)
class Pair:
    """What a user did: a value after a given, `count` times of `of`, worth `bits`."""

    feature: int
    given: int
    value: int
    bits: float
    count: int
    of: int


@dataclass(frozen=True, eq=False)
class SequenceBaseline:
    """What users are judged by: the chain of states, that of gaps before each state, and what of them is whose.

    `own` holds the counts of each feature by user where each user's share is to be taken out, else nothing; `taught`
    what a person said is to be expected of users.
    """

    judges: tuple[Judge, Judge]
    own: tuple[Counted, ...] = ()
    taught: tuple[Counted, ...] = ()

    @property
    def action(self) -> Chain:
        """Everybody's chain of states."""
        return self.of(ACTION)

    @property
    def gap(self) -> Chain:
        """Everybody's chain of gaps."""
        return self.of(GAP)

    def of(self, feature: int) -> Chain:
        """Everybody's chain of a feature."""
        return self.judges[feature].chain


@dataclass(frozen=True)
class Sequence(Plain):
    """Is this action odd after the last one, and does it come at an odd pace?

    Two chains (:mod:`amiss.detect.chain`): the state (action and outcome) after the previous state of the session, or
    after its START, and the gap before the state, in bins that double. ``bits = log2(q/p)`` of the state plus
    log2(q/p) of the gap. `p` comes from the counts of everybody and of the groups that count as normal
    (:mod:`amiss.detect.mixture`), to which no user adds more than `cap` a period.

    **What it remembers.** While a period runs, for each user the different (previous, state) and (state, gap) pairs
    with a count, 12 bytes each, up to 1,024 of either, ten weights, and two for each group that counts as normal. The
    counts of a period hold all pairs.

    **When it is silent.** With no baseline at all, all actions are unknown and the evidence is 0.

    **What fools it.** An attacker who moves through the application as everybody does, at everybody's pace; what 3 % of
    the users do; actions that differ only in what the log does not say. A small team with a job of its own looks odd.

    Parameters
    ----------
    cap
        The most that one user adds to one count of the baseline in a period: a flood cannot make itself normal.

    Examples
    --------
    Ann logs in and views; then someone logs in and deletes, which nobody ever did.

    >>> from amiss.baseline import Past
    >>> from amiss.sessions import group
    >>> def events(*rows):
    ...     names = ["position", "time", "user", "action", "outcome"]
    ...     frame = pl.DataFrame(rows, schema=names, orient="row")
    ...     frame = frame.with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))
    ...     return group(frame.cast({"user": pl.UInt32, "action": pl.UInt32, "outcome": pl.UInt8}))
    >>> detector = Sequence()
    >>> past = detector.summarise(events((1, 0, 0, 0, 0), (2, 9_000_000, 0, 1, 0)))
    >>> today = events((3, 0, 1, 0, 0), (4, 9_000_000, 1, 2, 0))
    >>> detector.score(today, detector.baseline(Past([past]))).bits.round(2)
    array([-0.57,  0.55])
    """

    cap: int = 5

    name: ClassVar[str] = "sequence"
    counts: ClassVar[str] = "sequence"
    count_schema: ClassVar[dict[str, pl.DataType]] = COUNT_SCHEMA
    state_schema: ClassVar[dict[str, pl.DataType]] = OWN_SCHEMA

    def __post_init__(self) -> None:
        check_cap(self.cap)

    def summarise(self, events: Events) -> pl.DataFrame:
        """How often each user showed each (previous, state) and (state, gap), from grouped events."""
        from amiss.detect import chain

        return pl.concat([chain.count(feature, code) for code, feature in features(events)])

    def baseline(self, past: Past, *, leave_out: bool = False) -> SequenceBaseline:
        """The chains that follow from the counts of earlier periods."""
        from amiss.detect.chain import Counted

        own = tuple(Counted(past.by_user(), feature) for feature in (ACTION, GAP)) if leave_out else ()
        judges = past.once(("judges", self.cap), lambda: judged_by(past, self.cap))
        return SequenceBaseline(judges, own, taught(past))

    def memory(self, state: pl.DataFrame | None = None) -> SequenceMemory:
        """What is remembered of users while a period runs."""
        return SequenceMemory(state)

    def score(self, events: Events, baseline: SequenceBaseline, memory: SequenceMemory | None = None) -> Scores:
        """Bits and surprisal of grouped events."""
        scores = Scores.nothing(len(events))
        for found in features(events):
            self._score(found, baseline, memory, scores)
        return scores

    def explain(self, events: Events, baseline: SequenceBaseline, names: Names) -> dict[int, list[Reason]]:
        """The pairs of (previous, state) and (state, gap) that speak against users most, since they began to."""
        found = features(events)
        bits = [self._score(each, baseline, None, Scores.nothing(len(events))).bits for each in found]
        users = zip(events.users.tolist(), worst(events.first, found, bits), strict=True)
        return {user: [self._reason(baseline, names, user, pair) for pair in pairs] for user, pairs in users if pairs}

    def _score(
        self,
        found: tuple[int, Feature],
        baseline: SequenceBaseline,
        memory: SequenceMemory | None,
        scores: Scores,
    ) -> Scores:
        """The scores, once what one feature says was added."""
        from amiss.detect import chain

        code, feature = found
        said = Scores.nothing(len(feature.value)) if baseline.taught else scores
        if baseline.own:
            chain.score_left_out(feature, baseline.own[code], baseline.judges[code], self.cap, said)
        elif memory is None:
            chain.score_alone(feature, baseline.judges[code], said)
        else:
            memory.own[code].score(feature, baseline.judges[code], said)
        if baseline.taught:
            scores.add(said if baseline.own else chain.excuse(said, feature, baseline.taught[code]))
        return scores

    def _reason(self, baseline: SequenceBaseline, names: Names, user: int, pair: Pair) -> Reason:
        """The reason that a pair gives, with the counts of others, without the user's own, beside it."""
        others = baseline.of(pair.feature).seen(pair.given, pair.value)
        if baseline.own:
            own = baseline.own[pair.feature].seen(user, pair.given, pair.value, cap=self.cap)
            others = others[0] - own[0], others[1] - own[1]
        text = f"{sentence(pair, names)}; {_elsewhere(*others)}"
        return Reason(self.name, pair.bits, text, pair.count, pair.of, *others, action=about(pair, names))


def judged_by(past: Past, cap: int) -> tuple[Judge, Judge]:
    """What states and gaps are judged by; a user adds up to `cap` to a count in each period."""
    from amiss.detect import mixture
    from amiss.detect.chain import Judge

    counts, bad = ([mixture.Counts.of(each, code) for code in (ACTION, GAP)] for each in (past.by_user(), past.bad))
    members = mixture.members(counts[ACTION], np.unique(bad[ACTION].user))

    def judge(code: int) -> Judge:
        chain, most = past.chain(code, cap), cap * len(past)
        return Judge(chain, mixture.ways(counts[code], members, chain, most), mixture.labelled(bad[code], chain, most))

    return judge(ACTION), judge(GAP)


def taught(past: Past) -> tuple[Counted, ...]:
    """What a person said is to be expected of users, by feature; nothing where nobody said anything."""
    from amiss.detect.chain import Counted

    return tuple(Counted(past.taught, feature) for feature in (ACTION, GAP)) if len(past.taught) else ()


class SequenceMemory:
    """What the users did in a period, and which experts were right about them."""

    def __init__(self, state: pl.DataFrame | None = None) -> None:
        from amiss.detect.chain import Own

        known = None if state is None else _with_groups(state)
        self.own: tuple[Own, ...] = tuple(Own(feature, known) for feature in (ACTION, GAP))

    def frame(self) -> pl.DataFrame:
        """A row for each user and feature (`OWN_SCHEMA`)."""
        return pl.concat([own.frame() for own in self.own])


def _with_groups(state: pl.DataFrame) -> pl.DataFrame:
    """Rows of a state (`OWN_SCHEMA`), of one too that was written when there were neither groups nor bad users."""
    if "ways" in state.columns:
        return state
    weights = np.pad(state["weights"].to_numpy(), ((0, 0), (0, 1)))
    columns = state.with_columns(weights=pl.Series(weights, dtype=OWN_SCHEMA["weights"]), ways=[])
    return columns.select(pl.col(name).cast(dtype) for name, dtype in OWN_SCHEMA.items())


@lru_cache(maxsize=8)
def features(events: Events) -> list[tuple[int, Feature]]:
    """The two features of grouped events, kept for those who ask next: they are counted, scored and compared."""
    from amiss.detect.chain import Feature

    users, gaps = events.users, frozen(gap_bins(events.gap))
    return [
        (ACTION, Feature(users, events.first, events.previous, events.state)),
        (GAP, Feature(users, events.first, events.state, gaps)),
    ]


def worst(first: Ints, found: list[tuple[int, Feature]], bits: list[Floats]) -> list[list[Pair]]:
    """For each user the pairs with most bits, from the event on since which all the user's bits add up to most.

    Parameters
    ----------
    first : (u + 1,)
        Where the events of each user begin.
    found, bits
        Features of the events, and the bits (n,) that each gives.
    """
    total = np.sum(bits, axis=0)
    pairs = []
    for low, high in pairwise(first.tolist()):
        before = np.cumsum(total[low:high]) - total[low:high]
        since = slice(low + int(np.argmin(before)) if high > low else low, high)
        each = [_pairs(code, feature, more, since) for (code, feature), more in zip(found, bits, strict=True)]
        against = [pair for some in each for pair in some if pair.bits > 0]
        against.sort(key=lambda pair: (-pair.bits, pair.feature, pair.given, pair.value))
        pairs.append(against[:REASONS])
    return pairs


def _pairs(code: int, feature: Feature, bits: Floats, since: slice) -> Iterator[Pair]:
    """Each pair of a feature among some events: its bits, how often, of how many with the same given."""
    shown = feature.value[since] != NO_GAP
    given, value = feature.given[since][shown].astype(np.int64), feature.value[since][shown]
    keys, at, count = np.unique((given << 32) | value, return_inverse=True, return_counts=True)
    sums = np.bincount(at, weights=bits[since][shown], minlength=len(keys))
    rows, row = np.unique(keys >> 32, return_inverse=True)
    of = np.bincount(row, weights=count, minlength=len(rows))[row]
    columns = (keys >> 32, keys & 0xFFFFFFFF, sums, count, of.astype(np.int64))
    for pair in zip(*(column.tolist() for column in columns), strict=True):
        yield Pair(code, *pair)


def about(pair: Pair, names: Names) -> str:
    """The action that a pair is about."""
    return names.state(pair.given if pair.feature == GAP else pair.value)


def sentence(pair: Pair, names: Names) -> str:
    """What the user did, with counts."""
    share = f"{pair.count:,} of {pair.of:,}"
    if pair.feature == GAP:
        return f"{names.state(pair.given)} came {_span(pair.value)} after the action before, {share} times"
    if pair.given == START:
        return f"{names.state(pair.value)} began {share} sessions"
    return f"{names.state(pair.value)} came after {names.state(pair.given)} {share} times"


def _elsewhere(count: int, of: int) -> str:
    """What others did there."""
    return f"elsewhere {count:,} of {of:,}" if of > 0 else "nobody else was ever there"


def _span(code: int) -> str:
    """A gap bin in words."""
    low, high = bin_bounds(code)
    if high <= 1:
        return "within a second"
    unit, length = ("min", 60.0) if low > 60 else ("s", 1.0)
    return f"{low / length:.0f} to {high / length:.0f} {unit}"
