"""Who behaves like users of a class: from sources and labels to a ranking, or to chances of each of several classes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from amiss import watch
from amiss.baseline import COUNT_SCHEMA, Floats, merge, no_counts
from amiss.detect import Names
from amiss.detect.entitlement import Entitlement
from amiss.detect.sequence import ACTION, GAP, NO_GAP, bin_bounds, gap_bins
from amiss.detect.sequence import Sequence as Actions
from amiss.engine import coded_frames
from amiss.errors import StateError, UsageError, nearest
from amiss.events import Quarantine
from amiss.labels import read_labels
from amiss.likeness import Labeller, Likeness, Rule, days_of, profiles
from amiss.posterior import NONE, Classifier, Posterior
from amiss.sessions import Events, Last, action_of, group
from amiss.sources import Source
from amiss.spool import Spool
from amiss.store import Store
from amiss.vocabulary import Coding

Given = str | Path | Mapping[str, str] | Sequence[str | Path]
"""Labels: a file, a rule, several of these, or users with labels."""


ODDS: Final = 10.0
"""To one: how much likelier than all else a class must be to be said."""

TOLD: Final = 3
"""Reasons that are given for a user."""

LEAST_BITS: Final = 0.05
"""A reason of fewer bits is none."""

USER_SCHEMA: Final[dict[str, pl.DataType]] = {
    "user": pl.String(),
    "label": pl.String(),
    "verdict": pl.String(),
    "class": pl.String(),
    "probability": pl.Float64(),
    "none": pl.Float64(),
    "against": pl.String(),
    "events": pl.Int64(),
    "reasons": pl.List(pl.String()),
}
EVIDENCE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "user": pl.String(),
    "class": pl.String(),
    "against": pl.String(),
    "bits": pl.Float64(),
    "count": pl.Int64(),
    "of": pl.Int64(),
    "text": pl.String(),
}


class Ranked(NamedTuple):
    """A ranking of users, and what it rests on.

    `label` is what was looked for, `labelled` how many users of the log have it, `users` how many there are, `absent`
    how many labels are of users whom the log does not know; `quarantine` are rows of labels that say nothing.
    """

    ranking: pl.DataFrame
    label: str
    labelled: int
    users: int
    absent: int
    quarantine: Quarantine


def ranked(
    sources: Sequence[Source],
    labels: Given,
    label: str | None = None,
    table: Entitlement | None = None,
    *,
    timezone: str = "UTC",
    everyone: bool = False,
) -> Ranked:
    """Users by how much they behave like those with a label.

    Parameters
    ----------
    sources
        What users did.
    labels
        Who has which label.
    label
        The one that is looked for; not needed where there is only one.
    table
        Where rules look for columns that the log does not have, and the times of cohorts.

    Raises
    ------
    UsageError
        If nobody of the log has the label, or several labels are there and none is named.
    """
    return _ranked(_Reader.of(sources, labels, table), label, table, timezone, everyone=everyone)


def _ranked(reader: _Reader, label: str | None, table: Entitlement | None, timezone: str, *, everyone: bool) -> Ranked:
    """The ranking of the users of a reader."""
    days = days_of(reader.frames(), reader.coding, timezone)
    profile = profiles(days.rows, table.periods if table is not None and table.key else None)
    known = {reader.coding.users.text(code): name for code, name in reader.taught.items()}
    wanted = _wanted(known, label)
    ranking = Likeness().rank(profile, known, wanted, everyone=everyone)
    labelled = sum(name == wanted for name in known.values())
    return Ranked(ranking, wanted, labelled, profile["user"].n_unique(), reader.absent, reader.quarantine)


def remembered(store: Store, labels: Given, *, odds: float = ODDS) -> Classified:
    """The chances that each user of a state is of each labelled class, by what the state has counted, open days too.

    Raises
    ------
    UsageError
        If users of the state have labels of fewer than two classes, or a rule is given: a state keeps no columns.
    StateError
        If the state counts no actions, or nothing yet.
    """
    _check(odds)
    named, rules, quarantine = _given(labels)
    if rules:
        raise UsageError("rules look at columns of a log: give a SOURCE, or labels of users")
    settings = watch.remembered(store)
    family = Actions.counts
    if settings is None or family not in {each.counts for each in settings.detectors}:
        raise StateError(f"{store.path} counts no actions: the detector sequence was not among those that began it")
    live = watch.recall(store, settings)
    open_days = [live.coded(period.tally.total()[family]) for period in live.open_days]
    closed = [counts for _, each, counts in store.counts() if each == family]
    counts = merge([no_counts(), *closed, *open_days])
    known = {code: name for user, name in named.items() if (code := live.coding.users.find(user)) is not None}
    told = Findings(Classifier.fit(counts, known), counts, known, live.coding, odds)
    frames = told.users(), told.classes(), told.posterior(), told.evidence
    return Classified(*frames, odds, len(named) - len(known), quarantine)


def _check(odds: float) -> None:
    """Refuse odds that cannot be."""
    if not odds >= 1.0:
        raise UsageError(
            f"odds are how much likelier a class must be than all else: expected 1 or more, found {odds:g}"
        )


def _labeller(rules: Sequence[Rule], table: Entitlement | None) -> Labeller:
    """What says which labels users have by rules."""
    keys = table.keys if table is not None else ("", "")
    return Labeller(rules, table.rows if table is not None and table.key else None, *keys)


def _given(labels: Given) -> tuple[dict[str, str], list[Rule], Quarantine]:
    """Labels by user, rules, and rows of files that say nothing."""
    if isinstance(labels, Mapping):
        return {str(user): name for user, name in labels.items()}, [], Quarantine()
    named: dict[str, str] = {}
    rules: list[Rule] = []
    quarantine = Quarantine()
    for each in [labels] if isinstance(labels, str | Path) else labels:
        if "=" in str(each) and not Path(each).exists():
            rules.append(Rule.parse(str(each)))
            continue
        found = read_labels(each)
        named |= found.by_user()
        quarantine.extend(found.quarantine)
    return named, rules, quarantine


def _wanted(known: Mapping[str, str], label: str | None) -> str:
    """The label that is meant."""
    names = sorted(set(known.values()))
    if label is None and len(names) == 1:
        return names[0]
    said = ", ".join(names) or "none"
    if label is None and not names:
        raise UsageError("no user of this log has a label. Expected users as the log names them, or rules that hold")
    if label is None:
        raise UsageError(f"which label is looked for? Users of this log have: {said}. Name one with --label")
    if label not in names:
        raise UsageError(
            f'nobody here is labelled "{label}". Labels of users of this log: {said}.{nearest(label, names)}'
        )
    return label


@dataclass(frozen=True, eq=False)
class Classified:
    """Users and the classes they are of, by the behaviour of those who are labelled.

    Attributes
    ----------
    users
        With labels of several classes (u, 9), by class, those that are rarest first, likeliest first: `user`; their
        `label`, or empty; the `verdict`, which is the class that is likelier than all else by the odds, or empty: don't
        know; the likeliest `class` and its `probability`; that of being of `none`; what speaks most `against` it, a
        class or empty for what everybody does; `events`; and `reasons` with their bits. Those who have a label are
        judged by the others. With one label (u, 7): see :meth:`amiss.likeness.Likeness.rank`.
    classes : (c, 4)
        `class`, how many users are `labelled`, what `share` of all users is of it, and what it is `told_by`.
    posterior : (n, 4)
        `user`, `class` (empty for none), its `probability`, and the `bits` of what the user did by it.
    evidence : (n, 7)
        What speaks for the likeliest class and against the next, action by action: `user`, `class`, `against`, `bits`,
        `count` times `of` so many, and a `text`. Actions that speak against the class have negative bits. By user and
        bits.
    odds
        To one, what a verdict takes; infinite with one label.
    absent
        How many labels are of users whom the log does not know.
    quarantine
        Rows of labels that say nothing.
    """

    users: pl.DataFrame
    classes: pl.DataFrame
    posterior: pl.DataFrame
    evidence: pl.DataFrame
    odds: float
    absent: int
    quarantine: Quarantine
    _reader: _Reader | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        names = ", ".join(self.classes["class"]) if len(self.classes) else "a ranking"
        return f"<Classified: {len(self.users):,} users, {names}>"

    @classmethod
    def of(cls, found: Ranked) -> Classified:
        """A ranking, with no chances of classes."""
        none = pl.DataFrame()
        return cls(found.ranking, none, none, none, math.inf, found.absent, found.quarantine)

    def story(self, user: str) -> pl.DataFrame:
        """The chances behind each event of a user: (n, 4 + c): `time`, `action`, `outcome`, each class, and `none`.

        A class that is itself called one of these has the column `class time`, and so on.

        Raises
        ------
        UsageError
            If there is no such user, or chances of one label only.
        """
        if self._reader is None or self._reader.classifier is None:
            raise UsageError("the story of a user needs a source, and labels of at least two classes")
        return self._reader.story(user)


class _Reader:
    """The events of some sources by day, their counts, and who of their users has which label."""

    def __init__(self, coding: Coding) -> None:
        self.coding, self.spool = coding, Spool(schema=coding.schema)
        self.taught: dict[int, str] = {}
        self.absent, self.quarantine = 0, Quarantine()
        self.classifier: Classifier | None = None

    @classmethod
    def of(cls, sources: Sequence[Source], labels: Given, table: Entitlement | None) -> _Reader:
        """What sources hold."""
        named, rules, quarantine = _given(labels)
        reader = cls(Coding(contexts=[_labeller(rules, table)]))
        for source in sources:
            reader._read(source)
        find = reader.coding.users.find
        known = {code: name for user, name in named.items() if (code := find(user)) is not None}
        reader.taught |= known
        reader.absent, reader.quarantine = len(named) - len(known), quarantine
        return reader

    def _read(self, source: Source) -> None:
        """Take the events of a source, and what rules say of their users."""
        offset, coding = len(self.spool), self.coding
        for frame in coded_frames(source, coding):
            self.spool.add(frame.with_columns(pl.col("position") + offset))
            some = frame.filter(pl.col("label") != 0).unique("user", keep="last", maintain_order=True)
            self.taught |= dict(zip(some["user"].to_list(), coding.values.decode(some["label"]), strict=True))

    def frames(self) -> Iterator[pl.DataFrame]:
        """The coded events day by day."""
        yield from (self.spool.select(day, pl.lit(value=True)) for day in self.spool.days())

    def events(self, which: pl.Expr | None = None) -> Iterator[Events]:
        """The grouped events of each day, of all users or some."""
        last, chosen = Last(), pl.lit(value=True) if which is None else which
        for day in self.spool.days():
            yield group(self.spool.select(day, chosen).drop("label"), last)

    def counts(self) -> pl.DataFrame:
        """How often each user did what, in all days together."""
        return merge([no_counts(), *(Actions().summarise(events) for events in self.events())])

    def story(self, name: str) -> pl.DataFrame:
        """The chances behind each event of a user."""
        code = self.coding.users.find(name)
        if code is None or self.classifier is None:
            raise UsageError(f'no user "{name}".{nearest(name, self.coding.users.texts().to_list())}')
        frame = pl.concat([events.frame() for events in self.events(pl.col("user") == code)])
        classifier = self.classifier
        if code in self.taught:
            classifier = classifier.without(Actions().summarise(Events.of(frame)), self.taught[code])
        chances = _along(classifier, frame)
        told = [action_of(state) for state in frame["state"].to_list()]
        columns = {
            "time": frame["time"],
            "action": self.coding.actions.decode(pl.Series([action for action, _ in told], dtype=pl.UInt32)),
            "outcome": pl.Series([outcome for _, outcome in told], dtype=pl.String),
        }
        taken = (*columns, "none")
        names = [*(f"class {name}" if name in taken else name for name in classifier.classes), "none"]
        return pl.DataFrame(columns | dict(zip(names, chances.T, strict=True)))


def classify(
    sources: Sequence[Source],
    labels: Given,
    label: str | None = None,
    table: Entitlement | None = None,
    *,
    timezone: str = "UTC",
    everyone: bool = False,
    odds: float = ODDS,
) -> Classified | Ranked:
    """The chances that users are of each of several classes; a ranking for one label, or where one is named.

    Parameters
    ----------
    sources
        What users did.
    labels
        Who has which label.
    label
        The one that is looked for.
    table
        Where rules look for columns that the log does not have, and the times of cohorts.
    timezone, everyone
        For a ranking: where days begin, and whether those who have the label are ranked too.
    odds
        To one, what a verdict takes.

    Raises
    ------
    UsageError
        If nobody of the log has a label, or that label, or the odds are below 1.
    """
    _check(odds)
    reader = _Reader.of(sources, labels, table)
    if label is not None or len(set(reader.taught.values())) < 2:
        return _ranked(reader, label, table, timezone, everyone=everyone)
    counts = reader.counts()
    reader.classifier = Classifier.fit(counts, reader.taught)
    told = Findings(reader.classifier, counts, reader.taught, reader.coding, odds)
    frames = told.users(), told.classes(), told.posterior(), told.evidence
    return Classified(*frames, odds, reader.absent, reader.quarantine, reader)


@dataclass(frozen=True, eq=False)
class Findings:
    """What a classifier says of the users of some counts, in words; those who `taught` it are judged by the others."""

    classifier: Classifier
    counts: pl.DataFrame
    taught: Mapping[int, str]
    coding: Coding
    odds: float

    @cached_property
    def judged(self) -> Posterior:
        """The chances of all users."""
        return self.classifier.judge(self.counts, self.taught)

    @cached_property
    def leading(self) -> tuple[list[str], list[str]]:
        """The likeliest labelled class of each user, and the likeliest other, or none."""
        classes, order = self.judged.classes, self.judged.order().tolist()
        best = [next(at for at in each if classes[at] != NONE) for each in order]
        second = [next(at for at in each if at != first) for each, first in zip(order, best, strict=True)]
        return [classes[at] for at in best], [classes[at] for at in second]

    @cached_property
    def names(self) -> pl.Series:
        """The names of the users."""
        return self.coding.users.decode(pl.Series(self.judged.users, dtype=pl.UInt32))

    def users(self) -> pl.DataFrame:
        """The table of users."""
        best, second = self.leading
        codes = self.judged.users.tolist()
        place = {name: at for at, name in enumerate(self.judged.classes)}
        at = np.array([place[name] for name in best], dtype=np.int64)
        chance = self.judged.chances[np.arange(len(at)), at]
        said = zip(best, chance.tolist(), strict=True)
        table = pl.DataFrame(
            {
                "user": self.names,
                "label": [self.taught.get(user, "") for user in codes],
                "verdict": [name if share >= self.odds / (1.0 + self.odds) else "" for name, share in said],
                "class": best,
                "probability": chance,
                "none": self.judged.chances[:, -1],
                "against": second,
            },
            schema_overrides=USER_SCHEMA,
        )
        events = self.counts.filter(feature=ACTION).group_by("user").agg(events=pl.sum("count")).sort("user")
        table = table.with_columns(share=self.classifier.prior[at], events=events["events"])
        whole = table.join(self._reasons(), on="user", how="left").with_columns(pl.col("reasons").fill_null([]))
        order = {"share": False, "class": False, "probability": True, "user": False}
        ordered = whole.sort(*order, descending=list(order.values()))
        return ordered.select(pl.col(name).cast(dtype) for name, dtype in USER_SCHEMA.items())

    def _reasons(self) -> pl.DataFrame:
        """By user, what speaks most for the class."""
        first = self.evidence.filter(pl.col("bits") >= LEAST_BITS).group_by("user", maintain_order=True).head(TOLD)
        texts = [f"{text} ({bits:+,.1f} bits)" for text, bits in first.select("text", "bits").iter_rows()]
        told = first.select("user", reasons=pl.Series(texts, dtype=pl.String))
        return told.group_by("user", maintain_order=True).agg("reasons")

    def classes(self) -> pl.DataFrame:
        """The table of classes."""
        columns = {
            "class": list(self.classifier.classes),
            "labelled": list(self.classifier.labelled),
            "share": self.classifier.prior[:-1],
            "told_by": self.classifier.words(),
        }
        return pl.DataFrame(columns)

    def posterior(self) -> pl.DataFrame:
        """The table of chances, by user and class."""
        wide = len(self.judged.classes)
        columns = {
            "user": self.names.gather(np.repeat(np.arange(len(self.names)), wide)),
            "class": pl.Series(list(self.judged.classes) * len(self.names), dtype=pl.String),
            "probability": self.judged.chances.reshape(-1),
            "bits": self.judged.bits.reshape(-1),
        }
        return pl.DataFrame(columns).sort("user", "class")

    @cached_property
    def evidence(self) -> pl.DataFrame:
        """The table of evidence."""
        best, second = self.leading
        cells = self.classifier.evidence(self.counts, best, second, self.taught)
        actions = cells.filter(feature=ACTION).group_by("user", state="value").agg(pl.sum("bits", "count"))
        bin_ = pl.lit(NO_GAP, pl.Int32)
        actions = actions.with_columns(of=pl.sum("count").over("user"), low=bin_, high=bin_)
        pauses = (
            cells.filter(feature=GAP)
            .group_by("user", state="given")
            .agg(pl.sum("bits", "count"), of=pl.sum("count"), low=pl.min("value"), high=pl.max("value"))
        )
        both = pl.concat([actions, pauses.select(actions.columns)])
        table = both.sort("user", "bits", "low", "state", descending=[False, True, False, False])
        at = pl.Series(self.judged.users, dtype=pl.UInt32).search_sorted(table["user"])
        columns = {
            "user": self.names.gather(at),
            "class": pl.Series(best, dtype=pl.String).gather(at),
            "against": pl.Series(second, dtype=pl.String).gather(at),
            "bits": table["bits"],
            "count": table["count"],
            "of": table["of"],
            "text": self._texts(table.select("state", "low", "high", "count", "of")),
        }
        return pl.DataFrame(columns, schema_overrides=EVIDENCE_SCHEMA)

    def _texts(self, table: pl.DataFrame) -> pl.Series:
        """What users did, in words, each different thing put into words once."""
        names, different = Names(self.coding), table.unique()
        rows = different.iter_rows()
        said = [_said(names.state(state), (low, high), count, of) for state, low, high, count, of in rows]
        told = different.with_columns(text=pl.Series(said, dtype=pl.String))
        return table.join(told, on=table.columns, how="left", maintain_order="left")["text"]


def _said(state: str, bins: tuple[int, int], count: int, of: int) -> str:
    """What a user did, with counts."""
    low, high = bins
    if low == NO_GAP:
        return f"{state} {count:,} of {of:,} times"
    least, most = bin_bounds(low)[0], bin_bounds(high)[1]
    pause = f"{least:.3g} to {most:.4g} s" if most > 1.0 else "within a second"
    times = "once" if count == 1 else f"{count:,} times"
    return f"{state} {times}, {pause} after the action before"


def _along(classifier: Classifier, frame: pl.DataFrame) -> Floats:
    """The chances behind each of a user's grouped events: (n, c + 1)."""
    columns = {"event": np.arange(len(frame)), "given": frame["previous"], "value": frame["state"]}
    pauses = {**columns, "given": frame["state"], "value": gap_bins(frame["gap"].to_numpy())}
    codes = [pl.col(name).cast(COUNT_SCHEMA[name]) for name in ("given", "value")]
    parts = [
        pl.DataFrame(each).select("event", pl.lit(feature, COUNT_SCHEMA["feature"]).alias("feature"), *codes)
        for feature, each in ((ACTION, columns), (GAP, pauses))
    ]
    return classifier.along(pl.concat(parts).sort("event", maintain_order=True), len(frame))
