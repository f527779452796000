"""Who did what they are not entitled to: all of it, by user and finding, over whole logs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Final

import polars as pl

from amiss.detect.entitlement import EXEMPT, FOREIGN, KINDS, Entitlement
from amiss.engine import coded_frames
from amiss.sources import Source
from amiss.vocabulary import Coding

SCHEMA: Final[dict[str, pl.DataType]] = {
    "user": pl.String(),
    "finding": pl.String(),
    "period": pl.String(),
    "limit": pl.Date(),
    "days": pl.Int32(),
    "events": pl.Int64(),
    "active_days": pl.Int64(),
    "first_date": pl.Date(),
    "last_date": pl.Date(),
    "scope": pl.String(),
}
"""Violations of a user: what is wrong, of which period, the day that was passed and by how many days at most, how many
events on how many days, the first and the last day, and what was looked at."""

_EPOCH: Final = date(1970, 1, 1)


def violations(sources: Sequence[Source], rules: Entitlement) -> pl.DataFrame:
    """All that users did outside of what they are entitled to, most events first (`SCHEMA`).

    In two exclusive scopes is who looked at both at any time, :attr:`Entitlement.least` times each; events are those
    in a scope that the user's own period does not grant.

    Examples
    --------
    >>> from amiss.sources.frames import FrameSource
    >>> log = pl.DataFrame({"date": ["2026-01-31", "2026-02-02"], "user": "ann", "path": "a", "until": "2026-01-31"})
    >>> violations([FrameSource(log)], Entitlement(end="until")).select("user", "finding", "days", "events").rows()
    [('ann', 'after', 2, 1)]
    """
    coding = Coding(contexts=[rules])
    days = pl.concat([_by_day(coding.empty(), rules), *(_by_day(each, rules) for each in _frames(sources, coding))])
    days = days.group_by(*(name for name in days.columns if name != "events")).agg(pl.col("events").sum())
    wrong = [
        _summed(days.filter(pl.col("entitled") & (1 << kind) != 0), name)
        for kind, name in enumerate(KINDS)
        if name in rules.findings and name != "both"
    ]
    if rules.exclusive and "both" in rules.findings:
        wrong.append(_summed(_in_both(days, rules), "both"))
    whole = pl.concat(wrong)
    names = rules.scope_names
    said = whole.with_columns(
        user=coding.users.decode(whole["user"]),
        period=coding.values.decode(whole["entitled_name"]) if len(whole) else pl.lit(""),
        scope=pl.col("scope").replace_strict(dict(enumerate(("", *names))), default=""),
    )
    typed = said.select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items())
    return typed.sort(["events", "user", "finding", "period"], descending=[True, False, False, False])


def _frames(sources: Sequence[Source], coding: Coding) -> Iterator[pl.DataFrame]:
    """Coded frames of all sources."""
    for source in sources:
        yield from coded_frames(source, coding)


def _by_day(frame: pl.DataFrame, rules: Entitlement) -> pl.DataFrame:
    """How many events users had by day and by what is said of them."""
    day = pl.col("time").dt.convert_time_zone(rules.timezone).dt.date().alias("day")
    keys = ["entitled", "entitled_name", "entitled_limit", "entitled_days", "entitled_content"]
    return frame.group_by("user", day, *keys).agg(pl.len().cast(pl.Int64).alias("events"))


def _in_both(days: pl.DataFrame, rules: Entitlement) -> pl.DataFrame:
    """Events in exclusive scopes, not their own, of users who looked at two of these."""
    numbers = [rules.scope_names.index(name) + 1 for name in rules.exclusive]
    seen = days.filter((pl.col("entitled") & EXEMPT == 0) & pl.col("entitled_content").is_in(numbers))
    sums = seen.group_by("user", "entitled_content").agg(pl.col("events").sum())
    both = sums.filter(pl.col("events") >= rules.least).group_by("user").len().filter(pl.col("len") > 1)
    return seen.filter((pl.col("entitled") & FOREIGN != 0) & pl.col("user").is_in(both["user"].implode()))


def _summed(days: pl.DataFrame, finding: str) -> pl.DataFrame:
    """Violations of a kind by user, period and, in two scopes, by scope."""
    by_scope = finding in ("outside", "both")
    keys = ["user", "entitled_name", *(["entitled_limit"] if not by_scope else ["entitled_content"])]
    sums = days.group_by(keys).agg(
        pl.col("entitled_days").abs().max().alias("days"),
        pl.col("events").sum(),
        pl.col("day").n_unique().cast(pl.Int64).alias("active_days"),
        pl.col("day").min().alias("first_date"),
        pl.col("day").max().alias("last_date"),
    )
    limit = (
        pl.lit(_EPOCH) + pl.col("entitled_limit").cast(pl.Int64) * timedelta(days=1) if not by_scope else pl.lit(None)
    )
    scope = pl.col("entitled_content").cast(pl.Int64) if by_scope else pl.lit(0, pl.Int64)
    timed = finding in ("before", "after")
    return sums.select(
        "user",
        "entitled_name",
        finding=pl.lit(finding),
        limit=(limit if timed else pl.lit(None)).cast(pl.Date),
        days=pl.col("days") if timed else pl.lit(None, pl.Int32),
        events="events",
        active_days="active_days",
        first_date="first_date",
        last_date="last_date",
        scope=scope,
    )
