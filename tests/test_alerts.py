"""An alert says the same in values and in words."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime

from amiss import escape
from amiss.alerts import Alert

ALERT = Alert(
    alert_id="a1",
    story="s1",
    time=datetime(2026, 3, 2, 3, 12, 0, 1, tzinfo=UTC),
    user="u1042",
    bits=18.7,
    severity="high",
    detectors={"habit": 18.7},
    reasons=[
        {"detector": "habit", "bits": 9.6, "text": "0 of 412 earlier logins came from UA"},
        {"detector": "habit", "bits": 6.1, "text": "0 used Firefox"},
    ],
    period=date(2026, 3, 2),
    events=12,
    chance="by chance at most once in 14 months",
    risk=71,
)


def test_the_record_begins_with_what_matters_most():
    """Identity, time, user, bits, severity, detectors and reasons come first."""
    first = ["alert_id", "time", "user", "bits", "severity", "detectors", "reasons"]
    assert list(ALERT.record())[:7] == first


def test_a_record_is_json_and_gives_the_alert_again():
    """What was written as JSON reads back to the same alert, whatever the user is called."""
    for user in ("u1042", "a\r\nb", "\ud800", "\u202e"):
        alert = replace(ALERT, user=user, escalated_from="medium")
        assert Alert.from_record(json.loads(escape.json_text(alert.record()))) == alert


def test_a_record_of_a_later_version_is_read_without_what_is_new():
    """Names that are not known are left out; those that may be missing may be missing."""
    record = ALERT.record() | {"colour": "red"}
    del record["escalated_from"]
    assert Alert.from_record(record) == ALERT


def test_the_sentence_says_what_why_and_how_often_by_chance():
    """Reasons with their bits, then all bits together, in plain words."""
    assert ALERT.sentence == (
        "u1042: 0 of 412 earlier logins came from UA (9.6 bits). 0 used Firefox (6.1 bits). "
        "Together 18.7 bits: by chance at most once in 14 months."
    )
    assert replace(ALERT, reasons=[]).sentence.startswith("u1042: nothing unusual. Together 18.7 bits")


def test_the_headline_says_from_what_an_alert_rose():
    """An alert that became more urgent names both severities."""
    assert ALERT.headline == "u1042, 18.7 bits (high)"
    assert replace(ALERT, escalated_from="low").headline == "u1042, 18.7 bits (high, was low)"


def test_what_is_known_of_a_login_is_kept():
    """Details read back; a notice that was kept before there were any has none."""
    details = {"country": "UA", "city": "Kyiv", "zone": "America/New_York"}
    alert = replace(ALERT, details=details)
    assert Alert.from_record(json.loads(escape.json_text(alert.record()))) == alert
    old = {name: value for name, value in ALERT.record().items() if name != "details"}
    assert Alert.from_record(old).details == {}
