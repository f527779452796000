"""Slow, obvious twin of `amiss.network`: dictionaries, breadth-first search, sorting."""

from __future__ import annotations

from collections import defaultdict

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
