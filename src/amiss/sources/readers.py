"""The fast lane from bytes to coded frames: compiled passes over blocks of lines, on all processors.

Each worker reads every n-th block and keeps its own table of texts, so that nothing is shared while it reads; its
numbers become codes of the shared vocabulary when the blocks are put together, in their order. So the codes never
depend on which worker was faster. Lines that the passes leave over are read by the general reader and take their
place in between: the result is the one that the general reader alone would give.
"""

from __future__ import annotations

import json
import os
import queue
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.events import CODED_SCHEMA, OUTCOMES
from amiss.vocabulary import Vocabulary, encode_events

if TYPE_CHECKING:
    from amiss.sources.rows_kernel import Rows
    from amiss.sources.text_table import Texts

    Pass = Callable[..., bool]

BLOCK_BYTES: Final = 1 << 23
PADDING: Final = 16
KEY_BYTES: Final = 64
ROLES: Final = ("time", "user", "action", "outcome")
FACTORS: Final = {"epoch_s": (1_000_000, 1), "epoch_ms": (1000, 1), "epoch_us": (1, 1), "epoch_ns": (1, 1000)}
"""What a number of each unit is multiplied and divided by to give microseconds."""

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]


class Readable(Protocol):
    """Bytes that can be read into a buffer, in one go from the first to the last."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill the buffer from its start; how many bytes were read, 0 at the end."""
        ...


class Block(NamedTuple):
    """Whole lines: the first `size` bytes of a buffer that has `PADDING` zeros behind them."""

    data: Bytes
    size: int


@dataclass(frozen=True)
class Layout:
    """How to find time, user, action and outcome in a line.

    `scan` is a compiled pass, `before` its arguments that say where the values stand; `time_rule` says how times
    are written (see `rows_kernel.time_of`), `outcome_of` what the bytes of an outcome mean.
    """

    scan: Pass
    before: tuple[object, ...]
    time_rule: Ints
    outcome_of: Callable[[bytes], str]
    delimiter: int | None = None


def time_rule(kind: str, timezone: str) -> Ints | None:
    """The rule for times of this kind, or None where the passes know none."""
    naive = int(timezone == "UTC")
    if kind == "iso":
        return np.array([0, 1, 1, naive])
    return np.array([1, *FACTORS[kind], naive]) if kind in FACTORS else None


def ndjson_layout(
    keys: tuple[str | None, ...], rule: Ints, outcome_of: Callable[[str | None], str]
) -> Layout | None:
    """The layout of flat JSON objects with these keys for time, user, action and outcome; None if they are too long."""
    from amiss.sources.ndjson_kernel import read_lines

    texts = [key.encode() if key is not None else b"" for key in keys]
    if max(map(len, texts)) > KEY_BYTES:
        return None
    words = np.zeros((len(keys), KEY_BYTES), np.uint8)
    for row, text in zip(words, texts, strict=True):
        row[: len(text)] = np.frombuffer(text, np.uint8)
    sizes = np.array([len(text) if key is not None else -1 for key, text in zip(keys, texts, strict=True)])
    return Layout(read_lines, (words.view(np.uint64), sizes), rule, lambda token: outcome_of(json_text(token)))


def json_text(token: bytes) -> str | None:
    """The text of a JSON text, number or literal; None for null and nothing.

    Examples
    --------
    >>> [json_text(token) for token in (b'"ok"', b"200", b"true", b"null", b"")]
    ['ok', '200', 'true', None, None]
    """
    if token.startswith(b'"'):
        return str(json.loads(token))
    return token.decode() if token not in (b"", b"null") else None


def delimited_layout(
    columns: tuple[int | None, ...],
    width: int,
    delimiter: str,
    rule: Ints,
    outcome_of: Callable[[str | None], str],
) -> Layout:
    """The layout of lines of `width` fields with time, user, action and outcome at these columns."""
    from amiss.sources.delimited_kernel import read_records

    roles = np.full(width, -1)
    for role, column in enumerate(columns):
        if column is not None:
            roles[column] = role
    repeated = np.frombuffer(delimiter.encode() * 8, np.uint64)[0]
    return Layout(read_records, (repeated, roles), rule, lambda token: outcome_of(token.decode()), ord(delimiter))


# --- blocks


def blocks(file: Readable, free: queue.SimpleQueue[Bytes], layout: Layout, size: int = BLOCK_BYTES) -> Iterator[Block]:
    """The rest of a file cut behind whole lines (records); buffers come from `free` while it has some."""
    carried = b""
    while True:
        data = _buffer(free, max(size, 2 * len(carried)))
        room = len(data) - PADDING
        data[: len(carried)] = np.frombuffer(carried, np.uint8)
        filled = len(carried) + _fill(file, data.data[len(carried) : room])
        end = filled if filled < room else _cut(data, filled, layout.delimiter)
        carried = data[end:filled].tobytes()
        data[end : end + PADDING] = 0
        if end:
            yield Block(data, end)
        if filled < room:
            return


def _buffer(free: queue.SimpleQueue[Bytes], size: int) -> Bytes:
    """A buffer for at least `size` bytes and the padding."""
    try:
        data = free.get_nowait()
    except queue.Empty:
        return np.empty(size + PADDING, np.uint8)
    return data if len(data) >= size + PADDING else np.empty(size + PADDING, np.uint8)


def _fill(file: Readable, target: memoryview) -> int:
    """Read until the target is full or the file ends; the bytes read."""
    filled = 0
    while filled < len(target):
        count = file.readinto(target[filled:])
        if not count:
            break
        filled += count
    return filled


def _cut(data: Bytes, filled: int, delimiter: int | None) -> int:
    """Where the last whole line of a full buffer ends; 0 if none does."""
    if delimiter is not None and (data[:filled] == ord('"')).any():
        from amiss.sources.delimited_kernel import records_end

        data[filled : filled + PADDING] = 0
        return int(records_end(data, filled, delimiter))
    step = 1 << 16
    for stop in range(filled, 0, -step):
        found = data[max(0, stop - step) : stop].tobytes().rfind(b"\n")
        if found >= 0:
            return max(0, stop - step) + found + 1
    return 0


# --- one worker


class New(NamedTuple):
    """Texts that a worker met for the first time, and the line of each within the block."""

    texts: list[bytes]
    lines: Ints


class Passed(NamedTuple):
    """What a pass over one block gave."""

    rows: Rows
    odd: list[tuple[int, bytes]]
    lines: int
    size: int
    users: New
    actions: New
    outcomes: New


class Worker:
    """Reads blocks, one after the other, into rows of its own numbers."""

    def __init__(self, layout: Layout, free: queue.SimpleQueue[Bytes]) -> None:
        from amiss.sources.text_table import empty_texts

        self._layout = layout
        self._free = free
        self._tables: list[Texts] = [empty_texts(room) for room in (1 << 12, 1 << 8, 1 << 6)]
        self._spans = np.zeros((len(ROLES), 3), np.int64)
        self._memo = np.zeros(3, np.uint64)

    def read(self, block: Block) -> Passed:
        """The rows of a block, and the lines that were left over."""
        from amiss.sources.rows_kernel import empty_rows

        before = [int(table.used[0]) for table in self._tables]
        rows = empty_rows(block.size // 40 + 64)
        odd = np.empty((256, 3), np.int64)
        progress = np.zeros(len(ROLES), np.int64)
        while not self._scan(block, rows, odd, progress):
            rows, odd = self._with_room(rows, odd, progress)
        left = [(line, block.data[at:stop].tobytes()) for line, at, stop in odd[: progress[3]].tolist()]
        self._free.put(block.data)
        taken = type(rows)(*(column[: progress[2]] for column in rows))
        new = [_new(table, first) for table, first in zip(self._tables, before, strict=True)]
        return Passed(taken, left, int(progress[1]), block.size, *new)

    def _scan(self, block: Block, rows: Rows, odd: Ints, progress: Ints) -> bool:
        """Whether the pass came to the end of the block."""
        layout = self._layout
        tables = self._tables
        return layout.scan(
            block.data, block.size, *layout.before, layout.time_rule, *tables, rows, odd, progress, self._spans, self._memo
        )

    def _with_room(self, rows: Rows, odd: Ints, progress: Ints) -> tuple[Rows, Ints]:
        """Rows and odd lines, with more room for whatever is full; tables grow likewise."""
        from amiss.sources.text_table import grown, is_full

        self._tables = [grown(table) if is_full(table) else table for table in self._tables]
        if progress[2] == len(rows.time):
            rows = type(rows)(*(_doubled(column) for column in rows))
        return rows, _doubled(odd) if progress[3] == len(odd) else odd


def _doubled(column: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """The same values with room for as many more."""
    return np.concatenate([column, np.empty_like(column)])


def _new(table: Texts, first: int) -> New:
    """The texts of a table from number `first` on."""
    from amiss.sources.text_table import texts_from

    return New(texts_from(table, first), table.born[first : table.used[0]].copy())


def in_order(
    found: Iterator[Block], layout: Layout, free: queue.SimpleQueue[Bytes], workers: int
) -> Iterator[tuple[int, Passed]]:
    """Which worker read a block, and what it gave, in the order of the blocks.

    The k-th block goes to worker k mod n. Reading the file has a thread of its own, since unpacking takes time.
    """
    pools = [ThreadPoolExecutor(1, f"amiss-lines-{number}") for number in range(workers)]
    ahead = ThreadPoolExecutor(1, "amiss-bytes")
    readers = [Worker(layout, free) for _ in pools]
    pending: deque[tuple[int, Future[Passed]]] = deque()
    try:
        coming: Future[Block | None] | None = ahead.submit(next, found, None)
        count = 0
        while coming or pending:
            if coming and len(pending) < 2 * workers and _comes_first(coming, pending):
                block = coming.result()
                coming = ahead.submit(next, found, None) if block else None
                if block:
                    number = count % workers
                    pending.append((number, pools[number].submit(readers[number].read, block)))
                    count += 1
            elif pending:
                number, future = pending.popleft()
                yield number, future.result()
    finally:
        for pool in (*pools, ahead):
            pool.shutdown(wait=True, cancel_futures=True)


def _comes_first(coming: Future[Block | None], pending: deque[tuple[int, Future[Passed]]]) -> bool:
    """Whether the next block is there before the oldest one has been read."""
    wait([coming, *(future for _, future in list(pending)[:1])], return_when=FIRST_COMPLETED)
    return coming.done()


# --- together


@dataclass
class _Meanings:
    """What one worker's numbers mean: codes of the shared vocabularies, and of outcomes."""

    users: npt.NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    actions: npt.NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    outcomes: npt.NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))


OddLines = Callable[[list[tuple[int, bytes]]], pl.DataFrame]
"""The event frame of lines that passes left over, given with their positions; the rest goes to quarantine."""


def coded_frames(
    file: Readable,
    layout: Layout,
    odd_lines: OddLines,
    users: Vocabulary,
    actions: Vocabulary,
    *,
    position: int = 1,
    block_bytes: int = BLOCK_BYTES,
    workers: int | None = None,
) -> Iterator[tuple[pl.DataFrame, int, int]]:
    """Coded frames of a file from where it stands, each with the lines and bytes that it took.

    Parameters
    ----------
    file
        Positioned at the start of a line, behind the header.
    layout
        Where the values stand in a line.
    odd_lines
        Reads what the passes leave over.
    users, actions
        Grow as new ones appear, in the order of the lines.
    position
        Position of the first line.
    """
    count = workers or processors()
    free: queue.SimpleQueue[Bytes] = queue.SimpleQueue()
    meanings = [_Meanings() for _ in range(count)]
    for number, passed in in_order(blocks(file, free, layout, block_bytes), layout, free, count):
        odd = odd_lines([(position + line, text) for line, text in passed.odd]) if passed.odd else None
        _learn(meanings[number], passed, odd, layout, users, actions, position)
        yield _frame(passed, meanings[number], odd, users, actions, position), passed.lines, passed.size
        position += passed.lines


def processors() -> int:
    """How many workers to use: a processor each, four at most, since more wait for the one that puts together."""
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _learn(
    meaning: _Meanings,
    passed: Passed,
    odd: pl.DataFrame | None,
    layout: Layout,
    users: Vocabulary,
    actions: Vocabulary,
    position: int,
) -> None:
    """Give the worker's new numbers their meaning."""
    meaning.users = _extended(meaning.users, passed.users, users, odd, "user", position)
    meaning.actions = _extended(meaning.actions, passed.actions, actions, odd, "action", position)
    if passed.outcomes.texts:
        new = [OUTCOMES.index(layout.outcome_of(token)) for token in passed.outcomes.texts]
        meaning.outcomes = np.concatenate([meaning.outcomes, np.array(new, np.uint8)])


def _extended(
    codes: npt.NDArray[np.uint32], new: New, known: Vocabulary, odd: pl.DataFrame | None, column: str, position: int
) -> npt.NDArray[np.uint32]:
    """The worker's codes with those of its new texts; texts of odd lines are coded at their place in between."""
    if not new.texts:
        return codes
    texts = pl.Series([text.decode() for text in new.texts], dtype=pl.String)
    if odd is None or odd.is_empty():
        return np.concatenate([codes, known.encode(texts)])
    own = pl.DataFrame({"position": new.lines + position, "text": texts, "own": True})
    other = odd.select("position", text=column, own=False)
    ordered = pl.concat([own, other]).sort("position", maintain_order=True)
    return np.concatenate([codes, known.encode(ordered["text"])[ordered["own"].to_numpy()]])


def _frame(
    passed: Passed, meaning: _Meanings, odd: pl.DataFrame | None, users: Vocabulary, actions: Vocabulary, position: int
) -> pl.DataFrame:
    """The coded frame of a block, odd lines in their place."""
    rows = passed.rows
    columns = {
        "position": rows.line + position,
        "time": pl.Series(rows.time).cast(CODED_SCHEMA["time"]),
        "user": meaning.users[rows.user],
        "action": meaning.actions[rows.action],
        "outcome": meaning.outcomes[rows.outcome],
    }
    frame = pl.DataFrame(columns, schema=CODED_SCHEMA)
    if odd is None or odd.is_empty():
        return frame
    return pl.concat([frame, encode_events(odd, users, actions)]).sort("position", maintain_order=True)
