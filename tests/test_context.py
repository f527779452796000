"""Columns that detectors ask for travel from a log through scans, streams and stores to the detector."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
from tests import watching

from amiss.baseline import COUNT_SCHEMA, Past
from amiss.detect import Forgetful, Names, Plain, Reason, Scores
from amiss.engine import Scan
from amiss.errors import EventError
from amiss.evidence import FULL_WEIGHT
from amiss.session import Session
from amiss.sessions import Events
from amiss.sources import open_live_source, open_source
from amiss.store import Store
from amiss.tally import summaries
from amiss.vocabulary import Coding
from amiss.watch import Settings, Watch, recall

MONDAY = datetime(2026, 1, 5, 8, tzinfo=UTC)


@dataclass(frozen=True)
class Abroad(Plain):
    """A bit for each event from another country than any the user was in on earlier days; gated."""

    name: ClassVar[str] = "abroad"
    counts: ClassVar[str] = "abroad"
    count_schema: ClassVar[dict[str, pl.DataType]] = COUNT_SCHEMA
    state_schema: ClassVar[dict[str, pl.DataType]] = Forgetful.SCHEMA
    context_schema: ClassVar[dict[str, pl.DataType]] = {"place": pl.UInt32(), "north": pl.Float32()}
    gated: ClassVar[bool] = True

    def context(self, events: pl.DataFrame) -> pl.DataFrame:
        """The country, and the latitude where it is known."""
        place = events["country"] if "country" in events.columns else pl.Series([""] * len(events))
        north = events["latitude"] if "latitude" in events.columns else pl.Series([0.0] * len(events))
        return pl.DataFrame({"place": place.fill_null(""), "north": north.fill_null(float("nan")).cast(pl.Float32)})

    def summarise(self, events: Events) -> pl.DataFrame:
        """Sixteenths of events by user and country."""
        weight = np.full(len(events), FULL_WEIGHT) if events.weight is None else events.weight
        rows = {"feature": 0, "user": events.user, "given": -1, "value": events.context["place"], "count": weight}
        return pl.DataFrame(rows).group_by("feature", "user", "given", "value").sum().sort("user", "value").cast(
            COUNT_SCHEMA  # type: ignore[arg-type]  # a dictionary is one
        ).select(*COUNT_SCHEMA)  # fmt: skip

    def baseline(self, past: Past, *, leave_out: bool = False) -> set[tuple[int, int]]:  # noqa: ARG002 - of the protocol
        """Where each user was."""
        return set(past.by_user().select("user", "value").iter_rows())

    def memory(self, state: pl.DataFrame | None = None) -> Forgetful:  # noqa: ARG002 - of the protocol
        """Nothing."""
        return Forgetful()

    def score(self, events: Events, baseline: set[tuple[int, int]], memory: Any = None) -> Scores:  # noqa: ARG002 - of the protocol
        """Four bits for each event abroad."""
        assert not np.isnan(events.context["north"]).any()
        pairs = zip(events.user.tolist(), events.context["place"].tolist(), strict=True)
        bits = np.array([4.0 * (pair not in baseline) for pair in pairs], dtype=np.float64)
        return Scores(bits, np.zeros(len(events)))

    def explain(self, events: Events, baseline: Any, names: Names) -> dict[int, list[Reason]]:  # noqa: ARG002 - of the protocol
        """The last country of each user."""
        last = dict(zip(events.user.tolist(), events.context["place"].tolist(), strict=True))
        return {user: [Reason(self.name, 4.0, f"in {names.value(place)}", 0, 0, 0, 0)] for user, place in last.items()}

    def details(self, events: Events, baseline: Any, names: Names) -> dict[str, str]:  # noqa: ARG002 - of the protocol
        """The country of the last event."""
        return {"country": names.value(int(events.context["place"][-1]))}


def log(path: Path) -> Path:
    """Three days of five users at home, one of whom goes abroad on the third."""
    rows = [
        {
            "time": (MONDAY + timedelta(days=day, minutes=10 * n, seconds=user)).isoformat(),
            "user": f"u{user}",
            "action": "login",
            "country": "FR" if (day, user) == (2, 3) and n > 2 else f"C{user}",
            "latitude": 10.0 + user,
        }
        for day in range(3)
        for n in range(12)
        for user in range(5)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def scanned(source: str) -> Scan:
    """A scan with the detector."""
    scan = Scan([Abroad()])
    scan.run([open_source(source)], [], lambda _: None)
    return scan


def test_a_scan_gives_detectors_the_columns_they_ask_for(tmp_path: Path):
    """The user abroad stands out, with the name of the country."""
    scan = scanned(str(log(tmp_path / "log.ndjson")))
    last = scan.days[-1]
    code = scan.coding.users.find("u3")
    assert code is not None
    assert last.standings.sort("bits")["user"][-1] == code
    assert scan.reasons(last.day, [code])[code][0].text == "in FR"


def watched(path: Path, state: Path, batch: int, cut: Callable[[Watch], None] = lambda _: None) -> dict[str, Any]:
    """All that a state holds after a watch over a log in batches."""
    with Store.open(state) as store:
        watch = Watch(open_live_source(str(path)), store, Settings([Abroad()]), batch=batch, until_eof=True)
        cut(watch)
        watch.run(threading.Event())
        live = recall(store, Settings([Abroad()]))
        assert store.verify() == []
        watching.same_tables(live.tables(), watch.live.tables())
        return watching.kept(store) | {"counts": {day: counts.rows() for day, _, counts in store.counts()}}


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector can be found by name, as one of another package is."""
    from amiss import detect

    monkeypatch.setitem(detect.BUILT_IN, "abroad", f"{__name__}:Abroad")


@pytest.mark.usefixtures("known")
def test_columns_outlive_a_restart_and_any_batches(tmp_path: Path):
    """What a state keeps of a stream does not depend on how it was cut; texts are kept once."""
    path = log(tmp_path / "log.ndjson")
    kept = [watched(path, tmp_path / f"{batch}.db", batch) for batch in (1, 7, 1000)]
    assert kept[0] == kept[1] == kept[2]
    assert kept[0]["texts"][2] == ["", *(f"C{user}" for user in range(5)), "FR"]


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(("country", "hidden"), [("FR", True), ("UA", False)])
def test_rules_hide_alerts_by_the_country_that_details_name(tmp_path: Path, country: str, hidden: bool):
    """The alert says what the detector knows of the event, and rules go by it."""

    def suppress(watch: Watch) -> None:
        watch._store.suppress({"country": country}, author="me", reason="", time=MONDAY)

    path = log(tmp_path / "log.ndjson")
    kept = watched(path, tmp_path / "state.db", 50, suppress)
    (first, hidden_by), *_ = kept["alerts"]
    assert first["details"] == {"country": "FR"}
    assert (hidden_by is not None) == hidden


@pytest.mark.usefixtures("known")
def test_a_scan_learns_what_a_watch_does(tmp_path: Path):
    """Gated counts, too, are the same."""
    path = log(tmp_path / "log.ndjson")
    kept = watched(path, tmp_path / "state.db", 50)
    judged = scanned(str(path)).history.judged
    for day, rows in kept["counts"].items():
        assert sorted(judged[day]["abroad"].rows()) == sorted(rows)


@pytest.mark.usefixtures("known")
def test_a_session_takes_columns_from_the_event(tmp_path: Path):
    """One by one, out of the day as well."""
    path = log(tmp_path / "log.ndjson")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    with Session(tmp_path / "state.db", detectors=[Abroad()], flush_every=timedelta(milliseconds=5)) as session:
        bits = [session.score(row).event_bits for row in rows]
        with pytest.raises(EventError, match=r"latitude must be a number\. Found: 'north'"):
            session.score(rows[-1] | {"latitude": "north"})
    moved = [number for number, row in enumerate(rows) if row["country"] == "FR"]
    assert [number for number, found in enumerate(bits) if found > 0] == moved
    with Store.open(tmp_path / "state.db", write=False) as store:
        assert store.texts()[2].to_list()[-1] == "FR"
        assert store.verify() == []


def test_what_speaks_against_a_user_teaches_less():
    """Two detectors, one gated: only that one gets the weights."""
    frame = pl.DataFrame({"country": ["FR", "FR"]}).with_columns(position=pl.int_range(2), user=pl.lit("ann"))
    frame = frame.with_columns(time=pl.lit(MONDAY), action=pl.lit("login"), outcome=pl.lit("success"))
    coding = Coding(contexts=[Abroad()])
    from amiss.sessions import group

    events = group(coding.encode(frame))
    assert summaries([Abroad()], events)["abroad"]["count"].to_list() == [32]
    gated = summaries([Abroad()], events, np.array([16, 1], dtype=np.uint8))
    assert gated["abroad"]["count"].to_list() == [17]


class Clash(Plain):
    """Wants a column that is there, of another type."""

    context_schema: ClassVar[dict[str, pl.DataType]] = {"place": pl.Int8()}


def test_detectors_cannot_mean_different_things_by_a_column():
    """The error names it and both types."""
    with pytest.raises(EventError, match='column "place" of events cannot be Int8: it is UInt32 already'):
        Coding(contexts=[Abroad(), Clash()])
