"""The store: one SQLite file that remembers everything, and the only place where anything is committed."""

from __future__ import annotations

import os
from typing import Self

from amiss.store.audit import Audit
from amiss.store.rows import (
    VERDICTS,
    Delivery,
    Delta,
    Info,
    Label,
    OutboxRow,
    PeriodRecord,
    Progress,
    StoredAlert,
    Story,
    Suppression,
    Totals,
    Verdict,
)

__all__ = [
    "VERDICTS",
    "Delivery",
    "Delta",
    "Info",
    "Label",
    "OutboxRow",
    "PeriodRecord",
    "Progress",
    "Store",
    "StoredAlert",
    "Story",
    "Suppression",
    "Totals",
    "Verdict",
]


class Store(Audit):
    """All that a watch remembers, in one file; what was committed survives any stop.

    The state is a snapshot and the deltas behind it: replaying these over that gives it again. Of the deltas that the
    snapshot covers, the latest may be kept too, for who needs the events themselves. A store belongs to the
    thread that opened it. One process at a time writes the stream; any number read, and add what people say. It reads
    no clock: times are arguments.

    Examples
    --------
    >>> import tempfile
    >>> from amiss.events import CODED_SCHEMA
    >>> import polars as pl
    >>> none = pl.DataFrame(schema=CODED_SCHEMA)
    >>> with tempfile.TemporaryDirectory() as folder, Store.open(f"{folder}/state.db") as store:
    ...     with store.begin():
    ...         seq = store.append(Delta(none, ["ann"], [], cursor="line 1"))
    ...         store.remember("zone", "UTC")
    ...     seq, store.progress().cursor, store.texts()[0].to_list(), store.settings()
    (1, 'line 1', ['ann'], {'zone': 'UTC'})
    """

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, write: bool = True) -> Self:
        """The store in a file; made where there is none and `write` holds.

        Parameters
        ----------
        path
            The file. SQLite keeps two more beside it while it is open (`-wal`, `-shm`); the lock is a third (`-lock`).
        write
            Whether to be the one writer of the stream. Without it a store reads, and takes verdicts, suppressions and
            what sinks took.

        Raises
        ------
        StateError
            If the file is no state file, of a format that this version cannot bring up to date, damaged, cannot be
            read or written, or has a writer already; says what to do.
        """
        return cls(path, write=write)
