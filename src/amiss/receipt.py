"""What a person's word about an alert changes, in bits and alerts: the receipt for feedback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import polars as pl

from amiss.engine import Counts
from amiss.live import Live
from amiss.store import Store, Story, Verdict
from amiss.watch import recall, remembered

LOOK_BACK: Final = timedelta(days=30)
"""How far back alerts are looked at."""

MOST_STORIES: Final = 100
"""The latest stories of a user that are priced anew."""


@dataclass(frozen=True)
class Receipt:
    """What a verdict changes.

    Attributes
    ----------
    verdict, story
        What was said, and of what.
    before, after
        The most evidence that the events of the story give now, and once the verdict has taken effect, in bits.
    threshold
        The bits that an alert takes now.
    stories, spared
        The user's stories of the last days, and those that would not have given an alert with the verdict.
    is_open
        Whether the day of the story still goes on.
    """

    verdict: Verdict
    story: Story
    before: float
    after: float
    threshold: float
    stories: Sequence[Story]
    spared: Sequence[Story]
    is_open: bool


def today(store: Store, now: datetime) -> datetime:
    """The time by the events of a store: now, or the end of the open day where that lies behind."""
    days = [period.day for period in store.periods(peaks=False)]
    days += [story.period - timedelta(days=1) for story in store.stories(limit=1)]
    if not days:
        return now
    return min(now, datetime.combine(max(days) + timedelta(days=2), datetime.min.time(), now.tzinfo))


def receipt(store: Store, verdict: Verdict, now: datetime) -> Receipt | None:
    """What a verdict that was just given, or taken back, changes; None where the state is too young to say.

    The state is read as it stands, also while a watch goes on with it.
    """
    settings, story = remembered(store), store.story(verdict.story)
    if settings is None or story is None:
        return None
    live = recall(store, settings)
    if live.current is None:
        return None
    lately = [each for each in store.stories(user=story.user) if _is_late(each, today(store, now).date())]
    others = [each for each in lately if each.story != story.story][:MOST_STORIES]
    events = [_events(store, each) for each in [story, *others]]
    without, with_it = _taught(live, verdict, events[0])
    before, after = (live.costs(events, said) for said in (without, with_it))
    if verdict.undone_time is not None:
        before, after = after, before
    threshold = live.current.threshold.bits
    costs = zip([story, *others], after, strict=True)
    return Receipt(
        verdict,
        story,
        before[0],
        after[0],
        threshold,
        lately,
        [each for each, cost in costs if cost < threshold and each in lately],
        story.period == live.current.day,
    )


def _is_late(story: Story, day: date) -> bool:
    """Whether a story is of the last days before a day, or of it."""
    return day - LOOK_BACK <= story.period <= day


def _events(store: Store, story: Story) -> pl.DataFrame:
    """The events that a story tells of; none where none were kept."""
    events = store.story_events(story.story)
    return pl.DataFrame() if events is None else events


def _taught(live: Live, verdict: Verdict, events: pl.DataFrame) -> tuple[Mapping[int, Counts], Mapping[int, Counts]]:
    """What is taught without a verdict, and with it."""
    without = {number: counts for number, counts in live.history.taught.items() if number != verdict.id}
    if verdict.verdict == "confirmed" or events.is_empty():
        return without, without
    return without, {**without, verdict.id: live.history.taught.get(verdict.id) or live.did(events)}
