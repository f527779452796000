"""Kinds of users: how many there are and what each does next, read from TOML.

The format is described at the top of ``marketplace.toml``, which holds the marketplace's own six kinds.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from amiss.errors import ConfigError, nearest

END: Final = "end"
"""The action after which a user does nothing more that day."""

TOLERANCE: Final = 1e-6
"""How far from 1 the chances of a row may sum."""

LARGEST: Final = 1e9
"""The largest share."""

KEYS: Final = ("share", "velocity", "start", "abnormal", "after")
OUTCOMES: Final = ("success", "fail")
MARKETPLACE: Final = Path(__file__).with_name("marketplace.toml")
KIND_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Profile:
    """One kind of user.

    Attributes
    ----------
    name
        The kind, such as ``buyer``.
    share
        How many of all users are of this kind, relative to the shares of the other kinds.
    velocity
        The longest gap between two actions, in seconds.
    start
        The action a user comes from when a day begins; itself not logged.
    abnormal
        Whether a detector should find such users.
    after
        For each action the chances of the next one, in the order of the file. ``x:fail`` is the action ``x``
        with outcome failure.
    """

    name: str
    share: float
    velocity: int
    start: str
    abnormal: bool
    after: dict[str, dict[str, float]]


@dataclass(frozen=True)
class _Problem:
    """What is wrong, and the table and key of the file where."""

    text: str
    table: tuple[str, ...] = ()
    key: str | None = None


def load_profiles(path: Path | None = None) -> tuple[Profile, ...]:
    """The kinds of users that a TOML file describes; without a path those of the marketplace.

    Parameters
    ----------
    path
        A file in the format of ``marketplace.toml``.

    Raises
    ------
    ConfigError
        If the file cannot be read or anything in it is wrong; all problems are listed at once, each with its
        line, kind of user and row.

    Examples
    --------
    >>> [(profile.name, profile.share) for profile in load_profiles()][:3]
    [('buyer', 0.49), ('merchant', 0.49), ('bot', 0.003)]
    """
    file = MARKETPLACE if path is None else path
    text = _read(file)
    content = _parse(text, file)
    problems = list(_problems(content))
    if problems:
        raise _error(problems, text, file)
    return tuple(_profile(name, table) for name, table in content.items())


def _read(file: Path) -> str:
    """The text of the file."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"profiles cannot be read: {reason}. Expected a TOML file", file=str(file)) from error


def _parse(text: str, file: Path) -> dict[str, Any]:
    """The content of the TOML text."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise ConfigError(f"not TOML: {error}", file=str(file), line=int(line[1]) if line else None) from error


def _profile(name: str, table: dict[str, Any]) -> Profile:
    """One kind of user from its checked table."""
    after = {
        action: {following: float(chance) for following, chance in row.items()}
        for action, row in table["after"].items()
        if action != END
    }
    abnormal = table.get("abnormal", False)
    return Profile(name, float(table["share"]), table["velocity"], table["start"], abnormal, after)


def _problems(content: dict[str, Any]) -> Iterator[_Problem]:
    """Everything that is wrong with a file."""
    if not content:
        yield _Problem("no kinds of users; expected at least one table such as [buyer]")
    for name, table in content.items():
        if isinstance(table, dict):
            yield from _kind_problems(name, table)
        else:
            yield _Problem(f'"{name}" is not a kind of user; expected a table such as [buyer]', (), name)
    shares = [table.get("share") for table in content.values() if isinstance(table, dict)]
    if shares and all(_is_chance(share) and share == 0 for share in shares):
        yield _Problem("every share is 0; at least one kind of user needs a share above 0")


def _kind_problems(name: str, table: dict[str, Any]) -> Iterator[_Problem]:
    """Everything that is wrong with one kind of user."""
    where = f'profile "{name}"'
    if not KIND_NAME.fullmatch(name):
        yield _Problem(f"{where}: a name is a letter, then letters, digits, _ or -", (name,))
    for key in table:
        if key not in KEYS:
            yield _Problem(f'{where}: unknown key "{key}".{nearest(key, KEYS)} Known: {", ".join(KEYS)}', (name,), key)
    yield from _value_problems(where, name, table)
    after = table.get("after")
    if isinstance(after, dict) and any(action != END for action in after):
        yield from _start_problems(where, name, table, after)
        for action, row in after.items():
            yield from _row_problems(f'{where}, row "{action}"', name, action, row, after)
    else:
        yield _Problem(f"{where} is empty: expected rows in [{name}.after]", (name,))


def _value_problems(where: str, name: str, table: dict[str, Any]) -> Iterator[_Problem]:
    """What is wrong with share, velocity and abnormal."""
    share, velocity = table.get("share"), table.get("velocity")
    if not _is_chance(share):
        yield _Problem(f"{where}: share is {_shown(share)}; expected a number of 0 or more", (name,), "share")
    if type(velocity) is not int or velocity < 1:
        text = f"{where}: velocity is {_shown(velocity)}; expected a whole number of seconds, 1 or more"
        yield _Problem(text, (name,), "velocity")
    if type(table.get("abnormal", False)) is not bool:
        text = f"{where}: abnormal is {_shown(table['abnormal'])}; expected true or false"
        yield _Problem(text, (name,), "abnormal")


def _start_problems(where: str, name: str, table: dict[str, Any], after: dict[str, Any]) -> Iterator[_Problem]:
    """What is wrong with the start action."""
    start = table.get("start")
    if not isinstance(start, str):
        text = f"{where}: start is {_shown(start)}; expected an action that has a row"
        yield _Problem(text, (name,), "start")
    elif start == END or start not in after:
        rows = [action for action in after if action != END]
        text = f'{where}: unknown start action "{start}"; no row of that name.{nearest(start, rows)}'
        yield _Problem(text, (name,), "start")


def _row_problems(where: str, name: str, action: str, row: object, after: dict[str, Any]) -> Iterator[_Problem]:
    """What is wrong with one row of chances."""
    problems = _end_row_problems(row) if action == END else _chance_problems(action, row, after)
    for problem in problems:
        yield _Problem(f"{where}: {problem}", (name, "after"), action)


def _end_row_problems(row: object) -> Iterator[str]:
    """What is wrong with a row after the end: there is none."""
    if row != {}:
        yield f'nothing comes after "{END}"; remove the row'


def _chance_problems(action: str, row: object, after: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the chances of one row."""
    if not isinstance(row, dict) or not row:
        yield 'it is empty; expected the chances of the next actions, such as { "login:success" = 0.9, end = 0.1 }'
        return
    yield from _name_problems(action)
    for following, chance in row.items():
        if following != END and following not in after:
            yield f'it leads to "{following}", which has no row.{nearest(following, [*after, END])}'
            yield from _name_problems(following)
        if not _is_chance(chance):
            yield f'the chance of "{following}" is {_shown(chance)}; expected a number from 0 to 1'
    chances = list(row.values())
    if all(map(_is_chance, chances)) and abs(math.fsum(chances) - 1) > TOLERANCE:
        yield f"the chances sum to {math.fsum(chances):.9g}; expected 1"


def _name_problems(action: str) -> Iterator[str]:
    """What is wrong with the name of an action."""
    path, colon, outcome = action.partition(":")
    if not path or not action.isprintable() or path[0] in "=+-@ ":
        yield f"{_shown(action)} is not an action; expected printable text that starts with a letter, digit or /"
    if colon and outcome not in OUTCOMES:
        yield f'"{action}" has an unknown outcome "{outcome}"; expected success or fail.{nearest(outcome, OUTCOMES)}'


def _is_chance(value: object) -> bool:
    """Whether a value is a number of 0 or more, and not absurdly large."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST


def _shown(value: object) -> str:
    """A value as a message shows it."""
    return "missing" if value is None else repr(value)


def _error(problems: list[_Problem], text: str, file: Path) -> ConfigError:
    """One error that lists all problems, each with its line where it can be found."""
    found = sorted(((_line(text, problem), problem.text) for problem in problems), key=lambda at: at[0] or math.inf)
    listed = [f"  line {line}: {problem}" if line else f"  {problem}" for line, problem in found]
    count = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
    message = "\n".join([f"{count} in the profiles", *listed])
    return ConfigError(message, file=str(file), line=found[0][0])


def _line(text: str, problem: _Problem) -> int | None:
    """The line of the file where a key stands, else the line of its table's header."""
    table: tuple[str, ...] = ()
    header = None
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.strip()
        if words.startswith("["):
            table = _dotted(words[1 : words.find("]")])
            header = number if table in {problem.table, (*problem.table, problem.key)} else header
        elif table == problem.table and problem.key is not None and _dotted(words.split("=")[0]) == (problem.key,):
            return number
    return header


def _dotted(key: str) -> tuple[str, ...]:
    """The parts of a dotted TOML key, without quotes."""
    return tuple(quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|([^\s."]+)', key))
