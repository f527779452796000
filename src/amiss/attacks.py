"""Attacks that a copy of a log is tried with: what each one is, and what it does to the events of its victim.

An attack is made of what the log holds: other users' events, places and devices, the victim's own actions and amounts.
What the log says of users themselves, such as their cohort, stays that of the victim.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from amiss.detect import Detector
from amiss.detect.activity import Activity
from amiss.detect.entitlement import EXEMPT, FOREIGN, KINDS, Entitlement
from amiss.detect.login import Login
from amiss.detect.purchase import Purchase
from amiss.events import EVENT_SCHEMA, OPTIONAL_SCHEMA
from amiss.network import PURCHASE
from amiss.places import Told, places
from amiss.sessions import MICROSECOND, SESSION_GAP
from amiss.vocabulary import Vocabulary

Ints = npt.NDArray[np.int64]

DAY: Final = 86_400_000_000
HOUR: Final = 3_600_000_000
SECOND: Final = 1_000_000

LEAST_EVENTS: Final = 5
"""The events of somebody else that make up a session to replay."""

TIMES_AS_MUCH: Final = 10
"""How many times as much a burst is, and an odd amount."""

LEAST_BURST: Final = 20
MOST_BURST: Final = 2_000
"""The events of a burst, at least and at most."""

DRIFT: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""The share of a victim's events that is replaced on each day of a drift."""

LEAST_DRIFT_DAYS: Final = 4

STEADY: Final = 0.8
"""The share of days on which a user comes whose silence is tried."""

TRIED_ADDRESSES: Final = 200
SAMPLED: Final = 1_000
SAMPLED_USERS: Final = 10

Used = TypeVar("Used")

_DAYS_MOST: Final = 1 << 24
"""More than there are days since 1970."""

_NO_LOGINS: Final = "no logins with addresses, countries or devices for the detector login"

_NETWORK: Final = ("country", "city", "latitude", "longitude", "provider", "network_type")
_PLACE: Final = ("ip", *_NETWORK, "user_agent", "device")


@dataclass(frozen=True)
class Injection:
    """What an attack does to a log: which rows go, and which events come, in order of time.

    `days` are those on which something is done, since 1970.
    """

    rows: pl.DataFrame
    days: tuple[int, ...]
    removed: Ints = field(default_factory=lambda: np.zeros(0, np.int64))


class Draw(NamedTuple):
    """Whom an attack is against, on which day (since 1970), on which days it may go on, and what draws lots."""

    user: int
    day: int
    days: Sequence[int]
    random: np.random.Generator


@dataclass(frozen=True)
class Attack:
    """A kind of attack.

    Attributes
    ----------
    name
        In a word.
    who
        Who does it, as a sentence begins.
    what
        What happens, in a clause.
    make
        What it does to the log for a draw; None where the victim or the day does not lend itself to it.
    takes
        What it takes of a log.
    missing
        Why it cannot be tried on a log at all; "" where it can.
    several_days
        Whether it goes on for days.
    """

    name: str
    who: str
    what: str
    takes: str
    make: Callable[[Scene, Draw], Injection | None]
    missing: Callable[[Scene], str] = lambda _: ""
    several_days: bool = False


class Scene:
    """A log that is held in memory, by user and day.

    Parameters
    ----------
    events : (n, columns)
        An event frame in the order of reading.
    detectors
        Those that judge it; some attacks are only for one of them.

    Attributes
    ----------
    alerting
        By day, who alerts without any attack: nobody's events are taken for an attack that are odd themselves.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> rows = [(1, datetime(2026, 1, 5, 9, tzinfo=UTC), "ann", "view", "success")]
    >>> scene = Scene(pl.DataFrame(rows, schema=EVENT_SCHEMA, orient="row"), [])
    >>> scene.days, scene.rows(0, 20458)
    ([20458], array([0]))
    """

    def __init__(self, events: pl.DataFrame, detectors: Sequence[Detector[Any]]) -> None:
        self.events, self.detectors = events, detectors
        self.alerting: Mapping[int, AbstractSet[int]] = {}
        self.users = Vocabulary()
        self.user: Ints = self.users.encode(events["user"]).astype(np.int64)
        self.time: Ints = events["time"].to_physical().to_numpy()
        day = self.time // DAY
        self._key = day * (len(self.users) + 1) + self.user
        self._order: Ints = np.lexsort((self.time, self._key))
        self._sorted = self._key[self._order]
        self._keys, self._first = np.unique(self._sorted, return_index=True)
        self.days: list[int] = np.unique(day).tolist()
        self._by_user = np.sort(self.user * _DAYS_MOST + day)

    def rows(self, user: int, day: int) -> Ints:
        """The rows of a user on a day, by time."""
        key = day * (len(self.users) + 1) + user
        low, high = np.searchsorted(self._sorted, [key, key + 1])
        return self._order[low:high]

    def present(self, day: int) -> tuple[Ints, Ints]:
        """The users of a day, in order, and how many events each has."""
        base = len(self.users) + 1
        low, high = np.searchsorted(self._keys, [day * base, (day + 1) * base])
        ends = np.append(self._first[low + 1 : high], self._first[high] if high < len(self._first) else len(self.user))
        return self._keys[low:high] - day * base, ends[: high - low] - self._first[low:high]

    def before(self, user: int, day: int) -> int:
        """How many events a user has before a day."""
        low, high = np.searchsorted(self._by_user, [user * _DAYS_MOST, user * _DAYS_MOST + day])
        return int(high - low)

    def came(self, user: int) -> list[int]:
        """The days on which a user did anything."""
        return [day for day in self.days if len(self.rows(user, day))]

    def used(self, kind: type[Used]) -> Used | None:
        """The detector of a kind, if it is among those that judge."""
        return next((each for each in self.detectors if isinstance(each, kind)), None)

    def under(self, user: int, rows: Ints, *, at_home: int | None = None) -> pl.DataFrame:
        """Some rows under a user's name; with `at_home`, one of the user's rows, from its place and with its device."""
        own = self.events.row(int(np.flatnonzero(self.user == user)[0]), named=True)
        kept = {name: own[name] for name in self.about_users} | {"user": own["user"]}
        if at_home is not None:
            there = self.events.row(at_home, named=True)
            kept |= {name: there[name] for name in _PLACE if name in there}
        return self.events[rows].with_columns(_constant(self.events, name, value) for name, value in kept.items())

    @cached_property
    def least(self) -> int:
        """The events that make up a day of somebody: as many as most days of users have, up to `LEAST_EVENTS`."""
        counts = np.diff(np.append(self._first, len(self.user)))
        return int(np.clip(np.median(counts), 1, LEAST_EVENTS))

    @cached_property
    def about_users(self) -> tuple[str, ...]:
        """Columns that tell of users, not of what they do: of one value for each, that is not the same for all."""
        never = {*EVENT_SCHEMA, *OPTIONAL_SCHEMA} - {"group"}
        names = [name for name in self.events.columns if name not in never]
        if not names:
            return ()
        values = self.events.group_by("user").agg(pl.col(names).n_unique()).select(pl.col(names).max()).row(0)
        return tuple(name for name, most in zip(names, values, strict=True) if most == 1)

    @cached_property
    def logins(self) -> pl.DataFrame:
        """Where and with what users logged in: `row`, `who`, and the columns of the detector's context."""
        used = self.used(Login)
        if used is None:
            return pl.DataFrame(schema={"row": pl.Int64(), "who": pl.Int64()})
        told = used.context(self.events).with_columns(row=np.arange(len(self.user)), who=self.user)
        return told.filter(pl.col("login") == 1)


def _constant(events: pl.DataFrame, name: str, value: object) -> pl.Expr:
    """A column of one value, of the type that it has in the log."""
    return pl.lit(value).cast(events.schema[name]).alias(name)


def _moved(rows: pl.DataFrame, time: Ints) -> pl.DataFrame:
    """Rows at other times, in order."""
    return rows.with_columns(time=pl.Series(time).cast(rows.schema["time"])).sort("time", maintain_order=True)


def _moment(scene: Scene, draw: Draw, seconds: int) -> int:
    """When, on a day, so many seconds at most after something that the victim does."""
    begun = int(scene.time[draw.random.choice(scene.rows(draw.user, draw.day))])
    return min(begun + int(draw.random.integers(1, seconds * SECOND)), (draw.day + 1) * DAY - 1)


def _others(scene: Scene, draw: Draw) -> list[int]:
    """Other users of a day with enough events, who do not alert, in random order."""
    users, counts = scene.present(draw.day)
    odd = scene.alerting.get(draw.day, frozenset())
    fit = [user for user in users[counts >= scene.least].tolist() if user != draw.user and user not in odd]
    order = draw.random.permutation(len(fit))[:SAMPLED]
    return [fit[at] for at in order]


# --- attacks on any log


def swap(scene: Scene, draw: Draw) -> Injection | None:
    """From a moment of the victim's day on, what another user does that day, in place of what the victim did."""
    own = scene.rows(draw.user, draw.day)
    began = scene.time[draw.random.choice(own)]
    for other in _others(scene, draw):
        theirs = scene.rows(other, draw.day)
        later = theirs[scene.time[theirs] >= began]
        if len(later) >= scene.least:
            return Injection(scene.under(draw.user, later), (draw.day,), own[scene.time[own] >= began])
    return None


def replay(scene: Scene, draw: Draw) -> Injection | None:
    """A whole session of another user, who acts otherwise, while the victim does nothing if possible."""
    own = scene.rows(draw.user, draw.day)
    usual = _shares(scene, own)
    sessions = _sessions(scene, draw)
    if not sessions:
        return None
    idle = [each for each in sessions if _is_idle(scene, own, each)]
    session = max(idle or sessions, key=lambda each: _apart(usual, _shares(scene, each)))
    return Injection(scene.under(draw.user, session, at_home=int(own[0])), (draw.day,))


def _is_idle(scene: Scene, own: Ints, session: Ints) -> bool:
    """Whether the victim does nothing during a session."""
    low, high = np.searchsorted(scene.time[own], scene.time[session[[0, -1]]])
    return bool(low == high)


def _sessions(scene: Scene, draw: Draw, most: int = 8) -> list[Ints]:
    """A session of each of some other users."""
    found = []
    for other in _others(scene, draw)[:most]:
        rows = scene.rows(other, draw.day)
        ends = np.flatnonzero(np.diff(scene.time[rows]) > SESSION_GAP // MICROSECOND) + 1
        found += [part for part in np.split(rows, ends) if len(part) >= LEAST_EVENTS][:1]
    return found


def _shares(scene: Scene, rows: Ints) -> dict[str, float]:
    """How much each action makes up."""
    return dict(scene.events["action"][rows].value_counts(normalize=True).iter_rows())


def _apart(one: dict[str, float], other: dict[str, float]) -> float:
    """How far shares are apart: 0 to 2."""
    return sum(abs(one.get(name, 0.0) - other.get(name, 0.0)) for name in sorted({*one, *other}))


def burst(scene: Scene, draw: Draw) -> Injection | None:
    """Within an hour, ten times as many events as in the victim's busiest hour, all of the most frequent action."""
    own = scene.rows(draw.user, draw.day)
    hours = scene.time[own] // HOUR
    size = min(max(TIMES_AS_MUCH * int(np.bincount(hours - hours[0]).max()), LEAST_BURST), MOST_BURST)
    done = scene.events["action"][own]
    most = Counter(done).most_common(1)[0][0]
    alike = own[(done == most).to_numpy()]
    rows = scene.under(draw.user, np.resize(alike, size))
    return Injection(_moved(rows, _paced(_moment(scene, draw, 60), size, draw.day)), (draw.day,))


def _paced(first: int, size: int, day: int) -> Ints:
    """So many times at even pace within an hour, all on a day."""
    begin = min(int(first), (day + 1) * DAY - HOUR)
    return begin + HOUR * np.arange(size, dtype=np.int64) // size


def drift(scene: Scene, draw: Draw) -> Injection | None:
    """From day to day, more of what the victim does is what another user does on that day."""
    days = [day for day in draw.days if len(scene.rows(draw.user, day)) >= scene.least][: len(DRIFT)]
    if len(days) < LEAST_DRIFT_DAYS:
        return None
    for other in _others(scene, draw._replace(day=days[0])):
        theirs = [scene.rows(other, day) for day in days]
        if min(map(len, theirs)) >= scene.least:
            return _drifted(scene, draw, days, theirs)
    return None


def _drifted(scene: Scene, draw: Draw, days: Sequence[int], theirs: Sequence[Ints]) -> Injection | None:
    """The same with somebody who is there on all of these days: more and more days end as theirs do."""
    gone, come, when = [], [], []
    for day, rows, share in zip(days, theirs, DRIFT, strict=False):
        own = scene.rows(draw.user, day)
        count = min(int(share * len(own) + draw.random.random()), len(rows))
        if count:
            gone.append(own[-count:])
            come.append(_instead(scene, scene.under(draw.user, rows[-count:]), own[-count], day))
            when.append(day)
    return Injection(pl.concat(come), tuple(when), np.concatenate(gone)) if when else None


def _instead(scene: Scene, rows: pl.DataFrame, row: int, day: int) -> pl.DataFrame:
    """Rows at their own pace, from when another row was; as late as the day allows."""
    time = rows["time"].to_physical().to_numpy()
    begin = min(int(scene.time[row]), (day + 1) * DAY - 1 - int(time[-1] - time[0]))
    return _moved(rows, time - time[0] + begin)


def few_days(scene: Scene) -> str:
    """Why there are too few days for a drift."""
    least, here = LEAST_DRIFT_DAYS + 1, len(scene.days)
    return "" if here >= least else f"it takes {least} days, here {'is' if here == 1 else 'are'} {here}"


# --- attacks that one detector looks for


def _login_moment(scene: Scene, draw: Draw) -> tuple[pl.DataFrame, Any] | None:
    """A login of the victim's own, within three hours of something that day; and all of the victim's logins."""
    own = scene.logins.filter(pl.col("who") == draw.user)
    if own.is_empty():
        return None
    template = int(draw.random.choice(own["row"].to_numpy()))
    return _moved(scene.events[[template]], np.array([_moment(scene, draw, 3 * 3600)])), own


def _from(scene: Scene, draw: Draw, login: pl.DataFrame, donor: int, **others: object) -> Injection:
    """A login as it would be from where and with what somebody else did one."""
    there = scene.events.row(donor, named=True)
    told = {name: there[name] for name in _PLACE if name in there} | others
    return Injection(login.with_columns(_constant(scene.events, *each) for each in told.items()), (draw.day,))


def country(scene: Scene, draw: Draw) -> Injection | None:
    """A login with somebody else's device, from a country from which the victim never logged in."""
    found = _login_moment(scene, draw)
    if found is None:
        return None
    login, own = found
    known = own["country"].unique().to_list()
    donors = scene.logins.filter(~pl.col("country").is_in([*known, ""]))["row"].to_numpy()
    if len(donors):
        return _from(scene, draw, login, int(draw.random.choice(donors)))
    address, others = _foreign(scene, draw, known), scene.logins.filter(pl.col("who") != draw.user)["row"].to_numpy()
    if not address or not len(others):
        return None
    nowhere = {name: None for name in _NETWORK if name in scene.events.columns}
    return _from(scene, draw, login, int(draw.random.choice(others)), **nowhere, ip=address)


def _foreign(scene: Scene, draw: Draw, known: Sequence[str]) -> str:
    """An address in a country that is none of those known, by the databases of the detector."""
    used = scene.used(Login)
    if used is None or not used.geoip or "ip" not in scene.events.columns:
        return ""
    told = places(used.geoip, used.wide)
    for number in draw.random.integers(1 << 24, 224 << 24, TRIED_ADDRESSES).tolist():
        address = ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))
        if told.place(Told(address)).country not in ("", *known):
            return address
    return ""


def device(scene: Scene, draw: Draw) -> Injection | None:
    """A login from a network, and with a device, that the victim never had; from a country of the victim's."""
    found = _login_moment(scene, draw)
    if found is None:
        return None
    login, own = found
    new = [~pl.col(name).is_in(own[name].unique().to_list()) for name in ("network", "device") if _told(scene, name)]
    near = pl.col("country").is_in(own["country"].unique().to_list())
    donors = scene.logins.filter(near, pl.col("who") != draw.user, *new)["row"].to_numpy()
    return _from(scene, draw, login, int(draw.random.choice(donors))) if len(donors) else None


def _told(scene: Scene, name: str) -> bool:
    """Whether the log tells more than one network, device or country of logins."""
    return scene.logins[name].n_unique() > 1


def no_countries(scene: Scene) -> str:
    """Why there is no login from another country."""
    used = scene.used(Login)
    if used is None:
        return _NO_LOGINS
    if _told(scene, "country") or used.geoip:
        return ""
    return "no login tells a country: name a column country, or a database as [detector.login] geoip"


def no_devices(scene: Scene) -> str:
    """Why there is no login with another device."""
    used = scene.used(Login)
    if used is None:
        return _NO_LOGINS
    told = _told(scene, "network") or _told(scene, "device")
    return "" if told else "all logins are from one network, with one device"


def silence(scene: Scene, draw: Draw) -> Injection | None:
    """A user who comes on most days does nothing all day."""
    before = [day for day in scene.days if day < draw.day]
    came = [day for day in scene.came(draw.user) if day < draw.day]
    if draw.day == scene.days[-1] or len(came) < max(STEADY * len(before), 1):
        return None
    return Injection(scene.events.clear(), (draw.day,), scene.rows(draw.user, draw.day))


def no_activity(scene: Scene) -> str:
    """Why nobody falls silent."""
    return "" if scene.used(Activity) else "it takes the detector activity, such as --detector sequence,habit,activity"


def amount(scene: Scene, draw: Draw) -> Injection | None:
    """A purchase for ten times the most that the victim paid that day."""
    used = scene.used(Purchase)
    own = scene.rows(draw.user, draw.day)
    if used is None:
        return None
    told = used.context(scene.events[own])
    bought = own[((told["kind"] == PURCHASE) & (told["amount_cents"] > 0)).to_numpy()]
    if not len(bought):
        return None
    cents = scene.events["amount_cents"][bought]
    most = bought[int(cents.arg_max() or 0)]
    odd = scene.events[[int(most)]].with_columns(pl.col("amount_cents") * TIMES_AS_MUCH)
    return Injection(_moved(odd, np.array([_moment(scene, draw, 60)])), (draw.day,))


def no_purchases(scene: Scene) -> str:
    """Why there are no odd amounts."""
    return "" if scene.used(Purchase) else "no amounts and other users for the detector purchase"


def scope(scene: Scene, draw: Draw) -> Injection | None:
    """What another user did that day, as far as the victim is not entitled to it."""
    used, others = scene.used(Entitlement), _others(scene, draw)[:SAMPLED_USERS]
    if used is None or not others:
        return None
    theirs = np.concatenate([scene.rows(other, draw.day) for other in others])
    entitled = used.context(scene.under(draw.user, theirs))["entitled"].to_numpy()
    bound = entitled & EXEMPT == 0
    plain, foreign = bound & (entitled & (1 << len(KINDS)) - 1 > 0), bound & (entitled & FOREIGN > 0)
    for other in others:
        of_other = scene.user[theirs] == other
        enough = ("both" in used.findings) & (int((of_other & foreign).sum()) >= used.least)
        chosen = theirs[of_other & (plain | (foreign if enough else plain))][: max(LEAST_EVENTS, used.least)]
        if len(chosen):
            return Injection(scene.under(draw.user, chosen), (draw.day,))
    return None


def no_rules(scene: Scene) -> str:
    """Why nobody leaves their scope."""
    return "" if scene.used(Entitlement) else "no [entitlement] in amiss.toml"


ATTACKS: Final = (
    Attack("swap", "A stranger who goes on in a user's account",
           "from some moment on, what another user did that day, in place of the victim's own",
           "another user who does enough later on the same day", swap),
    Attack("replay", "Somebody else at a user's screen",
           "a whole session of a user who acts otherwise, from the victim's own place",
           f"another user's session of {LEAST_EVENTS} events on the same day", replay),
    Attack("burst", "A script that does ten times as much",
           "in an hour, ten times the victim's busiest hour: the most frequent action, evenly",
           "a user with a past", burst),
    Attack("country", "A login from a country new for the user",
           "one login from a country where the victim never was, with another's device",
           "a user who logged in, and somebody from elsewhere", country, no_countries),
    Attack("device", "A login of a stranger in the user's country",
           "one login with a network and a device that the victim never had",
           "a user who logged in, and somebody else from the same country", device, no_devices),
    Attack("drift", "A slow drift to another user's ways",
           "1, 2, 5, 10, 20, 40, 80 % of the victim's events are another user's, day by day",
           f"two users who both come on {LEAST_DRIFT_DAYS} of the days", drift, few_days, several_days=True),
    Attack("silence", "A steady user who falls silent", "nothing on a whole day",
           "a user who came on most days, and a day that is not the last", silence, no_activity),
    Attack("amount", "A purchase of ten times the amount",
           "one purchase for ten times the most that the victim paid that day", "a user who bought", amount,
           no_purchases),
    Attack("scope", "Somebody who looks where they may not",
           "up to five events of another user that the victim is not entitled to",
           "a user who is not entitled to what another one does", scope, no_rules),
)  # fmt: skip
"""All attacks, in the order in which they are told."""
