"""Which column is what, without being told."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from amiss import fields
from amiss.errors import ConfigError, EventError
from amiss.fields import FieldChoice, describe, events, from_toml, infer, outcome_of, to_toml
from amiss.sources import open_source
from amiss.sources.rows import json_raw, leaf_paths


def guessed(sample: pl.DataFrame) -> dict[str, str]:
    """Role to column of what is inferred."""
    return {role: guess.column for role, guess in infer(sample).roles.items()}


def records(*values: dict[str, object]) -> pl.DataFrame:
    """The raw frame of these JSON records."""
    return json_raw(values, range(1, len(values) + 1), leaf_paths(values))


ECS = {
    "@timestamp": "2024-05-01T10:00:00.000Z",
    "user": {"name": "ann"},
    "event": {"action": "logged-in", "outcome": "success", "category": ["authentication"]},
    "source": {"ip": "10.0.0.1", "geo": {"country_iso_code": "NL"}},
    "user_agent": {"original": "Mozilla/5.0"},
}
OCSF = {
    "time": 1714557600000,
    "class_uid": 3002,
    "activity_name": "Logon",
    "actor": {"user": {"name": "ann"}},
    "status_id": 2,
    "src_endpoint": {"ip": "10.0.0.1", "location": {"country": "NL"}},
}
CLOUDTRAIL = {
    "eventTime": "2024-05-01T10:00:00Z",
    "eventSource": "s3.amazonaws.com",
    "eventName": "GetObject",
    "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::1:user/ann", "userName": "ann"},
    "errorCode": "AccessDenied",
    "sourceIPAddress": "10.0.0.1",
}
OKTA = {
    "published": "2024-05-01T10:00:00.000Z",
    "eventType": "user.session.start",
    "actor": {"alternateId": "ann@example.org"},
    "outcome": {"result": "FAILURE"},
    "client": {"ipAddress": "10.0.0.1"},
}
AUTH0 = {
    "date": "2024-05-01T10:00:00.000Z",
    "type": "fp",
    "user_name": "ann",
    "client_id": "abc",
    "ip": "10.0.0.1",
}


@pytest.mark.parametrize(
    ("record", "preset", "event"),
    [
        (ECS, "ecs", ("ann", "logged-in", "success")),
        (OCSF, "ocsf", ("ann", "Logon", "failure")),
        (CLOUDTRAIL, "cloudtrail", ("arn:aws:iam::1:user/ann", "GetObject", "failure")),
        (OKTA, "okta", ("ann@example.org", "user.session.start", "failure")),
        (AUTH0, "auth0", ("ann", "fp", "failure")),
    ],
)
def test_known_formats_are_understood(record: dict[str, object], preset: str, event: tuple[str, str, str]) -> None:
    """ECS, OCSF, CloudTrail, Okta and Auth0 need no configuration."""
    raw = records(record)
    found = infer(raw)
    good, bad = events(raw, found)
    assert found.preset == preset
    assert good.select("user", "action", "outcome").rows() == [event]
    assert good["time"].dt.strftime("%Y-%m-%d %H").to_list() == ["2024-05-01 10"]
    assert good["ip"].to_list() == ["10.0.0.1"]
    assert bad.is_empty()


def test_ecs_may_be_dotted() -> None:
    """Flat keys with points are read like nested records."""
    record = {"@timestamp": "2024-05-01T10:00:00Z", "user.name": "ann", "event.action": "x", "event.outcome": "failure"}
    good, _ = events(records(record), infer(records(record)))
    assert good.select("user", "action", "outcome").rows() == [("ann", "x", "failure")]


def test_cloudtrail_without_an_error_code_is_a_success() -> None:
    """The absence of an error means success, also when no sampled row has one."""
    record = {name: value for name, value in CLOUDTRAIL.items() if name != "errorCode"}
    good, _ = events(records(record), infer(records(record)))
    assert good["outcome"].to_list() == ["success"]


@pytest.mark.parametrize(
    "header",
    [
        ("timestamp", "user_id", "event", "result"),
        ("ts", "username", "event_type", "success"),
        ("datetime", "account", "action", "status"),
        ("created_at", "userName", "verb", "outcome"),
        ("@timestamp", "user.name", "event.action", "event.outcome"),
        ("Event Time", "User Name", "Event Name", "Result"),
        ("tmestamp", "usrname", "actoin", "outcom"),
    ],
)
def test_plain_names_and_near_names_are_found(header: tuple[str, str, str, str]) -> None:
    """The usual names, other ways to write them, and slips of the pen."""
    values = [["2019-01-01 00:00:53"] * 2, ["ann", "bob"], ["login", "buy"], ["true", "false"]]
    found = guessed(pl.DataFrame(dict(zip(header, values, strict=True))))
    assert tuple(found[role] for role in ("time", "user", "action", "outcome")) == header


def test_the_truth_is_never_the_user() -> None:
    """Columns that number or label the users of simulated logs play no role."""
    sample = pl.DataFrame(
        {"time": ["2019-01-01"], "uidx": ["7"], "realtype": ["bot"], "user": ["ann"], "path": ["x"], "status": ["fail"]}
    )
    assert guessed(sample) == {"time": "time", "user": "user", "action": "path", "outcome": "status"}
    with pytest.raises(EventError, match="no column looks like the user"):
        infer(sample.drop("user"))


def test_a_day_and_a_clock_make_a_time() -> None:
    """Date and time may stand in two columns."""
    sample = pl.DataFrame({"date": ["2018-01-26"], "time": ["09:55:03"], "user_id": [1], "path": ["/"]})
    good, _ = events(sample.with_columns(position=1), infer(sample))
    assert good["time"].dt.to_string("%F %T").to_list() == ["2018-01-26 09:55:03"]


def test_a_column_of_times_is_found_whatever_its_name() -> None:
    """Values give it away."""
    assert guessed(pl.DataFrame({"zz": ["2019-01-01 10:00:00"], "user": ["a"], "action": ["b"]}))["time"] == "zz"


def test_a_column_of_mail_addresses_is_the_user() -> None:
    """Values give it away."""
    assert guessed(pl.DataFrame({"time": ["2019-01-01"], "x": ["ann@example.org"], "action": ["b"]}))["user"] == "x"


def test_without_a_user_the_address_is_judged() -> None:
    """A log of addresses only is judged by address, with less confidence."""
    found = infer(pl.DataFrame({"time": ["2019-01-01"], "ip": ["10.0.0.1"], "path": ["/"]}))
    assert found.roles["user"].column == "ip"
    assert found.roles["user"].confidence < 0.5


def test_a_status_that_is_no_outcome_is_not_taken() -> None:
    """`active` and `away` are no outcomes: the outcome is unknown."""
    sample = pl.DataFrame({"time": ["2019-01-01"], "user": ["a"], "action": ["b"], "status": ["active"]})
    assert "outcome" not in guessed(sample)
    good, _ = events(sample.with_columns(position=1), infer(sample))
    assert good["outcome"].to_list() == ["unknown"]


def test_what_is_pinned_wins() -> None:
    """A pinned column is taken with confidence 1, the rest is inferred."""
    sample = pl.DataFrame({"time": ["2019-01-01"], "user": ["a"], "owner": ["b"], "action": ["c"]})
    found = infer(sample, FieldChoice(user="owner"))
    assert (found.roles["user"].column, found.roles["user"].confidence) == ("owner", 1.0)
    assert events(sample.with_columns(position=1), found)[0]["raw.user"].to_list() == ["a"]


def test_a_pinned_column_without_times_is_an_error() -> None:
    """The message shows what the column holds and what was expected."""
    with pytest.raises(EventError, match=r'column "user" does not hold times\. Found: ann\. Expected ISO 8601'):
        infer(pl.DataFrame({"time": ["2019-01-01"], "user": ["ann"], "action": ["c"]}), FieldChoice(time="user"))


@pytest.mark.parametrize(
    ("text", "reading", "outcome"),
    [
        ("SUCCESS", "words", "success"),
        ("Failed", "words", "failure"),
        ("denied: no such user", "words", "failure"),
        ("true", "words", "success"),
        ("200", "words", "success"),
        ("500", "words", "failure"),
        ("1", "words", "unknown"),
        ("0", "success_flag", "failure"),
        ("1", "failure_flag", "failure"),
        ("false", "failure_flag", "success"),
        ("399", "status_code", "success"),
        ("400", "status_code", "failure"),
        ("-", "status_code", "unknown"),
        ("", "error", "success"),
        ("E42", "error", "failure"),
        ("2", "ocsf", "failure"),
        ("seccft", "auth0", "success"),
        ("SKIPPED", "words", "unknown"),
    ],
)
def test_outcomes_are_read_as_meant(text: str, reading: str, outcome: str) -> None:
    """Words, flags, status codes and error columns become three outcomes."""
    assert outcome_of(text, reading) == outcome


def test_the_name_of_a_flag_says_what_one_means() -> None:
    """1 in `success` is a success, 1 in `failed` a failure."""
    for name, expected in (("success", ["success", "failure"]), ("failed", ["failure", "success"])):
        sample = pl.DataFrame({"time": ["2019-01-01"] * 2, "user": ["a", "b"], "action": ["c", "d"], name: [1, 0]})
        good, _ = events(sample.with_row_index("position"), infer(sample))
        assert good["outcome"].to_list() == expected


def test_money_is_counted_in_cents() -> None:
    """Decimal amounts become whole cents, columns of cents stay."""
    base = {"position": [1], "time": ["2019-01-01"], "user": ["a"], "action": ["b"]}
    for name, value, cents in (("amount", "16.83", 1683), ("amount", "$1,601.83", 160183), ("amount_cents", 55, 55)):
        raw = pl.DataFrame(base | {name: [value]})
        good, _ = events(raw, infer(raw, FieldChoice(amount_cents=name)))
        assert good["amount_cents"].to_list() == [cents]


def test_toml_pins_what_was_found() -> None:
    """What `to_toml` writes, `from_toml` reads."""
    sample = pl.DataFrame({"when": ["2019-01-01"], 'us"er': ["a"], "action": ["b"], "ok": [True]})
    found = infer(sample, FieldChoice(user='us"er'))
    choice = from_toml(to_toml(found))
    assert choice.pinned() == {"time": "when", "user": 'us"er', "action": "action", "outcome": "ok"}
    assert infer(sample, choice).roles.keys() == found.roles.keys()


def test_a_mistyped_role_offers_the_nearest() -> None:
    """Mistakes in the file are named."""
    with pytest.raises(ConfigError, match=r'"usr" is not a role\. Did you mean "user"\?'):
        from_toml('[fields]\nusr = "x"')


def test_three_values_of_each_column_are_shown_safely() -> None:
    """Samples are cut to 60 characters, control and direction marks escaped."""
    sample = pl.DataFrame(
        {"time": ["2019-01-01"] * 4, "user": ["\x1b[2J", "\u202eevil", "x" * 99, "y"], "action": ["b"] * 4}
    )
    samples = describe(infer(sample))[1]["samples"]
    assert samples == ("\\x1b[2J", "\\u202eevil", "x" * 59 + "…")


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("marketplace/seed000_1000users_day1.csv.gz", "time user path status"),
        ("marketplace/seed001_3000users_day2.csv.gz", "time user path status"),
        ("curriculum/log_fragment.csv", "{date}_{time} user_id path -"),
        ("purchases/real/batch_log.json", "timestamp id|id1 event_type -"),
        ("logs/OpenSSH_2k.log", "time user action outcome"),
        ("logs/apache_combined_10k.log.gz", "time user action status"),
    ],
)
def test_real_logs_need_no_option(shared_data: Path, file: str, expected: str) -> None:
    """The guesses on real logs are right."""
    roles = open_source(str(shared_data / file)).fields.roles
    found = [roles[role].column.replace(" ", "_") if role in roles else "-" for role in fields.MAIN]
    assert " ".join(found) == expected


LOGINS = pl.DataFrame(
    {"time": ["2026-01-05T08:00:00Z"], "user": ["ann"], "ip": ["203.0.113.9:4711"], "country": ["US"], "isp": ["x"]}
)


def test_a_log_of_who_came_from_where_is_one_of_logins() -> None:
    """Nothing tells what was done: all rows have the action `login`, which is not sure."""
    found = infer(LOGINS)
    assert found.roles["action"].column == "=login"
    assert found.roles["action"].samples == ("login",)
    assert found.roles["action"].confidence == 0.5
    assert events(LOGINS.with_columns(position=1), found)[0]["action"].to_list() == ["login"]


@pytest.mark.parametrize("column", ["ip", "country"])
def test_one_thing_that_tells_where_somebody_was_is_enough(column: str) -> None:
    """An address, a country or a user agent."""
    assert infer(LOGINS.select("time", "user", column)).roles["action"].column == "=login"


def test_a_column_that_can_be_the_action_is_it() -> None:
    """Even in a log of logins."""
    assert infer(LOGINS.with_columns(event=pl.lit("enter"))).roles["action"].column == "event"


def test_constants_survive_being_written_as_toml() -> None:
    """What `amiss schema` writes is read as the same choice."""
    found = infer(LOGINS)
    assert 'action = "=login"' in to_toml(found)
    again = infer(LOGINS, from_toml(to_toml(found)))
    assert again.roles["action"].column == "=login"
    assert {role: guess.column for role, guess in again.roles.items()} == {
        role: guess.column for role, guess in found.roles.items()
    }


@pytest.mark.parametrize(
    ("constant", "outcome"), [("=success", "success"), ("=failure", "failure"), ("=404", "failure")]
)
def test_a_constant_outcome_means_what_it_says(constant: str, outcome: str) -> None:
    """Words and status codes alike."""
    found = infer(LOGINS, FieldChoice(outcome=constant))
    assert events(LOGINS.with_columns(position=1), found)[0]["outcome"].to_list() == [outcome]


NUMBER_OR_NAME = "source.as.number|source.as.organization.name"


@pytest.mark.parametrize(
    ("more", "column"),
    [
        (ECS | {"source": {"as": {"number": 64500, "organization": {"name": "x"}}}}, NUMBER_OR_NAME),
        (OCSF | {"src_endpoint": {"autonomous_system": {"number": 64500}}}, "src_endpoint.autonomous_system.number"),
        (OKTA | {"securityContext": {"asNumber": 64500, "isp": "x"}}, "securityContext.asNumber|securityContext.isp"),
    ],
)
def test_presets_tell_the_operator_of_the_network(more: dict[str, object], column: str) -> None:
    """Its number before its name."""
    raw = records(more)
    found = infer(raw)
    assert found.roles["provider"].column == column
    assert events(raw, found)[0]["provider"].to_list() == ["64500"]


@pytest.mark.parametrize("name", ["asn", "as_number", "as_org", "isp", "provider"])
def test_plain_names_of_operators_are_known(name: str) -> None:
    """Numbers become texts."""
    assert infer(LOGINS.drop("isp").with_columns(pl.lit(64500).alias(name))).roles["provider"].column == name


FOUR_LOGINS = pl.concat([LOGINS] * 4)
KIND_WORDS = pl.Series(["Cable/DSL", "-", "DCH", "guests"])


@pytest.mark.parametrize(
    "name",
    ["network_type", "network.kind", "connectionType", "Usage Type", "isp_type", "as_type", "ip_usage_type",
     "client.network_type"],
)  # fmt: skip
def test_what_networks_are_for_is_found_by_names_and_words(name: str) -> None:
    """As long as half of its words are known to be kinds of networks."""
    raw = FOUR_LOGINS.with_columns(KIND_WORDS.alias(name))
    found = infer(raw)
    assert found.roles["network_type"].column == name
    assert events(raw.with_columns(position=1), found)[0]["network_type"].to_list() == KIND_WORDS.to_list()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("user_type", ["residential", "business"]), ("type", ["mobile", "hosting"]),
        ("device_type", ["mobile", "server"]), ("network_type", ["ipv4", "ipv6"]),
        ("connection_type", ["tcp", "keep-alive"]), ("ip_type", ["public", "private"]), ("usage_type", ["-", ""]),
    ],
)  # fmt: skip
def test_other_types_are_not_what_networks_are_for(name: str, words: list[str]) -> None:
    """Of users, devices, protocols, addresses."""
    assert "network_type" not in infer(FOUR_LOGINS.with_columns(pl.Series(name, words * 2))).roles


def test_what_networks_are_for_can_be_pinned() -> None:
    """Whatever the column is called and holds."""
    raw = LOGINS.with_columns(pl.lit("token ring").alias("line"))
    found = infer(raw, FieldChoice(network_type="line"))
    assert found.roles["network_type"].column == "line"
    assert events(raw.with_columns(position=1), found)[0]["network_type"].unique().to_list() == ["token ring"]
