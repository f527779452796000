"""Whether bits keep their promise: a normal user reaches b bits within a day at most once in 2^b."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from amiss.engine import Scan
from amiss.evaluate.measured import Figure
from amiss.evaluate.scans import standings

if TYPE_CHECKING:
    from altair import Chart

BITS: Final = range(1, 21)
PROMISED: Final = "promised at most"
COLOURS: Final = ("#2563ab", "#c2410c", "#0f766e", "#8b3fa8", "#b58900")

Floats = NDArray[np.float64]


def curve(peaks: Mapping[str, Floats]) -> tuple[dict[str, Figure], ...]:
    """How often the evidence of normal users ever reached each number of bits within a day.

    Parameters
    ----------
    peaks
        By detector the most evidence of each normal user on each day.

    Returns
    -------
    rows
        `detector`, `bits` from 1 to 20, `days` of users, how many `reached` it, their `share`, and what was `promised`.

    Examples
    --------
    >>> rows = curve({"sequence": np.array([0.0, 0.5, 1.5, 0.1])})
    >>> rows[0]
    {'detector': 'sequence', 'bits': 1, 'days': 4, 'reached': 1, 'share': 0.25, 'promised': 0.5}
    """
    return tuple(_row(name, bits, found) for name, found in peaks.items() for bits in BITS)


def _row(name: str, bits: int, peaks: Floats) -> dict[str, Figure]:
    """A number of bits, and how often it was reached."""
    reached = int((peaks >= bits).sum())
    share = reached / len(peaks) if len(peaks) else None
    return {"detector": name, "bits": bits, "days": len(peaks), "reached": reached, "share": share,
            "promised": 2.0**-bits}  # fmt: skip


def normal_peaks(scan: Scan, odd: pl.DataFrame, *, since: date = date.min) -> Floats:
    """The most evidence of each user on each day of a scan, but those that are odd.

    Parameters
    ----------
    scan
        One that has run.
    odd
        Who is odd: a column `user` of names, and `day` where they are odd on some days only.
    since
        The first day that counts.
    """
    keys = [name for name in ("user", "day") if name in odd.columns]
    found = standings(scan).filter(pl.col("day") >= since)
    return found.join(odd.select(keys).unique(), on=keys, how="anti")["peak"].to_numpy()


def chart(rows: Sequence[Mapping[str, Figure]], title: str = "") -> Chart:
    """The curves beside what is promised, on a scale of halves; `.save` writes it.

    Parameters
    ----------
    rows
        What :func:`curve` gives.
    """
    import altair as alt

    names = list(dict.fromkeys(str(row["detector"]) for row in rows))
    told = [{"of": row["detector"], "bits": row["bits"], "share": row["share"]} for row in rows if row["share"]]
    told += [{"of": PROMISED, "bits": bits, "share": 2.0**-bits} for bits in BITS]
    known = [*names, PROMISED]
    colours = [*(COLOURS[number % len(COLOURS)] for number in range(len(names))), "#777777"]
    ticks = [2.0**-power for power in range(0, 21, 2)]
    name = "'1 in ' + format(round(1 / datum.value), ',')"
    lines = alt.Chart(pl.DataFrame(told, infer_schema_length=None)).mark_line(point=alt.OverlayMarkDef(size=18)).encode(
        alt.X("bits:Q", title="bits b").scale(domain=[1, 20]).axis(tickCount=20),
        alt.Y("share:Q", title="days of normal users that reach b").scale(type="log", base=2, domain=[ticks[-1], 1])
        .axis(values=ticks, labelExpr=name),
        alt.Color("of:N", title=None).scale(domain=known, range=colours).legend(orient="top-right"),
        alt.StrokeDash("of:N", legend=None).scale(domain=known, range=[*([[1, 0]] * len(names)), [4, 3]]),
    )  # fmt: skip
    sized = lines.properties(width=440, height=280, **({"title": title} if title else {}))
    drawn: Chart = sized.configure(background="white", font="sans-serif").configure_view(stroke=None)
    return drawn
