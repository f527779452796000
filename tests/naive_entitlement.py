"""Slow, obvious twin of `amiss.detect.entitlement`: dictionaries and dates, one event after the other."""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import date

Row = tuple[date, str, str | None, str]
"""Day, user, key, path."""

Period = tuple[date | None, date | None, str | None]
"""First day, last day, scope."""


def scopes_of(path: str, scopes: dict[str, list[str]], shared: list[str]) -> set[str]:
    """Who may look at a path: by the longest prefix, all where none fits."""
    listed = [(prefix, {name for name, each in scopes.items() if prefix in each}) for prefix in _all(scopes)]
    listed += [(prefix, set(scopes)) for prefix in shared]
    fitting = [(len(prefix), names) for prefix, names in listed if path == prefix or path.startswith(f"{prefix}/")]
    return max(fitting, key=lambda each: each[0])[1] if fitting else set(scopes)


def _all(scopes: dict[str, list[str]]) -> list[str]:
    return sorted({prefix for each in scopes.values() for prefix in each})


class Rules:
    """A table and scopes, and what they say of events."""

    def __init__(self, table: dict[str, list[Period]], scopes: dict[str, list[str]], shared: list[str]) -> None:
        self.table, self.scopes, self.shared = table, scopes, shared

    def wrong(self, row: Row, seen: set[str]) -> set[str]:
        """The kinds of violations of an event by a user who has `seen` some scopes; that of the event is added."""
        day, _, key, path = row
        allowed = scopes_of(path, self.scopes, self.shared)
        periods = self.table.get(key or "", [])
        verdicts = [self._verdict(day, allowed, period) for period in periods]
        _, kinds, own = min(verdicts, key=lambda each: each[0]) if verdicts else (0, set(), None)
        content = next(iter(allowed)) if len(allowed) == 1 else None
        if content and content != own and seen - {content}:
            kinds = kinds | {"both"}
        seen |= {content} if content else set()
        return kinds

    def _verdict(self, day: date, allowed: set[str], period: Period) -> tuple[int, set[str], str | None]:
        start, end, scope = period
        after = (day - end).days if end and day > end else 0
        before = (start - day).days if start and day < start and not after else 0
        outside = bool(scope) and scope not in allowed
        kinds = {kind for kind, holds in (("after", after), ("before", before), ("outside", outside)) if holds}
        return 2 * (after + before) + outside, kinds, scope


def day_bits(rules: Rules, before: list[list[Row]], today: list[Row], cap: int) -> list[float]:
    """The bits of each event of a day, after earlier days."""
    kinds = ("before", "after", "outside", "both")
    active: dict[str, int] = defaultdict(int)
    days: dict[tuple[str, str], int] = defaultdict(int)
    foreign: dict[tuple[str, str], int] = defaultdict(int)
    seen: dict[str, set[str]] = defaultdict(set)
    for day in before:
        happened = set()
        for row in day:
            user = row[1]
            happened |= {("active", user)} | {(kind, user) for kind in rules.wrong(row, set())}
            content = scopes_of(row[3], rules.scopes, rules.shared)
            own = next((scope for _, _, scope in rules.table.get(row[2] or "", [])), None)
            if len(content) == 1:
                (one,) = content
                seen[user].add(one)
                happened |= {(f"foreign {one}", user)} if one != own else set()
        for what, user in happened:
            if what == "active":
                active[user] += 1
            elif what.startswith("foreign"):
                foreign[user, what] += 1
            else:
                days[what, user] += 1
    for user in active:
        if len(seen[user]) > 1:
            days["both", user] = max((count for (who, _), count in foreign.items() if who == user), default=0)
    scale = {user: min(count, cap) / count for user, count in active.items()}
    total = sum(count * scale[user] for user, count in active.items())
    rate = {
        kind: (sum(count * scale[user] for (what, user), count in days.items() if what == kind) + 0.5) / (total + 1)
        for kind in kinds
    }
    did: dict[str, set[str]] = defaultdict(set)
    bits = []
    for row in today:
        user = row[1]
        earlier = evidence(did[user], rate)
        did[user] |= rules.wrong(row, seen[user])
        bits.append(math.log2(evidence(did[user], rate) / earlier))
    return bits


def evidence(kinds: set[str], rate: dict[str, float]) -> float:
    """The factor that some kinds make on a day."""
    return 0.5 + sum(0.1 / min(1, rate[kind]) for kind in kinds) if kinds else 1.0
