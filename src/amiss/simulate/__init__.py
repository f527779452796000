"""Invented logs of which the truth is known."""

from __future__ import annotations

from amiss.simulate.marketplace import (
    Event,
    Report,
    simulate,
    write_live,
    write_marketplace,
)
from amiss.simulate.profiles import Profile, load_profiles

__all__ = ["Event", "Profile", "Report", "load_profiles", "simulate", "write_live", "write_marketplace"]
