"""What was read of a table that goes on, so that rows which are committed late are read too, and none twice.

A transaction takes its key when it begins to write and shows its rows when it commits, so a row may appear below keys
that were read already. With whole numbers as keys what is *missing* is remembered: the holes between keys that were
read, each until nothing came into it for the overlap. With other keys, such as times, which many rows may share, what
was read within the overlap is remembered, row by row.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.sources.sql_address import Overlap

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

MOST_HOLES: Final = 20_000
MOST_ROWS: Final = 50_000
"""Holes, or rows of the overlap, that are remembered at most."""
RANGES: Final = 300
"""Ranges of keys that one statement asks for at most."""
LEAST: Final = -(2**62)
_UNITS: Final = ((1e11, 1), (1e14, 1e3), (1e17, 1e6))


class Window(Protocol):
    """What was read of a table, by key. `overflown` says that not all of the overlap could be remembered."""

    overflown: bool

    def started(self) -> bool:
        """Whether anything was read."""
        ...

    def note(self, rows: pl.DataFrame, at: float) -> None:
        """Take rows for read, in the order in which they are given; `at` is the time now."""
        ...

    def sieve(self) -> Callable[[pl.DataFrame], Mask]:
        """Says of the frames of one statement, in order, which rows were not read when it was asked."""
        ...

    def forget(self, asked: float) -> None:
        """Let go of what is older than the overlap; what is behind was asked for at this time."""
        ...

    def token(self) -> dict[str, Any]:
        """What a cursor holds of it."""
        ...


class Keys:
    """What was read of a table whose keys are whole numbers: the highest one, and the holes below it.

    A hole is remembered with the time at which it was first seen. The rows' keys are in column `key`.

    Examples
    --------
    >>> window = Keys(Overlap(seconds=60))
    >>> window.note(pl.DataFrame({"key": [5, 6, 9]}), at=100.0)
    >>> window.high, window.holes()
    (9, [(-4611686018427387904, 4), (7, 8)])
    >>> window.note(pl.DataFrame({"key": [8]}), at=110.0)
    >>> window.forget(asked=159.0)
    >>> window.holes()
    [(-4611686018427387904, 4), (7, 7)]
    >>> window.forget(asked=160.0)
    >>> window.holes()
    []
    """

    def __init__(self, overlap: Overlap, token: dict[str, Any] | None = None) -> None:
        self._overlap = overlap
        self.high: int | None = None
        self.overflown = False
        self._first, self._last = np.empty(0, np.int64), np.empty(0, np.int64)
        self._since = np.empty(0, np.float64)
        if token:
            self._restore(token)

    def started(self) -> bool:
        """Whether anything was read."""
        return self.high is not None

    def start_behind(self, key: int) -> None:
        """Take all keys up to this one for read."""
        self.high = key

    def holes(self) -> list[tuple[int, int]]:
        """First and last missing key of each hole, in order."""
        return list(zip(self._first.tolist(), self._last.tolist(), strict=True))

    def ranges(self) -> list[tuple[int, int]]:
        """Ranges of keys that hold all holes; where these are many, also keys between them."""
        if len(self._first) <= RANGES:
            return self.holes()
        starts = np.linspace(0, len(self._first), RANGES + 1).astype(int)
        return [(int(self._first[a]), int(self._last[b - 1])) for a, b in pairwise(starts)]

    def sieve(self) -> Callable[[pl.DataFrame], Mask]:
        """Says which rows were not read."""
        return self.unread

    def unread(self, rows: pl.DataFrame) -> Mask:
        """Which rows were not read: above the highest key, or in a hole."""
        keys = rows["key"].to_numpy()
        if self.high is None:
            return np.ones(len(keys), np.bool_)
        return (keys > self.high) | self._missing(keys)

    def _missing(self, keys: Ints) -> Mask:
        if not len(self._first):
            return np.zeros(len(keys), np.bool_)
        at = np.searchsorted(self._first, keys, side="right") - 1
        return (at >= 0) & (keys <= self._last[np.maximum(at, 0)])

    def note(self, rows: pl.DataFrame, at: float) -> None:
        """Take rows for read; those above the highest key are in order."""
        keys = rows["key"].to_numpy()
        if not len(keys):
            return
        fresh = keys if self.high is None else keys[keys > self.high]
        late = keys[:0] if self.high is None else keys[keys <= self.high]
        for key in late[self._missing(late)].tolist():
            self._fill(key)
        if len(fresh):
            self._extend(fresh, at)

    def _fill(self, key: int) -> None:
        """Take a key out of the hole it is in."""
        place = int(np.searchsorted(self._first, key, side="right")) - 1
        first, last, since = int(self._first[place]), int(self._last[place]), float(self._since[place])
        parts = [(a, b) for a, b in ((first, key - 1), (key + 1, last)) if a <= b]
        self._first = _spliced(self._first, place, [a for a, _ in parts])
        self._last = _spliced(self._last, place, [b for _, b in parts])
        self._since = _spliced(self._since, place, [since] * len(parts))

    def _extend(self, keys: Ints, at: float) -> None:
        """Move the highest key on, and remember the holes before it."""
        before = np.concatenate([[LEAST if self.high is None else self.high + 1], keys[:-1] + 1])
        missing = before < keys
        self._first = np.concatenate([self._first, before[missing]])
        self._last = np.concatenate([self._last, keys[missing] - 1])
        self._since = np.concatenate([self._since, np.full(int(missing.sum()), at)])
        self.high = int(keys[-1])
        if len(self._first) > MOST_HOLES:
            self.overflown = True
            self._keep(np.arange(len(self._first)) >= len(self._first) - MOST_HOLES)

    def forget(self, asked: float) -> None:
        """Let go of holes that stayed empty for the overlap, or that lie further back."""
        if self._overlap.keys is not None and self.high is not None:
            self._keep(self._last > self.high - self._overlap.keys)
        else:
            self._keep(self._since + self._overlap.seconds > asked)

    def _keep(self, kept: Mask) -> None:
        if not kept.all():
            self._first, self._last, self._since = self._first[kept], self._last[kept], self._since[kept]

    def token(self) -> dict[str, Any]:
        """The highest key, and the holes: the distance of each to the one before it, its length, when it was seen."""
        if not len(self._first):
            return {"high": self.high}
        starts = [int(self._first[0]), *np.diff(self._first).tolist()]
        sizes = (self._last - self._first).tolist()
        since = np.round(self._since, 3).tolist()
        runs = [[since[0], 0]]
        for moment in since:
            if moment != runs[-1][0]:
                runs.append([moment, 0])
            runs[-1][1] += 1
        return {"high": self.high, "starts": starts, "sizes": sizes, "since": runs}

    def _restore(self, token: dict[str, Any]) -> None:
        self.high = token["high"]
        if "starts" in token:
            self._first = np.cumsum(np.array(token["starts"], np.int64))
            self._last = self._first + np.array(token["sizes"], np.int64)
            self._since = np.concatenate([np.full(int(count), float(moment)) for moment, count in token["since"]])


def _spliced(values: npt.NDArray[Any], place: int, parts: Sequence[float]) -> npt.NDArray[Any]:
    """The values with one of them replaced by others."""
    return np.concatenate([values[:place], np.array(parts, values.dtype), values[place + 1 :]])


class Stamps:
    """What was read of a table whose keys are times, or numbers that rows may share: the rows of the overlap.

    The rows' keys are in column `key`, times as texts of one form, and what tells rows apart in column `row`, 8 bytes.

    Examples
    --------
    >>> window = Stamps(Overlap(seconds=60))
    >>> rows = pl.DataFrame({"key": ["2026-01-05 12:00:00"] * 2, "row": [b"ann", b"bob"]})
    >>> window.note(rows, at=0.0)
    >>> window.sieve()(pl.concat([rows, rows[:1]])).tolist(), window.floor()
    ([False, False, True], '2026-01-05 11:59:00')
    """

    def __init__(self, overlap: Overlap, token: dict[str, Any] | None = None) -> None:
        self._overlap = overlap
        self.high: Any = None
        self.overflown = False
        self._rows: list[tuple[Any, bytes]] = []
        self._known: Counter[tuple[Any, bytes]] = Counter()
        self._least: Any = None
        if token:
            self._restore(token)

    def started(self) -> bool:
        """Whether anything was read."""
        return self.high is not None

    def start_behind(self, key: Any) -> None:  # noqa: ANN401 - a number or a text
        """Take all keys before this one for read."""
        self.high = self._least = key

    def floor(self) -> Any:  # noqa: ANN401 - a number or a text
        """The key that rows are asked for from."""
        floor = earlier(self.high, self._overlap)
        return floor if self._least is None else max(floor, self._least)

    def sieve(self) -> Callable[[pl.DataFrame], Mask]:
        """Says which rows were not read; of equal rows, those beyond the number that was read."""
        known = dict(self._known)
        met: Counter[tuple[Any, bytes]] = Counter()

        def unread(rows: pl.DataFrame) -> Mask:
            found = np.ones(len(rows), np.bool_)
            for number, row in enumerate(zip(rows["key"].to_list(), rows["row"].to_list(), strict=True)):
                if row in known:
                    met[row] += 1
                    found[number] = met[row] > known[row]
            return found

        return unread

    def note(self, rows: pl.DataFrame, at: float) -> None:  # noqa: ARG002 - keys say the time
        """Take rows for read."""
        fresh = list(zip(rows["key"].to_list(), rows["row"].to_list(), strict=True))
        if not fresh:
            return
        self._rows += fresh
        self._known.update(fresh)
        highest = max(key for key, _ in fresh)
        self.high = highest if self.high is None else max(self.high, highest)
        floor = self.floor()
        if len(self._rows) > MOST_ROWS or min(self._rows)[0] < floor:
            self._trim(floor)

    def _trim(self, floor: Any) -> None:  # noqa: ANN401 - a number or a text
        """Let go of rows before the overlap, and of the first ones where they are too many."""
        kept = sorted(row for row in self._rows if row[0] >= floor)
        if len(kept) > MOST_ROWS:
            self.overflown = True
            self._least = kept[-MOST_ROWS][0]
            kept = [row for row in kept if row[0] >= self._least]
        self._rows, self._known = kept, Counter(kept)

    def forget(self, asked: float) -> None:
        """Rows leave as keys go on, not by the clock."""

    def token(self) -> dict[str, Any]:
        """The highest key, the least one that is remembered, and the rows of the overlap by key."""
        rows: dict[Any, bytes] = {}
        for key, row in self._rows:
            rows[key] = rows.get(key, b"") + row
        known = [[key, b64encode(found).decode()] for key, found in rows.items()]
        return {"high": self.high, "least": self._least, "rows": known}

    def _restore(self, token: dict[str, Any]) -> None:
        self.high, self._least = token["high"], token["least"]
        for key, found in token["rows"]:
            data = b64decode(found)
            self._rows += [(key, data[at : at + 8]) for at in range(0, len(data), 8)]
        self._known = Counter(self._rows)


def earlier(key: Any, overlap: Overlap) -> Any:  # noqa: ANN401 - a number or a text
    """The key that lies the overlap before a time, in the same form; of a number of seconds, milliseconds … too.

    Examples
    --------
    >>> earlier("2026-01-05T00:00:30.250Z", Overlap(seconds=60)), earlier(1767571230250, Overlap(seconds=60))
    ('2026-01-04T23:59:30.250Z', 1767571170250)
    """
    if isinstance(key, int | float):
        unit = next((unit for limit, unit in _UNITS if abs(key) < limit), 1e9)
        return key - (overlap.keys if overlap.keys is not None else int(overlap.seconds * unit))
    try:
        moment = datetime.fromisoformat(key) - timedelta(seconds=overlap.seconds)
    except (ValueError, OverflowError):
        return key
    if len(key) <= 10:
        return moment.date().isoformat()
    digits = key.partition(".")[2]
    places = len(digits) - len(digits.lstrip("0123456789"))
    fraction = f".{moment.microsecond:06}"[: places + 1] if places else ""
    zone = key[19 + (places + 1 if places else 0) :]
    return moment.replace(tzinfo=None, microsecond=0).isoformat(key[10]) + fraction + zone


def row_print(values: Sequence[object]) -> bytes:
    """Eight bytes that tell a row from others.

    Examples
    --------
    >>> row_print((1, "ann")) == row_print((1, "ann")), row_print((1, "ann")) == row_print((1, "bob"))
    (True, False)
    """
    return blake2b(repr(tuple(values)).encode("utf-8", "surrogatepass"), digest_size=8).digest()


def prints(rows: pl.DataFrame, of: Callable[[Sequence[object]], bytes] = row_print) -> pl.Series:
    """What tells each of some rows from others."""
    return pl.Series("row", [of(row) for row in rows.rows()], dtype=pl.Binary)
