"""Groups of users as a terminal shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import polars as pl
from rich.text import Text

from amiss.escape import cells, label, listed, visible
from amiss.labels import said_of_group
from amiss.story import plural
from amiss.terminal import left, print_line, print_wrapped

if TYPE_CHECKING:
    from rich.console import Console

    from amiss.behaviour import Grouped

MOST_LINES: Final = 4
"""Lines of labels below a group."""

MOST_STEPS: Final = 40
"""Steps of a typical member that are told."""

TOLD: Final = {
    "born": "group {id} is new with {users}",
    "split": "group {id} split from group {other} with {users}",
    "merged": "group {id} merged into group {other}",
    "emptied": "group {id} lost its last members",
    "returned": "group {id} came back with {users}",
}
"""What becomes of a group, in words, but for growing and shrinking."""

_MARKS: Final = {"success": "", "failure": " ✗", "unknown": ""}


def print_groups(found: Grouped, screen: Console, top: int) -> None:
    """Print groups, and by day what became of them and who moved."""
    alive = found.groups.filter(pl.col("members") > 0)
    looked = "what follows what" if found.order else "what they do"
    said = f"{plural(len(found.members), 'user')} in {plural(len(alive), 'group')}, by {looked}."
    print_wrapped(Text(said, style="bold"), screen)
    print_line(screen)
    is_daily = len(found.history.days) > 1
    grown = _grown(found) if is_daily else {}
    print_line(
        screen,
        Text(
            _row(("group", "members", "change", "share", "bits", "born"), "what they do", daily=is_daily), style="dim"
        ),
    )
    for row in alive.head(top).iter_rows(named=True):
        change = grown.get(row["id"], 0)
        figures = (
            str(row["id"]), f"{row['members']:,}", f"{change:+,}" if change else "", f"{row['share']:.1%}",
            f"{row['bits']:.1f}", str(row["born"]),
        )  # fmt: skip
        indent = cells(_row(figures, "", daily=is_daily))
        room = max(16, screen.width - indent)
        print_line(screen, Text(_row(figures, listed(row["does"], room), daily=is_daily)))
        for line in _label_lines(row, room):
            print_line(screen, Text(" " * indent + line, style="bold"))
    _print_more(len(alive) - top, "group", screen)
    more = "; change: since the day before" if is_daily else ""
    more += "; bold: labels, and how many labelled members have them" if alive["label"].is_not_null().any() else ""
    print_wrapped(Text(f"bits: the cost of telling a member's events{more}", style="dim"), screen)
    if is_daily:
        _print_changes(found, screen, top)
        _print_moves(found, screen, top)


def _label_lines(row: Mapping[str, Any], room: int) -> list[str]:
    """What a group and its members are called, in lines of so many cells."""
    lines: list[str] = []
    width = max(6, room - cells(f" {row['with_label']:,} of {row['labelled']:,} labelled"))
    for part in said_of_group(row, width).split("; "):
        longer = f"{lines[-1]}; {part}" if lines else part
        if lines and cells(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(label(part, room))
    return lines[:MOST_LINES] if lines != [""] else []


def _row(figures: Sequence[str], words: str, *, daily: bool) -> str:
    """A line of the table; change and day of birth stand there day by day alone."""
    widths = (5, 7, 6, 6, 6, 10)
    kept = range(6) if daily else (0, 1, 3, 4)
    return "  ".join([*(f"{figures[at]:>{widths[at]}}" for at in kept), words])


def _grown(found: Grouped) -> dict[int, int]:
    """By how many members each group grew on the last day."""
    before, last = (each.day for each in found.history.days[-2:])
    sign = pl.when(pl.col("day") == last).then(1).when(pl.col("day") == before).then(-1).otherwise(0)
    sums = found.history.sizes().group_by("group").agg((pl.col("members") * sign).sum())
    return dict(sums.iter_rows())


def _print_changes(found: Grouped, screen: Console, top: int) -> None:
    """Print what became of groups since the first day, the last first."""
    first = found.history.days[0].day
    told = found.changes.filter(pl.col("change").is_in(list(TOLD)), pl.col("day") > first)
    if len(told):
        print_line(screen)
    for row in told.sort("day", "id", descending=[True, False]).head(top).iter_rows(named=True):
        said = TOLD[row["change"]].format(**row, users=plural(row["after"], "user"))
        why = f": {row['reason']} ({row['bits']:.1f} bits)" if row["reason"] else ""
        print_wrapped(Text(visible(f"{row['day']} {said}{why}")), screen)
    _print_more(len(told) - top, "change", screen)


def _print_moves(found: Grouped, screen: Console, top: int) -> None:
    """Print who moved on the last day, and what speaks most for it."""
    last = found.history.days[-1].day
    moves = found.moves.filter(pl.col("day") == last)
    if moves.is_empty():
        return
    print_line(screen)
    said = f"{plural(len(moves), 'user')} moved on {last}, those first whom the new group explains best:"
    print_wrapped(Text(said, style="bold"), screen)
    print_line(screen)
    shown = moves.head(top).to_dicts()
    names = [label(row["user"], max(12, screen.width // 4)) for row in shown]
    widest = max([4, *map(cells, names)])
    print_line(screen, Text(f"{'bits':>7}  {left('user', widest)}  {'group':<9}  why", style="dim"))
    for row, name in zip(shown, names, strict=True):
        head = f"{row['bits']:>7.1f}  {left(name, widest)}  {row['left']} → {row['joined']}"
        head = f"{left(head, 20 + widest)}  "
        print_line(screen, Text(head + listed(row["reason"], max(20, screen.width - cells(head)), "; ")))
    _print_more(len(moves) - top, "user", screen)


def print_group(found: Grouped, number: int, screen: Console, top: int) -> None:
    """Print what the members of a group did, what a typical one did, and who came and went on the last day."""
    counts, story = found.table(number), found.story(number)
    row = found.groups.row(by_predicate=pl.col("id") == number, named=True)
    print_wrapped(
        Text(f"group {number}: {plural(row['members'], 'user')}, {row['share']:.1%} of all", style="bold"), screen
    )
    if row["label"] is not None:
        print_wrapped(Text(f"label: {said_of_group(row)}", style="bold"), screen)
    print_wrapped(Text(visible(row["does"])), screen)
    print_wrapped(Text(_history(row), style="dim"), screen)
    for said in _came_and_went(found, number):
        print_wrapped(Text(said), screen)
    if story is not None:
        steps = [
            f"{action}{_MARKS[outcome]}{f' x{times}' if times > 1 else ''}" for action, outcome, times in story.steps
        ]
        shown = steps[:MOST_STEPS] + ["…"] * (len(steps) > MOST_STEPS)
        print_line(screen)
        print_wrapped(Text(visible(f"A typical member, {label(story.user, 30)}: {' → '.join(shown)}")), screen)
    print_line(screen)
    most = sorted(counts.columns[2:], key=lambda name: (-counts[name].sum(), name))
    print_table(counts.select("user", "outcome", *most), screen, top, sparse=True)


def _history(row: Mapping[str, Any]) -> str:
    """When a group came to be, and what became of it last."""
    born = f"born {row['born']}"
    return born if row["change"] == "born" else f"{born}; {row['change']} on {row['changed']}"


def _came_and_went(found: Grouped, number: int) -> Iterator[str]:
    """Who joined a group from others on the last day, and who left it."""
    if not found.history.days:
        return
    last = found.history.days[-1].day
    moves = found.moves.filter(pl.col("day") == last)
    for verb, here, there, way in (("joined", "joined", "left", "from"), ("left", "left", "joined", "to")):
        rows = moves.filter(pl.col(here) == number)
        if len(rows):
            names = [
                f"{label(user, 20)} ({way} {other})" for user, other in rows.select("user", there).head(6).iter_rows()
            ]
            more = [f"{len(rows) - 6:,} more"] if len(rows) > 6 else []
            yield f"On {last} {plural(len(rows), 'user')} {verb}: {', '.join([*names, *more])}"


def print_table(frame: pl.DataFrame, screen: Console, top: int, *, sparse: bool = False) -> None:
    """Print a table, numbers to the right; columns that do not fit stand below each other.

    Of a sparse one, zeros are dots, rows without counts are left out, and columns without any are named.
    """
    shown = frame.head(top)
    names = {name: label(name, 24) for name in frame.columns}
    texts = {name: [label(_cell(each, sparse=sparse), 76) for each in shown[name].to_list()] for name in frame.columns}
    widths = {name: max(map(cells, [names[name], *column])) for name, column in texts.items()}
    keys, empty = frame.columns[:2], _empty(shown.select(frame.columns[2:])) if sparse else []
    wide = [name for name in frame.columns[2:] if name not in empty]
    for part in _fitting(wide, widths, screen.width - sum(widths[key] + 2 for key in keys)):
        columns = [*keys, *part]
        heads = (_placed(names[name], widths[name], frame[name].dtype) for name in columns)
        print_line(screen, Text("  ".join(heads), style="dim"))
        for at in _told(shown.select(part)) if sparse else range(len(shown)):
            line = (_placed(texts[name][at], widths[name], frame[name].dtype) for name in columns)
            print_line(screen, Text("  ".join(line)))
        print_line(screen)
    if empty:
        print_wrapped(Text(f"nobody here: {', '.join(names[name] for name in empty)}", style="dim"), screen)
    _print_more(len(frame) - top, "row", screen)


def _empty(counts: pl.DataFrame) -> list[str]:
    """The columns that hold only zeros."""
    return [name for name in counts.columns if (counts[name] == 0).all() and len(counts)]


def _told(counts: pl.DataFrame) -> list[int]:
    """The rows that hold anything but zeros."""
    return counts.select(pl.any_horizontal(pl.all() != 0).arg_true()).to_series().to_list() if counts.width else []


def _placed(text: str, width: int, kind: pl.DataType) -> str:
    """A cell of a column: numbers to the right, text to the left."""
    return " " * (width - cells(text)) + text if kind.is_numeric() else left(text, width)


def _fitting(names: Sequence[str], widths: Mapping[str, int], room: int) -> list[list[str]]:
    """Columns in parts that fit side by side."""
    parts: list[list[str]] = [[]]
    used = 0
    for name in names:
        if parts[-1] and used + widths[name] + 2 > room:
            parts.append([])
            used = 0
        parts[-1].append(name)
        used += widths[name] + 2
    return parts


def _cell(value: object, *, sparse: bool) -> str:
    """A value as text; in a sparse table a count of nothing as a dot."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.2f}"
    return ("·" if sparse and value == 0 else f"{value:,}") if isinstance(value, int) else str(value)


def _print_more(more: int, what: str, screen: Console) -> None:
    """Say how many are not shown."""
    if more > 0:
        print_line(screen, Text(f"… and {plural(more, what)} more: --top", style="dim"))
