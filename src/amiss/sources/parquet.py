"""Rows of Parquet files in batches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from amiss.errors import SourceError


def parquet_head(path: str, rows: int) -> pl.DataFrame:
    """The first rows, nested columns flattened to dotted names."""
    try:
        return flat(_scan(path).head(rows).collect())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SourceError(f"{path} is not a Parquet file that can be read: {error}") from error


def parquet_batches(path: str, names: Sequence[str], skip: int, rows: int) -> Iterator[pl.DataFrame]:
    """The columns of these (dotted) names in batches of at most `rows` rows, from row `skip` on."""
    scan = _scan(path)
    present = scan.collect_schema().names()
    wanted = [name for name in present if any(part == name or part.startswith(f"{name}.") for part in names)]
    try:
        for batch in scan.select(wanted).slice(skip).collect_batches(chunk_size=rows, maintain_order=True):
            for part in batch.iter_slices(rows):
                yield flat(part)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SourceError(f"{path} breaks off or is damaged: {error}") from error


def flat(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with nested columns as columns of their own, `user.name` for the field `name` of `user`.

    Categories, bytes, lists and other columns that are neither texts, numbers, truth values nor times become texts.

    Examples
    --------
    >>> flat(pl.DataFrame({"user": [{"name": "ann", "id": 7}]})).columns
    ['user.name', 'user.id']
    """
    while any(isinstance(dtype, pl.Struct) for dtype in frame.schema.values()):
        parts = []
        for name, dtype in frame.schema.items():
            if isinstance(dtype, pl.Struct):
                parts += [pl.col(name).struct.field(item.name).alias(f"{name}.{item.name}") for item in dtype.fields]
            else:
                parts.append(pl.col(name))
        frame = frame.select(parts)
    return frame.with_columns(_as_text(frame[name]) for name, dtype in frame.schema.items() if not _is_plain(dtype))


def _is_plain(dtype: pl.DataType) -> bool:
    """Whether columns of this type are read as they are."""
    return dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Datetime, pl.Date, pl.Null)


def _as_text(column: pl.Series) -> pl.Series:
    """The column as texts."""
    if isinstance(column.dtype, pl.Categorical | pl.Enum):
        return column.cast(pl.String)
    return texts(column.name, column.to_list())


def texts(name: str, values: Iterable[object]) -> pl.Series:
    """A column of any values as texts: bytes are read as UTF-8, NaN is nothing.

    Examples
    --------
    >>> texts("user", [b"ann", 7, ["a", "b"], None, float("nan")]).to_list()
    ['ann', '7', "['a', 'b']", None, None]
    """
    return pl.Series(name, [_text(value) for value in values], dtype=pl.String)


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return None if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


def _scan(path: str) -> pl.LazyFrame:
    if path == "-":
        raise SourceError("Parquet cannot be read from standard input: it is read from its end. Give the file's path.")
    return pl.scan_parquet(path, glob=False)
