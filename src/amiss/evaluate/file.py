"""Any log with labels: how well a scan of it, as it is configured, tells who is odd.

The truth is a CSV file. With a column `user`, and maybe `day`, it says who is odd, and on which day; with a column
`event_id`, which events are, by their lines in the log from 1, the header of a CSV file being the first, or by their
records in JSON and Parquet: the days of their users are odd then. A column `label` says how: rows in which it is empty,
0, no, false, none, normal, benign or ok are of normal ones. Whoever is not in the truth counts as normal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from amiss.baseline import WINDOW
from amiss.decide import LEAST_BITS, Budget
from amiss.detect import Detector, detector, fitting
from amiss.engine import History, Scan
from amiss.errors import EventError, SourceError, nearest
from amiss.escape import label
from amiss.evaluate.calibration import curve
from amiss.evaluate.measured import Figure, Measured
from amiss.evaluate.ranking import At, at, auc, average_precision, rounded
from amiss.labels import read_csv
from amiss.sessions import SESSION_GAP
from amiss.sources import Source, fields_of
from amiss.story import plural

NORMAL: Final = ("", "0", "0.0", "no", "false", "none", "normal", "benign", "ok")
"""What a label says of those who are not odd, in lower case."""

BY_EVENT: Final = ("event_id", "position")
THRESHOLDS: Final = (10, 20)
TOGETHER: Final = "amiss"
MOST_NAMED: Final = 3

_MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True)
class Truth:
    """What is odd in a log.

    Attributes
    ----------
    odd
        Columns `user` and, where days are known, `day`; where events are, `first`, the position of the first such.
    unknown
        Users, days of users or events of the truth that the log does not have.
    """

    odd: pl.DataFrame
    unknown: tuple[str, ...] = ()

    @property
    def keys(self) -> list[str]:
        """What is told apart: users, or users' days."""
        return [name for name in ("user", "day") if name in self.odd.columns]


def evaluate(
    sources: Sequence[Source],
    truth: Path,
    *,
    learn: Sequence[Source] = (),
    budget: Budget | None = None,
    detectors: Sequence[Detector[Any]] = (),
    session_gap: timedelta = SESSION_GAP,
    window: int = WINDOW,
) -> Measured:
    """How well a scan of sources tells who is odd.

    Parameters
    ----------
    sources
        The log.
    truth
        What is odd, a CSV file: ``user[,day][,label]``, or ``event_id[,label]``.
    learn, budget, detectors, session_gap, window
        As for :func:`amiss.result.scan`.

    Raises
    ------
    SourceError
        If the log has no events, or nothing that the truth names; or the truth cannot be read.
    EventError
        If the truth lacks a column, or a day in it is none.
    """
    named = read_truth(truth)
    fit = detectors or [detector(name) for name in fitting(fields_of(sources))]
    scan = Scan(fit, session_gap, budget or Budget(), History(window), top=1)
    scan.run(sources, learn, lambda _: None)
    if not len(scan.spool):
        raise SourceError(f"no events in {', '.join(source.url for source in sources)}")
    known = found_in(named, scan, str(truth))
    days = with_odd(scan, known)
    headline = {**_ranked(days, known), **_alarmed(days, known), **how_soon(scan, days, known)}
    rows: list[Mapping[str, Figure]] = [{"way": TOGETHER, **headline}]
    names = [each.name for each in fit]
    for name in names if len(names) > 1 else ():
        alone = days.with_columns(bits=days["detectors"].struct.field(name))
        rows.append({"way": name, **dict.fromkeys(headline), **_ranked(alone, known)})
    curves = curve({" + ".join(names): days.filter(~pl.col("odd"))["peak"].to_numpy()})
    top = {**headline, "not_in_the_log": len(known.unknown)}
    return Measured("file", tuple(rows), _about(days, known), top, curves)


def read_truth(file: Path) -> pl.DataFrame:
    """The rows of a file that say what is odd: `event_id`, or `user` and maybe `day`.

    Raises
    ------
    SourceError
        If it cannot be read.
    EventError
        If it names neither users nor events, or a day or event that is none.
    """
    table = read_csv(file)
    where = label(str(file), 120)
    by_event = next((name for name in BY_EVENT if name in table.columns), None)
    if by_event is None and "user" not in table.columns:
        found = ", ".join(label(name) for name in table.columns) or "no columns"
        hint = nearest("user", table.columns) or nearest("event_id", table.columns)
        raise EventError(f'{where} needs a column "user", or "event_id" for events. Found: {found}.{hint}')
    if "label" in table.columns:
        words = pl.col("label").fill_null("").str.strip_chars().str.to_lowercase()
        table = table.filter(~words.is_in(NORMAL))
    if by_event is not None:
        return table.select(_read(table, by_event, pl.Int64(), "number of an event", where).alias("event_id"))
    days = [_read(table, "day", pl.Date(), "day such as 2026-03-31", where)] if "day" in table.columns else []
    if table["user"].null_count():
        raise EventError(f"{where}: {table['user'].null_count():,} of {len(table):,} odd rows name no user")
    return table.select("user", *days).unique(maintain_order=True)


def _read(table: pl.DataFrame, column: str, kind: pl.DataType, what: str, where: str) -> pl.Series:
    """A column as values of a kind; the first that is none is told."""
    values = table[column].str.strip_chars()
    found = values.str.to_date("%Y-%m-%d", strict=False) if kind == pl.Date() else values.cast(kind, strict=False)
    if found.null_count():
        wrong = values.filter(found.is_null())[0]
        raise EventError(f'{where}: {column} must be a {what}. Found: "{label("" if wrong is None else wrong)}"')
    return found


def found_in(named: pl.DataFrame, scan: Scan, where: str) -> Truth:
    """What is odd in the log of a scan, and what of the truth it does not have.

    Raises
    ------
    SourceError
        If it has nothing of it.
    """
    truth = _by_event(named, scan) if "event_id" in named.columns else _by_user(named, scan)
    if truth.odd.is_empty():
        users = scan.coding.users.decode(scan.standings["user"])
        missing = [f"{label(name)}.{nearest(name, users)}" for name in truth.unknown[:MOST_NAMED]]
        named_any = f" The log does not have: {' '.join(missing)}" if missing else " It says nothing is odd"
        raise SourceError(f"{label(where, 120)} names nothing that is in the log.{named_any}")
    return truth


def _by_user(named: pl.DataFrame, scan: Scan) -> Truth:
    """Users, or their days, who are odd."""
    keys = named.columns
    users = pl.Series("user", scan.coding.users.decode(scan.standings["user"]))
    there = scan.standings.select(users, pl.col("period").alias("day")).select(keys).unique()
    missing = named.join(there, on=keys, how="anti")
    return Truth(named.join(there, on=keys, how="semi"), tuple(" on ".join(map(str, row)) for row in missing.rows()))


def _by_event(named: pl.DataFrame, scan: Scan) -> Truth:
    """Days of users of whom an event is odd."""
    wanted = named["event_id"].to_list()
    rows = scan.in_order(pl.col("position").is_in(wanted)).select("position", "user", day=pl.col("time").dt.date())
    odd = rows.group_by("user", "day", maintain_order=True).agg(first=pl.col("position").min())
    names = pl.Series("user", scan.coding.users.decode(odd["user"]))
    missing = set(wanted) - set(rows["position"])
    return Truth(odd.with_columns(names), tuple(f"event {number}" for number in sorted(missing)))


def with_odd(scan: Scan, truth: Truth) -> pl.DataFrame:
    """Days of users, whether each is `odd`, and the `limit` in bits that an alert took."""
    rows = scan.standings
    names = pl.Series("user", scan.coding.users.decode(rows["user"]))
    limits = {each.day: max(each.threshold.bits, LEAST_BITS) for each in scan.days}
    days = rows.select(names, pl.col("user").alias("code"), pl.col("period").alias("day"), "events", "bits", "peak",
                       "alert", "detectors", limit=pl.col("period").replace_strict(limits))  # fmt: skip
    marked = truth.odd.with_columns(odd=pl.lit(value=True))
    return days.join(marked, on=truth.keys, how="left", maintain_order="left").with_columns(
        pl.col("odd").fill_null(value=False)
    )


def _ranked(days: pl.DataFrame, truth: Truth) -> dict[str, Figure]:
    """How well bits put what is odd first, and what 10 and 20 bits give."""
    unit = days.group_by(truth.keys).agg(pl.col("bits").max(), pl.col("odd").any())
    bits, odd = unit["bits"].to_numpy(), unit["odd"].to_numpy()
    figures = {"average_precision": average_precision(bits, odd), "auc": auc(bits, odd)}
    for threshold in THRESHOLDS:
        figures |= _at(f"{threshold}_bits", at(bits, odd, threshold))
    return rounded(figures)


def _alarmed(days: pl.DataFrame, truth: Truth) -> dict[str, Figure]:
    """What the alarms that a budget gave are worth."""
    unit = days.group_by(truth.keys).agg(pl.col("alert").any(), pl.col("odd").any())
    found = at(unit["alert"].to_numpy().astype(float), unit["odd"].to_numpy(), 1.0)
    judged = days.filter(pl.col("events") > 0)["day"].n_unique()
    false = int((days["alert"] & ~days["odd"]).sum())
    return rounded(_at("budget", found) | {"false_alarms_a_day": false / judged})


def _at(name: str, found: At) -> dict[str, float]:
    """Precision and recall at a threshold."""
    return {f"precision_{name}": found.precision, f"recall_{name}": found.recall}


def how_soon(scan: Scan, days: pl.DataFrame, truth: Truth) -> dict[str, Figure]:
    """How long after they began odd users were told of: medians of events and minutes, over those who were.

    They begin with their first event of the odd day; with the first odd event, where events are known; with their first
    event of all, where no days are.
    """
    caught = days.filter(pl.col("odd"), pl.col("alert"), pl.col("events") > 0).sort("day")
    firsts = caught.unique(truth.keys, keep="first", maintain_order=True)
    waited = [_waited(scan, row, truth) for row in firsts.iter_rows(named=True)]
    found = [each for each in waited if each is not None]
    events, minutes = zip(*found, strict=True) if found else ((), ())
    medians = {"events_to_alert": _median(events), "minutes_to_alert": _median(minutes)}
    return rounded({**medians, "alerted": len(firsts)}, 1)


def _median(values: Sequence[float]) -> float:
    """The median; nothing is known where there are no values."""
    return float(np.median(values)) if values else float("nan")


def _waited(scan: Scan, row: Mapping[str, Any], truth: Truth) -> tuple[int, float] | None:
    """Events and minutes until the evidence about a user crossed the threshold of a day."""
    events = scan.scored(row["day"], [row["code"]])
    crossed = (events["evidence"] >= row["limit"]).arg_max()
    if crossed is None or not events["evidence"][crossed] >= row["limit"]:
        return None
    since, done = _begun(scan, row, truth, events)
    then: datetime = events["time"][crossed]
    return done + crossed + 1, (then - since) / _MINUTE


def _begun(scan: Scan, row: Mapping[str, Any], truth: Truth, events: pl.DataFrame) -> tuple[datetime, int]:
    """When a user began to be odd, and how many events there were from then to the day (or that day's before then)."""
    if "first" in truth.odd.columns:
        at = int(np.argmax(events["position"].to_numpy() >= row["first"]))
        return events["time"][at], -at
    if "day" in truth.keys:
        return events["time"][0], 0
    theirs = scan.standings.filter(user=row["code"])
    before: date = row["day"]
    return theirs["first_time"].min(), int(theirs.filter(pl.col("period") < before)["events"].sum())  # type: ignore[return-value]  # the type of a minimum is that of its column


def _about(days: pl.DataFrame, truth: Truth) -> str:
    """What was judged, in a sentence."""
    what = "users' days" if "day" in truth.keys else "users"
    of = days.select(truth.keys).n_unique()
    missing = ", ".join(label(name) for name in truth.unknown[:MOST_NAMED])
    more = ", ..." if len(truth.unknown) > MOST_NAMED else ""
    unknown = f"; {len(truth.unknown):,} of the truth not in the log ({missing}{more})" if truth.unknown else ""
    return f"{len(truth.odd):,} of {of:,} {what} are odd, {plural(days['day'].n_unique(), 'day')}{unknown}"
