"""Where the bars and ribbons of a flow picture stand: users who go from node to node, day by day.

Every node has a lane of its own at the same height on all days, so that who stays goes straight on. A ribbon is as
thick as its users are many, but never thinner than can be seen. Places are pixels from the left and from the top.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

import polars as pl

THINNEST: Final = 1.6
"""Pixels that a ribbon is thick at least."""

GAP: Final = 12.0
"""Pixels between lanes."""

LANE: Final = 13.0
"""Pixels that a lane is high at least, so that a number fits."""

BAR: Final = 11.0
"""Pixels that the bar of a node is wide."""

STEPS: Final = 10
"""Straight parts of a ribbon, which are drawn as a curve."""

NODE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "column": pl.Int64(),
    "node": pl.Int64(),
    "users": pl.Int64(),
    "x": pl.Float64(),
    "right": pl.Float64(),
    "top": pl.Float64(),
    "bottom": pl.Float64(),
}
RIBBON_SCHEMA: Final[dict[str, pl.DataType]] = {
    "ribbon": pl.Int64(),
    "left": pl.Int64(),
    "joined": pl.Int64(),
    "x": pl.Float64(),
    "top": pl.Float64(),
    "bottom": pl.Float64(),
}


class Layout(NamedTuple):
    """Where everything stands.

    Attributes
    ----------
    nodes : (n, 7)
        `column`, `node`, its `users`, and its bar: `x`, `right`, `top`, `bottom`.
    ribbons : (points, 6)
        Points along each ribbon: its number, `left` and `joined`, and at `x` its `top` and `bottom`.
    lanes : node -> (top, bottom)
        The lane of each node, from the top down.
    """

    nodes: pl.DataFrame
    ribbons: pl.DataFrame
    lanes: dict[int, tuple[float, float]]


class _Link(NamedTuple):
    """Users who go from a node of a column to one of the next."""

    column: int
    left: int
    joined: int
    users: int


def layout(flows: Sequence[pl.DataFrame], order: Sequence[int], *, width: float, height: float) -> Layout:
    """The bars and ribbons of flows.

    Parameters
    ----------
    flows : columns `left`, `joined`, `users`, one frame from each day to the next
        Users who went from node to node; pairs may be given in parts.
    order
        The nodes from the top down; all that occur.
    width, height
        Pixels. Very many nodes take more height than that.

    Examples
    --------
    >>> flow = pl.DataFrame({"left": [1, 1], "joined": [1, 2], "users": [30, 10]})
    >>> found = layout([flow], [1, 2], width=111.0, height=52.0)
    >>> found.nodes.select("column", "node", "users", "x", pl.col("top", "bottom").round(2)).rows()
    [(0, 1, 40, 0.0, 0.0, 27.0), (1, 1, 30, 100.0, 0.0, 20.25), (1, 2, 10, 100.0, 39.0, 45.75)]
    """
    links = [link for column, flow in enumerate(flows) for link in _links(column, flow, order)]
    scale = _scale(links, order, height)
    tall = {key: max(_thick(ins, scale), _thick(outs, scale)) for key, (ins, outs) in _sides(links).items()}
    lanes = _lanes(tall, order)
    step = (width - BAR) / max(1, len(flows))
    sides = _sides(links)
    nodes = [
        (at, node, max(map(_users, sides[at, node])), at * step, at * step + BAR, lanes[node][0], lanes[node][0] + high)
        for (at, node), high in tall.items()
    ]
    ribbons = [
        (number, link.left, link.joined, *point)
        for number, (link, begin, end) in enumerate(_placed(links, lanes, scale, order))
        for point in _curve(link.column * step + BAR, (link.column + 1) * step, begin, end, _thick([link], scale))
    ]
    found = pl.DataFrame(nodes, NODE_SCHEMA, orient="row").sort("column", "top")
    return Layout(found, pl.DataFrame(ribbons, RIBBON_SCHEMA, orient="row"), lanes)


def _links(column: int, flow: pl.DataFrame, order: Sequence[int]) -> Iterator[_Link]:
    """The links from a column to the next one, each pair of nodes once, from the top down."""
    place = {node: at for at, node in enumerate(order)}
    sums = flow.group_by("left", "joined").agg(pl.sum("users")).rows()
    for left, joined, users in sorted(sums, key=lambda row: (place[row[0]], place[row[1]])):
        yield _Link(column, left, joined, users)


def _sides(links: Sequence[_Link]) -> dict[tuple[int, int], tuple[list[_Link], list[_Link]]]:
    """By column and node the links that come in and go out."""
    found: dict[tuple[int, int], tuple[list[_Link], list[_Link]]] = {}
    for link in links:
        found.setdefault((link.column, link.left), ([], []))[1].append(link)
        found.setdefault((link.column + 1, link.joined), ([], []))[0].append(link)
    return found


def _users(links: Sequence[_Link]) -> int:
    return sum(link.users for link in links)


def _thick(links: Sequence[_Link], scale: float) -> float:
    """How thick links are together."""
    return sum(max(THINNEST, link.users * scale) for link in links)


def _lanes(tall: dict[tuple[int, int], float], order: Sequence[int]) -> dict[int, tuple[float, float]]:
    """Lanes that are as high as the tallest bar in them, below each other."""
    high = {node: max(LANE, *(each for (_, of), each in tall.items() if of == node), 0.0) for node in order}
    tops = accumulate((each + GAP for each in high.values()), initial=0.0)
    return {node: (top, top + each) for (node, each), top in zip(high.items(), tops, strict=False)}


def _scale(links: Sequence[_Link], order: Sequence[int], height: float) -> float:
    """Pixels for a user with which all lanes together are so high."""
    sides = _sides(links)
    low, high = 0.0, height
    for _ in range(50):
        scale = (low + high) / 2
        tall = {key: max(_thick(ins, scale), _thick(outs, scale)) for key, (ins, outs) in sides.items()}
        bottom = max((end for _, end in _lanes(tall, order).values()), default=0.0)
        low, high = (scale, high) if bottom <= height else (low, scale)
    return low


def _placed(
    links: Sequence[_Link], lanes: dict[int, tuple[float, float]], scale: float, order: Sequence[int]
) -> Iterator[tuple[_Link, float, float]]:
    """Links with the tops of their two ends, in the order of the nodes that they come from and go to."""
    out: dict[tuple[int, int], float] = {}
    into: dict[tuple[int, int], float] = {}
    ends: dict[_Link, float] = {}
    place = {node: at for at, node in enumerate(order)}
    for link in sorted(links, key=lambda each: (each.column, place[each.left])):
        key = (link.column + 1, link.joined)
        ends[link] = into.get(key, lanes[link.joined][0])
        into[key] = ends[link] + _thick([link], scale)
    for link in links:
        key = (link.column, link.left)
        begin = out.get(key, lanes[link.left][0])
        out[key] = begin + _thick([link], scale)
        yield link, begin, ends[link]


def _curve(x: float, right: float, begin: float, end: float, thick: float) -> Iterator[tuple[float, float, float]]:
    """Points along a ribbon that leaves and arrives level: the place, the top and the bottom."""
    for number in range(STEPS + 1):
        part = number / STEPS
        top = begin + (end - begin) * part * part * (3 - 2 * part)
        yield x + (right - x) * part, top, top + thick
