"""The report is one page that loads nothing, and that no name in a log can break."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import polars as pl
import pytest

import amiss
from amiss import report

TAGS = (
    "a b bdi body caption code dd details div dl dt figcaption figure footer g h1 h2 h3 head header html li line link "
    "main meta ol p path rect section small span style summary sup svg table tbody td text th thead title tr ul"
)
HOSTILE = (
    "<script>alert('user')</script>",
    "</svg></style>\"'><img src=x onerror=alert(1)>",
    "\x1b[31mred\x00\u202egnp\nnext",
    "{{ 7 * 7 }}{% raw %}",
    "x" * 10_000,
)


class Page(HTMLParser):
    """What a browser would find: tags, attributes, text by tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        """Note a tag and its attributes."""
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.open.append(tag)

    def handle_endtag(self, tag):
        """Close a tag."""
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        """Note text under the innermost tag."""
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def values(self, name):
        """The values of an attribute, over all tags."""
        return [value for _, found, value in self.attributes if found == name]


def events(users=None, *, odd=(3,), count=24):
    """A day on which users log in, look and buy; odd ones delete things over and over."""
    rows = []
    for number in range(count):
        name = dict(enumerate(users or ())).get(number, f"user{number}")
        actions = ["login", *["view_item"] * (3 + number % 4), "buy_item", "logout"]
        if number in odd:
            actions = ["login", *["delete_item", "view_item"] * 20]
        start = datetime(2026, 1, 5, 8, tzinfo=UTC) + timedelta(minutes=5 * number)
        outcomes = ["failure" if number % 5 == 4 and action == "login" else "success" for action in actions]
        times = [start + timedelta(seconds=7 * step) for step in range(len(actions))]
        rows += zip(times, [name] * len(actions), actions, outcomes, strict=True)
    return pl.DataFrame(rows, schema=["time", "user", "action", "outcome"], orient="row").sort("time")


@pytest.fixture(scope="module")
def result():
    """A scan of one odd user among 24."""
    return amiss.scan(events())


@pytest.fixture(scope="module")
def html(result):
    """Its report."""
    return report.render(result)


@pytest.fixture(scope="module")
def page(html):
    """Its report, as a browser reads it."""
    return Page(html)


def test_the_headline_says_who_stands_out(page):
    """The first thing to read is the answer."""
    assert "".join(page.texts["title"]).startswith("user3 stands out")


def test_nothing_is_loaded_and_nothing_runs(html, page):
    """No address outside the page, no script, no handler, no inline style."""
    assert "//" not in html
    assert page.tags <= {*TAGS.split(" ")}
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name in {"style", "src", "srcset"}]
    assert all(value.startswith("#") or value == "data:," for value in page.values("href"))


def test_the_policy_allows_only_the_style_of_the_page(html, page):
    """Even if markup got in, a browser would neither run nor load it."""
    style = html.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    assert policy in page.values("content")


def test_every_link_leads_to_a_story(page):
    """Ranked users link to their story below; ids are not used twice."""
    ids = page.values("id")
    assert len(ids) == len(set(ids)) == 20
    assert {value[1:] for value in page.values("href") if value.startswith("#")} == set(ids)


def test_hostile_users_and_actions_stay_text():
    """Names appear as text, with control characters spelled out, and bring no tag into the page."""
    odd = events(HOSTILE, odd=range(5)).with_columns(pl.col("action").replace("delete_item", HOSTILE[1]))
    html = report.render(amiss.scan(odd))
    found = Page(html)
    assert found.tags <= {*TAGS.split(" ")}
    assert "alert(1)" not in "".join(found.texts.get("script", []))
    assert not {"\x1b", "\x00", "\u202e"} & set(html)
    assert "<script>alert('user')</script>" in "".join(found.texts["bdi"])
    assert "\\x1b[31mred\\x00\\u202egnp\\nnext" in "".join(found.texts["bdi"])
    assert "{{ 7 * 7 }}{% raw %}" in "".join(found.texts["bdi"])
    assert "x" * 1000 not in html


def test_rows_that_could_not_be_read_are_shown_harmlessly(tmp_path):
    """Quarantined rows are counted and quoted as text."""
    log = tmp_path / "app.jsonl"
    good = '{"time": "2026-01-05T08:00:00Z", "user": "ann", "action": "login", "outcome": "success"}\n'
    log.write_text(good * 20 + '<script>alert("row")</script>\x1b[31m\n' + good)
    html = report.render(amiss.scan(log))
    assert "&lt;script&gt;alert(&#34;row&#34;)&lt;/script&gt;\\x1b[31m" in html
    assert Page(html).tags <= {*TAGS.split(" ")}


def test_a_report_of_nobody_odd_says_so():
    """No alerts make a headline too."""
    assert "<bdi>Nobody stands out.</bdi>" in report.render(amiss.scan(events(odd=()), budget="0.001/day"))


def test_a_single_user_is_told_without_comparison():
    """With nobody to compare to, the page leaves the comparison out."""
    html = report.render(amiss.scan(events(count=1)))
    assert "What sets them apart" not in html
    assert "Their stories" in html


def test_an_ordinary_user_is_shown_beside_the_first(page):
    """The comparison names two users."""
    assert page.texts["bdi"].count("user3") == 3
    assert "card" in page.values("class")


def test_a_long_story_is_abridged():
    """Events that are left out are counted."""
    later = [events().with_columns(pl.col("time") + timedelta(minutes=10 * step)) for step in range(6)]
    assert re.search(r" [\d,]+ more, [+-][\d.]+ bits together", report.render(amiss.scan(pl.concat(later))))


def test_the_report_is_written_as_utf8(result, tmp_path):
    """The file holds the page."""
    result.report(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_report_that_cannot_be_written_says_where(result, tmp_path):
    """A missing directory is a clear error."""
    with pytest.raises(amiss.SinkError, match=r"nowhere.report\.html cannot be written: No such file"):
        report.write_report(result, tmp_path / "nowhere" / "report.html")


def test_a_report_of_three_thousand_users_is_small(shared_data):
    """The page of a day of the marketplace stays under 1.5 MB."""
    log = pl.read_csv(shared_data / "marketplace" / "seed001_3000users_day2.csv.gz").drop("uidx", "realtype")
    assert len(report.render(amiss.scan(log)).encode()) < 1_500_000


def test_a_notebook_shows_an_escaped_table():
    """The notebook form ranks users and escapes their names."""
    html = report.html_repr(amiss.scan(events(HOSTILE)))
    assert Page(html).tags == {"div", "p", "b", "table", "thead", "tbody", "tr", "th", "td"}
    assert "{{ 7 * 7 }}{% raw %}" in html
