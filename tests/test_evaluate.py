"""Evaluations on simulations, on a log with labels, and their pictures of calibration; small sizes, figures by hand."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from amiss.errors import EventError, SourceError, UsageError
from amiss.evaluate import PUBLISHED, SIMULATED, curriculum, evaluate, file, logins, marketplace, purchases
from amiss.evaluate.calibration import PROMISED, chart, curve
from amiss.evaluate.ranking import auc, average_precision
from amiss.events import EVENT_SCHEMA
from amiss.simulate import Profile, load_profiles
from amiss.sources import open_source
from amiss.sources.frames import FrameSource
from amiss.testing import reached_by_chance

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def test_ties_count_against_the_average_precision_and_half_in_the_auc():
    """One odd of three that score alike: precision a third, as likely above as below."""
    scores, odd = np.zeros(3), np.array([True, False, False])
    assert average_precision(scores, odd) == pytest.approx(1 / 3)
    assert auc(scores, odd) == 0.5


def test_the_optimum_is_the_ratio_of_chances_worked_by_hand():
    """A user who does a, a, end, with gaps of 2 and 3 seconds, of two kinds with chains known."""
    calm = Profile("calm", 0.75, 4, "s", abnormal=False, after={"s": {"a": 1.0}, "a": {"a": 0.5, "end": 0.5}})
    wild = Profile("wild", 0.25, 5, "s", abnormal=True, after={"s": {"a": 0.5, "b": 0.5}, "a": {"a": 0.8, "end": 0.2}})
    actions = [("a", 0), ("a", 2), ("end", 5)]
    rows = [(at, NOON + timedelta(seconds=s), "u", name, "success") for at, (name, s) in enumerate(actions, start=1)]
    today = pl.DataFrame(rows, schema=EVENT_SCHEMA, orient="row")
    (bits,) = marketplace.optimum(today, [calm, wild])["bits"].to_list()
    assert bits == pytest.approx(math.log2((0.5 * 0.8 * 0.2 / 25) / (1.0 * 0.5 * 0.5 / 16)))


def test_who_is_cut_off_by_midnight_may_have_gone_on():
    """Ten seconds before midnight without an end: only gaps of ten seconds and more explain it."""
    slow = Profile("slow", 0.5, 20, "s", abnormal=False, after={"s": {"a": 1.0}, "a": {"a": 1.0}})
    slower = Profile("slower", 0.5, 40, "s", abnormal=True, after={"s": {"a": 1.0}, "a": {"a": 1.0}})
    rows = [(1, datetime(2026, 1, 5, 23, 59, 50, tzinfo=UTC), "u", "a", "success")]
    (bits,) = marketplace.optimum(pl.DataFrame(rows, schema=EVENT_SCHEMA, orient="row"), [slow, slower])["bits"]
    assert bits == pytest.approx(math.log2((31 / 40) / (11 / 20)))


def test_marketplaces_are_judged_beside_an_optimum_that_keeps_its_promise():
    """The optimum finds nearly all; of normal users it gives b bits at most once in 2^b."""
    past, today = marketplace.days(7, users=400)
    found = marketplace.judged(past, today)
    normal = found["optimum"].filter(~pl.col("abnormal"))["bits"].to_numpy()
    assert all((normal >= bits).mean() <= reached_by_chance(bits, len(normal)) for bits in range(1, 8))
    assert marketplace.figures(found["optimum"])["auc"] > 0.99
    assert marketplace.figures(found["amiss"])["auc"] > 0.9
    assert found["amiss"].columns == ["user", "bits", "peak", "abnormal"]
    kinds = today.join(found["amiss"].filter("abnormal"), on="user", how="semi")["type"].unique().to_list()
    assert set(kinds) <= {profile.name for profile in load_profiles() if profile.abnormal}
    assert kinds


@pytest.mark.slow
def test_attacks_of_simulated_logins_rank_above_logins_of_users():
    """A few users for a month: attacks of kinds that came are caught, of others nothing is known."""
    found, peaks = logins.scored(3, 50, 25)
    method = logins.Method(found.with_columns(seed=pl.lit(3)), "bits")
    assert method.logins == len(found) - found["attack"].count()
    assert len(peaks) > 60
    shares = [method.caught(kind, 1e-2) for kind in logins.KINDS]
    assert all(math.isnan(share) or 0 <= share <= 1 for share in shares)


def test_a_rank_is_worth_what_is_above_it():
    """Of four logins and an attack between the first and the second: caught at one false alarm in four, not at none."""
    rows = [(9.0, None, None), (5.0, "world", 1), (3.0, None, None), (2.0, None, None), (1.0, None, None)]
    table = pl.DataFrame(rows, schema=["bits", "attack", "incident"], orient="row")
    method = logins.Method(table.with_columns(seed=pl.lit(1), attacked=pl.lit(value=False)), "bits")
    assert (method.caught("world", 0.0), method.caught("world", 0.25)) == (0.0, 1.0)
    assert method.auc() == 0.75


def test_purchases_are_ranked_by_evidence_rule_and_optimum():
    """In a small society the optimum finds at least as many as the rule at one alarm for each odd user."""
    market = purchases.Market.of(5, 2, 200)
    one, two, _ = market.budgets
    assert two == 2 * one == 12
    found = [purchases.recall(days, market.odd, one) for days in (market.rule, market.evidence, market.optimum)]
    assert found[0] <= found[1] <= found[2] == 1
    assert len(market.normal()) == sum(
        day[1] >= purchases.AFTER and not any(day in theirs for theirs in market.odd.values())
        for day in market.evidence
    )


def test_a_school_is_judged_at_one_false_alarm_a_day():
    """Two days with two alarms to give: a surge above them is found, false alarms are one a day."""
    users, days = np.arange(3), np.arange(2)
    of = curriculum.School(users, days, np.ones((3, 2)), np.ones((3, 2), bool), [("surge", 0, 1, 1)])
    score = np.array([[0.0, 9.0], [5.0, 4.0], [3.0, 2.0]])
    hits, whole, false = curriculum.at_one_a_day(score, of, 0)
    assert (hits["surge"], whole["surge"], false) == (1, 1, 1.0)
    assert of.odd.tolist() == [[False, True], [False, False], [False, False]]


def test_a_curve_of_calibration_counts_days_that_reach_bits():
    """Of a thousand days one reaches ten bits, none eleven; the picture ends there, beside the promise."""
    rows = curve({"one": np.array([10.5] + [0.0] * 999)})
    assert [(row["reached"], row["promised"]) for row in rows[8:11]] == [(1, 2**-9), (1, 2**-10), (0, 2**-11)]
    (points,) = chart(rows, "one").to_dict()["datasets"].values()
    assert [point["bits"] for point in points if point["of"] == "one"] == list(range(1, 11))
    assert [point["share"] for point in points if point["of"] == PROMISED] == [2.0**-bits for bits in range(1, 21)]


def log_of(*events: tuple[int, str, str]) -> FrameSource:
    """A log of (minute, user, action), and of thirty users who do the same every day for three days."""
    usual = [
        (1440 * day + 3 * number + step, f"n{number:02}", action)
        for day in range(3)
        for number in range(30)
        for step, action in enumerate(("login", "view", "view", "logout"))
    ]
    rows = sorted([*usual, *events])
    times = [NOON + timedelta(minutes=minute) for minute, _, _ in rows]
    return FrameSource(pl.DataFrame({"time": times, "user": [r[1] for r in rows], "action": [r[2] for r in rows]}))


ATTACK = [(1441 + step, "eve", "delete") for step in range(20)]


def truth_of(folder: Path, text: str) -> Path:
    """A file of truth."""
    (folder / "truth.csv").write_text(text)
    return folder / "truth.csv"


def test_a_log_with_labels_of_users_is_evaluated(tmp_path: Path):
    """Eve deletes twenty times: found first, and alerted; rows of normal ones and unknown users do no harm."""
    truth = truth_of(tmp_path, "user,label\neve,bot\nn01,normal\nn02,0\nnobody,bot\n")
    found = file.evaluate([log_of(*ATTACK)], truth)
    assert found.headline["average_precision"] == found.headline["auc"] == 1.0
    assert found.headline["recall_budget"] == found.headline["recall_10_bits"] == 1.0
    assert found.headline["false_alarms_a_day"] == 0.0
    assert 1 <= int(str(found.headline["events_to_alert"]).split(".", maxsplit=1)[0]) <= 20
    assert found.headline["not_in_the_log"] == 1
    assert found.about == "1 of 31 users are odd, 3 days; 1 of the truth not in the log (nobody)"
    assert [row["way"] for row in found.rows] == ["amiss", "sequence", "habit"]
    assert found.rows[1]["recall_budget"] is None
    assert found.calibration[0]["days"] == 90


def test_a_truth_of_days_or_events_tells_days_of_users(tmp_path: Path):
    """The day of eve, by its date or by an event of it, is one of 91 days; waiting begins with the event."""
    source = log_of(*ATTACK)
    rows = next(iter(source.read()))[0]
    tenth = int(rows.filter(user="eve")["position"][9])
    by_day = file.evaluate([source], truth_of(tmp_path, "user,day\neve,2026-01-06\neve,2026-01-05\n"))
    assert by_day.about == "1 of 91 users' days are odd, 3 days; 1 of the truth not in the log (eve on 2026-01-05)"
    by_event = file.evaluate([log_of(*ATTACK)], truth_of(tmp_path, f"event_id\n{tenth}\n999999\n"))
    assert by_event.about == "1 of 91 users' days are odd, 3 days; 1 of the truth not in the log (event 999999)"
    first, later = (float(str(each.headline["events_to_alert"])) for each in (by_day, by_event))
    assert later == first - 9
    assert by_day.headline["precision_budget"] == by_event.headline["precision_budget"] == 1.0


def test_events_of_a_csv_file_go_by_their_lines(tmp_path: Path):
    """The first event is in line 2, behind the header; in line 1 there is none."""
    log = tmp_path / "log.csv"
    log.write_text("time,user,action\n2026-01-05T09:00:00Z,ann,view\n2026-01-05T09:00:01Z,bob,view\n")
    found = file.evaluate([open_source(str(log))], truth_of(tmp_path, "event_id\n1\n2\n"))
    assert found.about == "1 of 2 users' days are odd, 1 day; 1 of the truth not in the log (event 1)"


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("usr,label\neve,bot\n", EventError, r'needs a column "user", or "event_id".*Found: usr, label. Did you mean'),
        ("user,day\neve,6.1.2026\n", EventError, r'day must be a day such as 2026-03-31\. Found: "6.1.2026"'),
        ("user,label\n,bot\neve,bot\n", EventError, "1 of 2 odd rows name no user"),
        ("event_id\nseven\n", EventError, r'event_id must be a number of an event\. Found: "seven"'),
        ("user\nevee\n", SourceError, r"names nothing that is in the log.*evee\. Did you mean \"eve\""),
        ("user,label\neve,normal\n", SourceError, r"It says nothing is odd"),
    ],
)
def test_a_truth_that_says_nothing_is_refused(tmp_path: Path, text: str, kind: type[Exception], said: str):
    """Columns and users that are nearly right are offered, wrong days and events are shown."""
    with pytest.raises(kind, match=said):
        file.evaluate([log_of(*ATTACK)], truth_of(tmp_path, text))


def test_each_evaluation_takes_what_it_is_of():
    """Simulations read no data, published data are not simulated, and each is a module."""
    with pytest.raises(UsageError, match="marketplace is simulated and reads no data"):
        evaluate("marketplace", Path())
    with pytest.raises(UsageError, match="say where they are with --data"):
        evaluate("nab")
    with pytest.raises(UsageError, match="leave out --seed, --users"):
        evaluate("nab", Path(), seeds=[1], users=100)
    with pytest.raises(UsageError, match='Did you mean "purchases"'):
        evaluate("purchase")


def test_a_picture_of_an_unknown_form_is_refused_before_anything_is_measured(tmp_path: Path, run):
    """Nor is one drawn of what tells no normal users."""
    ran = run("evaluate", "logins", "--calibration", str(tmp_path / "c.txt"))
    assert ran.status == 2
    assert "a picture is written to a file that ends in .png, .svg or .html" in ran.err


def test_the_command_lists_evaluations_and_measures_one(tmp_path: Path, run):
    """JSON has the headline on top, the figures of all ways and the calibration; the picture is written."""
    listed = run("evaluate", "--list").out
    assert all(name in listed for name in (*SIMULATED, *PUBLISHED, "file"))
    picture = tmp_path / "calibration.svg"
    ran = run(
        "evaluate", "marketplace", "--users", "200", "--seed", "3", "--calibration", str(picture), "--format", "json"
    )
    told = json.loads(ran.out)
    assert told["auc"] == told["figures"][0]["auc"]
    assert told["figures"][-1]["way"] == "optimum"
    assert len(told["calibration"]) == 60
    assert 5_000 < picture.stat().st_size < 200_000


def test_the_command_evaluates_a_log_of_ones_own(tmp_path: Path, run):
    """As configured; without a truth, or with a log where none belongs, it says what is missing."""
    frame = pl.concat([part for part, _ in log_of(*ATTACK).read()]).select("time", "user", "action")
    frame.write_csv(tmp_path / "log.csv")
    truth = truth_of(tmp_path, "user,label\neve,bot\n")
    ran = run("evaluate", "file", str(tmp_path / "log.csv"), "--truth", str(truth), "--detector", "sequence")
    assert "file: 1 of 31 users are odd, 3 days" in ran.out
    assert "recall budget" in ran.out
    for words in (["file", str(tmp_path / "log.csv")], ["file"], ["nab", "log.csv"]):
        ran = run("evaluate", *words)
        assert ran.status == 2
        assert "amiss evaluate file LOG --truth FILE" in ran.err


SMALL = [
    pytest.param("purchases", "recall", id="purchases"),
    pytest.param("logins", "auc", id="logins", marks=pytest.mark.slow),
    pytest.param("curriculum", "scraper", id="curriculum", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "figure"), SMALL)
def test_simulations_of_few_users_are_easy(name: str, figure: str):
    """Who is odd stands out; the headline is on top, the size is told, and all days of normal users are counted."""
    found = evaluate(name, seeds=[3], users=100)
    told = found.as_object()
    assert float(str(told[figure])) > 0.8
    assert found.about.startswith("1 simulation of 100 users in ")
    assert all(list(row) == list(found.rows[0]) for row in found.rows)
    assert {row["bits"] for row in found.calibration} == set(range(1, 21))
