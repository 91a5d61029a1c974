"""``run.json``: what the newest run of a folder did, for people and for ``talos report``.

Several recipes may share a run folder. ``records/HASH.json`` keeps the same of each recipe, as it
was when its results were written: the page about them tells each as it was made.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch

from talos_engine.artifacts import write_json
from talos_engine.device import resolve_runtime
from talos_engine.errors import ArtifactError
from talos_engine.experiments.planning import done_steps
from talos_engine.experiments.recipe import Recipe
from talos_engine.experiments.scheduling import LOGS
from talos_engine.experiments.states import DONE, FAILED, StateFolder, StepState
from talos_engine.experiments.steps import Step
from talos_engine.version import __version__

SCHEMA = 1
FILE = "run.json"
RECORDS = "records"
_HASH = 12  # digits of a hash that tell it from others
_PACKAGES = ("torch", "open_clip_torch", "transformers", "datasets", "numpy")


def write_run(
    folder: Path,
    recipe: Recipe,
    steps: Mapping[str, Step],
    states: StateFolder,
    results: Sequence[str],
    done: Set[str] | None = None,
) -> None:
    """Write ``run.json`` from what is recorded of the steps.

    Raises:
        OutputError: it cannot be written.
    """
    content = _describe_run(recipe, steps, states, results, done)
    write_json(folder / FILE, content, force=True)


def keep_record(
    folder: Path,
    recipe: Recipe,
    steps: Mapping[str, Step],
    states: StateFolder,
    results: Sequence[str],
) -> dict[str, Any]:
    """Write the record of a recipe, for the time when ``run.json`` tells of another one.

    Returns:
        What each result that is written next says of how it was made.

    Raises:
        OutputError: it cannot be written.
    """
    content = _describe_run(recipe, steps, states, results)
    name = f"{RECORDS}/{content['recipe_hash'][:_HASH]}.json"
    (folder / RECORDS).mkdir(exist_ok=True)
    write_json(folder / name, content, force=True)
    told = {key: content[key] for key in ("title", "recipe_hash", "engine", "settings")}
    return {"recipe": recipe.name, "record": name, **told}


def _describe_run(
    recipe: Recipe,
    steps: Mapping[str, Step],
    states: StateFolder,
    results: Sequence[str],
    done: Set[str] | None = None,
) -> dict[str, Any]:
    done = done_steps(steps, states) if done is None else done
    return {
        "schema": SCHEMA,
        "engine": __version__,
        "name": recipe.name,
        "title": recipe.title,
        "description": recipe.description,
        "recipe_hash": recipe_hash(recipe),
        "settings": dict(recipe.settings),
        "environment": environment(),
        "steps": [_describe(step, states, done) for step in steps.values()],
        "results": list(results),
    }


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 of all that a recipe says, its included files and settings among it."""
    content = {
        "settings": recipe.settings,
        "common": recipe.common,
        "steps": {name: asdict(table) for name, table in recipe.steps.items()},
        "results": {name: asdict(table) for name, table in recipe.results.items()},
    }
    for table in (*content["steps"].values(), *content["results"].values()):
        del table["source"]
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def environment() -> dict[str, Any]:
    """Versions and hardware, as far as numbers may depend on them."""
    found: dict[str, Any] = {"python": platform.python_version(), "system": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    device = resolve_runtime().device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        **found,
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "device": f"{device.type} ({name})",
    }


def _describe(step: Step, states: StateFolder, done: Set[str]) -> dict[str, Any]:
    found = states.get(step.id)
    if found is not None and not _is_of(found, step, states, done):
        found = None  # of another recipe, or of other settings
    state = found.state if found is not None and found.state in (DONE, FAILED) else "pending"
    log = f"{LOGS}/{step.id}.log"
    return {
        "id": step.id,
        "group": step.group,
        "variables": dict(step.variables),
        "command": step.shown(),
        "inputs": sorted(step.inputs),
        "outputs": sorted(step.outputs.values()),
        "state": state,
        "key": found.key if found is not None else None,
        "seconds": found.seconds if found is not None else None,
        "exit_code": found.exit_code if found is not None else None,
        "log": log if found is not None and (states.folder / log).is_file() else None,
    }


def _is_of(found: StepState, step: Step, states: StateFolder, done: Set[str]) -> bool:
    """Whether a record is of this command and these inputs."""
    if found.state == DONE or not step.needs <= done:
        return step.id in done
    try:
        return found.key == states.key(step)
    except ArtifactError:
        return False
