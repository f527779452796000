"""Named classes of users: who is called what, by a file of labels or by what a column of the log says.

A label is a fact that a person or a table gives, such as "user 64 is staff". What follows for users without one, see
:mod:`amiss.likeness`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from amiss.errors import EventError, SourceError, UsageError, nearest
from amiss.escape import label
from amiss.events import Quarantine
from amiss.fields import texts
from amiss.times import parse_text

LABEL_SCHEMA: Final[dict[str, pl.DataType]] = {
    "user": pl.String(),
    "label": pl.String(),
    "author": pl.String(),
    "time": pl.Datetime("us", "UTC"),
}
"""Labels: who, what, and where that is known, who said so and when."""

LABEL_COLUMNS: Final[dict[str, pl.DataType]] = {
    "label": pl.String(),
    "label_of": pl.String(),
    "with_label": pl.Int64(),
    "labelled": pl.Int64(),
    "other_labels": pl.String(),
}
"""The labels of a group and of its members, see :func:`of_groups`."""

_FIRST: Final = datetime.min.replace(tzinfo=UTC)

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


def read_labels(file: str | Path, subject: str = "user") -> Labels:
    """The labels of a CSV file with the columns `user,label` and maybe `author,time`; the latest one of a user holds.

    Rows without a user or a label are quarantined, and such with a time that is none. So are rows that call a user two
    things at once: with the same time, or without any.

    Parameters
    ----------
    subject
        The column with what is labelled, such as `group`; it stands as `user` in what comes back.

    Raises
    ------
    SourceError
        If the file cannot be read.
    EventError
        If a column is missing.

    Examples
    --------
    >>> import tempfile
    >>> rows = ["user,label,time", "ann,bot,2026-01-05", "ann,buyer,2026-01-09", "bob,bot,", "bob,buyer,"]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "labels.csv"
    ...     _ = file.write_text(chr(10).join(rows))
    ...     labels = read_labels(file)
    >>> labels.by_user(), labels.quarantine.samples[0].reason
    ({'ann': 'buyer'}, 'labelled "bot" here and "buyer" in line 5 at the same time')
    """
    history, quarantine = read_history(file, subject)
    return Labels(_last(history.sort("time", maintain_order=True, nulls_last=False)), quarantine)


def read_history(
    file: str | Path, subject: str = "user", *, now: datetime | None = None
) -> tuple[pl.DataFrame, Quarantine]:
    """All labels of a CSV file (`LABEL_SCHEMA`), as :func:`read_labels` reads them, and the rows that say nothing.

    With `now`, so do labels of later: nothing that is said from now on could take their place.
    """
    found = read_csv(file)
    require(found, (subject, "label"), str(file))
    names = [subject if name == "user" else name for name in LABEL_SCHEMA]
    chosen = [
        spelled(found[name]) if name in found.columns else pl.repeat(None, len(found), dtype=pl.String, eager=True)
        for name in names
    ]
    texts_ = pl.DataFrame([each.alias(name) for name, each in zip(LABEL_SCHEMA, chosen, strict=True)])
    times = pl.Series([_time(each) for each in texts_["time"]], dtype=LABEL_SCHEMA["time"])
    table = texts_.with_columns(text=pl.col("time"), time=times).with_row_index("line", 2)
    quarantine, good = Quarantine(), []
    conflicts = _conflicts(table)
    for row in table.iter_rows(named=True):
        reason = _mistake(row, subject, now) or conflicts.get(row["line"])
        good.append(reason is None)
        if reason is not None:
            written = (row["user"], row["label"], row["author"], row["text"])
            quarantine.add(str(file), row["line"], reason, ",".join(each or "" for each in written))
    return table.filter(pl.Series(good, dtype=pl.Boolean)).select(*LABEL_SCHEMA), quarantine


def _time(text: str | None) -> datetime | None:
    """The time that a text says; the first of all where it is none."""
    return None if text is None else parse_text(text) or _FIRST


def _mistake(row: dict[str, Any], subject: str, now: datetime | None) -> str | None:
    """Why a row of labels says nothing, if it does not."""
    for name in ("user", "label"):
        if row[name] is None:
            return f'column "{subject if name == "user" else name}" is empty'
    if row["time"] == _FIRST:
        return f'column "time" is no time: "{label(row["text"], 40)}"'
    is_late = now is not None and row["time"] is not None and row["time"] > now
    return f'column "time" lies in the future: "{label(row["text"], 40)}"' if is_late else None


def _conflicts(table: pl.DataFrame) -> dict[int, str]:
    """By line, why a row contradicts another: another label of the same user at the same time."""
    sound = table.filter(pl.col("user").is_not_null() & pl.col("label").is_not_null())
    both = sound.group_by("user", "time", maintain_order=True).agg("line", "label")
    found = {}
    for lines, names in both.filter(pl.col("label").list.n_unique() > 1).select("line", "label").iter_rows():
        for line, name in zip(lines, names, strict=True):
            other = next(at for at, each in enumerate(names) if each != name)
            found[line] = (
                f'labelled "{label(name)}" here and "{label(names[other])}" in line {lines[other]} at the same time'
            )
    return found


def of_groups(groups: pl.DataFrame, members: pl.DataFrame, named: Mapping[int, str]) -> pl.DataFrame:
    """What groups are called: by a label of their own, else by the one that most of their labelled members have.

    Parameters
    ----------
    groups : (g, ≥1) column `id`
    members : (u, ≥3) columns `user`, `group`, `label`
        `label` is null where a user has none.
    named
        Groups with a label of their own, by number.

    Returns
    -------
    groups : (g, ≥6)
        As given, with `label`, null where there is none; whose label that is (`label_of`: group or members); how many
        members have that one (`with_label`), how many any (`labelled`); and the `other_labels` with their counts. Of
        labels that equally many have the first by name is taken.

    Examples
    --------
    >>> users = pl.DataFrame({"user": list("abcd"), "group": [1, 1, 1, 2], "label": ["bot", "bot", "buyer", None]})
    >>> of_groups(pl.DataFrame({"id": [1, 2]}), users, {2: "staff"}).rows()
    [(1, 'bot', 'members', 2, 3, 'buyer 1'), (2, 'staff', 'group', 0, 0, '')]
    """
    counted = members.filter(pl.col("label").is_not_null()).group_by("group", "label").agg(count=pl.len())
    by_group: dict[int, dict[str, int]] = {}
    for group, name, count in counted.sort("count", "label", descending=[True, False]).iter_rows():
        by_group.setdefault(group, {})[name] = count
    rows = [_of_group(named.get(group), by_group.get(group, {})) for group in groups["id"].to_list()]
    return groups.hstack(pl.DataFrame(rows, schema=LABEL_COLUMNS, orient="row"))


def _of_group(own: str | None, counts: Mapping[str, int]) -> tuple[str | None, str | None, int, int, str]:
    """What a group is called, by its own label and those of its members, the most common first."""
    name = own if own is not None else next(iter(counts), None)
    of = None if name is None else "members" if own is None else "group"
    others = "; ".join(f"{other} {count}" for other, count in counts.items() if other != name)
    return name, of, counts.get(name or "", 0), sum(counts.values()), others


def said_of_group(row: Mapping[str, Any], width: int = 24) -> str:
    """The label of a group in words, by its row of :func:`of_groups`, itself no wider; empty where it has none.

    Examples
    --------
    >>> row = {"label": "bot", "label_of": "members", "with_label": 12, "labelled": 14, "other_labels": "buyer 2"}
    >>> said_of_group(row), said_of_group(row | {"label_of": "group"})
    ('bot 12 of 14 labelled; buyer 2', 'bot as a group; 12 of 14 labelled; buyer 2')
    """
    if row["label"] is None:
        return ""
    name = label(row["label"], width)
    own = [] if row["label_of"] == "members" else [f"{name} as a group"]
    members = f"{row['with_label']:,} of {row['labelled']:,} labelled"
    counted = [] if not row["labelled"] else [members if own else f"{name} {members}"]
    others = [label(row["other_labels"], 200)] if row["other_labels"] else []
    return "; ".join([*own, *counted, *others])


def called(row: Mapping[str, Any]) -> str:
    """The label of a group in short, with how many of all members have it where they gave it; empty without one.

    Examples
    --------
    >>> row = {"label": "bot", "label_of": "members", "with_label": 12, "members": 340}
    >>> called(row), called(row | {"label_of": "group"})
    ('bot (12 of 340)', 'bot')
    """
    if row["label"] is None:
        return ""
    count = f" ({row['with_label']:,} of {row['members']:,})" if row["label_of"] == "members" else ""
    return f"{label(row['label'], 24)}{count}"


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
