"""The score of the Numenta Anomaly Benchmark, worked by hand on small series, and its data where they are."""

from __future__ import annotations

import io
import json
import math
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from amiss.errors import SourceError, UsageError
from amiss.evaluate import EVALUATIONS, evaluate
from amiss.evaluate.nab import Corpus, Costs, Series, judge, positions, read, worth
from amiss.evaluate.published import digest_of, files_of

STANDARD = Costs(hit=1.0, miss=1.0, false=0.11)


def series(rows: int, *windows: tuple[int, int]) -> Series:
    """A series of zeros with windows."""
    return Series("one", np.arange(rows).astype("datetime64[m]"), np.zeros(rows), windows)


def marked(rows: int, *places: int) -> np.ndarray:
    """Scores of 1 at places, 0 elsewhere."""
    return np.isin(np.arange(rows), places).astype(float)


def sigmoid(position: float) -> float:
    """The benchmark's sigmoid, as it is published."""
    return 2 / (1 + math.exp(5 * position)) - 1


@pytest.fixture(scope="module")
def corpus(shared_data: Path) -> Corpus:
    """The benchmark itself."""
    return read(shared_data / "nab")


def test_no_detection_is_worth_nothing_and_all_at_once_a_hundred() -> None:
    """The null detector and the perfect one span the scale."""
    both = [series(200, (50, 69), (120, 139)), series(100, (60, 69))]
    assert worth(both, [np.zeros(200), np.zeros(100)], STANDARD).normalised == 0
    perfect = worth(both, [marked(200, 50, 120), marked(100, 60)], STANDARD)
    assert (perfect.raw, perfect.normalised, perfect.hits, perfect.false) == (3, 100, 3, 0)


@pytest.mark.parametrize(("row", "position"), [(50, -1.0), (54, -0.6), (59, -0.1)])
def test_a_detection_in_a_window_counts_the_more_the_earlier_it_is(row: int, position: float) -> None:
    """In a window of ten rows the first is at -1 and the last at -0.1; the first is worth 1."""
    found = worth([series(100, (50, 59))], [marked(100, row)], STANDARD)
    assert found.raw == pytest.approx(sigmoid(position) / sigmoid(-1))


def test_the_best_detection_of_a_window_counts_once() -> None:
    """Later ones in the same window add nothing and cost nothing."""
    found = worth([series(100, (50, 59))], [marked(100, 50, 52, 58)], STANDARD)
    assert (found.raw, found.hits, found.false) == (1, 1, 0)


def test_a_detection_outside_costs_less_right_behind_a_window() -> None:
    """Before any window 0.11; behind one of ten rows by the sigmoid of rows over nine, from three widths on 0.11."""
    worths, windows = positions(series(100, (50, 59)), STANDARD)
    assert worths[20] == -0.11
    assert worths[62] == pytest.approx(0.11 * sigmoid(3 / 9))
    assert worths[86] == pytest.approx(0.11 * sigmoid(3.0))
    assert worths[87] == -0.11
    assert windows[[49, 50, 59, 60]].tolist() == [-1, 0, 0, -1]


def test_two_false_detections_and_a_late_hit_by_hand() -> None:
    """Raw: 1 hit at -0.5 of two windows, one missed, two false ones before the first window."""
    one = series(200, (100, 119), (150, 169))
    found = worth([one], [marked(200, 40, 60, 110)], STANDARD)
    raw = sigmoid(-0.5) / sigmoid(-1) - 1 - 2 * 0.11
    assert found.raw == pytest.approx(raw)
    assert found.normalised == pytest.approx(100 * (raw + 2) / 4)


def test_the_first_fifteen_percent_are_for_learning_but_at_most_750_rows() -> None:
    """What is detected there neither counts nor costs."""
    assert (series(100).probation, series(4032).probation, series(20_000).probation) == (15, 604, 750)
    found = worth([series(100, (50, 59))], [marked(100, 3, 14, 50)], STANDARD)
    assert (found.normalised, found.false) == (100, 0)


def test_the_threshold_is_the_best_of_all_for_all_series_together() -> None:
    """One threshold: what would suit one series alone does not count."""
    noisy, quiet = np.zeros(100), np.zeros(100)
    noisy[20:45], noisy[55] = 0.5, 0.4
    quiet[55] = 0.9
    found = worth([series(100, (50, 59)), series(100, (50, 59))], [noisy, quiet], STANDARD)
    assert found.threshold == 0.9
    assert found.raw == pytest.approx(sigmoid(-0.5) / sigmoid(-1) - 1)


def test_rows_of_the_same_score_pass_the_threshold_together() -> None:
    """A threshold cannot tell them apart, so a hit comes with its false detections, or is left."""
    scores = np.zeros(100)
    scores[20:45], scores[50] = 0.5, 0.5
    assert worth([series(100, (50, 59))], [scores], STANDARD).raw == -1
    scores[50] = 0.6
    assert worth([series(100, (50, 59))], [scores], STANDARD).raw == 1


def test_a_profile_that_minds_misses_counts_them_twice() -> None:
    """With a miss at 2, null is -2 for each window, and half of all found is worth 50."""
    costs = Costs(1.0, 2.0, 0.11)
    found = worth([series(200, (100, 119), (150, 169))], [marked(200, 100)], costs)
    assert (found.raw, found.normalised) == (-1, 50)


def test_random_scores_are_worth_little(corpus: Corpus) -> None:
    """Random scores, at their best threshold, are worth 11 under the standard profile on average over many draws."""
    random = np.random.default_rng(1)
    drawn = [judge(corpus, lambda _, values: random.random(len(values)))["standard"].normalised for _ in range(3)]
    assert 7 < np.mean(drawn) < 17


def test_the_benchmark_has_58_series_with_116_windows(corpus: Corpus) -> None:
    """And three profiles."""
    assert len(corpus.series) == 58
    assert sum(len(each.windows) for each in corpus.series) == 116
    assert corpus.profiles["reward_low_FN_rate"] == Costs(1.0, 2.0, 0.11)
    assert corpus.profiles["reward_low_FP_rate"] == Costs(1.0, 1.0, 0.22)


def packed(folder: Path, files: Sequence[tuple[str, bytes]]) -> Path:
    """An archive of files."""
    with tarfile.open(folder / "some.tar.gz", "w:gz") as archive:
        for name, content in files:
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return folder / "some.tar.gz"


def test_published_files_are_known_by_their_digest_packed_or_not(tmp_path: Path) -> None:
    """An archive, its directory and the directory it was unpacked to hold the same; one byte more is told."""
    files = {"data/a.csv": b"1", "labels.json": b"{}"}
    (tmp_path / "open" / "data").mkdir(parents=True)
    for name, content in files.items():
        (tmp_path / "open" / name).write_bytes(content)
    archive = packed(tmp_path, [*files.items(), ("other.txt", b"not wanted")])
    digest, wanted = digest_of(files), ("data/", "labels")
    for place in (archive, tmp_path, tmp_path / "open"):
        assert files_of(place, "some.tar.gz", digest, wanted) == files
    (tmp_path / "open" / "labels.json").write_bytes(b"{} ")
    with pytest.raises(SourceError, match="does not hold the published files"):
        files_of(tmp_path / "open", "some.tar.gz", digest, wanted)


def test_data_that_are_absent_or_broken_are_told(tmp_path: Path, run) -> None:
    """The command names the archive that it looked for."""
    ran = run("evaluate", "nab", "--data", str(tmp_path))
    assert ran.status == 1
    assert "nab_data_labels.tar.gz" in ran.err
    (tmp_path / "nab_data_labels.tar.gz").write_bytes(b"no archive")
    ran = run("evaluate", "nab", "--data", str(tmp_path))
    assert ran.status == 1
    assert "cannot be read" in ran.err


def test_every_evaluation_is_a_module_and_others_are_refused(tmp_path: Path) -> None:
    """A name that is nearly right is offered."""
    assert "nab" in EVALUATIONS
    with pytest.raises(UsageError, match=r"nap is no evaluation\..*nab"):
        evaluate("nap", tmp_path)


def test_the_command_prints_figures_for_people_and_programs(shared_data: Path, run) -> None:
    """One setting for all series scores above 55 under the standard profile."""
    ran = run("evaluate", "nab", "--data", str(shared_data / "nab"), "--format", "json")
    figures = {row["profile"]: row for row in json.loads(ran.out)["figures"]}
    assert figures["standard"]["score"] > 55
    assert "reward_low_FN_rate" in run("evaluate", "nab", "--data", str(shared_data / "nab")).out
