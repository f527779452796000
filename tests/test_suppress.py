"""A rule hides the alerts for which all of its conditions hold, and no others."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss.alerts import Alert
from amiss.errors import UsageError
from amiss.store import Store, Suppression
from amiss.suppress import DAYS, Effect, Rule, examples, first_that_hides, unreadable

NIGHT = datetime(2026, 3, 2, 3, 12, tzinfo=UTC)
"""A Monday."""

ALERT = Alert(
    alert_id="a1",
    story="s1",
    time=NIGHT,
    user="svc-backup",
    bits=18.7,
    severity="high",
    detectors={"habit": 18.7, "sequence": 2.0},
    reasons=[{"detector": "habit", "bits": 9.5, "text": "export came after login 0 of 4 times", "action": "export"}],
    period=date(2026, 3, 2),
    events=12,
    chance="once a year",
    risk=71,
)
SEEN = {"ip": ["10.1.2.3", "10.200.0.1"], "country": ["FR"]}
TEN_YEARS = 10 * 365 * 86_400
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Kiritimati", "Australia/Lord_Howe"]


@pytest.mark.parametrize(
    ("conditions", "hides"),
    [
        ({"user": "svc-backup"}, True),
        ({"user": "svc-*"}, True),
        ({"user": "svc-?ackup"}, True),
        ({"user": "SVC-*"}, False),
        ({"user": "backup"}, False),
        ({"user": "svc-[ab]ackup"}, False),
        ({"action": "export"}, True),
        ({"action": "exp*"}, True),
        ({"action": "login"}, False),
        ({"address": "10.0.0.0/8"}, True),
        ({"address": "10.1.2.3"}, False),
        ({"address": "::ffff:10.0.0.0/104"}, True),
        ({"address": "2001:db8::/32"}, False),
        ({"country": "fr"}, True),
        ({"country": "DE"}, False),
        ({"hours": "22:00-06:00"}, True),
        ({"hours": "22:00-06:00", "timezone": "America/New_York"}, True),
        ({"hours": "22:00-03:12"}, False),
        ({"hours": "03:12-03:13"}, True),
        ({"hours": "18:00-24:00", "timezone": "America/New_York"}, True),
        ({"weekdays": "mon"}, True),
        ({"weekdays": "sat-sun"}, False),
        ({"weekdays": "sun", "timezone": "America/New_York"}, True),
        ({"weekdays": "sun", "hours": "22:00-06:00"}, True),
        ({"weekdays": "mon", "hours": "22:00-06:00"}, False),
        ({"from": "2026-03-02", "until": "2026-03-02"}, True),
        ({"from": "2026-03-03"}, False),
        ({"until": "2026-03-01"}, False),
        ({"until": "2026-03-01", "hours": "22:00-06:00"}, True),
        ({"user": "svc-*", "country": "FR", "address": "10.0.0.0/8", "action": "export", "weekdays": "mon"}, True),
        ({"user": "svc-*", "country": "FR", "address": "10.0.0.0/8", "action": "export", "weekdays": "tue"}, False),
    ],
)
def test_a_rule_hides_what_all_its_conditions_hold_for(conditions: dict[str, str], hides: bool):
    """Each condition by itself, at its edges, and several together; the same after the rule was kept."""
    rule = Rule.parse(conditions)
    assert rule.hides(ALERT, SEEN) is hides
    assert Rule.parse(rule.record()) == rule


def test_what_is_not_known_matches_nothing():
    """Without addresses or countries, or with ones that cannot be read, a rule about them hides nothing."""
    address, country = Rule.parse({"address": "0.0.0.0/0"}), Rule.parse({"country": "FR"})
    assert address.hides(ALERT, SEEN)
    for seen in ({}, {"ip": []}, {"ip": ["10.1.2.3", "unknown"]}, {"ip": [""]}, {"ip": ["10.1.2.3:443"]}):
        assert not address.hides(ALERT, seen)
    assert not country.hides(ALERT, {"ip": ["10.1.2.3"]})
    assert not country.hides(ALERT, {"country": ["FR", "RO"]})
    assert not Rule().hides(ALERT, SEEN)


def test_actions_may_be_told_beside_the_alert():
    """Where reasons hold no action, those that are seen count."""
    alert = replace(ALERT, reasons=[{"detector": "habit", "bits": 9.5, "text": "export came after login"}])
    rule = Rule.parse({"action": "export"})
    told = [[], ["login"], ["login", "export"], ["export", "export"]]
    assert [rule.hides(alert, {"action": actions}) for actions in told] == [False, False, False, True]


@pytest.mark.parametrize(
    ("detector", "bits", "threshold", "hides"),
    [
        ("habit", {"habit": 18.7, "sequence": 2.0}, 11.0, True),
        ("habit", {"habit": 18.7, "sequence": 11.0}, 11.0, False),
        ("sequence", {"habit": 18.7, "sequence": 30.0}, 11.0, False),
        ("habit", {"habit": 18.7, "sequence": 12.0, "login": 2.0}, 11.5, True),
        ("habit", {"habit": 18.7, "sequence": 12.0, "login": 0.0}, 11.5, False),
        ("habit", {"habit": 18.7}, 0.0, True),
        ("sequence", {"habit": 18.7}, 11.0, False),
    ],
)
def test_a_detector_is_hidden_where_it_alone_carries_the_alert(
    detector: str, bits: dict[str, float], threshold: float, hides: bool
):
    """The others, combined as if it were not there, must stay below the bits at which the alert fired."""
    assert Rule(detector=detector).hides(replace(ALERT, detectors=bits), {}, threshold=threshold) is hides


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 32))
def test_a_network_holds_the_addresses_that_begin_like_it(address: int, network: int, length: int):
    """As many first bits as the length says are equal; also where IPv4 is written as IPv6."""
    network = network >> (32 - length) << (32 - length)
    rule = Rule.parse({"address": f"{IPv4Address(network)}/{length}"})
    expected = address >> (32 - length) == network >> (32 - length)
    for text in (str(IPv4Address(address)), f"::ffff:{IPv4Address(address)}"):
        assert rule.hides(ALERT, {"ip": [text]}) is expected
    assert not rule.hides(ALERT, {"ip": [str(IPv6Address(address + 2**127))]})


@given(st.integers(2**64, 2**128 - 1), st.integers(0, 127), st.integers(0, 128))
def test_a_network_of_long_addresses_holds_those_that_begin_like_it(address: int, flipped: int, length: int):
    """One other bit matters where it is among the first."""
    network = address >> (128 - length) << (128 - length)
    rule = Rule.parse({"address": f"{IPv6Address(network)}/{length}"})
    other = IPv6Address(address ^ 1 << (127 - flipped))
    if other.ipv4_mapped is None:
        assert rule.hides(ALERT, {"ip": [str(other)]}) is (flipped >= length)


@given(
    st.integers(0, TEN_YEARS).map(lambda seconds: NIGHT + timedelta(seconds=seconds)),
    st.integers(0, 1439),
    st.integers(0, 1440),
    st.sets(st.integers(0, 6), min_size=1, max_size=6),
    st.sampled_from(ZONES),
)
def test_hours_hold_on_the_clock_of_their_zone(moment: datetime, start: int, end: int, days: set[int], zone: str):
    """A walk back through the minutes of the wall clock finds the day that the hours began on, also over midnight."""
    if start == end % 1440:
        return
    hours = f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"
    rule = Rule.parse({"hours": hours, "weekdays": ",".join(DAYS[day] for day in days), "timezone": zone})
    wall = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    begins = [datetime.combine(wall.date() - timedelta(days=back), time(start // 60, start % 60)) for back in (0, 1)]
    length = timedelta(minutes=(end - start) % 1440)
    expected = any(begin <= wall < begin + length and begin.weekday() in days for begin in begins)
    assert rule.hides(replace(ALERT, time=moment), {}) is expected


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({}, "a rule without a condition would hide every alert"),
        ({"timezone": "UTC"}, "a rule without a condition would hide every alert"),
        ({"usr": "ann"}, 'no condition is called "usr" ... Did you mean "user"?'),
        ({"user": "**"}, "user: expected a name, or a pattern"),
        ({"user": " "}, "user: expected a name"),
        ({"user": 7}, 'user: expected a name ... Found: "7"'),
        ({"address": "10.0.0.5/8"}, "address: expected an address such as"),
        ({"address": "300.1.1.1"}, "address: expected"),
        ({"country": "France"}, "country: expected an ISO code of two letters such as FR"),
        ({"hours": "22-06"}, "hours: expected a part of a day such as 22:00-06:00"),
        ({"hours": "22:00-22:00"}, "hours: expected"),
        ({"hours": "00:00-24:00"}, "hours: expected"),
        ({"hours": "25:00-26:00"}, "hours: expected"),
        ({"weekdays": "saturday"}, "weekdays: expected some days of a week such as sat,sun"),
        ({"weekdays": "mon-sun"}, "weekdays: expected some days"),
        ({"from": "tomorrow"}, "from: expected a day such as 2026-03-31"),
        ({"from": "2026-03-03", "until": "2026-03-02"}, "until: expected a day from 2026-03-03 on. Found: 2026-03-02"),
        ({"user": "ann", "timezone": "Mars"}, "timezone: expected a time zone"),
        ({"detector": "habits"}, 'no detector is called "habits". Known: habit, sequence. Did you mean "habit"?'),
        ({"hours": "x", "country": "y"}, "hours: expected ... country: expected"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_what_was_expected(conditions: dict[str, object], message: str):
    """All that is wrong is told at once; rules that would hide everything are refused too."""
    with pytest.raises(UsageError) as raised:
        Rule.parse(conditions, detectors=["habit", "sequence"])
    assert all(part in str(raised.value) for part in message.split(" ... "))


def kept(number: int, rule: dict[str, object], *, days: int = 30, lifted: datetime | None = None) -> Suppression:
    """A suppression of an hour before the alert."""
    made = NIGHT - timedelta(hours=1)
    return Suppression(number, rule, "me", "", made, made + timedelta(days=days), lifted)


def test_the_first_rule_that_holds_and_matches_hides():
    """Ended, lifted and unreadable ones do not; those are named."""
    rules = [
        kept(1, {"user": "bob"}),
        kept(2, {"user": "svc-*"}, days=0),
        kept(3, {"user": "svc-*"}, lifted=NIGHT - timedelta(minutes=1)),
        kept(4, {"user": "svc-*", "phase of the moon": "full"}),
        kept(5, {"user": ["svc-*"]}),
        kept(6, {"user": "svc-*"}),
        kept(7, {"user": "svc-backup"}),
    ]
    assert first_that_hides(rules, ALERT, SEEN, NIGHT) == rules[5]
    assert first_that_hides(rules, ALERT, SEEN, NIGHT + timedelta(days=60)) is None
    assert first_that_hides(rules[:5], ALERT, SEEN, NIGHT) is None
    problems = unreadable(rules)
    assert [problem[:13] for problem in problems] == ["suppression 4", "suppression 5"]
    assert 'hides nothing: no condition is called "phase of the moon"' in problems[0]


def test_a_rule_of_the_store_hides(tmp_path: Path):
    """What a store keeps of a rule is the same rule."""
    rule = Rule.parse({"user": "svc-*", "hours": "22:00-06:00", "timezone": "Europe/Berlin", "weekdays": "mon-fri"})
    with Store.open(tmp_path / "state.db") as store:
        made = store.suppress(rule.record(), author="me", reason="backups", time=NIGHT)
        assert Rule.parse(store.suppressions()[0].rule) == rule
        tuesday = replace(ALERT, time=NIGHT + timedelta(days=1))
        assert first_that_hides(store.suppressions(NIGHT), tuesday, {}, NIGHT) == made
        assert first_that_hides(store.suppressions(NIGHT), ALERT, {}, NIGHT) is None


def test_a_new_rule_says_what_it_would_have_hidden():
    """Of the alerts of the last days; older ones do not count."""
    alerts = [replace(ALERT, alert_id=f"a{age}", time=NIGHT - timedelta(days=age)) for age in (0, 10, 30, 31)]
    others = [replace(ALERT, user="ann", alert_id="b1")]
    seen = {"a0": SEEN, "a10": {}, "a30": SEEN, "a31": SEEN, "b1": SEEN}
    rule = Rule.parse({"user": "svc-*", "country": "FR"})
    effect = examples(rule, [*alerts, *others], lambda alert: seen[alert.alert_id], now=NIGHT)
    assert effect == Effect([alerts[0], alerts[2]], of=4, days=30)
    assert effect.sentence == "It would have hidden 2 of the 4 alerts of the last 30 days."


def test_many_stars_take_no_long_time():
    """A long name that nearly matches a pattern is soon found not to."""
    rule = Rule.parse({"user": "*a" * 30 + "b"})
    assert not rule.hides(replace(ALERT, user="a" * 50_000), {})
