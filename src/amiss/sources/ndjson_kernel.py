"""The compiled pass over newline-delimited JSON: regular lines to coded columns, the rest by their place.

A line is regular when it is one flat object of plain texts, numbers and literals that holds every wanted key
once, with a value that needs no second look. Anything else is left to the general reader.
"""

from __future__ import annotations

from amiss.sources.bytes_kernel import LINE_BYTES, compiled, line_end, load, part, tail, text_end
from amiss.sources.rows_kernel import ABSENT, DECIMAL, FULL, LITERAL, ODD, TEXT, WHOLE, take


@part
def skip_spaces(data, at):
    """The next byte that is no space or tab."""
    while data[at] == 32 or data[at] == 9:
        at += 1
    return at


@part
def digits_end(data, at):
    """Where a run of digits ends."""
    while 48 <= data[at] <= 57:
        at += 1
    return at


@part
def value_end(data, at):
    """End and kind of a number or literal; -1 for anything that is no such plain value."""
    first = data[at]
    if first == 116 and data[at + 1] == 114 and data[at + 2] == 117 and data[at + 3] == 101:
        return at + 4, LITERAL
    if first == 110 and data[at + 1] == 117 and data[at + 2] == 108 and data[at + 3] == 108:
        return at + 4, LITERAL
    if first == 102 and data[at + 1] == 97 and data[at + 2] == 108 and data[at + 3] == 115 and data[at + 4] == 101:
        return at + 5, LITERAL
    begin = at + 1 if first == 45 else at
    stop = digits_end(data, begin)
    size = stop - begin
    if size == 0 or size > 18 or (data[begin] == 48 and (size > 1 or first == 45)):
        return -1, 0
    if data[stop] != 46:
        return stop, WHOLE
    after = digits_end(data, stop + 1)
    return (after, DECIMAL) if 0 < after - stop - 1 <= 18 else (-1, 0)


@part
def role_of(data, at, size, keys, sizes):
    """Which wanted key stands here; -1 if none of them."""
    for role in range(len(sizes)):
        if sizes[role] == size:
            words, rest = size >> 3, size & 7
            same = rest == 0 or (load(data, at + 8 * words) & tail(rest)) == keys[role, words]
            for i in range(words):
                same = same and load(data, at + 8 * i) == keys[role, i]
            if same:
                return role
    return -1


@part
def spans_of(data, at, keys, sizes, spans):
    """Find the wanted values of the object that starts at `at`; where it ends, or -1 if it is not regular.

    `spans` gets begin, end and kind of the values of time, user, action and outcome; the last keeps its quotes,
    which tell the text "200" from the number.
    """
    if data[at] != 123:
        return -1
    for i in range(4):
        spans[i, 2] = ABSENT
    at = skip_spaces(data, at + 1)
    while True:
        if data[at] != 34:
            return -1
        stop = text_end(data, at + 1)
        if stop < 0:
            return -1
        role = role_of(data, at + 1, stop - at - 1, keys, sizes)
        at = skip_spaces(data, stop + 1)
        if data[at] != 58:
            return -1
        at = skip_spaces(data, at + 1)
        if data[at] == 34:
            begin, kind = at + 1, TEXT
            stop = text_end(data, begin)
            at = stop + 1
        else:
            begin = at
            stop, kind = value_end(data, at)
            at = stop
        if stop < 0:
            return -1
        if role >= 0:
            if spans[role, 2] != ABSENT:
                return -1
            quote = 1 if kind == TEXT and role == 3 else 0
            spans[role, 0], spans[role, 1], spans[role, 2] = begin - quote, stop + quote, kind
        at = skip_spaces(data, at)
        if data[at] == 125:
            return at + 1
        if data[at] != 44:
            return -1
        at = skip_spaces(data, at + 1)


@compiled
def read_lines(data, end, keys, sizes, rule, users, actions, outcomes, rows, odd, progress, spans, memo):
    """Read lines until the end, or until some array is full.

    `progress` holds the next byte, the next line, the rows and the odd lines so far, and is moved on. Returns
    whether the end was reached; if not, the caller makes room and calls again.
    """
    at, line, row, odds = progress
    while at < end:
        if row == len(rows.time) or odds == len(odd):
            break
        stop = spans_of(data, at, keys, sizes, spans)
        if stop >= 0 and data[stop] == 13:
            stop += 1
        taken = ODD
        if stop - at <= LINE_BYTES and (stop == end or (0 <= stop < end and data[stop] == 10)):
            taken = take(data, spans, rule, memo, users, actions, outcomes, rows, row, line)
        if taken == FULL:
            break
        if taken == ODD:
            stop = line_end(data, at, end)
            odd[odds, 0], odd[odds, 1], odd[odds, 2] = line, at, stop
            odds += 1
        row += taken
        line += 1
        at = stop + 1
    progress[0], progress[1], progress[2], progress[3] = at, line, row, odds
    return at >= end
