"""Schonlau's masqueraders: somebody else's commands among those of 50 users.

Each user has 15,000 commands in blocks of 100. The first 50 blocks are the user's own and are learned; of the other
100 some are somebody else's: at a block a masquerader begins by a chance of 1 %, and goes on by 80 %. Masqueraders are
none of the 50 users. Blocks are judged in order. The figures are hits and false alarms in percent, their cost
``6 * false alarms + misses``, and the area under the curve of hits by false alarms.

What is scored is :mod:`amiss.masquerade`, one setting and one threshold for all users. Both come from the first 5,000
commands of the users alone: the threshold from rehearsals on them (:func:`amiss.masquerade.rehearse`), each time
anew; the setting (:class:`amiss.masquerade.Habits`) was chosen on such rehearsals too, and stands as the default.

Source: Schonlau, DuMouchel, Ju, Karr, Theus, Vardi 2001, Computer Intrusion: Detecting Masquerades. The cost:
Maxion and Townsend 2002, Masquerade Detection Using Truncated Command Lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from amiss.errors import SourceError
from amiss.evaluate.measured import Figure, Measured
from amiss.evaluate.published import files_of
from amiss.masquerade import added, follow, rehearse, seen, threshold, without

COMMANDS: Final = "MasqueradeDat.zip"
COMMANDS_DIGEST: Final = "cfa6834b2c315d6b37afbb246dd1ac6b123a06ccd087c10ebd2dcb7a39d5d00c"
LABELS: Final = "label.txt"
LABELS_DIGEST: Final = "3e615a24506aa687d35b2ff4b4dee95ac4ab065e1887493298ee2f35421629ee"

USERS: Final = 50
SIZE: Final = 100
LEARNED: Final = 50
JUDGED: Final = 100
"""Blocks of 100 commands: the user's own for certain, and those behind them."""

FALSE_ALARM: Final = 6.0
"""What a percent of false alarms costs, in percent of misses."""

REHEARSALS: Final = 40

RECALLED: Final = (
    ("eigen co-occurrence", 72.3, 2.5),
    ("naive Bayes, learning on", 61.5, 1.3),
    ("naive Bayes", 66.2, 4.6),
    ("one-step Markov", 69.3, 6.7),
)
"""Hits and false alarms of others, as recalled from what they published."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Corpus:
    """The commands of users by code, in blocks (users, blocks, size), and which judged blocks are somebody else's.

    `odd` has a row for each user (users, judged); `names` are the commands that the codes stand for.
    """

    blocks: Ints
    odd: Bools
    names: tuple[str, ...]

    @property
    def learned(self) -> int:
        """How many blocks of each user are to be learned."""
        return len(self.blocks[0]) - len(self.odd[0])


@dataclass(frozen=True, eq=False)
class Judged:
    """The evidence of each judged block (users, judged), and the threshold that rehearsals gave."""

    evidence: Floats
    threshold: float


def evaluate(data: Path) -> Measured:
    """Hits, false alarms, cost and area under the curve, beside those of others.

    Parameters
    ----------
    data
        A directory that holds the users' commands, packed or not, and the labels.

    Raises
    ------
    SourceError
        If the files are not the published ones.
    """
    corpus = read(data)
    found = judge(corpus)
    figures = score(found.evidence, corpus.odd, found.threshold)
    others: list[dict[str, Figure]] = [
        {"detector": f"{name} (as recalled)", "hits": hits, "false_alarms": false,
         "cost": round(cost(hits, false), 2), "auc": None}
        for name, hits, false in RECALLED
    ]  # fmt: skip
    users, judged = corpus.odd.shape
    about = (
        f"{int(corpus.odd.sum())} of {users * judged:,} blocks are somebody else's; one threshold for all {users} users"
    )
    return Measured("schonlau", ({"detector": "amiss", **figures}, *others), about, figures)


def judge(corpus: Corpus, rehearsals: int = REHEARSALS) -> Judged:
    """The evidence of all judged blocks, and the threshold from what is learned."""
    past = corpus.blocks[:, : corpus.learned]
    level = threshold(rehearse(list(past), len(corpus.names), times=rehearsals), FALSE_ALARM)
    own = [seen(blocks, len(corpus.names)) for blocks in past]
    everyone = added(own)
    users = zip(corpus.blocks, own, strict=True)
    evidence = [follow(blocks, corpus.learned, without(everyone, mine)).evidence for blocks, mine in users]
    return Judged(np.array(evidence), level)


def score(evidence: Floats, odd: Bools, level: float) -> dict[str, Figure]:
    """Hits, false alarms and cost in percent at a threshold, and the area under the curve.

    Examples
    --------
    Of two blocks of somebody else one is found, of four others one is.

    >>> score(np.array([3.0, 0.5, 2.0, 0.0, 0.0, 0.0]), np.array([1, 1, 0, 0, 0, 0], bool), 1.0)
    {'hits': 50.0, 'false_alarms': 25.0, 'cost': 200.0, 'auc': 0.875}
    """
    alerts = evidence >= level
    hits, false = 100 * alerts[odd].mean(), 100 * alerts[~odd].mean()
    by_false, by_hits = curve(evidence, odd)
    auc = float(np.trapezoid(by_hits, by_false) / 100**2)
    return {"hits": round(float(hits), 2), "false_alarms": round(float(false), 2),
            "cost": round(float(cost(hits, false)), 2), "auc": round(auc, 4)}  # fmt: skip


def cost(hits: float, false_alarms: float) -> float:
    """What percentages of hits and false alarms cost."""
    return FALSE_ALARM * false_alarms + 100 - hits


def curve(evidence: Floats, odd: Bools) -> tuple[Floats, Floats]:
    """False alarms and hits in percent at each threshold, from the highest on."""
    order = np.argsort(-evidence, axis=None, kind="stable")
    flags, values = odd.ravel()[order], evidence.ravel()[order]
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    hits, false = np.cumsum(flags)[last] / max(odd.sum(), 1), np.cumsum(~flags)[last] / max((~odd).sum(), 1)
    return np.append(0.0, 100 * false), np.append(0.0, 100 * hits)


def chart(corpus: Corpus, found: Judged) -> Any:  # noqa: ANN401 - Altair's charts are of several classes
    """The curve of hits by false alarms beside the published points."""
    import altair as alt
    import polars as pl

    own = score(found.evidence, corpus.odd, found.threshold)
    by_false, by_hits = curve(found.evidence, corpus.odd)
    shown = by_false <= FARTHEST
    line = pl.DataFrame({"false alarms": by_false[shown], "hits": by_hits[shown]})
    points = [("amiss", own["hits"], own["false_alarms"]), *RECALLED]
    names = ["who", "hits", "false alarms"]
    dots = pl.DataFrame(points, schema=names, orient="row").with_columns(ours=pl.col("who") == "amiss")
    across = alt.X("false alarms:Q", title="false alarms (%)", scale=alt.Scale(domain=[0, FARTHEST]))
    up = alt.Y("hits:Q", title="hits (%)", scale=alt.Scale(domain=[0, 100]))
    colour = alt.condition("datum.ours", alt.value("#2563ab"), alt.value("#c2410c"))
    marks = alt.Chart(dots).encode(across, up)
    title = alt.Title("Masqueraders among 50 users: hits by false alarms", subtitle="points of others as recalled")
    layers = alt.layer(
        alt.Chart(line).mark_line(color="#2563ab", interpolate="step-after").encode(across, up),
        marks.mark_point(size=70, filled=True, opacity=1).encode(color=colour),
        marks.mark_text(align="left", dx=8, dy=4, fontSize=12)
        .transform_filter("!datum.ours")
        .encode(text="who:N", color=colour),
        marks.mark_text(align="right", dx=-8, dy=-8, fontSize=13, fontWeight="bold")
        .transform_filter("datum.ours")
        .encode(text="who:N", color=colour),
    )
    return layers.properties(width=560, height=380, title=title)


FARTHEST: Final = 10
"""Percent of false alarms up to which the curve is drawn."""


def read(data: Path) -> Corpus:
    """The commands and the labels.

    Raises
    ------
    SourceError
        If the files are not the published ones, which is told by their digest.
    """
    files = files_of(data, COMMANDS, COMMANDS_DIGEST, ("MasqueradeDat/User",))
    labels = files_of(data, LABELS, LABELS_DIGEST, (LABELS,))[LABELS]
    users = [files[f"MasqueradeDat/User{number}"].decode().split() for number in range(1, USERS + 1)]
    return corpus_of(users, labels.decode(), size=SIZE)


def corpus_of(users: list[list[str]], labels: str, size: int) -> Corpus:
    """A corpus from the commands of each user and the labels: a line for each judged block, a column for each user.

    Raises
    ------
    SourceError
        If there are not as many commands for each user, or not as many labels as users.
    """
    rows = [line.split() for line in labels.splitlines() if line.strip()]
    if len({len(each) for each in users}) > 1 or {len(row) for row in rows} != {len(users)}:
        raise SourceError(
            f"expected as many commands of each user, and a label of each in every row; found {len(users)} users with "
            f"{sorted({len(each) for each in users})} commands, and rows of {sorted({len(row) for row in rows})} labels"
        )
    names, codes = np.unique(np.array(users), return_inverse=True)
    blocks = codes.reshape(len(users), -1, size).astype(np.int64)
    return Corpus(blocks, np.array(rows).T == "1", tuple(names.tolist()))
