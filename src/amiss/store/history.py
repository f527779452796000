"""What the stream left: settings, deltas and snapshots, texts, counts and figures of periods."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Final, Literal

import polars as pl

from amiss.errors import EventError, StateError, UsageError
from amiss.events import CODED_SCHEMA
from amiss.store.frames import PART_BYTES, Frames, differences, sums
from amiss.store.rows import PERIOD, PROGRESS, Delta, PeriodRecord, Progress, Totals, to_json
from amiss.vocabulary import Known

_LAST: Final = 2**62
_TEXTS_MERGED_BYTES: Final = PART_BYTES // 4

_PUT_PERIOD: Final = """
    INSERT OR REPLACE INTO periods (day, users, events, threshold, expected, alarms, detectors)
    VALUES (:day, :users, :events, :threshold, :expected, :alarms, :detectors)
"""
_APPLY: Final = """
    UPDATE feedback SET
        applied_seq = CASE WHEN applied_seq IS NULL AND undone_time IS NULL THEN :seq ELSE applied_seq END,
        undone_seq = CASE
            WHEN applied_seq IS NOT NULL AND undone_time IS NOT NULL AND undone_seq IS NULL THEN :seq ELSE undone_seq
        END
    WHERE id = :id
"""

Texts = Literal["users", "actions", "values"]

KINDS: Final[tuple[Texts, ...]] = ("users", "actions", "values")
"""The kinds of texts that have codes."""


class History(Frames):
    """The stream's side of a store."""

    def settings(self) -> dict[str, object]:
        """What was remembered, by name."""
        return {row["name"]: json.loads(row["value"]) for row in self._rows("SELECT name, value FROM settings")}

    def remember(self, name: str, value: object) -> None:
        """Keep a value that JSON can hold under a name; None forgets it."""
        self._own()
        with self.begin():
            if value is None:
                self._run("DELETE FROM settings WHERE name = ?", (name,))
            else:
                self._run("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, to_json(value)))

    def progress(self) -> Progress:
        """How far the store is."""
        return PROGRESS.unpack(self._rows("SELECT * FROM progress")[0])

    def totals(self) -> Totals:
        """What was quarantined and skipped ever, by reason; deltas that were dropped count too."""
        counts: dict[str, dict[str, int]] = {"rejected": {}, "skipped": {}}
        for row in self._rows("SELECT kind, reason, count FROM totals ORDER BY kind, reason"):
            counts[row["kind"]][row["reason"]] = row["count"]
        return Totals(**counts)

    def append(self, delta: Delta) -> int:
        """Keep what a batch adds; gives its number, one more than that before.

        Raises
        ------
        EventError
            If the events are no coded frame, or hold a code that has no text.
        """
        self._own()
        texts = [_series(getattr(delta, kind)) for kind in KINDS]
        with self.begin():
            seq, known = self._advance(delta, Known(*map(len, texts)))
            _check_events(delta.events, Known(*(before + len(new) for before, new in zip(known, texts, strict=True))))
            self._put_delta(seq, delta, known)
            self._put_frame("delta", seq, "events", differences(delta.events))
            for kind, before, new in zip(KINDS, known, texts, strict=True):
                self._put_texts(kind, before, new)
            self._add_up(delta)
            self.apply((*delta.applied, *delta.undone), seq)
        return seq

    def deltas(self) -> Iterator[tuple[int, Delta]]:
        """The deltas behind the snapshot, each with its number, in order; one is held at a time."""
        yield from self._deltas("SELECT * FROM deltas WHERE seq > (SELECT snapshot_seq FROM progress) ORDER BY seq")

    def covered(self) -> Iterator[tuple[int, Delta]]:
        """The deltas that the snapshot covers and that were kept all the same, as `deltas` gives those behind it.

        The snapshot holds what follows from them already; they are there for who needs the events themselves.
        """
        yield from self._deltas("SELECT * FROM deltas WHERE seq <= (SELECT snapshot_seq FROM progress) ORDER BY seq")

    def snapshot(
        self,
        seq: int,
        tables: Mapping[str, pl.DataFrame] | Iterable[tuple[str, pl.DataFrame]],
        *,
        keep: int | None = None,
    ) -> None:
        """Keep the state behind delta `seq` instead of the older one, and drop deltas that it covers.

        Parameters
        ----------
        seq
            The last delta whose events are in the tables.
        tables
            The state, by name; pairs of name and table may be made one by one.
        keep
            Deltas up to this one are dropped, and those behind it stay; all that are covered are dropped unless given.
            What an earlier snapshot dropped does not come back.

        Raises
        ------
        StateError
            If there is no such delta.
        UsageError
            If `keep` is above `seq`: what no snapshot covers must stay.
        """
        self._own()
        last = seq if keep is None else keep
        if last > seq:
            raise UsageError(f"a snapshot behind delta {seq} can drop deltas up to that one. Found: keep={keep}")
        with self.begin():
            progress = self.progress()
            if not progress.snapshot_seq <= seq <= progress.seq:
                found = f"expected {progress.snapshot_seq} to {progress.seq}, found {seq}"
                raise StateError(f"{self.path}: a snapshot must be of a delta behind the last snapshot: {found}")
            self._drop_frames("snapshot", 0, _LAST)
            self._drop_frames("delta", 0, last)
            self._merge_texts(last)
            self._run("DELETE FROM deltas WHERE seq <= ?", (last,))
            for name, frame in tables.items() if isinstance(tables, Mapping) else tables:
                self._put_frame("snapshot", seq, name, frame, "lz4")
            self._run("UPDATE progress SET snapshot_seq = ?, dropped_seq = max(dropped_seq, ?)", (seq, last))

    def restore(self) -> tuple[int, dict[str, pl.DataFrame]]:
        """The number of the delta that the snapshot covers, and its tables; 0 and none before the first."""
        with self.view():
            seq = self.progress().snapshot_seq
            names = self._rows("SELECT name FROM frames WHERE kind = 'snapshot' AND part = 0 ORDER BY id")
            return seq, {row["name"]: self._whole_frame("snapshot", seq, row["name"]) for row in names}

    def texts(self) -> tuple[pl.Series, pl.Series, pl.Series]:
        """The texts of all users, of all actions, and of all values of contexts, in the order of their codes."""
        with self.view():
            return self._texts("users"), self._texts("actions"), self._texts("values")

    def put_counts(self, day: date, family: str, counts: pl.DataFrame | None) -> None:
        """Keep the counts of a closed period, instead of those it had; None drops them."""
        self._own()
        with self.begin():
            self._drop_frames("counts", day.toordinal(), day.toordinal(), family)
            if counts is not None:
                self._put_frame("counts", day.toordinal(), family, counts)

    def counts(self, day: date | None = None) -> Iterator[tuple[date, str, pl.DataFrame]]:
        """The counts of closed periods, or of one, by day and family, in this order; one is held at a time."""
        sql = """
            SELECT number, name FROM frames
            WHERE kind = 'counts' AND part = 0 AND (:day IS NULL OR number = :day) ORDER BY number, name
        """
        for row in self._rows(sql, {"day": None if day is None else day.toordinal()}):
            yield date.fromordinal(row["number"]), row["name"], self._whole_frame("counts", row["number"], row["name"])

    def put_period(self, period: PeriodRecord) -> None:
        """Keep the figures of a closed period, instead of those it had."""
        self._own()
        number = period.day.toordinal()
        with self.begin():
            self._run(_PUT_PERIOD, PERIOD.pack(period))
            self._drop_frames("peaks", number, number)
            if period.peaks is not None:
                self._put_frame("peaks", number, "peaks", period.peaks)

    def periods(self, since: date = date.min, *, peaks: bool = True) -> list[PeriodRecord]:
        """The figures of closed periods in order, from a day on, with their peaks or without."""
        rows = self._rows("SELECT * FROM periods WHERE day >= ? ORDER BY day", (since.toordinal(),))
        return [PERIOD.unpack(row, peaks=self._frame("peaks", row["day"], "peaks") if peaks else None) for row in rows]

    def apply(self, ids: Sequence[int], seq: int) -> None:
        """Write down that verdicts took effect, or were taken back, behind delta `seq`; see `unapplied`."""
        self._own()
        with self.begin():
            self._each(_APPLY, ({"seq": seq, "id": number} for number in ids))

    def _advance(self, delta: Delta, new: Known) -> tuple[int, Known]:
        """The number of a new delta, and how many texts were known before it."""
        known = self.progress().known
        sql = """
            UPDATE progress SET
                seq = seq + 1, cursor = ?, events = events + ?,
                users = users + ?, actions = actions + ?, "values" = "values" + ?
            RETURNING seq
        """
        return self._rows(sql, (delta.cursor, delta.events.height, *new))[0]["seq"], known

    def _put_delta(self, seq: int, delta: Delta, known: Known) -> None:
        """Keep the row of a delta."""
        row = {
            "seq": seq,
            "cursor": delta.cursor,
            "events": delta.events.height,
            "rejected": to_json(dict(delta.rejected)),
            "skipped": to_json(dict(delta.skipped)),
        }
        for kind, before in zip(KINDS, known, strict=True):
            row |= {kind: before, f"new_{kind}": len(getattr(delta, kind))}
        names = ", ".join(f'"{name}"' for name in row)
        self._run(f"INSERT INTO deltas ({names}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))  # noqa: S608  our own names

    def _add_up(self, delta: Delta) -> None:
        """Count what was quarantined and skipped."""
        sql = "INSERT INTO totals VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count"
        for kind, reasons in (("rejected", delta.rejected), ("skipped", delta.skipped)):
            self._each(sql, ((kind, reason, count) for reason, count in reasons.items()))

    def _deltas(self, sql: str) -> Iterator[tuple[int, Delta]]:
        """The deltas of a query, each with its number."""
        for row in self._rows(sql):
            yield row["seq"], self._delta(row)

    def _delta(self, row: sqlite3.Row) -> Delta:
        """The delta of a row."""
        return Delta(
            sums(self._whole_frame("delta", row["seq"], "events")),
            self._new_texts("users", row["users"], row["new_users"]),
            self._new_texts("actions", row["actions"], row["new_actions"]),
            row["cursor"],
            json.loads(row["rejected"]),
            json.loads(row["skipped"]),
            self._ids("SELECT id FROM feedback WHERE applied_seq = ? ORDER BY id", row["seq"]),
            self._ids("SELECT id FROM feedback WHERE undone_seq = ? ORDER BY id", row["seq"]),
            self._new_texts("values", row["values"], row["new_values"]),
        )

    def _ids(self, sql: str, seq: int) -> tuple[int, ...]:
        """The verdicts that took effect, or were taken back, behind a delta."""
        return tuple(row["id"] for row in self._rows(sql, (seq,)))

    def _put_texts(self, kind: Texts, first: int, texts: pl.Series) -> None:
        """Keep new texts, the first of which has the code `first`."""
        if len(texts):
            self._put_frame(kind, first, "texts", texts.to_frame())

    def _new_texts(self, kind: Texts, first: int, count: int) -> pl.Series:
        """The texts that a delta brought."""
        return self._whole_frame(kind, first, "texts")["text"] if count else _series(())

    def _texts(self, kind: Texts) -> pl.Series:
        """All texts of a kind."""
        numbers = self._rows("SELECT number FROM frames WHERE kind = ? AND part = 0 ORDER BY number", (kind,))
        found = [self._whole_frame(kind, row["number"], "texts")["text"] for row in numbers]
        return pl.concat([_series(()), *found], rechunk=True)

    def _merge_texts(self, seq: int) -> None:
        """Put the texts of the deltas up to `seq` together with those just before them, while they are few."""
        behind = self._rows("SELECT * FROM deltas WHERE seq > ? ORDER BY seq LIMIT 1", (seq,))
        for kind, known in zip(KINDS, self.progress().known, strict=True):
            self._merge_kind(kind, behind[0][kind] if behind else known)

    def _merge_kind(self, kind: Texts, end: int) -> None:
        """Put the texts of a kind with codes below `end` together, as far as they are in small pieces."""
        sql = """
            SELECT number, sum(length(data)) AS bytes FROM frames WHERE kind = ? AND number < ?
            GROUP BY number ORDER BY number DESC
        """
        pieces = self._rows(sql, (kind, end))
        small = []
        for piece in pieces:
            if piece["bytes"] >= _TEXTS_MERGED_BYTES:
                break
            small.append(piece["number"])
        if len(small) > 1:
            merged = pl.concat([self._whole_frame(kind, number, "texts") for number in reversed(small)])
            self._drop_frames(kind, small[-1], end - 1)
            self._put_frame(kind, small[-1], "texts", merged)


def _series(texts: Sequence[str] | pl.Series) -> pl.Series:
    """Texts as a column."""
    return pl.Series("text", texts, dtype=pl.String())


def _check_events(events: pl.DataFrame, known: Known) -> None:
    """Refuse events that could not be replayed."""
    for name, dtype in CODED_SCHEMA.items():
        found = events.schema.get(name)
        if found != dtype:
            raise EventError(f'the events of a delta need a column "{name}" of {dtype}. Found: {found or "none"}')
        if events[name].null_count():
            raise EventError(f'column "{name}" of the events of a delta must hold a value in every row')
    for name, texts in texts_behind(events, known).items():
        highest = events[name].max()
        if isinstance(highest, int) and highest >= texts:
            raise EventError(f'column "{name}" holds the code {highest}, but only {texts:,} texts are known')


def texts_behind(events: pl.DataFrame, known: Known) -> dict[str, int]:
    """How many texts there are for each column of codes in events, or in counts."""
    owners = {"user": known.users, "action": known.actions}
    context = {
        name: known.values
        for name, dtype in events.schema.items()
        if dtype == pl.UInt32 and name not in owners and events.schema.get("outcome") == CODED_SCHEMA["outcome"]
    }
    return {name: texts for name, texts in (owners | context).items() if name in events.columns}
