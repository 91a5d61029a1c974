"""``--help``: fast, complete, and free of torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import typer.main

from talos_cli.main import app
from talos_engine.version import __version__

COMMAND = typer.main.get_command(app)


def leaves(group: Any, prefix: str = "") -> dict[str, Any]:
    """Commands by what is typed, those of groups as ``mask union``."""
    found = {}
    for name, command in group.commands.items():
        inner = leaves(command, f"{prefix}{name} ") if hasattr(command, "commands") else {}
        found |= inner or {f"{prefix}{name}": command}
    return found


COMMANDS = leaves(COMMAND)
NAMES = sorted(COMMANDS)
GROUPS = sorted({name.rsplit(" ", 1)[0] for name in NAMES if " " in name})
WRITES = {"export", "inspect", "report", "mask union", "mask intersect", "mask subtract"}
EIGHT = {"calibrate", "finetune", "vector", "add", "negate", "evaluate", "disentangle", "profile"}
HEAVY = (
    "torch",
    "numpy",
    "datasets",
    "pyarrow",
    "open_clip",
    "transformers",
    "sklearn",
    "safetensors",
    "matplotlib",
    "jinja2",
)


def test_the_eight_subcommands_and_the_lists_are_there() -> None:
    assert set(NAMES) >= EIGHT | {"tasks", "models"} | WRITES


def heavy_modules_after(*words: str) -> list[str]:
    code = (
        "import sys\n"
        f"sys.argv = ['talos', *{list(words)!r}]\n"
        "from talos_cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"sys.stderr.write(','.join(m for m in {HEAVY!r} if m in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout or __version__ in done.stdout
    return [name for name in done.stderr.split(",") if name]


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], *([*name.split(), "--help"] for name in NAMES + GROUPS)]
)
def test_no_help_imports_anything_heavy(words: list[str]) -> None:
    assert heavy_modules_after(*words) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_command_and_option_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert len(command.help.splitlines()[0]) > 15
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name} {parameter.name}"


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_every_option(talos: Callable[..., Any], name: str) -> None:
    done = talos(*name.split(), "--help")
    assert done.code == 0
    assert done.err == ""
    for parameter in COMMANDS[name].params:
        for flag in parameter.opts:
            if flag.startswith("--"):
                assert flag in done.out
    assert talos(*name.split(), "-h").out == done.out


@pytest.mark.parametrize("name", NAMES)
def test_common_options_are_common(name: str) -> None:
    flags = {flag for parameter in COMMANDS[name].params for flag in parameter.opts}
    assert flags >= {"--quiet", "--json", "--debug", "--config"}
    assert ("--seed" in flags) == (name in EIGHT - {"vector"})
    assert ("--force" in flags) == (name in EIGHT | WRITES), "for commands that write"
    if name in EIGHT - {"vector"}:
        assert flags >= {"--device", "--threads", "--dry-run", "--out", "-o"}
        assert flags >= {"--data", "--task-file", "--skip-bad", "--max-examples"}


def test_version(talos: Callable[..., Any]) -> None:
    done = talos("--version")
    assert (done.code, done.out) == (0, f"talos {__version__}\n")


def test_no_command_shows_help_and_is_a_usage_error(talos: Callable[..., Any]) -> None:
    done = talos()
    assert done.code == 2
    assert "calibrate" in done.out + done.err


def test_lists_name_what_there_is(talos: Callable[..., Any]) -> None:
    from talos_engine.data.names import task_names
    from talos_engine.data.spec import EMBEDDED_TASKS
    from talos_engine.models.spec import MODELS

    tasks = json.loads(talos("tasks", "--json").out)["tasks"]
    assert [task["name"] for task in tasks] == list(task_names())
    assert {task["name"] for task in tasks if task["control"]} == {
        "letters",
        "imagenet",
        "rte",
        "entailment",
    }
    for task in tasks:
        embedded = task["name"] in EMBEDDED_TASKS.names()
        available = embedded and EMBEDDED_TASKS.get(task["name"]).available()
        assert task["available"] == available, "nothing is in this run's own cache of datasets"
        expected = ("embedded",) if embedded else ("hub ", "by hand")
        assert task["source"].startswith(expected)
        own_answers = task["kind"] == "texts" and not task["classes"]
        assert len(task["classes"]) >= 2 or own_answers
    assert next(task for task in tasks if task["name"] == "dtd")["sizes"] == {
        "train": 3760,
        "test": 1880,
    }
    models = json.loads(talos("models", "--json").out)["models"]
    names = [model["name"] for model in models]
    assert names[: len(MODELS.names())] == list(MODELS.names())
    assert {"ViT-B-32", "ViT-B-16", "ViT-L-14"} <= set(names)
    for command, listed in (("tasks", list(task_names())), ("models", names)):
        done = talos(command)
        assert [line.split()[0] for line in done.out.splitlines()] == listed
        assert done.err == ""


@pytest.mark.parametrize(
    "words",
    [
        ["calibrat"],
        ["calibrate", "--unknown"],
        ["calibrate", "--model", "tiny-clip"],
        ["finetune", "--model", "tiny-clip", "--task", "digits", "--method", "nonlinear",
         "--steps", "many"],
        ["disentangle", "only-one"],
    ],
)  # fmt: skip
def test_wrong_usage_exits_with_2_and_prints_no_result(
    talos: Callable[..., Any], words: list[str]
) -> None:
    done = talos(*words)
    assert done.code == 2
    assert done.out == ""
    assert "Traceback" not in done.err
    assert done.err
