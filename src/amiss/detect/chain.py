r"""Evidence from a chain: is this value odd after what came before it?

For the value of each event after its given, with everything counted before the event::

    p = the baseline's chance (see amiss.baseline.Chain)
    q = sum of w_e * q_e over four experts:
        own chain    (c(given, value) + a) / (c(given) + a*K)     the user's own counts of the period
        own values   (c(value) + a) / (c + a*K)
        uniform      1 / K
        flattened    sqrt(p) / sum of sqrt(p) over all values
    bits = log2(q / p)

`K` is the known values and one for the never-seen, ``a = min(1/2, 8/K)``. The weights start equal and follow the
experts' success with a fixed share of 0.02. Everything in q is fixed before the value is seen and sums to 1, so bits
are evidence. With `leave_out` the user's own share of the baseline is taken out of p first.

Source
------
Adaptive chains: Krichevsky and Trofimov 1981. Mixing: Herbster and Warmuth 1998, "Tracking the best expert"
(fixed share).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.baseline import COUNT_SCHEMA, Chain, Floats, Ints
from amiss.blocks import by_block, frozen
from amiss.detect import chain_kernel as kernel
from amiss.evidence import groups

STATE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "user": pl.UInt32(),
    "feature": pl.UInt8(),
    "weights": pl.Array(pl.Float64(), kernel.EXPERTS),
    "given": pl.List(pl.Int32()),
    "value": pl.List(pl.Int32()),
    "count": pl.List(pl.Int64()),
}
"""What is remembered of a user while a period runs: a row per feature, about 16 bytes per different pair."""

NOTHING: Final = -1
"""The given of an event that nothing came before."""

Codes = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Feature:
    """One feature of grouped events: the codes `given` and `value` of each (n,), and where users begin (u + 1,)."""

    users: npt.NDArray[np.uint32]
    first: Ints
    given: Codes
    value: Codes

    @classmethod
    def of(cls, user: pl.Series, given: Codes, value: Codes) -> Feature:
        """The feature of events whose `user` stands in groups."""
        first = groups(user)
        return cls(user.gather(first[:-1]).to_numpy(), first, frozen(given), frozen(value))


def score(
    feature: Feature, code: int, chain: Chain, state: pl.DataFrame, *, cap: int, leave_out: bool
) -> tuple[Floats, Floats, pl.DataFrame]:
    """Bits (n,) and surprisal (n,) of a feature's events, and the users' state behind them."""
    normal = _normal(chain)
    weights, recalled = _recall(feature.users, code, state)
    bits, surprisal = np.empty(len(feature.value)), np.empty(len(feature.value))

    def block(low: int, high: int) -> tuple[Ints, kernel.Cells]:
        events = slice(int(feature.first[low]), int(feature.first[high]))
        first = feature.first[low : high + 1] - feature.first[low]
        before = _part(recalled, low, high)
        out = _room(len(bits[events]) + len(before.given))
        kept = np.zeros(high - low, dtype=np.int64)
        kernel.score_users(
            first, feature.given[events], feature.value[events], normal, leave_out, cap, before,
            weights[low:high], bits[events], surprisal[events], out, kept,
        )  # fmt: skip
        return kept, out

    after = _joined(by_block(feature.first, block))
    return bits, surprisal, _state(feature.users, code, weights, after)


def compare(feature: Feature, chain: Chain, past: pl.DataFrame, *, least: int) -> tuple[Floats, Floats]:
    """Bits (n,) and surprisal (n,) of a feature's events against the users' own past.

    `past` is counts of the feature (`amiss.baseline.COUNT_SCHEMA`), in order; users with fewer than `least` events in
    it give no evidence.
    """
    bits, surprisal = np.zeros(len(feature.value)), np.zeros(len(feature.value))
    if past.is_empty():
        return bits, surprisal
    normal, before = _normal(chain), _past(feature.users, past)

    def block(low: int, high: int) -> None:
        events = slice(int(feature.first[low]), int(feature.first[high]))
        first = feature.first[low : high + 1] - feature.first[low]
        given, value = feature.given[events], feature.value[events]
        part = _part(before, low, high)
        kernel.compare_users(first, given, value, normal, part, least, bits[events], surprisal[events])

    by_block(feature.first, block)
    return bits, surprisal


def count(feature: Feature, code: int) -> pl.DataFrame:
    """How often each user showed each pair of a feature (`amiss.baseline.COUNT_SCHEMA`)."""

    def block(low: int, high: int) -> tuple[Ints, kernel.Cells]:
        events = slice(int(feature.first[low]), int(feature.first[high]))
        first = feature.first[low : high + 1] - feature.first[low]
        out = _room(events.stop - events.start)
        kept = np.zeros(high - low, dtype=np.int64)
        kernel.count_users(first, feature.given[events], feature.value[events], out, kept)
        return kept, out

    cells = _joined(by_block(feature.first, block))
    columns = {
        "feature": np.full(len(cells.counts), code, dtype=np.uint8),
        "user": np.repeat(feature.users, cells.last - cells.first),
        "given": cells.given,
        "value": cells.value,
        "count": cells.counts,
    }
    return pl.DataFrame(columns, schema=COUNT_SCHEMA)


def _room(cells: int) -> kernel.Cells:
    """Space for up to `cells` counts."""
    none, codes = np.zeros(0, dtype=np.int64), np.empty(cells, dtype=np.int32)
    return kernel.Cells(none, none, codes, codes.copy(), np.empty(cells, dtype=np.int64))


def _joined(blocks: list[tuple[Ints, kernel.Cells]]) -> kernel.Cells:
    """The counts of consecutive blocks of users as one: of each block so many as its users kept."""
    empty = _room(0)
    kept = np.concatenate([empty.first, *(kept for kept, _ in blocks)])
    parts = [(0, empty), *((int(kept.sum()), cells) for kept, cells in blocks)]
    return kernel.Cells(
        *_side_by_side(kept),
        np.concatenate([part.given[:written] for written, part in parts]),
        np.concatenate([part.value[:written] for written, part in parts]),
        np.concatenate([part.counts[:written] for written, part in parts]),
    )


def _side_by_side(kept: Ints) -> tuple[Ints, Ints]:
    """Where the counts of each user begin and end when nothing lies between."""
    last = np.cumsum(kept)
    return last - kept, last


def _part(cells: kernel.Cells, low: int, high: int) -> kernel.Cells:
    """The counts of the users from `low` to `high`, who stand in order."""
    begin, end = int(cells.first[low]), int(cells.last[high - 1])
    first, last = cells.first[low:high] - begin, cells.last[low:high] - begin
    return _cells(first, last, cells.given[begin:end], cells.value[begin:end], cells.counts[begin:end])


def _cells(first: Ints, last: Ints, given: Codes, value: Codes, counts: Ints) -> kernel.Cells:
    """Counts to be read."""
    return kernel.Cells(frozen(first), frozen(last), frozen(given), frozen(value), frozen(counts))


def _normal(chain: Chain) -> kernel.Normal:
    """The chain's arrays."""
    return kernel.Normal(
        frozen(chain.row_of),
        frozen(chain.start),
        frozen(chain.value),
        frozen(chain.count),
        frozen(chain.row_total),
        frozen(chain.total),
        frozen(chain.flat),
    )


def _past(users: npt.NDArray[np.uint32], past: pl.DataFrame) -> kernel.Cells:
    """The past counts of `users`, none for those without."""
    owner = past["user"].to_numpy()
    last = np.cumsum(np.bincount(owner, minlength=int(users.max(initial=0)) + 1))
    first = np.append(0, last[:-1])
    return _cells(first[users], last[users], *(past[name].to_numpy() for name in ("given", "value", "count")))


def _recall(users: npt.NDArray[np.uint32], code: int, state: pl.DataFrame) -> tuple[Floats, kernel.Cells]:
    """Weights (u, experts) and own counts of `users` from the state; equal weights and none for new ones."""
    weights = np.full((len(users), kernel.EXPERTS), 1.0 / kernel.EXPERTS)
    rows = state.filter(pl.col("feature") == code, pl.col("user").is_in(pl.Series(users, dtype=pl.UInt32).implode()))
    rows = rows.sort("user")
    at = np.searchsorted(users, rows["user"].to_numpy())
    if len(at):
        weights[at] = rows["weights"].to_numpy()
    kept = np.zeros(len(users), dtype=np.int64)
    kept[at] = rows["count"].list.len().to_numpy()
    given, value, counts = (rows[name].explode(empty_as_null=False).to_numpy() for name in ("given", "value", "count"))
    codes = (given.astype(np.int32), value.astype(np.int32))
    return weights, _cells(*_side_by_side(kept), *codes, counts.astype(np.int64))


def _state(users: npt.NDArray[np.uint32], code: int, weights: Floats, cells: kernel.Cells) -> pl.DataFrame:
    """The state frame of users, from their weights and own counts."""
    from pyarrow.lib import LargeListArray, RecordBatch

    first = pl.Series(np.append(0, cells.last)).to_arrow()
    given, value, counts = (pl.Series(column).to_arrow() for column in (cells.given, cells.value, cells.counts))
    lists = [LargeListArray.from_arrays(first, column) for column in (given, value, counts)]
    fixed = {
        "user": pl.Series(users, dtype=pl.UInt32),
        "feature": np.full(len(users), code, dtype=np.uint8),
        "weights": pl.Series(weights, dtype=STATE_SCHEMA["weights"]),
    }
    owned = pl.DataFrame(RecordBatch.from_arrays(lists, ["given", "value", "count"]))
    return pl.DataFrame(fixed).hstack(owned)
