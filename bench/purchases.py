"""Measure how fast purchases are judged by the network of their buyer, beside plain Python and networkx.

Prints Markdown. The friendships come first; then 96 % purchases, 2 % befriend, 2 % unfriend. The plain methods judge
some purchases at the end of the same stream, when all is full, for each of them takes long; all flag the same.
The method of the challenge's author, as its README tells: breadth-first search for users within D friendships, a heap
of the last T purchases of each user, merged into the last T of the network. networkx searches in its stead.
"""

from __future__ import annotations

import argparse
import heapq
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from amiss.network import BEFRIEND, PURCHASE, UNFRIEND, Acts, Network, Spread

LAST = 50
LATENCIES = 20_000


def friendships(users: int, degree: int, rng: np.random.Generator) -> Acts:
    """As many friendships as make the mean degree."""
    count = users * degree // 2
    return acts(np.full(count, BEFRIEND), rng.integers(0, users, (2, count)), np.zeros((2, count)))


def stream(events: int, users: int, rng: np.random.Generator) -> Acts:
    """Purchases, with a few friendships that come and go."""
    kind = rng.choice([BEFRIEND, UNFRIEND, PURCHASE], events, p=[0.02, 0.02, 0.96])
    cents = np.exp(rng.normal(8, 0.8, events))
    return acts(kind, rng.integers(0, users, (2, events)), np.array([np.arange(events), cents]))


def acts(kind: Any, users: Any, numbers: Any) -> Acts:
    """Columns as a network takes them."""
    (user, other), (moment, cents) = users.astype(np.int32), numbers.astype(np.int64)
    return Acts(kind.astype(np.uint8), user, other, moment, cents, np.zeros(len(kind), np.int32))


def part(whole: Acts, low: int, high: int) -> Acts:
    """Some of the acts."""
    return Acts(*(column[low:high] for column in whole))


class Plain:
    """The plain method; `near` finds who is near."""

    def __init__(self, degrees: int, near: Callable[[Any, int, int], set[int]], graph: Any) -> None:
        self._degrees, self._near, self.graph = degrees, near, graph
        self.bought: dict[int, list[tuple[int, int, int]]] = defaultdict(list)

    def judge(self, user: int, cents: int) -> bool:
        """Whether a purchase stands out."""
        network = self._near(self.graph, user, self._degrees)
        listed = (each for friend in network for each in self.bought.get(friend, ()))
        last = [amount for _, _, amount in heapq.nlargest(LAST, listed)]
        return len(last) > 1 and Spread.of(last).is_above(cents)

    def follow(self, events: Acts, *, judge: bool) -> int:
        """Go through events; how many stood out."""
        flagged = 0
        rows = zip(*(column.tolist() for column in events[:5]), strict=True)
        for number, (kind, user, other, moment, cents) in enumerate(rows):
            if kind == PURCHASE:
                flagged += judge and self.judge(user, cents)
                push = heapq.heappushpop if len(self.bought[user]) == LAST else heapq.heappush
                push(self.bought[user], (moment, number, cents))
            else:
                self.tie(user, other, befriend=kind == BEFRIEND)
        return flagged

    def tie(self, user: int, other: int, *, befriend: bool) -> None:
        """Make or part friends."""
        if user != other:
            change = set.add if befriend else set.discard
            change(self.graph[user], other)
            change(self.graph[other], user)


class OfNetworkx(Plain):
    """The same with a graph of networkx."""

    def __init__(self, degrees: int) -> None:
        import networkx as nx

        super().__init__(degrees, of_networkx, nx.Graph())

    def tie(self, user: int, other: int, *, befriend: bool) -> None:
        """Make or part friends."""
        if befriend and user != other:
            self.graph.add_edge(user, other)
        elif self.graph.has_edge(user, other):
            self.graph.remove_edge(user, other)


def searched(graph: dict[int, set[int]], user: int, degrees: int) -> set[int]:
    """Who is near, by breadth-first search."""
    found, circle = {user}, {user}
    for _ in range(degrees):
        circle = {friend for each in circle for friend in graph[each]} - found
        found |= circle
    return found - {user}


def of_networkx(graph: Any, user: int, degrees: int) -> set[int]:
    """Who is near, by networkx."""
    import networkx as nx

    if user not in graph:
        return set()
    return set(nx.single_source_shortest_path_length(graph, user, cutoff=degrees)) - {user}


def of_python(degrees: int) -> Plain:
    """The plain method with sets of friends."""
    return Plain(degrees, searched, defaultdict(set))


def plain_rate(method: Plain, ties: Acts, events: Acts, sample: int) -> tuple[float, int]:
    """Purchases a second in the last `sample` events, and how many of them stood out."""
    method.follow(ties, judge=False)
    method.follow(part(events, 0, len(events.kind) - sample), judge=False)
    end = part(events, len(events.kind) - sample, len(events.kind))
    began = time.perf_counter()
    flagged = method.follow(end, judge=True)
    return int((end.kind == PURCHASE).sum()) / (time.perf_counter() - began), flagged


def compiled_rates(degrees: int, last: int, ties: Acts, events: Acts, sample: int) -> tuple[float, float, int]:
    """Purchases a second in all events and in the last `sample`, and how many of those stood out."""
    network = Network(degrees, last)
    network.learn(ties)
    rates, flagged, split = [], 0, len(events.kind) - sample
    for piece in (part(events, 0, split), part(events, split, len(events.kind))):
        began = time.perf_counter()
        flagged = sum(window.spread.is_above(int(piece.cents[window.act])) for window in network.judge(piece))
        rates.append((int((piece.kind == PURCHASE).sum()), time.perf_counter() - began))
    (first, seconds), (rest, more) = rates
    return (first + rest) / (seconds + more), rest / more, flagged


def compare(users: int, events: int, samples: list[int]) -> None:
    """Print the rates of all methods."""
    rng = np.random.default_rng(1)
    ties, whole = friendships(users, 10, rng), stream(events, users, rng)
    print(f"{events:,} events of {users:,} users, mean degree 10, T = {LAST}; purchases a second\n")
    named = (
        {"plain Python": of_python, "networkx": OfNetworkx} if find_spec("networkx") else {"plain Python": of_python}
    )
    methods = list(named.values())
    print(f"| D | amiss, all events | amiss, sample | {''.join(f'{name} | times | ' for name in named)}sample |")
    print(f"|{'---|' * (4 + 2 * len(named))}")
    for degrees, sample in zip((1, 2, 3), samples, strict=True):
        every, ours, found = compiled_rates(degrees, LAST, ties, whole, sample)
        cells = [f"{every:,.0f}", f"{ours:,.0f}"]
        for method in methods:
            rate, same = plain_rate(method(degrees), ties, whole, sample)
            assert found == same, (found, same)
            cells += [f"{rate:,.0f}", f"{every / rate:.0f}"]
        print(f"| {degrees} | {' | '.join(cells)} | {sample:,} |", flush=True)


def grow(users: int, events: int) -> None:
    """Print how cost grows with D, T and degree."""
    print(f"\nMicroseconds a purchase, {events:,} events of {users:,} users\n")
    print("| degree | T | " + " | ".join(f"D = {degrees}" for degrees in range(1, 6)) + " |")
    print("|---|---|---|---|---|---|---|")
    for degree, last in ((5, 50), (10, 2), (10, 50), (10, 500), (20, 50), (50, 50)):
        rng = np.random.default_rng(2)
        ties, whole = friendships(users, degree, rng), stream(events, users, rng)
        took = []
        for degrees in range(1, 6):
            few = part(whole, 0, events if degrees < 3 else events // 20)
            took.append(f"{1e6 / compiled_rates(degrees, last, ties, few, len(few.kind) // 2)[0]:.1f}")
        print(f"| {degree} | {last} | {' | '.join(took)} |", flush=True)


def latency(users: int, hubs: int, friends: int) -> None:
    """Print how long single events take where some users have very many friends."""
    rng = np.random.default_rng(3)
    ties, whole = friendships(users, 10, rng), stream(300_000, users, rng)
    pairs = np.array([np.repeat(np.arange(hubs), friends), rng.integers(0, users, hubs * friends)])
    wide = acts(np.full(hubs * friends, BEFRIEND), pairs, np.zeros(pairs.shape))
    print(f"\nMicroseconds an event, with {hubs} hubs of {friends:,} friends among {users:,} users\n")
    print("| D | half | 99 % | most | a hub buys, half | a hub parts and befriends, half |")
    print("|---|---|---|---|---|---|")
    for degrees in (1, 2, 3):
        network = Network(degrees, LAST)
        for events in (ties, wide, whole):
            network.learn(events)
        later = whole._replace(time=whole.time + len(whole.time))
        singles = [part(later, at, at + 1) for at in range(LATENCIES // degrees**2)]
        took = np.array([_took(network, single) for single in singles]) * 1e6
        hub = [_took(network, _one(PURCHASE, at % hubs, 0)) * 1e6 for at in range(500)]
        ends = pairs[1][rng.integers(0, pairs.shape[1], 500)].tolist()
        change = [_took(network, _one(kind, 0, end)) * 1e6 for end in ends for kind in (UNFRIEND, BEFRIEND)]
        half, high, most = np.percentile(took, [50, 99, 100])
        print(f"| {degrees} | {half:.0f} | {high:.0f} | {most:.0f} | {np.median(hub):.0f} | {np.median(change):.0f} |")


def _one(kind: int, user: int, other: int) -> Acts:
    return Acts.of([(kind, user, other, 1 << 40, 2_000, 0)])


def _took(network: Network, event: Acts) -> float:
    began = time.perf_counter()
    for _ in network.judge(event):
        pass
    return time.perf_counter() - began


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--samples", default="100000,20000,2500", help="events that the plain methods judge, by D")
    given = parser.parse_args()
    warm = stream(1000, 100, np.random.default_rng(0))
    for degrees in (1, 2, 3):
        compiled_rates(degrees, LAST, friendships(100, 10, np.random.default_rng(0)), warm, 10)
    compare(given.users, given.events, [int(text) for text in given.samples.split(",")])
    grow(given.users, given.events // 5)
    latency(given.users, 10, min(10_000, given.users // 2))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
