"""What people call users and groups: labels, by whom and when, also those that hold no more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

from amiss.errors import UsageError, nearest
from amiss.store.notices import Notices
from amiss.store.rows import LABEL, Label, micros

Kind = Literal["user", "group"]

_ADD: Final = """
    INSERT INTO labels (kind, subject, label, author, note, time, via) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING *
"""
_HOLDING: Final = """
    SELECT * FROM labels AS one
    WHERE kind = :kind AND (:subject IS NULL OR subject = :subject) AND NOT EXISTS (
        SELECT 1 FROM labels AS other
        WHERE other.kind = one.kind AND other.subject = one.subject AND (other.time, other.id) > (one.time, one.id)
    ) ORDER BY subject
"""


class Labelling(Notices):
    """The labels of a store. Any process may add some, also while a watch runs."""

    def add_label(
        self,
        kind: Kind,
        subject: str,
        label: str,
        *,
        author: str,
        time: datetime,
        note: str = "",
        via: str | None = None,
    ) -> Label:
        """Keep a label of a user or group, which takes the place of an earlier one; of a later one it does not.

        Parameters
        ----------
        via
            The group whose label this is, where a user has it as a member.

        Raises
        ------
        UsageError
            If the label or the subject is empty.
        """
        if not label.strip() or not subject.strip():
            raise UsageError(
                f"a label needs a {kind} and a text that is not empty. Found: {kind} {subject!r}, {label!r}"
            )
        with self.begin():
            row = self._rows(_ADD, (kind, subject, label.strip(), author, note, micros(time), via))[0]
        return LABEL.unpack(row)

    def remove_label(self, kind: Kind, subject: str, *, author: str, time: datetime, note: str = "") -> Label:
        """Take the label of a user or group away; the history keeps it. Gives the label that held.

        Raises
        ------
        UsageError
            If there is none.
        """
        with self.begin():
            before = self.label(kind, subject)
            if before is None:
                known = [each.subject for each in self.labels(kind)]
                raise UsageError(f'{kind} "{subject}" has no label.{nearest(subject, known)}')
            last = max(micros(time), micros(before.time))
            self._run(_ADD, (kind, subject, None, author, note, last, None))
        return before

    def label(self, kind: Kind, subject: str) -> Label | None:
        """The label that a user or group has, or None."""
        rows = self._rows(_HOLDING, {"kind": kind, "subject": subject})
        return LABEL.unpack(rows[0]) if rows and rows[0]["label"] is not None else None

    def labels(self, kind: Kind = "user") -> list[Label]:
        """The labels that users, or groups, have: the latest of each, in order of their names."""
        rows = self._rows(_HOLDING, {"kind": kind, "subject": None})
        return [LABEL.unpack(row) for row in rows if row["label"] is not None]

    def labels_by_user(self) -> dict[str, str]:
        """The label of each user who has one."""
        return {each.subject: str(each.label) for each in self.labels()}

    def label_history(self, subjects: Sequence[str] = ()) -> list[Label]:
        """All that was ever said, by time, of some users and groups or of all; a label that was taken away is None."""
        rows = self._rows("SELECT * FROM labels ORDER BY time, id")
        return [LABEL.unpack(row) for row in rows if not subjects or row["subject"] in subjects]

    def labels_version(self) -> int:
        """A number that grows whenever a label is added or taken away."""
        return int(self._one("SELECT ifnull(max(id), 0) FROM labels"))
