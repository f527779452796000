"""What an evaluation measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """Figures of one evaluation.

    Attributes
    ----------
    name
        Which evaluation it was.
    rows
        Figures by name; all rows have the same names.
    about
        What they are of, in a sentence.
    """

    name: str
    rows: tuple[dict[str, str | int | float], ...]
    about: str
