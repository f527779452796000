"""Files that simulated logs are written to."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

from amiss.errors import SinkError


class Writable(Protocol):
    """What takes bytes: a file, a compressed file, the standard output."""

    def write(self, text: bytes, /) -> int:
        """Write the bytes."""
        ...

    def flush(self) -> None:
        """Hand on what was written."""
        ...


@contextmanager
def opened(output: Path | Literal["-"]) -> Iterator[Writable]:
    """The output to write to, compressed when its name ends in .gz.

    Raises
    ------
    SinkError
        If the file cannot be written.
    """
    if output == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        with Path(output).open("wb") as file:
            if str(output).endswith(".gz"):
                with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packed:
                    yield packed
            else:
                yield file
    except OSError as error:
        raise SinkError(f"{output} cannot be written: {error.strerror or error}") from error
