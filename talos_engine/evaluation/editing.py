"""An encoder that is edited in place along a direction, and the searches over its coefficient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import torch
from torch import Tensor

from talos_engine.device import Runtime
from talos_engine.evaluation.accuracy import (
    EvaluationTask,
    measure_accuracy,
    normalize_accuracy,
)
from talos_engine.evaluation.coefficients import CurvePoint, choose_highest, choose_lowest
from talos_engine.merging.ops import apply_terms
from talos_engine.models.spec import Backbone
from talos_engine.progress import Progress, silent


@dataclass
class EditedEncoder:
    """A backbone whose weights are set to ``θ0 + α·Δ`` without rebuilding it.

    Args:
        backbone: The model; its encoder is overwritten.
        runtime: Device and precision.
    """

    backbone: Backbone
    runtime: Runtime = field(default_factory=Runtime)

    def __post_init__(self) -> None:
        mps = self.runtime.device.type == "mps"  # has no float64, in which edits are computed
        self._home = torch.device("cpu") if mps else self.runtime.device
        self._theta0 = {
            name: value.detach().to(self._home, copy=True)
            for name, value in self.backbone.encoder_state().items()
        }
        self._changed: set[str] = set()

    def place(self, difference: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A difference where edits are computed, so that setting it again moves no data."""
        return {name: value.to(self._home) for name, value in difference.items()}

    def set(self, terms: Sequence[tuple[float, Mapping[str, Tensor]]]) -> None:
        """Set the encoder to ``θ0 + Σ α·Δ``, the sum taken in float64 and rounded once.

        Args:
            terms: Pairs of α and float64 differences by name.
        """
        names = {name for _, deltas in terms for name in deltas}
        values = {name: self._theta0[name] for name in self._changed - names}
        for name in names:
            own = [(coef, deltas[name].to(self._home)) for coef, deltas in terms if name in deltas]
            values[name] = apply_terms(self._theta0[name], own)
        self._changed = names
        self.backbone.set_weights(values)

    def reset(self) -> None:
        """Set the encoder back to θ0, bit for bit."""
        self.set([])


@dataclass(frozen=True)
class SearchResult:
    """A coefficient chosen on validation data.

    Args:
        chosen: The point that was chosen.
        curve: Every point tried, by ascending α.
        reference: Accuracies that the objective refers to: single-task ones for addition, the
            pre-trained control accuracy for negation.
    """

    chosen: CurvePoint
    curve: tuple[CurvePoint, ...]
    reference: Mapping[str, float]


def search_addition(
    encoder: EditedEncoder,
    merged: Mapping[str, Tensor],
    singles: Mapping[str, Mapping[str, Tensor]],
    tasks: Sequence[EvaluationTask],
    grid: Sequence[float],
    progress: Progress = silent,
) -> SearchResult:
    """The α that maximizes normalized accuracy over the tasks (App. A.1 of arXiv:2504.02620).

    Args:
        encoder: The model to edit; at θ0 again afterwards.
        merged: Combined difference of all vectors.
        singles: Each task's own difference; ``θ0 + 1·τ_t`` gives the denominators.
        tasks: Validation data.
        grid: Values of α.
        progress: Told how far the search is.
    """
    reference = {}
    for task in tasks:
        encoder.set([(1.0, singles[task.name])])
        reference[task.name] = measure_accuracy(task, encoder.runtime).value
    curve = []
    placed = encoder.place(merged)
    for done, coef in enumerate(grid):
        progress("searching the coefficient", done, len(grid))
        encoder.set([(coef, placed)])
        found = {task.name: measure_accuracy(task, encoder.runtime).value for task in tasks}
        curve.append(CurvePoint(coef, found, normalize_accuracy(found, reference)))
    progress("searching the coefficient", len(grid), len(grid))
    encoder.reset()
    return SearchResult(choose_highest(curve), tuple(curve), reference)


def search_negation(
    encoder: EditedEncoder,
    difference: Mapping[str, Tensor],
    target: EvaluationTask,
    control: EvaluationTask,
    grid: Sequence[float],
    keep: float,
    progress: Progress = silent,
) -> SearchResult:
    """The α whose ``θ0 − α·τ`` has the lowest target accuracy while the control is kept.

    Args:
        encoder: The model to edit; at θ0 again afterwards.
        difference: τ of the target task.
        target: Validation data of the task to forget.
        control: Validation data of the task to keep.
        grid: Values of α; 0 is always feasible.
        keep: Share of the pre-trained control accuracy that must remain, in [0, 1].
        progress: Told how far the search is.
    """
    encoder.reset()
    before = measure_accuracy(control, encoder.runtime)
    least = Decimal(repr(float(keep))) * before.correct  # exact: 7 of 100 is 0.07
    curve = []
    placed = encoder.place(difference)
    for done, coef in enumerate(grid):
        progress("searching the coefficient", done, len(grid))
        encoder.set([(-coef, placed)])
        kept = measure_accuracy(control, encoder.runtime)
        forgotten = measure_accuracy(target, encoder.runtime).value
        feasible = kept.correct >= least or coef == 0
        found = {target.name: forgotten, control.name: kept.value}
        curve.append(CurvePoint(coef, found, forgotten, feasible))
    progress("searching the coefficient", len(grid), len(grid))
    encoder.reset()
    reference = {control.name: before.value}
    return SearchResult(choose_lowest(curve), tuple(curve), reference)
