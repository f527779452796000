"""Logins of invented people, and of a few attackers, of which the truth is known.

People live in the cities of the world, log in at the hours of their zone, from home, work and on the move, travel, buy
phones, mistype passwords. Attackers come in short bursts. What is an attack stands apart, never in the log.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812 - `date` is the parameter that callers set
from pathlib import Path
from typing import Final, Literal

import numpy as np
import polars as pl

from amiss.errors import nearest
from amiss.simulate import browsers
from amiss.simulate.asked import check, check_files, randomness
from amiss.simulate.attackers import KINDS, Attacks, Field, attack
from amiss.simulate.days import CIRCUMSTANCES, DAY, Logins, Plan, joined, live
from amiss.simulate.marketplace import Report
from amiss.simulate.outputs import Writable, opened
from amiss.simulate.people import Life, populate, travel
from amiss.simulate.world import MOBILE, VPN, Ints, world

FIRST_DATE: Final = Date(2026, 2, 2)
"""A Monday; sixty days from it hold the beginnings of summer time in America and in Europe."""

ATTACK_RATE: Final = 0.001
MOST_WRONG: Final = 5
LINES_AT_ONCE: Final = 50_000
ACTIONS: Final = ("view", "search", "edit", "download", "change_settings", "logout")
ACTION_SHARES: Final = (0.45, 0.2, 0.15, 0.07, 0.01, 0.12)


@dataclass(frozen=True)
class Simulated:
    """A log and the truth about it.

    Attributes
    ----------
    events : (n, 11) columns time, user, action, outcome, ip, country, city, latitude, longitude, user_agent, provider
        In order of time, UTC, microseconds.
    truth : (a, 5) columns position, user, attack, incident, outcome
        A row for each event of an attacker. `position` counts the events of the log from 1.
    circumstances : (n, 3) columns circumstance, device, home_country
        Where each event was, on which device (a number; null for attackers'), and where its user lives: what nobody
        knows who has the log alone.
    vpn_ranges, carrier_ranges
        The networks of VPN exits and of mobile carriers, as text.
    """

    events: pl.DataFrame
    truth: pl.DataFrame
    circumstances: pl.DataFrame
    vpn_ranges: tuple[str, ...]
    carrier_ranges: tuple[str, ...]


def simulate(
    *,
    users: int,
    days: int = 60,
    seed: int = 42,
    date: Date = FIRST_DATE,
    attack_rate: float = ATTACK_RATE,
    attacks: Sequence[str] = KINDS,
    attacks_after: int = 0,
    other_actions: float = 0.0,
    life: Life | None = None,
) -> Simulated:
    """Logins of a service with users in many countries, in order of time, with the truth beside them.

    Parameters
    ----------
    users
        How many there are in all; some come only after the first day, some leave.
    days
        How many days; a user logs in 2.4 times on an average one.
    seed
        Where the random numbers begin. The same version of NumPy gives the same log.
    date
        The first day.
    attack_rate
        Logins of attackers that succeed, per login of a user that does.
    attacks
        Kinds of attacks, of each of which there are as many: ``world``, ``country``, ``spray``, ``theft``.
    attacks_after
        How many days there are without attacks at first.
    other_actions
        How many other events there are per login, logouts among them.
    life
        How eventful the lives of users are.

    Raises
    ------
    UsageError
        If a number is out of range, or a kind unknown; all such are listed.

    Examples
    --------
    >>> simulated = simulate(users=50, days=30, seed=1, attack_rate=0.01)
    >>> simulated.events.columns[:5]
    ['time', 'user', 'action', 'outcome', 'ip']
    >>> simulated.truth.columns
    ['position', 'user', 'attack', 'incident', 'outcome']
    """
    check(
        date,
        {"users": (users, 1), "days": (days, 1), "attacks_after": (attacks_after, 0)},
        {"attack_rate": (attack_rate, 0, 0.5), "other_actions": (other_actions, 0, 1000)},
        None if attacks else f"no attacks; expected some of {', '.join(KINDS)}, or an attack_rate of 0",
        *(f"{kind} is no kind of attack.{nearest(kind, KINDS)}" for kind in attacks if kind not in KINDS),
    )
    plan = planned(users=users, days=days, seed=seed, date=date, life=life)
    begin = plan.begin
    real = live(plan, randomness(seed, 2))
    field = Field(plan, real, begin + attacks_after * DAY)
    attacked = attack(field, attacks, round(attack_rate * len(real)), randomness(seed, 3))
    return _simulated(plan, real, attacked, other_actions, randomness(seed, 4))


def planned(*, users: int, days: int, seed: int, date: Date = FIRST_DATE, life: Life | None = None) -> Plan:
    """The lives from which :func:`simulate` makes logins: who the users are, and where they travel.

    Parameters
    ----------
    users, days, seed, date, life
        As for :func:`simulate`; the same ones give the lives behind the same log.
    """
    places, life = world(), life or Life()
    begin = (date - Date(1970, 1, 1)).days * DAY
    people = populate(places, life, users, days + 2, randomness(seed, 0))
    trips = travel(places, life, people, days=days + 2, start=begin - DAY, random=randomness(seed, 1))
    return Plan(places, life, people, trips, begin, begin + days * DAY, browsers.push_day(begin / DAY, days))


def write_logins(
    output: Path | Literal["-"],
    *,
    users: int,
    days: int = 60,
    seed: int = 42,
    date: Date = FIRST_DATE,
    attack_rate: float = ATTACK_RATE,
    attacks: Sequence[str] = KINDS,
    attacks_after: int = 0,
    other_actions: float = 0.0,
    truth: Path | None = None,
    ranges: Path | None = None,
    carriers: Path | None = None,
) -> Report:
    """What was written: a log, and apart from it the truth about its attacks.

    Parameters
    ----------
    output
        A file, or ``-`` for the standard output. CSV when the name ends in ``.csv``, else NDJSON. Compressed when the
        name ends in ``.gz``.
    truth
        A CSV file with the columns position, user, attack, incident, outcome, and a row per event of an attacker.
    ranges, carriers
        Files for the networks of VPN exits and of mobile carriers, one a line.
    users, days, seed, date, attack_rate, attacks, attacks_after, other_actions
        As for :func:`simulate`.

    Raises
    ------
    UsageError
        If a number is out of range, or two files are the same one.
    SinkError
        If a file cannot be written.
    """
    began = time.perf_counter()
    check_files([None if output == "-" else Path(output), truth, ranges, carriers])
    made = simulate(
        users=users, days=days, seed=seed, date=date, attack_rate=attack_rate, attacks=attacks,
        attacks_after=attacks_after, other_actions=other_actions,
    )  # fmt: skip
    with opened(output) as file:
        _write_events(made.events, file, csv=str(output).endswith((".csv", ".csv.gz")))
    if truth is not None:
        with opened(truth) as file:
            file.write(made.truth.write_csv().encode())
    for path, networks in ((ranges, made.vpn_ranges), (carriers, made.carrier_ranges)):
        if path is not None:
            with opened(path) as file:
                file.write("".join(f"{network}\n" for network in networks).encode())
    return Report(made.events.height, made.events["user"].n_unique(), time.perf_counter() - began)


def _write_events(events: pl.DataFrame, file: Writable, *, csv: bool) -> None:
    """Write the events as CSV or NDJSON, times as ISO 8601 with milliseconds."""
    stamped = events.with_columns(pl.col("time").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
    if csv:
        file.write(stamped.clear().write_csv().encode())
    for part in stamped.iter_slices(LINES_AT_ONCE):
        file.write((part.write_csv(include_header=False) if csv else part.write_ndjson()).encode())


def _simulated(plan: Plan, real: Logins, attacks: Attacks, other: float, random: np.random.Generator) -> Simulated:
    """The events of users and attackers, merged, and what is known of them."""
    wrong, others = plan.within(_wrong(plan, real, random)), plan.within(_others(real, other, random))
    logins = joined([real, wrong, others, attacks.logins])
    count, tail = len(real) + len(wrong) + len(others), len(attacks.logins)
    outcome = np.repeat([1, 0, 1], [len(real), len(wrong), len(others)])
    outcome = np.concatenate([outcome, attacks.succeeded])
    action = random.choice(len(ACTIONS), len(others), p=ACTION_SHARES)
    action = np.concatenate([np.full(len(real) + len(wrong), -1), action, np.full(tail, -1)])
    incident = np.concatenate([np.full(count, -1), attacks.incident])
    kind = np.concatenate([np.full(count, -1), attacks.kind])
    order = np.argsort(logins.time // 1000, kind="stable")
    logins, outcome, action, incident, kind = (
        logins.part(order), outcome[order], action[order], incident[order], kind[order],
    )  # fmt: skip
    events = _events(plan, logins, outcome, action)
    rows = np.flatnonzero(incident >= 0)
    truth = events[rows].select(
        pl.Series("position", rows + 1), "user", pl.Series("attack", kind[rows]).replace_strict(
            range(len(KINDS)), KINDS, return_dtype=pl.String), pl.Series("incident", incident[rows] + 1), "outcome",
    )  # fmt: skip
    places = plan.places
    return Simulated(
        events, truth, _circumstances(plan, logins), tuple(places.networks(VPN)), tuple(places.networks(MOBILE))
    )


def _events(plan: Plan, logins: Logins, outcome: Ints, action: Ints) -> pl.DataFrame:
    """The log."""
    places = plan.places
    city = places.located[logins.pool]
    provider = np.array([pool.provider for pool in places.pools])[logins.pool]
    kinds, agent = np.unique(logins.agent, return_inverse=True)
    names = [f"u{number + 1:04d}" for number in range(len(plan.people))]
    return pl.DataFrame({
        "time": pl.Series(logins.time // 1000 * 1000).cast(pl.Datetime("us", "UTC")),
        "user": _named(names, logins.user),
        "action": _named(["login", *ACTIONS], action + 1),
        "outcome": _named(["failure", "success"], outcome),
        "ip": places.addresses(logins.pool, logins.key, logins.host, logins.six),
        "country": _named(places.countries, places.country[city]),
        "city": _named(places.cities, city),
        "latitude": places.latitude[city],
        "longitude": places.longitude[city],
        "user_agent": _named(browsers.texts(kinds), agent),
        "provider": _named(places.providers, provider),
    })  # fmt: skip


def _circumstances(plan: Plan, logins: Logins) -> pl.DataFrame:
    """What is true of each event beyond the log."""
    home = plan.places.country[plan.people.at_home(logins.user, logins.time // DAY - plan.start // DAY)]
    return pl.DataFrame({
        "circumstance": _named(CIRCUMSTANCES, logins.circumstance),
        "device": pl.Series(logins.device).replace(-1, None),
        "home_country": _named(plan.places.countries, home),
    })  # fmt: skip


def _named(names: Sequence[str], numbers: Ints) -> pl.Series:
    """The names behind numbers."""
    return pl.Series(names, dtype=pl.String).gather(numbers)


def _wrong(plan: Plan, real: Logins, random: np.random.Generator) -> Logins:
    """Wrong passwords in the seconds before a login, in the same place."""
    count = np.minimum(random.poisson(plan.people.wrong[real.user]), MOST_WRONG)
    wrong = real.part(np.repeat(np.arange(len(real)), count))
    nth = np.arange(len(wrong)) - np.repeat(np.cumsum(count) - count, count)
    before = (nth + 1) * 9 + random.uniform(-4, 4, len(wrong))
    wrong.time = wrong.time - (before * 1e6).astype(np.int64)
    return wrong


def _others(real: Logins, rate: float, random: np.random.Generator) -> Logins:
    """Other events after logins, within half an hour."""
    count = random.poisson(rate, len(real)) if rate else np.zeros(len(real), np.int64)
    events = real.part(np.repeat(np.arange(len(real)), count))
    events.time = events.time + (random.uniform(2, 1_500, len(events)) * 1e6).astype(np.int64)
    return events
