"""Attacks on copies of a log, judged as a scan judges it: who is attacked when, and what became of it.

The log is scanned as it is first. That says from which bits on each day alerts, and who alerts without any attack.
Then, round by round, a few users of each day are attacked in a copy, and the copy is scanned.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.attacks import Attack, Draw, Injection, Scene
from amiss.baseline import WINDOW
from amiss.copies import Copy
from amiss.decide import LEAST_BITS, Budget, threshold
from amiss.detect import Detector, Witnesses
from amiss.engine import Day, History, Scan
from amiss.spool import EPOCH

SHARE: Final = 0.02
"""The share of a day's users who are attacked at once, so that what is normal stays what it is; one user at least."""

LEAST_PAST: Final = 10
"""The events that a victim has before the day; on a log of one day, on that day."""

MORE: Final = 10
"""How many times as large a budget is looked at besides."""

GIVEN_UP: Final = 300
"""Users on whom an attack was tried in vain before it is given up."""

LATE_DAYS: Final = 10
"""The last days of a log, on which users are attacked: half of it, at most so many."""

MOST_TRIES: Final = 100
"""How often an attack is tried in all, where a round has place for many."""

VICTIMS_TRIED: Final = 24
"""Users who are looked at for one attack on one day before another attack is tried."""

TRIAL_SCHEMA: Final[dict[str, pl.DataType]] = {
    "attack": pl.String(),
    "round": pl.Int64(),
    "user": pl.String(),
    "period": pl.Date(),
    "caught": pl.Boolean(),
    "caught_at_more": pl.Boolean(),
    "bits": pl.Float64(),
    "threshold_bits": pl.Float64(),
    "events": pl.Int64(),
    "seconds": pl.Float64(),
    "rank": pl.Int64(),
    "detector": pl.String(),
    "past_events": pl.Int64(),
}
"""The columns of `SelfTest.trials`."""


class Trial(NamedTuple):
    """One attack on one user: what was injected, and whose name that is."""

    attack: Attack
    round: int
    user: str
    injection: Injection
    past_events: int


class Clean(NamedTuple):
    """What a scan of the log as it is says.

    By day from which bits on it alerts, `more` with a larger budget and `by_chance` if past alarms did not count; who
    alerts; and how many users there are. `expected` alarms a day come by chance, at most.
    """

    scan: Scan
    thresholds: dict[date, float]
    more: dict[date, float]
    by_chance: dict[date, float]
    expected: float
    alarms: dict[date, set[str]]
    users: dict[date, int]

    def bystanders(self, scanned: Scan, victims: AbstractSet[str]) -> float:
        """The alarms a day of another scan on users who are no victims, by these thresholds."""
        count = 0
        for day in scanned.days:
            alert = day.standings.filter((pl.col("peak") >= self.thresholds[day.day]) | pl.col("fact"))
            count += len(set(scanned.coding.users.decode(alert["user"]).to_list()) - victims)
        return count / len(scanned.days)

    def alerting(self, scene: Scene) -> dict[int, set[int]]:
        """By day, since 1970, who alerts, by the codes of the log."""
        found = {(day - EPOCH).days: map(scene.users.find, names) for day, names in self.alarms.items()}
        return {day: {code for code in codes if code is not None} for day, codes in found.items()}

    def alarmed(self, user: str, days: Iterable[int]) -> bool:
        """Whether a user alerts on one of these days anyway."""
        return any(user in self.alarms.get(_date(day), ()) for day in days)


def _date(day: int) -> date:
    return EPOCH + timedelta(days=day)


@dataclass
class Judge:
    """Scans a log, and copies of it, with the user's settings.

    Of a copy only the days from that before the first attack on are judged, by the days before as they are in the log:
    that gives what judging all of it would. Where a detector must see all events in order, all of it is judged.
    """

    detectors: Sequence[Detector[Any]]
    session_gap: timedelta
    budget: Budget
    past: pl.DataFrame
    window: int = WINDOW

    def _scan(self, history: History) -> Scan:
        """A scan that has read nothing yet."""
        return Scan(self.detectors, self.session_gap, self.budget, history, top=0)

    def clean(self, events: pl.DataFrame) -> Clean:
        """What a scan says of the log as it is."""
        scanned = self._scanned(self._scan(History(self.window)), events)
        days = {day.day: day for day in scanned.days}
        return Clean(
            scanned,
            {day: max(it.threshold.bits, LEAST_BITS) for day, it in days.items()},
            {day: self._with_more(scanned, it) for day, it in days.items()},
            {day: it.threshold.by_chance for day, it in days.items()},
            sum(it.threshold.expected for it in days.values()) / len(days),
            {day: set(scanned.coding.users.decode(it.standings.filter("alert")["user"])) for day, it in days.items()},
            {day: int((it.standings["events"] > 0).sum()) for day, it in days.items()},
        )

    def attacked(self, events: pl.DataFrame, clean: Clean, first: int) -> Scan:
        """A scan of a copy in which nothing differs from the log before a day, since 1970."""
        if Witnesses(self.detectors):
            return self._scanned(self._scan(History(self.window)), events)
        begin = max((day for day in clean.thresholds if day < _date(first)), default=_date(first))
        for day in [each for each in clean.scan.history.judged if each >= begin]:
            del clean.scan.history.judged[day]
        scanned = self._scan(clean.scan.history)
        scanned.coding, scanned.names = clean.scan.coding, clean.scan.names
        scanned.run([Copy(events.filter(pl.col("time").dt.date() >= begin))], [], lambda _: None)
        return scanned

    def _scanned(self, scan: Scan, events: pl.DataFrame) -> Scan:
        """The scan, once it has judged all events."""
        scan.run([Copy(events)], [Copy(self.past)] if len(self.past) else [], lambda _: None)
        return scan

    def _with_more(self, scanned: Scan, day: Day) -> float:
        """From which bits on a day would alert if the budget were larger."""
        past = scanned.history.figures_before(day.day)
        users = None if past else float((day.standings["events"] > 0).sum())
        return max(threshold(Budget(MORE * self.budget.per_day), past, users).bits, LEAST_BITS)


class Lots(NamedTuple):
    """What draws lots in a round, which one it is, and who was drawn."""

    number: int
    random: np.random.Generator
    used: set[int]


class Planner:
    """Draws victims: every attack as often as every other, a few users of each day at once.

    Nobody is attacked twice in a round, on a day on which they alert anyway, or before they have a past.
    """

    def __init__(self, scene: Scene, past: pl.DataFrame, clean: Clean, attacks: Sequence[Attack], seed: int) -> None:
        self.scene, self.clean, self.seed = scene, clean, seed
        self.tries: Counter[str] = Counter()
        self.vain: Counter[str] = Counter()
        self.attacks = attacks
        self._earlier = dict(past.group_by("user").len().iter_rows()) if len(past) else {}
        alone = len(scene.days) == 1 and not self._earlier
        self.open = scene.days if self._earlier or alone else scene.days[1:]
        self.late = self.open[-max(3, math.ceil(len(self.open) / 2)) :][-LATE_DAYS:]
        self._alone = alone

    def round(self, number: int, most: int | None = None) -> list[Trial]:
        """The attacks of a round: of those that were tried less than `most` times before, if that is given."""
        fit = [each for each in self.attacks if self._goes_on(each.name, most)]
        lots = Lots(number, np.random.default_rng([self.seed, number]), set())
        left = {day: max(1, int(SHARE * len(self.scene.present(day)[0]))) for day in self.open}
        found = self._long([each for each in fit if each.several_days], left, lots)
        short = [each for each in fit if not each.several_days]
        for day in lots.random.permutation(self.late).tolist():
            lasting = most and max(most, MOST_TRIES)
            found += self._short(short, day, max(left[day], 0), lots, lasting)
        return found

    def _short(self, attacks: Sequence[Attack], day: int, places: int, lots: Lots, most: int | None) -> Iterator[Trial]:
        """As many attacks on a day as there are places, while there are victims."""
        for _ in range(places):
            trial = self._next([each for each in attacks if self._goes_on(each.name, most)], day, lots)
            if trial is None:
                return
            yield trial

    def _goes_on(self, name: str, most: int | None) -> bool:
        """Whether an attack is still to be tried."""
        return (most is None or self.tries[name] < most) and (self.tries[name] > 0 or self.vain[name] < GIVEN_UP)

    def _long(self, attacks: Sequence[Attack], left: dict[int, int], lots: Lots) -> list[Trial]:
        """Attacks that go on for days take half of the places on them first; with one a day, every other round."""
        days, found = self.open[-LATE_DAYS:], []
        places = int(np.median([left[day] for day in days])) // 2 or lots.number % 2
        for attack in [each for each in attacks for _ in range(places)]:
            trial = self._made(attack, Draw(-1, days[0], days, lots.random), lots)
            if trial is not None:
                found.append(trial)
                for day in days:
                    left[day] -= 1
        return found

    def _next(self, attacks: Sequence[Attack], day: int, lots: Lots) -> Trial | None:
        """An attack on a day, of those tried least so far for which there is a victim."""
        for attack in sorted(attacks, key=lambda each: self.tries[each.name]):
            trial = self._made(attack, Draw(-1, day, (day,), lots.random), lots)
            if trial is not None:
                return trial
        return None

    def _made(self, attack: Attack, draw: Draw, lots: Lots) -> Trial | None:
        """An attack on one of some random users who are there."""
        users, _ = self.scene.present(draw.day)
        for user in draw.random.permutation(users)[:VICTIMS_TRIED].tolist():
            past = self.past_of(user, draw.day)
            if user in lots.used or past < LEAST_PAST:
                continue
            name, made = self.scene.users.text(user), attack.make(self.scene, draw._replace(user=user))
            if made is not None and not self.clean.alarmed(name, draw.days):
                lots.used.add(user)
                self.tries[attack.name] += 1
                return Trial(attack, lots.number, name, made, past)
            self.vain[attack.name] += 1
        return None

    def past_of(self, user: int, day: int) -> int:
        """How many events a user has before a day; on a log of one day, on that day."""
        if self._alone:
            return len(self.scene.rows(user, day))
        return int(self._earlier.get(self.scene.users.text(user), 0)) + self.scene.before(user, day)


class Found(NamedTuple):
    """Where a victim stood on a day of an attack."""

    period: date
    peak: float
    threshold: float
    is_alert: bool
    is_alert_at_more: bool
    rank: int
    detector: str | None
    by_rule: bool


def outcomes(scanned: Scan, trials: Sequence[Trial], clean: Clean, size: int) -> Iterator[dict[str, Any]]:
    """What became of the attacks of a round: rows of `TRIAL_SCHEMA`; none of those who alerted before it began.

    Parameters
    ----------
    scanned
        The scan of the copy.
    trials
        The attacks that are in it.
    clean
        The thresholds that hold.
    size
        The events of the log: positions above are of attacks.
    """
    days = {day.day: day.standings for day in scanned.days}
    victims = {scanned.coding.users.find(trial.user): trial for trial in trials}
    stood: defaultdict[str, list[Found]] = defaultdict(list)
    for user, trial in victims.items():
        for day in map(_date, trial.injection.days):
            found = None if user is None else _stood(days[day], user, clean, day, list(victims))
            stood[trial.user] += [found] if found else []
    crossings = _crossings(scanned, victims, stood, size)
    for trial in trials:
        yield from _outcome(trial, stood[trial.user], crossings, clean)


def _outcome(
    trial: Trial, stood: Sequence[Found], crossings: Mapping[tuple[str, date], Crossing | None], clean: Clean
) -> Iterator[dict[str, Any]]:
    """The row of an attack."""
    alerts = [found for found in stood if found.is_alert]
    best = alerts[0] if alerts else max(stood, key=lambda found: found.peak, default=None)
    crossing = crossings.get((trial.user, best.period)) if best and alerts else None
    if crossing is not None and crossing.is_before:
        return
    day = best.period if best else _date(trial.injection.days[0])
    yield {
        "attack": trial.attack.name, "round": trial.round, "user": trial.user, "period": day, "caught": bool(alerts),
        "caught_at_more": any(found.is_alert_at_more for found in stood),
        "bits": best.peak if best else 0.0, "threshold_bits": clean.thresholds[day],
        "events": crossing.events if crossing else None, "seconds": crossing.seconds if crossing else None,
        "rank": best.rank if best else clean.users[day], "detector": best.detector if best else None,
        "past_events": trial.past_events,
    }  # fmt: skip


def _stood(standings: pl.DataFrame, user: int, clean: Clean, day: date, victims: list[int | None]) -> Found | None:
    """Where a victim stood on a day; None for one who did nothing, of which nobody makes anything."""
    own = standings.filter(pl.col("user") == user)
    if own.is_empty():
        return None
    row = own.row(0, named=True)
    others = standings.filter(~pl.col("user").is_in([each for each in victims if each is not None]))
    spoke = {name: bits for name, bits in row["detectors"].items() if bits != 0.0}
    most = max(spoke, key=lambda name: spoke[name], default=None)
    rank = 1 + int((others["peak"] > row["peak"]).sum())
    peak, least, more = row["peak"], clean.thresholds[day], clean.more[day]
    return Found(day, peak, least, peak >= least or row["fact"], peak >= more or row["fact"], rank, most, row["fact"])


class Crossing(NamedTuple):
    """When an alert came: so many injected events and seconds after the attack began, or before it did."""

    events: int
    seconds: float
    is_before: bool = False


def _crossings(
    scanned: Scan, victims: Mapping[int | None, Trial], stood: Mapping[str, Sequence[Found]], size: int
) -> dict[tuple[str, date], Crossing | None]:
    """When the first alert of each victim came."""
    firsts: defaultdict[date, list[tuple[int, Trial, Found]]] = defaultdict(list)
    for user, trial in victims.items():
        alert = next((found for found in stood[trial.user] if found.is_alert), None)
        if alert is not None and user is not None and len(trial.injection.rows):
            firsts[alert.period].append((user, trial, alert))
    told: dict[tuple[str, date], Crossing | None] = {}
    for day in sorted(firsts):
        scored = scanned.scored(day, [user for user, _, _ in firsts[day]])
        for user, trial, alert in firsts[day]:
            events = scored.filter(pl.col("user") == user)
            told[trial.user, day] = _crossing(events, trial, alert, _facts(scanned, day, user, alert), size)
    return told


def _facts(scanned: Scan, day: date, user: int, alert: Found) -> npt.NDArray[np.bool_] | None:
    """Which of a user's events alert by rule, if any does."""
    if not alert.by_rule:
        return None
    said = (scanned.judged(day, user, each)[1].facts for each in scanned.detectors)
    by_rule: npt.NDArray[np.bool_] = np.logical_or.reduce([each for each in said if each is not None])
    return by_rule


def _crossing(
    events: pl.DataFrame, trial: Trial, alert: Found, facts: npt.NDArray[np.bool_] | None, size: int
) -> Crossing | None:
    """When an alert came, by the events of the day."""
    reached = events["evidence"].to_numpy() >= alert.threshold
    if facts is not None:
        reached = reached | facts
    if not reached.any():
        return None
    at = int(np.argmax(reached))
    came = trial.injection.rows["time"]
    first, when = came.min(), events["time"][at]
    before = came.filter(came.dt.date() < alert.period).len()
    count = before + int((events["position"].to_numpy()[: at + 1] > size).sum())
    seconds = (when - first).total_seconds() if isinstance(first, datetime) else 0.0
    return Crossing(count, seconds, count == 0)
