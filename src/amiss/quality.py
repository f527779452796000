"""The quality card of an installation: what it would catch of known attacks, how soon, and its false alarms."""

from __future__ import annotations

import math
import time as clock
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from amiss import config
from amiss.app import Reader
from amiss.attacks import ATTACKS, Attack, Scene
from amiss.baseline import WINDOW
from amiss.copies import EVENTS_HELD, Kept, event_frames, injected
from amiss.decide import Budget
from amiss.detect import Detector, coding, fitting
from amiss.detect.habit import Habit
from amiss.errors import SourceError, UsageError, nearest
from amiss.events import Quarantine
from amiss.sessions import SESSION_GAP
from amiss.sources import Source, fields_of
from amiss.spool import EPOCH
from amiss.trials import MORE, TRIAL_SCHEMA, Clean, Judge, Planner, outcomes

if TYPE_CHECKING:
    from amiss.app import Data

TRIES: Final = 30
"""How often each attack is tried, where the number of rounds is not given."""

MOST_WORK: Final = 8_000_000
WORK_OF_A_DAY: Final = 20_000
LEAST_ROUNDS, MOST_ROUNDS = 5, 100
"""Events that all rounds judge together, where their number is not given; a day costs as much as so many events."""

LEAST_USERS: Final = 10
FEW_DAYS: Final = 14
FEW_TRIES: Final = 10
RAISED: Final = 3.0
READY: Final = 2 / 3

_Z: Final = 1.959964

KNOWN: Final = {each.name: each for each in ATTACKS}

ATTACK_SCHEMA: Final[dict[str, pl.DataType]] = {
    "attack": pl.String(),
    "what": pl.String(),
    "tried": pl.Int64(),
    "caught": pl.Int64(),
    "share": pl.Float64(),
    "low": pl.Float64(),
    "high": pl.Float64(),
    "bits": pl.Float64(),
    "events": pl.Float64(),
    "seconds": pl.Float64(),
    "rank": pl.Float64(),
    "detector": pl.String(),
    "caught_at_more": pl.Int64(),
    "skipped": pl.String(),
}
"""The columns of `SelfTest.attacks`."""


@dataclass(frozen=True)
class Setting:
    """What was tried on what, and what the log says without any attack.

    `kept` is the share of users that were looked at; budget and alarms are those of all. `habit_least` are the events
    from which on a user's own habits are judged, where they are. `threshold_bits` is that of the last day,
    `chance_bits` what it would be if past alarms did not raise it. `alarms_per_day` were raised by the log as it is,
    and may be real; chance gives `expected_alarms_per_day` at most. `bystanders_per_day` are alarms on users who were
    not attacked while others were.
    """

    events: int
    users: int
    kept: float
    days: int
    past_events: int
    habit_least: int | None
    first_tried: date
    last_tried: date
    days_tried: int
    rounds: int
    seed: int
    detectors: tuple[str, ...]
    budget_per_day: float
    threshold_bits: float
    chance_bits: float
    alarms_per_day: float
    expected_alarms_per_day: float
    bystanders_per_day: float
    users_per_day: float
    quarantine: Quarantine
    seconds: float


class SelfTest:
    """What would be caught of attacks on users of a log, and how many false alarms there are.

    Attributes
    ----------
    setting
        What was tried on what.
    attacks : (a, 14)
        By kind of attack: `attack`, `what` it is; `tried`, `caught` and the `share`, with its 95 % interval from `low`
        to `high` (Wilson); medians of the `bits` of evidence and the `rank` among all users of the day (of all tries),
        of the attack's `events` and `seconds` until the alert (of those caught); the `detector` that said most in most
        tries; `caught_at_more`, how many a ten times larger budget would catch; why it was `skipped`, or null.
    trials : (n, 12)
        A row for each try: `attack`, `round`, `user`, `period` (the day), `caught`, `bits`, `threshold_bits`, `events`,
        `seconds`, `rank`, `detector`, `past_events` of the user.
    """

    def __init__(self, setting: Setting, attacks: pl.DataFrame, trials: pl.DataFrame) -> None:
        self.setting, self.attacks, self.trials = setting, attacks, trials

    def __repr__(self) -> str:
        tried = self.attacks.filter(pl.col("tried") > 0)
        return f"<SelfTest: {len(self.trials)} tries of {len(tried)} attacks, {self.trials['caught'].sum()} caught>"

    @property
    def conclusion(self) -> str:
        """What it comes to, in a few sentences."""
        tried = [row for row in self.attacks.iter_rows(named=True) if row["tried"]]
        if not tried:
            return "No attack could be tried on this log."
        first, *others = tried
        return " ".join([_noticed(first), *_groups(others)])

    @property
    def advice(self) -> list[str]:
        """What would help, as far as the figures tell."""
        return [*_raised(self), *_more_past(self), *_more_budget(self), *_few_tries(self)]

    def records(self) -> list[dict[str, Any]]:
        """A dictionary of plain values for each kind of attack."""
        return self.attacks.to_dicts()

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain values: `conclusion`, `advice`, `setting`, `attacks`."""
        setting = asdict(self.setting) | {"quarantine": self.setting.quarantine.reasons}
        return {"conclusion": self.conclusion, "advice": self.advice, "setting": setting, "attacks": self.records()}


def wilson(caught: int, tried: int) -> tuple[float, float]:
    """The 95 % interval of a share.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    Examples
    --------
    >>> [round(end, 3) for end in wilson(8, 10)]
    [0.49, 0.943]
    >>> wilson(0, 0)
    (0.0, 1.0)
    """
    if not tried:
        return 0.0, 1.0
    share, square = caught / tried, _Z * _Z / tried
    middle = share + square / 2
    spread = _Z * math.sqrt(share * (1 - share) / tried + square / (4 * tried))
    return max(0.0, (middle - spread) / (1 + square)), min(1.0, (middle + spread) / (1 + square))


# --- what it says


def _noticed(row: Mapping[str, Any]) -> str:
    """How often an attack would be noticed, and how soon."""
    who = KNOWN[row["attack"]].who
    if not row["caught"]:
        return f"{who} would not be noticed: none of {row['tried']} was."
    soon = f", after {row['events']:,.0f} events ({_span(row['seconds'])})" if row["events"] else ""
    soon = ", at its first event" if row["events"] == 1 else soon
    return f"{who} would be noticed in {_of_hundred(row)} of 100 cases{soon}."


def _groups(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The other attacks by how often they are noticed."""
    limits = (("Mostly noticed", 2 / 3, 1.01), ("About half the time", 1 / 3, 2 / 3), ("Seldom or never", -0.1, 1 / 3))
    for said, low, high in limits:
        named = [f"{row['attack']} ({_of_hundred(row)} of 100)" for row in rows if low <= row["share"] < high]
        if named:
            yield f"{said}: {', '.join(named)}."


def _of_hundred(row: Mapping[str, Any]) -> int:
    return round(100 * float(row["share"]))


def _span(seconds: float) -> str:
    from amiss.story import duration

    return duration(seconds)


def _raised(found: SelfTest) -> Iterator[str]:
    """Whether alarms of the log itself keep attacks from being seen."""
    it = found.setting
    if it.threshold_bits > it.chance_bits + RAISED:
        yield (
            f"Alerts start at {it.threshold_bits:.1f} bits, not at the {it.chance_bits:.1f} that the budget asks for, "
            "as earlier days had more alarms than that: look into these with amiss scan, or give a larger budget."
        )


def _more_past(found: SelfTest) -> Iterator[str]:
    """Whether more days would help."""
    least = found.setting.habit_least
    if least is None or found.trials.is_empty():
        return
    ready = len(found.trials.filter(pl.col("past_events") >= least)) / len(found.trials)
    if ready < READY:
        share = f"Only {ready:.0%}" if ready >= 0.005 else "Hardly any" if ready else "None"
        yield (
            f"{share} of the victims had the {least} events before the day from which on a user's own habits are "
            "judged: give more days, as SOURCE or with --learn."
        )
    elif found.setting.days < FEW_DAYS and not found.setting.past_events:
        yield f"{found.setting.days} days are few: judged by weeks of a past, more is caught. Give more days."


def _more_budget(found: SelfTest) -> Iterator[str]:
    """What a larger budget would catch besides."""
    gains = [
        f"{row['attack']} {round(100 * row['caught_at_more'] / row['tried'])}"
        for row in found.attacks.iter_rows(named=True)
        if row["tried"] and row["caught_at_more"] - row["caught"] >= 0.1 * row["tried"]
    ]
    if gains:
        allowed = found.setting.budget_per_day
        yield f"With a budget of {MORE * allowed:.3g} a day, not {allowed:.3g}: {', '.join(gains)} of 100."


def _few_tries(found: SelfTest) -> Iterator[str]:
    """Which shares are of few tries."""
    few = found.attacks.filter(pl.col("tried").is_between(1, FEW_TRIES - 1))["attack"].to_list()
    if few:
        yield f"Fewer than {FEW_TRIES} tries say little ({', '.join(few)}): more --rounds, or a longer log."


# --- how it is found


def selftest(
    data: Data,
    *,
    learn: Data | None = None,
    budget: str = "1/day",
    detectors: Sequence[str] = (),
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    session_gap: str | None = None,
    window: int = WINDOW,
    cap: int | None = None,
    attacks: Sequence[str] = (),
    rounds: int | None = None,
    users: int | None = None,
    seed: int = 1,
    time: str | None = None,
    user: str | None = None,
    action: str | None = None,
    outcome: str | None = None,
    columns: Mapping[str, str] | None = None,
    time_format: str | None = None,
    timezone: str = "UTC",
    year: int | None = None,
    strict: bool = False,
    progress: Callable[[int], None] | None = None,
) -> SelfTest:
    """What would be caught of known attacks on the users of a log, how soon, and how many false alarms there are.

    The log is read once and held in memory, about 3,000,000 events of it; of a larger one the users are sampled, and
    the budget with them. Attacks are made in copies, never more than on one user in fifty a day.

    Parameters
    ----------
    data, learn, budget, detectors, parameters, session_gap, window, cap
        As for :func:`amiss.scan`.
    attacks
        Names of the attacks to try; all that the log lends itself to when empty.
    rounds
        How many copies to scan; when None as many as try each attack about 30 times.
    users
        How many users to look at; all when None.
    seed
        Where the random numbers begin; the same give the same figures.
    time, user, action, outcome, columns, time_format, timezone, year, strict
        As for :func:`amiss.scan`.
    progress
        Called with the number of scans that are done.

    Returns
    -------
    found
        Frames `attacks` and `trials`, the `setting`, a `conclusion` in words and `advice`.

    Raises
    ------
    UsageError
        If an option is not understood.
    SourceError
        If data cannot be read, or has too few users, days or events to attack anybody.
    EventError
        If a column that is needed is missing.

    Examples
    --------
    >>> does = {"buyer": ["login", "view", "buy"], "seller": ["login", "list", "sell"]}
    >>> rows = [(f"2026-01-0{day}T09:{number:02}:{event:02}Z", f"{kind}{number}", does[kind][event % 3])
    ...         for day in (5, 6) for kind in does for number in range(20) for event in range(12)]
    >>> log = pl.DataFrame(rows, schema=["time", "user", "action"], orient="row")
    >>> found = selftest(log, attacks=["burst"], rounds=5)
    >>> found.attacks.select("attack", "tried", "caught").rows()
    [('burst', 5, 5)]
    """
    began = clock.perf_counter()
    reader = Reader.of(
        columns, time_format, timezone, year, strict=strict, time=time, user=user, action=action, outcome=outcome
    )
    wanted, allowed = _wanted(attacks), Budget.parse(budget)
    sources, past = reader.open(data), [] if learn is None else reader.open(learn)
    given = config.in_zone(parameters or {}, timezone)
    used = config.detectors(detectors or fitting(fields_of(sources), given), given, cap=cap)
    gap = timedelta(seconds=config.seconds(session_gap)) if session_gap else SESSION_GAP
    kept = _read(sources, past, used, users)
    judge = Judge(used, gap, Budget(allowed.per_day * kept.share), kept.frame(past=True), window)
    course = Course(kept, judge, wanted, seed)
    course.run(rounds, progress or (lambda _: None))
    return course.result(allowed, [*past, *sources], clock.perf_counter() - began)


def _wanted(names: Sequence[str]) -> list[Attack]:
    """The attacks of these names, which may be several parted by commas; all when there are none."""
    each = list(dict.fromkeys(name.strip() for text in names for name in text.split(",") if name.strip()))
    for name in each:
        if name not in KNOWN:
            raise UsageError(f'no attack is called "{name}". Known: {", ".join(KNOWN)}.{nearest(name, KNOWN)}')
    return [attack for attack in ATTACKS if attack.name in each or not each]


def _read(sources: Sequence[Source], past: Sequence[Source], used: Sequence[Detector[Any]], users: int | None) -> Kept:
    """All events of sources, of as many users as there is room for."""
    kept, needed = Kept(EVENTS_HELD), coding(used)
    for is_past, given in ((True, past), (False, sources)):
        for frame in chain.from_iterable(event_frames(source, needed) for source in given):
            kept.add(frame, past=is_past)
    if users is not None:
        kept.cut_to(users)
    if kept.frame(past=False).is_empty():
        raise SourceError(f"no events in {', '.join(source.url for source in sources)}")
    return kept


class Course:
    """A self-test while it runs: the log, how it is judged, who is attacked, and what became of it."""

    def __init__(self, kept: Kept, judge: Judge, attacks: Sequence[Attack], seed: int) -> None:
        self.kept, self.judge, self.seed = kept, judge, seed
        self.scene = Scene(kept.frame(past=False), judge.detectors)
        self._check()
        self.skipped = {each.name: why for each in attacks if (why := each.missing(self.scene))}
        self.attacks = attacks
        self.clean: Clean = judge.clean(self.scene.events)
        self.scene.alerting = self.clean.alerting(self.scene)
        fit = [each for each in attacks if each.name not in self.skipped]
        self.planner = Planner(self.scene, judge.past, self.clean, fit, seed)
        self.rows: list[dict[str, Any]] = []
        self.bystanders: list[float] = []

    def run(self, rounds: int | None, progress: Callable[[int], None]) -> None:
        """Attack and judge, round by round."""
        work = len(self.scene.events) + WORK_OF_A_DAY * len(self.planner.late)
        most = rounds or min(MOST_ROUNDS, max(LEAST_ROUNDS, MOST_WORK // work))
        for number in range(1, most + 1):
            progress(number)
            trials = self.planner.round(number, TRIES if rounds is None else None)
            if trials:
                copy = injected(self.scene, [each.injection for each in trials])
                first = min(each.injection.days[0] for each in trials)
                scanned = self.judge.attacked(copy, self.clean, first)
                self.rows += outcomes(scanned, trials, self.clean, len(self.scene.events))
                self.bystanders.append(self.clean.bystanders(scanned, {each.user for each in trials}))
            elif rounds is None and number > 1:
                break
        if not self.rows:
            reasons = "; ".join(f"{each.name}: {self._why_not(each)}" for each in self.attacks)
            raise SourceError(f"nobody could be attacked: {self._found()}. {reasons}")

    def result(self, allowed: Budget, sources: Sequence[Source], seconds: float) -> SelfTest:
        """What was found."""
        trials = pl.DataFrame(self.rows, schema=TRIAL_SCHEMA, orient="row")
        rows = [_attack(each, trials.filter(attack=each.name), self._why_not(each)) for each in self.attacks]
        return SelfTest(self._setting(allowed, sources, seconds), pl.DataFrame(rows, schema=ATTACK_SCHEMA), trials)

    def _setting(self, allowed: Budget, sources: Sequence[Source], seconds: float) -> Setting:
        quarantine = Quarantine()
        for source in sources:
            quarantine.extend(source.quarantine)
        days, tried = len(self.clean.thresholds), self.planner.late
        least = [each.least for each in self.judge.detectors if isinstance(each, Habit)]
        return Setting(
            events=len(self.scene.events),
            users=len(self.scene.users),
            kept=self.kept.share,
            days=days,
            past_events=len(self.judge.past),
            habit_least=least[0] if least else None,
            first_tried=EPOCH + timedelta(days=tried[0]),
            last_tried=EPOCH + timedelta(days=tried[-1]),
            days_tried=len(tried),
            rounds=len(self.bystanders),
            seed=self.seed,
            detectors=tuple(each.name for each in self.judge.detectors),
            budget_per_day=allowed.per_day,
            threshold_bits=list(self.clean.thresholds.values())[-1],
            chance_bits=list(self.clean.by_chance.values())[-1],
            alarms_per_day=sum(map(len, self.clean.alarms.values())) / days / self.kept.share,
            expected_alarms_per_day=self.clean.expected / self.kept.share,
            bystanders_per_day=sum(self.bystanders) / len(self.bystanders) / self.kept.share,
            users_per_day=sum(self.clean.users.values()) / days / self.kept.share,
            quarantine=quarantine,
            seconds=seconds,
        )

    def _why_not(self, attack: Attack) -> str | None:
        return self.skipped.get(attack.name) or (f"nobody to try it on: it takes {attack.takes}")

    def _check(self) -> None:
        """Refuse a log of too few users."""
        if len(self.scene.users) < LEAST_USERS:
            raise SourceError(
                f"a self-test takes {LEAST_USERS} users at least, so that there are others to be taken for: "
                f"{self._found()}. Give a log of more users, or name their column with --user"
            )

    def _found(self) -> str:
        """How much there is."""
        from amiss.story import plural

        days, users = len(self.scene.days), len(self.scene.users)
        return f"found {plural(users, 'user')} and {plural(len(self.scene.events), 'event')} on {plural(days, 'day')}"


def _attack(attack: Attack, trials: pl.DataFrame, why_not: str | None) -> dict[str, Any]:
    """The row of an attack."""
    caught = trials.filter("caught")
    more = trials.filter(pl.col("caught") | pl.col("caught_at_more"))
    low, high = wilson(len(caught), len(trials))
    most = Counter(caught["detector"] if len(caught) else trials["detector"].drop_nulls()).most_common(1)
    told = {"attack": attack.name, "what": attack.what, "tried": len(trials), "caught": len(caught)}
    if trials.is_empty():
        return told | {"skipped": why_not, "caught_at_more": 0}
    return told | {
        "share": len(caught) / len(trials), "low": low, "high": high,
        "bits": trials["bits"].median(), "rank": trials["rank"].median(),
        "events": caught["events"].median(), "seconds": caught["seconds"].median(),
        "detector": most[0][0] if most else None, "caught_at_more": len(more),
    }  # fmt: skip
