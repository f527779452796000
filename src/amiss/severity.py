"""How urgent evidence is, in words; :func:`amiss.evidence.severity` says which."""

from __future__ import annotations

from typing import Final, Literal, get_args

Severity = Literal["info", "low", "medium", "high", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)
