"""Measure which attackers of simulated logins are found at which rate of false alarms, beside plain methods.

Prints Markdown, and draws the ROC curves where asked. All methods judge the same logins of the same simulation, from
the 21st day on; attackers come from then on. A false alarm is a login of a user that scores above the threshold (the
users' own logins on days on which they are attacked count neither way), an attack is caught when one of its logins
does. Ties are broken by lot.

The rules count what is new for the user: the country, the device. The estimators see logins as
:mod:`amiss.detect.login_vectors` makes them: hour, place, country, device; each week they are trained anew with all
logins before it, those of attackers too. OneClassSVM is one per user with five logins or more, the isolation forest one
for all, trained with 20,000 of them.

What networks are for (homes, phones, machines) amiss takes from the names of their providers. Two rows more tell what
becomes of it where these are numbers only, and where one in twenty of them is told to be of another kind.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from numpy.typing import NDArray

from amiss.baseline import Past
from amiss.detect import coding
from amiss.detect.login import Login
from amiss.detect.login_vectors import Encoding, Parts, packed, unpacked
from amiss.evaluate.logins import LEARN, RATES, WAYS, Method, judged, numbered, with_truth
from amiss.session import Session
from amiss.sessions import Events, group
from amiss.simulate.attackers import KINDS
from amiss.simulate.logins import FIRST_DATE, Simulated, simulate

RETRAIN = 7
"""Days after which estimators are trained anew."""

LEAST = 5
"""Logins of a user that an estimator of that user needs."""

SAMPLE = 20_000
WARM, TIMED = 30_000, 10_000
CURVE = np.geomspace(1e-5, 0.1, 81)
TITLES = {
    "world": "from anywhere in the world",
    "country": "from the user's own country",
    "spray": "password spraying",
    "theft": "stolen session",
}
NETWORKS = ("Broadband", "Mobile", "Business", "Hosting")
COLOURS = ("#c2410c", "#e89a55", "#2563ab", "#0f766e", "#8b3fa8")

Floats = NDArray[np.float64]


def coded(simulated: Simulated, ranges: Path) -> pl.DataFrame:
    """All logins that did not fail, in order: what the rules and the estimators see."""
    events = numbered(simulated)
    context = Login(wide=str(ranges)).context(events)
    whole = pl.concat([events.select("position", "time", "user"), context], how="horizontal")
    texts = [name for name, dtype in Login.context_schema.items() if dtype == pl.UInt32()]
    codes = whole.with_columns(pl.col(name).cast(pl.Categorical).to_physical() for name in texts)
    return codes.filter(pl.col("login") > 0).with_columns(
        day=(pl.col("time").dt.date() - FIRST_DATE).dt.total_days(),
        user=pl.col("user").cast(pl.Categorical).to_physical(),
    )


def rules(logins: pl.DataFrame) -> Floats:
    """How much of country and device is new for the user: 0, 1 or 2. Wide places have no country."""
    country = pl.struct("user", "country").is_first_distinct() & (pl.col("wide") == 0)
    device = pl.struct("user", "device").is_first_distinct()
    return logins.select(country.cast(pl.Float64) + device.cast(pl.Float64)).to_series().to_numpy()


def vectors(logins: pl.DataFrame) -> Parts:
    """The parts of logins as estimators get them."""
    none = pl.DataFrame(
        {"position": logins["position"], "time": logins["time"], "user": logins["user"].cast(pl.UInt32)}
    )
    grouped = none.with_columns(state=pl.lit(0), previous=pl.lit(-1), gap=pl.lit(-1))
    columns = logins.select("country", "device", "hour", "latitude", "longitude")
    return unpacked(*packed(Events.of(pl.concat([grouped, columns], how="horizontal"))))


def part(parts: Parts, rows: NDArray[np.int64]) -> Parts:
    """Some logins."""
    return Parts(*(each[rows] for each in parts))


def weeks(day: NDArray[np.int64]) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """What to train with and what to judge, week by week."""
    firsts = range(LEARN, int(day.max()) + 1, RETRAIN)
    return [(day < first, (day >= first) & (day < first + RETRAIN)) for first in firsts]


def support_vectors(logins: pl.DataFrame) -> Floats:
    """How far outside of what each user's OneClassSVM holds a login is, in units of the user's own spread."""
    from sklearn.svm import OneClassSVM

    parts, user, scores = vectors(logins), logins["user"].to_numpy(), np.zeros(len(logins))
    for before, now in weeks(logins["day"].to_numpy()):
        order = np.argsort(user, kind="stable")
        bounds = np.searchsorted(user[order], np.arange(user.max() + 2))
        for low, high in pairwise(bounds.tolist()):
            mine = order[low:high]
            train, judge = mine[before[mine]], mine[now[mine]]
            if len(train) < LEAST or not len(judge):
                continue
            encoding = Encoding.of(part(parts, train))
            points = encoding.points(part(parts, train))
            model = OneClassSVM(nu=0.05, gamma="scale").fit(points)
            inside = model.decision_function(points)
            outside = -model.decision_function(encoding.points(part(parts, judge)))
            scores[judge] = (outside + np.median(inside)) / (inside.std() + 1e-3)
    return scores


def isolation(logins: pl.DataFrame) -> Floats:
    """How easily an isolation forest of all users' logins isolates a login."""
    from sklearn.ensemble import IsolationForest

    parts, scores, random = vectors(logins), np.zeros(len(logins)), np.random.default_rng(0)
    for before, now in weeks(logins["day"].to_numpy()):
        train, judge = np.flatnonzero(before), np.flatnonzero(now)
        train = random.permutation(train)[:SAMPLE]
        encoding = Encoding.of(part(parts, train))
        model = IsolationForest(n_estimators=200, random_state=0).fit(encoding.points(part(parts, train)))
        for rows in np.array_split(judge, max(1, len(judge) // 20_000)):
            scores[rows] = -model.score_samples(encoding.points(part(parts, rows)))
    return scores


RIVALS: dict[str, Callable[[pl.DataFrame], Floats]] = {
    "country or device is new": rules,
    "OneClassSVM per user": support_vectors,
    "isolation forest": isolation,
}


def numbers(provider: pl.Expr) -> pl.Expr:
    """Providers by number, which tells nothing of what their networks are for."""
    return provider.str.extract(r"^(\S+)")


def mistaken(provider: pl.Expr) -> pl.Expr:
    """Providers of which one in twenty is told to be of another kind."""
    number = numbers(provider).str.slice(2).cast(pl.Int64)
    told = [pl.when(number // 20 % len(NETWORKS) == code).then(pl.lit(name)) for code, name in enumerate(NETWORKS)]
    return pl.when(number % 20 == 0).then(numbers(provider) + " " + pl.coalesce(told)).otherwise(provider)


TOLD = {"amiss, bits, providers by number": numbers, "amiss, bits, 1 in 20 kinds told wrong": mistaken}


def scored(seed: int, users: int, days: int) -> pl.DataFrame:
    """The logins of a simulation that are judged, with the score of each method, the kind of attack and its number."""
    simulated = simulate(users=users, days=days, seed=seed, attacks_after=LEARN)
    with TemporaryDirectory() as folder:
        ranges = Path(folder) / "vpn.txt"
        began = time.perf_counter()
        table = judged(simulated, ranges)[0].rename(WAYS)
        print(f"seed {seed}: {len(simulated.events):,} events", file=sys.stderr)
        print(f"  amiss {time.perf_counter() - began:.0f} s", file=sys.stderr)
        for name, change in TOLD.items():
            events = simulated.events.with_columns(change(pl.col("provider")))
            bits = judged(replace(simulated, events=events), ranges)[0].select("position", pl.col("bits").alias(name))
            table = table.join(bits, on="position", how="left")
        logins = coded(simulated, ranges)
    for name, rival in RIVALS.items():
        began = time.perf_counter()
        told = logins.select("position", pl.Series(name, rival(logins)))
        table = table.join(told, on="position", how="left")
        print(f"  {name} {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return with_truth(table, simulated).with_columns(seed=pl.lit(seed))


def table_of(methods: dict[str, Method]) -> str:
    """The figures in Markdown."""
    lines = ["| false alarms | method | " + " | ".join(KINDS) + " | AUC |", "|---|---|" + "--:|" * (len(KINDS) + 1)]
    for rate in RATES:
        for name, method in methods.items():
            shares = " | ".join(f"{method.caught(kind, rate):.1%}" for kind in KINDS)
            lines.append(f"| {round(rate * 10_000)} in 10,000 | {name} | {shares} | {method.auc():.3f} |")
    return "\n".join(lines)


def draw(methods: dict[str, Method], path: Path) -> None:
    """Write the ROC curves, a panel for each kind of attack."""
    import altair as alt

    rows = [
        {"method": name, "attack": TITLES[kind], "rate": rate, "caught": method.caught(kind, rate)}
        for name, method in methods.items()
        for kind in KINDS
        for rate in CURVE.tolist()
        if rate * method.logins >= 1
    ]
    colour = alt.Color("method:N", sort=list(methods), title=None).scale(domain=list(methods), range=list(COLOURS))
    line = alt.Chart(pl.DataFrame(rows)).mark_line(interpolate="step-after", strokeWidth=2).encode(
        alt.X("rate:Q", title="false alarms per login").scale(type="log", domain=[1e-5, 0.1]).axis(
            format="~e", values=[1e-5, 1e-4, 1e-3, 1e-2, 0.1]
        ),
        alt.Y("caught:Q", title="attacks caught").scale(domain=[0, 1]).axis(format="%"),
        colour.legend(orient="bottom", columns=3, labelLimit=300, symbolStrokeWidth=3),
    )  # fmt: skip
    panels = line.properties(width=300, height=190).facet(
        alt.Facet("attack:N", title=None, sort=[TITLES[kind] for kind in KINDS]), columns=2
    )
    chart = panels.configure(background="white", font="sans-serif").configure_view(stroke=None)
    chart.save(str(path))


def batches(simulated: Simulated, ranges: Path) -> float:
    """Logins that are judged in a second, day by day from the 21st on; reading and learning are not in it."""
    detector = Login(wide=str(ranges))
    code = coding([detector])
    events = simulated.events.with_columns(position=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))
    frame = code.encode(events.with_columns(event_id=pl.col("position").cast(pl.String)))
    day = (pl.col("time").dt.date() - FIRST_DATE).dt.total_days()
    learned = [detector.summarise(group(frame.filter(day == each))) for each in range(LEARN)]
    baseline, late = detector.baseline(Past(learned)), frame.with_columns(day=day).filter(pl.col("day") >= LEARN)
    judged = [group(part.drop("day")) for part in late.partition_by("day", maintain_order=True)]
    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        for events_of_day in judged:
            detector.score(events_of_day, baseline)
        seconds.append(time.perf_counter() - began)
    return sum(int(each.context["login"].sum()) for each in judged) / min(seconds)


def singles(simulated: Simulated, folder: Path, ranges: Path) -> tuple[float, float]:
    """Milliseconds that `Session.score` takes for a login, p50 and p99, behind a week or so of others."""
    rows = list(simulated.events.head(WARM + TIMED).iter_rows(named=True))
    taken = []
    with Session(folder / "state.db", detectors=[Login(wide=str(ranges))]) as session:
        for number, row in enumerate(rows):
            began = time.perf_counter()
            session.score(row)
            if number >= WARM and row["outcome"] == "success":
                taken.append(1e3 * (time.perf_counter() - began))
    low, high = np.percentile(taken, [50, 99]).tolist()
    return low, high


def measure_speed(seed: int, users: int) -> None:
    """Print how fast logins are judged."""
    simulated = simulate(users=users, days=40, seed=seed)
    with TemporaryDirectory() as folder:
        ranges = Path(folder) / "vpn.txt"
        ranges.write_text("\n".join(simulated.vpn_ranges))
        print(f"{batches(simulated, ranges):,.0f} logins a second in batches")
        low, high = singles(simulated, Path(folder), ranges)
        print(f"Session.score: p50 {low:.2f} ms, p99 {high:.2f} ms; load {os.getloadavg()[0]:.1f}")


def main() -> None:
    """Simulate, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, nargs="+", default=[101])
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--picture", type=Path, help="where to draw the ROC curves (.svg, .png)")
    parser.add_argument("--speed", action="store_true", help="measure speed in place of quality, with the first seed")
    options = parser.parse_args()
    if options.speed:
        measure_speed(options.seed[0], options.users)
        return
    table = pl.concat(scored(seed, options.users, options.days) for seed in options.seed)
    methods = {name: Method(table, name) for name in (*WAYS.values(), *TOLD, *RIVALS)}
    attacks = ", ".join(f"{kind} {len(ranks)}" for kind, ranks in next(iter(methods.values())).attacks.items())
    print(f"{len(table):,} judged logins of {options.users:,} users in {options.days} days; attacks: {attacks}.\n")
    print(table_of(methods))
    used = ", ".join(f"{name} {version(name)}" for name in ("amiss", "scikit-learn", "numpy", "polars"))
    print(f"\n{used}, Python {platform.python_version()}, {os.cpu_count()} cores.")
    if options.picture:
        draw({name: method for name, method in methods.items() if name not in TOLD}, options.picture)


if __name__ == "__main__":
    main()
