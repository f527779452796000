"""The `entitlement` detector: outside the dates or the scope that the user is entitled to?"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from typing import Any, ClassVar, Final, Literal, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.baseline import COUNT_SCHEMA, Floats, Past, check_cap, no_counts
from amiss.detect import Names, Plain, Reason, Scores
from amiss.entitlement import (
    ALWAYS,
    NEVER,
    Columns,
    Periods,
    Scopes,
    judge,
    periods_of,
    query_table,
    read_table,
    tell,
)
from amiss.errors import EventError, UsageError, nearest
from amiss.escape import label
from amiss.events import EVENT_SCHEMA, OPTIONAL_SCHEMA, Quarantine
from amiss.fields import Fields
from amiss.labels import Condition, spelled
from amiss.sessions import Events, Users
from amiss.times import check_timezone

Flags = npt.NDArray[np.bool_]

BEFORE, AFTER, OUTSIDE, BOTH, UNKNOWN = range(5)
KINDS: Final = ("before", "after", "outside", "both", "unknown")
"""What can be wrong: before the start, after the end, outside the scope, in two exclusive scopes, no entitlement."""

EXEMPT: Final = 1 << 5
FOREIGN: Final = 1 << 6
"""In an exclusive scope that the user's own period does not grant."""

VIOLATION, ACTIVE, SEEN = range(3)
"""Features of counts: events of a kind, all events, events in a scope that is exclusive."""

STATE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "user": pl.UInt32(),
    "kinds": pl.UInt8(),
    "seen": pl.List(pl.UInt32()),
}
"""What is remembered of a user while a period runs: kinds that happened, as bits, and events by exclusive scope."""

CONTEXT_SCHEMA: Final[dict[str, pl.DataType]] = {
    "entitled": pl.UInt8(),
    "entitled_days": pl.Int32(),
    "entitled_limit": pl.Int32(),
    "entitled_own": pl.UInt8(),
    "entitled_content": pl.UInt8(),
    "entitled_name": pl.UInt32(),
}
"""What is wrong with an event as bits (`KINDS`, `EXEMPT`, `FOREIGN`); days after the end or before the start; that day;
scopes of the user and of what was looked at, from 1; what the period is called."""

_EPOCH: Final = date(1970, 1, 1)
_HALF: Final = 0.5
_SHARE: Final = _HALF / len(KINDS)

_log = logging.getLogger("amiss.entitlement")

Finding = Literal["before", "after", "outside", "both", "unknown"]


class Told(NamedTuple):
    """How often something is normal: its chance a day, and how many of how many users do it."""

    chance: float
    users: int
    of: int


@dataclass(frozen=True, eq=False)
class EntitlementBaseline:
    """How often violations are normal, and what users looked at on earlier days.

    Attributes
    ----------
    user : (u,)
        Who is known, in order.
    days : (u,)
        How many days each was active, capped.
    violated : (u, 5)
        On how many of these, by kind.
    expected : (u, 5)
        Whether a person said that it is to be expected of the user.
    seen : (u, s)
        How many events each had in each scope.
    leave_out
        Whether users are judged by others only.
    """

    user: Users
    days: Floats
    violated: Floats
    expected: Flags
    seen: npt.NDArray[np.int64]
    leave_out: bool = False

    @cached_property
    def _sums(self) -> tuple[float, Floats, npt.NDArray[np.int64], int]:
        """Days and violating days of all, users who violated, and all users."""
        did = (self.violated > 0).sum(axis=0)
        return float(self.days.sum()), self.violated.sum(axis=0), did, int((self.days > 0).sum())

    def at(self, users: Users) -> tuple[npt.NDArray[np.int64], Flags]:
        """Where users stand, and whether they are known."""
        if not len(self.user):
            return np.zeros(len(users), np.int64), np.zeros(len(users), np.bool_)
        at = np.minimum(np.searchsorted(self.user, users), len(self.user) - 1)
        return at, self.user[at] == users

    def of(self, table: npt.NDArray[Any], users: Users) -> npt.NDArray[Any]:
        """The rows of a table for users; zeros for those not known."""
        at, known = self.at(users)
        found = np.zeros((len(users), *table.shape[1:]), table.dtype)
        found[known] = table[at[known]]
        return found

    def chances(self, users: Users) -> Floats:
        """The chance of each kind on a day, for each user: (u, 5); never 0."""
        days, violated, _, _ = self._sums
        out, own = (self.of(self.days, users)[:, None], self.of(self.violated, users)) if self.leave_out else (0.0, 0.0)
        chance: Floats = (violated - own + _HALF) / (np.full((len(users), 1), days) - out + 1.0)
        return np.clip(chance, 0.0, 1.0)

    def told(self, user: int, kind: int) -> Told:
        """How often a kind is normal for others than a user."""
        users = np.array([user], dtype=np.uint32)
        _, _, did, known = self._sums
        own, there = self.of(self.violated, users)[0, kind] > 0, self.of(self.days, users)[0] > 0
        chance = float(self.chances(users)[0, kind])
        return Told(chance, int(did[kind]) - int(own), known - int(there))


class _Case(NamedTuple):
    """Violations of a kind by a user: the kind, where they stand, of how many events, and how normal that is."""

    kind: int
    rows: npt.NDArray[np.int64]
    of: int
    told: Told


class EntitlementMemory:
    """What users did in a period: the kinds of violations, and how many events in each exclusive scope."""

    def __init__(self, scopes: int, state: pl.DataFrame | None = None) -> None:
        self.kinds = np.zeros(0, np.uint8)
        self.seen = np.zeros((0, scopes), np.int64)
        if state is not None and len(state):
            user = state["user"].to_numpy()
            self.grow(int(user.max()) + 1)
            self.kinds[user] = state["kinds"].to_numpy()
            self.seen[user] = np.array(state["seen"].to_list(), dtype=np.int64).reshape(len(user), -1)

    def grow(self, users: int) -> None:
        """Make room for the codes below `users`."""
        there = len(self.kinds)
        if users > there:
            more = max(users, there * 5 // 4) - there
            self.kinds = np.append(self.kinds, np.zeros(more, np.uint8))
            self.seen = np.append(self.seen, np.zeros((more, self.seen.shape[1]), np.int64), axis=0)

    def frame(self) -> pl.DataFrame:
        """A row for each user of whom something is remembered (`STATE_SCHEMA`)."""
        users = np.flatnonzero((self.kinds > 0) | self.seen.any(axis=1))
        columns = {"user": users, "kinds": self.kinds[users], "seen": self.seen[users].tolist()}
        return pl.DataFrame(columns, schema_overrides=STATE_SCHEMA)


@dataclass(frozen=True)
class Entitlement(Plain):
    """Outside the dates or the scope that the user is entitled to?

    A table says from when to when whose key is entitled, and to what: a **violation** is an event `before` the start,
    `after` the end, `outside` the scope, in `both` of two exclusive scopes, or of an `unknown` key. A violation is a
    fact: it alerts by rule. Its bits say how rare it is. With `A` the days on which users were active and `V` those
    with a violation of the kind, a user counting as at most `cap` days::

        p(kind) = (V + 1/2) / (A + 1)

    A user who is odd does it surely: ``q = 1``. Of the five kinds none is known to come, so evidence is a mixture, and
    each kind adds to it once a day: after the kinds K, the day's evidence is
    ``log2(1/2 + sum of 1/(10 p(kind)) over K)`` bits; nothing before there is one. It is valid however kinds depend on
    each other, for the chance of each is at most p.

    **What it remembers.** Per user and day of the baseline, one row of 21 bytes for activity and one for each kind of
    violation and each exclusive scope. While a period runs, per user a byte and 8 for each scope.

    **When it is silent.** For events within the rules, which are no evidence for anything either. Without settings it
    does not run.

    **What fools it.** Whoever has another's key in the log; a table that is out of date.

    Parameters
    ----------
    table
        A CSV or Parquet file of periods.
    url, query
        In its place, a database and the query that gives the table. A password in the address goes into no state.
    key
        The column of the log that says which period is meant, and that of the table: `cohort_id=id`. Not needed where
        the log carries the columns of the table itself.
    start, end
        The columns of the first and the last day.
    early, grace
        Days before the start and after the end that are allowed.
    named
        The column that says what a period is called.
    scope
        The column that says which scope a period has.
    programs
        Values of that column, and the scopes they mean, where these are called otherwise.
    scopes
        By scope the prefixes of paths that may be looked at (:class:`amiss.entitlement.Scopes`).
    shared
        Prefixes that everybody may look at.
    unlisted
        Whether everybody may look at what is listed nowhere: "allow" or "deny".
    path
        The column of events that holds paths.
    exclusive
        Scopes of which nobody should look at two.
    least
        Events in a scope from which on it counts as looked at, for `both`.
    exempt
        Conditions on the table, such as `name=Staff`, under which everything is allowed.
    findings
        The kinds of violations to look for.
    timezone
        The zone whose days count; that of the log unless given.
    cap
        The most days that one user adds to what is normal.

    Raises
    ------
    UsageError
        If parameters do not go together.

    Examples
    --------
    Ann is entitled up to 2026-01-31. Three of 1,000 days of others were after an end.

    >>> detector = Entitlement(end="end_date")
    >>> counts = [(ACTIVE, user, -1, 0, 9) for user in range(1000)]
    >>> counts += [(VIOLATION, user, -1, AFTER, 4) for user in range(3)]
    >>> past = Past([pl.DataFrame(counts, schema=COUNT_SCHEMA, orient="row")])
    >>> from datetime import UTC, datetime
    >>> noon = [datetime(2026, 1, 31, 12, tzinfo=UTC), datetime(2026, 2, 1, 12, tzinfo=UTC)]
    >>> events = pl.DataFrame({"time": noon, "action": ["a", "b"], "end_date": ["2026-01-31"] * 2})
    >>> context = detector.context(events)
    >>> context.select("entitled", "entitled_days").rows()
    [(0, 0), (2, 1)]
    >>> from amiss.sessions import GROUPED_SCHEMA
    >>> rows = [(1, noon[0], 2000, 0, -1, -1), (2, noon[1], 2000, 3, 0, 86_400_000_000)]
    >>> frame = pl.DataFrame(rows, schema=GROUPED_SCHEMA, orient="row")
    >>> scores = detector.score(Events.of(frame.hstack(context)), detector.baseline(past))
    >>> scores.bits.round(2).tolist(), scores.facts.tolist()
    ([0.0, 4.86], [False, True])
    """

    table: str = ""
    url: str = ""
    query: str = ""
    key: str = ""
    start: str = ""
    end: str = ""
    early: int = 0
    grace: int = 0
    named: str = ""
    scope: str = ""
    programs: Mapping[str, str] | None = field(default=None, hash=False)
    scopes: Mapping[str, tuple[str, ...]] | None = field(default=None, hash=False)
    shared: tuple[str, ...] = ()
    unlisted: Literal["allow", "deny"] = "allow"
    path: str = "action"
    exclusive: tuple[str, ...] = ()
    least: int = 1
    exempt: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ("before", "after", "outside", "both")
    timezone: str = "UTC"
    cap: int = 5

    name: ClassVar[str] = "entitlement"
    counts: ClassVar[str] = "entitlement"
    needs_settings: ClassVar[bool] = True
    count_schema: ClassVar[dict[str, pl.DataType]] = COUNT_SCHEMA
    state_schema: ClassVar[dict[str, pl.DataType]] = STATE_SCHEMA
    context_schema: ClassVar[dict[str, pl.DataType]] = CONTEXT_SCHEMA

    def __post_init__(self) -> None:
        check_cap(self.cap)
        check_timezone(self.timezone)
        for name in ("shared", "exclusive", "exempt", "findings"):
            given = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))
        object.__setattr__(self, "_address", self.url)
        object.__setattr__(self, "url", _without_password(self.url))
        if problems := self._problems():
            raise UsageError("\n".join(problems))

    @property
    def raw_columns(self) -> tuple[str, ...]:
        """The columns of the log that it needs as they are."""
        named = () if self._is_joined else (*self._columns, *(each.column for each in self._exempt))
        paths = () if self.path in EVENT_SCHEMA | OPTIONAL_SCHEMA else (self.path,)
        return tuple(dict.fromkeys(filter(None, (self.keys[0], *named, *paths))))

    @staticmethod
    def fits(fields: Fields) -> bool:  # noqa: ARG004 - of the protocol
        """No log alone says who is entitled to what."""
        return False

    def context(self, events: pl.DataFrame) -> pl.DataFrame:
        """What is wrong with each row of an event frame, and by how much."""
        day = _local_days(events["time"], self.timezone)
        periods, number = self._periods_of(events)
        allowed = self._allowed(_column(events, self.path))
        found = judge(periods, number, day, allowed, early=self.early, grace=self.grace)
        known = found.period >= 0
        at = np.where(known, found.period, len(periods.start))
        content, own = _sole(allowed, self._exclusive), np.append(periods.own, -1)[at]
        free = np.append(periods.exempt, False)[at]
        foreign = (content >= 0) & (content != own) & ~free
        limit = np.where(found.days > 0, np.append(periods.end, ALWAYS)[at], np.append(periods.start, NEVER)[at])
        wrong = (found.days < 0, found.days > 0, found.outside, np.zeros(len(day), np.bool_), ~known)
        flags = [np.where(what, 1 << kind, 0) for kind, what in enumerate(wrong) if KINDS[kind] in self.findings]
        marks = np.where(free, EXEMPT, 0) | np.where(foreign, FOREIGN, 0)
        columns = {
            "entitled": np.bitwise_or.reduce([marks, *flags]),
            "entitled_days": found.days,
            "entitled_limit": np.where(found.days == 0, 0, limit),
            "entitled_own": own + 1,
            "entitled_content": _sole(allowed, self._scopes.all) + 1,
            "entitled_name": pl.concat([periods.name, pl.Series([""])]).gather(at),
        }
        types = CONTEXT_SCHEMA | {"entitled_name": pl.String()}
        return pl.DataFrame(columns).select(pl.col(name).cast(dtype) for name, dtype in types.items())

    def context_of(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same of one event, given by column."""
        types = EVENT_SCHEMA | OPTIONAL_SCHEMA
        others = {name: [event.get(name)] for name in self.raw_columns if name not in types}
        known = {name: pl.Series([event[name]], dtype=dtype) for name, dtype in types.items() if name in event}
        return self.context(pl.DataFrame(others | known)).row(0, named=True)

    def summarise(self, events: Events) -> pl.DataFrame:
        """How many events users had, of each kind of violation, and in each exclusive scope."""
        entitled = events.context["entitled"]
        here = self._is_exclusive(events)
        scope = 2 * events.context["entitled_content"].astype(np.int64) - 2 + (entitled & FOREIGN > 0)
        user, free = events.user, entitled & EXEMPT > 0
        parts = [_rows(ACTIVE, user[~free], 0), _rows(SEEN, user[here], scope[here])]
        parts += [_rows(VIOLATION, user[each], kind) for kind, each in enumerate(_flags(entitled).T & ~free)]
        counted = pl.concat(parts).group_by("feature", "user", "value").len("count").with_columns(given=pl.lit(-1))
        typed = counted.select(pl.col(name).cast(dtype) for name, dtype in COUNT_SCHEMA.items())
        return typed.sort("feature", "user", "value")

    def baseline(self, past: Past, *, leave_out: bool = False) -> EntitlementBaseline:
        """How often violations were on earlier days, and who looked at what."""
        days = pl.concat([no_counts(), *past.periods]).group_by("feature", "user", "value").agg(days=pl.len())
        looked = past.by_user().filter(feature=SEEN).select("user", pl.col("value") // 2, days="count")
        taught = past.taught.filter(feature=VIOLATION).select("user", "value", days="count")
        user = pl.concat([days["user"], looked["user"], taught["user"]]).unique().sort().to_numpy()
        seen = _table(user, looked, len(self._scopes.names)).astype(np.int64)
        violated = _table(user, days.filter(feature=VIOLATION), len(KINDS))
        foreign = _table(user, days.filter(pl.col("value") % 2 == 1, feature=SEEN), 2 * len(self._scopes.names))
        in_both = (seen >= self.least).sum(axis=1) > 1
        violated[:, BOTH] = np.where(in_both, foreign.max(axis=1, initial=0.0), 0.0) if self._looks_for_both else 0.0
        active = _table(user, days.filter(feature=ACTIVE), 1)[:, 0]
        scale = np.minimum(active, self.cap) / np.maximum(active, 1.0)
        return EntitlementBaseline(
            user,
            active * scale,
            violated * scale[:, None],
            _table(user, taught, len(KINDS)) > 0,
            np.zeros_like(seen) if leave_out else seen,
            leave_out,
        )

    def memory(self, state: pl.DataFrame | None = None) -> EntitlementMemory:
        """What is remembered of users while a period runs."""
        return EntitlementMemory(len(self._scopes.names), state)

    def score(self, events: Events, baseline: EntitlementBaseline, memory: EntitlementMemory | None = None) -> Scores:
        """Bits and surprisal of grouped events; violations are facts."""
        kept = EntitlementMemory(len(self._scopes.names)) if memory is None else memory
        if not len(events):
            return Scores.nothing(0)._replace(facts=np.zeros(0, np.bool_))
        at = np.arange(len(events.users)) if memory is None else events.users.astype(np.int64)
        kept.grow(int(at.max()) + 1)
        wrong = self._violations(events, baseline, kept, at)
        sizes = np.diff(events.first)
        worth = np.repeat(_SHARE / baseline.chances(events.users), sizes, axis=0)
        happened = _flags(np.repeat(kept.kinds[at], sizes))
        before = happened | (_before(wrong, events.first) > 0)
        bits = np.log2(_evidence(before | wrong, worth)) - np.log2(_evidence(before, worth))
        first = wrong & ~before
        surprisal = np.where(first, np.log2(worth / _SHARE), 0.0).sum(axis=1)
        kept.kinds[at] |= _bits(np.logical_or.reduceat(wrong, events.first[:-1]))
        facts: Flags = np.asarray(wrong.any(axis=1))
        return Scores(np.where(first.any(axis=1), bits, 0.0), surprisal, facts)

    def explain(self, events: Events, baseline: EntitlementBaseline, names: Names) -> dict[int, list[Reason]]:
        """By user, each kind of violation: how many events of what, by how much, and how many users do so."""
        kept = EntitlementMemory(len(self._scopes.names))
        if not len(events):
            return {}
        kept.grow(len(events.users))
        wrong = self._violations(events, baseline, kept, np.arange(len(events.users)))
        found: dict[int, list[Reason]] = {}
        for number, user in enumerate(events.users.tolist()):
            low, high = int(events.first[number]), int(events.first[number + 1])
            for kind in np.flatnonzero(wrong[low:high].any(axis=0)).tolist():
                rows = low + np.flatnonzero(wrong[low:high, kind])
                case = _Case(kind, rows, high - low, baseline.told(user, kind))
                found.setdefault(user, []).append(self._reason(events, case, names))
        return found

    def _reason(self, events: Events, case: _Case, names: Names) -> Reason:
        """What is said of a user's violations of a kind."""
        actions = Counter(names.state(int(state)) for state in events.state[case.rows])
        what = _viewed(actions, len(case.rows), pages=bool(self._scopes.names) or any("/" in each for each in actions))
        bits = float(np.log2(_HALF + _SHARE / case.told.chance))
        text = f"{what} {self._how(events.context, case, names)}{_rate(case.told)}"
        told, most = case.told, actions.most_common(1)[0][0]
        return Reason(self.name, bits, text, len(case.rows), case.of, told.users, told.of, most)

    def _how(self, context: Mapping[str, npt.NDArray[Any]], case: _Case, names: Names) -> str:
        """In what way events break the rules."""
        days = np.abs(context["entitled_days"][case.rows].astype(np.int64))
        worst, far = case.rows[int(days.argmax())], int(days.max())
        called = names.value(int(context["entitled_name"][worst]))
        whose = f"{self._thing} {called}" if called else "what the user is entitled to"
        if case.kind in (BEFORE, AFTER):
            day = _EPOCH + timedelta(days=int(context["entitled_limit"][worst]))
            side, end = ("before", "start") if case.kind == BEFORE else ("after", "end")
            return f"{side} {day}, the {end} of {whose} ({_days(far)} {side})"
        own, content = (self._scope(int(context[f"entitled_{each}"][worst])) for each in ("own", "content"))
        if case.kind == OUTSIDE:
            return f"outside {own}, the scope of {whose}" + (f", but of {content}" if content else "")
        return (
            f"in {content}, besides a scope that excludes it" if case.kind == BOTH else "without any entitlement known"
        )

    def _scope(self, number: int) -> str:
        """The name of a scope, counted from 1."""
        return self._scopes.names[number - 1] if number else ""

    def _violations(
        self, events: Events, baseline: EntitlementBaseline, kept: EntitlementMemory, at: npt.NDArray[np.int64]
    ) -> Flags:
        """Which events are violations of which kind: (n, 5); what was looked at is remembered."""
        entitled = events.context["entitled"]
        wrong = _flags(entitled)
        if self._looks_for_both:
            wrong[:, BOTH] = self._in_both(events, baseline, kept, at)
        expected = np.repeat(baseline.of(baseline.expected, events.users), np.diff(events.first), axis=0)
        found: Flags = wrong & ~expected & (entitled & EXEMPT == 0)[:, None]
        return found

    def _in_both(
        self, events: Events, baseline: EntitlementBaseline, kept: EntitlementMemory, at: npt.NDArray[np.int64]
    ) -> Flags:
        """Events in an exclusive scope, not the user's own, of those who have looked at another."""
        sizes, scopes = np.diff(events.first), np.arange(1, len(self._scopes.names) + 1)
        content = np.where(self._is_exclusive(events), events.context["entitled_content"], 0)
        here = content[:, None] == scopes
        earlier = kept.seen[at] + baseline.of(baseline.seen, events.users)
        so_far = np.repeat(earlier, sizes, axis=0) + _before(here, events.first) + here
        others = ((so_far >= self.least) & ~here).any(axis=1)
        enough = (here & (so_far >= self.least)).any(axis=1)
        kept.seen[at] += np.add.reduceat(here.astype(np.int64), events.first[:-1], axis=0)
        found: Flags = others & enough & (events.context["entitled"] & FOREIGN > 0)
        return found

    def _is_exclusive(self, events: Events) -> Flags:
        """Which events are in exclusive scopes, of users to whom not everything is allowed."""
        content = events.context["entitled_content"].astype(np.int64)
        excluded = (self._exclusive << 1) >> content & 1 > 0
        found: Flags = (content > 0) & excluded & (events.context["entitled"] & EXEMPT == 0)
        return found

    @cached_property
    def _looks_for_both(self) -> bool:
        """Whether anybody looks for users in two exclusive scopes."""
        return bool(self.exclusive) and KINDS[BOTH] in self.findings

    @property
    def _is_joined(self) -> bool:
        """Whether there is a table besides the log."""
        return bool(self.table or self.url)

    @cached_property
    def keys(self) -> tuple[str, str]:
        """The column of the log and that of the table that say which period is meant."""
        log, _, other = (part.strip() for part in self.key.partition("="))
        return log, other or log

    @cached_property
    def _columns(self) -> Columns:
        return Columns(self.start, self.end, self.named, self.scope)

    @cached_property
    def _exempt(self) -> tuple[Condition, ...]:
        return tuple(map(Condition.parse, self.exempt))

    @cached_property
    def _scopes(self) -> Scopes:
        return Scopes(self.scopes or {}, self.shared, unlisted=self.unlisted)

    @cached_property
    def _exclusive(self) -> int:
        """The exclusive scopes as bits."""
        return sum(1 << self._scopes.names.index(name) for name in self.exclusive)

    @cached_property
    def _thing(self) -> str:
        """What a period is of, such as a cohort."""
        return (self.keys[0] or self.named).rpartition(".")[2].removesuffix("_id").replace("_", " ") or "period"

    @cached_property
    def rows(self) -> pl.DataFrame:
        """The table as it stands; no rows where there is none.

        Raises
        ------
        SourceError
            If it cannot be read.
        """
        if self.table:
            return read_table(self.table)
        return query_table(getattr(self, "_address", self.url), self.query) if self.url else pl.DataFrame()

    @cached_property
    def periods(self) -> Periods:
        """The periods of the table; what cannot be used of it is told."""
        found = self._read(self.rows, self.keys[1], self.table or self.url)
        tell(found.quarantine)
        return found

    @property
    def scope_names(self) -> tuple[str, ...]:
        """The names of scopes, in order."""
        return self._scopes.names

    def check(self) -> Quarantine:
        """Read the table, and give the rows of it that cannot be used.

        Raises
        ------
        SourceError, EventError
            If there is no such table, or it lacks a column.
        """
        return self.periods.quarantine if self._is_joined else Quarantine()

    def _read(self, table: pl.DataFrame, key: str, where: str) -> Periods:
        return periods_of(
            table,
            key,
            self._columns,
            scopes=self._scopes.names,
            programs=self.programs,
            exempt=self._exempt,
            where=where,
        )

    def _periods_of(self, events: pl.DataFrame) -> tuple[Periods, npt.NDArray[np.int64]]:
        """The periods, and the number of the key that each event has."""
        if self._is_joined:
            keys = _column(events, self.keys[0])
            if len(keys) >= _ENOUGH and keys.null_count() == len(keys) and not self._warned:
                self._warned.add(("empty", self.keys[0]))
                _log.warning('column "%s" of the log is empty or not there: no event has a key', label(self.keys[0]))
            return self.periods, self.periods.find(keys)
        frame = pl.DataFrame({name: spelled(_column(events, name)) for name in self.raw_columns if name != self.path})
        if not frame.columns:
            return self._read(pl.DataFrame(schema={_ROW: pl.String}), _ROW, "the log"), np.full(len(events), -1)
        kinds = frame.unique(maintain_order=True).with_row_index(_ROW)
        numbers = frame.join(kinds, on=frame.columns, how="left", nulls_equal=True, maintain_order="left")[_ROW]
        periods = self._read(kinds.with_columns(pl.col(_ROW).cast(pl.String)), _ROW, "the log")
        found = periods.find(numbers.cast(pl.String))
        self._warn(periods.quarantine)
        nothing = frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
        return periods, np.where(nothing.to_numpy(), -1, found)

    def _warn(self, quarantine: Quarantine) -> None:
        """Tell what cannot be read of the log's own columns, each thing once."""
        new = [each for each in quarantine.samples if (each.reason, each.text) not in self._warned]
        self._warned.update((each.reason, each.text) for each in new[: _MOST_WARNINGS - len(self._warned)])
        if new and len(self._warned) < _MOST_WARNINGS:
            tell(Quarantine({each.reason: 1 for each in new}, new))

    @cached_property
    def _warned(self) -> set[tuple[str, str]]:
        return set()

    def _allowed(self, paths: pl.Series) -> npt.NDArray[np.uint16]:
        """The scopes that hold what was looked at, as bits."""
        if not self._scopes.names:
            return np.zeros(len(paths), np.uint16)
        kinds = paths.unique()
        found = pl.Series(self._scopes.allow([path or "" for path in kinds.to_list()]))
        return paths.replace_strict(kinds, found, return_dtype=pl.UInt16).to_numpy()

    def _problems(self) -> list[str]:
        """What does not go together."""
        found = []
        if self.table and self.url:
            found.append("table and url: one table is enough. Leave out either")
        if bool(self.url) != bool(self.query):
            found.append("url and query go together: the database, and what to ask it")
        if self._is_joined and not self.key:
            found.append('key: which column of the log names a row of the table? Such as key = "cohort_id=id"')
        if not any((self.start, self.end, self.scope, self.exclusive, "unknown" in self.findings)):
            found.append('nothing to look for: give start, end or scope, such as end = "end_date"')
        if self.scope and not self.scopes:
            found.append("scope: what may those of a scope look at? Give [entitlement.scopes]")
        found += [
            f"{name}: expected {least} or more, found {getattr(self, name)}"
            for name, least in (("early", 0), ("grace", 0), ("least", 1))
            if getattr(self, name) < least
        ]
        return [*found, *self._wrong_scopes(), *self._wrong_words(), *self._wrong_conditions()]

    def _wrong_scopes(self) -> list[str]:
        """What is wrong with scopes and what refers to them."""
        names = list(self.scopes or {})
        named = {"exclusive": self.exclusive, "programs": tuple((self.programs or {}).values())}
        found = [
            f'{setting}: there is no scope "{name}". Known: {", ".join(names) or "none"}.{nearest(name, names)}'
            for setting, given in named.items()
            for name in given
            if name not in names
        ]
        if len(names) > 0 and any(not prefix.strip("/") for part in (self.scopes or {}).values() for prefix in part):
            found.append("scopes: a prefix must not be empty; for everything write *")
        if len(self.exclusive) == 1:
            found.append("exclusive: expected two scopes or more, found one")
        return found

    def _wrong_conditions(self) -> list[str]:
        """What is wrong with conditions."""
        for text in self.exempt:
            try:
                Condition.parse(text)
            except UsageError as error:
                return [f"exempt: {error}"]
        return []

    def _wrong_words(self) -> list[str]:
        """Words that are none of those known."""
        given = {"findings": (self.findings, KINDS), "unlisted": ((self.unlisted,), ("allow", "deny"))}
        return [
            f'{setting}: expected {" or ".join(known)}, found "{word}".{nearest(word, known)}'
            for setting, (words, known) in given.items()
            for word in words
            if word not in known
        ]


_ROW: Final = "amiss row"
_MOST_WARNINGS: Final = 20
_ENOUGH: Final = 20
"""Events without a key from which on it is told that there is none."""


def _without_password(url: str) -> str:
    """An address without the password in it."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=f"{parts.username}@{parts.netloc.rpartition('@')[2]}"))


def _local_days(time: pl.Series, timezone: str) -> npt.NDArray[np.int64]:
    """The days of times in a zone, since 1970."""
    return time.dt.convert_time_zone(timezone).dt.date().to_physical().cast(pl.Int64).to_numpy()


def _column(events: pl.DataFrame, name: str) -> pl.Series:
    """A column of the log by its name, whatever role it plays.

    Raises
    ------
    EventError
        If there is none.
    """
    for known in (f"raw.{name}", name):
        if known in events.columns:
            return events[known]
    found = ", ".join(events.columns)
    raise EventError(f'entitlement: the log has no column "{name}". Found: {found}.{nearest(name, events.columns)}')


def _sole(allowed: npt.NDArray[np.uint16], among: int) -> npt.NDArray[np.int64]:
    """The one scope that holds what was looked at, if it is `among` some as bits; -1 where there are more or none."""
    bits = allowed.astype(np.int64)
    alone = (bits > 0) & (bits & (bits - 1) == 0) & (bits & among > 0)
    return np.where(alone, np.log2(np.maximum(bits, 1)).astype(np.int64), -1)


def _before(flags: Flags, first: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many earlier events of the same user had each flag: (n, k)."""
    run = np.cumsum(flags, axis=0, dtype=np.int64) - flags
    found: npt.NDArray[np.int64] = run - np.repeat(run[first[:-1]], np.diff(first), axis=0)
    return found


def _evidence(kinds: Flags, worth: Floats) -> Floats:
    """The day's evidence after some kinds of violations, as a factor."""
    total = np.full(len(kinds), _HALF)
    for kind in range(len(KINDS)):
        total = total + np.where(kinds[:, kind], worth[:, kind], 0.0)
    return np.where(kinds.any(axis=1), total, 1.0)


def _flags(bits: npt.NDArray[np.uint8]) -> Flags:
    """Bits (n,) as flags of kinds (n, 5)."""
    found: Flags = bits[:, None] >> np.arange(len(KINDS), dtype=np.uint8) & 1 > 0
    return found


def _rows(feature: int, user: Users, value: npt.NDArray[np.int64] | int) -> pl.DataFrame:
    """Rows of counts, one an event."""
    columns = {"user": user, "value": np.broadcast_to(value, user.shape)}
    types = {name: COUNT_SCHEMA[name] for name in ("feature", "user", "value")}
    return (
        pl.DataFrame(columns).with_columns(feature=pl.lit(feature)).select(pl.col(n).cast(t) for n, t in types.items())
    )


def _bits(flags: Flags) -> npt.NDArray[np.uint8]:
    """Flags (u, 5) as bits (u,)."""
    found: npt.NDArray[np.uint8] = (flags << np.arange(len(KINDS))).sum(axis=1).astype(np.uint8)
    return found


def _table(user: Users, rows: pl.DataFrame, width: int) -> Floats:
    """Rows `user`, `value`, `days` as a table of users by value."""
    table = np.zeros((len(user), width))
    good = rows.filter((pl.col("value") >= 0) & (pl.col("value") < width))
    if len(good):
        table[np.searchsorted(user, good["user"].to_numpy()), good["value"].to_numpy()] = good["days"].to_numpy()
    return table


def _viewed(actions: Counter[str], count: int, *, pages: bool) -> str:
    """What was done how often."""
    if not pages:
        action, times = actions.most_common(1)[0]
        often = "once" if count == 1 else f"{count:,} times"
        return f"did {action} {often}" if times == count else f"did {count:,} things, most often {action},"
    areas: Counter[str] = Counter()
    for action, times in actions.items():
        areas[action.lstrip("/").partition("/")[0] or action] += times
    area, times = areas.most_common(1)[0]
    pages_ = "1 page" if count == 1 else f"{count:,} pages"
    return f"viewed {pages_} of {area}" if times == count else f"viewed {pages_}, most of them of {area},"


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count:,} days"


def _rate(told: Told) -> str:
    """How many users do so."""
    if not told.of:
        return ""
    if not told.users:
        return f"; none of {told.of:,} other users did so"
    share = 100 * told.users / told.of
    return f"; {share:.0f} % of users here do" if share >= 1 else f"; {told.users:,} of {told.of:,} other users did so"
