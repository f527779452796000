"""The purchase detector: its slow twin, its laws, and the way of what others bought through scans and streams."""

from __future__ import annotations

import json
import math
import threading
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tests import naive_purchases as naive
from tests import watching

import amiss
from amiss.baseline import COUNT_SCHEMA, Past
from amiss.detect import Names, detector, fitting
from amiss.detect.purchase import (
    NEAR,
    NO_AMOUNT,
    OTHER,
    Neighbours,
    Purchase,
    PurchaseBaseline,
    _place_in_words,
    in_words,
)
from amiss.detect.purchase_amounts import AMOUNT
from amiss.detect.purchase_places import PLACE, Places
from amiss.engine import Scan
from amiss.events import CODED_SCHEMA
from amiss.fields import Fields, RoleGuess
from amiss.network import PURCHASE, Spread
from amiss.session import Session
from amiss.sessions import Events, boundaries, group
from amiss.simulate.purchases import levels, simulate, write_purchases
from amiss.sources import open_live_source, open_source
from amiss.store import Store
from amiss.terminal import print_story
from amiss.testing import check_calibration, check_detector
from amiss.vocabulary import Coding
from amiss.watch import Settings, Watch, recall

DAY = 86_400_000_000
SCHEMA = CODED_SCHEMA | Purchase.context_schema


def coded(rows: list[tuple[int, ...]], last: int = 4) -> pl.DataFrame:
    """A coded frame of (gap in minutes, user, kind, other user, cents), with what networks bought filled in."""
    time = np.cumsum([row[0] * 60_000_000 for row in rows]) if rows else np.zeros(0, np.int64)
    columns = {
        "position": np.arange(1, len(rows) + 1),
        "time": time,
        "user": [row[1] for row in rows],
        "action": [row[2] for row in rows],
        "outcome": [0] * len(rows),
        "kind": [row[2] for row in rows],
        "buyer": [row[1] + 1 for row in rows],
        "other_user": [row[3] + 1 for row in rows],
        "amount_cents": [row[4] if row[2] == PURCHASE else NO_AMOUNT for row in rows],
        **{name: [0] * len(rows) for name in NEAR},
    }
    frame = pl.DataFrame(columns, strict=False).with_columns(
        pl.col("time").cast(pl.Int64).cast(pl.Datetime("us", "UTC"))
    )
    typed = frame.select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items())
    context = {name: typed[name].to_numpy() for name in Purchase.context_schema}
    return typed.with_columns(**Neighbours(2, last).follow(typed["time"].to_physical().to_numpy(), context))


row = st.tuples(
    st.integers(0, 40),
    st.integers(0, 4),
    st.sampled_from([0, 1, 2, 2, 2, OTHER]),
    st.integers(0, 4),
    st.integers(-5, 9999),
)
logs = st.lists(row, max_size=40)
frames = logs.map(coded)


def drawn(baseline: PurchaseBaseline, random: np.random.Generator, users: int) -> Events:
    """Purchases of users whose networks bought ten times between 8 and 16 dollars, as the detector finds normal."""
    each, logs_of = 10, np.round(65536 * np.log2(np.linspace(800, 1600, 10)))
    middle, same = logs_of.mean() / 65536, ((logs_of - logs_of.mean()) ** 2).sum()
    one = (same / 65536**2 + 10 * baseline.within) / 19
    whim = math.sqrt(one * (1 + 0.5 / one)) * random.standard_t(11, users * each)
    octaves = middle + np.where(random.random(users * each) < 1e-3, 4 * random.standard_t(3, users * each), whim)
    user = np.repeat(np.arange(users, dtype=np.uint32) + 1000, each)
    near = {name: np.zeros(len(user), np.int64) for name in NEAR}
    near["near_count"][:], near["near_people"][:], near["near_within"][:] = 10, 1, same
    near["near_logs"][:], near["near_squares"][:] = logs_of.sum(), (logs_of**2).sum()
    cents = np.round(2 ** np.clip(octaves, 0, 50)).astype(np.int64)
    context = {"kind": np.full(len(user), PURCHASE), "amount_cents": np.maximum(cents, 1), **near}
    number = np.arange(len(user))
    columns: Any = (number, number * 10**6, user, *(np.zeros(len(user), np.int32) for _ in range(2)), number)
    assert not baseline.of(user).any()
    return Events(*columns, first=boundaries(user), context=context)


@pytest.mark.parametrize("examples", [10])
def test_it_keeps_the_laws_of_detectors(examples: int):
    """Counts merge, chunks and users' neighbours do not matter, normal users reach b bits once in 2 to the b."""
    past = coded([(1, 0, PURCHASE, 0, 500)] * 9)
    check_detector(Purchase(), frames, draw=drawn, past=past, examples=examples)
    check_calibration(Purchase(), drawn, past=past, seed=5)


@given(rows=logs)
@settings(max_examples=40)
def test_bits_are_those_of_a_twin_with_plain_formulas(rows: list[tuple[int, ...]]):
    """The network by search and sorting, Student's t by its textbook density, the own purchases of a day before."""
    detector = Purchase(degrees=2, last=4)
    before = coded([(1, user, PURCHASE, 0, 300 * (user + 1) + 10 * at) for user in range(3) for at in range(5)])
    baseline = detector.baseline(Past([detector.summarise(group(before))]))
    octaves = [
        [math.floor(4 * math.log2(300 * (user + 1) + 10 * at)) / 4 + 1 / 8 for at in range(5)] for user in range(3)
    ]
    squares = sum((x - sum(each) / 5) ** 2 for each in octaves for x in each)
    events, everybody = group(coded(rows), by_time=False), (squares + 5) / (12 + 10)
    bits = dict(zip(events.position.tolist(), detector.score(events, baseline).bits.tolist(), strict=True))
    acts = [(kind, user, other, at, cents, 0) for at, (_, user, kind, other, cents) in enumerate(rows)]
    last = dict(naive.windows([act if act[0] != OTHER else (1, 99, 98, 0, 0, 0) for act in acts], 2, 4))
    for at, (_, user, kind, _, cents) in enumerate(rows):
        network = [(each.user, each.cents) for each in last.get(at, [])]
        own = octaves[user] if user < 3 else []
        wanted = 0.0
        if kind == PURCHASE and cents > 0 and len(network) > 1:
            wanted = naive.bits(cents, network, own, everybody)
        assert bits[at + 1] == pytest.approx(wanted, abs=1e-3)


def test_what_a_purchase_came_after_is_exact():
    """Mean, deviation and the rule are those of integers, also for amounts with huge squares."""
    random = np.random.default_rng(3)
    for size in (10**3, 10**7, 10**9):
        amounts = random.integers(-size, size, 12).tolist()
        rows = [(1, 0, 0, 1, 0), *[(1, 1, PURCHASE, 0, cents) for cents in amounts], (1, 0, PURCHASE, 0, 4 * size)]
        told = coded(rows).row(-1, named=True)
        spread = Spread.of(amounts[-4:])
        exact = size < 10**9
        assert told["near_mean"] == spread.mean
        assert told["near_sd"] == (spread.deviation if exact else pytest.approx(spread.deviation, rel=1e-12))
        assert told["near_above"] == spread.is_above(4 * size)


@pytest.mark.parametrize(("whose", "is_odd"), [("each friend has a price", True), ("friends buy both", False)])
def test_a_dear_purchase_of_a_thrifty_user_is_odd_where_friends_keep_to_a_price(whose: str, is_odd: bool):
    """The same 24 amounts near, half of them dear: if each friend buys both, the user is to be expected to, too."""
    detector, buyers = Purchase(degrees=2, last=24), list(range(1, 13))
    thrifty = coded([(1, 0, PURCHASE, 0, 500)] * 4)
    baseline = replace(detector.baseline(Past([detector.summarise(group(thrifty))])), within=0.5)
    second = buyers if whose == "each friend has a price" else buyers[::-1]
    bought = [
        (1, user, PURCHASE, 0, 500 if at < 6 else 4000) for each in (buyers, second) for at, user in enumerate(each)
    ]
    rows = [*[(1, 0, 0, user, 0) for user in buyers], *bought, (1, 0, PURCHASE, 0, 4000)]
    events = group(coded(rows, last=24))
    bits = detector.score(events, baseline).bits[events.position == len(rows)].item()
    assert (bits > 1) == is_odd


def test_the_reason_names_the_evidence():
    """Mean, deviation, how many purchases of how many people, the largest, and what the closest bought."""
    rows = [
        (1, 0, 0, 1, 0),
        (1, 1, 0, 2, 0),
        (1, 1, PURCHASE, 0, 1000),
        (1, 2, PURCHASE, 0, 3000),
        (1, 0, PURCHASE, 0, 90000),
    ]
    events = group(coded(rows))
    detector = Purchase()
    coding = Coding(contexts=[detector])
    coding.actions.encode(pl.Series(["befriend", "unfriend", "purchase"]))
    (reason,) = detector.explain(events, detector.baseline(Past()), Names(coding))[0]
    assert reason.text == (
        "bought for 900.00; the last 2 purchases near, of 2 people, have mean 20.00 and sd 10.00 (above mean + 3 sd), "
        "the largest 30.00; a friend bought for 10.00"
    )
    assert (reason.action, reason.count, reason.of, reason.others_of) == ("purchase", 1, 1, 2)
    assert 2 not in detector.explain(events, detector.baseline(Past()), Names(coding))


def test_who_has_nobody_near_is_not_judged():
    """No friends, one purchase near, no amount, a refund: no bits."""
    rows = [(1, 0, PURCHASE, 0, 99999), (1, 0, 0, 1, 0), (1, 1, PURCHASE, 0, 99999), (1, 0, OTHER, 1, 0)]
    rows += [(1, 0, PURCHASE, 0, 500), (1, 1, PURCHASE, 0, -500)]
    scores = Purchase().score(group(coded(rows)), Purchase().baseline(Past()))
    assert not scores.bits.any()


def test_what_speaks_against_a_user_teaches_less():
    """The weights of events, in sixteenths, are what is counted."""
    events = group(coded([(1, 0, PURCHASE, 0, 500), (1, 0, PURCHASE, 0, 510)]))
    gated = replace(events, weight=np.array([16, 1], np.uint8))
    assert Purchase().summarise(events).filter(feature=0)["count"].to_list() == [32]
    assert Purchase().summarise(gated).filter(feature=0)["count"].to_list() == [17]


def test_logs_of_purchases_among_friends_are_looked_at():
    """Those with an amount and another user."""
    roles = {name: RoleGuess(name, 1.0) for name in ("amount_cents", "other_user")}
    assert fitting([Fields("", roles)]) == ["sequence", "habit", "purchase"]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of two hundred users."""
    path = tmp_path_factory.mktemp("purchases") / "log.jsonl"
    write_purchases(path, users=200, days=3, seed=3, odd_users=0.05, odd_after=1)
    return path


def test_a_scan_finds_who_spends_oddly(tmp_path: Path):
    """Sixteen or more of the first twenty users of a day are odd."""
    path, truth = tmp_path / "log.jsonl", tmp_path / "truth.csv"
    write_purchases(path, truth=truth, users=1000, days=14, seed=2, odd_users=0.03, odd_after=7)
    scan = Scan([detector("purchase", degrees=3)])
    scan.run([open_source(str(path))], [], lambda _: None)
    odd = set(pl.read_csv(truth)["user"])
    last = pl.concat(day.standings for day in scan.days[7:])
    first = scan.coding.users.decode(last.sort("peak", descending=True).head(20)["user"])
    assert sum(user in odd for user in first) >= 16


def watched(path: Path, state: Path, batch: int) -> dict[str, Any]:
    """All that a state holds after a watch over a log in batches, and what is recalled of it."""
    wish = Settings([Purchase(degrees=1)])
    with Store.open(state) as store:
        watch = Watch(open_live_source(str(path)), store, wish, batch=batch, until_eof=True)
        watch.run(threading.Event())
        live = recall(store, wish)
        assert store.verify() == []
        watching.same_tables(live.tables(), watch.live.tables())
        assert live.tables()["witness/purchase/friends"].height > 300
        return watching.kept(store) | {"counts": {day: counts.rows() for day, _, counts in store.counts()}}


def test_batches_and_restarts_change_nothing(log: Path, tmp_path: Path):
    """What a state keeps of a stream does not depend on how it was cut, friendships and purchases included."""
    whole, cut = (watched(log, tmp_path / f"{batch}.db", batch) for batch in (10_000, 97))
    assert whole == cut
    counts = Scan([Purchase(degrees=1)])
    counts.run([open_source(str(log))], [], lambda _: None)
    for day, rows in whole["counts"].items():
        assert sorted(counts.history.judged[day]["purchase"].rows()) == sorted(rows)


def test_a_session_knows_what_others_bought(log: Path, tmp_path: Path):
    """Single events move networks on, over a restart too; the same counts come out as of a watch."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for part in (lines[: len(lines) // 2], lines[len(lines) // 2 :]):
        with Session(tmp_path / "one.db", detectors=[Purchase(degrees=1)], flush_every=timedelta(seconds=9)) as session:
            for line in part:
                given = {
                    "time": f"{line['timestamp']}Z",
                    "user": line.get("id") or line["id1"],
                    "action": line["event_type"],
                }
                cents = round(100 * float(line["amount"])) if "amount" in line else None
                more = {"amount_cents": cents, "other_user": line.get("id2")}
                session.score(given | {name: value for name, value in more.items() if value is not None})
    with Store.open(tmp_path / "one.db", write=False) as store:
        tables = recall(store, Settings([Purchase(degrees=1)])).tables()
    watched(log, tmp_path / "all.db", 500)
    with Store.open(tmp_path / "all.db", write=False) as store:
        watching.same_tables(tables, recall(store, Settings([Purchase(degrees=1)])).tables())


def test_simulated_logs_are_the_same_for_the_same_seed():
    """And the truth counts the events of the log."""
    first, again = (simulate(users=300, days=5, seed=7, odd_users=0.1) for _ in range(2))
    assert first.events.equals(again.events)
    told = first.events[(first.truth["position"] - 1).to_list()]
    assert told["id"].to_list() == first.truth["user"].to_list()
    assert set(told["event_type"]) == {"purchase"}


def test_levels_are_what_users_spend_on_average():
    """Purchases of a simulation scatter about the levels that it tells, each as usual."""
    made, known = simulate(users=300, days=40, seed=7, odd_users=0), levels(users=300, days=40, seed=7)
    bought = made.events.filter(event_type="purchase").join(known, left_on="id", right_on="user")
    apart = bought["amount_cents"].log() - bought["level"]
    assert apart.mean() == pytest.approx(0, abs=0.03)
    assert apart.std() == pytest.approx(0.5, abs=0.02)
    assert len(bought) / 40 == pytest.approx(known["rate"].sum(), rel=0.03)


def test_a_result_shows_what_a_purchase_was_judged_by(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The amounts of the network are those that the reason counts; report and terminal draw them."""
    later = tmp_path / "later.jsonl"
    write_purchases(later, users=200, days=3, seed=4, odd_users=0.1, date=date(2026, 3, 2))
    for learn in (None, str(log)):
        result = amiss.scan(str(later), learn=learn, detectors=["purchase"], top=2)
        users = result.users.filter(pl.col("bits") > 1)["user"].head(2).to_list()
        for user, (cents, network) in result.networks(users).items():
            (reason, *_) = result.users.row(by_predicate=pl.col("user") == user, named=True)["reasons"]
            spread = Spread.of(network["cents"])
            assert reason["others_of"] == network.height
            assert f"bought for {in_words(cents)}; the last {network.height} purchases near" in reason["text"]
            assert f"mean {in_words(spread.mean)} and sd {in_words(spread.deviation)}" in reason["text"]
        result.report(tmp_path / "report.html")
        assert (tmp_path / "report.html").read_text().count("The purchase that says most") >= len(users) > 0
    print_story(result, users[0], Console(width=80))
    _, told = capsys.readouterr().out.split("the purchase (◆) beside the last ")
    assert told.startswith(f"{network_of(result, users[0])} of people near, by amount")
    assert told.splitlines()[1].count("◆") == 1


def network_of(result: Any, user: str) -> int:
    """How many purchases a user's is judged by."""
    return len(result.networks([user])[user][1])


def at_shop(day: int, minute: int, user: str, cents: int, shop: str) -> dict[str, object]:
    """A purchase that names where it was made."""
    when = datetime(2026, 3, day, 8, tzinfo=UTC) + timedelta(minutes=minute)
    return {"time": when, "user": user, "action": "purchase", "amount_cents": cents, "other_user": shop}


def friends(users: int) -> list[dict[str, object]]:
    """Everybody befriends everybody."""
    when = datetime(2026, 3, 1, 1, tzinfo=UTC)
    pairs = [(one, other) for one in range(users) for other in range(one)]
    return [{"time": when, "user": f"u{one}", "action": "befriend", "other_user": f"u{other}"} for one, other in pairs]


def test_a_confirmed_purchase_speaks_against_others_at_the_same_place(tmp_path: Path):
    """Before the verdict two shops are alike; behind it the same purchase says more at the shop that was told of."""
    session = Session(
        tmp_path / "s.db", detectors=[Purchase(degrees=1)], budget="5/day", now=lambda: datetime(2026, 3, 9, tzinfo=UTC)
    )
    with session:
        for event in friends(12):
            session.score(event)
        for number in range(120):
            day, minute = divmod(number, 40)
            session.score(at_shop(day + 1, minute, f"u{number % 12}", 1000 + 37 * (number % 7), f"shop {number % 4}"))
        before = [session.score(at_shop(4, shop, f"u{shop}", 1010, f"shop {shop}")).event_bits for shop in range(2)]
        alert = session.score(at_shop(4, 5, "u9", 6000, "shop 1")).alert
        assert alert is not None
        session.feedback(alert, "confirmed")
        session.flush()
        after = [session.score(at_shop(4, 7, f"u{4 + shop}", 1010, f"shop {shop}")).event_bits for shop in range(2)]
    assert abs(before[1] - before[0]) < 0.05
    assert after[1] - after[0] > 0.3


def placed(rows: list[tuple[int, int, int]]) -> pl.DataFrame:
    """Counts of purchases by day and place."""
    return pl.DataFrame([(PLACE, 7, day, place, 16 * n) for day, place, n in rows], schema=COUNT_SCHEMA, orient="row")


def test_places_with_reports_are_worse_than_others_and_they_add_up():
    """What all places say of all purchases of the last week told of is no more than nothing: q sums to one."""
    good = [(day, place, 5) for day in range(40) for place in range(1, 21) if place > 1 or day < 25]
    past = Past([placed(good)])
    past.bad = placed([(day, 1, 5) for day in range(25, 33)] + [(30, 2, 1)])
    found = Places.known(past)
    assert found is not None
    ratio = found.of(np.arange(22, dtype=np.uint32))
    assert ratio[0] == 1
    assert ratio[1] > ratio[2] > ratio[3] == ratio[20] == ratio[21]
    told = [(5 + (place == 2) / 7, ratio[place]) for place in range(1, 21)]
    assert sum(sold * each for sold, each in told) / sum(sold for sold, _ in told) == pytest.approx(1, abs=0.01)
    assert found.told(1) == (35, 35)
    assert found.told(2) == (36, 1)
    assert found.told(3) is None


def test_a_reason_names_the_place_with_bad_purchases():
    """How many of a week's purchases there turned out bad, the place as the log names it."""
    coding = Coding(contexts=[Purchase()])
    coding.values.encode(pl.Series(["shop <b>"]))
    past = Past([placed([(day, 1, 5) for day in range(9)])])
    past.bad = placed([(8, 1, 3)])
    assert _place_in_words(1, Places.known(past), Names(coding)) == (
        "; at shop <b> 3 of 38 purchases of a week turned out bad"
    )
    assert _place_in_words(5, Places.known(past), Names(coding)) == ""


def test_amounts_of_bad_purchases_speak_against_whom_they_do_not_suit():
    """Two buy for as much as bad purchases were; of the one who always does it says nothing more than before."""
    amounts = [(0, step, 10) for step in range(32, 40)] + [(1, step, 20) for step in range(39, 42)]
    rows = [(AMOUNT, user, -1, step, 16 * n) for user, step, n in amounts]
    past = Past([pl.DataFrame(rows, schema=COUNT_SCHEMA, orient="row")])
    ties = [(1, user, 0, other, 0) for user in (0, 1) for other in (2, 3)]
    near = [(1, user, PURCHASE, -1, 700 + 90 * at) for user in (2, 3) for at in range(2)]
    events = group(coded([*ties, *near, (1, 0, PURCHASE, -1, 1100), (1, 1, PURCHASE, -1, 1100)]))
    dear = [int(np.flatnonzero((events.user == user) & (events.context["amount_cents"] == 1100))[0]) for user in (0, 1)]
    before = Purchase().score(events, Purchase().baseline(past)).bits[dear]
    past.bad = pl.DataFrame([(AMOUNT, 9, -1, 40, 16 * 30)], schema=COUNT_SCHEMA, orient="row")
    known = Purchase().baseline(past)
    after = Purchase().score(events, known).bits[dear]
    assert known.places is None
    assert after[0] > before[0] + 0.2
    assert after[1] < 0.1 < after[0]
