"""The compiled passes behind :mod:`amiss.network`, which says what is computed. Here stands how.

All purchases stand in one log, newest last, and the places of each user's own on a shelf. So what a network bought last
is found near the log's end: from the members' newest purchases back to the *depth* that held enough of them when this
buyer was judged last. Where a network is so wide that its last purchases lie nearer than its last members, the log
is walked back instead, and each buyer is asked for a friend in the circle before the last.

Which way it goes changes no result: only sets come out, and all sums are those of integers.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

Codes = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]

BEFRIEND: Final = 0
UNFRIEND: Final = 1
PURCHASE: Final = 2

NONE: Final = -1
"""No place."""

LEAST: Final = -(1 << 62)
"""Amounts below it are not amounts but stand for some that an integer of 64 bits cannot hold."""

ROUNDING: Final = 2.0**-48
"""How far off sums of floats may be for each summand, beside the largest of them: several times what it is."""

LAST_TICK: Final = (1 << 31) - 1

FIGURES: Final = 10
PURCHASES, TICK, LATE, NEWEST, USED, SHELVED, FRIENDSHIPS, ACTIVE, LABELS, PATIENCE = range(FIGURES)
"""What `State.figures` holds: purchases in the log, which search this is, whether the log is out of order, its latest
time, how much of the pool and of the shelves is used, how many friendships there are, how many users bought, the
highest label, and how many friends may still be asked."""


class State(NamedTuple):
    """Who is whose friend, and who bought what.

    The friends of user u stand in `pool` from `begin[u]`, `size[u]` of them with room for `room[u]`. Purchases stand in
    `time`, `cents`, `owner` and `label`, only those alike in which compare. Where those of u are stands in `shelves`
    from `first[u]`, oldest to newest, `counts[u]` of them with room for `space[u]`; `newest[u]` is the place of the
    last, or NONE, and `depth[u]` how far back the log was read for u last. `stamp`, `members` and `found` are what a
    search writes on.
    """

    figures: Ints
    begin: Ints
    size: Codes
    room: Codes
    pool: Codes
    first: Ints
    counts: Codes
    space: Codes
    shelves: Codes
    newest: Codes
    depth: Codes
    stamp: Codes
    members: Codes
    time: Ints
    cents: Ints
    label: Codes
    owner: Codes
    found: Codes


class Windows(NamedTuple):
    """What some purchases were judged by: `event` (m,), and from `bounds[i]` on the network's purchases of each.

    `sizes` holds how many events there are.
    """

    sizes: Ints
    event: Ints
    bounds: Ints
    owner: Codes
    time: Ints
    cents: Ints
    level: Codes


@njit(cache=True, nogil=True)
def _place(state, user, friend):
    """Where in the pool a user's friend stands, or NONE."""
    first = state.begin[user]
    for at in range(first, first + state.size[user]):
        if state.pool[at] == friend:
            return at
    return NONE


@njit(cache=True, nogil=True)
def _are_friends(state, one, other):
    """Whether two are friends: looked up with the one who has fewer."""
    if state.size[one] > state.size[other]:
        one, other = other, one
    return _place(state, one, other) != NONE


@njit(cache=True, nogil=True)
def _has_room(figures, used, begin, size, room, pool, user):
    """Whether a list in a pool can grow by one, once it moved to where there is room."""
    if size[user] < room[user]:
        return True
    wanted, end = max(4, 2 * room[user]), figures[used]
    if end + wanted > len(pool):
        return False
    for at in range(size[user]):
        pool[end + at] = pool[begin[user] + at]
    begin[user], room[user] = end, wanted
    figures[used] = end + wanted
    return True


@njit(cache=True, nogil=True)
def _can_befriend(state, user):
    """Whether there is room for one more friend of a user."""
    return _has_room(state.figures, USED, state.begin, state.size, state.room, state.pool, user)


@njit(cache=True, nogil=True)
def _can_buy(state, user):
    """Whether there is room for one more purchase of a user."""
    if state.figures[PURCHASES] == len(state.time):
        return False
    return _has_room(state.figures, SHELVED, state.first, state.counts, state.space, state.shelves, user)


@njit(cache=True, nogil=True)
def _befriend(state, one, other):
    """Make two friends; false if there is no room."""
    if one == other or _are_friends(state, one, other):
        return True
    if not (_can_befriend(state, one) and _can_befriend(state, other)):
        return False
    for user, friend in ((one, other), (other, one)):
        state.pool[state.begin[user] + state.size[user]] = friend
        state.size[user] += 1
    state.figures[FRIENDSHIPS] += 1
    return True


@njit(cache=True, nogil=True)
def _unfriend(state, one, other):
    """Part two; those who are no friends stay so."""
    if one == other or not _are_friends(state, one, other):
        return
    for user, friend in ((one, other), (other, one)):
        last = state.begin[user] + state.size[user] - 1
        state.pool[_place(state, user, friend)] = state.pool[last]
        state.size[user] -= 1
    state.figures[FRIENDSHIPS] -= 1


@njit(cache=True, nogil=True, inline="always")
def _is_newer(state, late, one, other):
    """Whether a purchase is newer than another: by time, ties by order in the log."""
    if late and state.time[one] != state.time[other]:
        return state.time[one] > state.time[other]
    return one > other


@njit(cache=True, nogil=True)
def _record(state, user, time, cents, label):
    """Write a purchase into the log, and its place onto the shelf of its buyer, where its time belongs."""
    figures, shelves = state.figures, state.shelves
    at = np.int32(figures[PURCHASES])
    state.time[at], state.cents[at], state.owner[at], state.label[at] = time, cents, user, label
    figures[PURCHASES] = at + 1
    figures[LABELS] = max(figures[LABELS], label)
    if at > 0 and time < figures[NEWEST]:
        figures[LATE] = 1
    else:
        figures[NEWEST] = time
    first = state.first[user]
    place = first + state.counts[user]
    figures[ACTIVE] += place == first
    while place > first and time < state.time[shelves[place - 1]]:
        shelves[place] = shelves[place - 1]
        place -= 1
    shelves[place] = at
    state.counts[user] += 1
    state.newest[user] = shelves[first + state.counts[user] - 1]


@njit(cache=True, nogil=True)
def _circle(state, tick, start, end):
    """Add the friends of members start..end who are not members yet; how many members there are then."""
    last = end
    for at in range(start, end):
        user = state.members[at]
        first = state.begin[user]
        for place in range(first, first + state.size[user]):
            friend = state.pool[place]
            if state.stamp[friend] != tick:
                state.stamp[friend] = tick
                state.members[last] = friend
                last += 1
    return last


@njit(cache=True, nogil=True)
def _pull(state, late, end, label, floor, most):
    """Find purchases of members from `floor` on in the log (NONE: all), of each the newest; how many there are."""
    found, shelves, newest, labels = state.found, state.shelves, state.newest, state.figures[LABELS] > 0
    count = 0
    for number in range(1, end):
        user = state.members[number]
        if newest[user] < floor and not late:
            continue
        first = state.first[user]
        place, enough = first + state.counts[user] - 1, count + most
        while place >= first and count < enough:
            at = shelves[place]
            if floor != NONE and (at < floor if not late else _is_newer(state, late, floor, at)):
                break
            if not labels or state.label[at] == label:
                found[count] = at
                count += 1
            place -= 1
    return count


@njit(cache=True, nogil=True)
def _keep_newest(state, late, count, most):
    """Move the `most` newest of those found to the front (quickselect)."""
    found = state.found
    low, high = 0, count - 1
    while low < high:
        pivot = found[(low + high) >> 1]
        left, right = low, high
        while left <= right:
            while _is_newer(state, late, found[left], pivot):
                left += 1
            while _is_newer(state, late, pivot, found[right]):
                right -= 1
            if left <= right:
                found[left], found[right] = found[right], found[left]
                left += 1
                right -= 1
        if most - 1 <= right:
            high = right
        elif most - 1 >= left:
            low = left
        else:
            return


@njit(cache=True, nogil=True)
def _is_near(figures, begin, size, pool, stamp, tick, buyer, reach):
    """Whether someone is marked, or at most `reach` friendships away from who is; false, too, when patience is over."""
    if stamp[buyer] == tick:
        return True
    if reach == 0:
        return False
    first = begin[buyer]
    figures[PATIENCE] -= size[buyer]
    for at in range(first, first + size[buyer]):
        if stamp[pool[at]] == tick:
            return True
    if reach > 1:
        for at in range(first, first + size[buyer]):
            if figures[PATIENCE] < 0:
                return False
            if _is_near(figures, begin, size, pool, stamp, tick, pool[at], reach - 1):
                return True
    return False


@njit(cache=True, nogil=True)
def _finds(state, tick, buyer, reach):
    """The same, of a state."""
    return _is_near(state.figures, state.begin, state.size, state.pool, state.stamp, tick, buyer, reach)


@njit(cache=True, nogil=True)
def _walk(state, tick, user, label, most, reach, patience):
    """Find the `most` newest purchases of buyers who are near, from the end of the log; how many there are.

    NONE when that takes more than `patience`.
    """
    count, at = 0, state.figures[PURCHASES] - 1
    state.figures[PATIENCE] = patience
    while at >= 0 and count < most:
        buyer = state.owner[at]
        if buyer != user and state.label[at] == label and _finds(state, tick, buyer, reach):
            state.found[count] = at
            count += 1
        at -= 1
        state.figures[PATIENCE] -= 1
        if state.figures[PATIENCE] < 0:
            return NONE
    return count


@njit(cache=True, nogil=True)
def _depth(state, user, end, most):
    """How far back to read for a user: as far as last time and a bit, or as networks of that width need on average."""
    purchases, known = state.figures[PURCHASES], np.int64(state.depth[user])
    if known > 0:
        return min(purchases, known + (known >> 2) + 16)
    return min(purchases, 2 * most * (1 + np.int64(state.figures[ACTIVE] / max(1.0, end))) + 16)


@njit(cache=True, nogil=True)
def _tick(state):
    """A mark that nobody bears."""
    if state.figures[TICK] == LAST_TICK:
        state.stamp[:] = 0
        state.figures[TICK] = 0
    state.figures[TICK] += 1
    return np.int32(state.figures[TICK])


@njit(cache=True, nogil=True)
def _edges(state, start, end):
    """How many friends members start..end have."""
    edges = 0
    for at in range(start, end):
        edges += state.size[state.members[at]]
    return edges


@njit(cache=True, nogil=True)
def _search(state, tick, user, label, degrees, most):
    """Widen the circle about a user until it is whole or the log is nearer; count or NONE, members, their radius."""
    figures = state.figures
    asked = 2.0 + 2.0 * figures[FRIENDSHIPS] / len(state.size)
    state.stamp[user] = tick
    state.members[0] = user
    start, end = 0, 1
    for radius in range(degrees):
        edges, reach = _edges(state, start, end), degrees - radius
        if edges == 0:
            break
        whole = min(edges * asked ** (reach - 1), 2.0 * figures[FRIENDSHIPS])
        depth = _depth(state, user, end + min(whole, np.float64(len(state.size))), most)
        if figures[LATE] == 0 and 2.0 * depth * asked**reach < whole:
            count = _walk(state, tick, user, label, most, reach, np.int64(whole / 2.0))
            if count != NONE:
                return count, end, radius
        start, end = end, _circle(state, tick, start, end)
    return NONE, end, degrees


@njit(cache=True, nogil=True)
def last_of_network(state, user, label, degrees, most):
    """Find the last `most` purchases of a network: they stand first in `found`.

    How many they are, how many of the network stand in `members`, after the user, and how far away these are at most.
    """
    figures = state.figures
    if degrees < 1 or most < 1 or state.size[user] == 0:
        return 0, 0, 0
    tick, late, purchases = _tick(state), figures[LATE] != 0, figures[PURCHASES]
    count, end, radius = _search(state, tick, user, label, degrees, most)
    if count == NONE:
        depth = _depth(state, user, np.float64(end), most)
        count = _pull(state, late, end, label, purchases - depth if depth < purchases else NONE, most)
        while count < most and depth < purchases:
            depth = min(purchases, 4 * depth)
            count = _pull(state, late, end, label, purchases - depth if depth < purchases else NONE, most)
        if count > most:
            _keep_newest(state, late, count, most)
            count = most
    oldest = purchases
    for at in range(count):
        oldest = min(oldest, np.int64(state.found[at]))
    state.depth[user] = purchases - oldest if count == most else purchases
    return count, end, radius


@njit(cache=True, nogil=True, error_model="numpy")
def _may_stand_out(state, count, cents):
    """Whether an amount may lie above mean + 3 sd: false only where it surely does not."""
    if count < 2:
        return False
    largest, total = abs(np.float64(cents)), 0.0
    odd = cents < LEAST
    for at in range(count):
        amount = state.cents[state.found[at]]
        odd |= amount < LEAST
        largest = max(largest, abs(np.float64(amount)))
        total += np.float64(amount)
    mean, squares = total / count, 0.0
    for at in range(count):
        off = np.float64(state.cents[state.found[at]]) - mean
        squares += off * off
    slack = ROUNDING * largest * (count + 16.0)
    return odd or np.float64(cents) > mean + 3.0 * np.sqrt(squares / count) - slack


@njit(cache=True, nogil=True)
def _levels(state, user, radius, end):
    """Write into `stamp`, as negative numbers, how many friendships lead to each member, the farthest `radius` away."""
    for at in range(end):
        state.stamp[state.members[at]] = -1 - radius
    state.stamp[user] = -1
    start, last = 0, 1
    for level in range(1, radius):
        reached = last
        while reached < end and _touches(state, state.members[reached], -level):
            state.stamp[state.members[reached]] = -1 - level
            reached += 1
        start, last = last, reached
        if start == last:
            break


@njit(cache=True, nogil=True)
def _distances(state, user, degrees, places, radius, end):
    """How many friendships lead to the buyers at some places of the log."""
    tick, levels = np.int32(state.figures[TICK]), np.zeros(len(places), np.int32)
    state.figures[PATIENCE] = 1 << 62
    for number in range(len(places)):
        buyer, reach = state.owner[places[number]], 0
        while radius + reach < degrees and not _finds(state, tick, buyer, reach):
            reach += 1
        levels[number] = radius + reach
    _levels(state, user, radius, end)
    for number in range(len(places)):
        mark = state.stamp[state.owner[places[number]]]
        levels[number] = -1 - mark if mark < 0 else levels[number]
    for at in range(end):
        state.stamp[state.members[at]] = 0
    return levels


@njit(cache=True, nogil=True)
def _touches(state, user, mark):
    """Whether a user has a friend with this mark."""
    first = state.begin[user]
    for at in range(first, first + state.size[user]):
        if state.stamp[state.pool[at]] == mark:
            return True
    return False


@njit(cache=True, nogil=True)
def _ordered(state, count):
    """The places of the purchases found, newest first."""
    places = np.sort(state.found[:count])[::-1]
    if state.figures[LATE] == 0:
        return places.copy()
    return places[np.argsort(-state.time[places], kind="mergesort")]


@njit(cache=True, nogil=True)
def _write(state, windows, event, user, degrees, count, radius, end):
    """Write down what a purchase was judged by; false if there is no room."""
    number = windows.sizes[0]
    first = windows.bounds[number]
    if number + 1 >= len(windows.bounds) or first + count > len(windows.owner):
        return False
    places = _ordered(state, count)
    levels = _distances(state, user, degrees, places, radius, end)
    for at in range(count):
        place = places[at]
        windows.owner[first + at], windows.time[first + at] = state.owner[place], state.time[place]
        windows.cents[first + at], windows.level[first + at] = state.cents[place], levels[at]
    windows.event[number] = event
    windows.bounds[number + 1] = first + count
    windows.sizes[0] = number + 1
    return True


@njit(cache=True, nogil=True)
def follow(state, windows, acts, begin, degrees, most, judge, every):
    """Go through events from `begin` on; the first for which there was no room, or how many events there are.

    With `judge`, windows get the purchases that may stand out, or with `every` all that have a network to go by.
    """
    kind, user, other, time, cents, label = acts
    for event in range(begin, len(kind)):
        if kind[event] == BEFRIEND:
            if not _befriend(state, user[event], other[event]):
                return event
        elif kind[event] == UNFRIEND:
            _unfriend(state, user[event], other[event])
        else:
            if not _can_buy(state, user[event]):
                return event
            if judge:
                count, end, radius = last_of_network(state, user[event], label[event], degrees, most)
                wanted = (every and count >= 2) or _may_stand_out(state, count, cents[event])
                if wanted and not _write(state, windows, event, user[event], degrees, count, radius, end):
                    return event
            _record(state, user[event], time[event], cents[event], label[event])
    return len(kind)


@njit(cache=True, nogil=True)
def kept(state, most):
    """Which purchases of the log are among the `most` newest of their buyers, of each label."""
    keep = np.zeros(state.figures[PURCHASES], np.bool_)
    counts = np.zeros(1 + state.figures[LABELS], np.int64)
    for user in range(len(state.counts)):
        own = state.shelves[state.first[user] : state.first[user] + state.counts[user]]
        for at in own[::-1]:
            counts[state.label[at]] += 1
            keep[at] = counts[state.label[at]] <= most
        for at in own:
            counts[state.label[at]] = 0
    return keep


@njit(cache=True, nogil=True)
def shelve(state):
    """Lay out the shelves anew, one behind the other, for a log that is in order."""
    purchases = state.figures[PURCHASES]
    state.newest[:] = NONE
    state.counts[:] = 0
    for at in range(purchases):
        state.counts[state.owner[at]] += 1
    state.figures[ACTIVE] = (state.counts > 0).sum()
    end = 0
    for user in range(len(state.counts)):
        state.first[user], state.space[user] = end, state.counts[user]
        end += state.counts[user]
    state.figures[SHELVED] = end
    state.counts[:] = 0
    for at in range(purchases):
        user = state.owner[at]
        state.shelves[state.first[user] + state.counts[user]] = at
        state.counts[user] += 1
        state.newest[user] = at


COUNT, PEOPLE, MEAN, DEVIATION, LARGEST, CLOSEST, DISTANCE, LOGS, SQUARES, ABOVE, WITHIN = range(11)
"""What :func:`survey` says of a network's last purchases: how many they are, of how many people, mean, deviation and
largest in cents, the newest purchase of who is closest and how many friendships lead there, the sum of logarithms and
of their squares, whether the purchase lies above mean + 3 deviations, and the sum of squares of logarithms about the
mean of those by the same user."""

LOG_STEPS: Final = 65536.0
"""Steps of an octave in which logarithms are summed, so that sums are those of integers."""

EXACT: Final = 1 << 61


@njit(cache=True, nogil=True)
def log_steps(cents):
    """The logarithm of an amount to the base 2, in steps; of less than a cent that of a cent."""
    return np.int64(np.round(LOG_STEPS * np.log2(np.float64(max(np.int64(1), cents)))))


@njit(cache=True, nogil=True)
def _spread(state, count, cents, row):
    """Write the mean, the deviation and whether an amount lies above; in integers while these can hold it."""
    total = np.int64(0)
    for at in range(count):
        total += state.cents[state.found[at]]
    middle = total // count
    squares, off, wide = np.int64(0), np.int64(0), 0.0
    for at in range(count):
        apart = state.cents[state.found[at]] - middle
        off += apart
        squares += apart * apart
        wide += np.float64(apart) * np.float64(apart)
    row[MEAN] = total // count if total >= 0 else -(-total // count)
    ahead = count * (cents - middle) - off
    if wide * count * 9.0 < EXACT and abs(np.float64(ahead)) < 2.0**30:
        variance = count * squares - off * off
        deviation = np.int64(np.sqrt(np.float64(variance))) // count
        while deviation * deviation * count * count > variance:
            deviation -= 1
        while (deviation + 1) * (deviation + 1) * count * count <= variance:
            deviation += 1
        row[DEVIATION] = deviation
        row[ABOVE] = ahead > 0 and ahead * ahead > 9 * variance
    else:
        deviation = np.sqrt(max(0.0, wide / count - (np.float64(off) / count) ** 2))
        row[DEVIATION] = np.int64(deviation)
        row[ABOVE] = np.float64(ahead) / count > 3.0 * deviation


@njit(cache=True, nogil=True)
def _within(state, places, middle):
    """The sum of squares of logarithms about the mean of those by the same user, in steps; near `middle` they lie."""
    order = np.argsort(state.owner[places].astype(np.int64), kind="mergesort")
    total, squares, number, within = np.int64(0), np.int64(0), 0, 0.0
    for rank in range(len(places)):
        place = places[order[rank]]
        apart = log_steps(state.cents[place]) - middle
        total, squares, number = total + apart, squares + apart * apart, number + 1
        if rank + 1 == len(places) or state.owner[places[order[rank + 1]]] != state.owner[place]:
            within += np.float64(squares) - np.float64(total) * np.float64(total) / number
            total, squares, number = np.int64(0), np.int64(0), 0
    return np.int64(np.round(max(0.0, within)))


@njit(cache=True, nogil=True)
def _describe(state, user, degrees, count, radius, end, cents, row):
    """Write all that is said of a network's last purchases."""
    places = _ordered(state, count)
    _spread(state, count, cents, row)
    levels = _distances(state, user, degrees, places, radius, end)
    largest, closest, distance = state.cents[places[0]], state.cents[places[0]], degrees + 1
    for number in range(count):
        amount, level = state.cents[places[number]], levels[number]
        if level < distance:
            closest, distance = amount, level
        largest = max(largest, amount)
        steps = log_steps(amount)
        row[LOGS] += steps
        row[SQUARES] += steps * steps
    row[COUNT], row[PEOPLE] = count, len(np.unique(state.owner[places]))
    row[WITHIN] = _within(state, places, row[LOGS] // count)
    row[LARGEST], row[CLOSEST], row[DISTANCE] = largest, closest, distance


@njit(cache=True, nogil=True)
def survey(state, acts, begin, degrees, most, told):
    """Go through events, and write what each purchase came after; the first without room for it, or how many."""
    kind, user, other, time, cents, label = acts
    for event in range(begin, len(kind)):
        if kind[event] == BEFRIEND:
            if not _befriend(state, user[event], other[event]):
                return event
        elif kind[event] == UNFRIEND:
            _unfriend(state, user[event], other[event])
        elif kind[event] == PURCHASE:
            if not _can_buy(state, user[event]):
                return event
            count, end, radius = last_of_network(state, user[event], label[event], degrees, most)
            if count >= 2:
                _describe(state, user[event], degrees, count, radius, end, cents[event], told[event])
            _record(state, user[event], time[event], cents[event], label[event])
    return len(kind)
