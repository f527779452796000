"""What a command leaves behind, when it runs in the process of the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from amiss.cli import main


@dataclass
class Ran:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Its output in one line, however it was wrapped."""
        return " ".join(self.out.split())

    @property
    def said_beside(self) -> str:
        """Its messages in one line."""
        return " ".join(self.err.split())


Run = Callable[..., Ran]


def ended(*words: str) -> int:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as left:
        main(list(words))
    return int(left.value.code or 0)
