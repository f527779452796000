"""Purchases that are large for the network of their buyer, from the logs of a batch and of a stream.

The logs are those of the challenge that this method comes from: an object a line, ``{"D":"3", "T":"50"}`` first in the
batch, then `purchase`, `befriend` and `unfriend`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec

from amiss.errors import SourceError
from amiss.events import Quarantine
from amiss.network import BEFRIEND, DEVIATIONS, PURCHASE, UNFRIEND, Acts, Network, Window

CHUNK: Final = 1 << 20
"""Bytes that are read at once."""

MAD_TO_DEVIATION: Final = (14826, 10000)
"""What the median distance from the median is multiplied by to be a standard deviation, where amounts are normal."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_PLAIN: Final = re.compile(r"-?[0-9]{1,15}\.[0-9]{2}", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_TIES: Final = {"befriend": BEFRIEND, "unfriend": UNFRIEND}

_JSON: Final = json.JSONDecoder()

LONGEST_AMOUNT: Final = 1000
"""Characters beyond which no amount is meant."""

FURTHEST_SECOND: Final = 1 << 42
"""Numbers of seconds beyond which no time is meant."""

Act = tuple[int, int, int, int, int, int]


class Event(msgspec.Struct):
    """What of an object matters."""

    event_type: str | None = None
    timestamp: str | int | None = None
    id: str | int | None = None
    id1: str | int | None = None
    id2: str | int | None = None
    amount: str | int | float | None = None


class Line(NamedTuple):
    """A line of a log, or an object of one that holds several; its number, from 1."""

    number: int
    text: bytes


class Rule(NamedTuple):
    """How purchases are judged: by the last T of the network within D friendships.

    With `robust` by median and median distance from it; with `by` only against those alike in these fields, such as
    `currency`.
    """

    degrees: int
    last: int
    robust: bool = False
    by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """What came of a purchase: who bought for how much, by how many purchases it was judged, and how.

    `middle` is their mean (or median), `deviation` how they spread, both in cents and cut off.
    """

    line: int
    user: str
    cents: int
    count: int
    middle: int
    deviation: int
    is_flagged: bool


class Unreadable(ValueError):  # noqa: N818 - it never leaves this module
    """An object is no event; the message says why."""


@dataclass
class Totals:
    """What was read and found so far: events of both logs, purchases of the stream, and those flagged."""

    batch: int = 0
    stream: int = 0
    purchases: int = 0
    flagged: int = 0


def in_dollars(cents: int) -> str:
    """An amount with two decimals.

    Examples
    --------
    >>> in_dollars(3094), in_dollars(-5)
    ('30.94', '-0.05')
    """
    whole, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}{whole}.{rest:02}"


def in_cents(amount: str) -> int:
    """The cents of an amount that is written in decimal.

    Raises
    ------
    Unreadable
        If it is no number, or has fractions of a cent.

    Examples
    --------
    >>> in_cents("16.83"), in_cents("-2.5"), in_cents("99999999999999999999")
    (1683, -250, 9999999999999999999900)
    """
    if _PLAIN.fullmatch(amount):
        return int(amount[:-3] + amount[-2:])
    if len(amount) > LONGEST_AMOUNT:
        raise Unreadable(f"amount is longer than {LONGEST_AMOUNT:,} characters")
    if not _NUMBER.fullmatch(amount):
        raise Unreadable("amount is not a number")
    sign, digits, exponent = Decimal(amount).as_tuple()
    cents, power = int("".join(map(str, digits))), int(exponent) + 2
    scale: int = 10 ** abs(power)
    if power < 0 and cents % scale:
        raise Unreadable("amount has fractions of a cent")
    whole = cents * scale if power >= 0 else cents // scale
    return -whole if sign else whole


def lines(raw: BinaryIO) -> Iterator[list[Line]]:
    r"""The lines of a log that hold something, as they can be read.

    Examples
    --------
    >>> import io
    >>> list(lines(io.BytesIO(b"\n{}\r\n  \n{}")))
    [[Line(number=2, text=b'{}')], [Line(number=4, text=b'{}')]]
    """
    number, begun = 1, [b""]
    read = getattr(raw, "read1", raw.read)
    while piece := read(CHUNK):
        begun.append(piece)
        if b"\n" in piece:
            *whole, rest = b"".join(begun).split(b"\n")
            yield _filled(whole, number)
            number, begun = number + len(whole), [rest]
    yield _filled([b"".join(begun)], number)


def _filled(texts: list[bytes], number: int) -> list[Line]:
    """The texts that hold something, as lines from a number on."""
    if number == 1:
        texts[0] = texts[0].removeprefix(b"\xef\xbb\xbf")
    return [Line(at, text) for at, text in enumerate(map(bytes.strip, texts), number) if text]


class Found(NamedTuple):
    """A purchase that was judged, and what came of it."""

    line: Line
    decision: Decision

    @property
    def record(self) -> str:
        """The object as it came in, with `mean` and `sd` behind.

        What Python cannot take apart, such as a thousand lists in one another, stays as it was written.
        """
        said = {"mean": in_dollars(self.decision.middle), "sd": in_dollars(self.decision.deviation)}
        text = self.line.text.decode(errors="replace")
        try:
            return _json({name: value for name, value in _record(text).items() if name not in said} | said)
        except (Unreadable, RecursionError):
            return f"{text.removesuffix('}')}, {_json(said)[1:]}".replace("\r", " ")


@dataclass
class Logs:
    """Two logs on their way through a network: what was read, who is who, what could not be read.

    Parameters
    ----------
    strict
        Whether a line that is no event is an error.
    """

    rule: Rule
    quarantine: Quarantine = field(default_factory=Quarantine)
    strict: bool = False
    totals: Totals = field(default_factory=Totals)

    def __post_init__(self) -> None:
        self.network = Network(self.rule.degrees, self.rule.last)
        self.users: dict[str, int] = {}
        self._labels: dict[tuple[str, ...], int] = {}
        self._decoder = msgspec.json.Decoder(Event)
        self._time: tuple[object, int] = (None, 0)

    def learn(self, log: Iterable[list[Line]], name: str) -> Iterator[int]:
        """Take in the log of the batch; after each piece of it how many events there were."""
        for chunk in log:
            acts = [act for _, _, act in self._acts(chunk, name)]
            self.network.learn(Acts.of(acts))
            self.totals.batch += len(acts)
            yield self.totals.batch

    def judge(self, log: Iterable[list[Line]], name: str, *, every: bool = False) -> Iterator[list[Found]]:
        """Judge the purchases of the stream, each by all before it; what is found in each piece, in order.

        Found are those flagged, or with `every` all.
        """
        for chunk in log:
            rows = list(self._acts(chunk, name))
            acts = Acts.of([act for _, _, act in rows])
            closely = every or self.rule.robust
            windows = {window.act: window for window in self.network.judge(acts, every=closely)}
            judged = range(len(rows)) if every else windows
            found = [self._found(rows[at], windows.get(at)) for at in judged if rows[at][2][0] == PURCHASE]
            wanted = [each for each in found if every or each.decision.is_flagged]
            self.totals.stream += len(rows)
            self.totals.purchases += int((acts.kind == PURCHASE).sum())
            self.totals.flagged += sum(each.decision.is_flagged for each in found)
            yield wanted

    def _found(self, row: tuple[Line, Event, Act], window: Window | None) -> Found:
        """What is said of a purchase."""
        line, event, act = row
        cents = self.network.cents(act[4])
        judged = _judged(window, cents, robust=self.rule.robust) if window else (0, 0, 0, False)
        return Found(line, Decision(line.number, str(event.id), cents, *judged))

    def _acts(self, chunk: list[Line], name: str) -> Iterator[tuple[Line, Event, Act]]:
        """The events of lines, each with what it means."""
        for line in chunk:
            try:
                event = self._decoder.decode(line.text)
                simple = not self.rule.by and not isinstance(event.amount, float)
                act = self._act(event, {}) if simple else None
            except Unreadable as error:
                self._reject(name, line, str(error))
            except (ValueError, RecursionError):
                yield from self._slowly(line, name)
            else:
                if act is None:
                    yield from self._slowly(line, name)
                else:
                    yield line, event, act

    def _slowly(self, line: Line, name: str) -> Iterator[tuple[Line, Event, Act]]:
        """The events of a line that holds several objects, fields to tell purchases apart by, or no event."""
        try:
            texts = list(_objects(line.text.decode()))
        except UnicodeDecodeError:
            self._reject(name, line, "not UTF-8")
            return
        except Unreadable as error:
            self._reject(name, line, str(error))
            return
        for text in texts:
            one = Line(line.number, text.encode())
            try:
                record = _record(text)
                event = msgspec.convert(record, Event)
                yield one, event, self._act(event, record)
            except msgspec.ValidationError as error:
                self._reject(name, one, f"a field is of another kind: {error}")
            except Unreadable as error:
                self._reject(name, one, str(error))

    def _act(self, event: Event, record: Mapping[str, Any]) -> Act:
        """What an event means."""
        if event.event_type == "purchase":
            label = tuple(str(record.get(name, "")) for name in self.rule.by)
            cents, time = in_cents(_text(event.amount, "amount")), self._moment(event.timestamp)
            code = self._labels.setdefault(label, len(self._labels))
            return PURCHASE, self._code(event.id, "id"), 0, time, self.network.held(cents), code
        kind = _TIES.get(event.event_type or "")
        if kind is None:
            raise Unreadable("event_type is none of purchase, befriend, unfriend")
        _text(event.id2, "id2")
        return kind, self._code(event.id1, "id1"), self._code(event.id2, "id2"), 0, 0, 0

    def _code(self, user: str | int | None, name: str) -> int:
        """The number of a user."""
        return self.users.setdefault(_text(user, name), len(self.users))

    def _moment(self, timestamp: str | int | None) -> int:
        """A time in microseconds since 1970; in UTC unless it says otherwise."""
        if timestamp is None or timestamp != self._time[0]:
            self._time = timestamp, _microseconds(timestamp)
        return self._time[1]

    def _reject(self, name: str, line: Line, reason: str) -> None:
        """Count a line that is no event."""
        if self.strict:
            raise SourceError(f"{name}:{line.number}: {reason}. Leave out --strict to pass over such lines")
        self.quarantine.add(name, line.number, reason, line.text[:1000].decode(errors="replace"))


class _Literal(str):
    """A number as it is written."""

    __slots__ = ()


_WANTED: Final = (
    "the first line of a batch says how many friendships away a network ends and how many of its purchases count, "
    'such as {"D":"3", "T":"50"}'
)


def rule_of(
    log: Iterator[list[Line]], name: str, *, robust: bool = False, by: tuple[str, ...] = ()
) -> tuple[Rule, Iterator[list[Line]]]:
    """What the first line of a batch asks for, and the rest of the batch.

    Raises
    ------
    SourceError
        If it names no D and T.

    Examples
    --------
    >>> rule, rest = rule_of(iter([[Line(1, b'{"D":"3", "T":"50"}'), Line(2, b"{}")]]), "batch_log.json")
    >>> rule.degrees, rule.last, list(rest)
    (3, 50, [[Line(number=2, text=b'{}')]])
    """
    first, *rest = next((chunk for chunk in log if chunk), [Line(1, b"")])
    try:
        text, *others = _objects(first.text.decode())
        record = _record(text)
        degrees, last = (_whole(record.get(key), key) for key in ("D", "T"))
    except ValueError as error:
        found = first.text[:80].decode(errors="replace")
        raise SourceError(f"{name}:{first.number}: {_WANTED}. Found: {found or 'nothing'}") from error
    rest = [*(Line(first.number, other.encode()) for other in others), *rest]
    return Rule(degrees, last, robust, by), chain([rest], log)


def _whole(value: object, name: str) -> int:
    """A number that counts."""
    number = int(_text(value, name))
    if number < 0:
        raise Unreadable(f"{name} is below 0")
    return number


def _text(value: object, name: str) -> str:
    """A text that is there."""
    if value is None or value == "":
        raise Unreadable(f"{name} is missing")
    return str(value)


def _microseconds(timestamp: str | int | None) -> int:
    """A time in microseconds since 1970."""
    if isinstance(timestamp, int) and abs(timestamp) < FURTHEST_SECOND:
        return timestamp * 1_000_000
    try:
        found = datetime.fromisoformat(_text(timestamp, "timestamp"))
    except ValueError as error:
        raise Unreadable("timestamp is not a time") from error
    return ((found if found.tzinfo else found.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND


def _objects(line: str) -> list[str]:
    """The texts of the objects that a line holds one behind the other; the last may be cut off, or be none."""
    found: list[str] = []
    at = 0
    while at < len(line):
        if line[at] != "{":
            if not found:
                raise Unreadable("not an object" if _is_json(line) else "not JSON")
            return [*found, line[at:]]
        try:
            end = _JSON.raw_decode(line, at)[1]
        except (ValueError, RecursionError):
            end = len(line)
        found.append(line[at:end])
        at = end
        while at < len(line) and line[at].isspace():
            at += 1
    return found


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _record(text: str) -> dict[str, Any]:
    """An object, numbers with a point as they are written."""
    try:
        record: dict[str, Any] = json.loads(text, parse_float=_Literal, parse_constant=_Literal)
    except (ValueError, RecursionError) as error:
        raise Unreadable("not JSON") from error
    return record


def _json(value: object) -> str:
    """JSON of what :func:`_record` gave."""
    if isinstance(value, _Literal):
        return str(value)
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(name)}: {_json(each)}' for name, each in value.items())}}}"
    return f"[{', '.join(map(_json, value))}]" if isinstance(value, list) else json.dumps(value)


def _judged(window: Window, cents: int, *, robust: bool) -> tuple[int, int, int, bool]:
    """By how many purchases an amount was judged, their middle and deviation in cents, and whether it stands out."""
    if not robust:
        spread = window.spread
        return spread.count, spread.mean, spread.deviation, spread.is_above(cents)
    middle, distance = window.robust
    factor, of = MAD_TO_DEVIATION
    above = 4 * of * cents - 2 * of * middle > DEVIATIONS * factor * distance
    half = abs(middle) // 2 if middle >= 0 else -(abs(middle) // 2)
    return len(window.cents), half, factor * distance // (4 * of), above
