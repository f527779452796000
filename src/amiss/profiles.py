"""Profiles: how surprising what a user did is, by action; how far two are apart, and which limit tells users apart.

A profile holds the bits of surprisal of each action of a user, added up (:func:`amiss.surprisal.profile`). Of several
days the latest counts: who was away keeps theirs, who came back is known by what they did now.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Final, NamedTuple

import polars as pl

from amiss.errors import UsageError

LIMIT: Final = 5.0
"""How far apart two profiles may be to be near."""

OVERFLOW: Final = 1024.0
"""2 to the power of so many bits is no number any more."""


class Distance(NamedTuple):
    """How far two profiles are apart, seen from either one, and whether that is within the limit."""

    forward: float
    backward: float
    near: bool


def distance(a: Mapping[str, float], b: Mapping[str, float], *, limit: float = LIMIT) -> Distance:
    """How far two profiles are apart: two divergences, in which a difference in an action weighs 2^-bits.

    ``forward`` is the sum of ``2^-b * (a - b)`` over actions, ``backward`` that of ``2^-a * (b - a)``, in bits. They
    are Kullback-Leibler divergences of weights that need not sum to 1. Actions that only one has make no difference.
    Where 2^bits overflows, from 1024 bits on, both are infinite: such a profile is near nothing, itself included.

    Parameters
    ----------
    a, b
        Bits of surprisal by action, at least 0.
    limit
        The profiles are near where both divergences are at least ``-limit`` and below ``limit``.

    Raises
    ------
    UsageError
        If bits are negative or no numbers.

    Examples
    --------
    >>> distance({"login": 1.0, "view": 3.0}, {"login": 1.0, "view": 2.0})
    Distance(forward=0.25, backward=-0.125, near=True)
    >>> distance({"login": 1.0, "view": 40.0}, {"login": 1.0, "view": 0.0}).near
    False

    Source
    ------
    The notebook "How to group users and identify outliers in a log stream, based on behaviour", step 3.
    """
    for profile in (a, b):
        _check(profile)
    forward = backward = 0.0
    for action in sorted(a.keys() & b.keys()):
        if max(a[action], b[action]) >= OVERFLOW:
            return Distance(math.inf, math.inf, near=False)
        forward += 2.0 ** -b[action] * (a[action] - b[action])
        backward += 2.0 ** -a[action] * (b[action] - a[action])
    return Distance(forward, backward, all(-limit <= each < limit for each in (forward, backward)))


def merged(earlier: pl.DataFrame, later: pl.DataFrame) -> pl.DataFrame:
    """The profiles of users after a later day: those of the day, and the earlier ones of users who were away.

    Parameters
    ----------
    earlier, later : (n, ≥1) a column `user`, and the same others

    Examples
    --------
    >>> monday = pl.DataFrame({"user": ["ann", "bob"], "action": ["view", "view"], "surprisal": [3.0, 4.0]})
    >>> tuesday = pl.DataFrame({"user": ["ann"], "action": ["export"], "surprisal": [9.0]})
    >>> merged(monday, tuesday).rows()
    [('ann', 'export', 9.0), ('bob', 'view', 4.0)]
    """
    away = earlier.join(later.select("user").unique(), on="user", how="anti", maintain_order="left")
    return pl.concat([later, away])


def limits(
    profiles: Mapping[str, Mapping[str, float]], labels: Mapping[str, str], among: Iterable[float] = range(2, 11)
) -> pl.DataFrame:
    """How well each limit tells labelled users apart: of pairs with the same label, and of others, how many are near.

    Parameters
    ----------
    profiles
        By user, bits by action.
    labels
        By user, the label; all pairs of labelled users with a profile are compared.
    among
        The limits to try.

    Returns
    -------
    table : (limits, 7) columns `limit`, `same_near`, `same`, `other_near`, `other`, `true_positive`, `false_positive`
        Pairs, then the two shares; null where there are no such pairs. The limit to take has the highest
        `true_positive - false_positive`.

    Raises
    ------
    UsageError
        If fewer than two labelled users have a profile.

    Examples
    --------
    >>> known = {"ann": {"view": 0.0}, "bob": {"view": 0.5}, "eve": {"view": 9.5}}
    >>> limits(known, {"ann": "buyer", "bob": "buyer", "eve": "bot"}, [5, 10]).rows()
    [(5.0, 1, 1, 0, 2, 1.0, 0.0), (10.0, 1, 1, 2, 2, 1.0, 1.0)]

    Source
    ------
    The same notebook, "Identify the ideal distance to increase the true positive rate".
    """
    known = sorted(labels.keys() & profiles.keys())
    if len(known) < 2:
        raise UsageError(f"a limit is found by pairs of labelled users: expected two or more, found {len(known)}")
    pairs = [(labels[a] == labels[b], distance(profiles[a], profiles[b])) for a, b in combinations(known, 2)]
    return pl.DataFrame([_hits(float(limit), pairs) for limit in among])


def _hits(limit: float, pairs: Iterable[tuple[bool, Distance]]) -> dict[str, float | None]:
    """How many pairs of either kind are near at a limit."""
    near = [(same, all(-limit <= each < limit for each in apart[:2])) for same, apart in pairs]
    hit, same = sum(each for kin, each in near if kin), sum(kin for kin, _ in near)
    false, other = sum(each for kin, each in near if not kin), sum(not kin for kin, _ in near)
    counts = {"limit": limit, "same_near": hit, "same": same, "other_near": false, "other": other}
    shares = {"true_positive": hit / same if same else None, "false_positive": false / other if other else None}
    return counts | shares


def _check(profile: Mapping[str, float]) -> None:
    """Refuse bits that are none."""
    for action, bits in profile.items():
        if not bits >= 0:
            raise UsageError(f'bits of surprisal are at least 0: action "{action}" has {bits}')
