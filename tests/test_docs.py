"""What is written agrees with what is there. Part of ``make check``, so it stays fast."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main

from talos_cli.main import app
from talos_engine.registry import list_names
from talos_engine.version import __version__

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = typer.main.get_command(app).commands


def commands_within(command: Any) -> list[Any]:
    """The command, or those of a group such as ``talos mask``."""
    inner = getattr(command, "commands", {})
    return [command, *(each for one in inner.values() for each in commands_within(one))]


EVERY_COMMAND = [each for command in COMMANDS.values() for each in commands_within(command)]
SOURCES = sorted(
    path for package in ("talos_engine", "talos_cli") for path in (ROOT / package).glob("**/*.py")
)
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("**/*.md"))]


def tracked_files() -> list[Path]:
    """What belongs to the project: known to git, or not yet but not ignored either."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        return [*SOURCES, *DOCUMENTS]
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_readme_mentions_every_command(name: str) -> None:
    assert re.search(rf"\btalos {name}\b", README)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_option_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), parameter.name


def documented_calls(text: str) -> list[tuple[str, list[str]]]:
    """Commands and long options of the calls in a document's shell blocks."""
    found = []
    for block in re.findall(r"```(?:sh|bash|console)\n(.*?)```", text, re.DOTALL):
        joined = re.sub(r"\\\n", " ", block)
        for line in joined.splitlines():
            code = line.split("  #")[0]
            for match in re.finditer(r"\btalos ([a-z]+)([^;|)]*)", code):
                options = re.findall(r"(?<=\s)--[a-z][a-z-]*", match.group(2))
                found.append((match.group(1), options))
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documented_calls_use_commands_and_options_that_exist(path: Path) -> None:
    for command, options in documented_calls(path.read_text("utf-8")):
        assert command in COMMANDS, command
        parts = commands_within(COMMANDS[command])
        known = {flag for part in parts for parameter in part.params for flag in parameter.opts}
        assert set(options) <= known | {"--help"}, (command, options)


def test_the_readme_shows_calls() -> None:
    assert len({command for command, _ in documented_calls(README)}) >= 5


def test_options_named_in_documents_exist() -> None:
    """Every ``--option`` in backticks belongs to some command, or to make's and pip's."""
    known = {
        flag for command in EVERY_COMMAND for parameter in command.params for flag in parameter.opts
    }
    known |= {"--help", "--version", "--install-completion", "--show-completion"}
    for path in DOCUMENTS:
        for span in re.findall(r"`([^`\n]+)`", path.read_text("utf-8")):
            if span.startswith(("--", "talos ")):
                for option in re.findall(r"(?:^|\s)(--[a-z][a-z-]*)", span):
                    assert option in known, (path.name, option)


def test_the_changelog_has_an_entry_for_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"## [{__version__}]" in text
    section = text.split(f"## [{__version__}]")[1].split("\n## ")[0]
    assert len(re.findall(r"^- ", section, re.MULTILINE)) >= 1


def local_links(text: str) -> list[str]:
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    return [link.split("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_to_local_files_resolve(path: Path) -> None:
    for link in local_links(path.read_text("utf-8")):
        assert (path.parent / link).exists(), link


def test_the_files_and_targets_that_the_readme_names_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"\bmake ([a-z]+)\b(?! it)", "\n".join(
        re.findall(r"```.*?```|`[^`]+`", README, re.DOTALL)
    )):  # fmt: skip
        assert target in targets, target
    for span in re.findall(
        r"`((?:docs|recipes|tests|benchmarks|talos_engine|talos_cli)/[^`\s]*)`", README
    ):
        assert list(ROOT.glob(span.rstrip("/"))), span


MACHINE_PATH = re.compile(r"(?<![\w.~$}/])/(?:work|root|tmp|home|Users)/[\w.-]+")


def test_no_file_names_a_path_of_some_machine() -> None:
    for path in tracked_files():
        if path.suffix not in (".py", ".md", ".toml", ".sh", ".json", ".yml", ".cfg", ""):
            continue
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        found = MACHINE_PATH.findall(text)
        assert not found, (path.relative_to(ROOT), found)


def public_definitions(tree: ast.Module) -> list[ast.AST]:
    """The module, its public classes and functions, and their public methods."""
    found: list[ast.AST] = [tree]
    todo: list[ast.AST] = [tree]
    while todo:
        for node in ast.iter_child_nodes(todo.pop()):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
                found.append(node)
                if isinstance(node, ast.ClassDef):
                    todo.append(node)
    return found


def docstring_of(node: ast.AST) -> str | None:
    assert isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
    return ast.get_docstring(node)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_things_have_docstrings(path: Path) -> None:
    for node in public_definitions(ast.parse(path.read_text("utf-8"))):
        overrides = isinstance(node, ast.FunctionDef) and any(
            isinstance(each, ast.Name) and each.id in ("override", "property")
            for each in node.decorator_list
        )
        if not overrides:
            assert docstring_of(node), getattr(node, "name", "the module")


METHOD_PACKAGES = ("masking.rules", "training.methods", "merging.methods")


@pytest.mark.parametrize("package", METHOD_PACKAGES)
def test_every_method_has_its_mirrored_test(package: str) -> None:
    folder = ROOT / "tests" / "engine" / Path(*package.split("."))
    for name in list_names(f"talos_engine.{package}"):
        path = folder / f"test_{name.replace('-', '_')}.py"
        assert path.is_file(), path.relative_to(ROOT)
        assert re.search(r"^def test_", path.read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("package", METHOD_PACKAGES)
def test_every_method_file_names_its_paper(package: str) -> None:
    folder = ROOT / "talos_engine" / Path(*package.split("."))
    for name in list_names(f"talos_engine.{package}"):
        text = (folder / f"{name.replace('-', '_')}.py").read_text("utf-8")
        assert "arXiv" in text or "no paper" in text, name


ROOMS = sorted(
    path
    for path in (ROOT / "talos_engine").iterdir()
    if path.is_dir() and (path / "__init__.py").exists()
)


@pytest.mark.parametrize("room", ROOMS, ids=lambda path: path.name)
def test_every_room_has_tests(room: Path) -> None:
    assert list((ROOT / "tests" / "engine" / room.name).glob("**/test_*.py"))


def test_files_stay_small() -> None:
    """The aim is 300 lines; a source file of 400 wants to be two."""
    long = {
        str(path.relative_to(ROOT)): count
        for path in SOURCES
        if (count := len(path.read_text("utf-8").splitlines())) > 400
    }
    assert not long
