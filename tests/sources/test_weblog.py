"""Requests as actions, few enough to learn from."""

from __future__ import annotations

import random
import string
from pathlib import Path

import polars as pl
import pytest

from amiss.sources import open_source
from amiss.sources.weblog import template

AGENT = '"http://ref.example/" "Mozilla/5.0 (a \\"quoted\\" agent)"'


def read(tmp_path: Path, *lines: str) -> pl.DataFrame:
    """The events of an access log of these lines."""
    path = tmp_path / "access.log"
    path.write_text("".join(line + "\n" for line in lines))
    return pl.concat([frame for frame, _ in open_source(str(path)).read()])


def request(text: str, status: int = 200, host: str = "10.0.0.1", user: str = "-") -> str:
    """A line of a combined log."""
    return f'{host} - {user} [17/May/2015:10:05:03 +0000] "{text}" {status} 512 {AGENT}'


@pytest.mark.parametrize(
    ("path", "action"),
    [
        ("/", "GET /"),
        ("/login", "GET /login"),
        ("/login?next=/admin&token=abc", "GET /login"),
        ("/user/4711/orders", "GET /user/{id}/orders"),
        ("/user/123e4567-e89b-12d3-a456-426614174000", "GET /user/{id}"),
        ("/file/d41d8cd98f00b204e9800998ecf8427e", "GET /file/{id}"),
        ("/s/PRmiXeptR36kaC0GEAetxp", "GET /s/{id}"),
        ("/2015/05/17/", "GET /{id}/{id}/{id}/"),
        ("/day/2015-05-17", "GET /day/{id}"),
        ("/images/jordan-80.png", "GET /images/*.png"),
        ("/a/b/c/d/e.css", "GET /a/b/…/*.css"),
        ("/a/b/c/d", "GET /a/b/…/*"),
        ("/blog/how-to-write-a-blog.html", "GET /blog/{id}.html"),
        ("/wp-login.php", "GET /wp-login.php"),
        ("/wp-admin/admin-ajax.php", "GET /wp-admin/admin-ajax.php"),
        ("/search/a%20b%20c", "GET /search/{id}"),
        ("/x/" + "y" * 99, "GET /x/{id}"),
        ("/../../etc/passwd", "GET (path traversal)"),
        ("/%2e%2e/secret", "GET (path traversal)"),
        ("http://proxied.example/page", "GET /page"),
    ],
)
def test_paths_fold_to_templates(path: str, action: str) -> None:
    """Ids, tokens, dates, titles and assets fold; names of pages stay."""
    assert template("GET", path) == action


def test_a_request_becomes_an_event(tmp_path: Path) -> None:
    """Address or name, template, outcome, and what else the line says."""
    frame = read(tmp_path, request("GET /user/7?x=1 HTTP/1.1"), request("POST /login HTTP/1.1", 401, user="ann"))
    assert frame.select("user", "action", "outcome", "ip", "resource").rows() == [
        ("10.0.0.1", "GET /user/{id}", "success", "10.0.0.1", "/user/7?x=1"),
        ("ann", "POST /login", "failure", "10.0.0.1", "/login"),
    ]
    assert frame["user_agent"][0].startswith("Mozilla/5.0 (a ")
    assert frame["time"].dt.to_string("%F %T").to_list() == ["2015-05-17 10:05:03"] * 2


def test_common_logs_and_virtual_hosts_are_access_logs(tmp_path: Path) -> None:
    """Without referer and agent, and with the virtual host in front."""
    common = '2001:db8::1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.0" 200 -'
    frame = read(tmp_path, common, "www.example.org:443 " + request("GET / HTTP/1.1"))
    assert frame["user"].to_list() == ["2001:db8::1", "10.0.0.1"]


@pytest.mark.parametrize("text", ["-", "", "\\x16\\x03\\x01\\x02", "quit", "GET", "\\n"])
def test_broken_requests_are_kept_as_such(tmp_path: Path, text: str) -> None:
    """What is no request is an action of its own, not dropped."""
    frame = read(tmp_path, request("GET / HTTP/1.1"), request(text, 400))
    assert frame["action"].to_list() == ["GET /", "(malformed request)"]


def test_ten_thousand_scanned_paths_are_one_action(tmp_path: Path) -> None:
    """A scanner that asks for what is not there adds one action for each method and kind of answer."""
    dice = random.Random(7)
    paths = ["/" + "".join(dice.choices(string.ascii_lowercase, k=8)) for _ in range(10_000)]
    lines = [request(f"GET {path} HTTP/1.1", dice.choice((404, 403, 400, 301))) for path in paths]
    assert set(read(tmp_path, *lines)["action"]) == {"GET (not found)", "GET (forbidden)", "GET (moved)"}


def test_unknown_methods_are_one_action() -> None:
    """Invented methods do not multiply actions."""
    assert template("FOO", "/") == template("BAR", "/") == "(other method) /"


def test_lines_that_are_none_are_quarantined(tmp_path: Path) -> None:
    """A line of something else goes to the quarantine with its number."""
    path = tmp_path / "access.log"
    path.write_text(request("GET / HTTP/1.1") + "\nnot a request\n" + "1 - - " + " [" * 50_000 + "\n")
    source = open_source(str(path))
    assert sum(len(frame) for frame, _ in source.read()) == 1
    assert [bad.position for bad in source.quarantine.samples] == [2, 3]


def test_a_real_access_log_has_some_hundred_actions(shared_data: Path) -> None:
    """10,000 requests of 1,753 hosts to 1,368 paths: every line is an event, few actions."""
    source = open_source(str(shared_data / "logs/apache_combined_10k.log.gz"))
    frame = pl.concat([frame for frame, _ in source.read()])
    assert (len(frame), frame["user"].n_unique(), source.quarantine.total) == (10_000, 1753, 0)
    assert frame["action"].n_unique() < 600
    assert frame["user"].value_counts(sort=True).row(0) == ("66.249.73.135", 482)
    assert frame["outcome"].value_counts(sort=True)["count"].to_list() == [9780, 220]
