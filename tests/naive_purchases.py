"""Slow, obvious twin of `amiss.network`: dictionaries, breadth-first search, sorting."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from datetime import datetime
from decimal import ROUND_DOWN, Decimal, localcontext
from fractions import Fraction
from typing import Any

from amiss.network import BEFRIEND, PURCHASE, Bought

Row = tuple[int, ...]
"""Kind, user, other user, time, cents, label."""


def distances(friends: dict[int, set[int]], user: int, degrees: int) -> dict[int, int]:
    """How many friendships away everyone within `degrees` is, without the user."""
    found, circle = {user: 0}, {user}
    for distance in range(1, degrees + 1):
        circle = {friend for each in circle for friend in friends[each]} - found.keys()
        found |= dict.fromkeys(circle, distance)
    del found[user]
    return found


def windows(rows: list[Row], degrees: int, last: int) -> list[tuple[int, list[Bought]]]:
    """For each purchase its number, and what its network bought last, newest first."""
    friends: dict[int, set[int]] = defaultdict(set)
    log: list[tuple[int, int, Row]] = []
    found = []
    for number, (kind, user, other, time, cents, label) in enumerate(rows):
        if kind == PURCHASE:
            near = distances(friends, user, degrees)
            theirs = sorted((each for each in log if each[2][1] in near and each[2][5] == label), reverse=True)
            found.append((number, [Bought(row[1], row[3], row[4], near[row[1]]) for _, _, row in theirs[:last]]))
            log.append((time, number, (kind, user, other, time, cents, label)))
        elif kind == BEFRIEND and user != other:
            friends[user].add(other)
            friends[other].add(user)
        else:
            friends[user].discard(other)
            friends[other].discard(user)
    return found


def bits(cents: int, network: list[tuple[int, int]], own: list[float], everybody: float) -> float:
    """What speaks against a purchase: `network` in users and cents, the user's own earlier ones in octaves."""
    count, people = len(network), {user for user, _ in network}
    octaves = {one: [math.log2(max(1, amount)) for user, amount in network if user == one] for one in people}
    near = sum(map(sum, octaves.values())) / count
    means = {one: sum(each) / len(each) for one, each in octaves.items()}
    same = sum((x - means[one]) ** 2 for one, each in octaves.items() for x in each)
    spread = sum((x - near) ** 2 for each in octaves.values() for x in each) - same
    one = (same + 10 * everybody) / (count - len(people) + 10)
    between = 0.25
    if len(people) > 1:
        others = len(people) - 1
        between = (others * max(0, (spread / others - one) * len(people) / count) + 5 / 4) / (others + 5)
    worth, freedom = one / (between * (1 + 1 / len(people))), min(count + 1, 30)
    mean = sum(own) / len(own) if own else near
    weight = worth + len(own)
    middle = (worth * near + sum(own)) / weight
    sums = freedom * one + sum((x - mean) ** 2 for x in own) + worth * len(own) / weight * (mean - near) ** 2
    freedom += len(own)
    scale = math.sqrt(sums / freedom * (1 + 1 / weight))
    away = math.log2(cents) - middle
    p = 0.999 * _student(away, scale, freedom) + 0.001 * _student(away, 4, 3)
    return math.log2(0.5 + 0.5 * _student(away - 2, math.hypot(scale, 1), freedom) / p)


def _student(x: float, scale: float, freedom: float) -> float:
    """The density of Student's t."""
    top = math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2) / math.sqrt(freedom * math.pi)
    return top * (1 + (x / scale) ** 2 / freedom) ** (-(freedom + 1) / 2) / scale


def flagged(batch: list[dict[str, Any]], stream: list[dict[str, Any]], degrees: int, last: int) -> list[str]:
    """The lines that the challenge asks for: what is flagged of the stream, in fractions and roots of 99 digits."""
    friends: dict[int, set[int]] = defaultdict(set)
    log: list[tuple[datetime, int, int, Fraction]] = []
    found = []
    for number, event in enumerate(batch + stream):
        if event["event_type"] == "purchase":
            user, amount = int(event["id"]), Fraction(str(event["amount"]))
            near = distances(friends, user, degrees)
            last_of = sorted(each for each in log if each[2] in near)[max(0, sum(e[2] in near for e in log) - last) :]
            if number >= len(batch) and len(last_of) > 1:
                amounts = [each[3] for each in last_of]
                mean = sum(amounts) / len(amounts)
                variance = sum((each - mean) ** 2 for each in amounts) / len(amounts)
                if amount > mean and (amount - mean) ** 2 > 9 * variance:
                    found.append(json.dumps(event | {"mean": _cut(mean), "sd": _cut(variance, root=True)}))
            log.append((datetime.fromisoformat(event["timestamp"]), number, user, amount))
            continue
        one, other = int(event["id1"]), int(event["id2"])
        if event["event_type"] == "befriend" and one != other:
            friends[one].add(other)
            friends[other].add(one)
        else:
            friends[one].discard(other)
            friends[other].discard(one)
    return found


def _cut(number: Fraction, *, root: bool = False) -> str:
    """A number, or its root, with two decimals, the rest cut off."""
    with localcontext() as context:
        context.prec = 99
        value = Decimal(number.numerator) / Decimal(number.denominator)
        cut = (value.sqrt() if root else value).quantize(Decimal("0.01"), rounding=ROUND_DOWN)
    return str(cut or abs(cut))
