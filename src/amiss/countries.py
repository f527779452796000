"""Countries: ISO 3166 codes of the names and codes that logs hold."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

_LIMIT: Final = 64
_UNKNOWN: Final = frozenset(
    (
        "", "-", "--", "?", "??", "n/a", "none", "null", "unknown", "undefined", "reserved", "private",
        "xx", "zz", "a1", "a2", "ap", "eu", "o1", "t1",
    )
)  # fmt: skip
"""Words for no country, and the codes that databases and proxies give to addresses that are in none."""


def country_code(text: str | None) -> str:
    """The ISO 3166 code of a country's name or code, in capitals; "" where the text names none.

    A name that is not known stays as it is, in capitals.

    Examples
    --------
    >>> [country_code(text) for text in ("us", "DEU", "The Ukraine", "Côte d'Ivoire", "UK", "Atlantis", "unknown")]
    ['US', 'DE', 'UA', 'CI', 'GB', 'ATLANTIS', '']
    """
    return _code((text or "").strip()[:_LIMIT])


@lru_cache(10_000)
def _code(name: str) -> str:
    if name.lower() in _UNKNOWN:
        return ""
    return _codes().get(_folded(name)) or name.upper()[:_LIMIT]


def country_name(code: str) -> str:
    """What a country is called, by its code; a text that is no code stays as it is.

    Examples
    --------
    >>> country_name("UA"), country_name("Ruritania")
    ('Ukraine', 'Ruritania')
    """
    return _names().get(code.upper(), code)


@cache
def _names() -> dict[str, str]:
    """Short name by code."""
    rows = (line.split(" ", 2) for line in _table())
    return {code: names.partition("; ")[0] for code, _, names in rows}


@cache
def _codes() -> dict[str, str]:
    """Code by folded name."""
    found: dict[str, str] = {}
    for line in _table():
        code, longer, names = line.split(" ", 2)
        found |= dict.fromkeys(map(_folded, (code, longer, *names.split("; "))), code)
    return found


def _table() -> list[str]:
    """The lines of the table of countries."""
    table = files("amiss").joinpath("countries.txt").read_text(encoding="utf-8")
    return [line for line in table.splitlines() if not line.startswith("#")]


def _folded(name: str) -> str:
    """A name without capitals, accents, points and articles."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(c))
    words = re.sub(r"[\W_]+", " ", plain.replace(".", "").replace("&", " and ")).split()
    return " ".join(word for word in words if word != "the")
