"""Who behaves like users of a class: from sources and labels to a ranking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from amiss.detect.entitlement import Entitlement
from amiss.engine import coded_frames
from amiss.errors import UsageError, nearest
from amiss.events import Quarantine
from amiss.labels import read_labels
from amiss.likeness import Labeller, Likeness, Rule, days_of, profiles
from amiss.sources import Source
from amiss.vocabulary import Coding

Given = str | Path | Mapping[str, str] | Sequence[str | Path]
"""Labels: a file, a rule, several of these, or users with labels."""


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
    named, rules, quarantine = _given(labels)
    keys = table.keys if table is not None else ("", "")
    labeller = Labeller(rules, table.rows if table is not None and table.key else None, *keys)
    coding = Coding(contexts=[labeller])
    days = days_of(_frames(sources, coding), coding, timezone)
    profile = profiles(days.rows, table.periods if table is not None and table.key else None)
    users = set(profile["user"])
    known = {user: name for user, name in (days.labels | named).items() if user in users}
    wanted = _wanted(known, label)
    ranking = Likeness().rank(profile, known, wanted, everyone=everyone)
    labelled = sum(name == wanted for name in known.values())
    return Ranked(ranking, wanted, labelled, len(users), len(named.keys() - users), quarantine)


def _frames(sources: Sequence[Source], coding: Coding) -> Iterator[pl.DataFrame]:
    """Coded frames of all sources."""
    for source in sources:
        yield from coded_frames(source, coding)


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
    if label is None:
        raise UsageError(f"which label is looked for? Users of this log have: {said}. Name one with --label")
    if label not in names:
        raise UsageError(
            f'nobody here is labelled "{label}". Labels of users of this log: {said}.{nearest(label, names)}'
        )
    return label
