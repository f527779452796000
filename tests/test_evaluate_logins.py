"""The optimum of logins: it reads the log as the simulator wrote it, and nobody ranks better."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from amiss.evaluate import logins
from amiss.evaluate.logins_lives import Lives, travel_hours
from amiss.evaluate.logins_optimum import Attackers, optimum
from amiss.evaluate.logins_seen import Log, Times, lines, located, observed
from amiss.simulate.days import BORROWED, HOME, Plan
from amiss.simulate.logins import Simulated, planned, simulate
from amiss.simulate.world import HOSTING, VPN, mixed, world

DAYS = 25


@cache
def simulated() -> tuple[Simulated, Plan]:
    """A simulation with many attacks from its 21st day on, and the lives behind it."""
    made = simulate(users=150, days=DAYS, seed=7, attack_rate=0.01, attacks_after=logins.LEARN)
    return made, planned(users=150, days=DAYS, seed=7)


@cache
def log() -> Log:
    """Its logins."""
    return observed(*simulated())


@cache
def told() -> pl.DataFrame:
    """The bits of its logins from the 21st day on, by both optima, with the truth."""
    made, plan = simulated()
    late = logins.numbered(made).filter(pl.col("time").dt.date() >= logins.FIRST_JUDGED)
    judged = late.filter(action="login", outcome="success").select("position", "user", day=pl.col("time").dt.date())
    return logins.with_truth(judged.join(logins.optima(made, plan), on="position", how="left"), made)


def test_addresses_are_read_as_they_were_written():
    """Pools and lines of both protocols, through the text of an address and back."""
    places, random = world(), np.random.default_rng(1)
    pool, key = random.integers(0, len(places.pools), 300), random.integers(0, 2**62, 300).astype(np.uint64)
    six = places.has_ipv6[pool] & (random.random(300) < 0.5)
    found = located(places, places.addresses(pool, key, mixed(key), six))
    assert six.sum() > 30
    np.testing.assert_array_equal(found[0], pool)
    np.testing.assert_array_equal(found[1], lines(places, pool, key, six))
    np.testing.assert_array_equal(found[2], six)


def test_the_lives_are_those_behind_the_log():
    """Users who are at home have the pool of their home."""
    plan, seen = simulated()[1], log()
    home = seen.own & (seen.circumstance == HOME)
    side = (seen.day >= plan.people.moves[seen.user]).astype(int)
    assert home.sum() > 3_000
    np.testing.assert_array_equal(seen.pool[home], plan.people.pool[seen.user, side][home])


def test_the_last_one_before_is_the_last_one_before():
    """As looking at all of them says; none at the same moment."""
    random = np.random.default_rng(2)
    key, ms = random.integers(0, 5, 60), random.integers(0, 40, 60)
    last = Times.of(key, ms).last(key, ms)
    for row, found in enumerate(last.tolist()):
        before = [ms[each] for each in range(60) if key[each] == key[row] and ms[each] < ms[row]]
        assert (ms[found] if found >= 0 else None) == (max(before) if before else None)
    counts = Times.of(key, ms).between(key, ms - 10, ms)
    assert counts.tolist() == [
        int(((key == a) & (ms >= b - 10) & (ms < b)).sum()) for a, b in zip(key, ms, strict=True)
    ]


@pytest.mark.parametrize("way", list(logins.OPTIMA))
def test_few_logins_of_users_are_much_likelier_of_attackers(way: str):
    """Of a likelihood ratio k, at most 1 in k of the users' own logins has more."""
    own = told().filter(pl.col("attack").is_null())[way].to_numpy()
    for bits in (2, 4, 6, 8):
        assert (own > bits).mean() < 2.0**-bits


def test_attackers_stand_above_users():
    """By whom the simulation is known, nearly every attack is caught at one false alarm in a thousand logins."""
    table = told().with_columns(seed=pl.lit(7))
    for way in logins.OPTIMA:
        method = logins.Method(table, way)
        caught = [method.caught(kind, 1e-3) for kind in logins.KINDS]
        assert min(caught) > 0.8, way
        assert method.auc() > 0.995


def test_dates_that_are_foreseen_help():
    """Users' own logins are further below those of attackers."""
    own = told().filter(pl.col("attack").is_null())
    highest = {way: own[way].sort(descending=True)[20] for way in logins.OPTIMA}
    assert highest["foreseen"] < highest["optimum"]


def test_each_kind_of_network_says_what_it_says():
    """Nobody lives at a hoster, attackers have no VPN; that is not known of kinds of networks that are not."""
    made, plan = simulated()
    kind = plan.places.kind[[plan.places.pools[pool].provider for pool in log().pool]]
    known = optimum(made, plan, since=logins.LEARN)["optimum"].to_numpy()
    unknown = optimum(made, plan, since=logins.LEARN, kinds=False)["optimum"].to_numpy()
    hosted = kind == HOSTING
    assert hosted.sum() > 10
    assert (known[hosted] > unknown[hosted]).all()
    assert known[kind == VPN].max() < 0


def test_a_borrowed_phone_is_odd_but_not_impossible():
    """Its bits are above nearly all of users' own; in networks that attackers never use it says nothing."""
    life = simulated()[1].life
    made = simulate(users=60, days=12, seed=3, attack_rate=0, life=type(life)(borrowed=0.01))
    plan = planned(users=60, days=12, seed=3)
    seen = observed(made, plan)
    bits = optimum(made, plan, since=1)["optimum"].to_numpy()
    lent = seen.circumstance == BORROWED
    assert lent.sum() > 3
    assert np.quantile(bits[~lent], 0.999) < bits[lent].max() < 40
    assert bits[lent].min() < -40


def test_attackers_are_where_they_may_be():
    """The chances of cities sum to one: of the world, abroad, and of the rest of the user's country."""
    lives = Lives(simulated()[1], log())
    attackers = Attackers(lives, logins.LEARN)
    user = int(log().user[0])
    of_user = log().user == user
    home = lives.people.city[user, 0]
    same = lives.places.country == lives.places.country[home]
    weight = lives.places.city_weight
    expected = weight / weight[~same].sum()
    there = lives.there[of_user]
    np.testing.assert_allclose(attackers.abroad[of_user], np.where(same[there], 0, expected[there]))
    np.testing.assert_array_equal(attackers.same_city[of_user], there == home)


def test_journeys_take_longer_the_further_they_lead():
    """By road up to 400 km, by air behind that."""
    km = np.array([0.0, 90.0, 390.0, 2_000.0, 7_800.0, 10_000.0])
    hours = travel_hours(km)
    assert hours[0] == 0.7
    assert hours[1] == pytest.approx(1.7)
    assert all(low < high for low, high in pairwise(hours.tolist()))
    assert hours[-1] == pytest.approx(3.5 + 10_000 / 780 + 4)
