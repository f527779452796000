"""Writes what is generated in the documentation, or with --check says what is not current.

Generated are `docs/cli.md`, from the commands themselves; the output below each `$ command` and each `>>>` line in the
```console and ```python blocks of README.md and docs/, which run in one empty directory a page; the pictures (.svg)
that these draw and the page shows; and the comment at the end of each example.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer.main

from amiss.cli import app
from amiss.cli import main as amiss

ROOT: Final = Path(__file__).resolve().parent.parent
CLI: Final = ROOT / "docs" / "cli.md"
BLOCK: Final = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARIES: Final = re.compile(r"(?:\b[\d,.]+ m?s, )?\b[\d,.]+ events/s")
PLAIN: Final = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb", "TZ": "UTC"}
SHELL: Final = re.compile(r"[|&;<>()$`*?~{}\[\]]")
"""What has a meaning to a shell."""
PRINTS: Final = "\n# Prints:\n"
INTRODUCTION: Final = """# Commands

Written by `make docs` from the commands themselves; `amiss COMMAND --help` says the same.

Data goes to stdout, everything else to stderr. Exit status: 0 clean, 1 error, 2 wrong usage, 3 alerts at or above
`--fail-on`, 130 interrupted. Flags beat `amiss.toml`, which beats the defaults.
"""


def pages() -> list[Path]:
    """The pages that may hold commands with their output."""
    return [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page != CLI)]


def cli_page() -> str:
    """The text of docs/cli.md."""
    return INTRODUCTION + "".join(_command(name, command) for name, command in _commands("amiss", _root()))


def _root() -> Any:
    return typer.main.get_command(app)


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    for inner, below in getattr(command, "commands", {}).items():
        yield from _commands(f"{name} {inner}", below)
    if not hasattr(command, "commands"):
        yield name, command


def _command(name: str, command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    usage = " ".join([name, *(_argument(each) for each in arguments), "[OPTIONS]"])
    rows = "".join(f"| `{_flags(each)}` | {_meaning(each)} |\n" for each in options)
    return f"\n## `{usage}`\n\n{command.help}\n\n| option | meaning |\n|---|---|\n{rows}"


def _argument(argument: Any) -> str:
    return f"{argument.metavar}{'...' if argument.nargs == -1 else ''}"


def _flags(option: Any) -> str:
    value = "" if option.is_flag or option.count else f" {option.metavar or option.type.name.upper()}"
    return ", ".join(option.opts) + value.replace("|", "\\|")


def _meaning(option: Any) -> str:
    default = option.show_default if isinstance(option.show_default, str) else option.default
    shown = "" if default in (None, False) or str(default) == "-" else f" (default {default})"
    return f"{option.help or ''}{shown}".replace("|", "\\|")


def rerun(text: str, folder: Path) -> str:
    """The page with the output of its commands and Python lines as it is now; they run in `folder`, in order."""
    names: dict[str, Any] = {"__name__": "__main__"}

    def answered(block: re.Match[str]) -> str:
        kind, body = block.groups()
        lines = _examples(body, names, folder) if kind == "python" else _answers(body, folder)
        return f"```{kind}\n{''.join(lines)}```"

    return BLOCK.sub(answered, text)


def _answers(block: str, folder: Path) -> list[str]:
    """The commands of a block, each with its output."""
    return [_answered(command, folder) for command in re.findall(r"^\$ (?:.*\\\n)*.*\n", block, flags=re.MULTILINE)]


def _examples(block: str, names: dict[str, Any], folder: Path) -> list[str]:
    """The Python lines of a block, each with what it prints."""
    lines = []
    for example in doctest.DocTestParser().get_examples(block):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.chdir(folder):
            exec(compile(example.source, "<page>", "single"), names)
        first, *rest = example.source.splitlines()
        lines.append("".join([f">>> {first}\n", *(f"... {line}\n" for line in rest), printed.getvalue()]))
    return lines


def _answered(command: str, folder: Path) -> str:
    line = command.removeprefix("$ ")
    alone = line.startswith("amiss ") and not SHELL.search(line)
    printed, status = _called(shlex.split(line)[1:], folder) if alone else _in_a_shell(line, folder)
    output = "".join(f"{each.rstrip()}\n" for each in printed.splitlines())
    return f"{command}{output}" if status in (0, 3) else f"{command}{output}(exit status {status})\n"


def _called(words: list[str], folder: Path) -> tuple[str, int]:
    """What a command of amiss alone prints, and its exit status; it runs in this process, which has it loaded."""
    printed = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), contextlib.chdir(folder):
        try:
            amiss(words)
        except SystemExit as end:
            status = int(end.code or 0)
    return printed.buffer.getvalue().decode("utf-8"), status  # type: ignore[attr-defined]  # the BytesIO from above


def _in_a_shell(line: str, folder: Path) -> tuple[str, int]:
    """What a line of shell prints, and its exit status."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    run = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=os.environ | PLAIN | {"PATH": path, "EXAMPLES": str(ROOT / "examples")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    return run.stdout, run.returncode


def reprinted(example: Path, folder: Path) -> str:
    """The example with what it prints now in the comment at its end."""
    run = subprocess.run([sys.executable, example], cwd=folder, capture_output=True, text=True, check=True, timeout=300)
    script = example.read_text(encoding="utf-8").partition(PRINTS)[0]
    return script + PRINTS + "".join(f"# {line}".rstrip() + "\n" for line in run.stdout.splitlines())


def fresh(page: Path, old: str, folder: Path) -> str:
    """What a page or example should read."""
    if page == CLI:
        return cli_page()
    return reprinted(page, folder) if page.suffix == ".py" else rerun(old, folder)


def _keep_pictures(text: str, drawn: Path, kept: Path) -> None:
    """Keep the pictures that a page shows and its commands have drawn."""
    for name in re.findall(r"!\[[^\]]*\]\(([\w-]+\.svg)\)", text):
        if (drawn / name).exists():
            shutil.copy(drawn / name, kept / name)


def steady(text: str) -> str:
    """The text without what differs from run to run: seconds, and events per second."""
    return VARIES.sub("…", text)


def main(check: bool) -> int:  # noqa: FBT001 - a script with one switch
    """Write the generated text, or list the pages where it is not current."""
    os.environ.update(PLAIN)
    stale = []
    for page in (CLI, *([] if check else [*pages(), *sorted((ROOT / "examples").glob("*.py"))])):
        old = page.read_text(encoding="utf-8") if page.exists() else ""
        with tempfile.TemporaryDirectory() as folder:
            new = fresh(page, old, Path(folder))
            if not check:
                _keep_pictures(new, Path(folder), page.parent)
        if steady(new) != steady(old):
            stale.append(page)
            if not check:
                page.write_text(new, encoding="utf-8")
    for page in stale:
        print(f"{page.relative_to(ROOT)}: {'not current, run `make docs`' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
