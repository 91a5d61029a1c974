"""Curves, maps, costs and overlaps from what commands write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from talos_engine.errors import CorruptFileError
from talos_engine.reporting.fields import Fields
from talos_engine.reporting.measures import (
    addition_curves,
    cost_blocks,
    disentanglement_map,
    negation_curves,
    overlap_maps,
)
from talos_engine.reporting.scanning import MetricsFile


def file(name: str, command: str, **content: Any) -> MetricsFile:
    return MetricsFile(name, command, Fields(Path(name), content))


def search(name: str, coef: float, **more: Any) -> MetricsFile:
    curve = [
        {"coef": c, "accuracy": {"x": 0.9 - c, "ctl": 0.8}, "objective": 0.9 - c, "feasible": True}
        for c in (0.5, 0.0, 1.0)
    ]
    return file(name, "negate", coef=coef, objective=0.9 - coef, curve=curve, **more)


def test_the_chosen_coefficient_is_marked() -> None:
    (curve,) = addition_curves(
        [search("a.search.json", 0.5), search("seed1/a.search.json", 0.5)][:1]
    )
    (line,) = curve.series
    assert (line.label, line.x, line.y) == ("a", [0.0, 0.5, 1.0], [0.9, 0.4, pytest.approx(-0.1)])
    assert [(mark.x, mark.y) for mark in line.marks] == [(0.5, 0.4)]
    assert "α = 0.5" in curve.alt


def test_of_several_seeds_one_is_drawn_and_that_is_said() -> None:
    files = [search(f"seed{seed}/a.search.json", 0.5) for seed in range(3)]
    (curve,) = addition_curves(files)
    assert len(curve.series) == 1
    assert any("first" in note for note in curve.notes)


def test_negations_show_target_and_control_and_say_where_nothing_was_allowed() -> None:
    files = [
        search(f"{n}.search.json", c, task="x", control="ctl") for n, c in (("a", 0.5), ("b", 0.0))
    ]
    target, control = negation_curves(files)
    assert [mark.y for line in target.series for mark in line.marks] == [pytest.approx(0.4), 0.9]
    assert [mark.y for line in control.series for mark in line.marks] == [0.8, 0.8]
    assert target.notes == ("Only α = 0 was allowed for b.",)


def test_a_coefficient_beside_the_curve_is_refused() -> None:
    with pytest.raises(CorruptFileError, match=r"a\.json.*coef"):
        negation_curves([search("a.json", 0.7, task="x", control="ctl")])


def test_disentanglement_has_the_second_coefficient_upwards() -> None:
    error = [[0.0, 0.1, 0.2], [0.3, 0.4, 0.5], [0.6, 0.7, 1.5]]
    found = disentanglement_map(
        file(
            "xi.json",
            "disentangle",
            coefs=[-1, 0, 1],
            tasks=["x", "y"],
            error=error,
            points={"x": 9},
        )
    )
    assert found.values[0] == [0.0, 0.3, 0.6], "a row of the picture is one α₂"
    assert found.box == (0.0, 1.0)
    assert "at most 1.50" in found.alt
    assert any("above 1" in note for note in found.notes)


def test_costs_are_a_table_and_bars() -> None:
    timing = {"mean": 0.1, "std": 0.01}
    method = {
        "method": "talos", "live": 7, "forward_backward": timing, "optimizer": timing,
        "total": {"mean": 0.2, "std": 0.02}, "mask_s": 0.0, "peak_bytes": 3 * 2**20,
    }  # fmt: skip
    blocks = cost_blocks(
        file("cost.json", "profile", model="m", device="cpu", iters=5, methods=[method])
    )
    table, times, memory = blocks
    cells = table.rows[0].cells  # type: ignore[union-attr]
    assert (cells["total"].mean, cells["total"].std, cells["total"].n) == (200.0, 20.0, 5)
    assert cells["mask"].mean is None
    assert times.series == {"forward-backward": [100.0], "optimizer": [100.0]}  # type: ignore[union-attr]
    assert memory.series == {"peak memory": [3.0]}  # type: ignore[union-attr]


def test_overlaps_leave_out_the_diagonal() -> None:
    content = {"labels": ["x", "y"], "iou": [[1.0, 0.25], [0.25, 1.0]]}
    (found,) = overlap_maps("masks", Fields(Path("i.json"), content))
    assert "from 0.25 to 0.25" in found.alt
    with pytest.raises(CorruptFileError, match=r"i\.json.*iou"):
        overlap_maps("masks", Fields(Path("i.json"), {**content, "iou": [[1.0]]}))
