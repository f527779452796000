"""An alert as a Detection Finding of the Open Cybersecurity Schema Framework.

The finding is the story: its notices share `finding_info.uid`, the first creates it and later ones update it. What a
notice is called, by which receivers tell copies, is `metadata.uid`.

Source: OCSF 1.4.0, class "Detection Finding" (2004) with the profile "Host", https://schema.ocsf.io/1.4.0.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from ipaddress import ip_address
from typing import Any, Final

from amiss.alerts import Alert

VERSION: Final = "1.4.0"
CLASS: Final = 2004
SEVERITY: Final = {"info": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}
"""Identifiers of severity in OCSF."""

CAPTION: Final = {"info": "Informational", "low": "Low", "medium": "Medium", "high": "High", "critical": "Critical"}
_CREATE: Final = 1
_UPDATE: Final = 2
_BEHAVIORAL: Final = 2


def finding(alert: Alert) -> dict[str, Any]:
    """The alert as a Detection Finding.

    Examples
    --------
    >>> from datetime import date
    >>> alert = Alert("a1", "s1", datetime(2026, 3, 2, tzinfo=UTC), "ann", 18.7, "high", {"habit": 18.7}, [],
    ...               date(2026, 3, 2), 12, "by chance at most once in 14 months", 71)
    >>> found = finding(alert)
    >>> found["class_uid"], found["type_uid"], found["severity_id"], found["time"], found["actor"]
    (2004, 200401, 4, 1772409600000, {'user': {'name': 'ann'}})
    """
    activity = _UPDATE if alert.escalated_from else _CREATE
    return {
        "activity_id": activity,
        "activity_name": "Update" if alert.escalated_from else "Create",
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": CLASS,
        "class_name": "Detection Finding",
        "type_uid": CLASS * 100 + activity,
        "time": _milliseconds(alert.time),
        "severity_id": SEVERITY[alert.severity],
        "severity": CAPTION[alert.severity],
        "status_id": 1,
        "status": "New",
        "is_alert": True,
        "message": alert.sentence,
        "metadata": _metadata(alert),
        "finding_info": _information(alert),
        "actor": _actor(alert),
        "evidences": [{"actor": _actor(alert), **_source(alert), "data": dict(reason)} for reason in alert.reasons],
        "risk_score": alert.risk,
        "unmapped": {"amiss": alert.record()},
    }


def _metadata(alert: Alert) -> dict[str, Any]:
    """Which schema, which product, which notice."""
    product = {"name": "amiss", "vendor_name": "amiss", "version": version("amiss")}
    return {
        "version": VERSION,
        "uid": alert.alert_id,
        "correlation_uid": alert.story,
        "profiles": ["host"],
        "product": product,
    }


def _information(alert: Alert) -> dict[str, Any]:
    """What was found, and by which detectors."""
    analytics = [
        {"name": name, "uid": name, "type_id": _BEHAVIORAL, "type": "Behavioral"} for name in _weightiest(alert)
    ]
    start = datetime(alert.period.year, alert.period.month, alert.period.day, tzinfo=UTC)
    return {
        "uid": alert.story,
        "title": alert.headline,
        "desc": alert.sentence,
        "types": ["user behaviour"],
        "first_seen_time": _milliseconds(start),
        "last_seen_time": _milliseconds(alert.time),
        "related_events_count": alert.events,
        **({"analytic": analytics[0]} if analytics else {}),
        **({"related_analytics": analytics[1:]} if analytics[1:] else {}),
    }


def _weightiest(alert: Alert) -> list[str]:
    """The detectors, the one with most bits first."""
    return sorted(alert.detectors, key=lambda name: -alert.detectors[name])


def _actor(alert: Alert) -> dict[str, Any]:
    return {"user": {"name": alert.user}}


def _source(alert: Alert) -> dict[str, Any]:
    """Where the event came from, as far as it is known: the address, the device as its name, the place."""
    details = alert.details
    try:
        address = {"ip": str(ip_address(details.get("address", "")))}
    except ValueError:
        address = {"hostname": details.get("address", "")}
    place = {name: details[name] for name in ("country", "city") if details.get(name)}
    endpoint: dict[str, Any] = {**address, "name": details.get("device", "")}
    known = {name: text for name, text in endpoint.items() if text}
    if not known:
        return {}
    return {"src_endpoint": known | ({"location": place} if place else {})}


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)
