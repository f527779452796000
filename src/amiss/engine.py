"""The one place that knows the order: count what was, freeze it, score the next day against it, then learn that day.

A scan reads everything into a :class:`~amiss.spool.Spool`, then goes through the days. Each is judged by the days
before it. The first, where nothing earlier was given, is judged by itself with each user left out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss import crowds, surprisal
from amiss.baseline import WINDOW, Floats, Past, check_window, merge
from amiss.blocks import by_block
from amiss.crowds import Crowd
from amiss.decide import LEAST_BITS, Budget, Figures, Threshold, threshold
from amiss.detect import Absences, Detector, Memory, Names, Reason, Scores, Witnesses, coding
from amiss.detect.sequence import ACTION, SequenceBaseline
from amiss.events import OUTCOMES
from amiss.evidence import Standing, weights
from amiss.sessions import GROUPED_SCHEMA, MICROSECOND, SESSION_GAP, Events, Groups, Last, Users, group
from amiss.sources import CodedSource, Source
from amiss.spool import EPOCH, ROWS_IN_MEMORY, Spool
from amiss.tally import Weights, summaries
from amiss.vocabulary import Coding

USERS_SCHEMA: Final = {"user": pl.UInt32()}
"""Users alone."""

Counts = dict[str, pl.DataFrame]
"""The counts of a period, by what detectors call them."""


class History:
    """The counts of days, learned or judged, and what those that judge a day, `window` of them, add up to."""

    def __init__(self, window: int = WINDOW) -> None:
        check_window(window)
        self.window = timedelta(days=window)
        self.learned: dict[date, Counts] = {}
        self.judged: dict[date, Counts] = {}
        self.figures: dict[date, Figures] = {}
        self.taught: dict[int, Counts] = {}
        """By the verdict that said so, what is to be expected of users."""
        self.bad: dict[int, Counts] = {}
        """By the verdict that said so, what was done by somebody else."""
        self.condemned: frozenset[int] = frozenset()
        """Users who are labelled as bad: all that they did on the days that judge is."""
        self._pasts: defaultdict[str, Past] = defaultdict(Past)
        self._within: list[tuple[bool, date]] = []

    def before(self, day: date) -> Mapping[str, Past]:
        """What judges a day: the days of the window before it, else all that were learned; maybe nothing.

        What was learned of the day itself, from another log, is among them.
        """
        recent = [(True, then) for then in self.learned if day - self.window <= then <= day]
        recent += [(False, then) for then in self.judged if day - self.window <= then < day]
        self._move(recent or [(True, then) for then in self.learned])
        for family, past in self._pasts.items():
            past.taught = merge([counts[family] for counts in self.taught.values()])
            past.bad = merge([*(counts[family] for counts in self.bad.values()), *of_users(past, self.condemned)])
        return self._pasts

    def figures_before(self, day: date) -> list[Figures]:
        """What the days that judge a day teach about alarms, oldest first."""
        recent = [then for then in sorted(self.figures) if day - self.window <= then < day]
        return [self.figures[then] for then in recent or sorted(self.learned) if then in self.figures]

    def add(self, day: date, counts: Counts, figures: Figures | None = None) -> Counts:
        """Take counts of a day, more of them if there are some; all of that day."""
        before = self.judged.get(day)
        if figures is not None:
            self.figures[day] = figures
        sums = counts if before is None else {name: merge([before[name], more]) for name, more in counts.items()}
        return self.put(day, sums)

    def put(self, day: date, counts: Counts) -> Counts:
        """Take counts as those of a day, whatever there was."""
        if (False, day) in self._within:
            self._leave(self._within.index((False, day)))
        self.judged[day] = counts
        return counts

    def forget(self, day: date) -> list[date]:
        """Let go of days that are too old to judge that day or later ones; which."""
        old = [then for then in self.judged if then < day - self.window]
        for then in old:
            del self.judged[then]
            self.figures.pop(then, None)
            if (False, then) in self._within:
                self._leave(self._within.index((False, then)))
        return old

    def change(self, table: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        """Replace all counts of judged days, and what people said, by what is made of them."""

        def all_of(counts: Counts) -> Counts:
            return {name: table(each) for name, each in counts.items()}

        self.judged = {day: all_of(counts) for day, counts in self.judged.items()}
        self.taught = {said: all_of(counts) for said, counts in self.taught.items()}
        self.bad = {said: all_of(counts) for said, counts in self.bad.items()}
        self.condemned = frozenset(table(pl.DataFrame({"user": sorted(self.condemned)}, schema=USERS_SCHEMA))["user"])
        self._pasts, self._within = defaultdict(Past), []

    def alone(self, day: date) -> Mapping[str, Past]:
        """A day as its own past."""
        pasts = {family: Past([counts]) for family, counts in self.judged[day].items()}
        for past in pasts.values():
            past.bad = merge(of_users(past, self.condemned))
        return pasts

    def _move(self, wanted: list[tuple[bool, date]]) -> None:
        """Make the sums those of the wanted days, from those of the days asked for last."""
        for at in reversed(range(len(self._within))):
            if self._within[at] not in wanted:
                self._leave(at)
        for learned, day in wanted:
            if (learned, day) not in self._within:
                self._within.append((learned, day))
                for family, counts in (self.learned if learned else self.judged)[day].items():
                    self._pasts[family].add(counts)

    def _leave(self, at: int) -> None:
        """Take a day out of the sums."""
        del self._within[at]
        for past in self._pasts.values():
            past.drop(at)


def of_users(past: Past, users: Collection[int]) -> list[pl.DataFrame]:
    """What some users did in each period of a past.

    Examples
    --------
    >>> from amiss.baseline import COUNT_SCHEMA
    >>> day = pl.DataFrame([(0, 7, -1, 3, 2), (0, 8, -1, 3, 1)], schema=COUNT_SCHEMA, orient="row")
    >>> [counts.rows() for counts in of_users(Past([day, day]), {8})]
    [[(0, 8, -1, 3, 1)], [(0, 8, -1, 3, 1)]]
    """
    return [counts.filter(pl.col("user").is_in(list(users))) for counts in past.periods] if users else []


@dataclass(frozen=True)
class Panel:
    """Detectors, each with what is normal in a period."""

    detectors: Sequence[Detector[Any]]
    baselines: Sequence[Any]

    @classmethod
    def of(cls, detectors: Sequence[Detector[Any]], pasts: Mapping[str, Past], *, leave_out: bool = False) -> Panel:
        """The detectors with what follows from the past."""
        return cls(detectors, [each.baseline(pasts[each.counts], leave_out=leave_out) for each in detectors])

    def score(self, events: Events, memories: Sequence[Memory | None] | None = None) -> list[Scores]:
        """What each detector says of events; without memories these must be all of their users in the period."""
        given = memories or [None] * len(self.detectors)
        panel = zip(self.detectors, self.baselines, given, strict=True)
        return [detector.score(events, baseline, memory) for detector, baseline, memory in panel]

    def reasons(self, events: Events, names: Names) -> dict[int, list[Reason]]:
        """What speaks against the users of these events, all of a period, most first."""
        told = zip(self.detectors, self.baselines, strict=True)
        return _most_first(detector.explain(events, baseline, names) for detector, baseline in told)

    def absent(self, day: date, present: Users) -> tuple[Users, list[Floats]]:
        """Users whose silence on a day speaks against them, in order: (u,), and the bits of each detector: (u,)."""
        told = {
            at: each.absent(baseline, day, present)
            for at, (each, baseline) in enumerate(zip(self.detectors, self.baselines, strict=True))
            if isinstance(each, Absences)
        }
        users = np.unique(np.concatenate([np.zeros(0, np.uint32), *(each for each, _ in told.values())]))
        bits = [np.zeros(len(users)) for _ in self.detectors]
        for at, (each, found) in told.items():
            bits[at][np.searchsorted(users, each)] = found
        return users, bits

    def reasons_absent(self, day: date, users: Users, names: Names) -> dict[int, list[Reason]]:
        """What is said of users who did nothing on a day, most first."""
        told = zip(self.detectors, self.baselines, strict=True)
        return _most_first(
            detector.explain_absent(baseline, day, users, names)
            for detector, baseline in told
            if isinstance(detector, Absences)
        )

    def usual(self, user: int, names: Names) -> dict[str, dict[str, str]]:
        """By detector that can tell, what is usual for a user, in words by kind."""
        tellers = zip(self.detectors, self.baselines, strict=True)
        return {each.name: each.usual(baseline, user, names) for each, baseline in tellers}

    def details(self, events: Events, names: Names) -> dict[str, str]:
        """What people should know of the last of a user's events."""
        parts = (
            detector.details(events, baseline, names)
            for detector, baseline in zip(self.detectors, self.baselines, strict=True)
        )
        return {name: text for part in parts for name, text in part.items()}


def _most_first(told: Iterable[Mapping[int, list[Reason]]]) -> dict[int, list[Reason]]:
    """The reasons of several detectors by user, those with most bits first."""
    found: defaultdict[int, list[Reason]] = defaultdict(list)
    for each in told:
        for user, reasons in each.items():
            found[user] += reasons
    return {user: sorted(reasons, key=lambda reason: -reason.bits) for user, reasons in found.items()}


def facts(events: Events, scores: Sequence[Scores]) -> npt.NDArray[np.bool_] | None:
    """Which events (n,) alert by rule, where any detector says so of any."""
    said = [each.facts for each in scores if each.facts is not None]
    return np.logical_or.reduce(said) if said and len(events) else None


class Day(NamedTuple):
    """How a day ended: what an alert took, and where its users stand, with the `alert` that there was or not."""

    day: date
    threshold: Threshold
    standings: pl.DataFrame


class Judged(NamedTuple):
    """What came of a block of users: where they stand, the steps they took, and what they add to baselines."""

    standings: pl.DataFrame
    steps: pl.DataFrame
    counts: Counts


@dataclass
class Scan:
    """Everything that a scan knows: the coded events, how each day was judged, where each user stands."""

    detectors: Sequence[Detector[Any]]
    session_gap: timedelta = SESSION_GAP
    budget: Budget = field(default_factory=Budget)
    history: History = field(default_factory=History)
    befores: dict[date, pl.DataFrame] = field(default_factory=dict)
    transitions: pl.DataFrame = field(default_factory=pl.DataFrame)
    days: list[Day] = field(default_factory=list)
    standings: pl.DataFrame = field(default_factory=pl.DataFrame)

    rows_in_memory: int = ROWS_IN_MEMORY
    learned_from: str = ""
    bad: Collection[str] = ()
    """Users who are labelled as bad."""
    top: int | None = 20
    told: dict[int, tuple[float, date, list[Reason]]] = field(default_factory=dict)
    crowds: list[Crowd] = field(default_factory=list)
    witnessed: dict[str, pl.DataFrame] = field(default_factory=dict)
    """What witnesses knew before the first judged event."""
    _judging: tuple[date, Panel] | None = None

    def __post_init__(self) -> None:
        self.coding = coding(self.detectors)
        self.spool = Spool(self.rows_in_memory, schema=self.coding.schema)
        self.names = Names(self.coding)

    def run(self, sources: Iterable[Source], learn: Iterable[Source], progress: Callable[[int], None]) -> None:
        """Read, learn, judge."""
        past, counted, witnesses = Spool(self.rows_in_memory, schema=self.coding.schema), 0, Witnesses(self.detectors)
        for spool, given in ((past, learn), (self.spool, sources)):
            self.witnessed = witnesses.tables()
            for frame in self._read(given):
                spool.add(witnesses.filled(frame))
                counted += len(frame)
                progress(counted)
        self.learned_from = _described(past, self.spool.days())
        codes = map(self.coding.users.find, self.bad)
        self.history.condemned = frozenset(code for code in codes if code is not None)
        last = Last()
        learned = self._learn(past, last)
        judged = [part for day in self.spool.days() for part in self._judge(day, last)]
        taken = pl.concat([surprisal.steps(_NO_EVENTS), *(part.steps for part in judged)])
        self.transitions = surprisal.transitions(learned if len(past) else surprisal.merge(taken.drop("user")))
        if judged:
            profile = surprisal.priced(taken, self.transitions, by=["user"])
            self.standings = _with_surprisal([each.standings for each in self.days], profile)

    def in_order(self, which: pl.Expr) -> pl.DataFrame:
        """The judged coded events for which an expression holds, in the order of the log."""
        return pl.concat([self.coding.empty(), *(self.spool.select(day, which) for day in self.spool.days())]).sort(
            "position"
        )

    def events(self, day: date, users: Sequence[int]) -> Events:
        """The grouped events of some users on a day."""
        wanted = self.spool.select(day, pl.col("user").is_in(list(users)))
        return group(wanted, Last(self.befores[day]), session_gap=self.session_gap)

    def scored(self, day: date, users: Sequence[int]) -> pl.DataFrame:
        """The grouped events of some users on a day, with `surprisal`, `bits` and running `evidence` after each.

        Surprisal and bits are those of the detector with most evidence about the user, evidence that of all together.
        """
        events = self.events(day, users)
        scores = self._panel(day).score(events)
        standings, together = self._stand(events, scores)
        most = np.argmax(standings["detectors"].struct.unnest().to_numpy(), axis=1)
        chosen = np.repeat(most, np.diff(events.first))
        told = {
            "surprisal": np.choose(chosen, [each.surprisal for each in scores]),
            "bits": np.choose(chosen, [each.bits for each in scores]),
            "evidence": together,
        }
        return events.frame().hstack(pl.DataFrame(told))

    def judged(self, day: date, user: int, detector: Detector[Any]) -> tuple[Events, Scores]:
        """The grouped events of a user on a day, with what one detector says of them."""
        events = self.events(day, [user])
        panel = self._panel(day)
        return events, panel.score(events)[list(panel.detectors).index(detector)]

    def reasons(self, day: date, users: Sequence[int]) -> dict[int, list[Reason]]:
        """What speaks against some users on a day, most first; of those who did nothing, why that is odd."""
        panel, events = self._panel(day), self.events(day, users)
        absent = np.setdiff1d(np.array(users, dtype=np.uint32), events.users)
        silent = panel.reasons_absent(day, absent, self.names) if len(absent) else {}
        return panel.reasons(events, self.names) | silent

    def usual(self, day: date, user: int) -> dict[str, dict[str, str]]:
        """By detector that can tell, what was usual for a user before a day, in words by kind."""
        return self._panel(day).usual(user, self.names)

    def _tell(self, standings: pl.DataFrame, day: date) -> None:
        """Keep the reasons of users who are among the `top` so far, while what judges the day is at hand."""
        best = sorted((bits for bits, _, _ in self.told.values()), reverse=True)
        least = best[self.top - 1] if self.top and len(best) >= self.top else -math.inf
        ahead = standings.filter(pl.col("bits") > least).sort("bits", "user", descending=[True, False])
        ahead = ahead if self.top is None else ahead.head(self.top)
        found = dict(ahead.select("user", "bits").iter_rows())
        better = {user: bits for user, bits in found.items() if user not in self.told or bits > self.told[user][0]}
        if better:
            reasons = self.reasons(day, list(better))
            self.told |= {user: (bits, day, reasons.get(user, [])) for user, bits in better.items()}

    def _read(self, sources: Iterable[Source]) -> Iterator[pl.DataFrame]:
        """Coded frames of all sources; `position` runs on from source to source."""
        offset = 0
        for source in sources:
            last = 0
            for frame in coded_frames(source, self.coding):
                last = max(last, int(frame.select(pl.col("position").max()).item() or 0))
                yield frame.with_columns(pl.col("position") + offset) if offset else frame
            offset += last

    def _learn(self, past: Spool, last: Last) -> pl.DataFrame:
        """Take the counts of the days to learn from; the surprisal counts of all."""
        steps = [surprisal.merge()]
        for day in past.days():
            parts = [self._counted(part, last) for part in past.parts(day)]
            counts = _merged([part.counts for blocks in parts for part in blocks])
            self.history.learned[day] = counts
            self.history.figures[day] = Figures(max((each["user"].n_unique() for each in counts.values()), default=0))
            steps += [part.steps.drop("user") for blocks in parts for part in blocks]
        return surprisal.merge(*steps)

    def _judge(self, day: date, last: Last) -> list[Judged]:
        """What came of a day, once it is known what judges it; its counts join the history."""
        self._judging = None
        self.befores[day] = last.frame(since=_start(day) - self.session_gap // MICROSECOND)
        ahead = not any(len(past) for past in self.history.before(day).values())
        if ahead:
            parts = [self._counted(part, Last(self.befores[day])) for part in self.spool.parts(day)]
            self.history.add(day, _merged([part.counts for blocks in parts for part in blocks]))
        panel = self._panel(day)
        count = not ahead and day != self.spool.days()[-1]
        judged = [
            found for part in self.spool.parts(day) for found in self._judged(part, day, panel, last, count=count)
        ]
        if count:
            self.history.add(day, _merged([part.counts for part in judged]))
        standings = pl.concat(part.standings for part in judged)
        standings = pl.concat([standings, *self._absent(day, panel, standings["user"])])
        self._tell(standings, day)
        self.days.append(self._decided(day, standings, alone=ahead))
        self._look_for_crowds(day, panel)
        return judged

    def _look_for_crowds(self, day: date, panel: Panel) -> None:
        """Note which users with alerts on a day do alike."""
        judge = next((each.judges[ACTION] for each in panel.baselines if isinstance(each, SequenceBaseline)), None)
        alerts = self.days[-1].standings.filter("alert", pl.col("events") > 0)
        if judge is None or len(alerts) < crowds.LEAST:
            return
        named = alerts.with_columns(name=self.coding.users.decode(alerts["user"]))
        codes = named.sort("bits", "name", descending=[True, False])["user"].head(crowds.MOST).to_list()
        self.crowds += crowds.crowds(day, self.events(day, codes), judge, codes, self.names)

    def _absent(self, day: date, panel: Panel, present: pl.Series) -> list[pl.DataFrame]:
        """Where those stand whose silence on a day is odd; nobody on the last day, which may not be over yet."""
        if day == self.spool.days()[-1]:
            return []
        users, bits = panel.absent(day, present.to_numpy())
        standing, each = Standing(len(bits)), np.arange(len(users) + 1)
        standing.follow(each[:-1].astype(np.uint32), each, bits)
        table = self._standings(users, standing, fact=np.zeros(len(users), np.bool_))
        return [table.with_columns(events=pl.lit(0, pl.Int64), period=pl.lit(day))]

    def _decided(self, day: date, standings: pl.DataFrame, *, alone: bool) -> Day:
        """How a day ended: what an alert took, and where its users stand.

        One that was judged by itself teaches nothing about alarms: a stream would have learned from it. Nor do users
        with facts against them, who are no false alarms.
        """
        past = self.history.figures_before(day)
        active = int((standings["events"] > 0).sum())
        limit = threshold(self.budget, past, None if past else active)
        peaks = standings.filter(~pl.col("fact"))["peak"].to_numpy()
        self.history.figures[day] = Figures(active) if alone else Figures.of(peaks)
        alert = (pl.col("peak") >= max(limit.bits, LEAST_BITS)) | pl.col("fact")
        return Day(day, limit, standings.with_columns(alert=alert, among=pl.lit(float(limit.users))))

    def _counted(self, part: pl.DataFrame, last: Last) -> list[Judged]:
        """What the events of users add to baselines, block by block."""
        groups = self._groups(part, last)

        def block(low: int, high: int) -> Judged:
            events = groups.block(low, high, last)
            return Judged(pl.DataFrame(), surprisal.steps(events), summaries(self.detectors, events))

        return by_block(groups.first, block)

    def _judged(self, part: pl.DataFrame, day: date, panel: Panel, last: Last, *, count: bool) -> list[Judged]:
        """What came of all events of users on a day, block by block."""
        groups = self._groups(part, last)

        def block(low: int, high: int) -> Judged:
            events = groups.block(low, high, last)
            standing, running = self._stand(events, panel.score(events))
            counts = summaries(self.detectors, events, self._weights(running)) if count else {}
            return Judged(standing.with_columns(pl.lit(day).alias("period")), surprisal.steps(events), counts)

        return by_block(groups.first, block)

    def _weights(self, running: Floats) -> Weights | None:
        """How much events may teach, where any detector minds."""
        return weights(running) if any(each.gated for each in self.detectors) else None

    def _groups(self, part: pl.DataFrame, last: Last) -> Groups:
        """Events sorted by user."""
        groups = Groups(part, session_gap=self.session_gap)
        last.grow(groups.highest + 1)
        return groups

    def _panel(self, day: date) -> Panel:
        """The detectors with what is normal on a day, kept until another day is asked for."""
        if self._judging is None or self._judging[0] != day:
            pasts = self.history.before(day)
            alone = not any(len(past) for past in pasts.values())
            panel = Panel.of(self.detectors, self.history.alone(day) if alone else pasts, leave_out=alone)
            self._judging = day, panel
        return self._judging[1]

    def _stand(self, events: Events, scores: Sequence[Scores]) -> tuple[pl.DataFrame, Floats]:
        """Where the users of events stand at the end of a day, and the evidence after each event."""
        users = np.arange(len(events.first) - 1, dtype=np.uint32)
        standing = Standing(len(scores))
        running = standing.follow(users, events.first, [each.bits for each in scores]).running
        said = facts(events, scores)
        fact = np.zeros(len(users), np.bool_) if said is None else np.logical_or.reduceat(said, events.first[:-1])
        time = pl.Series(events.time).cast(pl.Datetime("us", "UTC"))
        ends = {"first_time": time.gather(events.first[:-1]), "last_time": time.gather(events.first[1:] - 1)}
        return self._standings(events.users, standing, fact, **ends), running

    def _standings(
        self, codes: Users, standing: Standing, fact: npt.NDArray[np.bool_], **ends: pl.Series
    ) -> pl.DataFrame:
        """A table of where users stand, who are numbered in their order, and of when their events begin and end."""
        users = np.arange(len(codes), dtype=np.uint32)
        by_detector = standing.by_detector(users)
        named = {detector.name: by_detector[:, number] for number, detector in enumerate(self.detectors)}
        columns = {
            "user": codes,
            "events": standing.of(users, "events"),
            "first_time": ends.get("first_time"),
            "last_time": ends.get("last_time"),
            "bits": standing.of(users, "now"),
            "peak": standing.of(users, "peak"),
            "fact": fact,
            "detectors": pl.DataFrame(named).to_struct(),
        }
        times = dict.fromkeys(("first_time", "last_time"), pl.Datetime("us", "UTC"))
        return pl.DataFrame(columns, schema_overrides={"user": pl.UInt32(), **times})


_NO_EVENTS: Final = Events.of(pl.DataFrame(schema=GROUPED_SCHEMA))


def _merged(parts: Sequence[Counts]) -> Counts:
    """Counts of users of each block as those of all."""
    return {name: merge([part[name] for part in parts]) for name in (parts[0] if parts else ())}


def _start(day: date) -> int:
    """When a day begins, in microseconds."""
    return (day - EPOCH) // MICROSECOND


def coded_frames(source: Source, coding: Coding) -> Iterator[pl.DataFrame]:
    """Coded frames of a source, read straight into codes where it can; new texts join the vocabularies."""
    if isinstance(source, CodedSource):
        yield from (frame for frame, _ in source.read_coded(coding))
    else:
        yield from (coding.encode(frame) for frame, _ in source.read())


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
