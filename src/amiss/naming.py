"""Of which labelled class a user is who is told of, by what they did on that day; and whose deeds are bad.

What labelled users do is counted already, so nothing more is remembered: chances follow from the counts of the days
that judge a day. They are found anew when labels change, or a day has closed, and only once somebody is told of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Final

import numpy as np
import polars as pl

from amiss.alerts import Alert
from amiss.baseline import merge, no_counts
from amiss.detect.sequence import Sequence
from amiss.errors import UsageError
from amiss.live import Live
from amiss.posterior import Classifier
from amiss.sessions import group

ODDS: Final = 10.0
"""To one: how much likelier than all else a class must be to be said."""

MOST_USERS: Final = 20_000
"""Users without a label who tell how many are of which class; of more, as many evenly spread ones."""


class Naming:
    """Puts the class of their user into notices of a stream.

    Parameters
    ----------
    live
        The stream.
    odds
        To one, what it takes for a class to be said.

    Attributes
    ----------
    labels
        The classes of users by name; may be replaced at any time.
    """

    def __init__(self, live: Live, odds: float = ODDS) -> None:
        self._live, self._odds = live, odds
        self.labels: Mapping[str, str] = {}
        self._made: tuple[Mapping[str, str], date | None] | None = None
        self._classifier: Classifier | None = None

    def named(self, alert: Alert, rows: pl.DataFrame) -> Alert:
        """The notice with the class of its user, where one is likelier than all else by the odds.

        Parameters
        ----------
        rows
            The coded events of the user on the day.
        """
        classifier = self._current() if len(rows) else None
        if classifier is None:
            return alert
        events = group(rows, session_gap=self._live.session_gap, by_time=False)
        posterior = classifier.judge(Sequence().summarise(events))
        chances = posterior.chances[0, :-1]
        best, chance = int(np.argmax(chances)), float(chances.max())
        if chance < self._odds / (1.0 + self._odds):
            return alert
        return replace(alert, likely_class=classifier.classes[best], class_probability=chance)

    def _current(self) -> Classifier | None:
        """The classifier by the labels and closed days there are; None where these tell no two classes apart."""
        day = self._live.current.day if self._live.current is not None else None
        made = (self.labels, day)
        if self._made is None or self._made[0] is not made[0] or self._made[1] != day:
            self._made, self._classifier = made, self._fitted(made[0])
        return self._classifier

    def _fitted(self, labels: Mapping[str, str]) -> Classifier | None:
        """The classifier of some labels."""
        if len(set(labels.values())) < 2:
            return None
        find, history = self._live.coding.users.find, self._live.history.judged.values()
        codes = {code: name for user, name in labels.items() if (code := find(user)) is not None}
        seats = {seat: name for code, name in codes.items() if (seat := self._live.find(code)) is not None}
        counts = merge([no_counts(), *(each[Sequence.counts] for each in history if Sequence.counts in each)])
        try:
            return Classifier.fit(counts, seats, most_users=MOST_USERS)
        except UsageError:
            return None
