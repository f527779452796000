"""The compiled passes behind :mod:`amiss.grouping`: who joins which group, and which groups are one.

Rows are users: row i has the cells cell[first[i]:first[i+1]], which rise, with their counts. A cell is a value after a
context; cells of a context stand side by side. `base` is the chance of each cell in its context among all users. A
group is the sum of the counts of its members. Costs are in bits.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

ROUND = 0.1
"""Share by which a group grows before its chances are worked out anew while users come one by one."""


@njit(cache=True, nogil=True)
def chances(counts, totals, base, context, prior, table):
    """Fill in table (cells, groups): the bits of each cell in each group, which has `counts` (groups, cells)."""
    for group in range(len(counts)):
        for cell in range(len(base)):
            p = (counts[group, cell] + prior * base[cell]) / (totals[group, context[cell]] + prior)
            table[cell, group] = -math.log2(p) if p > 0.0 else 0.0


@njit(cache=True, nogil=True)
def choose(first, cell, count, table, entry, low, high, chosen, cost):
    """The group (of table (cells, groups)) in which each row from `low` to `high` is cheapest, and what it costs there.

    entry (groups,) are the bits of naming a group. Of groups with equal cost the first is taken.
    """
    sums = np.empty(len(entry))
    for row in range(low, high):
        for group in range(len(entry)):
            sums[group] = entry[group]
        for at in range(first[row], first[row + 1]):
            line, times = table[cell[at]], count[at]
            for group in range(len(entry)):
                sums[group] += times * line[group]
        best = 0
        for group in range(1, len(entry)):
            if sums[group] < sums[best]:
                best = group
        chosen[row], cost[row] = best, sums[best] - entry[best]


@njit(cache=True, nogil=True)
def alone(first, cell, count, context, base, prior, row):
    """The bits of a row in a group of its own, and those of the best code that knows its shares."""
    bits, least, within, now = 0.0, 0.0, 0.0, -1
    for at in range(first[row], first[row + 1]):
        here, times = cell[at], count[at]
        if context[here] != now:
            bits += (math.lgamma(prior + within) - math.lgamma(prior)) / math.log(2.0)
            least += within * math.log2(within) if within > 0.0 else 0.0
            within, now = 0.0, context[here]
        part = prior * base[here]
        bits -= (math.lgamma(part + times) - math.lgamma(part)) / math.log(2.0)
        least -= times * math.log2(times)
        within += times
    bits += (math.lgamma(prior + within) - math.lgamma(prior)) / math.log(2.0)
    return bits, least + (within * math.log2(within) if within > 0.0 else 0.0)


@njit(cache=True, nogil=True)
def lead(first, cell, count, rows, context, base, prior, limit, groups, known, counts, totals, size, chosen):
    """Let some rows join groups one by one, or found one; the number of groups then.

    The first `groups` of `counts` (most, cells), `totals` (most, contexts) and `size` (most,) are there already, those
    that are not `known` (most,) closed; all move on. A row joins where it is cheapest if a group of its own costs more,
    and, unless `limit` is negative, if it costs at most `limit` bits more there than in the best code of its own; where
    no room is left, in any case.
    """
    most = len(counts)
    table, drawn, sums = np.zeros((len(base), most)), np.zeros(most), np.empty(most)
    chances(counts[:groups], totals[:groups], base, context, prior, table)
    held = np.zeros(most)
    for group in range(groups):
        held[group] = totals[group].sum()
        drawn[group] = held[group]
    for row in rows:
        for group in range(groups):
            sums[group] = naming(size[group]) if known[group] else np.inf
        for at in range(first[row], first[row + 1]):
            line, times = table[cell[at]], count[at]
            for group in range(groups):
                sums[group] += times * line[group]
        best = 0
        for group in range(1, groups):
            if sums[group] < sums[best]:
                best = group
        own, least = alone(first, cell, count, context, base, prior, row)
        joins = groups > 0 and sums[best] <= own
        if joins and limit >= 0.0:
            joins = sums[best] - naming(size[best]) <= least + limit
        if groups == 0 or (not joins and groups < most):
            best = groups
            known[best] = True
            groups += 1
            drawn[best] = -1.0
        chosen[row] = best
        size[best] += 1.0
        for at in range(first[row], first[row + 1]):
            counts[best, cell[at]] += count[at]
            totals[best, context[cell[at]]] += count[at]
            held[best] += count[at]
        if held[best] > drawn[best] * (1.0 + ROUND):
            drawn[best] = held[best]
            one = slice(best, best + 1)
            chances(counts[one], totals[one], base, context, prior, table[:, one])
    return groups


@njit(cache=True, nogil=True)
def naming(size):
    """The bits of naming a group of so many users, as against a new one."""
    return -math.log2(max(size, 0.5))


@njit(cache=True, nogil=True)
def costs_alone(first, cell, count, context, base, prior, cost):
    """Fill in what each row costs in a group of its own."""
    for row in range(len(cost)):
        cost[row] = alone(first, cell, count, context, base, prior, row)[0]


@njit(cache=True, nogil=True)
def gather(first, cell, count, rows, sign, context, chosen, counts, totals, size):
    """Add some rows to the groups chosen for them, one for each, or with the sign -1 take them out."""
    for number in range(len(rows)):
        row, group = rows[number], chosen[number]
        size[group] += sign
        for at in range(first[row], first[row + 1]):
            counts[group, cell[at]] += sign * count[at]
            totals[group, context[cell[at]]] += sign * count[at]


@njit(cache=True, nogil=True)
def saving(counts, totals, size, base, prior, a, b):
    """The bits that two groups save as one."""
    bits = math.lgamma(size[a] + size[b]) - math.lgamma(size[a]) - math.lgamma(size[b])
    for cell in range(len(base)):
        x, y = counts[a, cell], counts[b, cell]
        if x > 0.0 and y > 0.0:
            part = prior * base[cell]
            bits += math.lgamma(part + x + y) + math.lgamma(part) - math.lgamma(part + x) - math.lgamma(part + y)
    for at in range(totals.shape[1]):
        x, y = totals[a, at], totals[b, at]
        if x > 0.0 and y > 0.0:
            bits -= math.lgamma(prior + x + y) + math.lgamma(prior) - math.lgamma(prior + x) - math.lgamma(prior + y)
    return bits / math.log(2.0)


@njit(cache=True, nogil=True)
def unite(counts, totals, size, base, prior, old, into):
    """Make groups with members one while that saves bits, always the two that save most; into which each went.

    One of the first `old` groups stays beside a newer one, else the larger one, the first of equal ones. `counts`,
    `totals` and `size` move on; those that went are empty.
    """
    groups = len(size)
    gain = np.full((groups, groups), -np.inf)
    for a in range(groups):
        for b in range(a + 1, groups):
            if size[a] > 0 and size[b] > 0:
                gain[a, b] = saving(counts, totals, size, base, prior, a, b)
    while True:
        best, x, y = 0.0, -1, -1
        for a in range(groups):
            for b in range(a + 1, groups):
                if gain[a, b] > best:
                    best, x, y = gain[a, b], a, b
        if x < 0:
            return
        stays, goes = (y, x) if size[y] > size[x] and not x < old <= y else (x, y)
        for cell in range(counts.shape[1]):
            counts[stays, cell] += counts[goes, cell]
        for row in range(totals.shape[1]):
            totals[stays, row] += totals[goes, row]
        size[stays] += size[goes]
        counts[goes] = 0.0
        totals[goes] = 0.0
        size[goes] = 0.0
        for group in range(groups):
            if into[group] == goes:
                into[group] = stays
            low, high = min(goes, group), max(goes, group)
            gain[low, high] = -np.inf
        for group in range(groups):
            if group != stays and size[group] > 0:
                low, high = min(stays, group), max(stays, group)
                gain[low, high] = saving(counts, totals, size, base, prior, low, high)


@njit(cache=True, nogil=True)
def first_near(bits, shares, averages, row, limit):
    """The first of the `averages` (rows of `bits`) within `limit` of a row; as many as there are where none is.

    `shares` are 2^-bits, 0 where 2^bits overflows, which is near nothing; a NaN in either profile makes no difference.
    """
    for group in range(len(averages)):
        other, forward, backward, near = averages[group], 0.0, 0.0, True
        for action in range(bits.shape[1]):
            mine, theirs = bits[row, action], bits[other, action]
            if math.isnan(mine) or math.isnan(theirs):
                continue
            if mine >= 1024.0 or theirs >= 1024.0:
                near = False
                break
            forward += shares[other, action] * (mine - theirs)
            backward += shares[row, action] * (theirs - mine)
        if near and -limit <= forward < limit and -limit <= backward < limit:
            return group
    return len(averages)
