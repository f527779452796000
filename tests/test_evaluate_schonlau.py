"""Masqueraders among users' commands: the protocol on made-up commands, and the published ones where they are."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from amiss.errors import SourceError
from amiss.evaluate import schonlau


def made_up(users: int = 6, blocks: int = 40, size: int = 50) -> schonlau.Corpus:
    """Users with a handful of commands each; of the second half of user 0's blocks, four are by somebody unknown."""
    random = np.random.default_rng(3)
    typed = [
        [f"c{user}-{number}" if number else "ls" for number in random.integers(0, 5, blocks * size)]
        for user in range(users)
    ]
    labels = np.zeros((blocks // 2, users), int)
    labels[5:9, 0] = 1
    begin = (blocks // 2 + 5) * size
    typed[0][begin : begin + 4 * size] = [f"c1-{number}" for number in random.integers(1, 7, 4 * size)]
    return schonlau.corpus_of(typed, "\n".join(" ".join(map(str, row)) for row in labels), size)


def test_figures_are_percentages_by_hand() -> None:
    """Of four foreign blocks three are found, of ten others one is: 25 misses + 6 * 10."""
    evidence = np.array([5.0, 4.0, 3.0, -1.0, 6.0, *[-2.0] * 9])
    odd = np.arange(14) < 4
    figures = schonlau.score(evidence, odd, 3.0)
    assert figures == {"hits": 75.0, "false_alarms": 10.0, "cost": 85.0, "auc": 0.9}


def test_blocks_of_equal_evidence_pass_together() -> None:
    """A curve has no point between them, so that constant evidence is worth a half."""
    assert schonlau.score(np.zeros(10), np.arange(10) < 3, 1.0)["auc"] == 0.5


def test_labels_are_a_row_for_each_block_and_a_column_for_each_user() -> None:
    """Two users of 4 blocks, the last 2 judged; block 3 of the second user is foreign."""
    corpus = schonlau.corpus_of([list("aabbccdd"), list("aaaabbbb")], "0 0\n0 1\n", size=2)
    assert corpus.learned == 2
    assert corpus.odd.tolist() == [[False, False], [False, True]]
    assert corpus.blocks.tolist() == [[[0, 0], [1, 1], [2, 2], [3, 3]], [[0, 0], [0, 0], [1, 1], [1, 1]]]
    with pytest.raises(SourceError, match=r"found 2 users with \[8\] commands, and rows of \[3\] labels"):
        schonlau.corpus_of([list("aabbccdd"), list("aaaabbbb")], "0 0 0\n", size=2)


def test_a_masquerader_among_made_up_users_is_found() -> None:
    """All four of their blocks, at the threshold from rehearsals; the other 116 give less."""
    corpus = made_up()
    found = schonlau.judge(corpus, rehearsals=3)
    assert np.flatnonzero((found.evidence >= found.threshold).ravel()).tolist() == [5, 6, 7, 8]


def test_the_threshold_does_not_depend_on_what_is_judged() -> None:
    """With all judged blocks and labels turned round it is the same."""
    corpus = made_up()
    turned = corpus.blocks.copy()
    turned[:, corpus.learned :] = turned[::-1, corpus.learned :]
    other = schonlau.Corpus(turned, ~corpus.odd, corpus.names)
    assert schonlau.judge(corpus, rehearsals=2).threshold == schonlau.judge(other, rehearsals=2).threshold


def test_absent_broken_or_other_data_are_told(tmp_path: Path, run) -> None:
    """The command names the file that it looked for, and the digest of what it found."""
    ran = run("evaluate", "schonlau", "--data", str(tmp_path))
    assert ran.status == 1
    assert "MasqueradeDat.zip" in ran.err
    (tmp_path / "MasqueradeDat.zip").write_bytes(b"no archive")
    with pytest.raises(SourceError, match="cannot be read"):
        schonlau.read(tmp_path)
    with zipfile.ZipFile(tmp_path / "MasqueradeDat.zip", "w") as archive:
        archive.writestr("MasqueradeDat/User1", "ls\n")
    with pytest.raises(SourceError, match="1 files have the digest"):
        schonlau.read(tmp_path)


@pytest.mark.slow
def test_published_commands_are_the_same_packed_or_not(shared_data: Path, tmp_path: Path) -> None:
    """50 users of 150 blocks, 856 different commands, 231 foreign blocks."""
    packed = schonlau.read(shared_data / "schonlau")
    assert packed.blocks.shape == (50, 150, 100)
    assert (len(packed.names), packed.learned, packed.odd.sum()) == (856, 50, 231)
    with zipfile.ZipFile(shared_data / "schonlau" / schonlau.COMMANDS) as archive:
        archive.extractall(tmp_path)
    shutil.copy(shared_data / "schonlau" / schonlau.LABELS, tmp_path)
    assert (schonlau.read(tmp_path).blocks == packed.blocks).all()


def test_the_curve_is_drawn_beside_what_others_published() -> None:
    """A line and a point with a name for each."""
    corpus = made_up()
    drawn = json.dumps(schonlau.chart(corpus, schonlau.judge(corpus, rehearsals=1)).to_dict())
    assert all(name in drawn for name, *_ in schonlau.RECALLED)
    assert '"who": "amiss"' in drawn


@pytest.mark.slow
def test_the_published_masqueraders_are_found_at_a_cost_below_42(shared_data: Path, run) -> None:
    """At a threshold from the first 5,000 commands of each user."""
    ran = run("evaluate", "schonlau", "--data", str(shared_data / "schonlau"), "--format", "json")
    figures = json.loads(ran.out)
    assert figures["cost"] <= 42
    assert figures["cost"] == pytest.approx(6 * figures["false_alarms"] + 100 - figures["hits"], abs=0.1)
    assert figures["auc"] > 0.95
    assert {row["detector"] for row in figures["figures"]} > {"amiss", "naive Bayes (as recalled)"}
