"""The original notebook's grouping: users join the first group whose average profile is near, or found one.

Users come at random. The average of a group is that of up to ten members drawn at random, taken anew with the first
member and with every fourth. The profile drawn first is overwritten by the average that it was the beginning of; the
notebook does so, and without it other groups come out. With the seed 42 and the notebook's log, its table comes out.

Costs grow with users times groups. The result depends on the order in which users first appear and on the seed.

Source
------
The notebook "How to group users and identify outliers in a log stream, based on behaviour", step 3.
"""

from __future__ import annotations

from random import Random
from typing import Final

import numpy as np
import numpy.typing as npt

from amiss.profiles import LIMIT

Floats = npt.NDArray[np.float64]

SEED: Final = 42
DRAWN: Final = 10
"""Members that an average is made of, at most."""
ANEW: Final = 4
"""An average is taken anew with every so many members."""


class Leaders:
    """Groups of users by the averages of their profiles.

    Parameters
    ----------
    limit
        How far a profile may be from an average, in bits (:func:`amiss.profiles.distance`).
    seed
        Where the random numbers begin, on each day anew.

    Attributes
    ----------
    members
        Users by group, those who joined first first. Groups without members are not there; their averages stay.

    Examples
    --------
    >>> leaders = Leaders()
    >>> leaders.day({0: np.array([1.0, 0.0]), 1: np.array([1.5, 0.0]), 2: np.array([1.0, 80.0])})
    >>> sorted(map(sorted, leaders.members.values()))
    [[0, 1], [2]]
    """

    def __init__(self, limit: float = LIMIT, seed: int = SEED) -> None:
        self.limit, self.seed = limit, seed
        self.members: dict[int, list[int]] = {}
        self.group: dict[int, int] = {}
        self._row: dict[int, int] = {}
        self._bits: Floats = np.zeros((0, 0))
        self._shares: Floats = np.zeros((0, 0))
        self._average: list[int] = []

    @property
    def averages(self) -> Floats:
        """The average profile of each group that ever was: (groups, actions)."""
        found: Floats = self._bits[self._average]
        return found

    def day(self, profiles: dict[int, Floats], most: int | None = None) -> None:
        """Group users by their profiles of a day, and users who were away anew by those they had.

        Parameters
        ----------
        profiles
            By user, the bits (actions,) of each action, in the order of the log; later days may have more actions.
        most
            How many users are grouped, drawn at random, as in the notebook; all when left out.
        """
        away = [user for user in self._row if user not in profiles]
        self._take(profiles)
        random = Random(self.seed)  # noqa: S311 - the notebook's draws, nothing secret
        users = [*profiles, *away]
        waiting = random.sample(users, len(users) if most is None else min(most, len(users)))
        while waiting:
            at = random.choice(range(len(waiting)))
            self._place(waiting[at], random)
            del waiting[at]

    def _take(self, profiles: dict[int, Floats]) -> None:
        """Make room for profiles."""
        width = max([self._bits.shape[1], *(len(bits) for bits in profiles.values())])
        wide = np.full((len(self._bits) + len(profiles), width), np.nan)
        wide[: len(self._bits), : self._bits.shape[1]] = self._bits
        for row, (user, bits) in enumerate(profiles.items(), len(self._bits)):
            wide[row, : len(bits)] = bits
            self._row[user] = row
        self._bits, self._shares = wide, _shares(wide)

    def _place(self, user: int, random: Random) -> None:
        """Put a user into the first group that is near, or a new one."""
        from amiss import grouping_kernel as kernel

        self._remove(user)
        average = np.array(self._average, dtype=np.int64)
        group = int(kernel.first_near(self._bits, self._shares, average, self._row[user], self.limit))
        members = self.members.setdefault(group, [])
        members.append(user)
        self.group[user] = group
        if len(members) == 1 or len(members) % ANEW == 0:
            self._draw(group, random)

    def _remove(self, user: int) -> None:
        """Take a user out of their group, and the group away that this empties."""
        group = self.group.pop(user, None)
        if group is not None:
            self.members[group].remove(user)
            if not self.members[group]:
                del self.members[group]

    def _draw(self, group: int, random: Random) -> None:
        """Take the average of a group anew."""
        members = self.members[group]
        drawn = [self._row[members[at]] for at in random.sample(range(len(members)), min(len(members), DRAWN))]
        total = self._bits[drawn[0]].copy()
        for row in drawn[1:]:
            other = self._bits[row]
            total = np.where(np.isnan(total), other, total) + np.where(np.isnan(other), total, other)
        self._bits[drawn[0]] = total / len(drawn)
        self._shares[drawn[0]] = _shares(self._bits[drawn[0]])
        self._average[group : group + 1] = [drawn[0]]


def _shares(bits: Floats) -> Floats:
    """2^-bits; 0 where 2^bits overflows."""
    shares: Floats = np.where(bits < 1024.0, np.exp2(-np.minimum(bits, 1024.0)), np.where(np.isnan(bits), np.nan, 0.0))
    return shares
