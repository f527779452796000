"""What the documentation shows is what happens."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from amiss import config
from amiss.detect import registry

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name(page: Path) -> str:
    """The page's path in the repository."""
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """The script docs/build.py as a module."""
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_and_examples_print_what_the_page_shows(page: Path, build: ModuleType, tmp_path: Path):
    """All commands and Python lines of a page run, and print what stands below them (times apart)."""
    text = page.read_text(encoding="utf-8")
    assert build.steady(build.rerun(text, tmp_path)) == build.steady(text)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_fail_only_where_that_is_to_be_shown(page: Path):
    """A block with a command that ends in an error is marked, so that no page shows one by accident."""
    text = page.read_text(encoding="utf-8")
    for block in re.finditer(r"^```console\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        assert "(exit status" not in block[1] or re.search(r"<!-- fails: .+ -->\n\Z", text[: block.start()])


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_is_not_run_says_why(page: Path):
    """A block of shell lines that no test runs is marked, with the reason."""
    text = page.read_text(encoding="utf-8")
    for block in re.finditer(r"^```(?:sh|bash|shell)$", text, flags=re.MULTILINE):
        assert re.search(r"<!-- not run: .+ -->\n\Z", text[: block.start()]), (
            f"line {text[: block.start()].count(chr(10))}"
        )


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_settings_on_a_page_are_valid(page: Path):
    """Each block of TOML is an amiss.toml without mistakes, or the profile of a kind of user."""
    for text in re.findall(r"^```toml\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL):
        if "velocity" in text:
            tomllib.loads(text)
        else:
            config.parse(text)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path):
    """Each link to a file of the repository leads to a file that is there."""
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_page_of_commands_is_current(build: ModuleType):
    """docs/cli.md is what `make docs` writes."""
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == build.cli_page()


def test_the_readme_gets_to_the_point():
    """The first line to run stands before line 30, and both set-up commands are named."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert next(number for number, line in enumerate(lines, start=1) if line.startswith("$ amiss")) < 30
    assert any("make demo" in line for line in lines)
    assert any("make test" in line for line in lines)


def test_every_detector_has_a_page():
    """Each registered detector is described in docs/detectors/, and named in the README."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for detector in registry():
        assert (ROOT / "docs" / "detectors" / f"{detector}.md").is_file()
        assert f"[{detector}](docs/detectors/{detector}.md)" in readme


def test_every_setting_of_the_file_is_documented():
    """docs/config.md names each setting."""
    text = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    sections = (
        config.ROLES_AND_TIMES, config.ScanSettings, config.WatchSettings, config.FeedbackSettings, config.LabelSettings
    )  # fmt: skip
    settings = [setting for section in sections for setting in section.model_fields]
    assert [setting for setting in settings if f"`{setting}`" not in text] == []


def test_the_changelog_is_at_the_version_of_the_package():
    """The topmost version of CHANGELOG.md is the one in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changes = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert changes[0] == project["version"]


def test_contributing_is_short():
    """CONTRIBUTING.md fits on two pages."""
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 110


def test_every_make_target_is_in_its_help():
    """`make help` lists all targets."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)$", text, flags=re.MULTILINE)[1].split())
    assert targets == set(re.findall(r"^([\w-]+):.*## ", text, flags=re.MULTILINE))
