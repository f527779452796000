"""Auth logs of Unix systems: syslog lines of sshd, sudo and su.

For sshd the *address* is the user and the account that it tries is `other_user`: most lines of an exposed server name
accounts that do not exist, one attacker tries hundreds of them, and who is odd is the one who tries. Where an account
is used on the machine itself (sudo, su), the account is the user. Lines without an address or an account of their own
(such as `check pass; user unknown`) repeat what a line beside them says in full: they are counted as skipped, not
quarantined.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import polars as pl

from amiss.sources.rows import Line, Reject, readable

ROLES: Final = {
    "time": "time",
    "user": "user",
    "action": "action",
    "outcome": "outcome",
    "ip": "ip",
    "other_user": "account",
    "device": "host",
    "resource": "resource",
}
COLUMNS: Final = ("time", "user", "action", "outcome", "ip", "account", "host", "resource", "program")
SKIPPED: Final = "not an event of a user"
REPEAT_LIMIT: Final = 1000
"""Events that one `message repeated N times` gives at most."""

MESSAGE_LIMIT: Final = 4096
"""Characters of a message that are looked at."""

_PREFIX: Final = re.compile(
    r"(?:<\d{1,3}>(?:1 )?)?"
    r"([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?"
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?) "
    r"(\S+) ([\w./()\-]+)(?:\[\d+\]| (?:\d+|-) \S+ (?:-|\[.*?\]))?:? (.*)"
)
_ADDRESS: Final = r"(?P<ip>\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]{0,4}:[0-9a-fA-F:.]{2,45})"
_REPEATED: Final = re.compile(r"message repeated (\d{1,9}) times: \[ ?(.*)\]")


class _Pattern(NamedTuple):
    """A kind of message: what it looks like, the action and outcome it is."""

    text: re.Pattern[str]
    action: str
    outcome: str


def _pattern(text: str, action: str, outcome: str) -> _Pattern:
    return _Pattern(re.compile(text), action, outcome)


_METHOD: Final = r"(?P<method>password|publickey|none|keyboard-interactive(?:/pam)?|hostbased|gssapi\S*)"
_SSHD: Final = (
    _pattern(
        rf"Failed {_METHOD} for invalid user (?P<account>.*) from {_ADDRESS} port \d+.*",
        "failed {} for invalid user",
        "failure",
    ),
    _pattern(rf"Failed {_METHOD} for (?P<account>.*) from {_ADDRESS} port \d+.*", "failed {}", "failure"),
    _pattern(rf"Accepted {_METHOD} for (?P<account>.*) from {_ADDRESS} port \d+.*", "accepted {}", "success"),
    _pattern(rf"(?:Invalid|Illegal) user (?P<account>.*?) from {_ADDRESS}(?: port \d+)?", "invalid user", "failure"),
    _pattern(
        rf"reverse mapping checking getaddrinfo for \S+ \[{_ADDRESS}\] failed.*",
        "break-in attempt (reverse mapping)",
        "failure",
    ),
    _pattern(rf"Address {_ADDRESS} maps to .*", "break-in attempt (reverse mapping)", "failure"),
    _pattern(
        rf"pam_unix\(\S+\): authentication failure;.* rhost={_ADDRESS}\s+user=(?P<account>\S+)",
        "authentication failure",
        "failure",
    ),
    _pattern(rf"pam_unix\(\S+\): authentication failure;.* rhost={_ADDRESS}\s*", "authentication failure", "failure"),
    _pattern(
        rf"PAM \d+ more authentication failures?;.* rhost={_ADDRESS}.*", "more authentication failures", "failure"
    ),
    _pattern(
        rf"(?:error: )?maximum authentication attempts exceeded for (?:invalid user )?(?P<account>.*) from {_ADDRESS}",
        "too many attempts",
        "failure",
    ),
    _pattern(
        rf"Disconnecting (?:invalid|authenticating) user (?P<account>.*) {_ADDRESS} port \d+.*",
        "too many attempts",
        "failure",
    ),
    _pattern(
        rf"(?:error: )?Received disconnect from {_ADDRESS}.*No more user auth.*",
        "disconnect (no more methods)",
        "unknown",
    ),
    _pattern(rf"(?:error: )?Received disconnect from {_ADDRESS}.*Auth fail.*", "disconnect (auth fail)", "unknown"),
    _pattern(rf"(?:error: )?Received disconnect from {_ADDRESS}.*", "disconnect", "unknown"),
    _pattern(
        rf"Disconnected from (?:(?:invalid|authenticating) )?(?:user (?P<account>.*) )?{_ADDRESS}.*",
        "disconnected",
        "unknown",
    ),
    _pattern(
        rf"Connection (?:closed|reset) by (?:(?:invalid|authenticating) user (?P<account>.*) )?{_ADDRESS}.*",
        "connection closed",
        "unknown",
    ),
    _pattern(rf"Did not receive identification string from {_ADDRESS}.*", "no identification", "failure"),
    _pattern(rf"Bad protocol version identification .* from {_ADDRESS}.*", "bad protocol", "failure"),
    _pattern(rf"(?:fatal: )?Unable to negotiate with {_ADDRESS}.*", "no common algorithm", "failure"),
    _pattern(rf"Connection from {_ADDRESS}.*", "connection", "unknown"),
    _pattern(rf"User (?P<account>\S+) from {_ADDRESS} not allowed.*", "user not allowed", "failure"),
)
_ANY_ADDRESS: Final = re.compile(rf"(?<![\w.]){_ADDRESS}(?![\w.])")
_SUDO: Final = re.compile(
    r"\s*(?P<user>\S+) : (?:(?P<problem>[^;=]+?) ; )?TTY=.*?"
    r"USER=(?P<account>\S+)(?: ;.*?)? ?; ?COMMAND=(?P<resource>.*)"
)
_SU: Final = re.compile(r"(?P<problem>FAILED SU )?\(to (?P<account>\S+)\) (?P<user>\S+) on .*")

Message = tuple[str, str, str, str | None, str | None, str | None]
"""user, action, outcome, ip, account, resource"""


def is_syslog_line(text: str) -> bool:
    """Whether a line starts as syslog lines do: a time, a host, a program.

    Examples
    --------
    >>> is_syslog_line("Dec 10 06:55:46 LabSZ sshd[24200]: Invalid user webmaster from 173.234.31.186")
    True
    """
    return _PREFIX.fullmatch(text) is not None


def read_message(program: str, text: str) -> Message | None:
    """What a message says (user, action, outcome, ip, account, resource), or None where it is no event of a user.

    Examples
    --------
    >>> read_message("sshd", "Failed password for root from 10.0.0.9 port 22 ssh2")
    ('10.0.0.9', 'failed password', 'failure', '10.0.0.9', 'root', None)
    """
    name = program.rpartition("/")[2].split("(")[0]
    reader = _PROGRAMS.get(name)
    return reader(text) if reader else None


def _sshd(text: str) -> Message | None:
    for pattern, action, outcome in _SSHD:
        if match := pattern.fullmatch(text):
            parts = match.groupdict()
            account = (parts.get("account") or "").strip() or None
            return parts["ip"], action.format(parts.get("method")), outcome, parts["ip"], account, None
    found = _ANY_ADDRESS.search(text)
    return (found["ip"], "other message", "unknown", found["ip"], None, None) if found else None


def _sudo(text: str) -> Message | None:
    match = _SUDO.fullmatch(text)
    if match is None:
        return None
    problem = match["problem"]
    command = match["resource"].split(" ")[0].rpartition("/")[2]
    action = "sudo (refused)" if problem else f"sudo {command[:24]}"
    return match["user"], action, "failure" if problem else "success", None, match["account"], match["resource"]


def _su(text: str) -> Message | None:
    match = _SU.fullmatch(text)
    return (
        (match["user"], "su", "failure" if match["problem"] else "success", None, match["account"], None)
        if match
        else None
    )


_PROGRAMS: Final[dict[str, Callable[[str], Message | None]]] = {
    "sshd": _sshd,
    "sshd-session": _sshd,
    "sudo": _sudo,
    "su": _su,
}


def raw(
    lines: Iterable[Line], reject: Reject, skip: Callable[[str, int], None], *, latin1: bool = False
) -> pl.DataFrame:
    """The raw columns of numbered lines of an auth log; `message repeated N times` gives N events at one position."""
    rows: list[tuple[object, ...]] = []
    for number, text in readable(lines, reject, latin1=latin1):
        match = _PREFIX.fullmatch(text)
        if match is None:
            reject(number, "not a syslog line", text)
            continue
        time, host, program, message = match.groups()
        message = message[:MESSAGE_LIMIT]
        repeated = _REPEATED.fullmatch(message)
        count = min(int(repeated[1]), REPEAT_LIMIT) if repeated else 1
        found = read_message(program, repeated[2] if repeated else message)
        if found is None:
            skip(SKIPPED, 1)
            continue
        user, action, outcome, ip, account, resource = found
        rows += [(number, time, user, action, outcome, ip, account, host, resource, program)] * count
    types = dict.fromkeys(COLUMNS, pl.String())
    return pl.DataFrame(rows, schema={"position": pl.Int64(), **types}, orient="row")
