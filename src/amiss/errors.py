"""Everything that amiss raises on purpose.

Each message says what was expected, what was found, where, and what to do.

::

    AmissError
    ├── UsageError              options that do not go together, unknown names
    ├── ConfigError             a setting is wrong (file, line)
    ├── EventError              events lack a column or hold values of the wrong kind
    ├── SourceError             events cannot be read (retry_after)
    ├── SinkError               alerts cannot be delivered (retry_after, permanent)
    ├── StateError              stored state does not fit this version (stored, wanted)
    └── MissingExtraError       an optional part is not installed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AmissError(Exception):
    """The base of every error that amiss raises on purpose."""


class UsageError(AmissError):
    """Options that do not go together, or a name that amiss does not know."""


class ConfigError(AmissError):
    """A setting is wrong; the message starts with `file:line`."""

    def __init__(self, message: str, *, file: str | None = None, line: int | None = None) -> None:
        self.file = file
        self.line = line
        where = ":".join(str(part) for part in (file, line) if part is not None)
        super().__init__(f"{where}: {message}" if where else message)


class EventError(AmissError):
    """Events lack a column, or a column holds values of the wrong kind."""


class SourceError(AmissError):
    """Events cannot be read; `retry_after` seconds when trying again may help."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class SinkError(AmissError):
    """Alerts cannot be delivered: not before `retry_after` seconds, or, where `permanent`, never as they are."""

    def __init__(self, message: str, *, retry_after: float | None = None, permanent: bool = False) -> None:
        self.retry_after = retry_after
        self.permanent = permanent
        super().__init__(message)


class StateError(AmissError):
    """Stored state does not fit: it was written in format `stored`, this version wants `wanted`."""

    def __init__(self, message: str, *, stored: str | None = None, wanted: str | None = None) -> None:
        self.stored = stored
        self.wanted = wanted
        super().__init__(message)


class MissingExtraError(AmissError):
    """An optional part is not installed; the message gives the command that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f'{what} needs an optional part. Install it: pip install "amiss[{extra}]"')


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint such as ` Did you mean "user"?`, or nothing when no known name is near.

    Examples
    --------
    >>> nearest("usr", ["time", "user"])
    ' Did you mean "user"?'
    >>> nearest("zzz", ["time", "user"])
    ''
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f' Did you mean "{near[0]}"?' if near else ""
