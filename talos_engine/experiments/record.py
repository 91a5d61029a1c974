"""``run.json``: what a run folder holds, for people and for ``talos report``."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch

from talos_engine.artifacts import write_json
from talos_engine.device import resolve_runtime
from talos_engine.experiments.recipe import Recipe
from talos_engine.experiments.scheduling import LOGS
from talos_engine.experiments.states import DONE, FAILED, StateFolder
from talos_engine.experiments.steps import Step
from talos_engine.version import __version__

SCHEMA = 1
FILE = "run.json"
_PACKAGES = ("torch", "open_clip_torch", "transformers", "datasets", "numpy")


def write_run(
    folder: Path,
    recipe: Recipe,
    steps: Mapping[str, Step],
    states: StateFolder,
    results: Sequence[str],
) -> None:
    """Write ``run.json`` from what is recorded of the steps.

    Raises:
        OutputError: it cannot be written.
    """
    content = {
        "schema": SCHEMA,
        "engine": __version__,
        "name": recipe.name,
        "title": recipe.title,
        "description": recipe.description,
        "recipe_hash": recipe_hash(recipe),
        "settings": dict(recipe.settings),
        "environment": environment(),
        "steps": [_describe(step, states) for step in steps.values()],
        "results": list(results),
    }
    write_json(folder / FILE, content, force=True)


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


def _describe(step: Step, states: StateFolder) -> dict[str, Any]:
    found = states.get(step.id)
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
        "log": log if (states.folder / log).is_file() else None,
    }
