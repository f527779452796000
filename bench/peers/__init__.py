"""The same tasks by amiss and by others, and a page of what came of it.

A peer is a module with one function, ``scores(past, today)`` (:mod:`bench.peers.cases`), a line of `PEERS` in
:mod:`bench.peers.registry`, and a pinned requirement. A task is a function of :mod:`bench.peers.tasks` that gives
cases, what scores of them are worth, and ways that bring their own scores.
"""
