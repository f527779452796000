"""The surprisal table: how surprising each action is after the one before it, and what that adds up to.

The table has a row per action and previous action, with two counts: how often it went well and how often it failed.
With `n` events of the action in all, a success costs ``-log2(success / n)`` bits and a failure
``-log2(failure / n)``, a count of 0 read as 1. What the table does not know costs more: a previous action it never
saw before this one ``log2(n)``, an action it never saw ``log2(all events)``.

Sums of surprisal grow with activity. They describe users and are shown; nothing is alerted on them.

It goes in two steps, so that a table learned from earlier days scores today's events: :func:`summarise` counts,
and counts :func:`merge`; :func:`transitions` and :func:`outcomes` make tables of counts; :func:`surprisals`,
:func:`profile` and :func:`totals` apply a table to events. All of it works on codes; :func:`decoded` gives texts.

`previous` is the user's action before this one in the whole log, whatever the gap; :data:`NO_ACTION` for the first.
The outcome ``unknown`` counts as success.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import polars as pl

from amiss.blocks import frozen
from amiss.events import OUTCOMES
from amiss.sessions import Events
from amiss.vocabulary import Vocabulary

NO_ACTION: Final = 2**31 - 1
"""The code of the previous action where there is none; its text is empty."""

COUNT_SCHEMA: Final[dict[str, pl.DataType]] = {
    "previous": pl.UInt32(),
    "action": pl.UInt32(),
    "failure": pl.Boolean(),
    "count": pl.Int64(),
}
"""Columns of the counts that a table is made of."""

_STEP: Final = 2.0**-32
_PAIR: Final = 2**31
_CELL: Final = ("previous", "action", "failure")
_FAILURE: Final = OUTCOMES.index("failure")


def summarise(events: pl.DataFrame) -> pl.DataFrame:
    """How often each action followed each other one, and how it ended.

    Parameters
    ----------
    events : (n, ≥3) coded columns `user`, `action`, `outcome`
        All events of a user together, in order of time and position.

    Returns
    -------
    counts : (cells, 4) :data:`COUNT_SCHEMA`
        Sorted by `previous`, `action`, `failure`.

    Examples
    --------
    >>> events = pl.DataFrame(
    ...     {"user": [0, 0, 0, 1], "action": [0, 1, 1, 0], "outcome": [0, 0, 1, 0]},
    ...     schema={"user": pl.UInt32, "action": pl.UInt32, "outcome": pl.UInt8},
    ... )
    >>> summarise(events).rows()
    [(0, 1, False, 1), (1, 1, True, 1), (2147483647, 0, False, 2)]
    """
    cells = events.lazy().select(_previous(), "action", _failure(), count=pl.lit(1, pl.Int64))
    return _added(cells)


def merge(*counts: pl.DataFrame) -> pl.DataFrame:
    """The counts of several logs as those of one; without any, the empty counts.

    The users of the logs must differ, or their sequences start anew with each log (days judged one by one do).

    Examples
    --------
    >>> day = pl.DataFrame([(NO_ACTION, 0, False, 3)], schema=COUNT_SCHEMA, orient="row")
    >>> merge(day, day).rows()
    [(2147483647, 0, False, 6)]
    """
    return _added(pl.concat([pl.LazyFrame(schema=COUNT_SCHEMA), *(part.lazy() for part in counts)]))


def transitions(counts: pl.DataFrame) -> pl.DataFrame:
    """The surprisal table: what each action costs after each previous one.

    Parameters
    ----------
    counts : (cells, 4) :data:`COUNT_SCHEMA`

    Returns
    -------
    table : (pairs, 7) columns `action`, `previous`, `success`, `failure`, `bits_success`, `bits_failure`, `entropy`
        Codes, counts, then bits. `entropy` is ``-(s log2 s + f log2 f)`` with s and f the shares behind the bits:
        what the pair adds to the entropy of its action. Sorted by `action`, `previous`.

    Examples
    --------
    >>> counts = pl.DataFrame([(0, 1, False, 6), (0, 1, True, 1), (1, 1, False, 1)], schema=COUNT_SCHEMA, orient="row")
    >>> transitions(counts).select("action", "previous", "success", "failure", "bits_success", "bits_failure").rows()
    [(1, 0, 6, 1, 0.415037..., 3.0), (1, 1, 1, 0, 3.0, 3.0)]

    Source
    ------
    The notebook "How to group users and identify outliers in a log stream, based on behaviour", step 1.
    """
    events = pl.sum("success", "failure").over("action")
    return _with_bits(_by_outcome(counts, "action", "previous"), pl.sum_horizontal(events))


def outcomes(counts: pl.DataFrame) -> pl.DataFrame:
    """What each action costs by its outcome alone, whatever came before it.

    Returns
    -------
    table : (actions, 6) columns `action`, `success`, `failure`, `bits_success`, `bits_failure`, `entropy`
        Shares are of the action's events; where none went well, as if one had. Sorted by `action`.

    Examples
    --------
    >>> counts = pl.DataFrame([(0, 1, False, 6), (0, 1, True, 1), (1, 1, False, 1)], schema=COUNT_SCHEMA, orient="row")
    >>> outcomes(counts).select("action", "success", "failure", "bits_failure").rows()
    [(1, 7, 1, 3.0)]
    """
    events = pl.max_horizontal("success", pl.lit(1, pl.Int64)) + pl.col("failure")
    return _with_bits(_by_outcome(counts, "action"), events)


def surprisals(events: pl.DataFrame, table: pl.DataFrame) -> pl.Series:
    """The surprisal of each event in bits, in the order of the events.

    Parameters
    ----------
    events : (n, ≥3) coded columns `user`, `action`, `outcome`
        All events of a user together, in order of time and position.
    table : (pairs, 7)
        From :func:`transitions`, of these or of other events.

    Examples
    --------
    >>> counts = pl.DataFrame([(0, 1, False, 6), (0, 1, True, 1), (1, 1, False, 1)], schema=COUNT_SCHEMA, orient="row")
    >>> events = pl.DataFrame(
    ...     {"user": [0, 0, 0], "action": [2, 0, 1], "outcome": [0, 0, 1]},
    ...     schema={"user": pl.UInt32, "action": pl.UInt32, "outcome": pl.UInt8},
    ... )
    >>> surprisals(events, transitions(counts)).to_list()
    [3.0, 3.0, 3.0]
    """
    steps = events.lazy().select(_previous(), "action", _failure())
    return _priced(steps, table, "left").select(surprisal="bits").collect().to_series()


def profile(events: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
    """What each user did and what it adds up to, per action.

    Sums are kept in steps of 2^-32 bits: they come out the same in whatever order they are added.

    Parameters
    ----------
    events, table
        As for :func:`surprisals`.

    Returns
    -------
    profile : (pairs, 4) columns `user`, `action`, `events`, `surprisal`
        `surprisal` in bits. Sorted by `user`, `action`.

    Examples
    --------
    >>> events = pl.DataFrame(
    ...     {"user": [0, 0, 1, 1], "action": [0, 0, 0, 0], "outcome": [0, 1, 0, 0]},
    ...     schema={"user": pl.UInt32, "action": pl.UInt32, "outcome": pl.UInt8},
    ... )
    >>> table = transitions(summarise(events))
    >>> profile(events, table).rows()
    [(0, 0, 2, 3.0), (1, 0, 2, 3.0)]
    """
    cells = events.lazy().select("user", _previous(), "action", _failure())
    return priced(cells.group_by(cells.collect_schema().names()).agg(count=_rows()).collect(), table)


def steps(events: Events) -> pl.DataFrame:
    """How often each user took each step, before it is known what a step costs.

    Returns
    -------
    steps : (cells, 5) columns `user` and those of :data:`COUNT_SCHEMA`

    Examples
    --------
    >>> from amiss.sessions import GROUPED_SCHEMA
    >>> rows = [(1, 0, 7, 0, -1, -1), (2, 9, 7, 3, 0, 9), (3, 9, 7, 3, 3, 0)]
    >>> steps(Events.of(pl.DataFrame(rows, schema=GROUPED_SCHEMA, orient="row"))).rows()
    [(7, 2147483647, 0, False, 1), (7, 0, 1, False, 1), (7, 1, 1, False, 1)]
    """
    from amiss.detect import chain

    action, outcome = np.divmod(events.state, np.int32(len(OUTCOMES)))
    before = np.append(np.int32(chain.NOTHING), action[:-1])[: len(action)]
    before[events.first[:-1]] = chain.NOTHING
    feature = chain.Feature(events.users, events.first, frozen(before), frozen(action * 2 + (outcome == _FAILURE)))
    counted = chain.count(feature, 0)
    action_, failure = (pl.col("value") // 2).cast(pl.UInt32), pl.col("value") % 2 == 1
    previous = pl.col("given").cast(pl.UInt32, strict=False).fill_null(NO_ACTION)
    return counted.select("user", previous=previous, action=action_, failure=failure, count="count")


def priced(steps: pl.DataFrame, table: pl.DataFrame, *, by: Sequence[str] = ("user", "action")) -> pl.DataFrame:
    """What steps add up to by user and action, as :func:`profile` gives it, or by user alone.

    Examples
    --------
    >>> taken = pl.DataFrame([(0, NO_ACTION, 0, False, 2)], schema={"user": pl.UInt32} | COUNT_SCHEMA, orient="row")
    >>> priced(taken, transitions(taken.drop("user"))).rows()
    [(0, 0, 2, 0.0)]
    >>> priced(taken, transitions(taken.drop("user")), by=["user"]).rows()
    [(0, 2, 0.0)]
    """
    summed = (pl.col("bits") * pl.col("count") / _STEP).round().cast(pl.Int64).sum() * _STEP
    sums = _priced(steps.lazy(), table, None).group_by(by).agg(events=pl.col("count").sum(), surprisal=summed)
    return sums.collect(engine="streaming").sort(by)


def totals(profile: pl.DataFrame) -> pl.DataFrame:
    """The surprisal of each user in all, and how far it stands out.

    Returns
    -------
    totals : (users, 4) columns `user`, `events`, `surprisal`, `z`
        `z` is the distance from the mean over users in standard deviations (n-1); 0 where all are equal or there
        is one user only. Sorted by `user`.

    Examples
    --------
    >>> rows = [(0, 0, 1, 1.0), (0, 1, 1, 1.0), (1, 0, 1, 3.0), (2, 0, 1, 4.0)]
    >>> sums = pl.DataFrame(rows, schema=["user", "action", "events", "surprisal"], orient="row")
    >>> totals(sums).rows()
    [(0, 2, 2.0, -1.0), (1, 1, 3.0, 0.0), (2, 1, 4.0, 1.0)]
    """
    sums = profile.group_by("user").agg(pl.sum("events"), pl.sum("surprisal")).sort("user")
    surprisal = pl.col("surprisal")
    spread = surprisal.std()
    z = pl.when(spread > 0).then((surprisal - surprisal.mean()) / spread).otherwise(0.0)
    return sums.with_columns(z=z)


def decoded(frame: pl.DataFrame, *, actions: Vocabulary, users: Vocabulary | None = None) -> pl.DataFrame:
    """A frame with its codes as texts; a previous action that there was not is the empty text.

    Parameters
    ----------
    frame
        Any frame of this module.
    actions, users
        The vocabularies of the columns `action` and `previous`, and of `user`; without users, those stay codes.

    Examples
    --------
    >>> counts = pl.DataFrame([(NO_ACTION, 0, False, 3)], schema=COUNT_SCHEMA, orient="row")
    >>> decoded(counts, actions=Vocabulary(["login"])).rows()
    [('', 'login', False, 3)]
    """
    owners = {"action": actions, "previous": actions} | ({} if users is None else {"user": users})
    return frame.with_columns(_texts(frame[name], owner) for name, owner in owners.items() if name in frame.columns)


def _previous() -> pl.Expr:
    """The user's action before this one, else NO_ACTION."""
    same = pl.col("user") == pl.col("user").shift(1)
    before = pl.when(same).then(pl.col("action").shift(1))
    return before.fill_null(pl.lit(NO_ACTION, pl.UInt32)).alias("previous")


def _failure() -> pl.Expr:
    """Whether an event failed."""
    return (pl.col("outcome") == _FAILURE).alias("failure")


def _rows() -> pl.Expr:
    """The number of rows of a group."""
    return pl.len().cast(pl.Int64)


def _added(cells: pl.LazyFrame) -> pl.DataFrame:
    """Counts with equal cells added up, in order."""
    return cells.group_by(_CELL).agg(pl.sum("count")).collect(engine="streaming").sort(_CELL)


def _by_outcome(counts: pl.DataFrame, *keys: str) -> pl.DataFrame:
    """The successes and failures per key, in order."""
    count, failed = pl.col("count"), pl.col("failure")
    sums = counts.group_by(keys).agg(success=count.filter(~failed).sum(), failure=count.filter(failed).sum())
    return sums.sort(keys)


def _with_bits(table: pl.DataFrame, events: pl.Expr) -> pl.DataFrame:
    """The table with the bits and the entropy of its counts among `events` events, a count of 0 read as 1."""
    success, failure = (pl.max_horizontal(name, pl.lit(1, pl.Int64)) / events for name in ("success", "failure"))
    return table.with_columns(
        bits_success=(1 / success).log(2),
        bits_failure=(1 / failure).log(2),
        entropy=-(success * success.log(2) + failure * failure.log(2)),
    )


def _priced(steps: pl.LazyFrame, table: pl.DataFrame, order: Literal["left"] | None) -> pl.LazyFrame:
    """Steps (`previous`, `action`, `failure`) with what the table says each costs, as `bits`."""
    events = pl.sum("success") + pl.sum("failure")
    never = math.log2(max(table.select(events).item(), 1))
    seen = table.lazy().select("bits_success", "bits_failure", pair=_pair())
    known = table.group_by("action").agg(bits=events.log(2))
    unseen = pl.col("action").replace_strict(known["action"], known["bits"], default=never, return_dtype=pl.Float64)
    bits = pl.when("failure").then("bits_failure").otherwise("bits_success")
    joined = steps.with_columns(pair=_pair()).join(seen, on="pair", how="left", maintain_order=order)
    return joined.with_columns(bits=pl.when(bits.is_null()).then(unseen).otherwise(bits))


def _pair() -> pl.Expr:
    """The previous action and the action as one number."""
    return pl.col("previous").cast(pl.UInt64) * _PAIR + pl.col("action")


def _texts(codes: pl.Series, vocabulary: Vocabulary) -> pl.Series:
    """The texts of codes, empty for NO_ACTION."""
    known = codes.set(codes == NO_ACTION, None)
    return vocabulary.texts().gather(known).fill_null("").alias(codes.name)
