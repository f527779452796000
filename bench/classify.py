"""Measure classification: how well labels of day 1 name the kinds of simulated users on day 3, and how honest it is.

Prints Markdown. Of 3,000 users (and 200 new ones a day) 5 % have a label on day 1; the events of day 1 teach, and the
users of day 3 without a label are judged by what they did that day. Labels are of users drawn at random, where rare
kinds have none or a few, or of 5 % of each kind but at least 3. scikit-learn's multinomial naive Bayes gets the same
labels and the counts of each user. The optimum knows the chains that the simulation drew from, and how many users are
of which kind.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import altair as alt
import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.naive_bayes import MultinomialNB

from amiss.app import Reader
from amiss.detect.sequence import ACTION, Sequence
from amiss.engine import coded_frames
from amiss.fields import FieldChoice
from amiss.posterior import Classifier
from amiss.sessions import START, Events, Last, action_of, group
from amiss.simulate import write_marketplace
from amiss.simulate.profiles import load_profiles
from amiss.spool import Spool
from amiss.vocabulary import Coding

KINDS = load_profiles()
NAMES = [kind.name for kind in KINDS]
SHARE = 0.05
LEAST = 3
ODDS = 10.0
EDGES = np.array([0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0])
IMPOSSIBLE = -1e6

Floats = npt.NDArray[np.float64]
Labels = dict[int, str]


class Month(NamedTuple):
    """The grouped events of days, their counts, and of what kind each user is, by code."""

    events: list[Events]
    counts: list[pl.DataFrame]
    actions: list[str]
    truth: dict[int, str]


class Named(NamedTuple):
    """The likeliest kind of each user (u,), and its chance; `kinds` those that have labels, and what users are."""

    kinds: list[str]
    said: npt.NDArray[np.object_]
    chance: Floats
    truth: npt.NDArray[np.object_]

    @property
    def sure(self) -> npt.NDArray[np.bool_]:
        """Who is named at the odds."""
        return self.chance >= ODDS / (1.0 + ODDS)

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whose likeliest kind is theirs."""
        return self.said == self.truth


def simulated(seed: int, users: int) -> Month:
    """Three days of a marketplace."""
    with tempfile.TemporaryDirectory() as folder:
        log, truth = Path(folder) / "log.jsonl", Path(folder) / "truth.csv"
        write_marketplace(log, users=users, days=3, seed=seed, new_users_per_day=200, truth=truth)
        coding, spool, last = Coding(), Spool(), Last()
        for source in Reader(FieldChoice()).open(log):
            for frame in coded_frames(source, coding):
                spool.add(frame)
        events = [group(spool.select(day, pl.lit(value=True)), last) for day in spool.days()]
        kinds = dict(pl.read_csv(truth).select("user", "type").iter_rows())
    names = {code: kinds[user] for code, user in enumerate(coding.users.texts().to_list())}
    return Month(events, [Sequence().summarise(each) for each in events], coding.actions.texts().to_list(), names)


def at_random(truth: Mapping[int, str], random: np.random.Generator) -> Labels:
    """Labels of 5 % of the users."""
    users = sorted(truth)
    return {user: truth[user] for user in random.choice(users, round(SHARE * len(users)), replace=False).tolist()}


def of_each(truth: Mapping[int, str], random: np.random.Generator) -> Labels:
    """Labels of 5 % of the users of each kind, but of some at least."""
    found: Labels = {}
    for name in NAMES:
        users = [user for user in sorted(truth) if truth[user] == name]
        count = max(LEAST, round(SHARE * len(users)))
        found |= dict.fromkeys(random.permutation(users)[:count].tolist(), name)
    return found


def named(month: Month, labels: Labels, users: list[int], kinds: list[str], chances: Floats) -> Named:
    """What chances (u, k) of kinds say of the users without a label."""
    new = [at for at, user in enumerate(users) if user not in labels]
    best = chances[new].argmax(axis=1)
    said = np.array(kinds, dtype=object)[best]
    truth = np.array([month.truth[users[at]] for at in new], dtype=object)
    return Named(sorted(set(labels.values())), said, chances[new].max(axis=1), truth)


def ours(month: Month, labels: Labels) -> Named:
    """amiss: fitted on day 1, judging day 3; the chance of being of none is left to none."""
    posterior = Classifier.fit(month.counts[0], labels).judge(month.counts[2])
    return named(month, labels, posterior.users.tolist(), list(posterior.classes[:-1]), posterior.chances[:, :-1])


def naive_bayes(features: list[str]) -> Callable[[Month, Labels], Named]:
    """scikit-learn's naive Bayes on how often each user showed each value of some features, at its defaults."""

    def run(month: Month, labels: Labels) -> Named:
        tables = [_wide(month.counts[day], features) for day in (0, 2)]
        columns = sorted(set(tables[0].columns) - {"user"})
        users, matrix = _matrix(tables[0], columns)
        own = [at for at, user in enumerate(users) if user in labels]
        model = MultinomialNB().fit(matrix[own], [labels[users[at]] for at in own])
        users, matrix = _matrix(tables[1], columns)
        return named(month, labels, users, list(model.classes_), model.predict_proba(matrix))

    return run


def _wide(counts: pl.DataFrame, features: list[str]) -> pl.DataFrame:
    """Counts with a column for each value."""
    codes = [["action", "pause"].index(name) for name in features]
    some = counts.filter(pl.col("feature").is_in(codes)).with_columns(key=pl.format("{} {}", "feature", "value"))
    return some.pivot("key", index="user", values="count", aggregate_function="sum").fill_null(0)


def _matrix(table: pl.DataFrame, columns: list[str]) -> tuple[list[int], Floats]:
    """Users and their counts in the order of some columns."""
    missing = [pl.lit(0).alias(name) for name in columns if name not in table.columns]
    return table["user"].to_list(), table.with_columns(missing).select(columns).to_numpy().astype(float)


def optimum(*, pauses: bool) -> Callable[[Month, Labels], Named]:
    """What is said by who knows the chances of all kinds; with `pauses` also how long they last at the most."""

    def run(month: Month, labels: Labels) -> Named:
        counts, events = month.counts[2].filter(feature=ACTION), month.events[2]
        users = events.users.tolist()
        place = {user: at for at, user in enumerate(users)}
        bits = np.tile(np.log2([kind.share for kind in KINDS]), (len(users), 1))
        tables = [_chances(kind.after, kind.start) for kind in KINDS]
        for user, given, value, count in counts.select("user", "given", "value", "count").iter_rows():
            step = (_name(month.actions, given), _name(month.actions, value))
            bits[place[user]] += [count * _bits(table.get(step, 0.0)) for table in tables]
        if pauses:
            for at, (low, high) in enumerate(zip(events.first[:-1], events.first[1:], strict=True)):
                gaps = events.gap[low:high][events.gap[low:high] > 0] / 1e6
                longest = float(gaps.max(initial=0.0))
                bits[at] += [
                    -len(gaps) * math.log2(kind.velocity) if longest <= kind.velocity else IMPOSSIBLE for kind in KINDS
                ]
        chances = np.exp2(bits - np.logaddexp2.reduce(bits, axis=1)[:, None])
        return named(month, labels, users, NAMES, chances)

    return run


def _chances(after: Mapping[str, Mapping[str, float]], start: str) -> dict[tuple[str, str], float]:
    """The chances of steps, a session's first step from an empty text."""
    found = {("" if given == start else given, value): p for given, row in after.items() for value, p in row.items()}
    return {(_plain(given), _plain(value)): p for (given, value), p in found.items()} | {
        (_plain(start), _plain(value)): p for value, p in after[start].items()
    }


def _plain(name: str) -> str:
    """An action as the log shows it: with its outcome unless it succeeded."""
    return name.removesuffix(":success")


def _name(actions: list[str], state: int) -> str:
    """A state by name."""
    if state == START:
        return ""
    action, outcome = action_of(state)
    return actions[action] + (":fail" if outcome == "failure" else "")


def _bits(chance: float) -> float:
    """The logarithm of a chance."""
    return math.log2(chance) if chance > 0 else IMPOSSIBLE


def macro_f1(found: Named, which: npt.NDArray[np.bool_], *, missed: bool = False) -> float:
    """The mean F1 of the kinds with labels over some users; with `missed` the others count as not found."""
    scores = []
    for kind in found.kinds:
        true, said = found.truth == kind, (found.said == kind) & which
        hits, extra = int((true & said).sum()), int((said & ~true).sum())
        lost = int((true & ~said & (which | missed)).sum())
        if hits + extra + lost:
            scores.append(2 * hits / (2 * hits + extra + lost))
    return float(np.mean(scores))


def calibration_error(chance: Floats, right: npt.NDArray[np.bool_]) -> float:
    """The mean gap between chances and how often they are right, in ten bins of equal width."""
    bins = np.clip((chance * 10).astype(int), 0, 9)
    return float(sum(abs(float((chance - right)[bins == each].sum())) for each in range(10)) / len(chance))


WAYS: dict[str, Callable[[Month, Labels], Named]] = {
    "amiss": ours,
    "naive Bayes (scikit-learn), actions": naive_bayes(["action"]),
    "naive Bayes (scikit-learn), actions and pauses": naive_bayes(["action", "pause"]),
    "optimum, actions": optimum(pauses=False),
    "optimum, actions and pauses": optimum(pauses=True),
}


def figures(found: Named) -> list[float]:
    """What is told of a way: F1 of all, share of don't know, F1 where these are missed, F1 of who is named, errors."""
    everybody = np.ones(len(found.said), np.bool_)
    strangers = ~np.isin(found.truth, found.kinds)
    return [
        macro_f1(found, everybody),
        float(1.0 - found.sure.mean()),
        macro_f1(found, found.sure, missed=True),
        macro_f1(found, found.sure),
        float((~found.right)[found.sure].mean()),
        float(found.sure[strangers].mean()) if strangers.any() else math.nan,
        calibration_error(found.chance, found.right),
    ]


def rows(design: Callable[..., Labels], months: Mapping[int, Month], pooled: dict[str, list[Named]]) -> Iterator[str]:
    """A line of the table for each way."""
    for name, way in WAYS.items():
        told = []
        for seed, month in months.items():
            here = {user: month.truth[user] for user in month.events[0].users.tolist()}
            found = way(month, design(here, np.random.default_rng(seed)))
            pooled.setdefault(name, []).append(found)
            told.append(figures(found))
        f1, unsure, missed, sure, wrong, strangers, error = (
            float(np.nanmean(column)) if not np.isnan(column).all() else math.nan for column in np.array(told).T
        )
        spread = np.std([each[0] for each in told])
        unlike = "-" if math.isnan(strangers) else f"{strangers:.0%}"
        cells = [f"{f1:.3f} ± {spread:.3f}", f"{unsure:.1%}", f"{missed:.3f}", f"{sure:.3f}", f"{wrong:.2%}"]
        yield f"| {name} | {' | '.join([*cells, unlike, f'{error:.4f}'])} |"


def reliability(pooled: Mapping[str, list[Named]]) -> alt.LayerChart:
    """How often the likeliest kind is right, by its chance; points are as large as the users are many."""
    told = []
    for name in ("amiss", "naive Bayes (scikit-learn), actions"):
        chance = np.concatenate([each.chance for each in pooled[name]])
        right = np.concatenate([each.right for each in pooled[name]])
        bins = np.clip(np.searchsorted(EDGES, chance, side="left") - 1, 0, len(EDGES) - 2)
        for each in np.unique(bins):
            inside = bins == each
            told.append({
                "way": name, "chance": float(chance[inside].mean()), "right": float(right[inside].mean()),
                "users": int(inside.sum()),
            })  # fmt: skip
    axis = alt.Axis(format="%")
    scale = alt.Scale(domain=[0, 1])
    base = alt.Chart(alt.Data(values=told))
    x = alt.X("chance:Q", scale=scale, axis=axis, title="chance that was said")
    y = alt.Y("right:Q", scale=scale, axis=axis, title="how often it was right")
    colour = alt.Color("way:N", title=None, legend=alt.Legend(orient="top", labelLimit=300))
    users = alt.Size("users:Q", scale=alt.Scale(type="log", range=[20, 400]), title="users")
    ideal = alt.Chart(alt.Data(values=[{"a": 0.0}, {"a": 1.0}])).mark_line(strokeDash=[4, 4], color="grey")
    line = base.mark_line(strokeWidth=1).encode(x, y, colour)
    points = base.mark_point(filled=True, opacity=0.9).encode(x, y, colour, users)
    return (ideal.encode(x="a:Q", y="a:Q") + line + points).properties(width=420, height=320)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(9201, 9211)))
    parser.add_argument("--users", type=int, default=3_000)
    parser.add_argument("--plot", type=Path, help="where to draw the reliability diagram (.svg or .png)")
    given = parser.parse_args()
    months = {seed: simulated(seed, given.users) for seed in given.seeds}
    first, last = min(given.seeds), max(given.seeds)
    print(f"{len(months)} marketplaces (seeds {first} to {last}), {given.users:,} users, load {os.getloadavg()[0]:.1f}")
    for title, design in (("5 % of each kind, at least 3", of_each), ("5 % of all, at random", at_random)):
        pooled: dict[str, list[Named]] = {}
        print(f"\nLabelled: {title}.\n")
        print("| | macro-F1, all named | don't know | F1, these missed | F1 of the named | wrong | strangers | ECE |")
        print("|---|---|---|---|---|---|---|---|")
        for line in rows(design, months, pooled):
            print(line)
        if given.plot is not None and design is at_random:
            reliability(pooled).save(given.plot)


if __name__ == "__main__":
    main()
