"""Logins as vectors: packed into the two numbers that counts hold, and as points for estimators."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from amiss.baseline import Floats, Ints
from amiss.sessions import Events

Vector = tuple[int, int]
"""A login as it is counted: `given` and `value`, of which :func:`unpacked` gives the parts."""

HOURS: Final = 24
COUNTRIES: Final = 8192
"""Countries are told apart by their codes modulo this."""

ROWS, COLUMNS = 360, 720
NOWHERE: Final = ROWS * COLUMNS
"""The cell of an unknown place; others are half a degree high and wide."""

MOST_DEVICES: Final = 2**31 // HOURS - 1
EARTH: Final = 6.371
"""The radius of the earth in 1,000 km, the unit in which places are apart."""


def packed(events: Events) -> tuple[Ints, Ints]:
    """`given` (place and country) and `value` (device and hour of the day) of each event: (n,) each.

    Examples
    --------
    >>> import polars as pl
    >>> from amiss.sessions import GROUPED_SCHEMA
    >>> event = pl.DataFrame([(1, 0, 7, 0, -1, -1)], schema=GROUPED_SCHEMA, orient="row")
    >>> login = {"country": 3, "device": 5, "hour": 26, "latitude": 48.2, "longitude": 16.4}
    >>> unpacked(*packed(Events.of(event.with_columns(**{name: pl.lit(value) for name, value in login.items()}))))
    Parts(cell=array([198752]), country=array([3]), device=array([5]), hour=array([2]))
    """
    columns = events.context
    north, east = columns["latitude"].astype(np.float64), columns["longitude"].astype(np.float64)
    known = np.isfinite(north) & np.isfinite(east)
    north, east = np.where(known, north, 0.0), np.where(known, east, 0.0)
    row = np.clip(np.floor((north + 90.0) * 2.0), 0, ROWS - 1).astype(np.int64)
    column = np.floor(east * 2.0).astype(np.int64) % COLUMNS
    cell = np.where(known, row * COLUMNS + column, NOWHERE)
    device = np.minimum(columns["device"].astype(np.int64), MOST_DEVICES)
    given = cell * COUNTRIES + columns["country"].astype(np.int64) % COUNTRIES
    return given, device * HOURS + columns["hour"].astype(np.int64) % HOURS


class Parts(NamedTuple):
    """What logins consist of: (n,) each; `country` modulo `COUNTRIES`."""

    cell: Ints
    country: Ints
    device: Ints
    hour: Ints


def unpacked(given: npt.ArrayLike, value: npt.ArrayLike) -> Parts:
    """The parts of logins as they are counted."""
    place, thing = np.asarray(given, dtype=np.int64), np.asarray(value, dtype=np.int64)
    return Parts(place // COUNTRIES, place % COUNTRIES, thing // HOURS, thing % HOURS)


class Encoding(NamedTuple):
    """How logins of a user become points, by those that a model is trained with.

    An hour is a point on a circle of radius 1, a place one on a globe with 1,000 km as the unit; an unknown place
    stands amid the known. Two countries are as far apart as any two, and so are devices: 1. All that are not among
    those trained with are one more.
    """

    countries: Ints
    devices: Ints
    middle: Floats

    @classmethod
    def of(cls, parts: Parts) -> Encoding:
        """The encoding by some logins."""
        known = parts.cell[parts.cell != NOWHERE]
        middle = _globe(known).mean(axis=0) if len(known) else np.zeros(3)
        return cls(np.unique(parts.country), np.unique(parts.device), middle)

    def points(self, parts: Parts) -> Floats:
        """A row for each login."""
        angle = (parts.hour + 0.5) * (2.0 * np.pi / HOURS)
        place = np.where((parts.cell != NOWHERE)[:, None], _globe(parts.cell), self.middle)
        clock = np.column_stack([np.sin(angle), np.cos(angle)])
        return np.hstack([clock, place, _one_of(parts.country, self.countries), _one_of(parts.device, self.devices)])


def _globe(cell: Ints) -> Floats:
    """The middles of cells as points in space."""
    north = np.radians((cell // COLUMNS + 0.5) / 2.0 - 90.0)
    east = np.radians((cell % COLUMNS + 0.5) / 2.0)
    return EARTH * np.column_stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)])


def _one_of(codes: Ints, known: Ints) -> Floats:
    """A column for each known code and one for all others, with √½ in one of them."""
    same = codes[:, None] == known
    return np.column_stack([same, ~same.any(axis=1)]) * math.sqrt(0.5)


def parts(vectors: list[Vector]) -> Parts:
    """The parts of logins in a list."""
    return unpacked(*np.array(vectors, dtype=np.int64).reshape(-1, 2).T)
