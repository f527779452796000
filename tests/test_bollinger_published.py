"""The bands that analysts of a real curriculum log published, row by row.

They printed 315 rows: date, count (`pages`), mean, upper and lower band, %b. Of most users only flagged days were
printed, so that the counts between are not known, and the series is only known

* from its first day, where an analyst began to print there (32 rows);
* as one earlier day and a silence, where no other integers give the printed digits, or where the silence was so long
  that the day before it says nothing any more (30 rows);
* from the row before, where the days between are printed or must have been silent to give the digits (22 rows).

These 84 rows are formed from counts below; they tell which span and k a block has, also where the notebook names
another. For all 315 there must be a past that leads to them: mean and deviation before the day follow from those behind
it. The counts of the other 231 cannot be known: days between them were not printed.
"""

from __future__ import annotations

import csv
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from amiss import bollinger
from amiss.bollinger import Width, most_deviations
from amiss.bollinger_kernel import follow

LONG = 400


class Row(NamedTuple):
    """A printed row; `span` and `k` as the notebook names them, NaN where it names none."""

    date: date
    pages: float
    mid: float
    upper: float
    lower: float
    pct_b: float
    user: str
    notebook: str
    span: float
    k: float


@pytest.fixture(scope="module")
def rows(shared_data: Path) -> list[Row]:
    """All printed rows."""
    with (shared_data / "curriculum" / "bollinger_published_rows.csv").open(encoding="utf-8") as file:
        return [_row(each) for each in csv.DictReader(file)]


def _row(each: dict[str, str]) -> Row:
    figures = [float(each[name]) for name in ("pages", "midband", "ub", "lb", "pct_b")]
    named = [float(each[name] or "nan") for name in ("span_in_nb", "weight_in_nb")]
    return Row(date.fromisoformat(each["date"]), *figures, each["user_id"], each["first_notebook"], *named)


BLOCKS = {
    "Balraj": (30, 3.0),
    "Desiree": (30, 3.0),
    "CSolitaire": (30, 3.0),
    "Team-Ferret": (30, 2.0),
    "ljackson": (30, 2.0),
    "o0amanda": (30, 2.0),
    "manuelparra": (14, 2.0),
}
"""Span and k of series of all users, by notebook; Team-Ferret names k = 3, and drew these with 2."""

TWO_DAYS = [
    ("2018-03-09", "", 9, 3.5, 6, 36), ("2019-02-25", "", 1, 3.5, 3, 139),
    ("2019-05-06", "", 1, 3.5, 1, 103), ("2019-07-25", "", 1, 3.5, 1, LONG),
    ("2019-12-13", "", 6, 3.5, 1, LONG), ("2020-02-11", "", 793, 3.5, 1, LONG),
    ("2020-02-15", "", 6, 3.5, 1, LONG), ("2020-02-24", "", 1, 3.5, 1, LONG),
    ("2020-06-27", "", 4, 3.5, 1, LONG), ("2020-07-01", "", 5, 3.5, 1, LONG),
    ("2020-07-04", "", 1, 3.5, 1, LONG), ("2021-03-30", "", 10, 3.5, 1, 38),
    ("2021-04-07", "", 11, 3.5, 5, 41), ("2021-04-14", "", 4, 3.5, 1, 33),
    ("2021-04-14", "", 12, 3.0, 3, 20), ("2021-04-19", "", 27, 3.5, 1, 52),
    ("2021-04-21", "", 2, 3.0, 3, 34), ("2020-01-13", "120", 6, 3.5, 1, LONG),
    ("2019-03-20", "126", 1, 3.5, 1, 209), ("2020-12-16", "156", 12, 3.5, 1, LONG),
    ("2020-09-13", "210", 4, 3.5, 1, LONG), ("2020-12-24", "232", 1, 3.5, 1, LONG),
    ("2020-07-13", "268", 1, 3.5, 1, LONG), ("2020-02-18", "341", 3, 3.5, 1, 196),
    ("2020-02-18", "341", 3, 3.0, 1, 196), ("2020-02-18", "341", 2, 3.5, 2, 192),
    ("2020-11-04", "522", 7, 3.5, 1, 217), ("2021-04-06", "920", 14, 3.0, 1, 21),
    ("2020-05-12", "93", 16, 3.5, 1, LONG), ("2019-09-12", "94", 16, 3.5, 1, LONG),
]  # fmt: skip
"""Date, user, pages and k of a row; pages on one earlier day, and days of silence between."""

CONTINUED = [
    ("2018-07-09", "2018-07-10", "", 30, 2.0, 165), ("2018-07-10", "2018-07-11", "", 30, 2.0, 166),
    ("2018-07-11", "2018-07-12", "", 30, 2.0, 167), ("2018-07-12", "2018-07-13", "", 30, 2.0, 168),
    ("2021-04-17", "2021-04-18", "", 14, 2.0, LONG), ("2021-04-18", "2021-04-19", "", 14, 2.0, LONG),
    ("2021-04-19", "2021-04-20", "", 14, 2.0, LONG), ("2021-04-20", "2021-04-21", "", 14, 2.0, LONG),
    ("2019-05-03", "2019-05-04", "", 30, 3.0, LONG), ("2020-10-01", "2020-10-30", "", 30, 3.0, LONG),
    ("2018-07-02", "2018-07-03", "130", 30, 3.5, 120), ("2020-07-13", "2020-07-14", "268", 30, 3.5, LONG),
    ("2019-01-09", "2019-04-06", "3", 30, 3.5, LONG), ("2019-01-09", "2019-04-06", "3", 30, 3.65, LONG),
    ("2020-02-18", "2020-03-10", "341", 30, 3.5, LONG), ("2020-02-18", "2020-03-10", "341", 30, 3.0, LONG),
    ("2020-10-03", "2020-10-25", "341", 30, 3.0, LONG), ("2021-02-08", "2021-02-11", "570", 30, 3.0, LONG),
    ("2018-10-16", "2018-11-15", "68", 30, 3.0, LONG), ("2019-08-07", "2019-08-08", "68", 30, 3.0, LONG),
    ("2021-03-25", "2021-03-29", "948", 30, 2.0, 10), ("2021-04-17", "2021-04-18", "948", 30, 2.0, 33),
]  # fmt: skip
"""A row, the row it continues to, the user, span, k, and how many days the series has with the first of the two."""


def formed(counts: list[int], span: float, k: float) -> list[tuple[float, ...]]:
    """mid, upper, lower, pct_b of each day of a series."""
    columns = {"series": [0] * len(counts), "period": range(len(counts)), "count": counts}
    frame = pl.DataFrame(columns, schema=bollinger.COUNT_SCHEMA)
    return bollinger.bands(frame, Width(span, k)).select("mid", "upper", "lower", "pct_b").rows()


def printed(row: Row) -> tuple[float, ...]:
    """The same four of a row."""
    return row.mid, row.upper, row.lower, row.pct_b


def begun(rows: list[Row]) -> list[tuple[Row, tuple[float, ...]]]:
    """Rows of series printed from their first day, whose count follows from the second mean; their bands as formed."""
    found = []
    days = [date(2018, 1, 27) + timedelta(days=number) for number in range(10)]
    for first in (row for row in rows if row.date in (days[0], days[6]) and not row.user):
        block = [row for row in rows if row.notebook == first.notebook and row.date in days]
        span, k = next(said for name, said in BLOCKS.items() if first.notebook.lower().startswith(name.lower()))
        ratio = (span - 1) / (span + 1)
        start = (first.mid * (1 + ratio) - first.pages) / ratio
        assert start == pytest.approx(round(start), abs=2e-5)
        series = formed([round(start), *(int(row.pages) for row in block)], span, k)
        found += zip(block, series[1:], strict=True)
    return found


def test_series_printed_from_their_first_day_come_out(rows: list[Row]):
    """All 32 rows of these series fit to a millionth."""
    for row, band in begun(rows):
        assert band == pytest.approx(printed(row), abs=1e-6)
    assert len(begun(rows)) == 32


def test_the_five_days_of_all_users_come_out():
    """572, 230, 170, 830, 652 pages a day, span 30, k 3: what most notebooks printed."""
    found = formed([572, 230, 170, 830, 652], 30, 3)
    assert [row[0] for row in found] == pytest.approx([572, 395.3, 315.139578, 457.002386, 501.369064], abs=1e-6)
    std = [(upper - mid) / 3 for mid, upper, _, _ in found[1:]]
    assert std == pytest.approx([241.830519, 213.878138, 316.467837, 284.479727], abs=1e-6)
    assert [row[3] for row in found[1:]] == pytest.approx([0.386077, 0.386899, 0.696438, 0.588249], abs=1e-6)
    assert found[0][1:] == (None, None, None)


def behind_silence(rows: list[Row]) -> list[Row]:
    """Rows that are an earlier day, silence, and the day itself."""
    found = []
    for day, user, pages, k, before, silence in TWO_DAYS:
        band = formed([before, *[0] * silence, pages], 30, k)[-1]
        alike = [
            row
            for row in rows
            if (str(row.date), row.user, row.pages) == (day, user, pages)
            and printed(row) == pytest.approx(band, abs=1.01e-6)
        ]
        assert len(alike) == 1, (day, user)
        found += alike
    return found


def test_days_behind_a_silence_come_out(rows: list[Row]):
    """30 rows fit to a millionth."""
    assert len({*behind_silence(rows)}) == 30


def _before(row: Row, span: float, k: float, days: int) -> tuple[float, float]:
    """Mean and variance (not corrected) behind the day of a row, the last of so many days."""
    ratio = (span - 1) / (span + 1)
    total, squares = (1 - ratio**days) / (1 - ratio), (1 - ratio ** (2 * days)) / (1 - ratio**2)
    return row.mid, ((row.upper - row.lower) / 2 / k) ** 2 * (total**2 - squares) / total**2


def continued(
    moments: tuple[float, float], days: int, counts: list[float], *, span: float, k: float
) -> tuple[float, ...]:
    """mid, upper, lower, pct_b of the last of `counts`, behind days of that mean and variance."""
    mean, variance = moments
    past = np.random.default_rng(1).exponential(size=days)
    weights = ((span - 1) / (span + 1)) ** np.arange(days)[::-1]
    middle = np.average(past, weights=weights)
    spread = np.sqrt(np.average((past - middle) ** 2, weights=weights))
    series = np.concatenate([mean + (past - middle) / spread * np.sqrt(variance), counts])
    bands = (*np.empty((3, len(series)), np.int64), *np.empty((4, len(series))), np.empty(len(series), np.bool_))
    places = np.array([0, len(series)]), np.array([0])
    follow(places[1], np.arange(len(series)), series, *places, Width(span, k).factor, k, bands)
    mid, upper, lower, share = (column[-1] for column in bands[3:7])
    return mid, upper, lower, share


def after_another(rows: list[Row]) -> list[Row]:
    """Rows to which another leads, within what its rounding leaves open."""
    found = []
    for before, after, user, span, k, days in CONTINUED:
        firsts = [row for row in rows if (str(row.date), row.user) == (before, user)]
        nexts = [row for row in rows if (str(row.date), row.user) == (after, user)]
        silence = (date.fromisoformat(after) - date.fromisoformat(before)).days - 1
        fits = {
            last
            for first in firsts
            for last in nexts
            if continued(_before(first, span, k, days), days, [*[0.0] * silence, last.pages], span=span, k=k)
            == pytest.approx(printed(last), abs=5e-6)
        }
        assert fits, (before, after, user)
        found += fits
    return found


def test_rows_follow_from_the_row_before(rows: list[Row]):
    """22 steps from row to row fit."""
    assert len(after_another(rows)) == 22


def test_so_many_rows_can_be_formed(rows: list[Row]):
    """Of the 315, 84 are formed from counts; of the others the counts between were not printed."""
    together = {*(row for row, _ in begun(rows)), *behind_silence(rows), *after_another(rows)}
    assert (len(together), len(rows)) == (84, 315)


def test_every_row_has_a_past_that_leads_to_it(rows: list[Row]):
    """For all 315 rows mean and variance before the day can be found, and with them upper, lower and %b come out."""
    for row in rows:
        span = 30.0 if np.isnan(row.span) else row.span
        most = most_deviations(span) / abs(2 * row.pct_b - 1)
        k = 2.0 if np.isnan(row.k) or row.k > most else row.k
        days = 2000
        mid, variance = _before(row, span, k, days)
        newest = 2 / (span + 1)
        mean = (mid - newest * row.pages) / (1 - newest)
        earlier = variance / (1 - newest) - newest * (row.pages - mean) ** 2
        assert earlier > -1e-5 * max(1.0, row.pages), row
        last = continued((mean, max(0.0, earlier)), days, [row.pages], span=span, k=k)
        assert last[:3] == pytest.approx(printed(row)[:3], abs=2e-3, rel=1e-5), row
        share = (row.pages - row.lower) / (row.upper - row.lower)
        assert share == pytest.approx(row.pct_b, abs=1.5e-6 + 1.5e-6 / (row.upper - row.lower)), row
    assert len(rows) == 315


def test_the_same_series_is_as_much_wider_as_its_k(rows: list[Row]):
    """25 rows were printed with one k by one notebook, and with another by another: user 1 and 341 among them."""
    pairs = 0
    for row in rows:
        for other in rows:
            same = (row.date, row.pages, row.mid, row.user) == (other.date, other.pages, other.mid, other.user)
            if same and row.k < other.k and row.upper < other.upper - 1e-3:
                assert (other.upper - other.mid) / (row.upper - row.mid) == pytest.approx(other.k / row.k, rel=1e-4)
                pairs += 1
    assert pairs == 18
