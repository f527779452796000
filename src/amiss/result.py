"""What a scan found: users ranked by evidence, their stories, and the figures around them."""

from __future__ import annotations

import inspect
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import polars as pl

from amiss import evidence, surprisal
from amiss.activity import Activity
from amiss.baseline import WINDOW
from amiss.bollinger import Calendar, Width
from amiss.crowds import largest
from amiss.decide import Budget
from amiss.detect import Detector, Reason, detector, fitting
from amiss.engine import History, Scan, coded
from amiss.errors import SourceError, UsageError, nearest
from amiss.events import OUTCOMES, Quarantine
from amiss.fields import Fields
from amiss.sessions import SESSION_GAP, START
from amiss.sources import Source, fields_of

if TYPE_CHECKING:
    from altair import LayerChart

REASON_SCHEMA: Final = pl.Struct(
    {
        "detector": pl.String(),
        "bits": pl.Float64(),
        "text": pl.String(),
        "count": pl.Int64(),
        "of": pl.Int64(),
        "others_count": pl.Int64(),
        "others_of": pl.Int64(),
        "action": pl.String(),
    }
)

ROUNDING: Final = 1e-9
"""Bits below which evidence is no evidence but rounding."""


@dataclass(frozen=True)
class Summary:
    """The figures of a scan.

    `users` and `alerts` are over all days; `threshold_bits` is that of the last, `expected_alarms_per_day` what chance
    gives at most above each day's, `actual_alarms_per_day` how often a user crossed it. `skipped` counts by reason the
    lines that are no events of a user: with events and quarantine they make up all that was read. `gaps` are runs of
    days, the first and the last of each, on which the log has nothing of anybody, `crowds` users with alerts who do
    alike and as nobody else.
    """

    sources: tuple[str, ...]
    events: int
    users: int
    users_per_day: float
    first_time: datetime
    last_time: datetime
    periods: int
    learned_from: str
    gaps: tuple[tuple[date, date], ...]
    crowds: tuple[Alike, ...]
    quarantine: Quarantine
    skipped: dict[str, int]
    fields: tuple[Fields, ...]
    detectors: dict[str, str]
    budget_per_day: float
    threshold_bits: float
    alerts: int
    expected_alarms_per_day: float
    actual_alarms_per_day: float
    seconds: float

    @property
    def events_per_second(self) -> float:
        """Events read and judged in a second."""
        return self.events / self.seconds if self.seconds > 0 else 0.0


class Alike(NamedTuple):
    """Users with alerts on a day who do alike, most evident first; what they do; by how many bits nobody else does."""

    day: date
    users: tuple[str, ...]
    does: str
    bits: float


class Result:
    """Users ranked by the evidence that they are amiss, with the reasons and the story of each.

    Attributes
    ----------
    summary
        The figures of the scan.
    users : (u, 12)
        Ranked: `user`, `events`, `first_time`, `last_time`, `period` (the day with most evidence), `bits` (the
        evidence at its end), `severity`, `alert`, `surprisal` and `surprisal_z` (sums over all days by the surprisal
        table), `detectors` (list of `detector`, `bits`), `reasons` (list of what a reason holds; of the top users).
    """

    def __init__(self, scan: Scan, summary: Summary, users: pl.DataFrame) -> None:
        self.summary = summary
        self.users = users
        self._scan = scan

    def __repr__(self) -> str:
        figures = self.summary
        return f"<Result: {figures.users:,} users, {figures.events:,} events, {figures.alerts} alerts>"

    def _repr_html_(self) -> str:
        from amiss.report import html_repr

        return html_repr(self)

    @property
    def crowds(self) -> pl.DataFrame:
        """Users with alerts who do alike, and as nobody else does: `day`, `users`, what they do (`does`), `bits`.

        A row for each such group, the largest first; see :mod:`amiss.crowds`.
        """
        schema = {"day": pl.Date(), "users": pl.List(pl.String()), "does": pl.String(), "bits": pl.Float64()}
        return pl.DataFrame(self.summary.crowds, schema=schema, orient="row")

    @cached_property
    def events(self) -> pl.DataFrame:
        """All judged events in the order of the log, with their bits.

        Columns `position`, `time`, `user`, `action`, `outcome`, `previous`, `gap_seconds`, `surprisal`, `bits`,
        `evidence` (running, after the event).
        """
        days = self._scan.befores
        everyone = range(len(self._scan.coding.users))
        told = pl.concat([self._told(self._scan.scored(day, everyone)) for day in days])
        return told.sort("position")

    def story(self, user: str) -> pl.DataFrame:
        """The events of a user on the day with most evidence, in order: the columns of `events` without `user`.

        None where it is that they did nothing on that day which is odd.
        """
        row = self._row(user)
        return self._told(self._scan.scored(row["period"], [row["code"]])).drop("user")

    def profile(self, user: str) -> pl.DataFrame:
        """What a user did on the day with most evidence: `action`, `events`, `surprisal` by the surprisal table."""
        row = self._row(user)
        events = coded(self._scan.scored(row["period"], [row["code"]]))
        sums = surprisal.profile(events, self._scan.transitions).drop("user")
        return surprisal.decoded(sums, actions=self._scan.coding.actions).sort("surprisal", descending=True)

    def transitions(self) -> pl.DataFrame:
        """The surprisal table, a row per `action` and `previous` with counts and bits by outcome, and `entropy`."""
        return surprisal.decoded(self._scan.transitions, actions=self._scan.coding.actions)

    def records(self, top: int | None = None) -> list[dict[str, Any]]:
        """A dictionary of plain values for each of the `top` users, or of all."""
        rows = self.users if top is None else self.users.head(top)
        return [_record(row) for row in rows.drop("period").iter_rows(named=True)]

    def explain(self, user: str) -> str:
        """Why a user stands where they stand, in a sentence or two."""
        row = self._row(user)
        reasons = ". ".join(f"{reason.text} ({reason.bits:,.1f} bits)" for reason in self._reasons(row))
        chance = evidence.once_in(row["bits"], self.summary.users_per_day)
        return f"{user}: {reasons or 'nothing unusual'}. Together {row['bits']:,.1f} bits: {chance} here."

    def usual(self, user: str) -> dict[str, dict[str, str]]:
        """By detector that can tell, what was usual for a user before the day with most evidence, in words by kind."""
        row = self._row(user)
        told = self._scan.usual(row["period"], row["code"])
        return {detector: card for detector, card in told.items() if card}

    def bands(self, users: Sequence[str] | None = None, *, span: float = 30.0, k: float = 2.0) -> pl.DataFrame:
        """How many events users had on each judged day, with Bollinger bands: as :func:`amiss.bands` gives them.

        Of all users, unless some are named.
        """
        rows = self._scan.standings.filter(pl.col("events") > 0)
        if users is not None:
            rows = rows.filter(pl.col("user").is_in([self._row(user)["code"] for user in users]))
        days = rows.select(
            pl.col("user").alias("series"), pl.col("period").to_physical(), pl.col("events").alias("count")
        )
        counts = days.cast({"series": pl.UInt32, "count": pl.UInt32}).sort("series", "period")
        return Activity(counts, self._scan.coding.users, "user", Calendar()).bands(Width(span, k))

    def plot(self, user: str, *, span: float = 30.0, k: float = 2.0) -> LayerChart:
        """A chart of how many events a user had on each judged day, with bands; `.save` writes it."""
        from amiss.plots_activity import activity_chart

        return activity_chart(self.bands([user], span=span, k=k), user)

    def networks(self, users: Sequence[str]) -> dict[str, tuple[int, pl.DataFrame]]:
        """By user whose purchases speak against them: the amount in cents that does most, and what it is judged by.

        That are the last purchases of the user's network, newest first: columns `cents`, `distance` (friendships away).
        """
        from amiss.detect.purchase import Neighbours, Purchase
        from amiss.network import PURCHASE

        used = next((each for each in self._scan.detectors if isinstance(each, Purchase)), None)
        odd = {user: found for user in users if used and (found := self._purchase(used, user)) is not None}
        if used is None or not odd:
            return {}
        near = Neighbours.restored(used.degrees, used.last, self._scan.witnessed)
        ordered = self._scan.in_order(pl.col("kind") <= PURCHASE)
        windows = near.windows(ordered, [position for position, _ in odd.values()])
        return {user: (cents, windows[position].frame()) for user, (position, cents) in odd.items()}

    def _purchase(self, used: Detector[Any], user: str) -> tuple[int, int] | None:
        """The position and the amount of the purchase that speaks most against a user, if one does."""
        row = self._row(user)
        events, scores = self._scan.judged(row["period"], row["code"], used)
        at = int(scores.bits.argmax())
        return (int(events.position[at]), int(events.context["amount_cents"][at])) if scores.bits[at] > 0 else None

    def report(self, path: str | Path, *, top: int = 20) -> None:
        """Write one self-contained HTML page that opens offline."""
        from amiss.report import write_report

        write_report(self, path, top=top)

    def _row(self, user: str) -> dict[str, Any]:
        """The row of a user, with the code."""
        code = self._scan.coding.users.find(user)
        found = self.users.filter(pl.col("user") == user)
        if code is None or found.is_empty():
            raise UsageError(f'no user is called "{user}" here.{nearest(user, self.users["user"].head(10_000))}')
        return found.row(0, named=True) | {"code": code}

    def _reasons(self, row: dict[str, Any]) -> list[Reason]:
        """The reasons of a row of users, found now where they were not asked for."""
        if row["reasons"]:
            return [Reason(**reason) for reason in row["reasons"]]
        told = self._scan.reasons(row["period"], [row["code"]])
        return told.get(row["code"], [])

    def _told(self, scored: pl.DataFrame) -> pl.DataFrame:
        """Scored events in words."""
        states = range(len(OUTCOMES) * len(self._scan.coding.actions))
        names = pl.Series([self._scan.names.state(state) for state in states])
        action, outcome = pl.col("state") // len(OUTCOMES), pl.col("state") % len(OUTCOMES)
        previous = pl.when(pl.col("previous") != START).then("previous")
        gap = pl.when(pl.col("gap") >= 0).then("gap")
        return scored.select(
            "position",
            "time",
            pl.lit(self._scan.coding.users.texts()).gather(pl.col("user")).alias("user"),
            pl.lit(self._scan.coding.actions.texts()).gather(action).alias("action"),
            pl.lit(pl.Series(OUTCOMES)).gather(outcome).alias("outcome"),
            pl.lit(names).gather(previous).alias("previous"),
            (gap / 1e6).alias("gap_seconds"),
            "surprisal",
            "bits",
            "evidence",
        )


def scan(
    sources: Sequence[Source],
    *,
    learn: Sequence[Source] = (),
    budget: Budget | None = None,
    detectors: Sequence[Detector[Any]] = (),
    session_gap: timedelta = SESSION_GAP,
    window: int = WINDOW,
    bad: Collection[str] = (),
    top: int | None = 20,
    progress: Callable[[int], None] = lambda _: None,
) -> Result:
    """Read sources, judge their users, and rank them.

    Raises
    ------
    SourceError
        If the sources hold no event.
    """
    began = time.perf_counter()
    allowed = budget or Budget()
    fit = detectors or [detector(name) for name in fitting(fields_of(sources))]
    scanned = Scan(fit, session_gap, allowed, History(window), bad=bad, top=top)
    scanned.run(sources, learn, progress)
    if not len(scanned.spool):
        raise SourceError(f"no events in {', '.join(source.url for source in sources)}")
    users_per_day = int((scanned.standings["events"] > 0).sum()) / len(scanned.days)
    thresholds = [day.threshold for day in scanned.days]
    ranked = _ranked(scanned, top)
    times = scanned.standings.select(pl.min("first_time"), pl.max("last_time")).row(0, named=True)
    summary = Summary(
        sources=tuple(source.url for source in sources),
        events=len(scanned.spool),
        users=len(ranked),
        users_per_day=users_per_day,
        first_time=times["first_time"],
        last_time=times["last_time"],
        periods=len(scanned.days),
        learned_from=scanned.learned_from,
        gaps=tuple(_gaps([day.day for day in scanned.days])),
        crowds=tuple(_alike(scanned)),
        quarantine=_quarantine([*learn, *sources]),
        skipped=_skipped([*learn, *sources]),
        fields=tuple(source.fields for source in sources if hasattr(source, "fields")),
        detectors={used.name: _said(used, scanned.standings["detectors"]) for used in scanned.detectors},
        budget_per_day=allowed.per_day,
        threshold_bits=thresholds[-1].bits,
        alerts=int(ranked["alert"].sum()),
        expected_alarms_per_day=sum(each.expected for each in thresholds) / len(thresholds),
        actual_alarms_per_day=int(scanned.standings["alert"].sum()) / len(scanned.days),
        seconds=time.perf_counter() - began,
    )
    return Result(scanned, summary, ranked)


def _ranked(scanned: Scan, top: int | None) -> pl.DataFrame:
    """The table of users: each with the day of most evidence, most evident first."""
    of_all_days = scanned.standings.group_by("user").agg(
        pl.sum("events"), pl.min("first_time"), pl.max("last_time"), pl.any("alert", "fact")
    )
    days = scanned.standings.sort("bits", "period", descending=[True, False]).unique("user", keep="first")
    best = days.select("user", "period", "bits", "among", "detectors", "surprisal", surprisal_z="z")
    rows = best.join(of_all_days, on="user").sort("bits", "events", "user", descending=[True, True, False])
    return rows.select(
        pl.Series("user", scanned.coding.users.decode(rows["user"])),
        "events", "first_time", "last_time", "period", "bits",
        _severities(rows),
        "alert", "surprisal", "surprisal_z",
        _by_detector(rows["detectors"]),
        _top_reasons(scanned, rows, len(rows) if top is None else top),
    )  # fmt: skip


def _alike(scanned: Scan) -> Iterator[Alike]:
    """The crowds of a scan, by name."""
    names = scanned.coding.users.texts()
    for crowd in largest(scanned.crowds):
        yield Alike(crowd.day, tuple(names.gather(list(crowd.users)).to_list()), crowd.does, crowd.bits)


def _severities(rows: pl.DataFrame) -> pl.Series:
    """How seriously to take each user; `low` at least where an event alerts by rule."""
    by_chance = evidence.severities(rows["bits"].to_numpy(), rows["among"].to_numpy())
    return by_chance.set((by_chance == "info") & rows["fact"], "low")


def _said(used: Detector[Any], bits: pl.Series) -> str:
    """What a detector asks, or that it had nothing to go by."""
    if not (bits.struct.field(used.name).abs() > ROUNDING).any():
        return "silent, no user has enough of a past"
    return (inspect.getdoc(used) or used.name).partition("\n")[0]


def _by_detector(bits: pl.Series) -> pl.Series:
    """The bits of each detector that spoke, as a list."""
    rows = bits.struct.unnest().with_row_index("row")
    long = rows.unpivot(index="row", variable_name="detector", value_name="bits")
    said = long.filter(pl.col("bits").abs() > ROUNDING)
    in_turn = said.sort("row", maintain_order=True).group_by("row", maintain_order=True)
    lists = in_turn.agg(pl.struct("detector", "bits").alias("detectors"))
    of_all = rows.select("row").join(lists, on="row", how="left", maintain_order="left")["detectors"]
    return of_all.fill_null(pl.Series([[]], dtype=of_all.dtype))


def _top_reasons(scanned: Scan, rows: pl.DataFrame, top: int) -> pl.Series:
    """The reasons of the top users, none for the others."""
    schema = {"user": pl.UInt32(), "reasons": pl.List(REASON_SCHEMA)}
    codes = [code for code in rows["user"].head(top) if code in scanned.told]
    plain = [[asdict(reason) for reason in scanned.told[code][2]] for code in codes]
    joined = rows.select("user").join(
        pl.DataFrame({"user": codes, "reasons": plain}, schema=schema), on="user", how="left", maintain_order="left"
    )
    return joined["reasons"].fill_null(pl.Series([[]], dtype=schema["reasons"]))


def _gaps(days: Sequence[date]) -> Iterator[tuple[date, date]]:
    """The runs of days between those given, which are in order."""
    one = timedelta(days=1)
    yield from ((before + one, after - one) for before, after in pairwise(days) if after - before > one)


def _quarantine(sources: Sequence[Source]) -> Quarantine:
    """What all sources could not read."""
    together = Quarantine()
    for source in sources:
        together.extend(source.quarantine)
    return together


def _skipped(sources: Sequence[Source]) -> dict[str, int]:
    """The lines of all sources that are no events of a user, by reason."""
    together: Counter[str] = Counter()
    for source in sources:
        together.update(getattr(source, "skipped", {}))
    return dict(together.most_common())


def _record(row: dict[str, Any]) -> dict[str, Any]:
    """A row of users with plain values."""
    return row | {
        "first_time": _iso(row["first_time"]),
        "last_time": _iso(row["last_time"]),
        "detectors": {part["detector"]: part["bits"] for part in row["detectors"]},
    }


def _iso(time: datetime | None) -> str | None:
    """A time in ISO 8601; nothing for a user of whom the log has no event."""
    return None if time is None else time.isoformat().replace("+00:00", "Z")
