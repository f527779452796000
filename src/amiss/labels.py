"""Named classes of users: who is called what, by a file of labels or by what a column of the log says.

A label is a fact that a person or a table gives, such as "user 64 is staff". What follows for users without one, see
:mod:`amiss.likeness`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from amiss.errors import EventError, SourceError, UsageError, nearest
from amiss.escape import label
from amiss.events import Quarantine
from amiss.fields import texts

LABEL_SCHEMA: Final[dict[str, pl.DataType]] = {
    "user": pl.String(),
    "label": pl.String(),
    "author": pl.String(),
    "time": pl.String(),
}
"""Labels: who, what, and where that is known, who said so and when."""

_WHOLE: Final = r"^(-?\d+)\.0+$"


@dataclass(frozen=True)
class Condition:
    """What a column must say, such as `name=Staff`; several values are parted by bars: `name=Staff|Guests`.

    Examples
    --------
    >>> condition = Condition.parse("name=Staff")
    >>> condition.column, condition.values
    ('name', ('Staff',))
    >>> condition.holds(pl.Series("name", ["Ada", "Staff", None])).to_list()
    [False, True, False]
    """

    column: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Condition:
        """The condition that a text such as `name=Staff` says.

        Raises
        ------
        UsageError
            If it says none.
        """
        column, sign, values = text.partition("=")
        chosen = tuple(value.strip() for value in values.split("|") if value.strip())
        if not (sign and column.strip() and chosen):
            raise UsageError(f'expected a column and what it says, such as "name=Staff". Found: "{text}"')
        return cls(column.strip(), chosen)

    def holds(self, column: pl.Series) -> pl.Series:
        """Where the column says so: (n,) booleans."""
        return spelled(column).is_in(self.values).fill_null(value=False)


@dataclass(frozen=True)
class Labels:
    """Who is called what (`LABEL_SCHEMA`), a row a user; and the rows of a file that say nothing.

    Examples
    --------
    >>> labels = Labels.of([("64", "staff"), ("7", "student"), ("64", "student")])
    >>> labels.by_user(), labels.names
    ({'7': 'student', '64': 'student'}, ['student'])
    """

    table: pl.DataFrame
    quarantine: Quarantine = field(default_factory=Quarantine)

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> Labels:
        """Labels of (user, label) pairs; the last one of a user holds."""
        rows = [(user, name, None, None) for user, name in pairs]
        return cls(_last(pl.DataFrame(rows, schema=LABEL_SCHEMA, orient="row")))

    @property
    def names(self) -> list[str]:
        """The different labels, in order."""
        return sorted(self.table["label"].unique())

    def by_user(self) -> dict[str, str]:
        """The label of each user."""
        return dict(self.table.select("user", "label").iter_rows())


def read_labels(file: str | Path) -> Labels:
    """The labels of a CSV file with the columns `user,label` and maybe `author,time`; the last one of a user holds.

    Rows without a user or a label are quarantined.

    Raises
    ------
    SourceError
        If the file cannot be read.
    EventError
        If a column is missing.
    """
    found = read_csv(file)
    require(found, ("user", "label"), str(file))
    chosen = [
        spelled(found[name]) if name in found.columns else pl.repeat(None, len(found), dtype=pl.String, eager=True)
        for name in LABEL_SCHEMA
    ]
    table = pl.DataFrame([each.alias(name) for name, each in zip(LABEL_SCHEMA, chosen, strict=True)])
    good = pl.col("user").is_not_null() & pl.col("label").is_not_null()
    quarantine = Quarantine()
    for line, row in enumerate(table.rows(), start=2):
        if row[0] is None or row[1] is None:
            missing = "user" if row[0] is None else "label"
            quarantine.add(str(file), line, f'column "{missing}" is empty', ",".join(each or "" for each in row))
    return Labels(_last(table.filter(good)), quarantine)


def read_csv(file: str | Path) -> pl.DataFrame:
    """The table of a CSV file, all columns as texts; an empty cell is null.

    Raises
    ------
    SourceError
        If it cannot be read, or is no table.
    """
    place = Path(file)
    try:
        return pl.read_csv(place.read_bytes(), infer_schema=False)
    except OSError as error:
        near = nearest(place.name, _beside(place))
        raise SourceError(f"{label(str(file), 120)} cannot be read: {error.strerror}.{near}") from error
    except pl.exceptions.PolarsError as error:
        raise SourceError(f"{label(str(file), 120)} is no CSV table with a header: {error}") from error


def require(table: pl.DataFrame, columns: Iterable[str], where: str) -> None:
    """Refuse a table that lacks columns; all that are missing are named, each with the nearest one.

    Raises
    ------
    EventError
        If a column is missing.

    Examples
    --------
    >>> require(pl.DataFrame({"end_date": []}), ["end_data"], "cohorts.csv")
    Traceback (most recent call last):
    amiss.errors.EventError: cohorts.csv has no column "end_data". Found: end_date. Did you mean "end_date"?
    """
    found = ", ".join(label(name) for name in table.columns) or "no columns"
    problems = [
        f'{label(where, 120)} has no column "{label(name)}". Found: {found}.{nearest(name, table.columns)}'
        for name in dict.fromkeys(columns)
        if name not in table.columns
    ]
    if problems:
        raise EventError("\n".join(problems))


def spelled(column: pl.Series) -> pl.Series:
    """A column of keys or values as texts, so that `28`, `28.0` and ` 28` are the same; empty ones are null.

    Examples
    --------
    >>> spelled(pl.Series([28.0, None])).to_list(), spelled(pl.Series(["28.0", " Staff", ""])).to_list()
    (['28', None], ['28', 'Staff', None])
    """
    written = texts(column.to_frame("c"), "c").str.strip_chars().str.replace(_WHOLE, "$1")
    return written.set((written == "").fill_null(value=False), None).alias(column.name)


def _last(table: pl.DataFrame) -> pl.DataFrame:
    """The last row of each user."""
    return table.unique("user", keep="last", maintain_order=True)


def _beside(place: Path) -> list[str]:
    """The names of files in the folder of one."""
    try:
        return [each.name for each in place.parent.iterdir()]
    except OSError:
        return []
