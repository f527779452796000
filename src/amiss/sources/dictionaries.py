"""The fast lane of Parquet: texts as dictionaries, so that each distinct value is looked at once.

What the values of a column mean is asked of :mod:`amiss.fields`, as the general reader does, but only for the distinct
ones of a batch; a compiled pass spreads the answers over the rows. Rows that lack something go to the general reader,
which says why.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss import fields
from amiss.blocks import frozen
from amiss.errors import SourceError
from amiss.events import CODED_SCHEMA, OUTCOMES
from amiss.fields import Fields
from amiss.sources.parquet import flat
from amiss.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

LEAST_BYTES: Final = 1 << 20
"""With less to read, loading what is needed takes longer than it saves."""
BATCH_ROWS: Final = 250_000
BUFFER_BYTES: Final = 1 << 20
NO_TIME: Final = -(2**63)
UNKNOWN: Final = OUTCOMES.index("unknown")

Item = TypeVar("Item")
Number = TypeVar("Number", bound=np.generic)


class Column(NamedTuple):
    """A column as its distinct values, in order of first appearance.

    Row i holds what stands at `places[i]` of a dictionary of `size`; the values stand there at `order`.
    """

    values: pl.Series
    order: npt.NDArray[np.int32]
    places: npt.NDArray[np.int32]
    size: int

    def spread(self, values: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """What each row holds, when the distinct values are these."""
        from amiss.sources.dictionaries_kernel import spread

        table = np.zeros(self.size, values.dtype)
        table[self.order] = values
        out = np.empty(len(self.places), values.dtype)
        spread(self.places, frozen(table), out)
        return out


class Known:
    """What the values of a column mean, asked once for each; values have numbers from 1, null has 0.

    Examples
    --------
    >>> known = Known(lambda values: values.str.to_uppercase())
    >>> known.numbers(pl.Series(["bob", None])), known.numbers(pl.Series(["ann", "bob"]))
    (array([1, 0]), array([2, 1]))
    >>> known.meanings.to_list(), known.nothing
    ([None, 'BOB', 'ANN'], array([ True, False, False]))
    """

    def __init__(self, read: Callable[[pl.Series], pl.Series]) -> None:
        self._read = read
        self._raw = Vocabulary()
        self.meanings = read(pl.Series([None], dtype=pl.String))
        self.nothing = self.meanings.is_null().to_numpy()

    def numbers(self, values: pl.Series) -> npt.NDArray[np.int64]:
        """The numbers of the values."""
        numbers = np.zeros(len(values), np.int64)
        there = values.is_not_null().to_numpy()
        before = len(self.meanings)
        numbers[there] = self._raw.encode(values if there.all() else values.drop_nulls()).astype(np.int64) + 1
        fresh = np.flatnonzero(numbers >= before)
        if len(fresh):
            _, first = np.unique(numbers[fresh], return_index=True)
            meanings = self._read(values.gather(fresh[first]))
            self.nothing = np.concatenate([self.nothing, meanings.is_null().to_numpy()])
            self.meanings = pl.concat([self.meanings, meanings])
        return numbers


class Coder:
    """Codes of a vocabulary for the numbers of known values; a text joins it when its first event comes."""

    def __init__(self, known: Known, vocabulary: Vocabulary) -> None:
        self._known = known
        self._vocabulary = vocabulary
        self._codes = np.empty(0, np.int64)

    def codes(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
        """The codes of these numbers, whose order is that of first appearance."""
        meanings = self._known.meanings
        more = np.full(len(meanings) - len(self._codes), -1)
        self._codes = np.concatenate([self._codes, more]) if len(more) else self._codes
        fresh = numbers[self._codes[numbers] < 0]
        if len(fresh):
            self._codes[fresh] = self._vocabulary.encode(meanings.gather(fresh))
        return self._codes[numbers].astype(np.uint32)


@dataclass(frozen=True)
class Batch:
    """Consecutive rows of a file: the events among them by role, their place, and the rows that are none.

    `numbers` belong to the distinct values of the columns; `offsets` says which rows of the batch the events are, None
    if all of them; `rest` are the others, with `offsets` of their own in the column `position`.
    """

    rows: int
    time: pl.Series
    columns: Mapping[str, Column]
    numbers: Mapping[str, npt.NDArray[np.int64]]
    offsets: npt.NDArray[np.int64] | None = None
    rest: pl.DataFrame | None = None


class DictionaryFile:
    """A Parquet file whose texts are read as dictionaries.

    Parameters
    ----------
    path
        Where it is.
    found
        Which column plays which role; each role is one column.
    timezone
        Zone of times that name none.
    """

    def __init__(self, path: str, found: Fields, timezone: str) -> None:
        self._path = path
        self._found = found
        self._timezone = timezone
        self._names = {role: guess.column for role, guess in found.roles.items()}
        self._known = {role: Known(partial(self._meaning, role)) for role in found.roles if role != "time"}
        self._file = _opened(path, list(self._names.values()))

    def is_plain(self) -> bool:
        """Whether all wanted columns are of types that both readers take for the same."""
        names = list(self._names.values())
        file = self._file
        if file is None or len(set(names)) < len(names):
            return False
        paths = [file.schema.column(place) for place in range(len(file.schema))]
        wanted = [column for column in paths if column.path in names]
        if len(wanted) != len(names) or not all(map(_is_common, wanted)):
            return False
        mine = flat(pl.DataFrame(file.schema_arrow.empty_table()))
        other = flat(pl.scan_parquet(self._path, glob=False).collect_schema().to_frame())
        same = all(name in mine and other.schema.get(name) == mine.schema[name] for name in names)
        return same and all(_is_taken(role, mine.schema[name]) for role, name in self._names.items())

    def coded(
        self, users: Vocabulary, actions: Vocabulary, skip: int, position: int
    ) -> Iterator[tuple[pl.DataFrame, Batch]]:
        """The coded frames of the rows from `skip` on, and the batches they are of.

        Reading, and asking what values mean, have a thread each, ahead of who takes the frames.

        Parameters
        ----------
        users, actions
            Grow as new ones appear, in the order of the rows.
        position
            Position of the first row.

        Raises
        ------
        SourceError
            If the file is damaged.
        """
        shared = {"user": users, "action": actions, "outcome": Vocabulary(OUTCOMES)}
        coders = {role: Coder(known, shared[role]) for role, known in self._known.items()}
        for batch in ahead(self._batches(skip)):
            size = len(batch.time)
            offsets = np.arange(size) if batch.offsets is None else batch.offsets
            columns = {"position": offsets + position, "time": batch.time, "outcome": np.full(size, UNKNOWN, np.uint8)}
            for role, coder in coders.items():
                columns[role] = batch.columns[role].spread(coder.codes(batch.numbers[role]))
            yield pl.DataFrame(columns).select(pl.col(name).cast(dtype) for name, dtype in CODED_SCHEMA.items()), batch
            position += batch.rows

    def _batches(self, skip: int) -> Iterator[Batch]:
        from pyarrow import ArrowException

        assert self._file is not None, "who reads a file has asked whether it is plain"
        try:
            for part in ahead(_from_row(self._file, list(self._tops()), skip)):
                yield self._batch(part)
        except (ArrowException, OSError, pl.exceptions.PolarsError) as error:
            raise SourceError(f"{self._path} breaks off or is damaged: {error}") from error

    def _tops(self) -> Iterator[str]:
        """The wanted columns, nested ones whole."""
        assert self._file is not None
        for name in self._file.schema_arrow.names:
            if any(wanted == name or wanted.startswith(f"{name}.") for wanted in self._names.values()):
                yield name

    def _batch(self, part: pa.RecordBatch) -> Batch:
        """The batch that rows make, those that are no events apart."""
        part.validate(full=True)
        columns = _flattened(part)
        raw = {role: columns[name] for role, name in self._names.items()}
        batch, lacking = self._read(raw, part.num_rows)
        if not lacking.any():
            return batch
        bad, offsets = np.flatnonzero(lacking), np.flatnonzero(~lacking)
        kept, _ = self._read({role: array.take(offsets) for role, array in raw.items()}, part.num_rows)
        rest = flat(pl.DataFrame(part.take(bad))).with_columns(pl.Series("position", bad))
        return replace(kept, offsets=offsets, rest=rest)

    def _read(self, raw: Mapping[str, pa.Array], rows: int) -> tuple[Batch, npt.NDArray[np.bool_]]:
        """The batch that columns make, and which of its rows lack something."""
        time = self._times(raw["time"])
        columns = {role: distinct(raw[role]) for role in self._known}
        numbers = {role: self._known[role].numbers(column.values) for role, column in columns.items()}
        lacking = time.is_null().to_numpy()
        for role in ("user", "action"):
            nothing = self._known[role].nothing[numbers[role]]
            if nothing.any():
                lacking = lacking | columns[role].spread(nothing)
        return Batch(rows, time, columns, numbers), lacking

    def _times(self, array: pa.Array) -> pl.Series:
        """Times row by row; texts by their distinct values."""
        if not _is_text(array):
            return self._meaning("time", pl.Series(array))
        column = distinct(array)
        times = self._meaning("time", column.values)
        micros = column.spread(times.to_physical().fill_null(NO_TIME).to_numpy())
        return pl.Series(micros).replace(NO_TIME, None).cast(CODED_SCHEMA["time"])

    def _meaning(self, role: str, values: pl.Series) -> pl.Series:
        name = self._names[role]
        return fields.values_of(values.rename(name).to_frame(), role, self._found, self._timezone)


def _opened(path: str, names: Sequence[str]) -> pq.ParquetFile | None:
    """The file, these columns to be read as dictionaries if they are texts (Arrow cannot do so within records).

    None if Arrow cannot open the file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        known = pq.read_metadata(path)
        leaves = {known.schema.column(place).path for place in range(known.num_columns)}
        texts = leaves.intersection(names, known.schema.to_arrow_schema().names)
        return pq.ParquetFile(
            path, metadata=known, read_dictionary=list(texts), buffer_size=BUFFER_BYTES, pre_buffer=False
        )
    except (pa.ArrowException, OSError):
        return None


def _is_common(column: pq.ColumnSchema) -> bool:
    """Whether a column is one of texts, whole numbers, truth values or times that all write and read alike."""
    kind = column.logical_type.type
    physical = {"STRING": ("BYTE_ARRAY",), "NONE": ("BOOLEAN", "INT32", "INT64")}.get(kind, ("INT32", "INT64"))
    known = kind in ("STRING", "NONE", "INT", "TIMESTAMP", "DATE")
    return known and column.physical_type in physical and column.max_repetition_level == 0


def _is_taken(role: str, dtype: pl.DataType) -> bool:
    """Whether columns of a type can be read by distinct values, each by itself."""
    simple = dtype == pl.String or dtype.is_integer()
    if role == "time":
        return simple or dtype in (pl.Datetime, pl.Date)
    return simple or dtype == pl.Boolean


def _from_row(file: pq.ParquetFile, names: list[str], skip: int) -> Iterator[pa.RecordBatch]:
    """Record batches from row `skip` on; row groups before it are not read."""
    counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    ends = np.cumsum(counts)
    groups = np.flatnonzero(ends > skip).tolist()
    if groups:
        skip -= int(ends[groups[0]]) - counts[groups[0]]
    for part in file.iter_batches(BATCH_ROWS, row_groups=groups, columns=names):
        rest = part.slice(min(skip, part.num_rows))
        skip -= part.num_rows - rest.num_rows
        if rest.num_rows:
            yield rest


def _flattened(part: pa.RecordBatch) -> Mapping[str, pa.Array]:
    """The columns by name, nested ones as `user.name`."""
    import pyarrow as pa

    rows = pa.Table.from_batches([part])
    while any(pa.types.is_struct(kind) for kind in rows.schema.types):
        rows = rows.flatten()
    return {name: column.chunk(0) for name, column in zip(rows.column_names, rows.columns, strict=True)}


def _is_text(array: pa.Array) -> bool:
    from pyarrow import types

    kind = array.type
    return bool(types.is_dictionary(kind) or types.is_string(kind) or types.is_large_string(kind))


def distinct(array: pa.Array) -> Column:
    """An Arrow array as distinct values in order of first appearance, null among them where it occurs.

    Examples
    --------
    >>> import pyarrow as pa
    >>> column = distinct(pa.array(["bob", "ann", None, "bob"]))
    >>> column.values.to_list(), column.spread(np.array([10, 20, 0])).tolist()
    (['bob', 'ann', None], [10, 20, 0, 10])
    """
    import pyarrow as pa

    from amiss.sources.dictionaries_kernel import appearance

    coded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    size = len(coded.dictionary) + 1
    filled = coded.indices.fill_null(size - 1) if coded.indices.null_count else coded.indices
    places = frozen(filled.to_numpy(zero_copy_only=False).astype(np.int32, copy=False))
    order = np.empty(size, np.int32)
    order = order[: appearance(places, np.zeros(size, np.bool_), order)]
    wanted = pa.array(order, mask=order == size - 1)
    return Column(pl.Series(coded.dictionary.take(wanted)), order, places, size)


def ahead(items: Iterator[Item], count: int = 2) -> Iterator[Item]:
    """The items, so many of them made in another thread before they are asked for.

    Examples
    --------
    >>> list(ahead(iter("abc")))
    ['a', 'b', 'c']
    """
    pool = ThreadPoolExecutor(1, "amiss-ahead")
    try:
        coming = deque(pool.submit(next, items, None) for _ in range(count))
        while (item := coming.popleft().result()) is not None:
            coming.append(pool.submit(next, items, None))
            yield item
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
