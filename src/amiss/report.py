"""One HTML file about a scan: a page as :mod:`amiss.page` makes them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import polars as pl
from markupsafe import escape as html

from amiss import escape, page, plots, plots_activity, story
from amiss.story import Skipped, Step

if TYPE_CHECKING:
    from amiss.fields import Fields
    from amiss.result import Result, Summary

ROWS: Final = 24
"""About how many events of a story are told."""

PROFILE_ROWS: Final = 8
SAMPLES: Final = 10
LEAST_DAYS: Final = 7
"""Days of a log from which on activity over time is drawn."""

MOST_DAYS: Final = 366
CHARTED: Final = 6
"""The last days, and the first users, whose activity is drawn."""

WIDE: Final = {"width": 860, "height": 300}
NARROW: Final = {"width": 215, "height": 260}


def write_report(result: Result, path: str | Path, *, top: int = 20) -> None:
    """Write the report of a scan as one self-contained HTML file.

    Parameters
    ----------
    result
        What a scan gave.
    path
        The file to write.
    top
        How many users are ranked, with their stories.

    Raises
    ------
    SinkError
        If the file cannot be written.
    """
    page.write(render(result, top=top), path)


def render(result: Result, *, top: int = 20) -> str:
    """The report of a scan as HTML; see :func:`write_report`."""
    return page.rendered("report.html", _page(result, top))


def html_repr(result: Result, top: int = 10) -> str:
    """The first users of a ranking as a small HTML table, for notebooks."""
    rows = [_repr_row(row) for row in result.users.head(top).iter_rows(named=True)]
    summary = result.summary
    said = f"{summary.events:,} events of {story.plural(summary.users, 'user')}. Alerts: {story.alerts_said(summary)}."
    head = "<tr><th>severity</th><th>bits</th><th>user</th><th>why</th></tr>"
    table = f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<div><p><b>{html(_headline(result))}</b> {html(said)}</p>{table}</div>"


def _repr_row(row: Mapping[str, Any]) -> str:
    cells = (row["severity"], f"{row['bits']:.1f}", escape.label(row["user"]), story.why(row["reasons"]))
    return f"<tr>{''.join(f'<td>{html(cell)}</td>' for cell in cells)}</tr>"


def _page(result: Result, top: int) -> dict[str, object]:
    """Everything the page says."""
    summary, users = result.summary, result.users.head(top)
    told = {user: result.story(user) for user in users["user"]}
    active = {user: events for user, events in told.items() if not events.is_empty()}
    middle = story.ordinary(result.users)
    common = (middle, result.story(middle)) if middle is not None else None
    return {
        "headline": _headline(result),
        "lead": _lead(result),
        "sources": ", ".join(escape.label(source, 60) for source in summary.sources[:3]),
        "period": story.span(summary.first_time, summary.last_time),
        "figures": _figures(summary),
        "timeline": _timeline(active, common, summary.threshold_bits),
        "ranking": _ranking(users, summary),
        "alerts": summary.alerts,
        "limit": f"alerts start at {summary.threshold_bits:.1f} bits",
        "more": _more(result, users),
        "pair": _pair(result, active, common),
        "activity": _activity(result, users["user"].head(CHARTED).to_list()),
        "stories": _stories(result, users, told),
        "key": _key(),
        "facts": _facts(summary),
        "fields": _guesses(summary.fields),
        "quarantine": _quarantined(summary),
        "users_said": story.plural(summary.users, "user"),
        "meaning": story.rarity(summary.threshold_bits, summary.users_per_day).replace(":", " come"),
        **_maps(result.transitions()),
    }


def _ranked(users: pl.DataFrame) -> Iterator[tuple[int, dict[str, Any]]]:
    return enumerate(users.iter_rows(named=True), 1)


def _headline(result: Result) -> str:
    return story.headline(result.summary, result.users["user"][0] if result.users.height else None)


def _lead(result: Result) -> str:
    """The sentence below the headline: the first user's bits and strongest reason."""
    if not result.users.height:
        return "The log has no events that could be judged."
    first = result.users.row(0, named=True)
    reasons = story.why(first["reasons"], 0)
    rarity = story.rarity(first["bits"], result.summary.users_per_day).replace(":", ",", 1)
    name = escape.label(first["user"])
    lead = f"{name} reached" if result.summary.alerts else f"Nearest comes {name} with"
    return f"{lead} {rarity}{': ' if reasons else ''}{reasons}."


def _figures(summary: Summary) -> list[dict[str, str]]:
    chance = f"{summary.expected_alarms_per_day:,.2g} a day by chance at most"
    figures = (
        ("Alerts", f"{summary.alerts:,}", f"{_rounded(summary.actual_alarms_per_day)} a day; {chance}"),
        ("Users judged", f"{summary.users:,}", f"{summary.events:,} events"),
        ("Alerts start at", f"{summary.threshold_bits:.1f} bits", f"budget: {summary.budget_per_day:g} false a day"),
        ("Rows not read", f"{summary.quarantine.total:,}", _share_unread(summary)),
    )
    return [{"name": name, "value": value, "note": note} for name, value, note in figures]


def _rounded(value: float) -> str:
    return f"{value:,.2g}" if value < 10 else f"{value:,.0f}"


def _share_unread(summary: Summary) -> str:
    unread = summary.quarantine.total
    return f"{unread / (unread + summary.events):.2%} of all rows" if unread else "every row was understood"


def _timeline(
    told: Mapping[str, pl.DataFrame], common: tuple[str, pl.DataFrame] | None, threshold: float
) -> dict[str, str] | None:
    if not told:
        return None
    label = "Running evidence of the first users over their day"
    return {
        name: page.svg(plots.evidence_timeline(told, threshold_bits=threshold, ordinary=common, **size), label)
        for name, size in (("wide", WIDE), ("narrow", NARROW))
    }


def _ranking(users: pl.DataFrame, summary: Summary) -> list[dict[str, object]]:
    below = users["alert"].not_()
    first_below = below.arg_max() if below.any() and summary.alerts else None
    return [
        {
            **_named(rank, row),
            "why": story.why(row["reasons"]) or "\N{EM DASH}",
            "first_below": first_below is not None and rank == first_below + 1,
        }
        for rank, row in _ranked(users)
    ]


def _named(rank: int, row: Mapping[str, Any]) -> dict[str, object]:
    return {"rank": rank, "name": escape.label(row["user"]), "bits": row["bits"], "severity": row["severity"]}


def _more(result: Result, users: pl.DataFrame) -> str:
    """How many users are not listed, and how many of them alert."""
    hidden = result.users.height - users.height
    alerts = result.users.filter("alert").height - users.filter("alert").height
    said = f", {story.plural(alerts, 'alert')} among them" if alerts else ""
    return f"and {story.plural(hidden, 'user')} more{said}" if hidden else ""


def _pair(
    result: Result, told: Mapping[str, pl.DataFrame], common: tuple[str, pl.DataFrame] | None
) -> list[dict[str, object]]:
    """The first user beside an ordinary one, drawn to the same scale."""
    if common is None or not told:
        return []
    first = next(iter(told))
    top = max(1.0, *told[first]["surprisal"], *common[1]["surprisal"])
    profiles = {user: result.profile(user).sort("surprisal", descending=True) for user in (first, common[0])}
    most = max(1e-9, *(value for profile in profiles.values() for value in profile["surprisal"]))
    both = {first: told[first], common[0]: common[1]}
    strips = {user: plots.story_strip(events, top_surprisal=top) for user, events in both.items()}
    return [
        {
            **_met(result, user, events),
            "kind": "odd" if user == first else "",
            "strip": page.svg(strips[user], "Surprisal of each event in order"),
            "profile": _shares(profiles[user], most),
        }
        for user, events in both.items()
    ]


def _met(result: Result, user: str, events: pl.DataFrame) -> dict[str, object]:
    row = result.users.row(by_predicate=pl.col("user") == user, named=True)
    return {"name": escape.label(user), "bits": row["bits"], "events": story.plural(events.height, "event")}


def _activity(result: Result, users: Sequence[str]) -> list[dict[str, object]]:
    """How much users did on each day, where the log has enough of them."""
    summary = result.summary
    if (summary.last_time.date() - summary.first_time.date()).days + 1 < LEAST_DAYS or not users:
        return []
    bands = result.bands(users)
    return [_daily(user, days.tail(MOST_DAYS)) for user in users if len(days := bands.filter(user=user))]


def _daily(user: str, bands: pl.DataFrame) -> dict[str, object]:
    """How much a user did on each day."""
    name, above = escape.label(user), int(bands["flagged"].sum())
    said_of = "Events of each day, their moving mean and its band"
    chart = page.svg(plots_activity.small_chart(bands), said_of, is_compact=True)
    return {
        "name": name,
        "said": f"{above:,} of {story.plural(len(bands), 'day')} above the band",
        "chart": chart,
    }


def _shares(profile: pl.DataFrame, most: float) -> list[dict[str, object]]:
    """The actions with most surprisal, and how long their bars are."""
    return profile.head(PROFILE_ROWS).with_columns((pl.col("surprisal") / most).alias("share")).to_dicts()


def _stories(result: Result, users: pl.DataFrame, told: Mapping[str, pl.DataFrame]) -> list[dict[str, object]]:
    """What is told of each user, with a picture where a purchase speaks against them."""
    networks = result.networks(users["user"].to_list())
    drawn = {
        user: page.svg(plots.purchase_strip(*judged), "The purchase beside the last ones of people near the user")
        for user, judged in networks.items()
    }
    stories = ((row["user"], _story(result, rank, row, told[row["user"]])) for rank, row in _ranked(users))
    return [{**said, "purchase": drawn.get(user, "")} for user, said in stories]


def _story(result: Result, rank: int, row: Mapping[str, Any], told: pl.DataFrame) -> dict[str, object]:
    """What is told of one user."""
    alert = story.crossing(told, result.summary.threshold_bits) if row["alert"] else None
    highest = max([1.0, *told["surprisal"]]), max([1.0, *told["evidence"]])
    strip = plots.strip_columns(told)
    when = "none on that day" if told.is_empty() else story.span(told["time"][0], told["time"][-1])
    return {
        **_named(rank, row),
        "sentence": escape.visible(result.explain(row["user"])),
        "caption": f"{story.plural(told.height, 'event')}, {when}",
        "steps": [_step(part, highest, alert) for part in story.abridge(told, ROWS, keep=alert)],
        "columns": max(40, strip.height),
        "odd": _bars(strip.filter("odd"), highest[0]),
        "normal": _bars(strip.filter(pl.col("odd").not_()), highest[0]),
    }


def _bars(strip: pl.DataFrame, top: float) -> str:
    """Bars of a strip as one path in a box one high."""
    return "".join(
        f"M{column} 1v{-max(0.04, surprisal / top):.2f}h.7V1z"
        for column, surprisal in strip.select("column", "surprisal").iter_rows()
    )


def _step(part: Step | Skipped, highest: tuple[float, float], alert: int | None) -> dict[str, object]:
    """A row of a story."""
    if isinstance(part, Skipped):
        return {"skipped": f"\N{VERTICAL ELLIPSIS} {part.events:,} more, {part.bits:+.1f} bits together"}
    odd = "odd" if part.bits > 0 else ""
    return {
        "skipped": "",
        "time": f"{part.time:%H:%M:%S}",
        "gap": story.duration(part.gap_seconds),
        "action": part.action,
        "failed": part.outcome == "failure",
        "previous": part.previous or "",
        "alert": part.number == alert,
        "surprisal": part.surprisal,
        "share": part.surprisal / highest[0],
        "bits": part.bits,
        "level": part.evidence / highest[1],
        "evidence": part.evidence,
        "kind": f"{odd} alert" if part.number == alert else odd,
    }


def _maps(transitions: pl.DataFrame) -> dict[str, object]:
    """Heat maps of the outcomes that the log has, and what they leave out."""
    titles: dict[Literal["success", "failure"], str] = {"success": "when it succeeds", "failure": "when it fails"}
    seen = [outcome for outcome in titles if transitions.height and transitions[outcome].sum() > 0]
    draw = plots.surprisal_heat_map
    charts = [
        {
            "title": titles[outcome],
            "chart": page.svg(draw(transitions, outcome=outcome), f"Surprisal {titles[outcome]}"),
        }
        for outcome in seen
    ]
    actions = transitions["action"].n_unique() if transitions.height else 0
    left_out = f"The {plots.HEAT_ACTIONS} most frequent of {actions:,} actions are drawn."
    return {"maps": charts, "left_out": left_out if actions > plots.HEAT_ACTIONS else ""}


def _key() -> list[str]:
    low = plots.HEAT_BITS
    between = [f"{a} to {b}" for a, b in itertools.pairwise(low)]
    return [f"under {low[0]} bit", *between, f"{low[-1]} bits and more"]


def _facts(summary: Summary) -> list[dict[str, str]]:
    """The fine print."""
    facts = [
        ("Events", f"{summary.events:,} of {story.plural(summary.users, 'user')}"),
        (
            "Period",
            f"{story.span(summary.first_time, summary.last_time)}, {story.plural(summary.periods, 'day')} judged",
        ),
        *([("Silent", story.gaps_said(summary.gaps))] if summary.gaps else []),
        ("Learned from", summary.learned_from),
        *((f"Detector {name}", reason) for name, reason in summary.detectors.items()),
        ("Budget", story.budget_said(summary)),
        ("Alerts", story.alerts_said(summary)),
        *(("Alike", said) for said in story.crowds_said(summary.crowds)),
        ("Not read", story.quarantine_said(summary.quarantine)),
        ("Skipped", story.counted(summary.skipped, "line")),
        ("Sources", ", ".join(escape.label(source, 80) for source in summary.sources)),
        ("Time", story.rate(summary.events, summary.seconds)),
    ]
    return [{"name": escape.visible(name), "text": escape.visible(text)} for name, text in facts]


def _guesses(fields: Sequence[Fields]) -> list[dict[str, object]]:
    """What each kind of log was taken for, each kind once."""
    kinds = {(kind.preset, *((role, guess.column) for role, guess in kind.roles.items())): kind for kind in fields}
    return [{"preset": escape.label(kind.preset), "rows": _roles(kind)} for kind in kinds.values()]


def _roles(fields: Fields) -> list[dict[str, object]]:
    return [
        {"role": role, "column": guess.column, "sure": f"{guess.confidence:.0%}", "samples": guess.samples}
        for role, guess in fields.roles.items()
    ]


def _quarantined(summary: Summary) -> list[dict[str, object]]:
    return [
        {
            "file": sample.file,
            "position": sample.position,
            "reason": sample.reason,
            "text": story.beginning(sample.text, 120),
        }
        for sample in summary.quarantine.samples[:SAMPLES]
    ]
