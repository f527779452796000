"""The page of benchmarks is what the figures that are kept give."""

from __future__ import annotations

import copy
import importlib
import inspect
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest

from amiss.evaluate import EVALUATIONS

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
RESULTS = json.loads((ROOT / "bench" / "peers" / "results.json").read_text(encoding="utf-8"))


def module(name: str) -> ModuleType:
    """A module of bench/peers."""
    sys.path.insert(0, str(ROOT))
    try:
        return importlib.import_module(f"bench.peers.{name}")
    finally:
        sys.path.remove(str(ROOT))


@pytest.fixture(scope="module")
def page() -> ModuleType:
    """What writes the page."""
    return module("page")


def losses(text: str) -> list[str]:
    """The lines of the section on where amiss loses."""
    section = text.split("## Where amiss loses")[1].split("\n## ", maxsplit=1)[0]
    return [line for line in section.splitlines() if line.startswith("* ")]


def way(name: str, value: float, **more: float) -> dict[str, object]:
    """A way with the same average precision and AUC, and no other figures."""
    named = ("caught_none_false", "caught_one_false", "caught_own", "normal_own")
    figures = {"average_precision": value, "auc": value, **dict.fromkeys(named)} | more
    return {"way": name, "figures": figures, "seconds": 1.0, "ratio": 2.0}


def results_of(*ways: dict[str, object]) -> dict[str, object]:
    """Results of the marketplace alone."""
    conditions = RESULTS["parts"]["marketplace"]["conditions"]
    return {"parts": {"marketplace": {"conditions": conditions, "found": list(ways)}}}


def test_the_page_is_what_the_kept_figures_give(page: ModuleType):
    """Whoever edits a figure on the page, or keeps others without writing it anew, is told."""
    assert page.text(RESULTS) == PAGE


def test_the_order_in_which_parts_were_measured_changes_nothing(page: ModuleType):
    """The same figures give the same page."""
    turned = copy.deepcopy(RESULTS)
    turned["parts"] = dict(reversed(turned["parts"].items()))
    assert page.text(turned) == PAGE


def test_every_evaluation_is_on_the_page(page: ModuleType):
    """What `amiss evaluate` measures has a section, and was measured or says why not."""
    assert set(EVALUATIONS) == {*page.SIMULATED, *page.PUBLISHED}
    for name in EVALUATIONS:
        assert f"## {page.PROSE[name]['title']}\n" in PAGE
        assert name in RESULTS["parts"]


@pytest.mark.parametrize("name", ["marketplace", "logins", "purchases", "curriculum"])
def test_every_peer_has_figures_or_a_reason_in_every_task(name: str):
    """No peer is left out of a task without a word."""
    registry = module("registry")
    peers = {"amiss", *registry.OWN[name], *registry.PEERS}
    found = {row["way"]: row for row in RESULTS["parts"][name]["found"]}
    assert peers == set(found)
    for row in found.values():
        said = [key for key in ("figures", "not_for", "absent", "failed") if row.get(key)]
        assert len(said) == 1, row
        assert ("ratio" in row) == (said == ["figures"])


def test_every_peer_is_asked_in_the_same_way():
    """A module of a peer has one function, of what is past and what is judged today."""
    registry = module("registry")
    for name in registry.PEERS:
        assert list(inspect.signature(registry.peer(name)).parameters) == ["past", "today"]


def test_pandas_sums_surprisal_as_notebooks_do():
    """Of two logins in four events one fails: a bit each, and a view, which is certain, none."""
    cases = module("cases").Cases
    steps = {"case": [0, 0, 1, 1], "state": ["login:success", "view:success", "login:failure", "view:success"]}
    steps["outcome"] = [state.split(":")[1] for state in steps["state"]]
    log = cases(np.zeros((2, 1)), np.arange(2), pl.DataFrame(steps))
    assert module("notebook").scores(log, log).tolist() == [1.0, 1.0]


def test_every_part_says_when_where_and_with_what_it_was_measured():
    """Figures without conditions are worth nothing."""
    for part in RESULTS["parts"].values():
        under = part["conditions"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", under["date"])
        assert {"amiss", "river", "pyod", "msticpy", "scikit-learn", "pandas", "polars"} <= set(under["versions"])
        assert len(under["load"]) == 2
        assert "cores" in under["machine"]


def test_a_peer_that_is_better_is_listed_as_a_loss(page: ModuleType):
    """Losses are chosen by their figures: of two peers the better one, for each figure."""
    text = page.text(results_of(way("amiss", 0.8), way("ahead", 0.9), way("behind", 0.7)))
    assert losses(text) == [
        "* **marketplace, average precision**: 0.800, behind ahead 0.900",
        "* **marketplace, AUC**: 0.8000, behind ahead 0.9000",
    ]


def test_the_optimum_is_no_loss_and_never_bold(page: ModuleType):
    """Who knows how a simulation is made is always better."""
    text = page.text(results_of(way("amiss", 0.8), way("optimum", 1.0), way("behind", 0.7)))
    assert losses(text) == []
    assert "| amiss | **0.800** |" in text
    assert "| optimum | 1.000 |" in text


def test_of_false_alarms_fewer_are_better(page: ModuleType):
    """A peer that flags fewer normal users is ahead, one that flags more is not."""
    ours, fewer, more = (way(name, 0.8, normal_own=count) for name, count in (("amiss", 2), ("few", 1), ("many", 3)))
    assert losses(page.text(results_of(ours, fewer, more))) == [
        "* **marketplace, normal users at 10 bits**: 2.0, behind few 1.0"
    ]


def test_a_peer_that_could_not_be_installed_is_on_the_page_with_the_reason(page: ModuleType):
    """It is not dropped silently."""
    absent = {"way": "river, Markov", "absent": "river is not installed: no matching distribution"}
    text = page.text(results_of(way("amiss", 0.8), absent))
    assert "* river, Markov: not measured: river is not installed: no matching distribution." in text


def test_pictures_are_there_and_small():
    """Each picture that the page shows is less than 150 kB."""
    shown = re.findall(r"\]\((benchmarks-[a-z]+\.svg)\)", PAGE)
    assert len(shown) == 5
    assert all((ROOT / "docs" / name).stat().st_size < 150_000 for name in shown)
