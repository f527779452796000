"""What people call users and groups: kept with author and history, in a state; and what follows in a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from email.headerregistry import Address as EmailAddress
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from amiss import Result, Session, scan
from amiss.alerts import Alert
from amiss.cli import app
from amiss.decide import Budget
from amiss.detect import detector
from amiss.errors import UsageError
from amiss.events import Quarantine
from amiss.labels import read_history, read_labels
from amiss.live import Live
from amiss.sinks import words
from amiss.sinks.letter import Envelope, letter, letter_to_user
from amiss.store import Label, Store
from amiss.watch import Given, Settings, Watch, recall

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    with Store.open(tmp_path / "state.db") as opened:
        yield opened


def test_the_latest_label_holds_and_all_are_kept(store: Store):
    """A new one takes the place of that before, which the history keeps with its author; so does taking it away."""
    store.add_label("user", "ann", "bot", author="eve", time=NOON, note="fast")
    store.add_label("user", "ann", "buyer", author="bob", time=NOON + HOUR)
    store.add_label("user", "bob", "bot", author="eve", time=NOON)
    assert [(each.subject, each.label, each.author) for each in store.labels()] == [
        ("ann", "buyer", "bob"),
        ("bob", "bot", "eve"),
    ]
    assert store.remove_label("user", "ann", author="zoe", time=NOON + 2 * HOUR).label == "buyer"
    assert store.label("user", "ann") is None
    assert [(each.label, each.author, each.note) for each in store.label_history(["ann"])] == [
        ("bot", "eve", "fast"),
        ("buyer", "bob", ""),
        (None, "zoe", ""),
    ]
    assert store.verify() == []


def test_what_was_said_earlier_does_not_hold(store: Store):
    """A label with an earlier time joins the history, behind which the later one stands; at the same time the last."""
    store.add_label("user", "ann", "bot", author="eve", time=NOON)
    store.add_label("user", "ann", "buyer", author="bob", time=NOON - HOUR)
    assert store.label("user", "ann") == Label(1, "user", "ann", "bot", "eve", "", NOON, None)
    store.add_label("user", "ann", "staff", author="bob", time=NOON)
    assert [each.label for each in store.label_history()] == ["buyer", "bot", "staff"]
    assert [each.label for each in store.labels()] == ["staff"]


def test_users_and_groups_of_a_name_are_two(store: Store):
    """Group 7 and user 7 have labels of their own; empty ones are none."""
    store.add_label("group", "7", "scraper", author="eve", time=NOON)
    store.add_label("user", "7", "bot", author="eve", time=NOON)
    assert [[each.label for each in store.labels(kind)] for kind in ("group", "user")] == [["scraper"], ["bot"]]
    with pytest.raises(UsageError, match="not empty"):
        store.add_label("user", "7", "  ", author="eve", time=NOON)
    with pytest.raises(UsageError, match=r'user "77" has no label. Did you mean "7"'):
        store.remove_label("user", "77", author="eve", time=NOON)


def test_labels_outlast_the_store_and_are_exported(store: Store, tmp_path: Path):
    """Another process, reading, adds one; all of them are written out."""
    with Store.open(store.path, write=False) as other:
        other.add_label("user", "ann", "bot", author="eve", time=NOON, via="3")
    assert store.labels_version() == 1
    store.export(tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "labels.jsonl").read_text().splitlines()]
    assert [(row["subject"], row["label"], row["author"], row["via"]) for row in rows] == [("ann", "bot", "eve", "3")]


def test_two_labels_at_once_are_refused_both(tmp_path: Path):
    """With both lines; a later one takes the place of an earlier one, and the same twice is no conflict."""
    file = tmp_path / "labels.csv"
    file.write_text(
        "user,label,time\nann,bot,2026-01-05\nann,buyer,2026-01-05T00:00:00Z\nbob,bot,2026-01-07\nbob,buyer,2026-01-06\n"
        "cid,bot,\ncid,bot,\ndan,bot,never\n,x,\n"
    )
    found = read_labels(file)
    assert found.by_user() == {"bob": "bot", "cid": "bot"}
    assert [(each.position, each.reason) for each in found.quarantine.samples] == [
        (2, 'labelled "bot" here and "buyer" in line 3 at the same time'),
        (3, 'labelled "buyer" here and "bot" in line 2 at the same time'),
        (8, 'column "time" is no time: "never"'),
        (9, 'column "user" is empty'),
    ]
    history, _ = read_history(file)
    assert history.select("user", "label").rows() == [("bob", "bot"), ("bob", "buyer"), ("cid", "bot"), ("cid", "bot")]


def events(day: int, users: int, actions: str, start: int = 0, gap: int = 5) -> list[tuple[datetime, str, str]]:
    """Users who each do the actions, one after another, on a day of January 2026."""
    first = datetime(2026, 1, day, 8, tzinfo=UTC)
    return [
        (first + timedelta(minutes=user, seconds=gap * step), f"{actions}{start + user}", action)
        for user in range(users)
        for step, action in enumerate(actions)
    ]


def frame(live: Live, rows: list[tuple[datetime, str, str]]) -> pl.DataFrame:
    """Events as coded rows."""
    table = pl.DataFrame(rows, schema=["time", "user", "action"], orient="row").sort("time")
    return live.coding.encode(
        table.with_columns(
            pl.int_range(pl.len(), dtype=pl.Int64).alias("position"),
            pl.lit("success").alias("outcome"),
            pl.col("time").dt.cast_time_unit("us"),
        )
    )


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state that has seen 30 users who do abab, 30 who do acac, and two who do adad, on a day."""
    path = tmp_path / "state.db"
    told = [*events(5, 30, "ababab"), *events(5, 30, "acacac"), *events(5, 2, "adadad")]
    with Session(path, detectors=["sequence"], now=lambda: NOON + timedelta(days=9)) as session:
        for time, user, action in sorted(told):
            session.score(user=user, action=action, outcome="success", time=time)
    return path


def run(*words: object) -> str:
    """What a command prints; how it failed where it did."""
    done = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "100"})
    return done.output if done.exit_code == 0 else f"{done.output}{done.exception}"


def test_commands_keep_labels_and_say_what_they_change(state: Path, tmp_path: Path):
    """What was before, and by whom; a user who was not seen, a group without members, mistakes of a file."""
    given = ["--state", state, "--author", "ann"]
    assert run("label", "user", "ababab1", "bot", *given) == "ababab1 is bot now.\n"
    today = f"{datetime.now(UTC):%-d %b %Y}"
    assert run("label", "user", "ababab1", "buyer", *given) == f"ababab1 is buyer now; was bot (by ann, {today}).\n"
    assert 'seen no user "abababx"' in run("label", "user", "abababx", "bot", *given)
    assert run("label", "user", "abababx", "bot", "--unseen", *given) == "abababx is bot now.\n"
    assert "groups of a state have numbers" in run("label", "group", "two", "scraper", *given)
    members = tmp_path / "members.csv"
    members.write_text("user,group\nababab1,2\nababab2,2\nacacac1,1\n")
    assert "Groups there: 2, 1" in run("label", "group", 3, "scraper", "--groups", members, *given)
    said = run("label", "group", 2, "scraper", "--groups", members, *given)
    assert said == "Group 2 is scraper now.\nMembers labelled so: 1 of 2; with a label of their own: 1 (ababab1).\n"
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "user,label,time\nababab2,buyer,\nacacac1,seller,2026-01-02\nzed,bot,\n,x,\nababab1,bot,2020-01-01\n"
    )
    said = run("label", "import", labels, *given)
    assert "Kept: 4 labels of 4 users.\nababab2 is buyer now; was scraper (by ann" in said
    assert "ababab1 is" not in said
    assert "1 user not in the state yet: zed" in said
    assert 'labels.csv:5: column "user" is empty' in said
    rows = json.loads(run("label", "list", "--state", state, "--format", "json"))
    assert {row["name"]: row["label"] for row in rows} == {
        "2": "scraper", "ababab1": "buyer", "ababab2": "buyer", "abababx": "bot", "acacac1": "seller", "zed": "bot"
    }  # fmt: skip
    assert "Group 2 has no label now" in run("label", "remove", "group", 2, *given)
    assert run("label", "list", "--history", "--state", state).count("ababab1") == 3
    grouped = tmp_path / "groups.csv"
    grouped.write_text("group,label\n1,seller\n")
    assert "Kept: 1 label of 1 group." in run("label", "import", grouped, "--groups", members, *given)


def test_members_are_found_whatever_a_spreadsheet_would_take_them_for(state: Path, tmp_path: Path):
    """A name such as +49123 or @ann, before which a CSV file of groups has an apostrophe, is labelled as it is."""
    members = tmp_path / "members.csv"
    members.write_text("user,group\n'+49123,1\n'@ann,1\n'bob,1\n")
    said = run("label", "group", 1, "bot", "--groups", members, "--state", state)
    assert "Members labelled so: 3 of 3." in said
    assert "3 users not in the state yet: " in said
    with Store.open(state) as store:
        assert [each.subject for each in store.labels()] == ["'bob", "+49123", "@ann"]


def test_labels_of_the_future_are_left_out_of_a_state(state: Path, tmp_path: Path):
    """What is said now would not take their place, and neither would taking them away and naming the user anew."""
    labels = tmp_path / "labels.csv"
    labels.write_text("user,label,time\nababab1,bot,9000-01-01\nababab2,bot,2020-01-01\n")
    said = run("label", "import", labels, "--state", state)
    assert "Kept: 1 label of 1 user." in said
    assert 'labels.csv:2: column "time" lies in the future: "9000-01-01"' in said


def test_a_state_classifies_its_users(state: Path, tmp_path: Path):
    """By what it has counted, and by its own labels; a source may be judged by these too."""
    for user, name in {"ababab0": "b", "ababab1": "b", "acacac0": "c", "acacac1": "c"}.items():
        run("label", "user", user, name, "--state", state)
    rows = json.loads(run("classify", "--state", state, "--format", "json"))
    assert {row["user"][:2]: row["verdict"] for row in rows if row["user"][1] in "bc"} == {"ab": "b", "ac": "c"}
    assert len(rows) == 58
    log = tmp_path / "log.csv"
    pl.DataFrame(events(5, 9, "acacac"), schema=["time", "user", "action"], orient="row").write_csv(log)
    assert 'only "c"' not in run("classify", log, "--state", state, "--label", "c")
    assert "a state does not keep" in run("classify", "--state", state, "--label", "c")


def test_notices_say_the_class_of_their_user(state: Path):
    """From the batch after the labels on, where one class is likelier than all else by the odds."""
    with Session(state, budget=Budget(50.0), now=lambda: NOON + timedelta(days=9)) as session:
        alerts = _followed(session, events(6, 30, "acacac", 50) + events(6, 1, "adadad", 7))
        assert {alert.user for alert in alerts} == {"adadad7"}
        assert {alert.likely_class for alert in alerts} == {None}
        assert "class" not in alerts[0].record()
    for user, name in {"ababab0": "b", "ababab1": "b", "acacac0": "c", "adadad0": "d", "adadad1": "d"}.items():
        run("label", "user", user, name, "--state", state)
    with Session(state, budget=Budget(50.0), now=lambda: NOON + timedelta(days=9)) as session:
        [*_, alert] = _followed(session, events(6, 1, "adadad", 9))
    assert (alert.likely_class, alert.record()["class"]) == ("d", "d")
    assert 10 / 11 < alert.record()["class_probability"] <= 1.0
    assert "Most like d (9" in alert.sentence
    assert type(alert).from_record(json.loads(json.dumps(alert.record()))) == alert


def test_people_are_told_the_class_and_users_are_not():
    """In the mail to operators and in the reasons of a terminal or chat, harmless; never in that to the user."""
    reason = {"detector": "sequence", "bits": 9.6, "text": "b came after a 3 of 4 times"}
    told = Alert(
        "a1", "s1", NOON, "ann", 18.7, "high", {"sequence": 18.7}, [reason], NOON.date(), 12, "by chance never", 71,
        likely_class="bot\x1b[31m", class_probability=0.9899,
    )  # fmt: skip
    assert words.reasons(told)[-1] == r"most like bot\x1b[31m (98 %)"
    envelope = Envelope(EmailAddress("", "amiss", "example.com"), NOON)
    for_operators = letter([told], envelope, ["ops@example.com"]).get_body(("plain",)).get_content()
    for_user = letter_to_user([told], envelope, "ann@example.com").get_body(("plain",)).get_content()
    assert "risk 71 of 100, most like bot" in for_operators
    assert "bot" not in for_user


def _followed(session: Session, rows: list[tuple[datetime, str, str]]) -> list[Alert]:
    """The notices that events give."""
    told = (session.score(user=user, action=action, outcome="success", time=at) for at, user, action in sorted(rows))
    return [each.alert for each in told if each.alert is not None]


def test_what_bad_users_did_is_known_to_be_bad(state: Path):
    """Their counts of the days that judge are `Past.bad`, also behind a restart and as days close; others' are not."""
    run("label", "user", "adadad0", "scraper", "--state", state)
    wish = Settings([detector("sequence")], bad=["scraper"])
    with Store.open(state) as store:
        watch = Watch(_Nothing(), store, wish)
        _feed(watch, events(6, 3, "ababab") + events(6, 1, "adadad"))
        live = watch.live
        code = live.coding.users.find("adadad0")
        assert live.history.condemned == {code}
        past = live.history.before(date(2026, 1, 6))["sequence"]
        assert past.bad.equals(past.by_user().filter(user=code))
        assert len(past.bad)
        _feed(watch, events(7, 3, "ababab"))
        again = recall(store, wish)
        for each in (live, again):
            past = each.history.before(date(2026, 1, 7))["sequence"]
            assert past.bad["count"].sum() == 2 * 11
            assert past.bad.equals(past.by_user().filter(user=code))
        store.remove_label("user", "adadad0", author="eve", time=datetime.now(UTC))
        _feed(watch, events(7, 1, "ababab", 9))
        assert len(live.history.before(date(2026, 1, 7))["sequence"].bad) == 0


def test_bad_users_stay_in_memory(tmp_path: Path):
    """Where only so many do, those labelled as bad are not put away, nor what they did, also behind a restart."""
    wish = Settings([detector("sequence")], bad=["scraper"], max_users=5)
    with Store.open(tmp_path / "state.db") as store:
        watch = Watch(_Nothing(), store, wish)
        _feed(watch, events(5, 6, "ababab") + events(5, 1, "adadad"))
        store.add_label("user", "adadad0", "scraper", author="ann", time=NOON)
        for day, actions in ((6, "acacac"), (7, "aeaeae"), (8, "agagag")):
            _feed(watch, events(day, 9, actions))
        code = watch.live.coding.users.find("adadad0")
        assert len(watch.live.seats) < 20
        for live in (watch.live, recall(store, wish)):
            assert [live.code(seat) for seat in live.history.condemned] == [code]
            assert live.history.before(date(2026, 1, 8))["sequence"].bad["count"].sum() == 11
        assert store.verify() == []


class _Nothing:
    """A source that gives nothing."""

    url = "nothing:"

    def __init__(self) -> None:
        self.quarantine = Quarantine()


def _feed(watch: Watch, rows: list[tuple[datetime, str, str]]) -> None:
    """Let a watch take events and commit them."""
    coded = frame(watch.live, rows)
    taken = watch.live.take(coded)
    watch.keep(Given(coded, "x", watch.live.coding.known(), {}, {}), taken)
    watch.live.written(taken)


def sellers_and_buyers(day: int, sellers: list[str]) -> pl.DataFrame:
    """A day of forty buyers, and of sellers."""
    does = {f"b{number}": ["login", "view", "buy"] for number in range(40)} | {
        user: ["login", "sell"] for user in sellers
    }
    rows = [
        (f"2026-01-{day:02}T{9 + turn:02}:{number:02}:{second * 7:02}Z", user, action)
        for number, (user, actions) in enumerate(does.items())
        for turn in range(8)
        for second, action in enumerate(actions)
    ]
    return pl.DataFrame(rows, schema=["time", "user", "action"], orient="row")


def test_a_scan_holds_what_bad_users_did_against_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Twelve who sell are normal, and so is one more; once they were called bad, who sells stands out."""
    bad = [f"s{number}" for number in range(12)]
    past, today = sellers_and_buyers(5, bad), sellers_and_buyers(6, ["new"])

    def bits(result: Result) -> float:
        return float(result.users.filter(user="new")["bits"].item())

    assert bits(scan(today, learn=past)) < 1
    assert bits(scan(today, learn=past, bad=bad)) > 10
    monkeypatch.chdir(tmp_path)
    past.write_csv("past.csv")
    today.write_csv("today.csv")
    Path("labels.csv").write_text("user,label\n" + "".join(f"{user},fence\n" for user in bad) + ",fence\n")
    Path("amiss.toml").write_text('[labels]\nfile = "labels.csv"\nbad = ["fence"]\n')
    ran = CliRunner().invoke(app, ["scan", "today.csv", "--learn", "past.csv", "--format", "jsonl", "--top", "1"])
    row = json.loads(ran.stdout)
    assert (row["user"], row["bits"] > 10) == ("new", True)
    assert "1 row of labels left out" in ran.stderr


def test_bad_users_of_the_same_day_are_bad_on_a_first_scan():
    """A log of one day, of which some users are known to be bad: another who does as they do stands out."""
    bad = [f"s{number}" for number in range(12)]
    log = sellers_and_buyers(5, [*bad, "new"])
    known = dict(scan(log, bad=bad).users.select("user", "bits").rows())
    unknown = dict(scan(log).users.select("user", "bits").rows())
    assert known["new"] > unknown["new"] + 5
