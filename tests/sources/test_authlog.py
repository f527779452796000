"""Lines of auth logs as events of who tries."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from amiss.fields import FieldChoice
from amiss.sources import open_source
from amiss.sources.authlog import read_message

START = "Dec 10 06:55:46 LabSZ sshd[24200]: "
FAILED = "Failed password for root from 10.0.0.9 port 22 ssh2"


@pytest.mark.parametrize(
    ("text", "event"),
    [
        (FAILED, ("10.0.0.9", "failed password", "failure", "root")),
        (
            "Failed password for invalid user a b from 10.0.0.9 port 22 ssh2",
            ("10.0.0.9", "failed password for invalid user", "failure", "a b"),
        ),
        (
            "Failed none for invalid user  from ::1 port 2 ssh2",
            ("::1", "failed none for invalid user", "failure", None),
        ),
        (
            "Accepted publickey for ann from 2001:db8::1 port 22 ssh2: RSA SHA256:x",
            ("2001:db8::1", "accepted publickey", "success", "ann"),
        ),
        ("Invalid user  0101 from 10.0.0.9", ("10.0.0.9", "invalid user", "failure", "0101")),
        ("Connection closed by 10.0.0.9 [preauth]", ("10.0.0.9", "connection closed", "unknown", None)),
        (
            "Connection closed by authenticating user root 10.0.0.9 port 22 [preauth]",
            ("10.0.0.9", "connection closed", "unknown", "root"),
        ),
        ("Received disconnect from 10.0.0.9: 11: Bye Bye [preauth]", ("10.0.0.9", "disconnect", "unknown", None)),
        (
            "reverse mapping checking getaddrinfo for ns.x.com [10.0.0.9] failed - POSSIBLE BREAK-IN ATTEMPT!",
            ("10.0.0.9", "break-in attempt (reverse mapping)", "failure", None),
        ),
        (
            "pam_unix(sshd:auth): authentication failure; logname= uid=0 tty=ssh ruser= rhost=10.0.0.9  user=root",
            ("10.0.0.9", "authentication failure", "failure", "root"),
        ),
        ("Something new from 10.0.0.9 today", ("10.0.0.9", "other message", "unknown", None)),
    ],
)
def test_sshd_lines_are_events_of_the_address(text: str, event: tuple[str, str, str, str | None]) -> None:
    """Who tries is the address; the account tried is beside it."""
    found = read_message("sshd", text)
    assert found is not None
    user, action, outcome, ip, account, _ = found
    assert (user, action, outcome, account) == event
    assert ip == user


@pytest.mark.parametrize("text", ["pam_unix(sshd:auth): check pass; user unknown", "Server listening on 0 port 22."])
def test_lines_about_nobody_are_no_events(text: str) -> None:
    """Without an address nobody can be judged."""
    assert read_message("sshd", text) is None


def test_sudo_and_su_are_events_of_the_account() -> None:
    """On the machine itself the account is the user."""
    sudo = "ann : TTY=pts/0 ; PWD=/home/ann ; USER=root ; COMMAND=/usr/bin/apt update"
    refused = "eve : user NOT in sudoers ; TTY=pts/1 ; PWD=/ ; USER=root ; COMMAND=/bin/sh"
    assert read_message("sudo", sudo) == ("ann", "sudo apt", "success", None, "root", "/usr/bin/apt update")
    assert read_message("sudo", refused) == ("eve", "sudo (refused)", "failure", None, "root", "/bin/sh")
    assert read_message("su", "FAILED SU (to root) eve on pts/1") == ("eve", "su", "failure", None, "root", None)
    assert read_message("cron", "anything 10.0.0.9") is None


def read(tmp_path: Path, *lines: str, **options: int) -> tuple[pl.DataFrame, dict[str, int]]:
    """Events of an auth log and what was skipped."""
    path = tmp_path / "auth.log"
    path.write_text("".join(line + "\n" for line in lines))
    source = open_source(str(path), year=options.get("year"))
    return pl.concat([frame for frame, _ in source.read()]), source.skipped


def test_repeated_messages_are_repeated_events(tmp_path: Path) -> None:
    """`message repeated 5 times` is five events, a boast of millions is bounded."""
    frame, _ = read(tmp_path, START + f"message repeated 5 times: [ {FAILED}]", START + FAILED)
    assert frame["position"].to_list() == [1, 1, 1, 1, 1, 2]
    frame, _ = read(tmp_path, START + f"message repeated 99999999 times: [ {FAILED}]")
    assert len(frame) == 1000


def test_the_year_of_syslog_is_given_or_inferred(tmp_path: Path) -> None:
    """The year of the first line as given; January after it is the next year."""
    frame, _ = read(tmp_path, START + FAILED, (START + FAILED).replace("Dec 10", "Jan  1"), year=2015)
    assert frame["time"].dt.to_string("%F").to_list() == ["2015-12-10", "2016-01-01"]


@pytest.mark.parametrize(
    "start",
    [
        "2024-05-01T10:00:00.123456+02:00 host sshd[1]: ",
        "<34>1 2024-05-01T08:00:00.123456Z host sshd 1 ID47 - ",
        '<34>1 2024-05-01T08:00:00.123456Z host sshd 1 - [meta a="b"] ',
    ],
)
def test_newer_syslog_forms_are_read(tmp_path: Path, start: str) -> None:
    """ISO times, as newer systems write them, and RFC 5424."""
    frame, _ = read(tmp_path, start + FAILED)
    assert frame.select("user", "device").rows() == [("10.0.0.9", "host")]
    assert frame["time"].dt.to_string("%F %T%.6f").to_list() == ["2024-05-01 08:00:00.123456"]


def test_accounts_may_be_judged_instead(tmp_path: Path) -> None:
    """Pinning the user to the account asks who is attacked."""
    path = tmp_path / "auth.log"
    path.write_text(START + FAILED + "\n")
    frame, _ = next(open_source(str(path), fields=FieldChoice(user="account")).read())
    assert frame["user"].to_list() == ["root"]


def test_a_real_sshd_log_is_read(shared_data: Path) -> None:
    """2,000 lines: 523 and more failed passwords, one accepted; every line is an event or counted as skipped."""
    source = open_source(str(shared_data / "logs/OpenSSH_2k.log"))
    frame = pl.concat([frame for frame, _ in source.read()])
    assert source.quarantine.total == 0
    assert frame["position"].n_unique() + source.skipped["not an event of a user"] == 2000
    accepted = frame.filter(pl.col("action") == "accepted password")
    assert accepted.select("user", "other_user", "outcome").rows() == [("119.137.62.142", "fztu", "success")]
    assert frame["action"].str.starts_with("failed password").sum() == 528
    assert "other message" not in frame["action"]
