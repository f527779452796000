"""Points in many dimensions placed in a plane, so that those far apart stay far apart, with axes that can be kept.

Axes are fitted once (:func:`fit`), and whatever comes later is placed by the same ones (:meth:`Axes.place`): a picture
of today can be laid over that of yesterday. The plane is that of classical scaling: of all planes, the one in which
the squared distances from the middle add up to most. Its unit is that of the points. Neither the order of the points
nor the sign that an eigenvector happens to come with makes a difference.

Source
------
Torgerson 1952, Multidimensional scaling: I. Theory and method; for Euclidean distances the same as principal
components, Gower 1966, Some distance properties of latent root and vector methods used in multivariate analysis.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from amiss.grouping import PRIOR, Floats, Ints, Rows

MOST_BITS: Final = 12.0
"""Bits that one event counts as at most, so that a single odd one does not send a user out of the picture."""

SHRINK: Final = 4.0
"""Events like everybody's that each user is taken to have had besides: who did little stands near the middle."""

_FLAT: Final = 1e-12


class Axes(NamedTuple):
    """A plane: the `middle` (features,) of the points that it was fitted to, and its two directions (features, 2)."""

    middle: Floats
    directions: Floats

    def place(self, points: Floats) -> Floats:
        """Where points (n, features) stand: (n, 2).

        Examples
        --------
        >>> axes = fit(np.array([[0.0, 0.0], [6.0, 0.0], [3.0, 1.0], [3.0, -1.0]]), np.ones(4))
        >>> axes.place(np.array([[6.0, 0.0], [3.0, 1.0]])).round(6) + 0.0
        array([[3., 0.],
               [0., 1.]])
        """
        found: Floats = (points - self.middle) @ self.directions
        return found


def fit(points: Floats, weights: Floats) -> Axes:
    """The plane in which weighted points lie farthest apart.

    Each direction points where its largest part is positive. A direction in which the points do not differ is none:
    what is placed stands at 0.

    Parameters
    ----------
    points : (n, features)
        At least one feature.
    weights : (n,)
        How many points each counts as; above 0.
    """
    features = points.shape[1]
    if not len(points):
        return Axes(np.zeros(features), np.zeros((features, 2)))
    order = np.lexsort((weights, *points.T))
    sorted_points, share = points[order], weights[order] / weights.sum()
    middle = share @ sorted_points
    off = sorted_points - middle
    spread, directions = np.linalg.eigh((off * share[:, None]).T @ off)
    chosen = np.zeros((features, 2))
    for at, which in enumerate(range(features - 1, max(features - 3, -1), -1)):
        if spread[which] > _FLAT:
            direction = directions[:, which]
            chosen[:, at] = direction * np.sign(direction[np.argmax(np.abs(direction).round(9))])
    return Axes(middle, chosen)


def costs(counts: Floats, context: Ints) -> Floats:
    """The bits of each cell among all, and in each group of users: (cells, 1 + groups).

    Parameters
    ----------
    counts : (groups, cells)
        How often the members of each group did what a cell stands for.
    context : (cells,)
        What each cell comes after, rising from 0; chances add up to 1 after each.

    Returns
    -------
    bits : (cells, 1 + groups)
        At most :data:`MOST_BITS`. A group's chances lean on those of all as in :mod:`amiss.grouping`.

    Examples
    --------
    >>> costs(np.array([[7.0, 1.0]]), np.zeros(2, dtype=np.int64)).round(3)
    array([[0.263, 0.2  ],
           [2.585, 2.948]])
    """
    starts = np.flatnonzero(np.diff(context, prepend=-1))
    if not len(starts):
        return np.zeros((0, 1 + len(counts)))
    everyone = counts.sum(axis=0) + 0.5
    base = everyone / np.add.reduceat(everyone, starts)[context]
    totals = np.add.reduceat(counts, starts, axis=1)[:, context]
    chances = np.vstack([base, (counts + PRIOR * base) / (totals + PRIOR)])
    found: Floats = np.minimum(-np.log2(chances), MOST_BITS).T
    return found


def features(rows: Rows, bits: Floats, usual: Floats | None = None) -> Floats:
    """What an event of each user costs on average, among all and in each group: (rows, 1 + groups).

    Parameters
    ----------
    rows
        What users did.
    bits : (cells, 1 + groups)
        As :func:`costs` gives them.
    usual : (1 + groups,)
        What an event of anybody costs, which users who did little are drawn to; that of these rows unless given.

    Examples
    --------
    >>> rows = Rows.of(np.array([0, 0, 1]), np.array([0, 1, 1]), [6, 2, 8])
    >>> features(rows, np.array([[1.0, 0.5], [3.0, 4.0]])).round(3)
    array([[1.75 , 1.812],
           [2.75 , 3.562]])
    """
    if not len(rows):
        return np.zeros((0, bits.shape[1]))
    sums = np.vstack(
        [np.add.reduceat(rows.times * column[rows.cell], rows.first[:-1]) for column in np.ascontiguousarray(bits.T)]
    ).T
    events = np.add.reduceat(rows.times, rows.first[:-1])[:, None]
    middle = sums.sum(axis=0) / events.sum() if usual is None else usual
    found: Floats = (sums + SHRINK * middle) / (events + SHRINK)
    return found
