"""What a person receives about a user: one notice, in plain values and in plain words.

Texts here stand as the log had them; whoever shows them makes them harmless first, with :mod:`amiss.escape`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Self

from amiss.severity import Severity


@dataclass(frozen=True)
class Alert:
    """One notice about a user's period; more evidence that makes it more urgent gives a new notice of the same story.

    Parameters
    ----------
    alert_id
        Its own, and the same when it is sent again: by it receivers tell copies.
    story
        What all notices about this user's period have in common.
    time
        UTC, of the event that made it.
    user
        As the log names them.
    bits
        Evidence of the user in the period behind that event, all detectors together.
    severity
        How urgent.
    detectors
        Bits of each detector.
    reasons
        What speaks against the user most, each with `detector`, `bits`, `text` and the counts of
        :class:`amiss.detect.Reason`.
    period
        The day it belongs to.
    events
        Events of the user in the period so far.
    chance
        How often chance gives as much, in words.
    risk
        0 to 100, of the user over all periods.
    escalated_from
        The severity of the notice before, where the story has one.
    details
        What is known of the event that made it, as far as it is: `address`, `country` (ISO code), `city`, `device`
        ("Firefox, Linux"), `zone` of the user ("America/New_York") and `local_time` there ("2026-03-02 03:12").
    likely_class, class_probability
        The labelled class that the user's events of the period are most like, where one is likelier than all else by
        the odds, and how likely it is. In records these are `class` and `class_probability`, where they are known.

    Examples
    --------
    >>> from datetime import UTC
    >>> reason = {"detector": "habit", "bits": 9.6, "text": "login came after logout 3 of 4 times"}
    >>> alert = Alert("a1", "s1", datetime(2026, 3, 2, 3, 12, tzinfo=UTC), "u1042", 18.7, "high", {"habit": 18.7},
    ...               [reason], date(2026, 3, 2), 12, "by chance at most once in 14 months", 71)
    >>> alert.headline
    'u1042, 18.7 bits (high)'
    >>> alert.sentence
    'u1042: login came after logout 3 of 4 times (9.6 bits). Together 18.7 bits: by chance at most once in 14 months.'
    >>> Alert.from_record(alert.record()) == alert
    True
    """

    alert_id: str
    story: str
    time: datetime
    user: str
    bits: float
    severity: Severity
    detectors: Mapping[str, float]
    reasons: Sequence[Mapping[str, Any]]
    period: date
    events: int
    chance: str
    risk: int
    escalated_from: Severity | None = None
    details: Mapping[str, str] = field(default_factory=dict)
    likely_class: str | None = None
    class_probability: float | None = None

    @property
    def headline(self) -> str:
        """Who, how many bits, how urgent: a title."""
        return f"{self.user}, {self.bits:,.1f} bits ({self.urgency})"

    @property
    def urgency(self) -> str:
        """The severity, with the one before where it rose."""
        return f"{self.severity}, was {self.escalated_from}" if self.escalated_from else self.severity

    @property
    def sentence(self) -> str:
        """What the user did, and how often chance gives as much, in plain words."""
        said = ". ".join(f"{reason['text']} ({reason['bits']:,.1f} bits)" for reason in self.reasons)
        likeness = f" M{self.likeness[1:]}." if self.likeness else ""
        return f"{self.user}: {said or 'nothing unusual'}. Together {self.bits:,.1f} bits: {self.chance}.{likeness}"

    @property
    def likeness(self) -> str:
        """The class that the user is most like, in words; empty where none is known."""
        if self.likely_class is None or self.class_probability is None:
            return ""
        return f"most like {self.likely_class} ({math.floor(100 * self.class_probability)} %)"

    def record(self) -> dict[str, Any]:
        """The notice in the values that JSON has, what matters most first."""
        return {
            "alert_id": self.alert_id,
            "time": self.time.isoformat(),
            "user": self.user,
            "bits": self.bits,
            "severity": self.severity,
            "detectors": dict(self.detectors),
            "reasons": [dict(reason) for reason in self.reasons],
            "story": self.story,
            "period": self.period.isoformat(),
            "events": self.events,
            "chance": self.chance,
            "risk": self.risk,
            "escalated_from": self.escalated_from,
            "details": dict(self.details),
            **self._class(),
        }

    def _class(self) -> dict[str, Any]:
        """The class in the values that JSON has, where it is known."""
        known = self.likely_class is not None
        return {"class": self.likely_class, "class_probability": self.class_probability} if known else {}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The notice that :meth:`record` gave; names that it does not know are left out."""
        known = {name: record[name] for name in cls.__dataclass_fields__ if name in record}
        times = {"time": datetime.fromisoformat(record["time"]), "period": date.fromisoformat(record["period"])}
        return cls(**known | times | {"likely_class": record.get("class")})
