"""The one place that knows the order: count what was, freeze it, score the next day against it, then learn that day.

A scan reads everything into a :class:`~amiss.spool.Spool`, then goes through the days. Each is judged by the days
before it. The first, where nothing earlier was given, is judged by itself with each user left out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss import evidence, surprisal
from amiss.baseline import Past, merge
from amiss.detect import Detector, Reason
from amiss.events import OUTCOMES
from amiss.sessions import SESSION_GAP, action_of, group
from amiss.sources import CodedSource, Source
from amiss.spool import Spool
from amiss.vocabulary import Vocabulary, encode_events

WINDOW: Final = timedelta(days=30)
"""How far back a baseline reaches; whole days fall out of it."""

Floats = npt.NDArray[np.float64]
Counts = dict[str, pl.DataFrame]
"""The counts of a period, by what detectors call them."""

STEP_SCHEMA: Final = {"user": pl.UInt32(), "action": pl.UInt32(), "outcome": pl.UInt8()}
"""What surprisal asks of events."""


class History:
    """The counts of days, learned or judged, and what those that judge a day add up to."""

    def __init__(self) -> None:
        self.learned: dict[date, Counts] = {}
        self.judged: dict[date, Counts] = {}
        self._pasts: defaultdict[str, Past] = defaultdict(Past)
        self._within: list[tuple[bool, date]] = []

    def before(self, day: date) -> Mapping[str, Past]:
        """What judges a day: the days of the window before it, else all that were learned; maybe nothing.

        What was learned of the day itself, from another log, is among them.
        """
        recent = [(True, then) for then in self.learned if day - WINDOW <= then <= day]
        recent += [(False, then) for then in self.judged if day - WINDOW <= then < day]
        self._move(recent or [(True, then) for then in self.learned])
        return self._pasts

    def alone(self, day: date) -> Mapping[str, Past]:
        """A day as its own past."""
        return {family: Past([counts]) for family, counts in self.judged[day].items()}

    def _move(self, wanted: list[tuple[bool, date]]) -> None:
        """Make the sums those of the wanted days, from those of the days asked for last."""
        for at in reversed(range(len(self._within))):
            if self._within[at] not in wanted:
                del self._within[at]
                for past in self._pasts.values():
                    past.drop(at)
        for learned, day in wanted:
            if (learned, day) not in self._within:
                self._within.append((learned, day))
                for family, counts in (self.learned if learned else self.judged)[day].items():
                    self._pasts[family].add(counts)


@dataclass
class Scan:
    """Everything that a scan knows: the coded events, how each day was judged, where each user stands."""

    detectors: Sequence[Detector[Any]]
    session_gap: timedelta = SESSION_GAP
    users: Vocabulary = field(default_factory=Vocabulary)
    actions: Vocabulary = field(default_factory=Vocabulary)
    spool: Spool = field(default_factory=Spool)
    history: History = field(default_factory=History)
    befores: dict[date, pl.DataFrame | None] = field(default_factory=dict)
    transitions: pl.DataFrame = field(default_factory=pl.DataFrame)
    standings: pl.DataFrame = field(default_factory=pl.DataFrame)

    learned_from: str = ""
    top: int | None = 20
    told: dict[int, tuple[float, date, list[Reason]]] = field(default_factory=dict)
    _judging: tuple[date, Mapping[str, Any]] | None = None
    _kept: tuple[tuple[int, date, int], tuple[pl.DataFrame, pl.DataFrame]] | None = None

    def run(self, sources: Iterable[Source], learn: Iterable[Source], progress: Callable[[int], None]) -> None:
        """Read, learn, judge."""
        past, counted = Spool(), 0
        for spool, given in ((past, learn), (self.spool, sources)):
            for frame in self._read(given):
                spool.add(frame)
                counted += len(frame)
                progress(counted)
        self.learned_from = _described(past, self.spool.days())
        before, learned = self._learn(past)
        steps = [surprisal.steps(pl.DataFrame(schema=STEP_SCHEMA))]
        standings = []
        for day, events in self._days(before):
            standings.append(self._stand(events, day))
            self._tell(standings[-1], events, day)
            steps.append(surprisal.steps(coded(events)))
        taken = pl.concat(steps)
        self.transitions = surprisal.transitions(learned if len(past) else surprisal.merge(taken.drop("user")))
        self.standings = (
            _with_surprisal(standings, surprisal.priced(taken, self.transitions, by=["user"]))
            if standings
            else self.standings
        )
        self._kept = None

    def name_of(self, state: int) -> str:
        """A state in words."""
        action, outcome = action_of(state)
        text = str(self.actions.decode([action])[0])
        return f"{text} (failed)" if outcome == "failure" else text

    def events(self, day: date, users: Sequence[int]) -> pl.DataFrame:
        """The grouped events of some users on a day."""
        wanted = self.spool.select(day, pl.col("user").is_in(list(users)))
        return group(wanted, self.befores[day], session_gap=self.session_gap)[0]

    def scored(self, day: date, users: Sequence[int]) -> pl.DataFrame:
        """The grouped events of some users on a day, with `surprisal`, `bits` and running `evidence` after each.

        Surprisal and bits are those of the first detector, evidence that of all together.
        """
        events = self.events(day, users)
        scores = self._scores(events, day)
        together = self._evidence(events, scores)[1]
        first = next(iter(scores.values()))
        return events.with_columns(first["surprisal"], first["bits"], evidence=together)

    def reasons(self, day: date, events: pl.DataFrame) -> dict[int, list[Reason]]:
        """What speaks against the users of these grouped events, all of a day, most first."""
        found: defaultdict[int, list[Reason]] = defaultdict(list)
        baselines = self._baselines(day)
        for detector in self.detectors:
            explained = detector.explain(events, baselines[detector.name], self.name_of)
            for user, reasons in explained.items():
                found[user] += reasons
        return {user: sorted(reasons, key=lambda reason: -reason.bits) for user, reasons in found.items()}

    def _tell(self, standing: pl.DataFrame, events: pl.DataFrame, day: date) -> None:
        """Keep the reasons of users who are among the `top` so far, while what judges the day is at hand."""
        best = sorted((bits for bits, _, _ in self.told.values()), reverse=True)
        least = best[self.top - 1] if self.top is not None and len(best) >= self.top else -math.inf
        ahead = standing.filter(pl.col("bits") > least).sort("bits", "user", descending=[True, False])
        ahead = ahead if self.top is None else ahead.head(self.top)
        found = dict(ahead.select("user", "bits").iter_rows())
        better = {user: bits for user, bits in found.items() if user not in self.told or bits > self.told[user][0]}
        if better:
            reasons = self.reasons(day, events.filter(pl.col("user").is_in(list(better))))
            self.told |= {user: (bits, day, reasons.get(user, [])) for user, bits in better.items()}

    def _read(self, sources: Iterable[Source]) -> Iterator[pl.DataFrame]:
        """Coded frames of all sources; `position` runs on from source to source."""
        offset = 0
        for source in sources:
            last = 0
            for frame in coded_frames(source, self.users, self.actions):
                last = max(last, int(frame.select(pl.col("position").max()).item() or 0))
                yield frame.with_columns(pl.col("position") + offset) if offset else frame
            offset += last

    def _learn(self, past: Spool) -> tuple[pl.DataFrame | None, pl.DataFrame]:
        """Take the counts of the days to learn from; the last events, and the surprisal counts of all."""
        before: pl.DataFrame | None = None
        surprisals = []
        for day in past.days():
            self.history.learned[day] = self._summaries(past, day, before)
            surprisals += [surprisal.summarise(coded(part)) for part, _ in self._grouped(past, day, before)]
            before = self._last(past, day, before)
        return before, surprisal.merge(*surprisals)

    def _days(self, before: pl.DataFrame | None) -> Iterator[tuple[date, pl.DataFrame]]:
        """The grouped events of each day in parts, once it is known what judges the day."""
        days = self.spool.days()
        for day in days:
            self.befores[day] = before
            if day != days[-1] or not any(len(past) for past in self.history.before(day).values()):
                self.history.judged[day] = self._summaries(self.spool, day, before)
            self._judging = None
            for part, _ in self._grouped(self.spool, day, before):
                yield day, part
            before = self._last(self.spool, day, before)

    def _baselines(self, day: date) -> Mapping[str, Any]:
        """What is normal for each detector on a day, kept until another day is asked for."""
        if self._judging is None or self._judging[0] != day:
            pasts = self.history.before(day)
            alone = not any(len(past) for past in pasts.values())
            pasts = self.history.alone(day) if alone else pasts
            self._judging = (
                day,
                {
                    detector.name: detector.baseline(pasts[detector.counts], leave_out=alone)
                    for detector in self.detectors
                },
            )
        return self._judging[1]

    def _stand(self, events: pl.DataFrame, day: date) -> pl.DataFrame:
        """Where the users of grouped events stand at the end of a day."""
        first = evidence.groups(events["user"])
        last = first[1:] - 1
        running, together = self._evidence(events, self._scores(events, day))
        return events[first[:-1]].select(
            "user",
            pl.lit(day).alias("period"),
            pl.Series("events", np.diff(first)),
            pl.col("time").alias("first_time"),
            events["time"][last].alias("last_time"),
            pl.Series("bits", together[last]),
            pl.Series("peak", np.maximum.reduceat(together, first[:-1])),
            pl.struct(pl.Series(name, bits[last]) for name, bits in running.items()).alias("detectors"),
        )

    def _evidence(self, events: pl.DataFrame, scores: Mapping[str, pl.DataFrame]) -> tuple[dict[str, Floats], Floats]:
        """The running evidence after each event, by detector and of all together."""
        silent = np.zeros(len(events))
        bits = {name: scored["bits"].to_numpy() for name, scored in scores.items()}
        spoken = {name: given for name, given in bits.items() if given.any()}
        running = {name: evidence.follow(events["user"], given)[0] for name, given in spoken.items()}
        together = (
            evidence.together(events["user"], list(spoken.values()), list(running.values())) if spoken else silent
        )
        return {name: running.get(name, silent) for name in bits}, together

    def _scores(self, events: pl.DataFrame, day: date) -> dict[str, pl.DataFrame]:
        """The scores of each detector, for users of whom a day holds no earlier events."""
        baselines = self._baselines(day)
        return {
            detector.name: detector.score(events, baselines[detector.name], detector.no_state())[0]
            for detector in self.detectors
        }

    def _summaries(self, spool: Spool, day: date, before: pl.DataFrame | None) -> Counts:
        """The counts of a day for each detector."""
        parts = [part for part, _ in self._grouped(spool, day, before)]
        families = {detector.counts: detector for detector in self.detectors}
        return {name: merge([detector.summarise(part) for part in parts]) for name, detector in families.items()}

    def _last(self, spool: Spool, day: date, before: pl.DataFrame | None) -> pl.DataFrame:
        """The last events of all users after a day."""
        *_, (_, last) = self._grouped(spool, day, before)
        return last

    def _grouped(
        self, spool: Spool, day: date, before: pl.DataFrame | None
    ) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """The grouped events of a day in parts, with the last events of all users after each part.

        What was grouped last is kept: a day is counted, then scored.
        """
        key = (id(spool), day, id(before))
        if self._kept is not None and self._kept[0] == key:
            yield self._kept[1]
            return
        self._kept = None
        last = before
        for part in spool.parts(day):
            events, last = group(part, last, session_gap=self.session_gap)
            if len(part) == spool.rows(day):
                self._kept = (key, (events, last))
            yield events, last


def coded_frames(source: Source, users: Vocabulary, actions: Vocabulary) -> Iterator[pl.DataFrame]:
    """Coded frames of a source, read straight into codes where it can; new texts join the vocabularies."""
    if isinstance(source, CodedSource):
        yield from (frame for frame, _ in source.read_coded(users, actions))
    else:
        yield from (encode_events(frame, users, actions) for frame, _ in source.read())


def _described(past: Spool, judged: Sequence[date]) -> str:
    """What the judged days are judged by."""
    days = past.days()
    other = "" if set(days) & set(judged) else "other "
    first = f"{len(past):,} events of {len(days)} {other}{'day' if len(days) == 1 else 'days'}"
    first = first if days else "the same day, each user left out"
    return first if len(judged) <= 1 else f"{first}; later days also from the days before"


def coded(events: pl.DataFrame) -> pl.DataFrame:
    """Grouped events with `action` and `outcome` for `state`."""
    action, outcome = pl.col("state") // len(OUTCOMES), pl.col("state") % len(OUTCOMES)
    return events.select("user", action.cast(pl.UInt32).alias("action"), outcome.cast(pl.UInt8).alias("outcome"))


def _with_surprisal(standings: Sequence[pl.DataFrame], profile: pl.DataFrame) -> pl.DataFrame:
    """Where users stand, with the surprisal of all they did and its z."""
    sums = surprisal.totals(profile).select("user", "surprisal", "z")
    return pl.concat(standings).join(sums, on="user", how="left", maintain_order="left")
