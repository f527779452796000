r"""Which of several labelled classes a user is of: posterior chances, from counts of what users did.

Labelled users of a class add up to chances of what comes after what. How far these give way to simpler ones is chosen
for each class by what it costs to tell a labelled user by the others of the class: from a chain (what follows what) to
naive Bayes (each action by itself) to what everybody does. With ``n`` the counts of a class, ``N`` those after the same
given, ``m`` those of the value alone, ``M`` all of them, ``p1`` and ``p0`` the chances of everybody with and without
the given, and ``V`` values::

    q0(value)         = (m + a * e(value)) / (M + a)              e: p0, or 1/V where an even share is wanted
    base(value|given) = g * q0 + h * p1 + (1 - g - h) / V
    q(value|given)    = (n + b * base) / (N + b)                  b = infinity: naive Bayes
    posterior(class)  ~ prior(class) * 2^(t * bits(class)),       bits = sum of counts * log2 q

A user who fits no class is of none: that costs what a class of the user alone would, whose chances are unknown but
lie about those of everybody (a Dirichlet prior of strength :data:`STRENGTH`). The exponent ``t`` is what makes chances
fit: events that depend on each other count for less than so many by themselves. The priors of classes, and of none, are
the shares of users that explain best what all users did.

Counts are enough, so neither the order of users nor how events arrive makes a difference, and the posterior may be
looked at after each event.

Source
------
Backing off: Jelinek and Mercer 1980, "Interpolated estimation of Markov source parameters from sparse data", with
strengths as in MacKay and Peto 1995, "A hierarchical Dirichlet language model". Priors: Saerens, Latinne and
Decaestecker 2002, "Adjusting the outputs of a classifier to new a priori probabilities". Scaling by an exponent: Guo et
al. 2017, "On calibration of modern neural networks" (section 4.2, temperature).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.blocks import frozen
from amiss.errors import UsageError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

NONE: Final = ""
"""The class of those who fit none."""

MOST_EVENTS: Final = 50.0
"""As many events of a user count at the most; of more, all count for less."""

FEW: Final = 8
"""Labelled users below which a class chooses together with the others that have few."""

STRENGTH: Final = 2.0
"""How many events the chances of everybody are worth for a user who fits no class."""

PRIOR_USERS: Final = 0.5
"""How many users of each class are taken to be there before any is seen."""

ROUNDS: Final = 50
"""How often priors are made to fit."""

SMALLEST: Final = 1e-300
"""The least chance that is told from none."""

_EXPONENTS: Final[tuple[float, ...]] = tuple(2.0 ** (step / 4) for step in range(-16, 1))
_CELL: Final = ("feature", "given", "value")


class Backing(NamedTuple):
    """How the chances of a class give way: `a`, `b`, `g` and `h` of the module's formula."""

    a: float
    b: float
    g: float
    h: float

    @property
    def is_chain(self) -> bool:
        """Whether what came before matters beyond what it does for everybody."""
        return not math.isinf(self.b)


_SHARES: Final = ((0.0, 1.0), (0.5, 0.5), (1.0, 0.0), (0.5, 0.4), (0.9, 0.0), (0.7, 0.25), (0.0, 0.9))
BACKINGS: Final = tuple(
    Backing(a, b, g, h)
    for a, b, (g, h) in product((0.25, 1.0, 4.0, 16.0), (1.0, 2.0, 4.0, 8.0, 16.0, math.inf), _SHARES)
    if g > 0.0 or not math.isinf(b)
)
"""What is chosen from; in a tie the first."""


class Rows(NamedTuple):
    """Counts of users as numbers: `user` (n,) is the place in `users` (u,), the others places in a :class:`Space`.

    `worth` (n,) are counts, of which those of a user's feature add up to :data:`MOST_EVENTS` at the most. A cell, a
    row of cells with one given, or a value that is not known is -1. What is so for everybody: the chance (n,) of the
    value where all are as likely (`even`), `alone`, and `after` its given.
    """

    users: npt.NDArray[np.uint32]
    user: Ints
    feature: Ints
    row: Ints
    value: Ints
    cell: Ints
    worth: Floats
    even: Floats
    alone: Floats
    after: Floats

    def of(self, which: npt.NDArray[np.bool_]) -> Rows:
        """Some of the rows."""
        user, feature, row, value, cell = (
            column[which] for column in (self.user, self.feature, self.row, self.value, self.cell)
        )
        floats = (column[which] for column in (self.worth, self.even, self.alone, self.after))
        return Rows(self.users, user, feature, row, value, cell, *floats)

    def by_user(self, bits: Floats) -> Floats:
        """Sums over the rows of each user: (u,)."""
        sums: Floats = np.bincount(self.user, weights=bits, minlength=len(self.users)).astype(np.float64)
        return sums

    def whole(self, place: Ints) -> Floats:
        """Of each row, the worth of all rows of its user that have the same place: (n,)."""
        keys = self.user * (int(place.max(initial=0)) + 2) + place
        _, at = np.unique(keys, return_inverse=True)
        sums: Floats = np.bincount(at, weights=self.worth).astype(np.float64)
        return sums[at]


class Space:
    """The cells that are known: what was done after what, and what everybody's chances of it are."""

    def __init__(self, counts: pl.DataFrame) -> None:
        self.cells = _numbered(counts, _CELL, "cell")
        self.rows = _numbered(counts, _CELL[:2], "row")
        self.values = _numbered(counts, (_CELL[0], _CELL[2]), "kind")
        self.features = int(counts["feature"].cast(pl.Int64).max() or 0) + 1  # type: ignore[arg-type]  # a number
        different = np.bincount(self.values["feature"].to_numpy(), minlength=self.features)
        self._kinds = np.maximum(different, 1).astype(np.float64)
        pairs = self.cells.join(self.rows, on=_CELL[:2], how="left", maintain_order="left")["row"].to_numpy()
        self._different = np.append(np.bincount(pairs, minlength=len(self.rows)).astype(np.float64), 1.0)
        sizes = (len(self.cells), len(self.rows), len(self.values), self.features)
        self._sums = Sums(*(np.zeros(size + 1) for size in sizes))
        self._sums = self.sums(self.coded(counts))

    def coded(self, counts: pl.DataFrame) -> Rows:
        """Counts (`amiss.baseline.COUNT_SCHEMA`) as rows, ordered by user."""
        table = counts.filter(pl.col("value") >= 0).group_by("user", *_CELL).agg(pl.sum("count")).sort("user", *_CELL)
        table = table.join(self.cells, on=_CELL, how="left", maintain_order="left")
        table = table.join(self.rows, on=_CELL[:2], how="left", maintain_order="left")
        table = table.join(self.values, on=(_CELL[0], _CELL[2]), how="left", maintain_order="left")
        table = table.filter(pl.col("feature") < self.features)
        every = pl.sum("count").over("user", "feature")
        table = table.with_columns(worth=pl.col("count") * pl.min_horizontal(1.0, MOST_EVENTS / every))
        users = table["user"].unique().sort()
        places = [table[name].fill_null(-1).cast(pl.Int64).to_numpy() for name in ("feature", "row", "kind", "cell")]
        user = users.search_sorted(table["user"]).to_numpy().astype(np.int64)
        feature, row, value, cell = places
        sums, kinds, given = self._sums, self._kinds[feature], self._different[row]
        alone = (sums.value[value] + 0.5) / (sums.feature[feature] + kinds / 2)
        after = (sums.cell[cell] + given * alone) / (sums.row[row] + given)
        worth = table["worth"].to_numpy()
        return Rows(users.to_numpy(), user, feature, row, value, cell, worth, 1.0 / kinds, alone, after)

    def sums(self, rows: Rows) -> Sums:
        """What rows add up to."""
        return Sums(
            _added(rows.cell, rows.worth, len(self.cells)),
            _added(rows.row, rows.worth, len(self.rows)),
            _added(rows.value, rows.worth, len(self.values)),
            _added(rows.feature, rows.worth, self.features),
        )


class Sums(NamedTuple):
    """Counts of cells, of rows of cells, of values and of features, each with a 0 behind for what is not known."""

    cell: Floats
    row: Floats
    value: Floats
    feature: Floats


class Facts(NamedTuple):
    """What the chances of rows in a class rest on: the class's counts (n,) of the cell, its row, value and feature."""

    rows: Rows
    cell: Floats
    row: Floats
    value: Floats
    feature: Floats

    @classmethod
    def of(cls, sums: Sums, rows: Rows, *, leave_out: bool) -> Facts:
        """The facts of rows of one feature; with `leave_out` without those of each row's own user."""
        places = (rows.cell, rows.row, rows.value, rows.feature)
        found = [table[place] for table, place in zip(sums, places, strict=True)]
        if leave_out:
            found = list(map(_less, found, map(rows.whole, places)))
        return cls(rows, *found)

    def chance(self, backing: Backing) -> Floats:
        """The chance of each row: (n,)."""
        a, b, g, h = backing
        rows, rest = self.rows, 1.0 - g - h
        alone = (self.value + a * (rows.even if rest > 0.0 else rows.alone)) / (self.feature + a)
        base: Floats = g * alone + h * rows.after + rest * rows.even
        return base if math.isinf(b) else (self.cell + b * base) / (self.row + b)


@dataclass(frozen=True, eq=False)
class Chances:
    """What users of a class do: their sums, and for each feature how these give way."""

    sums: Sums
    backings: tuple[Backing, ...]

    def bits(self, rows: Rows, *, leave_out: bool = False) -> Floats:
        """The bits (log2 of the chance) of each row, counted as often as it is worth: (n,).

        With `leave_out` the rows are all of users of this class, and each user's are taken out of it first.
        """
        found = np.zeros(len(rows.worth))
        for feature, backing in enumerate(self.backings):
            which = rows.feature == feature
            some = rows.of(which)
            found[which] = some.worth * np.log2(Facts.of(self.sums, some, leave_out=leave_out).chance(backing))
        return found


@dataclass(frozen=True, eq=False)
class Classifier:
    """What labelled users of several classes do, ready to judge others.

    Attributes
    ----------
    classes
        Labels, by name.
    labelled : (c,)
        How many labelled users there are of each.
    prior : (c + 1,)
        The share of users who are of each class, and of none.
    exponent
        What bits count for, above 0 and at most 1.

    Examples
    --------
    Two users view and then buy, two go on viewing, and so does a fifth.

    >>> from amiss.baseline import COUNT_SCHEMA
    >>> rows = [(0, user, 0, int(user < 2), 5) for user in range(5)]
    >>> counts = pl.DataFrame(rows, schema=COUNT_SCHEMA, orient="row")
    >>> classifier = Classifier.fit(counts, {0: "buyer", 1: "buyer", 2: "bot", 3: "bot"})
    >>> posterior = classifier.judge(counts.filter(user=4))
    >>> posterior.classes, posterior.chances.round(2)
    (('bot', 'buyer', ''), array([[0.96, 0.  , 0.04]]))
    """

    classes: tuple[str, ...]
    labelled: tuple[int, ...]
    prior: Floats
    exponent: float
    chances: tuple[Chances, ...]
    space: Space

    @classmethod
    def fit(cls, counts: pl.DataFrame, labels: Mapping[int, str], *, most_users: int | None = None) -> Classifier:
        """The classifier of labelled users among all whose counts these are.

        Parameters
        ----------
        counts
            `amiss.baseline.COUNT_SCHEMA`, of all users.
        labels
            The classes of some of them by code.
        most_users
            So many users without a label are looked at, evenly spread; all unless given.

        Raises
        ------
        UsageError
            If no two classes have users with counts.
        """
        counts, weight = _fewer(counts, labels, most_users)
        space = Space(counts)
        rows = space.coded(counts)
        own = np.array([labels.get(user, NONE) for user in rows.users.tolist()], dtype=object)
        names = tuple(sorted({name for name in own if name != NONE}))
        if len(names) < 2:
            said = f'only "{names[0]}"' if names else "none"
            raise UsageError(f"classes are told apart from two labels on. Labels of users here: {said}")
        which = np.array([names.index(name) if name != NONE else -1 for name in own], dtype=np.int64)
        chances = _chosen(space, rows, which, len(names))
        labelled = tuple(np.bincount(which[which >= 0], minlength=len(names)).tolist())
        flat = np.append((np.array(labelled) + PRIOR_USERS) / (sum(labelled) + PRIOR_USERS * len(names)), 0.0)
        begun = cls(names, labelled, flat, 1.0, chances, space)
        bits = begun.bits(rows, which)
        exponent = _exponent(bits[:, :-1], flat[:-1], which, labelled)
        prior = _prior(exponent * bits, which, flat, weight)
        return cls(names, labelled, prior, exponent, chances, space)

    def judge(self, counts: pl.DataFrame, labels: Mapping[int, str] | None = None) -> Posterior:
        """The posterior of the users of some counts.

        Parameters
        ----------
        counts
            `amiss.baseline.COUNT_SCHEMA`.
        labels
            Users who taught a class with these very counts: each is judged by the others.
        """
        rows = self.space.coded(counts)
        bits = self.bits(rows, self._own(rows, labels or {}))
        return Posterior(rows.users, (*self.classes, NONE), _posterior(self.exponent * bits, self.prior), bits)

    def bits(self, rows: Rows, own: Ints) -> Floats:
        """The bits of all that each user did, by class and none: (u, c + 1); users of a class are left out of it."""
        by_class = [rows.by_user(each) for each in self._each(rows, own)]
        return np.column_stack([*by_class, _alone(rows)])

    def evidence(
        self,
        counts: pl.DataFrame,
        best: Sequence[str],
        second: Sequence[str],
        labels: Mapping[int, str] | None = None,
    ) -> pl.DataFrame:
        """What of each user's counts speaks for one class against another, in bits: (n, 6).

        Parameters
        ----------
        best, second
            The classes of the users in the order of :meth:`judge`; :data:`NONE` stands for what everybody does.
        labels
            As for :meth:`judge`.

        Returns
        -------
        evidence
            `user`, `feature`, `given`, `value`, `count`, `bits`.
        """
        rows = self.space.coded(counts)
        places = {name: at for at, name in enumerate((*self.classes, NONE))}
        everybody = rows.worth * np.log2(rows.after)
        table = np.column_stack([*self._each(rows, self._own(rows, labels or {})), everybody])
        one, other = (np.array([places[name] for name in of], dtype=np.int64)[rows.user] for of in (best, second))
        each = np.arange(len(rows.worth))
        bits = self.exponent * (table[each, one] - table[each, other])
        told = counts.filter(pl.col("value") >= 0).group_by("user", *_CELL).agg(pl.sum("count")).sort("user", *_CELL)
        return told.filter(pl.col("feature") < self.space.features).with_columns(bits=pl.Series(bits))

    def without(self, counts: pl.DataFrame, label: str) -> Classifier:
        """The same, had a labelled user with these counts taught nothing of the class."""
        taken = self.space.sums(self.space.coded(counts))
        chances = [
            replace(each, sums=Sums(*map(_less, each.sums, taken))) if name == label else each
            for name, each in zip(self.classes, self.chances, strict=True)
        ]
        return replace(self, chances=tuple(chances))

    def along(self, steps: pl.DataFrame, events: int) -> Floats:
        """The chances of the user of some events behind each of them: (events, c + 1), the last of which is none.

        Parameters
        ----------
        steps
            `event`, from 0 and in order, and `feature`, `given`, `value` of what it adds to counts.
        events
            How many there are.
        """
        steps = steps.filter(pl.col("value") >= 0, pl.col("feature") < self.space.features)
        cells = steps.select(_CELL).unique().sort(_CELL)
        rows = self.space.coded(cells.with_columns(user=pl.lit(0, pl.UInt32), count=pl.lit(1, pl.Int64)))
        numbered = cells.with_row_index("cell")
        cell = steps.join(numbered, on=_CELL, how="left", maintain_order="left")["cell"].to_numpy().astype(np.int64)
        told = np.column_stack([each.bits(rows._replace(worth=np.ones(len(cells)))) for each in self.chances])
        event = steps["event"].to_numpy()
        bits = np.zeros((events, len(self.classes) + 1))
        for feature in range(self.space.features):
            of = rows.feature[cell] == feature
            every = np.arange(1.0, int(of.sum()) + 1)
            sums = np.cumsum(told[cell[of]], axis=0) * np.minimum(1.0, MOST_EVENTS / every)[:, None]
            bits[:, :-1] += _held(sums, event[of], events)
        bits[:, -1:] = _held(_alone_along(rows, cell)[:, None], event, events)
        return _posterior(self.exponent * bits, self.prior)

    def _own(self, rows: Rows, labels: Mapping[int, str]) -> Ints:
        """The place of each user's class, -1 where there is none: (u,)."""
        known = {name: at for at, name in enumerate(self.classes)}
        return np.array([known.get(labels.get(user, NONE), -1) for user in rows.users.tolist()], dtype=np.int64)

    def _each(self, rows: Rows, own: Ints) -> Iterator[Floats]:
        """The bits of each row by each class; users of a class are left out of it."""
        for at, chances in enumerate(self.chances):
            mine = (own == at)[rows.user]
            bits = np.empty(len(mine))
            bits[~mine] = chances.bits(rows.of(~mine))
            bits[mine] = chances.bits(rows.of(mine), leave_out=True)
            yield bits

    def words(self) -> list[str]:
        """By class, what it is told by."""
        return ["what follows what" if each.backings[0].is_chain else "what is done" for each in self.chances]


class Posterior(NamedTuple):
    """The chances (u, c + 1) that each of `users` (u,) is of each of `classes`, the last of which is none; and bits."""

    users: npt.NDArray[np.uint32]
    classes: tuple[str, ...]
    chances: Floats
    bits: Floats

    def order(self) -> Ints:
        """Classes with the likeliest first, in a tie as they stand: (u, c + 1)."""
        order: Ints = np.argsort(-self.chances, axis=1, kind="stable")
        return order


def _numbered(counts: pl.DataFrame, names: Sequence[str], number: str) -> pl.DataFrame:
    """The different values of some columns, in order, each with a number."""
    found = counts.filter(pl.col("value") >= 0).select(names).unique().sort(names)
    return found.with_row_index(number).with_columns(pl.col(number).cast(pl.Int64))


def _less(all_: Floats, some: Floats) -> Floats:
    """What is left of sums."""
    return np.maximum(all_ - some, 0.0)


def _added(place: Ints, worth: Floats, size: int) -> Floats:
    """Sums by place, and a 0 for what has none."""
    known = place >= 0
    return np.append(np.bincount(place[known], weights=worth[known], minlength=size), 0.0)


def _chosen(space: Space, rows: Rows, which: Ints, classes: int) -> tuple[Chances, ...]:
    """The chances of each class, given way to as tells its users best by the others."""
    mine = [rows.of((which == at)[rows.user]) for at in range(classes)]
    sums = [space.sums(each) for each in mine]
    cost = np.array([_costs(space, *each) for each in zip(sums, mine, strict=True)])
    few = np.bincount(which[which >= 0], minlength=classes) < FEW
    shared = cost[few].sum(axis=0)
    best = [np.argmin(shared if is_few else each, axis=1) for is_few, each in zip(few, cost, strict=True)]
    found = [tuple(BACKINGS[int(at)] for at in each) for each in best]
    return tuple(map(Chances, sums, found))


def _costs(space: Space, sums: Sums, rows: Rows) -> Floats:
    """What an event of a class's users costs on average by each backing, judged by the others: (f, backings)."""
    found = np.zeros((space.features, len(BACKINGS)))
    for feature in range(space.features):
        some = rows.of(rows.feature == feature)
        facts = Facts.of(sums, some, leave_out=True)
        costs = [-float(some.worth @ np.log2(facts.chance(backing))) for backing in BACKINGS]
        found[feature] = np.array(costs) / max(float(some.worth.sum()), 1.0)
    return found


def _alone(rows: Rows) -> Floats:
    """The bits of all that each user did as a class of their own: (u,)."""
    mean = STRENGTH * rows.after
    bits = rows.by_user(_log_gamma(mean + rows.worth) - _log_gamma(mean))
    features = int(rows.feature.max(initial=0)) + 1
    keys = (rows.user * (int(rows.row.max(initial=0)) + 2) + rows.row) * features + rows.feature
    _, first, at = np.unique(keys, return_index=True, return_inverse=True)
    whole = math.lgamma(STRENGTH) - _log_gamma(STRENGTH + np.bincount(at, weights=rows.worth).astype(np.float64))
    bits += np.bincount(rows.user[first], weights=whole, minlength=len(rows.users))
    found: Floats = bits / math.log(2)
    return found


def _alone_along(rows: Rows, cell: Ints) -> Floats:
    """What :func:`_alone` gives behind each step of a user (n,), each of one of the cells of some rows (n,)."""
    from amiss import posterior_kernel as kernel

    features = int(rows.feature.max(initial=0)) + 1
    row = np.unique(rows.row * features + rows.feature, return_inverse=True)[1].astype(np.int64)
    bits = np.zeros(len(cell))
    mean = STRENGTH * rows.after
    if len(cell):
        kernel.alone_along(frozen(cell), frozen(rows.feature), frozen(row), frozen(mean), MOST_EVENTS, STRENGTH, bits)
    return bits


def _held(sums: Floats, event: Ints, events: int) -> Floats:
    """Sums (n, k) behind steps of events (n,), behind each event: (events, k); 0 before the first."""
    last = np.searchsorted(event, np.arange(events), side="right")
    held: Floats = np.concatenate([np.zeros((1, sums.shape[1])), sums])[last]
    return held


def _log_gamma(numbers: Floats) -> Floats:
    """The logarithm of the gamma function of each: (n,)."""
    return np.array([math.lgamma(number) for number in numbers.tolist()], dtype=np.float64)


def _posterior(bits: Floats, prior: Floats) -> Floats:
    """Chances by class from bits and priors: (u, c)."""
    with np.errstate(divide="ignore"):
        whole = bits + np.log2(prior)
    found: Floats = np.exp2(whole - np.logaddexp2.reduce(whole, axis=1)[:, None])
    return found


def _exponent(bits: Floats, prior: Floats, own: Ints, labelled: Sequence[int]) -> float:
    """What bits must count for that labelled users, judged by the others, are told best: the largest of the best.

    Users who are alone in their class say nothing of that.
    """
    taught = np.flatnonzero((own >= 0) & (np.array(labelled)[own] > 1))
    if not len(taught):
        return 1.0
    each, right = np.arange(len(taught)), own[taught]
    chances = (_posterior(exponent * bits[taught], prior)[each, right] for exponent in _EXPONENTS)
    cost = [-float(np.log2(np.maximum(chance, SMALLEST)).sum()) for chance in chances]
    best: float = _EXPONENTS[len(cost) - 1 - int(np.argmin(cost[::-1]))]
    return best


def _prior(bits: Floats, own: Ints, begun: Floats, weight: float) -> Floats:
    """The shares of classes and none that explain all users best; the labels of those who have one are known.

    Each user without a label stands for `weight` of them.
    """
    prior = np.append(begun[:-1] * 0.99, 0.01)
    known = own >= 0
    weights = np.where(known, 1.0, weight)
    for _ in range(ROUNDS):
        chances = _posterior(bits, prior)
        chances[known] = np.eye(len(prior))[own[known]]
        prior = (weights @ chances + PRIOR_USERS) / (weights.sum() + PRIOR_USERS * len(prior))
    return prior


def _fewer(counts: pl.DataFrame, labels: Mapping[int, str], most: int | None) -> tuple[pl.DataFrame, float]:
    """Counts of all labelled users and at most so many others, and how many users each of these stands for."""
    users = counts["user"].unique().sort()
    others = users.filter(~users.is_in(list(labels)))
    if most is None or len(others) <= most:
        return counts, 1.0
    chosen = others.gather(np.linspace(0, len(others) - 1, most).astype(np.int64))
    kept = pl.concat([chosen, users.filter(users.is_in(list(labels)))])
    return counts.filter(pl.col("user").is_in(kept.implode())), len(others) / most
