"""Events of data frames that are in memory already: pandas, Polars, Arrow and what else Narwhals understands."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from amiss import fields as columns
from amiss import times
from amiss.errors import EventError, SourceError
from amiss.events import Quarantine
from amiss.sources import Cursor
from amiss.sources.parquet import flat, texts
from amiss.sources.streams import LINES_PER_FRAME
from amiss.vocabulary import Coding

if TYPE_CHECKING:
    import narwhals as nw
    from narwhals.typing import IntoFrame

    from amiss.fields import FieldChoice


class FrameSource:
    """Events of a data frame; positions count its rows from 1.

    Parameters
    ----------
    frame
        A pandas, Polars, PyArrow or other frame that Narwhals understands; lazy ones are collected. Not changed.
    fields
        Columns that are pinned; the others are inferred.
    timezone
        Zone of times that name none.
    year
        Year of the first time where times have none.
    strict
        Whether the first row that cannot be read is an error.

    Examples
    --------
    >>> frame = pl.DataFrame({"when": ["2019-01-01 00:00:53"], "user": ["ann"], "action": ["login"], "ok": [True]})
    >>> events, cursor = next(FrameSource(frame).read())
    >>> events.select("position", "user", "action", "outcome").rows(), cursor.token
    ([(1, 'ann', 'login', 'success')], '{"rows":1}')
    """

    def __init__(
        self,
        frame: IntoFrame,
        *,
        fields: FieldChoice | None = None,
        timezone: str = "UTC",
        year: int | None = None,
        strict: bool = False,
    ) -> None:
        times.check_timezone(timezone)
        self.url = "frame"
        self.timezone = timezone
        self.strict = strict
        self.quarantine = Quarantine()
        self._frame = flat(_as_polars(frame))
        if not len(self._frame):
            raise SourceError("the frame is empty: there are no events to read")
        self.fields = columns.infer(self._frame.head(columns.SAMPLE_ROWS), fields, where="frame", year=year)

    def read(self, after: Cursor | None = None) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Event frames of at most 100,000 rows, each with the cursor behind it."""
        if after is None:
            self.quarantine.reasons.clear()
            self.quarantine.samples.clear()
        seen = False
        first = json.loads(after.token)["rows"] if after else 0
        for start in range(first, len(self._frame), LINES_PER_FRAME):
            part = self._frame.slice(start, LINES_PER_FRAME)
            events = self._events(part, start)
            if len(events):
                seen = True
                yield events, Cursor(json.dumps({"rows": start + len(part)}, separators=(",", ":")))
        if not seen and after is None:
            reasons = ", ".join(self.quarantine.reasons)
            raise EventError(f"no row of the frame could be read as an event: {reasons}")

    def read_coded(self, coding: Coding, after: Cursor | None = None) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Coded frames of the same rows, each with the cursor behind it."""
        narrow = copy.copy(self)
        narrow.fields = replace(self.fields, rest=coding.raw)
        yield from ((coding.encode(frame), cursor) for frame, cursor in narrow.read(after))

    def _events(self, part: pl.DataFrame, start: int) -> pl.DataFrame:
        positions = pl.int_range(start + 1, start + 1 + len(part), dtype=pl.Int64, eager=True).alias("position")
        others = [name for name in self.fields.columns if name in part.columns and name != "position"]
        good, bad = columns.events(part.select(others).with_columns(positions), self.fields, self.timezone)
        for position, reason in bad.rows():
            text = str(part.row(position - start - 1))
            if self.strict:
                raise EventError(f"row {position} of the frame: {reason}: {columns.ascii_safe(text)}")
            self.quarantine.add(self.url, position, reason, text)
        return good


def _as_polars(frame: IntoFrame) -> pl.DataFrame:
    """The frame as a Polars one, whatever it was."""
    import narwhals as nw

    try:
        known = nw.from_native(frame)
    except TypeError as error:
        kind = f"{type(frame).__module__}.{type(frame).__name__}"
        raise SourceError(f"{kind} is no data frame. Give one of pandas, Polars or Arrow, or a path") from error
    except nw.exceptions.DuplicateError as error:
        raise EventError(f"columns of the frame must have different names. Rename them: {error}") from error
    eager = known.collect() if isinstance(known, nw.LazyFrame) else known
    try:
        return eager.to_polars()
    except (TypeError, ValueError):
        return pl.DataFrame([_column(eager[name]) for name in eager.columns])


def _column(column: nw.Series[Any]) -> pl.Series:
    """A column as a Polars one; as texts where its values are of several kinds."""
    try:
        return column.to_polars()
    except (TypeError, ValueError):
        return texts(column.name, column.to_list())
