"""The protocol of the Fraud Detection Handbook on a few made-up cards, and its figures on its data where they are."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from amiss.detect import coding
from amiss.engine import History
from amiss.errors import SourceError
from amiss.evaluate import evaluate
from amiss.evaluate.fraud_handbook import (
    DELAY,
    DETECTOR,
    TEST,
    Run,
    card_precision,
    cards,
    judged,
    of_week,
    read,
    with_networks,
)
from amiss.live import Live
from amiss.sessions import group

Row = tuple[date, int, int, float, int]
"""Day, customer, terminal, amount, whether a fraud."""


def published(rows: list[Row]) -> pl.DataFrame:
    """Transactions as they are published."""
    noon = [datetime(day.year, day.month, day.day, 12) + timedelta(seconds=at) for at, (day, *_) in enumerate(rows)]  # noqa: DTZ001 - as the file has it
    columns = {"TX_DATETIME": noon, "CUSTOMER_ID": [r[1] for r in rows], "TERMINAL_ID": [r[2] for r in rows]}
    columns |= {"TX_AMOUNT": [r[3] for r in rows], "TX_FRAUD": [r[4] for r in rows]}
    frame = pl.DataFrame(columns | {"TX_FRAUD_SCENARIO": [2 * r[4] for r in rows]})
    return frame.with_columns(TRANSACTION_ID=pl.int_range(pl.len()))


def usual(first: date, days: int) -> list[Row]:
    """Twelve cards that buy once a day at one of four terminals."""
    return [
        (first + timedelta(day), card, (card + day) % 4, 20.0 + card + day % 3, 0)
        for day in range(days)
        for card in range(12)
    ]


def test_a_log_has_a_friendship_for_each_first_use_of_a_terminal():
    """Before the purchase at it; the purchase names the terminal, too."""
    log = cards(published([(TEST, 7, 3, 12.345, 0), (TEST, 7, 3, 9.0, 1)]), TEST, TEST)
    columns = ["position", "user", "action", "other_user", "amount_cents", "fraud"]
    assert log.select(columns).rows() == [
        (1, "card 7", "befriend", "terminal 3", None, 0),
        (2, "card 7", "purchase", "terminal 3", 1234, 0),
        (3, "card 7", "purchase", "terminal 3", 900, 1),
    ]


def test_cards_known_as_compromised_are_not_judged_any_more():
    """One with a fraud in the training week never; one with a fraud after it from eight days behind that on."""
    trained = TEST - timedelta(14)
    frauds = [(trained, 1, 0, 20.0, 1), (TEST - timedelta(6), 2, 0, 20.0, 1)]
    bought = [(TEST + timedelta(day), card, 0, 20.0, 0) for day in range(7) for card in range(4)]
    log = cards(published(frauds + bought), trained)
    found = of_week(log.select("position", bits=pl.lit(0.0)), log, TEST)
    days = dict(found.group_by("user").agg(pl.len()).sort("user").iter_rows())
    assert days == {"card 0": 7, "card 2": 2, "card 3": 7}


def test_cards_that_were_found_are_not_looked_at_again():
    """Each day the card with most bits; the one that is compromised gives way to the next."""
    rows = [
        (day, user, bits, int(user == "a"))
        for day in (TEST, TEST + timedelta(1))
        for user, bits in (("a", 2.0), ("b", 1.0))
    ]
    found = pl.DataFrame(rows, schema=["day", "user", "bits", "fraud"], orient="row")
    assert card_precision(found, most=1) == 0.5


def test_confirmed_frauds_speak_against_others_at_the_terminal_a_week_later():
    """From the morning on that follows the delay, and not before."""
    first, days = TEST - timedelta(40), 40
    bad = first + timedelta(20)
    frauds = [(bad + timedelta(day), 20 + day, 1, 21.0, 1) for day in range(3)]
    log = cards(published(sorted(usual(first, days) + frauds)), first)
    coded = with_networks(log)
    bits = {
        delay: judged(log, coded, bad, TEST, delay=delay).join(log, on="position").sort("position")
        for delay in (None, DELAY)
    }
    known = bad + timedelta(DELAY + 1)
    before, after = (pl.col("day") < known, pl.col("day") >= known)
    same = [each.filter(before)["bits"].to_list() for each in bits.values()]
    assert same[0] == same[1]
    more = bits[DELAY].filter(after)["bits"] - bits[None].filter(after)["bits"]
    told = bits[DELAY].filter(after)["other_user"] == "terminal 1"
    assert more.filter(told).min() > 0
    assert more.filter(told).mean() > more.filter(~told).mean() + 0.5


def test_a_day_of_a_confirmed_fraud_teaches_nothing_of_its_card():
    """The counts of that card leave the day; those of others stay."""
    log = cards(published([*usual(TEST, 2), (TEST, 3, 1, 500.0, 1)]), TEST)
    run = Run(with_networks(log), History())
    for day, events in run.days():
        run.judge(day, events)
    held = run.history.judged[TEST]["purchase"]["user"].n_unique()
    run.confirm(log.filter(fraud=1, action="purchase"))
    assert run.history.judged[TEST]["purchase"]["user"].n_unique() == held - 1
    assert len(run.history.bad) == 1
    run.confirm(log.filter(fraud=9))
    assert len(run.history.bad) == 1


def test_other_files_than_the_published_one_are_refused(tmp_path: Path):
    """By their digest; an empty directory is told too."""
    with pytest.raises(SourceError, match=r"holds no transactions\.parquet"):
        read(tmp_path)
    published(usual(TEST, 1)).write_parquet(tmp_path / "transactions.parquet")
    with pytest.raises(SourceError, match="is not the published file: its SHA-256 is"):
        read(tmp_path / "transactions.parquet")


@pytest.mark.slow
def test_feedback_finds_what_amounts_alone_cannot(shared_data: Path):
    """On the test week: three times the average precision, and three times the compromised cards among the first."""
    found = evaluate("fraud-handbook", shared_data / "fraud-handbook")
    assert found.about == "58,264 transactions of the test week, 385 of them frauds"
    rows = {(row["way"], row["week"]): row for row in found.rows}
    unlabelled = rows["amiss, no labels", "test"]
    assert found.headline["auc"] > 0.83
    assert found.headline["ap"] > 0.54
    assert found.headline["card_precision_100"] > 0.25
    assert unlabelled["ap"] > 0.18
    assert unlabelled["card_precision_100"] < 0.1


def test_days_are_judged_as_a_watch_judges_them_after_the_same_verdicts():
    """A confirmed purchase that speaks against its card: the bits of all later days are those of a stream."""
    first, days = TEST - timedelta(12), 12
    frauds = [(first + timedelta(3), 4, 1, 180.0, 1)]
    log = cards(published(sorted(usual(first, days) + frauds)), first)
    coded = with_networks(log)
    found = judged(log, coded, first, TEST, delay=DELAY)
    names = coding([DETECTOR])
    names.encode(log)
    live, told = Live([DETECTOR], names), []
    for day, rows in ((day, coded.filter(pl.col("time").dt.date() == day)) for day in log["day"].unique().sort()):
        then = day - timedelta(DELAY + 1)
        fraud = coded.join(log.filter(action="purchase", fraud=1, day=then), on="position", how="semi")
        if len(fraud):
            live.teach(1, "confirmed", "card 4", then, fraud)
        live.take(rows)
        assert live.current is not None
        events = group(rows)
        bits = np.zeros(len(events)) if live.current.panel is None else live.current.panel.score(events)[0].bits
        told.append(pl.DataFrame({"position": events.position, "stream": bits}))
    assert live.history.bad
    both = found.join(pl.concat(told), on="position")
    assert len(both) == len(found)
    assert both["bits"].to_list() == both["stream"].to_list()
