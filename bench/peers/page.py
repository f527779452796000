"""The page of benchmarks, from figures that are kept: the same figures always give the same page."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Row = Mapping[str, Any]
AMISS = "amiss"
OPTIMUM = "optimum"


class Metric(NamedTuple):
    """A figure: its name among results, its title, how it is printed, and whether more of it is better."""

    key: str
    title: str
    form: str = ".3f"
    high: bool = True

    def shown(self, row: Row) -> str:
        """The figure as it is printed."""
        value = row.get(self.key)
        return "" if value is None else format(value, self.form)

    def better(self, one: Row, other: Row) -> bool:
        """Whether one row has more of what is good than another, as printed; not if either has none."""
        if one.get(self.key) is None or other.get(self.key) is None or self.shown(one) == self.shown(other):
            return False
        return bool(one[self.key] > other[self.key]) is self.high


SHARE = ".0%"
KINDS = {"world": "anywhere", "country": "own country", "spray": "spraying", "theft": "stolen session"}
RATES = {"1_in_10000": "1 in 10,000", "1_in_1000": "1 in 1,000"}
LOGIN_METRICS = tuple(
    Metric(f"{kind}_{rate}", f"{title}, {said}", SHARE) for rate, said in RATES.items() for kind, title in KINDS.items()
)

METRICS: Mapping[str, tuple[Metric, ...]] = {
    "marketplace": (
        Metric("average_precision", "average precision"),
        Metric("auc", "AUC", ".4f"),
        Metric("caught_none_false", "caught, no normal user flagged", SHARE),
        Metric("caught_one_false", "caught, one flagged a day", SHARE),
        Metric("caught_own", "caught at 10 bits", SHARE),
        Metric("normal_own", "normal users at 10 bits", ".1f", high=False),
    ),
    "logins": (
        *LOGIN_METRICS,
        Metric("auc", "AUC"),
    ),
    "purchases": (
        Metric("recall", "recall, one alarm for each odd user"),
        Metric("recall_at_two", "two alarms for each"),
        Metric("average_precision", "average precision of days"),
        Metric("auc", "AUC of days"),
    ),
    "curriculum": (
        Metric("scraper", "scrapers", SHARE),
        Metric("surge", "surges", SHARE),
        Metric("silence", "silences", SHARE),
    ),
    "schonlau": (
        Metric("hits", "hits, %", ".1f"),
        Metric("false_alarms", "false alarms, %", ".2f", high=False),
        Metric("cost", "cost", ".1f", high=False),
        Metric("auc", "AUC"),
    ),
    "hdfs": (
        Metric("precision", "precision", ".4f"),
        Metric("recall", "recall", ".4f"),
        Metric("f1", "F1"),
    ),
    "nab": (
        Metric("standard", "standard", ".1f"),
        Metric("reward_low_FP_rate", "few false alarms", ".1f"),
        Metric("reward_low_FN_rate", "few misses", ".1f"),
    ),
    "fraud-handbook": (
        Metric("auc", "AUC"),
        Metric("ap", "average precision"),
        Metric("card_precision_100", "card precision@100"),
    ),
}

SIMULATED = ("marketplace", "logins", "purchases", "curriculum")
PUBLISHED = ("schonlau", "hdfs", "nab", "fraud-handbook")

RECALLED: Mapping[str, Sequence[Row]] = {
    "nab": (
        {"way": "HTM (as published)", "standard": 70.1},
        {"way": "KNN-CAD (as published)", "standard": 58.0},
        {"way": "relative entropy (as published)", "standard": 54.6},
        {"way": "windowed Gaussian (as published)", "standard": 39.6},
        {"way": "random (as published)", "standard": 16.8},
    ),
    "hdfs": (
        {"way": "counts of keys and lengths (as recalled)", "f1": 0.988},
        {"way": "LogAnomaly (as recalled)", "f1": 0.976},
        {"way": "DeepLog (as recalled)", "f1": 0.945},
    ),
}
"""What `amiss evaluate` does not print beside its own figures."""

PARTS = (*SIMULATED, *PUBLISHED, "speed")
PROSE = tomllib.loads((Path(__file__).parent / "prose.toml").read_text(encoding="utf-8"))


def text(results: Row) -> str:
    """The page in Markdown."""
    parts = results["parts"]
    sections = [PROSE["introduction"], losses(parts)]
    sections += [simulated(name, parts.get(name)) for name in SIMULATED]
    sections += [published(name, parts.get(name)) for name in PUBLISHED]
    sections += [speed(parts.get("speed")), conditions(parts)]
    return "\n".join(section.rstrip() + "\n" for section in sections)


def simulated(name: str, part: Row | None) -> str:
    """The section of a simulated task."""
    about = PROSE[name]
    lines = [f"## {about['title']}", "", about["about"]]
    if part is None:
        return "\n".join([*lines, "Not measured yet."])
    found = [row for row in part["found"] if "figures" in row]
    lines += [*table(name, rows_of(name, part), found), ""]
    lines += [f"![{about['title']}](benchmarks-{name}.svg)", ""]
    reasons = [f"* {row['way']}: {why_not(row)}" for row in part["found"] if "figures" not in row]
    return "\n".join([*lines, *reasons, *([""] if reasons else []), about["caution"]])


def why_not(row: Row) -> str:
    """Why a row has no figures."""
    if "not_for" in row:
        return f"does not apply; {row['not_for']}."
    return f"not measured: {row['absent']}." if "absent" in row else f"failed with {row['failed']}."


def published(name: str, part: Row | None) -> str:
    """The section of published data."""
    about = PROSE[name]
    lines = [f"## {about['title']}", "", about["about"]]
    if part is None:
        return "\n".join([*lines, "Not measured yet."])
    if "absent" in part["found"]:
        lines += [f"amiss is not measured: {part['found']['absent']}", ""]
    else:
        lines += [f"{part['found']['about']}.", ""]
    return "\n".join([*lines, *table(name, rows_of(name, part)), "", about["caution"]])


def rows_of(name: str, part: Row) -> list[Row]:
    """The figures of a part by `way`; and by `week` where it has several."""
    if name in SIMULATED:
        return [{"way": row["way"], **row["figures"]} for row in part["found"] if "figures" in row]
    found = part["found"]
    recalled = list(RECALLED.get(name, ()))
    if "absent" in found:
        return recalled
    if name == "nab":
        return [{"way": AMISS, **{each["profile"]: each["score"] for each in found["figures"]}}, *recalled]
    return [{"way": each.get("way", each.get("detector")), **each} for each in found["figures"]]


def table(name: str, rows: Sequence[Row], found: Sequence[Row] = ()) -> Iterator[str]:
    """Figures in Markdown, the best ones bold; behind them times, where they were taken."""
    metrics, weeks = METRICS[name], any("week" in row for row in rows)
    heading = ["", *(["week"] if weeks else []), *(metric.title for metric in metrics), *(["time"] if found else [])]
    yield f"| {' | '.join(heading)} |"
    yield "|---|" + "--:|" * (len(heading) - 1)
    for number, row in enumerate(rows):
        cells = [row["way"], *([row["week"]] if weeks else [])]
        cells += [marked(metric, row, rows) for metric in metrics]
        cells += [cost(found[number])] if found else []
        yield f"| {' | '.join(cells)} |"


def marked(metric: Metric, row: Row, rows: Sequence[Row]) -> str:
    """A figure, bold where none of the same week is better; of the optimum never."""
    rivals = [each for each in rows if each.get("week") == row.get("week") and each["way"] != OPTIMUM]
    with_figures = [each for each in rivals if each.get(metric.key) is not None]
    best = row["way"] != OPTIMUM and len(with_figures) > 1 and not any(metric.better(each, row) for each in rivals)
    shown = metric.shown(row)
    return f"**{shown}**" if best and shown else shown


def cost(row: Row) -> str:
    """Seconds of amiss, and of others the ratio to those beside it."""
    return f"{row['seconds']:.2g} s" if row["way"] == AMISS else times(row["ratio"])


def times(ratio: float) -> str:
    """A ratio in two digits."""
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"


def losses(parts: Mapping[str, Row]) -> str:
    """The section on where amiss loses, from all rows that are better than it; the optimum is one by its making."""
    lines = ["## Where amiss loses", "", PROSE["losses"]]
    found = [line for name in METRICS if name in parts for line in lost(name, parts[name])]
    found += slower(parts)
    return "\n".join([*lines, *(found or ["Nowhere among what is measured here."])])


def lost(name: str, part: Row) -> Iterator[str]:
    """Where a part has somebody better, a line for each figure."""
    rows = rows_of(name, part)
    if "absent" in part["found"]:
        yield f"* **{name}**: amiss is not measured, so nothing says that it is better"
    for ours in (row for row in rows if row["way"].startswith(AMISS)):
        if name in SIMULATED and ours["way"] != AMISS:
            continue
        for metric in METRICS[name]:
            ahead = [row for row in rows if rival(row, ours) and metric.better(row, ours)]
            if ahead:
                where = f"{name}, {ours['way']}" if ours["way"] != AMISS else name
                week = f" ({ours['week']} week)" if "week" in ours else ""
                told = "; ".join(f"{row['way']} {metric.shown(row)}" for row in ahead)
                yield f"* **{where}{week}, {metric.title}**: {metric.shown(ours)}, behind {told}"


def rival(row: Row, ours: Row) -> bool:
    """Whether a row competes with one of amiss: it is another's, not the optimum, of the same week."""
    return row["way"] != OPTIMUM and not row["way"].startswith(AMISS) and row.get("week") == ours.get("week")


def slower(parts: Mapping[str, Row]) -> Iterator[str]:
    """Where somebody is faster, or takes less memory."""
    for name in (name for name in SIMULATED if name in parts):
        rows = [row for row in parts[name]["found"] if "ratio" in row and rival(row, {})]
        ahead = [f"{row['way']} in {row['ratio']:.2g} of its time" for row in rows if row["ratio"] < 0.95]
        if ahead:
            yield f"* **{name}, time** (features made beforehand): {'; '.join(ahead)}"
    if "speed" in parts:
        found = parts["speed"]["found"]
        yield from lighter(found["batch"])
        yield from lighter_by_event(found["singles"])


def lighter(batch: Sequence[Row]) -> Iterator[str]:
    """Where whole logs take less time, by runs beside each other, or less memory."""
    measured = [row for row in batch if "ratio" in row]
    faster = [f"{row['way']} in {times(row['ratio'])} of its time" for row in measured if row["ratio"] < 1]
    smaller = [
        f"{row['way']} {row['mib']:,} against {row['amiss_mib']:,} MiB"
        for row in measured
        if row["mib"] < row["amiss_mib"]
    ]
    for what, told in (("time", faster), ("memory", smaller)):
        if told:
            yield f"* **a whole log, {what}**: {'; '.join(told)}"


def lighter_by_event(singles: Sequence[Row]) -> Iterator[str]:
    """Where single events take less of something."""
    measured = [row for row in singles if "mean" in row]
    for what, unit in (("mean", "µs on average"), ("mib", "MiB")):
        for ours in (row for row in measured if row["way"].startswith(AMISS)):
            for row in (row for row in measured if row[what] < ours[what]):
                told = f"{row['way']} {row[what]:,.0f} against {ours[what]:,.0f} {unit}"
                yield f"* **single events**: {told}"


def speed(part: Row | None) -> str:
    """The section on speed and memory."""
    lines = ["## Speed and memory", ""]
    if part is None:
        return "\n".join([*lines, "Not measured yet."])
    found = part["found"]
    lines += [*batches(found["batch"]), "", *growth(found), "", *streams(found)]
    return "\n".join(lines)


def batches(rows: Sequence[Row]) -> Iterator[str]:
    """Whole logs by whole processes."""
    events = next((row["events"] for row in rows if "events" in row), 0)
    yield PROSE["batch"].format(events=events)
    yield "| | seconds | amiss beside it | time | processor | memory, MiB | amiss |\n|---|" + "--:|" * 6
    for row in rows:
        if "failed" in row:
            yield f"| {row['way']} | failed: {row['failed']} | | | | | |"
            continue
        ratios = f"{times(row['ratio'])} | {times(row['cpu_ratio'])}"
        memory = f"{row['mib']:,} | {row['amiss_mib']:,}"
        yield f"| {row['way']} | {row['seconds']:.1f} | {row['amiss_seconds']:.1f} | {ratios} | {memory} |"


def growth(found: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """How seconds and memory grow."""
    for name, title in (("events", "of 100,000 users"), ("users", "two million events each")):
        rows = found[name]
        yield f"By number of {name}, {title}, one run each:"
        yield ""
        yield f"| {name} | | seconds | processor seconds | memory, MiB |\n|--:|---|--:|--:|--:|"
        for row in rows:
            yield f"| {row[name]:,} | {row['way']} | {row['seconds']:.1f} | {row['cpu']:.1f} | {row['mib']:,} |"
        yield ""
    yield "![Seconds and memory by events and users](benchmarks-growth.svg)"


def streams(found: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """Streams and single events."""
    yield "`amiss watch` on NDJSON with durable commits, behind a day that was learned, by users in its state:"
    yield ""
    yield "| users | events | events a second | processor seconds | memory, MiB |\n|--:|--:|--:|--:|--:|"
    for row in found["stream"]:
        cells = f"{row['events_per_second']:,} | {row['cpu']:.1f} | {row['mib']:,}"
        yield f"| {row['users']:,} | {row['events']:,} | {cells} |"
    yield ""
    for row in found["singles"]:
        if "failed" in row:
            yield f"* {row['way']} failed: {row['failed']}"
        elif "p50" in row:
            tail = f"p99 {row['p99']:,.0f}, p99.9 {row['p99.9']:,.0f}"
            half = f"median {row['p50']:,.0f} µs, mean {row['mean']:,.0f}"
            yield f"* `{row['way']}`, 10,000 users in state: {half}, {tail}; {row['mib']:,} MiB"
        else:
            rate = f"{row['mean']:,.0f} µs on average, {row['events_per_second']:,} events a second"
            yield f"* {row['way']}, `score_one` and `learn_one`, no users kept: {rate}; {row['mib']:,} MiB"
            watches = [each["events_per_second"] for each in found["stream"] if each["users"] == 10_000]
            for watch in watches:
                faster = times(watch / row["events_per_second"])
                yield f"* events a second of `amiss watch` with 10,000 users over those of {row['way']}: {faster}"


def conditions(parts: Mapping[str, Row]) -> str:
    """When, where and with what each part was measured."""
    lines = [
        "## Measured",
        "",
        "| part | date | machine | load, before and behind | Python | sources |",
        "|---|---|---|---|---|---|",
    ]
    for name in (name for name in PARTS if name in parts):
        under = parts[name]["conditions"]
        load = " → ".join(str(each) for each in under["load"])
        cells = [name, under["date"], under["machine"], load, under["python"], under["commit"]]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "The load is of a machine that others used meanwhile: seconds are worth little, ratios of runs in turn more.",
        "",
    ]
    said: dict[str, list[str]] = {}
    for name in (name for name in PARTS if name in parts):
        versions = parts[name]["conditions"]["versions"]
        said.setdefault(", ".join(f"{package} {versions[package]}" for package in versions), []).append(name)
    return "\n".join([*lines, *(f"With {versions} ({', '.join(names)})." for versions, names in said.items())])
