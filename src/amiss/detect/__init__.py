"""Detectors: what they promise, and the registry of those that exist.

A detector sees **grouped events** (:class:`amiss.sessions.Events`): coded, those of a user together and in order,
each with the state before it in the session and the gap since then.

To add one: a frozen dataclass in a module of this package, a line in `BUILT_IN`, a test file. Others may register
theirs under the entry point `amiss.detectors`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, ClassVar, Final, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.baseline import Floats, Past
from amiss.errors import UsageError, nearest
from amiss.events import CODED_SCHEMA, EVENT_SCHEMA, OPTIONAL_SCHEMA
from amiss.fields import Fields
from amiss.sessions import Events, Users, action_of
from amiss.vocabulary import Coding, Vocabulary

BUILT_IN: Final = {
    "sequence": "amiss.detect.sequence:Sequence",
    "habit": "amiss.detect.habit:Habit",
    "login": "amiss.detect.login:Login",
    "purchase": "amiss.detect.purchase:Purchase",
    "entitlement": "amiss.detect.entitlement:Entitlement",
    "activity": "amiss.detect.activity:Activity",
    "role": "amiss.detect.role:Role",
}

Baseline = TypeVar("Baseline")


@dataclass(frozen=True)
class Reason:
    """One thing that speaks against a user: how many bits, in words, and the counts behind it.

    `count` of `of` is what the user did; `others_count` of `others_of` what the baseline holds of it;
    `action` is what it is about, "login (failed)" for one that failed.
    """

    detector: str
    bits: float
    text: str
    count: int
    of: int
    others_count: int
    others_of: int
    action: str = ""


class Scores(NamedTuple):
    """What a detector says of events, in their order: bits of evidence (n,) and surprisal in bits (n,).

    `facts` (n,), where there are any, are the events that alert by rule, however little evidence they are.
    """

    bits: Floats
    surprisal: Floats
    facts: npt.NDArray[np.bool_] | None = None

    @classmethod
    def nothing(cls, events: int) -> Scores:
        """No bits for any event; what detectors add theirs to."""
        return cls(np.zeros(events), np.zeros(events))

    def add(self, more: Scores) -> None:
        """Add what was found besides; it must not tell the same twice.

        Examples
        --------
        >>> scores = Scores.nothing(1)
        >>> scores.add(Scores(np.array([0.5]), np.array([3.0])))
        >>> scores
        Scores(bits=array([0.5]), surprisal=array([3.]), facts=None)
        """
        np.add(self.bits, more.bits, out=self.bits)
        np.add(self.surprisal, more.surprisal, out=self.surprisal)


class Memory(Protocol):
    """What a detector remembers of users while a period runs. It moves on as events are scored."""

    def frame(self) -> pl.DataFrame:
        """All of it as a table of the detector's `state_schema`; `Detector.memory` makes an equal one of that."""
        ...


class Forgetful:
    """The memory of a detector that remembers nothing.

    Examples
    --------
    >>> Forgetful().frame().shape
    (0, 1)
    """

    SCHEMA: ClassVar[dict[str, pl.DataType]] = {"user": pl.UInt32()}

    def frame(self) -> pl.DataFrame:
        """No rows."""
        return pl.DataFrame(schema=self.SCHEMA)


class Names:
    """What codes mean: the names of states and of the values of contexts.

    Examples
    --------
    >>> Names(Coding(actions=Vocabulary(["login"]))).state(1)
    'login (failed)'
    """

    def __init__(self, coding: Coding) -> None:
        self._coding = coding

    def state(self, state: int) -> str:
        """A state in words."""
        action, outcome = action_of(state)
        text = self._coding.actions.text(action)
        return f"{text} (failed)" if outcome == "failure" else text

    def value(self, code: int) -> str:
        """A text of a context; empty where nothing is known."""
        return self._coding.values.text(code)


class Detector(Protocol[Baseline]):
    """Finds odd events: counts what is normal, freezes it, and scores later events against it.

    High bits speak for odd, negative bits for normal. A detector is a frozen dataclass of its parameters; it reads no
    clock, draws no random numbers and keeps nothing between calls but what its memory holds.
    `amiss.testing.check_detector` holds it to that.
    """

    name: ClassVar[str]
    counts: ClassVar[str]
    """Detectors with the same word here summarise alike; it is done once."""
    count_schema: ClassVar[dict[str, pl.DataType]]
    state_schema: ClassVar[dict[str, pl.DataType]]
    context_schema: ClassVar[dict[str, pl.DataType]]
    """Columns of events that it needs besides those of all; those of UInt32 are texts, which get codes."""
    gated: ClassVar[bool]
    """Whether what speaks against a user teaches less (`Events.weight`)."""

    @staticmethod
    def fits(fields: Fields) -> bool:
        """Whether a log in which these columns play roles has what the detector looks at."""
        ...

    def context(self, events: pl.DataFrame) -> pl.DataFrame:
        """These columns of an event frame, texts as texts, without nulls; each row follows from its event alone."""
        ...

    def context_of(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same of one event, given by column."""
        ...

    def summarise(self, events: Events) -> pl.DataFrame:
        """What these grouped events add to a baseline: rows of `count_schema` that merge by adding `count`."""
        ...

    def baseline(self, past: Past, *, leave_out: bool = False) -> Baseline:
        """What is normal after earlier periods, frozen.

        With `leave_out` each user's own share is taken out of what the user is judged by; the events scored must then
        be those of `past`, all of a user's at once.
        """
        ...

    def memory(self, state: pl.DataFrame | None = None) -> Any:
        """A memory (:class:`Memory`) of nobody, as at the start of a period, or that which a table holds."""
        ...

    def score(self, events: Events, baseline: Baseline, memory: Any = None) -> Scores:
        """Bits and surprisal of events, after what `memory` holds of their users, which moves on.

        Without a memory the events must be all there is of their users in the period.
        """
        ...

    def explain(self, events: Events, baseline: Baseline, names: Names) -> dict[int, list[Reason]]:
        """By user, what in all the events of a period speaks against them most."""
        ...

    def usual(self, baseline: Baseline, user: int, names: Names) -> dict[str, str]:
        """What is usual for a user, in words by kind, such as `countries`; nothing where that is not known."""
        ...

    def details(self, events: Events, baseline: Baseline, names: Names) -> dict[str, str]:
        """What people should know of the last of a user's events, such as its `country`; see `Alert.details`."""
        ...


@runtime_checkable
class Absences(Protocol):
    """A detector that also judges those who did nothing on a day."""

    def absent(self, baseline: Any, day: date, present: npt.NDArray[np.uint32]) -> tuple[Users, Floats]:
        """Users other than those `present` whose silence on a whole day speaks against them, in order, with bits.

        Normal users reach b bits with a chance of at most 2^-b. A silence that was told before is not told again, and
        where too few are present it is the source that is silent, not the users.
        """
        ...

    def explain_absent(self, baseline: Any, day: date, users: Users, names: Names) -> dict[int, list[Reason]]:
        """By user, what is said of the silence."""
        ...


class Witness(Protocol):
    """What sees all events in the order in which they come, and so can say what others did before each."""

    def follow(self, time: npt.NDArray[np.int64], context: Mapping[str, npt.NDArray[Any]]) -> Mapping[str, Any]:
        """Columns of the context to fill in for events with these times (microseconds) and columns; it moves on."""
        ...

    def tables(self) -> dict[str, pl.DataFrame]:
        """All that it knows, so that another goes on from there; users stand in it by the codes of texts."""
        ...


@runtime_checkable
class Attended(Protocol):
    """A detector that judges users by what others did: who did it, its witness sees before users are told apart."""

    name: ClassVar[str]

    def witness(self, tables: Mapping[str, pl.DataFrame] | None = None) -> Witness:
        """A witness of nothing, or one that goes on from what another knew."""
        ...


class Witnesses:
    """The witnesses of some detectors; they must see each event once, in the order in which events come.

    Examples
    --------
    >>> bool(Witnesses([detector("sequence")]))
    False
    """

    def __init__(self, detectors: Sequence[Detector[Any]]) -> None:
        self._attended = [each for each in detectors if isinstance(each, Attended)]
        self._each = {each.name: each.witness() for each in self._attended}

    def __bool__(self) -> bool:
        return bool(self._each)

    def filled(self, frame: pl.DataFrame) -> pl.DataFrame:
        """A coded frame with the columns that witnesses fill in."""
        for each in self._each.values():
            context = {name: frame[name].to_numpy() for name in frame.columns if name not in CODED_SCHEMA}
            frame = frame.with_columns(**each.follow(frame["time"].to_physical().to_numpy(), context))
        return frame

    def filled_one(self, time: int, context: Mapping[str, npt.NDArray[Any]]) -> Mapping[str, npt.NDArray[Any]]:
        """The same for one event, given as columns of one value."""
        for each in self._each.values():
            context = {**context, **each.follow(np.array([time]), context)}
        return context

    def tables(self) -> dict[str, pl.DataFrame]:
        """All that they know."""
        each = ((f"witness/{name}", witness.tables()) for name, witness in self._each.items())
        return {f"{name}/{part}": table for name, tables in each for part, table in tables.items()}

    def restore(self, tables: Mapping[str, pl.DataFrame]) -> None:
        """Go on from what :meth:`tables` gave."""
        for each in self._attended:
            begin = f"witness/{each.name}/"
            theirs = {name.removeprefix(begin): table for name, table in tables.items() if name.startswith(begin)}
            self._each[each.name] = each.witness(theirs)


class Plain:
    """What a detector is that needs no more of events than every coded frame holds."""

    context_schema: ClassVar[dict[str, pl.DataType]] = {}
    gated: ClassVar[bool] = False
    needs_settings: ClassVar[bool] = False
    """Whether it runs where it has settings of its own, and nowhere else."""

    @staticmethod
    def fits(fields: Fields) -> bool:  # noqa: ARG004 - of the protocol
        """It looks at what all logs have."""
        return True

    def context(self, events: pl.DataFrame) -> pl.DataFrame:
        """No columns."""
        return events.select()

    def context_of(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """The columns of a frame of that event."""
        schema = {name: dtype for name, dtype in (EVENT_SCHEMA | OPTIONAL_SCHEMA).items() if name in event}
        return self.context(pl.DataFrame([event], schema=schema)).row(0, named=True)

    def usual(self, baseline: object, user: int, names: Names) -> dict[str, str]:  # noqa: ARG002 - of the protocol
        """Nothing."""
        return {}

    def details(self, events: Events, baseline: object, names: Names) -> dict[str, str]:  # noqa: ARG002 - of the protocol
        """Nothing."""
        return {}


def coding(
    detectors: Sequence[Detector[Any]],
    users: Vocabulary | None = None,
    actions: Vocabulary | None = None,
    values: Vocabulary | None = None,
) -> Coding:
    """How events become what these detectors see, with the texts so far.

    Examples
    --------
    >>> list(coding([detector("sequence")]).schema)
    ['position', 'time', 'user', 'action', 'outcome']
    """
    return Coding(users, actions, values, [each for each in detectors if each.context_schema])


def registry() -> dict[str, type[Detector[Any]]]:
    """All detectors by name, those of other packages included.

    Examples
    --------
    >>> sorted(registry())
    ['activity', 'entitlement', 'habit', 'login', 'purchase', 'role', 'sequence']
    """
    found = {name: _load(place) for name, place in BUILT_IN.items()}
    return found | {entry.name: entry.load() for entry in entry_points(group="amiss.detectors")}


def fitting(logs: Iterable[Fields | None], configured: Container[str] = ()) -> list[str]:
    """The names of the detectors that come with amiss and find something to look at in some logs.

    Some need settings of their own, and look where they are among those `configured`.

    Examples
    --------
    >>> fitting([None])
    ['sequence', 'habit']
    """
    known = [fields or UNKNOWN_FIELDS for fields in logs]
    return [name for name, place in BUILT_IN.items() if _looks(_load(place), known, configured=name in configured)]


def _looks(kind: type[Detector[Any]], logs: Iterable[Fields], *, configured: bool) -> bool:
    """Whether a detector that has settings of its own or not looks at any of these logs."""
    return configured if getattr(kind, "needs_settings", False) else any(map(kind.fits, logs))


UNKNOWN_FIELDS: Final = Fields("", {})
"""What is known of a log that nothing was read of."""


def detector(name: str, **parameters: object) -> Detector[Any]:
    """The detector of that name with these parameters.

    Raises
    ------
    UsageError
        If no detector has the name.

    Examples
    --------
    >>> detector("sequence", cap=3)
    Sequence(cap=3)
    """
    known = registry()
    if name not in known:
        raise UsageError(f'no detector is called "{name}". Known: {", ".join(known)}.{nearest(name, known)}')
    return known[name](**parameters)


def _load(place: str) -> type[Detector[Any]]:
    """The class at `module:name`."""
    module, _, name = place.partition(":")
    loaded: type[Detector[Any]] = getattr(import_module(module), name)
    return loaded
