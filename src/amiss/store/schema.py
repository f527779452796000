"""The tables of a store, and how files of earlier formats become those of this one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final

APPLICATION: Final = 0x616D6973
"""What marks a SQLite file as a store of amiss: "amis" in ASCII."""

FORMAT: Final = 3
"""The format that this version writes."""

PAGE_BYTES: Final = 16_384
"""Size of a page: commits of 60 kB and snapshots of 200 MB are both within a tenth of their best."""


def _with_values(db: sqlite3.Connection) -> None:
    """Format 2 keeps the texts of contexts, too."""
    for table, column in (("progress", '"values"'), ("deltas", '"values"'), ("deltas", "new_values")):
        db.execute(f"ALTER TABLE {table} ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")


def _with_labels(db: sqlite3.Connection) -> None:
    """Format 3 keeps what people call users and groups."""
    for statement in _LABELS.split(";\n"):
        db.execute(statement)


MIGRATIONS: Final[dict[int, Callable[[sqlite3.Connection], None]]] = {1: _with_values, 2: _with_labels}
"""What turns a file of the format that is the key into one of the next."""

REBUILD: Final = "Rebuild it by replay: amiss learn SOURCE --state NEW"

_LABELS: Final = """
CREATE TABLE labels (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL CHECK (kind IN ('user', 'group')), subject TEXT NOT NULL,
    label TEXT, author TEXT NOT NULL, note TEXT NOT NULL, time INTEGER NOT NULL, via TEXT
) STRICT;
CREATE INDEX labels_subject ON labels (kind, subject, time, id);
"""

TABLES: Final = (
    """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE progress (
    id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, snapshot_seq INTEGER NOT NULL,
    dropped_seq INTEGER NOT NULL, cursor TEXT, events INTEGER NOT NULL, users INTEGER NOT NULL,
    actions INTEGER NOT NULL, "values" INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO progress VALUES (1, 0, 0, 0, NULL, 0, 0, 0, 0);
CREATE TABLE totals (
    kind TEXT NOT NULL, reason TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (kind, reason)
) STRICT;
CREATE TABLE deltas (
    seq INTEGER PRIMARY KEY, cursor TEXT NOT NULL, events INTEGER NOT NULL, users INTEGER NOT NULL,
    new_users INTEGER NOT NULL, actions INTEGER NOT NULL, new_actions INTEGER NOT NULL, rejected TEXT NOT NULL,
    skipped TEXT NOT NULL, "values" INTEGER NOT NULL DEFAULT 0, new_values INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE frames (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, part INTEGER NOT NULL,
    rows INTEGER NOT NULL, data BLOB NOT NULL, UNIQUE (kind, number, name, part)
) STRICT;
CREATE TABLE periods (
    day INTEGER PRIMARY KEY, users INTEGER NOT NULL, events INTEGER NOT NULL, threshold REAL NOT NULL,
    expected REAL NOT NULL, alarms INTEGER NOT NULL, detectors TEXT NOT NULL
) STRICT;
CREATE TABLE suppressions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, rule TEXT NOT NULL, author TEXT NOT NULL, reason TEXT NOT NULL,
    created INTEGER NOT NULL, expires INTEGER, lifted INTEGER
) STRICT;
CREATE TABLE stories (
    id INTEGER PRIMARY KEY, story TEXT NOT NULL UNIQUE, user TEXT NOT NULL, period INTEGER NOT NULL,
    opened INTEGER NOT NULL, last INTEGER NOT NULL, bits REAL NOT NULL, peak REAL NOT NULL, severity TEXT NOT NULL,
    events INTEGER NOT NULL, detectors TEXT NOT NULL, reasons TEXT NOT NULL, alerts INTEGER NOT NULL,
    hidden_by INTEGER REFERENCES suppressions (id), verdict TEXT
) STRICT;
CREATE INDEX stories_user ON stories (user);
CREATE INDEX stories_period ON stories (period);
CREATE TABLE alerts (
    id INTEGER PRIMARY KEY, alert_id TEXT NOT NULL UNIQUE, story TEXT NOT NULL REFERENCES stories (story),
    seq INTEGER NOT NULL, time INTEGER NOT NULL, alert TEXT NOT NULL, hidden_by INTEGER REFERENCES suppressions (id)
) STRICT;
CREATE INDEX alerts_story ON alerts (story);
CREATE INDEX alerts_time ON alerts (time);
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY, alert_id TEXT NOT NULL REFERENCES alerts (alert_id), sink TEXT NOT NULL,
    due INTEGER NOT NULL, tries INTEGER NOT NULL, error TEXT,
    state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')), delivered_at INTEGER,
    UNIQUE (alert_id, sink)
) STRICT;
CREATE INDEX outbox_pending ON outbox (sink, id) WHERE state = 'pending';
CREATE TABLE feedback (
    id INTEGER PRIMARY KEY AUTOINCREMENT, alert_id TEXT NOT NULL REFERENCES alerts (alert_id),
    story TEXT NOT NULL REFERENCES stories (story),
    verdict TEXT NOT NULL CHECK (verdict IN ('expected', 'confirmed', 'false')), note TEXT NOT NULL,
    author TEXT NOT NULL, time INTEGER NOT NULL, undone_time INTEGER, applied_seq INTEGER, undone_seq INTEGER
) STRICT;
CREATE INDEX feedback_story ON feedback (story);
"""
    + _LABELS
)
"""`deltas.users`, `actions` and `values` are how many were known before; `frames` holds all that is a
table of columns."""


def create(db: sqlite3.Connection) -> None:
    """Make the tables in an open transaction."""
    for statement in TABLES.split(";\n"):
        db.execute(statement)
    mark(db)


def mark(db: sqlite3.Connection) -> None:
    """Write down whose file this is and its format."""
    db.execute(f"PRAGMA application_id = {APPLICATION}")
    db.execute(f"PRAGMA user_version = {FORMAT}")
