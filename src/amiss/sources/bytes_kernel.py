"""Compiled parts that read bytes eight at a time: ends of texts, numbers, times, and a table of texts.

Import it late: it loads Numba. Everything here expects at least `PADDING` zero bytes behind the last byte
it is given, and a little-endian machine.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

PADDING: Final = 16
TEXT_BYTES: Final = 256
"""Bytes of the longest text that compiled passes take."""
LINE_BYTES: Final = 1 << 20
"""Bytes of the longest line that compiled passes take."""
NO_TIME: Final = -(2**63)
"""Stands for a time that could not be read."""

_FAST: Final[dict[str, Any]] = {"nogil": True, "_nrt": False}
"""Without reference counts: atomic counting of arrays made the pass over lines five times slower.

A function compiled so makes no arrays; whatever it fills, the caller provides.
"""

_INSIDE: Final[dict[str, Any]] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "forceinline": True}
"""Always inlined: handing over the arrays of a table took longer than looking a text up in it."""

compiled = njit(cache=True, **_FAST)
"""Compiles a pass that Python calls."""

part = njit(**_FAST, **_INSIDE)
"""Compiles a part of passes, which Python cannot call."""

ONES = np.uint64(0x0101010101010101)
TOPS = np.uint64(0x8080808080808080)
QUOTES = np.uint64(0x2222222222222222)
BACKSLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)
SPACES = np.uint64(0x2020202020202020)
NEWLINES = np.uint64(0x0A0A0A0A0A0A0A0A)
ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@intrinsic
def load(_context, data, at):
    """The eight bytes from `at` as one number, the first byte lowest."""

    def code(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        pointer = builder.gep(array.data, [args[1]])
        return builder.load(builder.bitcast(pointer, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(data, types.int64), code


@intrinsic
def lowest(_context, mask):
    """Which byte of a non-zero mask is the first that is set."""

    def code(_context, builder, _signature, args):
        zeros = builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))
        return builder.lshr(zeros, ir.Constant(ir.IntType(64), 3))

    return types.int64(types.uint64), code


@part
def tail(size):
    """A mask over the first 1 to 7 bytes of a word."""
    return ALL >> np.uint64(64 - 8 * size)


@part
def zeros(word):
    """A mask whose lowest set byte is the first zero byte of a word."""
    return (word - ONES) & ~word & TOPS


@part
def character(data, at):
    """Bytes of the UTF-8 character that starts at `at` with a byte above 127; 0 if it is not valid."""
    first, second, third, fourth = data[at], data[at + 1], data[at + 2], data[at + 3]
    if 0xC2 <= first <= 0xDF:
        return 2 if second & 0xC0 == 0x80 else 0
    if 0xE0 <= first <= 0xEF:
        low = 0xA0 if first == 0xE0 else 0x80
        high = 0x9F if first == 0xED else 0xBF
        return 3 if low <= second <= high and third & 0xC0 == 0x80 else 0
    if 0xF0 <= first <= 0xF4:
        low = 0x90 if first == 0xF0 else 0x80
        high = 0x8F if first == 0xF4 else 0xBF
        return 4 if low <= second <= high and third & 0xC0 == 0x80 and fourth & 0xC0 == 0x80 else 0
    return 0


@part
def text_end(data, at):
    """Where the quote stands that ends a JSON text; -1 if it holds an escape, a control or a wrong byte."""
    while True:
        word = load(data, at)
        mask = zeros(word ^ QUOTES) | zeros(word ^ BACKSLASHES) | ((word - SPACES) & ~word & TOPS) | (word & TOPS)
        if mask == 0:
            at += 8
            continue
        at += lowest(mask)
        if data[at] == 34:
            return at
        if data[at] < 128:
            return -1
        length = character(data, at)
        if length == 0:
            return -1
        at += length


@part
def line_end(data, at, end):
    """Where the next newline stands, or `end`."""
    while at < end:
        mask = zeros(load(data, at) ^ NEWLINES)
        if mask != 0:
            return min(at + lowest(mask), end)
        at += 8
    return end


@part
def whole(data, at, size):
    """A whole number of 1 to 18 digits without sign; -1 if it is none."""
    if size < 1 or size > 18:
        return -1
    value = 0
    for i in range(at, at + size):
        digit = np.int64(data[i]) - 48
        if digit < 0 or digit > 9:
            return -1
        value = value * 10 + digit
    return value


@part
def minute(data, at):
    """Microseconds of `YYYY-MM-DDTHH:MM` (or a space for the T) since 1970; NO_TIME if it is none."""
    year, month, day = whole(data, at, 4), whole(data, at + 5, 2), whole(data, at + 8, 2)
    hour, minutes = whole(data, at + 11, 2), whole(data, at + 14, 2)
    between = data[at + 4] == 45 and data[at + 7] == 45 and data[at + 13] == 58
    if not between or (data[at + 10] != 84 and data[at + 10] != 32):
        return NO_TIME
    leap = 1 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 0
    longest = 28 + leap if month == 2 else 30 if month in (4, 6, 9, 11) else 31
    if year < 1970 or month < 1 or month > 12 or day < 1 or day > longest:
        return NO_TIME
    if hour < 0 or hour > 23 or minutes < 0 or minutes > 59:
        return NO_TIME
    before = (month - 3) % 12
    start = year - 1 if month < 3 else year
    days = 365 * start + start // 4 - start // 100 + start // 400 + (153 * before + 2) // 5 + day - 1 - 719468
    return ((days * 24 + hour) * 60 + minutes) * 60_000_000


@part
def zone(data, at, size, naive):
    """Microseconds east of UTC that `Z`, `+hh:mm` or (where allowed) nothing stands for; NO_TIME if neither."""
    if size == 0:
        return 0 if naive else NO_TIME
    if size == 1 and data[at] == 90:
        return 0
    if size != 6 or data[at + 3] != 58 or (data[at] != 43 and data[at] != 45):
        return NO_TIME
    hours, minutes = whole(data, at + 1, 2), whole(data, at + 4, 2)
    if hours < 0 or hours > 14 or minutes < 0 or minutes > 59:
        return NO_TIME
    east = (hours * 60 + minutes) * 60_000_000
    return east if data[at] == 43 else -east


@part
def iso_time(data, at, size, naive, memo):
    """Microseconds of an ISO 8601 time since 1970; NO_TIME if it is none of the plain forms.

    `memo` keeps the last minute read, since the next time mostly lies in the same one.
    """
    if size < 19 or data[at + 16] != 58:
        return NO_TIME
    first, second = load(data, at), load(data, at + 8)
    if first != memo[0] or second != memo[1]:
        base = minute(data, at)
        if base == NO_TIME:
            return NO_TIME
        memo[0], memo[1], memo[2] = first, second, np.uint64(base)
    seconds = whole(data, at + 17, 2)
    if seconds < 0 or seconds > 59:
        return NO_TIME
    micros = np.int64(memo[2]) + seconds * 1_000_000
    rest = 19
    if size > 20 and data[at + 19] == 46:
        scale = 100_000
        rest = 20
        while rest < size and 48 <= data[at + rest] <= 57:
            micros += (np.int64(data[at + rest]) - 48) * scale
            scale //= 10
            rest += 1
        if rest == 20 or rest > 32:
            return NO_TIME
    east = zone(data, at + rest, size - rest, naive)
    return NO_TIME if east == NO_TIME else micros - east


@part
def epoch_time(data, at, size, multiply, divide):
    """Microseconds of a number of seconds, milli-, micro- or nanoseconds since 1970; NO_TIME if it is none.

    A fraction is read as Python reads it, as a binary number, and rounded; it may have up to 15 digits in all.
    """
    point = at
    while point < at + size and data[point] != 46:
        point += 1
    value = whole(data, at, point - at)
    if value < 0 or value > 9_000_000_000_000_000_000 // multiply:
        return NO_TIME
    places = at + size - point - 1
    if places < 0:
        return value * multiply // divide
    fraction = whole(data, point + 1, places)
    if fraction < 0 or size > 16 or divide != 1:
        return NO_TIME
    scale = 1
    for _ in range(places):
        scale *= 10
    return np.int64(np.rint(np.float64(value * scale + fraction) / np.float64(scale) * np.float64(multiply)))
