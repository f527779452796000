"""Cities, providers and addresses of simulated logins. The cities are real, everything else is made up.

The world is the same in every simulation: an address lies in the same city whatever the seed.
"""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

PLACES: Final = Path(__file__).with_name("world.toml")
WEEKEND: Final = (5, 6)
FIRST_ASN: Final = 4_200_000_001
"""The first of the numbers of autonomous systems that nobody is given: they are for private use."""

KINDS: Final = ("broadband", "mobile", "business", "hosting", "vpn")
BROADBAND, MOBILE, BUSINESS, HOSTING, VPN = range(len(KINDS))
PROVIDERS: Final = {BROADBAND: 4, MOBILE: 3, BUSINESS: 2, HOSTING: 2}
"""Providers per country."""

HOST_BITS: Final = {BROADBAND: 14, MOBILE: 10, BUSINESS: 12, HOSTING: 12, VPN: 8}
"""Bits of an address that differ within a pool."""

WITH_IPV6: Final = {BROADBAND: 0.5, MOBILE: 0.4, BUSINESS: 0.0, HOSTING: 0.0, VPN: 0.0}
SHARES: Final = (0.45, 0.27, 0.17, 0.11)
VPN_BRANDS: Final = 4
VPN_COUNTRIES: Final = 35
NEAR_KM: Final = 240.0
ELSEWHERE: Final = {BROADBAND: 0.06, MOBILE: 0.3, BUSINESS: 0.0, HOSTING: 0.0, VPN: 0.0}
"""How often the addresses of a city are located in a city nearby."""

NOT_ROUTED: Final = frozenset({0, 10, 100, 127, 169, 172, 192, 198, 203})
"""First bytes of which some addresses mean something else; none of them are given out."""

MIX: Final = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(0x9E3779B97F4A7C15))

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Keys = NDArray[np.uint64]
Flags = NDArray[np.bool_]


class Pool(NamedTuple):
    """Addresses that a provider has for a city: where it is, where its addresses are located, first address."""

    provider: int
    city: int
    located: int
    start: int
    bits: int
    prefix: int
    """The first 40 bits of its IPv6 addresses, 0 when it has none."""


@dataclass(frozen=True)
class World:
    """Cities, providers and pools of addresses, numbered; arrays are by number."""

    countries: tuple[str, ...]
    online: Floats
    iphones: Floats
    weekends: tuple[tuple[int, ...], ...]
    cities: tuple[str, ...]
    country: Ints
    latitude: Floats
    longitude: Floats
    zones: tuple[str, ...]
    zone: Ints
    people: Floats
    providers: tuple[str, ...]
    kind: Ints
    home: Ints
    pools: tuple[Pool, ...]

    @cached_property
    def city_weight(self) -> Floats:
        """How many people are online in each city, in millions."""
        inside = np.bincount(self.country, self.people, len(self.countries))
        weights: Floats = self.online[self.country] * self.people / inside[self.country]
        return weights

    @cached_property
    def km(self) -> Floats:
        """Kilometres between each two cities."""
        latitude, longitude = np.radians(self.latitude), np.radians(self.longitude)
        half = np.sin((latitude[:, None] - latitude) / 2) ** 2
        half += np.cos(latitude[:, None]) * np.cos(latitude) * np.sin((longitude[:, None] - longitude) / 2) ** 2
        km: Floats = 2 * 6371.0 * np.arcsin(np.sqrt(np.clip(half, 0, 1)))
        return km

    @cached_property
    def pool_at(self) -> Ints:
        """The pool of each provider (row) in each city (column), -1 where it has none."""
        table = np.full((len(self.providers), len(self.cities)), -1, np.int64)
        for number, pool in enumerate(self.pools):
            table[pool.provider, pool.city] = number
        return table

    @cached_property
    def located(self) -> Ints:
        """The city in which the addresses of each pool are located."""
        return np.array([pool.located for pool in self.pools])

    @cached_property
    def has_ipv6(self) -> Flags:
        """Whether each pool has IPv6 addresses."""
        return np.array([pool.prefix > 0 for pool in self.pools])

    @cached_property
    def offered(self) -> Ints:
        """Numbers of the providers, by country, kind and rank (the largest first)."""
        table = np.zeros((len(self.countries), len(PROVIDERS), max(PROVIDERS.values())), np.int64)
        for country in range(len(self.countries)):
            for kind, count in PROVIDERS.items():
                own = np.flatnonzero((self.home == country) & (self.kind == kind))
                table[country, kind] = own[np.minimum(np.arange(table.shape[2]), count - 1)]
        return table

    @cached_property
    def exits(self) -> tuple[tuple[Ints, Floats], ...]:
        """The pools of each VPN, and their running shares: more go to countries with more people online."""
        served = [self.pool_at[brand][self.pool_at[brand] >= 0] for brand in np.flatnonzero(self.kind == VPN)]
        return tuple((pools, _running(self.online[self.country[self.located[pools]]] ** 0.5)) for pools in served)

    def networks(self, kind: int) -> list[str]:
        """The networks of all pools of a kind, as text, sorted."""
        pools = [pool for pool in self.pools if self.kind[pool.provider] == kind]
        four = [ipaddress.IPv4Network((pool.start, 32 - pool.bits)) for pool in pools]
        six = [ipaddress.IPv6Network((pool.prefix << 88, 40)) for pool in pools if pool.prefix]
        return [str(network) for network in [*sorted(four), *sorted(six)]]

    def pool_in(self, city: Ints, kind: int, rank: Ints) -> Ints:
        """The pools of the providers of this kind and rank in cities."""
        pools: Ints = self.pool_at[self.offered[self.country[city], kind, rank], city]
        return pools

    def addresses(self, pool: Ints, key: Keys, host: Keys, six: Flags) -> pl.Series:
        """The addresses that keys stand for; IPv6 where asked for and there, which also differ by host."""
        six = six & self.has_ipv6[pool]
        starts = np.array([item.start for item in self.pools], np.uint64)[pool]
        sizes = np.array([1 << (item.bits - 8) for item in self.pools], np.uint64)[pool]
        third, last = key // np.uint64(254) % sizes, key % np.uint64(254) + np.uint64(1)
        four = _dotted(starts + third * np.uint64(256) + last)
        prefixes = [item.prefix for item in self.pools]
        rows = np.flatnonzero(six)
        parts = zip(pool[rows].tolist(), key[rows].tolist(), host[rows].tolist(), strict=True)
        texts = [_colons(prefixes[where], line, end) for where, line, end in parts]
        return four.scatter(rows, texts) if len(rows) else four

    def utc(self, local: Ints, city: Ints) -> Ints:
        """Microseconds UTC of local microseconds in cities; -1 where a clock skips that time."""
        moments = np.empty(len(local), np.int64)
        zone = self.zone[city]
        for number in np.unique(zone):
            rows = zone == number
            clock = pl.Series(local[rows]).cast(pl.Datetime("us"))
            there = clock.dt.replace_time_zone(self.zones[number], ambiguous="earliest", non_existent="null")
            moments[rows] = there.dt.epoch("us").fill_null(-1).to_numpy()
        return moments


@cache
def world() -> World:
    """The world, read once."""
    raw = tomllib.loads(PLACES.read_text(encoding="utf-8"))
    rows = [(country, *city) for country, entry in raw.items() for city in entry["cities"]]
    names, zones = tuple(raw), tuple(dict.fromkeys(row[4] for row in rows))
    places: dict[str, Any] = {
        "countries": names,
        "online": np.array([float(entry["online"]) for entry in raw.values()]),
        "iphones": np.array([entry["iphones"] for entry in raw.values()]),
        "weekends": tuple(tuple(entry.get("weekend", WEEKEND)) for entry in raw.values()),
        "cities": tuple(row[1] for row in rows),
        "country": np.array([names.index(row[0]) for row in rows]),
        "latitude": np.array([float(row[2]) for row in rows]),
        "longitude": np.array([float(row[3]) for row in rows]),
        "zones": zones,
        "zone": np.array([zones.index(row[4]) for row in rows]),
        "people": np.array([float(row[5]) for row in rows]),
    }
    kinds, homes, labels = _providers(names)
    bare = World(**places, providers=labels, kind=kinds, home=homes, pools=())
    return World(**places, providers=labels, kind=kinds, home=homes, pools=tuple(_pools(bare)))


def mixed(*parts: NDArray[Any] | int) -> Keys:
    """Keys that follow from the parts and look random (splitmix64, chained)."""
    with np.errstate(over="ignore"):
        state = np.zeros(1, np.uint64)
        for part in parts:
            state = state + np.asarray(part).astype(np.uint64) + MIX[2]
            state = (state ^ (state >> np.uint64(30))) * MIX[0]
            state = (state ^ (state >> np.uint64(27))) * MIX[1]
            state = state ^ (state >> np.uint64(31))
    return state


def drawn(random: np.random.Generator, weights: Floats | Sequence[float], count: int) -> Ints:
    """Numbers drawn by their weights."""
    sums = np.cumsum(weights)
    chosen: Ints = np.searchsorted(sums, random.random(count) * sums[-1], side="right")
    return chosen


def drawn_by_row(random: np.random.Generator, weights: Floats, row: Ints) -> Ints:
    """A column for each row of a table of weights, drawn by them; -1 where they are all 0."""
    chosen = np.full(len(row), -1, np.int64)
    for number in np.unique(row):
        if weights[number].any():
            rows = np.flatnonzero(row == number)
            chosen[rows] = drawn(random, weights[number], len(rows))
    return chosen


def _running(weights: Floats) -> Floats:
    """Running sums of weights, the last of which is 1."""
    sums: Floats = np.cumsum(weights) / weights.sum()
    return sums


def _providers(countries: Sequence[str]) -> tuple[Ints, Ints, tuple[str, ...]]:
    """Kind, country (-1: none) and name of each provider."""
    rows = [
        (kind, number, f"{name} {KINDS[kind].capitalize()} {rank + 1}")
        for number, name in enumerate(countries)
        for kind, count in PROVIDERS.items()
        for rank in range(count)
    ]
    rows += [(VPN, -1, f"VPN {brand + 1}") for brand in range(VPN_BRANDS)]
    names = tuple(f"AS{FIRST_ASN + number} {row[2]}" for number, row in enumerate(rows))
    return np.array([row[0] for row in rows]), np.array([row[1] for row in rows]), names


def _pools(places: World) -> Iterator[Pool]:
    """The pools of all providers, each beginning with a block of 65,536 addresses of its own."""
    random = np.random.Generator(np.random.PCG64(1))
    blocks = [first << 24 | second << 16 for first in range(1, 224) if first not in NOT_ROUTED for second in range(256)]
    random.shuffle(blocks)
    free = iter(blocks)
    for provider, kind in enumerate(places.kind.tolist()):
        prefix = (0x2A00 << 16 | (provider + 1) << 4) << 8 if random.random() < WITH_IPV6[kind] else 0
        used = 1 << 16
        for number, city in enumerate(_served(places, provider, random)):
            if used >= 1 << 16:
                block, used = next(free), 0
            located = _near(places, city, random) if random.random() < ELSEWHERE[kind] else city
            yield Pool(provider, city, located, block + used, HOST_BITS[kind], prefix and prefix + number + 1)
            used += 1 << HOST_BITS[kind]


def _served(places: World, provider: int, random: np.random.Generator) -> list[int]:
    """The cities in which a provider has addresses."""
    home = places.home[provider]
    if home >= 0:
        return np.flatnonzero(places.country == home).tolist()
    chosen = np.sort(random.permutation(len(places.countries))[:VPN_COUNTRIES])
    return [int(np.flatnonzero(places.country == country)[0]) for country in chosen]


def _near(places: World, city: int, random: np.random.Generator) -> int:
    """Another city of the country that is near, or the city itself when there is none."""
    others = np.flatnonzero((places.country == places.country[city]) & (places.km[city] < NEAR_KM))
    return int(random.choice(others))


def _dotted(numbers: Keys) -> pl.Series:
    """Numbers as IPv4 addresses."""
    frame = pl.DataFrame({"number": numbers})
    octets = [(pl.col("number") // 256**power % 256).cast(pl.String) for power in (3, 2, 1, 0)]
    return frame.select(pl.concat_str(octets, separator=".")).to_series()


def _colons(prefix: int, line: int, host: int) -> str:
    """An IPv6 address: 40 bits of a pool, 24 of a line, 64 of a host; no group is 0."""
    groups = [prefix >> 24, prefix >> 8 & 0xFFFF, (prefix & 0xFF) << 8 | line & 0xFF, (line >> 8) % 0xFFFF + 1]
    groups += [(host >> shift) % 0xFFFF + 1 for shift in (0, 16, 32, 48)]
    return ":".join(f"{group:x}" for group in groups)
