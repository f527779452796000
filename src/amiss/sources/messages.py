"""Messages of JSON objects as events: the same rules as for lines of a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss import fields as columns
from amiss.errors import EventError
from amiss.fields import FieldChoice, Fields
from amiss.sources import readers
from amiss.sources.arrivals import PARTITION_BITS, Item
from amiss.sources.rows import Reject, from_json, from_json_lines, json_raw, leaf_paths, line_by_line, shown
from amiss.vocabulary import Coding

if TYPE_CHECKING:
    from confluent_kafka import Message

KEY: Final = "_key"
TIMESTAMP: Final = "_timestamp"
HEADER: Final = "_header."
_MOST_HEADERS: Final = 32
_NO_VALUE: Final = b"?"
_LEAST_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class Bad:
    """A message that is no event: its partition's number, its offset, why, its first characters, and how many such."""

    number: int
    offset: int
    reason: str
    text: str
    count: int = 1


@dataclass
class Batch:
    """What messages gave: events, the bad ones, and the offset behind them in each partition's number."""

    frame: pl.DataFrame
    bad: list[Bad] = field(default_factory=list)
    behind: dict[int, int] = field(default_factory=dict)

    def without(self, numbers: set[int]) -> Batch:
        """The same without all that is of these partitions."""
        return Batch(
            self.frame.filter(~_number().is_in(list(numbers))),
            [bad for bad in self.bad if bad.number not in numbers],
            {number: offset for number, offset in self.behind.items() if number not in numbers},
        )


def _number() -> pl.Expr:
    """The number of the partition of a position."""
    return pl.col("position") // (1 << PARTITION_BITS)


def infer(
    items: Sequence[Item], choice: FieldChoice | None = None, *, where: str = "", year: int | None = None
) -> Fields | None:
    """Which part of the messages plays which role; None where no message holds a JSON object.

    Where no value of the objects is a time, it is the message's own (`_timestamp`).

    Raises
    ------
    EventError
        If nothing can be the user or the action; lists what was found.
    """
    raw = _sample(items)
    if raw is None:
        return None
    newest = datetime.fromtimestamp(max(0, *(item[0] for item in items)) / 1000, UTC)
    settle = partial(columns.infer, where=where, year=year, now=newest)
    pinned = choice.pinned() if choice else {}
    if TIMESTAMP in columns.raw_names(pinned.get("time", "")):
        return settle(raw.with_columns(_meta(TIMESTAMP, [item[3] for item in items])), choice)
    try:
        return settle(raw, choice)
    except EventError:
        if "time" in pinned:
            raise
        return _by_timestamp(items, raw, choice, settle)


def _by_timestamp(
    items: Sequence[Item], raw: pl.DataFrame, choice: FieldChoice | None, settle: Callable[..., Fields]
) -> Fields:
    """The fields with the messages' own time; the error is the one met before where that does not help."""
    pinned = replace(choice or FieldChoice(), time=TIMESTAMP, time_format="epoch_ms")
    messages = [items[index][3] for index in raw["position"].to_list()]
    try:
        return settle(raw.with_columns(_meta(TIMESTAMP, messages)), pinned)
    except EventError:
        return settle(raw, choice)


def _sample(items: Sequence[Item]) -> pl.DataFrame | None:
    """The raw columns of the first messages: the paths of their values, the key and the headers."""
    values = [item[3].value() for item in items[: columns.SAMPLE_ROWS]]
    found = [(index, value) for index, value in enumerate(values) if value]
    records, numbers = line_by_line(found, lambda *_: None, latin1=False)
    if not records:
        return None
    messages = [items[index][3] for index in numbers]
    headers = dict.fromkeys(name for message in messages for name, _ in _headers(message))
    names = [KEY, *(HEADER + name for name in list(headers)[:_MOST_HEADERS])]
    raw = json_raw(records, numbers, [path for path in leaf_paths(records) if path not in (*names, "position")])
    series = [_meta(name, messages) for name in names]
    return raw.with_columns([one for one in series if one.null_count() < len(one)])


def _headers(message: Message) -> Sequence[tuple[str, Any]]:
    """Names and values of a message's headers."""
    found = message.headers() or []
    return list(found.items()) if isinstance(found, dict) else [(str(name), value) for name, value in found]


def _is_meta(name: str) -> bool:
    """Whether a column is not of the value but of the message around it."""
    return name in (KEY, TIMESTAMP) or name.startswith(HEADER)


def _meta(name: str, messages: Sequence[Message]) -> pl.Series:
    """A column of what stands around the values."""
    if name == TIMESTAMP:
        stamps = [message.timestamp() for message in messages]
        return pl.Series(name, [at if kind and at >= 0 else None for kind, at in stamps], dtype=pl.Int64)
    if name == KEY:
        return pl.Series(name, [_text(message.key()) for message in messages], dtype=pl.String)
    wanted = name.removeprefix(HEADER)
    return pl.Series(name, [_text(dict(_headers(message)).get(wanted)) for message in messages], dtype=pl.String)


def _text(value: bytes | str | None) -> str | None:
    """Bytes as text; those that are none are written out, so that different ones stay different."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


class Translation:
    """How messages become events: which part of them is read as what.

    Parameters
    ----------
    found
        What plays which role; None while no JSON object was seen, so that all messages are bad.
    timezone
        Zone of times that name none.
    """

    def __init__(self, found: Fields | None, timezone: str) -> None:
        self._fields = found
        self._timezone = timezone
        self._coder: readers.Coder | None = None
        self._known: Coding | None = None
        self._odd: tuple[list[bytes | None], list[tuple[int, str, str]], Sequence[Item]] = ([], [], ())

    def events(self, items: Sequence[Item]) -> Batch:
        """The event frame of messages."""
        values = [item[3].value() for item in items]
        bad: list[tuple[int, str, str]] = []
        frame = self._general(items, values, bad, self._fields)
        return _batch(items, values, frame, bad)

    def coded(self, items: Sequence[Item], coding: Coding) -> Batch:
        """The coded frame of messages: the same rows, faster where there are many."""
        values = [item[3].value() for item in items]
        bad: list[tuple[int, str, str]] = []
        text = _joined(values)
        if len(text) >= _LEAST_BYTES and (coder := self._coder_for(coding)):
            self._odd = (values, bad, items)
            return _batch(items, values, coder.frame(text, 0), bad)
        found = self._general(items, values, bad, narrow(self._fields, coding))
        frame = coding.encode(found) if len(found) else coding.empty()
        return _batch(items, values, frame, bad)

    def _general(
        self,
        items: Sequence[Item],
        values: Sequence[bytes | None],
        bad: list[tuple[int, str, str]],
        found: Fields | None,
    ) -> pl.DataFrame:
        """Events of messages, `position` being the place in the list; what is none goes to `bad`."""

        def reject(index: int, reason: str, text: str) -> None:
            bad.append((index, reason, text))

        raw = _raw(items, values, found.columns if found else (), reject)
        if found is None:
            bad.extend((index, "no field of this topic is known yet", "") for index in raw["position"].to_list())
            return raw.clear()
        good, rejected = columns.events(raw, found, self._timezone)
        bad.extend((index, reason, shown(values[index] or b"")) for index, reason in rejected.rows())
        return good

    def _odd_lines(self, lines: Sequence[tuple[int, bytes]]) -> pl.DataFrame:
        """Events of the messages that the compiled pass left over."""
        values, bad, items = self._odd
        places = [index for index, _ in lines]
        left: list[tuple[int, str, str]] = []
        chosen = [values[index] for index in places]
        frame = self._general([items[index] for index in places], chosen, left, narrow(self._fields))
        bad.extend((places[index], reason, text) for index, reason, text in left)
        return frame.with_columns(position=pl.Series(places, dtype=pl.Int64).gather(frame["position"]))

    def _coder_for(self, coding: Coding) -> readers.Coder | None:
        """The compiled passes for these vocabularies, or None where the general way must be taken."""
        if self._known is not coding:
            self._known = coding
            layout = layout_of(self._fields, self._timezone) if self._fields and not coding.contexts else None
            self._coder = readers.Coder(layout, self._odd_lines, coding.users, coding.actions) if layout else None
        return self._coder


def layout_of(found: Fields, timezone: str) -> readers.Layout | None:
    """Where compiled passes find the roles in flat JSON objects, or None where they cannot be used."""
    guesses = [found.roles.get(role) for role in readers.ROLES]
    names = [guess.column if guess else None for guess in guesses]
    rule = readers.time_rule(found.roles["time"].time_format, timezone)
    plain = all(name is None or (columns.raw_names(name) == (name,) and not _is_meta(name)) for name in names)
    if rule is None or not plain or len(set(names)) < len(names):
        return None
    outcome = found.roles.get("outcome")
    reading = (outcome.reading if outcome else "") or "words"
    return readers.ndjson_layout(names, rule, partial(_outcome, reading=reading, known=outcome is not None))


def _outcome(text: str | None, *, reading: str, known: bool) -> str:
    return columns.outcome_of(text, reading) if known else "unknown"


def narrow(found: Fields | None, coding: Coding | None = None) -> Fields | None:
    """The fields that coded frames hold."""
    if found is None:
        return None
    wanted = found.roles if coding is not None and coding.contexts else readers.ROLES
    roles = {role: found.roles[role] for role in wanted if role in found.roles}
    return replace(found, roles=roles, rest=coding.raw if coding is not None else ())


def remembered(found: Fields | None) -> Fields | None:
    """The fields that a cursor remembers: those that play a role."""
    return None if found is None else replace(found, rest=())


def _joined(values: Sequence[bytes | None]) -> bytes:
    """The values as lines; one that is none, being absent or of several lines, as a mark that is no JSON."""
    try:
        text = b"\n".join(values) + b"\n"  # type: ignore[arg-type]  # absent ones are the exception
    except TypeError:
        text = b""
    if text.count(b"\n") == len(values):
        return text
    return b"".join((_NO_VALUE if value is None or b"\n" in value else value) + b"\n" for value in values)


def _raw(items: Sequence[Item], values: Sequence[bytes | None], wanted: Sequence[str], reject: Reject) -> pl.DataFrame:
    """The raw columns of messages."""
    paths = [name for name in wanted if not _is_meta(name)]
    if all(value and b"\n" not in value for value in values):
        raw = from_json(_joined(values), 0, paths, reject)
    else:
        raw = from_json_lines([(i, value) for i, value in enumerate(values) if value], paths, reject)
    around = [name for name in wanted if _is_meta(name)]
    messages = [items[index][3] for index in raw["position"].to_list()] if around else []
    return raw.with_columns([_meta(name, messages) for name in around])


def _batch(
    items: Sequence[Item],
    values: Sequence[bytes | None],
    frame: pl.DataFrame,
    bad: list[tuple[int, str, str]],
) -> Batch:
    """The frame with true positions, and everything else that was bad; `position` is the place in the list so far."""
    places = frame["position"].to_numpy()
    if len(frame) + len(bad) < len(items):
        seen = {*places.tolist(), *(index for index, _, _ in bad)}
        bad.extend((index, _absence(values[index]), "") for index in range(len(items)) if index not in seen)
    positions = frame["position"].clear() if frame.is_empty() else pl.Series(_positions(items)[places])
    return Batch(
        frame.with_columns(position=positions),
        [Bad(items[index][1], items[index][2], reason, text) for index, reason, text in sorted(bad)],
        {number: offset + 1 for _, number, offset, _ in items},
    )


def _absence(value: bytes | None) -> str:
    return "no value (a tombstone)" if value is None else "empty value"


def _positions(items: Sequence[Item]) -> npt.NDArray[np.int64]:
    """Stable positions: the partition's number above the offset, counted from 1."""
    return np.array([(number << PARTITION_BITS) + offset + 1 for _, number, offset, _ in items], dtype=np.int64)


def offsets_text(offsets: dict[str, dict[int, int]]) -> str:
    """The offsets to go on with, by topic and partition, as the text of a cursor.

    Examples
    --------
    >>> offsets_text({"logins": {1: 7, 0: 12}})
    '{"logins":{"0":12,"1":7}}'
    """
    written = {topic: {str(index): parts[index] for index in sorted(parts)} for topic, parts in offsets.items()}
    return json.dumps(written, separators=(",", ":"))
