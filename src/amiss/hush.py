"""Keeps what libraries log about a request out of the logs: it names addresses, and those hold secrets."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_SAID: Final[ContextVar[list[str] | None]] = ContextVar("amiss_said", default=None)


class _Hush(logging.Filter):
    """Takes the records of a request, and keeps the warnings for the error that may follow."""

    def filter(self, record: logging.LogRecord) -> bool:
        said = _SAID.get()
        if said is not None and record.levelno >= logging.WARNING:
            said.append(record.getMessage())
        return said is None


_HUSH: Final = _Hush()


@contextmanager
def hushed(*loggers: str) -> Iterator[list[str]]:
    """While it lasts, these loggers are silent here; the list holds what they warned of.

    Examples
    --------
    >>> with hushed("example") as said:
    ...     logging.getLogger("example").warning("no answer")
    >>> said
    ['no answer']
    """
    for name in loggers:
        logging.getLogger(name).addFilter(_HUSH)
    said: list[str] = []
    token = _SAID.set(said)
    try:
        yield said
    finally:
        _SAID.reset(token)
