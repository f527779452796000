"""The Python interface: `amiss.scan` on files, addresses and data frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import polars as pl

from amiss import config
from amiss.baseline import WINDOW
from amiss.decide import Budget
from amiss.detect import fitting
from amiss.errors import UsageError
from amiss.fields import FieldChoice, choice_of
from amiss.sessions import SESSION_GAP
from amiss.sources import Source, fields_of, open_source
from amiss.vocabulary import Coding

if TYPE_CHECKING:
    from narwhals.typing import IntoFrame

    from amiss.behaviour import Grouped
    from amiss.classes import Classified
    from amiss.result import Result
    from amiss.sources.couchdb import CouchSource
    from amiss.sources.files import FileSource
    from amiss.sources.kafka import KafkaSource
    from amiss.sources.sql import SqlSource

    Datum = str | Path | IntoFrame
    Data = Datum | Sequence[Datum]


def scan(
    data: Data,
    *,
    learn: Data | None = None,
    budget: str = "1/day",
    detectors: Sequence[str] = (),
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    session_gap: str | None = None,
    window: int = WINDOW,
    cap: int | None = None,
    bad: Collection[str] = (),
    time: str | None = None,
    user: str | None = None,
    action: str | None = None,
    outcome: str | None = None,
    columns: Mapping[str, str] | None = None,
    time_format: str | None = None,
    timezone: str = "UTC",
    year: int | None = None,
    strict: bool = False,
    top: int | None = 20,
    progress: Callable[[int], None] | None = None,
) -> Result:
    """The users of some events, ranked by the evidence that they are amiss.

    Parameters
    ----------
    data
        A path, glob, directory or address; a pandas, Polars or Arrow frame; or a list of these.
    learn
        Earlier events to learn from. Without them each user is judged against all others of the same
        data, and each day against the days before it.
    budget
        The false alarms to allow, such as "3/day"; decides who is an `alert`.
    detectors
        Names of the detectors to run; all that the data has columns for when empty.
    parameters
        Settings of detectors by name, such as ``{"sequence": {"cap": 3}}``.
    session_gap
        A pause longer than this starts a new session, such as "30m".
    window
        How many days before a day say what is normal on it, where the data or what is learned from holds as many.
    cap
        The most that one user adds to any count of what is normal.
    bad
        Users who are known to be bad: what they do speaks against who does it too, and is no way to be normal.
    time, user, action, outcome
        Columns that play these roles; found by name and content when left out.
    columns
        Columns by role, for these and all other roles of an event frame, such as ``{"ip": "src"}``.
    time_format
        How times are written, such as "epoch_ms"; found when left out.
    timezone
        Zone of times that name none.
    year
        Year of times that name none (syslog).
    strict
        Whether a row that cannot be read is an error rather than quarantined.
    top
        How many users get their reasons spelled out; None for all.
    progress
        Called now and then with the number of events read so far.

    Raises
    ------
    UsageError
        If an option is not understood.
    SourceError
        If data cannot be read, or a row cannot and `strict` is set.
    EventError
        If a column that is needed is missing.

    Examples
    --------
    >>> import polars as pl
    >>> log = pl.DataFrame({
    ...     "time": ["2026-01-05T09:00:00Z", "2026-01-05T09:00:10Z", "2026-01-05T09:00:20Z"],
    ...     "user": ["ann", "bob", "ann"],
    ...     "action": ["login", "login", "logout"],
    ... })
    >>> result = scan(log)
    >>> result.summary.events, result.summary.users
    (3, 2)
    """
    from amiss.result import scan as judge

    allowed = Budget.parse(budget)
    gap = timedelta(seconds=config.seconds(session_gap)) if session_gap else SESSION_GAP
    reader = Reader.of(
        columns, time_format, timezone, year, strict=strict, time=time, user=user, action=action, outcome=outcome
    )
    sources = reader.open(data)
    given = config.in_zone(parameters or {}, timezone)
    names = detectors or fitting(fields_of(sources), given)
    return judge(
        sources,
        learn=[] if learn is None else reader.open(learn),
        budget=allowed,
        detectors=config.detectors(names, given, cap=cap),
        session_gap=gap,
        window=window,
        bad=bad,
        top=top,
        progress=progress or _silent,
    )


def _silent(_events: int) -> None:
    pass


def bands(
    data: Data,
    *,
    span: float = 30.0,
    k: float = 2.0,
    by: Literal["day", "hour"] = "day",
    per: Literal["user", "group", "everyone"] = "user",
    only: str | None = None,
    flagged: bool = False,
    time: str | None = None,
    user: str | None = None,
    action: str | None = None,
    columns: Mapping[str, str] | None = None,
    time_format: str | None = None,
    timezone: str = "UTC",
    year: int | None = None,
    strict: bool = False,
) -> pl.DataFrame:
    """How many events there were in each day or hour, with Bollinger bands around them.

    The current period is part of its own band: from k = (span - 1) / sqrt(2 span) on nothing is flagged.

    Parameters
    ----------
    data
        As for :func:`scan`.
    span
        Over about how many periods back mean and deviation reach; `ewm(span=...)` of pandas.
    k
        How many deviations the band is wide, above and below the mean.
    by
        Count by day or by hour.
    per
        Whose events are counted together: those of each user, of each group (the role `group`), or all.
    only
        The one user or group to give.
    flagged
        Whether to give only periods above their band.
    time, user, action, columns, time_format, year, strict
        As for :func:`scan`; ``columns={"group": ...}`` names the column of groups.
    timezone
        Zone of days and hours, and of times that name none.

    Returns
    -------
    bands : (n, 8)
        `user` or `group` (neither where all are counted together), `period`, `count`, `mid`, `upper`, `lower`, `pct_b`,
        `flagged`: a row for each period from the first event to the last. `upper`, `lower` and `pct_b` are null in the
        first, `pct_b` also while counts never varied.

    Raises
    ------
    UsageError
        If an option is not understood, or nobody is called `only`.
    SourceError, EventError
        As for :func:`scan`.

    Examples
    --------
    >>> import polars as pl
    >>> days = ["2026-01-05"] * 2 + ["2026-01-06"] * 2 + ["2026-01-08"] * 40
    >>> log = pl.DataFrame({"time": [f"{day}T09:00:00Z" for day in days], "user": "ann", "action": "view"})
    >>> bands(log, k=1.4).select("period", "count", "mid", "flagged").rows()[2:]
    [(datetime.date(2026, 1, 7), 0, 1.28..., False), (datetime.date(2026, 1, 8), 40, 11.95..., True)]
    """
    from amiss import activity
    from amiss.bollinger import Calendar, Width
    from amiss.times import check_timezone

    width = Width(span, k)
    check_timezone(timezone)
    reader = Reader.of(columns, time_format, timezone, year, strict=strict, time=time, user=user, action=action)
    sources = reader.open(data)
    counts = activity.read(sources, Calendar(by, timezone), per=per)
    return (counts if only is None else counts.only(only)).bands(width, flagged=flagged)


@dataclasses.dataclass(frozen=True)
class Reader:
    """How to read events: which column plays which role, and what times without a zone or year mean."""

    choice: FieldChoice
    timezone: str = "UTC"
    year: int | None = None
    strict: bool = False

    @classmethod
    def of(
        cls,
        columns: Mapping[str, str] | None,
        time_format: str | None,
        timezone: str,
        year: int | None,
        *,
        strict: bool,
        **roles: str | None,
    ) -> Reader:
        """A reader by columns for any role, and by what was given for some; that counts more.

        Raises
        ------
        ConfigError
            If a column is given for what is no role.
        """
        pinned = {role: column for role, column in roles.items() if column is not None}
        choice = choice_of({"time_format": time_format, **(columns or {}), **pinned})
        return cls(choice, timezone, year, strict)

    def open(self, data: Data) -> list[Source]:
        """The sources that data stands for.

        Raises
        ------
        UsageError
            If nothing is given to read.
        """
        parts = cast("Sequence[Datum]", data if isinstance(data, list | tuple) else [data])
        if not parts:
            raise UsageError("nothing to read: expected at least one path, address or frame")
        return [self._source(part) for part in parts]

    def file(self, url: str | Path) -> FileSource | KafkaSource | CouchSource | SqlSource:
        """The source at an address."""
        return open_source(str(url), fields=self.choice, timezone=self.timezone, strict=self.strict, year=self.year)

    def _source(self, part: Datum) -> Source:
        if isinstance(part, str | Path):
            return self.file(part)
        from amiss.sources.frames import FrameSource

        return FrameSource(part, fields=self.choice, timezone=self.timezone, strict=self.strict, year=self.year)


def classify(
    data: Data,
    labels: str | Path | Mapping[str, str] | Sequence[str | Path],
    *,
    label: str | None = None,
    odds: float = 10.0,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    everyone: bool = False,
    time: str | None = None,
    user: str | None = None,
    action: str | None = None,
    columns: Mapping[str, str] | None = None,
    time_format: str | None = None,
    timezone: str = "UTC",
    year: int | None = None,
    strict: bool = False,
) -> Classified:
    """The class that each user is of, by the behaviour of labelled users; or who is most like those with one label.

    With labels of several classes: the chances of each class, behind all that a user did, with evidence action by
    action. With one, or where `label` names one, users are ranked by how much their days look
    like those of users who have it.

    Parameters
    ----------
    data
        As for :func:`scan`.
    labels
        Who has which label: a CSV file with the columns `user,label`, a rule such as ``name=Staff as staff`` about a
        column of the log or of the table of `parameters`, a list of these, or a mapping of users to labels.
    label
        The label that is looked for, against all other users.
    odds
        To one, how much likelier than all else a class must be to be said.
    parameters
        ``{"entitlement": {...}}`` as for :func:`scan`: the table for rules, and the times of cohorts.
    everyone
        Whether to rank those who have the label too, each judged by the others.
    time, user, action, columns, time_format, timezone, year, strict
        As for :func:`scan`.

    Returns
    -------
    classified
        The frames `.users`, and with several labels `.classes`, `.posterior` and `.evidence`, as
        :class:`amiss.classes.Classified` tells; `.story(user)` gives the chances behind each event of a user.

    Raises
    ------
    UsageError
        If nobody has the label, or an option is not understood.
    SourceError, EventError
        As for :func:`scan`, and where labels or the table cannot be read.

    Examples
    --------
    >>> import polars as pl
    >>> rows = [(f"2026-01-05T09:00:{second:02}Z", f"{kind}{number}", action)
    ...         for kind, actions in {"bot": ["view"] * 9, "man": ["view", "buy", "pay"] * 3}.items()
    ...         for number in range(4) for second, action in enumerate(actions)]
    >>> log = pl.DataFrame(rows, schema=["time", "user", "action"], orient="row")
    >>> found = classify(log, {"bot0": "bot", "bot1": "bot", "man0": "buyer", "man1": "buyer"})
    >>> found.users.filter(user="bot3").select("verdict", pl.col("probability").round(2)).row(0)
    ('bot', 0.95)
    """
    from amiss import classes
    from amiss.detect.entitlement import Entitlement

    reader = Reader.of(columns, time_format, timezone, year, strict=strict, time=time, user=user, action=action)
    sources = reader.open(data)
    given = config.in_zone(parameters or {}, timezone)
    found = config.detectors(["entitlement"], given) if "entitlement" in given else []
    table = found[0] if found and isinstance(found[0], Entitlement) else None
    told = classes.classify(sources, labels, label, table, timezone=timezone, everyone=everyone, odds=odds)
    return told if isinstance(told, classes.Classified) else classes.Classified.of(told)


def groups(
    data: Data | None = None,
    *,
    state: str | Path | None = None,
    by_day: bool = False,
    window: int | None = None,
    method: Literal["bits", "seed001"] = "bits",
    limit: float | None = None,
    labels: str | Path | Mapping[str, str] | None = None,
    time: str | None = None,
    user: str | None = None,
    action: str | None = None,
    outcome: str | None = None,
    columns: Mapping[str, str] | None = None,
    time_format: str | None = None,
    timezone: str = "UTC",
    year: int | None = None,
    strict: bool = False,
) -> Grouped:
    """Users in groups by behaviour, what each group does and is called, who moved and what became of groups.

    Parameters
    ----------
    data
        As for :func:`scan`; None for the groups of a state.
    state
        The state of a watch, whose labels are shown; and, without `data`, whose groups, which keep their numbers as it
        goes on (:mod:`amiss.lineage`).
    by_day
        Whether to go day by day; else all days are one.
    window
        Go day by day, and judge users who came by what they did in so many days, that day the last; else by that day.
    method
        "bits" finds the groups with which all events are told most briefly (:mod:`amiss.grouping`), "seed001" those of
        the original notebook (:mod:`amiss.leader`).
    limit
        How many bits off a user may be in a group. For "bits" none is needed; for "seed001" the best one by `labels`,
        else 5.
    labels
        Users with labels, or a CSV file with the columns `user,label`, instead of those of the state: what members are
        called. For "seed001" also what the limit is found with.
    time, user, action, outcome, columns, time_format, timezone, year, strict
        As for :func:`scan`.

    Returns
    -------
    groups
        Frames `groups`, `members`, `moves` and `changes`; see :class:`amiss.behaviour.Grouped`.

    Raises
    ------
    UsageError
        If an option is not understood.
    SourceError, EventError
        As for :func:`scan`.

    Examples
    --------
    >>> import polars as pl
    >>> does = {"b": ["view", "buy"], "s": ["view", "sell"]}
    >>> log = pl.DataFrame([(f"2026-01-05T09:00:{second:02}Z", f"{kind}{number}", does[kind][second % 2])
    ...     for second in range(20) for kind in "bs" for number in range(4)], schema=["time", "user", "action"],
    ...     orient="row")
    >>> groups(log).groups.select("id", "members", "does").rows()
    [(1, 4, 'buy 50%, view 50%'), (2, 4, 'sell 50%, view 50%')]
    """
    from amiss.behaviour import grouped
    from amiss.labels import read_labels

    reader = Reader.of(
        columns, time_format, timezone, year, strict=strict, time=time, user=user, action=action, outcome=outcome
    )
    known = labels if labels is None or isinstance(labels, Mapping) else read_labels(labels).by_user()
    if data is None:
        if limit is not None or method != "bits":
            raise UsageError("a state has its groups already: leave out method and limit, or give data")
        return _groups_of_state(state, window, known)
    found = grouped(reader.open(data), by_day=by_day, window=window, method=method, limit=limit, labels=known)
    return found if state is None or known is not None else found.labelled(_labels_of_state(state))


def _groups_of_state(state: str | Path | None, window: int | None, labels: Mapping[str, str] | None) -> Grouped:
    """The groups of a state, with its labels or with others."""
    from amiss.lineage import groups_of
    from amiss.store import Store

    if state is None:
        raise UsageError("whose groups? Give data, or the state of a watch: state=FILE")
    with Store.open(state, write=False) as store:
        found = groups_of(store, window=window)
    return found if labels is None else found.labelled(labels)


def _labels_of_state(state: str | Path) -> dict[str, str]:
    """The label of each user by a state."""
    from amiss.store import Store

    with Store.open(state, write=False) as store:
        return store.labels_by_user()


def violations(
    data: Data,
    rules: Mapping[str, Any],
    *,
    time: str | None = None,
    user: str | None = None,
    action: str | None = None,
    columns: Mapping[str, str] | None = None,
    time_format: str | None = None,
    timezone: str = "UTC",
    year: int | None = None,
    strict: bool = False,
) -> pl.DataFrame:
    """All that users did outside of what they are entitled to, by user and finding.

    Parameters
    ----------
    data
        As for :func:`scan`.
    rules
        The settings of `[entitlement]`: which table, which columns, which scopes.
    time, user, action, columns, time_format, timezone, year, strict
        As for :func:`scan`.

    Returns
    -------
    violations : (n, 10)
        Most events first: `user`; `finding` (before, after, outside, both, unknown); `period`, what the row of the
        table is called; `limit`, the day that was passed, and by how many `days` at most; `events` on `active_days`,
        from `first_date` to `last_date`; and the `scope` of what was looked at.

    Raises
    ------
    UsageError
        If an option is not understood.
    SourceError, EventError
        As for :func:`scan`, and where the table cannot be read.

    Examples
    --------
    >>> import polars as pl
    >>> days = ["2026-01-31T09:00:00Z", "2026-02-09T09:00:00Z"]
    >>> log = pl.DataFrame({"time": days, "user": "ann", "path": "a", "until": "2026-01-31"})
    >>> violations(log, {"end": "until"}).select("user", "finding", "days", "events").rows()
    [('ann', 'after', 9, 1)]
    """
    from amiss.breaches import violations as found_in
    from amiss.detect.entitlement import Entitlement

    reader = Reader.of(columns, time_format, timezone, year, strict=strict, time=time, user=user, action=action)
    sources = reader.open(data)
    (made,) = config.detectors(["entitlement"], config.in_zone({"entitlement": rules}, timezone))
    assert isinstance(made, Entitlement), "that is what the name stands for"
    return found_in(sources, made)


def transitions(sources: Sequence[Source]) -> pl.DataFrame:
    """The surprisal table of all events of some sources, with names for codes.

    Returns
    -------
    table : (pairs, 7)
        As :func:`amiss.surprisal.transitions`; `previous` is empty where nothing came before.
    """
    from amiss import surprisal
    from amiss.engine import coded_frames

    coding = Coding()
    frames = [frame for source in sources for frame in coded_frames(source, coding)]
    events = pl.concat(frames).sort("user", "time", maintain_order=True)
    return surprisal.decoded(surprisal.transitions(surprisal.summarise(events)), actions=coding.actions)
