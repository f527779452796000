"""What terminal and report both tell: a user's events, abridged, and the figures of a scan in words."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypedDict

import polars as pl

from amiss import escape, evidence

if TYPE_CHECKING:
    from amiss.events import Quarantine
    from amiss.result import Alike, Summary

EDGE: Final = 6
"""Events at each end of a long story that are always told."""

MOST_GAPS: Final = 3
"""The gaps of a log that are named."""

MOST_CROWDS: Final = 3
"""The crowds that are told of."""

MOST_NAMED: Final = 3
"""The users of a crowd who are named."""

ENOUGH: Final = 8
"""Events from which a user is worth comparing with."""


class Reason(TypedDict):
    """A number behind the bits, and its sentence; see `Result.users`."""

    detector: str
    bits: float
    text: str


@dataclass(frozen=True)
class Step:
    """One event of a story; its number counts from 1."""

    number: int
    time: datetime
    action: str
    outcome: str
    previous: str | None
    gap_seconds: float | None
    surprisal: float
    bits: float
    evidence: float


@dataclass(frozen=True)
class Skipped:
    """Events that an abridged story leaves out: how many, and their bits together."""

    events: int
    bits: float


def abridge(story: pl.DataFrame, rows: int = 32, *, keep: int | None = None) -> list[Step | Skipped]:
    """The story in about `rows` events: both ends, and between them those with most bits, for or against.

    A story that is only half as long again is told whole; event number `keep` is told in any case.

    Examples
    --------
    >>> from datetime import UTC
    >>> event = {"time": datetime(2026, 1, 5, tzinfo=UTC), "action": "login", "outcome": "success", "previous": None,
    ...          "gap_seconds": None, "surprisal": 1.0, "bits": 0.25, "evidence": 0.5}
    >>> [type(part).__name__ for part in abridge(pl.DataFrame([event] * 3))]
    ['Step', 'Step', 'Step']
    >>> abridge(pl.DataFrame([event] * 100), rows=12)[6]
    Skipped(events=88, bits=22.0)
    """
    numbered = story.with_columns(pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("number"))
    told = numbered.select(*Step.__dataclass_fields__).to_dicts()
    if story.height <= rows * 3 // 2:
        return [Step(**row) for row in told]
    return list(_with_gaps([Step(**row) for row in told], _told(numbered, rows) | ({keep} if keep else set())))


def _told(story: pl.DataFrame, rows: int) -> set[int]:
    """Numbers of the events to tell."""
    middle = story.slice(EDGE, story.height - 2 * EDGE)
    telling = middle.sort(pl.col("bits").abs(), descending=True, maintain_order=True).head(max(0, rows - 2 * EDGE))
    return {*story["number"].head(EDGE), *telling["number"], *story["number"].tail(EDGE)}


def _with_gaps(steps: Sequence[Step], told: set[int]) -> Iterator[Step | Skipped]:
    """The told events, and between them what was skipped; a single skipped event is told instead."""
    for is_told, part in itertools.groupby(steps, key=lambda step: step.number in told):
        run = list(part)
        if is_told or len(run) == 1:
            yield from run
        else:
            yield Skipped(len(run), math.fsum(step.bits for step in run))


def crossing(story: pl.DataFrame, threshold_bits: float) -> int | None:
    """The number of the event at which the evidence first reaches the threshold, counted from 1.

    Examples
    --------
    >>> crossing(pl.DataFrame({"evidence": [0.5, 12.0, 3.0]}), 10.0)
    2
    """
    reached = story["evidence"] >= threshold_bits
    return reached.arg_max() + 1 if reached.any() else None  # type: ignore[operator] # not empty when any


def gaps_said(gaps: Sequence[tuple[date, date]]) -> str:
    """The days on which a log has nothing of anybody: the three longest runs, and how many days in all.

    Examples
    --------
    >>> gaps_said([(date(2026, 1, 3), date(2026, 1, 4)), (date(2026, 1, 10), date(2026, 1, 10))])
    'no event of anybody on 3 days: 2026-01-03 to 2026-01-04, 2026-01-10'
    """
    days = sum((last - first).days + 1 for first, last in gaps)
    longest = sorted(sorted(gaps, key=lambda gap: gap[0] - gap[1])[:MOST_GAPS])
    runs = ", ".join(f"{first} to {last}" if last > first else f"{first}" for first, last in longest)
    more = f" and {plural(len(gaps) - MOST_GAPS, 'gap')} more" if len(gaps) > MOST_GAPS else ""
    return f"no event of anybody on {plural(days, 'day')}: {runs}{more}"


def crowds_said(crowds: Sequence[Alike]) -> list[str]:
    """Users who do alike: how many, what they do, and who the first are; of the largest crowds.

    Examples
    --------
    >>> from amiss.result import Alike
    >>> four = ("bot1", "bot7", "bot9", "eve")
    >>> crowds_said([Alike(date(2026, 1, 5), four, "view_item 73%", 48.5)])
    ['4 of them did alike on 2026-01-05, as nobody else: view_item 73% (bot1, bot7, bot9 and 1 more)']
    """
    return [
        f"{len(crowd.users):,} of them did alike on {crowd.day}, as nobody else: {escape.visible(crowd.does)} "
        f"({', '.join(escape.label(user, 40) for user in crowd.users[:MOST_NAMED])}"
        f"{f' and {more:,} more' if (more := len(crowd.users) - MOST_NAMED) > 0 else ''})"
        for crowd in crowds[:MOST_CROWDS]
    ]


def amount_strip(cents: int, near: Sequence[int], width: int = 60) -> tuple[str, str]:
    """A purchase (◆) beside those near: how many of them fall into each step of a factor, and the amounts at the ends.

    Amounts below a cent stand at a cent; ten and more in a step are a `+`.

    Examples
    --------
    >>> for line in amount_strip(160_000, [1000, 1100, 2000, 4000], width=24):
    ...     print(line)
    2··1··1················◆
    10.00           1,600.00
    """
    logs = [math.log(max(1, amount)) for amount in (*near, cents)]
    low, high = min(logs), max(logs)
    places = [round((log - low) / max(high - low, 1e-9) * (width - 1)) for log in logs]
    counts = Counter(places[:-1])
    marks = ["·" if not counts[at] else str(counts[at]) if counts[at] < 10 else "+" for at in range(width)]
    marks[places[-1]] = "◆"
    ends = [f"{max(1, amount) / 100:,.2f}" for amount in (min(*near, cents), max(*near, cents))]
    return "".join(marks), f"{ends[0]}{ends[1]:>{width - len(ends[0])}}"


def duration(seconds: float | None) -> str:
    """A span of time in two figures or so.

    Examples
    --------
    >>> [duration(seconds) for seconds in (None, 0.25, 12, 90, 7200, 200_000)]
    ['', '0.2 s', '12 s', '1.5 min', '2 h', '2.31 d']
    """
    if seconds is None:
        return ""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}" if seconds < 100 * length else f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 or seconds == int(seconds) else f"{seconds:.1f} s"


def beginning(text: str, width: int = 60) -> str:
    r"""The first characters of a row that could not be read, made harmless.

    Examples
    --------
    >>> print(beginning("{oops\x1b" * 20, 12))
    {oops\x1b{o…
    """
    shown = escape.visible(text[:width])
    return shown if len(shown) <= width and len(text) <= width else f"{shown[: width - 1]}{escape.ELLIPSIS}"


def plural(count: int, noun: str) -> str:
    """The count with its noun.

    Examples
    --------
    >>> plural(1, "user"), plural(13586, "event")
    ('1 user', '13,586 events')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def span(first: datetime, last: datetime) -> str:
    """From when to when, without saying anything twice.

    Examples
    --------
    >>> span(datetime(2026, 1, 5, 8, 15), datetime(2026, 1, 5, 9, 0))
    '5 Jan 2026, 08:15 to 09:00 UTC'
    >>> span(datetime(2026, 1, 5, 8, 15), datetime(2026, 2, 1, 9, 0))
    '5 Jan 2026 08:15 to 1 Feb 2026 09:00 UTC'
    """
    if first.date() == last.date():
        return f"{day(first)}, {first:%H:%M} to {last:%H:%M} UTC"
    return f"{day(first)} {first:%H:%M} to {day(last)} {last:%H:%M} UTC"


def day(time: datetime) -> str:
    """The date with its month in letters.

    Examples
    --------
    >>> day(datetime(2026, 1, 5))
    '5 Jan 2026'
    """
    return f"{time.day} {time:%b %Y}"


def headline(summary: Summary, top_user: str | None) -> str:
    """One sentence: who stands out. The user's name is shown as it may be shown."""
    if top_user is None or summary.alerts == 0:
        return "Nobody stands out."
    name = escape.label(top_user)
    if summary.alerts == 1:
        return f"{name} stands out."
    return f"{summary.alerts:,} users stand out, {name} most of all."


def rarity(bits: float, users: float) -> str:
    """What these bits mean here: how often chance gives as much to any of the users of a day.

    Examples
    --------
    >>> rarity(18.7, 1000)
    '18.7 bits: by chance at most once in 14 months'
    """
    return f"{bits:,.1f} bits: {evidence.once_in(bits, users)}"


def alerts_said(summary: Summary) -> str:
    """How many alerts there are a day, and how many chance would give.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> alerts_said(SimpleNamespace(alerts=34, actual_alarms_per_day=17.0, expected_alarms_per_day=1.0))
    '34, which is 17 a day; chance alone gives at most 1 a day'
    """
    seen, chance = summary.actual_alarms_per_day, summary.expected_alarms_per_day
    return f"{summary.alerts:,}, which is {_figure(seen)} a day; chance alone gives at most {_figure(chance)} a day"


def _figure(value: float) -> str:
    return f"{value:,.2g}" if value < 10 else f"{value:,.0f}"


def budget_said(summary: Summary) -> str:
    """The budget, and the threshold that follows from it.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> budget_said(SimpleNamespace(budget_per_day=3.0, threshold_bits=9.966))
    '3 false alarms a day, so alerts start at 10.0 bits'
    """
    count = f"{summary.budget_per_day:g} false alarm{'' if summary.budget_per_day == 1 else 's'}"
    return f"{count} a day, so alerts start at {summary.threshold_bits:.1f} bits"


def quarantine_said(quarantine: Quarantine) -> str:
    """How many rows could not be read, by reason, the most frequent first.

    Examples
    --------
    >>> from amiss.events import Quarantine
    >>> quarantine_said(Quarantine({"not JSON": 1, "no user": 12}))
    '13 rows: 12 no user, 1 not JSON'
    >>> quarantine_said(Quarantine())
    'none'
    """
    return counted(quarantine.reasons, "row")


def counted(counts: Mapping[str, int], noun: str) -> str:
    """How many rows or lines there are of each reason, the most frequent first.

    Examples
    --------
    >>> counted({"session closed": 1}, "line")
    '1 line: 1 session closed'
    """
    total = sum(counts.values())
    if not total:
        return "none"
    reasons = sorted(counts.items(), key=lambda pair: -pair[1])
    said = ", ".join(f"{count:,} {escape.label(reason, 60)}" for reason, count in reasons[:4])
    more = f", and {len(reasons) - 4} other reasons" if len(reasons) > 4 else ""
    return f"{plural(total, noun)}: {said}{more}"


def why(reasons: Sequence[Reason], limit: int = 120) -> str:
    """The reasons as one sentence of about `limit` characters, the weightiest first.

    Examples
    --------
    >>> why([{"detector": "sequence", "bits": 5.25, "text": "comment after login"}])
    'comment after login (5.2 bits)'
    """
    said: list[str] = []
    for reason in reasons:
        part = f"{escape.label(reason['text'], max(120, 2 * limit))} ({reason['bits']:,.1f} bits)"
        if said and sum(map(len, said)) + len(part) > limit:
            break
        said.append(part)
    return "; ".join(said)


def ordinary(users: pl.DataFrame) -> str | None:
    """The user in the middle of the ranking, among those with some events, for comparison with the first.

    Nobody when that is the first user themself.

    Examples
    --------
    >>> ordinary(pl.DataFrame({"user": ["a", "b", "c", "d"], "events": [90, 1, 12, 15]}))
    'c'
    """
    busy = users.filter(pl.col("events") >= ENOUGH)
    among = busy if busy.height > 1 else users
    middle = among["user"][among.height // 2] if among.height else None
    return middle if middle is not None and middle != users["user"][0] else None


def rate(events: int, seconds: float) -> str:
    """Events a second in words.

    Examples
    --------
    >>> rate(81_832, 0.25)
    '0.25 s, 330,000 events/s'
    """
    speed = float(f"{events / max(seconds, 1e-9):.2g}")
    return f"{timedelta_said(seconds)}, {speed:,.0f} events/s"


def timedelta_said(seconds: float) -> str:
    """Seconds with a precision that fits, minutes above 120 of them."""
    return str(timedelta(seconds=round(seconds))) if seconds >= 120 else f"{seconds:.2g} s"
