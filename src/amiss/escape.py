"""Text from a log made harmless: for terminals, charts, CSV cells and JSON.

Whoever is logged writes what is logged. A user name can hold control characters that recolour a terminal, bidirectional
overrides that make it read backwards, or a formula that a spreadsheet runs. HTML is left to Jinja's autoescape,
on top of :func:`visible`.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Mapping
from datetime import date
from typing import Final

ELLIPSIS: Final = "…"
_FORMULA: Final = re.compile(r"^(?:[\t\r\n]|\s*[=+\-@\uff0b\uff0d\uff1d\uff20])")
_CALL: Final = re.compile(r"@(?=(?:everyone|here|channel|all)\b)", re.IGNORECASE)
_CHAT: Final = str.maketrans("<>", "\u2039\u203a")
_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str) -> str:
    r"""The text on one line, with every character that could do something spelled out.

    Spelled out are control, format (bidirectional, zero width), private, unassigned and lone surrogate characters, and
    spaces other than the plain one. Letters of all scripts stay.

    Examples
    --------
    >>> print(visible("a\x1b[31mb\nc\u202ed"))
    a\x1b[31mb\nc\u202ed
    >>> visible("Zoë Ødegård")
    'Zoë Ødegård'
    """
    return text if text.isprintable() else "".join(map(_spelled, text))


def _spelled(character: str) -> str:
    """The character itself when it only prints, else its escape."""
    return character if character.isprintable() else _ESCAPES.get(character) or _numbered(ord(character))


def _numbered(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shorten(text: str, width: int) -> str:
    """The text in at most `width` terminal cells, its middle left out.

    Examples
    --------
    >>> shorten("a-very-long-user-name", 9)
    'a-ve…name'
    >>> shorten("ann", 9)
    'ann'
    """
    if len(text) * 2 <= width or cells(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{_fitting(text, width - 1 - tail)}{ELLIPSIS}{_fitting(text[::-1], tail)[::-1]}"


def _fitting(text: str, width: int) -> str:
    """As many first characters as fit into `width` cells."""
    used = 0
    for index, character in enumerate(text):
        used += cells(character)
        if used > width:
            return text[:index]
    return text


def cells(text: str) -> int:
    """How many cells of a terminal the text takes: two for wide East Asian characters, none for combining marks.

    Examples
    --------
    >>> cells("ann"), cells("安"), cells("e\u0301")
    (3, 2, 1)
    """
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def label(text: str, width: int = 40) -> str:
    r"""A user, action or file name to show: harmless, and short.

    Examples
    --------
    >>> print(label("x\n" * 1000, 12))
    x\nx\n…\nx\n
    """
    return shorten(visible(text[: 4 * width] + text[-4 * width :] if len(text) > 8 * width else text), width)


def listed(text: str, width: int = 40, between: str = ", ") -> str:
    """A list to show: as many of its parts as fit, the first one shortened where not even that does.

    Examples
    --------
    >>> listed("view 53%, buy 20%, login 8%", 20), listed("view 53%, buy 20%", 5)
    ('view 53%, buy 20%', 'vi…3%')
    """
    parts = text.split(between)
    fitting = (between.join(parts[:count]) for count in range(len(parts), 0, -1))
    return label(next((each for each in fitting if cells(visible(each)) <= width), parts[0]), width)


def csv_cell(text: str) -> str:
    r"""The text as a cell that no spreadsheet takes for a formula, on one line.

    Source: OWASP, "CSV Injection" (cells that start with = + - @, tab or carriage return).

    Examples
    --------
    >>> csv_cell("=cmd()"), csv_cell("ann")
    ("'=cmd()", 'ann')
    >>> print(csv_cell("\t=1"))
    '\t=1
    """
    return f"'{visible(text)}" if _FORMULA.match(text) else visible(text)


def csv_text(cell: str) -> str:
    """The text of a cell of :func:`csv_cell`, as it was but for characters that are spelled out.

    Examples
    --------
    >>> csv_text("'@ann"), csv_text("'ann"), csv_text("ann")
    ('@ann', "'ann", 'ann')
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


def chat_text(text: str) -> str:
    r"""The text as a chat service may show it: it calls nobody, and hides no address behind other words.

    Chat services read ``<!channel>`` and ``@everyone`` as calls to everybody, ``<address|words>`` and
    ``[words](address)`` as links.

    Examples
    --------
    >>> chat_text("[pay](http://x)"), chat_text("<b>").isascii()
    ('[pay] (http://x)', False)
    """
    return _CALL.sub("\uff20", visible(text).translate(_CHAT).replace("](", "] ("))


def json_text(value: object, *, indent: int | None = None) -> str:
    r"""JSON that reads back to the very same text, with control and bidirectional characters as ``\u`` escapes.

    Times become ISO 8601, numbers that JSON lacks (NaN, infinities) become null.

    Examples
    --------
    >>> print(json_text({"user": "Zoë\u202e", "bits": float("inf")}))
    {"user": "Zoë\u202e", "bits": null}
    """
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=indent)
    lines = text.split("\n")
    return "\n".join(line if line.isprintable() else "".join(map(_json_spelled, line)) for line in lines)


def _json_spelled(character: str) -> str:
    """The character, or its JSON escape when it does not merely print."""
    return character if character.isprintable() else json.dumps(character)[1:-1]


def plain(value: object) -> object:
    """The value in the types that JSON has.

    Examples
    --------
    >>> plain({"at": date(2026, 1, 5), "bits": (1.5, float("nan"))})
    {'at': '2026-01-05', 'bits': [1.5, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float) and not -sys.float_info.max <= value <= sys.float_info.max:
        return None
    return value.isoformat() if isinstance(value, date) else value
