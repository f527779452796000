"""One HTML file about groups of users: a page as :mod:`amiss.page` makes them, with the pictures of groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final

import polars as pl

from amiss import escape, labels, page, story
from amiss.behaviour import Grouped
from amiss.cast import FAILED, Cast, Chart, unseen
from amiss.plots_flow import flow_chart
from amiss.plots_groups import actions_chart, sizes_chart
from amiss.plots_map import drawn_said, map_chart, points_of

WIDE: Final = 1000
NARROW: Final = 340
"""Pixels of pictures, and of those on a phone."""

ROWS: Final = 24
"""Groups, changes and moves that are told at most."""

DAYS: Final = {"wide": {"map": 9, "flow": 10}, "narrow": {"map": 2, "flow": 3}}
"""Days that maps and flows show at most, the last ones."""

TOLD: Final = ("born", "split", "merged", "emptied", "returned")
"""What became of groups that is told; growing and shrinking is drawn."""


def write_report(found: Grouped, path: str | Path) -> None:
    """Write the report of groups as one self-contained HTML file.

    Raises
    ------
    SinkError
        If the file cannot be written.
    UsageError
        If there are no users.
    """
    page.write(render(found), path)


def render(found: Grouped) -> str:
    """The report of groups as HTML; see :func:`write_report`."""
    cast, days = Cast.of(found), [each.day for each in found.history.days]
    alive = found.groups.filter(pl.col("members") > 0)
    told = {
        "headline": _headline(found, days),
        "lead": _lead(found),
        "sources": ", ".join(escape.label(each, 60) for each in found.history.sources[:3]),
        "period": _period(found),
        "figures": list(_figures(found, days)),
        "sizes": _pictures(found, "sizes"),
        "actions": _pictures(found, "actions"),
        "map": _pictures(found, "map"),
        "flow": _pictures(found, "flow") if len(days) > 1 else None,
        "groups": [_group(row, cast) for row in alive.head(ROWS).iter_rows(named=True)],
        "more": _rest(len(alive), len(found.groups)),
        "is_daily": len(days) > 1,
        "is_labelled": alive["label"].is_not_null().any(),
        "drawn": _part(found),
        "last": {kind: _last(count, len(days)) for kind, count in DAYS["wide"].items()},
        "grey": " ".join(f"{each}: they are grey." for each in unseen(cast)),
        **_changes(found, days),
        **_moves(found),
    }
    return page.rendered("report_groups.html", told)


def _headline(found: Grouped, days: list[date]) -> str:
    """How many groups there are, and what is new on the last day."""
    alive = int((found.groups["members"] > 0).sum())
    said = f"{story.plural(len(found.members), 'user')} in {story.plural(alive, 'group')}"
    moved = len(found.moves.filter(pl.col("day") == days[-1])) if len(days) > 1 else 0
    return f"{said}, {moved:,} moved on the last day" if moved else said


def _lead(found: Grouped) -> str:
    """What most users do, and which group stands farthest from the others."""
    alive = found.groups.filter(pl.col("members") > 0)
    told = [
        f"group {row['id']}{_called(row)} ({row['share']:.0%}): {_does(row['does'])}"
        for row in alive.head(2).iter_rows(named=True)
    ]
    rest = len(alive) - len(told)
    small = int(alive["members"][len(told) :].sum())
    few = f" The other {story.plural(rest, 'group')} have {story.plural(small, 'user')}." if rest > 1 else ""
    return f"The largest are {'; '.join(told)}.{few}"


def _called(row: Mapping[str, Any]) -> str:
    """The label of a group, after its number."""
    name = labels.called(row)
    return f", {name}," if name else ""


def _last(shown: int, days: int) -> str:
    """Which days are drawn, where not all are."""
    return f"The last {shown} of {days} days are drawn." if shown < days else ""


def _part(found: Grouped) -> str:
    """How many users are on the map, where not all are."""
    points = points_of(found)
    return "" if points["user"].n_unique() == len(found.members) else drawn_said(found, points)


def _does(text: str) -> str:
    """What a group does, with failures in words."""
    return escape.listed(text.replace(FAILED, " failed"), 90)


def _period(found: Grouped) -> str:
    """The first day and the last."""
    first, last = found.history.days[0].day, max(found.members["last_day"])
    return f"{first} to {last}" if first != last else f"{first}"


def _reason(text: str) -> str:
    """What speaks for a group, with failures in words."""
    return escape.label(text.replace(FAILED, " failed"), 240)


def _figures(found: Grouped, days: list[date]) -> Iterator[dict[str, str]]:
    """The four figures at the top."""
    alive = found.groups.filter(pl.col("members") > 0)
    looked = "what follows what" if found.order else "what they do"
    groups = _figure("Groups", f"{len(alive):,}", f"by {looked}")
    if len(days) < 2:
        yield from (_figure("Users", f"{len(found.members):,}", "in all days together"), groups)
        yield _figure("Largest group", f"{alive['share'][0]:.1%}", "of all users")
        yield _figure(
            "Bits a user", f"{sum(found.members['bits']) / len(found.members):.1f}", "to tell their events, on average"
        )
        return
    new = found.changes.filter(pl.col("change").is_in(["born", "split"]), pl.col("day") > days[0])
    last = found.moves.filter(pl.col("day") == days[-1])
    yield _figure("Users", f"{len(found.members):,}", f"{len(found.history.days[-1].rows):,} came on the last day")
    yield from (groups, _figure("New groups", f"{len(new):,}", "since the first day"))
    yield _figure("Moved", f"{len(last):,}", "to another group, on the last day")


def _figure(name: str, value: str, note: str) -> dict[str, str]:
    return {"name": name, "value": value, "note": note}


def _pictures(found: Grouped, kind: str) -> dict[str, str]:
    """A picture for wide pages and one for phones."""
    return {size: _picture(found, kind, width, DAYS[size]) for size, width in (("wide", WIDE), ("narrow", NARROW))}


def _picture(found: Grouped, kind: str, width: int, days: Mapping[str, int]) -> str:
    """A picture of a kind."""
    chart: Chart
    if kind == "map":
        chart, label = map_chart(found, width=width, on_page=True, panels=days["map"]), "Users as points on a map"
    elif kind == "flow":
        chart, label = flow_chart(found, width=width, on_page=True, days=days["flow"]), "Users who went between groups"
    elif kind == "actions":
        chart, label = actions_chart(found, width=width, on_page=True), "Surprisal by action, stacked for each group"
    else:
        chart, label = sizes_chart(found, width=width, on_page=True), "Users of each group"
    return page.svg(chart, label, is_compact=True)


def _group(row: Mapping[str, Any], cast: Cast) -> dict[str, object]:
    """A row of the table of groups."""
    is_told = not row["change"].startswith(("born", "grew", "shrank"))
    history = f"{row['change']} on {row['changed']}" if is_told else ""
    told = {name: row[name] for name in ("id", "members", "share", "bits", "bits_per_event", "born")}
    drawn = {"colour": cast.colours.get(row["id"], ""), "does": _does(row["does"]), "history": history}
    return told | drawn | {"label": labels.said_of_group(row)}


def _more(count: int, noun: str) -> str:
    return f"and {story.plural(count - ROWS, noun)} more" if count > ROWS else ""


def _rest(alive: int, known: int) -> str:
    """How many groups are not listed."""
    gone = f"{story.plural(known - alive, 'group')} without members now" if known > alive else ""
    return "; ".join(each for each in (_more(alive, "group"), gone) if each)


def _changes(found: Grouped, days: list[date]) -> dict[str, object]:
    """What became of groups since the first day, the last first."""
    told = found.changes.filter(pl.col("change").is_in(TOLD), pl.col("day") > days[0])
    rows = told.sort("day", "id", descending=[True, False]).head(ROWS).iter_rows(named=True)
    said = [
        {"day": row["day"], "said": _change(row), "reason": _reason(row["reason"] or ""), "bits": row["bits"]}
        for row in rows
    ]
    return {"changes": said, "more_changes": _more(len(told), "change")}


def _change(row: Mapping[str, Any]) -> str:
    """What became of a group, in words."""
    number, other = row["id"], row["other"]
    words = {
        "born": f"group {number} is new, with {story.plural(row['after'], 'user')}",
        "split": f"group {number} split from group {other}, with {story.plural(row['after'], 'user')}",
        "merged": f"group {number} merged into group {other}",
        "emptied": f"group {number} lost its last {story.plural(row['before'], 'user')}",
        "returned": f"group {number} came back, with {story.plural(row['after'], 'user')}",
    }
    return words[row["change"]]


def _moves(found: Grouped) -> dict[str, object]:
    """Who moved, the last day first, and of a day those first whom the new group explains best."""
    ranked = found.moves.sort("day", "bits", "user", descending=[True, True, False])
    rows = ranked.head(ROWS).iter_rows(named=True)
    said = [
        {
            **row,
            "user": escape.label(row["user"]),
            "reason": _reason(row["reason"]),
        }
        for row in rows
    ]
    return {"moves": said, "more_moves": _more(len(found.moves), "move")}
