"""Heatmaps and curves, each compared with what one reads off the numbers by hand."""

from __future__ import annotations

from typing import Any

import pytest

from talos_engine.errors import CorruptFileError, RecipeError
from talos_engine.experiments.maps import heatmap
from talos_engine.experiments.result_spec import Source


def test_localization_divides_by_the_base(compute: Any, models: Any) -> None:
    single = models({"method": "x", "seed": 0},
                    ({"task": "a"}, {"a": (80, 100), "b": (30, 100)}),
                    ({"task": "b"}, {"a": (20, 100), "b": (90, 100)}))  # fmt: skip
    base = models({}, (None, {"a": (40, 100), "b": (60, 100)}))
    found = compute("localization", {"single": [single], "zero-shot": [base]})
    assert (found["rows"], found["columns"]) == (["a", "b"], ["a", "b"])
    assert found["values"] == [pytest.approx([2.0, 0.5]), pytest.approx([0.5, 1.5])]
    assert found["notes"] == ["means: on the own task 175.0%, on the others 50.0%"]
    assert (found["unit"], found["range"]) == ("ratio", [0.0, 2.0]), "methods share a scale"


def test_single_task_is_the_diagonal(compute: Any, models: Any) -> None:
    single = models({"method": "x", "seed": 0},
                    ({"task": "a"}, {"a": (80, 100), "b": (30, 100)}),
                    ({"task": "b"}, {"a": (20, 100), "b": (90, 100)}))  # fmt: skip
    found = compute("single-task", {"single": [single]})
    cells = found["rows"][0]["cells"]
    assert [cells[key]["mean"] for key in ("a", "b", "mean")] == pytest.approx([0.8, 0.9, 0.85])
    assert found["radar"] == ["a", "b"]
    base = models({}, (None, {"a": (1, 2), "b": (1, 2)}))
    zero = compute("single-task", {"single": [single], "zero-shot": [base]})["rows"][0]
    assert (zero["label"], zero["reference"]) == ("zero-shot", True)


def test_cost_averages_seconds_and_takes_the_largest_memory(compute: Any, source: Any) -> None:
    def profile(total: float, peak: int, mask: float) -> Any:
        part = {"mean": total / 2, "std": 0.0}
        return source({"methods": [
            {"method": "talos", "forward_backward": part, "optimizer": part,
             "total": {"mean": total, "std": 0.0}, "mask_s": mask, "peak_bytes": peak,
             "mask_peak_bytes": 3 * peak, "flops": 4e9 * total, "efficiency": total / 10},
        ]})  # fmt: skip

    profiles = [profile(1.0, 2**30, 4.0), profile(3.0, 2**31, 6.0)]
    cells = compute("cost", {"profiles": profiles}, paper=("cost", "ViT-L-14"))["rows"][0]["cells"]
    assert cells["total"]["mean"] == 2.0
    assert cells["forward_backward"]["mean"] == 1.0
    assert cells["memory"]["mean"] == 2.0
    assert [cells[key]["paper"] for key in ("forward_backward", "memory")] == [0.1891, 7.8]
    assert cells["products"]["mean"] == 8.0, "GFLOP"
    assert cells["efficiency"]["mean"] == pytest.approx(0.2)
    assert cells["products"].get("paper") is cells["efficiency"].get("paper") is None
    result = compute("cost", {"profiles": profiles}, {"steps": 10},
                     paper=("calibration_cost", "ViT-L-14"))  # fmt: skip
    ranked = {it["key"]: it["better"] for it in result["columns"]}
    assert ranked["mask"] is ranked["mask_memory"] is None, "having no mask is no merit"
    assert ranked["train"] == ranked["memory"] == "lower"
    with_mask = result["rows"][0]["cells"]
    assert [with_mask[key]["mean"] for key in ("mask", "train", "total")] == [5.0, 20.0, 25.0]
    assert with_mask["total"]["paper"] == 719.27
    assert [with_mask[key]["mean"] for key in ("mask_memory", "memory")] == [6.0, 2.0], "largest"
    lota = source({"methods": [{**profiles[0].content["methods"][0], "method": "lota"}]})
    told = compute("cost", {"profiles": [lota]}, {"steps": 1},
                   paper=("calibration_cost", "ViT-L-14"))["rows"][0]["cells"]  # fmt: skip
    assert [told[key]["paper"] for key in ("mask_memory", "memory")] == [12.9, 15.4]
    other = compute("cost", {"profiles": profiles}, {"steps": 1}, paper=("cost", "ViT-L-14"))
    assert "memory" in other["rows"][0]["cells"], "a table of fewer numbers"


def test_bounds_are_told_apart_by_own_and_other_tasks(compute: Any) -> None:
    def told(bound: float, slope: float) -> Any:
        return {"count": 10, "change_norm": 0.5, "bound": bound, "mean_slope": slope, "n": 8}

    content = {"results": [
        {"input": {"path": task}, "tasks": {}, "bounds": {"a": told(*first), "b": told(*second)}}
        for task, first, second in (("a", (4.0, 2.0), (1.0, 0.5)), ("b", (3.0, 0.1), (6.0, 4.0)))
    ]}  # fmt: skip
    given = Source("e.json", {"method": "talos"}, {"a": {"task": "a"}, "b": {"task": "b"}}, content)
    found = compute("bound", {"bounds": [given]})
    (row,) = found["rows"]
    means = {key: cell["mean"] for key, cell in row["cells"].items()}
    assert row["label"] == "talos"
    assert means == {"entries": 10, "norm": 0.5, "bound_own": 5.0, "bound_other": 2.0,
                     "slope_own": 3.0, "slope_other": pytest.approx(0.3)}  # fmt: skip
    assert "over 8 examples" in found["notes"][0]


def test_columns_stand_in_the_order_of_the_rows() -> None:
    order = (("b", "a"), ("b", "c"), ("b", "b"), ("a", "c"), ("a", "a"))
    found = heatmap({key: float(n) for n, key in enumerate(order)}, "ratio", None, [])
    assert (found["rows"], found["columns"]) == (["b", "a"], ["b", "a", "c"])
    assert found["values"] == [[2.0, 0.0, 1.0], [None, 4.0, 3.0]]


def test_disentanglement_is_the_mean_over_sources(compute: Any, source: Any) -> None:
    errors = ([[0.0, 1.0], [0.5, 0.25]], [[1.0, 1.0], [0.5, 0.75]])
    shared = {"coefs": [-1.0, 1.0], "tasks": ["a", "b"]}
    grids = [source({**shared, "error": error}) for error in errors]
    found = compute("disentanglement", {"grids": grids})
    assert found["values"] == [[0.5, 1.0], [0.5, 0.5]]
    assert found["notes"][0].startswith("mean ξ 0.625")
    assert found["notes"][1].startswith("mean ξ 0.500")
    assert (found["y"]["label"], found["x"]["label"]) == ("α of a", "α of b"), "rows are α1"
    grids.append(source({**shared, "error": errors[0], "tasks": ["a", "c"]}))
    assert compute("disentanglement", {"grids": grids})["x"]["label"] == "α of the second task"


def test_pruned_and_perturbed_are_apart(compute: Any, source: Any) -> None:
    edits = [{"edit": edit, "scores": {"task": task}, "ratio": {"a": value, "b": 1.0}}
             for edit, task, value in (("prune", "a", 0.9), ("perturb", "a", 0.5))]  # fmt: skip
    found = compute("insensitive", {"edits": [source({"edits": edits})]})
    assert found["values"] == [[0.9, 1.0]]
    assert (found["unit"], found["range"]) == ("ratio", [0.0, 1.25]), "edits share a scale"
    found = compute("insensitive", {"edits": [source({"edits": edits})]}, {"edit": "perturb"})
    assert found["values"] == [[0.5, 1.0]]


def test_overlap_and_structure(compute: Any, source: Any) -> None:
    comparison = {"labels": ["a", "b"], "iou": [[1.0, 0.4], [0.4, 1.0]],
                  "iou_by_chance": [[1.0, 0.05], [0.05, 1.0]]}  # fmt: skip
    found = compute("overlap", {"comparisons": [source({"comparison": comparison})]})
    assert found["values"] == [[1.0, 0.4], [0.4, 1.0]]
    assert "5.0% by chance" in found["notes"][0]
    masks = [source({"files": [{"cells": [{"kind": "q", "layer": 0, "share": share}]}]})
             for share in (0.2, 0.6)]  # fmt: skip
    found = compute("structure", {"masks": masks})
    assert (found["rows"], found["columns"], found["values"]) == (
        ["q"],
        ["0"],
        [[pytest.approx(0.4)]],
    )
    cells = [{"kind": "conv", "layer": None, "share": 0.5}]
    found = compute("structure", {"masks": [source({"files": [{"cells": cells}]})]})
    assert found["columns"] == ["–"]


def test_drift_is_the_mean_of_steps_that_every_run_has(compute: Any, source: Any) -> None:
    logs = [
        source([{"step": 1, "loss": 3.0}, {"step": 2, "relative_drift": 0.2},
                {"step": 4, "relative_drift": 0.4}], method="x"),
        source([{"step": 2, "relative_drift": 0.4}], method="x"),
    ]  # fmt: skip
    found = compute("drift", {"logs": logs})
    (series,) = found["series"]
    assert (series["x"], series["y"]) == ([2], [pytest.approx(0.3)])
    assert (series["low"], series["high"]) == ([0.2], [0.4])
    assert "left out" in found["notes"][0]
    assert found["notes"][-1].startswith("band")
    assert compute("drift", {"logs": logs[:1]})["notes"] == []


def test_linearization_is_a_point_per_model(compute: Any, models: Any) -> None:
    def measured(a: int, b: int) -> Any:
        return models({"method": "x", "seed": 0},
                      ({"task": "a"}, {"a": (a, 100)}), ({"task": "b"}, {"b": (b, 100)}))  # fmt: skip

    found = compute(
        "linearization", {"plain": [measured(80, 90)], "linearized": [measured(60, 40)]}
    )
    (series,) = found["series"]
    assert (series["x"], series["y"]) == ([0.8, 0.9], [0.6, 0.4])
    assert series["points"] == ["a, seed 0", "b, seed 0"]
    assert (found["style"], found["diagonal"]) == ("points", True)


def test_ablation(compute: Any, models: Any) -> None:
    def at(sparsity: float, seed: int, merged: int, single: int) -> tuple[Any, Any]:
        variables = {"sparsity": sparsity, "seed": seed}
        return (models(variables, ({}, {"a": (merged, 100)})),
                models(variables, ({"task": "a"}, {"a": (single, 100)})))  # fmt: skip

    points = [at(0.9, 0, 60, 80), at(0.9, 1, 70, 80), at(0, 0, 50, 90)]
    sources = {"merged": [it[0] for it in points], "single": [it[1] for it in points]}
    measures = ["absolute", "normalized", "single"]
    found = compute("ablation", sources, {"measures": measures})
    absolute, normalized, single = found["series"]
    assert absolute["x"] == [0.0, 0.9]
    assert absolute["y"] == pytest.approx([0.5, 0.65])
    assert normalized["y"] == pytest.approx([5 / 9, (0.75 + 0.875) / 2])
    assert single["y"] == pytest.approx([0.9, 0.8])
    assert absolute["n"] == [1, 2]
    assert found["notes"][-1].startswith("band")
    alone = {role: records[:1] for role, records in sources.items()}
    assert compute("ablation", alone, {"measures": measures})["notes"] == []
    with pytest.raises(RecipeError, match="no measure 'best'"):
        compute("ablation", sources, {"measures": ["best"]})


KINDS = {"bound": "bounds", "cost": "profiles", "disentanglement": "grids", "insensitive": "edits",
         "overlap": "comparisons", "structure": "masks", "drift": "logs"}  # fmt: skip


@pytest.mark.parametrize(("kind", "role"), KINDS.items())
def test_files_of_another_kind_and_missing_ones(
    compute: Any, source: Any, kind: str, role: str
) -> None:
    with pytest.raises(CorruptFileError, match=r"file\.json"):
        compute(kind, {role: [source({"methods": 3, "edits": 3} if kind != "drift" else 3)]})
    found = compute(kind, {role: [source(None)]})
    assert any("file.json is missing" in note for note in found["notes"])


def test_sources_and_options_are_checked(compute: Any) -> None:
    with pytest.raises(RecipeError, match="here: source 'profiles' is missing"):
        compute("cost", {})
    with pytest.raises(RecipeError, match="here: this kind has no source 'x'"):
        compute("cost", {"profiles": [], "x": []})
    with pytest.raises(RecipeError, match="here options: there is no 'step'"):
        compute("cost", {"profiles": []}, {"step": 3})
