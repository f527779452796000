"""`amiss label`: what people call users and groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from amiss.cli.given import author_of, settings_of, state_file
from amiss.cli.output import console, say, stream_to
from amiss.errors import EventError, SourceError, UsageError, nearest
from amiss.options import AuthorOption, ConfigOption, FormatOption, StateOption, grouped

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console

    from amiss.behaviour import Grouped
    from amiss.events import Quarantine
    from amiss.store import Label, Store
    from amiss.store.labelling import Kind

MOST: Final = 5
"""Users that are named one by one."""

MOST_GROUPS: Final = 20
"""Groups that are named one by one."""

MOST_DIGITS: Final = 18
"""Digits of the number of a group, and one more."""

JSON: Final = (".json", ".jsonl")

label = typer.Typer(help="Name users and groups, for amiss classify and watch; history is kept.", no_args_is_help=True)

NoteOption = Annotated[str, typer.Option(metavar="TEXT", help="Why.", show_default=False)]
UnseenOption = Annotated[
    bool, typer.Option("--unseen", help="Also users whom the state has not seen: they may come yet.")
]
GroupsOption = Annotated[
    Path | None,
    typer.Option(
        "--groups",
        metavar="FILE",
        help="Who is in which group: what amiss groups SOURCE --table members --format csv (or json) wrote. "
        "(default the groups of the state)",
    ),
]
LabelArgument = Annotated[str, typer.Argument(metavar="LABEL", help="What to call it, such as bot.")]


@label.command()
@grouped
def user(
    name: Annotated[str, typer.Argument(metavar="USER", help="The user, as the log names them.")],
    label: LabelArgument,
    *,
    state: StateOption = None,
    author: AuthorOption = None,
    note: NoteOption = "",
    unseen: UnseenOption = False,
    config: ConfigOption = None,
) -> None:
    """Say what class a user is of. It takes the place of what was said before."""
    from amiss.store import Store

    with Store.open(state_file(state, settings_of(config)), write=False) as store:
        _check_known(store, name, unseen=unseen)
        now, before = datetime.now(UTC), store.label("user", name)
        store.add_label("user", name, label, author=author_of(author), time=now, note=note)
        typer.echo(_changed("user", name, label.strip(), before))


@label.command()
@grouped
def group(
    number: Annotated[str, typer.Argument(metavar="GROUP", help="The number of a group.")],
    label: LabelArgument,
    *,
    groups: GroupsOption = None,
    state: StateOption = None,
    author: AuthorOption = None,
    note: NoteOption = "",
    config: ConfigOption = None,
) -> None:
    """Say what class the members of a group are of, as amiss groups --state shows them, or a file of groups has them.

    Members whom somebody labelled by name keep that.
    """
    from amiss.store import Store

    with Store.open(state_file(state, settings_of(config)), write=False) as store:
        members = _members_of(groups, [number], store)[number]
        with store.begin():
            now, before = datetime.now(UTC), store.label("group", number)
            said: dict[str, Any] = {"author": author_of(author), "time": now, "note": note, "file": groups}
            own = _label_group(store, number, label, members, **said)
            known = store.texts()[0]
    typer.echo(_changed("group", number, label.strip(), before))
    kept = f"; with a label of their own: {len(own):,} ({_some(own)})" if own else ""
    if members:
        typer.echo(f"Members labelled so: {len(members) - len(own):,} of {len(members):,}{kept}.")
    else:
        typer.echo("It has no members now.")
    _tell_unseen(members, known)


@label.command("import")
@grouped
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV of user,label or group,label[,author,time].")],
    *,
    groups: GroupsOption = None,
    state: StateOption = None,
    author: AuthorOption = None,
    note: NoteOption = "",
    config: ConfigOption = None,
) -> None:
    """Take labels of users, or of groups, from a CSV file with the columns user,label or group,label.

    Columns author and time may say who said so and when. Rows that say nothing, or call a user two things at once, are
    left out, and told.
    """
    from amiss.labels import read_csv, read_history
    from amiss.store import Store
    from amiss.story import plural

    is_groups = "group" in (columns := read_csv(file).columns) and "user" not in columns
    who, now = author_of(author), datetime.now(UTC)
    rows, quarantine = read_history(file, "group" if is_groups else "user", now=now)
    kind: Kind = "group" if is_groups else "user"
    with Store.open(state_file(state, settings_of(config)), write=False) as store:
        members = _members_of(groups, rows["user"].unique().to_list(), store) if is_groups and len(rows) else {}
        known, changed = store.texts()[0], []
        with store.begin():
            for subject, name, said_by, time, *_ in rows.iter_rows():
                before = store.label(kind, subject)
                said: dict[str, Any] = {"author": said_by or who, "time": time or now, "note": note}
                if is_groups:
                    _label_group(store, subject, name, members[subject], file=groups, **said)
                else:
                    store.add_label("user", subject, name, **said)
                holds = store.label(kind, subject)
                if before is not None and holds is not None and holds.label != before.label:
                    changed.append(_changed(kind, subject, name, before))
    subjects = plural(rows["user"].n_unique(), "group" if is_groups else "user")
    typer.echo(f"Kept: {plural(len(rows), 'label')} of {subjects}.")
    for line in changed[:MOST]:
        typer.echo(line)
    if len(changed) > MOST:
        typer.echo(f"and {len(changed) - MOST:,} more were replaced; amiss label list --history shows them")
    named = [name for each in members.values() for name in each] if is_groups else rows["user"].to_list()
    _tell_unseen(named, known)
    tell_unread(quarantine)


@label.command("list")
@grouped
def list_labels(
    *,
    state: StateOption = None,
    history: Annotated[bool, typer.Option("--history", help="All that was ever said, oldest first.")] = False,
    shape: FormatOption = "text",
    config: ConfigOption = None,
) -> None:
    """Show who is called what, by whom and since when."""
    from amiss.store import Store
    from amiss.terminal import write_records

    with Store.open(state_file(state, settings_of(config)), write=False) as store, stream_to(None, shape) as stream:
        found = store.label_history() if history else [*store.labels("group"), *store.labels("user")]
        if shape == "text":
            _print(found, console(stream))
        else:
            write_records(map(_record, found), shape, stream)


@label.command()
@grouped
def remove(
    kind: Annotated[Literal["user", "group"], typer.Argument(metavar="user|group", help="What it is a label of.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The user, or the number of the group.")],
    *,
    state: StateOption = None,
    author: AuthorOption = None,
    note: NoteOption = "",
    config: ConfigOption = None,
) -> None:
    """Take the label of a user away, or that of a group with those that its members have by it."""
    from amiss.store import Store

    who, now = author_of(author), datetime.now(UTC)
    with Store.open(state_file(state, settings_of(config)), write=False) as store, store.begin():
        before = store.remove_label(kind, name, author=who, time=now, note=note)
        members = [each.subject for each in store.labels() if kind == "group" and each.via == name]
        for member in members:
            store.remove_label("user", member, author=who, time=now, note=note)
    of_members = f", and of {len(members):,} members" if members else ""
    typer.echo(f"{_named(kind, name)} has no label now{of_members}; {_was(before)}.")


def labels_of(file: str | Path, *, quiet: bool) -> dict[str, str]:
    """The label of each user by a file; rows that say nothing are told of."""
    from amiss.labels import read_labels

    found = read_labels(file)
    if not quiet:
        tell_unread(found.quarantine)
    return found.by_user()


def state_labels(state: Path) -> dict[str, str]:
    """The label of each user by a state."""
    from amiss.store import Store

    with Store.open(state, write=False) as store:
        return store.labels_by_user()


def tell_unread(quarantine: Quarantine) -> None:
    """Say which rows of labels say nothing."""
    from amiss.escape import label as shown
    from amiss.story import plural

    if quarantine.total:
        say(f"{plural(quarantine.total, 'row')} of labels left out:")
        for sample in quarantine.samples[:MOST]:
            say(f"  {shown(sample.file, 60)}:{sample.position}: {sample.reason}")


def _tell_unseen(names: Sequence[str], known: pl.Series) -> None:
    """Say which users the state has not seen."""
    from amiss.story import plural

    seen = set(known.to_list())
    if unseen := [name for name in dict.fromkeys(names) if name not in seen]:
        say(f"{plural(len(unseen), 'user')} not in the state yet: {_some(unseen)}")


def _label_group(
    store: Store,
    number: str,
    label: str,
    members: Sequence[str],
    *,
    author: str,
    time: datetime,
    note: str,
    file: Path | None,
) -> list[str]:
    """Label a group, of the state or of a file, and its members; those that keep their own."""
    via = number if file is None else None
    store.add_label("group", number, label, author=author, time=time, note=note, via=via)
    held = {each.subject: each for each in store.labels()}
    own = [name for name in members if name in held and held[name].via is None]
    for name in members:
        if name not in own:
            store.add_label("user", name, label, author=author, time=time, note=note, via=number)
    return own


def _check_known(store: Store, name: str, *, unseen: bool) -> None:
    """Refuse a user whom the state has not seen."""
    if not unseen and name not in (known := store.texts()[0].to_list()):
        raise UsageError(
            f'the state has seen no user "{name}".{nearest(name, known)} To label one who is to come, add --unseen'
        )


def _members_of(file: Path | None, numbers: Iterable[str], store: Store) -> dict[str, list[str]]:
    """The members of some groups by their number: those of a file of groups, else those of the state."""
    if file is not None:
        table = _read_members(file)
        return {number: _in_file(table, file, number) for number in numbers}
    from amiss.lineage import groups_of

    found = groups_of(store)
    return {number: _in_state(found, _number(number)) for number in numbers}


def _in_state(found: Grouped, number: int) -> list[str]:
    """The members of a group of a state, which is there still."""
    members = found.members_of(number)
    into = dict(found.groups.select("id", "merged_into").iter_rows())[number]
    if into is not None:
        raise UsageError(f"group {number} was merged into group {into}: label that one")
    return members


def _number(text: str) -> int:
    """The number of a group of a state."""
    if not (text.isascii() and text.isdecimal() and len(text) < MOST_DIGITS and text == str(int(text))):
        raise UsageError(f'groups of a state have numbers, such as 3. Found: "{text}"')
    return int(text)


def _in_file(table: pl.DataFrame, file: Path, number: str) -> list[str]:
    """The members of a group in a file of groups, by the names that stand there, which may look like numbers."""
    import polars as pl

    from amiss.escape import csv_text
    from amiss.fields import texts
    from amiss.labels import require, spelled

    require(table, ("user", "group"), str(file))
    numbers = spelled(table["group"])
    found = texts(table, "user").filter(numbers == number).drop_nulls().to_list()
    if not found:
        some = [] if numbers.dtype == pl.Null else numbers.drop_nulls().unique(maintain_order=True).to_list()
        said = f"{', '.join(some[:MOST_GROUPS])}{', …' if len(some) > MOST_GROUPS else ''}" or "none"
        raise UsageError(f'{file} has no members of a group "{number}". Groups there: {said}.{nearest(number, some)}')
    return found if file.suffix in JSON else [csv_text(name) for name in found]


def _read_members(file: Path) -> Any:  # noqa: ANN401 - a Polars frame, imported late
    """The table of a file of groups, CSV or JSON."""
    import polars as pl

    from amiss.labels import read_csv

    if file.suffix not in JSON:
        return read_csv(file)
    try:
        return pl.read_json(file) if file.suffix == ".json" else pl.read_ndjson(file)
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}") from error
    except pl.exceptions.PolarsError as error:
        raise EventError(f"{file} is no table of groups: {error}") from error


def _changed(kind: str, name: str, label: str, before: Label | None) -> str:
    """What a label changes, in words."""
    from amiss.escape import label as shown

    was = f"; {_was(before)}" if before is not None and before.label != label else ""
    return f"{_named(kind, name)} is {shown(label)} now{was}."


def _was(before: Label) -> str:
    """What held before, in words."""
    from amiss.escape import label as shown

    return f"was {shown(str(before.label))} (by {shown(before.author)}, {before.time:%-d %b %Y})"


def _named(kind: str, name: str) -> str:
    """A user or group in words."""
    from amiss.escape import label as shown

    return shown(name) if kind == "user" else f"Group {shown(name)}"


def _some(names: Iterable[str]) -> str:
    """The first of some names."""
    from amiss.escape import label as shown

    all_ = [shown(name) for name in names]
    return ", ".join(all_[:MOST]) + (", …" if len(all_) > MOST else "")


def _record(said: Label) -> Mapping[str, object]:
    """A label for programs."""
    return {
        "kind": said.kind, "name": said.subject, "label": said.label, "author": said.author,
        "time": said.time.isoformat(), "note": said.note, "group": said.via if said.kind == "user" else None,
    }  # fmt: skip


def _print(found: Sequence[Label], screen: Console) -> None:
    """Print labels for people."""
    from rich.text import Text

    from amiss.escape import label as shown
    from amiss.terminal import print_line, print_wrapped

    if not found:
        print_line(screen, Text("No labels."))
    for said in found:
        what = "no label" if said.label is None else shown(said.label, 20)
        via = f" as of group {shown(said.via)}" if said.via and said.kind == "user" else ""
        note = f": {shown(said.note, 200)}" if said.note else ""
        who = shown(said.subject, 24) if said.kind == "user" else f"group {shown(said.subject, 18)}"
        line = f"{said.time:%Y-%m-%d %H:%M}  {who:<24}  {what:<20}  by {shown(said.author)}{via}{note}"
        print_wrapped(Text(line), screen)
