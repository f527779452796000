"""What a terminal shows: the ranking of a scan, one user's story, tables; and rows as JSON or CSV.

Nothing that stands in a log can steer the terminal: names are shown through :mod:`amiss.escape`, and printed as plain
:class:`rich.text.Text`, which knows no markup. Without colour, in a pipe and on a terminal without Unicode the same
words appear.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TextIO

from rich.text import Text

from amiss import escape, story
from amiss.errors import UsageError
from amiss.fields import raw_names
from amiss.story import Skipped, Step

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console

    from amiss.fields import Fields
    from amiss.result import Result, Summary

FORMATS: Final = ("json", "jsonl", "csv")

STYLES: Final = {
    "critical": "bold red",
    "high": "red",
    "medium": "yellow",
    "low": "cyan",
    "info": "dim",
}
ASCII: Final = str.maketrans({"…": "~", "·": "-", "▇": "#", "—": "-", "→": ">", "✗": "x", "◆": "#"})
NARROW: Final = 60
BAR: Final = 8
INDENT: Final = 2


def print_scan(result: Result, console: Console, top: int | None = 20) -> None:
    """Print who stands out, why, and what was scanned.

    Parameters
    ----------
    result
        What a scan gave.
    console
        Where to print; its width decides the layout.
    top
        Users to list; all of them when None.
    """
    users = result.users if top is None else result.users.head(top)
    print_wrapped(Text(_headline(result), style="bold"), console)
    print_line(console)
    _print_ranking(users.to_dicts(), console)
    if users.height < result.users.height:
        print_line(console, Text(f"and {story.plural(result.users.height - users.height, 'user')} below", style="dim"))
    print_line(console)
    print_pairs(_totals(result.summary), console)


def _headline(result: Result) -> str:
    first = result.users.row(0, named=True) if result.users.height else None
    if first is None:
        return "No events, so nobody to rank."
    said = story.headline(result.summary, first["user"]).removesuffix(".")
    rarity = story.rarity(first["bits"], result.summary.users_per_day).replace(":", ",")
    name = "" if result.summary.alerts else f"{escape.label(first['user'])} comes nearest with "
    return f"{said}: {name}{rarity}."


def _print_ranking(rows: Sequence[Mapping[str, object]], console: Console) -> None:
    room = console.width // 4 if console.width >= NARROW else console.width - 20
    users = [escape.label(str(row["user"]), max(12, room)) for row in rows]
    widest = max([4, *map(escape.cells, users)])
    if rows and console.width >= NARROW:
        print_line(console, Text(f"{'severity':<8}  {'bits':>7}  {left('user', widest)}  why", style="dim"))
    for row, user in zip(rows, users, strict=True):
        _print_ranked(row, user, widest, console)


def _print_ranked(row: Mapping[str, object], user: str, widest: int, console: Console) -> None:
    """One user: a line, and the reason beside it or, on a narrow terminal, below it."""
    severity = str(row["severity"])
    line = Text.assemble((f"{severity:<8}", STYLES.get(severity, "")), f"  {row['bits']:>7,.1f}  ")
    line.append(left(user, widest), style="bold" if row["alert"] else "")
    why = Text(story.why(row["reasons"]) or "—")  # type: ignore[arg-type] # a list of reasons, as in Result.users
    if console.width < NARROW:
        print_line(console, line)
        print_wrapped(why, console, INDENT)
        return
    line.append("  ")
    beside = why.wrap(console, max(10, console.width - line.cell_len))
    for index, part in enumerate(beside):
        print_line(console, Text.assemble(line if index == 0 else " " * line.cell_len, part))


def _totals(summary: Summary) -> Iterator[tuple[str, str]]:
    days = f" ({story.plural(summary.periods, 'day')})" if summary.periods > 1 else ""
    yield "sources", _sources(summary.sources)
    yield "events", f"{summary.events:,} of {story.plural(summary.users, 'user')}"
    yield "period", f"{story.span(summary.first_time, summary.last_time)}{days}"
    if summary.gaps:
        yield "silent", story.gaps_said(summary.gaps)
    yield "learned", f"from {escape.label(summary.learned_from, 120)}"
    for name, reason in summary.detectors.items():
        yield "detector", f"{escape.label(name)}: {escape.label(reason, 120)}"
    yield "budget", story.budget_said(summary)
    yield "alerts", story.alerts_said(summary)
    yield from (("alike", said) for said in story.crowds_said(summary.crowds))
    for bits in sorted({round(summary.threshold_bits, 1), 20.0}):
        yield "meaning", story.rarity(bits, summary.users_per_day)
    yield "unread", story.quarantine_said(summary.quarantine)
    for sample in summary.quarantine.samples[:2]:
        where = f"{escape.label(sample.file, 40)}, line {sample.position:,}"
        yield "", f"{where}: {escape.label(sample.reason, 60)}: {story.beginning(sample.text)}"
    if summary.skipped:
        yield "skipped", story.counted(summary.skipped, "line")
    yield "time", story.rate(summary.events, summary.seconds)


def _sources(names: Sequence[str]) -> str:
    shown = ", ".join(escape.label(name, 60) for name in names[:3])
    return f"{shown} and {len(names) - 3:,} more" if len(names) > 3 else shown


def print_story(result: Result, user: str, console: Console) -> None:
    """Print the sentence about a user, and their events with the bits of each.

    A long story keeps its ends and its most telling events; what is left out is counted.

    Parameters
    ----------
    result
        What a scan gave.
    user
        As the log names them.
    console
        Where to print.
    """
    told = result.story(user)
    print_wrapped(Text(escape.visible(result.explain(user))), console)
    for card in result.usual(user).values():
        _print_card(card, console)
    for cents, near in result.networks([user]).values():
        _print_purchase(cents, near["cents"].to_list(), console)
    if told.is_empty():
        print_line(console, Text("no event on that day", style="dim"))
        return
    when = story.span(told["time"][0], told["time"][-1])
    print_line(console, Text(f"{story.plural(told.height, 'event')}, {when}", style="dim"))
    print_line(console)
    width = max([8, *(escape.cells(_action(text, console)) for text in told["action"].unique())])
    highest = max([1.0, *told["evidence"]])
    print_line(
        console,
        Text(f"{'time':<8}  {'after':>8}  {left('action', width)}    {_figures()}", "dim"),
    )
    alert = story.crossing(told, result.summary.threshold_bits)
    for part in story.abridge(told, keep=alert):
        print_line(console, _told(part, width, highest, alert, console))
    print_line(console)
    print_wrapped(Text(_LEGEND, style="dim"), console)


def _print_card(card: Mapping[str, str], console: Console) -> None:
    """Print what is usual for a user, a line for each kind."""
    print_line(console)
    print_line(console, Text("usual for this user", style="dim"))
    width = max(map(len, card))
    for kind, told in card.items():
        print_wrapped(Text(f"  {left(kind, width)}  {escape.label(told, MOST_TOLD)}"), console)
    print_line(console)


def _print_purchase(cents: int, near: Sequence[int], console: Console) -> None:
    """Print the purchase that says most beside those that it is judged by."""
    width = max(20, min(console.width - 2 * INDENT, MOST_TOLD // 4))
    print_line(console)
    beside = f"the purchase (◆) beside the last {len(near)} of people near, by amount"
    print_line(console, Text(beside, style="dim"))
    for line in story.amount_strip(cents, near, width):
        print_line(console, Text(" " * INDENT + line))
    print_line(console)


MOST_TOLD: Final = 300
"""Characters of a kind of thing that is usual."""

_LEGEND: Final = (
    "surprisal: how rare the event is among normal users. bits: how much it speaks for odd (+) or normal (-). "
    "evidence: where the user stands after it. ✗: the event failed."
)


def _figures() -> str:
    return f"{'surprisal':>9}  {'bits':>6}  {'evidence':>8}"


def _action(text: str, console: Console) -> str:
    return escape.label(text, max(8, console.width - 54))


def _told(part: Step | Skipped, width: int, highest: float, alert: int | None, console: Console) -> Text:
    """A line of a story; the event that raised the alert says so."""
    if isinstance(part, Skipped):
        return Text(f"{'…':>8}  {story.plural(part.events, 'event')} more, {part.bits:+.1f} bits together", style="dim")
    line = _step(part, width, highest, console)
    if part.number == alert:
        line.append(" alert", style="bold red")
    return line


def _step(step: Step, width: int, highest: float, console: Console) -> Text:
    """When, how long after the last event, what, and its figures."""
    failed = "✗" if step.outcome == "failure" else " "
    line = Text(f"{step.time:%H:%M:%S}  {story.duration(step.gap_seconds):>8}  ")
    line.append(left(_action(step.action, console), width))
    line.append(f" {failed}", style="red")
    line.append(f" {step.surprisal:>9.1f}  ")
    line.append(f"{step.bits:>+6.1f}", style="red" if step.bits >= 1 else "dim" if step.bits < 0 else "")
    line.append(f"  {step.evidence:>8.1f} ")
    line.append("▇" * round(BAR * max(0.0, step.evidence) / highest), style="red")
    return line


_CONSTANT: Final = "  (no column: the same in all rows)"


def print_schema(fields: Fields, console: Console) -> None:
    """Print which column plays which role, how sure that is, and three values of each.

    Parameters
    ----------
    fields
        What :func:`amiss.fields.infer` found.
    console
        Where to print.
    """
    print_line(console, Text(f"The log looks like: {escape.label(fields.preset)}", style="bold"))
    print_line(console)
    roles = {role: escape.label(role, 12) for role in fields.roles}
    columns = {role: escape.label(guess.column, 24) for role, guess in fields.roles.items()}
    widths = [max(6, *map(escape.cells, texts.values())) if texts else 6 for texts in (roles, columns)]
    print_line(console, Text(f"{left('role', widths[0])}  {left('column', widths[1])}  sure  values", "dim"))
    for role, guess in fields.roles.items():
        line = Text(f"{left(roles[role], widths[0])}  {left(columns[role], widths[1])}  ")
        line.append(f"{guess.confidence:>4.0%}", style="" if guess.confidence >= 0.8 else "yellow")
        known = f"  ({guess.time_format.kind})" if guess.time_format else _CONSTANT * (not raw_names(guess.column))
        line.append(f"  {_values(guess.samples, console.width - line.cell_len - 2 - len(known))}{known}")
        print_line(console, line)


def _values(samples: Sequence[object], width: int) -> str:
    """Samples side by side, shortened to share `width` cells."""
    share = max(6, (width - 2 * (len(samples) - 1)) // max(1, len(samples)))
    return "  ".join(escape.label(str(sample), share) for sample in samples)


def print_surprisal(frame: pl.DataFrame, console: Console) -> None:
    """Print how surprising each action is after each other one.

    Parameters
    ----------
    frame : (n, 7) columns `action`, `previous`, `success`, `failure`, `bits_success`, `bits_failure`, `entropy`
        As `Result.transitions` gives it.
    console
        Where to print.
    """
    width = max(8, (console.width - 45) // 2)
    names = [(escape.label(row[0], width), escape.label(row[1] or "(start)", width)) for row in frame.rows()]
    actions = max([6, *(escape.cells(action) for action, _ in names)])
    before = max([5, *(escape.cells(previous) for _, previous in names)])
    figures = f"{'success':>8}  {'bits':>5}  {'failure':>8}  {'bits':>5}  entropy"
    print_line(
        console,
        Text(f"{left('action', actions)}  {left('after', before)}  {figures}", style="dim"),
    )
    for (action, previous), row in zip(names, frame.iter_rows(named=True), strict=True):
        counts = f"{row['success']:>8,}  {row['bits_success']:>5.1f}  {row['failure']:>8,}  {row['bits_failure']:>5.1f}"
        line = f"{left(action, actions)}  {left(previous, before)}  {counts}  {abs(row['entropy']):>7.3f}"
        print_line(console, Text(line))


def write_records(records: Iterable[Mapping[str, object]], shape: str, stream: TextIO) -> None:
    r"""Write rows for programs: `json` (one array), `jsonl` (a row a line) or `csv`.

    JSON reads back to exactly what stood in the log. CSV is for spreadsheets: nested values become flat columns,
    reasons one text, control characters are spelled out, and a cell that would be a formula starts with `'`.

    Raises
    ------
    UsageError
        If the shape is none of these.

    Examples
    --------
    >>> import sys
    >>> rows = [{"user": "=cmd()", "detectors": {"sequence": 1.5}, "reasons": [{"text": "a"}, {"text": "b"}]}]
    >>> write_records(rows, "jsonl", sys.stdout)
    {"user": "=cmd()", "detectors": {"sequence": 1.5}, "reasons": [{"text": "a"}, {"text": "b"}]}
    >>> write_records(rows, "csv", sys.stdout)
    user,detectors_sequence,reasons
    '=cmd(),1.5,a; b
    """
    if shape == "csv":
        _write_csv([_flat(record) for record in records], stream)
    elif shape == "jsonl":
        stream.writelines(f"{escape.json_text(record)}\n" for record in records)
    elif shape == "json":
        stream.write(f"{escape.json_text(list(records), indent=2)}\n")
    else:
        raise UsageError(f'format "{shape}" is unknown. Known: {", ".join(FORMATS)}')


def _write_csv(rows: Sequence[Mapping[str, object]], stream: TextIO) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([escape.csv_cell(name) for name in columns])
    writer.writerows([row.get(name) for name in columns] for row in rows)


def _flat(record: Mapping[str, object]) -> dict[str, object]:
    """The record with one plain value a column."""
    flat: dict[str, object] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}_{key}": _cell(part) for key, part in value.items()})
        else:
            flat[name] = _cell(value)
    return flat


def _cell(value: object) -> object:
    """A value as a spreadsheet may hold it."""
    if isinstance(value, list | tuple):
        value = "; ".join(str(part["text"] if isinstance(part, Mapping) and "text" in part else part) for part in value)
    plain = escape.plain(value)
    return escape.csv_cell(plain) if isinstance(plain, str) else plain


def print_pairs(pairs: Iterable[tuple[str, str]], console: Console) -> None:
    """Print names in a column, what there is to say beside them; an empty name continues the one above."""
    last = ""
    for name, said in pairs:
        lines = Text(said).wrap(console, max(20, console.width - 10))
        for index, line in enumerate(lines):
            shown = name if index == 0 and name != last else ""
            print_line(console, Text.assemble((f"{shown:<8}  ", "dim"), line))
        last = name


def print_wrapped(text: Text, console: Console, indent: int = 0) -> None:
    """Print a text on as many lines as it takes."""
    for line in text.wrap(console, max(20, console.width - indent)):
        print_line(console, Text.assemble(" " * indent, line))


def print_line(console: Console, line: Text | None = None) -> None:
    """Print one line, cut at the edge; where the terminal has no Unicode, in ASCII."""
    if line is None:
        console.print()
        return
    line.rstrip()
    line.truncate(console.width)
    if console.options.ascii_only:
        plain = line.plain.translate(ASCII).encode("ascii", "backslashreplace").decode()
        line = Text(plain, spans=line.spans, style=line.style) if len(plain) == len(line.plain) else Text(plain)
    console.print(line, no_wrap=True, overflow="ignore", crop=False, highlight=False)


def left(text: str, width: int) -> str:
    """The text padded on the right to `width` cells."""
    return text + " " * (width - escape.cells(text))
