"""Of which labelled class users are: chances, evidence, "don't know"."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import naive_posterior as naive
from typer.testing import CliRunner

import amiss
from amiss.baseline import COUNT_SCHEMA
from amiss.cli import app
from amiss.errors import UsageError
from amiss.posterior import BACKINGS, MOST_EVENTS, STRENGTH, Classifier
from amiss.simulate import write_marketplace

HOSTILE = "=cmd()\x1b[31m"


def counts(rows: list[tuple[int, int, int, int, int]]) -> pl.DataFrame:
    """Counts of (feature, user, given, value, count)."""
    return pl.DataFrame(rows, schema=COUNT_SCHEMA, orient="row")


TWO_WAYS = counts(
    [(0, user, -1, 0, 1) for user in range(9)]
    + [(0, user, 0, 1 + user % 2, 6) for user in range(9)]
    + [(1, user, 0, 3 + 4 * (user % 2), 6) for user in range(9)]
)
"""Users with even numbers go on with 1 soon, those with odd ones with 2 late."""
LABELS = {0: "even", 2: "even", 1: "odd", 3: "odd"}


@st.composite
def logs(draw: st.DrawFn) -> tuple[pl.DataFrame, dict[int, str]]:
    """Counts of some users, and labels of at least two classes among them."""
    cell = st.tuples(st.integers(0, 1), st.integers(-1, 3), st.integers(0, 4))
    users = draw(st.integers(4, 9))
    rows = [
        (feature, user, given_, value, draw(st.integers(1, 90)))
        for user in range(users)
        for feature, given_, value in draw(st.lists(cell, min_size=1, max_size=5, unique=True))
    ]
    labels = {0: "a", 1: "b"} | draw(st.dictionaries(st.integers(2, users - 1), st.sampled_from("abc"), max_size=6))
    return counts(rows), labels


@given(logs())
@settings(max_examples=15, deadline=None)
def test_chances_are_those_of_a_slow_twin(log: tuple[pl.DataFrame, dict[int, str]]):
    """Every bit follows from loops over dictionaries, for those who taught a class without what they taught."""
    table, labels = log
    classifier = Classifier.fit(table, labels)
    judged = classifier.judge(table, labels)
    users = naive.by_user(table.iter_rows(), MOST_EVENTS)
    everybody = naive.Everybody(users)
    for user, bits in zip(judged.users.tolist(), judged.bits, strict=True):
        expected = []
        for name, chances in zip(classifier.classes, classifier.chances, strict=True):
            own = naive.added(users[each] for each, label in labels.items() if label == name and each != user)
            told = [
                count * math.log2(naive.chance(everybody, own, cell, chances.backings[cell[0]]))
                for cell, count in users[user].items()
            ]
            expected.append(sum(told))
        expected.append(naive.alone(everybody, users[user], STRENGTH))
        assert bits == pytest.approx(expected, abs=1e-6)
        weights = [
            share * 2.0 ** (classifier.exponent * each) for share, each in zip(classifier.prior, bits, strict=True)
        ]
        at = judged.users.tolist().index(user)
        assert judged.chances[at] == pytest.approx(np.array(weights) / sum(weights), abs=1e-9)


@given(logs(), st.randoms(use_true_random=False))
@settings(max_examples=8, deadline=None)
def test_chances_sum_to_one_whatever_the_order(log: tuple[pl.DataFrame, dict[int, str]], random):
    """Neither the order of rows nor the numbers of users and values make a difference."""
    table, labels = log
    chances = Classifier.fit(table, labels).judge(table).chances
    assert chances.sum(axis=1) == pytest.approx(1.0)
    users, values = list(range(9)), list(range(5))
    random.shuffle(users)
    random.shuffle(values)
    other = table.sample(fraction=1.0, shuffle=True, seed=random.randrange(99)).with_columns(
        pl.col("user").map_elements(lambda user: users[user], pl.UInt32),
        pl.col("value").map_elements(lambda value: values[value], pl.Int32),
        pl.col("given").map_elements(lambda value: values[value] if value >= 0 else -1, pl.Int32),
    )
    moved = Classifier.fit(other, {users[user]: name for user, name in labels.items()}).judge(other)
    place = {user: at for at, user in enumerate(moved.users.tolist())}
    before = Classifier.fit(table, labels).judge(table).users.tolist()
    assert moved.chances[[place[users[user]] for user in before]] == pytest.approx(chances, abs=1e-6)


@given(logs())
@settings(max_examples=10, deadline=None)
def test_how_a_class_gives_way_is_what_costs_least(log: tuple[pl.DataFrame, dict[int, str]]):
    """Of all that is tried, what is chosen tells labelled users by the others of their class most briefly."""
    table, labels = log
    classifier = Classifier.fit(table, labels)
    users = naive.by_user(table.iter_rows(), MOST_EVENTS)
    everybody = naive.Everybody(users)

    def cost(backing: tuple[float, ...]) -> float:
        """What the first feature of labelled users costs, an event of each class as much."""
        whole = 0.0
        for name in classifier.classes:
            mine = [user for user, label in labels.items() if label == name and user in users]
            bits, worth = 0.0, 0.0
            for user in mine:
                own = naive.added(users[each] for each in mine if each != user)
                for cell, count in users[user].items():
                    if cell[0] == 0:
                        bits -= count * math.log2(naive.chance(everybody, own, cell, backing))
                        worth += count
            whole += bits / max(worth, 1.0)
        return whole

    chosen = cost(classifier.chances[0].backings[0])
    assert all(chosen <= cost(backing) + 1e-9 for backing in BACKINGS[::9])


def test_who_does_what_a_class_does_is_of_it():
    """Users without a label go with those who do the same; of two that do neither, each is of none."""
    strangers = counts([(0, user, given_, 3, 20) for user in (20, 21) for given_ in (-1, 3)])
    table = pl.concat([TWO_WAYS, strangers])
    judged = Classifier.fit(table, LABELS).judge(table)
    best = [judged.classes[at] for at in judged.order()[:, 0]]
    assert dict(zip(judged.users.tolist(), best, strict=True)) == {
        **{user: "odd" if user % 2 else "even" for user in range(9)},
        20: "",
        21: "",
    }


def test_evidence_adds_up_to_what_a_class_leads_by():
    """The bits of all reasons are the exponent times the difference of the bits by both classes."""
    classifier = Classifier.fit(TWO_WAYS, LABELS)
    judged = classifier.judge(TWO_WAYS, LABELS)
    told = classifier.evidence(TWO_WAYS, ["even"] * 9, ["odd"] * 9, LABELS)
    sums = told.group_by("user").agg(pl.sum("bits")).sort("user")["bits"].to_list()
    even, odd = (judged.classes.index(name) for name in ("even", "odd"))
    assert sums == pytest.approx(classifier.exponent * (judged.bits[:, even] - judged.bits[:, odd]))


def test_a_flood_is_no_surer_than_fifty_events():
    """A thousand times as many events of the same kind say what fifty do."""
    classifier = Classifier.fit(TWO_WAYS, LABELS)
    some, many = (counts([(0, 30, 0, 1, count)]) for count in (50, 50_000))
    assert classifier.judge(many).chances == pytest.approx(classifier.judge(some).chances)


def test_what_was_never_seen_is_judged():
    """Actions and pauses that the labels' log does not have are no error, and speak for being of none."""
    classifier = Classifier.fit(TWO_WAYS, LABELS)
    judged = classifier.judge(counts([(0, 30, 77, 78, 5), (0, 30, 78, 79, 5), (1, 30, 78, 60, 5), (4, 30, 0, 0, 1)]))
    assert judged.chances.sum() == pytest.approx(1.0)
    assert np.isfinite(judged.bits).all()
    assert judged.chances[0, -1] > 0.5


def test_fewer_users_tell_the_same_shares():
    """Where not all users are looked at, each stands for several: labelled ones do not become many."""
    many = counts([(0, user, 0, 1 + (user % 4 == 0), 6) for user in range(400)])
    labels = {0: "rare", 4: "rare", 1: "usual", 2: "usual"}
    whole, part = (Classifier.fit(many, labels, most_users=most) for most in (None, 80))
    assert part.prior == pytest.approx(whole.prior, abs=0.05)


def test_one_class_tells_nothing_apart():
    """It is said which label is there, as where there is none."""
    with pytest.raises(UsageError, match=r'from two labels on.*only "even"'):
        Classifier.fit(TWO_WAYS, {0: "even"})
    with pytest.raises(UsageError, match="none"):
        Classifier.fit(TWO_WAYS, {99: "even", 98: "odd"})


def test_behind_each_event_chances_are_those_of_all_events_so_far():
    """Of features that come together, with pairs never seen, on both sides of the fifty events that count."""
    random, events = np.random.default_rng(1), 70
    taught = [
        (f, u, int(g), int(v) + 3 * (u < 9), 2)
        for u in range(18)
        for f in (0, 1)
        for g, v in random.integers(0, 6, (9, 2))
    ]
    classifier = Classifier.fit(counts(taught), {user: "a" if user < 9 else "b" for user in range(14)})
    done = [
        (event, f, int(g), int(v)) for event in range(events) for f, (g, v) in enumerate(random.integers(-1, 9, (2, 2)))
    ]
    types = {"event": pl.Int64()} | {name: COUNT_SCHEMA[name] for name in ("feature", "given", "value")}
    found = classifier.along(pl.DataFrame(done, schema=types, orient="row"), events)
    for event in (4, 30, 49, 50, 60, events - 1):
        so_far = counts([(f, 0, g, v, 1) for at, f, g, v in done if at <= event])
        assert found[event] == pytest.approx(classifier.judge(so_far).chances[0], rel=1e-6, abs=0)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A marketplace of a day, with labels of 46 of its users, and the truth."""
    folder = tmp_path_factory.mktemp("shop")
    write_marketplace(folder / "log.jsonl", users=1500, seed=31, truth=folder / "truth.csv")
    truth = pl.read_csv(folder / "truth.csv")
    kinds = {"buyer": 20, "merchant": 20, "bot": 2, "spammer": 2}
    some = pl.concat([truth.filter(type=kind).head(count) for kind, count in kinds.items()])
    some.select("user", label="type").write_csv(folder / "labels.csv")
    return folder


@pytest.fixture(scope="module")
def found(shop: Path) -> amiss.classes.Classified:
    """What is said of its users."""
    return amiss.classify(shop / "log.jsonl", shop / "labels.csv")


def test_labels_name_the_others(shop: Path, found):
    """Nearly all users without a label are named, and nearly none wrongly; of a kind without labels most are not."""
    truth = pl.read_csv(shop / "truth.csv")
    told = found.users.filter(label="").join(truth, on="user")
    known = told.filter(pl.col("type").is_in(["buyer", "merchant", "bot", "spammer"]))
    named = known.filter(pl.col("verdict") != "")
    assert len(named) > 0.95 * len(known)
    assert (named["verdict"] != named["type"]).mean() < 0.005
    assert set(named.filter(type="bot")["verdict"]) == {"bot"}


def test_frames_say_the_same(found):
    """The likeliest class is that of the posterior; a verdict takes the odds; reasons are those with most bits."""
    best = (
        found.posterior.filter(pl.col("class") != "").sort("probability").group_by("user", maintain_order=True).last()
    )
    both = found.users.join(best, on="user")
    assert (both["class"] == both["class_right"]).all()
    assert both["probability"].to_list() == pytest.approx(both["probability_right"].to_list())
    assert ((both["verdict"] != "") == (both["probability"] >= 10 / 11)).all()
    sums = found.posterior.group_by("user").agg(pl.sum("probability"))["probability"]
    assert sums.to_list() == pytest.approx([1.0] * len(sums))
    row = found.users.filter(pl.col("verdict") == "bot").row(0, named=True)
    first = found.evidence.filter(user=row["user"]).row(0, named=True)
    assert row["reasons"][0] == f"{first['text']} ({first['bits']:+,.1f} bits)"


@pytest.mark.parametrize("kind", ["labelled", "other"])
def test_a_story_ends_at_the_chances_of_all_events(found, kind: str):
    """After the last event of a user stands what is said of the user, also of one who taught a class."""
    which = pl.col("label") != "" if kind == "labelled" else pl.col("label") == ""
    user = found.users.filter(which & (pl.col("events") > 4))["user"][0]
    story = found.story(user)
    last = found.posterior.filter(user=user)
    names = [name or "none" for name in last["class"]]
    assert [story[name][-1] for name in names] == pytest.approx(last["probability"].to_list(), abs=1e-9)
    assert len(story) == found.users.filter(user=user)["events"][0]


def test_the_command_says_what_the_frames_do(shop: Path, found):
    """As text, with "don't know"; as CSV; of one user; and what is not understood is told."""
    plain = ["classify", str(shop / "log.jsonl"), "--labels", str(shop / "labels.csv")]
    run = CliRunner().invoke(app, plain, env={"COLUMNS": "80"})
    unsure = len(found.users.filter(label="", verdict=""))
    assert f"don't know {unsure:,}" in " ".join(run.stdout.split())
    assert max(map(len, run.stdout.splitlines())) <= 80
    run = CliRunner().invoke(app, [*plain, "--format", "jsonl", "--table", "posterior"])
    assert json.loads(run.stdout.splitlines()[0]) == found.posterior.row(0, named=True)
    with pytest.raises(UsageError, match=r'no user "uu0001". Did you mean "u0001"\?'):
        found.story("uu0001")
    run = CliRunner().invoke(app, [*plain, "--table", "user"])
    assert 'Did you mean "users"?' in str(run.exception)
    run = CliRunner().invoke(app, ["classify", str(shop / "log.jsonl")])
    assert "Give --labels FILE, or --state FILE" in str(run.exception)


def test_labels_are_shown_harmless(shop: Path):
    """What steers a terminal in a label does not."""
    users = pl.read_csv(shop / "labels.csv")["user"].to_list()
    given_ = {user: HOSTILE if number % 2 else "plain" for number, user in enumerate(users)}
    pl.DataFrame({"user": list(given_), "label": list(given_.values())}).write_csv(shop / "hostile.csv")
    run = CliRunner().invoke(app, ["classify", str(shop / "log.jsonl"), "--labels", str(shop / "hostile.csv")])
    assert run.exit_code == 0
    assert "\x1b" not in run.output


def test_reasons_are_shown_harmless(tmp_path: Path):
    """What steers a terminal in an action does not, with labels of two classes and with one."""
    rows = [(f"2026-01-05T09:00:{at:02}Z", f"{kind}{number}", does) for kind, does in (("a", HOSTILE), ("b", "view"))
            for number in range(4) for at in range(9)]  # fmt: skip
    log, labels = tmp_path / "log.csv", tmp_path / "labels.csv"
    pl.DataFrame(rows, ["time", "user", "action"], orient="row").write_csv(log)
    labels.write_text("user,label\na0,bad\na1,bad\nb0,good\nb1,good\n")
    for more in ([], ["--label", "bad"]):
        run = CliRunner().invoke(app, ["classify", str(log), "--labels", str(labels), *more])
        assert "=cmd()\\x1b[31m" in run.output
        assert "\x1b" not in run.output


def test_a_story_tells_classes_from_its_other_columns():
    """Classes that are called time and none have columns of their own."""
    rows = [(f"2026-01-05T09:00:{at:02}Z", f"{does}{number}", does) for does in "ab"
            for number in range(4) for at in range(9)]  # fmt: skip
    log = pl.DataFrame(rows, ["time", "user", "action"], orient="row")
    found = amiss.classify(log, {"a0": "time", "a1": "time", "b0": "none", "b1": "none"})
    story = found.story("a3")
    assert story.columns == ["time", "action", "outcome", "class none", "class time", "none"]
    assert story["class time"][-1] == pytest.approx(
        found.posterior.filter(user="a3", **{"class": "time"})["probability"][0]
    )
    assert story["time"].dtype == pl.Datetime("us", "UTC")


def test_without_a_labelled_user_nothing_is_asked_back(shop: Path):
    """That nobody has a label is told, not which one is meant."""
    with pytest.raises(UsageError, match="no user of this log has a label"):
        amiss.classify(shop / "log.jsonl", {"ghost": "bot"})


def test_odds_below_one_are_none(shop: Path):
    """They would say a class that is less likely than not."""
    with pytest.raises(UsageError, match=r"expected 1 or more, found 0.5"):
        amiss.classify(shop / "log.jsonl", shop / "labels.csv", odds=0.5)
