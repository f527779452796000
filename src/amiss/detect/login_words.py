"""Logins in words: what speaks against one, and what is usual for a user."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from amiss.baseline import COUNT_SCHEMA, Floats
from amiss.countries import country_name
from amiss.detect import Names, Reason
from amiss.detect import login_kernel as kernel
from amiss.detect.login_normal import logins_by_user, logins_of, middle
from amiss.kinds import KINDS
from amiss.sessions import Events
from amiss.zones import hour_of_week, zone_of

if TYPE_CHECKING:
    from amiss.detect.login_normal import LoginBaseline

REASONS: Final = 4
"""How many reasons are given for a login."""

LEAST_BITS: Final = 0.5
"""Bits from which on a feature is a reason."""

MOST_USUAL: Final = 5
"""How many values of a kind are told as usual."""

LEAST_SHARE: Final = 0.02
"""Shares from which on a value is on the card of a user."""

MOST_HOURS: Final = 0.9
MOST_SPAN: Final = 18
"""The hours of a day in which nine tenths of logins lie, if there is anything to tell."""

WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

ALL_LOGINS: Final = (kernel.COUNTRY, kernel.DEVICE, kernel.HOUR)
"""The features that compare with all earlier logins, not with those of one row."""

LINES: Final = {
    "": "an unknown network",
    "home": "a home network",
    "mobile": "a mobile network",
    "business": "a business network",
    "school": "a school's network",
    "public": "a public place's network",
    "hosting": "a hosting network",
    "vpn": "a VPN",
    "other": "another kind of network",
}
"""Kinds of networks in words."""

_SHOWN: Final = {name: COUNT_SCHEMA[name] for name in ("feature", "given", "value")}

USUAL: Final = {
    "countries": (kernel.COUNTRY, "country"),
    "providers": (kernel.PROVIDER, "provider"),
    "networks": (kernel.NETWORK, "network"),
    "network_types": (kernel.KIND, "kind"),
    "devices": (kernel.DEVICE, "device"),
}


@dataclass(frozen=True)
class Usual:
    """What is usual for a user: how many earlier logins there are, and shares of them, the largest first.

    `hours` are by hour of the day in the zone of the place, all 24.

    Examples
    --------
    >>> shares = [0.0] * 9 + [0.25, 0.5, 0.25] + [0.0] * 12
    >>> Usual(8, [("DE", 1.0)], [], [], [("Firefox, Linux", 0.75), ("Safari, iOS", 0.25)], shares).card()["devices"]
    'Firefox, Linux 75%; Safari, iOS 25%'
    """

    logins: int
    countries: Sequence[tuple[str, float]]
    providers: Sequence[tuple[str, float]]
    networks: Sequence[tuple[str, float]]
    devices: Sequence[tuple[str, float]]
    hours: Sequence[float]
    network_types: Sequence[tuple[str, float]] = ()

    def card(self) -> dict[str, str]:
        """The same in a few words each; the hours are the shortest span of the day with nine tenths of logins."""
        kinds = {kind: getattr(self, kind) for kind in USUAL}
        told = {
            kind.replace("_", " "): "; ".join(
                f"{text} {share:.0%}" for text, share in kinds[kind] if share >= LEAST_SHARE
            )
            for kind in kinds
        }
        lines = {"earlier logins": f"{self.logins:,}", **told, "hours": _span(self.hours)}
        return {name: text for name, text in lines.items() if text}


def _span(hours: Sequence[float]) -> str:
    """The shortest span of the day, over midnight too, with nine tenths of the shares."""
    if sum(hours) < MOST_HOURS:
        return ""
    twice = np.concatenate([[0.0], np.cumsum([*hours, *hours])])
    spans = [(length, first) for length in range(1, 25) for first in range(24)]
    enough = (pair for pair in spans if twice[pair[1] + pair[0]] - twice[pair[1]] >= MOST_HOURS - 1e-9)
    length, first = next(enough)
    return "at any hour" if length > MOST_SPAN else f"{first:02}:00 to {(first + length - 1) % 24:02}:59"


@dataclass(frozen=True)
class Colleagues:
    """The other users of a group: how many there are, and how many of them a login is like, by feature."""

    users: int
    like: Mapping[int, int]

    def share(self, feature: int, what: str) -> str:
        """How many log in from there, or use it, in words.

        Examples
        --------
        >>> mates = Colleagues(40, {kernel.COUNTRY: 0, kernel.NETWORK: 1, kernel.DEVICE: 3})
        >>> mates.share(kernel.COUNTRY, "Brazil"), mates.share(kernel.DEVICE, "Firefox on Linux")
        ('none of 40 colleagues logs in from Brazil', '3 of 40 colleagues use Firefox on Linux')
        """
        like, many = self.like[feature], self.like[feature] > 1
        does = ("log in" if many else "logs in") if feature < kernel.DEVICE else "use" if many else "uses"
        way = ("by " if feature == kernel.PROVIDER else "from ") if feature < kernel.DEVICE else ""
        whole = f"{self.users:,} colleagues" if self.users > 1 else "1 colleague"
        return f"{f'{like:,}' if like else 'none'} of {whole} {does} {way}{what}"


@dataclass(frozen=True)
class Told:
    """One login with names: texts by column of the context, and what is behind the bits (11, 4)."""

    texts: dict[str, str]
    hour: int
    wide: bool
    detail: Floats
    logins: int
    """All earlier logins of the user, those too that taught little."""
    colleagues: Colleagues | None = None

    def count(self, feature: int) -> tuple[int, int]:
        """How many of the user's earlier logins were like this one, of how many; see :meth:`is_rounded`.

        What logins taught makes up all of them by the same share.
        """
        like, of = self.detail[feature, 2:].tolist()
        if feature in ALL_LOGINS:
            whole = self.logins
            like *= whole / max(of, 1.0 / kernel.ONE)
        else:
            scale = self.logins / max(float(self.detail[kernel.DEVICE, 3]), 1.0 / kernel.ONE)
            like, whole = like * scale, round(max(of * scale, float(of > 0.0)))
        return min(round(max(like, float(like > 0.0))), whole), whole

    def share(self, feature: int) -> str:
        """The same in words; what was rounded is said to be about so many."""
        like, of = self.count(feature)
        is_exact = self.logins == self.detail[kernel.DEVICE, 3]
        part = f"{like:,}" if is_exact or like == 0 else f"about {like:,}"
        return f"{part} of {'' if is_exact or feature in ALL_LOGINS else 'about '}{of:,} earlier logins"


def reasons(
    events: Events, bits: Floats, detail: Floats, names: Names, baseline: LoginBaseline
) -> dict[int, list[Reason]]:
    """By user, what speaks against them in the login with most bits; most first."""
    is_judged = len(baseline.normal.trails.cell) > 0
    earlier = logins_by_user(baseline.counts, events.users.tolist()) if is_judged else {}
    found = {}
    for number, user in enumerate(events.users.tolist()):
        low, high = events.first[number : number + 2].tolist()
        worst = low + int(np.argmax(bits[low:high]))
        if bits[worst] > 0:
            all_, taught = earlier.get(user, (0, 0.0))
            today = float(detail[worst, kernel.DEVICE, 3]) - taught
            mates = _colleagues(events, worst, baseline)
            told = replace(_told(events, worst, detail, names, all_ + round(today)), colleagues=mates)
            found[user] = _reasons(told, float(bits[worst]))
    return {user: those for user, those in found.items() if those}


def details(events: Events, names: Names, baseline: LoginBaseline | None = None) -> dict[str, str]:
    """What people should know of the last of events, where it is a login; see `amiss.alerts.Alert.details`.

    The time is that in the zone where the user is at home by what `baseline` holds, else in that of the place.
    """
    context = events.context
    if "login" not in context or not len(events) or not context["login"][-1]:
        return {}
    texts = {name: names.value(int(context[name][-1])) for name in ("address", "country", "city", "device")}
    home = _home_zone(baseline, int(events.user[-1]), names) if baseline is not None else ""
    there = zone_of(texts["country"], float(context["latitude"][-1]), float(context["longitude"][-1]))
    time = datetime.fromtimestamp(events.time[-1] / 1_000_000, UTC)
    zone = home or (there if hour_of_week(time, there) == int(context["hour"][-1]) else "")
    local = {"zone": zone, "local_time": f"{time.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}"} if zone else {}
    return {name: text for name, text in texts.items() if text} | local


def _home_zone(baseline: LoginBaseline, user: int, names: Names) -> str:
    """The zone of the place where a user mostly was, empty where that is not known."""
    mine = baseline.counts.filter(pl.col("user") == user)
    country, cell = (_most(mine, feature) for feature in (kernel.COUNTRY, kernel.TRAIL))
    where = middle(cell) if cell is not None else (math.nan, math.nan)
    return zone_of(names.value(country), *where) if country else ""


def _most(mine: pl.DataFrame, feature: int) -> int | None:
    """The value that a user shows most of a feature."""
    counts = mine.filter(pl.col("feature") == feature).group_by("value").agg(pl.col("count").sum())
    return None if counts.is_empty() else int(counts.sort("count", "value", descending=[True, False])["value"][0])


def usual(baseline: LoginBaseline, user: int, names: Names) -> Usual:
    """What is usual for a user, from the counts of earlier periods."""
    mine = baseline.counts.filter(pl.col("user") == user)
    shares = {kind: _shares(mine, feature, names) for kind, (feature, _) in USUAL.items()}
    hours = np.zeros(24)
    found = mine.filter(pl.col("feature") == kernel.HOUR)
    np.add.at(hours, found["value"].to_numpy() % 24, found["count"].to_numpy())
    logins, _ = logins_by_user(mine, [user]).get(user, (0, 0.0))
    return Usual(logins, **shares, hours=(hours / max(hours.sum(), 1.0)).tolist())


def _shares(mine: pl.DataFrame, feature: int, names: Names) -> list[tuple[str, float]]:
    """The values that a user shows most of a feature, with their shares."""
    counts = mine.filter(pl.col("feature") == feature).group_by("value").agg(pl.col("count").sum())
    total = counts["count"].sum()
    top = counts.sort("count", "value", descending=[True, False]).head(MOST_USUAL)
    name = KINDS.__getitem__ if feature == kernel.KIND else names.value
    return [(name(value) or "unknown", count / total) for value, count in top.iter_rows()]


def _colleagues(events: Events, at: int, baseline: LoginBaseline) -> Colleagues | None:
    """The other users of the group that a login names, None where it names none or there are no others."""
    groups, group = baseline.normal.groups, baseline.group_of(events.context)
    if groups is None or not len(group) or group[at] < 0:
        return None
    users = np.flatnonzero(groups.whose == group[at])
    users = users[users != events.user[at]]
    if not len(users):
        return None
    logins = logins_of(events)
    columns = np.arange(kernel.CHAINS), logins.given[:, at], logins.value[:, at]
    shown = pl.DataFrame(dict(zip(_SHOWN, columns, strict=True)), schema_overrides=_SHOWN)
    theirs = baseline.counts.filter(pl.col("user").is_in(users.astype(np.uint32)))
    like = dict(theirs.join(shown, on=list(_SHOWN)).group_by("feature").agg(pl.col("user").n_unique()).iter_rows())
    return Colleagues(len(users), {feature: like.get(feature, 0) for feature in range(kernel.CHAINS)})


def _told(events: Events, at: int, detail: Floats, names: Names, logins: int) -> Told:
    """A login with names."""
    texts = ("country", "city", "provider", "network", "address", "device", "browser", "agent")
    codes = {name: names.value(int(events.context[name][at])) for name in texts}
    codes["kind"] = KINDS[int(events.context["kind"][at])]
    return Told(codes, int(events.context["hour"][at]), bool(events.context["wide"][at]), detail[at], logins)


def _reasons(told: Told, bits: float) -> list[Reason]:
    """What of a login speaks against the user; the first says what it was."""
    p, q = told.detail[:, 0], told.detail[:, 1]
    worth = {feature: math.log2(q[feature] / p[feature]) for feature in kernel.JUDGED}
    if told.logins == 0:
        return [Reason("login", bits, f"{_scene(told)}: {_first_of_all(told)}", 0, 0, 0, 0)]
    order = sorted(worth, key=lambda feature: (-worth[feature], feature))
    chosen = [feature for feature in order if worth[feature] >= LEAST_BITS][:REASONS]
    lines = [
        (_sentence(told, feature) + _beside(told, feature), worth[feature], told.count(feature)) for feature in chosen
    ]
    lines = lines or [("an unusual mixture", bits, (0, told.logins))]
    first = f"{_scene(told)}: {lines[0][0]}"
    texts = [first, *(text for text, _, _ in lines[1:])]
    return [Reason("login", each, text, *count, 0, 0) for text, (_, each, count) in zip(texts, lines, strict=True)]


def _first_of_all(told: Told) -> str:
    """By whom the first login of a user is judged: by everyone, or by colleagues first."""
    if told.colleagues is None:
        return "the first login of this user, judged by everyone's"
    places = [feature for feature in (kernel.COUNTRY, kernel.CITY, kernel.NETWORK) if _named(told, feature)]
    strange = [feature for feature in places if told.colleagues.like[feature] == 0]
    said = [*(strange or places[-1:])[:1], *([kernel.DEVICE] if told.texts["device"] else [])]
    return "; ".join(
        ["the first login of this user", *(told.colleagues.share(each, _named(told, each)) for each in said)]
    )


def _named(told: Told, feature: int) -> str:
    """What a login shows of a feature, in words; empty where that is not known."""
    texts = told.texts
    names = {
        kernel.COUNTRY: "" if told.wide else country_name(texts["country"]),
        kernel.CITY: "" if told.wide else texts["city"],
        kernel.PROVIDER: "" if told.wide else texts["provider"],
        kernel.NETWORK: texts["network"],
        kernel.ADDRESS: texts["address"],
        kernel.DEVICE: _device(told),
        kernel.VERSION: texts["browser"],
        kernel.AGENT: "this user agent",
    }
    return names[feature]


def _beside(told: Told, feature: int) -> str:
    """How many colleagues a login is like in a feature."""
    if told.colleagues is None or feature >= kernel.CHAINS:
        return ""
    there = "there" if feature < kernel.DEVICE and feature != kernel.PROVIDER else _named(told, feature)
    return f"; {told.colleagues.share(feature, there)}" if there else ""


def _scene(told: Told) -> str:
    """Where from and with what somebody logged in."""
    place = country_name(told.texts["country"]) or told.texts["network"]
    parts = [f"from {place}" if place else "", f"with {_device(told)}" if told.texts["device"] else ""]
    return " ".join(["logged in", *filter(None, parts)])


def _device(told: Told) -> str:
    """The device in words: "Firefox on Linux"."""
    return " on ".join(told.texts["device"].split(", ", 1))


def _sentence(told: Told, feature: int) -> str:
    """How one feature of a login compares with the user's earlier ones."""
    if feature == kernel.TRAVEL:
        return _journey(told)
    texts, share, (day, hour) = told.texts, told.share(feature), divmod(told.hour, 24)
    when, land = f"{WEEKDAYS[day]} {hour:02}:00 to {hour:02}:59", country_name(texts["country"])
    country, provider = land or "there", texts["provider"] or land or "an unknown provider"
    if told.count(feature)[1] == 0:
        return _first(told, feature, country, provider)
    sentences = {
        kernel.COUNTRY: f"{share} came from {land or 'an unknown country'}",
        kernel.CITY: f"{share} from {country} came from {texts['city'] or 'an unknown city'}",
        kernel.KIND: f"{share} came from {LINES[texts['kind']]}",
        kernel.PROVIDER: f"{share} {_by_kind(told, country)} came by {provider}",
        kernel.NETWORK: f"{share} {'from such places' if told.wide else f'by {provider}'} came from {texts['network']}",
        kernel.ADDRESS: f"{share} from {texts['network']} came from {texts['address']}",
        kernel.DEVICE: f"{share} used {_device(told)}",
        kernel.VERSION: f"{share} with {_device(told)} used {texts['browser']}",
        kernel.AGENT: f"{share} with {texts['browser']} used this user agent",
        kernel.HOUR: f"{share} were within three hours of {when}, their local hour",
    }
    return sentences[feature]


def _first(told: Told, feature: int, country: str, provider: str) -> str:
    """What a feature is where the user has no earlier logins to compare it with."""
    texts = told.texts
    sentences = {
        kernel.CITY: f"from {country} for the first time, from {texts['city'] or 'an unknown city'}",
        kernel.KIND: f"from {LINES[texts['kind']]} for the first time",
        kernel.PROVIDER: f"{_by_kind(told, country)} for the first time, by {provider}",
        kernel.NETWORK: f"by {provider} for the first time, from {texts['network']}",
        kernel.ADDRESS: f"from {texts['network']} for the first time, at {texts['address']}",
        kernel.VERSION: f"with {_device(told)} for the first time, by {texts['browser']}",
        kernel.AGENT: f"with {texts['browser']} for the first time",
    }
    return sentences.get(feature, "for the first time")


def _journey(told: Told) -> str:
    """What is odd about a far leg."""
    row, pace = told.detail[kernel.LEG, :2].astype(int).tolist()
    place = "from the place of the last login"
    if pace == kernel.FASTEST:
        return f"nobody travels that fast {place}"
    return f"{kernel.FAR_KM[row - 1 if row else 1]:,.0f} km or more {place}"


def _by_kind(told: Told, country: str) -> str:
    """From which networks of a country a provider is compared with others."""
    kind = told.texts["kind"]
    return f"from {kind} networks in {country}" if kind else f"from {country}"
