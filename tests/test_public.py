"""The public names are those that the documentation lists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import amiss


def documented(repository: Path) -> list[str]:
    """The names in the headings of docs/api.md."""
    text = (repository / "docs" / "api.md").read_text(encoding="utf-8")
    return re.findall(r"^#+ `amiss\.(\w+)", text, flags=re.MULTILINE)


def test_every_public_name_is_documented_and_every_documented_name_is_public(repository: Path):
    """`amiss.__all__` equals the headings of docs/api.md."""
    assert sorted(documented(repository)) == sorted(amiss.__all__)


@pytest.mark.parametrize("name", amiss.__all__)
def test_a_public_name_exists_and_is_listed(name: str):
    """Each name of `__all__` can be had, and `dir(amiss)` shows it."""
    assert getattr(amiss, name) is not None
    assert name in dir(amiss)


def test_an_unknown_name_is_an_attribute_error():
    """A name that amiss does not have is refused as by any module."""
    with pytest.raises(AttributeError, match="no attribute 'scam'"):
        amiss.scam  # noqa: B018 - looking is what raises
