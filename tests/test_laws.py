"""Every registered detector keeps the laws of detectors, and the check of them sees when one does not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl
import pytest
from hypothesis import strategies as st

from amiss.baseline import Past
from amiss.detect import Names, Plain, Scores, registry
from amiss.detect.sequence import Sequence as SequenceDetector
from amiss.detect.sequence import SequenceBaseline
from amiss.events import EVENT_SCHEMA
from amiss.sessions import Events
from amiss.testing import ListSource, check_calibration, check_detector, check_source, draw_chains
from amiss.vocabulary import Coding

NEEDS_MORE = {"login", "purchase", "entitlement", "activity"}
"""Detectors whose tests bring events of their own, and hold the laws on them."""


@pytest.mark.parametrize("name", sorted(registry().keys() - NEEDS_MORE))
def test_every_registered_detector_keeps_the_laws(name: str):
    """Each detector in the registry passes the public check."""
    check_detector(registry()[name]())


@pytest.mark.parametrize("seed", range(2, 6))
def test_normal_users_of_any_draw_reach_b_bits_once_in_2_to_the_b(seed: int):
    """The calibration does not hang on one lucky seed."""
    check_calibration(SequenceDetector(), draw_chains, seed=seed)


@dataclass(frozen=True)
class Twisted(Plain):
    """The sequence detector with one law broken."""

    twist: pl.Expr
    inner: SequenceDetector = field(default_factory=SequenceDetector)

    name: ClassVar[str] = "twisted"
    counts: ClassVar[str] = "sequence"
    count_schema: ClassVar[dict[str, pl.DataType]] = SequenceDetector.count_schema
    state_schema: ClassVar[dict[str, pl.DataType]] = SequenceDetector.state_schema

    def summarise(self, events: Events) -> pl.DataFrame:
        """As the detector within."""
        return self.inner.summarise(events)

    def baseline(self, past: Past, *, leave_out: bool = False) -> SequenceBaseline:
        """As the detector within."""
        return self.inner.baseline(past, leave_out=leave_out)

    def memory(self, state: pl.DataFrame | None = None) -> Any:
        """As the detector within."""
        return self.inner.memory(state)

    def score(self, events: Events, baseline: Any, memory: Any = None) -> Scores:
        """The twisted scores."""
        scores = self.inner.score(events, baseline, memory)
        twisted = events.frame().with_columns(bits=scores.bits).select(bits=self.twist)
        return Scores(twisted["bits"].to_numpy(), scores.surprisal)

    def explain(self, events: Events, baseline: Any, names: Names) -> dict[int, Any]:
        """As the detector within."""
        return self.inner.explain(events, baseline, names)


BROKEN = {
    "chunks": pl.col("bits") + pl.col("position").cum_count().over("user"),
    "look-ahead": pl.col("bits") + pl.col("position").count().over("user"),
    "declared": pl.col("bits") / 0,
    "calibration": pl.col("bits") + 1.0,
}


@pytest.mark.parametrize("law", BROKEN)
def test_the_check_names_the_law_that_is_broken(law: str):
    """A detector that breaks one law fails, with the name of a law at the head of the message."""
    found = "chunks" if law == "look-ahead" else law  # what looks ahead also depends on where a stream is cut
    rows = Coding().encode(events(30))
    with pytest.raises(AssertionError, match=f"^{found}: "):
        check_detector(Twisted(BROKEN[law]), st.just(rows), examples=10)


def events(rows: int) -> pl.DataFrame:
    """An event frame with a row a second."""
    numbers = pl.DataFrame({"position": range(1, rows + 1)})
    return numbers.select(
        pl.col("position").cast(pl.Int64),
        (pl.lit(0).cast(pl.Datetime("us", "UTC")) + pl.duration(seconds="position")).alias("time"),
        pl.format("u{}", pl.col("position") % 3).alias("user"),
        pl.lit("login").alias("action"),
        pl.lit("success").alias("outcome"),
    )


@pytest.mark.parametrize("rows_at_once", [1, 3, 10, 100])
def test_a_list_source_resumes_behind_each_cursor(rows_at_once: int):
    """Whatever the size of the frames, reading again gives the rows that are left."""
    check_source(lambda: ListSource(events(10), rows_at_once=rows_at_once))


def test_a_list_source_gives_typed_columns_first():
    """Columns come in the order and with the types of the event frame; others ride along."""
    frame, _ = next(
        ListSource(events(2).select("outcome", "position", "user", "action", "time", ip=pl.lit("::1"))).read()
    )
    assert dict(frame.schema) == EVENT_SCHEMA | {"ip": pl.String()}


class Forgetful(ListSource):
    """A source that starts over whatever the cursor."""

    def read(self, _after=None):
        """All frames."""
        return super().read()


def test_the_check_sees_a_source_that_starts_over():
    """Rows that come twice fail the check."""
    with pytest.raises(AssertionError, match="resuming behind frame 1: 10 rows where 6 are left"):
        check_source(lambda: Forgetful(events(10), rows_at_once=4))
