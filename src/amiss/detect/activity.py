"""The `activity` detector: more or fewer events than usual?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.baseline import COUNT_SCHEMA, Floats, Past
from amiss.blocks import frozen, highest
from amiss.detect import Names, Plain, Reason, Scores
from amiss.fields import Fields
from amiss.sessions import Events

if TYPE_CHECKING:
    from amiss.detect.activity_normal import ActivityBaseline

DAYS: Final = 7
"""Days with events from which on there is something to compare with."""

STATE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "user": pl.UInt32(),
    "day": pl.Int32(),
    "minute": pl.Int32(),
    "events": pl.Int64(),
    "within": pl.Int64(),
    **dict.fromkeys(("chance", "below", "pace_chance", "pace_below", "passed", "evidence"), pl.Float64()),
}
"""What is remembered of a user while a period runs: 80 bytes."""

_HELD: Final = tuple(STATE_SCHEMA)[1:]


class ActivityMemory:
    """What was counted of users today and in the minute at hand, and the evidence so far.

    Examples
    --------
    >>> ActivityMemory().frame().shape
    (0, 11)
    """

    def __init__(self, state: pl.DataFrame | None = None) -> None:
        self._held: Floats = np.zeros((0, len(_HELD)))
        if state is not None and len(state):
            users = state["user"].to_numpy()
            self._grow(highest(users) + 1)
            self._held[users] = state.select(pl.col(_HELD).cast(pl.Float64)).to_numpy()

    def frame(self) -> pl.DataFrame:
        """A row for each user who did anything (`STATE_SCHEMA`)."""
        users = np.flatnonzero(self._held[:, 2]) if len(self._held) else np.zeros(0, dtype=np.int64)
        columns = {"user": users} | {name: self._held[users, number] for number, name in enumerate(_HELD)}
        return pl.DataFrame(columns).select(pl.col(name).cast(dtype) for name, dtype in STATE_SCHEMA.items())

    def score(self, events: Events, baseline: ActivityBaseline, *, alone: bool = False) -> Scores:
        """Bits and surprisal of grouped events; with `alone` they are all there is, and nothing is kept."""
        from amiss.detect import activity_kernel as kernel

        users = events.users
        if alone:
            held, seats = np.zeros((len(users), len(_HELD))), np.arange(len(users), dtype=np.uint32)
        else:
            self._grow(highest(users) + 1)
            held, seats = self._held, users
        group = frozen(baseline.group_of(events.context["group"])) if "group" in events.context else _NO_GROUP
        scores = Scores.nothing(len(events))
        kernel.judge(
            events.first,
            users,
            seats,
            events.time,
            group,
            baseline.normal,
            baseline.others,
            baseline.law,
            held,
            scores.bits,
            scores.surprisal,
        )
        return scores

    def _grow(self, users: int) -> None:
        """Make room for the codes below `users`."""
        there = len(self._held)
        if users > there:
            grown = np.zeros((max(users, there * 5 // 4), len(_HELD)))
            grown[:there] = self._held
            self._held = grown


_NO_GROUP: Final = frozen(np.zeros(0, dtype=np.int64))


@dataclass(frozen=True)
class Activity(Plain):
    """More or fewer events than usual?

    Of the `k`-th event of a user on a day it asks how likely a day is to have `k` or more. With `S(k)` the chance that
    a day of theirs with any events has `k` or more, `a` the chance that such a day has any, and `A` that of any user on
    any day, the evidence of the day is ``U^(-7/8) / 8`` with ``U = min(1, S(k) * a/A)``: the q of `k` or more is p to
    the power of 1/8, by 1/8. No order of events within the day changes it. Being there at all says ``A / a``.

    **p of a day.** One event, and above it a negative binomial with mean `m` and variance ``m + v m²``; of `w` days,
    one is unusual: then the chance falls off as a power, 2 to 6, of how many times `m` there are; both are counted
    (the power by Hill's estimate). `m` follows the user's days, half of whose weight is lost in a week, none counting
    for more than three deviations above what was expected of it, unless two such days follow each other, which begins
    a new level. It is worth as many days of everyone as users are alike; it changes by day of the week, for all, and
    for the user as far as that has been seen. `v` is what days differed from what was expected of them before, the
    user's and everyone's: how many days of everyone stand for a user's own, and how many weeks for the user's days of
    the week, is what makes the past of up to 2,000 users most likely. What all do more than before is expected of
    each, from the next day on.

    **p of being active** is counted by day of the week, backed off to days alike (the quiet ones are those on which few
    are active), to all days, and to everyone.

    **Bursts.** Of the `j`-th event within a clock minute it asks the same: given one, how likely are `j` or more? Each
    minute says ``1 - e + e * S^(-7/8) / 8``, with `e` one in two more than the user has active minutes a day; their
    product is the evidence of minutes. All three look at the same events, so they are mixed, never added:
    ``M = A/(4a) + 3/8 day + 3/8 minutes``; whoever is odd is so in half of all cases. An event's bits are what it adds
    in the running mixture of :class:`amiss.evidence.Standing`::

        bits = log2((1 - 1/k + M(k)) / (1 - 1/k + M(k-1)))          M(0) = 1

    so that the running evidence is ``log2((1 + M) / 2)``: no moment of change is paid for.

    **Silence.** The days since a user was last active, each with the chance of being active as it was then, less where
    others stay away that day as well (a holiday is the day's, not the user's), mixed with the chance, counted, that
    somebody goes away for a while. It is said once, on the first day on which it is rarer than one in eight times all
    users. Of users without a group chance and number are rounded up to powers of two, as these go away in waves.

    **What it remembers.** Counts of a period: a row of 21 bytes for each user and day, with how many events and in how
    many minutes. While a period runs, 80 bytes a user. Of what is normal, 152 bytes a user.

    **When it is silent.** While there are fewer than seven earlier days with events. Days without any events are no
    days: nothing is learned of them, unless it is so on most of these days of the week.

    **What fools it.** Who does a little more each day. Who does twice as much on two days in a row has a new level. A
    thief who does as much as the user.

    Parameters
    ----------
    by_group
        Judge users who are new, what is usual by day of the week, and silence by others of their `group` first. Logs
        must have that column; each event then takes a little longer.

    Source
    ------
    p-values as evidence: Shafer, Shen, Vereshchagin, Vovk 2011, "Test martingales, Bayes factors and p-values" (the
    family ``k * p^(k-1)`` with k = 1/8).

    Examples
    --------
    Ann has 10 events on each of 14 days, each in a minute of its own. On the next day she has 40, all within a minute.

    >>> from amiss.sessions import GROUPED_SCHEMA
    >>> def events(day, times):
    ...     rows = [(n, day * 86_400_000_000 + time, 0, 0, -1, -1) for n, time in enumerate(times)]
    ...     return Events.of(pl.DataFrame(rows, schema=GROUPED_SCHEMA, orient="row"))
    >>> detector = Activity()
    >>> days = [detector.summarise(events(day, range(0, 10 * 3_600_000_000, 3_600_000_000))) for day in range(14)]
    >>> baseline = detector.baseline(Past(days))
    >>> from amiss.evidence import running
    >>> today = events(14, range(40))
    >>> float(running(today.first, detector.score(today, baseline).bits)[-1].round(1))
    8.5

    By hand: were her events above one geometric with mean 9 (`v` = 1), S(45) would be 0.9^44 = 2^-6.69, so that a day
    of 45 says 2^(7/8 * 6.69 - 3) = 7.22. Without bursts (`e` = 0), M = 1/4 + 3/8 * 7.22 + 3/8 = 3.33, which makes
    log2((1 + 3.33) / 2) = 1.12 bits.

    >>> from dataclasses import replace
    >>> ann = replace(baseline, normal=frozen(np.array([[1.0] * 7 + [9.0] * 7 + [1.0, 0.05, 1.0, 0.0, 0.0]])))
    >>> today = events(14, range(0, 45 * 60_000_000, 60_000_000))
    >>> float(running(today.first, detector.score(today, ann).bits)[-1].round(2))
    1.12
    """

    by_group: bool = False

    name: ClassVar[str] = "activity"
    counts: ClassVar[str] = "activity"
    count_schema: ClassVar[dict[str, pl.DataType]] = COUNT_SCHEMA
    state_schema: ClassVar[dict[str, pl.DataType]] = STATE_SCHEMA

    def __post_init__(self) -> None:
        if self.by_group:
            object.__setattr__(self, "context_schema", {"group": pl.UInt32()})

    @staticmethod
    def fits(fields: Fields) -> bool:  # noqa: ARG004 - of the protocol
        """Only where it is asked for."""
        return False

    def context(self, events: pl.DataFrame) -> pl.DataFrame:
        """The groups of users, where these are looked at."""
        if not self.by_group:
            return events.select()
        group = events["group"] if "group" in events.columns else pl.repeat("", len(events), eager=True)
        return pl.DataFrame({"group": group.cast(pl.String).fill_null("")})

    def context_of(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same of one event, given by column."""
        return {"group": str(event.get("group") or "")} if self.by_group else {}

    def summarise(self, events: Events) -> pl.DataFrame:
        """How many events, and minutes with events, each user had on each day, from grouped events."""
        from amiss.detect import activity_normal

        return activity_normal.count(events)

    def baseline(self, past: Past, *, leave_out: bool = False) -> ActivityBaseline | None:
        """What users did on earlier days; None where there are too few, or the day itself is all there is."""
        from amiss.detect import activity_normal

        return None if leave_out else activity_normal.baseline(past, DAYS)

    def memory(self, state: pl.DataFrame | None = None) -> ActivityMemory:
        """What is remembered of users while a period runs."""
        return ActivityMemory(state)

    def score(self, events: Events, baseline: ActivityBaseline | None, memory: ActivityMemory | None = None) -> Scores:
        """Bits and surprisal of grouped events."""
        if baseline is None:
            return Scores.nothing(len(events))
        return (ActivityMemory() if memory is None else memory).score(events, baseline, alone=memory is None)

    def explain(self, events: Events, baseline: ActivityBaseline | None, names: Names) -> dict[int, list[Reason]]:  # noqa: ARG002 - of the protocol
        """By user, how many events the day had and the fullest minute, beside what is usual."""
        from amiss.detect import activity_words

        return {} if baseline is None else activity_words.reasons(events, baseline)

    def usual(self, baseline: Any, user: int, names: Names) -> dict[str, str]:  # noqa: ARG002 - of the protocol
        """How many events a user has, on which days, and how many in a minute."""
        from amiss.detect import activity_words

        return {} if baseline is None else activity_words.usual(baseline, user)

    def absent(
        self, baseline: ActivityBaseline | None, day: date, present: npt.NDArray[np.uint32]
    ) -> tuple[npt.NDArray[np.uint32], Floats]:
        """Users who were silent on that whole day, and not only then, and the bits of that: both (u,)."""
        from amiss.detect import activity_normal

        if baseline is None:
            return np.zeros(0, dtype=np.uint32), np.zeros(0)
        places, bits = activity_normal.absent(baseline, day, present)
        return baseline.rows.users[places], bits

    def explain_absent(
        self,
        baseline: ActivityBaseline | None,
        day: date,
        users: npt.NDArray[np.uint32],
        names: Names,  # noqa: ARG002 - of the protocol
    ) -> dict[int, list[Reason]]:
        """By user, since when they are silent, and what is usual; as if all others had come."""
        from amiss.detect import activity_words

        return {} if baseline is None else activity_words.silent(baseline, day, users)
