"""What is known of a login, in plain words.

Everything here may be shown as it is: harmless, short, and without addresses that a mail program would make a link of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Final, Self
from zoneinfo import ZoneInfo

from amiss import escape
from amiss.alerts import Alert
from amiss.countries import country_name

WIDTH: Final = 60
"""Characters that are shown of a place, a device or an address."""

NOTHING_ELSE: Final = "Only the network address is known, neither the place nor the device."
_LINK: Final = re.compile(r"(?i)://|(?<![\w.])www\.")
_PRIVATE: Final = tuple(
    ip_network(each)
    for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fc00::/7", "fe80::/10", "::1/128")
)
_SIGNS: Final = ("address", "country", "city", "device")


def plain(text: str, width: int = WIDTH) -> str:
    """A text that a log holds, harmless, short, and nothing that a mail program makes a link of.

    Examples
    --------
    >>> plain("see https://example.com or www.example.org")
    'see https[:]//example.com or www[.]example.org'
    """
    return _LINK.sub(lambda found: "[:]//" if found[0] == "://" else f"{found[0][:-1]}[.]", escape.label(text, width))


@dataclass(frozen=True)
class Login:
    """What is known of a login; what is not is the empty text.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> told = {"country": "UA", "city": "Kyiv", "device": "Firefox, Linux", "address": "203.0.113.9"}
    >>> login = Login.of(SimpleNamespace(details=told, time=datetime(2026, 3, 2, 8, 12, tzinfo=UTC)))
    >>> login.source
    'from Kyiv, Ukraine (Firefox on Linux)'
    """

    place: str
    address: str
    device: str
    when: str

    @classmethod
    def of(cls, alert: Alert) -> Self | None:
        """What an alert tells of a login, or None where it tells of none."""
        details = alert.details
        if not any(details.get(sign) for sign in _SIGNS):
            return None
        parts = [plain(details.get("city", "")), plain(country_name(details.get("country", "")))]
        device = " on ".join(part.strip() for part in plain(details.get("device", "")).split(",", 1))
        place = ", ".join(filter(None, parts))
        return cls(place, plain(details.get("address", "")), device.removesuffix(" on "), when(alert))

    @property
    def source(self) -> str:
        """Where it came from and with what, as the end of a sentence."""
        if self.place:
            return f"from {self.place} ({self.device})" if self.device else f"from {self.place}"
        if self.device:
            return f"with {self.device}"
        return "from a private network" if self._is_private else "from an unknown place"

    @property
    def line(self) -> str:
        """All that is known, on one line."""
        address = f", {self.address}" if self.address else ""
        return f"logged in {self.source}{address} · {self.when}"

    def facts(self) -> Iterator[tuple[str, str]]:
        """Each thing that is known, with its name."""
        yield "When", self.when
        if self.place:
            yield "Where", self.place
        if self.address:
            yield "Address", self.address if self.place else f"{self.address}, {self._remark}"
        if self.device:
            yield "Device", self.device

    def remark(self) -> str:
        """That little is known, where it is so."""
        return "" if self.place or self.device else NOTHING_ELSE

    @property
    def _is_private(self) -> bool:
        try:
            address = ip_address(self.address)
        except ValueError:
            return False
        return any(address in network for network in _PRIVATE)

    @property
    def _remark(self) -> str:
        """Why an address tells no country."""
        return "inside a private network" if self._is_private else "of which the country is not known"


def when(alert: Alert) -> str:
    """The time of an alert in the zone of its user, where that is known, and in UTC.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> time = datetime(2026, 3, 2, 8, 12, tzinfo=UTC)
    >>> when(SimpleNamespace(time=time, details={"zone": "America/New_York"}))
    'Monday 2 March 2026, 03:12 (America/New_York), 08:12 UTC'
    >>> when(SimpleNamespace(time=time, details={}))
    'Monday 2 March 2026, 08:12 UTC'
    """
    local, zone = _local(alert), plain(alert.details.get("zone", ""))
    utc = alert.time.astimezone(UTC)
    if local is None or not zone or zone == "UTC":
        return f"{_day(utc)}, {utc:%H:%M} UTC"
    there = f"{utc:%H:%M}" if utc.date() == local.date() else f"{utc:%Y-%m-%d %H:%M}"
    return f"{_day(local)}, {local:%H:%M} ({zone}), {there} UTC"


def _local(alert: Alert) -> datetime | None:
    """The time where the user is, by what the alert says of it; None where it says nothing that may be."""
    try:
        said = alert.details.get("local_time")
        if not said:
            return alert.time.astimezone(ZoneInfo(alert.details["zone"])).replace(tzinfo=None)
        local = datetime.fromisoformat(said).replace(tzinfo=None)
    except (KeyError, ValueError, OSError):
        return None
    is_near = abs(local - alert.time.astimezone(UTC).replace(tzinfo=None)) < timedelta(days=2)
    return local if is_near else None


def _day(time: datetime) -> str:
    """A day as people say it."""
    return f"{time:%A} {time.day} {time:%B} {time.year}"
