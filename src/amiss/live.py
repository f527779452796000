"""A stream as it is judged: users' evidence follows each event, days close on the time of events.

What makes the outcome depend on the events alone, and not on how they arrive in batches:

* events are taken in the order in which they come; each belongs to the day of its own time;
* a day closes at the first event that is later than its end by the allowed lateness. Events of later days wait until
  then; what comes for a closed day is judged by what judged that day, and counted in it when the next day closes;
* what judges a day, and the threshold of its alerts, are settled when the day opens.

With `max_users`, the users who were least recently active are put away when a day closes: what is known of them stays
in the store alone. Inside, users then go by their seats (:class:`amiss.seats.Seats`); all that comes in and goes out
has their codes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss import evidence
from amiss.alerts import Alert
from amiss.baseline import WINDOW, Floats, merge
from amiss.decide import Budget, Figures, Threshold, threshold
from amiss.detect import Detector, Memory, Names, Scores, Witnesses
from amiss.engine import USERS_SCHEMA, Counts, History, Panel, facts
from amiss.events import CODED_SCHEMA
from amiss.evidence import Followed, Standing
from amiss.recent import Recent
from amiss.seats import Seats
from amiss.sessions import MICROSECOND, NO_CONTEXT, SESSION_GAP, Events, Groups, Last, following, group, state_of
from amiss.spool import EPOCH
from amiss.tally import Tally, summaries
from amiss.vocabulary import Coding

DAY: Final = timedelta(days=1) // MICROSECOND

RISK_HALF_LIFE: Final = timedelta(days=7) // MICROSECOND
"""After which a user's past evidence counts half."""

RISK_BITS: Final = 20.0
"""The bits that halve what is left to the highest risk."""

BY_RULE: Final = "by rule, however likely by chance"
"""What stands in a notice that no evidence was needed for."""

FULL: Final = 0.9
"""The share of `max_users` that is kept when users are put away, so that it need not be done each day."""

_PERIOD_SCHEMA: Final = {
    "day": pl.Date(),
    "events": pl.Int64(),
    "bits": pl.Float64(),
    "users": pl.Float64(),
    "by_chance": pl.Float64(),
}
_ALWAYS: Final = date.max.toordinal()
_FIRST: Final = np.zeros(1, dtype=np.uint32)
_DISOWNED_SCHEMA: Final = {"user": pl.UInt32(), "verdict": pl.Int64()}
_RISK_SCHEMA: Final = {"user": pl.UInt32(), "bits": pl.Float64(), "time": pl.Int64()}


Row = tuple[int, int, int, int, int]
"""Position, time in microseconds, user, action and outcome of an event, in codes."""


@dataclass(eq=False)
class Period:
    """A day while events of it may come: what judges it, and where its users stand.

    Attributes
    ----------
    panel
        The detectors with what is normal; none while everything is learning.
    before, last
        The last events of users before the day, and by now; events of other days leave them as they are.
    levels
        The bits at which users are told of; none where nobody is to be.
    """

    day: date
    panel: Panel | None
    threshold: Threshold
    before: pl.DataFrame
    last: Last
    memories: Sequence[Memory]
    standing: Standing
    tally: Tally
    recent: Recent
    levels: Sequence[float] = ()
    events: int = 0
    alarms: dict[int, Alert] = field(default_factory=dict)
    """The latest notice of each user told of."""
    facts: set[int] = field(default_factory=set)
    """Users of whom an event alerts by rule: what it takes to be told of owes nothing to them."""
    disowned: dict[int, int] = field(default_factory=dict)
    """Users of whom nothing of the day is to be learned, each with the verdict that says so."""

    @cached_property
    def start(self) -> int:
        """When it begins, in microseconds."""
        return (self.day - EPOCH) // MICROSECOND

    @property
    def end(self) -> int:
        """When the next begins."""
        return self.start + DAY


class Closed(NamedTuple):
    """A day that has closed: its figures, and the counts that are new or have changed, of it or of days before.

    `events` and `alarms` are those until then: what comes late goes into the period only.
    """

    period: Period
    events: int
    alarms: int
    figures: Figures
    counts: Mapping[date, Mapping[str, pl.DataFrame]]
    forgotten: Sequence[date]
    """Days that are too old to count any more."""


class Touched(NamedTuple):
    """Where a user stands who was told of and did more since."""

    alert: Alert
    last: datetime
    bits: float
    peak: float
    events: int


class Told(NamedTuple):
    """What was told of: the user's events on the day up to the notice, and the bits that the first notice took."""

    events: pl.DataFrame
    threshold: float


@dataclass
class Taken:
    """What came of a batch; `told` is by alert_id, `touched` by story."""

    alerts: list[Alert] = field(default_factory=list)
    told: dict[str, Told] = field(default_factory=dict)
    touched: dict[str, Touched] = field(default_factory=dict)
    closed: list[Closed] = field(default_factory=list)
    too_late: int = 0
    """Events of days that no longer are judged; they are counted."""


class Live:
    """Everything that a stream knows; batches go in, alerts come out.

    Parameters
    ----------
    detectors, budget, session_gap, window
        As for a scan.
    lateness
        How long after its end a day waits for events that are late.
    learning
        So many days are learned before anybody is told of.
    max_users
        Where more are in memory when a day closes, the least recently active are put away until there is room again.

    Attributes
    ----------
    archive
        The counts of a closed day as they are kept, for when users come back; nothing unless set.
    named
        What else is to be said in a notice, by it and the user's coded events of the day; nothing unless set.
    """

    def __init__(
        self,
        detectors: Sequence[Detector[Any]],
        coding: Coding,
        *,
        budget: Budget | None = None,
        session_gap: timedelta = SESSION_GAP,
        window: int = WINDOW,
        lateness: timedelta = timedelta(0),
        learning: int = 1,
        max_users: int | None = None,
    ) -> None:
        self.detectors, self.coding = detectors, coding
        self.budget = budget or Budget()
        self.session_gap, self.lateness, self.learning = session_gap, lateness, learning
        self.history = History(window)
        self.stray = Last()
        """The last events of users on days that no longer are judged."""
        self.current: Period | None = None
        self.previous: Period | None = None
        self.held: list[pl.DataFrame] = []
        self.late: dict[date, Tally] = {}
        self.removed: dict[int, tuple[date, Counts]] = {}
        self.risks: dict[int, tuple[float, int]] = {}
        self.names = Names(coding)
        self.witnesses = Witnesses(detectors)
        """To be shown events before they are taken."""
        self.max_users = max_users
        self.seats = None if max_users is None else Seats()
        self.archive: Callable[[date], Counts] = lambda _: {}
        self.named: Callable[[Alert, pl.DataFrame], Alert] = lambda alert, _: alert
        self._unwritten: dict[date, Counts] = {}
        self._judging, self._is_gated = True, any(each.gated for each in detectors)

    @property
    def open_days(self) -> list[Period]:
        """The days of which events may come, in order."""
        return [each for each in (self.previous, self.current) if each is not None]

    def take(self, frame: pl.DataFrame, *, judge: bool = True) -> Taken:
        """Judge and count the events of a coded frame, in the order of its rows; without `judge` count them only."""
        taken, self._judging = Taken(), judge
        for part in _by_day(frame.select(*self.coding.schema)):
            self._run(part, taken)
        return taken

    def take_one(self, row: Row, context: Mapping[str, npt.NDArray[Any]] = NO_CONTEXT, *, judge: bool = True) -> Taken:
        """The same for one event, given as a row; `context` are the columns of contexts, of one value each."""
        position, time, user, action, outcome = row
        period = self.current
        if period is None or not 0 <= time - period.start < DAY:
            frame = pl.DataFrame([row], schema=CODED_SCHEMA, orient="row")
            return self.take(frame.with_columns(**context), judge=judge)
        taken, self._judging = Taken(), judge
        user = user if self.seats is None else self.seats.of(user)
        period.last.grow(user + 1)
        state = state_of(action, outcome)
        events = following(period.last, position, time, user, state, session_gap=self._gap, context=context)
        period.recent.add_arrays(events.time, events.position, events.user, events.state, context)
        self._enter(period, events, _FIRST, taken)
        return taken

    def open_day(self, time: int) -> Period | None:
        """The day of a time in microseconds, while events of it may come."""
        for period in (self.current, self.previous):
            if period is not None and 0 <= time - period.start < DAY:
                return period
        return None

    def _run(self, part: pl.DataFrame, taken: Taken) -> None:
        """Take events of one day."""
        day = _day(part)
        if self.current is None:
            self.current = self._opened(day)
        if day <= self.current.day:
            self._take(part, day, taken)
            return
        times = part["time"].to_physical().to_numpy()
        closing = np.flatnonzero(times >= self.current.end + self.lateness // MICROSECOND)
        waiting = int(closing[0]) if len(closing) else len(part)
        self.held += [part[:waiting]] if waiting else []
        if len(closing):
            held, self.held = self.held, []
            self._close(taken, min([day, *map(_day, held)]))
            for each in [*held, part[waiting:]]:
                self._run(each, taken)

    def _take(self, part: pl.DataFrame, day: date, taken: Taken) -> None:
        """Take events of a day that is open, or has been."""
        period = next((each for each in self.open_days if each.day == day), None)
        if self.seats is not None:
            part = self.seats.seated(part)
            part = self._without_back(part, period, self.seats, taken) if period is self.previous else part
        groups = Groups(part, session_gap=self.session_gap, by_time=False)
        last = self.stray if period is None else period.last
        last.grow(groups.highest + 1)
        events = groups.block(0, len(groups.first) - 1, last)
        if period is None:
            taken.too_late += len(part)
            self.late.setdefault(day, Tally(self.detectors)).add(events)
            return
        period.recent.add(part)
        self._enter(period, events, groups.arrived(0, len(groups.first) - 1), taken)

    def _without_back(self, part: pl.DataFrame, period: Period | None, seats: Seats, taken: Taken) -> pl.DataFrame:
        """Late events without those of users who came back since their day closed, which are counted only."""
        back = seats.are_back(part["user"].to_numpy())
        if period is None or not back.any():
            return part
        late = part.filter(pl.Series(back))
        period.tally.add(group(late, period.last, session_gap=self.session_gap, by_time=False))
        period.events += len(late)
        taken.too_late += len(late)
        return part.filter(pl.Series(~back))

    def _enter(self, period: Period, events: Events, arrived: npt.NDArray[np.uint32], taken: Taken) -> None:
        """Judge events of an open day, and count them."""
        period.events += len(events)
        weight = None
        if period.panel is not None and self._judging:
            running = self._judge(period, period.panel, events, arrived, taken)
            weight = evidence.weights(running) if self._is_gated else None
        period.tally.add(events, weight)

    def _judge(
        self, period: Period, panel: Panel, events: Events, arrived: npt.NDArray[np.uint32], taken: Taken
    ) -> Floats:
        """Follow the evidence about users, and give it behind each event; tell of those who reach a level."""
        users = events.users
        scores = panel.score(events, period.memories)
        followed = period.standing.follow(users, events.first, [each.bits for each in scores], period.levels)
        for event, level in _in_order(followed, self._facts(period, events, scores), arrived):
            if level or int(events.user[event]) not in period.alarms:
                rows = _until(period, events, event)
                alert = self._alert(period, panel, rows, level)
                self._tell(period, int(events.user[event]), alert, taken, self.coded(rows))
        if period.alarms:
            self._touch(period, events, taken)
        return followed.running

    def _tell(self, period: Period, user: int, alert: Alert, taken: Taken, rows: pl.DataFrame) -> None:
        """Give a notice of a user, made of these events."""
        alert = self.named(alert, rows)
        period.alarms[user] = alert
        taken.alerts.append(alert)
        taken.told[alert.alert_id] = Told(rows, period.threshold.bits)

    def _facts(self, period: Period, events: Events, scores: Sequence[Scores]) -> npt.NDArray[np.int64]:
        """The first event of each user that alerts by rule, where users are told of at all."""
        said = facts(events, scores)
        if said is None or not said.any():
            return np.zeros(0, np.int64)
        at = np.flatnonzero(said)
        users, first = np.unique(events.user[at], return_index=True)
        period.facts.update(users.tolist())
        return at[first] if period.levels else at[:0]

    def _touch(self, period: Period, events: Events, taken: Taken) -> None:
        """Say where the users stand now who were told of."""
        for at, user in enumerate(events.users.tolist()):
            if user not in period.alarms:
                continue
            alert = period.alarms[user]
            now, peak, count = (
                period.standing.of(events.users[at : at + 1], name)[0] for name in ("now", "peak", "events")
            )
            time = _time(int(events.time[events.first[at + 1] - 1]))
            taken.touched[alert.story] = Touched(alert, time, float(now), float(peak), int(count))

    def _alert(self, period: Period, panel: Panel, rows: pl.DataFrame, level: int) -> Alert:
        """The notice that the last of a user's events on a day gives, for the evidence behind it."""
        told = group(rows, Last(period.before), session_gap=self.session_gap, by_time=False)
        standing = Standing(len(self.detectors))
        standing.follow(told.users, told.first, [scores.bits for scores in panel.score(told)])
        user = int(told.user[-1])
        return replace(
            self._notice(period, standing, user, int(told.time[-1]), level),
            reasons=[asdict(reason) for reason in panel.reasons(told, self.names).get(user, [])],
            events=len(told),
            details=panel.details(told, self.names),
        )

    def _notice(self, period: Period, standing: Standing, user: int, now: int, level: int) -> Alert:
        """A notice of where a user stands at a time in microseconds; of no events, for no reasons yet."""
        by_detector = zip(
            (each.name for each in self.detectors), standing.by_detector(np.array([user]))[0].tolist(), strict=True
        )
        bits, users = standing.now(user), period.threshold.users
        code, before = self.code(user), period.alarms.get(user)
        name = self.coding.users.text(code)
        story = story_id(period.day, name)
        return Alert(
            alert_id=f"{story}-{level}",
            story=story,
            time=_time(now),
            user=name,
            bits=bits,
            severity=evidence.severity(bits, users) if level else evidence.ruled(bits, users),
            detectors=dict(by_detector),
            reasons=[],
            period=period.day,
            events=0,
            chance=evidence.once_in(bits, users) if level else BY_RULE,
            risk=self.risk(code, now, bits),
            escalated_from=before.severity if before is not None else None,
        )

    def _miss(self, period: Period, panel: Panel, present: npt.NDArray[np.uint32], taken: Taken) -> None:
        """Judge those who did nothing on a day that ends; tell of those who reach a level."""
        users, bits = panel.absent(period.day, present)
        followed = period.standing.follow(users, np.arange(len(users) + 1), bits, period.levels)
        reasons = panel.reasons_absent(period.day, users[followed.events], self.names)
        for at, level in zip(followed.events.tolist(), followed.levels.tolist(), strict=True):
            user = int(users[at])
            alert = self._notice(period, period.standing, user, period.end, level)
            said = [asdict(reason) for reason in reasons.get(user, [])]
            self._tell(period, user, replace(alert, reasons=said), taken, self.coding.empty())

    def risk(self, user: int, now: int, bits: float = 0.0) -> int:
        """0 to 100: how much speaks against a user at a time in microseconds, what is past counting less and less."""
        past, then = self.risks.get(user, (0.0, now))
        total = max(bits, 0.0) + past * math.exp2(-max(now - then, 0) / RISK_HALF_LIFE)
        return round(100.0 - 100.0 * math.exp2(-total / RISK_BITS))

    def teach(
        self, verdict: int, said: str, user: str, day: date, rows: pl.DataFrame | None = None
    ) -> dict[date, Counts]:
        """Take a person's word about a user's day; the counts of closed days that change by it.

        What is expected, or was a false alarm, speaks against the user no more from now on. What is confirmed is
        taken out of what later days are judged by, and those of its `rows` that speak against the user are known to be
        bad. Of a day that is forgotten, what is known are the `rows` told of.
        """
        code = self.coding.users.find(user)
        if code is None:
            return {}
        seat = self._at_home(code)
        if said == "confirmed":
            if rows is not None and len(rows):
                self.history.bad[verdict] = self._odd(rows)
            changed = self._disown(verdict, seat, day)
            self._judge_anew()
            return self._whole(changed)
        did = self._did(seat, day)
        if not _users(did) and rows is not None:
            did = self.did(rows)
        if _users(did):
            self.history.taught[verdict] = did
            self._judge_anew()
        return {}

    def unteach(self, verdict: int, user: str, day: date) -> dict[date, Counts]:
        """Take back what :meth:`teach` did; the counts of closed days that change by it."""
        code = self.coding.users.find(user)
        seat = None if code is None else self.find(code)
        for period in self.open_days:
            if seat is not None and period.disowned.get(seat) == verdict:
                del period.disowned[seat]
        self.history.taught.pop(verdict, None)
        self.history.bad.pop(verdict, None)
        then, counts = self.removed.pop(verdict, (day, {}))
        changed = {then: self.history.add(then, counts)} if counts and then in self.history.judged else {}
        self._judge_anew()
        return self._whole(changed)

    def condemn(self, users: Iterable[str]) -> bool:
        """Take all that these users did for bad, and what no others did; whether that changes anything."""
        codes = [code for user in users if (code := self.coding.users.find(user)) is not None]
        condemned = frozenset(map(self._at_home, codes))
        if condemned == self.history.condemned:
            return False
        self.history.condemned = condemned
        self._judge_anew()
        return True

    def cost(self, rows: pl.DataFrame, expected: Mapping[int, Counts] | None = None) -> float:
        """The most evidence that events of a user would give now, in bits; if what is `expected` were, too."""
        return self.costs([rows], {**self.history.taught, **(expected or {})})[0]

    def costs(self, stories: Sequence[pl.DataFrame], taught: Mapping[int, Counts]) -> list[float]:
        """The most evidence that each of some users' events would give now, if just that had been `taught`."""
        if self.current is None or self.current.panel is None:
            return [0.0] * len(stories)
        stories = [self._seated(rows) for rows in stories]
        said = self.history.taught
        self.history.taught = dict(taught)
        panel = Panel.of(self.detectors, self.history.before(self.current.day))
        self.history.taught = said
        self.history.before(self.current.day)
        return [self._peak(panel, rows) for rows in stories]

    def _peak(self, panel: Panel, rows: pl.DataFrame) -> float:
        """The most evidence that events of one user give."""
        if rows.is_empty():
            return 0.0
        events = group(rows, session_gap=self.session_gap, by_time=False)
        bits = [scores.bits for scores in panel.score(events)]
        return float(evidence.running(events.first, *bits).max())

    def did(self, rows: pl.DataFrame) -> Counts:
        """What events would add to baselines."""
        return summaries(self.detectors, group(self._seated(rows), session_gap=self.session_gap, by_time=False))

    def _odd(self, rows: pl.DataFrame) -> Counts:
        """What those of a user's events add to baselines that speak against the user by themselves."""
        panel = self.current.panel if self.current is not None else None
        if panel is not None:
            events = group(self._seated(rows), session_gap=self.session_gap, by_time=False)
            against = sum(scores.bits for scores in panel.score(events)) > 0.0
            rows = rows.filter(pl.col("position").is_in(events.position[against]))
        return self.did(rows)

    def _did(self, user: int, day: date) -> Counts:
        """The counts of what a user did on a day."""
        for period in self.open_days:
            if period.day == day and len(rows := period.recent.of(user)):
                events = group(rows, Last(period.before), session_gap=self.session_gap, by_time=False)
                return summaries(self.detectors, events)
        return _split(self.history.judged.get(day, {}), {user})[1]

    def _disown(self, verdict: int, user: int, day: date) -> dict[date, Counts]:
        """Learn nothing of what a user did on a day."""
        for period in self.open_days:
            if period.day == day:
                period.disowned[user] = verdict
        kept, removed = _split(self.history.judged.get(day, {}), {user})
        if not _users(removed):
            return {}
        self.removed[verdict] = (day, removed)
        self.history.put(day, kept)
        return {day: kept}

    def _judge_anew(self) -> None:
        """Let open days be judged by what was taught meanwhile."""
        for period in self.open_days:
            period.panel = self._panel(period.day)

    def _panel(self, day: date) -> Panel | None:
        """What judges a day; nothing where nothing is known."""
        pasts = self.history.before(day)
        return Panel.of(self.detectors, pasts) if any(len(past) for past in pasts.values()) else None

    def _opened(self, day: date) -> Period:
        """A day at its beginning."""
        figures = self.history.figures_before(day)
        limit = threshold(self.budget, figures)
        levels = limit.levels() if len(figures) >= self.learning else []
        last = self.current.last if self.current is not None else Last()
        before = last.frame(since=(day - EPOCH) // MICROSECOND - self._gap)
        return Period(
            day,
            self._panel(day),
            limit,
            before,
            Last(before),
            [each.memory() for each in self.detectors],
            Standing(len(self.detectors)),
            Tally(self.detectors),
            Recent(),
            levels,
        )

    def _close(self, taken: Taken, following: date) -> None:
        """Close the day, and open the one that follows."""
        period = self.current
        assert period is not None, "only an open day closes"
        is_changed = self._bring_back(self.seats.due) if self.seats is not None else False
        counts = {day: self.history.add(day, more) for day, more in self._late().items() if _users(more)}
        is_changed |= bool(counts)
        total = period.tally.total()
        if period.panel is not None and self._judging:
            self._miss(period, period.panel, _present(total), taken)
        stands = period.standing.frame()
        peaks = stands.filter(~pl.col("user").is_in(sorted(period.facts)))["peak"].to_numpy()
        figures = Figures.of(peaks) if len(stands) else Figures(_users(total))
        counts[period.day] = self.history.add(period.day, self._owned(period, total), figures)
        for user, alert in period.alarms.items():
            bits = float(period.standing.of(np.array([user]), "now")[0])
            past, then = self.risks.get(self.code(user), (0.0, period.end))
            faded = past * math.exp2(-max(period.end - then, 0) / RISK_HALF_LIFE)
            self.risks[self.code(user)] = (faded + max(bits, alert.bits, 0.0), period.end)
        period.tally, self.late = Tally(self.detectors), {}
        forgotten = self.history.forget(period.day)
        self.removed = {verdict: each for verdict, each in self.removed.items() if each[0] not in forgotten}
        whole = self._whole(counts)
        self._unwritten = {day: each for day, each in self._unwritten.items() if day not in forgotten}
        self._unwritten |= whole if self.seats is not None else {}
        taken.closed.append(Closed(period, period.events, len(period.alarms), figures, whole, forgotten))
        is_changed |= self._put_away(period)
        if is_changed:
            period.panel = self._panel(period.day)
        self.previous, self.current = period, self._opened(following)

    def _put_away(self, period: Period) -> bool:
        """Put the least recently active users away where there are too many as a day closes; whether that was so."""
        seats = self.seats
        if seats is None or self.max_users is None or len(seats) <= self.max_users:
            if seats is not None:
                seats.settle()
            return False
        order, stay = self._by_use(period, seats)
        kept = np.sort(order[: max(int(FULL * self.max_users), stay)])
        moved = seats.keep(kept)
        self.history.change(moved)
        self.removed = {
            verdict: (day, {family: moved(table) for family, table in counts.items()})
            for verdict, (day, counts) in self.removed.items()
        }
        self.stray = Last(moved(self.stray.frame()))
        self._move(period, kept, moved)
        return True

    def _by_use(self, period: Period, seats: Seats) -> tuple[npt.NDArray[np.int64], int]:
        """Seats in the order in which they are kept, and how many must be.

        First come those whom a verdict is about, who stay, then those who were active last; of a day, who came first.
        """
        rank = np.zeros(len(seats), dtype=np.int64)
        for day in sorted(self.history.judged):
            for table in self.history.judged[day].values():
                rank[table["user"].to_numpy()] = day.toordinal()
        removed = [counts for _, counts in self.removed.values()]
        said = [*self.history.taught.values(), *self.history.bad.values(), *removed]
        for table in (table for counts in said for table in counts.values()):
            rank[table["user"].to_numpy()] = _ALWAYS
        rank[[*period.disowned, *self.history.condemned]] = _ALWAYS
        return np.lexsort((seats.codes, -rank)), int((rank == _ALWAYS).sum())

    def _move(self, period: Period, kept: npt.NDArray[np.int64], moved: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        """Let a day that has just closed know only those in some seats, by their new ones."""
        new = {old: seat for seat, old in enumerate(kept.tolist())}
        period.before, period.last = moved(period.before), Last(moved(period.last.frame()))
        memories = zip(self.detectors, period.memories, strict=True)
        period.memories = [each.memory(moved(memory.frame())) for each, memory in memories]
        period.standing = Standing(len(self.detectors), moved(period.standing.frame()))
        period.recent.keep(kept)
        period.alarms = {new[seat]: alert for seat, alert in period.alarms.items() if seat in new}
        period.facts = {new[seat] for seat in period.facts if seat in new}
        period.disowned = {new[seat]: verdict for seat, verdict in period.disowned.items()}

    def _bring_back(self, due: Collection[int]) -> bool:
        """Take what is kept of users who were away back into the history; whether that changed anything."""
        seats = self.seats
        if seats is None or not due:
            return False
        codes, is_changed = seats.codes[list(due)].tolist(), False
        for day, counts in list(self.history.judged.items()):
            past = _split(self._kept(day), codes)[1]
            if _users(past):
                self.history.put(
                    day, {family: merge([table, seats.chosen(past[family])]) for family, table in counts.items()}
                )
                is_changed = True
        seats.due.difference_update(list(due))
        return is_changed

    def _kept(self, day: date) -> Counts:
        """The counts of a closed day as they are, or will be, in the store."""
        return self._unwritten.get(day) or self.archive(day)

    def _whole(self, changed: dict[date, Counts]) -> dict[date, Counts]:
        """Counts of days with those of users who are away."""
        seats = self.seats
        if seats is None:
            return changed
        whole: dict[date, Counts] = {}
        for day, counts in changed.items():
            kept = self._kept(day)
            away = {family: table.filter(~pl.Series(seats.are_home(_codes(table)))) for family, table in kept.items()}
            here = {family: seats.coded(table) for family, table in counts.items()}
            whole[day] = {
                family: merge([table, *([away[family]] if family in away else [])]) for family, table in here.items()
            }
            if day in self._unwritten:
                self._unwritten[day] = whole[day]
        return whole

    def written(self, taken: Taken) -> None:
        """Note that the counts of days that had closed are in the store."""
        for closed in taken.closed:
            for day, counts in closed.counts.items():
                if self._unwritten.get(day) is counts:
                    del self._unwritten[day]

    def _at_home(self, code: int) -> int:
        """The seat of a user with all that is kept of the past."""
        seat = self.seat(code)
        if self.seats is not None and seat in self.seats.due and self._bring_back([seat]):
            self._judge_anew()
        return seat

    def _seated(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Events of one user, who is in memory then, with the seat for the code."""
        if self.seats is None or rows.is_empty():
            return rows
        return rows.with_columns(user=pl.lit(self._at_home(int(rows["user"][0])), dtype=pl.UInt32()))

    def seat(self, code: int) -> int:
        """The number that stands for a user here; they are in memory from now on."""
        return code if self.seats is None else self.seats.of(code)

    def code(self, seat: int) -> int:
        """The code of a user in a seat."""
        return seat if self.seats is None else int(self.seats.codes[seat])

    def find(self, code: int) -> int | None:
        """The seat of a user, or None of one who is not in memory."""
        return code if self.seats is None else self.seats.find(code)

    def coded(self, table: pl.DataFrame) -> pl.DataFrame:
        """A table with the codes of users."""
        return table if self.seats is None or "user" not in table.columns else self.seats.coded(table)

    def bits(self, period: Period, code: int) -> float:
        """The evidence about a user on a day; 0 of one who is not in memory."""
        seat = self.find(code)
        return 0.0 if seat is None else period.standing.now(seat)

    def here(self, table: pl.DataFrame) -> pl.DataFrame:
        """The rows of users in memory with all that is known of them, by seat, of a table with codes."""
        if self.seats is None:
            return table
        return merge([self.seats.chosen(table.filter(pl.Series(self.seats.are_home(_codes(table)))))])

    def _late(self) -> dict[date, Counts]:
        """The counts of what came for days that had closed."""
        late = {day: tally.total() for day, tally in self.late.items()}
        if self.previous is not None:
            late[self.previous.day] = self._owned(self.previous, self.previous.tally.total())
        return late

    def _owned(self, period: Period, counts: Counts) -> Counts:
        """Counts of a day without those of users who are disowned; these are kept for whoever takes that back."""
        for user, verdict in period.disowned.items():
            _, before = self.removed.get(verdict, (period.day, {}))
            theirs = _split(counts, {user})[1]
            sums = {family: merge([before[family], more]) for family, more in theirs.items()} if before else theirs
            self.removed[verdict] = (period.day, sums)
        return _split(counts, period.disowned)[0]

    def start(self) -> datetime:
        """When the earliest open day begins."""
        return _time(min((each.start for each in self.open_days), default=0))

    def tables(self) -> dict[str, pl.DataFrame]:
        """All that is not in the history, as tables: with the history, :meth:`restore` goes on from there."""
        return dict(self.each_table())

    def each_table(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """The same one by one, so that not all are held at once."""
        rows = [_period_row(each) for each in self.open_days]
        yield "periods", pl.DataFrame(rows, schema=_PERIOD_SCHEMA, orient="row")
        yield "held", pl.concat([self.coding.empty(), *self.held])
        yield "risks", pl.DataFrame(_risk_rows(self.risks), schema=_RISK_SCHEMA, orient="row")
        yield from self.witnesses.tables().items()
        yield from ({} if self.seats is None else self.seats.tables()).items()
        yield from ((name, self.coded(table)) for name, table in self._tables_by_seat())

    def _tables_by_seat(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Those in which users go by their seats."""
        yield "stray", self.stray.frame()
        yield "condemned", pl.DataFrame({"user": sorted(self.history.condemned)}, schema=USERS_SCHEMA)
        for period in self.open_days:
            yield from ((f"{period.day}/{name}", table) for name, table in self._period_tables(period))
        for verdict, counts in self.history.taught.items():
            yield from ((f"taught/{verdict}/{family}", table) for family, table in counts.items())
        for verdict, counts in self.history.bad.items():
            yield from ((f"bad/{verdict}/{family}", table) for family, table in counts.items())
        for verdict, (day, counts) in self.removed.items():
            yield from ((f"removed/{verdict}/{day}/{family}", table) for family, table in counts.items())
        for day, tally in self.late.items():
            yield from ((f"{day}/late/{family}", table) for family, table in tally.total().items())

    def restore(self, tables: Mapping[str, pl.DataFrame], recent: Iterable[pl.DataFrame]) -> None:
        """Take up what :meth:`tables` gave, once the history is there; `recent` are the latest events of open days.

        Notices that users have had are for :meth:`remind`.
        """
        if not tables:
            return
        self.sit(tables)
        tables = {name: self._moved_in(name, table) for name, table in tables.items()}
        self.witnesses.restore(tables)
        self.stray = Last(tables["stray"])
        if "condemned" in tables:
            self.history.condemned = frozenset(tables["condemned"]["user"])
        self.held = list(_by_day(tables["held"]))
        self.risks = {user: (bits, time) for user, bits, time in tables["risks"].iter_rows()}
        self._restore_verdicts(tables)
        periods = [self._restored(row, tables) for row in tables["periods"].iter_rows(named=True)]
        self.current = periods[-1] if periods else None
        self.previous = periods[-2] if len(periods) > 1 else None
        by_day = {each.day: each for each in periods}
        for frame in recent:
            for part in _by_day(frame.select(*self.coding.schema)):
                if period := by_day.get(_day(part)):
                    period.recent.add(self._recalled(part, period))
        families = [each.counts for each in self.detectors]
        for day in {name.partition("/")[0] for name in tables if "/late/" in name}:
            begun = {family: tables[f"{day}/late/{family}"] for family in families}
            self.late[date.fromisoformat(day)] = Tally(self.detectors, begun)

    def sit(self, tables: Mapping[str, pl.DataFrame]) -> None:
        """Let those be in memory who are, by :meth:`tables`; before the history comes."""
        if tables:
            self.seats = Seats.restored(tables) if "seats" in tables else None

    def limit(self, max_users: int | None) -> None:
        """Let so many users at most be in memory once the next day has closed."""
        self.max_users = max_users
        if max_users is not None and self.seats is None:
            self.seats = Seats(range(len(self.coding.users)))

    def _moved_in(self, name: str, table: pl.DataFrame) -> pl.DataFrame:
        """A table with seats for codes, where it has these."""
        by_code = name in {"held", "risks", "seats"} or "user" not in table.columns
        return table if self.seats is None or by_code else self.seats.chosen(table)

    def _recalled(self, part: pl.DataFrame, period: Period) -> pl.DataFrame:
        """Events of an open day as it remembers them."""
        if self.seats is None:
            return part
        found = self.seats.chosen(part)
        back = self.seats.are_back(_codes(found))
        return found.filter(pl.Series(~back)) if period is self.previous else found

    def _restore_verdicts(self, tables: Mapping[str, pl.DataFrame]) -> None:
        """Take up what people said."""
        for name, table in tables.items():
            match name.split("/"):
                case ["taught", verdict, family]:
                    self.history.taught.setdefault(int(verdict), {})[family] = table
                case ["bad", verdict, family]:
                    self.history.bad.setdefault(int(verdict), {})[family] = table
                case ["removed", verdict, day, family]:
                    self.removed.setdefault(int(verdict), (date.fromisoformat(day), {}))[1][family] = table

    def remind(self, alerts: Sequence[Alert]) -> None:
        """Take up the notices that users have had, in any order."""
        open_days = {each.day: each for each in self.open_days}
        for alert in sorted(alerts, key=lambda alert: alert.events):
            code = self.coding.users.find(alert.user)
            seat = None if code is None else self.find(code)
            if alert.period in open_days and seat is not None:
                open_days[alert.period].alarms[seat] = alert

    @property
    def _gap(self) -> int:
        """The session gap in microseconds."""
        return self.session_gap // MICROSECOND

    def _period_tables(self, period: Period) -> Iterator[tuple[str, pl.DataFrame]]:
        """What is known of an open day."""
        yield "before", period.before
        yield "last", period.last.frame()
        yield "standing", period.standing.frame()
        yield "facts", pl.DataFrame({"user": sorted(period.facts)}, schema=USERS_SCHEMA)
        yield "disowned", pl.DataFrame(sorted(period.disowned.items()), schema=_DISOWNED_SCHEMA, orient="row")
        for detector, memory in zip(self.detectors, period.memories, strict=True):
            yield f"memory/{detector.name}", memory.frame()
        yield from ((f"counts/{family}", table) for family, table in period.tally.total().items())

    def _restored(self, row: Mapping[str, Any], tables: Mapping[str, pl.DataFrame]) -> Period:
        """An open day as it was."""
        day = row["day"]
        fresh = self._opened(day)
        begun = {each.counts: tables[f"{day}/counts/{each.counts}"] for each in self.detectors}
        limit = Threshold(row["bits"], row["users"], row["by_chance"])
        return replace(
            fresh,
            threshold=limit,
            levels=limit.levels() if fresh.levels else [],
            before=tables[f"{day}/before"],
            last=Last(tables[f"{day}/last"]),
            memories=[each.memory(tables[f"{day}/memory/{each.name}"]) for each in self.detectors],
            standing=Standing(len(self.detectors), tables[f"{day}/standing"]),
            tally=Tally(self.detectors, begun),
            events=row["events"],
            facts=set(tables.get(f"{day}/facts", pl.DataFrame(schema=USERS_SCHEMA))["user"]),
            disowned=dict(tables[f"{day}/disowned"].iter_rows()),
        )


def story_id(day: date, user: str) -> str:
    """The name of what is told of a user on a day: the same whenever it is told.

    Examples
    --------
    >>> story_id(date(2026, 1, 6), "ann")
    '20260106-...'
    """
    digest = hashlib.blake2s(user.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return f"{day:%Y%m%d}-{digest}"


def _in_order(
    followed: Followed, said: npt.NDArray[np.int64], arrived: npt.NDArray[np.uint32]
) -> list[tuple[int, int]]:
    """The events that give notices as they came in, each with the level it reaches; 0 is by rule alone."""
    if not len(followed.events) and not len(said):
        return []
    events = np.concatenate([followed.events, said])
    levels = np.concatenate([followed.levels, np.zeros(len(said), np.int64)])
    order = np.lexsort((-levels, arrived[events]))
    return list(zip(events[order].tolist(), levels[order].tolist(), strict=True))


def _present(counts: Mapping[str, pl.DataFrame]) -> npt.NDArray[np.uint32]:
    """The users in counts, in order: (u,)."""
    return np.unique(np.concatenate([_codes(table) for table in counts.values()]))


def _time(microseconds: int) -> datetime:
    """A time as people write it."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)


def _until(period: Period, events: Events, event: int) -> pl.DataFrame:
    """What a user did on a day, up to one of the latest grouped events."""
    end = int(events.first[np.searchsorted(events.first, event, side="right")])
    rows = period.recent.of(int(events.user[event]))
    return rows[: len(rows) - (end - 1 - event)]


def _day(part: pl.DataFrame) -> date:
    """The day of events of one day."""
    return EPOCH + timedelta(days=int(part["time"].to_physical()[0]) // DAY)


def _by_day(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Runs of events of the same day, in the order of the rows."""
    days = frame["time"].to_physical().to_numpy() // DAY
    edges = [0, *(np.flatnonzero(days[1:] != days[:-1]) + 1).tolist(), len(frame)]
    for low, high in pairwise(edges):
        if high > low:
            yield frame[low:high]


def _split(counts: Mapping[str, pl.DataFrame], users: Collection[int]) -> tuple[Counts, Counts]:
    """Counts without those of some users, and those."""
    theirs = pl.col("user").is_in(list(users))
    rest = {family: table.filter(~theirs) if users else table for family, table in counts.items()}
    return rest, {family: table.filter(theirs) for family, table in counts.items()}


def _codes(table: pl.DataFrame) -> npt.NDArray[np.uint32]:
    """The users of a table: (n,)."""
    codes: npt.NDArray[np.uint32] = table["user"].to_numpy()
    return codes


def _users(counts: Mapping[str, pl.DataFrame]) -> int:
    """How many users there are in counts."""
    return max((table["user"].n_unique() for table in counts.values()), default=0)


def _period_row(period: Period) -> tuple[Any, ...]:
    """A row of the table of periods."""
    limit = period.threshold
    return period.day, period.events, limit.bits, limit.users, limit.by_chance


def _risk_rows(risks: Mapping[int, tuple[float, int]]) -> list[tuple[int, float, int]]:
    """The rows of the table of risks."""
    return [(user, bits, time) for user, (bits, time) in sorted(risks.items())]
