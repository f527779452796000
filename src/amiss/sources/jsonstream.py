"""Records of JSON that is not one object a line: arrays, `{"Records": [...]}`, indented objects."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, Protocol

from amiss.sources.streams import LINE_LIMIT

_CHUNK: Final = 1 << 20
_START: Final = re.compile(r'[\s,]*(?:\{\s*"\w{1,40}"\s*:\s*(?=\[\s*[\{\]]))?[\s,\[\]]*')
_GAP: Final = re.compile(r"[\s,\[\]}]*")
_NEXT: Final = re.compile(r"[\n,\[]\s{0,64}(?=\{)")


class Readable(Protocol):
    """What bytes can be read from."""

    def read(self, size: int, /) -> bytes:
        """The next `size` bytes, fewer only at the end."""
        ...


class Element(NamedTuple):
    """A record, or (with `reason`) a text that is none; `number` counts both from 1, `line` is where it begins."""

    number: int
    line: int
    record: dict[str, Any] | None
    reason: str
    text: str


def elements(stream: Readable) -> Iterator[Element]:
    """The records of a stream one after the other; what cannot be read is skipped up to the next `{`."""
    decoder, raw = codecs.getincrementaldecoder("utf-8")("replace"), json.JSONDecoder()
    text, line, number, pattern, ended = "", 1, 0, _START, False
    while True:
        at = _skip(pattern, text)
        if at < len(text) or ended:
            line, text, pattern = line + text.count("\n", 0, at), text[at:], _GAP
        if ended and not text:
            return
        read = 0
        while read < len(text):
            try:
                record, end = raw.raw_decode(text, read)
            except (json.JSONDecodeError, RecursionError):
                if not ended and len(text) - read <= LINE_LIMIT:
                    break
                found = _NEXT.search(text, read + 1)
                end = found.end() if found else len(text)
                record = None
            number += 1
            reason = "" if isinstance(record, dict) else _reason(text, read, end)
            yield Element(number, line, record if not reason else None, reason, text[read : min(end, read + 256)])
            after = _GAP.match(text, end)
            stop = after.end() if after else end
            line += text.count("\n", read, stop)
            read = stop
        text = text[read:]
        if not ended:
            piece = stream.read(_CHUNK)
            ended = len(piece) < _CHUNK
            text += decoder.decode(piece, final=ended)


def _skip(pattern: re.Pattern[str], text: str) -> int:
    match = pattern.match(text)
    return match.end() if match else 0


def _reason(text: str, start: int, end: int) -> str:
    if end - start > LINE_LIMIT:
        return "record longer than 1 MiB"
    return "not a JSON object" if text[start : start + 1] != "{" else "not JSON"
