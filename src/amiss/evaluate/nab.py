"""The Numenta Anomaly Benchmark: how early anomalies of 58 series are found, at how few false alarms.

Each anomaly has a window. The first detection in it counts the more the earlier it is, none at all costs, and each
detection outside of windows costs, less right behind one. One threshold holds for all series: the best of all that
could be, as in the benchmark. The first 15 % of each series are for learning. 0 is what a detector gets that never
detects anything, 100 one that detects all anomalies at once and nothing else.

Source: Lavin and Ahmad 2015, Evaluating Real-time Anomaly Detection Algorithms - the Numenta Anomaly Benchmark.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from amiss.evaluate.measured import Measured
from amiss.evaluate.published import files_of

ARCHIVE: Final = "nab_data_labels.tar.gz"
DIGEST: Final = "cb4bdb4ef7c428af864e79f8bc4e143a979e8b91ff2289152daadbefe0a8da75"
"""Of names and contents of the files of version 1.1: 58 series, windows, profiles."""

PROBATION: Final = 0.15
LONGEST: Final = 5000
"""Rows from which on probation is no longer."""

FAR: Final = 3.0
"""Widths of a window behind it, from which on a detection has nothing to do with it."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Scorer = Callable[[NDArray[np.datetime64], Floats], Floats]


@dataclass(frozen=True)
class Costs:
    """What a detection in a window is worth, and what a missed window and a detection outside of windows cost."""

    hit: float
    miss: float
    false: float


@dataclass(frozen=True)
class Series:
    """Values by time, and the first and last row of each window."""

    name: str
    times: NDArray[np.datetime64]
    values: Floats
    windows: tuple[tuple[int, int], ...]

    @property
    def probation(self) -> int:
        """How many rows are for learning only."""
        return int(min(np.floor(PROBATION * len(self.values)), PROBATION * LONGEST))


@dataclass(frozen=True)
class Corpus:
    """The series of the benchmark, and its profiles of costs."""

    series: tuple[Series, ...]
    profiles: Mapping[str, Costs]


@dataclass(frozen=True)
class Score:
    """What scores are worth under one profile: raw, from 0 to 100, at the best threshold."""

    raw: float
    normalised: float
    threshold: float
    hits: int
    false: int


def evaluate(data: Path) -> Measured:
    """The benchmark's scores of :func:`amiss.series.score`, one setting for all series.

    Parameters
    ----------
    data
        The archive of the benchmark's data, labels and configuration, or a directory that holds it or its contents.

    Raises
    ------
    SourceError
        If the files are not those of the benchmark.
    """
    from amiss.series import score

    corpus = read(data)
    found = judge(corpus, score)
    windows = sum(len(series.windows) for series in corpus.series)
    rows: list[dict[str, str | int | float]] = [
        {"profile": profile, "score": round(it.normalised, 2), "threshold": round(it.threshold, 6), "hits": it.hits,
         "windows": windows, "false_detections": it.false}
        for profile, it in found.items()
    ]  # fmt: skip
    headline = {name: round(it.normalised, 2) for name, it in found.items()}
    return Measured("nab", tuple(rows), f"{len(corpus.series)} series; one setting, one threshold for all", headline)


def judge(corpus: Corpus, scorer: Scorer) -> dict[str, Score]:
    """The score of a detector by profile.

    Parameters
    ----------
    corpus
        Series with windows.
    scorer
        Gives for times and values of a series a score of each row, the higher the odder.
    """
    scores = [scorer(series.times, series.values) for series in corpus.series]
    return {name: worth(corpus.series, scores, costs) for name, costs in corpus.profiles.items()}


def worth(series: Sequence[Series], scores: Sequence[Floats], costs: Costs) -> Score:
    """What scores of all series are worth at the threshold that suits them best.

    Examples
    --------
    A window of rows 50 to 59: a detection at its first row is perfect, none at all is null.

    >>> times = np.arange(100).astype("datetime64[m]")
    >>> one = Series("one", times, np.zeros(100), ((50, 59),))
    >>> worth([one], [np.arange(100) == 50], Costs(1, 1, 0.11)).normalised
    100.0
    >>> worth([one], [np.zeros(100)], Costs(1, 1, 0.11)).normalised
    0.0
    """
    rows = _laid_out(series, scores, costs)
    gained, first = _gained(rows, costs)
    null, windows = -costs.miss * int(first.sum()), sum(len(each.windows) for each in series)
    ends = np.flatnonzero(np.append(rows.score[1:] != rows.score[:-1], [True] * (len(first) > 0)))
    totals = np.append(null, null + np.cumsum(gained)[ends])
    place = int(np.argmax(totals))
    passed = int(ends[place - 1]) + 1 if place else 0
    raw, span = float(totals[place]), (costs.hit + costs.miss) * windows
    threshold = float(rows.score[passed - 1]) if passed else float("inf")
    false = int((rows.window[:passed] < 0).sum())
    return Score(raw, 100 * (raw - null) / span if windows else 0.0, threshold, int(first[:passed].sum()), false)


class Rows(NamedTuple):
    """All rows behind probation, by falling score: what a detection is worth, its window (-1: none), its score."""

    worth: Floats
    window: Ints
    score: Floats


def _gained(rows: Rows, costs: Costs) -> tuple[Floats, NDArray[np.bool_]]:
    """What each row adds once it passes the threshold, and whether it is the first of its window to pass."""
    gained = np.where(rows.window < 0, rows.worth, 0.0)
    first = np.zeros(len(gained), bool)
    for window in range(int(rows.window.max(initial=-1)) + 1):
        inside = np.flatnonzero(rows.window == window)
        gained[inside] = np.diff(np.maximum.accumulate(np.append(-costs.miss, rows.worth[inside])))
        first[inside[:1]] = True
    return gained, first


def _laid_out(series: Sequence[Series], scores: Sequence[Floats], costs: Costs) -> Rows:
    """The rows of all series, with windows numbered throughout."""
    begun, parts = 0, []
    for each, found in zip(series, scores, strict=True):
        worths, windows = positions(each, costs)
        behind = slice(each.probation, None)
        numbers = np.where(windows < 0, -1, windows + begun)
        parts.append((worths[behind], numbers[behind], np.asarray(found, np.float64)[behind]))
        begun += len(each.windows)
    worth, window, score = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(-score, kind="stable")
    return Rows(worth[order], window[order], score[order])


def positions(series: Series, costs: Costs) -> tuple[Floats, Ints]:
    """What a detection at each row would be worth by itself, and the window it is in (-1: none)."""
    rows = np.arange(len(series.values))
    worths = np.full(len(rows), -costs.false)
    windows = np.full(len(rows), -1)
    for number, (left, right) in enumerate(sorted(series.windows)):
        width = right - left + 1
        behind = rows > right
        worths[behind] = costs.false * _sigmoid((rows[behind] - right) / max(width - 1, 1))
        inside = (rows >= left) & (rows <= right)
        worths[inside] = costs.hit * _sigmoid(-(right - rows[inside] + 1) / width) / _sigmoid(np.array([-1.0]))
        windows[inside] = number
    return worths, windows


def _sigmoid(position: Floats) -> Floats:
    """From 1 well before the end of a window to -1 well behind it; 0 at its end."""
    near: Floats = 2 / (1 + np.exp(5 * np.minimum(position, FAR))) - 1
    return np.where(position > FAR, -1.0, near)


def read(data: Path) -> Corpus:
    """The benchmark's series, windows and profiles.

    Raises
    ------
    SourceError
        If the files are not those of the benchmark, which is told by their digest.
    """
    files = files_of(data, ARCHIVE, DIGEST, ("data/", "labels/combined_windows.json", "config/profiles.json"))
    windows = json.loads(files["labels/combined_windows.json"])
    profiles = json.loads(files["config/profiles.json"])
    series = tuple(
        _series(name.removeprefix("data/"), content, windows[name.removeprefix("data/")])
        for name, content in sorted(files.items())
        if name.endswith(".csv")
    )
    costs = {name: each["CostMatrix"] for name, each in profiles.items()}
    return Corpus(
        series,
        {name: Costs(cost["tpWeight"], cost["fnWeight"], cost["fpWeight"]) for name, cost in costs.items()},
    )


def _series(name: str, content: bytes, windows: Sequence[tuple[str, str]]) -> Series:
    """A series as its file has it; windows begin and end at the first row of their times."""
    frame = pl.read_csv(content, schema={"timestamp": pl.String, "value": pl.Float64})
    times = frame["timestamp"].str.to_datetime("%Y-%m-%d %H:%M:%S").to_numpy()
    rows = [tuple(_row(times, moment) for moment in window) for window in windows]
    return Series(name, times, frame["value"].to_numpy(), tuple((left, right) for left, right in rows))


def _row(times: NDArray[np.datetime64], moment: str) -> int:
    """The first row of a time."""
    return int(np.flatnonzero(times == np.datetime64(datetime.fromisoformat(moment)))[0])
