"""The compiled passes behind :mod:`amiss.detect.chain`, which says what is computed. Here stands how.

Users come one after another, each with all events in order. A user's own counts lie together and are few: one loop
over them, which the processor does many at a time, gives everything that an event needs of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from amiss.baseline import Floats, Ints
from amiss.baseline_kernel import Whole, cell_of, in_row, priced, row_after, shares
from amiss.detect.mixture import AMONG
from amiss.detect.mixture import PRIOR as GROUP_PRIOR

if TYPE_CHECKING:
    from amiss.detect.mixture import Ways

ABSENT: Final = -1
"""The value of an event that does not show the feature: it gives no evidence."""

EXPERTS: Final = 4
"""What q mixes: the user's own chain, the user's own values, uniform, p flattened; where there are bad users, a fifth,
what they did."""

SHARE: Final = 0.02
"""The weight that flows back to all experts after each event, so that none is ever given up."""

STRONGEST_PRIOR: Final = 8.0
"""The most events that the prior of the user's own chain may weigh; half an event for each of a thousand values would
keep it from learning."""

PRIOR: Final = 8.0
"""The events that everyone's chances are worth beside the user's own past."""

MOST_PAIRS: Final = 1024
"""The different pairs of a feature that are remembered of a user in a period; what comes new after them is not."""

Codes = npt.NDArray[np.int32]

_FREE: Final = -1
_SPREAD: Final = 0x9E3779B97F4A7C15


class Pairs(NamedTuple):
    """Pairs with a count. The value of a pair that the baseline knows nothing of is kept as `-1 - value`."""

    given: Codes
    value: Codes
    counts: Codes


class Held(NamedTuple):
    """What is held of users by code: the place of the first of their pairs, how many there are, and may be there.

    `weights` are those of the experts, the last, of bad users, 0 where there are none; `ways` those of as many `groups`
    that count as normal as there were when the user was judged last; `here` are the users that anything is held of.
    """

    begin: Ints
    size: Ints
    room: Ints
    weights: Floats
    ways: Floats
    groups: Ints
    here: npt.NDArray[np.bool_]


class Owned(NamedTuple):
    """Counts of users by given and value, in this order: those of user u stand from `bounds[u]` to `bounds[u + 1]`."""

    bounds: Ints
    given: Codes
    value: Codes
    counts: Ints


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _find(givens, values, counts, given, value):
    """How often the user showed the pair, the given and the value, and where the pair stands, -1 for nowhere."""
    row, alike, place = np.int32(0), np.int32(0), np.int32(-1)
    for at in range(len(counts)):
        count, same_given, same_value = counts[at], givens[at] == given, values[at] == value
        row = np.int32(row + (count if same_given else np.int32(0)))
        alike = np.int32(alike + (count if same_value else np.int32(0)))
        place = max(place, np.int32(at) if same_given & same_value else np.int32(-1))
    return counts[place] if place >= 0 else np.int32(0), row, alike, place


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _find_unknown(givens, values, counts, given, value):
    """The same for a value that the baseline knows nothing of: to it, all of those are one."""
    own, row, alike, place = np.int32(0), np.int32(0), np.int32(0), np.int32(-1)
    for at in range(len(counts)):
        count, same_given, unknown = counts[at], givens[at] == given, values[at] < 0
        row = np.int32(row + (count if same_given else np.int32(0)))
        alike = np.int32(alike + (count if unknown else np.int32(0)))
        own = np.int32(own + (count if same_given & unknown else np.int32(0)))
        place = max(place, np.int32(at) if same_given & (values[at] == value) else np.int32(-1))
    return own, row, alike, place


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _remember(givens, values, counts, size, place, given, value):
    """Count the pair that stands at `place` once more; how many pairs there are then, and by how much all counts grew.

    A new one takes the next place, if there is any.
    """
    if place >= 0:
        counts[place] += np.int32(1)
        return size, 1
    if size == len(counts):
        return size, 0
    givens[size], values[size], counts[size] = given, value, 1
    return size + 1, 1


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _bet(own, row, alike, events, w, flattened, alphabet):
    """q, the chance that the experts together give; `w`, their weights, moves on."""
    prior = min(0.5, STRONGEST_PRIOR / alphabet)
    own_chain = (own + prior) / (row + prior * alphabet)
    own_values = (alike + prior) / (events + prior * alphabet)
    uniform = 1.0 / alphabet
    q = w[0] * own_chain + w[1] * own_values + w[2] * uniform + w[3] * flattened
    stay = (1.0 - SHARE) / q
    w[0] = stay * w[0] * own_chain + SHARE / EXPERTS
    w[1] = stay * w[1] * own_values + SHARE / EXPERTS
    w[2] = stay * w[2] * uniform + SHARE / EXPERTS
    w[3] = stay * w[3] * flattened + SHARE / EXPERTS
    return q


@njit(cache=True, nogil=True, error_model="numpy")
def _bet_with_bad(own, row, alike, events, w, flattened, bad, alphabet):
    """The same with a fifth expert, who says `bad`."""
    prior = min(0.5, STRONGEST_PRIOR / alphabet)
    own_chain = (own + prior) / (row + prior * alphabet)
    own_values = (alike + prior) / (events + prior * alphabet)
    said = (own_chain, own_values, 1.0 / alphabet, flattened, bad)
    q = 0.0
    for expert in range(EXPERTS + 1):
        q += w[expert] * said[expert]
    for expert in range(EXPERTS + 1):
        w[expert] = (1.0 - SHARE) * w[expert] * said[expert] / q + SHARE / (EXPERTS + 1)
    return q


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _member(ways, user):
    """The group of a user, -1 for none."""
    return ways.member[user] if user < len(ways.member) else np.int64(-1)


class Grouped(NamedTuple):
    """The groups that count as normal, and bad users as one; either may be without any (:mod:`amiss.detect.mixture`).

    `table` (rows + 1, values + 1, groups + bad) has the chances in each of them, where a chain is small.
    """

    ways: Ways
    bad: Ways
    table: Floats


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _experts(w, bad):
    """Let the weights be those of all experts, with one for `bad` users or without."""
    if (w[EXPERTS] > 0.0) != bad:
        w[EXPERTS] = 1.0 / EXPERTS if bad else 0.0
        w /= w.sum()


@njit(cache=True, nogil=True, error_model="numpy")
def _beliefs(held, user, ways):
    """The weights of groups of a user; those of others than are there now begin anew."""
    w = held.ways[user, : len(ways.share)]
    if held.groups[user] != len(w):
        held.groups[user] = len(w)
        for way in range(len(w)):
            w[way] = ways.share[way]
    return w


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def in_way(ways, way, cell, row, everyone, member, mine, mine_in_row):
    """The chance in one group, without what the user at hand gave to the group `member`."""
    own, own_in_row = (mine, mine_in_row) if way == member else (np.int64(0), np.int64(0))
    n, of = ways.counts[cell, way] - own, ways.totals[row, way] - own_in_row
    prior = GROUP_PRIOR + AMONG * of
    return (n + prior * everyone) / (of + prior)


@njit(cache=True, nogil=True, error_model="numpy")
def _in_each(ways, bad, cell, row, everyone, mine, line):
    """Fill `line` (groups + bad) with the chances of a cell in each group, of which `everyone` has that chance.

    `mine` are the groups, of the normal and of the bad, to which the user at hand gave counts that are left out, and
    these of the cell and of the row.
    """
    member, labelled, own, own_in_row = mine
    for way in range(len(ways.share)):
        line[way] = in_way(ways, way, cell, row, everyone, member, own, own_in_row)
    for way in range(len(bad.share)):
        line[len(ways.share) + way] = in_way(bad, way, cell, row, everyone, labelled, own, own_in_row)


@njit(cache=True, nogil=True, error_model="numpy")
def tabulate_groups(normal, ways, bad, table):
    """Fill a table with the chances of all values after all givens in each group."""
    nothing = np.int64(-1), np.int64(-1), np.int64(0), np.int64(0)
    for row in range(-1, len(normal.row_total)):
        for value in range(len(normal.total) + 1):
            cell, everyone = cell_of(normal, row, value), priced(normal, row, value)[0]
            _in_each(ways, bad, cell, row, everyone, nothing, table[row, value])


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _mixed(w, line, share):
    """p, the chance that the groups together give; `w`, their weights, moves on."""
    p = 0.0
    for way in range(len(share)):
        w[way] *= line[way]
        p += w[way]
    stay = (1.0 - SHARE) / p
    for way in range(len(share)):
        w[way] = stay * w[way] + SHARE * share[way]
    return p


@njit(cache=True, nogil=True, error_model="numpy")
def score_users(users, first, given, value, normal, grouped, pairs, used, held, bits, surprisal):
    """Score the events of users: number n of `users` has those from `first[n]` to `first[n + 1]`.

    Adds to `bits` and `surprisal` by event; `pairs`, of which `used` places are taken, and what is `held` of the users
    move on. Gives how many places are taken then; where `pairs` lacks room for the new ones, nothing is done but to say
    how many it should have.
    """
    used = _reserve(users, first, pairs, used, held)
    if used > len(pairs.counts):
        return used
    table, row_of, total = normal.table, normal.row_of, normal.total
    alphabet = normal.whole.known + 1.0
    if grouped is not None:
        in_groups, share, bad = grouped.table, grouped.ways.share, len(grouped.bad.share) > 0
        line, groups = np.empty(len(share) + len(grouped.bad.share)), len(share)
        nothing = np.int64(-1), np.int64(-1), np.int64(0), np.int64(0)
    for number in range(len(users)):
        user = np.int64(users[number])
        begin, size, w = held.begin[user], held.size[user], held.weights[user]
        _experts(w, grouped is not None and bad)
        if grouped is not None:
            beliefs = _beliefs(held, user, grouped.ways)
        end = begin + min(size + first[number + 1] - first[number], MOST_PAIRS)
        givens, values, counts = pairs.given[begin:end], pairs.value[begin:end], pairs.counts[begin:end]
        events = counts[:size].sum()
        for i in range(first[number], first[number + 1]):
            if value[i] == ABSENT:
                continue
            g, v = np.int32(given[i]), np.int32(value[i])
            after = row_of[g + 1] if g + 1 < len(row_of) else np.int64(-1)
            at = min(v, len(total))
            if len(table) > 0:
                flattened, log2_p = table[after, at, 1], table[after, at, 2]
            else:
                _, flattened, log2_p = priced(normal, after, np.int64(v))
            if grouped is not None:
                if len(in_groups) > 0:
                    for way in range(len(line)):
                        line[way] = in_groups[after, at, way]
                else:
                    cell = cell_of(normal, after, np.int64(v))
                    _in_each(grouped.ways, grouped.bad, cell, after, 2.0**log2_p, nothing, line)
                if groups > 0:
                    log2_p = math.log2(_mixed(beliefs, line, share))
            if v < len(total) and total[v] > 0:
                own, row, alike, place = _find(givens[:size], values[:size], counts[:size], g, v)
            else:
                v = np.int32(-1 - v)
                own, row, alike, place = _find_unknown(givens[:size], values[:size], counts[:size], g, v)
            if grouped is not None and bad:
                q = _bet_with_bad(own, row, alike, events, w, flattened, line[groups], alphabet)
            else:
                q = _bet(own, row, alike, events, w, flattened, alphabet)
            bits[i] += math.log2(q) - log2_p
            surprisal[i] -= log2_p
            size, more = _remember(givens, values, counts, size, place, g, v)
            events += more
        held.size[user], held.here[user] = size, True
    return used


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _with_room(pairs):
    """How many places to give where so many pairs may be needed soon."""
    return min(pairs + pairs // 2, MOST_PAIRS)


@njit(cache=True, nogil=True, error_model="numpy")
def _reserve(users, first, pairs, used, held):
    """Give users room for as many new pairs as events, moving those who need more behind `used`; the new `used`.

    Where the arrays of `pairs` are too short, nothing is moved and what they should hold is returned.
    """
    size, room, needed = held.size, held.room, used
    for number in range(len(users)):
        user = np.int64(users[number])
        wanted = min(size[user] + first[number + 1] - first[number], MOST_PAIRS)
        needed += _with_room(wanted) if wanted > room[user] else 0
    if needed == used or needed > len(pairs.counts):
        return needed
    for number in range(len(users)):
        user = np.int64(users[number])
        wanted = min(size[user] + first[number + 1] - first[number], MOST_PAIRS)
        if wanted > room[user]:
            for at in range(size[user]):
                before = held.begin[user] + at
                pairs.given[used + at], pairs.value[used + at] = pairs.given[before], pairs.value[before]
                pairs.counts[used + at] = pairs.counts[before]
            held.begin[user], room[user] = used, _with_room(wanted)
            used += room[user]
    return used


class Without(NamedTuple):
    """What the user at hand shares in the baseline, and the prices of the user's pairs without it.

    Index `given + 1` for rows, the place among the user's pairs for prices.
    """

    row: Ints
    lost: Ints  # values of the row that only this user showed
    begin: Ints  # the place of the row's first pair
    value: Ints
    done: npt.NDArray[np.bool_]
    known: npt.NDArray[np.bool_]  # whether anybody else showed the value of the pair, as the next two
    flattened: Floats
    log2_p: Floats
    cell: Ints  # where the pair stands in the chain
    each: Floats  # in each group, with the bad behind


@njit(cache=True, nogil=True, error_model="numpy")
def _without(rows, values, pairs, groups):
    """Room for users with so many pairs, judged by so many groups."""
    return Without(
        np.zeros(rows, dtype=np.int64),
        np.zeros(rows, dtype=np.int64),
        np.zeros(rows, dtype=np.int64),
        np.zeros(values, dtype=np.int64),
        np.zeros(values, dtype=np.bool_),
        np.zeros(pairs, dtype=np.bool_),
        np.zeros(pairs, dtype=np.float64),
        np.zeros(pairs, dtype=np.float64),
        np.zeros(pairs, dtype=np.int64),
        np.zeros((pairs, groups), dtype=np.float64),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _leave_out(out, given, value, counts, normal, cap):
    """Fill the shares of `out` with those of the user who has these pairs; the sums without them."""
    sums = normal.whole
    grand, pairs = sums.grand, sums.pairs
    for at in range(len(counts)):
        g, v, part = np.int64(given[at]), np.int64(value[at]), min(counts[at], cap)
        if out.row[g + 1] == 0:
            out.begin[g + 1] = at
        out.row[g + 1] += part
        out.value[v] += part
        if in_row(normal, row_after(normal, g), v) == part:
            out.lost[g + 1] += 1
            pairs -= 1
        grand -= part
    known, once, roots = sums.known, sums.once, sums.roots
    for v in value:
        if out.done[v]:
            continue
        out.done[v] = True
        left = normal.total[v] - out.value[v]
        roots -= math.sqrt(normal.total[v] + 0.5)
        once += (left == 1) - (normal.total[v] == 1)
        if left > 0:
            roots += math.sqrt(left + 0.5)
        else:
            known -= 1
    return Whole(known, once, grand, pairs, roots)


@njit(cache=True, nogil=True, error_model="numpy")
def _flat_left(low, high, value, counts, normal, out, row, distinct, of, novel, scale, roots, cap):
    """Sum of the square roots of the chances in `row`, of which the user has the pairs from `low` to `high`."""
    share = math.sqrt(distinct / (of + distinct))
    flat = share * (roots / math.sqrt(scale) + math.sqrt(novel))
    at = low
    for cell in range(normal.start[row], normal.start[row + 1]):
        n, v = normal.counts[cell], normal.value[cell]
        if at < high and value[at] == v:
            n -= min(counts[at], cap)
            at += 1
        if n > 0:
            p0 = (normal.total[v] - out.value[v] + 0.5) / scale
            flat += math.sqrt((n + distinct * p0) / (of + distinct)) - share * math.sqrt(p0)
    return flat


@njit(cache=True, nogil=True, error_model="numpy")
def _price_left(out, given, value, counts, normal, sums, cap):
    """Fill the prices of `out` with those of the user's pairs without the user."""
    low = 0
    while low < len(counts):
        g, high = np.int64(given[low]), low
        while high < len(counts) and given[high] == g:
            high += 1
        row = row_after(normal, g)
        distinct = max(1.0, np.float64(normal.start[row + 1] - normal.start[row] - out.lost[g + 1]))
        of = np.float64(normal.row_total[row] - out.row[g + 1])
        novel, scale = shares(sums, of == 0.0)
        flat = _flat_left(low, high, value, counts, normal, out, row, distinct, of, novel, scale, sums.roots, cap)
        for at in range(low, high):
            v = np.int64(value[at])
            left = normal.total[v] - out.value[v]
            cell = cell_of(normal, row, v)
            n = normal.counts[cell] - min(counts[at], cap) if left > 0 else 0
            p0 = (left + 0.5) / scale if left > 0 else novel
            p = (n + distinct * p0) / (of + distinct)
            out.known[at], out.cell[at] = left > 0, cell
            out.flattened[at], out.log2_p[at] = math.sqrt(p) / flat, math.log2(p)
        low = high


@njit(cache=True, nogil=True, error_model="numpy")
def _price_groups(out, given, counts, normal, grouped, user, cap):
    """Fill the chances of `out` in each group with those of the user's pairs without the user."""
    member, labelled = _member(grouped.ways, user), _member(grouped.bad, user)
    for at in range(len(counts)):
        g = np.int64(given[at])
        mine = member, labelled, np.int64(min(counts[at], cap)), out.row[g + 1]
        row, everyone = row_after(normal, g), 2.0 ** out.log2_p[at]
        _in_each(grouped.ways, grouped.bad, out.cell[at], row, everyone, mine, out.each[at])


@njit(cache=True, nogil=True, error_model="numpy")
def _forget(out, given, value):
    """Wipe the share of the user who has these pairs."""
    for at in range(len(given)):
        g, v = np.int64(given[at]), value[at]
        out.row[g + 1] = 0
        out.lost[g + 1] = 0
        out.value[v] = 0
        out.done[v] = False


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def owned(bounds, user):
    """From where to where something stands of a user; nowhere of one beyond the bounds."""
    last, code = len(bounds) - 1, np.int64(user)
    return bounds[min(code, last)], bounds[min(code + 1, last)]


@njit(cache=True, nogil=True, error_model="numpy")
def score_left_out(users, first, given, value, normal, grouped, own, cap, pairs, held, bits, surprisal):
    """Score the events of users as :func:`score_users` does, by the baseline without each user's own counts.

    `own` are the counts of the same events; `pairs` has room for those of one user.
    """
    most = 0
    for code in users:
        low, high = owned(own.bounds, code)
        most = max(most, high - low)
    groups, bad = 0, False
    if grouped is not None:
        share, groups, bad = grouped.ways.share, len(grouped.ways.share), len(grouped.bad.share) > 0
    out = _without(len(normal.row_of), len(normal.total), most, groups + bad)
    begin, known, flattened, log2_ps, each = out.begin, out.known, out.flattened, out.log2_p, out.each
    for user in range(len(first) - 1):
        low, high = owned(own.bounds, users[user])
        own_given, own_value, own_counts = own.given[low:high], own.value[low:high], own.counts[low:high]
        w = held.weights[user]
        _experts(w, bad)
        sums = _leave_out(out, own_given, own_value, own_counts, normal, cap)
        _price_left(out, own_given, own_value, own_counts, normal, sums, cap)
        if grouped is not None:
            beliefs = _beliefs(held, user, grouped.ways)
            _price_groups(out, own_given, own_counts, normal, grouped, users[user], cap)
        alphabet, kept, events = sums.known + 1.0, 0, 0
        givens, values, counts = pairs
        for i in range(first[user], first[user + 1]):
            if value[i] == ABSENT:
                continue
            g, v = np.int32(given[i]), np.int32(value[i])
            at = begin[g + 1]
            while own_value[at] != v:
                at += 1
            if known[at]:
                seen, of, alike, place = _find(givens[:kept], values[:kept], counts[:kept], g, v)
            else:
                v = np.int32(-1 - v)
                seen, of, alike, place = _find_unknown(givens[:kept], values[:kept], counts[:kept], g, v)
            log2_p = log2_ps[at]
            if grouped is not None and groups > 0:
                log2_p = math.log2(_mixed(beliefs, each[at], share))
            if grouped is not None and bad:
                q = _bet_with_bad(seen, of, alike, events, w, flattened[at], each[at, groups], alphabet)
            else:
                q = _bet(seen, of, alike, events, w, flattened[at], alphabet)
            bits[i] += math.log2(q) - log2_p
            surprisal[i] -= log2_p
            kept, more = _remember(givens, values, counts, kept, place, g, v)
            events += more
        _forget(out, own_given, own_value)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def seen_of(givens, values, counts, low, high, given, value):
    """How often the pair stands among ordered ones from `low` to `high`, and all pairs with its given."""
    end = high
    while low < high:
        middle = (low + high) >> 1
        if givens[middle] < given:
            low = middle + 1
        else:
            high = middle
    n, of = np.int64(0), np.int64(0)
    while low < end and givens[low] == given:
        of += counts[low]
        n += counts[low] if values[low] == value else np.int64(0)
        low += 1
    return n, of


@njit(cache=True, nogil=True, error_model="numpy")
def compare_users(users, first, given, value, normal, past, least, bits, surprisal):
    """Compare the events of users with their own past, the counts `past`, and with everyone's.

    Adds to `bits` and `surprisal` by event; nothing for users with fewer than `least` events in the past.
    """
    table, row_of, unknown = normal.table, normal.row_of, len(normal.total)
    for number in range(len(users)):
        low, high = owned(past.bounds, users[number])
        if past.counts[low:high].sum() < least:
            continue
        for i in range(first[number], first[number + 1]):
            if value[i] == ABSENT:
                continue
            n, of = seen_of(past.given, past.value, past.counts, low, high, given[i], value[i])
            after = row_of[given[i] + 1] if given[i] + 1 < len(row_of) else np.int64(-1)
            if len(table) > 0:
                at = min(value[i], unknown)
                everyone, log2_everyone = table[after, at, 0], table[after, at, 2]
            else:
                everyone, _, log2_everyone = priced(normal, after, np.int64(value[i]))
            log2_own = math.log2((n + PRIOR * everyone) / (of + PRIOR))
            bits[i] += log2_everyone - log2_own
            surprisal[i] -= log2_own


@njit(cache=True, nogil=True)
def moved(column, begin, size, room, out):
    """Fill `out` with a column of the pairs of users one after another, with their room behind each."""
    at = 0
    for user in range(len(begin)):
        for k in range(size[user]):
            out[at + k] = column[begin[user] + k]
        at += room[user]


class _Scratch(NamedTuple):
    """The pairs of the user at hand."""

    keys: Ints  # open addressing: given + 1 and value in one number, or _FREE
    cell_at: Ints  # by slot of `keys`
    slot: Ints  # by cell
    counts: Ints  # by cell


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _slot(keys, mask, key):
    """Where `key` is, or belongs, in the key table."""
    at = np.int64((np.uint64(key) * np.uint64(_SPREAD)) >> np.uint64(32)) & mask
    while keys[at] != _FREE and keys[at] != key:
        at = (at + 1) & mask
    return at


@njit(cache=True, nogil=True, error_model="numpy")
def _size(events):
    """How long a key table must be for the pairs of so many events; a short one stays in the processor's cache."""
    size = 8
    while size < 2 * events:
        size *= 2
    return size


@njit(cache=True, nogil=True, error_model="numpy")
def _scratch(events):
    """An empty scratch for users with up to so many events."""
    size = _size(events)
    return _Scratch(
        np.full(size, _FREE, dtype=np.int64),
        np.zeros(size, dtype=np.int64),
        np.zeros(events, dtype=np.int64),
        np.zeros(events, dtype=np.int64),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _order(scratch, cells, order):
    """Fill `order` with the user's cells by given and value; few need no general sort."""
    if cells > 40:
        ranked = np.argsort(scratch.keys[scratch.slot[:cells]])
        for cell in range(cells):
            order[cell] = ranked[cell]
        return
    for cell in range(cells):
        key = scratch.keys[scratch.slot[cell]]
        at = cell
        while at > 0 and scratch.keys[scratch.slot[order[at - 1]]] > key:
            order[at] = order[at - 1]
            at -= 1
        order[at] = cell


@njit(cache=True, nogil=True, error_model="numpy")
def count_users(first, given, value, out, counts, kept):
    """Count the pairs of each user: fills `out` (given, value) and `counts` with them in order, `kept` of each."""
    out_given, out_value = out
    most = 1
    for user in range(len(first) - 1):
        most = max(most, first[user + 1] - first[user])
    scratch = _scratch(most)
    order = np.empty(most, dtype=np.int64)
    written = 0
    for user in range(len(first) - 1):
        mask, cells = _size(first[user + 1] - first[user]) - 1, 0
        for i in range(first[user], first[user + 1]):
            if value[i] == ABSENT:
                continue
            key = ((np.int64(given[i]) + 1) << 32) | np.int64(value[i])
            at = _slot(scratch.keys, mask, key)
            if scratch.keys[at] == _FREE:
                scratch.keys[at] = key
                scratch.cell_at[at] = cells
                scratch.slot[cells] = at
                scratch.counts[cells] = 0
                cells += 1
            scratch.counts[scratch.cell_at[at]] += 1
        _order(scratch, cells, order)
        for rank in range(cells):
            cell = order[rank]
            key = scratch.keys[scratch.slot[cell]]
            out_given[written] = (key >> 32) - 1
            out_value[written] = key & 0xFFFFFFFF
            counts[written] = scratch.counts[cell]
            written += 1
        for cell in range(cells):
            scratch.keys[scratch.slot[cell]] = _FREE
        kept[user] = cells
