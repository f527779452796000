"""The groups of a store: how those who were asked for stand, so that they keep their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import polars as pl

from amiss.store.labelling import Labelling

_NUMBER: Final = 0


class Grouping(Labelling):
    """The groups of a store, as tables. Any process may ask for groups and keep how they stand."""

    def groups(self) -> dict[str, pl.DataFrame]:
        """What was kept of groups, by name; nothing where nobody has asked for them."""
        with self.view():
            names = self._rows("SELECT name FROM frames WHERE kind = 'groups' AND part = 0 ORDER BY name")
            return {row["name"]: self._whole_frame("groups", _NUMBER, row["name"]) for row in names}

    def groups_version(self) -> int:
        """A number that grows whenever tables of groups are kept."""
        return int(self._one("SELECT ifnull(max(id), 0) FROM frames WHERE kind = 'groups'"))

    def put_groups(self, tables: Mapping[str, pl.DataFrame], *, dropped: Iterable[str] = (), version: int) -> bool:
        """Keep tables instead of those of these names, and drop some; whether these were still of that version.

        Where somebody else has kept groups meanwhile, nothing is changed.
        """
        with self.begin():
            if self.groups_version() != version:
                return False
            for name in (*tables, *dropped):
                self._drop_frames("groups", _NUMBER, _NUMBER, name)
            for name, table in tables.items():
                self._put_frame("groups", _NUMBER, name, table)
        return True
