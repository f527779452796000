"""The one place that knows the order: count what was, freeze it, score the next day against it, then learn that day.

A scan reads everything into a :class:`~amiss.spool.Spool`, then goes through the days. Each is judged by the days
before it. The first, where nothing earlier was given, is judged by itself with each user left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss import evidence, surprisal
from amiss.baseline import merge
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

History = dict[date, Counts]


@dataclass(frozen=True)
class Day:
    """How a day was judged: by what, and who had been doing what when it began."""

    baselines: Mapping[str, Any]
    before: pl.DataFrame | None


@dataclass
class Scan:
    """Everything that a scan knows: the coded events, how each day was judged, where each user stands."""

    detectors: Sequence[Detector[Any]]
    session_gap: timedelta = SESSION_GAP
    users: Vocabulary = field(default_factory=Vocabulary)
    actions: Vocabulary = field(default_factory=Vocabulary)
    spool: Spool = field(default_factory=Spool)
    days: dict[date, Day] = field(default_factory=dict)
    transitions: pl.DataFrame = field(default_factory=pl.DataFrame)
    standings: pl.DataFrame = field(default_factory=pl.DataFrame)

    learned_from: str = ""
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
        history, before, surprisals = self._learn(past)
        self.transitions = surprisal.transitions(surprisals if len(past) else self._surprisals())
        if len(self.spool):
            self.standings = pl.concat(self._judge(history, before))
        self._kept = None

    def name_of(self, state: int) -> str:
        """A state in words."""
        action, outcome = action_of(state)
        text = str(self.actions.decode([action])[0])
        return f"{text} (failed)" if outcome == "failure" else text

    def events(self, day: date, users: Sequence[int]) -> pl.DataFrame:
        """The grouped events of some users on a day."""
        wanted = self.spool.select(day, pl.col("user").is_in(list(users)))
        return group(wanted, self.days[day].before, session_gap=self.session_gap)[0]

    def scored(self, day: date, users: Sequence[int]) -> pl.DataFrame:
        """The grouped events of some users on a day, with `surprisal`, `bits` and running `evidence` after each.

        Surprisal and bits are those of the first detector, evidence that of all together.
        """
        events = self.events(day, users)
        scores = self._scores(events, self.days[day])
        together = self._evidence(events, scores)[1]
        first = next(iter(scores.values()))
        return events.with_columns(first["surprisal"], first["bits"], evidence=together)

    def reasons(self, day: date, events: pl.DataFrame) -> dict[int, list[Reason]]:
        """What speaks against the users of these grouped events, all of a day, most first."""
        found: defaultdict[int, list[Reason]] = defaultdict(list)
        for detector in self.detectors:
            explained = detector.explain(events, self.days[day].baselines[detector.name], self.name_of)
            for user, reasons in explained.items():
                found[user] += reasons
        return {user: sorted(reasons, key=lambda reason: -reason.bits) for user, reasons in found.items()}

    def _read(self, sources: Iterable[Source]) -> Iterator[pl.DataFrame]:
        """Coded frames of all sources; `position` runs on from source to source."""
        offset = 0
        for source in sources:
            last = 0
            for frame in coded_frames(source, self.users, self.actions):
                last = max(last, int(frame.select(pl.col("position").max()).item() or 0))
                yield frame.with_columns(pl.col("position") + offset) if offset else frame
            offset += last

    def _learn(self, past: Spool) -> tuple[History, pl.DataFrame | None, pl.DataFrame]:
        """Counts of each day, last events, and surprisal counts of the events to learn from."""
        history: History = {}
        before: pl.DataFrame | None = None
        surprisals = []
        for day in past.days():
            history[day] = self._summaries(past, day, before)
            surprisals += [surprisal.summarise(coded(part)) for part, _ in self._grouped(past, day, before)]
            before = self._last(past, day, before)
        return history, before, surprisal.merge(*surprisals)

    def _surprisals(self) -> pl.DataFrame:
        """Surprisal counts of the events to judge."""
        parts = (part for day in self.spool.days() for part, _ in self._grouped(self.spool, day, None))
        return surprisal.merge(*(surprisal.summarise(coded(part)) for part in parts))

    def _judge(self, history: History, before: pl.DataFrame | None) -> Iterator[pl.DataFrame]:
        """Where each user stands at the end of each day."""
        days = self.spool.days()
        for day in days:
            earlier = _window(history, day)
            today = self._summaries(self.spool, day, before) if not earlier or day != days[-1] else None
            self.days[day] = self._day(earlier or [today or {}], before, leave_out=not earlier)
            for part, _ in self._grouped(self.spool, day, before):
                yield self._stand(part, day)
            if today is not None:
                history[day] = _added(today, history.get(day))
            before = self._last(self.spool, day, before)

    def _day(self, periods: Sequence[Counts], before: pl.DataFrame | None, *, leave_out: bool) -> Day:
        """How a day is judged after the counts of earlier periods, or of its own."""
        baselines = {
            detector.name: detector.baseline([counts[detector.counts] for counts in periods], leave_out=leave_out)
            for detector in self.detectors
        }
        return Day(baselines, before)

    def _stand(self, events: pl.DataFrame, day: date) -> pl.DataFrame:
        """Where the users of grouped events stand at the end of a day."""
        first = evidence.groups(events["user"])
        last = first[1:] - 1
        scores = self._scores(events, self.days[day])
        running, together = self._evidence(events, scores)
        sums = surprisal.profile(coded(events), self.transitions).group_by("user", maintain_order=True).sum()
        return events[first[:-1]].select(
            "user",
            pl.lit(day).alias("period"),
            pl.Series("events", np.diff(first)),
            pl.col("time").alias("first_time"),
            events["time"][last].alias("last_time"),
            pl.Series("bits", together[last]),
            pl.Series("peak", np.maximum.reduceat(together, first[:-1])),
            sums["surprisal"],
            pl.struct(pl.Series(name, bits[last]) for name, bits in running.items()).alias("detectors"),
        )

    def _evidence(self, events: pl.DataFrame, scores: Mapping[str, pl.DataFrame]) -> tuple[dict[str, Floats], Floats]:
        """The running evidence after each event, by detector and of all together."""
        bits = {name: scored["bits"].to_numpy() for name, scored in scores.items()}
        running = {name: evidence.follow(events["user"], given)[0] for name, given in bits.items()}
        return running, _together(evidence.groups(events["user"]), list(bits.values()), list(running.values()))

    def _scores(self, events: pl.DataFrame, judged: Day) -> dict[str, pl.DataFrame]:
        """The scores of each detector, for users of whom a day holds no earlier events."""
        return {
            detector.name: detector.score(events, judged.baselines[detector.name], detector.no_state())[0]
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


def _window(history: History, day: date) -> list[Counts]:
    """The counts of the days that judge a day: those of the window before it, else all that were learned.

    What was learned of the day itself, from another log, is among them.
    """
    recent = [counts for then, counts in history.items() if day - WINDOW <= then <= day]
    return recent or list(history.values())


def _added(today: Counts, learned: Counts | None) -> Counts:
    """Two counts of one day as one."""
    return today if learned is None else {name: merge([counts, learned[name]]) for name, counts in today.items()}


def _together(first: npt.NDArray[np.int64], bits: Sequence[Floats], running: Sequence[Floats]) -> Floats:
    """The running evidence of all detectors together (amiss.evidence.combine).

    Those that speak of a user count alike; one that gave no bits in the whole day, as for want of a past, not at all.
    """
    if len(running) == 1:
        return running[0]
    spoke = [np.logical_or.reduceat(given != 0.0, first[:-1]) for given in bits]
    weight = np.log2(np.maximum(np.sum(spoke, axis=0), 1))
    said = [np.where(np.repeat(who, np.diff(first)), more, -np.inf) for who, more in zip(spoke, running, strict=True)]
    total = np.logaddexp2.reduce(said) - np.repeat(weight, np.diff(first))
    return np.where(np.isneginf(total), 0.0, total)
