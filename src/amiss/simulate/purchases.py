"""Purchases of invented friends, some of whom buy what is not theirs to buy; the truth stands apart.

People live in communities that differ in what they spend. Most friends are of the same community, a few users are
friends with hundreds, friendships begin and end. Who is odd spends far above the community: once (`splurge`), or many
times within hours (`spree`); what is much in one community is little in another.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from datetime import date as Date  # noqa: N812 - `date` is the parameter that callers set
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.simulate.asked import check, randomness
from amiss.simulate.marketplace import Report
from amiss.simulate.outputs import opened

FIRST_DATE: Final = Date(2026, 2, 2)
KINDS: Final = ("splurge", "spree")
CATEGORIES: Final = ("food", "clothes", "travel")
CATEGORY_SHARES: Final = (0.7, 0.25, 0.05)
CATEGORY_LEVELS: Final = (1.0, 2.5, 12.0)
RATES: Final = {"USD": 1.0, "EUR": 0.9, "GBP": 0.8, "JPY": 150.0, "INR": 85.0}
"""What a dollar is in a currency, roughly."""

DAY: Final = 86_400
MEDIAN: Final = 30.0
"""Dollars of half of all purchases, over communities."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Society:
    """How people live.

    Attributes
    ----------
    community
        About how many users are of one.
    friends, elsewhere
        How many friends users have on average: in all, and the share of them who are of other communities.
    hubs, followers
        The share of users who are friends with many, and how many these are at most.
    changes
        Friendships that begin, and as many that end, per user and day.
    purchases
        Of a user on an average day.
    apart, person, whim
        How much communities, users of a community, and purchases of a user differ: standard deviations of logarithms.
    by_category
        Whether things of some categories cost more than those of others.
    """

    community: int = 40
    friends: float = 6.0
    elsewhere: float = 0.1
    hubs: float = 0.003
    followers: int = 200
    changes: float = 0.01
    purchases: float = 0.5
    apart: float = 0.9
    person: float = 0.25
    whim: float = 0.5
    by_category: bool = False


@dataclass(frozen=True)
class Simulated:
    """A log and the truth about it.

    Attributes
    ----------
    events : (n, 8) columns time, event_type, id, amount_cents, id1, id2, category, currency
        In order of time, UTC, seconds; null is what an event has not.
    truth : (a, 4) columns position, user, oddity, incident
        A row for each odd purchase. `position` counts the events of the log from 1.
    """

    events: pl.DataFrame
    truth: pl.DataFrame


def simulate(
    *,
    users: int,
    days: int = 30,
    seed: int = 42,
    date: Date = FIRST_DATE,
    odd_users: float = 0.01,
    odd_after: int = 0,
    currencies: Sequence[str] = ("USD",),
    society: Society | None = None,
) -> Simulated:
    """Purchases and friendships in order of time, with the truth beside them.

    Parameters
    ----------
    users
        How many there are.
    days
        How many days; on the first most friendships are made.
    seed
        Where the random numbers begin. The same version of NumPy gives the same log.
    date
        The first day.
    odd_users
        The share of users who are odd, each once.
    odd_after
        How many days there are without them at first.
    currencies
        Of each community one.
    society
        How people live.

    Raises
    ------
    UsageError
        If a number is out of range, or a currency unknown; all such are listed.

    Examples
    --------
    >>> simulated = simulate(users=200, days=10, seed=1)
    >>> simulated.events["event_type"].unique().sort().to_list()
    ['befriend', 'purchase', 'unfriend']
    >>> simulated.truth.columns
    ['position', 'user', 'oddity', 'incident']
    """
    unknown = [name for name in currencies if name not in RATES]
    named = f"currencies are some of {', '.join(RATES)}. Found: {', '.join(unknown) or 'none'}"
    check(
        date,
        {"users": (users, 1), "days": (days, 1), "odd_after": (odd_after, 0)},
        {"odd_users": (odd_users, 0, 1)},
        named if unknown or not currencies else None,
    )
    life = society or Society()
    random = _generators(seed)
    home = _homes(users, life, random[0])
    ties = _friendships(home, life, days, random[1])
    bought = _bought(home, life, days, currencies, random[2])
    odd = _odd(bought, round(odd_users * users), (odd_after * DAY, days * DAY), random[3])
    return _merged(ties, bought, odd, int(datetime(date.year, date.month, date.day, tzinfo=UTC).timestamp()))


def levels(*, users: int, days: int = 30, seed: int = 42, society: Society | None = None) -> pl.DataFrame:
    """What is usual for each user of a simulation: columns user, rate (purchases a day) and level (log of cents).

    Parameters
    ----------
    users, days, seed, society
        As for :func:`simulate`; prices are those of dollars without categories.

    Examples
    --------
    >>> levels(users=200, days=10, seed=1).columns
    ['user', 'rate', 'level']
    """
    life = society or Society()
    random = _generators(seed)
    home = _homes(users, life, random[0])
    _, rate, level = _habits(home, life, days, random[2])
    whole = pl.DataFrame({"one": np.arange(users), "rate": rate, "level": level + np.log(100 * MEDIAN)})
    return whole.select(_user("one").alias("user"), "rate", "level")


def _generators(seed: int) -> list[np.random.Generator]:
    """Where the random numbers of homes, friendships, purchases and oddities come from."""
    return [randomness(seed, part) for part in range(4)]


def _homes(users: int, life: Society, random: np.random.Generator) -> Ints:
    """The community of each user."""
    return random.integers(0, max(1, users // life.community), users)


def write_purchases(
    output: Path | Literal["-"],
    *,
    batch: Path | None = None,
    batch_days: int = 0,
    degrees: int = 2,
    last: int = 50,
    truth: Path | None = None,
    users: int,
    days: int = 30,
    seed: int = 42,
    date: Date = FIRST_DATE,
    odd_users: float = 0.01,
    odd_after: int = 0,
    currencies: Sequence[str] = ("USD",),
) -> Report:
    """What was written: a log as `amiss purchases` and `amiss scan` read it, and apart from it the truth.

    Parameters
    ----------
    output
        A file, or ``-`` for the standard output; an object a line. Compressed when the name ends in ``.gz``.
    batch, batch_days
        A file for the first so many days, which begins with `degrees` (D) and `last` (T); the rest goes to `output`.
    truth
        A CSV file with the columns position, user, oddity, incident; `position` counts the events of `output`.
    users, days, seed, date, odd_users, odd_after, currencies
        As for :func:`simulate`.

    Raises
    ------
    UsageError
        If a number is out of range.
    SinkError
        If a file cannot be written.
    """
    began = time.perf_counter()
    made = simulate(
        users=users, days=days, seed=seed, date=date, odd_users=odd_users, odd_after=odd_after, currencies=currencies
    )
    start = datetime.combine(date, datetime.min.time(), UTC).timestamp()
    split = int((made.events["time"].dt.epoch("s") < start + batch_days * DAY).sum()) if batch is not None else 0
    if batch is not None:
        with opened(batch) as file:
            file.write(json.dumps({"D": str(degrees), "T": str(last)}).encode() + b"\n")
            file.write(_lines(made.events[:split]))
    with opened(output) as file:
        file.write(_lines(made.events[split:]))
    if truth is not None:
        with opened(truth) as file:
            later = made.truth.with_columns(pl.col("position") - split).filter(pl.col("position") > 0)
            file.write(later.write_csv().encode())
    users = pl.concat([made.events["id"], made.events["id1"], made.events["id2"]]).drop_nulls().n_unique()
    return Report(made.events.height, users, time.perf_counter() - began)


def _friendships(home: Ints, life: Society, days: int, random: np.random.Generator) -> pl.DataFrame:
    """Friendships that begin (`befriend`) and end, with the second of it."""
    users = len(home)
    count = int(users * life.friends / 2)
    one, other = _pairs(home, count, life.elsewhere, random)
    hubs = random.permutation(users)[: int(life.hubs * users)]
    sizes = random.integers(life.followers // 4, life.followers + 1, len(hubs))
    one = np.concatenate([one, np.repeat(hubs, sizes)])
    other = np.concatenate([other, random.integers(0, users, int(sizes.sum()))])
    changes = random.poisson(life.changes * users * days)
    new, friend = _pairs(home, changes, life.elsewhere, random)
    end = random.integers(0, max(1, len(one)), changes if len(one) else 0)
    first = (random.beta(3, 2.2, len(one)) * DAY).astype(np.int64)
    when = [first, *(random.integers(0, days * DAY, len(part)) for part in (new, end))]
    kinds = ["befriend"] * (len(one) + len(new)) + ["unfriend"] * len(end)
    pairs = {"one": np.concatenate([one, new, one[end]]), "other": np.concatenate([other, friend, other[end]])}
    frame = pl.DataFrame({"second": np.concatenate(when), "event_type": kinds, **pairs})
    return frame.filter(pl.col("one") != pl.col("other"))


def _pairs(home: Ints, count: int, elsewhere: float, random: np.random.Generator) -> tuple[Ints, Ints]:
    """Pairs of users, most of the same community."""
    users = len(home)
    order, one = np.argsort(home, kind="stable"), random.integers(0, users, count)
    first, behind = (np.searchsorted(home[order], home[one], side) for side in ("left", "right"))
    near = order[first + (random.random(count) * (behind - first)).astype(np.int64)]
    return one, np.where(random.random(count) < elsewhere, random.integers(0, users, count), near)


def _habits(home: Ints, life: Society, days: int, random: np.random.Generator) -> tuple[Ints, Floats, Floats]:
    """Whose each purchase is, and of users how many purchases a day and how much above `MEDIAN` are usual."""
    users = len(home)
    rate = life.purchases * random.gamma(1.5, 1 / 1.5, users)
    buyer = np.repeat(np.arange(users), random.poisson(rate * days))
    level = random.normal(0, life.apart, int(home.max()) + 1)[home] + random.normal(0, life.person, users)
    return buyer, rate, level


def _bought(
    home: Ints, life: Society, days: int, currencies: Sequence[str], random: np.random.Generator
) -> pl.DataFrame:
    """Purchases of everybody, as nobody minds."""
    buyer, _, level = _habits(home, life, days, random)
    category = random.choice(len(CATEGORIES), len(buyer), p=CATEGORY_SHARES)
    currency = random.integers(0, len(currencies), int(home.max()) + 1)[home][buyer]
    rate = np.array([RATES[name] for name in currencies])[currency]
    dear = np.array(CATEGORY_LEVELS)[category] if life.by_category else 1.0
    amount = MEDIAN * np.exp(level[buyer] + random.normal(0, life.whim, len(buyer))) * rate * dear
    hour = random.beta(3, 2.2, len(buyer)) * DAY
    second = random.integers(0, days, len(buyer)) * DAY + hour.astype(np.int64)
    columns = {"second": second, "buyer": buyer, "cents": np.maximum(1, np.round(100 * amount))}
    names = {"category": _named(CATEGORIES, category), "currency": _named(currencies, currency)}
    return pl.DataFrame(columns | names).cast({"cents": pl.Int64})


def _odd(bought: pl.DataFrame, count: int, span: tuple[int, int], random: np.random.Generator) -> pl.DataFrame:
    """Odd purchases: of each odd user one that is 5 to 12 times as much as is usual, or several of 3 to 6 times."""
    begin, end = span
    usual = bought.group_by("buyer").agg(pl.col("cents").median(), pl.col("category", "currency").first()).sort("buyer")
    picked = usual[np.sort(random.permutation(len(usual))[:count])] if begin < end else usual[:0]
    kind = random.integers(0, len(KINDS), len(picked))
    times = np.where(kind == 0, 1, random.integers(3, 9, len(picked)))
    row = np.repeat(np.arange(len(picked)), times)
    factor = np.where(kind[row] == 0, random.uniform(5, 12, len(row)), random.uniform(3, 6, len(row)))
    start = random.integers(begin, end, len(picked)) if len(picked) else np.zeros(0, np.int64)
    second = np.minimum(start[row] + random.integers(0, 3 * 3600, len(row)), end - 1)
    rows = picked[row]
    return pl.DataFrame({
        "second": second, "buyer": rows["buyer"],
        "cents": (rows["cents"] * pl.Series(factor)).round().cast(pl.Int64),
        "category": rows["category"], "currency": rows["currency"],
        "oddity": _named(KINDS, kind[row]), "incident": row + 1,
    })  # fmt: skip


def _named(names: Sequence[str], numbers: Ints) -> pl.Series:
    """The names behind numbers."""
    return pl.Series(list(names), dtype=pl.String).gather(numbers)


def _user(column: str) -> pl.Expr:
    """A user's name."""
    return pl.format("u{}", (pl.col(column) + 1).cast(pl.String).str.zfill(5))


def _merged(ties: pl.DataFrame, bought: pl.DataFrame, odd: pl.DataFrame, start: int) -> Simulated:
    """Everything in order of time; within a second friendships first."""
    tied = ties.select("second", "event_type", _user("one").alias("id1"), _user("other").alias("id2"))
    sold = pl.concat([bought, odd], how="diagonal").select(
        "second", pl.lit("purchase").alias("event_type"), _user("buyer").alias("id"),
        pl.col("cents").alias("amount_cents"), "category", "currency", "oddity", "incident",
    )  # fmt: skip
    whole = pl.concat([tied, sold], how="diagonal").sort("second", maintain_order=True)
    whole = whole.with_columns(time=pl.from_epoch(pl.col("second") + start).dt.replace_time_zone("UTC"))
    whole = whole.with_columns(position=1 + pl.int_range(pl.len()))
    truth = whole.filter(pl.col("oddity").is_not_null())
    names = ("time", "event_type", "id", "amount_cents", "id1", "id2", "category", "currency")
    return Simulated(whole.select(names), truth.select("position", pl.col("id").alias("user"), "oddity", "incident"))


def _lines(events: pl.DataFrame) -> bytes:
    """The events as the challenge writes them."""
    cents = pl.col("amount_cents")
    amount = pl.format("{}.{}", cents // 100, (cents % 100).cast(pl.String).str.zfill(2))
    when = [pl.lit('", "timestamp":"'), pl.col("time").dt.strftime("%Y-%m-%d %H:%M:%S")]
    begun = [pl.lit('{"event_type":"'), pl.col("event_type"), *when]
    fields = {"id": pl.col("id"), "amount": amount, "category": pl.col("category"), "currency": pl.col("currency")}
    bought = pl.concat_str(*begun, *_fields(fields), pl.lit('"}'))
    tied = pl.concat_str(*begun, *_fields({name: pl.col(name) for name in ("id1", "id2")}), pl.lit('"}'))
    lines = events.select(pl.when(pl.col("event_type") == "purchase").then(bought).otherwise(tied).alias("line"))
    return "".join(f"{line}\n" for line in lines["line"]).encode()


def _fields(columns: dict[str, pl.Expr]) -> list[pl.Expr]:
    """Fields of an object, each behind the end of one."""
    return [part for name, column in columns.items() for part in (pl.lit(f'", "{name}": "'), column)]
