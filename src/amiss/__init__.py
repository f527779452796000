"""Learns from event logs how users normally behave, and says who is amiss, by how many bits, and why.

>>> import amiss
>>> "scan" in amiss.__all__
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from amiss.app import bands, classify, groups, scan, violations
    from amiss.errors import (
        AmissError,
        ConfigError,
        EventError,
        MissingExtraError,
        SinkError,
        SourceError,
        StateError,
        UsageError,
    )
    from amiss.profiles import distance
    from amiss.quality import SelfTest, selftest
    from amiss.result import Result, Summary
    from amiss.session import Evidence, Session
    from amiss.sinks import open_sink
    from amiss.sources import open_source

    __version__: str

__all__ = [
    "AmissError",
    "ConfigError",
    "EventError",
    "Evidence",
    "MissingExtraError",
    "Result",
    "SelfTest",
    "Session",
    "SinkError",
    "SourceError",
    "StateError",
    "Summary",
    "UsageError",
    "__version__",
    "bands",
    "classify",
    "distance",
    "groups",
    "open_sink",
    "open_source",
    "scan",
    "selftest",
    "violations",
]

_HOMES: Final = {
    "amiss.app": ("bands", "classify", "groups", "scan", "violations"),
    "amiss.errors": tuple(name for name in __all__ if name.endswith("Error")),
    "amiss.profiles": ("distance",),
    "amiss.quality": ("SelfTest", "selftest"),
    "amiss.result": ("Result", "Summary"),
    "amiss.session": ("Evidence", "Session"),
    "amiss.sinks": ("open_sink",),
    "amiss.sources": ("open_source",),
}
_HOME: Final = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """A public name, its module imported only now."""
    if name == "__version__":
        return import_module("importlib.metadata").version("amiss")
    if name not in _HOME:
        raise AttributeError(f"module 'amiss' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
