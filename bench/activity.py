"""Measure how many scrapers, surges and silences are found at one false alarm a day, beside the usual ways with counts.

Prints Markdown. The log is `amiss simulate curriculum`, whose weekends, holidays, projects, leavers and days without a
log are normal. Every way gives each user and day a number; a day is judged by what was before it (Bollinger bands: with
it, as they are). The first days only teach. Of each way the threshold is the one at which users who are no scrapers, do
not surge and are not silent raise one alarm a day on average; an alarm is a user on a day. Days without a log are none.

* Bollinger: distance of %b from the middle, span 30 (above alone it flags no silence; k only moves the threshold).
* 3-sigma: distance from the mean of the days before, in deviations; of all of these, and of 30 as the detector has.
* seasonal: distance from the median of the same weekday before, in median absolute deviations (and one page).
* activity: bits of the detector in a scan; also as it decides by itself, at a budget of one a day.
* optimum: odds of who knows how the simulation is made.

A silence counts as found when it is told within two weeks.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from amiss.engine import WINDOW
from amiss.evaluate.curriculum import (
    KINDS,
    ODD,
    TEACHING,
    Found,
    School,
    at_one_a_day,
    evidence,
    found,
    optimum,
    school,
)
from amiss.simulate.curriculum import simulate

SPAN = 30


def bollinger(of: School) -> np.ndarray:
    """Distance of %b from the middle of the band, in widths of one of k = 2."""
    frame = pd.DataFrame(np.where(of.known, of.counts, np.nan).T)
    bands = frame.ewm(span=SPAN)
    middle, deviation = bands.mean(), bands.std()
    return np.nan_to_num(((frame - middle) / (4 * deviation)).abs().to_numpy().T, posinf=0.0)


def three_sigma(of: School) -> np.ndarray:
    """Distance from the mean of the days before, in deviations."""
    counts = np.where(of.known, of.counts, 0.0)
    before = np.cumsum(of.known, axis=1) - of.known
    mean = (np.cumsum(counts, axis=1) - counts) / np.maximum(before, 1)
    square = (np.cumsum(counts**2, axis=1) - counts**2) / np.maximum(before, 1)
    deviation = np.sqrt(np.maximum(square - mean**2, 0) * before / np.maximum(before - 1, 1))
    far = np.abs(of.counts - mean) / np.where(deviation > 0, deviation, np.inf)
    return np.where(of.known & (before >= 7), far, 0.0)


def three_sigma_of_window(of: School) -> np.ndarray:
    """The same of the days of the window."""
    found = np.zeros(of.counts.shape)
    seen = np.where(of.known, of.counts, np.nan)
    for day in range(1, len(of.days)):
        past = seen[:, (of.days >= of.days[day] - WINDOW.days) & (of.days < of.days[day])]
        enough = (~np.isnan(past)).sum(axis=1) >= 7
        middle, deviation = np.nanmean(past[enough], axis=1), np.nanstd(past[enough], axis=1, ddof=1)
        found[enough, day] = np.abs(of.counts[enough, day] - middle) / np.where(deviation > 0, deviation, np.inf)
    return found


def seasonal(of: School) -> np.ndarray:
    """Distance from the median of the same weekday before, in median absolute deviations and a page."""
    found = np.zeros(of.counts.shape)
    seen = np.where(of.known, of.counts, np.nan)
    for day in range(14, len(of.days)):
        same = np.flatnonzero(of.weekday[:day] == of.weekday[day])
        past = seen[:, same]
        enough = (~np.isnan(past)).sum(axis=1) >= 2
        middle = np.nanmedian(past[enough], axis=1)
        spread = np.nanmedian(np.abs(past[enough] - middle[:, None]), axis=1)
        found[enough, day] = np.abs(of.counts[enough, day] - middle) / (1 + 1.4826 * spread)
    return found


def line(name: str, parts: list[Found]) -> str:
    """A row of the table."""
    cells = []
    for kind in KINDS:
        hits, of = (sum(getattr(part, which)[kind] for part in parts) for which in ("hits", "of"))
        cells.append(f"{hits} of {of} ({hits / max(of, 1):.0%})")
    return f"| {name} | {' | '.join(cells)} | {np.mean([part.false for part in parts]):.2f} |"


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--users", type=int, default=1000)
    options.add_argument("--days", type=int, default=365)
    options.add_argument("--seeds", type=int, nargs="+", default=[9401, 9402, 9403])
    given = options.parse_args()
    ways: dict[str, Callable[[School], np.ndarray]] = {
        "Bollinger bands": bollinger, "3-sigma": three_sigma, f"3-sigma, {WINDOW.days} days": three_sigma_of_window,
        "seasonal median": seasonal,
    }  # fmt: skip
    table: dict[str, list[Found]] = {}
    for seed in given.seeds:
        made = simulate(users=given.users, days=given.days, seed=seed, odd_users=ODD, odd_after=TEACHING)
        of = school(made, given.days)
        for name, way in ways.items():
            table.setdefault(name, []).append(at_one_a_day(way(of), of, TEACHING))
        table.setdefault("Bollinger bands, %b > 1 at k = 2", []).append(found(upper(of), of, TEACHING))
        began = time.perf_counter()
        bits, _, alert = evidence(made, of)
        print(f"seed {seed}: {made.events.height:,} events in {time.perf_counter() - began:.1f} s", file=sys.stderr)
        table.setdefault("**activity**", []).append(at_one_a_day(bits, of, TEACHING))
        there = np.where(of.counts > 0, bits, -np.inf)
        table.setdefault("**activity**, of days with events alone", []).append(at_one_a_day(there, of, TEACHING))
        grouped = evidence(made, of, by_group=True).bits
        table.setdefault("**activity**, by cohort", []).append(at_one_a_day(grouped, of, TEACHING))
        table.setdefault("**activity**, as it decides itself", []).append(found(alert, of, TEACHING))
        best = optimum(of, seed, users=given.users, days=given.days)
        table.setdefault("optimum", []).append(at_one_a_day(best, of, TEACHING))
    print(f"| way | {' | '.join(KINDS)} | false alarms a day |\n|---|---|---|---|---|")
    print("\n".join(line(name, parts) for name, parts in table.items()))


def upper(of: School) -> np.ndarray:
    """The flags of bands as in the notebook: more than two deviations above the middle."""
    frame = pd.DataFrame(np.where(of.known, of.counts, np.nan).T)
    bands = frame.ewm(span=SPAN)
    return (frame > bands.mean() + 2 * bands.std()).to_numpy().T


if __name__ == "__main__":
    main()
