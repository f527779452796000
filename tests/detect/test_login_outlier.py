"""Odd logins by an estimator for each user: its slow twin, its laws, when it is silent, what it tells."""

from __future__ import annotations

import math
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import OneClassSVM
from tests import watching

from amiss import detect
from amiss.baseline import Past, merge, no_counts
from amiss.detect import Names, login_outlier
from amiss.detect.login import Login
from amiss.detect.login_outlier import Outlier, OutlierBaseline, Today, estimator
from amiss.engine import Scan
from amiss.errors import MissingExtraError, UsageError
from amiss.evidence import running
from amiss.sessions import Events, group
from amiss.simulate.logins import simulate, write_logins
from amiss.sources import open_live_source
from amiss.store import Store
from amiss.testing import ListSource, check_detector, reached_by_chance
from amiss.vocabulary import Coding, Vocabulary
from amiss.watch import Settings, Watch

VIENNA, LINZ, KYIV, NOWHERE = (48.2, 16.4), (48.3, 14.3), (50.4, 30.5), (math.nan, math.nan)
Visit = tuple[int, tuple[float, float], int, int, int]
"""User, place, country, device, hour."""


def events(logins: Sequence[Visit], weight: Sequence[int] | None = None) -> Events:
    """Grouped logins, one a minute."""
    start = datetime(2026, 1, 5, tzinfo=UTC)
    rows = pl.DataFrame(
        {
            "position": range(1, len(logins) + 1),
            "time": pl.Series(
                [start + timedelta(minutes=n) for n in range(len(logins))], dtype=pl.Datetime("us", "UTC")
            ),
            "user": pl.Series([login[0] for login in logins], dtype=pl.UInt32),
            "action": pl.Series([0] * len(logins), dtype=pl.UInt32),
            "outcome": pl.Series([0] * len(logins), dtype=pl.UInt8),
            "login": pl.Series([1] * len(logins), dtype=pl.UInt8),
            "country": pl.Series([login[2] for login in logins], dtype=pl.UInt32),
            "device": pl.Series([login[3] for login in logins], dtype=pl.UInt32),
            "hour": pl.Series([login[4] for login in logins], dtype=pl.UInt8),
            "latitude": pl.Series([login[1][0] for login in logins], dtype=pl.Float32),
            "longitude": pl.Series([login[1][1] for login in logins], dtype=pl.Float32),
        }
    )
    grouped = group(rows)
    if weight is None:
        return grouped
    return replace(grouped, weight=np.array(weight, dtype=np.uint8)[grouped.position - 1])


def counts(logins: Sequence[Visit]) -> pl.DataFrame:
    """What logins add to a baseline."""
    return Outlier().summarise(events(logins))


def bits(past: Sequence[Visit], today: Sequence[Visit], detector: Outlier | None = None) -> list[float]:
    """The bits of a day after a past."""
    one = detector or Outlier()
    return one.score(events(today), one.baseline(Past([counts(past)]))).bits.tolist()


ANN: list[Visit] = [(7, VIENNA, 1, 2, 9 + n % 3) for n in range(48)]
"""Ann logs in from Vienna, with one device, at nine, ten and eleven."""


# --- its slow twin


def slow_point(login: Visit, training: list[Visit]) -> list[float]:
    """Where a login stands."""

    def on_globe(place: tuple[float, float]) -> list[float]:
        north, east = (math.radians(math.floor(2 * degrees) / 2 + 0.25) for degrees in place)
        x, y, z = math.cos(north) * math.cos(east), math.cos(north) * math.sin(east), math.sin(north)
        return [6.371 * each for each in (x, y, z)]

    def one_of(code: int, known: list[int]) -> list[float]:
        return [math.sqrt(0.5) * (code == each) for each in known] + [math.sqrt(0.5) * (code not in known)]

    _, place, country, device, hour = login
    angle = 2 * math.pi * (hour % 24 + 0.5) / 24
    return [
        math.sin(angle),
        math.cos(angle),
        *on_globe(place),
        *one_of(country, sorted({each[2] for each in training})),
        *one_of(device, sorted({each[3] for each in training})),
    ]


def slow_bits(past: list[Visit], today: list[Visit]) -> list[float]:
    """The bits of one user's logins, in a loop."""

    def order(login: Visit) -> tuple[float, float, int, int, int]:
        _, (north, east), country, device, hour = login
        return math.floor(2 * north), math.floor(2 * east), country, device, hour % 24

    ordered = sorted(past, key=order)
    numbers = [int(np.random.PCG64(1).random_raw(n + 1)[n]) for n in range(len(past))]
    drawn = sorted(range(len(past)), key=numbers.__getitem__)
    half = len(past) // 2
    training = [ordered[n] for n in sorted(drawn[half:])]
    svm = OneClassSVM(nu=0.1).fit([slow_point(login, training) for login in training])

    def raw(login: Visit) -> float:
        return float(svm.decision_function([slow_point(login, training)])[0])

    unit = 2.0 ** (math.floor(math.log2(max(abs(raw(login)) for login in past))) - 30)

    def score(login: Visit) -> int:
        return round(raw(login) / unit)

    earlier, found = [score(ordered[n]) for n in drawn[:half]], []
    for login in today:
        p = (1 + sum(each <= score(login) for each in earlier)) / (1 + len(earlier))
        found.append(math.log2(1 / (2 * math.sqrt(p))))
        earlier.append(score(login))
    return found


def logins(most: int) -> st.SearchStrategy[list[Visit]]:
    """A user's logins."""
    parts = st.sampled_from([VIENNA, LINZ, KYIV]), st.integers(1, 3), st.integers(1, 3), st.integers(0, 30)
    return st.lists(st.tuples(st.just(7), *parts), max_size=most)


@settings(max_examples=25, deadline=None)
@given(past=logins(12), today=logins(5))
def test_bits_equal_the_slow_twin(past, today):
    """Any past and any day give the bits of the loop."""
    known = [*past, *ANN[:12]]
    assert bits(known, today, Outlier(least=8)) == pytest.approx(slow_bits(known, today), abs=1e-9)


# --- laws


class OfStates(Outlier):
    """Takes what users do for where they log in from, so that laws can be tried on any events."""

    def summarise(self, events: Events) -> pl.DataFrame:
        """As of logins."""
        return super().summarise(_with_logins(events))

    def score(self, events: Events, baseline: OutlierBaseline, memory: Today | None = None):
        """As of logins."""
        return super().score(_with_logins(events), baseline, memory)


def _with_logins(events: Events) -> Events:
    """Events as logins: the state says from where and with what, the time when."""
    codes = events.state.astype(np.uint32)
    hour = (events.time // 3_600_000_000 % 24).astype(np.uint8)
    place = (40.0 + codes).astype(np.float32)
    login = (codes % 7 != 6).astype(np.uint8)
    context = {"login": login, "country": codes % 4, "device": codes % 5, "hour": hour}
    return replace(events, context=context | {"latitude": place, "longitude": np.where(codes % 5, place, np.nan)})


def draw_same(_: OutlierBaseline, random: np.random.Generator, users: int) -> Events:  # noqa: ARG001 - as asked for
    """Users who go on as those whom `check_calibration` invents."""
    size = 60 * 20
    action = np.minimum(random.geometric(0.4, size) - 1, 7)
    outcome = (random.random(size) < 0.1).astype(np.uint8)
    start = datetime(2026, 1, 5, tzinfo=UTC)
    frame = pl.DataFrame({"position": np.arange(size), "user": np.repeat(np.arange(60), 20), "action": action})
    time = pl.lit(start).dt.cast_time_unit("us") + pl.duration(microseconds=pl.col("position"))
    typed = {"position": pl.Int64(), "user": pl.UInt32(), "action": pl.UInt32()}
    return group(frame.with_columns(time.alias("time"), outcome=pl.Series(outcome)).cast(typed))


def test_it_keeps_the_laws_of_detectors():
    """Counts merge, chunks and buckets do not matter, nothing looks ahead, states outlive a restart."""
    check_detector(OfStates(least=8), draw=draw_same, examples=12)


PLACES = [(40.0 + n, 10.0 + n % 7) for n in range(12)]


def habits(random: np.random.Generator, user: int) -> list[Visit]:
    """Logins of a user with habits of their own, those of a month and of a day."""
    places = random.dirichlet(np.full(len(PLACES), 0.3))
    devices = random.dirichlet(np.full(6, 0.5))
    at = random.choice(len(PLACES), 70, p=places)
    hours = (random.normal(random.integers(24), 3, 70).astype(int)) % 24
    things = random.choice(6, 70, p=devices)
    return [
        (user, PLACES[p], p // 4, d, h) for p, d, h in zip(at.tolist(), things.tolist(), hours.tolist(), strict=True)
    ]


@pytest.mark.parametrize(("size", "is_labelled"), [(200, False), (80, True)])
def test_users_who_stay_as_they_are_rarely_gather_bits(size, is_labelled):
    """Of users who go on as before at most one in 2^b ever reaches b bits; with bad logins known, too."""
    random = np.random.default_rng(5)
    users = [habits(random, user) for user in range(size)]
    detector = Outlier(least=40)
    past = Past([counts([login for user in users for login in user[:50]])])
    bad = counts([(999, KYIV, 9, 9, hour) for hour in range(5)]) if is_labelled else None
    today = events([login for user in users for login in user[50:]])
    found = running(today.first, detector.score(today, detector.baseline(past, bad=bad)).bits)
    highest = np.maximum.reduceat(found, today.first[:-1])
    for wanted in range(1, 7):
        assert (highest >= wanted).mean() <= reached_by_chance(wanted, len(users))


def test_the_first_login_of_a_day_has_a_p_value():
    """Where any login is as likely to be the oddest, p is at most a in a share a of cases."""
    random = np.random.default_rng(6)
    users = [habits(random, user)[:51] for user in range(400)]
    detector = Outlier()
    past = Past([counts([login for user in users for login in user[:50]])])
    surprisal = detector.score(events([user[50] for user in users]), detector.baseline(past)).surprisal
    for share in (1 / 26, 0.1, 0.3, 0.5):
        assert (2.0**-surprisal <= share + 1e-9).mean() <= share + 3 * math.sqrt(share * (1 - share) / 400)


def test_the_order_of_logins_and_the_codes_of_users_do_not_matter():
    """Training sorts what it is given."""
    other = [(8, *login[1:]) for login in reversed(ANN)]
    odd = [(VIENNA, 1, 3, 9), (LINZ, 1, 2, 10), (KYIV, 4, 5, 3)]
    assert bits([*other, *ANN], [(7, *login) for login in odd]) == bits(ANN, [(7, *login) for login in odd])
    assert bits(other, [(8, *login) for login in odd]) == bits(ANN, [(7, *login) for login in odd])


def test_models_that_had_to_go_come_back_the_same(monkeypatch):
    """With room for one model only, scores stay as they are."""
    random = np.random.default_rng(7)
    users = [habits(random, user) for user in range(6)]
    past, today = Past([counts([login for user in users for login in user[:50]])]), events([u[60] for u in users] * 3)
    with_room = Outlier().baseline(past)
    whole = Outlier().score(today, with_room).bits.tolist()
    assert with_room.kept[0] == 6
    monkeypatch.setattr(login_outlier, "KEPT_BYTES", 1)
    narrow = Outlier().baseline(past)
    memory = Outlier().memory()
    apart = [Outlier().score(today.part(u, u + 1), narrow, memory).bits for u in range(6)]
    assert np.concatenate(apart).tolist() == whole
    assert narrow.kept[0] == 1


# --- what it judges, and what not


def test_a_login_from_elsewhere_with_another_device_is_as_odd_as_can_be():
    """Of 24 logins that calibrate none is as odd: p is 1/25."""
    assert bits(ANN, [(7, KYIV, 8, 9, 3)]) == [pytest.approx(math.log2(5 / 2))]
    assert bits(ANN, [(7, VIENNA, 1, 2, 10)])[0] < 0


def test_odd_logins_of_a_period_speak_less_and_less():
    """One after another they are 1 of 25, 2 of 26, 3 of 27."""
    found = bits(ANN, [(7, KYIV, 8, 9, 3)] * 3)
    assert found == pytest.approx([-1 - math.log2(k / (24 + k)) / 2 for k in (1, 2, 3)])


def test_where_nobody_knows_the_place_devices_still_tell():
    """Without coordinates and countries, another device is odd."""
    past: list[Visit] = [(7, NOWHERE, 0, 2, 9 + n % 3) for n in range(48)]
    assert bits(past, [(7, NOWHERE, 0, 3, 9)]) == [pytest.approx(math.log2(5 / 2))]
    assert bits(past, [(7, NOWHERE, 0, 2, 9)])[0] < 0


def test_users_with_few_logins_are_not_judged():
    """One login less than `least`, or none at all."""
    assert bits(ANN[:39], [(7, KYIV, 8, 9, 3)]) == [0.0]
    assert bits(ANN[:40], [(7, KYIV, 8, 9, 3)])[0] > 0
    assert bits(ANN, [(8, KYIV, 8, 9, 3)]) == [0.0]
    detector = Outlier()
    missing = detector.readiness(detector.baseline(Past([counts(ANN[:39])])), np.array([7, 8], dtype=np.uint32))
    assert missing == ["39 of 40 logins", "0 of 40 logins"]


def test_a_first_scan_gives_no_evidence():
    """With nothing but the day itself there are no earlier logins."""
    detector = Outlier()
    baseline = detector.baseline(Past([counts(ANN)]), leave_out=True)
    assert set(detector.score(events(ANN), baseline).bits) == {0.0}


def test_events_that_are_no_logins_are_neither_judged_nor_counted():
    """Their bits are 0, and they teach nothing."""
    other = events(ANN)
    other = replace(other, context={**other.context, "login": np.zeros(48, dtype=np.uint8)})
    assert Outlier().summarise(other).is_empty()
    detector = Outlier()
    assert set(detector.score(other, detector.baseline(Past([counts(ANN)]))).bits) == {0.0}


def test_events_of_which_nothing_else_is_known_are_no_logins():
    """Where a frame has no columns of logins, nothing is judged or counted."""
    bare = replace(events(ANN), context={})
    detector = Outlier()
    assert detector.summarise(bare).is_empty()
    assert set(detector.score(bare, detector.baseline(Past([counts(ANN)]))).bits) == {0.0}


def test_what_speaks_against_a_user_teaches_next_to_nothing():
    """A login of one sixteenth is counted as such, and no model learns from it."""
    attack = (7, KYIV, 8, 9, 3)
    gated = Outlier().summarise(events([*ANN, attack], [16] * 48 + [1]))
    assert sorted(gated["count"].to_list()) == [1, 256, 256, 256]
    detector = Outlier()
    taught, clean = (detector.baseline(Past([each])) for each in (gated, counts(ANN)))
    known = np.array([7], dtype=np.uint32)
    assert taught.logins(known) == clean.logins(known) == [48]
    assert detector.score(events([attack]), taught).bits == detector.score(events([attack]), clean).bits


def test_what_a_person_expects_speaks_against_a_user_no_more():
    """From that place with that device, at any hour."""
    past = Past([counts(ANN)])
    past.taught = counts([(7, KYIV, 8, 9, 3)])
    today = events([(7, KYIV, 8, 9, 22), (7, KYIV, 8, 5, 22)])
    found = Outlier().score(today, Outlier().baseline(past)).bits
    assert found[0] == 0.0
    assert found[1] > 0.0


def test_many_logins_are_thinned(monkeypatch):
    """However many there are, a model learns from so many at most, of each kind its share."""
    monkeypatch.setattr(login_outlier, "MOST_LOGINS", 50)
    past = counts([*ANN * 3, (7, KYIV, 8, 9, 3)])
    model = Outlier().baseline(Past([past])).model(7)
    assert model is not None
    assert model.logins == 50


def test_a_period_remembers_so_many_different_logins(monkeypatch):
    """Those known go on being counted; the state is the same in pieces."""
    monkeypatch.setattr(login_outlier, "MOST_TODAY", 2)
    detector, memory = Outlier(), Outlier().memory()
    baseline = detector.baseline(Past([counts(ANN)]))
    today = events([(7, VIENNA, 1, 2, hour) for hour in (1, 2, 3, 1)])
    detector.score(today, baseline, memory)
    assert memory.frame()["count"].to_list() == [2, 1]


def test_bad_logins_of_others_make_their_like_odder():
    """Ann uses the device that bad ones came with, from near there; such a login gets more bits than without them."""
    random = np.random.default_rng(8)
    past: list[Visit] = [(7, PLACES[n % 6], 1, n % 5, int(random.integers(24))) for n in range(100)]
    like_bad = [(7, PLACES[5], 1, 3, 4)]
    bad = counts([(user, PLACES[7], 1, 3, hour) for hour in range(8) for user in (98, 99)])
    detector, known = Outlier(), Past([counts(past)])
    without, labelled = (
        detector.score(events(like_bad), detector.baseline(known, bad=each)).bits[0] for each in (None, bad)
    )
    assert labelled > without


# --- other estimators


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("sklearn.ensemble.IsolationForest", {"n_estimators": 10}),
        ("sklearn.neighbors.LocalOutlierFactor", {"n_neighbors": 10}),
        ("sklearn.covariance.EllipticEnvelope", None),
        ("sklearn.neighbors.KernelDensity", {"bandwidth": 0.5}),
    ],
)
def test_any_outlier_estimator_will_do(model, parameters):
    """Kyiv is the oddest to each of them, and cutting the day changes no bit."""
    past: list[Visit] = [(7, VIENNA if n % 3 else LINZ, 1, 2 + n % 2, 7 + n % 9) for n in range(80)]
    today = [(7, LINZ, 1, 2, 8), (7, KYIV, 8, 9, 3), (7, VIENNA, 1, 3, 14)]
    detector = Outlier(model, parameters)
    whole = bits(past, today, detector)
    assert whole[1] == max(whole)
    baseline, memory = detector.baseline(Past([counts(past)])), detector.memory()
    assert [detector.score(events([login]), baseline, memory).bits[0] for login in today] == whole


@pytest.mark.parametrize(
    ("model", "parameters", "message"),
    [
        ("svm", None, r'model = "svm": expected "chains", "ocsvm" or a class, such as "sklearn.svm.OneClassSVM"'),
        ("sklearn.svm.OneClassSVM", {"nuu": 1}, r'OneClassSVM has no "nuu". Did you mean "nu"\?'),
        ("ocsvm", {"nu": 7}, "OneClassSVM does not work with {'nu': 7}"),
        ("sklearn.ensmble.IsolationForest", None, "there is no such class: No module named"),
        ("datetime.datetime", None, "expected a class with fit"),
    ],
)
def test_what_is_no_estimator_is_refused(model, parameters, message):
    """The message says what was expected and found."""
    with pytest.raises(UsageError, match=message):
        Outlier(model, parameters).baseline(Past([counts(ANN)])).model(7)


def test_the_baseline_already_finds_wrong_parameters():
    """Nobody has to log in for that."""
    with pytest.raises(UsageError, match="does not work"):
        Outlier(model_parameters={"nu": 7}).baseline(Past())


def test_without_scikit_learn_the_error_says_how_to_install_it(monkeypatch):
    """It names the command."""
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    login_outlier._tried.cache_clear()
    with pytest.raises(MissingExtraError, match=r'pip install "amiss\[login\]"'):
        estimator("ocsvm")


def test_users_whom_an_estimator_cannot_learn_are_not_judged(monkeypatch, caplog):
    """It says so in the log, and others are judged."""
    baseline = Outlier().baseline(Past([counts(ANN)]))

    def refuse(*_: object) -> None:
        raise ValueError("not these")

    monkeypatch.setattr(login_outlier, "trained", refuse)
    assert Outlier().score(events([(7, KYIV, 8, 9, 3)]), baseline).bits.tolist() == [0.0]
    assert "not these" in caplog.text


# --- what it tells


def test_reasons_say_what_and_how_rare():
    """The place, the device, the hour, how many logins it is unlike, and p."""
    names = Names(Coding(values=Vocabulary(["", "AT", "Chrome, Windows", "UA", "Firefox, Linux"])))
    detector = Outlier()
    baseline = detector.baseline(Past([counts(ANN)]))
    told = detector.explain(events([(7, VIENNA, 1, 2, 9), (7, KYIV, 3, 4, 27), (8, KYIV, 3, 4, 3)]), baseline, names)
    assert list(told) == [7]
    (reason,) = told[7]
    assert (
        reason.text
        == "the login from UA with Firefox, Linux at 03 h is unlike 48 earlier ones by OneClassSVM (p = 1/26)"
    )
    assert (reason.count, reason.of) == (0, 25)
    assert reason.bits == pytest.approx(math.log2(26) / 2 - 1)


# --- with the rest


def test_logs_of_logins_are_scanned_with_it():
    """From an event frame to bits, over many days: those of normal logins are negative on average."""
    made = simulate(users=10, days=24, seed=1, attack_rate=0.0).events
    texts = [pl.col(name).cast(pl.String) for name in ("user", "action", "outcome")]
    frame = made.with_row_index("position", offset=1).with_columns(*texts, pl.col("position").cast(pl.Int64))
    scan = Scan([Outlier(least=20)])
    scan.run([ListSource(frame)], [], lambda _: None)
    assert scan.history.judged
    assert all(each["login_vectors"].schema == no_counts().schema for each in scan.history.judged.values())
    summed = merge([each["login_vectors"] for each in scan.history.judged.values()])
    logins = made.filter(pl.col("outcome").cast(pl.String) == "success").height
    assert summed["count"].sum() <= 16 * logins
    assert Counter(summed["feature"].to_list()).keys() == {0}


def test_the_login_detector_hands_all_to_the_estimator_that_is_named():
    """The same counts, bits, reasons and state as of the estimator alone, under the name of the detector."""
    login, outlier, names = Login(model="ocsvm"), Outlier(), Names(Coding(values=Vocabulary(["", *"abcdefghi"])))
    assert (login.name, login.counts, login.state_schema) == ("login", "login_vectors", Today.SCHEMA)
    assert (Login().counts, Login.counts) == ("login", "login")
    today = events([(7, KYIV, 8, 9, 3), (7, VIENNA, 1, 2, 9)])
    past = Past([outlier.summarise(events(ANN))])
    assert login.summarise(today).equals(outlier.summarise(today))
    mine, theirs = login.baseline(past), outlier.baseline(past)
    memory = login.memory()
    assert login.score(today, mine, memory).bits.tolist() == outlier.score(today, theirs).bits.tolist()
    assert login.memory(memory.frame()).frame().equals(memory.frame())
    assert login.explain(today, mine, names) == outlier.explain(today, theirs, names)
    assert login.readiness(mine, today.users) == [""]
    assert asdict(Login(model="ocsvm", model_parameters={"nu": 0.2}))["model_parameters"] == {"nu": 0.2}


def test_parameters_of_a_model_need_a_model():
    """Chains take none; a name that is none is refused at once."""
    with pytest.raises(UsageError, match='model_parameters are for other models than "chains"'):
        Login(model_parameters={"nu": 0.2})
    with pytest.raises(UsageError, match='expected "chains", "ocsvm" or a class'):
        Login(model="chain")


def test_a_watch_with_an_estimator_finds_the_same_however_it_is_cut(tmp_path, monkeypatch):
    """Alerts, stories and figures of a stream of logins in small batches are those of one in large ones."""
    monkeypatch.setitem(detect.BUILT_IN, "login", "amiss.detect.login:Login")
    write_logins(tmp_path / "log.ndjson", users=8, days=45, seed=3, attack_rate=0.02, attacks_after=30)
    found = []
    for batch in (60, 5000):
        with Store.open(tmp_path / f"{batch}.db") as store:
            settings = Settings([Login(model="ocsvm", model_parameters={"nu": 0.2})])
            watch = Watch(open_live_source(str(tmp_path / "log.ndjson")), store, settings, batch=batch, until_eof=True)
            watch.run(threading.Event())
            assert store.verify() == []
            kept = watching.kept(store)
            found.append({name: kept[name] for name in ("alerts", "stories", "periods", "peaks")})
    assert found[0] == found[1]
    assert found[0]["periods"]
