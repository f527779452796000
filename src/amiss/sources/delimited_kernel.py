"""The compiled pass over CSV and TSV: regular records to coded columns, the rest by their place.

A record is regular when it stands on one line with as many fields as the header, and every wanted field needs no
second look. Anything else is left to the general reader.
"""

from __future__ import annotations

import numpy as np

from amiss.sources.bytes_kernel import (
    LINE_BYTES,
    QUOTES,
    SPACES,
    TOPS,
    character,
    compiled,
    load,
    lowest,
    part,
    text_end,
    zeros,
)
from amiss.sources.rows_kernel import ABSENT, EPOCH, FULL, ODD, TEXT, WHOLE, take


@part
def field_end(data, at, delimiters):
    """Where an unquoted field ends: at a delimiter or a control; -1 at a quote or a wrong byte."""
    while True:
        word = load(data, at)
        mask = zeros(word ^ delimiters) | zeros(word ^ QUOTES) | ((word - SPACES) & ~word & TOPS) | (word & TOPS)
        if mask == 0:
            at += 8
            continue
        at += lowest(mask)
        if data[at] == 34:
            return -1
        if data[at] < 128:
            return at
        length = character(data, at)
        if length == 0:
            return -1
        at += length


@part
def spans_of(data, at, end, delimiters, roles, spans):
    """Find the wanted fields of the line that starts at `at`; where it ends, or -1 if it is not regular.

    `roles` says for each column of the header which row of `spans` it fills, or -1.
    """
    delimiter = np.uint8(delimiters & np.uint64(0xFF))
    for column in range(len(roles)):
        begin = at
        if data[at] == 34:
            begin = at + 1
            stop = text_end(data, begin)
            at = stop + 1
            if stop <= begin:
                return -1
        else:
            stop = field_end(data, at, delimiters)
            at = stop
            if stop < 0:
                return -1
        if roles[column] >= 0:
            spans[roles[column], 0], spans[roles[column], 1] = begin, stop
        if data[at] == delimiter and column + 1 < len(roles) and at < end:
            at += 1
        elif column + 1 < len(roles):
            return -1
    if data[at] == 13:
        at += 1
    return at if at == end or (at < end and data[at] == 10) else -1


@part
def odd_end(data, at, end, delimiter):
    """Where the record that starts at `at` ends: at a newline outside quotes, or at `end`."""
    quoted, fresh = False, True
    while at < end:
        byte = data[at]
        if quoted:
            if byte == 34:
                if at + 1 < end and data[at + 1] == 34:
                    at += 1
                else:
                    quoted = False
        elif byte == 34 and fresh:
            quoted = True
        elif byte == 10:
            return at
        fresh = byte == delimiter and not quoted
        at += 1
    return end


@part
def newlines(data, at, end):
    """How many newlines stand between two places."""
    count = 0
    for i in range(at, end):
        count += data[i] == 10
    return count


@compiled
def read_records(data, end, delimiters, roles, rule, users, actions, outcomes, rows, odd, progress, spans, memo):
    """Read records until the end, or until some array is full; see `ndjson_kernel.read_lines`.

    From a record over several lines on, all the rest of the block is left over: where such a record ends when
    something is wrong in it, the general reader decides.
    """
    spans[0, 2] = WHOLE if rule[0] == EPOCH else TEXT
    spans[1, 2], spans[2, 2], spans[3, 2] = TEXT, TEXT, ABSENT
    for column in range(len(roles)):
        if roles[column] == 3:
            spans[3, 2] = TEXT
    at, line, row, odds = progress
    while at < end:
        if row == len(rows.time) or odds == len(odd):
            break
        stop = spans_of(data, at, end, delimiters, roles, spans)
        taken = ODD
        if 0 <= stop <= at + LINE_BYTES:
            taken = take(data, spans, rule, memo, users, actions, outcomes, rows, row, line)
        if taken == FULL:
            break
        if taken == ODD:
            stop = odd_end(data, at, end, np.uint8(delimiters & np.uint64(0xFF)))
            more = newlines(data, at, stop)
            if more:
                more += newlines(data, stop, end - 1)
                stop = end
            odd[odds, 0], odd[odds, 1], odd[odds, 2] = line, at, stop
            odds += 1
            line += more
        row += taken
        line += 1
        at = stop + 1
    progress[0], progress[1], progress[2], progress[3] = at, line, row, odds
    return at >= end
