"""What a store gives and takes: one frozen class for a row of each table."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

import polars as pl

from amiss.alerts import Alert
from amiss.errors import UsageError
from amiss.vocabulary import Known

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Delivery = Literal["pending", "delivered", "dead"]

VERDICTS: Final = ("expected", "confirmed", "false")
"""What a person may say of an alert."""

_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

Row = TypeVar("Row", bound="DataclassInstance")


@dataclass(frozen=True, eq=False)
class Delta:
    """What one batch adds to the state: its coded events, the texts that became new codes, and the cursor behind it.

    Attributes
    ----------
    events : (n, ≥5) columns of `amiss.events.CODED_SCHEMA`, and those of contexts
        In the order they were read; may be empty.
    users, actions, values
        Texts that are new, in the order of their codes.
    cursor
        The source's token behind the events.
    rejected, skipped
        Rows quarantined meanwhile, and lines that are no events; by reason.
    applied, undone
        Ids of the verdicts that take effect, or are taken back, behind these events; both together by id.
    """

    events: pl.DataFrame
    users: Sequence[str] | pl.Series
    actions: Sequence[str] | pl.Series
    cursor: str
    rejected: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    applied: Sequence[int] = ()
    undone: Sequence[int] = ()
    values: Sequence[str] | pl.Series = ()


@dataclass(frozen=True)
class Progress:
    """How far a store is: its last delta, the last that its snapshot covers, the cursor, and what there was ever.

    Deltas up to `dropped_seq` are no longer kept.
    """

    seq: int
    snapshot_seq: int
    cursor: str | None
    events: int
    users: int
    actions: int
    dropped_seq: int = 0
    values: int = 0

    @property
    def known(self) -> Known:
        """How many texts of each kind there are."""
        return Known(self.users, self.actions, self.values)


@dataclass(frozen=True)
class Totals:
    """Rows quarantined and lines skipped, by reason, over all that was ever read."""

    rejected: Mapping[str, int]
    skipped: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class PeriodRecord:
    """Figures of a closed period.

    Attributes
    ----------
    users, events
        How many were active; how many events they made.
    threshold
        Bits that an alert needed.
    expected, alarms
        Alarms that chance alone makes at that threshold; alarms there were.
    detectors
        Figures by detector.
    peaks
        The most evidence of each user, or whatever else the period is remembered by.
    """

    day: date
    users: int
    events: int
    threshold: float
    expected: float
    alarms: int
    detectors: Mapping[str, Any] = field(default_factory=dict)
    peaks: pl.DataFrame | None = None


@dataclass(frozen=True)
class Story:
    """All evidence against a user in a period, and what became of it; `hidden_by` is the id of a suppression."""

    story: str
    user: str
    period: date
    opened: datetime
    last: datetime
    bits: float
    peak: float
    severity: str
    events: int
    detectors: Mapping[str, float]
    reasons: Sequence[Mapping[str, Any]]
    alerts: int = 0
    hidden_by: int | None = None
    verdict: str | None = None


@dataclass(frozen=True)
class StoredAlert:
    """An alert as it was made by delta `seq`; `hidden_by` is the id of the suppression that kept it from the sinks."""

    alert: Alert
    seq: int
    hidden_by: int | None


@dataclass(frozen=True)
class OutboxRow:
    """Where an alert stands on its way to a sink."""

    alert_id: str
    sink: str
    due: datetime
    tries: int
    error: str | None
    state: Delivery
    delivered_at: datetime | None


@dataclass(frozen=True)
class Suppression:
    """A rule that hides alerts: what it matches, who made it and why, until when; `lifted` ends it early."""

    id: int
    rule: Mapping[str, Any]
    author: str
    reason: str
    created: datetime
    expires: datetime | None
    lifted: datetime | None

    def is_active(self, time: datetime) -> bool:
        """Whether the rule holds at a time."""
        ends = [end for end in (self.expires, self.lifted) if end is not None]
        return self.created <= time and all(time < end for end in ends)


@dataclass(frozen=True)
class Verdict:
    """What a person said of an alert, and behind which deltas it took effect and was taken back."""

    id: int
    alert_id: str
    story: str
    verdict: str
    note: str
    author: str
    time: datetime
    undone_time: datetime | None
    applied_seq: int | None
    undone_seq: int | None


@dataclass(frozen=True)
class Label:
    """What a person calls a user or a group (`kind`), or that it is called so no more (None).

    `via` is the group whose label it is, where a user has it as a member; of a group its number, where it is one of the
    state's own, and None where a file said who is in it.
    """

    id: int
    kind: str
    subject: str
    label: str | None
    author: str
    note: str
    time: datetime
    via: str | None


@dataclass(frozen=True)
class Info:
    """Figures of a store; sizes in bytes."""

    path: str
    format: int
    amiss_version: str
    seq: int
    snapshot_seq: int
    dropped_seq: int
    cursor: str | None
    events: int
    users: int
    users_away: int
    actions: int
    values: int
    periods: int
    first_period: date | None
    last_period: date | None
    deltas: int
    deltas_bytes: int
    snapshot_bytes: int
    counts_bytes: int
    file_bytes: int
    free_bytes: int
    wal_bytes: int
    stories: int
    alerts_by_severity: Mapping[str, int]
    alerts_hidden: int
    outbox: Mapping[str, int]
    feedback: Mapping[str, int]
    feedback_unapplied: int
    suppressions: int
    rejected: Mapping[str, int]
    skipped: Mapping[str, int]


def micros(time: datetime) -> int:
    """Microseconds since 1970 of a time with a zone.

    Raises
    ------
    UsageError
        If the time has no zone.

    Examples
    --------
    >>> micros(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000
    """
    if time.tzinfo is None:
        raise UsageError(f"a time needs a zone, such as {time.isoformat()}+00:00. Found: {time.isoformat()}")
    return (time - _START) // _MICROSECOND


def from_micros(number: int) -> datetime:
    """The time that many microseconds after the start of 1970, UTC."""
    return _START + number * _MICROSECOND


def to_json(value: object) -> str:
    """A value as JSON, in ASCII."""
    return json.dumps(value, separators=(",", ":"))


Codec = tuple[Callable[[Any], Any], Callable[[Any], Any]]
TIME: Final[Codec] = (micros, from_micros)
DAY: Final[Codec] = (date.toordinal, date.fromordinal)
JSON: Final[Codec] = (to_json, json.loads)
NOTICE: Final[Codec] = (lambda alert: to_json(alert.record()), lambda text: Alert.from_record(json.loads(text)))


class Shape(Generic[Row]):
    """How a class of rows lies in a table: its fields are columns, some of them in another form.

    Examples
    --------
    >>> shape = Shape(PeriodRecord, without=["peaks"], day=DAY, detectors=JSON)
    >>> shape.pack(PeriodRecord(date(1, 1, 2), 3, 9, 11.5, 1.0, 0))
    {'day': 2, 'users': 3, 'events': 9, 'threshold': 11.5, 'expected': 1.0, 'alarms': 0, 'detectors': '{}'}
    """

    def __init__(self, row: type[Row], *, without: Sequence[str] = (), **codecs: Codec) -> None:
        self._row = row
        self._codecs = codecs
        self.names = [found.name for found in dataclasses.fields(row) if found.name not in without]

    def pack(self, row: Row) -> dict[str, Any]:
        """A row as the table holds it."""
        return {name: self._packed(name, getattr(row, name)) for name in self.names}

    def unpack(self, stored: sqlite3.Row, **more: object) -> Row:
        """The row that was stored, with the fields that are kept elsewhere."""
        return self._row(**{name: self._unpacked(name, stored[name]) for name in self.names}, **more)

    def _packed(self, name: str, value: object) -> object:
        """A field as its column holds it."""
        return self._codecs[name][0](value) if name in self._codecs and value is not None else value

    def _unpacked(self, name: str, value: object) -> object:
        """A column as its field holds it."""
        return self._codecs[name][1](value) if name in self._codecs and value is not None else value


STORY: Final = Shape(Story, period=DAY, opened=TIME, last=TIME, detectors=JSON, reasons=JSON)
ALERT: Final = Shape(StoredAlert, alert=NOTICE)
OUTBOX: Final = Shape(OutboxRow, due=TIME, delivered_at=TIME)
SUPPRESSION: Final = Shape(Suppression, rule=JSON, created=TIME, expires=TIME, lifted=TIME)
LABEL: Final = Shape(Label, time=TIME)
VERDICT: Final = Shape(Verdict, time=TIME, undone_time=TIME)
PERIOD: Final = Shape(PeriodRecord, without=["peaks"], day=DAY, detectors=JSON)
PROGRESS: Final = Shape(Progress)
