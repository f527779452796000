"""Rules that hide alerts: which user, action, address, country, detector or time they are about.

A rule hides an alert where all of its conditions hold. What is not known holds for none of them, so that a rule hides
too little rather than too much.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final, NamedTuple, Protocol, TypeVar
from zoneinfo import ZoneInfo

from amiss import evidence
from amiss.alerts import Alert
from amiss.errors import UsageError, nearest
from amiss.times import check_timezone

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""The days of a week, as rules name them."""

Seen = Mapping[str, Collection[str]]
"""Values that a user's events in a story have, by column: `ip`, `country`; `action` of the events behind reasons."""

Network = IPv4Network | IPv6Network

_UTC: Final = ZoneInfo("UTC")
_HOURS: Final = re.compile(r"\s*(\d\d:\d\d)\s*-\s*(\d\d:\d\d)\s*", re.ASCII)
_MIDNIGHT: Final = "24:00"
_COUNTRY: Final = re.compile(r"[A-Za-z]{2}", re.ASCII)


class Stored(Protocol):
    """A rule as it is kept, for as long as it holds; :class:`amiss.store.Suppression` is one."""

    @property
    def id(self) -> int:
        """Its number."""
        ...

    @property
    def rule(self) -> Mapping[str, Any]:
        """What :meth:`Rule.record` gave."""
        ...

    def is_active(self, time: datetime) -> bool:
        """Whether it holds at a time."""
        ...


StoredRule = TypeVar("StoredRule", bound=Stored)


class Hours(NamedTuple):
    """A part of each day, on the clock of a zone: from `start` until just before `end`, which may be the next day's.

    Examples
    --------
    >>> night = Hours.parse("22:00-06:00")
    >>> night.began(datetime(2026, 3, 3, 2, 0)), night.began(datetime(2026, 3, 3, 6, 0))
    (datetime.date(2026, 3, 2), None)
    """

    start: time
    end: time

    @classmethod
    def parse(cls, text: str) -> Hours:
        """The hours that a text such as `22:00-06:00` names."""
        match = _HOURS.fullmatch(text)
        if match is None:
            raise ValueError(text)
        start, end = match[1], "00:00" if match[2] == _MIDNIGHT else match[2]
        if start == end:
            raise ValueError(text)
        return cls(time.fromisoformat(start), time.fromisoformat(end))

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{_MIDNIGHT if self.end == time() else f'{self.end:%H:%M}'}"

    def began(self, local: datetime) -> date | None:
        """The day on which the hours began that a time lies in; None where it lies in none."""
        clock = local.time()
        if self.start < self.end:
            return local.date() if self.start <= clock < self.end else None
        if clock >= self.start:
            return local.date()
        return local.date() - timedelta(days=1) if clock < self.end else None


@dataclass(frozen=True)
class Rule:
    """What alerts it hides: those for which all of these hold, as far as they are given.

    Parameters
    ----------
    user
        The name, in which `*` stands for any characters and `?` for one.
    action
        As `user`; all actions behind the reasons must be like it, or one that is would hide another that is not.
    address
        All addresses of the user's events in the story must lie in it.
    country
        ISO 3166 code, such as `FR`; all countries of the user's events in the story must be it.
    detector
        Without its bits the others stay below the threshold of the alert.
    hours, weekdays, since, until
        When the alert happened, on the clock of `zone`; both days are included. Hours over midnight belong to the day
        on which they begin: `sat` and `22:00-06:00` hold until six on Sunday. Weekdays count from Monday, 0.

    Examples
    --------
    >>> from datetime import UTC
    >>> rule = Rule.parse({"user": "svc-*", "address": "10.0.0.0/8", "hours": "22:00-06:00"})
    >>> rule.record()
    {'user': 'svc-*', 'address': '10.0.0.0/8', 'hours': '22:00-06:00', 'timezone': 'UTC'}
    >>> alert = Alert("a1", "s1", datetime(2026, 3, 2, 3, 12, tzinfo=UTC), "svc-backup", 18.7, "high", {"habit": 18.7},
    ...               [], date(2026, 3, 2), 12, "by chance at most once in 14 months", 71)
    >>> rule.hides(alert, {"ip": ["10.1.2.3"]}), rule.hides(alert, {"ip": ["10.1.2.3", "192.0.2.1"]})
    (True, False)
    """

    user: str | None = None
    action: str | None = None
    address: Network | None = None
    country: str | None = None
    detector: str | None = None
    hours: Hours | None = None
    weekdays: frozenset[int] | None = None
    since: date | None = None
    until: date | None = None
    zone: ZoneInfo = _UTC

    @classmethod
    def parse(cls, conditions: Mapping[str, Any], *, detectors: Collection[str] = ()) -> Rule:
        """The rule of conditions in plain texts, by name.

        Parameters
        ----------
        conditions
            `user`, `action`, `address`, `country`, `detector`, `hours`, `weekdays` (`sat,sun` or `mon-fri`), `from`,
            `until` (`2026-03-31`), `timezone`.
        detectors
            The names that there are; any will do unless given.

        Raises
        ------
        UsageError
            With everything that is wrong, and what was expected.
        """
        problems = [_strange(name) for name in conditions if name not in _READ]
        found: dict[str, Any] = {}
        for name, text in conditions.items():
            if name in _READ:
                try:
                    found[_FIELDS.get(name, name)] = _READ[name](_text(text))
                except (ValueError, TypeError, UsageError):
                    problems.append(f'{name}: expected {_EXPECTED[name]}. Found: "{text}"')
        problems.extend(problem for problem in _contradictions(found, detectors) if not problems)
        if problems:
            raise UsageError("\n".join(problems))
        return cls(**found)

    def record(self) -> dict[str, str]:
        """The conditions in the plain texts that :meth:`parse` reads."""
        texts = {
            "user": self.user,
            "action": self.action,
            "address": None if self.address is None else _shown(self.address),
            "country": self.country,
            "detector": self.detector,
            "hours": None if self.hours is None else str(self.hours),
            "weekdays": None if self.weekdays is None else ",".join(DAYS[day] for day in sorted(self.weekdays)),
            "from": None if self.since is None else self.since.isoformat(),
            "until": None if self.until is None else self.until.isoformat(),
            "timezone": self.zone.key if self._is_timed else None,
        }
        return {name: text for name, text in texts.items() if text is not None}

    def hides(self, alert: Alert, seen: Seen, *, threshold: float = 0.0) -> bool:
        """Whether the rule hides an alert.

        Parameters
        ----------
        alert
            One with an `action` in its reasons needs none in `seen`.
        seen
            Values of the user's events in the story; a column that is missing matches nothing.
        threshold
            The bits at which the alert fired; `detector` holds where the others stay below.
        """
        holds = [
            like(alert.user, self.user) if self.user is not None else None,
            self._has_action(alert, seen) if self.action is not None else None,
            _all(seen.get("ip", ()), self._has_address) if self.address is not None else None,
            _all(seen.get("country", ()), self._has_country) if self.country is not None else None,
            _carries(self.detector, alert.detectors, threshold) if self.detector is not None else None,
            self._is_time(alert.time) if self._is_timed else None,
        ]
        given = [each for each in holds if each is not None]
        return bool(given) and all(given)

    @property
    def _is_timed(self) -> bool:
        """Whether it matters when an alert happened."""
        return any(part is not None for part in (self.hours, self.weekdays, self.since, self.until))

    def _has_action(self, alert: Alert, seen: Seen) -> bool:
        """Whether all actions behind the reasons are like that of the rule."""
        told = [str(reason["action"]) for reason in alert.reasons if "action" in reason]
        return _all((*told, *seen.get("action", ())), lambda action: like(action, self.action or ""))

    def _has_address(self, text: str) -> bool:
        """Whether an address lies in the network; IPv4 written as IPv6 counts as IPv4."""
        try:
            found = ip_address(text.strip())
        except ValueError:
            return False
        plain = found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
        return self.address is not None and plain in self.address

    def _has_country(self, text: str) -> bool:
        """Whether a country is that of the rule."""
        return text.strip().upper() == self.country

    def _is_time(self, moment: datetime) -> bool:
        """Whether a time lies in the hours, on the weekdays and between the days."""
        local = moment.astimezone(self.zone)
        day = local.date() if self.hours is None else self.hours.began(local)
        if day is None or (self.weekdays is not None and day.weekday() not in self.weekdays):
            return False
        return (self.since or date.min) <= day <= (self.until or date.max)


class Effect(NamedTuple):
    """What a rule would have hidden of the alerts of so many days: these, of so many."""

    alerts: list[Alert]
    of: int
    days: int

    @property
    def sentence(self) -> str:
        """How many, in words."""
        return f"It would have hidden {len(self.alerts):,} of the {self.of:,} alerts of the last {self.days} days."


def first_that_hides(
    suppressions: Iterable[StoredRule], alert: Alert, seen: Seen, at: datetime, *, threshold: float = 0.0
) -> StoredRule | None:
    """The first of those that hold at a time which hides the alert, or None.

    One that cannot be read hides nothing; see `unreadable`. The others are as for :meth:`Rule.hides`.
    """
    for stored in suppressions:
        rule = _kept(stored.rule) if stored.is_active(at) else None
        if rule is not None and rule.hides(alert, seen, threshold=threshold):
            return stored
    return None


def unreadable(suppressions: Iterable[Stored]) -> list[str]:
    """What is wrong with rules that hide nothing since they cannot be read, a sentence each."""
    problems = []
    for stored in suppressions:
        try:
            Rule.parse(stored.rule)
        except UsageError as error:
            problems.append(f"suppression {stored.id} hides nothing: {error}")
    return problems


def examples(
    rule: Rule,
    alerts: Iterable[Alert],
    seen: Callable[[Alert], Seen],
    *,
    now: datetime,
    days: int = 30,
    threshold: Callable[[Alert], float] = lambda _: 0.0,
) -> Effect:
    """What a rule would have hidden lately.

    Parameters
    ----------
    alerts
        Those that are kept; older ones than `days` are left out.
    seen, threshold
        What :meth:`Rule.hides` needs to know of an alert.

    Examples
    --------
    >>> from datetime import UTC
    >>> alert = Alert("a1", "s1", datetime(2026, 3, 2, 3, 12, tzinfo=UTC), "ann", 18.7, "high", {"habit": 18.7}, [],
    ...               date(2026, 3, 2), 12, "by chance at most once in 14 months", 71)
    >>> examples(Rule(user="ann"), [alert], lambda alert: {}, now=datetime(2026, 3, 4, tzinfo=UTC)).sentence
    'It would have hidden 1 of the 1 alerts of the last 30 days.'
    """
    recent = [alert for alert in alerts if alert.time >= now - timedelta(days=days)]
    hidden = [alert for alert in recent if rule.hides(alert, seen(alert), threshold=threshold(alert))]
    return Effect(hidden, len(recent), days)


def like(text: str, pattern: str) -> bool:
    """Whether a text is the pattern, in which `*` stands for any characters and `?` for one.

    Examples
    --------
    >>> like("svc-backup", "svc-*"), like("[a]", "[a]"), like("a", "[a]")
    (True, True, False)
    """
    return text == pattern or fnmatchcase(text, pattern.replace("[", "[[]"))


def _carries(detector: str, bits: Mapping[str, float], threshold: float) -> bool:
    """Whether the evidence of the other detectors together stays below a threshold."""
    others = {name: value for name, value in bits.items() if name != detector and value != 0.0}
    return detector in bits and (not others or evidence.combine(others) < threshold)


def _all(values: Collection[str], holds: Callable[[str], bool]) -> bool:
    """Whether something is known, and holds throughout."""
    return len(values) > 0 and all(map(holds, values))


def _kept(conditions: Mapping[str, Any]) -> Rule | None:
    """The rule that was kept, or None where it cannot be read."""
    try:
        return _read_once(tuple(conditions.items()))
    except (UsageError, TypeError):
        return None


@lru_cache(maxsize=1024)
def _read_once(conditions: tuple[tuple[str, Any], ...]) -> Rule:
    """A rule, read once for all alerts."""
    return Rule.parse(dict(conditions))


def _strange(name: str) -> str:
    """That there is no such condition."""
    return f'no condition is called "{name}". Known: {", ".join(_READ)}.{nearest(name, _READ)}'


def _contradictions(found: Mapping[str, Any], detectors: Collection[str]) -> list[str]:
    """What is wrong with conditions of which each is well formed."""
    problems = []
    if not found.keys() - {"zone"}:
        problems.append(f"a rule without a condition would hide every alert. Give one of {', '.join(_CONDITIONS)}")
    if found.get("since", date.min) > found.get("until", date.max):
        problems.append(f"until: expected a day from {found['since']} on. Found: {found['until']}")
    name = found.get("detector")
    if name is not None and detectors and name not in detectors:
        problems.append(f'no detector is called "{name}". Known: {", ".join(detectors)}.{nearest(name, detectors)}')
    return problems


def _text(value: object) -> str:
    """A value, which must be a text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise TypeError(value)
    return value


def _pattern(text: str) -> str:
    """A pattern that says something."""
    if not text.strip("*"):
        raise ValueError(text)
    return text


def _network(text: str) -> Network:
    """The addresses that a text names; of IPv4 written as IPv6, those of IPv4."""
    found = ip_network(text.strip())
    mapped = found.network_address.ipv4_mapped if isinstance(found, IPv6Network) else None
    return found if mapped is None or found.prefixlen < 96 else ip_network((mapped, found.prefixlen - 96))


def _shown(network: Network) -> str:
    """A network, or the address where it is but one."""
    return str(network.network_address if network.num_addresses == 1 else network)


def _country(text: str) -> str:
    """A code of two letters."""
    if not _COUNTRY.fullmatch(text.strip()):
        raise ValueError(text)
    return text.strip().upper()


def _weekdays(text: str) -> frozenset[int]:
    """The days that a text such as `sat,sun` or `fri-mon` names; not all of them."""
    days: set[int] = set()
    for part in text.lower().split(","):
        first, _, last = (name.strip() for name in part.partition("-"))
        start, end = DAYS.index(first), DAYS.index(last or first)
        days.update(day % len(DAYS) for day in range(start, end + 1 + (len(DAYS) if end < start else 0)))
    if len(days) == len(DAYS):
        raise ValueError(text)
    return frozenset(days)


def _day(text: str) -> date:
    """A day."""
    return date.fromisoformat(text.strip())


_READ: Final[dict[str, Callable[[str], object]]] = {
    "user": _pattern,
    "action": _pattern,
    "address": _network,
    "country": _country,
    "detector": str.strip,
    "hours": Hours.parse,
    "weekdays": _weekdays,
    "from": _day,
    "until": _day,
    "timezone": check_timezone,
}
_CONDITIONS: Final = tuple(name for name in _READ if name != "timezone")
_FIELDS: Final = {"from": "since", "timezone": "zone"}
_PATTERN_EXPECTED: Final = "a name, or a pattern such as svc-* that does not match everything"
_DAY_EXPECTED: Final = "a day such as 2026-03-31"
_EXPECTED: Final = {
    "user": _PATTERN_EXPECTED,
    "action": _PATTERN_EXPECTED,
    "address": "an address such as 192.0.2.7 or 2001:db8::7, or a network such as 192.0.2.0/24 without bits behind it",
    "country": "an ISO code of two letters such as FR",
    "detector": "the name of a detector",
    "hours": "a part of a day such as 22:00-06:00 or 18:00-24:00",
    "weekdays": "some days of a week such as sat,sun or mon-fri",
    "from": _DAY_EXPECTED,
    "until": _DAY_EXPECTED,
    "timezone": "a time zone such as UTC or Europe/Berlin",
}
