"""From places of values in bytes to rows of coded columns; shared by the compiled passes over lines.

Import it late: it loads Numba.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from amiss.sources.bytes_kernel import NO_TIME, TEXT_BYTES, epoch_time, iso_time, part, whole
from amiss.sources.text_kernel import has_room, number_of

ABSENT: Final = 0
TEXT: Final = 1
WHOLE: Final = 2
DECIMAL: Final = 3
LITERAL: Final = 4

ODD: Final = 0
TAKEN: Final = 1
FULL: Final = -1

ISO: Final = 0
EPOCH: Final = 1


class Rows(NamedTuple):
    """What compiled passes write: a row per regular line, by its line within the block, texts as numbers."""

    line: npt.NDArray[np.int64]
    time: npt.NDArray[np.int64]
    user: npt.NDArray[np.uint32]
    action: npt.NDArray[np.uint32]
    outcome: npt.NDArray[np.uint32]


def empty_rows(room: int) -> Rows:
    """Arrays for this many rows."""
    wide, narrow = np.int64, np.uint32
    return Rows(
        np.empty(room, wide),
        np.empty(room, wide),
        np.empty(room, narrow),
        np.empty(room, narrow),
        np.empty(room, narrow),
    )


def first_rows(rows: Rows, count: int) -> Rows:
    """The first so many rows; the arrays are shared."""
    return Rows(rows.line[:count], rows.time[:count], rows.user[:count], rows.action[:count], rows.outcome[:count])


def larger_rows(rows: Rows) -> Rows:
    """The same rows with room for as many more."""
    more = empty_rows(len(rows.time))
    return Rows(
        np.concatenate([rows.line, more.line]),
        np.concatenate([rows.time, more.time]),
        np.concatenate([rows.user, more.user]),
        np.concatenate([rows.action, more.action]),
        np.concatenate([rows.outcome, more.outcome]),
    )


@part
def time_of(data, span, rule, memo):
    """The time of a value; NO_TIME if it is not of the form that `rule` says.

    `rule` holds ISO or EPOCH, factor and divisor of a number, and whether a time without zone is UTC.
    """
    begin, size, kind = span[0], span[1] - span[0], span[2]
    if rule[0] == ISO:
        return iso_time(data, begin, size, rule[3], memo) if kind == TEXT else NO_TIME
    return epoch_time(data, begin, size, rule[1], rule[2]) if kind == WHOLE or kind == DECIMAL else NO_TIME


@part
def is_name(data, span):
    """Whether a value may be taken for a user or an action as it stands."""
    size = span[1] - span[0]
    if span[2] == TEXT:
        return 0 < size <= TEXT_BYTES
    return span[2] == WHOLE and whole(data, span[0], size) >= 0


@part
def take(data, spans, rule, memo, users, actions, outcomes, rows, row, line):
    """Write one row; TAKEN, ODD if a value needs a second look, or FULL if a table has no room.

    `spans` holds begin, end and kind of time, user, action and outcome.
    """
    if not is_name(data, spans[1]) or not is_name(data, spans[2]):
        return ODD
    size = spans[3, 1] - spans[3, 0] if spans[3, 2] != ABSENT else 0
    micros = time_of(data, spans[0], rule, memo)
    if micros == NO_TIME or size > TEXT_BYTES or spans[3, 2] == DECIMAL:
        return ODD
    if not (has_room(users) and has_room(actions) and has_room(outcomes)):
        return FULL
    rows.line[row] = line
    rows.time[row] = micros
    rows.user[row] = number_of(data, spans[1, 0], spans[1, 1] - spans[1, 0], users, line)
    rows.action[row] = number_of(data, spans[2, 0], spans[2, 1] - spans[2, 0], actions, line)
    rows.outcome[row] = number_of(data, spans[3, 0], size, outcomes, line)
    return TAKEN
