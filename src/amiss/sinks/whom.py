"""Whom a mail goes to: operators who get all, and users who get what is theirs."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.headerregistry import Address
from pathlib import Path
from typing import Final, NamedTuple

from amiss import escape
from amiss.errors import SinkError, UsageError

USER: Final = "{user}"
"""What stands for the name of a user in an address."""

LONGEST: Final = 254
LONGEST_LOCAL: Final = 64
_ADDRESS: Final = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[\w.-]+", re.ASCII)
_USERS: Final = re.compile(r"\w(?:[\w.+'=~-]*[\w+'=~-])?@\w(?:[\w.-]*\w)?", re.ASCII)
"""Addresses made of what a log says: none that a mail server, or a program behind it, would take for more than that."""


class Person(NamedTuple):
    """A user's address, and what they are called where it is known."""

    address: str
    name: str = ""


def operators_address(text: str) -> Address:
    """A mail address that somebody typed, such as `ann@example.com`.

    Raises
    ------
    UsageError
        If it is none.
    """
    local, _, domain = text.strip().rpartition("@")
    if not _ADDRESS.fullmatch(text.strip()):
        found = escape.label(text)
        raise UsageError(f'mailto: expected addresses such as ann@example.com or {USER}@example.com, found "{found}"')
    return Address(username=local, domain=domain)


def users_address(text: str) -> str | None:
    """A mail address that was made of a user's name, or None where it is none that mail should go to.

    Examples
    --------
    >>> users_address("jane.o'neil@example.com")
    "jane.o'neil@example.com"
    >>> [users_address(text) for text in ("a@b@example.com", "-oQ@example.com", "x%evil.example@example.com")]
    [None, None, None]
    """
    local = text.rpartition("@")[0]
    is_one = _USERS.fullmatch(text) and ".." not in text and len(text) <= LONGEST and len(local) <= LONGEST_LOCAL
    return text if is_one else None


@dataclass(frozen=True)
class Directory:
    """Users and their addresses, from a CSV file with columns `user`, `email` and, if wanted, `name`.

    Parameters
    ----------
    people
        By user.
    problems
        Rows that give nobody an address, in words; a user who is there twice with two addresses has none.
    """

    people: Mapping[str, Person]
    problems: Sequence[str]

    @classmethod
    def read(cls, path: Path) -> Directory:
        """The directory in a file.

        Raises
        ------
        SinkError
            If the file cannot be read, or lacks a column.
        """
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                rows = csv.DictReader(file, strict=True)
                if missing := [name for name in ("user", "email") if name not in (rows.fieldnames or ())]:
                    found = escape.label(", ".join(rows.fieldnames or ()), 100)
                    raise SinkError(f"{path}: expected columns user, email; missing: {', '.join(missing)}; {found=}")
                return cls._of([(rows.line_num, row) for row in rows])
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            why = getattr(error, "strerror", None) or "it is no CSV in UTF-8"
            raise SinkError(f"{path}: the directory of users cannot be read: {why}") from error

    @classmethod
    def _of(cls, rows: Sequence[tuple[int, Mapping[str, str | None]]]) -> Directory:
        """The directory that rows make, each with its line."""
        people: dict[str, Person] = {}
        twice: set[str] = set()
        problems = []
        for line, row in rows:
            user, address = row["user"] or "", users_address((row["email"] or "").strip())
            if not user or address is None:
                problems.append(f"line {line}: no user or no valid address")
            elif user in people and people[user].address != address:
                problems.append(f"line {line}: {escape.label(user)} is there twice, with two addresses")
                twice.add(user)
            else:
                people[user] = Person(address, (row.get("name") or "").strip())
        return cls({user: person for user, person in people.items() if user not in twice}, problems)


class Book:
    """A directory that follows its file.

    Parameters
    ----------
    path
        Read when it is first asked, and again when it has changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int, int] | None = None
        self._directory = Directory({}, ())

    @property
    def directory(self) -> Directory:
        """The directory as the file is now.

        Raises
        ------
        SinkError
            If the file cannot be read.
        """
        try:
            found = self.path.stat()
        except OSError as error:
            raise SinkError(f"{self.path}: the directory of users cannot be read: {error.strerror}") from error
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        if stamp != self._stamp:
            self._directory = Directory.read(self.path)
            self._stamp = stamp
        return self._directory


@dataclass(frozen=True)
class Recipients:
    """Whom alerts go to.

    Parameters
    ----------
    operators
        Addresses that get all alerts.
    pattern
        The address of a user, where `USER` stands for the name; empty where users get none.
    book
        The addresses of users, asked before the pattern.
    """

    operators: Sequence[str]
    pattern: str = ""
    book: Book | None = None

    @classmethod
    def parse(cls, text: str, directory: str | None = None) -> Recipients:
        """The recipients in the path of a `mailto:` address, and in a directory.

        Raises
        ------
        UsageError
            If there are none, or one is no address.
        """
        given = [each.strip() for each in text.split(",") if each.strip()]
        patterns = [each for each in given if USER in each]
        operators = [operators_address(each).addr_spec for each in given if USER not in each]
        if len(patterns) > 1:
            raise UsageError(f"mailto: expected one address with {USER}, found {len(patterns)}")
        if not operators and not patterns and directory is None:
            operators_address(text)
        pattern = patterns[0] if patterns else ""
        _check_pattern(pattern)
        return cls(operators, pattern, None if directory is None else Book(Path(directory)))

    @property
    def has_users(self) -> bool:
        """Whether users get what is theirs."""
        return bool(self.pattern) or self.book is not None

    @property
    def url(self) -> str:
        """The recipients as a `mailto:` address names them."""
        path = ",".join([*self.operators, *filter(None, [self.pattern])])
        return f"mailto:{path}" + (f"?directory={escape.visible(str(self.book.path))}" if self.book else "")

    def person(self, user: str) -> Person | None:
        """Where a user is reached, or None where nobody knows."""
        if self.book is not None:
            found = self.book.directory.people.get(user)
            if found is not None or self.pattern in ("", USER):
                return found
        address = users_address(self.pattern.replace(USER, user))
        return None if address is None else Person(address)

    def said(self) -> Iterator[str]:
        """What is to be said of them."""
        if self.operators:
            yield ", ".join(self.operators)
        if self.pattern:
            yield f"users at {self.pattern}"
        if self.book is not None:
            found = self.book.directory
            wrong = f", {len(found.problems):,} rows without an address ({found.problems[0]})" if found.problems else ""
            yield f"{len(found.people):,} users in {self.book.path}{wrong}"


def _check_pattern(pattern: str) -> None:
    """Refuse a pattern that makes no address of any name."""
    if pattern and pattern != USER and users_address(pattern.replace(USER, "ann", 1)) is None:
        found = escape.label(pattern)
        raise UsageError(f'mailto: expected {USER} or an address such as {USER}@example.com, found "{found}"')
