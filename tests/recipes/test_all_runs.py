"""``recipes/tiny/all.toml`` runs to its end, is skipped whole the second time, and makes a page.

Tables 4 and 5 are left out to save time: what they make, Table 1 and 2 make too.
"""

from __future__ import annotations

import html
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from talos_engine.experiments.expansion import expand
from talos_engine.experiments.reading import read_recipe
from talos_engine.experiments.result_spec import RESULTS

TINY = Path(__file__).parents[2] / "recipes" / "tiny"
LEFT_OUT = ("table4.toml", "table5.toml")
# It says that everything fits together, no more. With fewer examples some accuracy is 0, by which one divides.
SMALLEST = (
    'tasks=["digits","shapes"]', 'methods=["nonlinear","talos"]', "max_examples=16", "steps=1",
    'posthoc=["dare"]', "candidates={dare=[0.5]}",
    'pairs=["digits-shapes"]', "grid=2", "points=4",
    'drift_tasks=["digits"]', 'drift_methods=["talos"]', "drift_every=1",
    "sparsities=[0.9]", 'ablation_tasks=["digits"]', "structure_sparsities=[0.9]",
    'cost_tasks=["digits"]', "cost_methods=nonlinear", "iters=1", "bound_points=2",
)  # fmt: skip


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """``all.toml`` with fewer tables, beside copies of what it includes."""
    folder = tmp_path / "recipes" / "tiny"
    for name in ("tiny", "parts"):
        shutil.copytree(TINY.parent / name, folder.parent / name)
    path = folder / "all.toml"
    text = path.read_text()
    for name in LEFT_OUT:
        assert f'  "{name}",\n' in text
        text = text.replace(f'  "{name}",\n', "")
    path.write_text(text)
    return path


def talos(*words: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "talos_cli", *map(str, words)],
        capture_output=True, text=True, check=False, timeout=900,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_kind_of_result_is_among_those_that_are_run(recipe: Path) -> None:
    kinds = {plan.table.kind for plan in expand(read_recipe(recipe)).results}
    assert kinds == set(RESULTS.names())


@pytest.mark.slow
def test_tables_and_figures_are_made_then_skipped_and_shown(recipe: Path, tmp_path: Path) -> None:
    folder, page = tmp_path / "run", tmp_path / "page.html"
    settings = [word for each in SMALLEST for word in ("--set", each)]
    first = json.loads(talos("run", recipe, "-o", folder, "--json", *settings))
    assert first["skipped"] == 0
    results = [json.loads((folder / path).read_text()) for path in first["results"]]
    run: dict[str, Any] = json.loads((folder / "run.json").read_text())
    assert {step["state"] for step in run["steps"]} == {"done"}
    assert first["run"] == len(run["steps"]) > 50
    for result in results:
        assert not [note for note in result["notes"] if "missing" in note], result["name"]
        assert result.get("rows") or result.get("series"), result["name"]
    cost = json.loads((folder / "artifacts" / "cost" / "digits.json").read_text())
    assert cost["gradient_checkpointing"] is True
    second = json.loads(talos("run", recipe, "-o", folder, "--json", *settings))
    assert (second["run"], second["skipped"]) == (0, first["run"])
    assert second["results"] == first["results"]
    talos("report", folder, "-o", page)
    text = html.unescape(page.read_text())
    for result in results:
        assert result["title"] in text
