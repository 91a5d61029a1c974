"""Accuracy tables against numbers worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from talos_engine.errors import CorruptFileError
from talos_engine.evaluation.uncertainty import wilson_interval
from talos_engine.reporting.accuracies import accuracy_tables, edit_heatmaps
from talos_engine.reporting.fields import Fields
from talos_engine.reporting.scanning import MetricsFile


def result(correct: dict[str, int], path: str | None = None, method: str = "") -> dict[str, Any]:
    tasks = {task: {"accuracy": c / 10, "correct": c, "n": 10} for task, c in correct.items()}
    source = None if path is None else {"path": path, "sha256": "0" * 64}
    return {"input": source, "method": method, "evaluation": "plain", "tasks": tasks, "mean": 0.0}


def file(name: str, *results: dict[str, Any], **more: Any) -> MetricsFile:
    content = {"model": {"name": "m"}, "split": "test", "results": list(results), **more}
    return MetricsFile(name, "evaluate", Fields(Path(name), content))


def test_seeds_are_summed_up_and_single_files_get_intervals() -> None:
    tables = accuracy_tables(
        [
            file("seed0/a.json", result({"x": 4, "y": 6}, "p/a.safetensors", "sum"), single={"x": 0.8, "y": 0.8}),
            file("seed1/a.json", result({"x": 6, "y": 8}, "q/a.safetensors", "sum"), single={"x": 0.9, "y": 0.9}),
            file("b.json", result({"x": 5, "y": 5}, "b.safetensors", "sum")),
            file("zero.json", result({"x": 1, "y": 2, "z": 3})),
        ]
    )  # fmt: skip
    (table,) = tables
    rows = {row.label: row.cells for row in table.rows}
    assert set(rows) == {"m itself", "a", "a: each task's own model", "b"}
    assert rows["a"]["task x"].mean == pytest.approx(0.5)
    assert rows["a"]["task x"].std == pytest.approx(math.sqrt(0.02))
    assert rows["a"]["mean"].mean == pytest.approx(0.6)
    assert rows["a"]["mean"].n == 2
    assert (rows["b"]["task y"].low, rows["b"]["task y"].high) == wilson_interval(5, 10)
    assert rows["m itself"]["mean"].mean == pytest.approx(0.15), "over the table's tasks only"
    assert rows["a: each task's own model"]["task y"].mean == pytest.approx(0.85)
    assert [column.better for column in table.columns] == ["higher"] * 3


def test_negated_models_have_a_table_where_nothing_is_best() -> None:
    (table,) = accuracy_tables([file("n.json", result({"x": 1}, "n.safetensors", "negate:sum"))])
    assert "negation" in table.title
    assert [(column.key, column.better) for column in table.columns] == [("task x", None)]


def test_the_base_alone_is_a_table_too() -> None:
    (table,) = accuracy_tables([file("zero.json", result({"x": 1, "y": 2}))])
    assert [row.label for row in table.rows] == ["m itself"]


def test_counts_that_contradict_themselves_are_refused() -> None:
    bad = result({"x": 11})
    with pytest.raises(CorruptFileError, match=r"n\.json.*correct"):
        accuracy_tables([file("n.json", bad)])


def test_ratios_of_edits_are_a_heatmap_each() -> None:
    edit = {"edit": "prune", "scores": {"task": "x", "method": "talos"}, "fraction": 0.1}
    edits = [{**edit, "ratio": {"x": 0.9, "y": 1.1}}]
    (found,) = edit_heatmaps(
        MetricsFile("e.json", "evaluate", Fields(Path("e.json"), {"edits": edits}))
    )
    assert found.values == [[0.9, 1.1]]
    assert found.columns == ["x", "y"]
    assert found.span == (0.0, 1.1)
