"""The compiled passes behind :mod:`amiss.detect.login`, which says what is computed. Here stands how.

Users come one after another, each with all logins in order. What a user did in earlier periods stands sorted, so that a
row of it is found by halving; what the user did in this one is a short list that is gone through. Counts are in
sixteenths of a login, and whatever is added up is an integer: sums do not depend on where a stream is cut.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit
from numba.core import cgutils
from numba.extending import intrinsic

from amiss.baseline import Floats, Ints

COUNTRY, CITY, PROVIDER, NETWORK, ADDRESS, DEVICE, VERSION, AGENT, HOUR, TRAIL = range(10)
"""The features. Of a trail, `given` is the hour of a login since 1970 and the value its cell."""

TRAVEL: Final = TRAIL
"""The feature in memory that counts cells (given `NOWHERE`) and far legs (by row and pace); its place in details."""

CHAINS: Final = 8
"""The features that are categories, which come first."""

LOGINS: Final = 10
"""Logins themselves, in counts only: all of a user, each a whole one whatever it taught."""

GROUP: Final = 11
"""The group of a user, in counts only: given the day since 1970, how many logins named it."""

KIND: Final = 12
"""What a network is for, after its city; the numbers of kinds are those of :data:`amiss.kinds.KINDS`."""

FEATURES: Final = 13
"""All features; in details `LOGINS` and `GROUP` are places of something else."""

JUDGED: Final = (*range(LOGINS), KIND)
"""The features that are judged."""

LEG: Final = LOGINS
"""The place in details of the row and the pace of a far leg."""

NOWHERE: Final = -1
"""The given of a feature that has none, and the cell of an unknown place."""

ONE: Final = 16
"""A login in counts."""

FRESH: Final = 0.5
"""What something new weighs beside the users in a row of everyone's."""

BELIEF: Final = 1.0
"""How much the share of new things of all rows weighs beside that of one row."""

FRAILTY: Final = 3.0
"""The new things that the pace of all weighs beside a user's own, and a user's beside that of one row."""

AS_COLLEAGUES: Final = (0.95, 0.1)
"""The share of users who are where colleagues are, or have what they have, at first and later; others as everyone."""

MOST_NEW: Final = 0.95
"""The highest chance of something new."""

LEAST_REST: Final = 1e-9
"""Where less than this is left of what could be new, nothing is."""

BINS: Final = 24
"""How many bins of a row's logins there are, each twice as wide as the one before."""

FINE: Final = 1 << 20
"""Expected new things are summed in such parts."""

SAME_PERIOD: Final = 0.8
"""How much what the user did in the period itself says of what comes next, once there is enough of it."""

SAME_HOURS: Final = 1.0
"""How much the hours of a period follow from the first, whoever it is, once there are enough of them."""

TOGETHER: Final = np.array([[1.5, 1.5, 2.0, 1.5, 1.0], [2.0, 2.0, 2.0, 1.5, 1.0]])
"""How much likelier a new device or version is where the country, city, provider, network or none of them is new."""

FLAT: Final = np.array([0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
"""The share of everyone's chance in which all values of a row are as likely: people travel where few of them live."""

NEWER: Final = 0.9
"""The share of the versions new for a user that are above all those known."""

HABIT: Final = 4.0
"""The logins, or far legs, that everyone's hours and travels are worth beside a user's own."""

ANY_HOUR: Final = 0.1
"""The share of hours that follow no habit."""

WEEK: Final = 168
"""Hours of a week, of which the last 48 are those of the weekend."""

COUNTRIES: Final = 250.0
"""The countries of the world, about."""

NO_PROVIDER: Final = 0.3
"""The chance that an odd login comes by a provider that nobody used in that country."""

ANY_PROVIDER: Final = 0.3
"""The chance that it comes by one of which all are as likely: machines stand where few people live."""

SHARED: Final = 0.1
"""The chance that an odd login comes from an address as everyone's logins do, and not from one that nobody used."""

AS_EVERYONE: Final = 0.25
"""The share of odd logins that come by kinds of networks as everyone's do."""

ODD_KINDS: Final = np.array([0.0, 0.25, 0.2, 0.05, 0.03, 0.03, 0.3, 0.1, 0.04])
"""The chances of kinds of networks in the rest: machines, and homes and phones that were taken over or are rented."""

OTHER_KINDS: Final = 8.0
"""How many kinds of networks there are."""

KIND_HABIT: Final = 2.0
"""The logins that a user's kinds of networks are worth beside those in one city, and everyone's beside a user's own."""

FAR_KM: Final = (60.0, 500.0, 1500.0, 4000.0)
"""Legs are far from the first of these on, very far from the second."""

BY_LAND: Final = (0.5, 130.0)
BY_AIR: Final = (2.0, 900.0)
"""The hours that a quick journey takes beside its way, to the station or the airport, and its kilometres an hour."""

UNSURE_KM: Final = 40.0
"""By how much legs may be shorter than between the middles of their cells."""

PACES: Final = 5
SLOWER: Final = (8.0, 3.0, 1.5, 1.0)
"""How fast far legs are: in how many times the hours of a quick journey or more; last, faster than anybody travels."""

LEG_ROWS: Final = 5
"""Rows of far legs: to a place where the user was before, if very far; to a new one, by how far it is."""

ODD_PACES: Final = np.array([0.1, 0.15, 0.15, 0.2, 0.4])
"""The chance of each pace of somebody odd."""

ANY_TIME: Final = 0.5
"""The share of odd logins at any time, whenever the user was there last."""

UNKNOWN_HOURLY: Final = 0.1
"""The logins an hour of users of whom nothing is known."""

FASTEST: Final = PACES - 1

HOUR_MICROSECONDS: Final = 3_600_000_000
DAY_MICROSECONDS: Final = 24 * HOUR_MICROSECONDS

CELLS: Final = 720
"""Cells of half a degree around the earth."""

MOST_PAIRS: Final = 1024
"""The different pairs that are remembered of a user in a period; what comes new after them is not."""

PER_LOGIN: Final = 12
"""The pairs that a login may add."""

HYPOTHESES: Final = 8
SOMEBODY, WORLD, NEIGHBOUR, LOCAL, THIEF, THIEF_NEAR, OTHER_DEVICE, KNOWN_BAD = range(HYPOTHESES)

Codes = npt.NDArray[np.int32]


class Owned(NamedTuple):
    """Counts of users: those of user u and feature f stand from `bounds[f, u]` to `bounds[f, u + 1]`.

    `more[f, u]` are the new things of a user (in sixteenths), `expected[f, u]` how many were expected (in fine parts);
    `lumped` tells which pairs everyone's counts do not hold.
    """

    bounds: Ints
    given: Codes
    value: Codes
    counts: Ints
    lumped: npt.NDArray[np.uint8]
    more: Ints
    expected: Ints


class Everyone(NamedTuple):
    """Counts of all users: feature f has the rows from `rows[f]` on, row r the cells from `first[r]` on.

    `new[f]` is the share of new things in all rows of a feature, `pace[f, b]` the new things of a user per login when a
    row has so many logins, `expected[f, b]` how many come before that; `hours` everyone's chance of each hour of the
    week, `alike` how much of an hour's weight falls on another, `paces` (5, 5) the chance of each pace of far legs.

    `near` (5) are the chances of rows of legs to new countries, `apart` (5) those of any two users; `detours` (4) the
    chances that somebody is in another country, city or network than ever, or on another device. `arrivals` is, by cell
    of providers, how much likelier it is where it is new for a user than by its count.

    Of kinds of networks, `usual` are everyone's sixteenths, `coming` (3, kinds) the chances of each where settled users
    come to a new country, city or provider, and `loyal` how often users keep to their providers in new cities.
    """

    rows: Ints
    given: Codes
    first: Ints
    value: Codes
    counts: Ints
    total: Ints
    distinct: Ints
    new: Floats
    pace: Floats
    expected: Floats
    hours: Floats
    alike: Floats
    paces: Floats
    near: Floats
    apart: Floats
    detours: Floats
    arrivals: Floats
    usual: Ints
    coming: Floats
    loyal: Floats


class Trails(NamedTuple):
    """Of each user the last cell, the hour of it, and how many far legs there were by row and pace (users, 5, 5)."""

    cell: Codes
    hour: Ints
    legs: Codes


class Groups(NamedTuple):
    """Counts of the users of each group, as :class:`Owned` holds those of each user.

    `total` and `distinct` (pairs + 1) sum up the counts, and the different values, of all pairs before one; `whose` is
    the group of each user, -1 of those without.
    """

    bounds: Ints
    given: Codes
    value: Codes
    counts: Ints
    total: Ints
    distinct: Ints
    whose: Codes


class Normal(NamedTuple):
    """All that logins are judged by. `left` is taken out of `everyone` and `groups`, a user counting up to `cap`.

    `busy` is, of each user, how many times more logins than users on average there were, at least 1; `hourly` how many
    there were an hour.
    """

    own: Owned
    left: Owned
    bad: Owned
    everyone: Everyone
    groups: Groups | None
    trails: Trails
    busy: Floats
    hourly: Floats
    cap: int
    odds: Floats


class Logins(NamedTuple):
    """The columns of events; `given` and `value` (7, n) by category."""

    login: npt.NDArray[np.uint8]
    given: Codes
    value: Codes
    hour: Codes
    cell: Codes
    kind: Codes
    wide: npt.NDArray[np.uint8]
    time: Ints


class Known(NamedTuple):
    """What is remembered of users in a period: the last cell, the time of it, and pairs from `begin[u]` on."""

    cell: Codes
    time: Ints
    begin: Ints
    size: Ints
    room: Ints


class Pairs(NamedTuple):
    """Pairs of features with counts in sixteenths."""

    feature: npt.NDArray[np.uint8]
    given: Codes
    value: Codes
    counts: Codes


class Row(NamedTuple):
    """A row of everyone's counts, without what is left out of it: of so many values (`kinds`).

    `new` is the chance of what nobody showed there; in a share of `flat` all that was shown is as likely. `arriving`:
    what is new for the user is judged by where people arrive.
    """

    low: int
    high: int
    total: float
    kinds: int
    flat: float
    new: float
    left_low: int
    left_high: int
    arriving: bool


class Mates(NamedTuple):
    """A group's row, of so many sixteenths; `share` of what is new for a user of it follows that row."""

    low: int
    high: int
    total: float
    share: float
    left_low: int
    left_high: int


class Judged(NamedTuple):
    """A value after a given: the user's chance p, everyone's q, the user's sixteenths of it and of the row."""

    p: float
    q: float
    count_: int
    of: int
    unused: bool
    """Whether nobody showed it there."""
    even: float
    """Its chance where all in everyone's row are as likely, what nobody showed being one."""
    keep: float
    """The share of p that does not come of this period; q keeps as much of itself."""
    goes_on: float
    """The rest of p: the same person goes on, whoever it is."""
    distinct: int
    """The sixteenths of different values in the user's row, up to 16 each."""
    same: int
    """The sixteenths of just that value, known to everyone's row or not."""
    back: float
    """The chance of what nothing of the user says: the group's, and everyone's behind it."""


@intrinsic
def _lent(_context, array):
    """The array without a count of who holds it.

    Counting takes most of the time where many arrays go through many small functions. Only for arrays that the caller
    of a compiled pass holds until it is over.
    """

    def build(context, builder, signature, arguments):
        lent = context.make_array(signature.args[0])(context, builder, arguments[0])
        lent.meminfo = cgutils.get_null_value(lent.meminfo.type)
        return lent._getvalue()  # noqa: SLF001 - how Numba's own intrinsics do it

    return array(array), build


@njit(cache=True, nogil=True)
def _lent_owned(own):
    """The same counts, lent."""
    codes = _lent(own.given), _lent(own.value), _lent(own.counts), _lent(own.lumped)
    return Owned(_lent(own.bounds), *codes, _lent(own.more), _lent(own.expected))


@njit(cache=True, nogil=True)
def _lent_groups(groups):
    """The same counts, lent, if there are any."""
    if groups is None:
        return None
    codes = _lent(groups.given), _lent(groups.value), _lent(groups.counts), _lent(groups.total), _lent(groups.distinct)
    return Groups(_lent(groups.bounds), *codes, _lent(groups.whose))


@njit(cache=True, nogil=True)
def _lent_everyone(everyone):
    """The same counts, lent."""
    rows = _lent(everyone.rows), _lent(everyone.given), _lent(everyone.first)
    cells = _lent(everyone.value), _lent(everyone.counts), _lent(everyone.total), _lent(everyone.distinct)
    paces = _lent(everyone.new), _lent(everyone.pace), _lent(everyone.expected)
    shares = _lent(everyone.hours), _lent(everyone.alike), everyone.paces, everyone.near, everyone.apart
    kinds = _lent(everyone.usual), _lent(everyone.coming), _lent(everyone.loyal)
    return Everyone(*rows, *cells, *paces, *shares, everyone.detours, _lent(everyone.arrivals), *kinds)


@njit(cache=True, nogil=True)
def _lent_logins(logins):
    """The same columns, lent."""
    codes = _lent(logins.given), _lent(logins.value), _lent(logins.hour), _lent(logins.cell), _lent(logins.kind)
    return Logins(_lent(logins.login), *codes, _lent(logins.wide), _lent(logins.time))


@njit(cache=True, nogil=True, inline="always")
def find(values, low, high, value):
    """The first place from `low` to `high` with at least this value."""
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True, inline="always")
def own_row(own, feature, user, given):
    """From where to where the user's pairs with a given stand."""
    if user + 1 >= own.bounds.shape[1]:
        return np.int64(0), np.int64(0)
    low, high = own.bounds[feature, user], own.bounds[feature, user + 1]
    low = find(own.given, low, high, given)
    return low, find(own.given, low, high, given + 1)


@njit(cache=True, nogil=True, inline="always")
def counted(value, counts, low, high, wanted):
    """The count of a value in a row."""
    at = find(value, low, high, wanted)
    return counts[at] if at < high and value[at] == wanted else np.int64(0)


@njit(cache=True, nogil=True, error_model="numpy")
def price_of_new(prior, distinct, total):
    """The chance of what nobody showed, in a row of everyone's with so many different values of so many."""
    different, all_ = max(1.0, distinct / ONE), max(1.0, total / ONE)
    share = (BELIEF * prior + math.log(different)) / (BELIEF + math.log(all_))
    return (FRESH + share * distinct / ONE) / (FRESH + total / ONE)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def row_of(everyone, left, cap, feature, user, given, arriving):
    """Everyone's row after a given, without the user's share of it where that is left out."""
    first, last = everyone.rows[feature], everyone.rows[feature + 1]
    at = find(everyone.given, first, last, given)
    low, high, total, distinct, gone = np.int64(0), np.int64(0), 0.0, 0.0, 0
    if at < last and everyone.given[at] == given:
        low, high = everyone.first[at], everyone.first[at + 1]
        total, distinct = np.float64(everyone.total[at]), np.float64(everyone.distinct[at])
    left_low, left_high = own_row(left, feature, user, given)
    for i in range(left_low, left_high):
        share = min(left.counts[i], cap)
        whole = counted(everyone.value, everyone.counts, low, high, left.value[i])
        if whole > 0:
            total -= share
            distinct -= min(whole, ONE) - min(whole - share, ONE)
            gone += whole == share
    new = price_of_new(everyone.new[feature], distinct, total) if total > 0.0 else 1.0
    return Row(low, high, total, high - low - gone, FLAT[feature], new, left_low, left_high, arriving)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def others(everyone, left, cap, row, value):
    """Everyone's count of a value in a row."""
    count = counted(everyone.value, everyone.counts, row.low, row.high, value)
    if row.left_low < row.left_high and count > 0:
        count -= min(counted(left.value, left.counts, row.left_low, row.left_high, value), cap)
    return count


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def price(row, count):
    """Everyone's chance of a value with this count in a row; that of all that nobody showed there together, for 0."""
    if count == 0:
        return row.new
    return (1.0 - row.new) * ((1.0 - row.flat) * count / row.total + row.flat / row.kinds)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def price_on_arrival(everyone, row, value, count):
    """Everyone's chance of a value with this count in a row, where it is new for a user."""
    chance = price(row, count)
    if not row.arriving or count == 0:
        return chance
    at = find(everyone.value, row.low, row.high, value)
    return chance * everyone.arrivals[at - everyone.first[everyone.rows[PROVIDER]]]


@njit(cache=True, nogil=True, error_model="numpy")
def mates_of(everyone, groups, left, cap, row, feature, user, group, given):
    """A group's row after a given, without the user's share of it where that is left out; None without groups."""
    if groups is None:
        return None
    low, high = own_row(groups, feature, group, given)
    total, distinct = groups.total[high] - groups.total[low], groups.distinct[high] - groups.distinct[low]
    is_mine = user < len(groups.whose) and groups.whose[user] == group
    left_low, left_high = (row.left_low, row.left_high) if is_mine else (np.int64(0), np.int64(0))
    for i in range(left_low, left_high):
        whole = counted(groups.value, groups.counts, low, high, left.value[i])
        if whole > 0:
            share = min(left.counts[i], cap)
            total -= share
            distinct -= min(whole, ONE) - min(whole - share, ONE)
    if total <= 0:
        return Mates(low, high, 0.0, 0.0, left_low, left_high)
    share = 1.0 - price_of_new(everyone.new[feature], np.float64(distinct), np.float64(total))
    return Mates(low, high, np.float64(total), share, left_low, left_high)


@njit(cache=True, nogil=True, error_model="numpy")
def behind(groups, left, cap, mates, value, q):
    """The chance of a value by a group's row, and by everyone's chance q behind it; q without groups."""
    if groups is None:
        return q
    if mates.share <= 0.0:
        return q
    count = counted(groups.value, groups.counts, mates.low, mates.high, value)
    if mates.left_low < mates.left_high and count > 0:
        count -= min(counted(left.value, left.counts, mates.left_low, mates.left_high, value), cap)
    return mates.share * count / mates.total + (1.0 - mates.share) * q


@njit(cache=True, nogil=True)
def _rest_of(mates):
    """How much of what is new for a user follows everyone's row."""
    if mates is None:
        return 1.0
    return 1.0 - mates.share


@njit(cache=True, nogil=True, inline="always")
def bin_of(total):
    """The bin of a row with so many sixteenths: one more at every doubling of the logins and one."""
    logins, code = total // ONE + 1, 0
    while logins > 1 and code < BINS - 1:
        logins >>= 1
        code += 1
    return code


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def expected_new(everyone, feature, total):
    """How many new things come in a row until it has so many sixteenths, in fine parts."""
    code = bin_of(total)
    behind = total / ONE - (2.0**code - 1.0)
    return np.int64(FINE * (everyone.expected[feature, code] + everyone.pace[feature, code] * behind))


@njit(cache=True, nogil=True, error_model="numpy")
def chance_of_new(everyone, feature, sums, distinct, total, factor):
    """The chance that what comes next in a user's row is new there, `factor` times as likely as usual."""
    more = max(0, distinct - ONE)
    here = expected_new(everyone, feature, total)
    often = (FRAILTY + (sums[0, feature] - more) / ONE) / (FRAILTY + (sums[1, feature] - here) / FINE)
    often *= (FRAILTY + more / ONE) / (FRAILTY + often * here / FINE)
    pace = min(MOST_NEW, everyone.pace[feature, bin_of(total)] * often * factor)
    return 1.0 - min(1.0, total / ONE) * (1.0 - pace)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def held(own, pairs, size, low, high, feature, given, value):
    """How much of a login, up to one, the user showed a pair; `low` and `high` bound the row of earlier periods."""
    count = counted(own.value, own.counts, low, high, value)
    for j in range(size):
        if pairs.feature[j] == feature and pairs.given[j] == given and pairs.value[j] == value:
            count += pairs.counts[j]
    return min(1.0, count / ONE)


@njit(cache=True, nogil=True, error_model="numpy")
def _new_version(
    everyone, groups, left, cap, own, row, mates, pairs, size, low, high, given, value, highest, unknown, back, mine
):
    """The chance of a version when it is new for the user, mostly above the highest one known; whether any can be."""
    above, below = 0.0, 0.0
    for i in range(row.low, row.high):
        count = others(everyone, left, cap, row, everyone.value[i])
        share = behind(groups, left, cap, mates, everyone.value[i], price(row, count)) if count > 0 else 0.0
        if everyone.value[i] > highest:
            above += share
        else:
            below += share * (1.0 - held(own, pairs, size, low, high, VERSION, given, everyone.value[i]))
    never = _rest_of(mates) * row.new
    if unknown == 0:
        above, below = above + never / 2.0, below + never / 2.0
    else:
        below += never * (1.0 - min(1.0, unknown / ONE))
    on_top = value > highest and (unknown == 0 or others(everyone, left, cap, row, value) > 0)
    side = NEWER if on_top else 1.0 - NEWER
    side = 1.0 if above <= LEAST_REST or below <= LEAST_REST else side
    rest = max(above if on_top else below, (1.0 - mine) * back)
    return side * (1.0 - mine) * back / rest if mine < 1.0 else 0.0, above + below > LEAST_REST


@njit(cache=True, nogil=True, error_model="numpy")
def _new_value(
    everyone, groups, left, cap, own, row, mates, pairs, size, low, high, feature, given, unknown, back, mine
):
    """The chance of a value when it is new for the user: others', without what the user showed; whether any can."""
    taken = _rest_of(mates) * row.new * min(1.0, unknown / ONE)
    for i in range(low, high):
        if not own.lumped[i]:
            count = others(everyone, left, cap, row, own.value[i])
            back_of = price_on_arrival(everyone, row, own.value[i], count)
            chance = behind(groups, left, cap, mates, own.value[i], back_of)
            taken += chance * held(own, pairs, size, low, high, feature, given, own.value[i])
    for j in range(size):
        if pairs.feature[j] == feature and pairs.given[j] == given:
            count = others(everyone, left, cap, row, pairs.value[j])
            if count > 0 and counted(own.value, own.counts, low, high, pairs.value[j]) == 0:
                back_of = price_on_arrival(everyone, row, pairs.value[j], count)
                chance = behind(groups, left, cap, mates, pairs.value[j], back_of)
                taken += chance * min(1.0, pairs.counts[j] / ONE)
    rest = max(1.0 - taken, (1.0 - mine) * back)
    return (1.0 - mine) * back / rest if mine < 1.0 else 0.0, rest > LEAST_REST


@njit(cache=True, nogil=True, error_model="numpy")
def judge(
    everyone, groups, left, cap, own, user, group, pairs, size, sums, feature, given, value, fresh, arriving, factor
):
    """What a value after a given says. `fresh`: what it comes after is new for the user, so that others' rows judge.

    `arriving`: if it is new for the user, it is a place where people arrive.
    All values that everyone's row does not hold are one.
    """
    row = row_of(everyone, left, cap, feature, user, given, arriving)
    count = others(everyone, left, cap, row, value)
    q, even = price(row, count), 1.0 / (row.kinds + 1)
    low, high = own_row(own, feature, user, given)
    total, distinct, mine, highest = np.int64(0), np.int64(0), np.int64(0), np.int32(-1)
    today, again, unknown, again_unknown = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for i in range(low, high):
        total += own.counts[i]
        distinct += min(own.counts[i], ONE)
        highest = max(highest, own.value[i])
        if own.value[i] == value:
            mine += own.counts[i]
        unknown += own.counts[i] if own.lumped[i] else 0
    for j in range(size):
        if pairs.feature[j] == feature and pairs.given[j] == given:
            before = counted(own.value, own.counts, low, high, pairs.value[j])
            total += pairs.counts[j]
            today += pairs.counts[j]
            distinct += min(before + pairs.counts[j], ONE) - min(before, ONE)
            highest = max(highest, pairs.value[j])
            if pairs.value[j] == value:
                mine += pairs.counts[j]
                again += pairs.counts[j]
            if others(everyone, left, cap, row, pairs.value[j]) == 0:
                unknown += pairs.counts[j]
                again_unknown += pairs.counts[j]
    same = mine
    if count == 0:
        mine, again = unknown, again_unknown
    mates = mates_of(everyone, groups, left, cap, row, feature, user, group, given)
    back = behind(groups, left, cap, mates, value, price_on_arrival(everyone, row, value, count))
    if fresh or total == 0:
        return Judged(back, q, mine, total, count == 0, even, 1.0, 0.0, distinct, same, back)
    if feature == VERSION and unknown == 0 and count == 0:
        q, back = 0.5 * q, 0.5 * back
    new = chance_of_new(everyone, feature, sums, distinct, total, factor)
    shown = min(1.0, mine / ONE)
    once, any_new = 0.0, True
    if (shown < 1.0 or unknown >= ONE) and feature == VERSION:
        once, any_new = _new_version(
            everyone, groups, left, cap, own, row, mates, pairs, size, low, high, given, value, highest, unknown, back,
            shown,
        )  # fmt: skip
    elif shown < 1.0 or unknown >= ONE:
        once, any_new = _new_value(
            everyone, groups, left, cap, own, row, mates, pairs, size, low, high, feature, given, unknown, back, shown
        )
    new = new if any_new else 0.0
    p, keep, goes_on = (1.0 - new) * mine / total + new * once, 1.0, 0.0
    if today > 0:
        stay = SAME_PERIOD * today / (today + ONE)
        p = (1.0 - stay) * p + stay * again / today
        share = stay + (1.0 - stay) * (1.0 - new) * today / total
        keep, goes_on = 1.0 - share, share * again / today
    return Judged(min(1.0, p), q, mine, total, count == 0, even, keep, goes_on, distinct, same, back)


@njit(cache=True, nogil=True, error_model="numpy")
def _usual_kind(everyone, left, cap, user, kind):
    """Everyone's chance of a kind of network, without the user's share of it where that is left out."""
    count, total = everyone.usual[kind], everyone.usual.sum()
    if user + 1 < left.bounds.shape[1]:
        for i in range(left.bounds[KIND, user], left.bounds[KIND, user + 1]):
            share = min(left.counts[i], cap)
            total -= share
            count -= share if left.value[i] == kind else 0
    return (count / ONE + FRESH / OTHER_KINDS) / (total / ONE + FRESH)


@njit(cache=True, nogil=True)
def _kinds_of(own, user, pairs, size, city, kind, sums):
    """Fill in the user's sixteenths of all kinds and of one, of all and one in the city, and of these in the period."""
    sums[:] = 0
    if user + 1 < own.bounds.shape[1]:
        for i in range(own.bounds[KIND, user], own.bounds[KIND, user + 1]):
            same, here = own.value[i] == kind, own.given[i] == city
            sums[0] += own.counts[i]
            sums[1] += own.counts[i] if same else 0
            sums[2] += own.counts[i] if here else 0
            sums[3] += own.counts[i] if here and same else 0
    for j in range(size):
        if pairs.feature[j] == KIND:
            same, here = pairs.value[j] == kind, pairs.given[j] == city
            sums[0] += pairs.counts[j]
            sums[1] += pairs.counts[j] if same else 0
            sums[4] += pairs.counts[j] if here else 0
            sums[5] += pairs.counts[j] if here and same else 0
    sums[2] += sums[4]
    sums[3] += sums[5]


@njit(cache=True, nogil=True, error_model="numpy")
def judge_kind(everyone, left, cap, own, user, pairs, size, city, kind, moved, sums):
    """What the kind of a network says; `moved` is the first category of the place that is new for the user."""
    usual = _usual_kind(everyone, left, cap, user, kind)
    odd = AS_EVERYONE * usual + (1.0 - AS_EVERYONE) * ODD_KINDS[kind]
    _kinds_of(own, user, pairs, size, city, kind, sums)
    whole, mine, there, like, today, again = sums
    if whole == 0:
        return Judged(usual, odd, mine, whole, False, 0.0, 1.0, 0.0, np.int64(0), mine, usual)
    if moved <= CITY:
        chance = everyone.coming[moved, kind]
        return Judged(chance, odd, mine, whole, False, 0.0, 1.0, 0.0, np.int64(0), mine, usual)
    elsewhere = ((mine - like) / ONE + KIND_HABIT * usual) / ((whole - there) / ONE + KIND_HABIT)
    p, keep, goes_on = (like / ONE + KIND_HABIT * elsewhere) / (there / ONE + KIND_HABIT), 1.0, 0.0
    if today > 0:
        stay = SAME_PERIOD * today / (today + ONE)
        p = (1.0 - stay) * p + stay * again / today
        share = stay + (1.0 - stay) * today / (there + KIND_HABIT * ONE)
        keep, goes_on = 1.0 - share, share * again / today
    return Judged(p, keep * odd + goes_on, mine, whole, False, 0.0, keep, goes_on, np.int64(0), mine, usual)


@njit(cache=True, nogil=True)
def near(distance):
    """How much of an hour's weight falls on one so many hours away."""
    return (4.0 - distance) / 16.0 if distance < 4 else 0.0


@njit(cache=True, nogil=True)
def alike():
    """How much of the weight of an hour of the week falls on each: half by the week, half by the kind of day (w, w)."""
    table = np.empty((WEEK, WEEK))
    for hour in range(WEEK):
        for other in range(WEEK):
            apart = abs(hour - other)
            weight = 0.5 * near(min(apart, WEEK - apart))
            rest = hour // 24 >= 5
            if rest == (other // 24 >= 5):
                apart = abs(hour % 24 - other % 24)
                weight += 0.5 * near(min(apart, 24 - apart)) / (2.0 if rest else 5.0)
            table[hour, other] = weight
    return table


@njit(cache=True, nogil=True, error_model="numpy")
def judge_hour(everyone, own, user, pairs, size, hour):
    """What an hour of the week says."""
    low, high = own_row(own, HOUR, user, NOWHERE)
    weight, total, mine, today = 0.0, np.int64(0), np.int64(0), np.int64(0)
    for i in range(low, high):
        weight += everyone.alike[hour, own.value[i]] * own.counts[i]
        total += own.counts[i]
        mine += own.counts[i] if everyone.alike[hour, own.value[i]] > 0.0 else 0
    for j in range(size):
        if pairs.feature[j] == HOUR:
            weight += everyone.alike[hour, pairs.value[j]] * pairs.counts[j]
            total += pairs.counts[j]
            today += pairs.counts[j]
            mine += pairs.counts[j] if everyone.alike[hour, pairs.value[j]] > 0.0 else 0
    whole = everyone.hours[hour]
    p = (weight / ONE + HABIT * whole) / (total / ONE + HABIT)
    p = (1.0 - ANY_HOUR) * p + ANY_HOUR / WEEK
    keep = 1.0 - SAME_HOURS * today / (today + ONE)
    q = keep * (0.5 * whole + 0.5 / WEEK) + (1.0 - keep) * p
    return Judged(p, q, mine, total, False, 0.0, keep, (1.0 - keep) * p, np.int64(0), mine, whole)


@njit(cache=True, nogil=True)
def kilometres(cell, other):
    """How far the middles of two cells are apart."""
    y, x = math.radians((cell // CELLS + 0.5) / 2.0 - 90.0), math.radians((cell % CELLS + 0.5) / 2.0)
    v, u = math.radians((other // CELLS + 0.5) / 2.0 - 90.0), math.radians((other % CELLS + 0.5) / 2.0)
    a = math.sin((v - y) / 2.0) ** 2 + math.cos(y) * math.cos(v) * math.sin((u - x) / 2.0) ** 2
    return 2.0 * 6371.0 * math.asin(min(1.0, math.sqrt(a)))


@njit(cache=True, nogil=True, inline="always")
def leg(cell, other, hours):
    """How many of `FAR_KM` a leg has, the pace of it, so many whole hours apart, and the hours of a quick journey."""
    if cell == other or cell < 0 or other < 0:
        return 0, 0, 0.0
    length, far, pace = kilometres(cell, other), 0, 0
    for least in FAR_KM:
        far += length >= least
    way = max(0.0, length - UNSURE_KM)
    quick = min(BY_LAND[0] + way / BY_LAND[1], BY_AIR[0] + way / BY_AIR[1])
    for times in SLOWER:
        pace += hours + 1 < times * quick
    return far, pace, quick


@njit(cache=True, nogil=True)
def apart(cells, most):
    """The rows in which legs between some cells would be that are far apart in their order."""
    rows = np.zeros(min(len(cells), most), dtype=np.int64)
    step = max(1, len(cells) // max(1, len(rows)))
    for i in range(len(rows)):
        far, _, _ = leg(cells[i * step], cells[(i * step + len(cells) // 2) % len(cells)], 0)
        rows[i] = far
    return rows


@njit(cache=True, nogil=True)
def follow_trails(own, trails):
    """Fill in the trails of users from their counts."""
    for user in range(len(trails.cell)):
        cell, hour, low = np.int32(NOWHERE), np.int64(0), own.bounds[TRAIL, user]
        for i in range(low, own.bounds[TRAIL, user + 1]):
            far, pace, _ = leg(cell, own.value[i], own.given[i] - hour)
            row = _row_of_leg(far, far > 0 and not _was_there(own, low, i, own.value[i]))
            if row >= 0:
                trails.legs[user, row, pace] += 1
            cell, hour = own.value[i], np.int64(own.given[i])
        trails.cell[user], trails.hour[user] = cell, hour


@njit(cache=True, nogil=True, inline="always")
def _row_of_leg(far, new):
    """The row that a leg counts in, -1 where it does not."""
    if new:
        return far
    return 0 if far > 1 else -1


@njit(cache=True, nogil=True)
def _was_there(own, low, high, cell):
    """Whether a cell is among those of a user's trail."""
    for i in range(low, high):
        if own.value[i] == cell:
            return True
    return False


@njit(cache=True, nogil=True)
def _is_known(own, user, pairs, size, cell):
    """Whether the user was in a cell before."""
    for j in range(size):
        if pairs.feature[j] == TRAIL and pairs.given[j] == NOWHERE and pairs.value[j] == cell:
            return True
    if user + 1 >= own.bounds.shape[1]:
        return False
    return _was_there(own, own.bounds[TRAIL, user], own.bounds[TRAIL, user + 1], cell)


@njit(cache=True, nogil=True, error_model="numpy")
def odd_pace(pace, quick, hourly):
    """The chance of a pace of somebody odd, after a user who logs in so often an hour.

    Half an hour is what whole hours and one are too long on average.
    """
    sooner = -math.expm1(-hourly * max(0.0, SLOWER[pace - 1] * quick - 0.5)) if pace > 0 else 1.0
    too_soon = -math.expm1(-hourly * max(0.0, SLOWER[pace] * quick - 0.5)) if pace < FASTEST else 0.0
    return (1.0 - ANY_TIME) * ODD_PACES[pace] + ANY_TIME * (sooner - too_soon)


@njit(cache=True, nogil=True, error_model="numpy")
def judge_leg(everyone, trails, user, pairs, size, row, pace, quick, hourly):
    """What a far leg says, by its row and pace."""
    whole, like, today, again = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    if user < len(trails.legs):
        whole, like = np.int64(trails.legs[user, row].sum()) * ONE, np.int64(trails.legs[user, row, pace]) * ONE
    for j in range(size):
        if pairs.feature[j] == TRAVEL and pairs.given[j] == row:
            whole += pairs.counts[j]
            today += pairs.counts[j]
            like += pairs.counts[j] if pairs.value[j] == pace else 0
            again += pairs.counts[j] if pairs.value[j] == pace else 0
    p = (like / ONE + HABIT * everyone.paces[row, pace]) / (whole / ONE + HABIT)
    keep, goes_on = 1.0 - today / (whole + HABIT * ONE), again / (whole + HABIT * ONE)
    q = keep * odd_pace(pace, quick, hourly) + goes_on
    return Judged(p, q, like, whole, False, 0.0, keep, goes_on, np.int64(0), like, p)


@njit(cache=True, nogil=True)
def _row_sums(own, user, pairs, size, feature, given):
    """All sixteenths of a user's row, and those of different values, up to 16 each."""
    low, high = own_row(own, feature, user, given)
    total, distinct = np.int64(0), np.int64(0)
    for i in range(low, high):
        total += own.counts[i]
        distinct += min(own.counts[i], ONE)
    for j in range(size):
        if pairs.feature[j] == feature and pairs.given[j] == given:
            before = counted(own.value, own.counts, low, high, pairs.value[j])
            total += pairs.counts[j]
            distinct += min(before + pairs.counts[j], ONE) - min(before, ONE)
    return total, distinct


@njit(cache=True, nogil=True)
def _add_row(everyone, own, user, pairs, size, sums, feature, given, sign):
    """Add what a row of the user says of the pace of new things, or take it away."""
    total, distinct = _row_sums(own, user, pairs, size, feature, given)
    sums[0, feature] += sign * max(0, distinct - ONE)
    sums[1, feature] += sign * expected_new(everyone, feature, total)


@njit(cache=True, nogil=True)
def _sum_up(everyone, own, user, pairs, size, sums):
    """How many new things the user showed, and how many were expected, by feature."""
    sums[:] = 0
    if user < own.more.shape[1]:
        for feature in range(CHAINS):
            sums[0, feature], sums[1, feature] = own.more[feature, user], own.expected[feature, user]
    for j in range(size):
        feature, given, first = np.int64(pairs.feature[j]), pairs.given[j], pairs.feature[j] < CHAINS
        for i in range(j):
            first = first and not (pairs.feature[i] == feature and pairs.given[i] == given)
        if first:
            _add_row(everyone, own, user, pairs, 0, sums, feature, given, -1)
            _add_row(everyone, own, user, pairs, size, sums, feature, given, 1)


@njit(cache=True, nogil=True)
def pace_users(own, everyone):
    """Fill in how many new things users showed, how many were expected of them, and which pairs are lumped."""
    for feature in range(CHAINS):
        first, last = everyone.rows[feature], everyone.rows[feature + 1]
        for user in range(own.bounds.shape[1] - 1):
            low, end = own.bounds[feature, user], own.bounds[feature, user + 1]
            while low < end:
                total, distinct, given = np.int64(0), np.int64(0), own.given[low]
                at = find(everyone.given, first, last, given)
                row, row_end = np.int64(0), np.int64(0)
                if at < last and everyone.given[at] == given:
                    row, row_end = everyone.first[at], everyone.first[at + 1]
                while low < end and own.given[low] == given:
                    total += own.counts[low]
                    distinct += min(own.counts[low], ONE)
                    own.lumped[low] = counted(everyone.value, everyone.counts, row, row_end, own.value[low]) == 0
                    low += 1
                own.more[feature, user] += max(0, distinct - ONE)
                own.expected[feature, user] += expected_new(everyone, feature, total)


@njit(cache=True, nogil=True)
def make_room(first, login, known, used):
    """Give users room for the pairs that their logins may add, behind what is used; how much is used then."""
    for u in range(len(first) - 1):
        logins = 0
        for i in range(first[u], first[u + 1]):
            logins += login[i] != 0
        wanted = min(known.size[u] + PER_LOGIN * logins, MOST_PAIRS)
        if wanted > known.room[u]:
            known.room[u] = min(max(wanted, 2 * known.room[u]), MOST_PAIRS)
            known.begin[u] = -1 - used
            used += known.room[u]
    return used


@njit(cache=True, nogil=True)
def move(known, before, pairs):
    """Move the pairs of users who got room: `before` is where they stood."""
    for u in range(len(known.begin)):
        if known.begin[u] < 0:
            known.begin[u] = -1 - known.begin[u]
            for j in range(known.size[u]):
                at, to = before[u] + j, known.begin[u] + j
                pairs.feature[to], pairs.given[to] = pairs.feature[at], pairs.given[at]
                pairs.value[to], pairs.counts[to] = pairs.value[at], pairs.counts[at]


@njit(cache=True, nogil=True, error_model="numpy")
def _odd_price(feature, value, found):
    """The chance of a value if the login is odd, from everyone's."""
    if feature == PROVIDER and value > 0:
        known = (1.0 - NO_PROVIDER - ANY_PROVIDER) * found.q + ANY_PROVIDER * found.even
        return known + (NO_PROVIDER if found.unused else 0.0)
    if feature == ADDRESS and value > 0:
        return SHARED * found.q + (1.0 - SHARED if found.unused else 0.0)
    return found.q


@njit(cache=True, nogil=True, error_model="numpy")
def _anywhere(everyone, left, cap, user, country):
    """The chance of a country, or of all together that nobody came from, where all are as likely."""
    row = row_of(everyone, left, cap, COUNTRY, user, NOWHERE, False)
    cells = np.float64(row.high - row.low)
    countries = max(COUNTRIES, cells + 1.0)
    return 1.0 / countries if others(everyone, left, cap, row, country) > 0 else (countries - cells) / countries


@njit(cache=True, nogil=True, error_model="numpy")
def _kind_as_bad(bad, kind, p, q, stays):
    """The chance of the kind of a network if it is like those of logins known to be bad, by that of the user."""
    if q == 1.0:
        return 1.0
    same, total = np.int64(0), np.int64(0)
    for at in range(bad.bounds[KIND, 0], bad.bounds[KIND, 1]):
        total += bad.counts[at]
        same += bad.counts[at] if bad.value[at] == kind else 0
    return ((stays[0] * same + ONE * max(0.0, q - stays[1])) / (total + ONE) + stays[1]) / p


@njit(cache=True, nogil=True, error_model="numpy")
def _as_bad(bad, logins, i, p, q, stays):
    """The chance of a login if it is like those known to be bad, by that of the user."""
    ratio = _kind_as_bad(bad, logins.kind[i], p[KIND], q[KIND], stays[CHAINS])
    for feature in range(CHAINS):
        if logins.wide[i] and feature <= PROVIDER:
            continue
        given, value = logins.given[feature, i], logins.value[feature, i]
        low, high = own_row(bad, feature, np.int64(0), given)
        total = np.int64(0)
        for at in range(low, high):
            total += bad.counts[at]
        same = counted(bad.value, bad.counts, low, high, value)
        keep, goes_on = stays[feature, 0], stays[feature, 1]
        ratio *= ((keep * same + ONE * max(0.0, q[feature] - goes_on)) / (total + ONE) + goes_on) / p[feature]
    return ratio


@njit(cache=True, nogil=True, error_model="numpy")
def ratios(everyone, left, cap, bad, odds, user, logins, i, p, q, stays, closer, ratio):
    """How much likelier each hypothesis makes a login than the user does.

    `closer` is how much likelier the group makes country, city with it, place and device: so do hypotheses that have
    these of the user.
    """
    hour = q[HOUR] / p[HOUR]
    inner = q[PROVIDER] / p[PROVIDER] * (q[NETWORK] / p[NETWORK]) * (q[ADDRESS] / p[ADDRESS]) * (q[TRAVEL] / p[TRAVEL])
    inner *= q[KIND] / p[KIND]
    near = q[CITY] / p[CITY] * inner
    place = q[COUNTRY] / p[COUNTRY] * near
    anywhere = place
    if not logins.wide[i]:
        chance = _anywhere(everyone, left, cap, user, logins.value[COUNTRY, i])
        anywhere = (stays[COUNTRY, 0] * chance + stays[COUNTRY, 1]) / p[COUNTRY] * near
    device = q[DEVICE] / p[DEVICE] * (q[VERSION] / p[VERSION]) * (q[AGENT] / p[AGENT])
    ratio[SOMEBODY] = hour * place * device
    ratio[WORLD] = hour * anywhere * device
    ratio[NEIGHBOUR] = hour * closer[0] * near * device
    ratio[LOCAL] = hour * closer[1] * inner * device
    ratio[THIEF] = hour * 0.5 * (place + anywhere) * closer[3]
    ratio[THIEF_NEAR] = hour * 0.5 * (closer[0] * near + closer[1] * inner) * closer[3]
    ratio[OTHER_DEVICE] = hour * closer[2] * device
    like_bad = _as_bad(bad, logins, i, p, q, stays) if odds[KNOWN_BAD] > 0.0 else 0.0
    ratio[KNOWN_BAD] = hour * q[TRAVEL] / p[TRAVEL] * like_bad


@njit(cache=True, nogil=True, error_model="numpy")
def _elsewhere(chances, p, back, kind):
    """How much likelier the place of a login is because people now and then are elsewhere."""
    line = back[PROVIDER] / p[PROVIDER] * (back[NETWORK] / p[NETWORK]) * (back[ADDRESS] / p[ADDRESS])
    country = back[CITY] / p[CITY] * line
    world = back[COUNTRY] / p[COUNTRY] * country
    away = chances[0] * world * kind[COUNTRY] + chances[1] * country * kind[CITY] + chances[2] * line * kind[PROVIDER]
    return 1.0 - chances[:3].sum() + away / p[KIND]


@njit(cache=True, nogil=True, error_model="numpy")
def _with_another(chances, p, back):
    """How much likelier the device of a login is because people now and then have another one."""
    device = back[DEVICE] / p[DEVICE] * (back[VERSION] / p[VERSION]) * (back[AGENT] / p[AGENT])
    return 1.0 - chances[3] + chances[3] * device


@njit(cache=True, nogil=True, error_model="numpy")
def _as_colleagues(chances, p, like, like_back, place, device, share, closer, kind):
    """Fill in how much likelier country, city, place and device are because users are, by a share, as colleagues are.

    `place` and `device` are how much likelier detours make them, where everyone stands behind the user.
    """
    there, with_it = 1.0, 1.0
    like[KIND] = p[KIND]
    for feature in range(DEVICE):
        there *= like[feature] / p[feature]
        if feature <= CITY:
            closer[feature] = 1.0 - share + share * there
    for feature in range(DEVICE, CHAINS):
        with_it *= like[feature] / p[feature]
    closer[2] = 1.0 - share + share * there * _elsewhere(chances, like, like_back, kind) / place
    closer[3] = 1.0 - share + share * with_it * _with_another(chances, like, like_back) / device


@njit(cache=True, nogil=True)
def _leg_of(own, trails, user, u, logins, i, known, pairs, size):
    """The row and the pace of the far leg that leads to a login; -1 where there is none, or an end is unknown.

    Third come the hours of a quick journey.
    """
    cell, hour, far, pace, quick = logins.cell[i], logins.time[i] // HOUR_MICROSECONDS, 0, 0, 0.0
    if known.cell[u] >= 0:
        far, pace, quick = leg(known.cell[u], cell, hour - known.time[u] // HOUR_MICROSECONDS)
    elif user < len(trails.cell):
        far, pace, quick = leg(trails.cell[user], cell, hour - trails.hour[user])
    if far == 0:
        return -1, 0, quick
    return _row_of_leg(far, not _is_known(own, user, pairs, size, cell)), pace, quick


@njit(cache=True, nogil=True)
def _has_line(own, user, pairs, size, city, kind):
    """Whether the user came by that kind of network in a city before."""
    low, high = own_row(own, KIND, user, city)
    count = counted(own.value, own.counts, low, high, kind)
    for j in range(size):
        if pairs.feature[j] == KIND and pairs.given[j] == city and pairs.value[j] == kind:
            count += pairs.counts[j]
    return count >= ONE


@njit(cache=True, nogil=True)
def _keeping(share, found):
    """A provider where the user never came by that kind of network, and may keep to those of other cities."""
    p = share * found.count_ / found.of + (1.0 - share) * found.back
    rest = found.unused, found.even, 1.0, 0.0, found.distinct, found.same, p
    return Judged(p, found.q, found.count_, found.of, *rest)


@njit(cache=True, nogil=True, error_model="numpy")
def _judge_all(
    everyone, groups, left, cap, own, trails, user, group, logins, i, pairs, size, sums, way, p, q, seen, stays, rows,
    back, like, like_back, kind, kind_sums, hourly,
):  # fmt: skip
    """Fill in the chances of a login, of the user and if it is odd, by feature, and what is behind them.

    That are counts (`seen`), and of categories (`stays`) what of q stays, what of both is the same person going on, and
    everyone's chance (`back`); of the user's `rows` all sixteenths, those of different values, and those of the value.
    `like` and `like_back` are the user's chance and that of others where the group stands before everyone; `kind` are
    everyone's chances of the kind of network in a new country, in a new city, and by a new provider.
    """
    p[:], q[:], seen[:], stays[:], back[:], like[:], like_back[:], kind[:] = 1.0, 1.0, 0, 1.0, 1.0, 1.0, 1.0, 1.0
    stays[:, 1] = 0.0
    fresh, moved, city = False, NETWORK + 1, logins.value[CITY, i]
    told = logins.kind[i] > 0
    for feature in range(CHAINS):
        if logins.wide[i] and feature <= PROVIDER:
            continue
        fresh = fresh and feature != DEVICE
        given, value = logins.given[feature, i], logins.value[feature, i]
        factor = TOGETHER[feature - DEVICE, moved] if feature == DEVICE or feature == VERSION else 1.0
        arriving = feature == PROVIDER and rows[COUNTRY, 0] >= ONE
        found = judge(
            everyone, None, left, cap, own, user, group, pairs, size, sums, feature, given, value, fresh, arriving,
            factor,
        )  # fmt: skip
        keeps = feature == PROVIDER and told and found.of > 0
        keeps = keeps and not _has_line(own, user, pairs, size, city, logins.kind[i])
        found = _keeping(everyone.loyal[logins.kind[i]], found) if keeps else found
        if groups is not None and group >= 0:
            theirs = judge(
                everyone, groups, left, cap, own, user, group, pairs, size, sums, feature, given, value, fresh,
                arriving, factor,
            )  # fmt: skip
            theirs = _keeping(everyone.loyal[logins.kind[i]], theirs) if keeps else theirs
            like[feature], like_back[feature] = theirs.p, theirs.back
        odd = _odd_price(feature, value, found)
        p[feature], q[feature], back[feature] = found.p, found.keep * odd + found.goes_on, found.back
        stays[feature, 0], stays[feature, 1] = found.keep, found.goes_on
        seen[feature, 0], seen[feature, 1] = found.count_, found.of
        rows[feature, 0], rows[feature, 1], rows[feature, 2] = found.of, found.distinct, found.same
        if found.count_ < ONE:
            fresh = True
            moved = min(moved, feature) if feature < ADDRESS else moved
    if told:
        found = judge_kind(everyone, left, cap, own, user, pairs, size, city, logins.kind[i], moved, kind_sums)
        kind[:] = everyone.coming[:, logins.kind[i]]
        p[KIND], q[KIND] = found.p, found.q
        stays[CHAINS, 0], stays[CHAINS, 1] = found.keep, found.goes_on
        seen[KIND, 0], seen[KIND, 1] = found.count_, found.of
    found = judge_hour(everyone, own, user, pairs, size, logins.hour[i])
    p[HOUR], q[HOUR], seen[HOUR, 0], seen[HOUR, 1] = found.p, found.q, found.count_, found.of
    if way[0] >= 0:
        found = judge_leg(everyone, trails, user, pairs, size, way[0], way[1], way[2], hourly)
        abroad = moved == COUNTRY
        p[TRAVEL] = found.p * (everyone.near[way[0]] if abroad else 1.0)
        q[TRAVEL] = found.q * (everyone.apart[way[0]] if abroad else 1.0)
        seen[TRAVEL, 0], seen[TRAVEL, 1] = found.count_, found.of


@njit(cache=True, nogil=True)
def _find_pairs(logins, i, pairs, size, way, places):
    """Where a login stands among the pairs of its user: categories, hour, cell and far leg; -1 of what is new."""
    places[:] = NOWHERE
    for j in range(size):
        feature, given, value = np.int64(pairs.feature[j]), pairs.given[j], pairs.value[j]
        if feature < CHAINS:
            if given == logins.given[feature, i] and value == logins.value[feature, i]:
                places[feature] = j
        elif feature == HOUR:
            if value == logins.hour[i]:
                places[HOUR] = j
        elif feature == KIND:
            if given == logins.value[CITY, i] and value == logins.kind[i]:
                places[PER_LOGIN - 1] = j
        elif given == NOWHERE:
            if value == logins.cell[i]:
                places[TRAIL] = j
        elif given == way[0] and value == way[1]:
            places[TRAIL + 1] = j


@njit(cache=True, nogil=True)
def _count(pairs, size, at, feature, given, value):
    """Count a pair once more, one that is new while there is room; how many pairs there are then."""
    if at >= 0:
        pairs.counts[at] += ONE
    elif size < len(pairs.counts):
        pairs.feature[size], pairs.given[size], pairs.value[size], pairs.counts[size] = feature, given, value, ONE
        size += 1
    return size


@njit(cache=True, nogil=True)
def _learn(everyone, logins, i, pairs, size, sums, way, rows, places):
    """Remember a login, whose `rows` judging it found, for the rest of the period; how many pairs there are then."""
    _find_pairs(logins, i, pairs, size, way, places)
    for feature in range(CHAINS):
        if logins.wide[i] and feature <= PROVIDER:
            continue
        if places[feature] >= 0 or size < len(pairs.counts):
            total, distinct, more = rows[feature, 0], rows[feature, 1], max(0, ONE - rows[feature, 2])
            sums[0, feature] += max(0, distinct + more - ONE) - max(0, distinct - ONE)
            sums[1, feature] += expected_new(everyone, feature, total + ONE) - expected_new(everyone, feature, total)
        size = _count(pairs, size, places[feature], feature, logins.given[feature, i], logins.value[feature, i])
    size = _count(pairs, size, places[HOUR], HOUR, np.int32(NOWHERE), logins.hour[i])
    if logins.kind[i] > 0:
        size = _count(pairs, size, places[PER_LOGIN - 1], KIND, logins.value[CITY, i], logins.kind[i])
    if logins.cell[i] >= 0:
        size = _count(pairs, size, places[TRAIL], TRAIL, np.int32(NOWHERE), logins.cell[i])
    if way[0] >= 0:
        size = _count(pairs, size, places[TRAIL + 1], TRAVEL, np.int32(way[0]), np.int32(way[1]))
    return size


@njit(cache=True, nogil=True, error_model="numpy")
def score_users(first, users, logins, group, normal, known, pairs, bits, surprisal, detail):
    """Score the logins of users: those of user u stand from `first[u]` to `first[u + 1]`.

    `group` is the group of each event, -1 of those without, or empty. Fills `bits` and `surprisal` by event, and
    `detail` (n, 13, 4), where it has room, with p, q, and the logins like it and all logins behind p, by feature; last
    the row and the pace of a far leg, and how much likelier the group makes place and device. What is known of users
    moves on.
    """
    own, left, bad = _lent_owned(normal.own), _lent_owned(normal.left), _lent_owned(normal.bad)
    everyone, trails, cap, odds = _lent_everyone(normal.everyone), normal.trails, normal.cap, normal.odds
    groups, logins, group = _lent_groups(normal.groups), _lent_logins(logins), _lent(group)
    feature_, given_, value_, counts_ = (
        _lent(pairs.feature),
        _lent(pairs.given),
        _lent(pairs.value),
        _lent(pairs.counts),
    )
    sums = np.zeros((2, CHAINS), dtype=np.int64)
    p, q, ratio = np.ones(FEATURES), np.ones(FEATURES), np.empty(HYPOTHESES)
    seen, stays, kind = np.zeros((FEATURES, 2), dtype=np.int64), np.empty((CHAINS + 1, 2)), np.empty(3)
    back, like, like_back, closer = np.empty(CHAINS), np.empty(FEATURES), np.empty(CHAINS), np.empty(4)
    rows, places = np.zeros((CHAINS, 3), dtype=np.int64), np.empty(PER_LOGIN, dtype=np.int64)
    kind_sums = np.zeros(6, dtype=np.int64)
    for u in range(len(users)):
        user, size, ready = np.int64(users[u]), known.size[u], False
        begin, end = known.begin[u], known.begin[u] + known.room[u]
        often = normal.busy[user] if user < len(normal.busy) else 1.0
        hourly = normal.hourly[user] if user < len(normal.hourly) else UNKNOWN_HOURLY
        mine = Pairs(feature_[begin:end], given_[begin:end], value_[begin:end], counts_[begin:end])
        for i in range(first[u], first[u + 1]):
            if logins.login[i] == 0:
                continue
            if not ready:
                _sum_up(everyone, own, user, mine, size, sums)
                ready = True
            whose = np.int64(group[i]) if len(group) else np.int64(NOWHERE)
            way = _leg_of(own, trails, user, u, logins, i, known, mine, size)
            _judge_all(
                everyone, groups, left, cap, own, trails, user, whose, logins, i, mine, size, sums, way, p, q, seen,
                stays, rows, back, like, like_back, kind, kind_sums, hourly,
            )  # fmt: skip
            place, device = _elsewhere(everyone.detours, p, back, kind), _with_another(everyone.detours, p, back)
            closer[:] = 1.0
            if whose >= 0:
                share = AS_COLLEAGUES[min(rows[DEVICE, 0], 1)]
                _as_colleagues(everyone.detours, p, like, like_back, place, device, share, closer, kind)
            ratios(everyone, left, cap, bad, odds, user, logins, i, p, q, stays, closer, ratio)
            detour = place * device * closer[2] * closer[3]
            bits[i] = math.log2((odds * ratio).sum() / (detour * often))
            surprisal[i] -= math.log2(detour)
            for feature in range(FEATURES):
                surprisal[i] -= math.log2(p[feature])
                if len(detail):
                    detail[i, feature, 0], detail[i, feature, 1] = p[feature], q[feature]
                    detail[i, feature, 2], detail[i, feature, 3] = seen[feature, 0] / ONE, seen[feature, 1] / ONE
            if len(detail):
                detail[i, LEG, 0], detail[i, LEG, 1] = way[:2]
                detail[i, LEG, 2], detail[i, LEG, 3] = closer[2], closer[3]
            size = _learn(everyone, logins, i, mine, size, sums, way, rows, places)
            if logins.cell[i] >= 0:
                known.cell[u], known.time[u] = logins.cell[i], logins.time[i]
        known.size[u] = size
