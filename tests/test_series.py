"""Evidence of a series of numbers: what is rare is learned from it, nothing looks ahead, an anomaly is told once."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import naive_series

from amiss.errors import EventError, UsageError
from amiss.series import Outlook, evidence, score

MONDAY = np.datetime64("2026-01-05T00:00")


def every(minutes: int, count: int) -> np.ndarray:
    """Times from a Monday on."""
    return MONDAY + np.arange(count) * np.timedelta64(minutes, "m")


def days(count: int, seed: int = 1) -> np.ndarray:
    """Values of every five minutes that swing by the day."""
    clock = np.arange(288 * count) / 288
    return 50 + 20 * np.sin(2 * np.pi * clock) + np.random.default_rng(seed).normal(size=len(clock))


def test_equals_the_slow_and_obvious_way() -> None:
    """The compiled pass gives what a loop over dictionaries gives, over weeks with weekends."""
    values = days(16)
    values[[288 * day + part for day in (5, 6, 12, 13) for part in range(288)]] *= 0.5
    values[4000] += 90
    times = [datetime(2026, 1, 5) + timedelta(minutes=5 * row) for row in range(len(values))]  # noqa: DTZ001 - clocks
    rows, fresh = naive_series.evidence(times, values.tolist())
    found = evidence(every(5, len(values)), values)
    np.testing.assert_allclose(found.select("level", "season", "spike").to_numpy(), rows, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found["score"], np.array(fresh) / (1 + np.array(fresh)), rtol=1e-6, atol=1e-6)
    assert found["spike"][4000] > 8


@given(cut=st.integers(0, 600), scale=st.sampled_from([1e-9, 1.0, 1e9]))
def test_nothing_looks_ahead(cut: int, scale: float) -> None:
    """What is said of the first values is the same whatever follows."""
    values, times = scale * days(3)[:600], every(5, 600)
    np.testing.assert_array_equal(score(times[:cut], values[:cut]), score(times, values)[:cut])


@pytest.mark.parametrize("kind", ["normal", "heavy", "skew", "counts", "autoregressive", "daily", "sparse"])
def test_bits_are_as_rare_as_they_say(kind: str) -> None:
    """Bits of 6, 8 or 10 come no more often than once in 64, 256 or 1,024 values, within a third."""
    random, count = np.random.default_rng(5), 150_000
    values = {
        "normal": lambda: random.normal(size=count),
        "heavy": lambda: random.standard_t(3, count),
        "skew": lambda: random.lognormal(0, 1.5, count),
        "counts": lambda: random.poisson(3.0, count),
        "autoregressive": lambda: drifting(random.normal(size=count)),
        "daily": lambda: 10 * np.sin(np.arange(count) * 2 * np.pi / 288) + random.normal(size=count),
        "sparse": lambda: random.binomial(1, 0.01, count) * random.lognormal(0, 1, count),
    }[kind]()
    said = evidence(every(5, count), values)[5000:]
    for bits in (6, 8, 10):
        shares = said.select((pl.all().exclude("score") >= bits).mean() * 2**bits).row(0, named=True)
        assert max(shares.values()) < 4 / 3, (bits, shares)
    assert (said.select("level", "season", "spike") >= 6).to_numpy().any(axis=0).all()


def drifting(noise: np.ndarray) -> np.ndarray:
    """A series of which each value takes over four fifths of the one before."""
    values = np.zeros(len(noise))
    for row in range(1, len(noise)):
        values[row] = 0.8 * values[row - 1] + noise[row]
    return values


def test_a_spike_a_new_level_and_a_day_unlike_others_are_each_told() -> None:
    """Each of the three questions finds what it asks for, and ranks it first by score."""
    times = every(5, 288 * 14)
    spike, level, flat = days(14), days(14), days(14)
    spike[3000] += 60
    level[3000:] += 60
    flat[288 * 10 + 20 : 288 * 10 + 130] = 50
    for values, found, begin, end in (
        (spike, "spike", 3000, 3001), (level, "level", 3000, 3030), (flat, "season", 2900, 3010),
    ):  # fmt: skip
        said = evidence(times, values)
        behind = said.with_row_index()[600:]
        assert begin <= behind.sort("score")["index"][-1] < end
        assert said[found][begin:end].max() > 8


def test_an_anomaly_is_told_once() -> None:
    """While a new level lasts, scores stay low, though the bits of it do not."""
    values = np.random.default_rng(2).normal(size=3000)
    values[2000:2100] += 12
    said = evidence(every(5, 3000), values)
    assert (said["score"][2000:2100] > 0.8).sum() <= 8
    assert (said["level"][2000:2100] > 6).sum() > 50


def test_a_week_is_known_after_two_of_its_kind() -> None:
    """A Saturday that is like a weekday surprises where Saturdays are quiet, though the days before were like it."""
    values, weekday = days(41), days(41)[288 * 40 :]
    for day in range(41):
        if day % 7 in (5, 6):
            values[288 * day : 288 * (day + 1)] = 20 + np.random.default_rng(day).normal(size=288)
    values[288 * 40 :] = weekday
    season = evidence(every(5, len(values)), values)["season"].to_numpy().reshape(41, 288).max(axis=1)
    assert season[40] > 8
    assert season[35:40].max() < 8


def test_a_gap_says_and_teaches_nothing() -> None:
    """NaN scores 0, and what follows is as if there had been no such row."""
    values, times = days(3), every(5, 864)
    kept = np.ones(864, bool)
    kept[400:440] = False
    with_gap = np.where(kept, values, np.nan)
    whole = score(times, with_gap)
    assert not whole[~kept].any()
    np.testing.assert_array_equal(whole[kept], score(times[kept], values[kept]))


def test_a_constant_series_is_never_odd_until_it_changes() -> None:
    """No noise is no reason for an alarm; the first change is one."""
    values = np.full(500, 7.0)
    values[450] = 7.5
    said = score(every(5, 500), values)
    assert not said[:450].any()
    assert said[450] > 0.9


def test_huge_values_are_judged() -> None:
    """Values near the largest numbers make no errors and no infinities."""
    values = np.random.default_rng(3).normal(size=300)
    values[250] = 1e300
    assert np.isfinite(evidence(every(5, 300), values).to_numpy()).all()


def test_what_cannot_be_judged_is_refused() -> None:
    """Times without values, infinite values and settings out of range are told."""
    with pytest.raises(EventError, match="3 times and 2 values"):
        evidence(every(5, 3), np.zeros(2))
    with pytest.raises(EventError, match="value 2 is infinite"):
        evidence(every(5, 2), np.array([1.0, np.inf]))
    with pytest.raises(UsageError, match="recent, tail is out of range"):
        Outlook(recent=0, tail=-1)
    assert evidence(every(5, 0), np.zeros(0)).height == 0
