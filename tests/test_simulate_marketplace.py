"""The simulated marketplace: the notebooks' logs event for event, profiles that are checked, output forms."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
import re
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from time import time as now

import pytest

from amiss.errors import ConfigError, SinkError, UsageError
from amiss.simulate import Event, Profile, load_profiles, simulate, write_live, write_marketplace

DAY = dt.date(2019, 1, 1)

SECOND_NOTEBOOK = {
    ("buyer", "home"): {"login:success": 0.964, "login:fail": 0.03, "password_reset": 0.005, "end": 0.001},
    ("merchant", "home"): {"login:success": 0.97, "login:fail": 0.024, "password_reset": 0.005, "end": 0.001},
    ("spammer", "home"): {"login:success": 0.7, "login:fail": 0.3},
    ("bot", "view_item:success"): {"view_item:success": 0.99, "view_item:fail": 0.01},
}
"""The rows in which the second notebook's users differ from the first's, as far as its logs tell."""

TWO_KINDS = """
[calm]
share = 3
velocity = 10
start = "home"

[calm.after]
home = { "login:success" = 0.5, "login:fail" = 0.5 }
"login:success" = { end = 1 }
"login:fail" = { end = 1 }

[odd]
share = 1
velocity = 1
start = "home"
abnormal = true

[odd.after]
home = { home = 0.5, end = 0.5 }
"""


@pytest.fixture
def profiles_file(tmp_path: Path) -> Path:
    """A file with two small kinds of users."""
    file = tmp_path / "kinds.toml"
    file.write_text(TWO_KINDS)
    return file


def _golden(shared_data: Path, name: str) -> list[tuple[str, ...]]:
    """The rows of a published log."""
    with gzip.open(shared_data / "marketplace" / name, "rt", newline="") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


def _cells(events: list[Event]) -> list[tuple[str, ...]]:
    """Events as the rows of a published log."""
    return [
        (f"{time:%Y-%m-%d %H:%M:%S}", user, path, status, user.removeprefix(kind), kind)
        for time, user, path, status, kind in events
    ]


def _second_notebook_profiles() -> list[Profile]:
    """The kinds of users of the second notebook."""
    return [
        replace(
            kind, after={action: SECOND_NOTEBOOK.get((kind.name, action), row) for action, row in kind.after.items()}
        )
        for kind in load_profiles()
    ]


def test_the_first_notebook_s_log_comes_out_byte_for_byte(shared_data: Path, tmp_path: Path) -> None:
    """1,000 users from seed 42 make 13,586 events, each with the same second, user, path and status."""
    output = tmp_path / "log.csv"
    report = write_marketplace(output, users=1000, like_seed=True)
    assert (report.events, report.users) == (13_586, 1000)
    rows = list(csv.reader(io.StringIO(output.read_text())))
    assert rows[0] == ["time", "user", "path", "status", "uidx", "realtype"]
    assert [tuple(row) for row in rows[1:]] == _golden(shared_data, "seed000_1000users_day1.csv.gz")


def test_both_days_of_the_second_notebook_come_out_event_for_event(shared_data: Path) -> None:
    """3,000 users, 200 more on the second day of whom 3,000 come: 69,095 and 81,832 events."""
    events = list(
        simulate(
            _second_notebook_profiles(), users=3000, days=2, new_users_per_day=200, active_users=3000, like_seed=True
        )
    )
    assert _cells(events[:69_095]) == _golden(shared_data, "seed001_3000users_day1.csv.gz")
    assert _cells(events[69_095:]) == _golden(shared_data, "seed001_3000users_day2.csv.gz")


def test_the_marketplace_has_the_six_kinds_of_the_notebook() -> None:
    """Shares as printed, which sum to 0.99, and the longest gaps."""
    kinds = {kind.name: (kind.share, kind.velocity, kind.start, kind.abnormal) for kind in load_profiles()}
    assert kinds == {
        "buyer": (0.49, 40, "home", False),
        "merchant": (0.49, 50, "home", False),
        "bot": (0.003, 5, "home", True),
        "spammer": (0.003, 10, "home", True),
        "fraudster": (0.002, 15, "home", True),
        "attacker": (0.002, 5, "login:fail", True),
    }


def test_every_action_of_the_marketplace_is_a_legal_one() -> None:
    """The notebook's list of actions, with the comma that it lacks: logout and password_reset are two."""
    paths = {action.partition(":")[0] for kind in load_profiles() for row in kind.after.values() for action in row}
    assert paths == {
        *("home", "login", "password_reset", "logout", "buy_item", "view_item", "sell_item", "view_profile"),
        *("update_email", "update_address", "payment_modify", "bank_modify", "comment", "end"),
    }


def test_about_one_user_in_a_hundred_is_abnormal() -> None:
    """Shares are normalised: 0.01 of 0.99, over 30,000 users."""
    abnormal = {kind.name for kind in load_profiles() if kind.abnormal}
    kinds = {event.user: event.type for event in simulate(users=30_000, seed=5)}
    assert 0.0085 < sum(kind in abnormal for kind in kinds.values()) / len(kinds) < 0.0120


def test_the_same_seed_gives_the_same_log_and_another_seed_another() -> None:
    """A simulation can be repeated."""
    assert list(simulate(users=50, seed=1)) == list(simulate(users=50, seed=1))
    assert list(simulate(users=50, seed=1)) != list(simulate(users=50, seed=2))


def test_events_are_in_order_of_time_and_none_comes_after_the_last_midnight() -> None:
    """Each day is cut at its end, so that days do not overlap."""
    times = [event.time for event in simulate(users=300, days=3)]
    assert times == sorted(times)
    assert times[0].date() == DAY
    assert times[-1] < dt.datetime(2019, 1, 4, tzinfo=dt.UTC)


def test_a_user_is_of_one_kind_on_all_days_and_starts_anew_each_day() -> None:
    """The same users return, at another second."""
    kinds: dict[str, set[str]] = {}
    first_times: dict[tuple[str, dt.date], dt.time] = {}
    for time, user, _, _, kind in simulate(users=100, days=3):
        kinds.setdefault(user, set()).add(kind)
        first_times.setdefault((user, time.date()), time.time())
    assert len(kinds) == 100
    assert {len(found) for found in kinds.values()} == {1}
    assert first_times["u0001", DAY] != first_times["u0001", dt.date(2019, 1, 2)]


def test_a_day_does_not_depend_on_how_many_came_before() -> None:
    """The second of two days is the only day of a log that begins there."""
    second_day = dt.date(2019, 1, 2)
    both = [event for event in simulate(users=100, days=2) if event.time.date() == second_day]
    assert both == list(simulate(users=100, date=second_day))


def test_new_users_join_each_day_after_the_first() -> None:
    """10 users, then 5 more a day: 20 names by the third day."""
    days: dict[dt.date, set[str]] = {}
    for event in simulate(users=10, days=3, new_users_per_day=5):
        days.setdefault(event.time.date(), set()).add(event.user)
    assert [max(users) for users in days.values()] == ["u0010", "u0015", "u0020"]


def test_only_the_active_users_come_on_a_day() -> None:
    """20 of 200, others on the next day."""
    days: dict[dt.date, set[str]] = {}
    for event in simulate(users=200, days=2, active_users=20):
        days.setdefault(event.time.date(), set()).add(event.user)
    first, second = days.values()
    assert len(first) <= 20
    assert len(second) <= 20
    assert first != second


def test_ndjson_has_four_keys_and_does_not_give_the_kind_away(tmp_path: Path) -> None:
    """Time in UTC, user, action, outcome; no kind anywhere in the line."""
    output = tmp_path / "log.ndjson"
    report = write_marketplace(output, users=500, seed=3)
    lines = output.read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert len(events) == report.events
    assert {tuple(event) for event in events} == {("time", "user", "action", "outcome")}
    assert {event["outcome"] for event in events} == {"success", "failure"}
    assert all(re.fullmatch(r"2019-01-01T\d\d:\d\d:\d\dZ", event["time"]) for event in events)
    assert all(re.fullmatch(r"u\d{4}", event["user"]) for event in events)


def test_the_written_log_is_the_simulated_one(tmp_path: Path) -> None:
    """NDJSON, CSV and compressed CSV hold the same events as Python gets."""
    wanted = [
        (f"{event.time:%Y-%m-%dT%H:%M:%SZ}", event.user, event.path, {"fail": "failure"}.get(event.status, "success"))
        for event in simulate(users=30, days=2)
    ]
    for name in ("a.ndjson", "a.csv", "a.csv.gz", "a.json.gz"):
        write_marketplace(tmp_path / name, users=30, days=2)
    assert [tuple(json.loads(line).values()) for line in (tmp_path / "a.ndjson").read_text().splitlines()] == wanted
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()) == (tmp_path / "a.csv").read_bytes()
    assert gzip.decompress((tmp_path / "a.json.gz").read_bytes()) == (tmp_path / "a.ndjson").read_bytes()
    header, *rows = csv.reader((tmp_path / "a.csv").read_text().splitlines())
    assert header == ["time", "user", "action", "outcome"]
    assert [tuple(row) for row in rows] == wanted


def test_ndjson_in_the_seed_s_form_has_the_seed_s_columns(tmp_path: Path) -> None:
    """The first event of the first notebook."""
    output = tmp_path / "log.ndjson"
    write_marketplace(output, users=1000, like_seed=True)
    assert output.read_text().splitlines()[0] == (
        '{"time":"2019-01-01 00:00:53","user":"merchant512","path":"login","status":"success",'
        '"uidx":512,"realtype":"merchant"}'
    )


def test_the_truth_has_a_row_per_user_of_the_log(tmp_path: Path) -> None:
    """User, type and whether abnormal, apart from the log, in order of the users."""
    write_marketplace(tmp_path / "log.csv", users=2000, truth=tmp_path / "truth.csv")
    header, *rows = csv.reader((tmp_path / "truth.csv").read_text().splitlines())
    assert header == ["user", "type", "abnormal"]
    assert [row[0] for row in rows] == sorted({event.user for event in simulate(users=2000)})
    assert {(kind, abnormal) for _, kind, abnormal in rows} == {
        *(("buyer", "false"), ("merchant", "false"), ("bot", "true")),
        *(("spammer", "true"), ("fraudster", "true"), ("attacker", "true")),
    }
    assert {event.user: event.type for event in simulate(users=2000)} == {user: kind for user, kind, _ in rows}


def test_the_log_can_go_to_the_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A dash stands for it."""
    report = write_marketplace("-", users=20)
    assert capfdbinary.readouterr().out.count(b"\n") == report.events


def test_own_kinds_of_users_come_from_a_file(profiles_file: Path, tmp_path: Path) -> None:
    """Shares of 3 and 1 are three quarters and one quarter; the walks are those of the file."""
    log = Counter(event.type for event in simulate(load_profiles(profiles_file), users=400) if event.path == "end")
    assert 70 < log["odd"] < 130
    assert {event.path for event in simulate(load_profiles(profiles_file), users=40)} == {"home", "login", "end"}
    report = write_marketplace(tmp_path / "log.csv", users=40, profiles=profiles_file)
    assert report.users == 40


def test_all_problems_of_a_file_are_listed_at_once_with_line_kind_and_row(tmp_path: Path) -> None:
    """A reader corrects the file in one go."""
    file = tmp_path / "kinds.toml"
    file.write_text(
        """\
[calm]
share = -1
velocity = 0
start = "hme"
colour = "red"
velocty = 3

[calm.after]
home = { "login:success" = 0.5, "login:fail" = 0.4 }
"login:success" = { logut = 1 }
"login:fail" = { "login:success" = nan, end = 1 }
logout = {}
"view:failed" = { end = 1 }
end = { home = 1 }

[empty]
share = 1
velocity = 1
start = "home"
[empty.after]
"""
    )
    with pytest.raises(ConfigError) as caught:
        load_profiles(file)
    assert (caught.value.file, caught.value.line) == (str(file), 2)
    assert str(caught.value).splitlines() == [
        f"{file}:2: 12 problems in the profiles",
        '  line 2: profile "calm": share is -1; expected a number of 0 or more',
        '  line 3: profile "calm": velocity is 0; expected a whole number of seconds, 1 or more',
        '  line 4: profile "calm": unknown start action "hme"; no row of that name. Did you mean "home"?',
        '  line 5: profile "calm": unknown key "colour". Known: share, velocity, start, abnormal, after',
        (
            '  line 6: profile "calm": unknown key "velocty". Did you mean "velocity"? '
            "Known: share, velocity, start, abnormal, after"
        ),
        '  line 9: profile "calm", row "home": the chances sum to 0.9; expected 1',
        '  line 10: profile "calm", row "login:success": it leads to "logut", which has no row. Did you mean "logout"?',
        (
            '  line 11: profile "calm", row "login:fail": the chance of "login:success" is nan; '
            "expected a number from 0 to 1"
        ),
        (
            '  line 12: profile "calm", row "logout": it is empty; expected the chances of the next actions, '
            'such as { "login:success" = 0.9, end = 0.1 }'
        ),
        (
            '  line 13: profile "calm", row "view:failed": "view:failed" has an unknown outcome "failed"; '
            'expected success or fail. Did you mean "fail"?'
        ),
        '  line 14: profile "calm", row "end": nothing comes after "end"; remove the row',
        '  line 16: profile "empty" is empty: expected rows in [empty.after]',
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no kinds of users; expected at least one table such as [buyer]"),
        ("[buyer", "not TOML"),
        ("buyer = 3", '"buyer" is not a kind of user'),
        (TWO_KINDS.replace("share = 3", "share = 0").replace("share = 1", "share = 0"), "every share is 0"),
        (TWO_KINDS.replace("share = 3", "share = inf"), "share is inf"),
        (TWO_KINDS.replace("share = 3", f"share = 1{'0' * 400}"), "share is 1000"),
        (TWO_KINDS.replace("share = 3", "share = true"), "share is True"),
        (TWO_KINDS.replace("share = 3", ""), "share is missing"),
        (TWO_KINDS.replace("velocity = 10", "velocity = 1.5"), "velocity is 1.5"),
        (TWO_KINDS.replace("abnormal = true", 'abnormal = "yes"'), "abnormal is 'yes'; expected true or false"),
        (TWO_KINDS.replace('start = "home"', "start = 3"), "start is 3; expected an action that has a row"),
        (TWO_KINDS.replace('start = "home"', 'start = "end"'), 'unknown start action "end"'),
        (TWO_KINDS.replace("[calm", "[9calm"), "a name is a letter"),
        (TWO_KINDS.replace("home = {", '"=home()" = { end = 1 }\nhome = {'), "'=home()' is not an action"),
        (TWO_KINDS.replace("{ home = 0.5", "{ home = -0.5"), 'the chance of "home" is -0.5'),
    ],
)
def test_a_wrong_file_of_kinds_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    """Nothing wrong is simulated, and nothing wrong crashes."""
    file = tmp_path / "kinds.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_profiles(file)


def test_chances_may_miss_one_by_a_millionth_only(tmp_path: Path) -> None:
    """A sum of 0.9999995 passes, 0.999998 does not."""
    file = tmp_path / "kinds.toml"
    file.write_text(TWO_KINDS.replace("home = { home = 0.5,", "home = { home = 0.4999995,"))
    assert load_profiles(file)[1].after["home"]["home"] == 0.4999995
    file.write_text(TWO_KINDS.replace("home = { home = 0.5,", "home = { home = 0.499998,"))
    with pytest.raises(ConfigError, match=re.escape("sum to 0.999998; expected 1")):
        load_profiles(file)


def test_a_file_of_kinds_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """It is absent, a directory, or not text."""
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    for file in (tmp_path / "absent.toml", tmp_path, binary):
        with pytest.raises(ConfigError, match="profiles cannot be read"):
            load_profiles(file)


def test_numbers_out_of_range_are_refused_together() -> None:
    """All of them in one message, before any event."""
    with pytest.raises(UsageError) as caught:
        simulate(users=0, days=0, new_users_per_day=-1, active_users=0)
    assert str(caught.value).splitlines() == [
        "users is 0; expected 1 or more",
        "days is 0; expected 1 or more",
        "new_users_per_day is -1; expected 0 or more",
        "active_users is 0; expected 1 or more",
    ]
    with pytest.raises(UsageError, match="active_users is 11; expected at most users, 10"):
        simulate(users=10, active_users=11)
    with pytest.raises(UsageError, match="more than 16,777,215 users"):
        simulate(users=20_000_000)
    with pytest.raises(UsageError, match="end after the year 9999"):
        simulate(users=1, days=10, date=dt.date(9999, 12, 30))


def test_the_truth_must_not_overwrite_the_log(tmp_path: Path) -> None:
    """Two files are needed."""
    with pytest.raises(UsageError, match="cannot both be written"):
        write_marketplace(tmp_path / "log.csv", users=1, truth=tmp_path / "log.csv")


def test_an_output_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """The directory does not exist."""
    with pytest.raises(SinkError, match=r"log\.csv cannot be written: No such file or directory"):
        write_marketplace(tmp_path / "absent" / "log.csv", users=1)


LIVE = (sys.executable, "-m", "amiss", "simulate", "marketplace", "--live", "--rate")


def test_live_events_keep_the_rate_and_have_times_of_now(tmp_path: Path) -> None:
    """100 events at 200 a second take half a second; each time is that at which it was written."""
    output = tmp_path / "app.log"
    began = now()
    report = write_live(output, users=100, rate=200, events=100)
    ended = now()
    assert 0.4 < ended - began < 1.5
    events = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(events) == report.events == 100
    assert {tuple(event) for event in events} == {("time", "user", "action", "outcome")}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"]) for event in events)
    times = [dt.datetime.fromisoformat(event["time"]).timestamp() for event in events]
    assert times == sorted(times)
    assert began - 0.002 <= times[0]
    assert times[-1] <= ended
    assert times[-1] - times[0] > 0.4


def test_live_users_are_interleaved_and_come_again(tmp_path: Path) -> None:
    """After 50,000 events all users have been there, the normal ones more than once; the kinds are as ever."""
    output, truth = tmp_path / "app.csv", tmp_path / "truth.csv"
    write_live(output, users=300, rate=1e9, events=50_000, truth=truth)
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert len(rows) == 50_000
    kinds = {row["user"]: row["type"] for row in csv.DictReader(truth.read_text().splitlines())}
    assert set(kinds) == {row["user"] for row in rows}
    assert {"buyer", "merchant"} < set(kinds.values())
    assert len({row["user"] for row in rows[10_000:10_500]}) > 30
    visits = Counter(row["user"] for row in rows if row["action"] == "end")
    assert max(visits.values()) > 1
    assert {row["action"] for row in rows} <= {event.path for event in simulate(users=2000)}


def test_live_events_come_as_fast_as_those_of_a_log(tmp_path: Path) -> None:
    """At a rate above 100,000 there is no waiting: no slower than a third of writing a log."""
    log = write_marketplace(tmp_path / "log", users=3000)
    live = write_live(tmp_path / "live", users=3000, rate=1e6, events=log.events)
    assert live.events == log.events
    assert live.events_per_second > log.events_per_second / 3


@pytest.mark.parametrize("rate", ["50", "1000000"])
def test_a_live_log_ends_quietly_when_its_reader_goes(rate: str) -> None:
    """A broken pipe is no error."""
    command = [*LIVE, rate, "--users", "300"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert json.loads(process.stdout.readline())["user"]
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == b""


def test_a_live_log_ends_quietly_on_control_c() -> None:
    """What was written are whole lines."""
    with subprocess.Popen([*LIVE, "500"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, b"")
        assert all(json.loads(line) for line in output.splitlines())


def test_options_of_a_log_do_not_go_with_a_live_one(tmp_path: Path) -> None:
    """All that is wrong is said at once."""
    with pytest.raises(UsageError) as caught:
        write_live(tmp_path / "app.log.gz", users=10, rate=0, events=0)
    assert [problem.split(";")[0] for problem in str(caught.value).splitlines()] == [
        "rate is 0",
        "events is 0",
        f"{tmp_path}/app.log.gz would be compressed, which cannot be read while it is written",
    ]
    run = subprocess.run([*LIVE, "5", "--like-seed"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "--like-seed and --live do not go together" in run.stderr
