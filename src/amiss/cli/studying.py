"""`amiss simulate curriculum`: lessons that are read by students over years."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from amiss.cli.output import say


def simulated(
    *,
    users: Annotated[int, typer.Option(min=1, metavar="N", help="Users in all.")] = 1000,
    days: Annotated[int, typer.Option(min=1, metavar="N", help="Days to simulate.")] = 365,
    seed: Annotated[int, typer.Option(metavar="N", help="Where the random numbers begin.")] = 42,
    date: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="The first day. (default 2024-01-08)")
    ] = None,
    odd_users: Annotated[
        float, typer.Option(min=0, max=1, metavar="R", help="The share of users who scrape, surge or fall silent.")
    ] = 0.04,
    odd_after: Annotated[int, typer.Option(min=0, metavar="N", help="Days without them at first.")] = 0,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The log as CSV, also with .gz; - is stdout.")
    ] = Path("-"),
    cohorts: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the table of cohorts there.")] = None,
    truth: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write who was odd there, how, and from when to when, as CSV.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No messages.")] = False,
) -> None:
    """Simulate the readers of a school's lessons over years, and of a few who are amiss.

    Students of four programs come in cohorts with dates of beginning and end. Some scrape, surge, fall silent, come
    back after the end or read what another program teaches; some who teach are not listed as staff; some days have no
    log.
    """
    from amiss.simulate.curriculum import FIRST_DATE, write_curriculum

    report = write_curriculum(
        "-" if str(output) == "-" else output,
        cohorts=cohorts,
        truth=truth,
        users=users,
        days=days,
        seed=seed,
        date=FIRST_DATE if date is None else date.date(),
        odd_users=odd_users,
        odd_after=odd_after,
    )
    if not quiet:
        say(f"{report.events:,} events of {report.users:,} users, {report.events_per_second:,.0f} events/s")
