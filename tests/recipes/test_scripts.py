"""Recipes: shell scripts parse, call commands that exist with options that exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from talos_cli.main import app

ROOT = Path(__file__).parents[2]
SHELL = sorted((ROOT / "recipes").glob("**/*.sh"))
PYTHON = sorted((ROOT / "recipes").glob("**/*.py"))
COMMANDS = typer.main.get_command(app).commands


def test_there_are_recipes() -> None:
    assert {path.name for path in SHELL} >= {"demo.sh", "pipeline.sh"}


def test_make_table_runs_every_table_of_accuracies() -> None:
    (named,) = re.findall(r"for each in (.*); do", (ROOT / "Makefile").read_text())
    assert {"table1", "table2", "table5"} <= set(named.split())
    assert all((ROOT / "recipes" / "tiny" / f"{name}.toml").is_file() for name in named.split())


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shell_scripts_parse_and_stop_at_errors(path: Path) -> None:
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = path.read_text()
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in text


def calls(text: str) -> list[list[str]]:
    """Words of every call of ``talos`` in a script, as far as they are written out."""
    joined = re.sub(r"\\\n", " ", text)
    found = []
    start = r"(?:^ *|\$\(|once |srun )talos ([a-z]+)((?: [^;|)\n]*)?)"
    for match in re.finditer(start, joined, re.MULTILINE):
        words = re.findall(r"(?<=\s)--?[a-z][a-z-]*", match.group(2))
        found.append([match.group(1), *words])
    return found


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shell_scripts_use_commands_and_options_that_exist(path: Path) -> None:
    found = calls(path.read_text())
    assert found
    for command, *options in found:
        assert command in COMMANDS, command
        known = {flag for parameter in COMMANDS[command].params for flag in parameter.opts}
        assert set(options) <= known, (command, options)


def test_the_documented_pipeline_is_the_specified_one() -> None:
    """The recipe is what ``spec/cli.md`` prints, word for word."""
    lines = [
        shlex.split(line, comments=True)
        for line in (ROOT / "recipes" / "pipeline.sh").read_text().splitlines()
    ]
    words = [line for line in lines if line][1:]
    assert words[0][:2] == ["for", "t"]
    assert words[-1][:2] == ["talos", "evaluate"]
    assert words[-1][-3:] == ["|", "jq", ".mean"]


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.name)
def test_python_recipes_compile_without_warnings(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c",
         "import sys; compile(open(sys.argv[1]).read(), sys.argv[1], 'exec')", str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
