"""Sessions of a file system: blocks that went wrong, by the events that were logged of each.

4,855 normal sessions are learned from, each the keys of the events of a block; 11,501 others are judged, of which 350
are anomalies. The figures are precision, recall and their harmonic mean F1. Of the sessions judged 3.04 % are
anomalies and of all of the log's 2.93 %, so precision is weighted to that.

What is scored is :mod:`amiss.traces`; the threshold comes from the normal sessions that are learned from
(:func:`amiss.traces.threshold`).

The sessions judged are published as two tables: labels of sessions, and their events as lines of the log. The kind of
an event is told by its line (`KEYS`), under the numbers that the sessions to learn from have. Where there are no
events, the sessions are judged that DeepLog was judged by, all others of the log: 553,366 normal, 16,838 anomalies.

Source: Xu, Huang, Fox, Patterson, Jordan 2009, Detecting Large-Scale System Problems by Mining Console Logs (the log);
Du, Li, Zheng, Srikumar 2017, DeepLog (the sessions to learn from); Mäntylä, Wang, Nyyssölä 2024, LogLead (the others).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from amiss.errors import SourceError
from amiss.evaluate.measured import Figure, Measured
from amiss.evaluate.published import files_of
from amiss.traces import Normal, Trace, bits_of, threshold

LEARNED: Final = "deeplog_hdfs_train"
LEARNED_DIGEST: Final = "7c984075a5f4902c180e0e3b4e5a69e734b6e37ed4b9b6e478db6bdf37d0eec6"
LABELS: Final = "hdfs_seqs_2percent.parquet"
LABELS_DIGEST: Final = "50cd184ac6554cad5d1b4c2adf439865d8533ca5f7ada7e6fe63c441b11fdfc2"
EVENTS: Final = "hdfs_events_2percent.parquet"
OTHERS: Final = {"hdfs_test_normal": 553_366, "hdfs_test_abnormal": 16_838}
"""The sessions that DeepLog was judged by: files with a session a line, and how many."""

PREVALENCE: Final = 0.0293
"""The share of anomalies among all sessions of the log."""

RATE: Final = 1 / 256
"""False alarms a normal session, as evidence promises at most; of those learned from, held out, 2 in 4,855 are."""

OTHER: Final = 0
"""The key of a line of no known kind."""

KEYS: Final = (
    (1, "Adding an already existing block"),
    (2, "Verification succeeded for"),
    (3, "Served block"),
    (4, "Got exception while serving"),
    (5, "Receiving block .* src: "),
    (6, "Received block .* src: .* of size"),
    (7, "writeBlock .* received exception"),
    (8, "PacketResponder .*Interrupted"),
    (9, "Received block .* of size .* from"),
    (10, "PacketResponder .*Exception"),
    (11, "PacketResponder .* terminating"),
    (12, "Exception writing block .* to mirror"),
    (13, "Receiving empty packet for block"),
    (14, "Exception in receiveBlock for block"),
    (15, "Changing block file offset of block"),
    (16, "Transmitted block"),
    (17, "Failed to transfer"),
    (18, "Starting thread to transfer block"),
    (19, "Reopen Block"),
    (20, "Unexpected error trying to delete block"),
    (21, "Deleting block .* file"),
    (22, "allocateBlock:"),
    (23, "delete: .* is added to invalidSet"),
    (24, "Removing block .* from neededReplications"),
    (25, "ask .* to replicate"),
    (26, "addStoredBlock: blockMap updated"),
    (27, "addStoredBlock: Redundant"),
    (28, "addStoredBlock: addStoredBlock request received"),
    (29, "PendingReplicationMonitor timed out"),
)
"""Kinds of events: the number of each, and what its lines hold."""

RECALLED: Final = (("counts of keys and lengths", 0.988), ("LogAnomaly", 0.976), ("DeepLog", 0.945))
"""F1 of others, as recalled from what they published."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Corpus:
    """Normal sessions to learn from, sessions to judge, and which of those are anomalies (n,)."""

    learned: Sequence[Trace]
    judged: Sequence[Trace]
    odd: Bools


def evaluate(data: Path) -> Measured:
    """Precision, recall and F1, beside the F1 of others.

    Parameters
    ----------
    data
        A directory that holds the sessions to learn from, and the labels and the events or the sessions of `OTHERS`.

    Raises
    ------
    SourceError
        If a file is absent, or not the published one.
    """
    corpus = read(data)
    level = threshold(corpus.learned, RATE)
    figures = score(bits_of(Normal.of(corpus.learned), corpus.judged) >= level, corpus.odd)
    others: list[dict[str, Figure]] = [
        {"detector": f"{name} (as recalled)", "precision": None, "recall": None, "f1": f1} for name, f1 in RECALLED
    ]
    about = (
        f"{int(corpus.odd.sum()):,} of {len(corpus.odd):,} sessions are anomalies; precision at {PREVALENCE:.2%} of "
        f"them; {len(corpus.learned):,} normal ones learned, alerts from {level:.1f} bits"
    )
    return Measured("hdfs", ({"detector": "amiss", **figures}, *others), about, figures)


def score(alerts: Bools, odd: Bools, prevalence: float = PREVALENCE) -> dict[str, Figure]:
    """Precision, weighted to a share of anomalies, recall, and F1.

    Examples
    --------
    Three of four anomalies are found, at one false alarm in a hundred; half of all sessions be anomalies.

    >>> odd = np.arange(104) < 4
    >>> score((np.arange(104) > 0) & (np.arange(104) < 5), odd, 0.5)
    {'precision': 0.9868, 'recall': 0.75, 'f1': 0.8523}
    """
    recall, false = float(alerts[odd].mean()), float(alerts[~odd].mean())
    found, wrong = prevalence * recall, (1 - prevalence) * false
    precision = found / (found + wrong) if alerts.any() else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    return {"precision": round(precision, 4), "recall": round(recall, 4), "f1": round(f1, 4)}


def read(data: Path) -> Corpus:
    """The sessions, to learn from and to judge.

    Raises
    ------
    SourceError
        If a file is absent, or not the published one, which is told by its digest; of events and others by sessions.
    """
    learned = sessions_of(files_of(data, LEARNED, LEARNED_DIGEST, (LEARNED,))[LEARNED].decode())
    place = Path(data) / EVENTS
    if not place.is_file() and all((Path(data) / name).is_file() for name in OTHERS):
        normal, odd = (_all_of(Path(data) / name, count) for name, count in OTHERS.items())
        return Corpus(learned, [*normal, *odd], np.arange(len(normal) + len(odd)) >= len(normal))
    labels = pl.read_parquet(io.BytesIO(files_of(data, LABELS, LABELS_DIGEST, (LABELS,))[LABELS]))
    if not place.is_file():
        raise SourceError(
            f"{data} does not hold {EVENTS}, the events of the {len(labels):,} sessions of which {LABELS} has the "
            f"labels (LogLead publishes both together), nor {' and '.join(OTHERS)}, which DeepLog was judged by"
        )
    try:
        events = pl.read_parquet(place)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SourceError(f"{place} cannot be read: {error}") from error
    return Corpus(learned, *judged_of(events, labels))


def _all_of(path: Path, expected: int) -> list[Trace]:
    """The sessions of a file that is known by how many it has."""
    try:
        found = sessions_of(path.read_text())
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read as sessions, a line of numbers each: {error}") from error
    if len(found) != expected:
        raise SourceError(f"{path} is not the published file: expected {expected:,} sessions, found {len(found):,}")
    return found


def sessions_of(text: str) -> list[Trace]:
    r"""Sessions from lines of keys.

    Examples
    --------
    >>> sessions_of("5 22 11\n22 5 \n")
    [(5, 22, 11), (22, 5)]
    """
    return [tuple(map(int, line.split())) for line in text.splitlines() if line.strip()]


def judged_of(events: pl.DataFrame, labels: pl.DataFrame) -> tuple[list[Trace], Bools]:
    """The sessions to judge, in order of their labels, and which are anomalies.

    Parameters
    ----------
    events
        Columns `seq_id` and `m_message`: which session an event is of, and its line.
    labels
        Columns `seq_id` and `anomaly`, a row for each session.

    Raises
    ------
    SourceError
        If a column is missing, or a session has no events.
    """
    if missing := {"seq_id", "m_message"} - set(events.columns):
        raise SourceError(f"{EVENTS}: {', '.join(sorted(missing))} missing; found {', '.join(events.columns)}")
    keyed = events.select("seq_id", key=key_of(pl.col("m_message")))
    sessions = keyed.group_by("seq_id", maintain_order=True).agg("key")
    whole = labels.join(sessions, on="seq_id", how="left", maintain_order="left")
    if bare := whole["key"].null_count():
        raise SourceError(f"{EVENTS} has no events of {bare:,} of the {len(labels):,} sessions that have labels")
    return [tuple(keys) for keys in whole["key"].to_list()], whole["anomaly"].to_numpy().astype(np.bool_)


def key_of(line: pl.Expr) -> pl.Expr:
    """The number of the kind of event that a line is of, 0 for no known one."""
    kinds = [pl.when(line.str.contains(pattern)).then(pl.lit(number)) for number, pattern in KEYS]
    return pl.coalesce(*kinds, pl.lit(OTHER))
