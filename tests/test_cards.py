"""Cards of users: what is usual for each, where a web service finds it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.couch_server import INSTALL, Server, binary
from typer.testing import CliRunner

from amiss.cli import app
from amiss.errors import UsageError
from amiss.simulate.logins import write_logins
from amiss.sinks import open_sink


def test_a_watch_keeps_profiles_where_alerts_go(tmp_path: Path) -> None:
    """A document for each user of a closed day, with what is usual; alerts are documents of the same database."""
    if binary() is None:
        pytest.skip(f"no server to start: {INSTALL}")
    server = Server(tmp_path)
    try:
        database = server.database()
        log = tmp_path / "logins.csv"
        write_logins(log, users=40, days=5, seed=7)
        options = ["--state", str(tmp_path / "state.db"), "--until-eof", "--alert", f"{database.url}?profiles=1"]
        ran = CliRunner().invoke(app, ["watch", str(log), *options])
        assert ran.exit_code == 0, ran.output
        profiles = [each for each in database.documents() if each["type"] == "profile"]
        assert len(profiles) > 20
        known = next(each for each in profiles if each["days"] > 2)
        assert known["_id"] == f"profile:{known['user']}"
        assert set(known["detectors"]) == {"sequence", "habit", "login"}
        assert {"countries", "devices", "hours", "earlier logins"} <= known["usual"]["login"].keys()
    finally:
        server.stop()


def test_the_option_is_0_or_1() -> None:
    """Anything else is refused."""
    with pytest.raises(UsageError, match=r'profiles in a CouchDB address is 0 or 1\. Found: "yes"'):
        open_sink("couchdb://localhost/alerts?profiles=yes")
