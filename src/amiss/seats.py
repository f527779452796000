"""Who is in memory: each user there has a seat, a small number in place of the code; the others are away.

Codes are for ever, and the store knows no other numbers. Seats are given in the order in which users come, and anew
when some of them go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

SEAT_SCHEMA: Final = {"user": pl.UInt32(), "due": pl.Boolean()}
SETTLED_SCHEMA: Final = {"settled": pl.Int64(), "known": pl.Int64()}

Codes = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]

_NONE: Final = -1


class Seats:
    """The users in memory.

    Memory: 4 bytes for each user who ever was there, 4 for each who is.

    Attributes
    ----------
    due
        Seats of users who were away, and whose past is yet to be brought back.
    settled
        Seats that were taken when the last day closed.
    known
        Codes below this were there when users were last put away: who comes with one of them now comes back.

    Examples
    --------
    >>> seats = Seats()
    >>> seats.take(np.array([7, 9, 7], dtype=np.uint32))
    array([0, 1, 0], dtype=uint32)
    >>> away = seats.keep(np.array([1]))
    >>> len(seats), seats.find(7), seats.find(9)
    (1, None, 0)
    >>> seats.take(np.array([7], dtype=np.uint32)), seats.due
    (array([1], dtype=uint32), {1})
    """

    def __init__(self, codes: Iterable[int] = ()) -> None:
        self._codes: Codes = np.zeros(0, dtype=np.uint32)
        self._seats: npt.NDArray[np.int32] = np.zeros(0, dtype=np.int32)
        self._size = 0
        self.due: set[int] = set()
        self.settled = self.known = 0
        self._give(np.fromiter(codes, dtype=np.uint32))

    def __len__(self) -> int:
        return self._size

    @property
    def codes(self) -> Codes:
        """The codes of users by seat: (n,)."""
        return self._codes[: self._size]

    def take(self, codes: Codes) -> Codes:
        """The seats of users (n,), new ones in the order in which they come."""
        self._grow(int(codes.max(initial=0)) + 1)
        seats = self._seats[codes]
        if (new := codes[seats == _NONE]).size:
            fresh, at = np.unique(new, return_index=True)
            self._give(fresh[np.argsort(at)])
            seats = self._seats[codes]
        return seats.astype(np.uint32)

    def of(self, code: int) -> int:
        """The seat of one user, a new one where there is none."""
        seat = self.find(code)
        if seat is None:
            self._give(np.array([code], dtype=np.uint32))
        return self._size - 1 if seat is None else seat

    def find(self, code: int) -> int | None:
        """The seat of one user, or None."""
        seat = int(self._seats[code]) if code < len(self._seats) else _NONE
        return None if seat == _NONE else seat

    def seated(self, frame: pl.DataFrame) -> pl.DataFrame:
        """A frame with seats for the codes of users, new ones where there are none."""
        return frame.with_columns(pl.Series("user", self.take(frame["user"].to_numpy())))

    def chosen(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows of those who have a seat, with that for the code."""
        codes = frame["user"].to_numpy()
        self._grow(int(codes.max(initial=0)) + 1)
        return _renumbered(frame, self._seats[codes])

    def coded(self, frame: pl.DataFrame) -> pl.DataFrame:
        """A frame with the codes of users for their seats."""
        return frame.with_columns(pl.Series("user", self.codes[frame["user"].to_numpy()]))

    def are_home(self, codes: Codes) -> Mask:
        """Which users are in memory with all their past: (n,)."""
        self._grow(int(codes.max(initial=0)) + 1)
        home = np.append(np.ones(self._size, dtype=np.bool_), False)
        home[list(self.due)] = False
        found: Mask = home[self._seats[codes]]
        return found

    def are_back(self, seats: Codes) -> Mask:
        """Which of these users came back since the last day closed: (n,)."""
        back: Mask = (seats >= self.settled) & (self.codes[seats] < self.known)
        return back

    def settle(self) -> None:
        """Note that a day has closed."""
        self.settled = self._size

    def keep(self, kept: npt.NDArray[np.int64]) -> Callable[[pl.DataFrame], pl.DataFrame]:
        """Keep those in some seats, in rising order, and put the others away; what does the same to tables of seats."""
        new = np.full(self._size, _NONE, dtype=np.int32)
        new[kept] = np.arange(len(kept), dtype=np.int32)
        self.known = max(self.known, int(self.codes.max(initial=0)) + 1)
        self.due = {int(new[seat]) for seat in self.due if new[seat] != _NONE}
        self._codes = self._codes[kept]
        self._seats[:] = _NONE
        self._size = 0
        self._place(self._codes.copy())
        self.settle()
        return lambda frame: _renumbered(frame, new[frame["user"].to_numpy()])

    def tables(self) -> dict[str, pl.DataFrame]:
        """All of it as tables."""
        due = np.zeros(self._size, dtype=np.bool_)
        due[list(self.due)] = True
        settled = [(self.settled, self.known)]
        return {
            "seats": pl.DataFrame({"user": self.codes, "due": due}, schema=SEAT_SCHEMA),
            "settled": pl.DataFrame(settled, schema=SETTLED_SCHEMA, orient="row"),
        }

    @classmethod
    def restored(cls, tables: Mapping[str, pl.DataFrame]) -> Seats:
        """What :meth:`tables` gave."""
        seats = cls()
        seats._place(tables["seats"]["user"].to_numpy())
        seats.due = set(np.flatnonzero(tables["seats"]["due"].to_numpy()).tolist())
        seats.settled, seats.known = tables["settled"].row(0)
        return seats

    def _give(self, codes: Codes) -> None:
        """Give seats to users who have none."""
        first = self._size
        self._place(codes)
        self.due.update((first + np.flatnonzero(codes < self.known)).tolist())

    def _place(self, codes: Codes) -> None:
        """Put users into the next seats."""
        first, self._size = self._size, self._size + len(codes)
        if self._size > len(self._codes):
            more = max(self._size, len(self._codes) * 5 // 4) - len(self._codes)
            self._codes = np.append(self._codes, np.zeros(more, dtype=np.uint32))
        self._codes[first : self._size] = codes
        self._grow(int(codes.max(initial=0)) + 1)
        self._seats[codes] = np.arange(first, self._size, dtype=np.int32)

    def _grow(self, codes: int) -> None:
        """Make room for the codes below `codes`."""
        if codes > len(self._seats):
            more = max(codes, len(self._seats) * 5 // 4) - len(self._seats)
            self._seats = np.append(self._seats, np.full(more, _NONE, dtype=np.int32))


def _renumbered(frame: pl.DataFrame, seats: npt.NDArray[Any]) -> pl.DataFrame:
    """A frame with these seats of users, without the rows of those who have none."""
    if not (seats == _NONE).any():
        return frame.with_columns(pl.Series("user", seats.astype(np.uint32)))
    there = seats != _NONE
    return frame.filter(pl.Series(there)).with_columns(pl.Series("user", seats[there].astype(np.uint32)))
