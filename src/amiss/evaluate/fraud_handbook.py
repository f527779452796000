"""Card transactions of the Fraud Detection Handbook: which are frauds, without labels and with verdicts a week late.

Customers are users; who used the same terminal is near. The book's protocol: train from 2018-07-25 to 31, test from
08-08 to 14; a card whose fraud is known (a week after it) is not judged any more. Figures: the area under the ROC curve
and the average precision over transactions, and card precision@100: the share of compromised cards among the hundred
with most bits each day, where who was found is not looked at again.

Without labels nothing but amounts is known. With feedback each fraud is confirmed a week late, alerted of or not, with
the effect that it has in a watch: what is confirmed no longer teaches what is normal, and is known to be bad.

Source: Le Borgne, Siblini, Lebichot, Bontempi 2022, "Reproducible Machine Learning for Credit Card Fraud Detection -
Practical Handbook", chapters 3 and 7; whose simulated data these are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from amiss import evidence
from amiss.baseline import merge
from amiss.detect import Witnesses, coding
from amiss.detect.purchase import Purchase
from amiss.engine import History, Panel
from amiss.errors import SourceError
from amiss.evaluate.measured import Figure, Measured
from amiss.evaluate.ranking import auc, average_precision, rounded
from amiss.network import PURCHASE
from amiss.sessions import Events, Last, group
from amiss.tally import summaries

FILE: Final = "transactions.parquet"
DIGEST: Final = "07f2f9443818f9facf5bb8e845cac099c3306db3addad5332fbc6234f7760d75"
"""SHA-256 of the file."""

TRAINING: Final = date(2018, 7, 25)
VALIDATION: Final = date(2018, 8, 1)
TEST: Final = date(2018, 8, 8)
WEEK: Final = 7
DELAY: Final = 7
"""Days after which it is known that a transaction was a fraud."""

BEGIN: Final = TRAINING - timedelta(55)
"""The first day that is read: what the window of a first verdict's day needs, and a month of verdicts."""

CARDS: Final = 100
BOOK: Final = (
    ("the book: logistic regression, with labels", "test", 0.871, 0.606, 0.291),
    ("the book: random forest, with labels", "test", 0.867, 0.658, 0.287),
    ("the book: autoencoder", "validation", 0.836, 0.180, 0.217),
    ("the book: isolation forest", "validation", 0.808, 0.164, 0.190),
)
WEEKS: Final[Mapping[str, date]] = {"training": TRAINING, "validation": VALIDATION, "test": TEST}
"""The weeks of the book, by their first days."""

DETECTOR: Final = Purchase(degrees=2)
FEEDBACK: Final = "amiss, with feedback a week late"
UNLABELLED: Final = "amiss, no labels"

Floats = NDArray[np.float64]


def evaluate(data: Path) -> Measured:
    """The book's figures, without labels and with feedback; the headline is with feedback on the test week.

    Parameters
    ----------
    data
        The file of all transactions (`transactions.parquet`), or a directory that holds it.

    Raises
    ------
    SourceError
        If it is not the published one.
    """
    log = cards(read(data))
    coded = with_networks(log)
    feedback = judged(log, coded, VALIDATION, TEST + timedelta(WEEK - 1), delay=DELAY)
    ways = {FEEDBACK: feedback, UNLABELLED: judged(log, coded, VALIDATION, TEST + timedelta(WEEK - 1))}
    rows: list[Mapping[str, Figure]] = [
        {"way": way, "week": week, **rounded(figures(of_week(found, log, WEEKS[week])))}
        for way, found in ways.items()
        for week in ("test", "validation")
    ]
    scored = of_week(feedback, log, TEST)
    rows += [dict(zip(("way", "week", "auc", "ap", "card_precision_100"), each, strict=True)) for each in BOOK]
    said = f"{len(scored):,} transactions of the test week, {int(scored['fraud'].sum())} of them frauds"
    headline = {name: rows[0][name] for name in ("auc", "ap", "card_precision_100")}
    return Measured("fraud-handbook", tuple(rows), said, headline)


def read(data: Path) -> pl.DataFrame:
    """The transactions as they are published.

    Raises
    ------
    SourceError
        If they are not there, or others.
    """
    file = data if data.is_file() else data / FILE
    try:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise SourceError(f"{data} holds no {FILE}: {error.strerror}") from error
    if found != DIGEST:
        raise SourceError(f"{file} is not the published file: its SHA-256 is {found}; expected {DIGEST}")
    return pl.read_parquet(file)


def cards(rows: pl.DataFrame, first: date = BEGIN, last: date = TEST + timedelta(WEEK - 1)) -> pl.DataFrame:
    """Transactions of some days, as a log: a friendship for each first use of a terminal, and purchases.

    Beside the columns of an event frame there are `fraud`, `scenario` and `day`.
    """
    day = pl.col("TX_DATETIME").dt.date()
    chosen = rows.filter(day.is_between(first, last)).sort("TX_DATETIME", "TRANSACTION_ID")
    bought = chosen.select(
        pl.col("TX_DATETIME").cast(pl.Datetime("us", "UTC")).alias("time"),
        pl.format("card {}", "CUSTOMER_ID").alias("user"),
        pl.lit("purchase").alias("action"),
        pl.format("terminal {}", "TERMINAL_ID").alias("other_user"),
        (100 * pl.col("TX_AMOUNT")).round().cast(pl.Int64).alias("amount_cents"),
        pl.col("TX_FRAUD").alias("fraud"),
        pl.col("TX_FRAUD_SCENARIO").alias("scenario"),
        order=2 * pl.int_range(pl.len()) + 1,
    )
    ties = bought.unique(["user", "other_user"], keep="first", maintain_order=True).with_columns(
        pl.lit("befriend").alias("action"), pl.lit(None, pl.Int64).alias("amount_cents"), pl.col("order") - 1
    )
    whole = pl.concat([ties, bought]).sort("order").drop("order")
    return whole.with_columns(
        outcome=pl.lit("success"), position=1 + pl.int_range(pl.len()), day=pl.col("time").dt.date()
    )


def with_networks(log: pl.DataFrame) -> pl.DataFrame:
    """The coded frame of a log, with what the network of each card bought."""
    return Witnesses([DETECTOR]).filled(coding([DETECTOR]).encode(log))


def judged(
    log: pl.DataFrame, coded: pl.DataFrame, first: date, last: date, *, delay: int | None = None
) -> pl.DataFrame:
    """The bits of transactions from a day to another.

    Parameters
    ----------
    log
        As :func:`cards` gives it.
    coded
        The same by :func:`with_networks`.
    first, last
        The days whose bits are given.
    delay
        Days after which frauds are confirmed; never when left out.

    Returns
    -------
    transactions
        Columns `position`, `bits`.
    """
    run, parts = Run(coded, History()), []
    for day, events in run.days():
        if delay is not None:
            run.confirm(log.filter(action="purchase", fraud=1, day=day - timedelta(delay + 1)))
        bits = run.judge(day, events)
        if first <= day <= last:
            bought = events.context["kind"] == PURCHASE
            parts.append(pl.DataFrame({"position": events.position[bought], "bits": bits[bought]}))
    return pl.concat(parts)


@dataclass
class Run:
    """Days of a log that are judged and learned from one by one, as a watch does, with verdicts in between."""

    frame: pl.DataFrame
    history: History
    verdicts: int = 0

    def days(self) -> Iterator[tuple[date, Events]]:
        """The events of each day, by user."""
        day = pl.col("time").dt.date()
        for (each,), rows in self.frame.sort("time", maintain_order=True).group_by(day, maintain_order=True):
            assert isinstance(each, date), "that is what days are"
            yield each, group(rows, Last())

    def judge(self, day: date, events: Events) -> Floats:
        """The bits of a day's events, which then are learned from."""
        pasts = self.history.before(day)
        bits = np.zeros(len(events))
        weight = None
        if any(len(past) for past in pasts.values()):
            bits = Panel.of([DETECTOR], pasts).score(events)[0].bits
            weight = evidence.weights(evidence.running(events.first, bits))
        self.history.add(day, summaries([DETECTOR], events, weight))
        self.history.forget(day)
        return bits

    def confirm(self, frauds: pl.DataFrame) -> None:
        """Take the word that these purchases of a day were frauds: they are bad, and those days of users unlearned."""
        if frauds.is_empty():
            return
        rows = self.frame.join(frauds.select("position"), on="position", how="semi")
        self.verdicts += 1
        self.history.bad[self.verdicts] = summaries([DETECTOR], group(rows, Last()))
        day = frauds["day"][0]
        known = self.history.judged.get(day, {})
        theirs = pl.col("user").is_in(rows["user"].unique().to_list())
        self.history.put(day, {name: merge([counts.filter(~theirs)]) for name, counts in known.items()})


def of_week(found: pl.DataFrame, log: pl.DataFrame, first: date) -> pl.DataFrame:
    """The transactions of a week that count, with their bits: those of cards not known as compromised by then.

    Known are the cards with frauds in the week that the book trains on, a week before the gap of the delay, and those
    with frauds of `DELAY` days before and earlier.
    """
    trained = first - timedelta(2 * WEEK)
    bad = log.filter(action="purchase", fraud=1)
    known = set(bad.filter(pl.col("day").is_between(trained, trained + timedelta(WEEK - 1)))["user"])
    parts = []
    for day in (first + timedelta(number) for number in range(WEEK)):
        known |= set(bad.filter(day=day - timedelta(DELAY + 1))["user"])
        parts.append(log.filter(pl.col("day") == day, ~pl.col("user").is_in(list(known)), action="purchase"))
    return pl.concat(parts).join(found, on="position", maintain_order="left")


def figures(found: pl.DataFrame) -> dict[str, float]:
    """The figures of the book."""
    bits, odd = found["bits"].to_numpy(), found["fraud"].to_numpy() == 1
    return {
        "auc": auc(bits, odd),
        "ap": average_precision(bits, odd),
        "card_precision_100": card_precision(found),
    }


def card_precision(found: pl.DataFrame, most: int = CARDS) -> float:
    """The share of compromised cards among those with most bits each day; who is found is not looked at again.

    Examples
    --------
    >>> rows = [(date(2018, 8, 8), "a", 3.0, 1), (date(2018, 8, 8), "b", 2.0, 0), (date(2018, 8, 9), "b", 1.0, 1)]
    >>> card_precision(pl.DataFrame(rows, schema=["day", "user", "bits", "fraud"], orient="row"), most=1)
    1.0
    """
    shares: list[float] = []
    seen: list[str] = []
    for _, rows in found.group_by("day", maintain_order=True):
        by_card = rows.filter(~pl.col("user").is_in(seen)).group_by("user").agg(pl.max("bits"), pl.max("fraud"))
        first = by_card.sort("bits", "user", descending=[True, False]).head(most)
        hits = first.filter(fraud=1)["user"].to_list()
        seen += hits
        shares.append(len(hits) / most)
    return float(np.mean(shares))
