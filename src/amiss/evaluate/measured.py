"""What an evaluation measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Figure = str | int | float | None


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
    headline
        The few figures that it is quoted by, under the names of its protocol.
    calibration
        How often normal users reach how many bits, as :func:`amiss.evaluate.calibration.curve` gives it.
    """

    name: str
    rows: tuple[Mapping[str, Figure], ...]
    about: str
    headline: Mapping[str, Figure] = field(default_factory=dict)
    calibration: tuple[Mapping[str, Figure], ...] = ()

    def as_object(self) -> dict[str, object]:
        """The figures as an object for JSON: the headline on top, all others under `figures`.

        Examples
        --------
        >>> Measured("coins", ({"way": "toss", "f1": 0.5},), "a fair one", {"f1": 0.5}).as_object()
        {'evaluation': 'coins', 'about': 'a fair one', 'f1': 0.5, 'figures': ({'way': 'toss', 'f1': 0.5},)}
        """
        told: dict[str, object] = {"evaluation": self.name, "about": self.about, **self.headline, "figures": self.rows}
        return told | ({"calibration": self.calibration} if self.calibration else {})


def number_of(count: int, what: str) -> str:
    """So many of something, in words.

    Examples
    --------
    >>> number_of(1, "simulation"), number_of(6, "simulation")
    ('1 simulation', '6 simulations')
    """
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
