"""Files of events: NDJSON, JSON, CSV, Parquet, access and auth logs, compressed or not, one or many."""

from __future__ import annotations

import copy
import glob
import json
import os
import queue
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote

import polars as pl

from amiss import fields as columns
from amiss import times
from amiss.errors import EventError, SourceError, nearest
from amiss.events import Quarantine
from amiss.fields import FieldChoice, Fields
from amiss.sources import Cursor, authlog, readers, weblog
from amiss.sources.jsonstream import Element, elements
from amiss.sources.parquet import parquet_batches, parquet_head
from amiss.sources.rows import Line, from_csv, from_json, from_json_lines, json_raw, leaf_paths, line_by_line
from amiss.sources.sniff import FileFormat, Kind, sniff
from amiss.sources.streams import (
    HEAD_BYTES,
    LINE_LIMIT,
    LINES_PER_FRAME,
    Damage,
    LongLine,
    Piece,
    Stream,
    open_stream,
    pieces,
    skip_line,
)
from amiss.vocabulary import Coding

SUPPORTED: Final = (
    "a path, a directory, a pattern such as logs/*.gz, a file:// address, or - for standard input; "
    "NDJSON, JSON, CSV, TSV, Parquet, access logs and auth logs, also .gz and .zst"
)


class Block(NamedTuple):
    """Whole lines of a file.

    `first_line` is the position of the first line (running on over the files); `cursor` resumes behind the block.
    """

    data: bytes
    first_line: int
    file: int
    cursor: Cursor


@dataclass
class _Place:
    """Where reading stands: file, offset in its bytes, line to come, positions that files before used, records read."""

    file: int = 0
    offset: int = 0
    line: int = 1
    base: int = 0
    records: int = 0

    def cursor(self) -> Cursor:
        return Cursor(json.dumps(asdict(self), separators=(",", ":")))


def _place(after: Cursor | None) -> _Place:
    if after is None:
        return _Place()
    try:
        return _Place(**json.loads(after.token))
    except (ValueError, TypeError) as error:
        raise SourceError(f"this is no cursor of a file source: {after.token[:80]}") from error


@dataclass
class _Opened:
    """What is known of a file once its beginning was looked at."""

    format: FileFormat
    head: bytes


class FileSource:
    r"""Events of one file or several of the same kind, read in blocks of about 8 MiB.

    `quarantine` holds what could not be read, `skipped` counts lines that are no events of a user (auth logs), `fields`
    says what was read from which column, `format` what the files are made of.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from amiss.sources import open_source
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
    >>> _ = path.write_text("time,user,action,status\n2019-01-01 00:00:53,ann,login,ok\n")
    >>> source = open_source(str(path))
    >>> frame, cursor = next(source.read())
    >>> frame.select("position", "user", "action", "outcome").rows()
    [(2, 'ann', 'login', 'success')]
    """

    def __init__(
        self,
        url: str,
        *,
        fields: FieldChoice | None = None,
        timezone: str = "UTC",
        year: int | None = None,
        strict: bool = False,
    ) -> None:
        times.check_timezone(timezone)
        self.url = url
        self.timezone = timezone
        self.strict = strict
        self.quarantine = Quarantine()
        self.skipped: dict[str, int] = {}
        self.files = _resolve(url)
        self.bases: dict[int, int] = {0: 0}
        self._opened: dict[int, _Opened] = {}
        self._stdin: Stream | None = None
        self.format, self.fields = self._look(fields, year)

    # --- what the files are

    def _look(self, choice: FieldChoice | None, year: int | None) -> tuple[FileFormat, Fields]:
        """Format and fields, from the first file with rows, else from the first that is not empty."""
        looked = self._looked()
        if looked is None:
            why = ", ".join(self.quarantine.reasons)
            raise SourceError(
                f"{self.url} {f'holds no events: {why}' if why else 'is empty: there are no events to read'}"
            )
        opened, name, sample = looked
        moment = _newest(self.files)
        return opened.format, fields_of(sample, opened.format.kind, fields=choice, where=name, year=year, now=moment)

    def _looked(self) -> tuple[_Opened, str, pl.DataFrame] | None:
        """What tells of the format: a file, its name and first rows."""
        first = None
        for number, name in enumerate(self.files):
            opened = self._open(number)
            if opened is None:
                continue
            sample = self._sample(opened, name)
            if len(sample):
                return opened, name, sample
            first = first or (opened, name, sample)
        return first

    def _open(self, number: int) -> _Opened | None:
        """What a file's beginning tells; None when it is empty."""
        if number not in self._opened:
            name = self.files[number]
            stream = open_stream(name)
            head, sample = _beginning(stream)
            if name == "-":
                stream.unread(head)
                self._stdin = stream
            else:
                stream.close()
            if not head.strip(b"\r\n\t \0"):
                if head or stream.damage:
                    self._reject(number, 1, stream.damage or "only blanks and NUL bytes", "")
                return None
            self._opened[number] = _Opened(sniff(_whole_lines(sample), name), sample)
        return self._opened[number]

    def _sample(self, opened: _Opened, name: str) -> pl.DataFrame:
        """The first rows, as raw columns."""
        kind = opened.format.kind
        if kind == "parquet":
            return parquet_head(name, columns.SAMPLE_ROWS)
        if kind == "json":
            records = [item.record for item in elements(_Fixed(opened.head)) if item.record is not None]
            return json_raw(records, range(len(records)), leaf_paths(records))
        return line_sample(opened.format, _whole_lines(opened.head))

    # --- reading

    def read(self, after: Cursor | None = None) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Event frames of at most 100,000 rows, each with the cursor behind it.

        Raises
        ------
        EventError
            If nothing at all could be read; says why. With `strict`, at the first row that cannot be.
        """
        seen = False
        for frame, cursor in self._read(after):
            if len(frame):
                seen = True
                for part in frame.iter_slices(LINES_PER_FRAME) if len(frame) > LINES_PER_FRAME else (frame,):
                    yield part, cursor
        if not seen and after is None:
            raise EventError(self._nothing_read())

    def _read(self, after: Cursor | None) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        if self.format.kind == "parquet":
            yield from self._parquet_files(self._start(after), self._parquet_frames)
        elif self.format.kind == "json":
            yield from self._read_json(self._start(after))
        else:
            for block in self.blocks(after, max_lines=LINES_PER_FRAME):
                yield self._frame_of(block), block.cursor

    def read_coded(self, coding: Coding, after: Cursor | None = None) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Coded frames with the cursor behind each: the rows of :meth:`read`, several times as fast.

        Columns that only ride along are not read. Which rows end up in quarantine, and why, is the same.

        Raises
        ------
        EventError
            As :meth:`read`.
        """
        seen = False
        for frame, cursor in self._narrow(coding)._coded(coding, after):  # noqa: SLF001 - it is of this class
            if len(frame):
                seen = True
                yield frame, cursor
        if not seen and after is None:
            raise EventError(self._nothing_read())

    def _narrow(self, coding: Coding) -> FileSource:
        """The source, but reading only what coded frames hold; all that reading changes is shared."""
        narrow = copy.copy(self)
        roles = {name: guess for name, guess in self.fields.roles.items() if coding.contexts or name in readers.ROLES}
        narrow.fields = replace(self.fields, roles=roles, rest=coding.raw)
        self._stdin = None
        return narrow

    def _coded(self, coding: Coding, after: Cursor | None) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        if not coding.contexts and self._is_large() and self._layout(self.format) is not None:
            yield from self._coded_lines(coding, self._start(after))
        elif not coding.contexts and self.format.kind == "parquet":
            yield from self._parquet_files(self._start(after), partial(self._parquet_coded, coding))
        else:
            yield from ((coding.encode(frame), cursor) for frame, cursor in self._read(after))

    def _is_large(self) -> bool:
        """Whether there is so much to read that loading compiled passes takes less time than they save."""
        return "-" in self.files or sum(Path(name).stat().st_size for name in self.files) >= readers.LEAST_BYTES

    def _layout(self, found: FileFormat) -> readers.Layout | None:
        """Where compiled passes find what they read, or None where the general way must be taken."""
        return layout_of(found, self.fields, self.timezone)

    def _coded_lines(self, coding: Coding, start: _Place) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Coded frames of files of regular lines."""
        for number in range(start.file, len(self.files)):
            place = start if number == start.file else _Place(number, base=self.bases[number])
            opened = self._same_kind(number)
            if opened is not None:
                yield from self._coded_file(place, opened, coding)
            self.bases[number + 1] = place.base + place.line - 1

    def _coded_file(self, place: _Place, opened: _Opened, coding: Coding) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Coded frames of one file; moves `place` on."""
        layout = self._layout(opened.format)
        assert layout is not None, "files of one kind that have the needed columns have a layout if the first one has"
        free: readers.Free = queue.SimpleQueue()
        stream = self._stream(place.file)
        odd_lines = partial(self.parse_lines, file=place.file)
        with ExitStack() as stack:
            stack.callback(stream.close)
            if stream.plain and self.files[place.file] != "-":
                file = stack.enter_context(Path(self.files[place.file]).open("rb", buffering=0))
                _skip_header(place, opened)
                file.seek(place.offset)
                found = readers.blocks(file, free, layout, place.offset)
            else:
                stream.skip(place.offset)
                found = readers.copied(self._copied(place, opened, stream), free)
            position = place.base + place.line
            for frame, mark, behind in readers.coded_frames(
                found, free, layout, odd_lines, users=coding.users, actions=coding.actions, position=position
            ):
                if isinstance(mark, (LongLine, Damage)):
                    place.line = self._line_behind(place.file, mark)
                else:
                    place.offset, place.line = int(str(mark)), behind - place.base
                yield frame, place.cursor()

    def _copied(self, place: _Place, opened: _Opened, stream: Stream) -> Iterator[tuple[bytes, int, object]]:
        """Pieces of a stream behind the header, with their first position and what to do behind them."""
        quoted = opened.format.kind == "csv"
        for piece in pieces(stream, first_line=place.line, offset=place.offset, quoted=quoted):
            if isinstance(piece, Piece):
                data, first = _without_header(piece, opened.format)
                yield data, place.base + first, piece.end
            else:
                yield b"", place.base + piece.line, piece

    def _start(self, after: Cursor | None) -> _Place:
        """The place to begin at; a reading from the start forgets what an earlier one quarantined."""
        place = _place(after)
        if after is None:
            self.quarantine.reasons.clear()
            self.quarantine.samples.clear()
            self.skipped.clear()
        self.bases[place.file] = place.base
        return place

    def _nothing_read(self) -> str:
        first = [f"  {bad.file}:{bad.position}: {bad.reason}" for bad in self.quarantine.samples[:5]]
        skipped = "".join(f"\n  {count:,} lines: {reason}" for reason, count in self.skipped.items())
        return f"{self.url}: no row could be read as an event.\n" + "\n".join(first) + skipped

    def blocks(self, after: Cursor | None = None, *, max_lines: int | None = None) -> Iterator[Block]:
        """Blocks of whole lines of text files, about 8 MiB each, headers left out.

        What cannot be given (lines above 1 MiB, the end of a damaged file) goes to the quarantine.
        """
        start = self._start(after)
        for number in range(start.file, len(self.files)):
            place = start if number == start.file else _Place(number, base=self.bases[number])
            yield from self._blocks_of(place, max_lines)

    def _blocks_of(self, place: _Place, max_lines: int | None) -> Iterator[Block]:
        """Blocks of one file from a place on."""
        number, line = place.file, place.line
        opened = self._same_kind(number)
        if opened is not None:
            with closing(self._stream(number)) as stream:
                stream.skip(place.offset)
                quoted = opened.format.kind == "csv"
                start = {"first_line": place.line, "offset": place.offset}
                for piece in pieces(stream, **start, quoted=quoted, max_lines=max_lines):
                    line = self._line_behind(number, piece)
                    yield from self._block(piece, place, line, opened.format)
        self.bases[number + 1] = place.base + line - 1

    def _block(self, piece: Piece | LongLine | Damage, place: _Place, line: int, found: FileFormat) -> Iterator[Block]:
        """The block that a piece is, when it is one that holds more than the header."""
        if isinstance(piece, Piece):
            data, first = _without_header(piece, found)
            if data:
                cursor = _Place(place.file, piece.end, line, place.base).cursor()
                yield Block(data, place.base + first, place.file, cursor)

    def _line_behind(self, number: int, piece: Piece | LongLine | Damage) -> int:
        """The line that follows a piece; what is no whole lines goes to the quarantine."""
        if isinstance(piece, Piece):
            return piece.first_line + piece.lines
        if isinstance(piece, LongLine):
            self._reject(number, piece.line, "line longer than 1 MiB", _shown(piece.text))
        else:
            self._reject(number, piece.line, piece.reason, _shown(piece.text))
        return piece.line + 1

    def _same_kind(self, number: int) -> _Opened | None:
        """A file's format, which must be that of the first one and have the columns that events need."""
        opened = self._open(number)
        if opened is None:
            return None
        first, other = self.format, opened.format
        if first.kind != other.kind:
            raise SourceError(
                f"{self.files[number]} is {other.kind}, but the first file is {first.kind}. Read one kind at a time."
            )
        if other.kind == "csv" and other.header != first.header:
            needed = {name for role in columns.REQUIRED for name in columns.raw_names(self.fields.roles[role].column)}
            missing = sorted(needed - set(other.header))
            if missing:
                raise EventError(
                    f"{self.files[number]}: column {', '.join(missing)} is missing. Found: {', '.join(other.header)}"
                )
        return opened

    def _stream(self, number: int) -> Stream:
        if self.files[number] != "-":
            return open_stream(self.files[number])
        if self._stdin is None:
            raise SourceError("standard input can be read only once. Write it to a file first.")
        stream, self._stdin = self._stdin, None
        return stream

    def parse_lines(self, lines: Sequence[Line], file: int) -> pl.DataFrame:
        """The event frame of lines given with their positions; those that cannot be read go to the quarantine.

        Parameters
        ----------
        lines
            (position, bytes) each; a CSV row over several lines is given as these lines.
        file
            Index of their file in `files`.
        """
        raw = raw_columns(self._opened[file].format, lines, self.fields.columns, *self._sinks(file))
        return self._events(raw, file, lines)

    def _frame_of(self, block: Block) -> pl.DataFrame:
        found = self._opened[block.file].format
        lines = _Lines(block)
        if found.kind == "ndjson":
            reject = self._sinks(block.file)[0]
            raw = from_json(block.data, block.first_line, self.fields.columns, reject, latin1=found.latin1)
        else:
            raw = raw_columns(found, lines.numbered(), self.fields.columns, *self._sinks(block.file))
        return self._events(raw, block.file, lines)

    def _events(self, raw: pl.DataFrame, file: int, lines: Sequence[Line]) -> pl.DataFrame:
        """Events of raw rows; the rows that are none go to the quarantine with their text."""
        good, bad = columns.events(raw, self.fields, self.timezone)
        if len(bad):
            wanted = set(bad["position"].to_list())
            found = {position: line for position, line in lines if position in wanted}
            for position, reason in bad.rows():
                self._reject(file, position - self.bases[file], reason, _shown(found.get(position, b"")))
        return good

    def _sinks(self, file: int) -> tuple[Reject, Skip]:
        """Where the readers of lines of a file report what they do not read."""
        base = self.bases.get(file, 0)

        def reject(position: int, reason: str, text: str) -> None:
            self._reject(file, position - base, reason, text)

        return reject, self._skip

    def _skip(self, reason: str, count: int) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + count

    def _reject(self, file: int, line: int, reason: str, text: str) -> None:
        name = self.files[file]
        if self.strict:
            raise EventError(f"{name}:{line}: {reason}: {columns.ascii_safe(text)}")
        self.quarantine.add(name, line, reason, text)

    # --- JSON that is not in lines, Parquet

    def _read_json(self, start: _Place) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Events of JSON records; positions count the records."""
        for number in range(start.file, len(self.files)):
            done = start.records if number == start.file else 0
            base = self.bases[number]
            if self._same_kind(number) is not None:
                with closing(self._stream(number)) as stream:
                    found = islice(elements(stream), done, None)
                    while batch := list(islice(found, LINES_PER_FRAME // 2)):
                        done += len(batch)
                        yield self._json_events(batch, number), _Place(number, base=base, records=done).cursor()
                    if stream.damage:
                        self._reject(number, done + 1, stream.damage, "")
            self.bases[number + 1] = base + done

    def _json_events(self, batch: Sequence[Element], file: int) -> pl.DataFrame:
        base = self.bases[file]
        good = [item for item in batch if item.record is not None]
        for item in batch:
            if item.reason:
                self._reject(file, item.line, item.reason, item.text)
        records = [item.record for item in good if item.record is not None]
        raw = json_raw(records, [base + item.number for item in good], self.fields.columns)
        return self._events(raw, file, [(base + item.number, item.text.encode("utf-8", "replace")) for item in good])

    def _parquet_files(
        self, start: _Place, read: Callable[[int, int], Iterator[tuple[pl.DataFrame, int]]]
    ) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """Frames of one file after the other; `read` gives those of a file from a row on, and the rows each took."""
        for number in range(start.file, len(self.files)):
            done = start.records if number == start.file else 0
            base = self.bases[number]
            if self._same_kind(number) is not None:
                for frame, rows in read(number, done):
                    done += rows
                    yield frame, _Place(number, base=base, records=done).cursor()
            self.bases[number + 1] = base + done

    def _parquet_frames(self, number: int, done: int) -> Iterator[tuple[pl.DataFrame, int]]:
        """Event frames of a Parquet file."""
        for batch in parquet_batches(self.files[number], self.fields.columns, done, LINES_PER_FRAME):
            first = self.bases[number] + done + 1
            rows = batch.with_columns(pl.int_range(first, first + len(batch), dtype=pl.Int64).alias("position"))
            done += len(batch)
            yield self._parquet_events(rows, number), len(batch)

    def _parquet_coded(self, coding: Coding, number: int, done: int) -> Iterator[tuple[pl.DataFrame, int]]:
        """Coded frames of a Parquet file, by distinct values where it is large and its columns are plain."""
        from amiss.sources.dictionaries import LEAST_BYTES, DictionaryFile

        path = self.files[number]
        file = DictionaryFile(path, self.fields, self.timezone) if Path(path).stat().st_size >= LEAST_BYTES else None
        if file is None or not file.is_plain():
            for frame, rows in self._parquet_frames(number, done):
                yield coding.encode(frame), rows
            return
        for frame, batch in file.coded(coding.users, coding.actions, done, self.bases[number] + done + 1):
            if batch.rest is not None:
                first = self.bases[number] + done + 1
                self._parquet_events(batch.rest.with_columns(pl.col("position") + first), number)
            done += batch.rows
            yield frame, batch.rows

    def _parquet_events(self, rows: pl.DataFrame, file: int) -> pl.DataFrame:
        good, bad = columns.events(rows, self.fields, self.timezone)
        if len(bad):
            texts = rows.join(bad, on="position", how="semi").drop("position").head(100).rows()
            for place, (position, reason) in enumerate(bad.rows()):
                self._reject(file, position - self.bases[file], reason, str(texts[place]) if place < len(texts) else "")
        return good


Reject = Callable[[int, str, str], None]
Skip = Callable[[str, int], None]

_FIXED_ROLES: Final = {"access": weblog.ROLES, "auth": authlog.ROLES}


def line_sample(found: FileFormat, head: bytes) -> pl.DataFrame:
    """The raw columns of the first lines of a text format."""
    lines = list(enumerate(head.split(b"\n"), start=1))[: columns.SAMPLE_ROWS + 1]
    if found.kind == "ndjson":
        records, _ = line_by_line(lines, _silent, latin1=found.latin1)
        return json_raw(records, range(len(records)), leaf_paths(records))
    return raw_columns(found, lines[_header_lines(found) :], (), _silent, _unskipped)


def fields_of(
    sample: pl.DataFrame,
    kind: Kind,
    *,
    fields: FieldChoice | None,
    where: str,
    year: int | None,
    now: datetime | None,
) -> Fields:
    """Which column of a sample plays which role; where the format itself says it, as it says."""
    if kind in _FIXED_ROLES:
        return columns.fixed(sample, kind, _FIXED_ROLES[kind], fields, where=where, year=year, now=now)
    return columns.infer(sample, fields, where=where, year=year, now=now)


def layout_of(found: FileFormat, fields: Fields, timezone: str) -> readers.Layout | None:
    """Where compiled passes find the fields in lines of a format, or None where the general way must be taken."""
    guesses = [fields.roles.get(role) for role in readers.ROLES]
    names = [guess.column if guess else None for guess in guesses]
    rule = readers.time_rule(fields.roles["time"].time_format, timezone)
    plain = all(name is None or columns.raw_names(name) == (name,) for name in names)
    if rule is None or not plain or len(set(names)) < len(names):
        return None
    outcome_of = _outcome_reader(fields.roles.get("outcome"))
    if found.kind == "csv" and set(names) & set(found.header) >= set(names[:3]):
        places = [found.header.index(name) if name in found.header else None for name in names]
        return readers.delimited_layout(places, len(found.header), found.delimiter, rule, outcome_of)
    return readers.ndjson_layout(names, rule, outcome_of) if found.kind == "ndjson" else None


class _Fixed:
    """A stream of bytes that are there already."""

    damage = ""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int) -> bytes:
        data, self._data = self._data[:size], self._data[size:]
        return data


class _Lines(Sequence[Line]):
    """The numbered lines of a block, cut only when someone asks."""

    def __init__(self, block: Block) -> None:
        self._block = block

    def numbered(self) -> list[Line]:
        lines = self._block.data.split(b"\n")
        return list(enumerate(lines[:-1], start=self._block.first_line))

    def __len__(self) -> int:
        return self._block.data.count(b"\n")

    def __getitem__(self, place: int) -> Line:  # type: ignore[override]  # no slices
        return self.numbered()[place]

    def __iter__(self) -> Iterator[Line]:
        return iter(self.numbered())


def _silent(_line: int, _reason: str, _text: str) -> None:
    """Look at a sample without a word about what is wrong with it."""


def _unskipped(_reason: str, _count: int) -> None:
    """As above."""


def _shown(line: bytes) -> str:
    return line[:800].decode("utf-8", "replace")


def raw_columns(
    found: FileFormat, lines: Iterable[Line], paths: Sequence[str], reject: Reject, skip: Skip
) -> pl.DataFrame:
    """Raw columns of numbered lines of any text format."""
    if found.kind == "ndjson":
        return from_json_lines(lines, paths, reject, latin1=found.latin1)
    if found.kind == "access":
        return weblog.raw(lines, reject, latin1=found.latin1)
    if found.kind == "auth":
        return authlog.raw(lines, reject, skip, latin1=found.latin1)
    return from_csv(lines, found.header, reject, delimiter=found.delimiter, latin1=found.latin1)


def _beginning(stream: Stream) -> tuple[bytes, bytes]:
    """What was read of a stream, and a sample of its lines: those behind a first one of JSON that is very long."""
    head = stream.read(HEAD_BYTES)
    if len(head) < HEAD_BYTES or b"\n" in head or not head.startswith(b"{"):
        return head, head
    head += stream.read(LINE_LIMIT)
    line, _, behind = head.partition(b"\n")
    if not behind and stream.name != "-":
        behind = skip_line(stream, line)[0]
        behind += stream.read(HEAD_BYTES)
    return head, behind if behind.startswith(b"{") else head


def _whole_lines(head: bytes) -> bytes:
    """A file's beginning up to its last line end; a whole short file as it is."""
    return head if len(head) < HEAD_BYTES else head[: head.rfind(b"\n") + 1] or head


def _header_lines(found: FileFormat) -> int:
    return 1 if found.kind == "csv" and found.has_header else 0


def _without_header(piece: Piece, found: FileFormat) -> tuple[bytes, int]:
    """The lines of a piece behind the header, and the number of the first."""
    if piece.first_line > 1 or not _header_lines(found):
        return piece.data, piece.first_line
    data, first = piece.data, 1
    while data:
        line, _, data = data.partition(b"\n")
        first += 1
        if line.strip():
            break
    return data, first


def _skip_header(place: _Place, opened: _Opened) -> None:
    """Move a place at the start of a file behind its header."""
    if place.offset == 0 and _header_lines(opened.format):
        data, place.line = _without_header(Piece(opened.head, 1, len(opened.head), 0), opened.format)
        place.offset = len(opened.head) - len(data)


def _outcome_reader(guess: columns.RoleGuess | None) -> Callable[[str | None], str]:
    """What a text in the outcome's column means."""
    if guess is None:
        return lambda _text: "unknown"
    return partial(columns.outcome_of, reading=guess.reading or "words")


def _newest(files: Sequence[str]) -> datetime | None:
    """When the newest of the files was last written."""
    moments = [os.fstat(0).st_mtime if name == "-" else Path(name).stat().st_mtime for name in files]
    return datetime.fromtimestamp(max(moments), UTC) if moments else None


def _resolve(url: str) -> list[str]:
    """The files that an address names, oldest first where they are numbered by rotation."""
    scheme = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]+)://", url)
    if scheme and scheme[1].lower() != "file":
        raise SourceError(f'there is no source for "{scheme[1]}://". Give {SUPPORTED}')
    path = unquote(re.sub(r"^file://(localhost(?=/))?", "", url, flags=re.IGNORECASE)) if scheme else url
    if path == "-":
        return ["-"]
    if path and Path(path).is_dir():
        return _files_in(path)
    if path and Path(path).exists():
        return [path]
    names = glob.glob(path, recursive=True)  # noqa: PTH207 - patterns may be absolute, which Path.glob refuses
    found = sorted((name for name in names if Path(name).is_file()), key=age)
    if not found:
        problem = "matches no file" if glob.has_magic(path) else "does not exist"
        raise SourceError(f"{path or 'a path that is empty'} {problem}.{_near(path)} Give {SUPPORTED}")
    return found


def _files_in(folder: str) -> list[str]:
    files = [str(item) for item in Path(folder).iterdir() if item.is_file() and not item.name.startswith(".")]
    if not files:
        raise SourceError(
            f"{folder} has no files to read. Files in folders within it need a pattern: {folder}/**/*.log"
        )
    return sorted(files, key=age)


def age(name: str) -> tuple[str, int, str]:
    """Sorts by name, but `log.2.gz` before `log.1` before `log`."""
    match = re.fullmatch(r"(.*?)\.(\d{1,4})(\.(?:gz|zst))?", name)
    return (match[1], -int(match[2]), name) if match else (name, 0, name)


def _near(path: str) -> str:
    folder = Path(path).parent
    names = [item.name for item in folder.iterdir() if item.exists()] if folder.is_dir() and path else []
    return nearest(Path(path).name, names)
