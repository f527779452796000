"""Settings: what `amiss.toml` may hold, read with all mistakes listed at once.

Flags beat the file, the file beats the defaults. The sections are `[fields]`, `[scan]`, `[watch]`, `[feedback]` and
one `[detector.NAME]` per detector, whose settings are the fields of the detector's own class; `[entitlement]` is short
for `[detector.entitlement]`.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, ValidationError, create_model

from amiss import times
from amiss.baseline import HIGHEST_CAP, LONGEST_WINDOW, WINDOW
from amiss.decide import Budget
from amiss.detect import Detector, detector, registry
from amiss.errors import AmissError, ConfigError, UsageError, nearest
from amiss.fields import FieldChoice
from amiss.metrics import where
from amiss.severity import Severity
from amiss.sinks.links import DAYS, checked_url

DEFAULT_FILE: Final = "amiss.toml"
"""The file that commands read when it lies in the working directory and no other is named."""

LISTEN: Final = "127.0.0.1:8484"
"""Where the endpoint for feedback listens unless told otherwise: this machine's alone."""

_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST_SECONDS: Final = 36_500.0 * 86_400.0

_DURATION = re.compile(r"\s*(\d+(?:\.\d*)?)\s*([smhd])\s*")
_HEADER = re.compile(r"\s*\[+\s*([^\[\]]+?)\s*\]+")
_KEY = re.compile(r"\s*([\w.\"'-]+)\s*=")


def seconds(duration: str) -> float:
    """Seconds of a duration such as "30m", "90s" or "1.5h".

    Raises
    ------
    UsageError
        If the text is no duration, or is nothing.

    Examples
    --------
    >>> seconds("30m"), seconds("1.5h")
    (1800.0, 5400.0)
    """
    found = _DURATION.fullmatch(duration.lower())
    length = float(found[1]) * _UNIT_SECONDS[found[2]] if found else 0.0
    if not 0.0 < length <= LONGEST_SECONDS:
        raise UsageError(
            f'duration "{duration}" is not understood. Give a number and s, m, h or d, such as "30m", at most 36500d'
        )
    return length


def delay(duration: str) -> float:
    """Seconds as :func:`seconds`, which may also be none.

    Examples
    --------
    >>> delay("0s"), delay("5m")
    (0.0, 300.0)
    """
    found = _DURATION.fullmatch(duration.lower())
    return 0.0 if found and float(found[1]) == 0.0 else seconds(duration)


def _understood(read: Callable[[str], object]) -> Callable[[str], str]:
    """A check of a text by whatever reads it later."""

    def check(text: str) -> str:
        try:
            read(text)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return text

    return check


class _Section(BaseModel):
    """A table of the file: settings of exactly these names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldSettings(_Section):
    """`[fields]`: how times are read, and beside that which column plays which role (see `ROLES_AND_TIMES`)."""

    timezone: Annotated[str, AfterValidator(_understood(times.check_timezone))] = "UTC"
    year: Annotated[int, Field(ge=1970, le=9998)] | None = None

    def choice(self) -> FieldChoice:
        """The columns that are pinned."""
        return FieldChoice(**self.model_dump(exclude={"timezone", "year"}))


_TIME_FORMAT: Final = Annotated[str, AfterValidator(_understood(times.named))] | None

ROLES_AND_TIMES: Final = create_model(
    "FieldSettings",
    __base__=FieldSettings,
    **{
        role.name: (_TIME_FORMAT if role.name == "time_format" else str | None, None)
        for role in dataclasses.fields(FieldChoice)
    },  # type: ignore[call-overload]  # names come from there
)
"""`[fields]` with a setting for each role of an event frame."""


class ScanSettings(_Section):
    """`[scan]`: what to learn from, how many alarms to allow, what to show."""

    learn: list[str] = []
    detectors: list[str] = []
    session_gap: Annotated[str, AfterValidator(_understood(seconds))] | None = None
    window: Annotated[int, Field(ge=1, le=LONGEST_WINDOW)] = WINDOW
    cap: Annotated[int, Field(ge=1, le=HIGHEST_CAP)] | None = None
    budget: Annotated[str, AfterValidator(_understood(Budget.parse))] = "1/day"
    top: PositiveInt = 20
    strict: bool = False
    fail_on: Severity | None = None


class WatchSettings(_Section):
    """`[watch]`: where the state is, what to judge by, whom to tell."""

    state: str | None = None
    alert: list[str] = []
    digest: Annotated[str, AfterValidator(_understood(seconds))] | None = None
    budget: Annotated[str, AfterValidator(_understood(Budget.parse))] = "1/day"
    learn_days: PositiveInt = 1
    lateness: Annotated[str, AfterValidator(_understood(delay))] = "0s"
    detectors: list[str] = []
    session_gap: Annotated[str, AfterValidator(_understood(seconds))] | None = None
    window: Annotated[int, Field(ge=1, le=LONGEST_WINDOW)] | None = None
    cap: Annotated[int, Field(ge=1, le=HIGHEST_CAP)] | None = None
    max_users: PositiveInt | None = None
    every: Annotated[str, AfterValidator(_understood(seconds))] = "1s"
    batch: PositiveInt = 10_000
    metrics: str | None = None
    log_format: Literal["text", "json"] = "text"
    strict: bool = False


class FeedbackSettings(_Section):
    """`[feedback]`: the links in mails, and the endpoint behind them."""

    url: Annotated[str, AfterValidator(_understood(checked_url))] | None = None
    days: Annotated[int, Field(ge=1, le=3650)] = DAYS
    listen: Annotated[str, AfterValidator(_understood(where))] = LISTEN


class LabelSettings(_Section):
    """`[labels]`: who is called what, beside what the state knows; whose deeds are bad; when a class is said."""

    file: str | None = None
    bad: list[str] = ["bad"]
    odds: Annotated[float, Field(ge=1)] = 10.0


class _File(_Section):
    fields: dict[str, Any] = {}
    scan: ScanSettings = ScanSettings()
    watch: WatchSettings = WatchSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    labels: LabelSettings = LabelSettings()
    detector: dict[str, dict[str, Any]] = {}
    entitlement: dict[str, Any] = {}

    @property
    def detectors(self) -> dict[str, dict[str, Any]]:
        """The parameters of detectors by name; `[entitlement]` is short for `[detector.entitlement]`."""
        return self.detector | ({"entitlement": self.entitlement} if self.entitlement else {})


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings of a run: by section, and the parameters of detectors other than their defaults."""

    fields: FieldSettings = dataclasses.field(default_factory=ROLES_AND_TIMES)
    scan: ScanSettings = dataclasses.field(default_factory=ScanSettings)
    watch: WatchSettings = dataclasses.field(default_factory=WatchSettings)
    detector: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    feedback: FeedbackSettings = dataclasses.field(default_factory=FeedbackSettings)
    labels: LabelSettings = dataclasses.field(default_factory=LabelSettings)


@dataclasses.dataclass(frozen=True)
class _Mistake:
    path: tuple[str, ...]
    text: str


def load(path: str | Path | None = None) -> Settings:
    """The settings of a file; without a name those of `amiss.toml` here, or the defaults where there is none.

    Raises
    ------
    ConfigError
        If the file cannot be read, or holds mistakes: all of them, each with its line.
    """
    if path is None and not Path(DEFAULT_FILE).is_file():
        return Settings()
    file = Path(path or DEFAULT_FILE)
    try:
        return parse(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"expected a TOML file of settings, but {reason}", file=str(file)) from error


def parse(text: str, file: str = DEFAULT_FILE) -> Settings:
    r"""The settings that the text of a TOML file holds.

    Raises
    ------
    ConfigError
        With all mistakes at once, each with its line and the nearest valid name.

    Examples
    --------
    >>> parse('[scan]\nbudget = "3/day"').scan.budget
    '3/day'
    >>> parse('[scan]\nbugdet = "3/day"\ntop = 0')
    Traceback (most recent call last):
    amiss.errors.ConfigError: amiss.toml:2: [scan] has no setting "bugdet". Did you mean "budget"?
    amiss.toml:3: [scan] top: input should be greater than 0, found 0
    """
    table = _toml(text, file)
    try:
        whole, mistakes = _File.model_validate(table), list[_Mistake]()
    except ValidationError as error:
        whole, mistakes = _readable(table), list(_mistakes(error, _File))
    mistakes += [*_field_mistakes(whole.fields), *_detectors_mistakes(whole)]
    if mistakes:
        raise _error(mistakes, text, file)
    fields = ROLES_AND_TIMES.model_validate(whole.fields)
    return Settings(fields, whole.scan, whole.watch, whole.detectors, whole.feedback, whole.labels)


def detectors(
    names: Sequence[str], parameters: Mapping[str, Mapping[str, Any]], *, cap: int | None = None
) -> list[Detector[Any]]:
    """The detectors called `names`, which may be several parted by commas, with these parameters.

    `cap` goes to every detector that has such a parameter and is not given another one.

    Raises
    ------
    UsageError
        If a name or a parameter is unknown.

    Examples
    --------
    >>> [each.name for each in detectors(["sequence, habit"], {})]
    ['sequence', 'habit']
    """
    if unknown := [name for name in parameters if name not in registry()]:
        raise UsageError("\n".join(map(_unknown, unknown)))
    each = dict.fromkeys(name.strip() for text in names for name in text.split(","))
    return [_detector(name, parameters.get(name, {}), cap) for name in each]


def in_zone(parameters: Mapping[str, Mapping[str, Any]], timezone: str) -> dict[str, Mapping[str, Any]]:
    """Parameters of detectors, where those that count days and are told no zone have that of the log.

    Examples
    --------
    >>> in_zone({"entitlement": {"end": "until"}, "sequence": {}}, "Europe/Paris")
    {'entitlement': {'timezone': 'Europe/Paris', 'end': 'until'}, 'sequence': {}}
    """
    return {name: {**_zone_of(name, timezone), **given} for name, given in parameters.items()}


def _zone_of(name: str, timezone: str) -> dict[str, str]:
    """The zone as a parameter of a detector that has one."""
    kind: type[Any] | None = registry().get(name)
    takes = kind is not None and "timezone" in {field.name for field in dataclasses.fields(kind)}
    return {"timezone": timezone} if takes else {}


def _detector(name: str, parameters: Mapping[str, Any], cap: int | None) -> Detector[Any]:
    kind: type[Any] | None = registry().get(name)
    known = [field.name for field in dataclasses.fields(kind)] if kind else []
    common = {"cap": cap} if cap is not None and "cap" in known else {}
    wrong = _parameter_mistakes(kind, common | dict(parameters), ("detector", name)) if kind else ()
    if problems := [mistake.text for mistake in wrong]:
        raise UsageError("\n".join(problems))
    return detector(name, **common | dict(parameters))


def _unknown(name: str) -> str:
    known = registry()
    return f'there is no detector "{name}". Known: {", ".join(known)}.{nearest(name, known)}'


def _toml(text: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"\(at line (\d+)", str(error))
        line = int(at[1]) if at else len(text.splitlines())
        raise ConfigError(f"this is not TOML: {error}", file=file, line=line) from error


def _mistakes(error: ValidationError, model: type[BaseModel], section: tuple[str, ...] = ()) -> Iterator[_Mistake]:
    for item in error.errors():
        path = (*section, *(part for part in item["loc"] if isinstance(part, str)))
        yield _Mistake(path, _sentence(item, path, model))


def _sentence(item: Mapping[str, Any], path: tuple[str, ...], model: type[BaseModel]) -> str:
    table = f"[{'.'.join(path[:-1])}]"
    if item["type"] == "extra_forbidden":
        known = _names_beside(path, model)
        subject = (
            f'{table} has no setting "{path[-1]}"' if path[:-1] else f'there is no section or setting "{path[-1]}"'
        )
        return f"{subject}.{nearest(path[-1], known) or ' Known: ' + ', '.join(known)}"
    message = item["msg"].removeprefix("Value error, ")
    where = f"{table} {path[-1]}" if path[:-1] else f"[{path[-1]}]"
    return f"{where}: {message[0].lower()}{message[1:]}, found {item['input']!r}"


def _names_beside(path: tuple[str, ...], model: type[BaseModel]) -> list[str]:
    section = model.model_fields.get(path[0])
    inner = section.annotation if section and path[1:] else None
    return list((inner if isinstance(inner, type) and issubclass(inner, BaseModel) else model).model_fields)


def _readable(table: Mapping[str, Any]) -> _File:
    """As much of a file with mistakes as can be checked further: its fields and its detectors."""
    fields, detector, entitlement = (_table(table.get(name)) for name in ("fields", "detector", "entitlement"))
    named = {name: _table(values) for name, values in detector.items()}
    return _File(fields=fields, detector=named, entitlement=entitlement)


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _field_mistakes(values: dict[str, Any]) -> Iterator[_Mistake]:
    try:
        ROLES_AND_TIMES.model_validate(values)
    except ValidationError as error:
        yield from _mistakes(error, ROLES_AND_TIMES, ("fields",))


def _detectors_mistakes(whole: _File) -> Iterator[_Mistake]:
    known = registry()
    for section, names in (("scan", whole.scan.detectors), ("watch", whole.watch.detectors)):
        yield from (_Mistake((section, "detectors"), _unknown(name)) for name in names if name not in known)
    if whole.entitlement and "entitlement" in whole.detector:
        yield _Mistake(("entitlement",), "[entitlement] and [detector.entitlement] are the same: leave out either")
    if whole.entitlement:
        yield from _parameter_mistakes(known["entitlement"], whole.entitlement, ("entitlement",))
    for name, values in whole.detector.items():
        place = ("detector", name)
        if name in known:
            yield from _parameter_mistakes(known[name], values, place)
        else:
            yield _Mistake(place, _unknown(name))


def _parameter_mistakes(kind: type[Any], values: dict[str, Any], section: tuple[str, ...]) -> Iterator[_Mistake]:
    model = _model(kind)
    try:
        model.model_validate(values)
        kind(**values)
    except ValidationError as error:
        yield from _mistakes(error, model, section)
    except (AmissError, ValueError) as error:
        yield _Mistake(section, str(error))


def _model(kind: type[Any]) -> type[BaseModel]:
    """The fields of a dataclass as a model that checks their names and types."""
    hints = get_type_hints(kind)
    fields: dict[str, Any] = {field.name: (hints[field.name], field.default) for field in dataclasses.fields(kind)}
    return create_model(kind.__name__, __config__=ConfigDict(extra="forbid"), **fields)


def _error(mistakes: list[_Mistake], text: str, file: str) -> ConfigError:
    lines = _lines(text)
    placed = sorted((_line(lines, wrong.path), wrong.text) for wrong in mistakes)
    first, *rest = placed
    others = "".join(f"\n{file}:{line}: {message}" for line, message in rest)
    return ConfigError(first[1] + others, file=file, line=first[0])


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """The line of each table and key; TOML readers do not tell."""
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _parts(header[1])
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found.setdefault((*table, *_parts(key[1])), number)
    return found


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part.strip(" \"'") for part in name.split("."))


def _line(lines: Mapping[tuple[str, ...], int], path: tuple[str, ...]) -> int:
    return next((lines[path[:size]] for size in range(len(path), 0, -1) if path[:size] in lines), 1)
