"""What a service says while it runs: a line on standard error for each record, for people or for programs.

Fields may come from a log that attackers write: no character of theirs ends a line, moves a cursor or turns text round.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO, get_args

from amiss.errors import UsageError, nearest
from amiss.escape import json_text, plain, shorten

Form = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]

LONGEST: Final = 4_000
"""Characters of a text that are kept; the middle of a longer one is left out."""

_BARE: Final = re.compile(r"[A-Za-z0-9_.:/@+#-]+", re.ASCII)


def fields(**values: object) -> dict[str, Mapping[str, object]]:
    """What a record tells beside its message: the `extra` of a call.

    Examples
    --------
    >>> logging.getLogger("amiss").info("committed", extra=fields(events=10_000, seconds=0.02))
    """
    return {"fields": values}


@contextmanager
def to_stderr(form: str = "text", level: str = "info", stream: TextIO | None = None) -> Iterator[None]:
    """While it lasts, records are written; those of other libraries from warnings on.

    Parameters
    ----------
    form
        `text`, a line of names and values, or `json`, an object a line.
    level
        The least that is told: `debug`, `info`, `warning` or `error`.
    stream
        Standard error unless given.

    Raises
    ------
    UsageError
        If there is no such form or level.
    """
    _check("form of logs", form, get_args(Form))
    _check("level of logs", level, get_args(Level))
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Lines(is_json=form == "json"))
    root, own = logging.getLogger(), logging.getLogger("amiss")
    before = own.level
    own.setLevel(level.upper())
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        own.setLevel(before)


class Lines(logging.Formatter):
    r"""Records as lines, each with `time` (UTC), `level`, `logger`, `message` and its own fields.

    Examples
    --------
    >>> record = logging.makeLogRecord({"name": "amiss.watch", "levelname": "INFO", "msg": "a\nb", "created": 0.25})
    >>> record.__dict__.update(fields(user="ann\x1b[2J", bits=18.7, sink=None))
    >>> print(Lines().format(record))
    time=1970-01-01T00:00:00.250Z level=info logger=amiss.watch message="a\nb" user="ann\u001b[2J" bits=18.7 sink=null
    """

    def __init__(self, *, is_json: bool = False) -> None:
        super().__init__()
        self._is_json = is_json

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, without its end."""
        values = {name: _short(plain(value)) for name, value in self._values(record).items()}
        if self._is_json:
            return _json(values)
        return " ".join(f"{name}={_shown(value)}" for name, value in values.items())

    def _values(self, record: logging.LogRecord) -> dict[str, Any]:
        """What a record tells, by name."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        trouble = {"error": self.formatException(record.exc_info)} if record.exc_info else {}
        return told | {_named(name): value for name, value in getattr(record, "fields", {}).items()} | trouble


def _check(what: str, found: str, known: tuple[str, ...]) -> None:
    """Refuse a word that is not known."""
    if found not in known:
        raise UsageError(f'a {what} is one of {", ".join(known)}. Found: "{found}".{nearest(found, known)}')


def _short(value: object) -> object:
    """A text that is not too long."""
    return shorten(value, LONGEST) if isinstance(value, str) and len(value) > LONGEST else value


def _spelled(value: object) -> str:
    """A value that JSON lacks, as a text."""
    return shorten(str(value), LONGEST)


def _named(name: str) -> str:
    """A field's name, other than those that every record has."""
    return f"{name}_" if name in {"time", "level", "logger", "message", "error"} else name


def _shown(value: object) -> str:
    """A value on a line: bare where it is one plain word, else as JSON."""
    if isinstance(value, str):
        return value if _BARE.fullmatch(value) else json_text(value)
    return _json(value)


def _json(value: object) -> str:
    """A value as JSON in plain ASCII, which any stream takes."""
    return json.dumps(value, default=_spelled).replace("\x7f", "\\u007f")
