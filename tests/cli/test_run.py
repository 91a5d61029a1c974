"""``talos run`` on the real model: what is printed, kills at any moment, several jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer.main

RECIPE = """
title = "two masks"
[settings]
tasks = ["digits", "shapes"]
steps = 2
[common]
threads = 1
max-examples = 24
[steps.mask]
command = "calibrate"
each = { method = ["random"], task = "{tasks}", seed = [0] }
options = { model = "tiny-clip", task = "{task}", sparsity = 0.9, method = "{method}" }
[steps.train]
command = "finetune"
each = "mask"
options = { model = "tiny-clip", task = "{task}", method = "talos", mask = { step = "mask" }, steps = "{steps}", batch-size = 8 }
[steps.vector]
command = "vector"
each = "mask"
options = { finetuned = { step = "train" } }
[steps.single]
command = "evaluate"
each = { method = ["random"], seed = [0] }
arguments = [{ step = "vector" }]
options = { task = "{tasks}" }
[results.alone]
kind = "single-task"
title = "Alone"
sources = { single = { step = "single" } }
"""
LIMIT_S = 600


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


def test_a_dry_run_tells_and_writes_nothing(
    talos: Callable[..., Any], recipe: Path, tmp_path: Path
) -> None:
    done = talos("run", recipe, "-o", "out", "--dry-run", "--jobs", 2)
    assert done.code == 0
    assert done.out == "7 steps: 0 done, 7 to run; time unknown with --jobs 2\n"
    assert "finetune" in done.err
    found = json.loads(talos("run", recipe, "--dry-run", "--json", "--only", "train").out)
    assert [step["id"] for step in found["steps"]] == [
        "mask.random.digits.0", "mask.random.shapes.0",
        "train.random.digits.0", "train.random.shapes.0",
    ]  # fmt: skip
    assert found["path"] == "runs/recipe"
    assert found["steps"][2]["command"][:3] == ["talos", "finetune", "--model"]
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.toml"]


def test_expected_times_say_what_is_a_guess() -> None:
    from talos_cli.commands.run import _expected, _in_table
    from talos_engine.experiments.planning import GroupPlan

    assert _expected(30.0, 1, 5, 2) == "about 30 s, 2 guessed, 1 unknown"
    assert _expected(30.0, 0, 5, 0) == "about 30 s"
    assert _expected(0.0, 5, 5, 0) == "time unknown"
    assert _in_table(GroupPlan("a", 5, 5, 0.0, 0)) == "–"
    assert _in_table(GroupPlan("a", 5, 2, 0.0, 3)) == "unknown"
    assert _in_table(GroupPlan("a", 5, 2, 30.0, 0)) == "30 s"
    assert _in_table(GroupPlan("a", 5, 2, 120.0, 0, 3)) == "~2 min"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("batch-size = 8", "batch-sizes = 8", "[steps.train]: No such option"),
        (
            'method = "{method}" }',
            'method = "rndm" }',
            "[steps.mask]: Invalid value for '--method'",
        ),
        ("sparsity = 0.9, ", "", "[steps.mask]: Missing option '--sparsity'"),
        ("steps = 2", 'steps = "two"', "[steps.train]: Invalid value for '--steps'"),
        ('"shapes"]', '"shape"]', "no task named 'shape' did you mean 'shapes'?"),
        ('kind = "single-task"', 'kind = "single"', "no kind of result named 'single'"),
        ("sources = { single", "sources = { sngle", "no source 'sngle'"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_runs(
    talos: Callable[..., Any], recipe: Path, tmp_path: Path, old: str, new: str, told: str
) -> None:
    assert old in recipe.read_text()
    recipe.write_text(recipe.read_text().replace(old, new, 1))
    done = talos("run", recipe, "-o", "out")
    assert done.code == 1
    assert done.out == ""
    assert "recipe.toml" in done.plain_err
    assert told in " ".join(done.plain_err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.toml"]


def test_recipes_know_every_command_that_writes_a_file() -> None:
    from talos_cli.main import app
    from talos_engine.experiments.commands import CHOOSE, COMMANDS

    def leaves(group: Any, prefix: str = "") -> dict[str, Any]:
        found = {}
        for name, command in group.commands.items():
            inner = leaves(command, f"{prefix}{name} ") if hasattr(command, "commands") else {}
            found |= inner or {f"{prefix}{name}": command}
        return found

    flags = {
        name: {flag for parameter in command.params for flag in parameter.opts}
        for name, command in leaves(typer.main.get_command(app)).items()
    }
    writing = {name for name, own in flags.items() if {"--out", "--force"} <= own}
    about_runs = {"report"}  # reads a run folder, so it is no step of one
    assert writing - about_runs <= COMMANDS.keys() - {CHOOSE} <= flags.keys()
    for name in COMMANDS.keys() - {CHOOSE}:
        assert COMMANDS[name].computes == ("--threads" in flags[name])
        for _, option in COMMANDS[name].companions.values():
            assert f"--{option}" in flags[name]


def test_settings_from_the_command_line(talos: Callable[..., Any], recipe: Path) -> None:
    words = ("run", recipe, "--dry-run", "--json")
    found = json.loads(talos(*words, "--set", 'tasks=["mnist"]', "--set", "steps=7").out)
    assert found["steps"][0]["id"] == "mask.random.mnist.0"
    assert "7" in found["steps"][1]["command"]
    assert talos(*words, "--set", "steps").code == 2
    done = talos(*words, "--set", "step=7")
    assert done.code == 1
    assert "no setting named 'step'" in done.plain_err


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for part in ("artifacts", "results")
        for path in sorted((folder / part).rglob("*"))
        if path.is_file() and "talos" not in path.suffix
    }


def start(recipe: Path, out: str, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "talos_cli", "run", str(recipe), "-o", out, *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=recipe.parent,
        start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, err
    return out, err


def processes_in(folder: Path) -> list[int]:
    """Processes that work in a folder: the steps of a run there."""
    found = []
    for process in psutil.process_iter():
        try:
            inside = Path(process.cwd()) == folder and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            continue
        found += [process.pid] if inside else []
    return found


def wait_until(ready: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not ready():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.slow
def test_jobs_kills_and_second_runs(recipe: Path, tmp_path: Path) -> None:
    out, err = finish(start(recipe, "one", "--jobs", "1"))
    assert out == "one\n"
    assert "[7/7]" in err
    whole = contents(tmp_path / "one")
    assert len(whole) == 9
    assert json.loads(whole["results/alone.json"])["rows"]

    out, err = finish(start(recipe, "one", "--json"))
    assert (json.loads(out)["run"], json.loads(out)["skipped"]) == (0, 7)

    killed = start(recipe, "two", "--jobs", "2")
    folder = tmp_path / "two"
    wait_until(lambda: processes_in(folder), "no step began")
    victim = processes_in(folder)[0]
    os.kill(victim, signal.SIGKILL)  # a worker
    _, err = killed.communicate(timeout=LIMIT_S)
    assert killed.returncode == 1
    assert "exit code 137" in err
    assert "logs" in err

    killed = start(recipe, "two", "--jobs", "2")
    state = folder / ".state" / "train.random.shapes.0.json"
    wait_until(state.exists, "no training began")
    killed.kill()  # talos run itself
    killed.communicate()
    wait_until(lambda: not processes_in(folder), "steps outlived the run")

    stopped = start(recipe, "two", "--jobs", "2")
    wait_until(lambda: processes_in(folder), "no step began")
    stopped.send_signal(signal.SIGTERM)
    _, err = stopped.communicate(timeout=LIMIT_S)
    assert stopped.returncode == 143
    assert "terminated" in err
    assert "Traceback" not in err
    assert processes_in(folder) == []

    finish(start(recipe, "two", "--jobs", "2"))
    assert contents(folder) == whole
