"""Checks that every detector, source and sink must pass, and a source for tests. Needs `pip install "amiss[dev]"`.

The laws of a detector, each on random events:

1. counts merge like a commutative monoid;
2. the counts of two batches merge into the counts of both;
3. chunks don't matter: however a stream is cut, bits and final state are the same, bit for bit;
4. buckets don't matter: neither does how the users are split;
5. no look-ahead: no bits depend on later events;
6. counts and states written to Arrow files and read again are equal, and score on equally;
7. columns and types are the declared ones, bits are finite, nothing that is handed in changes;
8. calibration: users drawn from the detector's own p reach b bits at most once in 2^b.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss import evidence
from amiss.alerts import Alert
from amiss.baseline import Chain, Past, merge
from amiss.detect import Detector, Reason
from amiss.detect.sequence import bin_bounds
from amiss.errors import MissingExtraError
from amiss.events import CODED_SCHEMA, EVENT_SCHEMA, OUTCOMES, Quarantine, check
from amiss.sessions import GROUPED_SCHEMA, START, Events, Last, group
from amiss.sinks import Sink
from amiss.sources import CodedSource, Cursor, LiveSource, Source
from amiss.vocabulary import Coding

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Floats = npt.NDArray[np.float64]
Baseline = TypeVar("Baseline")
Draw = Callable[[Baseline, np.random.Generator, int], Events]
"""Grouped events of so many users who behave as the baseline says."""

USERS: Final = 4_000
"""Users that are drawn to check the calibration."""

EVENTS_EACH: Final = 60
"""Events that each drawn user has."""

HOSTILE: Final = (
    "<script>alert(1)</script>",
    "=cmd()",
    "ann\r\nBcc: eve@example.com\n\nhello",
    "user\u202egnp.exe",
    "\x1b[31mred\x07",
    "<!channel> @everyone [pay](http://example.com)",
    "\ud800",
    "x" * 10_000,
)
"""Names of users that do harm where they are not made harmless."""

_FIRST: Final = datetime(2026, 1, 5, tzinfo=UTC)
_PAUSES: Final = (0, 1, 5_000_000, 70_000_000, 1_800_000_000, 1_800_000_001, 7_200_000_000)


class ListSource:
    """A source of events that are in memory already, given in frames of `rows_at_once`.

    Examples
    --------
    >>> rows = {"position": [1, 2], "time": [_FIRST, _FIRST], "user": ["ann", "bob"]}
    >>> source = ListSource(pl.DataFrame(rows).with_columns(action=pl.lit("login"), outcome=pl.lit("success")))
    >>> [frame["user"].to_list() for frame, _ in source.read()]
    [['ann', 'bob']]
    """

    def __init__(self, events: pl.DataFrame, *, rows_at_once: int = 1_000, url: str = "memory:") -> None:
        self.url = url
        self.quarantine = Quarantine()
        self._events = events
        self._rows_at_once = rows_at_once

    def read(self, after: Cursor | None = None) -> Iterator[tuple[pl.DataFrame, Cursor]]:
        """The event frames behind a cursor, each with the cursor behind it.

        Raises
        ------
        EventError
            If the events lack a column of the event frame, or one has the wrong type.
        """
        events = check(self._events)
        for row in range(int(after.token) if after else 0, len(events), self._rows_at_once):
            frame = events[row : row + self._rows_at_once]
            yield frame, Cursor(str(row + len(frame)))


def coded_events(*, users: int = 4, actions: int = 3, most: int = 40) -> SearchStrategy[pl.DataFrame]:
    """A Hypothesis strategy of coded frames in order of time, with ties and pauses that end sessions.

    Raises
    ------
    MissingExtraError
        If Hypothesis is not installed.
    """
    _need_hypothesis()
    from hypothesis import strategies as st

    codes = (st.integers(0, last) for last in (users - 1, actions - 1, len(OUTCOMES) - 1))
    return st.lists(st.tuples(st.sampled_from(_PAUSES), *codes), max_size=most).map(_coded)


def check_detector(
    detector: Detector[Baseline],
    events: SearchStrategy[pl.DataFrame] | None = None,
    *,
    draw: Draw[Baseline] | None = None,
    past: pl.DataFrame | None = None,
    examples: int = 30,
) -> None:
    """Check a detector against the laws at the head of this module.

    Parameters
    ----------
    detector
        Any; nothing but its methods is used.
    events
        A strategy of coded frames of less than a week, in order of time; :func:`coded_events` unless given.
    draw
        Draws users from what a baseline holds for normal, for the calibration; :func:`draw_chains` unless given.
    past
        The coded frame whose baseline is drawn from; invented when left out.
    examples
        How many random logs each law is tried on.

    Raises
    ------
    AssertionError
        If a law is broken; says which, and Hypothesis shows the events.
    MissingExtraError
        If Hypothesis is not installed.

    Examples
    --------
    >>> from amiss.detect import detector
    >>> check_detector(detector("sequence"), examples=3)
    """
    _need_hypothesis()
    from hypothesis import given, settings, strategies

    coded = coded_events() if events is None else events

    def always(law: Callable[..., None], *more: SearchStrategy[Any]) -> None:
        settings(max_examples=examples, deadline=None, report_multiple_bugs=False)(
            given(strategies.tuples(*more))(lambda drawn: law(detector, *drawn))
        )()

    always(_check_counts, coded, coded, coded)
    always(_check_scores, coded, coded, _cuts())
    always(_check_no_look_ahead, coded, coded, coded)
    check_calibration(detector, draw or draw_chains, past=past)


def check_calibration(
    detector: Detector[Baseline], draw: Draw[Baseline], *, past: pl.DataFrame | None = None, seed: int = 1
) -> None:
    """Check that normal users, drawn from a baseline, reach b = 1..8 bits at most once in 2^b.

    Parameters
    ----------
    past
        The coded frame whose baseline is drawn from; invented when left out.

    Raises
    ------
    AssertionError
        If more users reach some b than chance explains at three standard errors.
    """
    random = np.random.default_rng(seed)
    before = group(_invented(random) if past is None else past)
    baseline = detector.baseline(Past([detector.summarise(before)]))
    events = draw(baseline, random, USERS)
    running = evidence.running(events.first, detector.score(events, baseline).bits)
    highest = np.maximum.reduceat(running, events.first[:-1])
    for bits in range(1, 9):
        share, most = float((highest >= bits).mean()), reached_by_chance(bits, len(highest))
        assert share <= most, f"calibration: {share:.4f} of normal users reach {bits} bits, at most {most:.4f} may"


def reached_by_chance(bits: float, users: int) -> float:
    """The largest share of `users` that may reach `bits`, with three standard errors added.

    Examples
    --------
    >>> reached_by_chance(2, 1200)
    0.2875
    """
    share = 2.0**-bits
    return float(share + 3.0 * np.sqrt(share * (1.0 - share) / users))


def draw_chains(baseline: Any, random: np.random.Generator, users: int) -> Events:  # noqa: ANN401  any detector's
    """Grouped events of users who do what the chains `baseline.action` and `baseline.gap` say is normal.

    The never-seen is drawn with its own chance, as a code that the baseline does not know.
    """
    states, bins = _values(baseline.action), _values(baseline.gap)
    next_state = _running_sums(baseline.action, [START, *states.tolist()], states)
    next_bin = _running_sums(baseline.gap, states.tolist(), bins)
    starts = np.array([round(bin_bounds(code)[0] * 1_000_000) for code in bins.tolist()])
    shape = (users, EVENTS_EACH)
    state, gap = np.zeros(shape, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
    at = np.full(users, -1)
    for event in range(EVENTS_EACH):
        at = _drawn(next_state[at + 1], random)
        state[:, event] = states[at]
        if event:
            gap[:, event] = starts[_drawn(next_bin[at], random)]
    return _grouped(state, gap)


def check_source(opened: Callable[[], Source]) -> None:
    """Check that a source gives event frames and resumes behind each of its cursors with exactly the rows left.

    Parameters
    ----------
    opened
        Gives the source anew on each call, as after a restart.

    Raises
    ------
    AssertionError
        If a frame is no event frame, or rows are lost, doubled or changed.

    Examples
    --------
    >>> empty = pl.DataFrame(schema=EVENT_SCHEMA)
    >>> check_source(lambda: ListSource(empty))
    """
    frames = list(opened().read())
    for frame, _ in frames:
        types = {name: frame.schema.get(name) for name in EVENT_SCHEMA}
        assert types == EVENT_SCHEMA, f"columns: expected those of an event frame, found {frame.schema}"
    for number, (_, cursor) in enumerate(frames, start=1):
        left = _rows(frame for frame, _ in frames[number:])
        again = _rows(frame for frame, _ in opened().read(cursor))
        assert again.equals(left), f"resuming behind frame {number}: {len(again):,} rows where {len(left):,} are left"
    source = opened()
    whole = _rows(frame for frame, _ in frames)
    if isinstance(source, CodedSource):
        assert _decoded(source).equals(whole), "coded frames do not hold the rows of the event frames"
    if isinstance(source, LiveSource):
        _check_followed(opened, whole, max(len(whole) // 7, 1))


def _check_followed(opened: Callable[[], Source], whole: pl.DataFrame, batch: int) -> None:
    """Check that following gives the same rows, and behind each cursor those left; that nothing is counted twice."""
    rows, cursors, counted = _followed(opened(), batch)
    assert rows.equals(whole), "coded frames of a live source do not hold the rows of the event frames"
    for (behind, cursor), before in zip(cursors, counted, strict=True):
        left, _, after = _followed(opened(), batch, cursor)
        assert left.equals(whole[behind:]), f"resuming behind row {behind}: {len(left):,} rows, {cursor.token}"
        total = before + (after[-1] if after else 0)
        assert total == counted[-1], f"resuming behind row {behind}: {total} rejected, where there are {counted[-1]}"


def _followed(
    source: Source, batch: int, after: Cursor | None = None
) -> tuple[pl.DataFrame, list[tuple[int, Cursor]], list[int]]:
    """The rows of a live source; behind each frame how many there were, with the cursor, and how many rejected."""
    assert isinstance(source, LiveSource), "a source is live each time it is opened"
    coding, stop = Coding(), threading.Event()
    frames, cursors, counted, rows = [pl.DataFrame(schema=CODED_SCHEMA)], [], [], 0
    pause = timedelta(minutes=1)
    for frame, cursor in source.follow(coding, after, batch=batch, every=pause, stop=stop, until_eof=True):
        assert frame.schema == CODED_SCHEMA, f"columns: expected those of a coded frame, found {frame.schema}"
        assert len(frame) <= batch, f"a frame of {len(frame):,} events, where {batch:,} are the most"
        rows += len(frame)
        frames.append(frame)
        cursors.append((rows, cursor))
        counted.append(source.quarantine.total)
    return coding.decode(pl.concat(frames)), cursors, counted


def check_sink(opened: Callable[[], Sink], arrived: Callable[[], str] | None = None) -> None:
    """Check that a sink takes whatever a log may hold, takes an alert twice, and may be closed twice.

    Parameters
    ----------
    opened
        Gives the sink anew on each call, as after a restart.
    arrived
        Gives all that the receiver has got, as text: control and bidirectional characters in it fail the check.

    Raises
    ------
    AssertionError
        If the sink does otherwise, or its name may not be shown.

    Examples
    --------
    >>> import contextlib, io
    >>> from amiss.sinks import open_sink
    >>> printed = io.StringIO()
    >>> with contextlib.redirect_stdout(printed):
    ...     check_sink(lambda: open_sink("console:"), printed.getvalue)
    """
    sink, again = opened(), opened()
    assert isinstance(sink, Sink), f"expected a sink, found {type(sink).__name__}"
    assert _is_shown(sink.url), "url: expected a name that may be shown"
    assert again.url == sink.url, "url: expected the same name after a restart"
    assert _is_shown(sink.check()), "check: expected one line that may be shown"
    alerts = hostile_alerts()
    for some in (alerts, alerts[:1]):
        sink.write(some)
        again.write(some)
    for each in (sink, again):
        each.close()
        each.close()
    steers = [character for character in (arrived() if arrived else "") if _steers(character)]
    assert not steers, f"what arrived can steer what shows it: {steers[0]!r}"


def hostile_alerts() -> list[Alert]:
    """Alerts about users whose names do harm where they are not made harmless: markup, formulas, headers, overrides.

    Examples
    --------
    >>> [alert.user for alert in hostile_alerts()][:2]
    ['<script>alert(1)</script>', '=cmd()']
    """
    return [_hostile_alert(number, user) for number, user in enumerate(HOSTILE)]


def _hostile_alert(number: int, user: str) -> Alert:
    """An alert about this user, who appears in its reasons too."""
    reason = Reason("sequence", 18.7, f"{user} came after {user} 3 of 4 times", 3, 4, 0, 412)
    return Alert(
        alert_id=f"hostile-{number}",
        story=f"story-{number}",
        time=_FIRST,
        user=user,
        bits=18.7,
        severity="high",
        detectors={"sequence": 18.7},
        reasons=[asdict(reason)],
        period=_FIRST.date(),
        events=12,
        chance="by chance at most once in 14 months",
        risk=71,
        details=dict.fromkeys(("address", "country", "city", "device", "zone"), user),
    )


def _is_shown(text: str) -> bool:
    """Whether there is a text, and it may be shown."""
    return bool(text) and text.isprintable()


def _steers(character: str) -> bool:
    """Whether a character does something else than being seen, apart from ends of lines."""
    return not character.isprintable() and character not in "\r\n\t"


def _need_hypothesis() -> None:
    """Say how to install Hypothesis where it is absent."""
    if find_spec("hypothesis") is None:
        raise MissingExtraError("amiss.testing", "dev")


def _coded(rows: Sequence[tuple[int, int, int, int]]) -> pl.DataFrame:
    """A coded frame of rows (microseconds since the row before, user, action, outcome)."""
    frame = pl.DataFrame(rows, schema=["pause", "user", "action", "outcome"], orient="row")
    time = pl.lit(_FIRST).dt.cast_time_unit("us") + pl.duration(microseconds=pl.col("pause").cast(pl.Int64).cum_sum())
    columns = frame.with_columns(time.alias("time"), position=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))
    return columns.select(pl.col(name).cast(dtype) for name, dtype in CODED_SCHEMA.items())


def _cuts() -> SearchStrategy[list[int]]:
    """A strategy of places to cut at."""
    from hypothesis import strategies as st

    return st.lists(st.integers(0, 40), max_size=6).map(sorted)


def _after(first: pl.DataFrame, *more: pl.DataFrame) -> pl.DataFrame:
    """Coded frames as one, each in the week behind the one before, so that time never decreases."""
    frames = [first]
    for weeks, frame in enumerate(more, start=1):
        rows = sum(len(earlier) for earlier in frames)
        frames.append(frame.with_columns(pl.col("time") + timedelta(weeks=weeks), pl.col("position") + rows))
    return pl.concat(frames)


def _check_counts(detector: Detector[Any], *frames: pl.DataFrame) -> None:
    """Laws 1 and 2, and the counts' part of 6 and 7."""
    a, b, c = (merge([detector.summarise(group(frame))]) for frame in frames)
    none = merge([detector.summarise(group(frames[0].clear()))])
    assert a.schema == detector.count_schema, f"declared: counts have {a.schema}, not {detector.count_schema}"
    assert merge([a, b]).equals(merge([b, a])), "counts: the order of merging matters"
    assert merge([merge([a, b]), c]).equals(merge([a, merge([b, c])])), "counts: how merges nest matters"
    assert merge([a, none]).equals(a), "counts: merging those of no events changes something"
    assert _reloaded(a).equals(a), "reloaded: counts differ"
    whole, last = _after(*frames), Last()
    cuts = _slices(len(whole), [len(frames[0]), len(frames[0]) + len(frames[1])])
    grouped = [detector.summarise(group(whole[low:high], last)) for low, high in cuts]
    assert merge(grouped).equals(merge([detector.summarise(group(whole))])), "summarise: cutting changes counts"


def _check_scores(detector: Detector[Any], past: pl.DataFrame, today: pl.DataFrame, cuts: list[int]) -> None:
    """Laws 3, 4, 6 and 7."""
    baseline = detector.baseline(Past([detector.summarise(group(past))]))
    events, memory = group(today), detector.memory()
    whole = _scored(detector, events, baseline, memory)
    _check_declared(detector, whole, memory.frame())
    expected = _sorted(whole)
    assert _sorted(_scored(detector, events, baseline)).equals(expected), "memory: without one, scores differ"
    cut, behind = _by_chunks(detector, baseline, today, cuts)
    assert cut.equals(expected), f"chunks: cutting at {cuts} changes scores"
    assert _sorted(behind).equals(_sorted(memory.frame())), f"chunks: cutting at {cuts} changes the final state"
    buckets = [_some(events, pl.col("user") % 3 == bucket) for bucket in range(3)]
    split = pl.concat([_scored(detector, part, baseline, detector.memory()) for part in buckets])
    assert _sorted(split).equals(expected), "buckets: scores depend on who else is there"
    out = detector.baseline(Past([detector.summarise(events)]), leave_out=True)
    left = [_scored(detector, part, out) for part in [events, *buckets]]
    assert _sorted(pl.concat(left[1:])).equals(_sorted(left[0])), "buckets: leaving out depends on who else is there"
    assert _scored(detector, events, baseline).equals(whole), "pure: scoring twice gives different scores"


def _scored(detector: Detector[Any], events: Events, baseline: object, memory: object = None) -> pl.DataFrame:
    """Scores beside the events that they are of."""
    given = events.frame()
    scores = detector.score(events, baseline, memory)
    assert events.frame().equals(given), "pure: the events handed in have changed"
    shapes = {np.shape(each) for each in scores if each is not None}
    assert shapes == {(len(events),)}, f"declared: not a score for each of {len(events)} events: {shapes}"
    return given.select("position", "user").with_columns(bits=scores.bits, surprisal=scores.surprisal)


def _some(events: Events, which: pl.Expr) -> Events:
    """The events for which an expression holds."""
    return Events.of(events.frame().filter(which))


def _check_declared(detector: Detector[Any], scores: pl.DataFrame, state: pl.DataFrame) -> None:
    """Law 7."""
    assert scores["bits"].is_finite().all(), "declared: bits are not finite"
    assert (scores["surprisal"].is_finite() & (scores["surprisal"] >= 0)).all(), "declared: surprisal below 0"
    assert state.schema == detector.state_schema, f"declared: the state has {state.schema}"


def _check_no_look_ahead(detector: Detector[Any], past: pl.DataFrame, today: pl.DataFrame, other: pl.DataFrame) -> None:
    """Law 5."""
    baseline = detector.baseline(Past([detector.summarise(group(past))]))

    def first_scores(coded: pl.DataFrame) -> pl.DataFrame:
        return _sorted(_scored(detector, group(coded), baseline)).head(len(today))

    alone = first_scores(today)
    assert first_scores(_after(today, other)).equals(alone), "look-ahead: later events change the bits of earlier ones"


def _by_chunks(
    detector: Detector[Any], baseline: object, today: pl.DataFrame, cuts: Sequence[int]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Scores and final state of a stream in chunks, its state saved and reloaded between them."""
    scores, memory, last = [], detector.memory(), Last()
    for low, high in _slices(len(today), cuts):
        scores.append(_scored(detector, group(today[low:high], last), baseline, memory))
        state = memory.frame()
        memory = detector.memory(_reloaded(state))
        assert memory.frame().equals(state), "reloaded: the state differs"
    return _sorted(pl.concat(scores)), memory.frame()


def _slices(rows: int, cuts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The ranges between cuts."""
    edges = [0, *(min(cut, rows) for cut in cuts), rows]
    return pairwise(edges)


def _sorted(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows in one order: by position, else by user and what else tells rows apart."""
    keys = [name for name, dtype in frame.schema.items() if dtype.is_integer()]
    return frame.sort(keys, maintain_order=True)


def _reloaded(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame written as an Arrow file and read again."""
    file = io.BytesIO()
    frame.write_ipc(file)
    return pl.read_ipc(io.BytesIO(file.getvalue()))


def _invented(random: np.random.Generator) -> pl.DataFrame:
    """A coded frame of 3,000 events in which some actions are common and some are rare."""
    size = 3_000
    pauses = random.integers(1, 2_000_000, size)
    user, action = random.integers(0, 60, size), np.minimum(random.geometric(0.4, size) - 1, 7)
    outcome = (random.random(size) < 0.1).astype(np.int64)
    return _coded(list(zip(*(column.tolist() for column in (pauses, user, action, outcome)), strict=True)))


def _values(chain: Chain) -> npt.NDArray[np.int64]:
    """The values that a chain has seen, and last one that it has not."""
    never_seen = next(value for value in range(len(chain.total) + 1) if value not in np.flatnonzero(chain.total))
    return np.append(np.flatnonzero(chain.total), never_seen)


def _running_sums(chain: Chain, givens: Sequence[int], values: npt.NDArray[np.int64]) -> Floats:
    """Running sums of the chances of `values` after each of `givens`: (g, v)."""
    chances = np.array([[chain.p(given, value) for value in values.tolist()] for given in givens])
    return np.cumsum(chances, axis=1)


def _drawn(sums: Floats, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """A column of each row, drawn by the rows' running sums."""
    chance = random.random((len(sums), 1)) * sums[:, -1:]
    drawn: npt.NDArray[np.int64] = (chance >= sums).sum(axis=1)
    return drawn


def _grouped(state: npt.NDArray[np.int64], gap: npt.NDArray[np.int64]) -> Events:
    """Grouped events of (users, events) states and gaps, each user in one session."""
    users, each = state.shape
    previous = np.column_stack([np.full(users, START), state[:, :-1]])
    time = pl.lit(_FIRST).dt.cast_time_unit("us") + pl.duration(microseconds=pl.col("time"))
    columns = {
        "position": np.arange(1, users * each + 1),
        "time": np.cumsum(np.maximum(gap, 0), axis=1).ravel(),
        "user": np.repeat(np.arange(users), each),
        "state": state.ravel(),
        "previous": previous.ravel(),
        "gap": gap.ravel(),
    }
    frame = pl.DataFrame(columns).with_columns(time.alias("time"))
    return Events.of(frame.select(pl.col(name).cast(dtype) for name, dtype in GROUPED_SCHEMA.items()))


def _rows(frames: Iterator[pl.DataFrame]) -> pl.DataFrame:
    """The rows of event frames as one, in the columns that every event frame has."""
    return pl.concat([pl.DataFrame(schema=EVENT_SCHEMA), *(frame.select(*EVENT_SCHEMA) for frame in frames)])


def _decoded(source: CodedSource) -> pl.DataFrame:
    """The rows of a source's coded frames as an event frame."""
    coding = Coding()
    frames = [frame for frame, _ in source.read_coded(coding)]
    return coding.decode(pl.concat([coding.empty(), *frames]))
