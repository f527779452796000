"""The options that commands share, and how they override the settings of a file."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_type_hints

import typer

from amiss.severity import Severity

READING: Final = "What to read"
JUDGING: Final = "How to judge"
SHOWING: Final = "What to show"
TELLING: Final = "Whom to tell"
RUNNING: Final = "How to run"

SourcesArgument = Annotated[
    list[str],
    typer.Argument(metavar="SOURCE", help="Files, globs, directories, databases, or - for stdin.", show_default=False),
]
SourceArgument = Annotated[
    str, typer.Argument(metavar="SOURCE", help="A file, glob, directory, database, or - for stdin.")
]
ConfigOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Settings. (default amiss.toml if present)")]
FormatOption = Annotated[
    Literal["text", "json", "jsonl", "csv"],
    typer.Option("--format", metavar="text|json|jsonl|csv", help="Form of the output.", rich_help_panel=SHOWING),
]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write there, not to stdout.", rich_help_panel=SHOWING),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress bar, no messages.", rich_help_panel=SHOWING)
]


StateOption = Annotated[
    Path | None, typer.Option("--state", metavar="FILE", help="The state, one file. (default: state in amiss.toml)")
]
AuthorOption = Annotated[
    str | None, typer.Option("--author", metavar="NAME", help="Who says so. (default your login name)")
]


def _reading(metavar: str, text: str) -> object:
    return typer.Option(metavar=metavar, help=text, rich_help_panel=READING)


def _judging(metavar: str, text: str) -> object:
    return typer.Option(metavar=metavar, help=text, rich_help_panel=JUDGING)


QueryOption = Annotated[
    str | None, _reading("SQL", "Read what this query of the database SOURCE gives, such as a join.")
]
YearOption = Annotated[
    int | None,
    typer.Option(
        min=1970, max=9998, metavar="YEAR", help="Year of times that name none (syslog).", rich_help_panel=READING
    ),
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Fail at a row that cannot be read.", rich_help_panel=READING)
]
DetectorsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--detector", metavar="NAME", help="Run only this detector, or these: sequence,habit.", rich_help_panel=JUDGING
    ),
]
SessionGapOption = Annotated[str | None, _judging("TIME", "A longer pause starts a new session. (default 30m)")]
WindowOption = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="DAYS", help="Days before that say what is normal. (default 30)", rich_help_panel=JUDGING
    ),
]
CapOption = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="The most that one user adds to a count. (default 5)", rich_help_panel=JUDGING
    ),
]


@dataclasses.dataclass(frozen=True)
class Reading:
    """Which column plays which role, how times are read, what a database is asked. None leaves it to the settings."""

    time: Annotated[str | None, _reading("COL", "Column of the time.")] = None
    user: Annotated[str | None, _reading("COL", "Column of the user.")] = None
    action: Annotated[str | None, _reading("COL", "Column of the action.")] = None
    outcome: Annotated[str | None, _reading("COL", "Column of the outcome.")] = None
    timezone: Annotated[str | None, _reading("ZONE", "Zone of times that name none. (default UTC)")] = None
    year: YearOption = None
    strict: StrictOption = False
    query: QueryOption = None


@dataclasses.dataclass(frozen=True)
class Judging:
    """What is normal, and which detectors look. None leaves it to the settings."""

    learn: Annotated[list[str] | None, _judging("PAST", "Learn from this earlier log; may be repeated.")] = None
    detectors: DetectorsOption = None
    session_gap: SessionGapOption = None
    window: WindowOption = None
    cap: CapOption = None


@dataclasses.dataclass(frozen=True)
class Deciding:
    """How much evidence is enough. None leaves it to the settings."""

    budget: Annotated[
        str | None, _judging("N/PERIOD", 'False alarms to allow: "3/day", "5/week", "1/hour". (default 1/day)')
    ] = None
    top: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Users to show. (default 20)", rich_help_panel=SHOWING),
    ] = None
    everyone: Annotated[bool, typer.Option("--all", help="Show every user.", rich_help_panel=SHOWING)] = False
    fail_on: Annotated[
        Severity | None,
        typer.Option(
            metavar="SEVERITY",
            help="Exit with 3 if an alert is info, low, medium, high, critical or above.",
            rich_help_panel=SHOWING,
        ),
    ] = None


def _running(metavar: str, text: str) -> object:
    return typer.Option(metavar=metavar, help=text, rich_help_panel=RUNNING)


@dataclasses.dataclass(frozen=True)
class Streaming:
    """How events are judged as they come. None leaves it to the settings, or to the state."""

    budget: Annotated[str | None, _judging("N/PERIOD", 'False alarms to allow: "3/day", "5/week". (default 1/day)')] = (
        None
    )
    learn_days: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Days to learn before anybody is alerted. (default 1)", rich_help_panel=JUDGING
        ),
    ] = None
    lateness: Annotated[str | None, _judging("TIME", "How long a day waits for late events. (default 0s)")] = None
    detectors: DetectorsOption = None
    session_gap: SessionGapOption = None
    window: WindowOption = None
    cap: CapOption = None
    max_users: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Users in memory, those active last. (default all)", rich_help_panel=JUDGING
        ),
    ] = None


@dataclasses.dataclass(frozen=True)
class Telling:
    """Who gets alerts, and how. None leaves it to the settings."""

    alert: Annotated[
        list[str] | None,
        typer.Option(
            "--alert",
            metavar="SINK",
            help="File, URL or mailto: that gets alerts; may be repeated. (default stdout)",
            rich_help_panel=TELLING,
        ),
    ] = None
    digest: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Collect alerts for so long, then send all.", rich_help_panel=TELLING),
    ] = None


@dataclasses.dataclass(frozen=True)
class Running:
    """How a watch runs. None leaves it to the settings."""

    every: Annotated[str | None, _running("TIME", "Commit what has come so often. (default 1s)")] = None
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, max=1_000_000, metavar="N", help="Commit after so many events. (default 10000)",
            rich_help_panel=RUNNING,
        ),
    ] = None  # fmt: skip
    metrics: Annotated[str | None, _running("HOST:PORT", "Serve figures there for Prometheus.")] = None
    log_format: Annotated[Literal["text", "json"] | None, _running("text|json", "Form of messages. (default text)")] = (
        None
    )


def override(settings: Iterable[tuple[str, Any]] | Mapping[str, Any], *flags: object) -> dict[str, Any]:
    """Settings by name, with those that a flag of the same name gives put in their place.

    Examples
    --------
    >>> override({"budget": "3/day", "cap": None}, Deciding(budget="1/hour", top=5))
    {'budget': '1/hour', 'cap': None}
    """
    names = dict(settings)
    given = {name: value for group in flags for name, value in vars(group).items() if _is_given(value)}
    return names | {name: value for name, value in given.items() if name in names}


def _is_given(value: object) -> bool:
    return value is not None and value is not False and value != []


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command with each parameter that is a dataclass of options spread into one parameter per field.

    Typer reads a signature; this one has the fields of `Reading` and its like beside the other parameters.
    """
    hints = get_type_hints(command, include_extras=True)
    plain: list[inspect.Parameter] = []
    groups: dict[str, type[Any]] = {}
    for parameter in inspect.signature(command).parameters.values():
        hint = hints[parameter.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            groups[parameter.name] = hint
            plain += _parameters(hint)
        else:
            plain.append(parameter.replace(annotation=hint))

    def spread(**values: object) -> None:
        built = {name: _pop(kind, values) for name, kind in groups.items()}
        command(**values, **built)

    spread.__name__, spread.__doc__ = command.__name__, command.__doc__
    spread.__annotations__ = {}
    spread.__signature__ = inspect.Signature(sorted(plain, key=lambda each: each.kind))  # type: ignore[attr-defined]  # signature() looks here first
    return spread


def _parameters(kind: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in dataclasses.fields(kind)
    ]


def _pop(kind: type[Any], values: dict[str, object]) -> object:
    return kind(**{field.name: values.pop(field.name) for field in dataclasses.fields(kind)})
