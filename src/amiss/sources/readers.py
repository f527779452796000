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
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.events import CODED_SCHEMA, OUTCOMES
from amiss.vocabulary import Coding, Vocabulary

if TYPE_CHECKING:
    from amiss.sources.rows_kernel import Rows
    from amiss.sources.text_kernel import Texts
    from amiss.times import TimeFormat

    Pass = Callable[..., bool]

LEAST_BYTES: Final = 8 << 20
"""With less to read, loading the passes takes longer than they save."""
BLOCK_BYTES: Final = 1 << 23
PADDING: Final = 16
LINE_LIMIT: Final = 1 << 20
NEAR_LINES: Final = 1000
KEY_BYTES: Final = 64
ROLES: Final = ("time", "user", "action", "outcome")
FACTORS: Final = {"epoch_s": (1_000_000, 1), "epoch_ms": (1000, 1), "epoch_us": (1, 1), "epoch_ns": (1, 1000)}
"""What a number of each unit is multiplied and divided by to give microseconds."""

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Free = queue.SimpleQueue[Bytes]
"""Buffers that nobody uses any more."""


class Readable(Protocol):
    """Bytes that can be read into a buffer, from the first to the last."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill the buffer from its start; how many bytes were read, 0 at the end."""
        ...


class Block(NamedTuple):
    """Whole lines: the first `size` bytes of `data`.

    `first` is the position of the first line, where it does not follow from the blocks before; `mark` is handed
    back with the frame of the block.
    """

    data: Bytes
    size: int
    first: int | None
    mark: object


@dataclass(frozen=True)
class Layout:
    """How to find time, user, action and outcome in a line.

    `scan` is a compiled pass, `before` its arguments that say where the values stand; `time_rule` says how times
    are written (see `rows_kernel.time_of`), `outcome_of` what the bytes of an outcome mean, `quoted` whether quotes may
    hold line ends.
    """

    scan: Pass
    before: tuple[object, ...]
    time_rule: Ints
    outcome_of: Callable[[bytes], str]
    quoted: bool = False


def time_rule(found: TimeFormat | None, timezone: str) -> Ints | None:
    """The rule for times of this format, or None where the passes know none."""
    kind = found.kind if found else "iso"
    naive = int(timezone == "UTC")
    if kind == "iso":
        return np.array([0, 1, 1, naive])
    return np.array([1, *FACTORS[kind], naive]) if kind in FACTORS else None


def ndjson_layout(keys: Sequence[str | None], rule: Ints, outcome_of: Callable[[str | None], str]) -> Layout | None:
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
    columns: Sequence[int | None],
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
    return Layout(read_records, (repeated, roles), rule, lambda token: outcome_of(token.decode()), quoted=True)


# --- blocks


def blocks(file: Readable, free: Free, layout: Layout, offset: int = 0) -> Iterator[Block]:
    """The rest of a file that stands at `offset`, cut behind whole lines (records); the mark is the offset behind.

    Buffers come from `free` while it has some. Of a line that fills a whole block only the beginning is given.
    """
    size, carried = BLOCK_BYTES, b""
    filled = size
    while filled == size:
        size = max(size, 2 * len(carried))
        data = _buffer(free, size)
        data[: len(carried)] = np.frombuffer(carried, np.uint8)
        filled = len(carried) + _fill(file, data.data[len(carried) : size])
        end = filled if filled < size else _cut(data[:filled], quoted=layout.quoted)
        carried = data[end:filled].tobytes()
        offset += end
        if end:
            yield Block(data, end, None, offset)
        elif filled == size > LINE_LIMIT:
            carried, skipped = _skip_line(file)
            offset += size + skipped - len(carried)
            yield Block(data, LINE_LIMIT + 1, None, offset)


def _skip_line(file: Readable) -> tuple[bytes, int]:
    """What was read of the next line, and how many bytes were read in all."""
    piece = bytearray(1 << 20)
    skipped = 0
    while count := file.readinto(memoryview(piece)):
        at = piece.find(b"\n", 0, count) + 1
        if at:
            return bytes(piece[at:count]), skipped + count
        skipped += count
    return b"", skipped


def copied(pieces: Iterable[tuple[bytes, int, object]], free: Free) -> Iterator[Block]:
    """Blocks of whole lines that are there as bytes, each with the position of its first line and its mark."""
    for text, first, mark in pieces:
        data = _buffer(free, len(text))
        data[: len(text)] = np.frombuffer(text, np.uint8)
        yield Block(data, len(text), first, mark)


def _buffer(free: Free, size: int) -> Bytes:
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


def _cut(data: Bytes, *, quoted: bool) -> int:
    """Where the last whole line (record) of a full buffer ends; 0 if none does."""
    step = 1 << 16
    for stop in range(len(data), 0, -step):
        found = data[max(0, stop - step) : stop].tobytes().rfind(b"\n")
        if found >= 0:
            end = max(0, stop - step) + found + 1
            return _outside_quotes(data[:end].tobytes()) if quoted else end
    return 0


def _outside_quotes(text: bytes) -> int:
    """The last line end behind an even number of quotes; when none is near, the last, or none in a small block."""
    quotes, at = text.count(b'"'), len(text)
    for _ in range(NEAR_LINES):
        if quotes % 2 == 0 or at == 0:
            break
        before = text.rfind(b"\n", 0, at - 1) + 1
        quotes -= text.count(b'"', before, at)
        at = before
    if at and quotes % 2 == 0:
        return at
    return len(text) if len(text) > LINE_LIMIT else 0


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
    users: New
    actions: New
    outcomes: New


class Worker:
    """Reads blocks, one after the other, into rows of its own numbers."""

    def __init__(self, layout: Layout, free: Free) -> None:
        from amiss.sources.text_kernel import empty_texts

        self._layout = layout
        self._free = free
        self._tables: list[Texts] = [empty_texts(room) for room in (1 << 12, 1 << 8, 1 << 6)]
        self._spans = np.zeros((len(ROLES), 3), np.int64)
        self._memo = np.zeros(3, np.uint64)

    def read(self, block: Block) -> Passed:
        """The rows of a block, and the lines that were left over."""
        from amiss.sources.rows_kernel import empty_rows, first_rows

        block.data[block.size : block.size + PADDING] = 0
        before = [int(table.used[0]) for table in self._tables]
        rows = empty_rows(block.size // 40 + 64)
        odd = np.empty((256, 3), np.int64)
        progress = np.zeros(len(ROLES), np.int64)
        while not self._scan(block, rows, odd, progress):
            rows, odd = self._with_room(rows, odd, progress)
        left = [
            numbered
            for line, at, stop in odd[: progress[3]].tolist()
            for numbered in enumerate(block.data[at:stop].tobytes().removesuffix(b"\n").split(b"\n"), start=line)
        ]
        self._free.put(block.data)
        taken = first_rows(rows, int(progress[2]))
        new = [_new(table, first) for table, first in zip(self._tables, before, strict=True)]
        return Passed(taken, left, int(progress[1]), *new)

    def _scan(self, block: Block, rows: Rows, odd: Ints, progress: Ints) -> bool:
        """Whether the pass came to the end of the block."""
        layout = self._layout
        tables = self._tables
        return layout.scan(
            block.data,
            block.size,
            *layout.before,
            layout.time_rule,
            *tables,
            rows,
            odd,
            progress,
            self._spans,
            self._memo,
        )

    def _with_room(self, rows: Rows, odd: Ints, progress: Ints) -> tuple[Rows, Ints]:
        """Rows and odd lines, with more room for whatever is full; tables grow likewise."""
        from amiss.sources.rows_kernel import larger_rows
        from amiss.sources.text_kernel import grown, is_full

        self._tables = [grown(table) if is_full(table) else table for table in self._tables]
        if progress[2] == len(rows.time):
            rows = larger_rows(rows)
        return rows, np.concatenate([odd, np.empty_like(odd)]) if progress[3] == len(odd) else odd


def part_of(passed: Passed, low: int, high: int) -> Passed:
    """What a pass gave of the lines `low` to `high`, without what it left over."""
    first, behind = np.searchsorted(passed.rows.line, [low, high])
    rows = passed.rows._replace(**{name: column[first:behind] for name, column in passed.rows._asdict().items()})
    new = [_new_between(found, low, high) for found in (passed.users, passed.actions, passed.outcomes)]
    return Passed(rows, [], high - low, *new)


def _new_between(new: New, low: int, high: int) -> New:
    """The texts that were first met in these lines."""
    first, behind = np.searchsorted(new.lines, [low, high])
    return New(new.texts[first:behind], new.lines[first:behind])


def _new(table: Texts, first: int) -> New:
    """The texts of a table from number `first` on."""
    from amiss.sources.text_kernel import texts_from

    return New(texts_from(table, first), table.born[first : table.used[0]].copy())


def in_order(found: Iterator[Block], layout: Layout, free: Free, workers: int) -> Iterator[tuple[int, Block, Passed]]:
    """Which worker read a block, the block, and what it gave, in the order of the blocks.

    The k-th block goes to worker k mod n. Reading the file has a thread of its own, since unpacking takes time.
    """
    pools = [ThreadPoolExecutor(1, f"amiss-lines-{number}") for number in range(workers)]
    ahead = ThreadPoolExecutor(1, "amiss-bytes")
    readers = [Worker(layout, free) for _ in pools]
    pending: deque[tuple[int, Block, Future[Passed]]] = deque()
    try:
        coming: Future[Block | None] | None = ahead.submit(next, found, None)
        count = 0
        while coming or pending:
            if coming and len(pending) < 2 * workers and _comes_first(coming, pending):
                block = coming.result()
                coming = ahead.submit(next, found, None) if block else None
                if block:
                    number = count % workers
                    pending.append((number, block, pools[number].submit(readers[number].read, block)))
                    count += 1
            elif pending:
                number, block, future = pending.popleft()
                yield number, block, future.result()
    finally:
        for pool in (*pools, ahead):
            pool.shutdown(wait=True, cancel_futures=True)


def _comes_first(coming: Future[Block | None], pending: deque[tuple[int, Block, Future[Passed]]]) -> bool:
    """Whether the next block is there before the oldest one has been read."""
    either: list[Future[Any]] = [coming, *(future for _, _, future in list(pending)[:1])]
    wait(either, return_when=FIRST_COMPLETED)
    return coming.done()


# --- together


@dataclass
class Meanings:
    """What one worker's numbers mean: codes of the shared vocabularies, and of outcomes."""

    users: npt.NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    actions: npt.NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    outcomes: npt.NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))


OddLines = Callable[[list[tuple[int, bytes]]], pl.DataFrame]
"""The event frame of lines that passes left over, given with their positions; the rest goes to quarantine."""


def coded_frames(
    found: Iterator[Block],
    free: Free,
    layout: Layout,
    odd_lines: OddLines,
    *,
    users: Vocabulary,
    actions: Vocabulary,
    position: int = 1,
    workers: int | None = None,
) -> Iterator[tuple[pl.DataFrame, object, int]]:
    """The coded frame of each block, its mark, and the position behind it.

    Parameters
    ----------
    found
        What :func:`blocks` or :func:`copied` gives, headers left out; read in another thread.
    free
        Where buffers go that are done with.
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
    meanings = [Meanings() for _ in range(count)]
    for number, block, passed in in_order(found, layout, free, count):
        position = position if block.first is None else block.first
        odd = odd_lines([(position + line, text) for line, text in passed.odd]) if passed.odd else None
        frame = coded_frame(passed, meanings[number], odd, layout, users=users, actions=actions, position=position)
        position += passed.lines
        yield frame, block.mark, position


class Coder:
    """Coded frames of blocks of lines, one at a time and in the caller's own thread: for what comes in as it happens.

    Parameters
    ----------
    layout
        Where the values stand in a line.
    odd_lines
        Reads what the passes leave over.
    users, actions
        Grow as new ones appear, in the order of the lines.
    """

    def __init__(self, layout: Layout, odd_lines: OddLines, users: Vocabulary, actions: Vocabulary) -> None:
        self._layout = layout
        self._odd_lines = odd_lines
        self._users = users
        self._actions = actions
        self._free: Free = queue.SimpleQueue()
        self._worker = Worker(layout, self._free)
        self._meanings = Meanings()

    def frame(self, text: bytes, position: int) -> pl.DataFrame:
        """The coded frame of whole lines, the first of which has this position."""
        passed = self._worker.read(next(copied([(text, position, None)], self._free)))
        odd = self._odd_lines([(position + line, left) for line, left in passed.odd]) if passed.odd else None
        users, actions = self._users, self._actions
        _learn(self._meanings, passed, odd, self._layout, users=users, actions=actions, position=position)
        return _frame(passed, self._meanings, odd, users, actions, position=position)


def coded_frame(
    passed: Passed,
    meaning: Meanings,
    odd: pl.DataFrame | None,
    layout: Layout,
    *,
    users: Vocabulary,
    actions: Vocabulary,
    position: int,
) -> pl.DataFrame:
    """The coded frame of what a worker's pass gave, the events of odd lines in their place.

    `position` is that of the line 0 of `passed`; a worker's passes must come here in their order.
    """
    _learn(meaning, passed, odd, layout, users=users, actions=actions, position=position)
    return _frame(passed, meaning, odd, users, actions, position=position)


def processors() -> int:
    """How many workers to use: a processor each, four at most, since more wait for the one that puts together."""
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _learn(
    meaning: Meanings,
    passed: Passed,
    odd: pl.DataFrame | None,
    layout: Layout,
    *,
    users: Vocabulary,
    actions: Vocabulary,
    position: int,
) -> None:
    """Give the worker's new numbers their meaning."""
    meaning.users = _extended(meaning.users, passed.users, users, odd, column="user", position=position)
    meaning.actions = _extended(meaning.actions, passed.actions, actions, odd, column="action", position=position)
    if passed.outcomes.texts:
        new = [OUTCOMES.index(layout.outcome_of(token)) for token in passed.outcomes.texts]
        meaning.outcomes = np.concatenate([meaning.outcomes, np.array(new, np.uint8)])


def _extended(
    codes: npt.NDArray[np.uint32], new: New, known: Vocabulary, odd: pl.DataFrame | None, *, column: str, position: int
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
    passed: Passed,
    meaning: Meanings,
    odd: pl.DataFrame | None,
    users: Vocabulary,
    actions: Vocabulary,
    *,
    position: int,
) -> pl.DataFrame:
    """The coded frame of a block, odd lines in their place."""
    rows = passed.rows
    columns = (
        pl.Series("position", rows.line + position),
        pl.Series("time", rows.time).cast(CODED_SCHEMA["time"]),
        pl.Series("user", meaning.users[rows.user]),
        pl.Series("action", meaning.actions[rows.action]),
        pl.Series("outcome", meaning.outcomes[rows.outcome]),
    )
    frame = pl.DataFrame(columns)
    if odd is None or odd.is_empty():
        return frame
    return pl.concat([frame, Coding(users, actions).encode(odd)]).sort("position", maintain_order=True)
