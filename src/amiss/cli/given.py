"""What the command line and the file of settings say together."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from amiss.errors import UsageError
from amiss.options import override

if TYPE_CHECKING:
    from amiss.app import Reader
    from amiss.config import Settings


def settings_of(file: Path | None, *flags: object) -> Settings:
    """The settings of the file, or of amiss.toml if it is here, under those that flags give."""
    from amiss.config import in_zone, load

    settings = load(file)
    fields = settings.fields.model_copy(update=override(settings.fields, *flags))
    scan = settings.scan.model_copy(update=override(settings.scan, *flags))
    watch = settings.watch.model_copy(update=override(settings.watch, *flags))
    detectors = in_zone(settings.detector, fields.timezone)
    return replace(settings, fields=fields, scan=scan, watch=watch, detector=detectors)


def reader(settings: Settings) -> Reader:
    """How to read the sources of a scan."""
    from amiss.app import Reader

    fields = settings.fields
    return Reader(fields.choice(), timezone=fields.timezone, year=fields.year, strict=settings.scan.strict)


def asked(sources: Sequence[str], query: str | None) -> list[str]:
    """The sources, a query put into the address of the database that it is asked of.

    Raises
    ------
    UsageError
        If it is asked of several sources, or of one that is no database.

    Examples
    --------
    >>> asked(["sqlite:///shop.db"], "SELECT 1")
    ['sqlite:///shop.db?query=SELECT%201']
    """
    from amiss.sources.sql_address import with_query

    if query is None:
        return list(sources)
    if len(sources) != 1:
        raise UsageError(f"--query is asked of one database: give one SOURCE, not {len(sources)}")
    return [with_query(sources[0], query)]


def state_file(state: Path | None, settings: Settings) -> Path:
    """The state file that is meant.

    Raises
    ------
    UsageError
        If none is.
    """
    chosen = state or settings.watch.state
    if not chosen:
        raise UsageError('a state file is needed: --state FILE, or state = "FILE" under [watch] in amiss.toml')
    return Path(chosen)


def author_of(name: str | None) -> str:
    """Who speaks: the name that was given, or that of the login."""
    try:
        return name or getpass.getuser()
    except (OSError, KeyError) as error:
        raise UsageError("nobody knows who you are here: give --author NAME") from error


def moment(text: str, *, ago: bool = False) -> datetime:
    """The time that a text such as `2026-03-31`, `2026-03-31T12:00` (UTC) or `30d` names, which lies ahead or `ago`.

    Raises
    ------
    UsageError
        If it names none.
    """
    from amiss.config import seconds

    if text[:1].isdigit() and "-" in text:
        try:
            found = datetime.fromisoformat(text)
        except ValueError as error:
            raise UsageError(f'a time is a date such as 2026-03-31, or a span such as 30d. Found: "{text}"') from error
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    span = timedelta(seconds=seconds(text))
    return datetime.now(UTC) - span if ago else datetime.now(UTC) + span
