"""The `login` detector: a place, a device or an hour that is new for this user?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.baseline import COUNT_SCHEMA, Floats, Ints, Past, check_cap
from amiss.blocks import frozen, highest
from amiss.detect import Names, Reason, Scores
from amiss.errors import UsageError
from amiss.fields import Fields
from amiss.places import LOGIN_ACTIONS, is_login, login_context, login_of
from amiss.sessions import Events

if TYPE_CHECKING:
    from amiss.detect import login_kernel as kernel
    from amiss.detect.login_normal import LoginBaseline
    from amiss.detect.login_outlier import Outlier, Today

_TEXT: Final = pl.UInt32()

CONTEXT_SCHEMA: Final[dict[str, pl.DataType]] = {
    "login": pl.UInt8(),
    "address": _TEXT,
    "network": _TEXT,
    "provider": _TEXT,
    "country": _TEXT,
    "city": _TEXT,
    "kind": pl.UInt8(),
    "agent": _TEXT,
    "browser": _TEXT,
    "device": _TEXT,
    "version": pl.Int32(),
    "hour": pl.UInt8(),
    "latitude": pl.Float32(),
    "longitude": pl.Float32(),
    "wide": pl.UInt8(),
}
"""What the detector needs of events: the columns of :func:`amiss.places.login_context` and the browser's version."""

STATE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "user": pl.UInt32(),
    "cell": pl.Int32(),
    "time": pl.Int64(),
    "feature": pl.List(pl.UInt8()),
    "given": pl.List(pl.Int32()),
    "value": pl.List(pl.Int32()),
    "count": pl.List(pl.Int32()),
}
"""What is remembered of a user while a period runs: the last place, and 13 bytes for each different pair."""

ODDS: Final = {
    "mixed": (0.2, 0.3, 0.24, 0.24, 0.015, 0.003, 0.002),
    "population": (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
}
"""The shares of the hypotheses in q, in the order of :class:`Login`'s docstring."""

ENOUGH: Final = 10
"""Earlier logins from which on there is something to compare with."""

_VERSION: Final = re.compile(r" ([0-9]{1,6})(?:\.([0-9]{1,3}))?$")
_MINORS: Final = 1000

_PAIRS: Final = ("feature", "given", "value", "count")


@dataclass(frozen=True)
class Login:
    """A place, a device or an hour that is new for this user?

    A login is a chain of categories, each judged after the one before, so that nothing counts twice::

        country; city | country; kind of network | city; provider | country and kind; network | provider
        address | network
        device; version of the browser | device; user agent | browser

    and the hour of the week, and how fast a far leg since the last login was. ``bits = log2(q/p)``.

    **p**, the user's own. With `n` the user's count of a value after a given, `N` that of the row, `g` everyone's
    chance of it, `held` = min(1, n), `e` the chance of something new, and `t` and `T` the counts of this period::

        own(value)  = (1 - e) * n/N + e * (1 - held) * g / (1 - sum over the row of held * g)
        s           = 0.8 * T / (T + 1)
        p(value)    = (1 - s) * own(value) + s * t/T

    `e` is the pace at which rows with so many logins show something new, over all users, times how much more often than
    that it happened to this user elsewhere, times the same for this row::

        e = pace(N) * (new elsewhere + 3)/(expected elsewhere + 3) * (new here + 3)/(expected here + 3)

    so a new address is cheap for who changes it daily, and dear for who never did. A new device is up to twice as
    likely where the place is new (first day at an office), and so is a new version. Nine tenths of new versions are
    above all those the user had, and everyone's chance makes those cheap that are being rolled out. Where the category
    before is new for the user, everyone's row alone judges: a journey costs its country once. Everyone's chance, of
    counts to which a user adds up to `cap`, keeps a share for what nobody showed (not one login), which is one value;
    half of the rest goes to all known countries, or cities, alike: people travel where few of them live. In p of
    who has logged in before, that of a new provider is by how often it came new to users with 15 logins or more,
    everyone's counts being five such: people come to hotels' and mobile networks, and keep their line at home.

    **Kinds of networks** (:mod:`amiss.kinds`), where log, database or the provider's name tells them. With `g`
    everyone's share of a kind (half a login goes to all eight alike), `m` and `M` the user's logins by it and by all in
    other cities, `n` and `N` those in this one, and `t` and `T` those of them in this period::

        p(kind) = (1 - s) * (n + 2 * (m + 2 * g)/(M + 2))/(N + 2) + s * t/T

    At a first login p is `g`. In a city or a country that is new for the user p is the share of the kind among users
    with 15 logins or more who came to a new city, or country, half a login being as everyone's: travellers come by
    hotels and phones, whoever rents a machine does not. Where the user never came by this kind in this city, but knows
    providers of it in this country, p of the provider is, in a share of how often users kept to theirs in new cities,
    n/N, and else everyone's, as providers come new to users; so it is for whoever is elsewhere for once.

    **Whoever is elsewhere for once** is there as everyone is, with their own device; whoever has another device has it
    at their own place. With the shares `a` to `d` of logins of settled users in a new country, city, provider, or on a
    new device, and the chances g of everyone, p of all that was said above is multiplied by::

        (1 - a - b - c + a * g/p(place) + b * g/p(place | country) + c * g/p(place | city)) * (1 - d + d * g/p(device))

    so what is new alone costs no more than such things are rare, and a new place with a new device costs both. There
    g of a kind of network is its share among those who come to a new country, a new city, or by a new provider.

    **Far legs** since the last place, of 500 km or more, from 60 km on to a place where the user was never before: the
    pace is one of five, by the whole hours since and one (in 8, 3, 1.5 times the hours of a quick journey or more, in
    those, faster than anybody travels). A quick journey takes half an hour and an hour for each 130 km, or 2 hours
    and an hour for each 900 km where that is less, of the way but for 40 km. p is the user's own, four legs of everyone
    behind it; of legs to new countries also everyone's share of such distances (up to 1,500 km, 4,000 km, and above),
    for which q has that of the distances between users.

    Hours are smoothed over three to either side, half by the hour of the week, half by the kind of day; four logins of
    everyone stand behind, and a tenth is uniform. Wide places (private addresses, VPNs) have no country, provider or
    journey; the kind of their network counts where it is told.

    **q** is a mixture of whole logins, each share of which is fixed: somebody else of everyone (.2), anybody in the
    world, where all countries are as likely (.3), somebody in the user's own country (.24), or city (.24), a thief
    with the user's device in another country (.015), or in the user's own (.003), somebody else at the user's place
    (.002); a fifth goes to logins like those that were told to be bad, where there are any. Odd providers are in three
    of ten cases ones that nobody used in that country, in three any; odd addresses in nine of ten cases ones that
    nobody used. Kinds of networks are in one of four cases everyone's, else homes (.25), phones (.2),
    machines (.3), VPNs (.1) or others. Half of far legs have a pace by fixed shares, two of five faster than anybody
    travels; the others come at any time: with `r` logins of the user an hour, before `h` hours in a share
    1 - exp(-r * (h - .5)).

    **Who logs in often** has as many more occasions for something odd, while attackers choose any user as likely: with
    `m` times as many logins as users have on average, q is divided by `m` where that is above 1.

    **The same person goes on**, whoever it is. What p has of this period, each hypothesis has too, by the same share
    `g` (of far legs ``T / (N + 4)``), so that a repetition says about nothing, and evidence stays::

        g           = s + (1 - s) * (1 - e) * T/N
        q(value)    = (1 - g) * q(value) + g * t/T

    The hours of a period follow from the first: of an hour, q has T / (T + 1) of p.

    **A user's first login** is judged by everyone's counts, and the reason says so.

    **Groups**, with `by_group`: a group's row stands before everyone's, with `n` its count of a value, `N` that of the
    row, and `m` the chance of something new in a row with so many different values, as it is for everyone's::

        G(value)    = (1 - m) * n/N + m * g(value)

    A user is, as a whole, where colleagues are in a share `w` of cases, else where everyone is; so with devices: p of
    the place (and of the device) is ``(1 - w) * p by g + w * p by G``, with `w` = .95 at the first login, .1 later. So
    being unlike all colleagues costs at most 4.3 bits each at first, .15 later. Hypotheses in q that have the user's
    country, city, place or device have these likewise; of somebody else nothing changes. A login belongs to the group
    that it names, a user's earlier ones to the last that was named.

    **What it remembers.** Counts of a period: a row of 21 bytes for each different pair of a user, about ten for a
    user with steady ways, and one for each hour and place with logins. They count sixteenths of a login: what speaks
    against the user teaches less. One row more counts all logins of the user, for reasons to say "0 of 43", and with
    `by_group` one names the group. While a
    period runs, the pairs of each user, up to 1,024, and the last place.

    **When it is silent.** For events that are no logins, or failed; without addresses and user agents only hours say
    anything.

    **What fools it.** Who comes from the victim's own network with the victim's kind of device; a journey with a new
    device looks like theft. What a user does within one period soon counts as usual for the rest of it: the evidence
    stays, but grows no more. A thief who comes after the user in the same period is a few bits less odd.

    Parameters
    ----------
    cap
        The most logins that one user adds to one count of everyone's.
    actions
        Regular expression of actions that are logins; capitals do not matter.
    geoip
        Path or paths of databases in MaxMind's format, that tell countries, coordinates and providers of addresses.
    wide
        Paths of files of networks that say little of where somebody is: VPNs, relays, carriers.
    smoothing
        `backoff` is the above. `linear` is the published model of Freeman et al., see
        :mod:`amiss.detect.login_linear`; it remembers nothing while a period runs.
    q
        `mixed` is the above; `population` has somebody else of everyone only.
    model
        `chains` is the above. `ocsvm`, or the dotted name of an outlier estimator of scikit-learn, judges each user by
        one of their own: :class:`~amiss.detect.login_outlier.Outlier`.
    model_parameters
        What such an estimator is made with, by name.
    by_group
        Judge by others of the column `group` before everyone: the first login of a user above all. Logs must have that
        column; a login then takes two to three times as long.

    Raises
    ------
    UsageError
        If a parameter has another value than these.

    Source
    ------
    A login as likely for the user as for everyone, and who logs in often (Pr[u | attack]/Pr[u]): Freeman, Jain,
    Dürmuth, Biggio, Giacinto 2016, "Who Are You? A Statistical Approach to Measuring User Authenticity". Excluding what
    is known when backing off: Cleary and Witten 1984, "Data compression using adaptive coding and partial string
    matching".

    Examples
    --------
    Ann has logged in 30 times from one address with one device. Then so once more, and from abroad with another.

    >>> from amiss.sessions import GROUPED_SCHEMA
    >>> def events(*places, user=0):
    ...     rows = [(number, number * 3_600_000_000, user, 0, -1, -1) for number in range(len(places))]
    ...     frame = pl.DataFrame(rows, schema=GROUPED_SCHEMA, orient="row")
    ...     none = {name: pl.lit(1).cast(dtype) for name, dtype in CONTEXT_SCHEMA.items()}
    ...     texts = [name for name, dtype in CONTEXT_SCHEMA.items() if dtype == _TEXT]
    ...     told = none | {name: pl.Series(places).cast(_TEXT) for name in texts}
    ...     return Events.of(frame.with_columns(**told | {"wide": pl.lit(0).cast(pl.UInt8)}))
    >>> detector = Login()
    >>> days = [detector.summarise(events(1)) for _ in range(30)] + [detector.summarise(events(2, user=1))]
    >>> detector.score(events(1, 2), detector.baseline(Past(days))).bits.round(1)
    array([-20.5,   2.3])
    """

    cap: int = 1
    actions: str = LOGIN_ACTIONS
    geoip: str | tuple[str, ...] = ()
    wide: str | tuple[str, ...] = ()
    smoothing: Literal["backoff", "linear"] = "backoff"
    q: Literal["mixed", "population"] = "mixed"
    model: str = "chains"
    model_parameters: Mapping[str, Any] | None = field(default=None, hash=False)
    by_group: bool = False

    name: ClassVar[str] = "login"
    counts: ClassVar[str] = "login"
    gated: ClassVar[bool] = True
    count_schema: ClassVar[dict[str, pl.DataType]] = COUNT_SCHEMA
    state_schema: ClassVar[dict[str, pl.DataType]] = STATE_SCHEMA
    context_schema: ClassVar[dict[str, pl.DataType]] = CONTEXT_SCHEMA

    def __post_init__(self) -> None:
        check_cap(self.cap)
        for name in ("geoip", "wide"):
            paths = getattr(self, name)
            object.__setattr__(self, name, tuple(filter(None, [paths] if isinstance(paths, str) else paths)))
        for name, known in (("smoothing", ("backoff", "linear")), ("q", tuple(ODDS))):
            if getattr(self, name) not in known:
                raise UsageError(f'{name}: expected {" or ".join(known)}, found "{getattr(self, name)}"')
        if self.model == "chains" and self.model_parameters:
            raise UsageError('model_parameters are for other models than "chains"; name one with model')
        if self.by_group:
            if self.model != "chains" or self.smoothing != "backoff":
                raise UsageError('by_group is for the model "chains" with smoothing "backoff"; leave one of them out')
            object.__setattr__(self, "context_schema", CONTEXT_SCHEMA | {"group": _TEXT})
        if self._outlier:
            object.__setattr__(self, "counts", self._outlier.counts)
            object.__setattr__(self, "state_schema", self._outlier.state_schema)

    @cached_property
    def _outlier(self) -> Outlier | None:
        """What judges logins in place of chains."""
        if self.model == "chains":
            return None
        from amiss.detect.login_outlier import Outlier

        return Outlier(self.model, self.model_parameters)

    @staticmethod
    def fits(fields: Fields) -> bool:
        """Whether a log tells whence or with what somebody did things, and some of them look like logins."""
        told = any(role in fields.roles for role in ("ip", "country", "user_agent", "device"))
        return told and (not fields.actions or any(map(is_login, fields.actions)))

    def context(self, events: pl.DataFrame) -> pl.DataFrame:
        """Where, when and with what somebody logged in, for each row of an event frame."""
        found = login_context(events, actions=self.actions, geoip=self.geoip, wide=self.wide)
        major, minor = (
            pl.col("browser").str.extract(_VERSION.pattern, part).cast(pl.Int32).fill_null(0) for part in (1, 2)
        )
        number = major * _MINORS + minor
        version = pl.when(pl.col("browser") != pl.col("device")).then(number).otherwise(0).cast(pl.Int32)
        if self.by_group:
            group = events["group"] if "group" in events.columns else pl.repeat("", len(events), eager=True)
            found = found.with_columns(group=group.cast(pl.String).fill_null(""))
        return found.with_columns(version=version).select(*self.context_schema)

    def context_of(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same of one event, given by column."""
        found = login_of(event, actions=self.actions, geoip=self.geoip, wide=self.wide)
        number = _VERSION.search(found["browser"]) if found["browser"] != found["device"] else None
        group = {"group": str(event.get("group") or "")} if self.by_group else {}
        return found | {"version": int(number[1]) * _MINORS + int(number[2] or 0) if number else 0} | group

    def summarise(self, events: Events) -> pl.DataFrame:
        """How often each user showed each value of each feature, in sixteenths of a login, from grouped events."""
        from amiss.detect import login_normal

        return self._outlier.summarise(events) if self._outlier else login_normal.count(events, by_group=self.by_group)

    def baseline(self, past: Past, *, leave_out: bool = False) -> Any:
        """What everyone's logins and each user's were in earlier periods."""
        from amiss.detect import login_normal

        if self._outlier:
            return self._outlier.baseline(past, leave_out=leave_out)
        return login_normal.baseline(past, self.cap, ODDS[self.q], leave_out=leave_out, by_group=self.by_group)

    def memory(self, state: pl.DataFrame | None = None) -> LoginMemory | Today:
        """What is remembered of users while a period runs."""
        return self._outlier.memory(state) if self._outlier else LoginMemory(state)

    def score(self, events: Events, baseline: Any, memory: Any = None) -> Scores:
        """Bits and surprisal of grouped events."""
        if self._outlier:
            return self._outlier.score(events, baseline, memory)
        if self.smoothing == "linear":
            from amiss.detect import login_linear

            return login_linear.score(events, baseline)
        return (LoginMemory() if memory is None else memory).score(events, baseline, alone=memory is None)

    def explain(self, events: Events, baseline: Any, names: Names) -> dict[int, list[Reason]]:
        """By user, what speaks against them in the login that does most."""
        from amiss.detect import login_words

        if self._outlier:
            return self._outlier.explain(events, baseline, names)
        scores, detail = self.detail(events, baseline)
        return login_words.reasons(events, scores.bits, detail, names, baseline)

    def details(self, events: Events, baseline: Any, names: Names) -> dict[str, str]:
        """Address, country, city, device and local time of the last of a user's events, where it is a login."""
        from amiss.detect import login_words

        return login_words.details(events, names, None if self._outlier else baseline)

    def detail(self, events: Events, baseline: LoginBaseline) -> tuple[Scores, Floats]:
        """Scores of all events of a period, and (n, 13, 4) by feature p, q, the logins like this one and all logins."""
        detail = np.zeros((len(events), 13, 4))
        return LoginMemory().score(events, baseline, alone=True, detail=detail), detail

    def usual(self, baseline: Any, user: int, names: Names) -> dict[str, str]:
        """What is usual for a user: countries, networks, devices and hours with their shares of earlier logins."""
        from amiss.detect import login_words

        usual = None if self._outlier else login_words.usual(baseline, user, names)
        return usual.card() if usual is not None and usual.logins else {}

    def readiness(self, baseline: Any, users: npt.NDArray[np.uint32]) -> list[str]:
        """For each user what is missing until there are enough earlier logins to compare with, or nothing."""
        from amiss.detect.login_normal import logins_by_user

        if self._outlier:
            return self._outlier.readiness(baseline, users)
        logins = logins_by_user(baseline.counts, users.tolist())
        counts = [logins.get(user, (0, 0.0))[0] for user in users.tolist()]
        return ["" if count >= ENOUGH else f"{count:,} of {ENOUGH:,} logins" for count in counts]


class LoginMemory:
    """The logins of users in a period: the last place of each, and how often each pair was shown."""

    def __init__(self, state: pl.DataFrame | None = None) -> None:
        self._known = _nobody(0)
        self._pairs = _space(0)
        self._used = 0
        if state is not None and len(state):
            self._recall(state.sort("user"))

    def score(
        self, events: Events, baseline: LoginBaseline, *, alone: bool = False, detail: Floats | None = None
    ) -> Scores:
        """Bits and surprisal of grouped events, after which they are remembered.

        `alone`: they are all there is of their users, who are numbered by their order here.
        """
        from amiss.detect import login_kernel as kernel
        from amiss.detect.login_normal import logins_of

        logins, users = logins_of(events), events.users
        at = np.arange(len(users)) if alone else users.astype(np.int64)
        self._grow(len(users) if alone else highest(users) + 1)
        part = {name: column[at] for name, column in self._known.items()}
        known = kernel.Known(**part)
        self._reserve(events.first, logins.login, known)
        scores, room = Scores.nothing(len(events)), _NO_DETAIL if detail is None else detail
        pairs = kernel.Pairs(*self._pairs.values())
        first, codes = frozen(events.first), frozen(users)
        group = frozen(baseline.group_of(events.context))
        kernel.score_users(first, codes, logins, group, baseline.normal, known, pairs, *scores[:2], room)
        for name, column in self._known.items():
            column[at] = part[name]
        return scores

    def frame(self) -> pl.DataFrame:
        """A row for each user who logged in (`STATE_SCHEMA`)."""
        users = np.flatnonzero(self._known["size"])
        begin, size = self._known["begin"][users], self._known["size"][users]
        at = np.repeat(begin - np.cumsum(size) + size, size) + np.arange(int(size.sum()))
        pairs = pl.DataFrame({"user": np.repeat(users, size)} | {name: each[at] for name, each in self._pairs.items()})
        lists = pairs.group_by("user", maintain_order=True).agg(pl.all())
        last = (pl.Series(name, self._known[name][users]) for name in ("cell", "time"))
        return lists.with_columns(*last).select(pl.col(name).cast(dtype) for name, dtype in STATE_SCHEMA.items())

    def _recall(self, state: pl.DataFrame) -> None:
        """Take up rows of a state, ordered by user."""
        users, size = state["user"].to_numpy(), state["count"].list.len().to_numpy().astype(np.int64)
        self._grow(int(users.max()) + 1)
        self._pairs = {name: state[name].explode(empty_as_null=False).to_numpy().copy() for name in _PAIRS}
        self._used = int(size.sum())
        begin = np.cumsum(size) - size
        last = {name: state[name].to_numpy() for name in ("cell", "time")}
        for name, column in (last | {"begin": begin, "size": size, "room": size}).items():
            self._known[name][users] = column

    def _grow(self, users: int) -> None:
        """Make room for the codes below `users`."""
        there = len(self._known["size"])
        if users > there:
            more = _nobody(max(users, there * 5 // 4) - there)
            self._known = {name: np.append(column, more[name]) for name, column in self._known.items()}

    def _reserve(self, first: Ints, login: npt.NDArray[np.uint8], known: kernel.Known) -> None:
        """Make room for the pairs that logins may add."""
        from amiss.detect import login_kernel as kernel

        before = known.begin.copy()
        used = int(kernel.make_room(frozen(first), login, known, self._used))
        if used > len(self._pairs["count"]):
            space = _space(used * 3 // 2)
            for name, column in self._pairs.items():
                space[name][: self._used] = column[: self._used]
            self._pairs = space
        kernel.move(known, before, kernel.Pairs(*self._pairs.values()))
        self._used = used


_NO_DETAIL: Final = np.zeros((0, 13, 4))


def _nobody(users: int) -> dict[str, npt.NDArray[Any]]:
    """What is known of users who did nothing, as :class:`amiss.detect.login_kernel.Known` holds it."""
    cell = {"cell": np.full(users, -1, dtype=np.int32)}
    return cell | {name: np.zeros(users, dtype=np.int64) for name in ("time", "begin", "size", "room")}


def _space(pairs: int) -> dict[str, npt.NDArray[Any]]:
    """Space for so many pairs, as :class:`amiss.detect.login_kernel.Pairs` holds them."""
    return {name: np.zeros(pairs, dtype=np.uint8 if name == "feature" else np.int32) for name in _PAIRS}
