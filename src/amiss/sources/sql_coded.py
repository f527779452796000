"""The fast lane of SQL: what values mean is asked once for each distinct one, and dates and times stay numbers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss import fields, times
from amiss.events import CODED_SCHEMA, OUTCOMES
from amiss.fields import Fields
from amiss.sources.dictionaries import UNKNOWN, Coder, Known, distinct
from amiss.sources.sql_feed import Rows
from amiss.sources.sql_plan import Relation, moments
from amiss.times import TimeFormat
from amiss.vocabulary import Coding, Vocabulary

LEAST_ROWS: Final = 5_000
"""With fewer rows at a time the general way is as quick."""
TYPED: Final = TimeFormat("typed")


class Coded:
    """Codes of rows, remembered from frame to frame.

    Parameters
    ----------
    found
        Which column plays which role.
    relation
        Where the columns come from.
    timezone
        Zone of times that name none.
    """

    def __init__(self, found: Fields, relation: Relation, timezone: str) -> None:
        self._found, self._timezone = found, timezone
        self._names = {role: guess.column for role, guess in found.roles.items() if role != "time"}
        self._places = {column.name: place for place, column in enumerate(relation.only(found.columns))}
        self._known = {role: Known(partial(self._meaning, role)) for role in self._names}
        self._coders: dict[str, Coder] | None = None
        kinds = {column.name: column.kind for column in relation.columns}
        self.is_plain = all(kinds.get(name) == "plain" for name in self._names.values())
        self._parts = fields.raw_names(found.roles["time"].column)
        is_pair = found.roles["time"].column == " ".join(f"{{{name}}}" for name in self._parts)
        self._is_pair = is_pair and [kinds.get(name) for name in self._parts] == ["date", "clock"]

    def frame(self, rows: Rows, position: int, coding: Coding) -> pl.DataFrame | None:
        """The coded frame of rows, the first of which has this position; None where the general way must be taken.

        That is where rows are no events, or columns are of other types than texts and whole numbers.
        """
        if not self.is_plain or len(rows) < LEAST_ROWS:
            return None
        raw = {role: rows.came.to_series(self._places[name]) for role, name in self._names.items()}
        if not all(map(_is_taken, raw.values())):
            return None
        time = self._times(rows)
        if time.null_count():
            return None
        parts = {role: distinct(column.to_arrow()) for role, column in raw.items()}
        numbers = {role: self._known[role].numbers(part.values) for role, part in parts.items()}
        if any(self._known[role].nothing[numbers[role]].any() for role in ("user", "action")):
            return None
        columns: dict[str, pl.Series | npt.NDArray[np.generic]] = {
            "position": np.arange(position, position + len(rows)),
            "time": time,
            "outcome": np.full(len(rows), UNKNOWN, np.uint8),
        }
        for role, coder in self._coders_of(coding).items():
            columns[role] = parts[role].spread(coder.codes(numbers[role]))
        return pl.DataFrame(columns).select(pl.col(name).cast(dtype) for name, dtype in CODED_SCHEMA.items())

    def _times(self, rows: Rows) -> pl.Series:
        """The times of rows; dates and times of day that came as numbers are put together as such."""
        if self._is_pair:
            days, clocks = (rows.came.to_series(self._places[name]).cast(pl.Int64) for name in self._parts)
            local = moments(days * 1_000_000 + clocks)
            return times.parse(local.set((clocks < 0) | (clocks >= 240_000), None), TYPED, self._timezone)
        return fields.values_of(rows.raw, "time", self._found, self._timezone)

    def _coders_of(self, coding: Coding) -> Mapping[str, Coder]:
        if self._coders is None:
            shared = {"user": coding.users, "action": coding.actions, "outcome": Vocabulary(OUTCOMES)}
            self._coders = {role: Coder(known, shared[role]) for role, known in self._known.items()}
        return self._coders

    def _meaning(self, role: str, values: pl.Series) -> pl.Series:
        return fields.values_of(values.rename(self._names[role]).to_frame(), role, self._found, self._timezone)


def _is_taken(column: pl.Series) -> bool:
    """Whether each value of a column means something by itself, whatever stands beside it."""
    return column.dtype == pl.String or column.dtype.is_integer()
