from __future__ import annotations

import statistics
from typing import Any

import pytest


def cells(result: dict[str, Any], label: str) -> dict[str, Any]:
    found: dict[str, Any] = next(row["cells"] for row in result["rows"] if row["label"] == label)
    return found


def test_by_hand(compute: Any, models: Any, source: Any) -> None:
    """Two seeds, two tasks: normalized accuracy is the mean over tasks of the ratios."""
    merged = [
        models({"method": "talos", "seed": 0}, ({}, {"a": (60, 100), "b": (20, 50)})),
        models({"method": "talos", "seed": 1}, ({}, {"a": (70, 100), "b": (30, 50)})),
    ]
    single = [
        models({"method": "talos", "seed": seed},
               ({"task": "a"}, {"a": (80, 100), "b": (5, 50)}),
               ({"task": "b"}, {"a": (10, 100), "b": (40, 50)}))
        for seed in (0, 1)
    ]  # fmt: skip
    base = models({}, (None, {"a": (30, 100), "b": (10, 50), "control": (9, 10)}))
    search = [
        source({"coef": coef}, method="talos", seed=seed) for seed, coef in ((0, 1.5), (1, 2))
    ]
    result = compute(
        "addition",
        {"merged": merged, "single": single, "zero-shot": [base], "search": search},
        paper=("task_addition", "ViT-B-32"),
    )
    found = cells(result, "talos")
    assert found["absolute"]["values"] == pytest.approx([0.5, 0.65])
    assert found["absolute"]["paper"] == pytest.approx(0.7967)
    ratios = [(0.6 / 0.8 + 0.4 / 0.8) / 2, (0.7 / 0.8 + 0.6 / 0.8) / 2]
    assert found["normalized"]["values"] == pytest.approx(ratios)
    assert found["normalized"]["std"] == pytest.approx(statistics.stdev(ratios))
    assert found["single"]["values"] == pytest.approx([0.8, 0.8])
    assert found["coef"]["mean"] == 1.75
    zero = cells(result, "zero-shot")["absolute"]
    assert zero["mean"] == pytest.approx(0.25), "over the tasks that were merged, not the control"
    assert zero["paper"] == pytest.approx(0.4772)
    assert result["notes"] == []


def test_what_is_missing_is_said_and_not_averaged_over(compute: Any, models: Any) -> None:
    merged = [
        models({"method": "x", "seed": 0}, ({}, {"a": (60, 100)})),
        models({"method": "x", "seed": 1}, ({}, {"a": (70, 100)})),
        models({"method": "y", "seed": 0}, ({}, {"a": (50, 100)})),
        models({"method": "y", "seed": 1}),
    ]
    single = [models({"method": "x", "seed": 0}, ({"task": "a"}, {"a": (80, 100)}))]
    result = compute("addition", {"merged": merged, "single": single})
    assert cells(result, "x")["normalized"]["values"] == pytest.approx([0.75])
    assert "no single-task models for seed 1" in cells(result, "x")["normalized"]["note"]
    assert cells(result, "y")["normalized"]["mean"] is None
    assert cells(result, "y")["absolute"]["n"] == 1
    assert any("file.json is missing" in note for note in result["notes"])
    assert "method y: nothing for seed 1" in result["notes"]


def test_one_file_may_hold_the_models_of_several_methods(compute: Any, models: Any) -> None:
    merged = models({"seed": 0}, ({"method": "x"}, {"a": (1, 4)}), ({"method": "y"}, {"a": (2, 4)}))
    result = compute("addition", {"merged": [merged], "single": []})
    assert [row["label"] for row in result["rows"]] == ["x", "y"]
    assert cells(result, "y")["absolute"]["mean"] == 0.5


def test_a_merge_that_is_the_base_is_not_ranked_and_said_to_be(
    compute: Any, models: Any, source: Any
) -> None:
    """Single-task models below the base: α = 0 everywhere, and yet 120% normalized."""
    measured = {"below": (60, 50, (0, 0)), "once": (60, 80, (0, 0.5)), "well": (70, 80, (1, 1))}
    keys = [(name, seed) for name in measured for seed in (0, 1)]
    merged = [
        models({"method": name, "seed": seed}, ({}, {"a": (measured[name][0], 100)}))
        for name, seed in keys
    ]
    single = [
        models({"method": name, "seed": seed}, ({"task": "a"}, {"a": (measured[name][1], 100)}))
        for name, seed in keys
    ]
    search = [
        source({"coef": measured[name][2][seed]}, method=name, seed=seed) for name, seed in keys
    ]
    base = models({}, (None, {"a": (60, 100)}))
    result = compute(
        "addition", {"merged": merged, "single": single, "zero-shot": [base], "search": search}
    )
    assert cells(result, "below")["normalized"]["mean"] == pytest.approx(1.2)
    unranked = {
        (row["label"], key)
        for row in result["rows"]
        for key, cell in row["cells"].items()
        if cell.get("ranked") is False
    }
    assert unranked == {
        ("below", "absolute"), ("below", "normalized"), ("zero-shot", "absolute")
    }  # fmt: skip
    assert [note.partition(":")[2] for note in result["notes"]] == [" below", " below (50.0)"]
    assert "only α = 0" in result["notes"][0]
    assert "below zero-shot (60.0)" in result["notes"][1]
    assert cells(result, "once")["coef"]["note"] == "0 for 1 of 2"
    assert "note" not in cells(result, "well")["coef"]


def test_a_coefficient_that_is_not_known_is_not_taken_for_zero(
    compute: Any, models: Any, source: Any
) -> None:
    merged = [models({"method": "x", "seed": seed}, ({}, {"a": (6, 10)})) for seed in (0, 1)]
    search = [source({"coef": 0}, method="x", seed=0), source(None, method="x", seed=1)]
    result = compute("addition", {"merged": merged, "single": [], "search": search})
    assert "ranked" not in cells(result, "x")["absolute"]
    plain = compute("addition", {"merged": merged, "single": []})
    assert "ranked" not in cells(plain, "x")["absolute"]
