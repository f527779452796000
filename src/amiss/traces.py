r"""Whole sessions that are odd: each kind of event comes as often as it should, given how often another one comes.

A trace is all that was logged of one session, job or block: its keys say which kinds of events came. What is normal
is learned from normal traces, and the evidence of a trace is ``log2(q/p)`` of how often each key comes in it:

* `p(n | m)`, normal: the chance that a key comes `n` times where its nearest key comes `m` times. The nearest keys are
  those of the tree that tells most of how often all keys come together. Of `N` traces with `m`, `c` of which have `n`,
  ``p = (1 - v) * c/N``, where ``v = (s + a) / (N + 1 + a)`` is the share of what is new: `s` counts came once, and `a`
  is learned over all `m`, so where a count was always the same another one is the more surprising. What is new shares
  `v` as `p(n)` says, of all traces, and what is new there as `q` does.
* `q(n) = 1 / ((n + 1) * (n + 2))`, odd: the key comes any number of times. Of `K` keys each is odd by a chance of 1/K.

Beside it stands the evidence of a key that was never seen. Both come to ``log2((2^bits + 2^bits) / 2)``, so normal
traces reach `b` bits at most once in 2^b, as far as what was learned holds.

**What fools it.** The right events in the wrong order, which :class:`amiss.detect.sequence.Sequence` looks at; a
session that goes wrong as normal ones did.

Source
------
The tree: Chow and Liu 1968, "Approximating Discrete Probability Distributions with Dependence Trees". What is new:
Good 1953, "The population frequencies of species". Counts of log keys by session: Xu, Huang, Fox, Patterson, Jordan
2009, "Detecting Large-Scale System Problems by Mining Console Logs".
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from amiss.errors import EventError, UsageError

Trace = Sequence[Hashable]
Vector = tuple[int, ...]
Floats = npt.NDArray[np.float64]

NONE: Final = -1
"""The nearest key of the one that the tree begins with, and how often nothing comes."""


def q(count: int) -> float:
    """The chance of a count where a key may come any number of times.

    Examples
    --------
    >>> [round(q(count), 3) for count in range(4)]
    [0.5, 0.167, 0.083, 0.05]
    """
    return 1.0 / ((count + 1) * (count + 2))


class Odd(NamedTuple):
    """A key that comes an odd number of times: in `seen` of `of` normal traces where the nearest key comes as often."""

    key: Hashable
    times: int
    nearest: Hashable | None
    nearest_times: int
    seen: int
    of: int
    bits: float


@dataclass(frozen=True)
class Counts:
    """How often one key comes in normal traces, by how often its nearest key comes, and altogether."""

    rows: Mapping[int, Mapping[int, int]]
    whole: Mapping[int, int]
    fresh: float

    def p(self, given: int, count: int) -> float:
        """The chance of a count."""
        row = self.rows.get(given)
        if row is None or count in row:
            return self._share(row, count) if row else self._alone(count)
        rest = 1.0 - sum(self._alone(other) for other in row)
        return self._new(row) * self._alone(count) / rest

    def _alone(self, count: int) -> float:
        """The chance of a count, however often the nearest key comes."""
        if count in self.whole:
            return self._share(self.whole, count)
        return self._new(self.whole) * q(count) / (1.0 - sum(map(q, self.whole)))

    def _share(self, row: Mapping[int, int], count: int) -> float:
        """The chance of a count that a row has."""
        return (1.0 - self._new(row)) * row[count] / sum(row.values())

    def _new(self, row: Mapping[int, int]) -> float:
        """The chance of a count that a row has not."""
        return (_once(row) + self.fresh) / (sum(row.values()) + 1.0 + self.fresh)


@dataclass(frozen=True, eq=False)
class Normal:
    """What normal traces are like.

    Attributes
    ----------
    keys
        All that came, each with how often it comes.
    nearest
        The number of each key's nearest key in `keys`, -1 for the first.
    counts
        Of each key.
    unseen
        The chance of a trace with a key that never came.
    """

    keys: tuple[Hashable, ...]
    nearest: tuple[int, ...]
    counts: tuple[Counts, ...]
    unseen: float

    @classmethod
    def of(cls, traces: Sequence[Trace]) -> Normal:
        """What these traces are like, all of which are normal.

        Raises
        ------
        EventError
            If there are none, or they are all empty.

        Examples
        --------
        Every session closes once; half of them read.

        >>> normal = Normal.of([["open", "read", "close"], ["open", "close"]] * 500)
        >>> normal.bits(["open", "read", "close"]) < 0 < normal.bits(["open", "read", "close", "close"])
        True
        >>> [(odd.key, odd.times, odd.seen, odd.of) for odd in normal.odd(["open", "read"])]
        [('close', 0, 0, 500)]
        """
        keys = tuple(sorted({key for trace in traces for key in trace}, key=str))
        if not keys:
            raise EventError(f"nothing to learn from: {len(traces)} traces without an event")
        vectors = Counter(_vector(trace, keys) for trace in traces)
        nearest = _tree(vectors)
        rows = [_rows(vectors, number, near) for number, near in enumerate(nearest)]
        fresh = _fresh([row for each in rows for row in each.values()], 0.5)
        counts = tuple(_counts(each, fresh) for each in rows)
        new = (_newcomers(vectors) + fresh) / (len(traces) + 1 + fresh)
        return cls(keys, nearest, counts, new)

    @cached_property
    def _known(self) -> frozenset[Hashable]:
        """The keys, to be looked up."""
        return frozenset(self.keys)

    def bits(self, trace: Trace) -> float:
        """The evidence that a trace is odd."""
        share = 1.0 / len(self.keys)
        counts = sum(math.log2(1.0 - share + share * ratio) for ratio in self._ratios(_vector(trace, self.keys)))
        new = self._known.issuperset(trace)
        unseen = math.log2(0.5 / (1.0 - self.unseen) if new else 0.5 / self.unseen)
        return float(np.logaddexp2(counts, unseen)) - 1.0

    def odd(self, trace: Trace) -> list[Odd]:
        """The keys that speak against a trace, the one that does most first; of keys that never came, the counts."""
        vector = _vector(trace, self.keys)
        found = [self._odd(number, vector, ratio) for number, ratio in enumerate(self._ratios(vector)) if ratio > 1]
        bits = math.log2(0.5 / self.unseen)
        new = Counter(key for key in trace if key not in self._known)
        found += [Odd(key, count, None, 0, 0, self._learned, bits) for key, count in new.items()]
        return sorted(found, key=lambda odd: (-odd.bits, str(odd.key)))

    @property
    def _learned(self) -> int:
        """How many traces were learned from."""
        return sum(self.counts[0].whole.values())

    def _ratios(self, vector: Vector) -> list[float]:
        """q/p of each key."""
        givens = (vector[near] if near != NONE else NONE for near in self.nearest)
        counted = zip(self.counts, givens, vector, strict=True)
        return [q(count) / counts.p(given, count) for counts, given, count in counted]

    def _odd(self, number: int, vector: Vector, ratio: float) -> Odd:
        """What speaks against a key."""
        near = self.nearest[number]
        given = vector[near] if near != NONE else NONE
        row = self.counts[number].rows.get(given, {})
        other = self.keys[near] if near != NONE else None
        seen, of = row.get(vector[number], 0), sum(row.values())
        return Odd(self.keys[number], vector[number], other, max(given, 0), seen, of, math.log2(ratio))


def bits_of(normal: Normal, traces: Sequence[Trace]) -> Floats:
    """The evidence of each of many traces (n,); those with the same events are judged once."""
    whole = [tuple(sorted(trace, key=str)) for trace in traces]
    found = {trace: normal.bits(trace) for trace in dict.fromkeys(whole)}
    return np.array([found[trace] for trace in whole], dtype=np.float64)


def threshold(traces: Sequence[Trace], rate: float = 1 / 1000, *, parts: int = 10, seed: int = 1) -> float:
    """The bits from which on to alert, so that normal traces do so at most at a rate.

    That is ``log2(1 / rate)``, which evidence promises. The promise is tried: each part of the traces is judged by the
    others, and where more than the rate of them reach that, the threshold is what no more of them reach.

    Parameters
    ----------
    traces
        Normal ones.
    rate
        False alarms a trace.

    Examples
    --------
    >>> threshold([["open", "read", "close"], ["open", "close"]] * 500, 1 / 256)
    8.0
    """
    if not 0 < rate < 1:
        raise UsageError(f"rate is false alarms a trace: expected more than 0 and less than 1, found {rate}")
    promised = -math.log2(rate)
    tried = np.sort(held_out(traces, parts=parts, seed=seed))[::-1]
    allowed = math.ceil(rate * len(tried))
    reached = float(np.nextafter(tried[allowed], np.inf)) if allowed < len(tried) else promised
    return max(promised, reached)


def held_out(traces: Sequence[Trace], *, parts: int = 10, seed: int = 1) -> Floats:
    """The evidence of each trace (n,), judged by the other parts of all traces."""
    part = np.random.default_rng(seed).permutation(len(traces)) % parts
    found = np.zeros(len(traces))
    for number in range(min(parts, len(traces))):
        normal = Normal.of([trace for trace, at in zip(traces, part, strict=True) if at != number])
        here = np.flatnonzero(part == number)
        found[here] = bits_of(normal, [traces[at] for at in here.tolist()])
    return found


def _vector(trace: Trace, keys: tuple[Hashable, ...]) -> Vector:
    """How often each key comes."""
    counts = Counter(trace)
    return tuple(counts[key] for key in keys)


def _rows(vectors: Mapping[Vector, int], number: int, near: int) -> dict[int, Counter[int]]:
    """How often a key comes, by how often the nearest comes."""
    rows: dict[int, Counter[int]] = defaultdict(Counter)
    for vector, traces in vectors.items():
        rows[vector[near] if near != NONE else NONE][vector[number]] += traces
    return dict(rows)


def _counts(rows: Mapping[int, Counter[int]], fresh: float) -> Counts:
    """The counts of a key, with its own share of what is new."""
    whole: Counter[int] = Counter()
    for row in rows.values():
        whole.update(row)
    return Counts(rows, whole, _fresh([*rows.values(), whole], fresh))


def _fresh(rows: Sequence[Mapping[int, int]], prior: float) -> float:
    """How many traces what is new counts as: of rows where at most one count came once, the share where one did."""
    once = [_once(row) for row in rows]
    few = sum(number <= 1 for number in once)
    return (sum(number == 1 for number in once) + prior) / (few + 1)


def _once(row: Mapping[int, int]) -> int:
    """How many counts came in one trace only."""
    return sum(traces == 1 for traces in row.values())


def _newcomers(vectors: Mapping[Vector, int]) -> int:
    """How many traces have a key that comes in no other one."""
    present = {vector: [number for number, times in enumerate(vector) if times] for vector in vectors}
    within: Counter[int] = Counter()
    for vector, traces in vectors.items():
        within.update(dict.fromkeys(present[vector], traces))
    return sum(any(within[number] == 1 for number in numbers) for numbers in present.values())


def _tree(vectors: Mapping[Vector, int]) -> tuple[int, ...]:
    """The nearest key of each, in the tree that holds most of what counts of keys tell of each other."""
    table, weights = np.array(list(vectors)), np.array(list(vectors.values()), dtype=np.float64)
    keys = table.shape[1]
    alone = [_entropy(table[:, [number]], weights) for number in range(keys)]
    told = np.zeros((keys, keys))
    for one in range(keys):
        for other in range(one):
            both = alone[one] + alone[other] - _entropy(table[:, [one, other]], weights)
            told[one, other] = told[other, one] = both
    nearest, root = [NONE] * keys, int(np.argmax(alone))
    best, near = told[root].copy(), np.full(keys, root)
    best[root] = -np.inf
    for _ in range(keys - 1):
        number = int(np.argmax(best))
        nearest[number] = int(near[number])
        best[number] = -np.inf
        closer = (told[number] > best) & np.isfinite(best)
        best[closer], near[closer] = told[number][closer], number
    return tuple(nearest)


def _entropy(columns: npt.NDArray[np.int64], weights: Floats) -> float:
    """Bits that rows of columns tell."""
    _, rows = np.unique(columns, axis=0, return_inverse=True)
    share = np.bincount(rows.ravel(), weights=weights) / weights.sum()
    return float(-(share * np.log2(share)).sum())
