"""What logins are normal, from the counts of earlier periods; :mod:`amiss.detect.login` says what is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.baseline import COUNT_KEYS, COUNT_SCHEMA, Floats, Ints, Past, merge
from amiss.blocks import frozen, highest
from amiss.detect import login_kernel as kernel
from amiss.kinds import KINDS
from amiss.sessions import Events

SAMPLE: Final = 500
"""How many users are looked at to see how often something new comes."""

EARLY: Final = 0.5
"""New things per login before any are known, by the logins of a row and one."""

UNKNOWN_LEGS: Final = (2.0, 3.0, 2.0, 2.8, 0.2)
"""Far legs of each pace that count before any are known."""

UNKNOWN_ROWS: Final = (0.0, 0.0, 5.0, 3.0, 2.0)
"""Very far legs to new places, by how far they are, that count before any are known; also for users far apart."""

PAIRS: Final = 1000
"""How many users are asked how far they are from another one."""

SETTLED: Final = 4
"""The bin of logins, 15 or more, from which on a new country, city or provider is somebody being elsewhere for once."""

FEW_DETOURS: Final = (0.25, 50.0)
"""Such new things, and logins, that count before any are known."""

ARRIVING: Final = 20_000
"""How many users are looked at to see which providers come new to users."""

AS_COUNTED: Final = 5.0
"""How many arrivals at providers count as everyone's logins do before any are known."""

ACCESSES: Final = 16
"""What providers are judged after is the country, with a kind of network -2 - (16 * country + kind)."""

KINDS_COUNTED: Final = 0.5
"""How many arrivals by kinds of networks count before any are known: as everyone's logins, as those by all kinds."""

BAD_LEAVES: Final = 0.8
"""What is left for the other hypotheses where logins are known to be bad."""

_CODES: Final = (
    "country", "city", "kind", "provider", "network", "address", "device", "version", "browser", "agent", "hour",
)  # fmt: skip
_CHAINS: Final = (
    ("", "country"),
    ("country", "city"),
    ("access", "provider"),
    ("above", "network"),
    ("network", "address"),
    ("", "device"),
    ("device", "version"),
    ("browser", "agent"),
)
"""The categories, each after what it is judged; above a network stands its provider, where the place is not wide."""

_ROW: Final = ("feature", "user", "given")

_MOVING: Final = (kernel.COUNTRY, kernel.CITY, kernel.PROVIDER, kernel.LOGINS, kernel.KIND)
_TOLD: Final = pl.col("given") < kernel.NOWHERE
"""Which providers' kinds are told: those after codes of country and kind."""

_KIND: Final = ((-2 - pl.col("given")) % ACCESSES).alias("kind")
_WEIGHT: Final = (pl.col("count").clip(upper_bound=kernel.ONE) / kernel.ONE).alias("weight")
_CAME: Final = _WEIGHT.sum().alias("came")
"""How many came, each by as much of a login as it taught."""

_MEMBERS: Final = {"user": pl.UInt32(), "group": pl.UInt32()}


@dataclass(frozen=True, eq=False)
class LoginBaseline:
    """What everyone's logins were, and each user's."""

    normal: kernel.Normal
    counts: pl.DataFrame
    """The counts behind it by user (`COUNT_SCHEMA`); those of the users themselves where they are left out."""
    groups: Ints
    """The codes of groups, in order; none where logins are not judged by them."""

    def group_of(self, context: Mapping[str, npt.NDArray[Any]]) -> kernel.Codes:
        """The places of the groups that events name, -1 of those unknown; nothing where there are no groups."""
        if not len(self.groups) or "group" not in context:
            return np.zeros(0, dtype=np.int32)
        return _places(self.groups, context["group"].astype(np.int64))


def _places(known: Ints, codes: Ints) -> kernel.Codes:
    """Where codes stand among those known, of which there are some; -1 of others."""
    at = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return np.where(known[at] == codes, at, kernel.NOWHERE).astype(np.int32)


@lru_cache(maxsize=8)
def logins_of(events: Events) -> kernel.Logins:
    """The columns of grouped events, kept for who asks next; all of them no logins where events hold no context."""
    context = events.context
    if "login" not in context:
        flags = frozen(np.zeros(len(events), dtype=np.uint8))
        codes = frozen(np.zeros((kernel.CHAINS, len(events)), dtype=np.int32))
        return kernel.Logins(flags, codes, codes, codes[0], codes[0], codes[0], flags, frozen(events.time))
    columns = {name: context[name].astype(np.int32) for name in _CODES}
    none, wide = np.full(len(events), kernel.NOWHERE, dtype=np.int32), context["wide"] > 0
    access = np.where(columns["kind"] > 0, -2 - (ACCESSES * columns["country"] + columns["kind"]), columns["country"])
    columns |= {"": none, "access": access, "above": np.where(wide, none, columns["provider"])}
    given, value = (frozen(np.array([columns[pair[side]] for pair in _CHAINS], dtype=np.int32)) for side in (0, 1))
    cell = np.where(wide, none, cells(context["latitude"], context["longitude"]))
    rest = (
        frozen(columns["hour"]),
        frozen(cell),
        frozen(columns["kind"]),
        frozen(context["wide"]),
        frozen(events.time),
    )
    return kernel.Logins(frozen(context["login"]), given, value, *rest)


def cells(latitude: npt.NDArray[Any], longitude: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """The cells of half a degree in which places in degrees are; -1 of those unknown.

    Examples
    --------
    >>> cells(np.array([-90.0, 50.45, np.nan]), np.array([0.0, -0.25, 0.0]))
    array([     0, 202319,     -1], dtype=int32)
    """
    known = np.isfinite(latitude) & np.isfinite(longitude)
    north, east = np.where(known, latitude, 0.0), np.where(known, longitude, 0.0)
    row = np.clip(np.floor((north + 90.0) * 2.0), 0, 359)
    column = np.floor((east % 360.0) * 2.0) % kernel.CELLS
    return np.where(known, row * kernel.CELLS + column, kernel.NOWHERE).astype(np.int32)


def middle(cell: int) -> tuple[float, float]:
    """Latitude and longitude of the middle of a cell, in degrees.

    Examples
    --------
    >>> middle(202319)
    (50.25, -0.25)
    """
    row, column = divmod(cell, kernel.CELLS)
    east = column / 2.0 + 0.25
    return row / 2.0 - 89.75, east - 360.0 if east > 180.0 else east


def count(events: Events, *, by_group: bool = False) -> pl.DataFrame:
    """What grouped events add to a baseline (`COUNT_SCHEMA`), in sixteenths of a login."""
    logins = logins_of(events)
    weight = np.full(len(events), kernel.ONE, dtype=np.uint8) if events.weight is None else events.weight
    none = np.full(len(events), kernel.NOWHERE, dtype=np.int32)
    known = logins.login > 0
    placed = known & (logins.wide == 0)
    hours = (logins.time // kernel.HOUR_MICROSECONDS).astype(np.int32)
    trusted = known & (logins.cell >= 0) & (2 * weight.astype(np.int64) >= kernel.ONE)
    each = [placed if feature <= kernel.PROVIDER else known for feature in range(kernel.CHAINS)]
    features = list(zip(logins.given, logins.value, each, strict=True))
    features += [(none, logins.hour, known), (hours, logins.cell, trusted)]
    rows = pl.DataFrame({"user": events.user, "count": weight.astype(np.int64)})
    told = known & (logins.kind > 0)
    whole = rows.filter(known).with_columns(
        count=pl.lit(kernel.ONE, dtype=pl.Int64), given=none[known], value=none[known]
    )
    parts = []
    for code, (given, value, chosen) in enumerate(features):
        shown = rows.with_columns(given=given, value=value).filter(chosen)
        parts.append(_counted(shown).with_columns(feature=pl.lit(code, dtype=pl.UInt8)))
    parts.append(_counted(whole).with_columns(feature=pl.lit(kernel.LOGINS, dtype=pl.UInt8)))
    shown = rows.with_columns(given=logins.value[kernel.CITY], value=logins.kind).filter(told)
    parts.append(_counted(shown).with_columns(feature=pl.lit(kernel.KIND, dtype=pl.UInt8)))
    if by_group and "group" in events.context:
        named = whole.with_columns(
            given=(logins.time[known] // kernel.DAY_MICROSECONDS).astype(np.int32),
            value=events.context["group"][known].astype(np.int32),
        )
        parts.append(_counted(named.filter(pl.col("value") > 0)).with_columns(feature=pl.lit(kernel.GROUP, pl.UInt8)))
    return pl.concat(parts).select(pl.col(name).cast(dtype) for name, dtype in COUNT_SCHEMA.items())


def logins_by_user(counts: pl.DataFrame, users: Sequence[int]) -> dict[int, tuple[int, float]]:
    """How many logins counts hold of users, and how many those taught; counts of former versions hold the latter only.

    Examples
    --------
    >>> rows = [(kernel.DEVICE, 7, -1, 1, 24), (kernel.LOGINS, 7, -1, -1, 48)]
    >>> logins_by_user(pl.DataFrame(rows, schema=COUNT_SCHEMA, orient="row"), [7, 8])
    {7: (3, 1.5)}
    """
    mine = _logins(counts.filter(pl.col("user").is_in(list(users))))
    return {user: (max(int(all_), round(taught)), taught) for user, all_, taught in mine.iter_rows()}


def _logins(counts: pl.DataFrame) -> pl.DataFrame:
    """The same of all users, as columns `user`, `all`, `taught`."""
    is_all = pl.col("feature") == kernel.LOGINS
    sums = (pl.col("count").filter(each).sum() / kernel.ONE for each in (is_all, ~is_all))
    chosen = counts.filter(pl.col("feature").is_in([kernel.DEVICE, kernel.LOGINS]))
    return chosen.group_by("user").agg(*(each.alias(name) for each, name in zip(sums, ("all", "taught"), strict=True)))


def _counted(shown: pl.DataFrame) -> pl.DataFrame:
    """How often each user showed each pair, in order."""
    return shown.group_by("user", "given", "value").agg(pl.col("count").sum()).sort("user", "given", "value")


def baseline(
    past: Past, cap: int, odds: tuple[float, ...], *, leave_out: bool, by_group: bool = False
) -> LoginBaseline:
    """What is normal after earlier periods; with `leave_out`, what they say of each user without that user."""
    counts = past.by_user()
    known = counts if leave_out or past.taught.is_empty() else merge([counts, past.taught])
    users = _users(known)
    own, none = owned(known, users), owned(known.clear(), 0)
    trails = _trails(own, 0 if leave_out else users)
    moves = [] if leave_out else past.periods
    everyone = _everyone(known, _new_things(past.periods), moves, kernel.ONE * cap, trails)
    kernel.pace_users(own, everyone)
    shares = [*odds, 0.0] if past.bad.is_empty() else [*(BAD_LEAVES * each for each in odds), 1.0 - BAD_LEAVES]
    codes, whose = _groups(known if by_group else known.clear(), users)
    often = _often(known, users)
    normal = kernel.Normal(
        own=_frozen(none if leave_out else own),
        left=_frozen(own if leave_out else none),
        bad=_frozen(owned(_as_one(past.bad), 1)),
        everyone=everyone,
        groups=_colleagues(known, whose, len(codes), kernel.ONE * cap) if len(codes) else None,
        trails=trails,
        busy=frozen(_busy(often)),
        hourly=frozen(_hourly(often, len(past.periods))),
        cap=kernel.ONE * cap,
        odds=frozen(np.array(shares)),
    )
    return LoginBaseline(normal, known, codes)


def _groups(counts: pl.DataFrame, users: int) -> tuple[Ints, kernel.Codes]:
    """The codes of groups, in order, and the place of each user's last one among them, -1 of users without."""
    named = counts.filter(pl.col("feature") == kernel.GROUP).sort("user", "given", "count", "value")
    last = named.group_by("user", maintain_order=True).agg(pl.col("value").last())
    value = last["value"].to_numpy().astype(np.int64)
    codes = np.unique(value)
    whose = np.full(users, kernel.NOWHERE, dtype=np.int32)
    whose[last["user"].to_numpy()] = np.searchsorted(codes, value)
    return codes, whose


def _colleagues(counts: pl.DataFrame, whose: kernel.Codes, groups: int, cap: int) -> kernel.Groups:
    """Counts over the users of each group, of which each adds up to `cap` sixteenths to any."""
    members = pl.DataFrame({"user": np.flatnonzero(whose >= 0), "group": whose[whose >= 0]}, schema=_MEMBERS)
    limited = pl.col("count").clip(upper_bound=cap).sum()
    keys = ("feature", "group", "given", "value")
    mine = counts.filter(pl.col("feature") < kernel.CHAINS).join(members, on="user").group_by(keys).agg(limited)
    own = owned(mine.filter(pl.col("count") >= kernel.ONE).rename({"group": "user"}).sort(COUNT_KEYS), groups)
    whole, different = (np.append(0, np.cumsum(each)) for each in (own.counts, np.minimum(own.counts, kernel.ONE)))
    sums = frozen(whole), frozen(different)
    return kernel.Groups(
        frozen(own.bounds), frozen(own.given), frozen(own.value), frozen(own.counts), *sums, frozen(whose)
    )


def _often(counts: pl.DataFrame, users: int) -> Floats:
    """How many logins each user had."""
    found, logins = _logins(counts), np.zeros(users)
    logins[found["user"].to_numpy()] = found.select(pl.max_horizontal("all", "taught")).to_series().to_numpy()
    return logins


def _busy(logins: Floats) -> Floats:
    """How many times more logins than users on average each user had, at least 1."""
    times: Floats = logins * np.count_nonzero(logins) / max(1.0, logins.sum())
    return np.maximum(times, 1.0)


def _hourly(logins: Floats, periods: int) -> Floats:
    """How many logins an hour each user had in so many days, half a one more."""
    return np.where(logins > 0.0, (logins + 0.5) / (24.0 * max(1, periods)), kernel.UNKNOWN_HOURLY)


def _users(counts: pl.DataFrame) -> int:
    """A number above the codes of all users."""
    return highest(counts["user"].to_numpy()) + 1


def _trails(own: kernel.Owned, users: int) -> kernel.Trails:
    """Where users were last, and how they travelled."""
    cell = np.full(users, kernel.NOWHERE, dtype=np.int32)
    legs = np.zeros((users, kernel.LEG_ROWS, kernel.PACES), dtype=np.int32)
    trails = kernel.Trails(cell, np.zeros(users, dtype=np.int64), legs)
    kernel.follow_trails(own, trails)
    return kernel.Trails(frozen(cell), frozen(trails.hour), frozen(legs))


def owned(counts: pl.DataFrame, users: int) -> kernel.Owned:
    """Counts in order, ready to be looked up for users with codes below `users`."""
    feature, user = counts["feature"].to_numpy(), counts["user"].to_numpy().astype(np.int64)
    begins = np.searchsorted(feature, np.arange(kernel.FEATURES + 1))
    bounds = np.empty((kernel.FEATURES, users + 1), dtype=np.int64)
    for code in range(kernel.FEATURES):
        low, high = begins[code], begins[code + 1]
        bounds[code] = low + np.searchsorted(user[low:high], np.arange(users + 1))
    given, value, count_ = (counts[name].to_numpy() for name in ("given", "value", "count"))
    none = np.zeros((2, kernel.CHAINS, users), dtype=np.int64)
    lumped = np.zeros(len(counts), dtype=np.uint8)
    return kernel.Owned(bounds, frozen(given), frozen(value), frozen(count_), lumped, none[0], none[1])


def _frozen(own: kernel.Owned) -> kernel.Owned:
    """The same, for compiled passes that only read."""
    codes = frozen(own.given), frozen(own.value), frozen(own.counts), frozen(own.lumped)
    return kernel.Owned(frozen(own.bounds), *codes, frozen(own.more), frozen(own.expected))


def _as_one(counts: pl.DataFrame) -> pl.DataFrame:
    """Counts of all users as those of one."""
    sums = counts.group_by("feature", "given", "value").agg(pl.col("count").sum())
    whole = sums.with_columns(user=pl.lit(0, dtype=pl.UInt32)).sort(COUNT_KEYS)
    return whole.select(pl.col(name).cast(dtype) for name, dtype in COUNT_SCHEMA.items())


def _everyone(
    counts: pl.DataFrame, came: pl.DataFrame, moves: list[pl.DataFrame], cap: int, trails: kernel.Trails
) -> kernel.Everyone:
    """Counts over all users, of which each adds up to `cap` sixteenths to any; what adds up to no login goes.

    `came` are new things of some users, `moves` the periods that tell how users come to new places.
    """
    limited = pl.col("count").clip(upper_bound=cap).sum()
    keys = ("feature", "given", "value")
    cells_ = counts.filter(pl.col("feature") < kernel.CHAINS).group_by(keys).agg(limited)
    cells_ = cells_.filter(pl.col("count") >= kernel.ONE).sort(keys)
    feature, given, value, count_ = (cells_[name].to_numpy() for name in (*keys, "count"))
    begins = np.flatnonzero(np.append(True, (np.diff(feature) != 0) | (np.diff(given) != 0))[: len(feature)])
    rows = np.searchsorted(feature[begins], np.arange(kernel.CHAINS + 1))
    total, distinct = (_sums(each, begins) for each in (count_, np.minimum(count_, kernel.ONE)))
    new = [_share_of_new(distinct[low:high], total[low:high]) for low, high in pairwise(rows.tolist())]
    paces = pace(came)
    usual, movers = _usual_kinds(counts, cap), _sample(moves, ARRIVING, pl.col("feature").is_in(_MOVING))
    limited_legs = np.minimum(trails.legs, cap // kernel.ONE).sum(axis=0)
    legs = limited_legs + np.array(UNKNOWN_LEGS)
    return kernel.Everyone(
        rows=frozen(rows),
        given=frozen(given[begins]),
        first=frozen(np.append(begins, len(feature))),
        value=frozen(value),
        counts=frozen(count_),
        total=frozen(total),
        distinct=frozen(distinct),
        new=frozen(np.array(new)),
        pace=frozen(paces[0]),
        expected=frozen(paces[1]),
        hours=frozen(_hours(counts, cap)),
        alike=alike(),
        paces=frozen(legs / legs.sum(axis=1, keepdims=True)),
        near=frozen(_shares(limited_legs.sum(axis=1))),
        apart=frozen(
            _shares(np.bincount(kernel.apart(trails.cell[trails.cell >= 0], PAIRS), minlength=kernel.LEG_ROWS))
        ),
        detours=frozen(detours(came)),
        arrivals=frozen(_on_arrival(cells_.filter(pl.col("feature") == kernel.PROVIDER), _arrivals(movers))),
        usual=frozen(usual),
        coming=frozen(_coming(usual, _moves(movers))),
        loyal=frozen(_loyal(movers)),
    )


def _usual_kinds(counts: pl.DataFrame, cap: int) -> Ints:
    """Everyone's sixteenths of each kind of network."""
    limited = pl.col("count").clip(upper_bound=cap).sum()
    shown = counts.filter(pl.col("feature") == kernel.KIND).group_by("value").agg(limited)
    usual = np.zeros(len(KINDS), dtype=np.int64)
    usual[shown["value"].to_numpy()] = shown["count"].to_numpy()
    return usual


def _coming(usual: Ints, moved: pl.DataFrame) -> Floats:
    """The chances (3, kinds) of kinds of networks where settled users come to a new country, city or provider."""
    came = np.zeros((kernel.PROVIDER + 1, len(KINDS)))
    came[moved["feature"].to_numpy(), moved["kind"].to_numpy()] = moved["came"].to_numpy()
    share = (usual / kernel.ONE + kernel.FRESH / kernel.OTHER_KINDS) / (usual.sum() / kernel.ONE + kernel.FRESH)
    coming: Floats = (came + KINDS_COUNTED * share) / (came.sum(axis=1, keepdims=True) + KINDS_COUNTED)
    return coming


def _on_arrival(cells_: pl.DataFrame, arrived: pl.DataFrame) -> Floats:
    """How much likelier than by its count each provider is where it is new for a user."""
    row = pl.col("given")
    found = cells_.join(arrived, on=["given", "value"], how="left", maintain_order="left")
    came, share = pl.col("came").fill_null(0), pl.col("count") / pl.col("count").sum().over(row)
    often = (came + AS_COUNTED * share) / (came.sum().over(row) + AS_COUNTED) / share
    times: Floats = found.select(often).to_series().cast(pl.Float64).to_numpy()
    return times


def _shares(rows: Ints) -> Floats:
    """The chances of rows of very far legs to new places; 1 for those of others."""
    very_far = rows + np.array(UNKNOWN_ROWS)
    very_far[:2] = very_far[2:].sum()
    shares: Floats = very_far / very_far[2:].sum()
    return shares


def _sums(count_: Ints, begins: Ints) -> Ints:
    """The sums of rows that begin at these places."""
    sums: Ints = np.diff(np.append(0, np.cumsum(count_))[np.append(begins, len(count_))])
    return sums


def _share_of_new(distinct: Ints, total: Ints) -> float:
    """How much slower than all, different things grow in rows: the sum of log(different) by that of log(all)."""
    different, all_ = (np.log(np.maximum(each / kernel.ONE, 1.0)).sum() for each in (distinct, total))
    return float((0.5 + different) / (1.0 + all_))


def _hours(counts: pl.DataFrame, cap: int) -> Floats:
    """Everyone's chance of each hour of the week, smoothed, with one login more in each hour."""
    limited = pl.col("count").clip(upper_bound=cap).sum()
    found = counts.filter(pl.col("feature") == kernel.HOUR).group_by("value").agg(limited)
    logins = np.zeros(kernel.WEEK)
    logins[found["value"].to_numpy()] = found["count"].to_numpy() / kernel.ONE
    smooth: Floats = (alike() @ logins + 1.0) / (logins.sum() + kernel.WEEK)
    return smooth


@lru_cache(maxsize=1)
def alike() -> Floats:
    """How much of the weight of an hour of the week falls on each."""
    return frozen(kernel.alike())


def pace(sums: pl.DataFrame) -> tuple[Floats, Floats]:
    """New things of a user per login, by feature and bin of a row's logins so far; and their sums up to each bin.

    A row of a user is what came after one given. What is new in it is counted period by period, for some users.
    """
    new, logins = np.zeros((2, kernel.CHAINS, kernel.BINS))
    at = sums["feature"].to_numpy(), sums["bin"].to_numpy()
    new[at], logins[at] = sums["new"].to_numpy(), sums["logins"].to_numpy()
    width = 2.0 ** np.arange(kernel.BINS)
    found = (new + EARLY) / (logins + width)
    found[:, 0] = 0.0
    return found, np.cumsum(found * width, axis=1) - found * width


def detours(sums: pl.DataFrame) -> Floats:
    """The chances that somebody settled is in another country, city or network for once, or on another device."""
    settled = sums.filter(pl.col("bin") >= SETTLED)
    new, logins = np.zeros((2, kernel.CHAINS))
    whole = settled.group_by("feature").agg(pl.col("new", "logins").sum())
    at = whole["feature"].to_numpy()
    new[at], logins[at] = whole["new"].to_numpy(), whole["logins"].to_numpy()
    rates: Floats = (new + FEW_DETOURS[0]) / (logins + FEW_DETOURS[1])
    return rates[[kernel.COUNTRY, kernel.CITY, kernel.PROVIDER, kernel.DEVICE]]


def _new_things(periods: list[pl.DataFrame]) -> pl.DataFrame:
    """How many new things came with how many logins: columns `feature`, `bin`, `new`, `logins`."""
    rows = _sample(periods, SAMPLE, pl.col("feature") < kernel.CHAINS)
    brought = rows.group_by(*_ROW, "value").agg(pl.col("period").min()).group_by(*_ROW, "period").len("new")
    days = rows.group_by(*_ROW, "period").agg(pl.col("count").sum()).sort(*_ROW, "period")
    days = days.with_columns(before=pl.col("count").cum_sum().over(_ROW) - pl.col("count"))
    days = days.join(brought, on=[*_ROW, "period"], how="left").with_columns(begins=pl.col("before") == 0)
    logins = pl.col("count") / kernel.ONE - pl.col("begins")
    bins = (pl.col("before") // kernel.ONE + 1).log(2).floor().cast(pl.Int64).clip(1, kernel.BINS - 1)
    new = pl.col("new").cast(pl.Int64).fill_null(0) - pl.col("begins")
    found = days.select("feature", bins.alias("bin"), new.alias("new"), logins.alias("logins"))
    return (
        found.filter(pl.col("logins") > 0).group_by("feature", "bin").agg(pl.col("new").sum(), pl.col("logins").sum())
    )


def _since(rows: pl.DataFrame, feature: int) -> pl.DataFrame:
    """Rows of a feature with the period in which the user first showed the value (`since`), and any after the given."""
    first = pl.col("period").min()
    mine = rows.filter(pl.col("feature") == feature)
    return mine.with_columns(since=first.over("user", "given", "value"), begun=first.over("user", "given"))


def _settled(rows: pl.DataFrame, feature: int) -> pl.DataFrame:
    """The users and periods with logins enough before, by the counts of a feature."""
    days = rows.filter(pl.col("feature") == feature).group_by("user", "period").agg(pl.col("count").sum())
    before = pl.col("count").cum_sum().over("user") - pl.col("count")
    return days.sort("user", "period").filter(before >= kernel.ONE * (2**SETTLED - 1)).select("user", "period")


def _arrivals(rows: pl.DataFrame) -> pl.DataFrame:
    """How often providers came new to users who had logged in often before: columns `given`, `value`, `came`."""
    new = _since(rows, kernel.PROVIDER).filter(pl.col("period") == pl.col("since"))
    return new.join(_settled(rows, kernel.LOGINS), on=["user", "period"]).group_by("given", "value").agg(_CAME)


def _moves(rows: pl.DataFrame) -> pl.DataFrame:
    """By what kinds of networks settled users came to what was new to them: columns `feature`, `kind`, `came`.

    The feature is the country, or else the city, or else the provider.
    """
    feature = pl.when(pl.col("begun") == pl.col("since")).then(kernel.COUNTRY).otherwise(kernel.CITY)
    new = _since(rows, kernel.CITY).filter(pl.col("period") == pl.col("since"))
    cities = new.select("user", "period", city="value", feature=feature)
    kinds = rows.filter(pl.col("feature") == kernel.KIND).select("user", "period", "count", city="given", kind="value")
    lines = _since(rows, kernel.PROVIDER).filter(pl.col("period") == pl.col("since"), _TOLD)
    lines = lines.join(cities, on=["user", "period"], how="anti")
    told = pl.concat([
        kinds.join(cities, on=["user", "period", "city"]).select("user", "period", "feature", "kind", "count"),
        lines.select("user", "period", pl.lit(kernel.PROVIDER).alias("feature"), _KIND, "count"),
    ], how="vertical_relaxed")  # fmt: skip
    settled = told.join(_settled(rows, kernel.COUNTRY), on=["user", "period"])
    return settled.group_by("feature", "kind").agg(_CAME)


def _loyal(rows: pl.DataFrame) -> Floats:
    """How often users keep to their providers in new cities of countries they know, by kind of network."""
    is_new = (pl.col("period") == pl.col("since")) & (pl.col("begun") < pl.col("since"))
    cities = _since(rows, kernel.CITY).filter(pl.len().over("user", "period") == 1)
    away = cities.filter(is_new).select("user", "period")
    lines = _since(rows, kernel.PROVIDER).filter(pl.col("begun") < pl.col("period"), _TOLD)
    lines = lines.join(away, on=["user", "period"])
    kind, weight = lines.select(_KIND).to_series().to_numpy(), lines.select(_WEIGHT).to_series().to_numpy()
    whole = np.bincount(kind, weight, len(KINDS))
    kept = np.bincount(kind, weight * (lines["since"] < lines["period"]).to_numpy(), len(KINDS))
    usual = (kept.sum() + 0.5) / (whole.sum() + 1.0)
    shares: Floats = (kept + KINDS_COUNTED * usual) / (whole + KINDS_COUNTED)
    return shares


def _sample(periods: list[pl.DataFrame], users: int, chosen: pl.Expr) -> pl.DataFrame:
    """Chosen counts of at most so many users, with the number of the period."""
    step = max(map(_users, periods), default=0) // users + 1
    chosen &= pl.col("user") % step == 0
    none = pl.DataFrame(schema=COUNT_SCHEMA).with_columns(period=pl.lit(0, dtype=pl.Int64))
    return pl.concat(
        [
            none,
            *(part.filter(chosen).with_columns(period=pl.lit(at, dtype=pl.Int64)) for at, part in enumerate(periods)),
        ]
    )
