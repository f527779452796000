"""Compiled passes over columns that are written as places in a dictionary.

Import it late: it loads Numba.
"""

from __future__ import annotations

from amiss.sources.bytes_kernel import compiled


@compiled
def appearance(places, seen, order):
    """Fill `order` with the places that occur, in order of first appearance; how many these are.

    `seen` (all False) and `order` have room for each place of the dictionary.
    """
    count = 0
    for place in places:
        if not seen[place]:
            seen[place] = True
            order[count] = place
            count += 1
    return count


@compiled
def spread(places, values, out):
    """Write the value at each place."""
    for i in range(len(places)):
        out[i] = values[places[i]]
