"""What a store holds, whether it is whole, and all of it as plain files."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence, Sized
from datetime import date
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import polars as pl

from amiss.errors import StateError
from amiss.events import OUTCOMES
from amiss.store.grouping import Grouping
from amiss.store.history import KINDS, texts_behind
from amiss.store.rows import Info
from amiss.store.schema import FORMAT
from amiss.vocabulary import Known

_ORPHANS: Final = {
    "the outbox has an alert that is not kept": """
        SELECT alert_id AS id FROM outbox WHERE alert_id NOT IN (SELECT alert_id FROM alerts)
    """,
    "an alert belongs to no story": """
        SELECT alert_id AS id FROM alerts WHERE story NOT IN (SELECT story FROM stories)
    """,
    "a verdict is of an alert that is not kept": """
        SELECT alert_id AS id FROM feedback WHERE alert_id NOT IN (SELECT alert_id FROM alerts)
    """,
    "a hidden alert is on its way to a sink": """
        SELECT alert_id AS id FROM outbox JOIN alerts USING (alert_id) WHERE hidden_by IS NOT NULL
    """,
    "a verdict took effect behind a delta that is not there": """
        SELECT id FROM feedback WHERE max(ifnull(applied_seq, 0), ifnull(undone_seq, 0)) > (SELECT seq FROM progress)
    """,
    "events belong to no story": """
        SELECT number AS id FROM frames WHERE kind = 'story' AND number NOT IN (SELECT id FROM stories)
    """,
}
_HOLES: Final = """
    SELECT kind, number, name FROM frames GROUP BY kind, number, name HAVING count(*) <> max(part) + 1 OR min(part) <> 0
"""
_SEVERITIES: Final = """
    SELECT json_extract(alert, '$.severity') AS name, count(*) AS count FROM alerts GROUP BY 1 ORDER BY 1
"""

Problems = Iterator[str]


class Audit(Grouping):
    """A store that can be looked at as a whole."""

    def info(self) -> Info:
        """Figures of what is kept."""
        with self.view():
            progress, totals = self.progress(), self.totals()
            return Info(
                path=str(self.path),
                format=FORMAT,
                amiss_version=version("amiss"),
                **dataclasses.asdict(progress),
                users_away=self._away(),
                **self._period_figures(),
                **self._sizes(),
                stories=self._one("SELECT count(*) FROM stories"),
                alerts_by_severity=self._tally(_SEVERITIES),
                alerts_hidden=self._one("SELECT count(*) FROM alerts WHERE hidden_by IS NOT NULL"),
                outbox=self._tally("SELECT state AS name, count(*) AS count FROM outbox GROUP BY 1 ORDER BY 1"),
                feedback=self._tally(
                    "SELECT verdict AS name, count(*) AS count FROM feedback WHERE undone_time IS NULL GROUP BY 1"
                ),
                feedback_unapplied=len(self.unapplied()),
                suppressions=self._one("SELECT count(*) FROM suppressions WHERE lifted IS NULL"),
                rejected=totals.rejected,
                skipped=totals.skipped,
            )

    def verify(self) -> list[str]:
        """What is wrong with the store, a sentence each; nothing where all is well.

        Reads every byte: a second or two for each GB, while a watch may run.
        """
        checks: list[Callable[[], Problems]] = [
            self._damage, self._holes, self._orphans, self._bad_frames, self._bad_deltas, self._bad_texts,
            self._bad_counts, self._bad_seats, self._bad_groups, self._bad_rows,
        ]  # fmt: skip
        problems: list[str] = []
        with _noted(problems), self.view():
            for check in checks:
                with _noted(problems):
                    problems.extend(check())
        return list(dict.fromkeys(problems))

    def export(
        self, folder: str | Path, *, named: Callable[[str, pl.DataFrame], pl.DataFrame] | None = None
    ) -> list[Path]:
        """Write everything into files that other programs read, Parquet and JSON Lines; gives their names.

        Codes of users and actions become their texts.

        Parameters
        ----------
        folder
            Made where there is none.
        named
            Puts names for other codes in the counts of a family, before users and actions get theirs.

        Raises
        ------
        StateError
            If a file cannot be written.
        """
        place = Path(folder)
        try:
            place.mkdir(parents=True, exist_ok=True)
            with self.view():
                return [*self._export_rows(place), *self._export_frames(place, named or _unchanged)]
        except OSError as error:
            raise StateError(f"{error.filename or place} cannot be written ({error.strerror}). Give another") from error

    def _tally(self, sql: str) -> dict[str, int]:
        """Counts by name."""
        return {str(row["name"]): row["count"] for row in self._rows(sql)}

    def _period_figures(self) -> dict[str, Any]:
        """How many periods are closed, the first and the last."""
        count, first, last = self._rows("SELECT count(*), min(day), max(day) FROM periods")[0]
        days = [None if day is None else date.fromordinal(day) for day in (first, last)]
        return {"periods": count, "first_period": days[0], "last_period": days[1]}

    def _away(self) -> int:
        """How many users were out of memory at the last snapshot."""
        known = self._one("SELECT users FROM deltas WHERE seq > (SELECT snapshot_seq FROM progress) ORDER BY seq")
        seats = self._one("SELECT sum(rows) FROM frames WHERE kind = 'snapshot' AND name = 'seats'")
        return 0 if seats is None else (self.progress().users if known is None else known) - seats

    def _sizes(self) -> dict[str, Any]:
        """Bytes of what is kept and of the files."""
        sizes = self._tally("SELECT kind AS name, sum(length(data)) AS count FROM frames GROUP BY kind")
        page = self._one("PRAGMA page_size")
        wal = self.path.with_name(self.path.name + "-wal")
        return {
            "deltas": self._one("SELECT count(*) FROM deltas"),
            "deltas_bytes": sizes.get("delta", 0),
            "snapshot_bytes": sizes.get("snapshot", 0),
            "counts_bytes": sizes.get("counts", 0),
            "file_bytes": page * self._one("PRAGMA page_count"),
            "free_bytes": page * self._one("PRAGMA freelist_count"),
            "wal_bytes": wal.stat().st_size if wal.exists() else 0,
        }

    def _damage(self) -> Problems:
        """What SQLite finds."""
        for row in self._rows("PRAGMA integrity_check"):
            if row[0] != "ok":
                yield f"the file is damaged: {row[0]}"
        for row in self._rows("PRAGMA foreign_key_check"):
            yield f"row {row['rowid']} of {row['table']} refers to a row of {row['parent']} that is not there"

    def _holes(self) -> Problems:
        """Frames that lack a part."""
        for row in self._rows(_HOLES):
            yield f"{row['kind']} {row['number']} {row['name']} lacks a part"

    def _orphans(self) -> Problems:
        """Rows that do not go with others."""
        for problem, sql in _ORPHANS.items():
            for row in self._rows(sql):
                yield f"{problem}: {row['id']}"

    def _bad_frames(self) -> Problems:
        """Parts of frames that cannot be decoded."""
        for row in self._rows("SELECT id FROM frames ORDER BY id"):
            with _found() as problems:
                self._part(row["id"])
            yield from problems

    def _bad_deltas(self) -> Problems:
        """Deltas that are missing, or say something else than their frames."""
        progress = self.progress()
        found = [row["seq"] for row in self._rows("SELECT seq FROM deltas ORDER BY seq")]
        if found != list(range(progress.dropped_seq + 1, progress.seq + 1)):
            yield f"deltas {progress.dropped_seq + 1} to {progress.seq} should be there. Found: {_spans(found)}"
        for row in self._rows("SELECT * FROM deltas ORDER BY seq"):
            with _found() as problems:
                events = self._delta(row).events
                if events.height != row["events"]:
                    problems.append(f"delta {row['seq']} has {events.height} events, not {row['events']}")
                problems.extend(_unknown(f"delta {row['seq']}", events, progress.known))
            yield from problems

    def _bad_texts(self) -> Problems:
        """Texts that are missing or doubled."""
        progress = self.progress()
        for name, texts, known in zip(KINDS, self.texts(), progress.known, strict=True):
            if len(texts) != known:
                yield f"{known} {name} should be known. Found: {len(texts)}"
            if texts.n_unique() != len(texts):
                yield f"{len(texts) - texts.n_unique()} {name} have two codes"
        starts = "SELECT kind, number, sum(rows) AS rows FROM frames WHERE kind = ? GROUP BY number ORDER BY number"
        for name in KINDS:
            end = 0
            for row in self._rows(starts, (name,)):
                if row["number"] != end:
                    yield f"{name} from code {end} on are missing: the next is {row['number']}"
                end = row["number"] + row["rows"]

    def _bad_counts(self) -> Problems:
        """Counts that are not like the others of their family, or of users that are not known."""
        progress = self.progress()
        schemas: dict[str, pl.Schema] = {}
        for day, family, counts in self.counts():
            where = f"the counts {family} of {day}"
            if counts.schema != schemas.setdefault(family, counts.schema):
                yield f"{where} have other columns than those before"
            if sum(counts.null_count().row(0)) > 0:
                yield f"{where} lack values"
            yield from _unknown(where, counts, progress.known)

    def _bad_seats(self) -> Problems:
        """Users who are in memory twice, or are not known."""
        seats = self._frame("snapshot", self.progress().snapshot_seq, "seats")
        if seats is not None:
            yield from _unknown("the users in memory", seats, self.progress().known)
            if seats["user"].n_unique() != len(seats):
                yield f"{len(seats) - seats['user'].n_unique()} users are in memory twice"

    def _bad_groups(self) -> Problems:
        """Members of groups who are not known."""
        for name, table in self.groups().items():
            yield from _unknown(f"the groups ({name})", table, self.progress().known)

    def _bad_rows(self) -> Problems:
        """Rows of plain tables that cannot be read."""
        tables: dict[str, Callable[[], Sized]] = {
            "SELECT count(*) FROM settings": self.settings,
            "SELECT count(*) FROM periods": self.periods,
            "SELECT count(*) FROM stories": self.stories,
            "SELECT count(*) FROM alerts": self.alerts,
            "SELECT count(*) FROM outbox": self.outbox,
            "SELECT count(*) FROM suppressions": self.suppressions,
            "SELECT count(*) FROM feedback": self.feedback,
            "SELECT count(*) FROM labels": self.label_history,
        }
        for sql, read in tables.items():
            with _found() as problems:
                found, expected = len(read()), self._one(sql)
                if found != expected:
                    problems.append(f"{read.__name__}: {expected} rows are kept, and {found} of them can be read")
            yield from problems

    def _export_rows(self, place: Path) -> Iterator[Path]:
        """Write the plain tables."""
        yield _written(place / "info.json", [self.info()])
        yield _written(place / "settings.json", [self.settings()])
        tables: dict[str, Sequence[object]] = {
            "periods": self.periods(peaks=False),
            "stories": self.stories(),
            "alerts": [row.alert.record() | {"seq": row.seq, "hidden_by": row.hidden_by} for row in self.alerts()],
            "outbox": self.outbox(),
            "suppressions": self.suppressions(),
            "feedback": self.feedback(),
            "labels": self.label_history(),
        }
        for name, rows in tables.items():
            yield _written(place / f"{name}.jsonl", rows)

    def _export_frames(self, place: Path, named: Callable[[str, pl.DataFrame], pl.DataFrame]) -> Iterator[Path]:
        """Write the frames."""
        users, actions, values = self.texts()

        def write(name: str, frame: pl.DataFrame) -> Path:
            path = place / f"{name}.parquet"
            path.parent.mkdir(exist_ok=True)
            _texted(frame, users, actions, values).write_parquet(path)
            return path

        yield write("users", users.to_frame().with_row_index("code"))
        yield write("actions", actions.to_frame().with_row_index("code"))
        yield write("values", values.to_frame().with_row_index("code"))
        for day, family, counts in self.counts():
            yield write(f"counts/{day}-{quote(family, safe='')}", named(family, counts))
        for period in self.periods():
            if period.peaks is not None:
                yield write(f"peaks/{period.day}", period.peaks)
        for seq, delta in chain(self.covered(), self.deltas()):
            yield write(f"events/{seq:012}", delta.events)
        for name, table in self.restore()[1].items():
            yield write(f"snapshot/{quote(name, safe='')}", table)
        for name, table in self.groups().items():
            yield write(f"groups/{quote(name, safe='')}", table)
        for story in self.stories():
            events = self.story_events(story.story)
            if events is not None:
                yield write(f"stories/{quote(story.story, safe='')}", events)


@contextlib.contextmanager
def _noted(problems: list[str]) -> Iterator[None]:
    """Note what fails inside as a problem."""
    try:
        yield
    except StateError as error:
        problems.append(str(error))
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, pl.exceptions.PolarsError) as error:
        problems.append(f"a row cannot be read: {error}")


@contextlib.contextmanager
def _found() -> Iterator[list[str]]:
    """Problems, and what fails inside as one more."""
    problems: list[str] = []
    with _noted(problems):
        yield problems


def _unknown(where: str, frame: pl.DataFrame, known: Known) -> Problems:
    """Codes that have no text."""
    for name, texts in texts_behind(frame, known).items():
        highest = frame[name].max() if frame.schema[name].is_integer() else None
        if isinstance(highest, int) and highest >= texts:
            yield f"{where}: column {name} holds the code {highest}, but only {texts} are known"


def _spans(numbers: list[int]) -> str:
    """Numbers in short: the first, the last, how many."""
    return f"{numbers[0]} to {numbers[-1]}, {len(numbers)} in all" if numbers else "none"


def _unchanged(_family: str, counts: pl.DataFrame) -> pl.DataFrame:
    """Counts as they are."""
    return counts


def _texted(frame: pl.DataFrame, users: pl.Series, actions: pl.Series, values: pl.Series) -> pl.DataFrame:
    """A frame with texts for the codes of users, actions, outcomes and contexts; a code without text becomes null."""
    texts = dict.fromkeys(texts_behind(frame, Known()), values)
    texts |= {"user": users, "action": actions, "outcome": pl.Series(OUTCOMES)}
    coded = [name for name in texts if name in frame.columns and frame.schema[name].is_integer()]
    return frame.with_columns(
        texts[name].gather(frame[name].cast(pl.Int64), null_on_oob=True).alias(name) for name in coded
    )


def _written(path: Path, rows: Sequence[object]) -> Path:
    """Write rows as JSON, one a line."""
    with path.open("w", encoding="ascii") as file:
        for row in rows:
            plain = dataclasses.asdict(row) if dataclasses.is_dataclass(row) and not isinstance(row, type) else row
            file.write(json.dumps(plain, default=str) + "\n")
    return path
