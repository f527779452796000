"""Addresses of SQL databases: what they say, and where names and passwords come from.

These stand in the address, in a file (`credentials=FILE`), in a keyring (`keyring=SERVICE`), in the variable that
`password_env=NAME` names, or in `AMISS_SQL_USERNAME` and `AMISS_SQL_PASSWORD`; whatever shows an address shows it
without them.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from amiss.errors import MissingExtraError, SourceError, UsageError, nearest

Dialect = Literal["mysql", "postgresql", "sqlite"]

SCHEMES: Final[dict[str, Dialect]] = {
    "mysql": "mysql", "mariadb": "mysql", "postgresql": "postgresql", "postgres": "postgresql", "sqlite": "sqlite",
}  # fmt: skip
USERNAME: Final = "AMISS_SQL_USERNAME"
PASSWORD: Final = "AMISS_SQL_PASSWORD"  # noqa: S105 - the name of a variable
PORTS: Final = {"mysql": 3306, "postgresql": 5432, "sqlite": 0}
WHAT: Final = ("table", "query", "cursor", "overlap", "start")
"""Options that say what is read; an address is shown with these."""
WHO: Final = ("credentials", "keyring", "password_env")
"""Options that say where name and password are found."""
DRIVER: Final[dict[Dialect, tuple[str, ...]]] = {
    "mysql": (
        "ssl_ca", "ssl_capath", "ssl_cert", "ssl_key", "ssl_cipher", "ssl_verify_cert", "ssl_verify_identity",
        "unix_socket", "connect_timeout",
    ),
    "postgresql": (
        "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "channel_binding", "gssencmode", "host",
        "connect_timeout", "target_session_attrs", "options",
    ),
    "sqlite": (),
}  # fmt: skip
"""Options that are handed to the driver as they are: TLS, sockets, time-outs."""
DEFAULT_OVERLAP: Final = 60.0
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?")
_SECONDS: Final = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_STARTS: Final = ("earliest", "latest")


@dataclass(frozen=True)
class Overlap:
    """How far behind what was read is looked for rows that were committed late: so many keys, or so many seconds."""

    keys: int | None = None
    seconds: float = DEFAULT_OVERLAP

    @classmethod
    def parse(cls, text: str) -> Overlap:
        """What is written as `60s`, `5m` or `1000` (keys).

        Raises
        ------
        UsageError
            If it is neither.

        Examples
        --------
        >>> Overlap.parse("5m"), Overlap.parse("1000")
        (Overlap(keys=None, seconds=300.0), Overlap(keys=1000, seconds=60.0))
        """
        found = _SPAN.fullmatch(text.strip())
        if not found or (not found[2] and "." in found[1]):
            raise UsageError(f'overlap is a time such as 60s, or a number of keys such as 1000, not "{text}"')
        if found[2]:
            return cls(seconds=float(found[1]) * _SECONDS[found[2]])
        return cls(keys=int(found[1]))


@dataclass(frozen=True)
class Login:
    """Who asks: a name, and a password that nothing shows."""

    name: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Address:
    """What an address `SCHEME://[NAME[:PASSWORD]@]HOST[:PORT]/DATABASE?table=TABLE` or `sqlite:///FILE` says.

    `url` is the address without name and password; `database` is a path for SQLite.

    Examples
    --------
    >>> address = Address.parse("mysql://ann:s3cret@db.example.com/shop?table=logs&cursor=id", {})
    >>> address.url, address.database, address.table, address.cursor
    ('mysql://db.example.com/shop?table=logs&cursor=id', 'shop', 'logs', 'id')
    >>> address
    Address(url='mysql://db.example.com/shop?table=logs&cursor=id')
    """

    url: str
    dialect: Dialect = field(repr=False)
    host: str = field(repr=False)
    port: int = field(repr=False)
    database: str = field(repr=False)
    login: Login = field(repr=False)
    driver: Mapping[str, str] = field(repr=False)
    table: str = field(default="", repr=False)
    query: str = field(default="", repr=False)
    cursor: str = field(default="", repr=False)
    overlap: Overlap = field(default_factory=Overlap, repr=False)
    start: str = field(default="earliest", repr=False)

    @classmethod
    def parse(cls, url: str, environment: Mapping[str, str] = os.environ) -> Address:
        """The parts of an address; name and password from where it says, else from the environment.

        Raises
        ------
        UsageError
            If a part is missing or unknown. The text never holds what may be a password.
        SourceError
            If the password is not where the address says.
        MissingExtraError
            If it is in a keyring, and `keyring` is not installed.
        """
        parts = urlsplit(url)
        dialect = SCHEMES[parts.scheme.lower()]
        place = parts.netloc.rpartition("@")[2]
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        _check(options, dialect)
        database = unquote(parts.path[1:])
        shown = f"{parts.scheme.lower()}://{place}/{quote(database, safe='/:')}"
        what = {name: options[name] for name in WHAT if options.get(name)}
        given = _from_file(options.get("credentials", ""), environment)
        host, port = _host(shown, place, dialect, given)
        if not database:
            raise UsageError(f"{shown} names no {'file' if dialect == 'sqlite' else 'database'}. {_EXAMPLES[dialect]}")
        overlap = Overlap.parse(what["overlap"]) if "overlap" in what else Overlap()
        pinned = {name: options[name] for name in DRIVER[dialect] if name in options}
        driver = {name: text for name, text in given.items() if name in DRIVER[dialect]} | pinned
        return cls(
            shown + ("?" + urlencode(what, safe="/", quote_via=quote) if what else ""),
            dialect,
            host,
            port,
            database,
            Login() if dialect == "sqlite" else _login(parts.username, parts.password, options, given, environment),
            driver,
            overlap=overlap,
            **{name: what[name] for name in ("table", "query", "cursor", "start") if name in what},
        )

    @property
    def name(self) -> str:
        """What is read, for messages: the address without options, and the table."""
        plain = self.url.partition("?")[0]
        return f"{plain}/{self.table}" if self.table else plain

    @property
    def is_secured(self) -> bool:
        """Whether options ask for TLS, which must then be that of the driver which understands them."""
        return any(name.startswith("ssl") for name in self.driver)

    def clean(self, text: str) -> str:
        """A driver's message without the password, if that is in it."""
        secret = self.login.password
        for form in (secret, quote(secret, safe=""), quote(secret)) if secret else ():
            text = text.replace(form, "…")
        return text


_EXAMPLES: Final = {
    "mysql": "Give mysql://HOST/DATABASE?table=TABLE",
    "postgresql": "Give postgresql://HOST/DATABASE?table=TABLE",
    "sqlite": "Give sqlite:///FILE.db?table=TABLE; an absolute path has four slashes",
}


def with_query(url: str, query: str) -> str:
    """The address with the query that is to be read from there.

    Raises
    ------
    UsageError
        If the address is none of a database.

    Examples
    --------
    >>> with_query("sqlite:///shop.db", "SELECT * FROM logs")
    'sqlite:///shop.db?query=SELECT%20%2A%20FROM%20logs'
    """
    if not is_sql(url):
        raise UsageError(f"--query is asked of a database (mysql://, postgresql://, sqlite:///), not of {url}")
    return f"{url}{'&' if '?' in url else '?'}query={quote(query, safe='')}"


def is_sql(url: str) -> bool:
    """Whether an address is one of an SQL database.

    Examples
    --------
    >>> is_sql("mysql://localhost/shop"), is_sql("logs.csv")
    (True, False)
    """
    scheme, mark, _ = url.partition("://")
    return bool(mark) and scheme.lower() in SCHEMES


def _check(options: Mapping[str, str], dialect: Dialect) -> None:
    """Refuse options that are unknown, or do not go together."""
    known = [*WHAT, *WHO, *DRIVER[dialect]]
    for name in options:
        if name not in known:
            raise UsageError(
                f'a {dialect} address has no option "{name}".{nearest(name, known)} Known: {", ".join(known)}'
            )
    if options.get("table") and options.get("query"):
        raise UsageError("a table and a query do not go together: give either")
    if options.get("start", "earliest") not in _STARTS:
        raise UsageError(f'start is "earliest" or "latest", not "{options["start"]}"')


def _host(shown: str, place: str, dialect: Dialect, given: Mapping[str, str]) -> tuple[str, int]:
    """Host and port."""
    parts = urlsplit(f"//{place}")
    try:
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{shown}: the port must be a number up to 65535") from error
    if dialect == "sqlite":
        if place:
            raise UsageError(f"{shown}: sqlite:// has no host. {_EXAMPLES[dialect]}")
        return "", 0
    host = parts.hostname or given.get("host", "") or "localhost"
    return host, port or int(given.get("port") or PORTS[dialect])


def _from_file(path: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The `[client]` section of a file as MySQL's programs read it, with `_` for `-` in names."""
    if not path:
        return {}
    place = Path(path.replace("~", environment.get("HOME", "~"), 1) if path.startswith("~") else path)
    parser = configparser.ConfigParser(allow_no_value=True, interpolation=None, strict=False)
    try:
        parser.read_string(place.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"the credentials in {path} cannot be read: {getattr(error, 'strerror', error)}") from error
    except configparser.Error as error:
        raise SourceError(f"{path} is no file of credentials. Expected [client], user = …, password = …") from error
    section = next((parser[name] for name in ("client", "amiss") if parser.has_section(name)), None)
    if section is None:
        raise SourceError(f"{path} has no section [client] with user = … and password = …")
    return {name.replace("-", "_"): (value or "").strip("'\"") for name, value in section.items()}


def _login(
    name: str | None,
    password: str | None,
    options: Mapping[str, str],
    given: Mapping[str, str],
    environment: Mapping[str, str],
) -> Login:
    """Name and password: of the address, the file, the keyring, the environment, in this order."""
    who = unquote(name or "") or given.get("user", "") or environment.get(USERNAME, "")
    if password is not None:
        return Login(who, unquote(password))
    if given.get("password"):
        return Login(who, given["password"])
    if options.get("keyring"):
        return Login(who, _from_keyring(options["keyring"], who))
    variable = options.get("password_env", "")
    if variable and variable not in environment:
        raise SourceError(f"the variable {variable}, which password_env names, is not set")
    return Login(who, environment.get(variable or PASSWORD, ""))


def _from_keyring(service: str, name: str) -> str:
    """The password that the keyring has for a name."""
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError as error:
        raise MissingExtraError("a password in a keyring", "sql") from error
    try:
        found = keyring.get_password(service, name)
    except KeyringError as error:
        raise SourceError(f"the keyring cannot be read: {error}") from error
    if found is None:
        raise SourceError(f'the keyring has no password for "{service}" and "{name}": keyring set {service} {name}')
    return str(found)
