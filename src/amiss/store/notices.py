"""What people receive and say: stories, alerts, the outbox, suppressions and verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

import polars as pl

from amiss.alerts import Alert
from amiss.errors import UsageError, nearest
from amiss.store.history import History
from amiss.store.rows import (
    ALERT,
    OUTBOX,
    STORY,
    SUPPRESSION,
    VERDICT,
    VERDICTS,
    OutboxRow,
    StoredAlert,
    Story,
    Suppression,
    Verdict,
    micros,
    to_json,
)

ALL: Final = -1
"""No limit, in SQL."""

_PUT_STORY: Final = """
    INSERT INTO stories (
        story, user, period, opened, last, bits, peak, severity, events, detectors, reasons, alerts, hidden_by
    ) VALUES (
        :story, :user, :period, :opened, :last, :bits, :peak, :severity, :events, :detectors, :reasons, :alerts,
        :hidden_by
    ) ON CONFLICT (story) DO UPDATE SET
        user = excluded.user, period = excluded.period, opened = excluded.opened, last = excluded.last,
        bits = excluded.bits, peak = excluded.peak, severity = excluded.severity, events = excluded.events,
        detectors = excluded.detectors, reasons = excluded.reasons, alerts = excluded.alerts,
        hidden_by = excluded.hidden_by
    RETURNING id
"""
_ADD_ALERT: Final = """
    INSERT INTO alerts (alert_id, story, seq, time, alert, hidden_by)
    VALUES (:alert_id, :story, :seq, :time, :alert, :hidden_by) ON CONFLICT (alert_id) DO NOTHING
"""
_STORIES: Final = """
    SELECT * FROM stories
    WHERE (:user IS NULL OR user = :user) AND period BETWEEN :since AND :until
    ORDER BY period DESC, peak DESC, story LIMIT :limit
"""
_ALERTS: Final = """
    SELECT alerts.* FROM alerts JOIN stories USING (story)
    WHERE (:user IS NULL OR stories.user = :user) AND (:story IS NULL OR story = :story)
        AND (:since IS NULL OR time >= :since) AND (:hidden IS NULL OR :hidden = (alerts.hidden_by IS NOT NULL))
    ORDER BY time DESC, alerts.id DESC LIMIT :limit
"""
_STAND: Final = """
    UPDATE stories SET verdict = (
        SELECT verdict FROM feedback WHERE story = :story AND undone_time IS NULL ORDER BY id DESC LIMIT 1
    ) WHERE story = :story
"""


class Notices(History):
    """The people's side of a store. What they say (verdicts, suppressions) any process may add."""

    def put_story(self, story: Story, events: pl.DataFrame | None = None) -> None:
        """Keep a story, instead of what was known of it, and the events it tells of; a verdict on it stays.

        Without `events` those kept before stay.
        """
        self._own()
        with self.begin():
            number = self._one(_PUT_STORY, STORY.pack(story))
            if events is not None:
                self._drop_frames("story", number, number)
                self._put_frame("story", number, "events", events)

    def story(self, story: str) -> Story | None:
        """The story of that id, or None."""
        rows = self._rows("SELECT * FROM stories WHERE story = ?", (story,))
        return STORY.unpack(rows[0]) if rows else None

    def stories(
        self, *, user: str | None = None, since: date = date.min, until: date = date.max, limit: int = ALL
    ) -> list[Story]:
        """Stories of periods from `since` to `until`, of a user or of all: latest first, in a period by evidence."""
        days = {"since": since.toordinal(), "until": until.toordinal()}
        return [STORY.unpack(row) for row in self._rows(_STORIES, {"user": user, **days, "limit": limit})]

    def story_events(self, story: str) -> pl.DataFrame | None:
        """The events that a story tells of, or None where none were kept."""
        number = self._one("SELECT id FROM stories WHERE story = ?", (story,))
        return None if number is None else self._frame("story", number, "events")

    def add_alert(self, alert: Alert, *, seq: int, sinks: Sequence[str] = (), hidden_by: int | None = None) -> bool:
        """Keep an alert of a story that is kept, and put it in the outbox of each sink; False if it was there before.

        With `hidden_by`, the id of a suppression, it goes to no sink.
        """
        self._own()
        row = {"alert_id": alert.alert_id, "story": alert.story, "time": micros(alert.time)}
        with self.begin():
            is_new = self._run(_ADD_ALERT, row | ALERT.pack(StoredAlert(alert, seq, hidden_by))).rowcount == 1
            if is_new and hidden_by is None:
                sql = "INSERT INTO outbox (alert_id, sink, due, tries, state) VALUES (?, ?, 0, 0, 'pending')"
                self._each(sql, ((alert.alert_id, sink) for sink in dict.fromkeys(sinks)))
        return is_new

    def alert(self, alert_id: str) -> StoredAlert | None:
        """The alert of that id, or None."""
        rows = self._rows("SELECT * FROM alerts WHERE alert_id = ?", (alert_id,))
        return ALERT.unpack(rows[0]) if rows else None

    def alerts(
        self,
        *,
        user: str | None = None,
        story: str | None = None,
        since: datetime | None = None,
        hidden: bool | None = None,
        limit: int = ALL,
    ) -> list[StoredAlert]:
        """Alerts, latest first: of a user, of a story, from a time on, hidden by a suppression or not."""
        start = None if since is None else micros(since)
        values = {"user": user, "story": story, "since": start, "hidden": hidden, "limit": limit}
        return [ALERT.unpack(row) for row in self._rows(_ALERTS, values)]

    def due(self, sink: str, now: datetime, *, limit: int = 10_000) -> list[tuple[dict[str, Any], int]]:
        """Records of the alerts that a sink should get by now, oldest first, each with how often it was tried."""
        sql = """
            SELECT alert, tries FROM outbox JOIN alerts USING (alert_id)
            WHERE sink = ? AND state = 'pending' AND due <= ? ORDER BY outbox.id LIMIT ?
        """
        return [(json.loads(row["alert"]), row["tries"]) for row in self._rows(sql, (sink, micros(now), limit))]

    def delivered(self, sink: str, alert_ids: Sequence[str], now: datetime) -> None:
        """Write down that a sink took alerts, and when."""
        sql = """
            UPDATE outbox SET state = 'delivered', delivered_at = ?, tries = tries + 1, error = NULL
            WHERE sink = ? AND alert_id = ?
        """
        with self.begin():
            self._each(sql, ((micros(now), sink, alert_id) for alert_id in alert_ids))

    def failed(self, sink: str, alert_ids: Sequence[str], error: str, next_try: datetime) -> None:
        """Write down why a sink did not take alerts, and when to try again."""
        sql = """
            UPDATE outbox SET due = ?, error = ?, tries = tries + 1
            WHERE sink = ? AND alert_id = ? AND state = 'pending'
        """
        with self.begin():
            self._each(sql, ((micros(next_try), error, sink, alert_id) for alert_id in alert_ids))

    def dead(self, sink: str, alert_ids: Sequence[str], error: str) -> None:
        """Write down that a sink will not be given alerts any more, and why."""
        sql = """
            UPDATE outbox SET state = 'dead', error = ?, tries = tries + 1
            WHERE sink = ? AND alert_id = ? AND state = 'pending'
        """
        with self.begin():
            self._each(sql, ((error, sink, alert_id) for alert_id in alert_ids))

    def revive(self, sink: str, now: datetime) -> int:
        """Try again, from `now` on, what was given up for a sink; gives how many alerts."""
        sql = "UPDATE outbox SET state = 'pending', tries = 0, due = ? WHERE sink = ? AND state = 'dead'"
        with self.begin():
            return self._run(sql, (micros(now), sink)).rowcount

    def outbox(self, sink: str | None = None) -> list[OutboxRow]:
        """Where each alert stands on its way to a sink, or to all, oldest first."""
        sql = "SELECT * FROM outbox WHERE :sink IS NULL OR sink = :sink ORDER BY id"
        return [OUTBOX.unpack(row) for row in self._rows(sql, {"sink": sink})]

    def deliveries(self) -> dict[str, dict[str, int]]:
        """How many alerts each sink was given, still waits for, or lost: by sink, then by state."""
        found: dict[str, dict[str, int]] = {}
        for row in self._rows("SELECT sink, state, count(*) AS count FROM outbox GROUP BY 1, 2 ORDER BY 1, 2"):
            found.setdefault(row["sink"], {})[row["state"]] = row["count"]
        return found

    def suppress(
        self, rule: Mapping[str, Any], *, author: str, reason: str, time: datetime, expires: datetime | None = None
    ) -> Suppression:
        """Keep a rule that hides alerts from `time` on; what it matches is for the caller to judge.

        Raises
        ------
        UsageError
            If the rule is empty, and would hide everything, or ends before it begins.
        """
        if not rule:
            raise UsageError("a suppression without a condition would hide every alert. Name a user, an action, ...")
        if expires is not None and expires <= time:
            raise UsageError(f"a suppression must end after it begins ({time}). Found: {expires}")
        sql = """
            INSERT INTO suppressions (rule, author, reason, created, expires) VALUES (?, ?, ?, ?, ?) RETURNING *
        """
        end = None if expires is None else micros(expires)
        with self.begin():
            return SUPPRESSION.unpack(self._rows(sql, (to_json(dict(rule)), author, reason, micros(time), end))[0])

    def lift(self, number: int, time: datetime) -> Suppression:
        """End a suppression; what it hid stays hidden.

        Raises
        ------
        UsageError
            If there is none of that id, or it was lifted before.
        """
        sql = "UPDATE suppressions SET lifted = ? WHERE id = ? AND lifted IS NULL RETURNING *"
        with self.begin():
            rows = self._rows(sql, (micros(time), number))
            if not rows:
                standing = ", ".join(str(rule.id) for rule in self.suppressions() if rule.lifted is None)
                raise UsageError(f"no suppression {number} can be lifted. Those that stand: {standing or 'none'}")
        return SUPPRESSION.unpack(rows[0])

    def suppressions(self, at: datetime | None = None) -> list[Suppression]:
        """All suppressions, or those that hold at a time; in the order they were made."""
        found = [SUPPRESSION.unpack(row) for row in self._rows("SELECT * FROM suppressions ORDER BY id")]
        return [rule for rule in found if at is None or rule.is_active(at)]

    def add_feedback(self, alert_id: str, verdict: str, *, author: str, time: datetime, note: str = "") -> Verdict:
        """Keep what a person says of an alert; it takes the place of what was said of its story before.

        Raises
        ------
        UsageError
            If there is no such alert, or the verdict is none of `VERDICTS`.
        """
        if verdict not in VERDICTS:
            hint = nearest(verdict, VERDICTS)
            raise UsageError(f'a verdict is one of {", ".join(VERDICTS)}. Found: "{verdict}".{hint}')
        with self.begin():
            story = self._story_of(alert_id)
            self._run(
                "UPDATE feedback SET undone_time = ? WHERE story = ? AND undone_time IS NULL", (micros(time), story)
            )
            sql = """
                INSERT INTO feedback (alert_id, story, verdict, note, author, time) VALUES (?, ?, ?, ?, ?, ?)
                RETURNING *
            """
            row = self._rows(sql, (alert_id, story, verdict, note, author, micros(time)))[0]
            self._run(_STAND, {"story": story})
        return VERDICT.unpack(row)

    def undo_feedback(self, number: int, time: datetime) -> Verdict:
        """Take back a verdict.

        Raises
        ------
        UsageError
            If there is none of that id, or it was taken back before.
        """
        sql = "UPDATE feedback SET undone_time = ? WHERE id = ? AND undone_time IS NULL RETURNING *"
        with self.begin():
            rows = self._rows(sql, (micros(time), number))
            if not rows:
                standing = ", ".join(str(said.id) for said in self.feedback() if said.undone_time is None)
                raise UsageError(f"no verdict {number} can be undone. Those that stand: {standing or 'none'}")
            self._run(_STAND, {"story": rows[0]["story"]})
        return VERDICT.unpack(rows[0])

    def feedback(self, *, story: str | None = None) -> list[Verdict]:
        """What people said of a story, or of all, in the order they said it; what was taken back too."""
        sql = "SELECT * FROM feedback WHERE :story IS NULL OR story = :story ORDER BY id"
        return [VERDICT.unpack(row) for row in self._rows(sql, {"story": story})]

    def unapplied(self) -> list[Verdict]:
        """Verdicts that the stream has yet to take up, or to take back (those have an `undone_time`), in order of ids.

        Read them in the transaction that passes their ids to `append` (or `apply`), so that none changes in between.
        """
        sql = """
            SELECT * FROM feedback
            WHERE (applied_seq IS NULL AND undone_time IS NULL)
                OR (applied_seq IS NOT NULL AND undone_time IS NOT NULL AND undone_seq IS NULL)
            ORDER BY id
        """
        return [VERDICT.unpack(row) for row in self._rows(sql)]

    def _story_of(self, alert_id: str) -> str:
        """The story that an alert belongs to."""
        found = self.alert(alert_id)
        if found is None:
            known = [row.alert.alert_id for row in self.alerts(limit=1000)]
            raise UsageError(f'there is no alert "{alert_id}".{nearest(alert_id, known)}')
        return found.alert.story
