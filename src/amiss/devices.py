"""With what somebody came: the browser and the device that a user agent names."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from amiss.errors import MissingExtraError

if TYPE_CHECKING:
    from ua_parser import PartialResult

AGENT_LIMIT: Final = 512
"""Characters of a user agent that are kept and looked at."""

_NAME_LIMIT: Final = 48
_KNOWN: Final = 50_000
_NOTHING: Final = frozenset(("", "-", "--", "null", "none", "nil", "undefined", "unknown", "n/a", "(null)", "(none)"))
_PRODUCT: Final = re.compile(r"([A-Za-z][\w.+ -]{0,47}?)[/ ]v?(\d{1,9})(?:[.\s;,_(-]|$)", re.ASCII)


class Device(NamedTuple):
    """What a user agent tells: all of it, the browser with its version, the browser's and the system's family."""

    agent: str = ""
    browser: str = ""
    device: str = ""


def device_of(agent: str | None) -> Device:
    """The browser with its version and the device that a user agent names.

    A newer version of a browser is another browser on the same device. Programs such as curl are browsers here; one
    that is not known goes by the name before its version; what names nothing at all is `Other`. Agents beyond 512
    characters are cut, different ones stay different.

    Raises
    ------
    MissingExtraError
        If ua-parser is not installed.

    Examples
    --------
    >>> device_of("Mozilla/5.0 (X11; Linux x86_64; rv:44.0) Gecko/20100101 Firefox/44.0")[1:]
    ('Firefox 44', 'Firefox, Linux')
    >>> device_of("curl/8.5.0")[1:], device_of("AcmeSync/3.1 beta")[1:], device_of("-")
    (('curl 8.5', 'curl'), ('AcmeSync 3', 'AcmeSync'), Device(agent='', browser='', device=''))
    """
    return _recalled(tidy_agent(agent))


@lru_cache(_KNOWN)
def _recalled(agent: str) -> Device:
    if not agent:
        return Device()
    family, major, system = _parsed(agent)
    device = f"{family}, {system}" if system else family
    return Device(agent, f"{family} {major}" if major else family, device)


def device_named(name: str | None) -> Device:
    """A device that the log names itself, without a user agent: it stands for the browser and the agent too.

    Examples
    --------
    >>> device_named(" laptop-7 ")
    Device(agent='laptop-7', browser='laptop-7', device='laptop-7')
    """
    text = tidy_agent(name)
    return Device(text, text, text)


def tidy_agent(agent: str | None) -> str:
    """The text without blanks around it, cut to 512 characters with a hash at its end where longer; "" for `-` etc.

    Examples
    --------
    >>> tidy_agent(" null "), len(tidy_agent("a" * 10_000)), tidy_agent("a" * 999) == tidy_agent("a" * 1000)
    ('', 512, False)
    """
    text = (agent or "").strip()
    if text.lower() in _NOTHING:
        return ""
    if len(text) <= AGENT_LIMIT:
        return text
    short = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{text[: AGENT_LIMIT - 9]}…{short}"


def _parsed(agent: str) -> tuple[str, str, str]:
    """Family and version of the browser, family of the system."""
    found = _parser()(agent)
    system = found.os.family if found.os else ""
    browser = found.user_agent
    if browser is not None:
        return _name(browser.family), _version(browser.major, browser.minor), _name(system)
    product = _PRODUCT.match(agent)
    if product and product[1].lower() != "mozilla":
        return _name(product[1]), product[2], _name(system)
    return "Other", "", _name(system)


def _version(major: str | None, minor: str | None) -> str:
    """The version of a browser: "147" for 147.0, "26.3"."""
    first, second = (major or "")[:9], (minor or "")[:3]
    return f"{first}.{second}" if first and second.strip("0") else first


def _name(family: str) -> str:
    """A family as it is shown: names made of parts of the agent may be long."""
    return family.strip()[:_NAME_LIMIT]


@cache
def _parser() -> Callable[[str], PartialResult]:
    """What finds browser and system in an agent; loaded once it is needed."""
    try:
        from ua_parser import BestAvailableResolver, Domain, load_lazy_builtins
    except ImportError as error:
        raise MissingExtraError("telling browsers and devices apart", "login") from error
    resolver = BestAvailableResolver(load_lazy_builtins())
    return lambda agent: resolver(agent, Domain.USER_AGENT | Domain.OS)
