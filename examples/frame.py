"""Scan a data frame: who of a small clinic's staff stands out today?

Any pandas, Polars or Arrow frame will do; columns are found by name, or named.
"""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime, timedelta

import polars as pl

import amiss


def day(date: datetime, *, intruder: bool) -> pl.DataFrame:
    """A day of 40 clerks who log in, look up three patients and log out; one of them may export thirty instead."""
    rows = []
    for clerk in range(40):
        work, pace = ["login", "search", "open", "open", "open", "logout"], 40 + clerk
        if intruder and clerk == 7:
            work, pace = ["login", *["export"] * 30, "logout"], 3
        start = date + timedelta(minutes=5 * clerk)
        rows += [(start + timedelta(seconds=pace * step), f"clerk{clerk:02}", what) for step, what in enumerate(work)]
    return pl.DataFrame(rows, schema=["when", "who", "what"], orient="row")


yesterday = day(datetime(2026, 1, 5, 8, tzinfo=UTC), intruder=False)
today = day(datetime(2026, 1, 6, 8, tzinfo=UTC), intruder=True)

result = amiss.scan(today, learn=yesterday, time="when", user="who", action="what", budget="1/week")

for row in result.users.head(2).iter_rows(named=True):
    print(f"{row['user']}: {row['bits']:.1f} bits, {row['severity']}, alert: {row['alert']}")
print(textwrap.fill(result.explain("clerk07"), 100))

# Prints:
# clerk07: 502.0 bits, critical, alert: True
# clerk24: -0.4 bits, info, alert: False
# clerk07: export came 2 to 4 s after the action before, 30 of 30 times; nobody else was ever there
# (252.2 bits). export came after export 29 of 30 times; nobody else was ever there (246.0 bits).
# logout came 2 to 4 s after the action before, 1 of 1 times; elsewhere 0 of 40 (5.2 bits). Together
# 502.0 bits: by chance at most once in over a million years here.
