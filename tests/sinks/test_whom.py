"""Mail goes to whom it should, and to nobody that a log made up."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss import testing
from amiss.errors import SinkError, UsageError
from amiss.sinks.whom import Directory, Person, Recipients, users_address


@pytest.mark.parametrize("user", ["jane", "jane.doe", "o'neil", "a+b", "x_1", "J-D", "a"])
def test_users_have_ordinary_addresses(user):
    """Names that people have make addresses."""
    assert users_address(f"{user}@example.com") == f"{user}@example.com"


@pytest.mark.parametrize(
    "user",
    [
        *testing.HOSTILE, "", " ", "a b", "a@b", "a,b", "a;b", "<a>", '"a"', "-f", ".a", "a.", "a..b", "a%b", "a!b",
        "|sh", "/etc/passwd", "zoë", "a" * 65, "a\0b", "a:b", "a\\b", "(a)", "a`b`", "a$b",
    ],
)  # fmt: skip
def test_other_names_have_none(user):
    """Nothing that a server, or a shell behind it, would take for more than a name."""
    assert users_address(f"{user}@example.com") is None
    assert Recipients.parse("{user}@example.com").person(user) is None


@given(st.text(max_size=80))
def test_an_address_of_a_user_is_at_the_domain_that_was_given(user):
    """Whatever a user is called, mail goes there or nowhere."""
    person = Recipients.parse("{user}@example.com").person(user)
    assert person is None or (person.address == f"{user}@example.com" and "@" not in user and user.isascii())


def test_users_may_be_called_by_their_addresses():
    """`{user}` alone is the name as it is."""
    whom = Recipients.parse("{user}")
    assert whom.person("jane@example.org") == Person("jane@example.org")
    assert whom.person("jane") is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "addresses such as ann@example.com"),
        ("ann", "addresses such as ann@example.com"),
        ("ann@example.com,b c@example.com", "addresses such as"),
        ("{user}@", "expected {user} or an address such as {user}@example.com"),
        ("-{user}@example.com", "expected {user} or an address"),
        ("{user}@a.example,{user}@b.example", "expected one address with {user}, found 2"),
    ],
)
def test_recipients_that_are_none_are_refused(text, found):
    """The message says what was expected."""
    with pytest.raises(UsageError) as caught:
        Recipients.parse(text)
    assert found in str(caught.value)


def test_a_directory_gives_users_their_addresses_and_names(tmp_path):
    """Rows that give nobody an address are told; a user with two addresses has none."""
    path = tmp_path / "users.csv"
    path.write_text(
        "\ufeffname,user,email\nJane Doe,jane, jane@example.com \nBob,bob,nowhere\n,,x@example.com\n"
        ",ann,ann@a.example\n,ann,ann@b.example\n,joe,joe@example.com\n,joe,joe@example.com\n",
        encoding="utf-8",
    )
    found = Directory.read(path)
    assert found.people == {"jane": Person("jane@example.com", "Jane Doe"), "joe": Person("joe@example.com")}
    assert found.problems == [
        "line 3: no user or no valid address", "line 4: no user or no valid address",
        "line 6: ann is there twice, with two addresses",
    ]  # fmt: skip
    whom = Recipients.parse("ops@example.com", str(path))
    of_directory = f"2 users in {path}, 3 rows without an address ({found.problems[0]})"
    assert list(whom.said()) == ["ops@example.com", of_directory]


def test_a_directory_is_read_again_when_it_has_changed(tmp_path):
    """Who joins gets mail without a restart."""
    path = tmp_path / "users.csv"
    path.write_text("user,email\njane,jane@example.com\n")
    whom = Recipients.parse("", str(path))
    assert whom.person("bob") is None
    path.write_text("user,email\nbob,bob@example.com\n")
    os.utime(path, ns=(1, 1))
    assert whom.person("bob") == Person("bob@example.com")
    assert whom.person("jane") is None


def test_the_directory_goes_before_the_pattern(tmp_path):
    """Who is not in it is reached by the pattern, where there is one with a domain."""
    path = tmp_path / "users.csv"
    path.write_text("user,email\njane,doe@example.org\n")
    whom = Recipients.parse("{user}@example.com", str(path))
    assert (whom.person("jane").address, whom.person("bob").address) == ("doe@example.org", "bob@example.com")
    assert Recipients.parse("{user}", str(path)).person("bob@example.com") is None


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), (b"name,mail\n", "missing: user, email"), (b"user,email\n\xff,x\n", "no CSV in UTF-8")],
)
def test_a_directory_that_cannot_be_read_is_said(tmp_path, content, said):
    """Which file, and why."""
    path = tmp_path / "users.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SinkError, match=rf"users\.csv: .*{said}"):
        _ = Recipients.parse("", str(path)).book.directory
