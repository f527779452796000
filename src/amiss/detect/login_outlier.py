"""Odd logins by an outlier estimator of scikit-learn for each user: the other model behind the `login` detector.

Needs `pip install "amiss[login]"`.
"""

from __future__ import annotations

import json
import logging
import math
import pickle
import re
import threading
import warnings
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss import evidence
from amiss.baseline import COUNT_SCHEMA, Floats, Ints, Past, no_counts
from amiss.detect import Names, Reason, Scores
from amiss.detect.login_vectors import HOURS, Encoding, Vector, packed, parts, unpacked
from amiss.errors import MissingExtraError, UsageError, nearest
from amiss.evidence import FULL_WEIGHT
from amiss.fields import Fields
from amiss.sessions import Events

OCSVM: Final = "ocsvm"
PLACES: Final = {OCSVM: "sklearn.svm.OneClassSVM"}
"""Models with a name of their own, and where they are."""

DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "sklearn.svm.OneClassSVM": {"nu": 0.1},
    "sklearn.neighbors.LocalOutlierFactor": {"novelty": True},
}
"""Parameters other than those that scikit-learn takes by itself."""

LEAST: Final = 40
"""Logins in earlier periods from which on there is a model of a user."""

LOWEST_LEAST: Final = 8

RANDOM_STATE: Final = 1
"""Where the random numbers begin, of estimators that need them and of the parting in two."""

MOST_LOGINS: Final = 512
"""The most logins that a user's model is trained and calibrated with; more are thinned, each kind alike."""

MOST_TODAY: Final = 128
"""The most different logins that are remembered of a user in a period."""

KEPT_BYTES: Final = 256 * 1024 * 1024
"""How much memory trained models may take; those used least recently go first, and are trained again when needed."""

ESTIMATOR_BYTES, SCORE_BYTES = 8_000, 100
"""What a trained estimator takes beside what it learned, and what a score that is kept takes."""

MOST_REASONS: Final = 3

SAID: Final = ("country", "device")

_DOTTED: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_LOG: Final = logging.getLogger(__name__)
_TRAINING: Final = threading.Lock()
_TEXT: Final = pl.UInt32()


# --- models


def estimator(model: str, parameters: Mapping[str, Any] | None = None) -> Any:
    """A new estimator that nothing was shown yet, which has learned from made-up points before.

    Raises
    ------
    MissingExtraError
        If scikit-learn is not installed.
    UsageError
        If there is no such class, it is no outlier estimator, or it does not take the parameters.

    Examples
    --------
    >>> estimator("ocsvm", {"nu": 0.2})
    OneClassSVM(nu=0.2)
    """
    try:
        text = json.dumps(dict(parameters or {}), sort_keys=True)
    except TypeError as error:
        raise UsageError(f"model_parameters: expected what a TOML file can hold: {error}") from error
    kind, settings = _tried(model, text)
    return kind(**settings)


@lru_cache(16)
def _tried(model: str, parameters: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The class of a model, and parameters with which it learns."""
    place = PLACES.get(model, model)
    kind = _class(model, place)
    settings = {**DEFAULTS.get(place, {}), **json.loads(parameters)}
    known = signature(kind).parameters
    if wrong := [name for name in settings if name not in known]:
        raise UsageError(f'model_parameters: {kind.__name__} has no "{wrong[0]}".{nearest(wrong[0], known)}')
    if "random_state" in known:
        settings.setdefault("random_state", RANDOM_STATE)
    points = np.random.Generator(np.random.PCG64(RANDOM_STATE)).normal(size=(LEAST // 2, 4))
    try:
        _way(_fitted(kind(**settings), points))(points)
    except Exception as error:
        raise UsageError(f"model_parameters: {kind.__name__} does not work with {settings}: {error}") from error
    return kind, settings


def _class(model: str, place: str) -> Any:
    """The class of an outlier estimator."""
    module, _, name = place.rpartition(".")
    try:
        kind = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        if place.startswith("sklearn.") and find_spec("sklearn") is None:
            raise MissingExtraError(f'model = "{model}"', "login") from error
        raise UsageError(f'model = "{model}": there is no such class: {error}') from error
    if not hasattr(kind, "fit") or not (hasattr(kind, "decision_function") or hasattr(kind, "score_samples")):
        raise UsageError(f'model = "{model}": expected a class with fit, and decision_function or score_samples')
    return kind


def check_model(model: str) -> None:
    """Refuse what cannot be the name of a model, without importing anything.

    Raises
    ------
    UsageError
        If it is neither "ocsvm" nor the dotted name of a class; "chains" are not of this module.
    """
    if model not in PLACES and not _DOTTED.fullmatch(model):
        raise UsageError(
            f'model = "{model}": expected "chains", "{OCSVM}" or a class, such as "sklearn.svm.OneClassSVM"'
        )


def _fitted(untrained: Any, points: Floats, *labels: Ints) -> Any:
    """The estimator, once it was trained."""
    with _TRAINING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return untrained.fit(points, *labels)


Way = Callable[[Floats], Floats]
"""What gives the score of points: the lower, the odder."""


def _way(trained: Any) -> Way:
    """That of an estimator."""
    way: Way = trained.decision_function if hasattr(trained, "decision_function") else trained.score_samples
    return way


class Model:
    """What judges a user: the scores of estimators, and those of the logins that calibrate them.

    Of several estimators, each in standard deviations of the logins that it learned from, the lowest score counts.
    Scores are rounded to a billionth or so of the highest, so that those that differ by the last digit are equal.

    Attributes
    ----------
    logins
        How many it learned from, those that calibrate among them.
    calibrated
        The scores of the latter, in order.
    bytes
        About how much memory it takes at most.
    """

    def __init__(
        self, ways: Sequence[Way], encoding: Encoding, known: list[Vector], calibrating: list[Vector], logins: int
    ) -> None:
        self._ways, self._encoding, self._most = ways, encoding, len(known) + MOST_TODAY
        self._unit = _unit(self._raw(known))
        self._scores = dict(zip(known, self._scored(known), strict=True))
        self.calibrated = sorted(self._scores[vector] for vector in calibrating)
        self.logins = logins
        self.bytes = ESTIMATOR_BYTES * len(ways) + sum(map(_size, ways)) + self._most * SCORE_BYTES

    def as_odd(self, vector: Vector, seen: Counter[Vector]) -> int:
        """How many logins are as odd as this one or odder, of those that calibrate and those seen in the period."""
        score = self._score(vector)
        now = sum(count for other, count in seen.items() if self._score(other) <= score)
        return bisect_right(self.calibrated, score) + now

    def _score(self, vector: Vector) -> float:
        """The score of a login, by itself, so that it does not depend on which others there are."""
        known = self._scores.get(vector)
        if known is not None:
            return known
        (found,) = self._scored([vector])
        if len(self._scores) < self._most:
            self._scores[vector] = found
        return found

    def _scored(self, vectors: list[Vector]) -> list[float]:
        """The scores of logins; what is no number speaks against nobody."""
        scores = self._raw(vectors)
        found: list[float] = np.where(np.isnan(scores), np.inf, np.rint(scores / self._unit)).tolist()
        return found

    def _raw(self, vectors: list[Vector]) -> Floats:
        """The scores before they are rounded."""
        points = self._encoding.points(parts(vectors))
        lowest: Floats = np.min([way(points) for way in self._ways], axis=0)
        return lowest


@dataclass(frozen=True)
class Standard:
    """The scores of an estimator in standard deviations of those that it learned from."""

    way: Way
    mean: float
    deviation: float

    @classmethod
    def of(cls, way: Way, points: Floats) -> Standard:
        """By the scores of these points."""
        scores = way(points)
        return cls(way, float(scores.mean()), float(scores.std()) or 1.0)

    def __call__(self, points: Floats) -> Floats:
        """The scores of points."""
        return (self.way(points) - self.mean) / self.deviation


def trained(vectors: list[Vector], bad: list[Vector], made: Callable[[], Any]) -> Model:
    """The model of a user who logged in like that, in order of the vectors.

    One half of the logins, drawn at random, trains; the other calibrates.
    """
    half = len(vectors) // 2
    order = np.argsort(np.random.PCG64(RANDOM_STATE).random_raw(len(vectors)), kind="stable").tolist()
    training, calibrating = ([vectors[i] for i in part] for part in (sorted(order[half:]), order[:half]))
    encoding = Encoding.of(parts(training))
    points = encoding.points(parts(training))
    ways = [_way(_fitted(made(), points))]
    if bad:
        labels = np.repeat([1, -1], [len(points), len(bad)])
        two = _way(_fitted(_two_classes(), np.vstack([points, encoding.points(parts(bad))]), labels))
        ways = [Standard.of(way, points) for way in (*ways, two)]
    return Model(ways, encoding, sorted(set(vectors)), calibrating, len(vectors))


def _two_classes() -> Any:
    """What tells good from bad."""
    return _class("SVC", "sklearn.svm.SVC")(class_weight="balanced", random_state=RANDOM_STATE)


def _unit(scores: Floats) -> float:
    """A power of two, about a billionth of the highest of scores."""
    highest = np.abs(scores[np.isfinite(scores)]).max(initial=0.0)
    return float(np.exp2(np.floor(np.log2(highest)) - 30.0)) if highest > 0.0 else 1.0


def _size(way: Way) -> int:
    """The bytes of what an estimator learned; a guess where it cannot be written."""
    try:
        return len(pickle.dumps(way))
    except (pickle.PicklingError, AttributeError, TypeError):
        return 1_000_000


# --- what is known of users


class OutlierBaseline:
    """The earlier logins of each user, and models trained with them when they are asked for.

    Parameters
    ----------
    counts, bad, taught
        Of earlier logins, of logins that a person confirmed to be bad, and of those said to be expected
        (`COUNT_SCHEMA`, sixteenths), ordered by user.
    made
        Gives an estimator that nothing was shown.
    """

    def __init__(
        self, counts: pl.DataFrame, bad: pl.DataFrame, taught: pl.DataFrame, made: Callable[[], Any], least: int
    ) -> None:
        self._counts, self._made, self._least = counts, made, least
        self._user = counts["user"].to_numpy()
        self._bad = sorted({(given, value) for given, value in bad.select("given", "value").iter_rows()})
        self._expected = {(user, given, value // HOURS) for user, given, value in _keys(taught)}
        self._models: OrderedDict[int, Model | None] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._counts)

    @property
    def kept(self) -> tuple[int, int]:
        """How many models are in memory, and about how many bytes they take."""
        return len(self._models), self._bytes

    def logins(self, users: npt.NDArray[np.uint32]) -> Ints:
        """The logins of each of some users in earlier periods: (u,)."""
        ends = np.searchsorted(self._user, np.stack([users, users + np.uint32(1)]))
        sums = np.append(0, np.cumsum(_repeats(self._counts["count"].to_numpy())))
        logins: Ints = sums[ends[1]] - sums[ends[0]]
        return logins

    def is_expected(self, user: int, vector: Vector) -> bool:
        """Whether a person said that the user may log in from there with that."""
        return (user, vector[0], vector[1] // HOURS) in self._expected

    def model(self, user: int) -> Model | None:
        """The model of a user, or None of one with too few logins."""
        with self._lock:
            if user in self._models:
                self._models.move_to_end(user)
                return self._models[user]
        model = self._trained(user)
        with self._lock:
            self._keep(user, model)
        return model

    def _keep(self, user: int, model: Model | None) -> None:
        """Put a model into memory, and the least recently used out of it."""
        self._models[user] = model
        self._bytes += model.bytes if model else 0
        while self._bytes > KEPT_BYTES and len(self._models) > 1:
            _, gone = self._models.popitem(last=False)
            self._bytes -= gone.bytes if gone else 0

    def _trained(self, user: int) -> Model | None:
        """A user's model, newly trained."""
        rows = self._rows(user)
        counts = _repeats(rows["count"].to_numpy())
        if counts.sum() < self._least:
            return None
        keys = list(zip(rows["given"].to_list(), rows["value"].to_list(), strict=True))
        vectors = [
            key for key, count in zip(keys, _thinned(counts, MOST_LOGINS).tolist(), strict=True) for _ in range(count)
        ]
        own = set(keys)
        bad = [vector for vector in self._bad if vector not in own]
        try:
            return trained(vectors, bad[:: len(bad) // MOST_LOGINS + 1], self._made)
        except (ValueError, ArithmeticError) as error:
            _LOG.warning("a user is not judged: the estimator cannot learn from their logins: %s", error)
            return None

    def _rows(self, user: int) -> pl.DataFrame:
        """The counts of a user."""
        low, high = np.searchsorted(self._user, [user, user + 1]).tolist()
        return self._counts[low:high]


def _keys(counts: pl.DataFrame) -> Iterator[tuple[int, int, int]]:
    """User, given and value of counts."""
    return counts.select("user", "given", "value").iter_rows()


def _repeats(counts: Ints) -> Ints:
    """Logins behind sixteenths, rounded."""
    return (counts + FULL_WEIGHT // 2) // FULL_WEIGHT


def _thinned(counts: Ints, most: int) -> Ints:
    """Counts that add up to at most `most`, in about the same proportions.

    Examples
    --------
    >>> _thinned(np.array([600, 300, 0, 100]), 10)
    array([6, 3, 0, 1])
    """
    total = int(counts.sum())
    if total <= most:
        return counts
    edges = np.cumsum(counts) * most // total
    return np.diff(np.append(0, edges))


class Today:
    """The logins of the period so far, by user; a list of counts, so that any model may score them again."""

    SCHEMA: ClassVar[dict[str, pl.DataType]] = {
        name: COUNT_SCHEMA[name] for name in ("user", "given", "value", "count")
    }

    def __init__(self, state: pl.DataFrame | None = None) -> None:
        self._users: dict[int, Counter[Vector]] = {}
        for user, given, value, count in state.select(*self.SCHEMA).iter_rows() if state is not None else ():
            self._users.setdefault(user, Counter())[given, value] = count

    def of(self, user: int) -> Counter[Vector]:
        """The logins of a user, which :func:`judge` adds to."""
        return self._users.setdefault(user, Counter())

    def frame(self) -> pl.DataFrame:
        """All of it, in order."""
        rows = [(user, *key, count) for user, seen in self._users.items() for key, count in seen.items()]
        return pl.DataFrame(sorted(rows), schema=self.SCHEMA, orient="row")


class Judged(NamedTuple):
    """What is said of one login.

    `event` is its place among the events; `rank` of `of` the p-value; `logins` are those that the model learned from.
    """

    event: int
    vector: Vector
    bits: float
    surprisal: float
    rank: int
    of: int
    logins: int


def judge(model: Model, seen: Counter[Vector], event: int, vector: Vector) -> Judged:
    """What is said of a login after those of the period, to which it is counted where there is room."""
    rank, of = 1 + model.as_odd(vector, seen), 1 + len(model.calibrated) + seen.total()
    if vector in seen or len(seen) < MOST_TODAY:
        seen[vector] += 1
    return Judged(event, vector, evidence.p_value_bits(rank / of), math.log2(of / rank), rank, of, model.logins)


# --- the detector


@dataclass(frozen=True)
class Outlier:
    """Is this login unlike the user's earlier ones, by an outlier estimator of their own?

    A login is a point: the hour of the day on a circle, the place on a globe, country and device one of those known
    or another (:class:`~amiss.detect.login_vectors.Encoding`). An estimator learns from one half of a user's earlier
    logins; `n` are in the other half, and `m` came before in the period. With `k` of these ``n + m`` scored as odd as
    the login or odder::

        p = (1 + k) / (1 + n + m)
        bits = log2(1 / (2 * sqrt(p)))

    Where halves are drawn at random, and a user's logins come as before in any order, p is a p-value whatever the
    estimator does, and those of a period are independent; so bits are evidence. There are never more of them than `n`
    allows: 2.8 of 200 logins, 1.3 of 24; those of odd logins in a row add up.

    Where logins were confirmed to be bad, a second estimator, :class:`sklearn.svm.SVC`, learns to tell the user's from
    bad ones of everybody. Of both scores, in standard deviations, the lower one counts.

    **What it remembers.** A count for each different login of a user, 21 bytes; of users who log in a model, some
    10 kB, which is trained when a user first logs in in a period, and gone when it is over. At most 256 MiB of models
    are in memory; of a period the logins, 16 bytes for each different one.

    **When it is silent.** For users with fewer than `least` logins in earlier periods; so always in a first scan.

    **What fools it.** Whoever comes from where the user does, with what the user has. It takes a new phone, a trip and
    a thief alike: where users do not go on as before, p is none, and a day with many logins from a new phone may gain
    15 bits. Of a single login it says too little for an alarm; for that there is the model `chains`. Forests of trees
    do not see what never varied: a country, where a user has one only.

    Parameters
    ----------
    model
        "ocsvm" for :class:`sklearn.svm.OneClassSVM` with ``nu=0.1``, or the dotted name of a class with `fit`, and
        with `decision_function` or `score_samples`, for which low is odd.
    model_parameters
        What it is made with, by name.
    least
        The logins in earlier periods from which on a user is judged.

    Source
    ------
    Schölkopf, Platt, Shawe-Taylor, Smola, Williamson 2001, "Estimating the support of a high-dimensional
    distribution". p-values among ever more logins, valid at any time, and how odd ones dilute them: Shaer, Bar,
    Prinster, Romano 2026, "Testing For Distribution Shifts with Conditional Conformal Test Martingales", §1.

    Examples
    --------
    Ann logged in 48 times from Vienna with her laptop, at nine and at ten. Of 24 logins that calibrate none is as odd
    as one from Kyiv with a phone: p is 1/25. Her usual login is no odder than all of them: p is 1.

    >>> from amiss.sessions import GROUPED_SCHEMA
    >>> home, usual = 198_752 * 8192 + 3, [5 * 24 + 9, 5 * 24 + 10]
    >>> counts = [(0, 7, home, value, 24 * 16) for value in usual]
    >>> past = Past([pl.DataFrame(counts, schema=COUNT_SCHEMA, orient="row")])
    >>> today = pl.DataFrame([(1, 0, 7, 0, -1, -1), (2, 9, 7, 0, 0, 9)], schema=GROUPED_SCHEMA, orient="row")
    >>> logins = {"login": [1, 1], "country": [8, 3], "device": [9, 5], "hour": [3, 9]}
    >>> logins |= {"latitude": [50.4, 48.2], "longitude": [30.5, 16.4]}
    >>> detector = Outlier()
    >>> events = Events.of(today.with_columns(**{name: pl.Series(column) for name, column in logins.items()}))
    >>> detector.score(events, detector.baseline(past)).bits.round(2)
    array([ 1.32, -1.  ])
    """

    model: str = OCSVM
    model_parameters: Mapping[str, Any] | None = field(default=None, hash=False)
    least: int = LEAST

    name: ClassVar[str] = "login"
    counts: ClassVar[str] = "login_vectors"
    count_schema: ClassVar[dict[str, pl.DataType]] = COUNT_SCHEMA
    state_schema: ClassVar[dict[str, pl.DataType]] = Today.SCHEMA
    context_schema: ClassVar[dict[str, pl.DataType]] = {
        "login": pl.UInt8(), "country": _TEXT, "device": _TEXT, "hour": pl.UInt8(), "latitude": pl.Float32(),
        "longitude": pl.Float32(),
    }  # fmt: skip
    gated: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_model(self.model)
        if self.least < LOWEST_LEAST:
            raise UsageError(f"least is the logins from which on a user is judged: expected {LOWEST_LEAST} or more")

    @staticmethod
    def fits(fields: Fields) -> bool:  # noqa: ARG004 - of the protocol
        """Nobody looks at logs to choose it: it is asked for by name."""
        return False

    def context(self, events: pl.DataFrame) -> pl.DataFrame:
        """Where, when and with what users logged in."""
        from amiss.places import login_context

        return login_context(events).select(*self.context_schema)

    def summarise(self, events: Events) -> pl.DataFrame:
        """How often each user logged in like that, in sixteenths; nothing where events hold no context."""
        if "login" not in events.context:
            return no_counts()
        given, value = packed(events)
        weight = np.full(len(events), FULL_WEIGHT, dtype=np.int64) if events.weight is None else events.weight
        rows = pl.DataFrame({"feature": 0, "user": events.user, "given": given, "value": value, "count": weight})
        logins = rows.filter(pl.Series(events.context["login"] > 0)).select(
            pl.col(name).cast(dtype) for name, dtype in COUNT_SCHEMA.items()
        )
        keys = ["feature", "user", "given", "value"]
        return logins.group_by(keys).agg(pl.col("count").sum()).sort(keys)

    def baseline(self, past: Past, *, leave_out: bool = False, bad: pl.DataFrame | None = None) -> OutlierBaseline:
        """What each user did in earlier periods; nothing when the period itself is all there is.

        `bad` are counts as of :meth:`summarise` of logins that a person confirmed to be bad.
        """
        self._made()
        counts = no_counts() if leave_out else past.by_user()
        wrong = no_counts() if bad is None else bad
        return OutlierBaseline(counts, wrong, past.taught, self._made, self.least)

    def memory(self, state: pl.DataFrame | None = None) -> Today:
        """What users did in the period."""
        return Today(state)

    def score(self, events: Events, baseline: OutlierBaseline, memory: Today | None = None) -> Scores:
        """Bits and surprisal of grouped events; 0 for all but logins."""
        scores = Scores.nothing(len(events))
        for judged in self._judged(events, baseline, Today() if memory is None else memory):
            scores.bits[judged.event], scores.surprisal[judged.event] = judged.bits, judged.surprisal
        return scores

    def explain(self, events: Events, baseline: OutlierBaseline, names: Names) -> dict[int, list[Reason]]:
        """The logins that are least like the users' own."""
        told: dict[int, dict[Vector, Judged]] = {}
        for judged in self._judged(events, baseline, Today()):
            mine = told.setdefault(int(events.user[judged.event]), {})
            if judged.bits > max(0.0, mine[judged.vector].bits if judged.vector in mine else 0.0):
                mine[judged.vector] = judged
        return {
            user: [self._reason(each, events, names) for each in sorted(mine.values(), key=_worst)[:MOST_REASONS]]
            for user, mine in told.items()
            if mine
        }

    def readiness(self, baseline: OutlierBaseline, users: npt.NDArray[np.uint32]) -> list[str]:
        """For each user what is missing until there is a model, or nothing."""
        counts = baseline.logins(users).tolist()
        return ["" if count >= self.least else f"{count:,} of {self.least:,} logins" for count in counts]

    def _made(self) -> Any:
        """A new estimator."""
        return estimator(self.model, self.model_parameters)

    def _judged(self, events: Events, baseline: OutlierBaseline, memory: Today) -> Iterator[Judged]:
        """What is said of each login of users with a model."""
        if not len(baseline) or "login" not in events.context:
            return
        is_login, (given, value) = events.context["login"] > 0, packed(events)
        for user, low, high in zip(events.users.tolist(), events.first[:-1], events.first[1:], strict=True):
            rows = (low + np.flatnonzero(is_login[low:high])).tolist()
            model = baseline.model(user) if rows else None
            if model is None:
                continue
            seen = memory.of(user)
            for row in rows:
                judged = judge(model, seen, row, (int(given[row]), int(value[row])))
                is_expected = judged.bits > 0.0 and baseline.is_expected(user, judged.vector)
                yield judged._replace(bits=0.0) if is_expected else judged

    def _reason(self, judged: Judged, events: Events, names: Names) -> Reason:
        """What is told of a login."""
        country, device = (names.value(int(events.context[name][judged.event])) for name in SAID)
        where = f" from {country}" if country else ""
        thing = f" with {device}" if device else ""
        hour = unpacked(*judged.vector).hour
        text = (
            f"the login{where}{thing} at {hour:02} h is unlike {judged.logins:,} earlier ones by {self._called()} "
            f"(p = {judged.rank:,}/{judged.of:,})"
        )
        return Reason(self.name, judged.bits, text, judged.rank - 1, judged.of - 1, 0, 0)

    def _called(self) -> str:
        """The name of the estimator's class."""
        return PLACES.get(self.model, self.model).rpartition(".")[2]


def _worst(judged: Judged) -> tuple[float, int]:
    """In order of bits, the highest first."""
    return -judged.bits, judged.event
