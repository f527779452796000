"""Strings ↔ dense codes: 0, 1, 2 … in order of first appearance.

Everything behind the sources works on codes. A vocabulary only ever grows, so a code once given keeps
its meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.errors import EventError, nearest
from amiss.events import CODED_SCHEMA, OUTCOMES

Codes = npt.NDArray[np.uint32]
"""Codes of a vocabulary, one per event."""

UNKNOWN: Final = 0
"""The code of the empty text in `Coding.values`: nothing is known."""


class Vocabulary:
    """Strings and their codes 0..n-1, in order of first appearance; it only ever grows.

    Memory: the texts once, and about 30 bytes for each.

    Examples
    --------
    >>> users = Vocabulary(["ann"])
    >>> users.encode(pl.Series(["bob", "ann", "bob"]))
    array([1, 0, 1], dtype=uint32)
    >>> len(users), users.find("bob"), users.find("eve")
    (2, 1, None)
    >>> users.decode(np.array([1, 0])).to_list()
    ['bob', 'ann']
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._categories = pl.Categories.random("amiss", pl.UInt32())
        self._dtype = pl.Categorical(self._categories)
        self._keepalive = pl.Series([], dtype=self._dtype)  # Polars drops categories that no column uses
        self._size = 0
        self._texts = pl.Series([], dtype=pl.String())
        self.encode(texts if isinstance(texts, pl.Series) else pl.Series(list(texts), dtype=pl.String()))

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"<Vocabulary of {self._size:,} texts>"

    def encode(self, texts: pl.Series) -> Codes:
        """The codes of `texts` (a string column without nulls); new ones are added.

        Raises
        ------
        EventError
            If a text is null; names the first such row.
        """
        if texts.null_count():
            row = texts.is_null().arg_max()
            message = f'column "{texts.name}" must hold a text in every row; row {row} is null. Fill or drop such rows'
            raise EventError(message)
        codes: Codes = texts.cast(pl.String()).rechunk().cast(self._dtype).to_physical().to_numpy()
        if len(codes):
            self._size = max(self._size, int(codes.max()) + 1)
        return codes

    def find(self, text: str) -> int | None:
        """The code of `text`, or None if it was never seen."""
        try:
            return int(self._categories[text])
        except (KeyError, pl.exceptions.PolarsError, UnicodeEncodeError):
            return None

    def code(self, text: str) -> int:
        """The code of a text, a new one where it was never seen.

        Examples
        --------
        >>> Vocabulary(["ann"]).code("bob")
        1
        """
        found = self.find(text)
        return int(self.encode(pl.Series([text], dtype=pl.String()))[0]) if found is None else found

    def decode(self, codes: npt.ArrayLike | pl.Series) -> pl.Series:
        """The texts of `codes`, in their order.

        Raises
        ------
        IndexError
            If a code was never given.
        """
        wanted = np.asarray(codes, dtype=np.int64)
        wrong = wanted[(wanted < 0) | (wanted >= self._size)]
        if wrong.size:
            message = f"code {wrong[0]} is not among the {self._size:,} of this vocabulary"
            raise IndexError(message)
        return self.texts().gather(wanted)

    def text(self, code: int) -> str:
        """The text of one code, without looking at others.

        Raises
        ------
        IndexError
            If the code was never given.

        Examples
        --------
        >>> Vocabulary(["ann", "bob"]).text(1)
        'bob'
        """
        if not 0 <= code < self._size:
            message = f"code {code} is not among the {self._size:,} of this vocabulary"
            raise IndexError(message)
        return str(self._categories[code])

    def since(self, code: int) -> list[str]:
        """The texts from a code on, in order.

        Examples
        --------
        >>> Vocabulary(["ann", "bob", "cat"]).since(1)
        ['bob', 'cat']
        """
        return self._decoded(code).to_list()

    def texts(self) -> pl.Series:
        """All texts, in the order of their codes."""
        if len(self._texts) != self._size:
            self._texts = self._decoded(0)
        return self._texts

    def _decoded(self, code: int) -> pl.Series:
        """The texts from a code on."""
        codes = pl.int_range(code, max(self._size, code), dtype=pl.UInt32(), eager=True)
        return codes.cat.to(self._dtype).cast(pl.String()).alias("")


class Context(Protocol):
    """What needs more of an event than every coded frame holds, such as a detector of odd logins."""

    @property
    def context_schema(self) -> Mapping[str, pl.DataType]:
        """The columns that are needed; those of UInt32 are texts, which get codes."""
        ...

    def context(self, events: pl.DataFrame) -> pl.DataFrame:
        """These columns of an event frame, texts as texts, without nulls; each row follows from its event alone."""
        ...

    def context_of(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same of one event, given by column."""
        ...


@runtime_checkable
class Raw(Protocol):
    """What needs columns of the log as they are, whatever roles they play or none."""

    @property
    def raw_columns(self) -> tuple[str, ...]:
        """Their names; in an event frame `raw.` stands before one that is the name of another column there."""
        ...


class Coding:
    """How event frames become coded frames: the vocabularies, and which columns there are besides those of all.

    Parameters
    ----------
    users, actions, values
        The vocabularies; `values` is that of all texts in columns of contexts.
    contexts
        What adds columns; those that name the same column share it.

    Raises
    ------
    EventError
        If two contexts want a column to be of different types.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> frame = pl.DataFrame(
    ...     {"position": [1], "time": [noon], "user": ["ann"], "action": ["login"], "outcome": ["failure"]}
    ... )
    >>> Coding().encode(frame).select("user", "action", "outcome").row(0)
    (0, 0, 1)
    """

    def __init__(
        self,
        users: Vocabulary | None = None,
        actions: Vocabulary | None = None,
        values: Vocabulary | None = None,
        contexts: Sequence[Context] = (),
    ) -> None:
        self.users = Vocabulary() if users is None else users
        self.actions = Vocabulary() if actions is None else actions
        self.values = Vocabulary() if values is None else values
        self.contexts = tuple(contexts)
        self.context_schema = _context_schema(self.contexts)
        self.schema = CODED_SCHEMA | self.context_schema
        named = (name for each in self.contexts if isinstance(each, Raw) for name in each.raw_columns)
        self.raw = tuple(dict.fromkeys(named))
        """Columns of the log that contexts need as they are; event frames to be coded have these besides roles."""
        self._dtypes = {
            name: pl.Series([], dtype=dtype).to_numpy().dtype for name, dtype in self.context_schema.items()
        }
        if self.contexts and not len(self.values):
            self.values.encode(pl.Series([""]))

    def empty(self) -> pl.DataFrame:
        """A coded frame without events."""
        return pl.DataFrame(schema=self.schema)

    def known(self) -> Known:
        """How many texts there are by now."""
        return Known(len(self.users), len(self.actions), len(self.values))

    def between(self, before: Known, then: Known) -> tuple[list[str], list[str], list[str]]:
        """The texts of each kind that were added in between."""
        users, actions, values = (
            vocabulary.since(first)[: last - first]
            for vocabulary, first, last in zip((self.users, self.actions, self.values), before, then, strict=True)
        )
        return users, actions, values

    def encode(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The coded frame of an event frame; new texts get codes.

        Raises
        ------
        EventError
            If a user or an action is null, or an outcome is not one of `amiss.events.OUTCOMES`.
        """
        columns = {
            "position": frame["position"],
            "time": frame["time"],
            "user": self.users.encode(frame["user"]),
            "action": self.actions.encode(frame["action"]),
            "outcome": _outcome_codes(frame["outcome"]),
        }
        for each in self.contexts:
            columns |= self._coded(each.context(frame))
        return pl.DataFrame(columns, schema=self.schema)

    def context_of(self, event: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        """The columns of contexts for one event, given by column, as they stand in coded frames: one value each."""
        columns: dict[str, npt.NDArray[Any]] = {}
        for each in self.contexts:
            found = each.context_of(event)
            for name, dtype in each.context_schema.items():
                value = self.values.code(found[name]) if dtype == pl.UInt32 else found[name]
                columns[name] = np.array([value], dtype=self._dtypes[name])
        return columns

    def decode(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with texts for codes of users, actions, outcomes, and of contexts."""
        texts = {"user": self.users, "action": self.actions}
        texts |= {name: self.values for name, dtype in self.context_schema.items() if dtype == pl.UInt32}
        named = [vocabulary.decode(frame[name]).alias(name) for name, vocabulary in texts.items()]
        return frame.with_columns(*named, outcome=pl.lit(pl.Series(OUTCOMES)).gather(pl.col("outcome")))

    def _coded(self, context: pl.DataFrame) -> dict[str, pl.Series | Codes]:
        """The columns of a context as they stand in coded frames.

        Texts get codes row by row, so that these do not depend on how a stream is cut.
        """
        columns: dict[str, pl.Series | Codes] = {**context.to_dict()}
        texts = [name for name in context.columns if self.context_schema[name] == pl.UInt32]
        if texts and len(context):
            rows = context.select(pl.concat_list(texts).alias("texts"))["texts"].explode(empty_as_null=True)
            codes = self.values.encode(rows).reshape(len(context), len(texts))
            columns |= {name: np.ascontiguousarray(codes[:, number]) for number, name in enumerate(texts)}
        return columns


class Known(NamedTuple):
    """How many texts of each kind are known."""

    users: int = 0
    actions: int = 0
    values: int = 0


def _context_schema(contexts: Iterable[Context]) -> dict[str, pl.DataType]:
    """The columns of all contexts."""
    schema: dict[str, pl.DataType] = {}
    for each in contexts:
        for name, dtype in each.context_schema.items():
            if name in CODED_SCHEMA or schema.setdefault(name, dtype) != dtype:
                other = schema.get(name, CODED_SCHEMA.get(name))
                raise EventError(f'column "{name}" of events cannot be {dtype}: it is {other} already')
    return schema


def _outcome_codes(outcomes: pl.Series) -> pl.Series:
    """Each outcome's index in OUTCOMES."""
    codes = outcomes.cast(pl.Enum(OUTCOMES), strict=False).to_physical().cast(pl.UInt8())
    if codes.null_count():
        found = outcomes.filter(codes.is_null())[0]
        message = f"outcome must be one of {', '.join(OUTCOMES)}. Found: {found!r}{nearest(str(found), OUTCOMES)}"
        raise EventError(message)
    return codes
