"""Network addresses as logs write them: one spelling for each, their networks, and ranges of them."""

from __future__ import annotations

import ipaddress
import socket
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from amiss.errors import ConfigError

_LONGEST: Final = 100
_LISTED: Final = 10
_MAPPED: Final = bytes(10) + b"\xff\xff"
_TRANSLATED: Final = bytes.fromhex("0064ff9b") + bytes(8)
_SIX_TO_FOUR: Final = bytes.fromhex("2002")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def packed(text: str | None) -> bytes:
    r"""An address as 4 or 16 bytes, however a log writes it; nothing where it is none.

    Ports, brackets, zones, `/32` and all but the first of a list are left out. IPv6 that only carries an IPv4 address
    (mapped, NAT64, 6to4) is that.

    Examples
    --------
    >>> packed("192.0.2.7:5678"), packed("::ffff:192.0.2.7"), packed("[2001:db8::1%eth0]:443").hex(), packed("oops")
    (b'\xc0\x00\x02\x07', b'\xc0\x00\x02\x07', '20010db8000000000000000000000001', b'')
    """
    bare = _bare(text) if text else ""
    if ":" not in bare:
        return _parsed(socket.AF_INET, bare)
    if bare.count(":") == 1:
        host, _, port = bare.partition(":")
        return _parsed(socket.AF_INET, host) if port.isdecimal() else b""
    return _carried(_parsed(socket.AF_INET6, bare))


def _bare(text: str) -> str:
    """The first address of a text, without quotes, brackets, zone and length of network."""
    text = text.lstrip(" \t\"'/")[:_LONGEST].partition(",")[0].rstrip(" \t\r\n\"'")
    if text.startswith("["):
        inner, closed, behind = text[1:].partition("]")
        text = inner if closed and (not behind or (behind[0] == ":" and behind[1:].isdecimal())) else ""
    return text.partition("%")[0].removesuffix("/32").removesuffix("/128")


def _parsed(family: int, text: str) -> bytes:
    try:
        return socket.inet_pton(family, text)
    except (OSError, ValueError):
        return b""


def _carried(address: bytes) -> bytes:
    """The IPv4 address that an IPv6 address carries, else itself."""
    if address.startswith((_MAPPED, _TRANSLATED)):
        return address[12:]
    return address[2:6] if address.startswith(_SIX_TO_FOUR) else address


def spelled(address: bytes) -> str:
    """The one spelling of an address; "" for none.

    Examples
    --------
    >>> spelled(packed("2001:DB8:0:0::0:1")), spelled(packed("x"))
    ('2001:db8::1', '')
    """
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address) if address else ""


def network_of(address: bytes) -> str:
    """The /24 or, with IPv6, the /48 that an address is in; "" for none.

    Examples
    --------
    >>> network_of(packed("192.0.2.7")), network_of(packed("2001:db8:1:2::3"))
    ('192.0.2.0/24', '2001:db8:1::/48')
    """
    if len(address) == 4:
        return f"{address[0]}.{address[1]}.{address[2]}.0/24"
    return f"{spelled(address[:6] + bytes(10))}/48" if address else ""


def is_address(text: str) -> bool:
    """Whether a text is an address, maybe with what logs write around it.

    Examples
    --------
    >>> is_address("10.0.0.1"), is_address("[2001:db8::1]:443"), is_address("web.example.org")
    (True, True, False)
    """
    return bool(packed(text))


class Ranges:
    """The addresses in any of some networks.

    Examples
    --------
    >>> packed("10.1.2.3") in Ranges([ipaddress.ip_network("10.0.0.0/8")])
    True
    """

    def __init__(self, networks: Iterable[Network]) -> None:
        spans = sorted((net.network_address.packed, net.broadcast_address.packed) for net in networks)
        self._spans = {size: _merged([span for span in spans if len(span[0]) == size]) for size in (4, 16)}

    def __contains__(self, address: bytes) -> bool:
        if not address:
            return False
        firsts, lasts = self._spans[len(address)]
        place = bisect_right(firsts, address)
        return place > 0 and address <= lasts[place - 1]


def _merged(spans: Sequence[tuple[bytes, bytes]]) -> tuple[list[bytes], list[bytes]]:
    """First and last addresses of sorted spans, those within others left out (networks never overlap otherwise)."""
    firsts: list[bytes] = []
    lasts: list[bytes] = []
    for first, last in spans:
        if not lasts or first > lasts[-1]:
            firsts.append(first)
            lasts.append(last)
        else:
            lasts[-1] = max(lasts[-1], last)
    return firsts, lasts


SPECIAL: Final = Ranges(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3", "::/96", "64:ff9b:1::/48", "100::/64", "2001::/23",
        "5f00::/16", "fc00::/7", "fe80::/9", "ff00::/8",
    )
)  # fmt: skip
"""Private, shared, local and reserved addresses (IANA's registries of special addresses).

Those for documentation are not among them: logs have none, and in examples they stand for ordinary addresses."""


def read_ranges(paths: Sequence[str]) -> Ranges:
    """The ranges in files of a network or address a line; what follows `#`, a comma or a blank is left out.

    Raises
    ------
    ConfigError
        If a file cannot be read or has lines that are no networks: says which.
    """
    return Ranges(network for path in paths for network in _networks(path))


def _networks(path: str) -> list[Network]:
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"expected a file of networks, one a line, but {reason}", file=path) from error
    found = [(number, _network(text)) for number, line in enumerate(lines, start=1) if (text := _entry(line))]
    wrong = list(islice((number for number, network in found if network is None), _LISTED))
    if wrong:
        problems = [f'expected a network such as 192.0.2.0/24, found "{_entry(lines[at - 1])[:60]}"' for at in wrong]
        others = "".join(f"\n{path}:{at}: {text}" for at, text in zip(wrong[1:], problems[1:], strict=True))
        raise ConfigError(problems[0] + others, file=path, line=wrong[0])
    return [network for _, network in found if network is not None]


def _entry(line: str) -> str:
    """What a line says, without comment and further columns."""
    return line.partition("#")[0].replace(",", " ").strip().partition(" ")[0]


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
