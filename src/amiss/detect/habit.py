"""The `habit` detector: is this unlike what the user did before?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.baseline import COUNT_SCHEMA, Chain, Past, check_cap
from amiss.detect import Forgetful, Names, Plain, Reason, Scores
from amiss.detect.sequence import (
    ACTION,
    GAP,
    Pair,
    Sequence,
    about,
    features,
    sentence,
    taught,
    worst,
)
from amiss.sessions import Events

if TYPE_CHECKING:
    from amiss.detect.chain import Counted, Feature


@dataclass(frozen=True, eq=False)
class HabitBaseline:
    """What everyone did, and what each user did."""

    action: Chain
    gap: Chain
    past: pl.DataFrame
    own: tuple[Counted, ...]
    taught: tuple[Counted, ...] = ()

    def of(self, feature: int) -> Chain:
        """The chain of a feature."""
        return self.action if feature == ACTION else self.gap


@dataclass(frozen=True)
class Habit(Plain):
    """Is this unlike what the user did before?

    The features of :class:`~amiss.detect.sequence.Sequence`, with another question. `p` is what the user's own earlier
    periods lead to expect, `q` what everyone's do: ``bits = log2(q/p)``. With `c` the user's counts and `q` the chance
    after :class:`~amiss.baseline.Chain`, which is worth 8 events::

        p(value | given) = (c(given, value) + 8 * q(value | given)) / (c(given) + 8)

    **What it remembers.** The counts of earlier periods by user, about 20 bytes for each different pair; nothing more
    while a period runs.

    **When it is silent.** For users with fewer than `least` events in earlier periods, so always in a log of one day.

    **What fools it.** Whoever does what the user did before; a change of role looks like a stranger.

    Parameters
    ----------
    cap
        The most that one user adds to one count of everyone's in a period.
    least
        The events in earlier periods from which on a user has habits.

    Source
    ------
    The ratio of everyone to the user: Freeman, Jain, Dürmuth, Biggio, Giacinto 2016, "Who Are You? A Statistical
    Approach to Measuring User Authenticity".

    Examples
    --------
    Ann always views after a login, as half of all do. Today she buys, as the other half does.

    >>> counts = [(0, 0, -1, 0, 40), (0, 0, 0, 3, 40), (0, 1, -1, 0, 40), (0, 1, 0, 6, 40)]
    >>> past = pl.DataFrame(counts, schema=COUNT_SCHEMA, orient="row")
    >>> detector = Habit(least=50)
    >>> from amiss.sessions import GROUPED_SCHEMA
    >>> events = [(1, 0, 0, 0, -1, -1), (2, 9, 0, 6, 0, -1)]
    >>> today = Events.of(pl.DataFrame(events, schema=GROUPED_SCHEMA, orient="row"))
    >>> detector.score(today, detector.baseline(Past([past]))).bits.round(2)
    array([-0.11,  2.58])
    """

    cap: int = 5
    least: int = 100

    name: ClassVar[str] = "habit"
    counts: ClassVar[str] = Sequence.counts
    count_schema: ClassVar[dict[str, pl.DataType]] = COUNT_SCHEMA
    state_schema: ClassVar[dict[str, pl.DataType]] = Forgetful.SCHEMA

    def __post_init__(self) -> None:
        check_cap(self.cap)

    def summarise(self, events: Events) -> pl.DataFrame:
        """How often each user showed each (previous, state) and (state, gap), from grouped events."""
        return Sequence(self.cap).summarise(events)

    def baseline(self, past: Past, *, leave_out: bool = False) -> HabitBaseline:
        """What everyone and each user did in earlier periods; nothing when the period itself is all there is."""
        from amiss.detect.chain import Counted

        earlier = Past() if leave_out else past
        action, gap = (earlier.chain(feature, self.cap) for feature in (ACTION, GAP))
        counts = earlier.by_user()
        own = tuple(Counted(counts, feature) for feature in (ACTION, GAP))
        return HabitBaseline(action, gap, counts, own, taught(past))

    def memory(self, state: pl.DataFrame | None = None) -> Forgetful:  # noqa: ARG002 - there is nothing to recall
        """Nothing is remembered while a period runs."""
        return Forgetful()

    def score(self, events: Events, baseline: HabitBaseline, memory: Forgetful | None = None) -> Scores:  # noqa: ARG002 - as above
        """Bits and surprisal of grouped events."""
        scores = Scores.nothing(len(events))
        if len(baseline.past):
            for found in features(events):
                self._compare(found, baseline, scores)
        return scores

    def explain(self, events: Events, baseline: HabitBaseline, names: Names) -> dict[int, list[Reason]]:
        """The pairs of (previous, state) and (state, gap) that are least like the users."""
        if baseline.past.is_empty():
            return {}
        found = features(events)
        bits = [self._compare(each, baseline, Scores.nothing(len(events))).bits for each in found]
        users = zip(events.users.tolist(), worst(events.first, found, bits), strict=True)
        return {user: [self._reason(baseline, names, user, pair) for pair in pairs] for user, pairs in users if pairs}

    def readiness(self, baseline: HabitBaseline, users: npt.NDArray[np.uint32]) -> list[str]:
        """For each user what is missing until this detector has habits to go by, or nothing."""
        seen = baseline.past.filter(pl.col("feature") == ACTION, pl.col("user").is_in(users.tolist()))
        events = dict(seen.group_by("user").agg(pl.col("count").sum()).iter_rows())
        counts = [events.get(user, 0) for user in users.tolist()]
        return ["" if count >= self.least else f"{count:,} of {self.least:,} events" for count in counts]

    def _compare(self, found: tuple[int, Feature], baseline: HabitBaseline, scores: Scores) -> Scores:
        """The scores, once what one feature says was added."""
        from amiss.detect import chain

        code, feature = found
        said = Scores.nothing(len(feature.value)) if baseline.taught else scores
        chain.compare(feature, baseline.own[code], baseline.of(code), self.least, said)
        if baseline.taught:
            scores.add(chain.excuse(said, feature, baseline.taught[code]))
        return scores

    def _reason(self, baseline: HabitBaseline, names: Names, user: int, pair: Pair) -> Reason:
        """The reason that a pair gives, with the user's own past beside it."""
        before, of = baseline.own[pair.feature].seen(user, pair.given, pair.value)
        text = f"{sentence(pair, names)}; the user's own past {before:,} of {of:,}"
        return Reason(self.name, pair.bits, text, pair.count, pair.of, before, of, about(pair, names))
