r"""Who else is at a user's keyboard: blocks of commands, judged by what the user and everybody else does.

A user's commands come in blocks, and now and then a run of blocks is somebody else's. What is known of the user is in
how many blocks each command came, and each pair of a command and the one before it; the same of all others. A block's
bits compare the two, as :class:`amiss.detect.habit.Habit` compares events: with `q` what others do, `p` what the user
does, and `n` how often the command (or the pair) comes in the block::

    bits = 1/2 * sum over commands of n^damping * log2(q(command) / p(command))
         + 1/2 * sum over pairs    of n^damping * log2(q(command | before) / p(command | before))

    p(x)          = (c(x) + prior * fresh(x)) / (c + prior)
    p(x | before) = (c(before, x) + pair_prior * p(x)) / (c(before) + pair_prior)

`c` are the user's blocks, each weighing half as much `half_life` blocks later, `fresh` is everybody else's chance with
a smaller share for what nobody ever did. Commands come in bursts, so many of one kind count less than as many times.

**Runs.** Somebody else begins at a block with the chance `start` and goes on with `stay`: the evidence of a block is
the log2 odds that somebody else typed it, from the bits of this block and of all before it (a hidden Markov model,
filtered). A block is worth ``worth * bits - price`` in it, since commands of a block depend on each other.

**Gated learning.** A block enters what is known of the user with the weight ``1 / (1 + 2^evidence)``, so who is not
the user does not become normal. Nothing of a block is looked at before it is judged.

**What fools it.** Whoever does what the user did; a user whose work changes all at once.

Source
------
The task, and runs of a masquerader: Schonlau, DuMouchel, Ju, Karr, Theus, Vardi 2001, "Computer Intrusion: Detecting
Masquerades". The ratio of everyone to the user: Freeman, Jain, Dürmuth, Biggio, Giacinto 2016, "Who Are You?".
Learning what passed: Maxion and Townsend 2002, "Masquerade Detection Using Truncated Command Lines". Filtering: Rabiner
1989, "A Tutorial on Hidden Markov Models", section III A.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import chain as chained
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.errors import EventError, UsageError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Blocks = Sequence[npt.NDArray[np.integer]]
"""The codes of commands of each block, in order."""

UNSEEN: Final = 0.02
"""Others' chance of a command that nobody was ever seen to give."""

FRESH: Final = 0.001
"""The same of the user, among what comes new to the user."""

PAIR_PRIOR: Final = 300.0
"""The blocks that others' commands are worth beside what they gave after another one."""

UNSEEN_COMMANDS: Final = 200
"""How many such commands there are taken to be."""


@dataclass(frozen=True)
class Habits:
    """How a user's habits are followed; the same for all users.

    Attributes
    ----------
    half_life
        Blocks after which one weighs half.
    damping
        The power of how often something comes in a block.
    prior
        The blocks' commands that everybody's chances are worth beside the user's own.
    pair_prior
        What the user's commands are worth beside what the user gave after another one.
    worth, price
        A block is evidence of ``worth * bits - price``.
    start, stay
        The chances that somebody else begins, and goes on, at a block.
    """

    half_life: float = 30.0
    damping: float = 0.75
    prior: float = 10.0
    pair_prior: float = 0.2
    worth: float = 0.1
    price: float = 2.0
    start: float = 0.01
    stay: float = 0.8

    def __post_init__(self) -> None:
        odd = [field.name for field in fields(self) if not 0 < getattr(self, field.name) < float("inf")]
        odd += [name for name in ("start", "stay") if getattr(self, name) >= 1]
        if odd:
            raise UsageError(f"{', '.join(odd)} is out of range; expected more than 0, and chances below 1")


class Followed(NamedTuple):
    """Of each judged block (b,): bits, and the log2 odds that somebody else typed it."""

    bits: Floats
    evidence: Floats


class Seen(NamedTuple):
    """In how many blocks each command came (a,), and each pair (c,), whose keys are in order."""

    commands: Floats
    keys: Ints
    pairs: Floats


def seen(blocks: Blocks, commands: int) -> Seen:
    """In how many blocks each of so many commands came, and each pair of commands.

    Examples
    --------
    Nothing came before the first command of a block.

    >>> counts = seen([np.array([0, 1, 0, 1]), np.array([0, 2])], 3)
    >>> counts.commands
    array([2., 1., 1.])
    >>> counts.keys // 3 - 1, counts.keys % 3, counts.pairs
    (array([-1,  0,  0,  1]), array([0, 1, 2, 0]), array([2., 1., 1., 1.]))
    """
    each = [np.unique(block) for block in blocks]
    pairs = [np.unique(_keys(block, commands)) for block in blocks]
    keys, times = np.unique(np.concatenate([np.zeros(0, np.int64), *pairs]), return_counts=True)
    together = np.concatenate([np.zeros(0, np.int64), *each])
    totals: Floats = np.bincount(together, minlength=commands).astype(np.float64)
    counts: Floats = times.astype(np.float64)
    return Seen(totals, keys, counts)


def added(counts: Sequence[Seen]) -> Seen:
    """The sum of counts of some users, none of whom is left out."""
    keys, at = np.unique(np.concatenate([each.keys for each in counts]), return_inverse=True)
    pairs = np.bincount(at, weights=np.concatenate([each.pairs for each in counts]), minlength=len(keys))
    return Seen(np.sum([each.commands for each in counts], axis=0), keys, pairs.astype(np.float64))


def without(everyone: Seen, user: Seen) -> Seen:
    """Everyone's counts without those of a user among them."""
    pairs = everyone.pairs.copy()
    pairs[np.searchsorted(everyone.keys, user.keys)] -= user.pairs
    return Seen(everyone.commands - user.commands, everyone.keys, pairs)


def follow(blocks: Blocks, learned: int, others: Seen, habits: Habits | None = None) -> Followed:
    """The bits and the evidence of a user's blocks, of which the first are known to be the user's own.

    Parameters
    ----------
    blocks
        The user's blocks in order.
    learned
        How many of them are the user's own for certain; they are learned and not judged.
    others
        What others do, without the user.

    Examples
    --------
    Ann lists and edits, others list and mail. In her sixth block somebody mails.

    >>> ann, other = [np.array([0, 1] * 10)] * 5, [np.array([0, 2] * 10)] * 50
    >>> found = follow([*ann, ann[0], other[0]], 5, seen(other, 3))
    >>> found.bits.round(1)
    array([-72.5,  20. ])
    >>> found.evidence.round(1)
    array([-13.6,  -6.6])
    """
    from amiss import masquerade_kernel as kernel

    habits = habits or Habits()
    commands = len(others.commands)
    first = np.append(0, np.cumsum([len(block) for block in blocks])).astype(np.int64)
    keys = np.concatenate([np.zeros(0, np.int64), *(_keys(block, commands) for block in blocks)])
    known, pairs = np.unique(keys, return_inverse=True)
    chances, fresh = _chances(others.commands, UNSEEN), _chances(others.commands, FRESH)
    judged = max(len(blocks) - learned, 0)
    found = Followed(np.zeros(judged), np.zeros(judged))
    setting = kernel.Setting(*(getattr(habits, name) for name in kernel.Setting._fields))
    pair_chances = _pair_chances(known, others, chances)
    values, givens = keys % commands, keys // commands
    kernel.follow(first, learned, values, givens, pairs, chances, fresh, pair_chances, setting, *found)
    return found


def judge(events: pl.DataFrame, *, learned: int = 50, size: int = 100, habits: Habits | None = None) -> pl.DataFrame:
    """The bits and the evidence of each block of each user's events; what the first blocks hold is learned.

    Parameters
    ----------
    events
        The columns `user` and `action`, in order of time.
    learned
        How many blocks of each user are known to be their own.
    size
        How many events make a block; what is left behind the last whole one is not judged.

    Returns
    -------
    DataFrame
        `user`, `block` (counted from 0), `bits`, `evidence`; users in order of their first event.

    Raises
    ------
    EventError
        If a column is missing.
    UsageError
        If `learned` or `size` is below 1.

    Examples
    --------
    >>> users = {"ann": "ls vi ls vi " * 10 + "ls mail " * 4, "bob": "ls mail " * 24, "eve": "ls mail cc " * 16}
    >>> rows = [(user, action) for user, did in users.items() for action in did.split()]
    >>> found = judge(pl.DataFrame(rows, schema=["user", "action"], orient="row"), learned=4, size=8)
    >>> found.filter(user="ann").with_columns(pl.col("bits", "evidence").round(1)).rows()
    [('ann', 4, -36.8, -10.0), ('ann', 5, 8.1, -7.7)]
    """
    if missing := {"user", "action"} - set(events.columns):
        raise EventError(f"{', '.join(sorted(missing))} is missing; found the columns {', '.join(events.columns)}")
    if learned < 1 or size < 1:
        raise UsageError(f"learned and size count blocks and events: expected 1 or more, found {learned} and {size}")
    names = events["action"].unique().sort()
    coded = events.select("user", code=pl.col("action").replace_strict(names, range(len(names)), return_dtype=pl.Int64))
    users = {key[0]: _cut(rows["code"].to_numpy(), size) for key, rows in coded.group_by("user", maintain_order=True)}
    own = [seen(blocks[:learned], len(names)) for blocks in users.values()]
    everyone = added(own) if own else None
    parts = [
        _told(pl.Series([user]), learned, follow(blocks, learned, without(everyone, mine), habits))
        for (user, blocks), mine in zip(users.items(), own, strict=True)
        if everyone is not None
    ]
    empty = _told(events["user"][:0], learned, Followed(np.zeros(0), np.zeros(0)))
    return pl.concat([empty, *(part.cast({"user": events.schema["user"]}) for part in parts)])


class Rehearsed(NamedTuple):
    """Of each rehearsed block (b,): its evidence, and whether it was put there from somebody else."""

    evidence: Floats
    foreign: npt.NDArray[np.bool_]


def rehearse(
    users: Sequence[Blocks],
    commands: int,
    *,
    times: int = 10,
    parts: int = 5,
    seed: int = 1,
    habits: Habits | None = None,
) -> Rehearsed:
    """What evidence the users' own past would have given, had others typed some of it.

    The first half of each user's blocks is learned, the second is judged, in which runs are put of blocks of others:
    they begin and go on as `habits` say. Those others are a part of the users in turn, who are unknown to everybody
    else's counts, as a masquerader would be.

    Parameters
    ----------
    users
        The blocks of each user, which are all their own.
    times
        How often all is rehearsed, each time with other parts and runs.
    parts
        Into how many parts users are dealt, each of which is a rehearsal's others once.
    """
    habits, draw = habits or Habits(), np.random.default_rng(seed)
    halves = [len(blocks) // 2 for blocks in users]
    own = [seen(blocks[:half], commands) for blocks, half in zip(users, halves, strict=True)]
    stage = Stage(users, halves, own)
    found = [
        _rehearsed(stage, others, draw, habits)
        for _ in range(times)
        for others in np.array_split(draw.permutation(len(users)), parts)
    ]
    evidence, foreign = zip(*chained.from_iterable(found), strict=True)
    return Rehearsed(np.concatenate(evidence), np.concatenate(foreign))


def threshold(rehearsed: Rehearsed, false_alarm: float = 6.0) -> float:
    """The evidence from which on to alert, so that misses and false alarms cost least in rehearsal.

    Parameters
    ----------
    false_alarm
        What one percent of false alarms costs, in percent of misses.

    Examples
    --------
    >>> threshold(Rehearsed(np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, False, True, True])))
    3.0
    """
    order = np.argsort(-rehearsed.evidence, kind="stable")
    foreign = rehearsed.foreign[order]
    misses = 1 - np.cumsum(foreign) / max(foreign.sum(), 1)
    false = np.cumsum(~foreign) / max((~foreign).sum(), 1)
    return float(rehearsed.evidence[order][np.argmin(misses + false_alarm * false)])


class Stage(NamedTuple):
    """The blocks of all users, how many of each are learned in rehearsal, and what is seen in those."""

    users: Sequence[Blocks]
    halves: list[int]
    own: list[Seen]


def _rehearsed(
    stage: Stage, others: Ints, draw: np.random.Generator, habits: Habits
) -> list[tuple[Floats, npt.NDArray[np.bool_]]]:
    """Evidence of all users but some others, whose blocks come among theirs."""
    here = np.setdiff1d(np.arange(len(stage.users)), others).tolist()
    everyone = added([stage.own[user] for user in here])
    strangers = [stage.users[other] for other in others.tolist()]
    found = []
    for user in here:
        half = stage.halves[user]
        blocks, foreign = _swapped(stage.users[user], half, strangers, draw, habits)
        followed = follow(blocks, half, without(everyone, stage.own[user]), habits)
        found.append((followed.evidence, foreign[half:]))
    return found


def _swapped(
    blocks: Blocks, half: int, others: Sequence[Blocks], draw: np.random.Generator, habits: Habits
) -> tuple[Blocks, npt.NDArray[np.bool_]]:
    """The blocks with runs of others' behind the first half, and which those are."""
    mixed, foreign, run = list(blocks), np.zeros(len(blocks), np.bool_), False
    for at in range(half, len(blocks)):
        begins = not run and draw.random() < habits.start
        run = begins or (run and draw.random() < habits.stay)
        if begins:
            other = others[int(draw.integers(len(others)))]
            place = int(draw.integers(len(other)))
        if run:
            mixed[at], foreign[at], place = other[place % len(other)], True, place + 1
    return mixed, foreign


def _chances(counts: Floats, unseen: float) -> Floats:
    """The chance of each command, of which a share goes to what nobody was seen to give."""
    known = float(counts.sum())
    share = (1.0 - unseen) / known if known > 0.0 else 0.0
    chances: Floats = np.where(counts > 0.0, share * counts, unseen / UNSEEN_COMMANDS)
    return chances


def _pair_chances(keys: Ints, others: Seen, chances: Floats) -> Floats:
    """Others' chance of the second command of each pair after the first."""
    commands = len(chances)
    rows = np.bincount(others.keys // commands, weights=others.pairs, minlength=commands + 1)
    at = np.minimum(np.searchsorted(others.keys, keys), max(len(others.keys) - 1, 0))
    there = others.keys[at] == keys if len(others.keys) else np.zeros(len(keys), np.bool_)
    counts = np.where(there, others.pairs[at], 0.0) if len(others.keys) else np.zeros(len(keys))
    chance: Floats = (counts + PAIR_PRIOR * chances[keys % commands]) / (rows[keys // commands] + PAIR_PRIOR)
    return chance


def _keys(block: npt.NDArray[np.integer], commands: int) -> Ints:
    """A number for each pair of a block: the command before, from 1 on and 0 for none, and the command."""
    values = block.astype(np.int64)
    return (np.append(0, values[:-1] + 1)[: len(values)] * commands) + values


def _cut(codes: Ints, size: int) -> Blocks:
    """Whole blocks of a size."""
    return [codes[low : low + size] for low in range(0, len(codes) - size + 1, size)]


def _told(user: pl.Series, learned: int, found: Followed) -> pl.DataFrame:
    """What was found of a user as a table."""
    blocks = pl.DataFrame({"block": np.arange(learned, learned + len(found.bits)), **found._asdict()})
    return blocks.select(pl.lit(user[0], dtype=user.dtype).alias("user") if len(user) else user.alias("user"), pl.all())
