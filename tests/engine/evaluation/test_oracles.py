"""The measures of ``spec`` formulas against plain numpy, float64, on models small enough to read.

A model here is a matrix: an example x has the class with the largest entry of ``(W0 + Δ) x``.
Nothing of the oracles comes from the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from talos_engine.evaluation.accuracy import EvaluationTask
from talos_engine.evaluation.disentanglement import map_disentanglement
from talos_engine.evaluation.editing import EditedEncoder, search_addition, search_negation

Matrix = NDArray[np.float64]
GRID = tuple(round(0.05 * i, 10) for i in range(21))


class MatrixBackbone:
    """What ``EditedEncoder`` needs of a backbone, for one matrix ``w``."""

    def __init__(self, weight: Matrix) -> None:
        self.layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=torch.float64)
        self.layer.requires_grad_(False)
        self.layer.weight.copy_(torch.from_numpy(weight))

    def encoder_state(self) -> dict[str, Tensor]:
        return {"w": self.layer.weight}

    def set_weights(self, values: dict[str, Tensor]) -> None:
        for value in values.values():
            self.layer.weight.copy_(value)


class Case:
    """θ0, two directions and two tasks, drawn from a seed."""

    def __init__(self, seed: int, classes: int = 4, width: int = 5, examples: int = 40) -> None:
        rng = np.random.default_rng(seed)
        self.theta0 = rng.normal(size=(classes, width))
        self.taus = [rng.normal(size=(classes, width)) for _ in range(2)]
        self.inputs = [rng.normal(size=(examples + n, width)) for n in range(2)]
        # Mostly what the single-task model says, so that tasks can be learnt and forgotten.
        self.labels = [
            np.where(
                rng.random(len(inputs)) < 0.8,
                predict(self.theta0 + tau, inputs),
                rng.integers(0, classes, len(inputs)),
            )
            for tau, inputs in zip(self.taus, self.inputs, strict=True)
        ]
        self.backbone: Any = MatrixBackbone(self.theta0)
        self.encoder = EditedEncoder(self.backbone)
        self.tasks = [
            EvaluationTask(
                f"t{n}", self.backbone.layer, torch.from_numpy(inputs), torch.from_numpy(labels)
            )
            for n, (inputs, labels) in enumerate(zip(self.inputs, self.labels, strict=True))
        ]

    def accuracy(self, which: int, delta: Matrix) -> float:
        hits = predict(self.theta0 + delta, self.inputs[which]) == self.labels[which]
        return sum(map(bool, hits)) / len(hits)


def predict(weight: Matrix, inputs: Matrix) -> NDArray[np.int64]:
    return np.array([max(range(len(weight)), key=lambda k: float(weight[k] @ x)) for x in inputs])


def change(*matrices: Matrix) -> list[dict[str, Tensor]]:
    return [{"w": torch.from_numpy(matrix)} for matrix in matrices]


@pytest.mark.parametrize("seed", range(6))
def test_disentanglement_error_on_a_three_by_three_grid(seed: int) -> None:
    """ξ(α1, α2) = Σ_t E_x∈t [argmax f(x, θ0 + α_t τ_t) ≠ argmax f(x, θ0 + α1 τ1 + α2 τ2)]."""
    case = Case(seed)
    coefs = (-1.0, 0.25, 1.5)
    found = map_disentanglement(case.encoder, change(*case.taus), case.tasks, coefs)
    one, two = case.taus
    for i, a1 in enumerate(coefs):
        for j, a2 in enumerate(coefs):
            expected = 0.0
            for inputs, alone in zip(case.inputs, (a1 * one, a2 * two), strict=True):
                differing = [
                    predict(case.theta0 + alone, x[None])[0]
                    != predict(case.theta0 + a1 * one + a2 * two, x[None])[0]
                    for x in inputs
                ]
                expected += sum(map(bool, differing)) / len(differing)
            assert found.error[i][j] == pytest.approx(expected, abs=1e-12)
    assert len({value for row in found.error for value in row}) > 2, "the case is not trivial"


def best_by_formula(case: Case, grid: Sequence[float]) -> tuple[float, list[float]]:
    """The smallest α with the largest (1/T) Σ_t acc(θ0 + α Σ τ, t) / acc(θ0 + τ_t, t)."""
    total = case.taus[0] + case.taus[1]
    single = [case.accuracy(t, case.taus[t]) for t in range(2)]
    curve = [sum(case.accuracy(t, a * total) / single[t] for t in range(2)) / 2 for a in grid]
    best = None
    for coef, value in zip(grid, curve, strict=True):
        if best is None or value > best[1] + 1e-12:
            best = (coef, value)
    assert best is not None
    return best[0], curve


@pytest.mark.parametrize("seed", range(6))
def test_addition_maximizes_normalized_accuracy(seed: int) -> None:
    case = Case(seed)
    expected, curve = best_by_formula(case, GRID)
    one, two = change(*case.taus)
    merged = {"w": one["w"] + two["w"]}
    found = search_addition(case.encoder, merged, {"t0": one, "t1": two}, case.tasks, GRID)
    assert [point.objective for point in found.curve] == pytest.approx(curve)
    assert found.chosen.coef == expected


def test_addition_takes_the_smallest_of_equally_good_coefficients() -> None:
    """τ = W0 scales all logits alike: every α is as good as another."""
    case = Case(0)
    case.taus = [case.theta0, case.theta0]
    case.labels = [predict(case.theta0, inputs) for inputs in case.inputs]
    tasks = [
        EvaluationTask(task.name, task.classifier, task.inputs, torch.from_numpy(labels))
        for task, labels in zip(case.tasks, case.labels, strict=True)
    ]
    one, two = change(*case.taus)
    merged = {"w": one["w"] + two["w"]}
    found = search_addition(case.encoder, merged, {"t0": one, "t1": two}, tasks, GRID)
    assert {point.objective for point in found.curve} == {1.0}
    assert found.chosen.coef == 0.0


@pytest.mark.parametrize("keep", [0.5, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("seed", range(6))
def test_negation_minimizes_the_target_where_the_control_is_kept(seed: int, keep: float) -> None:
    """min over α of acc(θ0 − α τ, target), subject to acc(control) ≥ keep · acc(θ0, control)."""
    case = Case(seed)
    before = case.accuracy(1, 0 * case.theta0)
    best = None
    for coef in GRID:
        delta = -coef * case.taus[0]
        kept = case.accuracy(1, delta) >= keep * before - 1e-12
        forgotten = case.accuracy(0, delta)
        if (kept or coef == 0) and (best is None or forgotten < best[1]):
            best = (coef, forgotten)
    assert best is not None
    tau = change(case.taus[0])[0]
    found = search_negation(case.encoder, tau, case.tasks[0], case.tasks[1], GRID, keep)
    assert found.chosen.coef == best[0]
    assert found.chosen.objective == pytest.approx(best[1])


def test_negation_where_only_zero_is_feasible() -> None:
    """θ0 is right on all control examples; any step along −τ turns the first class against them."""
    case = Case(1)
    control = predict(case.theta0, case.inputs[1])
    task = EvaluationTask(
        "control", case.backbone.layer, case.tasks[1].inputs, torch.tensor(control)
    )
    tau = change(1e6 * case.theta0)[0]
    found = search_negation(case.encoder, tau, case.tasks[0], task, GRID, 0.95)
    assert [point.feasible for point in found.curve] == [True] + [False] * 20
    assert found.chosen.coef == 0.0
