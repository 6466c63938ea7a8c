"""The commands that the pages print exist, with the flags that they are given."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from opmask.cli.app import app

ROOT = Path(__file__).parents[1]
FLAG = re.compile(r"--[a-z][\w-]*|-[a-z]\b")


def lines() -> Iterator[tuple[str, str]]:
    """Every line of a page that looks like a command of opmask's, with the page."""
    pages = [ROOT / "README.md", ROOT / "opmask/models/small.md"]
    pages += [p for p in (ROOT / "docs").rglob("*.rst") if not {"gallery", "_build"} & {*p.parts}]
    pages += (ROOT / "docs" / "tutorials").glob("*.py")
    for page in pages:
        text = page.read_text(encoding="utf-8").replace("\n# ", "\n  ")
        for line in re.sub(r"\\\n\s*", "", text).splitlines():
            found = re.match(r"\s+\$? ?((?:opmask|python|bash|PYTHONPATH=\S+ python) .*)", line)
            if found:
                yield page.relative_to(ROOT).as_posix(), found[1].split("  #")[0]


def commands(start: str) -> list[tuple[str, str]]:
    return sorted({(page, line) for page, line in lines() if line.startswith(start)})


@pytest.mark.parametrize(("page", "line"), commands("opmask "))
def test_a_command_of_opmask_has_these_flags(page, line):
    words = shlex.split(line)[1:]
    command = get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    assert not hasattr(command, "commands") or not words or words[0].startswith("-"), line
    known = {flag for p in command.params for flag in (*p.opts, *p.secondary_opts)} | {"--help"}
    given = {word.split("=")[0] for word in words if FLAG.match(word)}
    assert given <= known, f"{page}: {line}"


def scripts() -> dict[str, set[str]]:
    """By script, or module to run: the flags that the pages give it."""
    found: dict[str, set[str]] = {}
    for _, line in [*commands("python "), *commands("PYTHONPATH=")]:
        words = shlex.split(line.split("|")[0])
        words = words[words.index("python") + 1 :]
        name = words[1] if words[0] == "-m" else words[0]
        ours = name.endswith(".py") or name.split(".")[0] in ("reproduction", "benchmarks")
        if ours:
            found.setdefault(name, set()).update(w.split("=")[0] for w in words if FLAG.match(w))
    for flags in found.values():
        flags.discard("-m")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", scripts())
def test_a_script_has_these_flags(name):
    command = [name] if name.endswith(".py") else ["-m", name]
    done = subprocess.run(
        [sys.executable, *command, "--help"],
        cwd=ROOT,
        env={
            "PYTHONPATH": f"{ROOT}:{ROOT / 'examples'}",
            "PATH": "/usr/bin:/bin",
            "COLUMNS": "200",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    known = set(FLAG.findall(done.stdout))
    assert scripts()[name] <= known


def test_there_are_commands_to_look_at():
    assert len(commands("opmask ")) > 40
    assert len(scripts()) > 15
