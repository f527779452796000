"""The `purchase` detector: is this large against what people near the user buy?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.baseline import COUNT_SCHEMA, Floats, Past, no_counts
from amiss.detect import Forgetful, Names, Plain, Reason, Scores
from amiss.detect.purchase_amounts import AMOUNT, Amounts
from amiss.detect.purchase_places import PLACE, Places
from amiss.evidence import FULL_WEIGHT
from amiss.fields import Fields
from amiss.network import BEFRIEND, PURCHASE, UNFRIEND, Acts, Network, Window
from amiss.sessions import Events

NO_AMOUNT: Final = -(1 << 63)
"""The amount of an event that has none."""

DAY: Final = 86_400_000_000
"""Microseconds of a day."""

OTHER: Final = 3
"""The kind of an event that is neither a purchase nor about a friendship."""

NEAR: Final = (
    "near_count",
    "near_people",
    "near_mean",
    "near_sd",
    "near_largest",
    "near_closest",
    "near_distance",
    "near_logs",
    "near_squares",
    "near_above",
    "near_within",
)
"""What a purchase came after, as :func:`amiss.network_kernel.survey` says it."""

_NEEDED: Final = ("kind", "buyer", "other_user", "amount_cents")

STEPS: Final = 4
"""Steps of an octave in which the user's own amounts are counted."""

WITHIN: Final = 0.5
"""The variance of purchases of the same user, in octaves squared, before any are known."""

WITHIN_WORTH: Final = 10.0
"""How many purchases that counts for."""

_NETWORK: Final = ("near_count", "near_people", "near_logs", "near_squares", "near_within")


class Neighbours:
    """What sees all events in the order in which they come, and says of each purchase what its network bought last.

    Examples
    --------
    >>> near = Neighbours(degrees=1, last=50)
    >>> context = {"kind": [0, 2, 2, 2], "buyer": [1, 2, 2, 1], "other_user": [2, 0, 0, 0]}
    >>> columns = {name: np.array(column) for name, column in context.items()}
    >>> columns["amount_cents"] = np.array([NO_AMOUNT, 1000, 2000, 9900])
    >>> told = near.follow(np.arange(4), columns)
    >>> told["near_count"].tolist(), told["near_mean"].tolist(), told["near_above"].tolist()
    ([0, 0, 0, 2], [0, 0, 0, 1500], [0, 0, 0, 1])
    """

    def __init__(self, degrees: int, last: int, tables: Mapping[str, pl.DataFrame] | None = None) -> None:
        self._network = Network(degrees, last)
        if tables:
            self._network = Network.recalled(degrees, last, tables["friends"], tables["purchases"])

    @classmethod
    def restored(cls, degrees: int, last: int, tables: Mapping[str, pl.DataFrame]) -> Neighbours:
        """One that goes on from the tables of :meth:`amiss.detect.Witnesses.tables`."""
        begin = f"witness/{Purchase.name}/"
        return cls(degrees, last, {name.removeprefix(begin): table for name, table in tables.items()})

    def windows(self, events: pl.DataFrame, positions: Sequence[int]) -> dict[int, Window]:
        """What the purchases at some positions were judged by, after all of these coded events that came before."""
        acts = _acts(events["time"].to_physical().to_numpy(), {name: events[name].to_numpy() for name in _NEEDED})
        found: dict[int, Window] = {}
        done = 0
        for position in sorted(positions):
            at = int(events["position"].search_sorted(position))
            self._network.learn(acts.part(done, at))
            for window in self._network.judge(acts.part(at, at + 1), every=True):
                found[position] = window
            done = at + 1
        return found

    def follow(self, time: npt.NDArray[np.int64], context: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
        """The columns `NEAR` of events with these times (microseconds) and columns; it moves on."""
        told = self._network.survey(_acts(time, context))
        return {name: np.ascontiguousarray(told[:, number]) for number, name in enumerate(NEAR)}

    def tables(self) -> dict[str, pl.DataFrame]:
        """All that it knows; another goes on from there."""
        return {"friends": self._network.friends(), "purchases": self._network.purchases()}


@dataclass(frozen=True, eq=False)
class PurchaseBaseline:
    """What users bought on earlier days: how many purchases, the sums of their octaves and of the squares of these.

    `within` is the variance of purchases of the same user, over all users; `places` and `amounts` are what these say of
    purchases, where people told of bad ones.
    """

    user: npt.NDArray[np.uint32]
    sums: Floats
    within: float = WITHIN
    places: Places | None = None
    amounts: Amounts | None = None

    def of(self, users: npt.NDArray[np.uint32]) -> Floats:
        """The three sums of users: (3, n); zeros of those who bought nothing."""
        if not len(self.user):
            return np.zeros((3, len(users)))
        at = np.minimum(np.searchsorted(self.user, users), len(self.user) - 1)
        return np.where(self.user[at] == users, self.sums[:, at], 0.0)


@dataclass(frozen=True)
class Purchase(Plain):
    """Is this large against the purchases of people near the user?

    The **network** of a user are all within `degrees` friendships, without the user; what counts are its `last`
    purchases, by time. Amounts are taken in octaves, ``x = log2(cents)``. The network's have mean `m0`. How much they
    differ is taken apart: `s`, the variance of purchases of the same user, and `b`, the variance of what users spend on
    average (one-way analysis of variance; `s` drawn to that of all users as by 10 purchases, `b` to a quarter of an
    octave squared as by 5 users). So the network says as much of the user's level as ``k = s / (b (1 + 1/people))``
    purchases would: much where all near spend alike, little where each spends otherwise. The user's own `n` purchases
    of earlier days have mean `m` and squares `S` about it. `p` is Student's t with ``v = w + n`` degrees of freedom,
    ``w = min(count + 1, 30)``, about ``(k m0 + n m) / (k + n)``, of variance
    ``(w s + S + kn/(k+n) (m - m0)²) / v · (1 + 1/(k+n))``; once in a thousand, a purchase of any price. `q` is the same
    in half of all cases; in the other half it lies two octaves higher, and is wider by one. ``bits = log2(q/p)``.

    Where people confirmed alerts, `q` is that in half of all cases; in a quarter the amount is like those of bad
    purchases, in a quarter the place (`other_user`, where purchases name one): ``q/p = (2 q/p + V/E V + r)/4``. `V` is
    how much more often amounts in the same quarter of an octave turn out bad, `E V` that of usual amounts of the user,
    `r` how much more often purchases do at places of which as much was told (:mod:`amiss.detect.purchase_places`).

    Beside it stands the rule of the challenge that this comes from: is the amount above mean + 3 sd of the network's
    last purchases, with the deviation of the population?

    **What it remembers.** All friendships, 16 bytes, and the last purchases of each user, 32 bytes. By user the
    own amounts of earlier days, in quarters of octaves; what speaks against the user counts less. Where purchases name
    places, by user how many there were at each on each day.

    **When it is silent.** For purchases with fewer than two to go by, amounts of 0 and below, and all other events.

    **What fools it.** Whoever befriends big spenders first. Who spends a little more each day. A place with bad
    purchases speaks against all who buy there.

    Parameters
    ----------
    degrees
        How many friendships away people still count as near (D).
    last
        How many of the network's purchases count (T).
    befriend, unfriend
        The actions that begin and end a friendship.

    Source
    ------
    Gelman et al. 2013, "Bayesian Data Analysis", §3.3 (the predictive of a normal with conjugate prior), §5.4 (normal
    levels that differ by user).

    Examples
    --------
    Ten purchases of friends between 8 and 16 dollars; 12.00 is as usual, 160.00 is not.

    >>> near = {name: np.zeros(2, np.int64) for name in NEAR}
    >>> logs = np.round(65536 * np.log2(np.linspace(800, 1600, 10))).astype(np.int64)
    >>> squares = (logs**2).sum()
    >>> sums = {"near_count": 10, "near_people": 2, "near_logs": logs.sum(), "near_squares": squares}
    >>> sums["near_within"] = squares - logs.sum() ** 2 // 10
    >>> near |= {name: np.full(2, number) for name, number in sums.items()}
    >>> from amiss.sessions import GROUPED_SCHEMA
    >>> rows = pl.DataFrame([(1, 0, 7, 0, -1, -1), (2, 9, 7, 0, 0, 9)], schema=GROUPED_SCHEMA, orient="row")
    >>> columns = {"kind": np.full(2, 2), "amount_cents": np.array([1200, 16000]), **near}
    >>> events = Events.of(rows.with_columns(**columns))
    >>> detector = Purchase()
    >>> detector.score(events, detector.baseline(Past())).bits.round(1)
    array([-0.7,  6.4])
    """

    degrees: int = 2
    last: int = 50
    befriend: str = "befriend"
    unfriend: str = "unfriend"

    name: ClassVar[str] = "purchase"
    counts: ClassVar[str] = "purchase"
    count_schema: ClassVar[dict[str, pl.DataType]] = COUNT_SCHEMA
    state_schema: ClassVar[dict[str, pl.DataType]] = Forgetful.SCHEMA
    context_schema: ClassVar[dict[str, pl.DataType]] = {
        "kind": pl.UInt8(),
        "buyer": pl.UInt32(),
        "other_user": pl.UInt32(),
        "amount_cents": pl.Int64(),
        **dict.fromkeys(NEAR, pl.Int64()),
    }
    gated: ClassVar[bool] = True

    @staticmethod
    def fits(fields: Fields) -> bool:
        """It looks at amounts, and at who is whose friend."""
        return {"amount_cents", "other_user"} <= fields.roles.keys()

    def witness(self, tables: Mapping[str, pl.DataFrame] | None = None) -> Neighbours:
        """What fills in the columns `NEAR`, with the friendships and purchases so far."""
        return Neighbours(self.degrees, self.last, tables)

    def context(self, events: pl.DataFrame) -> pl.DataFrame:
        """What happened to whom for how much; what the network bought comes later."""
        amount, other = (_column(events, name) for name in ("amount_cents", "other_user"))
        amount = amount.cast(pl.Int64).fill_null(NO_AMOUNT)
        other = other.cast(pl.String).fill_null("")
        ties = {self.befriend: BEFRIEND, self.unfriend: UNFRIEND}
        kind = events["action"].replace_strict(ties, default=OTHER, return_dtype=pl.UInt8)
        kind = kind.set((kind < OTHER) & (other == ""), OTHER)
        kind = kind.set((kind == OTHER) & (amount != NO_AMOUNT), PURCHASE)
        columns = {"kind": kind, "buyer": events["user"], "other_user": other}
        frame = pl.DataFrame({**columns, "amount_cents": amount})
        return frame.with_columns(pl.lit(0, pl.Int64).alias(name) for name in NEAR)

    def summarise(self, events: Events) -> pl.DataFrame:
        """How often each user bought for how much, by quarter of an octave, and on each day where; in sixteenths."""
        bought = _bought(events)
        weight = np.full(len(events), FULL_WEIGHT, np.int64) if events.weight is None else events.weight
        value = _steps(events)[bought]
        amounts = {"feature": AMOUNT, "user": events.user[bought], "given": -1, "value": value, "count": weight[bought]}
        frame = pl.concat([_counts(amounts), _counts(_where(events, bought))])
        sums = frame.group_by("feature", "user", "given", "value").agg(pl.col("count").sum())
        return sums.filter(pl.col("count") != 0).sort("feature", "user", "given", "value")

    def baseline(self, past: Past, *, leave_out: bool = False) -> PurchaseBaseline:
        """What users bought on earlier days; nothing when the day itself is all there is."""
        counts = no_counts() if leave_out else past.by_user().filter(feature=AMOUNT)
        octaves = (pl.col("value") + 0.5) / STEPS
        weight = pl.col("count") / FULL_WEIGHT
        sums = counts.group_by("user").agg(
            weight.sum().alias("n"), (weight * octaves).sum().alias("x"), (weight * octaves**2).sum().alias("xx")
        )
        ordered = sums.sort("user")
        columns = ordered.select("n", "x", "xx").to_numpy().T.copy()
        told = Places.known(past), Amounts.known(past)
        return PurchaseBaseline(ordered["user"].to_numpy(), columns, _within(columns), *told)

    def memory(self, state: pl.DataFrame | None = None) -> Forgetful:  # noqa: ARG002 - there is nothing to recall
        """Nothing is remembered of users while a period runs; friendships and purchases are the witness's."""
        return Forgetful()

    def score(self, events: Events, baseline: PurchaseBaseline, memory: Any = None) -> Scores:  # noqa: ARG002 - as above
        """Bits and surprisal of grouped events."""
        from amiss.detect import purchase_kernel as kernel

        scores, context = Scores.nothing(len(events)), events.context
        near = np.array([context[name] for name in _NETWORK], dtype=np.float64)
        steps = 65536.0 * np.log2(np.maximum(context["amount_cents"], 1))
        silent = ~_bought(events) | (context["near_count"] < 2)
        own = baseline.of(events.user)
        kernel.judge(near, own, baseline.within, steps, silent, scores.bits, scores.surprisal)
        if baseline.amounts is not None:
            amounts, expected = baseline.amounts, np.ones(len(events))
            kernel.expect(near, own, baseline.within, amounts.ratio, amounts.first, STEPS, silent, expected)
            like_bad = np.where(silent, 1.0, amounts.of(_steps(events)) / expected)
            place = 1.0 if baseline.places is None else baseline.places.of(context["other_user"])
            told = np.log2((2.0 * np.exp2(scores.bits) + like_bad + place) / 4.0)
            scores.bits[:] = np.where(_bought(events), told, 0.0)
        return scores

    def explain(self, events: Events, baseline: PurchaseBaseline, names: Names) -> dict[int, list[Reason]]:
        """The purchases of each user that speak against them, and the one that does most."""
        bits, found = self.score(events, baseline).bits, {}
        for user, low, high in zip(events.users.tolist(), events.first[:-1], events.first[1:], strict=True):
            odd = np.maximum(bits[low:high], 0.0)
            if odd.any():
                bought, counted = int(_bought(events)[low:high].sum()), int((odd > 0).sum())
                said = self._reason(events, int(low + odd.argmax()), names, baseline.places)
                more = f"; {counted} of {bought} purchases of the day speak against the user" if counted > 1 else ""
                found[user] = [replace(said, bits=float(odd.sum()), text=said.text + more, count=counted, of=bought)]
        return found

    def _reason(self, events: Events, at: int, names: Names, places: Places | None) -> Reason:
        """What is said of a purchase."""
        context = events.context
        amount, *near = (in_words(int(context[name][at])) for name in ("amount_cents", *NEAR[2:6]))
        mean, deviation, largest, closest = near
        count, people, distance, above = (
            int(context[name][at]) for name in ("near_count", "near_people", "near_distance", "near_above")
        )
        rule = "above" if above else "not above"
        whose = "a friend" if distance == 1 else f"the closest of them, {distance} friendships away,"
        text = (
            f"bought for {amount}; the last {count} purchases near, of {people} people, have mean {mean} and sd "
            f"{deviation} ({rule} mean + 3 sd), the largest {largest}; {whose} bought for {closest}"
        )
        text = text if count > 1 else f"bought for {amount}"
        where = _place_in_words(int(context["other_user"][at]), places, names)
        return Reason(self.name, 0.0, text + where, 0, 0, above, count, names.state(int(events.state[at])))


def _steps(events: Events) -> npt.NDArray[np.int64]:
    """Amounts in steps of an octave."""
    steps: npt.NDArray[np.int64] = np.floor(STEPS * np.log2(np.maximum(events.context["amount_cents"], 1))).astype(int)
    return steps


def _where(events: Events, bought: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """The purchases that name a place, by day and place."""
    named = bought & (events.context["other_user"] > 0)
    day = events.time[named] // DAY
    return {"feature": PLACE, "user": events.user[named], "given": day, "value": events.context["other_user"][named],
            "count": FULL_WEIGHT}  # fmt: skip


def _counts(columns: Mapping[str, Any]) -> pl.DataFrame:
    """Columns as counts."""
    whole = pl.DataFrame(dict(columns), schema_overrides={"count": pl.Int64})
    return whole.select(pl.col(name).cast(dtype) for name, dtype in COUNT_SCHEMA.items())


def _within(sums: Floats) -> float:
    """The variance of purchases of the same user, from each user's number, sum and sum of squares (3, n)."""
    number, total, squares = sums
    apart = np.maximum(squares - total**2 / np.maximum(number, 1e-9), 0.0)[number > 1]
    return float((apart.sum() + WITHIN_WORTH * WITHIN) / ((number[number > 1] - 1).sum() + WITHIN_WORTH))


def _acts(time: npt.NDArray[np.int64], context: Mapping[str, npt.NDArray[Any]]) -> Acts:
    """Events as networks take them."""
    kind = context["kind"].astype(np.uint8)
    user, other = (context[name].astype(np.int32) for name in ("buyer", "other_user"))
    cents, label = context["amount_cents"].astype(np.int64), np.zeros(len(kind), np.int32)
    return Acts(kind, user, other, time.astype(np.int64), cents, label)


def _column(events: pl.DataFrame, name: str) -> pl.Series:
    """A column, of nulls where there is none."""
    return events[name] if name in events.columns else pl.repeat(None, len(events), eager=True)


def in_words(cents: int) -> str:
    """An amount with two decimals.

    Examples
    --------
    >>> in_words(160183)
    '1,601.83'
    """
    return f"{'-' if cents < 0 else ''}{abs(cents) // 100:,}.{abs(cents) % 100:02}"


def _place_in_words(place: int, places: Places | None, names: Names) -> str:
    """What is known of where a purchase was made, if it had bad ones lately."""
    known = places.told(place) if places is not None else None
    if known is None or not known.bad:
        return ""
    return f"; at {names.value(place)} {known.bad} of {known.purchases} purchases of a week turned out bad"


def _bought(events: Events) -> npt.NDArray[np.bool_]:
    """Which events are purchases of more than nothing."""
    bought: npt.NDArray[np.bool_] = (events.context["kind"] == PURCHASE) & (events.context["amount_cents"] > 0)
    return bought
