"""Sessions of a file system: the protocol on made-up lines, and the published normal sessions where they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from amiss.errors import SourceError
from amiss.evaluate import hdfs
from amiss.traces import Normal, bits_of, held_out, threshold

LINES = (
    (5, "Receiving block blk_1 src: /10.0.0.1:4000 dest: /10.0.0.2:50010"),
    (6, "Received block blk_1 src: /10.0.0.1:4000 dest: /10.0.0.2:50010 of size 67108864"),
    (7, "writeBlock blk_1 received exception java.io.IOException: Could not read from stream"),
    (9, "Received block blk_1 of size 67108864 from /10.0.0.1"),
    (10, "PacketResponder blk_1 2 Exception java.io.IOException: Broken pipe"),
    (11, "PacketResponder 1 for block blk_1 terminating"),
    (21, "Deleting block blk_1 file /mnt/hadoop/dfs/data/current/blk_1"),
    (22, "BLOCK* NameSystem.allocateBlock: /user/root/part-00000. blk_1"),
    (23, "BLOCK* NameSystem.delete: blk_1 is added to invalidSet of 10.0.0.2:50010"),
    (26, "BLOCK* NameSystem.addStoredBlock: blockMap updated: 10.0.0.2:50010 is added to blk_1 size 67108864"),
    (27, "BLOCK* NameSystem.addStoredBlock: Redundant addStoredBlock request received for blk_1 on 10.0.0.2:50010"),
    (0, "a line of no known kind"),
)


def test_lines_have_the_key_of_their_kind() -> None:
    """Twelve lines as such a file system writes them; the unknown is 0."""
    frame = pl.DataFrame({"line": [line for _, line in LINES]})
    assert frame.select(hdfs.key_of(pl.col("line"))).to_series().to_list() == [key for key, _ in LINES]
    assert [number for number, _ in hdfs.KEYS] == list(range(1, 30))


def test_events_become_sessions_in_the_order_of_their_labels() -> None:
    """Two sessions whose events are mixed; one without events is told, and so is a missing column."""
    lines = dict(LINES)
    events = pl.DataFrame({"seq_id": ["b", "a", "b"], "m_message": [lines[22], lines[5], lines[7]]})
    labels = pl.DataFrame({"seq_id": ["a", "b"], "anomaly": [False, True]})
    sessions, odd = hdfs.judged_of(events, labels)
    assert sessions == [(5,), (22, 7)]
    assert odd.tolist() == [False, True]
    with pytest.raises(SourceError, match="no events of 1 of the 2 sessions"):
        hdfs.judged_of(events.filter(seq_id="a"), labels)
    with pytest.raises(SourceError, match="m_message missing; found seq_id"):
        hdfs.judged_of(events.select("seq_id"), labels)


def test_precision_is_that_of_the_whole_log() -> None:
    """Of 100 anomalies 90 are found, of 100 normal sessions 10 are not: at 2.93 % precision is 0.2136."""
    odd = np.arange(200) < 100
    alerts = (np.arange(200) < 90) | (np.arange(200) >= 190)
    figures = hdfs.score(alerts, odd)
    assert figures == {"precision": 0.2136, "recall": 0.9, "f1": 0.3453}
    assert hdfs.score(np.zeros(200, bool), odd) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


def made_up(number: int, seed: int) -> list[tuple[int, ...]]:
    """Sessions of blocks that are written to three places, and deleted or not."""
    random = np.random.default_rng(seed)
    gone = random.random(number) < 0.6
    return [(22, *(5, 11, 9, 26) * 3, *((23, 21) * 3 if each else ())) for each in gone]


def test_blocks_that_went_wrong_are_told_from_normal_ones() -> None:
    """A copy is missing, a deletion is not done, a write breaks off: all found, and no normal one of 500."""
    learned = made_up(2000, seed=1)
    wrong = [(22, *(5, 11, 9, 26) * 3, 23, 23, 23, 21, 21), (22, *(5, 11, 9, 26) * 2, 5), (22, 5, 5, 7), (22, 5)]
    bits = bits_of(Normal.of(learned), [*made_up(500, seed=2), *wrong])
    odd = np.arange(504) >= 500
    assert hdfs.score(bits >= threshold(learned, hdfs.RATE), odd) == {"precision": 1.0, "recall": 1.0, "f1": 1.0}


def test_absent_or_other_data_are_told(tmp_path: Path, run) -> None:
    """The command names the file that it looked for."""
    ran = run("evaluate", "hdfs", "--data", str(tmp_path))
    assert ran.status == 1
    assert "does not hold deeplog_hdfs_train" in ran.err
    (tmp_path / "deeplog_hdfs_train").write_text("5 22\n")
    with pytest.raises(SourceError, match="does not hold the published files"):
        hdfs.read(tmp_path)


def test_labels_without_events_are_told(tmp_path: Path, shared_data: Path) -> None:
    """Where only labels are, the file with the events is named."""
    for name in (hdfs.LEARNED, hdfs.LABELS):
        shutil.copy(shared_data / "hdfs" / name, tmp_path)
    with pytest.raises(
        SourceError, match=r"does not hold hdfs_events_2percent\.parquet, the events of the 11,501 sessions"
    ):
        hdfs.read(tmp_path)
    (tmp_path / hdfs.EVENTS).write_bytes(b"no table")
    with pytest.raises(SourceError, match=r"hdfs_events_2percent\.parquet cannot be read"):
        hdfs.read(tmp_path)


def test_where_events_are_absent_the_other_published_sessions_are_judged(
    tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of sessions by what they are, of the published numbers of sessions; others are refused."""
    shutil.copy(shared_data / "hdfs" / hdfs.LEARNED, tmp_path)
    normal, wrong = ["22 5 5 5 11 9 11 9 11 9 26 26 26"] * 3, ["5 22", "22 5 5"]
    (tmp_path / "hdfs_test_normal").write_text("\n".join(normal))
    (tmp_path / "hdfs_test_abnormal").write_text("\n".join(wrong))
    with pytest.raises(SourceError, match=r"hdfs_test_normal is not .*: expected 553,366 sessions, found 3"):
        hdfs.read(tmp_path)
    monkeypatch.setattr(hdfs, "OTHERS", {"hdfs_test_normal": 3, "hdfs_test_abnormal": 2})
    corpus = hdfs.read(tmp_path)
    assert corpus.odd.tolist() == [False, False, False, True, True]
    assert hdfs.evaluate(tmp_path).headline == {"precision": 1.0, "recall": 1.0, "f1": 1.0}


def test_of_published_normal_sessions_one_in_a_thousand_alerts(shared_data: Path) -> None:
    """Of 4,855, each judged by nine tenths that it is not of, at most 4 reach the promised bits, and broken ones do."""
    learned = hdfs.sessions_of((shared_data / "hdfs" / hdfs.LEARNED).read_text())
    level = -np.log2(hdfs.RATE)
    assert (held_out(learned) >= level).sum() <= 4
    whole = (22, *(5,) * 3, *(26, 11, 9) * 3, *(23,) * 3, *(21,) * 3)
    broken = [
        whole[:-1],
        (22, 5, 5),
        (22, 5, 5, 5),
        (*whole, 20),
        (*whole, 28),
        tuple(key for key in whole if key != 21),
    ]
    assert (bits_of(Normal.of(learned), broken) >= level).all()
    assert Normal.of(learned).bits(whole) < 0
