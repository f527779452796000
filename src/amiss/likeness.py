"""Whose behaviour looks like that of a class of users, against everybody else's: in bits, with reasons.

What users do becomes a **profile**: how many days showed each value of each feature. Profiles of users add up to those
of classes, so there may be any number of classes, from whatever says who belongs to them (:mod:`amiss.labels`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.entitlement import Periods
from amiss.escape import label as shown
from amiss.events import EVENT_SCHEMA, OPTIONAL_SCHEMA
from amiss.labels import Condition, spelled
from amiss.vocabulary import Coding

Floats = npt.NDArray[np.float64]

PROFILE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "user": pl.String(),
    "feature": pl.String(),
    "value": pl.String(),
    "count": pl.Float64(),
}
"""Profiles: on how many days a user showed a value of a feature."""

AREA, HOUR, WEEKDAY, MIX = "area", "hour", "weekday", "mix"
AREAS, PERIODS, SPAN, PACE = "areas", "periods", "span", "pace"

OTHER: Final = "(other)"

_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_SAYS: Final = {
    AREA: "{share} of what it looked at by day was {value}",
    HOUR: "{share} of its hours were {value}",
    WEEKDAY: "{share} of its days were {value}s",
    MIX: "on {share} of its days it looked at {value} areas",
    AREAS: "looked at {value} areas in all",
    PERIODS: "was there in the times of {value} cohorts",
    SPAN: "was there for {value} days from first to last",
    PACE: "had {value} events a day",
}
"""Features in words."""

MOST_AREAS: Final = 300
"""Areas that are told apart, those that most users look at: whoever is logged can invent more."""

LEAST_USERS: Final = 3
"""Users from which on an area stands for itself: everybody has areas of their own, which say nothing of a class."""

STRENGTH: Final = 5.0
"""How many days what all users do is worth beside what a class does."""

MOST_BITS: Final = 4.0
"""The most bits that one day may give for or against a class."""


class Days(NamedTuple):
    """What users did by day: `user`, `day` (days since 1970), `area` and `hour` with the events of each, and labels."""

    rows: pl.DataFrame
    labels: dict[str, str]


@dataclass(frozen=True)
class Rule:
    """Users of events whose column says so have a label, such as `name=Staff as staff`.

    Examples
    --------
    >>> rule = Rule.parse("name=Staff as staff")
    >>> rule.condition.column, rule.label
    ('name', 'staff')
    """

    condition: Condition
    label: str

    @classmethod
    def parse(cls, text: str) -> Rule:
        """The rule that a text says; without a label that is what the column says."""
        condition, _, label = text.rpartition(" as ")
        found = Condition.parse(condition or text)
        return cls(found, label.strip() if condition else found.values[0])


class Labeller:
    """What says of each event which label its user has by rules, as a context of coded frames.

    Parameters
    ----------
    rules
        The first that holds counts.
    table
        Rows of a table by a column of the log, for rules about columns that the log does not have itself.
    log, key
        The column of the log, and that of the table, which belong together.
    """

    context_schema: Mapping[str, pl.DataType] = {"label": pl.UInt32()}

    def __init__(self, rules: Sequence[Rule], table: pl.DataFrame | None = None, log: str = "", key: str = "") -> None:
        self._log = log
        self._keyed: list[tuple[list[str], str]] = []
        self._plain: list[Rule] = []
        for rule in rules:
            if table is not None and rule.condition.column in table.columns:
                keys = spelled(table[key]).filter(rule.condition.holds(table[rule.condition.column]))
                self._keyed.append((keys.drop_nulls().to_list(), rule.label))
            else:
                self._plain.append(rule)

    @property
    def raw_columns(self) -> tuple[str, ...]:
        """The columns of the log that rules look at."""
        plain = (rule.condition.column for rule in self._plain)
        return tuple(dict.fromkeys((*([self._log] if self._keyed else []), *plain)))

    def context(self, events: pl.DataFrame) -> pl.DataFrame:
        """The label of each event's user, or an empty text."""
        found = pl.repeat("", len(events), dtype=pl.String, eager=True)
        for rule in reversed(self._plain):
            found = found.set(rule.condition.holds(_raw(events, rule.condition.column)), rule.label)
        for keys, label in reversed(self._keyed):
            found = found.set(spelled(_raw(events, self._log)).is_in(keys).fill_null(value=False), label)
        return found.alias("label").to_frame()

    def context_of(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same of one event."""
        types = EVENT_SCHEMA | OPTIONAL_SCHEMA
        return self.context(pl.DataFrame({name: [value] for name, value in event.items()}, schema_overrides=types)).row(
            0, named=True
        )


def _raw(events: pl.DataFrame, name: str) -> pl.Series:
    """A column of the log, of nulls where there is none."""
    found = next((each for each in (f"raw.{name}", name) if each in events.columns), None)
    return events[found] if found else pl.repeat(None, len(events), dtype=pl.String, eager=True)


def days_of(frames: Iterable[pl.DataFrame], coding: Coding, timezone: str = "UTC") -> Days:
    """What users did by day, from coded frames; and their labels, where a :class:`Labeller` is among the contexts."""
    labels: dict[str, str] = {}
    parts = [pl.DataFrame(schema={**dict.fromkeys(("user", "action"), pl.UInt32), **_BY_DAY})]
    for frame in frames:
        local = pl.col("time").dt.convert_time_zone(timezone)
        day, hour = local.dt.date().to_physical().cast(pl.Int32), local.dt.hour().cast(pl.Int32)
        keys = frame.select("user", "action", day=day, hour=hour)
        parts.append(keys.group_by(keys.columns).agg(events=pl.len().cast(pl.Int64)))
        if "label" in frame.columns:
            some = frame.filter(pl.col("label") != 0).unique("user", keep="last", maintain_order=True)
            labels |= dict(zip(coding.users.decode(some["user"]), coding.values.decode(some["label"]), strict=True))
    rows = pl.concat(parts)
    codes = rows["action"].unique()
    areas = pl.Series([area_of(text) for text in coding.actions.decode(codes)], dtype=pl.String)
    area = rows["action"].replace_strict(codes, areas, return_dtype=pl.String)
    named = rows.select(user=coding.users.decode(rows["user"]), area=area, day="day", hour="hour", events="events")
    whole = named.group_by("user", "area", "day", "hour").agg(pl.col("events").sum())
    return Days(whole.sort("user", "day", "hour", "area"), labels)


_BY_DAY: Final = {"day": pl.Int32, "hour": pl.Int32, "events": pl.Int64}


def area_of(path: str) -> str:
    """The first step of a path.

    Examples
    --------
    >>> area_of("/java-i/loops?page=2"), area_of("/")
    ('java-i', '/')
    """
    return path.lstrip("/").partition("/")[0].partition("?")[0] or "/"


def profiles(days: pl.DataFrame, periods: Periods | None = None) -> pl.DataFrame:
    """The profiles of users (`PROFILE_SCHEMA`) from what they did by day.

    Features are the areas looked at, hours (in blocks of three), weekdays, how many areas in a day; and once for each
    user how many areas in all, how many events a day, and in the times of how many cohorts the user was there, or where
    there is no table, for how many days. Numbers are told apart by half powers of 2.
    """
    by_users = days.group_by("area").agg(pl.col("user").n_unique()).sort(["user", "area"], descending=[True, False])
    known = by_users.filter(pl.col("user") >= LEAST_USERS)["area"].head(MOST_AREAS).to_list()
    area = pl.when(pl.col("area").is_in(known)).then("area").otherwise(pl.lit(OTHER))
    block = pl.col("hour") // 3 * 3
    hours = pl.format("{}:00 to {}:00", block, block + 3)
    weekday = (pl.col("day") + 3) % 7
    each = [
        _by_day(days, AREA, area),
        _by_day(days, HOUR, hours),
        _by_day(days, WEEKDAY, weekday.replace_strict(dict(enumerate(_WEEKDAYS)), return_dtype=pl.String)),
    ]
    areas = days.group_by("user", "day").agg(pl.col("area").n_unique())
    each.append(_by_day(areas, MIX, pl.col("area").map_elements(_octave, return_dtype=pl.String)))
    first, last = pl.col("day").min().alias("first"), pl.col("day").max().alias("last")
    whole = days.group_by("user", maintain_order=True).agg(
        first,
        last,
        pl.col("area").n_unique().alias("areas"),
        (pl.col("events").sum() / pl.col("day").n_unique()).alias("pace"),
    )
    once = {AREAS: whole["areas"], PACE: whole["pace"], SPAN: whole["last"] - whole["first"] + 1}
    if periods is not None and len(periods.start):
        once[PERIODS] = _met(whole["first"].to_numpy(), whole["last"].to_numpy(), periods)
        del once[SPAN]
    for name, numbers in once.items():
        values = pl.Series([_octave(number) for number in numbers.to_list()], dtype=pl.String)
        each.append(whole.select("user", feature=pl.lit(name), value=values, count=pl.lit(1.0)))
    return pl.concat(each).sort("user", "feature", "value")


def _by_day(days: pl.DataFrame, feature: str, value: pl.Expr) -> pl.DataFrame:
    """On how many days users showed each value of a feature."""
    rows = days.select("user", "day", value=value).unique().group_by("user", "value").len("count")
    return rows.select("user", feature=pl.lit(feature), value="value", count=pl.col("count").cast(pl.Float64))


def _met(first: npt.NDArray[Any], last: npt.NDArray[Any], periods: Periods) -> pl.Series:
    """In how many periods, those exempt left out, users were there."""
    kept = ~periods.exempt & (periods.end > periods.start)
    begun = np.searchsorted(np.sort(periods.start[kept]), last, side="right")
    over = np.searchsorted(np.sort(periods.end[kept]), first, side="left")
    return pl.Series(begun - over)


def _octave(number: float) -> str:
    """The half powers of 2 between which a number lies.

    Examples
    --------
    >>> _octave(0), _octave(1), _octave(5.5), _octave(6), _octave(23)
    ('0', '1', '4 to 5', '6 to 7', '23 to 31')
    """
    whole = int(number)
    if whole < 2:
        return str(whole)
    low = 1 << (whole.bit_length() - 1)
    middle = math.ceil(low * math.sqrt(2.0))
    first, last = (low, middle - 1) if whole < middle else (middle, 2 * low - 1)
    return str(first) if first == last else f"{first} to {last}"


@dataclass(frozen=True)
class Likeness:
    """How much users behave like classes: naive Bayes on profiles, each user judged by others.

    With `C(c, v)` the days on which users of a class showed a value, a user counting as at most `cap` days of a
    feature, and `p0` the same of all users, everything without the user who is judged::

        p(v | c) = (C(c, v) + 5 p0(v)) / (C(c) + 5)

    A user's bits for a class are the sum over features of what their days, at most `cap`, say on average:
    ``log2(p(v | c) / p(v | others))``, within 4 bits each. Features are taken as independent, which they are not: bits
    rank users, and are no chances of error.

    Parameters
    ----------
    cap
        The most days of a feature that one user counts for, when classes are learned and when one is judged.
    least
        The days from which on anything is said of a user.
    sure
        The probability from which on a class is said.

    Source
    ------
    Naive Bayes on bags of words: McCallum and Nigam 1998, "A comparison of event models for naive Bayes text
    classification". Smoothing by what all do: Zhai and Lafferty 2004, "A study of smoothing methods for language
    models" (Dirichlet priors).

    Examples
    --------
    >>> rows = [(f"t{n}", "area", "solutions", 9.0) for n in range(4)]
    >>> rows += [(f"s{n}", "area", "lessons", 9.0) for n in range(9)]
    >>> table = pl.DataFrame(rows, schema=PROFILE_SCHEMA, orient="row")
    >>> found = Likeness().rank(table, {"t0": "staff", "t1": "staff", "t2": "staff"}, "staff")
    >>> found.select("user", pl.col("bits").round(1), "verdict").row(0)
    ('t3', 53.2, 'staff')
    """

    cap: float = 10.0
    least: int = 5
    sure: float = 0.9

    def rank(
        self, profile: pl.DataFrame, labels: Mapping[str, str], label: str, *, everyone: bool = False, top: int = 3
    ) -> pl.DataFrame:
        """Users without the label, or `everyone`, by how much they behave like those with it; most first.

        Parameters
        ----------
        profile : (n, 4)
            As :func:`profiles`.
        labels
            Who has which label. Users without one are a class too.
        label
            The class that is looked for.
        top
            So many reasons are given for each user.

        Returns
        -------
        ranking : (u, 7)
            `user`, `label` (empty where there is none), `bits` for the class against all others, its `probability`,
            `verdict` (the class that is as good as sure, or empty), `days`, and `reasons`, each a text.
        """
        model = _Model.of(profile, labels, self.cap)
        scores = model.scores()
        at = model.classes.index(label)
        rest = np.delete(scores + np.log2(model.prior), at, axis=1)
        bits = scores[:, at] - np.logaddexp2.reduce(rest, axis=1) + np.log2(1.0 - model.prior[at])
        posterior = scores + np.log2(model.prior)
        posterior = np.exp2(posterior - np.logaddexp2.reduce(posterior, axis=1)[:, None])
        names = np.array(model.classes)
        days = model.days()
        verdict = np.where(
            (posterior.max(axis=1) >= self.sure) & (days >= self.least), names[posterior.argmax(axis=1)], ""
        )
        table = pl.DataFrame({
            "user": model.users,
            "label": names[model.own],
            "bits": bits,
            "probability": posterior[:, at],
            "verdict": verdict,
            "days": days,
        })  # fmt: skip
        kept = table if everyone else table.filter(pl.col("label") != label)
        ordered = kept.sort("bits", "user", descending=[True, False])
        return ordered.join(model.reasons(at, top), on="user", how="left", maintain_order="left")


class _Model(NamedTuple):
    """Profiles as rows, and what classes do.

    `user`, `feature`, `value` (n,) are codes, `worth` (n,) the days that a row counts for; `sums` (c, v) what users
    of each class add up to, `total` (c, f) that of a feature.
    """

    users: list[str]
    classes: list[str]
    own: npt.NDArray[np.int64]
    rows: pl.DataFrame
    user: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int64]
    value: npt.NDArray[np.int64]
    worth: Floats
    total_worth: Floats
    sums: Floats
    total: Floats

    @classmethod
    def of(cls, profile: pl.DataFrame, labels: Mapping[str, str], cap: float) -> _Model:
        """The model of profiles with labels."""
        users = profile["user"].unique().sort().to_list()
        classes = ["", *sorted({labels[user] for user in users if user in labels})]
        own = np.array([classes.index(labels.get(user, "")) for user in users], dtype=np.int64)
        whole = profile.with_columns(all=pl.col("count").sum().over("user", "feature")).with_columns(
            worth=pl.col("count") * pl.min_horizontal(pl.lit(cap), pl.col("all")) / pl.col("all")
        )
        user = pl.Series(users).search_sorted(whole["user"]).to_numpy().astype(np.int64)
        features = whole["feature"].unique().sort()
        feature = features.search_sorted(whole["feature"]).to_numpy().astype(np.int64)
        value = whole.select(pl.struct("feature", "value").rank("dense")).to_series().to_numpy().astype(np.int64) - 1
        worth = whole["worth"].to_numpy()
        count = np.zeros((len(classes), int(value.max(initial=-1)) + 1))
        np.add.at(count, (own[user], value), worth)
        total, total_worth = np.zeros((len(classes), len(features))), np.zeros((len(users), len(features)))
        np.add.at(total, (own[user], feature), worth)
        np.add.at(total_worth, (user, feature), worth)
        return cls(users, classes, own, whole, user, feature, value, worth, total_worth, count, total)

    @property
    def prior(self) -> Floats:
        """The share of users that each class has."""
        sizes = np.bincount(self.own, minlength=len(self.classes)).astype(np.float64)
        shares: Floats = (sizes + 0.5) / (len(self.users) + 0.5 * len(self.classes))
        return shares

    def chances(self) -> Floats:
        """The chance of each row's value in each class, without the row's user: (n, c)."""
        worth, whole = self.worth, self.total_worth[self.user, self.feature]
        kinds = np.bincount(self._feature_of_value(), minlength=self.total.shape[1])[self.feature]
        everyone = self.sums.sum(axis=0)[self.value] - worth
        of = self.total.sum(axis=0)[self.feature] - whole
        p0 = (everyone + 0.5) / (of + 0.5 * kinds)
        own = self.own[self.user][:, None] == np.arange(len(self.classes))
        count = self.sums.T[self.value] - np.where(own, worth[:, None], 0.0)
        total = self.total.T[self.feature] - np.where(own, whole[:, None], 0.0)
        found: Floats = np.maximum(count, 0.0) + STRENGTH * p0[:, None]
        found /= np.maximum(total, 0.0) + STRENGTH
        return found

    def _feature_of_value(self) -> npt.NDArray[np.int64]:
        """The feature of each value."""
        found = np.zeros(self.sums.shape[1], np.int64)
        found[self.value] = self.feature
        return found

    def against(self) -> Floats:
        """The bits of each row for each class, against all users: (n, c)."""
        chances = self.chances()
        mixed = (chances * self.prior).sum(axis=1, keepdims=True)
        bits: Floats = self.worth[:, None] * np.clip(np.log2(chances / mixed), -MOST_BITS, MOST_BITS)
        return bits

    def scores(self) -> Floats:
        """The bits of each user for each class: (u, c)."""
        found = np.zeros((len(self.users), len(self.classes)))
        np.add.at(found, self.user, self.against())
        return found

    def days(self) -> npt.NDArray[np.int64]:
        """On how many days each user was there."""
        found = np.zeros(len(self.users), np.int64)
        weekdays = (self.rows["feature"] == WEEKDAY).to_numpy()
        which = weekdays if weekdays.any() else np.ones(len(self.rows), np.bool_)
        np.add.at(found, self.user[which], self.rows["count"].to_numpy()[which].astype(np.int64))
        return found

    def reasons(self, at: int, top: int) -> pl.DataFrame:
        """By user what says most for a class: `user`, `reasons`."""
        bits, chances = self.against()[:, at], self.chances()
        others = np.delete(self.prior, at)
        rest = (np.delete(chances, at, axis=1) * others).sum(axis=1) / others.sum()
        table = self.rows.with_columns(bits=bits, here=chances[:, at], rest=rest)
        table = table.filter(pl.col("bits") > 0.05).sort("bits", descending=True)
        first = table.group_by("user", maintain_order=True).head(top)
        texts = [_sentence(row, self.classes[at]) for row in first.iter_rows(named=True)]
        said = first.select("user", reasons=pl.Series(texts, dtype=pl.String))
        return said.group_by("user", maintain_order=True).agg("reasons")


def _sentence(row: Mapping[str, Any], label: str) -> str:
    """What is said of a value that a user showed."""
    said = _SAYS.get(row["feature"], "{share} of its days showed {value}")
    words = said.format(value=shown(row["value"], 60), share=_percent(row["count"] / row["all"]))
    return f"{words}; {shown(label)} {_percent(row['here'])}, others {_percent(row['rest'])} ({row['bits']:.1f} bits)"


def _percent(share: float) -> str:
    """A share in words."""
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"
