"""Where commands write: data to stdout or a file, messages to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import typer

from amiss.errors import SinkError

if TYPE_CHECKING:
    from rich.console import Console


def flush() -> None:
    """Write what is buffered, unless the reader has gone."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        close_stdout()


def close_stdout() -> None:
    """Send what is still buffered nowhere: the reader of the pipe has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str) -> None:
    """Print a message to stderr, with nothing in it that could steer a terminal."""
    from amiss.escape import visible

    flush()
    typer.echo("\n".join(map(visible, text.split("\n"))), err=True)


@contextmanager
def stream_to(output: Path | None, shape: str = "text") -> Iterator[TextIO]:
    """Stdout, or the file to write instead; what programs read is in UTF-8 whatever the terminal's encoding."""
    if output is None or str(output) == "-":
        if shape != "text" and isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")
        yield sys.stdout
        return
    try:
        with output.open("w", encoding="utf-8", newline="") as stream:
            yield stream
    except OSError as error:
        raise SinkError(f"{output} cannot be written: {error.strerror}") from error


def write_text(file: Path, text: str) -> None:
    """Write a text into a file."""
    with stream_to(file) as stream:
        stream.write(text)


def console(stream: TextIO) -> Console:
    """A terminal that writes there."""
    from rich.console import Console

    screen = Console(file=stream, highlight=False, soft_wrap=False)
    if screen.width < 1:
        screen.width = 80
    return screen


def say_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and what there is to say of each to stderr, the names in a column."""
    from amiss.terminal import print_pairs

    flush()
    print_pairs(pairs, console(sys.stderr))
