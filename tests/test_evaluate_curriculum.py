"""Who knows how the simulated school is made: closed forms against sums, illnesses against all there can be."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from amiss.evaluate import curriculum
from amiss.evaluate.curriculum_optimum import Health, Honest, beginnings, odds, scraped, surged
from amiss.simulate.curriculum import PLANTED, Term, arranged, rates, simulate

HONEST = Honest(np.array([[0.8]]), np.array([[7.5]]))


@pytest.fixture(scope="module")
def term() -> Term:
    """A school of two hundred in a year."""
    return arranged(users=200, days=365, seed=5)


def chance(pages: float) -> float:
    """That an honest user has so many pages."""
    return float(HONEST.pages(np.array([[pages]]))[0, 0])


def test_days_of_honest_users_have_the_pages_that_are_drawn():
    """None in a fifth of days; above one page a Poisson number about a gamma of shape two."""
    random = np.random.default_rng(1)
    drawn = 1 + random.poisson(random.gamma(2.0, 7.5 / 2.0, 200_000))
    assert chance(0) == pytest.approx(0.2)
    for pages in (1, 2, 8, 30):
        assert chance(pages) == pytest.approx(0.8 * (drawn == pages).mean(), rel=0.1)
    sums = np.cumsum([chance(pages) for pages in range(400)])
    assert sums[-1] == pytest.approx(1.0)
    assert HONEST.at_most(np.array([[-1.0, 3.0, 3.5]]))[0] == pytest.approx([0.0, sums[3], (sums[3] + sums[4]) / 2])


@pytest.mark.parametrize("pages", [149, 150, 153, 400, 604, 640])
def test_the_chance_of_a_scraped_day_is_that_of_all_sums(pages: int):
    """150 to 600 pages, each as likely, and those of the user."""
    whole = sum(chance(pages - more) for more in range(150, min(pages, 600) + 1)) / 451
    told = float(scraped(HONEST, np.array([[float(pages)]]))[0, 0])
    assert told * chance(pages) == pytest.approx(whole, abs=1e-15)


@pytest.mark.parametrize("pages", [78, 79, 90, 130, 160])
def test_the_chance_of_a_surge_is_that_of_all_sums(pages: int):
    """Of a level of nine and a bit 6 to 12 times as much, rounded down, and 25, and those of the user."""
    level, steps = 9.03, 40_000
    more = (level * (6 + 6 * (np.arange(steps) + 0.5) / steps)).astype(int) + 25
    whole = float(np.mean(HONEST.pages((pages - more)[None, :].astype(float)) * (more <= pages)))
    told = float(surged(HONEST, np.array([[float(pages)]]), np.array([level]))[0, 0])
    assert told * chance(pages) == pytest.approx(whole, rel=1e-3, abs=1e-12)


def test_illness_is_a_mixture_of_all_illnesses_there_can_be():
    """A course from two days before the log on; each day without pages is as many times likelier of who is ill."""
    idle = [3.0, 5.0, 0.0, 2.0, 4.0, 7.0, 2.0, 0.0, 3.0]
    health, told = Health(np.array([-2]), np.array([9])), []
    for day, each in enumerate(idle):
        health.pass_day(day, np.array([each]))
        told.append(float(health.total[0]))
    for end in range(1, len(idle) + 1):
        whole = 0.75
        for first, length in product(range(-2, 10), (3, 4, 5, 6)):
            within = [day for day in range(first, first + length) if first >= 0 and day < end]
            whole += 0.25 / 12 / 4 * float(np.prod([idle[day] for day in within]))
        assert told[end - 1] == pytest.approx(whole)


def test_each_kind_begins_as_often_as_there_are_odd_users(term: Term):
    """Twenty of two hundred are odd, a third of each kind, on weekdays of courses behind the days that teach."""
    begins = beginnings(term, np.arange(200), 0.1, 60)
    assert begins.sum(axis=(1, 2)) == pytest.approx([20 / 3] * 3)
    assert not begins[:, :, :60].any()
    assert not begins[:, :, term.weekend | term.free | term.lost].any()
    assert not begins[:, term.people.staff].any()


def test_what_is_fixed_is_what_the_simulation_has():
    """Users are active as often as their rates say, but for illness, and never on days that are lost."""
    made, school = simulate(users=200, days=120, seed=9, odd_users=0), arranged(users=200, days=120, seed=9)
    day = (made.events["date"] - made.events["date"].min()).dt.total_days().to_numpy()
    came = np.zeros((200, 120), np.bool_)
    came[made.events["user_id"].to_numpy() - 1, day] = True
    expected = np.where(school.lost, 0.0, rates(school, np.arange(200))[0])
    assert 0.95 * expected.sum() < came.sum() < 1.02 * expected.sum()
    assert not came[expected == 0].any()


def test_who_knows_the_simulation_finds_all_and_promises_what_is_so():
    """No scraper, surge or silence is missed; as many days are odd as the odds say; usual days are none."""
    made = simulate(users=200, days=365, seed=5, odd_users=0.1, odd_after=60)
    of = curriculum.school(made, 365)
    bits = curriculum.optimum(of, 5, users=200)
    found = curriculum.at_one_a_day(bits, of, curriculum.TEACHING)
    assert found.hits == found.of
    assert sum(found.of.values()) == 20
    likely = 1.0 / (1.0 + np.exp2(-bits))
    assert likely[~of.odd].sum() == pytest.approx((1.0 - likely[of.odd]).sum(), rel=0.5, abs=3.0)
    assert (likely[(of.counts > 0) & (of.counts < 20)] < 0.01).all()


def test_a_silence_grows_with_each_day_that_was_to_be_expected(term: Term):
    """Weekends say little, days without a log nothing, and one page takes all of it back."""
    begins = beginnings(term, np.arange(200), 0.1, 60)[PLANTED.index("silence")]
    user = int(np.argmax((begins > 0).sum(axis=1)))
    first = int(np.flatnonzero(begins[user])[0])
    counts = np.full((1, 365), 5.0)
    counts[0, first : first + 14] = 0.0
    told = odds(term, np.array([user]), counts, share=0.1, after=60)[0]
    assert told[first - 1] == told[first + 14] == -np.inf
    assert told[first + 13] > told[first + 7] > told[first + 1] > told[first]
    busy = ~(term.weekend | term.free | term.lost)
    steps, days = np.diff(told[first : first + 14]), busy[first + 1 : first + 14]
    assert steps[~days].max(initial=0.5) < steps[days].max()
