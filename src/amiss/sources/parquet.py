"""Rows of Parquet files in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
    return frame


def _scan(path: str) -> pl.LazyFrame:
    if path == "-":
        raise SourceError("Parquet cannot be read from standard input: it is read from its end. Give the file's path.")
    return pl.scan_parquet(path, glob=False)
