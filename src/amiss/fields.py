"""Which raw column of a log plays which role: presets, inference from names and values, and what the user pins.

A column is written as a name (`user`), a path into nested records (`user.name`), alternatives of which the first that
holds something counts (`user.name|user.id`), or two columns side by side (`{date} {time}`). What stands behind a
leading `=` is no column but what all rows have (`=login`).
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Final

import polars as pl

from amiss import times
from amiss.addresses import is_address
from amiss.errors import ConfigError, EventError, nearest
from amiss.events import EVENT_SCHEMA, OPTIONAL_SCHEMA
from amiss.kinds import OTHER, kind_named
from amiss.times import TimeFormat

REQUIRED: Final = ("time", "user", "action")
MAIN: Final = (*REQUIRED, "outcome")
_NOT_ROLES: Final = ("preset", "timezone", "year")
ROLES: Final = ("time", "user", "action", "outcome", *OPTIONAL_SCHEMA)
"""Everything that a column can be in an event."""

USER_LIMIT: Final = 256
"""Characters of a user's name that are kept."""

CONSTANT: Final = "="
"""What a written column begins with that is no column, but the same text for all rows."""

LOGIN: Final = f"{CONSTANT}login"
"""The action of logs that tell who came when and from where, but not what they did."""

EMPTY_ACTION: Final = "(empty)"
REST_LIMIT: Final = 32
ACTIONS_SEEN: Final = 200
SAMPLE_ROWS: Final = 1000
MOST_COLUMNS_TOLD: Final = 40
_SURE: Final = 0.3
_LOOKS: Final = 0.8
_NEARLY: Final = 0.5


@dataclass(frozen=True)
class RoleGuess:
    """The column behind a role, how sure that is (0..1), three values of it, and how to read them.

    `reading` says what the values of an outcome mean: `words`, `status_code`, `success_flag`, `failure_flag`, `error`
    (anything there is a failure), `ocsf` or `auth0`; those of an amount: `decimal` or `cents`.
    """

    column: str
    confidence: float
    samples: tuple[str, ...] = ()
    time_format: TimeFormat | None = None
    reading: str = ""


@dataclass(frozen=True)
class Fields:
    """What each role is read from. `rest` are the columns without a role, which ride along.

    `actions` are some of the actions that were seen when that was settled; they tell what kind of log it is.
    """

    preset: str
    roles: dict[str, RoleGuess]
    rest: tuple[str, ...] = ()
    actions: tuple[str, ...] = field(default=(), compare=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """The raw columns to read, without doubles."""
        used = (name for guess in self.roles.values() for name in raw_names(guess.column))
        return tuple(dict.fromkeys((*used, *self.rest)))


@dataclass(frozen=True)
class FieldChoice:
    """The columns that a user pinned; a role left out is inferred."""

    time: str | None = None
    user: str | None = None
    action: str | None = None
    outcome: str | None = None
    ip: str | None = None
    country: str | None = None
    city: str | None = None
    latitude: str | None = None
    longitude: str | None = None
    provider: str | None = None
    network_type: str | None = None
    user_agent: str | None = None
    device: str | None = None
    amount_cents: str | None = None
    other_user: str | None = None
    resource: str | None = None
    session: str | None = None
    group: str | None = None
    time_format: str | None = None

    def pinned(self) -> dict[str, str]:
        """Role → column of what was pinned.

        Examples
        --------
        >>> FieldChoice(user="account").pinned()
        {'user': 'account'}
        """
        named = ((item.name, getattr(self, item.name)) for item in fields(self) if item.name != "time_format")
        return {name: column for name, column in named if column is not None}


def raw_names(column: str) -> tuple[str, ...]:
    """The raw columns that a written column is made of; none where it is a constant.

    Examples
    --------
    >>> raw_names("user.name|user.id"), raw_names("{date} {time}"), raw_names("user"), raw_names("=login")
    (('user.name', 'user.id'), ('date', 'time'), ('user',), ())
    """
    if column.startswith(CONSTANT):
        return ()
    braces = re.findall(r"\{([^{}]+)\}", column)
    if braces:
        return tuple(braces)
    return tuple(part for part in column.split("|") if part) if "|" in column else (column,)


@dataclass(frozen=True)
class _Preset:
    """A known kind of log: columns that give it away, and what they mean."""

    markers: tuple[str, ...]
    roles: dict[str, str]
    readings: dict[str, str] = field(default_factory=dict)


PRESETS: Final[dict[str, _Preset]] = {
    "ecs": _Preset(
        ("@timestamp",),
        {
            "time": "@timestamp",
            "user": "user.name|user.id|user.email|source.user.name|client.user.name",
            "action": "event.action|event.type|event.category|event.code",
            "outcome": "event.outcome",
            "ip": "source.ip|client.ip",
            "country": "source.geo.country_iso_code|client.geo.country_iso_code|source.geo.country_name",
            "city": "source.geo.city_name|client.geo.city_name",
            "latitude": "source.geo.location.lat|client.geo.location.lat",
            "longitude": "source.geo.location.lon|client.geo.location.lon",
            "provider": ("source.as.number|source.as.organization.name|client.as.number|client.as.organization.name"),
            "user_agent": "user_agent.original",
            "device": "host.name|device.id",
            "other_user": "user.target.name|destination.user.name",
            "resource": "url.path|file.path|process.executable",
            "session": "session.id",
            "group": "user.group.name|group.name",
        },
    ),
    "ocsf": _Preset(
        ("class_uid", "category_uid", "type_uid", "activity_id"),
        {
            "time": "time",
            "user": "actor.user.name|user.name|actor.user.uid|user.uid|actor.user.email_addr|user.email_addr",
            "action": "activity_name|type_name|class_name",
            "outcome": "status|status_id",
            "ip": "src_endpoint.ip",
            "country": "src_endpoint.location.country",
            "city": "src_endpoint.location.city",
            "latitude": "src_endpoint.location.lat",
            "longitude": "src_endpoint.location.long",
            "provider": (
                "src_endpoint.autonomous_system.number|src_endpoint.autonomous_system.name|src_endpoint.location.isp"
            ),
            "user_agent": "http_request.user_agent",
            "device": "device.hostname|device.uid|device.name",
            "resource": "http_request.url.path|file.path",
            "session": "session.uid|actor.session.uid",
        },
        {"outcome": "ocsf"},
    ),
    "cloudtrail": _Preset(
        ("eventTime", "eventSource"),
        {
            "time": "eventTime",
            "user": (
                "userIdentity.arn|userIdentity.userName|userIdentity.principalId|userIdentity.invokedBy|userIdentity.type"
            ),
            "action": "eventName",
            "outcome": "errorCode",
            "ip": "sourceIPAddress",
            "user_agent": "userAgent",
            "resource": "eventSource",
            "group": "userIdentity.type",
        },
        {"outcome": "error"},
    ),
    "okta": _Preset(
        ("published", "eventType"),
        {
            "time": "published",
            "user": "actor.alternateId|actor.id",
            "action": "eventType",
            "outcome": "outcome.result",
            "ip": "client.ipAddress",
            "country": "client.geographicalContext.country",
            "city": "client.geographicalContext.city",
            "latitude": "client.geographicalContext.geolocation.lat",
            "longitude": "client.geographicalContext.geolocation.lon",
            "provider": "securityContext.asNumber|securityContext.asOrg|securityContext.isp",
            "user_agent": "client.userAgent.rawUserAgent",
            "device": "client.device",
            "session": "authenticationContext.externalSessionId",
        },
    ),
    "auth0": _Preset(
        ("date", "type", "log_id|client_id|connection"),
        {
            "time": "date",
            "user": "user_name|user_id",
            "action": "type",
            "outcome": "type",
            "ip": "ip",
            "country": "location_info.country_code",
            "city": "location_info.city_name",
            "latitude": "location_info.latitude",
            "longitude": "location_info.longitude",
            "user_agent": "user_agent",
            "session": "session_id",
        },
        {"outcome": "auth0"},
    ),
    "purchases": _Preset(
        ("event_type", "timestamp", "id", "amount|id1|id2"),
        {
            "time": "timestamp",
            "user": "id|id1",
            "action": "event_type",
            "amount_cents": "amount",
            "other_user": "id2",
        },
        {"amount_cents": "decimal"},
    ),
}
"""Kinds of logs known by their columns."""


def words(text: str) -> tuple[str, ...]:
    """The words of a text, for tables of names."""
    return tuple(text.split())


_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "time": words(
        "time timestamp datetime date_time ts event_time time_stamp created_at occurred_at logged_at log_time "
        "event_timestamp published when received_at created request_time tx_datetime utc_time time_local date "
        "t"
    ),
    "user": words(
        "user user_name username user_id userid account account_name actor principal uid login login_name "
        "subject email user_email account_id usr customer_id customer member_id member player_id player "
        "employee employee_id src_user client_id owner person who id"
    ),
    "action": words(
        "action event event_type event_name activity activity_name verb operation event_action command cmd op "
        "path request_path endpoint url uri page route request type category kind event_id api method"
    ),
    "outcome": words(
        "outcome result status success succeeded event_outcome status_code http_status response_code "
        "response_status is_success successful ok failed failure is_failure error error_code is_error code "
        "response state"
    ),
    "ip": words(
        "ip ip_address source_ip src_ip client_ip remote_addr remote_ip clientip source_ip_address address "
        "addr remote_host src host"
    ),
    "country": words("country country_code country_iso_code geo_country"),
    "city": words("city city_name geo_city town"),
    "latitude": words("latitude lat geo_lat"),
    "longitude": words("longitude lon lng long geo_lon"),
    "provider": words(
        "provider isp asn as_number as_org as_name as_organization asn_org autonomous_system_number "
        "autonomous_system_organization network_provider"
    ),
    "network_type": words(
        "network_type network_kind connection_type usage_type isp_type asn_type as_type ip_type ip_usage_type"
    ),
    "user_agent": words("user_agent useragent agent http_user_agent browser ua"),
    "device": words("device device_id device_name hostname host_name machine computer workstation terminal_id"),
    "amount_cents": words("amount_cents amount price total tx_amount value_cents"),
    "other_user": words("other_user target_user recipient to_user friend friend_id target_user_name receiver"),
    "resource": words(
        "resource resource_id object object_id item item_id file file_name filename uri url path page document"
    ),
    "session": words("session session_id sessionid sid"),
    "group": words("group group_id user_group cohort cohort_id department team user_role role"),
}
_HIDDEN: Final = frozenset(
    words("uidx realtype label labels truth ground_truth is_anomaly anomaly is_fraud tx_fraud row index")
)

_SUCCESS: Final = frozenset(
    words(
        "success successful succeeded succeed ok okay pass passed allow allowed accept accepted grant granted "
        "permit permitted complete completed done true yes valid authorized approved authenticated s"
    )
)
_FAILURE: Final = frozenset(
    words(
        "fail failed failure failing error err deny denied reject rejected refuse refused decline declined "
        "invalid block blocked false no unauthorized forbidden timeout abort aborted cancelled canceled "
        "locked disallowed unsuccessful exception f"
    )
)


def outcome_of(text: str | None, reading: str = "words") -> str:
    """The outcome that a value means: success, failure or unknown.

    Examples
    --------
    >>> outcome_of("FAIL"), outcome_of("200"), outcome_of("404", "status_code"), outcome_of("1", "failure_flag")
    ('failure', 'success', 'failure', 'failure')
    >>> outcome_of("1"), outcome_of(None), outcome_of(None, "error")
    ('unknown', 'unknown', 'success')
    """
    word = (text or "").strip().lower()
    return _READINGS[reading](word)


def _by_words(word: str) -> str:
    if word in _SUCCESS:
        return "success"
    if word in _FAILURE:
        return "failure"
    if re.fullmatch(r"[1-5]\d\d", word, re.ASCII):
        return _by_status(word)
    return _by_words(re.split(r"[^a-z]+", word)[0]) if re.search(r"[a-z][^a-z]", word) else "unknown"


def _by_status(word: str) -> str:
    if not re.fullmatch(r"[1-5]\d\d(\.0)?", word, re.ASCII):
        return "unknown"
    return "success" if word < "400" else "failure"


def _by_success_flag(word: str) -> str:
    return {"1": "success", "0": "failure", "1.0": "success", "0.0": "failure"}.get(word) or _by_words(word)


def _by_failure_flag(word: str) -> str:
    flags = {"1": "failure", "true": "failure", "yes": "failure", "0": "success", "false": "success", "no": "success"}
    return flags.get(word, "unknown")


def _by_error(word: str) -> str:
    return "success" if word in ("", "none", "null", "0", "ok", "success") else "failure"


def _by_ocsf(word: str) -> str:
    return {"1": "success", "2": "failure", "0": "unknown", "99": "unknown"}.get(word) or _by_words(word)


def _by_auth0(word: str) -> str:
    if word.startswith("f"):
        return "failure"
    return "success" if word.startswith("s") else "unknown"


_READINGS: Final[dict[str, Callable[[str], str]]] = {
    "words": _by_words,
    "status_code": _by_status,
    "success_flag": _by_success_flag,
    "failure_flag": _by_failure_flag,
    "error": _by_error,
    "ocsf": _by_ocsf,
    "auth0": _by_auth0,
}


def tidy_user(name: str) -> str:
    """The name, cut to 256 characters when longer: 247, `…` and 8 of its hash, so that different names stay different.

    Examples
    --------
    >>> tidy_user("ann"), len(tidy_user("a" * 10_000)), tidy_user("a" * 999) == tidy_user("a" * 1000)
    ('ann', 256, False)
    """
    if len(name) <= USER_LIMIT:
        return name
    short = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{name[: USER_LIMIT - 9]}…{short}"


# --- inference


def infer(
    sample: pl.DataFrame,
    choice: FieldChoice | None = None,
    *,
    where: str = "",
    year: int | None = None,
    now: datetime | None = None,
) -> Fields:
    """Which column plays which role, judged by names and values; what `choice` pins wins.

    Parameters
    ----------
    sample : (n, columns)
        First rows as read, nested records flattened to dotted names.
    where
        Name of the file, for messages.
    year, now
        The year of the first time, or a moment after all times, for logs whose times lack the year.

    Raises
    ------
    EventError
        If a pinned column does not exist, or no column can be the time, the user or the action; lists what was found.

    Examples
    --------
    >>> sample = pl.DataFrame({"ts": ["2019-01-01T00:00:00Z"], "account": ["ann"], "event": ["in"], "result": ["ok"]})
    >>> {role: guess.column for role, guess in infer(sample).roles.items()}
    {'time': 'ts', 'user': 'account', 'action': 'event', 'outcome': 'result'}
    """
    sample = sample.head(SAMPLE_ROWS)
    choice = choice or FieldChoice()
    pinned = choice.pinned()
    _check_pinned(sample, pinned, where)
    preset, roles = _from_preset(sample)
    if not roles:
        roles = _from_columns(sample, pinned)
    for role, column in pinned.items():
        roles[role] = _guess(sample, role, column, 1.0)
    if "action" not in roles and _is_of_logins(roles):
        roles["action"] = _guess(sample, "action", LOGIN, 0.5)
    if "time" in roles:
        roles["time"] = _with_time_format(sample, roles["time"], choice.time_format, year, now)
    _check_complete(sample, roles, where)
    used = {name for guess in roles.values() for name in raw_names(guess.column)}
    rest = tuple(name for name in sample.columns if name not in used and name != "position")[:REST_LIMIT]
    return Fields(preset, {role: roles[role] for role in ROLES if role in roles}, rest, _seen(sample, roles))


def _seen(sample: pl.DataFrame, roles: Mapping[str, RoleGuess]) -> tuple[str, ...]:
    """Some actions of a sample."""
    found = texts(sample, roles["action"].column).drop_nulls().unique(maintain_order=True)
    return tuple(found.head(ACTIONS_SEEN).to_list())


def fixed(
    sample: pl.DataFrame,
    preset: str,
    roles: Mapping[str, str],
    choice: FieldChoice | None = None,
    *,
    where: str = "",
    year: int | None = None,
    now: datetime | None = None,
) -> Fields:
    """The fields of a log whose format itself says what is what, such as an access log; `choice` still wins."""
    choice = choice or FieldChoice()
    pinned = choice.pinned()
    _check_pinned(sample, pinned, where)
    guesses = {role: _guess(sample, role, column, 0.99) for role, column in roles.items()}
    guesses |= {role: _guess(sample, role, column, 1.0) for role, column in pinned.items()}
    guesses["time"] = _with_time_format(sample, guesses["time"], choice.time_format, year, now)
    used = {name for guess in guesses.values() for name in raw_names(guess.column)}
    rest = tuple(name for name in sample.columns if name not in used and name != "position")
    return Fields(preset, {role: guesses[role] for role in ROLES if role in guesses}, rest, _seen(sample, guesses))


def _is_of_logins(roles: Mapping[str, RoleGuess]) -> bool:
    """Whether a log tells when who came, and from where or with what; an address alone is nobody."""
    if not {"time", "user"} <= roles.keys() or ("ip" in roles and roles["ip"].column == roles["user"].column):
        return False
    return any(role in roles for role in ("ip", "country", "user_agent"))


def _check_pinned(sample: pl.DataFrame, pinned: Mapping[str, str], where: str) -> None:
    problems = [
        f'there is no column "{name}" for {role}.{nearest(name, sample.columns)}'
        for role, column in pinned.items()
        for name in raw_names(column)
        if name not in sample.columns
    ]
    problems += [
        f'{role} is pinned to nothing: behind "=" belongs the text that all rows have, as in "=login".'
        for role, column in pinned.items()
        if column == CONSTANT
    ]
    if problems:
        head = f"{where}: " if where else ""
        raise EventError(head + "\n".join([*problems, _found(sample)]))


def _check_complete(sample: pl.DataFrame, roles: Mapping[str, RoleGuess], where: str) -> None:
    missing = [role for role in REQUIRED if role not in roles]
    if not missing:
        return
    head = f"{where}: " if where else ""
    if sample.is_empty() and sample.width:
        names = ", ".join(ascii_safe(column) for column in sample.columns[:MOST_COLUMNS_TOLD] if column != "position")
        raise EventError(f"{head}no rows below the names of columns ({names}): there are no events to read")
    name = "COLUMN"
    options = " ".join(f"--{role} {name}" for role in missing)
    toml = ", ".join(f'{role} = "{name}"' for role in missing)
    raise EventError(
        f"{head}no column looks like the {' or the '.join(missing)} of an event.\n{_found(sample)}\n"
        f"Name it: {options}, or in amiss.toml under [fields]: {toml}\n"
        'What all rows have is given behind "=": a log of nothing but logins is read with --action "=login"'
    )


def _found(sample: pl.DataFrame) -> str:
    lines = [
        f"  {name[:60]}: {', '.join(samples_of(sample, name)) or 'always empty'}"
        for name in sample.columns
        if name != "position"
    ]
    if not lines:
        return "Found no columns in the first rows."
    told, left = lines[:MOST_COLUMNS_TOLD], len(lines) - MOST_COLUMNS_TOLD
    more = f"\n  and {left} more" if left > 0 else ""
    return "Found these columns, with up to three values:\n" + "\n".join(told) + more


def samples_of(sample: pl.DataFrame, column: str) -> tuple[str, ...]:
    """Up to three different values of a column, in order, each cut to 60 characters.

    Examples
    --------
    >>> samples_of(pl.DataFrame({"n": [1, 1, None, 2]}), "n")
    ('1', '2')
    """
    values = texts(sample, column).drop_nulls().unique(maintain_order=True)
    return tuple(ascii_safe(value) for value in values.filter(values != "").head(3).to_list())


def ascii_safe(value: str) -> str:
    """The value cut to 60 characters, with control and bidirectional characters escaped."""
    text = value if len(value) <= 60 else value[:59] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _guess(sample: pl.DataFrame, role: str, column: str, confidence: float, reading: str = "") -> RoleGuess:
    if role == "outcome" and not reading and not column.startswith(CONSTANT):
        reading = _reading_of(sample, column)
    if role == "amount_cents" and not reading:
        reading = "cents" if "cents" in column.lower() else "decimal"
    return RoleGuess(column, round(confidence, 2), samples_of(sample, column), reading=reading)


def _reading_of(sample: pl.DataFrame, column: str) -> str:
    """What the values of an outcome column mean, by its name and values."""
    tokens = set(_plain(column).split("_"))
    if tokens & {"failed", "failure", "fail"} or ("is" in tokens and "error" in tokens):
        return "failure_flag"
    if tokens & {"success", "succeeded", "successful", "ok"}:
        return "success_flag"
    values = [value for value in texts(sample, column).drop_nulls().unique().to_list() if value]
    if values and all(re.fullmatch(r"[1-5]\d\d", value) for value in values):
        return "status_code"
    known = sum(outcome_of(value) != "unknown" for value in values)
    return "error" if "error" in tokens and known < _LOOKS * len(values) else "words"


def _with_time_format(
    sample: pl.DataFrame, guess: RoleGuess, pinned: str | None, year: int | None, now: datetime | None
) -> RoleGuess:
    values = time_values(sample, guess.column)
    found = times.named(pinned) if pinned else times.detect_format(values)
    if found is None:
        shown = ", ".join(guess.samples) or "nothing"
        raise EventError(
            f'column "{guess.column}" does not hold times. Found: {shown}. '
            "Expected ISO 8601, seconds to nanoseconds since 1970, an access log's or syslog's times. "
            "Name another: --time COLUMN, or say how it is written, in amiss.toml under [fields]: "
            'time_format = "epoch_s"'
        )
    first = str(values.drop_nulls().first()) if found.kind == "syslog" else ""
    return replace(guess, time_format=times.with_year(found, first, year=year, now=now))


def _from_preset(sample: pl.DataFrame) -> tuple[str, dict[str, RoleGuess]]:
    """The first preset whose marks are there and that finds time, user and action."""
    present = set(sample.columns)
    for name, preset in PRESETS.items():
        marked = sum(any(part in present for part in marker.split("|")) for marker in preset.markers)
        enough = marked == len(preset.markers) or (name == "ocsf" and marked >= 1)
        columns = {role: _present(column, present) for role, column in preset.roles.items()}
        if enough and all(columns[role] for role in REQUIRED):
            guesses = {
                role: _guess(sample, role, column, 0.98, preset.readings.get(role, ""))
                for role, column in columns.items()
                if column
            }
            if "error" in preset.readings.values() and "outcome" not in guesses:
                guesses["outcome"] = RoleGuess(preset.roles["outcome"], 0.9, (), reading="error")
            return name, guesses
    return "plain", {}


def _present(column: str, present: set[str]) -> str:
    return "|".join(part for part in column.split("|") if part in present)


def _from_columns(sample: pl.DataFrame, pinned: Mapping[str, str]) -> dict[str, RoleGuess]:
    """Roles by names and values, the surest column for each role in turn."""
    taken = {name for column in pinned.values() for name in raw_names(column)}
    roles: dict[str, RoleGuess] = {}
    pair = _date_and_time(sample)
    if pair and "time" not in pinned:
        roles["time"] = _guess(sample, "time", f"{{{pair[0]}}} {{{pair[1]}}}", 0.95)
        taken |= set(pair)
    for role in ("time", "ip", "user", "action", "outcome", *OPTIONAL_SCHEMA):
        if role in roles or role in pinned:
            continue
        best = max(
            (
                (_score(sample, role, name), -place, name)
                for place, name in enumerate(sample.columns)
                if name not in taken
            ),
            default=(0.0, 0, ""),
        )
        if best[0] >= _SURE:
            roles[role] = _guess(sample, role, best[2], best[0])
            taken.add(best[2])
    if "user" not in roles and "user" not in pinned and "ip" in roles:
        roles["user"] = _guess(sample, "user", roles["ip"].column, 0.4)
    return roles


def _date_and_time(sample: pl.DataFrame) -> tuple[str, str] | None:
    """A column of days beside one of times of day."""
    days = [name for name in sample.columns if "date" in _plain(name).split("_") or _plain(name) == "day"]
    clocks = [name for name in sample.columns if "time" in _plain(name).split("_")]
    for day in days:
        for clock in clocks:
            if _share(sample, day, r"^\d{4}-\d\d-\d\d$") >= _LOOKS <= _share(sample, clock, r"^\d\d:\d\d(:\d\d)?"):
                return day, clock
    return None


def _share(sample: pl.DataFrame, name: str, pattern: str) -> float:
    """The share of the values there are that match."""
    if sample[name].dtype != pl.String:
        return 0.0
    values = sample[name].drop_nulls()
    values = values.filter(values != "")
    return float(values.str.contains(pattern).cast(pl.Float64).sum()) / len(values) if len(values) else 0.0


def _plain(name: str) -> str:
    """A name in lower case, words joined by `_`: `userName`, `user.name` and `User Name` are `user_name`."""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def _score(sample: pl.DataFrame, role: str, name: str) -> float:
    """How well a column suits a role, 0..1."""
    plain = _plain(name)
    if name == "position" or name.startswith(CONSTANT) or plain in _HIDDEN:
        return 0.0
    values = sample[name]
    if values.null_count() == len(values):
        return 0.0
    by_name = _name_score(role, plain)
    check = _VALUE_CHECKS.get(role)
    return check(sample, name, by_name) if check else by_name


def _name_score(role: str, plain: str) -> float:
    known = _NAMES[role]
    if plain in known:
        return 1.0 - 0.5 * known.index(plain) / len(known)
    words = plain.split("_")
    tail = next((names for names in ("_".join(words[1:]), words[-1]) if names in known[:8] and len(words) > 1), None)
    if tail:
        return 0.55
    near = difflib.get_close_matches(plain, [item for item in known if len(item) > 3], n=1, cutoff=0.8)
    return _NEARLY if near else 0.0


def _time_score(sample: pl.DataFrame, name: str, by_name: float) -> float:
    found = times.detect_format(sample[name])
    if found is None or found.kind.startswith("epoch"):
        return by_name if found else 0.0
    day_only = _share(sample, name, r"^\d{4}.\d\d.\d\d$") >= _LOOKS
    return max(by_name, 0.6) * (0.7 if day_only else 1.0)


def _user_score(sample: pl.DataFrame, name: str, by_name: float) -> float:
    values = texts(sample, name).drop_nulls()
    if sample[name].dtype.is_float() and values.str.contains(r"\.\d").any():
        return 0.0
    if times.detect_format(sample[name]) is not None and not sample[name].dtype.is_numeric():
        return 0.0
    if _share(sample, name, r"^[^@\s]+@[^@\s]+\.[a-zA-Z]+$") >= _LOOKS:
        by_name = max(by_name, 0.6)
    long = (values.str.len_chars() > 100).mean() or 0.0
    return by_name * _variety(values) * (0.3 if isinstance(long, float) and long > 0.5 else 1.0)


def _action_score(sample: pl.DataFrame, name: str, by_name: float) -> float:
    if sample[name].dtype.is_float() or sample[name].dtype == pl.Boolean or _looks_like_outcomes(sample, name):
        return 0.0
    values = texts(sample, name).drop_nulls()
    numbers = 0.5 if sample[name].dtype.is_integer() else 1.0
    return by_name * _variety(values) * numbers


def _variety(values: pl.Series) -> float:
    """Less than 1 where all of many values differ, as the numbers of rows do."""
    return 0.5 if len(values) >= 50 and values.n_unique() == len(values) else 1.0


def _looks_like_outcomes(sample: pl.DataFrame, name: str) -> bool:
    values = [value for value in texts(sample, name).drop_nulls().unique().head(50).to_list() if value]
    reading = _reading_of(sample, name)
    return bool(values) and all(outcome_of(value, reading) != "unknown" for value in values)


def _outcome_score(sample: pl.DataFrame, name: str, by_name: float) -> float:
    values = [value for value in texts(sample, name).drop_nulls().unique().head(50).to_list() if value]
    reading = _reading_of(sample, name)
    known = sum(outcome_of(value, reading) != "unknown" for value in values)
    return by_name * known / len(values) if values and known >= 0.5 * len(values) else 0.0


def _ip_score(sample: pl.DataFrame, name: str, by_name: float) -> float:
    values = [value for value in texts(sample, name).drop_nulls().unique().head(50).to_list() if value]
    if not values or sum(map(is_address, values)) < _LOOKS * len(values) or sample[name].dtype.is_numeric():
        return 0.0
    return max(by_name, 0.6)


def _network_type_score(sample: pl.DataFrame, name: str, by_name: float) -> float:
    """Names must be exact, as many things have types; "public" alone may tell of addresses rather than of places."""
    told = [value for value in texts(sample, name).drop_nulls().unique().head(50).to_list() if kind_named(value)]
    known = sum(kind_named(value) != OTHER and value.strip().lower() != "public" for value in told)
    return by_name if by_name > _NEARLY and known and known >= 0.5 * len(told) else 0.0


def _number_score(sample: pl.DataFrame, name: str, by_name: float) -> float:
    numeric = sample[name].dtype.is_numeric() or _share(sample, name, r"^-?\d+(\.\d+)?$") >= _LOOKS
    return by_name if numeric else 0.0


_VALUE_CHECKS: Final[dict[str, Callable[[pl.DataFrame, str, float], float]]] = {
    "time": _time_score,
    "user": _user_score,
    "action": _action_score,
    "outcome": _outcome_score,
    "ip": _ip_score,
    "latitude": _number_score,
    "longitude": _number_score,
    "network_type": _network_type_score,
    "amount_cents": _number_score,
}


# --- from raw columns to events


def texts(raw: pl.DataFrame, column: str) -> pl.Series:
    """A written column as texts: whole numbers without a point, NaN and absent raw columns as null."""
    if column.startswith(CONSTANT):
        return pl.repeat(column.removeprefix(CONSTANT), len(raw), dtype=pl.String, eager=True).alias(column)
    parts = [_as_text(raw[name]) for name in raw_names(column) if name in raw.columns]
    if not parts:
        return pl.Series(column, [None] * len(raw), dtype=pl.String)
    if "{" in column and len(parts) > 1:
        return raw.select(pl.concat_str(parts, separator=" ")).to_series().rename(column)
    result = parts[0]
    for part in parts[1:]:
        result = result.zip_with(result.is_not_null() & (result != "").fill_null(value=False), part)
    return result.rename(column)


def _as_text(series: pl.Series) -> pl.Series:
    if series.dtype == pl.String:
        return series
    if series.dtype.is_float():
        series = series.set(~series.is_finite(), None)
        whole = (series == series.floor()).all() and (series.abs() < 2**53).all()
        return series.cast(pl.Int64 if whole else pl.Float64).cast(pl.String)
    if series.dtype == pl.Boolean:
        return series.cast(pl.Int8).cast(pl.String).replace({"1": "true", "0": "false"})
    if series.dtype.is_nested() or series.dtype == pl.Object:
        written = [None if value is None else json.dumps(value, default=str) for value in series.to_list()]
        return pl.Series(series.name, written, dtype=pl.String)
    if series.dtype == pl.Binary:
        return series.cast(pl.String, strict=False)
    return series.cast(pl.String)


def time_values(raw: pl.DataFrame, column: str) -> pl.Series:
    """The raw values of a time column, numbers and times left as they are."""
    names = [name for name in raw_names(column) if name in raw.columns]
    return raw[names[0]] if len(names) == 1 and not raw[names[0]].dtype.is_nested() else texts(raw, column)


def events(raw: pl.DataFrame, found: Fields, timezone: str = "UTC") -> tuple[pl.DataFrame, pl.DataFrame]:
    """The event frame of raw rows, and the rows that are no events.

    Parameters
    ----------
    raw : (n, columns) with `position`
        Rows as read.

    Returns
    -------
    events : (m, columns) as `amiss.events.EVENT_SCHEMA`, roles that were found, and the rest
    rejected : (n - m, 2) `position`, `reason`

    Examples
    --------
    >>> raw = pl.DataFrame({"position": [1, 2], "t": ["2019-01-01", "x"], "user": [7, 8], "action": ["a", "b"]})
    >>> good, bad = events(raw, infer(raw.head(1)))
    >>> good["user"].to_list(), bad.rows()
    (['7'], [(2, 'column "t" holds no time')])
    """
    roles = found.roles
    columns = {"position": raw["position"].cast(pl.Int64)}
    columns |= {role: values_of(raw, role, found, timezone) for role in MAIN}
    columns |= {role: _optional(raw, role, roles[role]) for role in OPTIONAL_SCHEMA if role in roles}
    for name in found.rest:
        series = raw[name] if name in raw.columns else pl.Series(name, [None] * len(raw), dtype=pl.String)
        columns[name if name not in columns else f"raw.{name}"] = series
    frame = pl.DataFrame([series.rename(name) for name, series in columns.items()])
    return _split(frame, roles)


def values_of(raw: pl.DataFrame, role: str, found: Fields, timezone: str = "UTC") -> pl.Series:
    """What raw rows say of time, user, action or outcome; null where they lack it.

    Examples
    --------
    >>> raw = pl.DataFrame({"time": ["2019-01-01", "2019-01-02"], "user": ["ann", ""], "action": ["a", "b"]})
    >>> values_of(raw, "user", infer(raw)).to_list()
    ['ann', None]
    """
    guess = found.roles.get(role)
    if guess is None or role == "outcome":
        return _outcomes(raw, guess)
    if role == "time":
        return times.parse(time_values(raw, guess.column), guess.time_format or TimeFormat("iso"), timezone)
    return (_users if role == "user" else _actions)(texts(raw, guess.column))


def _split(frame: pl.DataFrame, roles: Mapping[str, RoleGuess]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows with a time, a user and an action, and the others with the first thing they lack."""
    if not any(frame[role].null_count() for role in REQUIRED):
        return frame, pl.DataFrame(schema={"position": pl.Int64, "reason": pl.String})
    reasons = {
        "time": f'column "{roles["time"].column}" holds no time',
        "user": f'column "{roles["user"].column}" names no user',
        "action": f'column "{roles["action"].column}" names no action',
    }
    reason = pl.coalesce(pl.when(pl.col(role).is_null()).then(pl.lit(text)) for role, text in reasons.items())
    judged = frame.with_columns(reason.alias("_reason"))
    good = judged.filter(pl.col("_reason").is_null()).drop("_reason")
    return good, judged.filter(pl.col("_reason").is_not_null()).select("position", pl.col("_reason").alias("reason"))


def _users(names: pl.Series) -> pl.Series:
    names = names.set((names == "").fill_null(value=False), None)
    long = (names.str.len_bytes() > USER_LIMIT).fill_null(value=False)
    if not long.any():
        return names
    rows = long.arg_true()
    return names.scatter(rows, pl.Series([tidy_user(name) for name in names.gather(rows).to_list()], dtype=pl.String))


def _actions(names: pl.Series) -> pl.Series:
    return names.set((names == "").fill_null(value=False), EMPTY_ACTION)


def _outcomes(raw: pl.DataFrame, guess: RoleGuess | None) -> pl.Series:
    if guess is None:
        return pl.repeat("unknown", len(raw), dtype=pl.String, eager=True)
    values = texts(raw, guess.column)
    known = values.unique().to_list()
    meaning = [outcome_of(value, guess.reading or "words") for value in known]
    result = values.replace_strict(pl.Series(known, dtype=pl.String), pl.Series(meaning), return_dtype=pl.String)
    return result.fill_null(outcome_of(None, guess.reading or "words"))


def _optional(raw: pl.DataFrame, role: str, guess: RoleGuess) -> pl.Series:
    values = texts(raw, guess.column)
    if role == "amount_cents":
        number = values.str.replace_all(r"[$€£,\s]", "").cast(pl.Float64, strict=False)
        number = number if guess.reading == "cents" else number * 100
        return number.set(~number.is_finite() | (number.abs() > 9e15), None).round().cast(pl.Int64, strict=False)
    if OPTIONAL_SCHEMA[role] == pl.Float64:
        return values.cast(pl.Float64, strict=False)
    return values.set((values == "").fill_null(value=False), None)


# --- configuration


def describe(found: Fields) -> list[dict[str, object]]:
    """Rows `role, column, confidence, samples, reading` of what was found, to be printed.

    Examples
    --------
    >>> describe(infer(pl.DataFrame({"time": ["2019-01-01"], "user": ["ann"], "action": ["login"]})))[1]
    {'role': 'user', 'column': 'user', 'confidence': 1.0, 'samples': ('ann',), 'reading': ''}
    """
    return [
        {
            "role": role,
            "column": guess.column,
            "confidence": guess.confidence,
            "samples": guess.samples,
            "reading": guess.time_format.kind if guess.time_format else guess.reading,
        }
        for role, guess in found.roles.items()
    ]


def to_toml(found: Fields) -> str:
    """The section for amiss.toml that pins what was found; roles beyond the four main ones are written as comments.

    Examples
    --------
    >>> print(to_toml(infer(pl.DataFrame({"t": ["2019-01-01 00:00:00"], "user": ["ann"], "action": ["login"]}))))
    # found as plain
    [fields]
    time = "t"
    user = "user"
    action = "action"
    <BLANKLINE>
    """
    lines = [f"# found as {found.preset}", "[fields]"]
    for role, guess in found.roles.items():
        mark = "" if role in MAIN else "# "
        lines.append(f"{mark}{role} = {_toml_text(guess.column)}")
    return "\n".join(lines) + "\n"


def _toml_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def from_toml(text: str) -> FieldChoice:
    r"""What the `[fields]` section of a configuration pins.

    Raises
    ------
    ConfigError
        If the text is not TOML, or names an unknown role.

    Examples
    --------
    >>> from_toml('[fields]\nuser = "account"').user
    'account'
    """
    try:
        section = tomllib.loads(text).get("fields", {})
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not TOML: {error}") from error
    return choice_of(section)


def choice_of(section: Mapping[str, object]) -> FieldChoice:
    """The pinned columns of a `[fields]` section that was read already.

    Examples
    --------
    >>> choice_of({"usr": "account"})
    Traceback (most recent call last):
    amiss.errors.ConfigError: [fields] "usr" is not a role. Did you mean "user"?
    """
    given = {str(name): value for name, value in section.items() if name not in _NOT_ROLES and value is not None}
    known = (*ROLES, "time_format")
    problems = [f'[fields] "{name}" is not a role.{nearest(name, known)}' for name in given if name not in known]
    problems += [f"[fields] {name} must be a text" for name, value in given.items() if not isinstance(value, str)]
    if problems:
        raise ConfigError("\n".join(problems))
    if "time_format" in given:
        times.named(str(given["time_format"]))
    return FieldChoice(**{name: str(column) for name, column in given.items()})


def schema(found: Fields) -> dict[str, pl.DataType]:
    """The columns that event frames of these fields have for sure, with their types."""
    return EVENT_SCHEMA | {role: dtype for role, dtype in OPTIONAL_SCHEMA.items() if role in found.roles}
