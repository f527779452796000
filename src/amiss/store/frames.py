"""Tables of columns inside a store: Arrow, compressed, in parts that are never large."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, Final, Literal

import polars as pl

from amiss.errors import StateError
from amiss.store.connection import Connection
from amiss.store.schema import REBUILD

Kind = Literal["delta", "snapshot", "counts", "peaks", "story", "groups", "users", "actions", "values"]
"""What a frame is; its number is a seq, a day, a row of `stories`, the code of its first text, or 0 of groups."""

Compression = Literal["zstd", "lz4"]
"""zstd: half the size; lz4: twice as fast, for what is soon replaced."""

PART_BYTES: Final = 16 * 2**20
"""The most bytes of a part, unless a single row has more."""

_AIM_BYTES: Final = PART_BYTES - 2**20
_DIFFERENCES: Final = ("position", "time")


def encoded(frame: pl.DataFrame, compression: Compression = "zstd") -> bytes:
    """A frame as an Arrow stream."""
    return frame.write_ipc_stream(None, compression=compression).getvalue()


def decoded(data: bytes) -> pl.DataFrame:
    """The frame that an Arrow stream holds."""
    return pl.read_ipc_stream(io.BytesIO(data))


def parts(frame: pl.DataFrame, compression: Compression = "zstd") -> Iterator[tuple[int, bytes]]:
    """The rows and the bytes of each part of a frame, at least one.

    Examples
    --------
    >>> [rows for rows, _ in parts(pl.DataFrame({"x": range(5)}))]
    [5]
    """
    step = max(1, int(frame.height * _AIM_BYTES / max(1, frame.estimated_size())))
    for first in range(0, max(1, frame.height), step):
        yield from _halved(frame[first : first + step], compression)


def _halved(frame: pl.DataFrame, compression: Compression) -> Iterator[tuple[int, bytes]]:
    """A frame as one part, or as two where one is too large."""
    data = encoded(frame, compression)
    if len(data) <= PART_BYTES or frame.height <= 1:
        yield frame.height, data
        return
    half = frame.height // 2
    for part in (frame[:half], frame[half:]):
        yield from _halved(part, compression)


def differences(events: pl.DataFrame) -> pl.DataFrame:
    """Events with positions and times as differences, which take fewer bytes; integers wrap, so nothing is lost.

    Examples
    --------
    >>> events = pl.DataFrame({"position": [7, 8, 10], "time": [5, 5, 6]}).cast({"time": pl.Datetime("us", "UTC")})
    >>> differences(events).rows()
    [(7, 5), (1, 0), (2, 1)]
    >>> sums(differences(events)).equals(events)
    True
    """
    return events.with_columns(
        column.diff().fill_null(column.first()) for column in (pl.col(name).to_physical() for name in _DIFFERENCES)
    )


def sums(events: pl.DataFrame) -> pl.DataFrame:
    """The events that `differences` came from."""
    return events.with_columns(pl.col("position").cum_sum(), pl.col("time").cum_sum().cast(pl.Datetime("us", "UTC")))


class Frames(Connection):
    """The frames of a store: each has a kind, a number and a name."""

    def _put_frame(
        self, kind: Kind, number: int, name: str, frame: pl.DataFrame, compression: Compression = "zstd"
    ) -> None:
        """Keep a frame."""
        sql = "INSERT INTO frames (kind, number, name, part, rows, data) VALUES (?, ?, ?, ?, ?, ?)"
        for part, (rows, data) in enumerate(parts(frame, compression)):
            self._run(sql, (kind, number, name, part, rows, data))

    def _frame(self, kind: Kind, number: int, name: str) -> pl.DataFrame | None:
        """The frame of that name, or None."""
        sql = "SELECT id FROM frames WHERE kind = ? AND number = ? AND name = ? ORDER BY part"
        found = [self._part(row["id"]) for row in self._rows(sql, (kind, number, name))]
        return pl.concat(found, rechunk=True) if found else None

    def _whole_frame(self, kind: Kind, number: int, name: str) -> pl.DataFrame:
        """The frame of that name, which must be there."""
        found = self._frame(kind, number, name)
        if found is None:
            raise StateError(f"{self.path} lacks the {kind} {number} {name}: it is damaged. {REBUILD}")
        return found

    def _part(self, row: int) -> pl.DataFrame:
        """One part of a frame."""
        part: Any = self._rows("SELECT kind, number, name, part, rows, data FROM frames WHERE id = ?", (row,))[0]
        where = f"{part['kind']} {part['number']} {part['name']}, part {part['part']}"
        try:
            frame = decoded(part["data"])
        except Exception as error:  # Polars raises errors of many kinds on damaged bytes
            raise StateError(f"{self.path}: {where} cannot be decoded ({error}). {REBUILD}") from error
        if frame.height != part["rows"]:
            raise StateError(f"{self.path}: {where} has {frame.height} rows, not {part['rows']}. {REBUILD}")
        return frame

    def _drop_frames(self, kind: Kind, first: int, last: int, name: str | None = None) -> None:
        """Give up the frames of a kind with numbers from `first` to `last`, of one name or of all."""
        sql = """
            DELETE FROM frames
            WHERE kind = :kind AND number BETWEEN :first AND :last AND (:name IS NULL OR name = :name)
        """
        self._run(sql, {"kind": kind, "first": first, "last": last, "name": name})
