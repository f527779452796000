"""Where and with what somebody logged in: what the rows of a log tell of it."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
import polars.selectors as cs

from amiss.addresses import SPECIAL, network_of, packed, read_ranges, spelled
from amiss.countries import country_code
from amiss.devices import Device, device_named, device_of
from amiss.errors import ConfigError
from amiss.events import OPTIONAL_SCHEMA
from amiss.geo import Found, GeoDatabase, coordinates, merged
from amiss.kinds import KINDS, OTHER, VPN, kind_named, kind_of_operator
from amiss.zones import hour_of_week, hours_of_week, zone_of

_LOG: Final = logging.getLogger(__name__)

LOGIN_ACTIONS: Final = (
    r"(?:^|[^a-z])(?:log|sign)(?:ged|ed)?[ _-]?(?:in|on)(?:$|[^a-z])"
    r"|(?-i:(?:^|[a-z])(?:Log|Sign)(?:ged|ed)?(?:In|On|in|on)(?:$|[^a-z]))"
    r"|(?-i:(?:^|[^A-Za-z])(?:log|sign)(?:ged|ed)?(?:In|On|in|on)[A-Z])"
    r"|authenticat(?:e|ed|ion)"
    r"|session[ ._-]?(?:start|open)"
    r"|accepted (?:password|publickey|keyboard|hostbased|gssapi)"
    r"|^s$|^4624$"
)
"""Actions that are logins by default: a regular expression, in which capitals do not matter.

`s` is how Auth0, 4624 how Windows write that somebody logged in. Of these actions those are left out that speak of a
failure, or only look at a page (`GET /login`)."""

NO_LOGINS: Final = (
    r"fail|denied|deny|invalid|reject|refus|wrong|incorrect|unsuccess|error|blocked|lock(?:ed|out)|log[ _-]?(?:off|out)"
    r"|^(?:get|head|options) "
)

LOGIN_SCHEMA: Final[dict[str, pl.DataType]] = {
    "login": pl.UInt8(),
    "address": pl.String(),
    "network": pl.String(),
    "provider": pl.String(),
    "country": pl.String(),
    "city": pl.String(),
    "kind": pl.UInt8(),
    "agent": pl.String(),
    "browser": pl.String(),
    "device": pl.String(),
    "hour": pl.UInt8(),
    "latitude": pl.Float32(),
    "longitude": pl.Float32(),
    "wide": pl.UInt8(),
}
"""The columns of :func:`login_context`."""

_TYPED: Final = [pl.col(name).cast(dtype) for name, dtype in LOGIN_SCHEMA.items()]

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

_TEXT: Final = pl.String()
_DEVICE_SCHEMA: Final[dict[str, pl.DataType]] = {"agent": _TEXT, "browser": _TEXT, "device": _TEXT}
_PLACE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "address": _TEXT, "network": _TEXT, "provider": _TEXT, "country": _TEXT, "city": _TEXT,
    "latitude": pl.Float64(), "longitude": pl.Float64(), "zone": _TEXT, "wide": pl.Boolean(), "organization": _TEXT,
    "kind": _TEXT,
}  # fmt: skip
_PLACE_ROLES: Final = ("ip", "country", "city", "latitude", "longitude", "provider", "network_type")
_KNOWN: Final = 65_536
_MOST_OPENED: Final = 16
_TEXT_LIMIT: Final = 100
_SHORT: Final = 200
_NUMBERED: Final = re.compile(
    r"(?:ASN?)?[ :#]?0*([1-9]\d{0,9})(?:\.0)?|AS0*([1-9]\d{0,9})\b.*", re.ASCII | re.IGNORECASE
)
_NOTHING: Final = frozenset(("", "-", "--", "0", "null", "none", "unknown", "undefined", "n/a"))


class Place(NamedTuple):
    """Where an address is, as far as log and databases tell; "" or NaN for what they do not.

    Attributes
    ----------
    network
        Its /24, with IPv6 its /48.
    provider
        The network's operator: "AS64500", or the name that the log gives.
    country
        ISO 3166 code.
    latitude, longitude
        Degrees.
    zone
        The time zone; UTC where nobody knows.
    wide
        Whether the address says little of where somebody is: a private or shared one, a VPN or a carrier's.
    organization
        The operator's name by the databases.
    kind
        What the network is for, one of :data:`amiss.kinds.KINDS`: by what the log says of it, else by the databases,
        else by words of the operator's name. That of a VPN is always wide.
    """

    address: str = ""
    network: str = ""
    provider: str = ""
    country: str = ""
    city: str = ""
    latitude: float = math.nan
    longitude: float = math.nan
    zone: str = "UTC"
    wide: bool = False
    organization: str = ""
    kind: str = ""


class Told(NamedTuple):
    """What a log tells of where somebody was; coordinates in degrees."""

    address: str | None = None
    country: str | None = None
    city: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    provider: str | None = None
    network_type: str | None = None

    def short(self) -> Told:
        """The same, texts that somebody made long cut, so that remembering them takes little memory."""
        texts = self.address, self.country, self.city, self.provider, self.network_type
        if sum(map(len, filter(None, texts))) <= _TEXT_LIMIT:
            return self
        address, country, city, provider, network_type = map(_cut, texts)
        return Told(address, country, city, self.latitude, self.longitude, provider, network_type)


class Places:
    """Tells places of addresses, by databases and by files of ranges that say little of where somebody is.

    Parameters
    ----------
    geoip
        Paths of databases in MaxMind's format; of each thing the first that tells it counts.
    wide
        Paths of files of networks.

    Raises
    ------
    ConfigError
        If a file is not there, or is not what it should be.

    Examples
    --------
    >>> Places().place(Told("::ffff:192.0.2.7", "Ukraine"))[:5]
    ('192.0.2.7', '192.0.2.0/24', '', 'UA', '')
    >>> Places().place(Told("10.0.0.1:4711")).wide
    True
    >>> Places().place(Told("203.0.113.9", "UA", provider="Example Mobile")).kind
    'mobile'
    """

    def __init__(self, geoip: Sequence[str] = (), wide: Sequence[str] = ()) -> None:
        self._databases = [GeoDatabase(path) for path in geoip]
        self._wide = read_ranges(wide)
        self._recalled = lru_cache(_KNOWN)(self._place)

    def place(self, told: Told) -> Place:
        """The place of an address; what the log tells counts more than what databases do."""
        return self._recalled(told.short())

    def _place(self, told: Told) -> Place:
        number = packed(told.address)
        text, network, code = spelled(number), network_of(number), country_code(told.country)
        special = number in SPECIAL and not code
        found = Found() if special else self._found(text, len(number))
        kind = _kind(told, found)
        if special or kind == VPN or number in self._wide:
            return Place(text, network, wide=True, kind=kind)
        if code and found.country not in ("", code):
            found = Found(provider=found.provider, organization=found.organization, kind=found.kind)
        code = code or found.country
        north, east = coordinates(told.latitude, told.longitude)
        located = not math.isnan(north)
        if not located:
            north, east = found.latitude, found.longitude
        zone = (not located and found.zone) or zone_of(code, north, east)
        operator = _operator(told.provider) or found.provider
        return Place(
            text, network, operator, code, _tidy(told.city) or found.city, north, east, zone, False, found.organization,
            kind,
        )  # fmt: skip

    def _found(self, address: str, size: int) -> Found:
        """What the databases tell."""
        if not self._databases or not address:
            return Found()
        return merged([database.look_up(address, size) for database in self._databases])


_OPENED: Final[dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[tuple[tuple[int, int, int], ...], Places]]] = {}


def places(geoip: Paths = (), wide: Paths = ()) -> Places:
    """What tells places by these files, opened once and again when they change.

    Where new ones cannot be used, it goes on with the old ones and says so in the log.

    Raises
    ------
    ConfigError
        If a file is not there, or is not what it should be, from the beginning.
    """
    key = _paths(geoip), _paths(wide)
    known = _OPENED.get(key)
    stamps = tuple(_stamp(path, known=known is not None) for path in (*key[0], *key[1]))
    if known is None or known[0] != stamps:
        if len(_OPENED) >= _MOST_OPENED:
            _OPENED.clear()
        known = _OPENED[key] = (stamps, _opened(*key, known[1] if known else None))
    return known[1]


def _opened(geoip: Sequence[str], wide: Sequence[str], before: Places | None) -> Places:
    try:
        return Places(geoip, wide)
    except ConfigError as error:
        if before is None:
            raise
        _LOG.warning("going on with what was there before: %s", error)
        return before


def _paths(paths: Paths) -> tuple[str, ...]:
    one = (paths,) if isinstance(paths, str | os.PathLike) else paths
    return tuple(os.fspath(path) for path in one if os.fspath(path))


def _stamp(path: str, *, known: bool) -> tuple[int, int, int]:
    """Tells whether a file changed."""
    try:
        state = Path(path).stat()
    except OSError as error:
        if known:
            return 0, 0, 0
        raise ConfigError(f"expected a database or a list of networks, but {error.strerror}", file=path) from error
    return state.st_mtime_ns, state.st_size, state.st_ino


def _cut(text: str | None) -> str | None:
    """The text's beginning."""
    return text and text[:_TEXT_LIMIT]


def _kind(told: Told, found: Found) -> str:
    """What a network is for; "other" where the log calls it something unknown and nothing else tells it."""
    said = kind_named(told.network_type or "")
    if said not in ("", OTHER):
        return said
    return found.kind or kind_of_operator(_tidy(told.provider)) or kind_of_operator(found.organization) or said


def _operator(provider: str | None) -> str:
    """A network's operator: "AS64500" where the text begins with its number, else the text."""
    text = _tidy(provider)
    numbered = _NUMBERED.fullmatch(text)
    return f"AS{numbered[1] or numbered[2]}" if numbered else text


def _tidy(text: str | None) -> str:
    """A text without blanks around it, of at most 100 characters; "" for `-` and the like."""
    plain = (text or "").strip()
    return "" if plain.lower() in _NOTHING else plain[:_TEXT_LIMIT]


# --- logins


def login_context(
    events: pl.DataFrame, *, actions: str = LOGIN_ACTIONS, geoip: Paths = (), wide: Paths = ()
) -> pl.DataFrame:
    """Where, when in local time, and with what somebody logged in, for each row of an event frame.

    Parameters
    ----------
    events : (n, columns)
        As :data:`amiss.events.EVENT_SCHEMA`, with what there is of `ip`, `country`, `city`, `latitude`, `longitude`,
        `provider`, `network_type`, `user_agent` and `device`.
    actions
        Regular expression of the actions that are logins; capitals do not matter.
    geoip
        Path or paths of databases in MaxMind's format.
    wide
        Path or paths of files of networks that say little of where somebody is: VPNs, relays, carriers.

    Returns
    -------
    context : (n, 14) as `LOGIN_SCHEMA`
        `login` is 1 for logins that did not fail. For other rows all is 0, "" or NaN. `kind` is the place in
        :data:`amiss.kinds.KINDS`, `hour` the hour of the week in the zone of the place. Without nulls.

    Raises
    ------
    ConfigError
        If `actions` is no regular expression, or a file is not there or not what it should be.
    MissingExtraError
        If a package is not installed that the columns need.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> events = pl.DataFrame({
    ...     "time": [datetime(2026, 1, 5, 12, tzinfo=UTC)] * 2, "action": ["login", "buy"], "outcome": ["success"] * 2,
    ...     "ip": ["203.0.113.9", "203.0.113.9"], "country": ["Ukraine", "Ukraine"],
    ... })
    >>> login_context(events).select("login", "network", "country", "hour").rows()
    [(1, '203.0.113.0/24', 'UA', 14), (0, '', '', 0)]
    """
    if len(events) == 1:
        told = login_of(events.row(0, named=True), actions=actions, geoip=geoip, wide=wide)
        return pl.DataFrame([tuple(told.values())], schema=LOGIN_SCHEMA, orient="row")
    chosen = _are_logins(events, actions)
    rows = events.filter(chosen)
    known = places(geoip, wide)
    where = _spread(rows, _PLACE_ROLES, lambda *told: known.place(Told(*told)), _PLACE_SCHEMA)
    device = _spread(rows, ("user_agent", "device"), _device, _DEVICE_SCHEMA)
    hours = hours_of_week(rows["time"], where["zone"])
    where = where.with_columns(pl.col("kind").replace_strict(KINDS, range(len(KINDS)), return_dtype=pl.UInt8))
    context = pl.DataFrame([*where, *device, hours]).select(pl.lit(1).alias("login"), pl.all()).select(_TYPED)
    if len(rows) == len(events):
        return context
    nothing = pl.DataFrame([_NO_LOGIN], schema=LOGIN_SCHEMA, orient="row")
    place = pl.select(pl.when(chosen).then(chosen.cum_sum() - 1).otherwise(len(rows))).to_series()
    return pl.concat([context, nothing])[place]


def login_of(
    event: Mapping[str, Any], *, actions: str = LOGIN_ACTIONS, geoip: Paths = (), wide: Paths = ()
) -> dict[str, Any]:
    """The row of :func:`login_context` for one event, given by role; quick where its texts were met before.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> told = login_of({"time": datetime(2026, 1, 5, 12, tzinfo=UTC), "action": "login", "ip": "10.0.0.1"})
    >>> told["login"], told["network"], told["wide"], told["hour"]
    (1, '10.0.0.0/24', 1, 12)
    """
    if event.get("outcome") == "failure" or not is_login(_text(event.get("action")) or "", actions):
        return dict(zip(LOGIN_SCHEMA, _NO_LOGIN, strict=True))
    where = place_of(event, geoip=geoip, wide=wide)
    device = _device(_text(event.get("user_agent")), _text(event.get("device")))
    return {
        "login": 1,
        "address": where.address,
        "network": where.network,
        "provider": where.provider,
        "country": where.country,
        "city": where.city,
        "kind": KINDS.index(where.kind),
        **device._asdict(),
        "hour": hour_of_week(event["time"], where.zone),
        "latitude": where.latitude,
        "longitude": where.longitude,
        "wide": int(where.wide),
    }


def place_of(event: Mapping[str, Any], *, geoip: Paths = (), wide: Paths = ()) -> Place:
    """The place of one event, given by role.

    Examples
    --------
    >>> place_of({"ip": "203.0.113.9", "country": "UA"}).zone
    'Europe/Kyiv'
    """
    ip, country, city, latitude, longitude, provider, network_type = map(event.get, _PLACE_ROLES)
    degrees = _number(latitude), _number(longitude)
    told = Told(_text(ip), _text(country), _text(city), *degrees, _text(provider), _text(network_type))
    return places(geoip, wide).place(told)


_NO_LOGIN: Final = tuple({pl.String(): "", pl.Float32(): math.nan}.get(dtype, 0) for dtype in LOGIN_SCHEMA.values())


def _text(value: object) -> str | None:
    """A value as a text that can be kept."""
    if value is None:
        return None
    text = value if isinstance(value, str) else str(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _number(value: object) -> float | None:
    """A coordinate; None for anything that is none, so that equal places are met again."""
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _device(agent: str | None, device: str | None) -> Device:
    found = device_of(agent)
    return found if found.agent else device_named(device)


def is_login(action: str, actions: str = LOGIN_ACTIONS) -> bool:
    """Whether an action is a login.

    Examples
    --------
    >>> [is_login(action) for action in ("UserLoggedIn", "catalog_index", "login failed", "user.session.start")]
    [True, False, False, True]
    """
    return _is_login(action, actions) if len(action) <= _SHORT else _logins(pl.Series([action]), actions)[0]


@lru_cache(10_000)
def _is_login(action: str, actions: str) -> bool:
    return bool(_logins(pl.Series([action]), actions)[0])


def _logins(names: pl.Series, actions: str) -> pl.Series:
    """Which actions are logins."""
    try:
        found = names.str.contains(f"(?i)(?:{actions})")
    except pl.exceptions.ComputeError as error:
        raise ConfigError(f'actions: expected a regular expression, found "{actions}": {error}') from error
    return found & ~names.str.contains(f"(?i){NO_LOGINS}") if actions == LOGIN_ACTIONS else found


def _are_logins(events: pl.DataFrame, actions: str) -> pl.Series:
    """Which rows are logins that did not fail."""
    names = events["action"].unique()
    chosen = events["action"].is_in(names.filter(_logins(names, actions)).to_list())
    return chosen & (events["outcome"] != "failure") if "outcome" in events.columns else chosen


def _spread(
    rows: pl.DataFrame, roles: Sequence[str], tell: Callable[..., tuple[Any, ...]], schema: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    """What `tell` says of the distinct values of some roles, for each row."""
    given = rows.select(
        pl.col(role).cast(OPTIONAL_SCHEMA[role], strict=False) for role in roles if role in rows.columns
    ).with_columns(cs.float().fill_nan(None))
    distinct = given.unique() if given.width else pl.DataFrame({"": [None]})
    values = [distinct[role].to_list() if role in given.columns else [None] * len(distinct) for role in roles]
    told = zip(*map(tell, *values), strict=True) if len(distinct) else ([] for _ in schema)
    table = pl.DataFrame(dict(zip(schema, map(list, told), strict=True)), schema=schema)
    if not given.width:
        return table[np.zeros(len(rows), np.uint32)]
    numbered = distinct.with_row_index("number")
    return table[given.join(numbered, on=given.columns, how="left", nulls_equal=True, maintain_order="left")["number"]]
